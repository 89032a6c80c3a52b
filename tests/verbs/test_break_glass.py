"""Breaking the glass on the emulated GitHub and Azure DevOps: the review is opened first and once, and exactly so much is waived."""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import apply_gates
from aml import after_review, command, evidence, identity, ledger, rest
from emulator.client import Administrator
from emulator.core import TENANT

HOSTILE = "</pre><script>alert(1)</script> `x` [y](https://evil.example) @contoso/everybody #1 ::error::z ##vso[task.complete]\"'<!--"
REASON = "prices are wrong in production since this morning"


@dataclass
class Place(ABC):
    """One CI system with a project: a run of it, and the reviews that it has."""

    project: Any
    azure: Any
    monkeypatch: pytest.MonkeyPatch
    client: httpx.Client
    name: str = field(default_factory=lambda: f"glass-{uuid.uuid4().hex[:8]}")

    @property
    def admin(self) -> Administrator:
        """Who plays the service."""
        found: Administrator = self.azure.admin
        return found

    def gate(self, **changes: Any) -> None:
        """Write gates.yml: a gate in a freeze, which asks for a ticket and for evidence that there is not."""
        today = datetime.now(timezone.utc)
        begins, until = (f"{today + timedelta(days=days):%Y-%m-%dT00:00}" for days in (-1, 2))
        gate = {
            "environment": "production",
            "reviewers": {"count": 1, "users": ["rea"]},
            "service_connection": "azureml-production",
            "freeze": [{"name": "Moving house", "zone": "Etc/UTC", "begins": begins, "until": until}],
            "ticket": {"pattern": "CHG[0-9]+"},
            "evidence": [{"verb": "deploy_online", "workspace": "dev"}],
            "break_glass": {"review_within_hours": 8},
            **changes,
        }
        self.project.write(".cloud/gates.yml", json.dumps({"gates": [{key: value for key, value in gate.items() if value}]}))

    def breaks(self, bundle_id: str, reason: str = REASON, **flags: str) -> Any:
        """Break the glass."""
        return self.project.run("break_glass", bundle_id=bundle_id, reason=reason, **flags)

    def checks(self, bundle_id: str) -> dict[str, str]:
        """What check_gates finds missing in this run, and what it says of it."""
        folder = self.project.folder.parent / "evidence"
        self.project.run("check_gates", bundle_id=bundle_id, statements=str(folder))
        return {one["name"]: one["says"] for one in self.findings() if not one["passed"]}

    def findings(self) -> list[dict[str, Any]]:
        """The findings of the last check_gates."""
        found: list[dict[str, Any]] = self.project.evidence("check_gates")["findings"]
        return found

    @abstractmethod
    def run(self, number: int = 7) -> None:
        """Be a job of a run that dana started."""

    @abstractmethod
    def protect(self) -> None:
        """Set the environment up as the gate says, as a platform team does."""

    @abstractmethod
    def reviews(self, state: str = "open") -> list[tuple[str, str, str]]:
        """Page, title and text of the reviews."""

    @abstractmethod
    def close(self) -> None:
        """Somebody closes every review."""

    @abstractmethod
    def fault(self, **more: Any) -> None:
        """The service answers otherwise for a while."""


class GitHub(Place):
    """A repository on GitHub."""

    tokens: dict[str, str]

    def run(self, number: int = 7) -> None:
        owner = f"{self.name}-owner"
        if not hasattr(self, "tokens"):
            one = {"login": self.name, "plan": "enterprise", "owners": [owner], "members": ["rea", "sam"]}
            full = {"full_name": f"{self.name}/delay", "visibility": "internal"}
            self.azure.ask("POST", "/github", {"organizations": [one], "repositories": [full]})
            permissions = {"metadata": "read", "actions": "read", "contents": "read", "issues": "write"}
            job = {"kind": "workflow", "repositories": [f"{self.name}/delay"], "permissions": permissions}
            asked = {
                "owner": {"login": owner},
                "sam": {"login": "sam"},
                "job": job,
                "mute": {**job, "permissions": {**permissions, "issues": "read"}},
            }
            self.tokens = {name: self.azure.ask("POST", "/github/tokens", body)["token"] for name, body in asked.items()}
        env = {
            "GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": f"{self.name}/delay",
            "GITHUB_RUN_ID": str(number), "GITHUB_TRIGGERING_ACTOR": "dana", "GITHUB_OUTPUT": str(self.project.folder.parent / "output"),
            "AML_GITHUB_TOKEN": self.tokens["job"],
        }  # fmt: skip
        for name, value in env.items():
            self.monkeypatch.setenv(name, value)

    def ask(self, method: str, path: str, body: Any = None, who: str = "owner") -> Any:
        """GitHub's REST API below the repository."""
        url = f"https://api.github.com/repos/{self.name}/delay/{path}"
        answer = self.client.request(method, url, json=body, headers={"Authorization": f"Bearer {self.tokens[who]}"})
        assert answer.status_code < 300, answer.text
        return answer.json()

    def protect(self) -> None:
        with self.monkeypatch.context() as patch:
            patch.delenv("AML_GITHUB_TOKEN")
            patch.setenv("GH_TOKEN", self.tokens["owner"])
            assert apply_gates.main([f"--project={self.project.folder}", f"--repository={self.name}/delay"]) == 0

    def reviews(self, state: str = "open") -> list[tuple[str, str, str]]:
        found = self.ask("GET", f"issues?state={state}&labels=break-glass")
        return [(one["html_url"], one["title"], one["body"]) for one in found]

    def close(self) -> None:
        for url, _, _ in self.reviews():
            self.ask("PATCH", f"issues/{url.rpartition('/')[2]}", {"state": "closed"})

    def fault(self, **more: Any) -> None:
        self.azure.fault(host="api.github.com", **more)


class AzureDevOps(Place):
    """A project on Azure DevOps."""

    job: str
    person: str

    def run(self, number: int = 7) -> None:
        where = {"organization": "contoso", "project": self.name}
        if not hasattr(self, "job"):
            self.admin.azure_devops("identities", **where, names=["rea", "pat", f"[{self.name}]\\Project Administrators"])
            self.admin.azure_devops("connections", **where, name="azureml-production", client_id=str(uuid.uuid4()))
            build = self.admin.azure_devops("builds", **where, pipeline="break-glass")
            self.job = self.admin.azure_devops("jobs", **where, build_id=build["id"], name="declare.declare")["access_token"]
            self.person = self.admin.azure_devops("tokens", user="pat")["token"]
        env = {
            "TF_BUILD": "True", "SYSTEM_COLLECTIONURI": "https://dev.azure.com/contoso/", "SYSTEM_TEAMPROJECT": self.name,
            "BUILD_BUILDID": str(number), "BUILD_REQUESTEDFOREMAIL": "dana", "SYSTEM_ACCESSTOKEN": self.job,
        }  # fmt: skip
        for name, value in env.items():
            self.monkeypatch.setenv(name, value)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Azure DevOps' REST API below the project."""
        url = f"https://dev.azure.com/contoso/{self.name}/_apis/wit/{path}"
        kind = {"Content-Type": "application/json-patch+json"} if method == "PATCH" else {}
        answer = self.client.request(method, url, json=body, params={"api-version": "7.1"}, auth=("", self.person), headers=kind)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def protect(self) -> None:
        with self.monkeypatch.context() as patch:
            patch.delenv("SYSTEM_ACCESSTOKEN")
            patch.setenv("AZURE_DEVOPS_EXT_PAT", self.person)
            assert apply_gates.main([f"--project={self.project.folder}", f"--azure-devops=https://dev.azure.com/contoso/{self.name}"]) == 0

    def reviews(self, state: str = "open") -> list[tuple[str, str, str]]:
        done = {"open": "AND [System.State] <> 'Done'", "closed": "AND [System.State] = 'Done'"}.get(state, "")
        query = f"SELECT [System.Id] FROM WorkItems WHERE [System.Tags] CONTAINS 'break-glass' {done}"
        items = [self.ask("GET", f"workitems/{one['id']}") for one in self.ask("POST", "wiql", {"query": query})["workItems"]]
        url = f"https://dev.azure.com/contoso/{self.name}/_workitems/edit"
        return [(f"{url}/{one['id']}", one["fields"]["System.Title"], one["fields"]["System.Description"]) for one in items]

    def close(self) -> None:
        for url, _, _ in self.reviews():
            self.ask("PATCH", f"workitems/{url.rpartition('/')[2]}", [{"op": "add", "path": "/fields/System.State", "value": "Done"}])

    def fault(self, **more: Any) -> None:
        self.azure.fault(host="dev.azure.com", **more)


@pytest.fixture
def signed(project: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The project with a key of its own on disk, and empty ledgers of its own."""
    private = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(private.private_bytes(serialization.Encoding.PEM, *form))
    monkeypatch.setenv("AML_SIGNING_KEY_PATH", str(tmp_path / "key.pem"))
    monkeypatch.setattr(ledger, "CONTAINER", f"ledger-{project.name}")
    kind = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    lines = private.public_key().public_bytes(*kind).decode().splitlines()
    for name in ("dev", "prod"):
        project.append(f".cloud/workspaces/{name}.yml", "signing:\n  trusted:\n    - |\n" + "".join(f"      {line}\n" for line in lines))
    return project


@pytest.fixture(params=[GitHub, AzureDevOps])
def place(request: pytest.FixtureRequest, signed: Any, azure: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same on both systems, in a run of them."""
    with httpx.Client(proxy=azure.env["HTTPS_PROXY"], verify=azure.env["REQUESTS_CA_BUNDLE"], timeout=60) as client:
        made: Place = request.param(signed, azure, monkeypatch, client)
        made.gate()
        made.run()
        yield made


def test_an_emergency_has_its_review_before_anything_is_waived(place: Place) -> None:
    bundle_id = place.project.bundle()
    began = datetime.now(timezone.utc)
    url = place.breaks(bundle_id).output("review_url")
    [(page, title, body)] = place.reviews()
    assert page == url
    assert bundle_id[:19] in title
    facts = place.project.evidence("break_glass")["facts"]
    assert facts["signed_in"].startswith("application ")
    assert {name: facts[name] for name in ("reason", "who", "review", "environment")} == {
        "reason": REASON, "who": "dana", "review": url, "environment": "production",
    }  # fmt: skip
    due = evidence.moment(facts["review_until"])
    assert timedelta(hours=8) <= due - began.replace(microsecond=0) < timedelta(hours=8, minutes=2)
    run = place.project.evidence("break_glass")["links"]["run"]
    for text in (REASON, "dana", bundle_id, run, "What has to be reviewed", f"{place.project.name}:1"):
        assert text in body


def test_run_again_finds_the_review_and_moves_no_deadline(place: Place) -> None:
    bundle_id = place.project.bundle()
    first = place.breaks(bundle_id)
    assert "created  the review afterwards" in first.out
    before = place.project.evidence("break_glass")["facts"]
    again = place.breaks(bundle_id)
    assert "unchanged  the review afterwards" in again.out
    assert place.project.evidence("break_glass")["facts"] == before
    assert len(place.reviews()) == 1

    place.run(8)
    assert place.breaks(bundle_id).output("review_url") != first.output("review_url"), "another run is another emergency"
    place.run(7)
    place.close()
    assert place.breaks(bundle_id).output("review_url") != first.output("review_url"), "a review that is closed is over"
    assert len(place.reviews("closed")) == 2
    assert len(place.reviews()) == 1


def test_killed_once_the_review_is_open_it_goes_on_with_that(place: Place) -> None:
    bundle_id = place.project.bundle()

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with place.monkeypatch.context() as patch:
        patch.setattr(evidence, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            place.breaks(bundle_id)
    [(url, _, _)] = place.reviews()
    assert place.breaks(bundle_id).output("review_url") == url
    assert len(place.reviews()) == 1


def test_a_review_that_was_opened_while_its_answer_was_lost_is_found(place: Place) -> None:
    bundle_id, send = place.project.bundle(), rest.Session.send

    def lost(self: rest.Session, method: str, url: str, *more: Any) -> Any:
        answer = send(self, method, url, *more)
        if method == "POST" and url.endswith(("/issues", "/$Task")):
            raise command.Refusal("there was no answer")
        return answer

    with place.monkeypatch.context() as patch:
        patch.setattr(rest.Session, "send", lost)
        assert "there was no answer" in place.breaks(bundle_id).refusal
    assert not (place.project.folder.parent / "evidence" / "break_glass-dev.json").exists()
    [(url, _, _)] = place.reviews()
    assert place.breaks(bundle_id).output("review_url") == url


def test_a_review_that_can_not_be_opened_stops_it(place: Place) -> None:
    bundle_id = place.project.bundle()
    path = "*/issues" if isinstance(place, GitHub) else "*/workitems/*"
    place.fault(method="POST", path=path, status=503)
    assert "503" in place.breaks(bundle_id).refusal
    assert not (place.project.folder.parent / "evidence" / "break_glass-dev.json").exists()
    assert place.reviews("all") == []
    assert not place.breaks(bundle_id).refusal


def test_exactly_so_much_is_waived_and_only_here(place: Place, tmp_path: Path) -> None:
    bundle_id = place.project.bundle()
    assert set(place.checks(bundle_id)) == {"environment", "freeze", "ticket", "evidence: deploy_online in dev"}
    place.breaks(bundle_id)
    assert set(place.checks(bundle_id)) == {"environment", "freeze", "ticket", "evidence: deploy_online in dev"}, "it is not signed yet"
    assert not place.project.run("record_evidence").refusal
    assert set(place.checks(bundle_id)) == {"environment"}, "what protects production is never waived"
    place.protect()
    url = place.reviews()[0][0]
    assert place.checks(bundle_id) == {}
    said = {one["name"]: one["says"] for one in place.findings()}
    assert said["break-glass"].startswith("the glass is BROKEN: dana declared it")
    for name in ("freeze", "ticket", "evidence: deploy_online in dev"):
        assert said[name].startswith("WAIVED by break-glass: ")
        assert all(word in said[name] for word in (REASON, "dana", url))
    outcome = place.project.run("check_gates", bundle_id=bundle_id, statements=str(tmp_path / "evidence"))
    assert "The glass is broken for environment production" in outcome.out

    other = place.project.bundle(factor=3.0)
    assert set(place.checks(other)) == {"freeze", "ticket", "evidence: deploy_online in dev"}, "another bundle"
    place.run(8)
    assert set(place.checks(bundle_id)) == {"freeze", "ticket", "evidence: deploy_online in dev"}, "another run"
    place.run(7)
    place.gate(break_glass=None)
    assert set(place.checks(bundle_id)) == {"freeze", "ticket", "evidence: deploy_online in dev"}, "the gate allows it no more"
    place.gate()
    path = tmp_path / "evidence" / "break_glass-dev.dsse.json"
    envelope = json.loads(path.read_bytes())
    path.write_text(json.dumps({**envelope, "signatures": []}))
    assert set(place.checks(bundle_id)) == {"freeze", "ticket", "evidence: deploy_online in dev"}, "not signed"


def test_evidence_that_failed_is_not_waived(place: Place) -> None:
    bundle_id = place.project.bundle()
    subject = evidence.about_bundle(place.project.name, bundle_id)
    made = evidence.statement(subject, "deploy_online", "failed", workspace="dev", started=evidence.now())
    evidence.write(place.project.folder.parent / "evidence", made)
    place.breaks(bundle_id)
    assert not place.project.run("record_evidence").refusal
    place.protect()
    assert set(place.checks(bundle_id)) == {"evidence: deploy_online in dev"}


def test_where_the_gate_says_nothing_of_it_the_glass_stays_whole(place: Place) -> None:
    bundle_id = place.project.bundle()
    place.gate(break_glass=None)
    refusal = place.breaks(bundle_id).refusal
    assert "The glass may not be broken for environment production" in refusal
    assert "has no break_glass" in refusal
    assert "has no gate for the environment 'staging'" in place.breaks(bundle_id, environment="staging").refusal
    assert place.reviews("all") == []


def test_no_review_is_opened_for_what_could_not_be_promoted_anyway(place: Place) -> None:
    bundle_id = place.project.bundle()
    assert "is not a bundle id" in place.breaks("latest").refusal
    unknown = "sha256:" + "ab" * 32
    assert unknown in place.breaks(unknown).refusal
    assert not place.project.run("hold_release", bundle_id=bundle_id, reason="the data are wrong").refusal
    assert f"bundle {bundle_id} is held in dev" in place.breaks(bundle_id).refusal
    assert place.reviews("all") == []


def test_a_person_breaks_no_glass(place: Place) -> None:
    bundle_id = place.project.bundle()
    with place.monkeypatch.context() as patch:
        patch.setattr(identity, "claims", lambda _: {"tid": TENANT, "idtyp": "user", "upn": "someone@contoso.example"})
        assert "A person is signed in (someone@contoso.example)" in place.breaks(bundle_id).refusal
    assert place.reviews("all") == []


def test_a_reason_has_to_be_given(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("", " \n\t", "x" * 1001):
        with pytest.raises(SystemExit):
            place.breaks("sha256:" + "ab" * 32, reason=text)
    assert "1 to 1000 characters" in capsys.readouterr().err


def test_hostile_text_stays_text(place: Place) -> None:
    bundle_id = place.project.bundle()
    outcome = place.breaks(bundle_id, reason=HOSTILE)
    [(_, title, body)] = place.reviews()
    assert "<script" not in body
    assert "<!--" not in body
    assert body.count("<pre>") == body.count("</pre>") == 1
    assert body.count("<a ") == 1, "the run's, and no other"
    inside = body.partition("<pre>")[2].partition("</pre>")[0]
    assert "@contoso/everybody" in inside
    assert body.count("@contoso/everybody") == 1, "in a name's place it could call somebody"
    assert "\n\n" not in body, "an empty line would end the HTML, and what follows be Markdown"
    assert "script" not in title
    assert "##vso[task.complete]" not in outcome.out
    assert "\n::error::" not in outcome.out


def test_without_a_run_there_is_nothing_to_break_the_glass_for(signed: Any, place: Place) -> None:
    bundle_id = place.project.bundle()
    for name in ("GITHUB_ACTIONS", "TF_BUILD"):
        place.monkeypatch.delenv(name, raising=False)
    assert "can only be broken by a run of a CI system" in place.breaks(bundle_id).refusal


def test_without_keys_nothing_could_be_declared(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(".cloud/gates.yml", '{"gates": [{"environment": "production", "reviewers": {"users": ["rea"]}, "break_glass": {}}]}')
    assert "workspace dev has no signing keys" in project.run("break_glass", bundle_id="sha256:" + "ab" * 32, reason="x").refusal


def test_a_job_without_the_permission_is_told_it(signed: Any, azure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with httpx.Client(proxy=azure.env["HTTPS_PROXY"], verify=azure.env["REQUESTS_CA_BUNDLE"], timeout=60) as client:
        place = GitHub(signed, azure, monkeypatch, client)
        place.gate()
        place.run()
        bundle_id = signed.bundle()
        monkeypatch.setenv("AML_GITHUB_TOKEN", place.tokens["mute"])
        assert "permissions: issues: write" in place.breaks(bundle_id).refusal


def test_an_issue_that_a_person_made_up_is_no_review(signed: Any, azure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with httpx.Client(proxy=azure.env["HTTPS_PROXY"], verify=azure.env["REQUESTS_CA_BUNDLE"], timeout=60) as client:
        place = GitHub(signed, azure, monkeypatch, client)
        place.gate()
        place.run()
        bundle_id = signed.bundle()
        url = place.breaks(bundle_id).output("review_url")
        _, title, body = place.reviews()[0]
        place.close()
        place.ask("POST", "issues", {"title": title, "body": body, "labels": [after_review.LABEL]}, who="owner")
        place.ask("POST", "issues", {"title": title, "body": body}, who="sam")
        found = place.breaks(bundle_id).output("review_url")
        assert found != url
        assert place.ask("GET", f"issues/{found.rpartition('/')[2]}")["user"]["type"] == "Bot"
