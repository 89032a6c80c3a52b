"""Who a job is when it asks for tokens itself: the submitter, the compute's managed identity, or nobody.

Source: https://learn.microsoft.com/azure/machine-learning/how-to-identity-based-service-authentication, and how-to-use-serverless-compute
for its default, the submitter. How it asks: azure-identity (``_credentials/azure_ml.py``, MSI_ENDPOINT) and azure-ai-ml
(``identity/_credentials/aml_on_behalf_of.py``, OBO_ENDPOINT).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from emulator.core import Call
from emulator.entra import models as entra
from emulator.errors import AzureError
from emulator.jobs.models import Document, Place

if TYPE_CHECKING:
    from emulator.core import Cloud

LIFETIME = 24 * 3600  # seconds, as managed identities' tokens live


def variables(cloud: Cloud, where: Place, document: Document) -> dict[str, str]:
    """The variables by which the job's credentials find their endpoint; none for a job without an identity of its own."""
    identity = document["properties"].get("identity") or {}
    kind = str(identity.get("identityType") or identity.get("type") or "").lower().replace("_", "")
    compute = cloud.store.get(str(document["properties"].get("computeId") or "")) or {}
    if kind == "useridentity" or not compute:
        who = document["_run"]["who"]
        return _endpoint(cloud, where, "OBO_ENDPOINT", who["app_id"] if who["kind"] == "app" else who["oid"])
    client_id = identity.get("clientId") or _of_compute(cloud, compute)
    if not client_id or kind == "amltoken":
        return {}
    found = _endpoint(cloud, where, "MSI_ENDPOINT", client_id)
    return {**found, "MSI_SECRET": found["MSI_ENDPOINT"].rsplit("/", 1)[-1], "DEFAULT_IDENTITY_CLIENT_ID": client_id}


def _of_compute(cloud: Cloud, compute: Document) -> str | None:
    identity = compute.get("identity") or {}
    for resource in identity.get("userAssignedIdentities") or {}:
        return str(entra.create_managed_identity(cloud, resource.rsplit("/", 1)[-1], resource)["clientId"])
    if "systemassigned" in str(identity.get("type", "")).lower():
        return str(entra.create_managed_identity(cloud, compute["name"], compute["id"])["clientId"])
    return None


def _endpoint(cloud: Cloud, where: Place, name: str, who: str) -> dict[str, str]:
    secret = secrets.token_urlsafe(32)
    cloud.store.put(f"job_identities/{secret}", "job_identity", {"who": who})
    return {name: f"https://{where.host}/emulator/identity/{secret}"}


async def get_token(call: Call) -> Any:
    """A token for the identity behind an endpoint; the path is the secret."""
    found = call.cloud.store.get(f"job_identities/{call.params['secret']}")
    if found is None:
        raise AzureError(401, "Unauthorized", "No job has this endpoint.")
    resource = str(call.query.get("resource") or "").removesuffix("/.default")
    if not resource:
        raise AzureError(400, "BadRequest", "The query parameter 'resource' is missing.", target="resource")
    expires = int(call.cloud.now().timestamp()) + LIFETIME
    token = entra.issue(call.cloud, found["who"], resource, lifetime=LIFETIME)
    return {"access_token": token, "expires_on": str(expires), "expires_in": LIFETIME, "resource": resource, "token_type": "Bearer"}
