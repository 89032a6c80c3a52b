"""Collect the signed statements about a bundle, and about the job that made its model, from the ledger of the workspace.

The ledger is read and checked whole first. If an entry was altered, removed or moved, nothing is collected, and nothing is promoted: what
is missing might be what speaks against it. Statements of jobs of other runs count too, so a promotion by itself has all its evidence.
"""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path

from aml import azure, bundle, ci, command, evidence, identity, ledger, signing, spec, workspace
from aml.command import Refusal


def collect(project: Path, name: str, bundle_id: str, folder: Path) -> int:
    """Write the statements and their signed forms to a folder, by the numbers of their entries; how many there are."""
    at = workspace.load(project, name)
    bundle.checked_id(bundle_id)
    if not at.signing:
        ci.warning(f"Nothing is collected: .cloud/workspaces/{name}.yml has no signing. Production would refuse to go without.")
        return 0
    credential = identity.sign_in(at, writes=False)
    client = azure.management(at, credential)
    document = bundle.from_workspace(client, credential, spec.release(project)["model"]["name"], bundle_id)
    log = ledger.of(at, client, credential)
    entries, problems = ledger.audit(log.id, log.read_all(), log.keys)
    if problems:
        fix = "find out who did it, and keep what is there for who asks; export_evidence lists all of it. Then have the ledger restored"
        raise Refusal(f"the ledger of {name} is not sound", "; ".join(problems[:5]), fix)
    wanted = {one.removeprefix("sha256:") for one in (bundle_id, document["job"]["content_key"])}
    found = [entry for entry in entries if entry.statement["subject"][0]["digest"]["sha256"] in wanted]
    folder.mkdir(parents=True, exist_ok=True)
    for entry in found:
        path, envelope = folder / f"entry-{entry.sequence:010d}.json", entry.document["envelope"]
        evidence.replace(path, base64.b64decode(envelope["payload"]))
        evidence.replace(signing.signed_path(path), json.dumps(envelope, indent=2).encode() + b"\n")
    ci.say(f"collected  {len(found)} of {len(entries)} statements of the ledger of {name}, all of it checked")
    return len(found)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    command.argument(made, "--bundle-id", required=True, help="Id of the bundle, sha256:<hex>, an output of seal_bundle.")
    command.argument(made, "--statements", type=Path, default=Path("statements"), help="Folder that the statements are written to.")
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and collect."""
    given = parser().parse_args(argv)
    collect(given.project, given.workspace, given.bundle_id, given.statements)
    return 0


if __name__ == "__main__":
    command.run(main)
