"""Quota: how many vCPUs a region has for each family of machines, and who uses them.

Sources: https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas (limits by VM family and in total; 20 % on top for online
deployments), and the service's refusals as users report them (Azure/mlops-v2#81, MicrosoftLearning/mslearn-dp100#35).
"""

from __future__ import annotations

import math
from typing import Any

from emulator.compute.sizes import BY_NAME, FAMILIES, SIZES, Size
from emulator.core import Cloud
from emulator.errors import AzureError, bad_request
from emulator.workspaces.models import PROVIDER

Document = dict[str, Any]

CPU_LIMIT, GPU_LIMIT, LOW_PRIORITY_LIMIT, TOTAL_LIMIT = 100, 48, 100, 500  # vCPUs; the knobs below change them
TOTAL, LOW_PRIORITY = "TotalDedicatedCores", "TotalLowPriorityCores"
HELP = "https://docs.microsoft.com/azure/machine-learning/how-to-manage-quotas#request-quota-increases"


def vm_size(name: str) -> Document:
    """What a size is: ``{"name", "vCPUs", "memoryGB", "family", "gpus"}``; 400 for a size that there is none of."""
    size = size_of(name, "properties.vmSize")
    return {"name": size.name, "vCPUs": size.vcpus, "memoryGB": size.memory, "family": size.family, "gpus": size.gpus}


def size_of(name: str, target: str) -> Size:
    size = BY_NAME.get(name.lower())
    if size is None:
        raise bad_request(
            target,
            f"The specified VM size '{name}' is not supported. Please choose one of: {', '.join(one.name for one in SIZES)}.",
            "BadRequest",
        )
    return size


def quota(cloud: Cloud, subscription: str, location: str, family: str) -> tuple[int, int]:
    """Limit and use in vCPUs of a VM family (or ``TotalDedicatedCores``, ``TotalLowPriorityCores``) in a region.

    The limit is the knob ``quota:<family>``, or ``quota:<region>:<family>`` for one region alone.
    """
    knobs = cloud.settings.extra
    default = {TOTAL: TOTAL_LIMIT, LOW_PRIORITY: LOW_PRIORITY_LIMIT}.get(
        family, GPU_LIMIT if family.startswith("standardNC") else CPU_LIMIT
    )
    limit = int(knobs.get(f"quota:{location}:{family}", knobs.get(f"quota:{family}", default)))
    return limit, sum(
        cores
        for region, used_family, cores in _uses(cloud, subscription, family == LOW_PRIORITY)
        if region == location and family in (used_family, TOTAL, LOW_PRIORITY)
    )


def _uses(cloud: Cloud, subscription: str, low_priority: bool) -> list[tuple[str, str, int]]:
    """(region, family, vCPUs) of everything that holds cores now."""
    under = f"/subscriptions/{subscription}"
    uses = []
    for compute in cloud.store.list("compute", under=under):
        inner = compute["properties"].get("properties") or {}
        size = BY_NAME.get(str(inner.get("vmSize", "")).lower())
        if size and (inner.get("vmPriority") == "LowPriority") == low_priority:
            uses.append((compute["location"], size.family, size.vcpus * _nodes_held(cloud, compute)))
    if not low_priority:
        for deployment in cloud.store.list("online_deployment", under=under):
            size = BY_NAME.get(str(deployment["properties"].get("instanceType", "")).lower())
            if size and deployment["properties"].get("provisioningState") != "Failed":
                instances = int((deployment.get("sku") or {}).get("capacity") or 1)
                uses.append((deployment.get("location", ""), size.family, deployment_cores(size.name, instances)))
    return uses


def deployment_cores(size: str, instances: int) -> int:
    """The quota that a managed online deployment takes: instances and 20 % for upgrades, in vCPUs."""
    return math.ceil(round(1.2 * instances, 6)) * int(vm_size(size)["vCPUs"])


def _nodes_held(cloud: Cloud, compute: Document) -> int:
    inner = compute["properties"].get("properties") or {}
    if compute["properties"]["computeType"] == "ComputeInstance":
        return 0 if inner.get("state") in ("Stopped", "CreateFailed", "Deleting") else 1
    if compute["properties"]["provisioningState"] == "Failed":
        return 0
    return node_count(cloud, compute)


def running_jobs(cloud: Cloud, compute_id: str) -> list[tuple[str, int]]:
    """Name and number of nodes of the jobs that run on a compute now, oldest first."""
    workspace = compute_id.lower().split("/computes/")[0]
    found = []
    for job in cloud.store.list("job", under=workspace):
        properties = job["properties"]
        if (
            properties.get("status") in ("Preparing", "Running", "Finalizing")
            and str(properties.get("computeId", "")).lower() == compute_id.lower()
        ):
            found.append((str(job["name"]), int((properties.get("resources") or {}).get("instanceCount") or 1)))
    return found


def node_count(cloud: Cloud, compute: Document) -> int:
    """How many nodes a cluster has now: its minimum, or what its running jobs take, up to its maximum."""
    scale = (compute["properties"].get("properties") or {}).get("scaleSettings") or {}
    busy = sum(nodes for _, nodes in running_jobs(cloud, compute["id"]))
    return int(min(int(scale.get("maxNodeCount", 1)), max(int(scale.get("minNodeCount", 0)), busy)))


def check_job_quota(cloud: Cloud, compute: Document, instances: int) -> None:
    """The service's refusal to start a job whose nodes the family's quota does not hold."""
    inner = compute["properties"].get("properties") or {}
    size = size_of(str(inner.get("vmSize")), "properties.vmSize")
    limit, _ = quota(cloud, compute["id"].split("/")[2], compute["location"], size.family)
    wanted = instances * size.vcpus
    if wanted > limit:
        family = f"{FAMILIES[size.family]} vCPU"
        raise AzureError(
            400,
            "JobNodeCountExceedsCoreQuota",
            f"The specified subscription has a {family} quota of {limit} and is less than the requested job node count of {instances} "
            f"which maps to {wanted} vCPUs. Talk to your Subscription Admin or refer to {HELP} to increase the {family} quota",
        )


def check_compute_quota(cloud: Cloud, document: Document) -> None:
    """The service's refusal of a compute for which the quota has no room: for one node, and for a cluster's minimum beside all else."""
    inner = document["properties"]["properties"]
    size = BY_NAME[inner["vmSize"].lower()]
    kept = int((inner.get("scaleSettings") or {"minNodeCount": 1})["minNodeCount"])
    least, own = max(1, kept), size.vcpus * _nodes_held(cloud, document)
    low = inner.get("vmPriority") == "LowPriority"
    for family, label in [(LOW_PRIORITY, "total")] if low else [(size.family, FAMILIES[size.family]), (TOTAL, "total")]:
        limit, used = quota(cloud, document["id"].split("/")[2], document["location"], family)
        if least * size.vcpus > limit or used - own + kept * size.vcpus > limit:
            message = (
                f"The specified subscription has a {label} vCPU quota of {limit} and cannot accomodate for at least {least} requested "
                f"managed compute nodes which maps to {least * size.vcpus} vCPUs. Talk to your Subscription Admin or refer to {HELP} "
                "to increase the quota."
            )
            raise AzureError(400, "BadRequest", message, details=[{"code": "ClusterMinNodesExceedCoreQuota", "message": message}])


def usages(cloud: Cloud, subscription: str, location: str) -> list[Document]:
    """Use and limit of every VM family and in total, as the usages API lists them."""
    rows = [
        (TOTAL, "totalDedicatedCores", "Total Cluster Dedicated Regional Cores", "Total Cluster Dedicated Regional vCPUs"),
        (LOW_PRIORITY, "lowPriorityCores", "Total Cluster LowPriority Regional Cores", "Total Cluster LowPriority Regional vCPUs"),
        *((family, "vmFamily/dedicatedCores", family, f"{label} Cluster Dedicated vCPUs") for family, label in FAMILIES.items()),
    ]
    answer = []
    for key, type, value, label in rows:
        limit, used = quota(cloud, subscription, location, key)
        answer.append(
            {
                "id": f"/subscriptions/{subscription}/providers/{PROVIDER}/locations/{location}/usages/{key}",
                "type": f"{PROVIDER}/{type}/usages",
                "amlWorkspaceLocation": location,
                "unit": "Count",
                "currentValue": used,
                "limit": limit,
                "name": {"value": value, "localizedValue": label},
            }
        )
    return answer
