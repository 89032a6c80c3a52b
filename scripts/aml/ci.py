"""How a CI system prints, masks, groups and passes values on: the only file that knows GitHub from Azure DevOps.

Sources: "Workflow commands for GitHub Actions" (docs.github.com) and "Logging commands" (learn.microsoft.com/azure/devops); for what
the latter leaves open, microsoft/azure-pipelines-agent: Command.cs finds `##vso[` anywhere in a line and ends a command's head at the
first `]`; CommandStringConvertor.cs decodes %3B, %0D, %0A, %5D and last %AZP25 (unless the job turns that off with DECODE_PERCENTS), in
properties and message alike; TaskCommandExtension.cs obeys.
Text that others wrote (job logs, names, error messages) reaches the log only through this module, which takes the commands out of it.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A runner reads a command anywhere in a line (##[...] and ##vso[...]) or at its start (::...::).
_COMMAND = re.compile(r"##(?=\[|vso\[)", re.IGNORECASE)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Whose token a variable has: a job's first, then a person's on their own machine.
GITHUB_TOKENS = ("AML_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN")
AZURE_DEVOPS_TOKENS = ("SYSTEM_ACCESSTOKEN", "AZURE_DEVOPS_EXT_PAT")
_MACRO = re.compile(r"\s*\$\(([^()]+)\)\s*")


def system() -> str:
    """'github', 'azure-devops', or '' on a person's machine."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return "github"
    return "azure-devops" if os.environ.get("TF_BUILD") else ""


def run_url() -> str:
    """The page of this run, or '' on a person's machine."""
    if system() == "github":
        return f"{os.environ.get('GITHUB_SERVER_URL', '')}/{github()[1]}/actions/runs/{run_id()}"
    if system() == "azure-devops":
        collection, project, *_ = azure_devops()
        # A project's name may have spaces and letters of any alphabet.
        return f"{collection.rstrip('/')}/{urllib.parse.quote(project, safe='')}/_build/results?buildId={run_id()}"
    return ""


def run_id() -> str:
    """The number of this run, '' on a person's machine."""
    return os.environ.get({"github": "GITHUB_RUN_ID", "azure-devops": "BUILD_BUILDID"}.get(system(), ""), "")


def stage() -> str:
    """The stage of this job on Azure DevOps, '' elsewhere."""
    return os.environ.get("SYSTEM_STAGENAME", "") if system() == "azure-devops" else ""


def github() -> tuple[str, str, str]:
    """Where GitHub's API is, a repository, and a token, as a job's environment or a person's says; '' for what is not known."""
    token = next((value for name in GITHUB_TOKENS if (value := setting(name))), "")
    return (os.environ.get("GITHUB_API_URL") or "https://api.github.com").rstrip("/"), os.environ.get("GITHUB_REPOSITORY", ""), token


def azure_devops() -> tuple[str, str, str, bool]:
    """Where an organization on Azure DevOps is, a project, a token, and whether that is a person's; '' for what is not known."""
    job, personal = (setting(name) for name in AZURE_DEVOPS_TOKENS)
    collection, project = (os.environ.get(name, "") for name in ("SYSTEM_COLLECTIONURI", "SYSTEM_TEAMPROJECT"))
    return collection, project, job or personal, not job


def revision() -> tuple[str, str]:
    """Commit and full ref that the run is for, as the CI system says; ('', '') on a person's machine."""
    names = {"github": ("GITHUB_SHA", "GITHUB_REF"), "azure-devops": ("BUILD_SOURCEVERSION", "BUILD_SOURCEBRANCH")}
    commit, ref = (os.environ.get(name, "") for name in names.get(system(), ("", "")))
    return commit, ref


def started_by() -> str:
    """Who started the run, as the CI system says: a login on GitHub, an address or name on Azure DevOps; '' on a person's machine.

    Sources: "Variables reference", GITHUB_TRIGGERING_ACTOR (docs.github.com); "Predefined variables", Build.RequestedForEmail
    (learn.microsoft.com/azure/devops).
    """
    names = {"github": ("GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR"), "azure-devops": ("BUILD_REQUESTEDFOREMAIL", "BUILD_REQUESTEDFOR")}
    return next((found for name in names.get(system(), ()) if (found := os.environ.get(name, ""))), "")


def branch() -> str:
    """The branch or tag that the run is for, whole (`users/x/main`), or ''; for a pull request the branch that it comes from.

    Not BUILD_SOURCEBRANCHNAME, which is only what follows the last slash. Sources: "Predefined variables", Build.SourceBranch and
    System.PullRequest.SourceBranch (learn.microsoft.com/azure/devops); "Variables reference", GITHUB_REF_NAME (docs.github.com).
    """
    env = os.environ
    if system() == "github":
        ref = env.get("GITHUB_REF_NAME", "")
        return env.get("GITHUB_HEAD_REF") or ref if re.fullmatch(r"\d+/merge", ref) else ref
    if system() == "azure-devops":
        ref = env.get("BUILD_SOURCEBRANCH", "")
        ref = env.get("SYSTEM_PULLREQUEST_SOURCEBRANCH") or ref if ref.startswith("refs/pull/") else ref
        return re.sub(r"^refs/(heads|tags)/", "", ref)
    return ""


def setting(name: str) -> str:
    """An environment variable; '' if it is not set, or is a macro that Azure DevOps could not resolve (see `unresolved`)."""
    return "" if unresolved(name) else os.environ.get(name, "")


def unresolved(name: str) -> str:
    """The pipeline variable that an environment variable should have come from, if the pipeline has none of that name; or else ''.

    The agent leaves `$(NAME)` as it is if there is no variable NAME; one that is empty counts as there. Source:
    microsoft/azure-pipelines-agent, VarUtil.cs, ExpandValues.
    """
    found = _MACRO.fullmatch(os.environ.get(name, "")) if system() == "azure-devops" else None
    return found[1] if found else ""


def plain(text: str) -> str:
    """The text without anything that a CI system would obey or a terminal would hide: commands and control characters."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(re.sub(r"^(\s*):(?=:)", r"\1: ", _COMMAND.sub("# #", _CONTROL.sub("", line))) for line in lines)


def say(text: str = "") -> None:
    """Print progress."""
    print(plain(text), flush=True)


def warning(text: str, file: Path | str | None = None, line: int = 0, column: int = 0) -> None:
    """Print a warning, at a place in a file if there is one."""
    _annotate("warning", text, file, line, column)


def error(text: str, file: Path | str | None = None, line: int = 0, column: int = 0) -> None:
    """Print an error, at a place in a file if there is one."""
    _annotate("error", text, file, line, column)


@contextmanager
def group(title: str) -> Iterator[None]:
    """Fold what is printed inside."""
    start, end = {"github": ("::group::", "::endgroup::"), "azure-devops": ("##[group]", "##[endgroup]")}.get(system(), ("", ""))
    print(f"{start}{_line(title)}", flush=True)
    try:
        yield
    finally:
        if end:
            print(end, flush=True)


def mask(value: str) -> None:
    """Ask the CI system to hide a value in everything that is printed from now on."""
    for line in value.splitlines():
        if not line.strip():
            continue
        if system() == "github":
            print(f"::add-mask::{_github(line)}", flush=True)
        elif system() == "azure-devops":
            print(f"##vso[task.setsecret]{_azure_devops(line)}", flush=True)


def output(name: str, value: str) -> None:
    """Hand a value to later steps. `name` is ours (snake_case); the value may be anything."""
    if system() == "github":
        _append("GITHUB_OUTPUT", name, value)
    elif system() == "azure-devops":
        print(f"##vso[task.setvariable variable={name};isOutput=true]{_azure_devops(value)}", flush=True)
    say(f"{name}: {value}")


def export(name: str, value: str, *, secret: bool = False) -> None:
    """Set an environment variable for the later steps of the job.

    A secret is masked and never printed; on Azure DevOps a later step sees it only if its `env` maps `$(NAME)`. Raises ValueError for a
    secret of several lines: the agent would refuse it, and print it while doing so (TaskCommandExtension.cs, WorkerCommandManager.cs).
    """
    if secret and re.search(r"[\r\n]", value):
        raise ValueError(f"the secret {name} has several lines")
    if system() == "github":
        if secret:
            mask(value)
        _append("GITHUB_ENV", name, value)
    elif system() == "azure-devops":
        kind = ";issecret=true" if secret else ""
        print(f"##vso[task.setvariable variable={name}{kind}]{_azure_devops(value)}", flush=True)
    if not secret:
        say(f"{name}: {value}")


def add_path(folder: Path) -> None:
    """Put a folder first on PATH for the later steps of the job."""
    if system() == "github":
        with open(os.environ["GITHUB_PATH"], "a", encoding="utf-8") as file:
            file.write(f"{folder}\n")
    elif system() == "azure-devops":
        print(f"##vso[task.prependpath]{_azure_devops(str(folder))}", flush=True)


def summary(markdown: str, name: str) -> None:
    """Add a section to the page of the run. What others wrote in it must be escaped already.

    `name` is ours: Azure DevOps shows it as the section's title, and uploads the file once the step has gone on, so it stays until the
    job's end. Source: microsoft/azure-pipelines-agent, TaskCommandExtension.cs, TaskUploadSummaryCommand, and JobRunner.cs.
    """
    if system() == "github" and (path := os.environ.get("GITHUB_STEP_SUMMARY")):
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{markdown.rstrip()}\n\n")
    elif system() == "azure-devops":
        folder = tempfile.mkdtemp(prefix="summary-", dir=os.environ.get("AGENT_TEMPDIRECTORY"))
        written = Path(folder) / f"{name}.md"
        written.write_text(f"{markdown.rstrip()}\n", encoding="utf-8")
        print(f"##vso[task.uploadsummary]{_azure_devops(str(written))}", flush=True)


def analysis(file: Path) -> None:
    """Hand a file in SARIF to the SARIF tab of Azure DevOps, which shows what is in the artifact CodeAnalysisLogs.

    By the logging command, since it adds to an artifact that is there, from another stage or an earlier attempt; a task would fail.
    Source: microsoft/sarif-azuredevops-extension; "Logging commands", artifact.upload (learn.microsoft.com/azure/devops).
    """
    if system() == "azure-devops":
        place = "containerfolder=CodeAnalysisLogs;artifactname=CodeAnalysisLogs"
        print(f"##vso[artifact.upload {place}]{_azure_devops(str(file.resolve()))}", flush=True)


def _append(variable: str, name: str, value: str) -> None:
    delimiter = f"end-{secrets.token_hex(16)}"
    with open(os.environ[variable], "a", encoding="utf-8") as file:
        file.write(f"{name}<<{delimiter}\n{value}\n{delimiter}\n")


def _annotate(level: str, text: str, file: Path | str | None = None, line: int = 0, column: int = 0) -> None:
    # One line always: a later line would stand in the log without its level, and could forge another message.
    place = [("file", _line(str(file)) if file else ""), ("line", str(line or "")), ("col", str(column or ""))]
    at = ":".join(value for _, value in place if value)
    message = f"{at}: {_line(text)}" if at else _line(text)  # GitHub's log and a person's terminal show no properties
    if system() == "github":
        properties = ",".join(f"{key}={_github(value, property=True)}" for key, value in place if value)
        print(f"::{level}{' ' + properties if properties else ''}::{_github(message)}", flush=True)
    elif system() == "azure-devops":
        names = {"file": "sourcepath", "line": "linenumber", "col": "columnnumber"}
        properties = "".join(f";{names[key]}={_azure_devops(value, property=True)}" for key, value in place if value)
        # The agent itself puts the place before the message: path(line,column).
        print(f"##vso[task.logissue type={level}{properties}]{_azure_devops(_line(text))}", flush=True)
    else:
        print(f"{level}: {message}", file=sys.stderr, flush=True)


def _line(text: str) -> str:
    return " ".join(plain(text).split("\n"))


def _github(text: str, *, property: bool = False) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if property else text


def _azure_devops(text: str, *, property: bool = False) -> str:
    text = text.replace("%", "%AZP25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(";", "%3B").replace("]", "%5D") if property else text
