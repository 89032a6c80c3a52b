"""The gate: every rule, every bound, every figure that is none."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml import gate
from aml.command import Refusal
from aml.gate import Champion, Figure

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
percents = st.floats(0, 100)


def champion(**figures: float) -> Champion:
    return Champion("flight-delay", "7", "sha256:" + "0" * 64, figures)


def word(rules: dict[str, Any], figures: dict[str, float], best: Champion | None = None) -> str:
    return gate.judge(rules, figures, best).word


@pytest.mark.parametrize(
    ("threshold", "figure", "passes"),
    [
        ({"max": 60}, 60, True),
        ({"max": 60}, 60.0000001, False),
        ({"min": 0.02}, 0.02, True),
        ({"min": 0.02}, 0.019, False),
        ({"min": 0}, -0.0, True),
        ({"min": 1, "max": 2}, 3, False),
        ({"min": 1, "max": 2}, 0, False),
        ({"min": 1, "max": 2}, 1.5, True),
        ({"max": 60}, math.nan, False),
        ({"min": 0}, math.nan, False),
        ({"min": 0}, math.inf, False),
        ({"max": 60}, -math.inf, False),
    ],
)
def test_threshold(threshold: dict[str, float], figure: float, passes: bool) -> None:
    assert word({"thresholds": [{"metric": "rmse", **threshold}]}, {"rmse": figure}) == ("passed" if passes else "failed")


def test_every_rule_must_hold_and_every_finding_is_told() -> None:
    rules = {"thresholds": [{"metric": "rmse", "max": 60}, {"metric": "r2", "min": 0.5}, {"metric": "r2", "max": 1}]}
    verdict = gate.judge(rules, {"rmse": 50, "r2": 0.1}, None)
    assert verdict.word == "failed"
    assert [finding.passed for finding in verdict.findings] == [True, False, True]
    assert verdict.findings[1].says == "r2 at least 0.5: it is 0.1"


@pytest.mark.parametrize(
    ("goal", "tolerance", "figure", "passes"),
    [
        ("minimize", 0, 40, True),
        ("minimize", 0, 40.01, False),
        ("minimize", 1, 40.4, True),
        ("minimize", 1, 40.41, False),
        ("maximize", 0, 40, True),
        ("maximize", 0, 39.99, False),
        ("maximize", 1, 39.6, True),
        ("maximize", 1, 39.59, False),
        ("minimize", 1, math.nan, False),
        ("minimize", 1, -math.inf, False),
        ("maximize", 1, math.inf, False),
    ],
)
def test_no_worse_than_the_champion(goal: str, tolerance: float, figure: float, passes: bool) -> None:
    rules = {"thresholds": [], "champion": {"metric": "rmse", "goal": goal, "tolerance_percent": tolerance}}
    assert word(rules, {"rmse": figure}, champion(rmse=40.0)) == ("passed" if passes else "failed")


@given(finite, percents, st.sampled_from(["minimize", "maximize"]))
def test_a_version_is_no_worse_than_itself(value: float, tolerance: float, goal: str) -> None:
    rules = {"champion": {"metric": "m", "goal": goal, "tolerance_percent": tolerance}}
    assert word(rules, {"m": value}, champion(m=value)) == "passed"


@given(finite, finite, percents)
def test_minimizing_is_maximizing_the_negative(value: float, best: float, tolerance: float) -> None:
    minimize = {"champion": {"metric": "m", "goal": "minimize", "tolerance_percent": tolerance}}
    maximize = {"champion": {"metric": "m", "goal": "maximize", "tolerance_percent": tolerance}}
    assert word(minimize, {"m": value}, champion(m=best)) == word(maximize, {"m": -value}, champion(m=-best))


def test_a_tolerance_widens_towards_worse_for_negative_figures_too() -> None:
    rules = {"champion": {"metric": "m", "goal": "minimize", "tolerance_percent": 10}}
    assert word(rules, {"m": -9.1}, champion(m=-10)) == "passed"
    assert word(rules, {"m": -8.9}, champion(m=-10)) == "failed"


def test_the_first_release_passes_and_says_so() -> None:
    verdict = gate.judge({"champion": {"metric": "rmse", "goal": "minimize"}}, {"rmse": 40}, None)
    assert verdict.word == "passed"
    assert "no version is in production yet" in verdict.findings[0].says


def test_the_first_release_with_no_number_fails() -> None:
    assert word({"champion": {"metric": "rmse", "goal": "minimize"}}, {"rmse": math.nan}) == "failed"


def test_a_champion_without_the_figure_is_an_error_and_no_pass() -> None:
    with pytest.raises(Refusal, match=r"flight-delay:7, has no figure for mae.*these figures: r2, rmse"):
        gate.judge({"champion": {"metric": "mae", "goal": "minimize"}}, {"mae": 1}, champion(rmse=1, r2=0.1))


@pytest.mark.parametrize("rules", [{}, {"thresholds": []}, {"thresholds": None, "champion": None}])
def test_a_gate_without_a_rule_is_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match="the gate has no rule"):
        gate.judge(rules, {}, None)


def test_a_threshold_without_a_limit_is_refused() -> None:
    with pytest.raises(Refusal, match="neither min nor max"):
        gate.wanted({"thresholds": [{"metric": "rmse"}]})


def test_wanted_names_each_metric_once() -> None:
    rules = {"thresholds": [{"metric": "b", "min": 0}, {"metric": "a", "max": 1}], "champion": {"metric": "b", "goal": "maximize"}}
    assert gate.wanted(rules) == ["b", "a"]


def test_the_jobs_own_figure_stands_for_it() -> None:
    figures = [Figure("rmse", 1.0, "child"), Figure("rmse", 2.0, "job")]
    assert gate.pick(figures, "rmse", "job") == 2.0


def test_a_single_childs_figure_stands_for_the_job() -> None:
    assert gate.pick([Figure("rmse", 1.0, "child"), Figure("r2", 0.5, "other")], "rmse", "job") == 1.0


def test_two_children_with_one_name_are_an_error_that_names_both() -> None:
    figures = [Figure("rmse", 1.0, "train-run"), Figure("rmse", 1.5, "evaluate-run")]
    with pytest.raises(Refusal, match=r"train-run \(1\) and evaluate-run \(1.5\)"):
        gate.pick(figures, "rmse", "job")


def test_a_missing_metric_is_an_error_that_says_what_there_is() -> None:
    with pytest.raises(Refusal, match=r"no metric named rmse\. It logged|it logged mae, r2"):
        gate.pick([Figure("mae", 1, "a"), Figure("r2", 1, "b")], "rmse", "job")
    with pytest.raises(Refusal, match="it logged no metric at all"):
        gate.pick([], "rmse", "job")
