"""Where templates come from: the pipeline's own repository, `self`, and those it declares under `resources.repositories`.

https://learn.microsoft.com/azure/devops/pipelines/process/templates, "Use other repositories" and "Reference template paths".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from .nodes import Fault, Text


@dataclass(frozen=True)
class Repository:
    """A repository whose files are in a folder of this machine. Name, ref and commit are for messages and for who runs the pipeline."""

    alias: str
    folder: Path
    name: str = ""
    ref: str = "refs/heads/main"
    commit: str = ""


@dataclass(frozen=True)
class File:
    """A YAML file of a repository; its path has no leading slash."""

    repository: Repository
    path: str

    def __str__(self) -> str:
        return f"/{self.path}" + ("" if self.repository.alias == "self" else f"@{self.repository.alias}")

    def read(self, at: Text) -> str:
        """Its text. Raises Fault at the place that asks for it."""
        try:
            return (self.repository.folder / self.path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            source = self.repository
            where = f"File /{self.path} not found in repository {source.name or source.folder} branch {source.ref}"
            detail = "" if isinstance(error, FileNotFoundError) else f" ({error})"
            raise Fault(f"{where}{f' version {source.commit}' if source.commit else ''}.{detail}", at.at) from None


def resolve(reference: Text, here: File, repositories: Mapping[str, Repository], declared: Collection[str]) -> File:
    """The file that `template:` names, seen from the file it stands in.

    A path is relative to the folder of that file, with a leading slash to the root of its repository; `@alias` names another repository,
    in which it begins at the root, and `@self` the pipeline's own. Raises Fault for an alias that is not declared or not at hand.
    """
    path, _, alias = reference.replace("\\", "/").partition("@")
    source = here.repository
    if alias and alias.lower() != source.alias.lower():
        if alias.lower() not in {name.lower() for name in (*declared, "self")}:
            raise Fault(f"Repository alias '{alias}' is not defined: declare it under resources.repositories", reference.at)
        found = next((known for name, known in repositories.items() if name.lower() == alias.lower()), None)
        if found is None:
            raise Fault(f"Repository '{alias}' is declared, but no folder was given for it", reference.at)
        source = found
    relative = source == here.repository and not path.startswith("/")
    parts = here.path.split("/")[:-1] if relative else []
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part == "..":
            raise Fault(f"Template path '{reference}' leaves its repository", reference.at)
        elif part not in ("", "."):
            parts.append(part)
    return File(source, "/".join(parts))
