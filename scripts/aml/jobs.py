"""The training job of a project: its content, and the Azure ML job that has it or has completed.

A job's content key is a digest over everything that makes the result: the job as Azure ML would get it, the files of its code, the
versions and digests of the data and environments it uses, and its parameters. The job is named after the key, so that the same content is
found again with one read, also after a run that was killed at any moment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aml import digest
from aml.azure import Client
from aml.command import Refusal
from aml.project import Asset, Use, asset, content_of, reference, resolved, sound
from aml.yaml import Document

# Source: azure/ai/ml/operations/_run_history_constants.py and "JobStatus" of the REST API. A status that is not listed is waited for.
ENDED = {"Completed", "Failed", "Canceled"}
LOST = {"Failed", "Canceled", "CancelRequested"}  # has no result and will have none

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")


@dataclass(frozen=True)
class Job:
    """The training job as it would be submitted."""

    document: Document
    content: dict[str, Any]
    key: str
    data: list[str]

    def name(self, model: str, attempt: int) -> str:
        """Its name at the n-th attempt."""
        return f"{model}-{self.key.removeprefix('sha256:')[:10]}{f'-{attempt}' if attempt > 1 else ''}"


def describe(project: Path, train: Mapping[str, Any], client: Client) -> Job:
    """The job of a release spec's `train` part, with every asset pinned to a version.

    What the project describes itself is pinned to the version that it has or gets; a label on what others keep (`@latest`) to the version
    that the workspace now has under it. Raises Refusal.
    """
    document = sound(project / train["job"])
    described = [("data", path) for path in train["data"]] + [("environment", path) for path in train["environments"]]
    own = {(made.kind, made.name): made for made in (asset(project / path, kind) for kind, path in described)}
    pins: dict[tuple[str, str], str] = {}
    used: set[str] = set()

    def pin(use: Use) -> str:
        parts = reference(use.value) if use.what in ("data", "environment") else None
        if parts is None:
            return use.value
        if (use.what, use.value) not in pins:
            pins[use.what, use.value] = _pinned(use, parts, own, client)
        return pins[use.what, use.value]

    def submitted(use: Use) -> str:
        return str(use.file.resolve()) if use.file else pin(use)

    def hashed(use: Use) -> str:
        if use.file:
            return content_of(use)
        value = pin(use)
        made = next((each for (kind, _), each in own.items() if kind == use.what and f"azureml:{each.reference}" == value), None)
        if use.what == "data" and value.startswith("azureml:"):
            used.add(value.removeprefix("azureml:"))
        return f"{value} {made.digest}" if made else value

    content = _with_parameters(resolved(document, submitted), train["parameters"])
    key = digest.of_document(_with_parameters(resolved(document, hashed), train["parameters"]))
    return Job(document, content, key, sorted(used))


def _pinned(use: Use, parts: tuple[str, str, str], own: Mapping[tuple[str, str], Asset], client: Client) -> str:
    name, version, label = parts
    made = own.get((use.what, name))
    if made and (not version or version == made.version):
        return f"azureml:{made.reference}"
    if version:
        return use.value
    collection = {"data": "data", "environment": "environments"}[use.what]
    container = client.find(f"{collection}/{name}") if label in ("", "latest") else None
    latest = container["properties"].get("latestVersion") if container else None
    if not latest:
        where = f"{use.document.file}:{use.document.place(use.steps)[0]}"
        fix = f"name a version that is there, or describe the {use.what} in the project"
        raise Refusal(f"{where} uses {use.value}, which the workspace does not have", fix=fix)
    return f"azureml:{name}:{latest}"


def _with_parameters(content: dict[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    if parameters:
        inputs = content.setdefault("inputs", {})
        for name, value in parameters.items():
            declared = inputs.get(name)
            inputs[name] = {**declared, "value": value} if isinstance(declared, dict) and "value" in declared else value
    return content


def attempts(client: Client, job: Job, model: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The jobs that have this content, oldest first, as (name, resource)."""
    attempt = 1
    while found := client.find(f"jobs/{job.name(model, attempt)}"):
        yield job.name(model, attempt), found
        attempt += 1


def usable(found: Iterable[tuple[str, dict[str, Any]]], *, retrain: bool, people: bool = False) -> tuple[str, dict[str, Any]] | None:
    """Of a content's attempts, oldest first, the newest that completed or may still; with `retrain` only one that may still.

    The newest, because an older one is what somebody wanted trained again. A person's counts only with `people`: a name is no proof of
    content, and only the principal's jobs are submitted by submit_job alone.
    """
    for name, resource in reversed(list(found)):
        if not people and (resource.get("systemData") or {}).get("createdByType") == "User":
            continue
        if status(resource) not in LOST and not (retrain and status(resource) == "Completed"):
            return name, resource
    return None


def status(resource: Mapping[str, Any]) -> str:
    """A job's status; 'Unknown' where Azure says none."""
    return str(resource["properties"].get("status") or "Unknown")


def completed(client: Client, name: str) -> dict[str, Any]:
    """The job as Azure shows it. Raises Refusal when there is none of this name, or it has not completed."""
    found = client.find(f"jobs/{name}") if _NAME.fullmatch(name) else None
    if found is None:
        raise Refusal(f"there is no job {name!r}", "it was deleted, or is in another workspace", "submit it again with submit_job")
    if (now := status(found)) != "Completed":
        why = "only a completed job has a model, and figures that count"
        raise Refusal(f"job {name} is {now}", why, "wait for it with wait_job, or submit it again with submit_job")
    return found


def marks(job: Mapping[str, Any]) -> dict[str, str]:
    """Its tags and properties in one: what submit_job and Azure wrote on it."""
    return {**(job["properties"].get("tags") or {}), **(job["properties"].get("properties") or {})}


def content_key(job: Mapping[str, Any], name: str) -> str:
    """The digest of what it was made of. Raises Refusal when submit_job did not submit it."""
    if not (key := marks(job).get("content_key")):
        raise Refusal(f"job {name} has no content_key", "nothing says what it was made of", "submit it with submit_job")
    return key


def submitter(job: Mapping[str, Any]) -> str:
    """Who submitted it: a person, whom Azure names, or who started the run of the principal that did; '' if nobody says."""
    created = job.get("systemData") or {}
    by = str(created.get("createdBy") or "")
    return by if created.get("createdByType") == "User" else marks(job).get("started_by") or by  # a person can mark a job as they like


def commit(job: Mapping[str, Any]) -> str:
    """The commit that it was submitted from, '' if unknown."""
    found = marks(job)
    return found.get("commit") or found.get("mlflow.source.git.commit") or ""
