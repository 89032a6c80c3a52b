"""MLflow models without a scoring script: the environment is made from the model's own files, and the script is ours.

https://learn.microsoft.com/azure/machine-learning/how-to-deploy-mlflow-models-online-endpoints.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from emulator.assets import paths
from emulator.online.exceptions import failed

if TYPE_CHECKING:
    from emulator.core import Cloud

SCORE = Path(__file__).parent / "inside" / "mlflow_score.py"
SERVER = "azureml-inference-server-http"


async def environment(cloud: Cloud, model: paths.Located | None) -> dict[str, Any]:
    """The environment of an MLflow model: its conda.yaml, else its python_env.yaml, with the server added."""
    assert model is not None
    described = await paths.read(cloud, model, "MLmodel")
    if described is None:
        raise failed("BadArgument", "Unable to download user model: there is no MLmodel file in it.")
    flavors = (yaml.safe_load(described) or {}).get("flavors") or {}
    if "python_function" not in flavors:
        raise failed("BadArgument", "A deployment without a scoring script needs an MLflow model with the python_function flavor.")
    files = flavors["python_function"].get("env") or {}
    files = {"conda": files} if isinstance(files, str) else files
    conda = await paths.read(cloud, model, files.get("conda", "conda.yaml"))
    text = conda.decode() if conda else await _from_python_env(cloud, model, files.get("virtualenv", "python_env.yaml"))
    return {"condaFile": with_packages(text, [SERVER, "mlflow-skinny"])}


def with_packages(conda: str, wanted: list[str]) -> str:
    """A conda file that has these pip packages too, where it does not name them already (``mlflow`` stands for ``mlflow-skinny``)."""
    document = yaml.safe_load(conda) or {}
    dependencies = list(document.get("dependencies") or [])
    pip: list[str] = next((list(one["pip"] or []) for one in dependencies if isinstance(one, dict) and "pip" in one), [])
    named = {_name(line) for line in [*pip, *(one for one in dependencies if isinstance(one, str))]}
    named |= {"mlflow-skinny"} if "mlflow" in named else set()
    pip += [package for package in wanted if package not in named]
    rest = [one for one in dependencies if not (isinstance(one, dict) and "pip" in one)]
    return str(yaml.safe_dump({**document, "dependencies": [*rest, {"pip": pip}]}, sort_keys=False))


async def _from_python_env(cloud: Cloud, model: paths.Located, name: str) -> str:
    described = await paths.read(cloud, model, name)
    if described is None:
        raise failed(
            "BadArgument", "The MLflow model has neither a conda.yaml nor a python_env.yaml, so no environment can be made for it."
        )
    wanted = yaml.safe_load(described) or {}
    pip: list[str] = []
    for line in wanted.get("dependencies") or []:
        if str(line).startswith("-r "):
            listed = await paths.read(cloud, model, str(line)[3:].strip())
            pip += [one for one in (listed or b"").decode().splitlines() if one.strip() and not one.startswith("#")]
        else:
            pip.append(str(line))
    python = f"python={wanted['python']}" if wanted.get("python") else "python"
    return str(yaml.safe_dump({"dependencies": [python, {"pip": pip}]}))


def _name(requirement: str) -> str:
    word = requirement.strip().split("::")[-1]
    for mark in "<>=!~[; ":
        word = word.split(mark)[0]
    return word.lower().replace("_", "-")
