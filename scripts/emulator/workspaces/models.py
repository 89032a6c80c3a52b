"""Workspaces: what they hold, how they come to be, and the two ways in which they go.

Sources: https://learn.microsoft.com/rest/api/azureml/workspaces, soft delete
https://learn.microsoft.com/azure/machine-learning/concept-soft-delete.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from emulator.core import REGIONS, TENANT, Cloud, Principal
from emulator.entra import models as entra
from emulator.errors import AzureError, bad_request, not_found

Document = dict[str, Any]

PROVIDER = "Microsoft.MachineLearningServices"
TYPE = f"{PROVIDER}/workspaces"
RETENTION_DAYS = 14
CONTAINERS = {"workspaceblobstore": "azureml-blobstore-{guid}", "workspaceartifactstore": "azureml"}
SHARES = {"workspacefilestore": "azureml-filestore-{guid}", "workspaceworkingdirectory": "code-391ff5ac-6576-460f-ba4d-7e03433c68b6"}

# What a soft delete keeps for a recovery; computes, jobs, endpoints and deployments are gone at once.
KEPT = [
    "datastore",
    "connection",
    *(f"{kind}{level}" for kind in ("code", "data", "environment", "model", "component") for level in ("", "_version")),
]

PATCHABLE = {
    "description",
    "friendlyName",
    "publicNetworkAccess",
    "imageBuildCompute",
    "primaryUserAssignedIdentity",
    "applicationInsights",
    "containerRegistry",
    "systemDatastoresAuthMode",
    "managedNetwork",
    "serverlessComputeSettings",
    "featureStoreSettings",
    "encryption",
    "v1LegacyMode",
    "enableDataIsolation",
    "allowRoleAssignmentOnRG",
    "networkAcls",
    "serviceManagedResourcesSettings",
    "ipAllowlist",
    "enableSoftwareBillOfMaterials",
    "softDeleteRetentionInDays",
}


def workspace_id(subscription: str, group: str, name: str) -> str:
    """The ARM id of a workspace."""
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{TYPE}/{name}"


def get(cloud: Cloud, subscription: str, group: str, name: str) -> Document:
    """The workspace's ARM document; Azure's 404 where there is none."""
    return cloud.store.need(workspace_id(subscription, group, name))


def by_guid(cloud: Cloud, guid: str) -> Document:
    """The workspace with this immutable workspace id, as asset ids ``azureml://locations/.../workspaces/<guid>/...`` name it."""
    for document in cloud.store.list("workspace"):
        if document["properties"]["workspaceId"] == guid.lower():
            return document
    raise not_found(f"workspaces/{guid}")


def account_of(storage_account_id: str) -> str:
    """The name of a storage account from its ARM id."""
    return storage_account_id.rstrip("/").rsplit("/", 1)[-1]


def system_data(cloud: Cloud, principal: Principal | None, before: Mapping[str, Any] | None = None) -> Document:
    """ARM's ``systemData`` of a write by this caller; creation is kept from ``before``."""
    now = cloud.stamp()
    who = {"By": "emulator", "ByType": "Application"}
    if principal:
        known = entra.service_principal(cloud, principal.oid) or entra.user(cloud, principal.oid) or {}
        who = {"By": known.get("displayName", principal.oid), "ByType": "User" if principal.kind == "user" else "Application"}
    created = {"createdAt": now, **{f"created{key}": value for key, value in who.items()}}
    if before:
        created = {key: before[key] for key in created if key in before}
    return {**created, "lastModifiedAt": now, **{f"lastModified{key}": value for key, value in who.items()}}


def validate(cloud: Cloud, id: str, body: Any) -> None:
    """Refuse a body from which no workspace can be made, naming the property.

    A workspace needs a location, a storage account and a key vault (https://learn.microsoft.com/azure/machine-learning/concept-workspace).
    """
    name = id.rsplit("/", 1)[-1]
    if not re.fullmatch(r"[a-zA-Z0-9][\w-]{2,32}", name):
        raise bad_request(
            "name",
            f"Workspace name '{name}' is invalid: 3 to 33 letters, digits, '-' or '_', starting with a letter or digit.",
            "ValidationError",
        )
    check_group(cloud, id)
    if not isinstance(body, dict):
        raise AzureError(400, "InvalidRequestContent", "The request content was invalid: a JSON object is expected.")
    location = check_location(body.get("location"), TYPE)
    properties = body.get("properties") or {}
    if not isinstance(properties, dict):
        raise bad_request("properties", "The property 'properties' must be an object.", "InvalidRequestContent")
    old = cloud.store.get(id)
    if old and old["location"] != location:
        group = id.split("/")[4]
        raise AzureError(
            409,
            "InvalidResourceLocation",
            f"The resource '{name}' already exists in location '{old['location']}' in resource group '{group}'. "
            f"A resource with the same name cannot be created in location '{location}'. Please select a new resource name.",
        )
    if old is None:
        for needed in ("storageAccount", "keyVault"):
            if not properties.get(needed) and str(body.get("kind", "Default")).lower() != "project":
                raise bad_request(
                    f"properties.{needed}", f"Missing dependent resources in workspace json: '{needed}' is required.", "ValidationError"
                )
    if old is None and (gone := soft_deleted(cloud, id)) and not _recovers(properties):
        raise AzureError(
            400, "BadRequest", "Soft-deleted workspace exists. Please purge or recover it. https://aka.ms/wsoftdelete", target=gone["id"]
        )
    for dependent in ("storageAccount", "keyVault", "applicationInsights", "containerRegistry"):
        value = properties.get(dependent)
        if value and not (isinstance(value, str) and value.startswith("/subscriptions/") and cloud.store.exists(value)):
            raise bad_request(f"properties.{dependent}", f"The resource '{value}' of '{dependent}' was not found.", "ValidationError")


def check_group(cloud: Cloud, id: str) -> None:
    """Azure's 404 when the resource group of an ARM id does not exist."""
    group = "/".join(id.split("/")[:5])
    if not cloud.store.exists(group):
        raise not_found(group)


def check_location(value: Any, type: str) -> str:
    """A region as ARM writes it ("West Europe" is ``westeurope``); Azure's 400 for one that there is none of."""
    if not isinstance(value, str) or not value:
        raise AzureError(400, "LocationRequired", "The location property is required for this definition.", target="location")
    location = value.replace(" ", "").lower()
    if location not in REGIONS:
        raise AzureError(
            400,
            "LocationNotAvailableForResourceType",
            f"The provided location '{value}' is not available for resource type '{type}'. "
            f"List of available regions for the resource type is '{','.join(REGIONS)}'.",
            target="location",
        )
    return location


def make(cloud: Cloud, id: str, body: Document, principal: Principal | None) -> Document:
    """The document of a workspace, new or replaced, in state Creating or Updating; ``provision`` brings it to Succeeded."""
    old = cloud.store.get(id)
    id = old["id"] if old else id
    parts = id.split("/")
    given = {key: value for key, value in (body.get("properties") or {}).items() if value is not None}
    if old is None and _recovers(given) and (gone := soft_deleted(cloud, id)):
        recover(cloud, gone)
        old = cloud.store.need(id)
    location = check_location(body.get("location"), TYPE)
    guid = old["properties"]["workspaceId"] if old else str(uuid.uuid4())
    host = f"{location}.api.azureml.ms"
    properties = {
        "friendlyName": parts[8],
        "description": "",
        "hbiWorkspace": False,
        "publicNetworkAccess": "Enabled",
        "v1LegacyMode": False,
        "systemDatastoresAuthMode": "accesskey",
        "enableDataIsolation": False,
        "managedNetwork": {"isolationMode": "Disabled"},
        "allowPublicAccessWhenBehindVnet": False,
        "storageHnsEnabled": False,
        "privateLinkCount": 0,
        **(old["properties"] if old else {"creationTime": cloud.stamp()}),
        **given,
        "tenantId": TENANT,
        "workspaceId": guid,
        "discoveryUrl": f"https://{host}/discovery",
        "mlFlowTrackingUri": f"azureml://{host}/mlflow/v1.0{id}",
        "agentsEndpointUri": None,
        "provisioningState": "Updating" if old else "Creating",
    }
    properties.pop("allowRecoverSoftDeletedWorkspace", None)
    identity = body.get("identity") or (old or {}).get("identity") or {"type": "SystemAssigned"}
    identity = {**identity, "type": identity.get("type", "SystemAssigned")}
    if "systemassigned" in identity["type"].lower():
        made = entra.create_managed_identity(cloud, parts[8], id)
        identity = {**identity, "principalId": made["principalId"], "tenantId": TENANT}
    kind = str(body.get("kind") or (old or {}).get("kind") or "Default")
    document = {
        "id": id,
        "name": parts[8],
        "type": TYPE,
        "location": location,
        "kind": kind[:1].upper() + kind[1:],
        "tags": body.get("tags") or {},
        "sku": {"name": "Basic", "tier": "Basic"},
        "identity": identity,
        "properties": properties,
        "systemData": system_data(cloud, principal, (old or {}).get("systemData")),
    }
    return cloud.store.put(id, "workspace", document)


async def provision(cloud: Cloud, id: str) -> None:
    """Make the default datastores with their containers, then set the workspace to Succeeded."""
    document = cloud.store.need(id)
    account, guid = account_of(document["properties"]["storageAccount"]), document["properties"]["workspaceId"]
    cloud.storage.ensure(account)
    await make_containers(cloud, account, [pattern.format(guid=guid) for pattern in CONTAINERS.values()])
    from emulator.assets import datastores

    with cloud.store.transaction():
        for name, pattern in CONTAINERS.items():
            datastores.make_default(cloud, id, name, {"datastoreType": "AzureBlob", "containerName": pattern.format(guid=guid)}, account)
        for name, pattern in SHARES.items():
            datastores.make_default(cloud, id, name, {"datastoreType": "AzureFile", "fileShareName": pattern.format(guid=guid)}, account)
        document = cloud.store.need(id)
        document["properties"]["provisioningState"] = "Succeeded"
        cloud.store.put(id, "workspace", document)


async def resume(cloud: Cloud) -> None:
    """Go on where a stop of the emulator cut a creation or an update off."""
    for document in cloud.store.list("workspace"):
        if document["properties"]["provisioningState"] != "Succeeded":
            cloud.operations.start(document["id"], "workspace", provision(cloud, document["id"]), location=document["location"])


async def make_containers(cloud: Cloud, account: str, names: list[str]) -> None:
    """Blob containers that are there afterwards, new or old."""
    client = await cloud.storage.client(account)

    def make_all() -> None:
        from azure.core.exceptions import ResourceExistsError

        for name in names:
            try:
                client.create_container(name)
            except ResourceExistsError:
                pass

    await asyncio.to_thread(make_all)


def patch(cloud: Cloud, id: str, body: Any, principal: Principal | None) -> Document:
    """Change what a PATCH may change; tags are replaced when they are given."""
    document = cloud.store.need(id)
    if not isinstance(body, dict):
        raise AzureError(400, "InvalidRequestContent", "The request content was invalid: a JSON object is expected.")
    if (tags := body.get("tags")) is not None:
        document["tags"] = tags
    if (identity := body.get("identity")) is not None:
        document["identity"] = {**document["identity"], **identity}
    for key, value in (body.get("properties") or {}).items():
        if key not in PATCHABLE:
            raise bad_request(
                f"properties.{key}", f"The property '{key}' of workspace '{document['name']}' cannot be updated.", "ValidationError"
            )
        if value is not None:
            document["properties"][key] = value
    document["systemData"] = system_data(cloud, principal, document["systemData"])
    return cloud.store.put(id, "workspace", document)


def soft_deleted(cloud: Cloud, id: str) -> Document | None:
    """The soft-deleted workspace that holds this name, while its retention (14 days) lasts."""
    gone = cloud.store.get(f"softdeleted{id}")
    if gone is None:
        return None
    if datetime.fromisoformat(gone["properties"]["softDeletedAt"].replace("Z", "+00:00")) + timedelta(days=RETENTION_DAYS) < cloud.now():
        purge(cloud, id)
        return None
    return gone


async def remove(cloud: Cloud, id: str, permanently: bool) -> None:
    """Delete a workspace with all that runs in it: for good, or keeping its name and its assets for 14 days."""
    from emulator.arm.models import end_below

    document = cloud.store.need(id)
    await end_below(cloud, id)
    with cloud.store.transaction():
        if permanently:
            purge(cloud, id)
        else:
            kept = [(kind, one) for kind in KEPT for one in cloud.store.list(kind, under=id)]
            for kind, one in kept:
                cloud.store.put(f"softdeleted{one['id']}", kind, one)
            document["properties"]["softDeletedAt"] = cloud.stamp()
            cloud.store.put(f"softdeleted{id}", "deleted_workspace", document)
        cloud.store.delete_under(id)


def purge(cloud: Cloud, id: str) -> None:
    """Forget a workspace that was deleted, with its secrets and the numbers it used up, so that its name is free."""
    for kept in ("softdeleted", "secrets", "deleted"):
        cloud.store.delete_under(f"{kept}{id}")


def recover(cloud: Cloud, gone: Document) -> None:
    """Bring a soft-deleted workspace back with its assets."""
    id = gone["id"]
    gone["properties"].pop("softDeletedAt", None)
    with cloud.store.transaction():
        for kind in KEPT:
            for one in cloud.store.list(kind, under=f"softdeleted{id}"):
                cloud.store.put(one["id"], kind, one)
        cloud.store.put(id, "workspace", gone)
        cloud.store.delete_under(f"softdeleted{id}")


def _recovers(properties: Mapping[str, Any]) -> bool:
    return str(properties.get("allowRecoverSoftDeletedWorkspace", "")).lower() == "true"
