"""Export every release of a workspace in a period, each with the chain of statements that led to it, as JSON and as a page.

The chain goes from the job over gate, bundle, trial and share to the approval, with who gave it, the check, the smoke test and the rollout
in production; every signature and every link of the ledger is checked on the way. What is missing is said, and ends it with 1: a link, an
entry, a deployment that takes traffic and was never recorded.

A principal reads the ledger of its own workspace alone. So the folder of an export also holds the ledger's entries as they are stored,
and an export takes what other workspaces' exports left there, or in --ledgers: run it for dev with --only-ledger, then for prod. Entries
prove by their signatures what they are, however they got there. Those of an earlier export of the same workspace are compared, so what is
gone since is found.
"""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from azure.core.credentials import TokenCredential

from aml import azure, ci, command, deployment, endpoint, evidence, identity, ledger, releases, signing, spec, workspace
from aml.command import Refusal
from aml.ledger import Entry
from aml.workspace import Workspace

FOLDER = "ledgers"  # of an export: the entries of each workspace's ledger, as they are stored


def stored(folder: Path) -> dict[str, bytes]:
    """The entries of a ledger that an export left in a folder, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def exported(out: Path, ledgers: Path | None, name: str) -> tuple[dict[str, bytes], list[str]]:
    """What exports left of a workspace's ledger, in `out` and anywhere below `ledgers`, by name; and where two of them differ."""
    found: dict[str, bytes] = {}
    lines = []
    elsewhere = sorted(path / name for path in ledgers.rglob(FOLDER) if (path / name).is_dir()) if ledgers else []
    for folder in [out / FOLDER / name, *elsewhere]:
        for entry, data in stored(folder).items():
            if found.setdefault(entry, data) != data:
                lines.append(f"{entry} has other bytes in {folder} than in another export")
    return found, lines


def compared(before: dict[str, bytes], now: dict[str, bytes]) -> list[str]:
    """What an earlier export has and the ledger has not any more, or otherwise; one line each."""
    lines = []
    for name, data in before.items():
        if name not in now:
            lines.append(f"{name} is gone: an earlier export has it")
        elif now[name] != data:
            lines.append(f"{name} was replaced: an earlier export has other bytes")
    return lines


def taking_traffic(at: Workspace, client: azure.Client) -> dict[str, str]:
    """The deployments of the project's endpoint that take traffic, each with its bundle, '' if it came from none."""
    name = endpoint.name_of(at, spec.release(at.project)["deploy"]["endpoint"])
    standing = client.find(f"onlineEndpoints/{name}")
    if standing is None:
        return {}
    found = endpoint.deployments(client, name)
    return {one: endpoint.tags(found.get(one, {})).get(deployment.BUNDLE, "") for one in endpoint.traffic(standing)}


def read(
    project: Path, at: Workspace, log: ledger.Ledger, out: Path, ledgers: Path | None, heads: list[ledger.Head]
) -> tuple[dict[str, list[Entry]], dict[str, Any], list[str]]:
    """The sound entries of every ledger that can be read, what is shown of each, and everything that is wrong with them."""
    entries: dict[str, list[Entry]] = {}
    shown: dict[str, Any] = {}
    problems: list[str] = []
    for name in workspace.names(project):
        other = workspace.load(project, name)
        before, lines = exported(out, ledgers, name)
        if name == at.name:
            blobs = log.read_all()
            lines += compared(before, blobs)
            keep(out / FOLDER / name, blobs)
        elif not other.signing or not before:
            continue
        else:
            blobs = before
        keys = signing.trusted(other)
        entries[name], found = ledger.audit(ledger.id_of(other), blobs, keys, heads)
        problems += [f"ledger of {name}: {line}" for line in lines + found]
        last = entries[name][-1] if entries[name] else None
        shown[name] = {"entries": len(blobs), "head": f"{last.sequence} {last.digest}" if last else ""}
    return entries, shown, problems


def keep(folder: Path, blobs: dict[str, bytes]) -> None:
    """Write the entries that a folder does not have; what it has is never replaced."""
    for name, data in blobs.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            continue  # no name of ours; the audit says so
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            evidence.replace(path, data)


def opened(project: Path, name: str) -> tuple[Workspace, azure.Client, ledger.Ledger]:
    """A workspace, ARM below it, and its ledger, as a principal that only reads. Raises Refusal if the spec pins no keys."""
    at = workspace.load(project, name)
    signing.trusted(at)
    credential: TokenCredential = identity.sign_in(at, writes=False)
    client = azure.management(at, credential)
    return at, client, ledger.of(at, client, credential)


def only_ledger(project: Path, name: str, out: Path) -> None:
    """Keep the entries of a workspace's ledger for the export of another. What is wrong with them is a warning: that export says it."""
    at, _, log = opened(project, name)
    blobs = log.read_all()
    out.mkdir(parents=True, exist_ok=True)
    keep(out / FOLDER / name, blobs)
    entries, lines = ledger.audit(log.id, blobs, log.keys)
    for line in lines:
        ci.warning(f"Ledger of {name}: {line}.")
    last = "the last is none"
    if entries:
        ledger.keep_head(out, at, entries[-1])
        last = f"the last is {entries[-1].sequence} {entries[-1].digest}"
    text = f"### Ledger of {name}\n\n{len(blobs)} entries, {last}; faults found: {len(lines)}."
    evidence.replace(out / f"ledger-{name}.md", f"{text}\n".encode())  # without a file there would be no artifact to fetch
    ci.summary(text, f"ledger-{name}")
    ci.say(f"created  {out / FOLDER / name}: {len(blobs)} entries, {last}")


def export(project: Path, name: str, since: str, until: str, out: Path, ledgers: Path | None, heads: Path | None) -> dict[str, Any]:
    """Write the export; what it says."""
    at, client, log = opened(project, name)
    entries, shown, problems = read(project, at, log, out, ledgers, ledger.heads(heads) if heads else [])
    known = releases.recorded(entries)
    found = releases.releases(known, name, at.stage, since, until)
    for release in found:
        problems += releases.missing(release)
    problems += releases.unrecorded(known, name, taking_traffic(at, client))
    document = {"workspace": name, "since": since, "until": until, "ledgers": shown, "problems": problems, "releases": found}
    out.mkdir(parents=True, exist_ok=True)
    if entries[name]:
        ledger.keep_head(out, at, entries[name][-1])
    evidence.replace(out / f"releases-{name}.json", json.dumps(document, indent=2).encode() + b"\n")
    evidence.replace(out / f"releases-{name}.md", releases.page(document).encode("utf-8", "backslashreplace"))
    ci.summary(releases.page(document), f"releases-{name}")
    return document


def moment(text: str, *, end: bool = False) -> str:
    """A day or a time as statements write it; a day is its first second, or its last. Raises ArgumentTypeError."""
    try:
        found = datetime.fromisoformat(text.strip().removesuffix("Z") + ("+00:00" if text.strip().endswith("Z") else ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day (2026-03-31) nor a time (2026-03-31T12:00:00Z)") from None
    if len(text.strip()) == 10 and end:
        found = found.replace(hour=23, minute=59, second=59)
    found = found.astimezone(timezone.utc) if found.tzinfo else found.replace(tzinfo=timezone.utc)
    return found.isoformat(timespec="seconds").replace("+00:00", "Z")


def last_moment(text: str) -> str:
    """`moment`, with a day as its last second."""
    return moment(text, end=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    command.argument(made, "--since", type=moment, help="First day (2026-01-01) or time of the period, UTC; the beginning unless given.")
    command.argument(made, "--until", type=last_moment, help="Last day or time of the period, UTC; now unless given.")
    command.argument(
        made,
        "--out",
        type=Path,
        default=Path("evidence-export"),
        help="Folder of the export; other workspaces' exports are read from it too.",
    )
    command.argument(made, "--ledgers", type=Path, help="Folder with exports of other workspaces, or earlier ones, anywhere below it.")
    command.argument(
        made,
        "--only-ledger",
        type=command.boolean,
        default=False,
        help="Whether only the workspace's ledger is kept, for an export of another workspace that has links there.",
    )
    command.argument(made, "--heads", type=Path, help="Folder with evidence of jobs: what they saw of the ledgers' ends is compared.")
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and export."""
    given = parser().parse_args(argv)
    if given.only_ledger:
        only_ledger(given.project, given.workspace, given.out)
        return 0
    until = given.until or evidence.now()
    document = export(given.project, given.workspace, given.since or "", until, given.out, given.ledgers, given.heads)
    ci.say(f"created  {given.out / ('releases-' + given.workspace)}.json and .md: {len(document['releases'])} releases and rollbacks")
    for line in document["problems"]:
        ci.error(line)
    if document["problems"]:
        count = len(document["problems"])
        what = f"the evidence of {given.workspace} is not complete"
        fix = "find out who did it and why; of a link that another ledger has, export that workspace into the same folder first"
        raise Refusal(what, f"{count} {'thing is' if count == 1 else 'things are'} missing or wrong, listed above", fix)
    return 0


if __name__ == "__main__":
    command.run(main)
