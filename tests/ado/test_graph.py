"""How the parts of an expanded pipeline fit together, in finer grain than the rules' cases: outputs of every kind of job, names, levels."""

from __future__ import annotations

import pytest
from azure_pipelines import graph, model
from azure_pipelines.nodes import load

STRATEGIES = {
    "plain": "job: a\n      steps:",
    "matrix": "job: a\n      strategy: {matrix: {cpu: {x: 1}, gpu: {x: 2}}}\n      steps:",
    "late": "job: a\n      strategy: {matrix: '$[ variables.legs ]'}\n      steps:",
    "once": "deployment: a\n      environment: dev\n      strategy:\n        runOnce:\n          deploy:\n            steps:",
    "resource": "deployment: a\n      environment: dev.vm1\n      strategy:\n        runOnce:\n          deploy:\n            steps:",
    "hooks": (
        "deployment: a\n      environment: dev\n      strategy:\n        runOnce:\n          preDeploy:\n            steps:\n"
        "            - bash: x\n              name: early\n          deploy:\n            steps:"
    ),
    "canary": (
        "deployment: a\n      environment: dev\n      strategy:\n        canary:\n          increments: [10]\n"
        "          deploy:\n            steps:"
    ),
}


def rules(text: str, *, whole: bool = True) -> list[str]:
    return [finding.rule for finding in graph.check(model.read(load(text, "/p.yml")), whole=whole)]


def reading(kind: str, key: str, *, where: str) -> list[str]:
    """What is said when an output of a job of this kind is read, in a job beside it, a stage after it, or the condition of one."""
    job = f"    - {STRATEGIES[kind]}\n              - bash: x\n                name: set\n"
    if "hook" not in STRATEGIES[kind] and kind in ("plain", "matrix", "late"):
        job = job.replace("              - bash", "      - bash").replace("                name", "        name")
    else:
        job = job.replace("              - bash", "            - bash").replace("                name", "              name")
    beside = f"    - job: b\n      dependsOn: a\n      variables: {{v: \"$[ dependencies.a.outputs['{key}'] ]\"}}\n      steps: []\n"
    after = f"  - stage: two\n    variables: {{v: \"$[ stageDependencies.one.a.outputs['{key}'] ]\"}}\n    jobs: []\n"
    condition = f"  - stage: two\n    condition: eq(dependencies.one.outputs['{key}'], '1')\n    jobs: []\n"
    return rules("stages:\n  - stage: one\n    jobs:\n" + job + {"beside": beside, "after": after, "condition": condition}[where])


@pytest.mark.parametrize("where", ["beside", "after", "condition"])
@pytest.mark.parametrize(
    ("kind", "key", "found"),
    [
        ("plain", "set.v", []),
        ("plain", "set.v.w", []),
        ("plain", "a.set.v", ["output-key-form"]),
        ("plain", "sat.v", ["unknown-output"]),
        ("plain", "v", ["output-key-form"]),
        ("matrix", "gpu.set.v", []),
        ("matrix", "set.v", ["output-key-form"]),
        ("matrix", "tpu.set.v", ["output-key-form"]),
        ("late", "any.set.v", []),
        ("late", "any.sat.v", ["unknown-output"]),
        ("once", "a.set.v", []),
        ("once", "A.Set.v", []),
        ("once", "set.v", ["output-key-form"]),
        ("once", "deploy.set.v", ["output-key-form"]),
        ("resource", "Deploy_vm1.set.v", []),
        ("resource", "a.set.v", ["output-key-form"]),
        ("hooks", "deploy.set.v", []),
        ("hooks", "preDeploy.early.v", []),
        ("hooks", "preDeploy.set.v", ["unknown-output"]),
        ("hooks", "a.set.v", ["output-key-form"]),
        ("canary", "deploy_10.set.v", []),
    ],
)
def test_an_output_is_named_by_the_kind_of_its_job(kind: str, key: str, found: list[str], where: str) -> None:
    assert reading(kind, f"a.{key}" if where == "condition" else key, where=where) == found


def test_the_condition_of_a_stage_names_the_job_too() -> None:
    assert reading("plain", "set.v", where="condition") == ["unknown-output"]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("succeeded('one')", []),
        ("and(succeeded('one', 'two'), failed())", ["indirect-dependency"]),
        ("failed('nowhere')", ["unknown-dependency"]),
        ("always('one')", ["invalid-condition"]),
        ("eq(dependencies.one.results, 'x')", ["wrong-output-context"]),
        ("eq(dependencies.nowhere.result, 'x')", ["unknown-output"]),
        ("eq(dependencies.two.result, 'x')", ["indirect-dependency"]),
        ("eq(variables.a, 'x')", []),
        ("eq(parameters.a, 'x')", ["invalid-condition"]),
        ("counter('a', 1)", ["invalid-condition"]),
        ("eq(1)", ["invalid-condition"]),
    ],
)
def test_the_condition_of_a_stage(condition: str, found: list[str]) -> None:
    text = "stages:\n- {stage: one, jobs: []}\n- {stage: two, jobs: []}\n- stage: three\n  dependsOn: one\n  condition: "
    assert rules(f"{text}{condition}\n  jobs: []\n") == found


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("succeeded()", []),
        ("and(always(), ne(variables['Agent.JobStatus'], 'Failed'))", []),
        ("succeeded('a')", ["invalid-condition"]),
        ("eq(dependencies.a.result, 'x')", ["invalid-condition"]),
        ("eq(stageDependencies.a.b.result, 'x')", ["invalid-condition"]),
    ],
)
def test_the_condition_of_a_step_knows_variables_and_status_only(condition: str, found: list[str]) -> None:
    assert rules(f"steps:\n- bash: a\n  condition: {condition}\n") == found


@pytest.mark.parametrize("name", ["a-b", "1a", "a b", "ä"])
def test_names(name: str) -> None:
    assert (
        rules(f"stages:\n- stage: {name}\n  jobs:\n  - job: {name}\n    steps:\n    - bash: a\n      name: {name}\n")
        == ["invalid-name"] * 3
    )


def test_steps_of_two_hooks_may_share_a_name() -> None:
    steps = "{steps: [{bash: a, name: x}]}"
    strategy = f"{{runOnce: {{preDeploy: {steps}, deploy: {steps}}}}}"
    assert rules(f"jobs:\n- deployment: a\n  environment: dev\n  strategy: {strategy}\n") == []


def test_a_template_by_itself_may_wait_for_and_read_stages_of_its_caller() -> None:
    text = "stages:\n- stage: b\n  dependsOn: a\n  condition: eq(dependencies.a.outputs['j.s.v'], '1')\n"
    text += "  variables: {v: \"$[ stageDependencies.a.j.outputs['s.v'] ]\"}\n  jobs: []\n"
    assert rules(text, whole=False) == []
    assert rules(text) == ["unknown-dependency", "unknown-output", "unknown-output"]


def test_two_rings_are_two_findings_and_a_dependency_on_itself_is_one() -> None:
    jobs = "- {job: a, dependsOn: b, steps: []}\n- {job: b, dependsOn: a, steps: []}\n- {job: c, dependsOn: c, steps: []}\n"
    assert rules("jobs:\n" + jobs) == ["dependency-cycle"] * 2


@pytest.mark.parametrize("key", ["timeoutInMinutes", "container"])
def test_expressions_of_a_job_are_read_like_its_variables(key: str) -> None:
    assert rules(f"jobs:\n- job: a\n  {key}: $[ dependencies.b.outputs['x.y'] ]\n  steps: []\n") == ["unknown-output"]


def test_variables_with_a_point_are_no_outputs() -> None:
    text = "variables: {fit.rate: 1}\njobs:\n- job: a\n  steps: [{bash: x, name: fit}]\n"
    text += "- job: b\n  steps: [{bash: $(fit.rate) $(Build.Reason)}]\n"
    assert rules(text) == []
    assert rules(text.replace("fit.rate: 1", "a: 1")) == ["output-of-another-job"]
