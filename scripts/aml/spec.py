"""The project's own specs: read, checked against their schemas, every problem with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def release(project: Path) -> dict[str, Any]:
    """`.cloud/release.yml`, checked, with defaults filled in. Raises Refusal naming everything that is wrong."""
    raise NotImplementedError


def smoke(project: Path, path: str) -> list[dict[str, Any]]:
    """The cases of a smoke file, checked; `request_file` is read into `request`. Raises Refusal."""
    raise NotImplementedError
