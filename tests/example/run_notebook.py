"""Runs a notebook's cells in order, as Jupyter would, and prints what the last expression of each gives."""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path
from typing import Any


def run(notebook: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), names)
        if isinstance(last, ast.Expr) and (value := eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)) is not None:
            print(value, flush=True)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    os.chdir(path.parent)
    run(path)
