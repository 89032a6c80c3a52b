"""Where a sweep looks: parameter distributions, and the next point to try.

Source: https://learn.microsoft.com/azure/machine-learning/how-to-tune-hyperparameters#define-the-search-space. Random sampling draws each
parameter by itself; grid sampling takes every combination of choices in turn. Bayesian sampling draws at random too: it does not learn
from the trials before.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from typing import Any

# name: the fields of the form that pipelines send, in the order of the list that sweep jobs send
_FIELDS = {
    "choice": ("values",),
    "randint": ("upper",),
    "uniform": ("min_value", "max_value"),
    "quniform": ("min_value", "max_value", "q"),
    "loguniform": ("min_value", "max_value"),
    "qloguniform": ("min_value", "max_value", "q"),
    "normal": ("mu", "sigma"),
    "qnormal": ("mu", "sigma", "q"),
    "lognormal": ("mu", "sigma"),
    "qlognormal": ("mu", "sigma", "q"),
}


def parameters(space: dict[str, Any]) -> dict[str, tuple[str, list[Any]]]:
    """The distribution and its arguments of each parameter, from either form that clients send. ValueError names what cannot be read."""
    found: dict[str, tuple[str, list[Any]]] = {}
    for name, given in space.items():
        if isinstance(given, dict):
            kind = str(given.get("type"))
            arguments = [given.get(field) for field in _FIELDS.get(kind, ())]
        elif isinstance(given, list) and len(given) == 2 and isinstance(given[1], list):
            kind, arguments = str(given[0]), given[1]
        else:
            raise ValueError(f"search space parameter '{name}' has no distribution")
        if kind not in _FIELDS:
            raise ValueError(f"search space parameter '{name}': '{kind}' is not a distribution; it is one of {', '.join(_FIELDS)}")
        if len(arguments) != len(_FIELDS[kind]) or any(argument is None for argument in arguments):
            raise ValueError(f"search space parameter '{name}': {kind} needs {', '.join(_FIELDS[kind])}")
        found[name] = (kind, arguments)
    return found


def points(space: dict[str, Any], algorithm: str, seed: int | None) -> Iterator[dict[str, Any]]:
    """The points to try, without end for random sampling. ValueError for a grid over something that is no choice."""
    known = parameters(space)
    if algorithm.lower() == "grid":
        for name, (kind, _) in known.items():
            if kind != "choice":
                raise ValueError(f"grid sampling takes choices only, and '{name}' is {kind}")
        for values in itertools.product(*(arguments[0] for _, arguments in known.values())):
            yield dict(zip(known, values, strict=True))
        return
    source = random.Random(seed)
    while True:
        yield {name: _draw(kind, arguments, source) for name, (kind, arguments) in known.items()}


def _draw(kind: str, arguments: list[Any], source: random.Random) -> Any:
    if kind == "choice":
        return source.choice(arguments[0])
    if kind == "randint":
        return source.randrange(int(arguments[0]))
    first, second = float(arguments[0]), float(arguments[1])
    value = source.gauss(first, second) if kind.endswith("normal") else source.uniform(first, second)
    if "log" in kind:
        value = math.exp(value)
    return round(value / float(arguments[2])) * float(arguments[2]) if kind.startswith("q") else value
