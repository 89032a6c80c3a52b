"""The routes of online endpoints, and what happens to them at start and stop."""

from __future__ import annotations

import asyncio
import shutil

from emulator.core import ARM, Cloud, Handler, Route
from emulator.online import models, responses, rollout
from emulator.online.fleet import fleet
from emulator.online.scoring import score
from emulator.online.serving import socket_folder

_WORKSPACE = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
_ENDPOINTS = _WORKSPACE + "/onlineEndpoints"
_ENDPOINT = _ENDPOINTS + "/{endpoint}"
_DEPLOYMENTS = _ENDPOINT + "/deployments"
_DEPLOYMENT = _DEPLOYMENTS + "/{deployment}"
_HOST = "{endpoint}.{region}.inference.ml.azure.com"
_ANY = "GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS"


def _arm(method: str, path: str, handler: Handler, action: str, doc: str) -> Route:
    return Route(method, ARM, path, handler, action=f"{models.TYPE}/{action}", doc=doc)


ROUTES = [
    _arm("GET", _ENDPOINTS, responses.list_endpoints, "read", "List online endpoints"),
    _arm("GET", _ENDPOINT, responses.get_endpoint, "read", "Read an online endpoint"),
    _arm("PUT", _ENDPOINT, responses.put_endpoint, "write", "Create or replace an online endpoint, its traffic and mirror traffic"),
    _arm("PATCH", _ENDPOINT, responses.patch_endpoint, "write", "Change the tags or identity of an online endpoint"),
    _arm("DELETE", _ENDPOINT, responses.delete_endpoint, "delete", "Delete an online endpoint with its deployments"),
    _arm("POST", _ENDPOINT + "/listKeys", responses.list_keys, "listKeys/action", "Keys of an online endpoint"),
    _arm("POST", _ENDPOINT + "/regenerateKeys", responses.regenerate_keys, "regenerateKeys/action", "Make a new key of an online endpoint"),
    _arm("POST", _ENDPOINT + "/token", responses.get_token, "token/action", "A scoring token of an online endpoint"),
    _arm("GET", _DEPLOYMENTS, responses.list_deployments, "deployments/read", "List online deployments"),
    _arm("GET", _DEPLOYMENT, responses.get_deployment, "deployments/read", "Read an online deployment"),
    _arm("PUT", _DEPLOYMENT, responses.put_deployment, "deployments/write", "Create or replace an online deployment"),
    _arm("PATCH", _DEPLOYMENT, responses.patch_deployment, "deployments/write", "Scale or tag an online deployment"),
    _arm("DELETE", _DEPLOYMENT, responses.delete_deployment, "deployments/delete", "Delete an online deployment"),
    _arm("POST", _DEPLOYMENT + "/getLogs", responses.get_logs, "deployments/getLogs/action", "Container logs of an online deployment"),
    _arm("GET", _DEPLOYMENT + "/skus", responses.list_skus, "deployments/skus/read", "Instance counts of an online deployment"),
    Route(_ANY, _HOST, "/{path:path}", score, auth="none", doc="Score by key or token, and swagger.json"),
]


async def start(cloud: Cloud) -> None:
    """Bring what the last stop interrupted to rest."""
    shutil.rmtree(cloud.home / "sockets", ignore_errors=True)
    models.settle(cloud)
    fleet(cloud).waking = asyncio.ensure_future(rollout.wake(cloud))


async def stop(cloud: Cloud) -> None:
    """End all inference servers; their deployments stay."""
    if waking := fleet(cloud).waking:
        waking.cancel()
    await fleet(cloud).stop()
    shutil.rmtree(socket_folder(cloud.home), ignore_errors=True)
