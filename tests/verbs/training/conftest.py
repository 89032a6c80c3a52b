"""The project of the verbs' tests with something to train: a cluster, data, environments, and a pipeline of two steps."""

from __future__ import annotations

from typing import Any

import pytest

FILES = {
    ".cloud/release.yml": """
train:
  job: pipelines/train.yml
  compute: [.cloud/compute/cpu.yml]
  data: [.cloud/data/flights.yml]
  environments: [.cloud/environments/train.yml]
  wait: {limit_minutes: 5, at_limit: cancel}
model: {name: NAME, output: model, type: custom_model}
gate:
  thresholds: [{metric: rmse, max: 60}]
deploy:
  endpoint: .cloud/online/endpoint.yml
  deployment: .cloud/online/deployment.yml
  smoke: tests/smoke/cases.yml
""",
    ".cloud/compute/cpu.yml": """
name: cpu
type: amlcompute
size: Standard_DS3_v2
max_instances: 2
""",
    ".cloud/data/flights.yml": """
name: NAME-flights
type: uri_folder
path: ../../data/flights
""",
    ".cloud/environments/train.yml": """
name: NAME-train
image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20240709.v1
conda_file: ../../code/train/conda.yml
""",
    "code/train/conda.yml": """
dependencies:
  - python>=3.10
""",
    "pipelines/train.yml": """
type: pipeline
experiment_name: NAME
settings: {default_compute: azureml:cpu}
inputs:
  flights: {type: uri_folder, path: azureml:NAME-flights@latest}
  rate: 2
outputs:
  model: {type: custom_model}
jobs:
  prepare:
    type: command
    code: ../code/prepare
    command: python prepare.py ${{inputs.raw}} ${{outputs.table}}
    environment: azureml:NAME-train@latest
    inputs: {raw: "${{parent.inputs.flights}}"}
    outputs:
      table: {type: uri_folder}
  train:
    type: command
    code: ../code/train
    command: python train.py ${{inputs.table}} ${{inputs.rate}} ${{outputs.model}}
    environment: azureml:NAME-train@latest
    inputs:
      table: ${{parent.jobs.prepare.outputs.table}}
      rate: ${{parent.inputs.rate}}
    outputs:
      model: ${{parent.outputs.model}}
""",
    "code/prepare/prepare.py": """
import pathlib
import sys

rows = (pathlib.Path(sys.argv[1]) / "flights.csv").read_text().splitlines()
print(f"prepared {len(rows)} rows", flush=True)
(pathlib.Path(sys.argv[2]) / "table.csv").write_text("\\n".join(rows))
""",
    "code/train/train.py": """
import pathlib
import sys

rows = (pathlib.Path(sys.argv[1]) / "table.csv").read_text().splitlines()
print(f"trained on {len(rows)} rows at {sys.argv[2]}", flush=True)
(pathlib.Path(sys.argv[3]) / "factor.txt").write_text(sys.argv[2])
""",
    "data/flights/flights.csv": "a,b\n1,2\n",
    "data/flights/weather.csv": "c\n3\n",
}


@pytest.fixture
def training(project: Any) -> Any:
    """The project with its training side; nothing is registered or submitted."""
    for path, text in FILES.items():
        project.write(path, text.replace("NAME", project.name))
    return project


@pytest.fixture
def submitted(training: Any) -> Any:
    """A function that registers what the job needs, submits it and gives its name."""

    def submit() -> str:
        for verb in ("register_data", "register_environment"):
            assert not training.run(verb).refusal
        name: str = training.run("submit_job").output("job_name")
        return name

    return submit
