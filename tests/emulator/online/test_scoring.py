"""The scoring address: routing by weight and header, mirroring, who may call, and every status that the documentation lists."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

NAME = "scoring"


@pytest.fixture(scope="module")
def served(site: Any) -> Iterator[Any]:
    """An endpoint with the deployments blue and green; no traffic goes to either."""
    site.endpoint(NAME)
    body = site.body(requestSettings={"requestTimeout": "PT60S"})
    for name in ("blue", "green"):
        body["properties"]["environmentVariables"] = {"WHO": name}
        assert site.deploy(NAME, name, body)["status"] == "Succeeded", site.logs(NAME, name)
    yield site
    site.remove(NAME)


@pytest.fixture
def key(served: Any) -> str:
    return str(served.key(NAME))


def test_without_traffic_only_the_header_routes(served: Any, key: str) -> None:
    served.endpoint(NAME)
    assert served.score(NAME, {}, key).status_code == 404
    assert "No valid deployments to route to" in served.score(NAME, {}, key).text
    assert served.score(NAME, {}, key, "nobody").status_code == 404
    answer = served.score(NAME, {"a": [1, "ü"]}, key, "green")
    assert answer.status_code == 200
    assert answer.json() == {"who": "green", "model": "42", "echo": {"a": [1, "ü"]}}
    assert answer.headers["azureml-model-deployment"] == "green"
    assert answer.headers["x-ms-server-version"].startswith("azmlinfsrv/")
    assert int(answer.headers["ms-azureml-model-time"]) >= 0


def test_weights_are_honoured(served: Any, key: str) -> None:
    served.endpoint(NAME, traffic={"blue": 70, "green": 30})
    seen = Counter(served.score(NAME, {}, key).headers["azureml-model-deployment"] for _ in range(300))
    # 90 are expected of green, with a standard deviation below 8; seven of them are missed once in 10^11 runs
    assert 90 - 56 < seen["green"] < 90 + 56
    assert sum(seen.values()) == 300


def test_mirrored_requests_are_copies_whose_answers_go_nowhere(served: Any, key: str) -> None:
    served.endpoint(NAME, traffic={"blue": 100}, mirrorTraffic={"green": 50})
    mark = uuid.uuid4().hex
    before = served.logs(NAME, "green", tail=100000).count("POST /score 200")
    answers = [served.score(NAME, {"mark": mark}, key) for _ in range(40)]
    assert {answer.headers["azureml-model-deployment"] for answer in answers} == {"blue"}
    while served.logs(NAME, "green", tail=100000).count("POST /score 200") == before:
        pass  # none of 40 copies arriving has a chance of 2^-40
    mirrored = served.put_endpoint(NAME, traffic={"blue": 100}, mirrorTraffic={"blue": 10})
    assert "has live traffic" in mirrored.text
    assert "At most 50" in served.put_endpoint(NAME, traffic={"blue": 100}, mirrorTraffic={"green": 51}).text
    assert "one deployment only" in served.put_endpoint(NAME, mirrorTraffic={"green": 10, "blue": 10}).text
    assert "either 0 or 100" in served.put_endpoint(NAME, traffic={"blue": 99}).text
    deletion = served.call("DELETE", f"onlineEndpoints/{NAME}/deployments/green")
    assert deletion.status_code == 400
    assert "mirror traffic" in deletion.text
    assert served.call("DELETE", f"onlineEndpoints/{NAME}/deployments/blue").status_code == 400


def test_a_key_lets_in_and_nothing_else_does(served: Any, key: str) -> None:
    served.endpoint(NAME, traffic={"blue": 100})
    secondary = served.call("POST", f"onlineEndpoints/{NAME}/listKeys").json()["secondaryKey"]
    assert served.score(NAME, {}, secondary).status_code == 200
    wrong = served.score(NAME, {}, "wrong")
    assert (wrong.status_code, wrong.text) == (401, "key_auth_access_denied")
    none = served.session.post(f"https://{NAME}.westeurope.inference.ml.azure.com/score", json={}, timeout=60)
    assert (none.status_code, none.text) == (401, "key_auth_bad_header_forbidden")
    assert served.score("nobody-has-this", {}, key).status_code == 404


def test_an_azure_ml_token_lets_in_until_it_expires(served: Any) -> None:
    served.endpoint(NAME, authMode="AMLToken", traffic={"blue": 100})
    try:
        token = served.call("POST", f"onlineEndpoints/{NAME}/token").json()
        assert token["tokenType"] == "Bearer"
        assert token["expiryTimeUtc"] > token["refreshAfterTimeUtc"]
        assert served.score(NAME, {}, token["accessToken"]).status_code == 200
        assert served.score(NAME, {}, token["accessToken"][:-3] + "abc").status_code == 401
        arm = served.token()
        served.emulator.set("token_lifetime", 0)
        expired = served.call("POST", f"onlineEndpoints/{NAME}/token", token=arm).json()
        assert "expired" in served.score(NAME, {}, expired["accessToken"]).text
    finally:
        served.emulator.set("token_lifetime", 3600)
        served.endpoint(NAME, authMode="Key", traffic={"blue": 100})


def test_an_entra_token_lets_in_whoever_may_score(served: Any) -> None:
    served.endpoint(NAME, authMode="AADToken", traffic={"blue": 100})
    try:
        assert served.score(NAME, {}, served.token("https://ml.azure.com/.default")).status_code == 200
        role = {"role": "Reader", "scope": served.id}
        reader = served.emulator.ask("POST", "/identities", {"name": "no-scorer", "secret": "secret-2", "issuer": "x", "roles": [role]})
        token = served.token("https://ml.azure.com/.default", client=(reader["client_id"], "secret-2"))
        refused = served.score(NAME, {}, token)
        assert refused.status_code == 401
        assert "onlineEndpoints/score/action" in refused.text
        assert served.score(NAME, {}, "no-token").status_code == 401
    finally:
        served.endpoint(NAME, authMode="Key", traffic={"blue": 100})


def test_a_model_error_is_a_424_with_the_containers_status(served: Any, key: str) -> None:
    raised = served.score(NAME, {"raise": True}, key, "blue")
    assert raised.status_code == 424
    assert raised.headers["ms-azureml-model-error-statuscode"] == "500"
    assert raised.headers["ms-azureml-model-error-reason"] == "model_error"
    assert raised.headers["azureml-model-deployment"] == "blue"
    chosen = served.score(NAME, {"status": 400}, key, "blue")
    assert (chosen.status_code, chosen.headers["ms-azureml-model-error-statuscode"]) == (424, "400")
    assert chosen.json() == {"problem": "asked for"}
    assert "asked for" in served.logs(NAME, "blue")


def test_the_swagger_is_the_servers(served: Any, key: str) -> None:
    swagger = served.score(NAME, None, key, "blue", path="swagger.json")
    assert swagger.status_code == 200
    assert "/score" in swagger.json()["paths"]
    assert served.score(NAME, None, "wrong", path="swagger.json").status_code == 401


def test_request_ids(served: Any, key: str) -> None:
    sent = {"x-request-id": "not-a-guid", "x-ms-client-request-id": "mine <é>" + "a" * 60}
    answer = served.score(NAME, {}, key, "blue", **{name: value.encode() for name, value in sent.items()})
    assert uuid.UUID(answer.headers["x-request-id"])
    assert answer.headers["x-ms-client-request-id"] == "mine" + "a" * 36


def test_more_than_twice_the_concurrency_is_too_much(served: Any, key: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(10) as pool:
        calls = [pool.submit(served.score, NAME, {"gate": str(gate)}, key, "blue") for _ in range(10)]
        while sum(call.done() for call in calls) < 8:
            pass
        storm = [call.result() for call in calls if call.done()]
        gate.touch()
        answers = [call.result() for call in calls]
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 8
    assert {answer.headers["ms-azureml-model-error-reason"] for answer in storm} == {"too_many_pending_request"}
    assert {answer.text for answer in storm} == {""}


def test_more_instances_take_more_at_once_and_a_slow_script_is_a_408(served: Any, key: str, tmp_path: Path) -> None:
    found = served.call("GET", f"onlineEndpoints/{NAME}/deployments/blue").json()
    assert served.end(served.call("PATCH", f"onlineEndpoints/{NAME}/deployments/blue", {"sku": {"capacity": 2}}))["status"] == "Succeeded"
    scaled = served.call("GET", f"onlineEndpoints/{NAME}/deployments/blue").json()
    assert scaled["sku"]["capacity"] == 2
    scaled["properties"]["requestSettings"]["requestTimeout"] = "PT1S"
    assert served.deploy(NAME, "blue", scaled)["status"] == "Succeeded"
    gate = tmp_path / "gate"
    try:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: served.score(NAME, {"gate": str(gate)}, key, "blue"), range(4)))
        assert {(answer.status_code, answer.text) for answer in answers} == {(408, "upstream request timeout")}
    finally:
        gate.touch()
        assert served.deploy(NAME, "blue", found)["status"] == "Succeeded"


PACE = 0.005  # seconds between calls: an endpoint takes no more than 500 a second


def test_a_server_that_was_killed_comes_back(served: Any, key: str) -> None:
    dying = served.score(NAME, {"die": True}, key, "green")
    assert dying.status_code == 424
    assert dying.headers["ms-azureml-model-error-reason"] == "model_not_ready"
    while (answer := served.score(NAME, {}, key, "green")).status_code == 424:
        assert answer.headers["ms-azureml-model-error-reason"] == "model_not_ready"
        time.sleep(PACE)
    assert answer.json()["who"] == "green"
    assert "ended with exit code" in served.logs(NAME, "green")


def test_an_update_swaps_the_server_and_a_failed_one_leaves_it(served: Any, key: str) -> None:
    body = served.call("GET", f"onlineEndpoints/{NAME}/deployments/green").json()
    body["properties"]["environmentVariables"] = {"WHO": "greener"}
    with ThreadPoolExecutor(1) as pool:
        update = pool.submit(served.deploy, NAME, "green", body)
        statuses = set()
        while not update.done():
            statuses.add(served.score(NAME, {}, key, "green").status_code)
            time.sleep(PACE)
    assert update.result()["status"] == "Succeeded"
    assert statuses == {200}
    assert served.score(NAME, {}, key, "green").json()["who"] == "greener"
    body["properties"]["codeConfiguration"]["scoringScript"] = "nowhere.py"
    assert served.deploy(NAME, "green", body)["error"]["code"] == "ResourceNotReady"
    assert served.call("GET", f"onlineEndpoints/{NAME}/deployments/green").json()["properties"]["provisioningState"] == "Failed"
    assert served.score(NAME, {}, key, "green").json()["who"] == "greener"
    assert "nowhere.py" in served.logs(NAME, "green")
    body["properties"]["codeConfiguration"]["scoringScript"] = "score.py"
    body["properties"]["environmentVariables"] = {"WHO": "greenest"}
    assert served.deploy(NAME, "green", body)["status"] == "Succeeded"
    assert served.score(NAME, {}, key, "green").json()["who"] == "greenest"


def test_a_deployment_without_traffic_goes(served: Any, key: str) -> None:
    served.endpoint(NAME)
    assert served.end(served.call("DELETE", f"onlineEndpoints/{NAME}/deployments/green"))["status"] == "Succeeded"
    assert served.score(NAME, {}, key, "green").status_code == 404
    assert served.call("GET", f"onlineEndpoints/{NAME}/deployments/green").status_code == 404
    assert served.call("DELETE", f"onlineEndpoints/{NAME}/deployments/green").status_code == 204
    assert not [name for name in served.emulator.ask("GET", "/status")["processes"] if name.endswith(f"{NAME}/green")]
