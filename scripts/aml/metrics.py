"""The metrics that a job logged to MLflow, in its own run and in the runs below it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

from aml.azure import Client
from aml.command import Refusal
from aml.gate import Figure


def of_job(mlflow: Client, job: str) -> list[Figure]:
    """Every metric's last value in the job's own run and in all runs below it.

    Source: "Query & compare experiments and runs with MLflow", child runs (learn.microsoft.com/azure/machine-learning).
    """
    run = mlflow.find("api/2.0/mlflow/runs/get", run_id=job)
    if run is None:
        raise Refusal(f"job {job} has no run", "it was deleted, or never started", "submit it again with submit_job")
    return list(_figures(mlflow, run["run"]))


def _figures(mlflow: Client, run: dict[str, Any]) -> Iterator[Figure]:
    info = run["info"]
    for metric in run["data"].get("metrics") or []:
        yield Figure(metric["key"], _meant(float(metric["value"])), info["run_id"])
    # A sweep's trials all log the same names; the one that won stands for the sweep.
    marks = {tag["key"]: tag["value"] for tag in run["data"].get("tags") or []}
    best = marks.get("best_child_run_id") or marks.get("azureml.best_child_run_id")
    for child in _children(mlflow, info):
        if not best or child["info"]["run_id"] == best:
            yield from _figures(mlflow, child)


def _meant(value: float) -> float:
    # MLflow keeps infinity as the largest double (mlflow/store/tracking/sqlalchemy_store.py, sanitize_metric_value).
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value


def _children(mlflow: Client, info: dict[str, Any]) -> Iterator[dict[str, Any]]:
    body = {"experiment_ids": [info["experiment_id"]], "filter": f"tags.mlflow.parentRunId = '{info['run_id']}'", "max_results": 1000}
    while True:
        page = mlflow.post("api/2.0/mlflow/runs/search", body)
        yield from page.get("runs") or []
        if not page.get("next_page_token"):
            return
        body["page_token"] = page["next_page_token"]
