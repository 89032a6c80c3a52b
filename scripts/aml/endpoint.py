"""An online endpoint: read, change without losing what others set, share out its traffic.

A PUT of an endpoint replaces all of it: traffic, mirror traffic, identity and tags that are left out are sent as empty
(microsoft/genaiops-promptflow-template#182 lost a production's traffic that way). So every write here is: read, change, write back,
read again and compare.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

from aml.azure import Client, retrying
from aml.command import Refusal
from aml.workspace import Workspace

Split = dict[str, int]

# What Azure writes and nobody may: it comes with a GET and has no place in a PUT.
_READ_ONLY = ("provisioningState", "scoringUri", "swaggerUri")


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


def broken(endpoint: Mapping[str, Any]) -> bool:
    """Whether Azure gave up on the last change of an endpoint. What is deployed to it may serve all the same."""
    return endpoint["properties"].get("provisioningState") in ("Failed", "Canceled")


def change(client: Client, name: str, edit: Callable[[dict[str, Any]], None]) -> tuple[dict[str, Any], bool]:
    """Read an endpoint, let `edit` change the document, write it if that changed anything or the last write failed, read it back.

    Returns the endpoint and whether it was written. `edit` sees the endpoint as it stands at each attempt: another operation on the
    endpoint is waited for, and may have changed it. Raises Refusal when what comes back is not what was written.
    """

    def attempt() -> tuple[dict[str, Any], bool]:
        found = need(client, name)
        wanted = copy.deepcopy(found)
        edit(wanted)
        if _compared(wanted) == _compared(found) and not broken(found):
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


def describe(split: Split) -> str:
    """A split as an output: JSON with sorted names."""
    return json.dumps(split, sort_keys=True, separators=(",", ":"))


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
