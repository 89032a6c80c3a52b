"""Gates on the emulated GitHub and Azure DevOps, by the same table of cases: checked, set up, read back."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

import apply_gates
import check_gates
import plan_gates
from aml import azure_devops_gates, command, rest, workspace
from aml.gates import Finding

SECRET = "only-for-the-emulator"
SCRIPTS = Path(__file__).parents[2] / "scripts"
GATES = ".cloud/gates.yml"
IDS = {name: str(uuid.uuid4()) for name in ("tenant_id", "subscription_id", "client_id")}
WORKSPACE = "\n".join([f"{name}: {value}" for name, value in IDS.items()] + ["stage: dev", "resource_group: rg", "workspace_name: mlw-dev"])
GATE: dict[str, Any] = {
    "environment": "production",
    "reviewers": {"count": 1, "users": ["rea"], "teams": ["release-managers"], "self_review": False},
    "branches": ["main"],
    "tags": ["v*"],
    "service_connection": "azureml-production",
}
NOW = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)


@dataclass
class Place(ABC):
    """One CI system with a project: where its gates are written, and how what it has is changed behind their back."""

    folder: Path
    name: str
    azure: Any
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    flags: dict[str, str] = field(default_factory=dict)

    def write(self, *, top: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        """Write gates.yml: the gate with some keys changed, or left out where they are None."""
        gate = {key: value for key, value in {**GATE, **changes}.items() if value is not None}
        (self.folder / GATES).write_text(json.dumps({"gates": [gate], **(top or {})}))  # JSON is YAML
        return gate

    def check(self, environment: str = "production", **more: Any) -> list[Finding]:
        """Check the gate as a job does."""
        with self.monkeypatch.context() as patch:
            self.as_job(patch)
            return check_gates.check(workspace.load(self.folder, "dev"), environment, now=NOW, **more)

    def failed(self, environment: str = "production", **more: Any) -> dict[str, str]:
        """What a check finds missing: the rule, and what it says."""
        return {finding.name: finding.says for finding in self.check(environment, **more) if not finding.passed}

    def apply(self) -> list[str]:
        """Set the gate up as a platform team does; what was said."""
        return self.as_team(apply_gates.main)

    def plan(self) -> list[str]:
        """What would be done."""
        return self.as_team(plan_gates.main)

    def as_team(self, main: Callable[[list[str]], int]) -> list[str]:
        with self.monkeypatch.context() as patch:
            self.platform(patch)
            self.capsys.readouterr()
            words = [f"--{name}={value}" for name, value in self.flags.items()]
            try:
                assert main([f"--project={self.folder}", *words]) == 0
            finally:
                self.said = self.capsys.readouterr()
            return self.said.out.splitlines()

    @abstractmethod
    def as_job(self, patch: pytest.MonkeyPatch) -> None:
        """Act with a job's own token."""

    @abstractmethod
    def platform(self, patch: pytest.MonkeyPatch) -> None:
        """Act with a platform team's token."""

    @abstractmethod
    def change(self, what: str) -> None:
        """Weaken what is set up, as somebody could on the settings page."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether the environment is there."""

    @abstractmethod
    def state(self) -> Any:
        """Everything that protects the environment, as the service shows it, without times."""

    @abstractmethod
    def ignoring(self, name: str) -> None:
        """Let the service drop a field without a word."""


@dataclass
class GitHub(Place):
    """A repository on GitHub, of an organization of its own."""

    client: httpx.Client | None = None
    tokens: dict[str, str] = field(default_factory=dict)
    plan_of_owner: str = "enterprise"

    def seed(self, visibility: str = "internal", plan: str = "enterprise") -> None:
        """The organization and its repository; tokens of an owner and of a job."""
        org = self.name.partition("/")[0]
        teams = [{"slug": slug, "members": ["rea"]} for slug in ("release-managers", "others")]
        one = {"login": org, "plan": plan, "owners": [f"{org}-owner"], "members": ["rea", "sam"], "teams": teams}
        repository = {"full_name": self.name, "visibility": visibility, "teams": {"release-managers": "pull", "others": "pull"}}
        self.azure.ask("POST", "/github", {"organizations": [one], "repositories": [repository]})
        ask = {"owner": {"login": f"{org}-owner"}, "job": self.job_token(actions="read", contents="read")}
        self.tokens = {name: self.azure.ask("POST", "/github/tokens", body)["token"] for name, body in ask.items()}

    def job_token(self, **permissions: str) -> dict[str, Any]:
        return {"kind": "workflow", "repositories": [self.name.lower()], "permissions": {"metadata": "read", **permissions}}

    def as_job(self, patch: pytest.MonkeyPatch) -> None:
        patch.setenv("GITHUB_ACTIONS", "true")
        patch.setenv("GITHUB_OUTPUT", str(self.folder / "output"))
        patch.setenv("GITHUB_REPOSITORY", self.name)
        patch.setenv("AML_GITHUB_TOKEN", self.tokens["job"])

    def platform(self, patch: pytest.MonkeyPatch) -> None:
        patch.setenv("GH_TOKEN", self.tokens["owner"])

    def rest(self, method: str, path: str, body: Any = None, missing: bool = False) -> Any:
        assert self.client
        url = path if path.startswith("/") else f"/repos/{self.name}/{path}"
        answer = self.client.request(method, url, json=body, headers={"Authorization": f"Bearer {self.tokens['owner']}"})
        if missing and answer.status_code == 404:
            return None
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def id(self, login: str) -> int:
        return int(self.rest("GET", f"/users/{login}")["id"])

    def team(self, slug: str) -> int:
        return int(self.rest("GET", f"/orgs/{self.name.partition('/')[0]}/teams/{slug}")["id"])

    def change(self, what: str) -> None:
        url, user, team = "environments/production", {"type": "User", "id": self.id("rea")}, self.team
        one = {"type": "Team", "id": team("release-managers")}
        policies = f"{url}/deployment-branch-policies"
        if what == "missing":
            self.rest("DELETE", url)
        elif what == "unprotected":
            self.rest("DELETE", url)
            self.rest("PUT", url)
        elif what == "too few reviewers":
            self.rest("PUT", url, {"reviewers": [], "prevent_self_review": False})
        elif what == "team not represented":
            self.rest("PUT", url, {"reviewers": [user, {"type": "Team", "id": team("others")}]})
        elif what == "somebody else":
            self.rest("PUT", url, {"reviewers": [user, one, {"type": "User", "id": self.id("sam")}]})
        elif what == "self-review":
            self.rest("PUT", url, {"prevent_self_review": False, "reviewers": [user, one]})
        elif what == "admin bypass":
            self.rest("PUT", url, {"can_admins_bypass": True})
        elif what == "other branches":
            self.rest("POST", policies, {"name": "feature/*", "type": "branch"})
        elif what == "any branch":
            self.rest("PUT", url, {"deployment_branch_policy": None})
        else:
            raise ValueError(what)

    def exists(self) -> bool:
        return self.rest("GET", "environments/production", missing=True) is not None

    def state(self) -> Any:
        found = self.rest("GET", "environments/production")
        policies = self.rest("GET", "environments/production/deployment-branch-policies")["branch_policies"]
        return {name: value for name, value in found.items() if not name.endswith("_at")}, policies

    def ignoring(self, name: str) -> None:
        self.azure.set("github_ignores", name)


@dataclass
class AzureDevOps(Place):
    """A project on Azure DevOps."""

    client: httpx.Client | None = None
    job: str = ""
    person: str = ""

    @property
    def where(self) -> dict[str, str]:
        return {"organization": "contoso", "project": self.name}

    def seed(self) -> None:
        """People, groups and a service connection; a job's token, and a person's who administers the project."""
        admin = self.azure.admin
        groups = [f"[{self.name}]\\{group}" for group in ("release-managers", "others", "Project Administrators")]
        admin.azure_devops("identities", **self.where, names=["rea", "sam", "pat", *groups])
        admin.azure_devops("connections", **self.where, name="azureml-production", client_id=str(uuid.uuid4()))
        build = admin.azure_devops("builds", **self.where, pipeline="release")
        self.job = admin.azure_devops("jobs", **self.where, build_id=build["id"], name="share.share")["access_token"]
        self.person = admin.azure_devops("tokens", user="pat")["token"]

    def as_job(self, patch: pytest.MonkeyPatch) -> None:
        patch.setenv("TF_BUILD", "True")
        patch.setenv("SYSTEM_COLLECTIONURI", "https://dev.azure.com/contoso/")
        patch.setenv("SYSTEM_TEAMPROJECT", self.name)
        patch.setenv("SYSTEM_ACCESSTOKEN", self.job)

    def platform(self, patch: pytest.MonkeyPatch) -> None:
        patch.setenv("AZURE_DEVOPS_EXT_PAT", self.person)

    def rest(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        assert self.client
        url = (
            f"https://dev.azure.com/contoso/_apis{path}"
            if path.startswith("/")
            else f"https://dev.azure.com/contoso/{self.name}/_apis/{path}"
        )
        answer = self.client.request(method, url, json=body, params={"api-version": "7.1", **query}, auth=("", self.person))
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def id(self, name: str) -> str:
        url = "https://vssps.dev.azure.com/contoso/_apis/identities"
        query = {"searchFilter": "General", "filterValue": name, "api-version": "7.1"}
        assert self.client
        return str(self.client.get(url, params=query, auth=("", self.person)).json()["value"][0]["id"])

    def environment(self) -> Any:
        found = self.rest("GET", "distributedtask/environments", name="production")["value"]
        return found[0] if found else None

    def checks(self, kind: str = "environment", id: str = "") -> list[Any]:
        id = id or str(self.environment()["id"])
        return list(
            self.rest("GET", "pipelines/checks/configurations", resourceType=kind, resourceId=id, **{"$expand": "settings"})["value"]
        )

    def connection(self) -> str:
        """The id of production's service connection."""
        (id,) = [one["id"] for one in self.rest("GET", "serviceendpoint/endpoints")["value"]]
        return str(id)

    def settings(self, number: int, kind: str = "environment", id: str = "", **changes: Any) -> None:
        """Change a check's settings."""
        found = self.checks(kind, id)[number]
        body = {**found, "settings": {**found["settings"], **changes}}
        self.rest("PATCH", f"pipelines/checks/configurations/{found['id']}", body)

    def change(self, what: str) -> None:
        group = f"[{self.name}]\\"
        if what == "missing":
            self.rest("DELETE", f"distributedtask/environments/{self.environment()['id']}")
        elif what == "unprotected":
            for check in self.checks():
                self.rest("DELETE", f"pipelines/checks/configurations/{check['id']}")
        elif what == "too few reviewers":
            self.rest("PATCH", f"pipelines/checks/configurations/{self.checks()[0]['id']}", {"isDisabled": True})
        elif what == "team not represented":
            self.settings(0, approvers=[{"id": self.id("rea")}, {"id": self.id(f"{group}others")}])
        elif what == "somebody else":
            self.settings(0, approvers=[{"id": self.id(name)} for name in ("rea", "sam", f"{group}release-managers")])
        elif what == "self-review":
            self.settings(0, requesterCannotBeApprover=False)
        elif what == "admin bypass":
            there = self.environment()
            resource = f"{there['project']['id']}_{there['id']}"
            scope = "/securityroles/scopes/distributedtask.environmentreferencerole/roleassignments/resources/"
            self.rest("PUT", scope + resource, [{"userId": self.id("sam"), "roleName": "Administrator"}])
        elif what == "other branches":
            found = self.checks()[1]["settings"]["inputs"]
            self.settings(1, inputs={**found, "allowedBranches": f"{found['allowedBranches']}, refs/heads/feature/*"})
        elif what == "any branch":
            self.rest("DELETE", f"pipelines/checks/configurations/{self.checks()[1]['id']}")
        else:
            raise ValueError(what)

    def exists(self) -> bool:
        return self.environment() is not None

    def state(self) -> Any:
        there = self.environment()
        checks = [{name: value for name, value in one.items() if name != "modifiedOn"} for one in self.checks()]
        return there, checks

    def ignoring(self, name: str) -> None:
        self.azure.set("azure_devops_ignores", name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "gated"
    (made / ".cloud" / "workspaces").mkdir(parents=True)
    (made / ".cloud" / "workspaces" / "dev.yml").write_text(WORKSPACE)
    return made


@pytest.fixture
def client(azure: Any) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url="https://api.github.com", proxy=azure.env["HTTPS_PROXY"], verify=azure.env["REQUESTS_CA_BUNDLE"], timeout=60
    ) as made:
        yield made


@pytest.fixture
def github(folder: Path, azure: Any, client: httpx.Client, monkeypatch: Any, capsys: Any) -> Iterator[GitHub]:
    name = f"org-{uuid.uuid4().hex[:8]}/flight-delay"
    made = GitHub(folder, name, azure, monkeypatch, capsys, {"repository": name}, client)
    made.seed()
    yield made
    made.ignoring("")


@pytest.fixture
def azure_devops(folder: Path, azure: Any, client: httpx.Client, monkeypatch: Any, capsys: Any) -> Iterator[AzureDevOps]:
    name = f"ml-{uuid.uuid4().hex[:8]}"
    flags = {"azure-devops": f"https://dev.azure.com/contoso/{name}"}
    made = AzureDevOps(folder, name, azure, monkeypatch, capsys, flags, client)
    made.seed()
    yield made
    made.ignoring("")


@pytest.fixture(params=["github", "azure_devops"])
def place(request: pytest.FixtureRequest) -> Place:
    """The same on both systems."""
    made: Place = request.getfixturevalue(request.param)
    made.write()
    return made


@pytest.mark.parametrize(
    ("what", "rules"),
    [
        ("missing", {"environment"}),
        ("unprotected", {"approvals", "reviewers: users", "reviewers: teams", "self-review", "branches", "tags"}),
        ("too few reviewers", {"approvals", "reviewers: users", "reviewers: teams", "self-review"}),
        ("team not represented", {"reviewers: teams"}),
        ("somebody else", {"reviewers: users"}),
        ("self-review", {"self-review"}),
        ("admin bypass", {"admin bypass"}),
        ("other branches", {"branches"}),
        ("any branch", {"branches", "tags"}),
    ],
)
def test_what_is_less_than_written_is_found_and_set_right(place: Place, what: str, rules: set[str]) -> None:
    place.apply()
    assert place.failed() == {}
    place.change(what)
    found = place.failed()
    # An environment that GitHub makes anew lets administrators past it; one of Azure DevOps' has lost its lock with its checks.
    also = ({"admin bypass"} if isinstance(place, GitHub) else {"exclusive lock"}) if what == "unprotected" else set()
    assert set(found) == rules | also, found
    with place.monkeypatch.context() as patch:
        place.as_job(patch)
        words = [f"--project={place.folder}", "--workspace=dev"]
        with pytest.raises(command.Refusal, match=r"environment production does not hold\..*Fix: have a platform team run apply_gates"):
            check_gates.main(words)
    assert "environment production: to do" in place.plan()
    assert set(place.failed()) == set(found), "a plan changes nothing"
    assert place.apply()[-1] == "updated  environment production"
    assert place.failed() == {}


def test_looking_at_a_missing_environment_does_not_make_it(place: Place) -> None:
    assert place.failed() == {"environment": "there is no environment 'production', or it can't be seen"}
    place.plan()
    assert not place.exists()


def test_a_gate_that_holds_passes_and_says_so_rule_by_rule(place: Place) -> None:
    place.apply()
    with place.monkeypatch.context() as patch:
        place.as_job(patch)
        place.capsys.readouterr()
        assert check_gates.main([f"--project={place.folder}", "--workspace=dev"]) == 0
    said = place.capsys.readouterr().out
    assert "FAILED" not in said
    assert "passed  reviewers: teams: expected release-managers, found release-managers" in said
    assert "gates_verdict: passed" in said


def test_setting_up_twice_changes_nothing_the_second_time(place: Place) -> None:
    assert place.apply()[-1] == "updated  environment production"
    before = place.state()
    assert place.apply() == ["unchanged  environment production"]
    assert place.state() == before
    assert "environment production: unchanged" in place.plan()
    assert "gates_changes: 0" in place.plan()


def test_more_than_written_is_no_fault(place: Place) -> None:
    place.write(reviewers={**GATE["reviewers"], "self_review": True}, admin_bypass=True)
    place.apply()
    assert place.failed() == {}
    place.write(reviewers={**GATE["reviewers"], "self_review": True}, admin_bypass=True, branches=["main"])
    place.apply()
    place.write()
    place.apply()
    place.write(reviewers={**GATE["reviewers"], "self_review": True}, admin_bypass=True)
    assert place.failed() == {}, "barring what may be allowed is fine"


@pytest.mark.parametrize("calls", range(5))
def test_whoever_is_killed_between_two_calls_finishes_by_running_it_again(place: Place, calls: int) -> None:
    send, left = rest.Session.send, iter(range(calls))

    def until_killed(self: rest.Session, method: str, *more: Any) -> Any:
        if method != "GET" and next(left, None) is None:
            raise KeyboardInterrupt
        return send(self, method, *more)

    with place.monkeypatch.context() as patch:
        patch.setattr(rest.Session, "send", until_killed)
        try:
            place.apply()
        except KeyboardInterrupt:
            assert place.failed() or not place.exists()
    place.apply()
    assert place.failed() == {}
    if isinstance(place, AzureDevOps):
        assert len(place.checks()) == 3
        assert len(place.checks("endpoint", place.connection())) == 2
    assert place.apply() == ["unchanged  environment production"]


@pytest.mark.parametrize(("status", "times"), [(503, 2), (429, 1), (0, 1)])
def test_a_passing_fault_while_reading_is_waited_out(place: Place, status: int, times: int) -> None:
    place.apply()
    host = "api.github.com" if isinstance(place, GitHub) else "dev.azure.com"
    place.azure.fault(host=host, method="GET", times=times, **({"status": status} if status else {"reset": True}))
    assert place.failed() == {}


def test_what_is_added_is_not_sent_twice(azure_devops: AzureDevOps) -> None:
    """Its first attempt may have counted."""
    azure_devops.write()
    azure_devops.azure.fault(host="dev.azure.com", method="POST", path="*/checks/*", after=1, times=1, status=503)
    with pytest.raises(command.Refusal, match="503"):
        azure_devops.apply()
    azure_devops.apply()
    assert len(azure_devops.checks()) == 3


def test_a_field_that_the_service_drops_is_found_by_reading_it_back(place: Place) -> None:
    field, rule = ("prevent_self_review", "self-review") if isinstance(place, GitHub) else ("requesterCannotBeApprover", "self-review")
    place.ignoring(field)
    with pytest.raises(command.Refusal, match=rf"does not show what was set\..*{rule}: expected barred, found allowed"):
        place.apply()
    assert set(place.failed()) == ({rule} if isinstance(place, GitHub) else {rule, f"{CONNECTION}: {rule}"})
    place.ignoring("")
    place.apply()
    assert place.failed() == {}


def test_a_count_that_is_dropped_is_found(azure_devops: AzureDevOps) -> None:
    azure_devops.write(reviewers={**GATE["reviewers"], "count": 2})
    azure_devops.apply()
    assert azure_devops.checks()[0]["settings"]["minRequiredApprovers"] == 2
    azure_devops.settings(0, minRequiredApprovers=1)
    assert azure_devops.failed() == {"approvals": "expected at least 2, found 1"}
    azure_devops.settings(0, minRequiredApprovers=0)
    assert azure_devops.failed() == {}, "0 means all of them"


def test_a_bypass_that_is_dropped_is_found(github: GitHub) -> None:
    github.write()
    github.ignoring("can_admins_bypass")
    with pytest.raises(command.Refusal, match="admin bypass: expected off, found on"):
        github.apply()


def test_a_wait_that_is_shorter_than_written(place: Place) -> None:
    place.apply()
    place.write(wait_minutes=30)
    found = place.failed()
    assert found["wait"] == "expected at least 30 min, found 0 min"
    if isinstance(place, GitHub):
        place.apply()
        assert place.failed() == {}
        place.rest("PUT", "environments/production", {"wait_timer": 60})
        assert place.failed() == {}
    else:
        assert found["wait on Azure DevOps"] == "Azure DevOps has no wait before a job starts"
        with pytest.raises(command.Refusal, match="write wait_minutes: 0"):
            place.apply()


def test_two_approvals_are_more_than_one_environment_of_github_waits_for(github: GitHub) -> None:
    github.write(reviewers={**GATE["reviewers"], "count": 2})
    with pytest.raises(command.Refusal, match="GitHub starts the job at the first approval, so one environment can't wait for 2"):
        github.apply()
    assert {"approvals", "number of approvals"} <= set(github.failed())


@pytest.mark.parametrize(
    ("visibility", "plan", "top", "says"),
    [
        ("public", "free", {}, None),
        ("internal", "enterprise", {}, None),
        ("private", "enterprise", {"github_plan": "enterprise"}, None),
        ("private", "enterprise", {}, "the repository is private and its owner's plan can't be read with this token"),
    ],
)
def test_a_plan_that_enforces_nothing_is_said(github: GitHub, visibility: str, plan: str, top: dict[str, str], says: str | None) -> None:
    github.seed(visibility, plan)
    github.write(top=top)
    github.apply()  # an owner's token reads the plan
    found = github.failed()
    assert list(found) == (["plan"] if says else [])
    if says:
        assert found["plan"].startswith(says)


def test_a_private_repository_without_enterprise_is_refused_with_the_weaker_way(github: GitHub) -> None:
    github.write()
    github.apply()
    github.seed("private", "team")  # its rules are left from before, and hold no longer
    finding = next(one for one in github.check() if one.name == "plan")
    assert not finding.passed
    assert "review of the release's pull request" in finding.fix
    with pytest.raises(command.Refusal, match=r"its owner's plan is team; GitHub enforces reviewers and waits there only with Enterprise"):
        github.apply()
    github.rest("DELETE", "environments/production")
    with pytest.raises(command.Refusal, match="billing plan supports the required reviewers"):
        github.apply()


def test_a_token_without_the_permission_is_told_which(github: GitHub) -> None:
    github.seed("internal")
    github.write()
    github.apply()
    github.tokens["job"] = github.azure.ask("POST", "/github/tokens", github.job_token(contents="read"))["token"]
    with pytest.raises(command.Refusal, match=r"403 .*grant the job `permissions: actions: read`"):
        github.check()
    github.tokens["owner"] = github.azure.ask("POST", "/github/tokens", {"login": "sam"})["token"]
    github.write(wait_minutes=5)
    with pytest.raises(command.Refusal, match="administers the repository"):
        github.apply()


def test_a_token_that_has_expired_and_a_repository_that_is_not_there(github: GitHub) -> None:
    github.write()
    good = dict(github.tokens)
    github.tokens["job"] = "ghs_gone"
    with pytest.raises(command.Refusal, match="401"):
        github.check()
    github.tokens = good
    with pytest.raises(command.Refusal, match=r"The repository .* can't be seen"):
        github.check(repository=f"{github.name}-x")


def test_a_job_may_not_set_up_gates_on_azure_devops(azure_devops: AzureDevOps) -> None:
    azure_devops.write()
    azure_devops.as_job(azure_devops.monkeypatch)
    with pytest.raises(command.Refusal, match=r"403 .*Build Service"):
        apply_gates.main([f"--project={azure_devops.folder}"])


def test_a_sign_in_that_azure_devops_refuses_is_no_page(azure_devops: AzureDevOps) -> None:
    azure_devops.write()
    azure_devops.job = "nonsense"
    with pytest.raises(command.Refusal, match="answered 401"):
        azure_devops.check()


def test_the_service_connection_must_allow_the_same_branches(azure_devops: AzureDevOps) -> None:
    azure_devops.write(service_connection=None)
    with pytest.raises(command.Refusal, match=r"service connection: gates\.yml names none"):
        azure_devops.apply()
    assert list(azure_devops.failed()) == ["service connection"]
    azure_devops.write()
    name = "service connection azureml-production"
    assert azure_devops.failed()[name] == "expected refs/heads/main, refs/tags/v*, refs/tags/v0, found any branch"
    azure_devops.apply()
    assert azure_devops.failed() == {}
    azure_devops.write(service_connection="nobody")
    assert azure_devops.failed() == {"service connection nobody": "there is no such service connection, or it can't be seen"}


TEMPLATES = {"repository": "mlops/azureml-catalog", "templates": [".ado/stages/release.yml", "/.ado/stages/rollback.yml"]}
CONNECTION = "service connection azureml-production"


def test_the_service_connection_is_for_the_catalogs_templates_alone(azure_devops: AzureDevOps) -> None:
    azure_devops.write(required_templates=TEMPLATES)
    azure_devops.apply()
    assert azure_devops.failed() == {}
    assert azure_devops.apply() == ["unchanged  environment production"]
    (id,) = [one["id"] for one in azure_devops.rest("GET", "serviceendpoint/endpoints")["value"]]

    def required() -> Any:
        (found,) = [one for one in azure_devops.checks("endpoint", id) if one["type"]["name"] == "ExtendsCheck"]
        return found

    def change(**fields: Any) -> None:
        azure_devops.rest("PATCH", f"pipelines/checks/configurations/{required()['id']}", {**required(), **fields})

    listed = required()["settings"]["extendsChecks"]
    assert listed == [
        {"repositoryType": "git", "repositoryName": "mlops/azureml-catalog", "repositoryRef": "refs/tags/v0", "templatePath": path}
        for path in (".ado/stages/release.yml", ".ado/stages/rollback.yml")
    ]
    mine = {**listed[0], "repositoryName": "mlops/flight-delay"}
    for attack, found in (
        (lambda: change(settings={"extendsChecks": [*listed, mine]}), ".ado/stages/release.yml of mlops/flight-delay at v0"),
        (lambda: change(settings={"extendsChecks": [{**one, "repositoryRef": "refs/heads/main"} for one in listed]}), "at refs/heads/main"),
        (lambda: change(settings={"extendsChecks": [{**one, "templatePath": "mine.yml"} for one in listed]}), "mine.yml of mlops"),
        (
            lambda: change(settings={"extendsChecks": [{**one, "repositoryType": "github"} for one in listed]}),
            "found .ado/stages/release.yml",
        ),
        (lambda: change(settings={"extendsChecks": []}), "found none"),
        (lambda: change(isDisabled=True), "found any"),
        (lambda: azure_devops.rest("DELETE", f"pipelines/checks/configurations/{required()['id']}"), "found any"),
    ):
        attack()
        failed = azure_devops.failed()
        assert list(failed) == [f"{CONNECTION}: required template"]
        assert found in failed[f"{CONNECTION}: required template"]
        assert "let only pipelines that extend .ado/stages/release.yml of mlops/azureml-catalog at v0" in azure_devops.plan()[1]
        azure_devops.apply()
        assert azure_devops.failed() == {}
        assert required()["settings"]["extendsChecks"] == listed
    azure_devops.write()
    assert azure_devops.failed() == {}, "more than is written is no fault"


NOBODY = {
    "approvals": "at least 1, found 0",
    "reviewers: users": "rea, found none",
    "reviewers: teams": "release-managers, found none",
    "self-review": "barred, found allowed",
}


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("deleted", NOBODY),
        ("disabled", NOBODY),
        ({"requesterCannotBeApprover": False}, {"self-review": "barred, found allowed"}),
        ({"executionOrder": "inSequence"}, {"order of approvals": "anyOrder, found inSequence"}),
        ("others", {"reviewers: users": "rea, found rea, sam"}),
    ],
)
def test_the_service_connection_asks_the_same_people(azure_devops: AzureDevOps, what: Any, expected: dict[str, str]) -> None:
    """Whoever starts a run chooses its environment, and has to get past the connection all the same."""
    azure_devops.write()
    azure_devops.apply()
    where = ("endpoint", azure_devops.connection())
    approval = azure_devops.checks(*where)[0]
    assert approval["settings"] == azure_devops.checks()[0]["settings"]
    path = f"pipelines/checks/configurations/{approval['id']}"
    if what == "deleted":
        azure_devops.rest("DELETE", path)
    elif what == "disabled":
        azure_devops.rest("PATCH", path, {"isDisabled": True})
    elif what == "others":
        more = [*approval["settings"]["approvers"], {"id": azure_devops.id("sam")}]
        azure_devops.settings(0, *where, approvers=more)
    else:
        azure_devops.settings(0, *where, **what)
    found = azure_devops.failed()
    assert found == {f"{CONNECTION}: {name}": f"expected {says}" for name, says in expected.items()}
    assert [line for line in azure_devops.plan() if "the approval of service connection azureml-production" in line]
    assert azure_devops.failed() == found, "a plan changes nothing"
    azure_devops.apply()
    assert azure_devops.failed() == {}
    assert sorted(one["type"]["name"] for one in azure_devops.checks(*where)) == ["Approval", "Task Check"]


def test_as_many_approve_the_service_connection(azure_devops: AzureDevOps) -> None:
    azure_devops.write(reviewers={**GATE["reviewers"], "count": 2})
    azure_devops.apply()
    azure_devops.settings(0, "endpoint", azure_devops.connection(), minRequiredApprovers=1)
    assert azure_devops.failed() == {f"{CONNECTION}: approvals": "expected at least 2, found 1"}


def test_the_environment_is_one_run_s_at_a_time(azure_devops: AzureDevOps) -> None:
    azure_devops.write()
    azure_devops.apply()
    (lock,) = [one for one in azure_devops.checks() if one["type"]["name"] == "ExclusiveLock"]
    path = f"pipelines/checks/configurations/{lock['id']}"
    for change in (("PATCH", path, {"isDisabled": True}), ("DELETE", path)):
        azure_devops.rest(*change)
        assert azure_devops.failed() == {"exclusive lock": "expected one, for one run at a time, found none"}
        assert "  let one run at a time use environment production" in azure_devops.plan()
        azure_devops.apply()
        assert azure_devops.failed() == {}
        assert [one["type"]["name"] for one in azure_devops.checks()].count("ExclusiveLock") == 1
    azure_devops.settings(0, executionOrder="inSequence")
    assert azure_devops.failed() == {"order of approvals": "expected anyOrder, found inSequence"}
    azure_devops.apply()
    assert azure_devops.failed() == {}


def test_the_service_connection_is_open_to_no_pipeline_that_was_not_let_in(azure_devops: AzureDevOps) -> None:
    azure_devops.write()
    azure_devops.apply()
    (id,) = [one["id"] for one in azure_devops.rest("GET", "serviceendpoint/endpoints")["value"]]
    path = f"pipelines/pipelinepermissions/endpoint/{id}"
    let_in = [{"id": 7, "authorized": True}]
    azure_devops.rest("PATCH", path, {"allPipelines": {"authorized": True}, "pipelines": let_in}, **{"api-version": "7.1-preview.1"})
    expected = "expected those that are let in one by one, found every pipeline of the project"
    assert azure_devops.failed() == {f"{CONNECTION}: pipelines": expected}
    assert "  let not every pipeline use service connection azureml-production" in azure_devops.plan()
    azure_devops.apply()
    assert azure_devops.failed() == {}
    left = azure_devops.rest("GET", path, **{"api-version": "7.1-preview.1"})
    assert ([one["id"] for one in left["pipelines"]], "allPipelines" in left) == ([7], False)

    azure_devops.azure.fault(host="dev.azure.com", path="*/pipelinepermissions/*", status=404, times=0)
    assert azure_devops.failed() == {f"{CONNECTION}: pipelines": "which pipelines may use it can't be read"}


def test_branch_control_lets_the_catalog_in_and_the_project_s_tag_of_that_name_counts(azure_devops: AzureDevOps) -> None:
    azure_devops.write(tags=[])
    azure_devops.apply()
    assert azure_devops.checks()[1]["settings"]["inputs"]["allowedBranches"] == "refs/heads/main, refs/tags/v0"
    assert azure_devops.failed() == {}
    azure_devops.write(tags=[], catalog_tags=["v1"])
    assert azure_devops.failed()["tags"] == "expected none, found v0"
    azure_devops.apply()
    assert azure_devops.checks()[1]["settings"]["inputs"]["allowedBranches"] == "refs/heads/main, refs/tags/v1"


def test_a_person_who_is_called_like_the_team_is_not_the_team(azure_devops: AzureDevOps) -> None:
    gate = azure_devops.write()
    azure_devops.apply()
    found = azure_devops.checks()[0]
    fake = {**found["settings"]["approvers"][-1], "descriptor": "aad.0", "isContainer": False, "uniqueName": "mallory"}
    found["settings"]["approvers"] = [{"displayName": "Rea", "uniqueName": "rea", "id": "1", "descriptor": "aad.1"}, fake]

    answers = {"checks": [found], "environments": [{"id": 1, "name": "production", "project": {"id": "p"}}], "roleassignments": []}

    class Client:
        project = azure_devops.name

        def get(self, path: str, **query: str) -> Any:
            return {"value": next(rows for part, rows in answers.items() if part in path)}

    asked: Any = {**gate, "administrators": [], "admin_bypass": False, "catalog_tags": ["v0"]}
    protection = azure_devops_gates.AzureDevOps(Client()).protection(asked)  # type: ignore[arg-type]
    assert protection is not None
    assert protection.teams == frozenset()
    assert protection.users == {"rea", "mallory"}


def test_without_gates_nothing_is_promoted(place: Place) -> None:
    place.apply()
    with pytest.raises(command.Refusal, match=r"gates\.yml has no gate for the environment 'prodution'\..*did you mean production\?"):
        place.check("prodution")
    (place.folder / GATES).unlink()
    with pytest.raises(command.Refusal, match=r"There is no .*gates\.yml.*Fix: write it, as examples/flight-delay/\.cloud/gates\.yml"):
        place.check()


def test_a_freeze_stops_a_release_and_says_until_when(place: Place) -> None:
    place.apply()
    freeze = {"name": "Close of the month", "zone": "Europe/Zurich", "begins": "2026-11-20T12:00", "until": "2026-11-20T14:00"}
    place.write(freeze=[freeze])  # 12:00 UTC is 13:00 there
    assert place.failed() == {"freeze": "nothing is promoted during Close of the month (until 2026-11-20 14:00 Europe/Zurich)"}
    place.write(freeze=[{**freeze, "until": "2026-11-20T13:00"}])
    assert place.failed() == {}


def test_a_release_names_its_ticket(place: Place) -> None:
    place.apply()
    place.write(ticket={"pattern": r"CHG\d{4}"})
    assert "ticket" in place.failed()
    assert place.failed(ticket="CHG0042") == {}
    assert place.failed(ticket="see CHG0042; rm -rf /")["ticket"].endswith(r"has nothing like CHG\d{4}")
    git = ["git", "-C", str(place.folder), "-c", "user.name=Kim", "-c", "user.email=kim@example.com"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "Merge: new weather\n\nfor CHG0042\n::error::$(id)"]):
        subprocess.run([*git, *words], check=True)
    assert place.failed() == {}


@pytest.mark.parametrize("name", ["production 'quoted' $(id)", "a%2e%2e&name=b#c?d=e", "Überprüfung"])
def test_names_that_hurt_are_names(place: Place, name: str) -> None:
    place.write(environment=name)
    place.apply()
    assert place.failed(name) == {}
    assert place.apply() == [f"unchanged  environment {name}"]


def test_someone_who_is_not_there_cannot_be_a_reviewer(place: Place) -> None:
    place.write(reviewers={"teams": ["nobody-knows-them"]})
    with pytest.raises(command.Refusal, match="nobody-knows-them"):
        place.apply()
    assert not place.exists()


def test_as_programs(place: Place) -> None:
    """The verbs as a pipeline runs them: one line for a person, exit 1, nothing of the token."""
    env = {**os.environ}
    with place.monkeypatch.context() as patch:
        place.as_job(patch)
        env = {**os.environ}
    argv = [sys.executable, str(SCRIPTS / "check_gates.py"), f"--project={place.folder}", "--workspace=dev"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "there is no environment 'production'" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    secret = env.get("AML_GITHUB_TOKEN") or env["SYSTEM_ACCESSTOKEN"]
    assert secret not in done.stdout + done.stderr
    assert base64.b64encode(f":{secret}".encode()).decode() not in done.stdout + done.stderr


def test_on_a_machine_of_a_person_the_place_is_named(folder: Path) -> None:
    (folder / GATES).write_text(json.dumps({"gates": [GATE]}))
    with pytest.raises(command.Refusal, match=r"It is not known where the environments are.*--repository OWNER/NAME"):
        plan_gates.main([f"--project={folder}"])
    with pytest.raises(command.Refusal, match="There is no token for GitHub"):
        plan_gates.main([f"--project={folder}", "--repository=contoso/flight-delay"])
    with pytest.raises(command.Refusal, match="is no project on Azure DevOps"):
        plan_gates.main([f"--project={folder}", "--azure-devops=https://evil.example/contoso/mlops"])


def test_the_ticket_is_that_of_the_bundles_commit(project: Any, github: GitHub) -> None:
    """Not that of what happens to be checked out, which another release may have brought."""
    shutil.copytree(project.folder, github.folder, dirs_exist_ok=True)
    github.write(ticket={"pattern": r"CHG\d{4}"}, reviewers=GATE["reviewers"])
    github.apply()
    git = ["git", "-C", str(github.folder), "-c", "user.name=Kim", "-c", "user.email=kim@example.com"]

    def sealed(message: str) -> str:
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", message], check=True)
        done = project.run("seal_bundle", project=str(github.folder), job_name=project.site.jobs[2.0], model_version="1")
        assert not done.refusal
        found: str = done.output("bundle_id")
        return found

    project.bundle()
    subprocess.run([*git, "init", "-q"], check=True)
    with_one, without = sealed("For CHG0042"), sealed("For nobody")
    os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"] = project.site.clients["dev"], SECRET
    assert list(github.failed(bundle_id=with_one)) == []
    assert list(github.failed()) == ["ticket"], "nothing is named but what is checked out"
    assert list(github.failed(bundle_id=without)) == ["ticket"]
    assert list(github.failed(bundle_id=without, ticket="CHG0043")) == []
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "For CHG0044"], check=True)
    assert list(github.failed()) == []
    assert list(github.failed(bundle_id=without)) == ["ticket"], "that ticket is of another commit"


def test_soak_and_evidence_are_of_the_bundle(project: Any, github: GitHub) -> None:
    """A bundle is promoted once it has stood in dev, with traffic, and its smoke test is not too old."""
    shutil.copytree(project.folder, github.folder, dirs_exist_ok=True)
    github.write(
        soak={"workspace": "dev", "hours": 24}, evidence=[{"verb": "smoke_test", "workspace": "dev", "max_age_hours": 24}],
        reviewers=GATE["reviewers"],
    )  # fmt: skip
    github.apply()
    os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"] = project.site.clients["dev"], SECRET
    assert github.failed() == {"bundle": "soak and evidence are of a bundle, and none is named"}
    bundle_id = project.bundle()
    kept = project.folder.parent / "evidence"

    def failed(later: float = 0) -> dict[str, str]:
        os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"] = project.site.clients["dev"], SECRET
        now = datetime.now(timezone.utc) + timedelta(hours=later)
        with github.monkeypatch.context() as patch:
            github.as_job(patch)
            at = workspace.load(github.folder, "dev")
            found = check_gates.check(at, "production", bundle_id=bundle_id, statements=kept, now=now)
        return {finding.name: finding.says for finding in found if not finding.passed}

    assert failed() == {
        "soak in dev": "the bundle is not deployed there",
        "evidence: smoke_test in dev": "expected a statement of the last 24 h, found none",
    }
    name = project.run("deploy_online", bundle_id=bundle_id).output("deployment_name")
    assert not project.run("smoke_test", deployment_name=name).refusal
    assert list(failed(25)) == ["soak in dev", "evidence: smoke_test in dev"], "no traffic, and by then too old"
    assert not project.run("shift_traffic", deployment_name=name).refusal
    assert list(failed(1)) == ["soak in dev"]
    assert list(failed(25)) == ["evidence: smoke_test in dev"]
    with github.monkeypatch.context() as patch:
        github.as_job(patch)
        done = project.run("check_gates", project=str(github.folder), bundle_id=bundle_id)
    assert "soak in dev: expected 24 h and traffic, found a deployment of 0.0 h ago with 100 % of the traffic" in done.refusal
    left = project.evidence("check_gates")
    assert (left["verdict"], left["facts"]) == ("failed", {"environment": "production"})
    assert [one["name"] for one in left["findings"] if not one["passed"]] == ["soak in dev"]
    assert (kept / "check_gates-dev.junit.xml").is_file()
