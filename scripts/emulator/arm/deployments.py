"""Template deployments: what ``Microsoft.Resources/deployments`` does with a template, in order, as the caller.

Incremental mode and complete mode are told apart only in what is reported; nothing is ever removed. Nested and linked scopes:
nested templates with inner or outer evaluation, in the same or another resource group
(https://learn.microsoft.com/azure/azure-resource-manager/templates/linked-templates).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from emulator.arm import models, roles
from emulator.arm.dispatch import dispatch
from emulator.arm.template import Document, Scope, bind, invalid
from emulator.core import Principal
from emulator.errors import AzureError, forbidden

if TYPE_CHECKING:
    from emulator.core import Cloud

TYPE = "Microsoft.Resources/deployments"


@dataclass
class Planned:
    """One resource of a template, with the scope that its expressions are worked out in."""

    type: str
    name: str
    id: str
    version: str
    source: Document
    scope: Scope
    depends_on: list[str] = field(default_factory=list)
    loop: str | None = None
    """The copy loop that it is a turn of."""

    def body(self) -> Document:
        """What is PUT: the source without what belongs to the template."""
        kept = {key: value for key, value in self.source.items() if key not in _TEMPLATE_ONLY}
        resolved: Document = self.scope.resolve(kept)
        return resolved


_TEMPLATE_ONLY = (
    "type", "apiVersion", "name", "dependsOn", "condition", "copy", "comments", "resources", "scope", "resourceGroup",
    "subscriptionId", "metadata",
)  # fmt: skip


def deployment_id(subscription: str, group: str, name: str) -> str:
    return f"{models.group_id(subscription, group)}/providers/{TYPE}/{name}"


def begin(cloud: Cloud, id: str, properties: Document) -> tuple[Document, Scope]:
    """Check a deployment's template and parameters and record it as accepted. Raises Azure's 400."""
    template = properties.get("template")
    if not isinstance(template, dict):
        raise AzureError(
            400,
            "InvalidRequestContent",
            "The request content was invalid: 'properties.template' must be the template itself; the emulator fetches no 'templateLink'.",
            target="properties.template",
        )
    mode = properties.get("mode")
    if str(mode).lower() not in ("incremental", "complete"):
        raise AzureError(
            400, "InvalidRequestContent", f"The request content was invalid: 'properties.mode' is Incremental or Complete, not '{mode}'.",
            target="properties.mode",
        )  # fmt: skip
    scope = bind(template, properties.get("parameters") or {}, _scope(cloud, id))
    planned = _ordered(_plan(template, scope))
    document = {
        "id": id,
        "name": id.rsplit("/", 1)[-1],
        "type": TYPE,
        "properties": {
            "provisioningState": "Accepted",
            "mode": str(mode).capitalize(),
            "templateHash": str(uuid.uuid5(uuid.NAMESPACE_OID, repr(template)).int)[:20],
            "parameters": {
                name: {"type": str(declared.get("type", "")).capitalize(), "value": scope.parameters[name]}
                for name, declared in (template.get("parameters") or {}).items()
                if not str(declared.get("type", "")).lower().startswith("secure")
            },
            "timestamp": cloud.stamp(),
            "duration": "PT0S",
            "correlationId": str(uuid.uuid4()),
            "providers": [
                {
                    "namespace": namespace,
                    "resourceTypes": [
                        {"resourceType": kind}
                        for kind in sorted({one.type.partition("/")[2] for one in planned if one.type.startswith(namespace)})
                    ],
                }
                for namespace in sorted({one.type.split("/")[0] for one in planned})
            ],
            "dependencies": [],
        },
    }
    return document, scope


async def run(cloud: Cloud, principal: Principal, id: str, template: Document, scope: Scope) -> None:
    """Create the resources of a deployment one after the other; record each, the outputs and the end. Raises DeploymentFailed."""
    document = cloud.store.need(id)
    started = cloud.now()
    document["properties"]["provisioningState"] = "Running"
    cloud.store.put(id, "deployment", document)
    done: list[str] = []
    try:
        for planned in _ordered(_plan(template, scope)):
            await _deploy(cloud, principal, id, planned)
            done.append(planned.id)
        outputs = {
            name: {"type": declared["type"].capitalize(), "value": scope.resolve(declared.get("value"))}
            for name, declared in (template.get("outputs") or {}).items()
            if scope.resolve(declared.get("condition", True))
        }
    except AzureError as error:
        failure: Document = {
            "code": "DeploymentFailed",
            "message": "At least one resource deployment operation failed. Please list deployment operations for details. "
            "Please see https://aka.ms/arm-deployment-operations for usage details.",
            "details": [error.body()["error"]],
        }
        _end(cloud, document, started, "Failed", error=failure, outputResources=[{"id": each} for each in done])
        raise AzureError(409, failure["code"], failure["message"], details=failure["details"]) from error
    _end(cloud, document, started, "Succeeded", outputs=outputs, outputResources=[{"id": each} for each in done])


def _end(cloud: Cloud, document: Document, started: datetime, state: str, **more: Any) -> None:
    document["properties"] |= {"provisioningState": state, "timestamp": cloud.stamp(), "duration": _duration(cloud, started), **more}
    cloud.store.put(document["id"], "deployment", document)


def _duration(cloud: Cloud, started: datetime) -> str:
    return f"PT{(cloud.now() - started).total_seconds():.7f}S"


def _scope(cloud: Cloud, id: str) -> Scope:
    parts = id.split("/")
    return Scope(
        subscription=models.subscription(parts[2]),
        group=models.need_group(cloud, parts[2], parts[4]),
        deployment=parts[-1],
        reference=lambda other: cloud.store.need(other).get("properties", {}),
        list_keys=lambda other: {"keys": [{"keyName": "key1", "value": cloud.storage.key(other.rsplit("/", 1)[-1])}]},
        now=cloud.now().strftime("%Y%m%dT%H%M%SZ"),
    )


# --- what a template asks for ----------------------------------------------------------------------------------------------------


def _plan(template: Document, scope: Scope) -> list[Planned]:
    """The resources of a template whose condition holds, children and copies included."""
    declared = template.get("resources") or []
    if isinstance(declared, dict):  # languageVersion 2.0 names them
        declared = list(declared.values())
    return [planned for source in declared for planned in _plan_one(source, scope, None)]


def _plan_one(source: Document, scope: Scope, parent: Planned | None) -> list[Planned]:
    if copy := source.get("copy"):
        once = {key: value for key, value in source.items() if key != "copy"}
        name, count = copy["name"], scope.resolve(copy["count"])
        planned_copies = [planned for index in range(count) for planned in _plan_one(once, scope.at(name, index), parent)]
        for copied in planned_copies:
            copied.loop = name
        return planned_copies
    if not scope.resolve(source.get("condition", True)):
        return []
    type, name = str(source["type"]), str(scope.resolve(source["name"]))
    if parent is not None and not type.startswith(parent.type):
        type, name = f"{parent.type}/{type}", f"{parent.name}/{name}"
    kinds, names = type.split("/"), name.split("/")
    if len(kinds) != len(names) + 1:
        raise invalid(
            f"The template resource '{name}' for type '{type}' has incorrect segment lengths. A nested resource type must have identical "
            "number of segments as its resource name."
        )
    at = _base(source, scope)
    resource = f"{at}/providers/{kinds[0]}/" + "/".join(word for pair in zip(kinds[1:], names, strict=True) for word in pair)
    depends = [str(scope.resolve(each)) for each in source.get("dependsOn") or []]
    planned = Planned(type, name, resource, str(scope.resolve(source.get("apiVersion", ""))), source, scope, depends)
    if parent is not None:
        planned.depends_on.append(parent.id)
    return [planned, *(child for each in source.get("resources") or [] for child in _plan_one(each, scope, planned))]


def _base(source: Document, scope: Scope) -> str:
    """The id of what a resource is created in: a group, or for an extension resource its ``scope``."""
    if source.get("scope"):
        given = str(scope.resolve(source["scope"]))
        return given if given.startswith("/") else f"{scope.group['id']}/providers/{given}"
    subscription = scope.resolve(source.get("subscriptionId")) or scope.subscription["subscriptionId"]
    group = scope.resolve(source.get("resourceGroup")) or scope.group["name"]
    return models.group_id(subscription, group)


def _ordered(planned: list[Planned]) -> list[Planned]:
    """Each after what it depends on. A dependency that the template does not create is taken to be there. Raises on a circle."""
    by_key: dict[str, Planned] = {}
    for one in planned:
        for key in (one.id, one.name, f"{one.type}/{one.name}", one.id.split("/providers/", 1)[-1]):
            by_key.setdefault(key.lower(), one)
    loops: dict[str, list[Planned]] = {}
    for one in planned:
        if one.loop:
            loops.setdefault(one.loop.lower(), []).append(one)
    ordered: list[Planned] = []
    under_way: list[str] = []

    def visit(one: Planned) -> None:
        if one in ordered:
            return
        if one.id in under_way:
            raise invalid(f"Circular dependency detected on resource: '{one.id}'")
        under_way.append(one.id)
        for key in one.depends_on:
            for needed in [by_key[key.lower()]] if key.lower() in by_key else loops.get(key.lower(), []):
                visit(needed)
        under_way.pop()
        ordered.append(one)

    for one in planned:
        visit(one)
    return ordered


# --- doing it --------------------------------------------------------------------------------------------------------------------


async def _deploy(cloud: Cloud, principal: Principal, deployment: str, planned: Planned) -> None:
    operation: Document = {
        "id": f"{deployment}/operations/{uuid.uuid4().hex.upper()[:16]}",
        "properties": {
            "provisioningOperation": "Create",
            "provisioningState": "Running",
            "timestamp": cloud.stamp(),
            "duration": "PT0S",
            "trackingId": str(uuid.uuid4()),
            "serviceRequestId": str(uuid.uuid4()),
            "targetResource": {"id": planned.id, "resourceType": planned.type, "resourceName": planned.name},
        },
    }
    operation["operationId"] = operation["id"].rsplit("/", 1)[-1]
    properties = operation["properties"]
    started = cloud.now()
    cloud.store.put(operation["id"], "deployment_operation", operation)
    try:
        if planned.type.lower() == TYPE.lower():
            await _nest(cloud, principal, planned)
        else:
            await dispatch(cloud, principal, "PUT", planned.id, planned.version, planned.body())
    except AzureError as error:
        properties |= {
            "provisioningState": "Failed",
            "statusCode": _STATUS.get(error.status, str(error.status)),
            "statusMessage": error.body(),
        }
        raise
    else:
        properties |= {"provisioningState": "Succeeded", "statusCode": "OK"}
    finally:
        properties |= {"timestamp": cloud.stamp(), "duration": _duration(cloud, started)}
        cloud.store.put(operation["id"], "deployment_operation", operation)


_STATUS = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 409: "Conflict"}


async def _nest(cloud: Cloud, principal: Principal, planned: Planned) -> None:
    """A deployment in a deployment. With outer evaluation, the default, its expressions are those of the template around it."""
    properties = planned.source["properties"]
    inner = ((properties.get("expressionEvaluationOptions") or {}).get("scope") or "outer").lower() == "inner"
    given = planned.scope.resolve(properties.get("parameters") or {})
    document, scope = begin(
        cloud,
        planned.id,
        {"mode": "Incremental", "template": properties["template"] if inner else {"resources": []}, "parameters": given if inner else {}},
    )
    if not inner:
        scope.parameters, scope.variables, scope.copy_index = planned.scope.parameters, planned.scope.variables, planned.scope.copy_index
    authorize(cloud, principal, planned.id)
    cloud.store.put(planned.id, "deployment", document)
    await run(cloud, principal, planned.id, properties["template"], scope)


def authorize(cloud: Cloud, principal: Principal, id: str) -> None:
    """403 unless the caller may deploy there."""
    if not roles.allowed(cloud, principal, f"{TYPE}/write", id):
        raise forbidden(principal.name, principal.oid, f"{TYPE}/write", id)


def operations_of(cloud: Cloud, id: str) -> list[Document]:
    """What a deployment did so far, with the final ``EvaluateDeploymentOutput`` that ARM lists once it is over."""
    found = cloud.store.list("deployment_operation", under=id)
    document = cloud.store.need(id)
    if document["properties"]["provisioningState"] in ("Succeeded", "Failed"):
        found.append(
            {
                "id": f"{id}/operations/08580000000000000000",
                "operationId": "08580000000000000000",
                "properties": {
                    "provisioningOperation": "EvaluateDeploymentOutput",
                    "provisioningState": "Succeeded",
                    "timestamp": document["properties"]["timestamp"],
                    "duration": "PT0.1S",
                    "trackingId": str(uuid.uuid4()),
                    "statusCode": "OK",
                },
            }
        )
    return found
