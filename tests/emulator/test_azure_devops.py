"""Azure DevOps: how a pipeline's job signs in, with azure-identity and the Azure CLI as they are, and the REST of runs and approvals."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import AzurePipelinesCredential

from emulator.azure_devops import builds, connections, exceptions, models
from emulator.azure_devops.models import Project
from emulator.core import SUBSCRIPTION, TENANT, Cloud
from emulator.entra import models as entra
from emulator.entra import proof
from emulator.entra.exceptions import EntraError
from emulator.errors import AzureError

ARM_SCOPE = "https://management.azure.com/.default"
SUBSCRIPTIONS = "https://management.azure.com/subscriptions"
MLOPS = Project("contoso", "mlops")
WHERE = {"organization": "contoso", "project": "mlops"}
APIS = "https://dev.azure.com/contoso/mlops/_apis"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


# --- subjects and tokens, with a clock that can be moved -------------------------------------------------------------------------


@pytest.fixture
def build(cloud: Cloud) -> dict[str, Any]:
    models.use(cloud, "contoso", "mlops")
    return builds.start(cloud, MLOPS, "release", requested_for="dana@contoso.com")


def connection(cloud: Cloud, name: str = "azureml-dev", project: Project = MLOPS, issuer: str = "entra") -> dict[str, Any]:
    """A connection, with an application that trusts it."""
    made = connections.ensure(cloud, project, name, str(uuid.uuid4()), issuer=issuer)
    said = made["authorization"]["parameters"]
    app = entra.create_application(cloud, name, client_id=said["serviceprincipalid"])
    entra.add_federated_credential(cloud, app, said["workloadIdentityFederationIssuer"], said["workloadIdentityFederationSubject"])
    return made


def sign_in_with(cloud: Cloud, made: dict[str, Any], assertion: str) -> str:
    form = {"client_assertion": assertion, "client_assertion_type": proof.ASSERTION_TYPE}
    return proof.authenticate(cloud, made["authorization"]["parameters"]["serviceprincipalid"], form)


def test_the_subject_of_a_connection_is_made_like_entras() -> None:
    """Against a token that was seen, with the ids that belong to it (Teleport's RFD 211)."""
    tenant = base64.urlsafe_b64decode("MiSI_7AJe0O9IsoTwAN97Q==")
    assert str(uuid.UUID(bytes_le=tenant)) == "ff882432-09b0-437b-bd22-ca13c0037ded"
    ours = connections.entra_subject("0ca3ddd9-f0b0-4635-a98c-5866526961b6", "64171687-7a59-4fce-b2c8-823278dcf176")
    prefix, _, rest = ours.partition("/a/")
    assert rest == "rISbSSETf0KqFyZ8ppdXmA/sc/0ca3ddd9-f0b0-4635-a98c-5866526961b6/64171687-7a59-4fce-b2c8-823278dcf176"
    assert str(uuid.UUID(bytes_le=base64.urlsafe_b64decode(prefix.removeprefix("/eid1/c/pub/t/") + "=="))) == TENANT


@pytest.mark.parametrize(
    ("issuer", "iss", "sub", "aud"),
    [
        ("entra", f"https://login.microsoftonline.com/{TENANT}/v2.0", "/eid1/c/pub/t/", entra.EXCHANGE_APPLICATION),
        (
            "azure-devops",
            f"https://vstoken.dev.azure.com/{MLOPS.organization_id}",
            "sc://contoso/mlops/azureml-dev",
            entra.EXCHANGE_AUDIENCE,
        ),
    ],
)
def test_entra_takes_the_tokens_of_both_issuers(cloud: Cloud, build: dict[str, Any], issuer: str, iss: str, sub: str, aud: str) -> None:
    made = connection(cloud, issuer=issuer)
    job = builds.start_job(cloud, MLOPS, build["id"], "train.train", references=["AzureML-dev"])
    caller = builds.job_of(cloud, job["access_token"])
    token = builds.oidc_token(cloud, caller, MLOPS, job["plan_id"], job["job_id"], made["id"])
    said = claims(token)
    assert (said["iss"], said["aud"], said["exp"] - said["iat"]) == (iss, aud, 600)
    assert said["sub"].startswith(sub)
    assert sign_in_with(cloud, made, token) == "2"

    other = connection(cloud, "azureml-production", issuer=issuer)
    with pytest.raises(EntraError) as caught:
        sign_in_with(cloud, other, token)
    assert caught.value.number == 700213
    stranger = connection(cloud, "azureml-test", issuer="entra" if issuer == "azure-devops" else "azure-devops")
    with pytest.raises(EntraError) as caught:
        sign_in_with(cloud, stranger, token)
    assert caught.value.number == 700211
    forged = token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBB")
    with pytest.raises(EntraError) as caught:
        sign_in_with(cloud, made, forged)
    assert caught.value.number == 700027
    cloud.skew = dt.timedelta(minutes=9, seconds=50)
    sign_in_with(cloud, made, token)
    cloud.skew = dt.timedelta(minutes=10, seconds=1)
    with pytest.raises(EntraError) as caught:
        sign_in_with(cloud, made, token)
    assert caught.value.number == 700024
    fresh = builds.oidc_token(cloud, caller, MLOPS, job["plan_id"], job["job_id"], made["id"])
    assert sign_in_with(cloud, made, fresh) == "2"


def test_a_pipelines_own_token(cloud: Cloud, build: dict[str, Any]) -> None:
    job = builds.start_job(cloud, MLOPS, build["id"], "train.train")
    said = claims(builds.oidc_token(cloud, builds.job_of(cloud, job["access_token"]), MLOPS, job["plan_id"], job["job_id"], None))
    assert said["sub"] == "p://contoso/mlops/release"
    assert (said["org_id"], said["prj_id"], said["run_id"]) == (MLOPS.organization_id, MLOPS.id, str(build["id"]))


def test_what_a_job_may_not_ask_for(cloud: Cloud, build: dict[str, Any]) -> None:
    mine, elsewhere = connection(cloud), connection(cloud, "azureml-dev", Project("contoso", "other"))
    production = connection(cloud, "azureml-production")
    job = builds.start_job(cloud, MLOPS, build["id"], "train.train", references=[mine["id"]], timeout_in_minutes=90)
    second = builds.start_job(cloud, MLOPS, build["id"], "deploy.deploy_bundle", references=["azureml-production"])

    def ask(connection_id: str, token: str = job["access_token"], plan: str = job["plan_id"], job_id: str = job["job_id"]) -> str:
        return builds.oidc_token(cloud, builds.job_of(cloud, token), MLOPS, plan, job_id, connection_id)

    ask(mine["id"])
    for foreign in (production["id"], elsewhere["id"], str(uuid.uuid4())):
        with pytest.raises(exceptions.NoReference) as caught:
            ask(foreign)
        text = f"There is no explicit reference to service connection {foreign} from current stage train.train.__default."
        assert caught.value.body() == {"count": len(text), "value": text}
    with pytest.raises(exceptions.DevOpsError, match="No job found with identifier"):
        ask(mine["id"], job_id=second["job_id"])
    with pytest.raises(exceptions.DevOpsError, match="No plan found for identifier"):
        ask(mine["id"], plan=str(uuid.uuid4()))
    later = builds.start(cloud, MLOPS, "release")
    with pytest.raises(exceptions.DevOpsError, match="does not have write permissions for orchestration plan"):
        ask(mine["id"], plan=later["orchestrationPlan"]["planId"])
    cloud.skew = dt.timedelta(minutes=89)
    ask(mine["id"])
    cloud.skew = dt.timedelta(minutes=90)
    with pytest.raises(exceptions.DevOpsError, match="TF400813") as caught_token:
        ask(mine["id"])
    assert caught_token.value.status == 401
    cloud.skew = dt.timedelta()
    builds.end_job(cloud, job["plan_id"], job["job_id"])
    with pytest.raises(exceptions.DevOpsError, match="No job found with identifier"):
        ask(mine["id"])
    builds.finish(cloud, MLOPS, build["id"], "succeeded")
    with pytest.raises(exceptions.DevOpsError, match="No job found with identifier"):
        ask(production["id"], second["access_token"], job_id=second["job_id"])


def test_a_job_references_only_what_its_project_has(cloud: Cloud, build: dict[str, Any]) -> None:
    connection(cloud, "azureml-dev", Project("contoso", "other"))
    with pytest.raises(AzureError, match="No endpoint found with identifier azureml-dev"):
        builds.start_job(cloud, MLOPS, build["id"], "train.train", references=["azureml-dev"])


# --- real clients ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def production(azure: Any) -> dict[str, Any]:
    """A build, a connection of it, and an application that trusts the connection and reads the subscription."""
    client_id, name = str(uuid.uuid4()), f"connection-{uuid.uuid4().hex[:6]}"
    made = azure.admin.azure_devops("connections", **WHERE, name=name, client_id=client_id)
    said = made["authorization"]["parameters"]
    federated = [[said["workloadIdentityFederationIssuer"], said["workloadIdentityFederationSubject"]]]
    roles = [{"role": "Reader", "scope": f"/subscriptions/{SUBSCRIPTION}"}]
    azure.ask("POST", "/identities", {"name": name, "client_id": client_id, "federated": federated, "roles": roles})
    build = azure.admin.azure_devops("builds", **WHERE, pipeline="release")
    return {"connection": made, "client_id": client_id, "build": build}


@pytest.fixture
def job(azure: Any, production: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A job of that build that references the connection, with its environment set as an agent sets it."""
    started = azure.admin.azure_devops(
        "jobs", **WHERE, build_id=production["build"]["id"], name="promote.production", references=[production["connection"]["name"]]
    )
    monkeypatch.setenv("SYSTEM_OIDCREQUESTURI", started["oidc_request_uri"])
    return {**production, **started}


def credential(job: dict[str, Any], connection_id: str = "", token: str = "") -> AzurePipelinesCredential:
    return AzurePipelinesCredential(
        tenant_id=TENANT,
        client_id=job["client_id"],
        service_connection_id=connection_id or job["connection"]["id"],
        system_access_token=token or job["access_token"],
    )


def test_azure_identity_signs_in_and_reads_arm(job: dict[str, Any], send: Any) -> None:
    token = credential(job).get_token(ARM_SCOPE).token
    assert (claims(token)["appid"], claims(token)["appidacr"]) == (job["client_id"], "2")
    answer = send("GET", SUBSCRIPTIONS, token=token, version="2022-12-01")
    assert [each["subscriptionId"] for each in answer.json()["value"]] == [SUBSCRIPTION]


def test_a_long_wait_asks_for_a_fresh_token_at_each_refresh(azure: Any, job: dict[str, Any]) -> None:
    signed_in = credential(job)
    azure.set("token_lifetime", 0)  # every access token is old when it comes
    try:
        first, second = signed_in.get_token(ARM_SCOPE).token, signed_in.get_token(ARM_SCOPE).token
    finally:
        azure.set("token_lifetime", 3600)
    assert claims(first)["uti"] != claims(second)["uti"]
    azure.admin.azure_devops("jobs/finish", plan_id=job["plan_id"], job_id=job["job_id"])
    with pytest.raises(ClientAuthenticationError, match=f"No job found with identifier '{job['job_id']}'"):
        credential(job).get_token(ARM_SCOPE)


def test_azure_identity_is_refused(azure: Any, job: dict[str, Any]) -> None:
    other = azure.admin.azure_devops("connections", **WHERE, name=f"other-{uuid.uuid4().hex[:6]}", client_id=job["client_id"])
    with pytest.raises(ClientAuthenticationError, match="There is no explicit reference to service connection"):
        credential(job, connection_id=other["id"]).get_token(ARM_SCOPE)
    for token in ("not-a-token", job["access_token"][:-6] + "AAAAAA"):
        with pytest.raises(ClientAuthenticationError, match="TF400813: The user '' is not authorized"):
            credential(job, token=token).get_token(ARM_SCOPE)
    nobody = azure.ask("POST", "/identities", {"name": "trusts no issuer"})
    with pytest.raises(ClientAuthenticationError, match="AADSTS700211"):
        credential({**job, "client_id": nobody["client_id"]}).get_token(ARM_SCOPE)


def test_the_azure_cli_signs_in_with_a_jobs_token(job: dict[str, Any], azure: Any, send: Any, tmp_path: Path) -> None:
    """What AzureCLI@2 does: ask for the token, then az login with it."""
    url = f"{job['oidc_request_uri']}?api-version=7.1-preview.1&serviceConnectionId={job['connection']['id']}"
    token = send("POST", url, token=job["access_token"]).json()["oidcToken"]
    program = Path(os.environ.get("AZ_CLI", Path(__file__).resolve().parents[2] / ".venv-az" / "bin" / "az"))
    env = {
        **azure.env,
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AZURE_CONFIG_DIR": str(tmp_path / "az"),
        "PYTHONWARNINGS": "ignore",
    }
    words = ["login", "--service-principal", "--username", job["client_id"], "--tenant", TENANT, "--federated-token", token]
    done = subprocess.run([program, *words], env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (account,) = json.loads(done.stdout)
    assert (account["id"], account["user"]["name"]) == (SUBSCRIPTION, job["client_id"])
