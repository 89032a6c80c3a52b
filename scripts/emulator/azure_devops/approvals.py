"""Approvals: who may decide, in what order, and what comes of it.

Sources: learn.microsoft.com/rest/api/azure/devops/approvalsandchecks/approvals, and "Define approvals and checks" at
learn.microsoft.com/azure/devops/pipelines/process/approvals.
An approver is a person or a group by name; for a group one of its members decides. How the API tells of a bypass, which sprint 230 of
2023 brought to the page of a run for administrators of the resource, is not documented. Here the approval ends ``skipped``, one of its
documented states, by that administrator; or, not ``recorded``, it stays as it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emulator.azure_devops import builds, connections, environments, exceptions, models
from emulator.azure_devops.models import Document, Project
from emulator.errors import AzureError

if TYPE_CHECKING:
    from emulator.core import Cloud

STATES = ("undefined", "uninitiated", "pending", "approved", "rejected", "skipped", "canceled", "timedOut", "failed", "completed", "all")
_DECISIONS = ("approved", "rejected")


def ask(
    cloud: Cloud,
    project: Project,
    build_id: int,
    stage: str,
    approvers: Sequence[str],
    *,
    environment: str = "",
    connection: str = "",
    instructions: str = "",
    minimum: int = 0,
    in_sequence: bool = False,
    requester_may_approve: bool = False,
) -> Document:
    """Ask people to let a stage of a build begin, for the check of an environment or of a service connection.

    ``minimum`` is how many of them must approve; 0 is all of them.

    Raises 400 for approvers that cannot be.
    """
    build = builds.need(cloud, project, build_id)
    if not approvers or len({name.lower() for name in approvers}) != len(approvers) or minimum > len(approvers):
        raise AzureError(400, "BadRequest", "An approval needs approvers, each once, and no more approvals than there are approvers.")
    now, approval_id = cloud.stamp(), str(uuid.uuid4())
    steps: list[Document] = [
        {
            "assignedApprover": models.identity(name),
            "status": "uninitiated" if in_sequence and order > 1 else "pending",
            "comment": "",
            "lastModifiedOn": now,
            "order": order,
            "lastModifiedBy": models.identity(name),
            "initiatedOn": None if in_sequence and order > 1 else now,
            "history": [],
        }
        for order, name in enumerate(approvers, 1)
    ]
    definition = build["definition"]
    made = {
        "id": approval_id,
        "steps": steps,
        "status": "pending",
        "createdOn": now,
        "lastModifiedOn": now,
        "executionOrder": "inSequence" if in_sequence else "anyOrder",
        "minRequiredApprovers": minimum or len(approvers),
        "blockedApprovers": [] if requester_may_approve else [build["requestedFor"]],
        "instructions": instructions,
        "_links": {"self": {"href": f"{project.url}/_apis/pipelines/approvals/{approval_id}"}},
        "pipeline": {
            "owner": {
                "_links": {"web": build["_links"]["web"], "self": build["_links"]["self"]},
                "id": build["id"],
                "name": build["buildNumber"],
            },
            "id": str(definition["id"]),
            "name": definition["name"],
        },
        "stage": stage,
        "environment": environment,
        "connection": connection,
    }
    return cloud.store.put(_place(project, approval_id), "azure_devops_approval", made)


def need(cloud: Cloud, project: Project, approval_id: str) -> Document:
    """The approval. Raises 404."""
    found = cloud.store.get(_place(project, approval_id)) if models.is_guid(approval_id) else None
    if found is None:
        raise exceptions.no_approval(approval_id)
    return found


def query(
    cloud: Cloud, project: Project, ids: Sequence[str] = (), state: str = "all", people: Sequence[str] = (), top: int | None = None
) -> list[Document]:
    """Approvals by id, state and assigned person (name or id), newest first."""
    if state.lower() not in [one.lower() for one in STATES]:
        raise exceptions.bad_approval(f"'{state}' is not a status of an approval.")
    found = [need(cloud, project, one) for one in ids] or cloud.store.list("azure_devops_approval", f"{project.path}/approvals")[::-1]
    if state.lower() != "all":
        found = [one for one in found if one["status"].lower() == state.lower()]
    if people:
        wanted = {each.lower() for each in people}
        found = [
            one
            for one in found
            if any(wanted & {step["assignedApprover"][key].lower() for key in ("id", "uniqueName", "descriptor")} for step in one["steps"])
        ]
    return found[:top]


def shown(approval: Document, expand: str = "") -> Document:
    """An approval as the REST API writes it: its steps only where ``$expand=steps`` asks for them."""
    hidden = {"stage", "environment", "connection"}
    steps = approval["steps"] if "steps" in expand.lower().split(",") else []
    return {name: value for name, value in approval.items() if name not in hidden} | {"steps": steps}


def decide(cloud: Cloud, project: Project, who: str, updates: Any) -> list[Document]:
    """Approve or reject, all of ``updates`` or none. Raises 400, 403, 404 or 409.

    Refused are who is not assigned, who has decided already, who requested the run where that is barred, and a decided approval.
    """
    if not isinstance(updates, list) or not updates or not all(isinstance(each, dict) for each in updates):
        raise exceptions.bad_approval("The body must be a list of approvals to update.")
    with cloud.store.transaction():
        return [_decide(cloud, project, who, update) for update in updates]


def _decide(cloud: Cloud, project: Project, who: str, update: Document) -> Document:
    if not update.get("approvalId"):
        raise exceptions.no_approval_id()
    status = str(update.get("status", "")).lower()
    if status not in _DECISIONS:
        raise exceptions.bad_approval(f"An approval is approved or rejected here, not '{update.get('status', '')}'.")
    approval = need(cloud, project, str(update["approvalId"]))
    if approval["status"] != "pending":
        raise exceptions.already_decided(approval["id"])
    me = models.identity(who)
    if me["id"] in [one["id"] for one in approval["blockedApprovers"]]:
        raise exceptions.blocked_approver(who, approval["id"])
    open_ = [step for step in approval["steps"] if step["status"] == "pending"]
    mine = next((step for step in open_ if environments.holds(cloud, step["assignedApprover"]["id"], who)), None)
    if mine is None:
        raise exceptions.not_an_approver(who, approval["id"])
    now = cloud.stamp()
    mine |= {
        "status": status,
        "actualApprover": me,
        "comment": str(update.get("comment") or ""),
        "lastModifiedOn": now,
        "lastModifiedBy": me,
    }
    given = [step["status"] for step in approval["steps"]]
    if "rejected" in given:
        approval["status"] = "rejected"
    elif given.count("approved") >= approval["minRequiredApprovers"]:
        approval["status"] = "approved"
    elif following := next((step for step in approval["steps"] if step["status"] == "uninitiated"), None):
        following |= {"status": "pending", "initiatedOn": now, "lastModifiedOn": now}
    return cloud.store.put(_place(project, approval["id"]), "azure_devops_approval", {**approval, "lastModifiedOn": now})


def bypass(cloud: Cloud, project: Project, approval_id: str, who: str, comment: str = "", recorded: bool = True) -> Document:
    """An administrator of what the check is of lets the stage begin although nobody approved. Raises 403 and 409."""
    approval = need(cloud, project, approval_id)
    if approval["status"] != "pending":
        raise exceptions.already_decided(approval_id)
    if not any(environments.holds(cloud, id, who) for id in _administrators(cloud, project, approval)):
        name = approval["connection"]
        raise exceptions.not_administrator(who, f"service connection {name}" if name else f"environment {approval['environment']}")
    if not recorded:
        return approval
    now, me = cloud.stamp(), models.identity(who)
    said = {"status": "skipped", "comment": comment, "lastModifiedBy": me, "lastModifiedOn": now}
    steps = [{**step, **said} if step["status"] in ("pending", "uninitiated") else step for step in approval["steps"]]
    changed = {**approval, "status": "skipped", "steps": steps, "lastModifiedOn": now}
    return cloud.store.put(_place(project, approval_id), "azure_devops_approval", changed)


def _administrators(cloud: Cloud, project: Project, approval: Document) -> list[str]:
    """The ids of who may go past a check: who made the service connection, and the project's administrators; or the environment's."""
    if name := approval["connection"]:
        made = connections.named(cloud, project, name)
        return [models.identifier(f"[{project.name}]\\Project Administrators"), *([made["createdBy"]["id"]] if made else [])]
    environment = next(iter(environments.listed(cloud, project, approval["environment"])), None)
    held = environments.assignments(project, environment) if environment else []
    return [one["identity"]["id"] for one in held if one["role"]["name"] == "Administrator"]


def close(cloud: Cloud, project: Project, approval_id: str, status: str) -> Document:
    """End an approval that nobody decided: ``timedOut`` or ``canceled``. One that is decided stays as it is."""
    if status not in ("timedOut", "canceled"):
        raise AzureError(400, "BadRequest", f"An approval nobody decided ends timedOut or canceled, not '{status}'.")
    approval = need(cloud, project, approval_id)
    if approval["status"] != "pending":
        return approval
    steps = [{**step, "status": status} if step["status"] in ("pending", "uninitiated") else step for step in approval["steps"]]
    closed = {**approval, "status": status, "steps": steps, "lastModifiedOn": cloud.stamp()}
    return cloud.store.put(_place(project, approval_id), "azure_devops_approval", closed)


def _place(project: Project, approval_id: str) -> str:
    return f"{project.path}/approvals/{approval_id}"
