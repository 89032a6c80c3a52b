"""What a role lets one do, and what its scope reaches."""

from __future__ import annotations

import pytest

from aml import roles
from aml.roles import Permission, Role
from emulator.arm import roles as emulated

SUB = "/subscriptions/5ab50000-0000-4000-8000-000000000001"
GROUP = f"{SUB}/resourceGroups/rg"
WORKSPACE = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/w"


@pytest.mark.parametrize(
    ("actions", "not_actions", "found"),
    [
        (["*"], [], "*"),
        (["*/read"], [], ""),
        (["*/READ"], [], ""),
        (["*"], ["*/write", "*/delete", "*/action"], ""),
        (["*"], ["*/WRITE", "*/Delete", "*/Action"], ""),
        (["*"], ["*/write", "*/delete"], "*"),
        (["*"], ["*"], ""),
        (["*/read", "Microsoft.Support/*"], [], ""),
        (["Microsoft.Support/*", "Microsoft.Compute/virtualMachines/write"], [], ""),
        (["Microsoft.Resources/deployments/*"], [], ""),
        (["Microsoft.Resources/subscriptions/resourceGroups/delete"], [], "Microsoft.Resources/subscriptions/resourceGroups/delete"),
        (["Microsoft.MachineLearningServices/workspaces/*"], ["Microsoft.MachineLearningServices/workspaces/*/write"],
         "Microsoft.MachineLearningServices/workspaces/*"),
        (["Microsoft.MachineLearningServices/workspaces/*"],
         [f"Microsoft.MachineLearningServices/workspaces/{many}{kind}" for many in ("", "*/") for kind in roles._KINDS], ""),
        (["Microsoft.MachineLearningServices/workspaces/*"],
         [f"Microsoft.MachineLearningServices/workspaces/*/{what}" for what in ("write", "delete", "action")],
         "Microsoft.MachineLearningServices/workspaces/*"),
        (["Microsoft.Storage/storageAccounts/listKeys/action"], [], "Microsoft.Storage/storageAccounts/listKeys/action"),
        (["Microsoft.Storage/storageAccounts/listKeys/action"], ["*/listKeys/action"], ""),
        (["Microsoft.*/write"], [], "Microsoft.*/write"),
        (["Micro*"], [], "Micro*"),
        (["microsoft.machinelearningservices/WORKSPACES/onlineEndpoints/write"], [],
         "microsoft.machinelearningservices/WORKSPACES/onlineEndpoints/write"),
        ([], ["*"], ""),
    ],
)  # fmt: skip
def test_it_writes_if_anything_but_reading_is_left(actions: list[str], not_actions: list[str], found: str) -> None:
    assert Permission(tuple(actions), tuple(not_actions)).write() == found


@pytest.mark.parametrize(
    ("actions", "not_actions", "found"),
    [
        (["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"], [], True),
        (["*"], [], True),
        (["*"], ["*"], False),
        (["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"], ["Microsoft.Storage/*"], False),
        (["Microsoft.EventHub/*/receive/action"], [], False),
        ([], [], False),
    ],
)
def test_reading_data_is_a_right_too(actions: list[str], not_actions: list[str], found: bool) -> None:
    assert bool(Permission(data_actions=tuple(actions), not_data_actions=tuple(not_actions)).data()) == found


def test_no_right_is_missed_among_azures_own_roles() -> None:
    """Held against what the emulator decides by: of each role, whether any of these operations is allowed."""
    kinds = ("write", "delete", "listKeys/action")
    storage, ml = "Microsoft.Storage/storageAccounts", "Microsoft.MachineLearningServices"
    operations = [
        *(f"{ml}/workspaces{part}/{kind}" for part in ("", "/onlineEndpoints", "/computes/start") for kind in kinds),
        *(f"{of}/{kind}" for of in (storage, f"{storage}/blobServices/containers", "Microsoft.KeyVault/vaults") for kind in kinds),
        "Microsoft.Authorization/roleAssignments/write", f"{ml}/registries/assets/write",
    ]  # fmt: skip
    for document in emulated._BUILTIN.values():
        role = roles.of_arm(document)
        (permission,) = document["properties"]["permissions"]
        can = [one for one in operations if emulated.permits(permission, one, data=False)]
        assert not can or role.write, (role.name, can)
        assert bool(role.data) == bool(permission["dataActions"]), role.name
        assert role.assigns == emulated.permits(permission, roles.ASSIGN, data=False), role.name
    names = {document["properties"]["roleName"]: roles.of_arm(document).right for document in emulated._BUILTIN.values()}
    assert [name for name, right in names.items() if not right] == ["Reader", "AcrPull"]


def test_what_one_permission_takes_away_another_gives() -> None:
    split = Role("r", "Split", True, (Permission(("*",), ("*",)), Permission(("Microsoft.Storage/*",))))
    assert split.right == "write (Microsoft.Storage/*)"
    assert split.beyond(["*", "MICROSOFT.STORAGE/*"]) == []
    assert split.beyond(["*"]) == ["Microsoft.Storage/*"]


@pytest.mark.parametrize(
    ("scope", "reached"),
    [
        ("/", True),
        ("", True),
        ("/providers/Microsoft.Management/managementGroups/corp", True),
        (SUB, True),
        (SUB.upper(), True),
        (f"{GROUP}/", True),
        (WORKSPACE, True),
        (f"{WORKSPACE}/onlineEndpoints/e", True),
        (f"{WORKSPACE}2", False),
        (f"{GROUP}2", False),
        (f"{GROUP}/providers/Microsoft.Storage/storageAccounts/other", False),
        ("/subscriptions/5ab50000-0000-4000-8000-000000000002", False),
    ],
)
def test_a_scope_reaches_what_is_below_it_and_what_it_is_below_of(scope: str, reached: bool) -> None:
    assert roles.reaches(scope, WORKSPACE) == reached


def test_an_assignment_above_is_inherited() -> None:
    class Client:
        def list(self, path: str, **query: str) -> list[dict[str, object]]:
            scopes = ["/", SUB] if query else [SUB, GROUP]
            role = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/A"
            return [{"id": f"{scope}/x", "properties": {"roleDefinitionId": role, "principalId": "p", "scope": scope}} for scope in scopes]

    found = roles.assignments(Client(), SUB, {"a": Role("a", "Ay", False, ())})  # type: ignore[arg-type]
    assert {one.scope: (one.inherited, one.role_name, one.principal_type) for one in found} == {
        "/": (True, "Ay", "Unknown"),
        SUB: (False, "Ay", "Unknown"),
        GROUP: (False, "Ay", "Unknown"),
    }
    assert len(found) == 3, "each once"
