"""Expressions of Azure Pipelines, rule by rule. Which page a table holds to is said in value_cases.py."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
import value_cases
from azure_pipelines import expressions, values
from azure_pipelines.expressions import Scope, parse
from azure_pipelines.functions import FUNCTIONS
from azure_pipelines.nodes import Fault, Place, Text
from azure_pipelines.values import Mistake, compare, equal, number, text
from hypothesis import given
from hypothesis import strategies as st

AT = Place("/pipeline.yml", 1, 1)
NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=7, min_value=-(10**12), max_value=10**12)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8))


@pytest.mark.parametrize("section", value_cases.VALUES)
def test_the_tables(section: str) -> None:
    wrong = [value_cases.broken(expressions, values, ("value", row)) for row in value_cases.VALUES[section]]
    assert [line for line in wrong if line] == []


@pytest.mark.parametrize("kind", ["references", "calls", "check"])
def test_what_an_expression_names(kind: str) -> None:
    wrong = [value_cases.broken(expressions, values, case) for case in value_cases.cases() if case[0] == kind]
    assert [line for line in wrong if line] == []


def test_every_function_is_in_a_table() -> None:
    written = {name.lower() for rows in value_cases.VALUES.values() for row in rows for name in FUNCTIONS if f"{name}(" in row[0].lower()}
    assert written == set(FUNCTIONS)


def test_a_fault_names_the_place_of_the_text() -> None:
    with pytest.raises(Fault) as caught:
        parse("eq(1", Place("/a.yml@catalog", 12, 5))
    assert str(caught.value) == (
        "/a.yml@catalog (Line: 12, Col: 5): Unclosed function: 'eq'. Located at position 1 within expression: eq(1. " + value_cases.HELP
    )


def test_what_is_no_value_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="no value of an expression"):
        values.kind(object())


def test_texts_of_a_file_are_strings() -> None:
    scope = Scope({"step": {"task": Text("Bash@3", AT)}})
    assert parse("eq(step.task, 'bash@3')", AT).evaluate(scope) is True
    assert type(parse("format('{0}', step.task)", AT).evaluate(scope)) is str


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_a_fault(written: str) -> None:
    # Anything but a Fault is an error of the test.
    with suppress(Fault):
        parse(written, AT).evaluate(Scope(value_cases.names(values), value_cases.FUNCTIONS))


PIECES = ["eq", "not", "(", ")", "[", "]", ",", ".", "*", "'", "a", "list", "1", "1.2.3", "-", " ", "map"]


@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_any_pieces_are_an_expression_or_a_fault(pieces: list[str]) -> None:
    with suppress(Fault):
        parse("".join(pieces), AT).evaluate(Scope(value_cases.names(values), value_cases.FUNCTIONS))


@given(st.text(max_size=40))
def test_a_quoted_string_is_what_was_quoted(written: str) -> None:
    assert parse("'" + written.replace("'", "''") + "'", AT).evaluate(Scope({})) == written


@given(NUMBERS)
def test_a_number_survives_as_a_string(value: Decimal) -> None:
    assert number(text(value)) == value
    assert "E" not in text(value)


@given(SCALARS, SCALARS)
def test_neither_below_nor_above_is_equal(left: Any, right: Any) -> None:
    try:
        order = compare(left, right)
    except Mistake:
        assert not equal(left, right)
        return
    if left is not None:  # null is a number where it is compared, and is not where it is equal
        assert equal(left, right) == (order == 0)
    if type(left) is type(right):
        assert compare(right, left) == -order


@given(st.lists(st.text(max_size=5), min_size=1, max_size=5), st.text(min_size=1, max_size=2))
def test_split_takes_apart_what_join_put_together(items: list[str], by: str) -> None:
    scope = Scope({"items": items, "by": by})
    joined = parse("join(by, items)", AT).evaluate(scope)
    assert parse("join(by, split(text, by))", AT).evaluate(Scope({"text": joined, "by": by})) == joined


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
        max_leaves=8,
    )
)
def test_json_can_be_read_back(value: Any) -> None:
    assert json.loads(parse("convertToJson(value)", AT).evaluate(Scope({"value": value}))) == value
