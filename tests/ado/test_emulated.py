"""The runner's service, played by the emulator: what a job gets, what the timeline says, and how a stage's approvals end."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import AzurePipelinesCredential
from azure_pipelines.service import Approval, CannotRun, Connection, Environment
from emulated import EmulatedService

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


def test_a_run_that_is_cancelled_waits_no_longer(make: Any) -> None:
    service = make(Approval(REA, "pending"), approval_timeout=600.0)
    assert service.approvals("production", ["production"], lambda: True) == [Approval(REA, "pending", "", "production")]
    assert service.rest("GET", "pipelines/approvals")["value"][0]["status"] == "canceled"


def test_an_environment_without_approvals_asks_nobody(make: Any) -> None:
    service = make()
    assert service.approvals("train", ["production"], never) == []
    assert service.rest("GET", "pipelines/approvals") == {"count": 0, "value": []}
