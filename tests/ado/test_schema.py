"""Microsoft's schema, asked about expanded documents: what it takes, what it finds, where, and in which words."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from azure_pipelines import schema
from azure_pipelines.lint import engine
from azure_pipelines.nodes import Mapping, Node, Sequence, load
from hypothesis import given, settings
from hypothesis import strategies as st

GOOD = """
name: $(Date:yyyyMMdd)$(Rev:.r)
trigger: {batch: true, branches: {include: [main]}, paths: {exclude: [docs/*]}}
pr: none
resources:
  repositories:
  - {repository: catalog, type: git, name: a/b, ref: refs/tags/v1}
variables:
- group: keys
- {name: a, value: 1, readonly: true}
stages:
- stage: train
  lockBehavior: sequential
  isSkippable: no
  variables:
    AML: $[ stageDependencies.a.b.outputs['c.d'] ]
  jobs:
  - deployment: fit
    timeoutInMinutes: 30
    environment: {name: dev, resourceType: virtualMachine}
    pool: {vmImage: ubuntu-24.04}
    strategy:
      runOnce:
        deploy:
          steps:
          - download: none
          - checkout: self
            path: s
            fetchDepth: 1
            persistCredentials: false
          - bash: date
            name: when
            env: {A: 1, B: true}
            retryCountOnTaskFailure: 2
          - publish: a
            artifact: b
        on: {failure: {steps: []}}
  - job: test
    dependsOn: [fit]
    continueOnError: $(x)
    strategy: {matrix: {a: {b: 1}}, maxParallel: 2}
    pool: {name: ours, demands: [npm]}
    steps:
"""


def said(text: str, **more: Any) -> list[str]:
    """What is found, as `line:column message`."""
    return [f"{one.at.line}:{one.at.column} {one.message}" for one in schema.check(load(text, "/p.yml"), **more)]


def test_a_good_pipeline_has_no_fault() -> None:
    assert said(GOOD) == []


@pytest.mark.parametrize(
    "inputs",
    [
        "{azureSubscription: a, scriptType: bash}",
        "{AzureSubscription: a, SCRIPTTYPE: Bash}",  # neither names nor values of inputs have case
        "{connectedServiceNameARM: a, scriptType: bash}",  # an old name
        "{azureSubscription: a, scriptType: $(type), addSpnToEnvironment: $(yes), failOnStandardError: yes}",  # known in the run
    ],
)
def test_inputs_are_read_as_the_service_reads_them(inputs: str) -> None:
    assert said(f"steps:\n- task: azurecli@2\n  target: host\n  timeoutInMinutes: 5\n  inputs: {inputs}\n") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("jobs:\n- job: a\n  stepz: []\n", ["3:3 Unexpected value 'stepz'; did you mean 'steps'?"]),
        ("steps:\n- displayName: a\n  script: b\n", ["2:3 Unexpected value 'displayName': 'script' must be the first key"]),
        ("stages:\n- jobs: []\n  stage: x\n", ["2:3 Unexpected value 'jobs': 'stage' must be the first key"]),
        ("steps:\n- bash: a\n  env: x\n", ["3:8 Expected a map, found 'x'"]),
        ("steps: foo\n", ["1:8 Expected a list, found 'foo'"]),
        ("jobs:\n- job: a\n  pool: []\n", ["3:9 Expected a text, found a list"]),
        ("steps:\n- bash: a\n  continueOnError: maybe\n", ["3:20 Unexpected value 'maybe': one of true, y, yes, on, false, n, no, off"]),
        ("stages:\n- stage: a\n  lockBehavior: seq\n", ["3:17 Unexpected value 'seq': one of sequential, runLatest"]),
        ("steps:\n- checkout: self\n  clean: maybe\n", ["3:10 Unexpected value 'maybe': one of true, false"]),
        ("pr: {branchs: {include: [a]}}\nsteps: []\n", ["1:6 Unexpected value 'branchs'; did you mean 'branches'?"]),
        ("stages: []\njobs: []\n", ["2:1 Unexpected value 'jobs'"]),
        ("jobs:\n- deployment: x\n  environment: {nam: x}\n", ["3:17 Unexpected value 'nam'; did you mean 'name'?"]),
        ("steps:\n- task: AzureCLI@2\n  inputs: {azureSubscription: a}\n", ["3:11 AzureCLI@2: 'scriptType' is missing"]),
        (
            "steps:\n- task: AzureCLI@2\n  inputs: {azureSubscription: a, scriptType: bsh}\n",
            ["3:46 AzureCLI@2: Unexpected value 'bsh': one of ps, pscore, batch, bash; did you mean 'bash'?"],
        ),
        (
            "steps:\n- task: AzureCLI@2\n  inputs: {azureSubscription: a, scriptType: bash, inlineScripts: b}\n",
            ["3:52 AzureCLI@2: Unexpected value 'inlineScripts'; did you mean 'inlineScript'?"],
        ),
        ("steps:\n- task: Bash@3\n  timeoutInMinutes: soon\n", ["3:21 Expected a whole number, found 'soon'"]),
        ("steps:\n- task: Bsh@3\n", ["2:9 The task Bsh@3 is not one that the service ships; did you mean Bash@3?"]),
        (
            "steps:\n- task: Terraform@1\n",
            ["2:9 The task Terraform@1 is not one that the service ships; if it is from the marketplace, allow it with --task"],
        ),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_place(text: str, found: list[str]) -> None:
    assert said(text) == found


def test_what_the_schema_is_too_strict_about_is_taken() -> None:
    assert said("trigger: {paths: {include: [docs/, a b/*]}}\npr: {paths: {exclude: [docs/]}}\nsteps: []\n") == []
    assert said("steps:\n- task: HelmDeploy@0\n  inputs: {command: upgrade}\n") == []  # a registry is needed to save a chart only
    assert said("trigger: {branches: {include: [docs/]}}\nsteps: []\n") != []


def test_a_step_of_no_kind_names_the_kinds() -> None:
    (found,) = said("steps:\n- foo: 1\n")
    assert found.startswith("2:3 Unexpected value 'foo': the first key is one of bash, checkout, ")


def test_allowed_tasks_are_named_with_reasons_and_are_needed() -> None:
    for task, reason in schema.ALLOWED.items():
        assert reason
        assert said(f"steps:\n- task: {task}\n") == []
        assert task.lower() not in schema._tasks(), f"the schema knows {task} now: take it off the list"
    assert said("steps:\n- task: Terraform@1\n", allowed=["terraform@1"]) == []
    assert said("steps:\n- task: Bash@3.231.0\n") == []  # a whole version is one too


def test_deprecated_tasks_are_the_schemas_own() -> None:
    assert "deprecated" in schema.deprecated("azurekeyvault@1")
    assert schema.deprecated("AzurePowerShell@5") == ""  # the name stands in the schema twice, once deprecated
    assert schema.deprecated("AzureCLI@2") == schema.deprecated("No@1") == ""


# A stock validator reads the same schema. Where all scalars are texts, names are in the schema's own case and the first keys stand first,
# the two have to agree.

SCHEMA = json.loads(
    (importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "azure-pipelines.json").read_text(encoding="utf-8")
)
STOCK = jsonschema.Draft7Validator(SCHEMA)


def texts(node: Node) -> Any:
    if isinstance(node, Mapping):
        return {str(key): texts(value) for key, value in node.items()}
    return [texts(item) for item in node] if isinstance(node, Sequence) else str(node)


word = st.sampled_from(["a", "b_1", "main", "none", "true", "false", "sequential", "self", "refs/heads/main"])
key = st.sampled_from(
    [
        "name",
        "displayName",
        "steps",
        "jobs",
        "stages",
        "bash",
        "script",
        "checkout",
        "env",
        "pool",
        "vmImage",
        "condition",
        "dependsOn",
        "path",
        "variables",
        "value",
        "group",
        "trigger",
        "pr",
        "branches",
        "include",
        "environment",
        "strategy",
        "runOnce",
        "deploy",
        "lockBehavior",
        "artifact",
        "publish",
        "resources",
        "repositories",
        "repository",
        "type",
        "ref",
    ]
)
tree = st.recursive(word, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(key, inner, max_size=4), max_leaves=12)
kind = st.sampled_from(["bash", "script", "checkout", "publish"])
step = st.builds(lambda first, more: {first: "a", **more}, kind, st.dictionaries(key, tree, max_size=2))
job = st.dictionaries(key, tree, max_size=2).map(lambda more: {"job": "a", **more})
stage = st.dictionaries(key, tree, max_size=3).map(lambda more: {"stage": "a", **more})
pipeline = st.one_of(
    st.fixed_dictionaries({"steps": st.lists(step | tree, max_size=3)}, optional={"trigger": tree, "pool": tree, "variables": tree}),
    st.fixed_dictionaries({"jobs": st.lists(job | tree, max_size=3)}, optional={"pr": tree, "resources": tree, "name": tree}),
    st.fixed_dictionaries(
        {"stages": st.lists(st.dictionaries(key, tree, max_size=3).map(lambda more: {"stage": "a", **more}), max_size=2)}
    ),
)


@settings(max_examples=150, deadline=None)
@given(pipeline)
def test_a_stock_validator_says_the_same_of_plain_documents(document: Any) -> None:
    node = load(yaml.safe_dump(document, sort_keys=False, default_style="'"), "/p.yml")
    found = [one for one in schema.check(node) if "must be the first key" not in one.message]
    assert bool(found) == (not STOCK.is_valid(texts(node))), found


def test_the_house_has_no_fault_of_the_schema() -> None:
    root = Path(__file__).parents[2]
    assert [one for one in engine.lint(root, [root / ".ado"], repositories={"catalog": root}).findings if one.rule == "schema"] == []
