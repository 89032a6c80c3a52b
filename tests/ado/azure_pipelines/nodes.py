"""YAML as Azure Pipelines reads it: every scalar stays the text that was written, and every node knows its place.

Anchors, aliases, tags, complex keys and a second document are refused, as the service refuses them
(https://learn.microsoft.com/azure/devops/pipelines/yaml-schema, "Azure Pipelines doesn't support all YAML features").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import yaml

# YAML 1.2's core schema, in which the service's parser reads a number or a truth value.
_WHOLE = re.compile(r"[-+]?[0-9]+")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TRUTH = {"true": True, "false": False}
_NOTHING = {"", "~", "null"}


class Place(NamedTuple):
    """Where something was written: file (`path` or `path@alias`), line and column from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file} (Line: {self.line}, Col: {self.column})"


class Fault(Exception):
    """What is wrong with a pipeline, and where. Its text is one line: the place, as the service writes it, and the message."""

    def __init__(self, message: str, at: Place) -> None:
        super().__init__(f"{at}: {message}")
        self.message, self.at = message, at


class Text(str):
    """A scalar. `plain` is False where it was quoted or a block, which keeps it text wherever a type could be read into it."""

    at: Place
    plain: bool

    def __new__(cls, value: str, at: Place, *, plain: bool = True) -> Text:
        made = super().__new__(cls, value)
        made.at, made.plain = at, plain
        return made


class Directive(Text):
    """A key that is an expression, `${{ ... }}`. Two of the same text are two keys: a map may have more than one `${{ else }}`."""

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    __hash__ = object.__hash__


class Sequence(list["Node"]):
    """A list that knows where it begins."""

    def __init__(self, items: Iterable[Node], at: Place) -> None:
        super().__init__(items)
        self.at = at


class Mapping(dict["Text", "Node"]):
    """A map that knows where it begins; its keys are Texts, in the order of the file."""

    def __init__(self, items: Iterable[tuple[Text, Node]], at: Place) -> None:
        super().__init__(items)
        self.at = at

    def key(self, name: str) -> Text:
        """The key as it was written, with its place."""
        return next(key for key in self if key == name)

    def under(self, name: str) -> Node | None:
        """What stands under a key, or None."""
        return next((value for key, value in self.items() if key == name), None)


Node: TypeAlias = Text | Sequence | Mapping


def load(text: str, file: str) -> Node:
    """Read one document. Raises Fault for what is no YAML, for a key that stands twice, and for what the service does not take."""
    try:
        found = _Composer(text, file).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
        raise Fault(" ".join(f"{error.context or ''} {error.problem or ''}".split()).capitalize(), place) from None
    except yaml.YAMLError as error:
        raise Fault(" ".join(str(error).split()), Place(file, 1, 1)) from None
    return _node(found, file) if found is not None else Text("", Place(file, 1, 1))


def typed(node: Node) -> Any:
    """The node as plain Python: what was written without quotes as a number, a truth value or nothing becomes one."""
    if isinstance(node, Mapping):
        return {str(key): typed(value) for key, value in node.items()}
    if isinstance(node, Sequence):
        return [typed(value) for value in node]
    if not node.plain:
        return str(node)
    if node in _NOTHING:
        return None
    if node.lower() in _TRUTH:
        return _TRUTH[node.lower()]
    if _WHOLE.fullmatch(node):
        return int(node)
    return float(node) if _DECIMAL.fullmatch(node) else str(node)


class _Composer(yaml.SafeLoader):
    def __init__(self, text: str, file: str) -> None:
        super().__init__(text)
        self.file = file

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        at = Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.AliasEvent):
            raise Fault(f"Aliases are not supported: *{event.anchor}", at)
        if getattr(event, "anchor", None):
            raise Fault(f"Anchors are not supported: &{event.anchor}", at)
        if getattr(event, "tag", None):
            raise Fault(f"Tags are not supported: {event.tag}", at)
        return super().compose_node(parent, index)


def _node(found: yaml.Node, file: str) -> Node:
    at = Place(file, found.start_mark.line + 1, found.start_mark.column + 1)
    if isinstance(found, yaml.ScalarNode):
        return Text(found.value, at, plain=found.style is None)
    if isinstance(found, yaml.SequenceNode):
        return Sequence((_node(item, file) for item in found.value), at)
    made = Mapping((), at)
    for written, value in found.value:
        key = _node(written, file)
        if not isinstance(key, Text):
            raise Fault("A key must be a text", key.at)
        if key.startswith("${{"):
            key = Directive(key, key.at, plain=key.plain)
        if key in made:
            raise Fault(f"'{key}' is already defined", key.at)
        made[key] = _node(value, file)
    return made
