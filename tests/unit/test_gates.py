"""What a gate makes of tickets, evidence and soak; the rest is held against the emulated GitHub and Azure DevOps in tests/verbs."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aml import evidence, gates, signing
from aml.azure_devops_gates import AzureDevOps
from aml.command import Refusal
from aml.gates import Protection

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


def test_the_last_statement_counts_not_the_best() -> None:
    gate = {"evidence": [{"verb": "smoke_test", "workspace": "dev"}]}
    passed, failed = statement("2026-11-20T10:00:00Z"), statement("2026-11-20T11:00:00Z", verdict="failed")
    [finding] = gates.proven(gate, [passed, failed], {BUNDLE}, NOW)
    assert (finding.passed, finding.says) == (False, "expected a statement, found one of 1.0 h ago that failed")
    [finding] = gates.proven(gate, [failed, statement("2026-11-20T11:30:00Z")], {BUNDLE}, NOW)
    assert finding.passed
    [finding] = gates.proven(gate, [statement("2026-11-20T11:00:00Z"), failed], {BUNDLE}, NOW)
    assert not finding.passed, "of the same second"


def specs(project: Path, **trusted: str) -> Path:
    """A project with dev and prod, each with the public key that it trusts, if it has one."""
    (project / ".cloud" / "workspaces").mkdir(parents=True)
    for number, name in enumerate(("dev", "prod")):
        ids = dict.fromkeys(("tenant_id", "subscription_id", "client_id"), f"00000000-0000-4000-8000-00000000000{number}")
        spec = {"stage": name, "resource_group": "rg", "workspace_name": f"mlw-{name}", **ids}
        keys = {"signing": {"trusted": [trusted[name]]}} if name in trusted else {}
        (project / ".cloud" / "workspaces" / f"{name}.yml").write_text(json.dumps({**spec, **keys}))
    return project


def test_statements_are_found_among_other_files(tmp_path: Path) -> None:
    project = specs(tmp_path / "project")
    folder = tmp_path / "evidence"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "one.json").write_text(json.dumps(statement()))
    half = {"_type": evidence.STATEMENT, "predicateType": evidence.PREDICATE}
    for name, text in {"two.json": "[]", "three.json": "{", "four.json": '{"_type": "else"}', "five.txt": "{}"}.items():
        (folder / name).write_text(text)
    (folder / "six.json").write_text(json.dumps(half))
    (folder / "seven.json").write_text(json.dumps(statement(workspace="prod")))  # of production nothing counts unsigned
    assert gates.statements(folder, project) == [statement()]
    assert gates.statements(folder / "nothing", project) == []


def test_where_keys_are_pinned_only_what_is_signed_counts(tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    project, folder = specs(tmp_path / "project", dev=pem), tmp_path / "evidence"
    folder.mkdir()
    payload = json.dumps(statement()).encode()
    (folder / "smoke_test-dev.json").write_bytes(payload)
    assert gates.statements(folder, project) == []
    sig = base64.b64encode(private.sign(signing.pae(signing.STATEMENT, payload), ec.ECDSA(SHA256()))).decode()
    envelope = signing.wrapped(payload, signing.STATEMENT, [{"keyid": "", "sig": sig}])
    (folder / "smoke_test-dev.dsse.json").write_text(json.dumps(envelope))
    assert gates.statements(folder, project) == [statement()]
    forged = {**envelope, "payload": base64.b64encode(json.dumps(statement("2026-11-20T11:59:00Z")).encode()).decode()}
    (folder / "smoke_test-dev.dsse.json").write_text(json.dumps(forged))
    assert gates.statements(folder, project) == []


def test_branches_and_tags_have_case_and_people_have_none() -> None:
    gate = {
        "reviewers": {"count": 1, "users": ["Rea"], "self_review": False}, "admin_bypass": False, "branches": ["main"], "tags": ["v*"],
        "wait_minutes": 0,
    }  # fmt: skip
    there = Protection(
        approvals=1, users=frozenset({"rea"}), teams=frozenset(), self_review=False, admin_bypass=False, bypassers=frozenset(),
        branches=frozenset({"main"}), tags=frozenset({"v*"}), wait_minutes=0,
    )  # fmt: skip
    assert all(finding.passed for finding in gates.compare(gate, there))
    for name, refs in {"branches": "Main", "tags": "V*"}.items():
        other: Any = {name: frozenset({refs})}
        found = gates.compare(gate, replace(there, **other))
        assert [finding.name for finding in found if not finding.passed] == [name]


@pytest.mark.parametrize(
    ("standing", "passed"),
    [
        ({}, False),
        ({"created": "2026-11-19T12:00:00.1234567Z", "percent": 100}, False),
        ({"created": "2026-11-19T12:00:00Z", "percent": 10}, True),
        ({"created": "2026-11-19T12:00:00+01:00", "percent": 0}, False),
        ({"created": "2026-11-19T11:00:00.5Z", "percent": 100}, True),
        ({"created": "2026-11-19T11:00:00", "percent": 100}, False),  # by no clock that is known
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


class Administered:
    """A project on Azure DevOps of whose environment these are administrators; None for what it does not show."""

    project = "mlops"

    def __init__(self, *rows: tuple[str, str], answer: Any = None) -> None:
        roles = [
            {"identity": {"displayName": name, "uniqueName": unique, "id": unique}, "role": {"name": "Administrator"}, "access": "assigned"}
            for name, unique in rows
        ]
        self.answer = answer if answer is not None or not rows else {"value": roles}

    def get(self, path: str, **query: str) -> Any:
        if path == "distributedtask/environments":
            return {"value": [{"id": 1, "name": "production", "project": {"id": "p"}}]}
        return self.answer if path.startswith("/securityroles") else {"value": []}


ADMINISTERED = {
    "environment": "production", "reviewers": {"users": ["rea"], "count": 1, "self_review": False}, "branches": ["main"], "tags": [],
    "catalog_tags": [], "administrators": ["Project Administrators"],
}  # fmt: skip


def test_a_person_who_is_called_like_the_administrators_is_none_of_them() -> None:
    name = "[mlops]\\Project Administrators"
    client: Any = Administered((name, name), ("[mlops]\\Project administrators", "sam@contoso.example"))
    found = AzureDevOps(client).protection(ADMINISTERED)
    assert found is not None
    assert found.bypassers == {"Project administrators"}


@pytest.mark.parametrize("answer", [None, {}, {"value": None}, {"count": 0}])
def test_administrators_that_are_not_shown_are_not_taken_for_none(answer: Any) -> None:
    client: Any = Administered(answer=answer)
    with pytest.raises(Refusal, match="can't be read"):
        AzureDevOps(client).protection(ADMINISTERED)
