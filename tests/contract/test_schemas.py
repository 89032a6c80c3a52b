"""House rules for schemas, and that every spec of every example is valid and tells editors so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from aml import yaml

ROOT = Path(__file__).parents[2]
SCHEMAS = sorted((ROOT / "schemas").glob("*.schema.json"))
MODELINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")
SPECS = sorted(
    path for path in (ROOT / "examples").rglob("*.yml") if "schemas/" in ((MODELINE.match(path.read_text(encoding="utf-8")) or [""])[0])
)
# Objects that stay open, and why.
OPEN = {
    ("evidence.schema.json", "/properties/predicate/properties/findings/items"): "what a check says beside its verdict is the verb's own"
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def objects(schema: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema that describes an object with named properties."""
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield at or "/", schema
        for key, value in schema.items():
            if key not in ("examples", "default", "const", "enum", "if", "then", "else"):
                yield from objects(value, f"{at}/{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from objects(value, f"{at}/{index}")


@pytest.mark.parametrize("path", SCHEMAS, ids=name_of)
def test_a_schema_is_a_schema_with_closed_objects_and_described_properties(path: Path) -> None:
    schema = json.loads(path.read_text(encoding="utf-8"))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema_rs.meta.validate(schema)
    found = list(objects(schema))
    assert found
    for at, one in found:
        closed = one.get("additionalProperties") is False or one.get("unevaluatedProperties") is False
        assert closed != ((path.name, at) in OPEN), at
        for name, declared in one["properties"].items():
            assert re.fullmatch(r"[a-z][a-z0-9_]*|_type|[a-z]+[A-Z][A-Za-z]*", name), f"{at}: {name}"
            assert declared is True or declared.get("description") or "$ref" in declared, f"{at}: {name} has no description"


def test_the_examples_have_specs_of_every_kind() -> None:
    used = {match[1].rpartition("/")[2] for path in SPECS if (match := MODELINE.match(path.read_text(encoding="utf-8")))}
    assert used >= {"release.schema.json", "smoke.schema.json", "workspace.schema.json"}


@pytest.mark.parametrize("path", SPECS, ids=name_of)
def test_a_spec_of_an_example_is_valid(path: Path) -> None:
    match = MODELINE.match(path.read_text(encoding="utf-8"))
    assert match
    schema = (path.parent / match[1]).resolve()
    assert schema in SCHEMAS, "the modeline leads to one of our schemas"
    validator = jsonschema_rs.validator_for(json.loads(schema.read_text(encoding="utf-8")), validate_formats=True)
    assert [error.message for error in validator.iter_errors(yaml.read(path).value)] == []
