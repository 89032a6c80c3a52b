"""What the service and this runner refuse before anything starts, all of it, each with its place."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from . import model
from .agent import Agent
from .expressions import parse
from .nodes import Fault, Place, Text
from .service import CannotRun, Service
from .steps import STATUS
from .tasks import TASKS

_AZURE = {"azurecli@2": ("azureSubscription", "connectedServiceNameARM")}
_SERVER = {"manualvalidation@0", "manualvalidation@1"}
# Keys of a checkout that ask for what is not done.
_CHECKOUT = (
    "lfs",
    "persistCredentials",
    "submodules",
    "fetchFilter",
    "sparseCheckoutDirectories",
    "sparseCheckoutPatterns",
    "workspaceRepo",
)


def check(pipeline: model.Pipeline, service: Service, agent: Agent) -> None:
    """Raise CannotRun with every reason why the run can't begin."""
    reasons = list(_reasons(pipeline, service, agent))
    if reasons:
        raise CannotRun(*dict.fromkeys(reasons))


def named(steps: Iterable[model.Step]) -> list[str]:
    """The names of the service connections that tasks name."""
    return list(dict.fromkeys(step.input(key) for step in steps for key in _AZURE.get(step.task.lower(), ()) if step.input(key)))


def connections(steps: Iterable[model.Step], service: Service) -> list[str]:
    """The ids of the service connections that tasks name: a job gets tokens for these and no others."""
    return [service.service_connections[name].id for name in named(steps)]


def _reasons(pipeline: model.Pipeline, service: Service, agent: Agent) -> Iterator[str]:
    if "self" not in service.repositories:
        yield "The description of the service has no repository 'self'"
    known = {stage.name.lower() for stage in pipeline.stages}
    yield from _variables(pipeline.variables, service)
    yield from _circle("stage", [(stage.name, stage.depends_on) for stage in pipeline.stages])
    for kind in pipeline.resources:
        if kind not in ("repositories",):
            yield _at(kind.at, f"resources: {kind} is not done by this runner")
    for stage in pipeline.stages:
        yield from _variables(stage.variables, service)
        yield from _condition(stage.condition, ("variables", "dependencies"))
        for name in stage.depends_on:
            if name.lower() not in known:
                yield _at(name.at, f"Stage {stage.name} depends on unknown stage {name}.")
        if stage.manual:
            yield _at(stage.at, "trigger: manual is not done by this runner")
        yield from _circle("job", [(job.name, job.depends_on) for job in stage.jobs])
        jobs = {job.name.lower() for job in stage.jobs}
        for job in stage.jobs:
            for name in job.depends_on:
                if name.lower() not in jobs:
                    yield _at(name.at, f"Job {job.name} depends on unknown job {name}.")
            yield from _job(job, service, agent)


def _job(job: model.Job, service: Service, agent: Agent) -> Iterator[str]:
    yield from _variables(job.variables, service)
    yield from _condition(job.condition, ("variables", "dependencies", "stageDependencies"))
    for name, found in (("container", job.container), ("services", job.services)):
        if found:
            yield _at(found.at, f"{name}: is not done by this runner")
    if job.strategy in ("rolling", "canary"):
        yield _at(job.at, f"strategy: {job.strategy} is not done by this runner")
    if job.kind == "deployment" and job.name.lower() == "deploy":
        yield _at(job.name.at, "The deployment is named deploy, which is a keyword of Azure Pipelines")
    if job.kind == "deployment" and job.environment.lower() not in {name.lower() for name in service.environments}:
        yield _at(
            job.environment.at, f"Environment {job.environment} could not be found. The environment does not exist or is not authorized."
        )
    yield from _minutes(job.timeout_in_minutes, job.cancel_timeout_in_minutes)
    pools = [(job.steps, job.pool)] if job.kind == "job" else [(hook.steps, hook.pool or job.pool) for hook in job.hooks.values()]
    for steps, pool in pools:
        for step in steps:
            yield from _step(step, service, agent, server=pool is not None and pool.name == "server")


def _step(step: model.Step, service: Service, agent: Agent, *, server: bool) -> Iterator[str]:
    yield from _condition(step.condition, ("variables",))
    yield from _minutes(step.timeout_in_minutes)
    if step.retry_count and not step.retry_count.isdigit():
        yield _at(step.retry_count.at, f"retryCountOnTaskFailure: {step.retry_count!r} is no number")
    if "target" in step.node:
        yield _at(step.at, "target: is not done by this runner")
    task = step.task.lower()
    if step.kind == "checkout":
        yield from _checkout(step, service)
    elif task not in TASKS:
        yield _at(step.at, f"{f'{step.kind}: ({step.task})' if step.kind != 'task' else step.task} is not done by this runner")
    elif server != (task in _SERVER):
        yield _at(step.at, f"{step.task} runs {'only' if task in _SERVER else 'never'} in a job with pool: server")
    elif task == "bash@3" and not agent.program("bash"):
        yield _at(step.at, "the agent has no bash")
    for key in _AZURE.get(task, ()):
        yield from _connection(step, key, service)
    if task in _AZURE:
        if not any(step.input(key) for key in _AZURE[task]):
            yield _at(step.at, f"{step.task} names no service connection in azureSubscription")
        if step.input("scriptType").lower() != "bash":
            yield _at(step.at, f"{step.task} with scriptType: {step.input('scriptType') or '(none)'} is not done by this runner, only bash")
        if step.input("keepAzSessionActive").lower() == "true":
            yield _at(step.at, f"{step.task} with keepAzSessionActive is not done by this runner")
    kind = step.input("testResultsFormat") or step.input("testRunner") or "JUnit"
    if task == "publishtestresults@2" and kind.lower() != "junit":
        yield _at(step.at, f"{step.task} with testResultsFormat: {kind} is not done by this runner, only JUnit")
    if task == "downloadpipelineartifact@2" and (step.input("source") or step.input("buildType") or "current") not in ("current", "none"):
        yield _at(step.at, f"{step.kind if step.kind != 'task' else step.task} of another run is not done by this runner, only current")


def _checkout(step: model.Step, service: Service) -> Iterator[str]:
    alias = step.input("checkout")
    if alias != "none" and alias not in service.repositories:
        yield _at(step.at, f"checkout: {alias}: the description of the service has no such repository")
    for key in _CHECKOUT:
        if step.input(key).lower() not in ("", "false"):
            yield _at(step.at, f"checkout with {key} is not done by this runner")


def _connection(step: model.Step, key: str, service: Service) -> Iterator[str]:
    name = step.input(key)
    if "$(" in name or "$[" in name:
        yield _at(step.at, f"{step.task} input {key}: a service connection can't be named by a variable: {name}")
    elif name and name not in service.service_connections:
        yield _at(
            step.at,
            f"{step.task} input {key} references service connection {name} which could not be found. "
            "The service connection does not exist, has been disabled or has not been authorized for use.",
        )


def _condition(written: Text | None, names: Collection[str]) -> Iterator[str]:
    if written is not None:
        yield from _expression(written, written.at, names, STATUS)


def _expression(written: str, at: Place, names: Collection[str], functions: Collection[str]) -> Iterator[str]:
    try:
        parse(written, at).check(names, functions)
    except Fault as fault:
        yield str(fault)


def _variables(variables: list[model.Variable], service: Service) -> Iterator[str]:
    for variable in variables:
        value = variable.value.strip()
        if variable.group and variable.name not in service.variable_groups:
            yield _at(variable.name.at, f"Variable group {variable.name} could not be found.")
        elif value.startswith("$[") and value.endswith("]"):
            yield from _expression(value[2:-1], variable.value.at, ("variables", "dependencies", "stageDependencies"), ("counter",))


def _minutes(*written: Text) -> Iterator[str]:
    for text in written:
        try:
            float(text or 0)
        except ValueError:
            yield _at(text.at, f"{text!r} is no number of minutes")


def _circle(kind: str, units: list[tuple[Text, list[Text]]]) -> Iterator[str]:
    waiting = {name.lower(): {other.lower() for other in others} for name, others in units}
    while ready := [name for name, others in waiting.items() if not others & waiting.keys()]:
        for name in ready:
            del waiting[name]
    for name, _ in units:
        if name.lower() in waiting:
            yield _at(name.at, f"The {kind} {name} waits for itself: {', '.join(sorted(waiting))}")
            return


def _at(place: Place, message: str) -> str:
    return f"{place}: {message}"
