"""The gates of a project: what `.cloud/gates.yml` asks for, held against how an environment is protected and against the release.

GitHub's and Azure DevOps' protections come in the same words (`Protection`), from `github_gates` and `azure_devops_gates`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from aml import calendar, ci, evidence, signing, spec, workspace
from aml.command import Refusal

FILE = ".cloud/gates.yml"
CLOCKS_APART = timedelta(minutes=5)  # by how much two machines' clocks may differ

Gate = dict[str, Any]


@dataclass(frozen=True)
class Protection:
    """How an environment is protected. Names of people and teams are as gates.yml would write them."""

    approvals: int  # that are needed before a job starts
    users: frozenset[str]
    teams: frozenset[str]
    self_review: bool
    admin_bypass: bool
    bypassers: frozenset[str]  # who may start a job past the gate, where that can't be switched off
    branches: frozenset[str] | None  # None: any
    tags: frozenset[str] | None
    wait_minutes: int


@dataclass(frozen=True)
class Finding:
    """What one rule found, in a sentence for a person, and what mends it where it failed."""

    name: str
    passed: bool
    says: str
    fix: str = ""
    waivable: bool = False  # whether breaking the glass waives it, see break_glass


@dataclass(frozen=True)
class Change:
    """One call, or a few that belong together, that bring an environment nearer to its gate."""

    says: str
    make: Callable[[], None]


class System(Protocol):
    """A CI system's environments, with one token."""

    def protection(self, gate: Gate) -> Protection | None:
        """How the gate's environment is protected; None if there is none."""

    def limits(self, gate: Gate) -> list[Finding]:
        """What this system, or its plan, can't keep of a gate; and what else of it protects the same resource."""

    def changes(self, gate: Gate) -> list[Change]:
        """What `apply_gates` would do, in order; empty if all is right."""


def load(project: Path, environment: str = "") -> tuple[dict[str, Any], list[Gate]]:
    """`.cloud/gates.yml` with its defaults, and its gates, or the one of an environment. Raises Refusal where there is none."""
    if not (project / FILE).is_file():
        raise Refusal(
            f"There is no {spec.shown(project, FILE)}",
            "nothing says what must protect production, and an environment that is missing or open would let everything through",
            f"write it, as examples/flight-delay/{FILE} and schemas/gates.schema.json in the catalog show; "
            "the least is `gates: [{environment: production, reviewers: {teams: [release-managers]}}]`",
        )
    written = spec.trusted(project, FILE, "gates")
    found = [gate for gate in written["gates"] if not environment or gate["environment"].lower() == environment.lower()]
    if not found:
        known = [gate["environment"] for gate in written["gates"]]
        raise Refusal(
            f"{spec.shown(project, FILE)} has no gate for the environment '{environment}'",
            f"it has {', '.join(known)}{spec.meant(environment, known)}",
            "add a gate, or name the environment that is gated",
        )
    return written, found


def connect(written: Mapping[str, Any], repository: str = "", azure_devops: str = "") -> System:
    """The CI system that runs this, or the one that is named. Raises Refusal if that can't be told."""
    from aml import azure_devops_gates, github_gates

    if bool(repository) != bool(azure_devops):
        system = "github" if repository else "azure-devops"
    elif repository:
        raise Refusal("Both a repository on GitHub and a project on Azure DevOps are named", fix="name one of them")
    else:
        system = ci.system()
    if system == "github":
        return github_gates.connect(repository, str(written.get("github_plan", "")))
    if system == "azure-devops":
        return azure_devops_gates.connect(azure_devops)
    why = "this is neither a job of GitHub's nor one of Azure DevOps'"
    fix = "name it with --repository OWNER/NAME or --azure-devops https://dev.azure.com/<organization>/<project>"
    raise Refusal("It is not known where the environments are", why, fix)


def protected(system: System, gate: Gate) -> list[Finding]:
    """Every protection that the gate asks for, held against what there is."""
    found = system.protection(gate)
    if found is None:
        fix = "have a platform team run apply_gates; a job that names a missing environment would make one that is open to all"
        return [Finding("environment", False, f"there is no environment {spec.quoted(gate['environment'])}, or it can't be seen", fix)]
    return [*compare(gate, found), *system.limits(gate)]


def compare(gate: Gate, found: Protection) -> list[Finding]:
    """What must be set up, rule by rule. More approvals or a longer wait than written are fine; other people or branches are not."""
    wanted, again = gate["reviewers"], "have a platform team run apply_gates, or change the gate in a reviewed commit"

    def finding(name: str, passed: bool, expected: str, seen: str) -> Finding:
        return Finding(name, passed, f"expected {expected}, found {seen}", "" if passed else again)

    def same(name: str, written: Sequence[str], there: frozenset[str]) -> Finding:
        return finding(name, _low(written) == _low(there), _list(written), _list(there))

    def refs(name: str, written: Sequence[str], there: frozenset[str] | None) -> Finding:
        # Branches and tags have case: Main is another branch than main.
        return finding(name, there == frozenset(written), _list(written), "any" if there is None else _list(there))

    rest = found.bypassers and not gate["admin_bypass"]
    return [
        finding("approvals", found.approvals >= wanted["count"], f"at least {wanted['count']}", str(found.approvals)),
        same("reviewers: users", wanted.get("users", []), found.users),
        same("reviewers: teams", wanted.get("teams", []), found.teams),
        finding(
            "self-review", wanted["self_review"] or not found.self_review, "allowed or barred" if wanted["self_review"] else "barred",
            "allowed" if found.self_review else "barred",
        ),
        finding(
            "admin bypass", gate["admin_bypass"] or not (found.admin_bypass or rest), "on or off" if gate["admin_bypass"] else "off",
            f"that these may bypass it: {_list(found.bypassers)}" if rest else "on" if found.admin_bypass else "off",
        ),
        refs("branches", gate["branches"], found.branches),
        refs("tags", gate["tags"], found.tags),
        finding("wait", found.wait_minutes >= gate["wait_minutes"], f"at least {gate['wait_minutes']} min", f"{found.wait_minutes} min"),
    ]  # fmt: skip


def thawed(gate: Gate, now: datetime) -> Iterator[Finding]:
    """Whether no freeze is on."""
    if not gate["freeze"]:
        return
    over = [window.says(until) for window, until in calendar.frozen(calendar.windows(gate["freeze"]), now)]
    says = f"nothing is promoted during {'; '.join(over)}" if over else "no freeze is on"
    yield Finding("freeze", not over, says, "run it again when the freeze is over" if over else "", waivable=True)


def ticketed(gate: Gate, ticket: str, message: str) -> Iterator[Finding]:
    """Whether the release names its ticket: the one that is given, or else one in the commit's message."""
    if pattern := gate.get("ticket", {}).get("pattern"):
        # What is given must be a ticket and nothing else; a message only has to have one.
        found = re.fullmatch(pattern, ticket.strip()) if ticket else re.search(pattern, message[:20_000])
        where = f"the ticket {spec.quoted(ticket)}" if ticket else "the commit's message"
        says = f"{where} has {spec.quoted(found[0])}" if found else f"{where} has nothing like {pattern}"
        fix = "" if found else "name the change request in the commit's message, or with --ticket"
        yield Finding("ticket", bool(found), says, fix, waivable=True)


def proven(gate: Gate, statements: Sequence[Mapping[str, Any]], digests: set[str], now: datetime) -> Iterator[Finding]:
    """Whether each piece of evidence is there for one of the digests (the bundle's, its job's), passed, and young enough.

    Of several the last one counts: what passed once and failed since has failed. Who made a statement is not looked at here.
    """
    for rule in gate["evidence"]:
        name = f"evidence: {rule['verb']} in {rule['workspace']}"
        found = [
            (now - evidence.moment(one["predicate"]["finished"]), one["predicate"]["verdict"] == "passed")
            for one in statements
            if (one["predicate"]["verb"], one["predicate"]["workspace"]) == (rule["verb"], rule["workspace"])
            and digests & {subject["digest"].get("sha256") for subject in one["subject"]}
        ]
        # Of two of the same second the one that failed counts.
        age, good = min((one for one in found if one[0] > -CLOCKS_APART), default=(None, False))
        limit = rule.get("max_age_hours")
        passed = age is not None and good and (limit is None or age <= timedelta(hours=limit))
        seen = "none" if age is None else f"one of {_hours(age)} ago{'' if good else ' that failed'}"
        expected = "a statement" if limit is None else f"a statement of the last {limit:g} h"
        fix = f"run {rule['verb']} again in {rule['workspace']}"
        waivable = age is None or good  # that it is missing or too old may be waived, that it failed may not
        yield Finding(name, passed, f"expected {expected}, found {seen}", "" if passed else fix, waivable)


def statements(folder: Path, project: Path) -> list[dict[str, Any]]:
    """The statements in a folder and those below it; what is none, or can't be relied on, is left out.

    Of a workspace whose spec pins signing keys only what one of them signed counts; of production nothing else ever does.
    """
    found = []
    open_ = {name for name in workspace.names(project) if not (at := workspace.load(project, name)).signing and at.stage != "prod"}
    for path in sorted(folder.rglob("*.json")):
        try:
            data = path.read_bytes()
            if path.name.endswith(".dsse.json"):
                found.append(signing.verified(json.loads(data), project))
            elif (made := signing.statement(data))["predicate"]["workspace"] in open_:
                found.append(made)
        except (OSError, ValueError, RecursionError, Refusal):
            continue
    return found


def soaked(gate: Gate, standing: Mapping[str, Any], now: datetime) -> Finding:
    """Whether the bundle has stood long enough: `standing` has `created` (a time) of its deployment, and `percent` of the traffic."""
    soak = gate["soak"]
    name, fix = f"soak in {soak['workspace']}", f"deploy the bundle in {soak['workspace']}, and promote it later"
    if not standing:
        return Finding(name, False, "the bundle is not deployed there", fix, waivable=True)
    try:
        age, limit = now - evidence.moment(standing["created"]), timedelta(hours=soak["hours"])
    except ValueError as error:
        return Finding(name, False, f"when it was deployed there can't be told: {error}", fix, waivable=True)
    passed = age >= limit and standing["percent"] > 0
    says = f"expected {soak['hours']:g} h and traffic, found a deployment of {_hours(age)} ago with {standing['percent']} % of the traffic"
    return Finding(name, passed, says, "" if passed else f"wait; {fix}", waivable=True)


def _hours(age: timedelta) -> str:
    return f"{age.total_seconds() / 3600:.1f} h"


def _low(names: Sequence[str] | frozenset[str]) -> set[str]:
    return {name.lower() for name in names}


def _list(names: Sequence[str] | frozenset[str]) -> str:
    return ", ".join(sorted(names, key=str.lower)) or "none"
