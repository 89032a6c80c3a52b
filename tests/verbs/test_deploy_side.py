"""Deployment, smoke cases and traffic, on the emulator."""

from __future__ import annotations

from typing import Any


def test_a_bundle_goes_live(project: Any) -> None:
    bundle_id, deployment = project.deployed()
    assert project.traffic() == {}
    again = project.run("deploy_online", bundle_id=bundle_id)
    assert again.output("deployment_name") == deployment
    assert f"unchanged  deployment {deployment}" in again.out
    tested = project.run("smoke_test", deployment_name=deployment)
    assert not tested.refusal
    shifted = project.run("shift_traffic", deployment_name=deployment)
    assert shifted.output("traffic") == f'{{"{deployment}":100}}'
    assert project.traffic() == {deployment: 100}
    assert "unchanged" in project.run("shift_traffic", deployment_name=deployment).out
