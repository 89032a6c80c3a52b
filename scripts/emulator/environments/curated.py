"""Microsoft's curated environments, as package sets.

Names and the packages that projects rely on come from the definitions in github.com/Azure/azureml-assets
(assets/training/general/environments and assets/inference/environments); profilers, debuggers and GPU parts are left out, and versions are
those that install on the Pythons this catalog supports.
"""

from __future__ import annotations

import re

IMAGE = "mcr.microsoft.com/azureml/curated/{name}:latest"

_TRAINING = ["azureml-mlflow", "azureml-inference-server-http", "joblib", "numpy", "pandas", "scipy", "matplotlib", "tqdm", "psutil"]
PACKAGES = {
    "sklearn-1.5": ["scikit-learn~=1.5.0", *_TRAINING],
    "sklearn-1.1": ["scikit-learn~=1.1.0", *_TRAINING],
    "sklearn-1.0": ["scikit-learn~=1.0.0", *_TRAINING],
    "lightgbm-3.3": ["lightgbm>=4.6.0", "scikit-learn~=1.5.1", "xgboost~=1.7.6", *_TRAINING],
    "python-sdk-v2": ["azure-ai-ml", "azure-identity", "azureml-mlflow"],
    "minimal-inference": ["azureml-inference-server-http"],
    "sklearn-inference": ["azureml-inference-server-http", "azureml-mlflow", "joblib", "numpy", "pandas", "scikit-learn", "xgboost"],
}

# How the catalog, the older workspace copies and the images spell them: with a prefix, with operating system, Python and processor.
_NAMES = [
    (r"(azureml-)?sklearn-1\.5(-.*)?", "sklearn-1.5"),
    (r"(azureml-)?sklearn-1\.1(-.*)?", "sklearn-1.1"),
    (r"(azureml-)?sklearn-(1\.0|0\.24)(?!.*inference)(-.*)?", "sklearn-1.0"),
    (r"(azureml-)?lightgbm(-3\.[23])?(?!.*inference)(-.*)?", "lightgbm-3.3"),
    (r"(azureml-)?python-sdk-v2(-.*)?", "python-sdk-v2"),
    (r"(azureml-)?minimal-.*inference(-.*)?", "minimal-inference"),
    (r"(azureml-)?sklearn-.*inference(-.*)?", "sklearn-inference"),
]


def find(name: str) -> str | None:
    """The package set that stands for a curated environment's name or image; None where the emulator has none."""
    last = name.split("/curated/")[-1] if "/curated/" in name else name
    word = last.split("/")[-1].split(":")[0].split("@")[0].lower()
    return next((known for pattern, known in _NAMES if re.fullmatch(pattern, word)), None)


def is_curated(name: str) -> bool:
    """Whether a name or image claims to be one of Microsoft's."""
    return "/azureml/curated/" in name.lower() or name.lower().startswith("azureml-")


def conda_file(known: str) -> str:
    """The conda file of a package set."""
    lines = "".join(f"    - {line}\n" for line in PACKAGES[known])
    return f"name: {known}\nchannels: [conda-forge]\ndependencies:\n  - pip\n  - pip:\n{lines}"
