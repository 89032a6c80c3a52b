"""The scoring address of an endpoint: who may call, which deployment answers, how many calls at once, and how errors look.

Statuses: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes. Anything but 200
from the container is a 424 here, with the container's status in a header. Calls get a 429 past 500 a second at an endpoint, and
past 2 x concurrency x instances at one time in a deployment.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import random
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import jwt
from starlette.responses import Response

from emulator.core import Call
from emulator.environments.models import BuildFailed
from emulator.errors import AzureError
from emulator.online import models, rollout
from emulator.online.serving import ContainerError, Server

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]

log = logging.getLogger("emulator")
SCORE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action"
A_SECOND = 500
NO_ROUTE = (
    "No valid deployments to route to. Please check that the endpoint has at least one deployment with positive weight values "
    "or use a deployment specific header to route."
)
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
_mirrored: set[asyncio.Task[None]] = set()  # a task that nobody holds may vanish half-way
_calls: dict[str, tuple[int, int]] = {}  # endpoint -> the second, and the calls in it


class DeniedError(Exception):
    """The caller is not let in; the text is the body of the 401."""


async def score(call: Call) -> Response:
    """Any request to an endpoint's own host."""
    endpoint = models.endpoint_at(call.cloud, call.params["region"].lower(), call.params["endpoint"].lower())
    request_id = str(uuid.uuid4())
    if endpoint is None:
        return _plain(404, NO_ROUTE, request_id)
    try:
        _let_in(call, endpoint)
    except DeniedError as reason:
        return _plain(401, str(reason), request_id)
    if _too_fast(endpoint["id"]):
        return _plain(429, "", request_id, {"ms-azureml-model-error-reason": "rate_limited"})
    chosen = _choose(call, endpoint)
    if chosen is None:
        return _plain(404, NO_ROUTE, request_id)
    if not call.request.headers.get("azureml-model-deployment"):
        _mirror(call, endpoint, request_id)
    response = await _ask(call, chosen, request_id)
    response.headers["azureml-model-deployment"] = chosen["name"]
    return response


def token_for(cloud: Cloud, endpoint: Document) -> Document:
    """A token for an endpoint in AMLToken mode; times are seconds since 1970."""
    now = int(cloud.now().timestamp())
    life = int(cloud.settings.token_lifetime)
    claims = {"aud": endpoint["id"].lower(), "iat": now, "exp": now + life}
    token = jwt.encode(claims, cloud.store.need(f"{endpoint['id']}/keys")["tokenSecret"], algorithm="HS256")
    return {"accessToken": token, "expiryTimeUtc": now + life, "refreshAfterTimeUtc": now + life // 2, "tokenType": "Bearer"}


def _let_in(call: Call, endpoint: Document) -> None:
    header = call.request.headers.get("authorization", "")
    scheme, _, given = header.partition(" ")
    mode = endpoint["properties"]["authMode"]
    if mode == "AADToken":
        return _let_in_by_entra(call, endpoint, header)
    if scheme.lower() != "bearer" or not given.strip():
        raise DeniedError("key_auth_bad_header_forbidden" if mode == "Key" else "token_auth_bad_header_forbidden")
    keys = call.cloud.store.need(f"{endpoint['id']}/keys")
    if mode == "Key":
        if not any(hmac.compare_digest(given.strip().encode(), keys[name].encode()) for name in ("primaryKey", "secondaryKey")):
            raise DeniedError("key_auth_access_denied")
        return None
    try:
        claims = jwt.decode(
            given.strip(), keys["tokenSecret"], algorithms=["HS256"], audience=endpoint["id"].lower(), options={"verify_exp": False}
        )
    except jwt.InvalidTokenError:
        raise DeniedError("token_auth_access_denied") from None
    if claims["exp"] <= call.cloud.now().timestamp():
        raise DeniedError("token_auth_access_denied: the token is expired")
    return None


def _let_in_by_entra(call: Call, endpoint: Document, header: str) -> None:
    """A token for Azure ML, of somebody with the right to score; without the right it is a 401 as well, by the documentation's table."""
    from emulator.arm.roles import allowed
    from emulator.entra.models import bearer

    try:
        principal = bearer(call.cloud, header or None, call.host)
    except AzureError as error:
        raise DeniedError(error.message) from error
    if not allowed(call.cloud, principal, SCORE, endpoint["id"]):
        raise DeniedError(f"The principal {principal.oid} does not have the permission {SCORE} on the endpoint.")


def _too_fast(id: str) -> bool:
    second = int(time.monotonic())
    since, count = _calls.get(id, (second, 0))
    count = count + 1 if since == second else 1
    _calls[id] = (second, count)
    return count > A_SECOND


def _choose(call: Call, endpoint: Document) -> Document | None:
    """The deployment that the header names, or one by the traffic's weights; None where there is none that has ever served."""
    name: str | None = call.request.headers.get("azureml-model-deployment")
    if not name:
        traffic = {key: share for key, share in endpoint["properties"]["traffic"].items() if share}
        name = random.choices(list(traffic), list(traffic.values()))[0] if traffic else None
    return _served(call.cloud, endpoint, name) if name else None


def _served(cloud: Cloud, endpoint: Document, name: str) -> Document | None:
    id = f"{endpoint['id']}/deployments/{name}"
    return cloud.store.get(id) if cloud.store.exists(f"{id}/revision") else None


def _mirror(call: Call, endpoint: Document, request_id: str) -> None:
    """Send a copy where mirror traffic says so; its answer goes nowhere."""
    for name, share in endpoint["properties"]["mirrorTraffic"].items():
        if random.random() * 100 < share and (deployment := _served(call.cloud, endpoint, name)):

            async def send(deployment: Document = deployment) -> None:
                try:
                    await _ask(call, deployment, request_id)
                except Exception:
                    log.exception("mirrored request to %s", deployment["id"])

            task = asyncio.ensure_future(send())
            _mirrored.add(task)
            task.add_done_callback(_mirrored.discard)


async def _ask(call: Call, deployment: Document, request_id: str) -> Response:
    try:
        server = await rollout.running(call.cloud, deployment)
    except (ContainerError, BuildFailed):
        return _not_ready(request_id)
    if not server.ready:
        return _not_ready(request_id)
    with server.place() as found:
        if not found:
            return _plain(429, "", request_id, {"ms-azureml-model-error-reason": "too_many_pending_request"})
        return await _forward(call, server, request_id)


async def _forward(call: Call, server: Server, request_id: str) -> Response:
    began = time.perf_counter()
    path = call.path + (f"?{call.request.url.query}" if call.request.url.query else "")
    try:
        answer = await server.send(call.request.method, path, _request_headers(call, request_id), call.raw)
    except asyncio.TimeoutError:
        return _plain(408, "upstream request timeout", request_id)
    except httpx.TransportError:
        return _not_ready(request_id)
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in HOP_BY_HOP | {"content-length", "content-encoding", "server", "date"}
    }
    headers["x-request-id"] = request_id
    headers["ms-azureml-model-time"] = str(round((time.perf_counter() - began) * 1000))
    status = answer.status_code
    if status != 200:
        headers |= {"ms-azureml-model-error-reason": "model_error", "ms-azureml-model-error-statuscode": str(status)}
        status = 424
    return Response(answer.content, status, headers)


def _request_headers(call: Call, request_id: str) -> dict[str, str]:
    """The caller's headers, less what is meant for the front. The request id is a GUID of the service's, whatever was sent."""
    dropped = HOP_BY_HOP | {
        "authorization",
        "azureml-model-deployment",
        "host",
        "content-length",
        "accept-encoding",
        "x-request-id",
        "x-ms-client-request-id",
    }
    headers = {name: value for name, value in call.request.headers.items() if name not in dropped}
    if client := re.sub(r"[^A-Za-z0-9_-]", "", call.request.headers.get("x-ms-client-request-id", ""))[:40]:
        headers["x-ms-client-request-id"] = client
    return {**headers, "host": call.host, "x-request-id": request_id}


def _not_ready(request_id: str) -> Response:
    return _plain(424, "", request_id, {"ms-azureml-model-error-reason": "model_not_ready", "ms-azureml-model-error-statuscode": "503"})


def _plain(status: int, text: str, request_id: str, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, {"x-request-id": request_id, "x-ms-request-id": request_id, **(headers or {})}, media_type="text/plain")
