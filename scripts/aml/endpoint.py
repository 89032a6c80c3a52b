"""An online endpoint and its deployments: read, change without losing what others set, share out the traffic.

A PUT of an endpoint replaces all of it: traffic, mirror traffic, identity and tags that are left out are sent as empty
(microsoft/genaiops-promptflow-template#182 lost a production's traffic that way). So every write here is: read, change, write back,
read again and compare.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aml.azure import Client, retrying
from aml.command import Refusal
from aml.workspace import Workspace

Split = dict[str, int]

PREVIOUS = "previous_traffic"  # tag: the split before the last finished rollout, what roll_back goes back to
FROM, TO, RUN = "rollout_from", "rollout_to", "rollout_run"  # tags while a rollout is under way
ROLLED_BACK = "rolled_back_from"  # tag: the split that the last roll_back left
BUNDLE = "bundle_id"  # tag of a deployment

# What Azure writes and nobody may: it comes with a GET and has no place in a PUT.
_READ_ONLY = ("provisioningState", "scoringUri", "swaggerUri")


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


def name_of(workspace: Workspace, endpoint_file: str) -> str:
    """The endpoint's name: the workspace spec's, since names are unique in a region, or else the endpoint file's."""
    import yaml

    if workspace.endpoint_name:
        return workspace.endpoint_name
    return str(yaml.safe_load((workspace.project / endpoint_file).read_text(encoding="utf-8"))["name"])


def find(client: Client, name: str) -> dict[str, Any] | None:
    """The endpoint as it stands, or None."""
    return client.find(f"onlineEndpoints/{name}")


def need(client: Client, name: str) -> dict[str, Any]:
    """The endpoint as it stands. Raises Refusal when there is none."""
    if (found := find(client, name)) is None:
        raise Refusal(f"there is no endpoint {name} in this workspace", "nothing was deployed to it yet", "run deploy_online first")
    return found


def need_deployment(client: Client, name: str, deployment: str) -> dict[str, Any]:
    """A deployment that serves and came from a bundle. Raises Refusal when it is missing, not ready or made otherwise."""
    found = client.find(f"onlineEndpoints/{name}/deployments/{deployment}")
    if found is None:
        raise Refusal(f"endpoint {name} has no deployment {deployment}", "it failed, was deleted, or was never made", "run deploy_online first")
    if (state := found["properties"].get("provisioningState")) != "Succeeded":
        raise Refusal(f"deployment {deployment} of endpoint {name} is {state}", "it can't take requests", "run deploy_online again")
    if BUNDLE not in tags(found):
        raise Refusal(f"deployment {deployment} came from no bundle", f"it has no tag {BUNDLE}", "make it with deploy_online")
    return found


def at_a_time(deployment: Mapping[str, Any]) -> int:
    """Requests that a deployment works on at once; more than twice as many are refused with 429."""
    settings = deployment["properties"].get("requestSettings") or {}
    return int(settings.get("maxConcurrentRequestsPerInstance") or 1) * int((deployment.get("sku") or {}).get("capacity") or 1)


def deployments(client: Client, name: str) -> dict[str, dict[str, Any]]:
    """All deployments of an endpoint by name."""
    return {found["name"]: found for found in client.list(f"onlineEndpoints/{name}/deployments")}


def traffic(endpoint: Mapping[str, Any]) -> Split:
    """Percent of the traffic by deployment, without those that get none."""
    return _given(endpoint["properties"].get("traffic"))


def mirrored(endpoint: Mapping[str, Any]) -> Split:
    """Percent of the traffic that is copied to a deployment, without those that get none."""
    return _given(endpoint["properties"].get("mirrorTraffic"))


def tags(endpoint: Mapping[str, Any]) -> dict[str, str]:
    """An endpoint's or a deployment's tags."""
    return dict(endpoint.get("tags") or {})


def change(client: Client, name: str, edit: Callable[[dict[str, Any]], None]) -> tuple[dict[str, Any], bool]:
    """Read an endpoint, let `edit` change the document, write it if that changed anything, read it back.

    Returns the endpoint and whether it was written. `edit` sees the endpoint as it stands at each attempt: another operation on the
    endpoint is waited for, and may have changed it. Raises Refusal when what comes back is not what was written.
    """

    def attempt() -> tuple[dict[str, Any], bool]:
        found = need(client, name)
        wanted = copy.deepcopy(found)
        edit(wanted)
        if _compared(wanted) == _compared(found):
            return found, False
        client.put(f"onlineEndpoints/{name}", writable(wanted))
        back = need(client, name)
        if differing := [part for part, value in _compared(wanted).items() if _compared(back)[part] != value]:
            raise Refusal(
                f"endpoint {name} does not show what was written to it: {', '.join(differing)}",
                "somebody else changed it at the same moment, or Azure refused a part without saying so",
                "look at the endpoint, make sure that nobody else is writing to it, and run this again",
            )
        return back, True

    return retrying(attempt)


def writable(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    """An endpoint as a PUT wants it: everything it has, without what only Azure may set."""
    body = {key: copy.deepcopy(endpoint[key]) for key in ("location", "tags", "kind", "sku", "identity", "properties") if endpoint.get(key)}
    body["properties"] = {key: value for key, value in endpoint["properties"].items() if key not in _READ_ONLY}
    if identity := body.get("identity"):
        for given in ("principalId", "tenantId"):
            identity.pop(given, None)
        if users := identity.get("userAssignedIdentities"):
            identity["userAssignedIdentities"] = {user: {} for user in users}
    return body


def advanced(origin: Split, to: str, percent: int) -> Split:
    """The split in which `to` gets `percent` of the traffic and the deployments of `origin` share the rest as they did before.

    Whole percents; what rounding leaves over goes to the largest share. Without another deployment `to` gets everything.
    """
    others = {name: share for name, share in origin.items() if name != to and share > 0}
    if not others or percent >= 100:
        return {to: 100}
    rest, whole = 100 - percent, sum(others.values())
    split = {name: share * rest // whole for name, share in others.items()}
    split[max(others, key=lambda name: (others[name], name))] += rest - sum(split.values())
    return _given({**split, to: percent})


def shown(split: Split) -> str:
    """A split as people and tags write it: `d-1=90 d-2=10`; `none` for an empty one."""
    return " ".join(f"{name}={share}" for name, share in sorted(split.items(), key=lambda item: (-item[1], item[0]))) or "none"


def parsed(text: str) -> Split:
    """The split that `shown` wrote."""
    return {} if text == "none" else {name: int(share) for name, share in (part.rsplit("=", 1) for part in text.split())}


def reserved(size: str, instances: int) -> int:
    """Instances of a size that Azure reserves quota for: a fifth more than asked, to upgrade them, but for the sizes that it exempts.

    Sources: "Manage and increase quotas" and "Managed online endpoints SKU list" (learn.microsoft.com/azure/machine-learning).
    """
    # In integers: 1.2 * 15 is 18.000000000000004 in floating point.
    return instances if size.lower() in _NO_RESERVE else math.ceil(12 * instances / 10)


def check_quota(client: Client, at: Workspace, location: str, size: str, instances: int) -> str:
    """One line on whether new instances fit the quota. Raises Refusal when Azure has no such size here, or they don't fit."""
    region = f"/subscriptions/{at.subscription_id}/providers/Microsoft.MachineLearningServices/locations/{location}"
    found = next((entry for entry in client.list(f"{region}/vmSizes") if entry["name"].lower() == size.lower()), None)
    if found is None:
        raise Refusal(f"there is no machine {size} in {location}", "Azure ML does not list it", "correct instance_type, or use another region")
    cores = reserved(size, instances) * int(found["vCPUs"])
    for usage in client.list(f"{region}/usages"):
        if usage["name"]["value"].lower() == str(found["family"]).lower():
            free = int(usage["limit"]) - int(usage["currentValue"])
            says = f"{instances} x {size} need {cores} cores of {found['family']}, {free} of {usage['limit']} are free"
            if cores > free and int(usage["limit"]) >= 0:
                raise Refusal(f"the quota does not suffice: {says}", "Azure reserves a fifth more instances than asked for", FIXES["OutOfQuota"])
            return says
    return f"{instances} x {size} need {cores} cores of {found['family']}; Azure shows no quota of that family, so this was not checked"


def invoke_url(endpoint: Mapping[str, Any]) -> str:
    """Where requests are sent."""
    return str(endpoint["properties"]["scoringUri"])


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


def describe(split: Split) -> str:
    """A split as an output: JSON with sorted names."""
    return json.dumps(split, sort_keys=True, separators=(",", ":"))


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
        raise Refusal(f"{deployment_file} names the scoring script {script}", f"there is no such file in {folder}", "correct code_configuration")
    return folder.relative_to(project.resolve()).as_posix(), script


def _given(split: Mapping[str, int] | None) -> Split:
    return {name: int(share) for name, share in (split or {}).items() if int(share) > 0}


def _compared(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    properties = endpoint["properties"]
    identity = endpoint.get("identity") or {}
    return {
        "traffic": traffic(endpoint),
        "mirror traffic": mirrored(endpoint),
        "tags": tags(endpoint),
        "description": properties.get("description") or "",
        "public network access": properties.get("publicNetworkAccess") or "Enabled",
        "auth mode": str(properties.get("authMode") or "").lower(),
        "identity": (identity.get("type"), sorted(identity.get("userAssignedIdentities") or {})),
    }
