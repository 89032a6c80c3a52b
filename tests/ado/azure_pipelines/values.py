"""Values of Azure Pipelines expressions: their kinds, how one kind becomes another, how two are compared.

https://learn.microsoft.com/azure/devops/pipelines/process/expressions, "Type casting". What the page leaves open (how a number is
written, which spaces and commas a number may have, versions with parts left out) is .NET's, in which the service is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, NamedTuple, TypeAlias

Value: TypeAlias = Any  # None | bool | Decimal (an int or a float is taken as one) | str | Version | datetime | list | dict

_NUMBER = re.compile(r"[-+]?(\d[\d,]*(\.\d*)?|\.\d+)")
_VERSION = re.compile(r"\d+(\.\d+){1,3}")
_TIME = re.compile(r"(\d{4})([-/])(\d\d?)\2(\d\d?)[ T](\d\d?):(\d\d?):(\d\d?)(?:\.(\d{1,6})\d?)?(Z|[-+]\d\d:\d\d)?")
_LARGEST_PART = 2**31 - 1  # of a version
_LARGEST = 2**96 - 1
_DECIMALS = Decimal("0.0000001")  # A number is written with at most seven decimals.
_EXACT = Context(prec=60)


class Mistake(Exception):
    """What is wrong with a value. Who knows the place makes a Fault of it."""


class Version(NamedTuple):
    """Two to four numbers; a part that was left out is -1 and so comes before 0."""

    major: int
    minor: int
    build: int = -1
    revision: int = -1

    def __str__(self) -> str:
        return ".".join(str(part) for part in self if part >= 0)


class Filtered(list[Any]):
    """What `.*` made: an index goes to each of its items instead of to the list."""


class Strict(dict[str, Value]):
    """A map in which an unknown name is a mistake and not null: `parameters`."""


def kind(value: Value) -> str:
    """Null, Boolean, Number, String, Version, DateTime, Array or Object."""
    if value is None:
        return "Null"
    for made, name in (
        (bool, "Boolean"),
        ((Decimal, int, float), "Number"),
        (str, "String"),
        (Version, "Version"),
        (datetime, "DateTime"),
        (list, "Array"),
    ):
        if isinstance(value, made):
            return name
    if isinstance(value, Mapping):
        return "Object"
    raise TypeError(f"no value of an expression: {value!r}")


def truthy(value: Value) -> bool:
    """As a Boolean: null, 0 and the empty string are False, all else is True, and so is 'False'."""
    if kind(value) in ("Null", "Boolean", "Number", "String"):
        return bool(value)
    return True


def convert(value: Value, to: str) -> Value:
    """The value as another kind. Raises Mistake where the page's table has none.

    An empty string is 0 and null; null is 0 and the empty string; a number or a string is a version if it reads as one.
    """
    known = kind(value)
    if known == to:
        return Decimal(str(value)) if known == "Number" else value
    made: Value = None
    if to == "Boolean":
        return truthy(value)
    if to == "Null" and value == "":
        return None
    if to == "Number":
        made = _number(value)
    elif to == "String":
        made = _string(value)
    elif to == "Version" and known in ("Number", "String"):
        made = version(text(value))
    elif to == "DateTime" and known == "String":
        made = _time(value)
    if made is None:
        raise Mistake(f"Unable to convert from {known} to {to}. Value: {shown(value)}")
    return made


def text(value: Value) -> str:
    """As a String: True, False, numbers without needless zeros, null as ''. Raises Mistake for an Array and an Object."""
    return str(convert(value, "String"))


def number(value: Value) -> Decimal:
    """As a Number. Raises Mistake for what is none."""
    made: Decimal = convert(value, "Number")
    return made


def decimal(written: str) -> Decimal | None:
    """The digits as a number, or None where they are too many for the service."""
    made = Decimal(written)
    return made if -_LARGEST <= made <= _LARGEST else None


def version(written: str) -> Version | None:
    """A version of two to four parts, or None."""
    if not _VERSION.fullmatch(written):
        return None
    parts = [int(part) for part in written.split(".")]
    return Version(*parts) if max(parts) <= _LARGEST_PART else None


def folded(written: str) -> str:
    """For a comparison without case, letter by letter as .NET's OrdinalIgnoreCase does it: upper case, never more letters than before."""
    return "".join(upper if len(upper := letter.upper()) == 1 else letter for letter in written)


def equal(left: Value, right: Value) -> bool:
    """The right one becomes the left one's kind; where it can't, they differ. Strings without case. A list or a map equals only itself."""
    known = kind(left)
    if known in ("Array", "Object"):
        return left is right
    try:
        same: bool = _key(convert(left, known)) == _key(convert(right, known))
        return same
    except Mistake:
        return False


def compare(left: Value, right: Value) -> int:
    """Below, at or above zero. The right one becomes the left one's kind, null a number. Raises Mistake where it can't."""
    known = kind(left)
    if known in ("Null", "Array", "Object"):
        known = "Number"
    one, other = _key(convert(left, known)), _key(convert(right, known))
    order: int = (one > other) - (one < other)
    return order


def member(value: Value, index: Value) -> Value:
    """`value[index]`: a map by name, without case; a list by number, from 0. What isn't there is null; an unknown parameter a Mistake."""
    if isinstance(value, Filtered):
        return Filtered(found for item in value for found in _found(item, index))
    found = _found(value, index)
    if not found and isinstance(value, Strict):
        raise Mistake(f"Key not found '{text(index)}'")
    return found[0] if found else None


def members(value: Value) -> Filtered:
    """`value.*`: the items of a list, the values of a map; of a filtered list those of each item. Nothing of anything else."""
    if isinstance(value, Filtered):
        return Filtered(found for item in value for found in members(item))
    if isinstance(value, Mapping):
        return Filtered(value.values())
    return Filtered(value if isinstance(value, list) else ())


def shown(value: Value) -> str:
    """For a message: a string in quotes, a version with its v, the kind of what has parts."""
    known = kind(value)
    if known in ("Null", "Array", "Object"):
        return known
    if known == "String":
        return f"'{value.replace(chr(39), chr(39) * 2)}'"
    return {"Version": "v", "DateTime": "(DateTime)"}.get(known, "") + text(value)


def _found(value: Value, index: Value) -> list[Value]:
    """The member in a list, or an empty one."""
    try:
        if isinstance(value, list):
            at = int(place) if (place := number(index)) >= 0 else len(value)
            return value[at : at + 1]
        if isinstance(value, Mapping):
            name = text(index)
            if name in value:
                return [value[name]]
            return [item for key, item in value.items() if folded(key) == folded(name)][:1]
    except Mistake:
        pass
    return []


def _key(value: Value) -> Value:
    return folded(value) if isinstance(value, str) else value


def _number(value: Value) -> Decimal | None:
    if value is None or value == "":
        return Decimal(0)
    if isinstance(value, bool):
        return Decimal(value)
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return None
    return decimal(value.replace(",", ""))


def _string(value: Value) -> str | None:
    if value is None:
        return ""
    if kind(value) == "Number":
        return f"{Decimal(value).quantize(_DECIMALS, ROUND_HALF_UP, _EXACT):f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime):
        offset = value.strftime("%z") or "+0000"
        return f"{value:%Y-%m-%d %H:%M:%S}{offset[:3]}:{offset[3:]}"
    return str(value) if isinstance(value, (bool, Version)) else None


def _time(written: str) -> datetime | None:
    found = _TIME.fullmatch(written.strip())
    if not found:
        return None
    year, _, month, day, hour, minute, second, fraction, offset = found.groups()
    zone = datetime.strptime(offset, "%z").tzinfo if offset else timezone.utc
    try:
        parts = (int(part) for part in (year, month, day, hour, minute, second, (fraction or "").ljust(6, "0")))
        return datetime(*parts, tzinfo=zone)  # type: ignore[arg-type, misc]
    except ValueError:
        return None
