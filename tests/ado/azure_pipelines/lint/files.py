"""Which files of a folder are pipelines, which are templates, and how a template is expanded that no pipeline includes.

A closed parameter is tried with each of its values, an optional text also with one: what stands in a branch that the defaults do not
take is looked at as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure_pipelines.nodes import Fault, Mapping, Node, Place, Sequence, Text, load, typed
from azure_pipelines.repositories import Repository
from azure_pipelines.templates import Expanded, expand

from .subject import Source, walk

CALLER = "/ado-lint.yml"  # the pipeline that is made up around a template
_PIPELINE = {"trigger", "pr", "schedules", "resources", "name", "pool", "lockBehavior", "appendCommitMessageToRunName"}
_ELSEWHERE = {".git", ".github", ".venv", "node_modules", ".tox", ".mypy_cache", "__pycache__"}
_STEP = {"script": "exit 0"}
_JOB = {"job": "example", "timeoutInMinutes": 5, "pool": {"vmImage": "ubuntu-24.04"}, "steps": [_STEP]}
_DEPLOYMENT = {
    "deployment": "example", "environment": "example", "timeoutInMinutes": 5, "pool": _JOB["pool"],
    "strategy": {"runOnce": {"deploy": {"steps": [_STEP]}}},
}  # fmt: skip
_STAGE = {"stage": "example", "dependsOn": [], "jobs": [_JOB]}
_DUMMIES: dict[str, Any] = {
    "number": 1, "boolean": False, "object": {}, "legacyObject": {}, "stringList": [], "container": {}, "containerList": [],
    "step": _STEP, "stepList": [_STEP], "job": _JOB, "jobList": [_JOB], "deployment": _DEPLOYMENT, "deploymentList": [_DEPLOYMENT],
    "stage": _STAGE, "stageList": [_STAGE],
}  # fmt: skip
_PLAIN = re.compile(r"^\s*- (task|template|stage|job|deployment|checkout|bash|pwsh|powershell|publish|download)\s*:", re.M)
_MOST = 24  # expansions of one file


@dataclass
class Trial:
    """One expansion of a file: as a pipeline, or as a template of a made-up one."""

    source: Source
    parameters: dict[str, Any]
    text: str | None  # of the made-up pipeline
    whole: bool
    sure: bool  # False where a made-up text stands for an empty one: what can't be expanded then may not be meant to be

    @property
    def said(self) -> str:
        """The values that were tried, for a message."""
        return ", ".join(f"{name}={value}" for name, value in self.parameters.items())


def found(root: Path, paths: Iterable[Path]) -> Iterator[Source | Fault]:
    """The files of Azure Pipelines among `paths` and below them; for one that can't be read, what is wrong with it."""
    for path in paths:
        below = [path] if path.is_file() else sorted([*path.rglob("*.yml"), *path.rglob("*.yaml")])
        for file in below:
            if not _ELSEWHERE & set(file.relative_to(path).parts[:-1]):
                try:
                    source = read(root, file, asked=path.is_file())
                except Fault as fault:
                    yield fault
                    continue
                if source is not None:
                    yield source


def read(root: Path, path: Path, *, asked: bool) -> Source | None:
    """A file as a Source, or None for one that is no part of a pipeline. With `asked` it is taken for one, whatever is in it."""
    name = "/" + path.resolve().relative_to(root.resolve()).as_posix()
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        if asked or _PLAIN.search(path.read_text(encoding="latin-1")):
            raise Fault(f"The file is not UTF-8: {error.reason} at byte {error.start}", Place(name, 1, 1)) from error
        return None
    if not asked and not re.search(r"^(stages|jobs|steps|extends|variables)\s*:", text, re.M):
        return None
    try:
        node = load(text, name)
    except Fault:
        # Several documents, tags, anchors: other programs' YAML, unless it is plainly meant.
        if asked or "azure-pipelines" in path.name or _PLAIN.search(text):
            raise
        return None
    return Source(name, path, text, node, own=True) if asked or _azure(node) else None


def _azure(node: Node) -> bool:
    if not isinstance(node, Mapping):
        return False
    for key in ("stages", "jobs", "steps"):
        value = node.under(key)
        if isinstance(value, Sequence):
            return not value or any(isinstance(item, Mapping) or "${{" in str(item) for item in value)
    extends, variables = node.under("extends"), node.under("variables")
    if isinstance(extends, Mapping):
        return "template" in extends
    if isinstance(variables, Sequence):
        return any(isinstance(item, Mapping) and {"name", "group", "template"} & set(item) for item in variables)
    return isinstance(variables, Mapping) and set(node) <= {"variables", "parameters"}


def trials(source: Source, included: set[str], aliases: Iterable[str], given: dict[str, Any]) -> Iterator[Trial]:
    """Every expansion of a file that is worth a look. `included`: files that some other file includes."""
    root = source.node
    assert isinstance(root, Mapping)
    pipeline = source.file not in included and (bool(_PIPELINE & set(root)) or "azure-pipelines" in source.path.name)
    needed = {name: dummy(of) for name, of in source.parameters.items() if of.under("default") is None}
    needed = {**needed, **{name: value for name, value in given.items() if name in source.parameters}}
    for number, (chosen, sure) in enumerate(_choices(source, needed)):
        if number < _MOST:
            text = None if pipeline else _caller(source, chosen, aliases)
            yield Trial(source, chosen, text, sure and pipeline, sure)


def _choices(source: Source, needed: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    yield needed, True
    for name, declared in source.parameters.items():
        written = declared.under("default")
        default = needed.get(name, "" if written is None or written == "" else typed(written))
        for value in _others(declared, default):
            yield {**needed, name: value}, default != ""


def _others(declared: Mapping, default: object) -> list[Any]:
    values, kind = declared.under("values"), declared.under("type")
    if isinstance(values, Sequence):
        return [value for value in typed(values) if value != default]
    if kind == "boolean":
        return [not default]
    return [dummy(declared)] if default == "" and kind in (None, "string") else []


def dummy(declared: Mapping) -> Any:
    """A value for a parameter that has no default: the first that is allowed, or one of its type."""
    values = declared.under("values")
    if isinstance(values, Sequence) and values:
        return typed(values)[0]
    kind = str(declared.under("type") or "string")
    return _DUMMIES.get(kind, "succeeded()" if "condition" in str(declared.under("name")).lower() else "example")


def _caller(source: Source, parameters: dict[str, Any], aliases: Iterable[str]) -> str:
    """A pipeline that includes the template. JSON is YAML, and needs no thought about quotes."""
    root = source.node
    assert isinstance(root, Mapping)
    keys = {str(key) for key in root}
    include = {"template": source.file, "parameters": parameters}
    made: dict[str, Any] = {
        "trigger": "none",
        "resources": {
            "repositories": [{"repository": alias, "type": "git", "name": f"example/{alias}", "ref": "refs/tags/v1"} for alias in aliases]
        },
    }
    kind = next((kind for kind in ("stages", "jobs", "steps", "variables") if kind in keys), "extends")
    if kind == "extends" or keys - {"parameters", kind}:
        made["extends"] = include
    elif kind == "steps":
        made["jobs"] = [{**_JOB, "steps": [include]}]
    elif kind == "variables":
        made |= {"variables": [include], "jobs": [_JOB]}
    else:
        made[kind] = [include]
    return json.dumps(made)


def run(trial: Trial, repositories: dict[str, Repository]) -> Expanded:
    """Expand. Raises Fault."""
    if trial.text is None:
        return expand(repositories, trial.source.file, parameters={k: _queued(v) for k, v in trial.parameters.items()})
    return expand(repositories, CALLER, text=trial.text)


def _queued(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value


def includes(source: Source, root: Path) -> Iterator[str]:
    """The files of the same repository that a file includes by a fixed path."""
    for node in walk(source.node):
        template = node.under("template") if isinstance(node, Mapping) else None
        if isinstance(template, Text) and "${{" not in template and template.partition("@")[2].lower() in ("", "self"):
            path = template.partition("@")[0]
            start = root if path.startswith("/") else source.path.resolve().parent
            target = Path(start, path.lstrip("/")).resolve()
            if target.is_relative_to(root.resolve()):
                yield "/" + target.relative_to(root.resolve()).as_posix()
