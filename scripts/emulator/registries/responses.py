"""HTTP in and out for registries and what is in them.

The same handlers serve ARM and the data plane (``cert-<region>.experiments.azureml.net``), where ids are ``azureml://registries/...``.
"""

from __future__ import annotations

from typing import Any

from emulator.arm.roles import allowed
from emulator.assets import models as assets
from emulator.assets import writing
from emulator.assets.responses import kind_of
from emulator.core import ARM, Call, Reply
from emulator.errors import AzureError, forbidden, not_found
from emulator.registries import models
from emulator.workspaces.responses import body_of, refuse_while_running

READ, WRITE, DELETE = (f"{models.TYPE}/assets/{right}" for right in ("read", "write", "delete"))


def _id(call: Call) -> str:
    return models.registry_id(call.params["subscription"], call.params["group"], call.params["registry"])


def _registry(call: Call, right: str) -> dict[str, Any]:
    """The registry of a call, if the caller has this right in it; Microsoft's own is everybody's to read."""
    id, found = _id(call), call.cloud.store.get(_id(call))
    if not (found and models.is_public(found) and right == READ):
        _need_right(call, right, id)
    if found is None:
        raise not_found(id)
    return found


def _need_right(call: Call, action: str, scope: str) -> None:
    principal = call.principal
    if principal is None or not allowed(call.cloud, principal, action, scope):
        who = (principal.app_id or principal.oid, principal.oid) if principal else ("", "")
        raise forbidden(*who, action, scope)


def _shown(call: Call, document: dict[str, Any]) -> dict[str, Any]:
    return document if call.host == ARM else {**document, "id": assets.uri_id(document["id"])}


async def list_registries(call: Call) -> dict[str, Any]:
    group = call.params.get("group")
    under = f"/subscriptions/{call.params['subscription']}" + (f"/resourceGroups/{group}" if group else "")
    if group and not call.cloud.store.exists(under):
        raise not_found(under)
    return {"value": call.cloud.store.list("registry", under=under)}


async def get_registry(call: Call) -> dict[str, Any]:
    return call.cloud.store.need(_id(call))


async def put_registry(call: Call) -> Reply:
    id = _id(call)
    refuse_while_running(call, id)
    new = not call.cloud.store.exists(id)
    document = models.make(call.cloud, id, call.body, call.principal)
    operation = call.cloud.operations.start(id, "registry", models.provision(call.cloud, id), location=document["location"])
    return call.accepted(operation, body=document, status=201 if new else 200)


async def patch_registry(call: Call) -> dict[str, Any]:
    document = call.cloud.store.need(_id(call))
    body = body_of(call)
    if body.get("tags") is not None:
        document["tags"] = body["tags"]
    if body.get("identity") is not None:
        document["identity"] = {**document["identity"], **body["identity"]}
    return call.cloud.store.put(document["id"], "registry", document)


async def delete_registry(call: Call) -> Reply:
    id, found = _id(call), call.cloud.store.get(_id(call))
    if found is None:
        return Reply(204)
    refuse_while_running(call, id)

    async def work() -> None:
        call.cloud.store.delete_under(id)
        call.cloud.store.delete_under(f"deleted{id}")

    return call.accepted(call.cloud.operations.start(id, "registry", work(), location=found["location"], result=lambda: None))


async def discover(call: Call) -> dict[str, Any]:
    document = models.by_name(call.cloud, call.params["registry"])
    if not models.is_public(document):
        _need_right(call, f"{models.TYPE}/read", document["id"])
    return models.discovery(document)


def _page(call: Call, found: list[dict[str, Any]], newest_first: bool) -> dict[str, Any]:
    answer = assets.page(call, found, newest_first)
    return {**answer, "value": [_shown(call, one) for one in answer["value"]]}


async def list_containers(call: Call) -> dict[str, Any]:
    registry, kind = _registry(call, READ), kind_of(call)
    found = call.cloud.store.list(kind.name, under=registry["id"])
    if kind.name == "environment" and models.is_public(registry):
        found = assets.curated_containers(call.cloud, registry["id"])
    return _page(call, found, newest_first=False)


async def get_container(call: Call) -> dict[str, Any]:
    return _shown(call, assets.get_container(call.cloud, _registry(call, READ)["id"], kind_of(call), call.params["name"]))


async def put_container(call: Call) -> dict[str, Any]:
    registry = _registry(call, WRITE)
    return _shown(call, writing.put_container(call.cloud, registry["id"], kind_of(call), call.params["name"], call.body, call.principal))


async def delete_container(call: Call) -> Reply:
    return Reply(200 if writing.delete(call.cloud, _registry(call, DELETE)["id"], kind_of(call), call.params["name"]) else 204)


async def list_versions(call: Call) -> dict[str, Any]:
    registry, kind = _registry(call, READ), kind_of(call)
    found = assets.versions(call.cloud, registry["id"], kind, call.params["name"])
    if not found and models.is_public(registry):
        found = [assets.latest(call.cloud, registry["id"], kind, call.params["name"])]
    return _page(call, found, newest_first=True)


async def get_version(call: Call) -> dict[str, Any]:
    registry = _registry(call, READ)
    return _shown(call, assets.get_version(call.cloud, registry["id"], kind_of(call), call.params["name"], call.params["version"]))


async def put_version(call: Call) -> Reply:
    registry = _registry(call, WRITE)
    document, new = await writing.put_version(
        call.cloud, registry["id"], kind_of(call), call.params["name"], call.params["version"], call.body, call.principal
    )
    if call.cloud.settings.transition == "immediate":
        return Reply(201 if new else 200, _shown(call, document))
    operation = call.cloud.operations.start(document["id"], "registryAsset", location=registry["location"])
    return call.accepted(operation, body=_shown(call, document), status=201 if new else 200)


async def delete_version(call: Call) -> Reply:
    registry = _registry(call, DELETE)
    return Reply(200 if writing.delete(call.cloud, registry["id"], kind_of(call), call.params["name"], call.params["version"]) else 204)


async def start_upload(call: Call) -> dict[str, Any]:
    registry, kind, name, version = _registry(call, WRITE), kind_of(call), call.params["name"], call.params["version"]
    if call.cloud.store.exists(assets.asset_id(registry["id"], kind, name, version)):
        raise AzureError(
            409, "UserError", f"Asset azureml://registries/{registry['name']}/{kind.plural}/{name}/versions/{version} already exists."
        )
    return await writing.pending_upload(call.cloud, registry["id"], kind, name, version)


async def write_reference(call: Call) -> dict[str, Any]:
    return await models.temporary_reference(call.cloud, _registry(call, WRITE), body_of(call), call.params["name"], call.params["version"])


async def read_reference(call: Call) -> dict[str, Any]:
    return models.read_reference(call.cloud, _registry(call, READ), body_of(call), call.params["name"], call.params["version"])


async def import_asset(call: Call) -> Reply:
    registry = _registry(call, WRITE)
    wanted = models.check_import(call.cloud, registry, call.body)
    _need_right(call, f"Microsoft.MachineLearningServices/workspaces/{wanted.kind.plural}/versions/read", wanted.workspace["id"])
    id = assets.asset_id(registry["id"], wanted.kind, wanted.name, wanted.version)
    refuse_while_running(call, id)

    async def work() -> None:
        await models.run_import(call.cloud, registry, wanted, call.principal)

    return call.accepted(call.cloud.operations.start(id, "import", work(), location=registry["location"], result=lambda: None))
