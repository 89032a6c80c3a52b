"""Computes, sizes and quota, driven by azure-ai-ml and azure-mgmt-machinelearningservices."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import AmlCompute, ComputeInstance
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import EnvironmentCredential
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient
from azure.mgmt.machinelearningservices import models as rest

from emulator.compute import models
from emulator.compute.quota import check_job_quota
from emulator.core import SUBSCRIPTION, Cloud
from emulator.errors import AzureError

GROUP, WORKSPACE = "rg-compute-one", "compute-one"
ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"


@pytest.fixture(scope="module")
def place(emulator: Any) -> dict[str, Any]:
    """The workspace of this file, in a region where no other test has computes."""
    made: dict[str, Any] = emulator.workspace(WORKSPACE, "swedencentral")
    return made


@pytest.fixture
def ml(azure: Any, place: Any) -> MLClient:
    return MLClient(EnvironmentCredential(), SUBSCRIPTION, GROUP, WORKSPACE, enable_telemetry=False)


@pytest.fixture
def mgmt(azure: Any, place: Any) -> MachineLearningServicesMgmtClient:
    return MachineLearningServicesMgmtClient(EnvironmentCredential(), SUBSCRIPTION)


@pytest.fixture
def limit(azure: Any) -> Iterator[Callable[[str, int], None]]:
    """Sets the quota of a family for one test."""
    changed: list[str] = []

    def limit(family: str, cores: int) -> None:
        changed.append(f"quota:swedencentral:{family}")
        azure.set(changed[-1], cores)

    yield limit
    for name in changed:
        azure.set(name, 100)


@pytest.fixture
def name(azure: Any, place: Any) -> Iterator[str]:
    """The name of a compute, which is gone after the test."""
    name = f"c{uuid.uuid4().hex[:8]}"
    yield name
    azure.arm("DELETE", f"{ID}/computes/{name}?underlyingResourceAction=Delete&api-version=2024-04-01")


def used(ml: MLClient, family: str) -> tuple[int, int]:
    row = next(one for one in ml.compute.list_usage() if one.name["value"] == family)
    # the SDK 1.35.2 keeps the wire's names here, and leaves its own current_value empty
    return row.currentValue, row.limit


class TestClusters:
    def test_live_with_the_sdk(self, ml: MLClient, name: str) -> None:
        made = ml.compute.begin_create_or_update(
            AmlCompute(name=name, size="STANDARD_DS3_V2", min_instances=0, max_instances=3, idle_time_before_scale_down=60, tags={"a": "b"})
        ).result()
        assert (made.type, made.size, made.min_instances, made.max_instances) == ("amlcompute", "Standard_DS3_v2", 0, 3)
        assert (made.provisioning_state, made.location, made.idle_time_before_scale_down, made.tags) == (
            "Succeeded",
            "swedencentral",
            60,
            {"a": "b"},
        )
        made.max_instances = 5
        assert ml.compute.begin_update(made).result().max_instances == 5
        assert [one.name for one in ml.compute.list(compute_type="amlcompute")] == [name]
        assert list(ml.compute.list_nodes(name)) == []
        ml.compute.begin_delete(name).result()
        with pytest.raises(
            ResourceNotFoundError, match=f"The Resource 'Microsoft.MachineLearningServices/workspaces/{WORKSPACE}/computes/{name}'"
        ):
            ml.compute.get(name)

    def test_live_with_the_second_client(self, mgmt: MachineLearningServicesMgmtClient, name: str) -> None:
        scale = rest.ScaleSettings(min_node_count=1, max_node_count=2)
        wanted = rest.AmlCompute(properties=rest.AmlComputeProperties(vm_size="Standard_DS2_v2", scale_settings=scale))
        made = mgmt.compute.begin_create_or_update(
            GROUP, WORKSPACE, name, rest.ComputeResource(location="swedencentral", properties=wanted)
        ).result()
        assert (made.properties.properties.current_node_count, made.properties.properties.node_state_counts.idle_node_count) == (1, 1)
        assert [node.node_state for node in mgmt.compute.list_nodes(GROUP, WORKSPACE, name)] == ["idle"]
        more = rest.ClusterUpdateParameters(
            properties=rest.ScaleSettingsInformation(scale_settings=rest.ScaleSettings(min_node_count=0, max_node_count=4))
        )
        changed = mgmt.compute.begin_update(GROUP, WORKSPACE, name, more).result()
        assert (changed.properties.properties.scale_settings.max_node_count, changed.properties.properties.current_node_count) == (4, 0)

    def test_hold_quota_for_their_minimum(self, ml: MLClient, name: str) -> None:
        before, total = used(ml, "standardFSv2Family")
        ml.compute.begin_create_or_update(AmlCompute(name=name, size="Standard_F4s_v2", min_instances=2, max_instances=3)).result()
        assert used(ml, "standardFSv2Family") == (before + 8, total)
        assert len(list(ml.compute.list_nodes(name))) == 2

    def test_without_quota_fail_as_on_azure(self, ml: MLClient, name: str, limit: Callable[[str, int], None]) -> None:
        limit("standardDSv2Family", 2)
        words = "has a Standard DSv2 Family vCPU quota of 2 and cannot accomodate for at least 1 requested managed compute nodes"
        with pytest.raises(HttpResponseError, match=words):
            ml.compute.begin_create_or_update(AmlCompute(name=name, size="Standard_DS3_v2", max_instances=1)).result()
        found = ml.compute.get(name)
        assert (found.provisioning_state, found.provisioning_errors) == ("Failed", "ClusterMinNodesExceedCoreQuota")

    def test_low_priority_has_its_own_quota(self, ml: MLClient, name: str, limit: Callable[[str, int], None]) -> None:
        limit("TotalLowPriorityCores", 0)
        with pytest.raises(HttpResponseError, match="has a total vCPU quota of 0"):
            ml.compute.begin_create_or_update(AmlCompute(name=name, size="Standard_DS3_v2", tier="low_priority")).result()
        ml.compute.begin_create_or_update(AmlCompute(name=name, size="Standard_DS3_v2")).result()

    def test_show_the_jobs_that_run_on_them(self, cloud: Cloud) -> None:
        cluster = {
            "id": f"{ID}/computes/cpu", "name": "cpu", "location": "westeurope",
            "properties": {"computeType": "AmlCompute", "provisioningState": "Succeeded",
                           "properties": {"vmSize": "Standard_DS3_v2", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 3}}},
        }  # fmt: skip
        cloud.store.put(cluster["id"], "compute", cluster)
        for job, status, nodes in (("first", "Running", 1), ("second", "Preparing", 1), ("over", "Completed", 9)):
            properties = {"status": status, "computeId": cluster["id"].upper(), "resources": {"instanceCount": nodes}}
            cloud.store.put(f"{ID}/jobs/{job}", "job", {"name": job, "properties": properties})
        assert [(node["nodeState"], node["runId"]) for node in models.nodes(cloud, cluster)] == [
            ("running", "first"),
            ("running", "second"),
        ]
        assert models.show(cloud, cluster)["properties"]["properties"]["nodeStateCounts"]["runningNodeCount"] == 2
        assert models.quota(cloud, SUBSCRIPTION, "westeurope", "standardDSv2Family") == (100, 8)
        cloud.settings.set("quota:standardDSv2Family", "6")
        with pytest.raises(
            AzureError, match="quota of 6 and is less than the requested job node count of 2 which maps to 8 vCPUs"
        ) as error:
            check_job_quota(cloud, cluster, 2)
        assert error.value.code == "JobNodeCountExceedsCoreQuota"

    @pytest.mark.parametrize(
        ("compute", "words"),
        [
            ({"size": "Standard_Nonsense"}, "The specified VM size 'Standard_Nonsense' is not supported"),
            ({"min_instances": 3, "max_instances": 2}, r"0 <= minNodeCount \(3\) <= maxNodeCount \(2\)"),
            ({"name": "-x"}, "The compute name '-x' is invalid"),
            ({"name": "x" * 40}, "is invalid: 2 to 32"),
        ],
    )
    def test_that_cannot_be(self, ml: MLClient, compute: dict[str, Any], words: str) -> None:
        with pytest.raises(HttpResponseError, match=words) as error:
            ml.compute.begin_create_or_update(AmlCompute(**{"name": "cannot", "size": "Standard_DS3_v2", **compute}))
        assert error.value.status_code == 400

    def test_keep_their_size(self, ml: MLClient, name: str) -> None:
        ml.compute.begin_create_or_update(AmlCompute(name=name, size="Standard_DS3_v2")).result()
        with pytest.raises(HttpResponseError, match=f"The size of compute '{name}' cannot be changed"):
            ml.compute.begin_create_or_update(AmlCompute(name=name, size="Standard_DS2_v2"))
        with pytest.raises(HttpResponseError, match=r"is of type AmlCompute; its type cannot be changed"):
            ml.compute.begin_create_or_update(ComputeInstance(name=name, size="Standard_DS3_v2"))


class TestInstances:
    def test_start_stop_and_restart(self, ml: MLClient, name: str) -> None:
        made = ml.compute.begin_create_or_update(ComputeInstance(name=name, size="Standard_DS11_v2")).result()
        assert (made.type, made.state, made.size) == ("computeinstance", "Running", "Standard_DS11_v2")
        before, _ = used(ml, "standardDSv2Family")
        ml.compute.begin_stop(name).result()
        assert ml.compute.get(name).state == "Stopped"
        assert used(ml, "standardDSv2Family")[0] == before - 2
        with pytest.raises(ResourceExistsError, match="is in state Stopped; to restart it must be Running"):
            ml.compute.begin_restart(name)
        ml.compute.begin_start(name).result()
        ml.compute.begin_restart(name).result()
        assert (ml.compute.get(name).state, ml.compute.get(name).last_operation["operationName"]) == ("Running", "Restart")

    def test_start_needs_quota_again(self, ml: MLClient, name: str, limit: Callable[[str, int], None]) -> None:
        ml.compute.begin_create_or_update(ComputeInstance(name=name, size="Standard_E4s_v3")).result()
        ml.compute.begin_stop(name).result()
        limit("standardESv3Family", 2)
        with pytest.raises(HttpResponseError, match="Standard ESv3 Family vCPU quota of 2"):
            ml.compute.begin_start(name).result()
        assert ml.compute.get(name).state == "Stopped"

    def test_are_unique_in_their_region(self, ml: MLClient, emulator: Any, name: str) -> None:
        ml.compute.begin_create_or_update(ComputeInstance(name=name, size="Standard_DS11_v2")).result()
        emulator.admin.workspace("compute-two", GROUP, "swedencentral")
        other = MLClient(EnvironmentCredential(), SUBSCRIPTION, GROUP, "compute-two", enable_telemetry=False)
        with pytest.raises(HttpResponseError, match=f"A compute instance with the name '{name}' already exists in region swedencentral"):
            other.compute.begin_create_or_update(ComputeInstance(name=name, size="Standard_DS11_v2"))


class TestSizesAndQuota:
    def test_sizes_are_listed(self, ml: MLClient, mgmt: MachineLearningServicesMgmtClient) -> None:
        found = {size.name: size for size in ml.compute.list_sizes()}
        assert (found["Standard_DS3_v2"].family, found["Standard_DS3_v2"].memoryGB) == ("standardDSv2Family", 14)
        assert {one.name: one.v_cp_us for one in mgmt.virtual_machine_sizes.list("westeurope").value}["Standard_NC24ads_A100_v4"] == 24

    def test_usage_has_a_row_for_each_family_and_the_total(self, mgmt: MachineLearningServicesMgmtClient) -> None:
        rows = {row.name.value: row for row in mgmt.usages.list("northeurope")}
        assert rows["Total Cluster Dedicated Regional Cores"].limit == 500
        assert rows["standardDSv2Family"].name.localized_value == "Standard DSv2 Family Cluster Dedicated vCPUs"
        assert {row.current_value for row in rows.values()} == {0}

    def test_a_place_that_is_none(self, mgmt: MachineLearningServicesMgmtClient) -> None:
        with pytest.raises(HttpResponseError, match="The provided location 'atlantis' is not available"):
            list(mgmt.usages.list("atlantis"))

    def test_deployments_take_a_fifth_more(self, cloud: Cloud) -> None:
        assert [models.deployment_cores("Standard_DS3_v2", instances) for instances in (1, 2, 4, 5, 10)] == [8, 12, 20, 24, 48]
        deployment = {"location": "westeurope", "sku": {"capacity": 2}, "properties": {"instanceType": "Standard_DS3_v2"}}
        cloud.store.put(f"{ID}/onlineEndpoints/e/deployments/d", "online_deployment", deployment)
        assert models.quota(cloud, SUBSCRIPTION, "westeurope", "standardDSv2Family") == (100, 12)
        assert models.quota(cloud, SUBSCRIPTION, "westeurope", "TotalDedicatedCores") == (500, 12)
        assert models.vm_size("standard_ds3_V2") == {
            "name": "Standard_DS3_v2", "vCPUs": 4, "memoryGB": 14, "family": "standardDSv2Family", "gpus": 0
        }  # fmt: skip
