"""Registries: assets shared from a workspace and made in place, driven by azure-ai-ml and a second client; bytes are compared."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import MLClient, load_component
from azure.ai.ml.entities import BuildContext, Data, Environment, Model, Registry, RegistryRegionDetails
from azure.ai.ml.exceptions import ValidationException
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential, EnvironmentCredential
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient
from azure.mgmt.machinelearningservices import models as rest
from azure.storage.blob import ContainerClient

from emulator.assets import paths
from emulator.core import SUBSCRIPTION, TENANT, Cloud
from emulator.registries import models

GROUP, WORKSPACE, REGISTRY = "rg-registries", "registry-source", "shared-models"
PLACE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
ID = f"{PLACE}/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
REGISTRY_ID = f"{PLACE}/providers/Microsoft.MachineLearningServices/registries/{REGISTRY}"
DATA_PLANE = f"https://cert-westeurope.experiments.azureml.net/mferp/managementfrontend{REGISTRY_ID}"
DATA_VERSION = "2021-10-01-dataplanepreview"


@pytest.fixture(scope="module")
def place(emulator: Any) -> None:
    """A workspace and a registry in its region."""
    emulator.admin.workspace(WORKSPACE, GROUP)
    emulator.admin.registry(REGISTRY, GROUP)


@pytest.fixture
def ml(azure: Any, place: None) -> MLClient:
    """The SDK in the workspace."""
    return MLClient(EnvironmentCredential(), SUBSCRIPTION, GROUP, WORKSPACE, enable_telemetry=False, show_progress=False)


@pytest.fixture
def shared(azure: Any, place: None) -> MLClient:
    """The SDK in the registry."""
    return MLClient(EnvironmentCredential(), registry_name=REGISTRY, enable_telemetry=False, show_progress=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "inner").mkdir(parents=True)
    (root / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n")
    (root / "inner" / "gewichte 100%.bin").write_bytes(bytes(range(256)) * 4000)
    return root


def content(root: Path) -> dict[str, bytes]:
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def unique(stem: str) -> str:
    return f"{stem}-{uuid.uuid4().hex[:8]}"


def someone(azure: Any, **roles: str) -> ClientSecretCredential:
    """The credential of a new application with these roles, given as role=scope."""
    grants = [{"role": role.replace("_", " "), "scope": scope} for role, scope in roles.items()]
    made = azure.ask("POST", "/identities", {"name": unique("app"), "secret": "s3cret-of-a-test", "roles": grants})
    return ClientSecretCredential(TENANT, made["client_id"], "s3cret-of-a-test")


class TestRegistries:
    def test_live_with_the_sdk(self, ml: MLClient) -> None:
        name = unique("made")
        regions = [RegistryRegionDetails(location="westeurope"), RegistryRegionDetails(location="northeurope")]
        made = ml.registries.begin_create(
            Registry(name=name, location="westeurope", tags={"a": "b"}, replication_locations=regions)
        ).result()
        assert [one.location for one in made.replication_locations] == ["westeurope", "northeurope"]
        assert made.managed_resource_group["resourceId"].startswith(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/azureml-rg-{name}")
        assert ml.registries.get(name).tags == {"a": "b"}
        assert {name, REGISTRY} <= {one.name for one in ml.registries.list()} & {
            one.name for one in ml.registries.list(scope="subscription")
        }
        ml.registries.begin_delete(name=name).result()
        with pytest.raises(ResourceNotFoundError):
            ml.registries.get(name)

    def test_discovery_says_where_the_data_plane_is(self, send: Callable[..., Any], sign_in: Callable[..., str], place: None) -> None:
        url = f"https://eastus.api.azureml.ms/registrymanagement/v1.0/registries/{REGISTRY}/discovery"
        found = send("GET", url, token=sign_in()).json()
        assert found["primaryRegionResourceProviderUri"] == "https://cert-westeurope.experiments.azureml.net/"
        assert (found["subscriptionId"], found["resourceGroup"], list(found["registryFqdns"])) == (SUBSCRIPTION, GROUP, ["westeurope"])
        missing = send("GET", url.replace(REGISTRY, "nobodys"), token=sign_in())
        assert (missing.status_code, missing.json()["error"]["message"]) == (404, "Registry nobodys was not found.")

    @pytest.mark.parametrize(
        ("name", "body", "status", "target"),
        [
            ("x", {"location": "westeurope", "properties": {"regionDetails": [{"location": "westeurope"}]}}, 400, "name"),
            ("good", {"location": "westeurope"}, 400, "properties"),
            ("good", {"location": "westeurope", "properties": {}}, 400, "properties.regionDetails"),
            (
                "good",
                {"location": "westeurope", "properties": {"regionDetails": [{"location": "eastus"}]}},
                400,
                "properties.regionDetails",
            ),
            ("good", {"location": "atlantis", "properties": {"regionDetails": [{"location": "eastus"}]}}, 400, "location"),
            (REGISTRY, {"location": "eastus", "properties": {"regionDetails": [{"location": "eastus"}]}}, 409, None),
        ],
    )
    def test_that_cannot_be(self, send: Any, sign_in: Any, place: None, name: str, body: Any, status: int, target: str | None) -> None:
        url = f"https://management.azure.com{REGISTRY_ID.replace(REGISTRY, name)}"
        answer = send("PUT", url, token=sign_in(), version="2024-04-01", json=body)
        assert (answer.status_code, answer.json()["error"].get("target")) == (status, target)

    def test_names_are_unique_in_the_tenant(self, azure: Any, place: None) -> None:
        other = PLACE.replace(GROUP, "rg-registries-2")
        azure.arm("PUT", other, {"location": "westeurope"})
        body = {"location": "westeurope", "properties": {"regionDetails": [{"location": "westeurope"}]}}
        with pytest.raises(RuntimeError, match=f"409 .*A registry with the name '{REGISTRY}' already exists in this tenant"):
            azure.arm("PUT", REGISTRY_ID.replace(PLACE, other), body)


class TestSharing:
    def test_a_model_arrives_with_its_bytes_tags_and_properties(self, ml: MLClient, shared: MLClient, tree: Path, tmp_path: Path) -> None:
        name = unique("model")
        ml.models.create_or_update(
            Model(name=name, path=str(tree), type="mlflow_model", tags={"a": "b"}, properties={"digest": "sha256:1"})
        )
        given = ml.models.share(name, "1", share_with_name=name, share_with_version="7", registry_name=REGISTRY)
        assert given.id == f"azureml://registries/{REGISTRY}/models/{name}/versions/7"
        assert (given.type, given.tags, given.properties) == ("mlflow_model", {"a": "b"}, {"digest": "sha256:1"})
        assert given.flavors["python_function"] == {"loader_module": "mlflow.sklearn"}
        shared.models.download(name, "7", str(tmp_path / "down"))
        assert content(tmp_path / "down" / name / "model") == content(tree)
        assert [one.version for one in shared.models.list(name)] == ["7"]
        assert name in [one.name for one in shared.models.list()]
        assert shared.models.get(name, label="latest").version == "7"

    def test_a_version_is_shared_once(self, ml: MLClient, tree: Path, send: Any, sign_in: Any) -> None:
        name = unique("model")
        ml.models.create_or_update(Model(name=name, path=str(tree)))
        ml.models.share(name, "1", share_with_name=name, share_with_version="1", registry_name=REGISTRY)
        with pytest.raises(ValidationException, match="already exists in registry"):
            ml.models.share(name, "1", share_with_name=name, share_with_version="1", registry_name=REGISTRY)
        guid = ml.workspaces.get()._workspace_id
        source = f"azureml://locations/westeurope/workspaces/{guid}/models/{name}/versions/1"
        body = {"properties": {"referenceType": "Id", "destinationName": name, "destinationVersion": "1", "sourceAssetId": source}}
        answer = send("POST", f"{DATA_PLANE}/import", token=sign_in(), version=DATA_VERSION, json=body)
        assert (answer.status_code, answer.json()["error"]["message"].split()[-2:]) == (409, ["already", "exists."])

    def test_environments_and_data_too(self, ml: MLClient, shared: MLClient, tree: Path, tmp_path: Path) -> None:
        name = unique("thing")
        conda = {"name": "x", "dependencies": ["python=3.11"]}
        ml.environments.create_or_update(Environment(name=name, version="3", image="a/b", conda_file=conda))
        given = ml.environments.share(name, "3", share_with_name=name, share_with_version="3", registry_name=REGISTRY)
        assert (given.image, given.conda_file) == ("a/b", conda)
        assert [one.version for one in shared.environments.list(name)] == ["3"]
        ml.data.create_or_update(Data(name=name, version="1", path=str(tree / "MLmodel"), type="uri_file"))
        data = ml.data.share(name, "1", share_with_name=name, share_with_version="1", registry_name=REGISTRY)
        assert (data.type, data.path.rsplit("/", 1)[1]) == ("uri_file", "MLmodel")
        assert shared.data.get(name, version="1").id == f"azureml://registries/{REGISTRY}/data/{name}/versions/1"

    def test_a_build_context_is_copied(self, ml: MLClient, tmp_path: Path, emulator: Any) -> None:
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker" / "Dockerfile").write_text("FROM scratch\n")
        name = unique("built")
        made = ml.environments.create_or_update(Environment(name=name, version="1", build=BuildContext(path=str(tmp_path / "docker"))))
        given = ml.environments.share(name, "1", share_with_name=name, share_with_version="1", registry_name=REGISTRY)
        assert given.build.path.split(".")[0] != made.build.path.split(".")[0]

    def test_what_cannot_be_shared(self, ml: MLClient, tree: Path, emulator: Any) -> None:
        with pytest.raises(
            HttpResponseError, match=r"Could not find asset with ID: azureml://locations/westeurope/workspaces/.*/models/none/versions/1"
        ):
            ml.models.share("none", "1", share_with_name="none", share_with_version="1", registry_name=REGISTRY)
        emulator.workspace("registry-far", "eastus")
        far = MLClient(EnvironmentCredential(), SUBSCRIPTION, "rg-registry-far", "registry-far", enable_telemetry=False)
        far.environments.create_or_update(Environment(name="e", version="1", image="a/b"))
        with pytest.raises(HttpResponseError, match=f"region eastus is not one of the regions of registry {REGISTRY}"):
            far.environments.share("e", "1", share_with_name=unique("e"), share_with_version="1", registry_name=REGISTRY)

    def test_takes_a_right_on_both_sides(self, ml: MLClient, azure: Any) -> None:
        name = unique("env")
        ml.environments.create_or_update(Environment(name=name, version="1", image="a/b"))

        def share(**roles: str) -> Environment:
            client = MLClient(someone(azure, **roles), SUBSCRIPTION, GROUP, WORKSPACE, enable_telemetry=False)
            return client.environments.share(name, "1", share_with_name=name, share_with_version="1", registry_name=REGISTRY)

        with pytest.raises(HttpResponseError, match="registries/read' over scope"):
            share(AzureML_Data_Scientist=ID)
        with pytest.raises(HttpResponseError, match=f"registries/assets/write' over scope '{REGISTRY_ID}'"):
            share(AzureML_Data_Scientist=ID, Reader=REGISTRY_ID)
        assert share(AzureML_Data_Scientist=ID, AzureML_Registry_User=REGISTRY_ID).version == "1"


class TestInPlace:
    def test_a_model_goes_up_and_comes_down(self, shared: MLClient, tree: Path, tmp_path: Path) -> None:
        name = unique("direct")
        made = shared.models.create_or_update(Model(name=name, version="1", path=str(tree), tags={"a": "b"}))
        assert made.id == f"azureml://registries/{REGISTRY}/models/{name}/versions/1"
        shared.models.download(name, "1", str(tmp_path / "down"))
        assert content(tmp_path / "down" / name / "model") == content(tree)
        shared.models.archive(name, version="1")
        assert not list(shared.models.list(name, list_view_type="ActiveOnly"))
        shared.models.restore(name, version="1")

    def test_environments_and_components(self, shared: MLClient, tmp_path: Path) -> None:
        name = unique("env")
        made = shared.environments.create_or_update(Environment(name=name, version="1", image="a/b"))
        assert made.id == f"azureml://registries/{REGISTRY}/environments/{name}/versions/1"
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "main.py").write_text("print(1)\n")
        (tmp_path / "component.yml").write_text(
            f"type: command\nname: c_{uuid.uuid4().hex}\nversion: '1'\ncode: src\ncommand: python main.py\nenvironment: {made.id}\n"
        )
        component = shared.components.create_or_update(load_component(tmp_path / "component.yml"))
        assert (component.version, component.environment) == ("1", made.id)
        assert component.code.startswith(f"azureml://registries/{REGISTRY}/codes/")

    def test_an_upload_for_what_exists_is_a_conflict(self, shared: MLClient, tree: Path, send: Any, sign_in: Any) -> None:
        name = unique("direct")
        shared.models.create_or_update(Model(name=name, version="1", path=str(tree)))
        body = {
            "assetId": f"azureml://registries/{REGISTRY}/models/{name}/versions/1",
            "temporaryDataReferenceType": "TemporaryBlobReference",
        }
        url = f"{DATA_PLANE}/tempdatarefs/{name}/versions/1"
        assert send("PUT", url, token=sign_in(), version=DATA_VERSION, json=body).status_code == 409
        wrong = send(
            "PUT", url, token=sign_in(), version=DATA_VERSION, json={**body, "assetId": "azureml://registries/other/models/m/versions/1"}
        )
        assert (wrong.status_code, wrong.json()["error"]["target"]) == (400, "assetId")

    def test_what_was_handed_out_to_read_cannot_be_written(self, shared: MLClient, tree: Path, send: Any, sign_in: Any) -> None:
        name = unique("direct")
        made = shared.models.create_or_update(Model(name=name, version="1", path=str(tree)))
        body = {"assetId": made.id, "blobUri": made.path}
        answer = send("POST", f"{DATA_PLANE}/datarefs/{name}/versions/1", token=sign_in(), version=DATA_VERSION, json=body)
        client = ContainerClient.from_container_url(answer.json()["blobReferenceForConsumption"]["credential"]["sasUri"])
        assert client.download_blob("model/MLmodel").readall() == (tree / "MLmodel").read_bytes()
        with pytest.raises(HttpResponseError):
            client.upload_blob("model/MLmodel", b"changed", overwrite=True)

    def test_a_reader_reads_and_a_stranger_does_not(self, shared: MLClient, azure: Any) -> None:
        name = unique("env")
        shared.environments.create_or_update(Environment(name=name, version="1", image="a/b"))
        user = MLClient(someone(azure, AzureML_Registry_User=REGISTRY_ID), registry_name=REGISTRY, enable_telemetry=False)
        assert user.environments.get(name, "1").image == "a/b"
        with pytest.raises(HttpResponseError, match=f"registries/read' over scope '{REGISTRY_ID}'"):
            MLClient(someone(azure), registry_name=REGISTRY, enable_telemetry=False)

    def test_the_second_client_sees_it_through_arm(self, azure: Any, shared: MLClient, tree: Path) -> None:
        mgmt = MachineLearningServicesMgmtClient(EnvironmentCredential(), SUBSCRIPTION)
        name = unique("arm")
        wanted = rest.PendingUploadRequestDto(pending_upload_type="TemporaryBlobReference")
        reference = mgmt.registry_model_versions.create_or_get_start_pending_upload(
            GROUP, REGISTRY, name, "1", wanted
        ).blob_reference_for_consumption
        ContainerClient.from_container_url(reference.credential.sas_uri).upload_blob("m/weights", b"w")
        version = rest.ModelVersion(properties=rest.ModelVersionProperties(model_uri=f"{reference.blob_uri}/m"))
        made = mgmt.registry_model_versions.begin_create_or_update(GROUP, REGISTRY, name, "1", version).result()
        assert made.id == f"{REGISTRY_ID}/models/{name}/versions/1"
        assert shared.models.get(name, "1").id == f"azureml://registries/{REGISTRY}/models/{name}/versions/1"
        assert [one.name for one in mgmt.registry_model_versions.list(GROUP, REGISTRY, name)] == ["1"]
        mgmt.registry_model_versions.begin_delete(GROUP, REGISTRY, name, "1").result()
        with pytest.raises(HttpResponseError, match=f"Asset azureml://registries/{REGISTRY}/models/{name}/versions/1 was deleted at"):
            mgmt.registry_model_versions.begin_create_or_update(GROUP, REGISTRY, name, "1", version).result()


class TestMicrosofts:
    def test_curated_environments_are_there_for_all(self, azure: Any, place: None) -> None:
        anybody = MLClient(someone(azure, Reader=ID), registry_name="azureml", enable_telemetry=False)
        assert "sklearn-1.5" in [one.name for one in anybody.environments.list()]
        found = anybody.environments.get("sklearn-1.5", label="latest")
        assert (found.id, found.image) == (
            "azureml://registries/azureml/environments/sklearn-1.5/versions/1",
            "mcr.microsoft.com/azureml/curated/sklearn-1.5:1",
        )
        with pytest.raises(HttpResponseError, match="registries/assets/write"):
            anybody.environments.create_or_update(Environment(name="mine", version="1", image="a/b"))

    def test_a_reference_to_a_registry_leads_to_its_blobs(self, cloud: Cloud) -> None:
        models.seed(cloud)
        registry = {
            "id": REGISTRY_ID, "name": REGISTRY, "location": "westeurope",
            "properties": {"regionDetails": [{"location": "westeurope"}], "registryId": "1"},
        }  # fmt: skip
        cloud.store.put(REGISTRY_ID, "registry", registry)
        id = f"{REGISTRY_ID}/models/m/versions/1"
        cloud.store.put(
            id, "model_version", {"id": id, "name": "1", "properties": {"modelUri": "https://acc.blob.core.windows.net/box/model"}}
        )
        for uri in (f"azureml://registries/{REGISTRY}/models/m/versions/1", f"azureml://registries/{REGISTRY}/models/m/labels/latest", id):
            assert paths.locate(cloud, ID, uri) == paths.Located("acc", "box", "model")
