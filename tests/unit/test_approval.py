"""The rules of an approval, each with what it lets through and what it stops, and with names and comments that hurt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml import approval, azure_devops_approvals, commits, evidence, github_approvals
from aml.approval import BOT, PERSON, Approval, Author, Barred, Standing
from aml.command import Refusal
from aml.gates import Finding
from aml.workspace import Workspace

NOW = datetime(2026, 11, 23, 14, 30, tzinfo=timezone.utc)
MINE, OTHER, OLD = (f"sha256:{digit * 64}" for digit in "abc")
DOSSIER = "sha256:" + "d" * 64
RUN = "https://github.com/contoso/flights/actions/runs/7"
FIELDS = dict.fromkeys(("tenant_id", "subscription_id", "resource_group", "workspace_name", "client_id"), "x")
PROD = Workspace("prod", Path("p"), "prod", **FIELDS)
HOSTILE = ["a\n::error::x", "##vso[task.complete]", "\u202eaer", "\x00", "\ud800", "x" * 5000, "<b>rea</b>", "", " ", "rea\u200b"]


def gate(**changes: Any) -> dict[str, Any]:
    """A gate with its defaults; `count`, `users`, `teams` and `self_review` are of its reviewers."""
    reviewers = {"count": 1, "teams": ["managers"], "self_review": False}
    reviewers |= {name: changes.pop(name) for name in ("count", "users", "teams", "self_review") if name in changes}
    return {"environment": "production", "reviewers": reviewers, "branches": ["main"], "tags": [], "admin_bypass": False, **changes}


def said(verb: str, about: str = MINE, at: str = "dev", verdict: str = "passed", hours: float = 1, run: str = RUN, **facts: Any) -> Any:
    """A statement that was made some hours ago."""
    made = evidence.statement(evidence.about_bundle("flights", about), verb, verdict, workspace=at, started="x", facts=facts)
    made["predicate"]["finished"] = (NOW - timedelta(hours=hours)).isoformat(timespec="seconds").replace("+00:00", "Z")
    made["predicate"]["links"] = {"run": run} if run else {}
    return made


def dossier_of(**changes: Any) -> Any:
    facts = {"dossier": DOSSIER, "to": "prod", "environment": "production", "approvals": [], **changes.pop("facts", {})}
    return said("compile_dossier", **changes, **facts)


@pytest.fixture(autouse=True)
def job(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of the run."""
    ids = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "contoso/flights", "GITHUB_RUN_ID": "7"}
    for name, value in {"GITHUB_ACTIONS": "true", **ids}.items():
        monkeypatch.setenv(name, value)


# The dossier that was approved.


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        ([dossier_of()], ""),
        ([dossier_of(hours=3), dossier_of(hours=2)], ""),
        ([dossier_of(facts={"environment": "Production"})], ""),
        ([], "no dossier of it is signed"),
        ([said("check_gates")], "no dossier of it is signed"),
        ([dossier_of(about=OTHER)], "no dossier of it is signed"),
        ([dossier_of(facts={"dossier": "sha256:" + "e" * 64})], "says so of this dossier"),
        ([dossier_of(facts={"to": "other"})], "says so of this dossier"),
        ([dossier_of(facts={"environment": "staging"})], "is for this environment"),
        ([dossier_of(at="prod")], "is of a workspace that shares"),
        ([dossier_of(verdict="failed")], "passed"),
        ([dossier_of(run="")], "was made in this run"),
        ([dossier_of(run=f"{RUN}0")], "was made in this run"),
        ([dossier_of(run=f"{RUN}0"), dossier_of(facts={"to": "other"})], "was made in this run"),
    ],
)
def test_the_dossier_was_compiled_in_this_run(statements: list[Any], says: str) -> None:
    made, finding = approval.compiled(statements, PROD, MINE, DOSSIER, "production", ["dev", "test"])
    assert (made is None, finding.passed) == (bool(says), not says)
    assert says in finding.says
    if made:
        assert made is max(statements, key=lambda one: one["predicate"]["finished"])


def test_outside_of_a_run_no_dossier_was_compiled_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    made, finding = approval.compiled([dossier_of(run="")], PROD, MINE, DOSSIER, "production", ["dev"])
    assert (made, finding.passed) == (None, False)


@pytest.mark.parametrize(
    ("bundle_id", "workspace", "environment", "passed"),
    [(MINE, "prod", "production", True), (MINE, "prod", "PRODUCTION", True), (OTHER, "prod", "production", False),
     (MINE, "prod2", "production", False), (MINE, "prod", "staging", False)],
)  # fmt: skip
def test_a_dossier_speaks_of_this_bundle_and_place(bundle_id: str, workspace: str, environment: str, passed: bool) -> None:
    document = {
        "bundle": {"id": bundle_id}, "where": {"workspace": workspace, "environment": environment},
        "people": {"approvers": {"environment": environment}},
    }  # fmt: skip
    assert approval.speaks(document, PROD, MINE, "production").passed is passed


# Who approved.


def judged(*who: str | tuple[str, Iterable[str]], kind: str = PERSON, **more: Any) -> list[tuple[Approval, Standing]]:
    """Approvals, each with the entries that it may count for: of the managers, unless others are named."""
    named = [(one, ["managers"]) if isinstance(one, str) else one for one in who]
    return [(Approval(name, kind, **more), Standing(frozenset(entries))) for name, entries in named]


def found(
    given: Sequence[tuple[Approval, Standing]], older: Sequence[Approval] = (), barred: Barred | None = None, count: int = 0, **changes: Any
) -> tuple[list[dict[str, str]], dict[str, Finding]]:
    made = gate(**changes)
    good, findings = approval.approved(made, count or made["reviewers"]["count"], given, older, barred or Barred({}))
    return good, {one.name: one for one in findings}


def test_a_reviewer_approved() -> None:
    good, findings = found(judged("rea"))
    assert good == [{"who": "rea", "for": "managers"}]
    assert all(one.passed for one in findings.values())
    assert findings["approved"].says == "expected 1 of managers, found rea for managers"


@pytest.mark.parametrize(
    ("given", "changes", "passed"),
    [
        (judged("rea"), {"count": 2, "teams": ["managers", "risk"]}, False),
        (judged("rea", ("kim", ["risk"])), {"count": 2, "teams": ["managers", "risk"]}, True),
        # Two of one team are one approval of two: the other team is not represented.
        (judged("rea", "kim"), {"count": 2, "teams": ["managers", "risk"]}, False),
        # One person in both teams is one person.
        (judged(("rea", ["managers", "risk"])), {"count": 2, "teams": ["managers", "risk"]}, False),
        (judged(("rea", ["managers"]), ("REA", ["risk"])), {"count": 2, "teams": ["managers", "risk"]}, False),
        (judged(("rea", ["managers", "risk"]), "kim"), {"count": 2, "teams": ["managers", "risk"]}, True),
        (judged("kim", ("rea", ["managers", "risk"])), {"count": 2, "teams": ["managers", "risk"]}, True),
        (judged(("rea", ["rea"])), {"users": ["rea"]}, True),
        (judged(("rea", ["rea"]), "kim"), {"count": 2, "users": ["rea"]}, True),
        (judged(("rea", ["rea", "managers"])), {"count": 2, "users": ["rea"]}, False),
        (judged("rea", "rea"), {"count": 2, "teams": ["managers", "risk"]}, False),
    ],
)
def test_so_many_people_for_as_many_teams(given: Any, changes: dict[str, Any], passed: bool) -> None:
    assert found(given, **changes)[1]["approved"].passed is passed


@pytest.mark.parametrize("why", ["wrote a commit of this release", "started the training", "started this run"])
def test_who_took_part_does_not_count(why: str) -> None:
    barred = Barred({"rea": [why]})
    good, findings = found(judged("Rea"), barred=barred)
    assert good == []
    assert findings["approved"].says == f"expected 1 of managers, found none; Rea may not: {why}"
    assert findings["bypass"].passed, "the gate let in whom it may; that they took part is another matter"
    assert found(judged("Rea", "kim"), barred=barred)[1]["approved"].passed


def test_a_machine_does_not_count() -> None:
    good, findings = found(judged("deployer[bot]", kind=BOT))
    assert (good, findings["approved"].passed) == ([], False)
    assert "deployer[bot] is no person" in findings["approved"].says


def test_a_bypass_is_named() -> None:
    _, findings = found([])
    assert (findings["approved"].passed, findings["bypass"].passed) == (False, False)
    assert "nobody is recorded who approved it" in findings["bypass"].says
    _, findings = found(judged(("pat", [])))
    assert (findings["approved"].passed, findings["bypass"].passed) == (False, False)
    assert findings["bypass"].says == "pat let the job start, and no reviewer: an administrator started it past the gate"
    _, findings = found(judged(("pat", []), "rea"))
    assert (findings["approved"].passed, findings["bypass"].passed) == (True, False), "a reviewer does not undo it"
    _, findings = found(judged("rea", skipped=True))
    assert (findings["approved"].passed, findings["bypass"].passed) == (False, False)


def test_an_older_approval_is_none_and_no_bypass_either() -> None:
    _, findings = found([], [Approval("rea", PERSON)])
    assert (findings["approved"].passed, findings["bypass"].passed) == (False, True)
    assert "rea approved before the dossier was there" in findings["approved"].says


def test_what_can_t_be_told_counts_as_not_there_with_the_fix() -> None:
    given = [(Approval("rea", PERSON), Standing(unknown="whether they are in managers can't be read", fix="name rea under users"))]
    _, findings = found(given)
    assert (findings["approved"].passed, findings["approved"].fix) == (False, "name rea under users")
    assert findings["bypass"].says == "whether rea is a reviewer, or an administrator who let the job start past the gate, can't be told"


def test_breaking_the_glass_lets_fewer_approve_and_says_so() -> None:
    good, findings = found(judged("rea"), count=1, teams=["managers", "risk"])
    assert "WAIVED" not in findings["approved"].says
    made = gate(count=2, teams=["managers", "risk"])
    good, [finding, _] = approval.approved(made, 1, judged("rea"), [], Barred({}))
    assert (len(good), finding.passed) == (1, True)
    assert "WAIVED by break-glass: 2 are asked for" in finding.says
    assert not approval.approved(made, 1, judged("rea"), [], Barred({"rea": ["wrote a commit"]}))[1][0].passed


@pytest.mark.parametrize("text", HOSTILE)
def test_names_that_hurt_are_names(text: str) -> None:
    good, findings = found(judged(text), barred=Barred({"rea": ["x"]}))
    assert [one["who"] for one in good] == [text]
    for one in findings.values():
        assert not any(letter in one.says for letter in "\n\x00\u202e\ud800")
        assert "##vso[" not in one.says
        assert len(one.says) < 1100
    json.dumps(Approval(text, PERSON, text).mark(), ensure_ascii=False).encode()


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.frozensets(st.sampled_from("uvwxyz"))), max_size=8),
)
def test_people_and_entries_are_paired_as_well_as_can_be(given: list[tuple[str, frozenset[str]]]) -> None:
    made = approval.pairs(given)
    allowed: dict[str, set[str]] = {}
    for who, entries in given:
        allowed.setdefault(who, set()).update(entries)
    assert all(entry in allowed[who] for who, entry in made)
    assert len({who for who, _ in made}) == len({entry for _, entry in made}) == len(made)

    def best(people: list[str], taken: frozenset[str]) -> int:
        if not people:
            return 0
        return max([best(people[1:], taken), *(1 + best(people[1:], taken | {one}) for one in allowed[people[0]] - taken)])

    assert len(made) == best(list(allowed), frozenset())


# Who took part.

AUTHORS = [Author("Sam", "sam@x.example", "sam"), Author("Mia", "mia@x.example", "Mia")]


def test_who_may_not_approve() -> None:
    barred = approval.barred(gate(), AUTHORS, "tess", ["ivy", "Sam"])
    assert barred.why == {
        "sam": ["wrote a commit of this release", "started this run"], "mia": ["wrote a commit of this release"],
        "tess": ["started the training"], "ivy": ["started this run"],
    }  # fmt: skip
    allowed = approval.barred(gate(self_review=True), AUTHORS, "tess", ["ivy", "Sam"])
    assert set(allowed.why) == {"sam", "mia", "tess"}
    assert all(one.passed for one in approval.told_apart(barred, "tess", "tess"))


def test_who_is_not_known_can_t_be_told_from_an_approver() -> None:
    barred = approval.barred(gate(), [*AUTHORS, Author("Kim\nDoe", "kim@home.example", "")], "", [])
    [authors, trainer] = approval.told_apart(barred, "", "Tess Roe")
    assert not authors.passed
    assert authors.says == "whose account is not known: Kim Doe <kim@home.example>"
    assert "under people in .cloud/gates.yml" in authors.fix
    assert trainer.says == "the account of Tess Roe, who started the training, is not known"
    [_, trainer] = approval.told_apart(barred, "", "")
    assert (trainer.passed, trainer.says) == (False, "who started the training is not known")
    many = approval.barred(gate(), [Author("", f"{number}@x.example", "") for number in range(9)], "", [])
    assert next(approval.told_apart(many, "", "")).says.endswith(" and 4 more")


def pushed(by: str, through: str, verified: bool = False, **logins: str) -> dict[str, Any]:
    """A commit as GitHub shows it; `logins` has the accounts that it knows an author or a committer by."""
    people = {role: {"name": address.split("@")[0], "email": address} for role, address in (("author", by), ("committer", through))}
    accounts = {role: {"login": logins[role]} if role in logins else None for role in people}
    return {"commit": {**people, "message": "x", "verification": {"verified": verified}}, **accounts}


@pytest.mark.parametrize(
    ("commit", "expected"),
    [
        (pushed("s@x.example", "s@x.example", author="sam", committer="sam"), {"sam"}),
        (pushed("bot@users.noreply.github.com", "r@x.example", author="dependabot[bot]", committer="rea"), {"dependabot[bot]", "rea"}),
        (pushed("s@x.example", "r@home.example", author="sam"), {"sam", ""}),
        # GitHub commits what is done on its pages, signed; anybody may write its address.
        (pushed("s@x.example", "noreply@github.com", True, author="sam", committer="web-flow"), {"sam"}),
        (pushed("s@x.example", "noreply@github.com", author="sam", committer="web-flow"), {"sam", ""}),
        (pushed("s@x.example", "NoReply@GitHub.com", author="sam"), {"sam", ""}),
        # What GitHub knows no account by is nobody's.
        (pushed("ghost@users.noreply.invalid", "ghost@users.noreply.invalid"), {""}),
        (pushed("ghost@users.noreply.github.com", "1+ghost@users.noreply.github.com"), {""}),
        (pushed("ghost", "ghost"), {""}),
        (pushed("", ""), {""}),
        (pushed("k@home.example", "K@home.example"), {"kim"}),
    ],
)
def test_whoever_committed_wrote_it_too(commit: dict[str, Any], expected: set[str]) -> None:
    answers = Answers(compare={"total_commits": 1, "commits": [commit]})
    run = github_approvals.Run(answers, "7")  # type: ignore[arg-type]
    assert {one.account for one in run.authors(Path(), "a" * 40, "b" * 40, {"k@home.example": "kim"})} == expected


def test_co_authors_are_found_wherever_they_stand() -> None:
    message = "Fix\n\nCo-authored-by: Mia Park <mia@x.example>\nCO-AUTHORED-BY:Bo <bo@x.example>\n\nmore text\nNot co-authored-by: X <x@x>"
    assert [one.email for one in commits.co_authors(message)] == ["mia@x.example", "bo@x.example"]


# Older approvals.


def at(minutes: float) -> datetime:
    return NOW - timedelta(hours=1) + timedelta(minutes=minutes)


def test_with_times_what_came_before_the_dossier_is_older() -> None:
    given = [Approval("rea", PERSON, time=at(minutes)) for minutes in (-0.1, 0, 5)]
    after, before, unsaid = approval.later(given, dossier_of())
    assert (after, before, unsaid) == (given[1:], given[:1], "")


def test_without_times_what_the_dossier_saw_is_older_as_often_as_it_saw_it() -> None:
    rea, kim = Approval("rea", PERSON, "fine"), Approval("kim", PERSON, "fine")
    seen = dossier_of(facts={"approvals": [rea.mark()]})
    assert approval.later([rea], seen) == ([], [rea], "")
    assert approval.later([rea, rea], seen) == ([rea], [rea], "")
    assert approval.later([rea, kim, rea, rea], seen) == ([kim, rea, rea], [rea], "")
    assert approval.later([Approval("rea", PERSON, "again")], seen)[0], "another comment is another approval"
    assert approval.later([rea], dossier_of()) == ([rea], [], "")


@pytest.mark.parametrize("seen", [None, "rea", 1, {}])
def test_a_dossier_that_does_not_say_what_it_saw(seen: Any) -> None:
    rea = Approval("rea", PERSON)
    after, before, unsaid = approval.later([rea], dossier_of(facts={"approvals": seen}))
    assert (after, before) == ([], [rea])
    assert "does not say which approvals were there before it" in unsaid


# Approvals that are used up.


def entry(*counted: Approval, dossier: str = DOSSIER, verdict: str = "passed", at: str = "prod", run: str = RUN, **facts: Any) -> Any:
    """What production's ledger has of an earlier verify_approval."""
    facts = {"dossier": dossier, "approvals": [one.counted() for one in counted], **facts}
    return said(approval.VERB, OTHER, at, verdict, run=run, **facts)


def left(given: list[Approval], *entries: Any) -> list[int]:
    """The numbers of the approvals that may still count."""
    made = approval.numbered(given)
    new, old = approval.unused(made, approval.used_up(entries, PROD, DOSSIER))
    assert sorted([*new, *old], key=made.index) == made
    return [one.number for one in new]


OTHERS = "sha256:" + "e" * 64


def test_an_approval_counts_once_and_for_one_dossier() -> None:
    rea, kim = Approval("rea", PERSON, "fine"), Approval("kim", PERSON, "fine")
    first, second = approval.numbered([rea, rea])
    assert (first.number, second.number, first.mark()) == (0, 1, second.mark())
    assert left([rea]) == [0]
    assert left([rea], entry(first)) == []
    assert left([rea, rea], entry(first)) == [1], "the same person with the same words, once more"
    assert left([rea, rea], entry(first), entry(second)) == []
    assert left([rea, kim], entry(first)) == [0]
    assert left([rea], entry(first, verdict="failed")) == [0], "what did not pass may be run again"
    assert left([rea], entry(first, dossier=OTHERS)) == []
    assert left([rea], entry(first, dossier=OTHERS, verdict="failed")) == [], "it was another dossier's, whatever became of that"
    assert left([rea], entry(first, run=f"{RUN}0"), entry(first, at="dev"), said("check_gates", at="prod")) == [0]
    assert left([rea], entry(verdict="failed", approvals="?"), said(approval.VERB, at="prod", verdict="failed", dossier=OTHERS)) == [0]


@pytest.mark.parametrize("counted", [None, "rea", 1, [1], [{}], [{"digest": "x", "number": None}]])
def test_who_verified_and_does_not_say_what_it_counted(counted: Any) -> None:
    with pytest.raises(Refusal, match="does not say which approvals of this run it counted"):
        approval.used_up([entry(approvals=counted)], PROD, DOSSIER)
    made = entry()
    del made["predicate"]["facts"]["approvals"]
    with pytest.raises(Refusal, match="does not say which approvals of this run it counted"):
        approval.used_up([made], PROD, DOSSIER)


def test_what_was_used_before_the_dossier_is_taken_away_once() -> None:
    """All of a run again: an approval of the first attempt is older than the dossier, and was used up too."""
    rea = Approval("rea", PERSON, "fine")
    given = approval.numbered([rea, rea])
    after, before, _ = approval.later(given, dossier_of(facts={"approvals": [rea.mark()]}))
    assert ([one.number for one in after], [one.number for one in before]) == ([1], [0])
    used = approval.used_up([entry(given[0], dossier=OTHERS)], PROD, DOSSIER)
    assert approval.unused(after, used) == (after, [])


def test_what_is_used_up_is_named_and_is_no_bypass() -> None:
    good, [finding, bypass] = approval.approved(gate(), 1, [], [], Barred({}), [Approval("rea", PERSON)])
    assert (good, finding.passed, bypass.passed) == ([], False, True)
    assert finding.says == "expected 1 of managers, found none; rea approved what an earlier verify_approval of this run has counted"


def test_a_rejection_is_not_undone() -> None:
    no = Approval("kim", PERSON, "fine", rejected=True)
    assert approval.rejected([Approval("rea", PERSON)]).passed
    finding = approval.rejected([Approval("rea", PERSON), no, no])
    assert not finding.passed
    assert finding.says.startswith("kim rejected it in this run")
    assert no.mark() != Approval("kim", PERSON, "fine").mark()
    assert approval.later([no], dossier_of(facts={"approvals": [no.mark()]})) == ([], [no], "")


@pytest.mark.parametrize(
    ("verb", "where", "hours", "passed"),
    [("roll_back", "prod", 0.5, False), ("roll_back", "prod", 1, False), ("roll_back", "prod", 1.5, True), ("roll_back", "dev", 0.5, True),
     ("shift_traffic", "prod", 0.5, True)],
)  # fmt: skip
def test_who_rolled_back_since_knew_more(verb: str, where: str, hours: float, passed: bool) -> None:
    finding = approval.turned_back([said(verb, OLD, where, hours=hours)], PROD, dossier_of())
    assert finding.passed is passed
    assert ("prod was rolled back at 2026-11-23T" in finding.says) is not passed


# As it was.


@pytest.mark.parametrize(
    ("before", "live", "serving", "failed"),
    [
        ("", None, {}, []),  # a first release
        (OLD, OLD, {"d-1": OLD}, []),
        (OLD, OLD, {"d-1": OLD, "d-2": MINE}, []),  # killed while it rolled out
        (OLD, OLD, {"d-2": MINE}, []),  # killed before it was recorded
        (OLD, MINE, {"d-2": MINE}, []),  # run again when all was done
        ("", MINE, {"d-2": MINE}, []),
        ("", None, {"d-2": MINE}, []),
        # The registry says that it is live already, and no traffic goes to it: somebody else said so.
        (OLD, MINE, {"d-1": OLD}, ["champion"]),
        ("", MINE, {}, ["champion"]),
        (MINE, MINE, {}, []),
        (OLD, OTHER, {"d-3": OTHER}, ["champion", "traffic"]),
        (OLD, OTHER, {"d-1": OLD}, ["champion"]),
        (OLD, OLD, {"d-3": OTHER}, ["traffic"]),
        (OLD, OLD, {"d-1": OLD, "d-3": ""}, ["traffic"]),
        (OLD, None, {"d-1": OLD}, ["champion"]),
        ("", OLD, {"d-1": OLD}, ["champion", "traffic"]),
        ("", None, {"d-1": OLD}, ["traffic"]),
        ("", None, {"d-1": ""}, ["traffic"]),
        # roll_back went to what came from no bundle, and the registry says so.
        ("", "nothing that came from a bundle", {"d-0": ""}, []),
        (OLD, "nothing that came from a bundle", {"d-0": ""}, ["champion", "traffic"]),
    ],
)
def test_production_runs_what_the_dossier_compared_with(before: str, live: str | None, serving: dict[str, str], failed: list[str]) -> None:
    document = {"champion": {"id": before} if before else None}
    assert [one.name for one in approval.champion(document, MINE, live, serving) if not one.passed] == failed


@pytest.mark.parametrize(
    ("rollouts", "live", "serving", "passed"),
    [
        ([], None, [], True),
        ([], "nothing that came from a bundle", [""], True),
        ([], MINE, [MINE], True),  # killed after it was recorded as live, before the ledger had it
        ([], None, [MINE], True),  # killed before it was recorded at all
        ([("shift_traffic", OLD)], OLD, [OLD], True),
        ([("shift_traffic", OLD)], OLD, [OLD, MINE], True),
        ([("shift_traffic", OTHER), ("roll_back", OLD)], OLD, [OLD], True),
        ([], OLD, [OLD], False),
        ([("shift_traffic", OTHER)], OLD, [OLD], False),
        # What the registry says takes nothing away from what serves.
        ([], MINE, [OLD], False),
        ([], None, [OLD], False),
        ([("shift_traffic", OTHER)], OTHER, [OLD], False),
        ([("shift_traffic", OLD)], OTHER, [OLD], False),
    ],
)
def test_the_ledger_knows_what_runs(rollouts: list[tuple[str, str]], live: str | None, serving: list[str], passed: bool) -> None:
    finding = approval.entered(MINE, rollouts, live, {f"d-{at}": one for at, one in enumerate(serving)})
    assert (finding.passed, finding.waivable) == (passed, True)
    assert ("break_glass waives this rule" in finding.fix) is not passed


def when(**minutes: float) -> dict[str, str]:
    """When bundles were shared, by the first digit of each."""
    return {
        digit * 16: (NOW + timedelta(minutes=at)).isoformat().replace("+00:00", "0000Z" if at % 1 else "Z") for digit, at in minutes.items()
    }


@pytest.mark.parametrize(
    ("rollouts", "shared", "live", "says"),
    [
        ([], when(a=0), None, ""),
        ([("shift_traffic", OLD)], when(a=0, c=-9), OLD, ""),
        ([("shift_traffic", OLD), ("shift_traffic", MINE)], when(a=0, c=-9), MINE, ""),
        # It was rolled back from, and nothing newer came since.
        ([("shift_traffic", OLD), ("shift_traffic", MINE), ("roll_back", OLD)], when(a=0, c=-9), OLD, ""),
        # The same, and the old one's release was run again, which changed nothing.
        ([("shift_traffic", OLD), ("shift_traffic", MINE), ("roll_back", OLD), ("shift_traffic", OLD)], when(a=0, c=-9), OLD, ""),
        # A newer one ran, and was rolled back from to this.
        ([("shift_traffic", MINE), ("shift_traffic", OTHER), ("roll_back", MINE)], when(a=0, b=9), MINE, ""),
        ([("shift_traffic", MINE), ("shift_traffic", OTHER)], when(a=0, b=9), OTHER, "before bundle bbbbbbbbbbbb"),
        # Never live, shared before the champion was: approved once, and overtaken.
        ([("shift_traffic", OTHER)], when(a=0, b=9), OTHER, "before bundle bbbbbbbbbbbb"),
        ([("shift_traffic", OTHER)], when(a=0, b=0.001), OTHER, "before bundle bbbbbbbbbbbb"),
        # The record of the newer one is gone from the registry, and not from the ledger.
        ([("shift_traffic", MINE), ("shift_traffic", OTHER)], when(a=0, b=9), None, "bundle bbbbbbbbbbbb replaced it since"),
        ([("shift_traffic", MINE), ("shift_traffic", OTHER)], when(a=0), None, "bundle bbbbbbbbbbbb replaced it since"),
        ([("shift_traffic", MINE), ("shift_traffic", OTHER), ("roll_back", OLD)], when(a=0, b=9, c=-9), OLD, "bbbbbbbbbbbb replaced it"),
        ([], when(a=0), OTHER, "the registry has no bundle bbbbbbbbbbbb"),
        ([], when(b=0), None, "does not say when this bundle was shared"),
        ([], {"a" * 16: ""}, None, "does not say when this bundle was shared"),
    ],
)
def test_an_old_bundle_is_not_played_again(rollouts: Any, shared: dict[str, str], live: str | None, says: str) -> None:
    finding = approval.replayed(MINE, rollouts, shared, live, {"d-1": live} if live else {})
    assert finding.passed is not bool(says), finding.says
    assert says in finding.says


@pytest.mark.parametrize("live", [MINE, None, "nothing that came from a bundle"])
def test_a_mark_in_the_registry_does_not_make_an_old_bundle_new(live: str | None) -> None:
    rollouts = [("shift_traffic", OTHER)]
    for serving in ({"d-1": OTHER}, {"d-1": OTHER, "d-2": MINE}):
        finding = approval.replayed(MINE, rollouts, when(a=0, b=9), live, serving)
        assert not finding.passed
        assert "it was shared before bundle bbbbbbbbbbbb, which production runs" in finding.says
    assert approval.replayed(MINE, rollouts, when(a=0, b=9), live, {"d-2": MINE}).passed, "all the traffic goes to it"


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        ([said("shift_traffic", hours=25)], ""),
        ([said("shift_traffic", hours=25), said("shift_traffic", hours=1)], ""),
        ([said("shift_traffic", hours=23.9)], "found a rollout of 23.9 h ago"),
        ([], "no rollout of it there is proven"),
        ([said("shift_traffic", hours=25, verdict="failed"), said("shift_traffic", hours=2)], "found a rollout of 2.0 h ago"),
        ([said("shift_traffic", about=OTHER, hours=25)], "no rollout"),
        ([said("shift_traffic", at="test", hours=25)], "no rollout"),
        ([said("deploy_online", hours=25)], "no rollout"),
        ([said("shift_traffic", hours=-9)], "found a rollout of -9.0 h ago"),
    ],
)
def test_a_bundle_soaks(statements: list[Any], says: str) -> None:
    [finding] = approval.soaked(gate(soak={"workspace": "dev", "hours": 24}), MINE, statements, NOW)
    assert finding.passed is not bool(says)
    assert says in finding.says
    assert finding.waivable
    assert list(approval.soaked(gate(), MINE, [], NOW)) == []


@pytest.mark.parametrize(
    ("branches", "tags", "ref", "passed"),
    [
        (["main"], [], "refs/heads/main", True),
        (["main"], [], "refs/heads/Main", False),
        (["main"], [], "refs/heads/users/x/main", False),
        (["main"], [], "refs/tags/main", False),
        (["main"], [], "refs/pull/7/merge", False),
        (["main"], [], "main", False),
        (["main"], [], "", False),
        (["main"], ["v*"], "refs/tags/v1.2", True),
        (["main"], ["v*"], "refs/heads/v1", False),
        (["release/*"], [], "refs/heads/release/1", True),
        (["release/*"], [], "refs/heads/release/1/x", False),
        (["release/**"], [], "refs/heads/release/1/x", True),
        (["release.1"], [], "refs/heads/releaseX1", False),
        (["main"], [], "refs/heads/main\n", False),
        ([], [], "refs/heads/main", False),
    ],
)
def test_only_branches_and_tags_that_may_deploy(branches: list[str], tags: list[str], ref: str, passed: bool) -> None:
    assert approval.on_branch(gate(branches=branches, tags=tags), ref).passed is passed


# What deploys rely on.


def verified(folder: Path, about: str = MINE, verb: str = approval.VERB, at: str = "prod", verdict: str = "passed") -> Path:
    made = evidence.statement(evidence.about_bundle("flights", about), verb, verdict, workspace=at, started=evidence.now())
    return evidence.write(folder, made)


def test_what_was_verified_in_this_job_may_be_deployed(tmp_path: Path) -> None:
    verified(tmp_path)
    approval.require(tmp_path, PROD, MINE)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"about": OTHER}, "is about another bundle or workspace, or did not pass"),
        ({"verdict": "failed"}, "is about another bundle or workspace, or did not pass"),
        ({"at": "dev"}, "is not there"),
        ({"verb": "verify_bundle"}, "is not there"),
    ],
)
def test_nothing_else_may(tmp_path: Path, changes: dict[str, str], says: str) -> None:
    verified(tmp_path, **changes)
    with pytest.raises(Refusal, match=f"nothing says that bundle {MINE} was approved for prod.*{says}"):
        approval.require(tmp_path, PROD, MINE)


def test_nor_what_another_run_verified_nor_what_is_no_statement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = verified(tmp_path)
    monkeypatch.setenv("GITHUB_RUN_ID", "8")
    with pytest.raises(Refusal, match="is of another run"):
        approval.require(tmp_path, PROD, MINE)
    path.write_text('{"predicate": {"verdict": "passed"}}')
    with pytest.raises(Refusal, match="no statement of this catalog"):
        approval.require(tmp_path, PROD, MINE)


def test_without_a_ci_system_nobody_tells_who_approved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    with pytest.raises(Refusal, match=r"It is not known who approved"):
        approval.connect()


# What the two systems answer.


class Answers:
    """A client of either system, with what it is answered."""

    project, owner = "ml", "contoso"

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def get(self, path: str, **query: str) -> Any:
        found = next(value for part, value in self.answers.items() if part in path.replace("/", "_"))
        if isinstance(found, Exception):
            raise found
        return found

    def pages(self, path: str, **query: str) -> Any:
        return iter(self.get(path))


def reviewed(login: str | None, state: str = "approved", environment: str = "Production", kind: str = "User") -> dict[str, Any]:
    user = {"login": login, "type": kind} if login is not None else None
    return {"state": state, "comment": None, "user": user, "environments": [{"name": environment}]}


def test_what_github_lists_of_a_run() -> None:
    listed = [
        reviewed("rea"), reviewed("kim", state="rejected"), reviewed("kim", environment="staging"), reviewed("app[bot]", kind="Bot"),
        reviewed(None), reviewed("gone", kind="Mannequin"),
    ]  # fmt: skip
    run = github_approvals.Run(Answers(approvals=listed), "7")  # type: ignore[arg-type]
    assert [(one.who, one.kind, one.rejected) for one in run.approvals(gate())] == [
        ("rea", PERSON, False), ("kim", PERSON, True), ("app[bot]", BOT, False), ("", BOT, False), ("gone", BOT, False),
    ]  # fmt: skip


def test_who_started_any_attempt_of_a_run_on_github() -> None:
    def run(attempt: int, by: str) -> dict[str, Any]:
        return {"run_attempt": attempt, "actor": {"login": "ivy"}, "triggering_actor": {"login": by}}

    class Attempts(Answers):
        def get(self, path: str, **query: str) -> Any:
            return self.answers.get(path.removeprefix("actions/runs/7"))

    once = github_approvals.Run(Attempts(**{"": run(1, "ivy")}), "7")  # type: ignore[arg-type]
    assert once.initiators() == ["ivy"]
    answers = {"": run(3, "sam"), "/attempts/1": run(1, "ivy"), "/attempts/2": run(2, "rea")}
    assert github_approvals.Run(Attempts(**answers), "7").initiators() == ["ivy", "rea", "sam"]  # type: ignore[arg-type]
    del answers["/attempts/2"]
    with pytest.raises(Refusal, match="404 for actions/runs/7/attempts/2"):
        github_approvals.Run(Attempts(**answers), "7").initiators()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answers", "protected", "bypass", "entries"),
    [
        ({"memberships": {"state": "active"}}, False, False, {"managers"}),
        ({"memberships": {"state": "pending"}}, True, False, set()),
        ({"memberships": None, "teams": {"slug": "managers"}}, True, False, set()),
        # The token may not see the team: only where GitHub itself let nobody else approve.
        ({"memberships": None, "teams": None, "permission": {"permission": "read"}}, True, False, {"managers"}),
        ({"memberships": Refusal("403"), "permission": {"permission": "write", "role_name": "maintain"}}, True, False, {"managers"}),
        ({"memberships": Refusal("403"), "permission": {"permission": "read"}}, False, False, None),
        ({"memberships": Refusal("403"), "permission": {"permission": "read"}}, True, True, None),
        ({"memberships": Refusal("403"), "permission": {"permission": "admin"}}, True, False, None),
        ({"memberships": Refusal("403"), "permission": {"permission": "write", "role_name": "admin"}}, True, False, None),
        ({"memberships": Refusal("403"), "permission": {}}, True, False, None),
        ({"memberships": Refusal("403"), "permission": None}, True, False, None),
        ({"memberships": Refusal("403"), "permission": Refusal("403")}, True, False, None),
    ],
)
def test_who_is_in_a_team_on_github(answers: dict[str, Any], protected: bool, bypass: bool, entries: set[str] | None) -> None:
    run = github_approvals.Run(Answers(**answers), "7")  # type: ignore[arg-type]
    standing = run.standing(gate(admin_bypass=bypass), Approval("rea", PERSON), protected)
    assert (set(standing.entries), bool(standing.unknown)) == (entries or set(), entries is None)
    assert ("name rea under users in gates.yml" in standing.fix) == (entries is None)
    user = run.standing(gate(users=["REA"], teams=[]), Approval("rea", PERSON), False)
    assert user.entries == {"REA"}
    assert run.standing(gate(), Approval("a/../b", PERSON), True).unknown, "no login, and no part of an address"


GROUP = {"displayName": "[ml]\\managers", "uniqueName": "vstfs:///x", "descriptor": "vssgp.1", "isContainer": True}
TIME = "2026-11-23T14:00:00.1234567Z"


def person(name: str, descriptor: str = "aad.1") -> dict[str, str]:
    return {"displayName": name, "uniqueName": f"{name}@x.example", "descriptor": descriptor}


def step(status: str = "approved", by: dict[str, str] | None = None, of: Any = None) -> dict[str, Any]:
    actual = {"actualApprover": by or person("rea")} if status == "approved" else {}
    return {
        "assignedApprover": of or GROUP,
        "status": status,
        "comment": "",
        "lastModifiedOn": TIME,
        "lastModifiedBy": person("pat"),
        **actual,
    }


def asked(*steps: Any, status: str = "approved", **changes: Any) -> list[Approval]:
    records = [
        {"id": "s", "type": "Stage", "name": "Production, at last", "identifier": "production"},
        {"id": "o", "type": "Stage", "name": "production", "identifier": "other"},
        {"id": "c", "type": "Checkpoint", "name": "Checkpoint", "parentId": "s"},
        {"id": "d", "type": "Checkpoint", "name": "Checkpoint", "parentId": "o"},
        {"id": "1", "type": "Checkpoint.Approval", "name": "x", "parentId": "c"},
        {"id": "2", "type": "Checkpoint.Approval", "name": "x", "parentId": "d"},
    ]
    answers = Answers(
        timeline={"records": records}, approvals={"value": [{"id": "1", "status": status, "lastModifiedOn": TIME, "steps": [*steps]}]}
    )
    run = azure_devops_approvals.Run(answers, "7", "production")  # type: ignore[arg-type]
    assert run._asked() == {"1": "c"}, "those of this stage alone, whatever another one calls itself"
    return run.approvals(gate(**changes))


def test_what_azure_devops_lists_of_a_stage() -> None:
    [one] = asked(step())
    assert (one.who, one.kind, one.team, one.skipped) == ("rea@x.example", PERSON, "managers", False)
    assert one.time == datetime(2026, 11, 23, 14, 0, 0, 123456, timezone.utc)
    for descriptor in ("svc.1", "aadsp.1", "s2s.1", "vssgp.1"):
        assert [one.kind for one in asked(step(by=person("rea", descriptor)))] == [BOT]
    assert [one.kind for one in asked(step(by={"uniqueName": "Build Service", "displayName": "x"}))] == [BOT]
    assert asked(step(), teams=["others"]) == [], "another resource's approval, of other people"
    assert asked(step(of={**GROUP, "displayName": "[other]\\managers"})) == [], "another project's group of that name"
    assert asked(step(of={**person("x"), "uniqueName": "managers"}), teams=["managers"])[0].team == "", "a person of that name"


def test_who_answers_environment_and_connection_has_approved_once() -> None:
    """Each wait of a stage counts for itself: a stage that is begun again asks again."""
    waits = {"1": "c", "2": "c", "3": "e"}
    records = [{"id": "s", "type": "Stage", "name": "production"}]
    records += [{"id": point, "type": "Checkpoint", "parentId": "s"} for point in ("c", "e")]
    records += [{"id": id, "type": "Checkpoint.Approval", "parentId": point} for id, point in waits.items()]

    def given(*by: str) -> list[tuple[str, int]]:
        steps = [{**step(by=person(who)), "lastModifiedOn": f"2026-11-23T1{number}:00:00Z"} for number, who in enumerate(by, 1)]
        value = [{"id": id, "status": "approved", "lastModifiedOn": TIME, "steps": [one]} for id, one in zip(waits, steps, strict=False)]
        answers = Answers(timeline={"records": records}, approvals={"value": value})
        found = azure_devops_approvals.Run(answers, "7", "production").approvals(gate())  # type: ignore[arg-type]
        return [(one.who, one.time.hour if one.time else 0) for one in found]

    assert given("rea", "rea") == [("rea@x.example", 11)]
    assert given("rea", "kim") == [("rea@x.example", 11), ("kim@x.example", 12)]
    assert given("rea", "rea", "rea") == [("rea@x.example", 11), ("rea@x.example", 13)]


def test_an_approval_that_is_not_complete_was_passed_by() -> None:
    users: dict[str, Any] = {"users": ["rea@x.example"]}
    both = (step(), step("skipped", of=person("rea")))
    assert [one.skipped for one in asked(*both, **users)] == [False], "one was enough, and nobody else need decide"
    assert [(one.who, one.skipped) for one in asked(*both, status="pending", **users)][1] == ("pat@x.example", True)
    assert [(one.who, one.skipped) for one in asked(step("pending"), status="pending")] == [("somebody", True)]


def test_proof_that_the_dossier_shows_has_to_be_there() -> None:
    def said(verb: str, finished: str, verdict: str = "passed") -> dict[str, Any]:
        return {"predicate": {"verb": verb, "workspace": "dev", "finished": finished, "verdict": verdict}}

    def shown(verb: str, finished: str | None, state: str = "passed", *, required: bool = True) -> dict[str, Any]:
        return {"verb": verb, "workspace": "dev", "finished": finished, "state": state, "required": required}

    dossier = {"proof": [shown("smoke_test", "T1"), shown("check_gate", "T2", "expired"), shown("share_model", None, "missing"),
                         shown("look_around", "T3", required=False)]}  # fmt: skip
    whole = [said("smoke_test", "T1"), said("check_gate", "T2")]
    assert approval.behind(dossier, whole).passed
    for less in (whole[:1], [said("smoke_test", "T0"), whole[1]], [said("smoke_test", "T1", "failed"), whole[1]], []):
        assert not approval.behind(dossier, less).passed
    assert approval.behind({"proof": [shown("smoke_test", "T1", "failed")]}, [said("smoke_test", "T1", "failed")]).passed
