"""Splits of traffic, what a PUT must carry, quotas, and why deployments fail."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml import deployment, endpoint
from aml.command import Refusal
from aml.workspace import Workspace

names = st.from_regex(r"[a-z](-?[a-z0-9]){2,10}", fullmatch=True)


@st.composite
def splits(draw: st.DrawFn) -> dict[str, int]:
    """A split that Azure would show: nothing, or whole percents that sum to 100."""
    chosen = draw(st.lists(names, unique=True, max_size=5))
    if not chosen:
        return {}
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=len(chosen) - 1, max_size=len(chosen) - 1)))
    return {name: high - low for name, low, high in zip(chosen, [0, *cuts], [*cuts, 100], strict=True) if high > low}


@given(splits(), st.integers(1, 100))
def test_a_step_gives_the_new_one_its_share_and_keeps_the_rest_in_proportion(origin: dict[str, int], percent: int) -> None:
    split = endpoint.advanced(origin, "new", percent)
    others = {name: share for name, share in origin.items() if name != "new"}
    assert sum(split.values()) == 100
    assert all(share > 0 for share in split.values())
    assert split["new"] == (percent if others else 100)
    assert set(split) <= {*others, "new"}
    whole = sum(others.values())
    for name, share in others.items():
        if percent < 100:
            assert abs(split.get(name, 0) - share * (100 - percent) / whole) < len(others)


@given(splits())
def test_a_split_survives_being_a_tag(split: dict[str, int]) -> None:
    assert endpoint.parsed(endpoint.shown(split)) == split


@pytest.mark.parametrize(
    ("origin", "percent", "expected"),
    [
        ({"old": 100}, 10, {"old": 90, "new": 10}),
        ({"old": 90, "new": 10}, 50, {"old": 50, "new": 50}),
        ({"a": 50, "b": 50}, 33, {"a": 33, "b": 34, "new": 33}),
        ({"a": 99, "b": 1}, 90, {"a": 10, "new": 90}),
        ({}, 10, {"new": 100}),
        ({"new": 100}, 10, {"new": 100}),
    ],
)
def test_steps(origin: dict[str, int], percent: int, expected: dict[str, int]) -> None:
    assert endpoint.advanced(origin, "new", percent) == expected


DOCUMENT: dict[str, Any] = {
    "id": "/subscriptions/s/x",
    "name": "flight-delay",
    "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
    "location": "westeurope",
    "systemData": {"createdAt": "2026-01-01"},
    "kind": "Managed",
    "tags": {"team": "air"},
    "identity": {"type": "UserAssigned", "principalId": "p", "tenantId": "t", "userAssignedIdentities": {"/u": {"clientId": "c"}}},
    "properties": {
        "authMode": "AADToken",
        "description": "d",
        "provisioningState": "Succeeded",
        "scoringUri": "https://x/score",
        "swaggerUri": "https://x/swagger.json",
        "publicNetworkAccess": "Disabled",
        "traffic": {"old": 90, "new": 10, "idle": 0},
        "mirrorTraffic": {"shadow": 20},
        "properties": {"azureml.onlineendpointid": "i"},
        "unheardOf": {"a": 1},
    },
}  # fmt: skip


def test_a_put_carries_everything_that_was_there_but_what_only_azure_writes() -> None:
    before = copy.deepcopy(DOCUMENT)
    body = endpoint.writable(DOCUMENT)
    assert before == DOCUMENT
    assert set(body) == {"location", "kind", "tags", "identity", "properties"}
    assert body["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {"/u": {}}}
    kept = ("authMode", "description", "publicNetworkAccess", "traffic", "mirrorTraffic", "properties", "unheardOf")
    assert body["properties"] == {key: DOCUMENT["properties"][key] for key in kept}


def test_traffic_leaves_out_what_gets_none() -> None:
    assert endpoint.traffic(DOCUMENT) == {"old": 90, "new": 10}
    assert endpoint.mirrored(DOCUMENT) == {"shadow": 20}


@pytest.mark.parametrize(("instances", "reserved"), [(1, 2), (2, 3), (4, 5), (5, 6), (10, 12), (15, 18), (50, 60)])
def test_azure_reserves_a_fifth_more(instances: int, reserved: int) -> None:
    assert deployment.reserved("Standard_DS3_v2", instances) == reserved
    assert deployment.reserved("Standard_NC24ads_A100_v4", instances) == instances


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("ImageBuildFailure", "x", "ImageBuildFailure"),
        ("BadRequest", "ResourceNotReady: User container has crashed or terminated.", "ResourceNotReady"),
        ("BadRequest", "OutOfQuota: Not enough subscription CPU quota.", "OutOfQuota"),
        ("QuotaExceeded", "Requested CPU exceeds quota", "OutOfQuota"),
        ("SomethingNew", "no idea", "SomethingNew"),
        ("", "no idea", "Unknown"),
    ],
)
def test_failure_classes(code: str, message: str, kind: str) -> None:
    found, fix = deployment.failure_class(code, message)
    assert found == kind
    assert fix


def test_where_the_build_log_is() -> None:
    place = "the build log under the storage account 'stdev' in the container 'azureml' at the path 'ImageLogs/x/build.log'"
    message = f"Image build failed. For more information, see {place}."
    assert deployment.build_log(message) == ("stdev", "azureml", "ImageLogs/x/build.log")
    assert deployment.build_log("no log") is None


def test_scoring_code(tmp_path: Path) -> None:
    (tmp_path / "code/score").mkdir(parents=True)
    (tmp_path / "code/score/score.py").write_text("def init(): pass\n")
    (tmp_path / "online").mkdir()
    file = tmp_path / "online/deployment.yml"
    file.write_text("code_configuration: {code: ../code/score, scoring_script: score.py}\n")
    assert deployment.scoring_files(tmp_path, "online/deployment.yml") == ("code/score", "score.py")
    file.write_text("name: x\n")
    assert deployment.scoring_files(tmp_path, "online/deployment.yml") is None
    file.write_text("code_configuration: {code: ../code/score, scoring_script: gone.py}\n")
    with pytest.raises(Refusal, match=r"names the scoring script gone\.py"):
        deployment.scoring_files(tmp_path, "online/deployment.yml")
    file.write_text("code_configuration: {code: ../.., scoring_script: x.py}\n")
    with pytest.raises(Refusal, match="outside the project"):
        deployment.scoring_files(tmp_path, "online/deployment.yml")


def test_a_syntax_error_is_told_at_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "score.py"
    script.write_text("def init():\n    pass\n\ndef run(data)\n    return data\n")
    with pytest.raises(Refusal, match=r"score\.py has a syntax error in line 4"):
        deployment.check_syntax(script)
    assert f"{script}:4:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "yaml", "expected"),
    [
        ({}, "instance_type: Standard_DS3_v2\ninstance_count: 3\n", ("Standard_DS3_v2", 3)),
        ({}, "instance_type: Standard_DS3_v2\n", ("Standard_DS3_v2", 1)),
        (
            {"instance_type": "Standard_DS2_v2", "instance_count": 1},
            "instance_type: Standard_DS3_v2\ninstance_count: 3\n",
            ("Standard_DS2_v2", 1),
        ),
    ],
)
def test_the_workspace_spec_overrides_the_machine(tmp_path: Path, spec: dict[str, Any], yaml: str, expected: tuple[str, int]) -> None:
    (tmp_path / "deployment.yml").write_text(yaml)
    at = Workspace("dev", tmp_path, "dev", "t", "s", "g", "w", "c", **spec)
    assert deployment.machine(at, "deployment.yml") == expected
