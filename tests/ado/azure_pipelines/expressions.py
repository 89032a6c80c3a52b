"""Azure Pipelines expressions: what stands in `${{ }}`, in `$[ ]` and in a condition, parsed and evaluated.

https://learn.microsoft.com/azure/devops/pipelines/process/expressions. The messages are the service's; they give the position in the
expression, and the Fault the place of the text it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from .functions import FUNCTIONS
from .nodes import Fault, Place
from .values import Mistake, Value, decimal, member, members, version

_NUMERIC = re.compile(r"[-.0-9][^\s\[\](),]*")
_PLAIN_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)")
_STRING = re.compile(r"'(?:[^']|'')*'")
_WORD = re.compile(r"[^\s\[\](),.]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEEPEST, _LONGEST = 50, 21000
_HELP = "For more help, refer to https://go.microsoft.com/fwlink/?linkid=842996"


class Token(NamedTuple):
    """A piece of an expression and its position in it, from 1."""

    text: str
    position: int


@dataclass(frozen=True)
class Literal:
    value: Value


@dataclass(frozen=True)
class Name:
    token: Token


@dataclass(frozen=True)
class Index:
    """`of.name`, `of[...]`; `by` is None for `*`."""

    of: Term
    by: Term | None


@dataclass(frozen=True)
class Call:
    token: Token
    arguments: Sequence[Term]


Term: TypeAlias = "Literal | Name | Index | Call"


@dataclass(frozen=True)
class Scope:
    """What an expression can name. A value that is a function is called when it is needed; names have no case."""

    names: Mapping[str, Value]
    functions: Mapping[str, Callable[..., Value]] = field(default_factory=dict)


@dataclass(frozen=True)
class Expression:
    """A parsed expression."""

    text: str
    at: Place
    root: Term

    def evaluate(self, scope: Scope) -> Value:
        """Its value. Raises Fault for an unknown name or function and for a value that a function can't use."""
        try:
            return _value(self.root, scope, self.text)
        except Mistake as mistake:
            raise Fault(str(mistake), self.at) from None

    def references(self) -> list[tuple[str, ...]]:
        """Every name with the properties that are known without a run, as ("dependencies", "A", "outputs", "step.var")."""
        return [tuple(chain) for chain in _references(self.root)]

    def calls(self) -> list[tuple[str, int]]:
        """Every function as it is written, with the number of its arguments."""
        return [(term.token.text, len(term.arguments)) for term in _walk(self.root) if isinstance(term, Call)]

    def check(self, names: Collection[str], functions: Collection[str] = ()) -> None:
        """Raise Fault for the first name or function that neither the language nor the place of the expression knows."""
        for term in _walk(self.root):
            if isinstance(term, Name) and _lookup(dict.fromkeys(names, True), term.token.text) is None:
                raise Fault(_unknown(term.token, self.text), self.at)
            if isinstance(term, Call) and _function(term, dict.fromkeys(functions, True)) is None:
                raise Fault(_unknown(term.token, self.text), self.at)


def parse(text: str, at: Place) -> Expression:
    """Parse what stands inside the brackets. Raises Fault, as the service words it."""
    if len(text) > _LONGEST:
        raise Fault(f"Exceeded max expression length {_LONGEST}. {_HELP}", at)
    written = text.strip()
    if not written:
        raise Fault("An expression was expected", at)
    try:
        return Expression(written, at, _Parser(written).whole())
    except Mistake as mistake:
        raise Fault(str(mistake), at) from None


def _value(term: Term, scope: Scope, written: str) -> Value:
    if isinstance(term, Literal):
        return term.value
    if isinstance(term, Name):
        found = _lookup(scope.names, term.token.text)
        if found is None:
            raise Mistake(_unknown(term.token, written))
        return found[0]() if callable(found[0]) else found[0]
    if isinstance(term, Index):
        of = _value(term.of, scope, written)
        return members(of) if term.by is None else member(of, _value(term.by, scope, written))
    arguments = [lambda term=argument: _value(term, scope, written) for argument in term.arguments]
    function = _function(term, scope.functions)
    if function is None:
        raise Mistake(_unknown(term.token, written))
    return function(arguments)


def _function(call: Call, extra: Mapping[str, Value]) -> Callable[..., Value] | None:
    if known := FUNCTIONS.get(call.token.text.lower()):
        return known.call
    found = _lookup(extra, call.token.text)
    return None if found is None else lambda arguments: found[0](*(argument() for argument in arguments))


def _lookup(names: Mapping[str, Value], name: str) -> tuple[Value] | None:
    """The value of a name in a tuple of one, because the value may well be None."""
    return next(((value,) for known, value in names.items() if known.lower() == name.lower()), None)


def _walk(term: Term) -> Iterator[Term]:
    yield term
    inner = term.arguments if isinstance(term, Call) else (term.of, term.by) if isinstance(term, Index) else ()
    for part in inner:
        if part is not None:
            yield from _walk(part)


def _references(term: Term) -> Iterator[list[str]]:
    chain: list[str] = []
    inside: list[Term] = [*term.arguments] if isinstance(term, Call) else []
    while isinstance(term, Index):
        known = isinstance(term.by, Literal)
        if not known:
            chain = []
        if isinstance(term.by, Literal):
            chain.insert(0, str(term.by.value))
        elif term.by is not None:
            inside.append(term.by)
        term = term.of
        if isinstance(term, Call):
            inside.append(term)
    if isinstance(term, Name):
        yield [term.token.text, *chain]
    for part in inside:
        yield from _references(part)


def _unknown(token: Token, written: str) -> str:
    return _wrong("Unrecognized value", token, written)


def _wrong(what: str, token: Token, written: str) -> str:
    return f"{what}: '{token.text}'. Located at position {token.position} within expression: {written}. {_HELP}"


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, written: str) -> None:
        self.written = written
        self.tokens = list(self._split())
        self.next = 0
        self.depth = 0

    def whole(self) -> Term:
        term = self.term()
        if self.next < len(self.tokens):
            raise self.wrong("Unexpected symbol", self.tokens[self.next])
        return term

    def term(self) -> Term:
        token = self.take()
        term = self.start(token)
        # Only what has a name, and what a bracket closed, can be gone into.
        while not isinstance(term, Literal) and (mark := self.peek()) in (".", "["):
            opened = self.take()
            if mark == ".":
                name = self.peek()
                if name is None:
                    raise self.wrong("Expected a property name to follow the dereference operator '.'", opened)
                found = self.take()
                if name != "*" and not _NAME.fullmatch(name):
                    raise self.wrong("Unexpected symbol", found)
                term = Index(term, None if name == "*" else Literal(name))
            elif self.peek() == "*":
                self.take()
                term = Index(term, None)
                self.close("]", "Unclosed indexer", opened)
            else:
                term = Index(term, self.nested(opened, "Unclosed indexer"))
                self.close("]", "Unclosed indexer", opened)
        return term

    def start(self, token: Token) -> Term:
        word = token.text
        if word.startswith("'"):
            if not _STRING.fullmatch(word):
                raise self.wrong("Unrecognized value", token)
            return Literal(word[1:-1].replace("''", "'"))
        if _NUMERIC.fullmatch(word):
            found = version(word) if word.count(".") > 1 else decimal(word) if _PLAIN_NUMBER.fullmatch(word) else None
            if found is None:
                raise self.wrong("Unrecognized value", token)
            return Literal(found)
        if word in "[](),*.":
            raise self.wrong("Unexpected symbol", token)
        if word.lower() in ("true", "false"):
            return Literal(word.lower() == "true")
        if not _NAME.fullmatch(word):
            raise self.wrong("Unrecognized value", token)
        if self.peek() == "(":
            return self.call(token)
        if word.lower() in FUNCTIONS:
            raise self.wrong("Expected '(' to follow a function", token)
        return Name(token)

    def call(self, token: Token) -> Term:
        self.take()
        arguments: list[Term] = []
        if self.peek() != ")":
            arguments.append(self.nested(token, "Unclosed function"))
            while self.peek() == ",":
                self.take()
                arguments.append(self.nested(token, "Unclosed function"))
        known = FUNCTIONS.get(token.text.lower())
        if self.peek() == ")" and known and not known.least <= len(arguments) <= known.most:
            raise self.wrong("Unexpected symbol", self.take())
        self.close(")", "Unclosed function", token)
        return Call(token, arguments)

    def nested(self, opened: Token, unclosed: str) -> Term:
        if self.peek() is None:
            raise self.wrong(unclosed, opened)
        self.depth += 1
        if self.depth >= _DEEPEST:
            raise Mistake(f"Exceeded max expression depth {_DEEPEST}. {_HELP}")
        term = self.term()
        self.depth -= 1
        return term

    def close(self, mark: str, unclosed: str, opened: Token) -> None:
        if self.peek() is None:
            raise self.wrong(unclosed, opened)
        token = self.take()
        if token.text != mark:
            raise self.wrong("Unexpected symbol", token)

    def peek(self) -> str | None:
        return self.tokens[self.next].text if self.next < len(self.tokens) else None

    def take(self) -> Token:
        self.next += 1
        return self.tokens[self.next - 1]

    def wrong(self, what: str, token: Token) -> Mistake:
        return Mistake(_wrong(what, token, self.written))

    def _split(self) -> Iterator[Token]:
        at, last = 0, ","
        while at < len(self.written):
            if self.written[at].isspace():
                at += 1
                continue
            # A point begins a number where a value may begin, and is a dereference elsewhere.
            numeric = _NUMERIC.match(self.written, at)
            if numeric and (self.written[at] != "." or last in "[(,"):
                word = numeric[0]
            elif self.written[at] == "'":
                found = _STRING.match(self.written, at)
                word = found[0] if found else self.written[at:]
            elif self.written[at] in "[](),*.":
                word = self.written[at]
            else:
                found = _WORD.match(self.written, at)
                word = found[0] if found else self.written[at]
            yield Token(word, at + 1)
            last, at = word, at + len(word)
