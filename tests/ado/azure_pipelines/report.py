"""What became of a run: its stages, jobs and steps, as objects, as JSON and as JUnit.

Results are those of the service: Succeeded, SucceededWithIssues, Failed, Canceled, Skipped; '' while something runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .service import Approval

SUCCEEDED, ISSUES, FAILED, CANCELED, SKIPPED = "Succeeded", "SucceededWithIssues", "Failed", "Canceled", "Skipped"
_ORDER = (SUCCEEDED, ISSUES, FAILED, CANCELED, SKIPPED)


def merge(current: str, coming: str) -> str:
    """The worse of two results of parts that ran; Canceled and Skipped stay (TaskResultUtil.cs)."""
    if not current or not coming:
        return current or coming
    if _ORDER.index(current) > _ORDER.index(FAILED):
        return current
    return max(current, coming, key=_ORDER.index)


def whole(results: Iterable[str]) -> str:
    """The result of something from those of its parts. A part that was skipped says nothing, unless all were."""
    found = list(results)
    for result in (CANCELED, FAILED, ISSUES, SUCCEEDED):
        if result in found:
            return result
    return SKIPPED if found else SUCCEEDED


@dataclass
class Step:
    """One step of a job that ran. Lines, errors and warnings are masked; `outputs` are not."""

    name: str
    ref: str = ""
    result: str = ""
    seconds: float = 0.0
    lines: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    id: str = ""


@dataclass
class Tests:
    """What PublishTestResults found."""

    total: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    files: int = 0


@dataclass
class Job:
    """One job, or a leg of its matrix, that ran. The hooks of a deployment job are its steps one after the other."""

    id: str
    stage: str = ""
    name: str = ""
    title: str = ""
    result: str = ""
    seconds: float = 0.0
    steps: list[Step] = field(default_factory=list)
    summary: str = ""
    attachments: list[tuple[str, str, str]] = field(default_factory=list)
    tests: Tests = field(default_factory=Tests)
    errors: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)

    def step(self, name: str) -> Step:
        """The step of that display name, or of that `name:`."""
        return next(step for step in self.steps if name in (step.name, step.ref))

    @property
    def outputs(self) -> dict[str, str]:
        """Everything that its steps handed on; of equal names the last."""
        return {name: value for step in self.steps for name, value in step.outputs.items()}

    @property
    def lines(self) -> list[str]:
        """Everything that its steps printed."""
        return [line for step in self.steps for line in step.lines]


@dataclass
class Stage:
    """One stage, whether it ran or not, with what its approvers said."""

    name: str
    result: str = ""
    approvals: list[Approval] = field(default_factory=list)
    reason: str = ""


@dataclass
class Run:
    """One run of a pipeline. A job that did not run is not in `jobs`, but has a result."""

    jobs: dict[str, Job] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    artifacts: Path = Path()
    seconds: float = 0.0

    @property
    def result(self) -> str:
        """Of the whole run."""
        return whole(stage.result for stage in self.stages.values())

    @property
    def succeeded(self) -> bool:
        """Whether no stage failed, was cancelled or had issues. What should have run is for the caller to ask."""
        return not self.problems and self.result == SUCCEEDED

    @property
    def outputs(self) -> dict[str, str]:
        """Everything that all jobs handed on; of equal names the last."""
        return {name: value for job in self.jobs.values() for name, value in job.outputs.items()}

    def job(self, name: str) -> Job:
        """A job that ran, by `stage.job` or by its own name where no other has it."""
        found = [job for job in self.jobs.values() if name in (job.id, job.name)]
        if len(found) != 1:
            raise KeyError(f"{name} ran {len(found)} times; jobs that ran: {', '.join(self.jobs)}")
        return found[0]

    def report(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "result": self.result,
            "seconds": round(self.seconds, 3),
            "stages": [
                {
                    "name": stage.name,
                    "result": stage.result,
                    "reason": stage.reason,
                    "approvals": [vars(approval) for approval in stage.approvals],
                    "jobs": [_job(job) for job in self.jobs.values() if job.stage == stage.name],
                }
                for stage in self.stages.values()
            ],
            "results": dict(self.results),
            "problems": list(self.problems),
        }

    def junit(self) -> str:
        """JUnit: a suite for each job that ran, a case for each of its steps."""
        root = ElementTree.Element("testsuites", name="pipeline")
        for job in self.jobs.values():
            failed = sum(step.result in (FAILED, CANCELED) for step in job.steps)
            skipped = sum(step.result == SKIPPED for step in job.steps)
            suite = ElementTree.SubElement(
                root, "testsuite", name=job.id, tests=str(len(job.steps)), failures=str(failed), skipped=str(skipped),
                time=f"{job.seconds:.3f}",
            )  # fmt: skip
            for step in job.steps:
                case = ElementTree.SubElement(suite, "testcase", classname=job.id, name=step.name, time=f"{step.seconds:.3f}")
                if step.result in (FAILED, CANCELED):
                    ElementTree.SubElement(case, "failure", message=_xml(next(iter(step.errors), step.result)))
                elif step.result == SKIPPED:
                    ElementTree.SubElement(case, "skipped")
                ElementTree.SubElement(case, "system-out").text = _xml("\n".join(step.lines))
        return ElementTree.tostring(root, encoding="unicode")


def _job(job: Job) -> dict[str, Any]:
    steps = [{name: value for name, value in vars(step).items() if name not in ("outputs", "id")} for step in job.steps]
    return {
        **{name: value for name, value in vars(job).items() if name not in ("steps", "tests", "attachments")},
        "tests": vars(job.tests),
        "attachments": [{"type": kind, "name": name} for kind, name, _ in job.attachments],
        "steps": steps,
    }


def _xml(text: str) -> str:
    """Without the characters that XML has no way to write."""
    return "".join(letter for letter in text if letter in "\t\n" or (ord(letter) >= 32 and ord(letter) not in (0xFFFE, 0xFFFF)))
