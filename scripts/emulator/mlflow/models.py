"""The MLflow server of an emulator: started when it is first wanted, told of jobs before it is asked anything."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from emulator.errors import AzureError
from emulator.mlflow import changes

if TYPE_CHECKING:
    from emulator.children import Child
    from emulator.core import Cloud

Document = dict[str, Any]
SCRIPTS = Path(__file__).resolve().parent.parent.parent
_STATUSES = {
    "NotStarted": "SCHEDULED",
    "Starting": "SCHEDULED",
    "Provisioning": "SCHEDULED",
    "Preparing": "SCHEDULED",
    "Queued": "SCHEDULED",
    "Running": "RUNNING",
    "Finalizing": "RUNNING",
    "CancelRequested": "RUNNING",
    "Completed": "FINISHED",
    "Failed": "FAILED",
    "Canceled": "KILLED",
}


@dataclass
class Answer:
    """What the server answered."""

    status: int
    body: bytes
    content_type: str


class Server:
    """MLflow's process, and requests to it."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._started: asyncio.Task[str] | None = None
        self._child: Child | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._told: dict[str, asyncio.Lock] = {}

    def begin(self) -> asyncio.Task[str]:
        """Start it if it does not run, or runs no more; the task ends with its socket when it answers."""
        done = self._started is not None and self._started.done()
        if self._started is None or (done and (self._child is None or not self._child.running or self._failed(self._started))):
            self._started = asyncio.ensure_future(self._start())
        return self._started

    @staticmethod
    def _failed(started: asyncio.Task[str]) -> bool:
        return started.cancelled() or started.exception() is not None

    async def _start(self) -> str:
        if self._folder:
            self._folder.cleanup()
        self._folder = tempfile.TemporaryDirectory(prefix="mlflow-")  # the path of a Unix socket has 107 bytes, a home may have more
        path = f"{self._folder.name}/s"
        log = self._cloud.home / "logs" / "mlflow.log"
        search = os.pathsep.join([str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {**os.environ, "PYTHONPATH": search, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # without compiled files MLflow takes twice as long to start
        child = self._child = await self._cloud.children.spawn(
            [sys.executable, "-m", "emulator.mlflow.server", path, self._cloud.home / "mlflow"],
            env=env,
            cwd=SCRIPTS,
            log=log,
            name="mlflow",
        )
        while not await asyncio.to_thread(_answers, path):
            if not child.running:
                raise AzureError(500, "MlflowFailed", f"The MLflow server ended at once; its log is {log}")
            await asyncio.sleep(0.05)
        return path

    def close(self) -> None:
        """Forget the socket; the process is ended with all others."""
        if self._started:
            self._started.cancel()
        if self._folder:
            self._folder.cleanup()

    async def ask(self, workspace_id: str, method: str, path: str, body: bytes = b"") -> Answer:
        """A request for one workspace, after MLflow has been told what happened to the workspace's jobs."""
        where = await asyncio.shield(self.begin())
        workspace = self._cloud.store.need(workspace_id)
        headers = {
            "Content-Type": "application/json",
            "Host": "localhost",
            "X-Emulator-Workspace": workspace["properties"]["workspaceId"],
            "X-Emulator-Artifacts": f"azureml://{workspace['location']}.api.azureml.ms/mlflow/v2.0{workspace['id']}",
        }
        async with self._told.setdefault(workspace["id"], asyncio.Lock()):
            if names := changes.take(workspace["id"]):
                try:
                    jobs = [found for name in names if (found := self._cloud.store.get(f"{workspace['id']}/jobs/{name}"))]
                    told = await asyncio.to_thread(
                        _request, where, "POST", "/emulator/jobs", json.dumps([_run(job) for job in jobs]).encode(), headers
                    )
                    if told.status != 200:
                        raise AzureError(500, "MlflowFailed", f"MLflow did not take the jobs: {told.body.decode(errors='replace')[:500]}")
                except BaseException:
                    for name in names:  # MLflow has yet to hear of them
                        changes.mark(workspace["id"], name)
                    raise
        return await asyncio.to_thread(_request, where, method, path, body, headers)


def _run(job: Document) -> Document:
    """A job as a run of MLflow's."""
    run, properties = job["_run"], job["properties"]
    tags = {
        **{key: str(value) for key, value in properties["tags"].items()},
        "mlflow.runName": properties["displayName"],
        "mlflow.user": run["who"]["name"],
        "mlflow.source.type": "JOB",
        "mlflow.rootRunId": run["root"],
    }
    if run["parent"]:
        tags["mlflow.parentRunId"] = run["parent"]
    for name in ("mlflow.source.git.repoURL", "mlflow.source.git.branch", "mlflow.source.git.commit"):
        if value := properties["properties"].get(name):
            tags[name] = value
    return {
        "run_id": job["name"],
        "experiment": properties["experimentName"],
        "name": properties["displayName"],
        "user": run["who"]["name"],
        "status": _STATUSES[properties["status"]],
        "start_time": _milliseconds(run["started"] or run["created"]),
        "end_time": _milliseconds(run["ended"]),
        "tags": tags,
    }


def _milliseconds(stamp: str | None) -> int | None:
    return int(datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() * 1000) if stamp else None


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _request(where: str, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    connection = _Connection(where)
    try:
        connection.request(method, path, body or None, dict(headers))
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), answer.headers.get("Content-Type", "application/json"))
    finally:
        connection.close()


def _answers(path: str) -> bool:
    try:
        return _request(path, "GET", "/health", b"", {"Host": "localhost"}).status == 200
    except OSError:
        return False


_servers: WeakKeyDictionary[Cloud, Server] = WeakKeyDictionary()


def of(cloud: Cloud) -> Server:
    """The MLflow server of an emulator."""
    if cloud not in _servers:
        _servers[cloud] = Server(cloud)
    return _servers[cloud]


def warm(cloud: Cloud) -> None:
    """Start MLflow in the background: whoever reads or submits jobs will want it soon, and it takes seconds to start."""
    of(cloud).begin()


async def metrics(cloud: Cloud, workspace_id: str, run_id: str) -> dict[str, float]:
    """The last value of each metric of a run; none for a run that MLflow does not know."""
    answer = await of(cloud).ask(workspace_id, "GET", f"/emulator/metrics/{run_id}")
    return dict(json.loads(answer.body))
