"""The command line: look for traps in pipelines, print what they expand to, run them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .agent import Agent
from .findings import Finding
from .lint import engine
from .lint.rules import LEVELS, RULES
from .nodes import Fault, Node, Place, Sequence, Text
from .nodes import Mapping as Map
from .repositories import Repository
from .run import Event, run
from .service import CannotRun, Service
from .service import Repository as Checkout
from .templates import expand


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand. 0: nothing found; 1: findings, or a pipeline that can't be expanded or failed; 2: wrong usage."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if "root" in arguments:
        for path in arguments.paths if "paths" in arguments else [arguments.file]:
            if not path.resolve().is_relative_to(arguments.root.resolve()):
                parser.error(f"{path} is not below {arguments.root.resolve()}: say which folder is the repository, with --root")
        for alias, folder in arguments.repository:
            if not Path(folder).is_dir():
                parser.error(f"there is no folder {folder} for the repository {alias}")
    done: int = arguments.command(arguments)
    return done


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="azure_pipelines", description="Azure Pipelines YAML on this machine.")
    commands = parser.add_subparsers(required=True, metavar="command")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--root", type=_folder, default=Path(), metavar="FOLDER", help="root of the repository (default: this folder)")
    shared.add_argument(
        "--repository",
        action="append",
        default=[],
        type=_pair,
        metavar="ALIAS=FOLDER",
        help="a repository resource and where its files are",
    )
    shared.add_argument("--parameter", action="append", default=[], type=_pair, metavar="NAME=VALUE", help="a parameter's value, as YAML")

    lint = commands.add_parser("lint", parents=[shared], help="look for traps", description="Look for traps in pipelines and templates.")
    lint.add_argument("paths", nargs="+", type=_path, metavar="FOLDER|FILE")
    lint.add_argument("--task", action="append", default=[], metavar="NAME@MAJOR", help="a task of the marketplace that you have installed")
    lint.add_argument("--format", choices=("text", "sarif"), default="text")
    lint.set_defaults(command=_lint)

    expanded = commands.add_parser(
        "expand", parents=[shared], help="print the final YAML", description="Print a pipeline without templates."
    )
    expanded.add_argument("file", type=_path)
    expanded.set_defaults(command=_expand)

    started = commands.add_parser("run", parents=[shared], help="run a pipeline", description="Run a pipeline on this machine.")
    started.add_argument("file", type=_path)
    started.add_argument("--service", type=_path, metavar="FILE", help="connections, environments, approvals; see service.py")
    started.add_argument("--work", type=Path, metavar="FOLDER", help="where jobs work (default: a new folder that is removed at the end)")
    started.add_argument("--python", action="append", default=[], type=_pair, metavar="VERSION=PROGRAM", help="what UsePythonVersion finds")
    started.add_argument("--env", action="append", default=[], metavar="NAME", help="a variable of this environment that steps see")
    started.add_argument("--limit", type=float, default=1200, metavar="SECONDS", help="the longest that the run may take (default: 1200)")
    started.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit report")
    started.add_argument("--json", type=Path, metavar="FILE", help="write everything that is known of the run")
    started.set_defaults(command=_run)

    rules = commands.add_parser("rules", help="print the rules", description="Print every rule as a row of a Markdown table.")
    rules.set_defaults(command=lambda _: print(table()) or 0)
    return parser


def _lint(arguments: argparse.Namespace) -> int:
    root: Path = arguments.root
    folders = {alias: Path(folder) for alias, folder in arguments.repository}
    report = engine.lint(root, arguments.paths, repositories=folders, parameters=_values(arguments), tasks=arguments.task)
    if arguments.format == "sarif":
        print(json.dumps(sarif(report.findings, root, folders), indent=2))
    else:
        for finding in report.findings:
            print(f"{_where(finding.at, root, folders)}: {LEVELS[finding.rule]}[{finding.rule}]: {finding.message}")
        errors = sum(LEVELS[finding.rule] == "error" for finding in report.findings)
        looked = f"{report.files} files, {report.expanded} expansions, {len(RULES)} rules"
        print(f"{errors} errors, {len(report.findings) - errors} warnings ({looked})")
    if not report.files:
        print(f"no file of Azure Pipelines in {', '.join(map(str, arguments.paths))}: name the folder that has some", file=sys.stderr)
        return 2
    return 1 if report.findings else 0


def _expand(arguments: argparse.Namespace) -> int:
    root: Path = arguments.root
    repositories = {"self": Repository("self", root)}
    repositories |= {alias: Repository(alias, Path(folder)) for alias, folder in arguments.repository}
    try:
        expanded = expand(repositories, _name(arguments.file, root), parameters=_values(arguments))
    except Fault as fault:
        print(fault, file=sys.stderr)
        return 1
    print(yaml.dump(_plain(expanded.document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=140), end="")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    root: Path = arguments.root
    try:
        service = Service.read(arguments.service or {})
        given = {"self": root, **{alias: Path(folder) for alias, folder in arguments.repository}}
        service.repositories = {alias: Checkout(folder.resolve()) for alias, folder in given.items()} | service.repositories
        known = {
            "Build.Reason": service.reason,
            "Build.SourceBranch": service.branch,
            "Build.SourceBranchName": service.branch.rpartition("/")[2],
            "System.TeamProject": service.project,
        }
        repositories = {alias: Repository(alias, one.folder, one.name, one.ref) for alias, one in service.repositories.items()}
        groups = {name: dict.fromkeys(group, "") for name, group in service.variable_groups.items()}
        expanded = expand(repositories, _name(arguments.file, root), parameters=_values(arguments), variables=known, groups=groups)
        with tempfile.TemporaryDirectory() as scratch:
            work = (arguments.work or Path(scratch)).resolve()
            env = {name: os.environ[name] for name in arguments.env if name in os.environ}
            pythons = {version: Path(program) for version, program in arguments.python}
            agent = Agent(work, env=env, path=os.environ.get("PATH", os.defpath), pythons=pythons)
            done = run(expanded, service, agent, watch=_tell, limit=arguments.limit)
    except (Fault, CannotRun) as refused:
        print(refused, file=sys.stderr)
        return 1
    for path, report in ((arguments.junit, done.junit), (arguments.json, lambda: json.dumps(done.report(), indent=2))):
        if path:
            path.write_text(report(), encoding="utf-8")
    for name, result in done.results.items():
        print(f"{name}: {result}")
    for stage in done.stages.values():
        if stage.reason:
            print(f"{stage.name}: {stage.result}, {stage.reason}", file=sys.stderr)
    for problem in done.problems:
        print(problem, file=sys.stderr)
    return 0 if done.result in ("Succeeded", "SucceededWithIssues") and not done.problems else 1


def _tell(event: Event) -> None:
    where = f"{event.job.id}{f' / {event.step.name}' if event.step else ''}"
    if event.kind == "line":
        print(f"  {event.text}", flush=True)
    elif event.kind == "begin":
        print(where, flush=True)


def _name(path: Path, root: Path) -> str:
    return "/" + path.resolve().relative_to(root.resolve()).as_posix()


def _values(arguments: argparse.Namespace) -> dict[str, Any]:
    return dict(arguments.parameter)


def table() -> str:
    """The rules as a Markdown table."""
    rows = [f"| [`{rule.id}`]({rule.link}) | {rule.level} | {rule.reason.replace('|', chr(92) + '|')} |" for rule in RULES]
    return "\n".join(["| rule | level | why |", "| --- | --- | --- |", *rows])


def sarif(findings: list[Finding], root: Path, folders: Mapping[str, Path]) -> dict[str, Any]:
    """The findings as SARIF 2.1.0 (https://docs.oasis-open.org/sarif/sarif/v2.1.0)."""
    rules = [
        {"id": rule.id, "shortDescription": {"text": rule.reason}, "helpUri": rule.link, "defaultConfiguration": {"level": rule.level}}
        for rule in RULES
    ]
    results = [
        {
            "ruleId": finding.rule,
            "level": LEVELS[finding.rule],
            "message": {"text": finding.message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": _path_of(finding.at, root, folders).as_posix()},
                        "region": {"startLine": finding.at.line, "startColumn": finding.at.column},
                    }
                }
            ],
        }
        for finding in findings
    ]
    driver = {"name": "azure-pipelines-lint", "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _where(at: Place, root: Path, folders: Mapping[str, Path]) -> str:
    return f"{_path_of(at, root, folders)}:{at.line}:{at.column}"


def _path_of(at: Place, root: Path, folders: Mapping[str, Path]) -> Path:
    path, _, alias = at.file.partition("@")
    return folders.get(alias, root) / path.lstrip("/")


class _Dumper(yaml.SafeDumper):
    """Writes scripts as blocks, as a person would."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)


def _plain(node: Node) -> Any:
    """The document as plain Python: texts, but for what was written as a number or truth value."""
    if isinstance(node, Map):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, Sequence):
        return [_plain(item) for item in node]
    assert isinstance(node, Text)
    if node.plain and node.lower() in ("true", "false"):
        return node.lower() == "true"
    return int(node) if node.plain and node.isdigit() and str(int(node)) == node else str(node)


def _path(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no {text}")
    return path


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return path


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
