"""Text that somebody else wrote, made fit to be shown beside our own: one line, of a length that can be read, and nothing in it unseen.

Names, commit messages and metrics may hold control characters, marks that turn the direction of writing around, characters without a
width, commands of a CI system, and megabytes. None of that may hide, forge or break what stands beside it. Each renderer escapes what its
own language would obey; this comes before, so that the document itself is harmless.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Any
from urllib.parse import quote, urlsplit

from aml import ci

LONGEST = 200  # characters of a value
MARKS = 3  # accents on one letter; more would cover the lines above and below
UNSEEN = "\ufffd"


def text(value: Any, limit: int = LONGEST) -> str:
    """A value in one line; of more than `limit` characters the beginning, and how many there are."""
    return _shown(" ".join(str(value)[: 8 * limit].split()), limit, len(str(value))).lstrip()


def line(value: Any, limit: int = LONGEST) -> str:
    """As `text`, with its spaces: a line of a file."""
    return _shown(str(value)[: 8 * limit].expandtabs(4), limit, len(str(value))).rstrip()


def _shown(found: str, limit: int, whole: int) -> str:
    # What ci.plain would drop in silence is shown as something that can't be read, so that a difference stays one.
    seen = _without_marks("".join(UNSEEN if unseen(letter) else letter for letter in found))
    shown = ci.plain(seen)
    return shown if len(shown) <= limit and whole <= 8 * limit else f"{shown[:limit]}… ({whole} characters)"


def unseen(letter: str) -> bool:
    """Whether a character is a control, a format, half a pair, private or none at all."""
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") or letter in "\u2800\u3164\u115f\u1160\uffa0"


def _without_marks(found: str) -> str:
    kept, marks = [], 0
    for letter in found:
        marks = marks + 1 if unicodedata.category(letter) in ("Mn", "Me") else 0
        if marks <= MARKS:
            kept.append(letter)
    return "".join(kept)


def number(value: Any) -> float | int | str:
    """A figure as canonical JSON can hold it (RFC 8785: no more than a double has); anything else as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return text(value, 40)
    if isinstance(value, int):
        return value if abs(value) < 2**53 else float(value) if abs(value) < 10**300 else text(value, 40)
    return value if math.isfinite(value) else str(value)


def figure(value: Any) -> str:
    """A figure as people read it: six significant digits."""
    return f"{value:.6g}" if isinstance(value, float) else text(value, 40)


def address(value: Any) -> str:
    """An https address that a person may follow, with every character in it spelt for an address; '' for anything else."""
    found = str(value)
    if len(found) > 2000 or any(unseen(letter) or letter.isspace() for letter in found):
        return ""
    try:
        parts = urlsplit(found)
        host = (parts.hostname or "").encode("ascii").decode()
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # no address at all, or a host in letters that look like others
        return ""
    if (
        parts.scheme != "https"
        or not 0 < len(host) < 254
        or "@" in parts.netloc
        or not all(letter.isalnum() or letter in ".-" for letter in host)
    ):
        return ""
    query = f"?{quote(parts.query, safe='/:&=%+,;~@')}" if parts.query else ""
    return f"https://{host}{port}{quote(parts.path, safe='/:%+,;~@=&')}{query}"
