"""The engine that the journey tests and the demo stand on: what it makes up for, and what it refuses to overlook."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
from pathlib import Path

import pytest

import _act


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
    return _act.run(place / "project", "main.yml", place / "catalog", {}, place / "tools", limit=60, **options)  # type: ignore[arg-type]


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
