"""HTTP in and out for computes, usages and sizes."""

from __future__ import annotations

from typing import Any

from emulator.compute import models
from emulator.core import Call, Reply
from emulator.errors import AzureError, bad_request, not_found
from emulator.workspaces.models import TYPE, check_location
from emulator.workspaces.responses import body_of, need, refuse_while_running


def _id(call: Call) -> str:
    return f"{need(call)['id']}/computes/{call.params['compute']}"


def _need(call: Call) -> dict[str, Any]:
    """The compute; the service's own 404, which names the workspace's compute and not the ARM resource."""
    document = call.cloud.store.get(_id(call))
    if document is None:
        raise AzureError(404, "ResourceNotFound", not_found(_id(call)).message, target=_id(call))
    return document


async def list_computes(call: Call) -> dict[str, Any]:
    return {"value": [models.show(call.cloud, one) for one in call.cloud.store.list("compute", under=need(call)["id"])]}


async def get_compute(call: Call) -> dict[str, Any]:
    return models.show(call.cloud, _need(call))


async def put_compute(call: Call) -> Reply:
    id, workspace = _id(call), need(call)
    refuse_while_running(call, id)
    document = models.make(call.cloud, id, call.body, workspace, call.principal)
    new = not call.cloud.store.exists(id)
    call.cloud.store.put(id, "compute", document)
    operation = call.cloud.operations.start(id, "compute", models.provision(call.cloud, id), location=document["location"])
    return call.accepted(operation, body=models.show(call.cloud, document), status=201 if new else 200)


async def patch_compute(call: Call) -> Reply:
    """Change a cluster's scale (https://learn.microsoft.com/rest/api/azureml/compute/update)."""
    id = _need(call)["id"]
    refuse_while_running(call, id)
    document = _need(call)
    try:
        scale = body_of(call)["properties"]["properties"]["scaleSettings"]
    except (KeyError, TypeError):
        scale = None
    if not isinstance(scale, dict):
        raise bad_request("properties.properties.scaleSettings", "Only 'scaleSettings' of a cluster can be updated.", "ValidationError")
    document["properties"]["properties"]["scaleSettings"].update(scale)
    document = models.make(call.cloud, id, document, need(call), call.principal)
    call.cloud.store.put(id, "compute", document)
    operation = call.cloud.operations.start(id, "compute", models.provision(call.cloud, id), location=document["location"])
    return call.accepted(operation, body=document, status=200)


async def delete_compute(call: Call) -> Reply:
    action = call.query.get("underlyingResourceAction", "")
    if action not in ("Delete", "Detach"):
        raise bad_request(
            "underlyingResourceAction", "The query parameter 'underlyingResourceAction' must be Delete or Detach.", "ValidationError"
        )
    id = _id(call)
    found = call.cloud.store.get(id)
    if found is None:
        return Reply(204)
    refuse_while_running(call, id)
    if action == "Detach":
        raise bad_request(
            "underlyingResourceAction",
            f"A compute of type {found['properties']['computeType']} cannot be detached; delete it.",
            "ValidationError",
        )
    found["properties"]["provisioningState"] = "Deleting"
    call.cloud.store.put(id, "compute", found)

    async def work() -> None:
        call.cloud.store.delete(id)

    return call.accepted(call.cloud.operations.start(id, "compute", work(), location=found["location"], result=lambda: None))


async def list_nodes(call: Call) -> dict[str, Any]:
    document = _need(call)
    if document["properties"]["computeType"] != "AmlCompute":
        raise bad_request(
            "properties.computeType", f"A compute of type {document['properties']['computeType']} has no nodes to list.", "ValidationError"
        )
    return {"nodes": models.nodes(call.cloud, document)}


async def change_state(call: Call) -> Reply:
    id, verb = _need(call)["id"], call.path.rstrip("/").rsplit("/", 1)[-1].lower()
    refuse_while_running(call, id)
    models.begin_transition(call.cloud, id, verb)
    location = _need(call)["location"]
    operation = call.cloud.operations.start(
        id, "compute", models.end_transition(call.cloud, id, verb), location=location, result=lambda: None
    )
    return call.accepted(operation)


async def list_usages(call: Call) -> dict[str, Any]:
    location = check_location(call.params["location"], TYPE)
    return {"value": models.usages(call.cloud, call.params["subscription"], location)}


async def list_sizes(call: Call) -> dict[str, Any]:
    check_location(call.params["location"], TYPE)
    return {"value": models.sizes()}
