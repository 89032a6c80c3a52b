"""What a statement says, for people: a section of the run's summary, and test results in JUnit's form.

Names, messages and figures in a statement come from jobs, models and endpoints, so all of them may be hostile. In the summary each
character that Markdown or HTML could take for its own is a numeric character reference, which stands for itself and for nothing else
(CommonMark, "Entity and numeric character references"); in JUnit's form the characters that XML forbids are left out (XML 1.0, 2.2).
Source of JUnit's form, as Azure DevOps reads it: "Publish Test Results v2 task", result formats (learn.microsoft.com/azure/devops).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from aml import ci

ROWS = 50  # findings, and figures and facts, in a section; a summary of GitHub's may have 1 MiB a step
SHOWN = 300  # characters of a value in a section
KEPT = 10_000  # characters of a value in a test result

_MARKDOWN = re.compile(r"[^\w\s.,;/=+%'\"-]|(?<![^\W_])_|_(?![^\W_])")
_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def section(statement: Mapping[str, Any]) -> str:
    """A statement as Markdown: verb, workspace and verdict, what it is about, the findings as a table, figures and plain facts."""
    said, [subject] = statement["predicate"], statement["subject"]
    lines = [f"### {safe(said['verb'])} in {safe(said['workspace'])}: {_verdict(said['verdict'] == 'passed')}", ""]
    lines.append(f"About {safe(subject['name'])}, sha256 {safe(subject['digest']['sha256'])}.")
    if said["findings"]:
        lines += ["", "| | check | found |", "| --- | --- | --- |", *_rows(said["findings"])]
    values = [(name, value) for part in ("figures", "facts") for name, value in said[part].items() if _shown(value)]
    if values:
        lines += ["", *(f"- **{safe(name) or '?'}**: {safe(_shown(value))}" for name, value in values[:ROWS])]
        lines += _more(len(values))
    links = {name: quote(url, safe="/:?&=%#+,;@~") for name, url in said["links"].items() if name != "run" and url.startswith("https://")}
    if links:
        lines += ["", " ".join(f"[{safe(name)}]({url})" for name, url in links.items())]
    return "\n".join(lines) + "\n"


def _rows(findings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    named = list(zip(names(findings), findings, strict=True))
    if len(named) > ROWS:
        named.sort(key=lambda pair: bool(pair[1]["passed"]))  # what failed is seen
    for name, finding in named[:ROWS]:
        yield f"| {_verdict(bool(finding['passed']))} | {safe(name)} | {safe(says(finding))} |"
    yield from _more(len(named))


def _more(count: int) -> list[str]:
    return ["", f"And {count - ROWS} more, which the evidence has."] if count > ROWS else []


def _verdict(passed: bool) -> str:
    return "passed" if passed else "**failed**"


def _shown(value: Any) -> str:
    # A document inside a statement is for machines; a split of traffic is for people, too.
    if isinstance(value, Mapping):
        numbers = all(isinstance(inner, (int, float)) for inner in value.values())
        return ", ".join(f"{key} {inner}" for key, inner in value.items()) if numbers else ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None or isinstance(value, (list, tuple)) else str(value)


def safe(value: Any, limit: int = SHOWN) -> str:
    """Text that somebody else wrote, in one line of Markdown or HTML, as itself; of more than `limit` characters the beginning."""
    return _MARKDOWN.sub(lambda found: f"&#{ord(found[0])};", _cut(value, limit))


def _cut(value: Any, limit: int) -> str:
    text = " ".join(ci.plain(str(value)).split())
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def names(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each finding, no two the same and no run's own, so that results of runs can be compared."""
    made: dict[str, None] = {}
    for number, finding in enumerate(findings, 1):
        first = str(finding.get("name") or finding.get("rule") or (f"at {finding['percent']} %" if "percent" in finding else number))
        name, again = first, 1
        while name in made:
            again += 1
            name = f"{first} ({again})"
        made[name] = None
    return list(made)


def says(finding: Mapping[str, Any]) -> str:
    """What was found, in one line: the finding's own sentence, or else what it has."""
    if finding.get("says"):
        return str(finding["says"])
    parts = [*map(str, finding.get("problems") or ())]
    known = ("name", "rule", "passed", "problems", "percent")
    parts += [f"{key} = {value}" for key, value in finding.items() if key not in known and value not in (None, "", [], ())]
    return "; ".join(parts)


def junit(statement: Mapping[str, Any]) -> bytes:
    """A statement's findings as test results: one test case each. One more says the verdict if that failed and no finding did."""
    said = statement["predicate"]
    suite = ElementTree.Element("testsuite", name=_legal(f"{said['verb']} in {said['workspace']}"), timestamp=said["started"].rstrip("Z"))
    findings: list[Mapping[str, Any]] = list(said["findings"])
    if said["verdict"] != "passed" and all(finding["passed"] for finding in findings):
        findings.append({"name": "the verdict", "passed": False, "says": str(said["facts"].get("error") or said["verdict"])})
    for name, finding in zip(names(findings), findings, strict=True):
        case = ElementTree.SubElement(suite, "testcase", name=_legal(name), classname=_legal(f"{said['verb']}.{said['workspace']}"))
        if isinstance(seconds := finding.get("seconds"), (int, float)):
            case.set("time", f"{seconds:.3f}")
        found = _legal(says(finding))
        if finding["passed"]:
            ElementTree.SubElement(case, "system-out").text = found
        else:
            ElementTree.SubElement(case, "failure", message=found).text = found
    suite.set("tests", str(len(findings)))
    suite.set("failures", str(sum(not finding["passed"] for finding in findings)))
    ElementTree.indent(suite)
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)) + b"\n"


def _legal(text: str) -> str:
    return _XML.sub("", _cut(text, KEPT))
