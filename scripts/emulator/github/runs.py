"""Workflow runs, and the gates that their jobs wait at.

Sources: https://docs.github.com/rest/actions/workflow-runs and
https://docs.github.com/actions/reference/workflows-and-actions/deployments-and-environments. A job begins and ends through the
emulator's own routes, which is what the engine that runs it calls; who reviews it does so through GitHub's.

How GitHub records an administrator's bypass is not documented. Here it is a review by that administrator, with the comment that the
page asks for, or, with ``recorded`` switched off, none at all.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from emulator.github import accounts, deployments, environments, repositories
from emulator.github.errors import GitHubError, not_found, refused
from emulator.github.forms import API, WEB, next_number, node_id, number, stamp

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
WAITS_AT_MOST = dt.timedelta(days=30)


def key(repository: Document, id: int | str) -> str:
    return f"{repositories.key(repository['full_name'])}/runs/{id}"


def get(cloud: Cloud, repository: Document, id: int | str) -> Document:
    """Raises GitHub's 404."""
    found = cloud.store.get(key(repository, id))
    if found is None:
        raise not_found()
    return found


def listed(cloud: Cloud, repository: Document, query: dict[str, str]) -> list[Document]:
    """Newest first; ``actor``, ``branch``, ``event``, ``status`` (a conclusion too) and ``head_sha`` narrow them down."""
    found = cloud.store.list("github_run", under=repositories.key(repository["full_name"]))[::-1]
    for name, fields in (("actor", ("actor",)), ("branch", ("head_branch",)), ("event", ("event",)), ("head_sha", ("head_sha",)),
                         ("status", ("status", "conclusion"))):  # fmt: skip
        if query.get(name):
            found = [each for each in found if query[name] in [each[field] for field in fields]]
    return found


def create(cloud: Cloud, repository: Document, body: Document) -> Document:
    """A run that began. ``ref`` is the full ref; what is not given is a push to the default branch."""
    ref = body.get("ref") or f"refs/heads/{repository['default_branch']}"
    sha = body.get("head_sha") or repositories.resolve(cloud, repository, ref)
    if sha is None:
        raise GitHubError(422, f"No ref found for: {ref}")
    actor = body.get("actor") or repository["owner"]
    for login in {actor, body.get("triggering_actor") or actor}:
        if accounts.user(cloud, login) is None:
            accounts.save_user(cloud, login)
    path = body.get("path", ".github/workflows/release.yml")
    made = {
        "id": int(body.get("id") or next_number(cloud, "run", 30_000_000_001)), "name": body.get("name", "release"), "path": path,
        "ref": ref, "head_branch": ref.removeprefix("refs/heads/").removeprefix("refs/tags/"), "head_sha": sha,
        "event": body.get("event", "push"), "actor": actor, "triggering_actor": body.get("triggering_actor") or actor,
        "run_number": next_number(cloud, f"run_number/{repository['full_name']}/{path}"), "run_attempt": int(body.get("run_attempt", 1)),
        "display_title": body.get("display_title") or body.get("name", "release"), "status": "in_progress", "conclusion": None,
        "referenced_workflows": body.get("referenced_workflows") or [], "head_repository": body.get("head_repository"),
        "created_at": stamp(cloud), "updated_at": stamp(cloud), "reviews": [], "jobs": [], "attempts": {},
    }  # fmt: skip
    for earlier in range(1, made["run_attempt"]):  # of a run that is told of late
        made["attempts"][str(earlier)] = {"triggering_actor": actor, "run_started_at": made["created_at"]}
    return cloud.store.put(key(repository, made["id"]), "github_run", _attempted(cloud, made))


def again(cloud: Cloud, repository: Document, run: Document, login: str) -> Document:
    """Somebody runs jobs of it again, as the page of a run lets them: the same run, and what was reviewed stays, in another attempt."""
    if accounts.user(cloud, login) is None:
        accounts.save_user(cloud, login)
    run |= {"run_attempt": run["run_attempt"] + 1, "triggering_actor": login, "status": "in_progress", "conclusion": None}
    return save(cloud, repository, _attempted(cloud, run))


def _attempted(cloud: Cloud, run: Document) -> Document:
    """The run, with what is its own of the attempt that begins."""
    run["attempts"][str(run["run_attempt"])] = {"triggering_actor": run["triggering_actor"], "run_started_at": stamp(cloud)}
    return run


def attempt(run: Document, number: str) -> Document:
    """The run as it was in one of its attempts. Raises GitHub's 404. What became of an earlier one is not kept: it counts as completed."""
    found = run["attempts"].get(number)
    if found is None:
        raise not_found()
    ended = {} if int(number) == run["run_attempt"] else {"status": "completed"}
    return {**run, **found, **ended, "run_attempt": int(number)}


def save(cloud: Cloud, repository: Document, run: Document) -> Document:
    if run["conclusion"] is None:
        waiting = any(job["state"] == "waiting" for job in run["jobs"])
        active = any(job["state"] == "in_progress" for job in run["jobs"])
        run["status"] = "waiting" if waiting and not active else "in_progress"
    run["updated_at"] = stamp(cloud)
    return cloud.store.put(key(repository, run["id"]), "github_run", run)


def end(cloud: Cloud, repository: Document, run: Document, conclusion: str) -> Document:
    for job in run["jobs"]:
        if job["state"] in ("waiting", "in_progress"):
            end_job(cloud, repository, run, job, "cancelled")
    run |= {"status": "completed", "conclusion": conclusion}
    return save(cloud, repository, run)


# --- jobs ------------------------------------------------------------------------------------------------------------------------


def begin_job(cloud: Cloud, repository: Document, run: Document, body: Document) -> Document:
    """A job asks to start: it may, waits for its environment's gates, or is refused. A missing environment is made, unprotected."""
    name = str(body.get("environment") or "")
    job: Document = {
        "id": next_number(cloud, "job", 60_000_000_001), "name": body.get("name", "job"), "environment": name, "state": "in_progress",
        "reason": "", "deployment": None, "since": cloud.now().timestamp(), "permissions": body.get("permissions") or {},
        "open": [], "decided": {},
    }  # fmt: skip
    run["jobs"].append(job)
    if name:
        found = environments.ensure(cloud, repository, name)
        job["environment"] = found["name"]
        if not environments.admits(repository, found, run["ref"]):
            kind = "Tag" if run["ref"].startswith("refs/tags/") else "Branch"
            job |= {
                "state": "completed",
                "conclusion": "failure",
                "reason": f'{kind} "{run["head_branch"]}" is not allowed to deploy to {found["name"]} due to environment protection rules.',
            }
        else:
            made = {"ref": run["head_branch"], "environment": found["name"]}
            job["deployment"] = deployments.create(cloud, repository, made, accounts.BOT, run["head_sha"])["id"]
            job["open"] = _gates(cloud, repository, found)
            job["state"] = "waiting" if job["open"] else "in_progress"
            _note(cloud, repository, run, job, job["state"])
    save(cloud, repository, run)
    return advance(cloud, repository, run, job)


def _gates(cloud: Cloud, repository: Document, environment: Document) -> list[str]:
    """What a job with this environment has to wait for."""
    gates = []
    if environments.enforced(cloud, repository):
        if environment["wait_timer"]:
            gates.append("wait_timer")
        if environment["reviewers"]:
            gates.append("required_reviewers")
        gates += [f"app/{rule['app']['id']}" for rule in environment["rules"]]
    return gates


def advance(cloud: Cloud, repository: Document, run: Document, job: Document) -> Document:
    """The job as it is now: a wait may be over, and after 30 days it has failed."""
    if job["state"] == "waiting":
        waited = cloud.now().timestamp() - job["since"]
        environment = environments.ensure(cloud, repository, job["environment"])
        if "wait_timer" in job["open"] and waited >= 60 * environment["wait_timer"]:
            job["open"].remove("wait_timer")
        if not job["open"]:
            job["state"] = "in_progress"
            _note(cloud, repository, run, job, "in_progress")
        elif waited > WAITS_AT_MOST.total_seconds():
            expire(cloud, repository, run, job)
        save(cloud, repository, run)
    return job


def expire(cloud: Cloud, repository: Document, run: Document, job: Document) -> Document:
    """Nobody decided for as long as GitHub waits."""
    job["reason"] = "The job was not approved within 30 days."
    return end_job(cloud, repository, run, job, "failure")


def _note(cloud: Cloud, repository: Document, run: Document, job: Document, state: str) -> None:
    if job["deployment"]:
        deployment = deployments.get(cloud, repository, job["deployment"])
        page = f"{WEB}/{repository['full_name']}/actions/runs/{run['id']}/job/{job['id']}"
        deployments.add_status(cloud, repository, deployment, {"state": state, "log_url": page}, accounts.BOT)


def job(cloud: Cloud, repository: Document, run: Document, id: int | str) -> Document:
    """Raises GitHub's 404."""
    found = next((each for each in run["jobs"] if str(each["id"]) == str(id)), None)
    if found is None:
        raise not_found()
    return advance(cloud, repository, run, found)


def end_job(cloud: Cloud, repository: Document, run: Document, found: Document, conclusion: str) -> Document:
    """A job ended: its token with it."""
    found |= {"state": "completed", "conclusion": conclusion}
    _note(cloud, repository, run, found, {"success": "success", "cancelled": "inactive", "skipped": "inactive"}.get(conclusion, "failure"))
    accounts.forget_tokens(cloud, found["id"])
    save(cloud, repository, run)
    return found


def token(cloud: Cloud, repository: Document, run: Document, found: Document) -> str:
    """The job's GITHUB_TOKEN, with the permissions that it declares; it may always read the repository's metadata."""
    permissions = {**found["permissions"], "metadata": "read"}
    return accounts.save_token(
        cloud, "workflow", accounts.BOT, permissions=permissions, repositories=[repository["full_name"]], job=found["id"], run=run["id"],
        lifetime=24 * 3600,
    )  # fmt: skip


# --- reviews ---------------------------------------------------------------------------------------------------------------------


def pending(cloud: Cloud, repository: Document, run: Document, login: str) -> list[Document]:
    """The environments that jobs of the run wait for."""
    found = []
    for each in run["jobs"]:
        if advance(cloud, repository, run, each)["state"] != "waiting":
            continue
        environment = environments.ensure(cloud, repository, each["environment"])
        since = dt.datetime.fromtimestamp(each["since"], dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        found.append(
            {
                "environment": environments.short(repository, environment),
                "wait_timer": environment["wait_timer"],
                "wait_timer_started_at": since if environment["wait_timer"] else None,
                "current_user_can_approve": bool(login) and _can_approve(cloud, run, environment, login),
                "reviewers": environments.reviewers_of(cloud, environment),
            }
        )
    return found


def _can_approve(cloud: Cloud, run: Document, environment: Document, login: str) -> bool:
    """A reviewer may, but for one who started the run where that is barred."""
    started = {run["actor"].lower(), run["triggering_actor"].lower()}
    return environments.may_review(cloud, environment, login) and not (environment["prevent_self_review"] and login.lower() in started)


def review(cloud: Cloud, repository: Document, run: Document, body: Document, login: str) -> list[Document]:
    """Approve or reject the jobs that wait for some environments; their deployments. Raises GitHub's 422."""
    for name in ("environment_ids", "state", "comment"):
        if name not in body:
            raise refused(f'"{name}" wasn\'t supplied.')
    if body["state"] not in ("approved", "rejected"):
        raise refused(f'"{body["state"]}" is not a member of ["approved", "rejected"].')
    ids = body["environment_ids"]
    if not isinstance(ids, list) or not ids or not all(isinstance(id, int) for id in ids):
        raise refused("For 'properties/environment_ids', an array of integers is expected.")
    chosen = [environments.by_id(cloud, repository, id) for id in ids]
    decided = []
    for environment in chosen:
        waiting = [
            each
            for each in run["jobs"]
            if environment
            and each["environment"].lower() == environment["name"].lower()
            and "required_reviewers" in advance(cloud, repository, run, each)["open"]
            and each["state"] == "waiting"
        ]
        if not environment or not waiting:
            raise _problem("There are no pending deployment requests to approve or reject")
        if not _can_approve(cloud, run, environment, login):
            raise _problem(f"{login} cannot approve or reject deployments to {environment['name']}")
        decided += [(environment, each) for each in waiting]
    with cloud.store.transaction():
        _record(cloud, run, [each for each in chosen if each], body["state"], login, str(body["comment"]))
        for _, each in decided:
            _settle(cloud, repository, run, each, "required_reviewers", body["state"])
    return [deployments.get(cloud, repository, each["deployment"]) for _, each in decided]


def _problem(text: str) -> GitHubError:
    return GitHubError(422, "There was a problem approving one of the gates", [text])


def _record(cloud: Cloud, run: Document, chosen: list[Document], state: str, login: str, comment: str) -> None:
    run["reviews"].append(
        {"environments": [each["name"] for each in chosen], "state": state, "user": login, "comment": comment, "at": stamp(cloud)}
    )


def _settle(cloud: Cloud, repository: Document, run: Document, found: Document, gate: str, state: str) -> None:
    """One gate of a waiting job has decided."""
    if gate in found["open"]:
        found["open"].remove(gate)
    found["decided"][gate] = state
    if state == "rejected":
        found["reason"] = "The deployment was rejected or did not satisfy other protection rules."
        end_job(cloud, repository, run, found, "failure")
    else:
        advance(cloud, repository, run, found)
    save(cloud, repository, run)


def decide(cloud: Cloud, repository: Document, run: Document, body: Document, app_id: int) -> None:
    """What the app of a custom protection rule answers for the jobs that wait for it. Raises GitHub's 422."""
    for name in ("environment_name", "state"):
        if name not in body:
            raise refused(f'"{name}" wasn\'t supplied.')
    if body["state"] not in ("approved", "rejected"):
        raise refused(f'"{body["state"]}" is not a member of ["approved", "rejected"].')
    if len(str(body.get("comment") or "")) > 1024:
        raise refused("The comment is too long (maximum is 1024 characters).")
    gate = f"app/{app_id}"
    waiting = [
        each
        for each in run["jobs"]
        if each["environment"].lower() == str(body["environment_name"]).lower() and gate in each["open"] and each["state"] == "waiting"
    ]
    if not waiting:
        raise GitHubError(422, "There are no pending custom deployment protection rules of this app for the run.")
    for each in waiting:
        _settle(cloud, repository, run, each, gate, body["state"])


def bypass(cloud: Cloud, repository: Document, run: Document, names: list[str], login: str, comment: str, recorded: bool) -> None:
    """An administrator starts waiting jobs, as the page of a run lets them. Raises 403 where that is barred."""
    if repositories.role(cloud, repository, login) != "admin":
        raise GitHubError(403, "Must have admin rights to Repository.")
    chosen = [environments.get(cloud, repository, name) for name in names]
    for environment in chosen:
        if not environment["can_admins_bypass"]:
            raise GitHubError(403, f"Administrators may not bypass the protection rules of {environment['name']}.")
    with cloud.store.transaction():
        if recorded:
            _record(cloud, run, chosen, "approved", login, comment)
        for each in run["jobs"]:
            if each["state"] == "waiting" and each["environment"].lower() in [one["name"].lower() for one in chosen]:
                each["open"] = []
                advance(cloud, repository, run, each)
        save(cloud, repository, run)


def approvals(cloud: Cloud, repository: Document, run: Document) -> list[Document]:
    """Who reviewed the run's environments. An environment that is gone is left out."""
    found = []
    for each in run["reviews"]:
        held = [one for name in each["environments"] if (one := cloud.store.get(environments.key(repository, name)))]
        shown = [{**environments.short(repository, one), "created_at": one["created_at"], "updated_at": one["updated_at"]} for one in held]
        user = accounts.shown_user(cloud, each["user"])
        found.append({"state": each["state"], "comment": each["comment"], "environments": shown, "user": user})
    return found


def shown(cloud: Cloud, repository: Document, run: Document) -> Document:
    url, page = (
        f"{API}/repos/{repository['full_name']}/actions/runs/{run['id']}",
        f"{WEB}/{repository['full_name']}/actions/runs/{run['id']}",
    )
    commit = cloud.store.get(f"{repositories.key(repository['full_name'])}/commits/{run['head_sha']}")
    people = {part: {what: commit[part][what] for what in ("name", "email")} for part in ("author", "committer")} if commit else {}
    head = cloud.store.get(repositories.key(run["head_repository"])) if run["head_repository"] else repository
    workflow = number(f"{repository['full_name']}/{run['path']}")
    return {
        **{name: run[name] for name in ("id", "name")},
        "node_id": node_id("WorkflowRun", run["id"]),
        **{name: run[name] for name in ("head_branch", "head_sha", "path", "display_title", "run_number", "event", "status", "conclusion")},
        "workflow_id": workflow,
        "check_suite_id": number(f"suite {run['id']}"),
        "url": url,
        "html_url": page,
        "pull_requests": [],
        "created_at": run["created_at"],
        "updated_at": run["updated_at"],
        "actor": accounts.shown_user(cloud, run["actor"]),
        "run_attempt": run["run_attempt"],
        "referenced_workflows": run["referenced_workflows"],
        "run_started_at": run["attempts"][str(run["run_attempt"])]["run_started_at"],
        "previous_attempt_url": f"{url}/attempts/{before}" if str(before := run["run_attempt"] - 1) in run["attempts"] else None,
        "triggering_actor": accounts.shown_user(cloud, run["triggering_actor"]),
        "jobs_url": f"{url}/jobs",
        "logs_url": f"{url}/logs",
        "artifacts_url": f"{url}/artifacts",
        "workflow_url": f"{API}/repos/{repository['full_name']}/actions/workflows/{workflow}",
        "head_commit": {
            "id": run["head_sha"], "tree_id": commit["tree"], "message": commit["message"],
            "timestamp": commit["committer"]["date"], **people,
        } if commit else None,
        "repository": repositories.short(cloud, repository),
        "head_repository": repositories.short(cloud, head) if head else None,
    }  # fmt: skip
