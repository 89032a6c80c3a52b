"""What endpoints and deployments share: names, limits, states, lists, and how they come to rest after a restart.

Shapes: https://learn.microsoft.com/rest/api/azureml/online-endpoints and .../online-deployments. Limits:
https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas#azure-machine-learning-online-endpoints-and-batch-endpoints.

A document is what is in force: an update shows its new values when it has succeeded, and one that fails leaves the old ones serving.
A deployment has a revision (a document of its own below it) from the moment it first served.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulator.core import Cloud
from emulator.online.exceptions import busy, invalid

if TYPE_CHECKING:
    from emulator.operations import Operation

Document = dict[str, Any]

TYPE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
NAME = re.compile(r"[a-zA-Z](?=.{2,31}$)(?:-?[a-zA-Z0-9])+")
ENDPOINTS_A_REGION, DEPLOYMENTS_A_REGION, DEPLOYMENTS_AN_ENDPOINT, INSTANCES = 100, 500, 20, 50
CHANGING = ("Creating", "Updating", "Scaling", "Deleting")


def endpoint_at(cloud: Cloud, region: str, name: str) -> Document | None:
    """The endpoint that answers at a scoring address; None where no endpoint has the name in the region."""
    known = cloud.store.get(f"onlinenames/{region}/{name}")
    return cloud.store.get(known["endpoint"]) if known else None


def workspace_of(cloud: Cloud, id: str) -> Document:
    """The workspace that an ARM id lies in."""
    return cloud.store.need("/".join(id.split("/")[:9]))


def forget_endpoint(cloud: Cloud, endpoint: Document) -> None:
    """Remove an endpoint with its deployments; its servers are the caller's to stop."""
    with cloud.store.transaction():
        cloud.store.delete(f"onlinenames/{endpoint['location']}/{endpoint['name']}")
        cloud.store.delete_under(endpoint["id"])


def page(found: list[Document], query: Mapping[str, str], url: str) -> Document:
    """One page of a list, with a link to the next: ``$skip`` from, ``$top`` or ``count`` many, ``orderBy`` creation or update."""
    order = query.get("orderBy") or query.get("$orderBy") or "CreatedAtAsc"
    stamp = "lastModifiedAt" if order.lower().startswith("updated") else "createdAt"
    found = sorted(found, key=lambda one: str(one["systemData"][stamp]), reverse=order.lower().endswith("desc"))
    try:
        start = int(query.get("$skip") or 0)
        count = int(query.get("$top") or query.get("count") or 0) or len(found)
    except ValueError:
        raise invalid("$skip", "Paging parameters are whole numbers.") from None
    answer: Document = {"value": found[start : start + count]}
    if start + count < len(found):
        base, _, rest = url.partition("?")
        kept = [part for part in rest.split("&") if part and not part.lower().startswith(("$skip=", "%24skip="))]
        answer["nextLink"] = f"{base}?{'&'.join([*kept, f'$skip={start + count}'])}"
    return answer


def settle(cloud: Cloud) -> None:
    """After a restart: what was interrupted ends. A deployment that never served has failed, a deletion is done, the rest stays."""
    for endpoint in cloud.store.list("online_endpoint"):
        if endpoint["properties"]["provisioningState"] == "Deleting":
            forget_endpoint(cloud, endpoint)
        elif endpoint["properties"]["provisioningState"] in CHANGING:
            set_state(cloud, endpoint["id"], "Succeeded")
    for deployment in cloud.store.list("online_deployment"):
        if deployment["properties"]["provisioningState"] == "Deleting":
            cloud.store.delete_under(deployment["id"])
        elif deployment["properties"]["provisioningState"] in CHANGING:
            set_state(cloud, deployment["id"], "Succeeded" if cloud.store.exists(f"{deployment['id']}/revision") else "Failed")


def set_state(cloud: Cloud, id: str, state: str) -> str:
    """Write the provisioning state of an endpoint or deployment that is still there; the state."""
    if document := cloud.store.get(id):
        document["properties"]["provisioningState"] = state
        cloud.store.put(id, "online_deployment" if document["type"].endswith("/deployments") else "online_endpoint", document)
    return state


def with_state(document: Document, state: str) -> Document:
    return {**document, "properties": {**document["properties"], "provisioningState": state}}


def refuse_while_running(cloud: Cloud, id: str, below: bool = False) -> None:
    """409 while the entity, or with ``below`` one of its deployments, is being changed."""
    children = [one["id"] for one in cloud.store.list("online_deployment", under=id)] if below else []
    if any(cloud.operations.running(one) for one in (id, *children)):
        raise busy(workspace_of(cloud, id)["name"])


def check_name(field: str, name: str, what: str) -> None:
    if not NAME.fullmatch(name):
        raise invalid(
            field,
            f"'{name}' is no {what} name: it must begin with a letter, have 3 to 32 characters, "
            "and consist of letters, numbers and single dashes.",
        )


def properties_of(body: Any) -> Document:
    if not isinstance(body, dict) or not isinstance(body.get("properties"), dict):
        raise invalid("Properties", "The property 'properties' is required and must be an object.")
    return dict(body["properties"])


def texts(field: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(one, str | None) for one in value.values()):
        raise invalid(field, "An object with texts is expected.")
    return {key: one for key, one in value.items() if one is not None}


def in_region(cloud: Cloud, type: str, subscription: str, location: str) -> list[Document]:
    return [one for one in cloud.store.list(type, under=subscription) if one["location"] == location]


def status_uri(operation: Operation, workspace: Document) -> str:
    subscription = workspace["id"].split("/")[2]
    place = f"/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{workspace['location']}"
    return f"https://management.azure.com{place}/mfeOperationsStatus/{operation.id}?api-version=2024-04-01"
