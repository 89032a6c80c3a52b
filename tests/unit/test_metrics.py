"""Counts that a job logged as metrics, put together again to be drawn."""

from __future__ import annotations

import math
from typing import Any

import pytest

from aml import metrics
from aml.gate import Figure


def logged(**values: float) -> list[Figure]:
    return [Figure(name, value, "run") for name, value in values.items()]


def matrix(**changes: float) -> dict[str, float]:
    return {"confusion/a/a": 3, "confusion/a/b": 1, "confusion/b/a": 0, "confusion/b/b": 4, "auc": 0.7, **changes}


def test_a_matrix_has_a_row_for_what_was_true() -> None:
    assert metrics.confusion(logged(**matrix())) == {"labels": ["a", "b"], "counts": [[3, 1], [0, 4]]}


@pytest.mark.parametrize(
    "changes",
    [{"confusion/c/a": 1}, {"confusion/a/b": 0.5}, {"confusion/a/b": -1}, {"confusion/a/b": math.nan}, {"confusion/a/b": math.inf}],
)
def test_half_a_matrix_is_none(changes: dict[str, float]) -> None:
    assert metrics.confusion(logged(**matrix(**changes))) is None


def test_nothing_is_drawn_of_a_job_that_logged_no_counts() -> None:
    assert metrics.confusion(logged(auc=0.7, confusion=1)) is None
    assert metrics.residuals(logged(auc=0.7, residuals=1)) is None


def test_a_histogram_has_its_edges_in_order() -> None:
    found = metrics.residuals(logged(**{"residuals/0/2.5": 5, "residuals/-1e1/0": 2, "residuals/2.5/4": 0}))
    assert found == {"edges": [-10.0, 0.0, 2.5, 4.0], "counts": [2, 5, 0]}


@pytest.mark.parametrize(
    "values", [{"residuals/0/1": 1, "residuals/2/3": 1}, {"residuals/0/1": 1.5}, {"residuals/e/1": 1}, {"residuals/0/-e": 1}]
)
def test_a_histogram_with_a_gap_is_none(values: dict[str, Any]) -> None:
    assert metrics.residuals(logged(**values)) is None
