"""Fixtures: a project in a git repository, and a runner for it."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure_pipelines import nodes
from azure_pipelines.agent import Agent
from azure_pipelines.report import Run
from azure_pipelines.run import run
from azure_pipelines.service import Service
from running import Start, commit


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository") / "flight-delay"
    commit(folder, name="first")
    commit(folder, name="second")
    return folder


@pytest.fixture
def start(project: Path, tmp_path: Path) -> Start:
    """Run the YAML of a pipeline; keywords describe the service, `agent` and `watch` are run's own."""

    def start(text: str, *, watch: Any = None, limit: float = 60, agent: Any = None, service: Service | None = None, **more: Any) -> Run:
        document = nodes.load(textwrap.dedent(text), "/pipeline.yml")
        repositories = {"self": {"folder": project, "name": "flight-delay"}, **more.pop("repositories", {})}
        service = service or Service.read({**more, "repositories": repositories})
        agent = agent or Agent(tmp_path / "work", path=os.environ["PATH"])
        return run(SimpleNamespace(document=document), service, agent, watch=watch or (lambda event: None), limit=limit)

    return start
