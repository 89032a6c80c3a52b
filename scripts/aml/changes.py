"""How a bundle differs from the one that production runs: its parts, figures, files and dependencies.

Pure: what is compared is given. Both bundles are documents whose digests were checked; a file of the older one comes from git and counts
only if it has the digest that the older bundle names.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aml import digest, plain

SAME, CHANGED, NEW, GONE, UNKNOWN = "same", "changed", "new", "gone", "unknown"
BETTER, WORSE = "better", "worse"
LINES = 60  # of a file's difference that are shown
LARGEST = 5000  # lines of a file that is compared
WIDTH = 160  # characters of such a line
OTHERS = 12  # figures that no rule asks for that are shown

Bundle = Mapping[str, Any]
Machine = tuple[str, int]

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?)\s*(.*)")


def alias(bundle_id: str, document: Bundle) -> str:
    """A name for a bundle that a person can say; the id stays the only one that counts."""
    return f"{document['model']['name']}-{document['model']['version']}-{bundle_id.removeprefix('sha256:')[:8]}"


def parts(new: Bundle, old: Bundle | None, machine: Machine | None, machine_before: Machine | None) -> list[dict[str, Any]]:
    """What a release is made of, before and now, one row each."""

    def row(part: str, now: str | None, before: str | None, same: bool | None = None) -> dict[str, Any]:
        if old is None:
            change = NEW
        elif same is not None:
            change = SAME if same else CHANGED
        else:
            change = _change(before, now)
        return {"part": part, "before": before, "after": now, "change": change}

    def digest_of(document: Bundle | None, part: str) -> Any:
        return (document or {}).get(part, {}).get("digest")

    def rows_of(document: Bundle | None) -> dict[str, str | None]:
        if document is None:
            return {}
        served, code, job = document.get("environment"), document.get("code"), document["job"]
        return {
            "model": f"version {document['model']['version']}, {short(document['model']['digest'])}",
            "kind of model": document["model"]["type"],
            "scoring code": f"{plain.text(code['path'])}, {short(code['digest'])}" if code else "none, the model serves itself",
            "scoring environment": f"{served['name']}:{served['version']}, {short(served['digest'])}" if served else "none of its own",
            "image": plain.text(served["image"]) if served else "Azure's own",
            "training job": f"{plain.text(job['name'])}, commit {job['commit'][:12] or 'unknown'}",
            "training data": plain.text(", ".join(f"{one['name']}:{one['version']}" for one in document["data"])) or "none named",
            "catalog": plain.text(document["catalog"]["version"]),
        }

    now, before = rows_of(new), rows_of(old)
    # A version is only a name: the same content under another one is the same.
    by_digest = {"model": "model", "scoring code": "code", "scoring environment": "environment"}
    made = [
        row(
            name,
            value,
            before.get(name),
            digest_of(new, by_digest[name]) == digest_of(old, by_digest[name]) if old and name in by_digest else None,
        )
        for name, value in now.items()
    ]
    sizes = [(machine or ("", 0)), (machine_before or ("", 0))]
    made.append(row("machine", plain.text(sizes[0][0]) or None, plain.text(sizes[1][0]) or None))
    made.append(row("instances", str(sizes[0][1]) if machine else None, str(sizes[1][1]) if machine_before else None))
    return made


def _change(before: str | None, now: str | None) -> str:
    if before is None or now is None:
        return UNKNOWN
    return SAME if before == now else CHANGED


def short(found: str) -> str:
    """The beginning of a digest, as people compare it."""
    return found.removeprefix("sha256:")[:12]


def metrics(gate: Mapping[str, Any], new: Bundle, old: Bundle | None) -> list[dict[str, Any]]:
    """Figures now and in production: first those that the gate asks for, then others that differ."""
    goals = bounds(gate)
    now, before = new["job"]["metrics"], (old or {"job": {"metrics": {}}})["job"]["metrics"]
    others = [name for name in sorted({*now, *before} - {*goals}) if now.get(name) != before.get(name)]
    made = []
    for name in [*goals, *others[:OTHERS]]:
        known = goals.get(name, {"goal": "", "min": None, "max": None})
        candidate, champion = now.get(name), before.get(name)
        made.append(
            {
                "name": plain.text(name, 80),
                "candidate": None if candidate is None else plain.number(candidate),
                "champion": None if champion is None else plain.number(champion),
                **known,
                "gated": name in goals,
                "change": _moved(candidate, champion, known["goal"]),
            }
        )
    return made


def bounds(gate: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics that a gate asks for, the one that is held against production first; each with its limits and which way is better."""
    rule = gate.get("champion")
    found: dict[str, dict[str, Any]] = {rule["metric"]: {"goal": rule["goal"], "min": None, "max": None}} if rule else {}
    for threshold in gate.get("thresholds") or []:
        one = found.setdefault(threshold["metric"], {"goal": "", "min": None, "max": None})
        one |= {bound: plain.number(threshold[bound]) for bound in ("min", "max") if threshold.get(bound) is not None}
        if not one["goal"] and (one["min"] is None) != (one["max"] is None):
            one["goal"] = "maximize" if one["max"] is None else "minimize"
    return found


def _moved(now: float | None, before: float | None, goal: str) -> str:
    if now is None or before is None:
        return UNKNOWN
    if now == before:
        return SAME
    if not goal:
        return CHANGED
    return BETTER if (now < before) == (goal == "minimize") else WORSE


def files(new: Bundle, old: Bundle | None, now: Mapping[str, bytes], before: Mapping[str, bytes | None]) -> list[dict[str, Any]]:
    """The files that decide about a release, one row each, with what is different in them where both are known.

    `now` and `before` are contents by path; a content of `before` without the digest that the old bundle names is not looked at.
    """
    wanted, known = dict(new["files"]), dict((old or {"files": {}})["files"])
    made = []
    for path in sorted({*wanted, *known}):
        change = GONE if path not in wanted else NEW if path not in known else SAME if wanted[path] == known[path] else CHANGED
        row: dict[str, Any] = {"path": plain.text(path), "change": change, "diff": None, "note": ""}
        if change == CHANGED:
            content = before.get(path)
            if content is None:
                row["note"] = "what it was is not supplied: git does not have it"
            elif digest.of_bytes(content) != known[path]:
                row["note"] = "what it was is not supplied: git has another content than production's bundle names"
            else:
                row["diff"], row["note"] = difference(content, now[path])
        made.append(row)
    return made


def difference(before: bytes, now: bytes) -> tuple[list[str] | None, str]:
    """The lines that differ, each with the sign of `diff` before it, and a note where that is not all."""
    try:
        was, became = (side.decode("utf-8").splitlines() for side in (before, now))
    except UnicodeDecodeError:
        return None, "it is no text"
    if max(len(was), len(became)) > LARGEST:
        return None, f"it has more than {LARGEST} lines"
    found = list(difflib.unified_diff(was, became, lineterm="", n=2))[2:]
    # The mark of a range of lines is ours; a line of the file keeps its sign, so it can't pass for one.
    shown = [one[:1] + plain.line(one[1:], WIDTH) if one[:1] in "+- " else plain.line(one, WIDTH) for one in found[:LINES]]
    note = f"and {len(found) - LINES} lines more" if len(found) > LINES else "" if found else "only line ends differ"
    return shown, note


def dependencies(now: Mapping[str, Any] | None, before: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """What is installed beside the model, as environments declare it, where it differs; None if one of the two is not known.

    Both are properties of an environment version as Azure returns them.
    """
    sides = [_declared(side) for side in (now, before)]
    if None in sides:
        return None
    new, old = ({**side} for side in sides if side is not None)
    return [
        {"name": plain.text(name, 80), "before": old.get(name), "after": new.get(name)}
        for name in sorted({*new, *old})
        if new.get(name) != old.get(name)
    ]


def _declared(properties: Mapping[str, Any] | None) -> dict[str, str] | None:
    import yaml

    if properties is None:
        return None
    conda = properties.get("condaFile")
    try:
        conda = yaml.safe_load(conda) if isinstance(conda, str) else conda
    except (yaml.YAMLError, RecursionError):
        return None
    found: dict[str, str] = {}
    listed: list[Any] = list((conda or {}).get("dependencies") or []) if isinstance(conda, Mapping) or conda is None else []
    for entry in listed:
        inner: Sequence[Any] = entry.get("pip") or [] if isinstance(entry, Mapping) else [entry]
        prefix = "pip: " if isinstance(entry, Mapping) else ""
        for one in inner if isinstance(inner, list) else []:
            match = _NAME.fullmatch(plain.text(one))
            name, wanted = (prefix + match[1].lower(), match[2] or "any version") if match else (prefix + plain.text(one), "as named")
            found[name] = f"{found[name]}, {wanted}" if name in found else wanted
    return found
