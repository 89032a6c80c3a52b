"""Requests to run history, to the artifact service, and to the two services that resolve a run's outputs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from emulator.assets import paths
from emulator.core import Call, Reply
from emulator.errors import AzureError, bad_request
from emulator.history import models
from emulator.jobs import models as jobs
from emulator.jobs import scheduler, variables
from emulator.jobs.models import Place
from emulator.workspaces.models import workspace_id

CREATABLE = ("displayName", "description")


def place(call: Call) -> Place:
    """The workspace of a request."""
    return jobs.place(call.cloud, workspace_id(call.params["subscription"], call.params["group"], call.params["workspace"]))


def scope(call: Call) -> str:
    """Where the caller's right is looked for: the workspace."""
    return workspace_id(call.params["subscription"], call.params["group"], call.params["workspace"])


async def get_run(call: Call) -> Any:
    where = place(call)
    return models.run(call.cloud, where, models.need(call.cloud, where, call.params["run"]))


async def get_details(call: Call) -> Any:
    where = place(call)
    return await models.details(call.cloud, where, models.need(call.cloud, where, call.params["run"]))


async def get_children(call: Call) -> Any:
    where = place(call)
    children = jobs.children(call.cloud, models.need(call.cloud, where, call.params["run"]))
    if top := call.query.get("$top"):
        children = children[: int(top)]
    return {"value": [models.run(call.cloud, where, one) for one in children], "continuationToken": None, "nextLink": None}


async def change_run(call: Call) -> Any:
    """Change a run's display name, description, tags, properties or archiving; what is given is merged."""
    where = place(call)
    document = models.need(call.cloud, where, call.params["run"])
    body = call.body or {}
    if not isinstance(body, dict):
        raise bad_request("body", "A run is changed by a JSON object.")

    def edit(found: jobs.Document) -> None:
        properties = found["properties"]
        for field in CREATABLE:
            if body.get(field) is not None:
                properties[field] = body[field]
        if body.get("hidden") is not None:
            properties["isArchived"] = bool(body["hidden"])
        for field in ("tags", "properties"):
            properties[field] = {**properties[field], **{key: value for key, value in (body.get(field) or {}).items() if value is not None}}

    return models.run(call.cloud, where, jobs.change(call.cloud, document["id"], edit))


async def cancel_run(call: Call) -> Any:
    where = place(call)
    document = models.need(call.cloud, where, call.params["run"])
    if document["properties"]["status"] not in jobs.TERMINAL:
        jobs.set_status(call.cloud, document["id"], "CancelRequested")
        call.cloud.operations.start(
            scope=document["id"], kind="cancelJob", work=scheduler.of(call.cloud).cancel(document["id"]), location=where.location
        )
    return models.run(call.cloud, where, call.cloud.store.need(document["id"]))


async def get_run_data(call: Call) -> Any:
    where = place(call)
    return _data(call, where, call.body or {})


async def batch_run_data(call: Call) -> Any:
    where, found, errors = place(call), {}, {}
    for wanted in (call.body or {}).get("runIds") or []:
        try:
            found[wanted] = _data(call, where, {"runId": wanted})
        except AzureError as error:
            errors[wanted] = error.body()
    return {"runData": found, "errors": errors}


def _data(call: Call, where: Place, body: dict[str, Any]) -> dict[str, Any]:
    document = models.need(call.cloud, where, str(body.get("runId")))
    return {"runMetadata": models.run(call.cloud, where, document), "runDefinition": None, "jobSpecification": None, "systemSettings": None}


async def get_service_instances(call: Call) -> Any:
    models.need(call.cloud, place(call), call.params["run"])
    return {"instances": {}}


async def get_token(call: Call) -> Any:
    """A fresh token for a run that is under way: for its submitter, in whose name the token speaks, and so for the run itself."""
    document = models.need(call.cloud, place(call), call.params["run"])
    if call.principal is None or call.principal.oid != document["_run"]["who"]["oid"]:
        raise AzureError(403, "AuthorizationFailed", f"Only the submitter of run '{document['name']}' gets a token for it.")
    if document["properties"]["status"] in jobs.TERMINAL:
        raise AzureError(403, "AuthorizationFailed", f"Run '{document['name']}' has ended; there is no token for it.")
    expiry = call.cloud.now() + timedelta(days=variables.TOKEN_DAYS)
    return {"token": variables.run_token(call.cloud, document), "expiryTimeUtc": expiry.isoformat()}


async def query_runs(call: Call) -> Any:
    """The runs of an experiment, newest first."""
    where = place(call)
    found = [*call.cloud.store.list("job", under=f"{where.id}/jobs"), *call.cloud.store.list("child_job", under=f"{where.id}/jobs")]
    found = [one for one in found if one["properties"]["experimentName"] == call.params["experiment"]]
    found.sort(key=lambda one: one["_run"]["created"], reverse=True)
    top = int((call.body or {}).get("top") or 100)
    return {"value": [models.run(call.cloud, where, one) for one in found[:top]], "continuationToken": None, "nextLink": None}


# --- artifacts of a run ------------------------------------------------------------------------------------------------------------


async def list_artifacts(call: Call) -> Any:
    where, run = place(call), call.params["run"]
    prefix = call.query.get("path", "")
    found = [path for path in await models.artifact_paths(call.cloud, where, run) if path.startswith(prefix)]
    return {
        "value": [models.described("ExperimentRun", f"dcid.{run}", path) for path in found],
        "continuationToken": None,
        "nextLink": None,
    }


async def get_artifact(call: Call) -> Any:
    where, run, path = place(call), call.params["run"], _path(call)
    described = models.described("ExperimentRun", f"dcid.{run}", path)
    return await models.content(call.cloud, models.folder(call.cloud, where, run), path, described)


async def get_artifacts_below(call: Call) -> Any:
    where, run, prefix = place(call), call.params["run"], call.query.get("path", "")
    found = [path for path in await models.artifact_paths(call.cloud, where, run) if path.startswith(prefix)]
    value = [
        {**models.described("ExperimentRun", f"dcid.{run}", path), "contentUri": models.content_uri(call.cloud, where, run, path, "r")}
        for path in found
    ]
    return {"value": value, "continuationToken": None, "nextLink": None}


async def get_artifact_metadata(call: Call) -> Any:
    answer = await get_artifact(call)
    return {key: value for key, value in answer.items() if key != "contentUri"}


async def make_artifacts(call: Call) -> Any:
    where, run = place(call), call.params["run"]
    return await models.make_empty(call.cloud, models.folder(call.cloud, where, run), "ExperimentRun", f"dcid.{run}", call.body)


# --- artifacts of any container ----------------------------------------------------------------------------------------------------


def _container(call: Call) -> paths.Located:
    return models.container_folder(call.cloud, place(call), call.params["origin"], call.params["container"])


async def list_container(call: Call) -> Any:
    found = await paths.files(call.cloud, _container(call))
    value = [models.described(call.params["origin"], call.params["container"], path) for path in found]
    return {"value": value, "continuationToken": None, "nextLink": None}


async def get_container_artifact(call: Call) -> Any:
    path = _path(call)
    return await models.content(call.cloud, _container(call), path, models.described(call.params["origin"], call.params["container"], path))


async def get_container_content(call: Call) -> Any:
    answer = await get_container_artifact(call)
    return Reply(302, None, {"Location": answer["contentUri"]})


async def make_container_artifacts(call: Call) -> Any:
    return await models.make_empty(call.cloud, _container(call), call.params["origin"], call.params["container"], call.body)


def _path(call: Call) -> str:
    path = call.query.get("path")
    if not path:
        raise bad_request("path", "The query parameter 'path' is missing.")
    return path


# --- what the outputs of a run are -------------------------------------------------------------------------------------------------


async def resolve_data(call: Call) -> Any:
    return {"values": {asset: {"uri": uri, "type": kind} for asset, (uri, kind) in _resolved(call).items()}}


async def resolve_models(call: Call) -> Any:
    return {"values": {asset: {"path": uri, "type": kind} for asset, (uri, kind) in _resolved(call).items()}}


def _resolved(call: Call) -> dict[str, tuple[str, str]]:
    where = place(call)
    return {asset: models.output_uri(call.cloud, where, asset) for asset in (call.body or {}).get("values") or []}
