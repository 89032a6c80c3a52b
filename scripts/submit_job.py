"""Submit the training job, or find the one that already has the same code, data, environments and parameters.

The newest job that completed or is still under way is used again; if all failed or were cancelled, it is submitted anew.
"""

from __future__ import annotations

import argparse
import io
import json
from typing import Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError

from aml import ci, command, jobs, source, spec, workspace
from aml.azure import Client, management, ml_client
from aml.identity import sign_in
from aml.jobs import Job
from aml.loading import sdk, uploading
from aml.workspace import Workspace


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__)
    command.argument(
        made, "--retrain", type=command.boolean, default=False, help="true: train again even if a finished job has the same content."
    )
    return made


def main(argv: list[str] | None = None) -> int:
    given = parser().parse_args(argv)
    at = workspace.load(given.project, given.workspace)
    release = spec.release(given.project)
    credential = sign_in(at)
    client = management(at, credential)
    job = jobs.describe(given.project, release["train"], client)
    name, reused = find_or_submit(at, credential, client, job, release["model"]["name"], retrain=given.retrain)
    ci.output("job_name", name)
    ci.output("job_reused", str(reused).lower())
    return 0


def find_or_submit(at: Workspace, credential: TokenCredential, client: Client, job: Job, model: str, *, retrain: bool) -> tuple[str, bool]:
    """(name of the job with this content, whether it was there already)."""
    tried = list(jobs.attempts(client, job, model))
    if found := jobs.usable(tried, retrain=retrain, people=at.people == "allowed"):
        name, resource = found
        ci.say(f"unchanged  job {name} ({jobs.status(resource)}, {job.key}){_studio(resource)}")
        return name, True
    for name, resource in tried:
        ci.say(f"job {name} has the same content and is {jobs.status(resource)}")
    name = job.name(model, len(tried) + 1)
    try:
        made = submit(at, credential, job, name, retrain=retrain)
    except HttpResponseError as error:
        # another run may have submitted the same content at the same moment
        there = client.find(f"jobs/{name}") if error.status_code in (400, 409) else None
        if there is None:
            raise
        ci.say(f"unchanged  job {name} ({jobs.status(there)}, {job.key}){_studio(there)}")
        return name, True
    ci.say(f"created  job {name} ({job.key}){' ' + made if made else ''}")
    return name, False


def submit(at: Workspace, credential: TokenCredential, job: Job, name: str, *, retrain: bool = False) -> str:
    """Submit the job under a name; the address of its page. `retrain`: no step of a pipeline may be an earlier job's."""
    import yaml

    text = yaml.safe_dump(job.content, allow_unicode=True, sort_keys=False)
    entity: Any = sdk().load_job(io.StringIO(text), relative_origin=str(job.document.file.resolve()))
    entity.name = name
    if retrain and entity.type == "pipeline":
        entity.settings.force_rerun = True
    marks = {"content_key": job.key, "data": json.dumps(job.data)}
    if who := ci.started_by():  # Azure knows the principal alone
        marks["started_by"] = who
    entity.properties = {**(entity.properties or {}), **source.properties(at.project), **marks}
    with uploading():
        made = ml_client(at, credential).jobs.create_or_update(entity)
    return str(made.studio_url or "")


def _studio(resource: dict[str, Any]) -> str:
    address = ((resource["properties"].get("services") or {}).get("Studio") or {}).get("endpoint")
    return f" {address}" if address else ""


if __name__ == "__main__":
    command.run(main)
