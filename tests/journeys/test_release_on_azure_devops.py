"""What only Azure DevOps' side of the journeys can show: service connections, templates that a project may call by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

import _act
from _gate import APPROVER, AUTHOR, INITIATOR, Gate, Refused
from emulator import cli

if TYPE_CHECKING:
    from tests.journeys.conftest import AzureDevOps

pytestmark = pytest.mark.parametrize("world", ["azure_devops"], indirect=True, scope="session")

SECRET = "not-a-secret-of-anybody-1"
OWN = """\
trigger: none
resources:
  repositories:
    - repository: catalog
      type: git
      name: mlops/azureml-catalog
      ref: refs/tags/v0
extends:
  template: .ado/stages/%s.yml@catalog
  parameters:
    %s
"""


@pytest.fixture(autouse=True)
def as_it_was(world: AzureDevOps) -> Iterator[None]:
    """Which connections there are is each test's own."""
    before = world.connections
    yield
    world.connections = before


def call(world: AzureDevOps, template: str, **parameters: str) -> _act.Run:
    """Run a pipeline of the project's own that extends one of the catalog's templates."""
    text = OWN % (template, "\n    ".join(f'{name}: "{value}"' for name, value in parameters.items()))
    return world.run(caller="own", event="workflow_dispatch", files={".ado/own.yml": text})


@pytest.mark.parametrize("template", ["rollback", "release_hold"])
@pytest.mark.parametrize("decide", [lambda gate: gate.reject(APPROVER, "not this way"), lambda gate: None], ids=["rejected", "nobody"])
def test_another_environment_is_no_way_around_the_approval(
    world: AzureDevOps, released: _act.Run, template: str, decide: Callable[[Gate], None]
) -> None:
    """One of the catalog's templates, as the check of production's connection wants it, but with an environment that asks nobody."""
    asked: list[Gate] = []

    def approve(gate: Gate) -> None:
        asked.append(gate)
        for who in (INITIATOR, AUTHOR):
            with pytest.raises(Refused):
                gate.approve(who)
        decide(gate)

    chosen = {"environment": "dev", "service_connection": "azureml-production", "workspace": "prod"}
    if template == "release_hold":
        chosen |= {"bundle_id": released.outputs["bundle_id"], "reason": "let it go"}
    own = OWN % (template, "\n    ".join(f'{name}: "{value}"' for name, value in chosen.items()))
    with world.untouched("dev", "prod"):
        run = world.run(caller="own", event="workflow_dispatch", files={".ado/own.yml": own}, approve=approve)
    assert [(gate.job, gate.environment, gate.asked) for gate in asked] == [(template, "azureml-production", ("release-managers",))]
    assert not any(job.steps for job in run.jobs.values()), "no job began, so none had the identity"
    assert not list(run.artifacts.glob("*"))


@pytest.mark.parametrize(
    ("connection", "bundle_from", "complaint"),
    [
        ("azureml-dev", "registry", "AADSTS700213"),  # dev's connection, which production's identity does not trust
        ("azureml-production", "workspace", "takes bundles from the registry only"),
    ],
)
def test_a_caller_of_its_own_gets_nowhere(
    world: AzureDevOps, released: _act.Run, connection: str, bundle_from: str, complaint: str
) -> None:
    """What a project writes in its pipelines, dev's connection is not production's identity, and production reads no other workspace."""
    more = {"workspace": "prod", "service_connection": connection, "bundle_from": bundle_from}
    with world.untouched("dev", "prod"):
        run = call(world, "deploy", bundle_id=released.outputs["bundle_id"], **more)
    job, step, errors = world.stop(run)
    assert (job, step) == ("deploy", "Verify bundle")
    assert len(errors) == 1
    assert complaint in errors[0]


def test_a_connection_with_a_secret_works_and_is_warned_of(world: AzureDevOps, released: _act.Run) -> None:
    spec = world.spec("dev")
    cli.request(world.emulator.home, "POST", "/identities", {"name": "dev", "client_id": spec["client_id"], "secret": SECRET})
    ids = {name: spec[name] for name in ("tenant_id", "client_id", "subscription_id")}
    world.connections = {
        "azureml-dev": {**ids, "id": "5ec4e700-0000-4000-8000-000000000001", "scheme": "ServicePrincipal", "secret": SECRET}
    }
    with world.untouched("prod"):
        run = call(world, "deploy", bundle_id=released.outputs["bundle_id"])
    assert run.results == {"deploy": "success"}
    lines = run.jobs["deploy"].lines
    assert any(line.startswith("warning: Signing in with AZURE_CLIENT_SECRET") for line in lines)
    assert SECRET not in "\n".join(lines)
