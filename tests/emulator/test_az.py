"""The Azure CLI as it is, from sign-in to sign-out. One call of it takes a second, so each test is a whole story."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emulator.core import ADMIN_CLIENT_ID, SUBSCRIPTION, TENANT
from emulator.entra import models
from emulator.github import models as github

ROOT = Path(__file__).resolve().parents[2]
Az = Callable[..., Any]


class Refused(Exception):
    """az ended with another code than 0; what it wrote to standard error."""


@pytest.fixture
def az(azure: Any, tmp_path: Path) -> Az:
    """Run az with a configuration of its own, signed in as nobody; the JSON it prints."""
    program = Path(os.environ.get("AZ_CLI", ROOT / ".venv-az" / "bin" / "az"))
    assert program.exists(), f"the Azure CLI is not at {program}: run 'make install-tests', or say where it is with AZ_CLI"
    env = {
        **azure.env,
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AZURE_CONFIG_DIR": str(tmp_path / "azure"),
        "AZURE_CORE_COLLECT_TELEMETRY": "no",
        "AZURE_CORE_ONLY_SHOW_ERRORS": "yes",
        "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
        "PYTHONWARNINGS": "ignore",
    }

    def az(*words: str) -> Any:
        done = subprocess.run([program, *words, "--output", "json"], env=env, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise Refused(done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    return az


def login(az: Az, secret: str, client_id: str = ADMIN_CLIENT_ID) -> Any:
    return az("login", "--service-principal", "--username", client_id, "--password", secret, "--tenant", TENANT)


def test_a_service_principals_day(az: Az, azure: Any, new_app: Any) -> None:
    (account,) = login(az, azure.env["AZURE_CLIENT_SECRET"])
    assert (account["id"], account["tenantId"], account["user"]["type"]) == (SUBSCRIPTION, TENANT, "servicePrincipal")
    assert az("account", "show")["name"] == "Contoso Data Science"

    name = f"rg-az-{uuid.uuid4().hex[:6]}"
    group = az("group", "create", "--name", name, "--location", "westeurope", "--tags", "made-by=az")
    assert group["properties"]["provisioningState"] == "Succeeded"
    assert name in [one["name"] for one in az("group", "list", "--tag", "made-by=az")]

    workspace = azure.admin.workspace(f"mlw-{name}", group=name)
    listed = az("resource", "list", "--resource-type", "Microsoft.MachineLearningServices/workspaces")
    assert workspace["id"] in [one["id"] for one in listed]
    assert az("resource", "show", "--ids", workspace["id"])["properties"]["workspaceId"] == workspace["properties"]["workspaceId"]
    read = az("rest", "--method", "get", "--url", f"{workspace['id']}?api-version=2024-04-01")
    assert read["properties"]["discoveryUrl"] == "https://westeurope.api.azureml.ms/discovery"

    app = new_app("reader for az")
    held = az("role", "assignment", "create", "--assignee", app["appId"], "--role", "Reader", "--scope", group["id"])
    assert held["principalId"] == app["oid"]
    (row,) = az("role", "assignment", "list", "--scope", group["id"])
    assert (row["principalName"], row["roleDefinitionName"]) == (app["appId"], "Reader")
    az("role", "assignment", "delete", "--ids", held["id"])
    assert az("role", "assignment", "list", "--scope", group["id"]) == []

    with pytest.raises(Refused, match="LocationNotAvailableForResourceGroup"):
        az("group", "create", "--name", "rg-moon", "--location", "moon")
    az("group", "delete", "--name", name, "--yes")
    assert az("group", "exists", "--name", name) is False
    az("logout")
    with pytest.raises(Refused, match="az login"):
        az("account", "show")


def test_an_administrators_preparation_of_a_federated_sign_in(az: Az, azure: Any, send: Any) -> None:
    login(az, azure.env["AZURE_CLIENT_SECRET"])
    app = az("ad", "app", "create", "--display-name", f"flight-delay-{uuid.uuid4().hex[:6]}")
    az("ad", "sp", "create", "--id", app["appId"])
    federated = {
        "name": "dev",
        "issuer": github.ISSUER,
        "subject": "repo:contoso/flight-delay:environment:dev",
        "audiences": [models.EXCHANGE_AUDIENCE],
    }
    az("ad", "app", "federated-credential", "create", "--id", app["appId"], "--parameters", json.dumps(federated))
    az("role", "assignment", "create", "--assignee", app["appId"], "--role", "Contributor", "--scope", f"/subscriptions/{SUBSCRIPTION}")

    def assertion(environment: str) -> str:
        query = {"repository": "contoso/flight-delay", "environment": environment, "audience": models.EXCHANGE_AUDIENCE}
        return str(send("GET", github.REQUEST_URL, token="act", params=query).json()["value"])

    words = ("login", "--service-principal", "--username", app["appId"], "--tenant", TENANT, "--federated-token")
    with pytest.raises(Refused, match="AADSTS700213: No matching federated identity record found"):
        az(*words, assertion("production"))
    (account,) = az(*words, assertion("dev"))
    assert account["user"]["name"] == app["appId"]
    with pytest.raises(Refused, match="Insufficient privileges"):
        az("ad", "app", "create", "--display-name", "not mine to make")


def test_create_for_rbac_and_sign_in_with_the_certificate(az: Az, azure: Any) -> None:
    login(az, azure.env["AZURE_CLIENT_SECRET"])
    scope = f"/subscriptions/{SUBSCRIPTION}"
    made = az(
        "ad", "sp", "create-for-rbac", "--name", f"rbac-{uuid.uuid4().hex[:6]}", "--role", "Reader", "--scopes", scope, "--create-cert"
    )
    (account,) = az(
        "login", "--service-principal", "--username", made["appId"], "--tenant", TENANT, "--certificate", made["fileWithCertAndPrivateKey"]
    )
    assert account["id"] == SUBSCRIPTION
    with pytest.raises(
        Refused, match=r"does not have authorization to perform action 'Microsoft\.Resources/subscriptions/resourceGroups/write'"
    ):
        az("group", "create", "--name", "rg-of-a-reader", "--location", "westeurope")


def test_a_person_signs_in(az: Az, azure: Any, graph: Any) -> None:
    name = f"lee-{uuid.uuid4().hex[:6]}@{models.TENANT_DOMAIN}"
    person = graph("POST", "/users", {"userPrincipalName": name, "displayName": "Lee", "passwordProfile": {"password": "lee's own"}})
    role = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7"
    held = {"properties": {"roleDefinitionId": role, "principalId": person["id"], "principalType": "User"}}
    azure.arm("PUT", f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}", held)
    (account,) = az("login", "--username", name, "--password", "lee's own")
    assert (account["user"], account["tenantDisplayName"]) == ({"name": name, "type": "user"}, "Contoso")
    assert az("ad", "signed-in-user", "show")["id"] == person["id"]
    assert az("account", "get-access-token")["tenant"] == TENANT


def test_sign_ins_that_fail(az: Az, new_app: Any) -> None:
    with pytest.raises(Refused, match="AADSTS7000215: Invalid client secret provided"):
        login(az, "not-the-secret")
    app = new_app("without a role")
    with pytest.raises(Refused, match="No subscriptions found"):
        login(az, app["secret"], app["appId"])
