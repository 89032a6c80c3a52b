"""Move an endpoint's traffic to a new deployment in steps, with smoke cases after each; on any failure the old split comes back.

The endpoint itself remembers what is under way (tags rollout_*), so a run that was killed is continued by running it again, or undone
by roll_back. A second run that finds another rollout stops; one that is overtaken notices and stops without touching anything. When all
traffic has moved, production records the bundle in the registry, and deployments older than the one to roll back to are deleted.
"""

from __future__ import annotations

import argparse
import secrets
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aml import azure, bundle, ci, command, deployment, endpoint, evidence, identity, registry, smoke, spec, workspace
from aml.azure import Client
from aml.command import Refusal
from aml.endpoint import FROM, PREVIOUS, ROLLED_BACK, RUN, TO, Split


class Rollout:
    """One run's move of an endpoint's traffic to a deployment. It writes only while the endpoint says that the rollout is its own."""

    def __init__(self, client: Client, name: str, deployment: str) -> None:
        self.client, self.name, self.deployment = client, name, deployment
        self.run = secrets.token_hex(8)
        self.begun = False
        self.origin: Split = {}
        self.wrote: Split = {}  # the split that the endpoint last showed
        self.sent: Split = {}  # the split last sent; an interruption leaves open whether it arrived

    def begin(self) -> Split:
        """Mark the endpoint with this rollout, or take over one that was killed; the split to start from.

        Raises Refusal when another deployment's rollout is under way.
        """

        def mark(document: dict[str, Any]) -> None:
            tags = endpoint.tags(document)
            split = endpoint.traffic(document)
            if self.deployment in endpoint.mirrored(document):
                raise Refusal(
                    f"deployment {self.deployment} receives mirrored traffic",
                    "Azure gives a deployment a share or a mirror, not both",
                    "take its mirror traffic away first",
                )
            if TO in tags and tags[TO] != self.deployment:
                raise Refusal(
                    f"a rollout of {tags[TO]} is under way on endpoint {self.name}: {endpoint.shown(split)}",
                    "another run is moving traffic, or one was killed half-way",
                    "wait for the end of it, or undo it with roll_back",
                )
            self.origin = endpoint.parsed(tags[FROM]) if TO in tags else split
            if TO in tags:
                ci.say(f"continuing a rollout that began at {endpoint.shown(self.origin)} and stands at {endpoint.shown(split)}")
            document["tags"] = {**tags, FROM: endpoint.shown(self.origin), TO: self.deployment, RUN: self.run}

        document, _ = endpoint.change(self.client, self.name, mark)
        self.wrote = self.sent = endpoint.traffic(document)
        self.begun = True
        return self.wrote

    def move(self, percent: int) -> Split:
        """Give the deployment a share of the traffic and check that the endpoint shows it."""
        return self._write(endpoint.advanced(self.origin, self.deployment, percent), lambda tags: tags)

    def finish(self) -> None:
        """Forget that a rollout is under way, and remember the split before it for roll_back."""

        def settle(tags: dict[str, str]) -> dict[str, str]:
            kept = _without_rollout(tags)
            kept.pop(ROLLED_BACK, None)
            return {**kept, PREVIOUS: endpoint.shown(self.origin)} if self.origin and self.origin != self.wrote else kept

        self._write(self.wrote, settle)

    def restore(self) -> None:
        """Bring back the split from before the rollout."""
        self._write(self.origin, _without_rollout)

    def _write(self, split: Split, settle: Callable[[dict[str, str]], dict[str, str]]) -> Split:
        def edit(document: dict[str, Any]) -> None:
            standing = endpoint.traffic(document)
            mine = endpoint.tags(document).get(RUN) == self.run
            if not mine and not self.begun:
                return  # interrupted before the first write arrived: there is nothing to bring back
            if not mine or (self.begun and standing not in (self.wrote, sent)):
                raise Overtaken(
                    f"somebody else changed endpoint {self.name}: it stands at {endpoint.shown(standing)}, "
                    f"this run had left it at {endpoint.shown(self.wrote)}",
                    "two runs, or a person, are moving the traffic of one endpoint",
                    "find out who; then run this again, or roll_back. This run has stopped and changes nothing more",
                )
            document["properties"]["traffic"] = split
            document["tags"] = settle(endpoint.tags(document))

        sent, self.sent = self.sent, split
        document, _ = endpoint.change(self.client, self.name, edit)
        self.wrote = endpoint.traffic(document)
        return self.wrote


class Overtaken(Refusal):
    """Somebody else writes to the endpoint, so nothing may be restored."""


def roll_out(rollout: Rollout, steps: Sequence[int], pause_seconds: float, check: Callable[[int], None]) -> Split:
    """Move the traffic step by step, calling `check` with the share after each; restore the old split on any failure or interruption."""
    try:
        standing = rollout.begin()
        if not {name for name in rollout.origin if name != rollout.deployment}:
            ci.say("no other deployment has traffic, so all of it moves at once")
            steps = [100]
        for percent in steps:
            if percent < standing.get(rollout.deployment, 0):
                continue
            ci.say(f"traffic: {endpoint.shown(rollout.move(percent))}")
            if pause_seconds and percent < 100:
                time.sleep(pause_seconds)
            check(percent)
        rollout.finish()
    except Overtaken:
        raise
    except BaseException:
        # A CI system that cancels a job sends SIGINT and soon SIGTERM: the second one must not leave the traffic half-way.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            rollout.restore()
            ci.say(f"restored  traffic: {endpoint.shown(rollout.wrote)}")
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        raise
    return rollout.wrote


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


def _without_rollout(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key not in (FROM, TO, RUN)}


def shift(project: Path, name: str, deployment: str, folder: Path) -> Split:
    """Move all traffic of the project's endpoint to the deployment; the split at the end."""
    started, began = evidence.now(), time.monotonic()
    at = workspace.load(project, name)
    release = spec.release(project)
    model, settings = release["model"]["name"], release["deploy"]
    cases = spec.smoke(project, settings["smoke"])
    credential = identity.sign_in(at)
    client = azure.management(at, credential)
    endpoint_name = endpoint.name_of(at, settings["endpoint"])
    standing = endpoint.need(client, endpoint_name)
    found = deployment.need(client, endpoint_name, deployment)
    bundle_id = bundle.checked_id(endpoint.tags(found)[deployment.BUNDLE])
    champions = registry.connect(at, credential) if at.stage == "prod" else None
    seen: list[dict[str, Any]] = []

    if endpoint.traffic(standing) == {deployment: 100} and TO not in endpoint.tags(standing):
        ci.say(f"unchanged  traffic: {endpoint.shown({deployment: 100})}")
        split = {deployment: 100}
    else:
        if champions:
            registry.check_may_mark(champions, model)
        caller = smoke.Caller(client, standing, credential)

        def check(percent: int) -> None:
            results = smoke.run(caller, cases, "", deployment.at_a_time(found)) + smoke.run(caller, cases, deployment, deployment.at_a_time(found))
            slowest = max(result.seconds for result in results)
            failed = [result for result in results if not result.passed]
            seen.append({"percent": percent, "passed": not failed, "cases": len(results), "slowest_seconds": slowest})
            for line in smoke.lines(failed):
                ci.say(line)
            smoke.refuse_failures(results, f"endpoint {endpoint_name} with {percent} % for {deployment}")
            ci.say(f"passed  {len(results)} smoke cases at {percent} % (slowest {slowest:.2f} s)")

        try:
            split = roll_out(Rollout(client, endpoint_name, deployment), settings["rollout"]["steps"], settings["rollout"]["pause_seconds"], check)
        except Refusal as refusal:
            leave(folder, model, bundle_id, at.name, started, began, "failed", seen, {"endpoint": endpoint_name, "error": str(refusal)})
            raise
    if champions and registry.mark_live(champions, model, at.stage, bundle_id):
        ci.say(f"updated  registry {champions.name}: {bundle_id} is live in {at.stage}")
    standing = endpoint.need(client, endpoint_name)
    for old in superfluous(standing, endpoint.deployments(client, endpoint_name), deployment):
        azure.retrying(lambda old=old: client.delete(f"onlineEndpoints/{endpoint_name}/deployments/{old}"))  # type: ignore[misc]
        ci.say(f"deleted  deployment {old}, which is older than the one to roll back to")
    facts = {"endpoint": endpoint_name, "deployment": deployment, "traffic": split, PREVIOUS: endpoint.tags(standing).get(PREVIOUS)}
    leave(folder, model, bundle_id, at.name, started, began, "passed", seen, facts)
    return split


def leave(
    folder: Path, model: str, bundle_id: str, name: str, started: str, began: float, verdict: str, seen: list[dict[str, Any]], facts: dict[str, Any]
) -> None:
    """Leave evidence of what happened at each step."""
    figures = {"seconds": round(time.monotonic() - began, 3)}
    subject = evidence.about_bundle(model, bundle_id)
    made = evidence.statement(
        subject, "shift_traffic", verdict, workspace=name, started=started, figures=figures, findings=seen, facts=facts
    )
    evidence.write(folder, made)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    command.argument(made, "--deployment-name", required=True, help="Name of the deployment, an output of deploy_online.")
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and move the traffic."""
    given = parser().parse_args(argv)
    split = shift(given.project, given.workspace, given.deployment_name, given.evidence)
    ci.output("traffic", endpoint.describe(split))
    return 0


if __name__ == "__main__":
    command.run(main)
