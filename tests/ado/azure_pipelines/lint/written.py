"""Rules about a file as it was written, which no expansion can see any more."""

from __future__ import annotations

import re
from collections.abc import Iterator

from azure_pipelines.nodes import Mapping, Place, Text

from .subject import EXPRESSION, Source

Found = Iterator[tuple[Place, str]]

_VARIABLE = re.compile(r"\bvariables\s*(?:\.\s*(\w+)|\[\s*'([^']+)'\s*\])", re.I)
_SET = re.compile(r"##vso\[task\.setvariable\s[^\]]*?variable=([\w.]+)", re.I)
# What is known only when a job runs, by the column "Available in templates?" of
# https://learn.microsoft.com/azure/devops/pipelines/build/variables.
_AGENT = re.compile(
    r"^(agent\.|environment\.|strategy\.|checks\.|pipeline\.workspace|build\.(artifactstagingdirectory|binariesdirectory|buildid|buildnumber|builduri"
    r"|containerid|repository\.localpath|requestedfor$|requestedforemail|requestedforid|sourcesdirectory|sourceversionmessage|sourceversionauthor"
    r"|stagingdirectory)|system\.(accesstoken|artifactsdirectory|defaultworkingdirectory|jobattempt|jobid|jobname|stageattempt|stagename|timelineid)"
    r"|common\.testresultsdirectory)",
    re.I,
)


def template_not_first(source: Source) -> Found:
    """`parameters:` before `template:`."""
    for node in source.mappings:
        keys = [str(key) for key in node]
        if "template" in keys[1:] and set(keys) <= {"template", "parameters"} and isinstance(node.key("template"), Text):
            if any(value is node for other in source.mappings for key, value in other.items() if key == "extends"):
                continue
            yield node.key("template").at, "an include is known by its first key: put template: first"


def boolean_as_text(source: Source) -> Found:
    """`default: false` without `type: boolean`."""
    for name, declared in source.parameters.items():
        # Compared with a text it is what it says; taken for a truth it is not.
        taken = rf"(\$\{{\{{\s*(else)?if\s+|\b(and|or|not|xor)\((?:[^()]|\([^()]*\))*?)parameters\.{re.escape(name)}\s*([,)}}])"
        if not re.search(taken, source.text, re.I):
            continue
        default, kind = declared.under("default"), declared.under("type")
        if isinstance(default, Text) and default.lower() in ("true", "false") and (kind is None or kind == "string"):
            yield default.at, f"'{name}' is a text, and the text 'false' is as true as any other: give it type: boolean"


def runtime_variable_at_compile_time(source: Source) -> Found:
    """`${{ variables.x }}` of what only a run sets."""
    made = {name.lower() for _, text in source.texts for name in _SET.findall(text)}
    fixed = {name.lower() for node in source.mappings for key, value in node.items() if key == "variables" for name in _names(value)}
    for _, text in source.texts:
        for found in EXPRESSION.finditer(text):
            for one in _VARIABLE.finditer(found[1]):
                name = (one[1] or one[2]).lower()
                if _AGENT.match(name) or (name in made and name not in fixed):
                    written = one[1] or one[2]
                    message = f"'{written}' gets its value in the run, after ${{{{ }}}}: this is always empty; write $({written})"
                    yield source.find(text, found[0]), message


def _names(block: object) -> list[str]:
    if isinstance(block, Mapping):
        return [str(key) for key in block]
    names = []
    for item in block if isinstance(block, list) else ():
        names += [str(value) for key, value in item.items() if key == "name"] if isinstance(item, Mapping) else []
    return names


def parameter_never_used(source: Source) -> Found:
    """A parameter that the file declares and never reads."""
    used = source.text.lower()
    if "converttojson(parameters)" in re.sub(r"\s", "", used) or re.search(r"\bin\s+parameters\s*\}\}", used):
        return
    for name, declared in source.parameters.items():
        pattern = rf"parameters\s*(\.\s*{re.escape(name.lower())}\b|\[\s*'{re.escape(name.lower())}'\s*\])"
        if not re.search(pattern, used):
            yield declared.at, f"'{name}' is declared and never read: what a caller gives has no effect"
