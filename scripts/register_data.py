"""Register the project's data assets in the workspace, uploading what is local; what is there already stays as it is."""

from __future__ import annotations

import argparse
import json

from aml import ci, command, project, spec, workspace
from aml.assets import register
from aml.identity import sign_in


def parser() -> argparse.ArgumentParser:
    return command.parser(__doc__)


def main(argv: list[str] | None = None) -> int:
    given = parser().parse_args(argv)
    at = workspace.load(given.project, given.workspace)
    assets = [project.asset(given.project / path, "data") for path in spec.release(given.project)["train"]["data"]]
    ci.output("data", json.dumps(register(at, sign_in(at), assets)))
    return 0


if __name__ == "__main__":
    command.run(main)
