"""House rules for workflows and actions: names, pins, permissions, limits, and that they call the verbs as the verbs want to be called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import _docs

ROOT = Path(__file__).parents[2]
JOURNEYS = {path.stem: path for path in sorted((ROOT / ".github" / "workflows").glob("[!_]*.yml"))}
OURS = sorted((ROOT / ".github" / "workflows").glob("_*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
CALLERS = sorted((ROOT / "examples").glob("*/.github/workflows/*.yml"))
WORKFLOWS = [*JOURNEYS.values(), *OURS, *CALLERS]
WRITES_TRAFFIC = {"deploy_online", "shift_traffic", "roll_back"}
RECORDED = "always() && env.AML_EVIDENCE != ''"
HOLDS = {"hold_release", "release_hold"}
# exec: a cancelled job's runner signals the step's first process alone, and a shell does not pass that on to the verb
COMMAND = re.compile(r'exec python "\$SCRIPTS/(\w+)\.py"')
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def load(path: Path) -> dict[str, Any]:
    document: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if True in document:
        document["on"] = document.pop(True)  # YAML 1.1 reads `on` as true
    return document


def jobs(paths: list[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every job that has steps, named `file: job`."""
    for path in paths:
        for name, job in load(path)["jobs"].items():
            if "steps" in job:
                yield f"{path.relative_to(ROOT)}: {name}", job


def verbs_of(job: dict[str, Any]) -> list[str]:
    return [match[1] for step in job["steps"] if (match := COMMAND.fullmatch(step.get("run", "")))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_journeys_are_those_of_the_documentation() -> None:
    assert set(JOURNEYS) == set(_docs.JOURNEYS)
    assert ACTIONS
    assert CALLERS


@pytest.mark.parametrize("path", [*JOURNEYS.values(), *ACTIONS], ids=name_of)
def test_an_input_says_description_type_required_default_in_that_order(path: Path) -> None:
    document = load(path)
    inputs = (document.get("on", {}).get("workflow_call") or document)["inputs"]
    for name, declared in inputs.items():
        assert SNAKE.fullmatch(name), name
        wanted = ["description", "type", "required", "default"]
        if declared["required"]:
            wanted.remove("default")
        if path in ACTIONS:
            wanted.remove("type")  # an action's inputs have none
        assert list(declared) == wanted, name
        assert re.fullmatch(r"[A-Z].*\.", declared["description"]), name


@pytest.mark.parametrize("path", JOURNEYS.values(), ids=name_of)
def test_an_output_is_described_and_no_secret_is_taken(path: Path) -> None:
    call = load(path)["on"]["workflow_call"]
    assert "secrets" not in call
    assert list(load(path)["on"]) == ["workflow_call"]
    for name, declared in call.get("outputs", {}).items():
        assert SNAKE.fullmatch(name), name
        assert list(declared) == ["description", "value"], name


def test_equal_inputs_mean_the_same_in_every_journey() -> None:
    """The same name has the same type everywhere, and a limit aside, the same default wherever it has one."""
    seen: dict[str, tuple[str, Any]] = {}
    different = {"time_limit_minutes", "workspace", "environment"}  # train waits longer; rollback is for production
    for path in JOURNEYS.values():
        for name, declared in load(path)["on"]["workflow_call"]["inputs"].items():
            known = seen.setdefault(name, (declared["type"], declared.get("default")))
            assert declared["type"] == known[0], (path, name)
            assert name in different or declared.get("default") == known[1], (path, name)


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=name_of)
def test_what_others_wrote_is_pinned_by_commit_and_says_its_version(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        if "uses:" not in line:
            continue
        used = line.split("uses:", 1)[1].strip()
        ours = (
            used.startswith("$/")
            if path not in CALLERS
            else re.fullmatch(r"contoso/azureml-catalog/\.github/workflows/\w+\.yml@v\d+", used)
        )
        assert ours or re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used


def test_an_action_has_one_pin_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in [*JOURNEYS.values(), *OURS, *ACTIONS]:
        for name, pin in re.findall(r"uses: ([\w.-]+/[\w.-]+)@(.+)", path.read_text(encoding="utf-8")):
            pins.setdefault(name, set()).add(pin)
    assert {name: found for name, found in pins.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_permissions_start_empty_and_each_grant_says_why(path: Path) -> None:
    document, text = load(path), path.read_text(encoding="utf-8")
    assert document["permissions"] == {}
    for name, job in document["jobs"].items():
        assert isinstance(job.get("permissions"), dict), name
    for line in text.splitlines():
        if re.match(r"\s+[a-z-]+: (read|write)\b", line):
            assert re.search(r"(read|write) # (to|so that) .+", line), line
    assert "write-all" not in text
    assert "secrets" not in text


@pytest.mark.parametrize(("name", "job"), jobs(WORKFLOWS))
def test_a_job_has_a_time_limit_and_no_step_may_fail_unseen(name: str, job: dict[str, Any]) -> None:
    assert "timeout-minutes" in job
    assert "continue-on-error" not in str(job)
    for step in job["steps"]:
        assert "name" in step
        assert step.get("if") in (None, "always()", RECORDED), "YAML has no logic"
        assert "${{" not in step.get("run", ""), "values travel by environment"
        if str(step.get("uses", "")).startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize(("name", "job"), jobs(list(JOURNEYS.values())))
def test_a_journey_checks_out_sets_up_and_runs_one_verb_a_step(name: str, job: dict[str, Any]) -> None:
    first, second, *rest = job["steps"]
    assert first["uses"].startswith("actions/checkout@")
    assert second["uses"] == "$/.github/actions/setup"
    for step in rest:
        if str(step.get("uses", "")).startswith("actions/download-artifact@"):
            assert "export_evidence" in verbs_of(job), "what another job left is read where it proves itself, by its signatures"
            assert "if" not in step
            continue
        if "uses" in step:
            assert step["uses"].startswith("actions/upload-artifact@")
            assert step["if"] == "always()"
            continue
        match = COMMAND.fullmatch(step["run"])
        assert match, step["run"]
        assert step["name"] == match[1].replace("_", " ").capitalize()
        assert step.get("id", match[1]) == match[1]
        assert step.get("if") == (RECORDED if match[1] == "record_evidence" else None)


@pytest.mark.parametrize(("name", "job"), jobs(list(JOURNEYS.values())))
def test_a_job_signs_and_enters_what_it_found_out(name: str, job: dict[str, Any]) -> None:
    """After everything else, so that nothing is left out; only what hands the signed statements on comes later."""
    verbs = verbs_of(job)
    enters = job["permissions"].get("id-token") == "write" and not set(verbs) & {*HOLDS, "export_evidence"}
    assert ("record_evidence" in verbs) == enters, "holds are entered by their own verbs, and an export finds nothing out"
    if enters:
        assert verbs[verbs.index("record_evidence") + 1 :] == (["share_evidence"] if "share_model" in verbs else [])


@pytest.mark.parametrize(("name", "job"), jobs(list(JOURNEYS.values())))
def test_only_a_job_of_an_environment_signs_in(name: str, job: dict[str, Any]) -> None:
    """The subject of the token then names the environment, and with it the people who let it through."""
    signs_in = job["permissions"].get("id-token") == "write"
    assert signs_in == ("environment" in job)
    assert signs_in == (verbs_of(job) != ["validate_project"])
    shows = {"security-events"} if "audit_access" in verbs_of(job) else set()
    reads = {"actions"} if {"check_gates", "verify_approval"} & set(verbs_of(job)) else set()
    opens = {"issues"} if "break_glass" in verbs_of(job) else set()
    assert set(job["permissions"]) == {"contents", *(["id-token"] if signs_in else []), *shows, *reads, *opens}
    assert job["permissions"]["contents"] == "read"


def test_validation_has_no_credential() -> None:
    """It runs on pull requests, of forks too."""
    text = JOURNEYS["validate"].read_text(encoding="utf-8")
    assert "id-token" not in text
    assert "environment" not in text


@pytest.mark.parametrize(("name", "job"), jobs(list(JOURNEYS.values())))
def test_writers_of_an_endpoint_queue_and_are_not_cut_off(name: str, job: dict[str, Any]) -> None:
    groups = {"endpoint": WRITES_TRAFFIC, "holds": HOLDS}
    what = [name for name, verbs in groups.items() if verbs & set(verbs_of(job))]
    if not what:
        assert "concurrency" not in job
        return
    workspace = job["env"]["AML_WORKSPACE"]
    assert job["concurrency"] == {"group": f"{what[0]}-${{{{ inputs.project }}}}-{workspace}", "queue": "max"}


@pytest.mark.parametrize(("name", "job"), jobs(list(JOURNEYS.values())))
def test_what_is_fetched_is_what_a_job_before_it_kept(name: str, job: dict[str, Any]) -> None:
    for step in job["steps"]:
        if str(step.get("uses", "")).startswith("actions/download-artifact@"):
            before = load(ROOT / name.partition(":")[0])["jobs"][job["needs"]]
            (kept,) = [one["with"]["name"] for one in before["steps"] if str(one.get("uses", "")).startswith("actions/upload-artifact@")]
            assert step["with"]["name"] == f"${{{{ needs.{job['needs']}.outputs.artifact }}}}"
            assert before["outputs"]["artifact"] == kept


def test_every_verb_is_run_by_a_journey_or_is_a_tool() -> None:
    run = {verb for _, job in jobs(list(JOURNEYS.values())) for verb in verbs_of(job)}
    assert run.isdisjoint(_docs.TOOLS)
    assert run | set(_docs.TOOLS) == {path.stem for path in (ROOT / "scripts").glob("[!_]*.py")}


@pytest.mark.parametrize(("name", "job"), jobs(list(JOURNEYS.values())))
def test_a_verb_gets_the_variables_it_knows_and_needs(name: str, job: dict[str, Any]) -> None:
    for step in job["steps"]:
        if not (match := COMMAND.fullmatch(step.get("run", ""))):
            continue
        flags = {f"AML_{flag.option_strings[0][2:].replace('-', '_').upper()}": flag for flag in _docs.verb(match[1]).flags}
        own, shared = set(step.get("env", {})), set(job["env"])
        if "AML_GITHUB_TOKEN" in own:  # a flag would show it to every process of the runner
            assert step["env"]["AML_GITHUB_TOKEN"] == "${{ github.token }}"
            assert "GitHub" in (ROOT / "scripts" / f"{match[1]}.py").read_text(encoding="utf-8")
            own -= {"AML_GITHUB_TOKEN"}
        assert own <= set(flags), f"{match[1]} knows no {own - set(flags)}"
        if match[1] == "record_evidence":  # it records all that the job found out, about whatever
            shared -= {"AML_BUNDLE_ID"}
        assert shared - {"AML_WORKSPACE"} <= set(flags), f"{match[1]} knows no {shared - set(flags)}"
        assert {variable for variable, flag in flags.items() if flag.required} <= own | shared, match[1]


@pytest.mark.parametrize(("name", "job"), jobs(list(JOURNEYS.values())))
def test_an_output_that_is_read_is_one_that_the_verb_writes(name: str, job: dict[str, Any]) -> None:
    ids = {step["id"] for step in job["steps"] if "id" in step}
    used = re.findall(r"steps\.(\w+)\.outputs\.(\w+)", str(job))
    assert ids == {verb for verb, _ in used}, "an id is there to be read"
    for verb, output in used:
        assert output in _docs.outputs(verb)


@pytest.mark.parametrize(("name", "job"), jobs(list(JOURNEYS.values())))
def test_no_two_jobs_of_a_run_keep_evidence_under_one_name(name: str, job: dict[str, Any]) -> None:
    """A caller may call a journey for two projects, or again at a second attempt; the name of an artifact is taken once in a run."""
    for step in job["steps"]:
        if str(step.get("uses", "")).startswith("actions/upload-artifact@"):
            assert step["with"]["name"].endswith("-${{ github.run_attempt }}-${{ job.check_run_id }}")


def test_two_jobs_that_deploy_differ_only_where_they_mean_to() -> None:
    """promote repeats the steps of deploy, so that the token names promote.yml; they must not drift apart."""
    deploy, production = load(JOURNEYS["deploy"])["jobs"]["deploy"], load(JOURNEYS["promote"])["jobs"]["production"]
    meant = {
        "${{ inputs.prod_workspace }}": "${{ inputs.workspace }}",
        "${{ inputs.prod_environment }}": "${{ inputs.environment }}",
        "endpoint-${{ inputs.project }}-${{ inputs.prod_workspace }}": "endpoint-${{ inputs.project }}-${{ inputs.workspace }}",
        "registry": "${{ inputs.bundle_from }}",
        "evidence-production-${{ inputs.prod_workspace }}-${{ github.run_attempt }}-${{ job.check_run_id }}": (
            "evidence-deploy-${{ inputs.workspace }}-${{ github.run_attempt }}-${{ job.check_run_id }}"
        ),
        "Production": "Deploy",
    }

    def translated(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: translated(value) for key, value in node.items() if key != "needs"}
        if isinstance(node, list):
            return [translated(value) for value in node]
        return meant.get(node, node) if isinstance(node, str) else node

    first = next(step for step in production["steps"] if step["name"] == "Verify approval")
    production["steps"].remove(first)
    assert production["permissions"].pop("actions") == "read", "the two are what only production has"
    assert translated(production) == deploy
