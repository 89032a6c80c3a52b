"""Deployments and what became of them (https://docs.github.com/rest/deployments/deployments and .../statuses)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.github import accounts, repositories
from emulator.github.errors import GitHubError, invalid, not_found
from emulator.github.forms import API, next_number, node_id, stamp

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
STATES = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")


def key(repository: Document, id: int | str) -> str:
    return f"{repositories.key(repository['full_name'])}/deployments/{id}"


def get(cloud: Cloud, repository: Document, id: int | str) -> Document:
    """Raises GitHub's 404."""
    found = cloud.store.get(key(repository, id))
    if found is None:
        raise not_found()
    return found


def listed(cloud: Cloud, repository: Document, query: dict[str, str]) -> list[Document]:
    """Newest first; ``sha``, ``ref``, ``task`` and ``environment`` narrow them down."""
    found = cloud.store.list("github_deployment", under=repositories.key(repository["full_name"]))
    wanted = {name: query[name] for name in ("sha", "ref", "task", "environment") if query.get(name, "none") != "none"}
    return [each for each in found[::-1] if all(each[name] == value for name, value in wanted.items())]


def create(cloud: Cloud, repository: Document, body: Document, creator: str, sha: str | None = None) -> Document:
    """A deployment of a ref, which must be there unless its commit is given. Merging and required contexts are not played."""
    ref = body.get("ref")
    if not isinstance(ref, str) or not ref:
        raise invalid("ref", "Deployment", "missing_field")
    sha = sha or repositories.resolve(cloud, repository, ref)
    if sha is None:
        raise GitHubError(422, f"No ref found for: {ref}")
    made = {
        "id": next_number(cloud, "deployment", 2_000_000_001), "sha": sha, "ref": ref, "task": body.get("task", "deploy"),
        "payload": body.get("payload", {}), "environment": body.get("environment", "production"),
        "description": body.get("description"), "creator": creator, "created_at": stamp(cloud), "updated_at": stamp(cloud),
        "transient_environment": bool(body.get("transient_environment", False)),
        "production_environment": bool(body.get("production_environment", body.get("environment", "production") == "production")),
        "statuses": [],
    }  # fmt: skip
    return save(cloud, repository, made)


def save(cloud: Cloud, repository: Document, document: Document) -> Document:
    document["updated_at"] = stamp(cloud)
    return cloud.store.put(key(repository, document["id"]), "github_deployment", document)


def remove(cloud: Cloud, repository: Document, id: str) -> None:
    """An active one cannot be deleted while it is not the only one."""
    found = get(cloud, repository, id)
    active = found["statuses"] and found["statuses"][-1]["state"] not in ("inactive", "failure", "error")
    if active and len(listed(cloud, repository, {"environment": found["environment"]})) > 1:
        raise GitHubError(422, "We cannot delete an active deployment unless it is the only deployment in a given environment.")
    cloud.store.delete(key(repository, id))


def add_status(cloud: Cloud, repository: Document, deployment: Document, body: Document, creator: str) -> Document:
    """What became of a deployment. A success makes those before it in the environment inactive."""
    state = body.get("state")
    if state not in (*STATES, "waiting"):
        raise invalid("state", "DeploymentStatus", "missing_field" if state is None else "invalid")
    if len(body.get("description") or "") > 140:
        raise invalid("description", "DeploymentStatus", "custom", "description is too long (maximum is 140 characters)")
    log = body.get("log_url") or body.get("target_url") or ""
    made = {
        "id": next_number(cloud, "deployment_status", 4_000_000_001), "state": state, "creator": creator,
        "description": body.get("description") or "", "environment": body.get("environment") or deployment["environment"],
        "target_url": log, "log_url": log, "environment_url": body.get("environment_url") or "", "created_at": stamp(cloud),
    }  # fmt: skip
    with cloud.store.transaction():
        deployment["statuses"].append(made)
        save(cloud, repository, deployment)
        if state == "success" and body.get("auto_inactive", True):
            for other in listed(cloud, repository, {"environment": deployment["environment"]}):
                if other["id"] != deployment["id"] and other["statuses"] and other["statuses"][-1]["state"] == "success":
                    add_status(cloud, repository, other, {"state": "inactive"}, creator)
    return made


def shown(cloud: Cloud, repository: Document, document: Document) -> Document:
    base = f"{API}/repos/{repository['full_name']}"
    url = f"{base}/deployments/{document['id']}"
    return {
        "url": url,
        "id": document["id"],
        "node_id": node_id("Deployment", document["id"]),
        **{name: document[name] for name in ("sha", "ref", "task", "payload")},
        "original_environment": document["environment"],
        "environment": document["environment"],
        "description": document["description"],
        "creator": accounts.shown_user(cloud, document["creator"]),
        "created_at": document["created_at"],
        "updated_at": document["updated_at"],
        "statuses_url": f"{url}/statuses",
        "repository_url": base,
        "transient_environment": document["transient_environment"],
        "production_environment": document["production_environment"],
        "performed_via_github_app": None,
    }


def shown_status(cloud: Cloud, repository: Document, deployment: Document, status: Document) -> Document:
    base = f"{API}/repos/{repository['full_name']}"
    url = f"{base}/deployments/{deployment['id']}"
    return {
        "url": f"{url}/statuses/{status['id']}",
        "id": status["id"],
        "node_id": node_id("DeploymentStatus", status["id"]),
        "state": status["state"],
        "creator": accounts.shown_user(cloud, status["creator"]),
        **{name: status[name] for name in ("description", "environment", "target_url", "log_url", "environment_url", "created_at")},
        "updated_at": status["created_at"],
        "deployment_url": url,
        "repository_url": base,
        "performed_via_github_app": None,
    }
