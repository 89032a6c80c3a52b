"""The linter: every rule with a file that breaks it and one that keeps all, files found, suppressions, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure_pipelines import cli
from azure_pipelines.findings import Finding
from azure_pipelines.lint import engine
from azure_pipelines.lint.rules import LEVELS, RULES

ROOT = Path(__file__).parents[2]
TOOL = Path(__file__).parent / "azure_pipelines"
CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "lint_cases.yml").read_text(encoding="utf-8"))
IDS = [f"{number}-{case['rule']}" for number, case in enumerate(CASES)]
HEAD = "trigger: none\npool: {vmImage: ubuntu-24.04}\n"
JOB = HEAD + "jobs:\n- job: one\n  timeoutInMinutes: 10\n  steps:\n"
DEPLOYMENT = HEAD + textwrap.dedent("""\
    stages:
    - stage: one
      lockBehavior: sequential
      jobs:
      - deployment: deploy_it
        timeoutInMinutes: 10
        environment: dev
        strategy:
          runOnce:
            deploy:
              steps:
    """)

Look = Callable[..., list[Finding]]


def written(sample: dict[str, str]) -> str:
    """A sample as a whole file."""
    ((kind, text),) = sample.items()
    heads = {"file": ("", ""), "job": (JOB, "  "), "deployment": (DEPLOYMENT, " " * 10)}
    head, indent = heads[kind]
    return head + textwrap.indent(text, indent)


def name_of(text: str) -> str:
    return "template.yml" if text.startswith(("parameters:", "steps:")) else "azure-pipelines.yml"


@pytest.fixture
def look(tmp_path: Path) -> Look:
    def look(text: str, name: str = "azure-pipelines.yml", **more: Any) -> list[Finding]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return engine.lint(tmp_path, [tmp_path], **more).findings

    return look


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_rule_finds_the_lines_that_break_it_and_no_other(case: dict[str, Any], look: Look) -> None:
    bad = written(case["bad"])
    lines = [number for number, line in enumerate(bad.splitlines(), start=1) if line.endswith("#!")]
    assert lines
    found = [finding for finding in look(bad.replace(" #!", ""), name_of(bad)) if finding.rule == case["rule"]]
    assert [finding.at.line for finding in found] == lines, found


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_good_file_breaks_no_rule_at_all(case: dict[str, Any], look: Look) -> None:
    good = written(case["good"])
    assert look(good, name_of(good)) == []


def test_every_rule_has_a_case() -> None:
    assert {rule.id for rule in RULES} - {case["rule"] for case in CASES} == {
        "script-without-checkout",
        "unexpanded-template",
    }  # have tests


def test_ids_levels_and_links_have_one_form() -> None:
    assert len(LEVELS) == len(RULES)
    for rule in RULES:
        assert rule.id == rule.id.lower().replace("_", "-").replace(" ", "-")
        assert rule.level in ("error", "warning")
        assert rule.reason.endswith(".")
        assert rule.link.startswith("https://learn.microsoft.com/azure/devops/pipelines/")


def test_a_script_of_a_template_needs_a_checkout_of_its_repository(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    (own / "scripts").mkdir(parents=True)
    (other / "scripts").mkdir(parents=True)
    (other / "scripts" / "deploy.sh").write_text("exit 0", encoding="utf-8")
    (other / "deploy.yml").write_text("steps:\n- bash: ./scripts/deploy.sh\n", encoding="utf-8")
    resources = "resources: {repositories: [{repository: lib, type: git, name: a/b, ref: refs/tags/v1}]}\n"
    caller = resources + JOB + "  - template: deploy.yml@lib\n"
    (own / "azure-pipelines.yml").write_text(caller, encoding="utf-8")

    def rules() -> list[tuple[str, str, int]]:
        found = engine.lint(own, [own], repositories={"lib": other}).findings
        return [(finding.rule, finding.at.file, finding.at.line) for finding in found]

    assert rules() == [("script-without-checkout", "/deploy.yml@lib", 2)]
    (own / "azure-pipelines.yml").write_text(caller.replace("steps:\n", "steps:\n  - checkout: lib\n"), encoding="utf-8")
    assert rules() == []
    (own / "azure-pipelines.yml").write_text(caller, encoding="utf-8")
    (own / "scripts" / "deploy.sh").write_text("exit 0", encoding="utf-8")  # then it is the caller's own that runs
    assert rules() == []


# -- habits of public catalogs for machine learning


HABITS = """\
# A training and deployment pipeline as many catalogs have it.
pr:
- main

resources:
  repositories:
  - repository: mlops-templates
    name: Contoso/mlops-templates
    endpoint: github-connection
    type: github
    ref: main

parameters:
- name: model_name
  type: string
  default: taxi

variables:
- template: config-infra-dev.yml
- ${{ if eq(variables['Build.SourceBranchName'], 'main') }}:
  - name: ado_service_connection_rg
    value: Azure-ARM-Prod
- ${{ else }}:
  - name: ado_service_connection_rg
    value: Azure-ARM-Dev

pool:
  vmImage: ubuntu-20.04

stages:
- stage: Train
  jobs:
  - job: train
    steps:
    - task: AzureCLI@2
      displayName: Install job dependencies
      continueOnError: true
      inputs:
        azureSubscription: $(ado_service_connection_rg)
        scriptType: bash
        scriptLocation: inlineScript
        inlineScript: |
          az extension add -n ml -y
          run_id=$(az ml job create -f train.yml --query name -o tsv)
          echo "##vso[task.setvariable variable=RUN_ID;isOutput=true]$run_id"
    - bash: |
        pip install azureml-sdk pandas
        python register.py --model_name ${{ parameters.model_name }} --branch $(Build.SourceBranchName)
        echo "##vso[task.setvariable variable=client_secret]$SECRET"
- stage: Deploy
  condition: eq(stageDependencies.Train.train.outputs['run.RUN_ID'], '1')
  jobs:
  - job: deploy
    steps:
    - task: AzureCLI@2
      displayName: Create online endpoint and deploy model
      continueOnError: true
      inputs:
        azureSubscription: Azure-ARM-Prod
        scriptType: bash
        scriptLocation: inlineScript
        inlineScript: az ml online-deployment create -f deployment.yml
"""
MUST = {
    "continue-on-error",
    "parameter-in-script",
    "connection-by-variable",
    "production-by-branch-name",
    "unpinned-repository",
    "secret-not-marked",
    "output-without-name",
    "stage-condition-context",
}


def test_the_habits_of_public_catalogs_are_found(look: Look, tmp_path: Path) -> None:
    (tmp_path / "config-infra-dev.yml").write_text("variables:\n  location: westeurope\n", encoding="utf-8")
    found = look(HABITS)
    further = {"untrusted-variable-in-script", "production-outside-environment", "unpinned-install", "retired-image", "missing-timeout"}
    further |= {"failure-unnoticed", "pull-request-with-secrets", "implicit-trigger"}
    assert {finding.rule for finding in found} == MUST | further | {"condition-without-status"}
    deploys = [finding for finding in found if finding.rule == "continue-on-error"]
    assert ["half failed" in finding.message for finding in deploys] == [False, True]


# -- which files, which values


def test_other_yaml_is_left_alone(look: Look, tmp_path: Path) -> None:
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / ".github" / "workflows" / "test.yml").write_text("on: push\njobs: {a: {steps: []}}\n", encoding="utf-8")
    (tmp_path / "job.yml").write_text("$schema: x\ntype: pipeline\njobs:\n  train: {type: command}\n", encoding="utf-8")
    (tmp_path / "compose.yml").write_text("services: &a {}\nvariables: *a\n", encoding="utf-8")
    (tmp_path / "gitlab.yml").write_text("stages:\n- build\n- test\nvariables: {A: b}\nbuild: {script: make}\n", encoding="utf-8")
    assert look(JOB + "  - bash: date\n") == []
    assert engine.lint(tmp_path, [tmp_path]).files == 1


def test_a_file_that_is_named_is_taken_for_a_pipeline(tmp_path: Path) -> None:
    file = tmp_path / "compose.yml"
    file.write_text("services: &a {}\n", encoding="utf-8")
    assert [finding.rule for finding in engine.lint(tmp_path, [file]).findings] == ["expansion"]


def test_every_value_of_a_closed_parameter_is_tried(look: Look) -> None:
    text = """\
parameters:
- name: size
  type: string
  default: small
  values: [small, large]
- name: gpu
  type: boolean
  default: false
- name: pool
  type: string
  default: ""
steps:
- ${{ if eq(parameters.size, 'large') }}:
  - bash: date
    continueOnError: true
- ${{ if parameters.gpu }}:
  - bash: date || true
- ${{ if ne(parameters.pool, '') }}:
  - task: Bsh@3
"""
    assert [(one.rule, one.at.line) for one in look(text, "template.yml")] == [
        ("continue-on-error", 15),
        ("failure-swallowed", 17),
        ("unknown-task", 19),
    ]


@pytest.mark.parametrize(
    "kind",
    ["string", "number", "boolean", "object", "step", "stepList", "job", "jobList", "deployment", "deploymentList", "stage", "stageList"],
)
def test_a_template_is_expanded_with_dummies_of_its_types(kind: str, look: Look) -> None:
    use = {
        "step": "steps:\n- ${{ parameters.x }}\n",
        "stepList": "steps:\n- ${{ parameters.x }}\n",
        "job": "jobs:\n- ${{ parameters.x }}\n",
        "jobList": "jobs:\n- ${{ parameters.x }}\n",
        "deployment": "jobs:\n- ${{ parameters.x }}\n",
        "deploymentList": "jobs:\n- ${{ parameters.x }}\n",
        "stage": "stages:\n- ${{ parameters.x }}\n",
        "stageList": "stages:\n- ${{ parameters.x }}\n",
    }.get(kind, "steps:\n- bash: date\n  env: {X: '${{ convertToJson(parameters.x) }}'}\n")
    assert look(f"parameters:\n- name: x\n  type: {kind}\n{use}", "template.yml") == []


def test_values_that_were_made_up_are_no_reason_for_an_error(look: Look) -> None:
    text = "parameters:\n- name: legs\n  type: object\nsteps:\n- bash: date\n  displayName: ${{ length(parameters.legs.names) }}\n"
    (found,) = look(text, "template.yml")
    assert (found.rule, found.at.line) == ("unexpanded-template", 6)
    assert found.message.endswith("(with legs={})")
    assert look(text, "template.yml", parameters={"legs": {"names": ["a"]}}) == []


def test_a_repository_that_is_declared_has_to_be_given(look: Look) -> None:
    resources = "resources: {repositories: [{repository: lib, type: git, name: a/b, ref: refs/tags/v1}]}\n"
    (found,) = look(resources + JOB + "  - template: a.yml@lib\n")
    assert (found.rule, found.message) == ("expansion", "Repository 'lib' is declared, but no folder was given for it: give --repository")


def test_a_pipeline_that_only_people_start_needs_no_trigger(look: Look) -> None:
    text = DEPLOYMENT.removeprefix("trigger: none\n") + "          - bash: date\n"
    assert [one.rule for one in look(text)] == ["implicit-trigger"]
    needs = "parameters:\n- name: what\n  type: string\n  values: [a, b]\n"
    assert look(needs + text.replace("date", "date ${{ parameters.what }}")) == []


def test_a_stage_template_may_name_stages_of_its_caller(look: Look) -> None:
    text = HEAD.replace("trigger: none\n", "").replace("pool", "#") + "stages:\n- stage: b\n  dependsOn: a\n  jobs: []\n"
    assert look(text, "template.yml") == []
    assert [one.rule for one in look("trigger: none\n" + text, "template.yml")] == ["unknown-dependency"]


def test_a_template_is_looked_at_with_what_its_pipeline_gives(look: Look, tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    template = "parameters:\n- name: image\n  type: string\nsteps:\n- bash: date\n  env: {I: '${{ parameters.image }}'}\n"
    (tmp_path / "stages" / "a.yml").write_text(template, encoding="utf-8")
    assert look(JOB + "  - template: stages/a.yml\n") != []  # the pipeline leaves out what the template needs
    assert look(JOB + "  - template: stages/a.yml\n    parameters: {image: x}\n") == []


def test_only_errors_are_told_of_other_repositories(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (other / "a.yml").write_text("steps:\n- bash: a || true\n- bash: b\n  continueOnError: true\n", encoding="utf-8")
    resources = "resources: {repositories: [{repository: lib, type: git, name: a/b, ref: refs/tags/v1}]}\n"
    (own / "p.yml").write_text(resources + JOB + "  - template: a.yml@lib\n", encoding="utf-8")
    found = engine.lint(own, [own], repositories={"lib": other}).findings
    assert [(one.rule, one.at.file) for one in found] == [("continue-on-error", "/a.yml@lib")]


# -- suppressions


@pytest.mark.parametrize(
    "text",
    [
        "  - bash: a || true # ado-lint: ignore[failure-swallowed] it may be gone already\n",
        "  # ado-lint: ignore[failure-swallowed, schema] it may be gone already\n  - bash: a || true\n",
        "  - bash: |\n      set -e\n      # ado-lint: ignore[failure-swallowed] it may be gone already\n      a || true\n      b\n",
    ],
)
def test_a_comment_with_a_reason_takes_a_finding_back(text: str, look: Look) -> None:
    assert look(JOB + text) == []


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("  - bash: a || true # ado-lint: ignore[failure-swallowed]\n", ["suppression-without-reason"]),
        ("  - bash: a || true # ado-lint: ignore[schema] no\n", ["failure-swallowed", "unused-suppression"]),
        ("  - bash: a || true # ado-lint: ignore all of it\n", ["failure-swallowed", "unused-suppression"]),
        (
            "  - bash: a # ado-lint: ignore[failure-swallowed] of this line\n  - bash: a || true\n",
            ["unused-suppression", "failure-swallowed"],
        ),
    ],
)
def test_a_comment_that_does_not_fit_is_a_finding(text: str, rules: list[str], look: Look) -> None:
    assert [finding.rule for finding in look(JOB + text)] == rules


# -- the command line


def tool(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TOOL), *words], cwd=cwd, capture_output=True, text=True, timeout=120)


def test_findings_are_lines_with_their_place_and_the_exit_says_so(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text(JOB + "  - bash: date\n    continueOnError: true\n", encoding="utf-8")
    done = tool("lint", "p.yml", cwd=tmp_path)
    first, last = done.stdout.splitlines()
    assert first.startswith("p.yml:8:5: error[continue-on-error]: a failure of 'Bash' becomes a warning")
    assert last.startswith("1 errors, 0 warnings (1 files, 1 expansions, ")
    assert (done.returncode, done.stderr) == (1, "")
    (tmp_path / "p.yml").write_text(JOB + "  - bash: date\n", encoding="utf-8")
    assert tool("lint", ".", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lint"], "required"),
        (["lint", "nowhere"], "there is no nowhere"),
        (["lint", "/"], "--root"),
        (["lint", ".", "--repository", "catalog"], "NAME=VALUE"),
        (["lint", ".", "--repository", "catalog=nowhere"], "there is no folder nowhere"),
    ],
)
def test_wrong_usage_ends_with_2(words: list[str], said: str, tmp_path: Path) -> None:
    done = tool(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_sarif_names_rule_level_and_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.yml").write_text(JOB + "  - bash: a || true\n", encoding="utf-8")
    assert cli.main(["lint", str(tmp_path), "--root", str(tmp_path), "--format", "sarif"]) == 1
    (result,) = json.loads(capsys.readouterr().out)["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("failure-swallowed", "warning")
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 7, "startColumn": 13}


def test_a_task_of_the_marketplace_is_allowed_by_name(look: Look) -> None:
    text = JOB + "  - task: TerraformTaskV4@4\n    inputs: {command: plan}\n"
    assert [one.rule for one in look(text)] == ["unknown-task"]
    assert look(text, tasks=["terraformtaskv4@4"]) == []


def test_expand_prints_the_final_yaml(tmp_path: Path) -> None:
    head = "parameters:\n- {name: n, type: number}\n"
    text = head + "steps:\n- bash: |\n    a\n    b\n  env: {N: '${{ parameters.n }}'}\n  timeoutInMinutes: 5\n"
    (tmp_path / "p.yml").write_text(text, encoding="utf-8")
    done = tool("expand", "p.yml", "--parameter", "n=7", cwd=tmp_path)
    assert yaml.safe_load(done.stdout) == {"steps": [{"bash": "a\nb\n", "env": {"N": 7}, "timeoutInMinutes": 5}]}
    assert "bash: |" in done.stdout
    refused = tool("expand", "p.yml", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("/p.yml (Line: 2, Col: ")


def test_a_folder_without_pipelines_is_wrong_usage_and_a_broken_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "values.yml").write_text("jobs: {cleanup: nightly}\n", encoding="utf-8")
    done = tool("lint", ".", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "no file of Azure Pipelines in .: name the folder that has some\n")
    (tmp_path / "steps.yml").write_text("steps:\n- bash: date\n  bash: date\n", encoding="utf-8")
    done = tool("lint", ".", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("steps.yml:3:3: error[expansion]: ")
    (tmp_path / "latin.yml").write_bytes("steps:\n- bash: echo größer\n".encode("latin-1"))
    (tmp_path / "other.yml").write_bytes("größer: 1\n".encode("latin-1"))
    (tmp_path / "templates.yml").write_text("steps:\n- task: Bash\n  continueOnError: true\n", encoding="utf-8")
    found = tool("lint", ".", cwd=tmp_path).stdout
    assert "steps.yml:3:3: error[expansion]" in found, "and hides nothing of the others"
    assert "latin.yml:1:1: error[expansion]: The file is not UTF-8" in found
    assert "other.yml" not in found
    assert "templates.yml:2:9: error[task-without-version]" in found


def test_a_template_that_extends_another_is_extended_and_pools_may_have_keys_of_their_own(look: Look, tmp_path: Path) -> None:
    """Microsoft's own pipelines: an archetype that extends a template, pools whose image a template above them reads."""
    inner = "parameters:\n- {name: jobs, type: jobList}\nresources:\n  repositories:\n"
    inner += "  - {repository: lib, type: git, name: a/b, ref: refs/tags/v1}\njobs:\n- ${{ parameters.jobs }}\n"
    job = "  - {job: a, timeoutInMinutes: 5, pool: {name: ours, image: win, os: windows}, steps: [{template: s.yml@lib}]}\n"
    (tmp_path / "inner.yml").write_text(inner, encoding="utf-8")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "s.yml").write_text("steps:\n- bash: date\n", encoding="utf-8")
    text = "extends:\n  template: inner.yml\n  parameters:\n    jobs:\n" + textwrap.indent(job, "  ")
    assert look(text, "outer.yml", repositories={"lib": tmp_path / "lib"}) == []


def test_a_run_says_why_a_stage_did_not_begin(tmp_path: Path) -> None:
    deploy = "{deployment: d, environment: prod, strategy: {runOnce: {deploy: {steps: [{bash: date}]}}}}"
    (tmp_path / "p.yml").write_text(f"stages: [{{stage: one, jobs: [{deploy}]}}]\n", encoding="utf-8")
    (tmp_path / "s.yml").write_text("environments: {prod: {approvals: [{approver: Ana, verdict: rejected}]}}\n", encoding="utf-8")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    done = tool("run", "p.yml", "--service", "s.yml", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "one.d: Skipped\n", "one: Failed, an approval was rejected\n")


def test_run_runs_it(tmp_path: Path) -> None:
    text = "parameters:\n- {name: who, type: string}\nsteps:\n- bash: echo hello $WHO\n  env: {WHO: '${{ parameters.who }}'}\n"
    (tmp_path / "p.yml").write_text(text, encoding="utf-8")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    done = tool("run", "p.yml", "--parameter", "who=you", "--json", "run.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "hello you" in done.stdout
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["result"] == "Succeeded"
    (tmp_path / "p.yml").write_text(text.replace("echo", "exit 3 #"), encoding="utf-8")
    assert tool("run", "p.yml", "--parameter", "who=you", cwd=tmp_path).returncode == 1


def test_the_rules_print_as_a_table() -> None:
    lines = tool("rules").stdout.splitlines()
    assert len(lines) == len(RULES) + 2
    assert lines[2].startswith("| [`expansion`](https://")


# -- the house


def test_the_house_and_its_examples_are_clean() -> None:
    assert engine.lint(ROOT, [ROOT / ".ado"], repositories={"catalog": ROOT}).findings == []
    for folder in sorted((ROOT / "examples").glob("*/.ado")):
        assert engine.lint(folder.parent, [folder], repositories={"catalog": ROOT}).findings == []


def test_a_fault_put_into_the_house_is_found(tmp_path: Path) -> None:
    (tmp_path / ".ado" / "steps").mkdir(parents=True)
    setup = (ROOT / ".ado" / "steps" / "setup.yml").read_text(encoding="utf-8")
    (tmp_path / ".ado" / "steps" / "setup.yml").write_text(setup.replace("    path: s ", "    # path: s "), encoding="utf-8")
    found = engine.lint(tmp_path, [tmp_path / ".ado"], repositories={"catalog": tmp_path}).findings
    assert [finding.rule for finding in found] == ["checkout-without-path"]
