"""The expressions of Azure ML: ``${{inputs.x}}`` in commands, ``${{parent.jobs.a.outputs.b}}`` between the steps of a pipeline.

Source: https://learn.microsoft.com/azure/machine-learning/reference-yaml-core-syntax#expression-syntax-for-configuring-azure-ml-jobs-and-components.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_EXPRESSION = re.compile(r"\$\{\{\s*([\w.\-]+)\s*\}\}")
_OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
_BINDING = re.compile(
    r"\s*\$\{\{\s*parent\.(?:(?P<where>inputs|outputs)\.(?P<name>[\w.\-]+)|jobs\.(?P<job>[\w\-]+)\.(?P<side>inputs|outputs)\.(?P<port>[\w.\-]+))\s*\}\}\s*"
)


@dataclass(frozen=True)
class Binding:
    """What a value of a step is bound to: an input or output of the pipeline (``job`` empty), or of another step."""

    side: str  # "inputs" or "outputs"
    name: str
    job: str = ""


def references(text: str) -> list[str]:
    """The expressions in a text, without their braces: ``inputs.x``."""
    return _EXPRESSION.findall(text)


def optional_references(text: str) -> set[str]:
    """The expressions inside ``$[[...]]``: they may be left out."""
    return {name for part in _OPTIONAL.findall(text) for name in references(part)}


def fill(text: str, value: Callable[[str], str | None]) -> str:
    """The text with every expression replaced; an optional part goes when one of its expressions has no value.

    KeyError names an expression that must have a value and has none.
    """

    def part(match: re.Match[str]) -> str:
        inside = match[1]
        return inside if all(value(name) is not None for name in references(inside)) else ""

    def expression(match: re.Match[str]) -> str:
        found = value(match[1])
        if found is None:
            raise KeyError(match[1])
        return found

    return _EXPRESSION.sub(expression, _OPTIONAL.sub(part, text))


def binding(value: object) -> Binding | None:
    """The binding that a whole value is; None for other values."""
    match = _BINDING.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return None
    if match["where"]:
        return Binding(match["where"], match["name"])
    return Binding(match["side"], match["port"], match["job"])


def binding_of(port: object) -> Binding | None:
    """The binding of a step's input or output, in any of the forms that clients send: text, ``value``, ``path`` or ``uri``."""
    if isinstance(port, Mapping):
        return next((found for key in ("value", "path", "uri") if (found := binding(port.get(key)))), None)
    return binding(port)
