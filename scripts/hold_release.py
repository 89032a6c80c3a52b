"""Keep a bundle from being promoted, with a reason: a signed entry in the workspace's ledger, which says who held it and why.

A hold in a workspace that shares (dev) stops share_model; one in production stops verify_bundle and shift_traffic. Rolling back goes on.
"""

from __future__ import annotations

import argparse

from aml import ci, command, holds


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command.parser(__doc__)
    holds.arguments(made, "Why it must not be promoted, in one line.")
    return made


def main(argv: list[str] | None = None) -> int:
    """Read the command line and hold the bundle."""
    given = parser().parse_args(argv)
    ci.output("hold", holds.change(given.project, given.workspace, "hold_release", given.bundle_id, given.reason, given.evidence))
    return 0


if __name__ == "__main__":
    command.run(main)
