"""Whether the steps of a pipeline fit together: its bindings, its commands' placeholders, and the scripts that they start.

The SDK finds these only when the job is submitted, if at all. Source of the expressions: "How to create component pipelines using the
CLI" and "Core syntax" (learn.microsoft.com/azure/machine-learning/reference-yaml-core-syntax).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from aml.project import family, uses
from aml.spec import meant, quoted
from aml.yaml import Document, Problem

_EXPRESSION = re.compile(r"\$\{\{\s*([^{}]*?)\s*\}\}")
_SCRIPT = re.compile(r"(?:^|[\s;&|(])python3?\s+(?:-[uBO]\s+)*([\w./-]+\.py)\b")

Steps = tuple["str | int", ...]


@dataclass(frozen=True)
class _Step:
    """What a step takes and gives; None where that is not known here, as for a registered component."""

    inputs: set[str] | None
    outputs: set[str] | None
    required: set[str]


def check(job: Document) -> list[Problem]:
    """Everything that does not fit in a job and its component files."""
    members = {member.file: member for member in family(job)}
    problems: list[Problem] = []
    for member in members.values():
        if isinstance(member.value, dict):
            problems += _job(member, member.value, (), members)
    return problems


def _job(document: Document, job: dict[str, Any], at: Steps, members: dict[Path, Document]) -> Iterator[Problem]:
    if isinstance(job.get("jobs"), dict):
        yield from _pipeline(document, job, at, members)
        return
    trial = job.get("trial")
    if isinstance(trial, dict):
        yield from _command(document, {**job, **trial}, (*at, "trial"))
    else:
        yield from _command(document, job, at)


def _pipeline(document: Document, pipeline: dict[str, Any], at: Steps, members: dict[Path, Document]) -> Iterator[Problem]:
    jobs = {name: step for name, step in pipeline["jobs"].items() if isinstance(step, dict)}
    steps = {name: _interface(document, step, (*at, "jobs", name), members) for name, step in jobs.items()}
    inputs, outputs = set(_mapping(pipeline.get("inputs"))), set(_mapping(pipeline.get("outputs")))
    needs: dict[str, set[str]] = {name: set() for name in jobs}
    written: set[str] = set()
    for name, step in jobs.items():
        here = (*at, "jobs", name)
        inner = step.get("component")
        if isinstance(inner, dict):
            yield from _job(document, inner, (*here, "component"), members)
        elif inner is None:
            yield from _job(document, step, here, members)
        known = steps[name]
        given = set(_mapping(step.get("inputs")))
        for key in sorted((given - known.inputs) if known.inputs is not None and inner is not None else ()):
            yield document.problem((*here, "inputs", key), _expected("an input of the component", key, known.inputs or ()), key=True)
        for key in sorted(known.required - given):
            yield document.problem(here, f"expected the input {key} that the component needs, found none")
        for place, text in _texts(step, here):
            for expression in _EXPRESSION.findall(text):
                kind, _, rest = expression.removeprefix("parent.").partition(".")
                first = rest.partition(".")[0]
                if not expression.startswith("parent.") or kind not in ("inputs", "outputs", "jobs"):
                    message = f"expected parent.inputs., parent.outputs. or parent.jobs., found {quoted(expression)}"
                    yield document.problem(place, message)
                elif kind == "inputs" and first not in inputs:
                    yield document.problem(place, _expected("an input of the pipeline", first, inputs))
                elif kind == "outputs":
                    written.add(first)
                    if first not in outputs:
                        yield document.problem(place, _expected("an output of the pipeline", first, outputs))
                elif kind == "jobs":
                    yield from (document.problem(place, message) for message in _from_step(rest, steps))
                    needs[name].add(first)
    for key in sorted(outputs - written):
        yield document.problem((*at, "outputs", key), f"expected a step that writes ${{{{parent.outputs.{key}}}}}, found none", key=True)
    if cycle := _cycle(needs):
        message = f"expected steps in an order, found that they wait for each other: {' -> '.join(cycle)}"
        yield document.problem((*at, "jobs", cycle[0]), message, key=True)


def _interface(document: Document, step: dict[str, Any], at: Steps, members: dict[Path, Document]) -> _Step:
    component = step.get("component")
    if component is None:
        return _Step(set(_mapping(step.get("inputs"))), set(_mapping(step.get("outputs"))), set())
    if isinstance(component, str):
        file = next((use.file for use in uses(document) if use.steps == (*at, "component")), None)
        component = members[file].value if file in members else None
    if not isinstance(component, dict):
        return _Step(None, None, set())
    inputs = _mapping(component.get("inputs"))
    needed = {key for key, item in inputs.items() if isinstance(item, dict) and not item.get("optional") and "default" not in item}
    return _Step(set(inputs), set(_mapping(component.get("outputs"))), needed)


def _from_step(rest: str, steps: dict[str, _Step]) -> Iterator[str]:
    name, _, after = rest.partition(".")
    way, _, key = after.partition(".")
    if name not in steps:
        yield _expected("a step of the pipeline", name, steps)
    elif way not in ("inputs", "outputs"):
        yield f"expected parent.jobs.{name}.outputs., found {quoted('parent.jobs.' + rest)}"
    else:
        known = steps[name].outputs if way == "outputs" else steps[name].inputs
        if known is not None and key.partition(".")[0] not in known:
            yield _expected(f"an {way[:-1]} of the step {name}", key, known)


def _command(document: Document, job: dict[str, Any], at: Steps) -> Iterator[Problem]:
    command = job.get("command")
    if not isinstance(command, str):
        return
    known = {way: set(_mapping(job.get(way))) for way in ("inputs", "outputs", "search_space")}
    for expression in _EXPRESSION.findall(command):
        way, _, rest = expression.partition(".")
        key = rest.partition(".")[0]
        if way not in known:
            yield document.problem((*at, "command"), f"expected inputs., outputs. or search_space., found {quoted(expression)}")
        elif key not in known[way]:
            noun = {"inputs": "an input of the step", "outputs": "an output of the step"}.get(way, "a parameter of the search space")
            yield document.problem((*at, "command"), _expected(noun, key, known[way]))
    code = next((use.file for use in uses(document) if use.steps == (*at, "code")), None)
    for script in _SCRIPT.findall(command):
        if code and code.is_dir() and not (code / script).is_file():
            scripts = [path.relative_to(code).as_posix() for path in code.rglob("*.py")]
            yield document.problem((*at, "command"), _expected(f"a script in {code}", script, scripts))


def _texts(step: dict[str, Any], at: Steps) -> Iterator[tuple[Steps, str]]:
    for way in ("inputs", "outputs"):
        for key, item in _mapping(step.get(way)).items():
            if isinstance(item, str):
                yield (*at, way, key), item
            elif isinstance(item, dict) and isinstance(item.get("path"), str):
                yield (*at, way, key, "path"), item["path"]


def _cycle(needs: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def _expected(what: str, found: str, known: Iterable[str]) -> str:
    listed = sorted(known)
    return f"expected {what} ({', '.join(listed) or 'it has none'}), found {quoted(found)}{meant(found, listed)}"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
