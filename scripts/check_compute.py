"""Check that what the job runs on is there, fits its file and is ready, and that the quota suffices, before anything is spent.

Compares each compute that the job uses with the workspace, and the cores that it needs with what is left; warns if a new deployment would
find too few. Changes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from azure.core.exceptions import HttpResponseError

from aml import ci, command, deployment, project, spec, workspace
from aml.azure import Client, explain, management
from aml.command import Refusal
from aml.identity import sign_in
from aml.quota import Quota
from aml.workspace import Workspace
from aml.yaml import Document
from connect_workspace import connect

QUOTA_FIX = "ask for more quota (how-to-manage-quotas), free some, or choose another size"


def parser() -> argparse.ArgumentParser:
    return command.parser(__doc__)


def main(argv: list[str] | None = None) -> int:
    given = parser().parse_args(argv)
    at = workspace.load(given.project, given.workspace)
    release = spec.release(given.project)
    files = [project.open_azure(given.project / path).value for path in release["train"]["compute"]]
    wanted = {str(file["name"]): file for file in files}
    job = project.open_azure(given.project / release["train"]["job"])
    names = sorted({*wanted, *used_by(job)})
    size, instances = deployment.machine(at, release["deploy"]["deployment"])

    credential = sign_in(at, writes=False)
    client = management(at, credential, patient=False)
    with ThreadPoolExecutor(8) as pool:
        asked = {name: pool.submit(client.find, f"computes/{name}") for name in names}
        location = connect(at, credential)["location"]
        quota = quota_of(client, at, location)
        computes = {name: future.result() for name, future in asked.items()}

    problems = [problem for name in names for problem in of_compute(name, computes[name], wanted.get(name), nodes(job, name), quota)]
    problems += of_deployment(at, size, instances, quota)
    for problem in problems[1:]:
        ci.error(str(problem))
    if problems:
        raise problems[0]
    return 0


def quota_of(client: Client, at: Workspace, location: str) -> Quota | None:
    """The quota, or None with a warning if the principal may not see it: it belongs to the subscription, not to the workspace."""
    try:
        return Quota(client, at, location)
    except HttpResponseError as error:
        if error.status_code != 403:
            raise
        ci.warning(f"The quota was not checked. {explain(error)}")
        return None


def used_by(job: Document) -> set[str]:
    """The computes that a job names."""
    named = (use.value for member in project.family(job) for use in project.uses(member) if use.what == "compute")
    found = (project.reference(value if value.startswith("azureml:") else f"azureml:{value}") for value in named if "${{" not in value)
    return {parts[0] for parts in found if parts} - {"local", "serverless"}


def nodes(job: Document, name: str) -> int:
    """The most nodes that one step of the job takes on a compute, as far as the job says on which it runs."""
    counts = [1]
    for member in project.family(job):
        value: dict[str, Any] = member.value
        for step in [value, *(value.get("jobs") or {}).values()]:
            if isinstance(step, dict) and str(step.get("compute", f"azureml:{name}")).removeprefix("azureml:") == name:
                counts.append(int((step.get("resources") or {}).get("instance_count") or 1))
    return max(counts)


def of_compute(name: str, found: dict[str, Any] | None, file: dict[str, Any] | None, needed: int, quota: Quota | None) -> Iterator[Refusal]:
    """What keeps the job from running on a compute; prints one line if nothing does."""
    if found is None:
        size = f" ({file.get('type')}, {file.get('size')})" if file else ""
        yield Refusal(
            f"There is no compute {name} in the workspace", "The job runs on it", f"have it made{size}, or name another in the job"
        )
        return
    outer = found["properties"]
    inner: dict[str, Any] = outer.get("properties") or {}
    state, kind = outer.get("provisioningState"), str(outer.get("computeType", ""))
    if state == "Failed":
        errors = outer.get("provisioningErrors") or []
        why = "; ".join(str((error.get("error") or error).get("message", error)) for error in errors if isinstance(error, dict))
        yield Refusal(f"Compute {name} could not be made", why or "Azure says Failed", "have it deleted and made again")
        return
    if state in ("Creating", "Updating", "Deleting"):
        yield Refusal(f"Compute {name} is {state}", "Jobs cannot start on it now", "run this again when Azure has finished")
        return
    if file:
        yield from _as_described(name, kind, inner, file)
    running = str(inner.get("state", "Running"))
    if kind == "ComputeInstance" and running != "Running":
        yield Refusal(f"Compute {name} is {running}", "A compute instance runs jobs only while it is started", "have it started")
    if kind == "AmlCompute":
        yield from _room(name, inner, needed, quota)


def _as_described(name: str, kind: str, inner: dict[str, Any], file: dict[str, Any]) -> Iterator[Refusal]:
    if kind.lower() != str(file.get("type", kind)).lower():
        yield Refusal(
            f"Compute {name} is of type {kind}", f"Its file says {file['type']}", "have it made as the file says, or correct the file"
        )
    size, wanted = str(inner.get("vmSize", "")), str(file.get("size", ""))
    if wanted and size.lower() != wanted.lower():
        yield Refusal(
            f"Compute {name} has machines of size {size}", f"Its file says {wanted}", "have it made as the file says, or correct the file"
        )
    scale = inner.get("scaleSettings") or {}
    most, asked = scale.get("maxNodeCount"), file.get("max_instances")
    if most is not None and asked is not None and int(most) < int(asked):
        yield Refusal(
            f"Compute {name} grows to {most} nodes", f"Its file says {asked}", "have it scaled as the file says, or correct the file"
        )


def _room(name: str, inner: dict[str, Any], needed: int, quota: Quota | None) -> Iterator[Refusal]:
    scale = inner.get("scaleSettings") or {}
    least, most = int(scale.get("minNodeCount") or 0), int(scale.get("maxNodeCount") or 1)
    if needed > most:
        yield Refusal(
            f"Compute {name} grows to {most} nodes", f"A step of the job takes {needed}", "have it scaled, or lower instance_count"
        )
        return
    if quota is None or str(inner.get("vmPriority", "")).lower() == "lowpriority":  # low-priority nodes have a quota of another kind
        ci.say(f"compute {name}: {inner.get('vmSize')}, {least} to {most} nodes; quota not checked")
        return
    room = quota.room(str(inner.get("vmSize")))
    # what the cluster holds now counts as used already
    held = int(inner.get("currentNodeCount") or 0) * room.cores
    wanted = max(needed, least) * room.cores
    if not room.holds(wanted, freed=held):
        yield Refusal(f"The quota does not suffice for compute {name}", f"The job needs {wanted} cores there, and {room}", QUOTA_FIX)
        return
    if not room.holds(most * room.cores, freed=held):
        ci.warning(f"Compute {name} cannot grow to its {most} nodes: they have {most * room.cores} cores, and {room}.")
    ci.say(f"compute {name}: {room.size}, {least} to {most} nodes; {room}")


def of_deployment(at: Workspace, size: str, instances: int, quota: Quota | None) -> Iterator[Refusal]:
    """What keeps a new deployment from ever being made in this workspace; a warning if there is only no room for it now."""
    if quota is None:
        return
    try:
        room = quota.room(size)
    except Refusal as refusal:
        yield refusal
        return
    wanted = deployment.reserved(size, instances) * room.cores
    if room.holds(wanted):
        ci.say(f"deployment: {instances} x {room.size} reserve {wanted} cores; {room}")
    else:
        # No refusal: a bundle that is deployed already takes no more room. deploy_online checks again before it makes anything.
        why = f"{instances} x {size} reserve {wanted} cores (a fifth more instances than asked), and {room}"
        ci.warning(f"The quota does not suffice for a new deployment in workspace {at.name}: {why}. Fix: {QUOTA_FIX}.")


if __name__ == "__main__":
    command.run(main)
