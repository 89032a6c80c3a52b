"""The supervision of a server process, with a stand-in for the inference server that starts in milliseconds."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from emulator.children import Children
from emulator.online import rollout, serving
from emulator.online.fleet import Fleet
from emulator.online.logs import Record
from emulator.online.serving import ContainerError, Limits, Probe, Server

STAND_IN = """
import http.server, os, socketserver, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self): return "-"
    def do_GET(self):
        while self.path == "/" and os.path.exists("mute"): time.sleep(0.01)
        self.send_response(200); self.end_headers(); self.wfile.write(str(os.getpid()).encode())
if os.path.exists("broken"): sys.exit(3)
socketserver.ThreadingUnixStreamServer(os.environ["EMULATOR_SOCKET"] + ":5001", Handler).serve_forever()
"""
PATIENT = Probe(initial_delay=30, period=1, timeout=1, success_threshold=1, failure_threshold=1)


def run(
    tmp_path: Path, test: Callable[[Server, Record], Coroutine[Any, Any, None]], readiness: Probe = PATIENT, liveness: Probe = PATIENT
) -> None:
    """One server in a folder of its own; whatever happens, it is gone at the end."""

    async def body() -> None:
        cloud: Any = SimpleNamespace(home=tmp_path, now=now, children=Children(), timed=lambda *_: nullcontext())
        record = Record(tmp_path)
        server = Server(
            cloud, "stand-in", [sys.executable, "-c", STAND_IN], dict(os.environ), tmp_path, record, readiness, liveness, Limits(1, 5),
            wanted=lambda: not (tmp_path / "unwanted").exists(),
        )  # fmt: skip
        try:
            await test(server, record)
        finally:
            await server.stop()
            await cloud.children.close()
        assert not list((tmp_path / "sockets").glob("*"))

    asyncio.run(body())


def now() -> datetime:
    return datetime.now(timezone.utc)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def ask(server: Server) -> int:
    return int((await server.send("GET", "/pid", {}, b"")).text)


async def until_ready(server: Server) -> None:
    while not server.ready:
        await asyncio.sleep(0.01)


def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    async def body(server: Server, record: Record) -> None:
        await server.start()
        first = await ask(server)
        os.kill(first, signal.SIGKILL)
        while server.ready:
            await asyncio.sleep(0.01)
        with pytest.raises(httpx.TransportError):
            await ask(server)
        await until_ready(server)
        assert await ask(server) != first
        assert "exit code 137" in record.render("InferenceServer", 10)

    run(tmp_path, body)


def test_a_server_that_keeps_crashing_is_left_alone_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "RESTARTS", 1)

    async def body(server: Server, record: Record) -> None:
        await server.start()
        (tmp_path / "broken").touch()
        os.kill(await ask(server), signal.SIGKILL)
        while "is not started again" not in record.render("InferenceServer", 10):
            await asyncio.sleep(0.01)
        assert not server.ready
        assert record.render("InferenceServer", 10).count("exit code 3") == 1

    run(tmp_path, body)


def test_a_server_that_stops_answering_is_replaced(tmp_path: Path) -> None:
    async def body(server: Server, record: Record) -> None:
        await server.start()
        first = await ask(server)
        (tmp_path / "mute").touch()
        while server.ready:
            await asyncio.sleep(0.01)
        (tmp_path / "mute").unlink()
        await until_ready(server)
        assert await ask(server) != first
        assert "LivenessProbeFailed" in record.render("InferenceServer", 10)

    run(tmp_path, body, liveness=Probe(initial_delay=1, period=1, timeout=0.1, success_threshold=1, failure_threshold=2))


def test_a_server_that_is_not_ready_in_time_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "mute").touch()

    async def body(server: Server, record: Record) -> None:
        with pytest.raises(ContainerError, match="readiness probe"):
            await server.start()
        assert "UserContainerStart: Failed" in record.render("InferenceServer", 10)

    run(tmp_path, body, readiness=Probe(initial_delay=0.1, period=0.1, timeout=0.1, success_threshold=1, failure_threshold=1))


def test_retiring_waits_for_the_requests_that_are_in(tmp_path: Path) -> None:
    async def body(server: Server, _: Record) -> None:
        await server.start()
        (tmp_path / "mute").touch()
        with server.place() as found:
            assert found
            answer = asyncio.ensure_future(server.send("GET", "/", {}, b""))
            retirement = asyncio.ensure_future(server.retire())
            await asyncio.sleep(0)
            (tmp_path / "mute").unlink()
            assert (await answer).status_code == 200
            assert not retirement.done()
        await retirement
        assert not server.ready

    run(tmp_path, body)


def test_a_server_that_nobody_wants_any_more_ends(tmp_path: Path) -> None:
    async def body(server: Server, _: Record) -> None:
        await server.start()
        process = await ask(server)
        (tmp_path / "unwanted").touch()
        while lives(process):
            await asyncio.sleep(0.01)
        assert not server.ready

    run(tmp_path, body)


def test_places_are_twice_the_concurrency(tmp_path: Path) -> None:
    async def body(server: Server, _: Record) -> None:
        with server.place() as first, server.place() as second, server.place() as third:
            assert (first, second, third) == (True, True, False)
        with server.place() as again:
            assert again

    run(tmp_path, body)


def test_a_home_that_is_too_deep_for_a_socket_gets_a_folder_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("deep-" * 20)
    folder = serving.socket_folder(deep)
    try:
        assert not folder.is_relative_to(deep)
        assert folder.stat().st_mode & 0o077 == 0
        assert serving.socket_folder(deep) == folder
    finally:
        folder.rmdir()


def test_a_new_server_is_not_replaced_by_an_older_one_that_comes_back() -> None:
    async def body() -> None:
        servers, ended = Fleet(), asyncio.Event()
        new: Any = SimpleNamespace()

        async def bring_back() -> Any:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

        waiting = asyncio.ensure_future(servers.get("/Blue", bring_back))
        await asyncio.sleep(0.01)
        await servers.replace("/blue", new)
        assert ended.is_set()
        assert await waiting is new
        assert await servers.get("/blue", bring_back) is new

    asyncio.run(body())


def test_a_revision_and_its_deployment_are_written_together(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = {"id": "/" + "/".join("abcdefghijkl"), "properties": {"provisioningState": "Updating"}}
    seen = []

    async def ready(*_: Any) -> Any:
        return SimpleNamespace(start=ready)

    async def replace(_: Any, id: str, server: Any) -> None:
        seen.append((cloud.store.get(f"{id}/revision"), cloud.store.need(id)["properties"]["provisioningState"]))

    async def launch(*_: Any) -> Any:
        return {"folder": "1"}

    monkeypatch.setattr(rollout, "folder_of", lambda cloud, id: cloud.home / "online")
    monkeypatch.setattr(rollout, "_check_quota", lambda *_: None)
    monkeypatch.setattr(rollout.container, "prepare", launch)
    monkeypatch.setattr(rollout.container, "server", ready)
    monkeypatch.setattr(Fleet, "replace", replace)
    asyncio.run(rollout.apply(cloud, deployment))
    assert seen == [({"folder": "1"}, "Succeeded")]
