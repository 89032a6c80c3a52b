"""Calls of Azure: what is tried again and what is not, long operations, and one line for each kind of failure."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)

from aml import azure
from aml.azure import Client
from aml.command import LimitReached, Refusal

DENIED = {
    "error": {
        "code": "AuthorizationFailed",
        "message": "The client 'd0' with object id 'o1' does not have authorization to perform action 'Microsoft.X/jobs/write' over scope "
        "'/subscriptions/s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
    }
}


class Credential:
    """A token that never ends."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken("token", int(time.time()) + 3600)


@pytest.fixture
def client(played: Any, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of the played Azure that does not wait between tries."""
    monkeypatch.setattr("azure.core.pipeline.transport.RequestsTransport.sleep", lambda self, seconds: waited.append(seconds))
    monkeypatch.setattr(azure, "_grant_ends", None)
    waited.clear()
    return Client(f"{played.url}/base", Credential())


waited: list[float] = []


def test_reads(client: Client, played: Any) -> None:
    played.answer(200, {"id": "x"})
    assert client.get("jobs/a b'$(x)?#é", kind="y") == {"id": "x"}
    method, path, headers, _ = played.asked[0]
    assert (method, path) == ("GET", f"/base/jobs/a%20b%27%24%28x%29%3F%23%C3%A9?kind=y&api-version={azure.API_VERSION}")
    assert headers["Authorization"] == "Bearer token"


def test_a_value_of_the_query_stays_one_value(client: Client, played: Any) -> None:
    """A name in a filter of Microsoft Graph may be anything; what would end the value, or mean another, is written out."""
    name = "R&D #1 + 50% é?=;x"
    played.answer(200, {"value": []})
    list(client.list("/applications", **{"$filter": f"displayName eq '{name}'"}))
    asked = urlsplit(played.asked[0][1])
    assert parse_qsl(asked.query) == [("$filter", f"displayName eq '{name}'"), ("api-version", azure.API_VERSION)]
    assert not asked.fragment


def test_paths_are_relative_to_the_root_the_host_or_nothing(client: Client, played: Any) -> None:
    played.answer(200, {})
    for path in ("", "jobs/a", "/subscriptions/s", f"{played.url}/absolute?api-version=1"):
        client.get(path)
    version = f"?api-version={azure.API_VERSION}"
    expected = [f"/base{version}", f"/base/jobs/a{version}", f"/subscriptions/s{version}", "/absolute?api-version=1"]
    assert [path for _, path, _, _ in played.asked] == expected


def test_lists_page_by_page(client: Client, played: Any) -> None:
    played.answer(200, {"value": [1, 2], "nextLink": f"{played.url}/base/next?api-version=1&$skip=2"})
    played.answer(200, {"value": [3], "nextLink": None})
    assert list(client.list("jobs")) == [1, 2, 3]


@pytest.mark.parametrize("page", [None, {}, {"value": None}, {"value": {}}, {"error": "no"}])
def test_a_page_that_is_no_list_is_not_an_empty_one(client: Client, played: Any, page: Any) -> None:
    played.answer(200, {"value": [1], "nextLink": f"{played.url}/base/next?api-version=1"})
    played.answer(200, page)
    with pytest.raises(Refusal, match="with another form"):
        list(client.list("jobs"))


def test_a_missing_resource(client: Client, played: Any) -> None:
    played.answer(404, {"error": {"code": "ResourceNotFound", "message": "gone"}})
    assert client.find("jobs/a") is None
    client.delete("jobs/a")
    with pytest.raises(ResourceNotFoundError) as error:
        client.get("jobs/a")
    said = str(azure.explain(error.value))
    assert said.startswith(f"Azure answered 404 to GET {played.url}/base/jobs/a. ResourceNotFound: gone. Fix: check the names")


@pytest.mark.parametrize("method", ["get", "put", "post", "patch", "delete"])
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_transient_answers_are_tried_again(method: str, status: int, client: Client, played: Any) -> None:
    played.answer(status, {"error": {"code": "Busy", "message": "later"}}, times=3)
    played.answer(200, {"id": "x"})
    getattr(client, method)("a", *([{"b": 1}] if method in ("put", "post", "patch") else []))
    assert len(played.asked) == 4
    assert all(body == ({"b": 1} if method in ("put", "post", "patch") else None) for _, _, _, body in played.asked)


@pytest.mark.parametrize("method", ["get", "put", "post"])
def test_a_broken_connection_is_tried_again(method: str, client: Client, played: Any) -> None:
    played.answers += [None, None]
    played.answer(200, {"id": "x"})
    assert getattr(client, method)("a", *([{"b": 1}] if method != "get" else [])) == {"id": "x"}
    assert len(played.asked) == 3


def test_what_the_service_asks_to_wait_is_waited_up_to_a_bound(client: Client, played: Any) -> None:
    played.answer(429, {}, Retry_After="7")
    played.answer(429, {}, Retry_After="86400")
    played.answer(200, {})
    client.get("a")
    assert waited == [7, 120]


@pytest.mark.parametrize("status", [400, 401, 404, 405, 409, 412, 422])
def test_other_answers_are_not_tried_again_whatever_they_ask(status: int, client: Client, played: Any) -> None:
    played.answer(status, {"error": {"code": "No", "message": "no"}}, Retry_After="1")
    with pytest.raises(HttpResponseError):
        client.get("a")
    assert len(played.asked) == 1


def test_tries_have_an_end(client: Client, played: Any) -> None:
    played.answer(503, {"error": {"code": "ServerBusy", "message": "busy"}})
    with pytest.raises(HttpResponseError) as error:
        client.get("a")
    assert len(played.asked) == 9
    assert "503" in str(azure.explain(error.value))
    assert max(waited) <= 20
    played.asked.clear()
    played.answers[:] = [None]
    with pytest.raises((ServiceRequestError, ServiceResponseError)) as broken:
        client.get("a")
    assert len(played.asked) == 5
    assert "run it again: it finds what is already done" in str(azure.explain(broken.value))


def test_a_refused_right_is_asked_for_again_for_some_seconds_in_all(
    client: Client, played: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(
        "azure.core.pipeline.transport.RequestsTransport.sleep", lambda self, seconds: clock.__setitem__(0, clock[0] + seconds)
    )
    monkeypatch.setenv("AML_GRANT_SECONDS", "9")
    played.answer(403, DENIED)
    for _ in range(3):
        with pytest.raises(HttpResponseError):
            client.get("a")
    assert clock[0] <= 9
    assert 4 <= len(played.asked) - 2 <= 6, "the seconds are for the whole process"
    assert capsys.readouterr().out.count("granted just now") == 1


def test_a_right_that_becomes_visible(client: Client, played: Any) -> None:
    played.answer(403, DENIED, times=2)
    played.answer(200, {"id": "x"})
    assert client.get("a") == {"id": "x"}


def test_an_impatient_client_takes_no_for_an_answer(client: Client, played: Any) -> None:
    played.answer(403, DENIED)
    with pytest.raises(HttpResponseError):
        Client(f"{played.url}/base", Credential(), patient=False).get("a")
    assert len(played.asked) == 1


def test_another_refusal_is_not_asked_for_again(client: Client, played: Any) -> None:
    played.answer(403, {"error": {"code": "RequestDisallowedByPolicy", "message": "policy"}})
    with pytest.raises(HttpResponseError) as error:
        client.get("a")
    assert len(played.asked) == 1
    assert "RequestDisallowedByPolicy: policy" in str(azure.explain(error.value))


def test_long_operations_are_followed_to_their_end(client: Client, played: Any) -> None:
    status = f"{played.url}/operations/1"
    played.answer(201, {"id": "x", "properties": {"provisioningState": "Creating"}}, Azure_AsyncOperation=status)
    played.answer(200, {"status": "InProgress"}, times=3)
    played.answer(200, {"status": "Succeeded"})
    played.answer(200, {"id": "x", "properties": {"provisioningState": "Succeeded"}})
    assert client.put("a", {"b": 1})["properties"]["provisioningState"] == "Succeeded"
    assert [method for method, _, _, _ in played.asked] == ["PUT", "GET", "GET", "GET", "GET", "GET"]
    assert waited == sorted(waited)
    assert waited[0] < 1, "asks often at first"


def test_a_long_operation_that_fails(client: Client, played: Any) -> None:
    played.answer(202, None, Location=f"{played.url}/operations/1", Azure_AsyncOperation=f"{played.url}/operations/1")
    played.answer(200, {"status": "Failed", "error": {"code": "OutOfQuota", "message": "no cores"}})
    with pytest.raises(HttpResponseError) as error:
        client.post("a")
    assert "OutOfQuota: no cores" in str(azure.explain(error.value))


def test_a_long_operation_without_end(client: Client, played: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(
        "azure.core.pipeline.transport.RequestsTransport.sleep", lambda self, seconds: clock.__setitem__(0, clock[0] + seconds)
    )
    played.answer(202, None, Azure_AsyncOperation=f"{played.url}/operations/1")
    played.answer(200, {"status": "InProgress"})
    with pytest.raises(
        LimitReached, match=r"Azure has not finished PUT https://localhost:\d+/base/a within 2 minutes. It still says InProgress"
    ):
        client.put("a", {}, limit_minutes=2)


def conflict() -> HttpResponseError:
    error = HttpResponseError("Another operation on the same entity is already running")
    error.status_code = 409
    return error


def test_a_conflicting_operation_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", waited.append)
    waited.clear()
    tries = iter([conflict(), conflict(), None])

    def action() -> str:
        if error := next(tries):
            raise error
        return "done"

    assert azure.retrying(action) == "done"
    assert waited == [1, 2]


def test_a_conflict_that_stays_or_is_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))

    def stays() -> None:
        raise conflict()

    with pytest.raises(HttpResponseError):
        azure.retrying(stays, limit_minutes=2)
    assert 60 < clock[0] <= 120
    clock[0] = 0

    def exists() -> None:
        error = HttpResponseError("A version with this name exists with other content")
        error.status_code = 409
        raise error

    with pytest.raises(HttpResponseError):
        azure.retrying(exists)
    assert clock[0] == 0


def test_signed_addresses_are_read_without_a_token_from_an_offset(client: Client, played: Any) -> None:
    played.answer(200, b"0123456789")
    assert client.read(f"{played.url}/log?sig=1") == b"0123456789"
    assert "Authorization" not in played.asked[0][2]
    played.answers[:] = []
    played.answer(206, b"89")
    assert client.read(f"{played.url}/log?sig=1", 8) == b"89"
    assert played.asked[1][2]["Range"] == "bytes=8-"
    played.answers[:] = []
    played.answer(416, None)
    assert client.read(f"{played.url}/log?sig=1", 10) == b""
    played.answers[:] = []
    played.answer(200, b"0123456789")
    assert client.read(f"{played.url}/log?sig=1", 8) == b"89", "a server that knows no ranges"


def test_a_missing_right_is_told_with_action_and_scope(client: Client, played: Any) -> None:
    played.answer(403, DENIED)
    with pytest.raises(HttpResponseError) as error:
        Client(played.url, Credential(), patient=False).get("a")
    assert str(azure.explain(error.value)) == (
        "The right Microsoft.X/jobs/write is missing. Azure (403 AuthorizationFailed) does not allow it to d0 at /subscriptions/s. "
        "Fix: have a role with this action assigned to it there; a new assignment can take 30 minutes to be seen."
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "HTTPSConnectionPool(host='a.b', port=443): Max retries exceeded (Caused by ProxyError('Unable to connect to proxy'))",
            "a.b cannot be reached. the proxy http://127.0.0.1:9 refused. Fix: check HTTPS_PROXY and what the proxy allows.",
        ),
        (
            "HTTPSConnectionPool(host='a.b', port=443): (Caused by NameResolutionError('getaddrinfo failed'))",
            "a.b cannot be reached. its name cannot be resolved. Fix: check the network; a private workspace needs a runner inside.",
        ),
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed",
            "Azure cannot be reached. its certificate is not trusted here. Fix: name your network's CA bundle in REQUESTS_CA_BUNDLE.",
        ),
        (
            "('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))",
            "Azure cannot be reached. the connection broke, again and again. Fix: run it again: it finds what is already done.",
        ),
        ("Connection refused", "Azure cannot be reached. the connection was refused. Fix: check the network and HTTPS_PROXY."),
        ("Read timed out.", "Azure cannot be reached. it did not answer in time. Fix: run it again: it finds what is already done."),
        ("something else", "Azure cannot be reached. something else. Fix: check the network and HTTPS_PROXY, then run it again."),
    ],
)
def test_an_unreachable_azure(text: str, line: str) -> None:
    assert str(azure.explain(ServiceRequestError(text))) == line


@pytest.mark.parametrize(
    "text",
    [
        "HTTPSConnectionPool(host='a.b', port=443): Max retries exceeded with url: /c/f?sv=1&sig=SECRET%3D (Caused by X('y'))",
        "cannot open 'https://a.b/c/f?sig=SECRET%3D&se=1': odd",
        "https://a.b/c/f?sig=SECRET",
    ],
)
def test_a_signature_is_not_shown(text: str) -> None:
    said = str(azure.explain(ServiceRequestError(text)))
    assert "SECRET" not in said
    assert "/c/f" in said, "what was asked for still is"


def test_errors_that_are_no_answers_of_azure_are_bugs() -> None:
    assert azure.explain(ValueError("a bug")) is None
    assert azure.explain(KeyError("a bug")) is None


def test_an_expired_token(client: Client, played: Any) -> None:
    played.answer(
        401, {"error": {"code": "ExpiredAuthenticationToken", "message": "The access token expiry UTC time is earlier than now."}}
    )
    with pytest.raises(ClientAuthenticationError) as error:
        client.get("a")
    refusal = azure.explain(error.value)
    assert isinstance(refusal, Refusal)
    assert "ExpiredAuthenticationToken" in str(refusal)
    assert "run it again to sign in anew" in str(refusal)
