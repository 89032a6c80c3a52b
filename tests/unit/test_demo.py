"""The demo at production's gate: what it says there, and what becomes of an answer at the prompt."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import _demo
from _gate import Gate
from emulator import cli

DECIDED = list[tuple[str, str, str]]


@pytest.fixture
def decided() -> DECIDED:
    return []


@pytest.fixture
def gate(tmp_path: Path, decided: DECIDED) -> Gate:
    """A gate that writes down what people decide, and is open until then."""
    return Gate(
        run=1, job="Production", environment="production", asked=("release-managers",), page="", artifacts=tmp_path,
        open=lambda: not decided, decide=lambda *said: decided.append(said), overrule=lambda *said: None,
    )  # fmt: skip


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Types at a terminal."""
    keyboard, terminal = os.openpty()
    with open(terminal, encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield lambda text: (os.write(keyboard, text.encode()), None)[1]
    os.close(keyboard)


@pytest.mark.parametrize("dossier", [True, False])
def test_it_says_who_is_asked_and_where_the_dossier_is(
    gate: Gate, decided: DECIDED, capsys: pytest.CaptureFixture[str], dossier: bool
) -> None:
    page = gate.artifacts / "evidence-share-dev-1" / "dossier.html"
    page.parent.mkdir()
    (page if dossier else page.with_suffix(".md")).write_text("all about it")
    _demo.decide(gate, ask=False)
    said = capsys.readouterr().out
    assert "production waits for release-managers" in said
    assert f"the dossier to decide by is in {page}\n" in said if dossier else f"the evidence to decide by is in {gate.artifacts}\n" in said
    assert [one[:2] for one in decided] == [("release-manager", "approved")]
    assert "approved as release-manager" in said


@pytest.mark.parametrize(
    ("typed", "verdict", "comment"),
    [("y\nseen: all good\n", "approved", "seen: all good"), ("what?\n\nNo\n\n", "rejected", ""), ("Yes\n\n", "approved", "")],
)
def test_the_answer_at_the_prompt_decides(
    gate: Gate, decided: DECIDED, typing: Callable[[str], None], typed: str, verdict: str, comment: str
) -> None:
    typing(typed)
    _demo.decide(gate, ask=True)
    assert decided == [("release-manager", verdict, comment)]


def test_the_end_of_the_input_decides_nothing(gate: Gate, decided: DECIDED, typing: Callable[[str], None]) -> None:
    typing("\x04")
    with pytest.raises(cli.Problem, match="nobody answered"):
        _demo.decide(gate, ask=True)
    assert decided == []


def test_a_run_that_is_cancelled_asks_no_longer(gate: Gate, decided: DECIDED, typing: Callable[[str], None]) -> None:
    elsewhere = threading.Timer(0.3, gate.reject, ["somebody-else"])
    elsewhere.start()
    with pytest.raises(cli.Problem, match="waits for nobody"):
        _demo.decide(gate, ask=True)
    elsewhere.join()
    assert decided == [("somebody-else", "rejected", "")]


def test_there_must_be_a_terminal_to_ask_at(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def started(keep: bool) -> None:
        raise AssertionError("nothing is started")

    monkeypatch.setattr(_demo, "azure", started)
    with open(os.devnull, encoding="utf-8") as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert _demo.main(["--approve", "ask"]) == 1
    assert capsys.readouterr().err == (
        "demo: APPROVE=ask asks at the prompt, and there is no terminal; run it in one, or leave APPROVE out\n"
    )
