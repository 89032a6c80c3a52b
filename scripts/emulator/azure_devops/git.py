"""Repositories: branches, tags, commits, and where two commits come from.

Sources: learn.microsoft.com/rest/api/azure/devops/git: refs/list (``filter`` is what the name begins with), commits/get and
merge-bases/list. Names of the errors and their status are those of the service's own types; of their sentences only the first, which
users quote, is the service's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from emulator.azure_devops import exceptions, models
from emulator.azure_devops.models import Document, Project
from emulator.errors import AzureError

if TYPE_CHECKING:
    from emulator.core import Cloud

_SHA = re.compile(r"[0-9a-f]{40}")


def push(
    cloud: Cloud,
    project: Project,
    repository: str,
    commits: Sequence[Mapping[str, Any]],
    branches: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Document:
    """Make a repository, its refs and commits (``sha``, ``tree``, ``parents``, ``author``, ``committer``, ``message``) known."""
    id = models.identifier(project.id, "repository", repository)
    refs = {f"refs/heads/{name}": sha for name, sha in (branches or {}).items()}
    refs |= {f"refs/tags/{name}": sha for name, sha in (tags or {}).items()}
    for one in commits:
        if not _SHA.fullmatch(str(one["sha"])):
            raise AzureError(400, "BadRequest", f"'{one['sha']}' is not the id of a commit: 40 hexadecimal digits.")
        cloud.store.put(f"{project.path}/git/{id}/commits/{one['sha']}", "azure_devops_commit", dict(one))
    return cloud.store.put(f"{project.path}/git/{id}", "azure_devops_repository", {"id": id, "name": repository, "refs": refs})


def need(cloud: Cloud, project: Project, repository: str) -> Document:
    """A repository, by name or id. Raises 404."""
    id = repository.lower() if models.is_guid(repository) else models.identifier(project.id, "repository", repository)
    found = cloud.store.get(f"{project.path}/git/{id}")
    if found is None:
        raise exceptions.no_repository(repository)
    return found


def commit(cloud: Cloud, project: Project, repository: Document, id: str) -> Document:
    """A commit, by its whole id. Raises 404."""
    found = cloud.store.get(f"{project.path}/git/{repository['id']}/commits/{id.lower()}") if _SHA.fullmatch(id.lower()) else None
    if found is None:
        raise exceptions.no_commit(id)
    return found


def refs(project: Project, repository: Document, beginning: str) -> list[Document]:
    """Branches and tags whose names, without ``refs/``, begin with a text, by name."""
    return [
        {
            "name": name,
            "objectId": sha,
            "creator": models.identity(f"{project.name} Build Service ({project.organization})"),
            "url": f"{_url(project, repository)}/refs?filter={quote(name.removeprefix('refs/'), safe='')}",
        }
        for name, sha in sorted(repository["refs"].items())
        if name.removeprefix("refs/").startswith(beginning)
    ]


def merge_bases(cloud: Cloud, project: Project, repository: Document, one: str, other: str) -> list[Document]:
    """The commits that both come from, without those that such a commit comes from itself. Raises 404."""
    mine, theirs = (_ancestors(cloud, project, repository, commit(cloud, project, repository, sha)["sha"]) for sha in (one, other))
    common = [sha for sha in mine if sha in theirs]
    before = {older for sha in common for older in _ancestors(cloud, project, repository, sha)[1:]}
    return [{"commitId": sha, "url": f"{_url(project, repository)}/commits/{sha}"} for sha in common if sha not in before]


def _ancestors(cloud: Cloud, project: Project, repository: Document, sha: str) -> list[str]:
    """A commit, and then all before it that are known."""
    found: list[str] = []
    waiting = [sha]
    while waiting:
        id = waiting.pop(0)
        document = cloud.store.get(f"{project.path}/git/{repository['id']}/commits/{id}") if id not in found else None
        if document is not None:
            found.append(id)
            waiting += document["parents"]
    return found


def shown(project: Project, repository: Document, found: Document) -> Document:
    """A commit as the REST API writes it; its authors are names and addresses, as git has them."""
    people = {part: {name: found[part][name] for name in ("name", "email", "date")} for part in ("author", "committer")}
    url = f"{_url(project, repository)}/commits/{found['sha']}"
    page = (
        f"https://{models.HOST}/{quote(project.organization)}/{quote(project.name)}/_git/{quote(repository['name'])}/commit/{found['sha']}"
    )
    return {
        "treeId": found["tree"],
        "commitId": found["sha"],
        **people,
        "comment": found["message"],
        "parents": list(found["parents"]),
        "url": url,
        "remoteUrl": page,
        "_links": {"self": {"href": url}, "repository": {"href": _url(project, repository)}, "web": {"href": page}},
    }


def _url(project: Project, repository: Document) -> str:
    return f"{project.url}/_apis/git/repositories/{repository['id']}"
