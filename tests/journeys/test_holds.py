"""Holds and exports by their own journeys, on both systems: what a release manager and an auditor start, where nobody signs in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import _act
from _gate import APPROVER, INITIATOR, Gate, release_manager
from aml import ledger, workspace

if TYPE_CHECKING:
    from tests.journeys.conftest import World

REASON = 'the data of May are wrong; it\'s `so` "they" say <b>'


def change(world: World, caller: str, bundle_id: str, reason: str, **options: Any) -> dict[str, Any]:
    """Hold a bundle, or let it go; the facts of the one statement, once it is in the ledger."""
    run = world.run(caller=caller, event="workflow_dispatch", inputs={"bundle_id": bundle_id, "reason": reason, **options})
    assert list(run.results.values()) == ["success"], run.problems
    assert run.outputs["hold"] == "updated"
    (kept,) = run.artifacts.glob("evidence-*")
    names = {path.name for path in kept.iterdir()}
    (name,) = {name for name in names if name.endswith(".dsse.json")}
    statement = json.loads((kept / name.replace(".dsse", "")).read_bytes())
    at = workspace.load(world.place / "example", statement["predicate"]["workspace"])
    assert [head.ledger for head in ledger.heads(kept)] == [ledger.id_of(at)]
    assert statement["subject"][0]["digest"]["sha256"] == bundle_id.removeprefix("sha256:")
    facts: dict[str, Any] = statement["predicate"]["facts"]
    return facts


def test_a_held_bundle_is_not_shared_until_it_is_let_go(world: World, released: _act.Run) -> None:
    bundle_id = released.outputs["bundle_id"]
    with world.untouched("dev", "prod"):
        held = change(world, "hold", bundle_id, REASON)
        assert held["reason"] == REASON
        assert INITIATOR in held["who"]
        job, step, errors = world.stop(world.promote(bundle_id))
        assert (job, step) == ("share", "Share model")
        assert f"bundle {bundle_id} is held in dev. {held['who']} held it at" in errors[0]
        assert REASON in errors[0]
        assert change(world, "release-hold", bundle_id, "they are right")["reason"] == "they are right"
        again = world.promote(bundle_id, approve=lambda gate: None)
    assert again.jobs["share"].result == "success"


def test_production_is_held_behind_its_own_gate(world: World, released: _act.Run) -> None:
    """The job that writes production's ledger is one of production's environment, whatever the caller is for."""
    bundle_id, gates = released.outputs["bundle_id"], list[str]()

    def approve(gate: Gate) -> None:
        gates.append(gate.environment)
        release_manager(gate)

    asked = {"bundle_id": bundle_id, "reason": "a customer called", "workspace": "prod"}
    for caller in ("hold", "release-hold"):
        run = world.run(caller=caller, event="workflow_dispatch", inputs=asked, approve=approve)
        assert run.outputs["hold"] == "updated", run.problems
    assert gates == ["production", "production"]


def test_an_export_tells_of_every_release_with_its_chain(world: World, released: _act.Run) -> None:
    """Each of two principals reads its own ledger; what dev's job read proves itself in production's."""
    run = world.run(caller="export", event="workflow_dispatch")
    assert run.results == {"ledger": "success", "export": "success"}, [line for job in run.jobs.values() for line in job.lines]
    (file,) = run.artifacts.glob("evidence-export-prod-*/releases-prod.json")
    document = json.loads(file.read_bytes())
    assert document["problems"] == []
    first = document["releases"][0]
    assert (first["bundle"], first["deployment"]) == (released.outputs["bundle_id"], released.outputs["deployment_name"])
    assert {link["link"]: link["workspace"] for link in first["chain"]} == {
        **dict.fromkeys(("job", "gate", "bundle", "trial", "share"), "dev"),
        **dict.fromkeys(("approval", "verify", "smoke", "rollout"), "prod"),
    }
    (approval,) = [link for link in first["chain"] if link["link"] == "approval"]
    assert [one["for"] for one in approval["approvers"]] == ["release-managers"]
    assert approval["approvers"][0]["who"].partition("@")[0] == APPROVER
    assert "**Complete: every link is there" in file.with_suffix(".md").read_text(encoding="utf-8")
    assert "Releases in prod" in run.jobs["export"].summary
    (kept,) = run.artifacts.glob("evidence-ledger-dev-*/ledgers/dev/entries")
    assert len(list(kept.iterdir())) == document["ledgers"]["dev"]["entries"]
    assert not list(run.artifacts.glob("evidence-ledger-dev-*/ledgers/prod")), "dev's principal has no right there"
