"""Flexible federated credentials: an expression over an assertion's claims instead of one subject.

Source: https://learn.microsoft.com/entra/workload-id/workload-identities-flexible-federated-identity-credentials. The language has
``eq``, ``matches`` (``*`` for any text, ``?`` for one character) and ``and``; which claims it knows depends on the issuer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CLAUSE = re.compile(r"claims\['(\w+)'\] (eq|matches) '((?:[^']|'')*)'")
_AND = re.compile(r" and ")
_CLAIMS = [
    (re.compile(r"https://token\.actions\.githubusercontent\.com"), ("sub", "job_workflow_ref")),
    (re.compile(r"https://gitlab\.com|https://gitlab\.[^/.]+\.(com|ca)"), ("sub",)),
    (re.compile(r"https://app(\.eu)?\.terraform\.io"), ("sub",)),
]
"""Issuers that there are flexible credentials for, and the claims that may be looked at."""


class BadExpression(ValueError):
    """Why an expression cannot be."""


@dataclass(frozen=True)
class Clause:
    """One comparison of a claim; ``pattern`` has its quotes taken off."""

    claim: str
    operator: str
    pattern: str

    def holds(self, claims: Mapping[str, Any]) -> bool:
        """Whether an assertion's claim compares so, case and all."""
        value = claims.get(self.claim)
        if not isinstance(value, str):
            return False
        if self.operator == "eq":
            return value == self.pattern
        parts = {"*": ".*", "?": "."}
        return re.fullmatch("".join(parts.get(letter) or re.escape(letter) for letter in self.pattern), value, re.DOTALL) is not None


def parse(text: str, issuer: str) -> list[Clause]:
    """The comparisons of an expression, all of which have to hold. Raises BadExpression."""
    known = next((claims for pattern, claims in _CLAIMS if pattern.fullmatch(issuer.rstrip("/"))), None)
    if known is None:
        raise BadExpression(f"claims matching expressions are not supported for the issuer '{issuer}'")
    clauses, at = [], 0
    while match := _CLAUSE.match(text, at):
        claim, operator, pattern = match.groups()
        if claim not in known:
            raise BadExpression(f"the claim '{claim}' is not supported for the issuer '{issuer}'; supported are {', '.join(known)}")
        clauses.append(Clause(claim, operator, pattern.replace("''", "'")))
        at = match.end()
        if at == len(text):
            return clauses
        joint = _AND.match(text, at)
        if joint is None:
            break
        at = joint.end()
    raise BadExpression(f"the expression is malformed at character {at + 1}: '{text[at : at + 40]}'")


def accepts(credential: Mapping[str, Any], claims: Mapping[str, Any]) -> bool:
    """Whether a credential of the assertion's issuer accepts it: by its subject, or by its expression."""
    expression = credential.get("claimsMatchingExpression")
    if expression:
        return all(clause.holds(claims) for clause in parse(expression["value"], credential["issuer"]))
    return bool(credential["subject"] == str(claims.get("sub", "")))
