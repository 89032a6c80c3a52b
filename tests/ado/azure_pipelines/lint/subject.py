"""What the rules look at: a file as it was written, and a pipeline as it comes out of the expansion."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from azure_pipelines.model import Job, Pipeline, Stage, Step
from azure_pipelines.nodes import Directive, Mapping, Node, Place, Sequence, Text

EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
MACRO = re.compile(r"\$\(([A-Za-z_][\w.\-]*)\)")
# Inputs (in small letters) that hold a script or go into one, and the tasks whose other inputs of that name are something else.
_SCRIPTS = {"script", "inlinescript", "inline"}
_ARGUMENTS = {"arguments", "scriptarguments"}
_SHELLS = {
    "bash": "bash", "cmdline": "", "shellscript": "bash", "ssh": "bash", "powershell": "pwsh", "azurepowershell": "pwsh",
    "azurecli": "", "pythonscript": "python", "batchscript": "cmd", "powershellontargetmachines": "pwsh",
}  # fmt: skip
_SHORT = {"script": "", "bash": "bash", "pwsh": "pwsh", "powershell": "pwsh"}


@dataclass
class Source:
    """A file as it was written. `file` is its name in a Place; `own` is False for a file of another repository."""

    file: str
    path: Path
    text: str
    node: Node
    own: bool

    @cached_property
    def lines(self) -> list[str]:
        """Its lines, without their ends."""
        return self.text.splitlines()

    def find(self, node: Text, part: str, offset: int = 0) -> Place:
        """Where a part of a text stands, at or after an offset. The text's own place if the part came in by an expression."""
        first = part.strip().partition("\n")[0]
        start, above = node.at.line - 1, node[:offset].count("\n")
        for number, line in enumerate(self.lines[start + above : start + node.count("\n") + 2], start + above):
            column = line.find(first, node.at.column - 1 if number == start else 0)
            if first and column >= 0:
                return Place(self.file, number + 1, column + 1)
        return node.at

    @cached_property
    def mappings(self) -> list[Mapping]:
        """Every map in it, outer ones first."""
        return [node for node in walk(self.node) if isinstance(node, Mapping)]

    @cached_property
    def texts(self) -> list[tuple[str, Text]]:
        """Every text with the key that it stands under; a key that is an expression stands under itself."""
        return list(_texts(self.node, ""))

    @cached_property
    def scripts(self) -> list[Text]:
        """Every text that goes to a shell: inline scripts and the arguments of script tasks."""
        found = []
        for step in self.mappings:
            found += [value for key, value in step.items() if key in _SHORT and isinstance(value, Text)]
            task, inputs = step.under("task"), step.under("inputs")
            if isinstance(task, Text) and task.lower().partition("@")[0] in _SHELLS:
                found += [
                    node for of in walk(inputs or Text("", step.at)) if isinstance(of, Mapping)
                    for key, node in of.items() if key.lower() in _SCRIPTS | _ARGUMENTS and isinstance(node, Text)
                ]  # fmt: skip
        return found

    @cached_property
    def parameters(self) -> dict[str, Mapping]:
        """What the file declares as parameters, by name; the old form, a map of defaults, as untyped ones."""
        declared = self.node.under("parameters") if isinstance(self.node, Mapping) else None
        if isinstance(declared, Mapping):
            default = Text("default", declared.at)
            return {str(name): Mapping([(default, value)], name.at) for name, value in declared.items()}
        found = {}
        for item in declared if isinstance(declared, Sequence) else ():
            if isinstance(item, Mapping) and isinstance(name := item.under("name"), Text):
                found[str(name)] = item
        return found


class Script(NamedTuple):
    """An inline script of an expanded pipeline. `shell`: bash, pwsh, cmd or python; `script:` is bash but on Windows."""

    stage: Stage
    job: Job
    step: Step
    text: Text
    shell: str


@dataclass
class Subject:
    """A pipeline, and where it was written. `whole` is False where names may come from a pipeline that isn't there."""

    pipeline: Pipeline
    sources: dict[str, Source]
    folders: dict[str, Path]
    whole: bool = True

    def find(self, node: Text, part: str, offset: int = 0) -> Place:
        """Where a part of a text stands in the file that it was written in."""
        source = self.sources.get(node.at.file)
        return source.find(node, part, offset) if source else node.at

    @cached_property
    def jobs(self) -> list[tuple[Stage, Job]]:
        """Every job with its stage."""
        return [(stage, job) for stage in self.pipeline.stages for job in stage.jobs]

    @cached_property
    def steps(self) -> list[tuple[Stage, Job, Step]]:
        """Every step with its job and stage, also those of the hooks."""
        return [(stage, job, step) for stage, job in self.jobs for step in job.all_steps() if step.enabled]

    @cached_property
    def scripts(self) -> list[Script]:
        """Every inline script."""
        found = []
        for stage, job, step in self.steps:
            shell = shell_of(job, step)
            if shell:
                found += [Script(stage, job, step, value, shell) for key, value in step.inputs.items() if key.lower() in _SCRIPTS and value]
        return found

    @property
    def texts(self) -> list[Text]:
        """Every inline script, as text."""
        return [one.text for one in self.scripts]

    @property
    def shells(self) -> list[tuple[Text, str]]:
        """Every inline script, with what runs it."""
        return [(one.text, one.shell) for one in self.scripts]


def shell_of(job: Job, step: Step) -> str:
    """What runs a step's script: bash, pwsh, cmd or python; '' for a step that has none."""
    name = step.task.lower().partition("@")[0]
    if name not in _SHELLS:
        return ""
    kind = step.input("scriptType").lower()
    if name == "azurecli":
        return {"ps": "pwsh", "pscore": "pwsh", "batch": "cmd"}.get(kind, "bash")
    return _SHELLS[name] or ("cmd" if on_windows(job) else "bash")


def on_windows(job: Job) -> bool:
    """Whether a job surely runs on Windows."""
    return job.pool is not None and "win" in job.pool.vm_image.lower()


def server(job: Job) -> bool:
    """Whether a job runs without an agent."""
    return job.pool is not None and job.pool.name == "server"


def commands(script: str) -> list[tuple[str, int]]:
    """The command lines of a shell script with their offsets, without comments and empty lines; a continued line is one."""
    found: list[tuple[str, int]] = []
    offset, joined, start = 0, "", 0
    for line in script.split("\n"):
        if not joined:
            start = offset
        offset += len(line) + 1
        bare = line.strip()
        if bare.endswith(("\\", "`")) and not bare.startswith("#"):
            joined += bare[:-1] + " "
            continue
        joined += bare
        if joined and not joined.startswith("#"):
            found.append((joined, start))
        joined = ""
    return [*found, (joined, start)] if joined.strip() else found


def walk(node: Node) -> Iterator[Node]:
    """The node and everything in it."""
    yield node
    for item in node.values() if isinstance(node, Mapping) else node if isinstance(node, Sequence) else ():
        yield from walk(item)


def _texts(node: Node, key: str) -> Iterator[tuple[str, Text]]:
    if isinstance(node, Text):
        yield key, node
    elif isinstance(node, Sequence):
        for item in node:
            yield from _texts(item, key)
    else:
        for name, value in node.items():
            if isinstance(name, Directive):
                yield name, name
            # Below an `${{ if }}` a value still belongs to the key around it.
            yield from _texts(value, key if isinstance(name, Directive) else name)
