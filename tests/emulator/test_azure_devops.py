"""Azure DevOps: how a pipeline's job signs in, with azure-identity and the Azure CLI as they are, and the REST of runs and approvals."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import AzurePipelinesCredential

from _provision import provision
from emulator.azure_devops import builds, connections, exceptions, models
from emulator.azure_devops.models import Project
from emulator.cli import Problem
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
    with pytest.raises(exceptions.DevOpsError, match="No plan found for identifier"):
        builds.oidc_token(
            cloud, builds.job_of(cloud, job["access_token"]), Project("contoso", "other"), job["plan_id"], job["job_id"], elsewhere["id"]
        )
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


# --- REST: who is let in, and with what version ----------------------------------------------------------------------------------


@pytest.fixture
def rest(azure: Any, send: Any) -> Callable[..., requests.Response]:
    """A request to the project's REST API, as the administrator or by the personal access token of a person."""

    def rest(method: str, path: str, body: Any = None, user: str = "", version: str = "7.1", **params: Any) -> requests.Response:
        if not user:
            token = azure.admin.token(f"{models.APPLICATION}/.default")
            return send(method, f"{APIS}/{path}", token=token, json=body, version=version, params=params)
        basic = ("", azure.admin.azure_devops("tokens", user=user)["token"])
        return send(method, f"{APIS}/{path}", auth=basic, json=body, version=version, params=params)

    return rest


def refusal(answer: requests.Response) -> tuple[int, str, str]:
    """Status, type and message, of an answer in the shape that all refusals have."""
    body = answer.json()
    assert list(body) == ["$id", "innerException", "message", "typeName", "typeKey", "errorCode", "eventId"]
    assert (body["$id"], body["innerException"], body["errorCode"], body["eventId"]) == ("1", None, 0, 3000)
    assert body["typeName"].partition(",")[0].endswith(f".{body['typeKey']}")
    return answer.status_code, body["typeKey"], body["message"]


def test_who_is_let_in(azure: Any, send: Any, job: dict[str, Any], sign_in: Any) -> None:
    build = f"{APIS}/build/builds/{job['build']['id']}"
    suppressed = {"X-TFS-FedAuthRedirect": "Suppress"}
    assert send("GET", build, token=job["access_token"]).json()["id"] == job["build"]["id"]
    assert send("GET", build, token=sign_in(f"{models.APPLICATION}/.default")).status_code == 200
    secret = azure.admin.azure_devops("tokens", user="rea@contoso.com")["token"]
    assert send("GET", build, auth=("anything", secret)).status_code == 200

    for anonymous in ({}, {"token": "no-token"}):
        answer = send("GET", build, allow_redirects=False, **anonymous)
        assert (answer.status_code, answer.headers["Location"]) == (302, "https://app.vssps.visualstudio.com/_signin?realm=dev.azure.com")
        status, key, message = refusal(send("GET", build, headers=suppressed, **anonymous))
        assert (status, key) == (401, "UnauthorizedRequestException")
        assert message == "TF400813: The user '' is not authorized to access this resource."
    assert refusal(send("GET", build, headers=suppressed, token=sign_in()))[0] == 401, "an Entra token for ARM"
    status, _, message = refusal(send("GET", build, auth=("", secret[:-1] + "x")))
    assert (status, message.startswith("Access Denied: The Personal Access Token")) == (401, True)

    other = build.replace("/mlops/", "/secret-project/")
    assert refusal(send("GET", other, token=job["access_token"]))[:2] == (404, "ProjectDoesNotExistException")
    assert refusal(send("GET", f"{APIS}/build/builds/99999", token=job["access_token"])) == (
        404,
        "BuildNotFoundException",
        "The requested build 99999 could not be found.",
    )
    url = f"{APIS}/serviceendpoint/endpoints"
    assert refusal(send("POST", url, token=job["access_token"], json={"name": "mine"}, version="7.1"))[:2] == (403, "AccessDeniedException")


@pytest.mark.parametrize(
    ("version", "key", "says"),
    [
        ("", "VssVersionNotSpecifiedException", 'No api-version was supplied for the "POST" request.'),
        ("seven", "VssInvalidApiResourceVersionException", 'Invalid api version string: "seven".'),
        ("7.2", "VssInvalidPreviewVersionException", 'The requested version "7.2" of the resource is under preview.'),
        ("8.0-preview.1", "VssVersionOutOfRangeException", "The latest REST API version this server supports is 7.2."),
    ],
)
def test_versions(job: dict[str, Any], send: Any, version: str, key: str, says: str) -> None:
    url, connection_id = job["oidc_request_uri"], job["connection"]["id"]
    status, found, message = refusal(
        send("POST", url, token=job["access_token"], version=version or None, params={"serviceConnectionId": connection_id})
    )
    assert (status, found) == (400, key)
    assert says in message
    accepted = {"Accept": "application/json; api-version=7.2-preview.1"}
    answer = send("POST", url, token=job["access_token"], headers=accepted, params={"serviceConnectionId": connection_id})
    assert list(answer.json()) == ["oidcToken"]


def test_tokens_are_signed_by_the_published_keys(azure: Any, send: Any, job: dict[str, Any]) -> None:
    old = azure.admin.azure_devops(
        "connections", **WHERE, name=f"old-{uuid.uuid4().hex[:6]}", client_id=job["client_id"], issuer="azure-devops"
    )
    started = azure.admin.azure_devops("jobs", **WHERE, build_id=job["build"]["id"], name="a.b", references=[old["id"]])
    for made, asks in ((old, started), (job["connection"], job)):
        params = {"serviceConnectionId": made["id"]}
        token = send("POST", asks["oidc_request_uri"], token=asks["access_token"], version="7.1", params=params).json()["oidcToken"]
        issuer = made["authorization"]["parameters"]["workloadIdentityFederationIssuer"]
        found = send("GET", f"{issuer}/.well-known/openid-configuration").json()
        assert found["issuer"] == issuer or issuer == entra.ISSUER_V2
        (jwk,) = send("GET", found["jwks_uri"]).json()["keys"]
        audience = [entra.EXCHANGE_AUDIENCE, entra.EXCHANGE_APPLICATION]
        jwt.decode(token, jwt.PyJWK(jwk).key, algorithms=["RS256"], audience=audience, issuer=issuer)


# --- REST: connections, builds, approvals ----------------------------------------------------------------------------------------


def test_service_connections(rest: Any, send: Any, azure: Any) -> None:
    name, where = f"made-{uuid.uuid4().hex[:6]}", "serviceendpoint/endpoints"
    body = {
        "name": name,
        "type": "azurerm",
        "url": "https://management.azure.com/",
        "data": {"subscriptionId": SUBSCRIPTION, "subscriptionName": "Contoso"},
        "authorization": {
            "scheme": "WorkloadIdentityFederation",
            "parameters": {"tenantid": TENANT, "serviceprincipalid": str(uuid.uuid4())},
        },
        "serviceEndpointProjectReferences": [{"projectReference": {"name": "mlops"}, "name": name}],
    }
    made = rest("POST", where, body).json()
    parameters = made["authorization"]["parameters"]
    assert parameters["workloadIdentityFederationIssuer"] == entra.ISSUER_V2
    assert parameters["workloadIdentityFederationSubject"].endswith(f"/sc/{MLOPS.organization_id}/{made['id']}")
    assert refusal(rest("POST", where, body))[:2] == (500, "DuplicateServiceConnectionException")
    assert rest("GET", where, endpointNames=name.upper()).json() == {"count": 1, "value": [made]}
    assert rest("GET", f"{where}/{made['id']}", version="").json() == made
    assert made["id"] in [one["id"] for one in rest("GET", where).json()["value"]]
    assert rest("DELETE", f"{where}/{made['id']}").status_code == 204
    assert refusal(rest("DELETE", f"{where}/{made['id']}"))[:2] == (404, "EndpointNotFoundException")
    assert rest("GET", f"{where}/{made['id']}").text == "null"

    token = azure.admin.token(f"{models.APPLICATION}/.default")
    url = f"https://dev.azure.com/contoso/_apis/{where}"
    again = send("POST", url, token=token, version="7.1", json=body).json()
    assert send("DELETE", f"{url}/{again['id']}", token=token, version="7.1", params={"projectIds": MLOPS.id}).status_code == 204
    assert refusal(send("DELETE", f"{url}/{again['id']}", token=token, version="7.1"))[:2] == (400, "ServiceEndpointException")

    secret = {"scheme": "ServicePrincipal", "parameters": {"tenantid": TENANT, "serviceprincipalid": "app", "serviceprincipalkey": "hush"}}
    made = rest("POST", where, {**body, "name": f"{name}-secret", "authorization": secret}).json()
    assert made["authorization"]["parameters"]["serviceprincipalkey"] is None
    for change, says in (
        ({"authorization": None}, "Service Connection Authorization cannot be null."),
        ({"type": "AWS"}, "Unable to find service connection type 'AWS' using authentication scheme 'WorkloadIdentityFederation'."),
        ({"name": ""}, "Service connection name cannot be null or empty."),
        ({"authorization": {**body["authorization"], "parameters": {"tenantid": TENANT}}}, "Parameter 'serviceprincipalid'"),
    ):
        status, key, message = refusal(rest("POST", where, {**body, "name": f"{name}-bad", **change}))
        assert (status, key) == (400, "ServiceEndpointException")
        assert message.startswith(says)


def test_a_builds_timeline(azure: Any, rest: Any) -> None:
    build = azure.admin.azure_devops("builds", **WHERE, pipeline="release", reason="manual", branch="refs/heads/main", commit="a" * 40)
    number = build["id"]
    assert rest("GET", f"build/builds/{number}/timeline").json()["records"] == []
    stage = {"id": str(uuid.uuid4()), "type": "Stage", "name": "train", "state": "inProgress"}
    step = {"id": str(uuid.uuid4()), "type": "Task", "name": "Wait", "parentId": stage["id"], "state": "completed", "result": "succeeded"}
    azure.admin.azure_devops("timeline", **WHERE, build_id=number, records=[stage])
    azure.admin.azure_devops("timeline", **WHERE, build_id=number, records=[step, {"id": stage["id"], "state": "completed"}])
    found = rest("GET", f"build/builds/{number}/timeline").json()
    assert [(one["name"], one["state"], one["changeId"]) for one in found["records"]] == [
        ("train", "completed", 2),
        ("Wait", "completed", 2),
    ]
    assert found["changeId"] == 2
    with pytest.raises(Problem, match="has no property colour"):
        azure.admin.azure_devops("timeline", **WHERE, build_id=number, records=[{**step, "colour": "red"}])
    running = rest("GET", f"build/builds/{number}").json()
    assert (running["status"], running.get("result"), running["sourceVersion"]) == ("inProgress", None, "a" * 40)
    azure.admin.azure_devops("builds/finish", **WHERE, build_id=number, result="succeeded")
    ended = rest("GET", f"build/builds/{number}").json()
    assert (ended["status"], ended["result"]) == ("completed", "succeeded")
    assert rest("GET", f"build/builds/{number}", user="rea@contoso.com").json() == ended


def test_a_repository_that_was_pushed(azure: Any, rest: Any, send: Any, job: dict[str, Any]) -> None:
    """Two branches that came from one commit, and a merge of both."""
    base, left, right, merge, alone = (f"{number:040x}" for number in range(0xB0, 0xB5))
    who = {"name": "Ann", "email": "ann@contoso.com", "date": "2026-11-01T10:00:00Z"}
    parents = {base: [], left: [base], right: [base], merge: [left, right], alone: []}
    commits = [
        {"sha": sha, "tree": "c" * 40, "parents": before, "author": who, "committer": who, "message": f"commit {sha[-2:]}"}
        for sha, before in parents.items()
    ]
    branches, where = {"main": merge, "main-2": left, "topic": right}, "git/repositories/pushed"
    azure.admin.azure_devops("git", **WHERE, repository="pushed", commits=commits, branches=branches, tags={"v1": base})

    refs = rest("GET", f"{where}/refs").json()
    assert {one["name"]: one["objectId"] for one in refs["value"]} == {
        "refs/heads/main": merge, "refs/heads/main-2": left, "refs/heads/topic": right, "refs/tags/v1": base,
    }  # fmt: skip
    begun = rest("GET", f"{where}/refs", filter="heads/main").json()["value"]
    assert [one["name"] for one in begun] == ["refs/heads/main", "refs/heads/main-2"], "a filter is what a name begins with"
    found = rest("GET", f"{where}/commits/{merge}").json()
    assert (found["commitId"], found["parents"], found["author"], found["comment"]) == (merge, [left, right], who, "commit b3")
    id = models.identifier("contoso", WHERE["project"])
    by_id = f"git/repositories/{models.identifier(id, 'repository', 'pushed')}/commits/{left}"
    assert send("GET", f"{APIS}/{by_id}", token=job["access_token"]).json()["commitId"] == left

    def bases(one: str, other: str) -> list[str]:
        return [each["commitId"] for each in rest("GET", f"{where}/commits/{one}/mergebases", otherCommitId=other).json()["value"]]

    assert [bases(left, right), bases(merge, right), bases(merge, merge), bases(merge, alone)] == [[base], [right], [merge], []]
    for path in (f"{where}/commits/{'f' * 40}", f"{where}/commits/main", f"{where}/commits/{left}/mergebases"):
        assert refusal(rest("GET", path))[:2] == (404, "GitCommitDoesNotExistException")
    assert refusal(rest("GET", "git/repositories/other/refs"))[:2] == (404, "GitRepositoryNotFoundException")
    with pytest.raises(Problem, match="is not the id of a commit"):
        azure.admin.azure_devops("git", **WHERE, repository="pushed", commits=[{**commits[0], "sha": "main"}])


REA, SAM, DANA = "rea@contoso.com", "sam@contoso.com", "dana@contoso.com"


@pytest.fixture
def ask(azure: Any) -> Callable[..., str]:
    """Ask for an approval of a build that Dana requested; its id."""

    def ask(*approvers: str, **more: Any) -> str:
        build = azure.admin.azure_devops("builds", **WHERE, pipeline="release", requested_for=DANA)
        return str(
            azure.admin.azure_devops("approvals", **WHERE, build_id=build["id"], stage="production", approvers=approvers, **more)["id"]
        )

    return ask


def decide(rest: Any, who: str, approval: str, status: str = "approved", comment: str = "") -> requests.Response:
    return rest("PATCH", "pipelines/approvals", [{"approvalId": approval, "status": status, "comment": comment}], user=who)  # type: ignore[no-any-return]


def test_all_approvers_approve(rest: Any, ask: Any) -> None:
    approval = ask(REA, SAM)
    assert rest("GET", f"pipelines/approvals/{approval}").json()["steps"] == []
    assert decide(rest, REA, approval, comment="fine").json()["value"][0]["status"] == "pending"
    assert refusal(decide(rest, REA, approval))[:2] == (403, "ApprovalUnauthorizedException"), "once"
    assert refusal(decide(rest, "eve@contoso.com", approval))[:2] == (403, "ApprovalUnauthorizedException"), "not assigned"
    assert refusal(decide(rest, DANA, approval))[:2] == (403, "ApprovalBlockedException"), "the requester"
    assert decide(rest, SAM, approval).json()["value"][0]["status"] == "approved"
    assert refusal(decide(rest, SAM, approval))[:2] == (409, "ApprovalAlreadyCompletedException")
    first, second = rest("GET", f"pipelines/approvals/{approval}", **{"$expand": "steps"}).json()["steps"]
    assert (first["status"], first["comment"], first["actualApprover"]["uniqueName"]) == ("approved", "fine", REA)
    assert (second["status"], second["assignedApprover"]["uniqueName"]) == ("approved", SAM)


def test_one_of_several_is_enough_and_a_rejection_ends_it(rest: Any, ask: Any) -> None:
    enough, rejected = ask(REA, SAM, minimum=1), ask(REA, SAM)
    assert decide(rest, SAM, enough).json()["value"][0]["status"] == "approved"
    assert decide(rest, SAM, rejected, "rejected", "not today").json()["value"][0]["status"] == "rejected"
    assert refusal(decide(rest, REA, rejected))[:2] == (409, "ApprovalAlreadyCompletedException")


def test_approvers_in_their_order(rest: Any, ask: Any) -> None:
    approval = ask(REA, SAM, in_sequence=True)
    assert refusal(decide(rest, SAM, approval))[:2] == (403, "ApprovalUnauthorizedException")
    decide(rest, REA, approval)
    assert decide(rest, SAM, approval).json()["value"][0]["status"] == "approved"


def test_a_requester_may_approve_where_that_is_allowed(rest: Any, ask: Any) -> None:
    assert refusal(decide(rest, DANA, ask(DANA)))[:2] == (403, "ApprovalBlockedException")
    assert decide(rest, DANA, ask(DANA, requester_may_approve=True)).json()["value"][0]["status"] == "approved"


def test_a_group_is_asked_and_a_member_decides(azure: Any, rest: Any, ask: Any) -> None:
    project = WHERE["project"]
    groups = {f"[{project}]\\managers": [f"[{project}]\\seniors", SAM], f"[{project}]\\seniors": [REA], f"[{project}]\\others": [SAM]}
    azure.admin.azure_devops("identities", **WHERE, names=[], groups=groups)
    first, second = ask(f"[{project}]\\managers"), ask(f"[{project}]\\managers", f"[{project}]\\others", minimum=2)
    assert refusal(decide(rest, "eve@contoso.com", first))[:2] == (403, "ApprovalUnauthorizedException")
    [made] = decide(rest, REA, first, comment="seen").json()["value"]
    [step] = made["steps"]
    assert (step["assignedApprover"]["isContainer"], step["actualApprover"]["uniqueName"], made["status"]) == (True, REA, "approved")
    assert [decide(rest, SAM, second).json()["value"][0]["status"] for _ in range(2)] == ["pending", "approved"], (
        "once for each of their groups"
    )


def test_finding_approvals(rest: Any, ask: Any) -> None:
    mine, other = ask("fin@contoso.com"), ask(REA)
    where = "pipelines/approvals"
    assert [one["id"] for one in rest("GET", where, approvalIds=f"{mine},{other}").json()["value"]] == [mine, other]
    (found,) = rest("GET", where, state="pending", userIds="FIN@contoso.com", **{"$expand": "steps"}).json()["value"]
    assert (found["id"], found["minRequiredApprovers"], found["pipeline"]["name"]) == (mine, 1, "release")
    assert found["steps"][0]["assignedApprover"]["id"] == models.identifier("fin@contoso.com")
    decide(rest, "fin@contoso.com", mine)
    assert rest("GET", where, state="pending", userIds="fin@contoso.com").json() == {"count": 0, "value": []}
    assert [one["id"] for one in rest("GET", where, top=1).json()["value"]] == [other]
    for answer in (rest("GET", f"{where}/{uuid.uuid4()}"), rest("GET", where, approvalIds=str(uuid.uuid4()))):
        assert refusal(answer)[:2] == (404, "ApprovalNotFoundException")
    assert refusal(rest("GET", where, state="maybe"))[:2] == (400, "ApprovalInvalidParametersException")


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({}, "ApprovalInvalidParametersException"),
        ([], "ApprovalInvalidParametersException"),
        ([{"status": "approved"}], "ApprovalIdNotProvidedException"),
        ([{"approvalId": str(uuid.uuid4()), "status": "deferred"}], "ApprovalInvalidParametersException"),
    ],
)
def test_updates_that_cannot_be(rest: Any, body: Any, key: str) -> None:
    assert refusal(rest("PATCH", "pipelines/approvals", body, user=REA))[:2] == (400, key)


def test_all_updates_or_none(rest: Any, ask: Any) -> None:
    mine, other = ask(REA), ask(SAM)
    body = [{"approvalId": mine, "status": "approved"}, {"approvalId": other, "status": "approved"}]
    assert rest("PATCH", "pipelines/approvals", body, user=REA).status_code == 403
    assert rest("GET", f"pipelines/approvals/{mine}").json()["status"] == "pending"


def test_a_job_cannot_approve(rest: Any, send: Any, ask: Any, job: dict[str, Any]) -> None:
    approval = ask(REA)
    assert send("GET", f"{APIS}/pipelines/approvals/{approval}", token=job["access_token"]).json()["status"] == "pending"
    body = [{"approvalId": approval, "status": "approved"}]
    answer = send("PATCH", f"{APIS}/pipelines/approvals", token=job["access_token"], version="7.1", json=body)
    assert refusal(answer)[:2] == (403, "AccessDeniedException")


# --- provisioning ----------------------------------------------------------------------------------------------------------------


def test_provisioning_trusts_both_systems_and_is_done_once(azure: Any, rest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "flight-delay"
    provision(azure.home, example)

    def kept() -> dict[str, int]:
        """How much there is of everything but tokens, of which each time takes its own, and the calls that they made."""
        counts = azure.ask("GET", "/status")["documents"]
        return {kind: count for kind, count in counts.items() if not kind.endswith(("_token", "_rate"))}

    before = kept()
    found = rest("GET", "serviceendpoint/endpoints", endpointNames="azureml-dev,azureml-production").json()["value"]
    provision(azure.home, example)
    assert kept() == before
    assert rest("GET", "serviceendpoint/endpoints", endpointNames="azureml-dev,azureml-production").json()["value"] == found
    build = azure.admin.azure_devops("builds", **WHERE, pipeline="release")
    assert len(found) == 2
    for one in found:
        started = azure.admin.azure_devops("jobs", **WHERE, build_id=build["id"], name="a.b", references=[one["id"]])
        monkeypatch.setenv("SYSTEM_OIDCREQUESTURI", started["oidc_request_uri"])
        signed_in = credential({"client_id": one["authorization"]["parameters"]["serviceprincipalid"], "connection": one, **started})
        assert signed_in.get_token(ARM_SCOPE).token
