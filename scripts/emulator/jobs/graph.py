"""What the service refuses of a pipeline's steps: missing components and values, bindings to nothing, steps that wait for each other."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from emulator.errors import AzureError
from emulator.jobs import bindings
from emulator.jobs.checks import Document, Problems, check_compute, check_inputs, check_limits, check_search, component, runnable
from emulator.jobs.steps import dependencies

if TYPE_CHECKING:
    from emulator.core import Cloud

NODE_TYPES = ("command", "sweep", "pipeline")


def check_pipeline(cloud: Cloud, workspace_id: str, properties: Document, problems: Problems) -> None:
    """A pipeline has steps, given with it or by its component, whose inputs and outputs all lead somewhere."""
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
    check_compute(cloud, workspace_id, settings.get("default_compute"), "Settings.default_compute", problems)
    _nodes(
        cloud,
        workspace_id,
        jobs,
        set(properties.get("inputs") or {}),
        set(properties.get("outputs") or {}),
        problems,
        "Jobs",
        settings.get("default_compute"),
    )


def _nodes(
    cloud: Cloud, workspace_id: str, jobs: Document, inputs: set[str], outputs: set[str], problems: Problems, path: str, default: Any = None
) -> None:
    specs: dict[str, Document] = {}
    for name, node in jobs.items():
        where = f"{path}.{name}"
        kind = str(node.get("type", "command"))
        if kind not in NODE_TYPES:
            problems.add(where, f"The emulator runs steps of type {', '.join(NODE_TYPES)}, not '{kind}'.")
            continue
        instances = int((node.get("resources") or {}).get("instance_count") or 1)
        compute = node.get("computeId") or node.get("compute") or (default if instances > 1 else None)
        check_compute(cloud, workspace_id, compute, f"{where}.ComputeId", problems, instances)
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
    cloud: Cloud,
    workspace_id: str,
    name: str,
    jobs: Document,
    specs: dict[str, Document],
    spec: Document,
    inputs: set[str],
    outputs: set[str],
    problems: Problems,
    where: str,
) -> None:
    node = jobs[name]
    declared: Document = spec.get("inputs") or {}
    given = {key: value for key, value in (node.get("inputs") or {}).items() if value is not None}
    searched = set(node.get("search_space") or {}) if node.get("type") == "sweep" else set()
    for key, one in declared.items():
        if key not in given and key not in searched and not one.get("optional") and one.get("default") is None:
            problems.add(f"{where}.Inputs.{key}", f"The required input '{key}' of step '{name}' has no value.")
    for key in given:
        if key not in declared and not any(key.startswith(f"{group}.") for group in declared):
            problems.add(f"{where}.Inputs.{key}", f"Step '{name}' has no input '{key}'.")
    literal = {key: value for key, value in given.items() if not bindings.binding_of(value)}
    check_inputs(cloud, workspace_id, literal, problems)
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
            check_search(node.get("search_space"), node, problems)
            extra = {f"search_space.{key}" for key in node.get("search_space") or {}} | {
                f"inputs.{key}" for key in node.get("search_space") or {}
            }
        what = {"command": spec.get("command"), "codeId": spec.get("code"), "environmentId": spec.get("environment")}
        runnable(cloud, workspace_id, what, set(declared), set(spec.get("outputs") or {}), problems, extra)
    check_limits(node.get("limits") or {}, problems)
