"""Unmodified clients: azure-ai-ml from nothing to a scored request and back, and azure-mgmt-machinelearningservices on the same service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

GROUP = "rg-mlw-clients"
WORKSPACE = "mlw-clients"


@pytest.fixture
def project(tmp_path: Path, site: Any) -> Path:
    """What a project has on disk: code, a model, a conda file, a request."""
    for name, text in {
        "code/score.py": site.SCORE,
        "code/__init__.py": "",
        "model/value.txt": "42",
        "conda.yml": site.CONDA,
        "request.json": '{"from": "a file"}',
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_azure_ai_ml_from_nothing_to_an_answer_and_back(azure: Any, site: Any, project: Path) -> None:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import (
        CodeConfiguration,
        Environment,
        ManagedOnlineDeployment,
        ManagedOnlineEndpoint,
        Model,
        OnlineRequestSettings,
        ProbeSettings,
    )
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
    from azure.identity import EnvironmentCredential

    client = MLClient(EnvironmentCredential(), azure.env["AZURE_SUBSCRIPTION_ID"], GROUP, WORKSPACE)
    endpoints, deployments = client.online_endpoints, client.online_deployments
    with pytest.raises(ResourceNotFoundError):
        endpoints.get("clients-ml")

    made = endpoints.begin_create_or_update(
        ManagedOnlineEndpoint(name="clients-ml", auth_mode="key", tags={"a": "b"}, description="d")
    ).result()
    assert made.provisioning_state == "Succeeded"
    assert made.scoring_uri == "https://clients-ml.westeurope.inference.ml.azure.com/score"
    assert made.identity.principal_id

    def deployment(name: str, **more: Any) -> ManagedOnlineDeployment:
        return ManagedOnlineDeployment(
            name=name,
            endpoint_name="clients-ml",
            model=Model(path=project / "model", name="clients-model", version="1"),
            code_configuration=CodeConfiguration(code=str(project / "code"), scoring_script="score.py"),
            environment=Environment(conda_file=project / "conda.yml", image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"),
            environment_variables={"WHO": name},
            instance_type="Standard_DS2_v2",
            instance_count=1,
            request_settings=OnlineRequestSettings(request_timeout_ms=90000, max_concurrent_requests_per_instance=2),
            readiness_probe=ProbeSettings(initial_delay=5, period=5, timeout=1, failure_threshold=20),
            **more,
        )

    blue = deployments.begin_create_or_update(deployment("blue")).result()
    assert blue.provisioning_state == "Succeeded"
    assert blue.request_settings.request_timeout_ms == 90000
    assert blue.readiness_probe.period == 5
    assert blue.liveness_probe.failure_threshold == 30
    assert blue.endpoint_name == "clients-ml"

    seen = endpoints.get("clients-ml")
    assert seen.traffic == {"blue": 0}
    seen.traffic = {"blue": 100}
    assert endpoints.begin_create_or_update(seen).result().traffic == {"blue": 100}
    assert endpoints.get("clients-ml").tags == {"a": "b"}
    request = str(project / "request.json")
    answer = json.loads(endpoints.invoke("clients-ml", request_file=request))
    assert answer == {"who": "blue", "model": "42", "echo": {"from": "a file"}}

    client.models.create_or_update(Model(path=project / "model", name="other", version="7"))
    green = deployment("green")
    green.model = "azureml:other:7"
    deployments.begin_create_or_update(green).result()
    assert json.loads(endpoints.invoke("clients-ml", request_file=request, deployment_name="green"))["who"] == "green"
    seen = endpoints.get("clients-ml")
    seen.traffic, seen.mirror_traffic = {"blue": 100}, {"green": 20}
    endpoints.begin_create_or_update(seen).result()
    assert endpoints.get("clients-ml").mirror_traffic == {"green": 20}
    endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="clients-ml", auth_mode="key")).result()
    bare = endpoints.get("clients-ml")
    assert (bare.traffic, bare.mirror_traffic, bare.tags) == ({"blue": 0, "green": 0}, {}, {})

    scaled = deployments.get("green", "clients-ml")
    scaled.instance_count = 3
    assert deployments.begin_create_or_update(scaled).result().instance_count == 3
    assert {one.name for one in deployments.list("clients-ml")} == {"blue", "green"}
    assert "clients-ml" in {one.name for one in endpoints.list()}

    keys = endpoints.get_keys("clients-ml")
    endpoints.begin_regenerate_keys("clients-ml", key_type="secondary").result()
    after = endpoints.get_keys("clients-ml")
    assert after.primary_key == keys.primary_key
    assert after.secondary_key != keys.secondary_key

    assert "POST /score 200" in deployments.get_logs("blue", "clients-ml", 100)
    assert "Downloaded model" in deployments.get_logs("blue", "clients-ml", 100, container_type="storage-initializer")

    (project / "code" / "score.py").write_text("def init(:\n")
    with pytest.raises(HttpResponseError, match="ResourceNotReady") as failure:
        deployments.begin_create_or_update(deployment("broken"), skip_script_validation=True).result()
    assert "User container has crashed" in str(failure.value)
    assert "SyntaxError" in deployments.get_logs("broken", "clients-ml", 200)
    assert deployments.get("broken", "clients-ml").provisioning_state == "Failed"

    deployments.begin_delete("green", "clients-ml").result()
    with pytest.raises(ResourceNotFoundError):
        deployments.get("green", "clients-ml")
    endpoints.begin_delete("clients-ml").result()
    with pytest.raises(ResourceNotFoundError):
        endpoints.get("clients-ml")


def test_azure_ai_ml_scores_with_tokens(azure: Any, site: Any, project: Path) -> None:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import ManagedOnlineEndpoint
    from azure.identity import EnvironmentCredential

    client = MLClient(EnvironmentCredential(), azure.env["AZURE_SUBSCRIPTION_ID"], GROUP, WORKSPACE)
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="clients-token", auth_mode="aml_token")).result()
    assert site.deploy("clients-token", "blue")["status"] == "Succeeded"
    for mode in ("aml_token", "aad_token"):
        seen = client.online_endpoints.get("clients-token")
        seen.auth_mode, seen.traffic = mode, {"blue": 100}
        client.online_endpoints.begin_create_or_update(seen).result()
        assert client.online_endpoints.get_keys("clients-token").access_token
        # azure-ai-ml keeps the deployment header of an earlier invoke for those that name none, so this one names it
        answer = client.online_endpoints.invoke("clients-token", request_file=str(project / "request.json"), deployment_name="blue")
        assert json.loads(answer)["echo"] == {"from": "a file"}
    site.endpoint("clients-token")
    site.remove("clients-token")


def test_azure_mgmt_sees_the_same_service(azure: Any, site: Any) -> None:
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
    from azure.identity import EnvironmentCredential
    from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient, models

    client = MachineLearningServicesMgmtClient(EnvironmentCredential(), azure.env["AZURE_SUBSCRIPTION_ID"])
    endpoints, deployments = client.online_endpoints, client.online_deployments
    place = (GROUP, WORKSPACE, "clients-mgmt")
    endpoint = models.OnlineEndpoint(location="westeurope", properties=models.OnlineEndpointProperties(auth_mode="Key"))
    made = endpoints.begin_create_or_update(*place, endpoint).result()
    assert made.properties.provisioning_state == "Succeeded"
    assert made.system_data.created_at

    body = site.body(requestSettings={"requestTimeout": "PT90S"}, environmentVariables={"WHO": "mgmt"})["properties"]
    deployment = models.OnlineDeployment(
        location="westeurope",
        sku=models.Sku(name="Default", capacity=1),
        properties=models.ManagedOnlineDeployment(
            model=body["model"],
            environment_id=body["environmentId"],
            environment_variables={"WHO": "mgmt"},
            instance_type="Standard_DS2_v2",
            code_configuration=models.CodeConfiguration(code_id=body["codeConfiguration"]["codeId"], scoring_script="score.py"),
            request_settings=models.OnlineRequestSettings(request_timeout="PT1M30S"),
        ),
    )
    blue = deployments.begin_create_or_update(*place, "blue", deployment).result()
    assert blue.properties.endpoint_compute_type == "Managed"
    assert blue.properties.request_settings.request_timeout.total_seconds() == 90
    made.properties.traffic = {"blue": 100}
    assert endpoints.begin_create_or_update(*place, made).result().properties.traffic == {"blue": 100}

    keys = endpoints.list_keys(*place)
    assert site.score("clients-mgmt", {"a": 1}, keys.primary_key).json() == {"who": "mgmt", "model": "42", "echo": {"a": 1}}
    scaled = deployments.begin_update(
        *place, "blue", models.PartialMinimalTrackedResourceWithSku(sku=models.PartialSku(capacity=2))
    ).result()
    assert scaled.sku.capacity == 2
    assert (
        "WHO" not in deployments.get_logs(*place, "blue", models.DeploymentLogsRequest(container_type="StorageInitializer", tail=5)).content
    )
    assert [one.capacity.maximum for one in deployments.list_skus(*place, "blue")] == [50]
    assert [one.name for one in deployments.list(*place)] == ["blue"]
    tagged = endpoints.begin_update(*place, models.PartialMinimalTrackedResourceWithIdentity(tags={"seen": "yes"})).result()
    assert (tagged.tags, tagged.properties.traffic) == ({"seen": "yes"}, {"blue": 100})
    assert "clients-mgmt" in [one.name for one in endpoints.list(GROUP, WORKSPACE, count=1)]

    with pytest.raises(HttpResponseError, match="100 percent of the live traffic"):
        deployments.begin_delete(*place, "blue")
    endpoints.begin_delete(*place).result()
    with pytest.raises(ResourceNotFoundError):
        endpoints.get(*place)


def test_a_model_shared_through_a_registry_is_deployed_from_it(azure: Any, site: Any, project: Path) -> None:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import CodeConfiguration, Environment, ManagedOnlineDeployment, Model, Registry, RegistryRegionDetails
    from azure.ai.ml.entities._registry.registry_support_classes import SystemCreatedStorageAccount
    from azure.identity import EnvironmentCredential

    credential, subscription = EnvironmentCredential(), azure.env["AZURE_SUBSCRIPTION_ID"]
    client = MLClient(credential, subscription, GROUP, WORKSPACE)
    account = SystemCreatedStorageAccount(storage_account_hns=False, storage_account_type="Standard_LRS")
    registry = Registry(
        name="clients-registry", location="westeurope",
        replication_locations=[RegistryRegionDetails(location="westeurope", storage_config=account, acr_config=[])],
    )  # fmt: skip
    client.registries.begin_create(registry).result()
    client.models.create_or_update(Model(name="shared-model", version="3", path=project / "model"))
    where = {"registry_name": "clients-registry", "share_with_name": "shared", "share_with_version": "3"}
    client.models.share(name="shared-model", version="3", **where)
    image = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
    client.environments.create_or_update(Environment(name="shared-environment", version="1", image=image, conda_file=project / "conda.yml"))
    client.environments.share("shared-environment", "1", **where)

    site.endpoint("clients-shared")
    deployment = ManagedOnlineDeployment(
        name="blue",
        endpoint_name="clients-shared",
        model="azureml://registries/clients-registry/models/shared/versions/3",
        environment="azureml://registries/clients-registry/environments/shared/versions/3",
        code_configuration=CodeConfiguration(code=str(project / "code"), scoring_script="score.py"),
        instance_type="Standard_DS2_v2",
        instance_count=1,
    )
    made = client.online_deployments.begin_create_or_update(deployment).result()
    assert made.model == "azureml://registries/clients-registry/models/shared/versions/3"
    assert site.score("clients-shared", {}, site.key("clients-shared"), "blue").json()["model"] == "42"
    site.remove("clients-shared")
