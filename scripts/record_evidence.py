"""Sign what the verbs of a job found out, and enter it into the workspace's ledger, each statement once.

It runs at the end of every job, after a failure too: what was refused is evidence as well. Beside each statement it leaves the signed one
(`<name>.dsse.json`), and with them the number and digest of the ledger's last entry (`ledger-<workspace>.json`), by which a ledger whose
end was cut off is found. A run that was killed is finished by running it again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from aml import azure, ci, command, evidence, identity, ledger, signing, workspace
from aml.command import Refusal
from aml.ledger import Entry
from aml.signing import Envelope, Key


def statements(folder: Path, name: str) -> tuple[list[tuple[Path, bytes]], list[str]]:
    """The statements about a workspace in a folder, in the order in which they were finished; and the files that are none, and why.

    Other JSON is passed over: a statement says by its `_type` that it is one.
    """
    found, problems = [], []
    for path in sorted(folder.glob("*.json")):
        if path.name.endswith(".dsse.json"):
            continue
        payload = path.read_bytes()
        try:
            document = json.loads(payload)
            if not isinstance(document, dict) or "_type" not in document:
                continue
            predicate = signing.statement(payload)["predicate"]
        except (ValueError, RecursionError) as error:
            problems.append(f"{path.name} is no JSON ({error})")
        except Refusal as refusal:
            problems.append(f"{path.name}: {refusal.what}, {refusal.why}")
        else:
            if predicate["workspace"] == name:
                found.append(((predicate["finished"], path.name), (path, payload)))
            else:
                ci.say(f"passed over  {path.name}, which is about workspace {predicate['workspace']}")
    return [pair for _, pair in sorted(found)], problems


def kept(path: Path, payload: bytes, keys: list[Key]) -> Envelope | None:
    """The signed form of a statement, if it is there, is of this very statement, and one of the keys signed it."""
    try:
        envelope: Any = json.loads(signing.signed_path(path).read_bytes())
        return envelope if signing.verify(envelope, keys) == payload else None
    except (OSError, ValueError, RecursionError, Refusal):
        return None


def record(project: Path, name: str, folder: Path) -> Entry | None:
    """Sign and enter what the folder has; the last entry that one of its statements has, or None if it has none."""
    at = workspace.load(project, name)
    found, problems = statements(folder, at.name)
    if not found and not problems:
        ci.say(f"unchanged  {folder} has no statement about workspace {at.name}")
        return None
    if not at.signing and at.stage != "prod":
        ci.warning(f"Nothing is signed: .cloud/workspaces/{at.name}.yml has no signing. Production would refuse to go without.")
        return None
    signing.trusted(at)
    credential = identity.sign_in(at)
    log, signer = ledger.of(at, azure.management(at, credential), credential), signing.signer(at, credential)
    last: Entry | None = None
    for path, payload in found:

        def signed(path: Path = path, payload: bytes = payload) -> Envelope:
            envelope = kept(path, payload, log.keys) or signer.envelope(payload)
            _keep(path, envelope)
            return envelope

        entry, new = log.append(payload, signed, signer)
        if kept(path, payload, log.keys) is None:
            _keep(path, entry.document["envelope"])
        ci.say(f"{'created' if new else 'unchanged'}  entry {entry.sequence}: {path.name}")
        if last is None or entry.sequence > last.sequence:
            last = entry
            ledger.keep_head(folder, at, entry)
    if problems:
        raise Refusal(
            f"{folder} has what can't be entered", "; ".join(problems), "find out what wrote it; what is in order has been entered"
        )
    return last


def _keep(path: Path, envelope: Envelope) -> None:
    evidence.replace(signing.signed_path(path), json.dumps(envelope, indent=2).encode() + b"\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    command.argument(
        made,
        "--auditor",
        default="",
        help="Client id of an application that audits and may only read: what it found out is kept with the run, and not entered.",
    )
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and record the evidence."""
    given = parser().parse_args(argv)
    if given.auditor:
        ci.warning(f"Nothing is entered into the ledger of {given.workspace}: the application {given.auditor} audits, and may only read.")
        return 0
    if last := record(given.project, given.workspace, given.evidence):
        ci.output("ledger_head", f"{last.sequence} {last.digest}")
        ci.summary(f"### Ledger of {given.workspace}\n\nThe last entry of this job is number {last.sequence}, {last.digest}.", "ledger")
    return 0


if __name__ == "__main__":
    command.run(main)
