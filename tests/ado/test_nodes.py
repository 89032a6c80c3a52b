"""YAML as Azure Pipelines reads it (https://learn.microsoft.com/azure/devops/pipelines/yaml-schema): text, places, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from azure_pipelines.nodes import Directive, Fault, Mapping, Place, Sequence, Text, load, typed


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("3.10", 3.1),
        ("'3.10'", "3.10"),
        ("|\n  3\n", "3\n"),
        ("7", 7),
        ("-7", -7),
        ("007", 7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("'true'", "true"),
        ("yes", "yes"),
        ("on", "on"),
        ("~", None),
        ("null", None),
        ("", None),
        ("''", ""),
        ("2026-01-02", "2026-01-02"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("$(x)", "$(x)"),
        ("[1, '1']", [1, "1"]),
        ("{a: 1.50, 2: b}", {"a": 1.5, "2": "b"}),
    ],
)
def test_what_a_scalar_is_read_as(written: str, value: Any) -> None:
    found = typed(load(written, "/a.yml"))
    assert found == value
    assert type(found) is type(value)


def test_a_scalar_stays_the_text_that_was_written() -> None:
    found = load("a: 3.10\nb: '3.10'\n", "/a.yml")
    assert isinstance(found, Mapping)
    plain, quoted = found.under("a"), found.under("b")
    assert isinstance(plain, Text)
    assert isinstance(quoted, Text)
    assert (plain, plain.plain, quoted, quoted.plain) == ("3.10", True, "3.10", False)
    assert found.under("c") is None


def test_every_node_knows_its_place() -> None:
    found = load("first: 1\nlist:\n- a\n- {b: c}\n", "/a.yml@catalog")
    assert isinstance(found, Mapping)
    assert found.key("list").at == Place("/a.yml@catalog", 2, 1)
    inner = found.under("list")
    assert isinstance(inner, Sequence)
    assert [item.at[1:] for item in inner] == [(3, 3), (4, 3)]
    assert isinstance(inner[1], Mapping)
    assert inner[1].under("b").at == Place("/a.yml@catalog", 4, 7)  # type: ignore[union-attr]
    assert str(inner.at) == "/a.yml@catalog (Line: 3, Col: 1)"


def test_directives_of_the_same_text_are_two_keys() -> None:
    found = load("${{ if a }}: 1\n${{ else }}: 2\n${{ if a }}: 3\n${{ else }}: 4\n", "/a.yml")
    assert isinstance(found, Mapping)
    assert [(type(key), str(key)) for key in found] == [(Directive, "${{ if a }}"), (Directive, "${{ else }}")] * 2
    assert list(found.values()) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("a: &x 1\nb: *x\n", "/a.yml (Line: 1, Col: 4): Anchors are not supported: &x"),
        ("a: *x\n", "/a.yml (Line: 1, Col: 4): Aliases are not supported: *x"),
        ("a:\n  b: !!str 1\n", "/a.yml (Line: 2, Col: 6): Tags are not supported: tag:yaml.org,2002:str"),
        ("a: !own 1\n", "/a.yml (Line: 1, Col: 4): Tags are not supported: !own"),
        ("a: 1\nb: 2\na: 3\n", "/a.yml (Line: 3, Col: 1): 'a' is already defined"),
        ("? [a]\n: b\n", "/a.yml (Line: 1, Col: 3): A key must be a text"),
        ("a: 1\n---\nb: 2\n", "/a.yml (Line: 2, Col: 1): "),
        ("a: [1\n", "/a.yml (Line: 2, Col: 1): "),
        ("a:\n\t- b\n", "/a.yml (Line: 2, Col: 1): "),
        ("a: b: c\n", "/a.yml (Line: 1, Col: 5): "),
        ("a: \x00\n", "/a.yml (Line: 1, Col: 1): "),
    ],
)
def test_what_the_service_refuses(written: str, fault: str) -> None:
    with pytest.raises(Fault) as caught:
        load(written, "/a.yml")
    assert str(caught.value).startswith(fault)
    assert "\n" not in str(caught.value)
