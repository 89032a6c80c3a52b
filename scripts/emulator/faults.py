"""Faults on demand: for requests that match, an error, a delay, a reset or an expired token, after so many calls and for so many."""

from __future__ import annotations

import fnmatch
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

OWN_HOST = "emulator.localhost"


@dataclass
class Fault:
    """One rule. ``host`` and ``path`` are shell patterns without case; set one of the effects, and ``delay`` with any."""

    host: str = "*"
    path: str = "*"
    method: str = "*"
    after: int = 0  # matching calls that pass first
    times: int = 1  # calls that are hit; 0 = all from then on
    status: int = 0  # answer with this HTTP status
    code: str = ""  # and this Azure error code
    retry_after: int | None = None  # seconds, sent as Retry-After
    delay: float = 0.0  # seconds before going on
    reset: bool = False  # cut the connection instead of answering
    reset_after_bytes: int = 0  # for tunnelled storage: cut once the client has sent so many bytes
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    seen: int = 0
    hit: int = 0

    def matches(self, method: str, host: str, path: str) -> bool:
        return (
            fnmatch.fnmatch(method.upper(), self.method.upper())
            and fnmatch.fnmatch(host.lower(), self.host.lower())
            and fnmatch.fnmatch(path.lower(), self.path.lower())
        )


class Faults:
    """The rules in force. They are not kept across a restart."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []

    def add(self, **fields: Any) -> Fault:
        """Add a rule; an unknown field is a TypeError."""
        fault = Fault(**fields)
        self.rules.append(fault)
        return fault

    def clear(self) -> None:
        self.rules.clear()

    def listing(self) -> list[dict[str, Any]]:
        return [asdict(rule) for rule in self.rules]

    def strike(self, method: str, host: str, path: str) -> Fault | None:
        """The first rule that hits this request, counted; None lets it pass."""
        if host == OWN_HOST:
            return None  # else a fault for every host could not be taken back
        for rule in self.rules:
            if rule.reset_after_bytes or not rule.matches(method, host, path):
                continue
            if _due(rule):
                return rule
        return None

    def tunnel_limit(self, host: str) -> int:
        """Bytes after which a new tunnel to this host is cut; 0 = never."""
        for rule in self.rules:
            if rule.reset_after_bytes and rule.matches("CONNECT", host, "") and _due(rule):
                return rule.reset_after_bytes
        return 0


def _due(rule: Fault) -> bool:
    rule.seen += 1
    due = rule.seen > rule.after and (rule.times == 0 or rule.hit < rule.times)
    rule.hit += due
    return due
