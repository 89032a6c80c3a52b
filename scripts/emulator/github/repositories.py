"""Repositories: who may do what in them, their branches, commits and the way from one commit to another.

Sources: https://docs.github.com/rest/repos/repos, https://docs.github.com/rest/commits/commits and
https://docs.github.com/organizations/managing-user-access-to-your-organizations-repositories/managing-repository-roles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from emulator.github import accounts
from emulator.github.accounts import Caller
from emulator.github.errors import GitHubError, not_found
from emulator.github.forms import API, WEB, node_id, number, stamp

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
ROLES = ("none", "read", "triage", "write", "maintain", "admin")
"""What a person may be in a repository, each with all that those before it may."""
_GRANTS = {"pull": "read", "push": "write", **{role: role for role in ROLES}}
SHA = re.compile(r"[0-9a-f]{40}")


def key(repository: str) -> str:
    """Where a repository (owner/name) is in the state."""
    return f"github/repos/{repository}"


def save(cloud: Cloud, full_name: str, **more: Any) -> Document:
    """A repository, made once; what is given of an existing one is changed.

    ``collaborators`` and ``teams`` give roles (pull or read, triage, push or write, maintain, admin) by login and slug.
    """
    owner, _, name = full_name.partition("/")
    known = cloud.store.get(key(full_name))
    made = known or {
        "full_name": full_name, "id": number(full_name), "name": name, "owner": owner, "visibility": "private", "default_branch": "main",
        "description": None, "collaborators": {}, "teams": {}, "branches": {}, "tags": {}, "protection": {}, "code_scanning": None,
        "subject": None, "has_issues": True, "created_at": stamp(cloud),
    }  # fmt: skip
    made |= more
    for granted in (*made["collaborators"].values(), *made["teams"].values()):
        if granted not in _GRANTS:
            raise GitHubError(422, f"A role is one of {', '.join(_GRANTS)}, not '{granted}'.")
    if made["visibility"] not in ("public", "private", "internal"):
        raise GitHubError(422, f"A repository is public, private or internal, not '{made['visibility']}'.")
    for login in made["collaborators"]:
        accounts.save_user(cloud, login)
    if not cloud.store.exists(f"github/orgs/{owner}"):
        accounts.save_user(cloud, owner)
    made["updated_at"] = stamp(cloud)
    return cloud.store.put(key(full_name), "github_repository", made)


def get(cloud: Cloud, owner: str, name: str) -> Document:
    """Raises GitHub's 404."""
    found = cloud.store.get(key(f"{owner}/{name}"))
    if found is None:
        raise not_found()
    return found


def plan(cloud: Cloud, repository: Document) -> str:
    """The plan of the account that owns a repository; a person's is free unless the seed says otherwise."""
    owner = cloud.store.get(f"github/orgs/{repository['owner']}") or cloud.store.get(f"github/users/{repository['owner']}") or {}
    return str(owner.get("plan", "free"))


def is_public(repository: Document) -> bool:
    return bool(repository["visibility"] == "public")


def role(cloud: Cloud, repository: Document, login: str) -> str:
    """The highest role that a person holds: as owner, by the organization's default, as collaborator or through a team."""
    low = login.lower()
    if low == repository["owner"].lower():
        return "admin"
    held = ["read"] if is_public(repository) and low else ["none"]
    org = cloud.store.get(f"github/orgs/{repository['owner']}")
    if org:
        belongs = accounts.belongs(cloud, org["login"], login)
        if belongs == "admin":
            return "admin"
        if belongs:
            held.append(_GRANTS[org["default_repository_permission"]])
        for slug, granted in repository["teams"].items():
            found = cloud.store.get(f"github/orgs/{org['login']}/teams/{slug}")
            if found and accounts.in_team(cloud, found, login):
                held.append(_GRANTS[granted])
    held += [_GRANTS[granted] for one, granted in repository["collaborators"].items() if one.lower() == low]
    return max(held, key=ROLES.index)


def team_role(repository: Document, slug: str) -> str:
    """The role that a team was given."""
    return next((_GRANTS[granted] for one, granted in repository["teams"].items() if one.lower() == slug.lower()), "none")


def at_least(held: str, needed: str) -> bool:
    return ROLES.index(held) >= ROLES.index(needed)


def flags(held: str) -> dict[str, bool]:
    """A role as the five permissions that GitHub shows."""
    return {
        name: at_least(held, needed)
        for name, needed in (("admin", "admin"), ("maintain", "maintain"), ("push", "write"), ("triage", "triage"), ("pull", "read"))
    }


def visible(cloud: Cloud, repository: Document, caller: Caller) -> bool:
    """Whether a caller may know that a repository is there."""
    if is_public(repository):
        return True
    if caller.integration:
        return repository["full_name"].lower() in caller.repositories
    return caller.kind == "user" and "repo" in caller.scopes and role(cloud, repository, caller.login) != "none"


def association(cloud: Cloud, repository: Document, login: str) -> str:
    """How the author of a comment stands to the repository."""
    if login.lower() == repository["owner"].lower():
        return "OWNER"
    if accounts.belongs(cloud, repository["owner"], login):
        return "MEMBER"
    if login.lower() in map(str.lower, repository["collaborators"]):
        return "COLLABORATOR"
    return "NONE"


def short(cloud: Cloud, repository: Document) -> Document:
    """A repository as it stands in other answers."""
    name, url = repository["full_name"], f"{API}/repos/{repository['full_name']}"
    return {
        "id": repository["id"],
        "node_id": node_id("Repository", repository["id"]),
        "name": repository["name"],
        "full_name": name,
        "private": not is_public(repository),
        "owner": owner(cloud, repository),
        "html_url": f"{WEB}/{name}",
        "description": repository["description"],
        "fork": False,
        "url": url,
        "commits_url": f"{url}/commits{{/sha}}",
        "compare_url": f"{url}/compare/{{base}}...{{head}}",
        "deployments_url": f"{url}/deployments",
        "issues_url": f"{url}/issues{{/number}}",
        "pulls_url": f"{url}/pulls{{/number}}",
        "statuses_url": f"{url}/statuses/{{sha}}",
        "teams_url": f"{url}/teams",
    }


def owner(cloud: Cloud, repository: Document) -> Document | None:
    org = cloud.store.get(f"github/orgs/{repository['owner']}")
    return shown_org_account(org) if org else accounts.shown_user(cloud, repository["owner"])


def shown_org_account(org: Document) -> Document:
    """An organization in the short form of an account."""
    return {
        "login": org["login"],
        "id": org["id"],
        "node_id": node_id("Organization", org["id"]),
        "avatar_url": f"https://avatars.githubusercontent.com/u/{org['id']}?v=4",
        "gravatar_id": "",
        "url": f"{API}/users/{org['login']}",
        "html_url": f"{WEB}/{org['login']}",
        "repos_url": f"{API}/users/{org['login']}/repos",
        "type": "Organization",
        "user_view_type": "public",
        "site_admin": False,
    }


def shown(cloud: Cloud, repository: Document, caller: Caller) -> Document:
    """A repository as its own address shows it."""
    full = short(cloud, repository) | {
        "visibility": repository["visibility"],
        "default_branch": repository["default_branch"],
        "has_issues": repository["has_issues"],
        "archived": False,
        "disabled": False,
        "topics": [],
        "created_at": repository["created_at"],
        "updated_at": repository["updated_at"],
        "pushed_at": repository["updated_at"],
    }
    org = cloud.store.get(f"github/orgs/{repository['owner']}")
    if org:
        full["organization"] = shown_org_account(org)
    if caller.kind == "user":
        held = role(cloud, repository, caller.login)
        full["permissions"] = flags(held)
        if held == "admin":
            full["security_and_analysis"] = {"advanced_security": {"status": "enabled" if scans(cloud, repository) else "disabled"}}
    return full


def scans(cloud: Cloud, repository: Document) -> bool:
    """Whether code scanning is there: always in public repositories, in others with Code Security, which a seed can switch off or on."""
    if repository["code_scanning"] is not None:
        return bool(repository["code_scanning"])
    return is_public(repository) or plan(cloud, repository) == "enterprise"


# --- branches and commits --------------------------------------------------------------------------------------------------------


def add_commits(cloud: Cloud, repository: Document, commits: list[Mapping[str, Any]]) -> None:
    """Make commits known: ``sha``, ``message``, ``author`` and ``committer`` (name, email, date, login), ``parents``, ``files``.

    A login that is not given is that of the account with the address.
    """
    for each in commits:
        sha = str(each["sha"])
        if not SHA.fullmatch(sha):
            raise GitHubError(422, f"'{sha}' is not the id of a commit: 40 hexadecimal digits.")
        author = {"name": "Mona", "email": "mona@example.com", "date": stamp(cloud), **(each.get("author") or {})}
        author.setdefault("login", accounts.login_of(cloud, author["email"]))
        document = {
            "sha": sha,
            "message": str(each.get("message", "")),
            "author": author,
            "committer": _committer(cloud, author, each.get("committer")),
            "parents": [str(one) for one in each.get("parents") or ()],
            "tree": str(each.get("tree") or sha),
            "files": list(each.get("files") or ()),
            "verified": bool(each.get("verified")),
        }
        cloud.store.put(f"{key(repository['full_name'])}/commits/{sha}", "github_commit", document)


def _committer(cloud: Cloud, author: Document, given: Mapping[str, Any] | None) -> Document:
    """Who committed; the author, if nobody else is named."""
    made = {**author, **(given or {})}
    if made["email"] != author["email"] and "login" not in (given or {}):
        made["login"] = accounts.login_of(cloud, made["email"])
    return made


def resolve(cloud: Cloud, repository: Document, ref: str) -> str | None:
    """The commit that a branch, tag, full ref or (shortened) id stands for."""
    name = ref.removeprefix("refs/")
    if name.startswith("heads/"):
        return _named(repository["branches"], name.removeprefix("heads/"))
    if name.startswith("tags/"):
        return _named(repository["tags"], name.removeprefix("tags/"))
    found = _named(repository["branches"], ref) or _named(repository["tags"], ref)
    if found or not re.fullmatch(r"[0-9a-f]{4,40}", ref):
        return found
    shas = [each["sha"] for each in cloud.store.list("github_commit", under=f"{key(repository['full_name'])}/commits")]
    matching = [sha for sha in shas if sha.startswith(ref)]
    return matching[0] if len(matching) == 1 else None


def _named(refs: Mapping[str, str], name: str) -> str | None:
    return refs.get(name)


def commit(cloud: Cloud, repository: Document, ref: str) -> Document:
    """Raises GitHub's 422, which it gives for a commit where it gives 404 for other things."""
    sha = resolve(cloud, repository, ref)
    found = cloud.store.get(f"{key(repository['full_name'])}/commits/{sha}") if sha else None
    if found is None:
        raise GitHubError(422, f"No commit found for SHA: {ref}")
    return found


def history(cloud: Cloud, repository: Document, sha: str) -> Iterator[Document]:
    """A commit and those before it that are known, newest first."""
    base, seen, waiting = f"{key(repository['full_name'])}/commits", {sha}, [sha]
    found: list[Document] = []
    while waiting:
        document = cloud.store.get(f"{base}/{waiting.pop(0)}")
        if document is None:
            continue
        found.append(document)
        fresh = [one for one in document["parents"] if one not in seen]
        seen.update(fresh)
        waiting += fresh
    # Children come before their parents; among the others the time decides.
    order = {each["sha"]: place for place, each in enumerate(found)}
    yield from sorted(found, key=lambda each: (each["committer"]["date"], -order[each["sha"]]), reverse=True)


def ancestors(cloud: Cloud, repository: Document, sha: str) -> dict[str, Document]:
    """A commit and all before it, by id."""
    return {each["sha"]: each for each in history(cloud, repository, sha)}


def compare(cloud: Cloud, repository: Document, base: str, head: str) -> tuple[Document, Document, Document, list[Document], int]:
    """The two commits, the one they come from, the commits of head that base lacks (oldest first), and how many base has more.

    Raises GitHub's 404 for a ref that is none, and for two without a common history.
    """
    ends = [resolve(cloud, repository, ref) for ref in (base, head)]
    if None in ends:
        raise not_found()
    old, new = (ancestors(cloud, repository, str(sha)) for sha in ends)
    if not old or not new:
        raise not_found()
    common = [sha for sha in new if sha in old]
    if not common:
        raise GitHubError(404, f"No common ancestor between {base} and {head}.")
    ahead = [each for sha, each in new.items() if sha not in old]
    behind = sum(sha not in new for sha in old)
    return old[str(ends[0])], new[str(ends[1])], old[common[0]], ahead[::-1], behind


def shown_commit(cloud: Cloud, repository: Document, document: Document, files: bool = False) -> Document:
    """A commit as the commits API shows it, with its files where one is asked for alone."""
    name, sha = repository["full_name"], document["sha"]
    url = f"{API}/repos/{name}/commits/{sha}"
    people = {part: {what: document[part][what] for what in ("name", "email", "date")} for part in ("author", "committer")}
    shown: Document = {
        "sha": sha,
        "node_id": node_id("Commit", sha),
        "commit": {
            **people,
            "message": document["message"],
            "tree": {"sha": document["tree"], "url": f"{API}/repos/{name}/git/trees/{document['tree']}"},
            "url": f"{API}/repos/{name}/git/commits/{sha}",
            "comment_count": 0,
            "verification": {
                "verified": document["verified"],
                "reason": "valid" if document["verified"] else "unsigned",
                "signature": None,
                "payload": None,
                "verified_at": document["committer"]["date"] if document["verified"] else None,
            },
        },
        "url": url,
        "html_url": f"{WEB}/{name}/commit/{sha}",
        "comments_url": f"{url}/comments",
        "author": accounts.shown_user(cloud, document["author"]["login"]),
        "committer": accounts.shown_user(cloud, document["committer"]["login"]),
        "parents": [
            {"sha": one, "url": f"{API}/repos/{name}/commits/{one}", "html_url": f"{WEB}/{name}/commit/{one}"}
            for one in document["parents"]
        ],
    }
    if files:
        shown["files"] = [shown_file(repository, sha, each) for each in document["files"]]
        changed = [(each["additions"], each["deletions"]) for each in shown["files"]]
        more, less = sum(one for one, _ in changed), sum(one for _, one in changed)
        shown["stats"] = {"additions": more, "deletions": less, "total": more + less}
    return shown


def shown_file(repository: Document, sha: str, file: Any) -> Document:
    """A changed file; a seed may name it only."""
    given = file if isinstance(file, dict) else {"filename": str(file)}
    name, added, removed = given["filename"], int(given.get("additions", 0)), int(given.get("deletions", 0))
    return {
        "sha": given.get("sha", sha),
        "filename": name,
        "status": given.get("status", "modified"),
        "additions": added,
        "deletions": removed,
        "changes": added + removed,
        "blob_url": f"{WEB}/{repository['full_name']}/blob/{sha}/{name}",
        "raw_url": f"{WEB}/{repository['full_name']}/raw/{sha}/{name}",
        "contents_url": f"{API}/repos/{repository['full_name']}/contents/{name}?ref={sha}",
    }
