"""Copy what a bundle names, and the bundle itself, from the workspace that sealed it to the registry, and check every digest on both sides.

The bundle comes last, so one that is in the registry is there with all it names. What is there already is checked and left; a run that
was killed is finished by running it again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aml import azure, bundle, ci, command, evidence, holds, identity, model_signature, registry, spec, workspace
from aml.command import Refusal
from aml.registry import Registry


def copy(found: Registry, workspace_resource: dict[str, Any], kind: str, name: str, version: str) -> None:
    """Copy one version unless the registry has it; `bundle.in_registry` then tells whether it is the right one."""
    singular = kind.removesuffix("s")
    if registry.version_of(found, kind, name, version) is not None:
        ci.say(f"unchanged  {singular} {name}:{version} in registry {found.name}")
        return
    registry.share(found, workspace_resource, kind, name, version)
    if registry.version_of(found, kind, name, version) is None:
        raise Refusal(
            f"registry {found.name} does not show {singular} {name}:{version} after it was shared",
            "Azure said that the copy succeeded",
            "run this again",
        )
    ci.say(f"created  {singular} {name}:{version} in registry {found.name}")


def share(project: Path, name: str, bundle_id: str, folder: Path) -> str:
    """Share the bundle; the id of its model in the registry."""
    started, began = evidence.now(), time.monotonic()
    at = workspace.load(project, name)
    model = spec.release(project)["model"]["name"]
    credential = identity.sign_in(at)
    client = azure.management(at, credential)
    holds.refuse(at, client, credential, bundle.checked_id(bundle_id))
    document = bundle.from_workspace(client, credential, model, bundle_id)
    signature = model_signature.in_workspace(client, credential, document["model"]) if at.signing else None

    def signed(files: Mapping[str, str]) -> list[str]:
        return model_signature.checked(at, signature, files)

    if lines := bundle.unpinned(document) + bundle.in_workspace(client, credential, document, signed):
        raise Refusal("the workspace no longer holds what was sealed", "; ".join(lines), "register and seal anew, then share that bundle")
    found = registry.connect(at, credential)
    resource = client.get()
    copy(found, resource, "models", document["model"]["name"], document["model"]["version"])
    if wanted := document.get("environment"):
        copy(found, resource, "environments", wanted["name"], wanted["version"])
    if signature is not None:
        copy(found, resource, "data", *model_signature.asset(document["model"]["name"], document["model"]["version"]))
        signature = model_signature.in_registry(found, document["model"])
    if lines := bundle.in_registry(found, document, signed):
        raise Refusal(
            f"registry {found.name} has something else under these names",
            "; ".join(lines),
            "a version is never changed, so give the model or the environment another name, or retrain: that takes the next version",
        )
    copy(found, resource, "data", *bundle.asset(model, bundle_id))
    bundle.from_registry(found, model, bundle_id)
    ci.say(f"checked  the digests of {bundle_id} in the workspace and in registry {found.name}")
    shared = registry.asset_id(found.name, "models", document["model"]["name"], document["model"]["version"])
    evidence.write(
        folder,
        evidence.statement(
            evidence.about_bundle(model, bundle_id),
            "share_model",
            "passed",
            workspace=at.name,
            started=started,
            figures={"seconds": round(time.monotonic() - began, 3)},
            facts={"registry": found.name, "model": shared, "digest": document["model"]["digest"]},
        ),
    )
    return shared


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    command.argument(made, "--bundle-id", required=True, help="Id of the bundle, sha256:<hex>, an output of seal_bundle.")
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and share the bundle."""
    given = parser().parse_args(argv)
    ci.output("registry_model", share(given.project, given.workspace, given.bundle_id, given.evidence))
    return 0


if __name__ == "__main__":
    command.run(main)
