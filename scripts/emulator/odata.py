"""``$filter`` of OData, as far as Azure's clients write it: comparisons, ``and``/``or``/``not``, ``startswith``, ``any``.

Grammar: https://learn.microsoft.com/graph/filter-query-parameter. Text compares without case, as ARM and Graph compare it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from emulator.errors import AzureError

Test = Callable[[Mapping[str, Any]], bool]
_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|([A-Za-z_][\w./-]*)|(\d[\w:.-]*)|([(),:]))")


def parse(text: str, functions: Mapping[str, Callable[..., Test]] | None = None) -> Test:
    """A filter as a test of one document. ``functions`` are the service's own, such as ``atScope()``. Raises Azure's 400."""
    tokens: list[str] = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise _invalid(text)
        tokens.append(match.group().strip())
        at = match.end()
    parser = _Parser(text, tokens, functions or {})
    test = parser.either()
    if parser.tokens:
        raise _invalid(text)
    return test


def _invalid(text: str) -> AzureError:
    return AzureError(400, "InvalidFilterInQueryString", f"Invalid $filter '{text}' specified in the query string.")


class _Parser:
    """Recursive descent over the tokens; ``either`` is the entry."""

    def __init__(self, text: str, tokens: list[str], functions: Mapping[str, Callable[..., Test]]) -> None:
        self.text, self.tokens, self.functions = text, tokens, functions

    def next(self, expected: str | None = None) -> str:
        if not self.tokens or (expected is not None and self.tokens[0].lower() != expected):
            raise _invalid(self.text)
        return self.tokens.pop(0)

    def take(self, word: str) -> bool:
        if self.tokens and self.tokens[0].lower() == word:
            self.tokens.pop(0)
            return True
        return False

    def either(self) -> Test:
        tests = [self.both()]
        while self.take("or"):
            tests.append(self.both())
        return tests[0] if len(tests) == 1 else lambda document: any(test(document) for test in tests)

    def both(self) -> Test:
        tests = [self.term()]
        while self.take("and"):
            tests.append(self.term())
        return tests[0] if len(tests) == 1 else lambda document: all(test(document) for test in tests)

    def term(self) -> Test:
        if self.take("not"):
            test = self.term()
            return lambda document: not test(document)
        if self.take("("):
            test = self.either()
            self.next(")")
            return test
        word = self.next()
        if self.take("("):
            return self.call(word)
        operator, value = self.next().lower(), _literal(self.next())
        if operator not in ("eq", "ne"):
            raise _invalid(self.text)
        return lambda document: _same(_field(document, word), value) == (operator == "eq")

    def call(self, name: str) -> Test:
        if name.lower().endswith("/any"):
            variable = self.next()
            self.next(":")
            if self.next() != variable or self.next().lower() != "eq":
                raise _invalid(self.text)
            value = _literal(self.next())
            self.next(")")
            field = name[: -len("/any")]
            return lambda document: any(_same(each, value) for each in _field(document, field) or ())
        words: list[str] = []
        while not self.take(")"):
            words.append(self.next())
            self.take(",")
        if name.lower() == "startswith" and len(words) == 2:
            start = str(_literal(words[1])).lower()
            return lambda document: str(_field(document, words[0]) or "").lower().startswith(start)
        found = next((function for known, function in self.functions.items() if known.lower() == name.lower()), None)
        if found is None:
            raise _invalid(self.text)
        return found(*[_literal(word) for word in words])


def _field(document: Mapping[str, Any], path: str) -> Any:
    """A field by its path (``a/b``), without case."""
    value: Any = document
    for name in path.split("/"):
        if not isinstance(value, Mapping):
            return None
        value = next((each for key, each in value.items() if key.lower() == name.lower()), None)
    return value


def _literal(token: str) -> Any:
    if token.startswith("'"):
        return token[1:-1].replace("''", "'")
    return {"true": True, "false": False, "null": None}.get(token.lower(), token)


def _same(one: Any, other: Any) -> bool:
    return one.lower() == other.lower() if isinstance(one, str) and isinstance(other, str) else bool(one == other)
