"""The README's last step: plain azure-ai-ml in a person's own shell, against the demo's workspace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from _provision import provision

if TYPE_CHECKING:
    from tests.conftest import Emulator

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_job_and_a_deployment_of_ones_own(emulator: Emulator) -> None:
    provision(emulator.home, EXAMPLES / "flight-delay")
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    command = [sys.executable, str(EXAMPLES / "plain-azure" / "try_it.py")]
    done = subprocess.run(command, env=env | emulator.env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1].endswith('"answer": 42}')
