"""Submitting the job and waiting for it: what is used again, what is submitted anew, and what a failure says."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from typing import Any


def content_key(training: Any, job: str) -> str:
    return str(training.arm("GET", f"jobs/{job}")["properties"]["properties"]["content_key"])


def ended(training: Any, job: str) -> str:
    """The status of a job once it has ended."""
    while (status := training.arm("GET", f"jobs/{job}")["properties"]["status"]) not in ("Completed", "Failed", "Canceled"):
        pass
    return str(status)


def test_train_and_use_it_again(training: Any, submitted: Callable[[], str]) -> None:
    job = submitted()
    waited = training.run("wait_job", job_name=job)
    assert waited.output("job_status") == "Completed"
    for line in ("prepared 2 rows", "trained on 2 rows at 2", "prepare: Completed", "train: Completed", f"job {job}: Completed"):
        assert waited.out.splitlines().count(line) == 1
    assert f"unchanged  job {job} had completed already" in training.run("wait_job", job_name=job).out
    again = training.run("submit_job")
    assert (again.output("job_name"), again.output("job_reused")) == (job, "true")
    assert f"unchanged  job {job} (Completed, sha256:" in again.out

    properties = training.arm("GET", f"jobs/{job}")["properties"]["properties"]
    (used,) = json.loads(properties["data"])
    assert used.startswith(f"{training.name}-flights:")

    anew = training.run("submit_job", retrain="true")
    assert (anew.output("job_name"), anew.output("job_reused")) == (f"{job}-2", "false")
    assert content_key(training, f"{job}-2") == content_key(training, job)
    settings = [training.arm("GET", f"jobs/{name}")["properties"]["settings"] for name in (job, f"{job}-2")]
    assert [bool(each.get("force_rerun")) for each in settings] == [False, True], "Azure reuses no step of the job before"
    under_way_or_done = training.run("submit_job")
    assert (under_way_or_done.output("job_name"), under_way_or_done.output("job_reused")) == (f"{job}-2", "true")

    training.edit("code/train/train.py", "trained on", "trained well on")
    changed = training.run("submit_job")
    assert changed.output("job_reused") == "false"
    assert not changed.output("job_name").startswith(job)


def test_what_git_knows_is_kept_without_the_token(training: Any, submitted: Callable[[], str]) -> None:
    for words in (
        ["init", "-q", "-b", "main"],
        ["remote", "add", "origin", "https://x-access-token:secret@github.com/contoso/delay.git"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first"],
    ):
        subprocess.run(["git", "-C", str(training.folder), *words], check=True)
    properties = training.arm("GET", f"jobs/{submitted()}")["properties"]["properties"]
    assert re.fullmatch("[0-9a-f]{40}", properties["mlflow.source.git.commit"])
    assert properties["commit"] == properties["mlflow.source.git.commit"]
    assert properties["mlflow.source.git.branch"] == "main"
    assert properties["mlflow.source.git.repoURL"] == "https://github.com/contoso/delay.git"
    assert properties["azureml.git.dirty"] == "True"


def test_a_job_that_failed_is_submitted_anew(training: Any, submitted: Callable[[], str]) -> None:
    training.edit("code/train/train.py", "rows =", "raise SystemExit('the data has no column delay')\nrows =")
    job = submitted()
    waited = training.run("wait_job", job_name=job)
    assert re.match(rf"Job {job} failed in step train\. .*the data has no column delay", waited.refusal)
    assert "train: the last lines of user_logs/std_log.txt" in waited.out
    assert "job_status: Failed" in waited.out
    again = training.run("wait_job", job_name=job)
    assert again.refusal == waited.refusal, "asking again says the same"
    assert training.run("submit_job").output("job_name") == f"{job}-2"


def test_an_image_that_cannot_be_built_is_told_with_its_log(training: Any, submitted: Callable[[], str]) -> None:
    training.append("code/train/conda.yml", "  - pip:\n    - no-such-package-anywhere==99.99\n")
    job = submitted()
    waited = training.run("wait_job", job_name=job)
    assert re.match(rf"Job {job} failed in step prepare\. ", waited.refusal)
    assert "no-such-package-anywhere" in waited.refusal + waited.out


def test_killed_between_submitting_and_saying_so(training: Any, submitted: Callable[[], str], azure: Any) -> None:
    job = submitted()
    training.arm("POST", f"jobs/{job}/cancel")
    assert ended(training, job) in ("Canceled", "Completed")
    # Whatever happened to the run that submitted it, the job has the name that its content gives it.
    found = training.run("submit_job")
    assert found.output("job_name") in (job, f"{job}-2")
    assert training.run("submit_job").output("job_name") == found.output("job_name")


def test_two_runs_that_submit_the_same_content_get_one_job(training: Any, submitted: Callable[[], str], monkeypatch: Any) -> None:
    import submit_job

    first = submitted()
    real, looked = submit_job.jobs.attempts, []

    def blind_once(*words: Any) -> Any:
        looked.append(1)
        return iter(()) if len(looked) == 1 else real(*words)

    monkeypatch.setattr(submit_job.jobs, "attempts", blind_once)
    second = training.run("submit_job")
    assert second.output("job_name") == first
    assert len([job for job in training.arm("GET", "jobs")["value"] if job["name"].startswith(first)]) == 1


def test_a_connection_that_breaks_when_the_answer_comes(training: Any, submitted: Callable[[], str], azure: Any) -> None:
    for verb in ("register_data", "register_environment"):
        assert not training.run(verb).refusal
    azure.fault(host="management.azure.com", path=f"*/jobs/{training.name}-*", method="PUT", reset=True, times=2)
    job = training.run("submit_job").output("job_name")
    assert training.run("submit_job").output("job_name") == job


def test_no_such_job(training: Any) -> None:
    refusal = training.run("wait_job", job_name="nothing").refusal
    assert refusal == "There is no job nothing in workspace dev. It was deleted, or never submitted. Fix: submit it with submit_job."


SLOW = "import time\nfor second in range(600):\n    print('second', second, flush=True)\n    time.sleep(0.1)\n"


def test_at_the_limit_a_job_detaches_resumes_and_is_cancelled(training: Any, submitted: Callable[[], str]) -> None:
    training.edit("code/prepare/prepare.py", "import pathlib\n", SLOW + "import pathlib\n")
    job = submitted()
    detached = training.run("wait_job", job_name=job, limit_minutes="0.01", at_limit="detach")
    assert re.match(rf"Job {job} has not ended within 0.01 minutes\. It is \w+ and goes on\. Fix: run wait_job again", detached.refusal)
    assert training.arm("GET", f"jobs/{job}")["properties"]["status"] not in ("Canceled", "CancelRequested")
    resumed = training.run("submit_job")
    assert (resumed.output("job_name"), resumed.output("job_reused")) == (job, "true")
    cancelled = training.run("wait_job", job_name=job, limit_minutes="0.01")
    assert "It was cancelled. Fix: raise train.wait.limit_minutes in .cloud/release.yml" in cancelled.refusal
    assert training.arm("GET", f"jobs/{job}")["properties"]["status"] == "Canceled"
    assert training.run("submit_job").output("job_name") == f"{job}-2"
    training.arm("POST", f"jobs/{job}-2/cancel")


def test_a_cancelled_pipeline_cancels_its_job(training: Any, submitted: Callable[[], str]) -> None:
    training.edit("code/prepare/prepare.py", "import pathlib\n", SLOW + "import pathlib\n")
    job = submitted()
    with training.started("wait_job", job_name=job) as process:
        assert process.stdout
        for line in process.stdout:
            if "second 0" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(60) == 130
    assert f"warning: The wait was interrupted; job {job} was told to cancel." in rest
    assert ended(training, job) == "Canceled"


def test_a_job_somebody_cancels_or_deletes_meanwhile(training: Any, submitted: Callable[[], str]) -> None:
    training.edit("code/prepare/prepare.py", "import pathlib\n", SLOW + "import pathlib\n")
    job = submitted()
    with training.started("wait_job", job_name=job) as process:
        assert process.stdout
        for line in process.stdout:
            if "second 0" in line:
                break
        training.arm("POST", f"jobs/{job}/cancel")
        rest = process.stdout.read()
        assert process.wait(60) == 1
    assert f"error: Job {job} was cancelled. Somebody or something else cancelled it." in rest


def test_a_token_that_ends_during_the_wait_is_renewed(training: Any, submitted: Callable[[], str], azure: Any) -> None:
    azure.set("token_lifetime", 3)
    try:
        training.edit("code/prepare/prepare.py", "import pathlib\n", SLOW.replace("600", "60") + "import pathlib\n")
        job = submitted()
        assert training.run("wait_job", job_name=job).output("job_status") == "Completed"
    finally:
        azure.set("token_lifetime", 3600)


def test_faults_in_the_middle_of_the_wait_are_survived(training: Any, submitted: Callable[[], str], azure: Any) -> None:
    job = submitted()
    azure.fault(host="*.api.azureml.ms", path="*/details", status=503, after=1, times=2)
    azure.fault(host="*.api.azureml.ms", path="*/children", reset=True, times=1)
    azure.fault(host="management.azure.com", path=f"*/jobs/{job}", status=429, retry_after=1, times=1)
    assert training.run("wait_job", job_name=job).output("job_status") == "Completed"


def test_history_that_stays_down_ends_the_wait_and_not_the_job(
    training: Any, submitted: Callable[[], str], azure: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("azure.core.pipeline.transport.RequestsTransport.sleep", lambda self, seconds: None)
    training.edit("code/prepare/prepare.py", "import pathlib\n", SLOW + "import pathlib\n")
    job = submitted()
    azure.fault(host="*.api.azureml.ms", path="*/details", reset=True, times=0)
    refusal = training.run("wait_job", job_name=job).refusal
    assert "cannot be reached. the connection broke, again and again. Fix: run it again: it finds what is already done." in refusal
    azure.ask("DELETE", "/faults")
    assert training.arm("GET", f"jobs/{job}")["properties"]["status"] not in ("Canceled", "CancelRequested", "Failed")
    training.arm("POST", f"jobs/{job}/cancel")


def test_names_with_anything_in_them_are_harmless(training: Any, submitted: Callable[[], str]) -> None:
    odd = 'it\'s "odd" $(touch pwned) `id` ; é日本'
    training.write(f"code/{odd}/prepare.py", (training.folder / "code/prepare/prepare.py").read_text())
    training.edit("pipelines/train.yml", "../code/prepare", json.dumps(f"../code/{odd}", ensure_ascii=False))
    training.edit(
        "pipelines/train.yml",
        "  prepare:\n    type: command\n",
        f"  prepare:\n    type: command\n    display_name: {json.dumps(odd + chr(10) + '::error::forged')}\n",
    )
    job = submitted()
    waited = training.run("wait_job", job_name=job)
    assert waited.output("job_status") == "Completed"
    assert not any(line.startswith("::") for line in waited.out.splitlines())
    assert not list(training.folder.rglob("pwned"))
