"""The tasks that the runner does itself."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure_pipelines.agent import Agent
from azure_pipelines.report import Run
from azure_pipelines.run import Event
from azure_pipelines.service import Repository, Service
from azure_pipelines.tasks import matching
from running import Start, commit, printed

CONNECTIONS = {
    "dev": {"id": "11111111-0000-0000-0000-000000000000", "tenant_id": "tenant", "client_id": "client", "subscription_id": "sub"},
    "old": {"id": "2", "scheme": "ServicePrincipal", "tenant_id": "tenant", "client_id": "client", "secret": 's3cret"word'},
}


def only(found: Run, job: str = "Job", step: int = -1) -> Any:
    """A step of a job; the last."""
    return found.job(job).steps[step]


# --- checkout ---


def test_repositories_are_checked_out_at_their_commits_where_they_are_asked_for(start: Start, tmp_path: Path) -> None:
    catalog = tmp_path / "azureml-catalog"
    pinned = commit(catalog, verb="1")
    commit(catalog, verb="2")
    found = start(
        """
        jobs:
        - job: plain
          steps: [{bash: 'cat name; echo; basename $PWD; git rev-list --count HEAD'}]
        - job: both
          steps:
          - {checkout: self, path: s, fetchDepth: 1}
          - {checkout: catalog, path: tools/catalog}
          - bash: |
              pwd; cat name; echo; cat $(Pipeline.Workspace)/tools/catalog/verb; echo; git rev-list --count HEAD
              echo "$(Build.Repository.LocalPath)"
              git remote get-url origin; grep -c -i 'auth\\|extraheader\\|file:' .git/config
        - job: beside
          steps: [{checkout: self}, {checkout: catalog}, {bash: ls}]
        - job: moved
          steps: [{checkout: self, path: elsewhere}, {bash: 'basename $PWD; basename "$(Build.SourcesDirectory)"'}]
        - job: out
          steps: [{checkout: self, path: ../../x}]
        """,
        repositories={"catalog": {"folder": catalog, "commit": pinned}},
    )
    assert printed(found, "plain")[1:] == ["second", "s", "2"]
    _, _, where, name, verb, depth, local, origin, credentials, *_ = printed(found, "both")
    assert (name, verb, depth, local) == ("second", "1", "1", where)
    assert (origin, credentials) == ("https://dev.azure.com/contoso/mlops/_git/flight-delay", "0")
    assert printed(found, "beside")[2:] == ["azureml-catalog", "flight-delay"], "beside a second one, the first moves"
    assert printed(found, "moved")[1:] == ["elsewhere", "elsewhere"]
    assert "should resolve to a directory under" in only(found, "out").errors[0]


# --- scripts ---


def test_scripts_and_files(start: Start) -> None:
    found = start("""
        jobs:
        - job: script
          steps:
          - checkout: none
          - {script: 'echo "$0" | grep -c _temp; false; echo still here'}
          - {bash: 'mkdir below; printf "echo \\$1 \\$PWD\\n" > below/it.sh'}
          - {task: Bash@3, inputs: {targetType: filePath, filePath: below/it.sh, arguments: "'a b' c", workingDirectory: below}}
          - {bash: pwd, workingDirectory: nowhere}
        - job: stderr
          steps:
          - checkout: none
          - {bash: echo harmless >&2}
          - {bash: 'echo out; echo bad >&2', failOnStderr: true}
        """)
    lines = printed(found, "script")
    assert lines[:2] == ["1", "still here"], "no set -e is added"
    assert lines[2].startswith("a b /")
    assert lines[2].endswith("/s/below")
    assert only(found, "script").errors == [lines[-1].removeprefix("##[error]")]
    assert lines[-1].startswith("##[error]Not found workingDirectory: ")
    assert [step.result for step in found.job("stderr").steps] == ["Succeeded", "Failed"]
    assert only(found, "stderr").errors == ["Bash wrote one or more lines to the standard error stream.\nbad"]


def test_the_newest_python_that_fits_goes_first_on_path(start: Start, tmp_path: Path) -> None:
    for version in ("3.9.9", "3.12.1", "3.12.10"):
        program = tmp_path / version
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o755)
    agent = Agent(tmp_path / "w", path=os.environ["PATH"], pythons={v: tmp_path / v for v in ("3.9.9", "3.12.1", "3.12.10")})
    step = "{task: UsePythonVersion@0, inputs: {versionSpec: '%s'%s}}"
    found = start(
        f"""
        jobs:
        - {{job: a, steps: [{{checkout: none}}, {step % ("3.12", "")}, {{bash: 'python; python3; $(pythonLocation)/bin/python'}}]}}
        - {{job: b, steps: [{{checkout: none}}, {step % ("3.x", "")}, {{bash: python}}]}}
        - {{job: c, steps: [{{checkout: none}}, {step % ("3.12.1", "")}, {{bash: python}}]}}
        - {{job: d, steps: [{{checkout: none}}, {step % ("3.1", "")}]}}
        - {{job: e, steps: [{{checkout: none}}, {step % ("3.9", ", addToPath: false")}, {{bash: 'echo $PATH | grep -c 3.9.9'}}]}}
        """,
        agent=agent,
    )
    assert [printed(found, job)[2] for job in "abc"] == ["3.12.10", "3.12.10", "3.12.1"]
    assert printed(found, "a")[3:] == ["3.12.10", "3.12.10"]
    assert only(found, "d").errors[0].startswith("Version spec 3.1 for architecture x64 did not match any version in Agent.ToolsDirectory.")
    assert "\n3.12.10 (x64)" in only(found, "d").errors[0]
    assert printed(found, "e")[0] == "0"


# --- Azure ---

AZ = """#!{python}
import json, os, sys
with open({log!r}, "a") as file:
    seen = [os.environ.get(name, "") for name in ("AZURE_CONFIG_DIR", "AZURESUBSCRIPTION_CLIENT_ID")]
    file.write(json.dumps([sys.argv[1:], *seen]) + "\\n")
print("az said", *sys.argv[1:3])
sys.exit({log!r}.endswith("bad") and sys.argv[1] == "login")
"""


@dataclass
class Issuer:
    """Stands for the endpoint that gives a job its tokens, and remembers what it was asked."""

    url: str
    asked: list[tuple[str, str]]


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    asked: list[tuple[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"oidcToken": "signed.token.here"}).encode())

        def log_message(self, *words: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        yield Issuer(f"http://127.0.0.1:{server.server_port}/oidctoken", asked)
        server.shutdown()
        thread.join()


class Known(Service):
    """A service whose jobs get known tokens."""

    url = ""

    def job_started(self, record: Any) -> dict[str, str]:
        self.record = record
        return {"System.AccessToken": "job-token", "System.OidcRequestUri": self.url}


def azure(tmp_path: Path, project: Path, url: str = "", *, bad: bool = False) -> tuple[Known, Agent, Path]:
    log, folder = tmp_path / ("bad" if bad else "log"), tmp_path / "bin"
    folder.mkdir()
    (folder / "az").write_text(AZ.format(python=sys.executable, log=str(log)))
    (folder / "az").chmod(0o755)
    service = Known.read({"service_connections": CONNECTIONS, "repositories": {"self": Repository(project)}})
    assert isinstance(service, Known)
    service.url = url
    return service, Agent(tmp_path / "w", path=f"{folder}{os.pathsep}{os.environ['PATH']}"), log


FEDERATED = ["--federated-token", "signed.token.here"]
CALL = """
    steps:
    - checkout: none
    - task: AzureCLI@2
      name: cli
      inputs: {azureSubscription: %s, scriptType: bash, scriptLocation: inlineScript, addSpnToEnvironment: %s, inlineScript: '%s'}
    - bash: echo "[$AZURE_CONFIG_DIR$AZURESUBSCRIPTION_CLIENT_ID$servicePrincipalId]"; ls -A $(Agent.TempDirectory) | grep -c azclitask
      condition: always()
    """
SHOW = "env | grep -i ^AZURESUB | sort; echo $servicePrincipalId $tenantId ${#servicePrincipalKey} ${#idToken}"


def test_a_federated_connection_signs_in_with_a_token_of_the_job(start: Start, project: Path, tmp_path: Path, issuer: Issuer) -> None:
    service, agent, log = azure(tmp_path, project, issuer.url)
    found = start(CALL % ("dev", "true", SHOW), service=service, agent=agent)
    step = found.job("Job").step("cli")
    assert step.result == "Succeeded", step.lines
    assert issuer.asked == [("/oidctoken?api-version=7.1&serviceConnectionId=11111111-0000-0000-0000-000000000000", "Bearer job-token")]
    assert service.record["service_connections"] == ["11111111-0000-0000-0000-000000000000"]
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert [call[0] for call in calls] == [
        ["--version"],
        ["cloud", "set", "-n", "AzureCloud"],
        ["login", "--service-principal", "-u", "client", "--tenant", "tenant", "--allow-no-subscriptions", *FEDERATED],
        ["account", "set", "--subscription", "sub"],
        ["account", "clear"],
    ]
    assert [bool(call[1]) for call in calls] == [False, True, True, True, True]
    assert Path(calls[1][1]).name.startswith(".azclitask-")
    assert Path(calls[1][1]).parent.name == "_temp"
    assert [call[2] for call in calls] == ["", "", "", "client", "client"]
    assert [line for line in step.lines if line.startswith(("AZURE", "client"))] == [
        "AZURESUBSCRIPTION_CLIENT_ID=client",
        "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID=11111111-0000-0000-0000-000000000000",
        "AZURESUBSCRIPTION_TENANT_ID=tenant",
        "client tenant 0 17",
    ]
    assert "signed.token.here" not in json.dumps(found.report())
    assert only(found).lines[-2:] == ["0", "##[error]Bash exited with code '1'."], "nothing of the sign-in is left"
    assert only(found).lines[-3] == "[]"


def test_a_connection_with_a_secret(start: Start, project: Path, tmp_path: Path) -> None:
    service, agent, log = azure(tmp_path, project)
    found = start(CALL % ("old", "true", SHOW), service=service, agent=agent)
    calls = [json.loads(line)[0] for line in log.read_text().splitlines()]
    assert calls[2][:4] == ["login", "--service-principal", "-u", "client"]
    assert '--password=s3cret"word' in calls[2]
    assert calls[3:] == [["account", "clear"]], "a connection without a subscription sets none"
    step = found.job("Job").step("cli")
    assert [line for line in step.lines if line.startswith(("AZURESUB", "client"))] == ["client tenant 11 0"]
    assert "s3cret" not in json.dumps(found.report())


def test_without_add_spn_the_script_sees_no_principal(start: Start, project: Path, tmp_path: Path) -> None:
    service, agent, _ = azure(tmp_path, project)
    found = start(CALL % ("old", "false", SHOW), service=service, agent=agent)
    assert "0 0" in found.job("Job").step("cli").lines


@pytest.mark.parametrize(
    ("bad", "script", "error"),
    [(False, "exit 3", "Script failed with exit code: 3"), (True, "echo never", "Script failed with error: ")],
)
def test_a_failure_is_told_and_what_was_signed_in_is_signed_out(
    start: Start, project: Path, tmp_path: Path, bad: bool, script: str, error: str
) -> None:
    service, agent, log = azure(tmp_path, project, bad=bad)
    found = start(CALL % ("old", "false", script), service=service, agent=agent)
    step = found.job("Job").step("cli")
    assert (step.result, step.errors[-1]) == ("Failed", error)
    assert ("Error: Azure login failed" in step.errors) == bad
    assert "never" not in step.lines
    last = json.loads(log.read_text().splitlines()[-1])[0]
    assert last[:2] == (["login", "--service-principal"] if bad else ["account", "clear"])


def test_a_connection_that_gives_no_token_fails_the_task(start: Start, project: Path, tmp_path: Path) -> None:
    service, agent, _ = azure(tmp_path, project, "http://127.0.0.1:9/nothing")
    step = start(CALL % ("dev", "true", "echo never"), service=service, agent=agent).job("Job").step("cli")
    assert step.result == "Failed"
    assert "Connection refused" in step.errors[0]


def test_a_cancelled_script_of_the_task_hears_nothing(start: Start, project: Path, tmp_path: Path) -> None:
    """The task's program does not hand signals on, so what must tidy up when it is cancelled belongs into a plain bash step."""
    service, agent, log = azure(tmp_path, project)
    seen: list[str] = []

    def watch(event: Event) -> None:
        if event.kind == "line":
            seen.append(event.text)
            if event.text == "ready":
                raise KeyboardInterrupt

    script = 'trap "echo heard" INT TERM; echo ready; sleep 30 & wait'
    with pytest.raises(KeyboardInterrupt):
        start(CALL % ("old", "false", script), service=service, agent=agent, watch=watch)
    assert "heard" not in seen
    assert json.loads(log.read_text().splitlines()[-1])[0][:1] == ["login"], "nor does the task sign out"


# --- test results ---

RESULTS = """<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure/></testcase><testcase name="c"><error/></testcase>
<testcase name="d"><skipped/></testcase></testsuite></testsuites>"""


def test_test_results_are_counted(start: Start) -> None:
    found = start(
        f"""
        steps:
        - checkout: none
        - bash: |
            mkdir -p out/deep; cat > out/deep/TEST-one.xml <<'END'
            {RESULTS.splitlines()[0]}
            {RESULTS.splitlines()[1]}
            END
            echo '<testsuite><testcase name="e"/></testsuite>' > $(Agent.TempDirectory)/two.junit.xml; echo '<x' > TEST-broken.xml
        - task: PublishTestResults@2
          inputs: {{testResultsFiles: "**/TEST-*.xml\\n$(Agent.TempDirectory)/*.junit.xml", failTaskOnFailedTests: "%s"}}
        """
        % "true"
    )
    tests = found.job("Job").tests
    assert (tests.total, tests.passed, tests.failed, tests.skipped, tests.files) == (5, 2, 2, 1, 2)
    assert only(found).result == "Failed"
    assert only(found).errors[0].startswith("There are one or more test failures detected in result files.")
    assert "TEST-broken.xml" in only(found).warnings[0]


@pytest.mark.parametrize(("missing", "result"), [("false", "Succeeded"), ("true", "Failed")])
def test_results_that_are_not_there(start: Start, missing: str, result: str) -> None:
    found = start(f"""
        steps:
        - checkout: none
        - {{task: PublishTestResults@2, inputs: {{testResultsFiles: "*.xml", failTaskOnMissingResultsFile: {missing}}}}}
        """)
    said = ["No test result files matching '*.xml' were found."]
    assert only(found).result == result
    assert (only(found).errors or only(found).warnings) == said
    assert bool(only(found).errors) == (missing == "true")


def test_patterns(tmp_path: Path) -> None:
    for name in ("a.xml", "b/c.xml", "b/.d/e.xml", "b/f.txt", "bb/c.xml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(*patterns: str) -> list[str]:
        return sorted(str(file.relative_to(tmp_path)) for file in matching(tmp_path, patterns))

    assert found("**/*.xml") == ["a.xml", "b/.d/e.xml", "b/c.xml", "bb/c.xml"]
    assert found("*.xml") == ["a.xml"]
    assert found("b/**", "!**/*.txt") == ["b/.d/e.xml", "b/c.xml"]
    assert found("b/c.xml") == ["b/c.xml"]
    assert found("b?/c.xml", "# no", "") == ["bb/c.xml"]
    assert found(f"{tmp_path}/b/*.txt") == ["b/f.txt"]
    assert found("none/*") == []


# --- artifacts and people ---


def test_artifacts_go_from_job_to_job(start: Start) -> None:
    found = start(
        """
        jobs:
        - job: make
          steps:
          - checkout: none
          - bash: mkdir -p out/deep; echo 1 > out/deep/one; echo 2 > two
          - {publish: out, artifact: all}
          - {task: PublishPipelineArtifact@1, inputs: {targetPath: $(System.DefaultWorkingDirectory)/two, artifactName: single}}
          - {publish: out, artifact: all, continueOnError: true}
          - {publish: nowhere, artifact: x, continueOnError: true}
          - {publish: out, artifact: a/b, continueOnError: true}
        - job: take
          dependsOn: make
          steps:
          - checkout: none
          - {download: current, artifact: all}
          - {task: DownloadPipelineArtifact@2, inputs: {artifactName: single, targetPath: here}}
          - {bash: 'cat $(Pipeline.Workspace)/all/deep/one $(Pipeline.Workspace)/here/two'}
          - {download: current, artifact: gone}
        - deployment: ship
          dependsOn: make
          environment: dev
          strategy: {runOnce: {deploy: {steps: [{bash: cat $(Pipeline.Workspace)/*/two}]}}}
        - deployment: bare
          dependsOn: make
          environment: dev
          strategy: {runOnce: {deploy: {steps: [{download: none}, {bash: ls $(Pipeline.Workspace)}]}}}
        """,
        environments={"dev": {}},
    )
    errors = [step.errors[0] for step in found.job("make").steps if step.errors]
    assert errors[0] == "Artifact all already exists for build 1."
    assert errors[1].startswith("Path does not exist: /")
    assert errors[2].startswith("Artifact name is not valid: a/b.")
    assert printed(found, "take")[2:4] == ["1", "2"]
    assert only(found, "take").errors == ["Artifact gone was not found for build 1."]
    assert printed(found, "ship")[1:] == ["2"], "a deployment gets all artifacts by itself"
    assert printed(found, "bare") == ["TestResults", "a", "b", "s"], "unless it says download: none"


@pytest.mark.parametrize(
    ("verdict", "on_timeout", "result"),
    [
        ("approved", "reject", "Succeeded"),
        ("rejected", "resume", "Failed"),
        ("pending", "reject", "Failed"),
        ("pending", "resume", "Succeeded"),
    ],
)
def test_a_manual_validation(start: Start, verdict: str, on_timeout: str, result: str) -> None:
    found = start(
        f"""
        jobs:
        - job: wait
          pool: server
          steps: [{{task: ManualValidation@1, name: look, inputs: {{notifyUsers: '', onTimeout: {on_timeout}}}}}]
        - {{job: after, dependsOn: wait, steps: [{{checkout: none}}, {{bash: echo}}]}}
        """,
        validations={"look": {"approver": "Rea", "verdict": verdict}},
    )
    assert found.results == {"__default.wait": result, "__default.after": "Succeeded" if result == "Succeeded" else "Skipped"}
