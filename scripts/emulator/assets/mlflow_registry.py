"""MLflow's model registry as Azure has it: another view of the model assets of a workspace or registry.

Source: https://mlflow.org/docs/latest/rest-api.html (registered models and model versions) and azureml-mlflow, which asks this of the
workspace and reads the files through the artifact service. Stages are kept in the asset's ``stage``; there are no aliases, as on Azure.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from starlette.responses import JSONResponse

from emulator.assets import models, paths, writing
from emulator.assets.models import KINDS
from emulator.core import Call
from emulator.errors import AzureError
from emulator.registries.models import TYPE as REGISTRY_TYPE
from emulator.registries.models import registry_id
from emulator.workspaces.models import TYPE as WORKSPACE_TYPE
from emulator.workspaces.models import workspace_id

Document = dict[str, Any]

MODEL = KINDS["models"]
STAGES = ("None", "Staging", "Production", "Archived")
DATASTORE = "datastore"  # the origin under which the artifact service shows files of a datastore
_RUN_ARTIFACT = re.compile(r"azureml://.+/runs/(?P<job>[^/]+)/artifacts/?(?P<path>.*)")
_FILTER = re.compile(
    r"\s*(?:tags?\.`?(?P<tag>[^`\s=!]+)`?|(?P<field>\w+))\s*(?P<how>=|!=|LIKE|ILIKE)\s*'(?P<value>[^']*)'\s*", re.IGNORECASE
)


class MlflowError(Exception):
    """An error in MLflow's form, which its client reads the code of."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def parent_of(call: Call) -> str:
    """The workspace or registry that a call is about."""
    if "workspace" in call.params:
        return workspace_id(call.params["subscription"], call.params["group"], call.params["workspace"])
    return registry_id(call.params["subscription"], call.params["group"], call.params["registry"])


def action(operation: str, in_registry: bool) -> str:
    """The RBAC action of an operation such as ``model-versions/create``."""
    right = "read" if operation.split("/")[1] in ("get", "search", "get-latest-versions", "get-download-uri") else "write"
    if "delete" in operation.split("/")[1] and "tag" not in operation:
        right = "delete"
    if in_registry:
        return f"{REGISTRY_TYPE}/assets/{right}"
    return f"{WORKSPACE_TYPE}/models/{'versions/' if operation.startswith('model-versions') else ''}{right}"


def handler(operation: str) -> Callable[[Call], Any]:
    """The handler of one operation; MLflow's GET requests carry their fields in the query, the others in the body."""

    async def handle(call: Call) -> Any:
        body = call.body if call.raw else {}
        fields = {**call.query, **(body if isinstance(body, dict) else {})}
        try:
            call.cloud.store.need(parent_of(call))
            return await OPERATIONS[operation](call, fields)
        except MlflowError as error:
            return JSONResponse({"error_code": error.code, "message": str(error)}, error.status)
        except AzureError as error:
            code = {404: "RESOURCE_DOES_NOT_EXIST", 409: "RESOURCE_ALREADY_EXISTS"}.get(error.status, "INVALID_PARAMETER_VALUE")
            return JSONResponse({"error_code": code, "message": _sentence(error)}, error.status)

    return handle


def _sentence(error: AzureError) -> str:
    return " ".join([error.message, *(str(detail.get("message")) for detail in error.details)])


# --- registered models ---


async def create_model(call: Call, fields: Document) -> Document:
    name = _text(fields, "name")
    if call.cloud.store.exists(models.asset_id(parent_of(call), MODEL, name)):
        raise MlflowError(400, "RESOURCE_ALREADY_EXISTS", f"Registered Model (name={name}) already exists.")
    properties = {"description": fields.get("description"), "tags": _tags(fields)}
    made = writing.put_container(call.cloud, parent_of(call), MODEL, name, {"properties": properties}, call.principal)
    return {"registered_model": _shown_model(call, made)}


async def get_model(call: Call, fields: Document) -> Document:
    return {"registered_model": _shown_model(call, _model(call, fields))}


async def update_model(call: Call, fields: Document) -> Document:
    name = str(_model(call, fields)["name"])
    properties = {"description": fields.get("description") or ""}
    return {
        "registered_model": _shown_model(
            call, writing.put_container(call.cloud, parent_of(call), MODEL, name, {"properties": properties}, call.principal)
        )
    }


async def delete_model(call: Call, fields: Document) -> Document:
    writing.delete(call.cloud, parent_of(call), MODEL, str(_model(call, fields)["name"]))
    return {}


async def search_models(call: Call, fields: Document) -> Document:
    found = [one for one in call.cloud.store.list(MODEL.name, under=parent_of(call)) if not one["properties"].get("isArchived")]
    wanted = _filter(fields, {"name"})
    shown = [_shown_model(call, one) for one in found if wanted({"name": one["name"], "tags": one["properties"].get("tags") or {}})]
    return {"registered_models": shown[: int(fields.get("max_results") or 100)]}


async def latest_versions(call: Call, fields: Document) -> Document:
    model = _model(call, fields)
    stages = [str(stage).lower() for stage in fields.get("stages") or []]
    newest: dict[str, Document] = {}
    for one in _versions(call, model["name"]):
        newest[_stage(one).lower()] = one
    return {"model_versions": [_shown_version(call, one) for stage, one in newest.items() if not stages or stage in stages]}


async def tag_model(call: Call, fields: Document) -> Document:
    return await _retag(call, _model(call, fields), fields)


# --- versions ---


async def create_version(call: Call, fields: Document) -> Document:
    name, source = _text(fields, "name"), _text(fields, "source")
    container = call.cloud.store.get(models.asset_id(parent_of(call), MODEL, name))
    if container is None:
        raise MlflowError(404, "RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={name} not found")
    uri = _asset_uri(source)
    located = paths.locate(call.cloud, parent_of(call), uri, kind=MODEL.plural)
    kind = "mlflow_model" if await paths.read(call.cloud, located, "MLmodel") else "custom_model"
    properties = {
        "modelUri": uri,
        "modelType": kind,
        "description": fields.get("description"),
        "tags": _tags(fields),
        "jobName": fields.get("run_id") or None,
    }
    version = str(container["properties"].get("nextVersion") or "1")
    made, _ = await writing.put_version(call.cloud, parent_of(call), MODEL, name, version, {"properties": properties}, call.principal)
    return {"model_version": _shown_version(call, made)}


async def get_version(call: Call, fields: Document) -> Document:
    return {"model_version": _shown_version(call, _version(call, fields))}


async def update_version(call: Call, fields: Document) -> Document:
    return await _change(call, fields, {"description": fields.get("description") or ""})


async def move_version(call: Call, fields: Document) -> Document:
    stage = next((one for one in STAGES if one.lower() == _text(fields, "stage").lower()), None)
    if stage is None:
        raise MlflowError(
            400, "INVALID_PARAMETER_VALUE", f"Invalid Model Version stage: {fields['stage']}. Value must be one of {', '.join(STAGES)}."
        )
    moved = _version(call, fields)
    if str(fields.get("archive_existing_versions", "")).lower() == "true":
        for other in _versions(call, _name_of(moved)):
            if other["id"] != moved["id"] and _stage(other) == stage:
                other["properties"]["stage"] = "Archived"
                call.cloud.store.put(other["id"], "model_version", other)
    return await _change(call, fields, {"stage": stage})


async def delete_version(call: Call, fields: Document) -> Document:
    gone = _version(call, fields)
    writing.delete(call.cloud, parent_of(call), MODEL, _name_of(gone), gone["name"])
    return {}


async def search_versions(call: Call, fields: Document) -> Document:
    wanted = _filter(fields, {"name", "run_id"})
    found = [
        one
        for one in call.cloud.store.list("model_version", under=f"{parent_of(call)}/models")
        if not one["properties"].get("isArchived")
        and wanted({"name": _name_of(one), "run_id": one["properties"].get("jobName"), "tags": one["properties"].get("tags") or {}})
    ]
    return {"model_versions": [_shown_version(call, one) for one in found[::-1][: int(fields.get("max_results") or 10000)]]}


async def tag_version(call: Call, fields: Document) -> Document:
    return await _retag(call, _version(call, fields), fields)


async def download_uri(call: Call, fields: Document) -> Document:
    """Where azureml-mlflow finds the files (its ``_store/artifact/utils.py``): in the artifact service, or in a registry's storage."""
    version = _version(call, fields)
    located = paths.locate(call.cloud, parent_of(call), version["properties"]["modelUri"])
    if "registry" in call.params:
        place = f"registries/{call.params['registry']}/models/{_name_of(version)}/versions/{version['name']}"
        return {
            "artifact_uri": f"azureml://{call.host}/mlflow/v2.0/{place}/storage/{located.account}/paths/{located.container}/{located.prefix}"
        }
    folder, _, last = located.prefix.rstrip("/").rpartition("/")
    handle = base64.urlsafe_b64encode(f"{located.account}/{located.container}/{folder}".encode()).decode().rstrip("=")
    return {"artifact_uri": f"azureml://artifacts/{DATASTORE}/{handle}/{last}"}


# --- files of a datastore through the artifact service ---


async def list_files(call: Call) -> Document:
    found = await paths.files(call.cloud, _handle(call))
    return {"value": [_file(call, path) for path in found], "continuationToken": None, "nextLink": None}


async def file_content(call: Call) -> Document:
    located, path = _handle(call), call.query.get("path", "")
    if list(await paths.files(call.cloud, located.below(path))) != [""]:
        raise AzureError(404, "UserError", f"Could not find the artifact {path}.")
    uri = call.cloud.storage.sas(located.account, located.container, "r", blob=located.below(path).prefix)
    return {**_file(call, path), "contentUri": uri}


def _handle(call: Call) -> paths.Located:
    text = call.params["container"]
    try:
        account, container, prefix = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split("/", 2)
    except ValueError as error:
        raise AzureError(404, "UserError", f"Could not find the artifact container {text}.") from error
    workspace = call.cloud.store.need(parent_of(call))
    own = {one["properties"].get("accountName") for one in call.cloud.store.list("datastore", under=workspace["id"])}
    if account not in own:
        raise AzureError(404, "UserError", f"Could not find the artifact container {text}.")
    return paths.Located(account, container, prefix)


def _file(call: Call, path: str) -> Document:
    return {"origin": DATASTORE, "container": call.params["container"], "path": path}


# --- between the two views ---


def _asset_uri(source: str) -> str:
    if match := _RUN_ARTIFACT.fullmatch(source):
        return f"azureml://jobs/{match['job']}/outputs/artifacts/paths/{match['path']}"
    if source.startswith("azureml://artifacts/"):
        return f"azureml://datastores/workspaceartifactstore/paths/{source.removeprefix('azureml://artifacts/')}"
    return source


def _model(call: Call, fields: Document) -> Document:
    name = _text(fields, "name")
    found = call.cloud.store.get(models.asset_id(parent_of(call), MODEL, name))
    if found is None:
        raise MlflowError(404, "RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={name} not found")
    return found


def _version(call: Call, fields: Document) -> Document:
    name, version = _text(fields, "name"), _text(fields, "version")
    found = call.cloud.store.get(models.asset_id(parent_of(call), MODEL, name, version))
    if found is None:
        raise MlflowError(404, "RESOURCE_DOES_NOT_EXIST", f"Model Version (name={name}, version={version}) not found")
    return found


def _versions(call: Call, name: str) -> Iterator[Document]:
    return (one for one in models.versions(call.cloud, parent_of(call), MODEL, name) if not one["properties"].get("isArchived"))


async def _change(call: Call, fields: Document, changes: Document) -> Document:
    version = _version(call, fields)
    keep = {key: version["properties"][key] for key in ("modelUri", "modelType")}
    body = {"properties": {**keep, **changes}}
    made, _ = await writing.put_version(call.cloud, parent_of(call), MODEL, _name_of(version), version["name"], body, call.principal)
    return {"model_version": _shown_version(call, made)}


async def _retag(call: Call, document: Document, fields: Document) -> Document:
    tags = dict(document["properties"].get("tags") or {})
    if "value" in fields:
        tags[_text(fields, "key")] = str(fields["value"])
    else:
        tags.pop(_text(fields, "key"), None)
    document["properties"]["tags"] = tags
    call.cloud.store.put(document["id"], "model_version" if "/versions/" in document["id"] else "model", document)
    return {}


def _shown_model(call: Call, document: Document) -> Document:
    newest = list(_versions(call, document["name"]))[-1:]
    return {
        "name": document["name"],
        "creation_timestamp": _milliseconds(document, "createdAt"),
        "last_updated_timestamp": _milliseconds(document, "lastModifiedAt"),
        "description": document["properties"].get("description") or "",
        "latest_versions": [_shown_version(call, one) for one in newest],
        "tags": _pairs(document),
    }


def _shown_version(call: Call, document: Document) -> Document:
    properties = document["properties"]
    return {
        "name": _name_of(document),
        "version": document["name"],
        "creation_timestamp": _milliseconds(document, "createdAt"),
        "last_updated_timestamp": _milliseconds(document, "lastModifiedAt"),
        "user_id": (document.get("systemData") or {}).get("createdBy", ""),
        "current_stage": _stage(document),
        "description": properties.get("description") or "",
        "source": properties["modelUri"],
        "run_id": properties.get("jobName") or "",
        "status": "READY",
        "tags": _pairs(document),
    }


def _stage(document: Document) -> str:
    return str(document["properties"].get("stage") or "None")


def _name_of(version: Document) -> str:
    return str(version["id"].split("/models/")[-1].split("/")[0])


def _pairs(document: Document) -> list[Document]:
    return [{"key": key, "value": value or ""} for key, value in (document["properties"].get("tags") or {}).items()]


def _tags(fields: Document) -> dict[str, str]:
    return {str(tag["key"]): str(tag.get("value", "")) for tag in fields.get("tags") or []}


def _milliseconds(document: Document, field: str) -> int:
    text = (document.get("systemData") or {}).get(field)
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000) if text else 0


def _text(fields: Document, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise MlflowError(400, "INVALID_PARAMETER_VALUE", f"Missing value for required parameter '{name}'.")
    return value


def _filter(fields: Document, allowed: set[str]) -> Callable[[Document], bool]:
    """The test that a search's filter makes of a model or version; MLflow itself adds one on a tag, to leave prompts out."""
    tests = []
    for part in filter(str.strip, re.split(r"\s+and\s+", fields.get("filter") or "", flags=re.IGNORECASE)):
        match = _FILTER.fullmatch(part)
        if not match or not (match["tag"] or match["field"].lower() in allowed):
            raise MlflowError(
                400,
                "INVALID_PARAMETER_VALUE",
                f"Invalid filter '{part}': {', '.join(sorted(allowed))} or tags.<key>, =, !=, LIKE or ILIKE, '<value>'.",
            )
        tests.append(match)
    return lambda values: all(_passes(match, values) for match in tests)


def _passes(match: re.Match[str], values: Document) -> bool:
    value = values["tags"].get(match["tag"]) if match["tag"] else values[match["field"].lower()]
    how, wanted = match["how"].upper(), re.escape(match["value"])
    if how == "!=":
        return bool(value != match["value"])
    pattern = wanted.replace("%", ".*") if "LIKE" in how else wanted
    return value is not None and bool(re.fullmatch(pattern, value, re.IGNORECASE if how == "ILIKE" else 0))


OPERATIONS: dict[str, Callable[[Call, Document], Any]] = {
    "registered-models/create": create_model,
    "registered-models/get": get_model,
    "registered-models/update": update_model,
    "registered-models/delete": delete_model,
    "registered-models/search": search_models,
    "registered-models/get-latest-versions": latest_versions,
    "registered-models/set-tag": tag_model,
    "registered-models/delete-tag": tag_model,
    "model-versions/create": create_version,
    "model-versions/get": get_version,
    "model-versions/update": update_version,
    "model-versions/delete": delete_version,
    "model-versions/search": search_versions,
    "model-versions/transition-stage": move_version,
    "model-versions/set-tag": tag_version,
    "model-versions/delete-tag": tag_version,
    "model-versions/get-download-uri": download_uri,
}
