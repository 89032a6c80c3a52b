"""What every service of the emulator is built from: routes, calls, replies, and the cloud that holds the state."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request

from emulator.children import Children
from emulator.errors import AzureError
from emulator.faults import Faults
from emulator.operations import Operation, Operations
from emulator.storage import Storage
from emulator.store import Store
from emulator.tls import Authority

TENANT = "7a1f0000-0000-4000-8000-00000000aad0"
SUBSCRIPTION = "5ab50000-0000-4000-8000-000000000001"
ADMIN_CLIENT_ID = "ad000000-0000-4000-8000-00000000ad01"
ADMIN_NAME = "platform-admin"
REGIONS = ["eastus", "eastus2", "germanywestcentral", "northeurope", "swedencentral", "uksouth", "westeurope", "westus2"]
ARM = "management.azure.com"
STATE = 1  # raise it when documents change their form: an emulator does not start on state of another form


@dataclass(frozen=True)
class Principal:
    """Who calls, read from a bearer token."""

    oid: str
    app_id: str
    tenant: str
    kind: str  # "app" or "user"
    audience: str
    claims: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """What error messages call it: a person's user principal name, an application's client id."""
        return str(self.claims.get("upn") or self.app_id or self.oid)


@dataclass
class Reply:
    """An answer with a status or headers of its own."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """One request, taken apart: path and host placeholders in ``params``, JSON in ``body``, the caller in ``principal``."""

    cloud: Cloud
    request: Request
    host: str
    path: str
    params: dict[str, str]
    query: dict[str, str]
    raw: bytes
    principal: Principal | None = None

    @property
    def body(self) -> Any:
        """The JSON body; None where there is none, Azure's 400 where it is not JSON."""
        if not self.raw:
            return None
        try:
            return json.loads(self.raw)
        except ValueError as error:
            raise AzureError(
                400, "InvalidRequestContent", f"The request content was invalid and could not be deserialized: '{error}'."
            ) from error

    def accepted(self, operation: Operation, body: Any = None, status: int = 202) -> Reply:
        """The answer that starts a long operation: where to ask for its status and its result."""
        place = f"providers/Microsoft.MachineLearningServices/locations/{operation.location}"
        base = f"https://{ARM}/subscriptions/{self.params.get('subscription', SUBSCRIPTION)}/{place}"
        version = self.query.get("api-version", "2024-04-01")
        return Reply(
            status,
            body,
            {
                "Azure-AsyncOperation": f"{base}/mfeOperationsStatus/{operation.id}?api-version={version}",
                "Location": f"{base}/mfeOperationResults/{operation.id}?api-version={version}",
                "x-ms-async-operation-timeout": "PT1H",
                **RETRY_SOON,
            },
        )


RETRY_SOON = {"x-ms-retry-after-ms": "200"}

Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """One operation that the emulator covers.

    ``action`` is the RBAC action that the caller needs at ``scope`` (by default the resource of the path, for a list the level above it).
    ``auth="none"`` leaves the caller to the handler.
    """

    method: str
    host: str
    path: str
    handler: Handler
    action: str | None = None
    scope: Callable[[Call], str] | None = None
    data_action: bool = False
    auth: str = "azure"
    api_version: bool | None = None  # default: required on ARM
    doc: str = ""

    def pattern(self) -> re.Pattern[str]:
        """The path as a regular expression; ``{x}`` is one segment, ``{x:path}`` the rest."""
        source = ""
        for part in re.split(r"(\{[^}]+\})", self.path):
            if part.startswith("{"):
                name, _, kind = part[1:-1].partition(":")
                source += f"(?P<{name}>{'.*' if kind == 'path' else '[^/]+'})"
            else:
                source += re.escape(part)
        return re.compile(source + "/?", re.IGNORECASE)


class Router:
    """Finds the route of a request: literal segments win over placeholders, and nothing depends on the order of the lists."""

    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self._hosts: list[tuple[re.Pattern[str], dict[int, list[tuple[Route, re.Pattern[str]]]]]] = []
        for host in sorted({route.host for route in routes}, key=lambda text: (text.count("{"), text)):
            tables: dict[int, list[tuple[Route, re.Pattern[str]]]] = {}
            for route in sorted((one for one in routes if one.host == host), key=lambda one: (":path}" in one.path, one.path.count("{"))):
                tables.setdefault(-1 if ":path}" in route.path else _segments(route.path), []).append((route, route.pattern()))
            self._hosts.append((re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^.]+)", re.escape(host)), re.IGNORECASE), tables))

    def knows_host(self, host: str) -> bool:
        return any(pattern.fullmatch(host) for pattern, _ in self._hosts)

    def find(self, method: str, host: str, path: str) -> tuple[Route, dict[str, str]] | None:
        for pattern, tables in self._hosts:
            if not (named := pattern.fullmatch(host)):
                continue
            for count in (_segments(path), -1):
                for route, expression in tables.get(count, ()):
                    if method not in route.method.split("|") or not (match := expression.fullmatch(path)):
                        continue
                    values = {key: unquote(value) for key, value in match.groupdict().items()}
                    # An encoded slash would reach documents below the one that the caller was let in for.
                    if all("/" not in value or f"{{{key}:path}}" in route.path for key, value in values.items()):
                        return route, {**named.groupdict(), **values}
        return None


def _segments(path: str) -> int:
    return len(path.strip("/").split("/"))


@dataclass
class Settings:
    """The knobs. They can be turned while it runs (``emulator set NAME VALUE``)."""

    transition: str = "immediate"  # immediate | polls:N | seconds:T
    token_lifetime: int = 3600  # seconds
    role_delay: float = 0.0  # seconds until a new role assignment is seen
    parallel_jobs: int = 2
    extra: dict[str, Any] = field(default_factory=dict)

    def set(self, name: str, value: str) -> None:
        """Turn a knob; an unknown name goes to ``extra``, where services look for theirs."""
        if name in ("token_lifetime", "parallel_jobs"):
            setattr(self, name, int(value))
        elif name == "role_delay":
            self.role_delay = float(value)
        elif name == "transition":
            if not re.fullmatch(r"immediate|polls:\d+|seconds:\d+(\.\d+)?", value):
                raise ValueError(f"transition is 'immediate', 'polls:N' or 'seconds:T', not '{value}'")
            self.transition = value
        else:
            self.extra[name] = value


class Cloud:
    """One emulated Azure: its state, its processes, its clock and its knobs."""

    def __init__(self, home: Path, port: int, settings: Settings | None = None) -> None:
        self.home = home.resolve()
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        self.port = port
        self.settings = settings or Settings()
        self.authority = Authority(self.home)
        self.store = Store(self.home / "state.sqlite")
        self.children = Children()
        self.storage = Storage(self)
        self.operations = Operations(self)
        self.faults = Faults()
        self.skew = timedelta()
        self.tasks: list[asyncio.Task[Any]] = []
        self.timeline: list[dict[str, Any]] = []

    def now(self) -> datetime:
        """The time, UTC."""
        return datetime.now(timezone.utc) + self.skew

    @contextmanager
    def timed(self, kind: str, name: str) -> Iterator[None]:
        """Note when Azure's own work ran (``job``, ``environment``, ``serving``), so that a run can tell it from the rest."""
        entry: dict[str, Any] = {"kind": kind, "name": name, "start": time.time(), "end": None}
        self.timeline.append(entry)
        try:
            yield
        finally:
            entry["end"] = time.time()

    def stamp(self) -> str:
        """The time as ARM writes it."""
        return self.now().isoformat(timespec="microseconds").replace("+00:00", "Z")

    def client_env(self) -> dict[str, str]:
        """The environment in which unmodified clients take this emulator for Azure."""
        proxy, bundle = f"http://127.0.0.1:{self.port}", str(self.authority.bundle)
        env = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), proxy)
        env.update(dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"))
        env.update(dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), bundle))
        return env

    def child_env(self, **more: str) -> dict[str, str]:
        """The emulator's own environment, made to see this emulator as Azure, with ``more`` on top."""
        return {**os.environ, **self.client_env(), **more}

    async def close(self) -> None:
        """End everything this emulator runs."""
        await self.operations.close()
        await self.children.close()
        self.storage.close()
        await asyncio.wait(self.tasks, timeout=2)
        self.store.close()
