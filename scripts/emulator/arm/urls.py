"""Routes of management.azure.com, but for Azure Machine Learning's own resources."""

from __future__ import annotations

from emulator.arm import management_groups
from emulator.arm import responses as r
from emulator.arm.deployments import TYPE
from emulator.arm.endpoints import get_endpoints
from emulator.arm.resources import KINDS, Kind, end_accounts
from emulator.core import ARM, Call, Cloud, Route

_SUB = "/subscriptions/{subscription}"
_GROUP = _SUB + "/resourcegroups/{group}"
_DEPLOYMENTS = f"{_GROUP}/providers/{TYPE}"
_STORAGE = "Microsoft.Storage/storageAccounts"
_ACCOUNT = f"{_GROUP}/providers/{_STORAGE}/{{name}}"
_GROUPS = "Microsoft.Resources/subscriptions/resourceGroups"
_PROVIDERS = "Microsoft.Resources/subscriptions/providers"
_ROLES = "Microsoft.Authorization/roleDefinitions"
_HELD = "Microsoft.Authorization/roleAssignments"


def _subscription(call: Call) -> str:
    return f"/subscriptions/{call.params['subscription']}"


def _plain(kind: Kind) -> list[Route]:
    """The routes of a plain resource type."""
    type, base = kind.type, f"{_GROUP}/providers/{kind.type}"
    one = base + "/{name}"
    return [
        Route("PUT", ARM, one, r.put_resource(kind), action=f"{type}/write", doc="Create or replace"),
        Route("GET", ARM, one, r.get_resource(kind), action=f"{type}/read", doc="Read"),
        Route("PATCH", ARM, one, r.patch_resource(kind), action=f"{type}/write", doc="Change"),
        Route("DELETE", ARM, one, r.delete_resource(kind), action=f"{type}/delete", doc="Delete"),
        Route("GET", ARM, base, r.list_resources_of(kind), doc="List those of a group"),
        Route("GET", ARM, f"{_SUB}/providers/{type}", r.list_resources_of(kind), doc="List those of a subscription"),
    ]


def _access(scope: str) -> list[Route]:
    """The routes of role-based access at the root, or at any scope."""
    base = f"{scope}/providers"
    role, held = f"{base}/{_ROLES}/{{name}}", f"{base}/{_HELD}/{{name}}"
    return [
        Route("GET", ARM, f"{base}/{_ROLES}", r.list_role_definitions, doc="List roles"),
        Route("GET", ARM, role, r.get_role_definition, doc="Read a role"),
        Route("PUT", ARM, role, r.put_role_definition, action=f"{_ROLES}/write", doc="Create or change a custom role"),
        Route("DELETE", ARM, role, r.delete_role_definition, action=f"{_ROLES}/delete", doc="Delete a custom role"),
        Route("GET", ARM, f"{base}/{_HELD}", r.list_role_assignments, action=f"{_HELD}/read", doc="List role assignments"),
        Route("GET", ARM, held, r.get_role_assignment, action=f"{_HELD}/read", doc="Read a role assignment"),
        Route("PUT", ARM, held, r.put_role_assignment, action=f"{_HELD}/write", doc="Assign a role"),
        Route("DELETE", ARM, held, r.delete_role_assignment, action=f"{_HELD}/delete", doc="Take a role away"),
        Route("GET", ARM, f"{base}/Microsoft.Authorization/permissions", r.list_permissions, doc="What the caller may do here"),
        Route("GET", ARM, f"{base}/Microsoft.Authorization/denyAssignments", r.list_deny_assignments, doc="List deny assignments (none)"),
    ]


async def deleted(cloud: Cloud, id: str) -> None:
    """Storage accounts at or below a deleted resource take their blobs along."""
    await end_accounts(cloud, id)


ROUTES = [
    Route("GET", ARM, "/metadata/endpoints", get_endpoints, auth="none", doc="The addresses of the cloud"),
    Route("GET", ARM, "/tenants", r.list_tenants, doc="List tenants"),
    Route("GET", ARM, "/subscriptions", r.list_subscriptions, doc="List the subscriptions that the caller holds a role in"),
    Route("GET", ARM, _SUB, r.get_subscription, doc="Read a subscription"),
    Route("GET", ARM, _SUB + "/locations", r.list_locations, doc="List regions"),
    Route("GET", ARM, _SUB + "/providers", r.list_providers, doc="List resource providers"),
    Route("GET", ARM, _SUB + "/providers/{namespace}", r.get_provider, doc="Read a resource provider"),
    Route(
        "POST", ARM, _SUB + "/providers/{namespace}/register", r.register_provider,
        action=f"{_PROVIDERS}/register/action", scope=_subscription, doc="Register a resource provider",
    ),
    Route(
        "POST", ARM, _SUB + "/providers/{namespace}/unregister", r.unregister_provider,
        action=f"{_PROVIDERS}/unregister/action", scope=_subscription, doc="Unregister a resource provider",
    ),
    Route("GET", ARM, _SUB + "/resourcegroups", r.list_groups, doc="List the resource groups that the caller holds a role in"),
    Route("GET", ARM, _GROUP, r.get_group, action=f"{_GROUPS}/read", doc="Read a resource group"),
    Route("HEAD", ARM, _GROUP, r.has_group, action=f"{_GROUPS}/read", doc="Whether a resource group exists"),
    Route("PUT", ARM, _GROUP, r.put_group, action=f"{_GROUPS}/write", doc="Create or update a resource group"),
    Route("PATCH", ARM, _GROUP, r.patch_group, action=f"{_GROUPS}/write", doc="Change a resource group's tags"),
    Route("DELETE", ARM, _GROUP, r.delete_group, action=f"{_GROUPS}/delete", doc="Delete a resource group and all in it"),
    Route("GET", ARM, _SUB + "/resources", r.list_resources, doc="List the resources that the caller may read"),
    Route("GET", ARM, _GROUP + "/resources", r.list_resources, doc="List the resources of a group that the caller may read"),
    *[route for kind in KINDS for route in _plain(kind)],
    Route("POST", ARM, _ACCOUNT + "/listKeys", r.list_account_keys, action=f"{_STORAGE}/listKeys/action", doc="Account keys"),
    Route("POST", ARM, _ACCOUNT + "/regenerateKey", r.regenerate_account_key, action=f"{_STORAGE}/regenerateKey/action", doc="New keys"),
    Route("GET", ARM, _ACCOUNT + "/blobServices/default", r.get_blob_service, action=f"{_STORAGE}/blobServices/read", doc="Blob service"),
    Route("POST", ARM, _SUB + "/providers/Microsoft.Storage/checkNameAvailability", r.check_account_name, doc="Whether a name is free"),
    Route("PUT", ARM, _DEPLOYMENTS + "/{name}", r.put_deployment, action=f"{TYPE}/write", doc="Deploy a template"),
    Route("GET", ARM, _DEPLOYMENTS + "/{name}", r.get_deployment, action=f"{TYPE}/read", doc="Read a deployment"),
    Route("HEAD", ARM, _DEPLOYMENTS + "/{name}", r.has_deployment, action=f"{TYPE}/read", doc="Whether a deployment exists"),
    Route("DELETE", ARM, _DEPLOYMENTS + "/{name}", r.delete_deployment, action=f"{TYPE}/delete", doc="Forget a deployment"),
    Route("GET", ARM, _DEPLOYMENTS, r.list_deployments, action=f"{TYPE}/read", doc="List deployments"),
    Route("POST", ARM, _DEPLOYMENTS + "/{name}/validate", r.validate_deployment, action=f"{TYPE}/validate/action", doc="Check a template"),
    Route(
        "GET", ARM, _GROUP + "/deployments/{name}/operations", r.list_deployment_operations,
        action=f"{TYPE}/operations/read", doc="What a deployment did",
    ),
    *management_groups.ROUTES,
    *_access(""),
    *_access("/{scope:path}"),
]  # fmt: skip
