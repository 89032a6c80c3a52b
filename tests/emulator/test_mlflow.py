"""MLflow through the unmodified mlflow and azureml-mlflow: inside a job, and from a shell with the workspace's tracking URI."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests
from azure.ai.ml import MLClient, command
from azure.ai.ml.entities import Environment
from azure.identity import EnvironmentCredential
from azureml.mlflow._internal.service_context_loader import _AzureMLServiceContextLoader
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from emulator.jobs import models as jobs
from emulator.mlflow.models import of as server_of

ENDED = ("Completed", "Failed", "Canceled")
TRACKED = "name: tracked\nchannels: [conda-forge]\ndependencies:\n  - pip\n  - pip:\n    - azureml-mlflow\n"
SCRIPT = """
import os, pathlib, mlflow
with mlflow.start_run() as run:
    assert run.info.run_id == os.environ["AZUREML_RUN_ID"], run.info.run_id
    mlflow.log_param("depth", 6)
    mlflow.log_metric("rmse", 41.5, step=0)
    mlflow.log_metrics({"rmse": 40.5, "r2": 0.25}, step=1)
    mlflow.set_tag("champion", "no")
    pathlib.Path("plot.txt").write_text("a plot")
    mlflow.log_artifact("plot.txt", "plots")
    mlflow.log_dict({"columns": ["a"]}, "schema.json")
"""


@pytest.fixture(scope="module")
def place(emulator: Any) -> dict[str, Any]:
    """A workspace with a cluster."""
    made: dict[str, Any] = emulator.workspace("mlflow-ws")
    cluster = {
        "computeType": "AmlCompute",
        "properties": {"vmSize": "Standard_DS2_v2", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 2}},
    }
    emulator.arm("PUT", f"{made['id']}/computes/cpu", {"location": "westeurope", "properties": cluster})
    return made


@pytest.fixture
def ml(azure: Any, place: dict[str, Any]) -> MLClient:
    parts = place["id"].split("/")
    return MLClient(EnvironmentCredential(), parts[2], parts[4], parts[8])


@pytest.fixture
def tracking(azure: Any, place: dict[str, Any]) -> Iterator[str]:
    """This process's MLflow, pointed at the workspace."""
    uri: str = place["properties"]["mlFlowTrackingUri"]
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.end_run()
    mlflow.set_tracking_uri("")
    _AzureMLServiceContextLoader._tracking_uri_to_service_context.clear()


@pytest.fixture
def tracked_job(ml: MLClient, tmp_path: Path) -> str:
    """A job that has logged with azureml-mlflow and completed; its name."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "main.py").write_text(SCRIPT)
    (tmp_path / "conda.yml").write_text(TRACKED)
    environment = Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04", conda_file=str(tmp_path / "conda.yml"))
    job = command(
        code=str(tmp_path / "code"),
        command="python main.py",
        environment=environment,
        compute="cpu",
        experiment_name="tracked",
        tags={"by": "test"},
    )
    made = ml.jobs.create_or_update(job)
    while (now := ml.jobs.get(made.name).status) not in ENDED:
        time.sleep(0.1)
    details = ml.jobs._runs_operations.get_run_details(made.name)
    assert now == "Completed", details.error and details.error.error.message
    return str(made.name)


def test_a_job_logs_to_its_own_run(ml: MLClient, tracked_job: str, tracking: str, tmp_path: Path) -> None:
    run = MlflowClient().get_run(tracked_job)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"depth": "6"}
    assert run.data.metrics == {"rmse": 40.5, "r2": 0.25}
    assert run.data.tags["champion"] == "no"
    assert run.data.tags["by"] == "test"
    assert run.data.tags["mlflow.rootRunId"] == tracked_job
    assert [point.value for point in MlflowClient().get_metric_history(tracked_job, "rmse")] == [41.5, 40.5]
    assert mlflow.get_experiment(run.info.experiment_id).name == "tracked"
    assert ml.jobs.get(tracked_job).tags == {"by": "test", "champion": "no"}

    found = mlflow.search_runs(
        experiment_names=["tracked"], filter_string="metrics.rmse < 41 and tags.champion = 'no'", output_format="list"
    )
    assert tracked_job in [one.info.run_id for one in found]
    assert {file.path for file in MlflowClient().list_artifacts(tracked_job)} >= {"plots", "schema.json"}
    assert (
        Path(mlflow.artifacts.download_artifacts(run_id=tracked_job, artifact_path="plots/plot.txt", dst_path=str(tmp_path))).read_text()
        == "a plot"
    )
    ml.jobs.download(tracked_job, download_path=tmp_path / "job")
    assert (tmp_path / "job" / "artifacts" / "plots" / "plot.txt").read_text() == "a plot"


def test_a_shell_logs_a_run_of_its_own(tracking: str, tmp_path: Path) -> None:
    mlflow.set_experiment("from a shell")
    (tmp_path / "files" / "deep").mkdir(parents=True)
    (tmp_path / "files" / "deep" / "x.txt").write_text("x")
    with mlflow.start_run(run_name="by hand") as run:
        mlflow.log_params({"a": 1, "b": "two"})
        for step in range(3):
            mlflow.log_metric("loss", 3.0 - step, step=step)
        mlflow.log_artifacts(str(tmp_path / "files"), "files")
        with mlflow.start_run(nested=True) as child:
            mlflow.log_metric("loss", 9)
    read = mlflow.get_run(run.info.run_id)
    assert (read.info.status, read.info.run_name) == ("FINISHED", "by hand")
    assert read.data.params == {"a": "1", "b": "two"}
    assert read.data.metrics == {"loss": 1.0}
    assert "/experiments/from%20a%20shell/runs/" in read.info.artifact_uri
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="files", dst_path=str(tmp_path / "back")))
    assert (folder / "deep" / "x.txt").read_text() == "x"
    found = mlflow.search_runs(
        experiment_names=["from a shell"], filter_string=f"tags.mlflow.parentRunId = '{run.info.run_id}'", output_format="list"
    )
    assert [one.info.run_id for one in found] == [child.info.run_id]
    MlflowClient().delete_run(child.info.run_id)
    assert MlflowClient().get_run(child.info.run_id).info.lifecycle_stage == "deleted"


def test_workspaces_have_experiments_of_their_own(azure: Any, tracking: str) -> None:
    mlflow.set_experiment("same name")
    with mlflow.start_run() as run:
        pass
    other = azure.workspace("mlflow-other")
    client = MlflowClient(tracking_uri=other["properties"]["mlFlowTrackingUri"])
    assert client.get_experiment_by_name("same name") is None
    with pytest.raises(MlflowException, match="not found"):
        client.get_run(run.info.run_id)


def test_models_of_mlflow_3_cannot_be_logged_as_on_azure(tracking: str) -> None:
    with pytest.raises(MlflowException, match="logged-models failed with error code 404"):
        mlflow.initialize_logged_model(name="m")


def test_artifacts_can_be_listed_without_the_plugin(tracking: str, sign_in: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(tmp_path / "a.txt"), "below")
    base = tracking.replace("azureml://", "https://") + "/api/2.0/mlflow/artifacts/list"
    headers = {"Authorization": f"Bearer {sign_in()}"}
    assert requests.get(base, params={"run_id": run.info.run_id}, headers=headers, timeout=30).json()["files"] == [
        {"path": "below", "is_dir": True}
    ]
    deeper = requests.get(base, params={"run_id": run.info.run_id, "path": "below"}, headers=headers, timeout=30).json()["files"]
    assert deeper == [{"path": "below/a.txt", "is_dir": False, "file_size": 5}]


def test_a_reader_reads_and_does_not_write(emulator: Any, place: dict[str, Any], tracking: str, new_app: Any, sign_in: Any) -> None:
    app = new_app(f"mlflow-reader-{uuid.uuid4()}")
    assignment = {
        "properties": {
            "principalId": app["oid"],
            "roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7",
        }
    }
    emulator.arm("PUT", f"{place['id']}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}", assignment, "2022-04-01")
    headers = {"Authorization": f"Bearer {sign_in(client_id=app['appId'], secret=app['secret'])}"}
    base = tracking.replace("azureml://", "https://") + "/api/2.0/mlflow"
    assert requests.post(f"{base}/experiments/search", json={"max_results": 10}, headers=headers, timeout=30).status_code == 200
    refused = requests.post(f"{base}/experiments/create", json={"name": "no"}, headers=headers, timeout=30)
    assert refused.status_code == 403
    assert "experiments/write" in refused.text


def test_mlflow_starts_again_and_hears_what_it_missed(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
    cloud.store.put(id, "workspace", {"id": id, "location": "westeurope", "properties": {"workspaceId": str(uuid.uuid4())}})
    jobs.create(cloud, jobs.place(cloud, id), "missed", {"jobType": "Command"}, jobs.who_is(None), {})

    def broken(*_: Any) -> Any:
        raise OSError("the connection is gone")

    async def work() -> None:
        server = server_of(cloud)
        try:
            await server.begin()
            with monkeypatch.context() as patch:
                patch.setattr("emulator.mlflow.models._request", broken)
                with pytest.raises(OSError, match="gone"):
                    await server.ask(id, "GET", "/")
            (first,) = [child for child in cloud.children._all if child.name == "mlflow"]
            await first.kill()
            answer = await server.ask(id, "GET", "/api/2.0/mlflow/runs/get?run_id=missed")
            assert (answer.status, b"missed" in answer.body) == (200, True)
        finally:
            server.close()
            await cloud.children.close()

    asyncio.run(work())
