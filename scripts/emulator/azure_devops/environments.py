"""Environments of Azure Pipelines, who may administer each, and the people and groups that can be named.

Sources: learn.microsoft.com/rest/api/azure/devops/environments; .../rest/api/azure/devops/securityroles/roleassignments, scope
``distributedtask.environmentreferencerole``, whose resource is ``<project id>_<environment id>``; .../rest/api/azure/devops/ims/identities;
"Environment permissions" (learn.microsoft.com/azure/devops/pipelines/policies/permissions): who creates an environment administers it, and
so do the project's administrators, by inheritance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulator.azure_devops import exceptions, models
from emulator.azure_devops.models import Document, Project

if TYPE_CHECKING:
    from emulator.core import Cloud

SCOPE = "distributedtask.environmentreferencerole"
ROLES = ("Reader", "User", "Administrator")


# --- people and groups -----------------------------------------------------------------------------------------------------------


def know(cloud: Cloud, project: Project, names: list[str], groups: Mapping[str, list[str]] | None = None) -> Document:
    """People (by unique name) and groups (by ``[project]\\name``) that the organization has; ``groups`` names the members of some."""
    for name in names:
        if named(cloud, models.identifier(name)) is None:
            cloud.store.put(_identity(name), "azure_devops_identity", {"name": name})
    for name, members in (groups or {}).items():
        know(cloud, project, members)
        cloud.store.put(_identity(name), "azure_devops_identity", {"name": name, "members": members})
    return {"identities": [models.identity(name) for name in (*names, *(groups or {}))]}


def _identity(name: str) -> str:
    return f"azure_devops/identities/{models.identifier(name)}"


def holds(cloud: Cloud, id: str, who: str) -> bool:
    """Whether an identity is that person, or a group with them in it, directly or through another group."""
    if id == models.identifier(who):
        return True
    members = (cloud.store.get(f"azure_devops/identities/{id}") or {}).get("members", [])
    return any(holds(cloud, models.identifier(name), who) for name in members)


def named(cloud: Cloud, id: str) -> Document | None:
    """The person or group with an id, as the REST API writes it."""
    found = cloud.store.get(f"azure_devops/identities/{id}")
    return models.identity(found["name"]) if found else None


def search(cloud: Cloud, text: str) -> list[Document]:
    """Identities whose name is the text, as ``_apis/identities?searchFilter=General`` gives them."""
    found = [one["name"] for one in cloud.store.list("azure_devops_identity") if one["name"].lower() == text.lower()]
    return [
        {
            "id": models.identifier(name),
            "subjectDescriptor": models.identity(name)["descriptor"],
            "providerDisplayName": name,
            "isActive": True,
            "isContainer": models.is_group(name),
            "members": [],
            "memberOf": [],
            "memberIds": [],
            "properties": {"Account": {"$type": "System.String", "$value": name.rpartition("\\")[2]}},
            "resourceVersion": 2,
            "metaTypeId": 255,
        }
        for name in found
    ]


# --- environments ----------------------------------------------------------------------------------------------------------------


def listed(cloud: Cloud, project: Project, name: str = "") -> list[Document]:
    """The environments of a project, oldest first; ``name`` narrows them down."""
    found = cloud.store.list("azure_devops_environment", f"{project.path}/environments")
    return [one for one in found if not name or one["name"].lower() == name.lower()]


def need(cloud: Cloud, project: Project, id: str) -> Document:
    """The environment. Raises 404."""
    found = cloud.store.get(f"{project.path}/environments/{id}") if id.isdecimal() else None
    if found is None:
        raise exceptions.no_environment(id)
    return found


def create(cloud: Cloud, project: Project, body: Any, creator: str) -> Document:
    """An environment. Raises 400 without a name, 409 for a name that is taken."""
    name = body.get("name") if isinstance(body, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise exceptions.bad_environment("The name of an environment cannot be null or empty.")
    if listed(cloud, project, name):
        raise exceptions.environment_exists(name)
    known = [one["id"] for one in listed(cloud, project)]
    number, now, who = max(known, default=0) + 1, cloud.stamp(), models.identity(creator)
    made = {
        "id": number,
        "name": name,
        "description": str(body.get("description") or ""),
        "createdBy": who,
        "createdOn": now,
        "lastModifiedBy": who,
        "lastModifiedOn": now,
        "project": {"id": project.id},
        "roles": {creator: "Administrator"},
    }
    know(cloud, project, [creator])
    return cloud.store.put(f"{project.path}/environments/{number}", "azure_devops_environment", made)


def remove(cloud: Cloud, project: Project, id: str) -> None:
    """Delete it. Raises 404."""
    need(cloud, project, id)
    cloud.store.delete(f"{project.path}/environments/{id}")


def shown(environment: Document) -> Document:
    return {name: value for name, value in environment.items() if name != "roles"}


# --- who administers one ---------------------------------------------------------------------------------------------------------


def assignments(project: Project, environment: Document) -> list[Document]:
    """Who holds which role on an environment, assigned there or inherited from the project."""
    inherited = {f"[{project.name}]\\Project Administrators": "Administrator", f"[{project.name}]\\Contributors": "User"}
    rows = [(name, role, "assigned") for name, role in environment["roles"].items()]
    rows += [(name, role, "inherited") for name, role in inherited.items() if name not in environment["roles"]]
    return [
        {
            "identity": {key: models.identity(name)[key] for key in ("displayName", "id", "uniqueName")},
            "role": {"displayName": role, "name": role, "scope": SCOPE, "identifier": f"{SCOPE}.{role}"},
            "access": access,
            "accessDisplayName": access.capitalize(),
        }
        for name, role, access in rows
    ]


def assign(cloud: Cloud, project: Project, environment: Document, body: Any) -> list[Document]:
    """Give roles: ``[{"userId", "roleName"}]``. Raises 400."""
    roles = dict(environment["roles"])
    for one in body if isinstance(body, list) else [{}]:
        who = named(cloud, str(one.get("userId")))
        if who is None or one.get("roleName") not in ROLES:
            raise exceptions.bad_environment(f"{one.get('userId')} as {one.get('roleName')} is no role assignment.")
        roles[who["displayName"]] = one["roleName"]
    return assignments(project, _save(cloud, project, environment, roles))


def unassign(cloud: Cloud, project: Project, environment: Document, id: str) -> None:
    """Take the role away that somebody was given there; what is inherited stays."""
    roles = {name: role for name, role in environment["roles"].items() if models.identifier(name) != id}
    _save(cloud, project, environment, roles)


def _save(cloud: Cloud, project: Project, environment: Document, roles: dict[str, str]) -> Document:
    place = f"{project.path}/environments/{environment['id']}"
    return cloud.store.put(place, "azure_devops_environment", {**environment, "roles": roles})
