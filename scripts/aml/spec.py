"""The project's own specs: read, checked against their schemas, every problem with its place."""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aml import calendar, ci
from aml.command import Refusal
from aml.yaml import Document, Problem, read

SCHEMAS = Path(__file__).resolve().parent.parent.parent / "schemas"
RELEASE = ".cloud/release.yml"
PRICES = ".cloud/prices.yml"


def release(project: Path) -> dict[str, Any]:
    """`.cloud/release.yml`, checked, with defaults filled in. Raises Refusal after printing everything that is wrong."""
    return trusted(project, RELEASE, "release")


def smoke(project: Path, path: str) -> list[dict[str, Any]]:
    """The cases of a smoke file, checked; `request_file` is read into `request`. Raises Refusal after printing what is wrong."""
    cases: list[dict[str, Any]] = trusted(project, path, "smoke")["cases"]
    return [{**case, "request": _json(project / case["request_file"])} if "request_file" in case else case for case in cases]


def trusted(project: Path, path: str, kind: str) -> dict[str, Any]:
    """A spec with defaults filled in. Raises Refusal after printing everything that is wrong with it."""
    document, problems = checked(project, path, kind)
    if problems:
        report(problems)
        raise Refusal(f"{document.file} is not {schema(kind)['title']}", f"It has {count(problems)}", "correct what is listed above")
    return with_defaults(document.value, schema(kind))  # type: ignore[no-any-return]


def checked(project: Path, path: str, kind: str) -> tuple[Document, list[Problem]]:
    """A spec as it is written, and everything that is wrong with it."""
    document = read(project / path, name=shown(project, path))
    if document.problems:
        return document, sorted(document.problems)
    problems = against_schema(document, kind)
    if not problems:
        senses = {"release": _release_sense, "smoke": _smoke_sense, "workspace": _workspace_sense, "gates": _gates_sense}
        problems = senses.get(kind, lambda *_: [])(document, project)
    return document, sorted(problems)


def shown(project: Path, path: str | Path) -> Path:
    """How messages call a file of the project: as seen from the working folder."""
    return Path(os.path.normpath(project / path))


def report(problems: Iterable[Problem]) -> None:
    """Print problems, in the log and as annotations at their places."""
    for problem in problems:
        ci.error(problem.message, problem.file, problem.line, problem.column)


@functools.cache
def schema(kind: str) -> dict[str, Any]:
    """One of schemas/<kind>.schema.json."""
    return json.loads((SCHEMAS / f"{kind}.schema.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@functools.cache
def _validator(kind: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(schema(kind), validate_formats=True)


def against_schema(document: Document, kind: str) -> list[Problem]:
    """What a schema says about a document, in the form `expected ..., found ...`."""
    return [problem for error in _validator(kind).iter_errors(document.value) for problem in _translated(document, kind, error)]


def invalid(document: Any, kind: str) -> list[str]:
    """What keeps a JSON document that no person wrote from fitting a schema, one line each; [] when it does."""
    errors = _validator(kind).iter_errors(document)
    return sorted(f"{'/'.join(map(str, error.instance_path)) or schema(kind)['title']}: {error.message}" for error in errors)


def with_defaults(value: Any, part: dict[str, Any]) -> Any:
    """The value with the defaults of its schema where it says nothing."""
    if isinstance(value, dict):
        properties = part.get("properties", {})
        defaults = {key: property["default"] for key, property in properties.items() if "default" in property}
        return {key: with_defaults(item, properties.get(key, {})) for key, item in {**defaults, **value}.items()}
    if isinstance(value, list):
        return [with_defaults(item, part.get("items", {})) for item in value]
    return value


def described(value: Any) -> str:
    """A value as a message says what was found."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value) if value else "empty text"
    return f"the number {value}"


def quoted(text: str) -> str:
    """Text in single quotes on one line, cut to a readable length."""
    visible = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[:81])
    return f"'{visible if len(visible) <= 80 else visible[:77] + '...'}'"


def meant(word: str, known: Iterable[str]) -> str:
    """'; did you mean x?' if a known word is close to what was written, else ''."""
    close = difflib.get_close_matches(word.lower(), [each.lower() for each in known], n=1, cutoff=0.6)
    found = next((each for each in known if close and each.lower() == close[0]), "")
    return f"; did you mean {found}?" if found else ""


def _translated(document: Document, kind: str, error: Any) -> list[Problem]:
    path: list[str | int] = list(error.instance_path)
    part = _part(schema(kind), error.schema_path)
    expected, found, name = part.get("title", ""), described(error.instance), error.kind.name
    if name == "additionalProperties":
        known = sorted(part["properties"])
        return [document.problem([*path, key], _unknown(key, known), key=True) for key in error.kind.unexpected]
    if name == "required":
        key = error.kind.property
        strangers = set(error.instance) - set(part["properties"])
        if any(meant(stranger, part["properties"]) == f"; did you mean {key}?" for stranger in strangers):
            return []  # told at the misspelt key already
        about = _part(schema(kind), [*error.schema_path[:-1], "properties", key, "title"]).get("title", "a value").split(" (")[0]
        return [document.problem(path, f"expected the key {key} ({about}), found none")]
    if name == "enum":
        options = [str(option) for option in error.kind.options]
        expected = " or ".join(options) if len(options) == 2 else f"one of {', '.join(options)}"
        return [document.problem(path, f"expected {expected}, found {found}{meant(str(error.instance), options)}")]
    if name in ("anyOf", "oneOf"):
        keys = [key for branch in part[name] for key in branch.get("required", [])]
        many = "both" if name == "oneOf" and all(key in error.instance for key in keys) else "neither"
        return [document.problem(path, f"expected {'either ' if name == 'oneOf' else ''}{' or '.join(keys)}, found {many}")]
    if name == "uniqueItems":
        again = next(item for at, item in enumerate(error.instance) if item in error.instance[:at])
        return [document.problem(path, f"expected each entry once, found {described(again)} again")]
    if name == "propertyNames":
        key = error.kind.error.instance
        return [document.problem([*path, key], f"expected {part['propertyNames']['title']}, found the key {quoted(key)}", key=True)]
    return [document.problem(path, f"expected {expected}, found {found}")]


def _unknown(key: str, known: list[str]) -> str:
    guess = meant(key, known)
    return f"expected {'a known key' if guess else 'one of ' + ', '.join(known)}, found {quoted(key)}{guess}"


def _part(whole: dict[str, Any], path: list[Any]) -> dict[str, Any]:
    """The schema that holds the keyword at the end of a schema path; `$ref` is followed where the path does."""
    part: Any = whole
    for step in path[: path.index("propertyNames") if "propertyNames" in path else -1]:
        if step == "$ref" and isinstance(part, dict):
            part = functools.reduce(lambda at, key: at[key], part["$ref"].removeprefix("#/").split("/"), whole)
        else:
            part = part[step] if isinstance(part, list) else part.get(step, {})
    if isinstance(part, dict) and "title" not in part and "$ref" in part:
        part = functools.reduce(lambda at, key: at[key], part["$ref"].removeprefix("#/").split("/"), whole)
    return part if isinstance(part, dict) else {}


def _workspace_sense(document: Document, project: Path) -> list[Problem]:
    problems = []
    for at, pem in enumerate(document.value.get("signing", {}).get("trusted", [])):
        from aml.signing import key

        try:
            key(pem)
        except ValueError as error:
            problems.append(document.problem(["signing", "trusted", at], f"expected a public key of the curve P-256, found that {error}"))
    return problems


def _release_sense(document: Document, project: Path) -> list[Problem]:
    value, problems = document.value, []
    for at, threshold in enumerate(value["gate"]["thresholds"]):
        if threshold.get("min", threshold.get("max")) > threshold.get("max", threshold.get("min")):
            problems.append(
                document.problem(["gate", "thresholds", at, "min"], f"expected at most max ({threshold['max']}), found {threshold['min']}")
            )
    steps = value["deploy"].get("rollout", {}).get("steps", [100])
    if steps != sorted(set(steps)) or steps[-1] != 100:
        problems.append(document.problem(["deploy", "rollout", "steps"], f"expected rising percentages that end at 100, found {steps}"))
    return problems


def _smoke_sense(document: Document, project: Path) -> list[Problem]:
    import jsonschema_rs

    problems: list[Problem] = []
    names: dict[str, int] = {}
    for at, case in enumerate(document.value["cases"]):
        path: list[str | int] = ["cases", at]
        if case["name"] in names:
            problems.append(document.problem([*path, "name"], f"expected each name once, found {quoted(case['name'])} again"))
        names.setdefault(case["name"], at)
        if "request_file" in case:
            try:
                _json(project / case["request_file"])
            except (OSError, ValueError) as error:
                problems.append(document.problem([*path, "request_file"], f"expected a JSON file, found that {_why(error)}"))
        if "json_schema" in case["expect"]:
            try:
                jsonschema_rs.Draft202012Validator(case["expect"]["json_schema"])
            except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
                place = [*path, "expect", "json_schema", *getattr(error, "instance_path", [])]
                why = getattr(error, "message", str(error))
                problems.append(document.problem(place, f"expected a JSON schema (draft 2020-12), found that {why}"))
        for at_range, bounds in enumerate(case["expect"].get("range", [])):
            if "min" in bounds and "max" in bounds and bounds["min"] > bounds["max"]:
                place = [*path, "expect", "range", at_range, "min"]
                problems.append(document.problem(place, f"expected at most max ({bounds['max']}), found {bounds['min']}"))
    return problems


def _gates_sense(document: Document, project: Path) -> list[Problem]:
    problems: list[Problem] = []
    names: set[str] = set()
    zones = calendar.zones() if any(gate.get("freeze") for gate in document.value["gates"]) else set()
    workspaces = sorted(file.stem for file in (project / ".cloud" / "workspaces").glob("*.yml"))
    for at, gate in enumerate(document.value["gates"]):
        path: list[str | int] = ["gates", at]
        if gate["environment"].lower() in names:
            message = f"expected each environment once, found {quoted(gate['environment'])} again"
            problems.append(document.problem([*path, "environment"], message))
        names.add(gate["environment"].lower())
        reviewers = gate["reviewers"]
        entries = len(reviewers.get("users", [])) + len(reviewers.get("teams", []))
        if reviewers.get("count", 1) > entries:
            message = f"expected at most {entries}, since each person and team named gives one approval, found {reviewers['count']}"
            problems.append(document.problem([*path, "reviewers", "count"], message))
        if entries > 6:
            problems.append(document.problem([*path, "reviewers"], f"expected 6 people and teams at most, found {entries}"))
        if not gate.get("branches", ["main"]) and not gate.get("tags"):
            problems.append(document.problem([*path, "branches"], "expected a branch or a tag that may deploy, found none"))
        for number, window in enumerate(gate.get("freeze", [])):
            place = [*path, "freeze", number]
            problems += [document.problem([*place, key], message) for key, message in calendar.problems(window)]
            if window["zone"] not in zones:
                seen = quoted(window["zone"]) + (meant(window["zone"], zones) if zones else "; this machine has no time zone data")
                problems.append(document.problem([*place, "zone"], f"expected an IANA time zone such as Europe/Zurich, found {seen}"))
        if pattern := gate.get("ticket", {}).get("pattern"):
            try:
                re.compile(pattern)
            except re.error as error:
                message = f"expected a regular expression, found that {error}"
                problems.append(document.problem([*path, "ticket", "pattern"], message))
        named: list[tuple[list[str | int], str]] = []
        named += [([*path, "evidence", number], rule["workspace"]) for number, rule in enumerate(gate.get("evidence", []))]
        named += [([*path, "soak"], gate["soak"]["workspace"])] if "soak" in gate else []
        for where, name in named:
            if name not in workspaces:
                message = f"expected one of the project's workspaces ({', '.join(workspaces) or 'it has none'}), found {quoted(name)}"
                problems.append(document.problem([*where, "workspace"], message + meant(name, workspaces)))
    return problems


def _json(file: Path) -> Any:
    return json.loads(file.read_bytes())


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} does not exist"
    return f"it cannot be read: {error}"


def count(problems: list[Problem]) -> str:
    """How many there are, in words."""
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
