"""A request to ARM made inside the emulator, on behalf of a caller: what a template deployment does for each resource."""

from __future__ import annotations

import asyncio
import json
from functools import lru_cache
from typing import Any

from starlette.requests import Request

from emulator.core import ARM, Call, Cloud, Principal, Reply, Router
from emulator.errors import AzureError, forbidden
from emulator.operations import Operation


async def dispatch(cloud: Cloud, principal: Principal, method: str, path: str, version: str, body: Any = None) -> Any:
    """The body of the answer, once the long operation that it may have started is over. Raises what the caller would have been told."""
    from emulator.app import resource_scope
    from emulator.arm.roles import allowed

    found = _router().find(method, ARM, path)
    if found is None:
        raise AzureError(501, "NotEmulated", f"The emulator does not cover {method} https://{ARM}{path}")
    route, params = found
    raw = json.dumps(body).encode() if body is not None else b""
    query = f"api-version={version}"
    request = Request(
        {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [],
            "scheme": "https",
            "server": (ARM, 443),
        }
    )
    call = Call(cloud, request, ARM, path, params, {"api-version": version}, raw, principal)
    scope = route.scope(call) if route.scope else resource_scope(path)
    if route.action and not allowed(cloud, principal, route.action, scope, data=route.data_action):
        raise forbidden(principal.name, principal.oid, route.action, scope)
    answer = await route.handler(call)
    if not isinstance(answer, Reply):
        return answer
    follow = answer.headers.get("Azure-AsyncOperation") or (answer.headers.get("Location") if answer.status in (201, 202) else None)
    if follow:
        operation = cloud.operations.get(follow.split("?")[0].rsplit("/", 1)[-1])
        # Reading the status is what a "polls:N" transition waits for.
        while not operation.ended.is_set():
            await cloud.operations.status(operation.id)
            await _pause(operation)
        if operation.error:
            raise AzureError(409, operation.error["code"], operation.error["message"], details=operation.error.get("details", ()))
    return answer.body


async def _pause(operation: Operation) -> None:
    try:
        await asyncio.wait_for(asyncio.shield(operation.ended.wait()), 0.05)
    except asyncio.TimeoutError:
        pass


@lru_cache(maxsize=1)
def _router() -> Router:
    from emulator.app import all_routes

    return Router(all_routes())
