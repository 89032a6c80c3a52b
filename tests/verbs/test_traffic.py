"""Traffic in steps and back again: failures, signals, kills and two runs at once, on the emulator."""

from __future__ import annotations

import signal
import uuid
from typing import Any

import pytest


@pytest.fixture(scope="module")
def name() -> str:
    """One name for all tests here, so that what one deployed is found by the next."""
    return f"traffic{uuid.uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def deployed_once(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without traffic, and leave the deployments for the next test."""
    project.reset()
    monkeypatch.setattr(project, "clear", lambda: None)


@pytest.fixture
def live(project: Any) -> tuple[str, str]:
    """One deployment with all traffic, and a newer one beside it."""
    _, old = project.deployed(factor=2)
    assert not project.run("shift_traffic", deployment_name=old).refusal
    _, new = project.deployed(factor=3)
    assert project.traffic() == {old: 100}
    return old, new


def rollout(project: Any, steps: str, pause_seconds: float) -> None:
    """Other steps than the sealed ones: the rollout is read from the checkout."""
    project.edit(".cloud/release.yml", "rollout: {steps: [10, 50, 100]}", f"rollout: {{steps: {steps}, pause_seconds: {pause_seconds}}}")


def marks(project: Any) -> dict[str, str]:
    return {key: value for key, value in project.endpoint()["tags"].items() if "roll" in key or "previous" in key}


def test_traffic_moves_in_steps_and_rolls_back_once(project: Any, live: tuple[str, str]) -> None:
    old, new = live
    moved = project.run("shift_traffic", deployment_name=new)
    assert [line for line in moved.out.splitlines() if line.startswith("traffic: ")][:3] == [
        f"traffic: {old}=90 {new}=10",
        f"traffic: {new}=50 {old}=50" if new < old else f"traffic: {old}=50 {new}=50",
        f"traffic: {new}=100",
    ]
    assert marks(project) == {"previous_traffic": f"{old}=100"}
    left = project.evidence("shift_traffic")
    assert [(step["percent"], step["passed"]) for step in left["findings"]] == [(10, True), (50, True), (100, True)]
    assert project.run("roll_back").output("traffic") == f'{{"{old}":100}}'
    assert marks(project) == {"rolled_back_from": f"{new}=100"}
    assert "unchanged  traffic" in project.run("roll_back").out
    assert project.traffic() == {old: 100}
    # And forward again.
    assert not project.run("shift_traffic", deployment_name=new).refusal
    assert marks(project) == {"previous_traffic": f"{old}=100"}


def test_smoke_cases_that_fail_half_way_bring_the_old_split_back(project: Any, live: tuple[str, str]) -> None:
    old, _ = live
    before = project.endpoint()
    _, bad = project.deployed(factor=99)
    moved = project.run("shift_traffic", deployment_name=bad)
    assert f"smoke cases failed at endpoint {project.name}-dev with 10 % for {bad}" in moved.refusal
    assert f"restored  traffic: {old}=100" in moved.out
    after = project.endpoint()
    assert project.traffic() == {old: 100}
    assert after["tags"] == before["tags"]
    assert after["identity"] == before["identity"]
    left = project.evidence("shift_traffic")
    assert (left["verdict"], left["findings"][0]["passed"]) == ("failed", False)


def test_a_release_that_corrects_what_the_old_model_answers_badly_goes_live(project: Any) -> None:
    cases = project.folder / "tests/smoke/cases.yml"
    mild = cases.read_text()
    project.edit("tests/smoke/cases.yml", "max: 10", "max: 1000")
    _, bad = project.deployed(factor=99)
    assert not project.run("shift_traffic", deployment_name=bad).refusal
    cases.write_text(mild)
    _, better = project.deployed(factor=3)
    assert not project.run("shift_traffic", deployment_name=better).refusal
    assert project.traffic() == {better: 100}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_cancelled_brings_the_old_split_back(project: Any, live: tuple[str, str], number: int) -> None:
    old, new = live
    rollout(project, "[30, 100]", 600)
    with project.started("shift_traffic", deployment_name=new) as process:
        project.read_until(process, f"{new}=30")
        assert project.traffic() == {old: 70, new: 30}
        process.send_signal(number)
        process.send_signal(signal.SIGINT)  # impatience must not cut the restoring short
        printed = process.stdout.read()
        assert process.wait(60) in (130, 143), printed
    assert f"restored  traffic: {old}=100" in printed
    assert "Traceback" not in printed
    assert project.traffic() == {old: 100}
    assert marks(project) == {}


def test_a_run_that_was_killed_is_continued_by_the_next_one(project: Any, live: tuple[str, str]) -> None:
    old, new = live
    rollout(project, "[30, 100]", 600)
    with project.started("shift_traffic", deployment_name=new) as process:
        project.read_until(process, f"{new}=30")
        process.kill()
        process.wait()
    assert project.traffic() == {old: 70, new: 30}
    project.edit(".cloud/release.yml", "pause_seconds: 600", "pause_seconds: 0")
    moved = project.run("shift_traffic", deployment_name=new)
    assert f"continuing a rollout that began at {old}=100 and stands at {old}=70 {new}=30" in moved.out
    assert moved.output("traffic") == f'{{"{new}":100}}'
    assert marks(project) == {"previous_traffic": f"{old}=100"}


def test_a_run_that_was_killed_is_undone_by_roll_back(project: Any, live: tuple[str, str]) -> None:
    old, new = live
    rollout(project, "[30, 100]", 600)
    with project.started("shift_traffic", deployment_name=new) as process:
        project.read_until(process, f"{new}=30")
        process.kill()
        process.wait()
    _, third = project.deployed(factor=4)
    refused = project.run("shift_traffic", deployment_name=third).refusal
    assert f"a rollout of {new} is under way on endpoint {project.name}-dev" in refused
    assert project.run("roll_back").output("traffic") == f'{{"{old}":100}}'
    assert marks(project) == {"rolled_back_from": f"{old}=70 {new}=30"}
    assert "unchanged" in project.run("roll_back").out


def test_the_later_of_two_runs_takes_over_and_the_earlier_one_stops(project: Any, live: tuple[str, str]) -> None:
    old, new = live
    rollout(project, "[30, 60, 100]", 2)
    with project.started("shift_traffic", deployment_name=new) as process:
        project.read_until(process, f"{new}=30")
        project.edit(".cloud/release.yml", "pause_seconds: 2", "pause_seconds: 0")
        assert not project.run("shift_traffic", deployment_name=new).refusal
        printed = process.stdout.read()
        assert process.wait(60) == 1
    assert f"somebody else changed endpoint {project.name}-dev" in printed
    assert "restored" not in printed
    assert project.traffic() == {new: 100}
    assert marks(project) == {"previous_traffic": f"{old}=100"}


def test_a_person_who_changes_the_split_meanwhile_is_not_overruled(project: Any, live: tuple[str, str]) -> None:
    old, new = live
    rollout(project, "[30, 100]", 2)
    with project.started("shift_traffic", deployment_name=new) as process:
        project.read_until(process, f"{new}=30")
        found = project.endpoint()
        found["properties"]["traffic"] = {old: 95, new: 5}
        body = {key: found[key] for key in ("location", "tags", "identity", "properties")}
        project.arm("PUT", f"onlineEndpoints/{project.name}-dev", body)
        printed = process.stdout.read()
        assert process.wait(60) == 1
    assert f"it stands at {old}=95 {new}=5, this run had left it at {old}=70 {new}=30" in printed
    assert project.traffic() == {old: 95, new: 5}


def test_mirror_traffic_tags_and_identity_survive_a_rollout(project: Any, live: tuple[str, str]) -> None:
    old, new = live
    _, shadow = project.deployed(factor=4)
    found = project.endpoint()
    found["tags"]["cost-centre"] = "42"
    found["properties"]["mirrorTraffic"] = {shadow: 20}
    project.arm("PUT", f"onlineEndpoints/{project.name}-dev", {key: found[key] for key in ("location", "tags", "identity", "properties")})
    before = project.endpoint()
    assert not project.run("shift_traffic", deployment_name=new).refusal
    assert not project.run("roll_back").refusal
    after = project.endpoint()
    for part in ("mirrorTraffic", "authMode", "description", "publicNetworkAccess"):
        assert after["properties"][part] == before["properties"][part]
    assert after["identity"] == before["identity"]
    assert after["tags"] == {**before["tags"], "rolled_back_from": f"{new}=100"}
    assert "receives mirrored traffic" in project.run("shift_traffic", deployment_name=shadow).refusal
    assert project.traffic() == {old: 100}


def test_only_the_one_to_roll_back_to_is_kept(project: Any, live: tuple[str, str]) -> None:
    first, second = live
    others = {found["name"] for found in project.arm("GET", f"onlineEndpoints/{project.name}-dev/deployments")["value"]} - {first, second}
    for other in others:
        project.arm("DELETE", f"onlineEndpoints/{project.name}-dev/deployments/{other}")
    found = project.arm("GET", f"onlineEndpoints/{project.name}-dev/deployments/{first}")
    by_hand = {key: found[key] for key in ("location", "sku", "properties")}
    project.arm("PUT", f"onlineEndpoints/{project.name}-dev/deployments/blue", by_hand)
    assert not project.run("shift_traffic", deployment_name=second).refusal
    _, third = project.deployed(factor=4)
    moved = project.run("shift_traffic", deployment_name=third)
    assert f"deleted  deployment {first}" in moved.out
    there = {found["name"] for found in project.arm("GET", f"onlineEndpoints/{project.name}-dev/deployments")["value"]}
    assert there == {second, third, "blue"}


def test_there_is_nothing_to_roll_back_to(project: Any) -> None:
    _, only = project.deployed()
    assert "has no earlier split to go back to" in project.run("roll_back").refusal
    assert not project.run("shift_traffic", deployment_name=only).refusal
    assert "has no earlier split to go back to" in project.run("roll_back").refusal


def test_the_one_to_roll_back_to_is_gone(project: Any, live: tuple[str, str]) -> None:
    old, new = live
    assert not project.run("shift_traffic", deployment_name=new).refusal
    project.arm("DELETE", f"onlineEndpoints/{project.name}-dev/deployments/{old}")
    refused = project.run("roll_back").refusal
    assert f"can't go back to {old}=100. deployment {old} is gone" in refused
    assert project.traffic() == {new: 100}


def test_azure_in_bad_weather_while_traffic_moves(project: Any, live: tuple[str, str], azure: Any) -> None:
    _, new = live
    azure.fault(path="*/onlineEndpoints/*", method="PUT", status=503, times=1)
    azure.fault(path="*/onlineEndpoints/*", method="PUT", reset=True, after=1, times=1)
    azure.fault(path="*/onlineEndpoints/*", method="GET", status=429, retry_after=0, after=2, times=2)
    assert not project.run("shift_traffic", deployment_name=new).refusal
    assert project.traffic() == {new: 100}


def test_azure_that_refuses_half_way_brings_the_old_split_back(project: Any, live: tuple[str, str], azure: Any) -> None:
    old, new = live
    azure.fault(path="*/onlineEndpoints/*", method="PUT", status=400, code="BadRequest", after=2, times=1)
    moved = project.run("shift_traffic", deployment_name=new)
    assert "Azure answered 400" in moved.refusal
    assert f"restored  traffic: {old}=100" in moved.out
    assert project.traffic() == {old: 100}
    assert marks(project) == {}


def test_a_restore_that_fails_too_is_told_with_the_reason_and_the_way_back(project: Any, live: tuple[str, str], azure: Any) -> None:
    old, _ = live
    _, bad = project.deployed(factor=99)
    azure.fault(path="*/onlineEndpoints/*", method="PUT", status=400, code="BadRequest", after=2, times=0)
    refused = project.run("shift_traffic", deployment_name=bad).refusal
    assert f"the rollout of {bad} failed, and the old split {old}=100 could not be brought back" in refused
    assert f"smoke cases failed at endpoint {project.name}-dev with 10 % for {bad}" in refused
    assert f"was last seen at {old}=90 {bad}=10; then: Azure answered 400" in refused
    assert "Fix: run roll_back" in refused
    azure.ask("DELETE", "/faults")
    assert project.run("roll_back").output("traffic") == f'{{"{old}":100}}'


def test_production_traffic_does_not_move_where_the_champion_can_not_be_recorded(project: Any, azure: Any) -> None:
    first = project.bundle(factor=2)
    assert not project.run("share_model", bundle_id=first).refusal
    project.approved(first)
    deployment = project.run("deploy_online", "prod", bundle_id=first).output("deployment_name")
    azure.fault(path=f"*/registries/mlr-verbs/models/{project.name}", method="PUT", status=403, code="AuthorizationFailed", times=0)
    assert "403" in project.run("shift_traffic", "prod", deployment_name=deployment).refusal
    assert project.traffic("prod") == {}


def test_a_token_that_expires_on_the_way_is_fetched_anew(project: Any, live: tuple[str, str], azure: Any) -> None:
    _, new = live
    rollout(project, "[30, 60, 100]", 3)
    azure.set("token_lifetime", "2")
    try:
        assert not project.run("shift_traffic", deployment_name=new).refusal
    finally:
        azure.set("token_lifetime", "3600")
    assert project.traffic() == {new: 100}
