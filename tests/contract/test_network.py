"""Nothing leaves this machine: not a test's process, and not a verb that is run without the emulator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aml import evidence

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "flight-delay"
SECRET = "not-a-real-secret"
ANSWERS = {
    "AML_JOB_NAME": "flight-delay-0", "AML_BUNDLE_ID": "sha256:" + "0" * 64, "AML_DEPLOYMENT_NAME": "d-0", "AML_MODEL_VERSION": "1",
    "AML_REASON": "a test", "AML_DOSSIER_ID": "sha256:" + "0" * 64,
}  # fmt: skip
OFFLINE = {"validate_project"}
VERBS = sorted(path.stem for path in (ROOT / "scripts").glob("[a-z]*.py") if path.stem not in OFFLINE)


def run(verb: str, tmp_path: Path, **env: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The verb's end, and the hosts other than this machine that it wanted."""
    log = tmp_path / "wanted"
    log.touch()
    subject = evidence.about_bundle("flight-delay", ANSWERS["AML_BUNDLE_ID"])  # for record_evidence to have something to record
    evidence.write(tmp_path / "evidence", evidence.statement(subject, "smoke_test", "passed", workspace="dev", started=evidence.now()))
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    given = {
        "AML_PROJECT": str(EXAMPLE),
        "AML_WORKSPACE": "dev",
        "AZURE_CLIENT_SECRET": SECRET,
        "TESTS_GUARD_LOG": str(log),
        "AML_EVIDENCE": str(tmp_path / "evidence"),
        **ANSWERS,
        **env,
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / f"{verb}.py")],
        env={**clean, **given},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done, log.read_text().split()


def test_the_guard_stops_a_process(tmp_path: Path) -> None:
    log = tmp_path / "wanted"
    code = "import socket; socket.create_connection(('management.azure.com', 443))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TESTS_GUARD_LOG": str(log)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "tests stay on this machine, but this process wanted 'management.azure.com'" in done.stderr
    assert log.read_text() == "management.azure.com\n"


def test_there_are_verbs() -> None:
    assert len(VERBS) >= 15


@pytest.mark.parametrize("verb", VERBS)
def test_with_a_proxy_that_is_not_there_a_verb_stays_here(verb: str, tmp_path: Path) -> None:
    """As in a shell whose emulator has stopped: one line, and no attempt to reach the real Azure."""
    done, wanted = run(verb, tmp_path, HTTPS_PROXY="http://127.0.0.1:9", NO_PROXY="127.0.0.1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert wanted == []
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_without_any_proxy_only_the_sign_in_is_tried(tmp_path: Path) -> None:
    """The guard stops it at the first host; nothing of the project has left by then."""
    done, wanted = run("connect_workspace", tmp_path)
    assert done.returncode == 1
    assert set(wanted) == {"login.microsoftonline.com"}
