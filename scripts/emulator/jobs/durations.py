"""ISO 8601 durations, as limits are written."""

from __future__ import annotations

import re

_FORM = re.compile(r"P(?:(?P<D>\d+)D)?(?:T(?:(?P<H>\d+)H)?(?:(?P<M>\d+)M)?(?:(?P<S>\d+(?:\.\d+)?)S)?)?")
_UNITS = {"D": 86400, "H": 3600, "M": 60, "S": 1}


def seconds(duration: object) -> float | None:
    """The seconds of ``PT1H30M`` (a plain number is seconds already); None for None. ValueError for other texts."""
    if duration is None:
        return None
    if isinstance(duration, (int, float)):
        return float(duration)
    match = _FORM.fullmatch(str(duration))
    if not match or not any(match.groups()):
        raise ValueError(f"'{duration}' is not a duration such as PT30M")
    return sum(float(value) * _UNITS[unit] for unit, value in match.groupdict().items() if value)
