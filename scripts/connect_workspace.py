"""Sign in as the workspace's service principal, and check that the workspace is there and ready."""

from __future__ import annotations

import argparse
from typing import Any

from aml import ci, command, workspace
from aml.azure import management
from aml.command import Refusal
from aml.identity import SCOPE, claims, sign_in, who
from aml.workspace import Workspace


def parser() -> argparse.ArgumentParser:
    return command.parser(__doc__)


def main(argv: list[str] | None = None) -> int:
    given = parser().parse_args(argv)
    at = workspace.load(given.project, given.workspace)
    credential = sign_in(at)
    found = connect(at, credential)
    ci.say(f"signed in as {who(claims(credential.get_token(SCOPE).token))}")
    ci.say(f"workspace {at.workspace_name} in {found['location']}, resource group {at.resource_group}, stage {at.stage}")
    ci.output("workspace_id", found["id"])
    ci.output("location", found["location"])
    return 0


def connect(at: Workspace, credential: Any) -> dict[str, Any]:
    """The workspace as Azure describes it. Raises Refusal if it is not there or not ready."""
    found = management(at, credential).find()
    if found is None:
        raise Refusal(
            f"There is no workspace {at.workspace_name} in resource group {at.resource_group} of subscription {at.subscription_id}",
            "It was never made, or was deleted",
            f"correct .cloud/workspaces/{at.name}.yml, or have the workspace made",
        )
    state = found["properties"].get("provisioningState", "Succeeded")
    if state != "Succeeded":
        raise Refusal(f"Workspace {at.workspace_name} is {state}", fix="wait until Azure has finished, or have it made again")
    return found


if __name__ == "__main__":
    command.run(main)
