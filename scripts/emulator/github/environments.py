"""Environments: what protects them, and which branches and tags may deploy to them.

Sources: https://docs.github.com/rest/deployments/environments (its schema allows no further property, and GitHub refuses one by
name: terraform-provider-github#1804, #2457), and what the answers of the service are, as quoted in go-github#2725 (can_admins_bypass,
which the documentation leaves out), backstage#28977 (the plan), safe-settings#628 (self-review) and go-github's
CreateUpdateEnvironment (what is not sent stays as it is).
"""

from __future__ import annotations

import fnmatch
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from emulator.github import accounts, repositories
from emulator.github.errors import GitHubError, not_found, refused
from emulator.github.forms import API, WEB, next_number, node_id, stamp

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
LONGEST_WAIT = 43_200
"""Minutes: 30 days."""
_FIELDS = ("wait_timer", "prevent_self_review", "reviewers", "deployment_branch_policy", "can_admins_bypass")


def key(repository: Document, name: str) -> str:
    return f"{repositories.key(repository['full_name'])}/environments/{name}"


def get(cloud: Cloud, repository: Document, name: str) -> Document:
    """Raises GitHub's 404."""
    found = cloud.store.get(key(repository, name))
    if found is None:
        raise not_found()
    return found


def listed(cloud: Cloud, repository: Document) -> list[Document]:
    return cloud.store.list("github_environment", under=repositories.key(repository["full_name"]))


def by_id(cloud: Cloud, repository: Document, id: int) -> Document | None:
    return next((each for each in listed(cloud, repository) if each["id"] == id), None)


def ensure(cloud: Cloud, repository: Document, name: str) -> Document:
    """An environment; one that is not there is made without any protection, as GitHub does for a job that names it."""
    found = cloud.store.get(key(repository, name))
    if found is not None:
        return found
    if not name or len(name) > 255:
        raise refused("The environment's name must have 1 to 255 characters.")
    made = {
        "id": next_number(cloud, "environment", 5_000_001), "name": name, "wait_timer": 0, "prevent_self_review": False, "reviewers": [],
        "deployment_branch_policy": None, "can_admins_bypass": True, "policies": [], "rules": [], "rule_ids": {},
        "created_at": stamp(cloud), "updated_at": stamp(cloud),
    }  # fmt: skip
    return cloud.store.put(key(repository, name), "github_environment", made)


def change(cloud: Cloud, repository: Document, name: str, body: Document) -> Document:
    """Create or update. What is not sent stays as it is; ``reviewers`` and ``deployment_branch_policy`` are cleared by null."""
    _check(body)
    # A server that does not know a field yet may drop it without a word; which, a test says.
    ignored = str(cloud.settings.extra.get("github_ignores", "")).split(",")
    body = {field: value for field, value in body.items() if field not in ignored}
    plan = repositories.plan(cloud, repository)
    if not repositories.is_public(repository) and plan != "enterprise":
        # The field alone is enough, whatever its value (alchemy-run/alchemy#1373).
        for field, rule in (
            ("reviewers", "required reviewers"),
            ("prevent_self_review", "required reviewers"),
            ("wait_timer", "wait timer"),
        ):
            if field in body:
                raise GitHubError(
                    422,
                    "Failed to create the environment protection rule. Please ensure the billing plan supports the "
                    f"{rule} protection rule.",
                )
        if plan == "free" and body.get("deployment_branch_policy"):
            raise GitHubError(422, "Fail to create protected rule, please ensure billing plan include protected branch gate.")
    with cloud.store.transaction():
        found = ensure(cloud, repository, name)
        changed = {**found, **{field: body[field] for field in _FIELDS if field in body}}
        changed["reviewers"] = [_reviewer(cloud, repository, each) for each in changed["reviewers"] or ()]
        if changed["prevent_self_review"] and not changed["reviewers"]:
            raise GitHubError(
                422,
                "Failed to create or update the environment protection rule. Required reviewers must have at least one reviewer to set "
                "prevent_self_review.",
            )
        if not (changed["deployment_branch_policy"] or {}).get("custom_branch_policies"):
            changed["policies"] = []
        for rule in ("wait_timer", "required_reviewers", "branch_policy"):
            changed["rule_ids"].setdefault(rule, next_number(cloud, "protection_rule", 29_000_001))
        changed["updated_at"] = stamp(cloud)
        return cloud.store.put(key(repository, name), "github_environment", changed)


def _check(body: Document) -> None:
    """Against the schema of the operation."""
    for name in body:
        if name not in _FIELDS:
            raise refused(f'"{name}" is not a permitted key.')
    for name in ("prevent_self_review", "can_admins_bypass"):
        if not isinstance(body.get(name, False), bool):
            raise refused(f"For 'properties/{name}', {json.dumps(body[name])} is not a boolean.")
    wait = body.get("wait_timer", 0)
    if not isinstance(wait, int) or isinstance(wait, bool):
        raise refused(f"For 'properties/wait_timer', {json.dumps(wait)} is not an integer.")
    if not 0 <= wait <= LONGEST_WAIT:
        raise refused(f"{wait} must be between 0 and {LONGEST_WAIT}.")
    reviewers = body.get("reviewers") or []
    if not isinstance(reviewers, list) or not all(isinstance(each, dict) for each in reviewers):
        raise refused(f"For 'properties/reviewers', {json.dumps(reviewers)} is not an array of objects.")
    if len(reviewers) > 6:
        raise refused(f"No more than 6 items are allowed; {len(reviewers)} were supplied.")
    for each in reviewers:
        if each.get("type") not in ("User", "Team"):
            raise refused(f'{json.dumps(each.get("type"))} is not a member of ["User", "Team"].')
        if not isinstance(each.get("id"), int):
            raise refused(f"For 'properties/id', {json.dumps(each.get('id'))} is not an integer.")
    policy = body.get("deployment_branch_policy")
    if policy is None:
        return
    for name in ("protected_branches", "custom_branch_policies"):
        if not isinstance(policy, dict) or name not in policy:
            raise refused(f'"{name}" wasn\'t supplied.')
        if not isinstance(policy[name], bool):
            raise refused(f"For 'properties/{name}', {json.dumps(policy[name])} is not a boolean.")
    if policy["protected_branches"] == policy["custom_branch_policies"]:
        raise GitHubError(422, "`protected_branches` and `custom_branch_policies` cannot have the same value.")


def _reviewer(cloud: Cloud, repository: Document, wanted: Document) -> Document:
    """A reviewer that is there and can read the repository; the sentence of the refusal is this emulator's own."""
    if wanted["type"] == "User":
        person = accounts.user_by_id(cloud, wanted["id"])
        able = person is not None and repositories.role(cloud, repository, person["login"]) != "none"
    else:
        team = accounts.team_by_id(cloud, wanted["id"])
        able = team is not None and (repositories.is_public(repository) or repositories.team_role(repository, team["slug"]) != "none")
    if not able:
        raise GitHubError(
            422,
            "Failed to create the environment protection rule. "
            f"{wanted['type']} {wanted['id']} is not there or cannot read the repository.",
        )
    return {"type": wanted["type"], "id": wanted["id"]}


def remove(cloud: Cloud, repository: Document, name: str) -> None:
    if not cloud.store.delete(key(repository, name)):
        raise not_found()


def enforced(cloud: Cloud, repository: Document) -> bool:
    """Whether reviewers and wait timers hold: not in a private repository without Enterprise, even where they are left from before."""
    return repositories.is_public(repository) or repositories.plan(cloud, repository) == "enterprise"


def reviewers_of(cloud: Cloud, environment: Document) -> list[Document]:
    """The reviewers as GitHub shows them; one that is gone is left out."""
    found = []
    for each in environment["reviewers"]:
        if each["type"] == "User":
            person = accounts.user_by_id(cloud, each["id"])
            shown = accounts.shown_user(cloud, person["login"]) if person else None
        else:
            team = accounts.team_by_id(cloud, each["id"])
            shown = accounts.shown_team(cloud, team) if team else None
        if shown:
            found.append({"type": each["type"], "reviewer": shown})
    return found


def may_review(cloud: Cloud, environment: Document, login: str) -> bool:
    """Whether a person is a reviewer, by themselves or in a team."""
    for each in environment["reviewers"]:
        if each["type"] == "User":
            person = accounts.user_by_id(cloud, each["id"])
            if person and person["login"].lower() == login.lower():
                return True
        elif (team := accounts.team_by_id(cloud, each["id"])) and accounts.in_team(cloud, team, login):
            return True
    return False


def address(repository: Document, environment: Document) -> Document:
    """The two addresses of an environment."""
    name = quote(environment["name"], safe="")
    return {
        "url": f"{API}/repos/{repository['full_name']}/environments/{name}",
        "html_url": f"{WEB}/{repository['full_name']}/deployments/activity_log?environments_filter={name}",
    }


def short(repository: Document, environment: Document) -> Document:
    """An environment as it stands in pending deployments."""
    return {
        "id": environment["id"],
        "node_id": node_id("Environment", environment["id"]),
        "name": environment["name"],
        **address(repository, environment),
    }


def shown(cloud: Cloud, repository: Document, environment: Document) -> Document:
    rules: list[Document] = []
    ids = environment["rule_ids"]
    if environment["wait_timer"]:
        rules.append(_rule(ids["wait_timer"], "wait_timer", wait_timer=environment["wait_timer"]))
    if environment["reviewers"]:
        prevented, reviewers = environment["prevent_self_review"], reviewers_of(cloud, environment)
        rules.append(_rule(ids["required_reviewers"], "required_reviewers", prevent_self_review=prevented, reviewers=reviewers))
    if environment["deployment_branch_policy"]:
        rules.append(_rule(ids["branch_policy"], "branch_policy"))
    return {
        **short(repository, environment),
        "created_at": environment["created_at"],
        "updated_at": environment["updated_at"],
        "can_admins_bypass": environment["can_admins_bypass"],
        "protection_rules": rules,
        "deployment_branch_policy": environment["deployment_branch_policy"],
    }


def _rule(id: int, type: str, **more: Any) -> Document:
    return {"id": id, "node_id": node_id("Gate", id), "type": type, **more}


# --- branch policies -------------------------------------------------------------------------------------------------------------


def _custom(environment: Document) -> Document:
    """The environment, if it has policies of its own. Raises GitHub's 404."""
    if not (environment["deployment_branch_policy"] or {}).get("custom_branch_policies"):
        raise not_found()
    return environment


def policies(environment: Document) -> list[Document]:
    return [shown_policy(each) for each in _custom(environment)["policies"]]


def policy(environment: Document, id: str) -> Document:
    """Raises GitHub's 404."""
    found = next((each for each in _custom(environment)["policies"] if str(each["id"]) == id), None)
    if found is None:
        raise not_found()
    return dict(found)


def add_policy(cloud: Cloud, repository: Document, environment: Document, body: Document) -> tuple[Document, bool]:
    """A pattern for branches or tags, and whether it is new; of one that is there GitHub says 303."""
    name, type = _custom(environment) and body.get("name"), body.get("type", "branch")
    if not isinstance(name, str) or not name:
        raise refused('"name" wasn\'t supplied.')
    if type not in ("branch", "tag"):
        raise refused(f'{json.dumps(type)} is not a member of ["branch", "tag"].')
    known = next((each for each in environment["policies"] if (each["name"], each["type"]) == (name, type)), None)
    if known:
        return known, False
    made = {"id": next_number(cloud, "branch_policy", 7_000_001), "name": name, "type": type}
    _save(cloud, repository, environment, policies=[*environment["policies"], made])
    return made, True


def change_policy(cloud: Cloud, repository: Document, environment: Document, id: str, body: Document) -> Document:
    found = policy(environment, id)
    if not isinstance(body.get("name"), str) or not body["name"]:
        raise refused('"name" wasn\'t supplied.')
    found["name"] = body["name"]
    _save(cloud, repository, environment, policies=[found if each["id"] == found["id"] else each for each in environment["policies"]])
    return found


def remove_policy(cloud: Cloud, repository: Document, environment: Document, id: str) -> None:
    found = policy(environment, id)
    _save(cloud, repository, environment, policies=[each for each in environment["policies"] if each["id"] != found["id"]])


def shown_policy(document: Document) -> Document:
    return {
        "id": document["id"],
        "node_id": node_id("GateBranchPolicy", document["id"]),
        "name": document["name"],
        "type": document["type"],
    }


def _save(cloud: Cloud, repository: Document, environment: Document, **more: Any) -> None:
    cloud.store.put(key(repository, environment["name"]), "github_environment", {**environment, **more, "updated_at": stamp(cloud)})


def admits(repository: Document, environment: Document, ref: str) -> bool:
    """Whether a ref (``refs/heads/...`` or ``refs/tags/...``) may deploy.

    Patterns are those of Ruby's File.fnmatch with pathnames: ``*`` does not match a slash.
    """
    wanted = environment["deployment_branch_policy"]
    if not wanted:
        return True
    type, name = ("tag", ref.removeprefix("refs/tags/")) if ref.startswith("refs/tags/") else ("branch", ref.removeprefix("refs/heads/"))
    if wanted["protected_branches"]:
        return type == "branch" and (name in repository["protection"] or not repository["protection"])
    return any(each["type"] == type and _matches(each["name"], name) for each in environment["policies"])


def _matches(pattern: str, name: str) -> bool:
    parts, names = pattern.split("/"), name.split("/")
    return len(parts) == len(names) and all(fnmatch.fnmatchcase(one, part) for part, one in zip(parts, names, strict=True))


# --- custom protection rules -----------------------------------------------------------------------------------------------------


def add_rule(cloud: Cloud, repository: Document, environment: Document, app: Document) -> Document:
    """Let an app decide too. https://docs.github.com/rest/deployments/protection-rules."""
    if any(each["app"]["id"] == app["id"] for each in environment["rules"]):
        raise GitHubError(422, "The custom deployment protection rule is enabled already.")
    made = {"id": next_number(cloud, "custom_rule", 3_000_001), "app": app}
    _save(cloud, repository, environment, rules=[*environment["rules"], made])
    return made


def rule(environment: Document, id: str) -> Document:
    """Raises GitHub's 404."""
    found = next((each for each in environment["rules"] if str(each["id"]) == id), None)
    if found is None:
        raise not_found()
    return dict(found)


def remove_rule(cloud: Cloud, repository: Document, environment: Document, id: str) -> None:
    found = rule(environment, id)
    _save(cloud, repository, environment, rules=[each for each in environment["rules"] if each["id"] != found["id"]])


def shown_rule(document: Document) -> Document:
    return {"id": document["id"], "node_id": node_id("GateCustom", document["id"]), "enabled": True, "app": shown_app(document["app"])}


def shown_app(app: Document) -> Document:
    return {"id": app["id"], "slug": app["slug"], "integration_url": f"{API}/apps/{app['slug']}", "node_id": node_id("App", app["id"])}
