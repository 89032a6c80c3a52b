"""Evidence signed and entered into the ledger, bundles held, and releases exported: against real storage and an emulated key vault."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.storage.blob import ContainerClient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aml import evidence, identity, ledger, signing, workspace
from emulator.core import SUBSCRIPTION, TENANT

SCRIPTS = Path(__file__).parents[2] / "scripts"
SECRET = "only-for-the-emulator"
VAULT = "kv-verbs-ledger"
SIGNER = "Key signer of the tests"


def pem_of(key: dict[str, Any]) -> str:
    """The PEM of a key as the vault shows it."""
    x, y = (int.from_bytes(base64.urlsafe_b64decode(key[name] + "=="), "big") for name in ("x", "y"))
    return public(ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())


def public(key: ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(scope="module")
def vault(emulator: Any, site: Any) -> str:
    """A vault whose keys the administrator makes; a role that may sign, and nothing else."""
    id = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-verbs-dev/providers/Microsoft.KeyVault/vaults/{VAULT}"
    properties = {"tenantId": TENANT, "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True}
    site.admin.arm("PUT", id, {"location": "westeurope", "properties": properties})
    token = identity.claims(site.admin.token())["oid"]
    give(site.admin, id, token, "00482a5a-887f-4fb3-b363-3b7fe8e74483")
    role = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/51600000-0000-4000-8000-000000005160"
    permissions = [{"actions": [], "dataActions": ["Microsoft.KeyVault/vaults/keys/sign/action"]}]
    body = {"roleName": SIGNER, "type": "CustomRole", "permissions": permissions, "assignableScopes": [f"/subscriptions/{SUBSCRIPTION}"]}
    site.admin.arm("PUT", role, {"properties": body})
    return id


def give(admin: Any, scope: str, oid: str, role: str) -> None:
    body = {"properties": {"roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{role}", "principalId": oid}}
    admin.arm("PUT", f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}", body)


def create_key(admin: Any, name: str) -> tuple[str, str]:
    """A key, or a new version of it; (address, public part)."""
    url = f"https://{VAULT}.vault.azure.net/keys/{name}/create?api-version=7.4"
    headers = {"Authorization": f"Bearer {admin.token('https://vault.azure.net/.default')}"}
    answer = admin.session.post(url, json={"kty": "EC", "crv": "P-256"}, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    key = answer.json()["key"]
    return key["kid"], pem_of(key)


def sign_with(project: Any, name: str, *pems: str, key: str = "") -> None:
    """Write `signing` into a workspace spec."""
    path = f".cloud/workspaces/{name}.yml"
    text = (project.folder / path).read_text().partition("signing:")[0]
    text += "signing:\n" + (f"  key: {key}\n" if key else "") + "  trusted:\n"
    for pem in pems:
        text += "    - |\n" + "".join(f"      {line}\n" for line in pem.splitlines())
    project.write(path, text)


@pytest.fixture
def signed(project: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, site: Any) -> Any:
    """The project with a key of its own on disk, and empty ledgers of its own."""
    private = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(private.private_bytes(serialization.Encoding.PEM, *form))
    monkeypatch.setenv("AML_SIGNING_KEY_PATH", str(tmp_path / "key.pem"))
    monkeypatch.setattr(ledger, "CONTAINER", f"ledger-{project.name}")
    for name in ("dev", "prod"):
        sign_with(project, name, public(private.public_key()))
    return project


def container(project: Any, stage: str = "dev") -> ContainerClient:
    """The ledger's container, opened by the account key, as somebody who owns the storage."""
    store = project.arm("GET", "datastores/workspaceblobstore", stage=stage)["properties"]
    key = project.arm("POST", "datastores/workspaceblobstore/listSecrets", {}, stage)["key"]
    return ContainerClient(f"https://{store['accountName']}.blob.core.windows.net", ledger.CONTAINER, credential=key)


def opened(project: Any, stage: str = "dev") -> ledger.Ledger:
    at = workspace.load(project.folder, stage)
    return ledger.Ledger(ledger.id_of(at), signing.trusted(at), container(project, stage))


def sound(project: Any, stage: str = "dev", heads: list[ledger.Head] | None = None) -> list[ledger.Entry]:
    log = opened(project, stage)
    entries, problems = ledger.audit(log.id, log.read_all(), log.keys, heads or [])
    assert not problems
    return entries


def found_out(project: Any, verb: str, name: str = "dev", **facts: Any) -> Path:
    """A statement, as a verb would leave it."""
    subject = evidence.about_bundle(project.name, "sha256:" + "ab" * 32)
    made = evidence.statement(subject, verb, "passed", workspace=name, started=evidence.now(), facts=facts)
    return evidence.write(project.folder.parent / "evidence", made)


# --- record_evidence -------------------------------------------------------------------------------------------------------------


def test_what_was_found_out_is_signed_and_entered_once(signed: Any) -> None:
    path = found_out(signed, "smoke_test")
    found_out(signed, "shift_traffic")
    found_out(signed, "smoke_test", "prod")
    (path.parent / "plan.json").write_text('{"some": "document"}')
    recorded = signed.run("record_evidence")
    assert recorded.out.count("created  entry") == 2
    assert "passed over  smoke_test-prod.json" in recorded.out
    assert "a key in a vault can't" in recorded.err
    at = workspace.load(signed.folder, "dev")
    envelope = json.loads((path.parent / "smoke_test-dev.dsse.json").read_bytes())
    assert signing.verify(envelope, signing.trusted(at)) == path.read_bytes()
    assert signing.verified(envelope, signed.folder)["predicate"]["verb"] == "smoke_test"
    entries = sound(signed, heads=ledger.heads(path.parent))
    assert {entry.statement["predicate"]["verb"] for entry in entries} == {"smoke_test", "shift_traffic"}
    assert recorded.output("ledger_head") == f"2 {entries[1].digest}"
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    again = signed.run("record_evidence")
    assert again.out.count("unchanged  entry") == 2
    assert "created" not in again.out
    assert sound(signed) == entries
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before

    path.with_suffix(".dsse.json").unlink()
    signed.run("record_evidence")
    assert path.with_suffix(".dsse.json").read_bytes() == before["smoke_test-dev.dsse.json"], "the ledger still has it"

    found_out(signed, "smoke_test", number=2)
    assert signed.run("record_evidence").out.count("created  entry") == 1
    assert len(sound(signed)) == 3


def test_an_auditor_of_its_own_enters_nothing(signed: Any, azure: Any) -> None:
    path = found_out(signed, "audit_access")
    azure.fault(host="*.azure.com", status=500, times=0)
    done = signed.run("record_evidence", auditor=signed.site.clients["prod"])
    assert not done.refusal
    assert "Nothing is entered into the ledger of dev" in done.err
    assert not path.with_suffix(".dsse.json").exists()


def test_a_job_that_found_nothing_out_needs_nothing(signed: Any, azure: Any) -> None:
    azure.fault(host="*.azure.com", status=500, times=0)
    done = signed.run("record_evidence")
    assert not done.refusal
    assert "has no statement about workspace dev" in done.out


def test_without_keys_dev_warns_and_prod_refuses(project: Any) -> None:
    found_out(project, "smoke_test")
    found_out(project, "smoke_test", "prod")
    done = project.run("record_evidence")
    assert not done.refusal
    assert "Nothing is signed" in done.err
    assert "workspace prod has no signing keys" in project.run("record_evidence", "prod").refusal


def test_what_is_no_statement_is_told_and_the_rest_is_entered(signed: Any) -> None:
    path = found_out(signed, "smoke_test")
    (path.parent / "broken-dev.json").write_text("{")
    (path.parent / "forged-dev.json").write_text('{"_type": "https://in-toto.io/Statement/v1", "predicate": {"workspace": "dev"}}')
    done = signed.run("record_evidence")
    assert "broken-dev.json is no JSON" in done.refusal
    assert "forged-dev.json: what is signed is no statement of this catalog" in done.refusal
    assert len(sound(signed)) == 1


def test_a_signed_form_that_is_not_is_replaced(signed: Any) -> None:
    path = found_out(signed, "smoke_test")
    for content in ("{", '{"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": []}'):
        path.with_suffix(".dsse.json").write_text(content)
        assert not signed.run("record_evidence").refusal
        assert signing.verified(json.loads(path.with_suffix(".dsse.json").read_bytes()), signed.folder)
    assert len(sound(signed)) == 1


def test_a_person_writes_no_ledger_of_prod(signed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found_out(signed, "smoke_test", "prod")
    monkeypatch.setattr(identity, "claims", lambda _: {"tid": TENANT, "idtyp": "user", "upn": "someone@contoso.example"})
    assert "A person is signed in (someone@contoso.example)" in signed.run("record_evidence", "prod").refusal


# --- a vault signs ---------------------------------------------------------------------------------------------------------------


def test_a_key_in_a_vault_signs_with_no_other_right(project: Any, site: Any, vault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "CONTAINER", f"ledger-{project.name}")
    name = project.name
    address, old = create_key(site.admin, name)
    sign_with(project, "dev", old, key=address)
    found_out(project, "smoke_test")
    refused = project.run("record_evidence").refusal
    assert "Microsoft.KeyVault/vaults/keys/sign/action" in refused
    assert "ForbiddenByRbac" in refused or "not authorized to perform action" in refused
    os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"] = site.clients["dev"], SECRET
    at = workspace.load(project.folder, "dev")
    oid = identity.claims(identity.sign_in(at).get_token(identity.SCOPE).token)["oid"]
    give(site.admin, f"{vault}/keys/{name}", oid, "51600000-0000-4000-8000-000000005160")
    assert project.run("record_evidence").out.count("created  entry") == 1

    renewed, new = create_key(site.admin, name)
    found_out(project, "shift_traffic")
    sign_with(project, "dev", old, key=renewed)
    assert "its public key is not among those that the workspace spec pins" in project.run("record_evidence").refusal
    sign_with(project, "dev", old, new, key=renewed)
    assert project.run("record_evidence").out.count("created  entry") == 1
    assert [entry.document["signatures"][0]["keyid"] for entry in sound(project)] == [signing.key(old).id, signing.key(new).id]
    sign_with(project, "dev", new, key=renewed)
    for file in found_out(project, "smoke_test").parent.iterdir():
        file.unlink()
    found_out(project, "roll_back")
    assert not project.run("record_evidence").refusal, "what comes next needs the last entry's key alone"
    with pytest.raises(AssertionError):
        sound(project)
    sign_with(project, "dev", old, new, key=renewed[:-32] + "0" * 32)
    found_out(project, "smoke_test", number=2)
    assert "does not sign. The vault answered 404" in project.run("record_evidence").refusal


# --- many at once, and killed ----------------------------------------------------------------------------------------------------


def processes(project: Any, count: int, evidence_of: Any) -> list[subprocess.Popen[str]]:
    words = [f"--project={project.folder}", "--workspace=dev"]
    starter = "import sys, record_evidence; from aml import ledger; ledger.CONTAINER = sys.argv.pop(1); record_evidence.main()"
    env = {**os.environ, "AZURE_CLIENT_ID": project.site.clients["dev"], "AZURE_CLIENT_SECRET": SECRET, "PYTHONPATH": str(SCRIPTS)}
    return [
        subprocess.Popen(
            [sys.executable, "-c", starter, ledger.CONTAINER, *words, f"--evidence={evidence_of(at)}"],
            env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for at in range(count)
    ]  # fmt: skip


def test_two_jobs_at_once_lose_nothing(signed: Any, tmp_path: Path) -> None:
    for job in range(3):
        for number in range(4):
            subject = evidence.about_bundle(signed.name, "sha256:" + "ab" * 32)
            verb = f"verb_{'abcd'[number]}"
            made = evidence.statement(subject, verb, "passed", workspace="dev", started=evidence.now(), facts={"job": job})
            evidence.write(tmp_path / f"job-{job}", made)
    running = processes(signed, 3, lambda at: tmp_path / f"job-{at}")
    try:
        said = [process.communicate(timeout=120)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0, 0], said
    heads = [head for job in range(3) for head in ledger.heads(tmp_path / f"job-{job}")]
    entries = sound(signed, heads=heads)
    assert len(heads) == 3
    whose = sorted((entry.statement["predicate"]["facts"]["job"], entry.statement["predicate"]["verb"]) for entry in entries)
    assert whose == [(job, f"verb_{letter}") for job in range(3) for letter in "abcd"]


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ends the process, as far as it can tell, before or after the n-th call of the storage or write of a file."""

    class Killed(BaseException):
        pass

    state = {"left": -1, "before": True}

    def wrap(target: Any, name: str) -> None:
        real = getattr(target, name)

        def counted(*words: Any, **named: Any) -> Any:
            state["left"] -= 1
            if state["left"] == 0 and state["before"]:
                raise Killed
            found = real(*words, **named)
            if state["left"] == 0:
                raise Killed
            return found

        monkeypatch.setattr(target, name, counted)

    for target, name in (
        (ContainerClient, "upload_blob"),
        (ContainerClient, "create_container"),
        (ContainerClient, "list_blobs"),
        (ContainerClient, "download_blob"),
        (evidence, "replace"),
        (signing.Signer, "signature"),
    ):
        wrap(target, name)

    def run(project: Any, at: int, before: bool) -> bool:
        state.update(left=at, before=before)
        try:
            assert not project.run("record_evidence").refusal
        except Killed:
            return True
        finally:
            state["left"] = -1
        return False

    return run


def test_killed_between_any_two_calls(signed: Any, stops: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths = 0
    for before in (True, False):
        at = 1
        while True:
            monkeypatch.setattr(ledger, "CONTAINER", f"ledger-{signed.name}-{at}-{'b' if before else 'a'}")
            for file in (signed.folder.parent / "evidence").glob("*"):
                file.unlink()
            for verb in ("smoke_test", "shift_traffic"):
                found_out(signed, verb)
            died = stops(signed, at, before)
            sound(signed)
            assert not signed.run("record_evidence").refusal
            assert len(sound(signed, heads=ledger.heads(signed.folder.parent / "evidence"))) == 2
            if not died:
                break
            deaths += 1
            at += 1
    assert deaths > 15


def test_bad_weather(signed: Any, azure: Any) -> None:
    path = found_out(signed, "smoke_test")
    account = container(signed).account_name
    azure.fault(host=f"{account}.blob.core.windows.net", method="CONNECT", reset=True, times=1)
    azure.fault(host="management.azure.com", status=429, retry_after=0, times=2)
    assert not signed.run("record_evidence").refusal
    assert len(sound(signed, heads=ledger.heads(path.parent))) == 1


# --- holds -----------------------------------------------------------------------------------------------------------------------


def test_a_held_bundle_is_not_promoted(signed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle_id = signed.bundle()
    why = "the data of May are wrong; `$(rm -rf /)` ::error::x </td>"
    held = signed.run("hold_release", bundle_id=bundle_id, reason=why)
    assert held.output("hold") == "updated"
    again = signed.run("hold_release", bundle_id=bundle_id, reason="another")
    assert again.output("hold") == "unchanged"
    assert "the data of May are wrong" in again.out
    refused = signed.run("share_model", bundle_id=bundle_id).refusal
    assert f"bundle {bundle_id} is held in dev" in refused
    assert "the data of May are wrong" in refused
    assert f"application {signed.site.clients['dev']} held it at" in refused
    verified = signed.run("verify_bundle", bundle_id=bundle_id)
    assert "is held in dev" in verified.refusal
    finding = signed.evidence("verify_bundle")["findings"][-1]
    assert (finding["rule"], finding["passed"]) == ("no hold", False)
    assert not signed.run("verify_bundle", bundle_id=signed.bundle(factor=3)).refusal, "another one is not"

    for name, value in {"ACTIONS": "true", "SERVER_URL": "https://github.com", "REPOSITORY": "o/r", "RUN_ID": "7"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)
    monkeypatch.setenv("GITHUB_OUTPUT", str(signed.folder.parent / "output"))
    monkeypatch.setenv("GITHUB_TRIGGERING_ACTOR", "release-manager")
    assert not signed.run("release_hold", bundle_id=bundle_id, reason="they are right").refusal
    monkeypatch.delenv("GITHUB_ACTIONS")
    entries = sound(signed)
    facts = entries[-1].statement["predicate"]["facts"]
    assert (facts["who"], facts["reason"], entries[-1].held) == ("release-manager", "they are right", {})
    assert facts["signed_in"] == f"application {signed.site.clients['dev']}"
    assert signed.run("release_hold", bundle_id=bundle_id, reason="twice").output("hold") == "unchanged"
    assert not signed.run("share_model", bundle_id=bundle_id).refusal
    assert not signed.run("record_evidence").refusal, "what is entered already stays one entry"
    assert [entry.statement["predicate"]["verb"] for entry in sound(signed)].count("hold_release") == 1


def test_a_hold_in_prod_stops_deployment_and_traffic(signed: Any) -> None:
    bundle_id = signed.bundle()
    assert "is known where prod takes bundles from" in signed.run("hold_release", "prod", bundle_id=bundle_id, reason="early").err
    assert not signed.run("share_model", bundle_id=bundle_id).refusal
    assert "is held in prod" in signed.run("verify_bundle", "prod", bundle_id=bundle_id).refusal
    assert not signed.run("release_hold", "prod", bundle_id=bundle_id, reason="fine").refusal
    assert not signed.run("verify_bundle", "prod", bundle_id=bundle_id).refusal
    signed.approved(bundle_id)
    name = signed.run("deploy_online", "prod", bundle_id=bundle_id).output("deployment_name")
    assert not signed.run("hold_release", "prod", bundle_id=bundle_id, reason="late, but not too late").refusal
    assert "late, but not too late" in signed.run("shift_traffic", "prod", deployment_name=name).refusal
    assert signed.traffic("prod") == {}


def test_a_hold_cannot_be_taken_away_behind_the_back(signed: Any) -> None:
    bundle_id = signed.bundle()
    found_out(signed, "smoke_test")
    assert not signed.run("record_evidence").refusal
    assert not signed.run("hold_release", bundle_id=bundle_id, reason="no").refusal
    store = container(signed)
    last = max(store.list_blob_names())
    entry = json.loads(store.download_blob(last).readall())
    store.upload_blob(last, json.dumps({**entry, "held": {}}, sort_keys=True, separators=(",", ":")).encode(), overwrite=True)
    for verb in ("share_model", "verify_bundle", "release_hold"):
        flags = {"reason": "x"} if verb == "release_hold" else {}
        assert "of the ledger of mlw-verbs-dev is not to be trusted" in signed.run(verb, bundle_id=bundle_id, **flags).refusal
    store.delete_blob(last)
    heads = ledger.heads(signed.folder.parent / "evidence")
    assert "its end was cut off" in ledger.audit(opened(signed).id, opened(signed).read_all(), opened(signed).keys, heads)[1][0]


@pytest.mark.parametrize(("flags", "said"), [({"bundle_id": "latest", "reason": "x"}, "is not a bundle id")])
def test_only_a_bundle_is_held(signed: Any, flags: dict[str, str], said: str) -> None:
    assert said in signed.run("hold_release", **flags).refusal


def test_a_hold_has_a_reason(signed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("", " \n\t", "x" * 1001):
        with pytest.raises(SystemExit):
            signed.run("hold_release", bundle_id="sha256:" + "ab" * 32, reason=text)
    assert "1 to 1000 characters" in capsys.readouterr().err


def test_without_keys_nothing_is_held(project: Any) -> None:
    assert "workspace dev has no signing keys" in project.run("hold_release", bundle_id="sha256:" + "ab" * 32, reason="x").refusal


# --- export_evidence -------------------------------------------------------------------------------------------------------------


def export(project: Any, name: str = "prod", folder: str = "export", **flags: str) -> Any:
    return project.run("export_evidence", name, out=str(project.folder.parent / folder), **flags)


def released(project: Any, leave_out: str = "") -> str:
    """A bundle from its job to production, each job recorded at its end; the bundle's id. `leave_out` is a statement that nobody keeps."""
    folder = project.folder.parent / "evidence"

    def record(name: str) -> None:
        (folder / f"{leave_out}.json").unlink(missing_ok=True)
        assert not project.run("record_evidence", name).refusal

    bundle_id = project.bundle()
    job = project.site.jobs[2.0]
    assert not project.run("check_gate", job_name=job).refusal
    subject = next(json.loads(path.read_text())["subject"][0] for path in folder.glob("check_gate-dev.json"))
    evidence.write(folder, evidence.statement(subject, "wait_job", "passed", workspace="dev", started=evidence.now()))
    name = project.run("deploy_online", bundle_id=bundle_id).output("deployment_name")
    for verb in ("smoke_test", "shift_traffic"):
        assert not project.run(verb, deployment_name=name).refusal
    assert not project.run("verify_bundle", bundle_id=bundle_id).refusal
    assert not project.run("share_model", bundle_id=bundle_id).refusal
    record("dev")
    assert not project.run("verify_bundle", "prod", bundle_id=bundle_id).refusal
    project.approved(bundle_id)
    name = project.run("deploy_online", "prod", bundle_id=bundle_id).output("deployment_name")
    for verb in ("smoke_test", "shift_traffic"):
        assert not project.run(verb, "prod", deployment_name=name).refusal
    record("prod")
    return bundle_id


def test_a_release_is_exported_with_its_whole_chain(signed: Any) -> None:
    bundle_id = released(signed)
    out = signed.folder.parent / "export"
    alone = export(signed, folder="alone")
    assert "the evidence of prod is not complete" in alone.refusal, "dev's links are dev's to show"
    assert "share: no share_model is recorded before it" in alone.err
    export(signed, "dev")
    done = export(signed, heads=str(signed.folder.parent / "evidence"))
    assert not done.refusal, done.err
    document = json.loads((out / "releases-prod.json").read_text())
    [release] = document["releases"]
    assert (release["bundle"], release["what"], release["verdict"]) == (bundle_id, "release", "passed")
    assert [link["link"] for link in release["chain"]] == [
        "job",
        "gate",
        "bundle",
        "trial",
        "share",
        "approval",
        "verify",
        "smoke",
        "rollout",
    ]
    assert release["chain"][5]["approvers"] == [{"who": "robin", "for": "release-managers"}]
    assert document["problems"] == []
    page = (out / "releases-prod.md").read_text()
    assert "**Complete: every link is there" in page
    assert "Approved by robin for release-managers." in page
    again = export(signed)
    assert not again.refusal

    # As in the journey: dev's job keeps its ledger, and production's finds it among the artifacts of the run.
    artifacts = signed.folder.parent / "artifacts"
    for attempt in ("1", "2"):
        kept = export(signed, "dev", f"artifacts/ledger-{attempt}", only_ledger="true")
        assert not kept.refusal
        assert not (artifacts / f"ledger-{attempt}" / "releases-dev.json").exists()
    assert f"entries, the last is {ledger.heads(artifacts)[0].sequence} sha256:" in kept.out
    joined = export(signed, folder="joined", ledgers=str(artifacts), heads=str(artifacts))
    assert not joined.refusal, joined.err
    assert json.loads((out.parent / "joined" / "releases-prod.json").read_text())["releases"] == document["releases"]
    entry = artifacts / "ledger-2" / "ledgers" / "dev" / ledger.name_of(2)
    entry.write_bytes(entry.read_bytes() + b" ")
    assert f"ledger of dev: {ledger.name_of(2)} has other bytes in" in export(signed, folder="joined", ledgers=str(artifacts)).err
    entry.parent.joinpath(ledger.name_of(3).rpartition("/")[2]).unlink()
    assert "is missing" not in export(signed, folder="joined", ledgers=str(artifacts)).err, "the other attempt has it"
    forged = export(signed, folder="joined", ledgers=str(artifacts / "ledger-2"))
    assert "ledger of dev: entry 2: this is no entry of a ledger" in forged.err
    assert "ledger of dev: entry 3 is missing: it was removed" in forged.err
    assert json.loads((out / "releases-prod.json").read_text())["releases"] == document["releases"]

    assert json.loads((out / "releases-prod.json").read_text())["ledgers"]["dev"]["entries"] > 5
    assert "0 releases" in export(signed, since="2020-01-01", until="2020-12-31").out
    assert "1 releases" in export(signed, since=release["finished"], until=release["finished"]).out

    # Somebody who owns the storage takes entries away.
    store, heads = container(signed, "prod"), str(signed.folder.parent / "evidence")
    names = sorted(store.list_blob_names())
    store.delete_blob(names[-1])
    gone = export(signed)
    assert f"{names[-1]} is gone: an earlier export has it" in gone.err
    assert "takes traffic in prod, and no release of" not in gone.err or "shift_traffic" not in names[-1]
    fresh = export(signed, folder="fresh", heads=heads)
    assert "its end was cut off" in fresh.err
    store.delete_blob(names[0])
    assert "entry 1 is missing: it was removed" in export(signed, folder="fresh2").err


def test_a_ledger_without_an_entry_is_kept_as_one(signed: Any) -> None:
    kept = export(signed, "dev", only_ledger="true")
    assert not kept.refusal
    assert "0 entries, the last is none" in (signed.folder.parent / "export" / "ledger-dev.md").read_text()


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ("smoke_test-prod", "smoke: no smoke_test is recorded before it"),
        ("verify_approval-prod", "approval: no verify_approval of its run is recorded before it"),
    ],
)
def test_a_link_that_nobody_recorded_is_missing(signed: Any, left_out: str, said: str) -> None:
    released(signed, leave_out=left_out)
    export(signed, "dev")
    done = export(signed)
    assert "the evidence of prod is not complete. 1 thing is missing or wrong" in done.refusal
    assert said in done.err


@pytest.mark.parametrize(
    ("facts", "run", "missing"),
    [
        ({"approvers": [{"who": "robin", "for": "release-managers"}]}, "https://ci/1", None),
        (
            {"approvers": [{"who": "robin", "for": "release-managers"}]},
            "https://ci/2",
            "no verify_approval of its run is recorded before it",
        ),
        ({"approvers": []}, "https://ci/1", "the verify_approval before it does not say who approved"),
        ({"approvers": "robin"}, "https://ci/1", "the verify_approval before it does not say who approved"),
        ({}, "https://ci/1", "the verify_approval before it does not say who approved"),
    ],
)
def test_an_approval_counts_for_its_run_and_names_who_gave_it(facts: dict[str, Any], run: str, missing: str | None) -> None:
    from aml import releases

    def recorded(number: int, verb: str, run: str, facts: dict[str, Any]) -> releases.Recorded:
        subject = evidence.about_bundle("delay", "sha256:" + "ab" * 32)
        made = evidence.statement(subject, verb, "passed", workspace="prod", started=evidence.now(), links={"run": run}, facts=facts)
        entry: Any = SimpleNamespace(statement=made, sequence=number, document={"envelope": {"payload": "e30="}})
        return releases.Recorded("prod", entry)

    known = [recorded(1, "verify_approval", run, facts), recorded(2, "shift_traffic", "https://ci/1", {})]
    (release,) = releases.releases(known, "prod", "prod", "", "9")
    (link,) = [one for one in release["chain"] if one["link"] == "approval"]
    assert link.get("missing") == missing
    assert link.get("approvers", []) == (facts["approvers"] if missing is None else [])
    (dev,) = releases.releases(known, "prod", "dev", "", "9")
    assert "approval" not in {one["link"] for one in dev["chain"]}


def test_what_takes_traffic_and_was_never_recorded_is_told(signed: Any) -> None:
    bundle_id, name = signed.deployed()
    assert not signed.run("shift_traffic", deployment_name=name).refusal
    done = export(signed, "dev")
    assert f"deployment {name} takes traffic in dev, and no release of {bundle_id} is recorded" in done.err


def test_a_period_is_days_or_times(signed: Any) -> None:
    import export_evidence

    assert export_evidence.moment("2026-03-31") == "2026-03-31T00:00:00Z"
    assert export_evidence.last_moment("2026-03-31") == "2026-03-31T23:59:59Z"
    assert export_evidence.moment("2026-03-31T12:00:00+02:00") == "2026-03-31T10:00:00Z"
    assert export_evidence.last_moment("2026-03-31T12:00:00Z") == "2026-03-31T12:00:00Z"
    for text in (" ", "yesterday", "2026-02-30"):
        with pytest.raises(SystemExit):
            export(signed, since=text)


def test_hostile_text_forges_nothing_on_the_page() -> None:
    from aml import releases

    text = "<img src=x onerror=alert(1)> | **missing** \n# Complete [a](javascript:b) \x1b[2J"
    link = {"link": "gate", "verdict": text, "workspace": text, "finished": text, "entry": 1, "approvers": [{"who": text, "for": text}]}
    release = {"what": "release", "model": text, "finished": text, "verdict": text, "bundle": text, "endpoint": text, "deployment": text}
    document = {"workspace": text, "since": "", "until": text, "problems": [text], "ledgers": {text: {"entries": 1, "head": text}}}
    page = releases.page({**document, "releases": [{**release, "entry": 1, "chain": [link, {"link": "smoke", "missing": text}]}]})
    assert not any(part in page for part in ("<img", "](", "\n# Complete", "\x1b"))
    rows = [line for line in page.splitlines() if line.startswith(("| gate", "| smoke"))]
    assert [line.count("|") for line in rows] == [6, 6]


# --- the model itself ------------------------------------------------------------------------------------------------------------


def test_the_model_is_signed_shared_with_its_signature_and_verified(signed: Any) -> None:
    bundle_id = signed.bundle()
    version = signed.run("register_model", job_name=signed.site.jobs[2.0])
    assert f"unchanged  signature of model {signed.name}:1" in version.out
    shared = signed.run("share_model", bundle_id=bundle_id)
    assert f"created  data signature-{signed.name}:1 in registry mlr-verbs" in shared.out
    assert not signed.run("verify_bundle", "prod", bundle_id=bundle_id).refusal
    assert "created" not in signed.run("share_model", bundle_id=bundle_id).out

    # Another key in prod's and dev's specs: what the old one signed does not count any more.
    other = public(ec.generate_private_key(ec.SECP256R1()).public_key())
    for name in ("dev", "prod"):
        sign_with(signed, name, other)
    refused = signed.run("verify_bundle", "prod", bundle_id=bundle_id)
    assert "has 3 mismatches" in refused.refusal
    assert "the model's signature does not count: it is signed by a key that is not trusted" in refused.err
    assert "the model's signature does not count" in signed.run("share_model", bundle_id=bundle_id).refusal


def test_a_model_that_was_never_signed_is_not_shared(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle_id = project.bundle()
    monkeypatch.setattr(ledger, "CONTAINER", f"ledger-{project.name}")
    for name in ("dev", "prod"):
        sign_with(project, name, public(ec.generate_private_key(ec.SECP256R1()).public_key()))
    for verb in ("share_model", "verify_bundle"):
        done = project.run(verb, bundle_id=bundle_id)
        assert "the model is not signed" in done.refusal + done.err
