"""What ``get_logs`` shows of one revision of a deployment: how far it got, what happened to its container, and the container's own log.

The form is the service's; an example is in the reference of Get-AzMLWorkspaceOnlineDeploymentLog.
"""

from __future__ import annotations

import json
from collections import deque
from datetime import datetime
from pathlib import Path

STEPS = ("SystemSetup", "UserContainerImagePull", "ModelDownload", "UserContainerStart")
INFERENCE_SERVER = "InferenceServer"
STORAGE_INITIALIZER = "StorageInitializer"


class Record:
    """The steps, events and container logs of one revision, kept in its folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "record.json"
        self.inference_server = folder / "inference-server.log"
        self.storage_initializer = folder / "storage-initializer.log"
        self._steps = dict.fromkeys(STEPS, "Waiting")
        self._events: list[str] = []
        if self._file.exists():
            kept = json.loads(self._file.read_text())
            self._steps, self._events = kept["steps"], kept["events"]

    def step(self, name: str, state: str) -> None:
        """A step is now Waiting, InProgress, Succeeded or Failed."""
        self._steps[name] = state
        self._save()

    def event(self, when: datetime, name: str, message: str, kind: str = "Normal") -> None:
        """Something happened to the container; ``kind`` is Normal or Warning."""
        self._events = self._events[-199:]
        self._events.append(f"Kind: Pod, Name: {name}, Type: {kind}, Time: {when.isoformat().replace('+00:00', 'Z')}, Message: {message}")
        self._save()

    def stored(self, when: datetime, line: str) -> None:
        """A line of the storage initializer, which brings model and code into the container."""
        with self.storage_initializer.open("a") as log:
            log.write(f"{when.isoformat(timespec='milliseconds').replace('+00:00', 'Z')} {line}\n")

    def render(self, container: str, lines: int | None) -> str:
        """The text of one container's log, its last ``lines`` lines under status and events."""
        log = self.storage_initializer if container == STORAGE_INITIALIZER else self.inference_server
        status = "\n".join(f"{step}: {self._steps[step]}" for step in STEPS)
        events = "\n".join(self._events)
        if not log.exists():
            tail = "The container has not started yet. Please try again later.\n"
        else:
            with log.open(errors="replace") as text:
                tail = "".join(deque(text, lines))
        return f"Instance status:\n{status}\n\nContainer events:\n{events}\n\nContainer logs:\n{tail}"

    def _save(self) -> None:
        self._file.write_text(json.dumps({"steps": self._steps, "events": self._events}))
