"""Specs against their schemas: a corpus that passes, and one that fails with exactly the messages at the end of each file.

The files end in .txt because most are not what a YAML linter lets pass.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aml import spec, workspace
from aml.command import Refusal

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
KINDS = ("workspace", "release", "smoke", "gates", "prices")


def corpus(verdict: str) -> list[tuple[str, Path]]:
    return [(kind, path) for kind in KINDS for path in sorted((CORPUS / kind / verdict).glob("*.yml.txt"))]


def name(value: object) -> str:
    return value.name.partition(".")[0] if isinstance(value, Path) else str(value)


@pytest.mark.parametrize(("kind", "path"), corpus("pass"), ids=name)
def test_passes(kind: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert [str(problem) for problem in spec.checked(ROOT, str(path.relative_to(ROOT)), kind)[1]] == []


@pytest.mark.parametrize(("kind", "path"), corpus("fail"), ids=name)
def test_fails_with_its_messages(kind: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    expected = re.findall(r"^# (\d+:\d+: .*)$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    assert expected
    found = spec.checked(Path(), str(path.relative_to(ROOT)), kind)[1]
    assert [f"{problem.line}:{problem.column}: {problem.message}" for problem in found] == expected


def test_every_kind_has_both_corpora() -> None:
    assert {kind for kind, _ in corpus("pass")} == {kind for kind, _ in corpus("fail")} == set(KINDS)


def test_defaults_come_from_the_schema(tmp_path: Path) -> None:
    (tmp_path / ".cloud").mkdir()
    (tmp_path / ".cloud/release.yml").write_bytes((CORPUS / "release/pass/least.yml.txt").read_bytes())
    found = spec.release(tmp_path)
    assert found["train"]["wait"] == {"limit_minutes": 120, "at_limit": "cancel"}
    assert found["deploy"]["rollout"] == {"steps": [10, 50, 100], "pause_seconds": 0}
    assert found["train"]["compute"] == found["train"]["data"] == found["train"]["environments"] == found["train"]["external"] == []
    assert found["train"]["parameters"] == {}
    assert "champion" not in found["gate"], "no gate but the asked one"


def test_a_wrong_spec_is_refused_after_all_its_problems_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".cloud").mkdir()
    (tmp_path / ".cloud/release.yml").write_text("trian: 1\nmodel: 2\n")
    with pytest.raises(Refusal, match=r"release.yml is not a release spec. It has 4 problems. Fix: correct what is listed above"):
        spec.release(tmp_path)
    assert capsys.readouterr().err.count("error: ") == 4


def test_smoke_reads_request_files(tmp_path: Path) -> None:
    (tmp_path / "cases.yml").write_text("cases:\n  - {name: a, request_file: a.json, expect: {status: 200}}\n")
    (tmp_path / "a.json").write_text('{"b": [1]}')
    assert spec.smoke(tmp_path, "cases.yml")[0]["request"] == {"b": [1]}


def test_a_workspace_is_loaded_by_name(tmp_path: Path) -> None:
    folder = tmp_path / ".cloud/workspaces"
    folder.mkdir(parents=True)
    (folder / "dev.yml").write_bytes((CORPUS / "workspace/pass/full.yml.txt").read_bytes())
    found = workspace.load(tmp_path, "dev")
    assert (found.name, found.stage, found.people, found.instance_count) == ("dev", "dev", "allowed", 50)
    assert found.arm_id.endswith("/workspaces/mlw-flight-delay-dev")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("dve", "The project describes no workspace 'dve'. It has dev; did you mean dev?"),
        ("../workspaces/dev", "The project describes no workspace '../workspaces/dev'. It has dev"),
        ("$(id)\n", "The project describes no workspace '$(id) '. It has dev"),
    ],
)
def test_a_workspace_that_is_not_there(tmp_path: Path, wanted: str, message: str) -> None:
    folder = tmp_path / ".cloud/workspaces"
    folder.mkdir(parents=True)
    (folder / "dev.yml").write_bytes((CORPUS / "workspace/pass/full.yml.txt").read_bytes())
    with pytest.raises(Refusal) as refusal:
        workspace.load(tmp_path, wanted)
    assert str(refusal.value).startswith(message)


def test_no_project_and_no_workspaces(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="There is no project folder"):
        workspace.load(tmp_path / "nowhere", "dev")
    with pytest.raises(Refusal, match=r"has no .yml file"):
        workspace.load(tmp_path, "dev")
