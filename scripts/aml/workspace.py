"""One Azure ML workspace of a project, as `.cloud/workspaces/<name>.yml` describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aml.command import Refusal
from aml.spec import meant, trusted

FOLDER = ".cloud/workspaces"


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
    location: str = ""
    people: str = "refused"
    signing: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def arm_id(self) -> str:
        """Its Azure resource id."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.workspace_name}"
        )


def names(project: Path) -> list[str]:
    """The workspaces that a project describes."""
    return sorted(file.stem for file in (project / FOLDER).glob("*.yml"))


def load(project: Path, name: str) -> Workspace:
    """Read and check a workspace spec. Raises Refusal after printing everything that is wrong with it."""
    if not project.is_dir():
        raise Refusal(f"There is no project folder {project}", fix="name the folder that holds .cloud with --project (AML_PROJECT)")
    known = names(project)
    if name not in known:
        has = f"It has {', '.join(known)}" if known else f"{project / FOLDER} has no .yml file"
        raise Refusal(f"The project describes no workspace '{name}'", has + meant(name, known), f"add {FOLDER}/{name}.yml, or name another")
    return Workspace(name=name, project=project, **trusted(project, f"{FOLDER}/{name}.yml", "workspace"))
