"""Talk to Azure: JSON over Azure Resource Manager and the data plane, or the Azure ML SDK where something must be loaded or uploaded.

The SDK takes seconds to import and its management package knows neither jobs nor endpoints, so reads and small writes go straight
to the REST API (learn.microsoft.com/rest/api/azureml) through azure-core's pipeline, at the api-version that SDK 1.35 itself uses.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
    map_error,
)
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy, UserAgentPolicy
from azure.core.rest import HttpRequest, HttpResponse
from azure.mgmt.core.polling.arm_polling import ARMPolling

from aml import ci
from aml.command import LimitReached, Refusal
from aml.workspace import Workspace

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

T = TypeVar("T")

MANAGEMENT = "https://management.azure.com"
API_VERSION = "2025-12-01"
SCOPE = "https://management.azure.com/.default"  # for the data plane too: MLClient asks for it there


class Client:
    """JSON calls below one URL. Paths are relative to it; a path that starts with / is relative to its host.

    Errors: azure-core's HttpResponseError and its kin; `command.run` turns them into one line through `explain`.
    """

    def __init__(self, root: str, credential: TokenCredential, *, api_version: str = API_VERSION) -> None:
        self.root, self._api_version = root.rstrip("/"), api_version
        self.host = "/".join(self.root.split("/")[:3])
        policies = [UserAgentPolicy(sdk_moniker="azureml-catalog"), Transient()]
        self._client: PipelineClient[HttpRequest, HttpResponse] = PipelineClient(
            self.host, policies=[*policies, BearerTokenCredentialPolicy(credential, SCOPE)]
        )
        self._anonymous: PipelineClient[HttpRequest, HttpResponse] = PipelineClient(self.host, policies=policies)

    def get(self, path: str = "", **query: str) -> dict[str, Any]:
        """Read; a missing resource is an error."""
        return self._json(self._send("GET", path, query=query))

    def find(self, path: str, **query: str) -> dict[str, Any] | None:
        """Read; None if there is no such resource."""
        try:
            return self.get(path, **query)
        except ResourceNotFoundError:
            return None

    def list(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """All entries of a collection, page by page."""
        page = self.get(path, **query)
        while True:
            yield from page.get("value", [])
            if not page.get("nextLink"):
                return
            page = self._json(self._send("GET", page["nextLink"]))

    def put(self, path: str, body: dict[str, Any], *, limit_minutes: float = 60) -> dict[str, Any]:
        """Create or replace, wait until Azure has finished, return the resource."""
        return self._finished(self._send("PUT", path, body), limit_minutes)

    def patch(self, path: str, body: dict[str, Any], *, limit_minutes: float = 60) -> dict[str, Any]:
        """Change a part, wait until Azure has finished, return the resource."""
        return self._finished(self._send("PATCH", path, body), limit_minutes)

    def post(self, path: str, body: dict[str, Any] | None = None, *, limit_minutes: float = 60) -> dict[str, Any]:
        """Ask for an action, wait until Azure has finished, return its answer ({} if it has none)."""
        return self._finished(self._send("POST", path, body), limit_minutes)

    def delete(self, path: str, *, limit_minutes: float = 60) -> None:
        """Delete and wait until it is gone; deleting what is not there is fine."""
        try:
            self._finished(self._send("DELETE", path), limit_minutes)
        except ResourceNotFoundError:
            pass

    def text(self, url: str) -> str:
        """The body of an absolute URL that carries its own permission (a SAS), such as a log file's."""
        response = self._anonymous.send_request(HttpRequest("GET", url))
        _raise_for(response)
        return response.text(encoding="utf-8-sig")

    def _send(self, method: str, path: str, body: Any = None, *, query: dict[str, str] | None = None) -> PipelineResponse[HttpRequest, HttpResponse]:
        if path.startswith("https://"):
            url = path
        elif path.startswith("/"):
            url = self.host + path
        else:
            url = f"{self.root}/{path}".rstrip("/")
        params = dict(query or {})
        if self._api_version and "api-version=" not in url:
            params.setdefault("api-version", self._api_version)
        request = HttpRequest(method, url, params=params, json=body)
        response: PipelineResponse[HttpRequest, HttpResponse] = self._client.send_request(request, _return_pipeline_response=True)  # type: ignore[assignment]
        _raise_for(response.http_response)
        return response

    def _json(self, response: PipelineResponse[HttpRequest, HttpResponse]) -> dict[str, Any]:
        content = response.http_response
        found = content.json() if content.content else {}
        return found if isinstance(found, dict) else {"value": found}

    def _finished(self, response: PipelineResponse[HttpRequest, HttpResponse], limit_minutes: float) -> dict[str, Any]:
        polling = _Polling(limit_minutes)
        polling.initialize(self._client, response, self._json)
        polling.run()
        found: dict[str, Any] = polling.resource()
        return found


def management(workspace: Workspace, credential: TokenCredential) -> Client:
    """Azure Resource Manager below the workspace: `get()` is the workspace, `get("models/m/versions/1")` a model in it."""
    return Client(MANAGEMENT + workspace.arm_id, credential)


def dataplane(workspace: Workspace, credential: TokenCredential, region: str, service: str) -> Client:
    """The workspace's data plane, such as `history/v1.0` or `mlflow/v2.0`, at <region>.api.azureml.ms."""
    return Client(f"https://{region}.api.azureml.ms/{service}{workspace.arm_id}", credential, api_version="")


def ml_client(workspace: Workspace, credential: TokenCredential, *, registry: bool = False) -> MLClient:
    """The Azure ML SDK on the workspace, or on its registry. Costs seconds to import: only to load YAML or to upload."""
    from azure.ai.ml import MLClient

    where = {"registry_name": workspace.registry_name} if registry else {"workspace_name": workspace.workspace_name}
    return MLClient(
        credential,
        workspace.subscription_id,
        workspace.resource_group,
        retry_policy=Transient(),
        enable_telemetry=False,
        show_progress=False,
        **where,
    )


class Transient(RetryPolicy):  # type: ignore[type-arg]
    """Retries what Azure calls transient and nothing else: 408, 429 (after Retry-After), 5xx, broken connections, and a refused
    right, in case its grant is not visible yet. Bounded by tries, and for refused rights by AML_GRANT_SECONDS for the whole process.

    azure-core's own policy retries any error that carries Retry-After, and a POST on fewer errors than a PUT; all POSTs here
    (cancel, list keys, start an upload) may be repeated.
    """

    def __init__(self) -> None:
        methods = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"]
        super().__init__(retry_total=8, retry_connect=4, retry_read=4, retry_status=8, retry_backoff_max=20, retry_on_methods=methods)

    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        """See the class."""
        status = response.http_response.status_code
        if status == 403:
            return _grant_may_come(response.http_response)
        return status in (408, 429, 500, 502, 503, 504) and settings["total"] > 0

    def get_retry_after(self, response: PipelineResponse[Any, Any]) -> float | None:
        """Seconds that the service asks for, at most two minutes."""
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, 120)


def retrying(action: Callable[[], T], *, limit_minutes: float = 20) -> T:
    """Call `action` again while it fails because another operation on the same entity is running.

    Give it the whole of read, change and write: the other operation may have changed what was read.
    """
    ends, pause = time.monotonic() + 60 * limit_minutes, 1.0
    while True:
        try:
            return action()
        except HttpResponseError as error:
            if not _conflicting(error) or time.monotonic() + pause > ends:
                raise
            ci.say(f"Another operation is running on {_call(error.response.request) if error.response else 'it'}; trying again in {pause:g} s.")
        time.sleep(pause)
        pause = min(2 * pause, 30)


def explain(error: Exception) -> Refusal | None:
    """One line of what, why and the fix for an error of Azure's; None for what is no expected failure."""
    if isinstance(error, HttpResponseError) and error.response is not None:
        what = f"Azure answered {error.status_code} to {_call(error.response.request)}"
        code, message = _reason(error)
        return Refusal(what, f"{code}: {message}" if code else message, _FIXES.get(error.status_code or 0, ""))
    if isinstance(error, (ServiceRequestError, ServiceResponseError)):
        return Refusal("Azure did not answer", str(error), "check the network, the proxy (HTTPS_PROXY) and its certificates (REQUESTS_CA_BUNDLE)")
    return None


_FIXES: dict[int, str] = {}
_CONFLICT = re.compile(r"another operation|already running|already in progress|operation in progress", re.IGNORECASE)
_lock = threading.Lock()
_grant_ends: float | None = None


def _grant_may_come(response: HttpResponse) -> bool:
    """True while a refused right is worth asking for again: Azure can take minutes to see a new role assignment."""
    global _grant_ends
    if "AuthorizationFailed" not in response.text():
        return False
    with _lock:
        if _grant_ends is None:
            seconds = float(os.environ.get("AML_GRANT_SECONDS") or 15)
            _grant_ends = time.monotonic() + seconds
            if seconds:
                ci.say(f"Azure refused a right. In case it was granted just now, asking again for {seconds:g} seconds.")
        return time.monotonic() < _grant_ends


def _conflicting(error: HttpResponseError) -> bool:
    code, message = _reason(error)
    return error.status_code in (409, 412, 429) and bool(_CONFLICT.search(f"{code} {message}"))


def _reason(error: HttpResponseError) -> tuple[str, str]:
    found: Any = error.error
    return str(getattr(found, "code", "") or ""), str(getattr(found, "message", "") or error.reason or error.message)


def _call(request: Any) -> str:
    return f"{request.method} {request.url.split('?')[0]}"


def _raise_for(response: HttpResponse) -> None:
    if response.status_code >= 400:
        kinds = {401: ClientAuthenticationError, 404: ResourceNotFoundError, 409: ResourceExistsError}
        map_error(response.status_code, response, kinds)
        raise HttpResponseError(response=response)


class _Polling(ARMPolling):
    """ARM's rules for long operations, asked often at first and seldom later, and with an end."""

    def __init__(self, limit_minutes: float) -> None:
        super().__init__(timeout=0.25)
        self._limit_minutes, self._ends = limit_minutes, time.monotonic() + 60 * limit_minutes

    def _delay(self) -> None:
        if time.monotonic() > self._ends:
            raise LimitReached(
                f"Azure has not finished {_call(self._initial_response.http_request)} within {self._limit_minutes:g} minutes",
                f"It still says {self.status()}",
                "run this again: it finds what is already done",
            )
        self._timeout = min(1.5 * self._timeout, 15)
        super()._delay()
