"""Versioned assets of workspaces and registries, and how they are found. ``writing`` changes them, ``paths`` finds their files.

Source: https://learn.microsoft.com/rest/api/azureml (code, data, environment, model and component containers and versions).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from emulator.core import Call, Cloud
from emulator.environments import curated
from emulator.errors import AzureError, bad_request
from emulator.workspaces.models import PROVIDER, by_guid

Document = dict[str, Any]

PAGE = 100
DEFAULT_VERSION = "azureml_default"  # how a job names "the default version" of a component
CURATED_REGISTRY = "azureml"
CURATED_LATEST = "1"


@dataclass(frozen=True)
class Kind:
    """One kind of asset: name, path segment, the property that points to its files, those that never change, those that are required."""

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


def get_version(cloud: Cloud, parent: str, kind: Kind, name: str, version: str) -> Document:
    """One version; the service's 404 where there is none."""
    if kind.name == "component" and version == DEFAULT_VERSION:
        return latest(cloud, parent, kind, name)
    document = cloud.store.get(asset_id(parent, kind, name, version)) or curated_version(cloud, parent, kind, name, version)
    if document is None:
        raise _missing(cloud, parent, kind, name, version)
    return document


def get_container(cloud: Cloud, parent: str, kind: Kind, name: str) -> Document:
    """A container with its latest and next version; 404 where there is none."""
    document = cloud.store.get(asset_id(parent, kind, name))
    if document is None and (found := curated_version(cloud, parent, kind, name, CURATED_LATEST)):
        return {
            **found,
            "id": asset_id(parent, kind, name),
            "name": name,
            "properties": {**blank(), "latestVersion": CURATED_LATEST, "nextVersion": None},
        }
    if document is None:
        raise _missing(cloud, parent, kind, name)
    return document


def latest(cloud: Cloud, parent: str, kind: Kind, name: str) -> Document:
    """The version that was created last, of those that are not archived."""
    found = [one for one in versions(cloud, parent, kind, name) if not one["properties"].get("isArchived")]
    if not found and (document := curated_version(cloud, parent, kind, name, CURATED_LATEST)):
        return document
    if not found:
        raise _missing(cloud, parent, kind, name)
    return found[-1]


def versions(cloud: Cloud, parent: str, kind: Kind, name: str) -> list[Document]:
    """All versions of a name, oldest first."""
    return cloud.store.list(f"{kind.name}_version", under=asset_id(parent, kind, name))


def resolve(cloud: Cloud, parent: str, reference: str, kind: str | None = None) -> tuple[Kind, Document]:
    """The version that a reference means, with its kind.

    ARM ids (with or without ``azureml:`` before them, by version or by label), ``azureml://registries/...``,
    ``azureml://locations/.../workspaces/<guid>/...``, and, seen from ``parent`` (a workspace's or registry's id), ``name:version`` and
    ``name@label`` with or without ``azureml:``; these need ``kind``, the plural ("models"), or are looked for among data and then models.
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
    # azure-ai-ml writes ListViewType.ACTIVE_ONLY when it asks a registry
    view = query.get("listViewType", "ActiveOnly").lower().removeprefix("listviewtype.").replace("_", "")
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
        place = f"azureml://locations/{workspace['location']}/workspaces/{workspace['properties']['workspaceId']}"
        what = f"{place}/{kind.plural}/{name}/versions/{version}"
    return AzureError(404, "UserError", f"Could not find asset with ID: {what}")


def curated_version(cloud: Cloud, parent: str, kind: Kind, name: str, version: str) -> Document | None:
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
        **blank(),
        "isAnonymous": False,
        "environmentType": "Curated",
        "osType": "Linux",
        "image": curated.IMAGE.format(name=name.lower()).replace(":latest", f":{version}"),
    }
    return {
        "id": asset_id(parent, kind, name, version),
        "name": version,
        "type": type_of(parent, kind) + "/versions",
        "properties": properties,
        "systemData": None,
    }


def curated_containers(cloud: Cloud, parent: str) -> list[Document]:
    """The curated environments that the emulator has, as containers."""
    return [get_container(cloud, parent, KINDS["environments"], name) for name in sorted(curated.PACKAGES)]


def blank() -> Document:
    """The properties that every asset has."""
    return {"description": None, "tags": {}, "properties": {}, "isArchived": False}


def type_of(parent: str, kind: Kind) -> str:
    """The ARM type of a container; that of a version has ``/versions`` after it."""
    return f"{PROVIDER}/{'workspaces' if '/workspaces/' in parent.lower() else 'registries'}/{kind.plural}"
