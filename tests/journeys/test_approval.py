"""Production's gate, on both systems: a run waits there for people, and what they decide is what happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

import _act
from _gate import APPROVER, AUTHOR, COLLEAGUE, INITIATOR, OWNER, Gate, Refused
from _provision import people

if TYPE_CHECKING:
    from tests.journeys.conftest import World

PROMOTED = {"share": "success", "production": "success"}


@pytest.fixture
def open_to_more(world: World) -> Iterator[None]:
    """Somebody who wrote nothing of it is in the team that approves, too."""
    people(world.emulator.admin, approvers=[APPROVER, COLLEAGUE])
    yield
    people(world.emulator.admin)


def began(run: _act.Run) -> bool:
    """Whether anything of production's job ran."""
    job = run.jobs.get("production")
    return job is not None and any(step.name != "Set up job" for step in job.steps)


def test_production_waits_for_who_may_approve_it(world: World, released: _act.Run) -> None:
    """Its run is told, who is asked, and the evidence of the jobs before; nobody else's word counts, and the run goes on by theirs."""
    seen: list[Gate] = []

    def approve(gate: Gate) -> None:
        seen.append(gate)
        assert gate.open()
        for who in (INITIATOR, AUTHOR, COLLEAGUE, "a-stranger"):
            with pytest.raises(Refused):
                gate.approve(who)
        assert gate.open()
        assert [path.name for path in gate.artifacts.glob("evidence-share-*")] != []
        gate.approve(APPROVER, "go")
        assert not gate.open()

    run = world.promote(released.outputs["bundle_id"], approve=approve)
    assert run.results == PROMOTED
    [gate] = seen
    assert (gate.environment, gate.asked) == ("production", ("release-managers",))
    assert str(gate.run) in gate.page


@pytest.mark.usefixtures("open_to_more")
def test_another_member_of_the_team_may_approve(world: World, released: _act.Run) -> None:
    assert world.promote(released.outputs["bundle_id"], approve=lambda gate: gate.approve(COLLEAGUE)).results == PROMOTED


def test_who_started_the_run_may_not_approve_it(world: World, released: _act.Run) -> None:
    def approve(gate: Gate) -> None:
        with pytest.raises(Refused):
            gate.approve(APPROVER)

    with world.untouched("prod"):
        run = world.promote(released.outputs["bundle_id"], approve=approve, actor=APPROVER)
    assert run.jobs["share"].result == "success"
    assert not began(run)


@pytest.mark.parametrize(
    ("decide", "words"),
    [
        (lambda gate: gate.reject(APPROVER, "not today"), "rejected"),
        (lambda gate: None, "not approved within 30 days"),
    ],
    ids=["rejected", "nobody"],
)
def test_what_is_not_approved_does_not_begin(world: World, released: _act.Run, decide: Any, words: str) -> None:
    with world.untouched("prod"):
        run = world.promote(released.outputs["bundle_id"], approve=decide)
    assert run.jobs["share"].result == "success"
    assert not began(run)
    if "production" in run.jobs:  # GitHub fails the job; Azure DevOps fails a rejected stage and skips one that nobody decided
        job, step, errors = world.stop(run)
        assert (job, step) == ("production", "Set up job")
        assert words in errors[0]


def test_no_administrator_goes_past_the_gate(world: World, released: _act.Run) -> None:
    """Where bypassing is off, GitHub refuses; Azure DevOps has no such switch, so that production's job itself stops before it writes."""
    refused: list[str] = []

    def approve(gate: Gate) -> None:
        with pytest.raises(Refused):
            gate.bypass(INITIATOR)
        try:
            gate.bypass(OWNER, "in a hurry")
        except Refused as refusal:
            refused.append(str(refusal))

    with world.untouched("prod"):
        run = world.promote(released.outputs["bundle_id"], approve=approve)
    assert bool(refused) == (type(world).__name__ == "World")
    if refused:
        assert not began(run)
        return
    job, step, errors = world.stop(run)
    assert (job, step) == ("production", "Verify approval")
    assert "an administrator started it past the gate" in errors[0]


def test_what_the_approver_raises_ends_the_run(world: World, released: _act.Run) -> None:
    def approve(gate: Gate) -> None:
        raise LookupError("nobody is there")

    with world.untouched("prod"), pytest.raises(LookupError, match="nobody is there"):
        world.promote(released.outputs["bundle_id"], approve=approve)
