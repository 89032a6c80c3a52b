"""A run's logs, written while the run goes on where the service puts them: below ``ExperimentRun/dcid.<job>`` of the artifact store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from emulator.assets import paths
from emulator.jobs.models import ARTIFACTS

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

    from emulator.core import Cloud

BLOCK = 4 * 1024 * 1024  # bytes that one append takes
INTERVAL = 0.25  # seconds between looks at a growing file

STREAMED = "user_logs/std_log.txt"
IMAGE_BUILD = "azureml-logs/20_image_build_log.txt"
PIPELINE = "logs/azureml/executionlogs.txt"
SWEEP = "azureml-logs/hyperdrive.txt"
LIFECYCLE = "system_logs/lifecycler/lifecycler.log"


class RunLog:
    """One log of one run. It begins empty, so a run that starts again starts its logs again."""

    def __init__(self, cloud: Cloud, workspace_id: str, job: str, name: str) -> None:
        self._cloud = cloud
        self._place = paths.in_datastore(cloud, workspace_id, "workspaceartifactstore", f"{ARTIFACTS}{job}/{name}")
        self._blob: BlobClient | None = None
        self._lock = asyncio.Lock()

    async def write(self, data: bytes) -> None:
        """Append to the log."""
        async with self._lock:
            if self._blob is None:
                client = await self._cloud.storage.client(self._place.account)
                self._blob = client.get_blob_client(self._place.container, self._place.prefix)
                await asyncio.to_thread(self._blob.create_append_blob)
            for start in range(0, len(data), BLOCK):
                await asyncio.to_thread(self._blob.append_block, data[start : start + BLOCK])

    async def line(self, text: str) -> None:
        """Append a line with the time before it."""
        await self.write(f"[{self._cloud.stamp()}] {text}\n".encode())


class Follower:
    """Copies a growing file into a log until it is told that the file is complete."""

    def __init__(self, log: RunLog, file: Path) -> None:
        self._log, self._file, self._at = log, file, 0
        self._complete = asyncio.Event()
        self._task = asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        await self._log.write(b"")  # the log is there as soon as the process runs
        while True:
            last = self._complete.is_set()
            with open(self._file, "rb") as file:
                file.seek(self._at)
                data = file.read()
            if data:
                await self._log.write(data)
                self._at += len(data)
            if last:
                return
            try:
                await asyncio.wait_for(self._complete.wait(), INTERVAL)
            except asyncio.TimeoutError:
                pass

    async def finish(self) -> None:
        """Copy what is left, and stop."""
        self._complete.set()
        await self._task
