"""HTTP in and out for workspaces."""

from __future__ import annotations

from typing import Any

from emulator.core import Call, Reply
from emulator.errors import AzureError, not_found
from emulator.workspaces import models


def scope(call: Call) -> str:
    """The workspace of a call."""
    return models.workspace_id(call.params["subscription"], call.params["group"], call.params["workspace"])


def need(call: Call) -> dict[str, Any]:
    """The workspace document of a call; 404 where there is none."""
    return call.cloud.store.need(scope(call))


def body_of(call: Call) -> dict[str, Any]:
    """The body of a request as an object, empty when there is none; 400 for any other JSON."""
    body = call.body if call.raw else {}
    if not isinstance(body, dict):
        raise AzureError(400, "InvalidRequestContent", "The request content was invalid: a JSON object is expected.")
    return body


async def get_workspace(call: Call) -> dict[str, Any]:
    return need(call)


async def list_workspaces(call: Call) -> dict[str, Any]:
    group = call.params.get("group")
    under = f"/subscriptions/{call.params['subscription']}" + (f"/resourceGroups/{group}" if group else "")
    if group and not call.cloud.store.exists(under):
        raise not_found(under)
    kinds = [kind.lower() for kind in call.query.get("kind", "").split(",") if kind]
    found = call.cloud.store.list("workspace", under=under)
    return {"value": [one for one in found if not kinds or one["kind"].lower() in kinds]}


async def put_workspace(call: Call) -> Reply:
    id = scope(call)
    refuse_while_running(call, id)
    models.validate(call.cloud, id, call.body)
    new = not call.cloud.store.exists(id)
    document = models.make(call.cloud, id, call.body, call.principal)
    operation = call.cloud.operations.start(id, "workspace", models.provision(call.cloud, id), location=document["location"])
    return call.accepted(operation, body=document, status=201 if new else 200)


async def patch_workspace(call: Call) -> dict[str, Any]:
    return models.patch(call.cloud, scope(call), call.body, call.principal)


async def delete_workspace(call: Call) -> Reply:
    id, permanently = scope(call), call.query.get("forceToPurge", "").lower() == "true"
    if not call.cloud.store.exists(id):
        if permanently and models.soft_deleted(call.cloud, id):
            models.purge(call.cloud, id)
            return Reply(200)
        return Reply(204)
    refuse_while_running(call, id)
    location = need(call)["location"]

    work = models.remove(call.cloud, id, permanently)
    return call.accepted(call.cloud.operations.start(id, "workspace", work, location=location, result=lambda: None))


def refuse_while_running(call: Call, id: str) -> None:
    """409 while another operation changes the same entity."""
    if call.cloud.operations.running(id):
        raise AzureError(409, "Conflict", "Another operation on the same entity is already running.", target=id)


async def list_keys(call: Call) -> dict[str, Any]:
    workspace = need(call)
    storage = workspace["properties"]["storageAccount"]
    insights = workspace["properties"].get("applicationInsights")
    return {
        "userStorageKey": call.cloud.storage.key(models.account_of(storage)),
        "userStorageArmId": storage,
        "userStorageResourceId": storage,
        "appInsightsInstrumentationKey": workspace["properties"]["workspaceId"] if insights else None,
        "containerRegistryCredentials": None,
        "notebookAccessKeys": None,
    }


async def list_storage_keys(call: Call) -> dict[str, Any]:
    return {"userStorageKey": call.cloud.storage.key(models.account_of(need(call)["properties"]["storageAccount"]))}


async def resync_keys(call: Call) -> Reply:
    workspace = need(call)
    return call.accepted(
        call.cloud.operations.start(f"{workspace['id']}/resyncKeys", "workspace", location=workspace["location"], result=lambda: None)
    )


async def diagnose(call: Call) -> Reply:
    workspace = need(call)
    checks = [
        "userDefinedRouteResults",
        "networkSecurityRuleResults",
        "resourceLockResults",
        "dnsResolutionResults",
        "storageAccountResults",
        "keyVaultResults",
        "containerRegistryResults",
        "applicationInsightsResults",
        "otherResults",
    ]
    result: dict[str, Any] = {"value": {check: [] for check in checks}}
    operation = call.cloud.operations.start(
        f"{workspace['id']}/diagnose", "workspace", location=workspace["location"], result=lambda: result
    )
    return call.accepted(operation)


async def list_connections(call: Call) -> dict[str, Any]:
    category, target = call.query.get("category", "").lower(), call.query.get("target")
    found = call.cloud.store.list("connection", under=need(call)["id"])
    return {
        "value": [
            _without_secret(one)
            for one in found
            if (not category or one["properties"]["category"].lower() == category)
            and (not target or one["properties"].get("target") == target)
        ]
    }


def _connection_id(call: Call) -> str:
    return f"{need(call)['id']}/connections/{call.params['connection']}"


def _without_secret(document: dict[str, Any]) -> dict[str, Any]:
    properties = {key: value for key, value in document["properties"].items() if key != "credentials"}
    return {**document, "properties": properties}


async def get_connection(call: Call) -> dict[str, Any]:
    return _without_secret(call.cloud.store.need(_connection_id(call)))


async def list_connection_secrets(call: Call) -> dict[str, Any]:
    return call.cloud.store.need(_connection_id(call))


async def put_connection(call: Call) -> dict[str, Any]:
    id = _connection_id(call)
    properties = body_of(call).get("properties")
    if not isinstance(properties, dict):
        raise AzureError(400, "ValidationError", "The property 'properties' is required.", target="properties")
    for needed in ("category", "authType"):
        if not properties.get(needed):
            raise AzureError(400, "ValidationError", f"The property '{needed}' of a connection is required.", target=f"properties.{needed}")
    old = call.cloud.store.get(id) or {}
    document = {
        "id": id,
        "name": call.params["connection"],
        "type": f"{models.TYPE}/connections",
        "properties": properties,
        "systemData": models.system_data(call.cloud, call.principal, old.get("systemData")),
    }
    return _without_secret(call.cloud.store.put(id, "connection", document))


async def delete_connection(call: Call) -> Reply:
    return Reply(200 if call.cloud.store.delete(_connection_id(call)) else 204)


async def nothing(call: Call) -> dict[str, Any]:
    """An empty list below a workspace that exists."""
    need(call)
    return {"value": []}


async def discovery(call: Call) -> dict[str, Any]:
    """The addresses of a region's services; azure-ai-ml and azureml-mlflow read ``api`` and ``history``."""
    api = f"https://{call.params['region']}.api.azureml.ms"
    names = [
        "api",
        "catalog",
        "experimentation",
        "gallery",
        "history",
        "hyperdrive",
        "labeling",
        "modelmanagement",
        "pipelines",
        "studio",
        "mlflow",
        "execution",
        "inferencing",
        "registry",
    ]
    return dict.fromkeys(names, api)
