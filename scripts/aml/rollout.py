"""Traffic that moves from one split to another, and the marks on the endpoint that let another run continue it, undo it, or stay away."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from aml import ci, endpoint
from aml.azure import Client, explain
from aml.command import Refusal
from aml.endpoint import Split

PREVIOUS = "previous_traffic"  # tag: the split before the last finished rollout, what roll_back goes back to
FROM, TO, RUN = "rollout_from", "rollout_to", "rollout_run"  # tags while a rollout is under way
ROLLED_BACK = "rolled_back_from"  # tag: the split that the last roll_back left


class Rollout:
    """One run's move of an endpoint's traffic to a deployment. It writes only while the endpoint says that the rollout is its own."""

    def __init__(self, client: Client, name: str, deployment: str, approved: Collection[str] | None = None) -> None:
        """`approved` are the deployments that served when the move was approved, None where nobody has to."""
        self.client, self.name, self.deployment, self.approved = client, name, deployment, approved
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
            if self.approved is not None and (others := set(self.origin) - {*self.approved, self.deployment}):
                raise Refusal(
                    f"{', '.join(sorted(others))} took over endpoint {self.name} since the approval was verified",
                    f"another release has moved its traffic: {endpoint.shown(split)}",
                    "begin a new run, whose approvers see what it would replace now",
                )
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
            kept = without_marks(tags)
            kept.pop(ROLLED_BACK, None)
            return {**kept, PREVIOUS: endpoint.shown(self.origin)} if self.origin and self.origin != self.wrote else kept

        self._write(self.wrote, settle)

    def restore(self) -> None:
        """Bring back the split from before the rollout."""
        self._write(self.origin, without_marks)

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
    except BaseException as error:  # a signal too: command.run lets only the first one interrupt, so this is not cut short
        try:
            rollout.restore()
        except Overtaken:
            raise
        except Exception as failed:
            if not rollout.begun:  # no traffic has moved
                raise error from failed
            what = (
                f"the rollout of {rollout.deployment} failed, and the old split {endpoint.shown(rollout.origin)} could not be brought back"
            )
            why = f"{_reason(error)} Endpoint {rollout.name} was last seen at {endpoint.shown(rollout.wrote)}; then: {_reason(failed)}"
            raise Refusal(what, why, f"run roll_back, unless the endpoint shows {endpoint.shown(rollout.origin)} by now") from error
        ci.say(f"restored  traffic: {endpoint.shown(rollout.wrote)}")
        raise
    return rollout.wrote


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "It was interrupted."
    explained = explain(error) if isinstance(error, Exception) else None
    return str(explained or error) or type(error).__name__


def without_marks(tags: dict[str, str]) -> dict[str, str]:
    """An endpoint's tags without those of a rollout that is under way."""
    return {key: value for key, value in tags.items() if key not in (FROM, TO, RUN)}
