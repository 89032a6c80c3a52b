"""Whether a model's figures are good enough to go on: thresholds, and no worse than the version now in production.

Pure: no call is made here. `check_gate` brings the figures, this module decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aml.command import Refusal

PASSED = "passed"
FAILED = "failed"


@dataclass(frozen=True)
class Figure:
    """One metric's last value in one run of the job (the job itself, or a child of it)."""

    metric: str
    value: float
    run: str


@dataclass(frozen=True)
class Champion:
    """The model version that takes production traffic, with the figures its bundle carries."""

    model: str
    version: str
    bundle_id: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Finding:
    """What one rule found: the figure, the limit it was held against, and one sentence for a person."""

    rule: str
    passed: bool
    figure: float | None
    limit: float | None
    says: str


@dataclass(frozen=True)
class Verdict:
    """All findings of a gate; it passed only when every rule did."""

    findings: tuple[Finding, ...]

    @property
    def word(self) -> str:
        return PASSED if all(finding.passed for finding in self.findings) else FAILED


def wanted(gate: Mapping[str, Any]) -> list[str]:
    """The metrics a gate asks for, each once, in the order of its rules.

    A gate without any rule, or a threshold without a limit, is refused: it would let everything through and look like a check.
    """
    names = []
    for threshold in gate.get("thresholds") or []:
        if threshold.get("min") is None and threshold.get("max") is None:
            raise Refusal(
                f"the gate's threshold on {threshold['metric']} has neither min nor max",
                "so every figure would pass it",
                "give it a min or a max in .cloud/release.yml, or remove it",
            )
        names.append(threshold["metric"])
    if gate.get("champion"):
        names.append(gate["champion"]["metric"])
    if not names:
        raise Refusal(
            "the gate has no rule",
            "a gate that asks nothing lets every model through",
            "give gate: at least one threshold or a champion rule in .cloud/release.yml",
        )
    return list(dict.fromkeys(names))


def pick(figures: Iterable[Figure], metric: str, job: str) -> float:
    """The one value a job has for a metric.

    The job's own figure stands for the job. Without one, exactly one child run may have logged the name; two that did are an
    error that names both, because the gate can't know which of them was meant.
    """
    found = [figure for figure in figures if figure.metric == metric]
    own = [figure for figure in found if figure.run == job]
    if own:
        return own[0].value
    if not found:
        logged = sorted({figure.metric for figure in figures})
        raise Refusal(
            f"job {job} logged no metric named {metric}",
            f"it logged {', '.join(logged)}" if logged else "it logged no metric at all",
            f'log it with mlflow.log_metric("{metric}", ...) in a step of the job, or name in .cloud/release.yml a metric it does log',
        )
    if len(found) > 1:
        runs = " and ".join(f"{figure.run} ({shown(figure.value)})" for figure in found)
        raise Refusal(
            f"metric {metric} was logged by more than one child run of job {job}: {runs}",
            "the gate can't know which of them it should judge",
            "give them different names where they are logged, and name the right one in .cloud/release.yml",
        )
    return found[0].value


def judge(gate: Mapping[str, Any], figures: Mapping[str, float], champion: Champion | None) -> Verdict:
    """Hold a candidate's figures against every rule of a gate.

    `gate` is the `gate` section of `.cloud/release.yml`, `figures` has one value for each of `wanted(gate)`. `champion` is
    None when no model takes production traffic yet; the champion rule then passes and says so. A figure that is not a finite
    number fails every rule that asks for it.
    """
    wanted(gate)
    findings = []
    for threshold in gate.get("thresholds") or []:
        findings.extend(_thresholds(threshold, figures[threshold["metric"]]))
    if gate.get("champion"):
        findings.append(_champion(gate["champion"], figures[gate["champion"]["metric"]], champion))
    return Verdict(tuple(findings))


def _thresholds(threshold: Mapping[str, Any], figure: float) -> list[Finding]:
    metric = threshold["metric"]
    findings = []
    for bound, words in (("min", "at least"), ("max", "at most")):
        if threshold.get(bound) is None:
            continue
        limit = float(threshold[bound])
        passed = math.isfinite(figure) and (figure >= limit if bound == "min" else figure <= limit)
        rule = f"{metric} {words} {shown(limit)}"
        findings.append(Finding(rule, passed, figure, limit, f"{rule}: it is {shown(figure)}"))
    return findings


def _champion(rule: Mapping[str, Any], figure: float, champion: Champion | None) -> Finding:
    metric = rule["metric"]
    name = f"{metric} no worse than the version in production"
    if champion is None:
        if not math.isfinite(figure):
            return Finding(name, False, figure, None, f"{name}: it is {shown(figure)}")
        return Finding(name, True, figure, None, f"{name}: it is {shown(figure)}, and no version is in production yet")
    label = f"{champion.model}:{champion.version}"
    if metric not in champion.figures:
        known = ", ".join(sorted(champion.figures)) or "none"
        raise Refusal(
            f"the version in production, {label}, has no figure for {metric}",
            f"its bundle carries these figures: {known}",
            "compare by a metric that both versions have, or release once with thresholds alone so that production carries it",
        )
    best = champion.figures[metric]
    allowance = abs(best) * float(rule.get("tolerance_percent") or 0) / 100
    limit = best + allowance if rule["goal"] == "minimize" else best - allowance
    passed = math.isfinite(figure) and (figure <= limit if rule["goal"] == "minimize" else figure >= limit)
    words = "at most" if rule["goal"] == "minimize" else "at least"
    says = f"{name}: it is {shown(figure)}, {label} has {shown(best)}, so {words} {shown(limit)} is allowed"
    return Finding(name, passed, figure, limit, says)


def shown(value: float) -> str:
    """A figure as people read it: six significant digits, `nan` and `inf` by name."""
    return format(value, ".6g")
