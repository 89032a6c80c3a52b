"""Smoke cases: what an answer must be, and the one line for what it is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml import smoke
from aml.command import Refusal
from aml.smoke import Answer, Result


def judged(expect: dict[str, Any], body: Any, status: int = 200, seconds: float = 0.1) -> list[str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return list(smoke.judge({"status": 200, **expect}, Answer(status, data, seconds)))


@pytest.mark.parametrize(
    ("expect", "body", "problem"),
    [
        ({}, [1], None),
        ({"contains": "delay"}, {"delay": 1}, None),
        ({"contains": "späte"}, "späte Flüge".encode(), None),
        ({"contains": "x"}, {"delay": 1}, 'the answer does not contain "x": {"delay": 1}'),
        ({"json_schema": {"type": "array", "items": {"type": "number"}, "minItems": 1}}, [1.5], None),
        ({"json_schema": {"type": "array", "items": {"type": "number"}}}, ["a"], "does not fit json_schema at /0"),
        ({"json_schema": {"type": "array"}}, b"<html>", "the answer is no JSON: <html>"),
        ({"json_schema": False}, [1], "does not fit json_schema at its root"),
        ({"equals": [{"pointer": "", "value": [1, 2]}]}, [1, 2.0], None),
        ({"equals": [{"pointer": "/a~1b/m~0n", "value": 1}]}, {"a/b": {"m~n": 1}}, None),
        ({"equals": [{"pointer": "/0", "value": 1}]}, [2], "/0 is 2 instead of 1"),
        ({"equals": [{"pointer": "/0", "value": 1}]}, [True], "/0 is true instead of 1"),
        ({"equals": [{"pointer": "/1", "value": 1}]}, [2], "the answer has nothing at /1"),
        ({"equals": [{"pointer": "/01", "value": 1}]}, [2, 1], "the answer has nothing at /01"),
        ({"equals": [{"pointer": "/-1", "value": 2}]}, [2], "the answer has nothing at /-1"),
        ({"range": [{"pointer": "/p/0", "min": -60, "max": 600}]}, {"p": [600]}, None),
        ({"range": [{"pointer": "/p/0", "min": -60, "max": 600}]}, {"p": [601]}, "/p/0 is 601 instead of at least -60 and at most 600"),
        ({"range": [{"pointer": "/p", "max": 600}]}, {"p": "1"}, '/p is "1", which is no number'),
        ({"range": [{"pointer": "/p", "max": 600}]}, {"p": True}, "/p is true, which is no number"),
        ({"range": [{"pointer": "/p", "min": 0}]}, b'{"p": NaN}', "/p is nan instead of at least 0"),
    ],
)
def test_what_an_answer_must_be(expect: dict[str, Any], body: Any, problem: str | None) -> None:
    found = judged(expect, body)
    assert len(found) == (0 if problem is None else 1)
    if problem:
        assert problem in found[0]


def test_a_wrong_status_is_one_line_with_the_answer() -> None:
    assert judged({"status": 200, "contains": "x"}, {"error": "no model"}, 424) == ['status 424 instead of 200: {"error": "no model"}']


def test_a_bad_request_that_is_refused_is_a_pass() -> None:
    assert judged({"status": 400}, b"", 400) == []
    assert judged({"status": 400}, [1], 200) == ["status 200 instead of 400: [1]"]


def test_azure_hides_the_scripts_status_in_a_header() -> None:
    wrapped = Answer(424, b"no value", 0.1, model_status=400)
    assert list(smoke.judge({"status": 400}, wrapped)) == []
    assert list(smoke.judge({"status": 424}, wrapped)) == []
    assert list(smoke.judge({"status": 200}, wrapped)) == ["status 424 (the scoring script answered 400) instead of 200: no value"]


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_an_empty_answer_fails_whatever_is_expected(body: bytes) -> None:
    assert judged({}, body) == ["status 200 with an empty answer"]
    assert judged({"status": 204}, body, 204) == []


def test_a_late_answer() -> None:
    assert judged({"within_seconds": 2}, [1], seconds=2.5) == ["late: 2.50 s instead of at most 2 s"]
    assert judged({"within_seconds": 2}, [1], seconds=2) == []


def test_everything_wrong_with_an_answer_is_told() -> None:
    assert len(judged({"within_seconds": 1, "contains": "x", "equals": [{"pointer": "/0", "value": 2}]}, [1], seconds=2)) == 3


def test_a_long_answer_is_cut_and_flattened() -> None:
    (line,) = judged({}, b"a\nb" * 500, 500)
    assert len(line) < 260
    assert "\n" not in line


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda i: st.lists(i, max_size=3) | st.dictionaries(st.text(), i, max_size=3)
    )
)
def test_every_place_in_a_document_has_its_pointer(document: Any) -> None:
    def walk(value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
        yield pointer, value
        pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in pairs:
            yield from walk(inner, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")

    for pointer, value in walk(document, ""):
        assert smoke.resolve(document, pointer) == (value, True)


def test_failures_are_one_line_that_names_each() -> None:
    results = [Result("a", 0.1, "", ()), Result("b", 0.1, "", ("late: 2 s",)), Result("c", 0.1, "", ("x", "y"))]
    with pytest.raises(Refusal, match=r"2 of 3 smoke cases failed at here\. b \(late: 2 s\); c \(x\); c \(y\)\. Fix: "):
        smoke.refuse_failures(results, "here")
    smoke.refuse_failures(results[:1], "here")


class Scripted(BaseHTTPRequestHandler):
    """Answers from a list, and keeps what it was asked."""

    by = ""
    answers: list[tuple[int, bytes] | None]
    asked: list[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        self.asked.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
        answer = self.answers.pop(0)
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer[0])
        self.send_header("Content-Length", str(len(answer[1])))
        if self.by:
            self.send_header("azureml-model-deployment", self.by)
        self.end_headers()
        self.wfile.write(answer[1])

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Scripted]]]:
    """A server whose answers a test lists: the HTTP boundary, for what no healthy endpoint does on demand."""
    handler = type("Handler", (Scripted,), {"answers": [], "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(smoke.time, "sleep", lambda seconds: None)
    yield f"http://127.0.0.1:{server.server_port}/score", handler
    server.shutdown()
    server.server_close()


class Keys:
    """The one call that a caller makes to ARM."""

    def post(self, path: str, body: Any) -> dict[str, Any]:
        return {"primaryKey": "s3cret"}


def caller(url: str) -> smoke.Caller:
    endpoint = {"name": "e", "properties": {"scoringUri": url, "authMode": "Key"}}
    return smoke.Caller(Keys(), endpoint, None)  # type: ignore[arg-type]


CASE = {"name": "one", "request": {"data": [1, "ü"]}, "expect": {"status": 200}}


def test_a_case_is_sent_to_its_deployment_with_the_key_that_nobody_sees(
    scripted: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, handler = scripted
    handler.answers[:] = [(200, b"[1]")]
    (result,) = smoke.run(caller(url), [CASE], "d-1", 4)
    assert result.passed
    ((_, headers, body),) = handler.asked
    assert headers["Authorization"] == "Bearer s3cret"
    assert headers["azureml-model-deployment"] == "d-1"
    assert json.loads(body) == CASE["request"]
    assert "s3cret" not in capsys.readouterr().out


def test_transient_answers_are_asked_again_with_a_bound(scripted: Any) -> None:
    url, handler = scripted
    handler.answers[:] = [(429, b""), None, (200, b"[1]")]
    (result,) = smoke.run(caller(url), [CASE], "d-1", 1)
    assert result.passed
    handler.answers[:] = [(429, b"slow down")] * 9
    (result,) = smoke.run(caller(url), [CASE], "d-1", 1)
    assert result.problems == ("status 429 instead of 200: slow down",)
    assert len(handler.answers) == 9 - smoke.TRIES


@pytest.mark.parametrize(
    ("by", "answer", "counts"),
    [
        ("new", (500, b"no"), True),
        ("old", (500, b"no"), False),
        ("", (500, b"no"), True),
        ("", (424, b"no"), False),
        ("", None, True),
        ("new", (200, b"[1]"), True),
    ],
)
def test_what_another_deployment_answers_is_left_out(scripted: Any, by: str, answer: Any, counts: bool) -> None:
    url, handler = scripted
    handler.by, handler.answers[:] = by, [answer] * smoke.TRIES
    results = smoke.run(caller(url), [CASE], "", 1, only="new")
    assert [result.passed for result in results] == ([answer == (200, b"[1]")] if counts else [])


def test_a_refusal_is_not_asked_again(scripted: Any) -> None:
    url, handler = scripted
    handler.answers[:] = [(401, b"no")]
    (result,) = smoke.run(caller(url), [CASE], "d-1", 1)
    assert result.problems == ("status 401 instead of 200: no",)


def test_a_broken_connection_is_one_line(scripted: Any) -> None:
    url, handler = scripted
    handler.answers[:] = [None] * 9
    (result,) = smoke.run(caller(url), [CASE], "d-1", 1)
    assert len(result.problems) == 1
    assert result.problems[0].startswith("the connection broke: ")


def test_no_answer_in_time_is_one_line() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/score"
        case = {**CASE, "expect": {"status": 200, "within_seconds": 0.2}}
        (result,) = smoke.run(caller(url), [case], "", 1)
    assert result.problems == ("no answer within 0.2 s",)
