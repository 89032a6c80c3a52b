"""What GitHub itself, its web pages and a workflow engine do: routes of the emulator's own, which GitHub does not have."""

from __future__ import annotations

from typing import Any

from emulator.admin import let_in
from emulator.core import Call, Reply
from emulator.errors import AzureError
from emulator.github import accounts, issues, repositories, runs
from emulator.github.errors import GitHubError

Document = dict[str, Any]


def _body(call: Call) -> Document:
    let_in(call)
    body = call.body or {}
    if not isinstance(body, dict):
        raise AzureError(400, "BadSeed", "a JSON object is expected")
    return body


def _repository(call: Call) -> Document:
    return _found(lambda: repositories.get(call.cloud, call.params["owner"], call.params["repo"]), "repository")


def _run(call: Call) -> tuple[Document, Document]:
    repository = _repository(call)
    return repository, _found(lambda: runs.get(call.cloud, repository, call.params["run"]), "run")


def _found(find: Any, what: str) -> Document:
    try:
        found: Document = find()
    except GitHubError as error:
        raise AzureError(error.status, "BadSeed", f"there is no such {what}") from None
    return found


def _done(call: Call, work: Any) -> Any:
    """What the work gives; GitHub's refusal, or a field that is not one, as the emulator's own error."""
    try:
        with call.cloud.store.transaction():
            return work()
    except GitHubError as error:
        raise AzureError(error.status, "BadSeed", " ".join([error.message, *map(str, error.errors)])) from None
    except (TypeError, KeyError) as error:
        raise AzureError(400, "BadSeed", f"{type(error).__name__}: {error}") from None


async def seed(call: Call) -> Any:
    """Organizations, users, teams and repositories with branches, tags and commits; what is there already is changed."""
    body = _body(call)

    def work() -> Document:
        cloud = call.cloud
        for each in body.get("users", ()):
            accounts.save_user(cloud, **({"login": each} if isinstance(each, str) else each))
        for each in body.get("organizations", ()):
            given = dict(each)
            teams = given.pop("teams", ())
            accounts.save_organization(cloud, **given)
            for team in teams:
                accounts.save_team(cloud, given["login"], **team)
        for each in body.get("repositories", ()):
            given = dict(each)
            commits = given.pop("commits", ())
            for commit in commits:
                if login := (commit.get("author") or {}).get("login"):
                    accounts.save_user(cloud, login)
            repositories.add_commits(cloud, repositories.save(cloud, **given), commits)
        return {"documents": {kind: count for kind, count in cloud.store.counts().items() if kind.startswith("github_")}}

    return _done(call, work)


async def add_token(call: Call) -> Any:
    """A token: ``kind`` user (login, scopes) or app (login of its bot, permissions, repositories, app_id)."""
    body = _body(call)
    kind = body.pop("kind", "user")
    if kind not in ("user", "app", "workflow"):
        raise AzureError(400, "BadSeed", f"a token is a user's, an app's or a workflow's, not '{kind}'")
    if kind == "user":
        body.setdefault("scopes", ["repo", "read:org"])

    def work() -> Document:
        login = body.pop("login", accounts.BOT)
        accounts.save_user(call.cloud, login, **({"type": "Bot"} if kind == "app" else {})) if login != accounts.BOT else None
        if kind == "app":
            body.setdefault("app_id", accounts.need_user(call.cloud, login)["id"])
        return {"token": accounts.save_token(call.cloud, kind, login, **body)}

    return _done(call, work)


async def begin_run(call: Call) -> Any:
    """A workflow run began."""
    body, repository = _body(call), _repository(call)
    return Reply(201, runs.shown(call.cloud, repository, _done(call, lambda: runs.create(call.cloud, repository, body))))


async def begin_attempt(call: Call) -> Any:
    """Somebody, by ``login``, runs jobs of a workflow run again."""
    body, (repository, run) = _body(call), _run(call)
    return Reply(201, runs.shown(call.cloud, repository, _done(call, lambda: runs.again(call.cloud, repository, run, body["login"]))))


async def end_run(call: Call) -> Any:
    """A workflow run ended, with a ``conclusion``; its jobs that still wait or run are cancelled."""
    body, (repository, run) = _body(call), _run(call)
    return runs.shown(call.cloud, repository, _done(call, lambda: runs.end(call.cloud, repository, run, body["conclusion"])))


async def begin_job(call: Call) -> Any:
    """A job asks to start: ``name``, ``environment``, ``permissions``."""
    body, (repository, run) = _body(call), _run(call)
    return Reply(201, _job(call, repository, run, _done(call, lambda: runs.begin_job(call.cloud, repository, run, body))))


async def get_job(call: Call) -> Any:
    """Whether a job may start by now."""
    let_in(call)
    repository, run = _run(call)
    return _job(call, repository, run, _found(lambda: runs.job(call.cloud, repository, run, call.params["job"]), "job"))


def _job(call: Call, repository: Document, run: Document, job: Document) -> Document:
    """A job as its engine is told of it, with a token once it runs."""
    shown = {name: job[name] for name in ("id", "name", "environment", "state", "reason", "deployment", "open")}
    if job["state"] == "in_progress":
        shown["token"] = runs.token(call.cloud, repository, run, job)
    return {**shown, "conclusion": job.get("conclusion")}


async def end_job(call: Call) -> Any:
    """A job ended, with a ``conclusion``; its token ends with it. ``expired`` is one that waited in vain for its gate."""
    body, (repository, run) = _body(call), _run(call)
    job = _found(lambda: runs.job(call.cloud, repository, run, call.params["job"]), "job")
    end = runs.expire if body.get("conclusion") == "expired" else lambda *given: runs.end_job(*given, body["conclusion"])
    return _job(call, repository, run, _done(call, lambda: end(call.cloud, repository, run, job)))


async def bypass(call: Call) -> Any:
    """An administrator starts waiting jobs from the page of the run: ``login``, ``environments``, ``comment``, ``recorded``."""
    body, (repository, run) = _body(call), _run(call)
    names, login, comment = body.get("environments") or [], str(body.get("login")), str(body.get("comment", ""))
    _done(call, lambda: runs.bypass(call.cloud, repository, run, names, login, comment, bool(body.get("recorded", True))))
    return runs.shown(call.cloud, repository, run)


async def merge(call: Call) -> Any:
    """A pull request was merged as a commit: ``sha``, ``login``."""
    body, repository = _body(call), _repository(call)
    issue = _found(lambda: issues.get(call.cloud, repository, call.params["number"], pull=True), "pull request")
    merged = _done(call, lambda: issues.merged(call.cloud, repository, issue, body["sha"], body["login"]))
    return issues.shown_pull(call.cloud, repository, merged)
