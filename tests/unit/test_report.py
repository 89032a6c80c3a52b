"""What a statement says for people: nothing that others wrote can break or forge it, and nothing of it is lost."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml import ci, evidence, report

ID = "sha256:" + "ab" * 32
PIECES = [
    *"ab |`*_[]()<>!#&;~$\\-+=:\n\r\t\x00\x08\x1b\x85\u2028\u202e\ufffe\ud800", "::", "##vso[", "\n\n", "---", "&#124;", "1. ",
    "![x](https://evil.example/x.png)", "[x](javascript:alert(1))", "<script>alert(1)</script>", "<!--", "```", "</td>", "]]>", "@team",
    "https://evil.example", "::error::x",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES) | st.characters(), max_size=20).map("".join)


def made(verdict: str = "passed", **fields: Any) -> dict[str, Any]:
    return evidence.statement(
        evidence.about_bundle("delay", ID), "check_gate", verdict, workspace="dev", started="2026-11-23T10:00:00Z", **fields
    )


def test_a_section_says_what_was_found() -> None:
    found = [
        {"rule": "rmse at most 60", "passed": True, "figure": 42.0, "limit": 60, "says": "rmse at most 60: it is 42"},
        {"rule": "better than the champion", "passed": False, "figure": 42.0, "limit": 40.4, "says": "rmse is 42 and the champion's is 40"},
    ]
    facts = {"model": "delay", "traffic": {"blue": 90, "green": 10}, "champion": None, "bundle": {"form": 1, "files": {}}, "left": []}
    links = {"job": "https://ml.azure.com/runs/j?wsid=/subscriptions/s&tid=t"}
    said = report.section(made("failed", figures={"rmse": 42.123456789, "seconds": 1.5}, findings=found, facts=facts, links=links))
    assert said == (
        "### check_gate in dev: **failed**\n"
        "\n"
        f"About bundle/delay, sha256 {'ab' * 32}.\n"
        "\n"
        "| | check | found |\n"
        "| --- | --- | --- |\n"
        "| passed | rmse at most 60 | rmse at most 60&#58; it is 42 |\n"
        "| **failed** | better than the champion | rmse is 42 and the champion's is 40 |\n"
        "\n"
        "- **rmse**: 42.1235\n"
        "- **seconds**: 1.5\n"
        "- **model**: delay\n"
        "- **traffic**: blue 90, green 10\n"
        "\n"
        "[job](https://ml.azure.com/runs/j?wsid=/subscriptions/s&tid=t)\n"
    )


@given(TEXT, TEXT, TEXT, TEXT)
def test_hostile_text_stands_for_itself(name: str, says: str, fact: str, link: str) -> None:
    findings = [{"rule": name, "passed": False, "says": says}, {"name": fact, "passed": True, "problems": [name], name: says}]
    facts = {name: fact, "split": {says: 10}}
    said = report.section(made(findings=findings, figures={says: 1.0}, facts=facts, links={"run": "https://x", link: f"https://x/{link}"}))
    lines = said.splitlines()
    assert len(lines) == said.count("\n"), "no other kind of line end"
    before = report.section(made(findings=[{"rule": "a", "passed": False}, {"name": "b", "passed": True}], figures={"c": 1}, links={}))
    assert lines[:6] == before.splitlines()[:6]
    rows = [line for line in lines if line.startswith("|")]
    assert [row.count("|") for row in rows] == [4] * 4
    for line in lines[6:]:
        shape = re.fullmatch(
            r"\| (?:passed|\*\*failed\*\*) \| (.*) \| (.*) \||- \*\*(.+)\*\*: (.*)|\[(.*)\]\(https://[^\s()<>\[\]\\`|!]*\)|", line
        )
        assert shape, line
        for text in filter(None, shape.groups()):
            bare = re.sub(r"&#\d+;", "", text)
            assert not re.search(r"[|`*\[\]()<>!#&~$\\:@{}^]|(?<![^\W_])_|_(?![^\W_])", bare), line
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]", html.unescape(text))
    said.encode()


@given(TEXT)
def test_hostile_text_stays_readable(text: str) -> None:
    row = report.section(made(findings=[{"rule": "r", "passed": True, "says": f"a{text}"}])).splitlines()[6]
    wanted = " ".join(ci.plain(f"a{text}").split())
    # html.unescape drops what no text may hold (U+FFFE and its like), and reads references to 0x80-0x9f, which plain has taken out.
    numbers = re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), row)
    assert numbers == f"| passed | r | {wanted} |"


def test_long_values_and_many_findings_are_cut_and_say_so() -> None:
    findings = [{"name": f"case {number}", "passed": number != 4000, "says": "x" * 100_000} for number in range(5000)]
    said = report.section(made("failed", findings=findings, facts={f"f{number}": "|" * 5000 for number in range(200)}))
    assert len(said) < 500_000, "GitHub takes 1 MiB of a step"
    assert f"| **failed** | case 4000 | {'x' * 300}... &#40;100000 characters&#41; |" in said
    assert "\nAnd 4950 more, which the evidence has.\n" in said
    assert "\nAnd 150 more, which the evidence has.\n" in said


def test_names_are_never_the_same() -> None:
    findings = [{"rule": "a"}, {"rule": "a (2)"}, {"rule": "a"}, {"rule": "a"}, {"percent": 10}, {"percent": 10}, {}, {"name": ""}]
    assert report.names(findings) == ["a", "a (2)", "a (3)", "a (4)", "at 10 %", "at 10 % (2)", "7", "8"]


def test_findings_become_test_results() -> None:
    findings = [
        {"name": "doubles a number", "seconds": 0.12345, "deployment": "green", "problems": (), "passed": True},
        {"name": "late", "seconds": 31, "deployment": "green", "problems": ["late: 31 s", "status <500>"], "passed": False},
        {"percent": 10, "passed": True, "cases": 2, "slowest_seconds": 0.5},
    ]
    root = ElementTree.fromstring(report.junit(made("failed", findings=findings)))
    assert root.attrib == {"name": "check_gate in dev", "timestamp": "2026-11-23T10:00:00", "tests": "3", "failures": "1"}
    assert [(case.get("classname"), case.get("name"), case.get("time")) for case in root] == [
        ("check_gate.dev", "doubles a number", "0.123"),
        ("check_gate.dev", "late", "31.000"),
        ("check_gate.dev", "at 10 %", None),
    ]
    assert [case.findtext("failure") for case in root] == [None, "late: 31 s; status <500>; seconds = 31; deployment = green", None]
    assert root[1][0].get("message") == root[1].findtext("failure")
    assert root[2].findtext("system-out") == "cases = 2; slowest_seconds = 0.5"


def test_a_verdict_that_no_finding_explains_is_a_failure_of_its_own() -> None:
    failed = made("failed", findings=[{"percent": 10, "passed": True}], facts={"error": "another rollout went first"})
    root = ElementTree.fromstring(report.junit(failed))
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    assert root[1].findtext("failure") == "another rollout went first"


@given(TEXT, TEXT)
def test_test_results_are_xml_whatever_was_found(name: str, says: str) -> None:
    findings = [{"name": f"a{name}", "passed": False, "says": f"a{says}"}, {"rule": f"a{says}", "passed": True, "problems": [name]}]
    root = ElementTree.fromstring(report.junit(made(findings=findings)))
    assert len(root) == 2
    legal = re.sub("[\ud800-\udfff\ufffe\uffff]", "", f"a{says}")
    assert root[0].findtext("failure") == root[0][0].get("message") == " ".join(ci.plain(legal).split())


def test_a_rerun_leaves_no_results_of_the_run_before(tmp_path: Path) -> None:
    path = evidence.write(tmp_path, made("failed", findings=[{"rule": "as sealed", "passed": False, "says": "x"}]))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["check_gate-dev.json", "check_gate-dev.junit.xml"]
    assert evidence.write(tmp_path, made()) == path
    assert [file.name for file in tmp_path.iterdir()] == ["check_gate-dev.json"]


@pytest.mark.parametrize("system", ["GITHUB_ACTIONS", "TF_BUILD"])
def test_writing_evidence_adds_to_the_summary(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GITHUB_ACTIONS", "TF_BUILD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(system, "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setenv("AGENT_TEMPDIRECTORY", str(tmp_path))
    statement = made(facts={"half": "\ud800 of a pair"})
    kept = evidence.write(tmp_path / "evidence", statement)
    assert json.loads(kept.read_text())["predicate"]["facts"] == {"half": "\ud800 of a pair"}
    out = capsys.readouterr().out
    path = tmp_path / "summary.md" if system == "GITHUB_ACTIONS" else Path(out.strip().removeprefix("##vso[task.uploadsummary]"))
    assert path.read_text().strip() == report.section(statement).strip()
    assert system == "GITHUB_ACTIONS" or path.name == "check_gate-dev.md"
