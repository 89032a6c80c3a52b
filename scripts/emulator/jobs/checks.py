"""What can be wrong with the parts of a job: what it refers to, its inputs and outputs, its command, its limits, its search space."""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from emulator.assets import models as assets
from emulator.compute.quota import check_job_quota
from emulator.errors import AzureError
from emulator.jobs import bindings, sampling
from emulator.jobs.durations import seconds

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]

DATA_TYPES = ("uri_file", "uri_folder", "mltable", "custom_model", "mlflow_model", "triton_model")
MODELS = ("custom_model", "mlflow_model", "triton_model")


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
                400,
                "UserError",
                "The Job request provided has the following validation errors. Please resolve them and try again.\n"
                f"Errors:\n{json.dumps(self.found, indent=2)}",
                target=self.found[0]["PropertyName"],
                details=details,
            )


def component(cloud: Cloud, workspace_id: str, reference: str) -> Document:
    """The specification of a component version; Azure's 404 where there is none."""
    spec: Document = assets.resolve(cloud, workspace_id, reference, "components")[1]["properties"]["componentSpec"]
    return spec


def check_compute(cloud: Cloud, workspace_id: str, compute: Any, property: str, problems: Problems, instances: Any = 1) -> None:
    """A compute is named by its id or its name; none, and ``serverless``, mean serverless compute. One that is there must take the job.

    Raises the service's refusal where the quota does not hold so many instances.
    """
    if not compute or str(compute).lower() == "serverless":
        return
    id = str(compute) if "/" in str(compute) else f"{workspace_id}/computes/{compute}"
    name, found = id.rsplit("/", 1)[-1], cloud.store.get(id)
    if found is None:
        problems.add(property, f"Compute with name '{name}' was not found in the workspace.")
        return
    state = (found["properties"].get("properties") or {}).get("state")
    if found["properties"].get("provisioningState") == "Failed" or state in ("Stopped", "CreateFailed"):
        problems.add(property, f"Compute with name '{name}' is {state or 'Failed'} and takes no jobs.")
    elif isinstance(instances, int) and (found["properties"].get("properties") or {}).get("vmSize"):
        check_job_quota(cloud, found, instances)


def _asset(cloud: Cloud, workspace_id: str, reference: Any, kind: str, property: str, problems: Problems) -> None:
    try:
        assets.resolve(cloud, workspace_id, str(reference), kind)
    except AzureError as error:
        problems.add(property, error.message)


def check_inputs(cloud: Cloud, workspace_id: str, inputs: Document, problems: Problems) -> None:
    """An input has a known type and a value; a registered asset that it names is there. Paths are looked at when the job runs."""
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


def check_outputs(outputs: Document, problems: Problems) -> None:
    """An output has a known type."""
    for name, output in outputs.items():
        kind = (output or {}).get("jobOutputType") or (output or {}).get("job_output_type") or "uri_folder"
        if kind not in DATA_TYPES:
            problems.add(f"Outputs.{name}", f"'{kind}' is not a type of output; it is one of {', '.join(DATA_TYPES)}.")


def runnable(
    cloud: Cloud,
    workspace_id: str,
    what: Document,
    inputs: set[str],
    outputs: set[str],
    problems: Problems,
    extra: AbstractSet[str] = frozenset(),
) -> None:
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


def check_limits(limits: Document, problems: Problems) -> None:
    """Times are ISO 8601 durations."""
    for field in ("timeout", "trialTimeout", "trial_timeout"):
        try:
            seconds(limits.get(field))
        except ValueError as error:
            problems.add(f"Limits.{field}", str(error))


def check_search(space: Any, properties: Document, problems: Problems) -> None:
    """A sweep has parameters with known distributions, and an objective."""
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
