"""The metrics that a job logged to MLflow, in its own run and in the runs below it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aml.azure import Client
from aml.command import Refusal
from aml.gate import Figure

CALLS = 4  # at a time


def of_job(client: Client, mlflow: Client, job: str) -> list[Figure]:
    """Every metric's last value in the job's own run and in all runs below it; of a sweep's trials, the best one's.

    Source: "Query & compare experiments and runs with MLflow", child runs (learn.microsoft.com/azure/machine-learning).
    """
    run = mlflow.find("api/2.0/mlflow/runs/get", run_id=job)
    if run is None:
        raise Refusal(f"job {job} has no run", "it was deleted, or never started", "submit it again with submit_job")
    figures: list[Figure] = []
    level = [run["run"]]
    with ThreadPoolExecutor(CALLS) as pool:
        while level:
            figures += [figure for each in level for figure in _figures(each)]
            level = [child for children in pool.map(lambda each: _children(client, mlflow, each), level) for child in children]
    return figures


def _figures(run: dict[str, Any]) -> Iterator[Figure]:
    for metric in run["data"].get("metrics") or []:
        yield Figure(metric["key"], _meant(float(metric["value"])), run["info"]["run_id"])


def _meant(value: float) -> float:
    # MLflow keeps infinity as the largest double (mlflow/store/tracking/sqlalchemy_store.py, sanitize_metric_value).
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value


def _children(client: Client, mlflow: Client, run: dict[str, Any]) -> list[dict[str, Any]]:
    info = run["info"]
    query = {"experiment_ids": [info["experiment_id"]], "filter": f"tags.mlflow.parentRunId = '{info['run_id']}'", "max_results": 1000}
    found: list[dict[str, Any]] = []
    while True:
        page = mlflow.post("api/2.0/mlflow/runs/search", query)
        found += page.get("runs") or []
        if not page.get("next_page_token"):
            break
        query["page_token"] = page["next_page_token"]
    if len(found) < 2:
        return found
    # A sweep's trials all log the same names; the one that won stands for the sweep.
    # Source: "Hyperparameter tuning a model", best trial job (learn.microsoft.com/azure/machine-learning)
    job = client.find(f"jobs/{info['run_id']}") or {"properties": {}}
    best = (job["properties"].get("properties") or {}).get("best_child_run_id")
    return [child for child in found if child["info"]["run_id"] == best] or found
