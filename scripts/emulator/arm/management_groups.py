"""Management groups: what is above a subscription, and so hands its role assignments down.

Source: https://learn.microsoft.com/azure/governance/management-groups/overview. Everybody may make one below the root, and becomes
its Owner; a subscription that is in none is below the root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.core import ARM, SUBSCRIPTION, TENANT, Call, Reply, Route
from emulator.errors import AzureError, bad_request, forbidden

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
BASE = "/providers/Microsoft.Management/managementGroups"
ROOT = f"{BASE}/{TENANT}"
"""The tenant's root management group, above every subscription."""
_TYPE = "Microsoft.Management/managementGroups"


def get(cloud: Cloud, name: str) -> Document:
    """Raises ARM's 404."""
    if name.lower() == TENANT:
        return {"id": ROOT, "name": TENANT, "displayName": "Tenant Root Group", "parent": None, "subscriptions": []}
    found = cloud.store.get(f"{BASE}/{name}")
    if found is None:
        raise AzureError(404, "NotFound", f"'{BASE}/{name}' not found")
    return found


def above(cloud: Cloud, scope: str) -> list[str]:
    """The ids of the management groups above a scope, nearest first, in small letters."""
    groups = {each["id"].lower(): each for each in cloud.store.list("management_group")}
    low = scope.lower()
    if low.startswith("/subscriptions/"):
        subscription = low.split("/")[2]
        at = next((id for id, each in groups.items() if subscription in each["subscriptions"]), ROOT.lower())
    elif low in groups:
        at = groups[low]["parent"].lower()
    else:
        return []
    found = [at]
    while at in groups:
        at = groups[at]["parent"].lower()
        found.append(at)
    return found


def shown(cloud: Cloud, group: Document, children: bool = False) -> Document:
    parent = get(cloud, group["parent"].rsplit("/", 1)[-1]) if group["parent"] else None
    details: Document = {"version": 1}
    if parent:
        details["parent"] = {"id": parent["id"], "name": parent["name"], "displayName": parent["displayName"]}
    properties: Document = {"tenantId": TENANT, "displayName": group["displayName"], "details": details}
    if children:
        below = [each for each in cloud.store.list("management_group") if each["parent"].lower() == group["id"].lower()]
        subscriptions = group["subscriptions"]
        if group["id"] == ROOT and above(cloud, f"/subscriptions/{SUBSCRIPTION}") == [ROOT.lower()]:
            subscriptions = [SUBSCRIPTION]
        properties["children"] = [
            *({"id": each["id"], "type": _TYPE, "name": each["name"], "displayName": each["displayName"]} for each in below),
            *({"id": f"/subscriptions/{each}", "type": "/subscriptions", "name": each} for each in subscriptions),
        ]
    return {"id": group["id"], "type": _TYPE, "name": group["name"], "properties": properties}


async def list_groups(call: Call) -> Any:
    """Those that the caller holds a role in."""
    from emulator.arm.roles import sees

    assert call.principal is not None
    known = [get(call.cloud, TENANT), *call.cloud.store.list("management_group")]
    seen = [each for each in known if sees(call.cloud, call.principal, each["id"])]
    return {"value": [{**(one := shown(call.cloud, each)), "properties": {**one["properties"], "details": None}} for each in seen]}


async def get_group(call: Call) -> Any:
    return shown(call.cloud, get(call.cloud, call.params["name"]), "children" in call.query.get("$expand", ""))


async def put_group(call: Call) -> Reply:
    """Create or change a management group."""
    from emulator.arm import roles

    name, properties = call.params["name"], (call.body or {}).get("properties") or {}
    if name.lower() == TENANT:
        raise bad_request("name", "The root management group cannot be changed.", "BadRequest")
    id, wanted = f"{BASE}/{name}", ((properties.get("details") or {}).get("parent") or {}).get("id")
    known = call.cloud.store.get(id)
    if known:
        _need(call, id)
    if wanted and wanted.lower() != ROOT.lower():
        _need(call, wanted)
    parent = get(call.cloud, wanted.rsplit("/", 1)[-1])["id"] if wanted else known["parent"] if known else ROOT
    if parent.lower() == id.lower() or id.lower() in above(call.cloud, parent):
        raise bad_request("parent", f"'{id}' cannot be below itself.", "BadRequest")
    group = {
        "id": known["id"] if known else id,
        "name": known["name"] if known else name,
        "displayName": properties.get("displayName") or (known["displayName"] if known else name),
        "parent": parent,
        "subscriptions": known["subscriptions"] if known else [],
    }
    call.cloud.store.put(id, "management_group", group)
    if known is None and call.principal:
        roles.assign(call.cloud, call.principal.oid, "Owner", id)
    return Reply(200, shown(call.cloud, group))


def _need(call: Call, scope: str) -> None:
    from emulator.arm.roles import allowed

    who = call.principal
    if who and not allowed(call.cloud, who, f"{_TYPE}/write", scope):
        raise forbidden(who.name, who.oid, f"{_TYPE}/write", scope)


async def delete_group(call: Call) -> Reply:
    """Delete a management group that has nothing below it."""
    found = get(call.cloud, call.params["name"])
    if shown(call.cloud, found, children=True)["properties"]["children"]:
        raise bad_request("name", f"'{found['id']}' has children; move them first.", "BadRequest")
    call.cloud.store.delete_under(found["id"])
    return Reply(204)


async def add_subscription(call: Call) -> Reply:
    """Move a subscription into a management group: for who may write there, and owns the subscription."""
    from emulator.arm.roles import allowed

    group, id = get(call.cloud, call.params["name"]), call.params["id"].lower()
    who, action, scope = call.principal, "Microsoft.Authorization/roleAssignments/write", f"/subscriptions/{id}"
    if id != SUBSCRIPTION:
        raise AzureError(404, "SubscriptionNotFound", f"The subscription '{id}' could not be found.")
    if who and not allowed(call.cloud, who, action, scope):
        raise forbidden(who.name, who.oid, action, scope)
    _leave(call.cloud, id)
    if group["id"] != ROOT:
        call.cloud.store.put(group["id"], "management_group", {**group, "subscriptions": [*group["subscriptions"], id]})
    return Reply(200, {"id": f"{group['id']}/subscriptions/{id}", "type": f"{_TYPE}/subscriptions", "name": id})


def _leave(cloud: Cloud, subscription: str) -> None:
    for each in cloud.store.list("management_group"):
        if subscription in each["subscriptions"]:
            left = [one for one in each["subscriptions"] if one != subscription]
            cloud.store.put(each["id"], "management_group", {**each, "subscriptions": left})


async def remove_subscription(call: Call) -> Reply:
    """Back below the root."""
    get(call.cloud, call.params["name"])
    _leave(call.cloud, call.params["id"].lower())
    return Reply(204)


def _group_of(call: Call) -> str:
    return f"{BASE}/{call.params['name']}"


_ONE = BASE + "/{name}"
_SUBSCRIPTION = _ONE + "/subscriptions/{id}"
ROUTES = [
    Route("GET", ARM, BASE, list_groups, doc="List the management groups that the caller holds a role in"),
    Route("GET", ARM, _ONE, get_group, action=f"{_TYPE}/read", scope=_group_of, doc="Read a management group"),
    Route("PUT", ARM, _ONE, put_group, doc="Create or change a management group"),
    Route("DELETE", ARM, _ONE, delete_group, action=f"{_TYPE}/delete", scope=_group_of, doc="Delete a management group"),
    Route(
        "PUT", ARM, _SUBSCRIPTION, add_subscription, action=f"{_TYPE}/subscriptions/write", scope=_group_of,
        doc="Move a subscription into a management group",
    ),
    Route(
        "DELETE", ARM, _SUBSCRIPTION, remove_subscription, action=f"{_TYPE}/subscriptions/delete", scope=_group_of,
        doc="Move a subscription back below the root",
    ),
]  # fmt: skip
