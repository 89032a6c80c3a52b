"""The audit journey, by production's own principal, on both systems: after the release, for which the project is committed anew."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

import _act
from _gate import REPOSITORY
from aml import access, ledger, workspace

if TYPE_CHECKING:
    from tests.journeys.conftest import World

OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
HELD = "providers/Microsoft.Authorization/roleAssignments"


def plan(world: World) -> str:
    """The example's identity plan; the administrator's own role is kept."""
    document = json.loads((world.place / "example" / access.FILE).read_text(encoding="utf-8"))
    for entry in document["workspaces"]:
        subscription = f"/subscriptions/{workspace.load(world.place / 'example', entry['workspace']).subscription_id}"
        assigned = world.emulator.arm("GET", f"{subscription}/{HELD}", version="2022-04-01")["value"]
        admins = [one["id"] for one in assigned if one["properties"]["roleDefinitionId"].endswith(OWNER)]
        entry["keep"] += [{"id": id, "what": "Owner", "why": "it is the landing zone's"} for id in admins]
    return json.dumps(document)


@pytest.fixture
def without_keys(world: World) -> Iterator[None]:
    """Production's storage without its keys."""
    account = world.emulator.arm("GET", workspace.load(world.place / "example", "prod").arm_id)["properties"]["storageAccount"]
    world.emulator.arm("PATCH", account, {"properties": {"allowSharedKeyAccess": False}})
    yield
    world.emulator.arm("PATCH", account, {"properties": {"allowSharedKeyAccess": True}})


def audit(world: World) -> _act.Run:
    """Run the example's audit with its plan, in a repository whose findings GitHub's code scanning takes."""
    world.commit((), {".cloud/identity.json": plan(world)})
    world.emulator.ask("POST", "/github", {"repositories": [{"full_name": REPOSITORY, "code_scanning": True}]})
    return world.engine("audit", "workflow_dispatch", {}, lambda event: None)


def findings(world: World, run: _act.Run) -> dict[str, Any]:
    """The one statement of an audit."""
    (made,) = world.evidence(run).values()
    found: dict[str, Any] = made["predicate"]
    (kept,) = run.artifacts.glob("evidence-audit-prod-*")
    assert ledger.heads(kept), "it is in the ledger, whatever it found"
    return found


@pytest.mark.usefixtures("without_keys")
def test_a_person_in_production_fails_the_audit_until_they_are_out(world: World) -> None:
    at = workspace.load(world.place / "example", "prod")
    body = {
        "userPrincipalName": f"{uuid.uuid4().hex[:8]}@contoso.onmicrosoft.com",
        "displayName": "Kim",
        "passwordProfile": {"password": "long enough"},
    }
    headers = {"Authorization": f"Bearer {world.emulator.admin.token('https://graph.microsoft.com/.default')}"}
    kim = world.emulator.admin.session.post("https://graph.microsoft.com/v1.0/users", json=body, headers=headers, timeout=60).json()["id"]
    held = f"{at.arm_id}/{HELD}/{uuid.uuid4()}"
    role = "/providers/Microsoft.Authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c"
    properties = {"roleDefinitionId": f"/subscriptions/{at.subscription_id}{role}", "principalId": kim}
    world.emulator.arm("PUT", held, {"properties": properties}, "2022-04-01")
    run = audit(world)
    world.emulator.arm("DELETE", held, version="2022-04-01")
    job, step, errors = world.stop(run)
    assert (job, step) == ("audit", "Audit access")
    assert len(errors) == 2
    assert "person-write: " in errors[0]
    assert body["userPrincipalName"] in errors[0]
    assert f"Fix: az role assignment delete --ids {held}" in errors[0]
    assert findings(world, run)["verdict"] == run.outputs["audit_verdict"] == "failed"
    # Where the SARIF tab of Azure DevOps looks; GitHub was given it by its API, and keeps it with the evidence.
    folder = "CodeAnalysisLogs" if (run.artifacts / "CodeAnalysisLogs").exists() else "evidence-*/sarif"
    (shown,) = run.artifacts.glob(f"{folder}/*.sarif")
    assert "person-write" in shown.read_text(encoding="utf-8")
    said = "\n".join(run.jobs[job].step(step).lines)
    assert ("code-scanning tab" in said) == (folder != "CodeAnalysisLogs")

    run = audit(world)
    assert run.results == {"audit": "success"}, run.jobs
    assert findings(world, run)["verdict"] == run.outputs["audit_verdict"] == "passed"
    assert not [one for one in findings(world, run)["findings"] if not one["passed"]]
