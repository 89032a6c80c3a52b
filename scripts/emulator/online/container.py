"""What Azure puts into a deployment's container: environment, model, code, variables; brought side by side.

The layout is Azure's, below a folder of the revision: code at ``azureml-app/<folder>`` (``AML_APP_ROOT``), the model at
``azureml-app/azureml-models/<name>/<version>`` (``AZUREML_MODEL_DIR``), where it keeps the last part of the path it was registered from
(https://learn.microsoft.com/azure/machine-learning/concept-online-deployment-model-specification).
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulator.assets import models as assets
from emulator.assets import paths
from emulator.environments.models import BuildFailed, build
from emulator.errors import AzureError
from emulator.online import injection, nocode
from emulator.online.exceptions import failed, not_emulated
from emulator.online.logs import Record
from emulator.online.serving import SERVE, Limits, Probe, Server, seconds
from emulator.workspaces.models import account_of

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]


async def prepare(cloud: Cloud, deployment: Document, folder: Path, record: Record) -> Document:
    """Fill the folder of a revision. What the server is started with is returned, for now and for after a restart.

    Raises the failure of the operation: ImageBuildFailure, BadArgument, ResourceNotFound, SecretsInjectionError.
    """
    properties = deployment["properties"]
    workspace = cloud.store.need("/".join(deployment["id"].split("/")[:9]))
    script = properties["codeConfiguration"]
    variables = injection.inject(cloud, workspace, deployment)
    model = _asset(cloud, workspace, properties["model"], "models")
    code = _asset(cloud, workspace, script["codeId"], "codes") if script else None
    given = _asset(cloud, workspace, properties["environmentId"], "environments")
    if script is None and (model is None or model["properties"].get("modelType") != "mlflow_model"):
        raise failed("BadArgument", "A deployment without a scoring script needs an MLflow model.")
    if given:
        environment = _with_server({**given["properties"], "name": _name(given)})
    else:
        environment = await nocode.environment(cloud, _place(cloud, workspace, model))

    code_at = _place(cloud, workspace, code)
    app = folder / "azureml-app"
    root = app / (_last(code_at) if code_at else "mlflow_resources")
    root.mkdir(parents=True)
    _, model_at, _ = await asyncio.gather(
        _image(cloud, workspace, environment, record),
        _bring_model(cloud, workspace, model, app, record),
        _bring_code(cloud, code_at, root, record),
    )
    record.step("ModelDownload", "Succeeded")
    record.event(cloud.now(), "Downloaded", "Models are downloaded successfully or no model need to download")
    entry = script["scoringScript"] if script else nocode.SCORE.name
    if script is None:
        shutil.copy(nocode.SCORE, root)
        variables["MLFLOW_MODEL_FOLDER"] = model_at.name if model_at else ""
    home = cloud.home
    return {
        "folder": str(folder.relative_to(home)), "root": str(root.relative_to(home)), "entry": entry, "environment": environment,
        "model_dir": str(model_at.parent.relative_to(home)) if model_at else None, "variables": variables,
    }  # fmt: skip


async def server(cloud: Cloud, deployment: Document, launch: Document) -> Server:
    """The inference server of a prepared revision, not yet started. An environment that was cleared away since is built again."""
    python = (await build(cloud, launch["environment"])).python
    properties, root = deployment["properties"], cloud.home / launch["root"]
    folder = cloud.home / launch["folder"]
    scratch = folder / "home"
    scratch.mkdir(exist_ok=True)
    parts = deployment["id"].split("/")
    environment = {
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(scratch),  # the web server keeps a control socket there
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **cloud.client_env(),
        **launch["variables"],
        "AML_APP_ROOT": str(root),
        "AZUREML_ENTRY_SCRIPT": launch["entry"],
        "SERVICE_NAME": parts[12],
        "WORKSPACE_NAME": parts[8],
        **({"AZUREML_MODEL_DIR": str(cloud.home / launch["model_dir"])} if launch["model_dir"] else {}),
    }
    return Server(
        cloud, f"deployment {parts[10]}/{parts[12]}", [python, SERVE, "--entry_script", launch["entry"]], environment, root, Record(folder),
        readiness=Probe.read(properties["readinessProbe"]), liveness=Probe.read(properties["livenessProbe"]), limits=limits(deployment),
        wanted=lambda: cloud.store.exists(deployment["id"]),  # a workspace or resource group takes its deployments with it
    )  # fmt: skip


def limits(deployment: Document) -> Limits:
    """What a deployment takes: one process serves it, but the limits are those of all its instances."""
    settings = deployment["properties"]["requestSettings"]
    return Limits(settings["maxConcurrentRequestsPerInstance"] * deployment["sku"]["capacity"], seconds(settings["requestTimeout"]))


def _asset(cloud: Cloud, workspace: Document, reference: str | None, kind: str) -> Document | None:
    if not reference:
        return None
    try:
        _, found = assets.resolve(cloud, workspace["id"], reference, kind)
    except AzureError as error:
        raise failed("ResourceNotFound", f"The specified resource was not found: {reference} ({error.message}).", status=404) from error
    return found


def _place(cloud: Cloud, workspace: Document, asset: Document | None) -> paths.Located | None:
    return paths.locate(cloud, workspace["id"], asset["id"]) if asset else None


def _name(asset: Document) -> str:
    return str(asset["id"].split("/")[-3])


def _last(place: paths.Located) -> str:
    return place.prefix.rstrip("/").rsplit("/", 1)[-1] or "root"


def _with_server(environment: Document) -> Document:
    """Microsoft's inference images bring the server; a conda file on top of one need not name it."""
    if environment.get("inferenceConfig"):
        raise not_emulated("environments with an inferenceConfig (custom containers)")
    image, conda = str(environment.get("image") or ""), environment.get("condaFile")
    if conda and "mcr.microsoft.com/" in image and "inference" in image:
        return {**environment, "condaFile": nocode.with_packages(conda, [nocode.SERVER])}
    return environment


async def _image(cloud: Cloud, workspace: Document, environment: Document, record: Record) -> None:
    record.step("UserContainerImagePull", "InProgress")
    record.event(cloud.now(), "Pulling", "Start pulling container image")
    try:
        await build(cloud, environment)
    except BuildFailed as problem:
        record.step("UserContainerImagePull", "Failed")
        account = account_of(workspace["properties"]["storageAccount"])
        place = paths.Located(account, "azureml", f"ImageLogs/{problem.log.parent.name}/build.log")
        await paths.upload(cloud, problem.log, place)
        raise failed(
            "ImageBuildFailure",
            f"The image build failed; the build log is under the storage account '{account}' in the container '{place.container}' "
            f"at the path '{place.prefix}': "
            f"{_end(str(problem))}",
        ) from problem
    record.step("UserContainerImagePull", "Succeeded")
    record.event(cloud.now(), "Pulled", "Container image is pulled successfully")


async def _bring_model(cloud: Cloud, workspace: Document, model: Document | None, app: Path, record: Record) -> Path | None:
    if model is None:
        return None
    place = _place(cloud, workspace, model)
    assert place is not None
    record.step("ModelDownload", "InProgress")
    record.event(cloud.now(), "Downloading", "Start downloading models")
    parts = model["id"].split("/")
    target = app / "azureml-models" / parts[-3] / parts[-1]
    return await _bring(cloud, "model", place, target, target / _last(place), record)


async def _bring_code(cloud: Cloud, code: paths.Located | None, root: Path, record: Record) -> None:
    if code:
        await _bring(cloud, "code", code, root, root, record)


async def _bring(cloud: Cloud, what: str, place: paths.Located, for_file: Path, for_tree: Path, record: Record) -> Path:
    """Download a blob into one folder, or a tree into another; where it is then."""
    record.stored(cloud.now(), f"Downloading {what} from {place.url}")
    try:
        single = list(await paths.files(cloud, place)) == [""]
        found = await paths.download(cloud, place, for_file if single else for_tree)
    except AzureError as error:
        record.stored(cloud.now(), f"Download of {what} failed: {error.message}")
        record.step("ModelDownload", "Failed")
        record.event(
            cloud.now(), "DownloadFailed", f"Download of {what} failed. Please check storage-initializer log for detail.", "Warning"
        )
        raise failed("BadArgument", f"Unable to download user {what}: {error.message}.") from error
    record.stored(cloud.now(), f"Downloaded {what} to {found}")
    return found


def _end(text: str) -> str:
    return " ".join(text.split())[-500:]
