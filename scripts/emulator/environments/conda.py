"""Reads a conda file as far as pip packages can stand in for it.

The form is conda's (https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html) with the ``pip`` section;
a package is ``name``, ``name=1.2`` (any 1.2.x), ``name==1.2.3``, ``name>=1,<2`` or ``channel::name``, with a build string that is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

# Conda's names for what the Python package index knows by another name.
PIP_NAMES = {
    "dask-core": "dask",
    "faiss": "faiss-cpu",
    "importlib_metadata": "importlib-metadata",
    "libopencv": "opencv-python-headless",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "opencv": "opencv-python-headless",
    "py-lightgbm": "lightgbm",
    "py-opencv": "opencv-python-headless",
    "py-xgboost": "xgboost",
    "py-xgboost-cpu": "xgboost",
    "py-xgboost-gpu": "xgboost",
    "pyarrow-core": "pyarrow",
    "pytables": "tables",
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "ruamel_yaml": "ruamel.yaml",
    "seaborn-base": "seaborn",
    "tensorflow-base": "tensorflow",
}

# Packages of conda's that are no Python packages; what a wheel needs of them it brings along.
NATIVE = {
    "_libgcc_mutex",
    "_openmp_mutex",
    "blas",
    "bzip2",
    "c-compiler",
    "ca-certificates",
    "cmake",
    "compilers",
    "cuda-toolkit",
    "cudatoolkit",
    "cudnn",
    "cxx-compiler",
    "gcc",
    "gcc_linux-64",
    "git",
    "gxx",
    "gxx_linux-64",
    "libblas",
    "libffi",
    "libgcc",
    "libgcc-ng",
    "libgomp",
    "liblapack",
    "libstdcxx-ng",
    "make",
    "mkl",
    "mkl-service",
    "nomkl",
    "openblas",
    "openmpi",
    "openssl",
    "pytorch-cuda",
    "sqlite",
    "tk",
    "xz",
    "zlib",
}

_PACKAGE = re.compile(r"^(?:(?P<channel>[\w./-]+)::)?(?P<name>[A-Za-z0-9_][\w.-]*)\s*(?P<version>.*)$")


class BadCondaFile(Exception):
    """A conda file that cannot be read; the message says where and why."""


@dataclass
class Recipe:
    """What to install: a Python version specifier (empty for any), requirement lines in pip's form, and what a reader should know."""

    python: str = ""
    requirements: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(text: str) -> Recipe:
    """The recipe of a conda file's text; BadCondaFile says what is wrong with it."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadCondaFile(f"the conda file is not YAML: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("dependencies") or [], list):
        raise BadCondaFile("the conda file must be a mapping with a list named 'dependencies'")
    recipe = Recipe()
    for entry in document.get("dependencies") or []:
        if isinstance(entry, str):
            _package(entry, recipe)
        elif isinstance(entry, dict) and set(entry) == {"pip"} and isinstance(entry["pip"] or [], list):
            recipe.requirements += [_line(line) for line in entry["pip"] or []]
        else:
            raise BadCondaFile(f"a dependency is a package or a list named 'pip', not {entry!r}")
    return recipe


def _line(line: Any) -> str:
    if not isinstance(line, str):
        raise BadCondaFile(f"an entry of the pip section is text, not {line!r}")
    return line.strip()


def _package(entry: str, recipe: Recipe) -> None:
    found = _PACKAGE.match(entry.strip())
    if not found:
        raise BadCondaFile(f"'{entry}' is not a conda package")
    name, version = found["name"].lower(), _version(found["version"].strip(), entry)
    if name == "python":
        recipe.python = version
    elif name in NATIVE:
        recipe.notes.append(f"{name} is not a Python package and was left out")
    else:
        pip_name = PIP_NAMES.get(name, name)
        if pip_name != name:
            recipe.notes.append(f"{name} is called {pip_name} on the Python package index")
        recipe.requirements.append(pip_name + version)


def _version(text: str, entry: str) -> str:
    """Conda's version in pip's form; ``=1.2`` means any 1.2.x, and a build string has no meaning for pip."""
    if not text:
        return ""
    if "|" in text or "[" in text:
        raise BadCondaFile(f"'{entry}': alternatives and brackets have no form that pip understands")
    if text[0] in "<>!~":
        return ",".join(part.split()[0] for part in text.split(",") if part.strip())
    exact = text.startswith("==")
    words = re.split(r"[=\s]+", text.lstrip("=").strip())
    if not exact and not re.match(r"[0-9]", words[0]):
        raise BadCondaFile(f"'{entry}' has no version after its name")
    if exact or (not text.startswith("=") and "*" not in words[0]):
        return f"=={words[0]}"
    return f"=={words[0].rstrip('*').rstrip('.')}.*"
