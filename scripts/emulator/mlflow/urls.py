"""Routes of MLflow tracking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.core import Route
from emulator.mlflow import changes, models
from emulator.mlflow import responses as to

if TYPE_CHECKING:
    from emulator.core import Cloud

_HOST = "{region}.api.azureml.ms"
_WS = "Microsoft.MachineLearningServices/workspaces"
_PLACE = "/mlflow/{version}/subscriptions/{subscription}/resourceGroups/{group}/providers/" + _WS + "/{workspace}"

ROUTES = [
    Route(
        "GET|POST|PATCH|DELETE|PUT",
        _HOST,
        _PLACE + "/api/2.0/mlflow/{rest:path}",
        to.tracking,
        api_version=False,
        doc="MLflow tracking: experiments, runs, metrics, artifacts",
    ),
]


async def start(cloud: Cloud) -> None:
    """MLflow hears of every job again; which changes it missed is not known after a restart."""
    for kind in ("job", "child_job"):
        for document in cloud.store.list(kind):
            changes.mark(document["id"].rsplit("/jobs/", 1)[0], document["name"])


async def stop(cloud: Cloud) -> None:
    models.of(cloud).close()
