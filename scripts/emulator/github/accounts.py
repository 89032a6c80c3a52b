"""Who there is on GitHub: people, organizations, teams and tokens; and who calls.

Tokens: https://docs.github.com/rest/authentication/authenticating-to-the-rest-api. A workflow's token belongs to the app
``github-actions``, to one repository and to one job, and carries the permissions that the job has.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emulator.github.errors import GitHubError, not_found
from emulator.github.forms import API, WEB, node_id, number, stamp

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
BOT = "github-actions[bot]"
BOT_ID = 41898282
PLANS = ("free", "team", "enterprise")


# --- people, organizations and teams ---------------------------------------------------------------------------------------------


def save_user(cloud: Cloud, login: str, **more: Any) -> Document:
    """A person (or, with ``type="Bot"``, an app's account), made once; what is given of an existing one is changed."""
    known = cloud.store.get(f"github/users/{login}")
    made = known or {"login": login, "id": number(login), "type": "User", "name": None, "email": None, "created_at": stamp(cloud)}
    return cloud.store.put(f"github/users/{login}", "github_user", {**made, **more})


def user(cloud: Cloud, login: str) -> Document | None:
    if login.lower() == BOT:
        return {"login": BOT, "id": BOT_ID, "type": "Bot", "name": None, "email": None}
    return cloud.store.get(f"github/users/{login}")


def need_user(cloud: Cloud, login: str) -> Document:
    """Raises GitHub's 404."""
    found = user(cloud, login)
    if found is None:
        raise not_found()
    return found


def user_by_id(cloud: Cloud, id: int) -> Document | None:
    return next((each for each in cloud.store.list("github_user") if each["id"] == id), None)


def login_of(cloud: Cloud, email: str) -> str | None:
    """Whose address it is; GitHub shows a commit as somebody's by that alone."""
    found = (each["login"] for each in cloud.store.list("github_user") if email and (each["email"] or "").lower() == email.lower())
    return next(found, None)


def shown_user(cloud: Cloud, login: str | None) -> Document | None:
    """An account in the short form in which it stands in other answers; nobody for one that is gone."""
    found = user(cloud, login) if login else None
    if found is None:
        return None
    url = f"{API}/users/{found['login'].replace('[', '%5B').replace(']', '%5D')}"
    page = f"{WEB}/apps/{found['login'].removesuffix('[bot]')}" if found["type"] == "Bot" else f"{WEB}/{found['login']}"
    return {
        "login": found["login"],
        "id": found["id"],
        "node_id": node_id("User", found["id"]),
        "avatar_url": f"https://avatars.githubusercontent.com/u/{found['id']}?v=4",
        "gravatar_id": "",
        "url": url,
        "html_url": page,
        "organizations_url": f"{url}/orgs",
        "repos_url": f"{url}/repos",
        "type": found["type"],
        "user_view_type": "public",
        "site_admin": False,
    }


def save_organization(cloud: Cloud, login: str, **more: Any) -> Document:
    """An organization, made once. ``plan`` is free, team or enterprise; ``owners`` and ``members`` are logins."""
    known = cloud.store.get(f"github/orgs/{login}")
    made = known or {
        "login": login, "id": number(login), "plan": "enterprise", "owners": [], "members": [],
        "default_repository_permission": "read", "created_at": stamp(cloud),
    }  # fmt: skip
    made |= more
    if made["plan"] not in PLANS:
        raise GitHubError(422, f"A plan is one of {', '.join(PLANS)}, not '{made['plan']}'.")
    for login_ in (*made["owners"], *made["members"]):
        save_user(cloud, login_)
    return cloud.store.put(f"github/orgs/{login}", "github_org", made)


def organization(cloud: Cloud, login: str) -> Document:
    """Raises GitHub's 404."""
    found = cloud.store.get(f"github/orgs/{login}")
    if found is None:
        raise not_found()
    return found


def belongs(cloud: Cloud, org: str, login: str) -> str | None:
    """The role of a person in an organization: admin, member or None."""
    found = cloud.store.get(f"github/orgs/{org}")
    if found is None:
        return None
    low = login.lower()
    if low in map(str.lower, found["owners"]):
        return "admin"
    return "member" if low in map(str.lower, found["members"]) else None


def save_team(cloud: Cloud, org: str, slug: str, **more: Any) -> Document:
    """A team of an organization, made once; ``parent`` is the slug of the team above it."""
    known = cloud.store.get(f"github/orgs/{org}/teams/{slug}")
    made = known or {
        "organization": org, "slug": slug, "name": slug, "id": number(f"{org}/{slug}"), "description": None, "privacy": "closed",
        "members": [], "maintainers": [], "parent": None,
    }  # fmt: skip
    made |= more
    for login in (*made["members"], *made["maintainers"]):
        save_user(cloud, login)
        if belongs(cloud, org, login) is None:
            found = organization(cloud, org)
            save_organization(cloud, org, members=[*found["members"], login])
    return cloud.store.put(f"github/orgs/{org}/teams/{slug}", "github_team", made)


def team(cloud: Cloud, org: str, slug: str) -> Document:
    """Raises GitHub's 404."""
    found = cloud.store.get(f"github/orgs/{org}/teams/{slug}")
    if found is None:
        raise not_found()
    return found


def team_by_id(cloud: Cloud, id: int) -> Document | None:
    return next((each for each in cloud.store.list("github_team") if each["id"] == id), None)


def teams(cloud: Cloud, org: str) -> list[Document]:
    return cloud.store.list("github_team", under=f"github/orgs/{org}")


def team_roles(cloud: Cloud, found: Document) -> dict[str, str]:
    """The members of a team and of the teams below it, by login: maintainer or member."""
    roles = dict.fromkeys(found["members"], "member") | dict.fromkeys(found["maintainers"], "maintainer")
    for child in teams(cloud, found["organization"]):
        if (child["parent"] or "").lower() == found["slug"].lower():
            roles |= {login: "member" for login in team_roles(cloud, child) if login not in roles}
    return roles


def in_team(cloud: Cloud, found: Document, login: str) -> bool:
    return login.lower() in map(str.lower, team_roles(cloud, found))


def shown_team(cloud: Cloud, found: Document) -> Document:
    org = cloud.store.get(f"github/orgs/{found['organization']}") or {"id": 0}
    url = f"{API}/organizations/{org['id']}/team/{found['id']}"
    parent = cloud.store.get(f"github/orgs/{found['organization']}/teams/{found['parent']}") if found["parent"] else None
    return {
        "name": found["name"],
        "id": found["id"],
        "node_id": node_id("Team", found["id"]),
        "slug": found["slug"],
        "description": found["description"],
        "privacy": found["privacy"],
        "notification_setting": "notifications_enabled",
        "url": url,
        "html_url": f"{WEB}/orgs/{found['organization']}/teams/{found['slug']}",
        "members_url": f"{url}/members{{/member}}",
        "repositories_url": f"{url}/repos",
        "permission": "pull",
        "parent": shown_team(cloud, parent) if parent else None,
    }


# --- tokens ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caller:
    """Who a request speaks for. ``kind`` is nobody, user, workflow (a job's GITHUB_TOKEN) or app (an installation's token)."""

    kind: str = "nobody"
    login: str = ""
    permissions: dict[str, str] = field(default_factory=dict)
    repositories: tuple[str, ...] = ()
    """Those that a workflow's or an app's token is for, in small letters."""
    scopes: tuple[str, ...] = ()
    token: str = ""
    app_id: int = 0

    @property
    def integration(self) -> bool:
        return self.kind in ("workflow", "app")


def save_token(cloud: Cloud, kind: str, login: str, **more: Any) -> str:
    """A new token's text; what the state keeps of it is its hash. ``lifetime`` is in seconds, 0 for one that does not end."""
    text = {"user": "ghp_", "workflow": "ghs_", "app": "ghs_"}[kind] + secrets.token_hex(18)
    lifetime = float(more.pop("lifetime", 0) or 0)
    ends = cloud.now().timestamp() + lifetime if lifetime else None
    document = {"kind": kind, "login": login, "ends": ends, "hash": _hash(text), **more}
    cloud.store.put(f"github/tokens/{document['hash']}", "github_token", document)
    return text


def forget_tokens(cloud: Cloud, job: int) -> None:
    """Take back the tokens of a job that has ended."""
    for each in cloud.store.list("github_token"):
        if each.get("job") == job:
            cloud.store.delete(f"github/tokens/{each['hash']}")


def caller(cloud: Cloud, header: str | None) -> Caller:
    """Who calls, from the ``Authorization`` header: ``Bearer`` or ``token``. Raises GitHub's 401."""
    if not header:
        return Caller()
    scheme, _, text = header.partition(" ")
    found = cloud.store.get(f"github/tokens/{_hash(text.strip())}") if scheme.lower() in ("bearer", "token") else None
    if found is None or (found["ends"] is not None and found["ends"] <= cloud.now().timestamp()):
        raise GitHubError(401, "Bad credentials")
    return Caller(
        found["kind"],
        found["login"],
        dict(found.get("permissions") or {}),
        tuple(str(name).lower() for name in found.get("repositories") or ()),
        tuple(found.get("scopes") or ()),
        found["hash"],
        int(found.get("app_id") or 0),
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
