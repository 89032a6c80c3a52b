"""Look at a folder with every rule."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure_pipelines import graph, model, schema
from azure_pipelines.findings import Finding
from azure_pipelines.nodes import Fault, Place, load
from azure_pipelines.repositories import Repository
from azure_pipelines.templates import Expanded

from . import files
from .rules import LEVELS, RULES
from .subject import Source, Subject

_SUPPRESSION = re.compile(r"#\s*ado-lint:\s*ignore(?:\[([^\]]*)\])?(.*)")


@dataclass
class Report:
    """What came out: the findings in the order of the files, and how many files and expansions were looked at."""

    findings: list[Finding]
    files: int
    expanded: int


def lint(
    root: Path,
    paths: Iterable[Path],
    *,
    repositories: Mapping[str, Path] | None = None,
    parameters: Mapping[str, Any] | None = None,
    tasks: Iterable[str] = (),
) -> Report:
    """Look at the pipelines and templates among `paths`, which are files and folders of the repository at `root`.

    `repositories` are the folders of other repositories by alias, `parameters` values for parameters of those names, `tasks` further tasks
    that are right. In files of other repositories only errors are told: their owners see the rest.
    """
    others = {alias: Path(folder) for alias, folder in (repositories or {}).items()}
    homes = {"self": Repository("self", root), **{alias: Repository(alias, folder) for alias, folder in others.items()}}
    folders = {alias: home.folder for alias, home in homes.items()}
    found: set[Finding] = set()
    sources: dict[str, Source] = {}
    for one in files.found(root, paths):
        if isinstance(one, Fault):
            found.add(Finding(one.at, "expansion", one.message))
        else:
            sources[one.file] = one
    unread = len(found)
    own = list(sources.values())
    for source in own:
        found |= {Finding(at, rule.id, message) for rule in RULES if rule.file for at, message in rule.file(source)}
    included = {name for source in own for name in files.includes(source, root)}
    # Pipelines first: a template that one of them includes was looked at with what it is given in earnest.
    reached: set[str] = set()
    count = 0
    for source in sorted(own, key=lambda source: source.file in included):
        if source.file in reached:
            continue
        told: set[tuple[Place, str]] = set()
        for number, trial in enumerate(files.trials(source, included, others, dict(parameters or {}))):
            count += 1
            try:
                expanded = files.run(trial, homes)
            except Fault as fault:
                found |= _fault(fault, trial, number, told)
                continue
            if trial.text is None:
                reached.update(expanded.files)
            for name in expanded.files:
                if name not in sources and name != files.CALLER:
                    sources[name] = _other(name, folders)
            found |= {one for one in check(expanded, sources, folders, whole=trial.whole, tasks=tasks) if one.at.file != files.CALLER}
    kept = [one for one in found if one.at.file not in sources or sources[one.at.file].own or LEVELS[one.rule] == "error"]
    return Report(sorted(_suppressed(kept, sources), key=_order), len(own) + unread, count)


def check(
    expanded: Expanded, sources: Mapping[str, Source], folders: Mapping[str, Path], *, whole: bool = True, tasks: Iterable[str] = ()
) -> Iterator[Finding]:
    """What the schema, the graph and the rules say about one expanded pipeline."""
    wrong = list(schema.check(expanded.document, allowed=tasks))
    yield from wrong
    try:
        pipeline = model.read(expanded.document)
    except Fault as fault:
        # Most of what can't be read the schema has said already, in better words.
        if not any(one.at.line == fault.at.line and one.at.file == fault.at.file for one in wrong):
            yield Finding(fault.at, "expansion", fault.message)
        return
    yield from graph.check(pipeline, whole=whole)
    subject = Subject(pipeline, dict(sources), dict(folders), whole)
    for rule in RULES:
        if rule.pipeline is not None:
            yield from (Finding(at, rule.id, message) for at, message in rule.pipeline(subject))


def _fault(fault: Fault, trial: files.Trial, number: int, told: set[tuple[Place, str]]) -> set[Finding]:
    """What to say of a file that could not be expanded: nothing twice, and no error where values were made up."""
    at = _home(fault.at, trial.source)
    if (at, fault.message) in told or not trial.sure:
        return set()
    told.add((at, fault.message))
    made_up = trial.text is not None and (number or trial.parameters)
    said = f" (with {trial.said})" if trial.parameters and (number or made_up) else ""
    fix = ": give --repository" if "no folder was given" in fault.message else ""
    return {Finding(at, "unexpanded-template" if made_up else "expansion", fault.message + fix + said)}


def _home(at: Place, source: Source) -> Place:
    """A fault of the made-up pipeline is one of the template that it was made for."""
    return Place(source.file, 1, 1) if at.file == files.CALLER else at


def _other(name: str, folders: Mapping[str, Path]) -> Source:
    path, _, alias = name.partition("@")
    file = folders[alias or "self"] / path.lstrip("/")
    text = file.read_text(encoding="utf-8")
    return Source(name, file, text, load(text, name), own=not alias)


def _order(finding: Finding) -> tuple[str, int, int, str, str]:
    return (*finding.at, finding.rule, finding.message)


def _suppressed(found: list[Finding], sources: Mapping[str, Source]) -> Iterator[Finding]:
    """The findings without those that a comment takes back, and what is wrong with such comments."""
    used: set[tuple[str, int]] = set()
    for finding in found:
        source = sources.get(finding.at.file)
        line = _comment(source, finding) if source else None
        if line is None:
            yield finding
        else:
            used.add((finding.at.file, line))
    for source in (source for source in sources.values() if source.own):
        for number, text in enumerate(source.lines, start=1):
            written = _SUPPRESSION.search(text)
            if not written:
                continue
            at = Place(source.file, number, written.start() + 1)
            unknown = [name for name in _ids(written[1]) if name not in LEVELS]
            if not _ids(written[1]) or unknown:
                message = f"there is no rule {', '.join(unknown)}" if unknown else "say which rule: ignore[rule-id] reason"
                yield Finding(at, "unused-suppression", message)
            elif not written[2].strip():
                yield Finding(at, "suppression-without-reason", "say why, after the bracket")
            elif (source.file, number) not in used:
                yield Finding(at, "unused-suppression", f"nothing here breaks {written[1]}: remove the comment")


def _comment(source: Source, finding: Finding) -> int | None:
    """The line of the comment that takes a finding back: its own or the one above."""
    for number in (finding.at.line, finding.at.line - 1):
        text = source.lines[number - 1] if 0 < number <= len(source.lines) else ""
        written = _SUPPRESSION.search(text)
        own_line = number == finding.at.line or text.strip().startswith("#")
        if written and own_line and finding.rule in _ids(written[1]):
            return number
    return None


def _ids(written: str | None) -> list[str]:
    return [name.strip() for name in (written or "").split(",") if name.strip()]
