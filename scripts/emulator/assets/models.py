"""Versioned assets of workspaces and registries: what may be written, what stays as it is, and how they are found.

Sources: https://learn.microsoft.com/rest/api/azureml (code, data, environment, model and component containers and versions); azure-ai-ml, which relies on
400 for a changed path, 409 for a taken version and ``nextVersion`` of the container (``_utils/_asset_utils.py``); the texts of the service's errors as users
report them (Azure/azureml-assets#3439, Azure/azure-sdk-for-python#33978, Azure/azure-cli-extensions#5440, MicrosoftDocs/azure-docs#103778).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import yaml

from emulator.assets import paths
from emulator.core import Call, Cloud, Principal
from emulator.environments import curated
from emulator.errors import AzureError, bad_request
from emulator.workspaces.models import PROVIDER, account_of, by_guid, make_containers, system_data

Document = dict[str, Any]

PAGE = 100
DEFAULT_VERSION = "azureml_default"  # how a job names "the default version" of a component
CURATED_REGISTRY = "azureml"
CURATED_LATEST = "1"


@dataclass(frozen=True)
class Kind:
    """One kind of asset: its name, its path segment, the property that points to its files, and what a new body for an old version may not change."""

    name: str
    plural: str
    uri: str | None
    fixed: tuple[str, ...]
    needed: tuple[str, ...] = ()


KINDS = {
    kind.plural: kind
    for kind in (
        Kind("code", "codes", "codeUri", ("codeUri",), ("codeUri",)),
        Kind("data", "data", "dataUri", ("dataUri", "dataType"), ("dataUri", "dataType")),
        Kind("environment", "environments", None, ("image", "condaFile", "build", "osType", "inferenceConfig")),
        Kind("model", "models", "modelUri", ("modelUri", "modelType"), ("modelUri",)),
        Kind("component", "components", None, ("componentSpec",), ("componentSpec",)),
    )
}
DATA_TYPES = ("uri_file", "uri_folder", "mltable")
MODEL_TYPES = ("custom_model", "mlflow_model", "triton_model")
_CHANGEABLE = ("description", "tags", "isArchived", "stage", "autoDeleteSetting")
_NAME = re.compile(r"[a-zA-Z0-9_][\w.-]{0,254}")


def asset_id(parent: str, kind: Kind, name: str, version: str | None = None) -> str:
    """The id of a container, or of a version of it."""
    return f"{parent}/{kind.plural}/{name}" + (f"/versions/{version}" if version is not None else "")


def shown_id(document: Mapping[str, Any]) -> str:
    """How the service calls an asset in messages: ``azureml://registries/...`` or the ARM id."""
    return uri_id(document["id"])


def uri_id(id: str) -> str:
    """A registry asset's ARM id as ``azureml://registries/...``; other ids as they are."""
    match = re.fullmatch(r"/subscriptions/.*/registries/([^/]+)/(.+)", id, re.IGNORECASE)
    return f"azureml://registries/{match[1]}/{match[2]}" if match else id


# --- reading ---------------------------------------------------------------------------------------------------------------------------------------------


def get_version(cloud: Cloud, parent: str, kind: Kind, name: str, version: str) -> Document:
    """One version; the service's 404 where there is none."""
    if kind.name == "component" and version == DEFAULT_VERSION:
        return latest(cloud, parent, kind, name)
    document = cloud.store.get(asset_id(parent, kind, name, version)) or _curated(cloud, parent, kind, name, version)
    if document is None:
        raise _missing(cloud, parent, kind, name, version)
    return document


def get_container(cloud: Cloud, parent: str, kind: Kind, name: str) -> Document:
    """A container with its latest and next version; 404 where there is none."""
    document = cloud.store.get(asset_id(parent, kind, name))
    if document is None and (found := _curated(cloud, parent, kind, name, CURATED_LATEST)):
        return {
            **found,
            "id": asset_id(parent, kind, name),
            "name": name,
            "properties": {**_blank(), "latestVersion": CURATED_LATEST, "nextVersion": None},
        }
    if document is None:
        raise _missing(cloud, parent, kind, name)
    return document


def latest(cloud: Cloud, parent: str, kind: Kind, name: str) -> Document:
    """The version that was created last."""
    found = versions(cloud, parent, kind, name)
    if not found and (document := _curated(cloud, parent, kind, name, CURATED_LATEST)):
        return document
    if not found:
        raise _missing(cloud, parent, kind, name)
    return found[-1]


def versions(cloud: Cloud, parent: str, kind: Kind, name: str) -> list[Document]:
    """All versions of a name, oldest first."""
    return cloud.store.list(f"{kind.name}_version", under=asset_id(parent, kind, name))


def resolve(cloud: Cloud, parent: str, reference: str, kind: str | None = None) -> tuple[Kind, Document]:
    """The version that a reference means, with its kind.

    ARM ids (with or without ``azureml:`` before them, by version or by label), ``azureml://registries/...``, ``azureml://locations/.../workspaces/<guid>/...``,
    and, seen from ``parent`` (a workspace's or registry's id), ``name:version`` and ``name@label`` with or without ``azureml:``; these need ``kind``, the
    plural ("models"), or are looked for among data and then models.
    """
    text = re.sub(r"^azureml:(?!//)", "", reference.strip())
    tail = r"/(?P<kind>codes|data|environments|models|components)/(?P<name>[^/]+)/(?:versions/(?P<version>[^/]+)|labels/(?P<label>[^/]+))/?"
    if match := re.fullmatch(rf"azureml://registries/(?P<registry>[^/]+){tail}", text, re.IGNORECASE):
        from emulator.registries.models import by_name

        return _pick(cloud, by_name(cloud, match["registry"])["id"], match)
    if match := re.fullmatch(rf"azureml://locations/[^/]+/workspaces/(?P<guid>[^/]+){tail}", text, re.IGNORECASE):
        return _pick(cloud, by_guid(cloud, match["guid"])["id"], match)
    if match := re.fullmatch(
        rf"(?P<parent>/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/(?:workspaces|registries)/[^/]+){tail}", text, re.IGNORECASE
    ):
        return _pick(cloud, match["parent"], match)
    match = re.fullmatch(r"(?P<name>[\w.-]+)(?::(?P<version>[\w.-]+)|@(?P<label>[\w.-]+))", text)
    if not match:
        raise AzureError(400, "UserError", f"'{reference}' names no asset: a name:version, name@label or an asset id is expected.")
    for plural in [kind] if kind else ["data", "models"]:
        try:
            return _pick(cloud, parent, match, KINDS[plural])
        except AzureError:
            if kind or plural == "models":
                raise
    raise AssertionError("the loop returns or raises")


def _pick(cloud: Cloud, parent: str, match: re.Match[str], kind: Kind | None = None) -> tuple[Kind, Document]:
    kind = kind or KINDS[match["kind"].lower()]
    if match["version"]:
        return kind, get_version(cloud, parent, kind, match["name"], match["version"])
    if match["label"] not in ("latest", "default"):
        raise AzureError(404, "UserError", f"Asset {match['name']} with version label {match['label']} does not exist.")
    return kind, latest(cloud, parent, kind, match["name"])


def find_by_hash(cloud: Cloud, parent: str, content_hash: str) -> list[Document]:
    """The code of a workspace with this content, whatever its name (the SDK asks before it uploads, ``operations/_code_operations.py``)."""
    found = cloud.store.list("code_version", under=parent)
    return [one for one in found if (one["properties"].get("properties") or {}).get("hash_sha256") == content_hash][:1]


def page(call: Call, found: list[Document], newest_first: bool) -> Document:
    """One page of a list: filtered, ordered and cut as the query asks, with the link to the rest."""
    query = call.query
    view = (
        query.get("listViewType", "ActiveOnly").lower().removeprefix("listviewtype.").replace("_", "")
    )  # azure-ai-ml: ListViewType.ACTIVE_ONLY to registries
    if view not in ("activeonly", "archivedonly", "all"):
        raise bad_request("listViewType", f"'{query['listViewType']}' is not a list view type; it is ActiveOnly, ArchivedOnly or All.")
    if view != "all":
        found = [
            one
            for one in found
            if bool(one["properties"].get("isArchived")) == (view == "archivedonly") and not one["properties"].get("isAnonymous")
        ]
    for field in ("stage", "description"):
        if wanted := query.get(field):
            found = [one for one in found if one["properties"].get(field) == wanted]
    if wanted := query.get("version"):
        found = [one for one in found if one["name"] == wanted]
    for parameter, field in (("tags", "tags"), ("$tags", "tags"), ("properties", "properties")):
        if wanted := query.get(parameter):
            found = [one for one in found if _has(one["properties"].get(field) or {}, wanted)]
    order = query.get("$orderBy", query.get("orderBy", "")).lower()
    if "desc" in order or (newest_first and "asc" not in order):
        found = found[::-1]
    if "$top" in query:
        return {"value": found[: _number(query["$top"], "$top")]}
    start, size = _number(query.get("$skip", "0"), "$skip"), _number(query.get("count", str(PAGE)), "count") or PAGE
    answer: Document = {"value": found[start : start + size]}
    if start + size < len(found):
        rest = {**query, "$skip": str(start + size)}
        answer["nextLink"] = f"https://{call.host}{call.request.url.path}?{urlencode(rest, safe='$')}"
    return answer


def _has(values: Mapping[str, Any], wanted: str) -> bool:
    pairs = [text.partition("=") for text in wanted.split(",") if text]
    return all(key in values and (not equals or str(values[key]) == value) for key, equals, value in pairs)


def _number(text: str, name: str) -> int:
    if not text.isdigit():
        raise bad_request(name, f"'{text}' is not a value of {name}: a whole number is expected.")
    return int(text)


def _missing(cloud: Cloud, parent: str, kind: Kind, name: str, version: str | None = None) -> AzureError:
    cloud.store.need(parent)
    what = uri_id(asset_id(parent, kind, name, version))
    if version is not None and what.startswith("/"):
        workspace = cloud.store.need(parent)
        what = f"azureml://locations/{workspace['location']}/workspaces/{workspace['properties']['workspaceId']}/{kind.plural}/{name}/versions/{version}"
    return AzureError(404, "UserError", f"Could not find asset with ID: {what}")


def _curated(cloud: Cloud, parent: str, kind: Kind, name: str, version: str) -> Document | None:
    """Microsoft's environments: in every workspace under their ``AzureML-`` names, in the registry ``azureml`` under their own."""
    in_registry = parent.lower().endswith(f"/registries/{CURATED_REGISTRY}")
    if (
        kind.name != "environment"
        or not version.isdigit()
        or not (in_registry or name.lower().startswith("azureml-"))
        or not curated.find(name)
    ):
        return None
    properties = {
        **_blank(), "isAnonymous": False, "environmentType": "Curated", "osType": "Linux", "image": curated.IMAGE.format(name=name.lower()).replace(":latest", f":{version}"),
    }  # fmt: skip
    return {
        "id": asset_id(parent, kind, name, version),
        "name": version,
        "type": _type(parent, kind) + "/versions",
        "properties": properties,
        "systemData": None,
    }


def curated_containers(cloud: Cloud, parent: str) -> list[Document]:
    """The curated environments that the emulator has, as containers."""
    return [get_container(cloud, parent, KINDS["environments"], name) for name in sorted(curated.PACKAGES)]


# --- writing ---------------------------------------------------------------------------------------------------------------------------------------------


async def put_version(
    cloud: Cloud, parent: str, kind: Kind, name: str, version: str, body: Any, principal: Principal | None
) -> tuple[Document, bool]:
    """Create a version, or change what of an existing one may change (description, tags, archiving); the document, and whether it is new.

    Raises 400 for a body that cannot be, for a path where nothing is, and for a version number that was deleted; 409 for a version that exists with
    other content.
    """
    cloud.store.need(parent)
    properties = _checked(kind, name, version, body)
    jobs = await _place_files(cloud, parent, kind, properties)
    id = asset_id(parent, kind, name, version)
    old = cloud.store.get(id)
    if old is not None:
        return _update(cloud, kind, old, properties, principal), False
    if kind.name == "environment" and (name.lower().startswith("azureml-") or _curated(cloud, parent, kind, name, version)):
        raise bad_request(
            "name", "Environment name can not start with the prefix AzureML. To alter a curated environment first create a copy of it."
        )
    if gone := cloud.store.get(f"deleted{id}"):
        raise AzureError(
            400,
            "UserError",
            f"Asset {shown_id(gone)} was deleted at {gone['deletedAt']}, it cannot be recreated. Please try again with a different version.",
        )
    full = {**_blank(), "isAnonymous": False, **_defaults(kind, properties), **properties, **jobs, "provisioningState": "Succeeded"}
    if kind.name == "model" and full["modelType"] == "mlflow_model":
        full["flavors"] = await _flavors(cloud, parent, full["modelUri"]) or full["flavors"]
    document = {
        "id": id,
        "name": version,
        "type": _type(parent, kind) + "/versions",
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
    properties = _object(body, "properties")
    id = asset_id(parent, kind, name)
    if not _NAME.fullmatch(name):
        raise _bad_name(kind, name)
    old = cloud.store.get(id)
    document = old or {
        "id": id, "name": name, "type": _type(parent, kind), "properties": {**_blank(), "latestVersion": None, "nextVersion": "1"}, "systemData": system_data(cloud, principal),
    }  # fmt: skip
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
    if not _NAME.fullmatch(name):
        raise _bad_name(kind, name)
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


def _checked(kind: Kind, name: str, version: str, body: Any) -> Document:
    """The properties of a request body, without what is null; 400 names the property that cannot be."""
    properties = {key: value for key, value in _object(body, "properties").items() if value is not None}
    if not _NAME.fullmatch(name):
        raise _bad_name(kind, name)
    if not re.fullmatch(r"[\w.-]{1,255}", version):
        raise bad_request(
            "version", f"The version '{version}' of {kind.name} '{name}' is invalid: letters, digits, '-', '_' and '.' are allowed."
        )
    for needed in kind.needed:
        if not properties.get(needed):
            raise bad_request(f"properties.{needed}", f"The property '{needed}' is required for a {kind.name} version.")
    for field in ("tags", "properties"):
        values = properties.get(field, {})
        if not isinstance(values, dict) or any(isinstance(value, (dict, list)) for value in values.values()):
            raise bad_request(f"properties.{field}", f"The property '{field}' must be an object whose values are strings.")
        if field in properties:
            properties[field] = {key: _text(value) for key, value in values.items()}
    for field in ("isArchived", "isAnonymous"):
        if not isinstance(properties.get(field, False), bool):
            raise bad_request(f"properties.{field}", f"The property '{field}' must be true or false.")
    if kind.uri and not isinstance(properties[kind.uri], str):
        raise bad_request(f"properties.{kind.uri}", f"The property '{kind.uri}' must be a string.")
    if kind.name == "data" and properties["dataType"] not in DATA_TYPES:
        raise bad_request("properties.dataType", f"'{properties['dataType']}' is not a data type; it is one of {', '.join(DATA_TYPES)}.")
    if kind.name == "model" and properties.get("modelType", "custom_model") not in MODEL_TYPES:
        raise bad_request(
            "properties.modelType", f"'{properties['modelType']}' is not a model type; it is one of {', '.join(MODEL_TYPES)}."
        )
    if kind.name == "component" and not isinstance(properties["componentSpec"], dict):
        raise bad_request("properties.componentSpec", "The property 'componentSpec' must be an object.")
    if kind.name == "environment":
        _check_environment(properties)
    return properties


def _check_environment(properties: Document) -> None:
    image, build, conda = properties.get("image"), properties.get("build"), properties.get("condaFile")
    if not image and not build:
        raise bad_request("properties.image", "An environment needs either 'image' or 'build'.")
    if image and build:
        raise bad_request("properties.build", "An environment has either 'image' or 'build', not both.")
    if build and not (isinstance(build, dict) and build.get("contextUri")):
        raise bad_request("properties.build.contextUri", "The property 'contextUri' is required for a build context.")
    if conda is not None:
        try:
            parsed = yaml.safe_load(conda) if isinstance(conda, str) else None
        except yaml.YAMLError as error:
            raise bad_request("properties.condaFile", f"The conda file is not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(parsed, dict):
            raise bad_request("properties.condaFile", "The conda file must be a YAML mapping with 'dependencies'.")


async def _place_files(cloud: Cloud, parent: str, kind: Kind, properties: Document) -> Document:
    """Write URIs as the service does, check that a model is where its body says, and return what the path tells about the job it comes from."""
    if kind.uri is None or "/workspaces/" not in parent.lower():
        if kind.name == "model":
            await _check_blobs(cloud, parent, properties["modelUri"], None)
        return {}
    uri = properties[kind.uri]
    job = paths.job_of(uri) if kind.name in ("model", "data") else None
    if job:
        uri = paths.job_uri(cloud, parent, **job)
    properties[kind.uri] = paths.long_uri(parent, uri) if kind.name != "code" else uri
    if kind.name == "model":
        await _check_blobs(cloud, parent, properties["modelUri"], job)
    return {"jobName": job["job"]} if job else {}


async def _check_blobs(cloud: Cloud, parent: str, uri: str, job: Mapping[str, str] | None) -> None:
    located = paths.locate(cloud, parent, uri, kind="models")
    if await paths.files(cloud, located):
        return
    if job:
        detail = {
            "code": "NoMatchingArtifactsFoundFromJob",
            "message": f"No artifacts matching {job.get('path') or job.get('output')} found from Job.",
        }
    else:
        detail = {
            "code": "ModelAssetPathNotFoundInStorage",
            "message": f"No blobs found in storage at model asset path: {located.container}/{located.prefix}",
        }
    raise AzureError(400, "UserError", "The request is invalid.", target="properties.modelUri", details=[detail])


async def _flavors(cloud: Cloud, parent: str, uri: str) -> Document | None:
    content = await paths.read(cloud, paths.locate(cloud, parent, uri), "MLmodel")
    if content is None:
        return None
    try:
        flavors = (yaml.safe_load(content) or {}).get("flavors") or {}
    except (yaml.YAMLError, AttributeError):
        return None
    return {
        name: {"data": {key: value if isinstance(value, str) else str(value) for key, value in data.items()}}
        for name, data in flavors.items()
    }


def _update(cloud: Cloud, kind: Kind, old: Document, properties: Document, principal: Principal | None) -> Document:
    before, name = old["properties"], old["id"].split(f"/{kind.plural}/")[1].split("/")[0]
    wanted = {**_defaults(kind, properties), **properties}
    for field in kind.fixed:
        if _plain(wanted.get(field)) != _plain(before.get(field)):
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
        409, "UserError",
        f"A {what} with this name and version already exists. If you are trying to create a new {what}, use a different name or version. If you are trying to "
        f"update an existing {what}, the existing asset's {part} cannot be changed. Only tags, description, and isArchived can be updated.{change}",
        target=f"properties.{field}",
    )  # fmt: skip


def _count(cloud: Cloud, parent: str, kind: Kind, name: str, version: str, document: Document, principal: Principal | None) -> None:
    """Bring the container up to date with a new version of it."""
    id = asset_id(parent, kind, name)
    container = cloud.store.get(id)
    if container is None:
        container = {
            "id": id, "name": name, "type": _type(parent, kind), "properties": {**_blank(), "provisioningState": "Succeeded"}, "systemData": system_data(cloud, principal),
        }  # fmt: skip
        if document["properties"]["isAnonymous"]:
            container["properties"]["isAnonymous"] = True
    known = container["properties"]
    if kind.name == "data":
        if known.setdefault("dataType", document["properties"]["dataType"]) != document["properties"]["dataType"]:
            raise bad_request(
                "properties.dataType",
                f"The data asset {name} is of type {known['dataType']}; all versions of a data asset have the same type.",
            )
    numbers = _numbers([*versions(cloud, parent, kind, name), *cloud.store.list("deleted_version", under=f"deleted{id}"), document])
    known.update(latestVersion=version, nextVersion=str(max(numbers, default=0) + 1))
    cloud.store.put(id, kind.name, container)


def _numbers(documents: Iterable[Document]) -> list[int]:
    return [int(one["name"]) for one in documents if re.fullmatch(r"\d{1,9}", one["name"])]


def _defaults(kind: Kind, properties: Document) -> Document:
    if kind.name == "model":
        return {"modelType": "custom_model", "flavors": {}, "stage": None}
    if kind.name == "environment":
        return {"environmentType": "UserCreated", "osType": "Linux"}
    return {}


def _blank() -> Document:
    return {"description": None, "tags": {}, "properties": {}, "isArchived": False}


def _plain(value: Any) -> Any:
    """For comparison: without what is null, and with the Dockerfile that a build context has by default."""
    if isinstance(value, dict):
        value = {key: _plain(one) for key, one in value.items() if one is not None}
        return {"dockerfilePath": "Dockerfile", **value} if "contextUri" in value else value
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.rstrip("/") if isinstance(value, str) and "://" in value else value


def _text(value: Any) -> Any:
    """A scalar as the text that the service keeps of it."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _object(body: Any, name: str) -> Document:
    found = body.get(name) if isinstance(body, dict) else None
    if not isinstance(found, dict):
        raise bad_request(name, f"The property '{name}' is required and must be an object.")
    return found


def _bad_name(kind: Kind, name: str) -> AzureError:
    return bad_request(
        "name",
        f"The {kind.name} name '{name}' is invalid: it may have letters, digits, '-', '_' and '.', starts with a letter or digit, and has at most 255.",
    )


def _type(parent: str, kind: Kind) -> str:
    return f"{PROVIDER}/{'workspaces' if '/workspaces/' in parent.lower() else 'registries'}/{kind.plural}"
