"""The functions that every Azure Pipelines expression knows. Those of a run (succeeded, counter, ...) come with the scope.

https://learn.microsoft.com/azure/devops/pipelines/process/expressions, "Functions"; `iif` and `trim` since sprint 248
(https://learn.microsoft.com/azure/devops/release-notes/2025/pipelines/sprint-248-update).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias

from .values import Mistake, Value, compare, equal, folded, kind, number, text, truthy

Argument: TypeAlias = Callable[[], Value]  # evaluated when it is asked for, which is what a short circuit needs
_ANY = 21_000  # An expression has no more characters.
_HOLE = re.compile(r"\{\{|\}\}|\{(\d+)(?::((?:[^}]|\}\})*))?\}|[{}]")


class Function(NamedTuple):
    """How many arguments a function takes, and what it does with them."""

    least: int
    most: int
    call: Callable[[Sequence[Argument]], Value]


def _and(arguments: Sequence[Argument]) -> bool:
    return all(truthy(argument()) for argument in arguments)


def _or(arguments: Sequence[Argument]) -> bool:
    return any(truthy(argument()) for argument in arguments)


def _in(arguments: Sequence[Argument]) -> bool:
    left = arguments[0]()
    return any(equal(left, argument()) for argument in arguments[1:])


def _coalesce(arguments: Sequence[Argument]) -> Value:
    """The first that is neither null nor empty, else the last."""
    for argument in arguments:
        value = argument()
        if value is not None and value != "":
            break
    return value


def _contains_value(arguments: Sequence[Argument]) -> bool:
    """Each item becomes the kind of the value that is looked for."""
    among = arguments[0]()
    items = among.values() if isinstance(among, dict) else among if isinstance(among, list) else ()
    return any(equal(arguments[1](), item) for item in items)


def _join(arguments: Sequence[Argument]) -> str:
    """The separator is first. A list or a map among the items is ''; what is no list is written as it is."""
    items = arguments[1]()
    if isinstance(items, list):
        return (text(arguments[0]()) if len(items) > 1 else "").join(_text_or_empty(item) for item in items)
    return _text_or_empty(items)


def _format(arguments: Sequence[Argument]) -> str:
    """`{0}` is the first argument after the text, `{{` a brace; a DateTime takes .NET's letters: `{0:yyyyMMdd}`."""
    written = text(arguments[0]())

    def fill(hole: re.Match[str]) -> str:
        index, letters = hole.groups()
        if hole[0] in ("{{", "}}"):
            return hole[0][0]
        if index is None:
            raise Mistake(f"The following format string is invalid: {written}")
        if int(index) > len(arguments) - 2:
            raise Mistake(f"The following format string references more arguments than were supplied: {written}")
        value = arguments[int(index) + 1]()
        return _moment(value, letters.replace("}}", "}")) if letters else text(value)

    return _HOLE.sub(fill, written)


def _moment(value: Value, letters: str) -> str:
    """A DateTime by .NET's custom format letters, those that the page allows."""
    if not isinstance(value, datetime):
        raise Mistake(f"The format specifiers '{letters}' are not valid for objects of type '{kind(value)}'")
    offset = text(value)[-6:]
    known = {
        "yyyy": f"{value:%Y}",
        "yy": f"{value:%y}",
        "MM": f"{value:%m}",
        "M": str(value.month),
        "dd": f"{value:%d}",
        "d": str(value.day),
        "HH": f"{value:%H}",
        "H": str(value.hour),
        "mm": f"{value:%M}",
        "m": str(value.minute),
        "ss": f"{value:%S}",
        "s": str(value.second),
        "zzz": offset,
        "K": offset if value.utcoffset() else "Z",
    }
    known |= {"f" * digits: f"{value:%f}0"[:digits] for digits in range(1, 8)}
    made = []
    for part in re.finditer(r"\\(.)|((.)\3*)", letters, re.DOTALL):
        if part[1] is None and part[2] not in known and part[3] != " ":
            raise Mistake(f"The format specifiers '{letters}' are not valid for objects of type 'DateTime'")
        made.append(part[1] if part[1] is not None else known.get(part[2], part[2]))
    return "".join(made)


def _iif(test: Value, then: Value, otherwise: Value) -> Value:
    return then if truthy(test) else otherwise


def _length(value: Value) -> int:
    if isinstance(value, (str, list, dict)):
        return len(value)
    raise Mistake(
        f"Kind '{kind(value)}' not supported. Only arrays, strings, dictionaries, or collections are supported for the length function."
    )


def _replace(value: Value, old: Value, new: Value) -> str:
    if not text(old):
        raise Mistake("String cannot be of zero length. (Parameter 'oldValue')")
    return text(value).replace(text(old), text(new))


def _split(value: Value, by: Value) -> list[Value]:
    """The second argument is one separator, however many characters it has."""
    return [*text(value).split(text(by))] if text(by) else [text(value)]


def _substring(value: Value, start: Value, length: Value) -> str:
    whole, first, count = text(value), int(number(start)), int(number(length))
    if first < 0 or count < 0 or first + count > len(whole):
        raise Mistake("Index and length must refer to a location within the string. (Parameter 'length')")
    return whole[first : first + count]


def _json(value: Value, indent: str = "\n") -> str:
    """Two spaces a level."""
    inner = indent + "  "
    if isinstance(value, dict):
        pairs = [f"{inner}{json.dumps(key, ensure_ascii=False)}: {_json(item, inner)}" for key, item in value.items()]
        return "{" + ",".join(pairs) + indent + "}" if pairs else "{}"
    if isinstance(value, list):
        return "[" + ",".join(inner + _json(item, inner) for item in value) + indent + "]" if value else "[]"
    if value is None:
        return "null"
    known = kind(value)
    if known == "Boolean":
        return text(value).lower()
    return text(value) if known == "Number" else json.dumps(text(value), ensure_ascii=False)


def _text_or_empty(value: Value) -> str:
    return "" if kind(value) in ("Array", "Object") else text(value)


def _plain(least: int, call: Callable[..., Value]) -> Function:
    """A function that needs the values of all its arguments."""
    return Function(least, least, lambda arguments: call(*(argument() for argument in arguments)))


FUNCTIONS: dict[str, Function] = {
    "and": Function(2, _ANY, _and),
    "coalesce": Function(2, _ANY, _coalesce),
    "contains": _plain(2, lambda a, b: folded(text(b)) in folded(text(a))),
    "containsvalue": Function(2, 2, _contains_value),
    "converttojson": _plain(1, _json),
    "endswith": _plain(2, lambda a, b: folded(text(a)).endswith(folded(text(b)))),
    "eq": _plain(2, equal),
    "format": Function(1, 255, _format),
    "ge": _plain(2, lambda a, b: compare(a, b) >= 0),
    "gt": _plain(2, lambda a, b: compare(a, b) > 0),
    "iif": _plain(3, _iif),
    "in": Function(1, _ANY, _in),
    "join": Function(2, 2, _join),
    "le": _plain(2, lambda a, b: compare(a, b) <= 0),
    "length": _plain(1, _length),
    "lower": _plain(1, lambda a: text(a).lower()),
    "lt": _plain(2, lambda a, b: compare(a, b) < 0),
    "ne": _plain(2, lambda a, b: not equal(a, b)),
    "not": _plain(1, lambda a: not truthy(a)),
    "notin": Function(1, _ANY, lambda arguments: not _in(arguments)),
    "or": Function(2, _ANY, _or),
    "replace": _plain(3, _replace),
    "split": _plain(2, _split),
    "startswith": _plain(2, lambda a, b: folded(text(a)).startswith(folded(text(b)))),
    "substring": _plain(3, _substring),
    "trim": _plain(1, lambda a: text(a).strip()),
    "upper": _plain(1, lambda a: text(a).upper()),
    "xor": _plain(2, lambda a, b: truthy(a) != truthy(b)),
}
