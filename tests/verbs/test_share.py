"""From dev to prod through the registry: what is copied, what is checked, who may do what."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from aml import bundle, registry


def test_a_bundle_reaches_prod_through_the_registry_and_back_comes_the_champion(project: Any) -> None:
    good = project.bundle(factor=2)
    shared = project.run("share_model", bundle_id=good)
    assert shared.output("registry_model") == f"azureml://registries/mlr-verbs/models/{project.name}/versions/1"
    assert shared.out.count("created  ") >= 2
    again = project.run("share_model", bundle_id=good)
    assert again.output("registry_model") == shared.output("registry_model")
    assert "created" not in again.out
    assert not project.run("verify_bundle", "prod", bundle_id=good).refusal
    refused = project.run("deploy_online", "prod", bundle_id=good).refusal
    assert f"nothing says that bundle {good} was approved for prod" in refused
    assert project.admin.find(f"{project.id('prod')}/onlineEndpoints/{project.name}-prod") is None, "not even an endpoint was made"
    project.approved(good)
    first = project.run("deploy_online", "prod", bundle_id=good).output("deployment_name")
    deployment = project.arm("GET", f"onlineEndpoints/{project.name}-prod/deployments/{first}", stage="prod")["properties"]
    assert deployment["model"] == shared.output("registry_model")
    assert deployment["environmentId"].startswith("azureml://registries/mlr-verbs/environments/score/versions/")
    assert not project.run("smoke_test", "prod", deployment_name=first).refusal
    assert registry.live(project.registry(), project.name, "prod") is None
    assert not project.run("shift_traffic", "prod", deployment_name=first).refusal
    assert registry.live(project.registry(), project.name, "prod") == good

    # Now dev holds candidates against it, and sees nothing of prod but the registry.
    for rmse, verdict in ((40.3, "passed"), (40.5, "failed")):
        job = project.job({"rmse": rmse})
        assert (f"{project.name}:1 has 40" in project.run("check_gate", job_name=job).refusal) == (verdict == "failed")
        left = project.evidence("check_gate")
        assert left["verdict"] == verdict
        assert left["facts"]["champion"]["bundle_id"] == good

    # The next release is the champion until it is rolled back.
    better = project.bundle(factor=3)
    assert not project.run("share_model", bundle_id=better).refusal
    assert f"nothing says that bundle {better} was approved for prod" in project.run("deploy_online", "prod", bundle_id=better).refusal
    project.approved(better, first)
    second = project.run("deploy_online", "prod", bundle_id=better).output("deployment_name")
    assert project.traffic("prod") == {first: 100}
    assert not project.run("shift_traffic", "prod", deployment_name=second).refusal
    assert registry.live(project.registry(), project.name, "prod") == better
    rolled = project.run("roll_back", "prod")
    assert rolled.output("traffic") == f'{{"{first}":100}}'
    assert registry.live(project.registry(), project.name, "prod") == good
    again = project.run("roll_back", "prod")
    assert "unchanged" in again.out
    assert project.traffic("prod") == {first: 100}

    # Without the record there is no champion, which is not silent.
    container = project.registry().client.get(f"models/{project.name}")
    kept = {key: value for key, value in container["properties"]["tags"].items() if key != "live_in_prod"}
    project.registry().client.put(f"models/{project.name}", {"properties": {"tags": kept}})
    unmarked = project.run("check_gate", job_name=project.job({"rmse": 50}))
    assert not unmarked.refusal
    assert f"holds bundles of {project.name}, and none is recorded as live in prod" in unmarked.err


def test_the_two_principals_have_no_right_in_each_others_workspace(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project.edit(".cloud/workspaces/prod.yml", project.site.clients["prod"], project.site.clients["dev"])
    monkeypatch.setitem(project.site.clients, "prod", project.site.clients["dev"])
    assert "is missing. Azure (403 AuthorizationFailed)" in project.run("roll_back", "prod").refusal


def test_production_does_not_read_a_workspace(project: Any) -> None:
    for verb in ("verify_bundle", "deploy_online"):
        refused = project.run(verb, "prod", bundle_id="sha256:" + "0" * 64, **{"from": "workspace"}).refusal
        assert "takes bundles from the registry only" in refused


@pytest.mark.parametrize("verb", ["verify_bundle", "deploy_online", "share_model"])
@pytest.mark.parametrize("bundle_id", ["latest", "$(bundle_id)", "sha256:12", "x'; drop", "a\nb"])
def test_only_a_digest_names_a_bundle(project: Any, verb: str, bundle_id: str) -> None:
    assert "is not a bundle id" in project.run(verb, bundle_id=bundle_id).refusal


def test_a_bundle_that_is_nowhere(project: Any) -> None:
    nowhere = "sha256:" + "0" * 64
    assert f"bundle {nowhere} is not in this workspace" in project.run("share_model", bundle_id=nowhere).refusal
    for verb in ("verify_bundle", "deploy_online"):
        assert f"bundle {nowhere} is not in registry mlr-verbs" in project.run(verb, "prod", bundle_id=nowhere).refusal


def test_a_share_that_was_killed_is_finished_by_the_next_run(project: Any) -> None:
    bundle_id = project.bundle()
    registry.share(project.registry(), project.arm("GET", ""), "models", project.name, "1")
    assert f"bundle {bundle_id} is not in registry" in project.run("verify_bundle", "prod", bundle_id=bundle_id).refusal
    finished = project.run("share_model", bundle_id=bundle_id)
    assert f"unchanged  model {project.name}:1" in finished.out
    assert f"created  data bundle-{project.name}" in finished.out
    assert not project.run("verify_bundle", "prod", bundle_id=bundle_id).refusal


def test_a_version_with_other_bytes_in_the_registry_is_refused(project: Any) -> None:
    project.run("register_model", job_name=project.job({}, factor=7))
    project.shared_as("2")
    job = project.job({}, factor=8)
    import register_model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(register_model, "following", lambda *_: "2")
        version = project.run("register_model", job_name=job).output("model_version")
    sealed = project.run("seal_bundle", job_name=job, model_version=version).output("bundle_id")
    refused = project.run("share_model", bundle_id=sealed).refusal
    assert f"model {project.name}:2 is sha256:" in refused
    assert "in registry mlr-verbs" in refused
    assert f"bundle {sealed} is not in registry" in project.run("verify_bundle", "prod", bundle_id=sealed).refusal


def test_a_model_that_was_changed_after_it_was_sealed(project: Any) -> None:
    job = project.job({}, factor=5)
    version = project.run("register_model", job_name=job).output("model_version")
    sealed = project.run("seal_bundle", job_name=job, model_version=version).output("bundle_id")
    project.blob(f"azureml/{job}/model/factor.txt", b"6.0")
    assert f"model {project.name}:1 is sha256:" in project.run("share_model", bundle_id=sealed).refusal
    verified = project.run("verify_bundle", bundle_id=sealed)
    assert "it has 1 mismatch, listed above" in verified.refusal
    assert f"error: model {project.name}:1 is sha256:" in verified.err
    assert project.evidence("verify_bundle")["verdict"] == "failed"


def test_a_checkout_that_is_not_what_was_sealed_has_a_line_for_each_difference(project: Any) -> None:
    sealed = project.bundle()
    assert not project.run("verify_bundle", bundle_id=sealed).refusal
    project.edit("code/score/score.py", "factor *", "2 * factor *")
    project.edit(".cloud/release.yml", "max: 60", "max: 600")
    (project.folder / "tests/smoke/bad.json").unlink()
    verified = project.run("verify_bundle", bundle_id=sealed)
    assert "it has 3 mismatches, listed above" in verified.refusal
    assert [line.split()[1] for line in verified.err.splitlines() if line.startswith("error")] == [
        ".cloud/release.yml",
        "code/score",
        "tests/smoke/bad.json",
    ]
    deployed = project.run("deploy_online", bundle_id=sealed)
    assert "the checkout is not what was sealed" in deployed.refusal


def test_an_environment_that_is_another_one_in_the_registry(project: Any) -> None:
    sealed = project.bundle()
    assert not project.run("share_model", bundle_id=sealed).refusal
    document = copy.deepcopy(project.evidence("seal_bundle")["facts"]["bundle"])
    found = project.registry("prod")
    assert bundle.in_registry(found, document) == []
    document["environment"]["digest"] = "sha256:" + "0" * 64
    document["model"]["version"] = "77"
    lines = bundle.in_registry(found, document)
    assert lines[0] == f"model {project.name}:77 is not in registry mlr-verbs"
    assert lines[1].startswith("environment score:")


def test_what_prod_runs_without_a_bundle_closes_the_gate(project: Any) -> None:
    project.run("share_model", bundle_id=project.bundle())
    registry.mark_live(project.registry("prod"), project.name, "prod", "deployment blue, which came from no bundle")
    refused = project.run("check_gate", job_name=project.job({"rmse": 1.0})).refusal
    assert "what runs in prod is not known: deployment blue, which came from no bundle" in refused


def test_the_record_of_what_is_live_keeps_other_tags(project: Any) -> None:
    project.run("share_model", bundle_id=project.bundle())
    found = project.registry("prod")
    found.client.put(f"models/{project.name}", {"properties": {"description": "d", "tags": {"team": "air"}}})
    assert registry.mark_live(found, project.name, "prod", "sha256:" + "1" * 64)
    assert not registry.mark_live(found, project.name, "prod", "sha256:" + "1" * 64)
    registry.check_may_mark(found, project.name)
    container = found.client.get(f"models/{project.name}")["properties"]
    assert container["tags"] == {"team": "air", "live_in_prod": "sha256:" + "1" * 64}
    assert container["description"] == "d"
