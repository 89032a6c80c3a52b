"""Processes that the emulator runs: Azurite, MLflow, jobs, inference servers. None of them outlives it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_SUPERVISOR = str(Path(__file__).with_name("child.py"))


class Child:
    """A supervised process group; see ``child.py`` for how it is ended."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self.name = name
        self.pid = process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """Its exit code; 128 + n when signal n ended it."""
        return await self._process.wait()

    async def kill(self, grace: float = 2.0) -> None:
        """Ask the group to end, kill what is left after ``grace`` seconds, and wait until it is gone."""
        if grace > 0:
            self._order(b"T")
            try:
                await asyncio.wait_for(asyncio.shield(self._process.wait()), grace)
            except asyncio.TimeoutError:
                pass
        self._order(b"K")
        await self._process.wait()

    def _order(self, order: bytes) -> None:
        if self.running and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(order)


class Children:
    """All processes of one emulator."""

    def __init__(self) -> None:
        self._all: set[Child] = set()

    async def spawn(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        log: Path | None = None,
        name: str = "",
    ) -> Child:
        """Start a command in a process group of its own; output goes to ``log`` (appended) or nowhere."""
        with open(log or os.devnull, "ab", buffering=0) as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", _SUPERVISOR, *[os.fspath(word) for word in argv],
                stdin=asyncio.subprocess.PIPE, stdout=output, stderr=output, env=dict(env) if env is not None else None, cwd=cwd,
            )  # fmt: skip
        child = Child(process, name or os.fspath(argv[0]))
        self._all.add(child)
        asyncio.ensure_future(process.wait()).add_done_callback(lambda _: self._all.discard(child))
        return child

    def names(self) -> list[str]:
        """The names of what runs now."""
        return sorted(child.name for child in self._all)

    async def close(self) -> None:
        """End all of them, side by side."""
        await asyncio.gather(*(child.kill(grace=1.0) for child in list(self._all)))
