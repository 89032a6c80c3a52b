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
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import quote

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
from azure.core.pipeline.policies import (
    BearerTokenCredentialPolicy,
    RequestIdPolicy,
    RetryPolicy,
    SansIOHTTPPolicy,
    UserAgentPolicy,
)
from azure.core.rest import HttpRequest, HttpResponse
from azure.mgmt.core.polling.arm_polling import ARMPolling

from aml import ci
from aml.command import LimitReached, Refusal
from aml.identity import SCOPE, refused
from aml.workspace import Workspace

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

T = TypeVar("T")
Answer: TypeAlias = Any  # azure-core's PipelineResponse of an HttpResponse

MANAGEMENT = "https://management.azure.com"
API_VERSION = "2025-12-01"


class Client:
    """JSON calls below one URL. Paths are relative to it; a path that starts with / is relative to its host.

    Errors: azure-core's HttpResponseError and its kin; `command.run` turns them into one line through `explain`.
    """

    def __init__(
        self, root: str, credential: TokenCredential, *, api_version: str = API_VERSION, patient: bool = True, scope: str = SCOPE
    ) -> None:
        self.root, self._api_version = root.rstrip("/"), api_version
        self.host = "/".join(self.root.split("/")[:3])
        self._client = _pipeline(self.host, Transient(patient=patient), BearerTokenCredentialPolicy(credential, scope))
        self._anonymous = _pipeline(self.host, Transient(patient=False))

    def get(self, path: str = "", **query: str) -> dict[str, Any]:
        """Read; a missing resource is an error."""
        return self._json(self._send("GET", path, query=query))

    def find(self, path: str = "", **query: str) -> dict[str, Any] | None:
        """Read; None if there is no such resource."""
        try:
            return self.get(path, **query)
        except ResourceNotFoundError:
            return None

    def list(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """All entries of a collection, page by page."""
        yield from self.pages(path, "nextLink", **query)

    def pages(self, path: str, link: str, **query: str) -> Iterator[dict[str, Any]]:
        """`list`, where the next page's address stands under `link`. Raises Refusal for a page without a list: it is not an empty one."""
        page = self.get(path, **query)
        while True:
            if not isinstance(entries := page.get("value"), list):
                why = "it has no list under 'value', so what there is can't be told from nothing"
                raise Refusal(
                    f"{self.host} answered GET {path.split('?')[0]} with another form", why, "run it again; if it stays, report it"
                )
            yield from entries
            if not page.get(link):
                return
            page = self._json(self._send("GET", page[link]))

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

    def read(self, url: str, offset: int = 0) -> bytes:
        """What an absolute URL that carries its own permission (a SAS) holds from an offset on; b"" if it is no longer than that."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._anonymous.send_request(HttpRequest("GET", url, headers=headers))
        if response.status_code == 416:
            return b""
        _raise_for(response)
        content: bytes = response.content
        return content if response.status_code == 206 or not offset else content[offset:]

    def _send(self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None) -> Answer:
        if path.startswith("https://"):
            url = path
        elif path.startswith("/"):
            url = self.host + path
        else:
            url = f"{self.root}/{quote(path, safe='/:@,;=+')}".rstrip("/")
        # azure-core writes parameters into the address as they are.
        params = {name: quote(value, safe="/:,'()") for name, value in (query or {}).items()}
        if self._api_version and "api-version=" not in url:
            params.setdefault("api-version", self._api_version)
        request = HttpRequest(method, url, params=params, json=body)
        response: Answer = self._client.send_request(request, _return_pipeline_response=True)
        _raise_for(response.http_response)
        return response

    def _json(self, response: Answer) -> dict[str, Any]:
        content = response.http_response
        found = content.json() if content.content else {}
        return found if isinstance(found, dict) else {"value": found}

    def _finished(self, response: Answer, limit_minutes: float) -> dict[str, Any]:
        polling = _Polling(limit_minutes)
        polling.initialize(self._client, response, self._json)
        polling.run()
        found: dict[str, Any] = polling.resource()
        return found


def _pipeline(host: str, *policies: Any) -> PipelineClient[HttpRequest, HttpResponse]:
    # Policies are links of one chain, so no two pipelines may share one.
    return PipelineClient(host, policies=[RequestIdPolicy(), UserAgentPolicy(sdk_moniker="azureml-catalog"), *policies, Counted()])


def management(workspace: Workspace, credential: TokenCredential, *, patient: bool = True) -> Client:
    """Azure Resource Manager below the workspace: `get()` is the workspace, `get("models/m/versions/1")` a model in it.

    `patient`: whether a refused right is asked for again for some seconds, in case it was granted just now.
    """
    return Client(MANAGEMENT + workspace.arm_id, credential, patient=patient)


def dataplane(workspace: Workspace, credential: TokenCredential, region: str, service: str) -> Client:
    """The workspace's data plane, such as `history/v1.0` or `mlflow/v2.0`, at <region>.api.azureml.ms."""
    return Client(f"https://{region}.api.azureml.ms/{service}{workspace.arm_id}", credential, api_version="")


def ml_client(workspace: Workspace, credential: TokenCredential) -> MLClient:
    """The Azure ML SDK on the workspace. Costs seconds to import: only to load YAML or to upload."""
    from aml.loading import sdk

    return sdk().MLClient(
        credential,
        workspace.subscription_id,
        workspace.resource_group,
        workspace.workspace_name,
        **_RETRIES,
        enable_telemetry=False,
        show_progress=False,
    )


_RETRIES: dict[str, Any] = {"retry_total": 8, "retry_connect": 4, "retry_read": 4, "retry_status": 8, "retry_backoff_max": 20}


class Counted(SansIOHTTPPolicy):  # type: ignore[misc]
    """Counts the calls of this process, of repeated ones each; what is spent on signing in is not among them."""

    made = 0
    _lock = threading.Lock()

    def on_request(self, request: Any) -> None:
        """One more."""
        Counted.one_more(request)

    @classmethod
    def one_more(cls, request: Any) -> None:
        """One more; also a hook of azure-storage-blob's, which makes pipelines of its own."""
        with cls._lock:
            cls.made += 1


class Transient(RetryPolicy):  # type: ignore[misc]
    """Retries what Azure calls transient and nothing else: 408, 429 (after Retry-After), 5xx, broken connections, and a refused
    right, in case its grant is not visible yet. Bounded by tries, and for refused rights by AML_GRANT_SECONDS for the whole process.

    azure-core's own policy retries any error that carries Retry-After, and a POST on fewer errors than a PUT; all POSTs here
    (cancel, list keys, start an upload) may be repeated.
    """

    def __init__(self, *, patient: bool = True) -> None:
        super().__init__(**_RETRIES)
        self._patient = patient

    def configure_retries(self, options: dict[str, Any]) -> dict[str, Any]:
        """The settings of one call: every method may be repeated."""
        found: dict[str, Any] = super().configure_retries(options)
        return {**found, "methods": {"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"}}

    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        """See the class."""
        status = response.http_response.status_code
        if status == 403:
            return self._patient and _grant_may_come(response.http_response)
        return status in (408, 429, 500, 502, 503, 504) and settings["total"] > 0

    def get_retry_after(self, response: PipelineResponse[Any, Any]) -> float | None:
        """Seconds that the service asks for, at most two minutes."""
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, 120)

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """Seconds to wait where the service asks for none."""
        last = settings["history"][-1].http_response if settings["history"] else None
        return _GRANT_PAUSE if last is not None and last.status_code == 403 else float(super().get_backoff_time(settings))


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
            ci.say(f"Another operation is running there; trying again in {pause:g} s. ({_reason(error)[1]})")
        time.sleep(pause)
        pause = min(2 * pause, 30)


def explain(error: Exception) -> Refusal | None:
    """One line of what, why and the fix for an error of Azure's; None for what is no expected failure."""
    if signing := refused(error):
        return signing
    if isinstance(error, HttpResponseError):
        return _answered(error)
    if isinstance(error, (ServiceRequestError, ServiceResponseError)) or type(error).__module__.startswith("requests."):
        return _unreachable(str(error))
    if type(error).__module__.startswith(("azure.ai.ml", "marshmallow")):
        category = getattr(error, "error_category", "UserError")
        if str(getattr(category, "value", category)) == "UserError":
            why = str(getattr(error, "message", error))
            return Refusal("The Azure ML SDK refused it", why, "correct the file; validate_project shows the place")
    return None


def _answered(error: HttpResponseError) -> Refusal:
    status, (code, message) = error.status_code or 0, _reason(error)
    what = f"Azure answered {status} to {_call(error.response.request)}" if error.response is not None else "Azure refused"
    if denied := re.search(r"perform action '([^']+)' over scope '([^']+)'", message):
        action, scope = denied.groups()
        client = re.search(r"The client '([^']+)'", message)
        return Refusal(
            f"The right {action} is missing",
            f"Azure ({status} {code}) does not allow it to {client[1] if client else 'the sign-in'} at {scope}",
            "have a role with this action assigned to it there; a new assignment can take 30 minutes to be seen",
        )
    fix = {
        401: "run it again to sign in anew; if that is refused too, check tenant_id in the workspace spec",
        403: "have a role that allows it assigned to the service principal; a new assignment can take 30 minutes to be seen",
        404: "check the names in the workspace spec and that the resource exists",
        409: "wait until the other operation has ended, or use another name or version, then run it again",
        429: "wait some minutes and run it again; Azure limits calls per subscription",
    }.get(status, "run it again; if it stays, look at Azure's status page" if status >= 500 else "correct what Azure names")
    return Refusal(what, f"{code}: {message}" if code else message, fix)


def _unreachable(text: str) -> Refusal:
    text = re.sub(r"\?[^\s'\"<>)]*", "", text)  # the query of an address may be its permission: the signature of a SAS
    host = re.search(r"host='([^']+)'", text)
    what = f"{host[1] if host else 'Azure'} cannot be reached"
    proxy, again = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"), "run it again: it finds what is already done"
    for pattern, why, fix in (
        ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted here", "name your network's CA bundle in REQUESTS_CA_BUNDLE"),
        ("ProxyError|Tunnel connection", f"the proxy {proxy} refused", "check HTTPS_PROXY and what the proxy allows"),
        (
            "NameResolution|getaddrinfo|not known",
            "its name cannot be resolved",
            "check the network; a private workspace needs a runner inside",
        ),
        ("reset|RemoteDisconnected|Connection aborted|IncompleteRead", "the connection broke, again and again", again),
        ("refused", "the connection was refused", "check the network and HTTPS_PROXY"),
        ("timed? ?out", "it did not answer in time", again),
    ):
        if re.search(pattern, text):
            return Refusal(what, why, fix)
    return Refusal(what, text, "check the network and HTTPS_PROXY, then run it again")


_CONFLICT = re.compile(r"another operation|already running|already in progress|operation in progress", re.IGNORECASE)
_GRANT_PAUSE = 2.0  # seconds
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
        return time.monotonic() + _GRANT_PAUSE < _grant_ends


def said(error: HttpResponseError) -> str:
    """The service's own words, its code before them."""
    return ": ".join(part for part in _reason(error) if part)


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


class _Polling(ARMPolling):  # type: ignore[misc]
    """ARM's rules for long operations, asked often at first and seldom later, and with an end."""

    def __init__(self, limit_minutes: float) -> None:
        super().__init__()
        self._timeout = 0.25
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
