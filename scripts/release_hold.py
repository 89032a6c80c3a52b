"""Let a bundle go that hold_release keeps from being promoted: a signed entry in the workspace's ledger, which says who and why."""

from __future__ import annotations

import argparse

from aml import ci, command, holds


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    holds.arguments(made, "Why it may be promoted again, in one line.")
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and let the bundle go."""
    given = parser().parse_args(argv)
    ci.output("hold", holds.change(given.project, given.workspace, "release_hold", given.bundle_id, given.reason, given.evidence))
    return 0


if __name__ == "__main__":
    command.run(main)
