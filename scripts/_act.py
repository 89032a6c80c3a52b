"""Run a project's own GitHub workflow on this machine, with act and without Docker: the engine of the demo and of the journey tests.

What act lacks is made up for in copies, never in the originals:
- `$/` is act's stumbling block; a copy of the catalog names itself in full, and act finds it by --local-repository;
- JavaScript actions get small stand-ins (tests/journeys/stand_ins);
- a job that has `id-token: write` gets the request URL of an OIDC token for its environment, and no other job does;
- GitHub itself: a first step of every job, "Set up job", waits until the emulated GitHub lets the job start, at its environment's gate
  if it names one, and hands on the job's own token; steps that run whatever happened don't where the job never began;
- a job that act would leave out in silence, for a label it does not know, is an error;
- cancelling is done as GitHub does it: SIGINT to the first process of each step and no other, SIGTERM after 7.5 s, and 2.5 s later,
  or once that process has ended, SIGKILL to all that it started.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

import _github
from _gate import AUTHOR, PEOPLE, REPOSITORY, address

ROOT = Path(__file__).resolve().parent.parent
STAND_INS = ROOT / "tests" / "journeys" / "stand_ins"
CATALOG = "contoso/azureml-catalog"
RUNNER = "ubuntu-24.04"
REQUEST_URL = "https://pipelines.actions.githubusercontent.com/idtoken"
SET_UP = "set-up-job"
# No caller sees them: what runs in a job is set up by _setup.py, and the rest is for those who work on the catalog.
OURS = tuple(sorted({path.name for path in (ROOT / "scripts").glob("_*.py")} - {"_setup.py"}))
USES = re.compile(r"^(?P<name>[^/@\s]+/[^/@\s]+)(?P<path>/[^@\s]*)?@(?P<ref>\S+)$")


@dataclass
class Step:
    """One step of a job that ran; `result` is '' while it runs."""

    name: str
    result: str = ""
    seconds: float = 0.0
    lines: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass
class Job:
    """One job that ran, by its id in the workflow."""

    id: str
    result: str = ""
    steps: list[Step] = field(default_factory=list)
    summary: str = ""

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)

    @property
    def outputs(self) -> dict[str, str]:
        """Everything that its steps handed on."""
        return {name: value for step in self.steps for name, value in step.outputs.items()}

    @property
    def lines(self) -> list[str]:
        """Everything that its steps printed."""
        return [line for step in self.steps for line in step.lines]


@dataclass
class Run:
    """One run of a workflow. A job that did not run is not in `jobs`."""

    jobs: dict[str, Job] = field(default_factory=dict)
    code: int = 0
    problems: list[str] = field(default_factory=list)
    artifacts: Path = Path()

    @property
    def results(self) -> dict[str, str]:
        """The result of each job that ran."""
        return {name: job.result for name, job in self.jobs.items()}

    @property
    def outputs(self) -> dict[str, str]:
        """Everything that all jobs handed on; of equal names the last."""
        return {name: value for job in self.jobs.values() for name, value in job.outputs.items()}

    @property
    def succeeded(self) -> bool:
        """Whether act and every job that ran said so. What should have run is for the caller to ask."""
        return self.code == 0 and not self.problems and all(result == "success" for result in self.results.values())


class CannotRun(Exception):
    """act could not run the workflow, or left a part of it out; not a failure of the workflow's own."""


@dataclass(frozen=True)
class Event:
    """What a watcher is told: a job or step began ('begin'), printed ('line'), ended ('end')."""

    kind: str
    job: Job
    step: Step | None = None
    text: str = ""


def prepare_catalog(folder: Path, *, workflows: Iterable[Path] = ()) -> None:
    """Copy to `folder` what a caller of the catalog sees of it, rewritten for act; `workflows` are added to it or replace its own."""
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "emulator", *OURS)
    for name in ("scripts", "schemas", ".github/actions"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for path in (*(ROOT / ".github" / "workflows").glob("[!_]*.yml"), *workflows):
        _copy(path, folder / ".github" / "workflows" / path.name, f"{CATALOG}/.github/workflows/{path.name}@refs/tags/v0")


def _copy(workflow: Path, target: Path, ref: str) -> None:
    """Write a workflow as act can run it; `ref` is what GitHub calls it in tokens. Raises CannotRun for what is no YAML."""
    try:
        document = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise CannotRun(f"{workflow}: {error}") from error
    document["on"] = document.pop(True, document.get("on"))  # a key of YAML 1.1, which reads `on` as true
    for name, job in document["jobs"].items():
        _rewrite(job, name, ref, document.get("permissions"))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10_000), encoding="utf-8")


def _rewrite(job: dict[str, Any], id: str, ref: str, inherited: Any) -> None:
    job.pop("concurrency", None)  # act queues nothing, and its schema does not know `queue`
    for node in (job, *job.get("steps", [])):
        if str(node.get("uses", "")).startswith("$/"):
            node["uses"] = f"{CATALOG}/{node['uses'][2:]}@v0"
    if "steps" not in job:
        return
    named = job.get("environment") or ""
    environment = str(named["name"] if isinstance(named, dict) else named)
    permissions = job.get("permissions", inherited)
    granted = permissions if isinstance(permissions, dict) else {}
    asked = {"JOB_NAME": str(job.get("name", id)), "JOB_PERMISSIONS": json.dumps(granted), "JOB_ENVIRONMENT": environment}
    first = {"name": "Set up job", "id": SET_UP, "shell": "bash", "env": asked, "run": 'exec python -I -S "$ACT_SET_UP"'}
    job["steps"] = [first, *(_begun(_with_outputs(step)) for step in job["steps"])]
    job |= {"outputs": _with_outputs(job["outputs"])} if "outputs" in job else {}
    if granted.get("id-token") == "write":
        claims = {"api-version": "2.0", "repository": REPOSITORY, "job_workflow_ref": ref}
        told = "&".join(f"{name}=${{{{ github.{name} }}}}" for name in ("ref", "event_name", "sha", "run_id", "run_attempt", "actor"))
        url = f"{REQUEST_URL}?{urlencode(claims)}&{told}&environment={environment}"
        job["env"] = {**(job.get("env") or {}), "ACTIONS_ID_TOKEN_REQUEST_URL": url}
        job["env"]["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "act"  # noqa: S105 - the emulator takes what the URL says of the job


def _with_outputs(node: Any) -> Any:
    """A step, or a job's outputs, with what act does not know in place: the job's token and its id."""
    if isinstance(node, dict):
        return {name: _with_outputs(value) for name, value in node.items()}
    if not isinstance(node, str):
        return node
    return node.replace("github.token", f"steps.{SET_UP}.outputs.token").replace("job.check_run_id", f"steps.{SET_UP}.outputs.check_run_id")


def _begun(step: dict[str, Any]) -> dict[str, Any]:
    """A step that does not run in a job that never began, whatever its condition."""
    if "if" not in step:
        return step
    condition = (step["if"] if isinstance(step["if"], str) else json.dumps(step["if"])).strip()
    condition = condition[3:-2].strip() if condition.startswith("${{") and condition.endswith("}}") else condition
    return {**step, "if": f"({condition}) && steps.{SET_UP}.outcome == 'success'"}


def commit_project(source: Path, folder: Path, date: str = "", author: str = AUTHOR) -> str:
    """Make `folder` a git repository whose last commit is the project as it is in `source`; the commit's id.

    `author` is a login. Of the same content by the same author at the same `date` (as git reads one) it is the same id.
    """
    for old in folder.iterdir() if folder.exists() else ():
        if old.name != ".git":
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    left_behind = shutil.ignore_patterns("__pycache__", ".pytest_cache", ".venv", ".git", ".emulator")
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=left_behind)
    if not (folder / ".git").exists():
        _git(folder, "init", "-q", "-b", "main")
        _git(folder, "remote", "add", "origin", f"https://github.com/{REPOSITORY}")
    _git(folder, "add", "-A")
    if _git(folder, "status", "--porcelain"):
        _git(folder, "commit", "-q", "-m", "Demo run", date=date, author=author)
    return _git(folder, "rev-parse", "HEAD")


def _git(folder: Path, *words: str, date: str = "", author: str = AUTHOR) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": PEOPLE.get(author, author), f"GIT_{role}_EMAIL": address(author)}
        env |= {f"GIT_{role}_DATE": date} if date else {}
    env["GIT_CONFIG_GLOBAL"] = os.devnull
    return subprocess.run(["git", *words], cwd=folder, env=env, check=True, capture_output=True, text=True).stdout.strip()


def run(
    project: Path,
    workflow: str,
    catalog: Path,
    env: Mapping[str, str],
    tool_cache: Path,
    *,
    github: _github.GitHub | None = None,
    event: str = "push",
    ref: str = "refs/heads/main",
    inputs: Mapping[str, str] | None = None,
    artifacts: Path | None = None,
    limit: float = 1200,
    watch: Callable[[Event], None] = lambda event: None,
) -> Run:
    """Run one of the project's workflows to its end.

    `env` is all that the steps see of this machine's environment besides PATH. `tool_cache` is kept from run to run, as a self-hosted
    runner keeps it. `github` is told of the run, and lets its jobs start; without it, all may. After `limit` seconds the run is cancelled.
    Raises CannotRun, and what the approver of `github` raised; KeyboardInterrupt once everything has ended.
    """
    with tempfile.TemporaryDirectory(prefix="act-") as scratch:
        place = Path(scratch)
        for name in ("home", "cache", "bin", "jobs"):
            (place / name).mkdir()
        tool_cache.mkdir(parents=True, exist_ok=True)
        (place / "cache" / "tool_cache").symlink_to(tool_cache.resolve(), target_is_directory=True)  # act has no option for it
        (place / "bin" / "python").symlink_to(getattr(sys, "_base_executable", sys.executable))
        _copy(project / ".github" / "workflows" / workflow, place / workflow, f"{REPOSITORY}/.github/workflows/{workflow}@{ref}")
        (place / "event.json").write_text(json.dumps({"inputs": dict(inputs or {}), "ref": ref, "number": 1}))
        artifacts = artifacts or place / "artifacts"
        command = [
            _program("act"), event, "-C", str(project), "-W", str(place / workflow), "-e", str(place / "event.json"),
            "-P", f"{RUNNER}=-self-hosted", "--rm", "--json", "--no-cache-server", "--action-cache-path", str(place / "cache"),
            "--local-repository", f"{CATALOG}@v0={catalog}",
        ]  # fmt: skip
        told = {"ACT_ARTIFACTS": str(artifacts), "ACT_SET_UP": str(STAND_INS / "set_up_job.py")}
        run = github.begin(project, workflow, event, "refs/pull/1/merge" if event == "pull_request" else ref, artifacts) if github else None
        if github and run:
            command += ["--actor", github.actor]
            told |= {**run.env, "ACT_JOBS": str(place / "jobs")}
        for name, value in told.items():
            command += ["--env", f"{name}={value}"]
        for name, ref in _actions(catalog):
            command += ["--local-repository", f"{name}@{ref}={STAND_INS / name}"]
        search = f"{place / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        seen = {**env, "PATH": search, "HOME": str(place / "home"), "LANG": "C.UTF-8"}
        recorder = _Recorder(Run(artifacts=artifacts), watch, run)
        conclusion = "cancelled"
        try:
            _Process(command, seen, limit, run.cancel if run else lambda: None).follow(recorder)
            conclusion = "success" if recorder.run.succeeded else "failure"
        finally:
            if run:
                run.end(conclusion)
        if run and run.errors:
            raise run.errors[0]
        if recorder.left_out:
            raise CannotRun(f"act left a job out: {recorder.left_out}")
        if not recorder.run.jobs:
            raise CannotRun(f"act ran nothing: {' '.join(recorder.run.problems) or 'no job of the workflow matched the event'}")
        return recorder.run


def _actions(catalog: Path) -> set[tuple[str, str]]:
    """Name and pin of every action of others that the catalog uses. Raises CannotRun for one that has no stand-in."""
    found: set[tuple[str, str]] = set()
    for path in (catalog / ".github").rglob("*.yml"):
        for line in path.read_text(encoding="utf-8").splitlines():
            match = USES.match(line.split("uses:", 1)[1].split("#")[0].strip()) if "uses:" in line else None
            if match and match["name"] != CATALOG:
                found.add((match["name"], match["ref"]))
    for name, _ in found:
        if not (STAND_INS / name / "action.yml").exists():
            raise CannotRun(f"{name} has no stand-in in {STAND_INS}")
    return found


def _program(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise CannotRun(f"{name} is not installed; 'make install' installs it")
    return found


class _Recorder:
    """Reads act's JSON lines into a Run and tells the watcher."""

    def __init__(self, run: Run, watch: Callable[[Event], None], hosted: _github.Run | None = None) -> None:
        self.run, self.watch, self.hosted, self.left_out = run, watch, hosted, ""
        self._steps: dict[tuple[str, str], Step] = {}
        self._ids: dict[str, str] = {}

    def take(self, line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            self._problem(line.strip())
            return
        if "unsupported platform" in said["msg"]:
            self.left_out = f"{said['job']}: {said['msg'].strip()}"
        elif "jobResult" in said:
            job = self._job(said)
            job.result = said["jobResult"]
            if self.hosted:
                self.hosted.end_job(said["job"], job.result)
            self.watch(Event("end", job))
        elif said.get("stage") == "Main":
            self._main(said)
        elif "stage" not in said and "job" not in said and said["level"] == "error":
            self._problem(said["msg"])

    def _main(self, said: dict[str, Any]) -> None:
        job, outermost = self._job(said), len(said["stepID"]) == 1
        key = (said["job"], said["stepID"][0])
        step = self._steps.get(key)
        if step is None:
            step = self._steps[key] = Step(said["step"])
            job.steps.append(step)
            self.watch(Event("begin", job, step))
        if self.hosted and said["stepID"] == [SET_UP] and said.get("raw_output") and not step.lines:
            self._asked(self.hosted, said["job"], json.loads(said["msg"]))
        elif "stepResult" in said and outermost:
            step.result, step.seconds = said["stepResult"], said.get("executionTime", 0) / 1e9
            self.watch(Event("end", job, step))
        elif said.get("command") == "set-output" and outermost and said["stepID"] != [SET_UP]:
            step.outputs[said["name"]] = said["arg"]
        elif said.get("command") == "summary":
            job.summary += said["content"]
        elif text := _text(said):
            step.lines.append(text)
            self.watch(Event("line", job, step, text))

    def _asked(self, hosted: _github.Run, job: str, asked: dict[str, Any]) -> None:
        """A job asks whether it may start."""
        folder = Path(asked.pop("folder"))

        def answer(found: dict[str, Any]) -> None:
            with contextlib.suppress(FileNotFoundError):  # the run is over
                (folder / "written").write_text(json.dumps(found), encoding="utf-8")
                (folder / "written").rename(folder / "answer")

        hosted.begin_job(job, asked, answer)

    def _job(self, said: dict[str, Any]) -> Job:
        # "promote/Promote/Production" is the calling job, the called workflow's name and the job's name; the id is short and ours.
        if said["job"] not in self._ids:
            short = said["jobID"] if said["jobID"] not in self.run.jobs else said["job"]
            self._ids[said["job"]] = short
            self.run.jobs[short] = Job(short)
            self.watch(Event("begin", self.run.jobs[short]))
        return self.run.jobs[self._ids[said["job"]]]

    def _problem(self, text: str) -> None:
        if text and not re.match(r"Error: Job '.*' failed$", text):
            self.run.problems.append(text)


def _text(said: dict[str, Any]) -> str:
    """What a person would read of it; '' for what only the runner minds."""
    if said.get("raw_output"):
        return str(said["msg"]).rstrip("\n")
    if said.get("command") in ("error", "warning", "notice"):
        place = said.get("kvPairs") or {}
        at = ":".join(place[key] for key in ("file", "line", "col") if place.get(key))
        return f"{said['command']}: {said['arg'] if said['arg'].startswith(at) else f'{at}: ' + said['arg']}"
    return str(said["arg"]) if said.get("command") == "group" else ""


class _Process:
    """act in a session of its own, supervised so that it does not outlive this process."""

    def __init__(self, command: list[str], env: Mapping[str, str], limit: float, cancelled: Callable[[], None]) -> None:
        supervisor = ROOT / "scripts" / "emulator" / "child.py"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(supervisor), *command],
            env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
        self._limit, self._cancelled = limit, cancelled
        self._out_of_time = threading.Event()

    def follow(self, recorder: _Recorder) -> None:
        """Hand every line to the recorder until act has ended; cancel on KeyboardInterrupt and at the limit."""
        timer = threading.Timer(self._limit, self._expire)
        timer.start()
        assert self._process.stdout
        try:
            for line in self._process.stdout:
                recorder.take(line)
        except BaseException:
            canceller = threading.Thread(target=self._cancel)
            canceller.start()
            for line in self._process.stdout:
                recorder.take(line)
            canceller.join()
            raise
        finally:
            timer.cancel()
            assert self._process.stdin
            self._process.stdin.close()  # the supervisor ends what is left
            recorder.run.code = self._process.wait()
        if self._out_of_time.is_set():
            raise CannotRun(f"the run was cancelled at its limit of {self._limit:g} s")

    def _expire(self) -> None:
        self._out_of_time.set()
        self._cancel()

    def _cancel(self) -> None:
        self._cancelled()
        deadline = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < deadline:
            # act itself is left alone: it goes on to the steps that always run. A step that began between two signals is for the next turn.
            parents = dict(_parents())
            act = [pid for pid, parent in parents.items() if parent == self._process.pid]
            self._interrupt([pid for pid, parent in parents.items() if parent in act])
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
        assert self._process.stdin
        self._process.stdin.close()  # the supervisor kills act if it still runs; its steps lose their terminal and hang up

    @staticmethod
    def _interrupt(steps: list[int]) -> None:
        alive, below = steps, [pid for step in steps for pid in _descendants(step)]
        for number, seconds in ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5), (signal.SIGKILL, 2.5)):
            if number == signal.SIGKILL:
                alive += below
            alive = [pid for pid in alive if _signal(pid, number)]
            deadline = time.monotonic() + seconds
            while alive and time.monotonic() < deadline:
                time.sleep(0.05)
                alive = [pid for pid in alive if _signal(pid, 0)]


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _descendants(pid: int) -> list[int]:
    """The process ids below one, parents before children."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(0), [])
        found += below
        waiting += below
    return found


def _parents() -> Iterable[tuple[int, int]]:
    """(process, its parent) of everything that runs. Small Linux images have no ps, macOS has no /proc."""
    if Path("/proc/self/stat").exists():
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                yield int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended
                continue
    else:
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        for line in listing.splitlines():
            child, parent = map(int, line.split())
            yield child, parent
