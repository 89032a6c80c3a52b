"""A server on loopback that plays Azure, to answer what an emulator does not on demand."""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, settings

sys.path.append(str(Path(__file__).parent))  # for what tests share: dossiers

# The same examples every time, however slow the machine is, and nothing left behind.
settings.register_profile("house", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@dataclass
class Played:
    """A server that answers from a list: (status, body, headers), or None to cut the connection; or by a function of method and path."""

    url: str = ""
    by: Callable[[str, str], tuple[int, Any, dict[str, str]] | None] | None = None
    answers: list[tuple[int, Any, dict[str, str]] | None] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)

    def next(self) -> tuple[int, Any, dict[str, str]] | None:
        """The next answer of the list."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def answer(self, status: int, body: Any = None, /, times: int = 1, **headers: str) -> None:
        """Queue an answer; the last one is repeated for ever."""
        self.answers += [(status, body, {name.replace("_", "-"): value for name, value in headers.items()})] * times


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def played(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    found = Played()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            found.asked.append((self.command, self.path, dict(self.headers), body))
            answer = found.by(self.command, self.path) if found.by else found.next()
            if answer is None:
                self.close_connection = True
                return
            status, content, headers = answer
            data = content if isinstance(content, bytes) else json.dumps(content).encode() if content is not None else b""
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "ca.pem"))
    found.url = f"https://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


PROJECT = {
    ".cloud/workspaces/dev.yml": """\
stage: dev
tenant_id: 7a1f0000-0000-4000-8000-00000000aad0
subscription_id: 5ab50000-0000-4000-8000-000000000001
resource_group: rg-dev
workspace_name: mlw-dev
client_id: d0000000-0000-4000-8000-00000000de01
registry_name: mlr-contoso
""",
    ".cloud/workspaces/prod.yml": """\
stage: prod
tenant_id: 7a1f0000-0000-4000-8000-00000000aad0
subscription_id: 5ab50000-0000-4000-8000-000000000001
resource_group: rg-prod
workspace_name: mlw-prod
client_id: d0000000-0000-4000-8000-00000000de02
registry_name: mlr-contoso
""",
    ".cloud/release.yml": """\
train:
  job: pipelines/train.yml
  parameters: {rate: 0.1}
  compute: [.cloud/compute/cpu.yml]
  data: [.cloud/data/flights.yml]
  environments: [.cloud/environments/train.yml]
model: {name: tiny, output: model, type: mlflow_model}
gate:
  thresholds: [{metric: rmse, max: 60}]
deploy:
  endpoint: .cloud/online/endpoint.yml
  deployment: .cloud/online/deployment.yml
  smoke: tests/smoke/cases.yml
""",
    ".cloud/compute/cpu.yml": """\
name: cpu
type: amlcompute
size: Standard_DS3_v2
min_instances: 0
max_instances: 2
""",
    ".cloud/data/flights.yml": """\
name: flights
version: "1"
type: uri_folder
path: ../../data
""",
    ".cloud/environments/train.yml": """\
name: train
image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20240709.v1
conda_file: train-conda.yml
""",
    ".cloud/environments/train-conda.yml": "dependencies:\n  - python>=3.10\n",
    ".cloud/online/endpoint.yml": "name: tiny\nauth_mode: aad_token\n",
    ".cloud/online/deployment.yml": """\
name: live
endpoint_name: tiny
model: azureml:tiny@latest
environment: azureml:train@latest
code_configuration: {code: ../../code/score, scoring_script: score.py}
instance_type: Standard_DS3_v2
instance_count: 1
""",
    "pipelines/train.yml": """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
settings:
  default_compute: azureml:cpu
inputs:
  flights:
    type: uri_folder
    path: azureml:flights:1
  rate: 0.3
outputs:
  model:
    type: mlflow_model
jobs:
  prepare:
    type: command
    code: ../code/prepare
    command: python prepare.py --in ${{inputs.raw}} --out ${{outputs.table}}
    environment: azureml:train@latest
    inputs:
      raw: ${{parent.inputs.flights}}
    outputs:
      table: {type: uri_folder}
  train:
    type: command
    component: components/train.yml
    inputs:
      table: ${{parent.jobs.prepare.outputs.table}}
      rate: ${{parent.inputs.rate}}
    outputs:
      model: ${{parent.outputs.model}}
""",
    "pipelines/components/train.yml": """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
name: train_model
type: command
inputs:
  table: {type: uri_folder}
  rate: {type: number, default: 0.2}
outputs:
  model: {type: mlflow_model}
code: ../../code/train
command: python train.py --table ${{inputs.table}} --rate ${{inputs.rate}} --model ${{outputs.model}}
environment: azureml:train@latest
""",
    "code/prepare/prepare.py": "print('prepared')\n",
    "code/train/train.py": "print('trained')\n",
    "code/score/score.py": "def init():\n    pass\n\n\ndef run(raw):\n    return raw\n",
    "data/flights.csv": "a,b\n1,2\n",
    "tests/smoke/cases.yml": "cases:\n  - {name: works, request: {data: 1}, expect: {status: 200}}\n",
}


@dataclass
class Files:
    """A project's folder, relative to the working folder so that messages are the same everywhere."""

    folder: Path

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file."""
        text = (self.folder / path).read_text()
        assert old in text
        self.write(path, text.replace(old, new))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """A small, valid project in the folder `p` of the working folder."""
    monkeypatch.chdir(tmp_path)
    made = Files(Path("p"))
    for path, text in PROJECT.items():
        made.write(path, text)
    return made
