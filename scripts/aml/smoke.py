"""Smoke cases: requests sent to an endpoint, or straight to one deployment of it, and what is wrong with the answers.

Source of the headers: "Invoke an online endpoint" (learn.microsoft.com/azure/machine-learning/how-to-authenticate-online-endpoint).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aml import ci
from aml.azure import Client
from aml.command import Refusal

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

SCOPE = "https://ml.azure.com/.default"
LIMIT_SECONDS = 180.0  # what Azure itself allows a request
TRIES = 3  # for answers that Azure calls transient
AT_A_TIME = 8

_TRANSIENT = (429, 502, 503, 504)
_SHOWN = 200  # characters of an answer that a message shows


@dataclass(frozen=True)
class Answer:
    """What came back for a request, or why nothing did.

    Azure answers 424 for whatever the scoring script answers but 200, and says in a header what that was: `model_status`.
    Source: "Troubleshoot online endpoint deployment", HTTP status codes (learn.microsoft.com/azure/machine-learning).
    """

    status: int
    body: bytes
    seconds: float
    deployment: str = ""
    error: str = ""
    model_status: int = 0


@dataclass(frozen=True)
class Result:
    """One case: whether it passed, how long the answer took, and what was wrong, one line each."""

    name: str
    seconds: float
    deployment: str
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.problems


class Caller:
    """Sends requests to one endpoint with its key or token, which is fetched anew before it ends and never printed."""

    def __init__(self, client: Client, endpoint: Mapping[str, Any], credential: TokenCredential) -> None:
        import requests

        self._client, self._credential = client, credential
        self._name, self._url = endpoint["name"], endpoint["properties"]["scoringUri"]
        self._mode = str(endpoint["properties"].get("authMode") or "Key").lower()
        self._secret, self._ends = "", 0.0
        self._session = requests.Session()
        self._session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=AT_A_TIME))
        self.sign_in()

    def sign_in(self) -> None:
        """Fetch the key or token if there is none that lasts a while longer."""
        if time.time() < self._ends - 300:
            return
        if self._mode == "aadtoken":
            token = self._credential.get_token(SCOPE)
            self._secret, self._ends = token.token, float(token.expires_on)
        elif self._mode == "amltoken":
            found = self._client.post(f"onlineEndpoints/{self._name}/token", {})
            self._secret, self._ends = found["accessToken"], float(found["expiryTimeUtc"])
        else:
            self._secret, self._ends = self._client.post(f"onlineEndpoints/{self._name}/listKeys", {})["primaryKey"], float("inf")
        ci.mask(self._secret)

    def send(self, body: bytes, deployment: str, seconds: float) -> Answer:
        """Send a body, to `deployment` or, without one, to whichever the split of traffic chooses. Transient answers are asked again."""
        import requests

        headers = {"Authorization": f"Bearer {self._secret}", "Content-Type": "application/json"}
        if deployment:
            headers["azureml-model-deployment"] = deployment
        for attempt in range(1, TRIES + 1):
            began = time.monotonic()
            try:
                got = self._session.post(self._url, data=body, headers=headers, timeout=(30, seconds))
            except requests.exceptions.Timeout:
                return Answer(0, b"", time.monotonic() - began, error=f"no answer within {seconds:g} s")
            except requests.exceptions.RequestException as error:
                answer = Answer(0, b"", time.monotonic() - began, error=f"the connection broke: {_reason(error)}")
            else:
                took = time.monotonic() - began
                by, model_status = (got.headers.get(name, "") for name in ("azureml-model-deployment", "ms-azureml-model-error-statuscode"))
                answer = Answer(got.status_code, got.content, took, by, model_status=int(model_status) if model_status.isdecimal() else 0)
                if got.status_code not in _TRANSIENT:
                    return answer
            if attempt < TRIES:
                time.sleep(attempt)
        return answer


def run(caller: Caller, cases: Sequence[Mapping[str, Any]], deployment: str, at_a_time: int, only: str = "") -> list[Result]:
    """Send all cases, `at_a_time` side by side, and judge the answers; results in the order of the cases.

    With `only`, what another deployment answers is left out: a release may correct just that. Without a deployment that says it
    answered, only a broken connection and a 5xx count.
    """
    caller.sign_in()

    def one(case: Mapping[str, Any]) -> Result | None:
        expect = case["expect"]
        body = json.dumps(case["request"], ensure_ascii=False).encode()
        # Who was cut off is not known: with `only`, what is late must answer before it is judged late.
        seconds = LIMIT_SECONDS if only else float(expect.get("within_seconds") or LIMIT_SECONDS)
        answer = caller.send(body, deployment, seconds)
        if only and answer.deployment != only and (answer.deployment or not (answer.error or answer.status >= 500)):
            return None
        problems = list(judge(expect, answer))
        if deployment and answer.deployment not in ("", deployment):
            problems.append(f"{answer.deployment} answered instead of {deployment}")
        return Result(case["name"], answer.seconds, answer.deployment, tuple(problems))

    with ThreadPoolExecutor(max(1, min(at_a_time, AT_A_TIME, len(cases)))) as senders:
        return [result for result in senders.map(one, cases) if result]


def judge(expect: Mapping[str, Any], answer: Answer) -> Iterator[str]:
    """What is wrong with an answer, one line each, as `expect` (schemas/smoke.schema.json) sees it."""
    if answer.error:
        yield answer.error
        return
    shown = _cut(answer.body.decode("utf-8", "replace"))
    if expect["status"] not in (answer.status, answer.model_status):
        model = f" (the scoring script answered {answer.model_status})" if answer.model_status else ""
        yield f"status {answer.status}{model} instead of {expect['status']}" + (f": {shown}" if shown else "")
        return
    if "within_seconds" in expect and answer.seconds > expect["within_seconds"]:
        yield f"late: {answer.seconds:.2f} s instead of at most {expect['within_seconds']:g} s"
    if not answer.body.strip() and answer.status < 300 and answer.status != 204:
        yield f"status {answer.status} with an empty answer"
        return
    if "contains" in expect and expect["contains"] not in answer.body.decode("utf-8", "replace"):
        yield f"the answer does not contain {_cut(json.dumps(expect['contains'], ensure_ascii=False))}: {shown}"
    if any(key in expect for key in ("json_schema", "equals", "range")):
        try:
            document = json.loads(answer.body)
        except ValueError:
            yield f"the answer is no JSON: {shown}"
            return
        yield from _judge_document(expect, document)


def lines(results: Sequence[Result]) -> Iterator[str]:
    """One line for each case, and one more for each thing beyond the first that is wrong with it."""
    for result in results:
        by = f" by {result.deployment}" if result.deployment else ""
        if result.passed:
            yield f"passed  {result.name} ({result.seconds:.2f} s{by})"
        for problem in result.problems:
            yield f"FAILED  {result.name}{by}: {problem}"


def refuse_failures(results: Sequence[Result], where: str) -> None:
    """Raises Refusal that names every case that failed."""
    if failed := [f"{result.name} ({problem})" for result in results for problem in result.problems]:
        count = sum(not result.passed for result in results)
        what = f"{count} of {len(results)} smoke cases failed at {where}"
        raise Refusal(what, "; ".join(failed), "correct the model, the scoring script or the case")


def _judge_document(expect: Mapping[str, Any], document: Any) -> Iterator[str]:
    if "json_schema" in expect:
        import jsonschema_rs

        for error in jsonschema_rs.Draft202012Validator(expect["json_schema"]).iter_errors(document):
            yield f"the answer does not fit json_schema at {_pointer(error.instance_path)}: {_cut(error.message)}"
    for rule in expect.get("equals", []):
        found, there = resolve(document, rule["pointer"])
        if not there:
            yield f"the answer has nothing at {rule['pointer'] or 'its root'}"
        elif not _equal(found, rule["value"]):
            yield f"{rule['pointer'] or 'the answer'} is {_cut(json.dumps(found))} instead of {_cut(json.dumps(rule['value']))}"
    for rule in expect.get("range", []):
        found, there = resolve(document, rule["pointer"])
        if not there:
            yield f"the answer has nothing at {rule['pointer'] or 'its root'}"
        elif isinstance(found, bool) or not isinstance(found, (int, float)):
            yield f"{rule['pointer'] or 'the answer'} is {_cut(json.dumps(found))}, which is no number"
        elif not rule.get("min", float("-inf")) <= found <= rule.get("max", float("inf")):
            limits = [f"{word} {rule[bound]:g}" for bound, word in (("min", "at least"), ("max", "at most")) if bound in rule]
            yield f"{rule['pointer'] or 'the answer'} is {found:g} instead of {' and '.join(limits)}"


def resolve(document: Any, pointer: str) -> tuple[Any, bool]:
    """(value, whether it is there) at a JSON pointer (RFC 6901)."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict) and key in document:
            document = document[key]
        elif isinstance(document, list) and key.isdecimal() and (key == "0" or not key.startswith("0")) and int(key) < len(document):
            document = document[int(key)]
        else:
            return None, False
    return document, True


def _equal(left: Any, right: Any) -> bool:
    # Python says that True == 1; JSON does not.
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    return bool(left == right)


def _pointer(path: Sequence[str | int]) -> str:
    return "".join(f"/{part}" for part in path) or "its root"


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else f"{flat[:_SHOWN]}..."


def _reason(error: Exception) -> str:
    # requests nests its reasons; the innermost one says what happened.
    while isinstance(nested := getattr(error, "reason", None) or (error.args[0] if error.args else None), Exception):
        error = nested
    return str(error)
