"""The Azure ML YAML of a project: what each file uses, without Azure and without its SDK.

The files stay Azure ML's ("CLI (v2) YAML schemas", learn.microsoft.com/azure/machine-learning); only what refers to something else is
understood here: files, code, environments, data, computes and components.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from aml import digest
from aml.command import Refusal
from aml.spec import count, described, report
from aml.yaml import Document, Problem, read

_REFERENCE = re.compile(r"azureml:(?!/)([^:@/\s]+)(?::([^:@/\s]+)|@([^:@/\s]+))?")


@dataclass(frozen=True)
class Use:
    """One thing that a file uses: `what` is compute, environment, data, code, component, file or build; `value` as it is written."""

    document: Document
    steps: tuple[str | int, ...]
    what: str
    value: str

    @property
    def file(self) -> Path | None:
        """The file or folder that is meant; None if the value is no path (azureml:..., https://..., git+https://...)."""
        if self.what == "compute" or self.value.startswith("azureml:") or "://" in self.value:
            return None
        return Path(os.path.normpath(self.document.file.parent / self.value.removeprefix("file:")))

    def problem(self, message: str) -> Problem:
        """A problem at this place."""
        return self.document.problem(self.steps, message)


@dataclass(frozen=True)
class Asset:
    """A data asset or an environment that the project describes and registers."""

    kind: str
    file: Path
    name: str
    version: str
    digest: str

    @property
    def reference(self) -> str:
        """`name:version`."""
        return f"{self.name}:{self.version}"


def open_azure(file: Path) -> Document:
    """One of the project's Azure ML files. What is wrong with it as YAML is in `problems`."""
    document = read(Path(os.path.normpath(file)), merge=True)
    if not document.problems and not isinstance(document.value, dict):
        document.problems.append(document.problem([], f"expected an Azure ML file (a mapping), found {described(document.value)}"))
    return document


def sound(file: Path) -> Document:
    """One of the project's Azure ML files, readable. Raises Refusal after printing what is wrong with it."""
    document = open_azure(file)
    if document.problems:
        refuse(document.problems)
    return document


def refuse(problems: list[Problem]) -> NoReturn:
    """Print problems and raise Refusal."""
    report(problems)
    raise Refusal(f"{problems[0].file} cannot be used", count(problems), "correct what is listed above; validate_project finds it earlier")


def reference(text: str) -> tuple[str, str, str] | None:
    """(name, version, label) of azureml:name:version, azureml:name@label or azureml:name; None for every other form.

    Resource ids, registries and datastores (azureml:/subscriptions/..., azureml://...) name things that are not the project's.
    """
    found = _REFERENCE.fullmatch(text)
    return (found[1], found[2] or "", found[3] or "") if found else None


def family(document: Document) -> list[Document]:
    """A job and the component files that it is made of, each once."""
    found = {document.file: document}
    for member in (waiting := [document]):
        for use in uses(member):
            if use.what == "component" and use.file and use.file not in found and use.file.is_file():
                found[use.file] = open_azure(use.file)
                waiting.append(found[use.file])
    return waiting


def uses(document: Document) -> Iterator[Use]:
    """Everything that a job, component, environment, data or deployment file uses; not what its component files use."""
    if isinstance(document.value, dict):
        yield from _uses(document, document.value, ())


def _uses(document: Document, value: dict[str, Any], at: tuple[str | int, ...]) -> Iterator[Use]:
    for what, *keys in (
        ("compute", "compute"),
        ("compute", "settings", "default_compute"),
        ("environment", "environment"),
        ("file", "environment", "conda_file"),
        ("build", "environment", "build", "path"),
        ("file", "conda_file"),
        ("build", "build", "path"),
        ("code", "code"),
        ("code", "code_configuration", "code"),
        ("code", "task", "code"),
        ("environment", "task", "environment"),
        ("component", "component"),
        ("component", "trial"),
    ):
        found: Any = value
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, str):
            yield Use(document, (*at, *keys), what, found)
    if not at and value.get("type", "uri_folder") in ("uri_file", "uri_folder", "mltable") and isinstance(value.get("path"), str):
        yield Use(document, ("path",), "data", value["path"])
    for name, item in _pairs(value.get("inputs")):
        if isinstance(item, dict) and isinstance(item.get("path"), str):
            yield Use(document, (*at, "inputs", name, "path"), "data", item["path"])
    for key in ("component", "trial"):
        if isinstance(value.get(key), dict):
            yield from _uses(document, value[key], (*at, key))
    for name, job in _pairs(value.get("jobs")):
        if isinstance(job, dict):
            yield from _uses(document, job, (*at, "jobs", name))


def _pairs(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def asset(file: Path, kind: str) -> Asset:
    """The data asset or environment of a file, with the version that it has or gets: the file's own, or 12 digits of its digest.

    The digest covers everything local that the file names and the file itself, but for what Azure lets people change later.
    Raises Refusal after printing what is wrong if something is missing or cannot be read.
    """
    document = sound(file)
    content = resolved(document, content_of)
    given = content.get("version")
    if not content.get("name"):
        refuse([document.problem([], f"expected the name of the {kind}, found none")])
    found = digest.of_document({key: value for key, value in content.items() if key not in ("version", "description", "tags")})
    return Asset(kind, document.file, str(content["name"]), str(given or found.removeprefix("sha256:")[:12]), found)


def content_of(use: Use) -> str:
    """What is used, by its content: the digest of a file or folder, or the value as it is written if it names nothing local."""
    if use.file is None:
        return use.value
    if not use.file.exists():
        refuse([use.problem(f"expected a file or folder, found no {use.file}")])
    return asset(use.file, "environment").digest if use.what == "environment" else digest.of_tree(use.file)


def resolved(document: Document, value: Callable[[Use], str]) -> dict[str, Any]:
    """The document's content with `value(use)` for each thing it uses, and its component files' content in place of their names."""
    members = {member.file: member for member in family(document)}

    def fill(member: Document, above: tuple[Path, ...]) -> dict[str, Any]:
        made: dict[str, Any] = copy.deepcopy(member.value)
        made.pop("$schema", None)
        for use in uses(member):
            holder: Any = made
            for step in use.steps[:-1]:
                holder = holder[step]
            inner = members.get(use.file) if use.what == "component" and use.file and use.file not in above else None
            holder[use.steps[-1]] = fill(inner, (*above, inner.file)) if inner else value(use)
        return made

    return fill(document, (document.file,))
