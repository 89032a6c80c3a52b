"""Jobs through the unmodified azure-ai-ml: commands, pipelines and sweeps that really run, their logs, outputs and ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.ai.ml import Input, MLClient, Output, UserIdentityConfiguration, command, load_component, load_job
from azure.ai.ml.entities import Command, Data, Environment, Job, Model
from azure.ai.ml.exceptions import JobException
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import EnvironmentCredential
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient, models

from emulator.client import Administrator

BARE = "name: bare\nchannels: [conda-forge]\ndependencies:\n  - pip\n"
ENDED = ("Completed", "Failed", "Canceled")
# A trial that logs (x - 2)^2 and leaves x in its output; MLflow's REST API, so that the environment needs no package.
LOSS = """
import json, os, pathlib, sys, urllib.request
x = float(sys.argv[1])
base = os.environ["MLFLOW_TRACKING_URI"].replace("azureml://", "https://")
body = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": "loss", "value": (x - 2) ** 2, "timestamp": 1, "step": 0}
request = urllib.request.Request(base + "/api/2.0/mlflow/runs/log-metric", json.dumps(body).encode(), method="POST", headers={
    "Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"], "Content-Type": "application/json"})
urllib.request.urlopen(request).read()
pathlib.Path(sys.argv[2], "x.txt").write_text(str(x))
"""


@pytest.fixture(scope="module")
def place(emulator: Any) -> dict[str, Any]:
    """A workspace with a cluster."""
    made: dict[str, Any] = emulator.workspace("jobs-ws")
    cluster = {
        "computeType": "AmlCompute",
        "properties": {"vmSize": "Standard_DS2_v2", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 2}},
    }
    emulator.arm("PUT", f"{made['id']}/computes/cpu", {"location": "westeurope", "properties": cluster})
    return made


@pytest.fixture
def ml(azure: Any, place: dict[str, Any]) -> MLClient:
    """A client of the workspace as the administrator."""
    parts = place["id"].split("/")
    return MLClient(EnvironmentCredential(), parts[2], parts[4], parts[8])


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A Python without packages."""
    (tmp_path / "conda.yml").write_text(BARE)
    return Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04", conda_file=str(tmp_path / "conda.yml"))


@pytest.fixture
def code(tmp_path: Path) -> Callable[..., str]:
    """A folder with a script ``main.py`` of the given text (and other files)."""

    def code(text: str, **files: str) -> str:
        folder = tmp_path / "code"
        folder.mkdir(exist_ok=True)
        (folder / "main.py").write_text(text)
        for name, content in files.items():
            (folder / name).write_text(content)
        return str(folder)

    return code


def ended(ml: MLClient, name: str) -> Job:
    """The job when it has ended."""
    while (job := ml.jobs.get(name)).status not in ENDED:
        time.sleep(0.1)
    return job


def until(ml: MLClient, name: str, status: str) -> None:
    """Wait until the job is in a state; fail if it ends in another."""
    while (now := ml.jobs.get(name).status) != status:
        assert now not in ENDED, f"{name} ended as {now}"
        time.sleep(0.05)


def log_of(ml: MLClient, name: str, file: str = "user_logs/std_log.txt") -> str:
    """A log of a job, read as clients read it."""
    files = ml.jobs._runs_operations.get_run_details(name).log_files
    return requests.get(files[file], timeout=30).text if file in files else ""


def touch_after_looks(ml: MLClient, flag: Path) -> None:
    """Make the file when a client that streams has looked at its job three times: it has printed the log once by then."""
    original, looks = ml.jobs._runs_operations.get_run_details, []

    def details(name: str) -> Any:
        looks.append(name)
        if len(looks) == 3:
            flag.touch()
        return original(name)

    ml.jobs._runs_operations.get_run_details = details


class TestCommand:
    def test_runs_with_inputs_outputs_and_variables(
        self, ml: MLClient, environment: Environment, code: Callable[..., str], tmp_path: Path
    ) -> None:
        script = """
import json, os, pathlib, sys
number, text, folder, file, out, model, single = sys.argv[1:]
assert (number, text) == ("3", "it's $HOME; \\"quoted\\""), sys.argv
assert sorted(p.name for p in pathlib.Path(folder).iterdir()) == ["a.csv", "b.csv"]
assert pathlib.Path(file).read_text() == "a,b", file
assert os.environ["AZURE_ML_INPUT_number"] == "3" and os.environ["OWN"] == "3-own"
assert pathlib.Path("helper.txt").read_text() == "beside the script"
pathlib.Path(out, "deep").mkdir(); pathlib.Path(out, "deep", "r.txt").write_text("result")
pathlib.Path(model, "MLmodel").write_text("flavors: {}")
pathlib.Path(single).write_text("one file")
pathlib.Path("outputs").mkdir(); pathlib.Path("outputs", "kept.txt").write_text("kept")
wanted = ["AZUREML_RUN_ID", "AZUREML_ROOT_RUN_ID", "AZUREML_ARM_SUBSCRIPTION", "AZUREML_ARM_RESOURCEGROUP", "AZUREML_ARM_WORKSPACE_NAME",
          "AZUREML_EXPERIMENT_NAME", "AZUREML_RUN_TOKEN", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"]
print(json.dumps({name: os.environ[name] for name in wanted}))
assert "AZURE_CLIENT_SECRET" not in os.environ
"""
        data = tmp_path / "data"
        data.mkdir()
        (data / "a.csv").write_text("a,b")
        (data / "b.csv").write_text("c,d")
        ml.data.create_or_update(Data(name="job-files", version="1", type="uri_folder", path=str(data)))
        job = command(
            code=code(script, **{"helper.txt": "beside the script"}),
            command='python main.py ${{inputs.number}} "$AZURE_ML_INPUT_text" ${{inputs.folder}} ${{inputs.file}} '
            "${{outputs.out}} ${{outputs.model}} ${{outputs.single}}",
            inputs={
                "number": 3,
                "text": 'it\'s $HOME; "quoted"',
                "folder": Input(type="uri_folder", path="azureml:job-files:1", mode="download"),
                "file": Input(type="uri_file", path=str(data / "a.csv")),
            },
            outputs={
                "out": Output(type="uri_folder"),
                "model": Output(type="mlflow_model", mode="upload"),
                "single": Output(type="uri_file"),
            },
            environment=environment,
            environment_variables={"OWN": "${{inputs.number}}-own"},
            compute="cpu",
            experiment_name="commands",
            display_name="everything",
            tags={"team": "data"},
        )
        made = ml.jobs.create_or_update(job)
        done = ended(ml, made.name)
        assert done.status == "Completed", log_of(ml, made.name)
        assert isinstance(done, Command)
        assert (done.experiment_name, done.display_name, done.tags) == ("commands", "everything", {"team": "data"})
        assert done.outputs["out"].path.endswith(f"/paths/azureml/{made.name}/out/")
        seen = json.loads(log_of(ml, made.name).splitlines()[-1])
        assert seen["AZUREML_RUN_ID"] == seen["AZUREML_ROOT_RUN_ID"] == seen["MLFLOW_RUN_ID"] == made.name
        assert seen["AZUREML_ARM_WORKSPACE_NAME"] == "jobs-ws"
        assert seen["AZUREML_EXPERIMENT_NAME"] == seen["MLFLOW_EXPERIMENT_NAME"] == "commands"
        assert seen["MLFLOW_TRACKING_URI"].startswith("azureml://westeurope.api.azureml.ms/mlflow/")

        ml.jobs.download(made.name, download_path=tmp_path / "logs")
        assert (tmp_path / "logs" / "artifacts" / "outputs" / "kept.txt").read_text() == "kept"
        assert (tmp_path / "logs" / "artifacts" / "user_logs" / "std_log.txt").exists()
        ml.jobs.download(made.name, download_path=tmp_path / "out", output_name="out")
        assert (tmp_path / "out" / "named-outputs" / "out" / "deep" / "r.txt").read_text() == "result"

    def test_assets_and_outputs_of_jobs_as_inputs(self, ml: MLClient, environment: Environment, tmp_path: Path) -> None:
        (tmp_path / "table").mkdir()
        (tmp_path / "table" / "MLTable").write_text("paths: [{file: ./rows.csv}]\ntransformations: [{read_delimited: {}}]\n")
        (tmp_path / "table" / "rows.csv").write_text("a\n1\n")
        ml.data.create_or_update(Data(name="job-table", version="1", type="mltable", path=str(tmp_path / "table")))
        (tmp_path / "weights.bin").write_text("weights")
        ml.models.create_or_update(Model(name="job-input", version="1", type="custom_model", path=str(tmp_path / "weights.bin")))
        first = ml.jobs.create_or_update(
            command(
                command="echo made > ${{outputs.o}}/m.txt", outputs={"o": Output(type="uri_folder")}, environment=environment, compute="cpu"
            )
        )
        assert ended(ml, first.name).status == "Completed"
        job = command(
            command="cat ${{inputs.table}}/rows.csv ${{inputs.model}} ${{inputs.made}}/m.txt; echo ${{inputs.direct}}",
            inputs={
                "table": Input(type="mltable", path="azureml:job-table:1"),
                "model": Input(type="custom_model", path="azureml:job-input:1", mode="ro_mount"),
                "made": Input(type="uri_folder", path=f"azureml://jobs/{first.name}/outputs/o"),
                "direct": Input(type="uri_folder", path="azureml://datastores/workspaceblobstore/paths/any/where/", mode="direct"),
            },
            environment=environment,
            compute="cpu",
        )
        made = ml.jobs.create_or_update(job)
        assert ended(ml, made.name).status == "Completed", ml.jobs._runs_operations.get_run_details(made.name).error
        assert log_of(ml, made.name).split()[:3] == ["a", "1", "weightsmade"]
        assert log_of(ml, made.name).split()[3].endswith("/datastores/workspaceblobstore/paths/any/where/")

    def test_named_outputs_are_registered(self, ml: MLClient, environment: Environment) -> None:
        text = "echo 'flavors: {}' > ${{outputs.m}}/MLmodel; echo x > ${{outputs.d}}/x.txt"
        outputs = {
            "m": Output(type="mlflow_model", name="job-model", version="7"),
            "d": Output(type="uri_folder", name="job-data"),
        }
        made = ml.jobs.create_or_update(command(command=text, outputs=outputs, environment=environment, compute="cpu"))
        assert ended(ml, made.name).status == "Completed"
        assert ml.models.get("job-model", "7").path.endswith(f"/paths/azureml/{made.name}/m/")
        assert ml.data.get("job-data", "1").path.endswith(f"/paths/azureml/{made.name}/d/")

    def test_the_job_s_identity(self, ml: MLClient, emulator: Any, place: dict[str, Any], environment: Environment, tmp_path: Path) -> None:
        ask = "python -c \"import os,urllib.request as u; print(u.urlopen(os.environ['OBO_ENDPOINT']+'?resource=https://management.azure.com').read())\""
        made = ml.jobs.create_or_update(command(command=ask, identity=UserIdentityConfiguration(), environment=environment, compute="cpu"))
        assert ended(ml, made.name).status == "Completed", log_of(ml, made.name)
        token = json.loads(log_of(ml, made.name).strip()[2:-1])["access_token"]
        url = f"https://management.azure.com{place['id']}/jobs/{made.name}?api-version=2024-04-01"
        assert requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code == 200
        bare = ml.jobs.create_or_update(command(command="env", environment=environment, compute="cpu"))
        assert ended(ml, bare.name).status == "Completed"
        assert "OBO_ENDPOINT" not in log_of(ml, bare.name)
        assert "MSI_ENDPOINT" not in log_of(ml, bare.name)

    def test_states_come_in_the_service_s_order(self, ml: MLClient, emulator: Any, place: dict[str, Any], environment: Environment) -> None:
        made = ml.jobs.create_or_update(command(command="true", environment=environment, compute="cpu"))
        assert made.status == "NotStarted"
        assert ended(ml, made.name).status == "Completed"
        states = [state for state, _ in _document(emulator, place, made.name)["_run"]["statuses"]]
        assert states == ["NotStarted", "Starting", "Preparing", "Queued", "Running", "Finalizing", "Completed"]

    def test_stream_follows_the_log(
        self, ml: MLClient, environment: Environment, code: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        flag = tmp_path / "go"
        wait = f"while not pathlib.Path({str(flag)!r}).exists(): time.sleep(0.05)"
        script = f"import pathlib, time\nprint('first line')\n{wait}\nprint('last line')"
        made = ml.jobs.create_or_update(command(code=code(script), command="python main.py", environment=environment, compute="cpu"))
        until(ml, made.name, "Running")
        while "first line" not in log_of(ml, made.name):
            time.sleep(0.05)
        touch_after_looks(ml, flag)
        ml.jobs.stream(made.name)
        printed = capsys.readouterr().out
        assert "Streaming user_logs/std_log.txt" in printed
        assert "first line" in printed
        assert ml.jobs.get(made.name).status == "Completed"
        assert log_of(ml, made.name) == "first line\nlast line\n"

    def test_a_failure_carries_the_end_of_the_log(self, ml: MLClient, environment: Environment, code: Callable[..., str]) -> None:
        made = ml.jobs.create_or_update(
            command(
                code=code("print('so far')\nraise ValueError('no such column: dest')"),
                command="python main.py",
                environment=environment,
                compute="cpu",
            )
        )
        assert ended(ml, made.name).status == "Failed"
        error = ml.jobs._runs_operations.get_run_details(made.name).error.error
        assert "status code 1" in error.message
        assert "ValueError: no such column: dest" in error.message
        assert error.code == "UserError"

    def test_stream_raises_when_the_job_fails(self, ml: MLClient, environment: Environment) -> None:
        made = ml.jobs.create_or_update(command(command="sleep 1; echo oh no; exit 3", environment=environment, compute="cpu"))
        with pytest.raises(JobException, match="status code 3"):
            ml.jobs.stream(made.name)

    def test_a_failed_environment_is_an_image_build_failure(self, ml: MLClient, tmp_path: Path) -> None:
        (tmp_path / "conda.yml").write_text("dependencies:\n  - pip:\n    - surely-no-package-has-this-name-at-all==1\n")
        broken = Environment(image="mcr.microsoft.com/azureml/base", conda_file=str(tmp_path / "conda.yml"))
        made = ml.jobs.create_or_update(command(command="true", environment=broken, compute="cpu"))
        assert ended(ml, made.name).status == "Failed"
        error = ml.jobs._runs_operations.get_run_details(made.name).error.error
        assert "Image build failed" in error.message
        assert "surely-no-package-has-this-name-at-all" in log_of(ml, made.name, "azureml-logs/20_image_build_log.txt")

    def test_the_log_says_what_stands_in_for_the_image(self, ml: MLClient) -> None:
        for image in ("example.org/own:1", "example.org/own:2"):  # one build for both
            made = ml.jobs.create_or_update(command(command="true", environment=Environment(image=image), compute="cpu"))
            assert ended(ml, made.name).status == "Completed"
            log = log_of(ml, made.name, "system_logs/lifecycler/lifecycler.log")
            assert f"note: the environment names {image}: images are not pulled or built here" in log

    def test_a_missing_input_path_fails_the_job(self, ml: MLClient, environment: Environment) -> None:
        nothing = Input(type="uri_folder", path="azureml://datastores/workspaceblobstore/paths/not/there/")
        made = ml.jobs.create_or_update(command(command="ls ${{inputs.x}}", inputs={"x": nothing}, environment=environment, compute="cpu"))
        assert ended(ml, made.name).status == "Failed"
        error = ml.jobs._runs_operations.get_run_details(made.name).error.error
        assert "input 'x'" in error.message
        assert "not/there" in error.message

    def test_cancel_kills_the_process_group(self, ml: MLClient, environment: Environment, code: Callable[..., str], tmp_path: Path) -> None:
        pids = tmp_path / "pids"
        script = f"""
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path({str(pids)!r} + ".part").write_text(f"{{os.getpid()}} {{below.pid}}")
os.rename({str(pids)!r} + ".part", {str(pids)!r})
time.sleep(600)
"""
        made = ml.jobs.create_or_update(command(code=code(script), command="python main.py", environment=environment, compute="cpu"))
        until(ml, made.name, "Running")
        while not pids.exists():
            time.sleep(0.02)
        ml.jobs.begin_cancel(made.name).result()
        assert ml.jobs.get(made.name).status == "Canceled"
        for pid in pids.read_text().split():
            assert not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
        ml.jobs.begin_cancel(made.name).result()  # again: nothing happens

    def test_a_job_past_its_limit_is_cancelled(self, ml: MLClient, emulator: Any, place: dict[str, Any], environment: Environment) -> None:
        body = ml.environments.create_or_update(environment)
        properties = {
            "jobType": "Command",
            "command": "sleep 600",
            "environmentId": body.id,
            "computeId": f"{place['id']}/computes/cpu",
            "limits": {"jobLimitsType": "Command", "timeout": "PT1S"},
        }
        emulator.arm("PUT", f"{place['id']}/jobs/too-long", {"properties": properties})
        assert ended(ml, "too-long").status == "Canceled"
        assert "longer than its limit of 1 seconds" in ml.jobs._runs_operations.get_run_details("too-long").error.error.message

    def test_two_run_at_once_and_the_third_is_queued(self, ml: MLClient, environment: Environment, tmp_path: Path) -> None:
        flag = tmp_path / "go"
        names = []
        for _ in range(3):
            job = command(command=f"while [ ! -e {flag} ]; do sleep 0.05; done", environment=environment, compute="cpu")
            names.append(ml.jobs.create_or_update(job).name)
        for name in names[:2]:
            until(ml, name, "Running")
        until(ml, names[2], "Queued")
        flag.touch()
        assert [ended(ml, name).status for name in names] == ["Completed"] * 3

    def test_list_archive_and_tags(self, ml: MLClient, environment: Environment) -> None:
        made = ml.jobs.create_or_update(command(command="true", environment=environment, compute="cpu", tags={"list": "me"}))
        ended(ml, made.name)
        assert made.name in [job.name for job in ml.jobs.list()]
        ml.jobs.archive(made.name)
        assert made.name not in [job.name for job in ml.jobs.list()]
        assert made.name in [job.name for job in ml.jobs.list(list_view_type="ArchivedOnly")]
        ml.jobs.restore(made.name)
        again = ml.jobs.get(made.name)
        again.tags["more"] = "tags"
        updated = ml.jobs.create_or_update(again)
        assert updated.tags == {"list": "me", "more": "tags"}
        ml.jobs.update(made.name, description="told later")
        assert ml.jobs.get(made.name).description == "told later"

    def test_delete(self, ml: MLClient, environment: Environment) -> None:
        made = ml.jobs.create_or_update(command(command="true", environment=environment, compute="cpu"))
        ended(ml, made.name)
        ml.jobs.begin_delete(made.name).result()
        with pytest.raises(ResourceNotFoundError):
            ml.jobs.get(made.name)


class TestTokens:
    def test_a_token_of_a_run_is_for_its_submitter_while_it_runs(
        self, ml: MLClient, emulator: Any, place: dict[str, Any], environment: Environment, send: Any, sign_in: Any, tmp_path: Path
    ) -> None:
        flag = tmp_path / "go"
        made = ml.jobs.create_or_update(
            command(command=f"while [ ! -e {flag} ]; do sleep 0.05; done", environment=environment, compute="cpu", experiment_name="tok")
        )
        url = f"https://westeurope.api.azureml.ms/history/v1.0{place['id']}/experiments/tok/runs/{made.name}/token"
        roles = [{"role": "Reader", "scope": place["id"]}]
        reader = emulator.ask("POST", "/identities", {"name": "token-reader", "secret": "reader-secret-1", "roles": roles})
        refused = send("GET", url, token=sign_in(client_id=reader["client_id"], secret="reader-secret-1"))
        assert (refused.status_code, "Only the submitter" in refused.text) == (403, True)
        assert send("GET", url, token=sign_in()).json()["token"]
        flag.touch()
        ended(ml, made.name)
        late = send("GET", url, token=sign_in())
        assert (late.status_code, "has ended" in late.text) == (403, True)


class TestRefusals:
    @pytest.fixture
    def good(self, ml: MLClient, place: dict[str, Any], environment: Environment) -> dict[str, Any]:
        """The properties of a job that would run."""
        return {
            "jobType": "Command",
            "command": "true",
            "environmentId": ml.environments.create_or_update(environment).id,
            "computeId": f"{place['id']}/computes/cpu",
        }

    @pytest.mark.parametrize(
        ("change", "where", "what"),
        [
            ({"computeId": "@id@/computes/none"}, "ComputeId", "Compute with name 'none' was not found"),
            ({"environmentId": "@id@/environments/none/versions/1"}, "EnvironmentId", "none"),
            ({"codeId": "@id@/codes/none/versions/1"}, "CodeId", "none"),
            ({"command": ""}, "Command", "missing"),
            ({"command": "echo ${{inputs.x}}"}, "Command", "inputs.x"),
            ({"inputs": {"d": {"jobInputType": "uri_file", "uri": "@id@/data/none/versions/1"}}}, "Inputs.d", "none"),
            ({"inputs": {"d": {"jobInputType": "uri_fold", "uri": "x"}}}, "Inputs.d", "uri_fold"),
            ({"inputs": {"d": {"jobInputType": "uri_file"}}}, "Inputs.d", "no URI"),
            ({"outputs": {"o": {"jobOutputType": "folder"}}}, "Outputs.o", "folder"),
            ({"limits": {"timeout": "1 hour"}}, "Limits.timeout", "1 hour"),
            ({"experimentName": "a b"}, "ExperimentName", "a b"),
            ({"tags": {"a": {}}}, "tags", "strings"),
        ],
    )
    def test_what_cannot_run_is_refused(
        self,
        emulator: Any,
        place: dict[str, Any],
        send: Any,
        sign_in: Any,
        good: dict[str, Any],
        change: dict[str, Any],
        where: str,
        what: str,
    ) -> None:
        filled = json.loads(json.dumps(change).replace("@id@", place["id"]))
        answer = send(
            "PUT",
            f"https://management.azure.com{place['id']}/jobs/refused",
            token=sign_in(),
            version="2024-04-01",
            json={"properties": {**good, **filled}},
        )
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert error["code"] == "UserError"
        assert where in [detail["target"] for detail in error["details"]]
        assert what in error["message"]

    def test_a_compute_that_cannot_take_the_job_refuses_it(
        self, emulator: Any, place: dict[str, Any], good: dict[str, Any], send: Any, sign_in: Any
    ) -> None:
        def put(properties: dict[str, Any]) -> Any:
            url = f"https://management.azure.com{place['id']}/jobs/too-big"
            return send("PUT", url, token=sign_in(), version="2024-04-01", json={"properties": properties})

        answer = put({**good, "resources": {"instanceCount": 1000}})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "JobNodeCountExceedsCoreQuota")
        spec = {"type": "command", "command": "true", "environment": good["environmentId"]}
        emulator.arm("PUT", f"{place['id']}/components/big/versions/1", {"properties": {"componentSpec": spec}})
        node = {"componentId": f"{place['id']}/components/big/versions/1", "resources": {"instance_count": 1000}}
        pipeline = {"jobType": "Pipeline", "settings": {"default_compute": good["computeId"]}, "jobs": {"a": node}}
        assert "JobNodeCountExceedsCoreQuota" in put(pipeline).text
        instance = f"{place['id']}/computes/stopped-one"
        body = {"computeType": "ComputeInstance", "properties": {"vmSize": "Standard_DS2_v2"}}
        emulator.arm("PUT", instance, {"location": "westeurope", "properties": body})
        emulator.arm("POST", f"{instance}/stop")
        answer = put({**good, "computeId": instance})
        assert (answer.status_code, "is Stopped and takes no jobs" in answer.text) == (400, True)

    def test_a_taken_name_cannot_be_another_job(self, ml: MLClient, emulator: Any, place: dict[str, Any], good: dict[str, Any]) -> None:
        emulator.arm("PUT", f"{place['id']}/jobs/taken", {"properties": good})
        ended(ml, "taken")
        emulator.arm("PUT", f"{place['id']}/jobs/taken", {"properties": {**good, "tags": {"now": "tagged"}}})
        assert ml.jobs.get("taken").tags == {"now": "tagged"}
        with pytest.raises(RuntimeError, match="the existing job's Command cannot be changed"):
            emulator.arm("PUT", f"{place['id']}/jobs/taken", {"properties": {**good, "command": "false"}})

    def test_other_kinds_of_job_are_refused_by_name(self, emulator: Any, place: dict[str, Any]) -> None:
        with pytest.raises(RuntimeError, match="not 'Spark'"):
            emulator.arm("PUT", f"{place['id']}/jobs/spark", {"properties": {"jobType": "Spark"}})

    def test_a_right_is_needed(
        self, ml: MLClient, place: dict[str, Any], send: Any, sign_in: Any, new_app: Any, good: dict[str, Any], emulator: Any
    ) -> None:
        app = new_app("reader-of-jobs")
        emulator.ask(
            "POST",
            "/identities",
            {"name": "reader-of-jobs", "client_id": app["appId"], "roles": [{"role": "Reader", "scope": place["id"]}]},
        )
        token = sign_in(client_id=app["appId"], secret=app["secret"])
        url = f"https://management.azure.com{place['id']}/jobs/forbidden"
        answer = send("PUT", url, token=token, version="2024-04-01", json={"properties": good})
        assert answer.status_code == 403
        assert "Microsoft.MachineLearningServices/workspaces/jobs/write" in answer.text


class TestPipeline:
    def test_steps_run_by_their_bindings(self, ml: MLClient, tmp_path: Path) -> None:
        _write(tmp_path / "prep", "import pathlib, sys\npathlib.Path(sys.argv[2], 'n.txt').write_text(str(int(sys.argv[1]) * 2))")
        _write(
            tmp_path / "train",
            "import pathlib, sys\nn = int(pathlib.Path(sys.argv[1], 'n.txt').read_text()) + float(sys.argv[3])\n"
            "pathlib.Path(sys.argv[2], 'MLmodel').write_text(f'flavors: {{n: {n}}}')\n"
            "pathlib.Path(sys.argv[4], 'n.txt').write_text(str(n))\nprint('trained', n, sys.argv[5:])",
        )
        (tmp_path / "conda.yml").write_text(BARE)
        (tmp_path / "train.yml").write_text(
            "type: command\nname: jobs_train\nversion: '1'\ncode: train\n"
            "command: python main.py ${{inputs.data}} ${{outputs.model}} ${{inputs.rate}} ${{outputs.report}}"
            " $[[--depth ${{inputs.depth}}]]\n"
            "environment: {image: base, conda_file: conda.yml}\n"
            "inputs:\n  data: {type: uri_folder}\n  rate: {type: number, default: 0.5}\n  depth: {type: integer, optional: true}\n"
            "outputs:\n  model: {type: mlflow_model}\n  report: {type: uri_folder}\n"
        )
        ml.components.create_or_update(load_component(tmp_path / "train.yml"))
        (tmp_path / "pipeline.yml").write_text(
            "type: pipeline\nexperiment_name: pipes\ndisplay_name: two steps\ninputs: {n: 21}\n"
            "outputs:\n  model: {type: mlflow_model}\n  report: {}\n"
            "settings: {default_compute: azureml:cpu}\n"
            "jobs:\n"
            "  train:\n    type: command\n    component: azureml:jobs_train:1\n"
            "    inputs: {data: '${{parent.jobs.prep.outputs.out}}'}\n"
            "    outputs: {model: '${{parent.outputs.model}}', report: '${{parent.outputs.report}}'}\n"
            "  prep:\n    type: command\n    code: prep\n    command: python main.py ${{inputs.n}} ${{outputs.out}}\n"
            "    environment: {image: base, conda_file: conda.yml}\n"
            "    inputs: {n: '${{parent.inputs.n}}'}\n    outputs: {out: {type: uri_folder, mode: upload}}\n"
        )
        made = ml.jobs.create_or_update(load_job(tmp_path / "pipeline.yml"))
        assert ended(ml, made.name).status == "Completed", ml.jobs._runs_operations.get_run_details(made.name).error
        children = {child.display_name: child for child in ml.jobs.list(parent_job_name=made.name)}
        assert set(children) == {"prep", "train"}
        assert all(child.status == "Completed" for child in children.values())
        assert "trained 42.5 []" in log_of(ml, children["train"].name)
        assert "Step train" in log_of(ml, made.name, "logs/azureml/executionlogs.txt")
        train = ml.jobs._runs_operations.get_run(children["train"].name)
        assert (train.parent_run_id, train.root_run_id) == (made.name, made.name)
        assert train.properties["azureml.moduleName"] == "jobs_train"
        assert ml.jobs.get(children["train"].name).status == "Completed"
        assert children["train"].name not in [job.name for job in ml.jobs.list()]
        ml.jobs.download(made.name, download_path=tmp_path / "all", output_name="report")
        assert (tmp_path / "all" / "named-outputs" / "report" / "n.txt").read_text() == "42.5"
        model = ml.models.create_or_update(Model(name="jobs-model", path=f"azureml://jobs/{made.name}/outputs/model", type="mlflow_model"))
        assert model.path.endswith(f"/paths/azureml/{made.name}/model/")
        ml.models.download("jobs-model", model.version, download_path=tmp_path)
        assert (tmp_path / "jobs-model" / "model" / "MLmodel").read_text() == "flavors: {n: 42.5}"

    def test_a_failing_step_fails_the_pipeline_with_its_error(self, ml: MLClient, tmp_path: Path) -> None:
        made = ml.jobs.create_or_update(load_job(_three_steps(tmp_path, "continue_on_step_failure: false")))
        assert ended(ml, made.name).status == "Failed"
        error = ml.jobs._runs_operations.get_run_details(made.name).error.error
        assert "Failed nodes: /bad" in error.message
        assert "it broke" in error.message
        assert error.details[0].target == "bad"
        states = {child.display_name: child.status for child in ml.jobs.list(parent_job_name=made.name)}
        assert states == {"bad": "Failed", "slow": "Canceled"}

    def test_independent_steps_go_on_if_asked(self, ml: MLClient, tmp_path: Path) -> None:
        made = ml.jobs.create_or_update(load_job(_three_steps(tmp_path, "continue_on_step_failure: true", slow="sleep 0.2")))
        assert ended(ml, made.name).status == "Failed"
        states = {child.display_name: child.status for child in ml.jobs.list(parent_job_name=made.name)}
        assert states == {"bad": "Failed", "slow": "Completed"}

    def test_cancel_ends_the_children(self, ml: MLClient, tmp_path: Path) -> None:
        job = load_job(_three_steps(tmp_path, "continue_on_step_failure: false", bad="sleep 600", slow="sleep 600"))
        made = ml.jobs.create_or_update(job)
        while {child.status for child in ml.jobs.list(parent_job_name=made.name)} != {"Running"}:
            time.sleep(0.05)
        ml.jobs.begin_cancel(made.name).result()
        assert ml.jobs.get(made.name).status == "Canceled"
        assert {child.status for child in ml.jobs.list(parent_job_name=made.name)} == {"Canceled"}

    def test_stream_prints_the_steps(self, ml: MLClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        flag = tmp_path / "go"
        wait = f"while [ ! -e {flag} ]; do sleep 0.05; done"
        made = ml.jobs.create_or_update(load_job(_three_steps(tmp_path, "continue_on_step_failure: true", slow=wait)))
        touch_after_looks(ml, flag)
        with pytest.raises(JobException, match="Failed nodes: /bad"):
            ml.jobs.stream(made.name)
        printed = capsys.readouterr().out
        assert "Streaming logs/azureml/executionlogs.txt" in printed
        assert "Submitting step slow" in printed

    def test_pipelines_and_sweeps_can_be_steps(self, ml: MLClient, tmp_path: Path) -> None:
        _write(tmp_path / "code", LOSS)
        (tmp_path / "conda.yml").write_text(BARE)
        environment = "environment: {image: base, conda_file: conda.yml}\n"
        (tmp_path / "twice.yml").write_text(
            "type: pipeline\nname: jobs_twice\nversion: '1'\n"
            "inputs:\n  text: {type: string, default: from-default}\noutputs:\n  o: {type: uri_folder}\n"
            "jobs:\n  one:\n    type: command\n    command: echo ${{inputs.text}} > ${{outputs.o}}/t.txt\n"
            f"    {environment}    inputs: {{text: '${{{{parent.inputs.text}}}}'}}\n    outputs: {{o: '${{{{parent.outputs.o}}}}'}}\n"
        )
        (tmp_path / "trial.yml").write_text(
            f"type: command\nname: jobs_trial\nversion: '1'\ncode: code\n{environment}"
            "command: python main.py ${{inputs.x}} ${{outputs.o}}\ninputs:\n  x: {type: number}\noutputs:\n  o: {type: uri_folder}\n"
        )
        (tmp_path / "pipeline.yml").write_text(
            "type: pipeline\nexperiment_name: nested\nsettings: {default_compute: azureml:cpu}\njobs:\n"
            "  inner:\n    type: pipeline\n    component: twice.yml\n"
            "  tune:\n    type: sweep\n    search_space:\n      x: {type: choice, values: [1, 2, 5]}\n    sampling_algorithm: grid\n"
            "    objective: {goal: minimize, primary_metric: loss}\n    limits: {max_total_trials: 3, max_concurrent_trials: 2}\n"
            "    trial: trial.yml\n    outputs: {o: {type: uri_folder}}\n"
            "  last:\n    type: command\n    command: cat ${{inputs.a}}/t.txt ${{inputs.b}}/x.txt\n"
            f"    {environment}    inputs:\n      a: {{path: '${{{{parent.jobs.inner.outputs.o}}}}', mode: download}}\n"
            "      b: '${{parent.jobs.tune.outputs.o}}'\n"
        )
        made = ml.jobs.create_or_update(load_job(tmp_path / "pipeline.yml"))
        assert ended(ml, made.name).status == "Completed", ml.jobs._runs_operations.get_run_details(made.name).error
        children = {child.display_name: child.name for child in ml.jobs.list(parent_job_name=made.name)}
        assert log_of(ml, children["last"]).split() == ["from-default", "2.0"]
        inner = ml.jobs._runs_operations.get_run(next(iter(ml.jobs.list(parent_job_name=children["inner"]))).name)
        assert (inner.parent_run_id, inner.root_run_id) == (children["inner"], made.name)
        assert len(list(ml.jobs.list(parent_job_name=children["tune"]))) == 3

    def test_bad_bindings_are_refused(
        self, ml: MLClient, emulator: Any, place: dict[str, Any], tmp_path: Path, send: Any, sign_in: Any
    ) -> None:
        (tmp_path / "conda.yml").write_text(BARE)
        (tmp_path / "one.yml").write_text(
            "type: command\nname: jobs_one\nversion: '1'\ncommand: echo ${{inputs.a}} > ${{outputs.o}}/x\n"
            "environment: {image: base, conda_file: conda.yml}\n"
            "inputs:\n  a: {type: uri_folder}\noutputs:\n  o: {type: uri_folder}\n"
        )
        id = ml.components.create_or_update(load_component(tmp_path / "one.yml")).id
        steps = {
            "one": {
                "type": "command",
                "componentId": id,
                "inputs": {"a": {"job_input_type": "literal", "value": "${{parent.jobs.two.outputs.o}}"}},
            },
            "two": {
                "type": "command",
                "componentId": id,
                "inputs": {"a": {"job_input_type": "literal", "value": "${{parent.jobs.one.outputs.o}}"}},
            },
            "three": {
                "type": "command",
                "componentId": id,
                "inputs": {"a": {"job_input_type": "literal", "value": "${{parent.inputs.none}}"}},
            },
            "four": {
                "type": "command",
                "componentId": id,
                "inputs": {"b": {"job_input_type": "literal", "value": "${{parent.jobs.one.outputs.q}}"}},
            },
            "five": {"type": "command", "componentId": id.replace("jobs_one", "none")},
        }
        body = {"properties": {"jobType": "Pipeline", "jobs": steps}}
        answer = send(
            "PUT", f"https://management.azure.com{place['id']}/jobs/bad-pipeline", token=sign_in(), version="2024-04-01", json=body
        )
        assert answer.status_code == 400
        text = answer.json()["error"]["message"]
        for part in ("wait for each other", "no input 'none'", "no input 'b'", "no output 'q'", "required input 'a'", "none"):
            assert part in text, part


class TestSweep:
    def test_the_best_trial_is_found_by_its_metric(self, ml: MLClient, tmp_path: Path) -> None:
        _write(tmp_path / "code", LOSS)
        (tmp_path / "conda.yml").write_text(BARE)
        (tmp_path / "sweep.yml").write_text(
            "type: sweep\nexperiment_name: sweeps\ncompute: azureml:cpu\nsampling_algorithm: grid\n"
            "trial:\n  code: code\n  command: python main.py ${{search_space.x}} ${{outputs.o}}\n"
            "  environment: {image: base, conda_file: conda.yml}\n"
            "search_space:\n  x: {type: choice, values: [1, 2, 4]}\noutputs:\n  o: {type: uri_folder}\n"
            "objective: {goal: minimize, primary_metric: loss}\nlimits: {max_total_trials: 5, max_concurrent_trials: 2}\n"
        )
        made = ml.jobs.create_or_update(load_job(tmp_path / "sweep.yml"))
        done = ended(ml, made.name)
        assert done.status == "Completed", ml.jobs._runs_operations.get_run_details(made.name).error
        assert done.properties["best_child_run_id"] == f"{made.name}_1"
        assert float(done.properties["score"]) == 0.0
        assert len(list(ml.jobs.list(parent_job_name=made.name))) == 3
        ml.jobs.download(made.name, download_path=tmp_path / "best", output_name="o")
        assert (tmp_path / "best" / "named-outputs" / "o" / "x.txt").read_text() == "2.0"


class TestManagementClient:
    def test_azure_mgmt_submits_lists_and_cancels(self, azure: Any, ml: MLClient, place: dict[str, Any], environment: Environment) -> None:
        group = place["id"].split("/")[4]
        client = MachineLearningServicesMgmtClient(EnvironmentCredential(), place["id"].split("/")[2])
        body = models.JobBase(
            properties=models.CommandJob(
                command="sleep 600",
                environment_id=ml.environments.create_or_update(environment).id,
                compute_id=f"{place['id']}/computes/cpu",
                experiment_name="managed",
                limits=models.CommandJobLimits(timeout=timedelta(hours=1)),
            )
        )
        made = client.jobs.create_or_update(group, "jobs-ws", "managed-job", body)
        assert (made.name, made.properties.status) == ("managed-job", "NotStarted")
        assert "managed-job" in [job.name for job in client.jobs.list(group, "jobs-ws", job_type="Command")]
        client.jobs.begin_cancel(group, "jobs-ws", "managed-job").result()
        assert client.jobs.get(group, "jobs-ws", "managed-job").properties.status == "Canceled"
        client.jobs.begin_delete(group, "jobs-ws", "managed-job").result()
        with pytest.raises(ResourceNotFoundError):
            client.jobs.get(group, "jobs-ws", "managed-job")


class TestRestart:
    def test_an_interrupted_job_starts_again(self, own_emulator: Any, tmp_path: Path) -> None:
        place = own_emulator.workspace("restart-ws")
        environment = {"properties": {"image": "base", "condaFile": BARE}}
        own_emulator.arm("PUT", f"{place['id']}/environments/bare/versions/1", environment)
        marks, flag = tmp_path / "marks", tmp_path / "go"
        text = f"echo started >> {marks}; while [ ! -e {flag} ]; do sleep 0.05; done"
        own_emulator.arm(
            "PUT",
            f"{place['id']}/jobs/survivor",
            {"properties": {"jobType": "Command", "command": text, "environmentId": f"{place['id']}/environments/bare/versions/1"}},
        )
        while not marks.exists():
            time.sleep(0.05)
        own_emulator.stop()
        flag.touch()
        own_emulator.cli("start", "--port", "0", "--lifetime", "300")
        try:
            again = Administrator(own_emulator.home)
            while (job := again.arm("GET", f"{place['id']}/jobs/survivor"))["properties"]["status"] not in ENDED:
                time.sleep(0.05)
            assert job["properties"]["status"] == "Completed"
            assert marks.read_text() == "started\nstarted\n"
        finally:
            own_emulator.cli("stop")


def _write(folder: Path, script: str) -> None:
    folder.mkdir()
    (folder / "main.py").write_text(script)


def _three_steps(folder: Path, settings: str, bad: str = "sleep 0.5; echo it broke >&2; exit 1", slow: str = "sleep 600") -> Path:
    """A pipeline whose step ``bad`` fails, ``slow`` does not depend on it, and ``after`` does."""
    (folder / "conda.yml").write_text(BARE)
    environment = "    environment: {image: base, conda_file: conda.yml}\n"
    (folder / "pipeline.yml").write_text(
        f"type: pipeline\nexperiment_name: pipes\nsettings: {{default_compute: azureml:cpu, {settings}}}\njobs:\n"
        f"  bad:\n    type: command\n    command: {bad}; echo ${{{{outputs.o}}}}\n{environment}    outputs: {{o: {{type: uri_folder}}}}\n"
        f"  slow:\n    type: command\n    command: {slow}\n{environment}"
        f"  after:\n    type: command\n    command: ls ${{{{inputs.i}}}}\n{environment}"
        "    inputs: {i: '${{parent.jobs.bad.outputs.o}}'}\n"
    )
    return folder / "pipeline.yml"


def _document(emulator: Any, place: dict[str, Any], name: str) -> dict[str, Any]:
    """The emulator's own record of a job."""
    import sqlite3

    with sqlite3.connect(emulator.home / "state.sqlite") as database:
        row = database.execute("SELECT body FROM documents WHERE id = ?", (f"{place['id']}/jobs/{name}".lower(),)).fetchone()
    found: dict[str, Any] = json.loads(row[0])
    return found


@pytest.fixture(autouse=True)
def _nothing_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """Cancel what a failed test left behind, so that the next has its turns."""
    ml: MLClient | None = request.getfixturevalue("ml") if "ml" in request.fixturenames else None
    yield
    if ml:
        for job in ml.jobs.list():
            if job and job.status not in ENDED:
                try:
                    ml.jobs.begin_cancel(job.name).result()
                except HttpResponseError:
                    pass
