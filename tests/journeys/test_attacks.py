"""Attacks on a promotion, on both systems: each ends where it should, in one line that says why, with production as it was before.

Those by somebody's token are in tests/verbs/test_attacks_by_token.py.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).parent))  # for the bench

import attacks
from attacks import PRODUCTION, SHARE

from _gate import APPROVER, AUTHOR, COLLEAGUE, INITIATOR

if TYPE_CHECKING:
    from attacks import Bench, Ended, Job
    from tests.journeys.conftest import World

    import _act
    from _gate import Gate

DANA = "dana-fox"  # starts the candidate's run; the model was trained by a run that somebody else started
SCORE, GATES, CASES, DEPLOYMENT = "code/score/score.py", ".cloud/gates.yml", "tests/smoke/cases.yml", ".cloud/online/deployment.yml"
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>[x](javascript:alert(1))|`a`##vso[task.complete result=Failed;]\u202e"
NAMED = "- name: a fine morning, Delta 183 to Seattle on 17 November, early by 22 minutes"
EDITS = (
    (SCORE, "from __future__ import annotations\n", "from __future__ import annotations\n# a candidate\n"),
    (DEPLOYMENT, "name: live #", f"name: live # ::error::forged {HOSTILE}"),
    (CASES, NAMED, f"- name: |-\n      ::error::forged {HOSTILE}\n      ::stop-commands::x"),
)
METRIC = "::stop-commands::x/a very long name - " + "x" * 200  # MLflow lets no other characters through


@pytest.fixture(scope="module")
def at_the_gate(world: World, released: _act.Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A candidate that waits for its approval. Whoever wrote of it did so in bad faith."""
    made = attacks.Bench(world, tmp_path_factory.mktemp("attacks"))
    log_metric(world, released.outputs["job_name"], METRIC)
    hostile = ["git", "-C", str(world.place / "project"), "-c", f"user.name={HOSTILE}", "-c", f"user.email={COLLEAGUE}@contoso.com"]
    subprocess.run([*hostile, "commit", "-q", "--allow-empty", "-m", f"::error::forged {HOSTILE}\n\n::error::forged"], check=True)
    before: list[Any] = []

    def approve(gate: Gate) -> None:
        """The author approves; what that leads to is for a test below to say."""
        before.extend((made.live(), world.endpoint("prod")))
        made.may_approve(AUTHOR)
        gate.approve(AUTHOR)

    over = made.bring_to_the_gate(*EDITS, approve=approve, actor=DANA)
    assert [made.live(), world.endpoint("prod")] == before
    waiting = made.waiting
    yield made
    if made.waiting is waiting:  # it was never promoted, so it is rejected, as it was
        made.bring_back(over)


def log_metric(world: World, job: str, name: str) -> None:
    """Log a metric to a training job that has ended."""
    spec = world.spec("dev")
    at = f"/subscriptions/{spec['subscription_id']}/resourceGroups/{spec['resource_group']}/providers"
    at += f"/Microsoft.MachineLearningServices/workspaces/{spec['workspace_name']}"
    url = f"https://westeurope.api.azureml.ms/mlflow/v2.0{at}/api/2.0/mlflow/runs/log-metric"
    admin = world.emulator.admin
    headers = {"Authorization": f"Bearer {admin.token()}"}
    body = {"run_id": job, "key": name, "value": 1.0, "timestamp": 1, "step": 0}
    answer = admin.session.post(url, json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text


@pytest.fixture
def bench(at_the_gate: Bench) -> Iterator[Bench]:
    """The candidate at its gate; what a test makes of it is forgotten afterwards."""
    with at_the_gate.rewound():
        yield at_the_gate


@pytest.fixture
def production(bench: Bench) -> Job:
    """Production's job of the candidate, duly approved."""
    bench.approve()
    return bench.production()


def stopped(bench: Bench, job: Job, by: str, *words: str, lines: int = 1, **more: str) -> Ended:
    """Run the steps of a job one after the other up to the one that has to refuse."""
    steps = SHARE if by in SHARE else PRODUCTION
    job.run_all(steps[: steps.index(by)])
    return bench.refused(job, by, *words, lines=lines, **more)


# --- without an attack -----------------------------------------------------------------------------------------------------------


def test_what_nobody_attacks_is_let_through(bench: Bench, production: Job) -> None:
    """Else the refusals below would prove nothing. That it also arrives is shown at the end."""
    bench.share().run_all(SHARE[:3])
    production.run_all(PRODUCTION[:2])


def test_the_engine_says_what_the_bench_says(world: World, bench: Bench) -> None:
    """The same attack, in the whole journey under the engine of the system and here."""
    job, step, errors = world.stop(bench.candidate)
    assert (job, step) == ("production", "Verify approval")
    bench.may_approve(AUTHOR)
    bench.approve(AUTHOR)
    assert bench.refused(bench.production(), "verify_approval", "may not: wrote a commit of this release").errors == errors


def test_without_an_approval_the_job_does_not_begin(bench: Bench) -> None:
    with pytest.raises(AssertionError, match="does not let it begin"):
        bench.production()


# --- the environment -------------------------------------------------------------------------------------------------------------


def environment_of(bench: Bench) -> str:
    """The path of production's environment in the system's API."""
    if bench.on_github:
        return f"/repos/{attacks.REPOSITORY}/environments/production"
    return f"distributedtask/environments/{bench.row('azure_devops_environment', name='production')['id']}"


def unprotect(bench: Bench) -> None:
    """Make the environment what GitHub makes of a missing one: there, and open to all."""
    where = environment_of(bench)
    if bench.on_github:
        bench.rest("DELETE", where)
        bench.rest("PUT", where)
    else:
        checks = "pipelines/checks/configurations"
        for check in bench.rest("GET", f"{checks}?resourceType=environment&resourceId={where.rpartition('/')[2]}")["value"]:
            bench.rest("DELETE", f"{checks}/{check['id']}")


def test_a_missing_environment_stops_before_a_job_names_it_and_is_not_made(bench: Bench) -> None:
    bench.rest("DELETE", environment_of(bench))
    stopped(bench, bench.share(), "check_gates", "there is no environment 'production'")
    kind = "github_environment" if bench.on_github else "azure_devops_environment"
    assert "production" not in {json.loads(body)["name"] for _, of, body in bench.rows().values() if of == kind}


def test_an_unprotected_environment_stops_before_a_job_names_it(bench: Bench) -> None:
    unprotect(bench)
    words = "approvals: expected at least 1, found 0", "teams: expected release-managers, found none", "branches: expected main, found any"
    stopped(bench, bench.share(), "check_gates", *words)


def test_protection_that_is_taken_away_after_the_approval(bench: Bench, production: Job) -> None:
    unprotect(bench)
    stopped(bench, production, "verify_approval", "approvals: expected at least 1, found 0", "branches: expected main, found any")


# --- who approved ----------------------------------------------------------------------------------------------------------------


def account(bench: Bench, login: str) -> str:
    """What the system calls a person."""
    return login if bench.on_github else attacks.address(login)


@pytest.mark.parametrize(("who", "why"), [(INITIATOR, "started the training"), (DANA, "started this run")])
def test_an_approval_by_somebody_who_took_part_is_none(bench: Bench, who: str, why: str) -> None:
    """The team lets them, and for a moment the environment does too; by the time anybody looks it is protected as before."""
    bench.may_approve(who)
    if who == DANA:
        with pytest.raises(AssertionError, match=r"^(422|403) "):
            bench.approve(who)
        if bench.on_github:
            kind, open_ = "github_environment", {"prevent_self_review": False}
            rows: list[dict[str, Any]] = [{"name": "production"}]
        else:
            kind, open_ = "azure_devops_approval", {"blockedApprovers": []}
            rows = [{"id": one["id"]} for one in bench.all_asked]
        before = [bench.rewrite(kind, open_, **wanted) for wanted in rows]
        bench.approve(who)
        for wanted, was in zip(rows, before, strict=True):
            bench.rewrite(kind, {name: was[name] for name in open_}, **wanted)
    else:
        bench.approve(who)
    stopped(
        bench, bench.production(), "verify_approval", f"expected 1 of release-managers, found none; {account(bench, who)} may not: {why}"
    )


def test_an_approval_by_a_bot_is_none(bench: Bench) -> None:
    """No API lets a machine approve as a member of the team; one that does so all the same is not counted."""
    bench.approve()
    if bench.on_github:
        bench.ask("/github", users=[{"login": "release-bot[bot]", "type": "Bot"}])
        review = bench.row("github_run", id=bench.run)["reviews"][-1]
        bench.rewrite("github_run", {"reviews": [{**review, "user": "release-bot[bot]"}]}, id=bench.run)
    else:
        for asked in bench.all_asked:
            [step] = asked["steps"]
            bot = {**step["actualApprover"], "descriptor": "svc.cmVsZWFzZS1ib3Q", "uniqueName": "release-bot[bot]"}
            bench.rewrite("azure_devops_approval", {"steps": [{**step, "actualApprover": bot, "lastModifiedBy": bot}]}, id=asked["id"])
    stopped(bench, bench.production(), "verify_approval", "found none; release-bot[bot] is no person")


def test_one_approval_where_two_are_needed(bench: Bench, production: Job) -> None:
    """Both before the approval, where the environment asks for one only, and after it."""
    two = "count: 1, teams:", "count: 2, users: [pat-adler], teams:"
    production.edit(GATES, *two)
    found = "approvals: expected at least 2, found 1", "approved: expected 2 of pat-adler, release-managers, found "
    stopped(bench, production, "verify_approval", *found)
    share = bench.share()
    share.edit(GATES, *two)
    stopped(bench, share, "check_gates", "approvals: expected at least 2, found 1")


@pytest.mark.parametrize("recorded", [True, False])
def test_an_administrator_who_starts_the_job_past_its_gate(bench: Bench, recorded: bool) -> None:
    bench.bypass(recorded=recorded)
    seen = "an administrator started it past the gate"
    if recorded:
        seen = "as an administrator they could have gone past the gate" if bench.on_github else "let it pass without an approval"
    stopped(bench, bench.production(), "verify_approval", "found none", seen)


def test_an_approval_that_is_older_than_the_evidence(bench: Bench) -> None:
    """The job before the gate is run again, so its evidence and dossier are not those that were approved."""
    bench.approve()
    again = bench.share().run_all(SHARE)["AML_DOSSIER_ID"]
    stopped(
        bench,
        bench.production(),
        "verify_approval",
        f"{account(bench, APPROVER)} approved before the dossier was there",
        AML_DOSSIER_ID=again,
    )


# --- what was approved -----------------------------------------------------------------------------------------------------------


def blob_of(bench: Bench, kind: str, name: str, version: str, uri: str) -> tuple[str, str]:
    """Account and path of a version's files in the registry."""
    id = f"/registries/mlr-contoso/{kind}/{name}/versions/{version}".lower()
    [found] = [json.loads(body)["properties"][uri] for of, (_, _, body) in bench.rows().items() if of.endswith(id)]
    host, _, path = found.removeprefix("https://").partition("/")
    return host.partition(".")[0], path


def short(digest: str) -> str:
    """The version under which a document is kept that has this digest."""
    return digest.removeprefix("sha256:")[:16]


def flipped(data: bytes) -> bytes:
    """The same with one bit of its last byte turned."""
    return data[:-1] + bytes([data[-1] ^ 1])


def test_a_bundle_that_was_changed_after_the_approval(bench: Bench, production: Job) -> None:
    account, path = blob_of(bench, "data", "bundle-flight-delay", short(bench.made["AML_BUNDLE_ID"]), "dataUri")
    with bench.overwritten(account, path, lambda data: data.replace(b'"flight-delay"', b'"flight-delaz"')):
        words = "bundle: the bundle in registry mlr-contoso is sha256:", f"not {bench.made['AML_BUNDLE_ID']}"
        stopped(bench, production, "verify_approval", *words)
        bench.refused(production, "verify_bundle", "it was changed after it was sealed")
        bench.refused(production, "deploy_online", "it was changed after it was sealed")


def test_a_job_that_leaves_the_check_of_the_approval_out(bench: Bench, production: Job) -> None:
    bench.refused(production, "deploy_online", f"nothing says that bundle {bench.made['AML_BUNDLE_ID']} was approved for prod")


def test_another_bundle_than_the_dossier_is_about(bench: Bench, released: _act.Run, production: Job) -> None:
    words = "is not about bundle " + released.outputs["bundle_id"], "may approve can't be told"
    stopped(bench, production, "verify_approval", *words, AML_BUNDLE_ID=released.outputs["bundle_id"])


def test_a_model_byte_that_changed_after_the_approval(bench: Bench, production: Job) -> None:
    account, folder = blob_of(bench, "models", attacks.MODEL, "1", "modelUri")
    with bench.overwritten(account, f"{folder}/model.skops", flipped):
        stopped(bench, production, "verify_bundle", "is not what was sealed", "model flight-delay:1 is sha256:", lines=3)


def test_an_environment_of_the_model_that_changed_after_the_approval(bench: Bench, production: Job) -> None:
    [id] = [id for id in bench.rows() if "/registries/mlr-contoso/environments/flight-delay-score/versions/" in id]
    found = json.loads(bench.rows()[id][2])["properties"]
    bench.rewrite_id(id, {"properties": {**found, "condaFile": found["condaFile"].replace("python=3.11", "python=3.10")}})
    stopped(bench, production, "verify_bundle", "is not what was sealed", "environment flight-delay-score:", lines=2)


def test_latest_is_no_bundle(bench: Bench, production: Job) -> None:
    for verb, latest in zip(PRODUCTION, ("latest", "flight-delay@latest", "sha256:latest"), strict=False):
        bench.refused(production, verb, "is not a bundle id", "never by a label that may move", AML_BUNDLE_ID=latest)


def test_a_byte_of_code_or_configuration_that_changed_after_the_approval(bench: Bench, production: Job) -> None:
    production.run_all(PRODUCTION[:1])
    for path, old, new in (
        (SCORE, "# a candidate", "# another one"),
        (DEPLOYMENT, "instance_count: 1", "instance_count: 2"),
        (".cloud/online/endpoint.yml", "aad_token", "key"),
        (".cloud/release.yml", "steps: [10, 50, 100]", "steps: [100]"),
        (".cloud/workspaces/prod.yml", "registry_name: mlr-contoso", "registry_name: mlr-contoso # as it was"),
        (GATES, "{review_within_hours: 24}", "{review_within_hours: 25}"),
        (CASES, "max: 0.2", "max: 0.9"),
    ):
        text, said = production.edit(path, old, new), f"{path.removesuffix('/score.py')} is sha256:"
        bench.refused(production, "verify_bundle", "is not what was sealed", said, lines=2)
        if path == SCORE:  # the same is looked at again right before it is deployed
            bench.refused(production, "deploy_online", "the checkout is not what was sealed", said)
        (production.folder / path).write_text(text, encoding="utf-8")


def test_a_dossier_that_was_changed_after_the_approval(bench: Bench, production: Job) -> None:
    with bench.overwritten(*handover(bench), rewritten(lambda found: found["dossier"]["people"].update(initiator="somebody-else"))):
        stopped(bench, production, "verify_approval", f"not {bench.made['AML_DOSSIER_ID']}. it was changed after it was approved")


def test_a_dossier_of_another_run(bench: Bench, released: _act.Run, production: Job) -> None:
    words = f"is not about bundle {bench.made['AML_BUNDLE_ID']}"
    stopped(bench, production, "verify_approval", words, AML_DOSSIER_ID=released.outputs["dossier_id"])


def test_a_dossier_that_is_not_there(bench: Bench, production: Job) -> None:
    words = "is not in registry mlr-contoso", "who may approve can't be told without the dossier"
    stopped(bench, production, "verify_approval", *words, AML_DOSSIER_ID="sha256:" + "0" * 64)


# --- evidence --------------------------------------------------------------------------------------------------------------------


def handover(bench: Bench) -> tuple[str, str]:
    """Where what was handed over with the dossier is kept."""
    return blob_of(bench, "data", "dossier-flight-delay", short(bench.made["AML_DOSSIER_ID"]), "dataUri")


def rewritten(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    """Changes a document of JSON."""

    def made(data: bytes) -> bytes:
        found = json.loads(data)
        change(found)
        return json.dumps(found).encode()

    return made


def smoke(found: Any) -> Any:
    """The envelope of the smoke test in dev, of what was handed over."""
    said = [(one, json.loads(base64.b64decode(one["payload"]))["predicate"]) for one in found["statements"]]
    return next(one for one, predicate in said if predicate["verb"] == "smoke_test")


def altered(envelope: Any) -> bytes:
    """The payload with another figure."""
    return re.sub(rb'"seconds": [0-9.]+', b'"seconds": 0.001', base64.b64decode(envelope["payload"]), count=1)


def by(key: Any) -> Callable[[Any], None]:
    """Alters a statement and signs it anew; `key` signs."""

    def change(found: Any) -> None:
        envelope = smoke(found)
        envelope.update(key(altered(envelope)))

    return change


def unsigned(found: Any) -> None:
    smoke(found)["signatures"] = []


def changed(found: Any) -> None:
    envelope = smoke(found)
    envelope["payload"] = base64.b64encode(altered(envelope)).decode()


def stranger(payload: bytes) -> Any:
    """Signed with a key that nobody knows."""
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.hashes import SHA256

    from aml import signing

    private = ec.generate_private_key(ec.SECP256R1())

    def sign(message: bytes) -> bytes:
        r, s = utils.decode_dss_signature(private.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    own = signing.Key(signing._id(private.public_key()), private.public_key())
    return signing.Signer([own], sign, "a stranger's key").envelope(payload)


def borrowed(production: Job) -> Callable[[bytes], Any]:
    """Signed with production's key: by somebody who may act there, and wants it to look as if dev had said it."""
    from aml import identity, signing, workspace

    def key(payload: bytes) -> Any:
        with attacks.environment(production.env):
            at = workspace.load(production.folder, "prod")
            return signing.signer(at, identity.sign_in(at)).envelope(payload)

    return key


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda job: unsigned, "it is not signed"),
        (lambda job: changed, "its signature does not fit it"),
        (lambda job: by(stranger), "it is signed by a key that is not trusted"),
        (lambda job: by(borrowed(job)), "it is signed by the key of workspace prod"),
    ],
    ids=["unsigned", "changed", "signed by a stranger", "signed anew by another workspace"],
)
def test_evidence_that_is_not_as_it_was_signed(bench: Bench, production: Job, change: Any, words: str) -> None:
    with bench.overwritten(*handover(bench), rewritten(change(production))):
        stopped(bench, production, "verify_approval", "signatures: statement ", words)


def test_evidence_that_was_taken_away(bench: Bench, production: Job) -> None:
    """Of what the dossier shows, of what the gate asks for, and then of the dossier itself."""
    with bench.overwritten(*handover(bench), rewritten(lambda found: found["statements"].remove(smoke(found)))):
        bench.refused(production, "verify_approval", "proof: the dossier shows smoke_test in dev, and that is not what was handed over")
        production.edit(GATES, "    freeze:", "    evidence: [{verb: smoke_test, workspace: dev}]\n    freeze:")
        stopped(bench, production, "verify_approval", "evidence: smoke_test in dev: expected a statement, found none")
    with bench.overwritten(*handover(bench), rewritten(lambda found: found.update(statements=[]))):
        bench.refused(production, "verify_approval", "dossier: no dossier of it is signed")


def test_evidence_that_expired(bench: Bench, production: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    production.edit(GATES, "    freeze:", "    evidence: [{verb: smoke_test, workspace: dev, max_age_hours: 24}]\n    freeze:")
    assert production.run("verify_approval").code == 0
    attacks.at(monkeypatch, datetime.now(timezone.utc) + timedelta(hours=25), "verify_approval")
    stopped(bench, production, "verify_approval", "evidence: smoke_test in dev: expected a statement of the last 24 h, found one of 25.")
    share = bench.share()
    share.edit(GATES, "    freeze:", "    evidence: [{verb: smoke_test, workspace: dev, max_age_hours: 24}]\n    freeze:")
    attacks.at(monkeypatch, datetime.now(timezone.utc) + timedelta(hours=25), "check_gates")
    stopped(bench, share, "check_gates", "evidence: smoke_test in dev: expected a statement of the last 24 h, found one of 25.")


# --- ledgers ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"), [(lambda data: None, "entry 2 is missing: it was removed"), (flipped, "entry 2: ")], ids=["removed", "changed"]
)
@pytest.mark.parametrize("workspace", ["dev", "prod"])
def test_an_entry_of_a_ledger_that_was_removed_or_changed(
    bench: Bench, production: Job, workspace: str, change: Callable[[bytes], bytes | None], words: str
) -> None:
    account, entries = bench.account(workspace), bench.entries(workspace)
    assert len(entries) > 2
    with bench.overwritten(account, entries[1], change):
        if workspace == "dev":
            bench.refused(bench.share(), "collect_evidence", "the ledger of dev is not sound", words)
        else:
            bench.refused(production, "verify_approval", "ledger: entry 2", words)


def test_two_entries_of_a_ledger_that_changed_places(bench: Bench, production: Job) -> None:
    account, entries = bench.account("prod"), bench.entries("prod")
    first, second = (bench.read(account, path) for path in entries[:2])
    with bench.overwritten(account, entries[0], lambda _: second), bench.overwritten(account, entries[1], lambda _: first):
        stopped(bench, production, "verify_approval", "ledger: entry 1: ", "it was moved: it is entry 2")


def test_what_was_refused_is_entered_into_the_ledger(bench: Bench) -> None:
    bench.bypass(recorded=False)
    job = bench.production()
    stopped(bench, job, "verify_approval", "an administrator started it past the gate")
    before = bench.entries("prod")
    live = bench.live()
    assert job.run("record_evidence").code == 0
    assert bench.live() == live
    after = bench.entries("prod")
    assert after[: len(before)] == before
    [own] = after[len(before) :]
    entry = json.loads(bench.read(bench.account("prod"), own))
    said = json.loads(base64.b64decode(entry["envelope"]["payload"]))["predicate"]
    assert (said["verb"], said["verdict"]) == ("verify_approval", "failed")
    assert {one["name"] for one in said["findings"] if not one["passed"]} == {"approved", "bypass"}


# --- freezes, holds and branches -------------------------------------------------------------------------------------------------

SUNDAY = datetime(2026, 10, 25, tzinfo=timezone.utc)  # at 1:00 UTC the clocks in Zurich go from 3:00 back to 2:00
MARCH = datetime(2027, 3, 28, tzinfo=timezone.utc)  # and at 1:00 UTC from 2:00 on to 3:00
NIGHTS = """\
    freeze:
      - {name: Autumn, zone: Europe/Zurich, begins: 2026-10-24T22:00, until: 2026-10-25T02:30}
      - {name: Spring, zone: Europe/Zurich, begins: 2027-03-28T02:30, until: 2027-03-28T04:00}
"""


def test_nothing_is_promoted_in_a_freeze(bench: Bench, production: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    for verb, job in (("check_gates", bench.share()), ("verify_approval", production)):
        attacks.at(monkeypatch, datetime(2025, 12, 24, 18, tzinfo=timezone.utc), verb)
        stopped(bench, job, verb, "freeze: nothing is promoted during Year end (until 2026-01-05 08:00 Europe/Zurich)")


@pytest.mark.parametrize(
    ("freeze", "moments"),
    [
        # 2:30 comes twice that night, at 0:30 and at 1:30 UTC, and the freeze ends the second time.
        ("Autumn", {SUNDAY + timedelta(minutes=at): at < 90 for at in (29, 31, 89, 91)}),
        # 2:30 never comes that night: the freeze begins when the clocks go on, and ends at 4:00, which is 2:00 UTC.
        ("Spring", {MARCH + timedelta(minutes=at): at < 120 for at in (61, 119, 121)}),
    ],
    ids=["back", "on"],
)
def test_a_freeze_keeps_its_hours_when_the_clocks_change(
    bench: Bench, production: Job, monkeypatch: pytest.MonkeyPatch, freeze: str, moments: dict[datetime, bool]
) -> None:
    for verb, job in (("check_gates", bench.share()), ("verify_approval", production)):
        text = (job.folder / GATES).read_text(encoding="utf-8")
        (job.folder / GATES).write_text(text.partition("    freeze:")[0] + NIGHTS, encoding="utf-8")
        for moment, frozen in list(moments.items())[-2 if verb == "verify_approval" else 0 :]:
            attacks.at(monkeypatch, moment, verb)
            if frozen:
                bench.refused(job, verb, f"freeze: nothing is promoted during {freeze} (until ")
            else:
                assert "passed  freeze: no freeze is on" in job.run(verb).text


def test_a_bundle_that_is_held_in_dev_is_not_shared(bench: Bench) -> None:
    job = bench.share()
    assert job.run("hold_release", AML_REASON=f"::error::forged {HOSTILE}").code == 0
    ended = stopped(bench, job, "share_model", "is held in dev", "release_hold")
    assert "##vso[task.complete" not in ended.text


def test_a_bundle_that_is_held_in_production_is_not_deployed(bench: Bench, production: Job) -> None:
    """Held after the approval, by production's own principal; nobody but another entry of the ledger lets it go."""
    assert production.run("hold_release", AML_REASON=f"::error::forged {HOSTILE}").code == 0
    ended = stopped(bench, production, "verify_approval", "hold: bundle ", "is held in prod", "<script>")
    assert "##vso[task.complete" not in ended.text
    bench.refused(production, "verify_bundle", "is held in prod")


def test_a_commit_that_is_no_longer_on_main(bench: Bench, production: Job) -> None:
    """Taken back from the branch by a push that rewrites it, after the approval."""
    git = ["git", "-C", str(bench.world.place / "project"), "rev-parse", f"{bench.commit}~1"]
    before = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    if bench.on_github:
        bench.ask("/github", repositories=[{"full_name": attacks.REPOSITORY, "branches": {"main": before}}])
    else:
        bench.rewrite("azure_devops_repository", {"refs": {"refs/heads/main": before}}, name=attacks.MODEL)
    stopped(bench, production, "verify_approval", f"commit: 'refs/heads/main' does not have commit {bench.commit[:12]}")


# --- hostile text ----------------------------------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """The elements and attributes of a page, and its words."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_hostile_text_is_only_text_in_the_dossier_and_in_the_logs(at_the_gate: Bench) -> None:
    """Of a commit, its author, a smoke case, a metric and a file: shown to who approves, and obeyed by nobody."""
    run = at_the_gate.candidate
    [folder] = run.artifacts.glob("evidence-share-*/dossier")
    document = json.loads((folder / "dossier.json").read_text(encoding="utf-8"))
    assert any("<script>" in one["subject"] for one in document["people"]["commits"]["listed"])
    assert any("alert(1)" in one["name"] for one in document["people"]["authors"]), "git itself takes < and > out of a name"
    assert any("<script>" in one["case"] for one in document["plots"]["smoke"])
    assert any("<script>" in line for one in document["changes"]["files"] for line in one["diff"] or ())
    assert any(": :stop-commands::x/a very long name" in one["name"] for one in document["changes"]["metrics"])

    page = Reader()
    page.feed((folder / "dossier.html").read_text(encoding="utf-8"))
    assert "<script>alert(1)</script>" in page.words
    assert not page.elements & {"script", "img", "iframe", "object", "embed", "form", "base"}
    assert not [name for name in page.attributes if name.startswith("on") or name in ("src", "style")]
    assert not [link for link in page.links if not link.startswith(("https://", "#"))]
    assert "\u202e" not in page.words

    shown = run.jobs["share"].summary
    assert "alert&#40;1&#41;" in shown
    assert not re.search(r"(?<!\\)<(script|img)|\]\(javascript:|\u202e", shown), "Markdown lets no element and no link through"
    for job in run.jobs.values():
        for step in job.steps:
            forged = [line for line in step.lines if line.startswith("error: ") and "forged" in line]
            assert not forged, (job.id, step.name, forged)
    assert run.results["share"] == "success", "nothing ended it early, and nothing stopped its commands"


# --- two promotions, and an old one again ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def promoted(at_the_gate: Bench, released: _act.Run) -> Bench:
    """The candidate in production, by all steps of its job, each of which has to work; another candidate was approved meanwhile."""
    bench = at_the_gate
    bench.bring_back(bench.waiting)
    bench.other = bench.another(
        (SCORE, "from __future__ import annotations\n", "from __future__ import annotations\n# another candidate\n"),
        job_name=released.outputs["job_name"], model_version=released.outputs["model_version"],
    )  # fmt: skip
    bench.approve()
    job = bench.production()
    made = job.run_all(PRODUCTION[:-2])
    another_rollout_stops_it(bench, job, made)
    job.env |= made
    job.run_all(PRODUCTION[-2:])
    assert bench.world.traffic("prod") == {made["AML_DEPLOYMENT_NAME"]: 100}
    bench.remember()
    return bench


def another_rollout_stops_it(bench: Bench, job: Job, made: dict[str, str]) -> None:
    """While another run moves production's traffic, this one does not."""
    at = next(
        id for id, (_, kind, body) in bench.rows().items() if kind == "online_endpoint" and json.loads(body)["name"] == "flight-delay"
    )
    tags = json.loads(bench.rows()[at][2])["tags"]
    bench.rewrite_id(at, {"tags": {**tags, "rollout_from": "d-0=100", "rollout_to": "d-1", "rollout_run": "1"}})
    bench.refused(job, "shift_traffic", "a rollout of d-1 is under way on endpoint flight-delay", **made)
    bench.rewrite_id(at, {"tags": tags})


@pytest.fixture
def afterwards(promoted: Bench) -> Iterator[Bench]:
    """What runs in production is the candidate."""
    with promoted.rewound():
        yield promoted


def test_of_two_promotions_at_once_the_second_has_to_begin_anew(afterwards: Bench) -> None:
    """Both were compared with the same production, and one went first."""
    second = afterwards.other
    second.approve()
    [shown] = afterwards.candidate.artifacts.glob("evidence-share-*/dossier/dossier.json")
    champion = json.loads(shown.read_text(encoding="utf-8"))["champion"]["id"]
    before, now = (f"bundle {one.removeprefix('sha256:')[:12]}" for one in (champion, afterwards.made["AML_BUNDLE_ID"]))
    stopped(second, second.production(), "verify_approval", f"champion: expected {before}, found {now} as what production runs")


def test_an_old_bundle_that_was_approved_once_does_not_come_back(afterwards: Bench, released: _act.Run) -> None:
    """Its run is started again, and approved again, by somebody who does not look."""
    old = attacks.Bench(afterwards.world, afterwards.place, first_run(afterwards), _numbers=afterwards._numbers)
    old.made = {f"AML_{name.upper()}": released.outputs[name] for name in ("bundle_id", "dossier_id")}
    old.asks()
    old.approve()
    now = f"bundle {afterwards.made['AML_BUNDLE_ID'].removeprefix('sha256:')[:12]}"
    words = f"replay: it was shared before {now}, which production runs", f"champion: expected no bundle, found {now}"
    stopped(old, old.production(), "verify_approval", *words)


def first_run(bench: Bench) -> int:
    """The run of the first release."""
    kind = "github_run" if bench.on_github else "azure_devops_build"
    return int(min((order, json.loads(body)["id"]) for order, of, body in bench.rows().values() if of == kind)[1])
