"""Whether an approval holds: who gave it and for what, and whether all is still as it was when they were asked.

Pure: what is judged is given, as values, and each rule says what it found in the words of `gates.Finding`. GitHub's and Azure DevOps'
approvals come in the same shape, from `github_approvals` and `azure_devops_approvals`. Names of accounts are compared without case.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from aml import bundle, ci, digest, evidence, plain, signing, spec
from aml.changes import short
from aml.command import Refusal
from aml.gates import CLOCKS_APART, Finding, Gate
from aml.workspace import Workspace

VERB = "verify_approval"
PERSON, BOT = "person", "bot"

Statement = Mapping[str, Any]


@dataclass(frozen=True)
class Approval:
    """One approval of the environment in this run. `time` is None where the CI system tells none."""

    who: str
    kind: str  # PERSON or BOT
    comment: str = ""
    time: datetime | None = None
    team: str = ""  # for which of the gate's teams it was given, where the CI system tells that
    skipped: bool = False  # it is none: an administrator let the job start without it
    rejected: bool = False  # it is none: they said no
    number: int = 0  # how many that look the same were listed before it, see `numbered`

    def mark(self) -> dict[str, str]:
        """By which it is known again: who, and the digest of all that is known of it."""
        said = [self.who, self.comment, self.time.isoformat() if self.time else "", self.team, *(["rejected"] if self.rejected else [])]
        return {"who": plain.text(self.who, 80), "digest": digest.of_bytes(json.dumps(said).encode())}

    def counted(self) -> dict[str, Any]:
        """Its mark and its number, by which it is told from those that look the same."""
        return {**self.mark(), "number": self.number}


@dataclass(frozen=True)
class Author:
    """Who wrote a commit: as git names them, and by their account, which is '' where nobody can tell it."""

    name: str
    address: str
    account: str


@dataclass(frozen=True)
class Standing:
    """What somebody is for a gate: the users and teams that they may approve for; `unknown` says why that can't be told."""

    entries: frozenset[str] = frozenset()
    unknown: str = ""
    fix: str = ""


class System(Protocol):
    """What a CI system tells of the run that this job is part of. Raises Refusal for what its token may not read."""

    def approvals(self, gate: Gate) -> list[Approval]:
        """Who approved the environment in this run, and who rejected it; nothing that was listed once is ever left out later."""

    def initiators(self) -> list[str]:
        """The accounts that started the run, or started it again."""

    def standing(self, gate: Gate, approval: Approval, protected: bool) -> Standing:
        """For which of the gate's users and teams an approval may count. `protected` says that the environment is as the gate asks."""

    def authors(self, project: Path, old: str, new: str, known: Mapping[str, str]) -> list[Author]:
        """Who wrote the commits of `new` that `old` has not; all of `new` where `old` is ''."""

    def account(self, name: str, known: Mapping[str, str]) -> str:
        """The account of a name or address that a job was marked with; '' if nobody can tell it."""

    def ref(self) -> str:
        """The branch or tag that the run is for: refs/heads/... or refs/tags/..."""

    def contains(self, ref: str, commit: str) -> bool:
        """Whether a branch or tag, as it is now, has a commit."""


def connect() -> System:
    """The CI system that runs this job. Raises Refusal if there is none."""
    from aml import azure_devops_approvals, github_approvals

    if ci.system() == "github":
        return github_approvals.connect()
    if ci.system() == "azure-devops":
        return azure_devops_approvals.connect()
    why = "this is neither a job of GitHub's nor one of Azure DevOps', and nobody else tells who approved"
    raise Refusal("It is not known who approved", why, "let the journey promote run it, behind the environment's gate")


def accounts(written: Mapping[str, Any]) -> dict[str, str]:
    """The accounts that gates.yml names, by address or name in lower case."""
    return {str(address).casefold(): str(account) for address, account in (written.get("people") or {}).items()}


# The dossier that was approved.


def behind(dossier: Mapping[str, Any], statements: Iterable[Statement]) -> Finding:
    """Whether every piece of proof that a release needs and the dossier shows is among the verified statements, as it was shown."""
    there = {
        (plain.text(said["verb"], 60), plain.text(said["workspace"], 60), str(said["finished"]), said["verdict"] == "passed")
        for said in (one["predicate"] for one in statements)
    }
    shown = [one for one in dossier["proof"] if one["required"] and one["finished"]]
    gone = [one for one in shown if (one["verb"], one["workspace"], one["finished"], one["state"] != "failed") not in there]
    if not gone:
        return Finding("proof", True, f"{len(shown)} pieces, all that the dossier shows")
    names = ", ".join(f"{one['verb']} in {one['workspace']}" for one in gone[:5])
    says = f"the dossier shows {names}, and that is not what was handed over"
    return Finding("proof", False, says, "find out who took it away; then begin a new run")


def compiled(
    statements: Iterable[Statement], at: Workspace, bundle_id: str, dossier_id: str, environment: str, others: Iterable[str]
) -> tuple[Statement | None, Finding]:
    """The statement by which a dossier was compiled in this run for this bundle, workspace and environment; None if there is none.

    `statements` are verified; `others` are the workspaces that may have made it, production not among them.
    """
    name, run = "dossier", ci.run_url()
    about = {"dossier": dossier_id, "to": at.name}
    found = [one for one in statements if one["predicate"]["verb"] == "compile_dossier" and _about(one, bundle_id)]
    lacks = [
        ("says so of this dossier", lambda said: all(said["facts"].get(key) == value for key, value in about.items())),
        ("is for this environment", lambda said: str(said["facts"].get("environment")).lower() == environment.lower()),
        ("is of a workspace that shares", lambda said: said["workspace"] in set(others)),
        ("passed", lambda said: said["verdict"] == "passed"),
        ("was made in this run", lambda said: bool(run) and said["links"].get("run") == run),
    ]
    for what, holds in lacks:
        if not (left := [one for one in found if holds(one["predicate"])]):
            says = (
                f"no signed statement of compile_dossier about bundle {short(bundle_id)} {what}" if found else "no dossier of it is signed"
            )
            return None, Finding(name, False, f"{says}: {short(dossier_id)}", "let the whole run begin anew, and approve what it shows")
        found = left
    made = max(found, key=lambda one: str(one["predicate"]["finished"]))
    return made, Finding(name, True, f"{dossier_id}, compiled by {made['predicate']['workspace']} at {made['predicate']['finished']}")


def _about(statement: Statement, bundle_id: str) -> bool:
    return {subject["digest"].get("sha256") for subject in statement["subject"]} == {bundle_id.removeprefix("sha256:")}


def speaks(dossier: Mapping[str, Any], at: Workspace, bundle_id: str, environment: str) -> Finding:
    """Whether a dossier is of this bundle, and of this workspace and environment."""
    expected = (bundle_id, at.name, environment.lower())
    approvers = dossier["people"]["approvers"] or {}
    found = (dossier["bundle"]["id"], dossier["where"]["workspace"], str(dossier["where"]["environment"]).lower())
    passed = found == expected and str(approvers.get("environment", environment)).lower() == environment.lower()
    says = f"expected bundle {short(bundle_id)} for {at.name} in {environment}, found {short(found[0])} for {found[1]} in {found[2]}"
    return Finding("what was approved", passed, plain.text(says, 400), "" if passed else "approve the dossier of this very bundle")


# Who approved.


@dataclass(frozen=True)
class Barred:
    """Who may not approve: why, by account; and those that nobody could be found for."""

    why: Mapping[str, Sequence[str]]
    unknown: Sequence[str] = field(default=())


def barred(gate: Gate, authors: Iterable[Author], trainer: str, initiators: Iterable[str]) -> Barred:
    """Who may not approve: who wrote a commit, started the training or, where the gate bars that, started the run."""
    why: dict[str, list[str]] = {}
    unknown: list[str] = []

    def bar(account: str, reason: str) -> None:
        reasons = why.setdefault(account.casefold(), [])
        if reason not in reasons:
            reasons.append(reason)

    for author in authors:
        if author.account:
            bar(author.account, "wrote a commit of this release")
        elif (shown := plain.text(f"{author.name} <{author.address}>", 160)) not in unknown:
            unknown.append(shown)
    if trainer:
        bar(trainer, "started the training")
    for who in initiators if not gate["reviewers"]["self_review"] else ():
        bar(who, "started this run")
    return Barred(why, unknown)


def told_apart(found: Barred, trainer: str, said: str) -> Iterator[Finding]:
    """Whether it is known who must not approve. Where it is not, nobody can be told from them.

    `trainer` is the account, '' if nobody can tell it, of who `said` names.
    """
    fix = "link that address to the account, or name the account under people in .cloud/gates.yml"
    if found.unknown:
        says = f"whose account is not known: {', '.join(found.unknown[:5])}{_more(found.unknown, 5)}"
        yield Finding("authors", False, says, fix)
    else:
        who = sorted(name for name, why in found.why.items() if any("commit" in one for one in why))
        yield Finding("authors", True, f"{', '.join(who[:10])}{_more(who, 10)}" if who else "no commit since the last release")
    if trainer:
        yield Finding("trainer", True, trainer)
    elif said:
        yield Finding("trainer", False, f"the account of {plain.text(said, 120)}, who started the training, is not known", fix)
    else:
        yield Finding("trainer", False, "who started the training is not known", "train it in the pipeline, which marks the job with that")


def later(given: Sequence[Approval], made: Statement) -> tuple[list[Approval], list[Approval], str]:
    """The approvals that came after a dossier, those that came before it, and why that can't be told, or ''.

    GitHub tells no times, so what the dossier saw then is taken away from what there is now, each as often as it was there.
    """
    finished = evidence.moment(str(made["predicate"]["finished"]))
    if all(one.time for one in given):
        return [one for one in given if one.time and one.time >= finished], [one for one in given if one.time and one.time < finished], ""
    seen = made["predicate"]["facts"].get("approvals")
    if not isinstance(seen, list):
        return [], list(given), "the dossier does not say which approvals were there before it"
    known = Counter(str(one.get("digest")) for one in seen if isinstance(one, dict))
    after: list[Approval] = []
    before: list[Approval] = []
    for one in given:
        mark = one.mark()["digest"]
        (before if known[mark] > 0 else after).append(one)
        known[mark] -= 1
    return after, before, ""


def numbered(given: Iterable[Approval]) -> list[Approval]:
    """The approvals of a run, those that look the same with numbers.

    GitHub tells no ids. But such approvals are as good as each other, and what is listed once stays, so their number tells them apart.
    """
    seen: Counter[str] = Counter()
    made = []
    for one in given:
        mark = one.mark()["digest"]
        made.append(replace(one, number=seen[mark]))
        seen[mark] += 1
    return made


def used_up(statements: Iterable[Statement], at: Workspace, dossier_id: str) -> set[tuple[str, int]]:
    """The approvals of this run that an earlier verify_approval used up, whatever the run's attempt was, by production's ledger.

    One that counted for another dossier is of that dossier, whatever became of it; one that let this dossier pass did so once. Raises
    Refusal where one of them does not say what it counted.
    """
    found: set[tuple[str, int]] = set()
    for statement in statements:
        said, facts = statement["predicate"], statement["predicate"]["facts"]
        if (said["verb"], said["workspace"], said["links"].get("run")) != (VERB, at.name, ci.run_url()):
            continue
        if facts.get("dossier") == dossier_id and said["verdict"] != "passed":
            continue
        counted = facts.get("approvals", [] if said["verdict"] != "passed" else None)
        try:
            found |= {(str(one["digest"]), int(one["number"])) for one in counted}
        except (KeyError, TypeError, ValueError):
            what = f"verify_approval of {said['finished']} does not say which approvals of this run it counted"
            raise Refusal(what, "so those can't be told from new ones", "begin a new run, and have it approved again") from None
    return found


def unused(given: Iterable[Approval], used: set[tuple[str, int]]) -> tuple[list[Approval], list[Approval]]:
    """The approvals, of all of a run's that have numbers, that are not used up yet; and those that are."""
    new: list[Approval] = []
    old: list[Approval] = []
    for one in given:
        (old if (one.mark()["digest"], one.number) in used else new).append(one)
    return new, old


def rejected(given: Iterable[Approval]) -> Finding:
    """Whether nobody has rejected the environment in this run since the dossier was there."""
    who = list(dict.fromkeys(plain.text(one.who, 80) or "somebody" for one in given if one.rejected))
    if not who:
        return Finding("rejected", True, "nobody rejected it")
    says = f"{', '.join(who[:5])}{_more(who, 5)} rejected it in this run, and what others approve of it later does not undo that"
    return Finding("rejected", False, says, "find out why; then begin a new run, and have that approved")


def approved(
    gate: Gate,
    count: int,
    given: Sequence[tuple[Approval, Standing]],
    older: Sequence[Approval],
    who_not: Barred,
    used: Sequence[Approval] = (),
) -> tuple[list[dict[str, str]], list[Finding]]:
    """The approvers that count, each with the user or team that they approved for; and what was found.

    `count` people must approve, each for another one of the gate's users and teams, so a team that must be represented is one that the
    count leaves no way around. What was given before the dossier, was used up, is by a machine, or by somebody who took part counts for
    nothing.
    """
    entries = [*gate["reviewers"].get("users", []), *gate["reviewers"].get("teams", [])]
    notes, strangers, doubted, unknown, good = [], [], [], [], []
    for approval, standing in given:
        who = plain.text(approval.who, 80)
        if approval.skipped:
            strangers.append(who)
            notes.append(f"{who} let it pass without an approval")
        elif why := who_not.why.get(approval.who.casefold()):
            notes.append(f"{who} may not: {', '.join(why)}")
        elif approval.kind != PERSON:
            notes.append(f"{who} is no person")
        elif standing.unknown:
            unknown.append(standing)
            doubted.append(who)
            notes.append(f"{who}: {standing.unknown}")
        elif not standing.entries:
            strangers.append(who)
            notes.append(f"{who} is no reviewer of this gate")
        else:
            good.append((approval.who, standing.entries))
    notes += [f"{plain.text(one.who, 80)} approved before the dossier was there" for one in older]
    notes += [f"{plain.text(one.who, 80)} approved what an earlier verify_approval of this run has counted" for one in used]
    matched = pairs(good)
    passed = len(matched) >= count
    shown = ", ".join(f"{plain.text(who, 80)} for {plain.text(entry, 80)}" for who, entry in matched) or "none"
    if count < gate["reviewers"]["count"]:
        notes.append(f"WAIVED by break-glass: {gate['reviewers']['count']} are asked for")
    says = f"expected {count} of {', '.join(entries)}, found {shown}{'; ' if notes else ''}{'; '.join(notes)}"
    fixes = list(dict.fromkeys(one.fix for one in unknown if one.fix)) or ["have somebody approve who did not take part, in a new run"]
    findings = [Finding("approved", passed, plain.text(says, 1000), "" if passed else "; ".join(fixes))]
    if not given and not older and not used:
        says = "the job runs, and nobody is recorded who approved it: an administrator started it past the gate"
    elif strangers:
        says = f"{', '.join(dict.fromkeys(strangers))} let the job start, and no reviewer: an administrator started it past the gate"
    elif doubted:
        says = f"whether {', '.join(doubted)} is a reviewer, or an administrator who let the job start past the gate, can't be told"
    else:
        return [{"who": who, "for": entry} for who, entry in matched], [*findings, Finding("bypass", True, "none was found")]
    fix = "find out who did that, in the audit log; begin a new run, and let a reviewer approve it"
    return [{"who": who, "for": entry} for who, entry in matched], [*findings, Finding("bypass", False, plain.text(says, 400), fix)]


def pairs(given: Sequence[tuple[str, frozenset[str]]]) -> list[tuple[str, str]]:
    """As many people as can be, each with one of the entries that they may approve for, no person and no entry twice."""
    people: dict[str, tuple[str, frozenset[str]]] = {}
    for who, entries in given:
        shown, known = people.get(who.casefold(), (who, frozenset()))
        people[who.casefold()] = (shown, known | entries)
    taken: dict[str, str] = {}  # entry: whose it is

    def find(who: str, tried: set[str]) -> bool:
        for entry in sorted(people[who][1], key=str.lower):
            if entry not in tried:
                tried.add(entry)
                if entry not in taken or find(taken[entry], tried):
                    taken[entry] = who
                    return True
        return False

    for who in people:
        find(who, set())
    return sorted((people[who][0], entry) for entry, who in taken.items())


# Whether all is as it was.


def champion(dossier: Mapping[str, Any], bundle_id: str, live: str | None, serving: Mapping[str, str]) -> Iterator[Finding]:
    """Whether production runs what the dossier compared with, or already what is to be deployed, which a run that was killed left.

    `live` is what the registry says; `serving` has the bundle, or '', of each deployment that takes traffic now. A run marks a bundle as
    live once its traffic is there, so what has the mark and no traffic got it from somebody else.
    """
    fix = "begin a new run: its dossier shows what has changed in production"
    expected = (dossier["champion"] or {}).get("id", "")
    now = live if live and live.startswith("sha256:") else ""
    marked = now == bundle_id != expected and bundle_id not in serving.values()
    passed = now in (expected, bundle_id) and not marked
    says = f"expected {_named(expected)}, found {_named(now)} as what production runs"
    if marked:
        says, fix = f"{says} by the registry, and no traffic goes to it", "find out who marked it as live; then have that put right"
    yield Finding("champion", passed, says, "" if passed else fix)
    # What came from no bundle is expected only where the registry says, now too, that no bundle serves.
    allowed = {bundle_id, expected or ("" if live and not now else bundle_id)}
    other = {name: found for name, found in serving.items() if found not in allowed}
    shown = ", ".join(f"{name} of {_named(found)}" for name, found in sorted((other or serving).items())) or "none"
    says = f"expected deployments of {_named(expected)}, found {shown} with traffic"
    yield Finding("traffic", not other, plain.text(says, 400), "" if not other else fix)


def _others(bundle_id: str, live: str | None, serving: Mapping[str, str]) -> list[str]:
    """The other bundles that take traffic, and the one that the registry says does: its word adds one, and never takes one away."""
    found = {*serving.values(), live if live and live.startswith("sha256:") else ""}
    return sorted(found - {"", bundle_id})


def replayed(
    bundle_id: str, rollouts: Sequence[tuple[str, str]], shared: Mapping[str, str], live: str | None, serving: Mapping[str, str]
) -> Finding:
    """Whether a bundle is an older one than production has run since, of which an approval of then says nothing.

    `rollouts` are the moves of traffic that production's ledger has, in order: (verb, bundle). `shared` says when each bundle was shared,
    by its version in the registry. What takes all the traffic now may always be deployed again.
    """
    name, fix = "replay", "go back with roll_back; or train or change something, and release that"

    def born(one: str) -> datetime | None:
        created = shared.get(bundle.asset("", one)[1])
        return evidence.moment(created) if created else None

    others = _others(bundle_id, live, serving)
    if set(serving.values()) == {bundle_id} and not others:
        return Finding(name, True, "it is what production runs")
    if (mine := born(bundle_id)) is None:
        return Finding(name, False, "the registry does not say when this bundle was shared", "share it anew")
    for other in others:
        if (theirs := born(other)) is None:
            return Finding(name, False, f"the registry has no {_named(other)}, which production runs", "find out who deleted it")
        if mine < theirs:
            return Finding(name, False, f"it was shared before {_named(other)}, which production runs", fix)
    turns = [at for at, (_, found) in enumerate(rollouts) if found == bundle_id]
    since = [found for verb, found in rollouts[turns[-1] + 1 :] if verb == "shift_traffic" and found != bundle_id] if turns else []
    if newer := [one for one in since if (theirs := born(one)) is None or theirs > mine]:
        return Finding(name, False, f"production ran it, and {_named(newer[-1])} replaced it since, which is newer", fix)
    return Finding(name, True, f"production has run nothing newer; it was shared at {mine:%Y-%m-%d %H:%M} UTC")


def entered(bundle_id: str, rollouts: Sequence[tuple[str, str]], live: str | None, serving: Mapping[str, str]) -> Finding:
    """Whether the ledger knows how what else production runs came there. One whose end was cut off, or that is gone, is sound too."""
    name, others = "what runs is recorded", _others(bundle_id, live, serving)
    if not others:
        return Finding(name, True, "nothing else runs there" if bundle_id in serving.values() else "no bundle runs there", waivable=True)
    known = {found for _, found in rollouts}
    if not (unknown := [one for one in others if one not in known]):
        return Finding(name, True, f"the ledger has the rollout of {', '.join(map(_named, others))}", waivable=True)
    says = f"the ledger has no rollout of {', '.join(map(_named, unknown))}, which production runs"
    fix = (
        "find out which; the production job of that release, run again and approved again, enters it; where that can't wait or can't be, "
        "break_glass waives this rule"
    )
    return Finding(name, False, f"{says}: its end was cut off, or a run was killed before that", fix, waivable=True)


def turned_back(entries: Iterable[Statement], at: Workspace, made: Statement) -> Finding:
    """Whether production was rolled back since the dossier was compiled: whoever did that knew something that the dossier does not."""
    name, compiled_at = "rolled back", evidence.moment(str(made["predicate"]["finished"]))
    rollbacks = [said for one in entries if ((said := one["predicate"])["verb"], said["workspace"]) == ("roll_back", at.name)]
    if since := [said for said in rollbacks if evidence.moment(str(said["finished"])) >= compiled_at]:
        says = f"{at.name} was rolled back at {since[-1]['finished']}, after the dossier was compiled at {made['predicate']['finished']}"
        return Finding(name, False, says, "begin a new run: its dossier is compiled, and approved, with that known")
    return Finding(name, True, f"{at.name} was not rolled back since the dossier was compiled")


def soaked(gate: Gate, bundle_id: str, statements: Iterable[Statement], now: datetime) -> Iterator[Finding]:
    """Whether the bundle has had traffic long enough where it has to, since the first rollout there that is proven."""
    if not (soak := gate.get("soak")):
        return
    name, fix = f"soak in {soak['workspace']}", f"let {soak['workspace']} run it longer, then promote it"
    found = [
        evidence.moment(str(said["finished"]))
        for one in statements
        if (said := one["predicate"])["verb"] == "shift_traffic"
        and (said["workspace"], said["verdict"]) == (soak["workspace"], "passed")
        and _about(one, bundle_id)
    ]
    if not found:
        yield Finding(name, False, "no rollout of it there is proven", fix, waivable=True)
        return
    age = now - min(found)
    passed = age >= timedelta(hours=soak["hours"]) and min(found) <= now + CLOCKS_APART
    says = f"expected {soak['hours']:g} h, found a rollout of {age.total_seconds() / 3600:.1f} h ago"
    yield Finding(name, passed, says, "" if passed else fix, waivable=True)


def on_branch(gate: Gate, ref: str) -> Finding:
    """Whether a run is for a branch or tag that the gate lets deploy. A star stands for what has no slash, two for anything."""
    kinds = {"refs/heads/": gate["branches"], "refs/tags/": gate["tags"]}
    kind = next((prefix for prefix in kinds if ref.startswith(prefix)), "")
    passed = bool(kind) and any(_pattern(one).fullmatch(ref.removeprefix(kind)) for one in kinds[kind])
    allowed = ", ".join([*gate["branches"], *(f"tag {one}" for one in gate["tags"])]) or "none"
    fix = "" if passed else "promote from a branch that gates.yml allows"
    return Finding("branch", passed, f"expected {allowed}, found {spec.quoted(ref)}", fix)


def _pattern(text: str) -> re.Pattern[str]:
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(parts.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*|\?)", text)), re.DOTALL)


# What deploys rely on.


def require(folder: Path, at: Workspace, bundle_id: str) -> dict[str, Any]:
    """What this job found out when it verified the approval of a bundle for a workspace: the facts of the statement in the evidence folder.

    Raises Refusal unless there is one, and it passed.
    """
    path = folder / f"{VERB}-{at.name}.json"
    fix = "let verify_approval run before it in this very job, as the journey promote does"
    what = f"nothing says that bundle {bundle_id} was approved for {at.name}"
    try:
        found = signing.statement(path.read_bytes())
    except OSError:
        raise Refusal(what, f"{path} is not there", fix) from None
    except Refusal as refusal:
        raise Refusal(what, f"{path}: {refusal.what}", fix) from refusal
    said = found["predicate"]
    if (said["verb"], said["workspace"], said["verdict"]) != (VERB, at.name, "passed") or not _about(found, bundle_id):
        raise Refusal(what, f"{path} is about another bundle or workspace, or did not pass", fix)
    if said["links"].get("run", "") != ci.run_url():
        raise Refusal(what, f"{path} is of another run", fix)
    return dict(said["facts"])


def _named(bundle_id: str) -> str:
    return f"bundle {short(bundle_id)}" if bundle_id else "no bundle"


def _more(names: Sequence[str], shown: int) -> str:
    return f" and {len(names) - shown} more" if len(names) > shown else ""
