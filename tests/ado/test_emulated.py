"""The runner's service, played by the emulator: what a job gets, what the timeline says, and how a stage's approvals end."""

from __future__ import annotations

import subprocess
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import AzurePipelinesCredential
from azure_pipelines.service import Approval, CannotRun, Connection, Environment, Repository
from emulated import EmulatedService

from _gate import Approve, Gate, Refused
from emulator.azure_devops import checks, models
from emulator.core import SUBSCRIPTION, TENANT

REA, SAM, KIM = "Rea Lee", "Sam Ode", "Kim Doe"


@pytest.fixture
def make(emulator: Any) -> Callable[..., EmulatedService]:
    """A service with a connection of its own in a project of its own."""
    project = f"project-{uuid.uuid4().hex[:6]}"
    emulator.admin.azure_devops("connections", organization="contoso", project=project, name="azureml-dev", client_id=str(uuid.uuid4()))

    def make(*approvals: Approval, **more: Any) -> EmulatedService:
        environments = {"production": Environment("production", approvals)}
        return EmulatedService(home=emulator.home, project=project, pipeline="release", environments=environments, **more)

    return make


def never() -> bool:
    return False


def test_a_jobs_variables_let_it_sign_in_until_it_ends(azure: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make()
    connection = service.service_connections["azureml-dev"]
    assert (connection.scheme, connection.tenant_id, connection.subscription_id) == ("WorkloadIdentityFederation", TENANT, SUBSCRIPTION)
    found = service.rest("GET", f"serviceendpoint/endpoints/{connection.id}")["authorization"]["parameters"]
    federated = [[found["workloadIdentityFederationIssuer"], found["workloadIdentityFederationSubject"]]]
    azure.ask("POST", "/identities", {"name": "ci", "client_id": connection.client_id, "federated": federated})

    record = {"id": str(uuid.uuid4()), "stage": "train", "job": "train", "name": "train", "attempt": 1}
    variables = service.job_started({**record, "plan_id": service.plan_id, "service_connections": [connection.id]})
    assert sorted(variables) == ["System.AccessToken", "System.OidcRequestUri"]
    monkeypatch.setenv("SYSTEM_OIDCREQUESTURI", variables["System.OidcRequestUri"])

    def sign_in() -> str:
        credential = AzurePipelinesCredential(
            tenant_id=TENANT,
            client_id=connection.client_id,
            service_connection_id=connection.id,
            system_access_token=variables["System.AccessToken"],
        )
        return credential.get_token("https://management.azure.com/.default").token

    assert sign_in()
    service.job_ended({**record, "result": "Succeeded"})
    with pytest.raises(ClientAuthenticationError, match="No job found"):
        sign_in()
    variables = service.job_started({**record, "id": str(uuid.uuid4()), "service_connections": []})
    monkeypatch.setenv("SYSTEM_OIDCREQUESTURI", variables["System.OidcRequestUri"])
    with pytest.raises(ClientAuthenticationError, match="no explicit reference"):
        sign_in()


def test_a_connection_that_the_emulator_does_not_have(make: Any) -> None:
    with pytest.raises(CannotRun, match="Service connection azureml-prod: the emulator's project-"):
        make(service_connections={"azureml-prod": Connection("azureml-prod", str(uuid.uuid4()))})
    secret = Connection("by-secret", str(uuid.uuid4()), "ServicePrincipal", secret="hush")
    service = make(service_connections={"by-secret": secret})
    assert sorted(service.service_connections) == ["azureml-dev", "by-secret"]
    assert service.job_started({"id": str(uuid.uuid4()), "stage": "a", "job": "b", "service_connections": [secret.id]})


def test_one_service_is_one_build(make: Any) -> None:
    first, second = make(reason="PullRequest", branch="refs/heads/topic"), make()
    assert first.build_id != second.build_id
    stage = {"id": str(uuid.uuid4()), "type": "Stage", "name": "Train", "identifier": "train", "state": "inProgress"}
    first.timeline([stage])
    first.timeline([{**stage, "state": "completed", "result": "failed"}])
    first.finish("failed")
    build = first.rest("GET", f"build/builds/{first.build_id}")
    assert (build["reason"], build["sourceBranch"], build["result"]) == ("pullRequest", "refs/heads/topic", "failed")
    (record,) = first.rest("GET", f"build/builds/{first.build_id}/timeline")["records"]
    assert (record["state"], record["result"]) == ("completed", "failed")
    assert second.rest("GET", f"build/builds/{second.build_id}/timeline")["records"] == []


@pytest.mark.parametrize(
    ("expected", "answers", "status", "result"),
    [
        ([(REA, "approved", "fine"), (SAM, "approved", "")], [(REA, "approved", "fine"), (SAM, "approved", "")], "approved", "succeeded"),
        ([(REA, "approved", "fine"), (SAM, "rejected", "no")], [(REA, "approved", "fine"), (SAM, "rejected", "no")], "rejected", "failed"),
        ([(REA, "approved", ""), (SAM, "pending", "")], [(REA, "approved", ""), (SAM, "pending", "")], "timedOut", "failed"),
    ],
)
def test_verdicts_of_the_description(make: Any, expected: Any, answers: Any, status: str, result: str) -> None:
    service = make(*(Approval(*each) for each in expected))
    service.timeline([{"id": str(uuid.uuid4()), "type": "Stage", "name": "production", "state": "pending"}])
    assert service.approvals("production", ["production"], never) == [Approval(*each, "production") for each in answers]
    stage, checkpoint, approval = service.rest("GET", f"build/builds/{service.build_id}/timeline")["records"]
    assert (stage["type"], checkpoint["type"], approval["type"]) == ("Stage", "Checkpoint", "Checkpoint.Approval")
    assert (checkpoint["parentId"], approval["parentId"], approval["result"]) == (stage["id"], checkpoint["id"], result)
    assert service.rest("GET", f"pipelines/approvals/{approval['id']}")["status"] == status


def test_who_requested_the_run_does_not_approve_it(make: Any) -> None:
    (answer,) = make(Approval(KIM), requested_for=KIM).approvals("production", ["production"], never)
    assert answer.verdict == "pending"
    assert "who requested a run cannot approve it" in answer.comment
    service = make(Approval(KIM), requested_for=KIM, requester_may_approve=True)
    assert service.approvals("production", ["production"], never) == [Approval(KIM, environment="production")]


def test_somebody_approves_over_rest_while_the_stage_waits(make: Any) -> None:
    service = make(Approval(REA, "pending"), approval_timeout=60.0)
    found: list[Approval] = []
    waiting = threading.Thread(target=lambda: found.extend(service.approvals("production", ["production"], never)))
    waiting.start()
    while not (asked := service.rest("GET", "pipelines/approvals", state="pending")["value"]):
        assert waiting.is_alive()
    with pytest.raises(requests.HTTPError, match="ApprovalUnauthorizedException"):
        service.rest("PATCH", "pipelines/approvals", [{"approvalId": asked[0]["id"], "status": "approved"}], as_user=SAM)
    service.rest("PATCH", "pipelines/approvals", [{"approvalId": asked[0]["id"], "status": "approved", "comment": "seen"}], as_user=REA)
    waiting.join(60)
    assert found == [Approval(REA, "approved", "seen", "production")]


KEEPER, WRITER, OWNER = "release-manager@contoso.com", "kim-doe@contoso.com", "platform-admin@contoso.com"


@pytest.fixture
def protect(make: Any, emulator: Any, tmp_path: Path) -> Callable[..., EmulatedService]:
    """A service whose project is pushed, and whose environment production has an approval by a group and branch control."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=Kim", "-c", f"user.email={WRITER}"]
    for words in (["init", "-q", "-b", "main"], *(["commit", "-q", "--allow-empty", "-m", text] for text in ("one", "two"))):
        subprocess.run([*git, *words], check=True)

    def protect(
        approve: Approve, *, members: Sequence[str] = (KEEPER,), other: str = "", minimum: int = 1, kind: str = "environment", **more: Any
    ) -> EmulatedService:
        service: EmulatedService = make(
            requested_for="rea-lee@contoso.com",
            repositories={"self": Repository(tmp_path, "flight-delay")},
            approve=approve,
            **more,
        )
        where = {"organization": "contoso", "project": service.project}
        groups = {f"[{service.project}]\\keepers": [*members], f"[{service.project}]\\Project Administrators": [OWNER]}
        emulator.admin.azure_devops("identities", **where, names=[other or KEEPER], groups=groups)
        environment = service.rest("POST", "distributedtask/environments", {"name": "production"}, as_user=OWNER)
        connection = service.service_connections["azureml-dev"]
        resource = {"type": kind, "id": str(environment["id"]) if kind == "environment" else connection.id}
        names = [f"[{service.project}]\\keepers", *([other] if other else [])]
        approval = {
            "approvers": [{"id": models.identifier(name)} for name in names], "executionOrder": "anyOrder",
            "minRequiredApprovers": minimum, "requesterCannotBeApprover": True,
        }  # fmt: skip
        control = {
            "definitionRef": {"id": "86b05a0c-73e6-4f7d-b3cf-e38f3b39a75b"},
            "inputs": {"allowedBranches": "refs/heads/main, refs/tags/v*"},
        }
        for kind, settings in ((checks.APPROVAL, approval), (checks.TASK, control)):
            service.rest("POST", "pipelines/checks/configurations", {"type": {"id": kind}, "settings": settings, "resource": resource})
        service.timeline([{"id": str(uuid.uuid4()), "type": "Stage", "name": "production", "state": "pending"}])
        return service

    return protect


def checks_of(service: EmulatedService) -> list[dict[str, Any]]:
    """The checks of the environment production, as they may be sent again."""
    (environment,) = service.rest("GET", "distributedtask/environments", name="production")["value"]
    query = {"resourceType": "environment", "resourceId": str(environment["id"]), "$expand": "settings"}
    found = service.rest("GET", "pipelines/checks/configurations", **query)["value"]
    return [{name: one[name] for name in ("type", "settings")} for one in found]


def outcome(service: EmulatedService) -> tuple[dict[str, Any], str]:
    """The newest approval with its steps, and what the timeline says of it."""
    approval = service.rest("GET", "pipelines/approvals", top="1", **{"$expand": "steps"})["value"][0]
    records = service.rest("GET", f"build/builds/{service.build_id}/timeline")["records"]
    return approval, next(one["result"] for one in records if one["id"] == approval["id"])


def test_a_member_of_the_group_that_the_check_names_decides(protect: Any) -> None:
    gates: list[Gate] = []

    def approve(gate: Gate) -> None:
        gates.append(gate)
        for who in ("kim-doe", "rea-lee"):
            with pytest.raises(Refused, match=r"is not an approver|requested a run"):
                gate.approve(who)
        gate.approve("release-manager", "go")

    service = protect(approve, members=[KEEPER, "rea-lee@contoso.com"])
    group = f"[{service.project}]\\keepers"
    assert service.approvals("production", ["production"], never) == [Approval(group, "approved", "go", "production")]
    assert (gates[0].run, gates[0].job, gates[0].environment, gates[0].asked) == (
        service.build_id,
        "production",
        "production",
        ("keepers",),
    )
    assert not gates[0].open()
    approval, result = outcome(service)
    [step] = approval["steps"]
    assert (step["assignedApprover"]["displayName"], step["assignedApprover"]["isContainer"]) == (group, True)
    assert (step["actualApprover"]["uniqueName"], approval["status"], result) == (KEEPER, "approved", "succeeded")
    assert (approval["minRequiredApprovers"], approval["blockedApprovers"][0]["uniqueName"]) == (1, "rea-lee@contoso.com")


def both(gate: Gate) -> None:
    gate.approve("release-manager")
    assert gate.open()
    gate.approve("kim-doe")


@pytest.mark.parametrize(
    ("minimum", "approve", "answers", "status"),
    [
        (2, both, ["approved", "approved"], "approved"),
        (1, lambda gate: gate.approve("kim-doe"), ["approved"], "approved"),
        (2, lambda gate: gate.approve("kim-doe"), ["pending", "approved"], "timedOut"),
    ],
)
def test_as_many_decide_as_the_check_wants(protect: Any, minimum: int, approve: Approve, answers: list[str], status: str) -> None:
    service = protect(approve, other=WRITER, minimum=minimum)
    assert [one.verdict for one in service.approvals("production", ["production"], never)] == answers
    assert outcome(service)[0]["status"] == status


@pytest.mark.parametrize(("recorded", "status"), [(True, "skipped"), (False, "pending")])
def test_an_administrator_of_the_environment_bypasses_the_check(protect: Any, recorded: bool, status: str) -> None:
    def bypass(gate: Gate) -> None:
        with pytest.raises(Refused, match="does not administer environment production"):
            gate.bypass("release-manager")
        gate.bypass("platform-admin", "in a hurry", recorded=recorded)
        assert not gate.open()

    service = protect(bypass)
    assert [one.verdict for one in service.approvals("production", ["production"], never)] == ["approved"]
    approval, result = outcome(service)
    assert (approval["status"], result) == (status, "succeeded")
    assert "actualApprover" not in approval["steps"][0]
    assert (approval["steps"][0]["lastModifiedBy"]["uniqueName"] == OWNER) == recorded


def test_another_branch_asks_nobody(protect: Any) -> None:
    asked: list[Gate] = []
    [answer] = protect(asked.append, branch="refs/heads/topic").approvals("production", ["production"], never)
    assert (answer.approver, answer.verdict, asked) == ("Branch control", "rejected", [])
    assert "refs/heads/topic is not one of refs/heads/main" in answer.comment


def test_a_stage_waits_for_the_checks_of_its_service_connections_too(protect: Any) -> None:
    """Whatever its environment: here one that asks nobody."""
    gates: list[Gate] = []

    def approve(gate: Gate) -> None:
        gates.append(gate)
        with pytest.raises(Refused, match="is not an approver"):
            gate.approve("kim-doe")
        gate.approve("release-manager", "go")

    service = protect(approve, kind="endpoint")
    assert service.approvals("production", ["production"], never) == []
    answer = Approval(f"[{service.project}]\\keepers", "approved", "go", "azureml-dev")
    assert service.approvals("production", ["production"], never, ["azureml-dev"]) == [answer]
    assert service.approvals("production", [], never, ["azureml-dev"]) == [answer]
    assert outcome(service)[1] == "succeeded"
    assert len(gates) == 2


def test_a_service_connection_has_branch_control_of_its_own(protect: Any) -> None:
    asked: list[Gate] = []
    service = protect(asked.append, kind="endpoint", branch="refs/heads/topic")
    [answer] = service.approvals("production", ["production"], never, ["azureml-dev"])
    assert (answer.approver, answer.verdict, answer.environment, asked) == ("Branch control", "rejected", "azureml-dev", [])


@pytest.mark.parametrize(
    ("approve", "verdicts", "statuses"),
    [
        (lambda gate: gate.approve("release-manager"), ["approved", "approved"], {"approved"}),
        (lambda gate: gate.reject("release-manager"), ["rejected", "rejected"], {"rejected"}),
        (lambda gate: gate.bypass("platform-admin"), ["approved", "approved"], {"skipped"}),
        (lambda gate: None, ["pending", "pending"], {"timedOut"}),
    ],
)
def test_one_decision_is_of_all_that_a_stage_waits_for(protect: Any, approve: Approve, verdicts: list[str], statuses: set[str]) -> None:
    asked: list[Gate] = []

    def decide(gate: Gate) -> None:
        asked.append(gate)
        approve(gate)

    service = protect(decide)
    resource = {"type": "endpoint", "id": service.service_connections["azureml-dev"].id}
    [check, _] = checks_of(service)
    service.rest("POST", "pipelines/checks/configurations", {**check, "resource": resource})
    found = service.approvals("production", ["production"], never, ["azureml-dev"])
    assert [(one.environment, one.verdict) for one in found] == list(zip(["production", "azureml-dev"], verdicts, strict=True))
    assert {one["status"] for one in service.rest("GET", "pipelines/approvals")["value"]} == statuses
    records = service.rest("GET", f"build/builds/{service.build_id}/timeline")["records"]
    [point] = [one for one in records if one["type"] == "Checkpoint"]
    assert [one["parentId"] for one in records if one["type"] == "Checkpoint.Approval"] == [point["id"]] * 2
    assert [gate.asked for gate in asked] == [("keepers",)]


def test_one_rejection_ends_the_wait_for_all(protect: Any) -> None:
    def approve(gate: Gate) -> None:
        first, _ = service.rest("GET", "pipelines/approvals", state="pending")["value"]
        service.rest("PATCH", "pipelines/approvals", [{"approvalId": first["id"], "status": "rejected"}], as_user=KEEPER)
        assert not gate.open()

    service = protect(approve, approval_timeout=60.0)
    resource = {"type": "endpoint", "id": service.service_connections["azureml-dev"].id}
    service.rest("POST", "pipelines/checks/configurations", {**checks_of(service)[0], "resource": resource})
    found = service.approvals("production", ["production"], never, ["azureml-dev"])
    assert sorted(one.verdict for one in found) == ["pending", "rejected"]
    assert {one["status"] for one in service.rest("GET", "pipelines/approvals")["value"]} == {"canceled", "rejected"}


def test_branches_and_tags_are_allowed_by_pattern(protect: Any) -> None:
    service = protect(lambda gate: gate.approve("release-manager"), branch="refs/tags/v1")
    assert [one.verdict for one in service.approvals("production", ["production"], never)] == ["approved"]


def test_a_job_reads_who_approved_what_and_where_its_commit_is(protect: Any, emulator: Any) -> None:
    """What a verb in the job asks with System.AccessToken."""
    service = protect(lambda gate: gate.approve("release-manager"))
    service.approvals("production", ["production"], never)
    job = service.job_started({"id": str(uuid.uuid4()), "stage": "production", "job": "production", "service_connections": []})
    headers = {"Authorization": f"Bearer {job['System.AccessToken']}"}

    def ask(path: str, **query: str) -> Any:
        url = f"{service.collection_uri}{service.project}/_apis/{path}"
        answer = emulator.admin.session.get(url, params={"api-version": "7.1", **query}, headers=headers, timeout=60)
        return answer.json() if answer.status_code == 200 else answer.status_code

    build = ask(f"build/builds/{service.build_id}")
    assert build["requestedFor"]["uniqueName"] == "rea-lee@contoso.com"
    [record] = [one for one in ask(f"build/builds/{service.build_id}/timeline")["records"] if one["type"] == "Checkpoint.Approval"]
    [step] = ask(f"pipelines/approvals/{record['id']}", **{"$expand": "steps"})["steps"]
    assert step["actualApprover"]["uniqueName"] == KEEPER
    git = f"git/repositories/{build['repository']['id']}"
    [main] = ask(f"{git}/refs", filter="heads/main")["value"]
    assert (main["name"], main["objectId"]) == ("refs/heads/main", build["sourceVersion"])
    commit = ask(f"git/repositories/flight-delay/commits/{main['objectId']}")
    assert (commit["author"]["email"], commit["comment"]) == (WRITER, "two")
    [first] = commit["parents"]
    assert [one["commitId"] for one in ask(f"{git}/commits/{main['objectId']}/mergebases", otherCommitId=first)["value"]] == [first]
    assert [ask(f"{git}/commits/{'0' * 40}"), ask("git/repositories/other/refs")] == [404, 404]


def test_a_run_that_is_cancelled_waits_no_longer(make: Any) -> None:
    service = make(Approval(REA, "pending"), approval_timeout=600.0)
    assert service.approvals("production", ["production"], lambda: True) == [Approval(REA, "pending", "", "production")]
    assert service.rest("GET", "pipelines/approvals")["value"][0]["status"] == "canceled"


def test_an_environment_without_approvals_asks_nobody(make: Any) -> None:
    service = make()
    assert service.approvals("train", ["production"], never) == []
    assert service.rest("GET", "pipelines/approvals") == {"count": 0, "value": []}
