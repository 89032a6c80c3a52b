"""One deployment of an online endpoint: what it is made from, whether it fits the quota, and why it failed."""

from __future__ import annotations

import ast
import math
import re
import time
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, HttpResponseError

from aml import blobs, ci, command, digest
from aml.azure import Client
from aml.command import LimitReached, Refusal
from aml.endpoint import tags
from aml.quota import Room
from aml.workspace import Workspace

BUNDLE = "bundle_id"  # tag: the bundle that it was made from
LIMIT_MINUTES = 60
LOG_LINES = 200  # fetched of each container's log

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{2,31}")  # "Online deployment YAML schema"; and nothing else belongs into an address
_CHANGING = ("Creating", "Updating", "Scaling", "Deleting")
_NO_RESERVE = (
    "standard_nc24ads_a100_v4",
    "standard_nc48ads_a100_v4",
    "standard_nc96ads_a100_v4",
    "standard_nc40ads_h100_v5",
    "standard_nc80adis_h100_v5",
    "standard_nd96amsr_a100_v4",
    "standard_nd96asr_v4",
    "standard_nd40rs_v2",
    "standard_nd96is_h100_v5",
    "standard_nd96isr_h100_v5",
)


def need(client: Client, name: str, deployment: str, bundle_id: str = "") -> dict[str, Any]:
    """A deployment that serves and came from a bundle; from `bundle_id`, if that is given. Raises Refusal for any other."""
    found = client.find(f"onlineEndpoints/{name}/deployments/{deployment}") if _NAME.fullmatch(deployment) else None
    if found is None:
        why = "it failed, was deleted, or was never made"
        raise Refusal(f"endpoint {name} has no deployment {deployment!r}", why, "run deploy_online first")
    if (state := found["properties"].get("provisioningState")) != "Succeeded":
        raise Refusal(f"deployment {deployment} of endpoint {name} is {state}", "it can't take requests", "run deploy_online again")
    if BUNDLE not in tags(found):
        raise Refusal(f"deployment {deployment} came from no bundle", f"it has no tag {BUNDLE}", "make it with deploy_online")
    if bundle_id and tags(found)[BUNDLE] != bundle_id:
        raise Refusal(
            f"deployment {deployment} is not of bundle {bundle_id}",
            f"it came from {tags(found)[BUNDLE]}",
            "name the deployment that deploy_online made of this bundle",
        )
    return found


def arguments(to: ArgumentParser) -> None:
    """Add `--deployment-name` and `--bundle-id`."""
    command.argument(to, "--deployment-name", required=True, help="Name of the deployment, an output of deploy_online.")
    command.argument(to, "--bundle-id", default="", help="Id of the bundle that the deployment has to be of; empty for any.")


def at_a_time(deployment: Mapping[str, Any]) -> int:
    """Requests that a deployment works on at once; more than twice as many are refused with 429."""
    settings = deployment["properties"].get("requestSettings") or {}
    return int(settings.get("maxConcurrentRequestsPerInstance") or 1) * int((deployment.get("sku") or {}).get("capacity") or 1)


def settled(client: Client, path: str) -> dict[str, Any] | None:
    """A deployment once nothing is under way on it, or None: an earlier run that was killed may have left one being created."""
    ends, pause = time.monotonic() + 60 * LIMIT_MINUTES, 1.0
    while True:
        found = client.find(path)
        state = found["properties"].get("provisioningState") if found else None
        if state not in _CHANGING:
            return found
        if time.monotonic() > ends:
            raise LimitReached(f"{path} is still {state} after {LIMIT_MINUTES} minutes", "Azure has not finished", "run this again later")
        ci.say(f"{path.rpartition('/')[2]} is {state}; waiting for the end of it")
        time.sleep(pause)
        pause = min(1.5 * pause, 15)


def machine(at: Workspace, file: str) -> tuple[str, int]:
    """(size, number of instances): the workspace spec's, or else the deployment file's."""
    import yaml

    declared = yaml.safe_load((at.project / file).read_text(encoding="utf-8"))
    size = at.instance_type or declared.get("instance_type")
    if not size:
        raise Refusal(f"{file} names no instance_type", "a managed deployment runs on machines of one size", "set instance_type in it")
    return str(size), at.instance_count or int(declared.get("instance_count") or 1)


def scoring_files(project: Path, deployment_file: str) -> tuple[str, str] | None:
    """(folder relative to the project, script inside it) of a deployment's scoring code; None for an MLflow model that needs none.

    Raises Refusal when the deployment's file names code outside the project or a script that is not there.
    """
    import yaml

    path = project / deployment_file
    code = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("code_configuration")
    if not code:
        return None
    folder = (path.parent / str(code["code"])).resolve()
    script = str(code["scoring_script"])
    if not folder.is_relative_to(project.resolve()):
        raise Refusal(f"{deployment_file} takes its code from {folder}", "that is outside the project", "keep scoring code in the project")
    if not (folder / script).is_file():
        what = f"{deployment_file} names the scoring script {script}"
        raise Refusal(what, f"there is no such file in {folder}", "correct code_configuration")
    return folder.relative_to(project.resolve()).as_posix(), script


def upload_code(client: Client, project: Path, document: dict[str, Any], script: str) -> str:
    """The id of the code version with the bundle's scoring code, uploaded if it is not there yet."""
    folder = project / document["code"]["path"]
    check_syntax(folder / script)
    hex_digest = document["code"]["digest"].removeprefix("sha256:")
    path = f"codes/{hex_digest[:32]}/versions/1"
    if (found := client.find(path)) is None:
        pending = client.post(f"{path}/startPendingUpload", {"pendingUploadType": "TemporaryBlobReference"})
        reference = pending["blobReferenceForConsumption"]
        blobs.write_tree(blobs.signed(reference["credential"]["sasUri"]), folder.name, folder, digest.files_of(folder))
        properties = {"codeUri": f"{reference['blobUri'].rstrip('/')}/{folder.name}", "properties": {"digest": document["code"]["digest"]}}
        found = client.put(path, {"properties": properties})
        ci.say(f"created  code {folder.name} ({document['code']['digest']})")
    return str(found["id"])


def check_syntax(script: Path) -> None:
    """Raises Refusal at the line of a scoring script that is no Python, before minutes are spent on starting it."""
    try:
        ast.parse(script.read_bytes(), str(script))
    except SyntaxError as error:
        ci.error(f"{error.msg}: {(error.text or '').strip()}", script, error.lineno or 0, error.offset or 0)
        what = f"the scoring script {script.name} has a syntax error in line {error.lineno}"
        raise Refusal(what, error.msg, "correct the script") from None


def reserved(size: str, instances: int) -> int:
    """Instances of a size that Azure reserves quota for: a fifth more than asked, to upgrade them, but for the sizes that it exempts.

    Sources: "Manage and increase quotas" and "Managed online endpoints SKU list" (learn.microsoft.com/azure/machine-learning).
    """
    # In integers: 1.2 * 15 is 18.000000000000004 in floating point.
    return instances if size.lower() in _NO_RESERVE else math.ceil(12 * instances / 10)


def check_quota(room: Room, instances: int, standing: int = 0) -> str:
    """One line on whether so many instances, of which some stand already, fit the quota. Raises Refusal when they don't."""
    cores = (reserved(room.size, instances) - reserved(room.size, standing)) * room.cores
    says = f"{instances} x {room.size} need {cores} {'more ' if standing else ''}cores, and {room}"
    if not room.holds(cores):
        why = "Azure reserves a fifth more instances than asked for, to upgrade them"
        raise Refusal(f"the quota does not suffice: {says}", why, FIXES["OutOfQuota"])
    return says


def failure_class(code: str, message: str) -> tuple[str, str]:
    """(class, fix) of a deployment that failed, from what Azure says about it.

    Source: "Troubleshoot online endpoint deployment", common deployment errors (learn.microsoft.com/azure/machine-learning).
    """
    for name, fix in FIXES.items():
        if name.lower() in f"{code} {message}".lower():
            return name, fix
    if re.search(r"quota", message, re.IGNORECASE):
        return "OutOfQuota", FIXES["OutOfQuota"]
    return code or "Unknown", "read the message and the logs above"


FIXES = {
    "ImageBuildFailure": "correct the environment (its image, its conda file), register and seal anew; the build log above says which line",
    "OutOfQuota": "ask for more quota, use a smaller instance_type or instance_count in the workspace spec, or delete what is unused",
    "SecretsInjectionError": "let the endpoint's identity read the connection or key vault that the deployment's secrets come from",
    "WorkspaceManagedNetworkNotReady": "provision the workspace's managed network, then run this again",
    "ResourceNotReady": "correct the scoring script: init() must load the model and end; the container's log above says where it stopped",
    "ResourceNotFound": "check that the model, the environment and the container registry exist and the endpoint's identity may read them",
    "OperationCanceled": "another operation on the endpoint went first; run this again",
    "BadArgument": "correct the deployment's YAML: the message names the setting",
}


def build_log(message: str) -> tuple[str, str, str] | None:
    """(account, container, path) of the image build log that Azure's message points to, or None."""
    quoted = r"[\"'`\[]+([^\"'`\]]+)[\"'`\]]+"
    found = re.search(rf"storage account {quoted} in the container {quoted} at the path {quoted}", message)
    return (found[1], found[2], found[3]) if found else None


def logs(client: Client, path: str, message: str, credential: TokenCredential) -> dict[str, str]:
    """{title: text} of what a failed deployment left: the log of each container, and of the image's build if Azure points to one."""
    found = {}
    for title, container in (("storage-initializer", "StorageInitializer"), ("inference-server", "InferenceServer")):
        try:
            found[title] = str(client.post(f"{path}/getLogs", {"containerType": container, "tail": LOG_LINES}).get("content") or "")
        except AzureError as error:  # it may have failed before there was a container; why it failed must not be lost over that
            found[title] = f"Azure gives no log of it: {error.message}"
    if place := build_log(message):
        account, container, blob = place
        try:
            for store in client.list("datastores"):
                if (store["properties"].get("accountName"), store["properties"].get("containerName")) == (account, container):
                    found["image-build"] = blobs.read(blobs.datastore(client, store["name"], credential), blob).decode("utf-8", "replace")
                    break
        except (AzureError, Refusal) as error:
            found["image-build"] = f"The log {blob} in container {container} of {account} can't be read: {error}"
    return {title: text for title, text in found.items() if text.strip()}


def explained(error: HttpResponseError) -> tuple[str, str]:
    """(code, message) of a failed operation, the innermost ones that Azure gives."""
    found: Any = error.error
    code, message = str(getattr(found, "code", "") or ""), str(getattr(found, "message", "") or error.message)
    for detail in getattr(found, "details", None) or []:
        message = f"{message} {detail.code}: {detail.message}"
    return code, message
