"""Production audited: whoever reaches it is found, with the command that mends it, and what can't be read is said."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jsonschema_rs
import pytest

from _provision import own_roles
from aml import access, azure, command, reach, roles, workspace
from emulator.client import Administrator
from emulator.core import ADMIN_CLIENT_ID, SUBSCRIPTION, TENANT

ROOT = Path(__file__).parents[2]
SUB = f"/subscriptions/{SUBSCRIPTION}"
GROUP = f"{SUB}/resourceGroups/rg-audited"
PEM = json.dumps((Path(__file__).parents[1] / "unit" / "corpus" / "signing" / "public.pem").read_text())
GITHUB = "https://token.actions.githubusercontent.com"
REPOSITORY = "contoso/audited"
ROLE = {
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Storage Blob Data Reader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
    "User Access Administrator": "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
}
AZ = Path(os.environ.get("AZ_CLI", ROOT / ".venv-az" / "bin" / "az"))


@dataclass
class Audited:
    """One production workspace, planned and provisioned as it should be, and how it is audited."""

    folder: Path
    admin: Administrator
    emulator: Any
    client_id: str
    capsys: Any
    undo: list[Callable[[], Any]] = field(default_factory=list)

    def run(self, **flags: str) -> tuple[str, str]:
        """Audit it; the refusal, and all that was printed."""
        words = [f"--{name.replace('_', '-')}={value}" for name, value in {"code_scanning": "false", **flags}.items()]
        self.capsys.readouterr()
        refusal = ""
        try:
            importlib.import_module("audit_access").main([f"--project={self.folder}", "--workspace=prod", *words])
        except Exception as error:
            explained = error if isinstance(error, command.Refusal) else azure.explain(error)
            if explained is None:
                raise
            refusal = str(explained)
        captured = self.capsys.readouterr()
        return refusal, captured.out + captured.err

    @property
    def predicate(self) -> dict[str, Any]:
        """What the last audit left."""
        found: dict[str, Any] = json.loads((self.folder.parent / "evidence" / "audit_access-prod.json").read_text())["predicate"]
        return found

    @property
    def failed(self) -> dict[str, list[str]]:
        """What the last audit found fault with, by rule."""
        made: dict[str, list[str]] = {}
        for one in self.predicate["findings"]:
            if not one["passed"]:
                made.setdefault(one["rule"], []).append(one["says"])
        return made

    @property
    def sarif(self) -> dict[str, Any]:
        """The last audit's findings in SARIF."""
        found: dict[str, Any] = json.loads((self.folder.parent / "evidence" / "sarif" / "audit_access-prod.sarif").read_text())
        return found

    @property
    def page(self) -> str:
        """The last audit's page."""
        return (self.folder.parent / "evidence" / "audit_access-prod.md").read_text()

    @property
    def parts(self) -> dict[str, str]:
        """What the workspace stands on."""
        found: dict[str, str] = self.admin.arm("GET", f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/audited")[
            "properties"
        ]
        return found

    def graph(self, method: str, path: str, body: Any = None, version: str = "v1.0") -> Any:
        """Microsoft Graph as the administrator."""
        headers = {"Authorization": f"Bearer {self.admin.token('https://graph.microsoft.com/.default')}"}
        answer = self.admin.session.request(method, f"https://graph.microsoft.com/{version}{path}", json=body, headers=headers, timeout=60)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else {}

    def person(self, name: str) -> str:
        """Somebody of this display name; the object id."""
        principal = f"{uuid.uuid4().hex[:10]}@contoso.onmicrosoft.com"
        body = {"userPrincipalName": principal, "displayName": name, "passwordProfile": {"password": "a long password"}}
        made = str(self.graph("POST", "/users", body)["id"])
        self.undo.append(lambda: self.graph("DELETE", f"/users/{made}"))
        return made

    def group(self, name: str, *members: str) -> str:
        """A group with these members; the object id."""
        body = {"displayName": name, "mailNickname": uuid.uuid4().hex, "mailEnabled": False, "securityEnabled": True}
        made = str(self.graph("POST", "/groups", body)["id"])
        for one in members:
            reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{one}"}
            self.graph("POST", f"/groups/{made}/members/$ref", reference)
        return made

    def principal(self, name: str) -> tuple[str, str]:
        """Another application with a service principal; client id and object id."""
        made = self.emulator.ask("POST", "/identities", {"name": name, "federated": [], "roles": []})
        return made["client_id"], made["oid"]

    def assign(self, role: str, who: str, scope: str) -> str:
        """Assign a role by name or id, taken back after the test; the assignment's id."""
        id = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        definition = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{ROLE.get(role, role)}"
        self.admin.arm("PUT", id, {"properties": {"roleDefinitionId": definition, "principalId": who}}, "2022-04-01")
        self.undo.append(lambda: self.admin.arm("DELETE", id, None, "2022-04-01"))
        return id

    def set(self, id: str, properties: dict[str, Any], before: dict[str, Any]) -> None:
        """Change a resource's properties, set back after the test."""
        self.admin.arm("PATCH", id, {"properties": properties})
        self.undo.append(lambda: self.admin.arm("PATCH", id, {"properties": before}))

    @property
    def application(self) -> dict[str, Any]:
        """Production's application."""
        (found,) = self.graph("GET", f"/applications?$filter=appId eq '{self.client_id}'")["value"]
        return dict(found)

    def plan(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the plan by hand."""
        path = self.folder / access.FILE
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))


def asked_as(environment: str) -> str:
    """Where a job of GitHub asks for its token: the emulator takes what the address says of the job."""
    job = {"api-version": "2.0", "repository": REPOSITORY, "ref": "refs/heads/main", "environment": environment, "event_name": "push"}
    return f"https://pipelines.actions.githubusercontent.com/idtoken?{urlencode(job)}"


@pytest.fixture(scope="module")
def tenant(another_emulator: Callable[[], Any]) -> tuple[Any, str]:
    """A subscription in which nobody has anything, but for production's principal and the administrator; its client id."""
    emulator = another_emulator()
    admin = Administrator(emulator.home)
    made = admin.workspace("audited", "rg-audited")
    storage = made["properties"]["storageAccount"]
    admin.arm("PATCH", storage, {"properties": {"allowSharedKeyAccess": False}})
    own_roles(admin, SUBSCRIPTION)
    scopes = {"subscription": SUB, "workspace": made["id"], "storage": storage, "registry": admin.registry("mlr-audited", "rg-registry")}
    scopes["vault"] = made["properties"]["keyVault"]
    body = {
        "name": "audited-ci",
        "federated": [[GITHUB, f"repo:{REPOSITORY}:environment:production"]],
        "roles": [{"role": role, "scope": scopes[where]} for role, where, _ in access.held("prod")],
        "graph": [*reach.GRAPH],
    }
    return emulator, str(emulator.ask("POST", "/identities", body)["client_id"])


@pytest.fixture
def audited(tenant: tuple[Any, str], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The workspace with its spec and its plan, audited by its own principal; what a test changes in Azure is undone."""
    emulator, client = tenant
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    for name in ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", asked_as("production"))
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "act")
    monkeypatch.setenv("AML_GRANT_SECONDS", "0")
    monkeypatch.setenv("AML_EVIDENCE", str(tmp_path / "evidence"))
    folder = tmp_path / "project"
    (folder / ".cloud" / "workspaces").mkdir(parents=True)
    spec = {
        "stage": "prod", "tenant_id": TENANT, "subscription_id": SUBSCRIPTION, "resource_group": "rg-audited",
        "workspace_name": "audited", "client_id": client, "registry_name": "mlr-audited", "endpoint_name": "audited",
    }  # fmt: skip
    vault = Administrator(emulator.home).workspace("audited", "rg-audited")["properties"]["keyVault"]
    signing = f"signing: {{key: https://{vault.rpartition('/')[2]}.vault.azure.net/keys/evidence/{'0' * 32}, trusted: [{PEM}]}}\n"
    text = "".join(f"{key}: {value}\n" for key, value in spec.items()) + signing
    (folder / ".cloud" / "workspaces" / "prod.yml").write_text(text)
    monkeypatch.chdir(folder)
    made = Audited(Path(), Administrator(emulator.home), emulator, client, capsys)
    made.folder = folder
    at = workspace.load(folder, "prod")
    trust = dict.fromkeys(("repository_ids", "catalog", "tags", "organization", "project"), "")
    trust |= {"repository": REPOSITORY, "binding": "none"}
    scopes = {"subscription": SUB, "workspace": at.arm_id, "storage": made.parts["storageAccount"], "vault": vault}
    scopes["registry"] = f"{SUB}/resourceGroups/rg-registry/providers/Microsoft.MachineLearningServices/registries/mlr-audited"
    held = made.admin.arm("GET", f"{SUB}/providers/Microsoft.Authorization/roleAssignments", version="2022-04-01")["value"]
    admins = [one for one in held if one["properties"]["roleDefinitionId"].endswith("8e3af657-a8ff-443c-a75c-2fe8c4bcb635")]
    kept = [{"id": one["id"], "what": "Owner of the subscription", "why": "the landing zone's own pipeline"} for one in admins]
    entry = access.planned(at, trust, scopes, kept)
    plan = {"version": 1, "trust": trust, "roles": access.custom_roles([at]), "workspaces": [entry]}
    (folder / access.FILE).write_text(json.dumps(plan))
    yield made
    emulator.ask("DELETE", "/faults")
    for step in reversed(made.undo):
        step()


def test_production_as_planned_passes_twice_and_leaves_the_same(audited: Audited) -> None:
    refusal, said = audited.run()
    assert refusal == ""
    assert audited.failed == {}
    assert audited.predicate["verdict"] == "passed"
    assert "accepted: service principal" in said
    assert "because the landing zone's own pipeline" in said
    assert {one["name"] for one in audited.predicate["findings"] if one["says"] == "none"} >= {"person-write", "not-seen", "client-secret"}
    assert len(audited.predicate["facts"]["assignments"]) == 7, "six planned, and the administrator's"
    assert "The audit passed" in audited.page
    first = json.dumps(audited.sarif)
    subject = json.loads((audited.folder.parent / "evidence" / "audit_access-prod.json").read_text())["subject"]
    assert audited.run()[0] == ""
    assert json.dumps(audited.sarif) == first
    assert json.loads((audited.folder.parent / "evidence" / "audit_access-prod.json").read_text())["subject"] == subject
    (accepted,) = audited.sarif["runs"][0]["results"]
    assert accepted["suppressions"][0]["justification"] == "the landing zone's own pipeline"


def test_a_person_is_found_wherever_the_role_comes_from(audited: Audited) -> None:
    kim, lee = audited.person("Kim"), audited.person("Lee")
    own = str(uuid.uuid4())
    definition = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{own}"
    permission = {"actions": ["Microsoft.MachineLearningServices/*"], "notActions": ["*/delete"]}
    properties = {"roleName": "Harmless reader", "permissions": [permission], "assignableScopes": [SUB]}
    audited.admin.arm("PUT", definition, {"properties": properties})
    audited.undo.append(lambda: audited.admin.arm("DELETE", definition))
    base = "/providers/Microsoft.Management/managementGroups"
    audited.admin.arm("PUT", f"{base}/corp", {"properties": {"displayName": "Corp"}}, "2023-04-01")
    audited.admin.arm("PUT", f"{base}/corp/subscriptions/{SUBSCRIPTION}", None, "2023-04-01")
    audited.undo.append(lambda: audited.admin.arm("DELETE", f"{base}/corp/subscriptions/{SUBSCRIPTION}", None, "2023-04-01"))
    parts, registry = audited.parts, f"{SUB}/resourceGroups/rg-registry/providers/Microsoft.MachineLearningServices/registries/mlr-audited"
    found = {
        "person-write": [
            audited.assign("Contributor", kim, GROUP),
            audited.assign("Contributor", kim, f"{base}/corp"),
            audited.assign("User Access Administrator", kim, SUB),
            audited.assign(own, kim, registry),
            audited.assign("Contributor", kim, parts["keyVault"]),
        ],
        "person-data": [audited.assign("00482a5a-887f-4fb3-b363-3b7fe8e74483", lee, parts["keyVault"])],
    }
    audited.assign("Reader", lee, SUB)
    audited.assign("Contributor", lee, f"{SUB}/resourceGroups/rg-registry/providers/Microsoft.Storage/storageAccounts/another")
    refusal, _ = audited.run()
    assert "Workspace prod did not pass the audit" in refusal
    # Whoever makes a management group is its Owner: the administrator, here.
    results = [one for one in audited.predicate["findings"] if not one["passed"] and "Owner" not in one["says"]]
    assert {(one["rule"], one["id"]) for one in results} == {(rule, id) for rule, ids in found.items() for id in ids}
    by_id = {one["id"]: one["says"] for one in results}
    for ids in found.values():
        for id in ids:
            assert f"Fix: az role assignment delete --ids {id}" in by_id[id]
    assert "Harmless reader" in by_id[found["person-write"][3]]
    assert "write (Microsoft.MachineLearningServices/*)" in by_id[found["person-write"][3]]
    assert "and assign roles" in by_id[found["person-write"][2]]
    text = (audited.folder / ".cloud/workspaces/prod.yml").read_text().splitlines()
    keys = {
        one["message"]["text"]: text[one["locations"][0]["physicalLocation"]["region"]["startLine"] - 1]
        for one in audited.sarif["runs"][0]["results"]
    }
    places = {key.partition(" at /")[2].partition(" ")[0]: line.partition(":")[0] for key, line in keys.items()}
    assert places[GROUP[1:]] == "resource_group"
    assert places[registry[1:]] == "registry_name"
    assert places[SUB[1:]] == places[f"{base}/corp"[1:]] == "subscription_id"


def test_groups_are_opened_and_their_people_named(audited: Audited) -> None:
    kim = audited.person("Kim Doe")
    inner = audited.group("inner", kim)
    assigned = audited.assign("Contributor", audited.group("outer", inner), GROUP)
    empty = audited.assign("Storage Blob Data Reader", audited.group("empty"), audited.parts["storageAccount"])
    _, oid = audited.principal("robot")
    robots = audited.assign("Contributor", audited.group("robots", oid), audited.admin.find(GROUP)["id"])  # type: ignore[index]
    audited.assign("Reader", audited.group("readers", kim), GROUP)
    assert audited.run()[0]
    by_id = {one["id"]: one for one in audited.predicate["findings"] if not one["passed"]}
    assert set(by_id) == {assigned, empty, robots}
    assert by_id[assigned]["rule"] == "person-write"
    assert "@contoso.onmicrosoft.com" in by_id[assigned]["says"]
    assert kim in by_id[assigned]["says"]
    assert "inner" not in by_id[assigned]["says"].partition("in it:")[2], "a group in it is not somebody"
    assert by_id[robots]["rule"] == "principal-access"
    assert "nobody is in today" in by_id[empty]["says"]


def test_principals_are_held_to_the_plan(audited: Audited) -> None:
    (own,) = audited.graph("GET", f"/servicePrincipals?$filter=appId eq '{audited.client_id}'")["value"]
    more = audited.assign("Reader", own["id"], GROUP)
    _, oid = audited.principal("somebody else")
    other = audited.assign("Contributor", oid, audited.parts["storageAccount"])
    identity = audited.admin.find(f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/audited")["identity"]["principalId"]  # type: ignore[index]
    audited.assign("Contributor", identity, GROUP)
    too_far = audited.assign("Contributor", identity, SUB)
    auditor = access.role_id({"name": roles.AUDITOR, "scopes": [SUB]})
    definition = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{auditor}"
    before = audited.admin.arm("GET", definition)["properties"]
    widened = {**before, "permissions": [{"actions": [*roles.AUDIT_ACTIONS, "Microsoft.Authorization/*"]}]}
    audited.admin.arm("PUT", definition, {"properties": widened})
    audited.undo.append(lambda: own_roles(audited.admin, SUBSCRIPTION))
    assert audited.run()[0]
    found = {one["id"]: one["rule"] for one in audited.predicate["findings"] if not one["passed"]}
    assert found == {
        **dict.fromkeys((more, other, too_far), "principal-access"),
        auditor: "role-changed",
    }
    (says,) = audited.failed["role-changed"]
    assert "Azure ML access auditor has Microsoft.Authorization/* beyond the plan" in says


def test_somebody_who_is_gone_is_a_warning(audited: Audited) -> None:
    kim = audited.person("Kim")
    gone = audited.assign("Contributor", kim, GROUP)
    audited.graph("DELETE", f"/users/{kim}")
    del audited.undo[0]
    refusal, said = audited.run()
    assert refusal == ""
    assert [one["id"] for one in audited.predicate["findings"] if one.get("rule") == "orphan"] == [gone]
    assert "warning: " in said
    assert "which the directory no longer has" in said


def test_whoever_could_sign_in_as_production_is_found(audited: Audited) -> None:
    app = audited.application
    (own,) = audited.graph("GET", f"/servicePrincipals?$filter=appId eq '{audited.client_id}'")["value"]
    kim = audited.person("Kim")
    reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{kim}"}
    audited.graph("POST", f"/applications/{app['id']}/owners/$ref", reference)
    audited.graph("POST", f"/servicePrincipals/{own['id']}/owners/$ref", reference)
    secret = audited.graph("POST", f"/applications/{app['id']}/addPassword", {"passwordCredential": {"displayName": "old"}})
    trusted = {"name": "left-over", "issuer": GITHUB, "audiences": ["api://AzureADTokenExchange"]}
    trusted["subject"] = "repo:mallory/project:environment:production"  # type: ignore[assignment]
    federated = audited.graph("POST", f"/applications/{app['id']}/federatedIdentityCredentials", trusted)
    try:
        refusal, _ = audited.run()
        assert "4 to mend" in refusal
        assert {rule: len(says) for rule, says in audited.failed.items()} == {
            "application-owner": 2,
            "client-secret": 1,
            "federated-credential": 1,
        }
        assert f"az ad app credential delete --id {audited.client_id} --key-id {secret['keyId']}" in audited.failed["client-secret"][0]
        assert f"--federated-credential-id {federated['id']}" in audited.failed["federated-credential"][0]
        # What is meant to stay has a place in the plan, with the reason.
        meant = {"id": secret["keyId"], "what": "secret", "why": "until March"}
        audited.plan(lambda plan: plan["workspaces"][0]["keep"].append(meant))
        assert "3 to mend" in audited.run()[0]
        assert "client-secret" not in audited.failed
        # Each fix is a command that can be run, and mends it.
        audited.plan(lambda plan: plan["workspaces"][0]["keep"].remove(meant))
        audited.run()
        for says in [says for rule in audited.failed.values() for says in rule]:
            fixed(audited, says.partition("Fix: ")[2])
        assert audited.run()[0] == ""
    finally:
        for one in audited.application["passwordCredentials"]:
            audited.graph("POST", f"/applications/{app['id']}/removePassword", {"keyId": one["keyId"]})


def fixed(audited: Audited, line: str) -> None:
    """Run a fix as it is printed, with the Azure CLI, signed in as the administrator."""
    assert AZ.exists(), f"the Azure CLI is not at {AZ}: run 'make install-tests', or say where it is with AZ_CLI"
    home = audited.folder.parent / "az"
    env = {
        **audited.emulator.env, "PATH": f"{AZ.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(home), "AZURE_CONFIG_DIR": str(home),
        "AZURE_CORE_COLLECT_TELEMETRY": "no", "AZURE_CORE_ONLY_SHOW_ERRORS": "yes", "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
        "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    if not home.exists():
        home.mkdir()
        secret = audited.emulator.env["AZURE_CLIENT_SECRET"]
        words = ["az", "login", "--service-principal", "-u", ADMIN_CLIENT_ID, "-p", secret, "--tenant", TENANT]
        subprocess.run(words, env=env, check=True, capture_output=True, timeout=120)
    done = subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_keys_and_policies_are_found(audited: Audited) -> None:
    parts = audited.parts
    kim = audited.person("Kim")
    audited.set(parts["storageAccount"], {"allowSharedKeyAccess": None}, {"allowSharedKeyAccess": False})
    policy = {"tenantId": TENANT, "objectId": kim, "permissions": {"secrets": ["get", "list"]}}
    audited.set(
        parts["keyVault"],
        {"enableRbacAuthorization": False, "accessPolicies": [policy]},
        {"enableRbacAuthorization": True, "accessPolicies": []},
    )
    images = f"{GROUP}/providers/Microsoft.ContainerRegistry/registries/craudited"
    audited.admin.arm(
        "PUT", images, {"location": "westeurope", "sku": {"name": "Basic"}, "properties": {"adminUserEnabled": True}}, "2023-07-01"
    )
    at = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/audited"
    audited.admin.arm("PATCH", at, {"properties": {"containerRegistry": images}})
    for name, mode in (("audited", "Key"), ("another", "AADToken")):
        body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {"authMode": mode}}
        audited.admin.arm("PUT", f"{at}/onlineEndpoints/{name}", body)
        audited.undo.append(lambda name=name: audited.admin.arm("DELETE", f"{at}/onlineEndpoints/{name}"))  # type: ignore[misc]
    assert audited.run()[0]
    assert {rule: len(says) for rule, says in audited.failed.items()} == dict.fromkeys(
        ("storage-keys", "vault-policy", "registry-admin", "endpoint-keys"), 1
    )
    assert (
        "endpoint audited accepts a key (auth_mode: key). Fix: az ml online-endpoint update --name audited"
        in audited.failed["endpoint-keys"][0]
    )
    assert f"--object-id {kim}" in audited.failed["vault-policy"][0]
    for rule in ("registry-admin", "vault-policy"):
        fixed(audited, audited.failed[rule][0].partition("Fix: ")[2])
    # `az ml` is an extension that is not on any index of ours: the rest of that line is run.
    fixed(audited, audited.failed["storage-keys"][0].partition(" && ")[2])
    assert audited.run()[0]
    assert set(audited.failed) == {"endpoint-keys"}
    audited.admin.arm(
        "PUT",
        f"{at}/onlineEndpoints/audited",
        {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {"authMode": "AADToken"}},
    )
    assert audited.run()[0] == ""


def test_what_it_may_not_read_is_not_taken_for_clean(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    kim = audited.person("Kim")
    audited.assign("Contributor", audited.group("people", kim), GROUP)
    body = {
        "name": "blind",
        "federated": [[GITHUB, f"repo:{REPOSITORY}:environment:blind"]],
        "roles": [{"role": "Azure ML access auditor", "scope": SUB}, {"role": "Reader", "scope": SUB}],
    }
    blind = audited.emulator.ask("POST", "/identities", body)["client_id"]
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", asked_as("blind"))
    refusal, said = audited.run(auditor=blind)
    assert "not seen" in refusal
    assert set(audited.failed) == {"not-seen"}
    unseen = " ".join(audited.failed["not-seen"])
    for what in (f"application {audited.client_id} could not be read", "the service principal of", "who is in group"):
        assert what in unseen
    assert f"az ad app permission add --id {blind}" in said
    assert "Application.Read.All" in said
    assert audited.predicate["facts"]["complete"] is False
    assert not [one for one in audited.predicate["findings"] if one["says"] == "none"], "no rule is called clean"
    assert "#### Not seen: the audit is incomplete" in audited.page
    assert audited.sarif["runs"][0]["invocations"] == [{"executionSuccessful": False}]
    refusal, said = audited.run(auditor=blind, allow_incomplete="true")
    assert refusal == ""
    assert audited.predicate["verdict"] == "passed"
    assert "warning: " in said
    assert "which this run allows" in audited.page
    assert {one["level"] for one in audited.sarif["runs"][0]["results"]} <= {"warning", "note"}


def test_an_auditor_without_any_role_sees_that_it_sees_nothing(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = audited.emulator.ask("POST", "/identities", {"name": "no", "federated": [[GITHUB, f"repo:{REPOSITORY}:environment:no"]]})[
        "client_id"
    ]
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", asked_as("no"))
    refusal, said = audited.run(auditor=nobody)
    assert "did not pass" in refusal
    unseen = " ".join(audited.failed["not-seen"])
    for what in ("workspace audited", "registry mlr-audited", f"the role assignments at {SUB}"):
        assert f"{what} could not be read" in unseen
    assert "az role assignment create" in said


def test_without_a_plan_it_is_incomplete(audited: Audited) -> None:
    (audited.folder / access.FILE).unlink()
    refusal, _ = audited.run()
    assert refusal
    assert {"not-seen", "principal-access"} == set(audited.failed), "the administrator's Owner is nobody's plan"
    assert "plan_identity.py" in " ".join(audited.failed["not-seen"])


def test_a_service_connection_is_told_from_another(audited: Audited) -> None:
    names = {"name": "azureml-production", "client_id": audited.client_id, "tenant_id": TENANT}
    connection = audited.admin.azure_devops("connections", organization="contoso", project="audits", **names)
    given = connection["authorization"]["parameters"]
    app = audited.application
    bodies = [
        {
            "name": "azure-devops",
            "issuer": given["workloadIdentityFederationIssuer"],
            "subject": given["workloadIdentityFederationSubject"],
        },
        {
            "name": "another",
            "issuer": given["workloadIdentityFederationIssuer"],
            "subject": given["workloadIdentityFederationSubject"][:-1] + "0",
        },
    ]
    if bodies[0]["subject"] == bodies[1]["subject"]:
        bodies[1]["subject"] = bodies[1]["subject"][:-1] + "1"

    def trust(body: dict[str, Any]) -> str:
        body["audiences"] = ["api://AzureADTokenExchange"]
        made = str(audited.graph("POST", f"/applications/{app['id']}/federatedIdentityCredentials", body)["id"])
        audited.undo.append(lambda: audited.graph("DELETE", f"/applications/{app['id']}/federatedIdentityCredentials/{made}"))
        return made

    def plan(found: dict[str, Any]) -> None:
        found["trust"] |= {"organization": "contoso", "project": "audits"}
        found["workspaces"][0]["connection"] = "azureml-production"
        found["workspaces"][0]["credentials"].append({"name": "azure-devops", "connection": "azureml-production", "why": "Azure DevOps"})

    def unreadable() -> None:
        audited.emulator.fault(host="dev.azure.com", path="*/serviceendpoint/*", status=401, times=0)

    planned = trust(bodies[0])
    audited.plan(plan)
    assert audited.run()[0] == ""
    unreadable()
    assert "1 not seen" in audited.run()[0]
    assert "is service connection azureml-production could not be read" in audited.failed["not-seen"][0]
    audited.emulator.ask("DELETE", "/faults")
    other = trust(bodies[1])
    assert audited.run()[0]
    assert [one["id"] for one in audited.predicate["findings"] if not one["passed"]] == [other]
    unreadable()
    assert audited.run()[0]
    found = {one["id"]: one["rule"] for one in audited.predicate["findings"] if not one["passed"]}
    assert found == dict.fromkeys((planned, other), "federated-credential"), "nobody can tell which is the planned one, so none is trusted"


def test_the_connection_of_the_job_is_not_taken_for_the_planned_one(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that signs in by another connection to production's application, which somebody made it trust, audits itself."""
    where = {"organization": "contoso", "project": "audits-2"}
    app, made = audited.application, {}
    for name in ("azureml-production", "mine"):
        names = {"name": name, "client_id": audited.client_id, "tenant_id": TENANT}
        connection = audited.admin.azure_devops("connections", **where, **names)
        given = connection["authorization"]["parameters"]
        body = {
            "name": name, "issuer": given["workloadIdentityFederationIssuer"], "subject": given["workloadIdentityFederationSubject"],
            "audiences": ["api://AzureADTokenExchange"],
        }  # fmt: skip
        trusted = str(audited.graph("POST", f"/applications/{app['id']}/federatedIdentityCredentials", body)["id"])
        audited.undo.append(lambda id=trusted: audited.graph("DELETE", f"/applications/{app['id']}/federatedIdentityCredentials/{id}"))
        made[name] = (str(connection["id"]), trusted)

    def plan(found: dict[str, Any]) -> None:
        found["trust"] |= where
        found["workspaces"][0]["connection"] = "azureml-production"
        found["workspaces"][0]["credentials"].append({"name": "azure-devops", "connection": "azureml-production", "why": "Azure DevOps"})

    def job(connection: str) -> None:
        build = audited.admin.azure_devops("builds", **where, pipeline="audit")
        started = audited.admin.azure_devops("jobs", **where, build_id=build["id"], name="audit.audit", references=[connection])
        for name, value in {
            "TF_BUILD": "True", "AML_SERVICE_CONNECTION_ID": made[connection][0], "SYSTEM_ACCESSTOKEN": started["access_token"],
            "SYSTEM_OIDCREQUESTURI": started["oidc_request_uri"], "SYSTEM_COLLECTIONURI": "https://dev.azure.com/contoso/",
            "SYSTEM_TEAMPROJECT": where["project"], "BUILD_BUILDID": str(build["id"]),
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)

    def unreadable() -> None:
        audited.emulator.fault(host="dev.azure.com", path="*/serviceendpoint/*", status=401, times=0)

    for name in ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    audited.plan(plan)
    for connection in ("mine", "azureml-production"):
        job(connection)
        assert audited.run()[0]
        assert [one["id"] for one in audited.predicate["findings"] if not one["passed"]] == [made["mine"][1]], connection
        unreadable()
        assert audited.run()[0]
        unknown = {one["id"] for one in audited.predicate["findings"] if not one["passed"]}
        assert unknown == {made["mine"][1], made["azureml-production"][1]}, "nobody can tell which is the planned one"
        audited.emulator.ask("DELETE", "/faults")
    audited.undo.pop()()  # mine
    assert audited.run()[0] == ""


HOSTILE = "](https://evil.example)<img src=x onerror=alert(1)> | `a` **b**\n::error::forged\r##vso[task.complete result=Succeeded]"


def test_names_can_forge_nothing(audited: Audited) -> None:
    kim = audited.person(HOSTILE)
    audited.assign("Contributor", audited.group(HOSTILE, kim), GROUP)
    _, oid = audited.principal(HOSTILE)
    audited.assign("Contributor", oid, GROUP)
    refusal, said = audited.run()
    assert refusal
    assert not re.search(r"^\s*::error::forged", said, re.MULTILINE)
    assert "##vso[" not in said
    assert "<img" not in audited.page
    assert "](https" not in audited.page
    assert "\n::error" not in audited.page
    for one in audited.sarif["runs"][0]["results"]:
        assert "](" not in one["message"]["text"]
        assert "\n" not in one["message"]["text"]
    assert valid(audited.sarif)


# SARIF 2.1.0 (docs.oasis-open.org/sarif), as far as we write it, and closed: what stands nowhere in the standard would be refused.
MESSAGE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["text"],
    "properties": {"text": {"type": "string", "minLength": 1}, "markdown": {"type": "string"}},
}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
POSITIVE = {"type": "integer", "minimum": 1}


def closed(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required.split(), "properties": properties}


RULE = closed(
    "id name shortDescription fullDescription help defaultConfiguration properties",
    id={"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$"}, name={"type": "string"}, shortDescription=MESSAGE, fullDescription=MESSAGE,
    help=MESSAGE, defaultConfiguration=closed("level", level=LEVEL),
    properties=closed(
        "tags precision security-severity",
        tags={"type": "array", "items": {"type": "string"}}, precision={"enum": ["low", "medium", "high", "very-high"]},
        **{"security-severity": {"type": "string", "pattern": r"^(10\.0|[0-9]\.[0-9])$"}},
    ),
)  # fmt: skip
PLACE = closed(
    "physicalLocation",
    physicalLocation=closed(
        "artifactLocation region",
        artifactLocation=closed("uri uriBaseId", uri={"type": "string", "pattern": "^[^/:][^:\\\\]*$"}, uriBaseId={"const": "%SRCROOT%"}),
        region=closed("startLine startColumn", startLine=POSITIVE, startColumn=POSITIVE),
    ),
)
SUPPRESSION = closed(
    "kind status justification",
    kind={"enum": ["inSource", "external"]}, status={"enum": ["accepted", "underReview", "rejected"]}, justification={"type": "string"},
)  # fmt: skip
RESULT = closed(
    "ruleId ruleIndex level message locations partialFingerprints",
    ruleId={"type": "string"}, ruleIndex={"type": "integer", "minimum": 0}, level=LEVEL, message=MESSAGE,
    locations={"type": "array", "minItems": 1, "items": PLACE},
    partialFingerprints=closed("primaryLocationLineHash", primaryLocationLineHash={"type": "string", "pattern": "^[0-9a-f]{64}$"}),
    suppressions={"type": "array", "items": SUPPRESSION},
)  # fmt: skip
RUN = closed(
    "tool automationDetails invocations columnKind results",
    tool=closed("driver", driver=closed("name rules", name={"type": "string"}, rules={"type": "array", "items": RULE})),
    automationDetails=closed("id", id={"type": "string", "pattern": ".+/$"}),
    invocations={"type": "array", "items": closed("executionSuccessful", executionSuccessful={"type": "boolean"})},
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    results={"type": "array", "items": RESULT},
)
SARIF = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | closed(
    "$schema version runs", **{"$schema": {"type": "string"}}, version={"const": "2.1.0"}, runs={"type": "array", "items": RUN}
)


def valid(document: dict[str, Any]) -> bool:
    """Whether it is SARIF as we write it, and consistent in itself."""
    jsonschema_rs.validator_for(SARIF).validate(document)
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for one in run["results"]:
        assert rules[one["ruleIndex"]]["id"] == one["ruleId"]
    prints = [(one["ruleId"], one["partialFingerprints"]["primaryLocationLineHash"]) for one in run["results"]]
    return len(set(prints)) == len(prints)


def test_the_findings_are_sarif_that_stays_the_same_finding(audited: Audited) -> None:
    kim = audited.person("Kim")
    audited.assign("Contributor", kim, GROUP)
    audited.run()
    assert valid(audited.sarif)
    first = audited.sarif["runs"][0]["results"]
    spec = audited.folder / ".cloud" / "workspaces" / "prod.yml"
    spec.write_text(f"# a line more\n\n{spec.read_text()}")
    audited.run()
    again = audited.sarif["runs"][0]["results"]
    assert [one["partialFingerprints"] for one in again] == [one["partialFingerprints"] for one in first]
    lines = [[one["locations"][0]["physicalLocation"]["region"]["startLine"] for one in results] for results in (first, again)]
    assert [line + 2 for line in lines[0]] == lines[1]
    assert {one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in again} == {".cloud/workspaces/prod.yml"}
    for mutation in ({"version": "2.0.0"}, {"surplus": 1}):
        with pytest.raises(jsonschema_rs.ValidationError):
            valid({**audited.sarif, **mutation})


def test_findings_show_in_githubs_code_scanning(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = audited.emulator.ask
    sha = "a" * 40
    author = {"login": "dev", "name": "Dev", "email": "dev@contoso.com", "date": "2026-11-01T10:00:00Z"}
    commit = {"sha": sha, "message": "First", "branch": "main", "author": author}
    repository = {"full_name": REPOSITORY, "private": False, "collaborators": {"dev": "admin"}, "commits": [commit]}
    ask("POST", "/github", {"organizations": [{"login": "contoso", "plan": "enterprise"}], "users": ["dev"], "repositories": [repository]})
    token = ask("POST", "/github/tokens", {"login": "dev"})["token"]
    for name, value in {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_SHA": sha,
        "GITHUB_REF": "refs/heads/main",
        "AML_GITHUB_TOKEN": token,
        "GITHUB_OUTPUT": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    kim = audited.person("Kim")
    assigned = audited.assign("Contributor", kim, GROUP)
    _, said = audited.run(code_scanning="true")
    assert "in the repository's code-scanning tab" in said
    headers = {"Authorization": f"Bearer {token}"}

    def alerts() -> dict[str, tuple[str, int]]:
        url = f"https://api.github.com/repos/{REPOSITORY}/code-scanning/alerts"
        found = audited.admin.session.get(url, headers=headers, timeout=60).json()
        return {one["rule"]["id"]: (one["state"], one["number"]) for one in found}

    first = alerts()
    assert first["person-write"][0] == "open"
    audited.run(code_scanning="true")
    assert alerts() == first, "the same finding is the same alert"
    audited.admin.arm("DELETE", assigned, None, "2022-04-01")
    audited.run(code_scanning="true")
    assert alerts()["person-write"] == ("fixed", first["person-write"][1])
    monkeypatch.setenv("GITHUB_SHA", "b" * 40)
    assert "GitHub answered 404" in audited.run(code_scanning="true")[0]


def test_findings_show_in_the_sarif_tab_of_azure_devops(audited: Audited, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TF_BUILD", "True")
    monkeypatch.setenv("AGENT_TEMPDIRECTORY", str(tmp_path))
    _, said = audited.run(code_scanning="true", auditor=audited.client_id)
    file = audited.folder.parent / "evidence" / "sarif" / "audit_access-prod.sarif"
    assert f"##vso[artifact.upload containerfolder=CodeAnalysisLogs;artifactname=CodeAnalysisLogs]{file}\n" in said


def test_a_workspace_for_people_is_not_audited(audited: Audited) -> None:
    spec = audited.folder / ".cloud" / "workspaces" / "prod.yml"
    spec.write_text(spec.read_text().replace("stage: prod", "stage: dev") + "people: allowed\n")
    assert "is one that people may write to" in audited.run()[0]


def test_a_fault_of_azure_is_no_verdict(audited: Audited) -> None:
    audited.emulator.fault(host="management.azure.com", path="*/roleAssignments", status=400, times=0)
    refusal, _ = audited.run()
    assert "Azure answered 400" in refusal
    assert not (audited.folder.parent / "evidence" / "audit_access-prod.json").exists()
