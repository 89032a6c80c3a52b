"""Routes of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.core import ARM, Route
from emulator.jobs import identity, scheduler
from emulator.jobs import responses as to

if TYPE_CHECKING:
    from emulator.core import Cloud

_WS = "Microsoft.MachineLearningServices/workspaces"
_JOBS = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + _WS + "/{workspace}/jobs"
_JOB = _JOBS + "/{job}"

ROUTES = [
    Route("GET", ARM, _JOBS, to.list_jobs, f"{_WS}/jobs/read", doc="List jobs"),
    Route("GET", ARM, _JOB, to.get_job, f"{_WS}/jobs/read", doc="Read a job"),
    Route(
        "PUT", ARM, _JOB, to.put_job, f"{_WS}/jobs/write", doc="Submit a command, pipeline or sweep job, or change what of a job may change"
    ),
    Route("POST", ARM, _JOB + "/cancel", to.cancel_job, f"{_WS}/jobs/cancel/action", doc="Cancel a job"),
    Route("DELETE", ARM, _JOB, to.delete_job, f"{_WS}/jobs/delete", doc="Delete a job that has ended"),
    Route(
        "GET",
        "{region}.api.azureml.ms",
        "/emulator/identity/{secret}",
        identity.get_token,
        auth="none",
        doc="A token for a job's own identity (Azure serves it on the compute's loopback)",
    ),
]


async def start(cloud: Cloud) -> None:
    """Jobs that the last stop interrupted start again."""
    await scheduler.of(cloud).resume()


async def stop(cloud: Cloud) -> None:
    """End all jobs' processes; their state stays for the next start."""
    await scheduler.of(cloud).close()


async def deleted(cloud: Cloud, id: str) -> None:
    """The jobs of a deleted workspace end."""
    await scheduler.of(cloud).abandon(id)
