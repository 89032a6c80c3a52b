"""One step of a job: its condition, inputs and environment, what it prints, how it ends.

As microsoft/azure-pipelines-agent does it: StepsRunner.cs, TaskRunner.cs, Handlers/Handler.cs, RetryHelper.cs.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import commands, model, tasks
from .expressions import Scope, parse
from .nodes import Fault
from .process import Process
from .report import CANCELED, FAILED, ISSUES, SKIPPED, SUCCEEDED, Step, merge
from .values import truthy

if TYPE_CHECKING:
    from .agent import JobRun

STATUS = ("always", "canceled", "failed", "succeeded", "succeededOrFailed")
MOST_RETRIES = 10
_DONE = 5.0  # seconds that a process has to end after ##vso[task.complete done=true]


class StepRun:
    """A step while it runs. Tasks use its methods; commands that it prints use its fields."""

    def __init__(self, step: model.Step, job: JobRun, ref: str) -> None:
        self.step, self.job, self.ref = step, job, ref
        self.record = Step(step.title, step.name, id=str(uuid.uuid4()))
        self.result = self.command_result = ""
        self.inputs: dict[str, str] = {}
        self.deaf = False  # whether its process gets no signal before it is killed
        self._process: Process | None = None
        self._lock = threading.Lock()
        self._ending = ""  # Canceled, or Failed by its time limit
        self._stop = threading.Event()

    def run(self) -> str:
        """Run it to its end; its result."""
        for warning in self.job.variables.expand():
            self.warning(warning)
        self.record.name = self.job.variables.macros(self.step.title)
        self.job.tell("begin", self)
        started = time.monotonic()
        try:
            if not self.wanted():
                self.write("Skipping step due to condition evaluation.")
                self.record.result = SKIPPED
                return SKIPPED
            self._with_limit()
        except Fault as fault:
            self.error(fault.message)
            self.result = FAILED
        finally:
            if not self.record.result:
                self.record.result = self._end()
            self.record.seconds = time.monotonic() - started
            self.job.tell("end", self)
        return self.record.result

    def wanted(self) -> bool:
        """Its condition, now. It knows variables and the job's status, nothing else (ExpressionManager.cs). Raises Fault."""
        status = self.job.status
        functions: dict[str, Callable[[], bool]] = {
            "always": lambda: True,
            "canceled": lambda: status == CANCELED,
            "failed": lambda: status == FAILED,
            "succeeded": lambda: status in (SUCCEEDED, ISSUES),
            "succeededOrFailed": lambda: status in (SUCCEEDED, ISSUES, FAILED),
        }
        written = self.step.condition
        if written is None:
            return functions["succeeded"]()
        return truthy(parse(written, written.at).evaluate(Scope({"variables": self.job.variables.values()}, functions)))

    def stop(self, ending: str, *, now: bool = False) -> None:
        """End it: Canceled, or Failed when its time is over. Comes back when its process has ended or, with `now`, at once."""
        with self._lock:
            self._ending = self._ending or ending
            self._stop.set()
            process = self._process
        if process and now:
            process.kill()
        elif process:
            process.cancel(heard=not self.deaf)

    def end_soon(self) -> None:
        """The task says that it is done. Its process may take a few seconds to see that too."""
        if self._process:
            timer = threading.Timer(_DONE, self._process.kill)
            timer.daemon = True
            timer.start()

    def _with_limit(self) -> None:
        minutes = float(self.job.variables.macros(self.step.timeout_in_minutes) or 0)
        timer = threading.Timer(minutes * 60, self._time_out)
        timer.daemon = True
        if minutes:
            timer.start()
        try:
            self._with_retries()
        finally:
            timer.cancel()

    def _time_out(self) -> None:
        self.error("The task has timed out.")
        self.stop(FAILED)

    def _with_retries(self) -> None:
        retries = min(int(self.step.retry_count or 0), MOST_RETRIES)
        for attempt in range(retries + 1):
            self.result = ""
            self._once()
            if self.result != FAILED or attempt == retries or self._stop.is_set():
                return
            pause = (attempt + 1) ** 2
            self.warning(
                f"RetryHelper encountered task failure, will retry (attempt #: {attempt + 1} out of {retries}) after {pause}000 ms"
            )
            if self._stop.wait(pause):
                return

    def _once(self) -> None:
        """One try. A task's inputs are trimmed and their macros replaced."""
        macros = self.job.variables.macros
        host = self.job.agent.environment()
        self.inputs = {name.lower(): macros(value.strip(), host) for name, value in self.step.inputs.items()}
        try:
            tasks.of(self.step)(self)
            self.result = merge(self.result, SUCCEEDED)
        except (tasks.Failed, OSError) as failure:
            self.error(str(failure))
            self.result = merge(self.result, FAILED)

    def _end(self) -> str:
        if self._ending:
            self.result = self._ending
        result = merge(self.result or SUCCEEDED, self.command_result)
        return ISSUES if result == FAILED and self.step.continue_on_error else result

    # What tasks use.

    def input(self, name: str, default: str = "") -> str:
        """An input with its macros replaced; the default where it is empty."""
        return self.inputs.get(name.lower()) or default

    def truth(self, name: str, default: bool = False) -> bool:
        """An input that says true."""
        return self.input(name, str(default)).lower() == "true"

    def folder(self, written: str) -> Path:
        """A path, relative to the default working directory."""
        return Path(self.job.variables.get("System.DefaultWorkingDirectory")) / written

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """All that a process of it sees: what the agent passes through, its own `env`, variables, which go before `env`, and PATH."""
        variables, host = self.job.variables, self.job.agent.environment()
        env = dict(host)
        for name, value in self.step.env.items():
            env[name.strip()] = variables.macros(value.strip(), host)
        env |= variables.environment()
        env["agent.jobstatus"] = variables.get("Agent.JobStatus")
        env["PATH"] = os.pathsep.join([*self.job.path, env.get("PATH", "")])
        return {**env, **(more or {})}

    def execute(
        self,
        command: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        *,
        line: Callable[[str], None] | None = None,
        error: Callable[[str], None] | None = None,
    ) -> int:
        """Run a process; its exit code. Its lines are the step's, unless `line` takes them; `error` takes those of standard error."""
        if not folder.is_dir():
            raise tasks.Failed(f"Not found workingDirectory: {folder}")
        with self._lock:
            if self._stop.is_set():
                return 143
            self._process = Process(command, env, folder, apart=error is not None)
        try:
            return self._process.follow(line or self.take, error)
        finally:
            with self._lock:
                self._process = None

    def take(self, line: str) -> None:
        """A line that its process printed: a command, or text."""
        with self.job.lines:
            if not commands.take(line, self):
                self.write(line)

    def write(self, text: str) -> None:
        """Print and keep, without secrets."""
        for line in self.job.masker.mask(text).split("\n"):
            self.record.lines.append(line)
            self.job.tell("line", self, line)

    def error(self, message: str) -> None:
        """An error on the page of the run; by itself it does not fail the step."""
        self.record.errors.append(self.job.masker.mask(message))
        self.write(f"##[error]{message}")

    def warning(self, message: str) -> None:
        """A warning on the page of the run."""
        self.record.warnings.append(self.job.masker.mask(message))
        self.write(f"##[warning]{message}")
