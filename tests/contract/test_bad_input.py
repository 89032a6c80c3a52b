"""Bad input and bad days, and the tests that show what each gets: one clear line, nothing half done."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY, TRAFFIC, SHARE = "tests/verbs/test_deploy_side.py", "tests/verbs/test_traffic.py", "tests/verbs/test_share.py"
TRAIN, SUBMIT, PREPARE = "tests/verbs/test_train_side.py", "tests/verbs/training/test_submit.py", "tests/verbs/training/test_prepare.py"
VALIDATE, YAML, WAIT, SPEC = (f"tests/unit/test_{name}.py" for name in ("validate_project", "yaml", "wait_job", "spec"))

CASES = {
    "a spec with a wrong key, type or reference": [f"{VALIDATE}::test_a_fault_is_found", f"{SPEC}::test_fails_with_its_messages"],
    "YAML with a tab or a duplicate key": [f"{YAML}::test_what_is_wrong_is_said_with_its_place"],
    "a missing file": [f"{VALIDATE}::test_a_missing_file_is_never_fine", f"{PREPARE}::test_a_missing_file_is_told_with_its_place"],
    "an endpoint name that is taken": [f"{DEPLOY}::test_an_endpoint_name_that_another_workspace_has"],
    "a model version with other bytes": [
        f"{SHARE}::test_a_version_with_other_bytes_in_the_registry_is_refused",
        f"{PREPARE}::test_a_version_with_other_bytes_is_refused",
    ],
    "a model version with the same bytes": [f"{TRAIN}::test_other_files_get_the_next_version_and_the_same_files_the_same"],
    "a job that fails": [
        f"{WAIT}::test_a_failed_step_is_named_with_its_error_and_last_lines",
        f"{SUBMIT}::test_a_job_that_failed_is_submitted_anew",
    ],
    "a job that hangs": [f"{SUBMIT}::test_at_the_limit_a_job_detaches_resumes_and_is_cancelled"],
    "a job that is cancelled or vanishes": [
        f"{SUBMIT}::test_a_job_somebody_cancels_or_deletes_meanwhile",
        f"{WAIT}::test_a_job_that_vanishes",
    ],
    "compute that is missing": [f"{PREPARE}::test_a_missing_compute", f"{PREPARE}::test_a_compute_that_may_not_be_seen_is_not_missing"],
    "compute that is stopped or too small": [
        f"{PREPARE}::test_a_compute_instance_that_is_stopped",
        f"{PREPARE}::test_a_compute_of_another_size_or_type",
        f"{PREPARE}::test_a_step_that_takes_more_nodes_than_the_cluster_has",
    ],
    "over quota": [
        f"{PREPARE}::test_quota_that_does_not_suffice_for_the_job",
        f"{PREPARE}::test_quota_that_does_not_suffice_for_a_new_deployment_is_a_warning",
        f"{DEPLOY}::test_too_little_quota_is_told_before_anything_is_made",
    ],
    "a scoring script with a syntax error": [
        f"{VALIDATE}::test_a_fault_is_found",
        f"{DEPLOY}::test_a_syntax_error_that_came_after_sealing_is_a_checkout_that_differs",
        f"{DEPLOY}::test_a_scoring_script_that_fails_to_load_leaves_what_is_live_untouched",
    ],
    "a smoke answer that is wrong, late or empty": [f"{DEPLOY}::test_smoke_cases_that_fail_have_a_line_each"],
    "an expired token": [
        f"{SUBMIT}::test_a_token_that_ends_during_the_wait_is_renewed",
        f"{TRAFFIC}::test_a_token_that_expires_on_the_way_is_fetched_anew",
    ],
    "403": [f"{DEPLOY}::test_a_right_that_is_refused_is_one_line", f"{PREPARE}::test_devs_principal_has_no_right_in_prod"],
    "a storm of 429": [
        f"{DEPLOY}::test_a_storm_of_429_and_a_broken_connection_are_ridden_out",
        f"{PREPARE}::test_a_storm_of_429_and_broken_connections_is_survived",
        f"{TRAFFIC}::test_azure_in_bad_weather_while_traffic_moves",
    ],
    "a connection that breaks in the middle of an upload": [
        f"{PREPARE}::test_an_upload_that_breaks_is_taken_up_again",
        f"{DEPLOY}::test_a_connection_that_breaks_in_the_middle_of_an_upload",
    ],
    "a full disk": [
        "tests/unit/test_command.py::test_expected_failures_end_with_one_line",
        "tests/unit/test_evidence.py::test_a_full_disk_leaves_no_half_a_statement",
    ],
    "two runs at once": [
        f"{TRAFFIC}::test_the_later_of_two_runs_takes_over_and_the_earlier_one_stops",
        f"{DEPLOY}::test_another_operation_on_the_endpoint_is_waited_for",
        f"{SUBMIT}::test_two_runs_that_submit_the_same_content_get_one_job",
        "tests/verbs/test_ledger.py::test_two_jobs_at_once_lose_nothing",
    ],
    "names with quotes, spaces, $(...), line ends, unicode": [
        f"{VALIDATE}::test_names_with_anything_in_them_are_harmless",
        f"{SUBMIT}::test_names_with_anything_in_them_are_harmless",
        f"{DEPLOY}::test_names_of_any_shape_are_only_names",
        "tests/unit/test_ci.py::test_outputs_reach_github_whole",
    ],
    "evidence that is unsigned, altered, or signed by another": [
        "tests/unit/test_signing.py::test_every_fault_has_a_text_of_its_own",
        "tests/unit/test_signing.py::test_a_statement_counts_only_by_a_key_of_its_own_workspace",
    ],
    "a ledger that was tampered with": [
        "tests/unit/test_ledger.py::test_each_fault_is_said",
        "tests/unit/test_ledger.py::test_nobody_links_anew_without_the_key",
        "tests/verbs/test_ledger.py::test_a_hold_cannot_be_taken_away_behind_the_back",
        "tests/verbs/test_ledger.py::test_a_release_is_exported_with_its_whole_chain",
    ],
    "killed at any call": [
        "tests/verbs/test_ledger.py::test_killed_between_any_two_calls",
        f"{SUBMIT}::test_killed_between_submitting_and_saying_so",
        f"{SHARE}::test_a_share_that_was_killed_is_finished_by_the_next_run",
        f"{DEPLOY}::test_a_run_that_was_killed_while_azure_was_at_work_is_taken_up",
        f"{TRAFFIC}::test_a_run_that_was_killed_is_continued_by_the_next_one",
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_a_case_has_tests_that_exist(case: str) -> None:
    assert CASES[case]
    for name in CASES[case]:
        path, _, function = name.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name
