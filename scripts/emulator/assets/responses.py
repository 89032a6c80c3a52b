"""HTTP in and out for datastores and assets of workspaces."""

from __future__ import annotations

from typing import Any

from emulator.assets import datastores, models, writing
from emulator.core import Call, Reply
from emulator.workspaces.responses import body_of, need, scope


async def list_datastores(call: Call) -> dict[str, Any]:
    found = call.cloud.store.list("datastore", under=need(call)["id"])
    if call.query.get("isDefault", "").lower() == "true":
        found = [one for one in found if one["properties"]["isDefault"]]
    if names := call.query.get("names"):
        found = [one for one in found if one["name"] in names.split(",")]
    if text := call.query.get("searchText"):
        found = [one for one in found if text.lower() in one["name"].lower()]
    return models.page(call, found, newest_first=False)


async def get_datastore(call: Call) -> dict[str, Any]:
    return datastores.need(call.cloud, scope(call), call.params["name"])


async def put_datastore(call: Call) -> Reply:
    skip = call.query.get("skipValidation", "").lower() == "true"
    document, new = datastores.put(call.cloud, need(call)["id"], call.params["name"], call.body, call.principal, skip)
    return Reply(201 if new else 200, document)


async def delete_datastore(call: Call) -> Reply:
    return Reply(200 if datastores.delete(call.cloud, scope(call), call.params["name"]) else 204)


async def list_datastore_secrets(call: Call) -> dict[str, Any]:
    body = body_of(call)
    expirable, hours = bool(body.get("expirableSecret")), int(body.get("expireAfterHours") or 1)
    return datastores.secrets(call.cloud, need(call)["id"], call.params["name"], expirable, hours)


def kind_of(call: Call) -> models.Kind:
    """The kind of asset that a path is about: its segment after the workspace or registry."""
    parts = call.path.lower().split("/")
    return models.KINDS[parts[parts.index("providers") + 4]]


async def list_containers(call: Call) -> dict[str, Any]:
    return models.page(call, call.cloud.store.list(kind_of(call).name, under=need(call)["id"]), newest_first=False)


async def get_container(call: Call) -> dict[str, Any]:
    return models.get_container(call.cloud, scope(call), kind_of(call), call.params["name"])


async def put_container(call: Call) -> dict[str, Any]:
    return writing.put_container(call.cloud, need(call)["id"], kind_of(call), call.params["name"], call.body, call.principal)


async def delete_container(call: Call) -> Reply:
    return Reply(200 if writing.delete(call.cloud, scope(call), kind_of(call), call.params["name"]) else 204)


async def list_versions(call: Call) -> dict[str, Any]:
    kind, parent = kind_of(call), need(call)["id"]
    if kind.name == "code" and (content_hash := call.query.get("hash")):
        return {"value": models.find_by_hash(call.cloud, parent, content_hash)}
    return models.page(call, models.versions(call.cloud, parent, kind, call.params["name"]), newest_first=True)


async def get_version(call: Call) -> dict[str, Any]:
    return models.get_version(call.cloud, scope(call), kind_of(call), call.params["name"], call.params["version"])


async def put_version(call: Call) -> Reply:
    document, new = await writing.put_version(
        call.cloud, need(call)["id"], kind_of(call), call.params["name"], call.params["version"], call.body, call.principal
    )
    return Reply(201 if new else 200, document)


async def delete_version(call: Call) -> Reply:
    return Reply(200 if writing.delete(call.cloud, scope(call), kind_of(call), call.params["name"], call.params["version"]) else 204)


async def start_upload(call: Call) -> dict[str, Any]:
    return await writing.pending_upload(call.cloud, need(call)["id"], kind_of(call), call.params["name"], call.params["version"])


async def no_schema(call: Call) -> Reply:
    return Reply(404)
