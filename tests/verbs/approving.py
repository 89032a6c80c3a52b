"""A release that waits for its approval, on both emulated systems: who there is, who approves, and as which job it goes on."""

from __future__ import annotations

import os
import subprocess
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

import apply_gates
from _history import commits, head, refs

AUTHOR, TRAINER, INITIATOR, OWNER, STRANGER = "sam", "tess", "ivy", "pat", "zoe"
MANAGERS = ("rea", "kim")
PEOPLE = (AUTHOR, TRAINER, INITIATOR, OWNER, STRANGER, *MANAGERS)
TEAM = "release-managers"


def address(who: str) -> str:
    return f"{who}@contoso.example"


def git(folder: Any, *words: str, who: str = AUTHOR) -> str:
    """git in a folder, as somebody."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": who.title(), f"GIT_{role}_EMAIL": who if "@" in who else address(who)}
    return subprocess.run(["git", "-C", str(folder), *words], env=env, capture_output=True, text=True, check=True).stdout.strip()


@dataclass
class Place(ABC):
    """One CI system with the project's repository and its environment, protected as gates.yml says."""

    project: Any
    azure: Any
    monkeypatch: pytest.MonkeyPatch
    client: httpx.Client
    name: str = ""
    tokens: dict[str, str] = field(default_factory=dict)
    run: int = 0
    jobs: dict[str, str] = field(default_factory=dict)

    def account(self, who: str) -> str:
        """Somebody as the system names them."""
        return who

    def commit(self, message: str, who: str = AUTHOR, author: str = "") -> str:
        """A commit of all that is in the project, pushed; by somebody else than its `author` (`Name <address>`), if that is given."""
        git(self.project.folder, "add", "-A")
        git(self.project.folder, "commit", "-q", "--allow-empty", "-m", message, *([f"--author={author}"] if author else []), who=who)
        self.push()
        return head(self.project.folder)

    def apply(self) -> None:
        """Protect the environment as gates.yml says, as a platform team does."""
        with self.monkeypatch.context() as patch:
            flags = self.platform(patch)
            assert apply_gates.main([f"--project={self.project.folder}", *flags]) == 0

    def again(self, who: str = INITIATOR) -> None:
        """The job production asks once more, in another attempt of the run, which somebody began."""
        self.wait()

    @abstractmethod
    def reject(self, who: str) -> None:
        """As a reviewer who says no: the job production does not start."""

    @abstractmethod
    def team(self, *members: str) -> None:
        """Who is in the team that approves."""

    @abstractmethod
    def weaken(self) -> None:
        """Let somebody else approve, behind everybody's back."""

    @abstractmethod
    def remove(self) -> None:
        """Delete the environment."""

    @abstractmethod
    def powerless(self) -> None:
        """Give the job production a token that may read nothing."""

    @abstractmethod
    def push(self) -> None:
        """Tell the server of all commits."""

    @abstractmethod
    def begin(self, who: str = INITIATOR, ref: str = "refs/heads/main") -> None:
        """A run that somebody started, in its job share."""

    @abstractmethod
    def wait(self) -> None:
        """The job production asks to start, and waits for its gate."""

    @abstractmethod
    def approve(self, who: str, comment: str = "fine") -> None:
        """As a reviewer."""

    @abstractmethod
    def bypass(self, recorded: bool = True) -> None:
        """As the owner, past the gate."""

    @abstractmethod
    def act_as(self, job: str, patch: pytest.MonkeyPatch) -> None:
        """What a job's steps see."""

    @abstractmethod
    def platform(self, patch: pytest.MonkeyPatch) -> list[str]:
        """What a platform team's machine has; the flags that name the place."""


@dataclass
class GitHub(Place):
    """A repository on GitHub."""

    def __post_init__(self) -> None:
        self.name = f"org-{uuid.uuid4().hex[:8]}/flights"
        org = self.name.partition("/")[0]
        team = {"slug": TEAM, "members": list(MANAGERS)}
        organization = {"login": org, "owners": [OWNER], "members": [one for one in PEOPLE if one != OWNER], "teams": [team]}
        users = [{"login": who, "email": address(who)} for who in PEOPLE]
        repository = {"full_name": self.name, "visibility": "internal", "teams": {TEAM: "pull"}}
        self.azure.ask("POST", "/github", {"users": users, "organizations": [organization], "repositories": [repository]})
        self.tokens = {who: self.azure.ask("POST", "/github/tokens", {"login": who})["token"] for who in PEOPLE}

    def push(self) -> None:
        repository = {"full_name": self.name, **refs(self.project.folder), "commits": commits(self.project.folder)}
        self.azure.ask("POST", "/github", {"repositories": [repository]})

    def rest(self, method: str, path: str, who: str = OWNER, body: Any = None) -> Any:
        url = path if path.startswith("https://") else f"https://api.github.com/repos/{self.name}/{path}"
        answer = self.client.request(method, url, json=body, headers={"Authorization": f"Bearer {self.tokens[who]}"})
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def begin(self, who: str = INITIATOR, ref: str = "refs/heads/main") -> None:
        self.run = self.azure.ask("POST", f"/github/repos/{self.name}/runs", {"actor": who, "ref": ref})["id"]
        self.jobs["share"] = str(self.job("share")["token"])
        self.ref, self.who = ref, who

    def team(self, *members: str) -> None:
        one = {"login": self.name.partition("/")[0], "teams": [{"slug": TEAM, "members": [*members]}]}
        self.azure.ask("POST", "/github", {"organizations": [one]})

    def environment(self, *users: str) -> None:
        """Let people and the team approve, as far as GitHub can keep that."""
        people = [{"type": "User", "id": self.rest("GET", f"https://api.github.com/users/{who}")["id"]} for who in users]
        team = {"type": "Team", "id": self.rest("GET", f"https://api.github.com/orgs/{self.name.partition('/')[0]}/teams/{TEAM}")["id"]}
        policy = {"protected_branches": False, "custom_branch_policies": True}
        body = {"reviewers": [*people, team], "prevent_self_review": True, "can_admins_bypass": False, "deployment_branch_policy": policy}
        self.rest("PUT", "environments/production", body=body)
        if not self.rest("GET", "environments/production/deployment-branch-policies")["branch_policies"]:
            self.rest("POST", "environments/production/deployment-branch-policies", body={"name": "main", "type": "branch"})

    def weaken(self) -> None:
        user = {"type": "User", "id": self.rest("GET", f"https://api.github.com/users/{STRANGER}")["id"]}
        self.rest("PUT", "environments/production", body={"reviewers": [user]})

    def remove(self) -> None:
        self.rest("DELETE", "environments/production")

    def powerless(self) -> None:
        body = {"kind": "workflow", "repositories": [self.name.lower()], "permissions": {"metadata": "read"}}
        self.jobs["production"] = self.azure.ask("POST", "/github/tokens", body)["token"]

    def job(self, name: str, environment: str = "", **permissions: str) -> Any:
        body = {"name": name, "environment": environment, "permissions": {"actions": "read", "contents": "read", **permissions}}
        return self.azure.ask("POST", f"/github/repos/{self.name}/runs/{self.run}/jobs", body)

    def wait(self) -> None:
        self.waiting = self.job("production", "production")["id"]
        self.started()

    def started(self) -> bool:
        token = self.azure.ask("GET", f"/github/repos/{self.name}/runs/{self.run}/jobs/{self.waiting}").get("token")
        self.jobs["production"] = str(token or "")
        return bool(token)

    def approve(self, who: str, comment: str = "fine") -> None:
        environment = self.rest("GET", "environments/production")["id"]
        body = {"environment_ids": [environment], "state": "approved", "comment": comment}
        self.rest("POST", f"actions/runs/{self.run}/pending_deployments", who, body)
        assert self.started()

    def reject(self, who: str) -> None:
        environment = self.rest("GET", "environments/production")["id"]
        body = {"environment_ids": [environment], "state": "rejected", "comment": "no"}
        self.rest("POST", f"actions/runs/{self.run}/pending_deployments", who, body)
        assert not self.started()

    def again(self, who: str = INITIATOR) -> None:
        self.azure.ask("POST", f"/github/repos/{self.name}/runs/{self.run}/attempts", {"login": who})
        self.wait()

    def bypass(self, recorded: bool = True) -> None:
        body = {"login": OWNER, "environments": ["production"], "comment": "now", "recorded": recorded}
        self.azure.ask("POST", f"/github/repos/{self.name}/runs/{self.run}/bypass", body)
        assert self.started()

    def act_as(self, job: str, patch: pytest.MonkeyPatch) -> None:
        env = {
            "GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": self.name,
            "GITHUB_RUN_ID": str(self.run), "GITHUB_REF": self.ref, "GITHUB_SHA": head(self.project.folder),
            "GITHUB_TRIGGERING_ACTOR": self.who, "GITHUB_ACTOR": self.who, "AML_GITHUB_TOKEN": self.jobs[job],
            "GITHUB_OUTPUT": str(self.project.folder.parent / "output"), "GITHUB_STEP_SUMMARY": str(self.project.folder.parent / "summary"),
        }  # fmt: skip
        for name, value in env.items():
            patch.setenv(name, value)

    def platform(self, patch: pytest.MonkeyPatch) -> list[str]:
        patch.setenv("GH_TOKEN", self.tokens[OWNER])
        return [f"--repository={self.name}"]


@dataclass
class AzureDevOps(Place):
    """A project on Azure DevOps."""

    def __post_init__(self) -> None:
        self.name = f"ml-{uuid.uuid4().hex[:8]}"
        groups = {self.group(TEAM): [*map(address, MANAGERS)], self.group("Project Administrators"): [address(OWNER)]}
        self.play("identities", names=[*map(address, PEOPLE)], groups=groups)
        self.play("connections", name="azureml-production", client_id=str(uuid.uuid4()))
        self.tokens = {who: self.azure.admin.azure_devops("tokens", user=address(who))["token"] for who in PEOPLE}

    def account(self, who: str) -> str:
        return address(who)

    def group(self, name: str) -> str:
        return f"[{self.name}]\\{name}"

    def play(self, what: str, **body: Any) -> Any:
        return self.azure.admin.azure_devops(what, organization="contoso", project=self.name, **body)

    def push(self) -> None:
        self.play("git", repository="flights", commits=commits(self.project.folder), **refs(self.project.folder))

    def team(self, *members: str) -> None:
        self.play("identities", names=[], groups={self.group(TEAM): [*map(address, members)]})

    def weaken(self) -> None:
        found, stranger = self.check(), self.play("identities", names=[address(STRANGER)])["identities"][0]
        body = {**found, "settings": {**found["settings"], "approvers": [{"id": stranger["id"]}], "minRequiredApprovers": 1}}
        self.rest("PATCH", f"pipelines/checks/configurations/{found['id']}", body=body)

    def remove(self) -> None:
        self.rest("DELETE", f"distributedtask/environments/{self.gate()['id']}")

    def powerless(self) -> None:
        self.jobs["production"] = "nonsense"

    def gate(self) -> Any:
        return self.rest("GET", "distributedtask/environments", name="production")["value"][0]

    def check(self, kind: str = "environment") -> Any:
        """The approval of the environment, or of the service connection (endpoint)."""
        id = self.gate()["id"] if kind == "environment" else self.rest("GET", "serviceendpoint/endpoints")["value"][0]["id"]
        query = {"resourceType": kind, "resourceId": str(id), "$expand": "settings"}
        found = self.rest("GET", "pipelines/checks/configurations", **query)["value"]
        return next(one for one in found if one["settings"].get("approvers"))

    def rest(self, method: str, path: str, who: str = OWNER, body: Any = None, **query: str) -> Any:
        url = f"https://dev.azure.com/contoso/{self.name}/_apis/{path}"
        answer = self.client.request(method, url, json=body, params={"api-version": "7.1", **query}, auth=("", self.tokens[who]))
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def begin(self, who: str = INITIATOR, ref: str = "refs/heads/main") -> None:
        build = self.play(
            "builds", pipeline="release", repository="flights", branch=ref, commit=head(self.project.folder), requested_for=address(who)
        )
        self.run, self.who = build["id"], who
        self.stages = {name: str(uuid.uuid4()) for name in ("share", "production")}
        records = [{"id": id, "type": "Stage", "name": name, "identifier": name} for name, id in self.stages.items()]
        self.play("timeline", build_id=self.run, records=records)
        self.jobs["share"] = self.play("jobs", build_id=self.run, name="share.share")["access_token"]

    def wait(self) -> None:
        """The stage asks for the approvals of its environment and of its service connection."""
        point = str(uuid.uuid4())
        records = [{"id": point, "type": "Checkpoint", "name": "Checkpoint", "parentId": self.stages["production"]}]
        self.waiting = []
        for kind, of in (("environment", {"environment": "production"}), ("endpoint", {"connection": "azureml-production"})):
            asked = self.check(kind)["settings"]
            names = [one["displayName"] for one in asked["approvers"]]
            made = self.play(
                "approvals", build_id=self.run, stage="production", approvers=names, minimum=asked["minRequiredApprovers"],
                requester_may_approve=not asked["requesterCannotBeApprover"], **of,
            )  # fmt: skip
            self.waiting.append(made["id"])
            records.append({"id": made["id"], "type": "Checkpoint.Approval", "name": "Checkpoint.Approval", "parentId": point})
        self.play("timeline", build_id=self.run, records=records)
        self.jobs["production"] = self.play("jobs", build_id=self.run, name="production.production")["access_token"]

    def approve(self, who: str, comment: str = "fine", of: Sequence[int] = (0, 1)) -> None:
        """Approve what the stage waits for: 0 is the environment's, 1 the service connection's."""
        decisions = [{"approvalId": self.waiting[one], "status": "approved", "comment": comment} for one in of]
        self.rest("PATCH", "pipelines/approvals", who, decisions)

    def reject(self, who: str) -> None:
        decisions = [{"approvalId": one, "status": "rejected", "comment": "no"} for one in self.waiting]
        self.rest("PATCH", "pipelines/approvals", who, decisions)

    def bypass(self, recorded: bool = True, of: Sequence[int] = (0, 1)) -> None:
        for one in of:
            self.play("approvals/bypass", approval_id=self.waiting[one], who=address(OWNER), comment="now", recorded=recorded)

    def act_as(self, job: str, patch: pytest.MonkeyPatch) -> None:
        env = {
            "TF_BUILD": "True", "SYSTEM_COLLECTIONURI": "https://dev.azure.com/contoso/", "SYSTEM_TEAMPROJECT": self.name,
            "SYSTEM_ACCESSTOKEN": self.jobs[job], "BUILD_BUILDID": str(self.run), "SYSTEM_STAGENAME": job,
            "BUILD_REQUESTEDFOREMAIL": address(self.who), "BUILD_SOURCEVERSION": head(self.project.folder),
            "BUILD_SOURCEBRANCH": "refs/heads/main",
        }  # fmt: skip
        for name, value in env.items():
            patch.setenv(name, value)

    def platform(self, patch: pytest.MonkeyPatch) -> list[str]:
        patch.setenv("AZURE_DEVOPS_EXT_PAT", self.tokens[OWNER])
        return [f"--azure-devops=https://dev.azure.com/contoso/{self.name}"]
