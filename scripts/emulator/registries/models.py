"""Registries, their storage, and the import that brings an asset of a workspace into one.

Sources: https://learn.microsoft.com/azure/machine-learning/how-to-share-models-pipelines-across-workspaces-with-registries,
https://learn.microsoft.com/rest/api/azureml/registries, and azure-ai-ml's ``_utils/_registry_utils.py``.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass
from typing import Any

from emulator.assets import models as assets
from emulator.assets import paths, writing
from emulator.core import REGIONS, TENANT, Cloud, Principal
from emulator.entra import models as entra
from emulator.errors import AzureError, bad_request
from emulator.workspaces.models import PROVIDER, account_of, by_guid, check_group, check_location, system_data

Document = dict[str, Any]

TYPE = f"{PROVIDER}/registries"
# Where Microsoft's own registries are.
MICROSOFT = "/subscriptions/00000000-0000-4000-8000-00000000a2ce/resourceGroups/azureml-registries/providers"
SHARED = ("models", "environments", "data", "components")


def registry_id(subscription: str, group: str, name: str) -> str:
    """The ARM id of a registry."""
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{TYPE}/{name}"


def by_name(cloud: Cloud, name: str) -> Document:
    """The registry with this name, which is unique in the tenant; the service's 404 where there is none."""
    for document in cloud.store.list("registry"):
        if document["name"].lower() == name.lower():
            return document
    raise AzureError(404, "UserError", f"Registry {name} was not found.", target=name)


def is_public(document: Document) -> bool:
    """Whether everybody may read it, as Microsoft's registry of curated assets."""
    return str(document["id"]).startswith(MICROSOFT)


def storage_account_id(document: Document) -> str:
    """The storage account of a registry's first region."""
    account = document["properties"]["regionDetails"][0]["storageAccountDetails"][0]
    return str((account.get("systemCreatedStorageAccount") or account["userCreatedStorageAccount"])["armResourceId"]["resourceId"])


def seed(cloud: Cloud) -> None:
    """Microsoft's registry ``azureml``, in which the curated environments are."""
    id = f"{MICROSOFT}/{TYPE}/{assets.CURATED_REGISTRY}"
    if not cloud.store.exists(id):
        document = _document(cloud, id, "eastus", [{"location": region} for region in REGIONS], {}, None, None)
        document["properties"]["provisioningState"] = "Succeeded"
        cloud.store.put(id, "registry", document)


def make(cloud: Cloud, id: str, body: Any, principal: Principal | None) -> Document:
    """The document of a registry from a request body, in state Creating or Updating; 400 and 409 say what cannot be."""
    check_group(cloud, id)
    name = id.rsplit("/", 1)[-1]
    if not re.fullmatch(r"[a-zA-Z0-9][\w-]{2,32}", name):
        raise bad_request(
            "name",
            f"Registry name '{name}' is invalid: 3 to 33 letters, digits, '-' or '_', starting with a letter or digit.",
            "ValidationError",
        )
    if not isinstance(body, dict) or not isinstance(body.get("properties"), dict):
        raise bad_request("properties", "The property 'properties' is required.", "InvalidRequestContent")
    location = check_location(body.get("location"), TYPE)
    regions = body["properties"].get("regionDetails")
    if not isinstance(regions, list) or not regions:
        raise bad_request("properties.regionDetails", "A registry needs at least one region in 'regionDetails'.", "ValidationError")
    regions = [{**region, "location": check_location(region.get("location"), TYPE)} for region in regions]
    if location not in [region["location"] for region in regions]:
        raise bad_request(
            "properties.regionDetails", f"The registry's location '{location}' must be one of its regions.", "ValidationError"
        )
    old = cloud.store.get(id)
    if old and old["location"] != location:
        raise AzureError(409, "InvalidResourceLocation", f"The resource '{name}' already exists in location '{old['location']}'.")
    if old and (gone := {one["location"] for one in old["properties"]["regionDetails"]} - {one["location"] for one in regions}):
        raise bad_request(
            "properties.regionDetails", f"Regions cannot be removed from a registry: {', '.join(sorted(gone))}.", "ValidationError"
        )
    if any(one["name"].lower() == name.lower() and one["id"].lower() != id.lower() for one in cloud.store.list("registry")):
        raise AzureError(409, "Conflict", f"A registry with the name '{name}' already exists in this tenant. Please select another name.")
    regions = sorted(regions, key=lambda one: one["location"] != location)
    document = _document(cloud, id, location, regions, body, principal, old)
    return cloud.store.put(id, "registry", document)


def _document(
    cloud: Cloud, id: str, location: str, regions: list[Document], body: Document, principal: Principal | None, old: Document | None
) -> Document:
    name, given = id.rsplit("/", 1)[-1], body.get("properties") or {}
    managed = f"azureml-rg-{name}_{hashlib.sha256(id.lower().encode()).hexdigest()[:8]}"
    details = []
    for region in regions:
        account = _account_name(id, region["location"])
        storage = f"/subscriptions/{id.split('/')[2]}/resourceGroups/{managed}/providers/Microsoft.Storage/storageAccounts/{account}"
        wanted = ((region.get("storageAccountDetails") or [{}])[0].get("systemCreatedStorageAccount")) or {}
        made = {
            "storageAccountType": "Standard_LRS",
            "storageAccountHnsEnabled": False,
            "allowBlobPublicAccess": False,
            **{key: value for key, value in wanted.items() if value is not None},
            "storageAccountName": account,
            "armResourceId": {"resourceId": storage},
        }
        acr = region.get("acrDetails") or [{"systemCreatedAcrAccount": {"acrAccountSku": "Premium"}}]
        details.append(
            {"location": region["location"], "storageAccountDetails": [{"systemCreatedStorageAccount": made}], "acrDetails": acr}
        )
    return {
        "id": id,
        "name": name,
        "type": TYPE,
        "location": location,
        "tags": body.get("tags") or {},
        "kind": None,
        "sku": None,
        "identity": {
            "type": "SystemAssigned",
            "principalId": entra.create_managed_identity(cloud, name, id)["principalId"],
            "tenantId": TENANT,
        },
        "properties": {
            "publicNetworkAccess": given.get("publicNetworkAccess") or "Enabled",
            "intellectualPropertyPublisher": given.get("intellectualPropertyPublisher"),
            "discoveryUrl": f"https://{location}.api.azureml.ms/registrymanagement/v1.0/registries/{name}/discovery",
            "mlFlowRegistryUri": f"azureml://{location}.api.azureml.ms/mlflow/v1.0{id}",
            "managedResourceGroup": {"resourceId": f"/subscriptions/{id.split('/')[2]}/resourceGroups/{managed}"},
            "managedResourceGroupTags": given.get("managedResourceGroupTags"),
            "registryPrivateEndpointConnections": [],
            "regionDetails": details,
            "registryId": old["properties"]["registryId"] if old else str(uuid.uuid4()),
            "provisioningState": "Updating" if old else "Creating",
        },
        "systemData": system_data(cloud, principal, (old or {}).get("systemData")),
    }


def _account_name(id: str, location: str) -> str:
    letters = re.sub(r"[^a-z0-9]", "", id.rsplit("/", 1)[-1].lower())
    return letters[:11] + hashlib.sha256(f"{id.lower()}/{location}".encode()).hexdigest()[:13]


async def provision(cloud: Cloud, id: str) -> None:
    """Make the registry's storage, then set it to Succeeded."""
    document = cloud.store.need(id)
    account = account_of(storage_account_id(document))
    cloud.storage.ensure(account)
    await cloud.storage.ready(account)
    document = cloud.store.need(id)
    document["properties"]["provisioningState"] = "Succeeded"
    cloud.store.put(id, "registry", document)


async def resume(cloud: Cloud) -> None:
    """Make Microsoft's registry where it is missing, and go on where a stop of the emulator cut a creation or an update off."""
    seed(cloud)
    for document in cloud.store.list("registry"):
        if document["properties"]["provisioningState"] != "Succeeded":
            cloud.operations.start(document["id"], "registry", provision(cloud, document["id"]), location=document["location"])


def discovery(document: Document) -> Document:
    """Where a registry's data plane is (azure-ai-ml's ``RegistryDiscovery``)."""
    parts, regions = document["id"].split("/"), [one["location"] for one in document["properties"]["regionDetails"]]
    primary = document["location"]
    return {
        "registryName": document["name"],
        "tenantId": TENANT,
        "primaryRegion": primary,
        "regions": regions,
        "subscriptionId": parts[2],
        "resourceGroup": parts[4],
        "workspaceName": None,
        "primaryRegionResourceProviderUri": f"https://cert-{primary}.experiments.azureml.net/",
        "registryFqdns": {region: {"uri": f"https://cert-{region}.experiments.azureml.net/"} for region in regions},
    }


async def temporary_reference(cloud: Cloud, registry: Document, body: Document, name: str, version: str) -> Document:
    """Where the files of a registry asset to come are put; 409 when the version exists, for then its files stay as they are."""
    kind, _, _ = _asset(registry, body, name, version)
    if cloud.store.exists(assets.asset_id(registry["id"], kind, name, version)):
        raise AzureError(
            409, "UserError", f"Asset azureml://registries/{registry['name']}/{kind.plural}/{name}/versions/{version} already exists."
        )
    return await writing.pending_upload(cloud, registry["id"], kind, name, version)


def read_reference(cloud: Cloud, registry: Document, body: Document, name: str, version: str) -> Document:
    """Access to the files of a registry asset, for a day, to read and list."""
    kind, _, _ = _asset(registry, body, name, version)
    asset = assets.get_version(cloud, registry["id"], kind, name, version)
    uri = body.get("blobUri") or (asset["properties"].get(kind.uri) if kind.uri else None)
    if not uri:
        raise bad_request("blobUri", f"The asset {assets.shown_id(asset)} has no files.")
    located = paths.locate(cloud, registry["id"], uri)
    own = storage_account_id(registry)
    if located.account != account_of(own):
        raise bad_request("blobUri", f"The blob '{uri}' is not in the storage of registry {registry['name']}.")
    sas = cloud.storage.sas(located.account, located.container, "rl", minutes=24 * 60)
    return {"blobReferenceForConsumption": {**writing.blob_reference(own, located.account, located.container, sas), "blobUri": uri}}


def _asset(registry: Document, body: Any, name: str, version: str) -> tuple[assets.Kind, str, str]:
    """The asset that a data reference is about; its id must be of this registry and agree with the path."""
    given = str(body.get("assetId", ""))
    match = re.fullmatch(r"azureml://registries/(?P<registry>[^/]+)/(?P<kind>[a-z]+)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)", given)
    if (
        not match
        or match["kind"] not in assets.KINDS
        or match["registry"].lower() != registry["name"].lower()
        or (match["name"], match["version"]) != (name, version)
    ):
        raise bad_request(
            "assetId", f"The asset id '{given}' is not azureml://registries/{registry['name']}/<kind>/{name}/versions/{version}."
        )
    return assets.KINDS[match["kind"]], match["name"], match["version"]


@dataclass(frozen=True)
class Import:
    """An asset of a workspace on its way into a registry."""

    kind: assets.Kind
    source: Document
    workspace: Document
    name: str
    version: str


def check_import(cloud: Cloud, registry: Document, body: Any) -> Import:
    """What an import request asks for (``models.share`` of the SDK sends it); 400, 404 and 409 say why it cannot be."""
    properties = body.get("properties") if isinstance(body, dict) else None
    if not isinstance(properties, dict):
        raise bad_request("properties", "The property 'properties' is required.")
    source = str(properties.get("sourceAssetId") or "")
    match = re.fullmatch(
        r"azureml://locations/(?P<location>[^/]+)/workspaces/(?P<guid>[^/]+)/(?P<kind>[^/]+)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)",
        source,
    )
    if not match or match["kind"] not in SHARED:
        raise bad_request(
            "properties.sourceAssetId",
            f"'{source}' is not azureml://locations/<region>/workspaces/<workspace id>/<{'|'.join(SHARED)}>/<name>/versions/<version>.",
        )
    kind, workspace = assets.KINDS[match["kind"]], by_guid(cloud, match["guid"])
    found = assets.get_version(cloud, workspace["id"], kind, match["name"], match["version"])
    if workspace["location"] not in [one["location"] for one in registry["properties"]["regionDetails"]]:
        raise bad_request(
            "properties.sourceAssetId",
            f"The workspace's region {workspace['location']} is not one of the regions of registry {registry['name']}; add it there first.",
        )
    name, version = properties.get("destinationName") or match["name"], properties.get("destinationVersion") or match["version"]
    if cloud.store.exists(assets.asset_id(registry["id"], kind, name, version)):
        raise AzureError(
            409, "UserError", f"Asset azureml://registries/{registry['name']}/{kind.plural}/{name}/versions/{version} already exists."
        )
    return Import(kind, found, workspace, str(name), str(version))


async def run_import(cloud: Cloud, registry: Document, wanted: Import, principal: Principal | None) -> Document:
    """Copy the bytes into the registry's storage and create the asset there, with the tags and properties that it has."""
    properties = {
        key: value
        for key, value in wanted.source["properties"].items()
        if key not in ("isArchived", "jobName", "provisioningState", "referencedUris", "environmentType")
    }
    holder = properties.get("build") if wanted.kind.name == "environment" else properties
    field = "contextUri" if wanted.kind.name == "environment" else wanted.kind.uri
    if holder and field and holder.get(field):
        holder = dict(holder)
        holder[field] = await _copy_files(cloud, registry, wanted, holder[field])
        properties = {**properties, "build": holder} if wanted.kind.name == "environment" else holder
    document, _ = await writing.put_version(
        cloud, registry["id"], wanted.kind, wanted.name, wanted.version, {"properties": properties}, principal
    )
    return document


async def _copy_files(cloud: Cloud, registry: Document, wanted: Import, uri: str) -> str:
    upload = await writing.pending_upload(cloud, registry["id"], wanted.kind, wanted.name, wanted.version)
    root = paths.locate(cloud, registry["id"], upload["blobReferenceForConsumption"]["blobUri"])
    source = paths.locate(cloud, wanted.workspace["id"], uri)
    target = root.below(source.prefix.rstrip("/").rsplit("/", 1)[-1] or wanted.name)
    if not await paths.copy(cloud, source, target):
        raise AzureError(
            400, "UserError", f"No blobs found in storage at path: {source.container}/{source.prefix}", target="properties.sourceAssetId"
        )
    return target.url
