"""From a pipeline and its templates to the one document that the service runs: expressions evaluated, templates included.

https://learn.microsoft.com/azure/devops/pipelines/process/template-expressions and
https://learn.microsoft.com/azure/devops/pipelines/process/templates. Of several faults the first is told.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from typing import TypeAlias

from .expressions import Expression, Scope, parse
from .nodes import Directive, Fault, Mapping, Node, Place, Sequence, Text, load
from .parameters import PARTS, SCALARS, bind, declared
from .repositories import File, Repository, resolve
from .values import Mistake, Value, folded, shown, text, truthy

# "Imposed limits" of the page on templates.
_MOST_FILES, _DEEPEST, _LONGEST = 100, 100, 20 * 2**20
_DIRECTIVE = re.compile(r"(if|elseif|else|each|insert)(?:\s+(.*))?", re.DOTALL)
_EACH = re.compile(r"([A-Za-z_]\w*)\s+in\s+(.*)", re.DOTALL)

# What stands where: the part of a pipeline under a key of another part, and the items of a list.
_PARTS: dict[str, dict[str, str]] = {
    "pipeline": {"stages": "stages", "jobs": "jobs", "steps": "steps", "variables": "variables", "resources": "resources"}
    | dict.fromkeys(("trigger", "pr", "schedules"), "literal"),
    "stage": {"jobs": "jobs", "variables": "variables"},
    "job": {"steps": "steps", "variables": "variables", "strategy": "strategy"},
    "strategy": dict.fromkeys(("runOnce", "rolling", "canary"), "hooks"),
    "hooks": dict.fromkeys(("preDeploy", "deploy", "routeTraffic", "postRouteTraffic"), "hook") | {"on": "hooks"},
    "hook": {"steps": "steps"},
    "resources": {"repositories": "repositories"},
}
_PARTS["hooks"] |= dict.fromkeys(("success", "failure"), "hook")
_ITEMS = {"stages": "stage", "jobs": "job", "steps": "step", "variables": "variable"}
_LEVELS = {"pipeline", "stage", "job"}  # where variables are declared
# Keys of a root; those of a pipeline that is one job are among them.
_EXTENDED = {"trigger", "resources", "variables", "stages", "jobs", "steps", "extends"}
_ROOT = _EXTENDED | {"name", "appendCommitMessageToRunName", "pr", "schedules", "pool", "lockBehavior", "strategy", "continueOnError"}
# Parts without expressions, but for these keys; a branch or tag may be one since 2024.
_LITERAL: dict[str, set[str]] = {"literal": set(), "repositories": {"ref"}}
_ROOT |= {"container", "services", "workspace"}


@dataclass
class Expanded:
    """A pipeline without templates and without `${{ }}`.

    `document` has the keys of the root as written, steps in their short form; `parameters` are the pipeline's own, as they were resolved;
    `files` every file that was read, the pipeline first; `extends` the templates it extends, the outermost first.
    """

    document: Mapping
    parameters: dict[str, Value]
    files: list[str]
    extends: list[str]


def expand(
    repositories: Map[str, Repository],
    file: str,
    *,
    parameters: Map[str, object] | None = None,
    variables: Map[str, str] | None = None,
    groups: Map[str, Map[str, str]] | None = None,
    text: str | None = None,
) -> Expanded:
    """Expand the pipeline `file` of the repository `self`.

    `parameters` are given when a run is queued, `variables` the system's that are known then (Build.Reason, ...), `groups` the variable
    groups there are (None: any); their values are for the run and not visible here. `text` stands for the file's content. Raises Fault.
    """
    # A hundred levels of templates are more than Python's usual thousand calls.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))
    return _Expander(repositories, variables or {}, groups).pipeline(file.lstrip("/"), parameters or {}, text)


@dataclass(frozen=True)
class _Context:
    """Where a node stands: in which file, what its expressions see, and how it was reached; `literal` was evaluated before."""

    file: File
    names: dict[str, Value]
    variables: dict[str, Value]
    reached: tuple[tuple[str, str], ...] = ()
    literal: bool = False

    def scope(self) -> Scope:
        return Scope({"variables": self.variables, **self.names})


_Placed: TypeAlias = tuple[Mapping, _Context]
_Pair: TypeAlias = tuple[Text, Node, _Context]  # a key, its value, and where the value stands


@dataclass
class _Chain:
    """An if and what may follow it. `done`: None where none was begun, else whether a branch was taken."""

    done: bool | None = None


@dataclass
class _Expander:
    repositories: Map[str, Repository]
    system: Map[str, str]
    groups: Map[str, Map[str, str]] | None
    files: dict[str, Mapping] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)
    extends: list[str] = field(default_factory=list)
    characters: int = 0

    def pipeline(self, path: str, given: Map[str, object], content: str | None) -> Expanded:
        file = File(self.repositories["self"], path)
        document = self.load(file, Text(path, Place(str(file), 1, 1)), content)
        known = declared(document.under("parameters"), template=False)
        older = isinstance(document.under("parameters"), Mapping)
        nodes = []
        for name, value in given.items():
            at = next((parameter.name.at for parameter in known if parameter.name.lower() == name.lower()), document.at)
            wanted = next((parameter.type for parameter in known if parameter.name.lower() == name.lower()), "string")
            # The REST API takes strings alone: a list or a map comes as YAML.
            whole = isinstance(value, str) and wanted not in SCALARS
            nodes.append((Text(name, at), load(str(value), str(file)) if whole else node_of(value, at)))
        names = {name.lower() for name in given}
        required = (parameter.name for parameter in known if parameter.default is None and parameter.name.lower() not in names)
        missing = next((name.at for name in required), document.at)
        bound = bind(known, nodes, missing, older=older)
        context = _Context(file, {"parameters": bound}, dict(self.system))
        expanded = self.root(document, context, _ROOT)
        return Expanded(expanded, dict(bound), list(self.files), self.extends)

    def root(self, document: Mapping, context: _Context, allowed: set[str]) -> Mapping:
        """The root of a pipeline, or of a template that one extends."""
        body = Mapping(((key, value) for key, value in document.items() if key != "parameters"), document.at)
        made = self.mapping(body, context, "pipeline")
        for key in made:
            if key not in allowed:
                raise Fault(f"Unexpected value '{key}'", key.at)
        return made

    def load(self, file: File, at: Text, content: str | None = None) -> Mapping:
        """A file, read once, its expressions checked for their syntax even where no branch reaches them."""
        name = str(file)
        if name not in self.files:
            if len(self.files) >= _MOST_FILES:
                raise Fault(f"No more than {_MOST_FILES} YAML files may be included", at.at)
            document = load(file.read(at) if content is None else content, name)
            if not isinstance(document, Mapping):
                raise Fault("A mapping was expected", document.at)
            _check(document)
            _literal(document.under("parameters") or Text("", document.at), set())
            self.files[name] = document
        return self.files[name]

    # -- nodes

    def node(self, node: Node, context: _Context, part: str) -> Node:
        if part in _LITERAL and not context.literal:
            _literal(node, _LITERAL[part])
        if isinstance(node, Mapping):
            return self.mapping(node, context, part)
        if isinstance(node, Sequence):
            return Sequence(self.items(node, context, part), node.at)
        return self.scalar(node, context, part)

    def scalar(self, node: Text, context: _Context, part: str) -> Node:
        """A value that is one expression becomes what it evaluates to; text around an expression makes it text."""
        self.characters += len(node)
        if self.characters > _LONGEST:
            raise Fault(f"The pipeline is larger than {_LONGEST} characters", node.at)
        if context.literal or "${{" not in node:
            return node
        pieces = _pieces(node)
        if len(pieces) == 1 and isinstance(pieces[0], Expression):
            made = node_of(pieces[0].evaluate(context.scope()), node.at)
            return self.node(made, replace(context, literal=True), part)
        return Text(self.written(pieces, context, node.at), node.at, plain=False)

    def written(self, pieces: list[str | Expression], context: _Context, at: Place) -> str:
        try:
            return "".join(piece if isinstance(piece, str) else text(piece.evaluate(context.scope())) for piece in pieces)
        except Mistake as mistake:
            raise Fault(str(mistake), at) from None

    def mapping(self, node: Mapping, context: _Context, part: str) -> Mapping:
        return self.build(*self.level([(node, context)], part), node.at, part)

    def level(self, maps: list[_Placed], part: str) -> tuple[Iterator[_Pair], dict[int, Node]]:
        """The pairs of maps that make one, and what is expanded before: variables, which what stands beside them sees, and resources."""
        early: dict[int, Node] = {}
        if part in _LEVELS:
            own = dict(maps[0][1].variables)
            maps = [(node, replace(context, variables=own)) for node, context in maps]
            for node, context in maps:
                for key in ("resources", "variables"):
                    if (value := node.under(key)) is not None:
                        early[id(value)] = self.node(value, context, _PARTS[part].get(key, ""))
        return chain.from_iterable(self.pairs(node, context) for node, context in maps), early

    def build(self, pairs: Iterable[_Pair], early: dict[int, Node], at: Place, part: str) -> Mapping:
        made = Mapping((), at)
        for key, value, context in pairs:
            if part in _ITEMS.values() and key == "template":
                raise Fault("'template' must be the first property", key.at)
            if part == "pipeline" and key == "extends":
                for name, inner in self.extended(value, context).items():
                    _add(made, name, inner)
                continue
            expanded = early[id(value)] if id(value) in early else self.node(value, context, _PARTS.get(part, {}).get(key, ""))
            _add(made, key, expanded)
            if part == "variables":
                _set(context.variables, key, expanded)
            if part == "resources" and key == "repositories" and isinstance(expanded, Sequence):
                self.aliases += _aliases(expanded)
        return made

    def pairs(self, node: Mapping, context: _Context) -> Iterator[_Pair]:
        """The keys of a map, with what its directives put among them."""
        state = _Chain()
        for key, value in node.items():
            word = None if context.literal else _word(key)
            if word is None:
                state.done = None
                name = key
                if "${{" in key and not context.literal:
                    name = Text(self.written(_pieces(key), context, key.at), key.at, plain=False)
                yield name, value, context
                continue
            for inner, where in [(value, context)] if word == "insert" else self.taken(key, value, context, state):
                found, where = self.evaluated(inner, where)
                if isinstance(found, Mapping):
                    yield from self.pairs(found, where)
                elif found is not None:
                    raise Fault("Expected a mapping", found.at)

    def items(self, node: Sequence, context: _Context, part: str) -> Iterator[Node]:
        """The items of a list, with what its directives, expressions and templates put among them."""
        state = _Chain()
        for item in node:
            if isinstance(item, Mapping) and item and not context.literal and all(_word(key) not in (None, "insert") for key in item):
                yield from self.block(item, context, part, state)
                continue
            state.done = None
            if isinstance(item, Text) and not context.literal and "${{" in item:
                made = self.scalar(item, context, "")
                if isinstance(made, Sequence):
                    yield from self.items(made, replace(context, literal=True), part)
                elif isinstance(made, Mapping):
                    yield from self.item([(made, replace(context, literal=True))], part)
                else:
                    yield made
            elif isinstance(item, Mapping):
                yield from self.item([(item, context)], part)
            else:
                yield self.node(item, context, "")

    def block(self, item: Mapping, context: _Context, part: str, state: _Chain) -> Iterator[Node]:
        """An item that is nothing but directives: lists under them join the list, maps under them become one item."""
        maps: list[_Placed] = []
        for key, value in item.items():
            for inner, where in self.taken(key, value, context, state):
                found, where = self.evaluated(inner, where)
                if isinstance(found, Sequence):
                    yield from self.items(found, where, part)
                elif isinstance(found, Mapping):
                    maps.append((found, where))
                elif found is not None:
                    raise Fault("Expected a sequence or mapping", found.at)
        if maps:
            yield from self.item(maps, part)

    def item(self, maps: list[_Placed], part: str) -> Iterator[Node]:
        """The item that maps make together, or what the template in it stands for."""
        pairs, early = self.level(maps, _ITEMS.get(part, ""))
        first = next(pairs, None)
        if first and first[0] == "template" and part in _ITEMS:
            yield from self.included(first, pairs, part)
            return
        made = self.build(chain([first], pairs) if first else (), early, maps[0][0].at, _ITEMS.get(part, ""))
        if part == "variables":
            self.variable(made, maps[0][1])
        yield made

    def variable(self, made: Mapping, context: _Context) -> None:
        if "name" in made:
            _set(context.variables, str(made.under("name")), made.under("value"))
        group = made.under("group")
        if group is not None and self.groups is not None and group not in self.groups:
            why = "The variable group does not exist or has not been authorized for use."
            raise Fault(f"Variable group {group} could not be found. {why}", group.at)

    def evaluated(self, node: Node, context: _Context) -> tuple[Node | None, _Context]:
        """What stands under a directive: a map or a list, an expression that makes one, or nothing."""
        if isinstance(node, Text) and "${{" in node and not context.literal:
            node, context = self.scalar(node, context, ""), replace(context, literal=True)
        return (None if isinstance(node, Text) and node == "" and node.plain else node), context

    def taken(self, key: Text, value: Node, context: _Context, state: _Chain) -> Iterator[tuple[Node, _Context]]:
        """The value under a directive, once for each time that it counts."""
        word, rest = _directive(key)
        if word == "each":
            state.done = None
            name, over = _EACH.fullmatch(rest).groups()  # type: ignore[union-attr]
            for item in _elements(_parsed(over, key.at).evaluate(context.scope()), key.at):
                yield value, replace(context, names={**context.names, name: item})
            return
        if word == "if":
            state.done = False
        elif state.done is None:
            raise Fault(f"The expression directive '{word}' is not supported in this context: it follows no 'if'", key.at)
        take = not state.done and (word == "else" or truthy(_parsed(rest, key.at).evaluate(context.scope())))
        state.done = None if word == "else" else state.done or take
        if take:
            yield value, context

    # -- templates

    def included(self, first: _Pair, rest: Iterable[_Pair], part: str) -> Iterator[Node]:
        """The items that `- template:` stands for."""
        _, document, context = self.template([first, *rest])
        body = Mapping(((key, value) for key, value in document.items() if key != "parameters"), document.at)
        for key, value, where in self.pairs(body, context):
            if key != part:
                raise Fault(f"Unexpected value '{key}'", key.at)
            made = self.node(value, where, part)
            if isinstance(made, Mapping) and part == "variables":
                names = ((Text("name", name.at), Text("value", name.at), name, item) for name, item in made.items())
                yield from (Mapping([(name, key), (value, item)], key.at) for name, value, key, item in names)
            elif isinstance(made, Sequence):
                yield from made
            elif made != "":
                raise Fault("A sequence was expected", made.at)

    def extended(self, node: Node, context: _Context) -> Mapping:
        """The root of the template that a pipeline extends."""
        if not isinstance(node, Mapping):
            raise Fault("A mapping was expected", node.at)
        pairs = list(self.pairs(node, context))
        pairs.sort(key=lambda pair: pair[0] != "template")
        if not pairs or pairs[0][0] != "template":
            raise Fault("Expected 'template'", node.at)
        before = len(self.extends)
        file, document, inner = self.template(pairs)
        self.extends.insert(before, str(file))
        return self.root(document, inner, _EXTENDED)

    def template(self, pairs: list[_Pair]) -> tuple[File, Mapping, _Context]:
        """The file that is named, and what its expressions see."""
        _, named, context = pairs[0]
        reference = self.node(named, context, "")
        if not isinstance(reference, Text) or not reference:
            raise Fault("Expected a scalar value", reference.at)
        file = resolve(reference, context.file, self.repositories, self.aliases)
        document = self.load(file, reference)
        resources = document.under("resources")  # of an extended template; what it is given may name them
        self.aliases += _aliases(resources.under("repositories")) if isinstance(resources, Mapping) else []
        node = document.under("parameters")
        known = declared(node, template=True)
        types = {parameter.name.lower(): parameter.type for parameter in known}
        arguments: list[tuple[Text, Node]] = []
        at = reference.at
        for key, value, where in pairs[1:]:
            if key != "parameters":
                raise Fault(f"Unexpected value '{key}'", key.at)
            found, where = self.evaluated(value, where)
            if found is not None and not isinstance(found, Mapping):
                raise Fault("A mapping was expected", found.at)
            at = value.at
            for name, argument, inner in self.pairs(found, where) if found is not None else ():
                arguments.append((name, self.node(argument, inner, PARTS.get(types.get(name.lower(), ""), ""))))
        bound = bind(known, arguments, at, older=not isinstance(node, Sequence))
        step = (str(file), repr(bound))
        if step in context.reached:
            path = " -> ".join([*(name for name, _ in context.reached), str(file)])
            raise Fault(f"The template includes itself: {path}", reference.at)
        if len(context.reached) >= _DEEPEST:
            raise Fault(f"No more than {_DEEPEST} levels of templates may be nested", reference.at)
        return file, document, _Context(file, {"parameters": bound}, context.variables, (*context.reached, step))


def _aliases(repositories: Node | None) -> list[str]:
    """The names of repository resources."""
    items = repositories if isinstance(repositories, Sequence) else ()
    return [str(item.under("repository")) for item in items if isinstance(item, Mapping) and "repository" in item]


def node_of(value: object, at: Place) -> Node:
    """A value as YAML. Strings stay strings; what came from a file keeps its place."""
    if isinstance(value, (Text, Sequence, Mapping)):
        return value
    if isinstance(value, Map):
        return Mapping(((Text(str(key), at, plain=False), node_of(item, at)) for key, item in value.items()), at)
    if isinstance(value, (list, tuple)):
        return Sequence((node_of(item, at) for item in value), at)
    return Text(text(value), at, plain=value is None or isinstance(value, (bool, int, float, Decimal)))


def _check(node: Node) -> None:
    """Raise Fault for an expression that can't be parsed, wherever it stands."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if _word(key) is None:
                _pieces(key)
            else:
                _directive(key)
            _check(value)
    elif isinstance(node, Sequence):
        for item in node:
            _check(item)
    else:
        _pieces(node)


def _literal(node: Node, but: set[str]) -> None:
    """Raise Fault for an expression where the service takes none."""
    if isinstance(node, Text):
        if "${{" in node:
            raise Fault("A template expression is not allowed in this context", node.at)
    elif isinstance(node, Sequence):
        for item in node:
            _literal(item, but)
    else:
        for key, value in node.items():
            _literal(key, but)
            if key not in but:
                _literal(value, but)


@lru_cache(maxsize=4096)
def _parsed(written: str, at: Place) -> Expression:
    return parse(written, at)


def _pieces(node: Text) -> list[str | Expression]:
    """Text and expressions in turn. Braces in a string of an expression don't end it."""
    pieces: list[str | Expression] = []
    at = 0
    while (start := node.find("${{", at)) >= 0:
        quoted, end = False, start + 3
        while end < len(node) and (quoted or not node.startswith("}}", end)):
            quoted ^= node[end] == "'"
            end += 1
        if end >= len(node):
            raise Fault(
                "The expression is not closed. An unescaped ${{ sequence was found, but the closing }} sequence was not found.", node.at
            )
        if start > at:
            pieces.append(str(node[at:start]))
        inner = str(node[start + 3 : end]).strip()
        if word := _DIRECTIVE.fullmatch(inner):
            raise Fault(f"The expression directive '{word[1]}' is not supported in this context", node.at)
        pieces.append(_parsed(inner, node.at))
        at = end + 2
    return [*pieces, str(node[at:])] if at < len(node) or not pieces else pieces


def _word(key: Text) -> str | None:
    """if, elseif, else, each or insert, where the key is one of these."""
    if not isinstance(key, Directive) or not key.endswith("}}"):
        return None
    found = _DIRECTIVE.fullmatch(key[3:-2].strip())
    return found[1] if found else None


def _directive(key: Text) -> tuple[str, str]:
    word, rest = _DIRECTIVE.fullmatch(key[3:-2].strip()).groups()  # type: ignore[union-attr]
    rest = (rest or "").strip()
    if word in ("else", "insert"):
        if rest:
            raise Fault(f"Exactly 0 parameter(s) were expected following the directive '{word}'", key.at)
    elif word == "each":
        found = _EACH.fullmatch(rest)
        if not found:
            raise Fault("Expected 'each NAME in EXPRESSION'", key.at)
        _parsed(found[2], key.at)
    else:
        _parsed(rest, key.at)
    return word, rest


def _elements(value: Value, at: Place) -> Iterable[Value]:
    """What `each` goes over: the items of a list, the pairs of a map (key, value), nothing of null."""
    if value is None:
        return ()
    if isinstance(value, Map):
        return [{"key": str(key), "value": item} for key, item in value.items()]
    if isinstance(value, list):
        return value
    raise Fault(f"Expected a sequence or mapping. Actual value {shown(value)}", at)


def _add(made: Mapping, key: Text, value: Node) -> None:
    other = next((known for known in made if folded(known) == folded(key)), None)
    if other == "resources" and isinstance(value, Mapping) and isinstance(old := made[other], Mapping):
        for name, items in value.items():
            if isinstance(items, Sequence) and isinstance(known := old.get(name), Sequence):
                known.extend(items)
            else:
                _add(old, name, items)
    elif other is not None:
        raise Fault(f"'{key}' is already defined", key.at)
    else:
        made[key] = value


def _set(variables: dict[str, Value], name: str, value: Node | None) -> None:
    for known in [known for known in variables if folded(known) == folded(name)]:
        del variables[known]
    variables[name] = str(value or "")
