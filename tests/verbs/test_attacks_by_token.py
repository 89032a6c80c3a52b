"""Attacks on production by a token: people, dev's principal, and jobs that are not the catalog's release.

Production is planned by plan_identity and runs two releases, one to roll back to, with a third bundle on hold. Each attack is made by the
verbs themselves or by a call of its own, ends in one line with the code of who refused it, and leaves production byte for byte as it was:
the endpoint, what the registry calls live, the ledger and all other storage, and who may sign in. The real jobs at the end do what the
attacks tried.
"""

from __future__ import annotations

import datetime as dt
import importlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
import requests
from azure.storage.blob import BlobServiceClient
from cryptography.hazmat.primitives.asymmetric import rsa

from _provision import signing_key
from aml import access, identity, ledger, workspace
from emulator.core import SUBSCRIPTION, TENANT

CATALOG = "contoso/azureml-catalog"
PROMOTE = f"{CATALOG}/.github/workflows/promote.yml@refs/tags/v1.4.0"
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
SECRET = "only-for-the-emulator"
WRITERS = ["deploy_online", "shift_traffic", "roll_back", "hold_release", "release_hold", "record_evidence"]


@dataclass
class Production:
    """A project that has been released twice, and how it is attacked."""

    project: Any
    bundles: list[str] = field(default_factory=list)
    deployments: list[str] = field(default_factory=list)
    oids: dict[str, str] = field(default_factory=dict)
    monkeypatch: Any = None

    @property
    def repository(self) -> str:
        """The project's repository on GitHub."""
        return f"contoso/{self.project.name}"

    @property
    def devops(self) -> dict[str, str]:
        """The project's place on Azure DevOps."""
        return {"organization": "contoso", "project": self.project.name}

    def flags(self, verb: str) -> dict[str, str]:
        """What makes the verb do something in production."""
        one, other = self.bundles[:2]
        return {
            "deploy_online": {"bundle_id": other},
            "shift_traffic": {"deployment_name": self.deployments[0], "bundle_id": one},
            "hold_release": {"bundle_id": other, "reason": "mine"},
            "release_hold": {"bundle_id": self.bundles[2], "reason": "mine"},
        }.get(verb, {})

    def run(self, verb: str) -> Any:
        """Run a verb in production, as whoever the environment says."""
        self.project.secret = ""
        try:
            return self.project.run(verb, "prod", **self.flags(verb))
        finally:
            self.project.secret = SECRET

    def job(self, **claims: str) -> None:
        """Be a job of GitHub's."""
        query = urlencode({"repository": self.repository, **claims})
        self.monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"https://pipelines.actions.githubusercontent.com/idtoken?{query}")
        self.monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "act")

    def agent(self, connection: str, references: list[str], place: dict[str, str] | None = None) -> dict[str, Any]:
        """Be a job of Azure DevOps' whose tasks name `references`, and ask for a token of `connection` (an id)."""
        admin, place = self.project.admin, place or self.devops
        build = admin.azure_devops("builds", **place, pipeline="release")
        job: dict[str, Any] = admin.azure_devops("jobs", **place, build_id=build["id"], name="production.production", references=references)
        for name, value in {
            "TF_BUILD": "True", "AML_SERVICE_CONNECTION_ID": connection, "SYSTEM_ACCESSTOKEN": job["access_token"],
            "SYSTEM_OIDCREQUESTURI": job["oidc_request_uri"], "SYSTEM_COLLECTIONURI": f"https://dev.azure.com/{place['organization']}/",
            "SYSTEM_TEAMPROJECT": place["project"], "BUILD_BUILDID": str(build["id"]),
        }.items():  # fmt: skip
            self.monkeypatch.setenv(name, value)
        return job

    def connection(self, name: str, client: str, place: dict[str, str] | None = None, **more: str) -> str:
        """A service connection, made only where missing; its id."""
        made = self.project.admin.azure_devops("connections", **place or self.devops, name=name, client_id=client, tenant_id=TENANT, **more)
        return str(made["id"])

    def token(self, stage: str, scope: str = identity.SCOPE) -> str:
        """An access token of a workspace's principal."""
        form = {"grant_type": "client_credentials", "client_id": self.project.site.clients[stage], "scope": scope}
        return self._entra({**form, "client_secret": SECRET})

    def person(self, scope: str = identity.SCOPE) -> str:
        """An access token of somebody who owns production's resource group."""
        cli = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
        name = f"owner-{self.project.name}@contoso.onmicrosoft.com"
        return self._entra({"grant_type": "password", "client_id": cli, "username": name, "password": "a long password", "scope": scope})

    def _entra(self, form: dict[str, str]) -> str:
        url = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
        answer = self.project.admin.session.post(url, data=form, headers={"Authorization": None}, timeout=60)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def call(self, token: str, method: str, url: str, body: Any = None) -> requests.Response:
        """A call with somebody's token, without any verb."""
        session = self.project.admin.session
        headers = {"Authorization": f"Bearer {token}"}
        answer: requests.Response = session.request(method, url, json=body, headers=headers, timeout=60)
        return answer

    def graph(self, method: str, path: str, body: Any = None) -> Any:
        """Microsoft Graph as the administrator."""
        answer = self.call(
            self.project.admin.token("https://graph.microsoft.com/.default"), method, f"https://graph.microsoft.com/beta{path}", body
        )
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else {}

    def state(self) -> dict[str, bytes]:
        """Everything that an attack on production might change, byte for byte."""
        project, admin = self.project, self.project.admin
        endpoint = f"onlineEndpoints/{project.name}-prod"
        client = project.site.clients["prod"]
        found: dict[str, Any] = {
            "endpoint": project.arm("GET", endpoint, stage="prod"),
            "deployments": project.arm("GET", f"{endpoint}/deployments", stage="prod"),
            "workspace": project.arm("GET", "", stage="prod"),
            "live": admin.arm("GET", f"{project.site.registry}/models/{project.name}", version="2023-10-01"),
            "shared": admin.arm("GET", f"{project.site.registry}/models/{project.name}/versions", version="2023-10-01"),
            "credentials": self.graph("GET", f"/applications(appId='{client}')/federatedIdentityCredentials"),
            "application": self.graph("GET", f"/applications(appId='{client}')"),
            "roles": admin.arm("GET", f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleAssignments"),
            "keys": self.call(admin.token("https://vault.azure.net/.default"), "GET", f"{self.vault}/keys?api-version=7.4").json(),
        }
        made = {name: json.dumps(value, sort_keys=True).encode() for name, value in found.items()}
        store = project.arm("GET", "datastores/workspaceblobstore", stage="prod")["properties"]
        key = project.arm("POST", "datastores/workspaceblobstore/listSecrets", {}, "prod")["key"]
        with BlobServiceClient(f"https://{store['accountName']}.blob.core.windows.net", credential=key) as storage:
            for container in storage.list_containers():
                inside = storage.get_container_client(container.name)
                made |= {f"{container.name}/{blob.name}": inside.download_blob(blob.name).readall() for blob in inside.list_blobs()}
        return made

    @property
    def vault(self) -> str:
        """The address of production's key vault."""
        return f"https://{self.project.arm('GET', '', stage='prod')['properties']['keyVault'].rpartition('/')[2]}.vault.azure.net"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one production is for all attacks."""
    return {"folder": tmp_path_factory.mktemp("attacked")}


@pytest.fixture
def production(
    kept: dict[str, Any],
    new_project: Callable[[str, Path, Any], Any],
    azure: Any,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Production:
    """Production with two releases, and nobody signed in."""
    for name, value in {
        "AML_GRANT_SECONDS": "0", "AML_EVIDENCE": str(kept["folder"] / "evidence"), "AZURE_CLIENT_ID": os.environ["AZURE_CLIENT_ID"],
        "AZURE_CLIENT_SECRET": os.environ["AZURE_CLIENT_SECRET"], "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    if "made" not in kept:
        name = f"p{uuid.uuid4().hex[:8]}"
        kept["made"] = Production(new_project(name, kept["folder"] / "project", capsys))
    made: Production = kept["made"]
    made.project.capsys, made.monkeypatch = capsys, monkeypatch
    monkeypatch.setattr(ledger, "CONTAINER", f"ledger-{made.project.name}")
    if not made.bundles:
        _plan(made)
        _release(made)
    return made


def _plan(made: Production) -> None:
    """Production's application trusts what plan_identity plans; the secret by which the tests build things up is kept beside it."""
    project, plan = made.project, importlib.import_module("plan_identity")
    for stage in ("dev", "prod"):
        key = signing_key(project.admin.home, project.arm("GET", "", stage=stage)["properties"]["keyVault"])
        pem = "".join(f"      {line}\n" for line in key["public"].splitlines())
        project.append(f".cloud/workspaces/{stage}.yml", f"signing:\n  key: {key['key']}\n  trusted:\n    - |\n{pem}")
    where = [f"--project={project.folder}"]
    trust = {"repository": made.repository, "catalog": CATALOG, "tags": "v1.*", "organization": "contoso", "devops-project": project.name}
    assert plan.main([*where, *(f"--{name}={value}" for name, value in trust.items())]) == 0
    path = project.folder / access.FILE
    written = json.loads(path.read_text())
    for entry in written["workspaces"]:
        entry["keep"], entry["remove"] = [{**one, "why": "the tests build up by it"} for one in entry["remove"]], []
    path.write_text(json.dumps(written))
    assert plan.main([*where, "--apply"]) == 0

    principal = f"owner-{project.name}@contoso.onmicrosoft.com"
    body = {"userPrincipalName": principal, "displayName": "An owner", "passwordProfile": {"password": "a long password"}}
    made.oids["person"] = made.graph("POST", "/users", body)["id"]
    for stage in ("dev", "prod"):
        client = project.site.clients[stage]
        made.oids[stage] = made.graph("GET", f"/servicePrincipals?$filter=appId eq '{client}'")["value"][0]["id"]
    group = project.id("prod").partition("/providers/")[0]
    assignment = f"{group}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    role = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{OWNER}"
    project.admin.arm("PUT", assignment, {"properties": {"roleDefinitionId": role, "principalId": made.oids["person"]}})


def _release(made: Production) -> None:
    """Two releases, the second live, and a third bundle that is held."""
    project = made.project
    assert not project.run("register_environment").refusal
    for factor in (2.0, 3.0, 4.0):
        made.bundles.append(project.bundle(factor))
        assert not project.run("share_model", bundle_id=made.bundles[-1]).refusal
    for bundle_id in made.bundles[:2]:
        project.approved(bundle_id, *made.deployments)
        deployed = project.run("deploy_online", "prod", bundle_id=bundle_id).output("deployment_name")
        assert not project.run("shift_traffic", "prod", deployment_name=deployed).refusal
        made.deployments.append(deployed)
    assert project.run("hold_release", "prod", bundle_id=made.bundles[2], reason="the data owner asked").output("hold") == "updated"
    assert project.run("record_evidence", "prod").out.count("created  entry") > 0
    # What record_evidence would enter next.
    assert not project.run("smoke_test", "prod", deployment_name=made.deployments[1]).refusal


@pytest.fixture
def attack(production: Production) -> Iterator[Callable[..., None]]:
    """Says whether an attack was stopped as it should be; at the end production is as it was."""
    before = production.state()
    tried: list[str] = []

    def stopped(outcome: Any, *says: str) -> None:
        tried.append(outcome.refusal)
        assert outcome.refusal, f"it went through: {outcome.out}"
        assert len(outcome.refusal.splitlines()) == 1
        for text in says:
            assert text in outcome.refusal

    yield stopped
    assert tried
    after = production.state()
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} == set()


# --- people ----------------------------------------------------------------------------------------------------------------------


def signed_in(production: Production, folder: Path) -> None:
    """Somebody is signed in with the Azure CLI, and nothing else is there to sign in with."""
    expires = int(dt.datetime.now(dt.timezone.utc).timestamp()) + 3000
    said = {"accessToken": production.person(), "expires_on": expires, "tenant": TENANT, "tokenType": "Bearer"}
    (folder / "bin").mkdir()
    (folder / "bin" / "token.json").write_text(json.dumps(said))
    (folder / "bin" / "az").write_text(f"#!/bin/sh\nexec cat '{folder / 'bin' / 'token.json'}'\n")
    (folder / "bin" / "az").chmod(0o755)


@pytest.mark.parametrize("verb", WRITERS)
def test_a_person_who_owns_production_runs_a_verb(production: Production, attack: Any, verb: str, tmp_path: Path) -> None:
    signed_in(production, tmp_path)
    name = f"owner-{production.project.name}@contoso.onmicrosoft.com"
    attack(production.run(verb), f"A person is signed in ({name})", "Only the service principal writes to workspace prod")


def test_a_person_who_allows_people_in_the_spec_of_production(production: Production, attack: Any, tmp_path: Path) -> None:
    signed_in(production, tmp_path)
    spec = production.project.folder / ".cloud/workspaces/prod.yml"
    before = spec.read_text()
    spec.write_text(f"people: allowed\n{before}")
    try:
        attack(production.run("roll_back"), "prod.yml is not a workspace spec")
    finally:
        spec.write_text(before)


def test_every_verb_that_writes_to_production_is_attacked() -> None:
    """One that is new belongs into WRITERS, or among those that no job of production runs."""
    scripts = Path(access.__file__).parents[1]
    texts = {path.stem: path.read_text(encoding="utf-8") for path in scripts.glob("[!_]*.py")}
    writing = {verb for verb, text in texts.items() if re.search(r"sign_in\(\w+\)|holds\.change\(", text)}
    of_dev = {
        "break_glass", "register_data", "register_environment", "register_model", "seal_bundle", "share_evidence", "share_model",
        "submit_job", "wait_job",
    }  # fmt: skip
    assert writing - of_dev - {"connect_workspace"} == set(WRITERS)


# --- dev's principal -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", WRITERS)
def test_a_job_of_dev_acts_in_production(production: Production, attack: Any, verb: str) -> None:
    production.job(environment="dev", job_workflow_ref=PROMOTE)
    attack(production.run(verb), "AADSTS700213", f"subject repo:{production.repository}:environment:dev")


@pytest.mark.parametrize("verb", WRITERS)
def test_dev_signs_in_as_itself_and_names_the_workspace_of_production(production: Production, attack: Any, verb: str) -> None:
    """The spec is changed to dev's application, so the sign-in works: Azure says no, or the seal of the spec does."""
    project = production.project
    spec = project.folder / ".cloud/workspaces/prod.yml"
    before = spec.read_text()
    spec.write_text(before.replace(project.site.clients["prod"], project.site.clients["dev"]))
    production.job(environment="dev", job_workflow_ref=PROMOTE)
    says = "the checkout is not what was sealed" if verb == "deploy_online" else "is missing. Azure (403 AuthorizationFailed)"
    try:
        attack(production.run(verb), says)
    finally:
        spec.write_text(before)


def role(production: Production) -> str:
    """The address of an assignment that would let dev's principal into production."""
    group = production.project.id("prod").partition("/providers/")[0]
    return f"https://management.azure.com{group}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}?api-version=2022-04-01"


CALLS: dict[str, tuple[str, Callable[[Production], tuple[str, str, Any]], str]] = {
    "moves the traffic": (
        identity.SCOPE,
        lambda p: ("PATCH", f"{at(p)}/onlineEndpoints/{p.project.name}-prod?api-version=2024-04-01", {"tags": {"a": "b"}}),
        "AuthorizationFailed",
    ),
    "deletes the endpoint": (
        identity.SCOPE,
        lambda p: ("DELETE", f"{at(p)}/onlineEndpoints/{p.project.name}-prod?api-version=2024-04-01", None),
        "AuthorizationFailed",
    ),
    "takes the key of the storage account": (
        identity.SCOPE,
        lambda p: ("POST", f"{at(p)}/datastores/workspaceblobstore/listSecrets?api-version=2024-04-01", {}),
        "AuthorizationFailed",
    ),
    "gives itself a role": (
        identity.SCOPE,
        lambda p: (
            "PUT",
            role(p),
            {
                "properties": {
                    "principalId": p.oids["dev"],
                    "roleDefinitionId": f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{CONTRIBUTOR}",
                }
            },
        ),
        "AuthorizationFailed",
    ),
    "signs as production": (
        "https://vault.azure.net/.default",
        lambda p: ("POST", f"{key(p)}/sign?api-version=7.4", {"alg": "ES256", "value": "A" * 43}),
        "Forbidden",
    ),
    "makes production trust it": (
        "https://graph.microsoft.com/.default",
        lambda p: (
            "POST",
            f"https://graph.microsoft.com/v1.0/applications(appId='{p.project.site.clients['prod']}')/federatedIdentityCredentials",
            {
                "name": "mine", "issuer": "https://token.actions.githubusercontent.com", "subject": f"repo:{p.repository}:environment:dev",
                "audiences": ["api://AzureADTokenExchange"],
            },
        ),
        "Authorization_RequestDenied",
    ),
    "makes a secret of production's": (
        "https://graph.microsoft.com/.default",
        lambda p: ("POST", f"https://graph.microsoft.com/v1.0/applications(appId='{p.project.site.clients['prod']}')/addPassword", {}),
        "Authorization_RequestDenied",
    ),
}  # fmt: skip


def at(production: Production) -> str:
    """The address of production's workspace."""
    return f"https://management.azure.com{production.project.id('prod')}"


def key(production: Production) -> str:
    """The address of the key that production signs with."""
    return str(workspace.load(production.project.folder, "prod").signing["key"])


@pytest.mark.parametrize("does", CALLS)
def test_devs_token_without_any_verb(production: Production, attack: Any, does: str) -> None:
    scope, ask, code = CALLS[does]
    answer = production.call(production.token("dev", scope), *ask(production))
    assert answer.status_code == 403
    attack(Refused(answer), code)


@pytest.mark.parametrize("does", ["signs as production", "makes production trust it", "makes a secret of production's"])
def test_an_owners_token_without_any_verb(production: Production, attack: Any, does: str) -> None:
    """What Owner of the resource group is not: a signer, or an owner of the application."""
    scope, ask, code = CALLS[does]
    answer = production.call(production.person(scope), *ask(production))
    assert answer.status_code == 403
    attack(Refused(answer), code)


class Refused:
    """An answer, as the outcome of an attack."""

    def __init__(self, answer: requests.Response) -> None:
        self.refusal, self.out = " ".join(answer.text.split()), ""


# --- jobs of GitHub's ------------------------------------------------------------------------------------------------------------

CONTEXT = {"environment": "production", "job_workflow_ref": PROMOTE}
JOBS = {
    "another branch": {"ref": "refs/heads/feature", "job_workflow_ref": PROMOTE},
    "main, and no environment": {"job_workflow_ref": PROMOTE},
    "a tag": {"ref": "refs/tags/v1.4.0", "job_workflow_ref": PROMOTE},
    "a pull request": {"event_name": "pull_request", "ref": "refs/pull/7/merge", "job_workflow_ref": PROMOTE},
    "a pull request that the base runs": {"event_name": "pull_request_target", "job_workflow_ref": PROMOTE},
    "a fork": {**CONTEXT, "repository": "mallory/NAME"},
    "a fork's pull request": {**CONTEXT, "repository": "mallory/NAME", "event_name": "pull_request", "ref": "refs/pull/7/merge"},
    "a repository whose name goes on": {**CONTEXT, "repository": "contoso/NAME-2"},
    "another environment": {**CONTEXT, "environment": "dev"},
    "an environment whose name goes on": {**CONTEXT, "environment": "production-2"},
    "an environment in other letters": {**CONTEXT, "environment": "Production"},
    "an environment named like a subject": {**CONTEXT, "environment": "x:environment:production"},
    "a subject that was customised": {**CONTEXT, "include_claim_keys": "repo,context,job_workflow_ref"},
    "a workflow of the project's own": {**CONTEXT, "job_workflow_ref": "contoso/NAME/.github/workflows/promote.yml@refs/heads/main"},
    "a project's own workflow at a tag": {**CONTEXT, "job_workflow_ref": "contoso/NAME/.github/workflows/promote.yml@refs/tags/v1.4.0"},
    "no called workflow": {"environment": "production"},
    "promote of another catalog": {**CONTEXT, "job_workflow_ref": PROMOTE.replace("contoso/", "mallory/")},
    "promote of a catalog whose name goes on": {**CONTEXT, "job_workflow_ref": PROMOTE.replace("-catalog/", "-catalog-2/")},
    "the catalog at a branch": {**CONTEXT, "job_workflow_ref": PROMOTE.replace("refs/tags/v1.4.0", "refs/heads/main")},
    "the catalog at a branch named like a tag": {**CONTEXT, "job_workflow_ref": PROMOTE.replace("refs/tags/", "refs/heads/")},
    "the catalog at a commit": {**CONTEXT, "job_workflow_ref": PROMOTE.replace("refs/tags/v1.4.0", "c" * 40)},
    "the catalog at another major version": {**CONTEXT, "job_workflow_ref": PROMOTE.replace("v1.4.0", "v2.0.0")},
    "a workflow of the catalog's that is not for production": {**CONTEXT, "job_workflow_ref": PROMOTE.replace("promote", "deploy")},
    "a workflow whose name ends so": {**CONTEXT, "job_workflow_ref": PROMOTE.replace("promote", "my-promote")},
}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_of_github_that_is_not_the_release(production: Production, attack: Any, job: str) -> None:
    production.job(**{name: text.replace("NAME", production.project.name) for name, text in JOBS[job].items()})
    attack(production.run("deploy_online"), "Microsoft Entra refused to sign in application", "AADSTS700213: ", "The job presents: issuer")


def test_a_token_of_the_release_for_another_audience(production: Production, attack: Any) -> None:
    production.job(**CONTEXT)
    production.monkeypatch.setattr(identity, "AUDIENCE", "https://github.com/contoso")
    attack(production.run("deploy_online"), "AADSTS700212")


def test_a_token_of_the_release_that_somebody_else_signed(production: Production, attack: Any) -> None:
    production.job(**CONTEXT)
    real = identity.assertion()
    forger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims, header = jwt.decode(real, options={"verify_signature": False}), jwt.get_unverified_header(real)
    forged = jwt.encode(claims, forger, algorithm="RS256", headers={"kid": header["kid"]})
    production.monkeypatch.setattr(identity, "assertion", lambda: forged)
    attack(production.run("deploy_online"), "AADSTS")


def test_a_token_of_the_release_whose_claims_were_changed(production: Production, attack: Any) -> None:
    production.job(environment="dev", job_workflow_ref=PROMOTE)
    head, _, signature = identity.assertion().split(".")
    production.job(**CONTEXT)
    body = identity.assertion().split(".")[1]
    production.monkeypatch.setattr(identity, "assertion", lambda: f"{head}.{body}.{signature}")
    attack(production.run("deploy_online"), "AADSTS")


# --- jobs of Azure DevOps' -------------------------------------------------------------------------------------------------------


def agents(production: Production) -> dict[str, Callable[[], Any]]:
    """Each job that is not the release; what it says of itself."""
    site, name = production.project.site, production.project.name
    prod, dev = site.clients["prod"], site.clients["dev"]
    elsewhere = {"organization": "contoso", "project": f"{name}-2"}
    abroad = {"organization": "mallory", "project": name}

    def other(place: dict[str, str] | None, called: str, client: str, **more: str) -> Callable[[], Any]:
        return lambda: production.agent(production.connection(called, client, place, **more), [called], place)

    def ended() -> None:
        connection = production.connection("azureml-production", prod)
        job = production.agent(connection, ["azureml-production"])
        production.project.admin.azure_devops("jobs/finish", plan_id=job["plan_id"], job_id=job["job_id"])

    return {
        "dev's connection": other(None, "azureml-dev", dev),
        "a connection of one's own to production's application": other(None, "mine", prod),
        "the connection of that name in another project": other(elsewhere, "azureml-production", prod),
        "the connection of that name in another organization": other(abroad, "azureml-production", prod),
        "one of the old issuer": other(elsewhere, "azureml-old", prod, issuer="azure-devops"),
        "a job that does not name the connection": lambda: production.agent(
            production.connection("azureml-production", prod), ["azureml-dev"]
        ),
        "a job of another project that names its id": lambda: production.agent(
            production.connection("azureml-production", prod), [], elsewhere
        ),
        "a job that has ended": ended,
    }


AGENTS = {
    "dev's connection": "AADSTS700213",
    "a connection of one's own to production's application": "AADSTS700213",
    "the connection of that name in another project": "AADSTS700213",
    "the connection of that name in another organization": "AADSTS700213",
    "one of the old issuer": "AADSTS700211",
    "a job that does not name the connection": "There is no explicit reference to service connection",
    "a job of another project that names its id": "There is no explicit reference to service connection",
    "a job that has ended": "No job found with identifier",
}


@pytest.mark.parametrize("job", AGENTS)
def test_a_job_of_azure_devops_that_is_not_the_release(production: Production, attack: Any, job: str) -> None:
    production.connection("azureml-dev", production.project.site.clients["dev"])
    agents(production)[job]()
    attack(production.run("deploy_online"), AGENTS[job])


# --- what the attacks tried, the release does ------------------------------------------------------------------------------------


def test_the_release_does_what_the_attacks_tried(production: Production) -> None:
    """Nothing stops the real jobs of either system; so it was the token that stopped the others."""
    prod = production.project.site.clients["prod"]
    before = production.state()
    production.agent(production.connection("azureml-production", prod), ["azureml-production"])
    production.project.approved(production.bundles[1], *production.deployments)
    assert not production.run("deploy_online").refusal
    assert production.run("hold_release").output("hold") == "updated"
    assert production.run("release_hold").output("hold") == "updated"
    for name in ("TF_BUILD", "AML_SERVICE_CONNECTION_ID", "SYSTEM_ACCESSTOKEN", "SYSTEM_OIDCREQUESTURI"):
        production.monkeypatch.delenv(name)
    production.job(**CONTEXT)
    production.project.approved(production.bundles[0], *production.deployments)
    assert production.run("shift_traffic").output("traffic") == json.dumps({production.deployments[0]: 100}, separators=(",", ":"))
    production.job(**{**CONTEXT, "job_workflow_ref": PROMOTE.replace("promote", "rollback")})
    assert production.run("roll_back").output("traffic")
    assert "created  entry" in production.run("record_evidence").out
    after = production.state()
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} >= {"endpoint", "live"}
    assert any(name.startswith("ledger-") and before.get(name) != after[name] for name in after)
    answer = production.call(production.token("prod", "https://vault.azure.net/.default"), *CALLS["signs as production"][1](production))
    assert answer.status_code == 200
