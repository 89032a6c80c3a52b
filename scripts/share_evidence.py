"""Hand the dossier and the signed statements behind it over to production, through the registry.

It runs once the job has signed what it found out itself. Production verifies every signature before its first write, and that the
dossier is the one that was approved.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aml import azure, bundle, ci, command, dossier, evidence, handover, identity, registry, signing, spec, workspace
from aml.command import Refusal
from aml.signing import Envelope


def signed(folders: list[Path], project: Path, digests: set[str]) -> Iterator[tuple[dict[str, Any], Envelope]]:
    """The signed statements about one of the digests in some folders. Raises Refusal for one whose signature does not count."""
    for folder in folders:
        for path in sorted(folder.glob("*.dsse.json")):
            try:
                envelope = json.loads(path.read_bytes())
            except (ValueError, RecursionError) as error:
                raise Refusal(f"{path} can't be read", str(error), "run the job again") from None
            statement = signing.verified(envelope, project)
            if statement["subject"][0]["digest"]["sha256"] in digests:
                yield statement, envelope


def document_in(folder: Path, dossier_id: str) -> Any:
    """The dossier that compile_dossier left in a folder. Raises Refusal if it is not the one that is named."""
    path = folder / "dossier" / dossier.FILE
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Refusal(f"there is no dossier at {path}", str(error), "run compile_dossier first, in the same job") from None
    if (found := dossier.identify(document)) != dossier_id:
        raise Refusal(f"the dossier at {path} is {found}, not {dossier_id}", "it was changed", "run the job again")
    return document


def share(project: Path, name: str, bundle_id: str, dossier_id: str, statements: Path, folder: Path) -> None:
    """Put the handover into the registry, and read it back."""
    at = workspace.load(project, name)
    bundle.checked_id(bundle_id)
    signing.trusted(at)
    document = document_in(folder, dossier_id)
    model = spec.release(project)["model"]["name"]
    credential = identity.sign_in(at)
    client = azure.management(at, credential)
    sealed = bundle.from_workspace(client, credential, model, bundle_id)
    digests = {one.removeprefix("sha256:") for one in (bundle_id, sealed["job"]["content_key"])}
    own = [envelope for _, envelope in signed([folder], project, digests)]
    envelopes = handover.chosen(signed([statements], project, digests), own)
    found = registry.connect(at, credential)
    asset = handover.asset(model, dossier_id)
    if registry.version_of(found, "data", *asset) is None:
        handover.keep(client, credential, model, dossier_id, handover.made(bundle_id, document, envelopes))
        registry.share(found, client.get(), "data", *asset)
        ci.say(f"created  {':'.join(asset)} with {len(envelopes)} statements in registry {found.name}")
    else:
        ci.say(f"unchanged  {':'.join(asset)} in registry {found.name}")
    if handover.read(found, model, dossier_id, bundle_id).envelopes != envelopes:
        why = "somebody else put another one there under its name"
        raise Refusal(
            f"the handover of dossier {dossier_id} in registry {found.name} is not this job's", why, "find out who, then run it again"
        )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    command.argument(made, "--bundle-id", required=True, help="Id of the bundle, sha256:<hex>, an output of seal_bundle.")
    command.argument(made, "--dossier-id", required=True, help="Id of the dossier, sha256:<hex>, an output of compile_dossier.")
    command.argument(made, "--statements", type=Path, default=Path("statements"), help="Folder of the statements that were collected.")
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and hand over."""
    given = parser().parse_args(argv)
    share(given.project, given.workspace, given.bundle_id, given.dossier_id, given.statements, given.evidence)
    return 0


if __name__ == "__main__":
    command.run(main)
