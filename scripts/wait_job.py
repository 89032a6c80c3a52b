"""Wait until a job has ended, showing the logs of it and its steps as they grow, and say why it failed if it did.

Bounded: at the limit the job is cancelled or left running, as asked (exit code 3); waiting again by its name resumes. An interrupted wait
does the same at once.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError

from aml import ci, command, evidence, spec, workspace
from aml.azure import Client, dataplane, management
from aml.command import LimitReached, Refusal
from aml.identity import sign_in
from aml.jobs import ENDED, status
from aml.logs import Logs
from aml.runs import Follower

NOT_RESPONDING_MINUTES = 15  # a node that lost its network for a moment comes back; one that is gone does not
CANCEL_MINUTES = 10
SAID = {
    "NotResponding": "Azure has had no sign of life from it lately",
    "Paused": "Azure has paused it, and goes on when it can",
    "Unknown": "Azure says no status",
}


def minutes(text: str) -> float:
    """A number of minutes, more than 0."""
    found = float(text)
    if not 0 < found < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes, more than 0")
    return found


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__)
    command.argument(made, "--job-name", type=command.identifier, required=True, help="Name of the job, as submit_job says it.")
    evidence.argument(made)
    command.argument(made, "--limit-minutes", type=minutes, help="How long to wait; train.wait.limit_minutes in release.yml if not given.")
    command.argument(
        made, "--at-limit", choices=["cancel", "detach"], help="What then happens to the job; train.wait.at_limit if not given."
    )
    return made


def main(argv: list[str] | None = None) -> int:
    given = parser().parse_args(argv)
    started = evidence.now()
    at = workspace.load(given.project, given.workspace)
    wait = spec.release(given.project)["train"]["wait"]
    credential = sign_in(at)
    client = management(at, credential)
    job = client.find(f"jobs/{given.job_name}")
    if job is None:
        raise Refusal(
            f"There is no job {given.job_name} in workspace {at.name}", "It was deleted, or never submitted", "submit it with submit_job"
        )
    history = dataplane(at, credential, client.get()["location"], "history/v1.0")
    follower = Follower(history, given.job_name, Logs(given.evidence, "wait_job", at.name))
    ended = status(job)
    if ended == "Completed":
        ci.say(f"unchanged  job {given.job_name} had completed already")
    elif ended in ENDED:
        follower.look(logs=False)
    else:
        limit = given.limit_minutes or wait["limit_minutes"]
        ended = until_ended(client, follower, given.job_name, limit, given.at_limit or wait["at_limit"])
    ci.output("job_status", ended)
    keep(given.evidence, at.name, job, given.job_name, ended, started)
    if ended != "Completed":
        raise not_completed(follower, given.job_name, ended)
    return 0


def keep(folder: Path, at: str, job: dict[str, Any], name: str, ended: str, started: str) -> None:
    """Leave evidence of how a job of ours ended; one that submit_job did not submit has no content key to be told by."""
    key = (job["properties"].get("properties") or {}).get("content_key")
    if key:
        verdict = "passed" if ended == "Completed" else "failed"
        facts = {"job": name, "status": ended}
        statement = evidence.statement(evidence.about_job(name, key), "wait_job", verdict, workspace=at, started=started, facts=facts)
        evidence.write(folder, statement)


def until_ended(client: Client, follower: Follower, name: str, limit_minutes: float, at_limit: str) -> str:
    """The status with which a job ended. Raises LimitReached, Refusal if it vanishes or stops responding for good."""
    ends = time.monotonic() + 60 * limit_minutes
    pause, silent_since, last = 0.25, 0.0, ""
    try:
        while True:
            moved = follower.look()
            now, state = time.monotonic(), follower.top.status
            if state != last:
                follower.say(f"job {name}: {state}{', ' + SAID[state] if state in SAID else ''}")
                last, silent_since = state, now
            if state in ENDED:
                return state
            if state == "NotResponding" and now - silent_since > 60 * NOT_RESPONDING_MINUTES:
                return state
            if now >= ends:
                break
            pause = 0.25 if moved else min(1.5 * pause, 15)
            time.sleep(max(0.0, min(pause, ends - now)))
    except ResourceNotFoundError as error:
        raise Refusal(
            f"Job {name} is gone", "It was there when the wait began, and has been deleted since", "submit it again with submit_job"
        ) from error
    except KeyboardInterrupt:
        follower.say("")
        leave(client, name, at_limit)
        raise
    what = f"Job {name} has not ended within {limit_minutes:g} minutes"
    if at_limit == "detach":
        raise LimitReached(what, f"It is {follower.top.status} and goes on", f"run wait_job again with --job-name {name} to go on waiting")
    return cancelled(client, follower, name, what)


def cancelled(client: Client, follower: Follower, name: str, what: str) -> str:
    """Cancel a job and wait for its end; the status, if it completed meanwhile. Raises LimitReached."""
    follower.say(f"{what}; cancelling it")
    client.post(f"jobs/{name}/cancel")
    ends, pause = time.monotonic() + 60 * CANCEL_MINUTES, 0.25
    while follower.top.status not in ENDED and time.monotonic() < ends:
        time.sleep(pause)
        pause = min(1.5 * pause, 15)
        follower.look()
    state = follower.top.status
    if state == "Completed":
        return state
    ci.output("job_status", state)
    after = "It was cancelled" if state in ENDED else f"It was told to cancel {CANCEL_MINUTES} minutes ago and is {state}"
    raise LimitReached(what, after, "raise train.wait.limit_minutes in .cloud/release.yml, or set at_limit: detach; then submit it again")


def leave(client: Client, name: str, at_limit: str) -> None:
    """The wait was interrupted: cancel the job without waiting for its end, or let it run. There are only seconds for this."""
    resume = f"submit_job finds it again, and wait_job --job-name {name} goes on waiting"
    if at_limit == "detach":
        ci.warning(f"The wait was interrupted; job {name} goes on. {resume}.")
        return
    try:
        client.post(f"jobs/{name}/cancel")
        ci.warning(f"The wait was interrupted; job {name} was told to cancel.")
    except AzureError as error:
        ci.warning(f"The wait was interrupted, and job {name} could not be cancelled ({error.message}): {resume}.")


def not_completed(follower: Follower, name: str, ended: str) -> Refusal:
    """Why a job did not complete, after printing the last lines of what failed."""
    if ended == "Canceled":
        return Refusal(f"Job {name} was cancelled", "Somebody or something else cancelled it", "submit it again with submit_job")
    if ended == "NotResponding":
        why = f"Azure has had no sign of life from it for {NOT_RESPONDING_MINUTES} minutes"
        return Refusal(f"Job {name} stopped responding", why, "cancel it, then submit it again with submit_job")
    failed = follower.failed()
    deepest = failed[0] if failed else follower.top
    for log, lines in follower.tail(deepest):
        with ci.group(f"{deepest.title}: the last lines of {log}"):
            ci.say("\n".join(lines))
    step = f" in step {deepest.title}" if deepest is not follower.top else ""
    return Refusal(
        f"Job {name} failed{step}",
        deepest.error or follower.top.error or "Azure says no reason",
        "see the lines above and correct the code",
    )


if __name__ == "__main__":
    command.run(main)
