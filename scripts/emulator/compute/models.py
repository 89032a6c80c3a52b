"""Computes and the quota that they, and online deployments, use.

Sources: https://learn.microsoft.com/rest/api/azureml/compute, https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas (limits by VM family and
in total; 20 % on top for online deployments), and the service's refusals as users report them (Azure/mlops-v2#81, MicrosoftLearning/mslearn-dp100#35).
"""

from __future__ import annotations

import math
import re
import uuid
from typing import Any

from emulator.compute.sizes import BY_NAME, FAMILIES, SIZES, Size
from emulator.core import Cloud, Principal
from emulator.errors import AzureError, bad_request
from emulator.workspaces.models import PROVIDER, TYPE, check_location, system_data

Document = dict[str, Any]

CPU_LIMIT, GPU_LIMIT, LOW_PRIORITY_LIMIT, TOTAL_LIMIT = 100, 48, 100, 500  # vCPUs; the knobs below change them
TOTAL, LOW_PRIORITY = "TotalDedicatedCores", "TotalLowPriorityCores"
KINDS = {"amlcompute": "AmlCompute", "computeinstance": "ComputeInstance"}


def vm_size(name: str) -> Document:
    """What a size is: ``{"name", "vCPUs", "memoryGB", "family", "gpus"}``; 400 for a size that there is none of."""
    size = _size(name, "properties.vmSize")
    return {"name": size.name, "vCPUs": size.vcpus, "memoryGB": size.memory, "family": size.family, "gpus": size.gpus}


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
    return int(math.ceil(round(1.2 * instances, 6))) * int(vm_size(size)["vCPUs"])


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


def nodes(cloud: Cloud, compute: Document) -> list[Document]:
    """The nodes of a cluster, as ``listNodes`` shows them: running ones with their job, then idle ones."""
    runs = [name for name, count in running_jobs(cloud, compute["id"]) for _ in range(count)]
    return [
        {
            "nodeId": f"tvmps_{uuid.uuid5(uuid.NAMESPACE_URL, compute['id'] + str(at)).hex}_d", "privateIpAddress": f"10.0.0.{4 + at}",
            "publicIpAddress": None, "port": 50000 + at, "nodeState": "running" if at < len(runs) else "idle", "runId": runs[at] if at < len(runs) else None,
        }
        for at in range(node_count(cloud, compute))
    ]  # fmt: skip


def check_job_quota(cloud: Cloud, compute: Document, instances: int) -> None:
    """The service's refusal to start a job whose nodes the family's quota does not hold."""
    inner = compute["properties"].get("properties") or {}
    size = _size(str(inner.get("vmSize")), "properties.vmSize")
    limit, _ = quota(cloud, compute["id"].split("/")[2], compute["location"], size.family)
    if instances * size.vcpus > limit:
        family = f"{FAMILIES[size.family]} vCPU"
        raise AzureError(
            400, "JobNodeCountExceedsCoreQuota",
            f"The specified subscription has a {family} quota of {limit} and is less than the requested job node count of {instances} which maps to "
            f"{instances * size.vcpus} vCPUs. Talk to your Subscription Admin or refer to "
            f"https://docs.microsoft.com/azure/machine-learning/how-to-manage-quotas#request-quota-increases to increase the {family} quota",
        )  # fmt: skip


def show(cloud: Cloud, compute: Document) -> Document:
    """The document as a read gives it: with the nodes that a cluster has at this moment."""
    if compute["properties"]["computeType"] != "AmlCompute":
        return compute
    count, busy = node_count(cloud, compute), sum(number for _, number in running_jobs(cloud, compute["id"]))
    compute["properties"]["properties"].update(
        currentNodeCount=count, targetNodeCount=count, allocationState="Steady",
        nodeStateCounts={"idleNodeCount": max(0, count - busy), "runningNodeCount": min(busy, count), "preparingNodeCount": 0, "unusableNodeCount": 0,
                         "leavingNodeCount": 0, "preemptedNodeCount": 0},
    )  # fmt: skip
    return compute


def make(cloud: Cloud, id: str, body: Any, workspace: Document, principal: Principal | None) -> Document:
    """The document of a compute from a request body, in state Creating or Updating; 400 names what cannot be."""
    if not isinstance(body, dict) or not isinstance(body.get("properties"), dict):
        raise bad_request("properties", "The property 'properties' is required.", "InvalidRequestContent")
    outer = body["properties"]
    kind = KINDS.get(str(outer.get("computeType", "")).lower())
    if kind is None:
        raise bad_request(
            "properties.computeType",
            f"The emulator has computes of type {' and '.join(KINDS.values())}, not '{outer.get('computeType')}'.",
            "ValidationError",
        )
    name, inner = id.rsplit("/", 1)[-1], {key: value for key, value in (outer.get("properties") or {}).items() if value is not None}
    lowest, highest = (3, 24) if kind == "ComputeInstance" else (2, 32)
    if not re.fullmatch(rf"[a-zA-Z][a-zA-Z0-9-]{{{lowest - 1},{highest - 1}}}", name) or name.endswith("-"):
        raise bad_request(
            "name",
            f"The compute name '{name}' is invalid: {lowest} to {highest} letters, digits and '-', starting with a letter, not ending with '-'.",
            "ValidationError",
        )
    old = cloud.store.get(id)
    if old and old["properties"]["computeType"] != kind:
        raise bad_request(
            "properties.computeType",
            f"The compute '{name}' is of type {old['properties']['computeType']}; its type cannot be changed.",
            "ValidationError",
        )
    if (
        old
        and kind == "ComputeInstance"
        and "vmSize" in inner
        and inner["vmSize"].lower() != old["properties"]["properties"]["vmSize"].lower()
    ):
        raise bad_request("properties.properties.vmSize", f"The size of compute instance '{name}' cannot be changed.", "ValidationError")
    size = _size(str(inner.get("vmSize", "")), "properties.properties.vmSize")
    if old and kind == "AmlCompute" and size.name != old["properties"]["properties"]["vmSize"]:
        raise bad_request("properties.properties.vmSize", f"The size of compute '{name}' cannot be changed.", "ValidationError")
    location = check_location(body.get("location") or workspace["location"], f"{TYPE}/computes")
    if kind == "ComputeInstance" and not old:
        for other in cloud.store.list("compute"):
            if other["name"].lower() == name.lower() and other["properties"]["computeType"] == kind and other["location"] == location:
                raise bad_request(
                    "name",
                    f"A compute instance with the name '{name}' already exists in region {location}; choose another name.",
                    "BadArgument",
                )
    now = cloud.stamp()
    special = _cluster(size, inner, name) if kind == "AmlCompute" else _instance(size, inner, principal, old)
    return {
        "id": id, "name": name, "type": f"{TYPE}/computes", "location": location, "tags": body.get("tags") or {}, "identity": body.get("identity"),
        "properties": {
            "computeType": kind, "computeLocation": location, "description": outer.get("description"), "resourceId": None,
            "createdOn": old["properties"]["createdOn"] if old else now, "modifiedOn": now, "isAttachedCompute": False,
            "disableLocalAuth": bool(outer.get("disableLocalAuth")), "provisioningErrors": None, "provisioningState": "Updating" if old else "Creating",
            "properties": special,
        },
        "systemData": system_data(cloud, principal, (old or {}).get("systemData")),
    }  # fmt: skip


def _cluster(size: Size, inner: Document, name: str) -> Document:
    scale = {"minNodeCount": 0, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT120S", **(inner.get("scaleSettings") or {})}
    lowest, highest = scale["minNodeCount"], scale["maxNodeCount"]
    if not isinstance(lowest, int) or not isinstance(highest, int) or lowest < 0 or highest < 1 or lowest > highest:
        raise bad_request(
            "properties.properties.scaleSettings", f"The scale of compute '{name}' is invalid: 0 <= minNodeCount ({lowest}) <= maxNodeCount ({highest}), and maxNodeCount >= 1.",
            "ValidationError",
        )  # fmt: skip
    return {
        "osType": "Linux", "vmPriority": "Dedicated", "remoteLoginPortPublicAccess": "NotSpecified", "isolatedNetwork": False, "enableNodePublicIp": True,
        "errors": None, **inner, "vmSize": size.name, "scaleSettings": scale,
    }  # fmt: skip


def _instance(size: Size, inner: Document, principal: Principal | None, old: Document | None) -> Document:
    before = old["properties"]["properties"] if old else {}
    return {
        "applicationSharingPolicy": "Shared", "computeInstanceAuthorizationType": "personal", "sshSettings": {"sshPublicAccess": "Disabled"},
        "enableNodePublicIp": True, "errors": [], **before, **inner, "vmSize": size.name, "state": before.get("state", "Creating"),
        "createdBy": {"userId": principal.oid if principal else None, "userOrgId": principal.tenant if principal else None, "userName": None},
    }  # fmt: skip


async def provision(cloud: Cloud, id: str) -> None:
    """Bring a compute to Succeeded, or to Failed with the service's reason when the quota does not hold it."""
    document = cloud.store.need(id)
    try:
        _check_quota(cloud, document)
    except AzureError as error:
        document["properties"]["provisioningState"] = "Failed"
        document["properties"]["provisioningErrors"] = [{"error": {"code": error.details[0]["code"], "message": error.message}}]
        if document["properties"]["computeType"] == "ComputeInstance":
            document["properties"]["properties"]["state"] = "CreateFailed"
        cloud.store.put(id, "compute", document)
        raise
    document["properties"]["provisioningState"] = "Succeeded"
    if document["properties"]["computeType"] == "ComputeInstance" and document["properties"]["properties"]["state"] == "Creating":
        _operated(cloud, document, "Create", "Running")
    cloud.store.put(id, "compute", document)


def _check_quota(cloud: Cloud, document: Document) -> None:
    inner = document["properties"]["properties"]
    size = BY_NAME[inner["vmSize"].lower()]
    wanted = max(1, int((inner.get("scaleSettings") or {}).get("minNodeCount", 1)))
    low = inner.get("vmPriority") == "LowPriority"
    family = LOW_PRIORITY if low else size.family
    label = "total" if low else f"{FAMILIES[size.family]}"
    limit, used = quota(cloud, document["id"].split("/")[2], document["location"], family)
    own = size.vcpus * _nodes_held(cloud, document)
    if wanted * size.vcpus > limit or used - own + wanted * size.vcpus * bool(own) > limit:
        message = (
            f"The specified subscription has a {label} vCPU quota of {limit} and cannot accomodate for at least {wanted} requested managed compute nodes "
            f"which maps to {wanted * size.vcpus} vCPUs. Talk to your Subscription Admin or refer to "
            "https://docs.microsoft.com/azure/machine-learning/how-to-manage-quotas#request-quota-increases to increase the quota."
        )
        raise AzureError(400, "BadRequest", message, details=[{"code": "ClusterMinNodesExceedCoreQuota", "message": message}])


TRANSITIONS = {
    "start": ({"Stopped"}, "Starting", "Running"),
    "stop": ({"Running"}, "Stopping", "Stopped"),
    "restart": ({"Running"}, "Restarting", "Running"),
}


def begin_transition(cloud: Cloud, id: str, verb: str) -> None:
    """Start, stop or restart a compute instance: into its passing state; 409 when it is in no state for it."""
    document = cloud.store.need(id)
    state = document["properties"]["properties"].get("state")
    if document["properties"]["computeType"] != "ComputeInstance":
        raise bad_request(
            "properties.computeType",
            f"A compute of type {document['properties']['computeType']} cannot be told to {verb}.",
            "ValidationError",
        )
    allowed, passing, _ = TRANSITIONS[verb]
    if state not in allowed:
        raise AzureError(
            409, "Conflict", f"Compute instance '{document['name']}' is in state {state}; to {verb} it must be {' or '.join(allowed)}."
        )
    document["properties"]["properties"]["state"] = passing
    cloud.store.put(id, "compute", document)


async def end_transition(cloud: Cloud, id: str, verb: str) -> None:
    """The end of ``begin_transition``; a start needs quota again."""
    document = cloud.store.need(id)
    try:
        if verb == "start":
            _check_quota(cloud, document)
    except AzureError:
        document["properties"]["properties"]["state"] = "Stopped"
        cloud.store.put(id, "compute", document)
        raise
    _operated(cloud, document, verb.capitalize(), TRANSITIONS[verb][2])
    cloud.store.put(id, "compute", document)


def _operated(cloud: Cloud, document: Document, what: str, state: str) -> None:
    document["properties"]["properties"].update(
        state=state,
        lastOperation={"operationName": what, "operationTime": cloud.stamp(), "operationStatus": "Succeeded", "operationTrigger": "User"},
    )


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
                "id": f"/subscriptions/{subscription}/providers/{PROVIDER}/locations/{location}/usages/{key}", "type": f"{PROVIDER}/{type}/usages",
                "amlWorkspaceLocation": location, "unit": "Count", "currentValue": used, "limit": limit, "name": {"value": value, "localizedValue": label},
            }
        )  # fmt: skip
    return answer


def sizes() -> list[Document]:
    """The table of sizes, as the vmSizes API lists it."""
    return [
        {
            "name": size.name, "family": size.family, "vCPUs": size.vcpus, "gpus": size.gpus, "osVhdSizeMB": 1047552, "maxResourceVolumeMB": size.disk,
            "memoryGB": size.memory, "lowPriorityCapable": True, "premiumIO": "s" in size.name.split("_")[1].lower(), "supportedComputeTypes": list(KINDS.values()),
        }
        for size in SIZES
    ]  # fmt: skip


def _size(name: str, target: str) -> Size:
    size = BY_NAME.get(name.lower())
    if size is None:
        raise bad_request(
            target,
            f"The specified VM size '{name}' is not supported. Please choose one of: {', '.join(one.name for one in SIZES)}.",
            "BadRequest",
        )
    return size
