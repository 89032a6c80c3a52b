"""What the setup action does on a runner."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from pathlib import Path

import pytest

import _setup


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of nothing, so that nothing is downloaded."""
    path = tmp_path / "requirements.txt"
    path.write_text("# nothing\n")
    monkeypatch.setattr(_setup, "LOCK", path)
    return path


def test_an_environment_is_made_once_for_each_lock(lock: Path, tmp_path: Path) -> None:
    first, made = _setup.environment(tmp_path / "cache")
    assert made
    assert (first / _setup.PROGRAMS / "python").exists()
    assert _setup.environment(tmp_path / "cache") == (first, False)
    lock.write_text("# nothing, in other words\n")
    second, made = _setup.environment(tmp_path / "cache")
    assert made
    assert second != first


def test_two_jobs_at_once_get_the_same_whole_environment(lock: Path, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(_setup.environment(tmp_path / "cache")[0])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert [path.name for path in found[0].parent.iterdir()] == [found[0].name], "nothing half-made stays"


def test_a_wrong_hash_is_one_clear_line_and_leaves_nothing(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wheel = tmp_path / "nothing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("nothing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: nothing\nVersion: 1.0\n")
        archive.writestr("nothing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("nothing-1.0.dist-info/RECORD", "")
    lock.write_text(f"nothing @ {wheel.as_uri()} --hash=sha256:{hashlib.sha256(b'what was locked').hexdigest()}\n")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    with pytest.raises(SystemExit) as ended:
        _setup.environment(tmp_path / "cache")
    assert ended.value.code == 1
    printed = capfd.readouterr().err
    assert "Hash mismatch" in printed
    assert printed.splitlines()[-1].startswith("error: The catalog's dependencies could not be installed.")
    assert list((tmp_path / "cache" / "azureml-catalog").iterdir()) == []


def test_no_variable_of_a_pipeline_says_what_is_installed(lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A constraint or override may be a file from anywhere; one that can't be read would stop uv, if uv looked at it."""
    for name in _setup.NOT_FOR_UV - {"UV_NO_VERIFY_HASHES"}:
        monkeypatch.setenv(name, str(tmp_path / "not-there.txt"))
    assert _setup.environment(tmp_path / "cache")[1]


def test_later_steps_get_path_scripts_and_a_place_for_evidence(lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"GITHUB_ACTIONS": "true", "GITHUB_ENV": tmp_path / "env", "GITHUB_PATH": tmp_path / "path"}
    values |= {"RUNNER_TOOL_CACHE": tmp_path / "cache", "RUNNER_TEMP": tmp_path / "temp"}
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))
    assert _setup.main() == 0
    [folder] = (tmp_path / "cache" / "azureml-catalog").iterdir()
    assert (tmp_path / "path").read_text() == f"{folder / _setup.PROGRAMS}\n"
    lines = (tmp_path / "env").read_text().splitlines()
    assert str(_setup.SCRIPTS) in lines
    assert str(tmp_path / "temp" / "evidence") in lines
    assert (tmp_path / "temp" / "evidence").is_dir()


@pytest.fixture
def agent(lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An agent of Azure DevOps; its folder."""
    for name in ("GITHUB_ACTIONS", "RUNNER_TOOL_CACHE", "RUNNER_TEMP"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TF_BUILD": "True", "AGENT_TOOLSDIRECTORY": tmp_path / "cache", "AGENT_TEMPDIRECTORY": tmp_path / "temp"}.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path


def test_the_same_on_azure_devops(agent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _setup.main() == 0
    [folder] = (agent / "cache" / "azureml-catalog").iterdir()
    printed = capsys.readouterr().out.splitlines()
    assert f"##vso[task.prependpath]{folder / _setup.PROGRAMS}" in printed
    assert f"##vso[task.setvariable variable=SCRIPTS]{_setup.SCRIPTS}" in printed
    assert f"##vso[task.setvariable variable=AML_EVIDENCE]{agent / 'temp' / 'evidence'}" in printed
    assert (agent / "temp" / "evidence").is_dir()
    assert not [line for line in printed if "AZURE" in line or "CONNECTION" in line], "a job without a connection gets none"


def test_a_federated_connection_is_handed_on_by_its_id(
    agent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = {"AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "an-id", "servicePrincipalId": "an-application", "idToken": "a-token"}
    for name, value in inside.items():
        monkeypatch.setenv(name, value)
    assert _setup.main() == 0
    out = capsys.readouterr().out
    assert "##vso[task.setvariable variable=AML_SERVICE_CONNECTION_ID]an-id" in out.splitlines()
    assert "##vso[task.setvariable variable=AZURE_CLIENT_SECRET;issecret=true]" in out.splitlines(), "there, and empty"
    assert "AZURE_CLIENT_ID" not in out
    assert "a-token" not in out


def test_a_secret_based_connection_hands_on_a_secret_that_is_never_said(
    agent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("servicePrincipalId", "an-application")
    monkeypatch.setenv("servicePrincipalKey", "s3c;r%t]")
    assert _setup.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert "##vso[task.setvariable variable=AZURE_CLIENT_ID]an-application" in lines
    assert [line for line in lines if "s3c" in line] == ["##vso[task.setvariable variable=AZURE_CLIENT_SECRET;issecret=true]s3c;r%AZP25t]"]
    assert not [line for line in lines if "AML_SERVICE_CONNECTION_ID" in line]


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (None, "it signs in with a certificate"),
        ("null", "it signs in with a certificate"),
        ("-----BEGIN\nprivate", "the secret AZURE_CLIENT_SECRET has several lines"),
    ],
)
def test_a_connection_of_another_kind_is_refused(
    key: str | None, why: str, agent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("servicePrincipalId", "an-application")
    if key is not None:
        monkeypatch.setenv("servicePrincipalKey", key)
    with pytest.raises(SystemExit) as ended:
        _setup.main()
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert f"##vso[task.logissue type=error]The service connection can't be used: {why}" in out
    assert "private" not in out
