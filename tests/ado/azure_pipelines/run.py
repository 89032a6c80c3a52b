"""Run an expanded pipeline on this machine: stages and jobs in their order, conditions, outputs, approvals, results.

https://learn.microsoft.com/azure/devops/pipelines/process/{stages,phases,conditions,expressions,deployment-jobs,approvals}. All decisions
are made in the thread of the caller; jobs, and stages that wait for their approvers, have threads of their own.
"""

from __future__ import annotations

import queue
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from . import legs, model, preflight
from .agent import Agent, JobRun
from .expressions import Scope, parse
from .legs import Leg
from .nodes import Fault, Text
from .report import CANCELED, FAILED, ISSUES, SKIPPED, SUCCEEDED, Job, Run, Stage, Step, whole
from .service import Approval, CannotRun, Service
from .steps import StepRun
from .values import text, truthy
from .variables import Masker, Variable, Variables, of_run


class HasDocument(Protocol):
    """What `templates.expand` gives, as far as a run needs it."""

    document: Any


@dataclass(frozen=True)
class Event:
    """What a watcher is told: a job or step began ('begin'), printed ('line'), ended ('end')."""

    kind: str
    job: Job
    step: Step | None = None
    text: str = ""


@dataclass(eq=False)
class Unit:
    """A stage or a job on its way: waiting, then checked or running, then with a result.

    `spared` is one that began although the run was cancelled, because its own condition said so; what is in it runs as ever.
    """

    of: model.Stage | model.Job
    state: str = "waiting"
    result: str = ""
    spared: bool = False
    outputs: dict[str, str] = field(default_factory=dict)
    variables: Variables = field(default_factory=Variables)
    jobs: dict[str, Unit] = field(default_factory=dict)
    legs: list[Leg] = field(default_factory=list)


def run(
    expanded: HasDocument,
    service: Service,
    agent: Agent,
    *,
    watch: Callable[[Event], None] = lambda event: None,
    limit: float = 1200.0,
    artifacts: Path | None = None,
) -> Run:
    """Run it to its end. Artifacts are kept under `artifacts`, else beside the agent's folders.

    Raises Fault for what is no pipeline, CannotRun for what the service or this runner refuses (before anything starts) and after `limit`
    seconds; KeyboardInterrupt, once what ran was cancelled and the steps that always run have ended.
    """
    pipeline = model.read(expanded.document)
    preflight.check(pipeline, service, agent)
    agent.work.mkdir(parents=True, exist_ok=True)
    place = artifacts or Path(tempfile.mkdtemp(prefix="artifacts-", dir=agent.work))
    return _Runner(pipeline, service, agent, watch, place).run(limit)


class _Runner:
    def __init__(self, pipeline: model.Pipeline, service: Service, agent: Agent, watch: Callable[[Event], None], artifacts: Path) -> None:
        self.pipeline, self.service, self.agent, self.watch = pipeline, service, agent, watch
        self.record = Run(artifacts=artifacts)
        self.masker = Masker()
        self.variables = Variables()
        self.news: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.stages = {str(stage.name): Unit(stage, jobs={str(job.name): Unit(job) for job in stage.jobs}) for stage in pipeline.stages}
        self.running: dict[str, JobRun] = {}
        self.threads: list[threading.Thread] = []
        self.canceled = self.interrupted = self.expired = False

    def run(self, limit: float) -> Run:
        started = time.monotonic()
        timer = threading.Timer(limit, lambda: self.news.put(self.expire))
        timer.daemon = True
        timer.start()
        restore = self.listen()
        try:
            self.begin()
            self.advance()
            while not all(stage.state == "ended" for stage in self.stages.values()):
                try:
                    self.news.get()()
                except KeyboardInterrupt:  # of the watcher
                    self.interrupt()
                self.advance()
        finally:
            timer.cancel()
            for job in list(self.running.values()):  # only after a second interrupt, or a bug
                job.force()
            for thread in self.threads:
                thread.join()
            while not self.news.empty() and not self.interrupted:
                self.news.get()()
            restore()
        self.record.seconds = time.monotonic() - started
        if self.interrupted:
            raise KeyboardInterrupt
        if self.expired:
            raise CannotRun(f"the run was cancelled at its limit of {limit:g} s")
        return self.record

    def listen(self) -> Callable[[], object]:
        """Take SIGINT between two decisions instead of in the middle of one; what gives it back."""
        if threading.current_thread() is not threading.main_thread():
            return lambda: None

        def handle(number: int, frame: object) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.news.put(self.interrupt)

        before = signal.signal(signal.SIGINT, handle)
        return lambda: signal.signal(signal.SIGINT, before)

    def interrupt(self) -> None:
        self.interrupted = True
        self.cancel()

    def expire(self) -> None:
        self.expired = True
        self.cancel()

    def cancel(self) -> None:
        """Cancel the run: what runs now, and whatever has no condition of its own that holds."""
        self.canceled = True
        for job in list(self.running.values()):
            self.start(job.cancel)

    def begin(self) -> None:
        repository = self.service.repositories["self"]
        known = of_run(self.service, self.service.commit("self"), repository.name or repository.folder.name)
        self.variables = Variables(Variable(name, value, readonly=True) for name, value in known.items())
        self.define(self.variables, self.pipeline.variables, {})
        self.variables.expand()

    def advance(self) -> None:
        """Start whatever can start now, until nothing changes."""
        changed = True
        while changed:
            changed = False
            for stage in self.stages.values():
                if stage.state == "waiting" and all(self.stage(name).state == "ended" for name in stage.of.depends_on):
                    self.decide_stage(stage)
                    changed = True
                if stage.state == "running":
                    changed = self.advance_jobs(stage) or changed

    def advance_jobs(self, stage: Unit) -> bool:
        changed = False
        for job in stage.jobs.values():
            if job.state == "waiting" and all(_of(stage.jobs, name).state == "ended" for name in job.of.depends_on):
                self.decide_job(stage, job)
                changed = True
            if job.state == "running":
                self.start_legs(stage, job)
                changed = changed or job.state == "ended"
        if all(job.state == "ended" for job in stage.jobs.values()):
            self.end_stage(stage, whole(job.result for job in stage.jobs.values()))
            changed = True
        return changed

    def decide_stage(self, unit: Unit) -> None:
        stage = unit.of
        assert isinstance(stage, model.Stage)
        self.record.stages[stage.name] = Stage(stage.name)
        unit.variables = self.variables.copy()
        names = {"dependencies": {name: self.seen_by_stage(self.stage(name)) for name in stage.depends_on}}
        static = [variable for variable in stage.variables if not _runtime(variable.value)]
        try:
            self.define(unit.variables, static, {})
            if not self.holds(stage.condition, unit, self.stages, {**names, "variables": unit.variables.values()}, self.canceled):
                return self.end_stage(unit, SKIPPED, "its condition does not hold")
            unit.spared = self.canceled
            around = {**names, "stageDependencies": self.stage_dependencies(stage)}
            self.define(unit.variables, stage.variables, around)
        except Fault as fault:
            self.record.problems.append(str(fault))
            return self.end_stage(unit, FAILED, fault.message)
        unit.state = "checking"
        self.timeline("Stage", stage.title, stage.name, self.stage_id(stage.name), "", "inProgress")
        named = dict.fromkeys(self.service.environment(job.environment).name for job in stage.jobs if job.kind == "deployment")
        connections = preflight.named(step for job in stage.jobs for step in job.all_steps())
        if named or connections:
            return self.start(lambda: self.check_stage(unit, list(named), connections))
        return self.checked(unit, [], True)

    def cut_off(self, unit: Unit) -> bool:
        """Whether the run was cancelled since it began."""
        return self.canceled and not unit.spared

    def check_stage(self, unit: Unit, environments: list[str], connections: list[str]) -> None:
        """In a thread of its own: all approvals, of whatever resource the stage's jobs use, then the locks, before the stage begins."""
        stage = unit.of
        assert isinstance(stage, model.Stage)
        found = self.service.approvals(stage.name, environments, lambda: self.cut_off(unit), connections)
        locks = [name for name in environments if self.service.environments[name].exclusive_lock]
        free = all(approval.verdict == "approved" for approval in found)
        free = free and self.service.locks.acquire(locks, unit, stage.lock_behavior, lambda: self.cut_off(unit))
        self.news.put(lambda: self.checked(unit, found, free))

    def checked(self, unit: Unit, approvals: list[Approval], free: bool) -> None:
        self.record.stages[unit.of.name].approvals = approvals
        verdicts = {approval.verdict for approval in approvals}
        if "rejected" in verdicts:
            self.end_stage(unit, FAILED, "an approval was rejected")
        elif self.cut_off(unit) or (not free and verdicts <= {"approved"}):
            self.end_stage(unit, CANCELED, "it was cancelled, or a later run got the lock")
        elif not verdicts <= {"approved"}:
            self.end_stage(unit, SKIPPED, "an approval was not given in time")
        else:
            unit.state = "running"

    def end_stage(self, unit: Unit, result: str, reason: str = "") -> None:
        unit.state, unit.result = "ended", result
        self.service.locks.release(unit)
        record = self.record.stages[unit.of.name]
        record.result, record.reason = result, reason
        for name, job in unit.jobs.items():
            job.state, job.result = "ended", job.result or SKIPPED
            self.record.results[f"{unit.of.name}.{name}"] = job.result
        self.timeline("Stage", unit.of.title, unit.of.name, self.stage_id(unit.of.name), "", "completed", result)

    def decide_job(self, stage: Unit, unit: Unit) -> None:
        job = unit.of
        assert isinstance(job, model.Job)
        assert isinstance(stage.of, model.Stage)
        unit.variables = stage.variables.copy()
        names: dict[str, Any] = {
            "dependencies": {name: self.seen_by_job(_of(stage.jobs, name)) for name in job.depends_on},
            "stageDependencies": self.stage_dependencies(stage.of),
        }
        try:
            self.define(unit.variables, [variable for variable in job.variables if not _runtime(variable.value)], {})
            if not self.holds(job.condition, unit, stage.jobs, {**names, "variables": unit.variables.values()}, self.cut_off(stage)):
                return self.end_job(stage, unit, SKIPPED)
            unit.spared = self.canceled
            self.define(unit.variables, job.variables, names)
            unit.legs = legs.of(job, lambda written: self.evaluate(written, names, unit.variables))
        except Fault as fault:
            self.record.problems.append(str(fault))
            return self.end_job(stage, unit, FAILED)
        unit.state = "running"
        return None

    def end_job(self, stage: Unit, unit: Unit, result: str) -> None:
        assert isinstance(unit.of, model.Job)
        unit.state, unit.result = "ended", ISSUES if result == FAILED and unit.of.continue_on_error else result
        self.record.results[f"{stage.of.name}.{unit.of.name}"] = unit.result

    def start_legs(self, stage: Unit, unit: Unit) -> None:
        """Start the legs that may run now: those of a matrix side by side, hooks one after the other."""
        job = unit.of
        assert isinstance(job, model.Job)
        if job.kind == "deployment":
            ready = legs.next_hook(unit.legs)
        else:
            most = int(job.max_parallel or 0) or len(unit.legs)
            free = most - sum(leg.running for leg in unit.legs)
            ready = [leg for leg in unit.legs if not leg.running and not leg.result][: max(free, 0)]
        if self.cut_off(unit):  # what did not begin does not begin
            for leg in ready:
                leg.result = CANCELED
            ready = []
        for leg in ready:
            leg.running = True
            self.start_leg(stage, unit, leg)
        if not any(leg.running for leg in unit.legs) and (all(leg.result for leg in unit.legs) or job.kind == "deployment"):
            self.end_job(stage, unit, whole(leg.result for leg in unit.legs if leg.result))

    def start_leg(self, stage: Unit, unit: Unit, leg: Leg) -> None:
        job = unit.of
        assert isinstance(job, model.Job)
        assert isinstance(stage.of, model.Stage)
        name = f"{stage.of.name}.{job.name}" + (f".{leg.name}" if leg.name and job.kind == "job" else "")
        variables = unit.variables.copy()
        for key, value in {**legs.variables(stage.of, job, leg, self.service), **leg.variables}.items():
            variables.set(key, value, readonly=key not in leg.variables, force=True)
        record = self.record.jobs.setdefault(name, Job(name, stage.of.name, job.name, variables.get("System.JobDisplayName")))
        info: dict[str, Any] = {
            "id": variables.get("System.JobId"), "plan_id": self.service.plan_id, "stage": stage.of.name, "job": job.name, "name": leg.name,
            "attempt": 1, "service_connections": preflight.connections(leg.steps, self.service),
        }  # fmt: skip
        made = JobRun(
            job, leg.steps, record, variables, self.agent, self.service, self.masker, self.record.artifacts, self.tell, server=leg.server
        )
        self.running[info["id"]] = made
        self.told(Event("begin", record), info["id"])
        self.start(lambda: self.work(made, info, lambda result, began: self.leg_ended(unit, leg, made, result, began)))

    def work(self, job: JobRun, info: dict[str, Any], ended: Callable[[str, int], None]) -> None:
        """One leg, in a thread of its own."""
        began, started = len(job.record.steps), time.monotonic()
        for name, value in self.service.job_started(info).items():
            secret = name == "System.AccessToken"
            if secret:
                self.masker.add(value)
            job.variables.set(name, value, secret=secret, readonly=True, force=True)
        result = FAILED
        try:
            result = job.run()
        finally:
            job.record.seconds += time.monotonic() - started
            self.service.job_ended({**info, "result": result})
        self.news.put(lambda: ended(result, began))

    def leg_ended(self, unit: Unit, leg: Leg, job: JobRun, result: str, began: int) -> None:
        leg.running, leg.result = False, result
        self.running = {name: other for name, other in self.running.items() if other is not job}
        job.record.result = whole([part for part in (job.record.result, result) if part])
        for step in job.record.steps[began:]:
            for name, value in step.outputs.items():
                if step.ref:
                    unit.outputs[".".join(part for part in (leg.prefix, step.ref, name) if part)] = value
        self.told(Event("end", job.record), job.variables.get("System.JobId"))

    def define(self, variables: Variables, written: Iterable[model.Variable], names: Mapping[str, Any]) -> None:
        """Set variables in their order: groups, values as they are, and `$[ ]` with what is known by then."""
        for variable in written:
            if variable.group:
                for name, value in self.service.variable_groups[variable.name].items():
                    plain, secret = (value, False) if isinstance(value, str) else value
                    if secret:
                        self.masker.add(plain)
                    variables.set(name, plain, secret=secret, force=True)
                continue
            value = variable.value
            if _runtime(value):
                value = Text(text(self.evaluate(value, names, variables)), variable.value.at)
            variables.set(variable.name, value, readonly=variable.readonly, force=True)

    def evaluate(self, written: Text, names: Mapping[str, Any], variables: Variables) -> Any:
        """The value of a `$[ ]`, or the text itself if it is none."""
        if not _runtime(written):
            return str(written)
        functions = {"counter": self.service.counter}
        scope = Scope({"variables": variables.values(), "dependencies": {}, "stageDependencies": {}, **names}, functions)
        return parse(written.strip()[2:-1], written.at).evaluate(scope)

    def holds(self, condition: Text | None, unit: Unit, beside: Mapping[str, Unit], names: Mapping[str, Any], cut_off: bool) -> bool:
        """Whether a stage or job may start. Without names, the functions look at all that it depends on, also indirectly."""

        def results(named: tuple[Any, ...]) -> list[str]:
            return [_of(beside, str(name)).result for name in named] if named else [other.result for other in _before(unit, beside)]

        functions: dict[str, Callable[..., bool]] = {
            "always": lambda: True,
            "canceled": lambda: self.canceled,
            "failed": lambda *named: FAILED in results(named),
            "succeeded": lambda *named: not cut_off and all(result in (SUCCEEDED, ISSUES) for result in results(named)),
            "succeededOrFailed": lambda *named: (
                not cut_off and all(result in (SUCCEEDED, ISSUES, FAILED) or not named for result in results(named))
            ),
        }
        if condition is None:
            return functions["succeeded"]()
        return truthy(parse(condition, condition.at).evaluate(Scope(names, functions)))

    def stage(self, name: str) -> Unit:
        return _of(self.stages, name)

    def stage_id(self, name: str) -> str:
        return str(uuid.uuid5(uuid.UUID(self.service.plan_id), name))

    @staticmethod
    def seen_by_job(unit: Unit) -> dict[str, Any]:
        """A job as another names it: `dependencies.<job>`."""
        return {"result": unit.result, "outputs": dict(unit.outputs)}

    @staticmethod
    def seen_by_stage(unit: Unit) -> dict[str, Any]:
        """A stage as the condition of another names it: its outputs have the job's name before their own."""
        outputs = {f"{name}.{key}": value for name, job in unit.jobs.items() for key, value in job.outputs.items()}
        return {"result": unit.result, "outputs": outputs}

    def stage_dependencies(self, stage: model.Stage) -> dict[str, Any]:
        """`stageDependencies`: the jobs of the stages that this one waits for."""
        return {name: {key: self.seen_by_job(job) for key, job in self.stage(name).jobs.items()} for name in stage.depends_on}

    def start(self, work: Callable[[], None]) -> None:
        """Do something in a thread of its own; what it raises is raised in the caller's."""

        def body() -> None:
            try:
                work()
            except BaseException as error:
                self.news.put(_raise(error))

        thread = threading.Thread(target=body, daemon=True)
        self.threads = [other for other in self.threads if other.is_alive()] + [thread]
        thread.start()

    def tell(self, kind: str, job: Job, step: StepRun, line: str) -> None:
        """From a job's thread: something happened in a step."""
        parent = step.job.variables.get("System.JobId")
        self.news.put(lambda: self.told(Event(kind, job, step.record, line), parent))

    def told(self, event: Event, job_id: str) -> None:
        """In the caller's thread: tell the watcher and the service."""
        job, step = event.job, event.step
        state = {"begin": "inProgress", "end": "completed"}.get(event.kind, "")
        if state and step is None:
            self.timeline("Job", job.title, job.id, job_id, self.stage_id(job.stage), state, job.result)
        elif state and step is not None:
            self.timeline("Task", step.name, step.ref, step.id, job_id, state, step.result, step.errors)
        self.watch(event)

    def timeline(
        self, kind: str, name: str, identifier: str, own: str, parent: str, state: str, result: str = "", errors: Iterable[str] = ()
    ) -> None:
        """Tell the service of a record that is new or changed. A record is called by its display name, and by its id in the YAML."""
        now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
        record = {
            "id": own,
            "parentId": parent or None,
            "type": kind,
            "name": name,
            "refName": identifier.rpartition(".")[2] or None,
            "identifier": identifier or None,
            "state": state,
            "result": result[:1].lower() + result[1:] if state == "completed" else None,
            "startTime" if state == "inProgress" else "finishTime": now,
            "issues": [{"type": "error", "message": message} for message in errors],
        }
        self.service.timeline([record])


def _of(units: Mapping[str, Unit], name: str) -> Unit:
    return next(unit for known, unit in units.items() if known.lower() == name.lower())


def _before(unit: Unit, beside: Mapping[str, Unit]) -> list[Unit]:
    """All that it depends on, directly and indirectly."""
    found: dict[str, Unit] = {}
    waiting = list(unit.of.depends_on)
    while waiting:
        other = _of(beside, waiting.pop())
        if other.of.name not in found:
            found[other.of.name] = other
            waiting += other.of.depends_on
    return list(found.values())


def _runtime(value: str) -> bool:
    return value.strip().startswith("$[") and value.strip().endswith("]")


def _raise(error: BaseException) -> Callable[[], None]:
    def thrower() -> None:
        raise error

    return thrower
