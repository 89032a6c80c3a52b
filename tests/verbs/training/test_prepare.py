"""Connecting, checking computes and quota, registering data and environments: what is there, what isn't, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest


def test_connect(training: Any) -> None:
    done = training.run("connect_workspace")
    assert done.output("location") == "westeurope"
    assert done.output("workspace_id").endswith("/workspaces/mlw-verbs-dev")
    assert f"signed in as application {training.site.clients['dev']}" in done.out


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("workspace_name: mlw-verbs-dev", "workspace_name: mlw-gone", "There is no workspace mlw-gone in resource group rg-verbs-dev"),
        ("resource_group: rg-verbs-dev", "resource_group: rg-gone", "There is no workspace mlw-verbs-dev in resource group rg-gone"),
    ],
)
def test_no_such_workspace(old: str, new: str, line: str, training: Any, request: pytest.FixtureRequest) -> None:
    training.edit(".cloud/workspaces/dev.yml", old, new)
    refusal = training.run("connect_workspace").refusal
    # Azure tells nobody without a right there whether something exists
    assert line in refusal or "The right Microsoft.MachineLearningServices/workspaces/read is missing" in refusal


def test_devs_principal_has_no_right_in_prod(training: Any) -> None:
    training.edit(".cloud/workspaces/dev.yml", "rg-verbs-dev", "rg-verbs-prod")
    training.edit(".cloud/workspaces/dev.yml", "mlw-verbs-dev", "mlw-verbs-prod")
    refusal = training.run("connect_workspace").refusal
    assert "The right Microsoft.MachineLearningServices/workspaces/read is missing" in refusal
    assert f"does not allow it to {training.site.clients['dev']} at " in refusal


def test_a_storm_of_429_and_broken_connections_is_survived(training: Any, azure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azure.core.pipeline.transport.RequestsTransport.sleep", lambda self, seconds: None)
    azure.fault(host="management.azure.com", path="*/mlw-verbs-dev", status=429, retry_after=0, times=4)
    azure.fault(host="management.azure.com", path="*/mlw-verbs-dev", reset=True, times=2)
    assert training.run("connect_workspace").output("location") == "westeurope"


def test_azure_that_stays_down_is_told_in_one_line(training: Any, azure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azure.core.pipeline.transport.RequestsTransport.sleep", lambda self, seconds: None)
    azure.fault(host="management.azure.com", path="*/mlw-verbs-dev", status=503, code="ServerBusy", times=0)
    assert training.run("connect_workspace").refusal.startswith("Azure answered 503 to GET https://management.azure.com/subscriptions/")


@pytest.fixture
def cluster(training: Any) -> Iterator[Any]:
    """A function that makes a cluster and names it in the project; it is deleted at the end."""
    made: list[str] = []

    def make(size: str = "Standard_DS3_v2", most: int = 2, least: int = 0) -> str:
        name = f"c{training.name}"[:15]
        made.append(name)
        training.admin.compute(training.id(), name, size, most, least)
        training.edit("pipelines/train.yml", "azureml:cpu", f"azureml:{name}")
        training.edit(".cloud/compute/cpu.yml", "name: cpu", f"name: {name}")
        return name

    yield make
    for name in made:
        training.arm("DELETE", f"computes/{name}?underlyingResourceAction=Delete&api-version=2024-04-01")


def test_a_compute_that_is_as_described(training: Any) -> None:
    done = training.run("check_compute")
    assert not done.refusal
    assert "compute cpu: Standard_DS3_v2, 0 to 2 nodes;" in done.out
    assert "deployment: 1 x Standard_DS3_v2 reserve 8 cores;" in done.out


def test_a_missing_compute(training: Any) -> None:
    training.edit("pipelines/train.yml", "azureml:cpu", "azureml:gpu")
    training.edit(".cloud/compute/cpu.yml", "name: cpu", "name: gpu")
    refusal = training.run("check_compute").refusal
    assert refusal.startswith(
        "There is no compute gpu in the workspace. The job runs on it. Fix: have it made (amlcompute, Standard_DS3_v2)"
    )


def test_a_compute_that_the_job_names_and_no_file_describes(training: Any) -> None:
    training.edit(".cloud/release.yml", "  compute: [.cloud/compute/cpu.yml]\n", "")
    assert "compute cpu: Standard_DS3_v2" in training.run("check_compute").out
    training.edit("pipelines/train.yml", "azureml:cpu", "azureml:gpu")
    assert training.run("check_compute").refusal.startswith("There is no compute gpu in the workspace")


def test_a_compute_that_may_not_be_seen_is_not_missing(training: Any, azure: Any) -> None:
    azure.fault(host="management.azure.com", path="*/computes/cpu", status=403, code="AuthorizationFailed")
    refusal = training.run("check_compute").refusal
    assert "403" in refusal
    assert "no compute" not in refusal


def test_a_compute_of_another_size_or_type(cluster: Any, training: Any) -> None:
    name = cluster("Standard_DS2_v2", most=1)
    done = training.run("check_compute")
    assert done.refusal.startswith(f"Compute {name} has machines of size Standard_DS2_v2. Its file says Standard_DS3_v2.")
    assert f"error: Compute {name} grows to 1 nodes. Its file says 2." in done.err, "all problems are told"
    training.edit(".cloud/compute/cpu.yml", "type: amlcompute", "type: computeinstance")
    assert training.run("check_compute").refusal.startswith(f"Compute {name} is of type AmlCompute. Its file says computeinstance.")


def test_a_compute_instance_that_is_stopped(training: Any) -> None:
    name = f"ci{training.name}"[:15]
    body = {"location": "westeurope", "properties": {"computeType": "ComputeInstance", "properties": {"vmSize": "Standard_DS3_v2"}}}
    training.arm("PUT", f"computes/{name}?api-version=2024-04-01", body)
    try:
        training.edit("pipelines/train.yml", "azureml:cpu", f"azureml:{name}")
        training.edit(".cloud/release.yml", "  compute: [.cloud/compute/cpu.yml]\n", "")
        assert not training.run("check_compute").refusal
        training.arm("POST", f"computes/{name}/stop?api-version=2024-04-01")
        refusal = training.run("check_compute").refusal
        assert refusal == (f"Compute {name} is Stopped. A compute instance runs jobs only while it is started. Fix: have it started.")
    finally:
        training.arm("DELETE", f"computes/{name}?underlyingResourceAction=Delete&api-version=2024-04-01")


def test_a_step_that_takes_more_nodes_than_the_cluster_has(training: Any) -> None:
    training.edit("pipelines/train.yml", "    code: ../code/prepare\n", "    code: ../code/prepare\n    resources: {instance_count: 3}\n")
    assert training.run("check_compute").refusal.startswith("Compute cpu grows to 2 nodes. A step of the job takes 3.")


def test_quota_that_does_not_suffice_for_the_job(cluster: Any, training: Any, azure: Any) -> None:
    name = cluster("Standard_E4s_v3", most=4)
    training.edit(".cloud/compute/cpu.yml", "Standard_DS3_v2", "Standard_E4s_v3")
    training.edit(".cloud/compute/cpu.yml", "max_instances: 2", "max_instances: 4")
    family = next(size["family"] for size in sizes(training) if size["name"] == "Standard_E4s_v3")
    azure.set(f"quota:{family}", 8)
    try:
        done = training.run("check_compute")
        assert not done.refusal
        assert f"Compute {name} cannot grow to its 4 nodes: they have 16 cores, and 0 of 8 cores of {family} are used." in done.err
        azure.set(f"quota:{family}", 2)
        refusal = training.run("check_compute").refusal
        assert refusal.startswith(
            f"The quota does not suffice for compute {name}. The job needs 4 cores there, and 0 of 2 cores of {family} are"
        )
    finally:
        azure.set(f"quota:{family}", 100)


def test_quota_that_does_not_suffice_for_a_new_deployment_is_a_warning(training: Any, azure: Any) -> None:
    """There may be nothing to deploy anew; deploy_online refuses if there is."""
    training.append(".cloud/workspaces/dev.yml", "instance_type: Standard_F4s_v2\ninstance_count: 5\n")
    family = next(size["family"] for size in sizes(training) if size["name"] == "Standard_F4s_v2")
    azure.set(f"quota:{family}", 23)
    try:
        short = training.run("check_compute")
        assert not short.refusal
        assert "The quota does not suffice for a new deployment in workspace dev: 5 x Standard_F4s_v2 reserve 24 cores" in short.err
        azure.set(f"quota:{family}", 24)
        enough = training.run("check_compute")
        assert not enough.refusal
        assert "does not suffice" not in enough.err
    finally:
        azure.set(f"quota:{family}", 100)


def test_a_machine_that_there_is_none_of(training: Any) -> None:
    training.append(".cloud/workspaces/dev.yml", "instance_type: Standard_Nothing_v9\n")
    assert training.run("check_compute").refusal.startswith("There is no machine Standard_Nothing_v9 in westeurope.")


def test_quota_that_may_not_be_seen_is_a_warning(training: Any, azure: Any) -> None:
    azure.fault(host="management.azure.com", path="*/locations/*", status=403, code="AuthorizationFailed", times=0)
    done = training.run("check_compute")
    assert not done.refusal
    assert "warning: The quota was not checked." in done.err
    assert "compute cpu: Standard_DS3_v2, 0 to 2 nodes; quota not checked" in done.out


def sizes(training: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = training.admin.arm("GET", f"{location(training)}/vmSizes?api-version=2024-04-01")["value"]
    return found


def location(training: Any) -> str:
    subscription = training.id().split("/resourceGroups/")[0]
    return f"{subscription}/providers/Microsoft.MachineLearningServices/locations/westeurope"


def test_data_is_registered_once_under_a_version_by_content(training: Any) -> None:
    first = training.run("register_data")
    (reference,) = json.loads(first.output("data"))
    name, _, version = reference.partition(":")
    assert f"created  data {reference}" in first.out
    assert f"unchanged  data {reference}" in training.run("register_data").out
    there = training.arm("GET", f"data/{name}/versions/{version}")["properties"]
    assert there["dataType"] == "uri_folder"
    assert there["properties"]["digest"].startswith(f"sha256:{version}")
    training.edit("data/flights/flights.csv", "1,2", "1,3")
    (other,) = json.loads(training.run("register_data").output("data"))
    assert other != reference
    assert len(training.arm("GET", f"data/{name}/versions")["value"]) == 2


def test_a_version_with_other_bytes_is_refused(training: Any) -> None:
    training.append(".cloud/data/flights.yml", 'version: "1"\n')
    assert not training.run("register_data").refusal
    training.edit("data/flights/flights.csv", "1,2", "1,3")
    refusal = training.run("register_data").refusal
    assert refusal.startswith(f"Data {training.name}-flights:1 is there with other content. It has sha256:")
    assert "Fix: raise version in " in refusal
    training.edit(".cloud/data/flights.yml", 'version: "1"', 'version: "2"')
    assert json.loads(training.run("register_data").output("data")) == [f"{training.name}-flights:2"]


def test_a_version_that_others_made_is_refused(training: Any) -> None:
    body = {"dataType": "uri_folder", "dataUri": "azureml://datastores/workspaceblobstore/paths/x/"}
    training.arm("PUT", f"data/{training.name}-flights/versions/1", {"properties": body})
    training.append(".cloud/data/flights.yml", 'version: "1"\n')
    assert "It has no digest: it was not registered from here. A version is never changed." in training.run("register_data").refusal


def test_several_files_are_registered_side_by_side_in_their_order(training: Any) -> None:
    names = [f"{training.name}-{letter}" for letter in "cab"]
    for name in names:
        training.write(f".cloud/data/{name}.yml", f"name: {name}\ntype: uri_folder\npath: ../../data/flights\n")
    training.edit(".cloud/release.yml", "[.cloud/data/flights.yml]", f"[{', '.join(f'.cloud/data/{name}.yml' for name in names)}]")
    references = json.loads(training.run("register_data").output("data"))
    assert [reference.partition(":")[0] for reference in references] == names


def test_an_upload_that_breaks_is_taken_up_again(training: Any, azure: Any) -> None:
    (training.folder / "data/flights/large.csv").write_bytes(b"1,2\n" * 500_000)
    azure.fault(host="*.blob.core.windows.net", reset_after_bytes=300_000, times=2)
    (reference,) = json.loads(training.run("register_data").output("data"))
    name, _, version = reference.partition(":")
    assert training.arm("GET", f"data/{name}/versions/{version}")["properties"]["properties"]["digest"]


def test_an_environment_is_registered_once_under_a_version_by_content(training: Any) -> None:
    first = training.run("register_environment")
    (reference,) = json.loads(first.output("environments"))
    name, _, version = reference.partition(":")
    assert f"created  environment {reference}" in first.out
    assert f"unchanged  environment {reference}" in training.run("register_environment").out
    there = training.arm("GET", f"environments/{name}/versions/{version}")["properties"]
    assert "python>=3.10" in there["condaFile"]
    training.edit("code/train/conda.yml", "3.10", "3.11")
    assert f"created  environment {name}:" in training.run("register_environment").out


def test_a_description_does_not_make_another_version(training: Any) -> None:
    before = training.run("register_environment").output("environments")
    training.append(".cloud/environments/train.yml", "description: For training\n")
    again = training.run("register_environment")
    assert again.output("environments") == before
    assert "unchanged" in again.out


def test_a_missing_file_is_told_with_its_place(training: Any) -> None:
    (training.folder / "code/train/conda.yml").unlink()
    done = training.run("register_environment")
    assert "train.yml cannot be used. 1 problem." in done.refusal
    assert "train.yml:3:13: expected a file or folder, found no" in done.err


@pytest.mark.parametrize("verb", ["connect_workspace", "register_data", "register_environment", "submit_job"])
def test_another_principal_is_refused_before_anything_is_read(verb: str, training: Any) -> None:
    training.edit(".cloud/workspaces/dev.yml", training.site.clients["dev"], "d0000000-0000-4000-8000-00000000ffff")
    refusal = training.run(verb).refusal
    assert (
        f"belongs to application {training.site.clients['dev']}. Only d0000000-0000-4000-8000-00000000ffff acts in workspace dev."
        in refusal
    )
