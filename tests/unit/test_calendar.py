"""Freezes on the clocks of a place: bounds, recurrence, and the days on which the clocks change."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from aml.calendar import Window, frozen, windows, zones


def window(begins: str, until: str, repeat: str = "", zone: str = "Europe/Zurich") -> Window:
    return windows([{"name": "w", "zone": zone, "begins": begins, "until": until, **({"repeat": repeat} if repeat else {})}])[0]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("begins", "until", "repeat", "inside", "outside"),
    [
        # Once; Zurich is an hour before UTC in winter. The end belongs to it no more.
        ("2026-12-18T18:00", "2027-01-04T08:00", "", ["2026-12-18T17:00", "2027-01-04T06:59"], ["2026-12-18T16:59", "2027-01-04T07:00"]),
        # Every weekend, by the wall clock: 16:00 is 15:00 UTC in winter and 14:00 in summer.
        (
            "2026-01-02T16:00", "2026-01-05T07:00", "weekly",
            ["2026-01-02T15:00", "2026-07-03T14:00", "2026-07-06T04:59", "2029-11-24T00:00"],
            ["2026-01-02T14:59", "2026-07-03T13:59", "2026-07-06T05:00", "2025-12-27T00:00", "2026-07-08T00:00"],
        ),
        # The weekend in which the clocks are put forward (29 March 2026, 02:00 to 03:00) begins in winter time and ends in summer time.
        (
            "2026-01-02T16:00", "2026-01-05T07:00", "weekly",
            ["2026-03-27T15:00", "2026-03-30T04:59"], ["2026-03-27T14:59", "2026-03-30T05:00"],
        ),
        # And the one in which they are put back (25 October 2026).
        (
            "2026-01-02T16:00", "2026-01-05T07:00", "weekly",
            ["2026-10-23T14:00", "2026-10-26T05:59"], ["2026-10-23T13:59", "2026-10-26T06:00"],
        ),
        # 02:30 comes twice on 25 October: from the first (00:30 UTC) on, or up to the second (01:30 UTC).
        ("2026-10-25T02:30", "2026-10-25T04:00", "", ["2026-10-25T00:30", "2026-10-25T02:59"], ["2026-10-25T00:29", "2026-10-25T03:00"]),
        ("2026-10-25T01:00", "2026-10-25T02:30", "", ["2026-10-24T23:00", "2026-10-25T01:29"], ["2026-10-25T01:30"]),
        # 02:30 never comes on 29 March: the window is the longer one.
        ("2026-03-29T02:30", "2026-03-29T04:00", "", ["2026-03-29T00:30", "2026-03-29T01:59"], ["2026-03-29T00:29", "2026-03-29T02:00"]),
        ("2026-03-29T01:00", "2026-03-29T02:30", "", ["2026-03-29T00:00", "2026-03-29T01:29"], ["2026-03-29T01:30"]),
        # Every night, across midnight; the night of the change is an hour shorter.
        ("2026-01-01T22:00", "2026-01-02T06:00", "daily", ["2026-03-28T21:00", "2026-03-29T03:59"], ["2026-03-29T04:00"]),
        # The last day of each month, which not every month calls the 31st.
        (
            "2026-01-31T00:00", "2026-02-01T00:00", "monthly",
            ["2026-02-27T23:00", "2026-02-28T22:59", "2026-04-30T12:00", "2028-02-29T12:00"],
            ["2026-02-27T22:59", "2026-02-28T23:00", "2026-04-29T12:00", "2028-02-28T12:00", "2025-12-31T12:00"],
        ),
        # Across the turn of the year, and never before the first time.
        (
            "2026-12-18T18:00", "2027-01-04T08:00", "yearly",
            ["2027-01-01T00:00", "2028-12-31T00:00", "2029-01-04T06:59"], ["2026-01-01T00:00", "2029-01-04T07:00", "2028-12-18T16:59"],
        ),
    ],
)  # fmt: skip
def test_a_window_holds_what_its_clocks_say(begins: str, until: str, repeat: str, inside: list[str], outside: list[str]) -> None:
    one = window(begins, until, repeat)
    assert [text for text in inside if one.around(utc(text)) is None] == []
    assert [text for text in outside if one.around(utc(text)) is not None] == []


def test_a_zone_of_another_half_of_the_world() -> None:
    one = window("2026-01-02T16:00", "2026-01-05T07:00", "weekly", "Pacific/Auckland")
    assert one.around(utc("2026-07-03T04:00")), "16:00 there, UTC+12 in winter"
    assert one.around(utc("2026-07-03T03:59")) is None
    assert one.around(utc("2026-01-09T03:00")), "UTC+13 in summer"


def test_it_is_said_until_when_by_the_same_clocks() -> None:
    one = window("2026-12-18T18:00", "2027-01-04T08:00", "yearly")
    [(found, until)] = frozen([one, window("2020-01-01T00:00", "2020-01-02T00:00")], utc("2028-12-31T00:00"))
    assert found.says(until) == "w (until 2029-01-04 08:00 Europe/Zurich)"


@pytest.mark.parametrize("repeat", ["daily", "weekly", "monthly", "yearly"])
def test_recurring_windows_are_those_that_one_counts_out(repeat: str) -> None:
    """Against a list of all occurrences, made one by one, at random moments of thirty years."""
    chance = random.Random(repeat)
    zone = ZoneInfo("America/New_York")
    first = datetime(2020, 2, 29, 23, 30)
    length = timedelta(hours=9)
    one = window("2020-02-29T23:30", "2020-03-01T08:30", repeat, "America/New_York")
    spans = []
    for number in range(31 * {"daily": 366, "weekly": 53, "monthly": 12, "yearly": 1}[repeat]):
        if repeat in ("daily", "weekly"):
            begins = first + timedelta(days=number * (1 if repeat == "daily" else 7))
        else:
            month = first.month - 1 + number * (1 if repeat == "monthly" else 12)
            year, month = first.year + month // 12, month % 12 + 1
            begins = next(
                candidate
                for day in (29, 28)
                if (candidate := _day(first, year, month, day))  # 29 February is the last of its month, or the 28th
            )
        ends = (begins + length).replace(tzinfo=zone, fold=1)
        spans.append((begins.replace(tzinfo=zone).astimezone(timezone.utc), ends.astimezone(timezone.utc)))
    for _ in range(1000):
        moment = datetime(2020, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=chance.randrange(30 * 365 * 24 * 60))
        expected = any(begins <= moment < until for begins, until in spans)
        assert (one.around(moment) is not None) == expected, moment


def _day(first: datetime, year: int, month: int, day: int) -> datetime | None:
    try:
        return first.replace(year=year, month=month, day=day)
    except ValueError:
        return None


def test_zones_are_names_and_not_files() -> None:
    assert {"Europe/Zurich", "America/New_York", "Etc/UTC"} <= zones()
    assert not {"localtime", "posixrules", "Factory"} & zones()
