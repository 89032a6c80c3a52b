"""What the ledgers know of every release: the chain of statements that led to it, and the links that are missing."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aml import digest, report
from aml.bundle import invalid
from aml.ledger import Entry

Statement = Mapping[str, Any]
ROLLOUTS = ("shift_traffic", "roll_back")


@dataclass(frozen=True)
class Recorded:
    """A statement as a workspace's ledger has it."""

    workspace: str
    entry: Entry

    @property
    def said(self) -> Mapping[str, Any]:
        """Its predicate."""
        return self.entry.statement["predicate"]  # type: ignore[no-any-return]

    @property
    def about(self) -> tuple[str, str]:
        """What it is about: (name, sha256)."""
        subject = self.entry.statement["subject"][0]
        return subject["name"], subject["digest"]["sha256"]

    def shown(self) -> dict[str, Any]:
        """What a link shows of it."""
        said = self.said
        return {
            "verb": said["verb"],
            "verdict": said["verdict"],
            "workspace": self.workspace,
            "finished": said["finished"],
            "entry": self.entry.sequence,
            "statement": digest.of_bytes(base64.b64decode(self.entry.document["envelope"]["payload"])),
            **({"run": said["links"]["run"]} if "run" in said["links"] else {}),
        }


def recorded(ledgers: Mapping[str, Sequence[Entry]]) -> list[Recorded]:
    """All statements of all ledgers. What a workspace's ledger has of another one is left out: each speaks of itself alone."""
    found = [Recorded(name, entry) for name, entries in ledgers.items() for entry in entries]
    return [one for one in found if one.said["workspace"] == one.workspace]


def releases(known: Sequence[Recorded], workspace: str, stage: str, since: str, until: str) -> list[dict[str, Any]]:
    """Every rollout and rollback of a workspace that finished in a period (both ends included), in order, each with its chain."""
    found = [one for one in known if one.workspace == workspace and one.said["verb"] in ROLLOUTS and since <= one.said["finished"] <= until]
    return [_release(known, one, stage) for one in sorted(found, key=lambda one: one.entry.sequence)]


def _release(known: Sequence[Recorded], rollout: Recorded, stage: str) -> dict[str, Any]:
    name, sha = rollout.about
    facts = rollout.said["facts"]
    made = {
        "bundle": f"sha256:{sha}",
        "model": name.removeprefix("bundle/"),
        "what": "rollback" if rollout.said["verb"] == "roll_back" else "release",
        "endpoint": facts.get("endpoint"),
        "deployment": facts.get("deployment"),
        **rollout.shown(),
    }
    glass = _broken(known, rollout)
    return {
        **made,
        **({"break_glass": glass} if glass else {}),
        "chain": [] if made["what"] == "rollback" else _chain(known, rollout, stage),
    }


def _broken(known: Sequence[Recorded], rollout: Recorded) -> dict[str, str]:
    """By whom, why, and until when it is to be reviewed that the glass was broken in the run of a rollout; {} if it was not."""
    run = rollout.said["links"].get("run")
    for one in known:
        if (one.workspace, one.about, one.said["verb"]) == (rollout.workspace, rollout.about, "verify_approval"):
            facts = one.said["facts"].get("break_glass")
            if run and one.said["links"].get("run") == run and isinstance(facts, Mapping):
                return {name: str(facts.get(name, "")) for name in ("who", "reason", "review", "review_until")}
    return {}


def _chain(known: Sequence[Recorded], rollout: Recorded, stage: str) -> list[dict[str, Any]]:
    """The links of one rollout, each the last statement of its kind before it; `missing` says why a link is none."""
    until, here, bundle = rollout.said["finished"], rollout.workspace, rollout.about

    def last(verb: str, wanted: Callable[[Recorded], bool]) -> Recorded | None:
        found = [one for one in known if one.said["verb"] == verb and one.said["finished"] <= until and wanted(one)]
        return max(found, key=lambda one: (one.said["finished"], one.entry.sequence), default=None)

    def of_bundle(one: Recorded) -> bool:
        return one.about == bundle

    def of_bundle_here(one: Recorded) -> bool:
        return one.about == bundle and one.workspace == here

    def elsewhere(one: Recorded) -> bool:
        return one.about == bundle and one.workspace != here

    def of_run(one: Recorded) -> bool:
        # The job that deploys verifies the approval itself, so that of another run is not this one's.
        return of_bundle_here(one) and one.said["links"].get("run") == rollout.said["links"].get("run")

    sealed = last("seal_bundle", of_bundle)
    document = sealed.said["facts"].get("bundle") if sealed else None
    job = document["job"] if document and not invalid(document) else None

    def of_job(one: Recorded) -> bool:
        return job is not None and one.about == (f"job/{job['name']}", job["content_key"].removeprefix("sha256:"))

    unknown = "" if job else "which job it was is not known: no seal_bundle that says it"
    chain = [
        _link("job", "wait_job", last("wait_job", of_job), unknown),
        _link("gate", "check_gate", last("check_gate", of_job), unknown),
        _link("bundle", "seal_bundle", sealed),
    ]
    if stage == "prod":
        chain += [
            _link("trial", "smoke_test", last("smoke_test", elsewhere)),
            _link("share", "share_model", last("share_model", of_bundle)),
            _approved(last("verify_approval", of_run)),
        ]
    chain += [
        _link("verify", "verify_bundle", last("verify_bundle", of_bundle_here)),
        _link("smoke", "smoke_test", last("smoke_test", of_bundle_here)),
        {"link": "rollout", **rollout.shown()},  # one that failed, and was taken back, is no gap in what is known
    ]
    return chain


def _link(name: str, verb: str, found: Recorded | None, unknown: str = "") -> dict[str, Any]:
    if found is None:
        return {"link": name, "missing": unknown or f"no {verb} is recorded before it"}
    wrong = "" if found.said["verdict"] == "passed" else f"the last {verb} before it {found.said['verdict']}"
    return {"link": name, **found.shown(), **({"missing": wrong} if wrong else {})}


def _approved(found: Recorded | None) -> dict[str, Any]:
    """The link of a verify_approval, with who approved and for which user or team of the gate; who is not named did not."""
    link = _link("approval", "verify_approval", found, "no verify_approval of its run is recorded before it")
    if found is None:
        return link
    listed = found.said["facts"].get("approvers")
    people = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    link["approvers"] = [{"who": str(one.get("who", "")), "for": str(one.get("for", ""))} for one in people if one.get("who")]
    if not link["approvers"]:
        link.setdefault("missing", "the verify_approval before it does not say who approved")
    return link


def missing(release: Mapping[str, Any]) -> list[str]:
    """The links that a release lacks, one line each."""
    which = f"{release['what']} of {release['bundle']} (entry {release['entry']} of {release['workspace']})"
    return [f"{which}, {link['link']}: {link['missing']}" for link in release["chain"] if "missing" in link]


def unrecorded(known: Iterable[Recorded], workspace: str, live: Mapping[str, str]) -> list[str]:
    """Deployments that take traffic though no entry says how they came to, one line each. `live` is bundle id by deployment."""
    good = {f"sha256:{one.about[1]}" for one in known if one.workspace == workspace and one.said["verb"] in ROLLOUTS}
    return [
        f"deployment {name} takes traffic in {workspace}, and no release of {bundle or 'what it came from'} is recorded"
        for name, bundle in sorted(live.items())
        if bundle not in good
    ]


def page(document: Mapping[str, Any]) -> str:
    """The export as Markdown. What others wrote in it can't become anything but text."""
    safe = report.safe
    lines = [
        f"# Releases in {safe(document['workspace'])}",
        "",
        f"From {safe(document['since'] or 'the beginning')} to {safe(document['until'])}.",
    ]
    lines += ["", "**Complete: every link is there, and every ledger is sound.**" if not document["problems"] else "**Not complete:**", ""]
    lines += [f"- {safe(line)}" for line in document["problems"]]
    for name, found in document["ledgers"].items():
        lines += ["", f"Ledger of {safe(name)}: {found['entries']} entries, the last is {safe(found['head'] or 'none')}."]
    for release in document["releases"]:
        title = f"{release['what']} of {safe(release['model'])} at {safe(release['finished'])}: {safe(release['verdict'])}"
        lines += ["", f"## {title}", "", f"Bundle {safe(release['bundle'])}, endpoint {safe(release['endpoint'])}, deployment "
                  f"{safe(release['deployment'] or 'as before')}, entry {release['entry']}."]  # fmt: skip
        if glass := release.get("break_glass"):
            said = f"{safe(glass['who'])} declared an emergency. The reason: {safe(glass['reason'], 1000)}"
            lines += ["", f"**BREAK-GLASS**: {said} Its review, {safe(glass['review'])}, was due {safe(glass['review_until'])}."]
        for link in release["chain"]:
            if people := link.get("approvers"):
                lines += ["", "Approved by " + ", ".join(f"{safe(one['who'])} for {safe(one['for'])}" for one in people) + "."]
        if release["chain"]:
            lines += ["", "| link | verdict | workspace | finished | entry |", "| --- | --- | --- | --- | --- |"]
        for link in release["chain"]:
            if "missing" in link:
                lines.append(f"| {link['link']} | **missing**: {safe(link['missing'])} | {safe(link.get('workspace', ''))} | | |")
            else:
                cells = (safe(link["verdict"]), safe(link["workspace"]), safe(link["finished"]), str(link["entry"]))
                lines.append(f"| {link['link']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
