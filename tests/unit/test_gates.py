"""What a gate makes of tickets, evidence and soak; the rest is held against the emulated GitHub and Azure DevOps in tests/verbs."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from aml import evidence, gates

NOW = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
BUNDLE, JOB = "b" * 64, "c" * 64


def statement(finished: str = "2026-11-20T10:00:00Z", *, digest: str = BUNDLE, **more: Any) -> dict[str, Any]:
    made = evidence.statement(
        {"name": "bundle/delay", "digest": {"sha256": digest}}, "smoke_test", "passed", workspace="dev", started="2026-11-20T09:00:00Z"
    )
    made["predicate"] |= {"finished": finished, **more}
    return made


@pytest.mark.parametrize(
    ("statements", "seen"),
    [
        ([statement()], "2.0 h ago"),
        ([statement(digest=JOB)], "2.0 h ago"),
        ([statement("2026-11-18T10:00:00Z"), statement()], "2.0 h ago"),
        ([statement("2026-11-20T12:04:00Z")], "-0.1 h ago"),
    ],
)
def test_evidence_that_is_good_enough(statements: list[dict[str, Any]], seen: str) -> None:
    gate = {"evidence": [{"verb": "smoke_test", "workspace": "dev", "max_age_hours": 24}]}
    [finding] = gates.proven(gate, statements, {BUNDLE, JOB}, NOW)
    assert finding.passed
    assert finding.says.endswith(seen)


@pytest.mark.parametrize(
    "statements",
    [
        [],
        [statement("2026-11-19T11:59:59Z")],
        [statement("2026-11-20T12:06:00Z")],  # from a clock that is ahead, or made up
        [statement(digest="d" * 64)],
        [statement(verdict="failed")],
        [statement(workspace="test")],
        [statement(verb="check_gate")],
    ],
)
def test_evidence_that_is_not(statements: list[dict[str, Any]]) -> None:
    gate = {"evidence": [{"verb": "smoke_test", "workspace": "dev", "max_age_hours": 24}]}
    [finding] = gates.proven(gate, statements, {BUNDLE, JOB}, NOW)
    assert not finding.passed
    assert finding.name == "evidence: smoke_test in dev"
    assert finding.fix == "run smoke_test again in dev"


def test_statements_are_found_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "one.json").write_text(json.dumps(statement()))
    for name, text in {"two.json": "[]", "three.json": "{", "four.json": '{"_type": "else"}', "five.txt": "{}"}.items():
        (tmp_path / name).write_text(text)
    assert gates.statements(tmp_path) == [statement()]
    assert gates.statements(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    ("standing", "passed"),
    [
        ({}, False),
        ({"created": "2026-11-19T12:00:00.1234567Z", "percent": 100}, False),
        ({"created": "2026-11-19T12:00:00Z", "percent": 10}, True),
        ({"created": "2026-11-19T12:00:00+01:00", "percent": 0}, False),
        ({"created": "2026-11-19T11:00:00", "percent": 100}, True),
    ],
)
def test_a_soak_is_time_with_traffic(standing: dict[str, Any], passed: bool) -> None:
    assert gates.soaked({"soak": {"workspace": "dev", "hours": 24}}, standing, NOW).passed == passed


@pytest.mark.parametrize(
    ("ticket", "message", "passed"),
    [
        ("", "Merge CHG0042: new weather", True),
        ("", "", False),
        ("", "CHG42", False),
        ("CHG0042", "", True),
        (" CHG0042\n", "", True),
        ("CHG00421", "Merge CHG0042", False),
        ("x", "Merge CHG0042", False),
    ],
)
def test_a_ticket_is_named(ticket: str, message: str, passed: bool) -> None:
    [finding] = gates.ticketed({"ticket": {"pattern": r"CHG\d{4}"}}, ticket, message)
    assert finding.passed == passed


def test_a_gate_that_asks_for_none_of_it_finds_none() -> None:
    gate: dict[str, Any] = {"freeze": [], "evidence": []}
    assert [*gates.thawed(gate, NOW), *gates.ticketed(gate, "", ""), *gates.proven(gate, [], set(), NOW)] == []
