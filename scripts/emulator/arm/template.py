"""ARM templates: the expression language, and what a template comes down to once its expressions are worked out.

Sources: https://learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions and template-functions. Two functions
give values of their own making: ``uniqueString`` (a stable 13 letters, but not Azure's hash) and ``newGuid``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emulator.errors import AzureError

Document = dict[str, Any]
GUID_NAMESPACE = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")
"""The name space of ``guid()``, which makes version 5 UUIDs."""
_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(-?\d+)|([A-Za-z_][A-Za-z0-9_]*)|([()\[\],.]))")


def invalid(message: str) -> AzureError:
    return AzureError(400, "InvalidTemplate", f"Deployment template validation failed: '{message}'.")


@dataclass
class Scope:
    """What expressions of one deployment can refer to."""

    subscription: Document
    group: Document
    deployment: str
    reference: Callable[[str], Any]
    """The properties of a resource, by ARM id."""
    list_keys: Callable[[str], Any] = lambda id: {}
    now: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    copy_index: Mapping[str, int] = field(default_factory=dict)

    def resolve(self, value: Any) -> Any:
        """A value with every expression in it worked out, keys of objects included."""
        if isinstance(value, dict):
            return {str(self.resolve(key)): self.resolve(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.resolve(each) for each in value]
        if isinstance(value, str) and value.startswith("[[") and value.endswith("]"):
            return value[1:]
        if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
            return _evaluate(_parse(value[1:-1]), self)
        return value

    def at(self, name: str, index: int) -> Scope:
        """This scope inside one turn of a copy loop; ``copyIndex()`` without a name is the innermost."""
        return Scope(**{**vars(self), "copy_index": {**self.copy_index, name: index, "": index}})


class Lazy(Mapping[str, Any]):
    """Variables or parameters that are worked out when they are first asked for, since they may refer to each other."""

    def __init__(self, kind: str, names: Mapping[str, Any], make: Callable[[str], Any]) -> None:
        self._kind, self._make = kind, make
        self._names = {name.lower(): name for name in names}
        self._made: dict[str, Any] = {}
        self._making: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        low = name.lower()
        if low not in self._names:
            raise invalid(
                f"The template {self._kind} '{name}' is not found. Please see https://aka.ms/arm-syntax-{self._kind}s for usage details."
            )
        if low in self._making:
            raise invalid(f"Circular dependency detected in the template {self._kind}s: '{name}'")
        if low not in self._made:
            self._making.add(low)
            try:
                self._made[low] = self._make(self._names[low])
            finally:
                self._making.discard(low)
        return self._made[low]

    def __iter__(self) -> Any:
        return iter(self._names.values())

    def __len__(self) -> int:
        return len(self._names)


def bind(template: Document, given: Document, scope: Scope) -> Scope:
    """The scope with the template's parameters and variables. Raises Azure's 400 for a value that is missing, unknown or not allowed."""
    declared: Document = template.get("parameters") or {}
    known = {name.lower(): name for name in declared}
    for name in given:
        if name.lower() not in known:
            raise invalid(
                f"The template parameters '{name}' in the parameters file are not valid; they are not present in the original template and "
                "can therefore not be provided at deployment time. The only supported parameters for this template are "
                f"'{', '.join(declared)}'. Please see https://aka.ms/arm-pass-parameter-values for usage details."
            )
    values = {known[name.lower()]: (entry or {}).get("value") for name, entry in given.items()}
    bound = Scope(**vars(scope))
    bound.parameters = Lazy("parameter", declared, lambda name: _parameter(name, declared[name], values.get(name), bound))
    variables: Document = template.get("variables") or {}
    bound.variables = Lazy("variable", variables, lambda name: bound.resolve(variables[name]))
    for name in declared:
        bound.parameters[name]
    return bound


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "securestring": (str,),
    "int": (int,),
    "bool": (bool,),
    "object": (dict,),
    "secureobject": (dict,),
    "array": (list,),
}


def _parameter(name: str, declared: Document, value: Any, scope: Scope) -> Any:
    """The value given, or the default; a null counts as not given."""
    if value is None:
        if "defaultValue" not in declared:
            raise invalid(
                f"The value for the template parameter '{name}' is not provided. "
                "Please see https://aka.ms/arm-parameter-file for usage details."
            )
        value = scope.resolve(declared["defaultValue"])
    wanted = _TYPES.get(str(declared.get("type", "string")).lower())
    if wanted is None:
        raise invalid(f"The template parameter '{name}' has the unknown type '{declared.get('type')}'")
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise invalid(
            f"Template parameter JToken type is not valid. Expected '{str(declared['type']).capitalize()}'. "
            f"Actual '{type(value).__name__}'. The parameter is '{name}'. "
            "Please see https://aka.ms/arm-create-parameter-file for usage details."
        )
    allowed = declared.get("allowedValues")
    if allowed is not None and value not in allowed:
        raise invalid(
            f"The provided value '{value}' for the template parameter '{name}' is not valid. The value is not part of the allowed "
            f"value(s): '{','.join(map(str, allowed))}'."
        )
    return value


# --- the language: a call, an access or a literal --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Literal:
    value: Any


@dataclass(frozen=True)
class Name:
    """A function call."""

    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Access:
    """``target.name`` or ``target[index]``."""

    target: Any
    key: Any


def _parse(text: str) -> Any:
    tokens: list[str] = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise invalid(f"Unable to parse language expression '{text}': unexpected text at position '{at}'")
        tokens.append(match.group().strip())
        at = match.end()
    node = _expression(text, tokens)
    if tokens:
        raise invalid(f"Unable to parse language expression '{text}': expected end of expression and found '{tokens[0]}'")
    return node


def _expression(text: str, tokens: list[str]) -> Any:
    if not tokens:
        raise invalid(f"Unable to parse language expression '{text}': unexpected end of expression")
    token = tokens.pop(0)
    node: Any
    if token.startswith("'"):
        node = Literal(token[1:-1].replace("''", "'"))
    elif re.fullmatch(r"-?\d+", token):
        node = Literal(int(token))
    elif re.match(r"[A-Za-z_]", token):
        _expect(text, tokens, "(")
        arguments = []
        while tokens and tokens[0] != ")":
            arguments.append(_expression(text, tokens))
            if tokens and tokens[0] != ")":
                _expect(text, tokens, ",")
        _expect(text, tokens, ")")
        node = Name(token, tuple(arguments))
    else:
        raise invalid(f"Unable to parse language expression '{text}': unexpected '{token}'")
    while tokens and tokens[0] in ".[":
        if tokens.pop(0) == ".":
            node = Access(node, Literal(tokens.pop(0)))
        else:
            node = Access(node, _expression(text, tokens))
            _expect(text, tokens, "]")
    return node


def _expect(text: str, tokens: list[str], token: str) -> None:
    if not tokens or tokens.pop(0) != token:
        raise invalid(f"Unable to parse language expression '{text}': expected '{token}'")


def _evaluate(node: Any, scope: Scope) -> Any:
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, Access):
        return _access(_evaluate(node.target, scope), _evaluate(node.key, scope))
    name = node.function.lower()
    if name == "if":  # only the branch that is taken is worked out
        condition, yes, no = node.arguments
        return _evaluate(yes if _evaluate(condition, scope) else no, scope)
    if name in ("and", "or"):
        every = all if name == "and" else any
        return every(bool(_evaluate(argument, scope)) for argument in node.arguments)
    arguments = [_evaluate(argument, scope) for argument in node.arguments]
    function = _functions(scope).get(name) or _PURE.get(name)
    if function is None:
        raise invalid(f"The template function '{node.function}' is not valid. Please see https://aka.ms/arm-functions for usage details.")
    try:
        return function(*arguments)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise invalid(f"Unable to evaluate template language function '{node.function}': {error}") from error


def _access(target: Any, key: Any) -> Any:
    if isinstance(target, Mapping):
        found = next((value for name, value in target.items() if str(name).lower() == str(key).lower()), _MISSING)
        if found is not _MISSING:
            return found
        raise invalid(f"The language expression property '{key}' doesn't exist, available properties are '{', '.join(map(str, target))}'")
    if isinstance(target, list) and isinstance(key, int) and -len(target) <= key < len(target):
        return target[key]
    raise invalid(f"The language expression property '{key}' can't be evaluated")


_MISSING = object()


# --- functions -------------------------------------------------------------------------------------------------------------------


def _functions(scope: Scope) -> dict[str, Callable[..., Any]]:
    """Those that look at the deployment they are in."""
    subscription, group = scope.subscription, scope.group

    def resource_id(*words: str) -> str:
        """``[subscription], [group], type, name, ...``: the type is the first word with a slash."""
        at = next((index for index, word in enumerate(words) if "/" in word), None)
        if at is None or at > 2:
            raise ValueError("a resource type such as Microsoft.Storage/storageAccounts is missing")
        owner = words[0] if at == 2 else subscription["subscriptionId"]
        where = words[at - 1] if at else group["name"]
        return f"/subscriptions/{owner}/resourceGroups/{where}/providers/{_typed(words[at], words[at + 1 :])}"

    def subscription_resource_id(*words: str) -> str:
        owner, words = (subscription["subscriptionId"], words) if "/" in words[0] else (words[0], words[1:])
        return f"/subscriptions/{owner}/providers/{_typed(words[0], words[1:])}"

    return {
        "parameters": lambda name: scope.parameters[name],
        "variables": lambda name: scope.variables[name],
        "subscription": lambda: subscription,
        "resourcegroup": lambda: group,
        "tenant": lambda: {"tenantId": subscription["tenantId"]},
        "deployment": lambda: {"name": scope.deployment},
        "resourceid": resource_id,
        "subscriptionresourceid": subscription_resource_id,
        "extensionresourceid": lambda base, kind, *names: f"{base}/providers/{_typed(kind, names)}",
        "tenantresourceid": lambda kind, *names: f"/providers/{_typed(kind, names)}",
        "reference": lambda id, *more: scope.reference(id if "/" in id else _by_name(id)),
        "listkeys": lambda id, *more: scope.list_keys(id),
        "copyindex": lambda *words: _copy_index(scope, *words),
        "utcnow": lambda *words: scope.now,
    }


def _typed(kind: str, names: tuple[str, ...] | list[str]) -> str:
    """``Microsoft.X/a/b`` and two names as ``Microsoft.X/a/<one>/b/<two>``."""
    namespace, *kinds = kind.split("/")
    if len(kinds) != len(names):
        raise ValueError(f"'{kind}' needs {len(kinds)} names, not {len(names)}")
    return "/".join([namespace, *(word for pair in zip(kinds, names, strict=True) for word in pair)])


def _by_name(name: str) -> str:
    raise ValueError(f"the resource '{name}' must be referred to by its id")


def _copy_index(scope: Scope, *words: Any) -> int:
    name = str(words[0]) if words and isinstance(words[0], str) else ""
    offset = next((word for word in words if isinstance(word, int)), 0)
    return scope.copy_index[name] + offset


def _unique_string(*words: str) -> str:
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    return base64.b32encode(digest).decode().lower()[:13]


def _empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _union(*values: Any) -> Any:
    if all(isinstance(value, dict) for value in values):
        merged: Document = {}
        for value in values:
            merged |= value
        return merged
    return list(dict.fromkeys(each for value in values for each in value))


def _contains(container: Any, item: Any) -> bool:
    if isinstance(container, Mapping):
        return str(item).lower() in (str(key).lower() for key in container)
    return item in container


def _concat(*values: Any) -> Any:
    if values and isinstance(values[0], list):
        return [each for value in values for each in value]
    return "".join(_text(value) for value in values)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _pairs(*values: Any) -> Document:
    return dict(zip(values[::2], values[1::2], strict=True))


_PURE: dict[str, Callable[..., Any]] = {
    "array": lambda value: value if isinstance(value, list) else [value],
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "bool": lambda value: str(value).lower() in ("true", "1"),
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "concat": _concat,
    "contains": _contains,
    "createarray": lambda *values: list(values),
    "createobject": _pairs,
    "empty": _empty,
    "endswith": lambda value, end: value.lower().endswith(end.lower()),
    "equals": lambda one, other: bool(one == other) and isinstance(one, bool) == isinstance(other, bool),
    "false": lambda: False,
    "first": lambda value: value[0],
    "format": lambda text, *values: re.sub(r"\{(\d+)[^}]*\}", lambda match: _text(values[int(match.group(1))]), text),
    "greater": lambda one, other: one > other,
    "greaterorequals": lambda one, other: one >= other,
    "guid": lambda *words: str(uuid.uuid5(GUID_NAMESPACE, "-".join(words))),
    "int": int,
    "join": lambda values, between: between.join(values),
    "json": json.loads,
    "last": lambda value: value[-1],
    "length": len,
    "less": lambda one, other: one < other,
    "lessorequals": lambda one, other: one <= other,
    "newguid": lambda: str(uuid.uuid4()),
    "not": lambda value: not value,
    "null": lambda: None,
    "range": lambda start, count: list(range(start, start + count)),
    "replace": lambda value, old, new: value.replace(old, new),
    "split": lambda value, between: value.split(between),
    "startswith": lambda value, start: value.lower().startswith(start.lower()),
    "string": _text,
    "substring": lambda value, start, length=None: value[start:] if length is None else value[start : start + length],
    "tolower": str.lower,
    "toupper": str.upper,
    "trim": str.strip,
    "true": lambda: True,
    "union": _union,
    "uniquestring": _unique_string,
    "add": lambda one, other: one + other,
    "sub": lambda one, other: one - other,
    "mul": lambda one, other: one * other,
}
