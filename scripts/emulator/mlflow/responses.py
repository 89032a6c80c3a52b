"""Requests of MLflow clients. What Azure serves is passed on to MLflow; what it does not serve is a 404 without a body, as there."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import Response

from emulator.arm.roles import allowed
from emulator.assets import paths
from emulator.core import Call
from emulator.errors import AzureError, forbidden
from emulator.history import models as history
from emulator.history.responses import place, scope
from emulator.jobs import models as jobs
from emulator.mlflow import models

_WS = "Microsoft.MachineLearningServices/workspaces"
# Azure has MLflow's tracking API of version 2, without logged models, traces, prompts and what else came with version 3
# (Azure/azure-sdk-for-python issue 44896: logged-models answers 404 with an empty body).
SERVED = re.compile(r"(?:experiments|runs|metrics|artifacts)(?:/.*)?")
_READS = re.compile(r".*/(?:get|get-by-name|list|search|get-history|get-history-bulk|get-history-bulk-interval|get-run-data-status)")


async def tracking(call: Call) -> Any:
    """One call of MLflow's REST API."""
    where, rest = place(call), call.params["rest"]
    reads = call.request.method == "GET" or bool(_READS.fullmatch(rest))
    kind = "experiments/runs" if rest.startswith(("runs", "metrics", "artifacts")) else "experiments"
    action = f"{_WS}/{kind}/{'read' if reads else 'write'}"
    if call.principal and not allowed(call.cloud, call.principal, action, scope(call)):
        raise forbidden(call.principal.app_id or call.principal.oid, call.principal.oid, action, scope(call))
    if not SERVED.fullmatch(rest):
        return Response(status_code=404)
    if rest == "artifacts/list":
        return await _list_artifacts(call, where)
    if rest == "runs/log-batch-async":
        answer = await _pass_on(call, "runs/log-batch")
        return {"batch_tracking_id": ""} if answer.status_code == 200 else answer
    if rest == "runs/get-run-data-status":
        return {"is_complete": True}
    answer = await _pass_on(call, rest)
    if answer.status_code == 200 and rest in ("runs/set-tag", "runs/delete-tag", "runs/log-batch"):
        _take_tags(call, where, rest)
    return answer


async def _pass_on(call: Call, rest: str) -> Response:
    query = f"?{call.request.url.query}" if call.request.url.query else ""
    where = place(call)
    answer = await models.of(call.cloud).ask(where.id, call.request.method, f"/api/2.0/mlflow/{rest}{query}", call.raw)
    return Response(answer.body, answer.status, media_type=answer.content_type)


async def _list_artifacts(call: Call, where: jobs.Place) -> Any:
    """Artifacts directly below a path; MLflow's server cannot look into Azure's storage."""
    body = call.body or {}
    run = call.query.get("run_id") or call.query.get("run_uuid") or body.get("run_id")
    if not run:
        raise AzureError(400, "INVALID_PARAMETER_VALUE", "The parameter 'run_id' is missing.")
    below = (call.query.get("path") or body.get("path") or "").strip("/")
    located = history.folder(call.cloud, where, run)
    found: dict[str, dict[str, Any]] = {}
    for name, size in (await paths.files(call.cloud, located.below(f"{below}/") if below else located)).items():
        if name:
            first, _, deeper = name.partition("/")
            path = f"{below}/{first}" if below else first
            found.setdefault(path, {"path": path, "is_dir": True} if deeper else {"path": path, "is_dir": False, "file_size": size})
    return {"root_uri": f"azureml://{where.host}/mlflow/v2.0{where.id}/experiments/-/runs/{run}/artifacts", "files": list(found.values())}


def _take_tags(call: Call, where: jobs.Place, rest: str) -> None:
    """The tags of a run are the tags of its job."""
    body = json.loads(call.raw)
    document = call.cloud.store.get(jobs.job_id(where.id, str(body.get("run_id") or body.get("run_uuid"))))
    given = body.get("tags") or [] if rest == "runs/log-batch" else [body]
    given = [tag for tag in given if not str(tag.get("key", "")).startswith("mlflow.")]
    if document is None or not given:
        return
    for tag in given:
        if rest == "runs/delete-tag":
            document["properties"]["tags"].pop(tag["key"], None)
        else:
            document["properties"]["tags"][tag["key"]] = tag.get("value", "")
    kind = "child_job" if document["_run"]["parent"] else "job"
    call.cloud.store.put(document["id"], kind, document)
