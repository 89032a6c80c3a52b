"""The running inference servers of one emulator, by deployment.

After a restart of the emulator deployments come back by and by, or when they are first asked for something, from the folder that their
revision left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from emulator.online.serving import Limits, Server

if TYPE_CHECKING:
    from emulator.core import Cloud

_fleets: WeakKeyDictionary[Cloud, Fleet] = WeakKeyDictionary()


class Fleet:
    """Servers by the ARM id of their deployment."""

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}
        self._starting: dict[str, asyncio.Task[Server]] = {}
        self.waking: asyncio.Task[None] | None = None

    async def get(self, id: str, bring_back: Callable[[], Awaitable[Server]]) -> Server:
        """The server of a deployment; one that does not run since the emulator was restarted is brought back, once for all who wait."""
        key = id.lower()
        if key not in self._servers:
            if key not in self._starting:
                self._starting[key] = asyncio.ensure_future(self._bring_back(key, bring_back))
            starting = self._starting[key]
            try:
                return await asyncio.shield(starting)
            except asyncio.CancelledError:
                if not starting.cancelled() or key not in self._servers:
                    raise
        return self._servers[key]

    async def _bring_back(self, key: str, bring_back: Callable[[], Awaitable[Server]]) -> Server:
        try:
            self._servers[key] = await bring_back()
            return self._servers[key]
        finally:
            self._starting.pop(key, None)

    async def replace(self, id: str, server: Server) -> None:
        """From now on this server answers; the one before ends when it has answered what it has."""
        key = id.lower()
        starting = self._starting.pop(key, None)
        before = self._servers.get(key)
        self._servers[key] = server
        if starting:  # what is being brought back is older
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        if before:
            await before.retire()

    def limit(self, id: str, limits: Limits) -> None:
        """New limits for a deployment that runs."""
        if server := self._servers.get(id.lower()):
            server.limit(limits)

    async def stop(self, under: str = "") -> None:
        """End the servers of a deployment, of all below an ARM id, or of all."""
        low = under.lower()

        def meant(key: str) -> bool:
            return not low or key == low or key.startswith(low + "/")

        starting = [task for key, task in self._starting.items() if meant(key)]
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
        await asyncio.gather(*(self._servers.pop(key).stop() for key in list(self._servers) if meant(key)))


def fleet(cloud: Cloud) -> Fleet:
    """The servers of this emulator."""
    if cloud not in _fleets:
        _fleets[cloud] = Fleet()
    return _fleets[cloud]
