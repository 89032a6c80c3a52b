"""Evidence: in-toto Statements that fit their schema, whatever was found."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml import evidence

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/evidence.schema.json").read_text())
FITS = jsonschema_rs.Draft202012Validator(SCHEMA)
ID = "sha256:" + "ab" * 32


@given(
    st.dictionaries(st.text(), st.floats()),
    st.lists(st.fixed_dictionaries({"passed": st.booleans(), "figure": st.floats() | st.none()})),
    st.dictionaries(st.text(), st.text()),
)
def test_every_finding_has_a_spelling(figures: dict[str, float], findings: list[dict[str, object]], facts: dict[str, str]) -> None:
    made = evidence.statement(
        evidence.about_bundle("m", ID),
        "smoke_test",
        "passed",
        workspace="dev",
        started=evidence.now(),
        figures=figures,
        findings=findings,
        facts=facts,
    )
    assert not [error.message for error in FITS.iter_errors(json.loads(json.dumps(made, allow_nan=False)))]


def test_a_statement_is_about_a_bundle_or_a_job() -> None:
    assert evidence.about_bundle("m", ID) == {"name": "bundle/m", "digest": {"sha256": "ab" * 32}}
    assert evidence.about_job("j", ID) == evidence.about_job("j", "ab" * 32)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-11-23T12:00:00Z", "2026-11-23T12:00:00+00:00"),
        ("2026-11-23T12:00:00.5Z", "2026-11-23T12:00:00.500000+00:00"),
        ("2026-11-23T12:00:00.1234567Z", "2026-11-23T12:00:00.123456+00:00"),
        ("2026-11-23T12:00:00.12+01:00", "2026-11-23T12:00:00.120000+01:00"),
    ],
)
def test_a_time_is_read_with_as_many_digits_as_a_service_writes(text: str, read: str) -> None:
    assert evidence.moment(text).isoformat() == read


@pytest.mark.parametrize("text", ["", "soon", "2026-11-23T12:00:00", "2026-11-23T12:00:00.5", "2026-13-01T00:00:00Z"])
def test_what_is_no_time_or_of_no_place_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"time zone|isoformat|month"):
        evidence.moment(text)


def test_a_rerun_replaces_its_file_whole(tmp_path: Path) -> None:
    for verdict in ("failed", "passed"):
        made = evidence.statement(
            evidence.about_job("j", ID), "check_gate", verdict, workspace="dev", started=evidence.now(), figures={"rmse": math.nan}
        )
        path = evidence.write(tmp_path / "evidence", made)
    assert path == tmp_path / "evidence/check_gate-dev.json"
    assert [file.name for file in path.parent.iterdir()] == ["check_gate-dev.json"]
    written = json.loads(path.read_text())
    assert written["predicate"]["verdict"] == "passed"
    assert written["predicate"]["figures"] == {"rmse": "nan"}
    assert FITS.is_valid(written)


def test_a_statement_links_to_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "contoso/flight-delay")
    monkeypatch.setenv("GITHUB_RUN_ID", "7")
    made = evidence.statement(evidence.about_job("j", ID), "check_gate", "passed", workspace="dev", started=evidence.now())
    assert made["predicate"]["links"] == {"run": "https://github.com/contoso/flight-delay/actions/runs/7"}


def test_a_full_disk_leaves_no_half_a_statement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = evidence.statement(evidence.about_job("j", ID), "check_gate", "passed", workspace="dev", started=evidence.now())
    evidence.write(tmp_path, made)
    before = (tmp_path / "check_gate-dev.json").read_bytes()

    def full(path: Path, content: bytes) -> int:
        path.write_text(content.decode()[:10])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        evidence.write(tmp_path, made)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("check_gate-dev.json", before)]
