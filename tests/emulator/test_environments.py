"""Environments: what is read from a conda file, what is built from it, and what is said when it cannot be."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from emulator.children import Children
from emulator.environments import conda, curated
from emulator.environments.models import BuildFailed, Built, build


class TestCondaFile:
    @pytest.mark.parametrize(
        ("entry", "line"),
        [
            ("numpy", "numpy"),
            ("numpy=1.26", "numpy==1.26.*"),
            ("numpy=1.26.*", "numpy==1.26.*"),
            ("numpy==1.26.4", "numpy==1.26.4"),
            ("numpy=1.26.4=py311_0", "numpy==1.26.4.*"),
            ("numpy 1.26.4 py311_0", "numpy==1.26.4"),
            ("numpy>=1.26,<2", "numpy>=1.26,<2"),
            ("numpy >=1.26,<2", "numpy>=1.26,<2"),
            ("numpy~=1.26.0", "numpy~=1.26.0"),
            ("conda-forge::pytorch=2.3", "torch==2.3.*"),
            ("Matplotlib-Base", "matplotlib"),
        ],
    )
    def test_packages_in_pip_s_form(self, entry: str, line: str) -> None:
        assert conda.read(json.dumps({"dependencies": [entry]})).requirements == [line]

    def test_python_pip_section_and_native_packages(self) -> None:
        recipe = conda.read(
            "dependencies:\n  - python=3.11\n  - openmpi\n  - pytorch\n  - pip:\n    - a[b]==1 ; python_version > '3'\n    - --pre\n"
        )
        assert recipe.python == "==3.11.*"
        assert recipe.requirements == ["torch", "a[b]==1 ; python_version > '3'", "--pre"]
        assert len(recipe.notes) == 2

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("dependencies: [", "not YAML"),
            ("- a", "must be a mapping"),
            ("dependencies: numpy", "must be a mapping with a list"),
            ("dependencies: [{conda: [a]}]", "not {'conda'"),
            ("dependencies: [{pip: [1]}]", "is text, not 1"),
            ("dependencies: ['numpy=1.2|1.3']", "alternatives"),
            ("dependencies: ['*']", "not a conda package"),
            ("dependencies: ['numpy=']", "no version"),
        ],
    )
    def test_what_cannot_be_read(self, text: str, says: str) -> None:
        with pytest.raises(conda.BadCondaFile) as caught:
            conda.read(text)
        assert says in str(caught.value)


class TestCurated:
    @pytest.mark.parametrize(
        ("name", "known"),
        [
            ("AzureML-sklearn-1.5", "sklearn-1.5"),
            ("sklearn-1.5", "sklearn-1.5"),
            ("mcr.microsoft.com/azureml/curated/sklearn-1.5:31", "sklearn-1.5"),
            ("AzureML-sklearn-1.0-ubuntu20.04-py38-cpu", "sklearn-1.0"),
            ("mcr.microsoft.com/azureml/curated/minimal-py312-inference:latest", "minimal-inference"),
            ("AzureML-ACPT-pytorch-2.2-cuda12.1", None),
        ],
    )
    def test_names_and_images(self, name: str, known: str | None) -> None:
        assert curated.find(name) == known

    def test_every_package_set_is_a_conda_file(self) -> None:
        for known, packages in curated.PACKAGES.items():
            assert conda.read(curated.conda_file(known)).requirements == ["pip", *packages]


class Cloud:
    """As much of a cloud as a build needs."""

    def __init__(self) -> None:
        self.children = Children()

    def client_env(self) -> dict[str, str]:
        return {}

    def timed(self, *_: str) -> Any:
        from contextlib import nullcontext

        return nullcontext()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Build environments in a cache of the test's own; uv's cache is the machine's."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def made(*specs: dict[str, Any]) -> list[Built]:
        async def run() -> list[Built]:
            cloud: Any = Cloud()
            try:
                return list(await asyncio.gather(*(build(cloud, spec) for spec in specs)))
            finally:
                await cloud.children.close()

        return asyncio.run(run())

    return made


def test_a_conda_file_becomes_an_environment_once(made: Any) -> None:
    spec = {"condaFile": "dependencies:\n  - python>=3.8\n  - pip:\n    - six==1.16.0\n", "image": "mcr.microsoft.com/base"}
    first, second = made(spec, {**spec, "description": "the same"})
    assert first == second
    version = subprocess.run([first.python, "-c", "import six; print(six.__version__)"], capture_output=True, text=True, check=True).stdout
    assert version == "1.16.0\n"
    assert "the base image mcr.microsoft.com/base is not pulled" in first.log.read_text()
    before = first.log.stat().st_mtime_ns
    assert made(spec) == [first]
    assert first.log.stat().st_mtime_ns == before, "built again"
    (other,) = made({"condaFile": "dependencies:\n  - pip:\n    - six==1.17.0\n"})
    assert other.digest != first.digest


def test_a_python_that_is_not_here_is_replaced_with_a_note(made: Any) -> None:
    (built,) = made({"condaFile": "dependencies: [python=3.1]"})
    assert "python==3.1.* is not installed on this machine" in built.log.read_text()
    assert built.python.exists()


def test_an_image_alone_is_the_bare_python_with_a_note(made: Any) -> None:
    (built,) = made({"image": "contoso.azurecr.io/own:1"})
    assert "contoso.azurecr.io/own:1: images are not pulled" in built.log.read_text()


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"condaFile": "dependencies:\n  - pip:\n    - six==99.99\n"}, "six==99.99"),
        ({"condaFile": "dependencies:\n  - pip:\n    - -r requirements.txt\n"}, "requirements.txt"),
        ({"condaFile": "dependencies: [python=three]"}, "no version after its name"),
        ({"image": "mcr.microsoft.com/azureml/curated/acpt-pytorch-2.2-cuda12.1:1"}, "no package set for the curated environment"),
    ],
)
def test_a_build_that_fails_says_why(made: Any, spec: dict[str, Any], says: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        made(spec)
    assert says in str(caught.value)
    assert says in caught.value.log.read_text()
