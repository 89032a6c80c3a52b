"""That the parts of the project fit each other."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import evaluate
import pandas as pd
import pytest
import score
import train
import yaml

STEPS = ("prepare", "train", "score")


def locked(project: Path, step: str) -> list[str]:
    dependencies = yaml.safe_load((project / "code" / step / "conda.yml").read_text())["dependencies"]
    return list(dependencies[-1]["pip"])


@pytest.mark.parametrize("step", STEPS)
def test_every_package_is_pinned_and_every_wish_is_met(project: Path, step: str) -> None:
    packages = locked(project, step)
    assert all(re.match(r"[a-z0-9.-]+==\S+( ; .+)?$", line) for line in packages)
    assert set((project / "code" / step / "requirements.in").read_text().split()) <= set(packages)


def test_a_package_has_one_version_in_all_steps(project: Path) -> None:
    together = {line.removesuffix(" \\") for line in (project / "tests" / "requirements.txt").read_text().splitlines()}
    assert {line for step in STEPS for line in locked(project, step)} <= together


def test_training_and_serving_trust_the_same_types() -> None:
    assert score.TRUSTED_TYPES == train.TRUSTED_TYPES


def test_every_metric_of_the_gate_is_one_that_is_measured(project: Path) -> None:
    gate = yaml.safe_load((project / ".cloud" / "release.yml").read_text())["gate"]
    measured = evaluate.measure(pd.Series([0, 1] * 10).to_numpy(), pd.Series([0.2, 0.7] * 10).to_numpy())
    assert {rule["metric"] for rule in [*gate["thresholds"], gate["champion"]]} <= set(measured)


def test_the_pipelines_parameters_are_the_scripts_defaults(project: Path) -> None:
    """So that a script run by hand does what the pipeline does."""
    inputs = yaml.safe_load((project / "pipelines" / "train.yml").read_text())["inputs"]
    for step in ("prepare", "train"):
        text = (project / "code" / step / f"{step}.py").read_text()
        for flag, default in re.findall(r'add_argument\("--([a-z-]+)".*?default=("[^"]*"|[0-9.]+)', text):
            assert inputs[flag.replace("-", "_")] == json.loads(default), flag


def test_the_data_is_what_the_package_holds(project: Path) -> None:
    subprocess.run([sys.executable, project / "data" / "build.py", "--check"], check=True)


@pytest.mark.parametrize("notebook", sorted(path.name for path in (Path(__file__).parent.parent / "notebooks").glob("*/*.ipynb")))
def test_notebooks_carry_no_output(project: Path, notebook: str) -> None:
    cells = json.loads(next((project / "notebooks").glob(f"*/{notebook}")).read_text())["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
