"""What the service refuses when a job is submitted, all problems in one answer.

The form of the answer is the service's ("The Job request provided has the following validation errors", Azure/azure-sdk-for-python issue 35242).
"""

from __future__ import annotations

import json
import re
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from emulator.assets import models as assets
from emulator.assets.models import KINDS
from emulator.errors import AzureError, bad_request
from emulator.jobs import bindings, sampling
from emulator.jobs.durations import seconds

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]

DATA_TYPES = ("uri_file", "uri_folder", "mltable", "custom_model", "mlflow_model", "triton_model")
MODELS = ("custom_model", "mlflow_model", "triton_model")
NAME = re.compile(r"[a-zA-Z0-9][\w-]{0,254}")
KEPT_APART = ("description", "tags", "displayName", "properties", "isArchived", "status", "services", "outputs", "parentJobName")
NODE_TYPES = ("command", "sweep", "pipeline")


class Problems:
    """Problems as they are found: the property, and what is wrong with it."""

    def __init__(self) -> None:
        self.found: list[Document] = []

    def add(self, property: str, message: str) -> None:
        self.found.append({"PropertyName": property, "ErrorMessage": message})

    def answer(self) -> None:
        """Raise the service's 400 if there is a problem."""
        if self.found:
            details = [{"code": "ValidationError", "message": one["ErrorMessage"], "target": one["PropertyName"]} for one in self.found]
            raise AzureError(
                400, "UserError",
                f"The Job request provided has the following validation errors. Please resolve them and try again.\nErrors:\n{json.dumps(self.found, indent=2)}",
                target=self.found[0]["PropertyName"], details=details,
            )  # fmt: skip


def check(cloud: Cloud, workspace_id: str, name: str, body: Any) -> Document:
    """The properties of a new job; the service's 400 for what cannot run."""
    if not NAME.fullmatch(name):
        raise bad_request("name", f"Job name '{name}' is invalid: up to 255 letters, digits, '-' and '_', starting with a letter or digit.")
    properties = body.get("properties") if isinstance(body, dict) else None
    if not isinstance(properties, dict):
        raise bad_request("properties", "The property 'properties' is required.")
    kinds = {"Command": _command, "Pipeline": _pipeline, "Sweep": _sweep}
    kind = properties.get("jobType")
    if kind not in kinds:
        raise bad_request("properties.jobType", f"The emulator runs jobs of type {', '.join(kinds)}, not '{kind}'.")
    problems = Problems()
    for field in ("tags", "properties"):
        values = properties.get(field) or {}
        if not isinstance(values, dict) or not all(value is None or isinstance(value, str) for value in values.values()):
            problems.add(field, f"'{field}' must be an object whose values are strings.")
    experiment = properties.get("experimentName")
    if experiment is not None and not NAME.fullmatch(str(experiment)):
        problems.add("ExperimentName", f"Experiment name '{experiment}' is invalid: letters, digits, '-' and '_', starting with a letter or digit.")
    _compute(cloud, properties.get("computeId"), "ComputeId", problems)
    _inputs(cloud, workspace_id, properties.get("inputs") or {}, problems)
    _outputs(properties.get("outputs") or {}, problems)
    kinds[kind](cloud, workspace_id, properties, problems)
    problems.answer()
    return properties


def check_update(old: Document, properties: Document) -> None:
    """Refuse to change of an existing job what cannot change; the text is the service's."""
    for key, value in properties.items():
        if key in KEPT_APART or value is None or value in ({}, []):
            continue
        if old["properties"].get(key) != value:
            field = {"inputs": "InputData", "command": "Command", "environmentId": "EnvironmentId", "codeId": "CodeId"}.get(key, key[:1].upper() + key[1:])
            raise AzureError(
                400, "UserError",
                "A job with this name already exists. If you are trying to create a new job, use a different name. If you are trying to update an existing "
                f"job, the existing job's {field} cannot be changed. Only description, tags, displayName, properties, and isArchived can be updated.",
                target="name",
            )  # fmt: skip


def component(cloud: Cloud, workspace_id: str, reference: str) -> Document:
    """The specification of a component version; Azure's 404 where there is none."""
    spec: Document = assets.resolve(cloud, workspace_id, reference, "components")[1]["properties"]["componentSpec"]
    return spec


def _compute(cloud: Cloud, compute: Any, property: str, problems: Problems) -> None:
    if compute and "/" in str(compute) and not cloud.store.exists(str(compute)):
        problems.add(property, f"Compute with name '{str(compute).rsplit('/', 1)[-1]}' was not found in the workspace.")


def _asset(cloud: Cloud, workspace_id: str, reference: Any, kind: str, property: str, problems: Problems) -> None:
    try:
        assets.resolve(cloud, workspace_id, str(reference), kind)
    except AzureError as error:
        problems.add(property, error.message)


def _inputs(cloud: Cloud, workspace_id: str, inputs: Document, problems: Problems) -> None:
    for name, given in inputs.items():
        where = f"Inputs.{name}"
        if not isinstance(given, dict):
            continue
        kind = str(given.get("jobInputType") or given.get("job_input_type") or "literal").lower()
        if kind == "literal":
            if given.get("value") is None:
                problems.add(where, f"The literal input '{name}' has no value.")
        elif kind not in DATA_TYPES:
            problems.add(where, f"'{kind}' is not a type of input; it is literal, {', '.join(DATA_TYPES)}.")
        elif not given.get("uri"):
            problems.add(where, f"The input '{name}' of type {kind} has no URI.")
        elif is_asset(given["uri"]):
            _asset(cloud, workspace_id, given["uri"], "models" if kind in MODELS else "data", where, problems)


def is_asset(uri: str) -> bool:
    """Whether an input is a registered asset, and not a path."""
    text = str(uri).lower()
    return text.startswith(("/subscriptions/", "azureml:/subscriptions/", "azureml://registries/", "azureml://locations/")) or (
        text.startswith("azureml:") and not text.startswith("azureml://")
    )


def _outputs(outputs: Document, problems: Problems) -> None:
    for name, output in outputs.items():
        kind = (output or {}).get("jobOutputType") or (output or {}).get("job_output_type") or "uri_folder"
        if kind not in DATA_TYPES:
            problems.add(f"Outputs.{name}", f"'{kind}' is not a type of output; it is one of {', '.join(DATA_TYPES)}.")


def _runnable(cloud: Cloud, workspace_id: str, what: Document, inputs: set[str], outputs: set[str], problems: Problems, extra: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Check a command with its code and environment: everything it refers to must be there."""
    command = what.get("command")
    if not isinstance(command, str) or not command.strip():
        problems.add("Command", "The command is missing.")
        command = ""
    if what.get("codeId"):
        _asset(cloud, workspace_id, what["codeId"], "codes", "CodeId", problems)
    if not what.get("environmentId"):
        problems.add("EnvironmentId", "The environment is missing.")
    else:
        _asset(cloud, workspace_id, what["environmentId"], "environments", "EnvironmentId", problems)
    known = {f"inputs.{name}" for name in inputs} | {f"outputs.{name}" for name in outputs} | extra
    optional = bindings.optional_references(command)
    for reference in bindings.references(command):
        if reference not in known and reference not in optional:
            problems.add("Command", f"The command refers to '${{{{{reference}}}}}', which the job does not have.")


def _command(cloud: Cloud, workspace_id: str, properties: Document, problems: Problems) -> None:
    _runnable(cloud, workspace_id, properties, set(properties.get("inputs") or {}), set(properties.get("outputs") or {}), problems)
    _limits(properties.get("limits") or {}, problems)
    count = (properties.get("resources") or {}).get("instanceCount")
    if count is not None and (not isinstance(count, int) or count < 1):
        problems.add("Resources.InstanceCount", f"The instance count must be at least 1, not {count!r}.")


def _limits(limits: Document, problems: Problems) -> None:
    for field in ("timeout", "trialTimeout", "trial_timeout"):
        try:
            seconds(limits.get(field))
        except ValueError as error:
            problems.add(f"Limits.{field}", str(error))


def _sweep(cloud: Cloud, workspace_id: str, properties: Document, problems: Problems) -> None:
    space = properties.get("searchSpace")
    known = {f"search_space.{name}" for name in space} if isinstance(space, dict) else set()
    _search(space, properties, problems)
    trial = properties.get("trial") or {}
    _runnable(cloud, workspace_id, trial, set(properties.get("inputs") or {}), set(properties.get("outputs") or {}), problems, known)
    _limits(properties.get("limits") or {}, problems)


def _search(space: Any, properties: Document, problems: Problems) -> None:
    if not isinstance(space, dict) or not space:
        problems.add("SearchSpace", "A sweep needs a search space with at least one parameter.")
    else:
        try:
            sampling.parameters(space)
        except ValueError as error:
            problems.add("SearchSpace", str(error))
    objective = properties.get("objective") or {}
    metric = objective.get("primaryMetric") or objective.get("primary_metric")
    if str(objective.get("goal", "")).lower() not in ("minimize", "maximize") or not metric:
        problems.add("Objective", "A sweep's objective needs a goal (Minimize or Maximize) and a primary metric.")


def _pipeline(cloud: Cloud, workspace_id: str, properties: Document, problems: Problems) -> None:
    jobs = properties.get("jobs") or {}
    if properties.get("componentId") and not jobs:
        try:
            jobs = component(cloud, workspace_id, properties["componentId"]).get("jobs") or {}
        except AzureError as error:
            problems.add("ComponentId", error.message)
            return
    if not isinstance(jobs, dict) or not jobs:
        problems.add("Jobs", "A pipeline needs at least one job.")
        return
    settings = properties.get("settings") or {}
    for field in ("on_init", "on_finalize"):
        if settings.get(field):
            problems.add(f"Settings.{field}", f"The emulator runs no '{field}' jobs.")
    _compute(cloud, settings.get("default_compute"), "Settings.default_compute", problems)
    _nodes(cloud, workspace_id, jobs, set(properties.get("inputs") or {}), set(properties.get("outputs") or {}), problems, "Jobs")


def _nodes(cloud: Cloud, workspace_id: str, jobs: Document, inputs: set[str], outputs: set[str], problems: Problems, path: str) -> None:
    specs: dict[str, Document] = {}
    for name, node in jobs.items():
        where = f"{path}.{name}"
        kind = str(node.get("type", "command"))
        if kind not in NODE_TYPES:
            problems.add(where, f"The emulator runs steps of type {', '.join(NODE_TYPES)}, not '{kind}'.")
            continue
        _compute(cloud, node.get("computeId") or node.get("compute"), f"{where}.ComputeId", problems)
        reference = node.get("componentId") or (node.get("trial") or {}).get("componentId")
        if not reference:
            problems.add(where, "The step names no component.")
            continue
        try:
            specs[name] = component(cloud, workspace_id, str(reference))
        except AzureError as error:
            problems.add(f"{where}.ComponentId", error.message)
    for name, spec in specs.items():
        _node(cloud, workspace_id, name, jobs, specs, spec, inputs, outputs, problems, f"{path}.{name}")
    try:
        TopologicalSorter({name: dependencies(node) & set(jobs) for name, node in jobs.items()}).prepare()
    except CycleError as error:
        problems.add(path, f"The steps wait for each other: {' -> '.join(error.args[1])}.")


def _node(
    cloud: Cloud, workspace_id: str, name: str, jobs: Document, specs: dict[str, Document], spec: Document, inputs: set[str], outputs: set[str],
    problems: Problems, where: str,
) -> None:  # fmt: skip
    node = jobs[name]
    declared: Document = spec.get("inputs") or {}
    given = {key: value for key, value in (node.get("inputs") or {}).items() if value is not None}
    for key, one in declared.items():
        if key not in given and not one.get("optional") and one.get("default") is None:
            problems.add(f"{where}.Inputs.{key}", f"The required input '{key}' of step '{name}' has no value.")
    for key in given:
        if key not in declared and not any(key.startswith(f"{group}.") for group in declared):
            problems.add(f"{where}.Inputs.{key}", f"Step '{name}' has no input '{key}'.")
    literal = {key: value for key, value in given.items() if not bindings.binding_of(value)}
    _inputs(cloud, workspace_id, literal, problems)
    for side, ports in (("Inputs", given), ("Outputs", node.get("outputs") or {})):
        for key, port in ports.items():
            bound = bindings.binding_of(port)
            if bound and not bound.job and bound.name not in (inputs if bound.side == "inputs" else outputs):
                problems.add(f"{where}.{side}.{key}", f"The pipeline has no {bound.side[:-1]} '{bound.name}'.")
            elif bound and bound.job and bound.job not in jobs:
                problems.add(f"{where}.{side}.{key}", f"The pipeline has no step '{bound.job}'.")
            elif bound and bound.job in specs and bound.name not in (specs[bound.job].get(bound.side) or {}):
                problems.add(f"{where}.{side}.{key}", f"Step '{bound.job}' has no {bound.side[:-1]} '{bound.name}'.")
    kind = str(spec.get("type", "command"))
    if kind == "pipeline":
        _nodes(cloud, workspace_id, spec.get("jobs") or {}, set(declared), set(spec.get("outputs") or {}), problems, f"{where}.Jobs")
    else:
        extra = set()
        if node.get("type") == "sweep":
            _search(node.get("search_space"), node, problems)
            extra = {f"search_space.{key}" for key in node.get("search_space") or {}} | {f"inputs.{key}" for key in node.get("search_space") or {}}
        what = {"command": spec.get("command"), "codeId": spec.get("code"), "environmentId": spec.get("environment")}
        _runnable(cloud, workspace_id, what, set(declared), set(spec.get("outputs") or {}), problems, extra)
    _limits(node.get("limits") or {}, problems)


def dependencies(node: Document) -> set[str]:
    """The steps whose inputs or outputs a step is bound to."""
    ports = [*(node.get("inputs") or {}).values(), *(node.get("outputs") or {}).values()]
    return {bound.job for port in ports if (bound := bindings.binding_of(port)) and bound.job}
