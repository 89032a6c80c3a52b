"""HTTP in and out of api.github.com."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from emulator.core import Reply
from emulator.github import accounts, deployments, environments, issues, repositories, runs, scanning
from emulator.github.calls import Ask, Document, rates
from emulator.github.errors import GitHubError, forbidden, not_found
from emulator.github.forms import API, WEB, node_id

# --- accounts --------------------------------------------------------------------------------------------------------------------


async def get_me(ask: Ask) -> Any:
    if ask.caller.kind == "nobody":
        raise GitHubError(401, "Requires authentication")
    if ask.caller.integration:
        raise forbidden("Resource not accessible by integration")
    return _person(ask, accounts.need_user(ask.cloud, ask.caller.login))


async def get_user(ask: Ask) -> Any:
    return _person(ask, accounts.need_user(ask.cloud, ask.params["username"]))


def _person(ask: Ask, user: Document) -> Document:
    return {**(accounts.shown_user(ask.cloud, user["login"]) or {}), "name": user["name"], "email": user["email"]}


async def get_rate_limit(ask: Ask) -> Any:
    return rates(ask.cloud, ask.caller)


async def get_org(ask: Ask) -> Any:
    """An organization; its plan is for its owners."""
    org = accounts.organization(ask.cloud, ask.params["org"])
    shown = {**repositories.shown_org_account(org), "url": f"{API}/orgs/{org['login']}", "created_at": org["created_at"]}
    if ask.caller.kind == "user" and accounts.belongs(ask.cloud, org["login"], ask.caller.login) == "admin":
        shown["plan"] = {
            "name": org["plan"],
            "space": 976_562_499,
            "private_repos": 9999,
            "filled_seats": len(org["members"]),
            "seats": 100,
        }
        shown["default_repository_permission"] = org["default_repository_permission"]
    return shown


async def list_org_members(ask: Ask) -> Any:
    org = accounts.organization(ask.cloud, ask.params["org"])
    return ask.paged([*org["owners"], *org["members"]], lambda login: accounts.shown_user(ask.cloud, login))


async def get_org_member(ask: Ask) -> Reply:
    if not accounts.belongs(ask.cloud, ask.params["org"], ask.params["username"]):
        raise not_found()
    return Reply(204)


async def get_org_membership(ask: Ask) -> Any:
    role = accounts.belongs(ask.cloud, ask.params["org"], ask.params["username"])
    if role is None:
        raise not_found()
    org = accounts.organization(ask.cloud, ask.params["org"])
    return {
        "url": f"{API}/orgs/{org['login']}/memberships/{ask.params['username']}",
        "state": "active",
        "role": role,
        "organization_url": f"{API}/orgs/{org['login']}",
        "organization": repositories.shown_org_account(org),
        "user": accounts.shown_user(ask.cloud, ask.params["username"]),
    }


async def list_teams(ask: Ask) -> Any:
    return ask.paged(accounts.teams(ask.cloud, ask.params["org"]), lambda each: accounts.shown_team(ask.cloud, each))


def _team(ask: Ask) -> Document:
    return accounts.team(ask.cloud, ask.params["org"], ask.params["team"])


async def get_team(ask: Ask) -> Any:
    return accounts.shown_team(ask.cloud, _team(ask))


async def list_team_members(ask: Ask) -> Any:
    """The members, of the teams below it too; ``role`` is member, maintainer or all."""
    wanted = ask.query.get("role", "all")
    logins = [login for login, role in accounts.team_roles(ask.cloud, _team(ask)).items() if wanted in ("all", role)]
    return ask.paged(logins, lambda login: accounts.shown_user(ask.cloud, login))


async def get_team_membership(ask: Ask) -> Any:
    team, who = _team(ask), ask.params["username"].lower()
    role = next((role for login, role in accounts.team_roles(ask.cloud, team).items() if login.lower() == who), None)
    if role is None:
        raise not_found()
    return {"state": "active", "role": role, "url": f"{accounts.shown_team(ask.cloud, team)['url']}/memberships/{ask.params['username']}"}


# --- repositories ----------------------------------------------------------------------------------------------------------------


async def get_repository(ask: Ask) -> Any:
    return repositories.shown(ask.cloud, ask.repository, ask.caller)


async def list_repository_teams(ask: Ask) -> Any:
    def show(slug: str) -> Document:
        held = repositories.team_role(ask.repository, slug)
        team = accounts.team(ask.cloud, ask.repository["owner"], slug)
        return {**accounts.shown_team(ask.cloud, team), "permission": _PERMISSION.get(held, held), "permissions": repositories.flags(held)}

    return ask.paged(list(ask.repository["teams"]), show)


_PERMISSION = {"read": "pull", "write": "push"}


async def list_collaborators(ask: Ask) -> Any:
    """Everybody with a role, by whatever way they have it."""
    org = ask.cloud.store.get(f"github/orgs/{ask.repository['owner']}") or {"owners": [], "members": []}
    known = [*ask.repository["collaborators"], *org["owners"], *org["members"]]
    logins = [login for login in dict.fromkeys(known) if repositories.role(ask.cloud, ask.repository, login) != "none"]

    def show(login: str) -> Document:
        held = repositories.role(ask.cloud, ask.repository, login)
        return {**(accounts.shown_user(ask.cloud, login) or {}), "permissions": repositories.flags(held), "role_name": held}

    return ask.paged(logins, show)


async def get_permission(ask: Ask) -> Any:
    """The permission of a person; maintain shows as write and triage as read, the role itself in ``role_name``."""
    user = accounts.need_user(ask.cloud, ask.params["username"])
    held = repositories.role(ask.cloud, ask.repository, user["login"])
    shown = {**(accounts.shown_user(ask.cloud, user["login"]) or {}), "permissions": repositories.flags(held), "role_name": held}
    return {"permission": {"maintain": "write", "triage": "read"}.get(held, held), "role_name": held, "user": shown}


async def get_oidc_subject(ask: Ask) -> Any:
    """What the subjects of this repository's OIDC tokens are made of."""
    keys = ask.repository["subject"]
    return {"use_default": keys is None, **({"include_claim_keys": keys} if keys is not None else {})}


async def put_oidc_subject(ask: Ask) -> Reply:
    body = ask.body
    if not isinstance(body.get("use_default"), bool):
        raise GitHubError(422, 'Invalid request.\n\n"use_default" wasn\'t supplied.')
    keys = None if body["use_default"] else [str(each) for each in body.get("include_claim_keys") or ()]
    repositories.save(ask.cloud, ask.repository["full_name"], subject=keys)
    return Reply(201, {})


# --- branches and commits --------------------------------------------------------------------------------------------------------


def _branch(ask: Ask, full: bool = False) -> Document:
    name, repository = ask.params["branch"], ask.repository
    if name not in repository["branches"]:
        raise GitHubError(404, "Branch not found")
    sha, protection = repository["branches"][name], repository["protection"].get(name)
    url = f"{API}/repos/{repository['full_name']}/branches/{quote(name, safe='')}"
    commit: Document = {"sha": sha, "url": f"{API}/repos/{repository['full_name']}/commits/{sha}"}
    found = ask.cloud.store.get(f"{repositories.key(repository['full_name'])}/commits/{sha}") if full else None
    return {
        "name": name,
        "commit": repositories.shown_commit(ask.cloud, repository, found) if found else commit,
        "protected": protection is not None,
        "protection": {"enabled": protection is not None, "required_status_checks": {"enforcement_level": "off", "contexts": []}},
        "protection_url": f"{url}/protection",
    }


async def list_branches(ask: Ask) -> Any:
    wanted = ask.query.get("protected")
    names = [name for name in ask.repository["branches"] if wanted in (None, str(name in ask.repository["protection"]).lower())]

    def show(name: str) -> Document:
        ask.params["branch"] = name
        return _branch(ask)

    return ask.paged(names, show)


async def get_branch(ask: Ask) -> Any:
    return _branch(ask, full=True)


async def get_protection(ask: Ask) -> Any:
    """How a branch is protected: what the seed says, in the form of https://docs.github.com/rest/branches/branch-protection."""
    _branch(ask)
    name = ask.params["branch"]
    protection = ask.repository["protection"].get(name)
    if protection is None:
        raise GitHubError(404, "Branch not protected")
    url = f"{API}/repos/{ask.repository['full_name']}/branches/{quote(name, safe='')}/protection"
    flags = ("required_linear_history", "allow_force_pushes", "allow_deletions", "block_creations", "required_conversation_resolution")
    shown: Document = {
        "url": url,
        "enforce_admins": {"url": f"{url}/enforce_admins", "enabled": bool(protection.get("enforce_admins"))},
        **{flag: {"enabled": bool(protection.get(flag))} for flag in flags},
    }
    reviews = protection.get("required_pull_request_reviews")
    if reviews is not None:
        shown["required_pull_request_reviews"] = {
            "url": f"{url}/required_pull_request_reviews", "dismiss_stale_reviews": False, "require_code_owner_reviews": False,
            "require_last_push_approval": False, "required_approving_review_count": 1, **reviews,
        }  # fmt: skip
    if protection.get("required_status_checks") is not None:
        shown["required_status_checks"] = {"url": f"{url}/required_status_checks", "strict": False, **protection["required_status_checks"]}
    return shown


async def get_ref(ask: Ask) -> Any:
    """One branch or tag: ``heads/...`` or ``tags/...``."""
    ref = ask.params["ref"]
    sha = repositories.resolve(ask.cloud, ask.repository, ref) if ref.startswith(("heads/", "tags/")) else None
    if sha is None:
        raise not_found()
    base = f"{API}/repos/{ask.repository['full_name']}/git"
    target = {"type": "commit", "sha": sha, "url": f"{base}/commits/{sha}"}
    return {"ref": f"refs/{ref}", "node_id": node_id("Ref", ref), "url": f"{base}/refs/{ref}", "object": target}


async def list_commits(ask: Ask) -> Any:
    """The history of ``sha`` (a branch, tag or commit), narrowed by ``author``, ``since``, ``until`` and ``path``."""
    ref = ask.query.get("sha") or ask.repository["default_branch"]
    sha = repositories.resolve(ask.cloud, ask.repository, ref)
    if sha is None:
        raise not_found()
    found = list(repositories.history(ask.cloud, ask.repository, sha))
    if who := ask.query.get("author", "").lower():
        found = [each for each in found if who in (str(each["author"]["login"] or "").lower(), each["author"]["email"].lower())]
    if since := ask.query.get("since"):
        found = [each for each in found if each["committer"]["date"] >= since]
    if until := ask.query.get("until"):
        found = [each for each in found if each["committer"]["date"] <= until]
    if path := ask.query.get("path"):
        found = [each for each in found if any(_touches(each, path) for each in each["files"])]
    return ask.paged(found, lambda each: repositories.shown_commit(ask.cloud, ask.repository, each))


def _touches(file: Any, path: str) -> bool:
    name = str(file["filename"] if isinstance(file, dict) else file)
    return name == path or name.startswith(path.rstrip("/") + "/")


async def get_commit(ask: Ask) -> Any:
    found = repositories.commit(ask.cloud, ask.repository, ask.params["ref"])
    return repositories.shown_commit(ask.cloud, ask.repository, found, files=True)


async def list_commit_pulls(ask: Ask) -> Any:
    found = repositories.commit(ask.cloud, ask.repository, ask.params["ref"])
    pulls = issues.pulls_of(ask.cloud, ask.repository, found["sha"])
    return ask.paged(pulls, lambda each: issues.shown_pull(ask.cloud, ask.repository, each))


async def compare(ask: Ask) -> Any:
    """Two commits: ``ahead``, ``behind``, ``diverged`` or ``identical``, with the commits that the second has more."""
    base, dots, head = ask.params["basehead"].partition("...")
    if not dots or not base or not head:
        raise not_found()
    one, other, common, ahead, behind = repositories.compare(ask.cloud, ask.repository, base, head)
    status = {(False, False): "identical", (True, False): "ahead", (False, True): "behind"}.get((bool(ahead), behind > 0), "diverged")
    name = ask.repository["full_name"]
    files = {str(file["filename"] if isinstance(file, dict) else file): (each["sha"], file) for each in ahead for file in each["files"]}

    def show(each: Document) -> Document:
        return repositories.shown_commit(ask.cloud, ask.repository, each)

    some = ask.paged(ahead, show)
    return Reply(
        200,
        {
            "url": f"{API}/repos/{name}/compare/{base}...{head}",
            "html_url": f"{WEB}/{name}/compare/{base}...{head}",
            "permalink_url": f"{WEB}/{name}/compare/{one['sha'][:7]}...{other['sha'][:7]}",
            "diff_url": f"{WEB}/{name}/compare/{base}...{head}.diff",
            "patch_url": f"{WEB}/{name}/compare/{base}...{head}.patch",
            "base_commit": show(one),
            "merge_base_commit": show(common),
            "status": status,
            "ahead_by": len(ahead),
            "behind_by": behind,
            "total_commits": len(ahead),
            "commits": some.body,
            "files": [repositories.shown_file(ask.repository, sha, file) for sha, file in files.values()],
        },
        some.headers,
    )


# --- environments ----------------------------------------------------------------------------------------------------------------


def _environment(ask: Ask) -> Document:
    return environments.get(ask.cloud, ask.repository, ask.params["environment"])


async def list_environments(ask: Ask) -> Any:
    found = environments.listed(ask.cloud, ask.repository)
    return ask.paged(found, lambda each: environments.shown(ask.cloud, ask.repository, each), "environments")


async def get_environment(ask: Ask) -> Any:
    return environments.shown(ask.cloud, ask.repository, _environment(ask))


async def put_environment(ask: Ask) -> Any:
    changed = environments.change(ask.cloud, ask.repository, ask.params["environment"], ask.body)
    return environments.shown(ask.cloud, ask.repository, changed)


async def delete_environment(ask: Ask) -> Reply:
    environments.remove(ask.cloud, ask.repository, ask.params["environment"])
    return Reply(204)


async def list_policies(ask: Ask) -> Any:
    return ask.paged(environments.policies(_environment(ask)), lambda each: each, "branch_policies")


async def get_policy(ask: Ask) -> Any:
    return environments.shown_policy(environments.policy(_environment(ask), ask.params["policy"]))


async def add_policy(ask: Ask) -> Reply:
    made, new = environments.add_policy(ask.cloud, ask.repository, _environment(ask), ask.body)
    if new:
        return Reply(200, environments.shown_policy(made))
    return Reply(303, None, {"Location": f"{API}{ask.call.path}/{made['id']}"})


async def put_policy(ask: Ask) -> Any:
    changed = environments.change_policy(ask.cloud, ask.repository, _environment(ask), ask.params["policy"], ask.body)
    return environments.shown_policy(changed)


async def delete_policy(ask: Ask) -> Reply:
    environments.remove_policy(ask.cloud, ask.repository, _environment(ask), ask.params["policy"])
    return Reply(204)


async def list_rules(ask: Ask) -> Any:
    rules = [environments.shown_rule(each) for each in _environment(ask)["rules"]]
    return {"total_count": len(rules), "custom_deployment_protection_rules": rules}


async def list_rule_apps(ask: Ask) -> Any:
    """The apps that could decide: those with a token for this repository that may write deployments."""
    _environment(ask)
    apps = [environments.shown_app(each) for each in _apps(ask).values()]
    return {"total_count": len(apps), "available_custom_deployment_protection_rule_integrations": apps}


def _apps(ask: Ask) -> dict[int, Document]:
    found = {}
    for each in ask.cloud.store.list("github_token"):
        here = ask.repository["full_name"].lower() in (name.lower() for name in each.get("repositories") or ())
        if each["kind"] == "app" and here and (each.get("permissions") or {}).get("deployments") == "write":
            found[int(each["app_id"])] = {"id": int(each["app_id"]), "slug": each["login"].removesuffix("[bot]")}
    return found


async def add_rule(ask: Ask) -> Reply:
    app = _apps(ask).get(ask.body.get("integration_id", 0))
    if app is None:
        raise GitHubError(
            422, "The app of this integration_id is not installed on the repository with the permission to write deployments."
        )
    return Reply(201, environments.shown_rule(environments.add_rule(ask.cloud, ask.repository, _environment(ask), app)))


async def get_rule(ask: Ask) -> Any:
    return environments.shown_rule(environments.rule(_environment(ask), ask.params["rule"]))


async def delete_rule(ask: Ask) -> Reply:
    environments.remove_rule(ask.cloud, ask.repository, _environment(ask), ask.params["rule"])
    return Reply(204)


# --- runs ------------------------------------------------------------------------------------------------------------------------


def _run(ask: Ask) -> Document:
    return runs.get(ask.cloud, ask.repository, ask.params["run"])


async def list_runs(ask: Ask) -> Any:
    found = runs.listed(ask.cloud, ask.repository, ask.query)
    return ask.paged(found, lambda each: runs.shown(ask.cloud, ask.repository, each), "workflow_runs")


async def get_run(ask: Ask) -> Any:
    run = _run(ask)
    runs.pending(ask.cloud, ask.repository, run, "")  # a wait may be over
    return runs.shown(ask.cloud, ask.repository, run)


async def get_attempt(ask: Ask) -> Any:
    return runs.shown(ask.cloud, ask.repository, runs.attempt(_run(ask), ask.params["attempt"]))


async def list_pending(ask: Ask) -> Any:
    login = ask.caller.login if ask.caller.kind == "user" else ""
    return runs.pending(ask.cloud, ask.repository, _run(ask), login)


async def review_pending(ask: Ask) -> Any:
    """Approve or reject. A job's own token is nobody's who could."""
    if ask.caller.kind != "user":
        raise forbidden("Resource not accessible by integration")
    reviewed = runs.review(ask.cloud, ask.repository, _run(ask), ask.body, ask.caller.login)
    return [deployments.shown(ask.cloud, ask.repository, each) for each in reviewed]


async def list_approvals(ask: Ask) -> Any:
    return runs.approvals(ask.cloud, ask.repository, _run(ask))


async def decide_rule(ask: Ask) -> Reply:
    if ask.caller.kind != "app":
        raise forbidden("Resource not accessible by personal access token")
    runs.decide(ask.cloud, ask.repository, _run(ask), ask.body, ask.caller.app_id)
    return Reply(204)


# --- deployments -----------------------------------------------------------------------------------------------------------------


def _deployment(ask: Ask) -> Document:
    return deployments.get(ask.cloud, ask.repository, ask.params["deployment"])


async def list_deployments(ask: Ask) -> Any:
    found = deployments.listed(ask.cloud, ask.repository, ask.query)
    return ask.paged(found, lambda each: deployments.shown(ask.cloud, ask.repository, each))


async def create_deployment(ask: Ask) -> Reply:
    made = deployments.create(ask.cloud, ask.repository, ask.body, ask.caller.login)
    return Reply(201, deployments.shown(ask.cloud, ask.repository, made))


async def get_deployment(ask: Ask) -> Any:
    return deployments.shown(ask.cloud, ask.repository, _deployment(ask))


async def delete_deployment(ask: Ask) -> Reply:
    deployments.remove(ask.cloud, ask.repository, ask.params["deployment"])
    return Reply(204)


async def list_statuses(ask: Ask) -> Any:
    deployment = _deployment(ask)
    return ask.paged(deployment["statuses"][::-1], lambda each: deployments.shown_status(ask.cloud, ask.repository, deployment, each))


async def create_status(ask: Ask) -> Reply:
    deployment = _deployment(ask)
    made = deployments.add_status(ask.cloud, ask.repository, deployment, ask.body, ask.caller.login)
    return Reply(201, deployments.shown_status(ask.cloud, ask.repository, deployment, made))


async def get_status(ask: Ask) -> Any:
    deployment = _deployment(ask)
    found = next((each for each in deployment["statuses"] if str(each["id"]) == ask.params["status"]), None)
    if found is None:
        raise not_found()
    return deployments.shown_status(ask.cloud, ask.repository, deployment, found)


# --- issues and pull requests ----------------------------------------------------------------------------------------------------


def _issue(ask: Ask) -> Document:
    return issues.get(ask.cloud, ask.repository, ask.params["number"])


def _pull(ask: Ask) -> Document:
    return issues.get(ask.cloud, ask.repository, ask.params["number"], pull=True)


async def list_issues(ask: Ask) -> Any:
    found = issues.listed(ask.cloud, ask.repository, ask.query)
    return ask.paged(found, lambda each: issues.shown(ask.cloud, ask.repository, each))


async def create_issue(ask: Ask) -> Reply:
    made = issues.create(ask.cloud, ask.repository, ask.body, ask.caller.login, ask.pushes)
    return Reply(201, issues.shown(ask.cloud, ask.repository, made))


async def get_issue(ask: Ask) -> Any:
    return issues.shown(ask.cloud, ask.repository, _issue(ask))


async def change_issue(ask: Ask) -> Any:
    """Change an issue: its author, and who may push."""
    issue = _issue(ask)
    if not ask.pushes and issue["user"].lower() != ask.caller.login.lower():
        raise forbidden("Must have admin rights to Repository.")
    return issues.shown(ask.cloud, ask.repository, issues.change(ask.cloud, ask.repository, issue, ask.body, ask.caller.login))


async def list_comments(ask: Ask) -> Any:
    found = issues.comments(ask.cloud, ask.repository, _issue(ask))
    return ask.paged(found, lambda each: issues.shown_comment(ask.cloud, ask.repository, each))


async def create_comment(ask: Ask) -> Reply:
    made = issues.add_comment(ask.cloud, ask.repository, _issue(ask), ask.body, ask.caller.login)
    return Reply(201, issues.shown_comment(ask.cloud, ask.repository, made))


async def get_comment(ask: Ask) -> Any:
    return issues.shown_comment(ask.cloud, ask.repository, issues.comment(ask.cloud, ask.repository, ask.params["comment"]))


def _own_comment(ask: Ask) -> Document:
    """A comment that the caller may change: their own, or any of those who may push."""
    found = issues.comment(ask.cloud, ask.repository, ask.params["comment"])
    if not ask.pushes and found["user"].lower() != ask.caller.login.lower():
        raise forbidden("Must have admin rights to Repository.")
    return found


async def change_comment(ask: Ask) -> Any:
    changed = issues.change_comment(ask.cloud, ask.repository, _own_comment(ask), ask.body)
    return issues.shown_comment(ask.cloud, ask.repository, changed)


async def delete_comment(ask: Ask) -> Reply:
    issues.remove_comment(ask.cloud, ask.repository, _own_comment(ask))
    return Reply(204)


async def list_pulls(ask: Ask) -> Any:
    found = issues.listed(ask.cloud, ask.repository, ask.query, pulls=True)
    return ask.paged(found, lambda each: issues.shown_pull(ask.cloud, ask.repository, each))


async def create_pull(ask: Ask) -> Reply:
    made = issues.create_pull(ask.cloud, ask.repository, ask.body, ask.caller.login)
    return Reply(201, issues.shown_pull(ask.cloud, ask.repository, made))


async def get_pull(ask: Ask) -> Any:
    return issues.shown_pull(ask.cloud, ask.repository, _pull(ask))


async def list_pull_commits(ask: Ask) -> Any:
    found = issues.commits_of(ask.cloud, ask.repository, _pull(ask))
    return ask.paged(found, lambda each: repositories.shown_commit(ask.cloud, ask.repository, each))


async def list_reviews(ask: Ask) -> Any:
    found = issues.reviews(ask.cloud, ask.repository, _pull(ask))
    return ask.paged(found, lambda each: issues.shown_review(ask.cloud, ask.repository, each))


async def create_review(ask: Ask) -> Any:
    made = issues.add_review(ask.cloud, ask.repository, _pull(ask), ask.body, ask.caller.login)
    return issues.shown_review(ask.cloud, ask.repository, made)


# --- code scanning ---------------------------------------------------------------------------------------------------------------


async def upload_sarif(ask: Ask) -> Reply:
    scanning.need(ask.cloud, ask.repository)
    made = scanning.upload(ask.cloud, ask.repository, ask.body)
    return Reply(202, {"id": made["id"], "url": f"{API}/repos/{ask.repository['full_name']}/code-scanning/sarifs/{made['id']}"})


async def get_sarif(ask: Ask) -> Any:
    scanning.need(ask.cloud, ask.repository)
    return scanning.status(ask.cloud, ask.repository, ask.params["sarif"])


async def list_analyses(ask: Ask) -> Any:
    scanning.need(ask.cloud, ask.repository)
    found = scanning.analyses(ask.cloud, ask.repository, ask.query)
    if not found:
        raise GitHubError(404, "no analysis found")
    return ask.paged(found, lambda each: each)


async def list_alerts(ask: Ask) -> Any:
    """Alerts, newest first; ``state``, ``tool_name`` and ``ref`` narrow them down."""
    scanning.need(ask.cloud, ask.repository)
    found = scanning.alerts(ask.cloud, ask.repository)[::-1]
    wanted = {
        "state": lambda each: each["state"],
        "tool_name": lambda each: each["tool"]["name"],
        "ref": lambda each: each["instance"]["ref"],
    }
    for name, of in wanted.items():
        found = [each for each in found if ask.query.get(name, of(each)) == of(each)]
    return ask.paged(found, lambda each: scanning.shown_alert(ask.repository, each))
