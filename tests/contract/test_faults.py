"""The faults of other catalogs that this one must not have, each with the tests that would fail if it had."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = "tests/contract/test_workflows.py"
RELEASE = "tests/journeys/test_release.py"

FAULTS = {
    "a model is retrained or rebuilt on its way to production": [
        f"{RELEASE}::test_the_same_bundle_is_in_production_as_was_tried_in_dev",
        f"{WORKFLOWS}::test_two_jobs_that_deploy_differ_only_where_they_mean_to",
    ],
    "a gate is computed and then overwritten, or only warns": [f"{RELEASE}::test_a_gate_that_says_no_stops_the_release"],
    "validation is a dry run": [f"{RELEASE}::test_a_broken_spec_stops_before_anyone_signs_in"],
    "a failed step goes on": [f"{WORKFLOWS}::test_a_job_has_a_time_limit_and_no_step_may_fail_unseen"],
    "a smoke test prints the answer and passes": [f"{RELEASE}::test_an_answer_that_is_wrong_stops_in_dev"],
    "a job without a limit, a run without an end": [f"{WORKFLOWS}::test_a_job_has_a_time_limit_and_no_step_may_fail_unseen"],
    "traffic moves before any test, or does not come back": [
        f"{RELEASE}::test_production_that_answers_badly_gets_its_old_traffic_back",
        f"{RELEASE}::test_a_cancelled_rollout_gives_the_old_traffic_back",
    ],
    "nothing is left to go back to": [f"{RELEASE}::test_a_change_goes_out_and_comes_back"],
    "two runs write to one endpoint at once": [f"{WORKFLOWS}::test_writers_of_an_endpoint_queue_and_are_not_cut_off"],
    "one principal acts in dev and prod": [f"{RELEASE}::test_a_caller_of_its_own_gets_nowhere"],
    "a pull request has production's credentials": [
        f"{WORKFLOWS}::test_validation_has_no_credential",
        f"{RELEASE}::test_a_pull_request_is_validated_without_a_token",
    ],
    "production is chosen by the name of a branch": [f"{WORKFLOWS}::test_only_a_job_of_an_environment_signs_in"],
    "a value is interpolated into a command": [
        f"{WORKFLOWS}::test_a_job_has_a_time_limit_and_no_step_may_fail_unseen",
        f"{WORKFLOWS}::test_a_journey_checks_out_sets_up_and_runs_one_verb_a_step",
    ],
    "a caller passes what the callee does not declare": ["tests/contract/test_callers.py::test_the_callers_call_what_is_there"],
    "a template names files and parameters that no longer exist": [
        f"{WORKFLOWS}::test_a_verb_gets_the_variables_it_knows_and_needs",
        f"{WORKFLOWS}::test_an_output_that_is_read_is_one_that_the_verb_writes",
        "tests/contract/test_repository.py::test_links_in_markdown_lead_somewhere",
    ],
    "everything is at @main": [f"{WORKFLOWS}::test_what_others_wrote_is_pinned_by_commit_and_says_its_version"],
    "a dependency that floats breaks an install": ["tests/contract/test_repository.py::test_a_lock_pins_every_requirement_by_hash"],
    "tests need Azure, so there are none": [f"{RELEASE}::test_a_commit_reaches_production"],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_has_tests_that_exist(fault: str) -> None:
    assert FAULTS[fault]
    for name in FAULTS[fault]:
        path, _, function = name.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name
