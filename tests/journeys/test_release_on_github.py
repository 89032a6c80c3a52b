"""What only GitHub's side of the journeys can show, or needs to: the verbs are the same on both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import _act

if TYPE_CHECKING:
    from tests.journeys.conftest import World

pytestmark = pytest.mark.parametrize("world", ["github"], indirect=True, scope="session")

BYPASS = """
    name: Bypass
    on: push
    permissions: {}
    jobs:
      bypass:
        permissions: {contents: read, id-token: write}
        uses: contoso/azureml-catalog/.github/workflows/deploy.yml@v0
        with: {workspace: prod, environment: %s, bundle_id: "%s", bundle_from: %s}
    """


@pytest.mark.parametrize(
    ("environment", "bundle_from", "complaint"),
    [
        ("dev", "registry", "repo:contoso/flight-delay:environment:dev"),  # the subject that was sent, which production does not trust
        ("production", "workspace", "takes bundles from the registry only"),
    ],
)
def test_a_caller_of_its_own_gets_nowhere(world: World, released: _act.Run, environment: str, bundle_from: str, complaint: str) -> None:
    """What a project writes in its workflows, dev's environment is not production's identity, and production reads no other workspace."""
    caller = BYPASS % (environment, released.outputs["bundle_id"], bundle_from)
    with world.untouched("dev", "prod"):
        run = world.run(caller="bypass", files={".github/workflows/bypass.yml": caller})
    job, step, errors = world.stop(run)
    assert (job, step) == ("deploy", "Verify bundle")
    assert len(errors) == 1
    assert complaint in errors[0]
