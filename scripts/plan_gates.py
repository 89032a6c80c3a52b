"""Say what apply_gates would set up on GitHub or Azure DevOps for the gates of a project. Changes nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

from aml import ci, command, gates


def plan(project: Path, environment: str, repository: str, azure_devops: str) -> int:
    """Print every change, and what the system can't keep of a gate; how many changes there are."""
    written, wanted = gates.load(project, environment)
    system = gates.connect(written, repository, azure_devops)
    count = 0
    for gate in wanted:
        changes = system.changes(gate)
        count += len(changes)
        ci.say(f"environment {gate['environment']}: {'to do' if changes else 'unchanged'}")
        for change in changes:
            ci.say(f"  {change.says}")
        for finding in system.limits(gate) if system.protection(gate) else []:
            if not finding.passed and not finding.name.startswith("service connection "):  # that is among the changes
                ci.warning(f"{gate['environment']}: {finding.name}: {finding.says}. {finding.fix}")
    return count


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__, workspace=False)
    command.argument(made, "--environment", default="", help="The environment whose gate is meant; else all that gates.yml has.")
    command.argument(made, "--repository", default="", help="OWNER/NAME on GitHub.")
    command.argument(made, "--azure-devops", default="", help="https://dev.azure.com/<organization>/<project>.")
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and say what would be done."""
    given = parser().parse_args(argv)
    ci.output("gates_changes", str(plan(given.project, given.environment, given.repository, given.azure_devops)))
    return 0


if __name__ == "__main__":
    command.run(main)
