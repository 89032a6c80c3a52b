"""The doctor of a sign-in: every way in which it fails, with its cause and what mends it."""

from __future__ import annotations

import importlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from aml import access, azure, command, federation
from emulator.core import SUBSCRIPTION, TENANT

GITHUB = "https://token.actions.githubusercontent.com"
REPOSITORY = "contoso/delays"
SUBJECT = f"repo:{REPOSITORY}:environment:dev"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


@dataclass
class Patient:
    """A workspace spec with an application of its own, and jobs that sign in as it."""

    folder: Path
    emulator: Any
    capsys: Any
    monkeypatch: pytest.MonkeyPatch
    client: str = ""
    oid: str = ""

    def made(self, *subjects: str, issuer: str = GITHUB, roles: tuple[str, ...] = ("AzureML Data Scientist",), **fields: Any) -> None:
        """Make the application with what it trusts and may do, and the spec of its workspace."""
        scope = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-doctor/providers/Microsoft.MachineLearningServices/workspaces/mlw-doctor"
        body = {
            "name": "doctor", "issuer": issuer, "subjects": list(subjects), "roles": [{"role": one, "scope": scope} for one in roles],
            **fields,
        }  # fmt: skip
        made = self.emulator.ask("POST", "/identities", body)
        self.client, self.oid = made["client_id"], made["oid"]
        self.spec(client_id=self.client)

    def spec(self, stage: str = "dev", **fields: str) -> None:
        """Write the workspace spec."""
        given = {
            "stage": stage, "tenant_id": TENANT, "subscription_id": SUBSCRIPTION, "resource_group": "rg-doctor",
            "workspace_name": "mlw-doctor", "client_id": self.client or str(uuid.uuid4()), **fields,
        }  # fmt: skip
        path = self.folder / ".cloud" / "workspaces" / f"{stage}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{key}: {value}\n" for key, value in given.items()))

    def job(self, repository: str = REPOSITORY, **fields: str) -> None:
        """Be a job of GitHub's."""
        query = urlencode({"repository": repository, **fields})
        self.monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"https://pipelines.actions.githubusercontent.com/idtoken?{query}")
        self.monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "act")

    def nobody(self) -> None:
        """No platform team is signed in."""
        self.monkeypatch.setenv("AZURE_CLIENT_ID", "")
        self.monkeypatch.setenv("AZURE_CLIENT_SECRET", "")
        self.monkeypatch.setenv("PATH", "")

    def run(self, workspace: str = "dev", **flags: str) -> tuple[str, str]:
        """What it says, and the refusal."""
        words = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        self.capsys.readouterr()
        refusal = ""
        try:
            importlib.import_module("check_identity").main([f"--project={self.folder}", f"--workspace={workspace}", *words])
        except Exception as error:
            explained = error if isinstance(error, command.Refusal) else azure.explain(error)
            if explained is None:
                raise
            refusal = str(explained)
        return self.capsys.readouterr().out, refusal


@pytest.fixture
def patient(azure: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    azure.admin.workspace("mlw-doctor", "rg-doctor")
    monkeypatch.setenv("AML_GRANT_SECONDS", "0")
    yield Patient(tmp_path / "project", azure, capsys, monkeypatch)
    azure.set("role_delay", 0)


def test_all_is_well(patient: Patient) -> None:
    patient.made(SUBJECT)
    patient.job(environment="dev")
    out, refusal = patient.run()
    assert refusal == ""
    for line in (
        f"  subject  {SUBJECT}",
        "  audience api://AzureADTokenExchange",
        "  which is GitHub, classic: environment dev of contoso/delays",
        f"  good     signed in as application {patient.client}",
        "accepts what is presented",
        f"  good     sees subscription {SUBSCRIPTION}",
        "  good     reads workspace mlw-doctor",
        "Nothing is wrong with the identity of workspace dev that could be seen from here.",
    ):
        assert line in out


@pytest.mark.parametrize(
    ("trusted", "job", "lines"),
    [
        (SUBJECT, {"environment": "Dev"}, ["AADSTS7002138", "they differ in the case of letters only"]),
        (SUBJECT, {"environment": "other"}, ["AADSTS700213", "it is for environment dev, and the job's is environment other"]),
        (
            SUBJECT,
            {},
            [
                "it is for environment dev, and the job's is branch main",
                "since the job names no environment",
                "Fix: give the job 'environment: dev'",
            ],
        ),
        (SUBJECT, {"event_name": "pull_request"}, ["the job's is a pull request", "Fix: give the job 'environment: dev'"]),
        (SUBJECT, {"environment": "dev", "repository": "contoso/fork"}, ["another repository"]),
        (
            SUBJECT,
            {"environment": "dev", "immutable_subject": "true"},
            ["GitHub, immutable: environment dev", "the job presents immutable ids, and it has none; repositories created"],
        ),
        (
            SUBJECT,
            {"environment": "dev", "include_claim_keys": "repo,context,job_workflow_ref"},
            ["GitHub, classic, customised: environment dev", "it is not customised, and the job's is customised with job_workflow_ref:"],
        ),
    ],
)
def test_what_is_presented_and_not_accepted(patient: Patient, trusted: str, job: dict[str, str], lines: list[str]) -> None:
    patient.made(trusted)
    patient.job(**job)
    out, refusal = patient.run()
    assert refusal.startswith("2 wrong with the identity of workspace dev"), out
    for line in lines:
        assert line in out
    assert "WRONG    Microsoft Entra refused to sign in application" in out
    if "Fix: give the job" not in "".join(lines):
        assert "Fix: if it is to be trusted: az ad app federated-credential create" in out


def test_the_command_that_mends_is_one_that_mends(patient: Patient) -> None:
    """Its JSON, as a shell would hand it on, makes the sign-in work; nothing in it is taken for the shell's own."""
    import shlex

    environment = "it's $(id) `x`"
    patient.made(SUBJECT)
    patient.job(environment=environment)
    out, _ = patient.run()
    (fix,) = [line for line in out.splitlines() if "if it is to be trusted:" in line]
    words = shlex.split(fix.partition("if it is to be trusted: ")[2])
    assert words[:4] == ["az", "ad", "app", "federated-credential"]
    body = json.loads(words[words.index("--parameters") + 1])
    assert body["subject"] == f"repo:{REPOSITORY}:environment:{environment}"
    graph = access.Directory(_admin()).graph
    app = graph.application(patient.client)
    assert app
    graph.add_federated(app, federation.of_graph(body))
    assert patient.run()[1] == ""


def _admin() -> Any:
    from aml.identity import administrator

    return administrator(TENANT)


def test_another_issuer(patient: Patient) -> None:
    patient.made("sc://contoso/mlops/azureml-dev", issuer="https://vstoken.dev.azure.com/0a0a0000-0000-4000-8000-00000000000a")
    patient.job(environment="dev")
    out, _ = patient.run()
    assert "AADSTS700211" in out
    assert f"issuer: it accepts https://vstoken.dev.azure.com/0a0a0000-0000-4000-8000-00000000000a, the job presents {GITHUB}" in out


def test_no_such_application(patient: Patient) -> None:
    patient.spec()
    patient.job(environment="dev")
    out, refusal = patient.run()
    assert "AADSTS700016: the tenant has no such application" in out
    assert f"WRONG    tenant {TENANT} has no application with client id" in out
    assert refusal.startswith("2 wrong")


def test_a_job_of_azure_devops(patient: Patient) -> None:
    admin, project = patient.emulator.admin, {"organization": "contoso", "project": "doctor"}
    patient.made()
    connection = admin.azure_devops("connections", **project, name="azureml-dev", client_id=patient.client, tenant_id=TENANT)
    build = admin.azure_devops("builds", **project, pipeline="release")
    job = admin.azure_devops("jobs", **project, build_id=build["id"], name="dev.train", references=["azureml-dev"])
    for name, value in {
        "TF_BUILD": "True", "AML_SERVICE_CONNECTION_ID": connection["id"], "SYSTEM_ACCESSTOKEN": job["access_token"],
        "SYSTEM_OIDCREQUESTURI": job["oidc_request_uri"],
    }.items():  # fmt: skip
        patient.monkeypatch.setenv(name, value)
    out, _ = patient.run()
    assert f"which is Azure DevOps: service connection {connection['id']} of organization" in out
    parameters = connection["authorization"]["parameters"]
    assert f'"subject": "{parameters["workloadIdentityFederationSubject"]}"' in out
    graph = access.Directory(_admin()).graph
    app = graph.application(patient.client)
    assert app
    made = federation.Credential(
        "azure-devops", parameters["workloadIdentityFederationIssuer"], parameters["workloadIdentityFederationSubject"]
    )
    graph.add_federated(app, made)
    assert patient.run()[1] == ""


def test_the_plan_tells_a_wrong_job_from_a_missing_credential(patient: Patient) -> None:
    patient.made()
    patient.job(environment="dev")
    trust = {
        "repository": REPOSITORY,
        "repository_ids": "",
        "catalog": "",
        "tags": "",
        "binding": "none",
        "organization": "",
        "project": "",
    }
    from aml import workspace

    at = workspace.load(patient.folder, "dev")
    scopes = {"subscription": f"/subscriptions/{SUBSCRIPTION}", "workspace": at.arm_id}
    plan = {"version": 1, "trust": trust, "roles": access.custom_roles([at]), "workspaces": [access.planned(at, trust, scopes)]}
    (patient.folder / access.FILE).write_text(json.dumps(plan))
    out, _ = patient.run()
    assert "no credential of the application accepts what is presented, though the plan trusts it (github-dev)" in out
    assert "Fix: plan_identity --apply" in out
    patient.job(environment="elsewhere")
    out, _ = patient.run()
    assert "and the project's plan does not trust it either" in out


def test_no_role_at_all_is_no_subscriptions_found(patient: Patient) -> None:
    patient.made(SUBJECT, roles=())
    patient.job(environment="dev")
    out, refusal = patient.run()
    assert "'No subscriptions found' is what the Azure CLI calls that" in out
    assert "  holds    no role at workspace mlw-doctor or above it" in out
    assert f"Fix: the grant is missing, not only new. az role assignment create --assignee {patient.client}" in out
    assert refusal.startswith("1 wrong")


def test_a_grant_that_is_not_visible_yet_is_told_from_a_missing_one(patient: Patient) -> None:
    patient.emulator.set("role_delay", 3600)
    patient.made(SUBJECT)
    patient.job(environment="dev")
    out, _ = patient.run()
    assert "  holds    AzureML Data Scientist at " in out
    assert "Fix: wait: AzureML Data Scientist is there and too new to be seen everywhere, which can take 30 minutes" in out


def test_a_role_that_does_not_allow_it(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    patient.made(SUBJECT, roles=("Storage Blob Data Contributor",))
    patient.job(environment="dev")
    monkeypatch.setattr("check_identity.VISIBLE_AFTER", 0)  # as if it was made an hour ago
    out, _ = patient.run()
    assert "The right Microsoft.MachineLearningServices/workspaces/read is missing" in out
    assert "Fix: its roles are old enough to be seen, so none of them allows it. az role assignment create" in out


def test_without_a_platform_team_it_says_what_it_could_not_see(patient: Patient) -> None:
    patient.made(SUBJECT, roles=())
    patient.job(environment="other")
    patient.nobody()
    out, refusal = patient.run()
    assert "not supplied: The platform team's sign-in to tenant" in out
    assert f"az ad app federated-credential list --id {patient.client}" in out
    assert refusal.startswith("1 wrong")
    patient.job(environment="dev")
    out, _ = patient.run()
    assert "not supplied: Authorization_RequestDenied: Insufficient privileges" in out
    assert "look whether the role is there: az role assignment list" in out


def test_the_subject_of_another_run_is_looked_at(patient: Patient) -> None:
    patient.made(SUBJECT)
    out, refusal = patient.run(subject=f"repo:{REPOSITORY}:ref:refs/heads/main")
    assert "The sign-in" not in out
    assert "the job's is branch main" in out
    assert refusal.startswith("1 wrong")
    assert patient.run(subject=SUBJECT)[1] == ""
    out, _ = patient.run(subject="sc://contoso/mlops/azureml-dev", issuer="https://vstoken.dev.azure.com/1")
    assert "which is Azure DevOps: service connection azureml-dev of contoso/mlops" in out


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("AADSTS700024: Client assertion is not within its valid time range. Trace ID: 1", "AADSTS700024: the assertion has expired"),
        ("AADSTS70021: No matching federated identity record found. Trace ID: 1", "AADSTS70021: no federated credential"),
        ("AADSTS700213: No matching federated identity record found for presented assertion subject 'x'.", "AADSTS700213: no federated"),
        ("AADSTS7002138: No matching", "AADSTS7002138: the subject of the federated credential differs"),
        ("AADSTS700016: Application with identifier 'x' was not found", "AADSTS700016: the tenant has no such application"),
        ("Error: No subscriptions found for ***.", "which sees no subscription"),
    ],
)
def test_an_error_from_a_log_is_explained(patient: Patient, text: str, line: str) -> None:
    patient.made(SUBJECT)
    out, refusal = patient.run(subject=SUBJECT, error=text)
    assert "What was said\n  WRONG    " in out
    assert line in out
    assert "           Fix: " in out
    assert refusal.startswith("1 wrong")
    assert "not supplied: it has no AADSTS code" in patient.run(subject=SUBJECT, error="something else\n::error::forged")[0]


def test_it_changes_nothing(patient: Patient) -> None:
    """Not one request but reads and sign-ins."""
    patient.made(SUBJECT)
    patient.job(environment="other")
    graph = access.Directory(_admin()).graph
    app = graph.application(patient.client)
    assert app
    before = (graph.federated(app), app)
    assert patient.run()[0] == patient.run()[0]
    assert (graph.federated(app), graph.application(patient.client)) == before


@pytest.mark.parametrize("hostile", ["##vso[task.complete]", "x\n::error::forged", "\x1b[2J", "$(id)"])
def test_hostile_subjects_are_only_shown(patient: Patient, hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patient.made(SUBJECT)
    out, _ = patient.run(subject=f"repo:contoso/x:environment:{hostile}")
    assert "##vso[" not in out
    assert "\n::error" not in out
    assert "\x1b" not in out
