"""Both ends of a call: the example's workflows against the journeys that they call, checked by actionlint on a merged tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import _lint


def complaints(folder: Path) -> str:
    command = [str(Path(sys.executable).with_name("actionlint")), "-no-color", "-shellcheck=", "-pyflakes="]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    assert _lint.PROJECTS
    return _lint.merge(tmp_path, _lint.PROJECTS)


def test_the_callers_call_what_is_there(merged: Path) -> None:
    assert list((merged / ".github" / "workflows").glob("flight-delay-*.yml"))
    assert complaints(merged) == ""


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("flight-delay-release.yml", "retrain: ${{", "re_train: ${{", 'input "re_train" is not defined'),
        ("flight-delay-release.yml", "      id-token: write", "      issues: read", 'requires "id-token: write"'),
        ("flight-delay-release.yml", "release.yml", "released.yml", "released.yml"),
        ("flight-delay-rollback.yml", "rollback.yml", "rollback.yml\n    with: {workspace: [prod]}", "workspace"),
        ("release.yml", "      bundle_id: ${{", "      bundle: ${{", 'input "bundle_id" is required'),
        ("deploy.yml", "steps.deploy_online.outputs", "steps.deploy.outputs", 'property "deploy" is not defined'),
    ],
)
def test_a_broken_contract_is_seen(merged: Path, file: str, old: str, new: str, complaint: str) -> None:
    """Without this the test above could pass because actionlint looks at nothing."""
    path = merged / ".github" / "workflows" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert complaint in complaints(merged)
