"""Resource groups, plain resources and role-based access over HTTP, as ARM's clients send them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from azure.ai.ml._vendor.azure_resources import ResourceManagementClient
from azure.ai.ml._vendor.azure_resources.models import GenericResource, ResourceGroup
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.storage.blob import BlobServiceClient

from emulator.arm import roles
from emulator.core import SUBSCRIPTION, TENANT, Cloud, Principal
from emulator.entra import models as entra

ARM = "https://management.azure.com"
SUB = f"/subscriptions/{SUBSCRIPTION}"
ML = "Microsoft.MachineLearningServices"
ROLES = "/providers/Microsoft.Authorization/roleDefinitions/"


def fresh(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def arm(send: Any, sign_in: Callable[..., str]) -> Callable[..., Any]:
    """A request to ARM: as the administrator, or as an application (``who``)."""

    def arm(
        method: str, path: str, body: Any = None, who: dict[str, Any] | None = None, version: str | None = "2022-09-01", **params: str
    ) -> Any:
        token = sign_in(client_id=who["appId"], secret=who["secret"]) if who else sign_in()
        return send(method, ARM + path, token=token, version=version, json=body, params=params)

    return arm


@pytest.fixture
def group(arm: Any) -> str:
    """The ARM id of a new resource group."""
    path = f"{SUB}/resourceGroups/{fresh('rg')}"
    assert arm("PUT", path, {"location": "westeurope"}).status_code == 201
    return path


def error(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


# --- resource groups -------------------------------------------------------------------------------------------------------------


def test_the_sdk_manages_resource_groups_and_resources(azure: Any) -> None:
    credential = ClientSecretCredential(TENANT, azure.env["AZURE_CLIENT_ID"], azure.env["AZURE_CLIENT_SECRET"])
    name, account = fresh("rg"), "st" + uuid.uuid4().hex[:10]
    with ResourceManagementClient(credential, SUBSCRIPTION) as client:
        made = client.resource_groups.create_or_update(name, ResourceGroup(location="West Europe", tags={"team": "flights"}))
        assert (made.location, made.properties.provisioning_state) == ("westeurope", "Succeeded")
        assert client.resource_groups.check_existence(name)
        assert not client.resource_groups.check_existence("rg-nowhere")
        assert [one.name for one in client.resource_groups.list(filter="tagName eq 'team' and tagValue eq 'flights'") if one.name == name]

        id = f"{made.id}/providers/Microsoft.Storage/storageAccounts/{account}"
        body = GenericResource(location="westeurope", sku={"name": "Standard_LRS"}, kind="StorageV2", properties={})
        stored = client.resources.begin_create_or_update_by_id(id, "2023-05-01", body, polling_interval=0).result()
        assert stored.properties["primaryEndpoints"]["blob"] == f"https://{account}.blob.core.windows.net/"
        listed = list(client.resources.list_by_resource_group(name, expand="provisioningState"))
        assert [(one.type, one.name, one.provisioning_state) for one in listed] == [
            ("Microsoft.Storage/storageAccounts", account, "Succeeded")
        ]
        provider = client.providers.get("Microsoft.Storage")
        assert (provider.registration_state, provider.resource_types[0].resource_type) == ("Registered", "storageAccounts")

        client.resource_groups.begin_delete(name, polling_interval=0).result()
        assert not client.resource_groups.check_existence(name)
        with pytest.raises(ResourceNotFoundError, match=f"Resource group '{name}' could not be found"):
            client.resources.get_by_id(id, "2023-05-01")


def test_resource_groups_are_checked(arm: Any, group: str) -> None:
    name = group.rsplit("/", 1)[-1]
    assert error(arm("PUT", f"{SUB}/resourceGroups/{fresh('rg')}", {})) == (400, "LocationRequired")
    moon = arm("PUT", f"{SUB}/resourceGroups/{fresh('rg')}", {"location": "moon"})
    assert error(moon) == (400, "LocationNotAvailableForResourceGroup")
    assert moon.json()["error"]["message"].startswith(
        "The provided location 'moon' is not available for resource group. List of available regions is"
    )
    assert error(arm("PUT", group, {"location": "eastus"})) == (409, "InvalidResourceGroupLocation")
    assert error(arm("PUT", f"{SUB}/resourceGroups/what%3F", {"location": "eastus"})) == (400, "InvalidResourceGroup")
    assert error(arm("GET", f"{SUB}/resourceGroups/rg-nowhere")) == (404, "ResourceGroupNotFound")
    assert error(arm("GET", group, version=None)) == (400, "MissingApiVersionParameter")
    for body in ([], "text", {"location": "westeurope", "tags": ["a"]}, {"location": "westeurope", "properties": 1}):
        assert error(arm("PUT", group, body)) == (400, "InvalidRequestContent"), body
    assert error(arm("GET", f"{SUB}/resourcegroups", **{"$top": "many"})) == (400, "InvalidTopInQueryString")
    assert (
        arm("PUT", group.upper().replace("/SUBSCRIPTIONS", "/subscriptions"), {"location": "westeurope", "tags": {"a": "b"}}).status_code
        == 200
    )
    assert arm("GET", group).json() == {
        "id": group,
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": "westeurope",
        "tags": {"a": "b"},
        "properties": {"provisioningState": "Succeeded"},
    }
    assert arm("PATCH", group, {"tags": {"c": "d"}}).json()["tags"] == {"c": "d"}


def test_deleting_a_group_ends_what_is_in_it(azure: Any, arm: Any) -> None:
    made = azure.workspace(fresh("gone"))
    group = "/".join(made["id"].split("/")[:5])
    held = f"{made['id']}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    oid = entra_oid(arm)
    assert (
        arm(
            "PUT", held, {"properties": {"roleDefinitionId": ROLES + "acdd72a7-3385-48ef-bd42-f606fba81ae7", "principalId": oid}}
        ).status_code
        == 201
    )
    answer = arm("DELETE", group)
    assert answer.status_code == 202
    while (state := arm("GET", answer.headers["Azure-AsyncOperation"].removeprefix(ARM).split("?")[0]).json())["status"] == "InProgress":
        pass
    assert state["status"] == "Succeeded"
    assert error(arm("GET", made["id"], version="2024-04-01"))[0] == 404
    assert error(arm("GET", held)) == (404, "RoleAssignmentNotFound")
    assert not [one for one in arm("GET", f"{SUB}/resources").json()["value"] if one["id"].startswith(group)]


def entra_oid(arm: Any) -> str:
    """The object id of the administrator, from its own role assignment."""
    held = arm("GET", f"{SUB}/providers/Microsoft.Authorization/roleAssignments").json()["value"]
    owner = next(one for one in held if one["properties"]["roleDefinitionId"].endswith("8e3af657-a8ff-443c-a75c-2fe8c4bcb635"))
    return str(owner["properties"]["principalId"])


# --- plain resources -------------------------------------------------------------------------------------------------------------


def test_a_storage_account_is_created_as_its_provider_does(azure: Any, arm: Any, group: str) -> None:
    name = "st" + uuid.uuid4().hex[:10]
    path = f"{group}/providers/Microsoft.Storage/storageAccounts/{name}"
    body = {"location": "westeurope", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {"minimumTlsVersion": "TLS1_2"}}
    azure.set("transition", "polls:2")
    try:
        accepted = arm("PUT", path, body)
        assert (accepted.status_code, accepted.content) == (202, b"")
        assert arm("GET", path).json()["properties"]["provisioningState"] == "Creating"
        assert error(arm("PUT", path, body)) == (409, "AnotherOperationInProgress")
        location = accepted.headers["Location"].removeprefix(ARM).split("?")[0]
        statuses = []
        while not statuses or statuses[-1] == 202:
            statuses.append((answer := arm("GET", location)).status_code)
        assert statuses[-1] == 200
        assert answer.json()["properties"]["provisioningState"] == "Succeeded"
    finally:
        azure.set("transition", "immediate")
    assert arm("PUT", path, body).status_code == 200
    keys = arm("POST", path + "/listKeys").json()["keys"]
    assert [key["keyName"] for key in keys] == ["key1", "key2"]

    host = f"https://{name}.blob.core.windows.net"
    with BlobServiceClient(host, credential=keys[0]["value"]) as client:
        client.create_container("one")
        assert [one.name for one in client.list_containers()] == ["one"]
    assert error(arm("PUT", f"{group}/providers/Microsoft.Storage/storageAccounts/St-1", body)) == (400, "AccountNameInvalid")
    assert error(arm("PUT", path.replace(name, "st" + uuid.uuid4().hex[:8]), {"location": "westeurope"})) == (
        400,
        "InvalidRequestPropertyValue",
    )
    other = f"{SUB}/resourceGroups/{fresh('rg')}"
    arm("PUT", other, {"location": "westeurope"})
    assert error(arm("PUT", f"{other}/providers/Microsoft.Storage/storageAccounts/{name}", body)) == (409, "StorageAccountAlreadyTaken")
    assert error(arm("PUT", path, {**body, "location": "eastus"})) == (409, "InvalidResourceLocation")
    renewed = arm("POST", path + "/regenerateKey", {"keyName": "key1"}).json()["keys"][0]["value"]
    assert renewed != keys[0]["value"]
    with pytest.raises(ClientAuthenticationError), BlobServiceClient(host, credential=keys[0]["value"]) as client:
        client.get_service_properties()
    with BlobServiceClient(host, credential=renewed) as client:
        assert [one.name for one in client.list_containers()] == ["one"]
    assert arm("DELETE", path).status_code == 200
    assert arm("DELETE", path).status_code == 204
    assert error(arm("GET", path)) == (404, "ResourceNotFound")
    assert arm("PUT", path, body).status_code == 202
    with BlobServiceClient(host, credential=arm("POST", path + "/listKeys").json()["keys"][0]["value"]) as client:
        assert [one.name for one in client.list_containers()] == [], "a deleted account leaves nothing to the next of its name"


@pytest.mark.parametrize(
    ("type", "name", "property"),
    [
        ("Microsoft.KeyVault/vaults", "kv1", "vaultUri"),
        ("Microsoft.Insights/components", "appi1", "ConnectionString"),
        ("Microsoft.OperationalInsights/workspaces", "log1", "customerId"),
        ("Microsoft.ContainerRegistry/registries", "cr12345", "loginServer"),
        ("Microsoft.ManagedIdentity/userAssignedIdentities", "id1", "principalId"),
    ],
)
def test_plain_resources(arm: Any, group: str, type: str, name: str, property: str) -> None:
    path = f"{group}/providers/{type}/{name}"
    made = arm("PUT", path, {"location": "westeurope", "tags": {"a": "b"}})
    assert made.status_code == 201
    value = made.json()["properties"][property]
    assert value
    again = arm("PUT", path, {"location": "westeurope"})
    assert (again.status_code, again.json()["properties"][property]) == (200, value)
    assert arm("PATCH", path, {"tags": {"c": "d"}}).json()["tags"] == {"c": "d"}
    assert arm("GET", path).json()["type"] == type
    assert [one["id"] for one in arm("GET", f"{group}/providers/{type}").json()["value"]] == [path]
    assert [
        one["id"]
        for one in arm("GET", f"{SUB}/resources", **{"$filter": f"resourceType eq '{type}' and name eq '{name}'"}).json()["value"]
        if one["id"].startswith(group)
    ] == [path]
    assert error(arm("PUT", f"{SUB}/resourceGroups/rg-nowhere/providers/{type}/{name}", {"location": "westeurope"})) == (
        404,
        "ResourceGroupNotFound",
    )


def test_what_is_not_emulated_names_itself(arm: Any, group: str) -> None:
    answer = arm("PUT", f"{group}/providers/Microsoft.Compute/virtualMachines/vm1", {"location": "westeurope"})
    assert error(answer) == (501, "NotEmulated")
    assert "PUT https://management.azure.com" in answer.json()["error"]["message"]


def test_resource_providers_register(arm: Any) -> None:
    assert arm("POST", f"{SUB}/providers/Microsoft.Network/unregister").json()["registrationState"] == "Unregistered"
    assert arm("POST", f"{SUB}/providers/microsoft.network/register").json()["registrationState"] == "Registered"
    assert error(arm("GET", f"{SUB}/providers/Microsoft.Nothing")) == (404, "InvalidResourceNamespace")
    elsewhere = "/subscriptions/00000000-0000-4000-8000-000000000001"
    assert error(arm("GET", elsewhere + "/resourcegroups")) == (404, "SubscriptionNotFound")
    unknown = arm("GET", f"{elsewhere}/resourceGroups/rg/providers/{ML}/workspaces/one", version="2024-04-01")
    assert error(unknown) == (404, "SubscriptionNotFound")
    assert unknown.json()["error"]["message"] == "The subscription '00000000-0000-4000-8000-000000000001' could not be found."
    assert {one["name"] for one in arm("GET", f"{SUB}/locations").json()["value"]} >= {"westeurope", "eastus"}
    assert [one["tenantId"] for one in arm("GET", "/tenants").json()["value"]] == [TENANT]


# --- who may do what -------------------------------------------------------------------------------------------------------------


def grant(arm: Any, who: dict[str, Any], role: str, scope: str) -> Any:
    body = {"properties": {"roleDefinitionId": f"{SUB}{ROLES}{role}", "principalId": who["oid"], "principalType": "ServicePrincipal"}}
    return arm("PUT", f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}", body, version="2022-04-01")


OWNER, CONTRIBUTOR, READER = (
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "acdd72a7-3385-48ef-bd42-f606fba81ae7",
)


def test_without_a_role_nothing_is_seen_and_nothing_allowed(arm: Any, group: str, new_app: Any) -> None:
    nobody = new_app("nobody")
    assert arm("GET", "/subscriptions", who=nobody).json()["value"] == []
    assert arm("GET", f"{SUB}/resourcegroups", who=nobody).json()["value"] == []
    assert arm("GET", f"{SUB}/resources", who=nobody).json()["value"] == []
    answer = arm("GET", group, who=nobody)
    assert error(answer) == (403, "AuthorizationFailed")
    assert answer.json()["error"]["message"] == (
        f"The client '{nobody['appId']}' with object id '{nobody['oid']}' does not have authorization to perform action "
        f"'Microsoft.Resources/subscriptions/resourceGroups/read' over scope '{group}' or the scope is invalid. "
        "If access was recently granted, please refresh your credentials."
    )
    assert answer.headers["x-ms-error-code"] == "AuthorizationFailed"


def test_a_person_is_called_by_name(send: Any, graph: Any, group: str) -> None:
    name = f"ann-{uuid.uuid4().hex[:6]}@{entra.TENANT_DOMAIN}"
    graph("POST", "/users", {"userPrincipalName": name, "displayName": "Ann", "passwordProfile": {"password": "ann's own"}})
    form = {"grant_type": "password", "client_id": entra.AZURE_CLI, "username": name, "password": "ann's own", "scope": ARM + "/.default"}
    token = send("POST", f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token", data=form).json()["access_token"]
    answer = send("GET", ARM + group, token=token, version="2022-09-01")
    assert answer.json()["error"]["message"].startswith(f"The client '{name}' with object id '")


def test_a_role_holds_below_its_scope_and_not_beside_it(arm: Any, group: str, new_app: Any) -> None:
    reader, other = new_app("reader"), f"{SUB}/resourceGroups/{fresh('rg')}"
    arm("PUT", other, {"location": "westeurope"})
    vault = f"{group}/providers/Microsoft.KeyVault/vaults/kv1"
    arm("PUT", vault, {"location": "westeurope"})
    assert grant(arm, reader, READER, group).status_code == 201
    assert arm("GET", vault, who=reader).status_code == 200
    assert error(arm("PUT", vault, {"location": "westeurope"}, who=reader)) == (403, "AuthorizationFailed")
    assert error(arm("GET", other, who=reader)) == (403, "AuthorizationFailed")
    assert error(arm("GET", group + "x", who=reader)) == (403, "AuthorizationFailed")
    assert [one["id"] for one in arm("GET", f"{SUB}/resourcegroups", who=reader).json()["value"]] == [group]
    assert [one["id"] for one in arm("GET", f"{SUB}/resources", who=reader).json()["value"]] == [vault]
    assert len(arm("GET", "/subscriptions", who=reader).json()["value"]) == 1


def test_a_contributor_gives_no_roles(arm: Any, group: str, new_app: Any) -> None:
    contributor, owner = new_app("contributor"), new_app("owner")
    grant(arm, contributor, CONTRIBUTOR, group)
    grant(arm, owner, OWNER, group)
    assert arm("PUT", f"{group}/providers/Microsoft.KeyVault/vaults/kv1", {"location": "westeurope"}, who=contributor).status_code == 201
    refused = grant(lambda *words, **more: arm(*words, who=contributor, **more), contributor, OWNER, group)
    assert error(refused) == (403, "AuthorizationFailed")
    assert "perform action 'Microsoft.Authorization/roleAssignments/write' over scope" in refused.json()["error"]["message"]
    assert grant(lambda *words, **more: arm(*words, who=owner, **more), contributor, READER, group).status_code == 201


def test_role_assignments(arm: Any, group: str, new_app: Any) -> None:
    app = new_app("assigned")
    made = grant(arm, app, READER, group)
    properties = made.json()["properties"]
    assert (properties["scope"], properties["principalType"], properties["principalId"]) == (group, "ServicePrincipal", app["oid"])
    assert properties["roleDefinitionId"] == f"{SUB}{ROLES}{READER}"
    assert error(grant(arm, app, READER, group)) == (409, "RoleAssignmentExists")
    assert error(grant(arm, {"oid": str(uuid.uuid4())}, READER, group)) == (400, "PrincipalNotFound")
    assert error(grant(arm, app, str(uuid.uuid4()), group)) == (404, "RoleDefinitionDoesNotExist")
    listed = f"{group}/providers/Microsoft.Authorization/roleAssignments"
    assert len(arm("GET", listed, **{"$filter": f"principalId eq '{app['oid']}'"}).json()["value"]) == 1
    above = arm("GET", listed, **{"$filter": "atScope()"}).json()["value"]
    assert {one["properties"]["scope"] for one in above} == {group, SUB}
    below = f"{SUB}/providers/Microsoft.Authorization/roleAssignments"
    assert made.json()["id"] in [one["id"] for one in arm("GET", below).json()["value"]]
    assert made.json()["id"] not in [one["id"] for one in arm("GET", below, **{"$filter": "atScope()"}).json()["value"]]
    assert arm("DELETE", made.json()["id"]).json() == made.json()
    assert arm("DELETE", made.json()["id"]).status_code == 204
    assert error(arm("GET", group, who=app)) == (403, "AuthorizationFailed")


def test_a_new_role_may_take_a_while_to_be_seen(azure: Any, arm: Any, group: str, new_app: Any) -> None:
    app = new_app("impatient")
    azure.set("role_delay", 3600)
    try:
        assert grant(arm, app, READER, group).status_code == 201
        assert error(arm("GET", group, who=app)) == (403, "AuthorizationFailed")
        assert arm("GET", "/subscriptions", who=app).json()["value"] == []
        azure.set("role_delay", 0)
        assert error(arm("GET", group, who=app)) == (403, "AuthorizationFailed"), "the delay is the one of the time of the grant"
    finally:
        azure.set("role_delay", 0)


def test_roles(arm: Any) -> None:
    path = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions"
    found = {one["properties"]["roleName"]: one for one in arm("GET", path).json()["value"]}
    assert found["AzureML Data Scientist"]["id"] == f"{SUB}{ROLES}f6c7c914-8db3-469d-8ca1-694a8f32e121"
    assert len(found) >= 15
    (one,) = arm("GET", path, **{"$filter": "roleName eq 'contributor'"}).json()["value"]
    assert one["name"] == CONTRIBUTOR
    assert arm("GET", f"{path}/{READER}").json()["properties"]["permissions"][0]["actions"] == ["*/read"]


def test_custom_roles(arm: Any, group: str, new_app: Any) -> None:
    guid, name = str(uuid.uuid4()), fresh("Tagger")
    body = {
        "properties": {
            "roleName": name,
            "description": "Tags groups",
            "assignableScopes": [SUB],
            "permissions": [{"actions": ["Microsoft.Resources/subscriptions/resourceGroups/*"], "notActions": ["*/delete"]}],
        }
    }
    path = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{guid}"
    assert arm("PUT", path, body).status_code == 201
    assert error(arm("PUT", path.replace(guid, str(uuid.uuid4())), body)) == (409, "RoleDefinitionWithSameNameExists")
    app = new_app("tagger")
    grant(arm, app, guid, group)
    assert arm("PATCH", group, {"tags": {"a": "b"}}, who=app).status_code == 200
    assert error(arm("DELETE", group, who=app)) == (403, "AuthorizationFailed")
    assert error(arm("DELETE", path)) == (400, "RoleDefinitionHasAssignments")


# --- the rules themselves --------------------------------------------------------------------------------------------------------


def principal(cloud: Cloud, name: str) -> Principal:
    app = entra.create_application(cloud, name)
    return Principal(app["oid"], app["appId"], TENANT, "app", "https://management.azure.com")


@pytest.mark.parametrize(
    ("role", "action", "yes"),
    [
        ("AzureML Data Scientist", f"{ML}/workspaces/read", True),
        ("AzureML Data Scientist", f"{ML}/workspaces/jobs/write", True),
        ("AzureML Data Scientist", f"{ML}/workspaces/onlineEndpoints/deployments/write", True),
        ("AzureML Data Scientist", f"{ML}/workspaces/computes/read", True),
        ("AzureML Data Scientist", f"{ML}/workspaces/computes/write", False),
        ("AzureML Data Scientist", f"{ML}/workspaces/computes/delete", False),
        ("AzureML Data Scientist", f"{ML}/workspaces/write", False),
        ("AzureML Data Scientist", f"{ML}/workspaces/listKeys/action", False),
        ("AzureML Data Scientist", f"{ML}/registries/read", False),
        ("AzureML Compute Operator", f"{ML}/workspaces/computes/write", True),
        ("AzureML Compute Operator", f"{ML}/workspaces/jobs/read", False),
        ("AzureML Registry User", f"{ML}/registries/assets/write", True),
        ("AzureML Registry User", f"{ML}/registries/delete", False),
        ("Contributor", "Microsoft.Authorization/roleAssignments/write", False),
        ("Contributor", "Microsoft.Authorization/roleAssignments/read", True),
        ("Reader", f"{ML}/workspaces/listKeys/action", False),
        ("User Access Administrator", "Microsoft.Authorization/roleAssignments/write", True),
        ("User Access Administrator", f"{ML}/workspaces/write", False),
        ("Key Vault Administrator", "Microsoft.KeyVault/vaults/secrets/read", True),
    ],
)
def test_built_in_roles(cloud: Cloud, role: str, action: str, yes: bool) -> None:
    who, scope = principal(cloud, "who"), f"{SUB}/resourceGroups/rg"
    roles.assign(cloud, who.oid, role, scope)
    assert roles.allowed(cloud, who, action, f"{scope}/providers/{ML}/workspaces/one") is yes
    assert not roles.allowed(cloud, who, action, f"{SUB}/resourceGroups/other")


def test_data_actions_are_apart_from_actions(cloud: Cloud) -> None:
    who, action = principal(cloud, "who"), "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write"
    roles.assign(cloud, who.oid, "Owner", SUB)
    assert not roles.allowed(cloud, who, action, SUB, data=True)
    roles.assign(cloud, who.app_id, "Storage Blob Data Contributor", SUB)
    assert roles.allowed(cloud, who, action, SUB, data=True)


def test_one_roles_not_actions_take_nothing_from_another(cloud: Cloud) -> None:
    who = principal(cloud, "who")
    roles.assign(cloud, who.oid, "Contributor", SUB)
    roles.assign(cloud, who.oid, "User Access Administrator", SUB)
    assert roles.allowed(cloud, who, "Microsoft.Authorization/roleAssignments/write", f"{SUB}/resourceGroups/rg")


def test_the_root_management_group_is_above_everything(cloud: Cloud) -> None:
    for scope in ("/", roles.ROOT_GROUP):
        who = principal(cloud, scope)
        roles.assign(cloud, who.oid, "Reader", scope)
        assert roles.allowed(cloud, who, f"{ML}/workspaces/read", f"{SUB}/resourceGroups/rg/providers/{ML}/workspaces/one")


def test_assigning_twice_is_once(cloud: Cloud) -> None:
    who = principal(cloud, "who")
    assert roles.assign(cloud, who.oid, "Reader", SUB + "/") == roles.assign(cloud, who.app_id, "reader", SUB)
    with pytest.raises(LookupError, match="there is no role 'Emperor'"):
        roles.assign(cloud, who.oid, "Emperor", SUB)
    with pytest.raises(LookupError, match="neither a service principal nor a user"):
        roles.assign(cloud, "nobody", "Reader", SUB)


def test_a_role_is_seen_after_its_delay(cloud: Cloud) -> None:
    who, action = principal(cloud, "who"), f"{ML}/workspaces/read"
    cloud.settings.role_delay = 60
    roles.assign(cloud, who.oid, "Reader", SUB)
    assert not roles.allowed(cloud, who, action, SUB)
    cloud.skew = dt.timedelta(seconds=61)
    assert roles.allowed(cloud, who, action, SUB)


def test_http_errors_reach_the_sdk(azure: Any) -> None:
    credential = ClientSecretCredential(TENANT, azure.env["AZURE_CLIENT_ID"], azure.env["AZURE_CLIENT_SECRET"])
    with ResourceManagementClient(credential, SUBSCRIPTION) as client, pytest.raises(HttpResponseError) as caught:
        client.resource_groups.create_or_update("rg-moon", ResourceGroup(location="moon"))
    assert caught.value.error is not None
    assert caught.value.error.code == "LocationNotAvailableForResourceGroup"
