"""Runs a pipeline: each step as soon as what it is bound to is there, as a child run with the pipeline as its parent.

Source: https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-pipeline. Every step runs; results of earlier pipelines are not reused.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

from emulator.assets import models as assets
from emulator.jobs import bindings, logs, models
from emulator.jobs.durations import seconds
from emulator.jobs.models import Document, JobFailed, Place, TimedOut
from emulator.jobs.validation import component, dependencies

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
                child = known.get(name) or _child(cloud, where, document, name, node, done)
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
    names = ", ".join(f"/{one['_run']['node']}" for one in failed if one["_run"]["error"]) or ", ".join(f"/{one['_run']['node']}" for one in failed)
    details = [{**(one["_run"]["error"] or {"code": "UserError", "message": "The step was cancelled."}), "target": one["_run"]["node"]} for one in failed]
    cause = details[0]["message"]
    return JobFailed(
        f"Pipeline has failed child jobs. Failed nodes: {names}. For more details and logs, please go to the job detail page and check the child jobs. "
        f"Step '{failed[0]['_run']['node']}' ({failed[0]['name']}): {cause}",
        inner="ChildJobFailed", details=details,
    )  # fmt: skip


def _jobs(cloud: Cloud, where: Place, document: Document) -> dict[str, Document]:
    properties = document["properties"]
    jobs: dict[str, Document] = properties.get("jobs") or {}
    if not jobs and properties.get("componentId"):
        jobs = component(cloud, where.id, properties["componentId"]).get("jobs") or {}
    return jobs


def _child(cloud: Cloud, where: Place, parent: Document, name: str, node: Document, done: dict[str, Document]) -> Document:
    """Write the child run of a step whose bindings can all be resolved."""
    reference = str(node.get("componentId") or (node.get("trial") or {}).get("componentId"))
    asset = assets.resolve(cloud, where.id, reference, "components")[1]
    spec: Document = asset["properties"]["componentSpec"]
    pipeline, settings = parent["properties"], parent["properties"].get("settings") or {}
    child_name = str(uuid.uuid4())
    properties: Document = {
        "displayName": node.get("display_name") or name,
        "description": node.get("description"),
        "experimentName": pipeline["experimentName"],
        "tags": node.get("tags") or {},
        "properties": {
            "azureml.runsource": "azureml.StepRun", "azureml.nodeid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{parent['id']}/{name}")), "stepType": "PythonScriptStep",
            "azureml.moduleName": str(spec.get("name")), "azureml.moduleid": asset["id"], "azureml.pipelinerunid": parent["name"],
            "azureml.rootpipelinerunid": parent["_run"]["root"], "azureml.pipelineComponent": "masterescloud", "azureml.isreused": "false",
        },
        "componentId": asset["id"],
        "computeId": node.get("computeId") or node.get("compute") or settings.get("default_compute") or pipeline.get("computeId"),
        "inputs": _inputs(pipeline, node, spec, done),
        "outputs": _outputs(parent, node, spec, settings),
        "identity": node.get("identity"),
        "resources": _camel(node.get("resources") or spec.get("resources")),
        "limits": _camel(node.get("limits") or spec.get("limits")),
        **_kind(node, spec, pipeline),
    }  # fmt: skip
    return models.create(cloud, where, child_name, properties, parent["_run"]["who"], parent["systemData"], parent=parent, node=name)


def _kind(node: Document, spec: Document, pipeline: Document) -> Document:
    """What makes the child a command, a sweep or a pipeline of its own."""
    command = {
        "command": spec.get("command"), "codeId": _id(spec.get("code")), "environmentId": _id(spec.get("environment")),
        "environmentVariables": {**(spec.get("environment_variables") or {}), **(node.get("environment_variables") or {})},
        "distribution": node.get("distribution") or spec.get("distribution"),
    }  # fmt: skip
    if node.get("type") == "sweep":
        algorithm = node.get("sampling_algorithm") or "random"
        objective = node.get("objective") or {}
        return {
            "jobType": "Sweep", "trial": command, "searchSpace": node.get("search_space"), "earlyTermination": _camel(node.get("early_termination")),
            "samplingAlgorithm": {"samplingAlgorithmType": algorithm} if isinstance(algorithm, str) else {"samplingAlgorithmType": algorithm.get("type"), **_camel(algorithm)},
            "objective": {"goal": objective.get("goal"), "primaryMetric": objective.get("primary_metric") or objective.get("primaryMetric")},
        }  # fmt: skip
    if spec.get("type") == "pipeline":
        return {"jobType": "Pipeline", "jobs": spec.get("jobs") or {}, "settings": pipeline.get("settings")}
    return {"jobType": "Command", **command}


def _inputs(pipeline: Document, node: Document, spec: Document, done: dict[str, Document]) -> Document:
    """The step's inputs with their bindings replaced by what they stand for, and the component's defaults where nothing is given."""
    found: Document = {}
    given = node.get("inputs") or {}
    for name, declared in (spec.get("inputs") or {}).items():
        if given.get(name) is None and declared.get("default") is not None:
            found[name] = {"jobInputType": "literal", "value": str(declared["default"])}
    for name, port in given.items():
        bound = bindings.binding_of(port)
        value = _bound(bound, pipeline, done) if bound else _plain(port)
        if value is None:
            continue  # an optional input of the pipeline that was not given
        mode = port.get("mode") if isinstance(port, dict) else None
        declared = (spec.get("inputs") or {}).get(name) or {}
        if "uri" in value:
            kind = declared.get("type")
            value = {**value, "jobInputType": kind if kind in ("uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model") else value["jobInputType"]}
            value["mode"] = _mode(mode or declared.get("mode")) or value.get("mode") or "ReadOnlyMount"
        found[name] = value
    return found


def _bound(bound: bindings.Binding, pipeline: Document, done: dict[str, Document]) -> Document | None:
    if not bound.job:
        return _plain((pipeline.get(bound.side) or {}).get(bound.name))
    port = done[bound.job]["properties"][bound.side].get(bound.name)
    if port is not None and bound.side == "outputs":
        return {"jobInputType": port["jobOutputType"], "uri": port["uri"]}
    return _plain(port)


def _plain(port: Any) -> Document | None:
    """An input in the form that commands have, from any of the forms that steps have."""
    if port is None:
        return None
    if not isinstance(port, dict):
        return {"jobInputType": "literal", "value": str(port)}
    kind = port.get("jobInputType") or port.get("job_input_type") or port.get("type") or "literal"
    uri = port.get("uri") or port.get("path")
    if uri:
        return {"jobInputType": kind, "uri": uri, "mode": _mode(port.get("mode")) or "ReadOnlyMount"}
    return None if port.get("value") is None else {"jobInputType": "literal", "value": str(port["value"])}


def _outputs(parent: Document, node: Document, spec: Document, settings: Document) -> Document:
    """Where the step's outputs go: to the pipeline's place when they are bound to an output of it, else to a place of the step's own."""
    found: Document = {}
    datastore = str(settings.get("default_datastore") or "workspaceblobstore").rsplit("/", 1)[-1]
    given = node.get("outputs") or {}
    for name, declared in (spec.get("outputs") or {}).items():
        port = given.get(name)
        bound = bindings.binding_of(port)
        own = port if isinstance(port, dict) and not bound else {}
        output = {
            "jobOutputType": own.get("job_output_type") or own.get("jobOutputType") or declared.get("type") or "uri_folder",
            "mode": _mode((port or {}).get("mode") if isinstance(port, dict) else None) or _mode(declared.get("mode")),
            "uri": own.get("uri") or own.get("path"), "datastore": datastore, "assetName": own.get("assetName"), "assetVersion": own.get("assetVersion"),
        }  # fmt: skip
        if bound and not bound.job:
            target = parent["properties"]["outputs"].get(bound.name) or {}
            output.update({"uri": target.get("uri"), "mode": output["mode"] or target.get("mode"), "jobOutputType": target.get("jobOutputType") or output["jobOutputType"]})
            output.update({key: target[key] for key in ("assetName", "assetVersion") if target.get(key)})
        found[name] = {key: value for key, value in output.items() if value is not None}
    return found


_MODES = {
    "ro_mount": "ReadOnlyMount", "rw_mount": "ReadWriteMount", "mount": "ReadOnlyMount", "download": "Download", "upload": "Upload", "direct": "Direct",
    "eval_mount": "EvalMount", "eval_download": "EvalDownload",
}  # fmt: skip


def _mode(mode: Any) -> str | None:
    """A mode in the service's spelling, from that or the YAML's."""
    return None if mode is None else _MODES.get(str(mode).lower(), str(mode))


def _id(reference: str | None) -> str | None:
    """An ARM id as jobs have it: component specifications write ``azureml:`` before it."""
    return reference.removeprefix("azureml:") if reference and reference.startswith("azureml:/subscriptions/") else reference


def _camel(values: Document | None) -> Document:
    """Keys as ARM writes them: ``instance_count`` is ``instanceCount``."""
    return {key.split("_")[0] + "".join(word.capitalize() for word in key.split("_")[1:]): value for key, value in (values or {}).items()}
