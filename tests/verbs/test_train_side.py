"""The gate, the model and the bundle, on the emulator."""

from __future__ import annotations

from typing import Any


def test_a_model_is_registered_and_sealed(project: Any) -> None:
    job = project.job({"rmse": 40.0})
    assert project.run("check_gate", job_name=job).output("gate_verdict") == "passed"
    first = project.run("register_model", job_name=job)
    assert first.output("model_version") == "1"
    assert "created  model delay:1" in first.out
    again = project.run("register_model", job_name=job)
    assert again.output("model_version") == "1"
    assert "unchanged  model delay:1" in again.out
    sealed = project.run("seal_bundle", job_name=job, model_version="1")
    assert "created  bundle" in sealed.out
    again = project.run("seal_bundle", job_name=job, model_version="1")
    assert again.output("bundle_id") == sealed.output("bundle_id")
    assert "unchanged  bundle" in again.out
