"""Issues, pull requests, their comments and reviews, as far as a release leaves its marks there.

Sources: https://docs.github.com/rest/issues/issues, https://docs.github.com/rest/issues/comments,
https://docs.github.com/rest/pulls/pulls and https://docs.github.com/rest/pulls/reviews. Every pull request is an issue too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.github import accounts, repositories
from emulator.github.errors import GitHubError, invalid, not_found
from emulator.github.forms import API, WEB, next_number, node_id, number, stamp

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
EVENTS = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}


def _base(repository: Document) -> str:
    return repositories.key(repository["full_name"])


def get(cloud: Cloud, repository: Document, id: str, pull: bool = False) -> Document:
    """By number; ``pull`` takes pull requests only. Raises GitHub's 404."""
    found = cloud.store.get(f"{_base(repository)}/issues/{id}")
    if found is None or (pull and not found["pull"]):
        raise not_found()
    return found


def listed(cloud: Cloud, repository: Document, query: dict[str, str], pulls: bool = False) -> list[Document]:
    """Newest first, open ones unless ``state`` says otherwise; ``creator``, ``labels`` and ``head``/``base`` narrow them down."""
    found = [each for each in cloud.store.list("github_issue", under=f"{_base(repository)}/issues")[::-1] if each["pull"] or not pulls]
    if (state := query.get("state", "open")) != "all":
        found = [each for each in found if each["state"] == state]
    if query.get("creator"):
        found = [each for each in found if each["user"].lower() == query["creator"].lower()]
    for label in [label for label in query.get("labels", "").split(",") if label]:
        found = [each for each in found if label.lower() in map(str.lower, each["labels"])]
    if pulls and query.get("base"):
        found = [each for each in found if each["pull"]["base"] == query["base"]]
    if pulls and query.get("head"):
        found = [each for each in found if query["head"].split(":")[-1] == each["pull"]["head"]]
    return found[::-1] if query.get("direction") == "asc" else found


def create(cloud: Cloud, repository: Document, body: Document, login: str, pushes: bool, pull: Document | None = None) -> Document:
    """A new issue. Labels and assignees of one who cannot push are dropped in silence, as GitHub drops them."""
    if not repository["has_issues"] and pull is None:
        raise GitHubError(410, "Issues has been disabled in this repository.")
    if not body.get("title"):
        raise invalid("title", "Issue", "missing_field")
    made = {
        "number": next_number(cloud, f"issue/{repository['full_name']}"), "id": next_number(cloud, "issue", 900_000_001),
        "title": str(body["title"]), "body": body.get("body"), "user": login, "state": "open", "state_reason": None, "pull": pull,
        "labels": _labels(body) if pushes else [], "assignees": list(body.get("assignees") or ()) if pushes else [],
        "locked": False, "closed_at": None, "closed_by": None, "created_at": stamp(cloud), "updated_at": stamp(cloud),
    }  # fmt: skip
    return _save(cloud, repository, made)


def _labels(body: Document) -> list[str]:
    return [str(each["name"] if isinstance(each, dict) else each) for each in body.get("labels") or ()]


def _save(cloud: Cloud, repository: Document, issue: Document) -> Document:
    issue["updated_at"] = stamp(cloud)
    return cloud.store.put(f"{_base(repository)}/issues/{issue['number']}", "github_issue", issue)


def change(cloud: Cloud, repository: Document, issue: Document, body: Document, login: str) -> Document:
    state = body.get("state", issue["state"])
    if state not in ("open", "closed"):
        raise invalid("state", "Issue")
    reason = body.get("state_reason", ("completed" if state == "closed" else "reopened") if state != issue["state"] else None)
    if reason not in (None, "completed", "not_planned", "duplicate", "reopened"):
        raise invalid("state_reason", "Issue")
    if state != issue["state"]:
        closed = state == "closed"
        issue |= {"closed_at": stamp(cloud) if closed else None, "closed_by": login if closed else None}
    issue |= {"state": state, "state_reason": reason or issue["state_reason"]}
    issue |= {name: body[name] for name in ("title", "body", "assignees") if name in body}
    if "labels" in body:
        issue["labels"] = _labels(body)
    return _save(cloud, repository, issue)


def create_pull(cloud: Cloud, repository: Document, body: Document, login: str) -> Document:
    """A pull request of one branch into another."""
    for name in ("head", "base"):
        if not body.get(name):
            raise invalid(name, "PullRequest", "missing_field")
        if str(body[name]).split(":")[-1] not in repository["branches"]:
            raise invalid(name, "PullRequest")
    head, base = str(body["head"]).split(":")[-1], str(body["base"])
    if repository["branches"][head] == repository["branches"][base]:
        raise invalid("", "PullRequest", "custom", f"No commits between {base} and {head}")
    pull = {"head": head, "base": base, "merged_at": None, "merge_commit_sha": None, "merged_by": None, "draft": bool(body.get("draft"))}
    return create(cloud, repository, body, login, False, pull)


def merged(cloud: Cloud, repository: Document, issue: Document, sha: str, login: str) -> Document:
    """A pull request was merged as a commit."""
    issue["pull"] |= {"merged_at": stamp(cloud), "merge_commit_sha": sha, "merged_by": login}
    issue |= {"state": "closed", "closed_at": stamp(cloud), "closed_by": login}
    return _save(cloud, repository, issue)


def pulls_of(cloud: Cloud, repository: Document, sha: str) -> list[Document]:
    """The pull requests that a commit came by: as their merge commit, or as one of those that they bring."""
    found = []
    for each in cloud.store.list("github_issue", under=f"{_base(repository)}/issues"):
        if each["pull"] and (each["pull"]["merge_commit_sha"] == sha or sha in [one["sha"] for one in commits_of(cloud, repository, each)]):
            found.append(each)
    return found


def commits_of(cloud: Cloud, repository: Document, issue: Document) -> list[Document]:
    """The commits of a pull request, oldest first."""
    pull = issue["pull"]
    if pull["head"] not in repository["branches"] or pull["base"] not in repository["branches"] or pull["merged_at"]:
        return []
    return repositories.compare(cloud, repository, pull["base"], pull["head"])[3]


# --- comments and reviews --------------------------------------------------------------------------------------------------------


def comments(cloud: Cloud, repository: Document, issue: Document | None = None) -> list[Document]:
    found = cloud.store.list("github_comment", under=f"{_base(repository)}/comments")
    return [each for each in found if issue is None or each["issue"] == issue["number"]]


def comment(cloud: Cloud, repository: Document, id: str) -> Document:
    """Raises GitHub's 404."""
    found = cloud.store.get(f"{_base(repository)}/comments/{id}")
    if found is None:
        raise not_found()
    return found


def add_comment(cloud: Cloud, repository: Document, issue: Document, body: Document, login: str) -> Document:
    made = {"id": next_number(cloud, "comment", 1_900_000_001), "issue": issue["number"], "user": login, "created_at": stamp(cloud)}
    return change_comment(cloud, repository, made, body)


def change_comment(cloud: Cloud, repository: Document, document: Document, body: Document) -> Document:
    if not isinstance(body.get("body"), str) or not body["body"]:
        raise invalid("body", "IssueComment", "missing_field")
    if len(body["body"]) > 65_536:
        raise invalid("body", "IssueComment", "custom", "body is too long (maximum is 65536 characters)")
    document |= {"body": body["body"], "updated_at": stamp(cloud)}
    return cloud.store.put(f"{_base(repository)}/comments/{document['id']}", "github_comment", document)


def remove_comment(cloud: Cloud, repository: Document, document: Document) -> None:
    cloud.store.delete(f"{_base(repository)}/comments/{document['id']}")


def reviews(cloud: Cloud, repository: Document, issue: Document) -> list[Document]:
    found = cloud.store.list("github_review", under=f"{_base(repository)}/reviews")
    return [each for each in found if each["pull"] == issue["number"]]


def add_review(cloud: Cloud, repository: Document, issue: Document, body: Document, login: str) -> Document:
    """A review that is submitted at once. Nobody approves their own pull request."""
    event = body.get("event", "COMMENT")
    if event not in EVENTS:
        raise invalid("event", "PullRequestReview")
    if event != "COMMENT" and login.lower() == issue["user"].lower():
        what = "approve" if event == "APPROVE" else "request changes on"
        raise GitHubError(422, "Unprocessable Entity", [f"Can not {what} your own pull request"])
    if event != "APPROVE" and not body.get("body"):
        raise GitHubError(422, "Unprocessable Entity", ["Body can't be blank"])
    made = {
        "id": next_number(cloud, "review", 2_100_000_001), "pull": issue["number"], "user": login, "body": body.get("body") or "",
        "state": EVENTS[event], "submitted_at": stamp(cloud),
        "commit_id": body.get("commit_id") or repository["branches"].get(issue["pull"]["head"]),
    }  # fmt: skip
    return cloud.store.put(f"{_base(repository)}/reviews/{made['id']}", "github_review", made)


# --- as GitHub shows them --------------------------------------------------------------------------------------------------------


def shown(cloud: Cloud, repository: Document, issue: Document) -> Document:
    base, id = f"{API}/repos/{repository['full_name']}", issue["number"]
    kind = "pull" if issue["pull"] else "issues"
    full: Document = {
        "url": f"{base}/issues/{id}",
        "repository_url": base,
        "labels_url": f"{base}/issues/{id}/labels{{/name}}",
        "comments_url": f"{base}/issues/{id}/comments",
        "events_url": f"{base}/issues/{id}/events",
        "html_url": f"{WEB}/{repository['full_name']}/{kind}/{id}",
        "id": issue["id"],
        "node_id": node_id("Issue", issue["id"]),
        "number": id,
        "title": issue["title"],
        "user": accounts.shown_user(cloud, issue["user"]),
        "labels": [_label(base, name) for name in issue["labels"]],
        "state": issue["state"],
        "locked": issue["locked"],
        "assignee": accounts.shown_user(cloud, issue["assignees"][0]) if issue["assignees"] else None,
        "assignees": [one for login in issue["assignees"] if (one := accounts.shown_user(cloud, login))],
        "milestone": None,
        "comments": len(comments(cloud, repository, issue)),
        "created_at": issue["created_at"],
        "updated_at": issue["updated_at"],
        "closed_at": issue["closed_at"],
        "closed_by": accounts.shown_user(cloud, issue["closed_by"]),
        "author_association": repositories.association(cloud, repository, issue["user"]),
        "active_lock_reason": None,
        "body": issue["body"],
        "state_reason": issue["state_reason"],
    }
    if issue["pull"]:
        full["pull_request"] = {
            "url": f"{base}/pulls/{id}",
            "html_url": f"{WEB}/{repository['full_name']}/pull/{id}",
            "merged_at": issue["pull"]["merged_at"],
        }
    return full


def _label(base: str, name: str) -> Document:
    id = number(f"{base} {name}")
    return {
        "id": id, "node_id": node_id("Label", id), "url": f"{base}/labels/{name}", "name": name, "color": "ededed", "default": False,
        "description": None,
    }  # fmt: skip


def shown_pull(cloud: Cloud, repository: Document, issue: Document) -> Document:
    pull, full = issue["pull"], shown(cloud, repository, issue)
    url = f"{API}/repos/{repository['full_name']}/pulls/{issue['number']}"
    return {
        **{name: value for name, value in full.items() if name not in ("pull_request", "state_reason", "closed_by", "repository_url")},
        "url": url,
        "issue_url": full["url"],
        "diff_url": f"{full['html_url']}.diff",
        "commits_url": f"{url}/commits",
        "review_comments_url": f"{url}/comments",
        "merged_at": pull["merged_at"],
        "merged": pull["merged_at"] is not None,
        "merged_by": accounts.shown_user(cloud, pull["merged_by"]),
        "merge_commit_sha": pull["merge_commit_sha"],
        "draft": pull["draft"],
        "head": _end(cloud, repository, pull["head"]),
        "base": _end(cloud, repository, pull["base"]),
        "requested_reviewers": [],
        "requested_teams": [],
        "commits": len(commits_of(cloud, repository, issue)),
    }


def _end(cloud: Cloud, repository: Document, branch: str) -> Document:
    return {
        "label": f"{repository['owner']}:{branch}",
        "ref": branch,
        "sha": repository["branches"].get(branch),
        "user": repositories.owner(cloud, repository),
        "repo": repositories.short(cloud, repository),
    }


def shown_comment(cloud: Cloud, repository: Document, document: Document) -> Document:
    base = f"{API}/repos/{repository['full_name']}"
    return {
        "url": f"{base}/issues/comments/{document['id']}",
        "html_url": f"{WEB}/{repository['full_name']}/issues/{document['issue']}#issuecomment-{document['id']}",
        "issue_url": f"{base}/issues/{document['issue']}",
        "id": document["id"],
        "node_id": node_id("IssueComment", document["id"]),
        "user": accounts.shown_user(cloud, document["user"]),
        "created_at": document["created_at"],
        "updated_at": document["updated_at"],
        "author_association": repositories.association(cloud, repository, document["user"]),
        "body": document["body"],
        "performed_via_github_app": None,
    }


def shown_review(cloud: Cloud, repository: Document, document: Document) -> Document:
    base = f"{API}/repos/{repository['full_name']}/pulls/{document['pull']}"
    return {
        "id": document["id"],
        "node_id": node_id("PullRequestReview", document["id"]),
        "user": accounts.shown_user(cloud, document["user"]),
        **{name: document[name] for name in ("body", "state", "submitted_at", "commit_id")},
        "html_url": f"{WEB}/{repository['full_name']}/pull/{document['pull']}#pullrequestreview-{document['id']}",
        "pull_request_url": base,
        "author_association": repositories.association(cloud, repository, document["user"]),
    }
