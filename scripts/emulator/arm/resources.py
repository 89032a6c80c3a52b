"""Plain Azure resources: those a workspace stands on (storage, key vault, insights, registry, identity), kept as documents.

They are created as their providers create them (which answer at once, which as a long operation), with the properties that clients
read. A storage account comes with real blob storage; the others have no data plane here.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emulator.arm import models, roles
from emulator.core import SUBSCRIPTION, TENANT, Principal
from emulator.entra import models as entra
from emulator.errors import AzureError, bad_request

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
Fill = Callable[["Cloud", Document], None]
TRACKED = {
    "resource": "",
    "workspace": "Microsoft.MachineLearningServices/workspaces",
    "registry": "Microsoft.MachineLearningServices/registries",
    "online_endpoint": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
    "online_deployment": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments",
}
"""The types of documents in the state that ARM lists as resources."""


@dataclass(frozen=True)
class Kind:
    """A resource type: how its provider creates it, and what it adds to what was sent."""

    type: str
    fill: Fill
    waits: bool = False
    """Creating it is a long operation."""
    body: bool = True
    """The answer that starts the operation carries the resource; storage answers 202 with nothing."""


def _storage_account(cloud: Cloud, document: Document) -> None:
    name = document["name"]
    if not re.fullmatch(r"[a-z0-9]{3,24}", name):
        raise AzureError(
            400,
            "AccountNameInvalid",
            f"{name} is not a valid storage account name. Storage account name must be between 3 and 24 characters in length and use "
            "numbers and lower-case letters only.",
        )
    for other in cloud.store.list("resource"):
        if other["type"] == document["type"] and other["name"] == name and other["id"].lower() != document["id"].lower():
            raise AzureError(409, "StorageAccountAlreadyTaken", f"The storage account named {name} is already taken.")
    if not (document.get("sku") or {}).get("name"):
        raise bad_request("sku", "The required property 'sku.name' is missing.", "InvalidRequestPropertyValue")
    cloud.storage.ensure(name)
    document.setdefault("kind", "StorageV2")
    document["sku"]["tier"] = document["sku"]["name"].split("_")[0]
    hosts = ("blob", "dfs", "file", "queue", "table")
    document["properties"] = {
        "accessTier": "Hot",
        "allowBlobPublicAccess": False,
        "minimumTlsVersion": "TLS1_2",
        "supportsHttpsTrafficOnly": True,
        "networkAcls": {"bypass": "AzureServices", "defaultAction": "Allow", "ipRules": [], "virtualNetworkRules": []},
        "encryption": {
            "keySource": "Microsoft.Storage",
            "services": {kind: {"enabled": True, "keyType": "Account"} for kind in ("blob", "file")},
        },
        "creationTime": cloud.stamp(),
        **{key: value for key, value in document["properties"].items() if value is not None},
        "primaryEndpoints": {host: f"https://{name}.{host}.core.windows.net/" for host in hosts},
        "primaryLocation": document["location"],
        "statusOfPrimary": "available",
    }


def _key_vault(cloud: Cloud, document: Document) -> None:
    document["properties"] = {
        "tenantId": TENANT,
        "sku": {"family": "A", "name": "standard"},
        "accessPolicies": [],
        "enableSoftDelete": True,
        "softDeleteRetentionInDays": 90,
        **document["properties"],
        "vaultUri": f"https://{document['name']}.vault.azure.net/",
    }


def _insights(cloud: Cloud, document: Document) -> None:
    known = (cloud.store.get(document["id"]) or {}).get("properties", {})
    key, app = known.get("InstrumentationKey") or str(uuid.uuid4()), known.get("AppId") or str(uuid.uuid4())
    where = document["location"]
    document.setdefault("kind", "web")
    document["properties"] = {
        "Application_Type": "web",
        **document["properties"],
        "ApplicationId": document["name"],
        "AppId": app,
        "Name": document["name"],
        "InstrumentationKey": key,
        "ConnectionString": f"InstrumentationKey={key};IngestionEndpoint=https://{where}-1.in.applicationinsights.azure.com/;ApplicationId={app}",
        "TenantId": SUBSCRIPTION,
        "CreationDate": known.get("CreationDate") or cloud.stamp(),
    }


def _log_analytics(cloud: Cloud, document: Document) -> None:
    known = (cloud.store.get(document["id"]) or {}).get("properties", {})
    document["properties"] = {
        "sku": {"name": "PerGB2018"},
        "retentionInDays": 30,
        **document["properties"],
        "customerId": known.get("customerId") or str(uuid.uuid4()),
        "createdDate": known.get("createdDate") or cloud.stamp(),
    }


def _container_registry(cloud: Cloud, document: Document) -> None:
    if not re.fullmatch(r"[A-Za-z0-9]{5,50}", document["name"]):
        raise bad_request(
            "name",
            "Registry names may contain only alpha numeric characters and must be between 5 and 50 characters.",
            "InvalidResourceName",
        )
    document["sku"] = {"name": "Basic", "tier": (document.get("sku") or {}).get("name", "Basic"), **(document.get("sku") or {})}
    document["properties"] = {
        "adminUserEnabled": False,
        "creationDate": cloud.stamp(),
        **document["properties"],
        "loginServer": f"{document['name'].lower()}.azurecr.io",
    }


def _managed_identity(cloud: Cloud, document: Document) -> None:
    document["properties"] = entra.create_managed_identity(cloud, document["name"], document["id"])


def _nothing(cloud: Cloud, document: Document) -> None:
    pass


KINDS = [
    Kind("Microsoft.Storage/storageAccounts", _storage_account, waits=True, body=False),
    Kind("Microsoft.KeyVault/vaults", _key_vault, waits=True),
    Kind("Microsoft.Insights/components", _insights),
    Kind("Microsoft.OperationalInsights/workspaces", _log_analytics, waits=True),
    Kind("Microsoft.ContainerRegistry/registries", _container_registry, waits=True),
    Kind("Microsoft.ManagedIdentity/userAssignedIdentities", _managed_identity),
    Kind("Microsoft.Network/virtualNetworks", _nothing, waits=True),
    Kind("Microsoft.Network/privateEndpoints", _nothing, waits=True),
]


def put(cloud: Cloud, kind: Kind, id: str, body: Document) -> tuple[Document, bool]:
    """Create or replace a resource; the resource, and whether it is new. Raises Azure's errors."""
    parts = id.split("/")
    group = models.need_group(cloud, parts[2], parts[4])
    existing = cloud.store.get(id)
    where = models.location((body.get("location")) or (existing and existing["location"]) or group["location"])
    if existing and existing["location"] != where:
        raise AzureError(
            409,
            "InvalidResourceLocation",
            f"The resource '{parts[-1]}' already exists in location '{existing['location']}' in resource group '{parts[4]}'. A resource "
            f"with the same name cannot be created in location '{where}'. Please select a new resource name.",
        )
    document: Document = {
        "id": existing["id"] if existing else id,
        "name": existing["name"] if existing else parts[-1],
        "type": kind.type,
        "location": where,
        "tags": body.get("tags") or {},
        **{name: body[name] for name in ("kind", "sku", "identity", "zones") if body.get(name) is not None},
        "properties": dict(body.get("properties") or {}),
    }
    kind.fill(cloud, document)
    document["properties"]["provisioningState"] = "Succeeded"
    document["createdTime"] = existing["createdTime"] if existing else cloud.stamp()
    document["changedTime"] = cloud.stamp()
    return cloud.store.put(document["id"], "resource", document), existing is None


async def end_accounts(cloud: Cloud, id: str) -> None:
    """Remove the blob storage of the accounts at or below an ARM id."""
    inside = [cloud.store.get(id), *cloud.store.list("resource", under=id)]
    for document in inside:
        if document and document.get("type") == "Microsoft.Storage/storageAccounts":
            await cloud.storage.remove(document["name"])


def shown(cloud: Cloud, document: Document) -> Document:
    """A resource as its provider shows it; while it is being created, it says so."""
    state = "Creating" if cloud.operations.running(document["id"]) else document["properties"]["provisioningState"]
    visible = {name: value for name, value in document.items() if name not in ("createdTime", "changedTime")}
    return {**visible, "properties": {**document["properties"], "provisioningState": state}}


_LISTED = ("id", "name", "location", "tags", "kind", "sku", "identity", "createdTime", "changedTime")


def listed(cloud: Cloud, principal: Principal, under: str) -> list[Document]:
    """The resources below a subscription or group that the caller may read, as ARM lists them: without their properties."""
    found = []
    for stored, type in TRACKED.items():
        for document in cloud.store.list(stored, under=under):
            kind = document.get("type") or type
            if not roles.allowed(cloud, principal, f"{kind}/read", document["id"]):
                continue
            row: Document = {"type": kind, "provisioningState": (document.get("properties") or {}).get("provisioningState")}
            row |= {name: document.get(name) for name in _LISTED}
            found.append({name: value for name, value in row.items() if value})
    return found
