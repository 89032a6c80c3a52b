"""YAML 1.2 with places: what is read, what is refused and where."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from aml.yaml import Document, parse, read

FILE = Path("f.yml")


def of(text: str, *, merge: bool = False) -> Document:
    return parse(Document(FILE, text=text), merge=merge)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("No", "No"),
        ("12:30:45", "12:30:45"),
        ("2026-11-22", "2026-11-22"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("=", "="),
        ("<<", "<<"),
        (".", "."),
        ("nUll", "nUll"),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("!!int 5", 5),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("0o17", 15),
        ("0x1f", 31),
        ("007", 7),
        ("+12", 12),
        ("-3", -3),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("|\n  tab\there", "tab\there\n"),
        ("'a\n\n  b'", "a\nb"),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    document = of(f"a: {text}\n")
    assert document.problems == []
    assert document.value == {"a": value}
    assert type(document.value["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb:\n\tc: 1\n", "f.yml:3:1: expected spaces, found a tab; YAML is indented with spaces only"),
        ("a: [1,\n \t2]\n", "f.yml:2:2: expected spaces, found a tab; YAML is indented with spaces only"),
        ("a: |\n  x\n\ty\n", "f.yml:3:1: expected spaces, found a tab; YAML is indented with spaces only"),
        ("a: 1\nb: 2\na: 3\n", "f.yml:3:1: expected each key once, found a again (first in line 1)"),
        ("a: {b: 1, b: 2}\n", "f.yml:1:11: expected each key once, found b again (first in line 1)"),
        ("1: a\n", "f.yml:1:1: expected a key that is text, found 1; put it in quotes"),
        ("true: a\n", "f.yml:1:1: expected a key that is text, found true; put it in quotes"),
        ("? [a]\n: b\n", "f.yml:1:3: expected a key that is text, found a list or a mapping"),
        ("<<: {a: 1}\n", "f.yml:1:1: expected a key, found a merge key (<<), which YAML 1.2 does not have; write the keys out"),
        ("a: !x 1\n", "f.yml:1:4: expected a value without a tag of its own, found !x"),
        ("a: !!set {b: }\n", "f.yml:1:4: expected a value without a tag of its own, found tag:yaml.org,2002:set"),
        ("a: !!int x\n", "f.yml:1:4: expected a number that JSON can hold, found x; put text in quotes"),
        ("a: .nan\n", "f.yml:1:4: expected a number that JSON can hold, found .nan; put text in quotes"),
        ("a: 1e999\n", "f.yml:1:4: expected a number that JSON can hold, found 1e999; put text in quotes"),
        ("a: " + "9" * 500, f"f.yml:1:4: expected a number that JSON can hold, found {'9' * 40}; put text in quotes"),
        ("a: &b {c: *b}\n", "f.yml:1:4: expected a value, found an alias to something that contains it"),
        ("a: *b\n", "f.yml:1:4: expected YAML, found that the parser says: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "f.yml:2:1: expected one document, found a second (---)"),
        ("a: b: c\n", "f.yml:1:5: expected YAML, found that the parser says: mapping values are not allowed in this context"),
        ("a: \x07\n", "f.yml:1:4: expected printable text, found U+0007"),
        ("é: \x00\n", "f.yml:1:4: expected printable text, found U+0000"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, problem: str) -> None:
    assert [str(found) for found in of(text).problems] == [problem]


def test_all_problems_are_found_in_one_run() -> None:
    document = of("a: 1\na: 2\nb: !x 1\n1: c\n")
    assert [(found.line, found.column) for found in document.problems] == [(2, 1), (3, 4), (4, 1)]


def test_merge_keys_are_understood_where_azure_ml_allows_them() -> None:
    document = of("base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\nall:\n  <<: [*base, *more]\n  a: 5\n", merge=True)
    assert document.problems == []
    assert document.value["all"] == {"a": 5, "b": 2, "c": 4}


def test_nesting_and_expansion_have_a_bound() -> None:
    assert "levels, found more" in str(of("[" * 150 + "]" * 150).problems[0])
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    assert "values, found more" in str(of(bomb).problems[0])


def test_places_of_values_and_keys() -> None:
    document = of("a:\n  - b: 1\n  - c: [x,\n        y]\n")
    assert document.place(["a", 1, "c", 1]) == (4, 9)
    assert document.place(["a", 1, "c"], key=True) == (3, 5)
    assert document.place(["a", 1, "nothing", "deeper"]) == (3, 5), "the nearest value above"
    assert document.place([]) == (1, 1)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: 1\nb: caf\xe9\n")
    (tmp_path / "mark").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert str(read(tmp_path / "none").problems[0]).endswith("none:1:1: expected a file, found none")
    assert str(read(tmp_path / "latin" / "x").problems[0]).endswith(":1:1: expected a file, found none")
    assert str(read(tmp_path).problems[0]).endswith(":1:1: expected a file, found a folder")
    assert str(read(tmp_path / "latin", name=FILE).problems[0]) == "f.yml:2:7: expected UTF-8, found the byte 0xe9"
    assert read(tmp_path / "mark").value == {"a": 1}


# PyYAML writes what YAML 1.1 takes for a line break as it is, and so loses it.
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029\ufeff"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_pyyaml_writes_is_read_back(value: Any) -> None:
    text = pyyaml.safe_dump({"value": value}, allow_unicode=True)
    document = of(text)
    assert document.problems == []
    assert document.value == {"value": value}


@given(VALUES)
def test_json_is_yaml(value: Any) -> None:
    text = json.dumps({"value": value}, ensure_ascii=False)
    document = of(text)
    # what libyaml takes for a line break or for no letter at all is written with an escape in YAML
    if not re.search("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", text):
        assert document.problems == []
        assert document.value == {"value": value}


@given(st.text(alphabet=st.sampled_from(list("ab:-[]{},#&*!|>'\"%@`?\t\n ~.0")), max_size=40))
def test_any_text_gives_a_value_or_problems_inside_the_file(text: str) -> None:
    document = of(text)
    lines = text.split("\n")
    for problem in document.problems:
        assert 1 <= problem.line <= len(lines) + 1
        assert problem.column >= 1
        assert problem.message.startswith("expected ")
