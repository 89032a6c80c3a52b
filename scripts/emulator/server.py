"""One emulator process: proxy and application on one event loop, services started behind them, everything ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib
import json
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import IO

import uvicorn

from emulator.app import SERVICES, App, all_routes
from emulator.core import ADMIN_CLIENT_ID, ADMIN_NAME, REGIONS, STATE, SUBSCRIPTION, Cloud, Settings
from emulator.proxy import Proxy
from emulator.tls import certificate_hosts

log = logging.getLogger("emulator")


class CannotStart(Exception):
    """The one line that says why an emulator could not start."""


def serve(home: Path, port: int, settings: Settings, lifetime: float = 0, with_parent: bool = False) -> None:
    """Run until a signal, the end of ``lifetime`` (seconds; 0 = no end) or, ``with_parent``, the end of standard input."""
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "w") as lock:
        _hold(lock, home)
        (home / "emulator.json").unlink(missing_ok=True)  # of one that was killed
        _check_state(home)
        listener = _listen(port)
        (home / "logs").mkdir(exist_ok=True)
        logging.basicConfig(
            filename=home / "logs" / "emulator.log", level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        logging.getLogger("azure").setLevel(logging.WARNING)  # else every blob that is touched writes twenty lines
        try:
            uvloop = importlib.import_module("uvloop")
            runner = uvloop.run
        except ImportError:  # not made for Windows
            runner = asyncio.run
        runner(_serve(home, listener, settings, lifetime, with_parent))


def _hold(lock: IO[str], home: Path) -> None:
    for _ in range(50):  # who looks whether one runs holds it for a moment
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
    raise CannotStart(f"an emulator already runs with the home {home}; stop it, or give another --home")


def _check_state(home: Path) -> None:
    form = home / "state.version"
    if not (home / "state.sqlite").exists():
        form.write_text(str(STATE))
    elif not form.exists() or form.read_text() != str(STATE):
        raise CannotStart(f"the state in {home} was made by another version of the emulator; 'emulator --home {home} reset' empties it")


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        raise CannotStart(f"port {port} of 127.0.0.1 is taken; free it, or give another --port (0 picks a free one)") from None
    listener.listen(256)
    return listener


async def _serve(home: Path, listener: socket.socket, settings: Settings, lifetime: float, with_parent: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    if lifetime:
        loop.call_later(lifetime, stop.set)
    if with_parent:
        loop.add_reader(0, _until_end_of_input, loop, stop)

    cloud = Cloud(home, listener.getsockname()[1], settings)
    app = App(cloud, all_routes())
    seed(cloud)
    server, app_port = await _listen_tls(cloud, app)
    proxy = Proxy(cloud, app, app_port)
    front = await proxy.serve(listener)
    for service in SERVICES:
        if begin := getattr(importlib.import_module(f"emulator.{service}.urls"), "start", None):
            await begin(cloud)
    _announce(cloud)
    try:
        await stop.wait()
    finally:
        (cloud.home / "emulator.json").unlink(missing_ok=True)
        front.close()
        server.should_exit = True
        await proxy.close()
        try:
            for service in SERVICES:
                if end := getattr(importlib.import_module(f"emulator.{service}.urls"), "stop", None):
                    await _ended(service, end(cloud))
        finally:
            await cloud.close()


async def _ended(service: str, end: Awaitable[None]) -> None:
    try:
        await end
    except Exception:  # the others must end too
        log.exception("ending %s", service)


def _until_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(0, 1):
        loop.remove_reader(0)
        stop.set()


async def _listen_tls(cloud: Cloud, app: App) -> tuple[uvicorn.Server, int]:
    hosts = certificate_hosts([route.host for route in app.router.routes], REGIONS)
    chain, key = cloud.authority.issue("app", hosts)
    config = uvicorn.Config(
        app, ssl_certfile=str(chain), ssl_keyfile=str(key), lifespan="off", access_log=False, log_config=None, timeout_keep_alive=120,
        timeout_graceful_shutdown=1, h11_max_incomplete_event_size=1 << 20,
    )  # fmt: skip
    server = uvicorn.Server(config)
    inner = socket.socket()
    inner.bind(("127.0.0.1", 0))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # signals are ours
    cloud.tasks = [asyncio.ensure_future(server.serve(sockets=[inner]))]
    while not server.started:
        if cloud.tasks[0].done():
            raise CannotStart(f"the application's server ended at once; its log is {cloud.home / 'logs' / 'emulator.log'}")
        await asyncio.sleep(0.005)
    return server, int(inner.getsockname()[1])


def seed(cloud: Cloud) -> None:
    """The tenant's first application, Owner of the subscription; its secret is made once."""
    from emulator.arm import roles
    from emulator.entra import models

    file = cloud.home / "admin_secret"
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as target:
            target.write("s" + secrets.token_urlsafe(32))  # a leading dash would be taken for an option
    admin = models.create_application(cloud, ADMIN_NAME, client_id=ADMIN_CLIENT_ID, secret=file.read_text())
    roles.assign(cloud, admin["oid"], "Owner", f"/subscriptions/{SUBSCRIPTION}")
    everything = ["Application.ReadWrite.All", "Directory.Read.All", "Group.ReadWrite.All", "User.ReadWrite.All"]
    models.grant_graph(cloud, ADMIN_CLIENT_ID, everything)


def _announce(cloud: Cloud) -> None:
    partial = cloud.home / "emulator.json.partial"
    partial.write_text(json.dumps({"pid": os.getpid(), "port": cloud.port, "python": sys.executable}))
    partial.replace(cloud.home / "emulator.json")
