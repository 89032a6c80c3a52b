"""JSON over HTTPS to a CI system's own API, with the token that the job or a person holds for it.

What Azure calls transient is tried again as in `aml.azure`; but nothing that adds something, since its first attempt may have counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from azure.core import PipelineClient
from azure.core.exceptions import AzureError
from azure.core.pipeline.policies import HeadersPolicy, UserAgentPolicy
from azure.core.rest import HttpRequest, HttpResponse

from aml.azure import Counted, Transient, explain
from aml.command import Refusal


class Session:
    """Calls with the same headers. Raises Refusal where nothing answers; what an answer means is for the caller to say."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        policies = [UserAgentPolicy(sdk_moniker="azureml-catalog"), HeadersPolicy(dict(headers)), Transient(patient=False), Counted()]
        self._client: PipelineClient[HttpRequest, HttpResponse] = PipelineClient("https://", policies=policies)

    def send(
        self, method: str, url: str, query: Mapping[str, str] | None = None, body: Any = None, content_type: str = "application/json"
    ) -> HttpResponse:
        """One call to an absolute address, redirects not followed."""
        # azure-core writes parameters into the address as they are.
        params = {name: quote(value, safe="") for name, value in (query or {}).items()}
        headers = {"Content-Type": content_type} if body is not None else {}
        request = HttpRequest(method, url, params=params, json=body, headers=headers)
        once = {"retry_total": 0, "retry_status": 0, "retry_connect": 0, "retry_read": 0} if method == "POST" else {}
        try:
            return self._client.send_request(request, **once)
        except AzureError as error:
            raise explain(error) or error from error


def said(response: HttpResponse) -> str:
    """The service's own words for a refusal, or its status."""
    try:
        found = response.json()
    except ValueError:
        found = None
    message = found.get("message") if isinstance(found, dict) else None
    return str(message or response.reason or response.status_code)


def refusal(service: str, response: HttpResponse, fix: str) -> Refusal:
    """One line for an answer that is none."""
    request = response.request
    return Refusal(f"{service} answered {response.status_code} to {request.method} {request.url.split('?')[0]}", said(response), fix)
