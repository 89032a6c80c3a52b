"""What the service refuses when a job is submitted, all problems in one answer.

The form of the answer is the service's ("The Job request provided has the following validation errors", Azure/azure-sdk-for-python issue
35242).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emulator.errors import AzureError, bad_request
from emulator.jobs.checks import Problems, check_compute, check_inputs, check_limits, check_outputs, check_search, runnable
from emulator.jobs.graph import check_pipeline

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]

NAME = re.compile(r"[a-zA-Z0-9][\w-]{0,254}")
KEPT_APART = ("description", "tags", "displayName", "properties", "isArchived", "status", "services", "outputs", "parentJobName")


def check(cloud: Cloud, workspace_id: str, name: str, body: Any) -> Document:
    """The properties of a new job; the service's 400 for what cannot run."""
    if not NAME.fullmatch(name):
        raise bad_request("name", f"Job name '{name}' is invalid: up to 255 letters, digits, '-' and '_', starting with a letter or digit.")
    properties = body.get("properties") if isinstance(body, dict) else None
    if not isinstance(properties, dict):
        raise bad_request("properties", "The property 'properties' is required.")
    kinds = {"Command": _command, "Pipeline": check_pipeline, "Sweep": _sweep}
    kind = properties.get("jobType")
    if kind not in kinds:
        raise bad_request("properties.jobType", f"The emulator runs jobs of type {', '.join(kinds)}, not '{kind}'.")
    problems = Problems()
    for field in ("tags", "properties"):
        values = properties.get(field) or {}
        if not isinstance(values, dict) or any(isinstance(value, (dict, list)) for value in values.values()):
            problems.add(field, f"'{field}' must be an object whose values are strings.")
        else:  # numbers and truth values are taken as text
            properties[field] = {key: value if isinstance(value, str) else str(value) for key, value in values.items() if value is not None}
    experiment = properties.get("experimentName")
    if experiment is not None and not NAME.fullmatch(str(experiment)):
        problems.add(
            "ExperimentName", f"Experiment name '{experiment}' is invalid: letters, digits, '-' and '_', starting with a letter or digit."
        )
    instances = (properties.get("resources") or {}).get("instanceCount") or 1
    check_compute(cloud, workspace_id, properties.get("computeId"), "ComputeId", problems, instances)
    check_inputs(cloud, workspace_id, properties.get("inputs") or {}, problems)
    check_outputs(properties.get("outputs") or {}, problems)
    kinds[kind](cloud, workspace_id, properties, problems)
    problems.answer()
    return properties


def check_update(old: Document, properties: Document) -> None:
    """Refuse to change of an existing job what cannot change; the text is the service's."""
    for key, value in properties.items():
        if key in KEPT_APART or value is None or value in ({}, []):
            continue
        if old["properties"].get(key) != value:
            field = {"inputs": "InputData", "command": "Command", "environmentId": "EnvironmentId", "codeId": "CodeId"}.get(
                key, key[:1].upper() + key[1:]
            )
            raise AzureError(
                400,
                "UserError",
                "A job with this name already exists. If you are trying to create a new job, use a different name. "
                f"If you are trying to update an existing job, the existing job's {field} cannot be changed. "
                "Only description, tags, displayName, properties, and isArchived can be updated.",
                target="name",
            )


def _command(cloud: Cloud, workspace_id: str, properties: Document, problems: Problems) -> None:
    runnable(cloud, workspace_id, properties, set(properties.get("inputs") or {}), set(properties.get("outputs") or {}), problems)
    check_limits(properties.get("limits") or {}, problems)
    count = (properties.get("resources") or {}).get("instanceCount")
    if count is not None and (not isinstance(count, int) or count < 1):
        problems.add("Resources.InstanceCount", f"The instance count must be at least 1, not {count!r}.")


def _sweep(cloud: Cloud, workspace_id: str, properties: Document, problems: Problems) -> None:
    space = properties.get("searchSpace")
    known = {f"search_space.{name}" for name in space} if isinstance(space, dict) else set()
    check_search(space, properties, problems)
    trial = properties.get("trial") or {}
    runnable(cloud, workspace_id, trial, set(properties.get("inputs") or {}), set(properties.get("outputs") or {}), problems, known)
    check_limits(properties.get("limits") or {}, problems)
