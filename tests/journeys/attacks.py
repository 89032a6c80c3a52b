"""A bench for attacks: single jobs of a release, played in this process with what their engine gives them, on an Azure that forgets.

A whole journey takes a minute, one verb a moment. So one release and one candidate at production's gate serve all attacks: each changes
what it wants to change, runs verbs of a job as the job would, and afterwards Azure, GitHub and Azure DevOps are as they were before it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _act
import _github
import _history
from _gate import APPROVER, INITIATOR, OWNER, Gate, address
from _provision import AZURE_DEVOPS, REPOSITORY
from aml import command, ledger

if TYPE_CHECKING:
    import pytest
    from azure.storage.blob import BlobServiceClient, ContainerClient
    from tests.journeys.conftest import World

Rows = dict[str, tuple[int, str, str]]  # documents of the emulator by id: their order, type and text
ENVIRONMENTS = {"share": "dev", "production": "production"}
WORKSPACES = {"share": "dev", "production": "prod"}
PERMISSIONS = {"actions": "read", "contents": "read", "id-token": "write"}
SHARE = ("collect_evidence", "check_gates", "share_model", "compile_dossier", "record_evidence", "share_evidence")
PRODUCTION = ("verify_approval", "verify_bundle", "deploy_online", "smoke_test", "shift_traffic", "record_evidence")
HANDED_ON = {"compile_dossier": ("dossier_id",), "deploy_online": ("deployment_name",)}
COMMAND_FILES = ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")
MODEL, TEAM = "flight-delay", "release-managers"


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """This process with these variables and no others."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass
class Ended:
    """How a verb ended: its exit code, and what it printed."""

    verb: str
    code: int
    text: str

    @property
    def errors(self) -> list[str]:
        """The lines that the engine takes for errors, as the page of the run shows them."""
        github = re.findall(r"^::error(?: [^:]*)?::(.*)$", self.text, re.MULTILINE)
        azure_devops = re.findall(r"^##vso\[task\.logissue type=error[^\]]*\](.*)$", self.text, re.MULTILINE)
        return [urllib.parse.unquote(one) for one in github] + [one.replace("%AZP25", "%") for one in azure_devops]

    def output(self, name: str) -> str:
        """One of its outputs."""
        return next(line.partition(": ")[2] for line in reversed(self.text.splitlines()) if line.startswith(f"{name}: "))


@dataclass
class Job:
    """A job that has begun: the variables of its steps, and its checkout."""

    env: dict[str, str]
    folder: Path

    def run(self, verb: str, **more: str) -> Ended:
        """Run a verb as a step of the job, with `more` in its variables. It ends as its process would, and leaves this one as it was."""
        said, at = io.StringIO(), Path.cwd()
        handlers = {number: signal.getsignal(number) for number in command._ENDINGS}
        code: Any = 0
        try:
            os.chdir(self.folder)
            with environment(self.env | more), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                command.run(lambda: int(importlib.import_module(verb).main([])))
        except SystemExit as ended:
            code = ended.code
        finally:
            os.chdir(at)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        print(f"--- {verb}\n{said.getvalue()}")  # pytest shows it for a test that fails
        return Ended(verb, int(code), said.getvalue())

    def run_all(self, verbs: Iterable[str]) -> dict[str, str]:
        """Run verbs one after the other, each of which has to end well and hands its ids on; those."""
        made: dict[str, str] = {}
        for verb in verbs:
            ended = self.run(verb, **made)
            assert ended.code == 0, f"{verb} ended {ended.code}:\n{ended.text}"
            made |= {f"AML_{name.upper()}": ended.output(name) for name in HANDED_ON.get(verb, ())}
        return made

    def edit(self, path: str, old: str, new: str) -> str:
        """Change a file of the checkout; its text before."""
        text = (self.folder / path).read_text(encoding="utf-8")
        assert old in text, f"{path} has no {old!r}"
        (self.folder / path).write_text(text.replace(old, new), encoding="utf-8")
        return text


@dataclass
class Bench:
    """A world whose candidate waits at production's gate, and a folder for what its jobs check out and leave."""

    world: World
    place: Path
    run: int = 0  # the candidate's, by its id on the system
    made: dict[str, str] = field(default_factory=dict)  # what production's job gets of the jobs before it
    candidate: _act.Run = field(default_factory=_act.Run)
    passed: bool = False  # whether an administrator let the job begin, which Azure DevOps keeps to itself
    waiting: Rows = field(default_factory=dict)  # what the emulator had when the candidate waited
    entered: dict[str, list[str]] = field(default_factory=dict)  # and what the ledgers had
    other: Bench | None = None  # whose candidate waits as well
    _services: dict[str, BlobServiceClient] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def on_github(self) -> bool:
        """On which of the two systems this is."""
        return type(self.world).__name__ == "World"

    @property
    def commit(self) -> str:
        """The commit of the candidate."""
        return str(
            self.row("github_run", id=self.run)["head_sha"]
            if self.on_github
            else self.row("azure_devops_build", id=self.run)["sourceVersion"]
        )

    # --- the candidate ---

    def bring_to_the_gate(self, *edits: tuple[str, str, str], approve: Callable[[Gate], None], **release: Any) -> Rows:
        """Release a candidate, let `approve` attack it at production's gate, and then have it wait there as if nothing had happened.

        What the emulator had when the run was over.
        """
        gates: list[Gate] = []

        def wait(gate: Gate) -> None:
            self.waiting = self.rows()
            gates.append(gate)
            approve(gate)

        self.candidate = self.world.run(*edits, approve=wait, **release)
        assert self.candidate.results["share"] == "success", self.candidate.problems
        self.run = gates[0].run
        self.made = {f"AML_{name.upper()}": self.candidate.outputs[name] for name in ("bundle_id", "dossier_id")}
        over = self.rows()
        self.bring_back(self.waiting)
        self.remember()
        return over

    def remember(self) -> None:
        """What there is now is what every attack begins with."""
        self.waiting = self.rows()
        self.entered = {workspace: self.entries(workspace) for workspace in ("dev", "prod")}

    def another(self, *edits: tuple[str, str, str], job_name: str, model_version: str) -> Bench:
        """Another candidate that waits at the gate as well: sealed anew after edits, and shared by a run of its own."""
        self.world.commit(edits, {})
        project = self.world.place / "project"
        if self.on_github:
            github = _github.GitHub(self.world.emulator.home)
            run = github.begin(project, "release.yml", "push", "refs/heads/main", self.place).id
        else:
            pushed = {**_history.refs(project), "commits": _history.commits(project)}
            self.ask("/azure-devops/git", **AZURE_DEVOPS, repository=MODEL, **pushed)
            told = {"commit": _history.head(project), "repository": MODEL, "requested_for": address(INITIATOR)}
            run = self.ask(
                "/azure-devops/builds", **AZURE_DEVOPS, pipeline="release", reason="individualCI", branch="refs/heads/main", **told
            )["id"]
            stage = {"id": str(uuid.uuid4()), "type": "Stage", "name": "Production", "identifier": "production"}
            self.ask("/azure-devops/timeline", **AZURE_DEVOPS, build_id=run, records=[stage])
        made = Bench(self.world, self.place, run, _numbers=self._numbers)
        job = made.share()
        sealed = job.run("seal_bundle", AML_JOB_NAME=job_name, AML_MODEL_VERSION=model_version)
        job.env["AML_BUNDLE_ID"] = sealed.output("bundle_id")
        made.made = {"AML_BUNDLE_ID": sealed.output("bundle_id"), "AML_DOSSIER_ID": job.run_all(SHARE)["AML_DOSSIER_ID"]}
        made.asks()
        return made

    def asks(self) -> None:
        """Production's job of the run asks to begin, for the first time or again, and waits for an approval."""
        if self.on_github:
            body = {"name": "Production", "environment": "production", "permissions": PERMISSIONS}
            self.ask(f"/github/repos/{REPOSITORY}/runs/{self.run}/jobs", **body)
            return
        where = {**AZURE_DEVOPS, "build_id": self.run}
        group = f"[{AZURE_DEVOPS['project']}]\\{TEAM}"
        asked = self.ask("/azure-devops/approvals", **where, stage="production", environment="production", approvers=[group])
        timeline = json.loads(self.rows()[f"azure_devops/{self.project}/timelines/{self.run}"][2])["records"]
        stage = next(one["id"] for one in timeline if one["type"] == "Stage" and one["identifier"] == "production")
        point = {"id": str(uuid.uuid4()), "type": "Checkpoint", "name": "Checkpoint", "parentId": stage}
        approval = {"id": asked["id"], "type": "Checkpoint.Approval", "name": "Checkpoint.Approval", "parentId": point["id"]}
        self.ask("/azure-devops/timeline", **where, records=[point, approval])

    @property
    def asked(self) -> dict[str, Any]:
        """The last approval that the run asked for on Azure DevOps."""
        return self.all_asked[-1]

    @property
    def all_asked(self) -> list[dict[str, Any]]:
        """What the run asked for on Azure DevOps, oldest first: a stage asks for its environment and for its service connection."""
        found = [(order, json.loads(body)) for order, kind, body in self.rows().values() if kind == "azure_devops_approval"]
        mine = sorted((one for one in found if one[1]["pipeline"]["owner"]["id"] == self.run), key=lambda one: one[0])
        return [approval for _, approval in mine]

    @property
    def project(self) -> str:
        """The id of the project on Azure DevOps."""
        return str(self.row("azure_devops_build", id=self.run)["project"]["id"])

    def may_approve(self, *logins: str) -> None:
        """Let these people, and no others, be the release managers."""
        users = [{"login": login, "email": address(login)} for login in logins]
        if self.on_github:
            owner = REPOSITORY.partition("/")[0]
            team = {"slug": TEAM, "members": list(logins)}
            self.ask("/github", users=users, organizations=[{"login": owner, "teams": [team]}])
        else:
            groups = {f"[{AZURE_DEVOPS['project']}]\\{TEAM}": [one["email"] for one in users]}
            self.ask("/azure-devops/identities", **AZURE_DEVOPS, names=[], groups=groups)

    def bypass(self, who: str = OWNER, *, recorded: bool) -> None:
        """Start production's job past its gate, as an administrator; `recorded`: whether the system's API tells of it."""
        if self.on_github:
            environment = f"/repos/{REPOSITORY}/environments/production"
            self.rest("PUT", environment, {"can_admins_bypass": True})
            runs = f"/github/repos/{REPOSITORY}/runs/{self.run}/bypass"
            self.ask(runs, login=who, environments=["production"], comment="It is urgent.", recorded=recorded)
            self.rest("PUT", environment, {"can_admins_bypass": False})  # nobody would see it in the settings
        else:
            approval = self.asked["id"]
            said = {"approval_id": approval, "who": address(who), "comment": "It is urgent.", "recorded": recorded}
            self.ask("/azure-devops/approvals/bypass", **AZURE_DEVOPS, **said)
            self.passed = True

    def approve(self, who: str = APPROVER, comment: str = "The dossier is in order.") -> None:
        """Approve the candidate as a person (a login), as their system lets them."""
        if self.on_github:
            pending = f"/repos/{REPOSITORY}/actions/runs/{self.run}/pending_deployments"
            ids = [one["environment"]["id"] for one in self.rest("GET", pending)]
            self.rest("POST", pending, {"environment_ids": ids, "state": "approved", "comment": comment}, who=who)
        else:
            waiting = [one["id"] for one in self.all_asked if one["status"] == "pending"]
            decisions = [{"approvalId": id, "status": "approved", "comment": comment} for id in waiting]
            self.rest("PATCH", "pipelines/approvals", decisions, who=who)

    def rest(self, method: str, path: str, body: Any = None, who: str = OWNER) -> Any:
        """The system's REST API as a person; of Azure DevOps the project's."""
        if self.on_github:
            url = f"https://api.github.com{path}"
            headers = {"Authorization": f"Bearer {self.ask('/github/tokens', login=who)['token']}"}
            answer = self.world.emulator.admin.session.request(method, url, json=body, headers=headers, timeout=60)
        else:
            url = f"https://dev.azure.com/{AZURE_DEVOPS['organization']}/{AZURE_DEVOPS['project']}/_apis/{path}"
            url += f"{'&' if '?' in url else '?'}api-version=7.1"
            secret = self.ask("/azure-devops/tokens", user=address(who))["token"]
            session = self.world.emulator.admin.session
            session.headers.pop("Authorization", None)
            answer = session.request(method, url, json=body, auth=("", secret), timeout=60)
        assert answer.status_code < 300, f"{answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def ask(self, path: str, method: str = "POST", **body: Any) -> Any:
        """One of the emulator's own routes."""
        return self.world.emulator.ask(method, path, body or None)

    # --- jobs ---

    def production(self) -> Job:
        """Production's job, which begins once its environment lets it."""
        return self.job("production", "azureml-production", "Production")

    def share(self) -> Job:
        """The job before it, once more."""
        return self.job("share", "azureml-dev", "Share")

    def job(self, name: str, connection: str, title: str) -> Job:
        """A job of the candidate's run with what its engine gives it, a checkout and folders of its own."""
        place = self.place / f"{next(self._numbers)}-{name}"
        (place / "evidence").mkdir(parents=True)
        shutil.copytree(self._checkout(self.commit), place / "checkout")
        env = {**self.world.env, "PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": str(place)}
        env |= {"AML_PROJECT": ".", "AML_WORKSPACE": WORKSPACES[name], "AML_ENVIRONMENT": ENVIRONMENTS["production"], **self.made}
        env |= {"AML_EVIDENCE": str(place / "evidence"), "AML_STATEMENTS": str(place / "statements"), "AML_PROD_WORKSPACE": "prod"}
        env |= {"AML_FROM": "registry" if name == "production" else ""}
        said = self._on_github(name, title, place) if self.on_github else self._on_azure_devops(name, connection, place)
        return Job(env | said, place / "checkout")

    def _checkout(self, commit: str) -> Path:
        """The project at a commit, to be copied."""
        place = self.place / commit
        if not place.exists():
            subprocess.run(["git", "clone", "-q", str(self.world.place / "project"), str(place)], check=True)
            subprocess.run(["git", "-C", str(place), "reset", "-q", "--hard", commit], check=True)
        return place

    def _on_github(self, name: str, title: str, place: Path) -> dict[str, str]:
        """What a step sees on GitHub. https://docs.github.com/actions/reference/workflows-and-actions/variables"""
        runs = f"/github/repos/{REPOSITORY}/runs/{self.run}"
        run = self.row("github_run", id=self.run)
        waiting = [one for one in run["jobs"] if one["environment"] == ENVIRONMENTS[name] and one["state"] != "completed"]
        job = (
            self.ask(f"{runs}/jobs/{waiting[0]['id']}", "GET")
            if waiting
            else self.ask(f"{runs}/jobs", name=title, environment=ENVIRONMENTS[name], permissions=PERMISSIONS)
        )
        assert job["state"] == "in_progress", f"the environment does not let it begin: {job}"
        for file in COMMAND_FILES:
            (place / file).touch()
        claims = {
            "api-version": "2.0", "repository": REPOSITORY, "ref": run["ref"], "event_name": run["event"], "sha": run["head_sha"],
            "environment": ENVIRONMENTS[name], "job_workflow_ref": f"{_act.CATALOG}/.github/workflows/promote.yml@refs/tags/v0",
        }  # fmt: skip
        return {
            "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_API_URL": "https://api.github.com",
            "GITHUB_REPOSITORY": REPOSITORY, "GITHUB_RUN_ID": str(run["id"]), "GITHUB_RUN_ATTEMPT": str(run["run_attempt"]),
            "GITHUB_ACTOR": run["actor"], "GITHUB_TRIGGERING_ACTOR": run["triggering_actor"], "GITHUB_EVENT_NAME": run["event"],
            "GITHUB_REF": run["ref"], "GITHUB_REF_NAME": run["head_branch"], "GITHUB_SHA": run["head_sha"],
            "AML_GITHUB_TOKEN": job["token"], "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "act",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{_act.REQUEST_URL}?{urllib.parse.urlencode(claims)}",
            "RUNNER_TEMP": str(place), **{file: str(place / file) for file in COMMAND_FILES},
        }  # fmt: skip

    def _on_azure_devops(self, name: str, connection: str, place: Path) -> dict[str, str]:
        """What a step sees on Azure DevOps. https://learn.microsoft.com/azure/devops/pipelines/build/variables"""
        if name == "production":
            state = self.asked["status"]
            assert self.passed or state == "approved", f"the environment does not let it begin: {state}"
        build, known = self.row("azure_devops_build", id=self.run), self.row("azure_devops_connection", name=connection)
        job = self.ask("/azure-devops/jobs", **AZURE_DEVOPS, build_id=self.run, name=f"{name}.{name}", references=[known["id"]])
        return {
            "TF_BUILD": "True", "SYSTEM_COLLECTIONURI": f"https://dev.azure.com/{AZURE_DEVOPS['organization']}/",
            "SYSTEM_TEAMPROJECT": AZURE_DEVOPS["project"], "SYSTEM_TEAMPROJECTID": build["project"]["id"],
            "SYSTEM_STAGENAME": name, "SYSTEM_JOBNAME": name, "SYSTEM_JOBID": job["job_id"], "SYSTEM_PLANID": job["plan_id"],
            "SYSTEM_ACCESSTOKEN": job["access_token"], "SYSTEM_OIDCREQUESTURI": job["oidc_request_uri"],
            "BUILD_BUILDID": str(build["id"]), "BUILD_REASON": "IndividualCI", "BUILD_SOURCEBRANCH": build["sourceBranch"],
            "BUILD_SOURCEVERSION": build["sourceVersion"], "BUILD_REPOSITORY_NAME": MODEL, "BUILD_REPOSITORY_PROVIDER": "TfsGit",
            "BUILD_REQUESTEDFOR": build["requestedFor"]["displayName"], "BUILD_REQUESTEDFOREMAIL": build["requestedFor"]["uniqueName"],
            "AML_SERVICE_CONNECTION_ID": known["id"], "AZURE_CLIENT_SECRET": "", "AGENT_TEMPDIRECTORY": str(place),
        }  # fmt: skip

    # --- what is remembered ---

    def rows(self) -> Rows:
        """Every document of the emulator: all of Azure but the files, all of GitHub and Azure DevOps."""
        with contextlib.closing(self._database()) as database:
            return {id: (order, kind, body) for order, id, kind, body in database.execute("SELECT seq, id, type, body FROM documents")}

    def row(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """The last document of a type that has all that is wanted."""
        return self._last(kind, wanted)[2]

    def _last(self, kind: str, wanted: Mapping[str, Any]) -> tuple[str, int, dict[str, Any]]:
        found = [(id, order, json.loads(body)) for id, (order, of, body) in self.rows().items() if of == kind]
        return max((one for one in found if wanted.items() <= one[2].items()), key=lambda one: one[1])

    def bring_back(self, before: Rows) -> None:
        """Make the emulator's documents these again."""
        now = self.rows()
        with contextlib.closing(self._database()) as database:
            database.execute("BEGIN IMMEDIATE")
            database.executemany("DELETE FROM documents WHERE id = ?", [(id,) for id, row in now.items() if before.get(id) != row])
            missing = [(id, *row) for id, row in before.items() if now.get(id) != row]
            database.executemany("INSERT INTO documents (id, seq, type, body) VALUES (?, ?, ?, ?)", missing)
            database.execute("COMMIT")

    def rewrite(self, kind: str, change: Mapping[str, Any], **wanted: Any) -> dict[str, Any]:
        """Change the last document of a type that has all that is wanted, behind everybody's back; as it was before."""
        id, _, _ = self._last(kind, wanted)
        return self.rewrite_id(id, change)

    def rewrite_id(self, id: str, change: Mapping[str, Any]) -> dict[str, Any]:
        """Change a document; as it was before."""
        before: dict[str, Any] = json.loads(self.rows()[id][2])
        with contextlib.closing(self._database()) as database:
            database.execute("UPDATE documents SET body = ? WHERE id = ?", (json.dumps({**before, **change}), id))
        return before

    def _database(self) -> sqlite3.Connection:
        return sqlite3.connect(self.world.emulator.home / "state.sqlite", isolation_level=None, timeout=30)

    @contextlib.contextmanager
    def rewound(self) -> Iterator[None]:
        """What happens inside has not happened afterwards; of what is in storage, ledgers forget what was entered."""
        self.bring_back(self.waiting)
        try:
            yield
        finally:
            for workspace, known in self.entered.items():
                for path in set(self.entries(workspace)) - set(known):
                    container, _, name = path.partition("/")
                    self.container(self.account(workspace), container).delete_blob(name)
            self.bring_back(self.waiting)
            self.passed = False

    # --- storage ---

    def accounts(self) -> dict[str, str]:
        """The storage accounts and their keys."""
        return {json.loads(body)["name"]: json.loads(body)["key"] for _, kind, body in self.rows().values() if kind == "storage"}

    def container(self, account: str, name: str) -> ContainerClient:
        """A container, opened by the account's key: by somebody who owns it, or broke in."""
        return self._service(account).get_container_client(name)

    def files(self, account: str) -> dict[str, str]:
        """The ETag of every blob of an account but those of its ledger, by container and name."""
        containers = [one.name for one in self._service(account).list_containers() if one.name != ledger.CONTAINER]
        return {f"{name}/{blob.name}": str(blob.etag) for name in containers for blob in self.container(account, name).list_blobs()}

    def _service(self, account: str) -> BlobServiceClient:
        from azure.storage.blob import BlobServiceClient

        if account not in self._services:
            env = self.world.env
            more = {"proxies": {"https": env["HTTPS_PROXY"]}, "connection_verify": env["REQUESTS_CA_BUNDLE"]}
            self._services[account] = BlobServiceClient(f"https://{account}.blob.core.windows.net", self.accounts()[account], **more)
        return self._services[account]

    @contextlib.contextmanager
    def overwritten(self, account: str, path: str, change: Callable[[bytes], bytes | None]) -> Iterator[None]:
        """A blob as `change` leaves it (None: gone), and as it was afterwards."""
        container, _, name = path.partition("/")
        blob = self.container(account, container).get_blob_client(name)
        before, kept = blob.download_blob().readall(), blob.get_blob_properties().metadata
        after = change(before)
        assert after != before
        if after is None:
            blob.delete_blob()
        else:
            blob.upload_blob(after, overwrite=True, metadata=kept)
        try:
            yield
        finally:
            blob.upload_blob(before, overwrite=True, metadata=kept)

    def read(self, account: str, path: str) -> bytes:
        """What a blob holds."""
        container, _, name = path.partition("/")
        return bytes(self.container(account, container).download_blob(name).readall())

    def account(self, workspace: str) -> str:
        """The storage account of a workspace."""
        return f"st{self.world.spec(workspace)['workspace_name'].replace('-', '')[-22:]}"

    def entries(self, workspace: str) -> list[str]:
        """The paths of the entries of a workspace's ledger, in their order."""
        names = self.container(self.account(workspace), ledger.CONTAINER).list_blob_names(name_starts_with="entries/")
        return [f"{ledger.CONTAINER}/{name}" for name in sorted(names)]

    # --- production, byte for byte ---

    def live(self) -> dict[str, str]:
        """What an attack may not change: all below production's resource group, its files, and the registry's mark of what is live.

        Its ledger is left out: what was refused is entered there.
        """
        spec = self.world.spec("prod")
        group = f"/subscriptions/{spec['subscription_id']}/resourcegroups/{spec['resource_group']}/".lower()
        model = f"/registries/{spec['registry_name']}/models/{MODEL}"
        rows = self.rows()
        found = {id: body for id, (_, _, body) in rows.items() if id.startswith(group)}
        assert any("/deployments/" in id for id in found), "something is live"
        [mark] = [json.loads(body)["properties"] for id, (_, _, body) in rows.items() if id.endswith(model)]
        found["live"] = json.dumps(mark)  # without when it was last written: shift_traffic tries whether it may be, first of all
        return found | self.files(self.account("prod"))

    def refused(self, job: Job, verb: str, *words: str, lines: int = 1, **more: str) -> Ended:
        """Run a verb that has to refuse: exit 1, in one line (after `lines` - 1 others) that has all the words, production untouched."""
        before = self.live()
        ended = job.run(verb, **more)
        assert self.live() == before
        assert ended.code == 1, f"{verb} ended {ended.code}:\n{ended.text}"
        assert "Traceback" not in ended.text
        assert len(ended.errors) == lines, ended.errors
        for word in words:
            assert word in " ".join(ended.errors), f"{word!r} is not in {ended.errors}"
        return ended


def at(patch: pytest.MonkeyPatch, moment: datetime, *modules: str) -> None:
    """Let it be a moment (aware) in modules that ask `datetime` for the time."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return moment.astimezone(tz or timezone.utc)

    for name in modules:
        patch.setattr(sys.modules.get(name) or importlib.import_module(name), "datetime", Clock)
