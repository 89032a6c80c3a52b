"""Organizations, projects and callers of Azure DevOps.

Any organization and project can be named; each has the id that its name gives it. Callers are people (by a personal access token or
an Entra token), applications (by an Entra token), and a job of a pipeline (by its System.AccessToken).
"""

from __future__ import annotations

import hashlib
import re
import secrets
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from emulator.azure_devops import exceptions
from emulator.entra.signing import SigningKey, signing_key

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]

HOST = "dev.azure.com"
APPLICATION = "499b84ac-1321-427f-aa17-267ca6975798"
"""Azure DevOps itself, in Entra: who signs in to it asks for this resource (learn.microsoft.com/azure/devops, "Microsoft Entra tokens")."""
LATEST, RELEASED = (7, 2), (7, 1)
"""The newest version of the REST API, and the newest that needs no ``-preview`` (learn.microsoft.com/rest/api/azure/devops)."""
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NAMESPACE = uuid.UUID("5c1e0000-0000-4000-8000-000000000d05")


@dataclass(frozen=True)
class Project:
    """A project with its organization."""

    organization: str
    name: str

    @property
    def organization_id(self) -> str:
        return identifier(self.organization)

    @property
    def id(self) -> str:
        return identifier(self.organization, self.name)

    @property
    def url(self) -> str:
        return f"https://{HOST}/{quote(self.organization)}/{self.id}"

    @property
    def path(self) -> str:
        """Where its documents are."""
        return f"azure_devops/{self.id}"

    def reference(self) -> Document:
        return {"id": self.id, "name": self.name}


@dataclass(frozen=True)
class Caller:
    """Who calls: ``kind`` is "person", "application" or "job"; a job has the document of its token."""

    kind: str
    name: str
    job: Document | None = None

    def identity(self) -> Document:
        return identity(self.name)


def identifier(*names: str) -> str:
    """The id of an organization, a project or a person: the same for the same name, whatever its case."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(name.lower() for name in names)))


def is_guid(text: str) -> bool:
    return _GUID.fullmatch(text) is not None


def project(cloud: Cloud, organization: str, name: str) -> Project:
    """The project, by its name or, if it has been used, by its id. Raises 404."""
    known = cloud.store.get(f"azure_devops/projects/{name if is_guid(name) else identifier(organization, name)}")
    if known and known["organization"].lower() == organization.lower():
        return Project(known["organization"], known["name"])
    if is_guid(name):
        raise exceptions.no_project(name)
    return Project(organization, name)


def use(cloud: Cloud, organization: str, name: str) -> Project:
    """The project, remembered so that its id leads to it."""
    found = project(cloud, organization, name)
    if not cloud.store.exists(f"azure_devops/projects/{found.id}"):
        cloud.store.put(f"azure_devops/projects/{found.id}", "azure_devops_project", {"organization": organization, "name": found.name})
    return found


def identity(name: str) -> Document:
    """A person, application or service as the REST API writes it (IdentityRef)."""
    kind = {"descriptor": f"vssgp.{identifier(name)}", "isContainer": True} if is_group(name) else {"descriptor": f"aad.{identifier(name)}"}
    return {"displayName": name, "id": identifier(name), "uniqueName": name, **kind}


def is_group(name: str) -> bool:
    """Whether a name is that of a group: ``[project]\\name``, or ``[organization]\\name``."""
    return name.startswith("[")


def key(cloud: Cloud) -> SigningKey:
    """The key of the Azure DevOps issuer and of job tokens."""
    return signing_key(cloud, "azure_devops")


# --- callers ---------------------------------------------------------------------------------------------------------------------


def personal_access_token(cloud: Cloud, user: str) -> str:
    """A new personal access token of a person, who need not be known before. Only its digest is kept."""
    made = secrets.token_hex(26)
    cloud.store.put(f"azure_devops/tokens/{_digest(made)}", "azure_devops_token", {"user": user})
    return made


def person_of(cloud: Cloud, token: str) -> Caller:
    """Whose personal access token it is. Raises 401."""
    found = cloud.store.get(f"azure_devops/tokens/{_digest(token)}")
    if found is None:
        raise exceptions.bad_token()
    return Caller("person", found["user"])


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


# --- versions --------------------------------------------------------------------------------------------------------------------


def check_version(method: str, version: str | None) -> None:
    """Refuse a version of the REST API that the service would not take.

    Only a GET may leave it out. Source: learn.microsoft.com/azure/devops/integrate/concepts/rest-api-versioning.
    """
    if not version:
        if method == "GET":
            return
        raise exceptions.no_version(method)
    match = re.fullmatch(r"(\d+)\.(\d+)(-preview(?:\.\d+)?)?", version)
    if match is None:
        raise exceptions.malformed_version(version)
    number = int(match[1]), int(match[2])
    if number > LATEST:
        raise exceptions.version_out_of_range(f"{number[0]}.{number[1]}", f"{LATEST[0]}.{LATEST[1]}")
    if number > RELEASED and not match[3]:
        raise exceptions.preview_version(version)
