"""What the emulator's tests share beside the emulator itself: plain requests as anybody, and a cloud without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from emulator.core import ADMIN_CLIENT_ID, TENANT, Cloud

TOKEN = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
Send = Callable[..., requests.Response]


@pytest.fixture
def send(azure: Any) -> Iterator[Send]:
    """Send a request to an emulated host; ``token`` is a bearer token, ``version`` an api-version."""
    with requests.Session() as session:

        def send(method: str, url: str, *, token: str | None = None, version: str | None = None, **more: Any) -> requests.Response:
            headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
            params = {**({"api-version": version} if version else {}), **more.pop("params", {})}
            return session.request(method, url, headers=headers, params=params, timeout=60, **more)

        yield send


@pytest.fixture
def sign_in(send: Send, azure: Any) -> Callable[..., str]:
    """An access token for an application's secret, by default the administrator's for ARM."""

    def sign_in(scope: str = "https://management.azure.com/.default", client_id: str = ADMIN_CLIENT_ID, secret: str | None = None) -> str:
        secret = secret or azure.env["AZURE_CLIENT_SECRET"]
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, "scope": scope}
        answer = send("POST", TOKEN, data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    return sign_in


@pytest.fixture
def graph(send: Send, sign_in: Callable[..., str]) -> Callable[..., Any]:
    """A request to Microsoft Graph as the administrator; the JSON of the answer."""
    token = sign_in("https://graph.microsoft.com/.default")

    def graph(method: str, path: str, body: Any = None, **params: str) -> Any:
        answer = send(method, f"https://graph.microsoft.com/v1.0{path}", token=token, json=body, params=params)
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    return graph


@pytest.fixture
def new_app(graph: Callable[..., Any]) -> Callable[[str], dict[str, Any]]:
    """An application with a service principal and a secret: Graph's application, with ``secret`` and ``oid`` (of the service principal)."""

    def new_app(name: str) -> dict[str, Any]:
        app: dict[str, Any] = graph("POST", "/applications", {"displayName": name})
        principal = graph("POST", "/servicePrincipals", {"appId": app["appId"]})
        secret = graph("POST", f"/applications/{app['id']}/addPassword", {"passwordCredential": {"displayName": "test"}})
        return {**app, "oid": principal["id"], "secret": secret["secretText"]}

    return new_app


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """The state of an emulated Azure, with nothing running: for behaviour that needs no HTTP, and for moving the clock (``cloud.skew``)."""
    cloud = Cloud(tmp_path / "cloud", 0)
    yield cloud
    cloud.store.close()
