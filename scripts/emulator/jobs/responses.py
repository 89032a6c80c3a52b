"""ARM's requests about jobs."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from emulator.assets.rights import check_references
from emulator.core import ARM, Call, Reply
from emulator.errors import AzureError
from emulator.jobs import models, scheduler, validation
from emulator.mlflow.models import warm
from emulator.workspaces.models import system_data, workspace_id

PAGE = 100


def workspace(call: Call) -> str:
    """The ARM id of the workspace of a request, as it was first written."""
    id = workspace_id(call.params["subscription"], call.params["group"], call.params["workspace"])
    return str(call.cloud.store.need(id)["id"])


async def list_jobs(call: Call) -> Any:
    warm(call.cloud)
    found = models.list_jobs(call.cloud, workspace(call), call.query)
    start = int(call.query.get("$skip", "0"))
    answer: dict[str, Any] = {"value": [models.view(one) for one in found[start : start + PAGE]]}
    if start + PAGE < len(found):
        answer["nextLink"] = f"https://{ARM}{call.path}?{urlencode({**call.query, '$skip': start + PAGE}, safe='$')}"
    return answer


async def get_job(call: Call) -> Any:
    warm(call.cloud)
    return models.view(models.need(call.cloud, workspace(call), call.params["job"]))


async def put_job(call: Call) -> Any:
    warm(call.cloud)
    cloud, where, name = call.cloud, models.place(call.cloud, workspace(call)), call.params["job"]
    old = cloud.store.get(models.job_id(where.id, name))
    if old is not None:
        return models.view(_update(call, old))
    if isinstance(call.body, dict) and isinstance(call.body.get("properties"), dict):
        check_references(cloud, where.id, call.principal, call.body["properties"])
    properties = validation.check(cloud, where.id, name, call.body)
    document = models.create(cloud, where, name, properties, models.who_is(call.principal), system_data(cloud, call.principal))
    scheduler.of(cloud).begin(document)
    return Reply(201, models.view(document))


def _update(call: Call, old: models.Document) -> models.Document:
    properties = (call.body or {}).get("properties") or {}
    validation.check_update(old, properties)

    def edit(document: models.Document) -> None:
        for field in ("description", "displayName", "isArchived"):
            if properties.get(field) is not None:
                document["properties"][field] = properties[field]
        if properties.get("tags") is not None:
            document["properties"]["tags"] = properties["tags"]
        document["properties"]["properties"].update(properties.get("properties") or {})
        document["systemData"] = system_data(call.cloud, call.principal, document["systemData"])

    return models.change(call.cloud, old["id"], edit)


async def cancel_job(call: Call) -> Any:
    document = models.need(call.cloud, workspace(call), call.params["job"])
    if document["properties"]["status"] in models.TERMINAL:
        return Reply(200)
    models.set_status(call.cloud, document["id"], "CancelRequested")
    location = call.cloud.store.need(models.workspace_of(document["id"]))["location"]
    work = scheduler.of(call.cloud).cancel(document["id"])
    operation = call.cloud.operations.start(scope=document["id"], kind="cancelJob", work=work, location=location, result=lambda: None)
    return call.accepted(operation)


async def delete_job(call: Call) -> Any:
    document = call.cloud.store.get(models.job_id(workspace(call), call.params["job"]))
    if document is None:
        return Reply(204)
    if document["properties"]["status"] not in models.TERMINAL:
        raise AzureError(
            409,
            "Conflict",
            f"Job '{document['name']}' is {document['properties']['status']}; cancel it, or wait for its end, before it is deleted.",
        )

    async def work() -> None:
        for one in [*models.children(call.cloud, document), document]:
            call.cloud.store.delete(one["id"])

    location = call.cloud.store.need(models.workspace_of(document["id"]))["location"]
    return call.accepted(
        call.cloud.operations.start(scope=document["id"], kind="deleteJob", work=work(), location=location, result=lambda: None)
    )
