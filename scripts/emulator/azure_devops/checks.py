"""Approvals and checks of a resource, as they are configured, and which pipelines may use it.

Sources: learn.microsoft.com/rest/api/azure/devops/approvalsandchecks/check-configurations and .../pipeline-permissions, and for what
is inside ``settings`` microsoft/terraform-provider-azuredevops, package approvalsandchecks. A name in ``settings`` that the service does
not know is dropped without a word (dsccommunity/AzureDevOpsDsc), and so is one in the setting ``azure_devops_ignores`` of this emulator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.azure_devops import connections, environments, exceptions, models
from emulator.azure_devops.models import Document, Project

if TYPE_CHECKING:
    from emulator.core import Cloud

APPROVAL, TASK, TEMPLATE, LOCK = (
    "8c6f20a7-a545-4486-9777-f762fafe0d4d",
    "fe1de3ee-a436-41b4-bb20-f6eb4cb879a7",
    "4020e66e-b0f3-47e1-bc88-48f3cc59b5f3",
    "2ef31ad6-baa0-403a-8b45-2cbc9b4e5563",
)
_NAMES = {APPROVAL: "Approval", TASK: "Task Check", TEMPLATE: "ExtendsCheck", LOCK: "ExclusiveLock"}
_SETTINGS: dict[str, Document] = {
    APPROVAL: {
        "approvers": [], "executionOrder": "anyOrder", "minRequiredApprovers": 0, "instructions": "", "blockedApprovers": [],
        "requesterCannotBeApprover": False,
    },
    TASK: {"definitionRef": {}, "displayName": "", "inputs": {}, "retryInterval": 0, "linkedVariableGroup": None},
    TEMPLATE: {"extendsChecks": []},
    LOCK: {},
}  # fmt: skip
_LONGEST = 43_200
"""Minutes: 30 days."""


def listed(cloud: Cloud, project: Project, kind: str, id: str) -> list[Document]:
    """The checks of a resource, oldest first."""
    found = cloud.store.list("azure_devops_check", f"{project.path}/checks")
    return [one for one in found if (one["resource"]["type"], one["resource"]["id"]) == (kind, id)]


def need(cloud: Cloud, project: Project, id: str) -> Document:
    """The check. Raises 404."""
    found = cloud.store.get(f"{project.path}/checks/{id}") if id.isdecimal() else None
    if found is None:
        raise exceptions.no_check(id)
    return found


def save(cloud: Cloud, project: Project, body: Any, who: str, id: str = "") -> Document:
    """A new check, or another content for one that is there. Raises 400 and 404."""
    known = need(cloud, project, id) if id else None
    if not isinstance(body, dict):
        raise exceptions.bad_check("The body must be a check configuration.")
    kind = str((body.get("type") or {}).get("id") or "") or (known["type"]["id"] if known else "")
    if kind not in _NAMES:
        raise exceptions.bad_check(f"'{kind}' is not the type of a check.")
    resource = body.get("resource") or (known["resource"] if known else {})
    name = _resource(cloud, project, str(resource.get("type")), str(resource.get("id")))
    timeout = body.get("timeout", _LONGEST)
    if not isinstance(timeout, int) or not 1 <= timeout <= _LONGEST:
        raise exceptions.bad_check(f"The timeout of a check is 1 to {_LONGEST} minutes, not {timeout}.")
    numbers = [one["id"] for one in cloud.store.list("azure_devops_check", f"{project.path}/checks")]
    number, now, by = known["id"] if known else max(numbers, default=0) + 1, cloud.stamp(), models.identity(who)
    made = {
        "settings": _settings(cloud, kind, body.get("settings") or {}, (known or {}).get("settings")),
        "createdBy": known["createdBy"] if known else by,
        "createdOn": known["createdOn"] if known else now,
        "modifiedBy": by,
        "modifiedOn": now,
        "timeout": timeout,
        "isDisabled": bool(body.get("isDisabled", (known or {}).get("isDisabled", False))),
        "id": number,
        "type": {"id": kind, "name": _NAMES[kind]},
        "url": f"{project.url}/_apis/pipelines/checks/configurations/{number}",
        "resource": {"type": str(resource["type"]), "id": str(resource["id"]), "name": name},
    }
    return cloud.store.put(f"{project.path}/checks/{number}", "azure_devops_check", made)


def _settings(cloud: Cloud, kind: str, given: Document, before: Document | None) -> Document:
    ignored = str(cloud.settings.extra.get("azure_devops_ignores", "")).split(",")
    defaults = _SETTINGS[kind]
    taken = {name: value for name, value in given.items() if name in defaults and name not in ignored}
    made: Document = {**defaults, **(before or {}), **taken}
    if kind == APPROVAL:
        approvers = [environments.named(cloud, str(one.get("id"))) for one in made["approvers"]]
        if not approvers or None in approvers:
            raise exceptions.bad_check("An approval needs approvers, and each must be a person or a group of the organization.")
        if not 0 <= made["minRequiredApprovers"] <= len(approvers):
            raise exceptions.bad_check("An approval cannot need more approvers than it names.")
        made["approvers"] = approvers
    if kind == TASK and not (made["definitionRef"] or {}).get("id"):
        raise exceptions.bad_check("A task check needs a definitionRef.")
    return made


def _resource(cloud: Cloud, project: Project, kind: str, id: str) -> str:
    """The name of what is protected. Raises 404, and 400 for what cannot be."""
    if kind == "environment":
        return str(environments.need(cloud, project, id)["name"])
    if kind == "endpoint":
        found = connections.get(cloud, project, id)
        if found is None:
            raise exceptions.no_connection(id)
        return str(found["name"])
    raise exceptions.bad_check(f"'{kind}' is not a resource that can be protected here.")


def remove(cloud: Cloud, project: Project, id: str) -> None:
    """Delete it. Raises 404."""
    need(cloud, project, id)
    cloud.store.delete(f"{project.path}/checks/{id}")


def shown(check: Document, expand: str) -> Document:
    """A check as the REST API writes it: its settings only where ``$expand=settings`` asks for them."""
    return check if "settings" in expand.lower().split(",") else {name: value for name, value in check.items() if name != "settings"}


# --- which pipelines may use a resource ------------------------------------------------------------------------------------------


def permissions(cloud: Cloud, project: Project, kind: str, id: str) -> Document:
    """Who may use a resource, as the REST API writes it: ``allPipelines`` is there only if it is open to all. Raises 404."""
    _resource(cloud, project, kind, id)
    found = cloud.store.get(_permissions(project, kind, id)) or {"pipelines": []}
    return {**found, "resource": {"type": kind, "id": id}}


def permit(cloud: Cloud, project: Project, kind: str, id: str, body: Any, who: str) -> Document:
    """Let pipelines use a resource, or no longer; those that the body does not name stay as they are. Raises 404."""
    found = permissions(cloud, project, kind, id)
    given = body if isinstance(body, dict) else {}
    granted = {"authorized": True, "authorizedBy": models.identity(who), "authorizedOn": cloud.stamp()}
    every = {"allPipelines": found["allPipelines"]} if "allPipelines" in found else {}
    if given.get("allPipelines") is not None:
        every = {"allPipelines": granted} if given["allPipelines"].get("authorized") else {}
    rows = {one["id"]: one for one in found["pipelines"]}
    for one in given.get("pipelines") or []:
        rows.pop(one["id"], None)
        rows |= {one["id"]: {"id": one["id"], **granted}} if one.get("authorized") else {}
    cloud.store.put(_permissions(project, kind, id), "azure_devops_permission", {**every, "pipelines": list(rows.values())})
    return permissions(cloud, project, kind, id)


def _permissions(project: Project, kind: str, id: str) -> str:
    return f"{project.path}/permissions/{kind}/{id}"
