"""A page that needs nothing but itself, and its pieces: text of others that stays text, tables that become lists on a phone.

What others wrote is made plain, escaped, and set apart by <bdi>, which keeps writing from right to left inside its own words; addresses
are https, spelt for an address, and show their host. The page's policy allows one style sheet, by its digest, and nothing else, so that
even a mistake here could not make text run or load anything.
Sources: "Content Security Policy Level 3", style-src (w3.org/TR/CSP3); "The bdi element" (html.spec.whatwg.org).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import timezone
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aml import evidence, plain

SHEET = Path(__file__).with_name("page.css")

# Colours of the light scheme, which paper has too, and of the dark one.
PALETTE = {
    "light": {
        "page": "#f4f6f8", "card": "#ffffff", "soft": "#eef1f5", "ink": "#17202b", "quiet": "#4d5967", "rule": "#d3d9e0",
        "accent": "#1d5b9f", "good": "#17663a", "good-soft": "#e6f3ea", "warn": "#7a4300", "warn-soft": "#fcf0dc", "bad": "#9b1c26",
        "bad-soft": "#fbe8e9",
    },
    "dark": {
        "page": "#10151b", "card": "#19212a", "soft": "#222c37", "ink": "#e8edf3", "quiet": "#aab5c2", "rule": "#364350",
        "accent": "#86b9f3", "good": "#7ad3a0", "good-soft": "#15301f", "warn": "#f2bd6a", "warn-soft": "#33260f", "bad": "#ff9ea3",
        "bad-soft": "#3a1b1e",
    },
}  # fmt: skip
# What is written or drawn on what, and the least contrast that it needs ("Contrast (Minimum)" and "Non-text Contrast", w3.org/TR/WCAG22).
TEXT, GRAPHIC = 4.5, 3.0
PAIRS = [
    *((colour, ground, TEXT) for colour in ("ink", "quiet", "accent", "good", "warn", "bad") for ground in ("page", "card", "soft")),
    *((colour, f"{tone}-soft", TEXT) for tone in ("good", "warn", "bad") for colour in ("ink", "quiet", tone)),
    *((colour, ground, GRAPHIC) for colour in ("accent", "quiet", "bad", "warn") for ground in ("card", "soft")),
]

ABSENT = '<span class="absent">not supplied</span>'
TONES = {
    "better": "good", "passed": "good", "signed": "good", "there": "good", "low": "good", "open": "good", "free": "good", "named": "good",
    "worse": "bad", "failed": "bad", "refused": "bad", "missing": "bad", "high": "bad", "frozen": "bad", "held": "bad", "other": "bad",
    "expired": "bad", "ahead of time": "bad", "unknown": "bad", "gone": "warn", "changed": "warn", "new": "warn", "medium": "warn",
    "not signed": "warn",
}  # fmt: skip


def page(title: str, sections: Iterable[str]) -> str:
    """A whole page."""
    sheet = style()
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy, quote=True)}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{own(title)}</title>",
        f"<style>{sheet}</style>",
    ]
    body = "\n".join(filter(None, sections))
    return f'<!doctype html>\n<html lang="en">\n<head>\n{chr(10).join(head)}\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n'


def style() -> str:
    """The style sheet. Paper gets the light colours, whatever the reader's scheme is."""

    def colours(scheme: str) -> str:
        return ":root{" + ";".join(f"--{name}:{value}" for name, value in PALETTE[scheme].items()) + f";color-scheme:{scheme}}}"

    return f"{colours('light')}\n@media screen and (prefers-color-scheme:dark){{{colours('dark')}}}\n{SHEET.read_text(encoding='utf-8')}"


def own(value: Any) -> str:
    """Words of ours, or what was checked to be nothing but letters and digits."""
    return escape(plain.text(value, 450), quote=True)


def other(value: Any) -> str:
    """Text of others, set apart."""
    return f"<bdi>{own(value)}</bdi>"


def maybe(value: Any) -> str:
    """Text of others, or that there is none."""
    return ABSENT if value is None or value == "" else other(value)


def figure(value: Any) -> str:
    """A figure, or that there is none."""
    return ABSENT if value is None else own(plain.figure(value))


def quiet(inside: str, element: str = "span") -> str:
    """What is said in a lower voice; `inside` is HTML."""
    return f'<{element} class="quiet small">{inside}</{element}>'


def bullets(items: Iterable[str], more: int = 0) -> str:
    """A list without marks, of HTML; `more` are left out."""
    return f'<ul class="plain">{"".join(f"<li>{one}</li>" for one in items)}{f"<li>and {more} more</li>" if more > 0 else ""}</ul>'


def tag(word: str, tone: str = "") -> str:
    """A word with a colour; the colour says nothing that the word does not."""
    return f'<span class="tag {tone or TONES.get(word, "")}">{own(word)}</span>'


def code(value: Any) -> str:
    """A digest or a name of ours."""
    return f"<code>{own(value)}</code>"


def link(address: str, words: str) -> str:
    """Where to look further, with the host in sight; '' for anything but an https address."""
    if not (found := plain.address(address)):
        return ""
    return f'<a href="{escape(found, quote=True)}" rel="noopener noreferrer">{own(words)}</a> {quiet(f"({own(urlsplit(found).hostname)})")}'


def section(title: str, *content: str, kind: str = "card") -> str:
    """A part of the page; `content` is HTML, and what is empty is left out."""
    name = title.lower().replace(" ", "-").replace(",", "")
    inside = "\n".join(filter(None, content))
    return f'<section class="{kind}" aria-labelledby="{name}">\n<h2 id="{name}">{own(title)}</h2>\n{inside}\n</section>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = (), calm: Sequence[bool] = ()) -> str:
    """A table that becomes a list on a phone; cells are HTML. `calm` rows are written in a lower voice. '' without rows."""

    def cell(at: int, inside: str) -> str:
        kind = ' class="number"' if at in numbers else ""
        label = f' data-is="{own(head[at])}"' if at and head[at] else ""
        return f"<td{kind}{label}>{inside}</td>"

    lines = [
        f"<tr{' class=calm' if number < len(calm) and calm[number] else ''}>{''.join(cell(at, one) for at, one in enumerate(row))}</tr>"
        for number, row in enumerate(rows)
    ]
    top = "".join(f'<th scope="col"{" class=number" if at in numbers else ""}>{own(name)}</th>' for at, name in enumerate(head))
    return f'<table class="rows"><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table>' if lines else ""


def pairs(*found: tuple[str, str]) -> str:
    """Names of ours, each with what it is, as HTML."""
    return "<dl>" + "".join(f"<dt>{own(name)}</dt><dd>{value}</dd>" for name, value in found) + "</dl>"


def count(number: int, word: str) -> str:
    """A number of things, in words."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def when(text: str) -> str:
    """A time as people read it, in UTC; what is no time stays as it is."""
    try:
        found = evidence.moment(text).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return text
    return f"{found.day} {found:%B %Y, %H:%M} UTC"


def age(finished: str, now: str) -> str:
    """How long ago something was, when this was written."""
    hours = (evidence.moment(now) - evidence.moment(finished)).total_seconds() / 3600
    if hours < 1:
        return f"{max(0, round(hours * 60))} min ago"
    return f"{hours:.0f} h ago" if hours < 48 else f"{hours / 24:.0f} days ago"
