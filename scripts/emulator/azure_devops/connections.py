"""Service connections to Azure, and the two forms of their federated credential.

| issuer | subject |
| --- | --- |
| Entra (new connections): ``https://login.microsoftonline.com/<tenant>/v2.0`` | ``<entra prefix>/sc/<organization id>/<connection id>`` |
| Azure DevOps (older ones): ``https://vstoken.dev.azure.com/<organization id>`` | ``sc://<organization>/<project>/<connection>`` |

Source: learn.microsoft.com/azure/devops/pipelines/release/troubleshoot-workload-identity. The prefix is
``/eid1/c/pub/t/<tenant>/a/<Azure DevOps' application>``, both ids as the base64url of their bytes in Microsoft's order (Teleport's
RFD 211 shows a token with the ids that belong to it).
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from emulator.azure_devops import exceptions, models
from emulator.azure_devops.models import APPLICATION, Document, Project
from emulator.core import SUBSCRIPTION, TENANT
from emulator.entra.models import ISSUER_V2
from emulator.entra.signing import base64url

if TYPE_CHECKING:
    from emulator.core import Cloud

OWN_ISSUER = "https://vstoken.dev.azure.com"
FEDERATED, SECRET = "WorkloadIdentityFederation", "ServicePrincipal"
ISSUERS = ("entra", "azure-devops")


def entra_subject(organization_id: str, connection_id: str) -> str:
    """The subject of a connection whose tokens Entra signs."""
    tenant, application = (base64url(uuid.UUID(each).bytes_le) for each in (TENANT, APPLICATION))
    return f"/eid1/c/pub/t/{tenant}/a/{application}/sc/{organization_id}/{connection_id}"


def federation(project: Project, name: str, connection_id: str, issuer: str = "entra") -> tuple[str, str]:
    """Issuer and subject of a connection's tokens."""
    if issuer == "entra":
        return ISSUER_V2, entra_subject(project.organization_id, connection_id)
    return f"{OWN_ISSUER}/{project.organization_id}", f"sc://{project.organization}/{project.name}/{name}"


def create(cloud: Cloud, project: Project, body: Any, created_by: str, issuer: str = "entra") -> Document:
    """A connection from the body of the REST call. Raises 400 for one that cannot be, 500 for a name that is taken."""
    if not isinstance(body, dict) or not body.get("name"):
        raise exceptions.bad_connection("Service connection name cannot be null or empty.")
    name, authorization = str(body["name"]), body.get("authorization")
    if not authorization:
        raise exceptions.bad_connection("Service Connection Authorization cannot be null.")
    scheme, kind = authorization.get("scheme"), str(body.get("type", ""))
    if kind.lower() != "azurerm" or scheme not in (FEDERATED, SECRET):
        raise exceptions.bad_connection(f"Unable to find service connection type '{kind}' using authentication scheme '{scheme}'.")
    if named(cloud, project, name):
        raise exceptions.connection_exists(name)
    given = {key.lower(): value for key, value in (authorization.get("parameters") or {}).items()}
    for needed in ("tenantid", "serviceprincipalid", *(["serviceprincipalkey"] if scheme == SECRET else [])):
        if not given.get(needed):
            raise exceptions.bad_connection(f"Parameter '{needed}' of the service connection's authorization is missing.")
    made_id = str(uuid.uuid4())
    parameters: Document = {"tenantid": given["tenantid"], "serviceprincipalid": given["serviceprincipalid"]}
    if scheme == FEDERATED:
        parameters["workloadIdentityFederationIssuer"], parameters["workloadIdentityFederationSubject"] = federation(
            project, name, made_id, issuer
        )
    else:
        parameters |= {"authenticationType": "spnKey", "serviceprincipalkey": None}  # a secret is never read back
    made = {
        "data": {
            "environment": "AzureCloud", "scopeLevel": "Subscription", "creationMode": "Manual", **(body.get("data") or {}),
        },
        "id": made_id,
        "name": name,
        "type": "azurerm",
        "url": body.get("url") or "https://management.azure.com/",
        "createdBy": models.identity(created_by),
        "description": body.get("description") or "",
        "authorization": {"parameters": parameters, "scheme": scheme},
        "isShared": False,
        "isOutdated": False,
        "isReady": True,
        "owner": "Library",
        "serviceEndpointProjectReferences": [
            {"projectReference": project.reference(), "name": name, "description": body.get("description") or ""}
        ],
    }  # fmt: skip
    return cloud.store.put(f"{project.path}/connections/{made_id}", "azure_devops_connection", made)


def ensure(cloud: Cloud, project: Project, name: str, client_id: str, tenant_id: str = TENANT, issuer: str = "entra") -> Document:
    """A federated connection to the emulated subscription by its name, made only where missing."""
    if found := named(cloud, project, name):
        return found
    body = {
        "name": name,
        "type": "azurerm",
        "data": {"subscriptionId": SUBSCRIPTION, "subscriptionName": "Contoso Data Science"},
        "authorization": {"scheme": FEDERATED, "parameters": {"tenantid": tenant_id, "serviceprincipalid": client_id}},
    }
    return create(cloud, project, body, "platform-admin", issuer)


def listed(cloud: Cloud, project: Project) -> list[Document]:
    """The connections of a project, oldest first."""
    return cloud.store.list("azure_devops_connection", f"{project.path}/connections")


def named(cloud: Cloud, project: Project, name: str) -> Document | None:
    return next((one for one in listed(cloud, project) if one["name"].lower() == name.lower()), None)


def get(cloud: Cloud, project: Project, connection_id: str) -> Document | None:
    return cloud.store.get(f"{project.path}/connections/{connection_id}")


def delete(cloud: Cloud, project: Project, connection_id: str) -> None:
    """Remove a connection; its federated credential stays with the application, as in Azure. Raises 404."""
    if not cloud.store.delete(f"{project.path}/connections/{connection_id}"):
        raise exceptions.no_connection(connection_id)
