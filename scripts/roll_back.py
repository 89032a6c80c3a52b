"""Bring back the last good split of an endpoint's traffic: the one before a rollout that is under way, or before the last finished one."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from aml import azure, ci, command, endpoint, evidence, identity, registry, spec, workspace
from aml.command import Refusal
from aml.deployment import BUNDLE
from aml.endpoint import Split
from aml.rollout import FROM, PREVIOUS, ROLLED_BACK, TO, without_marks


def target(standing: dict[str, Any]) -> Split | None:
    """The split to go back to; None when a rollback was the last thing that happened: doing it twice must not go back twice.

    Raises Refusal when no earlier split is known.
    """
    tags = endpoint.tags(standing)
    if TO in tags:
        return endpoint.parsed(tags[FROM])
    if ROLLED_BACK in tags:
        return None
    if PREVIOUS in tags:
        return endpoint.parsed(tags[PREVIOUS])
    raise Refusal(
        f"endpoint {standing['name']} has no earlier split to go back to",
        f"it stands at {endpoint.shown(endpoint.traffic(standing))}, and no rollout before that is known",
        "deploy an earlier bundle with deploy_online and shift_traffic",
    )


def check_target(split: Split, deployments: dict[str, dict[str, Any]], name: str) -> None:
    """Raises Refusal unless every deployment of the split is there and serving."""
    for deployment in split:
        state = deployments[deployment]["properties"].get("provisioningState") if deployment in deployments else "gone"
        if state != "Succeeded":
            raise Refusal(
                f"endpoint {name} can't go back to {endpoint.shown(split)}",
                f"deployment {deployment} is {state}",
                "deploy its bundle again with deploy_online, then run this again",
            )


def restore(client: azure.Client, name: str, split: Split) -> Split:
    """Write the split and forget whatever rollout was under way; the split that the endpoint then shows."""

    def edit(document: dict[str, Any]) -> None:
        left = endpoint.shown(endpoint.traffic(document))
        tags = without_marks(endpoint.tags(document))
        if TO not in endpoint.tags(document):
            tags.pop(PREVIOUS, None)  # it is where we are going
        document["tags"] = {**tags, ROLLED_BACK: left}
        document["properties"]["traffic"] = split

    document, _ = endpoint.change(client, name, edit)
    return endpoint.traffic(document)


def roll_back(project: Path, name: str, folder: Path) -> Split:
    """Bring the project's endpoint back to its last good split."""
    started, began = evidence.now(), time.monotonic()
    at = workspace.load(project, name)
    release = spec.release(project)
    model = release["model"]["name"]
    credential = identity.sign_in(at)
    client = azure.management(at, credential)
    endpoint_name = endpoint.name_of(at, release["deploy"]["endpoint"])
    standing = endpoint.need(client, endpoint_name)
    deployments = endpoint.deployments(client, endpoint_name)
    before = endpoint.traffic(standing)
    wanted = target(standing)
    if wanted is None:
        split = before
        ci.say(f"unchanged  traffic: {endpoint.shown(before)}, rolled back before from {endpoint.tags(standing)[ROLLED_BACK]}")
    else:
        check_target(wanted, deployments, endpoint_name)
        split = restore(client, endpoint_name, wanted)
        ci.say(f"updated  traffic: {endpoint.shown(before)} -> {endpoint.shown(split)}")
    bundle_id = live_bundle(split, deployments)
    if at.stage == "prod" and registry.mark_live(found := registry.connect(at, credential), model, at.stage, bundle_id):
        ci.say(f"updated  registry {found.name}: {bundle_id} is live in {at.stage}")
    if bundle_id.startswith("sha256:"):
        made = evidence.statement(
            evidence.about_bundle(model, bundle_id),
            "roll_back",
            "passed",
            workspace=at.name,
            started=started,
            figures={"seconds": round(time.monotonic() - began, 3)},
            facts={"endpoint": endpoint_name, "traffic_before": before, "traffic": split},
        )
        evidence.write(folder, made)
    return split


def live_bundle(split: Split, deployments: dict[str, dict[str, Any]]) -> str:
    """The id of the bundle that gets the largest share, or a sentence that says why none is known."""
    if not split:
        return "nothing takes traffic"
    largest = max(split, key=lambda name: (split[name], name))
    return endpoint.tags(deployments[largest]).get(BUNDLE) or f"deployment {largest}, which came from no bundle"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and roll back."""
    given = parser().parse_args(argv)
    ci.output("traffic", endpoint.describe(roll_back(given.project, given.workspace, given.evidence)))
    return 0


if __name__ == "__main__":
    command.run(main)
