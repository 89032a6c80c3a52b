"""The metrics that a job logged to MLflow, in its own run and in the runs below it."""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Iterable, Iterator
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


def confusion(figures: Iterable[Figure]) -> dict[str, Any] | None:
    """What metrics named `confusion/<what was true>/<what was said>` add up to: labels, and counts with a row for each truth.

    None unless there is one whole number for each pair of labels.
    """
    found = {tuple(one.metric.split("/")[1:]): one.value for one in figures if re.fullmatch(r"confusion/[^/]+/[^/]+", one.metric)}
    labels = sorted({label for pair in found for label in pair})
    if not labels or set(found) != set(itertools.product(labels, labels)) or not all(map(_whole, found.values())):
        return None
    return {"labels": labels, "counts": [[int(found[true, said]) for said in labels] for true in labels]}


def residuals(figures: Iterable[Figure]) -> dict[str, Any] | None:
    """What metrics named `residuals/<from>/<to>` add up to: the edges of a histogram, and how many were between two of them.

    None unless the intervals follow one another.
    """
    named = [(re.fullmatch(r"residuals/([-+.\deE]+)/([-+.\deE]+)", one.metric), one.value) for one in figures]
    try:
        found = sorted((float(name[1]), float(name[2]), value) for name, value in named if name)
    except ValueError:
        return None
    if not found or any(one[1] != after[0] for one, after in itertools.pairwise(found)) or not all(_whole(value) for *_, value in found):
        return None
    return {"edges": [found[0][0], *(one[1] for one in found)], "counts": [int(value) for *_, value in found]}


def _whole(value: float) -> bool:
    return value >= 0 and math.isfinite(value) and value == int(value)


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
