"""Builds environments: a conda file, a curated name or an image becomes a virtual environment, once for equal content.

They are kept under ``$XDG_CACHE_HOME`` (default ``~/.cache``) in ``azureml-emulator/environments`` and shared by all emulators of the
machine. A version that is not pinned stays what it was when the environment was first built, as in an image.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import AsyncFileLock
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from emulator.environments import conda, curated

if TYPE_CHECKING:
    from emulator.core import Cloud

RECIPE_VERSION = 1  # to be raised when the same spec should be built in another way


@dataclass(frozen=True)
class Built:
    """A finished environment: its interpreter, the digest of the packages in it, and what the build said."""

    python: Path
    digest: str
    log: Path


class BuildFailed(Exception):
    """An environment that cannot be built. The message is the end of the log; ``log`` is all of it."""

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        self.log = log


def root() -> Path:
    """Where environments are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "azureml-emulator" / "environments"


async def build(cloud: Cloud, spec: dict[str, Any]) -> Built:
    """The environment of an environment version's properties (``image``, ``condaFile``, ``build``, and the asset's ``name``).

    BuildFailed says why there is none.
    """
    folder = root() / _key(spec)
    if found := _finished(folder):
        return found
    if folder not in _under_way or _under_way[folder].done():
        _under_way[folder] = asyncio.ensure_future(_build_alone(cloud, spec, folder))
    # shielded: a cancelled job must not take the environment from the others that wait for it
    return await asyncio.shield(_under_way[folder])


async def notes_of(spec: dict[str, Any]) -> list[str]:
    """In what an environment differs from what its specification names. Its build may have been for another with the same content."""
    recipe = _recipe(spec)
    await _interpreter(recipe)
    return recipe.notes


_under_way: dict[Path, asyncio.Task[Built]] = {}


def _key(spec: dict[str, Any]) -> str:
    content = {
        "recipe": RECIPE_VERSION,
        "conda": spec.get("condaFile"),
        "curated": _curated(spec),
        "python": [platform.python_implementation(), platform.python_version(), platform.machine(), sys.base_prefix],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def _curated(spec: dict[str, Any]) -> str | None:
    if spec.get("condaFile"):
        return None
    name, image = str(spec.get("name") or ""), str(spec.get("image") or "")
    known = curated.find(name) if curated.is_curated(name) or not image else None
    known = known or (curated.find(image) if curated.is_curated(image) else None)
    return known or next((word for word in (name, image) if curated.is_curated(word)), None)


def _finished(folder: Path) -> Built | None:
    try:
        marker = json.loads((folder / "finished.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    python = folder / "venv" / "bin" / "python"
    return Built(python, marker["digest"], folder / "build.log") if python.exists() else None


async def _build_alone(cloud: Cloud, spec: dict[str, Any], folder: Path) -> Built:
    folder.parent.mkdir(parents=True, exist_ok=True)
    async with AsyncFileLock(folder.with_suffix(".lock"), thread_local=False):
        if found := _finished(folder):
            return found
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with cloud.timed("environment", str(spec.get("name") or folder.name)):
            return await _build(cloud, spec, folder)


async def _build(cloud: Cloud, spec: dict[str, Any], folder: Path) -> Built:
    log = folder / "build.log"
    try:
        recipe = _recipe(spec)
        python = await _interpreter(recipe)
    except conda.BadCondaFile as error:
        log.write_text(f"{error}\n")
        raise BuildFailed(str(error), log) from error
    log.write_text("".join(f"note: {note}\n" for note in recipe.notes))
    await _uv(cloud, folder, "venv", "--python", python, str(folder / "venv"))
    if recipe.requirements:
        (folder / "wanted.txt").write_text("\n".join(recipe.requirements) + "\n")
        await _uv(cloud, folder, "pip", "install", "--python", str(folder / "venv"), "--requirements", "wanted.txt")
    packages = await asyncio.to_thread(_packages, folder / "venv")
    digest = "sha256:" + hashlib.sha256("\n".join(packages).encode()).hexdigest()
    (folder / "finished.json").write_text(json.dumps({"digest": digest, "packages": packages, "notes": recipe.notes}, indent=1))
    return Built(folder / "venv" / "bin" / "python", digest, log)


def _recipe(spec: dict[str, Any]) -> conda.Recipe:
    image = str(spec.get("image") or "")
    if spec.get("condaFile"):
        recipe = conda.read(str(spec["condaFile"]))
        if image:
            recipe.notes.append(f"the base image {image} is not pulled: the conda file alone makes the environment")
        return recipe
    if known := _curated(spec):
        if known not in curated.PACKAGES:
            raise conda.BadCondaFile(
                f"the emulator has no package set for the curated environment '{known}'; it has {', '.join(sorted(curated.PACKAGES))}. "
                "Use one of these, or an environment with a conda file"
            )
        recipe = conda.read(curated.conda_file(known))
        recipe.notes.append(
            f"'{spec.get('name') or image}' is made from the emulator's package set for {known}, not from Microsoft's image"
        )
        return recipe
    what = image or "a Dockerfile" if spec.get("build") or image else "no image and no conda file"
    return conda.Recipe(
        notes=[f"the environment names {what}: images are not pulled or built here, the emulator's own Python without packages stands in"]
    )


async def _interpreter(recipe: conda.Recipe) -> str:
    """The Python to build on: the emulator's if it fits, else one that is installed, else the emulator's with a note."""
    own = platform.python_version()
    if not recipe.python:
        return sys.executable
    try:
        if SpecifierSet(recipe.python).contains(own, prereleases=True):
            return sys.executable
    except InvalidSpecifier as error:
        raise conda.BadCondaFile(f"python{recipe.python} is not a version: {error}") from error
    process = await asyncio.create_subprocess_exec(
        _uv_binary(),
        "python",
        "find",
        "--no-python-downloads",
        "--no-project",
        recipe.python,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd="/",
    )
    answer, _ = await process.communicate()
    if process.returncode == 0:
        return answer.decode().strip()
    recipe.notes.append(f"python{recipe.python} is not installed on this machine: Python {own} runs instead")
    return sys.executable


async def _uv(cloud: Cloud, folder: Path, *words: str) -> None:
    log = folder / "build.log"
    with log.open("a") as output:
        output.write(f"$ uv {' '.join(words)}\n")
    child = await cloud.children.spawn(
        [_uv_binary(), "--no-progress", "--color", "never", "--no-python-downloads", *words],
        env=_outside_env(cloud),
        cwd=folder,
        log=log,
        name=f"environment {folder.name}",
    )
    if code := await child.wait():
        end = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise BuildFailed(end or f"uv ended with exit code {code}", log)


def _outside_env(cloud: Cloud) -> dict[str, str]:
    """The emulator's own environment without what points at an emulator: packages come from the real package index."""
    inside = cloud.client_env()
    proxies = {name for name in inside if name.lower() == "https_proxy" and os.environ.get(name) == inside[name]}
    dropped = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"} | (set(inside) if proxies else set())
    return {name: value for name, value in os.environ.items() if name not in dropped}


def _uv_binary() -> str:
    import uv

    return uv.find_uv_bin()


def _packages(venv: Path) -> list[str]:
    """What is installed, as ``name==version``, sorted; the interpreter first."""
    places = [str(place) for place in venv.glob("lib/python*/site-packages")]
    found = {f"{one.metadata['Name'].lower()}=={one.version}" for one in metadata.distributions(path=places)}
    version = (venv / "pyvenv.cfg").read_text().split("version_info = ")[1].split()[0]
    return [f"python=={version}", *sorted(found)]
