"""Breaking the glass: a declared emergency, which waives some rules of a gate for one bundle in one run, and is reviewed afterwards.

It is a signed statement about the bundle, made in the run that it is for, with the reason, who started that run, and the open issue of its
review. What it may waive says so itself (`Finding.waivable`): freezes, soak, tickets, evidence that is missing or too old, a rollout of
what runs that is not in the ledger, and a part of the approvals. What failed, what protects the environment, who may approve, digests,
signatures, holds, smoke tests and what puts an endpoint back as it was are never waived.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from aml import evidence, plain, signing
from aml.command import Refusal
from aml.gates import CLOCKS_APART, Finding

VERB = "break_glass"

Statement = Mapping[str, Any]


def allowed(gate: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What a gate says of breaking the glass: `review_within_hours` and `reviewers_count`; None where it may never be broken."""
    return (gate or {}).get("break_glass")


def standing(
    statements: Iterable[Statement], bundle_id: str, run_url: str, environment: str = "", now: datetime | None = None
) -> Statement | None:
    """The statement by which the glass is broken for a bundle in a run, and for an environment if one is named; None if it is not.

    `statements` are those whose signatures were verified, and no others (see `signed`). One of another run or bundle, or of an
    environment that is not meant, counts for nothing, nor does one whose review is due.
    """
    now = now or datetime.now(timezone.utc)
    found = [one for one in statements if run_url and _is(one, bundle_id, run_url, environment, now)]
    return max(found, key=lambda one: str(one["predicate"]["finished"]), default=None)


def _is(statement: Statement, bundle_id: str, run_url: str, environment: str, now: datetime) -> bool:
    said, facts = statement["predicate"], statement["predicate"]["facts"]
    if (said["verb"], said["verdict"], said["links"].get("run")) != (VERB, "passed", run_url):
        return False
    if {subject["digest"]["sha256"] for subject in statement["subject"]} != {bundle_id.removeprefix("sha256:")}:
        return False
    if environment and str(facts.get("environment")).lower() != environment.lower():
        return False
    try:
        begun, due = evidence.moment(said["finished"]), evidence.moment(str(facts["review_until"]))
    except (KeyError, ValueError):
        return False
    return all(facts.get(name) for name in ("reason", "who", "review")) and begun <= now + CLOCKS_APART and now < due


def shown(statement: Statement, dossier: Mapping[str, Any]) -> bool:
    """Whether a dossier shows this very breaking of the glass, so that who approved it has seen it."""
    seen, facts = dossier["control"].get("break_glass") or {}, statement["predicate"]["facts"]
    if not seen or seen["review"] != plain.address(facts["review"]):
        return False
    return evidence.moment(str(seen["until"])) == evidence.moment(str(facts["review_until"])).replace(microsecond=0)


def signed(folder: Path, project: Path) -> list[dict[str, Any]]:
    """The statements of breaking the glass in a folder and those below it that are signed as they have to be; nothing else counts."""
    found = []
    for path in sorted(folder.rglob("*.dsse.json")):
        try:
            made = signing.verified(json.loads(path.read_bytes()), project)
        except (OSError, ValueError, RecursionError, Refusal):
            continue
        if made["predicate"]["verb"] == VERB:
            found.append(made)
    return found


def count(gate: Mapping[str, Any], statement: Statement | None) -> int:
    """How many must approve: as many as the gate says, or fewer while the glass is broken and the gate allows that."""
    written = int(gate["reviewers"]["count"])
    terms = allowed(gate)
    return min(written, int(terms["reviewers_count"])) if statement and terms else written


def waived(findings: Sequence[Finding], gate: Mapping[str, Any], statement: Statement | None) -> list[Finding]:
    """The findings, with those that failed and may be waived as passed, and saying so; as they are where the glass is whole."""
    if not statement or not allowed(gate):
        return list(findings)
    return [
        replace(one, passed=True, says=f"WAIVED by break-glass: {one.says}. {words(statement)}", fix="")
        if one.waivable and not one.passed
        else one
        for one in findings
    ]


def words(statement: Statement) -> str:
    """Who broke the glass, where that is reviewed, until when, and why, in one line."""
    facts = statement["predicate"]["facts"]
    who, review, until, reason = (plain.text(facts[name], 1000) for name in ("who", "review", "review_until", "reason"))
    return f"{who} declared it, to be reviewed by {until} ({review}), because: {reason}"
