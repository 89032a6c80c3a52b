"""Routes of run history and artifacts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from emulator.core import Call, Route
from emulator.history import responses as to

_WS = "Microsoft.MachineLearningServices/workspaces"
_HOST = "{region}.api.azureml.ms"
_PLACE = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + _WS + "/{workspace}"
_HISTORY = "/history/v1.0" + _PLACE
_RUN = _HISTORY + "/runs/{run}"
_READ, _WRITE = f"{_WS}/experiments/runs/read", f"{_WS}/experiments/runs/write"
_CONTAINER = "/artifact/v2.0" + _PLACE + "/artifacts/{origin}/{container}"


def _route(method: str, path: str, handler: Callable[[Call], Awaitable[Any]], action: str, doc: str) -> Route:
    return Route(method, _HOST, path, handler, action, scope=to.scope, api_version=False, doc=doc)


def _by_experiment(method: str, tail: str, handler: Callable[[Call], Awaitable[Any]], action: str, doc: str) -> list[Route]:
    """Clients name a run's experiment by name or by id; here an experiment's id is its name."""
    return [_route(method, f"{_HISTORY}/{word}/{{experiment}}/{tail}", handler, action, doc) for word in ("experiments", "experimentids")]


ROUTES = [
    _route("GET", _RUN, to.get_run, _READ, "Read a run"),
    _route("PATCH", _RUN, to.change_run, _WRITE, "Change a run's tags, properties, display name, description or archiving"),
    _route("GET", _RUN + "/details", to.get_details, _READ, "A run's status, error and logs"),
    _route("GET", _RUN + "/children", to.get_children, _READ, "The children of a run"),
    _route("GET", _RUN + "/serviceinstances/{node}", to.get_service_instances, _READ, "Services of a run's node (none)"),
    _route("POST", _HISTORY + "/rundata", to.get_run_data, _READ, "A run's metadata and outputs"),
    _route("POST", _HISTORY + "/batchrundata", to.batch_run_data, _READ, "Several runs' metadata and outputs"),
    *_by_experiment("GET", "runs/{run}", to.get_run, _READ, "Read a run of an experiment"),
    *_by_experiment("PATCH", "runs/{run}", to.change_run, _WRITE, "Change a run of an experiment"),
    *_by_experiment("GET", "runs/{run}/details", to.get_details, _READ, "A run's status, error and logs"),
    *_by_experiment("GET", "runs/{run}/children", to.get_children, _READ, "The children of a run"),
    *_by_experiment("POST", "runs/{run}/cancel", to.cancel_run, _WRITE, "Cancel a run"),
    *_by_experiment("GET", "runs/{run}/token", to.get_token, _READ, "A fresh token for a run"),
    *_by_experiment("POST", "runs:query", to.query_runs, _READ, "The runs of an experiment"),
    *_by_experiment("GET", "runs/{run}/artifacts", to.list_artifacts, _READ, "A run's artifacts"),
    *_by_experiment("GET", "runs/{run}/artifacts/path", to.list_artifacts, _READ, "A run's artifacts below a path"),
    *_by_experiment("GET", "runs/{run}/artifacts/contentinfo", to.get_artifact, _READ, "Where to read an artifact"),
    *_by_experiment(
        "GET", "runs/{run}/artifacts/prefix/contentinfo", to.get_artifacts_below, _READ, "Where to read the artifacts below a path"
    ),
    *_by_experiment("GET", "runs/{run}/artifacts/metadata", to.get_artifact_metadata, _READ, "Describe an artifact"),
    *_by_experiment("POST", "runs/{run}/artifacts/batch/metadata", to.make_artifacts, _WRITE, "Where to write artifacts of a run"),
    _route("GET", _CONTAINER, to.list_container, _READ, "The artifacts of a container"),
    _route("GET", _CONTAINER + "/contentinfo", to.get_container_artifact, _READ, "Where to read an artifact of a container"),
    _route("GET", _CONTAINER + "/content", to.get_container_content, _READ, "Read an artifact of a container"),
    _route("POST", _CONTAINER + "/batch/metadata", to.make_container_artifacts, _WRITE, "Where to write artifacts of a container"),
    _route(
        "POST",
        "/data/v1.0" + _PLACE + "/dataversion/batchGetResolvedUris",
        to.resolve_data,
        f"{_WS}/datasets/registered/read",
        "Where a run's data outputs are",
    ),
    _route(
        "POST",
        "/modelregistry/v1.0" + _PLACE + "/models/batchGetResolvedUris",
        to.resolve_models,
        f"{_WS}/models/read",
        "Where a run's model outputs are",
    ),
]
