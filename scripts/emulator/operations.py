"""Long-running operations, as ARM has them: an answer at once, a status to ask for, a result to fetch.

Source: https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations. How slowly they end is a knob:
``immediate``, ``polls:N`` (after N looks at the status or the resource), ``seconds:T``.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emulator.errors import AzureError

if TYPE_CHECKING:
    from emulator.core import Cloud

log = logging.getLogger("emulator")


@dataclass
class Operation:
    """One long-running operation on one entity (``scope``, an ARM id)."""

    id: str
    scope: str
    kind: str
    location: str
    status: str = "InProgress"  # InProgress | Succeeded | Failed | Canceled
    error: dict[str, Any] | None = None
    looks: int = 0
    result: Callable[[], Any] | None = None
    task: asyncio.Task[None] | None = None
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def document(self) -> dict[str, Any]:
        """The body of the status route."""
        document: dict[str, Any] = {"id": self.id, "name": self.id, "status": self.status}
        if self.error:
            document["error"] = self.error
        return document


class Operations:
    """All operations of one emulator. Those that a stop interrupts are gone afterwards; services bring their entities to rest at start."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._all: dict[str, Operation] = {}
        self._running: dict[str, Operation] = {}

    def start(
        self,
        scope: str,
        kind: str,
        work: Coroutine[Any, Any, Any] | None = None,
        location: str = "westeurope",
        result: Callable[[], Any] | None = None,
    ) -> Operation:
        """Begin an operation; ``work`` does it, and fails it with an AzureError. The transition knob holds it back first."""
        operation = Operation(str(uuid.uuid4()), scope, kind, location, result=result)
        self._all[operation.id] = operation
        self._running[scope.lower()] = operation
        operation.task = asyncio.ensure_future(self._run(operation, work))
        return operation

    def running(self, scope: str) -> Operation | None:
        """The operation that is changing this entity now, if there is one."""
        return self._running.get(scope.lower())

    def get(self, id: str) -> Operation:
        """An operation by its id; 404 where there is none."""
        if id not in self._all:
            raise AzureError(404, "NotFound", f"The operation '{id}' was not found.")
        return self._all[id]

    def look(self, scope: str) -> None:
        """Somebody read the entity: a ``polls:N`` transition counts it."""
        if operation := self._running.get(scope.lower()):
            operation.looks += 1
            operation.looked.set()

    async def _run(self, operation: Operation, work: Coroutine[Any, Any, Any] | None) -> None:
        try:
            await self._hold(operation)
            if work is not None:
                await work
            operation.status = "Succeeded"
        except AzureError as error:
            operation.status, operation.error = "Failed", error.body()["error"]
        except asyncio.CancelledError:
            operation.status = "Canceled"
        except Exception as error:
            log.exception("operation %s on %s", operation.kind, operation.scope)
            operation.status, operation.error = "Failed", {"code": "InternalServerError", "message": f"{type(error).__name__}: {error}"}
        finally:
            if self._running.get(operation.scope.lower()) is operation:
                del self._running[operation.scope.lower()]
            operation.ended.set()

    async def _hold(self, operation: Operation) -> None:
        kind, _, amount = str(self._cloud.settings.transition).partition(":")
        if kind == "seconds":
            await asyncio.sleep(float(amount))
        elif kind == "polls":
            while operation.looks < int(amount):
                operation.looked.clear()
                await operation.looked.wait()

    async def status(self, id: str) -> Operation:
        """An operation as a poll sees it. Without a transition knob the answer waits a little for the end, so that clients need not."""
        operation = self.get(id)
        operation.looks += 1
        operation.looked.set()
        if self._cloud.settings.transition == "immediate":
            try:
                await asyncio.wait_for(operation.ended.wait(), 5)
            except asyncio.TimeoutError:
                pass
        return operation

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = [operation.task for operation in self._running.values() if operation.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
