"""YAML as the project's files must be: YAML 1.2's core schema, with the place of everything.

libyaml reads YAML 1.1, where `on`, `no` and `12:30` are not text; so only its syntax is used, and plain scalars get the meaning that
YAML 1.2.2, chapter 10.3 gives them. Duplicate keys, keys that are no text, tabs, tags of one's own, recursive aliases and several
documents in a file are problems. Merge keys (`<<`) are YAML 1.1 and a problem in our own specs; Azure ML's files may have them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yaml import CSafeLoader, MarkedYAMLError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

Place = tuple[int, int]  # line and column, both from 1
Steps = Sequence["str | int"]  # from the top of a document to a value: keys and indices

_TAG = "tag:yaml.org,2002:"
_TAB = "expected spaces, found a tab; YAML is indented with spaces only"
_NUMBER = list("-+.0123456789")
_MOST_DIGITS, _DEEPEST, _MOST_VALUES = 400, 100, 200_000


class _Loader(CSafeLoader):
    """libyaml's parser with the core schema's resolvers instead of YAML 1.1's."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as the base class has it


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", _NUMBER),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", _NUMBER),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(f"^(?:{_pattern})$"), _first)


@dataclass(frozen=True, order=True)
class Problem:
    """Something wrong at a place in a file; printed as `file:line:column: message`."""

    file: Path
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


@dataclass
class Document:
    """A YAML file: its value as plain Python data, and what is wrong with it as YAML."""

    file: Path
    value: Any = None
    problems: list[Problem] = field(default_factory=list)
    text: str = ""
    _root: Node | None = None

    def problem(self, path: Steps, message: str, *, key: bool = False) -> Problem:
        """A problem at the value that a path leads to (or at its key), or at the nearest value above it."""
        return Problem(self.file, *self.place(path, key=key), message)

    def place(self, path: Steps, *, key: bool = False) -> Place:
        """Where a value (or its key) begins."""
        found = self.node(path, key=key)
        return (found.start_mark.line + 1, found.start_mark.column + 1) if found else (1, 1)

    def node(self, path: Steps, *, key: bool = False) -> Node | None:
        """The node of a value, or of the nearest one above it."""
        node = self._root
        for at, step in enumerate(path):
            if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
            elif isinstance(node, MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == step), None)
                if pair is None:
                    break
                node = pair[0] if key and at == len(path) - 1 else pair[1]
            else:
                break
        return node


def read(file: Path, *, merge: bool = False, name: Path | None = None) -> Document:
    """Read a YAML file. Never raises for what is in it: see `Document.problems`. `name` is what problems call the file."""
    document = Document(name or file)
    try:
        document.text = file.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return _broken(document, 1, 1, "expected a file, found none")
    except IsADirectoryError:
        return _broken(document, 1, 1, "expected a file, found a folder")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8-sig", "replace")) + 1
        return _broken(document, line, column, f"expected UTF-8, found the byte 0x{error.object[error.start]:02x}")
    return parse(document, merge=merge)


def parse(document: Document, *, merge: bool = False) -> Document:
    """Fill in a document from its text."""
    loader = _Loader(document.text)
    try:
        document._root = loader.get_single_node()
    except ReaderError as error:
        before = document.text.encode()[: error.position].decode(errors="replace")  # libyaml counts bytes
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return _broken(document, line, column, f"expected printable text, found U+{ord(document.text[len(before)]):04X}")
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return _broken(document, line, column, _syntax(error, document.text, line, column))
    finally:
        loader.dispose()
    if document._root is not None:
        _Builder(document, merge).fill(document._root)
    return document


class _Builder:
    def __init__(self, document: Document, merge: bool) -> None:
        self.document, self.merge, self.values = document, merge, 0
        self.spans: list[tuple[int, int]] = []  # lines inside scalars of several lines, where a tab is text

    def fill(self, root: Node) -> None:
        try:
            self.document.value = self.build(root, ())
        except _TooMuch as error:
            self.wrong(error.node, str(error))
        for found in re.finditer(r"^ *(?=\t[ \t]*[^ \t\n])", self.document.text, re.MULTILINE):
            line = self.document.text.count("\n", 0, found.start())
            if not any(first < line <= last for first, last in self.spans):
                self.document.problems.append(Problem(self.document.file, line + 1, len(found[0]) + 1, _TAB))

    def build(self, node: Node, above: tuple[int, ...]) -> Any:
        if id(node) in above:
            raise _TooMuch(node, "expected a value, found an alias to something that contains it")
        self.values += 1
        if self.values > _MOST_VALUES:
            raise _TooMuch(node, f"expected at most {_MOST_VALUES} values, found more (aliases count each time)")
        if len(above) > _DEEPEST:
            raise _TooMuch(node, f"expected at most {_DEEPEST} levels, found more")
        if isinstance(node, ScalarNode):
            return self.scalar(node)
        if isinstance(node, SequenceNode):
            self.untagged(node, "seq")
            return [self.build(item, (*above, id(node))) for item in node.value]
        self.untagged(node, "map")
        return self.mapping(node, (*above, id(node)))

    def mapping(self, node: Any, above: tuple[int, ...]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        merged: list[Any] = []
        places: dict[str, Place] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self.wrong(key_node, "expected a key that is text, found a list or a mapping")
                continue
            key = key_node.value
            if key == "<<" and not key_node.style:
                if not self.merge:
                    self.wrong(key_node, "expected a key, found a merge key (<<), which YAML 1.2 does not have; write the keys out")
                    continue
                value = self.build(value_node, above)
                merged += value if isinstance(value, list) else [value]
                continue
            if not isinstance(self.scalar(key_node), str):
                self.wrong(key_node, f"expected a key that is text, found {key}; put it in quotes")
                continue
            if key in places:
                self.wrong(key_node, f"expected each key once, found {key} again (first in line {places[key][0]})")
                continue
            places[key] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            made[key] = self.build(value_node, above)
        for value in merged:
            for key, item in value.items() if isinstance(value, dict) else ():
                made.setdefault(key, item)
        return made

    def scalar(self, node: Any) -> Any:
        text, kind = node.value, node.tag.removeprefix(_TAG)
        if node.start_mark.line != node.end_mark.line:
            self.spans.append((node.start_mark.line, node.end_mark.line))
        if kind == "str":
            return text
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return {"true": True, "false": False}[text.lower()]
            if kind == "int" and len(text) <= _MOST_DIGITS:
                return int(text, 0 if text[1:2] in "ox" else 10)
            if kind == "float" and math.isfinite(number := float(text.replace(".inf", "inf"))):
                return number
        except (KeyError, ValueError):
            pass
        if kind in ("bool", "int", "float"):
            self.wrong(node, f"expected a number that JSON can hold, found {text[:40]}; put text in quotes")
        else:
            self.untagged(node, "str")
        return text

    def untagged(self, node: Any, kind: str) -> None:
        if node.tag != _TAG + kind:
            self.wrong(node, f"expected a value without a tag of its own, found {node.tag}")

    def wrong(self, node: Any, message: str) -> None:
        mark = node.start_mark
        self.document.problems.append(Problem(self.document.file, mark.line + 1, mark.column + 1, message))


class _TooMuch(Exception):
    def __init__(self, node: Node, message: str) -> None:
        self.node = node
        super().__init__(message)


def _broken(document: Document, line: int, column: int, message: str) -> Document:
    document.problems.append(Problem(document.file, line, column, message))
    return document


def _syntax(error: MarkedYAMLError, text: str, line: int, column: int) -> str:
    lines = text.split("\n")
    here = lines[line - 1] if line <= len(lines) else ""
    if here[column - 1 : column] == "\t" or here[: column - 1].strip(" ") == "\t":
        return _TAB
    if "single document" in str(error.context or "") or "another document" in str(error.problem or ""):
        return "expected one document, found a second (---)"
    problem, context = error.problem or "bad YAML", error.context
    found = f"{problem} {context}" if context else problem
    return f"expected YAML, found that the parser says: {found}"
