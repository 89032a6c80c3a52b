"""A small project with a dev and a prod workspace of its own on the emulator, and the verbs run in it as their own principals."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from _provision import REGISTRY_GROUP, own_roles
from aml import access, azure, command, evidence, identity, registry, workspace
from emulator.client import Administrator
from emulator.core import SUBSCRIPTION, TENANT

sys.path.append(str(Path(__file__).parent))  # for what tests share: approving

SCRIPTS = Path(__file__).parents[2] / "scripts"
SECRET = "only-for-the-emulator"
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20240709.v1"

FILES = {
    ".cloud/release.yml": """
train:
  job: pipelines/train.yml
  environments: [.cloud/environments/score.yml]
model: {name: delay, output: model, type: custom_model}
gate:
  thresholds:
    - {metric: rmse, max: 60}
  champion: {metric: rmse, goal: minimize, tolerance_percent: 1}
deploy:
  endpoint: .cloud/online/endpoint.yml
  deployment: .cloud/online/deployment.yml
  smoke: tests/smoke/cases.yml
  rollout: {steps: [10, 50, 100]}
""",
    ".cloud/online/endpoint.yml": """
name: to-be-replaced
description: Delays
auth_mode: aad_token
tags: {team: air}
""",
    ".cloud/online/deployment.yml": """
name: blue
endpoint_name: to-be-replaced
model: azureml:delay@latest
code_configuration: {code: ../../code/score, scoring_script: score.py}
environment: azureml:score
environment_variables: {WHO: one}
instance_type: Standard_DS3_v2
instance_count: 1
request_settings: {request_timeout_ms: 20000, max_concurrent_requests_per_instance: 4}
readiness_probe: {initial_delay: 1, period: 1, failure_threshold: 30}
liveness_probe: {initial_delay: 1, period: 5, failure_threshold: 30}
""",
    ".cloud/environments/score.yml": f"""
name: score
image: {IMAGE}
conda_file: score-conda.yml
""",
    ".cloud/environments/score-conda.yml": """
dependencies:
  - python>=3.10
  - pip:
    - azureml-inference-server-http
""",
    "code/score/score.py": """
import json
import os
import pathlib

from azureml_inference_server_http.api.aml_response import AMLResponse


def init():
    global factor
    found = sorted(pathlib.Path(os.environ["AZUREML_MODEL_DIR"]).rglob("factor.txt"))
    factor = float(found[0].read_text())


def run(data):
    asked = json.loads(data)
    if "value" not in asked:
        return AMLResponse({"problem": "no value"}, 400, json_str=True)
    return [factor * asked["value"]]
""",
    "pipelines/train.yml": "type: command\ncommand: python train.py\n",
    "tests/smoke/cases.yml": """
cases:
  - name: doubles a number
    request: {value: 2}
    expect: {status: 200, within_seconds: 20, range: [{pointer: /0, min: 2, max: 10}]}
  - name: a missing value is refused
    request_file: tests/smoke/bad.json
    expect: {status: 400, contains: no value}
""",
    "tests/smoke/bad.json": "{}\n",
}


@dataclass
class Project:
    """A project's folder, its names in Azure, and how a verb is run in it."""

    folder: Path
    name: str
    site: Site
    capsys: Any
    secret: str = SECRET

    @property
    def admin(self) -> Administrator:
        """The emulated subscription's owner."""
        return self.site.admin

    def id(self, stage: str = "dev") -> str:
        """The workspace's ARM id."""
        return self.site.ids[stage]

    def arm(self, method: str, path: str, body: Any = None, stage: str = "dev") -> Any:
        """ARM below a workspace, as the administrator."""
        return self.admin.arm(method, f"{self.id(stage)}/{path}".rstrip("/"), body)

    def clear(self) -> None:
        """Delete its endpoints."""
        for stage in ("dev", "prod"):
            path = f"{self.id(stage)}/onlineEndpoints/{self.name}-{stage}"
            if self.admin.find(path):
                self.admin.arm("DELETE", path)

    def reset(self) -> None:
        """Take all traffic and all marks from its endpoint in dev, and leave what is deployed."""
        found = self.admin.find(f"{self.id()}/onlineEndpoints/{self.name}-dev")
        if found:
            tags = {key: value for key, value in found["tags"].items() if key in ("team", "endpoint_file")}
            body = {"location": found["location"], "identity": found["identity"], "tags": tags}
            body["properties"] = {**found["properties"], "traffic": {}, "mirrorTraffic": {}}
            self.arm("PUT", f"onlineEndpoints/{self.name}-dev", body)

    def begin(self, method: str, path: str, body: Any) -> None:
        """A request of the administrator's whose long operation is left to itself."""
        url = f"https://management.azure.com{self.id()}/{path}?api-version=2024-04-01"
        assert self.admin.session.request(method, url, json=body, timeout=60).status_code < 300

    def write(self, path: str, text: str) -> None:
        """Write a file of the project."""
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text.lstrip("\n"))

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file of the project."""
        text = (self.folder / path).read_text()
        assert old in text
        self.write(path, text.replace(old, new))

    def append(self, path: str, text: str) -> None:
        """Add text to a file of the project."""
        self.write(path, (self.folder / path).read_text() + text)

    def run(self, verb: str, workspace: str = "dev", **flags: str) -> Outcome:
        """Run a verb in this process, as the workspace's own principal; without the secret, as whoever the environment says."""
        os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"] = self.site.clients[workspace], self.secret
        words = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        self.capsys.readouterr()
        refusal = ""
        try:
            importlib.import_module(verb).main([f"--project={self.folder}", f"--workspace={workspace}", *words])
        except Exception as error:
            explained = error if isinstance(error, command.Refusal) else azure.explain(error)
            if explained is None:
                raise
            refusal = str(explained)
        captured = self.capsys.readouterr()
        return Outcome(refusal, captured.out, captured.err)

    @contextmanager
    def started(self, verb: str, workspace: str = "dev", **flags: str) -> Iterator[subprocess.Popen[str]]:
        """A verb in a process of its own, for what a signal does to it; it is gone at the end."""
        words = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        env = {**os.environ, "AZURE_CLIENT_ID": self.site.clients[workspace], "AZURE_CLIENT_SECRET": SECRET}
        argv = [sys.executable, str(SCRIPTS / f"{verb}.py"), f"--project={self.folder}", f"--workspace={workspace}", *words]
        process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @staticmethod
    def read_until(process: subprocess.Popen[str], text: str) -> str:
        """What a process printed up to a line with this text."""
        seen = ""
        assert process.stdout
        for line in process.stdout:
            seen += line
            if text in line:
                return seen
        raise AssertionError(f"it ended without {text!r}: {seen}")

    def approved(self, bundle_id: str, *serving: str) -> None:
        """Leave what verify_approval leaves in production's job; `serving` are the deployments that took traffic then."""
        subject = evidence.about_bundle(self.name, bundle_id)
        facts = {"serving": dict.fromkeys(serving, ""), "approvers": [{"who": "robin", "for": "release-managers"}]}
        made = evidence.statement(subject, "verify_approval", "passed", workspace="prod", started=evidence.now(), facts=facts)
        evidence.write(self.folder.parent / "evidence", made)

    def evidence(self, verb: str, workspace: str = "dev") -> dict[str, Any]:
        """The predicate that a verb left."""
        path = self.folder.parent / "evidence" / f"{verb}-{workspace}.json"
        found: dict[str, Any] = json.loads(path.read_text())["predicate"]
        return found

    def job(
        self,
        metrics: dict[str, float | str],
        factor: float = 2.0,
        command: str = "",
        status: str = "Completed",
        tags: dict[str, str] | None = None,
    ) -> str:
        """Run a job that makes a model of one number, and log metrics to its run; its name."""
        name = f"job-{self.name}-{uuid.uuid4().hex[:8]}"
        command = command or f"python -c \"import pathlib; pathlib.Path(r'${{{{outputs.model}}}}', 'factor.txt').write_text('{factor}')\""
        marks = {"content_key": "sha256:" + uuid.uuid4().hex * 2, "commit": "c" * 40, "data": '["flights:1"]'}
        body = {
            "jobType": "Command",
            "command": command,
            "environmentId": f"{self.id()}/environments/train/versions/1",
            "computeId": f"{self.id()}/computes/cpu",
            "experimentName": "delay",
            "outputs": {"model": {"jobOutputType": "custom_model", "mode": "ReadWriteMount"}},
            "tags": marks if tags is None else tags,
        }
        self.arm("PUT", f"jobs/{name}", {"properties": body})
        assert self.ended(name) == status
        for metric, value in metrics.items():
            self.log(name, metric, value)
        return name

    def ended(self, job: str) -> str:
        """A job's status once it has ended."""
        while (status := str(self.arm("GET", f"jobs/{job}")["properties"]["status"])) not in ("Completed", "Failed", "Canceled"):
            pass
        return status

    def mlflow(self, method: str, path: str, **body: Any) -> Any:
        """A call of MLflow's own REST API."""
        url = f"https://westeurope.api.azureml.ms/mlflow/v2.0{self.id()}/api/2.0/mlflow/{path}"
        answer = self.admin.session.request(method, url, json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def log(self, run: str, metric: str, value: float | str) -> None:
        """Log a metric to a run."""
        self.mlflow("POST", "runs/log-metric", run_id=run, key=metric, value=value, timestamp=1, step=0)

    def child(self, job: str) -> str:
        """A child run of a job's; its id."""
        parent = self.mlflow("GET", f"runs/get?run_id={job}")["run"]["info"]
        tags = [{"key": "mlflow.parentRunId", "value": job}]
        made = self.mlflow("POST", "runs/create", experiment_id=parent["experiment_id"], start_time=1, tags=tags)
        return str(made["run"]["info"]["run_id"])

    def blob(self, path: str, data: bytes, stage: str = "dev") -> None:
        """Overwrite a blob of the workspace's default datastore, behind everybody's back."""
        from azure.storage.blob import ContainerClient

        store = self.arm("GET", "datastores/workspaceblobstore", stage=stage)["properties"]
        key = self.arm("POST", "datastores/workspaceblobstore/listSecrets", {}, stage)["key"]
        url = f"https://{store['accountName']}.blob.core.windows.net"
        ContainerClient(url, store["containerName"], credential=key).upload_blob(path, data, overwrite=True)

    def bundle(self, factor: float = 2.0) -> str:
        """Register and seal the model of a job that is run once for all tests; the bundle's id."""
        if factor not in self.site.jobs:
            self.site.jobs[factor] = self.job({"rmse": 40.0}, factor)
        job = self.site.jobs[factor]
        version = self.run("register_model", job_name=job).output("model_version")
        return self.run("seal_bundle", job_name=job, model_version=version).output("bundle_id")

    def edit_and_seal(self, bundle_id: str) -> str:
        """Seal the same model with the project's files as they are now."""
        job = self.site.jobs[2.0]
        return self.run("seal_bundle", job_name=job, model_version="1").output("bundle_id")

    def registry(self, workspace_name: str = "dev") -> registry.Registry:
        """The registry, as a workspace's principal sees it."""
        os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"] = self.site.clients[workspace_name], SECRET
        at = workspace.load(self.folder, workspace_name)
        return registry.connect(at, identity.sign_in(at))

    def shared_as(self, version: str) -> None:
        """Put the workspace's first version of the model into the registry under another number."""
        place = f"azureml://locations/westeurope/workspaces/{self.arm('GET', '')['properties']['workspaceId']}"
        source = f"{place}/models/{self.name}/versions/1"
        target = {"referenceType": "Id", "destinationName": self.name, "destinationVersion": version, "sourceAssetId": source}
        self.registry().client.post("import", {"properties": target})

    def deployed(self, factor: float = 2.0) -> tuple[str, str]:
        """A new bundle, deployed to dev without traffic; (bundle id, deployment)."""
        bundle_id = self.bundle(factor)
        return bundle_id, self.run("deploy_online", bundle_id=bundle_id).output("deployment_name")

    def endpoint(self, stage: str = "dev") -> dict[str, Any]:
        """The endpoint as ARM shows it."""
        found: dict[str, Any] = self.arm("GET", f"onlineEndpoints/{self.name}-{stage}", stage=stage)
        return found

    def traffic(self, stage: str = "dev") -> dict[str, int]:
        """The endpoint's split, without zeros."""
        return {name: share for name, share in (self.endpoint(stage)["properties"]["traffic"] or {}).items() if share}


@dataclass
class Outcome:
    """How a verb ended and what it printed."""

    refusal: str
    out: str
    err: str

    def output(self, name: str) -> str:
        """One of its outputs; it must have ended well."""
        assert not self.refusal, self.refusal
        return next(line.partition(": ")[2] for line in reversed(self.out.splitlines()) if line.startswith(f"{name}: "))


@dataclass
class Site:
    """A dev and a prod workspace with a registry between them, and a principal for each."""

    admin: Administrator
    ids: dict[str, str]
    clients: dict[str, str]
    registry: str
    jobs: dict[float, str] = field(default_factory=dict)


@pytest.fixture(scope="session")
def site(emulator: Any) -> Site:
    """What a platform team sets up once; every test has a model and endpoints of its own in it."""
    admin = Administrator(emulator.home)
    own_roles(admin, SUBSCRIPTION)
    found = Site(admin, {}, {}, admin.registry("mlr-verbs", REGISTRY_GROUP))
    for stage in ("dev", "prod"):
        made = admin.workspace(f"mlw-verbs-{stage}", f"rg-verbs-{stage}")
        scopes = {"subscription": f"/subscriptions/{SUBSCRIPTION}", "workspace": made["id"]}
        scopes |= {"storage": made["properties"]["storageAccount"], "registry": found.registry, "vault": made["properties"]["keyVault"]}
        roles = [{"role": role, "scope": scopes[where]} for role, where, _ in access.held(stage)]
        body = {"name": f"verbs-{stage}", "secret": SECRET, "issuer": "", "subjects": [], "roles": roles}
        found.ids[stage] = made["id"]
        found.clients[stage] = emulator.ask("POST", "/identities", body)["client_id"]
    admin.compute(found.ids["dev"], "cpu", "Standard_DS3_v2", 2)
    plain = {"image": IMAGE, "condaFile": "dependencies:\n  - python>=3.10\n"}
    admin.arm("PUT", f"{found.ids['dev']}/environments/train/versions/1", {"properties": plain})
    return found


@pytest.fixture
def name() -> str:
    """The project's name; its model and its endpoints are called after it."""
    return f"p{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def new_project(site: Site) -> Callable[[str, Path, Any], Project]:
    """Writes a project of a name into a folder: nothing of it is in Azure yet."""

    def make(name: str, folder: Path, capsys: Any) -> Project:
        made = Project(folder, name, site, capsys)
        for path, text in FILES.items():
            made.write(path, text.replace("name: delay,", f"name: {made.name},"))
        for stage in ("dev", "prod"):
            spec = {
                "stage": stage,
                "tenant_id": TENANT,
                "subscription_id": SUBSCRIPTION,
                "resource_group": f"rg-verbs-{stage}",
                "workspace_name": f"mlw-verbs-{stage}",
                "client_id": site.clients[stage],
                "registry_name": "mlr-verbs",
                "endpoint_name": f"{made.name}-{stage}",
            }
            made.write(f".cloud/workspaces/{stage}.yml", "".join(f"{key}: {value}\n" for key, value in spec.items()))
        return made

    return make


@pytest.fixture
def project(
    name: str,
    new_project: Callable[[str, Path, Any], Project],
    azure: Any,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Project]:
    """A project of its own, with nothing trained or deployed; its endpoints give their quota back at the end."""
    monkeypatch.setenv("AML_GRANT_SECONDS", "0")
    monkeypatch.setenv("AML_EVIDENCE", str(tmp_path / "evidence"))
    monkeypatch.setenv("AZURE_CLIENT_ID", "")
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "")
    made = new_project(name, tmp_path / "project", capsys)
    assert not made.run("register_environment").refusal
    yield made
    azure.ask("DELETE", "/faults")
    made.clear()


@pytest.fixture
def slow(emulator: Any) -> Iterator[Callable[[str], None]]:
    """How slowly Azure's long operations end, for the rest of a test."""
    yield lambda transition: emulator.set("transition", transition)
    emulator.set("transition", "immediate")
