"""One Azure ML workspace of a project, as `.cloud/workspaces/<name>.yml` describes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """A workspace spec (schemas/workspace.schema.json); `name` is the file's stem, `project` the project's folder."""

    name: str
    project: Path
    stage: str
    tenant_id: str
    subscription_id: str
    resource_group: str
    workspace_name: str
    client_id: str
    registry_name: str = ""
    endpoint_name: str = ""
    instance_type: str = ""
    instance_count: int = 0
    people: str = "refused"

    @property
    def arm_id(self) -> str:
        """Its Azure resource id."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.workspace_name}"
        )


def load(project: Path, name: str) -> Workspace:
    """Read and check a workspace spec. Raises Refusal that lists everything wrong with it."""
    raise NotImplementedError
