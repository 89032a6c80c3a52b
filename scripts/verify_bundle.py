"""Check, right before it is deployed, that a bundle is what it says: its id, what is stored under its names, and the checkout.

Every file of the model is read and hashed again, where it will be deployed from, and its signature checked where the workspace spec has
`signing`. One line for each mismatch; any of them ends the run,
and so does a hold on the bundle (hold_release).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from aml import azure, bundle, ci, command, evidence, holds, identity, model_signature, registry, spec, workspace
from aml.command import Refusal


def verify(project: Path, name: str, bundle_id: str, source: str, folder: Path) -> list[str]:
    """Everything about the bundle that is not as it was sealed, one line each; leaves evidence."""
    started, began = evidence.now(), time.monotonic()
    at = workspace.load(project, name)
    where = bundle.source(at, source)
    bundle.checked_id(bundle_id)
    release = spec.release(project)
    model = release["model"]["name"]
    credential = identity.sign_in(at, writes=False)
    client = azure.management(at, credential)
    held = holds.standing(at, client, credential, bundle_id)
    if where == "registry":
        found = registry.connect(at, credential)
        document = bundle.from_registry(found, model, bundle_id)
        signature = model_signature.in_registry(found, document["model"]) if at.signing else None
        lines = bundle.in_registry(found, document, lambda files: model_signature.checked(at, signature, files))
    else:
        document = bundle.from_workspace(client, credential, model, bundle_id)
        signature = model_signature.in_workspace(client, credential, document["model"]) if at.signing else None
        lines = bundle.in_workspace(client, credential, document, lambda files: model_signature.checked(at, signature, files))
    lines += bundle.unpinned(document) + bundle.mismatches(document, project)
    for path in (".cloud/release.yml", release["deploy"]["endpoint"], release["deploy"]["deployment"], release["deploy"]["smoke"]):
        if path not in document["files"]:
            lines.append(f"{path} is what this project deploys by, and the bundle does not have it")
    for line in lines:
        ci.error(line)
    evidence.write(
        folder,
        evidence.statement(
            evidence.about_bundle(model, bundle_id),
            "verify_bundle",
            "failed" if lines or held else "passed",
            workspace=at.name,
            started=started,
            figures={"seconds": round(time.monotonic() - began, 3)},
            findings=[{"rule": "as sealed", "passed": False, "says": line} for line in lines]
            + [{"rule": "no hold", "passed": False, "says": held}] * bool(held),
            facts={"from": where, "bundle": document},
        ),
    )
    if held:
        raise holds.refusal(at, bundle_id, held)
    return lines


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    bundle.arguments(made)
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and verify the bundle."""
    given = parser().parse_args(argv)
    if lines := verify(given.project, given.workspace, given.bundle_id, getattr(given, "from"), given.evidence):
        count = f"{len(lines)} mismatch{'es' if len(lines) > 1 else ''}"
        fix = "check out the commit of the bundle; if what is stored was changed, find out by whom, then seal and share anew"
        raise Refusal(f"bundle {given.bundle_id} is not what was sealed", f"it has {count}, listed above", fix)
    ci.say(f"passed  bundle {given.bundle_id} is what was sealed")
    return 0


if __name__ == "__main__":
    command.run(main)
