"""Who holds which role where, and what a role lets them do there: decided by the actions of its definition, never by its name.

Sources: "Role Assignments - List For Scope" (learn.microsoft.com/rest/api/authorization), "Understand Azure role definitions" for
wildcards and for what notActions take away, "Understand scope" (learn.microsoft.com/azure/role-based-access-control).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from azure.core.credentials import TokenCredential

from aml.azure import MANAGEMENT, Client

VERSION = "2022-04-01"
ASSIGN = "Microsoft.Authorization/roleAssignments/write"

# The role of our own that an audit reads by: no built-in role has just this (Reader reads everything in the subscription).
AUDITOR = "Azure ML access auditor"
AUDITS = "List who reaches Azure Machine Learning, and which keys what it stands on accepts."
AUDIT_ACTIONS = [
    "Microsoft.Authorization/roleAssignments/read",
    "Microsoft.Authorization/roleDefinitions/read",
    "Microsoft.ContainerRegistry/registries/read",
    "Microsoft.KeyVault/vaults/read",
    "Microsoft.Storage/storageAccounts/read",
]

# What a right has to be about to reach a workspace, what it stands on, or who may do what with them.
_PROVIDERS = tuple(
    f"microsoft.{name}/"
    for name in ("machinelearningservices", "storage", "keyvault", "containerregistry", "authorization", "resources", "managedidentity")
)
_DEPLOYMENTS = "microsoft.resources/deployments/"  # a template can do what its sender may do anyway
_KINDS = ("write", "delete", "action")  # every operation ends in one of these, or in `read`


@dataclass(frozen=True)
class Permission:
    """One of the permissions of a role: patterns of operations, those on data apart."""

    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()

    def write(self) -> str:
        """A pattern by which it lets somebody do more than read what production is made of; '' if there is none."""
        for pattern in self.actions:
            if _concerns(pattern) and any(not _taken(each, self.not_actions) for each in _beyond_reading(pattern)):
                return pattern
        return ""

    def data(self) -> str:
        """A pattern by which it lets somebody read or change data; '' if there is none."""
        return next((each for each in self.data_actions if _concerns(each) and not _taken(each, self.not_data_actions)), "")

    def allows(self, operation: str) -> bool:
        """Whether it allows one operation, which is no pattern, on the control plane."""
        return any(_matches(each, operation) for each in self.actions) and not _taken(operation, self.not_actions)


@dataclass(frozen=True)
class Role:
    """A role as it is defined today."""

    id: str
    name: str
    custom: bool
    permissions: tuple[Permission, ...]

    @property
    def write(self) -> str:
        """A pattern by which the role lets somebody do more than read; '' if there is none. What one permission takes away, another
        may give: Azure adds permissions up."""
        return next((found for one in self.permissions if (found := one.write())), "")

    @property
    def data(self) -> str:
        """A pattern by which the role reaches data; '' if there is none."""
        return next((found for one in self.permissions if (found := one.data())), "")

    @property
    def assigns(self) -> bool:
        """Whether who has it can give roles to others, and to themselves."""
        return any(one.allows(ASSIGN) for one in self.permissions)

    @property
    def right(self) -> str:
        """What it comes to, in words; '' for a role that only reads."""
        parts = [f"write ({self.write})"] if self.write else []
        parts += [f"reach data ({self.data})"] if self.data else []
        return " and ".join(parts) + (", and assign roles" if self.assigns else "")

    def beyond(self, actions: Iterable[str]) -> list[str]:
        """The patterns that it has beyond these actions: what was added to a role of our own."""
        known = {each.lower() for each in actions}
        every = [each for one in self.permissions for each in (*one.actions, *one.data_actions)]
        return [each for each in every if each.lower() not in known]


@dataclass(frozen=True)
class Assignment:
    """A role that somebody holds at a scope. `inherited` says that the scope is above the one that was asked for."""

    id: str
    principal_id: str
    principal_type: str
    role_id: str
    role_name: str
    scope: str
    inherited: bool = False
    condition: str = ""


def of_arm(found: Mapping[str, Any]) -> Role:
    """A role from ARM's JSON."""
    said = found["properties"]
    names = ("actions", "notActions", "dataActions", "notDataActions")
    permissions = tuple(Permission(*(tuple(map(str, each.get(name) or ())) for name in names)) for each in said["permissions"])
    return Role(key(str(found["id"])), str(said["roleName"]), said.get("type") == "CustomRole", permissions)


def key(role_id: str) -> str:
    """What names a role wherever it is seen from: its GUID."""
    return role_id.rpartition("/")[2].lower()


def client(credential: TokenCredential) -> Client:
    """ARM for role assignments and definitions, at any scope."""
    return Client(MANAGEMENT, credential, api_version=VERSION, patient=False)


def definitions(at: Client, scope: str) -> dict[str, Role]:
    """The roles that can be assigned at a scope, by their GUID."""
    found = at.list(f"{scope}/providers/Microsoft.Authorization/roleDefinitions")
    return {role.id: role for role in map(of_arm, found)}


def assignments(at: Client, scope: str, roles: Mapping[str, Role]) -> list[Assignment]:
    """Every assignment at a scope, below it, and above it up to the root. Needs roleAssignments/read there.

    Two questions, because only the filter `atScope()` is documented to name those above, and only without it those below are.
    """
    path = f"{scope}/providers/Microsoft.Authorization/roleAssignments"
    found = {str(one["id"]).lower(): one for query in ({}, {"$filter": "atScope()"}) for one in at.list(path, **query)}
    return [_assignment(one, scope, roles) for _, one in sorted(found.items())]


def _assignment(found: Mapping[str, Any], asked: str, roles: Mapping[str, Role]) -> Assignment:
    said = found["properties"]
    role = roles.get(key(said["roleDefinitionId"]))
    return Assignment(
        id=str(found["id"]),
        principal_id=str(said["principalId"]),
        principal_type=str(said.get("principalType") or "Unknown"),
        role_id=key(said["roleDefinitionId"]),
        role_name=role.name if role else key(said["roleDefinitionId"]),
        scope=str(said["scope"]),
        inherited=not within(str(said["scope"]), asked),
        condition=str(said.get("condition") or ""),
    )


def within(scope: str, other: str) -> bool:
    """Whether a scope is another one, or below it. Scopes have no case.

    What is above a subscription, a management group or the root, is above all subscriptions here: ARM names only those that are.
    """
    inner, outer = scope.lower().rstrip("/"), other.lower().rstrip("/")
    if not outer.startswith("/subscriptions/"):
        return inner == outer or inner.startswith("/subscriptions/")
    return inner == outer or inner.startswith(outer + "/")


def reaches(scope: str, resource: str) -> bool:
    """Whether a role at a scope holds for a resource or for a part of it: the scope is the resource, above it, or below it."""
    return within(resource, scope) or within(scope, resource)


def _concerns(pattern: str) -> bool:
    head = pattern.lower().partition("*")[0]
    if head.startswith(_DEPLOYMENTS):
        return False
    return any(head.startswith(one) or one.startswith(head) for one in _PROVIDERS)


def _beyond_reading(pattern: str) -> Iterator[str]:
    """The pattern without the operations that only read, as patterns; nothing if it only reads."""
    if pattern.lower().endswith("/read"):
        return
    if not pattern.endswith("*"):
        yield pattern
        return
    for kind in _KINDS:
        yield f"{pattern}/{kind}"
        if pattern.endswith("/*"):
            yield f"{pattern[:-1]}{kind}"


def _taken(pattern: str, by: Iterable[str]) -> bool:
    """Whether one of these patterns matches all that a pattern does. A wildcard of it then stands where they have one too."""
    return any(_matches(other, pattern) for other in by)


def _matches(pattern: str, operation: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), operation, re.IGNORECASE) is not None
