"""What is said of a compute in each state that Azure knows, some of which an emulator does not get into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import check_compute
from aml.quota import Room
from aml.yaml import Document, parse

FILE = {"name": "cpu", "type": "amlcompute", "size": "Standard_DS3_v2", "max_instances": 2}


class Quota:
    """Four cores a machine, and what is used of how many."""

    def __init__(self, used: int, limit: int | None) -> None:
        self.used, self.limit = used, limit

    def room(self, size: str) -> Room:
        return Room(size, "family", 4, self.used, self.limit)


def cluster(state: str = "Succeeded", **inner: Any) -> dict[str, Any]:
    scale = {"minNodeCount": inner.pop("least", 0), "maxNodeCount": inner.pop("most", 2)}
    properties = {"vmSize": "STANDARD_DS3_V2", "vmPriority": "Dedicated", "scaleSettings": scale, **inner}
    return {"properties": {"computeType": "AmlCompute", "provisioningState": state, "properties": properties}}


def said(found: dict[str, Any] | None, *, needed: int = 1, used: int = 0, limit: int | None = 100, file: Any = FILE) -> list[str]:
    return [str(refusal) for refusal in check_compute.of_compute("cpu", found, file, needed, Quota(used, limit))]  # type: ignore[arg-type]


def test_nothing_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(cluster()) == []
    assert capsys.readouterr().out == "compute cpu: STANDARD_DS3_V2, 0 to 2 nodes; 0 of 100 cores of family are used\n"


def test_provisioning_that_failed() -> None:
    found = cluster("Failed")
    found["properties"]["provisioningErrors"] = [{"error": {"code": "X", "message": "the subnet is full"}}]
    assert said(found) == ["Compute cpu could not be made. the subnet is full. Fix: have it deleted and made again."]
    assert said(cluster("Failed")) == ["Compute cpu could not be made. Azure says Failed. Fix: have it deleted and made again."]


@pytest.mark.parametrize("state", ["Creating", "Updating", "Deleting"])
def test_azure_is_at_work_on_it(state: str) -> None:
    line = f"Compute cpu is {state}. Jobs cannot start on it now. Fix: run this again when Azure has finished."
    assert said(cluster(state)) == [line]


def test_a_stopped_instance() -> None:
    inner = {"vmSize": "Standard_DS3_v2", "state": "Stopped"}
    found = {"properties": {"computeType": "ComputeInstance", "provisioningState": "Succeeded", "properties": inner}}
    line = "Compute cpu is Stopped. A compute instance runs jobs only while it is started. Fix: have it started."
    assert said(found, file={"type": "computeinstance", "size": "Standard_DS3_v2"}) == [line]
    inner["state"] = "Running"
    assert said(found, file={"type": "computeinstance", "size": "Standard_DS3_v2"}) == []


def test_another_kind_of_compute_is_only_looked_at_for_its_state() -> None:
    assert said({"properties": {"computeType": "Kubernetes", "provisioningState": "Succeeded", "properties": {}}}, file=None) == []


def test_what_the_cluster_holds_already_is_not_asked_for_twice() -> None:
    assert said(cluster(currentNodeCount=2), used=8, limit=8) == []
    assert said(cluster(), used=8, limit=8)[0].startswith(
        "The quota does not suffice for compute cpu. The job needs 4 cores there, and 8 of 8"
    )


def test_a_minimum_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert "The job needs 8 cores there" in said(cluster(least=2), limit=4)[0]
    assert said(cluster(most=9), limit=20) == []
    assert "Compute cpu cannot grow to its 9 nodes: they have 36 cores" in capsys.readouterr().err


def test_low_priority_nodes_have_another_quota(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(cluster(vmPriority="LowPriority"), limit=0) == []
    assert "quota not checked" in capsys.readouterr().out


def test_a_family_without_a_limit() -> None:
    assert said(cluster(), used=1000, limit=None) == []


def job(text: str) -> Document:
    return parse(Document(Path("job.yml"), text=text))


def test_the_computes_and_nodes_of_a_job() -> None:
    pipeline = job(
        "settings: {default_compute: azureml:cpu}\n"
        "jobs:\n"
        "  a: {resources: {instance_count: 3}}\n"
        "  b: {compute: azureml:gpu, resources: {instance_count: 5}}\n"
        "  c: {compute: azureml:serverless}\n"
        "  d: {compute: '${{parent.inputs.compute}}'}\n"
    )
    assert check_compute.used_by(pipeline) == {"cpu", "gpu"}
    assert (check_compute.nodes(pipeline, "cpu"), check_compute.nodes(pipeline, "gpu")) == (3, 5)
    assert check_compute.nodes(job("compute: azureml:cpu\nresources: {instance_count: 4}\n"), "cpu") == 4
