"""Logs that are kept beside the evidence, in its folder `logs`: Azure forgets them, and the page of a run shows their end at most.

They hold what jobs and containers printed, without control characters and commands of a CI system. The masks of a CI system do not
reach into files: what must stay secret must not be printed where it is made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from aml import ci

LIMIT = 8 * 2**20  # bytes of one log; of a longer one the end is kept, at least half as much
FILES = 200  # logs of one verb


@dataclass
class _Log:
    path: Path
    size: int = 0
    cut: int = 0  # bytes at its beginning that are not here
    lost: bool = False


class Logs:
    """The logs that one verb keeps, as `<verb>-<workspace>-<title>.log`. A rerun replaces them.

    A log that can't be kept (a full disk, say) is no reason for the verb to fail: the first one is told in a warning.
    """

    def __init__(self, folder: Path, verb: str, workspace: str) -> None:
        self.folder = folder / "logs"
        self._begins = f"{verb}-{workspace}"
        self._logs: dict[str, _Log] = {}
        self._warned = False

    def add(self, title: str, text: str, *, key: str = "") -> Path | None:
        """Append to a log; its path, or None if it can't be kept. `key` tells apart logs that have the same title."""
        key = key or title
        if key not in self._logs:
            if len(self._logs) == FILES:
                self._warn(f"Only the first {FILES} logs are kept.")
                return None
            self._logs[key] = _Log(self.folder / self._name(title))
        log = self._logs[key]
        if log.lost:
            return None
        try:
            self._append(log, ci.plain(text).encode("utf-8", "replace"))
        except OSError as error:
            log.lost = True
            self._warn(f"A log can't be kept: {error}.")
            return None
        return log.path

    def put(self, title: str, text: str, *, key: str = "") -> Path | None:
        """Write a log anew; the rest is as with `add`."""
        if known := self._logs.get(key or title):
            known.size = known.cut = 0
        return self.add(title, text, key=key)

    def _warn(self, why: str) -> None:
        if not self._warned:
            ci.warning(why)
        self._warned = True

    def _append(self, log: _Log, data: bytes) -> None:
        log.path.parent.mkdir(parents=True, exist_ok=True)
        if log.size + len(data) > LIMIT:
            there = log.path.read_bytes() if log.size else b""
            whole = (there.partition(b"\n")[2] if log.cut else there) + data
            end = whole[-LIMIT // 2 :]
            end = end.partition(b"\n")[2] or end  # from the beginning of a line
            log.cut += len(whole) - len(end)
            data = f"(the first {log.cut} bytes are not here: at most {LIMIT} bytes of a log are kept)\n".encode() + end
            log.size = 0
        with open(log.path, "ab" if log.size else "wb") as file:
            log.size += file.write(data)

    def _name(self, title: str) -> str:
        words = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{self._begins}-{title.removesuffix('.txt')}")[:120].strip("-.")
        taken = {log.path.name.lower() for log in self._logs.values()}  # Windows and macOS tell no A from a
        name, again = f"{words}.log", 1
        while name.lower() in taken:
            again += 1
            name = f"{words}-{again}.log"
        return name
