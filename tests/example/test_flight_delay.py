"""The example's own tests, in an environment of its own: it has what the steps run with, ours has what the verbs need."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "flight-delay"


def test_the_examples_own_tests_pass() -> None:
    python = Path(os.environ.get("EXAMPLE_PYTHON", ROOT / ".venv-example" / "bin" / "python"))
    assert python.exists(), f"{python} is missing: make install-tests"
    command = [python, "-m", "pytest", "-p", "no:cacheprovider"]
    # waiting threads must not spin while other tests want the processor
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}  # MLflow leaves marks of other tests
    bytecode = str(ROOT / ".cache" / "bytecode")  # kept for the next time, and out of the example
    env = {**ours, "OMP_WAIT_POLICY": "passive", "PYTHONPYCACHEPREFIX": bytecode}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, cwd=EXAMPLE, env=env, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
