"""Worlds for whole journeys: an emulated Azure with dev, prod and a registry, the catalog, and a project whose CI runs here.

There are two, with an emulator each: GitHub's workflows run under act, Azure DevOps' pipelines under the runner of tests/ado. A test
that takes `world` runs in both, or in the one that it asks for.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import yaml

import _act
import _github
import _pipelines
import _setup
from _gate import AUTHOR, INITIATOR, Approve, release_manager
from _provision import provision

if TYPE_CHECKING:
    from tests.conftest import Emulator

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "flight-delay"
TOOLS = ROOT / ".cache" / "tools"
RECORDING = ("Compile dossier", "Record evidence", "Share evidence")
AZURE_CLI = Path(__file__).parent / "stand_ins" / "bin" / "az"  # of all runs but the first, and those with a connection of their own
Watch = Callable[[_act.Event], None]


@dataclass
class World:
    """One project, one catalog, one emulated Azure, and GitHub."""

    OWN: ClassVar = ".github/workflows/own.yml"
    PROMOTE: ClassVar = """\
on: workflow_dispatch
permissions: {}
jobs:
  promote:
    permissions: {actions: read, contents: read, id-token: write}
    uses: contoso/azureml-catalog/.github/workflows/promote.yml@v0
    with: {bundle_id: "%s"}
"""
    emulator: Emulator
    place: Path
    runs: int = field(default=0)
    patience: float = 0.0  # seconds that others have to decide at a gate once `approve` is done
    first: dict[str, Any] = field(default_factory=dict)  # the endpoints as the first release left them, by workspace

    def release(self) -> _act.Run:
        """The first release, and a look at what it left."""
        run = self.run()
        self.first = {workspace: self.endpoint(workspace) for workspace in ("dev", "prod")}
        return run

    def run(
        self,
        *edits: tuple[str, str, str],
        caller: str = "release",
        event: str = "push",
        inputs: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        watch: Watch | None = None,
        approve: Approve = release_manager,
        actor: str = INITIATOR,
        author: str = AUTHOR,
        ref: str = "refs/heads/main",
    ) -> _act.Run:
        """Run one of the example's callers after `edits` (file, old text, new text) and new `files`, as one more commit by `author`.

        `event` is GitHub's word: push, pull_request or workflow_dispatch, which may have `inputs`. `actor` starts the run, and `ref` is
        what the system calls its branch. `approve` is called, in another thread, with each `_gate.Gate` that the run waits at, after all
        that comes before it; it may change anything, and then decide or not. Where nobody decides, the run ends as if the time for it
        were over. People are logins, on both systems.
        """
        self.commit(edits, files or {}, author)
        return self.engine(caller, event, inputs or {}, watch or show, approve, actor, ref)

    def promote(self, bundle_id: str, **options: Any) -> _act.Run:
        """Promote a bundle by a caller of its own; `options` are those of `run`."""
        caller = self.PROMOTE % bundle_id
        return self.run(caller="own", event="workflow_dispatch", files={self.OWN: caller}, **options)

    def commit(self, edits: tuple[tuple[str, str, str], ...], files: Mapping[str, str], author: str = AUTHOR) -> None:
        """Commit the example with the edits, and only those, to the project."""
        self.runs += 1
        source = self.place / f"source-{self.runs}"
        shutil.copytree(self.place / "example", source)
        for name, old, new in edits:
            text = (source / name).read_text(encoding="utf-8")
            assert old in text, f"{name} has no {old!r}"
            (source / name).write_text(text.replace(old, new), encoding="utf-8")
        for name, text in files.items():
            (source / name).write_text(text, encoding="utf-8")
        _act.commit_project(source, self.place / "project", date=f"2026-01-01T00:{self.runs:02}:00Z", author=author)

    def engine(
        self,
        caller: str,
        event: str,
        inputs: Mapping[str, str],
        watch: Watch,
        approve: Approve = release_manager,
        actor: str = INITIATOR,
        ref: str = "refs/heads/main",
    ) -> _act.Run:
        """Run a caller as the CI system would."""
        return _act.run(
            self.place / "project", f"{caller}.yml", self.place / "catalog", self.env, TOOLS,
            github=_github.GitHub(self.emulator.home, approve, actor, self.patience),
            event=event, ref=ref, inputs=inputs, artifacts=self.artifacts, limit=900, watch=watch,
        )  # fmt: skip

    @property
    def artifacts(self) -> Path:
        """Where the artifacts of the run go that is under way or was last."""
        return self.place / f"artifacts-{self.runs}"

    @property
    def env(self) -> dict[str, str]:
        """What a runner sees of this machine: the emulated Azure, and nobody's credentials."""
        env = {name: value for name, value in self.emulator.env.items() if not name.startswith("AZURE_")}
        env["PYTHONPATH"] = os.environ["PYTHONPATH"]  # what is run here reaches the emulator or nothing
        return env

    def endpoint(self, workspace: str) -> dict[str, Any]:
        """An endpoint with its deployments as ARM gives them, without what changes by looking; {} where there is none."""
        spec = self.spec(workspace)
        at = (
            f"/subscriptions/{spec['subscription_id']}/resourceGroups/{spec['resource_group']}/providers/Microsoft.MachineLearningServices"
            f"/workspaces/{spec['workspace_name']}/onlineEndpoints"
        )
        listed = self.emulator.arm("GET", at)["value"]
        found = [one for one in listed if one["name"] == spec.get("endpoint_name")]
        if not found:
            return {}
        deployments = self.emulator.arm("GET", f"{at}/{found[0]['name']}/deployments")["value"]
        return {**found[0], "deployments": {one["name"]: one for one in deployments}}

    def spec(self, workspace: str) -> dict[str, Any]:
        """A workspace spec of the example."""
        found: dict[str, Any] = yaml.safe_load(
            (self.place / "example" / ".cloud" / "workspaces" / f"{workspace}.yml").read_text(encoding="utf-8")
        )
        return found

    def traffic(self, workspace: str) -> dict[str, int]:
        """Which deployments get traffic, and how much."""
        return {name: share for name, share in self.endpoint(workspace)["properties"]["traffic"].items() if share}

    def ask(self, workspace: str, request_file: str) -> Any:
        """What the endpoint answers to one of the example's requests, sent by the administrator."""
        endpoint = self.endpoint(workspace)
        answer = self.emulator.admin.session.post(
            endpoint["properties"]["scoringUri"],
            json=json.loads((self.place / "example" / request_file).read_text(encoding="utf-8")),
            headers={"Authorization": f"Bearer {self.emulator.admin.token('https://ml.azure.com/.default')}"},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    @contextmanager
    def untouched(self, *workspaces: str) -> Iterator[None]:
        """Assert that what happens inside leaves the endpoints of these workspaces exactly as they were."""
        before = {name: self.endpoint(name) for name in workspaces}
        assert all(before.values()), "nothing is live yet, so nothing could be touched"
        yield
        assert {name: self.endpoint(name) for name in workspaces} == before

    @staticmethod
    def stop(run: _act.Run) -> tuple[str, str, list[str]]:
        """Where a run stopped: the job, the step, and what that said as errors. Nothing else may have failed."""
        failed = [(job, step) for job in run.jobs.values() for step in job.steps if step.result == "failure"]
        assert run.code == 1
        assert len(failed) == 1, ([(job.id, step.name) for job, step in failed], run.problems)
        job, step = failed[0]
        assert list(run.results.items())[-1] == (job.id, "failure"), "no job runs after the one that failed"
        return job.id, step.name, [line.removeprefix("error: ") for line in step.lines if line.startswith("error: ")]

    @staticmethod
    def said(run: _act.Run) -> set[str]:
        """Which of created, updated and unchanged the verbs said; what they found out is new each time, and kept as such."""
        steps = [step for job in run.jobs.values() for step in job.steps if step.name not in ("Set up", *RECORDING)]
        said = " ".join(line for step in steps for line in step.lines)
        return {word for word in ("created", "updated", "unchanged") if word in said}

    @staticmethod
    def evidence(run: _act.Run) -> dict[str, dict[str, Any]]:
        """The statements that a run kept, by artifact and file."""
        paths = sorted(run.artifacts.glob("evidence-*/*.json"))
        found = {f"{path.parent.name}/{path.name}": json.loads(path.read_text(encoding="utf-8")) for path in paths}
        return {name: made for name, made in found.items() if "_type" in made}


@dataclass
class AzureDevOps(World):
    """One project, one catalog, one emulated Azure, and Azure DevOps."""

    OWN: ClassVar = ".ado/own.yml"
    PROMOTE: ClassVar = """\
trigger: none
resources:
  repositories:
    - repository: catalog
      type: git
      name: mlops/azureml-catalog
      ref: refs/tags/v0
extends:
  template: .ado/stages/promote.yml@catalog
  parameters: {bundle_id: "%s"}
"""
    connections: dict[str, Any] = field(default_factory=dict)

    def engine(
        self,
        caller: str,
        event: str,
        inputs: Mapping[str, str],
        watch: Watch,
        approve: Approve = release_manager,
        actor: str = INITIATOR,
        ref: str = "refs/heads/main",
    ) -> _act.Run:
        """Run a caller under the runner of tests/ado."""
        return _pipelines.run_pipeline(
            self.place / "project", f"{caller}.yml", self.place / "catalog", self.env, TOOLS, self.emulator.home, self.place / "agent",
            reason={"push": "IndividualCI", "pull_request": "PullRequest", "workflow_dispatch": "Manual"}[event], parameters=inputs,
            ref=ref, approve=approve, actor=actor, patience=self.patience, connections=self.connections,
            artifacts=self.artifacts, limit=900, watch=watch,
            azure_cli=_pipelines.AZURE_CLI if self.runs == 1 or self.connections else AZURE_CLI,
        )  # fmt: skip


def show(event: _act.Event) -> None:
    """Print a run, which pytest shows for a test that fails."""
    if event.step and event.kind != "begin":
        print(f"{event.job.id} / {event.step.name}: {event.text or f'{event.step.result} ({event.step.seconds:.1f} s)'}")


@pytest.fixture(scope="session")
def tools() -> Path:
    """The verbs' dependencies where the setup action looks for them, so that a run needs no package index."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "PYTHONPATH"):
            patch.delenv(name, raising=False)
        TOOLS.mkdir(parents=True, exist_ok=True)
        folder, _ = _setup.environment(TOOLS)
    # The templates of Azure DevOps empty PYTHONPATH, on which the guard is elsewhere.
    (packages,) = folder.glob("lib/python*/site-packages")
    guard = packages / f"guard-{os.getpid()}"
    shutil.copy(ROOT / "tests" / "guard" / "sitecustomize.py", guard)
    guard.rename(packages / "sitecustomize.py")  # at once: other processes of these tests may be starting there
    return TOOLS


def build(kind: type[World], emulator: Emulator, place: Path) -> World:
    """A world before its first release."""
    provision(emulator.home, EXAMPLE)
    # One copy for all runs, so that an edit of the example while they run is not taken for a change of theirs.
    shutil.copytree(EXAMPLE, place / "example", ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", ".venv"))
    (_act if kind is World else _pipelines).prepare_catalog(place / "catalog")
    return kind(emulator, place)


@pytest.fixture(scope="session")
def another_world(
    another_emulator: Callable[[], Emulator], tools: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], World]:
    """Makes a world before its first release, with an emulator of its own: `github` or `azure_devops`."""
    kinds = {"github": World, "azure_devops": AzureDevOps}
    return lambda name: build(kinds[name], another_emulator(), tmp_path_factory.mktemp(name))


@pytest.fixture(scope="session", params=["github", "azure_devops"])
def world(request: pytest.FixtureRequest, another_world: Callable[[str], World]) -> World:
    """The world before the first release, on GitHub and on Azure DevOps."""
    return another_world(request.param)


@pytest.fixture(scope="session")
def released(world: World) -> _act.Run:
    """The first release, whatever became of it."""
    return world.release()


@pytest.fixture(autouse=True)
def no_fault_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test asked its emulator to get wrong ends with it."""
    yield
    if "world" in request.fixturenames:
        request.getfixturevalue("world").emulator.ask("DELETE", "/faults")
