"""HTTP in and out of management.azure.com, but for Azure Machine Learning's own resources."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from emulator import odata
from emulator.arm import deployments, models, resources, roles
from emulator.core import SUBSCRIPTION, Call, Cloud, Handler, Principal, Reply
from emulator.entra import groups
from emulator.errors import AzureError, conflict, forbidden


def caller(call: Call) -> Principal:
    assert call.principal is not None
    return call.principal


_OBJECTS = ("tags", "properties", "sku", "identity")


def body_of(call: Call) -> dict[str, Any]:
    """The JSON object that was sent, or an empty one. Raises Azure's 400 where it, or a part that is an object, has another shape."""
    body = call.body if call.body is not None else {}
    for path, value in (("$", body), *((name, body.get(name)) for name in _OBJECTS if isinstance(body, dict))):
        if not isinstance(value, (dict, type(None))):
            raise AzureError(
                400, "InvalidRequestContent", f"The request content was invalid and could not be deserialized: '{path}' must be an object."
            )
    return dict(body)


def first(call: Call, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many rows as ``$top`` asks for."""
    top = call.query.get("$top", str(len(rows)))
    if not top.isdigit():
        raise AzureError(400, "InvalidTopInQueryString", f"Invalid $top '{top}' specified in the query string.")
    return rows[: int(top)]


# --- tenants, subscriptions, locations, providers --------------------------------------------------------------------------------


async def list_tenants(call: Call) -> Any:
    return {"value": [models.tenant()]}


async def list_subscriptions(call: Call) -> Any:
    visible = roles.sees(call.cloud, caller(call), f"/subscriptions/{SUBSCRIPTION}")
    return {"value": [models.subscription(SUBSCRIPTION)] if visible else [], "count": {"type": "Total", "value": int(visible)}}


async def get_subscription(call: Call) -> Any:
    found, who = models.subscription(call.params["subscription"]), caller(call)
    if not roles.sees(call.cloud, who, found["id"]):
        raise forbidden(who.name, who.oid, "Microsoft.Resources/subscriptions/read", found["id"])
    return found


async def list_locations(call: Call) -> Any:
    models.subscription(call.params["subscription"])
    return {"value": models.locations()}


async def list_providers(call: Call) -> Any:
    models.subscription(call.params["subscription"])
    return {"value": [models.provider(call.cloud, name) for name in models.PROVIDERS]}


async def get_provider(call: Call) -> Any:
    return models.provider(call.cloud, call.params["namespace"])


async def register_provider(call: Call) -> Any:
    return models.register(call.cloud, call.params["namespace"], "Registered")


async def unregister_provider(call: Call) -> Any:
    return models.register(call.cloud, call.params["namespace"], "Unregistered")


# --- resource groups -------------------------------------------------------------------------------------------------------------


async def list_groups(call: Call) -> Any:
    models.subscription(call.params["subscription"])
    groups = models.visible_groups(call.cloud, caller(call), call.params["subscription"])
    if text := call.query.get("$filter"):
        test = odata.parse(text)
        groups = [group for group in groups if any(test({**group, **tag}) for tag in _tag_fields(group))]
    return {"value": first(call, groups)}


def _tag_fields(resource: dict[str, Any]) -> list[dict[str, Any]]:
    """What ``tagName`` and ``tagValue`` of a filter are compared with: one candidate for each tag."""
    return [{"tagName": name, "tagValue": value} for name, value in (resource.get("tags") or {}).items()] or [{}]


async def get_group(call: Call) -> Any:
    return models.need_group(call.cloud, call.params["subscription"], call.params["group"])


async def has_group(call: Call) -> Reply:
    models.need_group(call.cloud, call.params["subscription"], call.params["group"])
    return Reply(204)


async def put_group(call: Call) -> Reply:
    document, created = models.put_group(call.cloud, call.params["subscription"], call.params["group"], body_of(call))
    return Reply(201 if created else 200, document)


async def patch_group(call: Call) -> Any:
    group = models.need_group(call.cloud, call.params["subscription"], call.params["group"])
    merged = {**group, **{key: value for key, value in body_of(call).items() if key in ("tags", "managedBy")}}
    return call.cloud.store.put(group["id"], "resource_group", merged)


async def delete_group(call: Call) -> Reply:
    group = models.need_group(call.cloud, call.params["subscription"], call.params["group"])
    group["properties"]["provisioningState"] = "Deleting"
    call.cloud.store.put(group["id"], "resource_group", group)
    work = models.delete_group(call.cloud, group["id"])
    operation = call.cloud.operations.start(group["id"], "resourceGroup", work, location=group["location"], result=lambda: None)
    return call.accepted(operation)


# --- resources -------------------------------------------------------------------------------------------------------------------


async def list_resources(call: Call) -> Any:
    models.subscription(call.params["subscription"])
    under = f"/subscriptions/{call.params['subscription']}"
    if "group" in call.params:
        under = models.need_group(call.cloud, call.params["subscription"], call.params["group"])["id"]
    found = resources.listed(call.cloud, caller(call), under)
    if text := call.query.get("$filter"):
        test = odata.parse(text)
        found = [one for one in found if any(test({**one, **_resource_fields(one), **tag}) for tag in _tag_fields(one))]
    shown = {"createdTime", "changedTime", "provisioningState"} - set(call.query.get("$expand", "").split(","))
    return {"value": [{name: value for name, value in one.items() if name not in shown} for one in first(call, found)]}


def _resource_fields(resource: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": resource["type"], "resourceGroup": resource["id"].split("/")[4]}


def _resource_id(call: Call, kind: resources.Kind) -> str:
    group = models.need_group(call.cloud, call.params["subscription"], call.params["group"])
    return f"{group['id']}/providers/{kind.type}/{call.params['name']}"


def put_resource(kind: resources.Kind) -> Handler:
    async def handler(call: Call) -> Reply:
        """Create or replace a resource."""
        id = _resource_id(call, kind)
        if call.cloud.operations.running(id):
            raise conflict(f"Another operation on '{id}' is already running.", "AnotherOperationInProgress")
        document, created = resources.put(call.cloud, kind, id, body_of(call))
        if not (kind.waits and created):
            return Reply(201 if created else 200, resources.shown(call.cloud, document))
        result = partial(_shown_now, call.cloud, id)
        operation = call.cloud.operations.start(id, kind.type, location=document["location"], result=result)
        if kind.body:
            return call.accepted(operation, resources.shown(call.cloud, document), 201)
        reply = call.accepted(operation)
        # Storage is polled at its Location alone, which answers 202 until the account is there.
        del reply.headers["Azure-AsyncOperation"]
        return reply

    return handler


def _shown_now(cloud: Cloud, id: str) -> Any:
    return resources.shown(cloud, cloud.store.need(id))


def get_resource(kind: resources.Kind) -> Handler:
    async def handler(call: Call) -> Any:
        """Read a resource."""
        return resources.shown(call.cloud, call.cloud.store.need(_resource_id(call, kind)))

    return handler


def patch_resource(kind: resources.Kind) -> Handler:
    async def handler(call: Call) -> Any:
        """Change what is sent of a resource, and nothing else."""
        found, body = call.cloud.store.need(_resource_id(call, kind)), body_of(call)
        merged = {**found, **body, "properties": {**found["properties"], **(body.get("properties") or {})}}
        return resources.shown(call.cloud, resources.put(call.cloud, kind, found["id"], merged)[0])

    return handler


def delete_resource(kind: resources.Kind) -> Handler:
    async def handler(call: Call) -> Reply:
        """Delete a resource; one that is not there is gone already."""
        id = _resource_id(call, kind)
        if not call.cloud.store.exists(id):
            return Reply(204)
        await models.end_below(call.cloud, id)
        call.cloud.store.delete_under(id)
        return Reply(200)

    return handler


def list_resources_of(kind: resources.Kind) -> Handler:
    async def handler(call: Call) -> Any:
        """List the resources of one type that the caller may read."""
        under = f"/subscriptions/{call.params['subscription']}"
        if "group" in call.params:
            under = models.need_group(call.cloud, call.params["subscription"], call.params["group"])["id"]
        return {
            "value": [
                resources.shown(call.cloud, one)
                for one in call.cloud.store.list("resource", under=under)
                if one["type"] == kind.type and roles.allowed(call.cloud, caller(call), f"{kind.type}/read", one["id"])
            ]
        }

    return handler


async def list_account_keys(call: Call) -> Any:
    account = _account(call)
    key = call.cloud.storage.key(account["name"])
    return {
        "keys": [
            {"keyName": name, "value": key, "permissions": "FULL", "creationTime": account["createdTime"]} for name in ("key1", "key2")
        ]
    }


async def regenerate_account_key(call: Call) -> Any:
    """A new key. There is one behind both names, so both change."""
    await call.cloud.storage.rotate(_account(call)["name"])
    return await list_account_keys(call)


def _account(call: Call) -> dict[str, Any]:
    group = models.need_group(call.cloud, call.params["subscription"], call.params["group"])
    return call.cloud.store.need(f"{group['id']}/providers/Microsoft.Storage/storageAccounts/{call.params['name']}")


async def get_blob_service(call: Call) -> Any:
    return {
        "id": f"{_account(call)['id']}/blobServices/default",
        "name": "default",
        "type": "Microsoft.Storage/storageAccounts/blobServices",
        "properties": {"cors": {"corsRules": []}, "deleteRetentionPolicy": {"enabled": False}},
    }


async def check_account_name(call: Call) -> Any:
    name = body_of(call).get("name", "")
    if call.cloud.storage.known(name):
        return {"nameAvailable": False, "reason": "AlreadyExists", "message": f"The storage account named {name} is already taken."}
    return {"nameAvailable": True}


# --- template deployments --------------------------------------------------------------------------------------------------------


def _deployment_id(call: Call) -> str:
    group = models.need_group(call.cloud, call.params["subscription"], call.params["group"])
    return deployments.deployment_id(call.params["subscription"], group["name"], call.params["name"])


async def put_deployment(call: Call) -> Reply:
    id, properties = _deployment_id(call), body_of(call).get("properties") or {}
    if call.cloud.operations.running(id):
        raise conflict(
            f"Unable to edit or replace deployment '{call.params['name']}': previous deployment is still active. "
            "Please see https://aka.ms/arm-deploy for usage details.",
            "DeploymentActive",
        )
    document, scope = deployments.begin(call.cloud, id, properties)
    known = call.cloud.store.exists(id)
    call.cloud.store.delete_under(id)
    call.cloud.store.put(id, "deployment", document)
    work = deployments.run(call.cloud, caller(call), id, properties["template"], scope)
    operation = call.cloud.operations.start(id, deployments.TYPE, work)
    return call.accepted(operation, document, 200 if known else 201)


async def validate_deployment(call: Call) -> Any:
    """What a deployment would do, without doing it."""
    document, _ = deployments.begin(call.cloud, _deployment_id(call), body_of(call).get("properties") or {})
    document["properties"]["provisioningState"] = "Succeeded"
    return document


async def get_deployment(call: Call) -> Any:
    found = call.cloud.store.get(_deployment_id(call))
    if found is None:
        raise AzureError(404, "DeploymentNotFound", f"Deployment '{call.params['name']}' could not be found.")
    return found


async def has_deployment(call: Call) -> Reply:
    await get_deployment(call)
    return Reply(204)


async def delete_deployment(call: Call) -> Reply:
    """Forget a deployment; what it created stays."""
    return Reply(202 if call.cloud.store.delete_under(_deployment_id(call)) else 204)


async def list_deployments(call: Call) -> Any:
    group = models.need_group(call.cloud, call.params["subscription"], call.params["group"])
    return {"value": call.cloud.store.list("deployment", under=group["id"])}


async def list_deployment_operations(call: Call) -> Any:
    await get_deployment(call)
    return {"value": deployments.operations_of(call.cloud, _deployment_id(call))}


# --- roles -----------------------------------------------------------------------------------------------------------------------


def _scope(call: Call) -> str:
    return roles.normal(call.params.get("scope", ""))


async def list_role_definitions(call: Call) -> Any:
    scope = _scope(call)
    test = odata.parse(call.query["$filter"], {"atScopeAndBelow": lambda: _always}) if call.query.get("$filter") else _always
    found = [role for role in roles.definitions(call.cloud) if test(role["properties"])]
    return {"value": [_definition_at(role, scope) for role in found]}


def _always(document: Any) -> bool:
    return True


def _definition_at(role: dict[str, Any], scope: str) -> dict[str, Any]:
    """A role as listed at a scope: its id begins with the subscription, where there is one."""
    parts = scope.split("/")
    prefix = "/".join(parts[:3]) if len(parts) > 2 and parts[1].lower() == "subscriptions" else ""
    return {**role, "id": prefix + roles.DEFINITIONS + role["name"]}


async def get_role_definition(call: Call) -> Any:
    role = roles.definition(call.cloud, call.params["name"])
    if role is None:
        raise AzureError(
            404, "RoleDefinitionDoesNotExist", f"The specified role definition with ID '{call.params['name']}' does not exist."
        )
    return _definition_at(role, _scope(call))


async def put_role_definition(call: Call) -> Reply:
    existing = roles.definition(call.cloud, call.params["name"])
    role = roles.put_definition(call.cloud, call.params["name"], body_of(call).get("properties") or {})
    return Reply(200 if existing else 201, _definition_at(role, _scope(call)))


async def delete_role_definition(call: Call) -> Any:
    role = roles.delete_definition(call.cloud, call.params["name"])
    return _definition_at(role, _scope(call)) if role else Reply(204)


async def list_role_assignments(call: Call) -> Any:
    """Assignments at, above and below a scope.

    ``atScope()`` leaves out those below, ``principalId`` names one holder, and ``assignedTo`` one with the groups that it is in
    (https://learn.microsoft.com/azure/role-based-access-control/role-assignments-list-rest).
    """
    scope, cloud = _scope(call), call.cloud
    functions: dict[str, Callable[..., odata.Test]] = {
        "atScope": lambda: lambda properties: roles.covers(cloud, properties["scope"], scope),
        "assignedTo": lambda oid: lambda properties: properties["principalId"] in (oid, *groups.groups_of(cloud, oid)),
    }
    test = odata.parse(call.query["$filter"], functions) if call.query.get("$filter") else _always
    return {
        "value": [
            roles.shown(each)
            for each in call.cloud.store.list("role_assignment")
            if (roles.covers(cloud, each["properties"]["scope"], scope) or roles.covers(cloud, scope, each["properties"]["scope"]))
            and test(each["properties"])
        ]
    }


async def get_role_assignment(call: Call) -> Any:
    found = call.cloud.store.get(roles.assignment_id(_scope(call), call.params["name"]))
    if found is None:
        raise AzureError(404, "RoleAssignmentNotFound", f"The role assignment '{call.params['name']}' is not found.")
    return roles.shown(found)


async def put_role_assignment(call: Call) -> Reply:
    properties = body_of(call).get("properties") or {}
    found, created = roles.create_assignment(call.cloud, _scope(call), call.params["name"], properties, caller(call).oid)
    return Reply(201 if created else 200, roles.shown(found))


async def delete_role_assignment(call: Call) -> Any:
    id = roles.assignment_id(_scope(call), call.params["name"])
    found = call.cloud.store.get(id)
    if found is None:
        return Reply(204)
    call.cloud.store.delete(id)
    return roles.shown(found)


async def list_permissions(call: Call) -> Any:
    return {"value": roles.permissions_at(call.cloud, caller(call), _scope(call)), "nextLink": None}


async def list_deny_assignments(call: Call) -> Any:
    return {"value": []}
