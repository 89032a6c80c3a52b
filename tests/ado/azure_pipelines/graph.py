"""Whether the parts of an expanded pipeline fit together: names, dependencies, and what expressions of a run refer to.

Where an output is read decides how it is named (https://learn.microsoft.com/azure/devops/pipelines/process/deployment-jobs,
"Support for output variables"; .../process/expressions, "Dependencies"): `dependencies` holds what stands beside the reader, which is
jobs for a job and stages for the condition of a stage; jobs of other stages are in `stageDependencies`, for jobs and variables only.
Only direct dependencies are in either. A step's condition is evaluated by the agent, which knows variables and functions without
arguments (ExpressionManager.cs of https://github.com/microsoft/azure-pipelines-agent).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple, TypeVar

from .expressions import Expression, parse
from .findings import Finding
from .model import DEFAULT_STAGE, Job, Pipeline, Stage, Variable
from .nodes import Fault, Mapping, Node, Place, Sequence, Text

# "Valid names may only contain alphanumeric characters and '_' and may not start with a number."
_VALID = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
STATUS = ("always", "canceled", "failed", "succeeded", "succeededOrFailed")
_WHOLE = re.compile(r"\$\[(.*)\]", re.DOTALL)
# `$[` that is meant for the service. In a shell script it may be arithmetic, so a word of the language must follow.
_RUNTIME = re.compile(r"\$\[\s*(variables|dependencies|stageDependencies|pipeline|resources|counter|format|coalesce|and|or|eq|ne)\b")
_SETS_OUTPUT = re.compile(r"##vso\[task\.setvariable\s[^\]]*\bisoutput=true", re.IGNORECASE)


Unit = TypeVar("Unit", Stage, Job)


class Where(NamedTuple):
    """The place of an expression: what evaluates it, and for which stage and job."""

    kind: str  # "stage condition" | "job condition" | "step condition" | "variable"
    stage: Stage | None
    job: Job | None


def check(pipeline: Pipeline, *, whole: bool = True) -> Iterator[Finding]:
    """What does not fit together. `whole` is False for a template by itself: a stage that isn't there may be its caller's."""
    yield from _names(pipeline)
    yield from _dependencies(pipeline.stages, "stage", whole)
    for stage in pipeline.stages:
        yield from _dependencies(stage.jobs, "job", True)
    for where, text in _conditions(pipeline):
        yield from _condition(pipeline, where, text, whole)
    for where, text in _runtime(pipeline):
        yield from _variable(pipeline, where, text, whole)
    for stage in pipeline.stages:
        for job in stage.jobs:
            yield from _steps(pipeline, stage, job)
    yield from _checkouts(pipeline)
    yield from _macros(pipeline)


def _names(pipeline: Pipeline) -> Iterator[Finding]:
    for stage in pipeline.stages:
        if stage.name != DEFAULT_STAGE:
            yield from _name(stage.name, "stage")
        for job in stage.jobs:
            yield from _name(job.name, "job")
            if job.kind == "deployment" and job.name.lower() == "deploy":
                yield Finding(job.name.at, "reserved-name", "A deployment job can't be called 'deploy', which is the name of a hook")
            hooks = [hook.steps for hook in job.hooks.values()] or [job.steps]
            for steps in hooks:
                seen: set[str] = set()
                for name in (step.name for step in steps if step.name):
                    yield from _name(name, "step")
                    if name.lower() in seen:
                        yield Finding(name.at, "duplicate-name", f"Two steps of the job {job.name} are called '{name}'")
                    seen.add(name.lower())


def _name(name: Text, kind: str) -> Iterator[Finding]:
    if not _VALID.fullmatch(name):
        rule = "a letter or _ first, then letters, digits and _"
        yield Finding(name.at, "invalid-name", f"'{name}' is no name for a {kind}: {rule}")


def _dependencies(units: list[Stage] | list[Job], kind: str, whole: bool) -> Iterator[Finding]:
    edges = {unit.name.lower(): {name.lower(): name for name in unit.depends_on} for unit in units}
    for unit in units:
        for name in unit.depends_on:
            if name.lower() not in edges and whole:
                known = ", ".join(other.name for other in units if other is not unit) or "none"
                message = f"There is no {kind} '{name}' for '{unit.name}' to depend on (there are: {known})"
                yield Finding(name.at, "unknown-dependency", message)
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        yield from _cycle(start, edges, path, done, kind, {id(unit.name) for unit in units})


def _cycle(name: str, edges: dict[str, dict[str, Text]], path: list[str], done: set[str], kind: str, names: set[int]) -> Iterator[Finding]:
    if name in done or name not in edges:
        return
    path.append(name)
    for other, written in edges[name].items():
        if other in path:
            ring = [*path[path.index(other) :], other]
            waits = [edges[one][following] for one, following in pairwise(ring)]
            # A stage that says nothing waits for the one before it, by that one's own name.
            place = next((name.at for name in waits if id(name) not in names), written.at)
            yield Finding(place, "dependency-cycle", f"These {kind}s wait for each other: {' -> '.join(ring)}")
        else:
            yield from _cycle(other, edges, path, done, kind, names)
    path.pop()
    done.add(name)


def _conditions(pipeline: Pipeline) -> Iterator[tuple[Where, Text]]:
    for stage in pipeline.stages:
        if stage.condition is not None:
            yield Where("stage condition", stage, None), stage.condition
        for job in stage.jobs:
            if job.condition is not None:
                yield Where("job condition", stage, job), job.condition
            for step in job.all_steps():
                if step.condition is not None:
                    yield Where("step condition", stage, job), step.condition


def _condition(pipeline: Pipeline, where: Where, text: Text, whole: bool) -> Iterator[Finding]:
    if text.strip().startswith("$["):
        yield Finding(text.at, "runtime-syntax-in-condition", "A condition is an expression already: leave out $[ ]")
        return
    if "$(" in text:
        macro = text[text.index("$(") + 2 :].partition(")")[0]
        fix = f"write variables['{macro}']"
        yield Finding(text.at, "macro-not-expanded", f"$({macro}) is not filled in in a condition: {fix}")
        return
    names = {"step condition": ["variables"], "job condition": ["variables", "dependencies", "stageDependencies", "pipeline", "resources"]}
    try:
        expression = parse(text, text.at)
        # stageDependencies of a stage condition has a rule of its own.
        expression.check(names.get(where.kind, names["job condition"]), STATUS)
    except Fault as fault:
        yield Finding(fault.at, "invalid-condition", _level(fault.message, where))
        return
    yield from _status(pipeline, where, expression, whole)
    yield from _references(pipeline, where, expression, whole)


def _level(message: str, where: Where) -> str:
    """The service's words; for a step also why."""
    known = "; a step's condition knows only variables and status functions" if where.kind == "step condition" else ""
    return message.partition(" For more help")[0].rstrip(".") + (known if message.startswith("Unrecognized") else "")


def _status(pipeline: Pipeline, where: Where, expression: Expression, whole: bool) -> Iterator[Finding]:
    """Status functions: none takes an argument in a step; else the names of stages or jobs beside it, but for always and canceled."""
    status = {name.lower() for name in STATUS}
    for name, count in expression.calls():
        if name.lower() in status and count and (where.kind == "step condition" or name.lower() in ("always", "canceled")):
            yield Finding(expression.at, "invalid-condition", f"{name}() takes no argument in a {where.kind}")
    if where.kind == "step condition" or where.stage is None:
        return
    unit = where.stage if where.job is None else where.job
    known = {other.name.lower() for other in (pipeline.stages if where.job is None else where.stage.jobs)}
    direct = {name.lower() for name in unit.depends_on}
    pattern = re.compile(r"\b(?:succeeded|failed|succeededOrFailed)\s*\(\s*((?:'[^']*'\s*,?\s*)+)\)", re.IGNORECASE)
    for found in pattern.finditer(expression.text):
        for name in re.findall(r"'([^']*)'", found[1]):
            if name.lower() not in known:
                if whole or where.job is not None:
                    yield Finding(expression.at, "unknown-dependency", f"The condition asks about '{name}', which is not there")
            elif name.lower() not in direct:
                yield Finding(expression.at, "indirect-dependency", f"The condition asks about '{name}', which is not in dependsOn")


def _runtime(pipeline: Pipeline) -> Iterator[tuple[Where, Text]]:
    """Every value that may be a run-time expression."""
    for variable in pipeline.variables:
        yield Where("variable", None, None), variable.value
    for stage in pipeline.stages:
        for variable in stage.variables:
            yield Where("variable", stage, None), variable.value
        for job in stage.jobs:
            container = [job.container] if isinstance(job.container, Text) else []
            matrix = [job.matrix] if isinstance(job.matrix, Text) else [value for leg in job.matrix.values() for value in leg.values()]
            further = [job.timeout_in_minutes, job.cancel_timeout_in_minutes, job.max_parallel, *container, *matrix]
            for text in [*(variable.value for variable in job.variables), *further]:
                yield Where("variable", stage, job), text


def _variable(pipeline: Pipeline, where: Where, text: Text, whole: bool) -> Iterator[Finding]:
    found = _WHOLE.fullmatch(text.strip())
    if found is None:
        if _RUNTIME.search(text):
            message = "A run-time expression must be the whole value; put what is around it inside, with format()"
            yield Finding(text.at, "runtime-expression-not-evaluated", message)
        return
    try:
        expression = parse(found[1], text.at)
        expression.check(["variables", "dependencies", "stageDependencies", "pipeline", "resources"], ["counter"])
    except Fault as fault:
        yield Finding(fault.at, "invalid-expression", fault.message.partition(" For more help")[0])
        return
    yield from _references(pipeline, where, expression, whole)


def _references(pipeline: Pipeline, where: Where, expression: Expression, whole: bool) -> Iterator[Finding]:
    for chain in expression.references():
        head, at = chain[0].lower(), expression.at
        if head not in ("dependencies", "stagedependencies") or len(chain) < 2:
            continue
        if where.kind == "stage condition" and head == "stagedependencies":
            key = f"dependencies.{chain[1]}.outputs['{chain[2] if len(chain) > 2 else '<job>'}.<step>.<variable>']"
            yield Finding(at, "stage-condition-context", f"The condition of a stage can't read stageDependencies: write {key}")
        elif where.stage is None:
            message = f"A variable of the whole pipeline can't read {chain[0]}: set it in the stage or job that needs it"
            yield Finding(at, "wrong-output-context", message)
        elif where.kind == "stage condition":
            yield from _of_stage(pipeline, where.stage, chain, at, whole)
        elif head == "stagedependencies":
            yield from _of_other_stage(pipeline, where.stage, chain, at, whole)
        elif where.job is None:
            message = f"A variable of a stage can't read dependencies: write stageDependencies.{chain[1]}.<job>.outputs[...]"
            yield Finding(at, "wrong-output-context", message)
        else:
            yield from _of_job(pipeline, where.stage, where.job, chain, at)


def _read(pipeline: Pipeline, stage: Stage, name: str, at: Place, whole: bool) -> Stage | list[Finding]:
    """The stage of that name, if `stage` may read what it hands on; else what is wrong, as far as a part of a pipeline can tell."""
    other = _named(pipeline.stages, name)
    if other is None:
        return [Finding(at, "unknown-output", f"There is no stage '{name}'")] if whole else []
    return other if _direct(stage, other) else [_hidden(other, stage, at)]


def _of_stage(pipeline: Pipeline, stage: Stage, chain: tuple[str, ...], at: Place, whole: bool) -> Iterator[Finding]:
    """`dependencies.<stage>.outputs['<job>.<step>.<variable>']` in the condition of a stage."""
    other = _read(pipeline, stage, chain[1], at, whole)
    if not isinstance(other, Stage):
        yield from other
        return
    kind = chain[2].lower() if len(chain) > 2 else "result"
    if kind == "outputs" and len(chain) > 3:
        name, _, key = chain[3].partition(".")
        job = _named(other.jobs, name)
        if job is None:
            message = f"The stage '{other.name}' has no job '{name}'; in the condition of a stage the key is '<job>.<step>.<variable>'"
            yield Finding(at, "unknown-output", message)
        else:
            yield from _output(job, key, at, f"{job.name}.")
    elif kind not in ("result", "outputs"):
        message = f"A stage has result and outputs, not '{chain[2]}': write dependencies.{other.name}.outputs['<job>.<step>.<variable>']"
        yield Finding(at, "wrong-output-context", message)


def _of_other_stage(pipeline: Pipeline, stage: Stage, chain: tuple[str, ...], at: Place, whole: bool) -> Iterator[Finding]:
    """`stageDependencies.<stage>.<job>.outputs['<step>.<variable>']` in a job or a variable."""
    other = _read(pipeline, stage, chain[1], at, whole)
    if not isinstance(other, Stage):
        yield from other
        return
    if len(chain) < 3:
        return
    job = _named(other.jobs, chain[2])
    if job is None:
        form = "; write stageDependencies.<stage>.<job>.outputs[...]" if chain[2].lower() in ("outputs", "result") else ""
        yield Finding(at, "unknown-output", f"The stage '{other.name}' has no job '{chain[2]}'{form}")
    elif len(chain) > 4 and chain[3].lower() == "outputs":
        yield from _output(job, chain[4], at)


def _of_job(pipeline: Pipeline, stage: Stage, job: Job, chain: tuple[str, ...], at: Place) -> Iterator[Finding]:
    """`dependencies.<job>.outputs['<step>.<variable>']` in a job or its variables."""
    other = _named(stage.jobs, chain[1])
    if other is None:
        beside = _named(pipeline.stages, chain[1])
        if beside is not None:
            message = f"'{beside.name}' is a stage: a job reads it with stageDependencies.{beside.name}.<job>.outputs[...]"
            yield Finding(at, "wrong-output-context", message)
        else:
            yield Finding(at, "unknown-output", f"The stage has no job '{chain[1]}'")
    elif not _direct(job, other):
        yield _hidden(other, job, at)
    elif len(chain) > 3 and chain[2].lower() == "outputs":
        yield from _output(other, chain[3], at)


def _output(job: Job, key: str, at: Place, before: str = "") -> Iterator[Finding]:
    """The key of an output: which hook or leg it comes from, where there is one, then the step and the variable."""
    parts = key.split(".")
    steps = list(job.all_steps())
    prefixes = _prefixes(job)
    if prefixes is not None and prefixes:
        if not any(parts[0].lower() == prefix.lower() for prefix in prefixes):
            right = f"{before}{'|'.join(prefixes)}.<step>.<variable>"
            what = "leg of a matrix" if job.kind == "job" else "deployment job"
            yield Finding(at, "output-key-form", f"An output of a {what} is called '{right}', not '{before}{key}'")
            return
        hook = next((name for name in job.hooks if name.rpartition(".")[2].lower() == parts[0].partition("_")[0].lower()), "")
        steps = job.hooks[hook].steps if hook else steps
        parts = parts[1:]
    elif prefixes is None:  # legs that only a run knows
        parts = parts[1:]
    elif parts[0].lower() == job.name.lower() and len(parts) > 2 and not any(step.name.lower() == parts[0].lower() for step in steps):
        yield Finding(at, "output-key-form", f"An output of a plain job is called '{before}<step>.<variable>', not '{before}{key}'")
        return
    if len(parts) < 2:
        yield Finding(at, "output-key-form", f"An output is called '<step>.<variable>', not '{key}'")
    elif not any(step.name.lower() == parts[0].lower() for step in steps):
        named = ", ".join(step.name for step in steps if step.name) or "none has one"
        yield Finding(at, "unknown-output", f"The job '{job.name}' has no step with the name '{parts[0]}' (names: {named})")


def _prefixes(job: Job) -> list[str] | None:
    """What an output's key begins with: [] for nothing, None for what can't be known before the run."""
    if job.kind == "job":
        if job.strategy == "matrix" and isinstance(job.matrix, dict):
            return [str(leg) for leg in job.matrix]
        return None if job.strategy else []
    if job.strategy != "runOnce":
        return None
    several = len(job.hooks) > 1
    hooks = [name.rpartition(".")[2] for name in job.hooks] if several else [str(job.name)]
    if job.resource_name:
        return [f"{name}_{job.resource_name}" for name in [*hooks, *([] if several else ["Deploy"])]]
    return hooks


def _steps(pipeline: Pipeline, stage: Stage, job: Job) -> Iterator[Finding]:
    for step in job.all_steps():
        for text in [*step.inputs.values(), *step.env.values(), step.display_name]:
            if _RUNTIME.search(text):
                message = "$[ ] is not evaluated in a step: give the job a variable of that value and use $(name)"
                yield Finding(text.at, "runtime-expression-not-evaluated", message)
            yield from _foreign(pipeline, job, text)
        for text in step.inputs.values():
            if not step.name and _SETS_OUTPUT.search(text):
                message = "The step sets an output but has no name, so nothing can read it: give it a name"
                yield Finding(text.at, "output-without-name", message)


def _foreign(pipeline: Pipeline, job: Job, text: Text) -> Iterator[Finding]:
    """`$(step.variable)` of a step that is in another job."""
    own = {one.name.lower() for one in job.all_steps() if one.name}
    defined = {variable.name.lower() for variable in _variables(pipeline)}
    for name, variable in re.findall(r"\$\((\w+)\.([\w.\-]+)\)", text):
        if name.lower() in own or f"{name}.{variable}".lower() in defined:
            continue
        homes = [one for stage in pipeline.stages for one in stage.jobs if name.lower() in (step.name.lower() for step in one.all_steps())]
        if homes:
            message = f"$({name}.{variable}) is an output of the job '{homes[0].name}': read it with $[ ] in a variable of this job"
            yield Finding(text.at, "output-of-another-job", message)


def _variables(pipeline: Pipeline) -> Iterator[Variable]:
    yield from pipeline.variables
    for stage in pipeline.stages:
        yield from stage.variables
        for job in stage.jobs:
            yield from job.variables


def _checkouts(pipeline: Pipeline) -> Iterator[Finding]:
    known = {name.lower() for name in pipeline.repositories} | {"self", "none"}
    for stage in pipeline.stages:
        for job in stage.jobs:
            for step in job.all_steps():
                alias = Text(step.input("checkout"), step.at)
                if step.kind == "checkout" and alias.lower() not in known and not re.match(r"\w+://|\$\(", alias):
                    yield Finding(step.at, "unknown-repository", f"There is no repository '{alias}' under resources.repositories")


def _macros(pipeline: Pipeline) -> Iterator[Finding]:
    """`$( )` where nothing fills it in: before a step runs is too late for all of this."""
    texts: list[tuple[Text, str]] = []
    for stage in pipeline.stages:
        texts += [(stage.name, "the name of a stage"), *((name, "dependsOn") for name in stage.depends_on)]
        for job in stage.jobs:
            texts += [(job.name, "the name of a job"), *((name, "dependsOn") for name in job.depends_on)]
    for item in pipeline.repositories.values():
        texts += [(value, f"'{key}' of a repository resource") for key, value in item.items() if isinstance(value, Text)]
    for key in ("trigger", "pr", "schedules"):
        found = next((value for name, value in pipeline.document.items() if name == key), None)
        texts += [(text, f"'{key}'") for text in _leaves(found)] if found is not None else []
    for text, place in texts:
        if "$(" in text:
            yield Finding(text.at, "macro-not-expanded", f"'{text}': a macro is not filled in in {place}; use a parameter")


def _leaves(node: Node) -> Iterator[Text]:
    if isinstance(node, Text):
        yield node
    else:
        for item in node.values() if isinstance(node, Mapping) else node if isinstance(node, Sequence) else ():
            yield from _leaves(item)


def _named(units: Iterable[Unit], name: str) -> Unit | None:
    return next((unit for unit in units if unit.name.lower() == name.lower()), None)


def _direct(unit: Stage | Job, other: Stage | Job) -> bool:
    return other.name.lower() in (name.lower() for name in unit.depends_on)


def _hidden(other: Stage | Job, reader: Stage | Job, at: Place) -> Finding:
    message = f"'{other.name}' is not in dependsOn of '{reader.name}', so nothing of it is visible there"
    return Finding(at, "indirect-dependency", message)
