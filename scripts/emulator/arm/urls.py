"""Routes of management.azure.com, but for Azure Machine Learning's own resources."""

from __future__ import annotations

from emulator.arm import responses as r
from emulator.arm.deployments import TYPE
from emulator.arm.resources import KINDS
from emulator.core import ARM, Route

_SUBSCRIPTION = "/subscriptions/{subscription}"
_GROUP = _SUBSCRIPTION + "/resourcegroups/{group}"
_DEPLOYMENTS = f"{_GROUP}/providers/{TYPE}"
_ACCOUNT = _GROUP + "/providers/Microsoft.Storage/storageAccounts"
_GROUPS = "Microsoft.Resources/subscriptions/resourceGroups"
_ROLES = "Microsoft.Authorization/roleDefinitions"
_HELD = "Microsoft.Authorization/roleAssignments"

ROUTES = [
    Route("GET", ARM, "/tenants", r.list_tenants, doc="List tenants"),
    Route("GET", ARM, "/subscriptions", r.list_subscriptions, doc="List the subscriptions that the caller holds a role in"),
    Route("GET", ARM, _SUBSCRIPTION, r.get_subscription, doc="Read a subscription"),
    Route("GET", ARM, _SUBSCRIPTION + "/locations", r.list_locations, doc="List regions"),
    Route("GET", ARM, _SUBSCRIPTION + "/providers", r.list_providers, doc="List resource providers"),
    Route("GET", ARM, _SUBSCRIPTION + "/providers/{namespace}", r.get_provider, doc="Read a resource provider"),
    Route(
        "POST", ARM, _SUBSCRIPTION + "/providers/{namespace}/register", r.register_provider,
        action="Microsoft.Resources/subscriptions/providers/register/action", scope=lambda call: f"/subscriptions/{call.params['subscription']}",
        doc="Register a resource provider",
    ),
    Route(
        "POST", ARM, _SUBSCRIPTION + "/providers/{namespace}/unregister", r.unregister_provider,
        action="Microsoft.Resources/subscriptions/providers/unregister/action", scope=lambda call: f"/subscriptions/{call.params['subscription']}",
        doc="Unregister a resource provider",
    ),
    Route("GET", ARM, _SUBSCRIPTION + "/resourcegroups", r.list_groups, doc="List the resource groups that the caller holds a role in"),
    Route("GET", ARM, _GROUP, r.get_group, action=f"{_GROUPS}/read", doc="Read a resource group"),
    Route("HEAD", ARM, _GROUP, r.has_group, action=f"{_GROUPS}/read", doc="Whether a resource group exists"),
    Route("PUT", ARM, _GROUP, r.put_group, action=f"{_GROUPS}/write", doc="Create or update a resource group"),
    Route("PATCH", ARM, _GROUP, r.patch_group, action=f"{_GROUPS}/write", doc="Change a resource group's tags"),
    Route("DELETE", ARM, _GROUP, r.delete_group, action=f"{_GROUPS}/delete", doc="Delete a resource group and all in it"),
    Route("GET", ARM, _SUBSCRIPTION + "/resources", r.list_resources, doc="List the resources that the caller may read"),
    Route("GET", ARM, _GROUP + "/resources", r.list_resources, doc="List the resources of a group that the caller may read"),
    *[
        route
        for kind in KINDS
        for route in (
            Route("PUT", ARM, f"{_GROUP}/providers/{kind.type}/{{name}}", r.put_resource(kind), action=f"{kind.type}/write", doc="Create or replace"),
            Route("GET", ARM, f"{_GROUP}/providers/{kind.type}/{{name}}", r.get_resource(kind), action=f"{kind.type}/read", doc="Read"),
            Route("PATCH", ARM, f"{_GROUP}/providers/{kind.type}/{{name}}", r.patch_resource(kind), action=f"{kind.type}/write", doc="Change"),
            Route("DELETE", ARM, f"{_GROUP}/providers/{kind.type}/{{name}}", r.delete_resource(kind), action=f"{kind.type}/delete", doc="Delete"),
            Route("GET", ARM, f"{_GROUP}/providers/{kind.type}", r.list_resources_of(kind), doc="List those of a group"),
            Route("GET", ARM, f"{_SUBSCRIPTION}/providers/{kind.type}", r.list_resources_of(kind), doc="List those of a subscription"),
        )
    ],
    Route("POST", ARM, f"{_ACCOUNT}/{{name}}/listKeys", r.list_account_keys, action="Microsoft.Storage/storageAccounts/listKeys/action", doc="Account keys"),
    Route("GET", ARM, f"{_ACCOUNT}/{{name}}/blobServices/default", r.get_blob_service, action="Microsoft.Storage/storageAccounts/blobServices/read", doc="Blob service"),
    Route("POST", ARM, _SUBSCRIPTION + "/providers/Microsoft.Storage/checkNameAvailability", r.check_account_name, doc="Whether an account name is free"),
    Route("PUT", ARM, f"{_DEPLOYMENTS}/{{name}}", r.put_deployment, action=f"{TYPE}/write", doc="Deploy a template"),
    Route("GET", ARM, f"{_DEPLOYMENTS}/{{name}}", r.get_deployment, action=f"{TYPE}/read", doc="Read a deployment"),
    Route("HEAD", ARM, f"{_DEPLOYMENTS}/{{name}}", r.has_deployment, action=f"{TYPE}/read", doc="Whether a deployment exists"),
    Route("DELETE", ARM, f"{_DEPLOYMENTS}/{{name}}", r.delete_deployment, action=f"{TYPE}/delete", doc="Forget a deployment"),
    Route("GET", ARM, _DEPLOYMENTS, r.list_deployments, action=f"{TYPE}/read", doc="List deployments"),
    Route("GET", ARM, _GROUP + "/deployments/{name}/operations", r.list_deployment_operations, action=f"{TYPE}/operations/read", doc="What a deployment did"),
    Route("POST", ARM, f"{_DEPLOYMENTS}/{{name}}/validate", r.validate_deployment, action=f"{TYPE}/validate/action", doc="Check a template"),
    *[
        route
        for scope in ("", "/{scope:path}")
        for route in (
            Route("GET", ARM, f"{scope}/providers/{_ROLES}", r.list_role_definitions, doc="List roles"),
            Route("GET", ARM, f"{scope}/providers/{_ROLES}/{{name}}", r.get_role_definition, doc="Read a role"),
            Route("PUT", ARM, f"{scope}/providers/{_ROLES}/{{name}}", r.put_role_definition, action=f"{_ROLES}/write", doc="Create or change a custom role"),
            Route("DELETE", ARM, f"{scope}/providers/{_ROLES}/{{name}}", r.delete_role_definition, action=f"{_ROLES}/delete", doc="Delete a custom role"),
            Route("GET", ARM, f"{scope}/providers/{_HELD}", r.list_role_assignments, action=f"{_HELD}/read", doc="List role assignments"),
            Route("GET", ARM, f"{scope}/providers/{_HELD}/{{name}}", r.get_role_assignment, action=f"{_HELD}/read", doc="Read a role assignment"),
            Route("PUT", ARM, f"{scope}/providers/{_HELD}/{{name}}", r.put_role_assignment, action=f"{_HELD}/write", doc="Assign a role"),
            Route("DELETE", ARM, f"{scope}/providers/{_HELD}/{{name}}", r.delete_role_assignment, action=f"{_HELD}/delete", doc="Take a role away"),
            Route("GET", ARM, f"{scope}/providers/Microsoft.Authorization/permissions", r.list_permissions, doc="What the caller may do here"),
            Route("GET", ARM, f"{scope}/providers/Microsoft.Authorization/denyAssignments", r.list_deny_assignments, doc="List deny assignments (none)"),
        )
    ],
]  # fmt: skip
