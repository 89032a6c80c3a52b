"""House rules for the templates of Azure Pipelines, as written; tests/ado/test_house.py holds what they expand to.

The twin of test_workflows.py. What both systems must have in common is in test_parity.py.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import _docs

ROOT = Path(__file__).parents[2]
STAGES = {path.stem: path for path in sorted((ROOT / ".ado" / "stages").glob("*.yml"))}
STEPS = {path.stem: path for path in sorted((ROOT / ".ado" / "steps").glob("*.yml"))}
STEADY = ROOT / ".ado" / "variables" / "steady.yml"
TEMPLATES = [*STAGES.values(), *STEPS.values()]
CALLERS = sorted((ROOT / "examples").glob("*/.ado/*.yml"))
WRITES_TRAFFIC = {"deploy_online", "shift_traffic", "roll_back"}
FINDS = {path.stem for path in (ROOT / "scripts").glob("[!_]*.py") if "findings=" in path.read_text(encoding="utf-8")}
# exec: the task signals the first process of a cancelled step alone, and a shell does not pass that on to the verb
COMMAND = re.compile(r'exec python "\$SCRIPTS/(\w+)\.py"')
SETUP = 'exec python "$PIPELINE_WORKSPACE/catalog/scripts/_setup.py"'
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
SIGN_IN = {"SYSTEM_ACCESSTOKEN": "$(System.AccessToken)", "AZURE_CLIENT_SECRET": "$(AZURE_CLIENT_SECRET)"}
KEPT = "and(always(), ne(variables['AML_EVIDENCE'], ''))"
# What another job left is read where it proves itself, by its signatures; below the folder that is emptied for each job.
FETCHED = {
    "task": "DownloadPipelineArtifact@2",
    "displayName": "Fetch evidence",
    "inputs": {
        "itemPattern": "evidence-ledger-${{ parameters.dev_workspace }}-*/**",
        "targetPath": "$(Agent.TempDirectory)/ledgers",
    },
}
KEYWORDS = {"deploy", "deployment", "job", "jobs", "stage", "stages", "steps"}


class Job(NamedTuple):
    """A job with the stage that it is in; `signs_in` says whether it is a deployment job."""

    where: str
    stage: dict[str, Any]
    job: dict[str, Any]
    signs_in: bool

    @property
    def name(self) -> str:
        return str(self.job["deployment" if self.signs_in else "job"])

    @property
    def steps(self) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = self.job["strategy"]["runOnce"]["deploy"]["steps"] if self.signs_in else self.job["steps"]
        return steps

    @property
    def verbs(self) -> list[tuple[str, dict[str, Any]]]:
        return [(match[1], step) for step in self.steps if (match := COMMAND.fullmatch(step.get("bash", "")))]

    @property
    def variables(self) -> dict[str, str]:
        """Those of the stage and of the job, without the steady ones."""
        return {**self.stage.get("variables", {}), **{one["name"]: one["value"] for one in self.job["variables"] if "name" in one}}


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def parameters(path: Path) -> dict[str, dict[str, Any]]:
    return {declared["name"]: declared for declared in load(path)["parameters"]}


def written() -> Iterator[Job]:
    for stem, path in STAGES.items():
        for stage in load(path)["stages"]:
            for job in stage.get("jobs", []):
                yield Job(f"{stem}: {stage['stage']}", stage, job, "deployment" in job)


JOBS = list(written())
each_job = pytest.mark.parametrize("job", JOBS, ids=lambda job: job.where)
each_template = pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)


def nodes(node: Any) -> Iterator[tuple[str, Any]]:
    """Every key of every map below, with its value."""
    for key, value in node.items() if isinstance(node, dict) else ():
        yield str(key), value
        yield from nodes(value)
    for item in node if isinstance(node, list) else ():
        yield from nodes(item)


def test_the_journeys_are_those_of_the_documentation() -> None:
    assert set(STAGES) == set(_docs.JOURNEYS)
    assert set(STEPS) == {"setup", "evidence"}
    assert CALLERS


@pytest.mark.parametrize("journey", STAGES)
def test_a_journey_begins_with_the_sentences_of_its_twin(journey: str) -> None:
    twin = ROOT / ".github" / "workflows" / f"{journey}.yml"
    mine, other = (path.read_text(encoding="utf-8").splitlines() for path in (STAGES[journey], twin))
    assert list(takewhile(lambda line: line.startswith("#"), mine)) == list(takewhile(lambda line: line.startswith("#"), other))


@each_template
def test_a_template_can_be_extended_and_included(path: Path) -> None:
    """Whatever else it said (resources, variables, a trigger) an include would refuse, or an extending pipeline would lose."""
    assert list(load(path)) == ["parameters", "stages" if path.stem in STAGES else "steps"]


@each_template
def test_a_parameter_says_name_display_name_type_default_in_that_order(path: Path) -> None:
    for declared in load(path)["parameters"]:
        name = declared["name"]
        assert SNAKE.fullmatch(name), name
        form = ["name", "displayName", "type", "default", "values"]
        assert list(declared) in (form[:3], form[:4], form), name
        assert re.fullmatch(r"[A-Z].*\.", declared["displayName"]), name
        kinds = {"string": str, "boolean": bool, "number": int, "object": list}
        assert isinstance(declared.get("default", kinds[declared["type"]]()), kinds[declared["type"]]), name
        assert "values" not in declared or declared["default"] in declared["values"], name


def test_equal_parameters_mean_the_same_in_every_journey() -> None:
    """The same name has the same type everywhere, and a limit aside, the same default wherever it has one."""
    seen: dict[str, tuple[str, Any]] = {}
    different = {"time_limit_minutes", "workspace", "environment", "service_connection"}  # train waits longer; rollback is for production
    for journey, path in STAGES.items():
        for name, declared in parameters(path).items():
            known = seen.setdefault(name, (declared["type"], declared.get("default")))
            assert declared["type"] == known[0], (journey, name)
            assert name in different or declared.get("default") == known[1], (journey, name)


@each_template
def test_every_parameter_is_used_and_every_used_one_is_declared(path: Path) -> None:
    body = path.read_text(encoding="utf-8").split("\nst", 1)[1]
    assert set(re.findall(r"parameters\.(\w+)", body)) == set(parameters(path))


@each_template
def test_a_value_travels_by_environment_and_no_failure_goes_unseen(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "continueOnError" not in text
    assert "task.setvariable" not in text
    for key, value in nodes(load(path)):
        if key in ("bash", "script", "inlineScript"):
            assert COMMAND.fullmatch(value) or value == SETUP, value
        if key == "condition":
            assert value == KEPT, "YAML has no logic"
        if key.startswith("${{"):
            assert re.fullmatch(r"\$\{\{ (if (eq\(parameters\.\w+, (''|true)\)|gt\(length\(parameters\.\w+\), 0\))|else) \}\}", key), key
        assert key not in ("script", "powershell", "pwsh", "group", "container", "services"), key


@each_template
def test_a_connection_is_chosen_before_the_run_by_a_parameter(path: Path) -> None:
    """A check of the connection looks at the pipeline as it is before the run; a variable could be anything by then."""
    for key, value in nodes(load(path)):
        if key == "azureSubscription" or key.endswith("service_connection"):
            assert re.fullmatch(r"\$\{\{ parameters\.\w*service_connection \}\}", value), value
    for name, declared in parameters(path).items():
        assert "$(" not in str(declared.get("default", "")), name


@each_template
def test_a_macro_reads_what_the_job_itself_has(path: Path) -> None:
    ours = {"System.AccessToken", "AZURE_CLIENT_SECRET", "AML_EVIDENCE", "System.StageAttempt", "System.JobAttempt", "Agent.TempDirectory"}
    for name in re.findall(r"\$\(([^)']*)\)", path.read_text(encoding="utf-8")):
        assert name in ours or re.fullmatch(r"\w+\.\w+", name), name


def test_setup_checks_out_by_path_and_names_the_connection_once() -> None:
    first, second, python, plain, connected = load(STEPS["setup"])["steps"]
    assert (first["checkout"], first["path"]) == ("self", "s"), "the default working directory, to which AML_PROJECT is relative"
    assert (second["checkout"], second["path"]) == ("catalog", "catalog")
    for step in (first, second):
        depth = "${{ parameters.fetch_depth }}" if step is first else 1
        assert (step["clean"], step["fetchDepth"], step["persistCredentials"]) == (True, depth, False)
    assert python["task"] == "UsePythonVersion@0"
    twin = load(ROOT / ".github" / "actions" / "setup" / "action.yml")["inputs"]["python_version"]
    ours = parameters(STEPS["setup"])["python_version"]
    assert (ours["default"], ours["displayName"]) == (twin["default"], twin["description"])
    assert plain == {"${{ if eq(parameters.service_connection, '') }}": [{"bash": SETUP, "displayName": "Set up"}]}
    (task,) = connected["${{ else }}"]
    assert task["task"] == "AzureCLI@2"
    assert task["inputs"] == {
        "azureSubscription": "${{ parameters.service_connection }}",
        "scriptType": "bash",
        "scriptLocation": "inlineScript",
        "inlineScript": SETUP,
        "addSpnToEnvironment": True,
    }
    assert sum(key == "azureSubscription" for path in TEMPLATES for key, _ in nodes(load(path))) == 1


def test_evidence_is_kept_whatever_happened_and_under_one_name_an_attempt() -> None:
    """The name of an artifact is taken once in a run, and a stage that is run again is the same run."""
    publish, shown = load(STEPS["evidence"])["steps"]
    (results,) = shown["${{ if eq(parameters.findings, true) }}"]
    assert publish["publish"] == "$(AML_EVIDENCE)"
    assert publish["artifact"] == "evidence-${{ parameters.job }}-${{ parameters.workspace }}-$(System.StageAttempt)-$(System.JobAttempt)"
    assert publish["condition"] == results["condition"] == KEPT
    assert results["task"] == "PublishTestResults@2"
    assert (results["inputs"]["testResultsFormat"], results["inputs"]["testResultsFiles"]) == ("JUnit", "$(AML_EVIDENCE)/*.junit.xml")
    named = [step["parameters"]["job"] for job in JOBS for step in job.steps if step.get("template") == "../steps/evidence.yml"]
    assert len(named) == len(set(named)) == sum(job.signs_in for job in JOBS)


def test_no_two_stages_and_no_two_jobs_have_one_name() -> None:
    """release has all of them in one pipeline but those that a person or a schedule starts, which a caller may add."""
    stages, names = [str(job.stage["stage"]) for job in JOBS], [job.name for job in JOBS]
    assert len(stages) == len(set(stages))
    assert len(names) == len(set(names))
    assert not KEYWORDS & set(names)
    assert all(SNAKE.fullmatch(name) for name in stages + names)


@each_job
def test_a_job_has_a_title_a_limit_and_a_pool_that_the_caller_chooses(job: Job) -> None:
    assert job.stage["displayName"] == job.job["displayName"]
    assert isinstance(job.job["timeoutInMinutes"], int) or job.job["timeoutInMinutes"] == "${{ parameters.time_limit_minutes }}"
    assert job.job["pool"] == {
        "${{ if eq(parameters.pool, '') }}": {"vmImage": "${{ parameters.runner }}"},
        "${{ else }}": {"name": "${{ parameters.pool }}"},
    }
    assert all("displayName" in step for step in job.steps if "template" not in step and "download" not in step)


@each_job
def test_a_job_sets_up_runs_one_verb_a_step_and_keeps_the_evidence(job: Job) -> None:
    before, after = job.steps[: -len(job.verbs) - 1], job.steps[-1]
    steps = job.steps[1:-1]
    if job.signs_in:
        assert before[0] == {"download": "none"}
        fetched = [FETCHED] if job.stage["stage"] == "export" else []
        assert before[1:] == [{"template": "../steps/setup.yml", "parameters": before[1]["parameters"]}, *fetched]
        reads_history = {"fetch_depth"} if {"compile_dossier", "verify_approval"} & {verb for verb, _ in job.verbs} else set()
        assert set(before[1]["parameters"]) == {"service_connection"} | reads_history
        assert after["template"] == "../steps/evidence.yml"
        workspace = job.variables["AML_WORKSPACE"]
        finds = {} if FINDS & {verb for verb, _ in job.verbs} else {"findings": False}
        assert after["parameters"] == {"job": str(job.stage["stage"]), "workspace": workspace, **finds}
        steps = job.steps[len(before) : -1]
    else:
        assert job.steps[0] == {"template": "../steps/setup.yml"}
        steps = job.steps[1:]
    assert [step for _, step in job.verbs] == steps
    for verb, step in job.verbs:
        assert step["displayName"] == verb.replace("_", " ").capitalize()
        assert step.get("name", verb) == verb
        assert list(step) == [key for key in ("bash", "name", "displayName", "condition", "env") if key in step]
        assert step.get("condition") == (KEPT if verb == "record_evidence" else None), "what failed before is recorded, too"


@each_job
def test_only_a_job_of_an_environment_signs_in(job: Job) -> None:
    """Its approvals and checks are then asked before a token can be."""
    assert job.signs_in == ("environment" in job.job)
    assert job.signs_in == ([verb for verb, _ in job.verbs] != ["validate_project"])
    assert not job.signs_in or re.fullmatch(r"\$\{\{ parameters\.\w*environment \}\}", job.job["environment"])
    for verb, step in job.verbs:
        env = step.get("env", {})
        assert {name: env.get(name) for name in SIGN_IN} == (SIGN_IN if job.signs_in else dict.fromkeys(SIGN_IN)), verb
    side = str(job.job["environment"]).partition("environment")[0] if job.signs_in else ""
    assert not job.signs_in or side in job.steps[1]["parameters"]["service_connection"]
    assert not job.signs_in or side in job.variables["AML_WORKSPACE"]


@each_job
def test_a_job_decides_what_would_decide_what_its_steps_run(job: Job) -> None:
    """A pipeline that extends these templates has variables of its own, and so has its definition; a job's override both.

    Sources: who wins, "Define variables" (learn.microsoft.com/azure/devops/pipelines/process/variables); how a name becomes one of the
    environment, and that a variable goes before a step's own `env`, microsoft/azure-pipelines-agent, VarUtil.cs and Handler.cs.
    """
    assert job.job["variables"][0] == {"template": "../variables/steady.yml"}
    assert [list(one) for one in job.job["variables"][1:]] == [["name", "value"]] * (2 if job.signs_in else 1)


def test_what_is_steady_has_every_spelling_and_runs_nothing() -> None:
    steady = load(STEADY)["variables"]
    names = {name.replace(".", "_") for name in steady}
    assert {"BASH_ENV", "SHELLOPTS", "PYTHONPATH", "PYTHONWARNINGS", "NODE_OPTIONS", "GIT_CONFIG_COUNT", "LD_PRELOAD"} <= names
    elsewhere = {"AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com", "AZUREML_CURRENT_CLOUD": "AzureCloud"}
    for name in names:
        first, *others = name.split("_")
        for joints in itertools.product("_.", repeat=len(others)):
            spelling = first + "".join(joint + other for joint, other in zip(joints, others, strict=True))
            assert steady[spelling] == elsewhere.get(name, "")


def test_validation_has_no_credential() -> None:
    """It runs on pull requests, of forks too."""
    text = STAGES["validate"].read_text(encoding="utf-8").lower()
    for word in ("accesstoken", "secret", "environment", "connection"):
        assert word not in text


@each_job
def test_writers_of_an_endpoint_queue_and_are_not_cut_off(job: Job) -> None:
    """An exclusive lock cancels all but the newest of the runs that wait, unless their stages say sequential."""
    assert job.stage.get("lockBehavior") == ("sequential" if job.signs_in else None)
    text = STAGES[job.where.partition(":")[0]].read_text(encoding="utf-8")
    reasons = re.findall(r"lockBehavior: sequential # (.+)", text)
    assert len(reasons) == text.count("lockBehavior")
    if WRITES_TRAFFIC & {verb for verb, _ in job.verbs}:
        assert any(reason.startswith("one writer for each endpoint") for reason in reasons)


@each_job
def test_a_stage_waits_for_the_stages_that_the_caller_names(job: Job) -> None:
    asked = {"${{ if gt(length(parameters.depends_on), 0) }}": {"dependsOn": "${{ parameters.depends_on }}"}}
    before = {key: value for key, value in job.stage.items() if "dependsOn" in str(value) or key == "dependsOn"}
    assert before in (asked, {"dependsOn": ["share", "${{ parameters.depends_on }}"]}, {"dependsOn": "ledger"})


def test_every_verb_is_run_by_a_journey_or_is_a_tool() -> None:
    run = {verb for job in JOBS for verb, _ in job.verbs}
    assert run | set(_docs.TOOLS) == {path.stem for path in (ROOT / "scripts").glob("[!_]*.py")}


@each_job
def test_a_verb_gets_the_variables_it_knows_and_needs(job: Job) -> None:
    for verb, step in job.verbs:
        flags = {f"AML_{flag.option_strings[0][2:].replace('-', '_').upper()}": flag for flag in _docs.verb(verb).flags}
        own, shared = set(step.get("env", {})) - set(SIGN_IN), set(job.variables)
        assert own <= set(flags), f"{verb} knows no {own - set(flags)}"
        assert own.isdisjoint(shared), f"{verb} is told {own & shared} twice"
        assert shared - {"AML_WORKSPACE", "AML_BUNDLE_ID", "AML_DOSSIER_ID"} <= set(flags), f"{verb} knows no {shared - set(flags)}"
        assert {variable for variable, flag in flags.items() if flag.required} <= own | shared, verb


@each_job
def test_an_output_that_is_read_is_one_that_an_earlier_step_writes(job: Job) -> None:
    named: set[str] = set()
    for verb, step in job.verbs:
        for read, output in re.findall(r"\$\((\w+)\.(\w+)\)", str({**step.get("env", {}), "SYSTEM_ACCESSTOKEN": ""})):
            if f"{read}.{output}" == "Agent.TempDirectory":
                continue
            assert read in named, f"{verb} reads {read} before it ran"
            assert output in _docs.outputs(read)
        if "name" in step:
            assert _docs.outputs(verb), f"{verb} has a name and no outputs"
            named.add(verb)


def test_release_passes_on_what_it_was_told() -> None:
    """Nothing falls back to a default of the included journey while release knows the value."""
    release = parameters(STAGES["release"])
    included = [(stage["template"].removesuffix(".yml"), stage["parameters"]) for stage in load(STAGES["release"])["stages"]]
    assert [name for name, _ in included] == ["validate", "train", "deploy", "promote"]
    before: list[str] = []
    for name, given in included:
        known = parameters(STAGES[name])
        assert set(given) <= set(known), name
        assert set(known) - set(given) <= {"bundle_from"}, name  # a bundle is where it was sealed until it is shared
        assert list(given) == [parameter for parameter in known if parameter in given], "in the order of the template"
        for parameter, value in given.items():
            if parameter == "bundle_id":
                assert value == "$[ stageDependencies.train.train.outputs['train.seal_bundle.bundle_id'] ]"
                assert "train" in given["depends_on"], "an output is read of a stage that this one depends on"
            elif parameter == "depends_on":
                assert value == (before or "${{ parameters.depends_on }}")
            else:
                asked = parameter if parameter in release else f"dev_{parameter}"
                assert value == f"${{{{ parameters.{asked} }}}}", (name, parameter)
        before = {"validate": ["validate"], "train": ["train"], "deploy": ["train", "deploy"]}.get(name, [])


def test_two_jobs_that_deploy_differ_only_where_they_mean_to() -> None:
    """promote repeats the steps of deploy, as on GitHub; they must not drift apart."""
    by_stage = {str(job.stage["stage"]): job for job in JOBS}
    meant = {
        "${{ parameters.prod_workspace }}": "${{ parameters.workspace }}",
        "${{ parameters.prod_environment }}": "${{ parameters.environment }}",
        "${{ parameters.prod_service_connection }}": "${{ parameters.service_connection }}",
        "registry": "${{ parameters.bundle_from }}",
        "Production": "Deploy",
    }

    def translated(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: translated(value) for key, value in node.items()}
        if isinstance(node, list):
            return [translated(value) for value in node]
        return meant.get(node, node) if isinstance(node, str) else node

    deploy, production = by_stage["deploy"], by_stage["production"]
    names = {"deployment": deploy.job["deployment"]}
    made = {**translated(production.job), **names}
    steps = made["strategy"]["runOnce"]["deploy"]["steps"]
    steps[-1]["parameters"]["job"] = "deploy"
    steps.remove(next(step for step in steps if step.get("displayName") == "Verify approval"))
    assert steps[1]["parameters"].pop("fetch_depth") == 0
    assert made == deploy.job
    dossier = {"AML_DOSSIER_ID": "$[ stageDependencies.share.share.outputs['share.compile_dossier.dossier_id'] ]"}
    assert production.stage["variables"] == {**deploy.stage["variables"], **dossier}, "these are what only production has"


@pytest.mark.parametrize("path", CALLERS, ids=lambda path: f"{path.parents[1].name}: {path.stem}")
def test_a_caller_extends_a_journey_of_the_catalog_at_a_tag(path: Path) -> None:
    document = load(path)
    (catalog,) = document["resources"]["repositories"]
    assert (catalog["repository"], catalog["type"], catalog["name"]) == ("catalog", "git", "mlops/azureml-catalog")
    assert re.fullmatch(r"refs/tags/v\d+(\.\d+\.\d+)?", catalog["ref"])
    match = re.fullmatch(r"\.ado/stages/(\w+)\.yml@catalog", document["extends"]["template"])
    assert match
    known = parameters(STAGES[match[1]])
    given = document["extends"].get("parameters", {})
    chosen = [given.pop(key) for key in list(given) if key.startswith("${{ if ")]  # environment and connection of the workspace asked for
    assert set(given).union(*chosen) <= set(known)
    assert {name for name, declared in known.items() if "default" not in declared} <= set(given)
