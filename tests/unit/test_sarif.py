"""Findings as SARIF: the same bytes for the same findings, and no text that could be taken for more than text."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from aml import sarif
from aml.findings import RULES, Finding

RULE = sarif.Rule("a-rule", "error", 7.0, "A title", "Why.", "Mend it.")


def results(*found: sarif.Result) -> list[dict[str, object]]:
    (run,) = sarif.document("tool", "category", [RULE], found)["runs"]
    made: list[dict[str, object]] = run["results"]
    return made


@given(st.text())
def test_a_message_is_one_line_of_plain_text(text: str) -> None:
    (made,) = results(sarif.Result("a-rule", "error", text, "f", "a.yml"))
    said = made["message"]["text"]  # type: ignore[index]
    assert "](" not in said
    assert "\n" not in said
    assert "##vso[" not in said
    assert len(said) <= sarif.SHOWN
    json.dumps(made).encode()


def test_what_is_accepted_is_suppressed_with_the_reason() -> None:
    one, other = results(
        sarif.Result("a-rule", "note", "x", "f", "a.yml", accepted="until March"), sarif.Result("a-rule", "error", "x", "f", "a.yml", 3, 4)
    )
    assert one["suppressions"] == [{"kind": "external", "status": "accepted", "justification": "until March"}]
    assert "suppressions" not in other
    assert other["locations"][0]["physicalLocation"]["region"] == {"startLine": 3, "startColumn": 4}  # type: ignore[index]


def test_every_rule_says_why_and_what_to_do() -> None:
    for rule in RULES.values():
        assert rule.title[0].isupper()
        assert not rule.title.endswith(".")
        assert rule.why.endswith(".")
        assert rule.mend.endswith(".")
        assert 0 <= rule.severity <= 10
        assert rule.level in ("error", "warning")
    assert [rule.id for rule in RULES.values() if rule.level != "error"] == ["orphan"], "nothing else may pass"


def test_a_fingerprint_is_of_the_thing_and_not_of_its_name() -> None:
    one = Finding("person-write", "/a/B", "kim holds it", "fix")
    assert one.fingerprint == Finding("person-write", "/A/b", "Kim Doe holds it", "another", "resource_group").fingerprint
    assert one.fingerprint != Finding("person-data", "/a/b", "kim holds it", "fix").fingerprint
