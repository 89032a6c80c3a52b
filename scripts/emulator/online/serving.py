"""The inference server of one revision of a deployment: started, probed, restarted when it dies, and asked to score.

Probes (https://learn.microsoft.com/azure/machine-learning/reference-yaml-deployment-managed-online#probesettings): the time a container is
given is Azure's, ``initial_delay + period * failure_threshold`` seconds, but while it starts it is asked every few milliseconds instead of
every ``period`` seconds, so that a server which is up is found at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import isodate

from emulator.online.logs import Record

if TYPE_CHECKING:
    from emulator.children import Child
    from emulator.core import Cloud

SERVE = Path(__file__).parent / "inside" / "serve.py"
PORT = 5001  # the server's own default; it becomes the end of the socket's name
RESTARTS = 5  # in a row; then the deployment stays down
HEALTHY = 60.0  # seconds up after which earlier crashes are forgotten


class ContainerError(Exception):
    """The container ended, or did not become ready in the time its probe gives it; the text is Azure's."""


@dataclass(frozen=True)
class Probe:
    """A probe's settings; times in seconds."""

    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Probe:
        """From ARM's ``ProbeSettings``, which is complete by then."""
        return cls(
            seconds(settings["initialDelay"]), seconds(settings["period"]), seconds(settings["timeout"]),
            settings["successThreshold"], settings["failureThreshold"],
        )  # fmt: skip

    @property
    def allowance(self) -> float:
        """Seconds after which a container that never answered has failed."""
        return self.initial_delay + self.period * self.failure_threshold


@dataclass(frozen=True)
class Limits:
    """How many requests a deployment takes, and for how long (seconds)."""

    concurrent: int  # requests worked on at once: max_concurrent_requests_per_instance x instances
    timeout: float

    @property
    def pending(self) -> int:
        """Requests allowed in the deployment at any time; the rest gets a 429."""
        return 2 * self.concurrent


def seconds(duration: str) -> float:
    """An ISO 8601 duration in seconds."""
    return float(isodate.parse_duration(duration).total_seconds())


class Server:
    """One supervised inference server. ``ready`` says whether it takes requests now."""

    def __init__(
        self, cloud: Cloud, name: str, argv: list[str | Path], env: Mapping[str, str], cwd: Path, record: Record,
        readiness: Probe, liveness: Probe, limits: Limits, wanted: Callable[[], bool] = lambda: True,
    ) -> None:  # fmt: skip
        self._cloud = cloud
        self._name = name
        self._argv = argv
        self._env = env
        self._cwd = cwd
        self._record = record
        self._readiness = readiness
        self._liveness = liveness
        self._wanted = wanted
        self._socket = str(socket_folder(cloud.home) / uuid.uuid4().hex[:12])
        unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=0)  # the slots limit; the server keeps no connection
        self._client = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=f"{self._socket}:{PORT}", limits=unlimited), timeout=None)
        self._child: Child | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.ready = False
        self.pending = 0
        self.limit(limits)

    def limit(self, limits: Limits) -> None:
        """New limits, for requests that come from now on."""
        self.limits = limits
        self._slots = asyncio.Semaphore(limits.concurrent)

    async def start(self) -> None:
        """Start it and return when it is ready; raises ContainerError."""
        try:
            await self._start_once()
        except BaseException:
            await self._end()
            raise
        self._watcher = asyncio.create_task(self._watch())

    @contextlib.contextmanager
    def place(self) -> Iterator[bool]:
        """Count a request in while it is in the deployment; False where there is no place left."""
        if self.pending >= self.limits.pending:
            yield False
            return
        self.pending += 1
        self._idle.clear()
        try:
            yield True
        finally:
            self.pending -= 1
            if not self.pending:
                self._idle.set()

    async def retire(self) -> None:
        """End it when the requests that are in it have been answered; nobody sends it new ones."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._idle.wait(), self.limits.timeout)
        await self.stop()

    async def stop(self) -> None:
        """End it now."""
        if self._watcher:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        await self._end()

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        """One request to the server.

        Raises asyncio.TimeoutError after the deployment's request timeout, httpx.TransportError where the server is gone.

        A request waits for one of the concurrent slots, and the wait counts against the timeout
        (https://learn.microsoft.com/azure/machine-learning/reference-yaml-deployment-managed-online#requestsettings).
        """
        return await asyncio.wait_for(self._send(method, path, headers, body), self.limits.timeout)

    async def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        async with self._slots:
            return await self._client.request(method, f"http://localhost{path}", headers=dict(headers), content=body)

    async def _start_once(self) -> None:
        record, now = self._record, self._cloud.now
        record.step("UserContainerStart", "InProgress")
        record.event(now(), "Created", "Created container inference-server")
        environment = {**self._env, "EMULATOR_SOCKET": self._socket}
        self._child = await self._cloud.children.spawn(
            self._argv, env=environment, cwd=self._cwd, log=record.inference_server, name=self._name
        )
        record.event(now(), "Started", "Started container inference-server")
        try:
            with self._cloud.timed("serving", self._name):
                await self._until_ready()
        except ContainerError:
            record.step("UserContainerStart", "Failed")
            raise
        record.step("UserContainerStart", "Succeeded")
        record.event(now(), "ContainerReady", "Container is ready")
        self.ready = True

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + self._readiness.allowance
        successes, trouble = 0, "no answer"
        while successes < self._readiness.success_threshold:
            if self._child is None or not self._child.running:
                code = await self._child.wait() if self._child else 0
                self._record.event(self._cloud.now(), "BackOff", f"Back-off restarting failed container, exit code {code}", "Warning")
                raise ContainerError("User container has crashed or terminated.")
            problem = await self._problem(self._readiness)
            successes, trouble = (0, problem) if problem else (successes + 1, "")
            if problem and time.monotonic() > deadline:
                self._record.event(self._cloud.now(), "ReadinessProbeFailed", f"Readiness probe failed: {trouble}", "Warning")
                raise ContainerError("Container failed to become ready: readiness probe failed beyond its failure threshold.")
            if successes < self._readiness.success_threshold:
                await asyncio.sleep(0.02)

    async def _problem(self, probe: Probe) -> str:
        """Ask the server once whether it lives; empty when it does."""
        try:
            answer = await asyncio.wait_for(self._client.get("http://localhost/"), probe.timeout)
        except asyncio.TimeoutError:
            return f"no answer within {probe.timeout:g} seconds"
        except httpx.TransportError as error:
            return f"{type(error).__name__}"
        return "" if answer.status_code == 200 else f"HTTP probe failed with statuscode: {answer.status_code}"

    async def _watch(self) -> None:
        """Restart the server when it ends or stops answering; give up after several crashes in a row, or when nobody wants it."""
        crashes = 0
        while True:
            began = time.monotonic()
            if self.ready:
                await self._until_dead()
                crashes = 0 if time.monotonic() - began > HEALTHY else crashes
            crashes += 1
            await self._end(close=False)
            if not self._wanted():
                return
            if crashes > RESTARTS:
                break
            await asyncio.sleep(min(0.25 * 2**crashes, 10))
            with contextlib.suppress(ContainerError):
                await self._start_once()
        self._record.event(self._cloud.now(), "BackOff", f"Container crashed {crashes} times in a row and is not started again", "Warning")

    async def _until_dead(self) -> None:
        assert self._child is not None
        ended = asyncio.ensure_future(self._child.wait())
        failures = 0
        try:
            while failures < self._liveness.failure_threshold and self._wanted():
                done, _ = await asyncio.wait({ended}, timeout=max(self._liveness.period, 1))
                if done:
                    self._record.event(
                        self._cloud.now(), "Killing", f"Container inference-server ended with exit code {ended.result()}", "Warning"
                    )
                    return
                if problem := await self._problem(self._liveness):
                    failures += 1
                    self._record.event(self._cloud.now(), "LivenessProbeFailed", f"Liveness probe failed: {problem}", "Warning")
                else:
                    failures = 0
        finally:
            ended.cancel()

    async def _end(self, close: bool = True) -> None:
        grace = 3.0 if self.ready else 0.0
        self.ready = False
        if self._child:
            await self._child.kill(grace)
        if close:
            await self._client.aclose()
        with contextlib.suppress(OSError):
            os.unlink(f"{self._socket}:{PORT}")


@lru_cache
def socket_folder(home: Path) -> Path:
    """Where the servers' sockets are: in the home, or where that is too deep for the kernel's 107 bytes, in a private folder elsewhere."""
    folder = home / "sockets"
    if len(os.fsencode(folder)) > 80:
        return Path(tempfile.mkdtemp(prefix="aml-emulator-"))
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
