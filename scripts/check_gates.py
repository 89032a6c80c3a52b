"""Compare the gates of a project with how its environment is protected, and with the release that asks for it; stop where anything is less.

It runs in a job before the one that names the environment: GitHub makes a missing environment without any protection, and both systems
leave a protection out of which they know nothing. What can't be read counts as not there. Ends 1 when any rule says no.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from aml import azure, break_glass, bundle, ci, command, commits, endpoint, evidence, gates, identity, spec, workspace
from aml.command import Refusal
from aml.deployment import BUNDLE
from aml.gates import Finding, Gate
from aml.workspace import Workspace


def standing(at: Workspace, release: dict[str, Any], bundle_id: str) -> dict[str, Any]:
    """When the bundle's oldest deployment in a workspace was made, and what it gets of the traffic now; {} if there is none."""
    client = azure.management(at, identity.sign_in(at, writes=False))
    name = endpoint.name_of(at, release["deploy"]["endpoint"])
    found = endpoint.find(client, name)
    mine = [one for one in endpoint.deployments(client, name).values() if endpoint.tags(one).get(BUNDLE) == bundle_id] if found else []
    if not found or not mine:
        return {}
    split = endpoint.traffic(found)
    first = min(mine, key=lambda one: str(one["systemData"]["createdAt"]))
    return {"created": first["systemData"]["createdAt"], "percent": sum(split.get(one["name"], 0) for one in mine)}


def sealed(at: Workspace, release: dict[str, Any], bundle_id: str) -> dict[str, Any]:
    """The bundle as the job's workspace keeps it."""
    credential = identity.sign_in(at, writes=False)
    return bundle.from_workspace(azure.management(at, credential), credential, release["model"]["name"], bundle_id)


def message(at: Workspace, gate: Gate, bundle_id: str, ticket: str) -> str:
    """The message that must have the ticket: that of the bundle's commit; of what is checked out where no bundle is named."""
    if ticket or "pattern" not in gate.get("ticket", {}):
        return ""
    commit = sealed(at, spec.release(at.project), bundle_id)["source"]["commit"] if bundle_id else commits.head(at.project)
    return commits.message_of(at.project, commit)


def about_release(at: Workspace, gate: Gate, bundle_id: str, statements: Path, now: datetime) -> list[Finding]:
    """Soak and evidence, which are of one bundle."""
    if "soak" not in gate and not gate["evidence"]:
        return []
    if not bundle_id:
        return [Finding("bundle", False, "soak and evidence are of a bundle, and none is named", "name it with --bundle-id")]
    release, found = spec.release(at.project), []
    if "soak" in gate:
        found.append(gates.soaked(gate, standing(workspace.load(at.project, gate["soak"]["workspace"]), release, bundle_id), now))
    if gate["evidence"]:
        document = sealed(at, release, bundle_id)
        digests = {bundle_id.removeprefix("sha256:"), document["job"]["content_key"].removeprefix("sha256:")}
        found += gates.proven(gate, gates.statements(statements, at.project), digests, now)
    return found


def check(
    at: Workspace,
    environment: str,
    *,
    bundle_id: str = "",
    ticket: str = "",
    statements: Path = Path("evidence"),
    repository: str = "",
    azure_devops: str = "",
    now: datetime | None = None,
) -> list[Finding]:
    """Everything that the gate of an environment asks for, found or not."""
    now = now or datetime.now(timezone.utc)
    written, (gate,) = gates.load(at.project, environment)
    system = gates.connect(written, repository, azure_devops)
    found = [*gates.thawed(gate, now), *gates.ticketed(gate, ticket, message(at, gate, bundle_id, ticket))]
    found += about_release(at, gate, bundle_id, statements, now)
    return [*gates.protected(system, gate), *emergency(at, gate, bundle_id, statements, found, now)]


def emergency(at: Workspace, gate: Gate, bundle_id: str, statements: Path, found: list[Finding], now: datetime) -> list[Finding]:
    """What was found of the release, with what breaking the glass waives of it, where it is broken for this bundle in this run."""
    if not bundle_id or not break_glass.allowed(gate):
        return found
    signed = break_glass.signed(statements, at.project)
    glass = break_glass.standing(signed, bundle_id, ci.run_url(), gate["environment"], now)
    if not glass:
        return found
    said = break_glass.words(glass)
    ci.warning(f"The glass is broken for environment {gate['environment']}: {said}")
    return [Finding("break-glass", True, f"the glass is BROKEN: {said}"), *break_glass.waived(found, gate, glass)]


def keep(folder: Path, at: Workspace, environment: str, bundle_id: str, started: str, found: list[Finding]) -> None:
    """Leave evidence about the bundle."""
    subject = evidence.about_bundle(spec.release(at.project)["model"]["name"], bundle.checked_id(bundle_id))
    verdict = "passed" if all(finding.passed for finding in found) else "failed"
    findings = [{key: value for key, value in asdict(finding).items() if key != "waivable"} for finding in found]
    facts = {"environment": environment}
    made = evidence.statement(subject, "check_gates", verdict, workspace=at.name, started=started, findings=findings, facts=facts)
    evidence.write(folder, made)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    command.argument(made, "--environment", default="production", help="The environment whose gate is checked.")
    command.argument(made, "--bundle-id", default="", help="Id of the bundle that is to be promoted; soak and evidence are of it.")
    command.argument(made, "--ticket", default="", help="The release's ticket; else the bundle's commit must name one, if the gate asks.")
    command.argument(made, "--statements", default=None, type=Path, help="Folder of the evidence that the gate asks for; else --evidence.")
    command.argument(made, "--repository", default="", help="OWNER/NAME on GitHub, where this is no job of its.")
    command.argument(
        made, "--azure-devops", default="", help="https://dev.azure.com/<organization>/<project>, where this is no job of its."
    )
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and check the gates."""
    given = parser().parse_args(argv)
    started = evidence.now()
    at = workspace.load(given.project, given.workspace)
    found = check(
        at, given.environment, bundle_id=given.bundle_id, ticket=given.ticket, statements=given.statements or given.evidence,
        repository=given.repository, azure_devops=given.azure_devops,
    )  # fmt: skip
    for finding in found:
        ci.say(f"{'passed' if finding.passed else 'FAILED'}  {finding.name}: {finding.says}")
    if given.bundle_id:
        keep(given.evidence, at, given.environment, given.bundle_id, started, found)
    failed = [finding for finding in found if not finding.passed]
    ci.output("gates_verdict", "failed" if failed else "passed")
    if failed:
        why = "; ".join(f"{finding.name}: {finding.says}" for finding in failed)
        fixes = "; ".join(dict.fromkeys(finding.fix for finding in failed if finding.fix))
        raise Refusal(f"The gate of environment {given.environment} does not hold", why, fixes)
    return 0


if __name__ == "__main__":
    command.run(main)
