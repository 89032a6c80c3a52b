"""Subscriptions, tenants, locations, resource providers and resource groups."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

from emulator.arm import roles
from emulator.core import REGIONS, SUBSCRIPTION, TENANT, Principal
from emulator.entra.models import TENANT_DOMAIN, TENANT_NAME
from emulator.errors import AzureError

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
SUBSCRIPTION_NAME = "Contoso Data Science"

PROVIDERS: dict[str, dict[str, list[str]]] = {
    "Microsoft.Authorization": {
        "roleAssignments": ["2022-04-01"],
        "roleDefinitions": ["2022-04-01"],
        "denyAssignments": ["2022-04-01"],
        "permissions": ["2022-04-01"],
    },
    "Microsoft.ContainerRegistry": {"registries": ["2023-07-01"]},
    "Microsoft.Insights": {"components": ["2020-02-02"]},
    "Microsoft.KeyVault": {"vaults": ["2023-07-01"]},
    "Microsoft.MachineLearningServices": {
        kind: ["2025-12-01", "2024-10-01", "2024-04-01", "2023-10-01"]
        for kind in (
            "registries", "workspaces", "workspaces/batchEndpoints", "workspaces/batchEndpoints/deployments", "workspaces/codes",
            "workspaces/components", "workspaces/computes", "workspaces/data", "workspaces/datastores", "workspaces/environments",
            "workspaces/jobs", "workspaces/models", "workspaces/onlineEndpoints", "workspaces/onlineEndpoints/deployments",
            "workspaces/schedules",
        )
    },
    "Microsoft.ManagedIdentity": {"userAssignedIdentities": ["2023-01-31", "2018-11-30"]},
    "Microsoft.Network": {"virtualNetworks": ["2024-05-01"], "privateEndpoints": ["2024-05-01"]},
    "Microsoft.OperationalInsights": {"workspaces": ["2023-09-01", "2020-08-01"]},
    "Microsoft.Resources": {
        "deployments": ["2024-03-01"],
        "resourceGroups": ["2024-11-01"],
        "subscriptions": ["2022-12-01"],
        "tenants": ["2022-12-01"],
    },
    "Microsoft.Storage": {"storageAccounts": ["2023-05-01"], "storageAccounts/blobServices": ["2023-05-01"]},
}  # fmt: skip
"""Resource types and the API versions that are announced for them, newest first; the versions themselves are not told apart."""

_DISPLAY = {
    "eastus": "East US",
    "eastus2": "East US 2",
    "germanywestcentral": "Germany West Central",
    "northeurope": "North Europe",
    "swedencentral": "Sweden Central",
    "uksouth": "UK South",
    "westeurope": "West Europe",
    "westus2": "West US 2",
}


def tenant() -> Document:
    return {
        "id": f"/tenants/{TENANT}",
        "tenantId": TENANT,
        "countryCode": "CH",
        "displayName": TENANT_NAME,
        "defaultDomain": TENANT_DOMAIN,
        "domains": [TENANT_DOMAIN],
        "tenantCategory": "Home",
        "tenantType": "AAD",
    }


def subscription(id: str) -> Document:
    """A subscription; there is one. Raises Azure's 404 for another."""
    if id.lower() != SUBSCRIPTION:
        raise AzureError(404, "SubscriptionNotFound", f"The subscription '{id}' could not be found.")
    return {
        "id": f"/subscriptions/{SUBSCRIPTION}",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": SUBSCRIPTION,
        "tenantId": TENANT,
        "displayName": SUBSCRIPTION_NAME,
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "EnterpriseAgreement_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def locations() -> list[Document]:
    return [
        {
            "id": f"/subscriptions/{SUBSCRIPTION}/locations/{name}",
            "name": name,
            "type": "Region",
            "displayName": _DISPLAY.get(name, name),
            "regionalDisplayName": _DISPLAY.get(name, name),
            "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
        }
        for name in REGIONS
    ]


def location(given: object) -> str:
    """A region's name as Azure stores it (``West Europe`` is ``westeurope``). Raises Azure's 400 for one that there is not."""
    if not given:
        raise AzureError(400, "LocationRequired", "The location property is required for this definition.")
    name = str(given).replace(" ", "").lower()
    if name not in REGIONS:
        raise AzureError(
            400,
            "LocationNotAvailableForResourceGroup",
            f"The provided location '{given}' is not available for resource group. List of available regions is '{','.join(REGIONS)}'.",
        )
    return name


# --- resource providers ----------------------------------------------------------------------------------------------------------


def provider(cloud: Cloud, namespace: str) -> Document:
    """A resource provider: whether it is registered, its types and their API versions."""
    known = next((name for name in PROVIDERS if name.lower() == namespace.lower()), None)
    if known is None:
        raise AzureError(404, "InvalidResourceNamespace", f"The resource namespace '{namespace}' is invalid.")
    id = f"/subscriptions/{SUBSCRIPTION}/providers/{known}"
    state = (cloud.store.get(id) or {}).get("state", "Registered")
    return {
        "id": id,
        "namespace": known,
        "registrationPolicy": "RegistrationRequired",
        "registrationState": state,
        "resourceTypes": [
            {
                "resourceType": kind,
                "locations": [_DISPLAY.get(name, name) for name in REGIONS],
                "apiVersions": versions,
                "defaultApiVersion": versions[0],
                "capabilities": "CrossResourceGroupResourceMove, CrossSubscriptionResourceMove, SupportsTags, SupportsLocation",
            }
            for kind, versions in PROVIDERS[known].items()
        ],
    }


def register(cloud: Cloud, namespace: str, state: str) -> Document:
    """Register (or unregister) a provider; it holds at once."""
    found = provider(cloud, namespace)
    cloud.store.put(found["id"], "provider", {"state": state})
    return provider(cloud, namespace)


# --- resource groups -------------------------------------------------------------------------------------------------------------


def group_id(subscription: str, name: str) -> str:
    return f"/subscriptions/{subscription}/resourceGroups/{name}"


def need_group(cloud: Cloud, subscription_id: str, name: str) -> Document:
    """A resource group; Azure's 404 where there is none."""
    subscription(subscription_id)
    return cloud.store.need(group_id(subscription_id, name))


def put_group(cloud: Cloud, subscription_id: str, name: str, body: Document) -> tuple[Document, bool]:
    """Create or update a resource group; the group, and whether it is new."""
    subscription(subscription_id)
    if len(name) > 90 or not re.fullmatch(r"[-\w.()]*[-\w()]", name):
        raise AzureError(
            400,
            "InvalidResourceGroup",
            f"The provided resource group name '{name}' has these invalid characters or ends with a period; it may have alphanumerics, "
            "periods, underscores, hyphens and parentheses, at most 90.",
        )
    existing = cloud.store.get(group_id(subscription_id, name))
    where = location(body.get("location") or (existing and existing["location"]))
    if existing and existing["location"] != where:
        raise AzureError(
            409,
            "InvalidResourceGroupLocation",
            f"Invalid resource group location '{where}'. The Resource group already exists in location '{existing['location']}'.",
        )
    if existing and existing["properties"]["provisioningState"] == "Deleting":
        raise AzureError(
            409, "ResourceGroupBeingDeleted", f"The resource group '{name}' is in deprovisioning state and cannot perform this operation."
        )
    document = existing or {
        "id": group_id(subscription_id, name),
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": where,
        "properties": {"provisioningState": "Succeeded"},
    }
    document["tags"] = body.get("tags") or {}
    if body.get("managedBy"):
        document["managedBy"] = body["managedBy"]
    return cloud.store.put(document["id"], "resource_group", document), existing is None


def visible_groups(cloud: Cloud, principal: Principal, subscription_id: str) -> list[Document]:
    """The resource groups that the caller holds a role in, at any level."""
    groups = cloud.store.list("resource_group", under=f"/subscriptions/{subscription_id}")
    return [group for group in groups if roles.sees(cloud, principal, group["id"])]


async def delete_group(cloud: Cloud, id: str) -> None:
    """Remove a resource group and everything below it, running things included."""
    await end_below(cloud, id)
    cloud.store.delete_under(id)


async def end_below(cloud: Cloud, id: str) -> None:
    """Let every service end what it runs at or below an ARM id: each may have ``async def deleted(cloud, id)`` in its ``urls`` module."""
    from emulator.app import SERVICES

    for service in SERVICES:
        if hook := getattr(importlib.import_module(f"emulator.{service}.urls"), "deleted", None):
            await hook(cloud, id)
