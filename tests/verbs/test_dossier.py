"""The dossier of a release, compiled before the approval as dev's principal, from the emulated Azure, git and the evidence of the verbs."""

from __future__ import annotations

import json
import os
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import wait_job
from aml import bundle, dossier, dossier_text, evidence, registry, spec

GATES = """
gates:
  - environment: production
    reviewers: {count: 1, users: [rea, mia-park, sam], teams: [release-managers]}
    ticket: {pattern: 'CHG\\d+'}
    evidence: [{verb: smoke_test, workspace: dev, max_age_hours: 24}]
"""
PRICES = "currency: EUR\nas_of: 2026-11-01\nsource: price sheet\nhourly: {Standard_DS3_v2: 0.25}\n"


@pytest.fixture
def repository(project: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The project in a repository of its own, started by a job of GitHub's that mia-park asked for."""
    ids = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "contoso/p", "GITHUB_RUN_ID": "7"}
    for name, value in {"GITHUB_ACTIONS": "true", "GITHUB_TRIGGERING_ACTOR": "mia-park", **ids}.items():
        monkeypatch.setenv(name, value)
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.setenv(name, str(project.folder.parent / name))
    project.write(".cloud/gates.yml", GATES)
    git(project, "init", "-q", "-b", "main")
    commit(project, "Begin")
    return project


def git(project: Any, *words: str, **env: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    fixed = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", **env}
    argv = ["git", "-C", str(project.folder), *words]
    return subprocess.run(argv, env={**clean, **fixed}, capture_output=True, text=True, check=True).stdout.strip()


def commit(project: Any, message: str, name: str = "Sam Roe", email: str = "sam@contoso.example") -> str:
    who = {f"GIT_{role}_{field}": value for role in ("AUTHOR", "COMMITTER") for field, value in (("NAME", name), ("EMAIL", email))}
    git(project, "add", "-A")
    git(project, "commit", "-q", "--allow-empty", "-m", message, **who)
    return git(project, "rev-parse", "HEAD")


def compile(project: Any, bundle_id: str, **flags: str) -> tuple[Any, dict[str, Any]]:
    outcome = project.run("compile_dossier", bundle_id=bundle_id, **flags)
    path = project.folder.parent / "evidence" / "dossier" / dossier.FILE
    return outcome, json.loads(path.read_bytes()) if path.exists() else {}


def released(project: Any, bundle_id: str) -> None:
    """Share a bundle and record it as what production runs, as shift_traffic does."""
    assert not project.run("share_model", bundle_id=bundle_id).refusal
    registry.mark_live(project.registry("prod"), project.name, "prod", bundle_id)


class Reader(HTMLParser):
    """The elements, attributes and words of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def missing(document: dict[str, Any]) -> set[str]:
    return {one["what"] for one in document["missing"]}


def test_a_release_that_replaces_another_one(repository: Any, azure: Any) -> None:
    project = repository
    old = project.bundle()
    released(project, old)
    project.edit(".cloud/online/deployment.yml", "instance_count: 1", "instance_count: 2")
    project.append("code/score/score.py", "\n# a comment\n")
    project.append(".cloud/workspaces/prod.yml", "location: westeurope\n")
    project.write(".cloud/prices.yml", PRICES)
    commit(project, "CHG12: More instances", "Mia Park", "12+mia-park@users.noreply.github.com")
    second = project.job({"rmse": 38.5}, 3.0)
    marked = project.arm("GET", f"jobs/{second}")["properties"]["tags"]  # submit_job would have marked it
    wait_job.keep(project.folder.parent / "evidence", "dev", {"properties": {"properties": marked}}, second, "Completed", evidence.now())
    assert not project.run("check_gate", job_name=second).refusal
    version = project.run("register_model", job_name=second).output("model_version")
    bundle_id = project.run("seal_bundle", job_name=second, model_version=version).output("bundle_id")
    assert not project.run("verify_bundle", bundle_id=bundle_id).refusal
    deployment = project.run("deploy_online", bundle_id=bundle_id).output("deployment_name")
    for verb in ("smoke_test", "shift_traffic"):
        assert not project.run(verb, deployment_name=deployment).refusal
    assert not project.run("share_model", bundle_id=bundle_id).refusal

    outcome, found = compile(project, bundle_id)
    assert not outcome.refusal
    assert not spec.invalid(found, "dossier")
    assert outcome.output("dossier_id") == dossier.identify(found)
    assert outcome.output("risk_class") == found["risk"]["class"]
    assert (found["bundle"]["id"], found["champion"]["id"], found["live"]) == (bundle_id, old, "live")
    assert {one["part"] for one in found["changes"]["parts"] if one["change"] == "changed"} == {
        "model", "scoring code", "training job", "instances",
    }  # fmt: skip
    [rmse] = [one for one in found["changes"]["metrics"] if one["name"] == "rmse"]
    assert (rmse["candidate"], rmse["champion"], rmse["change"], rmse["goal"]) == (38.5, 40.0, "better", "minimize")
    changed = {one["path"]: one["diff"] for one in found["changes"]["files"] if one["change"] == "changed"}
    assert list(changed) == [".cloud/online/deployment.yml", ".cloud/workspaces/prod.yml"]
    assert "+location: westeurope" in changed[".cloud/workspaces/prod.yml"]
    assert "who may act has changed" in {one["rule"] for one in found["risk"]["reasons"]}
    assert {"-instance_count: 1", "+instance_count: 2"} <= set(changed[".cloud/online/deployment.yml"])
    assert found["changes"]["dependencies"] == []

    people = found["people"]
    assert [(one["name"], one["login"], one["commits"]) for one in people["authors"]] == [("Mia Park", "mia-park", 1)]
    assert (people["commits"]["total"], people["commits"]["lost"], people["initiator"]) == (1, 0, "mia-park")
    assert people["trainer"]["kind"] == "application"
    assert people["approvers"]["left"] == ["rea", "sam"]
    assert [(one["name"], one["why"]) for one in people["approvers"]["barred"]] == [("mia-park", "started the run, wrote a commit")]

    states = {(one["verb"], one["workspace"]): (one["state"], one["signature"], one["about"]) for one in found["proof"]}
    assert set(states.values()) == {("passed", "not signed", "job"), ("passed", "not signed", "bundle")}
    assert states["check_gate", "dev"][2] == "job"
    assert len(states) == 9, "what is expected, and share_model"
    assert found["control"]["compared_with"] == old
    assert found["where"]["quota"]["fits"]
    assert found["where"]["quota"]["needs"] == 3 * 4, "three machines of four cores are reserved for two"
    assert (found["where"]["cost"]["month"], found["where"]["cost"]["month_before"]) == (365.0, 182.5)
    assert {one["what"]: one["state"] for one in found["rollback"]["proof"]} == {
        "bundle": "there",
        "model": "there",
        "environment": "there",
    }
    assert found["rollback"]["bundle"] == old
    assert found["control"]["ticket"]["state"] == "named"
    [history] = found["plots"]["history"]
    assert [(point["value"], point["is"]) for point in history["points"]] == [(40.0, "champion"), (38.5, "candidate")]
    assert {row["case"] for row in found["plots"]["smoke"]} == {"doubles a number", "a missing value is refused"}
    assert missing(found) == {"who started the training", "whether the environment is protected"}

    folder = project.folder.parent / "evidence" / "dossier"
    page = read((folder / dossier.PAGE).read_text())
    said = " ".join(page.words)
    assert bundle_id in said
    assert dossier.identify(found) in said
    assert "script" not in page.elements
    assert len((folder / dossier.SHORT).read_text()) <= dossier_text.LIMIT
    assert bundle_id in (folder / dossier.SHORT).read_text()
    assert (folder / dossier.MARKDOWN).read_text() in (project.folder.parent / "GITHUB_STEP_SUMMARY").read_text() + "\n"
    assert project.evidence("compile_dossier")["facts"]["dossier"] == dossier.identify(found)


def test_a_second_run_changes_nothing_and_nothing_is_written_to_azure(repository: Any, azure: Any) -> None:
    project = repository
    bundle_id = project.bundle()
    released(project, bundle_id)
    folder = project.folder.parent / "evidence" / "dossier"
    for host in ("management.azure.com", "*.azureml.net"):
        for method in ("PUT", "PATCH", "DELETE"):
            azure.fault(method=method, host=host, status=400, times=0)
    for path in ("*/listsecrets", "*/datarefs/*"):  # what a POST reads by
        azure.fault(method="POST", path=path, delay=0.001, times=0)
    azure.fault(method="POST", host="*.azure*", status=400, times=0)
    outcome, _ = compile(project, bundle_id)
    assert not outcome.refusal
    assert "created  dossier" in outcome.out
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    again, _ = compile(project, bundle_id)
    assert "unchanged  dossier" in again.out
    hits = [(rule["method"], rule["path"]) for rule in azure.ask("GET", "/status")["faults"] if rule["hit"]]
    assert hits == [("POST", "*/listsecrets"), ("POST", "*/datarefs/*")]
    assert again.output("dossier_id") == outcome.output("dossier_id")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    commit(project, "Another one")
    other, _ = compile(project, bundle_id, ticket="CHG99")
    assert "updated  dossier" in other.out
    assert other.output("dossier_id") != outcome.output("dossier_id")


def test_production_is_not_asked(repository: Any, azure: Any) -> None:
    project = repository
    bundle_id = project.bundle()
    azure.fault(method="GET", path="*mlw-verbs-prod*", status=500, times=0)
    outcome, found = compile(project, bundle_id)
    assert not outcome.refusal
    assert found["where"]["workspace"] == "prod"
    assert found["where"]["quota"] is None
    assert {"quota after the release", "cost per month"} <= missing(found)


def test_a_first_release_says_what_is_not_there(project: Any) -> None:
    bundle_id = project.bundle()
    outcome, found = compile(project, bundle_id)
    assert not outcome.refusal
    assert (found["live"], found["champion"], found["rollback"], found["risk"]["class"]) == ("nothing", None, None, "high")
    assert missing(found) >= {
        "who wrote it", "who started this run", "who may approve", "proof: smoke_test in dev", "proof: shift_traffic in dev",
        "quota after the release", "cost per month", "a ticket", "whether a freeze is on", "whether the environment is protected",
    }  # fmt: skip
    assert outcome.out.count("not supplied  ") == len(found["missing"])
    page = (project.folder.parent / "evidence" / "dossier" / dossier.PAGE).read_text()
    for one in found["missing"]:
        assert one["what"] in page


def test_a_record_that_is_gone_is_not_a_first_release(repository: Any) -> None:
    project = repository
    bundle_id = project.bundle()
    released(project, bundle_id)
    second = project.bundle(3.0)
    container = project.registry("prod").client
    found = container.get(f"models/{project.name}")
    container.put(f"models/{project.name}", {"properties": {**found["properties"], "tags": {}}})
    _, document = compile(project, second)
    assert (document["live"], document["champion"]) == ("unknown", None)
    assert "what runs in production" in missing(document)
    assert document["people"]["commits"]["total"] == 1, "since the beginning, which is all that may be new"
    assert any(one["rule"] == "unknown production" for one in document["risk"]["reasons"])


def test_what_is_checked_out_must_be_what_was_sealed(repository: Any) -> None:
    project = repository
    bundle_id = project.bundle()
    project.append("code/score/score.py", "\n# slipped in\n")
    outcome, found = compile(project, bundle_id)
    assert "the checkout is not what was sealed" in outcome.refusal
    assert not found


def test_only_a_bundle_that_was_sealed_here(repository: Any) -> None:
    outcome, _ = compile(repository, "sha256:" + "0" * 64)
    assert "is not in this workspace" in outcome.refusal
    outcome, _ = compile(repository, "latest")
    assert "is not a bundle id" in outcome.refusal


def test_a_part_of_the_history_is_no_history(repository: Any, tmp_path: Path) -> None:
    project = repository
    first = project.bundle()
    released(project, first)
    commit(project, "Second")
    project.append("code/score/score.py", "\n# a comment\n")
    commit(project, "Third")
    second = project.edit_and_seal(first)
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth", "1", project.folder.as_uri(), str(shallow)], check=True, capture_output=True)
    project.folder = shallow
    _, found = compile(project, second)
    assert found["people"]["commits"] is None
    [why] = [one["why"] for one in found["missing"] if one["what"] == "who wrote it"]
    assert "is not in this checkout" in why
    assert any(one["rule"] == "unknown authors" for one in found["risk"]["reasons"])


def test_an_older_bundle_after_a_newer_one(repository: Any) -> None:
    project = repository
    old = project.bundle()
    commit(project, "Newer")
    project.append("code/score/score.py", "\n# a comment\n")
    commit(project, "Newest")
    newer = project.edit_and_seal(old)
    released(project, newer)
    git(project, "checkout", "-q", "HEAD~2")
    _, found = compile(project, old)
    assert found["people"]["commits"] == {"total": 0, "read": 0, "lost": 2, "listed": []}
    assert any(one["rule"] == "older than production" for one in found["risk"]["reasons"])


HOSTILE = "<script>alert(1)</script> **x** ##vso[task.complete]\u202e [a](https://evil.example) | ::error::x"


def test_hostile_names_in_git_and_in_azure_stay_names(repository: Any) -> None:
    project = repository
    first = project.bundle()
    released(project, first)
    commit(project, f"{HOSTILE}\n\nCo-authored-by: {HOSTILE} <co@contoso.example>", HOSTILE.replace("<", "").replace(">", ""))
    project.edit("tests/smoke/cases.yml", "doubles a number", "<b>doubles</b>")
    commit(project, "x" * 5000)
    second = project.job({"rmse": 39.0, "::error:: evil.example": 1.0, "x" * 240: 2.0}, 3.0)
    version = project.run("register_model", job_name=second).output("model_version")
    bundle_id = project.run("seal_bundle", job_name=second, model_version=version).output("bundle_id")
    outcome, found = compile(project, bundle_id, ticket=HOSTILE)
    assert not outcome.refusal
    assert "\u202e" not in json.dumps(found, ensure_ascii=False)
    assert {one["email"] for one in found["people"]["authors"]} == {"sam@contoso.example", "co@contoso.example"}
    folder = project.folder.parent / "evidence" / "dossier"
    page = read((folder / dossier.PAGE).read_text())
    assert not {"script", "b", "table"} & set(page.elements) - {"table", "b"}
    assert not [one for one in page.attributes if "evil.example" in one[2]]
    assert "<script>alert(1)</script>" in " ".join(page.words)
    markdown = (folder / dossier.MARKDOWN).read_text()
    assert "<script" not in markdown
    assert "](https://evil" not in markdown
    assert "##vso" not in markdown


def test_signed_evidence_is_told_from_unsigned_and_refused(repository: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from aml import ledger

    project = repository
    private = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(private.private_bytes(serialization.Encoding.PEM, *form))
    monkeypatch.setenv("AML_SIGNING_KEY_PATH", str(tmp_path / "key.pem"))
    monkeypatch.setattr(ledger, "CONTAINER", f"ledger-{project.name}")
    public = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    pinned = "signing:\n  trusted:\n    - |\n" + "".join(f"      {line}\n" for line in public.splitlines())
    project.append(".cloud/workspaces/dev.yml", pinned)
    job = project.job({"rmse": 40.0})
    version = project.run("register_model", job_name=job).output("model_version")
    bundle_id = project.run("seal_bundle", job_name=job, model_version=version).output("bundle_id")
    project.run("record_evidence")
    project.run("verify_bundle", bundle_id=bundle_id)
    folder = project.folder.parent / "evidence"
    sealed = json.loads((folder / "seal_bundle-dev.json").read_bytes())
    sealed["predicate"]["facts"]["added"] = "later"
    (folder / "seal_bundle-dev.json").write_text(json.dumps(sealed))
    _, found = compile(project, bundle_id)
    signatures = {one["verb"]: one["signature"] for one in found["proof"] if one["finished"]}
    assert signatures == {"register_model": "signed", "seal_bundle": "refused", "verify_bundle": "not signed"}
    rules = {one["rule"] for one in found["risk"]["reasons"]}
    assert {"a signature does not fit", "not signed"} <= rules
    project.run("hold_release", bundle_id=bundle_id, reason="the data owner asked")
    _, found = compile(project, bundle_id)
    assert found["control"]["hold"]["state"] == "held"
    assert "the data owner asked" in found["control"]["hold"]["says"]
    assert found["risk"]["reasons"][0]["rule"] == "held"


def test_a_champion_whose_model_is_gone_is_no_way_back(repository: Any) -> None:
    project = repository
    first = project.bundle()
    released(project, first)
    second = project.bundle(3.0)
    document = bundle.from_registry(project.registry(), project.name, first)
    path = f"models/{project.name}/versions/{document['model']['version']}"
    project.admin.arm("DELETE", f"{project.site.registry}/{path}")
    _, found = compile(project, second)
    assert {one["what"]: one["state"] for one in found["rollback"]["proof"]}["model"] == "missing"
    assert any(one["rule"] == "no way back" for one in found["risk"]["reasons"])
