"""Pictures for a page that may hold nothing but itself: SVG by hand, without scripts, styles or addresses.

Colours come from the page's style sheet by class, so that they follow the reader's scheme; each picture says in words what it shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from aml import plain

WIDTH, HEIGHT = 360, 190  # of a chart: as wide as a phone, so that its letters keep their size there
LEFT, RIGHT, TOP, BOTTOM = 16, 16, 26, 26
WORDS = {"earlier": "an earlier release", "champion": "in production", "candidate": "this release"}


def history(found: Mapping[str, Any]) -> str:
    """One metric, release after release: what production runs is ringed, this release is filled, limits are dashed."""
    points: Sequence[Mapping[str, Any]] = found["points"]
    values = [float(point["value"]) for point in points]
    limits = [(name, float(found[key])) for key, name in (("min", "at least"), ("max", "at most")) if isinstance(found[key], (int, float))]
    low, high = min(values), max(values)
    span = high - low or abs(high) or 1.0
    near = [(name, limit) for name, limit in limits if low - 2 * span <= limit <= high + 2 * span]
    low, high = min([low, *(limit for _, limit in near)]), max([high, *(limit for _, limit in near)])
    pad = (high - low or abs(high) or 1.0) * 0.18

    def x(at: int) -> float:
        return WIDTH / 2 if len(points) == 1 else LEFT + 14 + at * (WIDTH - LEFT - RIGHT - 28) / (len(points) - 1)

    def y(value: float) -> float:
        share = (value - low + pad) / (high - low + 2 * pad)
        return TOP + (1 - min(max(share, 0.0), 1.0)) * (HEIGHT - TOP - BOTTOM)

    says = "; ".join(f"{plain.text(point['version'], 12)}: {plain.figure(point['value'])}, {WORDS[point['is']]}" for point in points)
    parts = [f'<line class="axis" x1="{LEFT}" y1="{HEIGHT - BOTTOM}" x2="{WIDTH - RIGHT}" y2="{HEIGHT - BOTTOM}"/>']
    for name, limit in near:
        parts.append(f'<line class="limit" x1="{LEFT}" y1="{y(limit):.1f}" x2="{WIDTH - RIGHT}" y2="{y(limit):.1f}"/>')
        parts.append(_text(LEFT, y(limit) + (-5 if name == "at most" else 14), f"{name} {plain.figure(limit)}", "note"))
    parts.append(f'<polyline class="path" points="{" ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in enumerate(values))}"/>')
    for at, (point, value) in enumerate(zip(points, values, strict=True)):
        kind = point["is"]
        parts.append(f'<circle class="{kind}" cx="{x(at):.1f}" cy="{y(value):.1f}" r="{3 if kind == "earlier" else 5.5}"/>')
        if kind != "earlier":
            parts.append(_text(x(at), y(value) - 11, plain.figure(value), "value", _anchor(at, len(points))))
        if kind != "earlier" or len(points) <= 8:
            parts.append(_text(x(at), HEIGHT - 8, plain.text(point["version"], 8), "tick", _anchor(at, len(points))))
    off = [f"the limit ({name} {plain.figure(limit)}) is off the picture" for name, limit in limits if (name, limit) not in near]
    return _svg(WIDTH, HEIGHT, "; ".join([says, *off]), parts)


def bar(seconds: float, longest: float, limit: float | None, passed: bool) -> str:
    """One bar of a list, with a mark where the limit is."""
    whole = max(longest, 1e-9)
    parts = ['<rect class="rail" x="0" y="2" width="200" height="10" rx="2"/>']
    parts.append(
        f'<rect class="{"fill" if passed else "bad"}" x="0" y="2" width="{max(1.0, 200 * seconds / whole):.1f}" height="10" rx="2"/>'
    )
    if limit is not None and limit <= whole:
        parts.append(f'<rect class="mark" x="{min(198.0, 200 * limit / whole):.1f}" y="0" width="2" height="14"/>')
    return _svg(200, 14, f"{seconds:.3g} seconds", parts)


def bars(edges: Sequence[float], counts: Sequence[int]) -> str:
    """A histogram."""
    tallest, span = max([*counts, 1]), edges[-1] - edges[0]

    def x(edge: float) -> float:
        return LEFT + (edge - edges[0]) / span * (WIDTH - LEFT - RIGHT)

    parts = [f'<line class="axis" x1="{LEFT}" y1="{HEIGHT - BOTTOM}" x2="{WIDTH - RIGHT}" y2="{HEIGHT - BOTTOM}"/>']
    for begin, end, count in zip(edges, edges[1:], counts, strict=False):
        height = count / tallest * (HEIGHT - TOP - BOTTOM)
        parts.append(
            f'<rect class="fill" x="{x(begin) + 0.5:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" '
            f'width="{max(0.5, x(end) - x(begin) - 1):.1f}" height="{height:.1f}"/>'
        )
    if edges[0] < 0 < edges[-1]:
        parts.append(f'<line class="limit" x1="{x(0):.1f}" y1="{TOP}" x2="{x(0):.1f}" y2="{HEIGHT - BOTTOM}"/>')
    for edge, anchor in ((edges[0], "start"), (edges[-1], "end")):
        parts.append(_text(x(edge), HEIGHT - 8, plain.figure(float(edge)), "tick", anchor))
    return _svg(WIDTH, HEIGHT, f"{sum(counts)} values from {plain.figure(edges[0])} to {plain.figure(edges[-1])}", parts)


def _anchor(at: int, count: int) -> str:
    return "middle" if count == 1 or 0 < at < count - 1 else "start" if at == 0 else "end"


def _text(x: float, y: float, said: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'


def _svg(width: int, height: int, says: str, parts: Sequence[str]) -> str:
    label = escape(plain.text(says, 1000), quote=True)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
