"""The agent: a machine's folders and programs, and one job on it from its first step to its last.

As microsoft/azure-pipelines-agent does it: JobRunner.cs, JobExtension.cs, StepsRunner.cs, Build/BuildJobExtension.cs.
"""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import model
from .nodes import Fault
from .report import CANCELED, FAILED, ISSUES, SUCCEEDED, Job, merge
from .service import Service
from .steps import StepRun
from .variables import Masker, Variables, of_job


@dataclass
class Agent:
    """A machine. Each job gets an agent of its own with new folders under `work`; `tools` is kept, as a self-hosted agent keeps it.

    `env` is all that steps see of this machine besides `path`. `pythons` are the interpreters that UsePythonVersion finds, by version.
    """

    work: Path
    tools: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    path: str = os.defpath
    pythons: Mapping[str, Path] = field(default_factory=dict)
    name: str = "agent"
    _numbers: itertools.count[int] = field(default_factory=itertools.count, repr=False)

    def environment(self) -> dict[str, str]:
        """What a process of the agent itself sees."""
        return {"LANG": "C.UTF-8", "HOME": str(self.work / "home"), "PATH": self.path, **self.env}

    def program(self, name: str) -> str | None:
        """Where a program is, or None."""
        return shutil.which(name, path=self.environment()["PATH"])

    def folders(self) -> Path:
        """New folders for one job: `1/{s,a,b,TestResults}` for the pipeline, `_temp`."""
        folder = self.work / str(next(self._numbers))
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("1/s", "1/a", "1/b", "1/TestResults", "_temp", "../home"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (self.tools or self.work / "tools").mkdir(parents=True, exist_ok=True)
        return folder


class JobRun:
    """One job, or one leg, or one hook, on its agent."""

    def __init__(
        self,
        job: model.Job,
        steps: list[model.Step],
        record: Job,
        variables: Variables,
        agent: Agent,
        service: Service,
        masker: Masker,
        artifacts: Path,
        tell: Callable[[str, Job, StepRun, str], None],
        *,
        server: bool = False,
    ) -> None:
        self.job, self.steps, self.record = job, steps, record
        self.variables, self.agent, self.service, self.masker, self.artifacts = variables, agent, service, masker, artifacts
        self.path: list[str] = []
        self.lines = threading.RLock()
        self.result = ""
        self.server = server
        self._tell = tell
        self._current: StepRun | None = None
        self._canceled = threading.Event()
        self._forced = threading.Event()
        self._last: threading.Timer | None = None
        self._lock = threading.Lock()
        self._attached: list[tuple[str, str, Path]] = []

    @property
    def status(self) -> str:
        """Agent.JobStatus."""
        return CANCELED if self._canceled.is_set() else self.result or SUCCEEDED

    def run(self) -> str:
        """Run it to its end; its result. A job of the server has no machine and no folders."""
        folder = None if self.server else self.agent.folders()
        if folder:
            for name, value in of_job(folder, self.agent.tools or self.agent.work / "tools", self.agent.name).items():
                self.variables.set(name, value, readonly=name != "Agent.JobStatus", force=True)
        timer = self._timer()
        try:
            names = itertools.count(1)
            for step in self.steps:
                number = next(names)
                ref = step.name or f"{step.task.partition('@')[0] or 'Checkout'}{number}"
                self._one(step, ref)
        finally:
            timer.cancel()
            if self._last:
                self._last.cancel()
            self._collect()
            if folder:
                shutil.rmtree(folder / "_temp", ignore_errors=True)
        return CANCELED if self._canceled.is_set() else self.result or SUCCEEDED

    def _one(self, step: model.Step, ref: str) -> None:
        if self._forced.is_set():
            return
        run = StepRun(step, self, ref)
        self.record.steps.append(run.record)
        with self._lock:
            self._current = run
            self.variables.set("Agent.JobStatus", self.status, force=True)
        result = run.run()
        with self._lock:
            self._current = None
        if result in (ISSUES, FAILED):
            self.result = merge(self.result, result)

    def cancel(self, why: str = "") -> None:
        """Cancel it: the step that runs, unless its condition holds even now; then only steps whose condition holds."""
        if self._canceled.is_set():
            return
        with self._lock:
            self._canceled.set()
            current = self._current
            self.variables.set("Agent.JobStatus", CANCELED, force=True)
        if why:
            self.record.errors.append(why)
        minutes = float(self.variables.macros(self.job.cancel_timeout_in_minutes) or 5)
        self._last = threading.Timer(minutes * 60, self.force)
        self._last.daemon = True
        self._last.start()
        if current and not _holds(current):
            current.error("The Operation will be canceled. The next steps may not contain expected logs.")
            current.stop(CANCELED)

    def force(self) -> None:
        """End it, whatever steps are left."""
        self._canceled.set()
        self._forced.set()
        with self._lock:
            current = self._current
        if current:
            current.stop(CANCELED, now=True)

    def attach(self, kind: str, name: str, file: Path) -> None:
        """Keep a file for the page of the run. The agent reads it later, so it must stay until the job ends."""
        self._attached.append((kind, name, file))

    def tell(self, kind: str, step: StepRun, text: str = "") -> None:
        """Say what happens to whoever follows the run."""
        self._tell(kind, self.record, step, text)

    def _timer(self) -> threading.Timer:
        written = self.variables.macros(self.job.timeout_in_minutes)
        minutes = float(written) if written else 60.0
        why = f"The job running on agent {self.agent.name} ran longer than the maximum time of {minutes:g} minutes."
        timer = threading.Timer(minutes * 60, self.cancel, [why])
        timer.daemon = True
        if minutes:  # 0 is the longest that the service allows
            timer.start()
        return timer

    def _collect(self) -> None:
        for kind, name, file in self._attached:
            if not file.is_file():
                self.record.errors.append(f"The file {file} was gone before the agent had uploaded it")
                continue
            content = self.masker.mask(file.read_text(encoding="utf-8", errors="replace"))
            self.record.attachments.append((kind, name, content))
            if kind == "Distributedtask.Core.Summary":
                self.record.summary += content if content.endswith("\n") else f"{content}\n"


def _holds(step: StepRun) -> bool:
    try:
        return step.wanted()
    except Fault:  # a condition that can't be judged keeps nothing alive; the step itself has failed over it
        return False
