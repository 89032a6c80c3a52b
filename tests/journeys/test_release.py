"""The release journey, from the example's own workflow to production, and every way in which it must stop before that."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

import _act

if TYPE_CHECKING:
    from tests.journeys.conftest import World

EVERY_JOB = dict.fromkeys(("validate", "train", "deploy", "share", "production"), "success")
SCORE = "code/score/score.py"


def test_a_commit_reaches_production(world: World, released: _act.Run) -> None:
    assert released.problems == []
    assert released.results == EVERY_JOB
    assert released.succeeded
    outputs = released.outputs
    assert outputs["bundle_id"].startswith("sha256:")
    assert outputs["gate_verdict"] == "passed"
    for workspace in ("dev", "prod"):
        assert list(world.traffic(workspace).values()) == [100]
    assert world.traffic("prod") == {outputs["deployment_name"]: 100}


def test_production_is_told_apart_by_name_and_identity(released: _act.Run) -> None:
    names = {job: released.jobs[job].outputs["endpoint_name"] for job in ("deploy", "production")}
    assert names == {"deploy": "flight-delay-dev", "production": "flight-delay"}


def test_the_same_bundle_is_in_production_as_was_tried_in_dev(world: World, released: _act.Run) -> None:
    tags = {workspace: next(iter(world.endpoint(workspace)["deployments"].values()))["tags"] for workspace in ("dev", "prod")}
    assert released.outputs["bundle_id"] in tags["dev"].values()
    assert released.outputs["bundle_id"] in tags["prod"].values()


def test_every_verb_that_found_something_out_left_evidence_about_it(world: World, released: _act.Run) -> None:
    found = world.evidence(released)
    verbs = {made["predicate"]["verb"] for made in found.values()}
    assert verbs >= {"check_gate", "register_model", "seal_bundle", "verify_bundle", "smoke_test", "shift_traffic"}
    assert verbs >= {"check_gates", "share_model", "compile_dossier", "verify_approval"}
    assert {made["predicate"]["verdict"] for made in found.values()} == {"passed"}
    bundle = released.outputs["bundle_id"].removeprefix("sha256:")
    about = {made["subject"][0]["digest"]["sha256"] for name, made in found.items() if not name.startswith("evidence-train")}
    assert about == {bundle}


def test_every_statement_is_signed_and_the_dossier_knows_all_that_was_proven(released: _act.Run) -> None:
    kept = {path.name for path in released.artifacts.glob("evidence-*/*.json") if "_type" in json.loads(path.read_text(encoding="utf-8"))}
    assert {path.name for path in released.artifacts.glob("evidence-*/*.dsse.json")} == {name[:-5] + ".dsse.json" for name in kept}
    (path,) = released.artifacts.glob("evidence-share-*/dossier/dossier.json")
    dossier = json.loads(path.read_text(encoding="utf-8"))
    assert {one["state"] for one in dossier["proof"]} == {"passed"}
    assert {one["signature"] for one in dossier["proof"]} == {"signed", "of this job"}
    assert dossier["control"]["gates"]
    approved = next(iter(released.artifacts.glob("evidence-production-*/verify_approval-prod.json")))
    facts = json.loads(approved.read_text(encoding="utf-8"))["predicate"]["facts"]
    assert facts["dossier"] == released.outputs["dossier_id"]
    assert len(facts["approvers"]) == 1


def test_the_second_run_changes_nothing(world: World, released: _act.Run) -> None:
    with world.untouched("dev", "prod"):
        again = world.run()
    assert again.results == EVERY_JOB
    assert world.said(again) == {"unchanged"}
    assert again.outputs["job_reused"] == "true"
    for output in ("job_name", "model_version", "bundle_id", "deployment_name", "traffic"):
        assert again.outputs[output] == released.outputs[output]


@pytest.mark.parametrize("world", ["github"], indirect=True, scope="session")  # what retries is the same on both
def test_bad_weather_is_waited_out(world: World, released: _act.Run) -> None:
    """Too many requests, a service that is down for a moment, a cut connection: not the project's fault, and nothing is done twice."""
    effects = [(2, {"status": 429, "retry_after": 0, "times": 2}), (9, {"status": 503, "times": 2}), (15, {"reset": True, "times": 1})]
    with world.untouched("dev", "prod"):
        for after, effect in effects:
            world.emulator.fault(host="management.azure.com", after=after, **effect)
        run = world.run()
        assert [fault["hit"] for fault in world.emulator.ask("GET", "/status")["faults"]] == [2, 2, 1]
    assert run.results == EVERY_JOB
    assert world.said(run) == {"unchanged"}


def test_a_gate_that_says_no_stops_the_release(world: World, released: _act.Run) -> None:
    with world.untouched("dev", "prod"):
        run = world.run((".cloud/release.yml", "{metric: roc_auc, min: 0.67}", "{metric: roc_auc, min: 0.99}"))
    assert run.results == {"validate": "success", "train": "failure"}
    job, step, errors = world.stop(run)
    assert (job, step) == ("train", "Check gate")
    assert len(errors) == 1
    assert "roc_auc" in errors[0]
    assert "0.99" in errors[0]
    assert run.outputs["gate_verdict"] == "failed"
    [gate] = [made for made in world.evidence(run).values() if made["predicate"]["verb"] == "check_gate"]
    assert gate["predicate"]["verdict"] == "failed"


def test_a_broken_spec_stops_before_anyone_signs_in(world: World, released: _act.Run) -> None:
    with world.untouched("dev", "prod"):
        run = world.run((".cloud/release.yml", "thresholds:", "treshold:"))
    assert run.results == {"validate": "failure"}
    job, step, errors = world.stop(run)
    assert (job, step) == ("validate", "Validate project")
    assert any(".cloud/release.yml:" in error and "treshold" in error and "thresholds" in error for error in errors)


def test_a_scoring_script_that_does_not_load_stops_in_dev(world: World, released: _act.Run) -> None:
    with world.untouched("dev", "prod"):
        run = world.run(
            (SCORE, "from __future__ import annotations\n", "from __future__ import annotations\nimport nothing_of_that_name\n")
        )
    assert run.results == {"validate": "success", "train": "success", "deploy": "failure"}
    job, step, errors = world.stop(run)
    assert (job, step) == ("deploy", "Deploy online")
    assert len(errors) == 1
    assert "nothing_of_that_name" in "\n".join(run.jobs[job].step(step).lines), "the container's log is shown"


def test_an_answer_that_is_wrong_stops_in_dev(world: World, released: _act.Run) -> None:
    cases = "cases:\n  - name: an answer that never comes\n    request: {input_data: []}\n    expect: {status: 299}\n"
    with world.untouched("prod"):
        run = world.run(files={"tests/smoke/cases.yml": cases})
    job, step, errors = world.stop(run)
    assert (job, step) == ("deploy", "Smoke test")
    assert "an answer that never comes" in "\n".join(errors)


def test_production_that_answers_badly_gets_its_old_traffic_back(world: World, released: _act.Run) -> None:
    """Only production fails: the new deployment answers the smoke cases, then breaks under the first share of traffic."""
    before = world.traffic("prod")
    world.emulator.fault(host="flight-delay.westeurope.inference.ml.azure.com", path="/score", after=12, times=0, status=500)
    run = world.run((SCORE, "from __future__ import annotations\n", "from __future__ import annotations\n# another version\n"))
    job, step, errors = world.stop(run)
    assert (job, step) == ("production", "Shift traffic"), "nine smoke cases without traffic pass"
    assert len(errors) == 1
    assert world.traffic("prod") == before
    assert set(world.traffic("dev")) != set(before), "dev took it"


def test_a_cancelled_rollout_gives_the_old_traffic_back(world: World, released: _act.Run) -> None:
    before = world.traffic("prod")
    cancelled: list[str] = []

    def cancel(event: _act.Event) -> None:
        at_production = event.job.id == "production" and event.step is not None and event.step.name == "Shift traffic"
        if at_production and event.kind == "line" and "10 %" in event.text and not cancelled:
            cancelled.append(event.text)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        world.run((SCORE, "from __future__ import annotations\n", "from __future__ import annotations\n# a third version\n"), watch=cancel)
    assert cancelled
    assert world.traffic("prod") == before


def test_a_pull_request_is_validated_without_a_token(world: World, released: _act.Run) -> None:
    with world.untouched("dev", "prod"):
        run = world.run(caller="pull-request", event="pull_request")
    assert run.results == {"validate": "success"}
    assert run.succeeded


def test_a_change_goes_out_and_comes_back(world: World, released: _act.Run) -> None:
    """Another scoring script is another bundle and deployment; traffic moves to it, and rollback brings the one before back."""
    before = world.traffic("prod")
    run = world.run((SCORE, "from __future__ import annotations\n", "from __future__ import annotations\n# the next version\n"))
    assert run.results == EVERY_JOB
    assert run.outputs["bundle_id"] != released.outputs["bundle_id"]
    assert run.outputs["model_version"] == released.outputs["model_version"], "the model is the same"
    after = world.traffic("prod")
    assert after == {run.outputs["deployment_name"]: 100} != before
    back = world.run(caller="rollback", event="workflow_dispatch")
    assert back.results == {"rollback": "success"}
    assert world.traffic("prod") == before
    assert json.loads(back.outputs["traffic"]) == before
