"""The example's notebooks, run from their first cell to their last with plain azure-ai-ml, azure-identity and MLflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from _provision import provision

if TYPE_CHECKING:
    from tests.conftest import Emulator

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "flight-delay"
REGISTER = """
import sys, yaml
from pathlib import Path
from azure.ai.ml import MLClient, load_data, load_environment
from azure.identity import EnvironmentCredential

cloud = Path(sys.argv[1]) / ".cloud"
dev = yaml.safe_load((cloud / "workspaces" / "dev.yml").read_text())
ml = MLClient(EnvironmentCredential(), dev["subscription_id"], dev["resource_group"], dev["workspace_name"])
ml.data.create_or_update(load_data(cloud / "data" / "flights.yml", params_override=[{"version": "1"}]))
for file in ("prepare", "train"):
    ml.environments.create_or_update(load_environment(cloud / "environments" / f"{file}.yml"))
"""


@pytest.fixture(scope="module")
def workspace(emulator: Emulator) -> Emulator:
    """The example's dev workspace with what the notebooks expect to be registered."""
    provision(emulator.home, EXAMPLE)
    done = python(emulator, "-c", REGISTER, str(EXAMPLE))
    assert done.returncode == 0, done.stderr
    return emulator


def python(emulator: Emulator, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **emulator.env, "OMP_WAIT_POLICY": "passive", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, timeout=900, check=False)


def run(emulator: Emulator, name: str) -> str:
    done = python(emulator, str(Path(__file__).with_name("run_notebook.py")), str(EXAMPLE / "notebooks" / "sam" / f"{name}.ipynb"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_explore_flights(workspace: Emulator) -> None:
    said = run(workspace, "explore_flights")
    assert "336,776 flights, 26,115 hours of weather" in said
    losses = dict(line.split() for line in said.splitlines() if line.split()[:1] in (["25"], ["50"], ["100"]) and len(line.split()) == 2)
    assert min(losses, key=lambda trees: float(losses[trees])) == "50"


def test_train_in_azure(workspace: Emulator) -> None:
    said = run(workspace, "train_in_azure")
    assert "The pipeline is completed" in said
    assert "Measure on held-out flights" in said
    curves = Path(said.strip().splitlines()[-1])
    assert curves.read_bytes().startswith(b"\x89PNG")
    assert json.loads(curves.with_name("metrics.json").read_text())["roc_auc"] > 0.67
