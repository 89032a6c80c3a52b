"""The templates of .ado, expanded: by the example's pipelines, by themselves, and what becomes of a release.

tests/contract/test_templates.py holds how they are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure_pipelines import model
from azure_pipelines.lint import engine
from azure_pipelines.nodes import Fault, typed
from azure_pipelines.repositories import Repository
from azure_pipelines.templates import Expanded, expand

import _docs

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "flight-delay"
STAGES = sorted(path.stem for path in (ROOT / ".ado" / "stages").glob("*.yml"))
STEADY = yaml.safe_load((ROOT / ".ado" / "variables" / "steady.yml").read_text(encoding="utf-8"))["variables"]
STEPS = sorted(path.stem for path in (ROOT / ".ado" / "steps").glob("*.yml"))
CALLERS = sorted(path.stem for path in (EXAMPLE / ".ado").glob("*.yml"))
DUMMY = {"string": "dummy", "number": 7, "boolean": True, "object": ["first"]}
CATALOG = {"repository": "catalog", "type": "git", "name": "mlops/azureml-catalog", "ref": "refs/tags/v0"}
SIGN_IN = {"SYSTEM_ACCESSTOKEN": "$(System.AccessToken)", "AZURE_CLIENT_SECRET": "$(AZURE_CLIENT_SECRET)"}
JOB_NAME = {"AML_JOB_NAME": "$(submit_job.job_name)"}
DEPLOYMENT_NAME = {"AML_DEPLOYMENT_NAME": "$(deploy_online.deployment_name)"}
BUNDLE_ID = {"AML_BUNDLE_ID": "$[ stageDependencies.train.train.outputs['train.seal_bundle.bundle_id'] ]"}
DOSSIER_ID = {"AML_DOSSIER_ID": "$[ stageDependencies.share.share.outputs['share.compile_dossier.dossier_id'] ]"}


def expanded(pipeline: dict[str, Any] | str, **queued: object) -> Expanded:
    """A pipeline of the example's repository, expanded: one of its files, or one made up here."""
    repositories = {
        "self": Repository("self", EXAMPLE, name="flight-delay"),
        "catalog": Repository("catalog", ROOT, name="mlops/azureml-catalog", ref="refs/tags/v0"),
    }
    if isinstance(pipeline, str):
        return expand(repositories, pipeline, parameters=queued)
    return expand(repositories, "/made-up.yml", parameters=queued, text=yaml.safe_dump(pipeline, sort_keys=False))


def calling(template: str, how: str = "extends", before: str = "", **given: object) -> Expanded:
    """A pipeline that calls a template of the catalog; `before` is a stage of its own, ahead of an included one."""
    call = {"template": f".ado/{template}.yml@catalog", "parameters": given}
    resources = {"resources": {"repositories": [CATALOG]}}
    if how == "extends":
        return expanded({**resources, "extends": call})
    if template.startswith("steps/"):
        return expanded({**resources, "jobs": [{"job": "own", "timeoutInMinutes": 5, "steps": [call]}]})
    own = [{"stage": before, "jobs": [{"job": before, "timeoutInMinutes": 5, "steps": [{"bash": "true"}]}]}] if before else []
    return expanded({**resources, "stages": [*own, call]})


def declared(template: str) -> dict[str, dict[str, Any]]:
    document = yaml.safe_load((ROOT / ".ado" / f"{template}.yml").read_text(encoding="utf-8"))
    return {one["name"]: one for one in document["parameters"]}


def required(template: str) -> dict[str, object]:
    return {name: DUMMY[one["type"]] for name, one in declared(template).items() if "default" not in one}


def everything(template: str) -> dict[str, object]:
    return {name: one["values"][-1] if "values" in one else DUMMY[one["type"]] for name, one in declared(template).items()}


def jobs(found: Expanded) -> Iterator[tuple[model.Stage, model.Job]]:
    for stage in model.read(found.document).stages:
        for job in stage.jobs:
            yield stage, job


def faults(found: Expanded) -> list[str]:
    """What the schema, the graph and the rules of the lint have to say."""
    return [str(finding) for finding in engine.check(found, {}, {"self": EXAMPLE, "catalog": ROOT})]


@pytest.mark.parametrize("caller", CALLERS)
def test_a_pipeline_of_the_example_expands_and_is_sound(caller: str) -> None:
    asked = yaml.safe_load((EXAMPLE / ".ado" / f"{caller}.yml").read_text(encoding="utf-8")).get("parameters", [])
    found = expanded(f"/.ado/{caller}.yml", **{one["name"]: "asked for" for one in asked if "default" not in one})
    assert found.files[0] == f"/.ado/{caller}.yml"
    assert found.extends
    assert all(file.endswith("@catalog") for file in found.files[1:])
    assert faults(found) == []


@pytest.mark.parametrize("journey", STAGES)
@pytest.mark.parametrize("given", [required, everything], ids=["defaults", "everything"])
def test_a_journey_is_extended_and_included_alike(journey: str, given: Any) -> None:
    template = f"stages/{journey}"
    extending = calling(template, "extends", **{**given(template), "depends_on": []})
    including = calling(template, "include", **{**given(template), "depends_on": []})
    assert typed(extending.document)["stages"] == typed(including.document)["stages"]
    assert faults(extending) == faults(including) == []
    behind = calling(template, "include", "first", **given(template))
    assert faults(behind) == []
    assert model.read(behind.document).stages[1].depends_on == ["first"]


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("given", [required, everything], ids=["defaults", "everything"])
def test_steps_can_be_included_on_their_own(steps: str, given: Any) -> None:
    assert faults(calling(f"steps/{steps}", "include", **given(f"steps/{steps}"))) == []


@pytest.mark.parametrize("journey", STAGES)
def test_a_job_runs_where_the_caller_says(journey: str) -> None:
    template = f"stages/{journey}"
    for given, pool in (({"runner": "ubuntu-26.04"}, ("", "ubuntu-26.04")), ({"pool": "ours"}, ("ours", ""))):
        for _, job in jobs(calling(template, **required(template), **given)):
            assert job.pool is not None
            assert (job.pool.name, job.pool.vm_image) == pool


@pytest.mark.parametrize(
    ("template", "given"),
    [
        ("stages/deploy", {}),
        ("stages/promote", {}),
        ("stages/deploy", {"bundle_id": "sha256:1", "bundle_from": "elsewhere"}),
        ("stages/train", {"retrain": "perhaps"}),
        ("stages/train", {"time_limit_minutes": "soon"}),
        ("stages/release", {"envrionment": "dev"}),
    ],
    ids=["no bundle", "no bundle to promote", "no such place", "neither true nor false", "no number", "misspelt"],
)
def test_a_wrong_call_is_refused_before_anything_runs(template: str, given: dict[str, object]) -> None:
    with pytest.raises(Fault):
        calling(template, **given)


def test_the_files_themselves_are_sound() -> None:
    """The rules that look at a file as it was written, and the lint as a caller runs it."""
    ours = engine.lint(ROOT, [ROOT / ".ado"], repositories={"catalog": ROOT})
    assert (ours.findings, ours.files) == ([], len(STAGES) + len(STEPS) + 1)
    callers = engine.lint(EXAMPLE, [EXAMPLE / ".ado"], repositories={"catalog": ROOT})
    assert (callers.findings, callers.files) == ([], len(CALLERS))


# What a release is made of. stage: the stages before it; the job; environment and connection; the verbs with their own variables.
DEPLOY: list[tuple[str, dict[str, str]]] = [
    ("verify_bundle", {"AML_FROM": "workspace"}),
    ("deploy_online", {"AML_FROM": "workspace"}),
    ("smoke_test", DEPLOYMENT_NAME),
    ("shift_traffic", DEPLOYMENT_NAME),
    ("record_evidence", {}),
]
RELEASE: dict[str, tuple[list[str], str, tuple[str, str], dict[str, str], list[tuple[str, dict[str, str]]]]] = {
    "validate": ([], "validate", ("", ""), {"AML_PROJECT": "."}, [("validate_project", {})]),
    "train": (
        ["validate"],
        "train",
        ("dev", "azureml-dev"),
        {"AML_PROJECT": ".", "AML_WORKSPACE": "dev"},
        [
            ("connect_workspace", {}),
            ("check_compute", {}),
            ("register_data", {}),
            ("register_environment", {}),
            ("submit_job", {"AML_RETRAIN": "True"}),
            ("wait_job", JOB_NAME),
            ("check_gate", JOB_NAME),
            ("register_model", JOB_NAME),
            ("seal_bundle", {**JOB_NAME, "AML_MODEL_VERSION": "$(register_model.model_version)"}),
            ("record_evidence", {}),
        ],
    ),
    "deploy": (["train"], "deploy_bundle", ("dev", "azureml-dev"), {**BUNDLE_ID, "AML_PROJECT": ".", "AML_WORKSPACE": "dev"}, DEPLOY),
    "share": (
        ["train", "deploy"],
        "share",
        ("dev", "azureml-dev"),
        {**BUNDLE_ID, "AML_PROJECT": ".", "AML_WORKSPACE": "dev"},
        [
            ("collect_evidence", {}),
            ("check_gates", {"AML_ENVIRONMENT": "production"}),
            ("share_model", {}),
            ("compile_dossier", {"AML_PROD_WORKSPACE": "prod", "AML_ENVIRONMENT": "production"}),
            ("record_evidence", {}),
            ("share_evidence", {"AML_DOSSIER_ID": "$(compile_dossier.dossier_id)"}),
        ],
    ),
    "production": (
        ["share", "train", "deploy"],
        "production",
        ("production", "azureml-production"),
        {**BUNDLE_ID, **DOSSIER_ID, "AML_PROJECT": ".", "AML_WORKSPACE": "prod"},
        [
            ("verify_approval", {"AML_ENVIRONMENT": "production"}),
            *((verb, {name: value.replace("workspace", "registry") for name, value in env.items()}) for verb, env in DEPLOY),
        ],
    ),
}


def test_a_release_has_exactly_these_stages_jobs_steps_and_variables() -> None:
    found = expanded("/.ado/release.yml", retrain=True)
    assert found.extends == ["/.ado/stages/release.yml@catalog"]
    assert [str(stage.name) for stage, _ in jobs(found)] == list(RELEASE)
    for stage, job in jobs(found):
        before, name, (environment, connection), variables, verbs = RELEASE[stage.name]
        assert (stage.depends_on, job.name, job.environment) == (before, name, environment), stage.name
        assert (stage.condition, job.condition, job.depends_on) == (None, None, []), "what comes before has succeeded"
        assert {one.name: one.value for one in [*stage.variables, *job.variables]} == {**STEADY, **variables}
        assert stage.lock_behavior == ("sequential" if environment else "")
        assert job.timeout_in_minutes == ("360" if environment else "15")
        steps = list(job.all_steps())
        start = [step.input("source") for step in steps if step.kind == "download"]
        assert start == (["none"] if environment else [])
        assert [step.input("path") for step in steps if step.kind == "checkout"] == ["s", "catalog"]
        assert [step.input("azureSubscription") for step in steps if step.task == "AzureCLI@2"] == ([connection] if connection else [])
        ran = [(match[1], step) for step in steps if (match := re.fullmatch(r'exec python "\$SCRIPTS/(\w+)\.py"', step.input("script")))]
        assert [(verb, step.env) for verb, step in ran] == [(verb, {**(SIGN_IN if environment else {}), **env}) for verb, env in verbs], (
            stage.name
        )
        last = steps[steps.index(ran[-1][1]) + 1 :]
        kept = f"evidence-{stage.name}-{variables.get('AML_WORKSPACE')}-$(System.StageAttempt)-$(System.JobAttempt)"
        assert [(step.task, step.input("artifact")) for step in last] == (
            [("PublishPipelineArtifact@1", kept), ("PublishTestResults@2", "")] if environment else []
        )


def test_every_reference_to_an_output_finds_it() -> None:
    """An output that is misspelt, or of a stage that was not waited for, is empty on the service, and nothing says so."""
    found = list(jobs(expanded("/.ado/release.yml")))
    by_stage = {str(stage.name): job for stage, job in found}
    read = []
    for stage, job in found:
        for variable in [*stage.variables, *job.variables]:
            for of, inside, path in re.findall(r"stageDependencies\.(\w+)\.(\w+)\.outputs\['([\w.]+)'\]", variable.value):
                again, step, output = path.split(".")
                assert of in stage.depends_on
                assert inside == again == by_stage[of].name
                assert step in [one.name for one in by_stage[of].all_steps()]
                assert output in _docs.outputs(step)
                read.append((str(stage.name), output))
        named: list[str] = []
        for one in job.all_steps():
            for step, output in re.findall(r"\$\(([a-z_]+)\.([a-z_]+)\)", " ".join(one.env.values())):
                assert step in named
                assert output in _docs.outputs(step)
            named.append(one.name)
    assert read == [("deploy", "bundle_id"), ("share", "bundle_id"), ("production", "bundle_id"), ("production", "dossier_id")]


def test_validation_of_a_pull_request_asks_for_nothing_secret() -> None:
    ((stage, job),) = jobs(expanded("/.ado/pull-request.yml"))
    assert (stage.name, job.kind, job.environment) == ("validate", "job", "")
    for step in job.all_steps():
        assert step.env == {}
        assert step.task in ("", "UsePythonVersion@0", "Bash@3")


def test_a_rollback_is_productions_alone() -> None:
    ((stage, job),) = jobs(expanded("/.ado/rollback.yml"))
    assert (stage.name, job.name, job.environment, job.timeout_in_minutes) == ("rollback", "rollback", "production", "30")
    assert [step.input("azureSubscription") for step in job.all_steps() if step.task == "AzureCLI@2"] == ["azureml-production"]


@pytest.mark.parametrize("caller", ["hold", "release-hold"])
@pytest.mark.parametrize(("workspace", "environment"), [("dev", "dev"), ("prod", "production")])
def test_a_hold_is_the_workspaces_own(caller: str, workspace: str, environment: str) -> None:
    found = expanded(f"/.ado/{caller}.yml", workspace=workspace, bundle_id="sha256:1", reason="it's `wrong`; $(Build.BuildId)")
    assert faults(found) == []
    ((_, job),) = jobs(found)
    assert ({one.name: one.value for one in job.variables}["AML_WORKSPACE"], job.environment) == (workspace, environment)
    assert [step.input("azureSubscription") for step in job.all_steps() if step.task == "AzureCLI@2"] == [f"azureml-{environment}"]


@pytest.mark.parametrize("caller", ["break-glass", "hold", "release-hold"])
def test_a_reason_takes_no_variable_out_of_the_job(caller: str) -> None:
    """A macro in the value of an environment variable is expanded, a secret's too; and a reason is kept where many read it."""
    given = {"bundle_id": "sha256:1", "reason": "$(System.AccessToken)$$(AZURE_CLIENT_SECRET); it's `wrong`"}
    steps = [step for _, job in jobs(expanded(f"/.ado/{caller}.yml", **given)) for step in job.all_steps()]
    [reason] = [step.env["AML_REASON"] for step in steps if "AML_REASON" in step.env]
    assert reason == "$ (System.AccessToken)$$ (AZURE_CLIENT_SECRET); it's `wrong`"


@pytest.mark.parametrize("journey", STAGES)
def test_variables_of_a_pipeline_do_not_decide_what_its_steps_run(journey: str) -> None:
    """Whoever extends or includes a journey has variables of their own; the nearest wins, whatever its capitals."""
    hostile = {name.title(): "hostile" for name in STEADY}
    call = {"template": f".ado/stages/{journey}.yml@catalog", "parameters": required(f"stages/{journey}")}
    for how in ({"extends": call}, {"stages": [call]}):
        pipeline = model.read(
            expanded({"resources": {"repositories": [CATALOG]}, "variables": {**hostile, "own": "hostile"}, **how}).document
        )
        for stage in pipeline.stages:
            for job in stage.jobs:
                seen = {str(one.name).lower(): str(one.value) for one in [*pipeline.variables, *stage.variables, *job.variables]}
                assert [name for name, value in seen.items() if value == "hostile"] == ["own"]


def test_values_of_a_caller_stay_values() -> None:
    """Quotes, macros and expressions of a caller become text of a variable, never part of a script."""
    hostile = """a'b"c; $(Build.BuildId) `x` ${HOME} ##vso[task.complete]"""
    for _, job in jobs(calling("stages/deploy", bundle_id=hostile, project=hostile)):
        assert all("Build.BuildId" not in step.input("script") + step.input("inlineScript") for step in job.all_steps())
        assert {str(one.name): str(one.value) for one in job.variables}["AML_PROJECT"] == hostile
