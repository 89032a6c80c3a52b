"""Role-based access: who may do what where.

How Azure decides: https://learn.microsoft.com/azure/role-based-access-control/overview. A role assigned at a scope holds for all
below it; a role allows what its actions match, less what its notActions match; one role's notActions take nothing from another.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from emulator.arm import management_groups
from emulator.arm.builtin_roles import BUILTIN_ROLES
from emulator.core import TENANT, Principal
from emulator.entra import groups
from emulator.entra import models as entra
from emulator.errors import AzureError, bad_request, conflict

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
ASSIGNMENTS = "/providers/Microsoft.Authorization/roleAssignments/"
DEFINITIONS = "/providers/Microsoft.Authorization/roleDefinitions/"
ROOT_GROUP = management_groups.ROOT


def _definition(id: str, name: str, description: str, actions: list[str], not_actions: list[str], data_actions: list[str]) -> Document:
    return {
        "id": DEFINITIONS + id,
        "type": "Microsoft.Authorization/roleDefinitions",
        "name": id,
        "properties": {
            "roleName": name,
            "type": "BuiltInRole",
            "description": description,
            "assignableScopes": ["/"],
            "permissions": [{"actions": actions, "notActions": not_actions, "dataActions": data_actions, "notDataActions": []}],
            "createdOn": "2015-02-02T21:55:09.8806423Z",
            "updatedOn": "2024-01-01T00:00:00.0000000Z",
        },
    }


_BUILTIN: dict[str, Document] = {row[0]: _definition(*row) for row in BUILTIN_ROLES}


def definitions(cloud: Cloud) -> list[Document]:
    """All roles: built in, then custom."""
    return [*_BUILTIN.values(), *cloud.store.list("role_definition")]


def definition(cloud: Cloud, role: str) -> Document | None:
    """A role by its GUID, an id that ends in it, or its name (compared without case, as Azure does)."""
    guid = role.rsplit("/", 1)[-1].lower()
    found = _BUILTIN.get(guid) or cloud.store.get(DEFINITIONS + guid)
    if found is not None:
        return found
    return next((each for each in definitions(cloud) if each["properties"]["roleName"].lower() == role.lower()), None)


def put_definition(cloud: Cloud, guid: str, properties: Document) -> Document:
    """Create or change a custom role. Raises Azure's 400 for a body that is none."""
    if guid.lower() in _BUILTIN:
        raise AzureError(403, "RoleDefinitionIsBuiltIn", f"The role definition '{guid}' is built in and cannot be changed.")
    for name in ("roleName", "permissions", "assignableScopes"):
        if not properties.get(name):
            raise bad_request(name, f"The role definition needs '{name}'.", "InvalidRoleDefinition")
    known = next((each for each in definitions(cloud) if each["properties"]["roleName"].lower() == properties["roleName"].lower()), None)
    if known is not None and known["name"].lower() != guid.lower():
        raise conflict(
            f"A custom role with the same name already exists in this directory. Use a different name. Role: '{properties['roleName']}'.",
            "RoleDefinitionWithSameNameExists",
        )
    document: Document = {
        "id": DEFINITIONS + guid,
        "type": "Microsoft.Authorization/roleDefinitions",
        "name": guid,
        "properties": {
            "roleName": properties["roleName"],
            "type": "CustomRole",
            "description": properties.get("description", ""),
            "assignableScopes": properties["assignableScopes"],
            "permissions": [
                {kind: list(each.get(kind) or ()) for kind in ("actions", "notActions", "dataActions", "notDataActions")}
                for each in properties["permissions"]
            ],
            "createdOn": known["properties"]["createdOn"] if known else cloud.stamp(),
            "updatedOn": cloud.stamp(),
        },
    }
    return cloud.store.put(document["id"], "role_definition", document)


def delete_definition(cloud: Cloud, guid: str) -> Document | None:
    """Remove a custom role that nobody holds; None if there is none."""
    found = cloud.store.get(DEFINITIONS + guid)
    if found is None:
        return None
    if any(each["properties"]["roleDefinitionId"].lower().endswith("/" + guid.lower()) for each in cloud.store.list("role_assignment")):
        raise AzureError(
            400,
            "RoleDefinitionHasAssignments",
            "There are existing role assignments referencing role (code: RoleDefinitionHasAssignments).",
        )
    cloud.store.delete(DEFINITIONS + guid)
    return found


def assign(cloud: Cloud, who: str, role: str, scope: str, name: str | None = None) -> Document:
    """Assign a role (name, GUID or id) at a scope to a principal (object id, client id, user principal name; a group's object id).

    The same assignment made twice is one. Raises LookupError for an unknown principal or role.
    """
    found = definition(cloud, role)
    if found is None:
        raise LookupError(f"there is no role '{role}'")
    group = groups.get(cloud, who)
    oid = str(group["id"]) if group else entra.object_id(cloud, who)
    scope = normal(scope)
    for known in cloud.store.list("role_assignment"):
        if _same(known, oid, found["name"], scope):
            return known
    return save_assignment(cloud, oid, found, scope, name or str(uuid.uuid4()), {}, created_by=oid)


def create_assignment(cloud: Cloud, scope: str, name: str, properties: Document, created_by: str) -> tuple[Document, bool]:
    """What PUT roleAssignments does; the assignment, and whether it is new. Raises Azure's errors."""
    found = definition(cloud, str(properties.get("roleDefinitionId", "")).rsplit("/", 1)[-1])
    oid = str(properties.get("principalId") or "")
    if not oid:
        raise bad_request("principalId", "The 'principalId' property is required in the request body.", "InvalidRequestContent")
    if found is None:
        raise AzureError(
            404,
            "RoleDefinitionDoesNotExist",
            f"The specified role definition with ID '{properties.get('roleDefinitionId', '')}' does not exist.",
        )
    kind = principal_type(cloud, oid)
    if kind is None:
        raise AzureError(
            400,
            "PrincipalNotFound",
            f"Principal {oid.replace('-', '')} does not exist in the directory {TENANT}. Check that you have the correct principal ID. If "
            "you are creating this principal and then immediately assigning a role, this error might be related to a replication delay. "
            "In this case, set the role assignment principalType property to a value, such as ServicePrincipal, User, or Group.",
        )
    if properties.get("principalType") not in (None, kind):
        raise AzureError(
            400, "UnmatchedPrincipalType", f"The PrincipalId '{oid.replace('-', '')}' has type '{kind}', which is different from specified "
            f"PrinciaplType '{properties['principalType']}'."
        )  # fmt: skip
    scope = normal(scope)
    existing = cloud.store.get(assignment_id(scope, name))
    if existing is not None:
        if not _same(existing, oid, found["name"], scope):
            raise AzureError(
                400, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated."
            )
        return save_assignment(cloud, oid, found, scope, name, properties, created_by, existing), False
    for known in cloud.store.list("role_assignment"):
        if _same(known, oid, found["name"], scope):
            raise conflict(
                "The role assignment already exists. The ID of the existing role assignment is " + known["name"].replace("-", "") + ".",
                "RoleAssignmentExists",
            )
    return save_assignment(cloud, oid, found, scope, name, properties, created_by), True


def save_assignment(
    cloud: Cloud, oid: str, role: Document, scope: str, name: str, properties: Document, created_by: str, existing: Document | None = None
) -> Document:
    """Write an assignment. A new one takes effect after the setting ``role_delay``, as grants take a while to be seen on Azure."""
    subscription = re.match(r"/subscriptions/[^/]+", scope, re.IGNORECASE)
    return cloud.store.put(
        assignment_id(scope, name),
        "role_assignment",
        {
            "id": assignment_id(scope, name),
            "type": "Microsoft.Authorization/roleAssignments",
            "name": name,
            "effectiveFrom": existing["effectiveFrom"] if existing else cloud.now().timestamp() + cloud.settings.role_delay,
            "properties": {
                "roleDefinitionId": (subscription.group() if subscription else "") + DEFINITIONS + role["name"],
                "principalId": oid,
                "principalType": principal_type(cloud, oid) or "ServicePrincipal",
                "scope": scope,
                "description": properties.get("description"),
                "condition": properties.get("condition"),
                "conditionVersion": properties.get("conditionVersion"),
                "createdOn": existing["properties"]["createdOn"] if existing else cloud.stamp(),
                "updatedOn": cloud.stamp(),
                "createdBy": created_by,
                "updatedBy": created_by,
                "delegatedManagedIdentityResourceId": None,
            },
        },
    )


def principal_type(cloud: Cloud, oid: str) -> str | None:
    """What the holder of an assignment is: User, Group or ServicePrincipal; None for nobody of the directory."""
    for kind, where in (("User", "users"), ("Group", "groups"), ("ServicePrincipal", "service_principals")):
        if cloud.store.exists(f"entra/{where}/{oid}"):
            return kind
    return None


def shown(assignment: Document) -> Document:
    """An assignment as ARM shows it; when it takes effect is for the emulator alone."""
    return {name: value for name, value in assignment.items() if name != "effectiveFrom"}


def assignment_id(scope: str, name: str) -> str:
    return scope.rstrip("/") + ASSIGNMENTS + name


def normal(scope: str) -> str:
    """A scope with one leading slash and none at its end."""
    return "/" + scope.strip("/")


def _same(assignment: Document, oid: str, role: str, scope: str) -> bool:
    properties = assignment["properties"]
    return bool(
        properties["principalId"] == oid
        and properties["roleDefinitionId"].endswith("/" + role)
        and properties["scope"].lower() == scope.lower()
    )


# --- deciding --------------------------------------------------------------------------------------------------------------------


def allowed(cloud: Cloud, principal: Principal, action: str, scope: str, data: bool = False) -> bool:
    """Whether the principal may do ``action`` at ``scope`` (an ARM id), by the assignments that have taken effect."""
    return any(
        permits(permission, action, data)
        for assignment in _effective(cloud, principal)
        if covers(cloud, assignment["properties"]["scope"], scope)
        for permission in _permissions(cloud, assignment)
    )


def sees(cloud: Cloud, principal: Principal, scope: str) -> bool:
    """Whether the principal holds any role at, above or below ``scope``, which is when ARM lists it to them."""
    return any(
        covers(cloud, assignment["properties"]["scope"], scope) or covers(cloud, scope, assignment["properties"]["scope"])
        for assignment in _effective(cloud, principal)
    )


def permissions_at(cloud: Cloud, principal: Principal, scope: str) -> list[Document]:
    """What the caller holds at a scope, role by role."""
    held = [each for each in _effective(cloud, principal) if covers(cloud, each["properties"]["scope"], scope)]
    return [permission for assignment in held for permission in _permissions(cloud, assignment)]


def permits(permission: Document, action: str, data: bool) -> bool:
    """Whether one permission of a role allows an action."""
    yes, no = ("dataActions", "notDataActions") if data else ("actions", "notActions")
    return _any_matches(permission.get(yes, ()), action) and not _any_matches(permission.get(no, ()), action)


def covers(cloud: Cloud, held: str, asked: str) -> bool:
    """Whether a role held at one scope holds at another: there, below, and below a management group."""
    held, asked = held.lower().rstrip("/"), asked.lower().rstrip("/")
    if held in ("", ROOT_GROUP.lower()) or asked == held or asked.startswith(held + "/"):
        return True
    return held.startswith(management_groups.BASE.lower()) and held in management_groups.above(cloud, asked)


def _effective(cloud: Cloud, principal: Principal) -> Iterable[Document]:
    """The principal's assignments that have taken effect, with those of the groups that it is in."""
    now, holders = cloud.now().timestamp(), {principal.oid, *groups.groups_of(cloud, principal.oid)}
    for assignment in cloud.store.list("role_assignment"):
        if assignment["properties"]["principalId"] in holders and assignment["effectiveFrom"] <= now:
            yield assignment


def _permissions(cloud: Cloud, assignment: Document) -> list[Document]:
    role = definition(cloud, assignment["properties"]["roleDefinitionId"])
    return list(role["properties"]["permissions"]) if role else []


def _any_matches(patterns: Iterable[str], action: str) -> bool:
    return any(_pattern(pattern).fullmatch(action) for pattern in patterns)


@lru_cache(maxsize=2048)
def _pattern(pattern: str) -> re.Pattern[str]:
    """``*`` stands for any text, and ``/*/`` for no segment as well.

    The latter is how the built-in AzureML Data Scientist, whose only read action is ``workspaces/*/read``, can read a workspace, and
    why its notActions have to take ``workspaces/write`` away.
    """
    return re.compile(re.escape(pattern).replace(r"/\*/", "/(?:.*/)?").replace(r"\*", ".*"), re.IGNORECASE)
