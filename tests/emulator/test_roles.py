"""Who holds what on Azure: groups, management groups, and assignments as an audit lists them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from emulator.arm import management_groups, roles
from emulator.core import SUBSCRIPTION, TENANT, Cloud, Principal
from emulator.entra import groups
from emulator.entra import models as entra

ARM = "https://management.azure.com"
SUB = f"/subscriptions/{SUBSCRIPTION}"
ROLES = "/providers/Microsoft.Authorization/roleDefinitions/"
HELD = "/providers/Microsoft.Authorization/roleAssignments"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
MANAGEMENT = "/providers/Microsoft.Management/managementGroups"


def fresh(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def arm(send: Any, sign_in: Callable[..., str]) -> Callable[..., Any]:
    """A request to ARM: as the administrator, or as an application (``who``)."""

    def arm(method: str, path: str, body: Any = None, who: Any = None, version: str = "2022-04-01", **params: str) -> Any:
        token = sign_in(client_id=who["appId"], secret=who["secret"]) if who else sign_in()
        return send(method, ARM + path, token=token, version=version, json=body, params=params)

    return arm


@pytest.fixture
def resource_group(arm: Any) -> str:
    path = f"{SUB}/resourceGroups/{fresh('rg')}"
    assert arm("PUT", path, {"location": "westeurope"}, version="2022-09-01").status_code == 201
    return path


def grant(arm: Any, oid: str, scope: str, role: str = READER, **properties: Any) -> Any:
    body = {"properties": {"roleDefinitionId": f"{SUB}{ROLES}{role}", "principalId": oid, **properties}}
    return arm("PUT", f"{scope}{HELD}/{uuid.uuid4()}", body)


def held(arm: Any, scope: str, text: str = "") -> list[Any]:
    found: list[Any] = arm("GET", f"{scope}{HELD}", **({"$filter": text} if text else {})).json()["value"]
    return found


def error(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture
def group(graph: Any) -> Callable[..., Any]:
    def group(*members: str) -> Any:
        made = graph("POST", "/groups", {
            "displayName": fresh("team"), "mailNickname": fresh("team"), "mailEnabled": False, "securityEnabled": True,
        })  # fmt: skip
        for oid in members:
            graph("POST", f"/groups/{made['id']}/members/$ref", {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{oid}"})
        return made

    return group


def test_a_group_hands_its_roles_to_its_members(arm: Any, resource_group: str, new_app: Any, group: Any, graph: Any) -> None:
    app, other = new_app("member"), new_app("other")
    inner = group(app["oid"])
    outer = group(inner["id"])
    made = grant(arm, outer["id"], resource_group, principalType="Group")
    assert (made.status_code, made.json()["properties"]["principalType"]) == (201, "Group")
    assert arm("GET", resource_group, who=app, version="2022-09-01").status_code == 200, "through the group in the group"
    assert error(arm("GET", resource_group, who=other, version="2022-09-01")) == (403, "AuthorizationFailed")
    assert held(arm, resource_group, f"principalId eq '{app['oid']}'") == [], "the assignment is the group's"
    assert [one["properties"]["principalId"] for one in held(arm, resource_group, f"assignedTo('{app['oid']}')")] == [outer["id"]]
    graph("DELETE", f"/groups/{inner['id']}/members/{app['oid']}/$ref")
    assert error(arm("GET", resource_group, who=app, version="2022-09-01")) == (403, "AuthorizationFailed")


def test_principal_types_are_checked(arm: Any, resource_group: str, new_app: Any, group: Any, graph: Any) -> None:
    app, team = new_app("typed"), group()
    assert error(grant(arm, team["id"], resource_group, principalType="User")) == (400, "UnmatchedPrincipalType")
    assert error(grant(arm, app["oid"], resource_group, principalType="Group")) == (400, "UnmatchedPrincipalType")
    name = f"kim-{uuid.uuid4().hex[:6]}@{entra.TENANT_DOMAIN}"
    body = {"userPrincipalName": name, "displayName": "Kim", "passwordProfile": {"password": "a long password"}}
    person = graph("POST", "/users", body)
    grant(arm, person["id"], resource_group)
    grant(arm, app["oid"], resource_group)
    grant(arm, team["id"], resource_group)
    types = {one["properties"]["principalId"]: one["properties"]["principalType"] for one in held(arm, resource_group, "atScope()")}
    assert (types[person["id"]], types[app["oid"]], types[team["id"]]) == ("User", "ServicePrincipal", "Group")


def test_what_reaches_a_resource(arm: Any, resource_group: str, new_app: Any) -> None:
    vault = f"{resource_group}/providers/Microsoft.KeyVault/vaults/{fresh('kv')}"
    arm("PUT", vault, {"location": "westeurope"}, version="2023-07-01")
    app = new_app("spread")
    scopes = [SUB, resource_group, vault]
    made = [grant(arm, app["oid"], scope).json()["id"] for scope in scopes]
    mine = f"principalId eq '{app['oid']}'"
    assert {one["properties"]["scope"] for one in held(arm, vault, f"atScope() and {mine}")} == {*scopes}
    assert {one["properties"]["scope"] for one in held(arm, resource_group, f"atScope() and {mine}")} == {SUB, resource_group}
    assert {one["properties"]["scope"] for one in held(arm, resource_group, mine)} == {*scopes}
    for id in made:
        assert arm("DELETE", id).status_code == 200
        assert arm("DELETE", id).status_code == 204
    assert held(arm, SUB, mine) == []


def test_a_management_group_hands_its_roles_down(own_emulator: Any) -> None:
    arm = own_emulator.admin.arm
    version = "2023-04-01"
    arm("PUT", f"{MANAGEMENT}/platform", {"properties": {"displayName": "Platform"}}, version)
    parent = {"details": {"parent": {"id": f"{MANAGEMENT}/platform"}}}
    made = arm("PUT", f"{MANAGEMENT}/landing", {"properties": parent}, version)
    assert made["properties"]["details"]["parent"]["name"] == "platform"
    arm("PUT", f"{MANAGEMENT}/landing/subscriptions/{SUBSCRIPTION}", None, version)
    children = arm("GET", f"{MANAGEMENT}/landing?$expand=children&api-version={version}")["properties"]["children"]
    assert [child["id"] for child in children] == [SUB]

    group = f"{SUB}/resourceGroups/rg-prod"
    arm("PUT", group, {"location": "westeurope"})
    listed = arm("GET", f"{group}{HELD}?$filter=atScope()&api-version=2022-04-01")["value"]
    scopes = {one["properties"]["scope"] for one in listed}
    assert scopes == {SUB, f"{MANAGEMENT}/platform", f"{MANAGEMENT}/landing"}, "the creator of a management group is its Owner"
    with pytest.raises(RuntimeError, match="cannot be below itself"):
        arm("PUT", f"{MANAGEMENT}/platform", {"properties": {"details": {"parent": {"id": f"{MANAGEMENT}/landing"}}}}, version)
    with pytest.raises(RuntimeError, match="has children"):
        arm("DELETE", f"{MANAGEMENT}/platform", None, version)
    arm("DELETE", f"{MANAGEMENT}/landing/subscriptions/{SUBSCRIPTION}", None, version)
    listed = arm("GET", f"{group}{HELD}?$filter=atScope()&api-version=2022-04-01")["value"]
    assert {one["properties"]["scope"] for one in listed} == {SUB}


def put(cloud: Cloud, name: str, parent: str, *subscriptions: str) -> str:
    id = f"{MANAGEMENT}/{name}"
    document = {"id": id, "name": name, "displayName": name, "parent": parent, "subscriptions": list(subscriptions)}
    cloud.store.put(id, "management_group", document)
    return id


def test_scopes_that_cover_others(cloud: Cloud) -> None:
    above = put(cloud, "above", roles.ROOT_GROUP)
    below = put(cloud, "below", above, SUBSCRIPTION)
    beside = put(cloud, "beside", above)
    assert management_groups.above(cloud, f"{SUB}/resourceGroups/rg") == [below.lower(), above.lower(), roles.ROOT_GROUP.lower()]
    for held_at, asked, yes in (
        (above, f"{SUB}/resourceGroups/rg", True),
        (below, SUB.upper().replace("/SUBSCRIPTIONS", "/subscriptions"), True),
        (beside, SUB, False),
        (above, beside, True),
        (below, above, False),
        (roles.ROOT_GROUP, beside, True),
        (SUB, below, False),
    ):
        assert roles.covers(cloud, held_at, asked) is yes, (held_at, asked)


def test_a_role_at_a_management_group_is_honoured(cloud: Cloud) -> None:
    put(cloud, "platform", roles.ROOT_GROUP, SUBSCRIPTION)
    app = entra.create_application(cloud, "auditor")
    team = groups.create(cloud, "auditors")
    groups.save(cloud, {**team, "members": [app["oid"]]})
    who = Principal(app["oid"], app["appId"], TENANT, "app", ARM)
    assert not roles.allowed(cloud, who, "Microsoft.KeyVault/vaults/read", f"{SUB}/resourceGroups/rg")
    made = roles.assign(cloud, team["id"], "Reader", f"{MANAGEMENT}/platform")
    assert made["properties"]["principalType"] == "Group"
    assert roles.allowed(cloud, who, "Microsoft.KeyVault/vaults/read", f"{SUB}/resourceGroups/rg")
    groups.forget(cloud, app["oid"])
    assert not roles.allowed(cloud, who, "Microsoft.KeyVault/vaults/read", f"{SUB}/resourceGroups/rg")
