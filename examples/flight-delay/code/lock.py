"""Writes down every package that the steps run with: code/<step>/conda.yml from code/<step>/requirements.in, and tests/requirements.txt.

    python code/lock.py             keeps what is locked and changes only what requirements.in asks for
    python code/lock.py --upgrade   takes the newest of everything that is not pinned there

Azure ML builds an image from a conda file wherever a version of an environment is first used, so only a complete list makes the image in
production the one that was tested. Everything is resolved together first: a package has one version in all steps, and the model is read by
what wrote it.
Needs uv (pip install uv).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = Path(__file__).parent
STEPS = {"prepare": "preparing", "train": "training and evaluating", "score": "serving"}
TESTS = CODE.parent / "tests" / "requirements.txt"
HEAD = """# Everything that {purpose} runs with. Made from requirements.in: python code/lock.py
name: flight-delay-{step}
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip=25.3
  - pip: # the conditions let the same list serve other Pythons, on people's own machines
"""


def resolve(*arguments: str | Path) -> str:
    """What uv resolves, one pinned package a line, for every Python from 3.10 on."""
    options = ["--quiet", "--universal", "--python-version", "3.10", "--no-annotate", "--no-header", "--constraints", "constraints.txt"]
    command = ["uv", "pip", "compile", *options, *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, cwd=CODE).stdout


def main() -> None:
    locked = [] if "--upgrade" in sys.argv[1:] or not TESTS.exists() else ["-c", TESTS]
    everything = resolve("--generate-hashes", *locked, TESTS.with_suffix(".in"))
    TESTS.write_text("# Everything that the tests run with. Made from requirements.in: python code/lock.py\n" + everything)
    for step, purpose in STEPS.items():
        packages = resolve("-c", TESTS, CODE / step / "requirements.in").splitlines()
        (CODE / step / "conda.yml").write_text(HEAD.format(step=step, purpose=purpose) + "".join(f"      - {line}\n" for line in packages))


if __name__ == "__main__":
    main()
