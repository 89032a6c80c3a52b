"""Move an endpoint's traffic to a new deployment in steps, with smoke cases after each; on any failure the old split comes back.

The endpoint itself remembers what is under way (tags rollout_*), so a run that was killed is continued by running it again, or undone
by roll_back. A second run that finds another rollout stops; one that is overtaken notices and stops without touching anything. When all
traffic has moved, production records the bundle in the registry, and deployments older than the one to roll back to are deleted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aml import approval, azure, bundle, ci, command, deployment, endpoint, evidence, holds, identity, registry, smoke, spec, workspace
from aml.endpoint import Split
from aml.rollout import PREVIOUS, TO, Rollout, roll_out


def shift(project: Path, name: str, to: str, folder: Path, bundle_id: str = "") -> Split:
    """Move all traffic of the project's endpoint to the deployment `to`; the split at the end."""
    started, began = evidence.now(), time.monotonic()
    at = workspace.load(project, name)
    release = spec.release(project)
    model, settings = release["model"]["name"], release["deploy"]
    cases = spec.smoke(project, settings["smoke"])
    credential = identity.sign_in(at)
    client = azure.management(at, credential)
    endpoint_name = endpoint.name_of(at, settings["endpoint"])
    standing = endpoint.need(client, endpoint_name)
    found = deployment.need(client, endpoint_name, to, bundle_id)
    bundle_id = bundle.checked_id(endpoint.tags(found)[deployment.BUNDLE])  # the one asked for, if one was
    champions = registry.connect(at, credential) if at.stage == "prod" else None
    steps: list[dict[str, Any]] = []

    def leave(verdict: str, **facts: Any) -> None:
        subject, figures = evidence.about_bundle(model, bundle_id), {"seconds": round(time.monotonic() - began, 3)}
        facts = {"endpoint": endpoint_name, "deployment": to, **facts}
        evidence.write(
            folder,
            evidence.statement(
                subject, "shift_traffic", verdict, workspace=at.name, started=started, figures=figures, findings=steps, facts=facts
            ),
        )

    if endpoint.traffic(standing) == {to: 100} and TO not in endpoint.tags(standing):
        split = endpoint.traffic(standing)
        ci.say(f"unchanged  traffic: {endpoint.shown(split)}")
    else:
        holds.refuse(at, client, credential, bundle_id)
        approved = approval.require(folder, at, bundle_id).get("serving", {}) if at.stage == "prod" else None
        if champions:
            registry.check_may_mark(champions, model)
        caller = smoke.Caller(client, standing, credential)

        def check(percent: int) -> None:
            # Before all of it has moved, the split also leads to what is being replaced; that is not on trial.
            side, only = deployment.at_a_time(found), to if percent < 100 else ""
            results = smoke.run(caller, cases, "", side, only) + smoke.run(caller, cases, to, side)
            steps.append(checked(results, percent))
            smoke.refuse_failures(results, f"endpoint {endpoint_name} with {percent} % for {to}")

        try:
            rollout = Rollout(client, endpoint_name, to, approved)
            split = roll_out(rollout, settings["rollout"]["steps"], settings["rollout"]["pause_seconds"], check)
        except BaseException as error:
            leave("failed", error=str(error) or type(error).__name__)
            raise
        ci.say(f"updated  traffic: {endpoint.shown(split)}")
    if champions and registry.mark_live(champions, model, at.stage, bundle_id):
        ci.say(f"updated  registry {champions.name}: {bundle_id} is live in {at.stage}")
    standing = endpoint.need(client, endpoint_name)
    for old in superfluous(standing, endpoint.deployments(client, endpoint_name), to):
        azure.retrying(lambda old=old: client.delete(f"onlineEndpoints/{endpoint_name}/deployments/{old}"))  # type: ignore[misc]
        ci.say(f"deleted  deployment {old}, which is older than the one to roll back to")
    leave("passed", traffic=split, **{PREVIOUS: endpoint.tags(standing).get(PREVIOUS)})
    return split


def checked(results: Sequence[smoke.Result], percent: int) -> dict[str, Any]:
    """Print what came of the smoke cases at one step; the finding for the evidence."""
    failed = [result for result in results if not result.passed]
    slowest = max(result.seconds for result in results)
    for line in smoke.lines(failed):
        ci.say(line)
    passed = f"{len(results) - len(failed)} of {len(results)} smoke cases"
    ci.say(f"{'FAILED' if failed else 'passed'}  {passed} at {percent} % (slowest {slowest:.2f} s)")
    return {"percent": percent, "passed": not failed, "cases": len(results), "slowest_seconds": round(slowest, 3)}


def superfluous(standing: dict[str, Any], deployments: dict[str, dict[str, Any]], live: str) -> list[str]:
    """Deployments that deploy_online made before the live one and that nothing needs any more: no traffic, no mirror, no way back."""
    needed = {live, *endpoint.traffic(standing), *endpoint.mirrored(standing)}
    needed |= set(endpoint.parsed(endpoint.tags(standing).get(PREVIOUS, "none")))
    born = {name: (found.get("systemData") or {}).get("createdAt", "") for name, found in deployments.items()}
    return sorted(
        name
        for name, found in deployments.items()
        if name not in needed and deployment.BUNDLE in endpoint.tags(found) and born[name] and born[name] < born[live]
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    deployment.arguments(made)
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and move the traffic."""
    given = parser().parse_args(argv)
    split = shift(given.project, given.workspace, given.deployment_name, given.evidence, given.bundle_id)
    ci.output("traffic", endpoint.describe(split))
    return 0


if __name__ == "__main__":
    command.run(main)
