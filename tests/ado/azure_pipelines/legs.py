"""The parts of a job that run on an agent each: one, the legs of a matrix, or the hooks of a deployment.

https://learn.microsoft.com/azure/devops/pipelines/process/{phases,deployment-jobs}.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import model
from .nodes import Text
from .report import CANCELED, FAILED
from .service import Service
from .values import text


@dataclass(eq=False)
class Leg:
    """One part. `prefix` stands before the names of its outputs where another job reads them."""

    name: str
    steps: list[model.Step]
    pool: model.Pool | None
    variables: dict[str, str] = field(default_factory=dict)
    prefix: str = ""
    number: int = 1
    total: int = 1
    result: str = ""
    running: bool = False

    @property
    def server(self) -> bool:
        """Whether it runs on the service, without an agent."""
        return self.pool is not None and self.pool.name == "server"


def of(job: model.Job, evaluate: Callable[[Text], Any]) -> list[Leg]:
    """The legs of a job; `evaluate` gives the value of a matrix that is a `$[ ]`. Raises Fault."""
    if job.kind == "deployment":
        # Of a deployment that has only the hook deploy the outputs are under the job's name, else under the hook's.
        alone = set(job.hooks) == {"deploy"} and not job.resource_name
        resource = f"_{job.resource_name}" if job.resource_name else ""
        return [
            Leg(name, _hook_steps(name, hook), hook.pool or job.pool, prefix=str(job.name) if alone else name + resource)
            for name, hook in job.hooks.items()
            if hook.steps
        ]
    wanted: dict[str, dict[str, str]] = {"": {}}
    if job.strategy == "parallel":
        assert isinstance(job.matrix, Text)
        wanted = {f"Job_{number}": {} for number in range(1, int(text(evaluate(job.matrix))) + 1)}
    elif job.strategy == "matrix":
        matrix = evaluate(job.matrix) if isinstance(job.matrix, Text) else job.matrix
        matrix = json.loads(matrix) if isinstance(matrix, str) else matrix
        wanted = {str(leg): {str(name): str(value) for name, value in its.items()} for leg, its in (matrix or {}).items()} or wanted
    return [
        Leg(name, _job_steps(job), job.pool, its, prefix=name, number=number, total=len(wanted))
        for number, (name, its) in enumerate(wanted.items(), start=1)
    ]


def next_hook(hooks: list[Leg]) -> list[Leg]:
    """The hook that is to run now: the next one, and after the last of them or a failure on.success or on.failure."""
    if any(hook.running for hook in hooks) or any(hook.result for hook in hooks if hook.name.startswith("on.")):
        return []
    bad = any(hook.result in (FAILED, CANCELED) for hook in hooks)
    return [hook for hook in hooks if not hook.result and (hook.name == "on.failure") == bad][:1]


def variables(stage: model.Stage, job: model.Job, leg: Leg, service: Service) -> dict[str, str]:
    """System variables that differ from part to part. The only part of a job is called __default."""
    name, shown = leg.name or "__default", f"{job.title} {leg.name}" if leg.name and job.kind == "job" else str(job.title)
    found = {
        "System.StageName": str(stage.name),
        "System.StageDisplayName": str(stage.title),
        "System.StageAttempt": "1",
        "System.PhaseName": str(job.name),
        "System.PhaseDisplayName": str(job.title),
        "System.PhaseAttempt": "1",
        "System.JobName": name,
        "System.JobDisplayName": shown,
        "System.JobAttempt": "1",
        "System.JobId": str(uuid.uuid5(uuid.UUID(service.plan_id), f"{stage.name}.{job.name}.{name}")),
        "System.JobIdentifier": ".".join(part for part in (stage.name, job.name, name) if part != model.DEFAULT_STAGE),
        "System.JobPositionInPhase": str(leg.number),
        "System.TotalJobsInPhase": str(leg.total),
        "System.JobTimeout": job.timeout_in_minutes or "60",
        "Agent.JobName": shown,
    }
    if job.kind == "deployment":
        environment = service.environment(job.environment)
        found |= {"Environment.Name": environment.name, "Environment.Id": str(environment.id), "Strategy.Name": job.strategy}
        if job.resource_name:
            found["Environment.ResourceName"] = str(job.resource_name)
    return found


def _job_steps(job: model.Job) -> list[model.Step]:
    """A job without a checkout begins with one."""
    server = job.pool is not None and job.pool.name == "server"
    added = [] if server or any(step.kind == "checkout" for step in job.steps) else [model.written_step("checkout: self", job.at)]
    return [*added, *_real(job.steps)]


def _hook_steps(name: str, hook: model.Hook) -> list[model.Step]:
    """A deploy hook begins with the download of the run's artifacts, unless it downloads something itself, or nothing."""
    wanted = name == "deploy" and not any(step.kind == "download" for step in hook.steps)
    return [*([model.written_step("download: current", hook.at)] if wanted else []), *_real(hook.steps)]


def _real(steps: list[model.Step]) -> list[model.Step]:
    """Without the steps that only say that something is not to happen, and those that are switched off."""
    nothing = [("checkout", "checkout"), ("download", "source")]
    return [step for step in steps if step.enabled and (step.kind, "none") not in [(kind, step.input(key)) for kind, key in nothing]]
