"""Send the project's smoke cases straight to a deployment that has no traffic yet, and check every answer."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path

from aml import azure, ci, command, deployment, endpoint, evidence, identity, smoke, spec, workspace
from aml.smoke import Result


def test(project: Path, name: str, to: str, folder: Path, bundle_id: str) -> list[Result]:
    """Send all cases to the deployment `to`, print what came of each, leave evidence."""
    started, began = evidence.now(), time.monotonic()
    at = workspace.load(project, name)
    release = spec.release(project)
    cases = spec.smoke(project, release["deploy"]["smoke"])
    credential = identity.sign_in(at, writes=False)
    client = azure.management(at, credential)
    endpoint_name = endpoint.name_of(at, release["deploy"]["endpoint"])
    standing = endpoint.need(client, endpoint_name)
    found = deployment.need(client, endpoint_name, to, bundle_id)
    results = smoke.run(smoke.Caller(client, standing, credential), cases, to, deployment.at_a_time(found))
    for line in smoke.lines(results):
        ci.say(line)
    evidence.write(
        folder,
        evidence.statement(
            evidence.about_bundle(release["model"]["name"], endpoint.tags(found)[deployment.BUNDLE]),
            "smoke_test",
            "passed" if all(result.passed for result in results) else "failed",
            workspace=at.name,
            started=started,
            figures={"seconds": round(time.monotonic() - began, 3), "slowest_seconds": round(max(result.seconds for result in results), 3)},
            findings=[{**asdict(result), "passed": result.passed} for result in results],
            facts={"endpoint": endpoint_name, "deployment": to},
        ),
    )
    return results


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    deployment.arguments(made)
    evidence.argument(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and test the deployment."""
    given = parser().parse_args(argv)
    results = test(given.project, given.workspace, given.deployment_name, given.evidence, given.bundle_id)
    smoke.refuse_failures(results, f"deployment {given.deployment_name}")
    return 0


if __name__ == "__main__":
    command.run(main)
