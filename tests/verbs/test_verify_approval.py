"""The approval verified in production's job, on the emulated GitHub and Azure DevOps, after a dossier that dev compiled and handed over."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from approving import AUTHOR, INITIATOR, MANAGERS, OWNER, STRANGER, TEAM, TRAINER, AzureDevOps, GitHub, Place, git
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobClient, ContainerClient
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from _history import head
from aml import evidence, handover, ledger, registry, signing
from aml.azure import Counted
from aml.command import Refusal

REA, KIM = MANAGERS
GATE: dict[str, Any] = {
    "environment": "production",
    "reviewers": {"count": 1, "teams": [TEAM], "self_review": False},
    "branches": ["main"],
    "service_connection": "azureml-production",
    "evidence": [{"verb": "smoke_test", "workspace": "dev", "max_age_hours": 24}],
    "soak": {"workspace": "dev", "hours": 1},
}


@dataclass
class Release:
    """A project whose bundle is shared and whose dossier is handed over, in a run on one of the systems."""

    project: Any
    place: Place
    keys: dict[str, Path]
    monkeypatch: pytest.MonkeyPatch
    bundle_id: str = ""
    dossier_id: str = ""
    gate: dict[str, Any] = field(default_factory=lambda: dict(GATE))

    @property
    def evidence(self) -> Path:
        found: Path = self.project.folder.parent / "evidence"
        return found

    def write(self, top: dict[str, Any] | None = None, **changes: Any) -> None:
        """Write gates.yml, with some keys of the gate changed."""
        self.gate = {key: value for key, value in {**self.gate, **changes}.items() if value is not None}
        self.project.write(".cloud/gates.yml", json.dumps({"gates": [self.gate], **(top or {})}))

    def verb(self, name: str, workspace: str = "dev", job: str = "share", **flags: str) -> Any:
        """A verb as a step of a job."""
        with self.monkeypatch.context() as patch:
            self.place.act_as(job, patch)
            patch.setenv("AML_SIGNING_KEY_PATH", str(self.keys[workspace]))
            return self.project.run(name, workspace, **flags)

    def found_out(self, verb: str, hours: float, workspace: str = "dev", verdict: str = "passed", bundle_id: str = "") -> None:
        """A statement about the bundle, made some hours ago."""
        subject = evidence.about_bundle(self.project.name, bundle_id or self.bundle_id)
        made = evidence.statement(subject, verb, verdict, workspace=workspace, started=evidence.now())
        moment = datetime.now(timezone.utc) - timedelta(hours=hours)
        made["predicate"]["finished"] = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
        evidence.write(self.evidence, made)

    def sealed(self) -> None:
        """A bundle of what is checked out, made by a job that the trainer started, shared."""
        site, factor = self.project.site, 2.5 if isinstance(self.place, GitHub) else 2.25
        if factor not in site.jobs:
            marks = {"content_key": "sha256:" + f"{int(4 * factor):02x}" * 32, "data": "[]", "started_by": self.place.account(TRAINER)}
            site.jobs[factor] = self.project.job({"rmse": 40.0}, factor, tags=marks)
        self.bundle_id = self.project.bundle(factor)
        assert not self.project.run("share_model", bundle_id=self.bundle_id).refusal

    def compiled(self) -> None:
        """The dossier in the share job, signed and handed over."""
        assert not self.verb("record_evidence").refusal
        statements = str(self.evidence.parent / "statements")
        assert not self.verb("collect_evidence", bundle_id=self.bundle_id, statements=statements).refusal
        self.dossier_id = self.verb("compile_dossier", bundle_id=self.bundle_id, statements=statements).output("dossier_id")
        assert not self.verb("record_evidence").refusal
        handed = self.verb("share_evidence", bundle_id=self.bundle_id, dossier_id=self.dossier_id, statements=statements)
        assert not handed.refusal
        shutil.rmtree(self.evidence)

    def ready(self, apply: bool = True) -> None:
        """Everything up to the gate, at which the job production waits."""
        if apply:
            self.place.apply()
        self.place.begin()
        self.sealed()
        self.found_out("smoke_test", 1)
        self.found_out("shift_traffic", 2)
        self.compiled()
        self.place.wait()

    def verify(self, **flags: str) -> Any:
        given = {"bundle_id": self.bundle_id, "dossier_id": self.dossier_id, **flags}
        return self.verb("verify_approval", "prod", "production", **given)

    def branches(self, *names: str) -> dict[str, str]:
        """The rules that say no once gates.yml lets other branches deploy."""
        self.write(branches=[*names])
        try:
            return self.failed()
        finally:
            self.write(branches=GATE["branches"])

    def failed(self, **flags: str) -> dict[str, str]:
        """The rules that say no, and what they say."""
        outcome = self.verify(**flags)
        said = self.project.evidence("verify_approval", "prod")
        found = {one["name"]: one["says"] for one in said["findings"] if not one["passed"]}
        assert bool(outcome.refusal) == bool(found) == (said["verdict"] == "failed"), outcome.refusal
        for name in found:
            assert f"{name}: " in outcome.refusal
        return found


class Calls(list[str]):
    """The calls that are made from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        send = RequestsTransport.send

        def counted(transport: Any, request: Any, **more: Any) -> Any:
            if "login.microsoftonline.com" not in request.url:
                self.append(f"{request.method} {request.url.split('?')[0]}")
            return send(transport, request, **more)

        monkeypatch.setattr(RequestsTransport, "send", counted)


def key(path: Path) -> str:
    """A private key in a file; its public part."""
    private = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    public = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return public.decode()


@pytest.fixture(params=[GitHub, AzureDevOps])
def release(request: Any, project: Any, azure: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Release]:
    monkeypatch.setattr(ledger, "CONTAINER", f"ledger-{project.name}")
    keys = {}
    for name in ("dev", "prod"):
        keys[name] = tmp_path / f"{name}.pem"
        lines = "".join(f"      {line}\n" for line in key(keys[name]).splitlines())
        project.append(f".cloud/workspaces/{name}.yml", f"signing:\n  trusted:\n    - |\n{lines}")
    monkeypatch.setenv("AML_SIGNING_KEY_PATH", str(keys["dev"]))
    env = azure.env
    with httpx.Client(proxy=env["HTTPS_PROXY"], verify=env["REQUESTS_CA_BUNDLE"], timeout=60) as client:
        place = request.param(project, azure, monkeypatch, client)
        made = Release(project, place, keys, monkeypatch)
        made.write()
        git(project.folder, "init", "-q", "-b", "main")
        place.commit("Begin")
        yield made


def container(project: Any) -> ContainerClient:
    """Production's ledger, opened by the account key, as somebody who owns the storage."""
    store = project.arm("GET", "datastores/workspaceblobstore", stage="prod")["properties"]
    key = project.arm("POST", "datastores/workspaceblobstore/listSecrets", {}, "prod")["key"]
    return ContainerClient(f"https://{store['accountName']}.blob.core.windows.net", ledger.CONTAINER, credential=key)


@contextmanager
def handed(release: Release, change: Callable[[Any], None]) -> Iterator[None]:
    """The handover in the registry's own storage, rewritten by somebody who owns that; as it was, afterwards."""
    found = release.project.registry()
    name, version = handover.asset(release.project.name, release.dossier_id)
    there = registry.version_of(found, "data", name, version)
    assert there
    account, _, path = there["properties"]["dataUri"].removeprefix("https://").partition(".blob.core.windows.net/")
    with sqlite3.connect(release.place.azure.home / "state.sqlite") as store:
        [row] = store.execute("SELECT body FROM documents WHERE id = ?", (f"storage/{account}",))
    blob = BlobClient(f"https://{account}.blob.core.windows.net", *path.split("/", 1), credential=json.loads(row[0])["key"])
    before = blob.download_blob().readall()
    document = json.loads(before)
    change(document)
    blob.upload_blob(json.dumps(document).encode(), overwrite=True)
    try:
        yield
    finally:
        blob.upload_blob(before, overwrite=True)


def payload(envelope: Any) -> Any:
    return json.loads(base64.b64decode(envelope["payload"]))


def signed_anew(envelope: Any, path: Path, **changes: Any) -> None:
    """Sign an envelope's statement, with some of its predicate changed, with the key in a file."""
    made = payload(envelope)
    made["predicate"] |= changes
    private = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    data = json.dumps(made).encode()
    made_by = private.sign(signing.pae(signing.STATEMENT, data), ec.ECDSA(hashes.SHA256()))
    mine = signing.Key("x", private.public_key())
    id = hashlib.sha256(mine.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    envelope |= signing.wrapped(data, signing.STATEMENT, [{"keyid": id, "sig": base64.b64encode(made_by).decode()}])


# An approval that holds.


def test_a_release_that_a_manager_approved(release: Release) -> None:
    release.ready()
    release.place.approve(REA)
    for path in ("*mlw-verbs-prod*", "*/registries/*"):
        for method in ("PUT", "PATCH", "DELETE"):
            release.place.azure.fault(method=method, path=path, status=400, times=0)
    calls, before = Calls(release.monkeypatch), Counted.made
    outcome = release.verify()
    assert not outcome.refusal
    assert outcome.output("approvers") == release.place.account(REA)
    said = release.project.evidence("verify_approval", "prod")
    assert said["verdict"] == "passed"
    facts = said["facts"]
    assert (facts["dossier"], facts["environment"]) == (release.dossier_id, "production")
    assert facts["approvers"] == [{"who": release.place.account(REA), "for": TEAM}]
    assert [(one["who"], one["number"]) for one in facts["approvals"]] == [(release.place.account(REA), 0)]
    assert said["figures"]["calls"] - before == len(calls) <= 30, "in a process of its own it is the number itself"
    assert said["figures"]["seconds"] > 0
    names = [one["name"] for one in said["findings"]]
    assert len(names) == len(set(names))
    assert not [rule for rule in release.place.azure.ask("GET", "/status")["faults"] if rule["hit"]], "nothing was written"
    assert release.place.account(REA) in outcome.out
    rules = [line for line in outcome.out.splitlines() if line.startswith("passed  ")]
    assert [line for line in release.verify().out.splitlines() if line.startswith("passed  ")] == rules, "it may run again"
    assert len(rules) == len(names)


def test_who_may_not_approve_does_not_count(release: Release) -> None:
    """Whoever took part is let in by the system, which only bars who started the run, and is stopped here."""
    release.place.team(AUTHOR, TRAINER, *MANAGERS)
    release.ready()
    release.place.approve(AUTHOR)
    author, trainer = release.place.account(AUTHOR), release.place.account(TRAINER)
    assert release.failed() == {
        "approved": f"expected 1 of {TEAM}, found none; {author} may not: wrote a commit of this release",
    }  # fmt: skip
    release.place.again()
    release.place.approve(TRAINER)
    assert f"{trainer} may not: started the training" in release.failed()["approved"]
    release.place.again()
    release.place.approve(KIM)
    assert release.failed() == {}


def test_who_started_the_run_does_not_count_though_the_environment_let_them(release: Release) -> None:
    release.place.team(INITIATOR, *MANAGERS)
    release.write(reviewers={**GATE["reviewers"], "self_review": True})
    release.place.commit("Trust them")
    release.ready()
    release.place.approve(INITIATOR)
    assert release.failed() == {}
    release.write(reviewers=GATE["reviewers"])
    connected = {"service connection azureml-production: self-review"} if isinstance(release.place, AzureDevOps) else set()
    assert set(release.failed()) == {"approved", "self-review"} | connected
    assert f"{release.place.account(INITIATOR)} may not: started this run" in release.failed()["approved"]


@pytest.mark.parametrize("release", [AzureDevOps], indirect=True)
@pytest.mark.parametrize("passed", [0, 1], ids=["environment", "connection"])
@pytest.mark.parametrize("recorded", [True, False])
def test_both_the_environment_s_approval_and_the_connection_s_must_be_complete(release: Release, passed: int, recorded: bool) -> None:
    release.ready()
    release.place.approve(REA, of=[1 - passed])
    release.place.bypass(recorded=recorded, of=[passed])
    found = release.failed()
    assert set(found) == {"bypass"}
    assert "past the gate" in found["bypass"]


@pytest.mark.parametrize("recorded", [True, False])
def test_a_bypass_is_found_and_named(release: Release, recorded: bool) -> None:
    release.write(admin_bypass=True)
    release.place.apply()
    release.write(admin_bypass=False)
    release.ready(apply=isinstance(release.place, AzureDevOps))
    release.place.bypass(recorded=recorded)
    found = release.failed()
    assert {"approved", "bypass"} <= set(found)
    assert "past the gate" in found["bypass"]
    if recorded:
        assert release.place.account(OWNER) in found["bypass"] + found["approved"]
    release.place.apply()
    found = release.failed()
    assert "approved" in found, "nor does it count once the environment is as it should be"
    release.write(admin_bypass=True)
    assert "approved" in release.failed(), "that the gate allows it lets the job start, and not the release go on"


def test_an_approval_of_before_the_dossier(release: Release) -> None:
    """The whole run again: what was approved in the first attempt was another dossier."""
    release.ready()
    release.place.approve(REA)
    assert release.failed() == {}
    first = release.dossier_id
    time.sleep(1.1)  # a dossier tells seconds
    release.found_out("smoke_test", 0.5)
    release.compiled()
    assert release.dossier_id != first
    assert release.failed() == {
        "approved": f"expected 1 of {TEAM}, found none; {release.place.account(REA)} approved before the dossier was there"
    }  # fmt: skip
    release.place.again()
    release.place.approve(REA)
    assert release.failed() == {}


def test_an_approval_counts_once_and_for_one_dossier(release: Release) -> None:
    release.ready()
    first = release.dossier_id
    time.sleep(1.1)  # a dossier tells seconds
    release.found_out("smoke_test", 0.5)
    release.compiled()
    second, used = release.dossier_id, f"{release.place.account(REA)} approved what an earlier verify_approval of this run has counted"
    release.place.approve(REA)
    assert release.failed() == {}
    assert release.failed() == {}, "a job that was killed may verify it again"
    assert not release.verb("record_evidence", "prod", "production").refusal
    for dossier_id in (first, second):
        assert release.failed(dossier_id=dossier_id) == {"approved": f"expected 1 of {TEAM}, found none; {used}"}
    release.place.again()
    release.place.approve(REA)
    assert release.failed() == {}, "the same person, with the same words, once more"
    assert release.failed(dossier_id=first) == {}
    release.write(evidence=[*GATE["evidence"], {"verb": "roll_back", "workspace": "dev"}])
    assert set(release.failed(dossier_id=first)) == {"evidence: roll_back in dev"}
    assert not release.verb("record_evidence", "prod", "production").refusal
    release.write(evidence=GATE["evidence"])
    assert release.failed(dossier_id=first) == {}, "it did not pass, and may be tried again"
    assert set(release.failed()) == {"approved"}, "but it is the other dossier's"


def test_a_rollback_after_the_dossier_was_compiled(release: Release) -> None:
    release.ready()
    release.place.approve(REA)
    release.found_out("roll_back", 1, "prod", bundle_id=f"sha256:{'1' * 64}")
    assert not release.verb("record_evidence", "prod", "production").refusal
    assert release.failed() == {}
    shutil.rmtree(release.evidence)
    release.found_out("roll_back", 0, "prod", bundle_id=f"sha256:{'1' * 64}")
    assert not release.verb("record_evidence", "prod", "production").refusal
    found = release.failed()
    assert set(found) == {"rolled back"}
    assert "after the dossier was compiled" in found["rolled back"]


@pytest.mark.parametrize("release", [GitHub], indirect=True)  # Azure DevOps begins a stage anew, with approvals of its own
def test_a_rejection_is_not_undone_by_another_attempt(release: Release) -> None:
    release.ready()
    release.place.reject(KIM)
    release.place.again()
    release.place.approve(REA)
    assert release.failed() == {"rejected": "kim rejected it in this run, and what others approve of it later does not undo that"}


@pytest.mark.parametrize("release", [GitHub], indirect=True)
def test_who_started_an_earlier_attempt_does_not_count(release: Release) -> None:
    release.ready()
    release.place.again(KIM)
    release.place.again(OWNER)
    release.place.approve(KIM)
    found = release.failed()
    assert set(found) == {"approved"}
    assert "kim may not: started this run" in found["approved"]
    release.place.again(OWNER)
    release.place.approve(REA)
    assert release.failed() == {}


def test_two_must_approve_where_two_are_asked_for(release: Release) -> None:
    release.write(reviewers={"count": 2, "users": [release.place.account(STRANGER)], "teams": [TEAM], "self_review": False})
    release.place.commit("Two")
    if isinstance(release.place, GitHub):
        with pytest.raises(Refusal, match="can't wait for 2"):
            release.place.apply()
        release.place.environment(REA, STRANGER)
        release.ready(apply=False)
        release.place.approve(STRANGER)
        found = release.failed()
        assert {"approved", "number of approvals"} <= set(found)
        return
    release.ready()
    release.place.approve(STRANGER)
    assert set(release.failed()) == {"approved", "bypass"}, "it waits for another one, so nobody but an administrator let the job start"
    release.place.approve(REA)
    assert release.failed() == {}


def test_an_author_whom_nobody_can_tell(release: Release) -> None:
    release.place.commit("From home\n\nCo-authored-by: Mia <mia@home.example>", "kim@home.example")
    release.ready()
    release.place.approve(REA)
    found = release.failed()
    assert set(found) == {"authors"}
    assert "kim@home.example" in found["authors"]
    assert "mia@home.example" in found["authors"]
    people = {"KIM@home.example": release.place.account(KIM), "mia@home.example": release.place.account(REA)}
    release.write(top={"people": people})
    found = release.failed()
    assert set(found) == {"approved"}
    assert f"{release.place.account(REA)} may not: wrote a commit" in found["approved"]
    release.place.again()
    release.place.approve(KIM)
    assert set(release.failed()) == {"approved"}
    release.write(top={"people": {**people, "kim@home.example": "somebody-else"}})


def test_whoever_commits_in_the_name_of_another_wrote_it(release: Release) -> None:
    bot = "49699333+dependabot[bot]@users.noreply.github.com"
    release.place.commit("Bump", REA, author=f"dependabot[bot] <{bot}>")
    release.write(top={"people": {bot: "dependabot[bot]"}})
    release.place.commit("It is that bot")
    release.ready()
    release.place.approve(REA)
    assert release.failed() == {
        "approved": f"expected 1 of {TEAM}, found none; {release.place.account(REA)} may not: wrote a commit of this release"
    }  # fmt: skip
    release.place.again()
    release.place.approve(KIM)
    assert release.failed() == {}


@pytest.mark.parametrize("release", [GitHub], indirect=True)  # the addresses are GitHub's
@pytest.mark.parametrize("address", ["ghost@users.noreply.invalid", "ghost@users.noreply.github.com", "noreply@github.com"])
def test_an_address_that_github_knows_nobody_by_is_nobodys(release: Release, address: str) -> None:
    release.place.commit("Who am I", address)
    release.ready()
    release.place.approve(REA)
    found = release.failed()
    assert set(found) == {"authors"}
    assert address in found["authors"]


# All as it was.


def test_what_changed_since_is_found(release: Release) -> None:
    """Every rule that is about now, one change after the other; each is undone, and the approval holds again."""
    release.ready()
    release.place.approve(REA)
    assert release.failed() == {}
    project, place = release.project, release.place
    gates = (project.folder / ".cloud/gates.yml").read_text()

    def failing(expected: set[str], says: str = "") -> None:
        found = release.failed()
        assert set(found) == expected
        assert says in " ".join(found.values())
        project.write(".cloud/gates.yml", gates)

    now = datetime.now()
    begins, until = (f"{now + timedelta(days=days):%Y-%m-%dT%H:%M}" for days in (-2, 2))
    release.write(freeze=[{"name": "Close", "zone": "Europe/Zurich", "begins": begins, "until": until}])
    failing({"freeze"}, "nothing is promoted during Close")
    release.gate = dict(GATE)
    release.write(soak={"workspace": "dev", "hours": 3}, evidence=[{"verb": "smoke_test", "workspace": "dev", "max_age_hours": 0.5}])
    failing({"soak in dev", "evidence: smoke_test in dev"}, "found one of 1.0 h ago")
    release.gate = dict(GATE)
    release.write(evidence=[*GATE["evidence"], {"verb": "roll_back", "workspace": "dev"}])
    failing({"evidence: roll_back in dev"}, "found none")
    release.gate = dict(GATE)
    assert "branch" in release.branches("release")
    project.write(".cloud/gates.yml", gates)

    place.weaken()
    found = release.failed()
    assert found
    assert "reviewers: teams" in found
    place.apply()
    assert release.failed() == {}
    place.remove()
    assert "environment" in release.failed()
    place.apply()

    held = release.verb("hold_release", "prod", "production", bundle_id=release.bundle_id, reason="drift")
    assert not held.refusal
    failing({"hold"}, "drift")
    assert not release.verb("release_hold", "prod", "production", bundle_id=release.bundle_id, reason="fine").refusal
    failing(set())
    store = container(project)
    entry = store.download_blob(ledger.name_of(1)).readall()
    store.delete_blob(ledger.name_of(1))
    failing({"ledger", "hold"}, "entry 1 is missing")
    store.upload_blob(ledger.name_of(1), entry)
    failing(set())

    kept = head(project.folder)
    git(project.folder, "commit", "-q", "--amend", "--allow-empty", "-m", "Another one")
    place.push()
    failing({"commit"}, f"does not have commit {kept[:12]}")
    git(project.folder, "reset", "-q", "--hard", kept)
    project.write(".cloud/gates.yml", gates)
    place.commit("Newer")
    failing(set())
    project.edit(".cloud/online/deployment.yml", "instance_count: 1", "instance_count: 49")
    failing({"quota"}, "the quota does not suffice")
    project.edit(".cloud/online/deployment.yml", "instance_count: 49", "instance_count: 1")

    other = f"sha256:{'0' * 64}"
    registry.mark_live(project.registry("prod"), project.name, "prod", other)
    failing({"champion", "what runs is recorded", "replay"}, "expected no bundle, found bundle 000000000000")
    registry.mark_live(project.registry("prod"), project.name, "prod", release.bundle_id)
    failing({"champion"}, "found bundle " + release.bundle_id.removeprefix("sha256:")[:12] + " as what production runs by the registry")


@pytest.mark.parametrize("release", [GitHub], indirect=True)  # what production runs is read from Azure, the same on both systems
def test_production_goes_on_where_a_run_was_killed_and_nowhere_else(release: Release) -> None:
    release.ready()
    release.place.approve(REA)
    project = release.project
    assert not release.verify().refusal
    name = release.verb("deploy_online", "prod", "production", bundle_id=release.bundle_id).output("deployment_name")
    assert release.failed() == {}
    assert not release.verb("shift_traffic", "prod", "production", deployment_name=name).refusal
    assert project.traffic("prod") == {name: 100}
    assert release.failed() == {}, "killed before its evidence was entered: the same release goes on"
    assert not release.verb("record_evidence", "prod", "production").refusal
    shutil.rmtree(release.evidence)
    assert set(release.failed()) == {"approved"}, "its approval is used up"
    release.place.again()
    release.place.approve(REA)
    assert release.failed() == {}, "all is done, and the same release may run again"

    # Traffic that goes to something else.
    path = f"onlineEndpoints/{project.name}-prod/deployments/{name}"
    tags = project.arm("GET", path, stage="prod")["tags"]
    project.arm("PATCH", path, {"tags": {**tags, "bundle_id": f"sha256:{'0' * 64}"}}, stage="prod")
    found = release.failed()
    assert set(found) == {"champion", "traffic", "replay", "what runs is recorded"}
    assert f"{name} of bundle 000000000000" in found["traffic"]
    project.arm("PATCH", path, {"tags": {**tags, "bundle_id": release.bundle_id}}, stage="prod")

    # A newer bundle replaced it; then the approval of this one is shown again.
    project.append("code/score/score.py", "\n# newer\n")
    version = project.run("register_model", job_name=project.site.jobs[2.5]).output("model_version")
    newer = project.run("seal_bundle", job_name=project.site.jobs[2.5], model_version=version).output("bundle_id")
    assert not project.run("share_model", bundle_id=newer).refusal
    registry.mark_live(project.registry("prod"), project.name, "prod", newer)
    release.found_out("shift_traffic", 0, "prod", bundle_id=newer)
    assert not release.verb("record_evidence", "prod", "production").refusal
    found = release.failed()
    assert {"champion", "replay"} <= set(found)
    assert "it was shared before bundle" in found["replay"]
    registry.mark_live(project.registry("prod"), project.name, "prod", "sha256:" + "0" * 64)
    assert "replay" in release.failed()

    # The newer one takes the traffic, and somebody marks the old one as live.
    registry.mark_live(project.registry("prod"), project.name, "prod", release.bundle_id)
    project.arm("PATCH", path, {"tags": {**tags, "bundle_id": newer}}, stage="prod")
    found = release.failed()
    assert {"champion", "traffic", "replay"} <= set(found)
    assert "by the registry, and no traffic goes to it" in found["champion"]
    assert "it was shared before" in found["replay"]


# What was handed over.


@pytest.mark.parametrize("release", [GitHub], indirect=True)  # the handover is read from the registry, the same on both systems
def test_what_was_handed_over_is_what_was_signed(release: Release) -> None:
    release.ready()
    release.place.approve(REA)
    assert release.failed() == {}

    def attack(change: Callable[[Any], None], name: str, says: str) -> None:
        with handed(release, change):
            found = release.failed()
        assert says in found[name], found
        assert "approved" in found or name == "signatures"

    def of(document: Any, verb: str) -> Any:
        return next(one for one in document["statements"] if payload(one)["predicate"]["verb"] == verb)

    def better(document: Any) -> None:
        document["dossier"]["risk"]["class"] = "low"

    attack(better, "dossier", "it was changed after it was approved")
    attack(lambda document: document.update(bundle=f"sha256:{'0' * 64}"), "dossier", "is not about bundle")
    attack(lambda document: document.update(statements=[]), "dossier", "no dossier of it is signed")
    attack(lambda document: document["statements"].remove(of(document, "compile_dossier")), "dossier", "no dossier of it is signed")
    attack(lambda document: of(document, "smoke_test").update(signatures=[]), "signatures", "it is not signed")

    def altered(document: Any) -> None:
        one = of(document, "smoke_test")
        made = payload(one)
        made["predicate"]["finished"] = evidence.now()
        one["payload"] = base64.b64encode(json.dumps(made).encode()).decode()

    attack(altered, "signatures", "its signature does not fit it")
    prod, stranger = release.keys["prod"], release.evidence.parent / "stranger.pem"
    key(stranger)
    attack(lambda document: signed_anew(of(document, "smoke_test"), prod), "signatures", "it is signed by the key of workspace prod")
    attack(lambda document: signed_anew(of(document, "smoke_test"), stranger), "signatures", "it is signed by a key that is not trusted")
    attack(
        lambda document: signed_anew(of(document, "compile_dossier"), prod, workspace="prod"), "dossier", "is of a workspace that shares"
    )
    assert release.failed() == {}
    assert "has no data asset" in release.failed(dossier_id=f"sha256:{'0' * 64}")["dossier"]
    assert "is not in registry" in release.failed(bundle_id=f"sha256:{'0' * 64}")["bundle"]
    assert "is not a bundle id" in release.verify(bundle_id="latest").refusal
    assert "is not a dossier id" in release.failed(dossier_id="latest")["dossier"]
    assert "has no gate for the environment" in release.verify(environment="staging").refusal


def test_an_approval_of_another_run_is_none(release: Release) -> None:
    release.ready()
    release.place.approve(REA)
    assert release.failed() == {}
    release.place.begin()
    release.place.wait()
    release.place.approve(KIM)
    found = release.failed()
    assert set(found) == {"dossier", "approved"}
    assert "was made in this run" in found["dossier"]


def test_a_job_that_may_not_read_says_what_it_lacks(release: Release) -> None:
    release.ready()
    release.place.approve(REA)
    release.place.powerless()
    found = release.failed()
    assert {"approved", "initiator", "environment"} <= set(found)
    outcome = release.verify()
    assert "actions: read" in outcome.refusal if isinstance(release.place, GitHub) else "401" in outcome.refusal
    with release.monkeypatch.context() as patch:
        for name in ("GITHUB_ACTIONS", "TF_BUILD"):
            patch.delenv(name, raising=False)
        given = {"bundle_id": release.bundle_id, "dossier_id": release.dossier_id}
        assert "It is not known who approved" in release.project.run("verify_approval", "prod", **given).refusal


def test_a_declared_emergency_waives_what_it_may_and_not_who_approves(release: Release) -> None:
    release.write(
        break_glass={}, evidence=[*GATE["evidence"], {"verb": "roll_back", "workspace": "dev"}], soak={"workspace": "dev", "hours": 99}
    )
    release.place.commit("Allow it")
    release.place.apply()
    release.place.begin()
    release.sealed()
    release.found_out("smoke_test", 1)
    release.found_out("shift_traffic", 2)
    facts = {
        "reason": "the airport is closed", "who": release.place.account(INITIATOR), "review": "https://github.com/contoso/p/issues/1",
        "review_until": "2099-01-01T00:00:00Z", "environment": "production",
    }  # fmt: skip
    subject = evidence.about_bundle(release.project.name, release.bundle_id)
    with release.monkeypatch.context() as patch:
        release.place.act_as("share", patch)
        made = evidence.statement(subject, "break_glass", "passed", workspace="dev", started=evidence.now(), facts=facts)
        evidence.write(release.evidence, made)
    release.compiled()
    release.place.wait()
    release.place.approve(REA)
    outcome = release.verify()
    assert not outcome.refusal
    assert outcome.out.count("WAIVED by break-glass") == 2
    assert "the glass is BROKEN" in outcome.out
    said = release.project.evidence("verify_approval", "prod")
    assert said["facts"]["break_glass"]["reason"] == "the airport is closed"
    release.gate.pop("break_glass")
    release.write()
    assert set(release.failed()) == {"soak in dev", "evidence: roll_back in dev"}
