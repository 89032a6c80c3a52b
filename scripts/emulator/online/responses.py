"""HTTP in and out for online endpoints and deployments."""

from __future__ import annotations

from typing import Any

from emulator.core import Call, Reply
from emulator.errors import AzureError
from emulator.online import deployments, endpoints, models, rollout, scoring
from emulator.online.exceptions import invalid
from emulator.online.logs import INFERENCE_SERVER, STORAGE_INITIALIZER, Record
from emulator.workspaces import models as workspaces

Document = dict[str, Any]


def _workspace(call: Call) -> Document:
    return workspaces.get(call.cloud, call.params["subscription"], call.params["group"], call.params["workspace"])


def _endpoint_id(call: Call) -> str:
    return f"{_workspace(call)['id']}/onlineEndpoints/{call.params['endpoint']}"


def _endpoint(call: Call) -> Document:
    return call.cloud.store.need(_endpoint_id(call))


def _deployment(call: Call) -> Document:
    return call.cloud.store.need(f"{_endpoint(call)['id']}/deployments/{call.params['deployment']}")


# --- endpoints ---


async def get_endpoint(call: Call) -> Document:
    return _endpoint(call)


async def list_endpoints(call: Call) -> Document:
    found = call.cloud.store.list("online_endpoint", under=_workspace(call)["id"])
    found = [
        one
        for one in found
        if (call.query.get("name") or one["name"]).lower() == one["name"].lower()
        and (call.query.get("computeType") or "Managed").lower() == "managed"
        and _has(one["tags"], call.query.get("tags"))
        and _has(one["properties"]["properties"], call.query.get("properties"))
    ]
    return models.page(found, call.query, str(call.request.url))


def _has(values: dict[str, str], wanted: str | None) -> bool:
    """The service's filter: ``name`` or ``name=value``, separated by commas."""
    pairs = [one.partition("=") for one in (wanted or "").split(",") if one]
    return all(name in values and (not mark or values[name] == value) for name, mark, value in pairs)


async def put_endpoint(call: Call) -> Reply:
    document, operation, new = endpoints.put(call.cloud, _workspace(call), call.params["endpoint"], call.body, call.principal)
    return call.accepted(operation, document, status=201 if new else 200)


async def patch_endpoint(call: Call) -> Reply:
    document, operation = endpoints.patch(call.cloud, _workspace(call), call.params["endpoint"], call.body, call.principal)
    return call.accepted(operation, document)


async def delete_endpoint(call: Call) -> Reply:
    cloud, id = call.cloud, _endpoint_id(call)
    endpoint = cloud.store.get(id)
    if endpoint is None:
        return Reply(204)
    models.refuse_while_running(cloud, id, below=True)
    models.set_state(cloud, id, "Deleting")

    async def work() -> None:
        for one in cloud.store.list("online_deployment", under=id):
            await rollout.remove(cloud, one["id"])
        models.forget_endpoint(cloud, endpoint)

    return call.accepted(cloud.operations.start(id, "onlineEndpoint", work(), location=endpoint["location"]))


async def list_keys(call: Call) -> Document:
    endpoint = _of_mode(call, "Key", "keys")
    keys = call.cloud.store.need(f"{endpoint['id']}/keys")
    return {"primaryKey": keys["primaryKey"], "secondaryKey": keys["secondaryKey"]}


async def regenerate_keys(call: Call) -> Reply:
    endpoint = _of_mode(call, "Key", "keys")
    models.refuse_while_running(call.cloud, endpoint["id"])
    body = call.body if isinstance(call.body, dict) else {}
    endpoints.set_keys(call.cloud, endpoint["id"], str(body.get("keyType") or ""), body.get("keyValue"))
    operation = call.cloud.operations.start(endpoint["id"], "onlineEndpoint", location=endpoint["location"], result=lambda: None)
    return call.accepted(operation)


async def get_token(call: Call) -> Document:
    return scoring.token_for(call.cloud, _of_mode(call, "AMLToken", "tokens"))


def _of_mode(call: Call, mode: str, what: str) -> Document:
    endpoint = _endpoint(call)
    if endpoint["properties"]["authMode"] != mode:
        raise AzureError(400, "UserError", f"Endpoint '{endpoint['name']}' does not use {what} for authentication.", target="authMode")
    return endpoint


# --- deployments ---


async def get_deployment(call: Call) -> Document:
    return _deployment(call)


async def list_deployments(call: Call) -> Document:
    return models.page(call.cloud.store.list("online_deployment", under=_endpoint(call)["id"]), call.query, str(call.request.url))


async def put_deployment(call: Call) -> Reply:
    document, operation, new = deployments.put(call.cloud, _endpoint(call), call.params["deployment"], call.body, call.principal)
    return call.accepted(operation, document, status=201 if new else 200)


async def patch_deployment(call: Call) -> Reply:
    document, operation = deployments.patch(call.cloud, _endpoint(call), call.params["deployment"], call.body, call.principal)
    return call.accepted(operation, document)


async def delete_deployment(call: Call) -> Reply:
    cloud, endpoint = call.cloud, _endpoint(call)
    id = f"{endpoint['id']}/deployments/{call.params['deployment']}"
    deployment = cloud.store.get(id)
    if deployment is None:
        return Reply(204)
    models.refuse_while_running(cloud, endpoint["id"])
    if deployment["properties"]["provisioningState"] == "Deleting":
        models.refuse_while_running(cloud, id)
    deployments.check_deletable(endpoint, deployment["name"])
    await rollout.override(cloud, id)
    models.set_state(cloud, id, "Deleting")
    return call.accepted(
        cloud.operations.start(id, "onlineDeployment", rollout.remove(cloud, deployment["id"]), location=endpoint["location"])
    )


async def get_logs(call: Call) -> Document:
    deployment = _deployment(call)
    body = call.body if isinstance(call.body, dict) else {}
    container = body.get("containerType") or INFERENCE_SERVER
    if container not in (INFERENCE_SERVER, STORAGE_INITIALIZER):
        raise invalid("ContainerType", f"'{container}' is not a container; it is {INFERENCE_SERVER} or {STORAGE_INITIALIZER}.")
    folder = rollout.newest(call.cloud, deployment["id"])
    if folder is None:
        return {"content": "The container has not started yet. Please try again later.\n"}
    return {"content": Record(folder).render(container, body.get("tail"))}


async def list_skus(call: Call) -> Document:
    _deployment(call)
    capacity = {"minimum": 1, "maximum": models.INSTANCES, "default": 1, "scaleType": "Manual"}
    return {"value": [{"resourceType": f"{models.TYPE}/deployments", "sku": {"name": "Default", "tier": "Standard"}, "capacity": capacity}]}
