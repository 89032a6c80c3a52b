"""Writing assets: new versions, changes to old ones, deletion, and where the files of a version to come are put.

Sources: the texts of the service's errors as users report them (Azure/azureml-assets#3439, Azure/azure-sdk-for-python#33978,
Azure/azure-cli-extensions#5440, MicrosoftDocs/azure-docs#103778); azure-ai-ml, which relies on 409 for a taken version and on the
container's ``nextVersion`` (``_utils/_asset_utils.py``).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from emulator.assets import paths
from emulator.assets.checks import NAME, bad_name, checked, needed_object, plain
from emulator.assets.models import Kind, asset_id, blank, curated_version, shown_id, type_of, versions
from emulator.assets.rights import check_references
from emulator.core import Cloud, Principal
from emulator.errors import AzureError, bad_request
from emulator.workspaces.models import account_of, make_containers, system_data

Document = dict[str, Any]

_CHANGEABLE = ("description", "tags", "isArchived", "stage", "autoDeleteSetting")


async def put_version(
    cloud: Cloud, parent: str, kind: Kind, name: str, version: str, body: Any, principal: Principal | None
) -> tuple[Document, bool]:
    """Create a version, or change what of an existing one may change (description, tags, archiving); the document, and whether it is new.

    Raises 400 for a body that cannot be, for a path where nothing is, and for a version number that was deleted; 409 for a version that
    exists with other content.
    """
    cloud.store.need(parent)
    properties = checked(kind, name, version, body)
    check_references(cloud, parent, principal, properties)
    from_files = await _place_files(cloud, parent, kind, properties)
    id = asset_id(parent, kind, name, version)
    old = cloud.store.get(id)  # from here on without awaiting: two clients that want the same version meet here
    if old is not None:
        return _update(cloud, kind, old, properties, principal), False
    if kind.name == "environment" and (name.lower().startswith("azureml-") or curated_version(cloud, parent, kind, name, version)):
        raise bad_request(
            "name", "Environment name can not start with the prefix AzureML. To alter a curated environment first create a copy of it."
        )
    if gone := cloud.store.get(f"deleted{id}"):
        raise AzureError(
            400,
            "UserError",
            f"Asset {shown_id(gone)} was deleted at {gone['deletedAt']}, it cannot be recreated. "
            "Please try again with a different version.",
        )
    full = {**blank(), "isAnonymous": False, **_defaults(kind), **properties, **from_files, "provisioningState": "Succeeded"}
    document = {
        "id": id,
        "name": version,
        "type": type_of(parent, kind) + "/versions",
        "properties": full,
        "systemData": system_data(cloud, principal),
    }
    with cloud.store.transaction():
        _count(cloud, parent, kind, name, version, document, principal)
        cloud.store.put(id, f"{kind.name}_version", document)
    return document, True


def put_container(cloud: Cloud, parent: str, kind: Kind, name: str, body: Any, principal: Principal | None) -> Document:
    """Create a container, or change its description, tags or archiving; archiving a container archives what is in it."""
    cloud.store.need(parent)
    properties = needed_object(body, "properties")
    id = asset_id(parent, kind, name)
    if not NAME.fullmatch(name):
        raise bad_name(kind, name)
    old = cloud.store.get(id)
    document = old or {
        "id": id,
        "name": name,
        "type": type_of(parent, kind),
        "properties": {**blank(), "latestVersion": None, "nextVersion": "1"},
        "systemData": system_data(cloud, principal),
    }
    for key in ("description", "tags", "properties", "isArchived", "dataType"):
        if properties.get(key) is not None and not (key == "dataType" and old):
            document["properties"][key] = properties[key]
    document["properties"]["provisioningState"] = "Succeeded"
    document["systemData"] = system_data(cloud, principal, document["systemData"])
    with cloud.store.transaction():
        cloud.store.put(id, kind.name, document)
        if properties.get("isArchived") is not None:
            for one in versions(cloud, parent, kind, name):
                one["properties"]["isArchived"] = bool(properties["isArchived"])
                cloud.store.put(one["id"], f"{kind.name}_version", one)
    return document


def delete(cloud: Cloud, parent: str, kind: Kind, name: str, version: str | None = None) -> bool:
    """Delete a version, or a container with all of them; their numbers stay taken."""
    cloud.store.need(parent)
    doomed = [one for one in versions(cloud, parent, kind, name) if version in (None, one["name"])]
    at = cloud.now().strftime("%m/%d/%Y %H:%M:%S +00:00")
    with cloud.store.transaction():
        for one in doomed:
            cloud.store.put(f"deleted{one['id']}", "deleted_version", {**one, "deletedAt": at})
            cloud.store.delete(one["id"])
        id = asset_id(parent, kind, name)
        if version is None:
            return cloud.store.delete(id) or bool(doomed)
        if container := cloud.store.get(id):
            left = versions(cloud, parent, kind, name)
            container["properties"]["latestVersion"] = left[-1]["name"] if left else None
            cloud.store.put(id, kind.name, container)
    return bool(doomed)


async def pending_upload(cloud: Cloud, parent: str, kind: Kind, name: str, version: str) -> Document:
    """Where to put the files of a version that is about to be created: a container of its own, the same for every call, with a SAS."""
    if not NAME.fullmatch(name):
        raise bad_name(kind, name)
    account_id, guid = storage_of(cloud, parent)
    account = account_of(account_id)
    container = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{guid}{asset_id(parent, kind, name, version).lower()}"))
    await make_containers(cloud, account, [container])
    reference = blob_reference(account_id, account, container, cloud.storage.sas(account, container, "racwdl", minutes=24 * 60))
    return {"pendingUploadId": None, "pendingUploadType": "TemporaryBlobReference", "blobReferenceForConsumption": reference}


def blob_reference(account_id: str, account: str, container: str, sas: str) -> Document:
    """The shape in which the service hands out access to blobs."""
    return {
        "blobUri": f"https://{account}.blob.core.windows.net/{container}",
        "storageAccountArmId": account_id,
        "credential": {"credentialType": "SAS", "sasUri": sas},
    }


def storage_of(cloud: Cloud, parent: str) -> tuple[str, str]:
    """The storage account (ARM id) where a workspace or registry keeps its files, and its own immutable id."""
    document = cloud.store.need(parent)
    if "/workspaces/" in parent.lower():
        return document["properties"]["storageAccount"], document["properties"]["workspaceId"]
    from emulator.registries.models import storage_account_id

    return storage_account_id(document), document["properties"]["registryId"]


async def _place_files(cloud: Cloud, parent: str, kind: Kind, properties: Document) -> Document:
    """Write URIs as the service does, check that a model is where its body says, and return what its path and files tell about it."""
    if kind.uri is None:
        return {}
    uri: str = properties[kind.uri]
    told: Document = {}
    job = paths.job_of(uri) if kind.name in ("model", "data") else None
    if job:
        uri, told = paths.job_uri(cloud, parent, **job), {"jobName": job["job"]}
    if kind.name != "code" and "/workspaces/" in parent.lower():
        uri = paths.long_uri(parent, uri)
    properties[kind.uri] = uri
    if kind.name != "model":
        return {}
    located = paths.locate(cloud, parent, uri, kind="models")
    if not await paths.files(cloud, located):
        raise _no_files(located, job)
    if properties.get("modelType") == "mlflow_model" and (flavors := _flavors(await paths.read(cloud, located, "MLmodel"))):
        told = {**told, "flavors": flavors}
    return told


def _no_files(located: paths.Located, job: Mapping[str, str] | None) -> AzureError:
    if job:
        code, message = "NoMatchingArtifactsFoundFromJob", f"No artifacts matching {job.get('path') or job.get('output')} found from Job."
    else:
        code, message = (
            "ModelAssetPathNotFoundInStorage",
            f"No blobs found in storage at model asset path: {located.container}/{located.prefix}",
        )
    details = [{"code": code, "message": message}]
    return AzureError(400, "UserError", "The request is invalid.", target="properties.modelUri", details=details)


def _flavors(content: bytes | None) -> Document | None:
    """The flavors that an MLmodel file names, as the service shows them: every value as text."""
    try:
        flavors = (yaml.safe_load(content) if content else {}).get("flavors") or {}
        return {name: {"data": {key: str(value) for key, value in data.items()}} for name, data in flavors.items()}
    except (yaml.YAMLError, AttributeError):
        return None


def _update(cloud: Cloud, kind: Kind, old: Document, properties: Document, principal: Principal | None) -> Document:
    before, name = old["properties"], old["id"].split(f"/{kind.plural}/")[1].split("/")[0]
    wanted = {**_defaults(kind), **properties}
    for field in kind.fixed:
        if plain(wanted.get(field)) != plain(before.get(field)):
            raise _taken(kind, name, old["name"], field, before.get(field), wanted.get(field))
    for key, value in (properties.get("properties") or {}).items():
        if (before.get("properties") or {}).get(key, value) != value:
            raise bad_request(
                f"properties.properties.{key}",
                f"Asset properties are immutable: '{key}' of {kind.name} {name} version {old['name']} cannot be updated.",
            )
    old["properties"] = {
        **before,
        **{key: properties[key] for key in _CHANGEABLE if key in properties},
        "properties": {**(before.get("properties") or {}), **(properties.get("properties") or {})},
    }
    old["systemData"] = system_data(cloud, principal, old["systemData"])
    return cloud.store.put(old["id"], f"{kind.name}_version", old)


def _taken(kind: Kind, name: str, version: str, field: str, before: Any, wanted: Any) -> AzureError:
    if kind.name == "environment":
        return AzureError(
            409,
            "UserError",
            f"Environment {name} with version {version} is already registered and cannot be changed.",
            target=f"properties.{field}",
        )
    if kind.name == "code":
        return AzureError(400, "UserError", "Asset paths cannot be updated.", target="properties.codeUri")
    what = {"data": "data version", "model": "model", "component": "component version"}[kind.name]
    part = {
        "dataUri": "data uri",
        "dataType": "data type",
        "modelUri": "model uri",
        "modelType": "model type",
        "componentSpec": "component spec",
    }[field]
    change = f" The {part} cannot be changed from {before} to {wanted}." if isinstance(before, str) else ""
    return AzureError(
        409,
        "UserError",
        f"A {what} with this name and version already exists. If you are trying to create a new {what}, use a different name or version. "
        f"If you are trying to update an existing {what}, the existing asset's {part} cannot be changed. "
        f"Only tags, description, and isArchived can be updated.{change}",
        target=f"properties.{field}",
    )


def _count(cloud: Cloud, parent: str, kind: Kind, name: str, version: str, document: Document, principal: Principal | None) -> None:
    """Bring the container up to date with a new version of it."""
    id = asset_id(parent, kind, name)
    container = cloud.store.get(id)
    if container is None:
        container = {
            "id": id,
            "name": name,
            "type": type_of(parent, kind),
            "properties": {**blank(), "provisioningState": "Succeeded"},
            "systemData": system_data(cloud, principal),
        }
        if document["properties"]["isAnonymous"]:
            container["properties"]["isAnonymous"] = True
    known = container["properties"]
    if kind.name == "data" and known.setdefault("dataType", document["properties"]["dataType"]) != document["properties"]["dataType"]:
        raise bad_request(
            "properties.dataType", f"The data asset {name} is of type {known['dataType']}; all versions of a data asset have the same type."
        )
    numbers = _numbers([*versions(cloud, parent, kind, name), *cloud.store.list("deleted_version", under=f"deleted{id}"), document])
    known.update(latestVersion=version, nextVersion=str(max(numbers, default=0) + 1))
    cloud.store.put(id, kind.name, container)


def _numbers(documents: Iterable[Document]) -> list[int]:
    return [int(one["name"]) for one in documents if re.fullmatch(r"\d{1,9}", one["name"])]


def _defaults(kind: Kind) -> Document:
    if kind.name == "model":
        return {"modelType": "custom_model", "flavors": {}, "stage": None}
    if kind.name == "environment":
        return {"environmentType": "UserCreated", "osType": "Linux"}
    return {}
