"""Runs a sweep: trials with sampled parameters, the best by a metric that they log.

Source: https://learn.microsoft.com/azure/machine-learning/how-to-tune-hyperparameters. How parameters are drawn is in ``sampling.py``.
Early termination policies are taken and not applied: every trial runs to its end.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

from emulator.assets import paths
from emulator.jobs import logs, models, sampling
from emulator.jobs.durations import seconds
from emulator.jobs.models import Document, JobFailed, Place, TimedOut
from emulator.mlflow import models as mlflow

if TYPE_CHECKING:
    from emulator.core import Cloud
    from emulator.jobs.scheduler import Scheduler

DEFAULT_TRIALS = 100


async def run(cloud: Cloud, document: Document, scheduler: Scheduler) -> None:
    """Run a sweep job to its end. It fails when no trial completes with the metric."""
    where = models.place(cloud, models.workspace_of(document["id"]))
    properties, limits = document["properties"], document["properties"].get("limits") or {}
    log = logs.RunLog(cloud, where.id, document["name"], logs.SWEEP)
    models.set_status(cloud, document["id"], "Preparing")
    await _explain(log, properties)
    models.set_status(cloud, document["id"], "Running")
    limit = seconds(limits.get("timeout"))
    try:
        trials = await asyncio.wait_for(_trials(cloud, where, document, scheduler, log), limit)
    except asyncio.TimeoutError:
        running = [one for one in models.children(cloud, document) if one["properties"]["status"] not in models.TERMINAL]
        await asyncio.gather(*(scheduler.cancel(one["id"]) for one in running))
        raise TimedOut(f"The sweep ran longer than its limit of {limit:g} seconds and was cancelled.") from None
    models.set_status(cloud, document["id"], "Finalizing")
    await _choose(cloud, where, document, trials, log)


async def _explain(log: logs.RunLog, properties: Document) -> None:
    algorithm = str((properties.get("samplingAlgorithm") or {}).get("samplingAlgorithmType", "Random"))
    await log.line(
        f"Sampling: {algorithm}"
        + (" (here it draws at random, and does not learn from earlier trials)" if algorithm.lower() == "bayesian" else "")
    )
    if (properties.get("earlyTermination") or {}).get("policyType"):
        await log.line("The early termination policy is not applied here: every trial runs to its end")


async def _trials(cloud: Cloud, where: Place, document: Document, scheduler: Scheduler, log: logs.RunLog) -> list[Document]:
    """All trials as they ended, in the order in which they were sampled."""
    properties, limits = document["properties"], document["properties"].get("limits") or {}
    total = int(limits.get("maxTotalTrials") or DEFAULT_TRIALS)
    at_once = int(limits.get("maxConcurrentTrials") or total)
    algorithm = properties.get("samplingAlgorithm") or {}
    try:
        points = list(
            itertools.islice(
                sampling.points(properties["searchSpace"], str(algorithm.get("samplingAlgorithmType", "Random")), algorithm.get("seed")),
                total,
            )
        )
    except ValueError as error:
        raise JobFailed(str(error)) from error
    known = {one["name"]: one for one in models.children(cloud, document)}
    free = asyncio.Semaphore(at_once)

    async def one(number: int, point: dict[str, Any]) -> Document:
        async with free:
            name = f"{document['name']}_{number}"
            child = known.get(name) or _trial(cloud, where, document, name, point)
            await log.line(f"Trial {name}: {json.dumps(child['_run']['search'])}")
            return await scheduler.finished(child)

    return list(await asyncio.gather(*(one(number, point) for number, point in enumerate(points))))


def _trial(cloud: Cloud, where: Place, parent: Document, name: str, point: dict[str, Any]) -> Document:
    sweep, trial = parent["properties"], parent["properties"]["trial"]
    timeout = (sweep.get("limits") or {}).get("trialTimeout")
    properties: Document = {
        **{key: trial.get(key) for key in ("command", "codeId", "environmentId", "environmentVariables", "distribution", "resources")},
        "jobType": "Command",
        "experimentName": sweep["experimentName"],
        "computeId": sweep.get("computeId"),
        "inputs": sweep["inputs"],
        "outputs": {key: {**output, "uri": None} for key, output in sweep["outputs"].items()},
        "displayName": name,
        "parameters": point,
        "limits": {"jobLimitsType": "Command", "timeout": timeout} if timeout else None,
        "tags": {"hyperparameters": json.dumps(point)},
        "properties": {"azureml.runsource": "hyperdrive.trial", "hyperparameters": json.dumps(point)},
    }
    document = models.create(cloud, where, name, properties, parent["_run"]["who"], parent["systemData"], parent=parent, node=name)
    return models.change(cloud, document["id"], lambda found: found["_run"].update({"search": point}))


async def _choose(cloud: Cloud, where: Place, document: Document, trials: list[Document], log: logs.RunLog) -> None:
    """Note the best trial in the sweep's properties, under the names that azure-ai-ml reads."""
    objective = document["properties"]["objective"]
    metric, sign = objective["primaryMetric"], -1 if objective["goal"].lower() == "minimize" else 1
    scores: dict[str, float] = {}
    for trial in trials:
        if trial["properties"]["status"] == "Completed":
            values = await mlflow.metrics(cloud, where.id, trial["name"])
            if metric in values:
                scores[trial["name"]] = values[metric]
    failed = [trial for trial in trials if trial["properties"]["status"] == "Failed"]
    if not scores:
        if failed:
            details = [{**trial["_run"]["error"], "target": trial["name"]} for trial in failed[:5]]
            raise JobFailed(
                f"{len(failed)} of {len(trials)} trials failed, and none completed with the metric '{metric}'.",
                inner="TrialsFailed",
                details=details,
            )
        raise JobFailed(f"No trial logged the primary metric '{metric}'.", inner="MetricNotFound")
    best = max(scores, key=lambda name: sign * scores[name])
    await log.line(f"Best trial: {best} with {metric} = {scores[best]}")
    for output, declared in document["properties"]["outputs"].items():
        source = cloud.store.need(models.job_id(where.id, best))["properties"]["outputs"][output]["uri"]
        await paths.copy(cloud, paths.locate(cloud, where.id, source), paths.locate(cloud, where.id, declared["uri"]))
    notes = {"best_child_run_id": best, "score": str(scores[best]), "best_metric_status": "Succeeded", "runTemplate": "HyperDrive"}
    models.change(cloud, document["id"], lambda found: found["properties"]["properties"].update(notes))
