"""The tasks that the runner does itself, as microsoft/azure-pipelines-tasks does them (Tasks/<name>V<n>) on a Linux agent.

Each takes the running step and raises Failed, whose text is the error on the page of the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from . import model
from .service import Connection

if TYPE_CHECKING:
    from .steps import StepRun

STARTING = "========================== Starting Command Output ==========================="
# A commit that no branch ends with can be fetched only from a server that allows it.
_FETCH = """set -e
git init -q
git remote add origin "$ORIGIN"
git fetch -q --no-tags $DEPTH --upload-pack='git -c uploadpack.allowAnySHA1InWant=true -c safe.directory=* upload-pack' "$FROM" "$COMMIT"
exec git -c advice.detachedHead=false checkout -q --force "$COMMIT"
"""
_BAD_NAME = set('\\/":<>|*?')


class Failed(Exception):
    """The task failed."""


def of(step: model.Step) -> Callable[[StepRun], None]:
    """What does a step. Raises KeyError for a task that this runner doesn't do."""
    return checkout if step.kind == "checkout" else TASKS[step.task.lower()]


def bash(step: StepRun) -> None:
    """Bash@3 (bash.ts): the script in a file of its own, run in the working directory; its exit code decides."""
    if step.input("targetType").lower() == "inline" or not step.input("filePath"):
        contents = step.input("script")
    else:
        file = step.folder(step.input("filePath"))
        if not file.is_file():
            raise Failed(f"Invalid file path '{file}'.")
        contents = f"exec bash {shlex.quote(str(file))} {step.input('arguments')}".strip()
    _script(step, contents, [])


def command_line(step: StepRun) -> None:
    """CmdLine@2, `script:` (cmdline.ts): as Bash@3, but without the files that a bash reads at its start."""
    _script(step, step.input("script"), ["--noprofile", "--norc"])


def _script(step: StepRun, contents: str, options: list[str]) -> None:
    step.write("Generating script.")
    if "\n" not in contents and "##vso[" not in contents.lower():
        step.write(f"Script contents:\n{contents}")
    file = _write_script(step, contents)
    step.write(STARTING)
    errors: list[str] = []

    def heard(line: str) -> None:
        errors.append(line)
        step.take(line)

    command = [_program(step, "bash"), *options, str(file)]
    code = step.execute(
        command, step.folder(step.input("workingDirectory")), step.environment(), error=heard if step.truth("failOnStderr") else None
    )
    if code:
        raise Failed(f"Bash exited with code '{code}'.")
    if errors:
        raise Failed("\n".join(["Bash wrote one or more lines to the standard error stream.", *errors]))


def use_python(step: StepRun) -> None:
    """UsePythonVersion@0 (usepythonversion.ts): the newest known version that fits goes first on PATH."""
    spec, architecture = step.input("versionSpec", "3.x"), step.input("architecture", "x64")
    known = step.job.agent.pythons
    wanted = re.compile(re.sub(r"(\\\.(x|\\\*))+$", "", re.escape(spec)) + r"(\..*)?")
    fitting = sorted((version for version in known if wanted.fullmatch(version)), key=_numbers)
    tools = Path(step.job.variables.get("Agent.ToolsDirectory"))
    if not fitting:
        have = "".join(f"\n{version} (x64)" for version in sorted(known, key=_numbers))
        raise Failed(
            f"Version spec {spec} for architecture {architecture} did not match any version in Agent.ToolsDirectory.\n"
            f"Versions in {tools}:{have}"
        )
    place = tools / "Python" / fitting[-1] / architecture
    (place / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("python", "python3"):
        with contextlib.suppress(FileExistsError):
            (place / "bin" / name).symlink_to(known[fitting[-1]])
    step.job.variables.set("pythonLocation", str(place))
    if step.truth("addToPath", True):
        for folder in (place, place / "bin"):
            step.write(f"Prepending PATH environment variable with directory: {folder}")
            step.job.path = [str(folder), *(other for other in step.job.path if other != str(folder))]


def azure_cli(step: StepRun) -> None:
    """AzureCLI@2 (azureclitask.ts): `az login` as the connection's application, the script, `az account clear`.

    The task hears no signal, so a cancelled script gets none either: its process is ended with the job.
    """
    step.deaf = True
    connection = step.job.service.service_connections[step.input("azureSubscription") or step.input("connectedServiceNameARM")]
    if step.input("scriptLocation", "scriptPath").lower() == "inlinescript":
        script = _write_script(step, step.input("inlineScript"))
    else:
        script = step.folder(step.input("scriptPath"))
    env = step.environment()
    folder = step.folder(step.input("cwd") or step.input("workingDirectory"))
    folder.mkdir(parents=True, exist_ok=True)
    own = "" if step.truth("useGlobalConfig") else tempfile.mkdtemp(prefix=".azclitask-", dir=step.job.variables.get("Agent.TempDirectory"))
    signed_in = False
    try:
        _az(step, ["--version"], folder, env)
        if own:
            env["AZURE_CONFIG_DIR"] = own
            step.write(f"Setting AZURE_CONFIG_DIR env variable to: {own}")
        if connection.environment:
            step.write(f"Setting active cloud to: {connection.environment}")
            _az(step, ["cloud", "set", "-n", connection.environment], folder, env)
        granted = _log_in(step, connection, folder, env)
        signed_in = True
        if connection.subscription_id:
            why = "Error in setting up subscription"
            _az(step, ["account", "set", "--subscription", connection.subscription_id], folder, env, why=why)
        errors: list[str] = []

        def heard(line: str) -> None:
            errors.append(line)
            step.take(line)

        more = granted if step.truth("addSpnToEnvironment") else {}
        command = [_program(step, "bash"), str(script), *shlex.split(step.input("scriptArguments") or step.input("arguments"))]
        code = step.execute(command, folder, {**env, **more}, error=heard)
        if errors and step.truth("failOnStandardError"):
            step.error("\n".join(errors[:10]))
            raise Failed("Script has output to stderr. Failing as failOnStdErr is set to true.")
        if code:
            raise Failed(f"Script failed with exit code: {code}")
    finally:
        if signed_in:
            with contextlib.suppress(Failed):  # the task goes on when it can't log out
                _az(step, ["account", "clear"], folder, env)
        if own:
            shutil.rmtree(own, ignore_errors=True)


def _log_in(step: StepRun, connection: Connection, folder: Path, env: dict[str, str]) -> dict[str, str]:
    """Sign in; what addSpnToEnvironment adds."""
    login = ["login", "--service-principal", "-u", connection.client_id]
    more = ["--tenant", connection.tenant_id, "--allow-no-subscriptions"]
    quiet = [] if step.truth("visibleAzLogin", True) else ["--output", "none"]
    granted = {"servicePrincipalId": connection.client_id, "tenantId": connection.tenant_id}
    if connection.scheme.lower() == "workloadidentityfederation":
        granted["idToken"] = _id_token(step, connection)
        _az(step, [*login, *more, "--federated-token", granted["idToken"], *quiet], folder, env, why="Azure login failed")
        env["AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"] = connection.id
        env["AZURESUBSCRIPTION_CLIENT_ID"] = connection.client_id
        env["AZURESUBSCRIPTION_TENANT_ID"] = connection.tenant_id
    else:
        granted["servicePrincipalKey"] = connection.secret
        step.job.masker.add(connection.secret)
        _az(step, [*login, f"--password={connection.secret}", *more, *quiet], folder, env, why="Azure login failed")
    return granted


def _az(step: StepRun, words: list[str], folder: Path, env: dict[str, str], *, why: str = "") -> None:
    program = shutil.which("az", path=env["PATH"])
    if not program:
        raise Failed("Script failed with error: Unable to locate executable file: 'az'.")
    step.write(f"[command]{program} {shlex.join(words)}")
    errors: list[str] = []

    def heard(line: str) -> None:
        errors.append(line)
        step.take(line)

    code = step.execute([program, *words], folder, env, error=heard)
    if code:
        step.error(f"Error Code: [{code}]")
        if why:
            step.error(f"Error: {why}")
        raise Failed("Script failed with error: " + "\n".join(errors))


def _id_token(step: StepRun, connection: Connection) -> str:
    """A token that says which connection of which pipeline signs in, from the service (TaskApi, createOidcToken)."""
    variables, host = step.job.variables, step.job.agent.environment()
    query = urllib.parse.urlencode({"api-version": "7.1", "serviceConnectionId": connection.id})
    request = urllib.request.Request(
        f"{variables.get('System.OidcRequestUri')}?{query}",
        data=b"{}",
        headers={"Authorization": f"Bearer {variables.get('System.AccessToken')}", "Content-Type": "application/json"},
    )
    proxy = host.get("HTTPS_PROXY") or host.get("https_proxy")
    bundle = host.get("SSL_CERT_FILE") or host.get("REQUESTS_CA_BUNDLE")
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": proxy} if proxy else {}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=bundle)),
    )
    try:
        with opener.open(request, timeout=60) as answer:
            token = str(json.load(answer)["oidcToken"])
    except urllib.error.HTTPError as error:
        raise Failed(f"Script failed with error: {error.code} {error.read().decode(errors='replace')[:500]}") from error
    except (urllib.error.URLError, TimeoutError, ValueError, KeyError) as error:
        raise Failed(f"Script failed with error: {error}") from error
    step.job.masker.add(token)
    return token


def publish_tests(step: StepRun) -> None:
    """PublishTestResults@2 (publishtestresults.ts), of the format JUnit."""
    written = step.input("testResultsFiles", "**/TEST-*.xml")
    files = list(matching(step.folder(step.input("searchFolder")), written.split("\n")))
    if not files:
        message = f"No test result files matching '{written}' were found."
        if step.truth("failTaskOnMissingResultsFile"):
            raise Failed(message)
        step.warning(message)
    tests, failed = step.job.record.tests, 0
    for file in files:
        try:
            cases = list(ElementTree.parse(file).getroot().iter("testcase"))
        except ElementTree.ParseError as error:
            step.warning(f"Failed to read {file}. Error : {error}.")
            continue
        tests.files += 1
        tests.total += len(cases)
        bad = sum(any(case.find(name) is not None for name in ("failure", "error")) for case in cases)
        skipped = sum(case.find("skipped") is not None for case in cases)
        tests.failed, tests.skipped, failed = tests.failed + bad, tests.skipped + skipped, failed + bad
        tests.passed += len(cases) - bad - skipped
    step.write(f"Result files: {len(files)}; tests: {tests.total}; failed: {failed}")
    if failed and step.truth("failTaskOnFailedTests"):
        raise Failed(
            "There are one or more test failures detected in result files. "
            "Detailed summary of published test results can be viewed in the Tests tab."
        )


def publish_artifact(step: StepRun) -> None:
    """PublishPipelineArtifact@1, `publish:`: a file, or what is in a folder. A name is taken once in a run."""
    source = step.folder(step.input("targetPath") or step.input("path"))
    name = step.input("artifact") or step.input("artifactName") or step.job.variables.get("System.JobId")
    if _BAD_NAME & set(name):
        raise Failed(f"Artifact name is not valid: {name}. It cannot contain '\\', '/', \"', ':', '<', '>', '|', '*', and '?'")
    if not source.exists():
        raise Failed(f"Path does not exist: {source}")
    target = step.job.artifacts / name
    try:
        target.mkdir(parents=True)
    except FileExistsError:
        raise Failed(f"Artifact {name} already exists for build {step.job.variables.get('Build.BuildId')}.") from None
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target / source.name)
    step.write(f"Associated artifact {name} with build {step.job.variables.get('Build.BuildId')}")


def download_artifact(step: StepRun) -> None:
    """DownloadPipelineArtifact@2, `download:`, of the current run: one artifact into the folder, or all, each into its own."""
    name, run = step.input("artifact") or step.input("artifactName"), step.job.variables.get("Build.BuildId")
    workspace = Path(step.job.variables.get("Pipeline.Workspace"))
    target = workspace / (step.input("targetPath") or step.input("path") or (name if step.step.kind == "download" else ""))
    wanted = (step.input("patterns") or step.input("itemPattern") or "**").split("\n")
    if name and not (step.job.artifacts / name).is_dir():
        raise Failed(f"Artifact {name} was not found for build {run}.")
    if not step.job.artifacts.is_dir():
        return
    for file in matching(step.job.artifacts, [f"{name}/{one}" if name else one for one in wanted]):
        place = target / file.relative_to(step.job.artifacts / name if name else step.job.artifacts)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, place)
    step.write(f"Downloaded {name or 'all artifacts'} to {target}")


def checkout(step: StepRun) -> None:
    """A repository at its commit, without credentials, where multi-repo-checkout.md says (PluginInternalCommandExtension.cs)."""
    alias, variables = step.step.input("checkout"), step.job.variables
    repository = step.job.service.repositories[alias]
    several = sum(other.kind == "checkout" for other in step.job.steps) > 1
    workspace = Path(variables.get("Pipeline.Workspace"))
    name = repository.name or repository.folder.name
    path = step.input("path") or (f"s/{name}" if several else "s")
    place = Path(os.path.normpath(workspace / path))
    if not place.is_relative_to(workspace) or place == workspace:
        raise Failed(f"Input path '{path}' should resolve to a directory under '{workspace}'.")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    env = {
        **step.job.agent.environment(), "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
    }  # fmt: skip
    commit, depth = step.job.service.commit(alias), int(step.input("fetchDepth", "0"))
    env |= {
        "FROM": repository.folder.resolve().as_uri(), "COMMIT": commit, "DEPTH": f"--depth={depth}" if depth else "--no-tags",
        "ORIGIN": f"{step.job.service.collection_uri}{urllib.parse.quote(step.job.service.project)}/_git/{urllib.parse.quote(name)}",
    }  # fmt: skip
    step.write(f"Syncing repository: {name} ({commit}) to {place}")
    if code := step.execute([_program(step, "bash"), "-c", _FETCH], place, env):
        raise Failed(f"Git fetch failed with exit code: {code}")
    if not several:
        for variable in ("Build.SourcesDirectory", "System.DefaultWorkingDirectory"):
            variables.set(variable, str(place), force=True)
    if alias == "self" or not several:
        variables.set("Build.Repository.LocalPath", str(place), force=True)


def manual_validation(step: StepRun) -> None:
    """ManualValidation@0 and @1: what the description of the service says for the step's name, or the job's."""
    answer = step.job.service.validation(step.step.name or step.job.job.name)
    step.write(f"{answer.verdict} by {answer.approver or 'nobody'}: {answer.comment}")
    if answer.verdict == "pending" and step.input("onTimeout", "reject").lower() == "resume":
        return
    if answer.verdict != "approved":
        raise Failed("The manual validation was rejected." if answer.verdict == "rejected" else "The manual validation timed out.")


def matching(root: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """Files below a folder that fit one of the patterns and no `!` one after it: `*`, `?`, and `**` for any folders.

    Patterns that begin with a slash look there instead (findMatch in azure-pipelines-task-lib).
    """
    found: dict[Path, None] = {}
    for written in patterns:
        pattern = written.strip()
        if not pattern or pattern.startswith("#"):
            continue
        leave_out = pattern.startswith("!")
        full = os.path.normpath(os.path.join(root, pattern.lstrip("!")))
        wanted = re.compile(_regex(full))
        if leave_out:
            found = {file: None for file in found if not wanted.fullmatch(str(file))}
            continue
        start = os.path.dirname(re.split(r"[*?]", full, maxsplit=1)[0])
        files = [Path(folder, name) for folder, _, names in os.walk(start, followlinks=True) for name in names]
        found |= {file: None for file in sorted(files) if wanted.fullmatch(str(file))}
    yield from found


def _regex(pattern: str) -> str:
    parts = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(parts.get(piece) or re.escape(piece) for piece in re.split(r"(\*\*/|\*\*|\*|\?)", pattern))


def _write_script(step: StepRun, contents: str) -> Path:
    file = Path(step.job.variables.get("Agent.TempDirectory")) / f"{uuid.uuid4()}.sh"
    file.write_text(contents, encoding="utf-8")
    return file


def _program(step: StepRun, name: str) -> str:
    found = shutil.which(name, path=step.environment()["PATH"])
    if not found:
        raise Failed(f"Unable to locate executable file: '{name}'.")
    return found


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


TASKS: dict[str, Callable[[StepRun], None]] = {
    "bash@3": bash,
    "cmdline@2": command_line,
    "usepythonversion@0": use_python,
    "azurecli@2": azure_cli,
    "publishtestresults@2": publish_tests,
    "publishpipelineartifact@1": publish_artifact,
    "downloadpipelineartifact@2": download_artifact,
    "manualvalidation@0": manual_validation,
    "manualvalidation@1": manual_validation,
}
