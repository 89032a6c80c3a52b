"""Rules about stages, jobs and steps: failures that go on, conditions, limits, environments, who may deploy."""

from __future__ import annotations

import re
from collections.abc import Iterator

from azure_pipelines.model import DEFAULT_JOB, Job, Step
from azure_pipelines.nodes import Mapping, Place, Text

from .subject import Source, Subject, server

Found = Iterator[tuple[Place, str]]

# Inputs (in small letters) that name a service connection, over all tasks of the schema.
_CONNECTION = re.compile(
    r"^(azuresubscription\w*|(azure)?(connectedservice|armconnectedservice)name\w*|azure(resourcemanager)?(service)?connection"
    r"|azureresourcemanagerendpoint|azuredevopsserviceconnection|deploymentserviceconnection|backendservicearm|environmentservicename\w*"
    r"|(docker|container)\w*(connection|endpoint|registry)|kubernetesservice(connection|endpoint)|clusterconnection|serviceconnection(name)?"
    r"|(git|pypi|python|maven|nuget|npm|cargo)\w*(connection|endpoint)s?|ssh(connection|endpoint)|publishendpoint|externalendpoints?)$"
)
_PRODUCTION = re.compile(r"(^|[^a-z])(prod|prd|production|live)([^a-z]|$)", re.I)
_DEPLOYS = re.compile(r"\b(deploy|release|promote|publish to prod|roll ?out|shift traffic|swap slots?)\w*", re.I)
_NOT_DEPLOYS = re.compile(
    r"\b(log|logs|result|results|evidence|report|summary|notify|clean|undeploy|rollback|roll back|validate|check|test)\w*", re.I
)
# Tasks that put something somewhere.
_DEPLOY_TASKS = re.compile(
    r"^(azure(rm)?webappd?\w*|azurefunction\w*|azureresource(manager|group)\w*deployment|azurecontainerapps|azurespringcloud|azurestaticwebapp"
    r"|kubernetesmanifest|helmdeploy|azurevmssdeployment|sqlazuredacpacdeployment|bicepdeploy|servicefabricdeploy|amlmodeldeploy\w*"
    r"|iiswebappdeployment\w*|windowsmachinefilecopy|azurefilecopy)@",
    re.I,
)
_STATUS = re.compile(r"\b(always|canceled|failed|succeeded|succeededorfailed)\s*\(", re.I)
_EXPLICIT = re.compile(r"\.\s*result\b|agent\.jobstatus|\bfalse\b", re.I)
_ANYWAY = re.compile(r"\b(always|succeededorfailed)\s*\(", re.I)
# The year in which an image left the hosted pools, by the announcements of https://github.com/actions/runner-images.
RETIRED = {
    "vs2015-win2012r2": 2020, "win1803": 2020, "macos-10.13": 2020, "ubuntu-16.04": 2021, "macos-10.14": 2021, "vs2017-win2016": 2022,
    "macos-10.15": 2022, "ubuntu-18.04": 2023, "macos-11": 2024, "macos-12": 2024, "ubuntu-20.04": 2025, "windows-2019": 2025,
    "macos-13": 2025, "macos-14": 2026,
}  # fmt: skip


def continue_on_error(subject: Subject) -> Found:
    """`continueOnError: true`."""
    for _, job in subject.jobs:
        if job.continue_on_error:
            what = f"the job '{_called(job)}' fails and the run goes on as if it had not"
            yield _key(job.node, "continueOnError"), what
    for _, job, step in subject.steps:
        if step.continue_on_error:
            deploys = " A deployment that half failed then counts as done." if job.kind == "deployment" or deploys_something(step) else ""
            yield (
                _key(step.node, "continueOnError"),
                f"a failure of '{step.title}' becomes a warning and everything after it runs.{deploys}",
            )


def condition_without_status(subject: Subject) -> Found:
    """A condition without a status function replaces `succeeded()`."""
    for stage in subject.pipeline.stages:
        if stage.condition is not None and stage.depends_on:
            yield from _bare(stage.condition, "stage")
        for job in stage.jobs:
            if job.condition is not None and (job.depends_on or stage.depends_on):
                yield from _bare(job.condition, "job")
            for steps in [hook.steps for hook in job.hooks.values()] or [job.steps]:
                for number, step in enumerate(steps):
                    if step.condition is not None and number:
                        yield from _bare(step.condition, "step")


def _bare(condition: Text, kind: str) -> Found:
    if "$[" not in condition and not _STATUS.search(condition) and not _EXPLICIT.search(condition):
        yield (
            condition.at,
            f"this replaces succeeded(), so the {kind} runs after a failure and a cancellation too: write and(succeeded(), ...)",
        )


def always_deploys(subject: Subject) -> Found:
    """`always()` on something that deploys."""
    for stage in subject.pipeline.stages:
        if stage.condition is not None and _ANYWAY.search(stage.condition) and any(job.kind == "deployment" for job in stage.jobs):
            yield stage.condition.at, f"the stage '{stage.title}' deploys, and this lets it when what it depends on failed or was canceled"
        for job in stage.jobs:
            if job.condition is not None and _ANYWAY.search(job.condition) and job.kind == "deployment":
                yield job.condition.at, f"the job '{_called(job)}' deploys, and this lets it when what it depends on failed or was canceled"
    for _, _, step in subject.steps:
        if step.condition is not None and _ANYWAY.search(step.condition) and deploys_something(step):
            yield step.condition.at, f"'{step.title}' deploys, and this lets it when a step before it failed or the run was canceled"


def missing_timeout(subject: Subject) -> Found:
    """No timeoutInMinutes, or 0."""
    for _, job in subject.jobs:
        if not job.timeout_in_minutes:
            yield job.at, f"the job '{_called(job)}' has no timeoutInMinutes: it ends after 60 minutes, in the middle of whatever it does"
        elif job.timeout_in_minutes == "0":
            yield job.timeout_in_minutes.at, "0 is no limit at all on an agent of your own: a job that hangs keeps it for ever"


def missing_lock_behavior(subject: Subject) -> Found:
    """A stage that deploys without lockBehavior."""
    for stage in subject.pipeline.stages:
        if any(job.kind == "deployment" for job in stage.jobs) and not stage.lock_behavior:
            message = "with an exclusive lock on the environment only the newest waiting run goes on and the others are canceled"
            yield stage.at, f"{message}; say lockBehavior: sequential or runLatest"


def without_environment(subject: Subject) -> Found:
    """A deployment job without an environment."""
    for _, job in subject.jobs:
        if job.kind == "deployment" and not job.environment:
            yield job.at, f"the deployment job '{_called(job)}' has no environment, so no approval, check or lock applies to it"


def environment_by_variable(subject: Subject) -> Found:
    """`environment: $(x)`."""
    for _, job in subject.jobs:
        if "$(" in job.environment or "$[" in job.environment:
            yield (
                job.environment.at,
                "which approvals and checks apply is decided by a variable; give the name, or a parameter with a list of values",
            )


def connection_by_variable(subject: Subject) -> Found:
    """`azureSubscription: $(x)`."""
    for _, _, step in subject.steps:
        for key, value in step.inputs.items():
            if _CONNECTION.match(key.lower()) and ("$(" in value or "$[" in value):
                message = "connections are authorised before the run, and what the run sets is too late; use a parameter"
                yield value.at, f"{key}: {value}: {message}"
    for name, item in subject.pipeline.repositories.items():
        endpoint = item.under("endpoint")
        if isinstance(endpoint, Text) and "$(" in endpoint:
            yield endpoint.at, f"the endpoint of the repository '{name}' can't come from a variable"


def production_outside_environment(subject: Subject) -> Found:
    """A plain job that signs in to production."""
    for _, job, step in subject.steps:
        if job.kind == "job":
            for key, value in step.inputs.items():
                if _CONNECTION.match(key.lower()) and _PRODUCTION.search(value):
                    yield (
                        value.at,
                        f"a plain job uses '{value}', and the approvals of an environment hold only a deployment job on it",
                    )


def token_in_plain_job(subject: Subject) -> Found:
    """System.AccessToken given to a job that no environment guards."""
    for _, job, step in subject.steps:
        if job.kind == "job":
            for name, value in step.env.items():
                if "$(system.accesstoken)" in value.lower():
                    yield (
                        value.at,
                        f"{name} lets code of this job act as the build service, in a pull request too; use it in a job on an environment",
                    )


def secrets_in_pull_request(subject: Subject) -> Found:
    """A `pr:` trigger beside a variable group or a service connection."""
    if subject.pipeline.document.under("pr") in (None, "none", ""):
        return
    stages = subject.pipeline.stages
    lists = [subject.pipeline.variables, *(stage.variables for stage in stages), *(job.variables for _, job in subject.jobs)]
    for variables in lists:
        for variable in variables:
            if variable.group:
                yield variable.name.at, f"a pull request runs this pipeline, and with it gets the variable group '{variable.name}'"
    for _, job, step in subject.steps:
        for key, value in step.inputs.items():
            if job.kind == "job" and _CONNECTION.match(key.lower()) and value:
                yield value.at, f"a pull request runs this pipeline, and with it gets the connection '{value}'"


def implicit_trigger(subject: Subject) -> Found:
    """No `trigger:` in a pipeline that deploys: every push to every branch starts it."""
    root = subject.sources.get(subject.pipeline.at.file)
    if "trigger" in subject.pipeline.document or root is None or not subject.whole:
        return
    # A pipeline with a parameter that must be given is one that only people start.
    if any(declared.under("default") is None for declared in root.parameters.values()):
        return
    if any(job.kind == "deployment" for _, job in subject.jobs) or any(deploys_something(step) for _, _, step in subject.steps):
        yield subject.pipeline.at, "without trigger: a push to any branch starts this pipeline; write trigger: none, or name the branches"


def production_by_name(source: Source) -> Found:
    """Build.SourceBranchName decides something."""
    for key, text in source.texts:
        found = re.search(r"Build\.SourceBranchName", text, re.I)
        if not found or key in (
            "displayName",
            "name",
            "script",
            "bash",
            "pwsh",
            "powershell",
            "inlineScript",
            "imageTag",
            "tags",
            "artifact",
        ):
            continue
        decides = key == "condition" or key.startswith("${{") or re.search(r"\b(eq|ne|in|notin|startswith|contains|iif)\s*\(", text, re.I)
        names = re.search(r"environment|subscription|connection|template|ref$", key, re.I)
        if decides or names:
            message = "it is what follows the last slash, so users/x/main counts as main: compare Build.SourceBranch with refs/heads/main"
            yield source.find(text, found[0]), message


def retired_image(subject: Subject) -> Found:
    """An image that the hosted pools no longer have."""
    for pool in _pools(subject):
        gone = RETIRED.get(pool.lower())
        if gone:
            yield pool.at, f"{pool} was removed in {gone}: a job that asks for it fails"


def floating_image(subject: Subject) -> Found:
    """`ubuntu-latest`."""
    for pool in _pools(subject):
        if pool.lower().endswith("-latest"):
            yield pool.at, f"{pool} becomes another system on a day that Microsoft chooses; name the version"


def _pools(subject: Subject) -> list[Text]:
    found = {job.pool.vm_image.at: job.pool.vm_image for _, job in subject.jobs if job.pool and job.pool.vm_image}
    return list(found.values())


def approval_by_timeout(subject: Subject) -> Found:
    """ManualValidation that goes on when nobody answers."""
    for _, _, step in subject.steps:
        if step.task.lower().startswith("manualvalidation@") and step.input("onTimeout").lower() == "resume":
            yield step.at, "when nobody answers in time the run goes on as if approved; leave it out, so that it is rejected"


def server_task(subject: Subject) -> Found:
    """A task without an agent in a job with one."""
    for _, job, step in subject.steps:
        task = step.task.lower().partition("@")[0]
        if task == "manualvalidation" and not server(job):
            yield step.at, f"{step.task} runs only in a job with pool: server"
        elif server(job) and step.kind != "task":
            yield step.at, "a job with pool: server has no agent to run this on"


def results_on_success_only(subject: Subject) -> Found:
    """PublishTestResults that is skipped when tests failed."""
    for _, _, step in subject.steps:
        if step.task.lower().startswith("publishtestresults@") and (
            step.condition is None or not re.search(r"always|failed", step.condition, re.I)
        ):
            yield step.at, "when a test fails this is skipped, and nobody sees which: condition: succeededOrFailed()"


def global_login(subject: Subject) -> Found:
    """useGlobalConfig leaves the login on the agent."""
    for _, _, step in subject.steps:
        if step.task.lower().startswith("azurecli@") and step.input("useGlobalConfig").lower() == "true":
            yield step.at, "the login goes into the agent user's own folder, where other jobs of a self-hosted agent find it"


def deploys_something(step: Step) -> bool:
    """Whether a step puts something somewhere, by its task or by what it is called."""
    if _DEPLOY_TASKS.match(step.task):
        return True
    if step.kind in ("checkout", "publish", "download", "upload"):
        return False
    called = f"{step.name.replace('_', ' ')} {step.display_name}"
    script = step.input("script") + step.input("inlineScript")
    command = re.search(
        r"\baz\b.*\b(deployment|deploy)\b.*\bcreate\b|\bkubectl\s+apply\b|\bhelm\s+upgrade\b|/deploy\w*\.(py|sh|ps1)|terraform\s+apply",
        script,
    )
    return bool(command) or bool(_DEPLOYS.search(called) and not _NOT_DEPLOYS.search(called))


def _called(job: Job) -> str:
    return "of this pipeline" if job.name == DEFAULT_JOB and not job.display_name else job.name


def _key(node: Mapping, name: str) -> Place:
    return node.key(name).at
