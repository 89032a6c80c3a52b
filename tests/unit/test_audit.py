"""What an audit makes of answers that no emulator gives: what it did not find is not taken for clean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aml import access, audit, reach, roles
from aml.findings import Finding
from aml.reach import Seen
from aml.roles import Assignment, Permission, Role
from aml.workspace import Workspace

SUB = "/subscriptions/5ab50000-0000-4000-8000-000000000001"
AT = Workspace(
    name="prod", project=Path(), stage="prod", tenant_id="t", subscription_id=SUB.rpartition("/")[2], resource_group="rg", client_id="c",
    workspace_name="mlw",
)  # fmt: skip
OWNER = Role("owner", "Owner", False, (Permission(actions=("*",)),))
PLAN: dict[str, Any] = {
    "version": 1,
    "trust": {},
    "roles": access.custom_roles([AT]),
    "workspaces": [
        {
            "workspace": "prod", "keep": [], "credentials": [], "client_id": "c",
            "roles": [{"role": "AzureML Data Scientist", "scope": AT.arm_id, "why": "deploys"}],
        }
    ],
}  # fmt: skip


def seen(role: Role, kind: str, who: str, scope: str, **more: Any) -> Seen:
    held = Assignment(f"{scope}/providers/Microsoft.Authorization/roleAssignments/1", who, kind, role.id, role.name, scope)
    return Seen(AT, parts={"workspace": AT.arm_id}, roles={role.id: role}, assignments=[held], **more)


def judged(found: Seen) -> list[Finding]:
    return audit.judge(found, PLAN)


def test_a_person_whose_id_is_spelled_otherwise_is_there() -> None:
    person = {"id": "aa-bb", "displayName": "Rea", "@odata.type": "#microsoft.graph.user"}
    [finding] = judged(seen(OWNER, "User", "AA-BB", SUB, people={"aa-bb": person}))
    assert (finding.rule, finding.level) == ("person-write", "error")
    assert "Rea (aa-bb)" in finding.says


def test_a_custom_role_with_the_name_of_a_planned_one_is_not_the_planned_one() -> None:
    planned = Role("r", "AzureML Data Scientist", False, (Permission(actions=("Microsoft.MachineLearningServices/workspaces/*/write",)),))
    more = Role("r", "AzureML Data Scientist", True, (Permission(actions=("*",)),))
    assert judged(seen(planned, "ServicePrincipal", "own", AT.arm_id, planned={"own": "prod"}, people=None)) == []
    [finding] = judged(seen(more, "ServicePrincipal", "own", AT.arm_id, planned={"own": "prod"}, people=None))
    assert finding.rule == "principal-access"
    assert "AzureML Data Scientist (a custom role)" in finding.says
    ours = Role("q", access.QUOTA_READER, True, (Permission(actions=tuple(access.QUOTA_ACTIONS)),))
    assert [one.rule for one in judged(seen(ours, "ServicePrincipal", "own", AT.arm_id, planned={"own": "prod"}))] == ["principal-access"]


def test_a_group_of_our_own_identities_counts_at_home_only() -> None:
    member = {"id": "mi", "@odata.type": "#microsoft.graph.servicePrincipal", "displayName": "mlw"}
    documents = {"workspace": {"identity": {"principalId": "mi"}}}
    members, group = {"g": [member]}, f"{SUB}/resourceGroups/rg"
    assert judged(seen(OWNER, "Group", "g", group, members=members, documents=documents)) == []
    [finding] = judged(seen(OWNER, "Group", "g", SUB, members=members, documents=documents))
    assert finding.rule == "principal-access"


def test_an_endpoint_that_does_not_say_how_it_is_called_is_found() -> None:
    for mode, found in {"Key": True, "": True, "AADToken": False, "AMLToken": False}.items():
        one = {"id": "e", "name": "delay", "properties": {"authMode": mode} if mode else {}}
        assert [each.rule for each in judged(Seen(AT, endpoints=[one]))] == (["endpoint-keys"] if found else [])


class Empty:
    """A directory that answers everything, and has nobody."""

    def application(self, client_id: str) -> None:
        return None

    service_principal = application


def test_an_application_that_is_not_to_be_found_is_not_clean(monkeypatch: Any) -> None:
    monkeypatch.setattr(reach, "Graph", lambda credential: Empty())
    monkeypatch.setattr(reach, "claims", lambda token: {"appid": "auditor", "oid": "o"})
    found = Seen(AT)
    reach._directory(found, type("Credential", (), {"get_token": lambda self, scope: type("T", (), {"token": ""})})(), None)
    assert [(one.rule, one.id) for one in found.missing] == [("not-seen", "application"), ("not-seen", "principal")]
    assert "shows none of that client id" in found.missing[0].says


def test_roles_are_told_by_their_guid() -> None:
    assert roles.key(f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/ABC") == "abc"
