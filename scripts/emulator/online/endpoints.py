"""Online endpoints: what ARM holds of them, the rules for their traffic, and the operations that change them.

https://learn.microsoft.com/rest/api/azureml/online-endpoints; traffic
https://learn.microsoft.com/azure/machine-learning/how-to-safely-rollout-online-endpoints.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulator.core import TENANT, Cloud, Principal
from emulator.online import models as shared
from emulator.online.exceptions import failed, invalid, name_taken, not_emulated
from emulator.workspaces.models import check_location, system_data

if TYPE_CHECKING:
    from emulator.operations import Operation

Document = dict[str, Any]

AUTH_MODES = {"key": "Key", "amltoken": "AMLToken", "aadtoken": "AADToken"}


def put(cloud: Cloud, workspace: Document, name: str, body: Any, caller: Principal | None) -> tuple[Document, Operation, bool]:
    """Create or replace an endpoint: what the body leaves out is empty afterwards. The answer, its operation, whether it is new."""
    id = f"{workspace['id']}/onlineEndpoints/{name}"
    old = cloud.store.get(id)
    name = old["name"] if old else name
    shared.refuse_while_running(cloud, id)
    properties = shared.properties_of(body)
    shared.check_name("Name", name, "endpoint")
    _check(cloud, workspace, id, name, body, properties, new=old is None)
    document = _document(cloud, workspace, name, body, properties, caller)
    if old is None:
        cloud.store.put(f"onlinenames/{workspace['location']}/{name}", "online_name", {"endpoint": id})
        given = properties.get("keys") or {}
        keys = {"primaryKey": given.get("primaryKey") or _random_key(), "secondaryKey": given.get("secondaryKey") or _random_key()}
        cloud.store.put(f"{id}/keys", "online_keys", {**keys, "tokenSecret": _random_key()})
        cloud.store.put(id, "online_endpoint", {**document, "properties": {**document["properties"], "provisioningState": "Creating"}})
    else:
        shared.set_state(cloud, id, "Updating")

    async def work() -> None:
        cloud.store.put(id, "online_endpoint", {**document, "properties": {**document["properties"], "provisioningState": "Succeeded"}})

    operation = cloud.operations.start(id, "onlineEndpoint", work(), location=workspace["location"])
    document["properties"]["properties"]["AzureAsyncOperationUri"] = shared.status_uri(operation, workspace)
    document["properties"]["provisioningState"] = "Updating" if old else "Creating"
    return document, operation, old is None


def patch(cloud: Cloud, workspace: Document, name: str, body: Any, caller: Principal | None) -> tuple[Document, Operation]:
    """Change tags and identity; all else stays (PartialMinimalTrackedResourceWithIdentity)."""
    id = f"{workspace['id']}/onlineEndpoints/{name}"
    document = cloud.store.need(id)
    shared.refuse_while_running(cloud, id)
    if not isinstance(body, dict):
        raise invalid("body", "A JSON object is expected.")
    if body.get("tags") is not None:
        document["tags"] = shared.texts("Tags", body["tags"])
    if body.get("identity") is not None:
        document["identity"] = _identity(cloud, workspace, document["name"], id, body["identity"])
    document["systemData"] = system_data(cloud, caller, document["systemData"])
    shared.set_state(cloud, id, "Updating")

    async def work() -> None:
        cloud.store.put(id, "online_endpoint", document)

    return shared.with_state(document, "Updating"), cloud.operations.start(id, "onlineEndpoint", work(), location=workspace["location"])


def set_keys(cloud: Cloud, id: str, which: str, value: str | None) -> None:
    """A new primary or secondary key: the given one; a random one where none is given, or the present one, as azure-ai-ml does."""
    keys = cloud.store.need(f"{id}/keys")
    name = f"{which.lower()}Key"
    if name not in ("primaryKey", "secondaryKey"):
        raise invalid("KeyType", f"'{which}' is not a key type; it is Primary or Secondary.")
    keys[name] = value if value and value != keys[name] else _random_key()
    cloud.store.put(f"{id}/keys", "online_keys", keys)


def _document(cloud: Cloud, workspace: Document, name: str, body: Document, properties: Document, caller: Principal | None) -> Document:
    id, location = f"{workspace['id']}/onlineEndpoints/{name}", workspace["location"]
    old = cloud.store.get(id) or {}
    address = f"https://{name.lower()}.{location}.inference.ml.azure.com"
    given = shared.texts("Properties", properties.get("properties"))
    return {
        "id": id,
        "name": name,
        "type": shared.TYPE,
        "kind": "Managed",
        "location": location,
        "tags": shared.texts("Tags", body.get("tags")),
        "identity": _identity(cloud, workspace, name, id, body.get("identity")),
        "properties": {
            "authMode": _auth_mode(properties),
            "description": properties.get("description"),
            "traffic": _shares("Traffic", properties.get("traffic")),
            "mirrorTraffic": _shares("MirrorTraffic", properties.get("mirrorTraffic")),
            "publicNetworkAccess": properties.get("publicNetworkAccess") or "Enabled",
            "properties": {**given, "azureml.onlineendpointid": id.lower()},
            "keys": None,
            "scoringUri": f"{address}/score",
            "swaggerUri": f"{address}/swagger.json",
            "provisioningState": "Creating",
        },
        "systemData": system_data(cloud, caller, old.get("systemData")),
    }


def _check(cloud: Cloud, workspace: Document, id: str, name: str, body: Document, properties: Document, new: bool) -> None:
    if check_location(body.get("location"), shared.TYPE) != workspace["location"]:
        raise invalid("Location", f"The location of the endpoint must be that of its workspace, '{workspace['location']}'.")
    if properties.get("compute") or str(body.get("kind") or "Managed").lower() in ("k8s", "kubernetes"):
        raise not_emulated("Kubernetes online endpoints (properties.compute)")
    _auth_mode(properties)
    if new:
        if shared.endpoint_at(cloud, workspace["location"], name):
            raise name_taken(name)
        subscription = "/".join(id.split("/")[:3])
        if len(shared.in_region(cloud, "online_endpoint", subscription, workspace["location"])) >= shared.ENDPOINTS_A_REGION:
            raise failed(
                "OutOfQuota",
                f"Not enough endpoint quota. The maximum number of endpoints per subscription and region is {shared.ENDPOINTS_A_REGION}.",
            )
    _check_traffic(cloud, id, _shares("Traffic", properties.get("traffic")), _shares("MirrorTraffic", properties.get("mirrorTraffic")))


def _check_traffic(cloud: Cloud, id: str, traffic: Mapping[str, int], mirror: Mapping[str, int]) -> None:
    """The rules of https://learn.microsoft.com/azure/machine-learning/how-to-safely-rollout-online-endpoints."""
    for field, shares in (("Traffic", traffic), ("MirrorTraffic", mirror)):
        for name, share in shares.items():
            found = cloud.store.get(f"{id}/deployments/{name}")
            if found is None:
                raise invalid(field, f"Deployment [{name}] does not exist under this endpoint.")
            if share and found["properties"]["provisioningState"] == "Deleting":
                raise invalid(field, f"Deployment [{name}] is being deleted.")
            if share and not cloud.store.exists(f"{found['id']}/revision"):
                raise invalid(field, f"Specified deployment [{name}] has not been created successfully, so it cannot take traffic.")
    if sum(traffic.values()) not in (0, 100):
        raise invalid("Traffic", f"The sum of traffic percentages must be either 0 or 100, but it is {sum(traffic.values())}.")
    mirrored = {name: share for name, share in mirror.items() if share}
    if len(mirrored) > 1:
        raise invalid("MirrorTraffic", "Traffic can be mirrored to one deployment only.")
    if sum(mirrored.values()) > 50:
        raise invalid("MirrorTraffic", f"At most 50 percent of the traffic can be mirrored, but it is {sum(mirrored.values())}.")
    live = {name.lower() for name, share in traffic.items() if share}
    if both := [name for name in mirrored if name.lower() in live]:
        raise invalid("MirrorTraffic", f"Deployment [{both[0]}] has live traffic and cannot be set to receive mirror traffic as well.")


def _shares(field: str, value: Any) -> dict[str, int]:
    if value is None:
        return {}
    if not isinstance(value, dict) or any(
        isinstance(share, bool) or not isinstance(share, int) or not 0 <= share <= 100 for share in value.values()
    ):
        raise invalid(field, "A share of traffic is a whole number from 0 to 100 for each deployment name.")
    return dict(value)


def _auth_mode(properties: Document) -> str:
    mode = str(properties.get("authMode") or "").lower()
    if mode not in AUTH_MODES:
        raise invalid(
            "AuthMode", f"'{properties.get('authMode')}' is not an authentication mode; it is one of {', '.join(AUTH_MODES.values())}."
        )
    return AUTH_MODES[mode]


def _identity(cloud: Cloud, workspace: Document, name: str, id: str, given: Any) -> Document:
    from emulator.entra.models import create_managed_identity

    kind = str((given or {}).get("type") or "None").replace(" ", "")
    kinds = {known.lower(): known for known in ("None", "SystemAssigned", "UserAssigned", "SystemAssigned,UserAssigned")}
    if kind.lower() not in kinds:
        raise invalid("Identity", f"'{kind}' is not an identity type; it is one of {', '.join(kinds.values())}.")
    identity: Document = {"type": kinds[kind.lower()]}
    if "systemassigned" in kind.lower():
        made = create_managed_identity(cloud, f"{workspace['name']}/onlineEndpoints/{name}", id)
        identity.update(principalId=made["principalId"], tenantId=TENANT)
    if "userassigned" in kind.lower().replace("systemassigned", "", 1):
        assigned = (given or {}).get("userAssignedIdentities") or {}
        if not assigned:
            raise invalid("Identity", "A user-assigned identity needs userAssignedIdentities.")
        made = {key: create_managed_identity(cloud, key.rsplit("/", 1)[-1], key) for key in assigned}
        identity["userAssignedIdentities"] = {
            key: {"principalId": one["principalId"], "clientId": one["clientId"]} for key, one in made.items()
        }
    return identity


def _random_key() -> str:
    return base64.b64encode(secrets.token_bytes(24)).decode()
