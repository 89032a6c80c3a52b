"""Break the glass for one bundle in one run: open the issue of the review afterwards, then declare the emergency with its reason.

It goes no further than the gate allows (break_glass in .cloud/gates.yml); without that it refuses. What is waived then, and what never
is, stands in aml/break_glass.py. The issue is one of GitHub's, or a work item of Azure DevOps. The statement counts once record_evidence
has signed it, in the same run. Killed on the way and run again, it goes on with the issue that is open.
"""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from aml import after_review, azure, break_glass, bundle, ci, command, evidence, gates, holds, identity, signing, spec, workspace
from aml.after_review import Emergency, Review
from aml.command import Refusal
from aml.identity import SCOPE


def terms(project: Path, environment: str) -> tuple[dict[str, Any], int]:
    """The environment's gate, and within how many hours a broken glass is reviewed. Raises Refusal where it may never be broken."""
    _, (gate,) = gates.load(project, environment)
    if not (found := break_glass.allowed(gate)):
        raise Refusal(
            f"The glass may not be broken for environment {gate['environment']}",
            f"its gate in {gates.FILE} has no break_glass",
            "keep the rules of the gate; to allow it from now on, add `break_glass: {review_within_hours: 24}` in a reviewed commit",
        )
    return gate, int(found["review_within_hours"])


def declare(project: Path, name: str, environment: str, bundle_id: str, reason: str, folder: Path) -> Review:
    """Open the review, or find it, and leave the statement. Nothing is opened for a bundle that is not known, or is held."""
    started = evidence.now()
    at = workspace.load(project, name)
    gate, hours = terms(project, environment)
    bundle.checked_id(bundle_id)
    signing.trusted(at)
    credential = identity.sign_in(at)
    client = azure.management(at, credential)
    model = spec.release(project)["model"]["name"]
    document = bundle.from_workspace(client, credential, model, bundle_id)
    holds.refuse(at, client, credential, bundle_id)
    signed_in = identity.who(identity.claims(credential.get_token(SCOPE).token))
    who = ci.started_by() or signed_in
    found = Emergency(
        bundle_id=bundle_id, model=f"{model}:{document['model']['version']}", commit=document["source"]["commit"],
        environment=gate["environment"], run=ci.run_url(), who=who, reason=reason,
    )  # fmt: skip
    review = after_review.open_(found, deadline(datetime.now(timezone.utc), hours))
    due = deadline(review.opened, hours)
    ci.say(f"{'created' if review.new else 'unchanged'}  the review afterwards, {review.url}, due {due:%Y-%m-%d %H:%M} UTC")
    facts = {
        "reason": reason, "who": who, "signed_in": signed_in, "review": review.url, "review_until": due.isoformat().replace("+00:00", "Z"),
        "environment": gate["environment"],
    }  # fmt: skip
    links = {"review": review.url}
    made = evidence.statement(
        evidence.about_bundle(model, bundle_id), break_glass.VERB, "passed", workspace=at.name, started=started, links=links, facts=facts
    )
    evidence.write(folder, made)
    ci.warning(f"The glass is broken for environment {gate['environment']}, once this is signed: {break_glass.words(made)}")
    return review


def deadline(opened: datetime, hours: int) -> datetime:
    """When a review is due, to the minute: later by some seconds than the hours, never earlier."""
    return (opened + timedelta(hours=hours, seconds=59)).replace(second=0, microsecond=0)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    holds.arguments(made, "Why it can't wait, in one line; it is shown to who approves, and kept.")
    command.argument(made, "--environment", default="production", help="The environment whose gate is opened.")
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and break the glass."""
    given = parser().parse_args(argv)
    review = declare(given.project, given.workspace, given.environment, given.bundle_id, given.reason, given.evidence)
    ci.output("review_url", review.url)
    return 0


if __name__ == "__main__":
    command.run(main)
