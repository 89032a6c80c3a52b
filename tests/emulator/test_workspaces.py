"""Workspaces, driven by azure-ai-ml, azure-mgmt-machinelearningservices and plain requests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import ApiKeyConfiguration, Data, Workspace, WorkspaceConnection
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential, EnvironmentCredential
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient

from emulator.client import Administrator
from emulator.core import REGIONS, SUBSCRIPTION, TENANT, Cloud
from emulator.errors import AzureError
from emulator.workspaces import models

GROUP = "rg-ws"
PLACE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
ML = f"{PLACE}/providers/Microsoft.MachineLearningServices/workspaces"


@pytest.fixture(scope="module")
def workspace(emulator: Any) -> dict[str, Any]:
    """The workspace that most tests look at."""
    made: dict[str, Any] = emulator.admin.workspace("ws-one", GROUP)
    return made


@pytest.fixture
def ml(azure: Any, workspace: Any) -> MLClient:
    return MLClient(EnvironmentCredential(), SUBSCRIPTION, GROUP, "ws-one", enable_telemetry=False)


@pytest.fixture
def mgmt(azure: Any, workspace: Any) -> MachineLearningServicesMgmtClient:
    return MachineLearningServicesMgmtClient(EnvironmentCredential(), SUBSCRIPTION)


@pytest.fixture
def ask(send: Callable[..., Any], sign_in: Callable[..., str], workspace: Any) -> Callable[..., Any]:
    """A plain request below the workspaces of the group."""
    token = sign_in()

    def ask(method: str, path: str, body: Any = None, version: str | None = "2024-04-01", **more: Any) -> Any:
        return send(method, f"https://management.azure.com{ML}{path}", token=token, version=version, json=body, **more)

    return ask


@pytest.fixture
def body(workspace: dict[str, Any]) -> dict[str, Any]:
    """A request body from which a workspace on the same resources can be made."""
    wanted = {key: workspace["properties"][key] for key in ("storageAccount", "keyVault", "applicationInsights")}
    return {"location": "westeurope", "properties": wanted}


def unique(stem: str) -> str:
    return f"{stem}-{uuid.uuid4().hex[:8]}"


class TestReading:
    def test_the_sdk_sees_what_azure_shows(self, ml: MLClient, workspace: dict[str, Any]) -> None:
        found = ml.workspaces.get()
        assert (found.name, found.location, found.resource_group, found.display_name) == ("ws-one", "westeurope", GROUP, "ws-one")
        assert found.discovery_url == "https://westeurope.api.azureml.ms/discovery"
        assert found.storage_account == workspace["properties"]["storageAccount"]
        assert found._workspace_id == workspace["properties"]["workspaceId"]
        assert found.identity.type == "system_assigned"
        assert uuid.UUID(found.identity.principal_id)

    def test_lists_by_group_and_subscription(self, ml: MLClient, mgmt: MachineLearningServicesMgmtClient) -> None:
        assert "ws-one" in [one.name for one in ml.workspaces.list()]
        assert "ws-one" in [one.name for one in ml.workspaces.list(scope="subscription")]
        assert not list(ml.workspaces.list(filtered_kinds="hub"))
        assert "ws-one" in [one.name for one in mgmt.workspaces.list_by_resource_group(GROUP)]

    def test_both_clients_read_the_same(self, ml: MLClient, mgmt: MachineLearningServicesMgmtClient) -> None:
        one, other = ml.workspaces.get(), mgmt.workspaces.get(GROUP, "ws-one")
        assert (one.id, one.key_vault) == (other.id, other.key_vault)
        # azureml-mlflow, where it is installed, makes the SDK write v2.0
        assert one.mlflow_tracking_uri.replace("v2.0", "v1.0") == other.ml_flow_tracking_uri
        assert (other.provisioning_state, other.system_data.created_by, other.tenant_id) == ("Succeeded", "platform-admin", TENANT)

    def test_keys_open_the_storage(self, ml: MLClient, mgmt: MachineLearningServicesMgmtClient, azure: Any) -> None:
        storage = ml.workspaces.get().storage_account
        key = azure.arm("POST", f"{storage}/listKeys", version="2023-01-01")["keys"][0]["value"]
        assert ml.workspaces.get_keys().user_storage_key == key
        assert mgmt.workspaces.list_keys(GROUP, "ws-one").user_storage_key == key
        assert mgmt.workspaces.list_storage_account_keys(GROUP, "ws-one").user_storage_key == key

    def test_discovery_names_the_services_of_the_region(self, send: Callable[..., Any], ml: MLClient) -> None:
        answer = send("GET", ml.workspaces.get().discovery_url).json()
        assert answer["api"] == answer["history"] == "https://westeurope.api.azureml.ms"

    def test_empty_places_are_empty_lists(self, ml: MLClient, mgmt: MachineLearningServicesMgmtClient) -> None:
        assert list(ml.workspace_outbound_rules.list("ws-one")) == []
        assert list(mgmt.private_endpoint_connections.list(GROUP, "ws-one")) == []
        assert ml.workspaces.begin_diagnose("ws-one").result().storage_account_results == []
        ml.workspaces.begin_sync_keys("ws-one").result()

    def test_what_is_not_there(self, ml: MLClient, ask: Callable[..., Any]) -> None:
        with pytest.raises(ResourceNotFoundError, match=f"'{models.TYPE}/none' under resource group '{GROUP}' was not found"):
            ml.workspaces.get("none")
        assert ask("GET", "", version=None).json()["error"]["code"] == "MissingApiVersionParameter"


class TestWriting:
    def test_the_sdk_makes_one_by_template_with_all_it_needs(self, azure: Any, ml: MLClient) -> None:
        name = unique("made")
        made = ml.workspaces.begin_create(Workspace(name=name, location="northeurope", tags={"team": "a"}, description="d")).result()
        assert (made.name, made.location, made.description, made.tags["team"]) == (name, "northeurope", "d", "a")
        stores = MLClient(EnvironmentCredential(), SUBSCRIPTION, GROUP, name, enable_telemetry=False).datastores
        assert stores.get_default().account_name == made.storage_account.rsplit("/", 1)[-1]
        assert azure.arm("GET", made.key_vault)["type"] == "Microsoft.KeyVault/vaults"

    def test_an_update_changes_what_it_names(self, ml: MLClient, azure: Any, body: dict[str, Any]) -> None:
        name = unique("changed")
        azure.arm("PUT", f"{ML}/{name}", {**body, "tags": {"a": "1"}})
        changed = ml.workspaces.begin_update(
            Workspace(name=name, tags={"b": "2"}, description="new", public_network_access="Disabled")
        ).result()
        assert (changed.tags, changed.description, changed.public_network_access) == ({"b": "2"}, "new", "Disabled")
        assert changed.display_name == name

    def test_a_put_again_keeps_its_identity(self, azure: Any, body: dict[str, Any]) -> None:
        name = unique("again")
        first, second = (azure.arm("PUT", f"{ML}/{name}", body) for _ in range(2))
        for part in ("workspaceId", "creationTime"):
            assert first["properties"][part] == second["properties"][part]
        assert first["identity"] == second["identity"]
        assert first["systemData"]["createdAt"] == second["systemData"]["createdAt"]

    def test_goes_through_its_states(self, own_emulator: Any) -> None:
        session = own_emulator.admin.session
        made = own_emulator.admin.workspace("slow-one", GROUP)
        own_emulator.set("transition", "polls:2")
        wanted = {key: made["properties"][key] for key in ("storageAccount", "keyVault")}
        url = f"https://management.azure.com{ML}/slow-two?api-version=2024-04-01"
        answer = session.put(url, json={"location": "westeurope", "properties": wanted}, timeout=60)
        assert (answer.status_code, answer.json()["properties"]["provisioningState"]) == (201, "Creating")
        busy = session.put(url, json={"location": "westeurope", "properties": wanted}, timeout=60)
        assert (busy.status_code, busy.json()["error"]["message"]) == (409, "Another operation on the same entity is already running.")
        follow = answer.headers["Azure-AsyncOperation"]
        assert session.get(follow, timeout=60).json()["status"] == "InProgress"
        while session.get(follow, timeout=60).json()["status"] == "InProgress":
            pass
        assert session.get(url, timeout=60).json()["properties"]["provisioningState"] == "Succeeded"

    def test_is_finished_after_a_restart(self, own_emulator: Any) -> None:
        made = own_emulator.admin.workspace("cut-one", GROUP)
        own_emulator.set("transition", "seconds:600")
        wanted = {key: made["properties"][key] for key in ("storageAccount", "keyVault")}
        session, version = own_emulator.admin.session, "?api-version=2024-04-01"
        session.put(f"https://management.azure.com{ML}/cut-two{version}", json={"location": "westeurope", "properties": wanted}, timeout=60)
        cluster = {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_DS2_v2"}}
        session.put(f"https://management.azure.com{ML}/cut-one/computes/cpu{version}", json={"properties": cluster}, timeout=60)
        own_emulator.stop()
        own_emulator.cli("start", "--port", "0", "--lifetime", "300")
        try:
            again = Administrator(own_emulator.home)
            for resource in (f"{ML}/cut-two", f"{ML}/cut-one/computes/cpu"):
                while (state := again.arm("GET", resource)["properties"]["provisioningState"]) == "Creating":
                    pass
                assert state == "Succeeded"
            assert len(again.arm("GET", f"{ML}/cut-two/datastores")["value"]) == 4
        finally:
            own_emulator.cli("stop")

    @pytest.mark.parametrize(
        ("name", "change", "code", "target"),
        [
            ("x", {}, "ValidationError", "name"),
            ("has space", {}, "ValidationError", "name"),
            ("good", {"location": None}, "LocationRequired", "location"),
            ("good", {"location": "atlantis"}, "LocationNotAvailableForResourceType", "location"),
            ("good", {"properties": {}}, "ValidationError", "properties.storageAccount"),
            ("good", {"properties": "text"}, "InvalidRequestContent", "properties"),
            (
                "good",
                {"properties": {"storageAccount": "/subscriptions/x", "keyVault": "y"}},
                "ValidationError",
                "properties.storageAccount",
            ),
        ],
    )
    def test_a_body_that_cannot_be(
        self, ask: Callable[..., Any], body: dict[str, Any], name: str, change: Any, code: str, target: str
    ) -> None:
        answer = ask("PUT", f"/{name}", {**body, **change})
        assert answer.status_code == 400
        assert (answer.json()["error"]["code"], answer.json()["error"]["target"]) == (code, target)

    def test_cannot_move(self, ask: Callable[..., Any], body: dict[str, Any]) -> None:
        moved = ask("PUT", "/ws-one", {**body, "location": "eastus"})
        assert (moved.status_code, moved.json()["error"]["code"]) == (409, "InvalidResourceLocation")

    def test_needs_its_group(self, azure: Any, body: dict[str, Any]) -> None:
        with pytest.raises(RuntimeError, match=r"404 .*ResourceGroupNotFound"):
            azure.arm("PUT", f"{ML.replace(GROUP, 'rg-none')}/ws-one", body)

    def test_a_patch_refuses_what_is_fixed(self, ask: Callable[..., Any]) -> None:
        answer = ask("PATCH", "/ws-one", {"properties": {"keyVault": "other"}})
        assert (answer.status_code, answer.json()["error"]["target"]) == (400, "properties.keyVault")

    def test_a_contributor_elsewhere_may_not(self, azure: Any, workspace: Any) -> None:
        made = azure.ask(
            "POST", "/identities", {"name": unique("app"), "secret": "s3cret-of-a-test", "roles": [{"role": "Reader", "scope": PLACE}]}
        )
        reader = MLClient(
            ClientSecretCredential(TENANT, made["client_id"], "s3cret-of-a-test"), SUBSCRIPTION, GROUP, enable_telemetry=False
        )
        assert reader.workspaces.get("ws-one").name == "ws-one"
        wanted = f"perform action 'Microsoft.MachineLearningServices/workspaces/write' over scope '{ML}/ws-one'"
        with pytest.raises(HttpResponseError, match=wanted) as refused:
            reader.workspaces.begin_update(Workspace(name="ws-one", tags={}))
        assert refused.value.status_code == 403


class TestGoing:
    def test_a_deleted_name_is_blocked_and_its_assets_come_back(self, azure: Any, ml: MLClient, body: dict[str, Any]) -> None:
        name = unique("soft")
        azure.arm("PUT", f"{ML}/{name}", body)
        inside = MLClient(EnvironmentCredential(), SUBSCRIPTION, GROUP, name, enable_telemetry=False)
        inside.data.create_or_update(
            Data(name="kept", version="1", path="azureml://datastores/workspaceblobstore/paths/x", type="uri_file")
        )
        cluster = {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_DS2_v2"}}
        azure.arm("PUT", f"{ML}/{name}/computes/cpu", {"location": "westeurope", "properties": cluster})
        ml.workspaces.begin_delete(name, delete_dependent_resources=False).result()
        with pytest.raises(ResourceNotFoundError):
            ml.workspaces.get(name)
        assert name not in [one.name for one in ml.workspaces.list()]
        with pytest.raises(RuntimeError, match=r"Soft-deleted workspace exists. Please purge or recover it."):
            azure.arm("PUT", f"{ML}/{name}", body)
        recovered = {**body, "properties": {**body["properties"], "allowRecoverSoftDeletedWorkspace": True}}
        azure.arm("PUT", f"{ML}/{name}", recovered)
        assert inside.data.get("kept", version="1").name == "kept"
        assert inside.datastores.get_default().name == "workspaceblobstore"
        assert list(inside.compute.list()) == []

    def test_a_purged_name_is_free(self, azure: Any, ml: MLClient, body: dict[str, Any]) -> None:
        name = unique("hard")
        first = azure.arm("PUT", f"{ML}/{name}", body)
        azure.arm("PUT", f"{ML}/{name}/environments/e/versions/1", {"properties": {"image": "a/b"}})
        azure.arm("DELETE", f"{ML}/{name}/environments/e/versions/1")
        ml.workspaces.begin_delete(name, delete_dependent_resources=False, permanently_delete=True).result()
        second = azure.arm("PUT", f"{ML}/{name}", body)
        assert first["properties"]["workspaceId"] != second["properties"]["workspaceId"]
        azure.arm("PUT", f"{ML}/{name}/environments/e/versions/1", {"properties": {"image": "a/b"}})

    def test_a_soft_deleted_one_can_be_purged_later(self, ask: Callable[..., Any], azure: Any, body: dict[str, Any], mgmt: Any) -> None:
        name = unique("later")
        azure.arm("PUT", f"{ML}/{name}", body)
        mgmt.workspaces.begin_delete(GROUP, name).result()
        assert ask("DELETE", f"/{name}").status_code == 204
        assert ask("DELETE", f"/{name}", params={"forceToPurge": "true"}).status_code == 200
        azure.arm("PUT", f"{ML}/{name}", body)

    def test_retention_ends_after_fourteen_days(self, cloud: Cloud) -> None:
        id = f"{ML}/old"
        cloud.store.put(PLACE, "resource_group", {"id": PLACE})
        resources = {
            "storageAccount": f"{PLACE}/providers/Microsoft.Storage/storageAccounts/st",
            "keyVault": f"{PLACE}/providers/Microsoft.KeyVault/vaults/kv",
        }
        for resource in resources.values():
            cloud.store.put(resource, "resource", {"id": resource})
        body = {"location": REGIONS[0], "properties": resources}
        models.validate(cloud, id, body)
        models.make(cloud, id, body, None)
        asyncio.run(models.remove(cloud, id, permanently=False))
        cloud.skew = timedelta(days=13, hours=23)
        with pytest.raises(AzureError, match="Soft-deleted workspace exists"):
            models.validate(cloud, id, body)
        cloud.skew = timedelta(days=14, seconds=1)
        models.validate(cloud, id, body)


class TestConnections:
    def test_live_without_showing_their_secret(self, ml: MLClient, ask: Callable[..., Any]) -> None:
        wanted = WorkspaceConnection(
            name="git", type="git", target="https://example.org/x.git", credentials=ApiKeyConfiguration(key="hidden")
        )
        made = ml.connections.create_or_update(wanted)
        assert (made.name, made.target) == ("git", "https://example.org/x.git")
        assert [one.name for one in ml.connections.list(connection_type="git")] == ["git"]
        assert "hidden" not in ask("GET", "/ws-one/connections/git").text
        assert "hidden" in ask("POST", "/ws-one/connections/git/listsecrets").text
        ml.connections.delete("git")
        with pytest.raises(ResourceNotFoundError):
            ml.connections.get("git")

    def test_want_an_object(self, ask: Callable[..., Any]) -> None:
        answer = ask("PUT", "/ws-one/connections/x", ["a", "list"])
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidRequestContent")

    def test_need_a_category(self, ask: Callable[..., Any]) -> None:
        answer = ask("PUT", "/ws-one/connections/x", {"properties": {"authType": "None"}})
        assert (answer.status_code, answer.json()["error"]["target"]) == (400, "properties.category")
