"""The example's identity plan: it is what plan_identity writes from the specs, and what the emulated tenant has."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from _provision import identities, provision
from aml import access, federation
from aml.identity import administrator

if TYPE_CHECKING:
    from tests.conftest import Emulator

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "flight-delay"
PAGE = EXAMPLE / "docs" / "your-own-azure.md"
GITHUB = "https://token.actions.githubusercontent.com"


@pytest.fixture(scope="module")
def provisioned(another_emulator: Callable[[], Emulator]) -> Emulator:
    emulator = another_emulator()
    provision(emulator.home, EXAMPLE)
    return emulator


@pytest.fixture
def signed_in(provisioned: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """This process is the platform team."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in provisioned.env.items():
        monkeypatch.setenv(name, value)
    return provisioned


def plan() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EXAMPLE / access.FILE).read_text(encoding="utf-8"))
    return found


def written() -> list[list[str]]:
    """The flags of each call of plan_identity on the page."""
    lines = re.findall(r"plan_identity\.py(.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_the_plan_is_what_the_page_writes_and_what_is_there(signed_in: Emulator, tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(EXAMPLE / ".cloud", copy / ".cloud")
    for name in ("identity.json", "identity.txt"):
        (copy / ".cloud" / name).unlink()
    verb = importlib.import_module("plan_identity")
    write, apply, check = written()
    assert (apply, check) == (["--apply"], ["--check"])
    assert verb.main([f"--project={copy}", *write]) == 0
    for name in ("identity.json", "identity.txt"):
        assert (copy / ".cloud" / name).read_text() == (EXAMPLE / ".cloud" / name).read_text(), "run plan_identity in the example"
    assert verb.main([f"--project={EXAMPLE}", "--check"]) == 0


def test_production_trusts_the_catalog_at_the_tag_that_the_callers_name(signed_in: Emulator) -> None:
    """Each of the project's workflows gets into the workspace that it names, by no other workflow's name and from no other place."""
    (prod,) = [one for one in plan()["workspaces"] if one["stage"] == "prod"]
    directory = access.Directory(administrator(prod["tenant_id"]))
    trusted = directory.found(plan(), prod).credentials
    assert len(trusted) == len(prod["credentials"])
    called = {}
    for path in (EXAMPLE / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
            journey, _, tag = str(job["uses"]).partition("@")
            called[journey.rpartition("/")[2].removesuffix(".yml")] = (journey, tag)
    assert {"release", "rollback", "audit"} <= set(called)
    subject = "repo:contoso/flight-delay:environment:production"
    for journey, (file, tag) in {**called, "promote": (called["release"][0].replace("release.", "promote."), called["release"][1])}.items():
        for ref, works in ((f"refs/tags/{tag}", journey in access.JOURNEYS["prod"]), (f"refs/heads/{tag}", False), ("refs/tags/v9", False)):
            shown = federation.Presented(GITHUB, subject, claims={"job_workflow_ref": f"{file}@{ref}"})
            assert any(federation.accepts(one, shown) for one in trusted) == works, (journey, ref)
        at_dev = federation.Presented(GITHUB, subject.replace("production", "dev"), claims={"job_workflow_ref": f"{file}@refs/tags/{tag}"})
        assert not any(federation.accepts(one, at_dev) for one in trusted)


def test_what_an_older_emulator_has_beside_the_plan_goes(signed_in: Emulator) -> None:
    (prod,) = [one for one in plan()["workspaces"] if one["stage"] == "prod"]
    body = {"client_id": prod["client_id"], "name": prod["application"]}
    signed_in.ask("POST", "/identities", {**body, "federated": [[GITHUB, "repo:contoso/flight-delay:environment:production"]]})
    directory = access.Directory(administrator(prod["tenant_id"]))
    assert access.differences(plan(), prod, directory.found(plan(), prod))
    identities(signed_in.home, EXAMPLE)
    assert not access.differences(plan(), prod, directory.found(plan(), prod))
