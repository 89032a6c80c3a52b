"""Turns the step of a pipeline into the job that runs it: bindings become values, snake_case becomes ARM's spelling."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from emulator.assets import models as assets
from emulator.jobs import bindings, models, sampling
from emulator.jobs.models import Document, Place

if TYPE_CHECKING:
    from emulator.core import Cloud


def child_of(cloud: Cloud, where: Place, parent: Document, name: str, node: Document, done: dict[str, Document]) -> Document:
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
            "azureml.runsource": "azureml.StepRun",
            "azureml.nodeid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{parent['id']}/{name}")),
            "stepType": "PythonScriptStep",
            "azureml.moduleName": str(spec.get("name")),
            "azureml.moduleid": asset["id"],
            "azureml.pipelinerunid": parent["name"],
            "azureml.rootpipelinerunid": parent["_run"]["root"],
            "azureml.pipelineComponent": "masterescloud",
            "azureml.isreused": "false",
        },
        "componentId": asset["id"],
        "computeId": node.get("computeId") or node.get("compute") or settings.get("default_compute") or pipeline.get("computeId"),
        "inputs": _inputs(pipeline, node, spec, done),
        "outputs": _outputs(parent, node, spec, settings),
        "identity": node.get("identity"),
        "resources": _camel(node.get("resources") or spec.get("resources")),
        "limits": _camel(node.get("limits") or spec.get("limits")),
        **_kind(node, spec, pipeline),
    }
    return models.create(cloud, where, child_name, properties, parent["_run"]["who"], parent["systemData"], parent=parent, node=name)


def _kind(node: Document, spec: Document, pipeline: Document) -> Document:
    """What makes the child a command, a sweep or a pipeline of its own."""
    command = {
        "command": spec.get("command"),
        "codeId": _id(spec.get("code")),
        "environmentId": _id(spec.get("environment")),
        "environmentVariables": {**(spec.get("environment_variables") or {}), **(node.get("environment_variables") or {})},
        "distribution": node.get("distribution") or spec.get("distribution"),
    }
    if node.get("type") == "sweep":
        algorithm = node.get("sampling_algorithm") or "random"
        objective = node.get("objective") or {}
        return {
            "jobType": "Sweep",
            "trial": command,
            "searchSpace": {key: list(found) for key, found in sampling.parameters(node.get("search_space") or {}).items()},
            "earlyTermination": _camel(node.get("early_termination")),
            "samplingAlgorithm": {"samplingAlgorithmType": algorithm}
            if isinstance(algorithm, str)
            else {"samplingAlgorithmType": algorithm.get("type"), **_camel(algorithm)},
            "objective": {
                "goal": objective.get("goal"),
                "primaryMetric": objective.get("primary_metric") or objective.get("primaryMetric"),
            },
        }
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
            value = {
                **value,
                "jobInputType": kind
                if kind in ("uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model")
                else value["jobInputType"],
            }
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
            "uri": own.get("uri") or own.get("path"),
            "datastore": datastore,
            "assetName": own.get("assetName"),
            "assetVersion": own.get("assetVersion"),
        }
        if bound and not bound.job:
            target = parent["properties"]["outputs"].get(bound.name) or {}
            output.update(
                {
                    "uri": target.get("uri"),
                    "mode": output["mode"] or target.get("mode"),
                    "jobOutputType": target.get("jobOutputType") or output["jobOutputType"],
                }
            )
            output.update({key: target[key] for key in ("assetName", "assetVersion") if target.get(key)})
        found[name] = {key: value for key, value in output.items() if value is not None}
    return found


_MODES = {
    "ro_mount": "ReadOnlyMount",
    "rw_mount": "ReadWriteMount",
    "mount": "ReadOnlyMount",
    "download": "Download",
    "upload": "Upload",
    "direct": "Direct",
    "eval_mount": "EvalMount",
    "eval_download": "EvalDownload",
}


def _mode(mode: Any) -> str | None:
    """A mode in the service's spelling, from that or the YAML's."""
    return None if mode is None else _MODES.get(str(mode).lower(), str(mode))


def _id(reference: str | None) -> str | None:
    """An ARM id as jobs have it: component specifications write ``azureml:`` before it."""
    return reference.removeprefix("azureml:") if reference and reference.startswith("azureml:/subscriptions/") else reference


def _camel(values: Document | None) -> Document:
    """Keys as ARM writes them: ``instance_count`` is ``instanceCount``."""
    return {key.split("_")[0] + "".join(word.capitalize() for word in key.split("_")[1:]): value for key, value in (values or {}).items()}


def dependencies(node: Document) -> set[str]:
    """The steps whose inputs or outputs a step is bound to."""
    ports = [*(node.get("inputs") or {}).values(), *(node.get("outputs") or {}).values()]
    return {bound.job for port in ports if (bound := bindings.binding_of(port)) and bound.job}
