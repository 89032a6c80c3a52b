"""The tables of value_cases.py notice a change of the evaluator: more than a thousand small faults are put into a copy of it, in memory.

One fault at a time: a comparison turned, a `not` dropped, a cast left out, another constant, a condition reversed, a line deleted, nothing
returned. A table that lets one pass has a gap, or the fault changes nothing; those that change nothing are listed, each with its reason.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import value_cases
from azure_pipelines import expressions, functions, nodes, values

MODULES = {"values": values, "functions": functions, "expressions": expressions}
# A loop of a mutant that goes round more often than this does not end.
ROUNDS = 200_000

# What no value can show, as `module.function: old -> new`.
EQUIVALENT: dict[str, str] = {
    "expressions.Expression: True -> False": "names and functions are only counted among what is known, whatever they stand for",
    "expressions._Parser: ',' -> ''": "before the first token a value may begin, as after a comma, and nothing is in every text",
    "expressions._Parser: word.startswith -> word.endswith": "a string that is not closed is as wrong as a name that no name is",
    "expressions._function: 0 -> -1": "a tuple of one",
    "expressions._references: None -> ''": "`*` refers to nothing",
    "expressions._value: 0 -> -1": "a tuple of one",
    "expressions._walk: None -> ''": "`*` is no name and no function",
    "functions._ANY: 21000 -> 20999": "no expression has so many arguments",
    "functions._ANY: 21000 -> 21001": "no expression has so many arguments",
    "functions._format: 0 -> -1": "both braces are the same",
    "functions._format: 0 -> 1": "both braces are the same",
    "functions._join: '' -> 'X'": "what separates the items of a list of one",
    "functions._moment: '0' -> '0X'": "at most seven digits are taken",
    "functions._moment: 1 -> 0": "no letters are never looked up",
    "values.Version: 1 -> 2": "any number below zero says that a part was left out",
    "values._EXACT: 60 -> 59": "29 digits and 7 decimals are the most there can be",
    "values._EXACT: 60 -> 61": "29 digits and 7 decimals are the most there can be",
    "values._number: return Decimal(0) -> return 0": "compares like the Decimal",
    "values._number: return Decimal(value) -> return value": "a truth value compares like 0 and 1",
    "values._string: '.' -> '.X'": "a number has no X",
    "values._string: '0' -> '0X'": "a number has no X",
    "values.member: 0 -> -1": "a list of one",
}

COMPARISONS: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.BitOr: ast.BitAnd}
CASTS = {"text", "number", "truthy", "folded", "convert", "version", "str", "int", "Decimal", "bool", "list", "float", "tuple", "_key"}
NAMES = {"any": "all", "all": "any", "lower": "upper", "upper": "lower", "startswith": "endswith", "endswith": "startswith", "max": "min"}
DROPPED = {"strip", "lower", "upper", "rstrip"}  # methods without which a text stays as it is


class Endless(Exception):
    """A loop that would not end."""


@dataclass(frozen=True)
class Mutant:
    """One fault: how to put it into the tree, and how to take it out."""

    name: str
    apply: Callable[[], None]
    undo: Callable[[], None]


class _Rounds(ast.NodeTransformer):
    """Count the rounds of every `while`."""

    def visit_While(self, node: ast.While) -> ast.While:
        self.generic_visit(node)
        node.body.insert(0, ast.copy_location(ast.Expr(ast.Call(ast.Name("_round", ast.Load()), [], [])), node))
        return node


class _Copy:
    """A copy of the evaluator in memory. A changed statement replaces its own, and what other modules took from it."""

    def __init__(self) -> None:
        self.trees: dict[str, ast.Module] = {}
        self.spaces: dict[str, dict[str, Any]] = {}
        self.made: dict[str, ModuleType] = {}
        self.rounds = 0
        for name, module in MODULES.items():
            tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
            self.trees[name] = ast.fix_missing_locations(_Rounds().visit(tree))
            made = self.made[name] = sys.modules[f"mutated.{name}"] = ModuleType(f"mutated.{name}")
            made.__dict__.update(__package__="mutated", _round=self.round)
            exec(compile(self.trees[name], name, "exec"), made.__dict__)
            self.spaces[name] = dict(made.__dict__)
        self.table = self.trees["functions"].body[-1]
        self.functions = compile(ast.Module([self.table], []), "functions", "exec")

    def round(self) -> None:
        self.rounds += 1
        if self.rounds > ROUNDS:
            raise Endless

    def put(self, name: str, statement: ast.stmt) -> None:
        """Run a statement of a module again."""
        self.rounds = 0
        exec(compile(ast.Module([statement], []), name, "exec"), self.made[name].__dict__)
        self.pass_on(name)
        if name != "expressions" and statement is not self.table:
            exec(self.functions, self.made["functions"].__dict__)
            self.pass_on("functions")

    def pass_on(self, name: str) -> None:
        """What changed in a module changes in those that imported it."""
        for other, made in self.made.items():
            for key, old in self.spaces[name].items():
                new = self.made[name].__dict__.get(key)
                if other != name and made.__dict__.get(key) is old and new is not old:
                    made.__dict__[key] = new

    def restore(self) -> None:
        for name, made in self.made.items():
            made.__dict__.update(self.spaces[name])


@pytest.fixture
def copy() -> Iterator[_Copy]:
    package = ModuleType("mutated")
    package.__path__ = []
    sys.modules.update({"mutated": package, "mutated.nodes": nodes})
    yield _Copy()
    for name in [name for name in sys.modules if name.partition(".")[0] == "mutated"]:
        del sys.modules[name]


def _mutants(tree: ast.Module, module: str) -> Iterator[tuple[ast.stmt, Mutant]]:
    for statement in tree.body[1:]:  # after the docstring
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            continue
        names = [getattr(statement, "name", ""), *(ast.unparse(target) for target in getattr(statement, "targets", []))]
        where = next((name for name in names if name), ast.unparse(statement).partition(":")[0])
        skipped = set(_not_run(statement))
        for node in ast.walk(statement):
            if id(node) not in skipped:
                for name, apply, undo in _changes(node, skipped):
                    yield statement, Mutant(f"{module}.{where}: {name}", apply, undo)


def _not_run(function: ast.AST) -> Iterator[int]:
    """Docstrings and annotations."""
    for node in ast.walk(function):
        parts: list[ast.AST | None] = []
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)) and ast.get_docstring(node):
            parts.append(node.body[0])
        if isinstance(node, ast.FunctionDef):
            parts += [node.returns, *node.decorator_list]
        if isinstance(node, ast.ClassDef):
            parts += node.decorator_list
        if isinstance(node, ast.arg):
            parts.append(node.annotation)
        if isinstance(node, ast.AnnAssign):
            parts += [node.annotation, node.value if "TypeAlias" in ast.dump(node.annotation) else None]
        for part in parts:
            yield from (id(inner) for inner in ast.walk(part) if part) if part else ()


def _changes(node: ast.AST, skipped: set[int]) -> Iterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    def swap(owner: Any, field: str, new: Any) -> tuple[str, Callable[[], None], Callable[[], None]]:
        old, before = getattr(owner, field), ast.unparse(node)
        setattr(owner, field, new)
        ast.fix_missing_locations(node)
        after = ast.unparse(node)
        setattr(owner, field, old)
        return (
            f"{before.splitlines()[0]} -> {after.splitlines()[0]}",
            lambda: setattr(owner, field, new),
            lambda: setattr(owner, field, old),
        )

    def located(new: Any) -> Any:
        return ast.fix_missing_locations(ast.copy_location(new, node))

    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                yield swap(node, "ops", [*node.ops[:index], other(), *node.ops[index + 1 :]])
    if isinstance(node, ast.BoolOp):
        yield swap(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
        for index in range(len(node.values)):
            rest = [*node.values[:index], *node.values[index + 1 :]]
            yield swap(node, "values", rest)
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in OPERATORS:
        yield swap(node, "op", OPERATORS[type(node.op)]())
    if isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield swap(node, "test", located(ast.UnaryOp(ast.Not(), node.test)))
    if isinstance(node, ast.Constant) and node.value is not ...:
        for new in _constants(node.value):
            yield swap(node, "value", new)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in NAMES:
        yield swap(node, "id", NAMES[node.id])
    if isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield swap(node, "attr", NAMES[node.attr])
    if isinstance(node, ast.Return) and node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        yield swap(node, "value", located(ast.Constant(None)))
    for field, value in ast.iter_fields(node):
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            new = _without(item)
            if new is not None and id(item) not in skipped:
                yield swap(node, field, [*value[:index], new, *value[index + 1 :]] if isinstance(value, list) else new)


def _constants(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    if isinstance(value, str):
        return [value + "X", ""] if value else ["X"]
    return [""] if value is None else []


def _without(item: object) -> Any:
    """The item without its cast, its `not`, its method; a statement that does nothing."""
    if isinstance(item, ast.Call) and isinstance(item.func, ast.Name) and item.func.id in CASTS and item.args:
        return item.args[0]
    if isinstance(item, ast.UnaryOp) and isinstance(item.op, ast.Not):
        return item.operand
    if isinstance(item, ast.Call) and isinstance(item.func, ast.Attribute) and item.func.attr in DROPPED:
        return item.func.value
    rounds = isinstance(item, ast.Expr) and "_round" in ast.unparse(item)
    if isinstance(item, (ast.Raise, ast.Continue, ast.Break, ast.AugAssign, ast.Expr, ast.Assign)) and not rounds:
        return ast.copy_location(ast.Pass(), item)
    return None


def _noticed(copy: _Copy, name: str, statement: ast.stmt, cases: list[Any]) -> bool:
    """Whether a case breaks with the changed statement. It goes to the front then: it is likely to notice the next fault too."""
    try:
        copy.put(name, statement)
    except Exception:
        return True
    for index, case in enumerate(cases):
        try:
            wrong = value_cases.broken(copy.made["expressions"], copy.made["values"], case)
        except Exception as error:
            wrong = repr(error)
        if wrong:
            cases.insert(0, cases.pop(index))
            return True
    return False


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_every_fault_is_noticed(copy: _Copy, record_property: Callable[[str, object], None]) -> None:
    cases = list(value_cases.cases())
    assert not any(_noticed(copy, name, tree.body[-1], cases) for name, tree in copy.trees.items()), "the copy without a fault passes"
    mutants = [(name, *mutant) for name, tree in copy.trees.items() for mutant in _mutants(tree, name)]
    survived = []
    for name, statement, mutant in mutants:
        mutant.apply()
        try:
            if not _noticed(copy, name, statement, cases):
                survived.append(mutant.name)
        finally:
            mutant.undo()
            copy.restore()
    record_property("mutants", len(mutants))
    record_property("noticed", len(mutants) - len(survived))
    print(f"{len(mutants)} mutants, {len(mutants) - len(survived)} noticed, {len(survived)} change nothing")
    assert sorted(set(survived) ^ set(EQUIVALENT)) == []
