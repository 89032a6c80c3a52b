from __future__ import annotations

import json
from pathlib import Path

import evaluate
import mlflow
import numpy as np
import pandas as pd
import pytest

LATE = np.array([0, 0, 0, 1] * 250)


def test_a_forecast_that_is_always_the_share_has_no_skill() -> None:
    metrics = evaluate.measure(LATE, np.full(1000, 0.25))
    assert metrics["late_share"] == 0.25
    assert metrics["roc_auc"] == 0.5
    assert metrics["brier_skill"] == pytest.approx(0)
    assert metrics["calibration_error"] == pytest.approx(0, abs=0.01)


def test_a_forecast_that_is_right_has_all_skill() -> None:
    metrics = evaluate.measure(LATE, LATE * 0.98 + 0.01)
    assert metrics["roc_auc"] == 1
    assert metrics["brier_skill"] > 0.99
    assert metrics["log_loss"] == pytest.approx(-np.log(0.99))


def test_a_forecast_that_is_too_high_is_off_by_that_much() -> None:
    assert evaluate.measure(LATE, np.full(1000, 0.55))["calibration_error"] == pytest.approx(0.3, abs=0.01)


def test_every_flight_is_counted_once_by_what_came_true_and_what_was_said() -> None:
    found = evaluate.confusion(LATE, np.where(np.arange(1000) % 4 == 3, 0.9, 0.1))
    assert found == {
        "confusion/on time/on time": 750, "confusion/on time/late": 0, "confusion/late/on time": 0, "confusion/late/late": 250,
    }  # fmt: skip


def test_the_groups_are_of_equal_size_and_rise() -> None:
    groups = evaluate.calibration(LATE, np.linspace(0.01, 0.99, 1000))
    assert groups["flights"].tolist() == [100] * 10
    assert groups["forecast"].is_monotonic_increasing


def test_every_slice_is_there_and_one_with_a_single_outcome_has_no_area() -> None:
    flights = pd.DataFrame({"origin": ["EWR", "EWR", "JFK", "JFK"], "carrier": "UA", "sched_dep_time": [600, 659, 1200, 2359]})
    found = evaluate.slices(flights, np.array([0, 1, 0, 0]), np.array([0.1, 0.9, 0.2, 0.2]))
    areas = {(one["column"], one["value"]): one["roc_auc"] for one in found}
    assert {place for place, area in areas.items() if area is None} == {("origin", "JFK"), ("hour", 12), ("hour", 23)}
    assert {place for place, area in areas.items() if area == 1} == {("origin", "EWR"), ("carrier", "UA"), ("hour", 6)}
    json.dumps(found)  # what goes into the report has to be JSON


def test_the_whole_script_logs_and_reports(
    prepared: Path, model_folder: Path, tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report"
    words = ["evaluate.py", "--test", prepared / "test", "--model", model_folder, "--report", report]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    evaluate.main()
    metrics = json.loads((report / "metrics.json").read_text())
    run = mlflow.MlflowClient(tracking).search_runs(["0"])[0]
    assert run.data.metrics == pytest.approx(metrics)
    assert metrics["roc_auc"] > 0.55
    assert (report / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert {part.path for part in mlflow.MlflowClient(tracking).list_artifacts(run.info.run_id, "report")} == {
        "report/metrics.json", "report/slices.json", "report/curves.png"
    }  # fmt: skip
