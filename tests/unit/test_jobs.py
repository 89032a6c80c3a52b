"""A job's content key: another for whatever changes the result, the same for all else; and what is pinned before it is submitted."""

from __future__ import annotations

from typing import Any

import pytest

from aml import jobs, project, source, spec
from aml.command import Refusal


class Azure:
    """What a workspace has, by path, in place of the client."""

    def __init__(self, **there: dict[str, Any]) -> None:
        self.there = {path.replace("__", "/"): found for path, found in there.items()}
        self.asked: list[str] = []

    def find(self, path: str) -> dict[str, Any] | None:
        self.asked.append(path)
        return self.there.get(path)


def described(files: Any, client: Any = None) -> jobs.Job:
    return jobs.describe(files.folder, spec.release(files.folder)["train"], client or Azure())


def test_what_is_submitted_has_everything_in_it(files: Any) -> None:
    job = described(files)
    environment = project.asset(files.folder / ".cloud/environments/train.yml", "environment")
    content = job.content
    assert content["inputs"] == {"flights": {"type": "uri_folder", "path": "azureml:flights:1"}, "rate": 0.1}
    assert content["jobs"]["prepare"]["environment"] == f"azureml:train:{environment.version}"
    assert content["jobs"]["prepare"]["code"] == str((files.folder / "code/prepare").resolve())
    assert content["jobs"]["train"]["component"]["code"] == str((files.folder / "code/train").resolve())
    assert content["jobs"]["train"]["component"]["environment"] == f"azureml:train:{environment.version}"
    assert "$schema" not in content
    assert job.data == ["flights:1"]
    assert job.name("tiny", 1) == f"tiny-{job.key[7:17]}"
    assert job.name("tiny", 3) == f"tiny-{job.key[7:17]}-3"


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("pipelines/train.yml", "--in", "--from"),
        ("pipelines/components/train.yml", "default: 0.2", "default: 0.3"),
        ("code/prepare/prepare.py", "prepared", "changed"),
        ("code/train/train.py", "trained", "changed"),
        ("data/flights.csv", "1,2", "1,3"),
        (".cloud/environments/train-conda.yml", "3.10", "3.11"),
        (".cloud/environments/train.yml", "20240709", "20250101"),
        (".cloud/release.yml", "rate: 0.1", "rate: 0.2"),
    ],
)
def test_what_changes_the_result_changes_the_key(path: str, old: str, new: str, files: Any) -> None:
    before = described(files).key
    files.edit(path, old, new)
    assert described(files).key != before


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("pipelines/train.yml", "type: pipeline", "# a comment\ntype:   'pipeline'"),
        ("pipelines/train.yml", "pipelineJob.schema.json", "other.schema.json"),
        (".cloud/environments/train.yml", "name: train", "name: train\ndescription: For training\ntags: {a: b}"),
        (".cloud/release.yml", "max: 60", "max: 70"),
        ("code/score/score.py", "return raw", "return [raw]"),
        (".cloud/online/deployment.yml", "instance_count: 1", "instance_count: 2"),
    ],
)
def test_what_does_not_change_the_result_keeps_the_key(path: str, old: str, new: str, files: Any) -> None:
    before = described(files).key
    files.edit(path, old, new)
    assert described(files).key == before


def test_leftovers_and_the_place_of_the_project_keep_the_key(files: Any) -> None:
    before = described(files).key
    files.write("code/train/__pycache__/train.cpython-311.pyc", "x")
    files.folder.rename("elsewhere")
    files.folder = type(files.folder)("elsewhere")
    assert described(files).key == before


def test_no_version_means_the_version_by_content(files: Any) -> None:
    files.edit(".cloud/data/flights.yml", 'version: "1"\n', "")
    files.edit("pipelines/train.yml", "azureml:flights:1", "azureml:flights@latest")
    first = described(files)
    version = first.content["inputs"]["flights"]["path"].rpartition(":")[2]
    assert len(version) == 12
    assert version in project.asset(files.folder / ".cloud/data/flights.yml", "data").digest
    files.edit("data/flights.csv", "1,2", "1,3")
    assert described(files).content["inputs"]["flights"]["path"] != first.content["inputs"]["flights"]["path"]


def test_a_label_on_what_others_keep_becomes_the_version_it_has_now(files: Any) -> None:
    files.edit("pipelines/train.yml", "azureml:flights:1", "azureml:shared@latest")
    client = Azure(data__shared={"properties": {"latestVersion": "7"}})
    first = described(files, client)
    assert first.content["inputs"]["flights"]["path"] == "azureml:shared:7"
    assert first.data == ["shared:7"]
    assert client.asked == ["data/shared"], "asked once"
    client.there["data/shared"]["properties"]["latestVersion"] = "8"
    assert described(files, client).key != first.key


def test_what_the_workspace_does_not_have_is_refused(files: Any) -> None:
    files.edit("pipelines/train.yml", "azureml:flights:1", "azureml:shared@latest")
    with pytest.raises(
        Refusal, match=r"p/pipelines/train.yml:8 uses azureml:shared@latest, which the workspace does not have. Fix: name a version"
    ):
        described(files)


def test_what_others_keep_under_a_version_stays_as_it_is(files: Any) -> None:
    files.edit("pipelines/train.yml", "azureml:flights:1", "azureml:shared:3")
    client = Azure()
    assert described(files, client).content["inputs"]["flights"]["path"] == "azureml:shared:3"
    assert client.asked == []


def test_a_missing_file_is_refused_with_its_place(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (files.folder / ".cloud/environments/train-conda.yml").unlink()
    with pytest.raises(Refusal, match=r"p/.cloud/environments/train.yml cannot be used. 1 problem. Fix: correct what is listed above"):
        described(files)
    assert (
        "p/.cloud/environments/train.yml:3:13: expected a file or folder, found no p/.cloud/environments/train-conda.yml"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("statuses", "found", "found_at_retrain"),
    [
        ([], None, None),
        (["Completed"], 1, None),
        (["Completed", "Completed"], 2, None),  # the second is a retraining, whose model is the one that was wanted
        (["Completed", "Running"], 2, 2),
        (["Completed", "Failed"], 1, None),
        (["Failed", "Canceled", "CancelRequested"], None, None),
        (["Completed", "CancelRequested"], 1, None),
        (["NotResponding"], 1, 1),
        (["Failed", "Unknown"], 2, 2),
        (["Completed", "A status of tomorrow"], 2, 2),
        (["Running", "Completed"], 2, 1),
    ],
)
def test_the_newest_job_that_completed_or_may_still_is_used(
    statuses: list[str], found: int | None, found_at_retrain: int | None, files: Any
) -> None:
    job, client = described(files), Azure()
    client.there = {f"jobs/{job.name('tiny', n)}": {"properties": {"status": status}} for n, status in enumerate(statuses, 1)}
    for retrain, wanted in ((False, found), (True, found_at_retrain)):
        used = jobs.usable(jobs.attempts(client, job, "tiny"), retrain=retrain)  # type: ignore[arg-type]
        assert (used and used[0]) == (wanted and job.name("tiny", wanted))


def test_a_job_that_a_person_submitted_under_the_name_is_passed_over(files: Any) -> None:
    job, client = described(files), Azure()
    for kind, of_people, people in (("User", None, 1), ("Application", 1, 1)):
        client.there = {f"jobs/{job.name('tiny', 1)}": {"properties": {"status": "Completed"}, "systemData": {"createdByType": kind}}}
        for allowed, wanted in ((False, of_people), (True, people)):
            used = jobs.usable(jobs.attempts(client, job, "tiny"), retrain=False, people=allowed)  # type: ignore[arg-type]
            assert (used and used[0]) == (wanted and job.name("tiny", wanted))


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://x-access-token:ghs_secret@github.com/contoso/a.git", "https://github.com/contoso/a.git"),
        ("https://secret@dev.azure.com/contoso/_git/a", "https://dev.azure.com/contoso/_git/a"),
        ("https://github.com/contoso/a", "https://github.com/contoso/a"),
        ("git@github.com:contoso/a.git", "git@github.com:contoso/a.git"),
        ("", ""),
    ],
)
def test_no_token_in_a_remotes_address_is_kept(url: str, clean: str) -> None:
    assert source.without_token(url) == clean
