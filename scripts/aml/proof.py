"""What is proven of a bundle: the statements about it and about the job that made its model, with their signatures and their age."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aml import evidence, plain, report, signing
from aml.command import Refusal
from aml.gates import CLOCKS_APART

LARGEST = 16 << 20  # bytes of a statement
SIGNED, UNSIGNED, REFUSED = "signed", "not signed", "refused"
OWN = "of this job"  # signed with the dossier, at the end of the job that compiles it
PASSED, FAILED, EXPIRED, AHEAD, MISSING = "passed", "failed", "expired", "ahead of time", "missing"

# What a release leaves before anybody is asked to approve it: the verb, and what it proves.
EXPECTED = {
    "wait_job": "the training job completed",
    "check_gate": "the figures are good enough, and no worse than production's",
    "register_model": "the model is the one that the job made",
    "seal_bundle": "everything is named by digest",
    "verify_bundle": "what was tried is what was sealed",
    "deploy_online": "it can be deployed",
    "smoke_test": "it answers as it should",
    "shift_traffic": "it took traffic, step by step",
}


@dataclass(frozen=True)
class Piece:
    """One statement, read from a file. `signature` is one of SIGNED, UNSIGNED, REFUSED, OWN; `why` says more."""

    statement: Mapping[str, Any]
    signature: str
    why: str = ""

    @property
    def said(self) -> Mapping[str, Any]:
        """Its predicate."""
        return self.statement["predicate"]  # type: ignore[no-any-return]

    @property
    def subject(self) -> str:
        """The digest of what it is about, as hex."""
        return str(self.statement["subject"][0]["digest"]["sha256"])


def read(folder: Path, project: Path, digests: Iterable[str], *, own: bool = False) -> tuple[list[Piece], list[str]]:
    """The statements about one of the digests (hex) in a folder and those below it; and the files that claim to be one and are none.

    `own` says that they are of this very job, which signs them at its end.
    """
    found, wrong, wanted = [], [], set(digests)
    for path in sorted(folder.rglob("*.json")):
        if path.name.endswith(".dsse.json"):
            continue
        shown = plain.text(path.relative_to(folder).as_posix())
        try:
            if path.stat().st_size > LARGEST:
                raise Refusal("it is too large")
            payload = path.read_bytes()
            document = json.loads(payload)
            if not isinstance(document, dict) or "_type" not in document:
                continue
            statement = signing.statement(payload)
            evidence.moment(statement["predicate"]["finished"])
        except (ValueError, OSError, RecursionError) as error:
            wrong.append(f"{shown} can't be read: {plain.text(error)}")
        except Refusal as refusal:
            wrong.append(f"{shown} is no statement: {plain.text(refusal.why or refusal.what)}")
        else:
            if statement["subject"][0]["digest"]["sha256"] in wanted:
                signature, why = _signature(path, payload, project)
                found.append(Piece(statement, OWN if own and signature == UNSIGNED else signature, why))
    return found, wrong


def _signature(path: Path, payload: bytes, project: Path) -> tuple[str, str]:
    signed = signing.signed_path(path)
    if not signed.is_file():
        return UNSIGNED, ""
    try:
        envelope = json.loads(signed.read_bytes())
        if signing.verified(envelope, project) != signing.statement(payload):
            return REFUSED, "the signed statement is another one"
    except (ValueError, OSError, RecursionError) as error:
        return REFUSED, plain.text(error)
    except Refusal as refusal:
        return REFUSED, plain.text(refusal.what)
    return SIGNED, ""


def latest(pieces: Iterable[Piece], verb: str, workspace: str) -> Piece | None:
    """The statement of a verb in a workspace that was finished last."""
    found = [one for one in pieces if (one.said["verb"], one.said["workspace"]) == (verb, workspace)]
    return max(found, key=lambda one: str(one.said["finished"]), default=None)


def items(
    pieces: Sequence[Piece], home: str, rules: Sequence[Mapping[str, Any]], job: str, now: datetime, own: str
) -> list[dict[str, Any]]:
    """One entry for each verb and workspace: what a release leaves in `home`, what the gate asks for, what else there is.

    `job` is the digest of the job, hex; `own` a verb that is left out. A statement that passed may be too old, or from a clock ahead.
    """
    ages = {(rule["verb"], rule["workspace"]): rule.get("max_age_hours") for rule in rules}
    expected = {(verb, home): words for verb, words in EXPECTED.items()}
    others = sorted({(one.said["verb"], one.said["workspace"]) for one in pieces} - {*expected, *ages})
    made = []
    for pair in dict.fromkeys([*expected, *ages, *others]):
        verb, workspace = pair
        if verb == own:
            continue
        found, hours = latest(pieces, verb, workspace), ages.get(pair)
        words = expected.get(pair) or ("the gate asks for it" if pair in ages else "")
        required = pair in expected or pair in ages
        base: dict[str, Any] = {"verb": plain.text(verb, 60), "workspace": plain.text(workspace, 60), "words": words, "required": required}
        if found is None:
            made.append({**base, "state": MISSING, **_EMPTY})
            continue
        said = found.said
        finished = evidence.moment(str(said["finished"]))
        expires = finished + timedelta(hours=hours) if hours is not None and finished <= now + CLOCKS_APART else None
        state = PASSED
        if said["verdict"] != "passed":
            state = FAILED
        elif finished > now + CLOCKS_APART:
            state = AHEAD
        elif expires and expires < now:
            state = EXPIRED
        findings = said["findings"]
        failed = [one for one in zip(report.names(findings), findings, strict=True) if not one[1]["passed"]]
        made.append(
            {
                **base,
                "state": state,
                "about": "job" if found.subject == job else "bundle",
                "finished": said["finished"],
                "expires": expires.isoformat(timespec="seconds").replace("+00:00", "Z") if expires else None,
                "figures": [{"name": plain.text(key, 80), "value": plain.number(value)} for key, value in [*said["figures"].items()][:12]],
                "checks": len(findings),
                "failed": [plain.text(f"{name}: {report.says(one)}") for name, one in failed[:5]],
                "failed_checks": len(failed),
                "run": plain.address(said["links"].get("run", "")),
                "signature": found.signature,
                "signature_says": found.why,
            }
        )
    return made


_EMPTY: dict[str, Any] = {
    "about": None, "finished": None, "expires": None, "figures": [], "checks": 0, "failed": [], "failed_checks": 0, "run": "",
    "signature": UNSIGNED, "signature_says": "",
}  # fmt: skip
