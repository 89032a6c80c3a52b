"""Times in which nothing is promoted: windows on the clocks of a place, once or again and again.

A window is given in wall-clock time, so it keeps its hours when the clocks change. Where they are put back, an hour that comes twice
belongs to a window as a whole; where they are put forward, a bound in the hour that does not exist is taken so that the window is the
longer one. Zones are those of the IANA database, as the machine or the package `tzdata` has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

REPEATS = ("daily", "weekly", "monthly", "yearly")
_SHORTEST = {"daily": timedelta(days=1), "weekly": timedelta(days=7), "monthly": timedelta(days=28), "yearly": timedelta(days=365)}
_OTHER = ("localtime", "posixrules", "Factory")  # files beside the zones


@dataclass(frozen=True)
class Window:
    """A freeze: from its first moment up to, and without, `until`; `repeat` is '' or how often it comes again."""

    name: str
    zone: str
    begins: datetime
    until: datetime
    repeat: str = ""

    def around(self, moment: datetime) -> tuple[datetime, datetime] | None:
        """The occurrence that a moment (aware) falls into, in UTC; None if it falls into none."""
        at, zone = moment.astimezone(timezone.utc), ZoneInfo(self.zone)
        for number in self._near(at.astimezone(zone).replace(tzinfo=None)):
            begins = min(_both(_shifted(self.begins, self.repeat, number), zone))
            until = max(_both(_shifted(self.begins, self.repeat, number) + (self.until - self.begins), zone))
            if begins <= at < until:
                return begins, until
        return None

    def _near(self, local: datetime) -> Iterator[int]:
        """Which occurrences may hold a moment; none is before the first."""
        if not self.repeat:
            yield 0
            return
        passed = local - self.begins
        guess = {
            "daily": passed.days,
            "weekly": passed.days // 7,
            "monthly": 12 * (local.year - self.begins.year) + local.month - self.begins.month,
            "yearly": local.year - self.begins.year,
        }[self.repeat]
        yield from (number for number in range(guess - 1, guess + 2) if number >= 0)

    def says(self, until: datetime) -> str:
        """The window and the end of one of its occurrences, for a person."""
        local = until.astimezone(ZoneInfo(self.zone))
        return f"{self.name} (until {local:%Y-%m-%d %H:%M} {self.zone})"


def windows(freeze: Sequence[Mapping[str, Any]]) -> list[Window]:
    """The windows of a gate that has been checked."""
    return [
        Window(one["name"], one["zone"], datetime.fromisoformat(one["begins"]), datetime.fromisoformat(one["until"]), one.get("repeat", ""))
        for one in freeze
    ]


def frozen(found: Sequence[Window], moment: datetime) -> list[tuple[Window, datetime]]:
    """The windows that a moment falls into, each with the moment at which it ends."""
    return [(window, around[1]) for window in found if (around := window.around(moment))]


def zones() -> set[str]:
    """The names of all zones; empty where a machine has no time zone data."""
    return {name for name in available_timezones() if name not in _OTHER}


def problems(one: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the times of a window that its schema can't see: the key and the message."""
    times: dict[str, datetime] = {}
    for key in ("begins", "until"):
        try:
            times[key] = datetime.fromisoformat(one[key])
        except ValueError as error:
            yield key, f"expected a day and time that exist, found that {error}"
    if len(times) == 2:
        length = times["until"] - times["begins"]
        if length <= timedelta(0):
            yield "until", f"expected a time after begins ({one['begins']}), found {one['until']}"
        elif (repeat := one.get("repeat")) and length > _SHORTEST[repeat]:
            yield "repeat", f"expected windows that end before they come again, found {repeat} for a window of {length.days} days"


def _shifted(first: datetime, repeat: str, number: int) -> datetime:
    """When an occurrence begins, on the wall clock. A day that a month does not have is its last."""
    if repeat in ("", "daily", "weekly"):
        return first + timedelta(days=number * {"": 0, "daily": 1, "weekly": 7}[repeat])
    months = first.month - 1 + number * (12 if repeat == "yearly" else 1)
    year, month = first.year + months // 12, months % 12 + 1
    following = datetime(year + month // 12, month % 12 + 1, 1)
    return first.replace(year=year, month=month, day=min(first.day, (following - timedelta(days=1)).day))


def _both(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """The one or two moments that a wall clock may mean, in UTC."""
    return [wall.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc) for fold in (0, 1)]
