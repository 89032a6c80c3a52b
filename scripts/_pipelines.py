"""Run a project's own Azure Pipelines on this machine, with the runner of tests/ado: the other engine of the demo and of the journey tests.

What became of a run is told in the words of `_act`, so that both engines serve one demo and one set of tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import _act
from _gate import INITIATOR, Approve, address, release_manager

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "ado"))

from azure_pipelines import report, repositories, run, service, templates  # noqa: E402
from azure_pipelines.agent import Agent  # noqa: E402
from azure_pipelines.nodes import Fault  # noqa: E402
from emulated import EmulatedService  # noqa: E402

NAMES = {"self": "flight-delay", "catalog": "azureml-catalog"}
AZURE_CLI = ROOT / ".venv-az" / "bin" / "az"
PYTHON = "3.12"  # what the templates ask for; the agent's is the one there is
RESULTS = {"Succeeded": "success", "SucceededWithIssues": "success", "Failed": "failure", "Canceled": "cancelled", "Skipped": "skipped"}


def prepare_catalog(folder: Path) -> None:
    """Make `folder` the catalog's repository with the tag that callers name."""
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "emulator", *_act.OURS)
    for name in ("scripts", "schemas", ".ado"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    who = ["-c", "user.name=Demo", "-c", "user.email=demo@contoso.com"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*who, "commit", "-q", "-m", "Catalog"], ["tag", "v0"]):
        # Of the same content it is the same commit, which a bundle names.
        dated = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2026-01-01T00:00:00Z")
        subprocess.run(["git", "-C", str(folder), *words], check=True, env={**os.environ, **dated, "GIT_CONFIG_GLOBAL": os.devnull})


def run_pipeline(
    project: Path,
    pipeline: str,
    catalog: Path,
    env: Mapping[str, str],
    tool_cache: Path,
    home: Path,
    work: Path,
    *,
    reason: str = "IndividualCI",
    ref: str = "refs/heads/main",
    parameters: Mapping[str, object] | None = None,
    approve: Approve = release_manager,
    actor: str = INITIATOR,
    connections: Mapping[str, Any] | None = None,
    patience: float = 0.0,
    artifacts: Path | None = None,
    limit: float = 1200,
    watch: Callable[[_act.Event], None] = lambda event: None,
    azure_cli: Path = AZURE_CLI,
) -> _act.Run:
    """Run one of the project's pipelines (a file name in .ado) to its end, as a build of the Azure DevOps that `home` emulates.

    `env` is all that the steps see of this machine's environment besides PATH; `work` is the agent's folder, `tool_cache` is kept from
    run to run. `actor` starts the run; `approve` is called for each approval that the emulated environments ask for, and whoever else may
    decide has `patience` seconds more. `connections` is as in the runner's service file. After `limit` seconds the run is cancelled. Raises
    _act.CannotRun, and what `approve` raised; KeyboardInterrupt once everything has ended.
    """
    if not azure_cli.exists():
        raise _act.CannotRun(f"{azure_cli.relative_to(ROOT)} is not installed; 'make install-tests' installs it")
    folders = {"self": project, "catalog": catalog}
    described = {
        "pipeline": pipeline.removesuffix(".yml"),
        "reason": reason,
        "branch": ref,
        "repositories": {alias: {"folder": folder, "name": NAMES[alias]} for alias, folder in folders.items()},
        "requested_for": address(actor),
        "requested_for_email": address(actor),
        "environments": {"dev": {}, "production": {"exclusive_lock": True}},
        "service_connections": connections or {},
    }
    (work / "bin").mkdir(parents=True, exist_ok=True)
    (az := work / "bin" / "az").unlink(missing_ok=True)
    az.symlink_to(azure_cli)
    search = f"{az.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    python = Path(getattr(sys, "_base_executable", sys.executable))
    try:
        expanded = templates.expand(
            {alias: repositories.Repository(alias, folder, f"mlops/{NAMES[alias]}") for alias, folder in folders.items()},
            f"/.ado/{pipeline}",
            parameters=dict(parameters or {}),
            variables={"Build.Reason": reason},
        )
        build = EmulatedService.read(described, home=home, approve=approve, artifacts=artifacts or work, approval_timeout=patience)
        assert isinstance(build, EmulatedService)
        result = "canceled"
        seen = {**env, "AZURE_CORE_COLLECT_TELEMETRY": "no"}  # az would report each command to its makers, by a process of its own
        agent = Agent(work=work, tools=tool_cache, env=seen, path=search, pythons={PYTHON: python})
        try:
            done = run.run(expanded, build, agent, watch=lambda event: _tell(event, watch), limit=limit, artifacts=artifacts)
            result = "succeeded" if done.succeeded else "failed"
        finally:
            build.finish(result)
    except (Fault, service.CannotRun) as problem:
        raise _act.CannotRun(str(problem)) from problem
    return told(done)


def told(done: report.Run) -> _act.Run:
    """The run in the words of `_act`. A stage stands for its one job, which GitHub calls by the stage's name."""
    ran = {job.stage: _job(job, [_step(step) for step in job.steps]) for job in done.jobs.values()}
    return _act.Run(jobs=ran, code=int(not done.succeeded), problems=list(done.problems), artifacts=done.artifacts)


def _tell(event: run.Event, watch: Callable[[_act.Event], None]) -> None:
    step = _act.Step(event.step.name, RESULTS.get(event.step.result, ""), event.step.seconds) if event.step else None
    if event.kind != "line" or _lines([event.text]):
        watch(_act.Event(event.kind, _job(event.job, []), step, "".join(_lines([event.text]))))


def _job(job: report.Job, steps: list[_act.Step]) -> _act.Job:
    return _act.Job(job.stage, RESULTS.get(job.result, ""), steps, job.summary)


def _step(step: report.Step) -> _act.Step:
    return _act.Step(step.name, RESULTS.get(step.result, ""), step.seconds, _lines(step.lines), step.outputs)


def _lines(lines: list[str]) -> list[str]:
    """What a step said, with levels and places as `_act` writes them, and without what the task says of itself."""
    task = re.compile(
        r"Generating script\.|Script contents:|exec python .*|=+ Starting Command Output =+|##\[error\]Bash exited with code .*"
    )
    return [_line(line) for line in lines if not task.fullmatch(line)]


def _line(line: str) -> str:
    if not (level := re.match(r"##\[(error|warning)\]", line)):
        return line
    # The agent writes a place as `file(line,column) : error : text`, act as `file:line:column: text`.
    text = re.sub(r"^(\S+)\((\d+),(\d+)\) ?: \w+ ?: ", r"\1:\2:\3: ", line[level.end() :])
    return f"{level[1]}: {text}"
