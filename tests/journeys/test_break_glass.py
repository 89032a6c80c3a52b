"""An emergency, on both systems: its own journey passes what a freeze stops, says so everywhere, and nothing else passes by it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import _act
from _gate import INITIATOR, release_manager

if TYPE_CHECKING:
    from tests.journeys.conftest import World

GATES = ".cloud/gates.yml"
WINDOW = "begins: 2025-12-19T18:00\n        until: 2026-01-05T08:00"
FROZEN = (GATES, WINDOW, "begins: 2020-01-01T00:00\n        until: 2099-01-01T00:00")
REASON = 'fares are wrong in production; it\'s `$(so)` "they" say <b>'


def statement(world: World, run: _act.Run, verb: str) -> dict[str, Any]:
    """The predicate that a verb of a run left."""
    [found] = [one["predicate"] for one in world.evidence(run).values() if one["predicate"]["verb"] == verb]
    return found


def broken(world: World, bundle_id: str, *edits: tuple[str, str, str], **options: Any) -> _act.Run:
    """Break the glass for a bundle, as a person starts it."""
    asked = {"bundle_id": bundle_id, "reason": REASON}
    return world.run(*edits, caller="break-glass", event="workflow_dispatch", inputs=asked, **options)


def test_an_emergency_passes_a_freeze_and_nothing_else_does(world: World, released: _act.Run) -> None:
    assert released.code == 0
    with world.untouched("prod"):
        stopped = world.run(FROZEN)
        job, step, errors = world.stop(stopped)
        assert (job, step) == ("share", "Check gates")
        assert "freeze: nothing is promoted during" in errors[0]
        [sealed] = [made for made in world.evidence(stopped).values() if made["predicate"]["verb"] == "seal_bundle"]
        bundle_id = f"sha256:{sealed['subject'][0]['digest']['sha256']}"

        never = broken(world, bundle_id, FROZEN, (GATES, "    break_glass:", "    # break_glass:"))
        job, step, errors = world.stop(never)
        assert (job, step) == ("declare", "Break glass")
        assert "The glass may not be broken for environment production" in errors[0]

    waited: list[str] = []

    def approve(gate: Any) -> None:
        [page] = gate.artifacts.glob("evidence-share-*/dossier/dossier.md")
        waited.append(page.read_text(encoding="utf-8"))
        release_manager(gate)

    run = broken(world, bundle_id, FROZEN, approve=approve)
    assert run.results == dict.fromkeys(("declare", "share", "production"), "success"), run.problems
    assert world.traffic("prod") == {run.outputs["deployment_name"]: 100}
    review = run.outputs["review_url"]
    assert re.search(r"/(issues|_workitems/edit)/\d+$", review)
    declared = statement(world, run, "break_glass")["facts"]
    # An agent would put a variable's value in the place of $(...), so the templates take such a place out.
    assert (declared["reason"].replace("$ (", "$("), declared["review"]) == (REASON, review)
    assert INITIATOR in declared["who"]
    [dossier] = waited
    assert "**BREAK-GLASS**: " in dossier
    assert "Risk **high**" in dossier
    for verb in ("check_gates", "verify_approval"):
        said = {one["name"]: one["says"] for one in statement(world, run, verb)["findings"]}
        assert said["freeze"].startswith("WAIVED by break-glass: nothing is promoted during"), verb
        assert review in said["break-glass"]

    with world.untouched("prod"):
        again = world.run(FROZEN, caller="own", event="workflow_dispatch", files={world.OWN: world.PROMOTE % bundle_id})
        job, step, errors = world.stop(again)
        assert (job, step) == ("share", "Check gates")
        assert "freeze: nothing is promoted during" in errors[0], "what was declared was for that run"


def test_an_emergency_still_needs_an_approver(world: World, released: _act.Run) -> None:
    with world.untouched("prod"):
        run = broken(world, released.outputs["bundle_id"], approve=lambda gate: None)
    assert run.jobs["share"].result == "success"
    assert run.results.get("production") != "success"
