"""What a check found: which rule, where, and in which words."""

from __future__ import annotations

from typing import NamedTuple

from .nodes import Place


class Finding(NamedTuple):
    """One finding. `rule` is an id of `lint.rules`; the message says what is wrong and, where it is not plain, the fix."""

    at: Place
    rule: str
    message: str
