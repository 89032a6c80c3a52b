"""One process of a step: in a session of its own, ended with its step, and never outliving the run."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

SUPERVISOR = Path(__file__).resolve().parents[3] / "scripts" / "emulator" / "child.py"
# How long the agent waits after each signal, in seconds (ProcessInvoker.cs), and a task for streams that stay open (toolrunner.ts).
INTERRUPT, TERMINATE, STREAMS = 7.5, 2.5, 10.0


class Process:
    """A command and what it prints, line by line. The end of this process, by whatever signal, ends it too.

    What it leaves running in its own process group is killed when it ends; an agent would wait for the end of the job.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], folder: Path, *, apart: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR), *command],
            env=dict(env), cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if apart else subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
        self._ended = threading.Event()

    def follow(self, line: Callable[[str], None], error: Callable[[str], None] | None = None) -> int:
        """Hand on every line until it has ended; its exit code, 128 + n after signal n."""
        streams = [(self._process.stdout, line), (self._process.stderr, error or line)]
        readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in streams if pair[0]]
        for reader in readers:
            reader.start()
        code = self._process.wait()
        self._ended.set()
        for reader in readers:
            reader.join(STREAMS)  # something that left the group may hold them open
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        return code

    def cancel(self, *, heard: bool = True) -> None:
        """As the agent does it: SIGINT, then SIGTERM to the process, then the end of all. Not `heard`: the end at once."""
        if heard:
            for order, seconds in (("i", INTERRUPT), ("t", TERMINATE)):
                self._order(order)
                if self._ended.wait(seconds):
                    return
        self.kill()

    def kill(self) -> None:
        """End it and all that it started."""
        self._order("K")

    def _order(self, order: str) -> None:
        assert self._process.stdin
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(order)
            self._process.stdin.flush()

    @staticmethod
    def _read(stream: IO[str], told: Callable[[str], None]) -> None:
        with contextlib.suppress(ValueError):  # closed while reading
            for text in stream:
                told(text.rstrip("\n"))
