"""Check, after the approval and before anything is written in production, who gave it, for what, and that all is still as it was then.

It runs first in the job that the environment's gate let start, as production's own principal. Who approved comes from the CI system; the
dossier that they saw and the signed statements behind it come from the registry, and every one of them is verified. It reads, and writes
nothing to Azure. Every rule that says no is named; any of them ends the run. On GitHub it asks with the job's token, AML_GITHUB_TOKEN.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError

from aml import (
    approval,
    azure,
    break_glass,
    bundle,
    ci,
    command,
    deployment,
    endpoint,
    evidence,
    gates,
    handover,
    holds,
    identity,
    ledger,
    plain,
    registry,
    signing,
    spec,
    workspace,
)
from aml.approval import VERB, Approval, Author, Barred, System
from aml.azure import Client, Counted
from aml.command import Refusal
from aml.gates import Finding, Gate
from aml.ledger import Entry
from aml.quota import Quota
from aml.registry import Registry
from aml.releases import ROLLOUTS
from aml.workspace import Workspace

T = TypeVar("T")


@dataclass
class Findings:
    """What the rules found, one after the other."""

    made: list[Finding] = field(default_factory=list)

    def add(self, *found: Finding) -> None:
        """Keep what was found."""
        self.made += found

    def of(self, name: str, read: Callable[[], T]) -> T | None:
        """What `read` gives; None, and a finding that says why, where it is refused. What can't be read counts as not there."""
        try:
            return read()
        except Refusal as refusal:
            why = ". ".join(part.rstrip(".") for part in (refusal.what, refusal.why) if part)
            self.add(Finding(name, False, plain.text(why, 1000), refusal.fix))
        except HttpResponseError as error:
            self.add(Finding(name, False, plain.text(azure.said(error), 400), "let production's principal read it, then run it again"))
        return None


@dataclass(frozen=True)
class Place:
    """Production, as its own principal sees it."""

    at: Workspace
    client: Client
    credential: TokenCredential
    found: Registry
    release: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The name of the project's model."""
        return str(self.release["model"]["name"])


# What was handed over.


def signatures(project: Path, envelopes: Sequence[Any]) -> tuple[list[dict[str, Any]], Finding]:
    """The statements of envelopes that are signed by the workspaces that they are of; and what is wrong with any other."""
    good, wrong = [], []
    for number, envelope in enumerate(envelopes, 1):
        try:
            good.append(signing.verified(envelope, project))
        except Refusal as refusal:
            wrong.append(f"statement {number} of {len(envelopes)}: {'. '.join(part for part in (refusal.what, refusal.why) if part)}")
    says = "; ".join(wrong[:5]) if wrong else f"{len(good)} statements, each signed by a key of the workspace that it is about"
    fix = "find out who wrote it; then run the promotion again, from its first job, and have it approved again"
    return good, Finding("signatures", not wrong, plain.text(says, 1000), fix if wrong else "")


# Production's own ledger.


def recorded(place: Place, findings: Findings, bundle_id: str) -> list[Mapping[str, Any]]:
    """The statements of production's ledger, in order; and whether all of it is sound, and the bundle is not held."""
    log = ledger.of(place.at, place.client, place.credential)
    entries, problems = ledger.audit(log.id, log.read_all(), log.keys)
    fix = "find out who did it, and keep what is there for who asks; then have the ledger restored"
    says = "; ".join(problems[:5]) if problems else f"{len(entries)} entries, all of them sound"
    findings.add(Finding("ledger", not problems, plain.text(says, 1000), fix if problems else ""))
    findings.add(held(place.at, entries, bundle_id, sound=not problems))
    return [entry.statement for entry in entries]


def moves(at: Workspace, statements: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The moves of production's traffic among the statements of its ledger, in order: (verb, bundle)."""
    return [
        (said["verb"], f"sha256:{one['subject'][0]['digest']['sha256']}")
        for one in statements
        if (said := one["predicate"])["verb"] in ROLLOUTS and (said["verdict"], said["workspace"]) == ("passed", at.name)
    ]


def held(at: Workspace, entries: Sequence[Entry], bundle_id: str, *, sound: bool) -> Finding:
    """Whether nobody holds the bundle, by the last entry of the ledger."""
    if not sound:
        return Finding("hold", False, "whether it is held can't be told from a ledger that is not sound", "have the ledger restored")
    number = entries[-1].held.get(bundle_id) if entries else None
    if number is None:
        return Finding("hold", True, f"nobody holds it in {at.name}")
    refusal = holds.refusal(at, bundle_id, holds.said(entries[number - 1]))
    return Finding("hold", False, f"{refusal.what}: {plain.text(refusal.why, 400)}", refusal.fix)


# What is there now.


@dataclass(frozen=True)
class Standing:
    """What production runs: what the registry says, and the bundle, or '', of each deployment that takes traffic."""

    live: str | None
    shared: Mapping[str, str]  # when each bundle of the model was shared, by its version in the registry
    serving: Mapping[str, str]
    deployments: Mapping[str, Mapping[str, Any]]


def standing(place: Place) -> Standing:
    """What production runs now."""
    live = registry.live(place.found, place.model, place.at.stage)
    listed = place.found.client.list(f"data/{bundle.asset(place.model, '')[0]}/versions")
    shared = {str(one["name"]): str((one.get("systemData") or {}).get("createdAt") or "") for one in listed}
    name = endpoint.name_of(place.at, place.release["deploy"]["endpoint"])
    found = endpoint.find(place.client, name)
    there = endpoint.deployments(place.client, name) if found else {}
    split = endpoint.traffic(found) if found else {}
    return Standing(live, shared, {one: endpoint.tags(there.get(one, {})).get(deployment.BUNDLE, "") for one in split}, there)


def room(place: Place, document: Mapping[str, Any], there: Mapping[str, Any]) -> Finding:
    """Whether the deployment that is to be made fits the quota, or is there already."""
    file = place.release["deploy"]["deployment"]
    name = bundle.deployment_name(document, file, place.at.instance_type)
    if name in there:
        return Finding("quota", True, f"deployment {name} is there already")
    size, count = deployment.machine(place.at, file)
    found = Quota(place.client, place.at, place.client.get()["location"]).room(size)
    try:
        return Finding("quota", True, deployment.check_quota(found, count))
    except Refusal as refusal:
        return Finding("quota", False, refusal.what, refusal.fix)


def still_has(system: System, findings: Findings, gate: Gate, commit: str) -> None:
    """Whether the run is for a branch that may deploy, and that branch still has the commit of the bundle."""
    ref = system.ref()
    findings.add(approval.on_branch(gate, ref))
    has = bool(commit) and system.contains(ref, commit)
    says = f"{spec.quoted(ref)} {'has' if has else 'does not have'} commit {commit[:12] or 'unknown'}"
    fix = "" if has else "promote what is on that branch; what was taken back must not go to production"
    findings.add(Finding("commit", has, says, fix))


# Who approved.


def took_part(system: System, project: Path, dossier: Mapping[str, Any], commit: str, known: Mapping[str, str]) -> list[Author]:
    """Who wrote the release: whom the dossier names, and whom production can read for itself. Raises Refusal if it may not be all."""
    people = dossier["people"]
    if people["commits"] is None or (people["commits"]["read"] < people["commits"]["total"] and dossier["champion"]):
        fix = "let the job that compiles the dossier have the whole history and a token that reads it"
        raise Refusal("the dossier does not say who wrote all of it", "so nobody can be told from them", fix)
    said = [Author(one["name"], one["email"], one["login"]) for one in people["authors"]]
    try:
        own = system.authors(project, (dossier["champion"] or {}).get("commit", ""), commit, known)
    except Refusal:
        if ci.system() == "github" or people["author_count"] > len(said):
            raise
        own = []  # the checkout has only the newest commit, and the dossier names everybody
    told = {one.address.casefold() for one in own if one.account}
    return [*own, *(one for one in said if one.account or one.address.casefold() not in told)]


def verify(project: Path, name: str, environment: str, bundle_id: str, dossier_id: str, now: datetime) -> tuple[Findings, dict[str, Any]]:
    """Everything that has to hold, found or not; and the facts for the evidence."""
    at = workspace.load(project, name)
    written, (gate,) = gates.load(project, environment)
    credential = identity.sign_in(at, writes=False)
    place = Place(at, azure.management(at, credential), credential, registry.connect(at, credential), spec.release(project))
    system, findings = approval.connect(), Findings()
    known = approval.accounts(written)
    facts: dict[str, Any] = {"dossier": dossier_id, "environment": environment}

    # What was approved, and what is proven of it.
    handed = findings.of("dossier", lambda: handover.read(place.found, place.model, dossier_id, bundle_id))
    document = findings.of("bundle", lambda: bundle.from_registry(place.found, place.model, bundle_id))
    statements: list[dict[str, Any]] = []
    made = None
    if handed:
        findings.add(approval.speaks(handed.dossier, at, bundle_id, environment))
        statements, sound = signatures(project, handed.envelopes)
        findings.add(sound, approval.behind(handed.dossier, statements))
        others = [one for one in workspace.names(project) if workspace.load(project, one).stage != "prod"]
        made, finding = approval.compiled(statements, at, bundle_id, dossier_id, environment, others)
        findings.add(finding)
    glass = break_glass.standing(statements, bundle_id, ci.run_url(), gate["environment"], now) if break_glass.allowed(gate) else None
    if glass and handed and not break_glass.shown(glass, handed.dossier):
        says = f"{break_glass.words(glass)}; the dossier that was approved does not show it"
        findings.add(Finding("break-glass", False, says, "begin a new run, whose approvers see that the glass is broken"))
        glass = None
    if document:
        digests = {bundle_id.removeprefix("sha256:"), document["job"]["content_key"].removeprefix("sha256:")}
        findings.add(*gates.proven(gate, statements, digests, now))

    entries = findings.of("ledger", lambda: recorded(place, findings, bundle_id))

    # The gate, as it is now, and whom it let through.
    protection = findings.of("environment", lambda: gates.protected(gates.connect(written), gate))
    findings.add(*(protection or []))
    protected = bool(protection) and all(one.passed for one in protection or [])
    if handed and made and document and entries is not None:
        used = findings.of("approved", lambda: approval.used_up(entries, at, dossier_id))
        if used is not None:
            facts |= approvers(system, findings, project, gate, handed.dossier, made, document, known, protected, glass, used)
    else:
        says = "who may approve can't be told without the dossier, the bundle and the ledger"
        findings.add(Finding("approved", False, says, "mend what is wrong with those first"))

    # Production, as it is now.
    now_there = findings.of("champion", lambda: standing(place))
    facts["serving"] = dict(now_there.serving) if now_there else {}
    if now_there and handed:
        findings.add(*approval.champion(handed.dossier, bundle_id, now_there.live, now_there.serving))
    if made and entries is not None:
        findings.add(approval.turned_back(entries, at, made))
    if now_there and entries is not None:
        rollouts = moves(at, entries)
        findings.add(
            approval.entered(bundle_id, rollouts, now_there.live, now_there.serving),
            approval.replayed(bundle_id, rollouts, now_there.shared, now_there.live, now_there.serving),
        )
    findings.add(*gates.thawed(gate, now), *approval.soaked(gate, bundle_id, statements, now))
    if document:
        commit = document["source"]["commit"]
        findings.of("commit", lambda: still_has(system, findings, gate, commit))
        if now_there:
            findings.of("quota", lambda: findings.add(room(place, document, now_there.deployments)))
    if glass:
        facts["break_glass"] = dict(glass["predicate"]["facts"])
        findings.made = break_glass.waived(findings.made, gate, glass)
        findings.add(Finding("break-glass", True, f"the glass is BROKEN: {break_glass.words(glass)}"))
        ci.warning(f"The glass is broken for environment {environment}: {break_glass.words(glass)}")
    return findings, facts


def approvers(
    system: System, findings: Findings, project: Path, gate: Gate, dossier: Mapping[str, Any], made: Mapping[str, Any],
    document: Mapping[str, Any], known: Mapping[str, str], protected: bool, glass: Mapping[str, Any] | None,
    used: set[tuple[str, int]],
) -> dict[str, Any]:  # fmt: skip
    """Who approved, of those who may, and the marks of what was counted; everything about that is found out here."""
    authors = findings.of("authors", lambda: took_part(system, project, dossier, document["source"]["commit"], known))
    initiators = findings.of("initiator", system.initiators)
    given: list[Approval] | None = findings.of("approved", lambda: approval.numbered(system.approvals(gate)))
    if authors is None or initiators is None or given is None:
        return {}
    findings.add(Finding("initiator", bool(initiators), ", ".join(initiators) or "nobody is known to have started the run", ""))
    said = (dossier["people"]["trainer"] or {}).get("person") or ""
    trainer = system.account(said, known) if said else ""
    who_not: Barred = approval.barred(gate, authors, trainer, initiators)
    findings.add(*approval.told_apart(who_not, trainer, said))
    after, before, unsaid = approval.later(given, made)
    if unsaid:
        findings.add(Finding("older approvals", False, unsaid, "give compile_dossier a token that reads the run, then begin a new run"))
    findings.add(approval.rejected(after))
    new, old = approval.unused([one for one in after if not one.rejected], used)
    judged = [(one, system.standing(gate, one, protected)) for one in new]
    count = break_glass.count(gate, glass)
    good, found = approval.approved(gate, count, judged, [one for one in before if not one.rejected], who_not, old)
    findings.add(*found)
    return {"approvers": good, "approvals": [one.counted() for one in new if not one.skipped]}


def keep(
    folder: Path, at: Workspace, model: str, bundle_id: str, started: str, figures: Mapping[str, float], found: Findings, facts: Any
) -> None:
    """Leave evidence about the bundle."""
    made = evidence.statement(
        evidence.about_bundle(model, bundle_id),
        VERB,
        "passed" if all(one.passed for one in found.made) else "failed",
        workspace=at.name,
        started=started,
        figures=figures,
        findings=[{key: value for key, value in asdict(one).items() if key != "waivable"} for one in found.made],
        facts=facts,
    )
    evidence.write(folder, made)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    command.argument(made, "--bundle-id", required=True, help="Id of the bundle, sha256:<hex>, an output of seal_bundle.")
    command.argument(made, "--dossier-id", required=True, help="Id of the dossier that was approved, an output of compile_dossier.")
    command.argument(made, "--environment", default="production", help="The environment whose gate let this job start.")
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and verify the approval."""
    given = parser().parse_args(argv)
    started, began = evidence.now(), time.monotonic()
    bundle.checked_id(given.bundle_id)
    at = workspace.load(given.project, given.workspace)
    now = datetime.now(timezone.utc)
    found, facts = verify(given.project, given.workspace, given.environment, given.bundle_id, given.dossier_id, now)
    for one in found.made:
        ci.say(f"{'passed' if one.passed else 'FAILED'}  {one.name}: {one.says}")
    model = spec.release(given.project)["model"]["name"]
    figures = {"seconds": round(time.monotonic() - began, 3), "calls": Counted.made}
    keep(given.evidence, at, model, given.bundle_id, started, figures, found, facts)
    if failed := [one for one in found.made if not one.passed]:
        why = "; ".join(f"{one.name}: {one.says}" for one in failed)
        fixes = "; ".join(dict.fromkeys(one.fix for one in failed if one.fix))
        raise Refusal(f"The approval of bundle {given.bundle_id} does not hold, and nothing was written", why, fixes)
    ci.output("approvers", ", ".join(one["who"] for one in facts["approvers"]))
    return 0


if __name__ == "__main__":
    command.run(main)
