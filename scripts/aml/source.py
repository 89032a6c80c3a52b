"""Where a project's files come from: repository, branch and commit, as git tells them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from aml import ci


def properties(project: Path) -> dict[str, str]:
    """What Azure ML shows of a job's source, under the names that its SDK uses; empty where there is no git.

    The SDK looks in the working folder instead of the project, and keeps nothing if the remote's address carries a token.
    Source: azure/ai/ml/constants/_common.py, GitProperties
    """
    at = commit(project)
    if not at:
        return {}
    # a CI system checks out a commit, not a branch
    branch = _git(project, "symbolic-ref", "--short", "-q", "HEAD") or ci.branch()
    found = {
        "mlflow.source.git.repoURL": without_token(_git(project, "config", "--get", "remote.origin.url")),
        "mlflow.source.git.branch": branch,
        "mlflow.source.git.commit": at,
        "azureml.git.dirty": str(bool(_git(project, "status", "--porcelain", "."))),
        "commit": at,
    }
    return {name: value for name, value in found.items() if value}


def commit(folder: Path) -> str:
    """The commit that a folder is checked out at; '' where there is no git."""
    return _git(folder, "rev-parse", "HEAD")


def without_token(url: str) -> str:
    """A remote's address without the user and the token that may stand before its host."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.scheme in ("http", "https") else url


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, errors="replace", timeout=60, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
