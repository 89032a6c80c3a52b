"""What a job is: its document, its states, and how ARM shows it.

Source: https://learn.microsoft.com/rest/api/azureml/jobs. Beside the ARM document, ``_run`` keeps what run history needs: parents, times,
error.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emulator.mlflow import changes

if TYPE_CHECKING:
    from emulator.core import Cloud, Principal

Document = dict[str, Any]

TYPE = "Microsoft.MachineLearningServices/workspaces/jobs"
TERMINAL = ("Completed", "Failed", "Canceled")
ARTIFACTS = "ExperimentRun/dcid."


class JobFailed(Exception):
    """A job that ends as Failed. ``error`` is run history's error: code, message, and what explains it."""

    def __init__(self, message: str, code: str = "UserError", inner: str = "", details: list[Document] | None = None) -> None:
        super().__init__(message)
        self.error: Document = {"code": code, "message": message}
        if inner:
            self.error["innerError"] = {"code": inner}
        if details:
            self.error["details"] = details


class TimedOut(Exception):
    """A job that ran longer than its limit. The service cancels such a job."""


@dataclass(frozen=True)
class Place:
    """A workspace as the parts of jobs need it: its id, name, region and immutable guid."""

    id: str
    subscription: str
    group: str
    name: str
    location: str
    guid: str

    @property
    def host(self) -> str:
        """The region's host for run history, artifacts and MLflow."""
        return f"{self.location}.api.azureml.ms"

    @property
    def tracking_uri(self) -> str:
        """The MLflow tracking URI of the workspace."""
        return f"azureml://{self.host}/mlflow/v1.0{self.id}"


def place(cloud: Cloud, workspace_id: str) -> Place:
    """The workspace with this ARM id; Azure's 404 where there is none."""
    document = cloud.store.need(workspace_id)
    parts = document["id"].split("/")
    return Place(document["id"], parts[2], parts[4], parts[8], document["location"], document["properties"]["workspaceId"])


def workspace_of(job_id: str) -> str:
    """The ARM id of the workspace of a job."""
    return job_id.rsplit("/jobs/", 1)[0]


def job_id(workspace_id: str, name: str) -> str:
    """The ARM id of a job."""
    return f"{workspace_id}/jobs/{name}"


def create(
    cloud: Cloud,
    where: Place,
    name: str,
    properties: Document,
    who: Document,
    system_data: Document,
    parent: Document | None = None,
    node: str | None = None,
) -> Document:
    """Write a new job in state NotStarted. ``parent`` makes it a child run, ``node`` the step of a pipeline that it runs."""
    blank: Document = {
        "description": None,
        "tags": {},
        "properties": {},
        "displayName": name,
        "experimentName": "Default",
        "isArchived": False,
        "componentId": None,
        "identity": None,
        "inputs": {},
        "outputs": {},
    }
    full = {**blank, **{key: value for key, value in properties.items() if value is not None}, "status": "NotStarted"}
    full["services"] = {
        "Tracking": {
            "jobServiceType": "Tracking",
            "port": None,
            "endpoint": where.tracking_uri,
            "status": None,
            "errorMessage": None,
            "properties": None,
        },
        "Studio": {
            "jobServiceType": "Studio",
            "port": None,
            "status": None,
            "errorMessage": None,
            "properties": None,
            "endpoint": f"https://ml.azure.com/runs/{name}?wsid={where.id}",
        },
    }
    full["outputs"] = {key: placed_output(name, key, output or {}) for key, output in full["outputs"].items()}
    document: Document = {
        "id": job_id(where.id, name),
        "name": name,
        "type": TYPE,
        "properties": full,
        "systemData": system_data,
        "_run": {
            "parent": parent["name"] if parent else None,
            "root": parent["_run"]["root"] if parent else name,
            "node": node,
            "uuid": str(uuid.uuid4()),
            "number": cloud.now().timestamp(),
            "who": who,
            "created": cloud.stamp(),
            "started": None,
            "ended": None,
            "error": None,
            "warnings": [],
            "statuses": [["NotStarted", cloud.stamp()]],
            "compute": compute_name(full.get("computeId")),
        },
    }
    return save(cloud, document)


def save(cloud: Cloud, document: Document) -> Document:
    """Write a job; children are kept apart, so that listing jobs does not read them."""
    cloud.store.put(document["id"], "child_job" if document["_run"]["parent"] else "job", document)
    changes.mark(workspace_of(document["id"]), document["name"])
    return document


def placed_output(job: str, name: str, output: Document) -> Document:
    """An output with its type, mode and URI: the given one with its placeholders filled in, or a folder of the job's own."""
    kind = output.get("jobOutputType") or output.get("job_output_type") or "uri_folder"
    uri = output.get("uri") or f"azureml://datastores/{output.get('datastore', 'workspaceblobstore')}/paths/azureml/{job}/{name}" + (
        "" if kind == "uri_file" else "/"
    )
    uri = uri.replace("${{name}}", job).replace("${{output_name}}", name)
    shown = {
        key: value
        for key, value in output.items()
        if key in ("description", "assetName", "assetVersion", "autoDeleteSetting", "pathOnCompute")
    }
    return {"description": None, **shown, "jobOutputType": kind, "mode": output.get("mode") or "ReadWriteMount", "uri": uri}


def compute_name(compute_id: str | None) -> str:
    """How run history calls a job's target."""
    return str(compute_id or "Serverless").rsplit("/", 1)[-1]


def need(cloud: Cloud, workspace_id: str, name: str) -> Document:
    """The job; Azure's 404 where there is none."""
    return cloud.store.need(job_id(workspace_id, name))


def children(cloud: Cloud, job: Document) -> list[Document]:
    """The direct children of a job, oldest first."""
    return [one for one in cloud.store.list("child_job", under=f"{workspace_of(job['id'])}/jobs") if one["_run"]["parent"] == job["name"]]


def change(cloud: Cloud, id: str, edit: Callable[[Document], None]) -> Document:
    """Read, edit and write a job in one go."""
    document = cloud.store.need(id)
    edit(document)
    return save(cloud, document)


def set_status(cloud: Cloud, id: str, status: str, error: Document | None = None) -> Document:
    """Move a job on. A job that has ended stays as it ended, and one to be cancelled can only end."""

    def edit(document: Document) -> None:
        run, now = document["_run"], cloud.stamp()
        before = document["properties"]["status"]
        if before in TERMINAL or before == status or (before == "CancelRequested" and status not in TERMINAL):
            return
        document["properties"]["status"] = status
        run["statuses"].append([status, now])
        if status == "Running":
            run["started"] = run["started"] or now
        if status in TERMINAL:
            run["ended"] = now
            run["error"] = error

    return change(cloud, id, edit)


def view(document: Document) -> Document:
    """The job as ARM shows it. The default output, where logs and artifacts are, is listed once the job has ended.

    While it runs, azure-ai-ml 1.35 would otherwise read logs past run history, by a way that needs the account key
    (Azure/azure-sdk-for-python pull request 48972).
    """
    shown = {key: value for key, value in document.items() if key != "_run"}
    properties = dict(document["properties"])
    if properties["status"] in TERMINAL:
        default = {
            "description": None,
            "jobOutputType": "uri_folder",
            "mode": "ReadWriteMount",
            "uri": f"azureml://datastores/workspaceartifactstore/{ARTIFACTS}{document['name']}",
        }
        properties["outputs"] = {"default": default, **properties["outputs"]}
    if document["_run"]["parent"]:
        properties["parentJobName"] = document["_run"]["parent"]
    return {**shown, "properties": properties}


def list_jobs(cloud: Cloud, workspace_id: str, query: dict[str, str]) -> list[Document]:
    """The jobs that stand on their own, newest first, filtered as ARM's list does: ``listViewType``, ``jobType``, ``tag``."""
    cloud.store.need(workspace_id)
    found = cloud.store.list("job", under=f"{workspace_id}/jobs")
    wanted = query.get("listViewType", "ActiveOnly").lower()
    if wanted != "all":
        found = [one for one in found if bool(one["properties"]["isArchived"]) == (wanted == "archivedonly")]
    if kind := query.get("jobType"):
        found = [one for one in found if one["properties"]["jobType"].lower() == kind.lower()]
    if tag := query.get("tag"):
        key, _, value = tag.partition("=")
        found = [one for one in found if key in one["properties"]["tags"] and (not value or one["properties"]["tags"][key] == value)]
    return found[::-1]


def who_is(principal: Principal | None) -> Document:
    """The submitter, as far as a job needs it later: for its token and for run history."""
    if principal is None:
        return {"oid": "", "app_id": "", "kind": "app", "name": "emulator"}
    name = principal.claims.get("app_displayname") or principal.claims.get("name") or principal.app_id
    return {"oid": principal.oid, "app_id": principal.app_id, "kind": principal.kind, "name": str(name)}
