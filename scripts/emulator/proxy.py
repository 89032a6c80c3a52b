"""The CONNECT proxy: the one way in. Storage goes to Azurite, every emulated host to the application, anything else is refused by name."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct

from emulator.app import App
from emulator.core import Cloud
from emulator.errors import AzureError

_BLOB = re.compile(r"([a-z0-9]{3,24})\.blob\.core\.windows\.net", re.IGNORECASE)


class Proxy:
    """Tunnels between clients and the loopback servers behind them. Nothing it does ever opens a connection off this machine."""

    def __init__(self, cloud: Cloud, app: App, app_port: int) -> None:
        self._cloud = cloud
        self._app = app
        self._app_port = app_port
        self._clients: dict[int, asyncio.StreamWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        app.reset_connection = self.reset

    async def serve(self, listener: socket.socket) -> asyncio.Server:
        return await asyncio.start_server(self._client, sock=listener, limit=1 << 20)

    def reset(self, upstream_port: int) -> None:
        """Cut the client whose tunnel uses this local port towards the application, with a TCP reset."""
        if writer := self._clients.get(upstream_port):
            _abort(writer)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
                await self._tunnel(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, *_ = head.split(" ")
        host, _, port = target.rpartition(":")
        if method != "CONNECT" or port != "443":
            return await _refuse(writer, f"{method} {target}: only HTTPS to emulated hosts")
        limit = self._cloud.faults.tunnel_limit(host)
        try:
            upstream = await self._upstream(host)
        except AzureError as error:
            return await _refuse(writer, error.message)
        if upstream is None:
            return await _refuse(writer, f"host {host}")
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", upstream)
        local = int(far_writer.get_extra_info("sockname")[1])
        self._clients[local] = writer
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_pump(reader, far_writer, limit, writer), _pump(far_reader, writer))
        finally:
            self._clients.pop(local, None)
            far_writer.close()

    async def _upstream(self, host: str) -> int | None:
        if blob := _BLOB.fullmatch(host):
            account = blob[1].lower()
            return await self._cloud.storage.ready(account) if self._cloud.storage.known(account) else None
        return self._app_port if self._app.router.knows_host(host) else None

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int = 0, victim: asyncio.StreamWriter | None = None
) -> None:
    sent = 0
    try:
        while data := await reader.read(1 << 16):
            if victim and (option := getattr(socket, "TCP_QUICKACK", None)):
                # urllib3 leaves Nagle's algorithm on towards a proxy: without this every request with a body waits 40 ms for a delayed ACK
                victim.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, 1)
            sent += len(data)
            if limit and victim and sent > limit:
                _abort(victim)
                return
            writer.write(data)
            await writer.drain()
    finally:
        with contextlib.suppress(OSError, RuntimeError):
            writer.close() if not writer.can_write_eof() else writer.write_eof()


def _abort(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _refuse(writer: asyncio.StreamWriter, what: str) -> None:
    """501 with the reason in the status line too: most clients show nothing else of a failed CONNECT."""
    text = what.encode("ascii", "replace").decode()
    body = f"The emulator does not cover {text}\n"
    writer.write(f"HTTP/1.1 501 Not Emulated: {text}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
    await writer.drain()
