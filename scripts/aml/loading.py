"""Load Azure ML YAML with Azure ML's SDK, and say what it finds wrong at the place where it is.

Importing the SDK takes seconds, so `check` remembers what it loaded without a problem: by the content of the file and of everything
local that it names, the kind, and the SDK's version, in $XDG_CACHE_HOME/azureml-catalog/loaded.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aml import ci, digest
from aml.project import Use, family, uses
from aml.spec import described, meant, quoted
from aml.yaml import Document, Problem

LOADERS = {
    "job": "load_job",
    "component": "load_component",
    "data": "load_data",
    "environment": "load_environment",
    "compute": "load_compute",
    "endpoint": "load_online_endpoint",
    "deployment": "load_online_deployment",
}
# What the SDK says of a step that it cannot read is that its component is missing; the likely cause is a key that no step has.
# Source: "CLI (v2) pipeline job YAML schema" and "CLI (v2) command component YAML schema"
# fmt: off
_STEP_KEYS = [
    "$schema", "type", "component", "command", "code", "environment", "environment_variables", "compute", "inputs", "outputs", "resources",
    "limits", "distribution", "identity", "services", "display_name", "description", "name", "version", "tags", "properties",
    "queue_settings", "comment", "is_deterministic", "task", "trial", "algorithm", "objective", "search_space", "sampling_algorithm",
    "early_termination", "input_data", "mini_batch_size", "mini_batch_error_threshold", "logging_level", "retry_settings",
    "max_concurrency_per_instance", "error_threshold", "partition_keys", "jobs", "settings",
]
# fmt: on


def sdk() -> Any:
    """The module azure.ai.ml, without its warnings about experimental classes.

    A third of the time that importing it takes is a search for garbage among what it makes, and there is none: so that waits.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        import azure.ai.ml
    finally:
        if collects:
            gc.enable()
    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)  # importing it sets another level
    return azure.ai.ml


@contextlib.contextmanager
def uploading() -> Iterator[None]:
    """Around what uploads: the SDK ends each upload by resetting a colour that it never set, on standard error."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    finally:
        if text := said.getvalue().replace("\x1b[39m", "").strip():
            ci.say(text)


def check(files: Iterable[tuple[str, Document]]) -> list[Problem]:
    """What the SDK finds wrong with (kind, file) pairs. A file without a problem is not loaded again until something changes."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "azureml-catalog" / "loaded"
    problems: list[Problem] = []
    for kind, document in files:
        if kind == "job" and {problem.file for problem in problems} & {member.file for member in family(document)}:
            continue  # it would only say again, and less clearly, what is wrong with its component
        mark = folder / _key(kind, document)
        if mark.exists():
            continue
        found = problems_of(kind, document)
        problems += found
        if not found:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                mark.touch()
            except OSError:
                pass  # a cache that cannot be written costs seconds, nothing else
    return problems


def problems_of(kind: str, document: Document) -> list[Problem]:
    """Load one file and translate what the SDK says."""
    azureml = sdk()
    from azure.ai.ml.exceptions import MlException
    from marshmallow import ValidationError

    try:
        entity = getattr(azureml, LOADERS[kind])(str(document.file))
        result = entity._validate() if kind in ("job", "component") else None
    except ValidationError as error:
        return [_translated(document, steps, message) for steps, message in _messages(document, error)]
    except (MlException, ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        # the SDK raises whatever a half-understood file leads it to; here the file is what is being judged
        said = str(getattr(error, "message", error))
        return [_translated(document, ["type"] if str(document.value.get("type")) in said else [], said)]
    if result is None or result.passed:
        return []
    return [_translated(document, _steps(document, path), message) for path, message in result.error_messages.items()]


def _key(kind: str, document: Document) -> str:
    installed = [path.name for entry in sys.path for path in Path(entry or ".").glob("azure_ai_ml-*.dist-info")]
    members = family(document)
    used = [[use.value, _state(use)] for member in members for use in uses(member) if use.file]
    parts = [installed, kind, [member.text for member in members], used]
    return digest.of_bytes(json.dumps(parts).encode()).removeprefix("sha256:")


def _state(use: Use) -> str:
    assert use.file
    if use.file.is_file():
        return digest.of_file(use.file) if use.what in ("file", "environment") else "file"
    return "folder" if use.file.is_dir() else "missing"


def _messages(document: Document, error: Any) -> list[tuple[list[str | int], str]]:
    tree: Any = getattr(error.__cause__, "messages", None) or error.messages
    text = "\n".join(tree) if isinstance(tree, list) else ""
    if '"result": "Failed"' in text:  # a job's report
        report, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
        return [(_steps(document, entry["path"]), str(entry["message"])) for entry in report.get("errors", [])]
    return [(_steps(document, path), message) for path, message in _leaves(tree, "")]


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(tree, dict):
        for key, item in tree.items():
            yield from _leaves(item, f"{path}.{key}".strip("."))
    elif isinstance(tree, list):
        yield path, "; ".join(map(str, tree))
    else:
        yield path, str(tree)


def _steps(document: Document, path: str) -> list[str | int]:
    steps: list[str | int] = []
    value = document.value
    for part in path.split(".") if path not in ("", "*", "_schema") else ():
        step: str | int = int(part) if isinstance(value, list) and part.isdigit() else part
        steps.append(step)
        value = _at(value, [step])
    return steps


def _at(value: Any, steps: list[str | int]) -> Any:
    for step in steps:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _translated(document: Document, steps: list[str | int], message: str) -> Problem:
    value, last = _at(document.value, steps), str(steps[-1]) if steps else ""
    if "Missing data for required field" in message:
        step = _at(document.value, steps[:-1])
        strange = sorted(set(step) - set(_STEP_KEYS)) if last in ("component", "command") and isinstance(step, dict) else []
        if strange:
            found = quoted(strange[0]) + meant(strange[0], _STEP_KEYS)
            return document.problem([*steps[:-1], strange[0]], f"expected a key that a step has, found {found}", key=True)
        return document.problem(steps[:-1], f"expected the key {last}, found none")
    if message.startswith("Unknown field"):
        return document.problem(steps, f"expected a key that Azure ML knows, found {quoted(last)}", key=True)
    if options := re.findall(r"Must be one of: (.*?)\.(?:$|;)|passed is not in set \['(.*?)'\]", message):
        known = sorted({option.strip(" '") for pair in options for option in "".join(pair).split(",")})
        written = re.search(r"Value '([^']*)' passed", message)
        inner = next((key for key, item in value.items() if written and item == written[1]), None) if isinstance(value, dict) else None
        steps, value = ([*steps, inner], value[inner]) if inner else (steps, value)
        return document.problem(steps, f"expected one of {', '.join(known)}, found {described(value)}{meant(str(value), known)}")
    if kind := re.match(r"Not a valid (\w+)\.", message):
        return document.problem(steps, f"expected a valid {kind[1]}, found {described(value)}")
    said = " ".join(re.split(r"If you are trying to configure|Visit this link|The easiest way to author", message)[0].split())
    said = said if len(said) <= 400 else said[:397] + "..."
    return document.problem(steps, f"expected what Azure ML's SDK accepts, found that it says: {said}")
