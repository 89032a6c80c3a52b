"""A world for whole journeys: an emulated Azure with dev, prod and a registry, the catalog, and a project whose workflows run under act."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import _act
import _setup
from _provision import provision

if TYPE_CHECKING:
    from tests.conftest import Emulator

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "flight-delay"
TOOLS = ROOT / ".cache" / "tools"
EVERYTHING = ["validate", "train", "deploy", "share", "production"]


@dataclass
class World:
    """One project, one catalog, one emulated Azure."""

    emulator: Emulator
    place: Path
    runs: int = field(default=0)

    def run(
        self,
        *edits: tuple[str, str, str],
        workflow: str = "release.yml",
        event: str = "push",
        inputs: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        **options: Any,
    ) -> _act.Run:
        """Run a workflow of the example after `edits` (file, old text, new text) and new `files`, as one more commit."""
        self.runs += 1
        source = self.place / f"source-{self.runs}"
        shutil.copytree(self.place / "example", source)
        for name, old, new in edits:
            text = (source / name).read_text(encoding="utf-8")
            assert old in text, f"{name} has no {old!r}"
            (source / name).write_text(text.replace(old, new), encoding="utf-8")
        for name, text in (files or {}).items():
            (source / name).write_text(text, encoding="utf-8")
        _act.commit_project(source, self.place / "project")
        env = {name: value for name, value in self.emulator.env.items() if not name.startswith("AZURE_")}
        env["PYTHONPATH"] = os.environ["PYTHONPATH"]  # what is run here reaches the emulator or nothing
        artifacts = self.place / f"artifacts-{self.runs}"
        options.setdefault("watch", show)
        return _act.run(
            self.place / "project", workflow, self.place / "catalog", env, TOOLS,
            event=event, inputs=inputs, artifacts=artifacts, limit=900, **options,
        )  # fmt: skip

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
    def evidence(run: _act.Run) -> dict[str, dict[str, Any]]:
        """The statements that a run kept, by artifact and file."""
        paths = sorted(run.artifacts.glob("evidence-*/*.json"))
        return {f"{path.parent.name}/{path.name}": json.loads(path.read_text(encoding="utf-8")) for path in paths}


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
        _setup.environment(TOOLS)
    return TOOLS


@pytest.fixture(scope="session")
def world(emulator: Emulator, tools: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The world before the first release."""
    place = tmp_path_factory.mktemp("world")
    provision(emulator.home, EXAMPLE)
    # One copy for all runs, so that an edit of the example while they run is not taken for a change of theirs.
    shutil.copytree(EXAMPLE, place / "example", ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", ".venv"))
    _act.prepare_catalog(place / "catalog")
    return World(emulator, place)


@pytest.fixture(scope="session")
def released(world: World) -> _act.Run:
    """The first release, whatever became of it."""
    return world.run()
