"""Runs as run history shows them, and the artifacts that belong to them.

Source: the run history client in azure-ai-ml (``_restclient/runhistory``) and the artifact clients in azureml-mlflow
(``_restclient/run_artifact``, ``artifact``).
"""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from emulator.assets import paths
from emulator.core import TENANT
from emulator.errors import AzureError
from emulator.jobs import models as jobs
from emulator.jobs.models import Document, Place

if TYPE_CHECKING:
    from emulator.core import Cloud

# Run history spells types otherwise than ARM (Azure/azure-sdk-for-python issue 48941).
OUTPUT_TYPES = {
    "uri_file": "UriFile",
    "uri_folder": "UriFolder",
    "mltable": "MLTable",
    "mlflow_model": "MLFlowModel",
    "custom_model": "CustomModel",
    "triton_model": "TritonModel",
}
_RUN_TYPES = {"Command": "azureml.scriptrun", "Pipeline": "azureml.PipelineRun", "Sweep": "hyperdrive"}
_ORCHESTRATORS = {"Command": "Execution", "Pipeline": "PipelineRun", "Sweep": "HyperDrive"}
LOG_FOLDERS = ("user_logs/", "azureml-logs/", "logs/azureml/", "system_logs/")
_OUTPUT_ASSET = re.compile(
    r"azureml://locations/[^/]+/workspaces/[^/]+/(?:data|models)/azureml_(?P<job>.+)_output_data_(?P<output>[\w.-]+)/versions/1"
)


def need(cloud: Cloud, where: Place, run_id: str) -> Document:
    """The job of a run; run history's 404 where there is none."""
    found = cloud.store.get(jobs.job_id(where.id, run_id))
    if found is None:
        raise AzureError(404, "UserError", f"Run {run_id} was not found in workspace {where.name}.", target=run_id)
    return found


def error_of(document: Document, where: Place) -> Document | None:
    """The error of a run in run history's envelope."""
    error = document["_run"]["error"]
    if not error:
        return None
    return {
        "error": error,
        "correlation": {"operation": document["_run"]["uuid"]},
        "environment": where.location,
        "location": where.location,
        "time": document["_run"]["ended"],
    }


def run(cloud: Cloud, where: Place, document: Document) -> Document:
    """A run's metadata."""
    inner, properties = document["_run"], document["properties"]
    who = inner["who"]
    user = {"userObjectId": who["oid"], "userTenantId": TENANT, "userName": who["name"], "upn": None}
    parent = cloud.store.get(jobs.job_id(where.id, inner["parent"])) if inner["parent"] else None
    return {
        "runNumber": int(inner["number"]),
        "rootRunId": inner["root"],
        "createdUtc": inner["created"],
        "createdBy": user,
        "userId": who["oid"],
        "token": None,
        "error": error_of(document, where),
        "warnings": inner["warnings"] or None,
        "revision": len(inner["statuses"]),
        "statusRevision": len(inner["statuses"]),
        "runUuid": inner["uuid"],
        "parentRunUuid": parent["_run"]["uuid"] if parent else None,
        "lastModifiedUtc": inner["statuses"][-1][1],
        "lastModifiedBy": user,
        "duration": _duration(cloud, inner),
        "cancelationReason": None,
        "runId": document["name"],
        "parentRunId": inner["parent"],
        "experimentId": properties["experimentName"],
        "status": properties["status"],
        "startTimeUtc": inner["started"],
        "endTimeUtc": inner["ended"],
        "displayName": properties["displayName"],
        "name": None,
        "dataContainerId": f"dcid.{document['name']}",
        "description": properties["description"],
        "hidden": properties["isArchived"],
        "runType": "azureml.StepRun"
        if inner["node"] and parent and parent["properties"]["jobType"] == "Pipeline"
        else _RUN_TYPES[properties["jobType"]],
        "runTypeV2": {"orchestrator": _ORCHESTRATORS[properties["jobType"]], "traits": [], "attribution": None, "computeType": None},
        "properties": properties["properties"],
        "parameters": {key: str(value) for key, value in (properties.get("parameters") or {}).items()},
        "target": inner["compute"],
        "compute": {"target": inner["compute"], "targetType": "AmlCompute", "vmSize": None, "instanceCount": 1},
        "tags": properties["tags"],
        "services": {},
        "inputDatasets": [],
        "outputDatasets": [],
        "runDefinition": None,
        "jobSpecification": None,
        "inputs": {},
        "outputs": outputs(where, document),
        "retainForLifetimeOfWorkspace": False,
    }


def _duration(cloud: Cloud, inner: Document) -> str | None:
    if not inner["started"]:
        return None
    begin, end = (datetime.fromisoformat(text.replace("Z", "+00:00")) for text in (inner["started"], inner["ended"] or cloud.stamp()))
    return "0" + str(end - begin) if (end - begin).total_seconds() < 36000 else str(end - begin)


def outputs(where: Place, document: Document) -> Document:
    """The outputs of a run that ended well, each under the asset that the service makes of it."""
    if document["properties"]["status"] != "Completed":
        return {}
    found = {}
    for name, output in document["properties"]["outputs"].items():
        kind = "models" if output["jobOutputType"].endswith("_model") else "data"
        asset = (
            f"azureml://locations/{where.location}/workspaces/{where.guid}/{kind}/azureml_{document['name']}_output_data_{name}/versions/1"
        )
        found[name] = {"assetId": asset, "type": OUTPUT_TYPES[output["jobOutputType"]]}
    return found


def output_uri(cloud: Cloud, where: Place, asset: str) -> tuple[str, str]:
    """The place and the type behind an asset that ``outputs`` names; 404 for others."""
    match = _OUTPUT_ASSET.fullmatch(asset)
    document = cloud.store.get(jobs.job_id(where.id, match["job"])) if match else None
    output = document["properties"]["outputs"].get(match["output"]) if document and match else None
    if output is None:
        raise AzureError(404, "UserError", f"The asset {asset} was not found.", target=asset)
    return paths.long_uri(where.id, output["uri"]), output["jobOutputType"]


async def details(cloud: Cloud, where: Place, document: Document) -> Document:
    """What a client polls while a job runs: its status, error and logs, with an address to read each log at."""
    shown = run(cloud, where, document)
    return {
        **{
            key: shown[key]
            for key in (
                "runId",
                "runUuid",
                "parentRunUuid",
                "target",
                "status",
                "parentRunId",
                "startTimeUtc",
                "endTimeUtc",
                "error",
                "warnings",
                "tags",
                "properties",
                "parameters",
                "services",
                "inputDatasets",
                "outputDatasets",
                "runDefinition",
                "revision",
                "runTypeV2",
                "compute",
                "createdBy",
                "runNumber",
                "rootRunId",
                "userId",
                "statusRevision",
                "lastModifiedBy",
                "lastModifiedUtc",
                "duration",
                "inputs",
                "outputs",
            )
        },
        "createdTimeUtc": shown["createdUtc"],
        "logFiles": await log_files(cloud, where, document["name"]),
    }


async def log_files(cloud: Cloud, where: Place, run_id: str) -> dict[str, str]:
    """The logs of a run, each with a URL that can be read for an hour."""
    names = [name for name in await artifact_paths(cloud, where, run_id) if name.startswith(LOG_FOLDERS)]
    return {name: content_uri(cloud, where, run_id, name, "r") for name in names}


def folder(cloud: Cloud, where: Place, run_id: str) -> paths.Located:
    """Where the artifacts of a run are."""
    return paths.in_datastore(cloud, where.id, "workspaceartifactstore", f"{jobs.ARTIFACTS}{run_id}/")


def container_folder(cloud: Cloud, where: Place, origin: str, container: str) -> paths.Located:
    """Where the artifacts of any container are: ``ExperimentRun/dcid.<run>`` or ``LocalUpload/<id>``."""
    return paths.in_datastore(cloud, where.id, "workspaceartifactstore", f"{origin}/{container}/")


async def artifact_paths(cloud: Cloud, where: Place, run_id: str) -> list[str]:
    """The paths of a run's artifacts, in order."""
    return list(await paths.files(cloud, folder(cloud, where, run_id)))


def content_uri(cloud: Cloud, where: Place, run_id: str, path: str, permissions: str) -> str:
    """An address at which one artifact of a run can be read or written."""
    place = folder(cloud, where, run_id).below(path)
    return cloud.storage.sas(place.account, place.container, permissions, blob=place.prefix)


def described(origin: str, container: str, path: str) -> Document:
    """An artifact as the artifact service describes it."""
    return {
        "artifactId": f"{origin}/{container}/{path}",
        "origin": origin,
        "container": container,
        "path": path,
        "etag": None,
        "createdTime": None,
        "tags": {},
    }


async def content(cloud: Cloud, located: paths.Located, path: str, described_as: Document) -> Document:
    """Where to read one artifact; 404 where there is none."""
    place = located.below(path)
    if list(await paths.files(cloud, place)) != [""]:
        raise AzureError(404, "UserError", f"Artifact {described_as['artifactId']} was not found.", target=path)
    return {**described_as, "contentUri": cloud.storage.sas(place.account, place.container, "r", blob=place.prefix)}


async def make_empty(cloud: Cloud, located: paths.Located, origin: str, container: str, body: Any) -> Document:
    """Addresses at which a client may write the artifacts whose paths it sent."""
    wanted = [one["path"] for one in (body or {}).get("paths") or []]
    await cloud.storage.ready(located.account)
    artifacts = {path: described(origin, container, path) for path in wanted}

    def address(path: str) -> str:
        place = located.below(path)
        return cloud.storage.sas(place.account, place.container, "rcw", blob=place.prefix)

    addresses = await asyncio.to_thread(lambda: {path: address(path) for path in wanted})
    information = {path: {**artifacts[path], "contentUri": addresses[path]} for path in wanted}
    return {"artifacts": artifacts, "artifactContentInformation": information, "errors": {}}
