"""Bundles: one form, one id, and what must not pass for one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aml
from aml import bundle, digest
from aml.command import Refusal
from aml.workspace import Workspace

DIGEST = "sha256:" + "ab" * 32
ROOT = Path(__file__).parents[2]


def document(**parts: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "form": 1,
        "model": {"name": "flight-delay", "version": "3", "type": "mlflow_model", "digest": DIGEST},
        "environment": {"name": "score", "version": "0a1b2c3d4e5f", "image": "mcr.microsoft.com/azureml/x:20260101.v1", "digest": DIGEST},
        "code": {"path": "code/score", "digest": DIGEST},
        "files": {".cloud/release.yml": DIGEST, ".cloud/online/deployment.yml": DIGEST},
        "data": [{"name": "flights", "version": "1"}],
        "job": {"name": "flight-delay-0123456789", "content_key": DIGEST, "commit": "c" * 40, "metrics": {"rmse": 41.5, "r2": 0.1}},
        "source": {"repository": "contoso/flight-delay", "commit": "c" * 40},
        "catalog": {"version": "0.1.0"},
    }
    return {**made, **parts}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_the_canonical_form_depends_on_nothing_but_content(value: dict[str, Any]) -> None:
    assert bundle.canonical(value) == bundle.canonical(shuffled(value))
    assert bundle.load(bundle.canonical(value)) == value
    assert bundle.canonical(bundle.load(bundle.canonical(value))) == bundle.canonical(value)


@given(st.dictionaries(st.text(), json_values, max_size=4), st.dictionaries(st.text(), json_values, max_size=4))
def test_other_content_has_another_id(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert (bundle.identify(left) == bundle.identify(right)) == (bundle.canonical(left) == bundle.canonical(right))


def test_the_canonical_form_is_that_of_rfc_8785() -> None:
    # The sample of RFC 8785, section 3.2.3, and numbers of its appendix B.
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '\u20ac$\u000f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert bundle.canonical(value).decode() == expected


def test_a_bundle_goes_to_bytes_and_back() -> None:
    made = document()
    assert bundle.parse(bundle.canonical(made), bundle.identify(made), "here") == made


@pytest.mark.parametrize(
    "change", [{"model": {**document()["model"], "version": "4"}}, {"data": []}, {"source": {"repository": "", "commit": ""}}]
)
def test_a_changed_bundle_is_refused(change: dict[str, Any]) -> None:
    made = document()
    with pytest.raises(Refusal, match=f"the bundle in here is sha256:.* not {bundle.identify(made)}"):
        bundle.parse(bundle.canonical({**made, **change}), bundle.identify(made), "here")


@pytest.mark.parametrize("data", [b"", b"no json", json.dumps(document(), indent=1).encode()])
def test_other_bytes_are_refused_even_if_they_mean_the_same(data: bytes) -> None:
    with pytest.raises(Refusal, match="was changed after it was sealed"):
        bundle.parse(data, bundle.identify(document()), "here")


@pytest.mark.parametrize(
    "text", ["latest", "", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "a" * 64, "sha256:" + "a" * 64 + "\n", "$(id)", "bundle-x:1"]
)
def test_only_a_digest_is_a_bundle_id(text: str) -> None:
    with pytest.raises(Refusal, match="is not a bundle id"):
        bundle.checked_id(text)


def test_the_document_above_fits_the_schema() -> None:
    assert bundle.invalid(document()) == []
    without = document()
    del without["environment"], without["code"]  # an MLflow model that is served without a script
    assert bundle.invalid(without) == []


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("form",), 2, "form"),
        (("model", "version"), "latest", "model/version"),
        (("model", "version"), "Latest", "model/version"),
        (("model", "version"), "1@prod", "model/version"),
        (("model", "digest"), "sha256:1", "model/digest"),
        (("model", "extra"), "1", "extra"),
        (("code", "path"), "../outside", "code/path"),
        (("code", "path"), "/etc", "code/path"),
        (("files",), {}, "files"),
        (("files", "a/../../b"), DIGEST, "b"),
        (("job", "metrics", "rmse"), "nan", "rmse"),
        (("job", "commit"), "main", "commit"),
        (("time",), "2026-01-01", "time"),
    ],
)
def test_what_is_no_bundle(path: tuple[str, ...], value: Any, says: str) -> None:
    made = copy.deepcopy(document())
    holder = made
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    problems = bundle.invalid(made)
    assert len(problems) == 1
    assert says in problems[0]


@pytest.mark.parametrize(
    ("image", "moves"),
    [
        ("mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20240709.v1", False),
        ("mcr.microsoft.com/azureml/base@sha256:" + "0" * 64, False),
        ("localhost:5000/base:1", False),
        ("mcr.microsoft.com/azureml/base:latest", True),
        ("mcr.microsoft.com/azureml/base", True),
        ("localhost:5000/base", True),
        ("ubuntu", True),
    ],
)
def test_images_that_may_move(image: str, moves: bool) -> None:
    environment = {**document()["environment"], "image": image}
    assert bool(bundle.unpinned(document(environment=environment))) == moves


def test_a_deployment_is_named_by_what_it_serves() -> None:
    file = ".cloud/online/deployment.yml"
    name = bundle.deployment_name(document(), file)
    assert name == bundle.deployment_name(document(data=[], job={**document()["job"], "name": "other"}), file)
    others = [
        bundle.deployment_name(document(), file, "Standard_DS3_v2"),
        bundle.deployment_name(document(model={**document()["model"], "digest": "sha256:" + "0" * 64}), file),
        bundle.deployment_name(document(environment={**document()["environment"], "digest": "sha256:" + "0" * 64}), file),
        bundle.deployment_name(document(code={**document()["code"], "digest": "sha256:" + "0" * 64}), file),
        bundle.deployment_name(document(files={file: "sha256:" + "0" * 64}), file),
    ]
    assert len({name, *others}) == 6
    assert len(name) == 12
    assert name.startswith("d-")


def test_an_environment_is_known_by_what_it_is_made_of() -> None:
    one = {
        "image": "x:1",
        "condaFile": "name: a\ndependencies: [python=3.11]\n",
        "description": "one",
        "tags": {"a": "b"},
        "osType": "Linux",
    }
    same = {"image": "x:1", "condaFile": "# a comment\ndependencies:\n- python=3.11\nname: a\n"}
    assert bundle.definition(one) == bundle.definition(same)
    assert bundle.definition(one) != bundle.definition({**one, "image": "x:2"})
    assert bundle.definition(one) != bundle.definition({**one, "condaFile": "name: a\ndependencies: [python=3.12]\n"})
    assert bundle.definition(one) != bundle.definition({**one, "inferenceConfig": {"scoringRoute": {"path": "/score", "port": 80}}})


def test_a_checkout_that_is_not_what_was_sealed(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/score.py").write_text("run = 1\n")
    (tmp_path / "a.yml").write_text("a: 1\n")
    (tmp_path / "b.yml").write_text("b: 1\n")
    made = document(
        code={"path": "code", "digest": digest.of_tree(tmp_path / "code")},
        files={name: digest.of_file(tmp_path / name) for name in ("a.yml", "b.yml")},
    )
    assert bundle.mismatches(made, tmp_path) == []
    (tmp_path / "code/__pycache__").mkdir()
    (tmp_path / "code/__pycache__/score.pyc").write_bytes(b"0")
    assert bundle.mismatches(made, tmp_path) == []
    (tmp_path / "code/score.py").write_text("run = 2\n")
    (tmp_path / "a.yml").write_text("a: 2\n")
    (tmp_path / "b.yml").unlink()
    lines = bundle.mismatches(made, tmp_path)
    assert [line.split()[0] for line in lines] == ["a.yml", "b.yml", "code"]


def test_production_reads_the_registry_only() -> None:
    def at(stage: str) -> Workspace:
        return Workspace(stage, Path(), stage, "t", "s", "g", "w", "c")

    assert bundle.source(at("prod"), "") == bundle.source(at("prod"), "registry") == "registry"
    assert bundle.source(at("dev"), "") == bundle.source(at("test"), "workspace") == "workspace"
    with pytest.raises(Refusal, match="takes bundles from the registry only"):
        bundle.source(at("prod"), "workspace")


def test_the_catalogs_version_is_told_once() -> None:
    assert f'version = "{aml.VERSION}"' in (ROOT / "pyproject.toml").read_text()
