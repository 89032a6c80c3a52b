"""What the runner asks of Azure DevOps: who and what the run is, connections, environments with their approvals, variable groups.

`Service.read` takes it from a YAML or JSON file. The names of its keys are the fields of the classes below:

    organization: contoso
    project: mlops
    repositories: {self: {folder: ../flight-delay, name: flight-delay}}
    service_connections:
      azureml-dev: {id: ..., scheme: WorkloadIdentityFederation, tenant_id: ..., client_id: ..., subscription_id: ...}
    environments:
      production: {approvals: [{approver: Rea Lee, verdict: approved, comment: ok}], exclusive_lock: true}
    variable_groups: {common: {name: value, password: {value: ..., secret: true}}}

An emulator of the service overrides `job_started`, `job_ended`, `timeline` and `approvals`.
"""

from __future__ import annotations

import secrets
import subprocess
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


class CannotRun(Exception):
    """The runner can't run the pipeline, or the service would not begin it: one line for each reason."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("\n".join(reasons))
        self.reasons = list(reasons)


@dataclass(frozen=True)
class Repository:
    """A git repository that jobs can check out. `commit` is '' for what `ref` names."""

    folder: Path
    name: str = ""
    ref: str = "refs/heads/main"
    commit: str = ""


@dataclass(frozen=True)
class Connection:
    """An Azure Resource Manager service connection. `scheme` is WorkloadIdentityFederation, or ServicePrincipal with its `secret`."""

    name: str
    id: str
    scheme: str = "WorkloadIdentityFederation"
    tenant_id: str = ""
    client_id: str = ""
    subscription_id: str = ""
    subscription_name: str = ""
    environment: str = "AzureCloud"
    secret: str = ""


@dataclass(frozen=True)
class Approval:
    """What an approver said before a stage. `verdict` is approved, rejected, or pending: nobody answered before the approval's timeout."""

    approver: str
    verdict: str = "approved"
    comment: str = ""
    environment: str = ""


@dataclass(frozen=True)
class Environment:
    """An environment with the checks that its owner put on it."""

    name: str
    approvals: tuple[Approval, ...] = ()
    exclusive_lock: bool = False
    id: int = 1


class Locks:
    """Exclusive locks of environments, shared by the runs of one process; each goes to whoever asked first.

    https://learn.microsoft.com/azure/devops/pipelines/process/approvals#exclusive-lock: a stage keeps the lock until it ends; of the runs
    that wait, `sequential` lets all go on in their order, `runLatest` (also the default) only the latest and cancels the others.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: dict[str, object] = {}
        self._queue: dict[str, list[object]] = {}

    def acquire(self, names: list[str], holder: object, behavior: str, stop: Callable[[], bool]) -> bool:
        """Wait for all of them. False when a later run overtook this one, or `stop` said so."""
        with self._changed:
            for name in sorted(names):
                queue = self._queue.setdefault(name, [])
                if behavior != "sequential":
                    queue.clear()  # whoever waited is overtaken
                queue.append(holder)
                self._changed.notify_all()
                while holder in queue and (name in self._held or queue[0] is not holder) and not stop():
                    self._changed.wait(0.1)
                overtaken = holder not in queue
                if not overtaken:
                    queue.remove(holder)
                if overtaken or stop():
                    self._release(holder)
                    return False
                self._held[name] = holder
        return True

    def release(self, holder: object) -> None:
        """Give up whatever the holder has."""
        with self._changed:
            self._release(holder)

    def _release(self, holder: object) -> None:
        self._held = {name: who for name, who in self._held.items() if who is not holder}
        self._changed.notify_all()


@dataclass
class Service:
    """Azure DevOps, as far as one run needs it. Times and ids that are not given are made up."""

    organization: str = "contoso"
    project: str = "mlops"
    pipeline: str = "pipeline"
    definition_id: int = 1
    build_id: int = 1
    build_number: str = "20260101.1"
    reason: str = "Manual"
    branch: str = "refs/heads/main"
    requested_for: str = "Kim Doe"
    requested_for_email: str = "kim@contoso.com"
    repositories: dict[str, Repository] = field(default_factory=dict)
    service_connections: dict[str, Connection] = field(default_factory=dict)
    environments: dict[str, Environment] = field(default_factory=dict)
    variable_groups: dict[str, dict[str, str | tuple[str, bool]]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    validations: dict[str, Approval] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    collection_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    project_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    plan_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    locks: Locks = field(default_factory=Locks)

    @property
    def collection_uri(self) -> str:
        """System.CollectionUri."""
        return f"https://dev.azure.com/{self.organization}/"

    @classmethod
    def read(cls, source: Path | Mapping[str, Any], **more: Any) -> Service:
        """From a file or what was read from one; `more` goes before it. Raises CannotRun for a key that no class knows."""
        found = dict(yaml.safe_load(source.read_text(encoding="utf-8")) if isinstance(source, Path) else source) | more
        makers: dict[str, Callable[[str, Any], Any]] = {
            "repositories": _repository,
            "service_connections": lambda name, value: value if isinstance(value, Connection) else Connection(name=name, **value),
            "environments": _environment,
            "variable_groups": lambda name, value: {str(key): _variable(one) for key, one in value.items()},
            "validations": lambda name, value: value if isinstance(value, Approval) else Approval(**value),
        }  # fmt: skip
        try:
            for key, make in makers.items():
                if key in found:
                    found[key] = {str(name): make(str(name), value) for name, value in (found[key] or {}).items()}
            return cls(**found)
        except TypeError as error:
            raise CannotRun(f"The description of the service: {str(error).partition('() ')[2] or error}") from error

    def commit(self, alias: str) -> str:
        """The commit that a repository is at. Raises CannotRun if git finds none."""
        repository = self.repositories[alias]
        if repository.commit:
            return repository.commit
        command = ["git", "-C", str(repository.folder), "rev-parse", "--verify", "-q", f"{repository.ref}^{{commit}}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotRun(f"Repository {alias}: {repository.folder} has no commit at {repository.ref}")
        return done.stdout.strip()

    def environment(self, name: str) -> Environment:
        """An environment by its name, which has no case. Raises StopIteration for one that is not there."""
        return next(environment for known, environment in self.environments.items() if known.lower() == name.lower())

    def counter(self, prefix: Any = "", seed: Any = 0) -> int:
        """`counter(prefix, seed)`: the seed at first, and one more each time that this object is asked for the prefix."""
        key = str(prefix or "").lower()
        self.counters[key] = self.counters[key] + 1 if key in self.counters else int(seed or 0)
        return self.counters[key]

    def job_started(self, record: Mapping[str, Any]) -> dict[str, str]:
        """Variables of a job that begins: System.AccessToken and System.OidcRequestUri.

        `record` has the keys id, plan_id, stage, job, name, attempt and service_connections, the ids of those that its tasks name.
        """
        hub = f"{self.collection_uri}{self.project_id}/_apis/distributedtask/hubs/build"
        return {
            "System.AccessToken": secrets.token_urlsafe(32),
            "System.OidcRequestUri": f"{hub}/plans/{self.plan_id}/jobs/{record['id']}/oidctoken",
        }

    def job_ended(self, record: Mapping[str, Any]) -> None:
        """A job has ended, and its access token with it. `record` is that of `job_started`, with `result`."""

    def timeline(self, records: list[dict[str, Any]]) -> None:
        """Records of the run's timeline that are new or changed, in the shape of `GET .../builds/{id}/timeline`."""

    def approvals(self, stage: str, environments: list[str], stop: Callable[[], bool], connections: Sequence[str] = ()) -> list[Approval]:
        """What the approvers of a stage's environments said. May wait for them, until `stop` says that the run is cancelled.

        `connections` are the names of those that the stage's jobs use; only a service that knows their checks asks for approvals there.
        """
        return [
            Approval(approval.approver, approval.verdict, approval.comment, name)
            for name in environments
            for approval in self.environments[name].approvals
        ]

    def validation(self, step: str) -> Approval:
        """The answer to a ManualValidation task, by the name of its step or, for one without, of its job."""
        return self.validations.get(step, Approval("", "pending"))


def _repository(name: str, value: Any) -> Repository:
    return value if isinstance(value, Repository) else Repository(**{**value, "folder": Path(value["folder"])})


def _environment(name: str, value: Any) -> Environment:
    if isinstance(value, Environment):
        return value
    value = dict(value or {})
    approvals = tuple(Approval(**one) for one in value.pop("approvals", None) or ())
    for approval in approvals:
        if approval.verdict not in ("approved", "rejected", "pending"):
            raise CannotRun(f"Environment {name}: the verdict {approval.verdict!r} is none of approved, rejected, pending")
    return Environment(name, approvals, **value)


def _variable(value: Any) -> str | tuple[str, bool]:
    return (str(value["value"]), bool(value.get("secret"))) if isinstance(value, Mapping) else str(value)
