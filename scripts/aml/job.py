"""A job that has made a model: found by its name, finished, and known by what it was made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aml.azure import Client
from aml.command import Refusal

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")


def completed(client: Client, name: str) -> dict[str, Any]:
    """The job as Azure shows it. Raises Refusal when there is none of this name, or it has not completed."""
    found = client.find(f"jobs/{name}") if _NAME.fullmatch(name) else None
    if found is None:
        raise Refusal(f"there is no job {name!r}", "it was deleted, or is in another workspace", "submit it again with submit_job")
    if (status := found["properties"]["status"]) != "Completed":
        why = "only a completed job has a model, and figures that count"
        raise Refusal(f"job {name} is {status}", why, "wait for it with wait_job, or submit it again with submit_job")
    return found


def marks(job: Mapping[str, Any]) -> dict[str, str]:
    """Its tags and properties in one: what submit_job and Azure wrote on it."""
    return {**(job["properties"].get("tags") or {}), **(job["properties"].get("properties") or {})}


def content_key(job: Mapping[str, Any], name: str) -> str:
    """The digest of what it was made of. Raises Refusal when submit_job did not submit it."""
    if not (key := marks(job).get("content_key")):
        raise Refusal(f"job {name} has no content_key", "nothing says what it was made of", "submit it with submit_job")
    return key


def commit(job: Mapping[str, Any]) -> str:
    """The commit that it was submitted from, '' if unknown."""
    found = marks(job)
    return found.get("commit") or found.get("azureml.git.commit") or ""
