"""What a server is told of a project's repository when it is pushed: its branches and tags, and every commit that they lead to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

_FIELDS = ("%H", "%T", "%P", "%an", "%ae", "%ad", "%cn", "%ce", "%cd", "%B")
_COMMIT, _FIELD = "\x1e", "\x1f"


def head(folder: Path) -> str:
    """The commit that the folder is at."""
    return _git(folder, "rev-parse", "HEAD").strip()


def refs(folder: Path) -> dict[str, dict[str, str]]:
    """The commit of each branch and of each tag, by name: `{"branches": {...}, "tags": {...}}`."""
    found: dict[str, dict[str, str]] = {"branches": {}, "tags": {}}
    for line in _git(folder, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags").splitlines():
        commit, _, ref = line.partition(" ")
        kind, _, name = ref.removeprefix("refs/").partition("/")
        found["branches" if kind == "heads" else kind][name] = commit
    return found


def commits(folder: Path) -> list[dict[str, Any]]:
    """All commits, newest first, with times in UTC and the files that each changed."""
    log = _git(
        folder, "-c", "core.quotepath=false", "log", "--all", "--no-renames", "--numstat", "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
        f"--format={_COMMIT}{_FIELD.join(_FIELDS)}{_FIELD}",
    )  # fmt: skip
    return [_commit(*one.split(_FIELD)) for one in log.split(_COMMIT)[1:]]


def _commit(
    sha: str, tree: str, parents: str, name: str, email: str, date: str, by: str, by_email: str, by_date: str, message: str, changed: str
) -> dict[str, Any]:
    files = [line.split("\t", 2) for line in changed.splitlines() if line]
    return {
        "sha": sha,
        "tree": tree,
        "parents": parents.split(),
        "author": {"name": name, "email": email, "date": date},
        "committer": {"name": by, "email": by_email, "date": by_date},
        "message": message.strip(),
        "files": [
            {"filename": path, "additions": int(more), "deletions": int(less)}  # of a binary file git counts no lines
            for more, less, path in (("0" if one == "-" else one, "0" if two == "-" else two, path) for one, two, path in files)
        ],
    }


def _git(folder: Path, *words: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "TZ": "UTC"}
    return subprocess.run(["git", *words], cwd=folder, env=env, check=True, capture_output=True, text=True, encoding="utf-8").stdout
