"""Whether steps fit together, in the shapes that a job can have beyond a pipeline of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from aml import bindings
from aml.project import family, open_azure, reference, uses

INNER = """
inputs:
  table: {type: uri_folder}
outputs:
  model: {type: custom_model}
jobs:
  fit:
    command: python fit.py ${{inputs.table}} ${{outputs.model}}
    inputs: {table: "${{parent.inputs.table}}"}
    outputs: {model: "${{parent.outputs.model}}"}
"""


def said(text: str, **others: str) -> list[str]:
    Path("job.yml").write_text(text)
    for name, content in others.items():
        Path(f"{name}.yml").write_text(content)
    return [str(problem) for problem in bindings.check(open_azure(Path("job.yml")))]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_pipeline_in_a_pipeline() -> None:
    outer = """
inputs: {raw: {type: uri_folder, path: data}}
outputs: {best: {type: custom_model}}
jobs:
  inner:
    component: inner.yml
    inputs: {table: "${{parent.inputs.raw}}"}
    outputs: {model: "${{parent.outputs.best}}"}
"""
    assert said(outer, inner=INNER) == []
    assert said(outer, inner=INNER.replace("parent.inputs.table", "parent.inputs.tble")) == [
        "inner.yml:9:21: expected an input of the pipeline (table), found 'tble'; did you mean table?"
    ]
    assert said(outer.replace("{table: ", "{tabel: "), inner=INNER) == [
        "job.yml:7:14: expected an input of the component (table), found 'tabel'; did you mean table?",
        "job.yml:6:5: expected the input table that the component needs, found none",
    ]


def test_a_component_written_into_its_step() -> None:
    text = """
jobs:
  a:
    component:
      inputs: {x: {type: integer}, y: {type: integer, optional: true}}
      outputs: {o: {type: uri_file}}
      command: echo ${{inputs.x}} $[[--y ${{inputs.y}}]] > ${{outputs.o}}
    inputs: {x: 1}
  b:
    command: cat ${{inputs.f}}
    inputs: {f: "${{parent.jobs.a.outputs.o}}"}
"""
    assert said(text) == []
    assert said(text.replace("${{inputs.y}}", "${{inputs.z}}")) == ["job.yml:7:16: expected an input of the step (x, y), found 'z'"]


def test_a_sweep() -> None:
    text = """
type: sweep
inputs: {data: {type: uri_folder, path: d}}
search_space: {rate: {type: uniform, min_value: 0, max_value: 1}}
trial:
  command: python t.py ${{inputs.data}} ${{search_space.rate}}
"""
    assert said(text) == []
    assert said(text.replace("${{search_space.rate}}", "${{search_space.rat}}")) == [
        "job.yml:6:12: expected a parameter of the search space (rate), found 'rat'; did you mean rate?"
    ]


def test_a_component_that_is_registered_elsewhere_is_not_guessed_at() -> None:
    text = """
jobs:
  a: {component: "azureml:others:1", inputs: {anything: 1}}
  b:
    command: cat ${{inputs.f}}
    inputs: {f: "${{parent.jobs.a.outputs.anything}}"}
"""
    assert said(text) == []


@pytest.mark.parametrize(
    "text", ["jobs: 5\n", "jobs: {a: 1}\n", "jobs: {a: {inputs: [1]}}\n", "command: [1]\n", "inputs: x\ncommand: a\n", "[]\n"]
)
def test_what_is_no_job_is_left_to_the_sdk(text: str) -> None:
    assert said(text) == []


def test_components_that_name_each_other_come_to_an_end() -> None:
    step = "jobs:\n  a: {{component: {}.yml}}\n"
    Path("job.yml").write_text(step.format("one"))
    Path("one.yml").write_text(step.format("two"))
    Path("two.yml").write_text(step.format("one"))
    assert [member.file.name for member in family(open_azure(Path("job.yml")))] == ["job.yml", "one.yml", "two.yml"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("azureml:a:1", ("a", "1", "")),
        ("azureml:a@latest", ("a", "", "latest")),
        ("azureml:a", ("a", "", "")),
        ("azureml:/subscriptions/s", None),
        ("azureml://registries/r/models/m/versions/1", None),
        ("azureml:a b:1", None),
        ("https://x/y", None),
        ("a:1", None),
    ],
)
def test_references(text: str, parts: tuple[str, str, str] | None) -> None:
    assert reference(text) == parts


def test_everything_that_a_file_uses_is_found() -> None:
    Path("job.yml").write_text("""
settings: {default_compute: azureml:cpu}
inputs: {d: {path: azureml:data:1}, literal: 5}
jobs:
  a:
    code: ../code
    environment: {image: i, conda_file: conda.yml}
    compute: azureml:gpu
  b:
    type: parallel
    task: {code: src, environment: azureml:env@latest}
  c:
    trial: trial.yml
  d:
    environment: {build: {path: docker}}
""")
    found = [(use.what, use.value, str(use.file or "")) for use in uses(open_azure(Path("job.yml")))]
    assert found == [
        ("compute", "azureml:cpu", ""),
        ("data", "azureml:data:1", ""),
        ("compute", "azureml:gpu", ""),
        ("file", "conda.yml", "conda.yml"),
        ("code", "../code", "../code"),
        ("code", "src", "src"),
        ("environment", "azureml:env@latest", ""),
        ("component", "trial.yml", "trial.yml"),
        ("build", "docker", "docker"),
    ]
