"""One product on two systems: each journey's workflow for GitHub and its template for Azure Pipelines say the same, or say why not.

Both are read into the same form, with every called workflow and every included template in its place, and compared: parameters, outputs,
jobs and their order, verbs, and what each verb is given. What may differ stands in MEANT, with the reason; nothing else may.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from azure_pipelines import model
from azure_pipelines.repositories import Repository
from azure_pipelines.templates import expand

import _docs

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r'exec python "\$SCRIPTS/(\w+)\.py"')
REQUIRED = "required"


class Difference(NamedTuple):
    """Where the two systems differ: in which journey or part of it, in what, of which name, and how."""

    where: str
    what: str
    name: str
    github: Any
    azure: Any


class Meant(NamedTuple):
    """A difference that is meant, wherever it is."""

    what: str
    name: str
    github: Any
    azure: Any
    why: str


_ENVIRONMENT = "GitHub environment whose OIDC subject {} service principal trusts."
_PROTECTED = "{} environment of production, with {}; {} a missing one without any protection."
_CHECKS = "Azure DevOps environment whose approvals and checks the job waits for."
_CONNECTION = "a pipeline signs in through a service connection, which cannot be a variable; GitHub's token needs none"

MEANT = [
    Meant("parameter", "service_connection", None, "string", _CONNECTION),
    Meant("parameter", "dev_service_connection", None, "string", _CONNECTION),
    Meant("parameter", "prod_service_connection", None, "string", _CONNECTION),
    Meant("parameter", "pool", None, "string", "an agent of one's own is chosen by its pool there, and by its label here"),
    Meant("parameter", "depends_on", None, "object", "a template says itself what its stages wait for; here the caller's `needs` does"),
    Meant("values", "bundle_from", None, ["workspace", "registry"], "inputs of a called workflow have no list of values; the verb has"),
    Meant("description", "runner", "Label of the runner.", "Image of the Microsoft-hosted agents.", "see pool"),
    *(
        Meant("description", name, _ENVIRONMENT.format(whose), _CHECKS, "the token names the connection, not the environment")
        for name, whose in (("environment", "the workspace's"), ("dev_environment", "that workspace's"))
    ),
    Meant(
        "description",
        "prod_environment",
        _PROTECTED.format("GitHub", "required reviewers", "GitHub creates"),
        _PROTECTED.format("Azure DevOps", "approvals", "Azure DevOps may create"),
        "each system's own words for it",
    ),
    Meant("job", "deploy", "deploy", "deploy_bundle", "`deploy` is a reserved word for the name of a deployment job"),
    Meant("env", "SYSTEM_ACCESSTOKEN", None, "$(System.AccessToken)", "an agent gives the token only to a step that asks for it"),
    Meant("env", "AZURE_CLIENT_SECRET", None, "$(AZURE_CLIENT_SECRET)", "a connection may have a secret, which only a step that asks gets"),
    Meant("exclusive", "train", False, True, "a lock on the environment cancels a stage that does not ask to queue"),
    Meant("exclusive", "share", False, True, "as for train"),
    Meant("exclusive", "declare", False, True, "as for train"),
    *(Meant("exclusive", name, False, True, "as for train") for name in ("audit", "ledger", "export")),
    Meant("env", "AML_OUT", "${{ env.AML_EVIDENCE }}", "$(AML_EVIDENCE)", "each system's own words for a variable of setup's"),
    Meant("env", "AML_LEDGERS", "${{ runner.temp }}/ledgers", "$(Agent.TempDirectory)/ledgers", "as for AML_OUT"),
    Meant("env", "AML_CATALOG_COMMIT", "${{ job.workflow_sha }}", None, "an agent has the catalog from git, GitHub's runner has not"),
    Meant("env", "AML_GITHUB_TOKEN", "${{ github.token }}", None, "GitHub's own token, for its own API"),
]  # fmt: skip


@dataclass
class Parameter:
    """An input or a parameter, as a caller sees it."""

    type: str
    default: Any
    description: str
    values: list[str] | None = None


@dataclass
class Job:
    """One job, with everything in it resolved as far as the caller's parameters go."""

    name: str
    title: str
    runner: str
    limit: str
    environment: str
    signs_in: bool
    exclusive: bool
    after: set[str]
    keeps_evidence: bool
    verbs: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    always: list[str] = field(default_factory=list)  # the verbs that run whatever happened before
    names: dict[str, str] = field(default_factory=dict)  # of the steps whose outputs may be read: name to verb
    env: dict[str, dict[str, str]] = field(default_factory=dict)  # of each verb


@dataclass
class Journey:
    """One journey on one system; jobs by the name of GitHub's job, which is the name of Azure's stage."""

    parameters: dict[str, Parameter]
    jobs: dict[str, Job]


@functools.cache
def known(verb: str) -> set[str]:
    """The variables that a verb reads."""
    return {f"AML_{flag.option_strings[0][2:].replace('-', '_').upper()}" for flag in _docs.verb(verb).flags}


@functools.cache
def written(verb: str) -> list[str]:
    """The outputs that a verb writes."""
    return _docs.outputs(verb)


def given(verb: str, shared: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """What a verb is given: of the job's variables those that it knows, and all of its step's."""
    return {**{name: value for name, value in shared.items() if name in known(verb)}, **own}


# GitHub


def github(journey: str, sample: Mapping[str, str]) -> Journey:
    """A journey as GitHub runs it, with `sample` as the caller's inputs."""
    inputs = _docs.load(journey)["on"]["workflow_call"]["inputs"]
    parameters = {
        name: Parameter(one["type"], REQUIRED if one["required"] else one["default"], one["description"]) for name, one in inputs.items()
    }
    return Journey(parameters, dict(github_jobs(journey, sample, set())))


def github_jobs(journey: str, inputs: Mapping[str, str], before: set[str]) -> Iterator[tuple[str, Job]]:
    """The jobs of a workflow and of those that it calls, in order; `before` have ended when it begins."""
    document = _docs.load(journey)
    declared = document["on"]["workflow_call"]["inputs"]
    inputs = {name: text(inputs[name] if name in inputs else one.get("default", "")) for name, one in declared.items()}
    ended: dict[str, set[str]] = {}

    def resolved(value: Any) -> str:
        def one(match: re.Match[str]) -> str:
            context, name, _, output = [*match[1].split("."), "", "", ""][:4]
            if context == "inputs":
                return inputs[name]
            if context == "steps":
                return f"{{{name}.{output}}}"
            if context == "needs":
                job = document["jobs"][name]
                if "uses" in job:
                    return "{" + ".".join(_docs.source(Path(job["uses"]).stem, output)) + "}"
                of = re.fullmatch(r"\$\{\{ steps\.(\w+)\.outputs\.(\w+) \}\}", job["outputs"][output])
                return f"{{{name}.{of[1]}.{of[2]}}}" if of else match[0]
            return match[0]

        return re.sub(r"\$\{\{ ([\w.]+) \}\}", one, text(value))

    for name, job in document["jobs"].items():
        needs = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
        after = before.union(*(ended[other] for other in needs))
        if called := job.get("uses"):
            jobs = dict(github_jobs(Path(called).stem, {key: resolved(value) for key, value in job.get("with", {}).items()}, after))
            ended[name] = after | set(jobs)
            yield from jobs.items()
            continue
        ended[name] = after | {name}
        signs_in = job["permissions"].get("id-token") == "write"
        kept = [step for step in job["steps"] if "upload-artifact" in step.get("uses", "") and step.get("if") == "always()"]
        environment = resolved(job.get("environment", ""))
        found = Job(
            name, job["name"], resolved(job["runs-on"]), resolved(job["timeout-minutes"]), environment, signs_in, "concurrency" in job,
            after, bool(kept),
        )  # fmt: skip
        shared = {key: resolved(value) for key, value in job["env"].items()}
        for step in job["steps"]:
            if match := COMMAND.fullmatch(step.get("run", "")):
                found.verbs.append(match[1])
                found.titles.append(step["name"])
                found.always += [match[1]] if str(step.get("if", "")).startswith("always()") else []
                found.env[match[1]] = given(match[1], shared, {key: resolved(value) for key, value in step.get("env", {}).items()})
                if "id" in step:
                    found.names[step["id"]] = match[1]
        yield name, found


# Azure Pipelines


def azure(journey: str, sample: Mapping[str, str]) -> Journey:
    """A journey as Azure Pipelines runs it, with `sample` as the caller's parameters."""
    declared = _docs.template(journey)["parameters"]
    parameters = {
        one["name"]: Parameter(one["type"], one.get("default", REQUIRED), one["displayName"], one.get("values")) for one in declared
    }
    pipeline = {
        "resources": {"repositories": [{"repository": "catalog", "type": "git", "name": "mlops/azureml-catalog", "ref": "refs/tags/v0"}]},
        "extends": {
            "template": f".ado/stages/{journey}.yml@catalog",
            "parameters": {name: value for name, value in sample.items() if name in parameters},
        },
    }
    catalog = _docs.TEMPLATES.parents[1]
    repositories = {"self": Repository("self", catalog), "catalog": Repository("catalog", catalog, "mlops/azureml-catalog")}
    expanded = expand(repositories, "/azure-pipelines.yml", text=json.dumps(pipeline))
    return Journey(parameters, dict(azure_jobs(model.read(expanded.document))))


def azure_jobs(pipeline: model.Pipeline) -> Iterator[tuple[str, Job]]:
    """The one job of each stage, in order, by the name of its stage."""
    jobs = {str(stage.name): str(job.name) for stage in pipeline.stages for job in stage.jobs}
    assert len(jobs) == sum(len(stage.jobs) for stage in pipeline.stages), "a stage has one job"
    ended: dict[str, set[str]] = {}
    for stage in pipeline.stages:
        (job,) = stage.jobs
        name = str(stage.name)
        after: set[str] = set().union(*(ended[str(other)] for other in stage.depends_on))
        ended[name] = after | {name}
        names = {str(step.name) for step in job.all_steps() if step.name}

        def resolved(value: str, jobs: Mapping[str, str] = jobs, names: set[str] = names) -> str:
            if match := re.fullmatch(r"\$\[ stageDependencies\.(\w+)\.(\w+)\.outputs\['(\w+)\.(\w+)\.(\w+)'\] \]", value):
                stage, job, prefix, step, output = match.groups()
                return f"{{{stage}.{step}.{output}}}" if jobs.get(stage) == job == prefix else value
            match = re.fullmatch(r"\$\((\w+)\.(\w+)\)", value)
            return f"{{{match[1]}.{match[2]}}}" if match and match[1] in names else value

        shared = {str(one.name): resolved(one.value) for one in [*pipeline.variables, *stage.variables, *job.variables]}
        kept = [step for step in job.all_steps() if step.kind == "publish" and str(step.condition).startswith("and(always(), ")]
        connections = [step for step in job.all_steps() if step.input("azureSubscription")]
        found = Job(
            str(job.name), job.title, str(job.pool.vm_image if job.pool else ""), str(job.timeout_in_minutes), str(job.environment),
            job.kind == "deployment" and bool(connections), stage.lock_behavior == "sequential", after, bool(kept),
        )  # fmt: skip
        for step in job.all_steps():
            if match := COMMAND.fullmatch(step.input("script")):
                found.verbs.append(match[1])
                found.titles.append(step.title)
                found.always += [match[1]] if str(step.condition or "").startswith("and(always(), ") else []
                found.env[match[1]] = given(match[1], shared, {str(key): resolved(value) for key, value in step.env.items()})
                if step.name:
                    found.names[str(step.name)] = match[1]
        yield name, found


# Both


def text(value: Any) -> str:
    """A value as a verb gets it; `True` of one system and `true` of the other are the same."""
    return str(value).lower() if isinstance(value, bool) or value in ("True", "False") else str(value)


def samples(journey: str) -> list[dict[str, str]]:
    """Parameters to compare with: every text is its own name, so that no two can be mistaken for each other; both truth values."""
    found: list[dict[str, str]] = []
    declared = _docs.template(journey)["parameters"]
    for truth in ("true", "false") if any(one["type"] == "boolean" for one in declared) else ("true",):
        sample = {}
        for number, one in enumerate(declared):
            if one["name"] not in ("pool", "depends_on"):  # what only Azure has keeps its default
                made_up = {"boolean": truth, "number": str(100 + number)}.get(one["type"], f"<{one['name']}>")
                sample[one["name"]] = one["values"][-1] if "values" in one else made_up
        found.append(sample)
    return found


def differences(journey: str) -> set[Difference]:
    """Everything in which the two differ, with either truth value; values that cannot be hashed as JSON."""
    found: set[Difference] = set()

    def compare(where: str, what: str, name: str, one: Any, other: Any) -> None:
        if one != other:
            found.add(Difference(where, what, name, plain(one), plain(other)))

    for sample in samples(journey):
        left, right = github(journey, sample), azure(journey, sample)
        compare(journey, "order", "parameters", *(
            [name for name in side.parameters if name in left.parameters and name in right.parameters] for side in (left, right)
        ))  # fmt: skip
        for name in {**left.parameters, **right.parameters}:
            here, there = left.parameters.get(name), right.parameters.get(name)
            compare(journey, "parameter", name, here and here.type, there and there.type)
            if here and there:
                for what in ("default", "description", "values"):
                    compare(journey, what, name, getattr(here, what), getattr(there, what))
        compare(journey, "order", "jobs", list(left.jobs), list(right.jobs))
        for name in _docs.load(journey)["on"]["workflow_call"].get("outputs", {}):
            job, step, output = _docs.source(journey, name)
            for side, jobs in (("github", left.jobs), ("azure", right.jobs)):
                verb = jobs[job].names.get(step, "") if job in jobs else ""
                if not verb or output not in written(verb):
                    compare(journey, "output", name, f"{job}.{step}.{output}", f"nothing on {side}")
        for name in left.jobs.keys() & right.jobs.keys():
            one, other = left.jobs[name], right.jobs[name]
            compare(f"{journey}: {name}", "job", name, one.name, other.name)
            for what in (
                "title",
                "runner",
                "limit",
                "environment",
                "signs_in",
                "exclusive",
                "after",
                "keeps_evidence",
                "verbs",
                "titles",
                "always",
                "names",
            ):
                compare(f"{journey}: {name}", what, name, getattr(one, what), getattr(other, what))
            for verb in one.env.keys() & other.env.keys():
                for variable in {**one.env[verb], **other.env[verb]}:
                    compare(
                        f"{journey}: {verb}",
                        "env",
                        variable,
                        *(text(side.env[verb][variable]) if variable in side.env[verb] else None for side in (one, other)),
                    )
    return found


def plain(value: Any) -> Any:
    """The value so that it can be an element of a set, and be read in a failure."""
    return value if value is None or isinstance(value, (str, bool)) else json.dumps(sorted(value) if isinstance(value, set) else value)


def matches(row: Meant, one: Difference) -> bool:
    """Whether a row of the table means this difference."""
    return (row.what, row.name, plain(row.github), plain(row.azure)) == one[1:]


def unmeant(journey: str) -> list[Difference]:
    """The differences that no row of the table means."""
    return [one for one in differences(journey) if not any(matches(row, one) for row in MEANT)]


@pytest.fixture(scope="module")
def found() -> dict[str, set[Difference]]:
    return {journey: differences(journey) for journey in _docs.JOURNEYS}


def test_both_systems_have_every_journey_and_no_other() -> None:
    assert (
        {path.stem for path in _docs.WORKFLOWS.glob("[!_]*.yml")}
        == {path.stem for path in _docs.TEMPLATES.glob("*.yml")}
        == set(_docs.JOURNEYS)
    )


@pytest.mark.parametrize("journey", _docs.JOURNEYS)
def test_a_journey_is_the_same_on_both(journey: str) -> None:
    assert unmeant(journey) == []


@pytest.mark.parametrize("row", MEANT, ids=lambda row: f"{row.what} {row.name}")
def test_a_row_of_the_table_is_still_needed_and_says_why(row: Meant, found: dict[str, set[Difference]]) -> None:
    assert any(matches(row, one) for differences in found.values() for one in differences)
    assert row.why


def test_the_comparison_compares_something() -> None:
    """Were nothing read, nothing would differ."""
    sample = samples("release")[0]
    for side in (github("release", sample), azure("release", sample)):
        assert list(side.jobs) == ["validate", "train", "deploy", "share", "production"]
        assert side.jobs["production"].env["verify_bundle"] | {"SYSTEM_ACCESSTOKEN": "", "AZURE_CLIENT_SECRET": ""} == {
            "AML_PROJECT": "<project>", "AML_WORKSPACE": "<prod_workspace>", "AML_BUNDLE_ID": "{train.seal_bundle.bundle_id}",
            "AML_FROM": "registry", "SYSTEM_ACCESSTOKEN": "", "AZURE_CLIENT_SECRET": "",
        }  # fmt: skip
        assert side.jobs["share"].after == {"validate", "train", "deploy"}
        assert side.jobs["train"].names["seal_bundle"] == "seal_bundle"


# What scripts and schemas say of the same things


@pytest.mark.parametrize("journey", ["train", "deploy", "promote", "rollback", "hold", "release_hold", "export"])
def test_a_parameter_and_the_flag_that_it_becomes_agree(journey: str) -> None:
    """A parameter's type, default and values are those of the flag whose variable is the parameter and nothing else."""
    sample, seen = samples(journey)[0], 0
    side = azure(journey, sample)
    for job in side.jobs.values():
        for verb, env in job.env.items():
            for flag in _docs.verb(verb).flags:
                value = env.get(f"AML_{flag.option_strings[0][2:].replace('-', '_').upper()}")
                name = next((name for name, made_up in sample.items() if made_up == value and side.parameters[name].type != "number"), "")
                if not name or name == "runner":
                    continue
                parameter, seen = side.parameters[name], seen + 1
                assert (parameter.type == "boolean") == (getattr(flag.type, "__name__", "") == "boolean"), (verb, name)
                if parameter.values:
                    assert [choice for choice in flag.choices or [] if choice] == parameter.values, (verb, name)
                elif parameter.default != REQUIRED and not flag.required:
                    assert parameter.default == ("" if flag.default is None else flag.default), (verb, name)
    assert seen


def test_a_connection_that_is_meant_when_none_is_named_is_of_the_environment_beside_it() -> None:
    connections = {"dev": "azureml-dev", "production": "azureml-production"}
    for journey in _docs.JOURNEYS:
        parameters = azure(journey, samples(journey)[0]).parameters
        for name, parameter in parameters.items():
            if name.endswith("environment"):
                assert parameters[name.replace("environment", "service_connection")].default == connections[parameter.default]


def test_a_limit_leaves_room_for_what_the_schema_allows_to_take_by_default() -> None:
    release = json.loads((ROOT / "schemas" / "release.schema.json").read_text(encoding="utf-8"))["properties"]
    wait = release["train"]["properties"]["wait"]["properties"]["limit_minutes"]["default"]
    pause = release["deploy"]["properties"]["rollout"]["properties"]["pause_seconds"]["default"]
    for journey, needed in (("train", wait), ("release", wait), ("deploy", pause), ("promote", pause)):
        for side in (github, azure):
            assert side(journey, samples(journey)[0]).parameters["time_limit_minutes"].default > needed


def test_the_workspaces_that_are_meant_when_none_is_named_are_those_of_the_schema() -> None:
    stages = json.loads((ROOT / "schemas" / "workspace.schema.json").read_text(encoding="utf-8"))["properties"]["stage"]["enum"]
    for journey in _docs.JOURNEYS:
        for name, parameter in azure(journey, samples(journey)[0]).parameters.items():
            assert not name.endswith("workspace") or parameter.default in stages


# It notices


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the catalog's YAML that a test may spoil."""
    for folder in (".github/workflows", ".ado"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.setattr(_docs, "WORKFLOWS", tmp_path / ".github" / "workflows")
    monkeypatch.setattr(_docs, "TEMPLATES", tmp_path / ".ado" / "stages")
    return tmp_path


GITHUB, AZURE = ".github/workflows/{}.yml", ".ado/stages/{}.yml"
MUTATIONS = [
    # side, journey, old text, new text, what then differs
    (AZURE, "train", "retrain", "train_again", "parameter"),
    (GITHUB, "train", "retrain", "train_again", "parameter"),
    (AZURE, "rollback", "    default: prod\n", "    default: dev\n", "default"),
    (GITHUB, "rollback", "        default: prod\n", "        default: dev\n", "default"),
    (AZURE, "promote", "displayName: Workspace to deploy in", "displayName: The workspace to deploy in", "description"),
    (GITHUB, "deploy", "description: Id of the bundle", "description: The id of the bundle", "description"),
    (AZURE, "deploy", "values: [workspace, registry]", "values: [registry, workspace]", "values"),
    (AZURE, "deploy", "    type: number\n    default: 120", '    type: string\n    default: "120"', "parameter"),
    (GITHUB, "promote", "required: true\n", "required: false\n        default: latest\n", "default"),
    (AZURE, "train", "                  name: register_model\n", "", "output"),
    (AZURE, "train", "name: register_model\n", "name: registered\n", "output"),
    (GITHUB, "train", "${{ steps.check_gate.outputs.gate_verdict }}", "${{ steps.seal_bundle.outputs.verdict }}", "output"),
    (GITHUB, "train", "        id: check_gate\n", "", "names"),
    (AZURE, "train", "check_gate.py", "register_model.py", "verbs"),
    (AZURE, "deploy", "smoke_test.py", "shift_traffic.py", "verbs"),
    (GITHUB, "promote", "smoke_test.py", "verify_bundle.py", "verbs"),
    (AZURE, "train", "displayName: Wait job", "displayName: Wait for the job", "titles"),
    (AZURE, "promote", "AML_FROM: registry", "AML_FROM: workspace", "env"),
    (GITHUB, "promote", "AML_FROM: registry", "AML_FROM: workspace", "env"),
    (AZURE, "train", "AML_RETRAIN: ${{ parameters.retrain }}", "AML_RETRAIN: true", "env"),
    (GITHUB, "train", "AML_RETRAIN: ${{ inputs.retrain }}", "AML_RETRAIN: false", "env"),
    (AZURE, "train", "$(register_model.model_version)", "$(register_model.model_name)", "env"),
    (AZURE, "promote", "            value: ${{ parameters.prod_workspace }}", "            value: ${{ parameters.dev_workspace }}", "env"),
    (AZURE, "release", "      dev_workspace: ${{ parameters.dev_workspace }}\n", "", "env"),
    (GITHUB, "release", "needs.train.outputs.bundle_id", "needs.train.outputs.model_version", "env"),
    (AZURE, "release", "'train.seal_bundle.bundle_id'", "'train.seal_bundle.bundle'", "env"),
    (AZURE, "train", "AZURE_CLIENT_SECRET: $(AZURE_CLIENT_SECRET)", "AZURE_CLIENT_SECRET: ''", "env"),
    (AZURE, "promote", "environment: ${{ parameters.prod_environment }}", "environment: production", "environment"),
    (GITHUB, "rollback", "environment: ${{ inputs.environment }}", "environment: production", "environment"),
    (AZURE, "release", "      prod_environment: ${{ parameters.prod_environment }}\n", "", "environment"),
    (AZURE, "rollback", "timeoutInMinutes: 30", "timeoutInMinutes: 60", "limit"),
    (GITHUB, "release", "      time_limit_minutes: ${{ inputs.time_limit_minutes }}\n", "", "limit"),
    (AZURE, "validate", "vmImage: ${{ parameters.runner }}", "vmImage: ubuntu-latest", "runner"),
    (AZURE, "rollback", "    lockBehavior: sequential", "    lockBehavior: runLatest", "exclusive"),
    (GITHUB, "deploy", "    concurrency:", "    x-concurrency:", "exclusive"),
    (AZURE, "release", "      depends_on: [train]", "      depends_on: [validate]", "after"),
    (GITHUB, "release", "    needs: [train, deploy]", "    needs: [train]", "after"),
    (GITHUB, "rollback", "        if: always()", "        if: success()", "keeps_evidence"),
    (GITHUB, "train", "      id-token: write", "      contents: read", "signs_in"),
    (AZURE, "deploy", "deploy_bundle", "deploy_it", "job"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "journey", "old", "new", "what"),
    MUTATIONS,
    ids=[f"{'github' if one[0] is GITHUB else 'azure'} {one[1]} {one[4]} {n}" for n, one in enumerate(MUTATIONS)],
)
def test_a_change_on_one_side_is_noticed(copy: Path, file: str, journey: str, old: str, new: str, what: str) -> None:
    path = copy / file.format(journey)
    before = path.read_text(encoding="utf-8")
    assert old in before
    path.write_text(before.replace(old, new), encoding="utf-8")
    assert what in {one.what for one in unmeant(journey)}
