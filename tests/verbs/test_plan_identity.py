"""What a platform team plans, reviews, applies and reads back: applications, whom they trust, and what they may do."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from aml import access, azure, command, federation
from emulator.client import Administrator
from emulator.core import SUBSCRIPTION, TENANT

SCRIPTS = Path(__file__).parents[2] / "scripts"
BOUND = len(access.JOURNEYS["prod"])  # credentials of production for GitHub
GRAPH = "https://graph.microsoft.com/beta"
PEM = json.dumps((Path(__file__).parents[1] / "unit" / "corpus" / "signing" / "public.pem").read_text())


@dataclass
class Team:
    """A platform team with a project's specs, and workspaces that nobody acts in yet."""

    folder: Path
    name: str
    admin: Administrator
    capsys: Any
    token: str

    @property
    def github(self) -> dict[str, str]:
        """Flags for a project on GitHub, production bound to the catalog by flexible credentials."""
        return {"repository": f"contoso/{self.name}", "catalog": "contoso/azureml-catalog", "tags": "v1.*"}

    @property
    def customised(self) -> dict[str, str]:
        """The same, bound by exact subjects."""
        return {**self.github, "tags": "v1", "binding": "subject"}

    @property
    def devops(self) -> dict[str, str]:
        """Flags for a project on Azure DevOps."""
        return {"organization": "contoso", "devops_project": self.name}

    def run(self, verb: str = "plan_identity", **flags: Any) -> tuple[int, str, str]:
        """Run it; how it ended (-1: refused), what it printed, and the refusal or the errors."""
        words = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        self.capsys.readouterr()
        code, refusal = -1, ""
        try:
            code = importlib.import_module(verb).main([f"--project={self.folder}", *words])
        except Exception as error:
            explained = error if isinstance(error, command.Refusal) else azure.explain(error)
            if explained is None:
                raise
            refusal = str(explained)
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err + refusal

    def plan(self) -> dict[str, Any]:
        """The plan as it is written."""
        found: dict[str, Any] = json.loads((self.folder / access.FILE).read_text())
        return found

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the plan by hand."""
        plan = self.plan()
        change(plan)
        (self.folder / access.FILE).write_text(json.dumps(plan))

    def entry(self, workspace: str) -> dict[str, Any]:
        """The plan for one workspace."""
        return next(one for one in self.plan()["workspaces"] if one["workspace"] == workspace)

    def spec(self, workspace: str, **fields: str) -> None:
        """Write a workspace spec."""
        given = {
            "stage": workspace, "tenant_id": TENANT, "subscription_id": SUBSCRIPTION, "resource_group": f"rg-{self.name}-{workspace}",
            "workspace_name": f"{self.name}-{workspace}", "client_id": str(uuid.uuid4()), "registry_name": "mlr-plans", **fields,
        }  # fmt: skip
        path = self.folder / ".cloud" / "workspaces" / f"{workspace}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        signing = f"signing: {{key: https://kv{self.name}{workspace}.vault.azure.net/keys/evidence/{'0' * 32}, trusted: [{PEM}]}}\n"
        path.write_text("".join(f"{key}: {value} # as given\n" for key, value in given.items()) + signing)

    def graph(self, method: str, path: str, body: Any = None) -> Any:
        """A call of Microsoft Graph as the administrator."""
        answer = self.admin.session.request(method, GRAPH + path, json=body, headers={"Authorization": f"Bearer {self.token}"}, timeout=60)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def application(self, workspace: str) -> dict[str, Any]:
        """The application of a workspace."""
        (found,) = self.graph("GET", f"/applications?$filter=appId eq '{self.entry(workspace)['client_id']}'")["value"]
        return dict(found)

    def credentials(self, workspace: str) -> list[dict[str, Any]]:
        """Its federated credentials."""
        return list(self.graph("GET", f"/applications/{self.application(workspace)['id']}/federatedIdentityCredentials")["value"])

    def principal(self, workspace: str) -> str:
        """The object id of its service principal."""
        client = self.entry(workspace)["client_id"]
        return str(self.graph("GET", f"/servicePrincipals?$filter=appId eq '{client}'")["value"][0]["id"])

    def roles(self, workspace: str) -> set[tuple[str, str]]:
        """(role's name, last part of the scope) of what it holds."""
        oid = self.principal(workspace)
        found = self.admin.arm(
            "GET", f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01"
        )["value"]
        names = {}
        for one in found:
            if one["properties"]["principalId"] == oid:
                role = self.admin.arm("GET", one["properties"]["roleDefinitionId"] + "?api-version=2022-04-01")
                names[one["id"]] = (role["properties"]["roleName"], one["properties"]["scope"].rpartition("/")[2])
        return set(names.values())


def platform_team(name: str, azure: Any, folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Team:
    admin = azure.admin
    made = Team(folder, name, admin, capsys, admin.token("https://graph.microsoft.com/.default"))
    for stage in ("dev", "prod"):
        made.spec(stage)
    monkeypatch.setattr("plan_identity.SEEN_WITHIN", 5)
    return made


@pytest.fixture(scope="module")
def workspaces(emulator: Any) -> Callable[[str], str]:
    """Makes the workspaces of a project, and the registry."""

    def make(name: str) -> str:
        emulator.admin.registry("mlr-plans", "rg-plans")
        for stage in ("dev", "prod"):
            emulator.admin.workspace(f"{name}-{stage}", f"rg-{name}-{stage}")
        return name

    return make


@pytest.fixture(scope="module")
def shared(workspaces: Callable[[str], str]) -> str:
    return workspaces(f"p{uuid.uuid4().hex[:8]}")


@pytest.fixture
def team(workspaces: Callable[[str], str], azure: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Team:
    """A team with workspaces of its own, whose applications are made."""
    return platform_team(workspaces(f"p{uuid.uuid4().hex[:8]}"), azure, tmp_path / "project", capsys, monkeypatch)


@pytest.fixture
def planner(shared: str, azure: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Team:
    """A team that comes no further than to a plan; its workspaces are others' too."""
    return platform_team(shared, azure, tmp_path / "project", capsys, monkeypatch)


def test_from_specs_to_principals_that_sign_in(team: Team, azure: Any) -> None:
    code, out, _ = team.run(**team.github, **team.devops)
    assert code == 0
    assert out.count("created  ") == 2
    assert "dev: the tenant has no application with client id" in out
    text = (team.folder / ".cloud" / "identity.txt").read_text()
    journeys = ", ".join(access.JOURNEYS["prod"])
    assert f"bound to the workflows {journeys} of contoso/azureml-catalog at tags v1.*, by flexible credentials" in text
    assert all(line in text for _, _, why in access.ROLES for line in [why])

    code, out, err = team.run(check=True)
    assert code == 1
    assert err.count("the tenant has no application with client id") == 2
    assert "Fix: az ad app create --display-name" in err

    code, out, err = team.run(apply=True)
    assert (code, err) == (0, ""), out
    assert "as planned: dev, prod" in out
    for stage in ("dev", "prod"):
        client = team.entry(stage)["client_id"]
        assert f"client_id: {client} # as given\n" in (team.folder / ".cloud" / "workspaces" / f"{stage}.yml").read_text()
        assert team.application(stage)["displayName"] == f"{team.name}-{stage}-ci"
        assert team.roles(stage) == {(one["role"], one["scope"].rpartition("/")[2]) for one in team.entry(stage)["roles"]}
        assert team.roles(stage) >= {
            ("Azure ML quota reader", SUBSCRIPTION),
            ("AzureML Data Scientist", f"{team.name}-{stage}"),
            ("Storage Blob Data Contributor", f"st{team.name}{stage}"),
            ("AzureML Registry User", "mlr-plans"),
            ("Azure ML evidence signer", f"kv{team.name}{stage}"),
            *([("Azure ML access auditor", SUBSCRIPTION)] if stage == "prod" else []),
        }
    trusted = team.credentials("prod")
    flexible = [one["claimsMatchingExpression"]["value"] for one in trusted if one.get("claimsMatchingExpression")]
    assert all("job_workflow_ref'] matches 'contoso/azureml-catalog/" in one for one in flexible)
    (classic,) = [one["subject"] for one in trusted if not one.get("claimsMatchingExpression")]
    assert (len(flexible), len(trusted)) == (BOUND, BOUND + 1)
    assert federation.connection(classic)

    # The second time nothing changes, whichever way it is run.
    before = (team.credentials("prod"), team.roles("prod"), team.plan())
    code, out, _ = team.run(apply=True)
    assert (code, "unchanged\n" in out) == (0, True)
    code, out, _ = team.run()
    assert (code, out.count("unchanged  "), "Nothing is to be done." in out) == (0, 2, True)
    assert (team.credentials("prod"), team.roles("prod"), team.plan()) == before
    assert team.run(check=True)[0] == 0


@pytest.mark.parametrize("binding", ["flexible", "subject"])
def test_who_presents_what_the_plan_trusts_signs_in_and_nobody_else(team: Team, binding: str) -> None:
    team.run(**(team.github if binding == "flexible" else team.customised))
    assert team.run(apply=True)[0] == 0
    client, repository = team.entry("prod")["client_id"], f"contoso/{team.name}"
    release = "v1.4.0" if binding == "flexible" else "v1"
    promote = f"contoso/azureml-catalog/.github/workflows/promote.yml@refs/tags/{release}"
    keys = {"include_claim_keys": "repo,context,job_workflow_ref"} if binding == "subject" else {}
    good = {"repository": repository, "environment": "production", "job_workflow_ref": promote, **keys}
    for job, works in (
        (good, True),
        ({**good, "job_workflow_ref": promote.replace("promote", "rollback")}, True),
        ({**good, "job_workflow_ref": promote.replace("promote", "deploy")}, False),
        ({**good, "job_workflow_ref": promote.replace(f"refs/tags/{release}", "refs/heads/main")}, False),
        ({**good, "job_workflow_ref": promote.replace(f"refs/tags/{release}", "refs/heads/v1.4.0")}, False),
        ({**good, "job_workflow_ref": promote.replace(f"refs/tags/{release}", "refs/tags/v2.0.0")}, False),
        ({**good, "job_workflow_ref": promote.replace(f"refs/tags/{release}", "0123456789abcdef0123456789abcdef01234567")}, False),
        ({**good, "job_workflow_ref": promote.replace("contoso/", "mallory/")}, False),
        ({**good, "job_workflow_ref": f"{repository}/.github/workflows/own.yml@refs/heads/main"}, False),
        ({**good, "environment": "dev"}, False),
        ({**good, "environment": ""}, False),
        ({**good, "environment": "", "event_name": "pull_request"}, False),
        ({**good, "repository": "mallory/" + team.name}, False),
    ):
        asked = "&".join(f"{name}={value}" for name, value in job.items())
        headers = {"Authorization": "Bearer act"}
        url = f"https://pipelines.actions.githubusercontent.com/idtoken?audience=api://AzureADTokenExchange&{asked}"
        session = requests.Session()
        session.verify, session.proxies = team.admin.session.verify, team.admin.session.proxies
        token = session.get(url, headers=headers, timeout=60).json()["value"]
        form = {
            "grant_type": "client_credentials", "client_id": client, "client_assertion": token,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "scope": "https://management.azure.com/.default",
        }  # fmt: skip
        answer = session.post(f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token", data=form, timeout=60)
        assert (answer.status_code == 200) == works, (job, answer.text)


@pytest.fixture
def token(team: Team, azure: Any) -> str:
    """The token of somebody who administers the project's repository on GitHub."""
    organization = {"login": "contoso", "owners": ["owner"], "members": []}
    azure.ask("POST", "/github", {"organizations": [organization], "repositories": [{"full_name": f"contoso/{team.name}"}]})
    return str(azure.ask("POST", "/github/tokens", {"login": "owner"})["token"])


def test_a_customised_subject_is_set_on_the_repository_and_taken_back(team: Team, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = team.run(**team.customised)
    assert code == 0
    command_ = f"gh api --method PUT repos/contoso/{team.name}/actions/oidc/customization/sub -F use_default=false "
    assert f"not supplied, for want of a GitHub token: what contoso/{team.name}'s subjects are made of. {command_}" in err

    monkeypatch.setenv("AML_GITHUB_TOKEN", token)
    code, out, err = team.run(apply=True)
    assert (code, err) == (0, "")
    assert f"updated    subjects of contoso/{team.name}: of repo, context, job_workflow_ref" in out
    assert out.index("created    credential") < out.index("updated    subjects"), "nobody is locked out in between"
    assert "unchanged\nas planned: dev, prod\n" in team.run(apply=True)[1]

    # Nothing is called planned that nobody has looked at.
    monkeypatch.delenv("AML_GITHUB_TOKEN")
    for flags in ({"check": True}, {"apply": True}):
        code, out, err = team.run(**flags)
        assert (code, err.count("not supplied, for want of a GitHub token")) == (0, 1)
        assert f"as planned: dev, prod; not looked at: what contoso/{team.name}'s subjects are made of (it needs a GitHub token" in out
    monkeypatch.setenv("AML_GITHUB_TOKEN", token)

    assert team.run(**team.github, binding="flexible")[0] == 0
    code, _, err = team.run(check=True)
    assert code == 1
    assert f"GitHub makes the subjects of contoso/{team.name} of repo, context, job_workflow_ref, and the plan of repo, context" in err
    assert "-F use_default=true" in err
    code, _, err = team.run(apply=True)
    assert (code, err) == (0, "")
    assert len(team.credentials("prod")) == BOUND

    monkeypatch.setenv("AML_GITHUB_TOKEN", "nobody's")
    assert team.run(check=True)[0] == -1


def test_what_is_there_beside_the_plan_is_shown_then_taken_away_or_kept(team: Team) -> None:
    team.run(**team.github)
    assert team.run(apply=True)[0] == 0
    app, oid = team.application("prod"), team.principal("prod")
    issuer = "https://token.actions.githubusercontent.com"
    foreign = {"name": "left-over", "issuer": issuer, "subject": f"repo:contoso/{team.name}:environment:production"}
    foreign["audiences"] = ["api://AzureADTokenExchange"]  # type: ignore[assignment]
    team.graph("POST", f"/applications/{app['id']}/federatedIdentityCredentials", foreign)
    team.graph("POST", f"/applications/{app['id']}/addPassword", {"passwordCredential": {"displayName": "x\n::error::forged"}})
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-{team.name}-dev"
    role = f"{group}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    contributor = "/providers/Microsoft.Authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c"
    team.admin.arm("PUT", role, {"properties": {"roleDefinitionId": contributor, "principalId": oid}})

    code, _, err = team.run(check=True)
    assert code == 1
    assert "prod: credential left-over accepts" in err
    assert "is not in the plan. Fix: az ad app federated-credential delete" in err
    assert f"prod: role Contributor at {group} is not in the plan. Fix: az role assignment delete --ids" in err
    assert "prod: client secret" in err
    assert "\n::error::forged" not in err
    assert len(err.splitlines()) == 3

    # Apply takes away nothing that nobody reviewed.
    assert team.run(apply=True)[0] == 1
    assert len(team.credentials("prod")) == BOUND + 1

    code, out, _ = team.run()
    assert code == 0
    assert [one["what"].split()[0] for one in team.entry("prod")["remove"]] == ["client", "credential", "role"]
    assert out.count("  loses   ") == 3

    def keep(plan: dict[str, Any]) -> None:
        prod = next(one for one in plan["workspaces"] if one["workspace"] == "prod")
        (secret,) = [one for one in prod["remove"] if one["what"].startswith("client secret")]
        prod["remove"].remove(secret)
        prod["keep"].append({**secret, "why": "until the old pipeline is gone, in May"})

    team.edit(keep)
    code, out, err = team.run(apply=True)
    assert (code, err) == (0, "")
    assert out.count("removed    ") == 2
    assert len(team.credentials("prod")) == BOUND
    assert ("Contributor", f"rg-{team.name}-dev") not in team.roles("prod")
    assert len(team.application("prod")["passwordCredentials"]) == 1
    assert team.run()[0] == 0
    assert [one["why"] for one in team.entry("prod")["keep"]] == ["until the old pipeline is gone, in May"], "a new plan keeps it"


def test_each_thing_that_is_changed_by_hand_is_found_and_mended(team: Team) -> None:
    team.run(**team.github, **team.devops)
    assert team.run(apply=True)[0] == 0
    app, oid = team.application("dev"), team.principal("dev")
    (one,) = [one for one in team.credentials("dev") if one["name"] == "github-dev"]
    path = f"/applications/{app['id']}/federatedIdentityCredentials"
    held = team.admin.arm("GET", f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01")
    storage = next(
        a["id"] for a in held["value"] if a["properties"]["principalId"] == oid and "storageAccounts" in a["properties"]["scope"]
    )
    for says, break_ in (
        ("credential github-dev accepts repo:other", lambda: team.graph("PATCH", f"{path}/{one['id']}", {"subject": "repo:other"})),
        ("no credential accepts repo:contoso", lambda: team.graph("DELETE", f"{path}/github-dev")),
        ("no credential accepts /eid1/", lambda: team.graph("DELETE", f"{path}/azure-devops")),
        ("is open to other tenants", lambda: team.graph("PATCH", f"/applications/{app['id']}", {"signInAudience": "AzureADMultipleOrgs"})),
        ("role Storage Blob Data Contributor is not assigned", lambda: team.admin.arm("DELETE", storage + "?api-version=2022-04-01")),
        ("has no service principal", lambda: team.graph("DELETE", f"/servicePrincipals/{oid}")),
    ):
        break_()
        code, _, err = team.run(check=True)
        assert (code, says in err) == (1, True), err
        code, _, err = team.run(apply=True)
        assert code == 0, err
        assert team.run(check=True)[0] == 0


def test_flags_that_do_not_fit_together(planner: Team) -> None:
    for flags, refusal in (
        ({}, "Nobody is trusted yet"),
        ({"organization": "contoso"}, "A service connection is in a project of an organization"),
        ({"repository": "contoso/x"}, "Without that, any workflow that names the environment may act in production"),
        ({**planner.customised, "tags": "v1.*"}, "The subject cannot have the pattern v1.*"),
    ):
        code, _, err = planner.run(**flags)
        assert (code, refusal in err) == (-1, True), err
    assert not (planner.folder / access.FILE).exists()
    for flags in ({"check": True}, {"apply": True}):
        assert "There is no plan" in planner.run(**flags)[2]


@pytest.mark.parametrize(
    "repository", ["contoso", "contoso/x' and claims['sub'] matches '*", "$(id)/x", "contoso/x y", "a/b/c", "contoso/x\ny"]
)
def test_a_repository_is_one(planner: Team, repository: str) -> None:
    code, _, err = planner.run(repository=repository, catalog="contoso/azureml-catalog", tags="v1", binding="flexible")
    assert code == -1
    assert "identity plan" in err or "has a quote" in err
    assert "repository" in err or "has a quote" in err


def test_an_immutable_repository_is_trusted_by_its_ids(planner: Team) -> None:
    assert planner.run(**{**planner.github, "binding": "none"}, repository_ids="12/345")[0] == 0
    assert [one["subject"] for one in planner.entry("prod")["credentials"]] == [
        f"repo:contoso@12/{planner.name}@345:environment:production"
    ]


def test_a_flexible_binding_names_the_catalogs_workflows_at_a_pattern_of_tags(planner: Team) -> None:
    assert planner.run(**planner.github)[0] == 0
    expressions = [one["expression"] for one in planner.entry("prod")["credentials"]]
    assert expressions == [
        f"claims['sub'] eq 'repo:contoso/{planner.name}:environment:production' and claims['job_workflow_ref'] matches "
        f"'contoso/azureml-catalog/.github/workflows/{journey}.yml@refs/tags/v1.*'"
        for journey in access.JOURNEYS["prod"]
    ]
    assert [one["subject"] for one in planner.entry("dev")["credentials"]] == [f"repo:contoso/{planner.name}:environment:dev"]
    # Given once, the plan remembers it.
    before = planner.plan()
    assert planner.run()[0] == 0
    assert planner.plan() == before


def test_production_has_an_application_of_its_own(planner: Team) -> None:
    client = str(uuid.uuid4())
    planner.spec("dev", client_id=client)
    planner.spec("prod", client_id=client.upper())
    assert "have the same client id" in planner.run(**planner.github)[2]


def test_a_plan_of_other_specs_is_not_applied(planner: Team) -> None:
    planner.run(**planner.github)
    planner.spec("prod")
    for flags in ({"check": True}, {"apply": True}):
        assert "is not of these workspace specs. They differ in prod." in planner.run(**flags)[2]


def test_a_plan_that_was_spoilt_says_where(planner: Team) -> None:
    planner.run(**planner.github)
    planner.edit(lambda plan: plan["workspaces"][0]["roles"][0].update(scope="/", colour="blue"))
    code, _, err = planner.run(apply=True)
    assert code == -1
    assert "identity.json:1:" in err
    assert "expected an ARM id that begins with a subscription, found '/'" in err


def test_two_applications_of_one_name_are_a_question(team: Team) -> None:
    team.run(**team.github)
    for _ in range(2):
        team.graph("POST", "/applications", {"displayName": f"{team.name}-dev-ci"})
    assert f"The tenant has 2 applications {team.name}-dev-ci" in team.run(apply=True)[2]


def test_what_acts_does_not_decide_what_it_may_do(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    team.run(**team.github)
    assert team.run(apply=True)[0] == 0
    secret = team.graph("POST", f"/applications/{team.application('dev')['id']}/addPassword", {})["secretText"]
    monkeypatch.setenv("AZURE_CLIENT_ID", team.entry("dev")["client_id"])
    monkeypatch.setenv("AZURE_CLIENT_SECRET", secret)
    assert "What it may do, others decide" in team.run(apply=True)[2]
    refused = team.run(check=True)[2]
    assert "Microsoft Graph does not allow it to the sign-in. Authorization_RequestDenied" in refused
    assert "Fix: have it granted: Application.Read.All" in refused


def test_killed_at_any_call_it_goes_on_where_it_was(team: Team, azure: Any) -> None:
    """SIGKILL before each write in turn; what is made in the end is the same, and made once."""
    team.run(**team.github, **team.devops)
    argv = [sys.executable, str(SCRIPTS / "plan_identity.py"), f"--project={team.folder}", "--apply"]
    code = (
        f"import os, signal, sys, runpy; sys.path.insert(0, {str(SCRIPTS)!r}); from aml import azure\n"
        "send, left = azure.Client._send, [int(sys.argv.pop(1))]\n"
        "def counted(self, method, path, *rest, **more):\n"
        "    answer = send(self, method, path, *rest, **more)\n"
        "    left[0] -= method != 'GET'\n"
        "    if left[0] < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return answer\n"
        "azure.Client._send = counted\n"
        f"sys.argv[0] = {argv[1]!r}; runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    ends = []
    for writes in [0, 0, 1, 2, 3, 5]:
        done = subprocess.run(
            [sys.executable, "-c", code, str(writes), *argv[2:]], capture_output=True, text=True, timeout=120, check=False
        )
        ends.append(done.returncode)
    assert ends.count(-signal.SIGKILL) >= 4, done.stdout + done.stderr
    code_, _, err = team.run(apply=True)
    assert (code_, err) == (0, "")
    for stage in ("dev", "prod"):
        found = team.graph("GET", f"/applications?$filter=displayName eq '{team.name}-{stage}-ci'")["value"]
        assert len(found) == 1
        assert len(team.roles(stage)) == len(access.held(stage))
    assert len(team.credentials("prod")) == BOUND + 1
