"""What breaking the glass waives, and what it never does."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dossiers
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aml import break_glass, dossier, dossier_page, dossier_text, evidence, gates, proof, releases, signing, spec
from aml.gates import Finding

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
BUNDLE = "sha256:" + "b" * 64
RUN = "https://github.com/contoso/delay/actions/runs/7"
GATE = {"environment": "production", "reviewers": {"count": 2}, "break_glass": {"review_within_hours": 24, "reviewers_count": 1}}
FACTS = {
    "reason": "prices are wrong in production", "who": "dana", "review": "https://github.com/contoso/delay/issues/3",
    "review_until": "2026-11-24T11:00:00Z", "environment": "production",
}  # fmt: skip


def statement(*, bundle: str = BUNDLE, run: str = RUN, facts: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A statement of breaking the glass, of 11:00."""
    links = {"run": run} if run else {}
    made = evidence.statement(
        evidence.about_bundle("delay", bundle), "break_glass", "passed", workspace="dev", started="2026-11-23T10:59:00Z", links=links,
        facts={**FACTS, **(facts or {})},
    )  # fmt: skip
    made["predicate"] |= {"finished": "2026-11-23T11:00:00Z", **more}
    return made


def test_the_glass_is_broken_for_one_bundle_in_one_run() -> None:
    found = statement()
    assert break_glass.standing([found], BUNDLE, RUN, now=NOW) == found
    assert break_glass.standing([found], BUNDLE, RUN, "Production", NOW) == found
    later = statement(finished="2026-11-23T11:30:00Z")
    assert break_glass.standing([later, found], BUNDLE, RUN, now=NOW) == later


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(statement(bundle="sha256:" + "c" * 64), id="another bundle"),
        pytest.param(statement(run="https://github.com/contoso/delay/actions/runs/70"), id="another run"),
        pytest.param(statement(run=""), id="no run"),
        pytest.param(statement(verb="check_gates"), id="another verb"),
        pytest.param(statement(verdict="failed"), id="it failed"),
        pytest.param(statement(facts={"environment": "staging"}), id="another environment"),
        pytest.param(statement(facts={"reason": ""}), id="no reason"),
        pytest.param(statement(facts={"who": ""}), id="by nobody"),
        pytest.param(statement(facts={"review": ""}), id="no review"),
        pytest.param(statement(facts={"review_until": "soon"}), id="no deadline"),
        pytest.param(statement(facts={"review_until": "2026-11-24T11:00:00"}), id="a deadline of no place"),
        pytest.param(statement(facts={"review_until": "2026-11-23T12:00:00Z"}), id="the review is due"),
        pytest.param(statement(finished="2026-11-23T12:06:00Z"), id="from a clock that is ahead, or made up"),
    ],
)
def test_what_breaks_no_glass(other: dict[str, Any]) -> None:
    assert break_glass.standing([other], BUNDLE, RUN, "production", NOW) is None


def test_where_there_is_no_run_there_is_no_glass_to_break() -> None:
    assert break_glass.standing([statement(run="")], BUNDLE, "", now=NOW) is None
    assert break_glass.standing([], BUNDLE, RUN, now=NOW) is None


def release(gate: dict[str, Any]) -> list[Finding]:
    """Everything that a gate finds of a release which keeps none of its rules, and one statement that failed."""
    smoke = statement(verb="smoke_test", verdict="failed")
    old = statement(verb="check_gate", finished="2026-11-01T11:00:00Z")
    return [
        *gates.thawed(gate, NOW),
        *gates.ticketed(gate, "", "no ticket"),
        gates.soaked(gate, {}, NOW),
        *gates.proven(gate, [smoke, old], {"b" * 64}, NOW),
    ]


STRICT: dict[str, Any] = {
    **GATE,
    "freeze": [{"name": "Week end", "zone": "Etc/UTC", "begins": "2026-11-23T00:00", "until": "2026-11-24T00:00"}],
    "ticket": {"pattern": r"CHG\d+"},
    "soak": {"workspace": "dev", "hours": 24},
    "evidence": [
        {"verb": "smoke_test", "workspace": "dev"},
        {"verb": "check_gate", "workspace": "dev", "max_age_hours": 24},
        {"verb": "shift_traffic", "workspace": "dev"},
    ],
}


def test_exactly_these_are_waived() -> None:
    before = release(STRICT)
    assert not any(one.passed for one in before)
    after = break_glass.waived(before, STRICT, statement())
    assert [one.name for one in after if one.passed] == [
        "freeze", "ticket", "soak in dev", "evidence: check_gate in dev", "evidence: shift_traffic in dev",
    ]  # fmt: skip
    assert [one.name for one in after if not one.passed] == ["evidence: smoke_test in dev"], "what failed is not waived"
    for old, new in zip(before, after, strict=True):
        if new.passed:
            assert new.says.startswith(f"WAIVED by break-glass: {old.says}. dana declared it")
            assert all(FACTS[name] in new.says for name in ("reason", "who", "review", "review_until"))
            assert not new.fix
        else:
            assert new == old


def test_what_protects_the_environment_is_never_waived() -> None:
    class Open:
        """A system whose environment is there, or not, without any protection."""

        def __init__(self, there: bool) -> None:
            self.there = there

        def protection(self, gate: Any) -> Any:
            nobody: frozenset[str] = frozenset()
            return gates.Protection(0, nobody, nobody, True, True, nobody, None, None, 0) if self.there else None

        def limits(self, gate: Any) -> list[Finding]:
            return [Finding("plan", False, "reviewers are not enforced")]

        def changes(self, gate: Any) -> list[Any]:
            return []

    gate = {
        **STRICT, "reviewers": {"count": 2, "users": ["rea"], "self_review": False}, "admin_bypass": False, "branches": ["main"],
        "tags": ["v*"], "wait_minutes": 10,
    }  # fmt: skip
    for there in (True, False):
        found = gates.protected(Open(there), gate)
        assert {one.name for one in found if not one.passed} >= ({"approvals", "plan", "admin bypass"} if there else {"environment"})
        assert break_glass.waived(found, gate, statement()) == found


def test_nothing_is_waived_while_the_glass_is_whole_or_the_gate_never_allows_it() -> None:
    before = release(STRICT)
    assert break_glass.waived(before, STRICT, None) == before
    never = {key: value for key, value in STRICT.items() if key != "break_glass"}
    assert break_glass.allowed(never) is None
    assert break_glass.waived(before, never, statement()) == before


def test_what_passes_is_not_said_to_be_waived() -> None:
    passing = Finding("freeze", True, "no freeze is on", waivable=True)
    assert break_glass.waived([passing], STRICT, statement()) == [passing]


@pytest.mark.parametrize(("written", "broken", "needed"), [(2, 1, 1), (3, 2, 2), (1, 2, 1)])
def test_how_many_must_approve(written: int, broken: int, needed: int) -> None:
    gate = {"reviewers": {"count": written}, "break_glass": {"review_within_hours": 24, "reviewers_count": broken}}
    assert break_glass.count(gate, statement()) == needed
    assert break_glass.count(gate, None) == written
    assert break_glass.count({"reviewers": {"count": written}}, statement()) == written


@pytest.mark.parametrize(
    "hostile", ["</td><script>alert(1)</script>", "a\n::warning::b", "##vso[task.complete result=Succeeded;]", "\u202eb"]
)
def test_a_reason_stays_one_line_that_obeys_nobody(hostile: str) -> None:
    said = break_glass.words(statement(facts={"reason": hostile, "who": hostile}))
    assert "\n" not in said
    assert "##vso[" not in said
    assert "\u202e" not in said


def specs(project: Path, **trusted: str) -> Path:
    """A project with dev and prod, each with the public key that it trusts, if it has one."""
    (project / ".cloud" / "workspaces").mkdir(parents=True)
    for number, name in enumerate(("dev", "prod")):
        ids = dict.fromkeys(("tenant_id", "subscription_id", "client_id"), f"00000000-0000-4000-8000-00000000000{number}")
        spec = {"stage": name, "resource_group": "rg", "workspace_name": f"mlw-{name}", **ids}
        keys = {"signing": {"trusted": [trusted[name]]}} if name in trusted else {}
        (project / ".cloud" / "workspaces" / f"{name}.yml").write_text(json.dumps({**spec, **keys}))
    return project


def envelope(private: ec.EllipticCurvePrivateKey, made: dict[str, Any]) -> str:
    payload = json.dumps(made).encode()
    sig = base64.b64encode(private.sign(signing.pae(signing.STATEMENT, payload), ec.ECDSA(SHA256()))).decode()
    return json.dumps(signing.wrapped(payload, signing.STATEMENT, [{"keyid": "", "sig": sig}]))


def test_only_what_is_signed_counts_even_where_no_key_is_pinned(tmp_path: Path) -> None:
    private, stranger = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    open_, pinned = specs(tmp_path / "open"), specs(tmp_path / "pinned", dev=pem)
    folder = tmp_path / "evidence"
    (folder / "below").mkdir(parents=True)
    (folder / "break_glass-dev.json").write_text(json.dumps(statement()))
    for project in (open_, pinned):
        assert break_glass.signed(folder, project) == [], "unsigned"
    (folder / "break_glass-dev.dsse.json").write_text(envelope(stranger, statement()))
    (folder / "broken.dsse.json").write_text("{")
    (folder / "prod.dsse.json").write_text(envelope(private, statement(workspace="prod")))
    for project in (open_, pinned):
        assert break_glass.signed(folder, project) == [], "signed by somebody else, or for a workspace whose key it is not"
    (folder / "below" / "1.dsse.json").write_text(envelope(private, statement()))
    (folder / "below" / "2.dsse.json").write_text(envelope(private, statement(verb="smoke_test")))
    assert break_glass.signed(folder, pinned) == [statement()]
    assert break_glass.signed(folder, open_) == []
    assert break_glass.signed(folder / "nothing", pinned) == []


def test_the_deadline_is_a_time_that_passes() -> None:
    until = evidence.moment(FACTS["review_until"])
    assert break_glass.standing([statement()], BUNDLE, RUN, now=until - timedelta(seconds=1))
    assert break_glass.standing([statement()], BUNDLE, RUN, now=until) is None


# What the person who approves sees of it.

HOSTILE = [
    "prices are wrong",
    "</p><script>alert(1)</script> `x` | [y](https://evil.example) **z** # 1",
    "*_`[]()<>!|" * 30,
    "\u202ea\u0000b\n# c",
]


def document(
    monkeypatch: pytest.MonkeyPatch, gate: dict[str, Any] | None = None, signature: str = proof.SIGNED, text: str = "prices are wrong"
) -> dict[str, Any]:
    """A dossier of a bundle for which the glass is broken in this run."""
    env = {"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "contoso/delay", "GITHUB_RUN_ID": "7"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    made = statement(bundle=dossiers.NEW_ID, facts={"reason": text, "who": text, "review_until": "2026-11-24T11:00:00Z"})
    pieces = [*dossiers.pieces(), proof.Piece(made, signature)]
    allows = {"break_glass": {"review_within_hours": 24, "reviewers_count": 1}}
    return dossier.compile(dossiers.known(pieces=pieces, gate={**dossiers.GATE, **(allows if gate is None else gate)}))


@pytest.mark.parametrize("text", HOSTILE)
def test_the_dossier_says_it_first_and_as_loudly_as_it_can(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    found = document(monkeypatch, text=text)
    assert not spec.invalid(found, "dossier")
    assert found["control"]["break_glass"]["review"] == FACTS["review"]
    assert found["control"]["break_glass"]["until"] == "2026-11-24T11:00:00Z"
    assert found["risk"]["class"] == "high"
    assert found["risk"]["reasons"][0]["rule"] == "break-glass"
    dossier_id = dossier.identify(found)
    short = dossier_text.short(found, dossier_id)
    assert short.startswith("**BREAK-GLASS**: rules of the gate are waived for this run")
    assert len(short) <= dossier_text.LIMIT
    markdown, plainly = (dossier_text.markdown(document(monkeypatch, text=one), "x") for one in (text, "x"))
    assert [line[:3] for line in markdown.splitlines()] == [line[:3] for line in plainly.splitlines()], "the same lines, whatever it says"
    assert markdown.splitlines()[2].startswith("**BREAK-GLASS**: ")
    assert f"[The review afterwards]({FACTS['review']})" in markdown
    assert "](https://evil.example)" not in markdown + short
    page = dossier_page.page(found, dossier_id)
    assert page.index("Break-glass</h2>") < page.index('class="verdict high"')
    assert "<script" not in page + markdown + short
    assert f'href="{FACTS["review"]}"' in page


@pytest.mark.parametrize("change", [{"signature": proof.UNSIGNED}, {"signature": proof.REFUSED}, {"gate": {}}])
def test_what_is_not_signed_or_not_allowed_breaks_no_glass_in_the_dossier_either(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    found = document(monkeypatch, **change)
    assert found["control"]["break_glass"] is None
    assert "break-glass" not in [one["rule"] for one in found["risk"]["reasons"]]
    assert "BREAK-GLASS" not in dossier_text.markdown(found, "x") + dossier_text.short(found, "x")
    assert "Break-glass</h2>" not in dossier_page.page(found, "x")


def recorded(number: int, verb: str, run: str = RUN, **more: Any) -> releases.Recorded:
    """An entry of production's ledger, as far as an export looks at it."""
    made = statement(run=run, verb=verb, workspace="prod", finished=f"2026-11-23T11:00:{number:02}Z")
    made["predicate"]["facts"] = more
    entry: Any = SimpleNamespace(statement=made, sequence=number, document={"envelope": {"payload": "e30="}})
    return releases.Recorded("prod", entry)


def test_an_export_marks_the_release_of_a_broken_glass_and_no_other() -> None:
    other = "https://github.com/contoso/delay/actions/runs/8"
    known = [
        recorded(1, "verify_approval", dossier="x"),
        recorded(2, "shift_traffic", deployment="one"),
        recorded(3, "verify_approval", other, break_glass={**FACTS, "reason": "<b>late</b> | x"}),
        recorded(4, "shift_traffic", other, deployment="two"),
        recorded(5, "roll_back", "https://github.com/contoso/delay/actions/runs/9"),
    ]
    found = releases.releases(known, "prod", "dev", "", "2027")
    assert ["break_glass" in one for one in found] == [False, True, False]
    assert found[1]["break_glass"]["review"] == FACTS["review"]
    page = releases.page({"workspace": "prod", "since": "", "until": "", "problems": [], "ledgers": {}, "releases": found})
    [line] = [line for line in page.splitlines() if line.startswith("**BREAK-GLASS**: dana declared an emergency.")]
    assert "due 2026-11-24T11&#58;00&#58;00Z" in line
    assert "late" in line
    assert "<b>" not in page
