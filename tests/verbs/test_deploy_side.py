"""Deployment, smoke cases and what goes wrong with them, on the emulator."""

from __future__ import annotations

from typing import Any

import pytest

from aml import blobs, deployment, endpoint
from aml.command import Refusal


def test_a_bundle_goes_live_and_a_second_run_changes_nothing(project: Any) -> None:
    bundle_id, deployment = project.deployed()
    assert project.traffic() == {}
    again = project.run("deploy_online", bundle_id=bundle_id)
    assert again.output("deployment_name") == deployment
    assert f"unchanged  endpoint {project.name}-dev" in again.out
    assert f"unchanged  deployment {deployment}" in again.out
    tested = project.run("smoke_test", deployment_name=deployment)
    assert not tested.refusal
    assert "passed  doubles a number" in tested.out
    left = project.evidence("smoke_test")
    assert (left["verdict"], len(left["findings"])) == ("passed", 2)
    shifted = project.run("shift_traffic", deployment_name=deployment)
    assert shifted.output("traffic") == f'{{"{deployment}":100}}'
    assert project.traffic() == {deployment: 100}
    assert "unchanged  traffic" in project.run("shift_traffic", deployment_name=deployment).out
    made = project.arm("GET", f"onlineEndpoints/{project.name}-dev/deployments/{deployment}")
    assert made["tags"]["bundle_id"] == bundle_id
    assert made["properties"]["environmentVariables"] == {"WHO": "one"}


def test_the_workspace_spec_overrides_machine_and_count_and_a_new_count_scales(project: Any) -> None:
    project.append(".cloud/workspaces/dev.yml", "instance_type: Standard_DS2_v2\ninstance_count: 2\n")
    bundle_id, deployment = project.deployed()
    path = f"onlineEndpoints/{project.name}-dev/deployments/{deployment}"
    made = project.arm("GET", path)
    assert (made["properties"]["instanceType"], made["sku"]["capacity"]) == ("Standard_DS2_v2", 2)
    project.edit(".cloud/workspaces/dev.yml", "instance_count: 2", "instance_count: 1")
    bundle_id = project.edit_and_seal(bundle_id)
    assert f"updated  deployment {deployment}" in project.run("deploy_online", bundle_id=bundle_id).out
    assert project.arm("GET", path)["sku"]["capacity"] == 1
    # What autoscaling made of it since is left alone.
    project.arm("PATCH", path, {"sku": {"name": "Default", "capacity": 3}})
    assert f"unchanged  deployment {deployment}" in project.run("deploy_online", bundle_id=bundle_id).out
    assert project.arm("GET", path)["sku"]["capacity"] == 3


def test_the_endpoint_file_is_brought_over_and_all_else_is_kept(project: Any) -> None:
    bundle_id, deployment = project.deployed()
    path = f"onlineEndpoints/{project.name}-dev"
    project.run("shift_traffic", deployment_name=deployment)
    _, other = project.deployed(factor=3)
    found = project.endpoint()
    found["tags"]["cost-centre"] = "42"
    found["properties"]["mirrorTraffic"] = {other: 20}
    project.arm("PUT", path, {key: found[key] for key in ("location", "tags", "identity", "properties")})
    before = project.endpoint()
    project.edit(".cloud/online/endpoint.yml", "description: Delays", "description: Delays of flights")
    project.edit(".cloud/online/endpoint.yml", "team: air", "team: ground")
    changed = project.edit_and_seal(bundle_id)
    assert f"updated  endpoint {project.name}-dev" in project.run("deploy_online", bundle_id=changed).out
    after = project.endpoint()
    assert after["properties"]["description"] == "Delays of flights"
    assert after["tags"] == {**before["tags"], "team": "ground", "endpoint_file": after["tags"]["endpoint_file"]}
    assert f"unchanged  endpoint {project.name}-dev" in project.run("deploy_online", bundle_id=changed).out
    for part in ("traffic", "mirrorTraffic", "authMode"):
        assert after["properties"][part] == before["properties"][part]
    assert after["identity"] == before["identity"]


def test_an_endpoint_whose_last_change_failed_keeps_its_traffic(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, live = project.deployed()
    project.run("shift_traffic", deployment_name=live)
    before = project.endpoint()
    changed = project.bundle(factor=3)
    real = endpoint.find

    def failed(client: Any, name: str) -> Any:
        if found := real(client, name):
            found["properties"]["provisioningState"] = "Failed"
        return found

    monkeypatch.setattr(endpoint, "find", failed)
    assert f"updated  endpoint {project.name}-dev" in project.run("deploy_online", bundle_id=changed).out
    after = project.endpoint()
    assert project.traffic() == {live: 100}
    assert (after["tags"], after["identity"]) == (before["tags"], before["identity"])


def test_an_endpoint_that_failed_before_anything_was_deployed_is_made_again(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {"authMode": "AADToken"}}
    project.arm("PUT", f"onlineEndpoints/{project.name}-dev", body)
    monkeypatch.setattr(endpoint, "broken", lambda found: True)
    assert f"created  endpoint {project.name}-dev" in project.run("deploy_online", bundle_id=project.bundle()).out


def test_an_endpoint_name_that_another_workspace_has(project: Any) -> None:
    body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {"authMode": "Key"}}
    project.arm("PUT", f"onlineEndpoints/{project.name}-dev", body, stage="prod")
    refused = project.run("deploy_online", bundle_id=project.bundle()).refusal
    assert f"the endpoint name {project.name}-dev is taken in westeurope" in refused
    assert "Fix: set another endpoint_name in .cloud/workspaces/dev.yml." in refused


def test_too_little_quota_is_told_before_anything_is_made(project: Any) -> None:
    project.append(".cloud/workspaces/dev.yml", "instance_count: 49\n")
    refused = project.run("deploy_online", bundle_id=project.bundle()).refusal
    assert "the quota does not suffice: 49 x Standard_DS3_v2 need 236 cores" in refused
    assert project.arm("GET", f"onlineEndpoints/{project.name}-dev/deployments")["value"] == []


def test_too_little_quota_for_more_instances_is_told_before_anything_is_scaled(project: Any) -> None:
    project.append(".cloud/workspaces/dev.yml", "instance_count: 1\n")
    bundle_id, made = project.deployed()
    project.edit(".cloud/workspaces/dev.yml", "instance_count: 1", "instance_count: 49")
    refused = project.run("deploy_online", bundle_id=project.edit_and_seal(bundle_id)).refusal
    assert "the quota does not suffice: 49 x Standard_DS3_v2 need 228 more cores" in refused
    assert project.arm("GET", f"onlineEndpoints/{project.name}-dev/deployments/{made}")["sku"]["capacity"] == 1


def test_a_deployment_that_failed_and_has_traffic_is_refused(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle_id, live = project.deployed()
    project.run("shift_traffic", deployment_name=live)
    real = deployment.settled

    def failed(client: Any, path: str) -> Any:
        if found := real(client, path):
            found["properties"]["provisioningState"] = "Failed"
        return found

    monkeypatch.setattr(deployment, "settled", failed)
    refused = project.run("deploy_online", bundle_id=bundle_id).refusal
    assert f"deployment {live} of this bundle is Failed. endpoint {project.name}-dev sends traffic to it ({live}=100)" in refused
    assert project.traffic() == {live: 100}


def test_a_machine_that_azure_does_not_have(project: Any) -> None:
    project.append(".cloud/workspaces/dev.yml", "instance_type: Standard_DS9_v9\n")
    assert "no machine Standard_DS9_v9 in westeurope" in project.run("deploy_online", bundle_id=project.bundle()).refusal


def test_a_scoring_script_that_fails_to_load_leaves_what_is_live_untouched(project: Any) -> None:
    _, live = project.deployed()
    project.run("shift_traffic", deployment_name=live)
    project.edit("code/score/score.py", "global factor", 'raise RuntimeError("no model today")')
    outcome = project.run("deploy_online", bundle_id=project.bundle(factor=3))
    assert "failed: ResourceNotReady" in outcome.refusal
    assert f"It was deleted; the traffic of {project.name}-dev is as before: {live}=100." in outcome.refusal
    assert "Fix: correct the scoring script" in outcome.refusal
    assert "no model today" in outcome.out
    kept = project.folder.parent / "evidence/logs/deploy_online-dev-inference-server.log"
    assert "no model today" in kept.read_text()
    assert [found["name"] for found in project.arm("GET", f"onlineEndpoints/{project.name}-dev/deployments")["value"]] == [live]
    assert project.traffic() == {live: 100}


def test_an_image_that_can_not_be_built(project: Any) -> None:
    project.edit(
        ".cloud/environments/score-conda.yml",
        "azureml-inference-server-http",
        "azureml-inference-server-http\n    - no requirement at all!",
    )
    project.run("register_environment")
    outcome = project.run("deploy_online", bundle_id=project.bundle())
    assert "failed: ImageBuildFailure" in outcome.refusal
    assert "no requirement at all!" in outcome.out
    assert "no requirement at all!" in (project.folder.parent / "evidence/logs/deploy_online-dev-image-build.log").read_text()


def test_logs_that_can_not_be_read_or_kept_do_not_hide_the_failure(project: Any, azure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project.edit(
        ".cloud/environments/score-conda.yml",
        "azureml-inference-server-http",
        "azureml-inference-server-http\n    - not installable at all!",
    )
    project.run("register_environment")
    sealed = project.bundle()
    azure.fault(path="*/getLogs", method="POST", status=400, code="BadRequest", times=0)
    monkeypatch.setattr(blobs, "read", unreadable := Unreadable(blobs.read))
    project.write("../evidence/logs/deploy_online-dev-image-build.log/in-the-way", "")
    outcome = project.run("deploy_online", bundle_id=sealed)
    assert unreadable.asked
    assert "failed: ImageBuildFailure" in outcome.refusal
    assert "It was deleted" in outcome.refusal
    assert "can't be read: it has too many bytes" in outcome.out
    assert "A log can't be kept: " in outcome.out + outcome.err
    assert "image-build, last lines (the rest is lost)" in outcome.out
    assert project.arm("GET", f"onlineEndpoints/{project.name}-dev/deployments")["value"] == []


class Unreadable:
    """Reads blobs, but no build log."""

    def __init__(self, real: Any) -> None:
        self.real, self.asked = real, False

    def __call__(self, container: Any, path: str, **limits: Any) -> Any:
        if path.endswith("bundle.json"):
            return self.real(container, path, **limits)
        self.asked = True
        raise Refusal("it has too many bytes")


def test_a_syntax_error_that_came_after_sealing_is_a_checkout_that_differs(project: Any) -> None:
    sealed = project.bundle()
    project.edit("code/score/score.py", "def run(data):", "def run(data)")
    assert "the checkout is not what was sealed" in project.run("deploy_online", bundle_id=sealed).refusal


def test_a_deployment_that_failed_in_a_run_that_was_killed_is_made_again(project: Any) -> None:
    bundle_id, deployment = project.deployed()
    path = f"onlineEndpoints/{project.name}-dev/deployments/{deployment}"
    found = project.arm("GET", path)
    project.arm("DELETE", path)
    broken = {**found["properties"], "environmentVariables": {"AZUREML_MODEL_DIR": "/nowhere", "WORKER_TIMEOUT": "no number"}}
    body = {key: found[key] for key in ("location", "tags", "sku")}
    broken["codeConfiguration"] = {**found["properties"]["codeConfiguration"], "scoringScript": "gone.py"}
    with pytest.raises(RuntimeError):
        project.arm("PUT", path, {**body, "properties": broken})
    assert project.arm("GET", path)["properties"]["provisioningState"] == "Failed"
    again = project.run("deploy_online", bundle_id=bundle_id)
    assert f"deployment {deployment} of an earlier run is Failed. It was deleted" in again.out
    assert f"created  deployment {deployment}" in again.out


def test_smoke_cases_that_fail_have_a_line_each(project: Any) -> None:
    project.write(
        "tests/smoke/cases.yml",
        """
cases:
  - {name: wrong, request: {value: 2}, expect: {status: 200, equals: [{pointer: /0, value: 5}]}}
  - {name: late, request: {value: 2, sleep: 3}, expect: {status: 200, within_seconds: 0.5}}
  - {name: empty, request: {value: 2, empty: true}, expect: {status: 200}}
  - {name: right, request: {value: 2}, expect: {status: 200, equals: [{pointer: /0, value: 4}]}}
""",
    )
    project.edit(
        "code/score/score.py",
        "    return [factor",
        '    time.sleep(asked.get("sleep", 0))\n    if asked.get("empty"):\n        return AMLResponse("", 200)\n    return [factor',
    )
    project.edit("code/score/score.py", "import pathlib", "import pathlib\nimport time")
    _, deployment = project.deployed()
    tested = project.run("smoke_test", deployment_name=deployment)
    assert f"3 of 4 smoke cases failed at deployment {deployment}." in tested.refusal
    failed = {line.split()[1].rstrip(":"): line.partition(": ")[2] for line in tested.out.splitlines() if line.startswith("FAILED")}
    assert failed == {
        "wrong": "/0 is 4.0 instead of 5",
        "late": "no answer within 0.5 s",
        "empty": "status 200 with an empty answer",
    }
    assert "passed  right" in tested.out
    assert project.evidence("smoke_test")["verdict"] == "failed"


def test_a_deployment_that_is_not_there_or_not_ours(project: Any) -> None:
    assert f"there is no endpoint {project.name}-dev" in project.run("smoke_test", deployment_name="d-1").refusal
    project.deployed()
    for verb in ("smoke_test", "shift_traffic"):
        assert f"endpoint {project.name}-dev has no deployment 'd-1'" in project.run(verb, deployment_name="d-1").refusal


def test_a_deployment_of_another_bundle_is_neither_tried_nor_given_traffic(project: Any) -> None:
    """What a pipeline's variable may put into the name of the deployment, it can't put into the bundle."""
    sealed, deployment = project.deployed()
    other = f"sha256:{'0' * 64}"
    for verb in ("smoke_test", "shift_traffic"):
        assert (
            f"{deployment} is not of bundle {other}. it came from {sealed}"
            in project.run(verb, deployment_name=deployment, bundle_id=other).refusal
        )
    assert project.traffic() == {}
    assert not project.run("smoke_test", deployment_name=deployment, bundle_id=sealed).refusal


def test_names_of_any_shape_are_only_names(project: Any) -> None:
    project.deployed()
    for name in ("a b", "$(id)", "a\nb", "ü", "../../x", "a'b", 'a"b', "", "x" * 300):
        for verb in ("smoke_test", "shift_traffic"):
            assert "has no deployment" in project.run(verb, deployment_name=name).refusal
        for verb in ("check_gate", "register_model"):
            assert "there is no job" in project.run(verb, job_name=name).refusal
        assert "there is no model" in project.run("seal_bundle", job_name=project.site.jobs[2.0], model_version=name).refusal
    assert project.traffic() == {}


def test_a_storm_of_429_and_a_broken_connection_are_ridden_out(project: Any, azure: Any) -> None:
    sealed = project.bundle()
    azure.fault(path="*/onlineEndpoints/*", method="PUT", status=429, retry_after=0, times=2)
    azure.fault(path="*/deployments/*", method="PUT", reset=True, times=1)
    assert not project.run("deploy_online", bundle_id=sealed).refusal


def test_a_right_that_is_refused_is_one_line(project: Any, azure: Any) -> None:
    sealed = project.bundle()
    azure.fault(path="*/onlineEndpoints/*", method="PUT", status=403, code="AuthorizationFailed", times=50)
    assert "403" in project.run("deploy_online", bundle_id=sealed).refusal


def test_a_connection_that_breaks_in_the_middle_of_an_upload(project: Any, azure: Any) -> None:
    (project.folder / "code/score/table.bin").write_bytes(b"0123456789" * 40_000)
    sealed = project.bundle()
    azure.fault(host="*.blob.core.windows.net", reset_after_bytes=100_000, times=1)
    assert "created  code score" in project.run("deploy_online", bundle_id=sealed).out
    assert azure.ask("GET", "/status")["faults"][0]["hit"] == 1


def test_a_run_that_was_killed_while_azure_was_at_work_is_taken_up(project: Any, slow: Any) -> None:
    sealed = project.bundle()
    slow("seconds:6")
    with project.started("deploy_online", bundle_id=sealed) as process:
        project.read_until(process, "creating deployment")
        while not project.arm("GET", f"onlineEndpoints/{project.name}-dev/deployments")["value"]:
            pass
        process.kill()
        process.wait()
    again = project.run("deploy_online", bundle_id=sealed)
    assert "is Creating; waiting for the end of it" in again.out
    assert f"unchanged  deployment {again.output('deployment_name')}" in again.out


def test_another_operation_on_the_endpoint_is_waited_for(project: Any, slow: Any) -> None:
    sealed = project.bundle()
    assert not project.run("deploy_online", bundle_id=sealed).refusal
    found = project.endpoint()
    body = {key: found[key] for key in ("location", "tags", "identity", "properties")}
    changed = project.bundle(factor=3)
    slow("seconds:4")
    project.begin("PUT", f"onlineEndpoints/{project.name}-dev", body)
    deployed = project.run("deploy_online", bundle_id=changed)
    assert not deployed.refusal
    assert "Another operation is running" in deployed.out
