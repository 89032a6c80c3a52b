"""Who is signed in, who may act, and what is said when signing in fails."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    AzureCliCredential,
    AzurePipelinesCredential,
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    CredentialUnavailableError,
)

from aml import identity
from aml.command import Refusal
from aml.workspace import Workspace

SCRIPTS = Path(__file__).parents[2] / "scripts"
TENANT, CLIENT, OTHER = ("00000000-0000-4000-8000-00000000000" + digit for digit in "123")


def at(**fields: Any) -> Workspace:
    given = {"stage": "dev", "people": "refused", **fields}
    return Workspace(
        "dev", Path(), tenant_id=TENANT, subscription_id="s", resource_group="g", workspace_name="w", client_id=CLIENT, **given
    )


def jwt(**claims: Any) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "none"}, claims)]
    return ".".join([*parts, "signature"])


APPLICATION = {"tid": TENANT, "appid": CLIENT, "oid": "o", "idtyp": "app"}
PERSON = {"tid": TENANT, "appid": "04b07795-8ddb-461a-bbee-02f9e1bf7b46", "oid": "o", "idtyp": "user", "upn": "ada@contoso.com", "scp": "x"}


@pytest.mark.parametrize(
    ("claims", "kind"),
    [
        (APPLICATION, "application"),
        ({**APPLICATION, "idtyp": None}, "application"),
        ({"tid": TENANT, "azp": CLIENT}, "application"),
        (PERSON, "person"),
        ({"tid": TENANT, "appid": CLIENT, "scp": "user_impersonation"}, "person"),
        ({"tid": TENANT, "appid": CLIENT, "upn": "ada@contoso.com"}, "person"),
        ({"tid": TENANT, "appid": CLIENT, "idtyp": "device"}, "person"),
    ],
)
def test_an_application_is_told_from_a_person(claims: dict[str, Any], kind: str) -> None:
    assert identity.kind(identity.claims(jwt(**claims))) == kind


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a." + base64.urlsafe_b64encode(b"[1]").decode() + ".c", "a.\xff.c"])
def test_a_token_that_says_nothing_is_refused(token: str) -> None:
    with pytest.raises(Refusal, match="no JSON Web Token"):
        identity.claims(token)


def test_the_workspaces_own_principal_may_act() -> None:
    identity.check(at(), APPLICATION, writes=True)
    identity.check(at(), {**APPLICATION, "appid": CLIENT.upper(), "tid": TENANT.upper()}, writes=True)


@pytest.mark.parametrize(
    ("claims", "workspace", "line"),
    [
        (
            {**APPLICATION, "tid": OTHER},
            at(),
            f"The sign-in is of tenant {OTHER}, and workspace dev is of tenant {TENANT}. "
            "Fix: sign in to that tenant, or correct tenant_id in .cloud/workspaces/dev.yml.",
        ),
        (
            {**APPLICATION, "appid": OTHER},
            at(),
            f"The sign-in is of application {OTHER}, and only {CLIENT} acts in workspace dev. "
            "Fix: sign in as that application, or correct client_id in .cloud/workspaces/dev.yml.",
        ),
        (
            PERSON,
            at(),
            "A person is signed in (ada@contoso.com). Only the service principal writes to workspace dev. "
            "Fix: let the pipeline do it; or set people: allowed in .cloud/workspaces/dev.yml.",
        ),
        (
            PERSON,
            at(stage="prod", people="allowed"),
            "A person is signed in (ada@contoso.com). Only the service principal writes to workspace dev. Fix: let the pipeline do it.",
        ),
        ({**PERSON, "tid": OTHER}, at(people="allowed"), f"The sign-in is of tenant {OTHER}, and workspace dev is of tenant {TENANT}."),
    ],
)
def test_anybody_else_may_not(claims: dict[str, Any], workspace: Workspace, line: str) -> None:
    with pytest.raises(Refusal) as refusal:
        identity.check(workspace, claims, writes=True)
    assert str(refusal.value).startswith(line)


def test_people_may_read_and_write_where_the_spec_says_so() -> None:
    identity.check(at(), PERSON, writes=False)
    identity.check(at(people="allowed"), PERSON, writes=True)
    identity.check(at(stage="prod"), PERSON, writes=False)


ON_AZURE_DEVOPS = {
    "TF_BUILD": "True",
    "SYSTEM_OIDCREQUESTURI": "https://x",
    "SYSTEM_ACCESSTOKEN": "t",
    "AML_SERVICE_CONNECTION_ID": "c",
}


@pytest.mark.parametrize(
    ("env", "kind"),
    [
        (
            {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://x", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t", "AZURE_CLIENT_SECRET": "s"},
            ClientAssertionCredential,
        ),
        (ON_AZURE_DEVOPS, AzurePipelinesCredential),
        ({**ON_AZURE_DEVOPS, "AZURE_CLIENT_SECRET": ""}, AzurePipelinesCredential),
        ({**ON_AZURE_DEVOPS, "AZURE_CLIENT_SECRET": "left over", "AZURE_CLIENT_ID": OTHER}, AzurePipelinesCredential),
        (
            {"SYSTEM_OIDCREQUESTURI": "https://x", "SYSTEM_ACCESSTOKEN": "t", "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "c"},
            AzurePipelinesCredential,
        ),
        ({"AZURE_CLIENT_SECRET": "s"}, ClientSecretCredential),
        ({"AZURE_CLIENT_SECRET": "s", "AZURE_CLIENT_ID": CLIENT}, ClientSecretCredential),
        ({}, AzureCliCredential),
    ],
)
def test_the_credential_follows_from_where_it_runs(
    env: dict[str, str], kind: type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert isinstance(identity._credential(at()), kind)
    warned = "warning: Signing in with AZURE_CLIENT_SECRET. It can leak and expires" in capsys.readouterr().err
    assert warned == (kind is ClientSecretCredential)


def test_a_secret_based_service_connection_signs_in_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**ON_AZURE_DEVOPS, "AML_SERVICE_CONNECTION_ID": "", "AZURE_CLIENT_SECRET": "s", "AZURE_CLIENT_ID": CLIENT}.items():
        monkeypatch.setenv(name, value)
    assert isinstance(identity._credential(at()), ClientSecretCredential)
    said = capsys.readouterr().out
    assert said.startswith("##vso[task.logissue type=warning]Signing in with AZURE_CLIENT_SECRET. It can leak and expires; a federated")
    assert said.endswith("; convert the service connection.\n")


@pytest.mark.parametrize(
    ("env", "line"),
    [
        (
            {"GITHUB_ACTIONS": "true"},
            "The job cannot sign in. It may not ask for an OIDC token. Fix: give it and its callers 'permissions: id-token: write'",
        ),
        (
            {"TF_BUILD": "True", "SYSTEM_OIDCREQUESTURI": "https://x", "SYSTEM_ACCESSTOKEN": "t"},
            "The job cannot sign in. It has no service connection: AML_SERVICE_CONNECTION_ID and AZURE_CLIENT_SECRET are empty. Fix: give "
            "steps/setup.yml the service_connection",
        ),
        (
            {**ON_AZURE_DEVOPS, "SYSTEM_ACCESSTOKEN": ""},
            "The job cannot sign in. SYSTEM_ACCESSTOKEN is empty: Azure DevOps shows the job's access token only to a step that maps it. "
            "Fix: add to this step: env: {SYSTEM_ACCESSTOKEN: $(System.AccessToken)}",
        ),
        ({**ON_AZURE_DEVOPS, "SYSTEM_ACCESSTOKEN": "$(System.AccessToken)"}, "The job cannot sign in. SYSTEM_ACCESSTOKEN is empty"),
        ({**ON_AZURE_DEVOPS, "SYSTEM_OIDCREQUESTURI": ""}, "The job cannot sign in. SYSTEM_OIDCREQUESTURI is empty: this Azure DevOps"),
        (
            {"TF_BUILD": "True", "AML_SERVICE_CONNECTION_ID": "$(SOME_ID)", "AZURE_CLIENT_SECRET": "$(AZURE_CLIENT_SECRET)"},
            "The job cannot sign in. It has no service connection",
        ),
        ({"AZURE_CLIENT_SECRET": "s", "AZURE_CLIENT_ID": OTHER}, f"AZURE_CLIENT_SECRET belongs to application {OTHER}. Only {CLIENT} acts"),
        (
            {"AZURE_CLIENT_CERTIFICATE_PATH": "/nowhere.pem"},
            "The certificate /nowhere.pem cannot be used. No such file or directory. Fix: name a PEM",
        ),
        ({"AZURE_CLIENT_CERTIFICATE_PATH": __file__}, f"The certificate {__file__} cannot be used."),
    ],
)
def test_no_credential_is_told_with_the_fix(env: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Refusal) as refusal:
        identity._credential(at())
    assert str(refusal.value).startswith(line)


def test_a_certificate_signs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import trustme

    issued = trustme.CA().issue_cert("somebody", key_type=trustme.KeyType.RSA)
    (tmp_path / "both.pem").write_bytes(issued.private_key_pem.bytes() + issued.cert_chain_pems[0].bytes())
    monkeypatch.setenv("AZURE_CLIENT_CERTIFICATE_PATH", str(tmp_path / "both.pem"))
    assert isinstance(identity._credential(at()), CertificateCredential)


@pytest.fixture
def github(played: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{played.url}/idtoken?api-version=2.0")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return played


def test_each_assertion_is_a_fresh_one(github: Any) -> None:
    github.answer(200, {"value": "one"})
    github.answer(200, {"value": "two"})
    assert (identity.assertion(), identity.assertion()) == ("one", "two")
    _, path, headers, _ = github.asked[0]
    assert path == "/idtoken?api-version=2.0&audience=api%3A%2F%2FAzureADTokenExchange"
    assert headers["Authorization"] == "Bearer request-token"


def test_a_moment_of_trouble_is_waited_for(github: Any) -> None:
    github.answer(503)
    github.answers.append(None)
    github.answer(200, {"value": "one"})
    assert identity.assertion() == "one"


@pytest.mark.parametrize(("status", "tries"), [(401, 1), (403, 1), (500, 4)])
def test_no_assertion_is_told(github: Any, status: int, tries: int) -> None:
    github.answer(status)
    with pytest.raises(Refusal, match=f"GitHub gave the job no OIDC token. It answered {status}. Fix: run the job again"):
        identity.assertion()
    assert len(github.asked) == tries


@pytest.fixture
def azure_devops(played: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**ON_AZURE_DEVOPS, "SYSTEM_OIDCREQUESTURI": f"{played.url}/oidctoken"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return played


def serialised(message: str) -> dict[str, Any]:
    return {"$id": "1", "innerException": None, "message": message, "typeKey": "SomeException", "errorCode": 0, "eventId": 3000}


NOT_NAMED = "There is no explicit reference to service connection c from current stage dev.train.__default."


@pytest.mark.parametrize(
    ("status", "body", "line"),
    [
        (
            404,
            {"count": len(NOT_NAMED), "value": NOT_NAMED},
            "No task of this job names that connection, and only a job with one that does gets its tokens "
            f"(404: {NOT_NAMED}). Fix: include steps/setup.yml with service_connection in this very job.",
        ),
        (
            400,
            {"count": 1, "value": {"Message": NOT_NAMED}},
            f"No task of this job names that connection, and only a job with one that does gets its tokens (400: {NOT_NAMED}). Fix:",
        ),
        (
            401,
            serialised("TF400813: The user '' is not authorized to access this resource."),
            "SYSTEM_ACCESSTOKEN is not this job's access token, or no longer (401: TF400813: The user '' is not authorized to access this "
            "resource.). Fix: map it in this step: env: {SYSTEM_ACCESSTOKEN: $(System.AccessToken)}.",
        ),
        (
            403,
            serialised("Access denied: Build Service does not have write permissions for orchestration plan p."),
            "SYSTEM_ACCESSTOKEN is not this job's access token, or no longer (403: ",
        ),
        (404, serialised("No job found with identifier 'j' for plan 'p'."), "The job has ended, or is another one (404: "),
        (
            404,
            serialised("No endpoint found with identifier c."),
            "The connection is disabled or deleted, or this pipeline may not use it (404: No endpoint found with identifier c.). "
            "Fix: look at it under Project settings, Service connections",
        ),
        (418, b"<html><body>teapot <b>x</b>", "It answered 418: teapot x. Fix: run the job again"),
        (500, None, "It answered 500. Fix: run the job again"),
        (200, {"count": 0}, "It answered 200, and no token. Fix: run the job again"),
    ],
)
def test_no_token_of_azure_devops_is_told_with_the_fix(status: int, body: Any, line: str, azure_devops: Any) -> None:
    azure_devops.answer(status, body)
    with pytest.raises(Refusal) as refusal:
        identity.sign_in(at())
    assert str(refusal.value).startswith(f"Azure DevOps gave the job no OIDC token for service connection c. {line}")
    method, path, headers, _ = azure_devops.asked[0]
    assert (method, path, headers["Authorization"]) == ("POST", "/oidctoken?api-version=7.1&serviceConnectionId=c", "Bearer t")


def test_a_moment_of_trouble_at_azure_devops_is_waited_for(azure_devops: Any) -> None:
    azure_devops.answer(503)
    azure_devops.answer(200, {"oidcToken": "one"})
    assert identity._credential(at())._get_oidc_token() == "one"  # type: ignore[attr-defined]


def test_a_refusal_is_all_that_is_printed(azure_devops: Any) -> None:
    """azure-identity logs what it raises, raw and at length; a process without a logging handler of its own prints that."""
    azure_devops.answer(404, serialised("No endpoint found with identifier c. ##vso[task.complete result=Succeeded]"))
    code = f"""
import sys; sys.path.insert(0, {str(SCRIPTS)!r})
from pathlib import Path
from aml import command, identity
from aml.workspace import Workspace
fields = dict(tenant_id={TENANT!r}, subscription_id="s", resource_group="g", workspace_name="w", client_id={CLIENT!r})
command.run(lambda: identity.sign_in(Workspace("dev", Path(), stage="dev", people="refused", **fields)) and 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == ""
    assert done.stdout.startswith("##vso[task.logissue type=error]Azure DevOps gave the job no OIDC token for service connection c. The")
    assert done.stdout.count("\n") == 1
    assert done.stdout.count("##vso[") == 1


def test_another_refusal_of_azure_is_not_taken_for_one_of_azure_devops(azure_devops: Any) -> None:
    assert identity.refused(ClientAuthenticationError("Something else")) is None


def aadsts(code: str, said: str = "Something.") -> ClientAuthenticationError:
    return ClientAuthenticationError(f"Authentication failed: AADSTS{code}: {said} Trace ID: 1 Correlation ID: 2 Timestamp: 3")


@pytest.mark.parametrize(
    ("code", "cause", "fix"),
    [
        (
            "700024",
            "the assertion has expired or is not valid yet; it lives five minutes on GitHub and ten on Azure DevOps",
            "let the step that needs Azure sign in itself, as the verbs do, not one before a wait; else check the runner's clock",
        ),
        ("7000229", "the application has no service principal in the tenant", f"make it: az ad sp create --id {CLIENT}"),
        (
            "700016",
            "the tenant has no such application",
            f"correct client_id or tenant_id in .cloud/workspaces/dev.yml ({CLIENT}, {TENANT})",
        ),
        (
            "7000215",
            "the client secret is wrong",
            "set AZURE_CLIENT_SECRET to the secret's value (not its id), or use a federated credential",
        ),
        ("7000222", "the client secret has expired", "make a new secret, or use a federated credential, which does not expire"),
        ("700027", "the certificate is not registered with the application", "upload its public part to the application"),
        ("90002", "there is no such tenant", f"correct tenant_id in .cloud/workspaces/dev.yml ({CLIENT}, {TENANT})"),
        ("53003", "a conditional access policy forbids it", "ask the tenant's administrators to allow the runner's network"),
        ("999", "Something", "look the code up in 'Microsoft Entra authentication and authorization error codes'"),
    ],
)
def test_each_refusal_of_entra_has_its_cause_and_fix(code: str, cause: str, fix: str) -> None:
    line = str(identity.refused(aadsts(code), at()))
    assert line == f"Microsoft Entra refused to sign in application {CLIENT} for workspace dev. AADSTS{code}: {cause}. Fix: {fix}."


@pytest.mark.parametrize("code", ["70021", "700211", "700212", "700213", "7002138", "70025"])
def test_a_subject_that_matches_nothing_is_told_with_what_was_presented(code: str, github: Any) -> None:
    subject = "repo:contoso@12/flight-delay@34:environment:dev"
    github.answer(200, {"value": jwt(iss="https://token.actions.githubusercontent.com", sub=subject, aud="api://AzureADTokenExchange")})
    line = str(identity.refused(aadsts(code), at()))
    assert line.endswith(f": issuer https://token.actions.githubusercontent.com, subject {subject}, audience api://AzureADTokenExchange.")


def test_nobody_is_told_to_open_production_to_every_workflow(github: Any) -> None:
    claims = {"iss": "https://token.actions.githubusercontent.com", "sub": "repo:c/f:environment:production", "job_workflow_ref": "c/f/x@y"}
    github.answer(200, {"value": jwt(**claims)})
    line = str(identity.refused(aadsts("700213"), at(stage="prod")))
    assert "add one" not in line
    assert "Fix: run the catalog's own workflow at a release, as .cloud/identity.txt says; check_identity shows what differs. " in line
    assert line.endswith("audience api://AzureADTokenExchange, job_workflow_ref c/f/x@y.")


@pytest.mark.parametrize("code", ["70021", "700211", "700213", "70025"])
def test_a_service_connection_that_matches_nothing_is_told_with_what_was_presented(code: str, azure_devops: Any) -> None:
    issuer, subject = f"https://login.microsoftonline.com/{TENANT}/v2.0", "/eid1/c/pub/t/x/a/y/sc/o/c"
    azure_devops.answer(200, {"oidcToken": jwt(iss=issuer, sub=subject, aud="fb60f99c-7a34-4190-8149-302f77469936")})
    line = str(identity.refused(aadsts(code), at()))
    shown = f": issuer {issuer}, subject {subject}, audience api://AzureADTokenExchange"
    assert line.endswith(f"{shown}; if they are masked here, the connection's page has them.")


def test_what_was_presented_may_be_out_of_reach(azure_devops: Any) -> None:
    azure_devops.answer(401)
    assert str(identity.refused(aadsts("700213"), at())).endswith("Fix: add one with exactly this issuer, subject and audience.")


def test_nobody_signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    line = str(identity.refused(CredentialUnavailableError("Azure CLI not found on path"), at()))
    assert line.startswith(f"Nobody is signed in as application {CLIENT} for workspace dev. Azure CLI not found on path. Fix: run it in")
    assert identity.refused(ValueError("a bug")) is None


@pytest.mark.parametrize(
    "text",
    [
        "Error: No subscriptions found for ***.",
        "login: No subscriptions were found for 'x'.",
        "The subscription 's' could not be retrieved for 'x'.",
    ],
)
def test_no_subscriptions_is_a_missing_role_and_no_failed_sign_in(text: str) -> None:
    line = str(identity.explain(text, at()))
    assert line.startswith(
        f"Signed in as application {CLIENT} for workspace dev, which sees no subscription. It holds no role in subscription s"
    )
    assert "a new assignment can take 30 minutes to be seen" in line
    assert "the workspace's service principal" in str(identity.explain(text))
    assert identity.explain("All is well") is None


def test_where_no_job_runs_nothing_is_presented() -> None:
    assert identity.presents(at()) is None


def test_a_job_that_gets_no_token_is_told(azure_devops: Any) -> None:
    azure_devops.answer(404, serialised("No endpoint found with identifier c."))
    with pytest.raises(Refusal, match="Azure DevOps gave the job no OIDC token"):
        identity.presents(at())


def test_the_platform_teams_own_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "s")
    with pytest.raises(Refusal, match="Whose secret is it"):
        identity.administrator(TENANT)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Refusal, match=f"The platform team's sign-in to tenant {TENANT} failed. Azure CLI not found on path. Fix: az login"):
        identity.administrator(TENANT)
