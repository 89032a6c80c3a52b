"""The operations on deployments: quota, a new revision beside the old one, the switch, and back after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulator.compute import models as compute
from emulator.errors import AzureError
from emulator.online import container, models
from emulator.online.exceptions import failed
from emulator.online.fleet import fleet
from emulator.online.logs import Record
from emulator.online.serving import ContainerError, Server

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
_overridden: set[str] = set()


def folder_of(cloud: Cloud, id: str) -> Path:
    """Where a deployment's revisions are: endpoint names are unique in a region, deployment names in an endpoint."""
    parts = id.split("/")
    region = str(models.workspace_of(cloud, id)["location"])
    return cloud.home / "online" / region / parts[10].lower() / parts[12].lower()


def newest(cloud: Cloud, id: str) -> Path | None:
    """The folder of the last revision that was tried."""
    numbers = _numbers(folder_of(cloud, id))
    return folder_of(cloud, id) / str(numbers[-1]) if numbers else None


async def apply(cloud: Cloud, deployment: Document) -> None:
    """The work of a create or update operation. A failure leaves what served before serving."""
    id, scales = deployment["id"], deployment["properties"]["provisioningState"] == "Scaling"
    try:
        _check_quota(cloud, deployment)
        if not scales:
            await _new_revision(cloud, deployment)
        else:
            fleet(cloud).limit(id, container.limits(deployment))
            _succeed(cloud, deployment)
    except asyncio.CancelledError:
        if id.lower() not in _overridden:
            raise  # the emulator stops; settle() decides at the next start
        models.set_state(cloud, id, "Failed")
        raise failed("OperationCanceled", "Operation was canceled by another operation that has a higher priority.") from None
    except BaseException:
        models.set_state(cloud, id, "Failed")
        raise


async def override(cloud: Cloud, id: str) -> None:
    """End the operation that is changing a deployment: a deletion has the higher priority."""
    operation = cloud.operations.running(id)
    if operation and operation.task:
        _overridden.add(id.lower())
        operation.task.cancel()
        await operation.ended.wait()
        _overridden.discard(id.lower())


async def wake(cloud: Cloud) -> None:
    """Bring back every deployment that served before the emulator was restarted, one after the other, those with traffic first."""
    share = {
        f"{endpoint['id']}/deployments/{name}".lower(): part
        for endpoint in cloud.store.list("online_endpoint")
        for name, part in (endpoint["properties"].get("traffic") or {}).items()
    }
    served = [each for each in cloud.store.list("online_deployment") if cloud.store.exists(f"{each['id']}/revision")]
    for deployment in sorted(served, key=lambda each: -share.get(each["id"].lower(), 0)):
        with contextlib.suppress(Exception):  # whoever calls it is told why it does not start
            await running(cloud, deployment)


async def running(cloud: Cloud, deployment: Document) -> Server:
    """The server of a deployment that has served before; after a restart of the emulator the first call need not wait for its turn."""

    async def bring_back() -> Server:
        launch = cloud.store.need(f"{deployment['id']}/revision")
        server = await container.server(cloud, deployment, launch)
        await server.start()
        return server

    return await fleet(cloud).get(deployment["id"], bring_back)


async def remove(cloud: Cloud, id: str) -> None:
    """End a deployment's server and remove its files and its documents."""
    folder = folder_of(cloud, id)
    await fleet(cloud).stop(id)
    await asyncio.to_thread(shutil.rmtree, folder, True)
    cloud.store.delete_under(id)


def _succeed(cloud: Cloud, deployment: Document) -> None:
    deployment["properties"]["provisioningState"] = "Succeeded"
    cloud.store.put(deployment["id"], "online_deployment", deployment)


async def _new_revision(cloud: Cloud, deployment: Document) -> None:
    id = deployment["id"]
    parent = folder_of(cloud, id)
    before = _numbers(parent)
    folder = parent / str(before[-1] + 1 if before else 1)
    folder.mkdir(parents=True)
    record = Record(folder)
    record.step("SystemSetup", "Succeeded")
    launch = await container.prepare(cloud, deployment, folder, record)
    server = await container.server(cloud, deployment, launch)
    try:
        await server.start()
    except ContainerError as problem:
        raise failed("ResourceNotReady", str(problem)) from problem
    with cloud.store.transaction():  # a restart brings back the one with the other
        cloud.store.put(f"{id}/revision", "online_revision", launch)
        _succeed(cloud, deployment)
    await fleet(cloud).replace(id, server)
    for number in before:
        await asyncio.to_thread(shutil.rmtree, parent / str(number), True)


def _check_quota(cloud: Cloud, deployment: Document) -> None:
    """OutOfQuota where the region's quota for the VM family does not hold the deployment.

    The service reserves a fifth more than was asked for: ceil(1.2 x instances) x cores
    (https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas#virtual-machine-quota-allocation-for-deployment).
    """
    kind, subscription = deployment["properties"]["instanceType"], deployment["id"].split("/")[2]
    try:
        family = compute.vm_size(kind)["family"]
    except AzureError as error:
        raise failed("BadArgument", f"The VM size '{kind}' is not supported for managed online endpoints.") from error
    limit, used = compute.quota(cloud, subscription, deployment["location"], family)
    now = cloud.store.need(deployment["id"])  # counted already, with what it had before
    if now["properties"]["provisioningState"] != "Failed":
        used -= compute.deployment_cores(now["properties"]["instanceType"], now["sku"]["capacity"])
    needed = compute.deployment_cores(kind, deployment["sku"]["capacity"])
    if needed > limit - used:
        raise failed(
            "OutOfQuota",
            f"Not enough quota available for {kind} in SubscriptionId {subscription}. "
            f"Current usage/limit: {used}/{limit}. Additional needed: {needed}",
        )


def _numbers(folder: Path) -> list[int]:
    return sorted(int(one.name) for one in folder.iterdir()) if folder.is_dir() else []
