"""Deployments that fail: each ends in Azure's error code, with its container log to read."""

from __future__ import annotations

from typing import Any

import pytest

NAME = "failures"


@pytest.fixture(scope="module", autouse=True)
def endpoint(site: Any) -> Any:
    site.endpoint(NAME)
    yield
    site.remove(NAME)


@pytest.mark.parametrize(
    ("name", "score", "logged"),
    [
        ("syntax", "def init(:\n", "SyntaxError"),
        ("import", "import a_package_that_is_not_there\n", "ModuleNotFoundError: No module named 'a_package_that_is_not_there'"),
        ("no-run", "def init():\n    pass\n", "does not have a run() function defined"),
        ("init", "def init():\n    raise RuntimeError('no weights')\ndef run(data):\n    return data\n", "no weights"),
    ],
)
def test_a_script_that_does_not_load_is_resource_not_ready(site: Any, name: str, score: str, logged: str) -> None:
    error = site.deploy(NAME, name, score=score)["error"]
    assert error["code"] == "ResourceNotReady"
    assert error["message"].startswith("User container has crashed or terminated.")
    assert "https://aka.ms/oe-tsg#error-resourcenotready" in error["message"]
    log = site.logs(NAME, name)
    assert logged in log
    assert "UserContainerStart: Failed" in log
    assert len(site.logs(NAME, name, tail=2).split("Container logs:\n")[1].splitlines()) == 2
    assert site.call("GET", f"onlineEndpoints/{NAME}/deployments/{name}").json()["properties"]["provisioningState"] == "Failed"
    assert site.score(NAME, {}, site.key(NAME), name).status_code == 404


def test_a_script_that_starts_too_slowly_fails_its_readiness_probe(site: Any) -> None:
    probe = {"initialDelay": "PT1S", "period": "PT1S", "timeout": "PT1S", "failureThreshold": 1}
    slow = "import time\ndef init():\n    time.sleep(60)\ndef run(data):\n    return data\n"
    error = site.deploy(NAME, "slow", score=slow, readinessProbe=probe)["error"]
    assert error["code"] == "ResourceNotReady"
    assert "readiness probe" in error["message"]
    assert "ReadinessProbeFailed" in site.logs(NAME, "slow")


def test_an_environment_that_does_not_build_leaves_its_log_in_the_storage_account(site: Any) -> None:
    broken = site.environment("dependencies:\n  - pip:\n    - azureml-inference-server-http==0.0.0.nothing\n")
    error = site.deploy(NAME, "image", environmentId=broken)["error"]
    assert error["code"] == "ImageBuildFailure"
    assert f"storage account '{site.account}'" in error["message"]
    assert "UserContainerImagePull: Failed" in site.logs(NAME, "image")
    path = error["message"].split("at the path '")[1].split("'")[0]
    assert "0.0.0.nothing" in site.blob("azureml", path)


def test_an_environment_without_the_server_says_what_is_missing(site: Any) -> None:
    error = site.deploy(NAME, "server", environmentId=site.environment("dependencies:\n  - python>=3.10\n"))["error"]
    assert error["code"] == "ResourceNotReady"
    assert "A required package azureml-inference-server-http is missing" in site.logs(NAME, "server")


def test_a_model_that_is_not_registered_is_resource_not_found(site: Any) -> None:
    error = site.deploy(NAME, "absent", model=f"{site.id}/models/nothing/versions/7")["error"]
    assert error["code"] == "ResourceNotFound"
    assert "models/nothing/versions/7" in error["message"]


def test_a_model_whose_files_are_gone_is_a_bad_argument(site: Any) -> None:
    empty = site.model()
    site.delete_blobs(empty)
    error = site.deploy(NAME, "gone", model=empty)["error"]
    assert error["code"] == "BadArgument"
    assert "Unable to download user model" in error["message"]
    assert "ModelDownload: Failed" in site.logs(NAME, "gone")
    assert "Download of model failed" in site.logs(NAME, "gone", container="StorageInitializer")


def test_a_model_without_script_must_be_mlflows(site: Any) -> None:
    body = site.body(codeConfiguration=None)
    assert site.deploy(NAME, "plain", body)["error"]["code"] == "BadArgument"


def test_secrets_of_connections_are_injected_for_those_who_may_read_them(site: Any) -> None:
    connection = {
        "category": "CustomKeys",
        "authType": "CustomKeys",
        "target": "https://example.test",
        "credentials": {"keys": {"word": "open sesame"}},
    }
    assert site.call("PUT", "connections/vault", {"properties": connection}).status_code == 200
    score = "import os\ndef init():\n    pass\ndef run(data):\n    return [os.environ[name] for name in ('WORD', 'PLACE', 'PLAIN')]\n"
    variables = {
        "WORD": "${{azureml://connections/vault/credentials/keys/word}}",
        "PLACE": "${{azureml://connections/vault/target}}",
        "PLAIN": "plain",
    }
    body = site.body(score=score, environmentVariables=variables)
    refused = site.deploy(NAME, "no-right", body)["error"]
    assert refused["code"] == "SecretsInjectionError"
    assert "connections/listsecrets/action" in refused["message"]
    site.endpoint("failures-secrets", properties={"enforce_access_to_default_secret_stores": "enabled"})
    assert site.deploy("failures-secrets", "blue", body)["status"] == "Succeeded"
    answer = site.score("failures-secrets", {}, site.key("failures-secrets"), "blue")
    assert answer.json() == ["open sesame", "https://example.test", "plain"]
    shown = site.call("GET", "onlineEndpoints/failures-secrets/deployments/blue").text
    assert "open sesame" not in shown
    for reference in ("${{azureml://connections/vault/credentials/keys/nothing}}", "${{keyvault:https://kv.vault.azure.net/secrets/x}}"):
        body["properties"]["environmentVariables"]["WORD"] = reference
        assert site.deploy("failures-secrets", "green", body)["error"]["code"] == "SecretsInjectionError"
        site.end(site.call("DELETE", "onlineEndpoints/failures-secrets/deployments/green"))
    site.remove("failures-secrets")
