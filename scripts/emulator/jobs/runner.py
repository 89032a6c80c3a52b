"""Runs one command: environment, code and inputs brought here, the process in its own folder, outputs and logs sent where they belong.

Sources: https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-command, how-to-read-write-data-v2 for the modes, and
how-to-save-write-experiment-files for the special folders ``outputs`` and ``logs``. Mounts are done by copying in and out.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from emulator.assets import models as assets
from emulator.assets import paths, writing
from emulator.environments.models import BuildFailed, Built, build, notes_of
from emulator.errors import AzureError
from emulator.jobs import bindings, logs, models
from emulator.jobs.durations import seconds
from emulator.jobs.models import Document, JobFailed, Place, TimedOut
from emulator.jobs.variables import run_variables

if TYPE_CHECKING:
    from emulator.core import Cloud
    from emulator.jobs.scheduler import Turns

T = TypeVar("T")
RUN_LIMIT = 21 * 24 * 3600.0  # seconds; the service's longest run
TAIL = 30  # lines of the log that an error carries


@dataclass
class Workplace:
    """The folders of one run, and what its expressions mean."""

    root: Path
    values: dict[str, str | None] = field(default_factory=dict)
    outputs: dict[str, tuple[Path, Document]] = field(default_factory=dict)

    @property
    def code(self) -> Path:
        return self.root / "wd"

    @property
    def std_log(self) -> Path:
        return self.root / "std_log.txt"


async def run(cloud: Cloud, document: Document, turns: Turns) -> None:
    """Run a command job to its end, as soon as it has a turn.

    Raises JobFailed with the error that the run shows, TimedOut past the job's limit, and CancelledError when it is cancelled; the process
    group and the folders are gone then.
    """
    where = models.place(cloud, models.workspace_of(document["id"]))
    id, name = document["id"], document["name"]
    properties = document["properties"]
    workplace = Workplace(cloud.home / "jobs" / where.guid / name)
    shutil.rmtree(workplace.root, ignore_errors=True)
    for folder in ("wd", "inputs", "outputs", "tmp", "home"):
        (workplace.root / folder).mkdir(parents=True)
    lifecycle = logs.RunLog(cloud, where.id, name, logs.LIFECYCLE)
    try:
        models.set_status(cloud, id, "Starting")
        models.set_status(cloud, id, "Preparing")
        built, spec = await _environment(cloud, where, name, properties)
        await lifecycle.line(f"environment {properties['environmentId']}: {built.digest}")
        for note in await notes_of(spec):
            await lifecycle.line(f"note: {note}")
        models.set_status(cloud, id, "Queued")
        async with turns.turn():
            models.set_status(cloud, id, "Running")
            await _prepare(cloud, where, document, workplace)
            await _execute(cloud, where, document, workplace, built, spec, turns)
            models.set_status(cloud, id, "Finalizing")
            await _send_outputs(cloud, where, name, workplace, succeeded=True)
            await _register_outputs(cloud, where, properties["outputs"])
        await lifecycle.line("run completed")
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, workplace.root, ignore_errors=True))


async def _environment(cloud: Cloud, where: Place, name: str, properties: Document) -> tuple[Built, Document]:
    asset = assets.resolve(cloud, where.id, properties["environmentId"], "environments")[1]
    spec: Document = asset["properties"]
    try:
        return await build(cloud, spec), spec
    except BuildFailed as error:
        await logs.RunLog(cloud, where.id, name, logs.IMAGE_BUILD).write(error.log.read_bytes())
        end = "\n".join(str(error).splitlines()[-8:])
        raise JobFailed(
            f"Image build failed. For more details, check log file {logs.IMAGE_BUILD}.\n{end}", inner="ImageBuildFailure"
        ) from error


async def _prepare(cloud: Cloud, where: Place, document: Document, workplace: Workplace) -> None:
    """Bring code and inputs, make the outputs' folders, and give every expression its value."""
    properties = document["properties"]
    if properties.get("codeId"):
        uri = assets.resolve(cloud, where.id, properties["codeId"], "codes")[1]["properties"]["codeUri"]
        await _reach(paths.download(cloud, paths.locate(cloud, where.id, uri), workplace.code), "the code of the job")
    for name, given in properties["inputs"].items():
        workplace.values[f"inputs.{name}"] = await _input(cloud, where, name, given, workplace)
    for name, output in properties["outputs"].items():
        workplace.values[f"outputs.{name}"] = _output(where, name, output, workplace)
    for name, value in (document["_run"].get("search") or {}).items():
        text = value if isinstance(value, str) else json.dumps(value)
        workplace.values.update({f"search_space.{name}": text, f"inputs.{name}": text})


async def _input(cloud: Cloud, where: Place, name: str, given: Document, workplace: Workplace) -> str | None:
    kind = given.get("jobInputType", "literal")
    if kind == "literal":
        return None if given.get("value") is None else str(given["value"])
    uri, mode = str(given["uri"]), str(given.get("mode") or "ReadOnlyMount")
    located = await _reach(_locate(cloud, where, uri, kind), f"input '{name}'")
    if mode.lower() == "direct":
        return paths.long_uri(where.id, uri) if uri.startswith("azureml://datastores/") else uri if "://" in uri else located.url
    folder = workplace.root / "inputs" / name
    got = await _reach(paths.download(cloud, located, folder), f"input '{name}' ({uri})")
    if mode.lower() == "readwritemount":
        workplace.outputs[f"input {name}"] = (got, {"uri": uri, "mode": mode, "jobOutputType": kind})
    return str(got if kind == "uri_file" else folder if got.is_dir() else got)


async def _locate(cloud: Cloud, where: Place, uri: str, kind: str) -> paths.Located:
    return paths.locate(cloud, where.id, uri, "models" if kind.endswith("_model") else "data")


async def _reach(work: Awaitable[T], what: str) -> T:
    """Do something with storage; what is not there fails the job as it does on the service."""
    try:
        return await work
    except AzureError as error:
        raise JobFailed(
            f"Failed to access {what}: {error.message}", inner="StreamAccess.NotFound" if error.status == 404 else "StreamAccess"
        ) from error


def _output(where: Place, name: str, output: Document, workplace: Workplace) -> str:
    if str(output.get("mode")).lower() == "direct":
        return paths.long_uri(where.id, output["uri"])
    folder = workplace.root / "outputs" / name
    folder.mkdir()
    if output["jobOutputType"] == "uri_file":
        target = folder / output["uri"].rstrip("/").rsplit("/", 1)[-1]
        workplace.outputs[name] = (target, output)
        return str(target)
    workplace.outputs[name] = (folder, output)
    return str(folder)


async def _execute(
    cloud: Cloud, where: Place, document: Document, workplace: Workplace, built: Built, spec: Document, turns: Turns
) -> None:
    properties, name = document["properties"], document["name"]
    try:
        command = bindings.fill(properties["command"], workplace.values.get)
    except KeyError as error:
        raise JobFailed(f"The command refers to {error.args[0]}, which has no value.") from error
    variables = run_variables(cloud, where, document, workplace.values, spec.get("environmentVariables") or {})
    variables.update(
        {
            "PATH": f"{built.python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "VIRTUAL_ENV": str(built.python.parent.parent),
            "HOME": str(workplace.root / "home"),
            "XDG_CACHE_HOME": str(cloud.home / "jobs" / "cache"),
            "TMPDIR": str(workplace.root / "tmp"),
            "AZ_BATCHAI_JOB_TEMP": str(workplace.root / "tmp"),
            "AZUREML_CR_EXECUTION_WORKING_DIR_PATH": str(workplace.code),
            "PWD": str(workplace.code),
        }
    )
    for key, value in (properties.get("environmentVariables") or {}).items():
        variables[key] = bindings.fill(str(value), workplace.values.get)
    workplace.std_log.touch()
    follower = logs.Follower(logs.RunLog(cloud, where.id, name, logs.STREAMED), workplace.std_log)
    limit = seconds((properties.get("limits") or {}).get("timeout")) or RUN_LIMIT
    child = await cloud.children.spawn(
        [_shell(), "-c", command], env=variables, cwd=workplace.code, log=workplace.std_log, name=f"job {name}"
    )
    succeeded = False
    try:
        try:
            with cloud.timed("job", name):
                code = await asyncio.wait_for(child.wait(), limit)
        except asyncio.TimeoutError:
            raise TimedOut(f"The job ran longer than its limit of {limit:g} seconds and was cancelled.") from None
        if code:
            raise JobFailed(_failure(code, workplace.std_log), inner="ExecutionFailed")
        succeeded = True
    finally:
        if not succeeded:  # the child may still run: cancelled, or out of time
            await asyncio.shield(child.kill(grace=0 if turns.closed else 1))
        await asyncio.shield(follower.finish())
        if not succeeded and not turns.closed:
            await asyncio.shield(_send_outputs(cloud, where, name, workplace, succeeded=False))


def _failure(code: int, log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-TAIL:]
    text = "\n".join(lines)[-4000:]
    return (
        f"Execution failed. User process exited with status code {code}. "
        f"Please check log file '{logs.STREAMED}' for error details. Error: {text}"
    )


async def _send_outputs(cloud: Cloud, where: Place, name: str, workplace: Workplace, succeeded: bool) -> None:
    """Upload outputs, and the folders ``outputs`` and ``logs`` of the working directory. Mode upload uploads after a success only."""
    for output, (source, declared) in workplace.outputs.items():
        if not succeeded and str(declared["mode"]).lower() == "upload":
            continue
        if source.exists():
            await _reach(paths.upload(cloud, source, paths.locate(cloud, where.id, declared["uri"])), f"output '{output}'")
    for special in ("outputs", "logs"):
        folder = workplace.code / special
        if folder.is_dir():
            await paths.upload(
                cloud, folder, paths.in_datastore(cloud, where.id, "workspaceartifactstore", f"{models.ARTIFACTS}{name}/{special}/")
            )


async def _register_outputs(cloud: Cloud, where: Place, outputs: Document) -> None:
    """Register the outputs that were given a name as data or model assets."""
    for output in outputs.values():
        name, version = output.get("assetName"), output.get("assetVersion")
        if not name:
            continue
        model = output["jobOutputType"].endswith("_model")
        kind = assets.KINDS["models" if model else "data"]
        if not version:
            known = cloud.store.get(assets.asset_id(where.id, kind, name))
            version = str(known["properties"]["nextVersion"]) if known else "1"
        uri = paths.long_uri(where.id, output["uri"])
        content = (
            {"modelUri": uri, "modelType": output["jobOutputType"]} if model else {"dataUri": uri, "dataType": output["jobOutputType"]}
        )
        await writing.put_version(cloud, where.id, kind, name, str(version), {"properties": content}, None)


def _shell() -> str:
    return shutil.which("bash") or "/bin/sh"
