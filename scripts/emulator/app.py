"""The ASGI application behind every emulated host but blob storage: find the route, let the caller in, answer in Azure's form."""

from __future__ import annotations

import asyncio
import importlib
import logging
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator import admin
from emulator.core import ARM, Call, Cloud, Principal, Reply, Route, Router
from emulator.errors import AzureError, forbidden

log = logging.getLogger("emulator")

SERVICES = [
    "entra", "arm", "graph", "keyvault", "github", "azure_devops", "workspaces", "compute", "assets", "registries", "jobs", "history",
    "mlflow", "online",
]  # fmt: skip


async def operation_status(call: Call) -> Reply:
    operation = await call.cloud.operations.status(call.params["operation"])
    return Reply(200, operation.document(), {"x-ms-retry-after-ms": "200"} if operation.status == "InProgress" else {})


async def operation_result(call: Call) -> Reply:
    operation = await call.cloud.operations.status(call.params["operation"])
    if operation.status == "InProgress":
        return Reply(
            202, None, {"Location": f"https://{call.host}{call.request.url.path}?{call.request.url.query}", "x-ms-retry-after-ms": "200"}
        )
    if operation.error:
        raise AzureError(400, operation.error["code"], operation.error["message"], details=operation.error.get("details", ()))
    body = operation.result() if operation.result else call.cloud.store.get(operation.scope)
    return Reply(200 if body is not None else 204, body)


_OPERATIONS = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{location}"
ROUTES = [
    Route("GET", ARM, _OPERATIONS + "/mfeOperationsStatus/{operation}", operation_status, doc="Status of a long operation"),
    Route("GET", ARM, _OPERATIONS + "/mfeOperationResults/{operation}", operation_result, doc="Result of a long operation"),
]


def all_routes() -> list[Route]:
    """Every operation that the emulator covers, service by service."""
    routes = [*ROUTES, *admin.ROUTES]
    for service in SERVICES:
        routes += importlib.import_module(f"emulator.{service}.urls").ROUTES
    return routes


class App:
    """ASGI: one emulated Azure."""

    def __init__(self, cloud: Cloud, routes: list[Route]) -> None:
        self.cloud = cloud
        self.router = Router(routes)
        self.reset_connection: Any = None  # set by the server: cuts the client connection behind an upstream port

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        response = await self.answer(request)
        if response is not None:
            response.headers.setdefault("x-ms-request-id", str(uuid.uuid4()))
            await response(scope, receive, send)

    async def answer(self, request: Request) -> Response | None:
        host, path = request.url.hostname or "", request.scope.get("raw_path", b"").split(b"?")[0].decode() or request.url.path
        try:
            if fault := self.cloud.faults.strike(request.method, host, path):
                if fault.delay:
                    await asyncio.sleep(fault.delay)
                if fault.reset:
                    self.reset_connection(request.client.port if request.client else 0)
                    return None
                if fault.status:
                    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
                    raise AzureError(fault.status, fault.code or "InjectedFault", f"Injected by fault {fault.id}", headers=headers)
            return _response(await self._handle(request, host, path))
        except AzureError as error:
            return JSONResponse(error.body(), error.status, {"x-ms-error-code": error.code, **error.headers})
        except Exception as error:
            log.exception("%s https://%s%s", request.method, host, path)
            return JSONResponse(AzureError(500, "InternalServerError", f"emulator bug: {type(error).__name__}: {error}").body(), 500)

    async def _handle(self, request: Request, host: str, path: str) -> Any:
        found = self.router.find(request.method, host, path)
        if found is None:
            raise AzureError(501, "NotEmulated", f"The emulator does not cover {request.method} https://{host}{path}")
        route, params = found
        call = Call(self.cloud, request, host, path, params, dict(request.query_params), await request.body())
        if route.auth == "azure":
            from emulator.entra.models import bearer

            call.principal = bearer(self.cloud, request.headers.get("authorization"), host)
        needs_version = host == ARM if route.api_version is None else route.api_version
        if needs_version and "api-version" not in call.query:
            raise AzureError(
                400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests."
            )
        if host == ARM and "subscription" in params:
            from emulator.arm.models import subscription

            subscription(params["subscription"])
        if route.action and call.principal:
            self._authorize(route, call, call.principal)
        if request.method == "GET":
            self.cloud.operations.look(path)
        return await route.handler(call)

    def _authorize(self, route: Route, call: Call, principal: Principal) -> None:
        from emulator.arm.roles import allowed

        scope = route.scope(call) if route.scope else resource_scope(call.path)
        if not allowed(self.cloud, principal, route.action or "", scope, data=route.data_action):
            raise forbidden(principal.name, principal.oid, route.action or "", scope)


def resource_scope(path: str) -> str:
    """The ARM id that a path acts on: its complete type/name pairs. A list or an action is asked of the level above."""
    parts = path.strip("/").split("/")
    lowered = [part.lower() for part in parts]
    if "providers" not in lowered:
        keep = len(parts) - len(parts) % 2
    else:
        at = len(lowered) - 1 - lowered[::-1].index("providers")
        rest = len(parts) - at - 2
        keep = at if rest < 2 else at + 2 + rest - rest % 2
    return "/" + "/".join(parts[:keep])


def _response(answer: Any) -> Response:
    if isinstance(answer, Response):
        return answer
    if isinstance(answer, Reply):
        if answer.body is None:
            return Response(status_code=answer.status, headers=answer.headers)
        return JSONResponse(answer.body, answer.status, answer.headers)
    return JSONResponse(answer)
