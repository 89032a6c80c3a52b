"""When jobs run: each as a task of its own, so many commands at once as ``parallel_jobs`` allows, the others Queued in order of arrival."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from emulator.errors import AzureError
from emulator.jobs import models, pipeline, runner, sweep
from emulator.jobs.models import TERMINAL, Document, JobFailed, TimedOut

if TYPE_CHECKING:
    from emulator.core import Cloud

log = logging.getLogger("emulator")


class Turns:
    """Lets so many run at once; the knob may change meanwhile."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.closed = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and give it on afterwards."""
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        self._admit()
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():
                self._leave()
            elif ticket in self._waiting:
                self._waiting.remove(ticket)
            raise
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        self._running -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._running < max(1, self._cloud.settings.parallel_jobs):
            ticket = self._waiting.popleft()
            if not ticket.done():
                self._running += 1
                ticket.set_result(None)


class Scheduler:
    """The jobs of one emulator that are under way."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.turns = Turns(cloud)

    def begin(self, document: Document) -> asyncio.Task[None]:
        """Start a job, or find it started."""
        key = document["id"].lower()
        if key not in self._tasks:
            task = self._tasks[key] = asyncio.ensure_future(self._run(document["id"]))
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        return self._tasks[key]

    async def cancel(self, id: str) -> None:
        """Cancel a job and its children, and wait until they have ended."""
        models.set_status(self._cloud, id, "CancelRequested")
        if task := self._tasks.get(id.lower()):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        children = models.children(self._cloud, self._cloud.store.need(id))
        await asyncio.gather(*(self.cancel(child["id"]) for child in children if child["properties"]["status"] not in TERMINAL))
        models.set_status(self._cloud, id, "Canceled")

    async def finished(self, document: Document) -> Document:
        """Run a job if it does not run yet, wait for its end, and return it as it ended."""
        if document["properties"]["status"] not in TERMINAL:
            await asyncio.shield(self.begin(document))
        return self._cloud.store.need(document["id"])

    async def _run(self, id: str) -> None:
        """One job from its present state to its end. An emulator that stops leaves it as it is, for the next start."""
        document = self._cloud.store.need(id)
        try:
            kind = document["properties"]["jobType"]
            if kind == "Command":
                await runner.run(self._cloud, document, self.turns)
            elif kind == "Pipeline":
                await pipeline.run(self._cloud, document, self)
            else:
                await sweep.run(self._cloud, document, self)
            self._end(id, "Completed")
        except asyncio.CancelledError:
            pass  # who cancelled it says how it ends
        except TimedOut as error:
            models.set_status(
                self._cloud, id, "Canceled", {"code": "UserError", "message": str(error), "innerError": {"code": "MaxRunDurationReached"}}
            )
        except JobFailed as failure:
            self._end(id, "Failed", failure.error)
        except AzureError as error:
            models.set_status(
                self._cloud, id, "Failed", {"code": "UserError", "message": error.message, "innerError": {"code": error.code}}
            )
        except Exception as error:
            if self.turns.closed:
                return
            log.exception("job %s", id)
            models.set_status(
                self._cloud, id, "Failed", {"code": "ServiceError", "message": f"emulator bug: {type(error).__name__}: {error}"}
            )

    def _end(self, id: str, status: str, error: Document | None = None) -> None:
        if self._cloud.store.exists(id):  # its workspace may have been deleted meanwhile
            models.set_status(self._cloud, id, status, error)

    async def resume(self) -> None:
        """Start again what a stop of the emulator interrupted; a line in the log says so."""
        for document in self._cloud.store.list("job"):
            status = document["properties"]["status"]
            if status == "CancelRequested":
                await self.cancel(document["id"])
            elif status not in TERMINAL:
                await self._again(document)
                self.begin(document)

    async def _again(self, document: Document) -> None:
        children = [one for one in models.children(self._cloud, document) if one["properties"]["status"] not in TERMINAL]
        for one in [document, *children]:
            if one["properties"]["status"] != "NotStarted":

                def edit(found: Document) -> None:
                    found["properties"]["status"] = "NotStarted"
                    found["_run"]["statuses"].append(["NotStarted", self._cloud.stamp()])
                    found["_run"]["warnings"].append(
                        {"source": "Emulator", "message": "The emulator stopped while this job ran; it was started again."}
                    )

                models.change(self._cloud, one["id"], edit)
                log.info("job %s was interrupted and starts again", one["name"])
        for child in children:
            await self._again(child)

    async def abandon(self, id: str) -> None:
        """End the jobs below a resource that is deleted."""
        tasks = [task for key, task in self._tasks.items() if key.startswith(f"{id.lower().rstrip('/')}/")]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stop all jobs where they are, at once."""
        self.turns.closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_schedulers: WeakKeyDictionary[Cloud, Scheduler] = WeakKeyDictionary()


def of(cloud: Cloud) -> Scheduler:
    """The scheduler of an emulator."""
    if cloud not in _schedulers:
        _schedulers[cloud] = Scheduler(cloud)
    return _schedulers[cloud]
