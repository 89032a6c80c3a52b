"""The gate, the model and the bundle, on the emulator."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from aml import bundle, digest


def test_a_model_is_judged_registered_and_sealed_once(project: Any) -> None:
    job = project.job({"rmse": 40.0})
    assert project.run("check_gate", job_name=job).output("gate_verdict") == "passed"
    left = project.evidence("check_gate")
    assert left["verdict"] == "passed"
    assert left["figures"] == {"rmse": 40}
    assert "no version is in production yet" in left["findings"][1]["says"]
    first = project.run("register_model", job_name=job)
    assert (first.output("model_name"), first.output("model_version")) == (project.name, "1")
    assert f"created  model {project.name}:1" in first.out
    again = project.run("register_model", job_name=job)
    assert again.output("model_version") == "1"
    assert f"unchanged  model {project.name}:1" in again.out
    registered = project.arm("GET", f"models/{project.name}/versions/1")["properties"]
    assert registered["jobName"] == job
    assert registered["modelType"] == "custom_model"
    assert registered["properties"]["job_name"] == job
    assert registered["properties"]["commit"] == "c" * 40
    sealed = project.run("seal_bundle", job_name=job, model_version="1")
    assert "created  bundle" in sealed.out
    again = project.run("seal_bundle", job_name=job, model_version="1")
    assert again.output("bundle_id") == sealed.output("bundle_id")
    assert "unchanged  bundle" in again.out
    document = project.evidence("seal_bundle")["facts"]["bundle"]
    assert bundle.identify(document) == sealed.output("bundle_id")
    assert document["model"] == {"name": project.name, "version": "1", "type": "custom_model", "digest": registered["properties"]["digest"]}
    assert document["job"]["metrics"] == {"rmse": 40}
    assert document["data"] == [{"name": "flights", "version": "1"}]
    assert document["source"] == {"repository": "", "commit": ""}
    assert set(document["files"]) == {
        ".cloud/release.yml",
        ".cloud/online/endpoint.yml",
        ".cloud/online/deployment.yml",
        ".cloud/workspaces/dev.yml",
        ".cloud/workspaces/prod.yml",
        "tests/smoke/cases.yml",
        "tests/smoke/bad.json",
    }


def test_what_protects_production_is_sealed_byte_by_byte(project: Any) -> None:
    """Gates, pinned keys and the identity plan: one byte of any gives another bundle, and a checkout that differs goes nowhere."""
    paths = [".cloud/gates.yml", ".cloud/identity.json", ".cloud/workspaces/dev.yml", ".cloud/workspaces/prod.yml"]
    project.write(paths[0], (gates := b"gates: []\n").decode())
    project.write(paths[1], "{}\n")
    sealed = [project.bundle()]
    assert set(paths) < set(project.evidence("seal_bundle")["facts"]["bundle"]["files"])
    for path in paths:
        before = (project.folder / path).read_bytes()
        project.append(path, "\n")
        assert f"{path} is sha256:" in project.run("deploy_online", bundle_id=sealed[0]).refusal
        assert "it has 1 mismatch, listed above" in (verified := project.run("verify_bundle", bundle_id=sealed[0])).refusal
        assert f"error: {path} is sha256:" in verified.err
        sealed.append(project.edit_and_seal(sealed[0]))
        (project.folder / path).write_bytes(before)
    assert len(set(sealed)) == 1 + len(paths)
    assert project.edit_and_seal(sealed[0]) == sealed[0]

    # What is taken away after the seal is missed, and what is added is not overlooked.
    (project.folder / paths[0]).unlink()
    project.write(".cloud/workspaces/other.yml", (project.folder / paths[3]).read_text())
    verified = project.run("verify_bundle", bundle_id=sealed[0])
    assert [line for line in verified.err.splitlines() if line.startswith("error")] == [
        f"error: .cloud/gates.yml is not in the checkout; the bundle has it with {digest.of_bytes(gates)}",
        "error: .cloud/workspaces/other.yml is in the checkout, and the bundle was sealed without it",
    ]


def test_other_files_get_the_next_version_and_the_same_files_the_same(project: Any) -> None:
    one, other = project.job({}, factor=2), project.job({}, factor=3)
    assert project.run("register_model", job_name=one).output("model_version") == "1"
    assert project.run("register_model", job_name=other).output("model_version") == "2"
    assert project.run("register_model", job_name=project.job({}, factor=2)).output("model_version") == "1"


def test_a_number_that_the_registry_has_used_is_not_taken(project: Any) -> None:
    project.run("register_model", job_name=project.job({}, factor=2))
    project.shared_as("4")
    assert project.run("register_model", job_name=project.job({}, factor=3)).output("model_version") == "5"


def test_a_number_that_somebody_else_took_at_the_same_moment(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import register_model

    project.run("register_model", job_name=project.job({}, factor=2))
    monkeypatch.setattr(register_model, "following", lambda *_: "1")
    refused = project.run("register_model", job_name=project.job({}, factor=3)).refusal
    assert f"model {project.name} has a version 1 with other files" in refused
    assert "Fix: run this again: it takes the next number." in refused


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ({"rmse": 61.5}, "rmse at most 60: it is 61.5"),
        ({"rmse": "NaN"}, "rmse at most 60: it is nan"),
        ({"rmse": "Infinity"}, "rmse at most 60: it is inf"),
        ({"mae": 1.0}, "logged no metric named rmse. it logged mae"),
        ({}, "it logged no metric at all"),
    ],
)
def test_the_gate_says_no(project: Any, metrics: dict[str, Any], says: str) -> None:
    job = project.job(metrics)
    refused = project.run("check_gate", job_name=job).refusal
    assert says in refused
    if "rmse" in metrics:
        assert project.evidence("check_gate")["verdict"] == "failed"


def test_two_child_runs_with_one_metric_are_named(project: Any) -> None:
    job = project.job({})
    children = [project.child(job) for _ in range(2)]
    project.log(children[0], "rmse", 40.0)
    assert project.run("check_gate", job_name=job).output("gate_verdict") == "passed"
    project.log(children[1], "rmse", 41.0)
    refused = project.run("check_gate", job_name=job).refusal
    assert all(child in refused for child in children)


def test_what_is_no_finished_job_of_ours(project: Any) -> None:
    for verb in ("check_gate", "register_model"):
        assert "there is no job 'nobody'" in project.run(verb, job_name="nobody").refusal
    failed = project.job({}, command="exit 3", status="Failed")
    for verb in ("check_gate", "register_model"):
        assert f"job {failed} is Failed" in project.run(verb, job_name=failed).refusal
    assert "has no content_key" in project.run("check_gate", job_name=project.job({"rmse": 1}, tags={})).refusal


def test_a_job_without_the_model(project: Any) -> None:
    project.edit(".cloud/release.yml", "output: model", "output: modell")
    job = project.job({})
    assert f"job {job} has no output modell. it has model" in project.run("register_model", job_name=job).refusal
    project.edit(".cloud/release.yml", "output: modell, type: custom_model", "output: model, type: mlflow_model")
    assert "there is no MLmodel among its 1 files" in project.run("register_model", job_name=job).refusal


@pytest.mark.parametrize(
    ("path", "old", "new", "says"),
    [
        (".cloud/online/deployment.yml", "azureml:score", "azureml:other@latest", "which may be another one tomorrow"),
        (".cloud/online/deployment.yml", "azureml:score", "{image: 'x:1'}", "describes its environment in itself"),
        (".cloud/online/deployment.yml", "azureml:score", "azureml:score:9", "there is no environment score:9"),
        (".cloud/online/deployment.yml", "score.py", "gone.py", "names the scoring script gone.py"),
        ("code/score/score.py", "def run(data):", "def run(data)", "score.py has a syntax error in line"),
    ],
)
def test_what_can_not_be_sealed(project: Any, path: str, old: str, new: str, says: str) -> None:
    job = project.job({})
    version = project.run("register_model", job_name=job).output("model_version")
    project.edit(path, old, new)
    assert says in project.run("seal_bundle", job_name=job, model_version=version).refusal


def test_an_mlflow_model_may_be_served_without_code_and_environment(project: Any) -> None:
    job = project.job({"rmse": 1.0})
    version = project.run("register_model", job_name=job).output("model_version")
    project.write(".cloud/online/deployment.yml", "name: x\nendpoint_name: x\nmodel: azureml:x@latest\ninstance_type: Standard_DS3_v2\n")
    assert project.run("seal_bundle", job_name=job, model_version=version).output("bundle_id")
    document = project.evidence("seal_bundle")["facts"]["bundle"]
    assert "code" not in document
    assert "environment" not in document


def test_an_environment_from_an_image_that_may_move_is_not_sealed(project: Any) -> None:
    job = project.job({})
    version = project.run("register_model", job_name=job).output("model_version")
    project.edit(".cloud/environments/score.yml", ":20240709.v1", ":latest")
    project.run("register_environment")
    assert "an image without a tag of its own" in project.run("seal_bundle", job_name=job, model_version=version).refusal


def test_a_model_that_was_registered_by_hand_is_not_sealed(project: Any) -> None:
    job = project.job({})
    body = {"properties": {"modelUri": f"azureml://jobs/{job}/outputs/model/paths/", "modelType": "custom_model"}}
    project.arm("PUT", f"models/{project.name}/versions/1", body)
    assert f"model {project.name}:1 has no digest" in project.run("seal_bundle", job_name=job, model_version="1").refusal
    assert f"there is no model {project.name}:2" in project.run("seal_bundle", job_name=job, model_version="2").refusal


def test_a_bundle_that_was_changed_in_storage_is_found_out(project: Any) -> None:
    bundle_id = project.bundle()
    hex_digest = bundle_id.removeprefix("sha256:")
    project.blob(f"bundles/{project.name}/{hex_digest}/bundle.json", json.dumps({"form": 1}).encode())
    for verb in ("verify_bundle", "share_model", "deploy_online"):
        assert "was changed after it was sealed" in project.run(verb, bundle_id=bundle_id).refusal


TRIAL = """
import json, os, sys, urllib.request
base = os.environ["MLFLOW_TRACKING_URI"].replace("azureml://", "https://")
body = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": "rmse", "value": float(sys.argv[1]), "timestamp": 1, "step": 0}
headers = {"Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"], "Content-Type": "application/json"}
request = urllib.request.Request(base + "/api/2.0/mlflow/runs/log-metric", json.dumps(body).encode(), headers, method="POST")
urllib.request.urlopen(request).read()
"""


def test_the_best_trial_stands_for_a_sweep(project: Any) -> None:
    name = f"sweep-{project.name}"
    code = base64.b64encode(TRIAL.encode()).decode()
    trial = {
        "command": f"echo {code} | base64 -d > t.py && python t.py ${{{{search_space.value}}}}",
        "environmentId": f"{project.id()}/environments/train/versions/1",
    }
    body = {
        "jobType": "Sweep",
        "experimentName": "delay",
        "computeId": f"{project.id()}/computes/cpu",
        "objective": {"goal": "Minimize", "primaryMetric": "rmse"},
        "samplingAlgorithm": {"samplingAlgorithmType": "Grid"},
        "searchSpace": {"value": ["choice", [[50, 41, 45]]]},
        "limits": {"jobLimitsType": "Sweep", "maxTotalTrials": 3, "maxConcurrentTrials": 2},
        "trial": trial,
        "tags": {"content_key": "sha256:" + "ab" * 32},
    }
    project.arm("PUT", f"jobs/{name}", {"properties": body})
    project.ended(name)
    assert project.run("check_gate", job_name=name).output("gate_verdict") == "passed"
    assert project.evidence("check_gate")["figures"] == {"rmse": 41}
