"""Which jobs MLflow has yet to hear of. Jobs are written to MLflow when somebody next asks it, so that starting a job needs no MLflow."""

from __future__ import annotations

_pending: dict[str, set[str]] = {}


def mark(workspace_id: str, job: str) -> None:
    """A job of the workspace is new or has changed."""
    _pending.setdefault(workspace_id.lower(), set()).add(job)


def take(workspace_id: str) -> set[str]:
    """The jobs that changed since the last time."""
    return _pending.pop(workspace_id.lower(), set())
