"""Runs a pipeline: each step as soon as what it is bound to is there, as a child run with the pipeline as its parent.

Source: https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-pipeline. Every step runs; results of earlier pipelines are
not reused.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from emulator.jobs import logs, models
from emulator.jobs.checks import component
from emulator.jobs.durations import seconds
from emulator.jobs.models import Document, JobFailed, Place, TimedOut
from emulator.jobs.steps import child_of, dependencies

if TYPE_CHECKING:
    from emulator.core import Cloud
    from emulator.jobs.scheduler import Scheduler


async def run(cloud: Cloud, document: Document, scheduler: Scheduler) -> None:
    """Run a pipeline job to its end. JobFailed carries the errors of the steps that failed."""
    where = models.place(cloud, models.workspace_of(document["id"]))
    log = logs.RunLog(cloud, where.id, document["name"], logs.PIPELINE)
    models.set_status(cloud, document["id"], "Preparing")
    await log.line("Submitting the pipeline's steps; results of earlier runs are not reused here")
    models.set_status(cloud, document["id"], "Running")
    limit = seconds((document["properties"].get("limits") or {}).get("timeout"))
    try:
        failed = await asyncio.wait_for(_steps(cloud, where, document, scheduler, log), limit)
    except asyncio.TimeoutError:
        await _cancel_children(cloud, document, scheduler)
        raise TimedOut(f"The pipeline ran longer than its limit of {limit:g} seconds and was cancelled.") from None
    models.set_status(cloud, document["id"], "Finalizing")
    if failed:
        raise _failure(failed)
    await log.line("The pipeline is completed")


async def _steps(cloud: Cloud, where: Place, document: Document, scheduler: Scheduler, log: logs.RunLog) -> list[Document]:
    """Run the steps; those that failed, or were cancelled by themselves, in the order in which they ended."""
    properties = document["properties"]
    jobs = _jobs(cloud, where, document)
    goes_on = bool((properties.get("settings") or {}).get("continue_on_step_failure"))
    done: dict[str, Document] = {}
    failed: list[Document] = []
    waiting = dict(jobs)
    under_way: dict[asyncio.Future[Document], str] = {}
    known = {one["_run"]["node"]: one for one in models.children(cloud, document)}
    try:
        while under_way or waiting:
            ready = [name for name, node in waiting.items() if dependencies(node) <= set(done)] if goes_on or not failed else []
            for name in ready:
                node = waiting.pop(name)
                child = known.get(name) or child_of(cloud, where, document, name, node, done)
                await log.line(f"Submitting step {name}: {child['name']}")
                under_way[asyncio.ensure_future(scheduler.finished(child))] = name
            if not under_way:
                break
            ended, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for future in ended:
                name, child = under_way.pop(future), future.result()
                status = child["properties"]["status"]
                await log.line(f"Step {name} ({child['name']}) ended as {status}")
                if status == "Completed":
                    done[name] = child
                else:
                    failed.append(child)
                    if not goes_on:
                        await _cancel_children(cloud, document, scheduler)
    finally:
        for future in under_way:
            future.cancel()
    return failed


async def _cancel_children(cloud: Cloud, document: Document, scheduler: Scheduler) -> None:
    running = [one for one in models.children(cloud, document) if one["properties"]["status"] not in models.TERMINAL]
    await asyncio.gather(*(scheduler.cancel(one["id"]) for one in running))


def _failure(failed: list[Document]) -> JobFailed:
    names = ", ".join(f"/{one['_run']['node']}" for one in failed if one["_run"]["error"]) or ", ".join(
        f"/{one['_run']['node']}" for one in failed
    )
    details = [
        {**(one["_run"]["error"] or {"code": "UserError", "message": "The step was cancelled."}), "target": one["_run"]["node"]}
        for one in failed
    ]
    cause = details[0]["message"]
    return JobFailed(
        f"Pipeline has failed child jobs. Failed nodes: {names}. "
        "For more details and logs, please go to the job detail page and check the child jobs. "
        f"Step '{failed[0]['_run']['node']}' ({failed[0]['name']}): {cause}",
        inner="ChildJobFailed",
        details=details,
    )


def _jobs(cloud: Cloud, where: Place, document: Document) -> dict[str, Document]:
    properties = document["properties"]
    jobs: dict[str, Document] = properties.get("jobs") or {}
    if not jobs and properties.get("componentId"):
        jobs = component(cloud, where.id, properties["componentId"]).get("jobs") or {}
    return jobs
