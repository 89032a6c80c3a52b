"""Findings in SARIF, the form that GitHub's code scanning and the SARIF tab of Azure DevOps show.

Sources: "Static Analysis Results Interchange Format (SARIF) Version 2.1.0" (docs.oasis-open.org), "SARIF support for code scanning"
(docs.github.com) for what of it GitHub reads: it takes results for the same by `primaryLocationLineHash` and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aml import ci

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
SHOWN = 1000  # characters of a message


@dataclass(frozen=True)
class Rule:
    """A kind of finding. `level` is error, warning or note; `severity` from 0 to 10 is how bad it is as a matter of security."""

    id: str
    level: str
    severity: float
    title: str
    why: str
    mend: str


@dataclass(frozen=True)
class Result:
    """One finding at a place in a file of the repository. `accepted` is the reason why it may stay."""

    rule: str
    level: str
    text: str
    fingerprint: str
    file: str
    line: int = 1
    column: int = 1
    accepted: str = ""


def document(tool: str, category: str, rules: Sequence[Rule], results: Iterable[Result], *, complete: bool = True) -> dict[str, Any]:
    """One run of one tool. The same findings make the same bytes, whenever they are found: there is no time and no random id in it.

    `category` keeps the findings of one subject apart from another's; `complete` is false if something could not be looked at.
    """
    numbers = {rule.id: number for number, rule in enumerate(rules)}
    run = {
        "tool": {"driver": {"name": tool, "rules": [_rule(rule) for rule in rules]}},
        "automationDetails": {"id": f"{category}/"},
        "invocations": [{"executionSuccessful": complete}],
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, numbers[one.rule]) for one in results],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.id.split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.title}. {rule.why}"},
        "help": {"text": f"{rule.why}\n\n{rule.mend}", "markdown": f"{rule.why}\n\n**Mend it.** {rule.mend}"},
        "defaultConfiguration": {"level": rule.level},
        "properties": {"tags": ["security"], "precision": "very-high", "security-severity": f"{rule.severity:.1f}"},
    }


def _result(one: Result, number: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ruleId": one.rule,
        "ruleIndex": number,
        "level": one.level,
        "message": {"text": _text(one.text)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": one.file, "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": one.line, "startColumn": one.column},
                }
            }
        ],
        "partialFingerprints": {"primaryLocationLineHash": one.fingerprint},
    }
    if one.accepted:
        made["suppressions"] = [{"kind": "external", "status": "accepted", "justification": _text(one.accepted)}]
    return made


def _text(text: str) -> str:
    # `[words](address)` in a message is a link to its readers (3.11.6), and the words here may be anybody's.
    plain = " ".join(ci.plain(text).split()).replace("](", "] (")
    return plain if len(plain) <= SHOWN else f"{plain[: SHOWN - 3]}..."
