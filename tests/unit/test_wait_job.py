"""Waiting for a job through every status there is, and through what a real one does only seldom."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken

import wait_job
from aml import runs
from aml.azure import Client
from aml.command import LimitReached, Refusal
from aml.logs import Logs

RUN, STEP = "/history/runs/job", "/history/runs/step"


class Credential:
    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken("token", int(time.time()) + 3600)


class Azure:
    """A job that goes through a list of statuses, one at each look; the last one stays. It may have one step with a log."""

    def __init__(self, played: Any, *statuses: str | None) -> None:
        self.played, self.statuses, self.asked = played, list(statuses), [""]
        self.step: list[str] = []
        self.log: list[bytes] = []
        self.kept = b""
        self.error: dict[str, Any] = {}
        self.cancelled = 0
        played.by = self.answer

    def answer(self, method: str, path: str) -> tuple[int, Any, dict[str, str]] | None:
        path = path.partition("?")[0]
        self.asked.append(path)
        if path == f"{RUN}/details":
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            if status == "deleted":
                return 404, {"error": {"code": "UserError", "message": "Run job was not found"}}, {}
            return 200, {"runId": "job", "status": status, "runTypeV2": {"orchestrator": "PipelineRun" if self.step else "Execution"}}, {}
        if path == f"{RUN}/children":
            return 200, {"value": [{"runId": "step", "displayName": "train"}]}, {}
        if path == f"{STEP}/details":
            status = self.step.pop(0) if len(self.step) > 1 else self.step[0]
            if self.log:
                self.kept += self.log.pop(0)
            return (
                200,
                {"status": status, "error": self.error, "logFiles": {"user_logs/std_log.txt": f"{self.played.url}/log", "logs/x": "no"}},
                {},
            )
        if path == "/log":
            begin = int((self.played.asked[-1][2].get("Range") or "bytes=0-")[6:-1])
            return (206 if begin else 200, self.kept[begin:], {}) if begin < len(self.kept) or not begin else (416, None, {})
        if path == "/arm/jobs/job/cancel":
            self.cancelled += 1
            self.statuses = ["CancelRequested", "Canceled"]
            return 202, None, {}
        raise AssertionError(path)

    def wait(self, minutes: float = 5, at_limit: str = "cancel") -> str:
        client, history = (Client(f"{self.played.url}/{root}", Credential()) for root in ("arm", "history"))
        self.follower = runs.Follower(history, "job", Logs(Path("evidence"), "wait_job", "dev"))
        return wait_job.until_ended(client, self.follower, "job", minutes, at_limit)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time passes only by waiting."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def test_every_status_on_the_way_to_the_end(played: Any, capsys: pytest.CaptureFixture[str]) -> None:
    on_the_way = [
        "NotStarted",
        "Starting",
        "Provisioning",
        "Preparing",
        "Queued",
        "Running",
        "Paused",
        "NotResponding",
        "Running",
        "Finalizing",
    ]
    azure = Azure(played, *on_the_way, "", None, "Brewing", "Completed")
    assert azure.wait() == "Completed"
    said = [line.removeprefix("job job: ") for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "NotStarted",
        "Starting",
        "Provisioning",
        "Preparing",
        "Queued",
        "Running",
        "Paused, Azure has paused it, and goes on when it can",
        "NotResponding, Azure has had no sign of life from it lately",
        "Running",
        "Finalizing",
        "Unknown, Azure says no status",
        "Brewing",
        "Completed",
    ]


@pytest.mark.parametrize(("status", "line"), [("Failed", "Azure says no reason"), ("Canceled", "Somebody or something else cancelled it")])
def test_other_ends(status: str, line: str, played: Any) -> None:
    azure = Azure(played, "Running", status)
    assert azure.wait() == status
    assert line in str(wait_job.not_completed(azure.follower, "job", status))


@pytest.mark.parametrize("status", ["Provisioning", "Queued", "", "Paused", "Unknown"])
def test_no_status_is_waited_for_longer_than_the_limit(status: str, played: Any, clock: list[float]) -> None:
    azure = Azure(played, status)
    with pytest.raises(LimitReached) as reached:
        azure.wait(minutes=30, at_limit="detach")
    assert clock[0] == 1000 + 30 * 60
    assert reached.value.code == 3
    word = status or "Unknown"
    assert str(reached.value) == (
        f"Job job has not ended within 30 minutes. It is {word} and goes on. Fix: run wait_job again with --job-name job to go on waiting."
    )
    assert azure.cancelled == 0
    assert azure.asked.count(f"{RUN}/details") < 30 * 60 / 10, "asks seldom when nothing happens"


def test_at_the_limit_the_job_is_cancelled_and_its_end_awaited(played: Any) -> None:
    azure = Azure(played, "Running")
    with pytest.raises(
        LimitReached, match=r"Job job has not ended within 1 minutes. It was cancelled. Fix: raise train.wait.limit_minutes"
    ):
        azure.wait(minutes=1)
    assert azure.cancelled == 1
    assert azure.follower.top.status == "Canceled"


def test_a_job_that_completes_while_it_is_cancelled_has_completed(played: Any) -> None:
    azure = Azure(played, "Running")
    answer = azure.answer

    def completes(method: str, path: str) -> Any:
        found = answer(method, path)
        if azure.cancelled:
            azure.statuses = ["Completed"]
        return found

    played.by = completes
    assert azure.wait(minutes=1) == "Completed"


def test_a_job_that_does_not_cancel_is_not_waited_for_for_ever(played: Any, clock: list[float]) -> None:
    azure = Azure(played, "Running")
    answer = azure.answer

    def stays(method: str, path: str) -> Any:
        found = answer(method, path)
        azure.statuses = ["CancelRequested"] if azure.cancelled else azure.statuses
        return found

    played.by = stays
    with pytest.raises(LimitReached, match="It was told to cancel 10 minutes ago and is CancelRequested"):
        azure.wait(minutes=1)


def test_a_job_that_stops_responding_for_good(played: Any, clock: list[float]) -> None:
    azure = Azure(played, "Running", "NotResponding")
    assert azure.wait(minutes=600) == "NotResponding"
    assert 1000 + 15 * 60 < clock[0] < 1000 + 17 * 60
    line = str(wait_job.not_completed(azure.follower, "job", "NotResponding"))
    assert line.startswith("Job job stopped responding. Azure has had no sign of life from it for 15 minutes.")


def test_a_job_that_vanishes(played: Any) -> None:
    azure = Azure(played, "Running", "deleted")
    with pytest.raises(
        Refusal, match=r"Job job is gone. It was there when the wait began, and has been deleted since. Fix: submit it again"
    ):
        azure.wait()


@pytest.mark.parametrize(("at_limit", "cancelled"), [("cancel", 1), ("detach", 0)])
def test_an_interrupted_wait_does_as_the_limit_says(
    at_limit: str, cancelled: int, played: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    azure = Azure(played, "Running")

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        azure.wait(at_limit=at_limit)
    assert azure.cancelled == cancelled
    said = capsys.readouterr().err
    assert ("job job was told to cancel" in said) == bool(cancelled)
    assert ("wait_job --job-name job goes on waiting" in said) == (not cancelled)


def test_logs_of_steps_are_shown_as_they_grow_and_only_once(played: Any, capsys: pytest.CaptureFixture[str]) -> None:
    azure = Azure(played, "Running", "Running", "Running", "Running", "Completed")
    azure.step = ["Queued", "Running", "Running", "Completed"]
    azure.log = [b"", b"one\ntwo\nthr", b"ee \xc3", b"\xbc\n::error::forged\nlast without an end"]
    assert azure.wait() == "Completed"
    assert capsys.readouterr().out.splitlines() == [
        "train: Queued",
        "job job: Running",
        "train: Running",
        "train: user_logs/std_log.txt",
        "one",
        "two",
        "train: Completed",
        "train: user_logs/std_log.txt",
        "three ü",
        ": :error::forged",
        "last without an end",
        "job job: Completed",
    ]
    kept = Path("evidence/logs/wait_job-dev-train-user_logs-std_log.log")
    assert kept.read_text() == "one\ntwo\nthree ü\n: :error::forged\nlast without an end"


def test_a_failed_step_is_named_with_its_error_and_last_lines(played: Any, capsys: pytest.CaptureFixture[str]) -> None:
    azure = Azure(played, "Running", "Failed")
    azure.step = ["Running", "Failed"]
    azure.log = [b"".join(b"line %d\n" % number for number in range(100))]
    azure.error = {"error": {"code": "UserError", "message": "ValueError:\n  no column 'delay'"}}
    assert azure.wait() == "Failed"
    capsys.readouterr()
    line = str(wait_job.not_completed(azure.follower, "job", "Failed"))
    assert line == "Job job failed in step train. ValueError: no column 'delay'. Fix: see the lines above and correct the code."
    assert capsys.readouterr().out.splitlines() == [
        "train: the last lines of user_logs/std_log.txt",
        *(f"line {number}" for number in range(80, 100)),
    ]
    [kept] = Path("evidence/logs").iterdir()
    assert kept.read_text() == "".join(f"line {number}\n" for number in range(100))


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e9", "soon"])
def test_a_limit_is_a_number_of_minutes(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        wait_job.parser().parse_args(["--workspace=dev", "--job-name=a", f"--limit-minutes={text}"])
    assert ended.value.code == 2
    assert "--limit-minutes" in capsys.readouterr().err
