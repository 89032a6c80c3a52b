"""A whole project is checked without Azure: each fault that is put into a valid one is found, with its place and what to do.

The cases are (file, text, what stands there instead, messages).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import validate_project
from aml import loading
from aml.command import Refusal

SCRIPTS = Path(__file__).parents[2] / "scripts"

# ruff: noqa: E501 - a message stands on one line
# fmt: off
CASES = [
    (
        "pipelines/train.yml",
        "command: python prepare",
        "comand: python prepare",
        [
            "pipelines/train.yml:17:5: expected a key that a step has, found 'comand'; did you mean command?",
        ],
    ),
    (
        "pipelines/train.yml",
        "    type: mlflow_model",
        "    type: mlflow_modl",
        [
            "pipelines/train.yml:12:11: expected mlflow_model, as model.type in p/.cloud/release.yml, found mlflow_modl",
        ],
    ),
    (
        "pipelines/train.yml",
        "    type: mlflow_model",
        "    type: custom_model",
        [
            "pipelines/train.yml:12:11: expected mlflow_model, as model.type in p/.cloud/release.yml, found custom_model",
        ],
    ),
    (
        "pipelines/train.yml",
        "${{parent.inputs.rate}}",
        "${{parent.inputs.rte}}",
        [
            "pipelines/train.yml:28:13: expected an input of the pipeline (flights, rate), found 'rte'; did you mean rate?",
        ],
    ),
    (
        "pipelines/train.yml",
        "${{parent.inputs.rate}}",
        "${{inputs.rate}}",
        [
            "pipelines/train.yml:28:13: expected parent.inputs., parent.outputs. or parent.jobs., found 'inputs.rate'",
        ],
    ),
    (
        "pipelines/train.yml",
        "prepare.outputs.table",
        "prepare.outputs.tble",
        [
            "pipelines/train.yml:27:14: expected an output of the step prepare (table), found 'tble'; did you mean table?",
        ],
    ),
    (
        "pipelines/train.yml",
        "parent.jobs.prepare.",
        "parent.jobs.prep.",
        [
            "pipelines/train.yml:27:14: expected a step of the pipeline (prepare, train), found 'prep'; did you mean prepare?",
        ],
    ),
    (
        "pipelines/train.yml",
        "parent.jobs.prepare.outputs.",
        "parent.jobs.prepare.output.",
        [
            "pipelines/train.yml:27:14: expected parent.jobs.prepare.outputs., found 'parent.jobs.prepare.output.table'",
        ],
    ),
    (
        "pipelines/train.yml",
        "parent.jobs.prepare",
        "parent.job.prepare",
        [
            "pipelines/train.yml:27:14: expected parent.inputs., parent.outputs. or parent.jobs., found 'parent.job.prepare.outputs.table'",
        ],
    ),
    (
        "pipelines/train.yml",
        "${{parent.inputs.flights}}",
        "${{parent.jobs.train.outputs.model}}",
        [
            "pipelines/train.yml:14:3: expected steps in an order, found that they wait for each other: prepare -> train -> prepare",
        ],
    ),
    (
        "pipelines/train.yml",
        "${{parent.outputs.model}}",
        "${{parent.outputs.modl}}",
        [
            "pipelines/train.yml:11:3: expected a step that writes ${{parent.outputs.model}}, found none",
            "pipelines/train.yml:30:14: expected an output of the pipeline (model), found 'modl'; did you mean model?",
        ],
    ),
    (
        "pipelines/train.yml",
        "components/train.yml",
        "components/trn.yml",
        [
            "pipelines/train.yml:25:16: expected a file or folder, found no p/pipelines/components/trn.yml",
        ],
    ),
    (
        "pipelines/train.yml",
        "components/train.yml",
        "azureml:train_model:1",
        [
            "pipelines/train.yml:25:16: expected a component's file, found 'azureml:train_model:1'; if others keep it, add it to train.external",
        ],
    ),
    (
        "pipelines/components/train.yml",
        "command: python",
        "comand: python",
        [
            "pipelines/components/train.yml:10:1: expected a key that a step has, found 'comand'; did you mean command?",
        ],
    ),
    (
        "pipelines/components/train.yml",
        "type: number",
        "type: numbr",
        [
            "pipelines/components/train.yml:6:16: expected one of boolean, custom_model, integer, mlflow_model, mltable, number, path, string, triton_model, uri_file, uri_folder, found 'numbr'; did you mean number?",
        ],
    ),
    (
        "pipelines/components/train.yml",
        "${{inputs.rate}}",
        "${{inputs.rte}}",
        [
            "pipelines/components/train.yml:10:10: expected an input of the step (rate, table), found 'rte'; did you mean rate?",
        ],
    ),
    (
        "pipelines/components/train.yml",
        "azureml:train@latest",
        "azureml:trian@latest",
        [
            "pipelines/components/train.yml:11:14: expected one of the project's environments (train), found 'azureml:trian@latest'; did you mean train?",
        ],
    ),
    (
        "pipelines/train.yml",
        "../code/prepare",
        "../code/nope",
        [
            "pipelines/train.yml:16:11: expected a file or folder, found no p/code/nope",
        ],
    ),
    (
        "pipelines/train.yml",
        "${{inputs.raw}}",
        "${{inputs.rw}}",
        [
            "pipelines/train.yml:17:14: expected an input of the step (raw), found 'rw'; did you mean raw?",
        ],
    ),
    (
        "pipelines/train.yml",
        "${{outputs.table}}",
        "${{output.table}}",
        [
            "pipelines/train.yml:17:14: expected inputs., outputs. or search_space., found 'output.table'",
        ],
    ),
    (
        "pipelines/train.yml",
        "python prepare.py",
        "python3 -u prepar.py",
        [
            "pipelines/train.yml:17:14: expected a script in p/code/prepare (prepare.py), found 'prepar.py'; did you mean prepare.py?",
        ],
    ),
    (
        "pipelines/train.yml",
        "      rate: ${{parent.inputs.rate}}\n",
        "      ratte: ${{parent.inputs.rate}}\n",
        [
            "pipelines/train.yml:28:7: expected an input of the component (rate, table), found 'ratte'; did you mean rate?",
        ],
    ),
    (
        "pipelines/train.yml",
        "      table: ${{parent.jobs.prepare.outputs.table}}\n",
        "",
        [
            "pipelines/train.yml:24:5: expected the input table that the component needs, found none",
        ],
    ),
    (
        "pipelines/train.yml",
        "azureml:flights:1",
        "azureml:flights:2",
        [
            "pipelines/train.yml:8:11: expected version 1 of data flights, found 2",
        ],
    ),
    (
        "pipelines/train.yml",
        "azureml:flights:1",
        "azureml:flighs:1",
        [
            "pipelines/train.yml:8:11: expected one of the project's data assets (flights:1), found 'azureml:flighs:1'; did you mean flights?",
        ],
    ),
    (
        "pipelines/train.yml",
        "azureml:flights:1",
        "../daten",
        [
            "pipelines/train.yml:8:11: expected a file or folder, found no p/daten",
        ],
    ),
    (
        "pipelines/train.yml",
        "azureml:train@latest",
        "azureml:train:3",
        [
            "pipelines/train.yml:18:18: expected azureml:train@latest, since its file gives no version and so gets one by its content, found 3",
        ],
    ),
    (
        "pipelines/train.yml",
        "azureml:train@latest",
        "azureml:train@stable",
        [
            "pipelines/train.yml:18:18: expected a version or @latest, found @stable",
        ],
    ),
    (
        "pipelines/train.yml",
        "azureml:cpu",
        "azureml:gpu",
        [
            "pipelines/train.yml:4:20: expected one of the project's computes (cpu), found 'azureml:gpu'; did you mean cpu?",
        ],
    ),
    (
        "pipelines/train.yml",
        "azureml:cpu",
        "cpu",
        [
            "pipelines/train.yml:4:20: expected azureml:<name of a compute>, found 'cpu'",
        ],
    ),
    (
        "pipelines/train.yml",
        "type: pipeline",
        "type: pipelin",
        [
            "pipelines/train.yml:2:7: expected what Azure ML's SDK accepts, found that it says: Unsupported job type: pipelin.",
        ],
    ),
    (
        "pipelines/train.yml",
        "jobs:\n",
        "jobs:\n\tx: 1\n",
        [
            "pipelines/train.yml:14:1: expected spaces, found a tab; YAML is indented with spaces only",
        ],
    ),
    (
        ".cloud/release.yml",
        "rate: 0.1",
        "rat: 0.1",
        [
            ".cloud/release.yml:3:16: expected an input of p/pipelines/train.yml (flights, rate), found 'rat'; did you mean rate?",
        ],
    ),
    (
        ".cloud/release.yml",
        "rate: 0.1",
        "flights: 0.1",
        [
            ".cloud/release.yml:3:16: expected a literal input of p/pipelines/train.yml, found 'flights', which is data",
        ],
    ),
    (
        ".cloud/release.yml",
        "output: model",
        "output: modl",
        [
            ".cloud/release.yml:7:29: expected an output of p/pipelines/train.yml (model), found 'modl'; did you mean model?",
        ],
    ),
    (
        ".cloud/release.yml",
        ".cloud/compute/cpu.yml",
        ".cloud/compute/gpu.yml",
        [
            ".cloud/compute/gpu.yml:1:1: expected a file, found none",
        ],
    ),
    (
        ".cloud/release.yml",
        "tests/smoke/cases.yml",
        "tests/smoke/case.yml",
        [
            "tests/smoke/case.yml:1:1: expected a file, found none",
        ],
    ),
    (
        ".cloud/release.yml",
        "train:",
        "trian:",
        [
            ".cloud/release.yml:1:1: expected a known key, found 'trian'; did you mean train?",
        ],
    ),
    (
        ".cloud/workspaces/prod.yml",
        "de02",
        "de01",
        [
            ".cloud/workspaces/prod.yml:6:12: expected another application than in p/.cloud/workspaces/dev.yml, found the same; prod has its own",
        ],
    ),
    (
        ".cloud/workspaces/prod.yml",
        "registry_name: mlr-contoso\n",
        "",
        [
            ".cloud/workspaces/prod.yml:1:1: expected 'mlr-contoso', as in p/.cloud/workspaces/dev.yml (models are handed over through it), found none",
        ],
    ),
    (
        ".cloud/workspaces/prod.yml",
        "rg-prod\nworkspace_name: mlw-prod",
        "rg-dev\nworkspace_name: mlw-dev",
        [
            ".cloud/workspaces/prod.yml:5:17: expected another workspace than in p/.cloud/workspaces/dev.yml, found the same",
        ],
    ),
    (
        ".cloud/environments/train.yml",
        "train-conda.yml",
        "nope.yml",
        [
            ".cloud/environments/train.yml:3:13: expected a file or folder, found no p/.cloud/environments/nope.yml",
        ],
    ),
    (
        ".cloud/environments/train.yml",
        "train-conda.yml",
        "../environments",
        [
            ".cloud/environments/train.yml:3:13: expected a file, found the folder p/.cloud/environments",
        ],
    ),
    (
        ".cloud/environments/train.yml",
        "image:",
        "imge:",
        [
            ".cloud/environments/train.yml:2:1: expected a key that Azure ML knows, found 'imge'",
        ],
    ),
    (
        ".cloud/environments/train.yml",
        "name: train\n",
        "",
        [
            ".cloud/environments/train.yml:1:1: expected a name, found nothing",
        ],
    ),
    (
        ".cloud/compute/cpu.yml",
        "max_instances: 2",
        "max_instances: two",
        [
            ".cloud/compute/cpu.yml:5:16: expected a valid integer, found 'two'",
        ],
    ),
    (
        ".cloud/compute/cpu.yml",
        "type: amlcompute",
        "type: amlcmpute",
        [
            ".cloud/compute/cpu.yml:2:7: expected what Azure ML's SDK accepts, found that it says: Unknown compute type: amlcmpute",
        ],
    ),
    (
        ".cloud/data/flights.yml",
        "type: uri_folder",
        "type: uri_foldr",
        [
            ".cloud/data/flights.yml:3:7: expected one of mltable, uri_file, uri_folder, found 'uri_foldr'; did you mean uri_folder?",
        ],
    ),
    (
        ".cloud/data/flights.yml",
        "path: ../../data",
        "path: ../../dta",
        [
            ".cloud/data/flights.yml:4:7: expected a file or folder, found no p/dta",
        ],
    ),
    (
        ".cloud/online/endpoint.yml",
        "auth_mode: aad_token",
        "auth_mode: ky",
        [
            ".cloud/online/endpoint.yml:2:12: expected one of aad_token, aml_token, key, found 'ky'; did you mean key?",
        ],
    ),
    (
        ".cloud/online/deployment.yml",
        "instance_count: 1",
        "instance_count: x",
        [
            ".cloud/online/deployment.yml:7:17: expected a valid integer, found 'x'",
        ],
    ),
    (
        ".cloud/online/deployment.yml",
        "endpoint_name: tiny",
        "endpoint_name: tny",
        [
            ".cloud/online/deployment.yml:2:16: expected 'tiny', the name in p/.cloud/online/endpoint.yml, found 'tny'",
        ],
    ),
    (
        ".cloud/online/deployment.yml",
        "scoring_script: score.py",
        "scoring_scrpt: score.py",
        [
            ".cloud/online/deployment.yml:5:46: expected a key that Azure ML knows, found 'scoring_scrpt'",
        ],
    ),
    (
        ".cloud/online/deployment.yml",
        "scoring_script: score.py",
        "scoring_script: scor.py",
        [
            ".cloud/online/deployment.yml:5:62: expected a script in p/code/score (score.py), found 'scor.py'; did you mean score.py?",
        ],
    ),
    (
        "code/score/score.py",
        "def run",
        "def rum",
        [
            "code/score/score.py:1:1: expected a function run(), which the inference server calls, found none",
        ],
    ),
    (
        "code/score/score.py",
        "def run(raw)",
        "def run(raw",
        [
            "code/score/score.py:5:8: expected Python {version}, found a syntax error: '(' was never closed",
        ],
    ),
    (
        "tests/smoke/cases.yml",
        "status: 200",
        "status: ok",
        [
            "tests/smoke/cases.yml:2:56: expected an HTTP status (100 to 599), found 'ok'",
        ],
    ),
]
# fmt: on


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tests share of what the SDK loaded without a problem."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(loaded))


def said(files: Any) -> list[str]:
    return [str(problem).removeprefix("p/") for problem in validate_project.problems_of(files.folder)[0]]


def test_a_valid_project(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate_project.main([f"--project={files.folder}"]) == 0
    assert capsys.readouterr().out == "valid: 10 files\n"


@pytest.mark.parametrize(("path", "old", "new", "messages"), CASES, ids=[f"{Path(case[0]).stem}: {case[2].strip()[:40]}" for case in CASES])
def test_a_fault_is_found(path: str, old: str, new: str, messages: list[str], files: Any) -> None:
    files.edit(path, old, new)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert said(files) == [message.replace("{version}", version) for message in messages]


@pytest.mark.parametrize("path", [".cloud/release.yml", "pipelines/train.yml", ".cloud/online/deployment.yml", "tests/smoke/cases.yml"])
def test_a_missing_file_is_never_fine(path: str, files: Any) -> None:
    (files.folder / path).unlink()
    assert f"{path}:1:1: expected a file, found none" in said(files)
    with pytest.raises(Refusal, match=r"The project p is not valid. It has|The project p is not valid. \d+ problem"):
        validate_project.main([f"--project={files.folder}"])


def test_all_faults_are_found_in_one_run(files: Any) -> None:
    files.edit(".cloud/workspaces/dev.yml", "stage: dev", "stage: prd")
    files.edit(".cloud/online/endpoint.yml", "auth_mode: aad_token", "auth_mode: ky")
    files.edit("pipelines/train.yml", "${{inputs.raw}}", "${{inputs.rw}}")
    files.edit("code/score/score.py", "def run", "def rum")
    files.edit("tests/smoke/cases.yml", "status: 200", "status: ok")
    assert [message.partition(":")[0] for message in said(files)] == [
        ".cloud/online/endpoint.yml",
        ".cloud/workspaces/dev.yml",
        "code/score/score.py",
        "pipelines/train.yml",
        "tests/smoke/cases.yml",
    ]


def test_no_workspace_and_the_wrong_ending(files: Any) -> None:
    for name in ("dev", "prod"):
        (files.folder / f".cloud/workspaces/{name}.yml").rename(files.folder / f".cloud/workspaces/{name}.yaml")
    assert said(files) == [
        ".cloud/workspaces:1:1: expected a workspace spec such as dev.yml, found none",
        ".cloud/workspaces/dev.yaml:1:1: expected the ending .yml, found .yaml",
        ".cloud/workspaces/prod.yaml:1:1: expected the ending .yml, found .yaml",
    ]


def test_no_folder() -> None:
    with pytest.raises(Refusal, match="There is no project folder nowhere"):
        validate_project.main(["--project=nowhere"])


@pytest.mark.parametrize(
    ("old", "new", "external"),
    [
        ("azureml:flights:1", "azureml:shared:3", "azureml:shared:3"),
        ("azureml:cpu", "azureml:gpu", "azureml:gpu"),
        ("azureml:train@latest", "azureml:curated@latest", "azureml:curated@latest"),
        ("components/train.yml", "azureml:train_model:1", "azureml:train_model:1"),
    ],
)
def test_what_others_keep_is_declared(old: str, new: str, external: str, files: Any) -> None:
    files.edit("pipelines/train.yml", old, new)
    assert "train.external" in said(files)[0] or "did you mean" in said(files)[0]
    files.edit(".cloud/release.yml", "  parameters:", f'  external: ["{external}"]\n  parameters:')
    assert said(files) == []


@pytest.mark.parametrize(
    "reference",
    [
        "azureml://registries/azureml/environments/sklearn-1.5/versions/3",
        "azureml:/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/environments/e/versions/1",
    ],
)
def test_full_ids_name_what_is_not_the_projects(reference: str, files: Any) -> None:
    files.edit("pipelines/train.yml", "azureml:train@latest", reference)
    assert said(files) == []


def test_an_environment_that_is_built_from_a_folder(files: Any) -> None:
    files.write(".cloud/environments/train.yml", "name: train\nbuild: {path: ../../docker, dockerfile_path: Dockerfile}\n")
    assert said(files) == [".cloud/environments/train.yml:2:15: expected a file or folder, found no p/docker"]
    files.write("docker/Dockerfile", "FROM scratch\n")
    assert said(files) == []


def test_names_with_anything_in_them_are_harmless(files: Any, capfd: pytest.CaptureFixture[str]) -> None:
    odd = "a 'b' \"c\" $(touch pwned) `id` ;é日本.yml"
    (files.folder / ".cloud/data/flights.yml").rename(files.folder / f".cloud/data/{odd}")
    escaped = odd.replace('"', '\\"')
    files.edit(".cloud/release.yml", "[.cloud/data/flights.yml]", f'[".cloud/data/{escaped}"]')
    assert said(files) == []
    files.write(f".cloud/data/{odd}", "name: flights\nversion: '1'\ntype: \"x\\n::error::forged\"\npath: ../../data\n")
    with pytest.raises(Refusal):
        validate_project.main([f"--project={files.folder}"])
    assert not any(line.startswith("::") for line in "".join(capfd.readouterr()).splitlines())
    assert not list(Path.cwd().rglob("pwned"))


def test_what_was_loaded_once_is_not_loaded_again(files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert said(files) == []
    loaded: list[str] = []
    monkeypatch.setattr(loading, "problems_of", lambda kind, document: loaded.append(kind) or [])
    assert said(files) == []
    assert loaded == []
    files.write("code/train/train.py", "print('changed')\n")
    assert said(files) == []
    assert loaded == [], "the SDK reads no code"
    files.edit("pipelines/components/train.yml", "default: 0.2", "default: 0.3")
    assert said(files) == []
    assert loaded == ["component", "job"]
    files.edit(".cloud/environments/train-conda.yml", "3.10", "3.11")
    assert said(files) == []
    assert loaded == ["component", "job", "environment"]


def test_a_file_with_a_problem_is_loaded_every_time(files: Any) -> None:
    files.edit(".cloud/online/endpoint.yml", "auth_mode: aad_token", "auth_mode: ky")
    assert said(files) == said(files) != []


def test_a_cache_that_cannot_be_written_costs_only_time(files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert said(files) == []


def test_on_the_command_line(files: Any) -> None:
    assert said(files) == []
    env = {**os.environ, "AML_PROJECT": str(files.folder)}
    done = subprocess.run([sys.executable, str(SCRIPTS / "validate_project.py")], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "valid: 10 files\n", "")
    files.edit(".cloud/release.yml", "gate:", "gates:")
    done = subprocess.run([sys.executable, str(SCRIPTS / "validate_project.py")], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: p/.cloud/release.yml:8:1: expected a known key, found 'gates'; did you mean gate?",
        "error: The project p is not valid. 1 problem. Fix: correct what is listed above.",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "import sys, validate_project; sys.exit('azure.ai.ml' in sys.modules)"],
        env={**env, "PYTHONPATH": str(SCRIPTS)},
        check=False,
    )
    assert done.returncode == 0


def test_the_sdk_is_imported_without_a_search_for_garbage_and_the_search_goes_on_after() -> None:
    said = "import gc, sys\nfrom aml.loading import sdk\nbefore = gc.get_stats()[2]['collections']\nsdk()\n"
    said += "sys.exit(0 if gc.isenabled() and gc.get_stats()[2]['collections'] == before else 1)"
    done = subprocess.run([sys.executable, "-c", said], env={**os.environ, "PYTHONPATH": str(SCRIPTS)}, check=False)
    assert done.returncode == 0


def test_prod_signs_where_dev_does(files: Any) -> None:
    pem = (Path(__file__).parent / "corpus/signing/public.pem").read_text()
    path = ".cloud/workspaces/dev.yml"
    text = (files.folder / path).read_text() + "signing:\n  trusted:\n    - |\n"
    files.write(path, text + "".join(f"      {line}\n" for line in pem.splitlines()))
    [problem] = validate_project.problems_of(files.folder)[0]
    assert (problem.file, problem.line) == (files.folder / ".cloud/workspaces/prod.yml", 1)
    assert "expected signing, as in p/.cloud/workspaces/dev.yml" in problem.message


def test_prod_has_a_key_of_its_own(files: Any) -> None:
    pem = (Path(__file__).parent / "corpus/signing/public.pem").read_text()
    for name in ("dev", "prod"):
        path = f".cloud/workspaces/{name}.yml"
        text = (files.folder / path).read_text() + "signing:\n  trusted:\n    - |\n"
        files.write(path, text + "".join(f"      {line}\n" for line in pem.splitlines()))
    [problem] = validate_project.problems_of(files.folder)[0]
    assert (problem.file, problem.line) == (files.folder / ".cloud/workspaces/prod.yml", 10)
    assert "expected another key than in p/.cloud/workspaces/dev.yml" in problem.message
