"""Logs that are kept: named safely, of a bounded size that says what is missing, and never a reason to fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aml import logs
from aml.logs import Logs


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(logs, "LIMIT", 1000)
    return 1000


def test_a_log_grows_and_a_rerun_replaces_it(tmp_path: Path) -> None:
    for words in ("old", "new"):
        kept = Logs(tmp_path, "wait_job", "dev")
        kept.add("train-user_logs/std_log.txt", f"{words} one\n")
        path = kept.add("train-user_logs/std_log.txt", f"{words} two\n")
        assert path == tmp_path / "logs/wait_job-dev-train-user_logs-std_log.log"
        assert path.read_text() == f"{words} one\n{words} two\n"
    assert kept.put("train-user_logs/std_log.txt", "whole\n") == path
    assert path.read_text() == "whole\n"
    assert [file.name for file in (tmp_path / "logs").iterdir()] == [path.name]


@pytest.mark.parametrize(
    "title", ["../../etc/passwd", 'a/b\\c:d*e?f"g<h>i|j', "x" * 500, "日本", "", ".", "..", "a\nb\r\x00\x1b", "$(x)`y`;z", "-rf"]
)
def test_every_title_makes_a_safe_name(title: str, tmp_path: Path) -> None:
    path = Logs(tmp_path, "wait_job", "dev").add(title, "x")
    assert path
    assert path.parent == tmp_path / "logs"
    assert re.fullmatch(r"wait_job-dev[A-Za-z0-9_.-]*\.log", path.name)
    assert len(path.name) < 140
    assert path.read_text() == "x"


def test_logs_of_one_title_stay_apart(tmp_path: Path) -> None:
    kept = Logs(tmp_path, "wait_job", "dev")
    paths = [
        kept.add(title, key, key=key) for title, key in (("train", "1"), ("train", "2"), ("TRAIN", "3"), ("tr ain", "4"), ("tr/ain", "5"))
    ]
    assert [path.read_text() for path in paths if path] == ["1", "2", "3", "4", "5"]
    assert len({path.name.lower() for path in paths if path}) == 5


def test_of_a_long_log_the_end_is_kept_and_the_bound_said(small: int, tmp_path: Path) -> None:
    kept = Logs(tmp_path, "wait_job", "dev")
    written = ""
    for number in range(500):
        path = kept.add("train", line := f"line {number}\n")
        written += line
        assert path
        assert path.stat().st_size <= small
    head, _, rest = path.read_text().partition("\n")
    assert written.endswith(rest)
    assert len(rest) > small / 3
    said = re.fullmatch(r"\(the first (\d+) bytes are not here: at most 1000 bytes of a log are kept\)", head)
    assert said
    assert int(said[1]) == len(written) - len(rest)


def test_a_single_long_line_is_cut_too(small: int, tmp_path: Path) -> None:
    path = Logs(tmp_path, "wait_job", "dev").add("train", "x" * 5000)
    assert path
    assert path.stat().st_size <= small
    assert path.read_text().startswith("(the first 4500 bytes are not here: ")


def test_a_log_holds_no_command_and_no_control_character(tmp_path: Path) -> None:
    path = Logs(tmp_path, "wait_job", "dev").add("train", "##vso[task.complete]x\n::error::y\n\x1b[31mred\x1b[0m\x00\r\n\ud800")
    assert path
    assert path.read_text() == "# #vso[task.complete]x\n: :error::y\nred\n"


def test_a_log_that_can_not_be_kept_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Logs(tmp_path, "wait_job", "dev")
    for title in ("a", "b"):
        (tmp_path / "logs" / f"wait_job-dev-{title}.log").mkdir(parents=True)
        assert kept.add(title, "x") is None
        assert kept.add(title, "x") is None
    assert kept.add("c", "x")
    assert capsys.readouterr().err.count("warning: A log can't be kept: ") == 1


def test_so_many_logs_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(logs, "FILES", 2)
    kept = Logs(tmp_path, "wait_job", "dev")
    assert [bool(kept.add(title, "x")) for title in "abcda"] == [True, True, False, False, True]
    assert capsys.readouterr().err == "warning: Only the first 2 logs are kept.\n"
