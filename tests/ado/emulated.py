"""The runner's Azure DevOps, played by a running emulator: what a job gets, does and waits for is there, to be asked over REST.

    service = EmulatedService.read(description, home=emulator.home)
    run.run(expanded, service, agent)
    service.finish("succeeded")

Connections that the description leaves out are those of the emulator's project. One service is one build.
"""

from __future__ import annotations

import fnmatch
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import requests
from azure_pipelines.service import Approval, CannotRun, Connection, Service

import _history
from _gate import Approve, Gate, Refused, address, release_manager
from emulator import cli
from emulator.azure_devops.models import APPLICATION
from emulator.client import Administrator

_CHECKS = "pipelines/checks/configurations"
Refusals = dict[str, str]
"""What the service did not take, by who said it."""


@dataclass(frozen=True)
class Asked:
    """An approval that a stage waits for, and the environment or service connection whose check asks for it."""

    of: str
    approval: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.approval["id"])


@dataclass
class EmulatedService(Service):
    """A service whose build, commits, jobs, timeline and approvals are in the emulator with this `home`.

    An environment that the description gives no approvers has those of the emulated environment's checks, and a service connection those
    of its own; `approve` is called once for a stage that waits, for all of them. `approval_timeout` is how many seconds a pending
    approval then waits for somebody to decide it over REST.
    """

    home: Path = Path()
    approve: Approve = release_manager
    artifacts: Path = Path()
    approval_timeout: float = 0.0
    requester_may_approve: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _stages: dict[str, str] = field(default_factory=dict, repr=False)
    _bypassed: set[str] = field(default_factory=set, repr=False)
    _page: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        known = {one["id"]: one for one in self.rest("GET", "serviceendpoint/endpoints")["value"]}
        strangers = [name for name, one in self.service_connections.items() if one.scheme != "ServicePrincipal" and one.id not in known]
        if strangers:
            raise CannotRun(*(f"Service connection {name}: the emulator's {self.project} has none with that id" for name in strangers))
        for one in known.values():
            self.service_connections.setdefault(one["name"], _connection(one))
        self._known = set(known)
        repository = self.repositories.get("self")
        build = self._play(
            "builds",
            pipeline=self.pipeline,
            reason=self.reason[:1].lower() + self.reason[1:],
            branch=self.branch,
            commit=self.commit("self") if repository else "0" * 40,
            repository=repository.name if repository else "",
            requested_for=self.requested_for,
        )
        self.build_id, self.build_number = build["id"], build["buildNumber"]
        self.definition_id, self.project_id = build["definition"]["id"], build["project"]["id"]
        self.plan_id = build["orchestrationPlan"]["planId"]
        self._page = build["_links"]["web"]["href"]
        if repository:
            pushed = {**_history.refs(repository.folder), "commits": _history.commits(repository.folder)}
            self._play("git", repository=repository.name, **pushed)

    # --- what the runner asks ---

    def job_started(self, record: Mapping[str, Any]) -> dict[str, str]:
        """The job's own access token, good for the connections that its tasks name."""
        started = self._play(
            "jobs",
            build_id=self.build_id,
            name=f"{record['stage']}.{record['job']}",
            job_id=record["id"],
            references=[one for one in record["service_connections"] if one in self._known],
        )
        return {"System.AccessToken": started["access_token"], "System.OidcRequestUri": started["oidc_request_uri"]}

    def job_ended(self, record: Mapping[str, Any]) -> None:
        """The job's access token is worth nothing from now on."""
        cli.request(self.home, "POST", "/azure-devops/jobs/finish", {"plan_id": self.plan_id, "job_id": record["id"]})

    def timeline(self, records: list[dict[str, Any]]) -> None:
        """Keep the records in the emulator."""
        with self._lock:
            self._stages |= {str(one.get("identifier") or one["name"]): one["id"] for one in records if one["type"] == "Stage"}
            self._play("timeline", build_id=self.build_id, records=records)

    def approvals(self, stage: str, environments: list[str], stop: Callable[[], bool], connections: Sequence[str] = ()) -> list[Approval]:
        """Ask the approvers of each environment and service connection that the stage's jobs use, all at once.

        Those with a verdict in the description give it as themselves, others are waited for. Branch control comes before them, and what
        it does not allow is as if somebody had rejected it.
        """
        resources = [*(("environment", name) for name in environments), *(("endpoint", name) for name in connections)]
        checks = {resource: self._checks(*resource) for resource in resources}
        for (_, name), found in checks.items():
            for allowed in [one["inputs"]["allowedBranches"] for one in found if "allowedBranches" in (one.get("inputs") or {})]:
                if not any(fnmatch.fnmatchcase(self.branch, each.strip()) for each in allowed.split(",")):
                    return [Approval("Branch control", "rejected", f"{self.branch} is not one of {allowed}", name)]
        answers: list[Approval] = []
        waiting: list[Asked] = []
        for (kind, name), found in checks.items():
            if kind == "environment" and (expected := self.environments[name].approvals):
                more = {"requester_may_approve": self.requester_may_approve}
                asked = self._ask(stage, kind, name, [one.approver for one in expected], **more)
                answers += self._answer(stage, [asked], partial(self._describe, expected, asked), stop)
                continue
            waiting += [
                self._ask(
                    stage,
                    kind,
                    name,
                    [one["uniqueName"] for one in check["approvers"]],
                    minimum=check["minRequiredApprovers"],
                    in_sequence=check["executionOrder"] == "inSequence",
                    requester_may_approve=not check["requesterCannotBeApprover"],
                    instructions=check["instructions"],
                )
                for check in found
                if "approvers" in check
            ]
        return [*answers, *(self._answer(stage, waiting, partial(self._decide, stage, waiting, stop), stop) if waiting else [])]

    def finish(self, result: str) -> dict[str, Any]:
        """End the build: succeeded, partiallySucceeded, failed or canceled. The build as REST gives it."""
        build: dict[str, Any] = self._play("builds/finish", build_id=self.build_id, result=result)
        return build

    # --- the emulator ---

    def rest(self, method: str, path: str, body: Any = None, *, as_user: str = "", **query: str) -> Any:
        """The REST API of the project, as the administrator or as a person. Raises requests.HTTPError with the service's words."""
        env = cli.environment(self.home)
        if as_user:
            secret = cli.request(self.home, "POST", "/azure-devops/tokens", {"user": as_user})["token"]
            auth: dict[str, Any] = {"auth": ("", secret)}
        else:
            auth = {"headers": {"Authorization": f"Bearer {self._token}"}}
        with requests.Session() as session:
            session.trust_env = False
            session.proxies, session.verify = {"https": env["HTTPS_PROXY"]}, str(self.home / "tls" / "ca.pem")
            url = f"{self.collection_uri}{self.project}/_apis/{path}"
            answer = session.request(method, url, json=body, params={"api-version": "7.1", **query}, timeout=60, **auth)
        if answer.status_code >= 300:
            raise requests.HTTPError(f"{answer.status_code} {answer.text}", response=answer)
        return answer.json() if answer.content else None

    @cached_property
    def _token(self) -> str:
        """The administrator's, good for an hour."""
        return Administrator(self.home).token(f"{APPLICATION}/.default")

    def _play(self, what: str, **body: Any) -> Any:
        where = {"organization": self.organization, "project": self.project}
        return cli.request(self.home, "POST", f"/azure-devops/{what}", {**where, **body})

    def _checks(self, kind: str, name: str) -> list[dict[str, Any]]:
        """The settings of the checks that an environment or service connection (endpoint) of the emulator has, in their order."""
        if kind == "environment":
            ids = [str(one["id"]) for one in self.rest("GET", "distributedtask/environments", name=name)["value"]]
        else:
            ids = [id for id in (self.service_connections[name].id,) if id in self._known]
        query = {"resourceType": kind, "$expand": "settings"}
        checks = [one for id in ids for one in self.rest("GET", _CHECKS, resourceId=id, **query)["value"]]
        return [check["settings"] for check in checks if not check["isDisabled"]]

    def _ask(self, stage: str, kind: str, name: str, approvers: list[str], **more: Any) -> Asked:
        where = {"build_id": self.build_id, "stage": stage, "environment" if kind == "environment" else "connection": name}
        return Asked(name, self._play("approvals", **where, approvers=approvers, **more))

    def _answer(self, stage: str, asked: list[Asked], decide: Callable[[], Refusals], stop: Callable[[], bool]) -> list[Approval]:
        """Wait for what becomes of approvals: `decide` is who would, and gives what the service did not take from whom."""
        self._checkpoint(stage, asked, "inProgress")
        refused = decide()
        until = time.monotonic() + self.approval_timeout
        while self._open(asked) and time.monotonic() < until and not stop():
            time.sleep(0.2)
        rejected = not self._open(asked)
        for one in asked:
            if self._waits(one.id):
                self._play("approvals/close", approval_id=one.id, status="canceled" if stop() or rejected else "timedOut")
        found = {one.id: self._read(one.id) for one in asked}
        passed = {id for id, one in found.items() if one["status"] in ("approved", "skipped") or id in self._bypassed}
        self._checkpoint(stage, asked, "completed", {one.id: "succeeded" if one.id in passed else "failed" for one in asked})
        return [answer for one in asked for answer in self._said(one.of, found[one.id], one.id in passed, refused)]

    def _said(self, of: str, found: dict[str, Any], passed: bool, refused: Refusals) -> list[Approval]:
        """What an approval came to, for the report of the run."""
        if passed and found["status"] != "approved":
            return [Approval(", ".join(_names(found)), "approved", "The check was bypassed.", of)]
        return [
            Approval(
                name,
                # Of those who need not all approve the others are passed over.
                "approved"
                if found["status"] == "approved"
                else step["status"]
                if step["status"] in ("approved", "rejected")
                else "pending",
                step["comment"] or refused.get(name, ""),
                of,
            )
            for name, step in zip(_names(found), found["steps"], strict=True)
            if found["status"] != "approved" or step["status"] == "approved"
        ]

    def _describe(self, expected: tuple[Approval, ...], asked: Asked) -> Refusals:
        """The verdicts of the description."""
        refused = {}
        for one in expected:
            if one.verdict != "pending":
                try:
                    self._update(asked.id, one.approver, one.verdict, one.comment)
                except Refused as error:
                    refused[one.approver] = str(error)
        return refused

    def _decide(self, stage: str, asked: list[Asked], stop: Callable[[], bool]) -> Refusals:
        """The decision of whoever is to decide: see `_gate`. It is of all that the stage waits for, as far as it is theirs to decide."""

        def each(decide: Callable[[str], None]) -> None:
            refusals, waiting = [], [one.id for one in asked if self._waits(one.id)]
            for id in waiting or [one.id for one in asked]:
                try:
                    decide(id)
                except Refused as refusal:
                    refusals.append(refusal)
            if len(refusals) == len(waiting or asked):
                raise refusals[0]

        def overrule(who: str, comment: str, recorded: bool) -> None:
            def bypass(id: str) -> None:
                try:
                    self._play("approvals/bypass", approval_id=id, who=address(who), comment=comment, recorded=recorded)
                except cli.Problem as problem:
                    raise Refused(str(problem)) from problem
                self._bypassed.add(id)

            each(bypass)

        self.approve(
            Gate(
                run=self.build_id, job=stage, environment=asked[0].of,
                asked=tuple(dict.fromkeys(name.removeprefix(f"[{self.project}]\\") for one in asked for name in _names(one.approval))),
                page=self._page, artifacts=self.artifacts, open=lambda: self._open(asked) and not stop(),
                decide=lambda who, status, comment: each(lambda id: self._update(id, address(who), status, comment)), overrule=overrule,
            )
        )  # fmt: skip
        return {}

    def _update(self, approval_id: str, who: str, status: str, comment: str) -> None:
        """Decide as a person. Raises Refused with the service's words."""
        try:
            self.rest("PATCH", "pipelines/approvals", [{"approvalId": approval_id, "status": status, "comment": comment}], as_user=who)
        except requests.HTTPError as error:
            if error.response.status_code not in (403, 409):
                raise
            raise Refused(error.response.json()["message"]) from error

    def _waits(self, approval_id: str) -> bool:
        return approval_id not in self._bypassed and self._read(approval_id)["status"] == "pending"

    def _open(self, asked: list[Asked]) -> bool:
        """Whether the stage waits: for any of its approvals, and for none any more once somebody rejected one."""
        return any(self._waits(one.id) for one in asked) and not any(self._read(one.id)["status"] == "rejected" for one in asked)

    def _read(self, approval_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.rest("GET", f"pipelines/approvals/{approval_id}", **{"$expand": "steps"})
        return found

    def _checkpoint(self, stage: str, asked: list[Asked], state: str, results: Mapping[str, str] | None = None) -> None:
        """A stage that waits has a Checkpoint in the timeline, and below it each approval, whose id is the record's."""
        point = str(uuid.uuid5(uuid.UUID(asked[0].id), "checkpoint"))
        whole = None if results is None else "succeeded" if {*results.values()} == {"succeeded"} else "failed"
        records = [{"id": point, "type": "Checkpoint", "name": "Checkpoint", "parentId": self._stages.get(stage), "result": whole}]
        for one in asked:
            approval = {"id": one.id, "type": "Checkpoint.Approval", "name": "Checkpoint.Approval", "parentId": point}
            records.append({**approval, "result": (results or {}).get(one.id)})
        self.timeline([{**one, "state": state} for one in records])


def _names(approval: Mapping[str, Any]) -> list[str]:
    return [step["assignedApprover"]["displayName"] for step in approval["steps"]]


def _connection(found: Mapping[str, Any]) -> Connection:
    parameters, data = found["authorization"]["parameters"], found["data"]
    return Connection(
        name=found["name"],
        id=found["id"],
        scheme=found["authorization"]["scheme"],
        tenant_id=parameters["tenantid"],
        client_id=parameters["serviceprincipalid"],
        subscription_id=data.get("subscriptionId", ""),
        subscription_name=data.get("subscriptionName", ""),
    )
