"""Who acts: a service principal, signed in without secrets where the CI system allows it.

Sources: "Workload identity federation" (learn.microsoft.com/entra/workload-id), "OpenID Connect" (docs.github.com/actions),
"Access token claims reference" and "Microsoft Entra authentication and authorization error codes" (learn.microsoft.com/entra),
"Troubleshoot an Azure Resource Manager workload identity service connection" (learn.microsoft.com/azure/devops); what Azure DevOps
says of a connection that the job does not name: dotnet/docker-tools#2012.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from aml import ci
from aml.command import Refusal
from aml.workspace import Workspace

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.identity import AzurePipelinesCredential

SCOPE = "https://management.azure.com/.default"  # for the data plane too: MLClient asks for it there
AUDIENCE = "api://AzureADTokenExchange"


def sign_in(workspace: Workspace, *, writes: bool = True) -> TokenCredential:
    """A credential for the workspace's own principal, with a first token fetched and its claims checked.

    GitHub: a fresh OIDC assertion at each refresh. Azure DevOps: the same by AzurePipelinesCredential, from the service connection
    (AML_SERVICE_CONNECTION_ID) and the job's access token. Otherwise AZURE_CLIENT_SECRET, which is also what a secret-based service
    connection comes to, or AZURE_CLIENT_CERTIFICATE_PATH, with a warning; otherwise the person signed in with the Azure CLI.
    A person is refused where `writes`, unless the spec says `people: allowed`; a token of another tenant or client always.
    Raises Refusal.
    """
    from azure.core.exceptions import AzureError

    found = _credential(workspace)
    logging.getLogger("azure.identity").addHandler(logging.NullHandler())  # it would print what is said below, raw and at length
    try:
        token = found.get_token(SCOPE).token
    except AzureError as error:
        raise refused(error, workspace) or error from error
    check(workspace, claims(token), writes=writes)
    return found


def claims(token: str) -> dict[str, Any]:
    """What a token says, unverified: Azure verifies it; we only look whose it is."""
    try:
        payload = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise Refusal(
            "The sign-in gave a token that cannot be read", "It is no JSON Web Token", "sign in as the workspace's service principal"
        )
    return found


def kind(token: dict[str, Any]) -> str:
    """'application' or 'person'. Optional claim `idtyp` says it; without it, only a person's token has delegated scopes (`scp`)."""
    if token.get("idtyp") == "app":
        return "application"
    return "person" if token.get("idtyp") or "scp" in token or "upn" in token else "application"


def check(workspace: Workspace, token: dict[str, Any], *, writes: bool) -> None:
    """Refuse a token that may not act in this workspace."""
    file = f".cloud/workspaces/{workspace.name}.yml"
    if str(token.get("tid", "")).lower() != workspace.tenant_id.lower():
        raise Refusal(
            f"The sign-in is of tenant {token.get('tid')}, and workspace {workspace.name} is of tenant {workspace.tenant_id}",
            fix=f"sign in to that tenant, or correct tenant_id in {file}",
        )
    if kind(token) == "person":
        if writes and (workspace.people != "allowed" or workspace.stage != "dev"):
            allow = f"; or set people: allowed in {file}" if workspace.stage == "dev" else ""
            raise Refusal(
                f"A person is signed in ({token.get('upn') or token.get('oid')})",
                f"Only the service principal writes to workspace {workspace.name}",
                f"let the pipeline do it{allow}",
            )
        return
    client = str(token.get("appid") or token.get("azp") or "")
    if client.lower() != workspace.client_id.lower():
        raise Refusal(
            f"The sign-in is of application {client}, and only {workspace.client_id} acts in workspace {workspace.name}",
            fix=f"sign in as that application, or correct client_id in {file}",
        )


def who(token: dict[str, Any]) -> str:
    """The token's owner in words."""
    return f"{kind(token)} {token.get('upn') or token.get('appid') or token.get('azp') or token.get('oid')}"


def _credential(workspace: Workspace) -> TokenCredential:
    whose = {"tenant_id": workspace.tenant_id, "client_id": workspace.client_id}
    if ci.setting("ACTIONS_ID_TOKEN_REQUEST_URL") and ci.setting("ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        from azure.identity import ClientAssertionCredential

        return ClientAssertionCredential(func=assertion, **whose)
    if _connection():
        return _federated(whose)
    for name in ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH"):
        if not (given := ci.setting(name)):
            continue
        client = ci.setting("AZURE_CLIENT_ID")
        if client and client.lower() != workspace.client_id.lower():
            raise Refusal(
                f"{name} belongs to application {client}",
                f"Only {workspace.client_id} acts in workspace {workspace.name}",
                f"set AZURE_CLIENT_ID and {name} to that application's, or correct client_id in .cloud/workspaces/{workspace.name}.yml",
            )
        instead = "; convert the service connection" if ci.system() == "azure-devops" else ""
        ci.warning(f"Signing in with {name}. It can leak and expires; a federated credential can't and doesn't{instead}.")
        if name == "AZURE_CLIENT_SECRET":
            from azure.identity import ClientSecretCredential

            return ClientSecretCredential(client_secret=given, **whose)
        return _certificate(given, whose)
    if ci.system() == "github":
        fix = "give it and its callers 'permissions: id-token: write'"
        raise Refusal("The job cannot sign in", "It may not ask for an OIDC token", fix)
    if ci.system() == "azure-devops":
        raise Refusal(
            "The job cannot sign in",
            "It has no service connection: AML_SERVICE_CONNECTION_ID and AZURE_CLIENT_SECRET are empty",
            "give steps/setup.yml the service_connection, federated or with a secret (not a certificate, not an agent's own identity); "
            "with a secret, also map it: env: {AZURE_CLIENT_SECRET: $(AZURE_CLIENT_SECRET)}",
        )
    from azure.identity import AzureCliCredential

    return AzureCliCredential(tenant_id=workspace.tenant_id)


def _connection() -> str:
    # _setup hands the first one on; AzureCLI@2 and AzurePowerShell@5 set the second one for what runs inside of them.
    return ci.setting("AML_SERVICE_CONNECTION_ID") or ci.setting("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID")


def _federated(whose: dict[str, str]) -> AzurePipelinesCredential:
    from azure.identity import AzurePipelinesCredential

    if not (token := ci.setting("SYSTEM_ACCESSTOKEN")):
        raise Refusal(
            "The job cannot sign in",
            "SYSTEM_ACCESSTOKEN is empty: Azure DevOps shows the job's access token only to a step that maps it",
            "add to this step: env: {SYSTEM_ACCESSTOKEN: $(System.AccessToken)}",
        )
    if not ci.setting("SYSTEM_OIDCREQUESTURI"):
        raise Refusal(
            "The job cannot sign in",
            "SYSTEM_OIDCREQUESTURI is empty: this Azure DevOps gives its jobs no OIDC tokens, or the step runs in a container without it",
            "run it on Azure DevOps Services, outside of a container of its own; or use a secret-based service connection",
        )
    return AzurePipelinesCredential(service_connection_id=_connection(), system_access_token=token, **whose)


def _certificate(path: str, whose: dict[str, str]) -> TokenCredential:
    from azure.identity import CertificateCredential

    password = os.environ.get("AZURE_CLIENT_CERTIFICATE_PASSWORD")
    try:
        return CertificateCredential(certificate_path=path, password=password, **whose)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Refusal(f"The certificate {path} cannot be used", why, "name a PEM or PKCS12 file that has its key") from error


def assertion() -> str:
    """A fresh OIDC token of the GitHub job. It lives five minutes, so every refresh asks for another."""
    url = os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"]
    url += ("&" if "?" in url else "?") + urllib.parse.urlencode({"audience": AUDIENCE})
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {os.environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"})
    for pause in (1, 3, 9, None):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return str(json.load(answer)["value"])
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            status = error.code if isinstance(error, urllib.error.HTTPError) else 0
            if pause is None or (status and status not in (408, 429) and status < 500):
                why = f"It answered {status}" if status else str(getattr(error, "reason", error))
                raise Refusal(
                    "GitHub gave the job no OIDC token", why, "run the job again; an old run's token request has expired"
                ) from error
        time.sleep(pause)
    raise AssertionError


_CODES = {
    "700024": (
        "the assertion has expired or is not valid yet; it lives five minutes on GitHub and ten on Azure DevOps",
        "let the step that needs Azure sign in itself, as the verbs do, not one before a wait; else check the runner's clock",
    ),
    "700213": ("no federated credential of the application matches this job", "add one with exactly this issuer, subject and audience"),
    "700211": (
        "no federated credential of the application matches this job's issuer",
        "add one with exactly this issuer, subject and audience",
    ),
    "700212": (
        "no federated credential of the application matches this job's audience",
        "add one with exactly this issuer, subject and audience",
    ),
    "70025": ("the application has no federated credential", "add one with exactly this issuer, subject and audience"),
    "700223": ("the tenant forbids workload identity federation", "ask its administrators to allow it, or federate a managed identity"),
    "700238": ("the tenant does not allow federation with this issuer", "ask its administrators to allow this organization's issuer"),
    "70052": ("Entra's issuer serves no multitenant application", "set the application's signInAudience to AzureADMyOrg"),
    "7002138": ("the subject of the federated credential differs", "correct it; subjects are compared letter by letter, case included"),
    "70021": ("no federated credential of the application matches this job", "add one with exactly this issuer, subject and audience"),
    "700016": ("the tenant has no such application", "correct client_id or tenant_id"),
    "7000229": ("the application has no service principal in the tenant", "make it: az ad sp create --id <client_id>"),
    "7000112": ("the application's service principal is disabled", "ask who disabled it, and why; az ad sp update enables it again"),
    "7000215": ("the client secret is wrong", "set AZURE_CLIENT_SECRET to the secret's value (not its id), or use a federated credential"),
    "7000222": ("the client secret has expired", "make a new secret, or use a federated credential, which does not expire"),
    "700027": ("the certificate is not registered with the application", "upload its public part to the application"),
    "90002": ("there is no such tenant", "correct tenant_id"),
    "53003": ("a conditional access policy forbids it", "ask the tenant's administrators to allow the runner's network"),
}


_BOUND = "run the catalog's own workflow at a release, as .cloud/identity.txt says; check_identity shows what differs. The job presents"
_MISMATCHES = ("70021", "700211", "700212", "700213", "7002138", "70025")


def refused(error: Exception, workspace: Workspace | None = None) -> Refusal | None:
    """One line for a sign-in that Entra or the CI system refused; None for another kind of error."""
    if refusal := _no_token(error):
        return refusal
    text = " ".join(str(getattr(error, "message", error)).split())
    if said := explain(text, workspace):
        return said
    if type(error).__name__ == "CredentialUnavailableError":
        return Refusal(f"Nobody is signed in as {_whom(workspace)}", text, "run it in the pipeline, or sign in with 'az login'")
    return None


def explain(text: str, workspace: Workspace | None = None) -> Refusal | None:
    """One line for what Entra or the Azure CLI says of a sign-in that failed; None for other text.

    Sources: "Microsoft Entra authentication and authorization error codes" (learn.microsoft.com/entra); the Azure CLI lists the
    subscriptions that the sign-in can see after it, and fails if there are none (azure-cli, _profile.py; Azure/login#213, #556).
    """
    if code := re.search(r"AADSTS(\d+)", text):
        cause, fix = _CODES.get(code[1], ("", "look the code up in 'Microsoft Entra authentication and authorization error codes'"))
        if workspace and code[1] in ("700016", "90002"):
            fix += f" in .cloud/workspaces/{workspace.name}.yml ({workspace.client_id}, {workspace.tenant_id})"
        if workspace and code[1] == "7000229":
            fix = fix.replace("<client_id>", workspace.client_id)
        if workspace and code[1] in _MISMATCHES:
            if workspace.stage == "prod" and ci.setting("ACTIONS_ID_TOKEN_REQUEST_URL"):
                fix = _BOUND  # a credential for the subject alone would let every workflow of the repository into production
            fix += _presented(workspace)
        said = re.search(r"AADSTS\d+: (.*?)(?= Trace ID| Correlation ID| Timestamp|$)", text)
        why = f"AADSTS{code[1]}: {cause or (said[1] if said else text)}"
        return Refusal(f"Microsoft Entra refused to sign in {_whom(workspace)}", why, fix)
    if re.search(r"No subscriptions (were )?found|The subscription '[^']*' could not be retrieved", text, re.IGNORECASE):
        return no_subscriptions(workspace)
    return None


def no_subscriptions(workspace: Workspace | None = None) -> Refusal:
    """What it means that a sign-in sees no subscription. It is no fault of the sign-in, which has worked by then."""
    where = f"subscription {workspace.subscription_id}" if workspace else "the subscription"
    return Refusal(
        f"Signed in as {_whom(workspace)}, which sees no subscription",
        f"It holds no role in {where} or in anything below it, or one that was granted minutes ago",
        "plan_identity --apply assigns its roles; a new assignment can take 30 minutes to be seen",
    )


def _whom(workspace: Workspace | None) -> str:
    return f"application {workspace.client_id} for workspace {workspace.name}" if workspace else "the workspace's service principal"


# What Azure DevOps says, or the status it says it with: why, and the fix.
_NO_TOKEN = (
    (
        r"no explicit reference to service connection",
        "No task of this job names that connection, and only a job with one that does gets its tokens",
        "include steps/setup.yml with service_connection in this very job",
    ),
    (
        r"^(401|302|203)\b|write permissions for orchestration plan",
        "SYSTEM_ACCESSTOKEN is not this job's access token, or no longer",
        "map it in this step: env: {SYSTEM_ACCESSTOKEN: $(System.AccessToken)}",
    ),
    (
        r"No (plan|job) found|orchestration (plan|job)",
        "The job has ended, or is another one",
        "run the stage again; the token of an earlier attempt is of no use",
    ),
    (
        r"No endpoint found|service connection|endpoint",
        "The connection is disabled or deleted, or this pipeline may not use it",
        "look at it under Project settings, Service connections: its state, and under Security the pipelines that may use it",
    ),
)


def _no_token(error: Exception) -> Refusal | None:
    """One line for a job that Azure DevOps gave no OIDC token; None for any other error."""
    response = getattr(error, "response", None)
    address = os.environ.get("SYSTEM_OIDCREQUESTURI", "")
    if not address or type(error).__name__ != "ClientAuthenticationError":
        return None
    if response is not None and str(response.request.url).startswith(address):
        said = f"{response.status_code}: {_said(response.text())}".removesuffix(": ")
    elif "OIDC token not found" in str(error):
        said = "200, and no token"
    else:
        return None
    what = f"Azure DevOps gave the job no OIDC token for service connection {_connection()}"
    for pattern, why, fix in _NO_TOKEN:
        if re.search(pattern, said, re.IGNORECASE):
            return Refusal(what, f"{why} ({said})", fix)
    return Refusal(what, f"It answered {said}", "run the job again; if it stays, look at Azure DevOps' status page")


def _said(body: str) -> str:
    try:
        found = json.loads(body)
        found = found.get("message") or found.get("value") or found
        return " ".join(str(found.get("Message") if isinstance(found, dict) else found).split())
    except (ValueError, AttributeError):
        return " ".join(re.sub(r"<[^>]*>", " ", body).split())[:300]


def presents(workspace: Workspace) -> dict[str, Any] | None:
    """The claims of a fresh OIDC token of this job; None where there is no job that gets one. Raises Refusal if it is refused."""
    from azure.core.exceptions import AzureError

    if ci.setting("ACTIONS_ID_TOKEN_REQUEST_URL"):
        return claims(assertion())
    if not _connection():
        return None
    logging.getLogger("azure.identity").addHandler(logging.NullHandler())
    made = _federated({"tenant_id": workspace.tenant_id, "client_id": workspace.client_id})
    try:
        return claims(made._get_oidc_token())
    except AzureError as error:
        raise refused(error) or error from error


def _presented(workspace: Workspace) -> str:
    from azure.core.exceptions import AzureError

    try:
        token = presents(workspace)
    except (Refusal, AzureError):
        return ""
    if token is None:
        return ""
    # Azure DevOps masks what belongs to a connection.
    hint = "; if they are masked here, the connection's page has them" if ci.system() == "azure-devops" else ""
    # Not the token's own audience: Entra, where it issues for Azure DevOps, writes the id of the application that stands for this name.
    workflow = f", job_workflow_ref {token['job_workflow_ref']}" if token.get("job_workflow_ref") else ""
    return f": issuer {token.get('iss')}, subject {token.get('sub')}, audience {AUDIENCE}{workflow}{hint}"


def administrator(tenant_id: str) -> TokenCredential:
    """The sign-in of a platform team, for what the workspaces' own principals may not do: AZURE_CLIENT_ID with AZURE_CLIENT_SECRET if
    both are set, otherwise who is signed in with the Azure CLI. Raises Refusal."""
    from azure.core.exceptions import AzureError

    logging.getLogger("azure.identity").addHandler(logging.NullHandler())
    secret, client = ci.setting("AZURE_CLIENT_SECRET"), ci.setting("AZURE_CLIENT_ID")
    if secret and not client:
        raise Refusal(
            "AZURE_CLIENT_SECRET is set and AZURE_CLIENT_ID is not", "Whose secret is it?", "set both, or sign in with 'az login'"
        )
    found: TokenCredential
    if secret:
        from azure.identity import ClientSecretCredential

        found = ClientSecretCredential(tenant_id, client, secret)
    else:
        from azure.identity import AzureCliCredential

        found = AzureCliCredential(tenant_id=tenant_id)
    try:
        found.get_token(SCOPE)
    except AzureError as error:
        told = explain(" ".join(str(error).split()))
        why = told.why if told else " ".join(str(error).split())
        raise Refusal(f"The platform team's sign-in to tenant {tenant_id} failed", why, f"az login --tenant {tenant_id}") from error
    return found
