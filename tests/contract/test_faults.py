"""The faults of other catalogs that this one must not have, each with the tests that would fail if it had."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = "tests/contract/test_workflows.py"
TEMPLATES = "tests/contract/test_templates.py"
PARITY = "tests/contract/test_parity.py"
REPOSITORY = "tests/contract/test_repository.py"
RELEASE = "tests/journeys/test_release.py"
DEPLOY = "tests/verbs/test_deploy_side.py"
SHARE = "tests/verbs/test_share.py"
TRAFFIC = "tests/verbs/test_traffic.py"
TRAIN = "tests/verbs/test_train_side.py"
WAIT = "tests/unit/test_wait_job.py"

FAULTS = {
    # Nothing is promoted.
    "production retrains, or rebuilds what was tried": [
        f"{RELEASE}::test_the_same_bundle_is_in_production_as_was_tried_in_dev",
        f"{WORKFLOWS}::test_two_jobs_that_deploy_differ_only_where_they_mean_to",
        f"{SHARE}::test_a_model_that_was_changed_after_it_was_sealed",
    ],
    "production deploys @latest": [
        f"{SHARE}::test_only_a_digest_names_a_bundle",
        f"{TRAIN}::test_an_environment_from_an_image_that_may_move_is_not_sealed",
    ],
    "promotion stays inside one workspace": [f"{SHARE}::test_a_bundle_reaches_prod_through_the_registry_and_back_comes_the_champion"],
    # Gates that are off.
    "a gate is computed and then overwritten, or only warns": [
        f"{RELEASE}::test_a_gate_that_says_no_stops_the_release",
        "tests/unit/test_gate.py::test_every_rule_must_hold_and_every_finding_is_told",
    ],
    "a gate without a figure, or without a rule, passes": [
        "tests/unit/test_gate.py::test_a_missing_metric_is_an_error_that_says_what_there_is",
        "tests/unit/test_gate.py::test_a_gate_without_a_rule_is_refused",
    ],
    "validation is a dry run": [f"{RELEASE}::test_a_broken_spec_stops_before_anyone_signs_in"],
    # A failed step that goes on.
    "a failed step is let through": [
        f"{WORKFLOWS}::test_a_job_has_a_time_limit_and_no_step_may_fail_unseen",
        f"{TEMPLATES}::test_a_value_travels_by_environment_and_no_failure_goes_unseen",
    ],
    "a smoke test prints the answer and passes": [
        f"{RELEASE}::test_an_answer_that_is_wrong_stops_in_dev",
        "tests/unit/test_smoke.py::test_an_empty_answer_fails_whatever_is_expected",
    ],
    "a missing file ends 0": ["tests/unit/test_validate_project.py::test_a_missing_file_is_never_fine"],
    '"false" is read as true': [
        "tests/unit/test_command.py::test_a_wrong_variable_is_wrong_usage",
        "tests/unit/test_yaml.py::test_plain_scalars_mean_what_yaml_1_2_says",
    ],
    # Waiting.
    "a status on the way is taken for a failure, or an empty one waited for for ever": [
        f"{WAIT}::test_every_status_on_the_way_to_the_end",
        f"{WAIT}::test_no_status_is_waited_for_longer_than_the_limit",
    ],
    "a job that ran out of time is left running": [f"{WAIT}::test_at_the_limit_the_job_is_cancelled_and_its_end_awaited"],
    "the sign-in expires in the wait": [
        "tests/unit/test_identity.py::test_each_assertion_is_a_fresh_one",
        f"{TRAFFIC}::test_a_token_that_expires_on_the_way_is_fetched_anew",
    ],
    # Traffic.
    "an update of the endpoint sends its traffic as empty": [
        "tests/unit/test_endpoint.py::test_a_put_carries_everything_that_was_there_but_what_only_azure_writes",
        f"{TRAFFIC}::test_mirror_traffic_tags_and_identity_survive_a_rollout",
    ],
    "traffic moves before any test, or does not come back": [
        f"{RELEASE}::test_production_that_answers_badly_gets_its_old_traffic_back",
        f"{RELEASE}::test_a_cancelled_rollout_gives_the_old_traffic_back",
        f"{TRAFFIC}::test_traffic_moves_in_steps_and_rolls_back_once",
    ],
    "the one deployment is updated in place, so nothing is left to go back to": [
        f"{RELEASE}::test_a_change_goes_out_and_comes_back",
        f"{TRAFFIC}::test_only_the_one_to_roll_back_to_is_kept",
    ],
    "two runs write to one endpoint at once": [
        f"{WORKFLOWS}::test_writers_of_an_endpoint_queue_and_are_not_cut_off",
        f"{TRAFFIC}::test_the_later_of_two_runs_takes_over_and_the_earlier_one_stops",
    ],
    # Identity.
    "one principal acts in dev and prod": [
        f"{SHARE}::test_the_two_principals_have_no_right_in_each_others_workspace",
        "tests/journeys/test_release_on_github.py::test_a_caller_of_its_own_gets_nowhere",
        "tests/journeys/test_release_on_azure_devops.py::test_a_caller_of_its_own_gets_nowhere",
    ],
    "a pull request has production's credentials": [
        f"{WORKFLOWS}::test_validation_has_no_credential",
        f"{TEMPLATES}::test_validation_has_no_credential",
        f"{RELEASE}::test_a_pull_request_is_validated_without_a_token",
    ],
    "production is chosen by the name of a branch": [
        f"{WORKFLOWS}::test_only_a_job_of_an_environment_signs_in",
        f"{TEMPLATES}::test_only_a_job_of_an_environment_signs_in",
    ],
    "a pipeline of one's own signs in to production": [
        f"{TEMPLATES}::test_a_connection_is_chosen_before_the_run_by_a_parameter",
        "tests/example/test_azure_devops_page.py::test_production_is_for_the_catalogs_own_templates_at_the_tag_of_the_callers",
    ],
    "a person acts where only the pipeline may": ["tests/unit/test_identity.py::test_people_may_read_and_write_where_the_spec_says_so"],
    # Injection.
    "a value is interpolated into a command": [
        f"{WORKFLOWS}::test_a_job_has_a_time_limit_and_no_step_may_fail_unseen",
        f"{WORKFLOWS}::test_a_journey_checks_out_sets_up_and_runs_one_verb_a_step",
        f"{DEPLOY}::test_names_of_any_shape_are_only_names",
    ],
    "a log line becomes a command of the runner": ["tests/unit/test_ci.py::test_text_of_others_is_never_a_command"],
    "a secret is stored, or printed": [
        f"{WORKFLOWS}::test_an_output_is_described_and_no_secret_is_taken",
        "tests/unit/test_smoke.py::test_a_case_is_sent_to_its_deployment_with_the_key_that_nobody_sees",
    ],
    # Contracts.
    "a caller passes what the callee does not declare": ["tests/contract/test_callers.py::test_the_callers_call_what_is_there"],
    "a template names files and parameters that no longer exist": [
        f"{WORKFLOWS}::test_a_verb_gets_the_variables_it_knows_and_needs",
        f"{WORKFLOWS}::test_an_output_that_is_read_is_one_that_the_verb_writes",
        f"{REPOSITORY}::test_links_in_markdown_lead_somewhere",
    ],
    "twins for two CI systems drift apart": [
        f"{PARITY}::test_a_journey_is_the_same_on_both",
        f"{PARITY}::test_a_change_on_one_side_is_noticed",
    ],
    # Versions.
    "everything is at @main": [
        f"{WORKFLOWS}::test_what_others_wrote_is_pinned_by_commit_and_says_its_version",
        f"{TEMPLATES}::test_a_caller_extends_a_journey_of_the_catalog_at_a_tag",
    ],
    "a dependency that floats breaks an install": [
        f"{REPOSITORY}::test_a_lock_pins_every_requirement_by_hash",
        "tests/unit/test_setup.py::test_a_wrong_hash_is_one_clear_line_and_leaves_nothing",
    ],
    # Tests, and what nobody does.
    "tests need Azure, so there are none": [f"{RELEASE}::test_a_commit_reaches_production"],
    "a failed deployment says nothing of why": [f"{RELEASE}::test_a_scoring_script_that_does_not_load_stops_in_dev"],
    "quota is found missing when the deployment fails": [
        f"{DEPLOY}::test_too_little_quota_is_told_before_anything_is_made",
        "tests/unit/test_check_compute.py::test_what_the_cluster_holds_already_is_not_asked_for_twice",
    ],
}
# For issues of their own: updates of projects and forks, approvals that are read back, stress and profiling.


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_has_tests_that_exist(fault: str) -> None:
    assert FAULTS[fault]
    for name in FAULTS[fault]:
        path, _, function = name.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name
