"""The engine that the journey tests and the demo stand on: what it makes up for, and what it refuses to overlook."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import _act
from _gate import APPROVER, AUTHOR, INITIATOR, OWNER, Gate, address
from _github import GitHub
from _provision import AZURE_DEVOPS, environments
from emulator import cli

if TYPE_CHECKING:
    from tests.conftest import Emulator

EXAMPLE = Path(__file__).parents[2] / "examples" / "flight-delay"


def test_a_caller_sees_no_tool_of_the_catalogs_own_work(tmp_path: Path) -> None:
    _act.prepare_catalog(tmp_path / "catalog")
    assert [path.name for path in (tmp_path / "catalog" / "scripts").glob("_*")] == ["_setup.py"]
    assert (tmp_path / "catalog" / "scripts" / "aml" / "__init__.py").is_file()
    assert not (tmp_path / "catalog" / "scripts" / "emulator").exists()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with an empty project in it."""
    (tmp_path / "source" / ".github" / "workflows").mkdir(parents=True)
    return tmp_path


def run(place: Path, workflow: str, *called: str, **options: object) -> _act.Run:
    """Run `workflow` as a project's, with the `called` ones in the catalog as called1.yml, called2.yml, ..."""
    extra = []
    for number, text in enumerate(called, 1):
        extra.append(place / f"called{number}.yml")
        extra[-1].write_text(textwrap.dedent(text))
    (place / "source" / ".github" / "workflows" / "main.yml").write_text(textwrap.dedent(workflow))
    _act.prepare_catalog(place / "catalog", workflows=extra)
    _act.commit_project(place / "source", place / "project")
    env: Any = options.pop("env", {})
    return _act.run(place / "project", "main.yml", place / "catalog", env, place / "tools", limit=60, **options)  # type: ignore[arg-type]


CALLER = """
    on: push
    jobs:
      one:
        uses: contoso/azureml-catalog/.github/workflows/called1.yml@v0
        with:
          environment: it's "quoted" & $(spaced)
    """


def test_jobs_steps_outputs_and_lines_are_told_apart(place: Path) -> None:
    found = run(
        place,
        """
        on: push
        jobs:
          first:
            runs-on: ubuntu-24.04
            steps:
              - name: Speak
                run: |
                  echo "name=a value" >> "$GITHUB_OUTPUT"
                  echo "# Title" >> "$GITHUB_STEP_SUMMARY"
                  echo "::error file=a.yml,line=3::it is wrong"
                  echo "a line"
              - name: Fail
                run: exit 4
              - name: Not reached
                run: echo never
              - name: Always
                if: always()
                run: echo still
          second:
            needs: first
            runs-on: ubuntu-24.04
            steps:
              - run: echo never
        """,
    )
    assert found.results == {"first": "failure"}
    assert not found.succeeded
    first = found.jobs["first"]
    ran = [("Set up job", "success"), ("Speak", "success"), ("Fail", "failure"), ("Always", "success")]
    assert [(step.name, step.result) for step in first.steps] == ran
    assert first.step("Speak").outputs == found.outputs == {"name": "a value"}
    assert first.step("Speak").lines == ["error: a.yml:3: it is wrong", "a line"]
    assert first.step("Always").lines == ["still"]
    assert first.summary == "# Title\n"


def test_only_a_job_with_the_permission_gets_a_token_url_and_it_names_the_environment(place: Path) -> None:
    steps = "[{run: 'echo \"[$ACTIONS_ID_TOKEN_REQUEST_URL]\"'}]"
    found = run(
        place,
        CALLER,
        f"""
        on:
          workflow_call:
            inputs:
              environment: {{type: string}}
        jobs:
          trusted:
            runs-on: ubuntu-24.04
            environment: ${{{{ inputs.environment }}}}
            permissions: {{id-token: write}}
            steps: {steps}
          other:
            runs-on: ubuntu-24.04
            permissions: {{contents: read}}
            steps: {steps}
        """,
    )
    assert found.succeeded
    assert found.jobs["other"].lines == ["[]"]
    [url] = found.jobs["trusted"].lines
    address, _, query = url.strip("[]").partition("?")
    assert address == _act.REQUEST_URL
    assert "repository=contoso%2Fflight-delay&" in query
    assert "job_workflow_ref=contoso%2Fazureml-catalog%2F.github%2Fworkflows%2Fcalled1.yml%40refs%2Ftags%2Fv0&" in query
    assert query.endswith('&environment=it\'s "quoted" & $(spaced)')


def test_a_called_workflow_may_call_its_siblings(place: Path) -> None:
    called = "on: workflow_call\njobs: {inner: {uses: $/.github/workflows/called2.yml}}"
    sibling = "on: workflow_call\njobs: {innermost: {runs-on: ubuntu-24.04, steps: [{run: echo here}]}}"
    caller = CALLER.split("with:")[0]
    assert run(place, caller, called, sibling).jobs["innermost"].lines == ["here"]


def test_a_label_without_a_runner_is_an_error(place: Path) -> None:
    with pytest.raises(_act.CannotRun, match=r"left a job out: main\.yml/b"):
        run(
            place,
            "on: push\njobs: {a: {runs-on: ubuntu-24.04, steps: [{run: 'true'}]}, b: {runs-on: windows-2025, steps: [{run: 'true'}]}}",
        )


def test_an_action_without_a_stand_in_is_an_error(place: Path) -> None:
    with pytest.raises(_act.CannotRun, match="someone/thing has no stand-in"):
        run(place, CALLER, "on: workflow_call\njobs: {a: {runs-on: ubuntu-24.04, steps: [{uses: someone/thing@v1}]}}")


def test_a_workflow_that_the_event_does_not_start_is_an_error(place: Path) -> None:
    with pytest.raises(_act.CannotRun, match="act ran nothing"):
        run(place, "on: workflow_dispatch\njobs: {a: {runs-on: ubuntu-24.04, steps: [{run: 'true'}]}}")


def test_the_machine_is_not_seen(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_MACHINE", "seen")
    found = run(place, "on: push\njobs: {a: {runs-on: ubuntu-24.04, steps: [{run: env}]}}")
    assert not [line for line in found.jobs["a"].lines if "A_SECRET_OF_THE_MACHINE" in line or line == f"HOME={Path.home()}"]


CANCELLED = """
    on: push
    jobs:
      slow:
        runs-on: ubuntu-24.04
        steps:
          - name: Slow
            run: |
              trap 'kill $waiting; echo restored; exit 130' INT
              sleep 300 & waiting=$!
              echo "pid $waiting"
              wait
          - name: Not reached
            run: echo never
          - name: Always
            if: always()
            run: echo still
      later:
        needs: slow
        runs-on: ubuntu-24.04
        steps:
          - run: echo never
    """


def test_an_interrupt_lets_the_step_restore_and_leaves_nothing_behind(place: Path) -> None:
    seen: list[str] = []

    def watch(event: _act.Event) -> None:
        if event.kind == "line":
            seen.append(event.text)
            if event.text.startswith("pid "):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(place, CANCELLED, watch=watch)
    pid = int(seen[0].removeprefix("pid "))
    assert seen[1:] == ["restored", "still"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


LISTENS = """
    on: push
    jobs:
      slow:
        runs-on: ubuntu-24.04
        steps:
          - name: Slow
            run: %s bash -c 'trap "echo restored; exit 130" INT TERM; echo ready; while true; do sleep 0.1; done'
    """


@pytest.mark.parametrize(("how", "heard"), [("exec", True), ("env", False)])
def test_only_the_first_process_of_a_step_hears_of_a_cancellation(place: Path, how: str, heard: bool) -> None:
    """As on GitHub, where what runs behind the step's shell is killed with it: that is why the journeys exec their verbs."""
    seen: list[str] = []

    def watch(event: _act.Event) -> None:
        if event.kind == "line":
            seen.append(event.text)
            if event.text == "ready":
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(place, LISTENS % how, watch=watch)
    assert ("restored" in seen) == heard


def test_the_same_project_is_the_same_commit_and_a_change_is_another(place: Path) -> None:
    (place / "source" / "a file").write_text("1")
    (place / "source" / "gone").write_text("1")
    first = _act.commit_project(place / "source", place / "project")
    assert _act.commit_project(place / "source", place / "project") == first
    (place / "source" / "gone").unlink()
    assert _act.commit_project(place / "source", place / "project") != first
    assert not (place / "project" / "gone").exists()
    log = subprocess.run(["git", "log", "--format=%H"], cwd=place / "project", capture_output=True, text=True, check=True).stdout.split()
    assert log[1:] == [first], "a change follows the commit before it"


@pytest.fixture(scope="module")
def emulator(another_emulator: Callable[[], Emulator]) -> Emulator:
    """An emulated GitHub with the project's people and its production, protected as the example's gates say."""
    made = another_emulator()
    made.admin.azure_devops("connections", **AZURE_DEVOPS, name="azureml-production", client_id="e0000000-0000-4000-8000-00000000e001")
    environments(made.home, EXAMPLE, made.admin)
    return made


@pytest.fixture
def github(emulator: Emulator) -> GitHub:
    """GitHub, where nobody decides by themselves."""
    return GitHub(emulator.home, approve=lambda gate: None)


def last(github: GitHub) -> tuple[dict[str, Any], dict[str, int]]:
    """The newest run, and its deployments by environment."""
    run = github.rest("GET", "actions/runs", who=OWNER)["workflow_runs"][0]
    deployments = github.rest("GET", f"deployments?sha={run['head_sha']}", who=OWNER)
    return run, {one["environment"]: one["id"] for one in deployments}


ASKS = """
    on: push
    permissions: {}
    jobs:
      before:
        runs-on: ubuntu-24.04
        permissions: {actions: read, contents: read}
        steps: &steps
          - name: Ask
            env: {TOKEN: "${{ github.token }}", REPO: "https://api.github.com/repos/contoso/flight-delay"}
            run: |
              echo "$GITHUB_RUN_ID $GITHUB_RUN_ATTEMPT $GITHUB_ACTOR $GITHUB_TRIGGERING_ACTOR $GITHUB_REF $GITHUB_SHA"
              for what in actions/runs/$GITHUB_RUN_ID actions/runs/$GITHUB_RUN_ID/approvals compare/main...main; do
                curl -s --cacert "$SSL_CERT_FILE" -H "Authorization: Bearer $TOKEN" "$REPO/$what"; echo
              done
          - {name: Id, if: always(), run: 'echo "${{ job.check_run_id }}"'}
      gated:
        needs: before
        runs-on: ubuntu-24.04
        environment: {name: "${{ github.event_name == 'push' && 'production' }}", url: https://example.com}
        permissions: {contents: read}
        steps: *steps
    """


def test_a_job_sees_the_run_that_github_knows_with_its_own_token(place: Path, github: GitHub, emulator: Emulator) -> None:
    github.approve = lambda gate: gate.approve(APPROVER, "go")
    found = run(place, ASKS, github=github, env=emulator.env)
    assert found.results == {"before": "success", "gated": "success"}
    known, deployments = last(github)
    before, gated = (found.jobs[name].step("Ask").lines for name in ("before", "gated"))
    said = f"{known['id']} 1 {INITIATOR} {INITIATOR} refs/heads/main {known['head_sha']}"
    assert before[0] == gated[0] == said
    assert json.loads(before[1])["triggering_actor"]["login"] == INITIATOR
    assert json.loads(before[2]) == []
    assert json.loads(before[3])["base_commit"]["author"]["login"] == AUTHOR
    assert json.loads(before[3])["base_commit"]["commit"]["author"]["email"] == address(AUTHOR)
    assert [json.loads(line).get("message") for line in gated[1:3]] == ["Resource not accessible by integration"] * 2
    ids = {found.jobs[name].step("Id").lines[0] for name in ("before", "gated")}
    assert len(ids) == 2
    assert all(id.isdigit() for id in ids)
    assert (known["status"], known["conclusion"]) == ("completed", "success")
    [approval] = github.rest("GET", f"actions/runs/{known['id']}/approvals", who=OWNER)
    assert (approval["user"]["login"], approval["comment"], approval["state"]) == (APPROVER, "go", "approved")
    states = [one["state"] for one in github.rest("GET", f"deployments/{deployments['production']}/statuses", who=OWNER)]
    assert states == ["success", "in_progress", "waiting"]
    assert "token" not in found.outputs
    assert "ghs_" not in str(found)


def test_a_token_ends_with_its_job(place: Path, github: GitHub, emulator: Emulator) -> None:
    keep = f"- {{name: Keep, run: 'echo ${{{{ github.token }}}} > {place}/token'}}"
    keeps = ASKS.replace("- name: Ask", f"{keep}\n          - name: Ask")
    assert run(place, keeps, github=github, env=emulator.env).results["before"] == "success"
    token = (place / "token").read_text().strip()
    assert token.startswith("ghs_")
    headers = {"Authorization": f"Bearer {token}"}
    assert emulator.admin.session.get("https://api.github.com/repos/contoso/flight-delay", headers=headers, timeout=60).status_code == 401


def rejects(gate: Gate) -> None:
    gate.reject(APPROVER, "not today")


@pytest.mark.parametrize(
    ("approve", "ref", "words"),
    [
        (rejects, "refs/heads/main", "The deployment was rejected or did not satisfy other protection rules."),
        (lambda gate: None, "refs/heads/main", "The job was not approved within 30 days."),
        (
            lambda gate: gate.approve(APPROVER),
            "refs/heads/topic",
            'Branch "topic" is not allowed to deploy to production due to environment protection rules.',
        ),
    ],
    ids=["rejected", "nobody", "branch"],
)
def test_a_job_that_may_not_start_runs_no_step(place: Path, github: GitHub, emulator: Emulator, approve: Any, ref: str, words: str) -> None:
    github.approve = approve
    found = run(place, ASKS, github=github, env=emulator.env, ref=ref)
    assert found.results == {"before": "success", "gated": "failure"}
    [step] = found.jobs["gated"].steps
    assert (step.name, step.lines) == ("Set up job", [f"error: {words}"])
    assert (last(github)[0]["status"], last(github)[0]["conclusion"]) == ("completed", "failure")


def test_a_missing_environment_is_made_and_lets_everything_through(place: Path, github: GitHub, emulator: Emulator) -> None:
    asked: list[Gate] = []
    github.approve = asked.append
    assert run(place, ASKS.replace("'production'", "'prodution'"), github=github, env=emulator.env).succeeded
    assert asked == []
    assert github.rest("GET", "environments/prodution", who=OWNER)["protection_rules"] == []


def test_a_run_that_is_cancelled_at_its_gate_ends_there(place: Path, github: GitHub, emulator: Emulator) -> None:
    gates: list[Gate] = []

    def interrupt(gate: Gate) -> None:
        gates.append(gate)
        os.kill(os.getpid(), signal.SIGINT)

    github.approve, github.patience = interrupt, 60.0
    with pytest.raises(KeyboardInterrupt):
        run(place, ASKS, github=github, env=emulator.env)
    assert not gates[0].open()
    known, deployments = last(github)
    assert (known["id"], known["conclusion"]) == (gates[0].run, "cancelled")
    assert github.rest("GET", f"deployments/{deployments['production']}/statuses", who=OWNER)[0]["state"] == "inactive"


def test_an_administrator_goes_past_the_gate_where_that_is_not_barred(place: Path, github: GitHub, emulator: Emulator) -> None:
    def bypassing(gate: Gate) -> None:
        github.rest("PUT", "environments/production", {"can_admins_bypass": True}, who=OWNER)
        gate.bypass(recorded=False)

    github.approve = bypassing
    try:
        assert run(place, ASKS, github=github, env=emulator.env).succeeded
        assert github.rest("GET", f"actions/runs/{last(github)[0]['id']}/approvals", who=OWNER) == []
        github.approve = lambda gate: gate.bypass(comment="in a hurry")
        assert run(place, ASKS, github=github, env=emulator.env).succeeded
        [approval] = github.rest("GET", f"actions/runs/{last(github)[0]['id']}/approvals", who=OWNER)
        assert (approval["user"]["login"], approval["comment"]) == (OWNER, "in a hurry")
    finally:
        github.rest("PUT", "environments/production", {"can_admins_bypass": False}, who=OWNER)
    with pytest.raises(Exception, match="may not bypass"):
        run(place, ASKS, github=github, env=emulator.env)


def test_an_emulator_that_is_gone_is_said(place: Path, tmp_path: Path) -> None:
    with pytest.raises(cli.Problem):
        run(place, ASKS, github=GitHub(tmp_path / "nowhere"))
