"""Environments on Azure DevOps: how one is protected, what Azure DevOps can't keep, and how to set one up.

Sources: learn.microsoft.com/rest/api/azure/devops/approvalsandchecks/check-configurations, .../environments, .../securityroles; what
`settings` hold: microsoft/terraform-provider-azuredevops, package approvalsandchecks; which pipelines may use a resource:
.../approvalsandchecks/pipeline-permissions. "Define approvals and checks"
(learn.microsoft.com/azure/devops/pipelines/process/approvals): a stage waits for the checks of every resource that its jobs name, a minimum
of 0 means every approver, of a group one person approves, and an administrator of the resource can bypass a check that runs (release notes
of sprint 230). A job's environment is the caller's choice, so what guards production is asked for by its service connection too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aml import azure_devops
from aml.azure_devops import Client
from aml.command import Refusal
from aml.gates import Change, Finding, Gate, Protection, compare
from aml.spec import quoted

APPROVAL = "8c6f20a7-a545-4486-9777-f762fafe0d4d"
TASK = "fe1de3ee-a436-41b4-bb20-f6eb4cb879a7"
TEMPLATE = "4020e66e-b0f3-47e1-bc88-48f3cc59b5f3"
LOCK = "2ef31ad6-baa0-403a-8b45-2cbc9b4e5563"
BRANCH_CONTROL = {"id": "86b05a0c-73e6-4f7d-b3cf-e38f3b39a75b", "name": "evaluatebranchProtection", "version": "0.0.1"}
ORDER = "anyOrder"
LIMIT_MINUTES = 43_200  # that an approval waits: 30 days, the longest there is
_CHECKS, _ENVIRONMENTS = "pipelines/checks/configurations", "distributedtask/environments"
_PERMISSIONS = "pipelines/pipelinepermissions/endpoint"
_HEADS, _TAGS = "refs/heads/", "refs/tags/"
_TEMPLATE = ("repositoryType", "repositoryName", "repositoryRef", "templatePath")
_REVIEW = ("approvals", "reviewers: users", "reviewers: teams", "self-review")  # what compare finds of an approval
_AGAIN = "have a platform team run apply_gates"

Document = dict[str, Any]
Template = tuple[str, ...]  # its repository's type and name, the ref, and the path


def connect(place: str) -> AzureDevOps:
    """The environments of a project."""
    return AzureDevOps(azure_devops.connect(place))


class AzureDevOps:
    """The environments of one project. See `gates.System`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def protection(self, gate: Gate) -> Protection | None:
        """How the environment is protected; of several approvals the one that names the written people, if there is one."""
        environment = self._environment(gate)
        if environment is None:
            return None
        found = self._guarded(gate, self._checks("environment", str(environment["id"])))
        return replace(found, bypassers=frozenset(self._others(gate, environment)))

    def _guarded(self, gate: Gate, checks: list[Document]) -> Protection:
        """What the checks of a resource ask for; who may bypass them they don't say."""
        approval = _settings(self._best(gate, [one for one in checks if _is_approval(one)]))
        approvers = approval.get("approvers") or []
        branches, tags = _allowed(gate, checks)
        return Protection(
            approvals=int(approval.get("minRequiredApprovers") or len(approvers)),
            users=frozenset(name_of(one) for one in approvers if not is_group(one)),
            teams=frozenset(self._short(name_of(one)) for one in approvers if is_group(one)),
            self_review=not approval.get("requesterCannotBeApprover", False),
            admin_bypass=False,
            bypassers=frozenset(),
            branches=branches,
            tags=tags,
            wait_minutes=0,
        )

    def limits(self, gate: Gate) -> list[Finding]:
        """A wait, which Azure DevOps has not; more approvals than entries that give one each; the order of approvals and the lock, which
        only Azure DevOps has; and what guards the service connection."""
        found, wanted = [], gate["reviewers"]
        if gate["wait_minutes"]:
            fix = "write wait_minutes: 0; an approver can defer an approval instead"
            found.append(Finding("wait on Azure DevOps", False, "Azure DevOps has no wait before a job starts", fix))
        entries = len(wanted.get("users", [])) + len(wanted.get("teams", []))
        if wanted["count"] > entries:
            says = f"{wanted['count']} approvals are asked for, and of {entries} people and teams each gives one"
            found.append(Finding("number of approvals", False, says, "name more people or teams, or lower the count"))
        environment = self._environment(gate)
        checks = self._checks("environment", str(environment["id"])) if environment else []
        found += self._ordered(gate, "order of approvals", checks)
        locked = any(_is_lock(one) and not one.get("isDisabled") for one in checks)
        found.append(_held("exclusive lock", locked, f"expected one, for one run at a time, found {'one' if locked else 'none'}"))
        if name := gate.get("service_connection"):
            found += self._connected(gate, name)
        else:
            says = "gates.yml names none, and who may use production's connection needs no environment and its approval"
            found.append(Finding("service connection", False, says, "write service_connection: the one that production is signed in to by"))
        return found

    def changes(self, gate: Gate) -> list[Change]:
        """The environment with its lock; approval and branch control there and on the service connection, and what else guards that; last,
        who administers the environment no longer."""
        name, there = gate["environment"], self._environment(gate)
        checks = self._checks("environment", str(there["id"])) if there else []
        made = []
        if there is None:
            what = {"name": name, "description": "Set up by apply_gates from .cloud/gates.yml"}
            made.append(Change(f"create environment {name}", lambda: self._client.post(_ENVIRONMENTS, what)))
        wanted, at = self._approval(gate), str(there["id"]) if there else ""
        made += self._reviews(gate, wanted, "environment", at, checks)
        made += self._branches(gate, "environment", at, checks)
        made += self._locks(gate, at, checks)
        if connection := gate.get("service_connection"):
            id = self._connection(connection)
            if id is None:
                raise Refusal(f"There is no service connection {quoted(connection)}", "", "make it, or correct gates.yml")
            beside = self._checks("endpoint", id)
            made += [*self._reviews(gate, wanted, "endpoint", id, beside), *self._branches(gate, "endpoint", id, beside)]
            made += [*self._templates(gate, id, beside), *self._closing(gate, id)]
        if not gate["admin_bypass"] and (there is None or self._others(gate, there, inherited=False)):
            made.append(Change(f"leave the administration of {name} to {', '.join(gate['administrators'])}", lambda: self._demote(gate)))
        return made

    # --- what there is ---

    def _environment(self, gate: Gate) -> Document | None:
        name = gate["environment"].lower()
        found = (self._client.get(_ENVIRONMENTS, name=gate["environment"]) or {}).get("value", [])
        return next((one for one in found if one["name"].lower() == name), None)

    def _connection(self, name: str) -> str | None:
        found = (self._client.get("serviceendpoint/endpoints", endpointNames=name) or {}).get("value", [])
        return next((str(one["id"]) for one in found if one["name"].lower() == name.lower()), None)

    def _checks(self, kind: str, id: str) -> list[Document]:
        query = {"resourceType": kind, "resourceId": id, "$expand": "settings"}
        return list((self._client.get(_CHECKS, **query) or {}).get("value", []))

    def _best(self, gate: Gate, approvals: list[Document], *, disabled: bool = False) -> Document | None:
        """Of several approvals the one that names the written people; else the first. All of them are waited for."""
        found = [one for one in approvals if disabled or not one.get("isDisabled")]
        wanted = {name.lower() for name in (*gate["reviewers"].get("users", []), *gate["reviewers"].get("teams", []))}

        def names(one: Document) -> set[str]:
            return {self._short(name_of(each)).lower() for each in _settings(one).get("approvers") or []}

        return next((one for one in found if names(one) == wanted), found[0] if found else None)

    def _short(self, group: str) -> str:
        """A group's name as gates.yml writes it: without the project, if it is this one."""
        return group.removeprefix(f"[{self._client.project}]\\")

    def _whole(self, group: str) -> str:
        return group if group.startswith("[") else f"[{self._client.project}]\\{group}"

    def _roles(self, environment: Document) -> str:
        resource = f"{environment['project']['id']}_{environment['id']}"
        return f"/securityroles/scopes/distributedtask.environmentreferencerole/roleassignments/resources/{resource}"

    def _others(self, gate: Gate, environment: Document, *, inherited: bool = True) -> dict[str, str]:
        """Who administers the environment besides those who may, with their ids. Raises Refusal if that can't be read."""
        listed = (self._client.get(self._roles(environment)) or {}).get("value")
        if not isinstance(listed, list):
            fix = "give the project's build service the role Reader on the environment"
            raise Refusal(
                f"Who administers environment {gate['environment']} can't be read", "Azure DevOps shows it to its readers only", fix
            )
        allowed = {self._whole(name).lower() for name in gate["administrators"]}
        return {
            self._short(one["identity"]["displayName"]): str(one["identity"]["id"])
            for one in listed
            if one["role"]["name"] == "Administrator"
            and (one["identity"]["displayName"].lower() not in allowed or _has_address(one["identity"]))
            and (inherited or one["access"] == "assigned")
        }

    def _connected(self, gate: Gate, name: str) -> list[Finding]:
        """Its approval, as the environment's; its branches; the templates that a pipeline must extend, where the gate names some; and that
        not every pipeline may use it."""
        id, title = self._connection(name), f"service connection {name}"
        if id is None:
            return [Finding(title, False, "there is no such service connection, or it can't be seen", "make it, or correct gates.yml")]
        checks, branches = self._checks("endpoint", id), _refs(gate)
        there = _control(gate, checks)
        says = f"expected {', '.join(branches)}, found {'any branch' if there is None else ', '.join(there)}"
        made = [_held(title, there == branches, says)]
        made += [
            _held(f"{title}: {one.name}", one.passed, one.says) for one in compare(gate, self._guarded(gate, checks)) if one.name in _REVIEW
        ]
        made += self._ordered(gate, f"{title}: order of approvals", checks)
        if wanted := _required(gate):
            found = _extended(wanted, checks)
            says = f"expected {_these(wanted)}, found {'any' if found is None else _these(found)}"
            made.append(_held(f"{title}: required template", found == wanted, says))
        if (open_ := self._open(id)) is None:
            fix = f"give the project's build service the role Reader on service connection {name}"
            made.append(Finding(f"{title}: pipelines", False, "which pipelines may use it can't be read", fix))
        else:
            says = f"expected those that are let in one by one, found {'every pipeline of the project' if open_ else 'those'}"
            made.append(_held(f"{title}: pipelines", not open_, says))
        return made

    def _ordered(self, gate: Gate, name: str, checks: list[Document]) -> list[Finding]:
        """That whoever is asked may approve at once, as `approved` of a release counts them; nothing where nobody is asked."""
        approval = self._best(gate, [one for one in checks if _is_approval(one)])
        if approval is None:
            return []
        order = _settings(approval).get("executionOrder", ORDER)
        return [_held(name, order == ORDER, f"expected {ORDER}, found {order}")]

    def _open(self, id: str) -> bool | None:
        """Whether every pipeline may use a service connection; None if that can't be read."""
        found = self._client.get(f"{_PERMISSIONS}/{id}")
        return bool((found.get("allPipelines") or {}).get("authorized")) if isinstance(found, dict) and "pipelines" in found else None

    # --- what to do ---

    def _approval(self, gate: Gate) -> Document:
        """The settings of the approval, approvers by their ids."""
        reviewers = gate["reviewers"]
        names = [*reviewers.get("users", []), *(self._whole(team) for team in reviewers.get("teams", []))]
        return {
            "approvers": sorted({self._id(name) for name in names}),
            "minRequiredApprovers": reviewers["count"],
            "requesterCannotBeApprover": not reviewers["self_review"],
            "executionOrder": ORDER,
            "enabled": True,
        }

    def _id(self, name: str) -> str:
        found = self._client.identities(name)
        if len(found) != 1:
            why = f"Azure DevOps knows {len(found)} of that name" if found else "Azure DevOps knows nobody of that name"
            raise Refusal(
                f"Who {quoted(name)} is, is not clear", why, "correct gates.yml: a group's name, or the name that a person signs in with"
            )
        return str(found[0]["id"])

    def _reviews(self, gate: Gate, wanted: Document, kind: str, id: str, checks: list[Document]) -> list[Change]:
        """The approval of a resource."""
        known = self._best(gate, [one for one in checks if _is_approval(one)], disabled=True)
        if _approves(known) == wanted:
            return []
        settings = {
            "approvers": [{"id": id} for id in wanted["approvers"]],
            "executionOrder": wanted["executionOrder"],
            "minRequiredApprovers": wanted["minRequiredApprovers"],
            "requesterCannotBeApprover": wanted["requesterCannotBeApprover"],
            "instructions": _settings(known).get("instructions") or "Approve what the run's summary shows, and nothing else.",
            "blockedApprovers": [],
        }
        says = f"{'change' if known else 'add'} the approval of {_where(gate, kind)}: {wanted['minRequiredApprovers']} by {_said(gate)}"
        return [Change(says, lambda: self._write(known, APPROVAL, "Approval", settings, kind, self._at(gate, id), LIMIT_MINUTES))]

    def _locks(self, gate: Gate, id: str, checks: list[Document]) -> list[Change]:
        """One run at a time; the stages of the catalog wait for it in their order, with lockBehavior: sequential."""
        known = next((one for one in checks if _is_lock(one)), None)
        if known and any(_is_lock(one) and not one.get("isDisabled") for one in checks):
            return []
        says = f"let one run at a time use environment {gate['environment']}"
        return [Change(says, lambda: self._write(known, LOCK, "ExclusiveLock", {}, "environment", self._at(gate, id), LIMIT_MINUTES))]

    def _at(self, gate: Gate, id: str) -> str:
        """A resource's id; that of an environment that was yet to be made is found now."""
        return id or str((self._environment(gate) or {}).get("id", ""))

    def _branches(self, gate: Gate, kind: str, id: str, checks: list[Document]) -> list[Change]:
        """Branch control of a resource."""
        wanted = _refs(gate)
        known = next((one for one in checks if _is_branch_control(one)), None)
        inputs = _settings(known).get("inputs") or {}
        if known and not known.get("isDisabled") and _split(inputs) == wanted:
            return []
        settings = {
            "definitionRef": BRANCH_CONTROL,
            "displayName": "Branch control",
            "inputs": {"ensureProtectionOfBranch": "false", **inputs, "allowedBranches": ", ".join(wanted)},
            "retryInterval": 5,
            "linkedVariableGroup": None,
        }
        says = f"let only {', '.join(wanted)} use {_where(gate, kind)}"
        return [Change(says, lambda: self._write(known, TASK, "Task Check", settings, kind, self._at(gate, id), 1440))]

    def _templates(self, gate: Gate, id: str, checks: list[Document]) -> list[Change]:
        """The required template of a service connection: one of the gate's, and no other."""
        wanted = _required(gate)
        if not wanted or _extended(wanted, checks) == wanted:
            return []
        known = next((one for one in checks if _is_template(one)), None)
        settings = {"extendsChecks": [dict(zip(_TEMPLATE, one, strict=True)) for one in wanted]}
        says = f"let only pipelines that extend {_these(wanted)} use service connection {gate['service_connection']}"
        return [Change(says, lambda: self._write(known, TEMPLATE, "ExtendsCheck", settings, "endpoint", id, LIMIT_MINUTES))]

    def _closing(self, gate: Gate, id: str) -> list[Change]:
        """Not every pipeline may use the service connection; those that are let in by name stay."""
        if not self._open(id):
            return []
        body = {"resource": {"type": "endpoint", "id": id}, "allPipelines": {"authorized": False}, "pipelines": []}
        says = f"let not every pipeline use service connection {gate['service_connection']}"
        return [Change(says, lambda: self._client.patch(f"{_PERMISSIONS}/{id}", body))]

    def _write(self, known: Document | None, kind: str, name: str, settings: Document, resource: str, id: str, minutes: int) -> None:
        body = {
            "type": {"id": kind, "name": name}, "settings": settings, "resource": {"type": resource, "id": id}, "timeout": minutes,
            "isDisabled": False,
        }  # fmt: skip
        if known:
            self._client.patch(f"{_CHECKS}/{known['id']}", {"id": known["id"], **body})
        else:
            self._client.post(_CHECKS, body)

    def _demote(self, gate: Gate) -> None:
        environment = self._environment(gate) or {}
        for id in self._others(gate, environment, inherited=False).values():
            self._client.delete(f"{self._roles(environment)}/{id}")


def _settings(check: Document | None) -> Document:
    return dict((check or {}).get("settings") or {})


def _is_approval(check: Document) -> bool:
    return str(check["type"]["id"]).lower() == APPROVAL


def _is_lock(check: Document) -> bool:
    return str(check["type"]["id"]).lower() == LOCK


def _is_branch_control(check: Document) -> bool:
    return str((_settings(check).get("definitionRef") or {}).get("id", "")).lower() == BRANCH_CONTROL["id"]


def _held(name: str, passed: bool, says: str) -> Finding:
    return Finding(name, passed, says, "" if passed else _AGAIN)


def _is_template(check: Document) -> bool:
    return str(check["type"]["id"]).lower() == TEMPLATE


def _required(gate: Gate) -> list[Template]:
    """The templates of which a pipeline must extend one: each of the gate's at each of the catalog's tags."""
    if not (asked := gate.get("required_templates")):
        return []
    where = (str(asked["repository_type"]), str(asked["repository"]))
    return sorted((*where, _TAGS + tag, _path(path)) for path in asked["templates"] for tag in gate["catalog_tags"])


def _extended(wanted: list[Template], checks: list[Document]) -> list[Template] | None:
    """The templates that one check asks for: of several checks the one that is written, else the first. None: any template."""
    found = []
    for check in checks:
        if _is_template(check) and not check.get("isDisabled"):
            listed = [[str(one.get(key) or "") for key in _TEMPLATE] for one in _settings(check).get("extendsChecks") or []]
            found.append(sorted((*rest, _path(path)) for *rest, path in listed))
    return next((one for one in found if one == wanted), found[0]) if found else None


def _path(text: str) -> str:
    return text.lstrip("/")


def _these(templates: list[Template]) -> str:
    return ", ".join(f"{path} of {name} at {ref.removeprefix(_TAGS)}" for _, name, ref, path in templates) or "none"


def is_group(approver: Document) -> bool:
    """By what the directory says; a name can look like a group's."""
    return bool(approver.get("isContainer")) or str(approver.get("descriptor", "")).startswith(("vssgp.", "aadgp."))


def _has_address(identity: Document) -> bool:
    """Whether somebody signs in with an address, as a group does not: a person may call themselves by a group's name."""
    return "@" in str(identity.get("uniqueName") or "")


def name_of(approver: Document) -> str:
    if is_group(approver):
        return str(approver.get("displayName", ""))
    return str(approver.get("uniqueName") or approver.get("id", ""))


def _approves(check: Document | None) -> Document:
    settings = _settings(check)
    return {
        "approvers": sorted({str(one.get("id")) for one in settings.get("approvers") or []}),
        "minRequiredApprovers": settings.get("minRequiredApprovers"),
        "requesterCannotBeApprover": settings.get("requesterCannotBeApprover", False),
        "executionOrder": settings.get("executionOrder", ORDER),
        "enabled": bool(check) and not (check or {}).get("isDisabled"),
    }


def _refs(gate: Gate) -> list[str]:
    """What branch control must allow; it looks at every repository of a run, the catalog's among them."""
    return sorted({_HEADS + one for one in gate["branches"]} | {_TAGS + one for one in (*gate["tags"], *gate["catalog_tags"])})


def _split(inputs: Document) -> list[str]:
    return sorted(filter(None, (one.strip() for one in str(inputs.get("allowedBranches", "")).split(","))))


def _control(gate: Gate, checks: list[Document]) -> list[str] | None:
    """The refs that may use a resource: of several controls the one that is written, else the first. None: any."""
    found = [_split(_settings(one).get("inputs") or {}) for one in checks if _is_branch_control(one) and not one.get("isDisabled")]
    return next((one for one in found if one == _refs(gate)), found[0]) if found else None


def _allowed(gate: Gate, checks: list[Document]) -> tuple[frozenset[str] | None, frozenset[str] | None]:
    """The project's branches and tags that may use a resource; None: any."""
    found = _control(gate, checks)
    if found is None:
        return None, None
    tags = {one.removeprefix(_TAGS) for one in found if one.startswith(_TAGS)} - ({*gate["catalog_tags"]} - {*gate["tags"]})
    return frozenset(one.removeprefix(_HEADS) for one in found if not one.startswith(_TAGS)), frozenset(tags)


def _where(gate: Gate, kind: str) -> str:
    return f"environment {gate['environment']}" if kind == "environment" else f"service connection {gate['service_connection']}"


def _said(gate: Gate) -> str:
    wanted = gate["reviewers"]
    barred = "allowed" if wanted["self_review"] else "barred"
    return f"{', '.join([*wanted.get('users', []), *wanted.get('teams', [])])}, self-review {barred}"
