"""Computes: clusters and instances, from the request to the state they are in.

Source: https://learn.microsoft.com/rest/api/azureml/compute. What they cost in quota is in ``quota``, whose functions others find here too.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from emulator.compute.quota import check_compute_quota, node_count, running_jobs, size_of
from emulator.compute.quota import deployment_cores as deployment_cores
from emulator.compute.quota import quota as quota
from emulator.compute.quota import usages as usages
from emulator.compute.quota import vm_size as vm_size
from emulator.compute.sizes import SIZES, Size
from emulator.core import Cloud, Principal
from emulator.errors import AzureError, bad_request
from emulator.workspaces.models import TYPE, check_location, system_data

Document = dict[str, Any]

KINDS = {"amlcompute": "AmlCompute", "computeinstance": "ComputeInstance"}


def nodes(cloud: Cloud, compute: Document) -> list[Document]:
    """The nodes of a cluster, as ``listNodes`` shows them: running ones with their job, then idle ones."""
    runs = [name for name, count in running_jobs(cloud, compute["id"]) for _ in range(count)]
    return [
        {
            "nodeId": f"tvmps_{uuid.uuid5(uuid.NAMESPACE_URL, compute['id'] + str(at)).hex}_d",
            "privateIpAddress": f"10.0.0.{4 + at}",
            "publicIpAddress": None,
            "port": 50000 + at,
            "nodeState": "running" if at < len(runs) else "idle",
            "runId": runs[at] if at < len(runs) else None,
        }
        for at in range(node_count(cloud, compute))
    ]


def show(cloud: Cloud, compute: Document) -> Document:
    """The document as a read gives it: with the nodes that a cluster has at this moment."""
    if compute["properties"]["computeType"] != "AmlCompute":
        return compute
    count, busy = node_count(cloud, compute), sum(number for _, number in running_jobs(cloud, compute["id"]))
    compute["properties"]["properties"].update(
        currentNodeCount=count,
        targetNodeCount=count,
        allocationState="Steady",
        nodeStateCounts={
            "idleNodeCount": max(0, count - busy),
            "runningNodeCount": min(busy, count),
            "preparingNodeCount": 0,
            "unusableNodeCount": 0,
            "leavingNodeCount": 0,
            "preemptedNodeCount": 0,
        },
    )
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
            f"The compute name '{name}' is invalid: {lowest} to {highest} letters, digits and '-', a letter first, no '-' last.",
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
    size = size_of(str(inner.get("vmSize", "")), "properties.properties.vmSize")
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
        "id": id,
        "name": name,
        "type": f"{TYPE}/computes",
        "location": location,
        "tags": body.get("tags") or {},
        "identity": body.get("identity"),
        "properties": {
            "computeType": kind,
            "computeLocation": location,
            "description": outer.get("description"),
            "resourceId": None,
            "createdOn": old["properties"]["createdOn"] if old else now,
            "modifiedOn": now,
            "isAttachedCompute": False,
            "disableLocalAuth": bool(outer.get("disableLocalAuth")),
            "provisioningErrors": None,
            "provisioningState": "Updating" if old else "Creating",
            "properties": special,
        },
        "systemData": system_data(cloud, principal, (old or {}).get("systemData")),
    }


def _cluster(size: Size, inner: Document, name: str) -> Document:
    scale = {"minNodeCount": 0, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT120S", **(inner.get("scaleSettings") or {})}
    lowest, highest = scale["minNodeCount"], scale["maxNodeCount"]
    if not isinstance(lowest, int) or not isinstance(highest, int) or lowest < 0 or highest < 1 or lowest > highest:
        raise bad_request(
            "properties.properties.scaleSettings",
            f"The scale of compute '{name}' is invalid: 0 <= minNodeCount ({lowest}) <= maxNodeCount ({highest}), and maxNodeCount >= 1.",
            "ValidationError",
        )
    return {
        "osType": "Linux",
        "vmPriority": "Dedicated",
        "remoteLoginPortPublicAccess": "NotSpecified",
        "isolatedNetwork": False,
        "enableNodePublicIp": True,
        "errors": None,
        **inner,
        "vmSize": size.name,
        "scaleSettings": scale,
    }


def _instance(size: Size, inner: Document, principal: Principal | None, old: Document | None) -> Document:
    before = old["properties"]["properties"] if old else {}
    return {
        "applicationSharingPolicy": "Shared",
        "computeInstanceAuthorizationType": "personal",
        "sshSettings": {"sshPublicAccess": "Disabled"},
        "enableNodePublicIp": True,
        "errors": [],
        **before,
        **inner,
        "vmSize": size.name,
        "state": before.get("state", "Creating"),
        "createdBy": {
            "userId": principal.oid if principal else None,
            "userOrgId": principal.tenant if principal else None,
            "userName": None,
        },
    }


async def provision(cloud: Cloud, id: str) -> None:
    """Bring a compute to Succeeded, or to Failed with the service's reason when the quota does not hold it."""
    document = cloud.store.need(id)
    try:
        check_compute_quota(cloud, document)
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


async def resume(cloud: Cloud) -> None:
    """Go on where a stop of the emulator cut a creation, a change of state or a deletion off."""
    verbs = {passing: verb for verb, (_, passing, _) in TRANSITIONS.items()}
    for document in cloud.store.list("compute"):
        id, outer = document["id"], document["properties"]
        if outer["provisioningState"] == "Deleting":
            cloud.store.delete(id)
        elif outer["provisioningState"] in ("Creating", "Updating"):
            cloud.operations.start(id, "compute", provision(cloud, id), location=document["location"])
        elif verb := verbs.get(outer["properties"].get("state")):
            cloud.operations.start(id, "compute", end_transition(cloud, id, verb), location=document["location"])


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
            check_compute_quota(cloud, document)
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


def sizes() -> list[Document]:
    """The table of sizes, as the vmSizes API lists it."""
    return [
        {
            "name": size.name,
            "family": size.family,
            "vCPUs": size.vcpus,
            "gpus": size.gpus,
            "osVhdSizeMB": 1047552,
            "maxResourceVolumeMB": size.disk,
            "memoryGB": size.memory,
            "lowPriorityCapable": True,
            "premiumIO": "s" in size.name.split("_")[1].lower(),
            "supportedComputeTypes": list(KINDS.values()),
        }
        for size in SIZES
    ]
