"""One project, released on GitHub and on Azure DevOps against two equal emulators: what comes out is the same.

Two trainings of the same content differ in what names the run: MLflow writes its id and the time into the model's description, skops
the identities of Python objects into the model. So the model's digest differs, and with it the bundle's id and the names of
deployments, as between two runs on one system. Everything else has to be equal, to the last digit.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import yaml

import _act
import _docs
from _gate import INITIATOR

if TYPE_CHECKING:
    from tests.journeys.conftest import World

Twins: TypeAlias = "dict[str, tuple[World, _act.Run]]"

pytestmark = pytest.mark.parametrize("world", ["azure_devops"], indirect=True, scope="session")

# What only one system has of the protection of an environment: GitHub's plan, Azure DevOps' service connection.
OF_THE_SYSTEM = ("plan", "service connection", "order of approvals", "exclusive lock")
# Where each system keeps the project's repository; a bundle says it, and nothing else that is compared.
REPOSITORIES = {
    "github": "https://github.com/contoso/flight-delay",
    "azure_devops": "https://dev.azure.com/contoso/mlops/_git/flight-delay",
}
OF_THE_RUN = ("run_id", "model_id", "model_uuid", "utc_time_created", "artifact_path")  # in MLmodel: mlflow/models/model.py
VERBS = {verb.name.replace("_", " ").capitalize(): verb.name for verb in _docs.verbs()}


@pytest.fixture(scope="session")
def twins(world: World, another_world: Callable[[str], World], request: pytest.FixtureRequest) -> Twins:
    """Both worlds with their first release, side by side."""
    github = another_world("github")
    with ThreadPoolExecutor() as pool:
        there = pool.submit(github.release)
        here = request.getfixturevalue("released")
        return {"github": (github, there.result()), "azure_devops": (world, here)}


def statements(world: World, run: _act.Run) -> dict[tuple[str, str], dict[str, Any]]:
    """What the verbs found out, by verb and workspace."""
    found = [made["predicate"] for made in world.evidence(run).values()]
    return {(one["verb"], one["workspace"]): one for one in found}


def bundle(world: World, run: _act.Run) -> dict[str, Any]:
    """The bundle that a run sealed."""
    found: dict[str, Any] = statements(world, run)["seal_bundle", "dev"]["facts"]["bundle"]
    return found


def test_the_same_verbs_ran_in_the_same_jobs_in_the_same_order(twins: Twins) -> None:
    ran = {
        name: {job.id: (job.result, [VERBS[step.name] for step in job.steps if step.name in VERBS]) for job in run.jobs.values()}
        for name, (_, run) in twins.items()
    }
    assert ran["github"] == ran["azure_devops"]
    wanted = {verb for journey in ("validate", "train", "deploy", "promote") for verb in _docs.steps(_docs.load(journey))}
    assert {verb for _, verbs in ran["github"].values() for verb in verbs} == wanted


def test_the_bundles_agree_in_all_that_does_not_name_the_run(twins: Twins) -> None:
    found = {name: bundle(*twin) for name, twin in twins.items()}
    for name, document in found.items():
        assert document["source"].pop("repository") == REPOSITORIES[name]
        assert document["model"].pop("digest").startswith("sha256:")
        assert document["job"].pop("submitter").partition("@")[0] == INITIATOR
        assert len(document["catalog"].pop("commit")) == (40 if name == "azure_devops" else 0), "act knows no job.workflow_sha"
    assert found["github"] == found["azure_devops"]
    assert found["github"]["job"]["metrics"]["roc_auc"] > 0.5


def test_the_models_that_are_served_agree_in_all_that_does_not_name_the_run(twins: Twins) -> None:
    """What production serves, from the emulated hosts' own folders."""
    found = {}
    for name, (world, run) in twins.items():
        [folder] = (world.emulator.home / "online" / "westeurope" / "flight-delay" / run.outputs["deployment_name"]).glob("*/**/model")
        found[name] = {path.relative_to(folder).as_posix(): essence(path) for path in folder.rglob("*") if path.is_file()}
    assert found["github"] == found["azure_devops"]
    assert {"MLmodel", "model.skops"} < set(found["github"])


def essence(path: Path) -> object:
    """What a model's file says without what names the run."""
    if path.name == "MLmodel":
        return {key: value for key, value in yaml.safe_load(path.read_text(encoding="utf-8")).items() if key not in OF_THE_RUN}
    if path.suffix == ".skops":
        with zipfile.ZipFile(path) as archive:
            arrays = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist() if name != "schema.json"}
            return nameless(json.loads(archive.read("schema.json")), arrays)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def nameless(node: Any, arrays: dict[str, str]) -> Any:
    """A skops schema with the content of an array in place of its name, and without the ids of objects: skops/io/_utils.py"""
    if isinstance(node, dict):
        return {key: nameless(value, arrays) for key, value in node.items() if key != "__id__"}
    if isinstance(node, list):
        return [nameless(value, arrays) for value in node]
    return arrays.get(node, node) if isinstance(node, str) else node


def test_the_evidence_has_the_same_verdicts(twins: Twins) -> None:
    found = {name: {key: outline(one) for key, one in statements(*twin).items()} for name, twin in twins.items()}
    assert found["github"] == found["azure_devops"]
    assert {verdict for verdict, _, _ in found["github"].values()} == {"passed"}


def outline(one: dict[str, Any]) -> tuple[str, list[dict[str, Any]], set[str]]:
    """Verdict, findings and what else was found, without what was measured and the name of the deployment."""
    named = {"deployment", *(("says", "fix") if one["verb"] == "verify_approval" else ())}  # people, digests and commits have other names
    findings = [
        {key: finding[key] for key in finding if isinstance(finding[key], (str, bool)) and key not in named}
        for finding in one["findings"]
        if one["verb"] not in ("check_gates", "verify_approval") or not finding["name"].startswith(OF_THE_SYSTEM)
    ]
    return one["verdict"], findings, {*one["figures"], *one["facts"]}


def test_the_gate_saw_the_same_figures(twins: Twins) -> None:
    found = {name: statements(*twin)["check_gate", "dev"]["findings"] for name, twin in twins.items()}
    assert found["github"] == found["azure_devops"]


@pytest.mark.parametrize("workspace", ["dev", "prod"])
def test_what_is_live_is_the_same(twins: Twins, workspace: str) -> None:
    """Endpoint and deployment as ARM gives them, but for ids, times, and the names that follow from the model's digest."""
    found = {}
    for name, (world, run) in twins.items():
        live = world.first[workspace]
        [(deployment, share)] = live["properties"]["traffic"].items()
        assert share == 100
        names = {deployment: "DEPLOYMENT", run.outputs["bundle_id"]: "BUNDLE"}
        found[name] = timeless(live, names)
    assert found["github"] == found["azure_devops"]


def timeless(node: Any, names: dict[str, str]) -> Any:
    """A document of ARM with the given names made equal, and without ids that it makes up and times."""
    if isinstance(node, dict):
        return {
            names.get(key, key): timeless(value, names) for key, value in node.items() if key not in ("createdAt", "lastModifiedAt", "etag")
        }
    if isinstance(node, list):
        return [timeless(value, names) for value in node]
    if not isinstance(node, str):
        return node
    for name, word in names.items():
        node = node.replace(name, word)
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", node)


def test_production_answers_the_same(twins: Twins) -> None:
    """Every answer to the smoke cases was judged; the figures of the first one are the same to the last digit."""
    answers = {}
    for name, (world, _) in twins.items():
        answers[name] = world.ask("prod", "tests/smoke/three_flights.json")
    assert answers["github"] == answers["azure_devops"]
    assert all(0 < probability < 1 for probability in answers["github"]["probability_late"])


def test_the_outputs_have_the_same_names(twins: Twins) -> None:
    found = {name: {job.id: set(job.outputs) for job in run.jobs.values()} for name, (_, run) in twins.items()}
    for journey in found["github"]:
        # Azure DevOps has one kind of variable: what GitHub keeps for later steps of a job is an output there too, if its step has a name.
        assert found["github"][journey] <= found["azure_devops"][journey]
