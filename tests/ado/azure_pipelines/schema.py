"""Microsoft's schema of Azure Pipelines YAML, asked about an expanded document.

The schema is the service's own (`service-schema.json` of https://github.com/microsoft/azure-pipelines-vscode), as the package
check-jsonschema ships it. A stock JSON Schema validator gives false alarms with it, because it is written for a parser that
reads every scalar as text, and with keywords of its own. This one keeps to them:

- a scalar has the type that its text can be read as, and one with a macro or a run-time expression may become anything;
- `firstProperty`: a step, job or stage is known by its first key, and a later one is an unexpected value
  (https://learn.microsoft.com/azure/devops/pipelines/yaml-schema, "Azure Pipelines doesn't support all YAML features");
- `ignoreCase` and `aliases`: names and values of task inputs differ in more than case, and old names still work.

Of several branches the one that was meant is reported: the first key decides, then what is required, then what fits best.
"""

from __future__ import annotations

import difflib
import importlib.resources
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from .findings import Finding
from .nodes import Mapping, Node, Place, Sequence, Text

Rules = dict[str, Any]  # a part of the schema

# Tasks that the schema doesn't know and that are right all the same; every other one is reported. Each has its reason.
ALLOWED: dict[str, str] = {
    "AzureCLI@3": "ships with the service, newer than the schema",
    "AzureFunction@2": "ships with the service, newer than the schema",
    "AzureMysqlDeployment@2": "ships with the service, newer than the schema",
    "BicepDeploy@0": "ships with the service, newer than the schema",
    "GradleAuthenticate@0": "ships with the service, newer than the schema",
    "UniversalPackages@1": "ships with the service, newer than the schema",
    "AdvancedSecurity-Codeql-Init@1": "part of GitHub Advanced Security for Azure DevOps, installed by the service",
    "AdvancedSecurity-Codeql-Autobuild@1": "part of GitHub Advanced Security for Azure DevOps, installed by the service",
    "AdvancedSecurity-Codeql-Analyze@1": "part of GitHub Advanced Security for Azure DevOps, installed by the service",
    "AdvancedSecurity-Dependency-Scanning@1": "part of GitHub Advanced Security for Azure DevOps, installed by the service",
}
# Tasks whose inputs the schema calls required though they are so only beside some value of another input (`groups` of their task.json).
_GROUPED = {"azurevmssdeployment", "helmdeploy", "iiswebappmanagementonmachinegroup", "packerbuild"}
_TRUTH = {"true", "false", "y", "n", "yes", "no", "on", "off"}
_LATER = re.compile(r"\$\(|\$\[")  # filled in after the document was read
_WORDS = {"array": "a list", "object": "a map", "string": "a text", "boolean": "true or false", "integer": "a whole number"}


def check(document: Node, *, allowed: Iterable[str] = ()) -> Iterator[Finding]:
    """Everything in an expanded document that the schema has no room for. `allowed`: further tasks, as `Name@1`."""
    known = {name.lower() for name in (*ALLOWED, *allowed)}
    yield from _check(document, _schema()["definitions"]["pipeline"], known)


def deprecated(task: str) -> str:
    """Why a task (`Name@1`) should not be used any more, in the schema's words; '' if nothing says so."""
    found = _tasks().get(task.lower())
    return found[1] if found else ""


@lru_cache(maxsize=1)
def _schema() -> Rules:
    file = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "azure-pipelines.json"
    read: Rules = json.loads(file.read_text(encoding="utf-8"))
    # It reads the paths of a trigger like branches, which would forbid `docs/` and a space.
    for name in ("trigger", "pr"):
        for branch in read["definitions"][name]["anyOf"]:
            if "paths" in branch.get("properties", {}):
                branch["properties"]["paths"] = {"$ref": "#/definitions/includeExcludeStringFilters"}
    return read


@lru_cache(maxsize=1)
def _tasks() -> dict[str, tuple[Rules, str]]:
    """Each task by its name in small letters: what its `inputs` may be, and why it is deprecated."""
    task = _schema()["definitions"]["task"]
    reasons: dict[str, list[str]] = {}
    for branch in task["properties"]["task"]["anyOf"]:
        reasons.setdefault(branch["enum"][0].lower(), []).append(branch.get("deprecationMessage", ""))
    # Two names have no branch that says what their inputs may be.
    named = [branch["enum"][0] for branch in task["properties"]["task"]["anyOf"]]
    found: dict[str, tuple[Rules, str]] = {name.lower(): ({"name": name, "needed": False}, "") for name in named}
    for branch in task["anyOf"]:
        name = branch["properties"]["task"]["pattern"].strip("^$").replace("\\", "")
        inputs = dict(branch["properties"].get("inputs", {}), type="object", name=name, needed="inputs" in branch.get("required", ()))
        # Two tasks may share a name, one of them deprecated: then the other is meant.
        found[name.lower()] = (inputs, "" if "" in reasons.get(name.lower(), [""]) else reasons[name.lower()][0])
    return found


@lru_cache(maxsize=1)
def _task() -> Rules:
    """The keys of a task step. `target` is missing from the schema's own list, and stands in the one for every other step."""
    definitions = _schema()["definitions"]
    properties = {**definitions["taskBase"]["properties"], **definitions["task"]["properties"]}
    return {"type": "object", "properties": {**properties, "task": {"type": "string"}, "inputs": {}}, "additionalProperties": False}


def _resolve(rules: Rules) -> Rules:
    """With what `$ref` names merged in. The keywords beside it count too, as they do in the service's own reader."""
    while "$ref" in rules:
        rules = {
            **_schema()["definitions"][rules["$ref"].rpartition("/")[2]],
            **{key: value for key, value in rules.items() if key != "$ref"},
        }
    return rules


def _check(node: Node, rules: Rules, allowed: set[str]) -> Iterator[Finding]:
    rules = _resolve(rules)
    if rules.get("firstProperty") == ["task"]:
        yield from _check_task(node, allowed)
        return
    if isinstance(node, Text) and _LATER.search(node) and ("anyOf" in rules or rules.get("type") != "object"):
        return
    if not _fits(node, rules.get("type")):
        yield _finding(node.at, f"Expected {_WORDS[rules['type']]}, found {_shown(node)}")
        return
    if isinstance(node, Text):
        yield from _check_text(node, rules)
    if isinstance(node, Mapping) and ("properties" in rules or "patternProperties" in rules):
        yield from _check_map(node, rules, allowed)
    if isinstance(node, Sequence) and "items" in rules:
        for item in node:
            yield from _check(item, rules["items"], allowed)
    if "anyOf" in rules:
        yield from _check_any(node, [_resolve(branch) for branch in rules["anyOf"]], allowed)


def _check_text(node: Text, rules: Rules) -> Iterator[Finding]:
    same = str.lower if rules.get("ignoreCase") in ("value", "all") else str
    if "enum" in rules and same(node) not in map(same, rules["enum"]):
        yield _finding(node.at, f"Unexpected value '{node}': one of {', '.join(rules['enum'])}{_meant(node, rules['enum'])}")
    if "pattern" in rules and not re.search(rules["pattern"], node, re.IGNORECASE if same is str.lower else 0):
        yield _finding(node.at, f"Unexpected value '{node}': {_pattern(rules['pattern'])}")


def _check_map(node: Mapping, rules: Rules, allowed: set[str]) -> Iterator[Finding]:
    properties: Rules = rules.get("properties", {})
    first = rules.get("firstProperty")
    if first and next(iter(node), None) not in first:
        later = next((key for key in node if key in first), None)
        if later is not None:
            yield _finding(next(iter(node)).at, f"Unexpected value '{next(iter(node))}': '{later}' must be the first key")
    seen = set()
    for key, value in node.items():
        name = _property(key, properties)
        patterns = [found for pattern, found in rules.get("patternProperties", {}).items() if re.search(pattern, key)]
        if name is not None:
            seen.add(name)
            yield from _check(value, properties[name], allowed)
        elif patterns:
            yield from _check(value, patterns[0], allowed)
        elif rules.get("additionalProperties") is False or "patternProperties" in rules:
            yield _finding(key.at, f"Unexpected value '{key}'{_meant(key, properties)}")
    for name in rules.get("required", ()):
        if name not in seen:
            yield _finding(node.at, f"'{name}' is missing")


def _check_any(node: Node, branches: list[Rules], allowed: set[str]) -> Iterator[Finding]:
    """Nothing if a branch takes the node, else what the branch that was meant says."""
    tried: list[tuple[int, int, int, Rules, list[Finding]]] = []
    # The likely ones first: a node that is right is then found right at once.
    for branch in sorted(branches, key=lambda branch: -_likeness(node, branch)):
        found = list(_check(node, branch, allowed))
        # A task unknown to the schema is still a task: the other kinds of step have nothing to say about it.
        if not found or (branch.get("firstProperty") == ["task"] and isinstance(node, Mapping) and "task" in node):
            yield from found
            return
        tried.append((-_likeness(node, branch), len(found), len(tried), branch, found))
    best = min(tried, key=lambda one: one[:3])
    alike = [one for one in tried if one[0] == best[0]]
    if isinstance(node, Text) and len(alike) > 1:
        words = [_pattern(branch["pattern"]) for *_, branch, _ in alike if "pattern" in branch]
        yield _finding(node.at, f"Unexpected value '{node}': one of {', '.join(words)}{_meant(node, words)}")
    elif isinstance(node, Mapping) and best[0] > -2 and all("firstProperty" in branch for *_, branch, _ in alike):
        firsts = sorted({branch["firstProperty"][0] for *_, branch, _ in alike})
        key = next(iter(node), None)
        yield _finding(
            key.at if key is not None else node.at, f"Unexpected value '{key or ''}': the first key is one of {', '.join(firsts)}"
        )
    else:
        yield from best[4]


def _check_task(node: Node, allowed: set[str]) -> Iterator[Finding]:
    """A step that runs a task: its name decides what its inputs may be."""
    if not isinstance(node, Mapping) or not isinstance(node.get(_text("task")), Text):
        yield _finding(node.at, f"Expected a task, found {_shown(node)}")
        return
    name = node[_text("task")]
    assert isinstance(name, Text)
    yield from _check_map(node, dict(_task(), firstProperty=["task"]), allowed)
    tasks, written = _tasks(), re.sub(r"(@\d+)\.[\d.]+$", r"\1", name.lower())
    if written not in tasks:
        if written not in allowed and "@" in name and not _LATER.search(name):
            close = difflib.get_close_matches(written, tasks, 1, 0.8)
            hint = f"did you mean {tasks[close[0]][0]['name']}?" if close else "if it is from the marketplace, allow it with --task"
            yield Finding(name.at, "unknown-task", f"The task {name} is not one that the service ships; {hint}")
        return
    rules, _ = tasks[written]
    if written.partition("@")[0] in _GROUPED:
        rules = {**rules, "required": ()}
    inputs = node.get(_text("inputs"))
    if inputs is None:
        for missing in rules.get("required", ()) if rules["needed"] else ():
            yield _finding(node.at, f"{name}: the input '{missing}' is missing")
    elif isinstance(inputs, Mapping) and "properties" in rules:
        for found in _check_map(inputs, rules, allowed):
            yield found._replace(message=f"{name}: {found.message}")
    elif inputs and not isinstance(inputs, Mapping):
        yield _finding(inputs.at, f"Expected a map, found {_shown(inputs)}")


def _likeness(node: Node, branch: Rules) -> int:
    """How likely the branch was meant: 4 by its first key, 2 by what it requires, 1 by its kind."""
    like = int(_fits(node, branch.get("type")))
    if isinstance(node, Mapping):
        keys = [str(key) for key in node]
        like += 4 * (keys[:1] == branch.get("firstProperty", [""])) + 3 * any(key in keys for key in branch.get("firstProperty", ()))
        like += 2 * (bool(branch.get("required")) and all(key in keys for key in branch["required"]))
        like += 1 * (
            "required" not in branch and "firstProperty" not in branch and any(key in branch.get("properties", {}) for key in keys)
        )
    return like


def _fits(node: Node, kind: str | None) -> bool:
    if kind is None:
        return True
    if not isinstance(node, Text):
        return kind == ("array" if isinstance(node, Sequence) else "object")
    if _LATER.search(node):
        return kind not in ("array", "object")
    if kind == "boolean":
        return node.lower() in _TRUTH
    if kind == "integer":
        return node.isdigit()
    return kind == "string" or (node.plain and not node)  # nothing at all stands for an empty list or map


def _property(key: str, properties: Rules) -> str | None:
    """The property that a key names: by its name, without regard to case where the schema says so, or by an alias."""
    if key in properties:
        return key
    for name, rules in properties.items():
        if rules.get("ignoreCase") in ("key", "all") and key.lower() in (name.lower(), *map(str.lower, rules.get("aliases", ()))):
            return name
    return None


def _pattern(pattern: str) -> str:
    """A pattern in words, where it is a plain word."""
    return pattern.strip("^$") if re.fullmatch(r"\^\w+\$", pattern) else f"it must match {pattern}"


def _meant(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, words, 1, 0.7)
    return f"; did you mean '{close[0]}'?" if close else ""


def _shown(node: Node) -> str:
    return f"'{node}'" if isinstance(node, Text) else "a list" if isinstance(node, Sequence) else "a map"


def _finding(at: Place, message: str) -> Finding:
    return Finding(at, "schema", message)


def _text(name: str) -> Text:
    return Text(name, Place("", 1, 1))
