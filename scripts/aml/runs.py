"""Follow a job while it runs: its status, its steps, and their logs as they grow.

Reads run history as the SDK's own `jobs.stream` does (azure/ai/ml/operations/_job_ops_helper.py), without importing the SDK, and follows
the steps of a pipeline too.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from aml import ci
from aml.azure import Client
from aml.logs import Logs

# Source: azure/ai/ml/constants/_job/job.py, COMMON_RUNTIME_STREAM_LOG_PATTERN and COMMAND_JOB_LOG_PATTERN
_LOG = re.compile(r"user_logs/std_log[\D]*[0]*(?:_ps)?\.txt|azureml-logs/[\d]{2}.+\.txt")
_HOLDS_STEPS = ("pipelinerun", "hyperdrive")


@dataclass
class Run:
    """A job or a step: what run history last said of it, and how much of its logs has been shown."""

    id: str
    title: str
    details: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)  # bytes of each log file
    holds_steps: bool = False
    finished: bool = False

    @property
    def status(self) -> str:
        """Its status; 'Unknown' where run history says none."""
        return str(self.details.get("status") or "Unknown")

    @property
    def error(self) -> str:
        """Why it failed, in one line, or ''."""
        found = (self.details.get("error") or {}).get("error") or {}
        return " ".join(str(found.get("message") or found.get("code") or "").split())


class Follower:
    """A job and its steps, looked at again and again with `look`. What is shown of their logs is kept in `logs`, too."""

    def __init__(self, history: Client, name: str, logs: Logs) -> None:
        self._history, self._kept = history, logs
        self._group, self._open = contextlib.ExitStack(), ""
        self.top = Run(name, name)
        self.steps: dict[str, Run] = {}

    def look(self, *, logs: bool = True) -> bool:
        """Read the state of everything that has not ended, and print what is new; whether anything was."""
        before = self.top.status
        self._update(self.top)
        moved = before != self.top.status
        for run in [self.top, *self._descend(self.top)]:
            moved |= logs and self._show(run)
        return moved

    def say(self, text: str) -> None:
        """Print a line outside the log that is being shown."""
        self._within("")
        ci.say(text)

    def _within(self, title: str) -> None:
        if title != self._open:
            self._group.close()
            self._open = title
            if title:
                self._group.enter_context(ci.group(title))

    def failed(self) -> list[Run]:
        """The runs that failed, the steps at which it began first."""
        return [run for run in (*reversed(self.steps.values()), self.top) if run.status == "Failed"]

    def tail(self, run: Run, lines: int = 20) -> list[tuple[str, list[str]]]:
        """The last lines of a run's logs; of what was written before its own log, if it has none (an image that could not be built)."""
        found = []
        for name, url in sorted((self._logs(run) or dict(run.details.get("logFiles") or {})).items()):
            text = self._history.read(url).decode("utf-8", "replace")
            self._kept.put(f"{run.title}-{name}", text, key=f"{run.id}/{name}")
            found.append((name, text.splitlines()[-lines:]))
        return found

    def _update(self, run: Run) -> None:
        run.details = self._history.get(f"runs/{run.id}/details")
        kind = str((run.details.get("runTypeV2") or {}).get("orchestrator") or "").lower()
        run.holds_steps = run.holds_steps or kind in _HOLDS_STEPS

    def _descend(self, run: Run) -> Iterator[Run]:
        if not run.holds_steps:
            return
        for child in self._history.list(f"runs/{run.id}/children"):
            known = self.steps.get(child["runId"])
            if known is None:
                title = str(child.get("displayName") or child["runId"])
                known = self.steps.setdefault(child["runId"], Run(child["runId"], title))
            if not known.finished:
                before = known.status
                self._update(known)
                known.finished = known.status in ("Completed", "Failed", "Canceled")
                if known.status != before:
                    self.say(f"{known.title}: {known.status}")
                yield known
                yield from self._descend(known)

    def _logs(self, run: Run) -> dict[str, str]:
        return {name: url for name, url in (run.details.get("logFiles") or {}).items() if _LOG.fullmatch(name)}

    def _show(self, run: Run) -> bool:
        moved = False
        for name, url in sorted(self._logs(run).items()):
            offset = run.shown.get(name, 0)
            try:
                new = self._history.read(url, offset)
            except ResourceNotFoundError:
                continue  # listed, and not written yet
            # a line that is still being written waits for its end, unless there is nothing more to come
            end = len(new) if run.finished or run.status in ("Completed", "Failed", "Canceled") else new.rfind(b"\n") + 1
            if end:
                self._within(f"{run.title}: {name}")
                text = new[:end].decode("utf-8", "replace")
                self._kept.add(f"{run.title}-{name}", text, key=f"{run.id}/{name}")
                ci.say(text.rstrip("\n"))
                run.shown[name] = offset + end
                moved = True
        return moved
