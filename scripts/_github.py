"""The emulated GitHub, told of the runs that act does for it, as GitHub's own runners tell it; people decide there over its REST API."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _history
from _gate import INITIATOR, OWNER, REPOSITORY, Approve, Gate, Refused, release_manager
from emulator import cli
from emulator.client import Administrator

API = f"https://api.github.com/repos/{REPOSITORY}"

Document = dict[str, Any]


@dataclass
class GitHub:
    """GitHub as the emulator with this `home` plays it.

    `actor` starts the run. `approve` is called, in a thread of its own, for each environment at whose gate the run waits; whoever else
    may decide has `patience` seconds more, and then the run has waited for 30 days in vain.
    """

    home: Path
    approve: Approve = release_manager
    actor: str = INITIATOR
    patience: float = 0.0
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)

    def begin(self, project: Path, workflow: str, event: str, ref: str, artifacts: Path) -> Run:
        """Push the project's commits and begin a run of the last one."""
        sha = _history.head(project)
        pushed = {"full_name": REPOSITORY, **_history.refs(project), "commits": _history.commits(project)}
        cli.request(self.home, "POST", "/github", {"repositories": [pushed]})
        body = {
            "name": workflow.removesuffix(".yml"), "path": f".github/workflows/{workflow}", "ref": ref, "head_sha": sha, "event": event,
            "actor": self.actor,
        }  # fmt: skip
        made = cli.request(self.home, "POST", f"/github/repos/{REPOSITORY}/runs", body)
        return Run(self, made, artifacts)

    def rest(self, method: str, path: str, body: Any = None, *, who: str) -> Any:
        """The REST API of the repository, as a person. Raises Refused with GitHub's words."""
        if who not in self._tokens:
            self._tokens[who] = cli.request(self.home, "POST", "/github/tokens", {"login": who})["token"]
        session = Administrator(self.home).session
        headers = {"Authorization": f"Bearer {self._tokens[who]}", "Accept": "application/vnd.github+json"}
        answer = session.request(method, f"{API}/{path}", headers=headers, json=body, timeout=60)
        if answer.status_code >= 400:
            said = answer.json()
            raise Refused(f"{answer.status_code} " + " ".join([said["message"], *map(str, said.get("errors", []))]))
        return answer.json() if answer.content else None


class Run:
    """One run as GitHub knows it."""

    def __init__(self, github: GitHub, made: Document, artifacts: Path) -> None:
        self.id, self.number, self.attempt = made["id"], made["run_number"], made["run_attempt"]
        self.errors: list[BaseException] = []  # of whoever was to decide
        self._github, self._page, self._artifacts = github, made["html_url"], artifacts
        self._path = f"/github/repos/{REPOSITORY}/runs/{made['id']}"
        self._jobs: dict[str, int] = {}
        self._over = threading.Event()

    @property
    def env(self) -> dict[str, str]:
        """What jobs see of it."""
        said = {"RUN_ID": self.id, "RUN_NUMBER": self.number, "RUN_ATTEMPT": self.attempt, "TRIGGERING_ACTOR": self._github.actor}
        return {f"GITHUB_{name}": str(value) for name, value in said.items()}

    def begin_job(self, key: str, asked: Document, answer: Callable[[Document], None]) -> None:
        """A job asks to start. `answer` gets the job, at once or when its gate has been decided, with its token if it may."""
        body = {name: asked[name] for name in ("name", "environment", "permissions")}
        job = cli.request(self._github.home, "POST", f"{self._path}/jobs", body)
        self._jobs[key] = job["id"]
        if job["state"] == "waiting":
            threading.Thread(target=self._wait, args=(job, answer), daemon=True).start()
        else:
            answer(job)

    def end_job(self, key: str, conclusion: str) -> None:
        """A job ended, and its token with it; one that GitHub ended itself stays as it is."""
        if key in self._jobs and self._job(self._jobs[key])["state"] != "completed":
            self._ended(self._jobs[key], "cancelled" if self._over.is_set() and conclusion != "success" else conclusion)

    def cancel(self) -> None:
        """From now on nothing waits, and what does not succeed was cancelled."""
        self._over.set()

    def end(self, conclusion: str) -> None:
        """The run ended: success, failure or cancelled."""
        self._over.set()
        cli.request(self._github.home, "PATCH", self._path, {"conclusion": conclusion})

    def _wait(self, job: Document, answer: Callable[[Document], None]) -> None:
        """In a thread of its own: until somebody has decided, nobody will, or the run is over."""
        try:
            self._github.approve(self._gate(job))
            until = time.monotonic() + self._github.patience
            while self._waits(job["id"]) and time.monotonic() < until:
                time.sleep(0.05)
            if self._waits(job["id"]):
                self._ended(job["id"], "expired")
            job = self._job(job["id"])
        except BaseException as error:
            self.errors.append(error)
            job = {**job, "state": "completed", "reason": f"{type(error).__name__}: {error}"}
        answer(job)

    def _waits(self, id: int) -> bool:
        return not self._over.is_set() and self._job(id)["state"] == "waiting"

    def _gate(self, job: Document) -> Gate:
        pending = f"actions/runs/{self.id}/pending_deployments"
        (found,) = [
            one for one in self._github.rest("GET", pending, who=OWNER) if one["environment"]["name"].lower() == job["environment"].lower()
        ]

        def decide(who: str, state: str, comment: str) -> None:
            body = {"environment_ids": [found["environment"]["id"]], "state": state, "comment": comment}
            self._github.rest("POST", pending, body, who=who)

        def overrule(who: str, comment: str, recorded: bool) -> None:
            body = {"login": who, "environments": [job["environment"]], "comment": comment, "recorded": recorded}
            try:
                cli.request(self._github.home, "POST", f"{self._path}/bypass", body)
            except cli.Problem as problem:
                raise Refused(str(problem)) from problem

        asked = tuple(str(one["reviewer"].get("slug") or one["reviewer"]["login"]) for one in found["reviewers"])
        return Gate(
            run=self.id, job=job["name"], environment=job["environment"], asked=asked, page=self._page, artifacts=self._artifacts,
            open=lambda: self._waits(job["id"]), decide=decide, overrule=overrule,
        )  # fmt: skip

    def _job(self, id: int) -> Document:
        found: Document = cli.request(self._github.home, "GET", f"{self._path}/jobs/{id}")
        return found

    def _ended(self, id: int, conclusion: str) -> None:
        cli.request(self._github.home, "PATCH", f"{self._path}/jobs/{id}", {"conclusion": conclusion})
