"""Parameters of pipelines and templates: how they are declared, and what their values become.

https://learn.microsoft.com/azure/devops/pipelines/process/template-parameters and, for the types,
https://learn.microsoft.com/azure/devops/pipelines/yaml-schema/parameters-parameter. The older form, a map of names and defaults, declares
nothing but names: it takes any value, and names that it doesn't have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from .nodes import Fault, Mapping, Node, Place, Sequence, Text, typed
from .values import Mistake, Strict, Value, number

SCALARS = {"", "string", "number", "boolean", "environment", "filePath", "secureFile", "serviceConnection"}
_LISTS = {"stepList": "step", "jobList": "job", "deploymentList": "deployment", "stageList": "stage", "containerList": "container"}
_FIRST = {"job": ("job", "deployment", "template"), "deployment": ("deployment", "template"), "stage": ("stage", "template")}
_TYPES = (SCALARS - {""}) | set(_LISTS) | set(_LISTS.values()) | {"object", "legacyObject", "pool", "stringList"}
# As which part of a pipeline the value is read, so that templates in it are included for the caller.
PARTS = {"step": "step", "stepList": "steps", "job": "job", "jobList": "jobs", "deployment": "job", "deploymentList": "jobs"}
PARTS |= {"stage": "stage", "stageList": "stages"}
# A step in a typed parameter is seen by the template as the task that it is short for
# (https://learn.microsoft.com/azure/devops/pipelines/process/templates, "Extend from a template": script is 'CmdLine@2').
_SHORT: dict[str, tuple[str, dict[str, str]]] = {
    "script": ("CmdLine@2", {}),
    "bash": ("Bash@3", {"targetType": "inline"}),
    "pwsh": ("PowerShell@2", {"targetType": "inline", "pwsh": "true"}),
    "powershell": ("PowerShell@2", {"targetType": "inline"}),
}
_INPUTS = ("workingDirectory", "failOnStderr", "errorActionPreference", "warningPreference", "ignoreLASTEXITCODE", "bashEnvValue")
# Where steps are found in a job or a stage.
_INNER = {"jobs", "steps", "strategy", "runOnce", "rolling", "canary", "on", "success", "failure"}
_INNER |= {"preDeploy", "deploy", "routeTraffic", "postRouteTraffic"}


@dataclass(frozen=True)
class Parameter:
    """A declared parameter. `default` is None where a value must be given; `type` is '' in the older form."""

    name: Text
    type: str
    default: Node | None
    values: Sequence | None


def declared(node: Node | None, *, template: bool) -> list[Parameter]:
    """Read `parameters:`. Raises Fault for an unknown key or type, a parameter without a name, a name that stands twice."""
    if node is None or node == "":
        return []
    if isinstance(node, Mapping):
        return [Parameter(name, "", default, None) for name, default in node.items()]
    if isinstance(node, Text):
        raise Fault("Expected a sequence or mapping", node.at)
    found: dict[str, Parameter] = {}
    for item in node:
        if not isinstance(item, Mapping):
            raise Fault("A mapping was expected", item.at)
        parameter = _declaration(item, template)
        if parameter.name.lower() in found:
            raise Fault(f"'{parameter.name}' is already defined", parameter.name.at)
        found[parameter.name.lower()] = parameter
    return list(found.values())


def bind(known: list[Parameter], arguments: Iterable[tuple[Text, Node]], at: Place, *, older: bool) -> Strict:
    """The value of each parameter. `at` is where a missing one is reported; `older` parameters let unknown names pass.

    Raises Fault for a missing, an unexpected and a wrong value.
    """
    names = {parameter.name.lower(): parameter for parameter in known}
    given: dict[str, Node] = {}
    bound = Strict()
    for name, node in arguments:
        if name.lower() not in names and not older:
            raise Fault(f"Unexpected parameter '{name}'", name.at)
        if name.lower() in given:
            raise Fault(f"'{name}' is already defined", name.at)
        given[name.lower()] = node
        if name.lower() not in names:
            bound[str(name)] = _untyped(node)
    for parameter in known:
        node_or_none = given.get(parameter.name.lower(), parameter.default)
        if node_or_none is None:
            raise Fault(f"A value for the '{parameter.name}' parameter must be provided.", at)
        bound[str(parameter.name)] = _read(parameter, node_or_none)
    return bound


def _declaration(item: Mapping, template: bool) -> Parameter:
    for key in item:
        if key not in ("name", "displayName", "type", "default", "values"):
            raise Fault(f"Unexpected value '{key}'", key.at)
    name, values = item.under("name"), item.under("values")
    if not name or next(iter(item)) != "name":
        raise Fault("A parameter begins with its 'name'", item.at)
    kind = _text(item.under("type") or Text("string", item.at))
    if kind not in _TYPES or (kind == "legacyObject" and not template):
        raise Fault(f"Unexpected value '{kind}'", kind.at)
    if kind == "stringList" and template:
        raise Fault("The stringList type is not available in templates: use object", kind.at)
    if values is not None and not isinstance(values, Sequence):
        raise Fault("A sequence was expected", values.at)
    parameter = Parameter(_text(name), str(kind), item.under("default"), values)
    if parameter.default is not None:
        _read(parameter, parameter.default)
    return parameter


def _read(parameter: Parameter, node: Node) -> Value:
    """The value as its type wants it."""
    kind = parameter.type
    if kind == "":
        return _untyped(node)
    if kind in ("object", "pool", "container", "containerList"):
        return _object(node)
    if kind == "legacyObject":
        return _untyped(node)
    if kind == "stringList":
        return [_allowed(parameter, str(_text(item)), item) for item in _sequence(node)]
    if kind in _LISTS:
        return Sequence((_part(item, _LISTS[kind]) for item in _sequence(node)), node.at)
    if kind in _LISTS.values():
        return _part(node, kind)
    written = _text(node)
    if kind == "boolean":
        if written.lower() not in ("true", "false"):
            raise Fault(f"The '{parameter.name}' parameter value '{written}' is not a valid Boolean.", node.at)
        return written.lower() == "true"
    if kind == "number":
        return _allowed(parameter, _number(parameter, written), node)
    return _allowed(parameter, str(written), node)


def _allowed(parameter: Parameter, value: str | Decimal, node: Node) -> Value:
    convert: Callable[[Text], Value] = str if isinstance(value, str) else lambda text: _number(parameter, text)
    allowed = parameter.values
    if allowed is not None and not any(convert(_text(item)) == value for item in allowed):
        listed = ", ".join(str(item) for item in allowed)
        raise Fault(f"The '{parameter.name}' parameter value '{node}' is not an allowed value. Allowed: {listed}", node.at)
    return value


def _number(parameter: Parameter, written: Text) -> Decimal:
    try:
        if written.strip():
            return number(str(written))
    except Mistake:
        pass
    raise Fault(f"The '{parameter.name}' parameter value '{written}' is not a valid Number.", written.at)


def _text(node: Node) -> Text:
    if isinstance(node, Text):
        return node
    raise Fault("A mapping was not expected" if isinstance(node, Mapping) else "A sequence was not expected", node.at)


def _sequence(node: Node) -> Sequence:
    if isinstance(node, Sequence):
        return node
    if isinstance(node, Text) and node == "" and node.plain:
        return Sequence((), node.at)
    raise Fault("A sequence was expected", node.at)


def _part(node: Node, kind: str) -> Node:
    """A step, job or stage as it was written, with its places; short steps as tasks."""
    if isinstance(node, Text) and node == "" and node.plain:
        return node
    if not isinstance(node, Mapping):
        raise Fault("A mapping was expected", node.at)
    if kind in _FIRST and next(iter(node), None) not in _FIRST[kind]:
        raise Fault(f"Expected '{_FIRST[kind][0]}' as the first property", node.at)
    return _tasks(node) if kind in ("step", "job", "deployment", "stage") else node


def _tasks(node: Node) -> Node:
    if isinstance(node, Sequence):
        return Sequence((_tasks(item) for item in node), node.at)
    if not isinstance(node, Mapping):
        return node
    first = next(iter(node), None)
    if first not in _SHORT:
        return Mapping(((key, _tasks(value) if key in _INNER else value) for key, value in node.items()), node.at)
    task, inputs = _SHORT[first]
    made = Mapping(((Text(key, first.at), Text(value, first.at)) for key, value in inputs.items()), first.at)
    made[Text("script", first.at)] = node[first]
    made.update((key, value) for key, value in node.items() if key in _INPUTS)
    items = [(Text("task", first.at), Text(task, first.at)), *((key, value) for key, value in node.items() if key not in (first, *_INPUTS))]
    return Mapping([*items, (Text("inputs", first.at), made)], node.at)


def _object(node: Node) -> Value:
    """An object: what was written without quotes as a number, a truth value or nothing is one."""
    if isinstance(node, Mapping):
        return {str(key): _object(value) for key, value in node.items()}
    if isinstance(node, Sequence):
        return [_object(item) for item in node]
    value = typed(node)
    return Decimal(str(value)) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _untyped(node: Node) -> Value:
    """Without a type every scalar is a string: 'false' too, which is true."""
    if isinstance(node, Mapping):
        return {str(key): _untyped(value) for key, value in node.items()}
    return [_untyped(item) for item in node] if isinstance(node, Sequence) else str(node)
