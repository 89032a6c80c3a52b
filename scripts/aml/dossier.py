"""What is known of a release before somebody approves it, as one plain document (schemas/dossier.schema.json).

Its id is the digest of its canonical form (RFC 8785), so what was approved can be told from what was not. Everything in it is either
known, or null and named under `missing`: nothing is guessed, and nothing is left out in silence. All text of others is made plain before it
gets in (see aml/plain.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aml import access, break_glass, bundle, calendar, changes, ci, digest, evidence, gates, plain, proof, risk, spec, workspace
from aml.changes import Machine
from aml.commits import Person, Range
from aml.proof import Piece
from aml.workspace import Workspace

FILE, PAGE, MARKDOWN, SHORT = "dossier.json", "dossier.html", "dossier.md", "dossier-short.md"
HOURS = 730  # of a month, as clouds count them
LISTED = 40  # commits, and people, that are listed
CASES = 30  # smoke cases that are shown
CELLS = 12  # of a side of a confusion matrix, or of a histogram four times as many
OWN = "compile_dossier"


@dataclass(frozen=True)
class Champion:
    """What production runs: its bundle, or why that is not known. `state` is live, nothing or unknown."""

    state: str
    id: str = ""
    document: Mapping[str, Any] | None = None
    why: str = ""


@dataclass(frozen=True)
class Known:
    """Everything that was read, as it was read. What could not be read is None, and `unknown` says why, by what it is."""

    now: datetime
    bundle_id: str
    bundle: Mapping[str, Any]
    champion: Champion
    release: Mapping[str, Any]
    source: Workspace
    target: Workspace
    environment: str
    endpoint: str
    gate: Mapping[str, Any] | None
    cases: Sequence[Mapping[str, Any]]
    machine: Machine | None
    machine_before: Machine | None
    files: Mapping[str, bytes]
    files_before: Mapping[str, bytes | None]
    environments: tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]
    commits: Range | None
    job: Mapping[str, Any]  # its resource in Azure
    initiator: str
    pieces: Sequence[Piece]
    unreadable: Sequence[str]
    history: Sequence[Mapping[str, Any]]  # bundles that were shared before, oldest first: id, created, document
    back: Sequence[Mapping[str, Any]]  # what of the champion is still there: what, state, says
    quota: Mapping[str, Any] | None
    prices: Mapping[str, Any] | None
    ticket: str
    message: str
    hold: str | None  # '' if nobody holds it
    unknown: Mapping[str, str] = field(default_factory=dict)
    accounts: Mapping[str, str] = field(default_factory=dict)  # of those who wrote a commit, by address in lower case
    approvals: Sequence[Mapping[str, str]] | None = None  # of this run that were there before this dossier; not part of it

    def account(self, person: Person) -> str:
        """Somebody's account on the CI system: what it says, or, if nothing, what a private address of GitHub's gives away; or ''."""
        return self.accounts.get(person.email.casefold(), person.login)


def compile(known: Known) -> dict[str, Any]:
    """The document."""
    new, old = known.bundle, known.champion.document
    gate = known.gate or {}
    rules = gate.get("evidence") or []
    job = new["job"]["content_key"].removeprefix("sha256:")
    made: dict[str, Any] = {
        "form": 1,
        "compiled": _zulu(known.now),
        "run": plain.address(ci.run_url()),
        "bundle": _bundle(known.bundle_id, new),
        "live": known.champion.state,
        "champion": _bundle(known.champion.id, old) if old else None,
        "changes": {
            "parts": changes.parts(new, old, known.machine, known.machine_before),
            "metrics": changes.metrics(known.release["gate"], new, old),
            "files": _with_roles(changes.files(new, old, known.files, known.files_before), known.release["deploy"]),
            "dependencies": changes.dependencies(*known.environments) if old else None,
        },
        "people": _people(known),
        "proof": proof.items(known.pieces, known.source.name, rules, job, known.now, OWN),
        "unreadable": [plain.text(line) for line in known.unreadable[:20]],
        "where": _where(known),
        "rollout": {
            "steps": list(known.release["deploy"]["rollout"]["steps"]),
            "pause_seconds": known.release["deploy"]["rollout"]["pause_seconds"],
            "smoke_cases": len(known.cases),
        },
        "rollback": _rollback(known),
        "control": _control(known),
        "plots": plots(known),
    }
    made["risk"] = risk.classify(made)
    made["missing"] = missing(made, known.unknown)
    made = _plain(made)
    if problems := spec.invalid(made, "dossier"):
        raise ValueError(f"the dossier does not fit its own schema: {'; '.join(problems[:5])}")
    return made


def _plain(value: Any, key: str = "") -> Any:
    """The document once more, so that no text in it is longer than its schema allows or holds what is unseen, wherever it came from."""
    if isinstance(value, dict):
        return {name: _plain(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, key) for inner in value]
    if not isinstance(value, str) or key in ("run", "review"):  # an address is spelt for one, and is no address any more once it is cut
        return value
    return plain.line(value, 200) if key == "diff" else plain.text(value, 400 if key in ("says", "why") else 250)


def identify(document: Mapping[str, Any]) -> str:
    """A dossier's id, `sha256:<hex>`."""
    return digest.of_document(document)


def settled(document: Mapping[str, Any], before: Any) -> dict[str, Any]:
    """The document, with the time and the run of an earlier one that says the very same."""
    stamps = ("compiled", "run")
    if isinstance(before, dict) and not spec.invalid(before, "dossier"):
        same = {**before, **{stamp: document[stamp] for stamp in stamps}} == document
        if same:
            return before
    return dict(document)


def _bundle(bundle_id: str, document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": bundle_id,
        "alias": changes.alias(bundle_id, document),
        "model": document["model"]["name"],
        "version": document["model"]["version"],
        "digest": document["model"]["digest"],
        "job": plain.text(document["job"]["name"]),
        "content_key": document["job"]["content_key"],
        "commit": document["source"]["commit"],
        "repository": plain.text(document["source"]["repository"]),
        "catalog": plain.text(document["catalog"]["version"]),
    }


def _with_roles(rows: list[dict[str, Any]], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    roles = {spec.RELEASE: "release", gates.FILE: "gate", access.FILE: "identity"}
    roles |= {settings[role]: role for role in ("endpoint", "deployment", "smoke")}
    return [
        {**row, "role": "workspace" if row["path"].startswith(f"{workspace.FOLDER}/") else roles.get(row["path"], "other")} for row in rows
    ]


# Who.


def _people(known: Known) -> dict[str, Any]:
    found = known.commits
    authors = _authors(found, known) if found else []
    trainer = _trainer(known.job)
    commits = None
    if found:
        commits = {
            "total": found.total,
            "read": len(found.commits),
            "lost": found.lost,
            "listed": [
                {
                    "id": one.id,
                    "when": plain.text(one.when, 40),
                    "author": plain.text(one.people[0].name, 80),
                    "subject": plain.text(one.subject),
                }
                for one in found.commits[:LISTED]
            ],
        }
    return {
        "commits": commits,
        "authors": authors[:LISTED],
        "author_count": len(authors),
        "trainer": trainer,
        "initiator": plain.text(known.initiator, 80) or None,
        "approvers": _approvers(known, trainer) if known.gate else None,
    }


def _authors(found: Range, known: Known) -> list[dict[str, Any]]:
    """Everybody who wrote one of the commits, the one with most of them first; one person for each address."""
    by: dict[str, tuple[Person, int]] = {}
    for commit in found.commits:
        for person in dict.fromkeys(commit.people):
            key = person.email.lower()
            first, count = by.get(key, (person, 0))  # by the name of their newest commit
            by[key] = (first, count + 1)
    ordered = sorted(by.values(), key=lambda one: (-one[1], one[0].email.lower()))
    return [
        {
            "name": plain.text(person.name, 80),
            "email": plain.text(person.email, 120),
            "login": plain.text(known.account(person), 80),
            "commits": count,
        }
        for person, count in ordered
    ]


def _trainer(job: Mapping[str, Any]) -> dict[str, Any] | None:
    created = job.get("systemData") or {}
    if not created.get("createdBy"):
        return None
    marks = {**(job["properties"].get("tags") or {}), **(job["properties"].get("properties") or {})}
    person = str(created.get("createdByType")) == "User"
    who = created["createdBy"] if person else marks.get("started_by", "")  # a person can mark a job of theirs as they like
    return {
        "submitted_by": plain.text(created["createdBy"], 120),
        "kind": "person" if person else "application",
        "person": plain.text(who, 120) or None,
        "when": plain.text(created.get("createdAt") or "", 40),
        "uncommitted": str(marks.get("azureml.git.dirty")).lower() == "true",
    }


def _approvers(known: Known, trainer: Mapping[str, Any] | None) -> dict[str, Any]:
    """Who may approve: those of the gate, without who started the run, wrote a commit or started the training; and without machines."""
    gate = known.gate or {}
    reviewers = gate["reviewers"]
    barred: list[tuple[set[str], str, list[str]]] = []

    def bar(why: str, shown: str, *names: str) -> None:
        known_as = {name.casefold() for name in names if name}
        entry = next((one for one in barred if one[0] & known_as), None)
        if entry is None and known_as:
            barred.append((known_as, shown, [why]))
        elif entry is not None:
            entry[0].update(known_as)
            entry[2].extend([why] if why not in entry[2] else [])

    if not reviewers["self_review"]:
        bar("started the run", known.initiator, known.initiator)
    if trainer and trainer["person"]:
        bar("started the training", trainer["person"], trainer["person"])
    for commit in known.commits.commits if known.commits else ():
        for person in commit.people:
            # An account is as good as it gets; where there is none, a name might be one.
            account = known.account(person)
            names = (account, person.email) if account else (person.name, person.email)
            bar("wrote a commit", account or f"{person.name} ({person.email})", *names)
    everybody = set().union(*(one[0] for one in barred))
    users = list(reviewers.get("users", []))
    left = [name for name in users if name.casefold() not in everybody and not name.casefold().endswith("[bot]")]
    return {
        "environment": plain.text(known.environment, 80),
        "count": reviewers["count"],
        "users": [plain.text(name, 80) for name in users],
        "teams": [plain.text(name, 80) for name in reviewers.get("teams", [])],
        "left": [plain.text(name, 80) for name in left],
        "barred": [{"name": plain.text(shown, 160), "why": ", ".join(whys)} for _, shown, whys in barred[: 2 * LISTED]],
        "barred_count": len(barred),
    }


# Where.


def _where(known: Known) -> dict[str, Any]:
    at = known.target
    return {
        "workspace": at.name,
        "environment": plain.text(known.environment, 80),
        "azure": plain.text(at.workspace_name),
        "subscription": at.subscription_id,
        "resource_group": plain.text(at.resource_group),
        "location": at.location or None,
        "registry": at.registry_name,
        "endpoint": plain.text(known.endpoint, 80),
        "deployment": bundle.deployment_name(known.bundle, known.release["deploy"]["deployment"], at.instance_type),
        "machine": {"size": plain.text(known.machine[0], 80), "instances": known.machine[1]} if known.machine else None,
        "machine_before": {"size": plain.text(known.machine_before[0], 80), "instances": known.machine_before[1]}
        if known.machine_before
        else None,
        "quota": dict(known.quota) if known.quota else None,
        "cost": _cost(known),
    }


def _cost(known: Known) -> dict[str, Any] | None:
    """What the deployment costs in a month, and the one that it replaces, which stays to go back to. Prices are the project's."""
    if not known.prices or not known.machine or _price(known.prices, known.machine) is None:
        return None
    return {
        "currency": known.prices["currency"],
        "as_of": str(known.prices["as_of"]),
        "source": plain.text(known.prices["source"]),
        "month": _price(known.prices, known.machine),
        "month_before": _price(known.prices, known.machine_before) if known.machine_before else None,
    }


def _price(prices: Mapping[str, Any], machine: Machine) -> float | None:
    hourly = {size.lower(): price for size, price in prices["hourly"].items()}.get(machine[0].lower())
    return None if hourly is None else round(hourly * machine[1] * HOURS, 2)


def _rollback(known: Known) -> dict[str, Any] | None:
    if not (old := known.champion.document):
        return None
    path = known.release["deploy"]["deployment"]
    name = bundle.deployment_name(old, path, known.target.instance_type) if path in old["files"] else None
    return {
        "bundle": known.champion.id,
        "alias": changes.alias(known.champion.id, old),
        "deployment": name,
        "proof": [{"what": one["what"], "state": one["state"], "says": plain.text(one["says"])} for one in known.back],
    }


# Control.


def _control(known: Known) -> dict[str, Any]:
    gate = known.gate
    checked = proof.latest(known.pieces, "check_gates", known.target.name) or proof.latest(known.pieces, "check_gates", known.source.name)
    compared = proof.latest(known.pieces, "check_gate", known.source.name)
    against = (compared.said["facts"].get("champion") or {}) if compared else {}
    return {
        "ticket": _ticket(known),
        "freeze": _freeze(known),
        "hold": {"state": "unknown", "says": known.unknown.get("hold", "")} if known.hold is None
        else {"state": "held", "says": plain.text(known.hold)} if known.hold
        else {"state": "free", "says": f"nobody holds it in {known.source.name}" if known.source.signing else "nothing is signed or held"},
        "gates": [
            {"name": plain.text(one.get("name"), 80), "passed": bool(one["passed"]), "says": plain.text(one.get("says"))}
            for one in checked.said["findings"][:40]
        ] if checked else None,
        "exceptions": _exceptions(gate) if gate else [],
        "break_glass": _broken(known),
        "compared_with": plain.text(against.get("bundle_id"), 80) if isinstance(against, Mapping) and against.get("bundle_id") else None,
    }  # fmt: skip


def _ticket(known: Known) -> dict[str, Any]:
    given = plain.text(known.ticket, 80)
    if known.gate and (known.gate.get("ticket") or {}).get("pattern"):
        [found] = gates.ticketed(dict(known.gate), known.ticket, known.message)
        return {"state": "named" if found.passed else "missing", "says": plain.text(found.says)}
    return {"state": "named", "says": given} if given else {"state": "missing", "says": "none is named, and the gate asks for none"}


def _freeze(known: Known) -> dict[str, Any]:
    if not known.gate:
        return {"state": "unknown", "says": "no gate is written down", "until": None}
    windows = calendar.windows(known.gate["freeze"])
    over = calendar.frozen(windows, known.now)
    if over:
        says = "; ".join(plain.text(window.says(until)) for window, until in over)
        return {"state": "frozen", "says": f"nothing is promoted during {says}", "until": _zulu(max(until for _, until in over))}
    return {"state": "open", "says": "no freeze is on" if windows else "the gate knows no freeze", "until": None}


def _broken(known: Known) -> dict[str, Any] | None:
    """By whom, why and until when the glass is broken for this bundle in this run; None if it is not, or may not be."""
    signed = [one.statement for one in known.pieces if one.signature == proof.SIGNED]
    found = break_glass.standing(signed, known.bundle_id, ci.run_url(), known.environment, known.now)
    if not found or not break_glass.allowed(known.gate):
        return None
    facts = found["predicate"]["facts"]
    return {
        "who": plain.text(facts["who"], 120),
        "why": plain.text(facts["reason"], 400),
        "review": plain.address(facts["review"]),
        "until": _zulu(evidence.moment(str(facts["review_until"]))),
    }


def _exceptions(gate: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    if gate["admin_bypass"]:
        found.append("administrators may start the job past the gate")
    if gate["reviewers"]["self_review"]:
        found.append("who starts the run may approve it")
    return [{"what": what, "owner": None, "until": None} for what in found]


# Plots.


def plots(known: Known) -> dict[str, Any]:
    """What the page draws: figures of one release after the other, seconds of the smoke cases, and what the evidence has of errors."""
    points = {one["id"]: one for one in known.history}
    if known.champion.document:
        points.setdefault(known.champion.id, {"id": known.champion.id, "document": known.champion.document})
    points.pop(known.bundle_id, None)
    ordered = [*points.values(), {"id": known.bundle_id, "document": known.bundle}]
    history = [
        {
            "metric": plain.text(name, 80),
            **limits,
            "points": [
                {
                    "version": one["document"]["model"]["version"],
                    "value": plain.number(value),
                    "is": "candidate" if one["id"] == known.bundle_id else "champion" if one["id"] == known.champion.id else "earlier",
                }
                for one in ordered
                if (value := one["document"]["job"]["metrics"].get(name)) is not None and isinstance(plain.number(value), (int, float))
            ],
        }
        for name, limits in changes.bounds(known.release["gate"]).items()
    ]
    return {
        "history": history,
        "smoke": _smoke(known),
        "confusion": _first(_confusion(piece.said["facts"].get("confusion")) for piece in known.pieces),
        "residuals": _first(_residuals(piece.said["facts"].get("residuals")) for piece in known.pieces),
    }


def _smoke(known: Known) -> list[dict[str, Any]]:
    found = proof.latest(known.pieces, "smoke_test", known.source.name)
    limits = {case["name"]: case["expect"].get("within_seconds") for case in known.cases}
    rows: list[dict[str, Any]] = []
    for one in found.said["findings"] if found else []:
        seconds = one.get("seconds")
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < 1e9:
            limit = limits.get(str(one.get("name")))
            rows.append(
                {"case": plain.text(one.get("name"), 120), "seconds": float(seconds), "limit": limit, "passed": bool(one["passed"])}
            )
    return sorted(rows, key=lambda row: row["seconds"], reverse=True)[:CASES]


def _first(found: Iterable[dict[str, Any] | None]) -> dict[str, Any] | None:
    return next((one for one in found if one), None)


def _confusion(given: Any) -> dict[str, Any] | None:
    """`{labels: [...], counts: [[...]]}`, one row for what was true and one column for what was said; None for anything else."""
    if not isinstance(given, Mapping):
        return None
    labels, counts = given.get("labels"), given.get("counts")
    if not isinstance(labels, list) or not isinstance(counts, list) or not 2 <= len(labels) <= CELLS or len(counts) != len(labels):
        return None
    if not all(isinstance(row, list) and len(row) == len(labels) and all(map(_count, row)) for row in counts):
        return None
    return {"labels": [plain.text(label, 40) for label in labels], "counts": counts}


def _residuals(given: Any) -> dict[str, Any] | None:
    """`{edges: [...], counts: [...]}`, a histogram with one edge more than counts; None for anything else."""
    if not isinstance(given, Mapping):
        return None
    edges, counts = given.get("edges"), given.get("counts")
    if not isinstance(edges, list) or not isinstance(counts, list) or not 2 <= len(counts) <= 4 * CELLS or len(edges) != len(counts) + 1:
        return None
    numbers = all(isinstance(edge, (int, float)) and not isinstance(edge, bool) and abs(edge) < 1e300 for edge in edges)
    if not numbers or edges != sorted(edges) or edges[0] == edges[-1] or not all(map(_count, counts)):
        return None
    return {"edges": [float(edge) for edge in edges], "counts": counts}


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


# What is missing.


def missing(document: Mapping[str, Any], unknown: Mapping[str, str]) -> list[dict[str, str]]:
    """What was not supplied, and why."""
    found: list[tuple[str, str]] = []
    people, where, control = document["people"], document["where"], document["control"]

    def lacks(absent: bool, what: str, key: str, why: str = "") -> None:
        if absent:
            found.append((what, unknown.get(key) or why))

    lacks(document["live"] == "unknown", "what runs in production", "champion")
    lacks(people["commits"] is None, "who wrote it", "commits")
    for one in people["authors"]:
        if not one["login"]:
            found.append((f"the account of {one['name']} ({one['email']})", unknown.get("accounts") or _ACCOUNT))
    lacks(people["trainer"] is None, "who trained it", "trainer", "the job does not say who submitted it")
    commits, trainer = people["commits"], people["trainer"]
    if commits and commits["read"] < commits["total"]:
        found.append(("who wrote the oldest commits", f"of {commits['total']} commits {commits['read']} were read"))
    lacks(
        bool(trainer) and not trainer["person"], "who started the training", "trainer",
        "a service principal submitted the job, and the job does not say who started its run",
    )  # fmt: skip
    lacks(people["initiator"] is None, "who started this run", "initiator", "this is no run of a CI system")
    lacks(people["approvers"] is None, "who may approve", "gate")
    for one in document["proof"]:
        if one["state"] == proof.MISSING:
            found.append((f"proof: {one['verb']} in {one['workspace']}", "no statement about this bundle or its job was given"))
    found += [("a readable statement", line) for line in document["unreadable"]]
    for row in document["changes"]["files"]:
        if row["change"] == changes.CHANGED and row["diff"] is None:
            found.append((f"what changed in {row['path']}", row["note"]))
    champion = document["champion"] is not None
    lacks(
        champion and document["changes"]["dependencies"] is None,
        "what changed in dependencies",
        "dependencies",
        "an environment can't be read",
    )
    lacks(champion and where["machine_before"] is None, "production's machine", "machine_before")
    lacks(where["quota"] is None, "quota after the release", "quota")
    lacks(where["cost"] is None, "cost per month", "prices")
    lacks(
        bool(where["cost"]) and champion and where["cost"]["month_before"] is None,
        "cost per month before",
        "prices",
        "the machine has no price",
    )
    lacks(control["ticket"]["state"] == "missing", "a ticket", "ticket", control["ticket"]["says"])
    lacks(control["freeze"]["state"] == "unknown", "whether a freeze is on", "gate")
    lacks(control["hold"]["state"] == "unknown", "whether it is held", "hold")
    lacks(control["gates"] is None, "whether the environment is protected", "gates", "no statement of check_gates was given")
    for one in control["exceptions"]:
        found.append((f"owner and end of an exception: {one['what']}", "gates.yml has no place for them"))
    return [{"what": plain.text(what), "why": plain.text(why, 400) or "it could not be read"} for what, why in found]


_ACCOUNT = "nobody can be told from them before that address is linked to the account, or named under people in .cloud/gates.yml"


def _zulu(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
