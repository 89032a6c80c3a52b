"""Flags that come from the environment, and how a verb ends."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aml import command
from aml.command import LimitReached, Refusal

SCRIPTS = Path(__file__).parents[2] / "scripts"


def parse(argv: list[str]) -> argparse.Namespace:
    made = command.parser("What it does,\nin a sentence.\n\nMore about it.")
    command.argument(made, "--job-name", type=command.identifier, required=True, help="The job.")
    command.argument(made, "--retrain", type=command.boolean, default=False, help="Again.")
    command.argument(made, "--at-limit", choices=["cancel", "detach"], help="Then.")
    return made.parse_args(argv)


def test_flags_come_from_the_environment_and_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AML_WORKSPACE": "dev", "AML_PROJECT": "examples/a", "AML_JOB_NAME": "j-1", "AML_RETRAIN": "True"}.items():
        monkeypatch.setenv(name, value)
    found = parse(["--job-name", "j-2"])
    assert (found.workspace, found.project, found.job_name, found.retrain, found.at_limit) == ("dev", Path("examples/a"), "j-2", True, None)


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AML_WORKSPACE", "")
    monkeypatch.setenv("AML_RETRAIN", "")
    monkeypatch.setenv("AML_JOB_NAME", "a")
    assert parse(["--workspace", "dev"]).retrain is False
    with pytest.raises(SystemExit) as ended:
        parse([])
    assert ended.value.code == 2


def test_a_variable_that_the_pipeline_lacks_counts_as_absent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TF_BUILD", "True")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    for name, value in {"AML_WORKSPACE": "dev", "AML_JOB_NAME": "$(submit_job.job_name)", "AML_RETRAIN": "$(retrain)"}.items():
        monkeypatch.setenv(name, value)
    assert parse(["--job-name", "a"]).retrain is False
    warned = "AML_RETRAIN is $(retrain), and the pipeline has no variable retrain; it counts as not set."
    assert capsys.readouterr().out == f"##vso[task.logissue type=warning]{warned}\n"
    with pytest.raises(SystemExit) as ended:
        parse([])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "the following arguments are required: --job-name. AML_JOB_NAME is $(submit_job.job_name), and the pipeline has no" in said
    assert "variable submit_job.job_name. Fix: define it or correct its name" in said


def test_an_error_about_something_else_names_no_variable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TF_BUILD", "True")
    monkeypatch.setenv("AML_JOB_NAME", "$(x)")
    with pytest.raises(SystemExit):
        parse(["--workspace=dev", "--job-name=a", "--at-limit=stop"])
    assert "$(x)" not in capsys.readouterr().err


@pytest.mark.parametrize(("text", "value"), [("True", True), ("False", False), ("true", True), ("FALSE", False), (" True ", True)])
def test_booleans_as_either_system_prints_them(text: str, value: bool) -> None:
    assert command.boolean(text) is value


@pytest.mark.parametrize("text", ["", "1", "0", "yes", "$(retrain)", "Tru"])
def test_what_is_no_boolean_is_never_taken_for_one(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is neither true nor false"):
        command.boolean(text)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"AML_RETRAIN": "yes"}, "AML_RETRAIN: 'yes' is neither true nor false"),
        ({"AML_AT_LIMIT": "stop"}, "AML_AT_LIMIT: 'stop' is none of cancel, detach"),
        ({"AML_JOB_NAME": "a b$(x)"}, "AML_JOB_NAME: 'a b$(x)' is not a name: letters, digits, - _ and . only, a letter or digit first"),
        ({"AML_JOB_NAME": "../models/x"}, "AML_JOB_NAME: '../models/x' is not a name"),
        ({"AML_JOB_NAME": "a\nb"}, "AML_JOB_NAME: 'a\\nb' is not a name"),
    ],
)
def test_a_wrong_variable_is_wrong_usage(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        parse(["--workspace=dev", "--job-name=a"])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_first_paragraph_describes_the_verb() -> None:
    assert command.parser("What it does,\nin a sentence.\n\nMore.").description == "What it does, in a sentence."


@pytest.mark.parametrize(
    ("refusal", "line"),
    [
        (Refusal("It failed", "a reason", "this"), "It failed. a reason. Fix: this."),
        (Refusal("It failed."), "It failed."),
        (Refusal("It failed", fix="do\nthis\n\tnow."), "It failed. Fix: do this now."),
    ],
)
def test_a_refusal_is_one_line(refusal: Refusal, line: str) -> None:
    assert str(refusal) == line


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Refusal("No", "because", "that"), 1, "error: No. because. Fix: that.\n"),
        (LimitReached("Too long", fix="resume"), 3, "error: Too long. Fix: resume.\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/tmp/x"),
            1,
            "error: The disk is full. Writing /tmp/x failed. Fix: free some space",
        ),
    ],
)
def test_expected_failures_end_with_one_line(error: Exception, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise error

    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(SystemExit) as ended:
            command.run(main)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    assert ended.value.code == code
    out, err = capsys.readouterr()
    assert err.startswith(said)
    assert err.count("\n") == 1
    assert out == ""


def run(code: str, **kill: signal.Signals) -> subprocess.CompletedProcess[str]:
    begin = f"import sys, time; sys.path.insert(0, {str(SCRIPTS)!r})\nfrom aml import command\n"
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    argv = [sys.executable, "-c", f"{begin}{code}\ncommand.run(main)"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    try:
        if kill:
            assert process.stdout
            process.stdout.readline()
            process.send_signal(kill["with_"])
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return subprocess.CompletedProcess([], process.returncode, out, err)


def test_a_bug_keeps_its_traceback() -> None:
    done = run("def main():\n    raise RuntimeError('a bug')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError: a bug" in done.stderr


def test_a_bug_forges_no_command() -> None:
    done = run("def main():\n    raise RuntimeError('a\\n##vso[task.complete result=Succeeded]')")
    assert done.returncode == 1
    assert "RuntimeError: a" in done.stderr
    assert "# #vso[task.complete" in done.stderr
    assert "##vso[" not in done.stderr


def test_wrong_usage_forges_no_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AML_JOB_NAME", "##vso[task.setvariable variable=SCRIPTS]/tmp")
    with pytest.raises(SystemExit):
        parse(["--workspace=dev"])
    said = capsys.readouterr().err
    assert "'# #vso[task.setvariable variable=SCRIPTS]/tmp' is not a name" in said
    assert "##vso[" not in said


def test_ends_with_what_main_returns() -> None:
    assert run("def main():\n    return 0").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_what_must_be_restored_be_restored(number: signal.Signals) -> None:
    code = "def main():\n    try:\n        print('ready')\n        time.sleep(60)\n    finally:\n        print('restored')"
    done = run(code, with_=number)
    assert done.returncode == 128 + number
    assert "restored" in done.stdout
    assert done.stderr == "error: Interrupted.\n"
