"""GitHub's REST API: what gates a release, who may set it up, and who may see it."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import pytest

from emulator.cli import Problem
from emulator.core import Cloud
from emulator.github import environments, models, runs
from emulator.github import repositories as repos

SHAS = [f"{number:040x}" for number in range(0xA1, 0xA9)]
AUTHOR = {"name": "Ann", "email": "ann@example.com", "login": "ann", "date": "2026-11-01T10:00:00Z"}


@dataclass
class Hub:
    """One organization on the emulated GitHub, with a repository, people and their tokens."""

    azure: Any
    client: httpx.Client
    org: str
    repository: str
    tokens: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, who: str | None = "owner", body: Any = None, **more: Any) -> httpx.Response:
        """A request below the repository (or from the root, where the path says so); ``who`` is a login or a token."""
        url = path if path.startswith("/") else f"/repos/{self.repository}/{path}".rstrip("/")
        headers = {"Authorization": f"Bearer {self.tokens.get(who, who)}"} if who else {}
        content = json.dumps(body) if body is not None else None
        return self.client.request(method, url, headers={**headers, **more.pop("headers", {})}, content=content, **more)

    def get(self, path: str, who: str | None = "owner", /, **params: Any) -> Any:
        answer = self.ask("GET", path, who, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put_environment(self, name: str, **body: Any) -> Any:
        answer = self.ask("PUT", f"environments/{name}", body=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def seed(self, path: str, body: Any, method: str = "POST") -> Any:
        return self.azure.ask(method, f"/github{path}", body)

    def run(self, **body: Any) -> Any:
        return self.seed(f"/repos/{self.repository}/runs", {"actor": "dev", **body})

    def job(self, run: Any, **body: Any) -> Any:
        return self.seed(f"/repos/{self.repository}/runs/{run['id']}/jobs", body)

    def state(self, run: Any, job: Any) -> Any:
        return self.azure.ask("GET", f"/github/repos/{self.repository}/runs/{run['id']}/jobs/{job['id']}")

    def id(self, login: str) -> int:
        return int(self.get(f"/users/{login}")["id"])

    def team_id(self, slug: str) -> int:
        return int(self.get(f"/orgs/{self.org}/teams/{slug}")["id"])

    def release(self, run: Any, environment: Any, who: str, state: str = "approved", comment: str = "go") -> httpx.Response:
        body = {"environment_ids": [environment["id"]], "state": state, "comment": comment}
        return self.ask("POST", f"actions/runs/{run['id']}/pending_deployments", who, body)


@pytest.fixture
def make(azure: Any) -> Iterator[Callable[..., Hub]]:
    with httpx.Client(
        base_url="https://api.github.com", proxy=azure.env["HTTPS_PROXY"], verify=azure.env["REQUESTS_CA_BUNDLE"], timeout=60
    ) as client:

        def make(plan: str = "enterprise", **repository: Any) -> Hub:
            org = f"org-{uuid.uuid4().hex[:8]}"
            hub = Hub(azure, client, org, f"{org}/flight-delay")
            commits = [
                {"sha": SHAS[0], "message": "Begin", "author": AUTHOR, "files": ["README.md"]},
                {"sha": SHAS[1], "message": "Go on", "author": {**AUTHOR, "date": "2026-11-02T10:00:00Z"}, "parents": [SHAS[0]]},
                {
                    "sha": SHAS[2], "message": "Feature", "parents": [SHAS[1]], "verified": True,
                    "author": {**AUTHOR, "date": "2026-11-03T10:00:00Z"},
                    "files": [{"filename": "train.py", "additions": 3, "deletions": 1}],
                },
                {"sha": SHAS[3], "message": "Fix", "author": {**AUTHOR, "date": "2026-11-04T10:00:00Z"}, "parents": [SHAS[1]]},
            ]  # fmt: skip
            hub.seed(
                "",
                {
                    "users": ["stranger"],
                    "organizations": [
                        {
                            "login": org, "plan": plan, "owners": ["owner"], "members": ["dev", "reader"],
                            "default_repository_permission": "none",
                            "teams": [
                                {"slug": "release-managers", "members": ["manager"]},
                                {"slug": "on-call", "members": ["night"], "parent": "release-managers"},
                                {"slug": "others", "members": ["dev"]},
                            ],
                        }
                    ],
                    "repositories": [
                        {
                            "full_name": hub.repository, "teams": {"release-managers": "push"},
                            "collaborators": {"dev": "push", "reader": "pull", "ann": "triage"},
                            "branches": {"main": SHAS[3], "feature/one": SHAS[2]}, "tags": {"v1": SHAS[1]},
                            "protection": {"main": {"required_pull_request_reviews": {"required_approving_review_count": 2}}},
                            "commits": commits, **repository,
                        }
                    ],
                },
            )  # fmt: skip
            for login in ("owner", "dev", "reader", "manager", "night", "stranger", "ann"):
                hub.tokens[login] = hub.seed("/tokens", {"login": login})["token"]
            return hub

        yield make


@pytest.fixture
def hub(make: Callable[..., Hub]) -> Hub:
    return make()


def error(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body["status"] == str(answer.status_code)
    assert body["documentation_url"].startswith("https://docs.github.com/rest")
    return answer.status_code, body["message"]


# --- who may see what ------------------------------------------------------------------------------------------------------------


def test_who_calls(hub: Hub) -> None:
    assert error(hub.ask("GET", "", "ghp_forged")) == (401, "Bad credentials")
    assert error(hub.ask("GET", "", None)) == (404, "Not Found"), "a private repository is not there for nobody"
    assert error(hub.ask("GET", "", "stranger")) == (404, "Not Found")
    assert error(hub.ask("GET", "/repos/nobody/nothing")) == (404, "Not Found")
    assert error(hub.ask("GET", "/user", None)) == (401, "Requires authentication")
    assert hub.get("/user", "dev")["login"] == "dev"
    short = hub.seed("/tokens", {"login": "dev", "lifetime": 0.001})["token"]
    assert error(hub.ask("GET", "/user", short)) == (401, "Bad credentials")
    assert error(hub.ask("GET", "/user", "dev", headers={"User-Agent": ""}))[0] == 403
    assert error(hub.ask("GET", "/user", "dev", headers={"X-GitHub-Api-Version": "2020-01-01"}))[0] == 400
    answer = hub.ask("GET", "/user", "dev", headers={"X-GitHub-Api-Version": "2022-11-28"})
    assert answer.headers["x-github-api-version-selected"] == "2022-11-28"
    assert answer.headers["x-oauth-scopes"] == "repo, read:org"
    assert hub.ask("GET", "/gists").status_code == 501, "what is not covered names itself"


def test_a_repository(hub: Hub, make: Callable[..., Hub]) -> None:
    found = hub.get("")
    assert (found["full_name"], found["private"], found["visibility"], found["default_branch"]) == (hub.repository, True, "private", "main")
    assert found["permissions"] == dict.fromkeys(("admin", "maintain", "push", "triage", "pull"), True)
    assert hub.get("", "reader")["permissions"]["push"] is False
    assert found["id"] == repos.number(hub.repository), "the same as in the claims of OIDC tokens"
    open_to_all = make("free", visibility="public")
    assert open_to_all.get("", None)["private"] is False
    assert open_to_all.get("environments", None) == {"total_count": 0, "environments": []}
    assert error(open_to_all.ask("POST", "issues", None, {"title": "x"})) == (401, "Requires authentication")


def test_a_jobs_token_can_do_what_its_job_declares(hub: Hub) -> None:
    run = hub.run()
    token = hub.job(run, permissions={"contents": "read", "issues": "write"})["token"]
    assert token.startswith("ghs_")
    assert hub.get("", token)["name"] == "flight-delay", "metadata needs no declaration"
    assert hub.ask("POST", "issues", token, {"title": "Release"}).json()["user"]["login"] == "github-actions[bot]"
    refused = hub.ask("GET", "environments", token)
    assert error(refused) == (403, "Resource not accessible by integration")
    assert refused.headers["x-accepted-github-permissions"] == "actions=read"
    for method, path, body in (
        ("PUT", "environments/production", {}),
        ("GET", f"actions/runs/{run['id']}/approvals", None),
        ("POST", f"actions/runs/{run['id']}/pending_deployments", {}),
        ("GET", f"/orgs/{hub.org}/teams/release-managers/members", None),
        ("GET", "branches/main/protection", None),
        ("POST", "code-scanning/sarifs", {}),
        ("GET", "/user", None),
    ):
        assert error(hub.ask(method, path, token, body)) == (403, "Resource not accessible by integration"), path
    more = hub.job(run, permissions={"actions": "read", "security-events": "write"})
    assert hub.get("environments", more["token"])["total_count"] == 0
    ended = hub.seed(f"/repos/{hub.repository}/runs/{run['id']}/jobs/{more['id']}", {"conclusion": "success"}, "PATCH")
    assert (ended["state"], ended["conclusion"]) == ("completed", "success")
    assert error(hub.ask("GET", "environments", more["token"])) == (401, "Bad credentials"), "a token lives as long as its job"
    assert hub.get("", token)["name"] == "flight-delay", "and no longer than its own"


def test_a_jobs_token_is_for_its_repository(hub: Hub, make: Callable[..., Hub]) -> None:
    other = make()
    token = hub.job(hub.run(), permissions={"contents": "write"})["token"]
    assert error(other.ask("GET", "", token)) == (404, "Not Found")


def test_roles(hub: Hub) -> None:
    def permission(login: str) -> tuple[str, str]:
        found = hub.get(f"collaborators/{login}/permission")
        return found["permission"], found["role_name"]

    assert permission("owner") == ("admin", "admin")
    assert permission("dev") == ("write", "write")
    assert permission("manager") == ("write", "write"), "by the team"
    assert permission("night") == ("write", "write"), "by the team above"
    assert permission("ann") == ("read", "triage")
    assert permission("stranger") == ("none", "none")
    assert error(hub.ask("GET", "collaborators/nobody-at-all/permission")) == (404, "Not Found")
    assert {each["login"] for each in hub.get("collaborators")} == {"owner", "dev", "reader", "ann", "manager", "night"}
    assert error(hub.ask("PUT", "environments/x", "dev", {})) == (403, "Must have admin rights to Repository.")
    assert error(hub.ask("POST", "deployments", "reader", {"ref": "main"})) == (403, "Must have push access to repository")


def test_teams(hub: Hub) -> None:
    team = f"/orgs/{hub.org}/teams/release-managers"
    assert [each["login"] for each in hub.get(f"{team}/members", "dev")] == ["manager", "night"], "with the members of teams below"
    assert hub.get(f"{team}/memberships/manager")["role"] == "member"
    assert error(hub.ask("GET", f"{team}/memberships/dev")) == (404, "Not Found")
    assert error(hub.ask("GET", team, "stranger")) == (404, "Not Found")
    scopeless = hub.seed("/tokens", {"login": "dev", "scopes": ["repo"]})["token"]
    assert error(hub.ask("GET", team, scopeless)) == (404, "Not Found")
    app = hub.seed("/tokens", {"kind": "app", "login": "gatekeeper[bot]", "permissions": {"members": "read"}, "repositories": []})["token"]
    assert hub.get(team, app)["name"] == "release-managers"
    assert {each["slug"] for each in hub.get(f"/orgs/{hub.org}/teams")} == {"release-managers", "on-call", "others"}
    assert [each["permission"] for each in hub.get("teams")] == ["push"]
    assert hub.get(f"/orgs/{hub.org}")["plan"]["name"] == "enterprise"
    assert "plan" not in hub.get(f"/orgs/{hub.org}", "dev")
    assert hub.ask("GET", f"/orgs/{hub.org}/members/dev").status_code == 204


def test_pages(hub: Hub) -> None:
    for name in range(5):
        hub.put_environment(f"e{name}")
    first = hub.ask("GET", "environments", params={"per_page": "2"})
    assert (first.json()["total_count"], len(first.json()["environments"])) == (5, 2)
    assert set(first.links) == {"next", "last"}
    names, answer = [], first
    while True:
        names += [each["name"] for each in answer.json()["environments"]]
        if "next" not in answer.links:
            break
        answer = hub.client.get(answer.links["next"]["url"], headers={"Authorization": f"Bearer {hub.tokens['owner']}"})
    assert names == ["e0", "e1", "e2", "e3", "e4"]
    assert set(answer.links) == {"prev", "first"}


def test_calls_are_counted(hub: Hub) -> None:
    mine = hub.seed("/tokens", {"login": "dev"})["token"]
    answer = hub.ask("GET", "/user", mine)
    assert {name: answer.headers[f"x-ratelimit-{name}"] for name in ("limit", "remaining", "used", "resource")} == {
        "limit": "5000", "remaining": "4999", "used": "1", "resource": "core",
    }  # fmt: skip
    hub.azure.set("github_rate_limit", 2)
    try:
        assert hub.ask("GET", "/user", mine).status_code == 200
        refused = hub.ask("GET", "/user", mine)
        assert error(refused) == (403, "API rate limit exceeded for dev.")
        assert refused.headers["x-ratelimit-remaining"] == "0"
    finally:
        hub.azure.set("github_rate_limit", 5000)


# --- environments ----------------------------------------------------------------------------------------------------------------


def test_an_environment_with_everything(hub: Hub) -> None:
    manager, team = hub.id("manager"), hub.team_id("release-managers")
    made = hub.put_environment(
        "Production", wait_timer=30, prevent_self_review=True, can_admins_bypass=False,
        reviewers=[{"type": "User", "id": manager}, {"type": "Team", "id": team}],
        deployment_branch_policy={"protected_branches": False, "custom_branch_policies": True},
    )  # fmt: skip
    assert made == hub.get("environments/production"), "names compare without case"
    rules = {rule["type"]: rule for rule in made["protection_rules"]}
    assert rules["wait_timer"]["wait_timer"] == 30
    assert rules["required_reviewers"]["prevent_self_review"] is True
    assert [(each["type"], each["reviewer"]["id"]) for each in rules["required_reviewers"]["reviewers"]] == [
        ("User", manager),
        ("Team", team),
    ]
    assert rules["branch_policy"]["id"]
    assert made["can_admins_bypass"] is False
    assert made["deployment_branch_policy"] == {"protected_branches": False, "custom_branch_policies": True}
    changed = hub.put_environment("production", wait_timer=0)
    assert [rule["type"] for rule in changed["protection_rules"]] == ["required_reviewers", "branch_policy"], "what is not sent stays"
    assert (changed["id"], changed["can_admins_bypass"]) == (made["id"], False)
    cleared = hub.put_environment("production", reviewers=None, prevent_self_review=False, deployment_branch_policy=None)
    assert (cleared["protection_rules"], cleared["deployment_branch_policy"]) == ([], None)
    assert hub.ask("DELETE", "environments/production").status_code == 204
    assert error(hub.ask("GET", "environments/production")) == (404, "Not Found")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"reviewer": []}, 'Invalid request.\n\n"reviewer" is not a permitted key.'),
        ({"required_reviewers": 2}, 'Invalid request.\n\n"required_reviewers" is not a permitted key.'),
        ({"wait_timer": "30"}, "Invalid request.\n\nFor 'properties/wait_timer', \"30\" is not an integer."),
        ({"wait_timer": 43_201}, "Invalid request.\n\n43201 must be between 0 and 43200."),
        ({"prevent_self_review": "yes"}, "Invalid request.\n\nFor 'properties/prevent_self_review', \"yes\" is not a boolean."),
        ({"reviewers": [{"type": "User", "id": 1}] * 7}, "Invalid request.\n\nNo more than 6 items are allowed; 7 were supplied."),
        ({"reviewers": [{"type": "Group", "id": 1}]}, 'Invalid request.\n\n"Group" is not a member of ["User", "Team"].'),
        (
            {"prevent_self_review": True},
            "Failed to create or update the environment protection rule. Required reviewers must have at least one reviewer to set "
            "prevent_self_review.",
        ),
        (
            {"deployment_branch_policy": {"protected_branches": True, "custom_branch_policies": True}},
            "`protected_branches` and `custom_branch_policies` cannot have the same value.",
        ),
        ({"deployment_branch_policy": {"protected_branches": True}}, 'Invalid request.\n\n"custom_branch_policies" wasn\'t supplied.'),
    ],
)
def test_an_environment_that_is_refused_is_not_made(hub: Hub, body: Any, message: str) -> None:
    assert error(hub.ask("PUT", "environments/production", body=body)) == (422, message)
    assert error(hub.ask("GET", "environments/production")) == (404, "Not Found")


def test_reviewers_must_be_able_to_read(hub: Hub) -> None:
    for reviewer in ({"type": "User", "id": hub.id("stranger")}, {"type": "Team", "id": hub.team_id("others")}, {"type": "Team", "id": 1}):
        answer = hub.ask("PUT", "environments/production", body={"reviewers": [reviewer]})
        assert error(answer)[0] == 422
        assert "cannot read the repository" in answer.json()["message"]


def test_names_inside_are_ignored_in_silence(hub: Hub) -> None:
    reviewer = {"type": "User", "id": hub.id("manager"), "minimum": 2}
    made = hub.put_environment("production", reviewers=[reviewer])
    assert "minimum" not in json.dumps(made)
    issue = hub.ask("POST", "issues", body={"title": "x", "severity": "high"})
    assert issue.status_code == 201
    assert "severity" not in issue.json()


@pytest.mark.parametrize("plan", ["free", "team"])
def test_a_private_repository_without_enterprise_has_no_reviewers(make: Callable[..., Hub], plan: str) -> None:
    hub = make(plan)
    reviewers = [{"type": "User", "id": hub.id("manager")}]
    for body, rule in (
        ({"reviewers": reviewers}, "required reviewers"),
        ({"reviewers": None}, "required reviewers"),
        ({"wait_timer": 0}, "wait timer"),
    ):
        assert error(hub.ask("PUT", "environments/production", body=body)) == (
            422,
            f"Failed to create the environment protection rule. Please ensure the billing plan supports the {rule} protection rule.",
        )
    policy = {"deployment_branch_policy": {"protected_branches": True, "custom_branch_policies": False}}
    answer = hub.ask("PUT", "environments/production", body=policy)
    assert answer.status_code == (422 if plan == "free" else 200)
    assert hub.put_environment("production")["name"] == "production"
    public = make(plan, visibility="public")
    assert public.put_environment("production", reviewers=[{"type": "User", "id": public.id("manager")}], wait_timer=1)["protection_rules"]


def test_protection_left_from_before_does_not_hold_in_a_private_repository(make: Callable[..., Hub]) -> None:
    hub = make("team", visibility="public")
    hub.put_environment("production", reviewers=[{"type": "User", "id": hub.id("manager")}])
    hub.seed("", {"repositories": [{"full_name": hub.repository, "visibility": "private"}]})
    assert hub.job(hub.run(), environment="production")["state"] == "in_progress"


def test_branch_policies(hub: Hub) -> None:
    hub.put_environment("production", deployment_branch_policy={"protected_branches": False, "custom_branch_policies": True})
    path = "environments/production/deployment-branch-policies"
    main = hub.ask("POST", path, body={"name": "main"})
    assert (main.status_code, main.json()["type"]) == (200, "branch")
    again = hub.ask("POST", path, body={"name": "main", "type": "branch"})
    assert (again.status_code, again.headers["location"].rsplit("/", 1)[-1]) == (303, str(main.json()["id"]))
    tag = hub.ask("POST", path, body={"name": "v*", "type": "tag"}).json()
    found = hub.get(path)
    assert [(each["name"], each["type"]) for each in found["branch_policies"]] == [("main", "branch"), ("v*", "tag")]
    assert hub.ask("PUT", f"{path}/{tag['id']}", body={"name": "release/*"}).json()["name"] == "release/*"
    assert hub.get(f"{path}/{tag['id']}")["name"] == "release/*"
    assert hub.ask("DELETE", f"{path}/{tag['id']}").status_code == 204
    assert error(hub.ask("GET", f"{path}/{tag['id']}")) == (404, "Not Found")
    assert error(hub.ask("POST", path, body={"name": "x", "type": "commit"}))[0] == 422
    hub.put_environment("production", deployment_branch_policy={"protected_branches": True, "custom_branch_policies": False})
    assert error(hub.ask("GET", path)) == (404, "Not Found")
    assert error(hub.ask("POST", path, body={"name": "main"})) == (404, "Not Found")


# --- runs and their gates --------------------------------------------------------------------------------------------------------


def test_a_run(hub: Hub) -> None:
    called = [{"path": "contoso/azureml-catalog/.github/workflows/promote.yml@v1", "sha": "c" * 40, "ref": "refs/tags/v1"}]
    made = hub.run(event="workflow_dispatch", actor="dev", triggering_actor="ann", referenced_workflows=called)
    found = hub.get(f"actions/runs/{made['id']}")
    assert (found["actor"]["login"], found["triggering_actor"]["login"], found["event"]) == ("dev", "ann", "workflow_dispatch")
    assert (found["head_sha"], found["head_branch"], found["status"], found["conclusion"]) == (SHAS[3], "main", "in_progress", None)
    assert found["head_commit"]["message"] == "Fix"
    assert found["referenced_workflows"] == called
    assert found["repository"]["full_name"] == hub.repository
    hub.run(ref="refs/heads/feature/one")
    assert hub.get("actions/runs", branch="feature/one")["total_count"] == 1
    assert hub.get("actions/runs", head_sha=SHAS[3])["total_count"] == 1
    hub.seed(f"/repos/{hub.repository}/runs/{made['id']}", {"conclusion": "success"}, "PATCH")
    assert hub.get("actions/runs", status="success")["total_count"] == 1
    assert error(hub.ask("GET", "actions/runs/1")) == (404, "Not Found")


def test_a_run_that_is_run_again(hub: Hub) -> None:
    run = hub.run(actor="dev")
    hub.seed(f"/repos/{hub.repository}/runs/{run['id']}", {"conclusion": "failure"}, "PATCH")
    hub.seed(f"/repos/{hub.repository}/runs/{run['id']}/attempts", {"login": "ann"})
    found = hub.get(f"actions/runs/{run['id']}")
    assert (found["run_attempt"], found["status"], found["conclusion"]) == (2, "in_progress", None)
    assert (found["actor"]["login"], found["triggering_actor"]["login"]) == ("dev", "ann")
    assert found["previous_attempt_url"] == f"{run['url']}/attempts/1"
    assert hub.get(f"actions/runs/{run['id']}/attempts/2") == found
    first = hub.get(f"actions/runs/{run['id']}/attempts/1")
    assert (first["id"], first["run_attempt"], first["triggering_actor"]["login"]) == (run["id"], 1, "dev")
    assert (first["status"], first["previous_attempt_url"]) == ("completed", None)
    for attempt in ("0", "3", "x"):
        assert error(hub.ask("GET", f"actions/runs/{run['id']}/attempts/{attempt}")) == (404, "Not Found")


def test_a_missing_environment_is_made_without_protection(hub: Hub) -> None:
    run = hub.run()
    job = hub.job(run, name="promote", environment="productoin")
    assert job["state"] == "in_progress"
    made = hub.get("environments/productoin")
    assert (made["protection_rules"], made["deployment_branch_policy"], made["can_admins_bypass"]) == ([], None, True)
    (deployment,) = hub.get("deployments", environment="productoin")
    assert (deployment["sha"], deployment["ref"], deployment["creator"]["login"]) == (SHAS[3], "main", "github-actions[bot]")
    assert [each["state"] for each in hub.get(f"deployments/{deployment['id']}/statuses")] == ["in_progress"]


def test_a_job_waits_for_a_reviewer(hub: Hub) -> None:
    made = hub.put_environment("production", reviewers=[{"type": "Team", "id": hub.team_id("release-managers")}], prevent_self_review=True)
    run = hub.run(actor="manager")
    job = hub.job(run, environment="Production", permissions={"actions": "read"})
    assert (job["state"], job["open"], "token" in job) == ("waiting", ["required_reviewers"], False)
    assert hub.get(f"actions/runs/{run['id']}")["status"] == "waiting"
    (waiting,) = hub.get(f"actions/runs/{run['id']}/pending_deployments", "night")
    assert (waiting["environment"]["id"], waiting["wait_timer"], waiting["current_user_can_approve"]) == (made["id"], 0, True)
    assert waiting["reviewers"][0]["reviewer"]["slug"] == "release-managers"
    assert hub.get(f"actions/runs/{run['id']}/pending_deployments", "manager")[0]["current_user_can_approve"] is False

    problem = "There was a problem approving one of the gates"
    assert error(hub.release(run, made, "manager")) == (422, problem), "who started the run is a reviewer, but may not review it"
    assert error(hub.release(run, made, "dev")) == (422, problem)
    assert error(hub.release(run, made, "owner")) == (422, problem), "an owner is no reviewer"
    body = {"environment_ids": [made["id"]], "state": "approved"}
    assert error(hub.ask("POST", f"actions/runs/{run['id']}/pending_deployments", "night", body))[1].endswith('"comment" wasn\'t supplied.')
    assert hub.get(f"actions/runs/{run['id']}/approvals") == []
    (released,) = hub.release(run, made, "night", comment="ship it").json()
    assert released["environment"] == "production"
    assert hub.state(run, job)["state"] == "in_progress"
    (approval,) = hub.get(f"actions/runs/{run['id']}/approvals", hub.state(run, job)["token"])
    assert (approval["state"], approval["user"]["login"], approval["comment"]) == ("approved", "night", "ship it")
    assert [each["id"] for each in approval["environments"]] == [made["id"]]
    assert error(hub.release(run, made, "night")) == (422, problem), "once is enough"
    assert hub.get(f"actions/runs/{run['id']}/pending_deployments") == []
    statuses = [each["state"] for each in hub.get(f"deployments/{released['id']}/statuses")]
    assert statuses == ["in_progress", "waiting"]


def test_a_rejected_job_fails(hub: Hub) -> None:
    made = hub.put_environment("production", reviewers=[{"type": "User", "id": hub.id("manager")}])
    run = hub.run()
    job = hub.job(run, environment="production")
    assert hub.release(run, made, "manager", "rejected", "not today").status_code == 200
    ended = hub.state(run, job)
    assert (ended["state"], ended["conclusion"]) == ("completed", "failure")
    assert "rejected" in ended["reason"]
    assert hub.get(f"actions/runs/{run['id']}/approvals")[0]["state"] == "rejected"
    assert hub.get(f"deployments/{job['deployment']}/statuses")[0]["state"] == "failure"


def test_branches_that_may_not_deploy(hub: Hub) -> None:
    hub.put_environment("production", deployment_branch_policy={"protected_branches": True, "custom_branch_policies": False})
    refused = hub.job(hub.run(ref="refs/heads/feature/one"), environment="production")
    assert (refused["state"], refused["conclusion"]) == ("completed", "failure")
    assert refused["reason"] == 'Branch "feature/one" is not allowed to deploy to production due to environment protection rules.'
    assert hub.job(hub.run(), environment="production")["state"] == "in_progress"
    assert hub.job(hub.run(ref="refs/tags/v1"), environment="production")["conclusion"] == "failure"
    hub.put_environment("production", deployment_branch_policy={"protected_branches": False, "custom_branch_policies": True})
    assert hub.job(hub.run(), environment="production")["conclusion"] == "failure", "no pattern, no branch"
    for body in ({"name": "feature/*"}, {"name": "v*", "type": "tag"}):
        hub.ask("POST", "environments/production/deployment-branch-policies", body=body)
    assert hub.job(hub.run(ref="refs/heads/feature/one"), environment="production")["state"] == "in_progress"
    assert hub.job(hub.run(ref="refs/tags/v1"), environment="production")["state"] == "in_progress"


def test_a_wait_timer_runs_out(cloud: Cloud) -> None:
    repository = repos.save(cloud, "ann/one", visibility="public", branches={"main": SHAS[0]})
    environments.change(cloud, repository, "production", {"wait_timer": 30})
    run = runs.create(cloud, repository, {})
    job = runs.begin_job(cloud, repository, run, {"environment": "production"})
    assert (job["state"], job["open"]) == ("waiting", ["wait_timer"])
    assert runs.pending(cloud, repository, run, "")[0]["wait_timer_started_at"]
    cloud.skew = dt.timedelta(minutes=29)
    assert runs.job(cloud, repository, run, job["id"])["state"] == "waiting"
    cloud.skew = dt.timedelta(minutes=31)
    assert runs.job(cloud, repository, run, job["id"])["state"] == "in_progress"


def test_nobody_reviews_for_thirty_days(cloud: Cloud) -> None:
    repository = repos.save(cloud, "ann/one", visibility="public", branches={"main": SHAS[0]})
    environments.change(cloud, repository, "production", {"reviewers": [{"type": "User", "id": repos.number("ann")}]})
    run = runs.create(cloud, repository, {})
    job = runs.begin_job(cloud, repository, run, {"environment": "production"})
    cloud.skew = dt.timedelta(days=30, minutes=1)
    ended = runs.job(cloud, repository, run, job["id"])
    assert (ended["state"], ended["conclusion"], ended["reason"]) == ("completed", "failure", "The job was not approved within 30 days.")


def test_an_administrator_bypasses_unless_told_not_to(hub: Hub) -> None:
    hub.put_environment("production", reviewers=[{"type": "User", "id": hub.id("manager")}])
    run = hub.run()
    job = hub.job(run, environment="production")
    past = {"login": "dev", "environments": ["production"], "comment": "fire"}
    with pytest.raises(Problem, match="Must have admin rights"):
        hub.seed(f"/repos/{hub.repository}/runs/{run['id']}/bypass", past)
    hub.seed(f"/repos/{hub.repository}/runs/{run['id']}/bypass", {**past, "login": "owner"})
    assert hub.state(run, job)["state"] == "in_progress"
    (approval,) = hub.get(f"actions/runs/{run['id']}/approvals")
    assert (approval["user"]["login"], approval["comment"]) == ("owner", "fire")

    silent = hub.run()
    hub.job(silent, environment="production")
    hub.seed(f"/repos/{hub.repository}/runs/{silent['id']}/bypass", {**past, "login": "owner", "recorded": False})
    assert hub.get(f"actions/runs/{silent['id']}/approvals") == []

    hub.put_environment("production", can_admins_bypass=False)
    third = hub.run()
    hub.job(third, environment="production")
    with pytest.raises(Problem, match="may not bypass"):
        hub.seed(f"/repos/{hub.repository}/runs/{third['id']}/bypass", {**past, "login": "owner"})


def test_an_app_decides(hub: Hub) -> None:
    grants = {"deployments": "write", "actions": "read"}
    app = hub.seed("/tokens", {"kind": "app", "login": "dossier[bot]", "permissions": grants, "repositories": [hub.repository]})["token"]
    hub.put_environment("production")
    (known,) = hub.get("environments/production/deployment_protection_rules/apps")[
        "available_custom_deployment_protection_rule_integrations"
    ]
    rules = "environments/production/deployment_protection_rules"
    rule = hub.ask("POST", rules, body={"integration_id": known["id"]})
    assert (rule.status_code, rule.json()["app"]["slug"]) == (201, "dossier")
    assert hub.get(rules)["total_count"] == 1
    run = hub.run()
    job = hub.job(run, environment="production")
    assert job["state"] == "waiting"
    path = f"actions/runs/{run['id']}/deployment_protection_rule"
    body = {"environment_name": "production", "state": "approved", "comment": "see the dossier"}
    assert error(hub.ask("POST", path, "manager", body))[0] == 403
    assert error(hub.ask("POST", path, app, {**body, "comment": "x" * 1025}))[0] == 422
    assert hub.ask("POST", path, app, body).status_code == 204
    assert hub.state(run, job)["state"] == "in_progress"
    assert hub.ask("DELETE", f"{rules}/{rule.json()['id']}").status_code == 204
    assert hub.get(rules)["total_count"] == 0


def test_deployments(hub: Hub) -> None:
    made = hub.ask("POST", "deployments", "dev", {"ref": "v1", "environment": "test", "payload": {"bundle": "b1"}, "description": "try"})
    assert made.status_code == 201
    deployment = made.json()
    assert (deployment["sha"], deployment["payload"], deployment["creator"]["login"]) == (SHAS[1], {"bundle": "b1"}, "dev")
    path = f"deployments/{deployment['id']}/statuses"
    status = hub.ask("POST", path, "dev", {"state": "success", "log_url": "https://example.com/1", "description": "done"}).json()
    assert (status["state"], status["target_url"], status["environment"]) == ("success", "https://example.com/1", "test")
    assert hub.get(f"{path}/{status['id']}") == status
    later = hub.ask("POST", "deployments", "dev", {"ref": "main", "environment": "test"}).json()
    hub.ask("POST", f"deployments/{later['id']}/statuses", "dev", {"state": "success"})
    assert hub.get(path)[0]["state"] == "inactive", "the one before is not what runs any more"
    assert error(hub.ask("POST", path, "dev", {"state": "done"})) == (422, "Validation Failed")
    assert error(hub.ask("POST", "deployments", "dev", {"ref": "nowhere"})) == (422, "No ref found for: nowhere")
    assert error(hub.ask("DELETE", f"deployments/{later['id']}", "dev"))[0] == 422
    assert hub.ask("DELETE", f"deployments/{deployment['id']}", "dev").status_code == 204


# --- commits, issues, pull requests ----------------------------------------------------------------------------------------------


def test_commits(hub: Hub) -> None:
    assert [each["sha"] for each in hub.get("commits")] == [SHAS[3], SHAS[1], SHAS[0]]
    assert [each["sha"] for each in hub.get("commits", sha="feature/one", since="2026-11-02T00:00:00Z")] == [SHAS[2], SHAS[1]]
    assert [each["sha"] for each in hub.get("commits", path="README.md")] == [SHAS[0]]
    assert hub.get("commits", author="nobody") == []
    one = hub.get("commits/feature/one")
    assert (one["sha"], one["author"]["login"], one["commit"]["author"]["email"]) == (SHAS[2], "ann", "ann@example.com")
    assert one["commit"]["verification"]["verified"] is True
    assert (one["stats"], one["files"][0]["filename"]) == ({"additions": 3, "deletions": 1, "total": 4}, "train.py")
    assert hub.get(f"commits/{SHAS[1]}")["parents"][0]["sha"] == SHAS[0]
    assert error(hub.ask("GET", f"commits/{'f' * 40}")) == (422, f"No commit found for SHA: {'f' * 40}")
    assert hub.get("git/ref/tags/v1")["object"]["sha"] == SHAS[1]
    assert error(hub.ask("GET", "git/ref/tags/v2")) == (404, "Not Found")


def test_comparing(hub: Hub) -> None:
    ahead = hub.get("compare/v1...feature/one")
    assert (ahead["status"], ahead["ahead_by"], ahead["behind_by"]) == ("ahead", 1, 0)
    assert [each["sha"] for each in ahead["commits"]] == [SHAS[2]]
    assert [each["filename"] for each in ahead["files"]] == ["train.py"]
    assert hub.get("compare/main...v1")["status"] == "behind"
    assert hub.get("compare/main...main")["status"] == "identical"
    apart = hub.get("compare/main...feature/one")
    assert (apart["status"], apart["merge_base_commit"]["sha"]) == ("diverged", SHAS[1])
    assert error(hub.ask("GET", "compare/main...gone")) == (404, "Not Found")


def test_branches(hub: Hub) -> None:
    assert {each["name"]: each["protected"] for each in hub.get("branches")} == {"main": True, "feature/one": False}
    assert hub.get("branches/main")["commit"]["commit"]["message"] == "Fix"
    protection = hub.get("branches/main/protection")
    assert protection["required_pull_request_reviews"]["required_approving_review_count"] == 2
    assert protection["allow_force_pushes"] == {"enabled": False}
    assert error(hub.ask("GET", "branches/main/protection", "dev"))[0] == 403
    assert error(hub.ask("GET", "branches/gone")) == (404, "Branch not found")


def test_issues(hub: Hub) -> None:
    made = hub.ask("POST", "issues", "reader", {"title": "After-review", "body": "due", "labels": ["break-glass"]})
    assert (made.status_code, made.json()["state"], made.json()["labels"]) == (201, "open", []), "labels of one who cannot push are dropped"
    issue = hub.ask("POST", "issues", "dev", {"title": "After-review", "labels": ["break-glass"]}).json()
    assert [each["name"] for each in issue["labels"]] == ["break-glass"]
    assert hub.get("issues", labels="break-glass")[0]["number"] == issue["number"]
    path = f"issues/{issue['number']}"
    comment = hub.ask("POST", f"{path}/comments", "manager", {"body": "I approve <b>this</b>"}).json()
    assert (comment["user"]["login"], comment["author_association"], comment["body"]) == ("manager", "MEMBER", "I approve <b>this</b>")
    assert comment["created_at"] == comment["updated_at"]
    assert [each["id"] for each in hub.get(f"{path}/comments")] == [comment["id"]]
    assert error(hub.ask("PATCH", f"issues/comments/{comment['id']}", "reader", {"body": "forged"}))[0] == 403
    assert hub.ask("PATCH", f"issues/comments/{comment['id']}", "manager", {"body": "changed"}).json()["body"] == "changed"
    assert hub.ask("DELETE", f"issues/comments/{comment['id']}", "manager").status_code == 204
    closed = hub.ask("PATCH", path, "dev", {"state": "closed"}).json()
    assert (closed["state"], closed["state_reason"], closed["closed_by"]["login"]) == ("closed", "completed", "dev")
    assert [each["number"] for each in hub.get("issues", state="closed")] == [issue["number"]]
    invalid = hub.ask("POST", "issues", "dev", {"body": "no title"})
    assert error(invalid) == (422, "Validation Failed")
    assert invalid.json()["errors"] == [{"resource": "Issue", "field": "title", "code": "missing_field"}]
    assert error(hub.ask("POST", "issues", "dev", None, params={})) == (422, "Validation Failed")
    assert error(
        hub.client.post(f"/repos/{hub.repository}/issues", content="{", headers={"Authorization": f"token {hub.tokens['dev']}"})
    ) == (
        400,
        "Problems parsing JSON",
    )


def test_pull_requests(hub: Hub) -> None:
    made = hub.ask("POST", "pulls", "ann", {"title": "Feature", "head": "feature/one", "base": "main"})
    assert made.status_code == 201
    pull = made.json()
    path = f"pulls/{pull['number']}"
    assert (pull["head"]["sha"], pull["base"]["ref"], pull["merged"]) == (SHAS[2], "main", False)
    assert [each["sha"] for each in hub.get(f"{path}/commits")] == [SHAS[2]]
    assert "pull_request" in hub.get(f"issues/{pull['number']}")
    refused = hub.ask("POST", f"{path}/reviews", "ann", {"event": "APPROVE"})
    assert error(refused) == (422, "Unprocessable Entity")
    assert refused.json()["errors"] == ["Can not approve your own pull request"]
    review = hub.ask("POST", f"{path}/reviews", "manager", {"event": "APPROVE", "body": "good"}).json()
    assert (review["state"], review["user"]["login"], review["commit_id"]) == ("APPROVED", "manager", SHAS[2])
    assert [each["id"] for each in hub.get(f"{path}/reviews")] == [review["id"]]
    assert [each["number"] for each in hub.get(f"commits/{SHAS[2]}/pulls")] == [pull["number"]]
    hub.seed(f"/repos/{hub.repository}/pulls/{pull['number']}/merge", {"sha": SHAS[3], "login": "dev"})
    merged = hub.get(path)
    assert (merged["merged"], merged["merged_by"]["login"], merged["merge_commit_sha"], merged["state"]) == (True, "dev", SHAS[3], "closed")
    assert [each["number"] for each in hub.get("commits/main/pulls")] == [pull["number"]]
    assert hub.get("pulls") == []
    assert hub.get("pulls", state="all")[0]["number"] == pull["number"]


def test_what_oidc_subjects_are_made_of(hub: Hub) -> None:
    assert hub.get("actions/oidc/customization/sub") == {"use_default": True}
    body = {"use_default": False, "include_claim_keys": ["repo", "context", "job_workflow_ref"]}
    assert hub.ask("PUT", "actions/oidc/customization/sub", body=body).status_code == 201
    assert hub.get("actions/oidc/customization/sub") == body
    job = {"repository": hub.repository, "environment": "production", "job_workflow_ref": "o/c/.github/workflows/p.yml@refs/tags/v1"}
    answer = hub.client.get(models.REQUEST_URL, params={**job, "api-version": "2.0"}, headers={"Authorization": "Bearer act"})
    subject = jwt.decode(answer.json()["value"], options={"verify_signature": False})["sub"]
    assert subject == f"repo:{hub.repository}:environment:production:job_workflow_ref:{job['job_workflow_ref']}"


# --- code scanning ---------------------------------------------------------------------------------------------------------------


def sarif(*texts: str) -> dict[str, Any]:
    results = [{"ruleId": "person-with-write", "level": "error", "message": {"text": text}} for text in texts]
    driver = {
        "name": "audit_access",
        "version": "1",
        "rules": [{"id": "person-with-write", "shortDescription": {"text": "A person can write"}}],
    }
    return {"version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def packed(document: Any) -> str:
    return base64.b64encode(gzip.compress(json.dumps(document).encode())).decode()


def test_code_scanning(hub: Hub) -> None:
    body = {"commit_sha": SHAS[3], "ref": "refs/heads/main", "sarif": packed(sarif("kim writes", "lee writes"))}
    taken = hub.ask("POST", "code-scanning/sarifs", "dev", body)
    assert taken.status_code == 202
    status = hub.get(f"code-scanning/sarifs/{taken.json()['id']}", "dev")
    assert (status["processing_status"], status["errors"]) == ("complete", None)
    (analysis,) = hub.get("code-scanning/analyses", "dev", sarif_id=taken.json()["id"])
    assert (analysis["results_count"], analysis["tool"]["name"], analysis["commit_sha"]) == (2, "audit_access", SHAS[3])
    alerts = hub.get("code-scanning/alerts", "dev", state="open")
    assert [each["most_recent_instance"]["message"]["text"] for each in alerts] == ["lee writes", "kim writes"]
    assert alerts[0]["rule"] == {
        "id": "person-with-write", "severity": "error", "name": "person-with-write", "description": "A person can write", "tags": [],
    }  # fmt: skip
    hub.ask("POST", "code-scanning/sarifs", "dev", {**body, "sarif": packed(sarif("kim writes"))})
    states = {each["most_recent_instance"]["message"]["text"]: each["state"] for each in hub.get("code-scanning/alerts", "dev")}
    assert states == {"kim writes": "open", "lee writes": "fixed"}

    broken = hub.ask("POST", "code-scanning/sarifs", "dev", {**body, "sarif": packed({"version": "1.0.0", "runs": []})})
    assert broken.status_code == 202
    status = hub.get(f"code-scanning/sarifs/{broken.json()['id']}", "dev")
    assert status["processing_status"] == "failed"
    assert "2.1.0" in status["errors"][0]
    assert error(hub.ask("POST", "code-scanning/sarifs", "dev", {**body, "sarif": "!"}))[0] == 400
    assert error(hub.ask("POST", "code-scanning/sarifs", "dev", {**body, "ref": "main"}))[0] == 422
    assert error(hub.ask("POST", "code-scanning/sarifs", "dev", {**body, "commit_sha": "f" * 40}))[0] == 404
    assert error(hub.ask("POST", "code-scanning/sarifs", "reader", body))[0] == 403


def test_code_scanning_has_to_be_there(make: Callable[..., Hub]) -> None:
    hub = make("team")
    assert error(hub.ask("POST", "code-scanning/sarifs", "dev", {})) == (
        403,
        "Code Security must be enabled for this repository to use code scanning.",
    )


def test_seeds_need_the_emulators_secret(hub: Hub) -> None:
    answer = hub.client.post("https://emulator.localhost/github/tokens", json={"login": "owner"})
    assert answer.status_code == 401
    with pytest.raises(Problem, match="one of pull, push"):
        hub.seed("", {"repositories": [{"full_name": hub.repository, "collaborators": {"dev": "king"}}]})
