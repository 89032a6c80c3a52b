"""Set up on GitHub or Azure DevOps what the gates of a project ask for, with a platform team's token, and read every field back.

Both services drop a field that they do not know without a word; so what was set is read again, and what does not show ends it with 1.
It may be run again at any time: it finds what is done, and the second run says unchanged.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from aml import ci, command, gates
from aml.command import Refusal
from aml.gates import Gate, System


def apply(system: System, gate: Gate) -> None:
    """Set one gate up. Raises Refusal for what does not show afterwards."""
    environment, changes = gate["environment"], system.changes(gate)
    for change in changes:
        ci.say(f"{environment}: {change.says}")
        change.make()
    left = [change.says for change in system.changes(gate)]
    failed = [finding for finding in gates.protected(system, gate) if not finding.passed]
    if left or failed:
        why = "; ".join([*(f"still to do: {says}" for says in left), *(f"{finding.name}: {finding.says}" for finding in failed)])
        fixes = "; ".join(dict.fromkeys(finding.fix for finding in failed if finding.fix and "apply_gates" not in finding.fix))
        fix = fixes or "look at the environment's settings page; a server that is older than the field ignores it"
        raise Refusal(f"Environment {environment} does not show what was set", why, fix)
    ci.say(f"{'updated' if changes else 'unchanged'}  environment {environment}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__, workspace=False)
    command.argument(made, "--environment", default="", help="The environment whose gate is meant; else all that gates.yml has.")
    command.argument(made, "--repository", default="", help="OWNER/NAME on GitHub.")
    command.argument(made, "--azure-devops", default="", help="https://dev.azure.com/<organization>/<project>.")
    return made


def apply_all(project: Path, environment: str, repository: str, azure_devops: str) -> None:
    """Set up the gates of a project, or one of them."""
    written, wanted = gates.load(project, environment)
    system = gates.connect(written, repository, azure_devops)
    for gate in wanted:
        apply(system, gate)


def main(argv: list[str] | None = None) -> int:
    """Read the command line and set the gates up."""
    given = parser().parse_args(argv)
    apply_all(given.project, given.environment, given.repository, given.azure_devops)
    return 0


if __name__ == "__main__":
    command.run(main)
