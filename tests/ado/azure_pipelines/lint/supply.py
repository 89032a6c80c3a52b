"""Rules about what a pipeline is made of: repositories, templates, checkouts, tasks, containers, artifacts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from azure_pipelines.nodes import Mapping, Place, Sequence, Text
from azure_pipelines.schema import deprecated

from .subject import MACRO, Source, Subject

Found = Iterator[tuple[Place, str]]

_FILE = re.compile(r"(?:^|[\s\"'=])((?:\./)?(?:[\w.\-]+/)*[\w.\-]+\.(?:py|sh|ps1|bash|js|rb|R))\b")


def unpinned_repository(source: Source) -> Found:
    """A repository resource at a branch."""
    for item in _resources(source, "repositories"):
        alias, ref = item.under("repository"), item.under("ref")
        if not isinstance(alias, Text):
            continue
        if not isinstance(ref, Text) or not ref:
            yield alias.at, f"'{alias}' is at its main branch, so whoever pushes there changes this pipeline: give ref: refs/tags/..."
        elif not ref.startswith("refs/tags/") and not re.fullmatch(r"[0-9a-f]{40}", ref):
            yield ref.at, f"'{alias}' is at the branch {ref}, so whoever pushes there changes this pipeline: give ref: refs/tags/..."


def unpinned_container(source: Source) -> Found:
    """A container image without a version."""
    for item in _resources(source, "containers"):
        image = item.under("image")
        if isinstance(image, Text) and "${{" not in image and "@sha256:" not in image:
            tag = image.rpartition("/")[2].partition(":")[2]
            if tag in ("", "latest"):
                yield image.at, f"{image} is whatever was pushed last: give a version, better a digest"


def _resources(source: Source, kind: str) -> list[Mapping]:
    resources = source.node.under("resources") if isinstance(source.node, Mapping) else None
    found = resources.under(kind) if isinstance(resources, Mapping) else None
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, Sequence) else []


def checkout_without_path(subject: Subject) -> Found:
    """One of several checkouts without a path."""
    for _, job in subject.jobs:
        for steps in [hook.steps for hook in job.hooks.values()] or [job.steps]:
            checkouts = [step for step in steps if step.kind == "checkout" and step.input("checkout") != "none"]
            for step in checkouts if len(checkouts) > 1 else ():
                if not step.input("path"):
                    message = "beside a second checkout this one moves from s to s/<repository>, and every path with it: give path:"
                    yield step.at, f"checkout: {step.input('checkout')}: {message}"


def persisted_credentials(subject: Subject) -> Found:
    """persistCredentials: true."""
    for _, _, step in subject.steps:
        if step.kind == "checkout" and step.input("persistCredentials").lower() == "true":
            yield step.at, "the token stays in .git/config, where every later step and every artifact of the folder has it"


def script_without_checkout(subject: Subject) -> Found:
    """A template's step that runs a file of the template's own repository, which nobody checked out."""
    for _, job, step in subject.steps:
        alias = step.at.file.partition("@")[2]
        folder, own = subject.folders.get(alias), subject.folders.get("self")
        if not alias or folder is None or any(one.kind == "checkout" and one.input("checkout") == alias for one in job.all_steps()):
            continue
        for key, text in step.inputs.items():
            if key.lower() not in ("script", "inlinescript", "filepath", "scriptpath", "arguments"):
                continue
            for found in _FILE.finditer(text):
                name = found[1].removeprefix("./")
                if _there(folder, name) and not (own is not None and _there(own, name)):
                    yield subject.find(text, found[1]), f"{name} is in the repository '{alias}', which this job does not check out"


def _there(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def task_without_version(subject: Subject) -> Found:
    """`task: AzureCLI`."""
    for _, _, step in subject.steps:
        if step.kind == "task" and not re.search(r"@\d+", step.task):
            yield (
                step.task.at,
                f"{step.task}: without a version it is the newest one, whatever that breaks: write {step.task.partition('@')[0]}@<major>",
            )


def deprecated_task(subject: Subject) -> Found:
    """A task that the schema calls deprecated."""
    for _, _, step in subject.steps:
        if step.kind == "task" and deprecated(step.task):
            yield step.task.at, f"{step.task} is deprecated and will be removed; use its newest major version"


def artifact_twice(subject: Subject) -> Found:
    """Two steps that publish one name: the second fails."""
    seen: dict[str, tuple[str, str]] = {}
    for stage, job, step in subject.steps:
        name = _published(step.task, step.input("artifact") or step.input("artifactName"))
        # Build artifacts of one name are put together; pipeline artifacts are not.
        if not name or step.task.lower().startswith("publishbuild"):
            continue
        where = f"{stage.name}.{job.name}"
        legs = job.kind == "job" and job.strategy in ("matrix", "parallel")
        if name.lower() in seen:
            yield step.at, f"the artifact '{name}' is published in {seen[name.lower()][0]} already; a name can be used once in a run"
        elif legs and not MACRO.search(name):
            yield step.at, f"each leg of '{job.name}' publishes '{name}', and only the first can: put $(System.JobName) into the name"
        seen.setdefault(name.lower(), (where, name))


def artifact_once_a_run(subject: Subject) -> Found:
    """A fixed name: a job that is run again can't publish it."""
    for _, _, step in subject.steps:
        name = _published(step.task, step.input("artifact") or step.input("artifactName"))
        if (
            name
            and not re.search(r"\$\(System\.(Job|Stage)Attempt\)", name, re.I)
            and step.condition is not None
            and "always" in step.condition.lower()
        ):
            message = "after a failure it is there already, so running the job again fails here: put $(System.JobAttempt) into the name"
            yield step.at, f"the artifact '{name}' is published whatever happens; {message}"


def unknown_artifact(subject: Subject) -> Found:
    """A download of a name that nothing in the pipeline publishes."""
    names = {_published(step.task, step.input("artifact") or step.input("artifactName")).lower() for _, _, step in subject.steps}
    # A name with a variable may be the one, and so may an artifact of a logging command.
    if not subject.whole or any("$" in name for name in names) or _uploads(subject):
        return
    for _, _, step in subject.steps:
        wanted = step.input("artifact") or step.input("artifactName")
        here = (step.input("source") or step.input("buildType") or "current").lower() == "current"
        if (
            step.task.lower().startswith("downloadpipelineartifact@")
            and here
            and wanted
            and "$" not in wanted
            and wanted.lower() not in names
        ):
            yield step.at, f"no step publishes the artifact '{wanted}'"


def _uploads(subject: Subject) -> bool:
    return any("##vso[artifact.upload" in script.text for script in subject.scripts)


def _published(task: str, name: str) -> str:
    return name if task.lower().startswith(("publishpipelineartifact@", "publishbuildartifacts@")) else ""
