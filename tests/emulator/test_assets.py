"""Datastores and assets, driven by azure-ai-ml, azure-mgmt-machinelearningservices and azure-storage-blob; bytes are compared."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import MLClient, load_component
from azure.ai.ml._artifacts._artifact_utilities import download_artifact_from_aml_uri
from azure.ai.ml.entities import AccountKeyConfiguration, AzureBlobDatastore, BuildContext, Data, Environment, Model
from azure.ai.ml.entities._assets import Code
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import ClientSecretCredential, EnvironmentCredential
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient
from azure.mgmt.machinelearningservices import models as rest
from azure.storage.blob import BlobServiceClient, ContainerClient

from emulator.assets import paths
from emulator.core import SUBSCRIPTION, TENANT, Cloud
from emulator.errors import AzureError

GROUP, WORKSPACE = "rg-assets-one", "assets-one"
ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
LONG = f"azureml://subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/workspaces/{WORKSPACE}/datastores/workspaceblobstore/paths/"


@pytest.fixture(scope="module")
def place(emulator: Any) -> dict[str, Any]:
    """The workspace of this file."""
    made: dict[str, Any] = emulator.workspace(WORKSPACE)
    return made


@pytest.fixture
def ml(azure: Any, place: Any) -> MLClient:
    return MLClient(EnvironmentCredential(), SUBSCRIPTION, GROUP, WORKSPACE, enable_telemetry=False, show_progress=False)


@pytest.fixture
def mgmt(azure: Any, place: Any) -> MachineLearningServicesMgmtClient:
    return MachineLearningServicesMgmtClient(EnvironmentCredential(), SUBSCRIPTION)


@pytest.fixture
def ask(send: Callable[..., Any], sign_in: Callable[..., str], place: Any) -> Callable[..., Any]:
    """A plain request about the workspace."""
    token = sign_in()
    return lambda method, path, body=None, **more: send(
        method, f"https://management.azure.com{ID}{path}", token=token, version="2024-04-01", json=body, **more
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with files in folders, and names that need quoting."""
    root = tmp_path / "a tree"
    (root / "sub folder").mkdir(parents=True)
    (root / "plain.csv").write_bytes(b"a,b\n1,2\n")
    (root / "sub folder" / "späte flüge & $(x) 50%.bin").write_bytes(bytes(range(256)) * 40)
    (root / "empty").write_bytes(b"")
    return root


def content(root: Path) -> dict[str, bytes]:
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def unique(stem: str) -> str:
    return f"{stem}-{uuid.uuid4().hex[:8]}"


def someone(azure: Any, **roles: str) -> ClientSecretCredential:
    """The credential of a new application with these roles, given as role=scope."""
    grants = [{"role": role.replace("_", " "), "scope": scope} for role, scope in roles.items()]
    made = azure.ask("POST", "/identities", {"name": unique("app"), "secret": "s3cret-of-a-test", "roles": grants})
    return ClientSecretCredential(TENANT, made["client_id"], "s3cret-of-a-test")


def fetch(ml: MLClient, uri: str, folder: Path) -> Path:
    download_artifact_from_aml_uri(uri, str(folder), ml.datastores)
    return folder


class TestReferences:
    def test_what_lies_elsewhere_is_for_those_who_may_read_it_there(self, azure: Any, send: Any, place: Any) -> None:
        other = azure.workspace("assets-other")["id"]
        azure.arm("PUT", f"{other}/environments/e/versions/1", {"properties": {"image": "base"}})
        made = azure.workspace("assets-mine")["id"]
        guid = azure.arm("GET", other)["properties"]["workspaceId"]
        credential = someone(azure, Contributor=made)
        token = credential.get_token("https://management.azure.com/.default").token
        elsewhere = other.replace("/subscriptions", "azureml://subscriptions").replace("/providers/Microsoft.MachineLearningServices", "")
        blobs = f"{elsewhere}/datastores/workspaceblobstore/paths/a"
        environment = f"{other}/environments/e/versions/1"
        azure.arm("PUT", f"{made}/environments/e/versions/1", {"properties": {"image": "base"}})
        own = f"{made}/environments/e/versions/1"
        job = {"jobType": "Command", "command": "true"}
        deployment = {"endpointComputeType": "Managed", "environmentId": environment}
        endpoint = f"{made}/onlineEndpoints/{unique('refs')}"
        azure.arm("PUT", endpoint, {"location": "westeurope", "properties": {"authMode": "Key"}})
        nested = {"jobType": "Pipeline", "jobs": {"value": {"inputs": {"tags": {"job_input_type": "uri_folder", "uri": blobs}}}}}
        for path, properties, action in [
            ("data/d/versions/1", {"dataType": "uri_folder", "dataUri": blobs}, "datastores/read"),
            ("models/m/versions/1", {"modelUri": blobs}, "datastores/read"),
            ("components/c/versions/1", {"componentSpec": {"environment": f"azureml:{environment}"}}, "environments/versions/read"),
            ("jobs/j", {**job, "environmentId": environment}, "environments/versions/read"),
            (
                "jobs/j",
                {**job, "environmentId": f"azureml://locations/x/workspaces/{guid}/environments/e/versions/1"},
                "environments/versions/read",
            ),
            ("jobs/j", {**job, "environmentId": own, "inputs": {"x": {"jobInputType": "uri_folder", "uri": blobs}}}, "datastores/read"),
            ("jobs/j", nested, "datastores/read"),
            (f"{endpoint[len(made) + 1 :]}/deployments/blue", deployment, "environments/versions/read"),
        ]:
            body = {"location": "westeurope", "properties": properties}
            answer = send("PUT", f"https://management.azure.com{made}/{path}", token=token, version="2024-04-01", json=body)
            assert answer.status_code == 403, (path, answer.text)
            assert f"Microsoft.MachineLearningServices/workspaces/{action}' over scope '{other}/" in answer.text
        curated = {"componentSpec": {"environment": "azureml://registries/azureml/environments/sklearn-1.5/labels/latest"}}
        url = f"https://management.azure.com{made}/components/c/versions/1"
        assert send("PUT", url, token=token, version="2024-04-01", json={"properties": curated}).status_code == 201


class TestDatastores:
    def test_a_workspace_comes_with_four(self, ml: MLClient) -> None:
        found = {store.name: store for store in ml.datastores.list()}
        assert set(found) == {"workspaceblobstore", "workspaceartifactstore", "workspacefilestore", "workspaceworkingdirectory"}
        assert ml.datastores.get_default().name == "workspaceblobstore"
        assert found["workspaceartifactstore"].container_name == "azureml"
        assert found["workspaceblobstore"].account_name == "stassetsone"

    def test_one_of_ones_own_lives_and_dies(self, ml: MLClient, azure: Any) -> None:
        key = azure.arm("POST", f"{ID}/listKeys")["userStorageKey"]
        store = AzureBlobDatastore(
            name="extra_1",
            account_name="stassetsone",
            container_name="azureml",
            credentials=AccountKeyConfiguration(account_key=key),
            tags={"a": "b"},
        )
        assert ml.datastores.create_or_update(store).tags == {"a": "b"}
        assert ml.datastores.get("extra_1", include_secrets=True).credentials.sas_token
        ml.datastores.delete("extra_1")
        with pytest.raises(ResourceNotFoundError, match="Could not find datastore: extra_1"):
            ml.datastores.get("extra_1")

    def test_secrets_are_not_shown_by_reads(self, ask: Callable[..., Any]) -> None:
        body = {
            "properties": {
                "datastoreType": "AzureBlob", "accountName": "stassetsone", "containerName": "azureml",
                "credentials": {"credentialsType": "Sas", "secrets": {"secretsType": "Sas", "sasToken": "sv=secret"}},
            }
        }  # fmt: skip
        assert "sv=secret" not in ask("PUT", "/datastores/with_sas", body).text
        assert "sv=secret" not in ask("GET", "/datastores/with_sas").text
        assert ask("POST", "/datastores/with_sas/listSecrets").json() == {"secretsType": "Sas", "sasToken": "sv=secret"}

    def test_the_sdk_gets_a_sas_and_the_key_only_on_request(self, ml: MLClient, mgmt: MachineLearningServicesMgmtClient) -> None:
        assert ml.datastores.get("workspaceblobstore", include_secrets=True).credentials.sas_token
        key = mgmt.datastores.list_secrets(GROUP, WORKSPACE, "workspaceblobstore")
        assert key.secrets_type == "AccountKey"
        service = BlobServiceClient("https://stassetsone.blob.core.windows.net", credential=key.key)
        assert "azureml" in [container.name for container in service.list_containers()]

    def test_blobs_open_to_a_token_too(self, ml: MLClient) -> None:
        service = BlobServiceClient("https://stassetsone.blob.core.windows.net", credential=EnvironmentCredential())
        service.get_blob_client("azureml", "by-token.txt").upload_blob(b"with a token", overwrite=True)
        assert service.get_blob_client("azureml", "by-token.txt").download_blob().readall() == b"with a token"

    def test_the_default_ones_stay(self, ml: MLClient) -> None:
        with pytest.raises(HttpResponseError, match="default datastore workspaceblobstore of the workspace cannot be deleted"):
            ml.datastores.delete("workspaceblobstore")

    @pytest.mark.parametrize(
        ("properties", "target"),
        [
            ({"datastoreType": "Floppy"}, "properties.datastoreType"),
            ({"datastoreType": "AzureBlob", "accountName": "x"}, "properties.containerName"),
            ({"datastoreType": "AzureBlob", "accountName": "x", "containerName": "y"}, "properties.credentials"),
            (
                {"datastoreType": "AzureBlob", "accountName": "x", "containerName": "y", "credentials": {"credentialsType": "AccountKey"}},
                "properties.credentials.secrets.key",
            ),
            (
                {"datastoreType": "AzureBlob", "accountName": "nobodys", "containerName": "y", "credentials": {"credentialsType": "None"}},
                "properties.accountName",
            ),
            (None, "properties"),
        ],
    )
    def test_a_body_that_cannot_be_is_refused_by_name(self, ask: Callable[..., Any], properties: Any, target: str) -> None:
        answer = ask("PUT", "/datastores/bad", {"properties": properties})
        assert (answer.status_code, answer.json()["error"]["target"]) == (400, target)


class TestData:
    def test_a_folder_goes_up_and_comes_down(self, ml: MLClient, tree: Path, tmp_path: Path) -> None:
        name = unique("folder")
        made = ml.data.create_or_update(Data(name=name, version="1", path=str(tree), type="uri_folder", tags={"a": "b"}, description="d"))
        assert made.id == f"{ID}/data/{name}/versions/1"
        assert str(made.path).startswith(LONG + "LocalUpload/")
        assert content(fetch(ml, str(made.path), tmp_path / "down")) == content(tree)
        again = ml.data.get(name, version="1")
        assert (again.tags, again.description, again.type, again.creation_context.created_by) == (
            {"a": "b"},
            "d",
            "uri_folder",
            "platform-admin",
        )

    def test_a_file_goes_up_and_comes_down(self, ml: MLClient, tree: Path, tmp_path: Path) -> None:
        made = ml.data.create_or_update(Data(name=unique("file"), version="1", path=str(tree / "plain.csv"), type="uri_file"))
        assert str(made.path).endswith("/plain.csv")
        assert content(fetch(ml, str(made.path), tmp_path / "down")) == {"plain.csv": b"a,b\n1,2\n"}

    def test_a_table_keeps_what_it_refers_to(self, ml: MLClient, tree: Path) -> None:
        (tree / "MLTable").write_text("paths:\n  - file: ./plain.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n")
        made = ml.data.create_or_update(Data(name=unique("table"), version="1", path=str(tree), type="mltable", skip_validation=True))
        assert (made.type, made._referenced_uris) == ("mltable", ["./plain.csv"])

    def test_versions_count_up_and_the_latest_is_found(self, ml: MLClient, tree: Path) -> None:
        name = unique("counting")
        assert [ml.data.create_or_update(Data(name=name, path=str(tree), type="uri_folder")).version for _ in range(3)] == ["1", "2", "3"]
        assert ml.data.get(name, label="latest").version == "3"
        assert [one.version for one in ml.data.list(name)] == ["3", "2", "1"]
        container = next(one for one in ml.data.list() if one.name == name)
        assert container.latest_version == "3"

    def test_a_registered_version_keeps_its_path(self, ml: MLClient) -> None:
        name, path = unique("fixed"), "azureml://datastores/workspaceblobstore/paths/one/"
        first = ml.data.create_or_update(Data(name=name, version="1", path=path, type="uri_folder"))
        assert str(first.path) == LONG + "one/"
        same = ml.data.create_or_update(Data(name=name, version="1", path=path, type="uri_folder", tags={"new": "tag"}))
        assert same.tags == {"new": "tag"}
        with pytest.raises(
            ResourceExistsError, match=r"A data version with this name and version already exists.*data uri cannot be changed"
        ):
            ml.data.create_or_update(
                Data(name=name, version="1", path="azureml://datastores/workspaceblobstore/paths/two/", type="uri_folder")
            )
        assert str(ml.data.get(name, version="1").path) == LONG + "one/"

    def test_all_versions_of_a_name_are_of_one_type(self, ml: MLClient) -> None:
        name = unique("typed")
        ml.data.create_or_update(Data(name=name, version="1", path="azureml://datastores/workspaceblobstore/paths/x", type="uri_file"))
        with pytest.raises(HttpResponseError, match="is of type uri_file"):
            ml.data.create_or_update(
                Data(name=name, version="2", path="azureml://datastores/workspaceblobstore/paths/x/", type="uri_folder")
            )

    def test_two_who_want_the_same_version_do_not_both_get_it(self, ask: Callable[..., Any]) -> None:
        name = unique("race")

        def put(number: int) -> int:
            body = {"properties": {"dataType": "uri_file", "dataUri": f"azureml://datastores/workspaceblobstore/paths/{number}"}}
            return int(ask("PUT", f"/data/{name}/versions/1", body).status_code)

        with ThreadPoolExecutor(8) as pool:
            codes = sorted(pool.map(put, range(8)))
        assert codes == [201, *[409] * 7]


class TestCode:
    def test_goes_up_once_and_is_found_by_its_content(self, ml: MLClient, tree: Path, tmp_path: Path) -> None:
        first = ml._code.create_or_update(Code(path=str(tree)))
        second = ml._code.create_or_update(Code(path=str(tree)))
        assert (first.name, first.version) == (second.name, second.version)
        (tree / "plain.csv").write_bytes(b"changed")
        third = ml._code.create_or_update(Code(path=str(tree)))
        assert third.name != first.name
        ml._code.download(third.name, third.version, str(tmp_path / "down"))
        assert content(tmp_path / "down") == content(tree)

    def test_the_pending_upload_is_the_same_each_time(self, mgmt: MachineLearningServicesMgmtClient) -> None:
        wanted = rest.PendingUploadRequestDto(pending_upload_type="TemporaryBlobReference")
        name = unique("code")
        first, again = (mgmt.code_versions.create_or_get_start_pending_upload(GROUP, WORKSPACE, name, "1", wanted) for _ in range(2))
        reference = first.blob_reference_for_consumption
        assert reference.blob_uri == again.blob_reference_for_consumption.blob_uri
        assert reference.storage_account_arm_id.endswith("/storageAccounts/stassetsone")
        ContainerClient.from_container_url(reference.credential.sas_uri).upload_blob("src/main.py", b"print(1)")
        made = mgmt.code_versions.create_or_update(
            GROUP, WORKSPACE, name, "1", rest.CodeVersion(properties=rest.CodeVersionProperties(code_uri=reference.blob_uri + "/src"))
        )
        assert made.properties.code_uri == reference.blob_uri + "/src"
        with pytest.raises(HttpResponseError, match="Asset paths cannot be updated"):
            mgmt.code_versions.create_or_update(
                GROUP, WORKSPACE, name, "1", rest.CodeVersion(properties=rest.CodeVersionProperties(code_uri=reference.blob_uri + "/other"))
            )

    def test_a_sas_opens_its_container_and_no_other(self, mgmt: MachineLearningServicesMgmtClient) -> None:
        wanted = rest.PendingUploadRequestDto(pending_upload_type="TemporaryBlobReference")
        sas = mgmt.code_versions.create_or_get_start_pending_upload(
            GROUP, WORKSPACE, unique("code"), "1", wanted
        ).blob_reference_for_consumption
        other = sas.credential.sas_uri.replace(sas.blob_uri.rsplit("/", 1)[1], "azureml")
        with pytest.raises(HttpResponseError):
            ContainerClient.from_container_url(other).upload_blob("intruder", b"x")


class TestModels:
    def test_go_up_and_come_down(self, ml: MLClient, tree: Path, tmp_path: Path) -> None:
        name = unique("model")
        made = ml.models.create_or_update(
            Model(name=name, path=str(tree), type="custom_model", properties={"digest": "sha256:1"}, stage="Staging")
        )
        assert (made.version, made.properties, made.stage) == ("1", {"digest": "sha256:1"}, "Staging")
        ml.models.download(name, "1", str(tmp_path / "down"))
        assert content(tmp_path / "down" / name / tree.name) == content(tree)
        assert [one.version for one in ml.models.list(name, stage="Staging")] == ["1"]
        assert not list(ml.models.list(name, stage="Production"))

    def test_an_mlflow_model_shows_its_flavors(self, ml: MLClient, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    python_version: 3.11.2\n")
        made = ml.models.create_or_update(Model(name=unique("flavored"), path=str(folder), type="mlflow_model"))
        assert made.flavors["python_function"] == {"loader_module": "mlflow.sklearn", "python_version": "3.11.2"}

    def test_a_path_without_files_is_refused(self, ml: MLClient) -> None:
        with pytest.raises(
            HttpResponseError, match=r"ModelAssetPathNotFoundInStorage\) No blobs found in storage at model asset path: .*nowhere/"
        ):
            ml.models.create_or_update(
                Model(name=unique("hollow"), path="azureml://datastores/workspaceblobstore/paths/nowhere/", type="custom_model")
            )
        with pytest.raises(HttpResponseError, match=r"NoMatchingArtifactsFoundFromJob\) No artifacts matching model found from Job"):
            ml.models.create_or_update(
                Model(name=unique("hollow"), path="azureml://jobs/no-such/outputs/artifacts/paths/model", type="custom_model")
            )

    @pytest.mark.parametrize("path", ["azureml://jobs/some-job/outputs/artifacts/paths/model/", "runs:/some-job/model"])
    def test_what_a_job_logged_can_be_registered(self, ml: MLClient, tmp_path: Path, path: str) -> None:
        blobs = BlobServiceClient("https://stassetsone.blob.core.windows.net", credential=EnvironmentCredential())
        blobs.get_blob_client("azureml", "ExperimentRun/dcid.some-job/model/weights").upload_blob(b"w", overwrite=True)
        name = unique("logged")
        made = ml.models.create_or_update(Model(name=name, path=path, type="custom_model"))
        assert made.job_name == "some-job"
        assert "/datastores/workspaceartifactstore/paths/ExperimentRun/dcid.some-job/model" in made.path
        ml.models.download(name, "1", str(tmp_path))
        assert (tmp_path / name / "model" / "weights").read_bytes() == b"w"

    def test_a_version_that_exists_with_other_files_is_a_conflict(self, ml: MLClient, tree: Path) -> None:
        name = unique("taken")
        ml.models.create_or_update(Model(name=name, version="7", path=str(tree), type="custom_model"))
        ml.models.create_or_update(Model(name=name, version="7", path=str(tree), type="custom_model", description="only words change"))
        (tree / "plain.csv").write_bytes(b"other")
        with pytest.raises(ResourceExistsError, match="A model with this name and version already exists"):
            ml.models.create_or_update(Model(name=name, version="7", path=str(tree), type="custom_model"))
        with pytest.raises(ResourceExistsError, match="model type cannot be changed from custom_model to triton_model"):
            ml.models.create_or_update(Model(name=name, version="7", path=ml.models.get(name, "7").path, type="triton_model"))

    def test_properties_stay_and_tags_change(self, ml: MLClient, tree: Path) -> None:
        name = unique("model")
        made = ml.models.create_or_update(Model(name=name, version="1", path=str(tree), properties={"digest": "1"}, tags={"a": "1"}))
        more = Model(name=name, version="1", path=made.path, properties={"job": "2"}, tags={"b": "2"})
        changed = ml.models.create_or_update(more)
        assert (changed.properties, changed.tags) == ({"digest": "1", "job": "2"}, {"b": "2"})
        with pytest.raises(HttpResponseError, match=r"'digest' of model .* cannot be updated"):
            ml.models.create_or_update(Model(name=name, version="1", path=made.path, properties={"digest": "other"}))

    def test_archived_ones_are_hidden_and_come_back(self, ml: MLClient, tree: Path) -> None:
        name = unique("old")
        for _ in range(2):
            ml.models.create_or_update(Model(name=name, path=str(tree)))
        ml.models.archive(name, version="2")
        assert [one.version for one in ml.models.list(name)] == ["1"]
        assert [one.version for one in ml.models.list(name, list_view_type="All")] == ["2", "1"]
        assert ml.models.get(name, label="latest").version == "1"
        ml.models.restore(name, version="2")
        ml.models.archive(name)
        assert not list(ml.models.list(name))
        assert name not in [one.name for one in ml.models.list()]
        assert name in [one.name for one in ml.models.list(list_view_type="ArchivedOnly")]
        ml.models.restore(name)
        assert [one.version for one in ml.models.list(name)] == ["2", "1"]

    def test_a_deleted_number_is_not_given_again(self, ml: MLClient, mgmt: MachineLearningServicesMgmtClient, tree: Path) -> None:
        name = unique("gone")
        uri = ml.models.create_or_update(Model(name=name, path=str(tree))).path
        ml.models.create_or_update(Model(name=name, path=uri))
        mgmt.model_versions.delete(GROUP, WORKSPACE, name, "2")
        with pytest.raises(
            ResourceNotFoundError,
            match=f"Could not find asset with ID: azureml://locations/westeurope/workspaces/.*/models/{name}/versions/2",
        ):
            mgmt.model_versions.get(GROUP, WORKSPACE, name, "2")
        with pytest.raises(
            HttpResponseError, match=r"was deleted at .*, it cannot be recreated. Please try again with a different version"
        ):
            ml.models.create_or_update(Model(name=name, version="2", path=uri))
        assert ml.models.create_or_update(Model(name=name, path=uri)).version == "3"
        mgmt.model_containers.delete(GROUP, WORKSPACE, name)
        with pytest.raises(HttpResponseError, match="it cannot be recreated"):
            ml.models.create_or_update(Model(name=name, version="1", path=uri))

    def test_lists_come_in_pages(self, mgmt: MachineLearningServicesMgmtClient, ml: MLClient, tree: Path) -> None:
        uri = ml.models.create_or_update(Model(name=unique("page"), path=str(tree))).path
        names = sorted(unique("paged") for _ in range(3))
        for name in names:
            mgmt.model_versions.create_or_update(
                GROUP, WORKSPACE, name, "1", rest.ModelVersion(properties=rest.ModelVersionProperties(model_uri=uri))
            )
        pages = [[one.name for one in page] for page in mgmt.model_containers.list(GROUP, WORKSPACE, count=2).by_page()]
        assert max(len(page) for page in pages) == 2
        assert set(names) <= {name for page in pages for name in page}

    def test_lists_are_ordered_and_filtered(self, mgmt: MachineLearningServicesMgmtClient, ml: MLClient, tree: Path) -> None:
        name = unique("sorted")
        for number in (1, 2, 3):
            ml.models.create_or_update(Model(name=name, version=str(number), path=str(tree), tags={"parity": str(number % 2)}))

        def versions(**query: Any) -> list[str]:
            return [one.name for one in mgmt.model_versions.list(GROUP, WORKSPACE, name, **query)]

        assert versions() == ["3", "2", "1"]
        assert versions(order_by="createdtime asc") == ["1", "2", "3"]
        assert versions(order_by="createdtime desc", top=1) == ["3"]
        assert versions(tags="parity=1") == ["3", "1"]
        assert versions(version="2") == ["2"]


class TestEnvironments:
    def test_a_change_makes_a_version_and_words_do_not(self, ml: MLClient) -> None:
        name, conda = unique("env"), {"name": "x", "dependencies": ["python=3.11", {"pip": ["pandas"]}]}
        image = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
        first = ml.environments.create_or_update(Environment(name=name, image=image, conda_file=conda))
        second = ml.environments.create_or_update(Environment(name=name, image=image, conda_file=conda, description="words"))
        third = ml.environments.create_or_update(Environment(name=name, image=image, conda_file={**conda, "name": "y"}))
        assert (first.version, second.version, third.version) == ("1", "1", "2")
        assert ml.environments.get(name, "1").description == "words"
        assert ml.environments.get(name, "1").conda_file == conda
        assert ml.environments.get(name, label="latest").version == "2"

    def test_a_registered_one_cannot_be_changed(self, ml: MLClient) -> None:
        name = unique("env")
        ml.environments.create_or_update(Environment(name=name, version="1", image="a/b"))
        with pytest.raises(ResourceExistsError, match=f"Environment {name} with version 1 is already registered and cannot be changed"):
            ml.environments.create_or_update(Environment(name=name, version="1", image="c/d"))

    def test_a_build_context_goes_up(self, ml: MLClient, tmp_path: Path) -> None:
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker" / "Dockerfile").write_text("FROM scratch\n")
        made = ml.environments.create_or_update(Environment(name=unique("built"), build=BuildContext(path=str(tmp_path / "docker"))))
        assert made.build.path.startswith("https://stassetsone.blob.core.windows.net/")
        container, _, prefix = made.build.path.removeprefix("https://stassetsone.blob.core.windows.net/").partition("/")
        service = BlobServiceClient("https://stassetsone.blob.core.windows.net", credential=EnvironmentCredential())
        assert service.get_blob_client(container, prefix + "Dockerfile").download_blob().readall() == b"FROM scratch\n"

    def test_microsofts_own_are_there_and_not_to_be_written(self, ml: MLClient) -> None:
        name = "AzureML-sklearn-1.5-ubuntu22.04-py310-cpu"
        found = ml.environments.get(name, version="3")
        assert found.image == f"mcr.microsoft.com/azureml/curated/{name.lower()}:3"
        with pytest.raises(HttpResponseError, match="name can not start with the prefix AzureML"):
            ml.environments.create_or_update(Environment(name="AzureML-mine", version="1", image="a/b"))
        with pytest.raises(ResourceNotFoundError):
            ml.environments.get("AzureML-no-such", version="1")


class TestComponents:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "main.py").write_text("print(1)\n")
        (tmp_path / "component.yml").write_text(
            "$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json\ntype: command\n"
            f"name: {unique('component').replace('-', '_')}\nversion: '1'\ncode: src\ncommand: python main.py --n ${{{{inputs.n}}}}\n"
            "inputs:\n  n: {type: integer, default: 3}\nenvironment: azureml://registries/azureml/environments/sklearn-1.5/versions/1\n"
        )
        return tmp_path / "component.yml"

    def test_are_kept_with_their_code_and_default_version(self, ml: MLClient, file: Path) -> None:
        made = ml.components.create_or_update(load_component(file))
        assert (made.version, made.inputs["n"].default) == ("1", 3)
        assert "/codes/" in made.code
        assert ml.components.get(made.name).version == "1"  # asks for the version azureml_default
        again = ml.components.create_or_update(load_component(file), version="2")
        assert [one.version for one in ml.components.list(made.name)] == ["2", "1"]
        assert ml.components.get(made.name, label="latest").version == again.version

    def test_a_version_keeps_its_spec(self, ml: MLClient, file: Path) -> None:
        ml.components.create_or_update(load_component(file))
        file.write_text(file.read_text().replace("--n", "--m"))
        with pytest.raises(ResourceExistsError, match="A component version with this name and version already exists"):
            ml.components.create_or_update(load_component(file))


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("path", "body", "target"),
        [
            ("/models/m/versions/1", {}, "properties"),
            ("/models/m/versions/1", {"properties": "text"}, "properties"),
            ("/models/m/versions/1", {"properties": {}}, "properties.modelUri"),
            ("/models/m/versions/1", {"properties": {"modelUri": 3}}, "properties.modelUri"),
            ("/models/m/versions/1", {"properties": {"modelUri": "azureml://x", "modelType": "cardboard"}}, "properties.modelType"),
            ("/models/m/versions/1", {"properties": {"modelUri": "azureml://x", "tags": {"a": {}}}}, "properties.tags"),
            ("/models/m/versions/1", {"properties": {"modelUri": "azureml://x", "isArchived": "yes"}}, "properties.isArchived"),
            ("/models/%20/versions/1", {"properties": {"modelUri": "azureml://x"}}, "name"),
            ("/models/m/versions/a%20b", {"properties": {"modelUri": "azureml://x"}}, "version"),
            ("/data/d/versions/1", {"properties": {"dataUri": "azureml://x"}}, "properties.dataType"),
            ("/data/d/versions/1", {"properties": {"dataUri": "azureml://x", "dataType": "cube"}}, "properties.dataType"),
            ("/codes/c/versions/1", {"properties": {}}, "properties.codeUri"),
            ("/components/c/versions/1", {"properties": {"componentSpec": "text"}}, "properties.componentSpec"),
            ("/environments/e/versions/1", {"properties": {}}, "properties.image"),
            ("/environments/e/versions/1", {"properties": {"image": "a", "build": {"contextUri": "b"}}}, "properties.build"),
            ("/environments/e/versions/1", {"properties": {"build": {}}}, "properties.image"),
            ("/environments/e/versions/1", {"properties": {"image": "a", "condaFile": "a: [b"}}, "properties.condaFile"),
            ("/environments/e/versions/1", {"properties": {"image": "a", "condaFile": "just text"}}, "properties.condaFile"),
        ],
    )  # fmt: skip
    def test_a_body_is_refused_by_the_name_of_its_property(self, ask: Callable[..., Any], path: str, body: Any, target: str) -> None:
        answer = ask("PUT", path, body)
        assert (answer.status_code, answer.json()["error"]["target"]) == (400, target), answer.text

    @pytest.mark.parametrize("query", ["listViewType=Some", "$top=many", "$skip=-1"])
    def test_a_query_is_refused_by_the_name_of_its_parameter(self, ask: Callable[..., Any], query: str) -> None:
        name, value = query.split("=")
        answer = ask("GET", "/models", params={name: value})
        assert (answer.status_code, answer.json()["error"]["target"]) == (400, name)

    def test_json_that_is_none(self, ask: Callable[..., Any]) -> None:
        answer = ask("PUT", "/models/m/versions/1", data=b"{not json", headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidRequestContent")

    @pytest.mark.parametrize(
        "path", ["/models/none", "/models/none/versions/1", "/data/none", "/codes/none/versions/1", "/environments/none/versions/1"]
    )
    def test_what_is_not_there(self, ask: Callable[..., Any], path: str) -> None:
        answer = ask("GET", path)
        assert (answer.status_code, answer.headers["x-ms-error-code"]) == (404, "UserError")
        assert "Could not find asset with ID" in answer.json()["error"]["message"]

    def test_a_workspace_that_is_not_there(self, ask: Callable[..., Any], send: Callable[..., Any], sign_in: Callable[..., str]) -> None:
        url = f"https://management.azure.com{ID}-not/models/m/versions/1"
        answer = send("GET", url, token=sign_in(), version="2024-04-01")
        assert answer.status_code == 404
        assert answer.json()["error"]["message"].startswith(
            "The Resource 'Microsoft.MachineLearningServices/workspaces/assets-one-not' under resource group"
        )

    def test_a_reader_may_not_write(self, place: Any, azure: Any) -> None:
        reader = MLClient(someone(azure, Reader=ID), SUBSCRIPTION, GROUP, WORKSPACE, enable_telemetry=False)
        assert reader.datastores.get("workspaceblobstore").name == "workspaceblobstore"
        action = "Microsoft.MachineLearningServices/workspaces/environments/versions/write"
        with pytest.raises(HttpResponseError, match=f"perform action '{action}' over scope '{ID}/environments/e/versions/1'") as refused:
            reader.environments.create_or_update(Environment(name="e", version="1", image="a/b"))
        assert (refused.value.status_code, refused.value.error.code) == (403, "AuthorizationFailed")
        blind = MLClient(someone(azure), SUBSCRIPTION, GROUP, WORKSPACE, enable_telemetry=False)
        with pytest.raises(HttpResponseError, match="workspaces/models/versions/read"):
            blind.models.get("m", "1")


class TestPaths:
    """Where the forms of a URI lead, without a server."""

    @pytest.fixture
    def known(self, cloud: Cloud) -> Cloud:
        cloud.store.put(
            ID, "workspace", {"id": ID, "name": WORKSPACE, "location": "westeurope", "properties": {"workspaceId": "11111111-aaaa"}}
        )
        for name, container in (("workspaceblobstore", "blobs"), ("workspaceartifactstore", "azureml")):
            cloud.store.put(
                f"{ID}/datastores/{name}",
                "datastore",
                {"properties": {"datastoreType": "AzureBlob", "accountName": "acc", "containerName": container}},
            )
        cloud.store.put(f"{ID}/datastores/shares", "datastore", {"properties": {"datastoreType": "AzureFile", "accountName": "acc"}})
        cloud.store.put(
            f"{ID}/jobs/job1", "job", {"properties": {"outputs": {"model": {"uri": None}, "told": {"uri": LONG + "mine/${{name}}/"}}}}
        )
        for version, path in (("1", "one/"), ("2", "two/")):
            for kind, uri in (("data", "dataUri"), ("models", "modelUri")):
                id, name = f"{ID}/{kind}/thing/versions/{version}", kind.rstrip("s")
                cloud.store.put(id, f"{name}_version", {"id": id, "name": version, "properties": {uri: f"{LONG}{kind}/{path}"}})
        return cloud

    @pytest.mark.parametrize(
        ("uri", "container", "prefix"),
        [
            ("azureml://datastores/workspaceblobstore/paths/a/b.csv", "blobs", "a/b.csv"),
            ("azureml://datastores/workspaceblobstore/paths/", "blobs", ""),
            ("azureml://datastores/workspaceblobstore", "blobs", ""),
            ("azureml://datastores/workspaceartifactstore/ExperimentRun/dcid.x/model", "azureml", "ExperimentRun/dcid.x/model"),
            (LONG + "a/", "blobs", "a/"),
            (f"azureml:/{ID}/datastores/workspaceblobstore/paths/a", "blobs", "a"),
            ("azureml://jobs/job1/outputs/model", "blobs", "azureml/job1/model/"),
            ("azureml://jobs/job1/outputs/model/paths/weights", "blobs", "azureml/job1/model/weights"),
            ("azureml://jobs/job1/outputs/told/paths/x", "blobs", "mine/job1/x"),
            ("azureml://jobs/gone/outputs/artifacts/paths/model/", "azureml", "ExperimentRun/dcid.gone/model/"),
            ("runs:/run1/model", "azureml", "ExperimentRun/dcid.run1/model"),
            ("azureml:thing:1", "blobs", "data/one/"),
            ("thing@latest", "blobs", "data/two/"),
            (f"{ID}/models/thing/versions/1", "blobs", "models/one/"),
            (f"azureml:{ID}/models/thing/labels/latest", "blobs", "models/two/"),
            ("azureml://locations/westeurope/workspaces/11111111-aaaa/models/thing/versions/2", "blobs", "models/two/"),
            ("https://acc.blob.core.windows.net/box/a%20b/c", "box", "a b/c"),
            ("wasbs://box@acc.blob.core.windows.net/a/b", "box", "a/b"),
            ("abfss://box@acc.dfs.core.windows.net/a", "box", "a"),
        ],
    )
    def test_lead_to_blobs(self, known: Cloud, uri: str, container: str, prefix: str) -> None:
        assert paths.locate(known, ID, uri) == paths.Located("acc", container, prefix)

    def test_a_kind_decides_between_assets_of_one_name(self, known: Cloud) -> None:
        assert paths.locate(known, ID, "azureml:thing:1", "models").prefix == "models/one/"

    @pytest.mark.parametrize(
        ("uri", "status", "words"),
        [
            ("azureml://datastores/nowhere/paths/x", 404, "Could not find datastore: nowhere"),
            ("azureml://datastores/shares/paths/x", 400, "serves blobs only"),
            ("azureml://jobs/gone/outputs/model", 404, "Job gone was not found"),
            ("azureml:thing:9", 404, "Could not find asset"),
            ("azureml:thing@stable", 404, "label stable does not exist"),
            ("https://example.org/data.csv", 400, "outside the emulated cloud"),
            ("a sentence", 400, "names no asset"),
        ],
    )
    def test_or_to_a_clear_error(self, known: Cloud, uri: str, status: int, words: str) -> None:
        with pytest.raises(AzureError, match=words) as error:
            paths.locate(known, ID, uri)
        assert error.value.status == status

    def test_bytes_go_up_across_and_down(self, tmp_path: Path, tree: Path) -> None:
        cloud = Cloud(tmp_path / "cloud", 0)

        async def work() -> None:
            for account in ("one", "two"):
                cloud.storage.ensure(account)
                (await cloud.storage.client(account)).create_container("box")
            here, there = paths.Located("one", "box", "some/place"), paths.Located("two", "box", "else/where/")
            assert await paths.upload(cloud, tree, here) == 3
            assert await paths.copy(cloud, here, there) == 3
            assert list(await paths.files(cloud, there)) == sorted(content(tree))
            assert content(await paths.download(cloud, there, tmp_path / "down")) == content(tree)
            single = await paths.download(cloud, there.below("plain.csv"), tmp_path / "one")
            assert (single.name, single.read_bytes()) == ("plain.csv", b"a,b\n1,2\n")
            assert await paths.upload(cloud, tree / "plain.csv", paths.Located("one", "box", "new/name.csv")) == 1
            assert await paths.read(cloud, paths.Located("one", "box", "new/name.csv")) == b"a,b\n1,2\n"
            assert await paths.read(cloud, there, "missing") is None
            with pytest.raises(AzureError, match="No blobs found in storage"):
                await paths.download(cloud, paths.Located("one", "box", "nothing"), tmp_path / "none")
            with pytest.raises(AzureError, match="does not exist in the emulated cloud"):
                await paths.files(cloud, paths.Located("three", "box", ""))

        run(cloud, work())

    def test_a_name_of_a_blob_cannot_lead_out_of_the_folder(self, tmp_path: Path) -> None:
        cloud = Cloud(tmp_path / "cloud", 0)

        async def work() -> None:
            cloud.storage.ensure("one")
            box = (await cloud.storage.client("one")).create_container("box")
            outside = tmp_path / "outside.txt"
            box.upload_blob(f"place/{outside}", b"x")
            down = await paths.download(cloud, paths.Located("one", "box", "place"), tmp_path / "down")
            assert list(content(down)) == [str(outside).lstrip("/")]
            assert not outside.exists()

        run(cloud, work())
        for name in ("../x", "a/../../x", "/../x", "..", ""):
            with pytest.raises(AzureError, match="leads out of the folder"):
                paths.target_of(tmp_path / "down", name)


def run(cloud: Cloud, work: Coroutine[Any, Any, None]) -> None:
    """Do asynchronous work in a cloud without a server, and end its processes."""

    async def all_of_it() -> None:
        try:
            await work
        finally:
            await cloud.children.close()
            cloud.store.close()

    asyncio.run(all_of_it())
