"""MLflow's model registry through the unmodified mlflow and azureml-mlflow: the same models that the SDK sees."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import Model
from azure.identity import EnvironmentCredential
from azureml.mlflow._internal.service_context_loader import _AzureMLServiceContextLoader
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from emulator.core import SUBSCRIPTION

GROUP, WORKSPACE, REGISTRY = "rg-mlflow-models", "mlflow-models", "mlflow-registry"


@pytest.fixture(scope="module")
def place(emulator: Any) -> dict[str, Any]:
    emulator.admin.registry(REGISTRY, GROUP)
    made: dict[str, Any] = emulator.admin.workspace(WORKSPACE, GROUP)
    return made


@pytest.fixture
def ml(azure: Any, place: dict[str, Any]) -> MLClient:
    return MLClient(EnvironmentCredential(), SUBSCRIPTION, GROUP, WORKSPACE, enable_telemetry=False, show_progress=False)


@pytest.fixture
def client(azure: Any, place: dict[str, Any]) -> Iterator[MlflowClient]:
    """MLflow's client, pointed at the workspace."""
    mlflow.set_tracking_uri(place["properties"]["mlFlowTrackingUri"])
    yield MlflowClient()
    mlflow.end_run()
    mlflow.set_tracking_uri("")
    mlflow.set_registry_uri("")
    _AzureMLServiceContextLoader._tracking_uri_to_service_context.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An MLflow model of files that are compared."""
    root = tmp_path / "saved"
    (root / "inner").mkdir(parents=True)
    (root / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n")
    (root / "inner" / "weights.bin").write_bytes(bytes(range(256)) * 1000)
    return root


def content(root: Path) -> dict[str, bytes]:
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def unique(stem: str) -> str:
    return f"{stem}-{uuid.uuid4().hex[:8]}"


def test_what_a_run_logged_becomes_an_asset(client: MlflowClient, ml: MLClient, folder: Path, tmp_path: Path) -> None:
    name = unique("logged")
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(folder), "model")
    client.create_registered_model(name)
    # mlflow.register_model of version 3 asks for logged models first, which Azure does not have
    made = client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id, tags={"a": "b"})
    assert (made.name, made.version, made.run_id, made.status) == (name, "1", run.info.run_id, "READY")
    asset = ml.models.get(name, "1")
    assert (asset.type, asset.job_name, asset.tags) == ("mlflow_model", run.info.run_id, {"a": "b"})
    assert asset.flavors["python_function"] == {"loader_module": "mlflow.sklearn"}
    down = mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=str(tmp_path / "down"))
    assert content(folder).items() <= content(Path(down)).items()
    assert client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id).version == "2"
    assert [one.version for one in client.search_model_versions(f"run_id='{run.info.run_id}' and tags.a = 'b'")] == ["1"]


def test_a_local_model_goes_up(client: MlflowClient, ml: MLClient, folder: Path, tmp_path: Path) -> None:
    name = unique("local")
    mlflow.register_model(f"file://{folder}", name)
    ml.models.download(name, "1", str(tmp_path / "down"))
    assert content(tmp_path / "down" / name / "saved") == content(folder)


def test_what_the_sdk_registered_is_there_too(client: MlflowClient, ml: MLClient, folder: Path, tmp_path: Path) -> None:
    name = unique("sdk")
    ml.models.create_or_update(Model(name=name, path=str(folder), type="mlflow_model", description="from the SDK"))
    assert client.get_model_version(name, "1").description == "from the SDK"
    down = mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=str(tmp_path / "down"))
    assert content(folder).items() <= content(Path(down)).items()


def test_stages_tags_and_words_change(client: MlflowClient, ml: MLClient, folder: Path) -> None:
    name = unique("staged")
    for _ in range(2):
        ml.models.create_or_update(Model(name=name, path=str(folder), type="mlflow_model"))
    client.transition_model_version_stage(name, "1", "Production")
    client.transition_model_version_stage(name, "2", "Production", archive_existing_versions=True)
    assert [client.get_model_version(name, version).current_stage for version in ("1", "2")] == ["Archived", "Production"]
    assert [one.version for one in client.get_latest_versions(name, ["Production"])] == ["2"]
    client.set_model_version_tag(name, "2", "approved", "yes")
    client.set_registered_model_tag(name, "team", "x")
    client.update_model_version(name, "2", "words")
    asset = ml.models.get(name, "2")
    assert (asset.stage, asset.tags, asset.description) == ("Production", {"approved": "yes"}, "words")
    client.delete_model_version_tag(name, "2", "approved")
    assert client.get_model_version(name, "2").tags == {}
    assert client.get_registered_model(name).tags == {"team": "x"}
    with pytest.raises(MlflowException, match="Invalid Model Version stage"):
        client.transition_model_version_stage(name, "2", "Limbo")


def test_search_and_deletion(client: MlflowClient, ml: MLClient, folder: Path) -> None:
    name = unique("found")
    for _ in range(2):
        ml.models.create_or_update(Model(name=name, path=str(folder), type="mlflow_model"))
    assert [one.version for one in client.search_model_versions(f"name='{name}'")] == ["2", "1"]
    assert [one.name for one in client.search_registered_models(f"name ILIKE '{name.upper()[:-1]}%'")] == [name]
    client.delete_model_version(name, "2")
    assert [one.version for one in client.search_model_versions(f"name='{name}'")] == ["1"]
    client.delete_registered_model(name)
    with pytest.raises(MlflowException, match=f"Registered Model with name={name} not found") as gone:
        client.get_registered_model(name)
    assert gone.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_what_is_refused(client: MlflowClient) -> None:
    name = unique("twice")
    client.create_registered_model(name, description="d")
    with pytest.raises(MlflowException, match="already exists") as twice:
        client.create_registered_model(name)
    assert twice.value.error_code == "RESOURCE_ALREADY_EXISTS"
    with pytest.raises(MlflowException, match="No artifacts matching model found from Job"):
        client.create_model_version(name, "runs:/no-such-run/model")
    with pytest.raises(MlflowException, match="Invalid filter 'description = 'x''"):
        client.search_registered_models("description = 'x'")


def test_a_registry_has_one_of_its_own(client: MlflowClient, ml: MLClient, folder: Path, tmp_path: Path) -> None:
    name = unique("shared")
    mlflow.set_registry_uri(ml.registries.get(REGISTRY).mlflow_registry_uri)
    mlflow.register_model(f"file://{folder}", name)
    shared = MLClient(EnvironmentCredential(), registry_name=REGISTRY, enable_telemetry=False, show_progress=False)
    assert shared.models.get(name, "1").type == "mlflow_model"
    shared.models.download(name, "1", str(tmp_path / "down"))
    assert content(tmp_path / "down" / name / "saved") == content(folder)
    down = mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=str(tmp_path / "mlflow"))
    assert content(folder).items() <= content(Path(down)).items()
