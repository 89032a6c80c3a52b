"""Online deployments: what ARM holds of them, their settings and limits, and the operations that change them.

https://learn.microsoft.com/rest/api/azureml/online-deployments; settings and defaults
https://learn.microsoft.com/azure/machine-learning/reference-yaml-deployment-managed-online.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from isodate import ISO8601Error

from emulator.assets.rights import check_references
from emulator.core import Cloud, Principal
from emulator.online import models as shared
from emulator.online import rollout
from emulator.online.exceptions import busy, failed, invalid, not_emulated
from emulator.online.serving import seconds
from emulator.workspaces.models import check_location, system_data

if TYPE_CHECKING:
    from emulator.operations import Operation

Document = dict[str, Any]

LONGEST_REQUEST = 180.0  # seconds
PROBE = {"failureThreshold": 30, "successThreshold": 1, "timeout": "PT2S", "period": "PT10S", "initialDelay": "PT10S"}
REQUESTS = {"maxConcurrentRequestsPerInstance": 1, "requestTimeout": "PT5S", "maxQueueWait": "PT0.5S"}


def put(cloud: Cloud, endpoint: Document, name: str, body: Any, caller: Principal | None) -> tuple[Document, Operation, bool]:
    """Create or replace a deployment. The answer, its operation, and whether the deployment is new."""
    workspace = shared.workspace_of(cloud, endpoint["id"])
    id = f"{endpoint['id']}/deployments/{name}"
    old = cloud.store.get(id)
    name = old["name"] if old else name
    shared.refuse_while_running(cloud, id)
    _check_parent(cloud, workspace, endpoint)
    shared.check_name("Name", name, "deployment")
    properties = shared.properties_of(body)
    check_references(cloud, workspace["id"], caller, properties)
    document = _document(cloud, endpoint, name, body, properties, caller)
    if old is None:
        _check_room(cloud, endpoint)
        cloud.store.put(id, "online_deployment", document)
    else:
        _check_recoverable(cloud, old)
        document["properties"]["provisioningState"] = shared.set_state(cloud, id, "Scaling" if _only_scales(old, document) else "Updating")
    operation = cloud.operations.start(id, "onlineDeployment", rollout.apply(cloud, document), location=endpoint["location"])
    document["properties"]["properties"]["AzureAsyncOperationUri"] = shared.status_uri(operation, workspace)
    return document, operation, old is None


def patch(cloud: Cloud, endpoint: Document, name: str, body: Any, caller: Principal | None) -> tuple[Document, Operation]:
    """Change tags and instance count; all else stays (PartialMinimalTrackedResourceWithSku)."""
    id = f"{endpoint['id']}/deployments/{name}"
    old = cloud.store.need(id)
    shared.refuse_while_running(cloud, id)
    _check_recoverable(cloud, old)
    if not isinstance(body, dict):
        raise invalid("body", "A JSON object is expected.")
    document = copy.deepcopy(old)
    if body.get("tags") is not None:
        document["tags"] = shared.texts("Tags", body["tags"])
    if (body.get("sku") or {}).get("capacity") is not None:
        document["sku"]["capacity"] = _instances(body)
    document["systemData"] = system_data(cloud, caller, document["systemData"])
    document["properties"]["provisioningState"] = shared.set_state(cloud, id, "Scaling")
    return document, cloud.operations.start(id, "onlineDeployment", rollout.apply(cloud, document), location=endpoint["location"])


def check_deletable(endpoint: Document, name: str) -> None:
    """A deployment that takes traffic, or a copy of it, stays."""
    for field in ("traffic", "mirrorTraffic"):
        share = {key.lower(): value for key, value in endpoint["properties"][field].items()}.get(name.lower())
        if share:
            what = "live" if field == "traffic" else "mirror"
            raise invalid("", f"Deployment [{name}] has {share} percent of the {what} traffic. Set its traffic to 0 before deleting it.")


def _document(cloud: Cloud, endpoint: Document, name: str, body: Document, properties: Document, caller: Principal | None) -> Document:
    id = f"{endpoint['id']}/deployments/{name}"
    old = cloud.store.get(id) or {}
    if check_location(body.get("location"), f"{shared.TYPE}/deployments") != endpoint["location"]:
        raise invalid("Location", f"The location of the deployment must be that of its endpoint, '{endpoint['location']}'.")
    kind = properties.get("endpointComputeType")
    if not kind:
        raise invalid("EndpointComputeType", "The property 'endpointComputeType' is required.")
    if str(kind).lower() != "managed":
        raise not_emulated(f"online deployments of type '{kind}'")
    code = properties.get("codeConfiguration")
    if code is not None and not (isinstance(code, dict) and code.get("scoringScript")):
        raise invalid("CodeConfiguration.ScoringScript", "The property 'scoringScript' is required.")
    if not properties.get("model") and not code:
        raise invalid("Model", "A deployment needs a model, or code with a scoring script.")
    if code and not properties.get("environmentId"):
        raise invalid("EnvironmentId", "The property 'environmentId' is required for a deployment with a scoring script.")
    sku = body.get("sku") or {}
    document = {
        "id": id,
        "name": name,
        "type": f"{shared.TYPE}/deployments",
        "kind": "Managed",
        "location": endpoint["location"],
        "tags": shared.texts("Tags", body.get("tags")),
        "sku": {"name": sku.get("name") or "Default", "capacity": _instances(body)},
        "properties": {
            "endpointComputeType": "Managed",
            "description": properties.get("description"),
            "model": properties.get("model"),
            "modelMountPath": properties.get("modelMountPath"),
            "codeConfiguration": {"codeId": code.get("codeId"), "scoringScript": code["scoringScript"]} if code else None,
            "environmentId": properties.get("environmentId"),
            "environmentVariables": shared.texts("EnvironmentVariables", properties.get("environmentVariables")),
            "instanceType": properties.get("instanceType") or "Standard_F4s_v2",
            "appInsightsEnabled": bool(properties.get("appInsightsEnabled")),
            "egressPublicNetworkAccess": properties.get("egressPublicNetworkAccess") or "Enabled",
            "scaleSettings": properties.get("scaleSettings") or {"scaleType": "Default"},
            "requestSettings": _requests(properties.get("requestSettings")),
            "livenessProbe": _probe("LivenessProbe", properties.get("livenessProbe")),
            "readinessProbe": _probe("ReadinessProbe", properties.get("readinessProbe")),
            "dataCollector": properties.get("dataCollector"),
            "properties": {**shared.texts("Properties", properties.get("properties")), "azureml.onlineendpointid": endpoint["id"].lower()},
            "provisioningState": "Creating",
        },
        "systemData": system_data(cloud, caller, old.get("systemData")),
    }
    if (document["properties"]["scaleSettings"].get("scaleType") or "Default") != "Default":
        raise invalid("ScaleSettings.ScaleType", "Managed online deployments support the scale type 'Default' only.")
    return document


def _only_scales(old: Document, new: Document) -> bool:
    def rest(document: Document) -> Document:
        settings = {
            key: value
            for key, value in document["properties"].items()
            if key not in ("provisioningState", "properties", "description", "requestSettings")
        }
        return {**settings, "requestSettings": None}

    return rest(old) == rest(new)


def _check_parent(cloud: Cloud, workspace: Document, endpoint: Document) -> None:
    running = cloud.operations.running(endpoint["id"])
    state = endpoint["properties"]["provisioningState"]
    if running or state in ("Creating", "Deleting"):
        raise busy(workspace["name"])
    if state == "Failed":
        raise invalid("", f"Specified endpoint [{endpoint['name']}] has not been created successfully. Please recreate the endpoint.")


def _check_recoverable(cloud: Cloud, deployment: Document) -> None:
    if not cloud.store.exists(f"{deployment['id']}/revision"):
        raise invalid(
            "",
            f"Specified deployment [{deployment['name']}] failed during initial provisioning and is in an unrecoverable state. "
            "Delete and re-create.",
        )


def _check_room(cloud: Cloud, endpoint: Document) -> None:
    if len(cloud.store.list("online_deployment", under=endpoint["id"])) >= shared.DEPLOYMENTS_AN_ENDPOINT:
        raise failed("OutOfQuota", f"The maximum number of deployments per endpoint is {shared.DEPLOYMENTS_AN_ENDPOINT}.")
    subscription = "/".join(endpoint["id"].split("/")[:3])
    if len(shared.in_region(cloud, "online_deployment", subscription, endpoint["location"])) >= shared.DEPLOYMENTS_A_REGION:
        raise failed("OutOfQuota", f"The maximum number of deployments per subscription and region is {shared.DEPLOYMENTS_A_REGION}.")


def _instances(body: Document) -> int:
    count = (body.get("sku") or {}).get("capacity")
    count = 1 if count is None else count
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= shared.INSTANCES:
        raise invalid("Sku.Capacity", f"The instance count must be a whole number from 1 to {shared.INSTANCES}, not '{count}'.")
    return count


def _requests(given: Any) -> Document:
    settings = {**REQUESTS, **{key: value for key, value in (given or {}).items() if value is not None}}
    count = settings["maxConcurrentRequestsPerInstance"]
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise invalid("RequestSettings.MaxConcurrentRequestsPerInstance", f"A whole number of at least 1 is expected, not '{count}'.")
    timeout = _duration("RequestSettings.RequestTimeout", settings["requestTimeout"])
    if not 0 < timeout <= LONGEST_REQUEST:
        raise invalid(
            "RequestSettings.RequestTimeout",
            f"The request timeout must be more than 0 and at most {LONGEST_REQUEST:g} seconds, not {timeout:g}.",
        )
    _duration("RequestSettings.MaxQueueWait", settings["maxQueueWait"])
    return settings


def _probe(field: str, given: Any) -> Document:
    settings = {**PROBE, **{key: value for key, value in (given or {}).items() if value is not None}}
    for name, least in (("initialDelay", 1.0), ("period", 1.0), ("timeout", 1.0)):
        if _duration(f"{field}.{name[:1].upper()}{name[1:]}", settings[name]) < least:
            raise invalid(f"{field}.{name[:1].upper()}{name[1:]}", f"At least {least:g} second is expected, not '{settings[name]}'.")
    for name in ("failureThreshold", "successThreshold"):
        if isinstance(settings[name], bool) or not isinstance(settings[name], int) or settings[name] < 1:
            raise invalid(f"{field}.{name[:1].upper()}{name[1:]}", f"A whole number of at least 1 is expected, not '{settings[name]}'.")
    if field == "LivenessProbe" and settings["successThreshold"] != 1:
        raise invalid("LivenessProbe.SuccessThreshold", "The success threshold of a liveness probe is 1.")
    return settings


def _duration(field: str, value: Any) -> float:
    try:
        return seconds(value)
    except (ISO8601Error, TypeError, AttributeError):
        raise invalid(field, f"'{value}' is not an ISO 8601 duration.") from None
