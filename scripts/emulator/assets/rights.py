"""Who may refer to what: an asset or datastore of another workspace or registry is for those who may read it there.

The emulator brings files with the accounts' keys, so that the right has to be looked at when a reference is written. Addresses of blobs
(``https://...``) are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from emulator.errors import AzureError, forbidden
from emulator.workspaces.models import PROVIDER, by_guid, workspace_id

if TYPE_CHECKING:
    from emulator.core import Cloud, Principal

_KIND = r"(?P<kind>codes|data|environments|models|components)/(?P<name>[^/]+)"
_REGISTRY = re.compile(rf"azureml://registries/(?P<registry>[^/]+)/{_KIND}/.*", re.IGNORECASE)
_GUID = re.compile(rf"azureml://locations/[^/]+/workspaces/(?P<guid>[^/]+)/{_KIND}/.*", re.IGNORECASE)
_ARM = re.compile(
    r"(?:azureml:)?(?P<parent>/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/(?:workspaces|registries)/[^/]+)"
    rf"/{_KIND}/.*",
    re.IGNORECASE,
)
_DATASTORE = re.compile(
    r"azureml://subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)/(?:providers/Microsoft\.MachineLearningServices/)?"
    r"workspaces/(?P<workspace>[^/]+)/datastores/(?P<datastore>[^/]+)(?:/.*)?",
    re.IGNORECASE,
)
_TEXTS = ("tags", "properties", "description", "displayName", "environmentVariables", "command")


def check_references(cloud: Cloud, parent: str, principal: Principal | None, properties: dict[str, Any]) -> None:
    """403 where the properties of a job, a deployment or an asset refer to what lies outside ``parent`` and the caller may not read.

    Without a principal nothing is looked at: the emulator itself writes.
    """
    if principal is None:
        return
    from emulator.arm.roles import allowed

    for text in set(_references({key: value for key, value in properties.items() if key not in _TEXTS})):
        needed = _right(cloud, parent, text)
        if needed and not allowed(cloud, principal, *needed):
            raise forbidden(principal.app_id or principal.oid, principal.oid, *needed)


def _references(value: Any) -> Iterator[str]:
    """Every text that may refer to something; the value of a literal input does not."""
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)
    elif isinstance(value, dict):
        kind = value.get("jobInputType") or value.get("job_input_type")
        literal = kind == "literal" and not value.get("uri") and not value.get("path")
        for one in () if literal else value.values():
            yield from _references(one)


def _right(cloud: Cloud, parent: str, text: str) -> tuple[str, str] | None:
    """The action and the scope that a reference needs; None for one that stays in ``parent``, or that leads nowhere."""
    from emulator.registries import models as registries

    if match := _DATASTORE.fullmatch(text):
        owner = workspace_id(match["subscription"], match["group"], match["workspace"])
        return None if owner.lower() == parent.lower() else (f"{PROVIDER}/workspaces/datastores/read", f"{owner}/datastores/{match[4]}")
    try:
        if match := _REGISTRY.fullmatch(text):
            owner = str(registries.by_name(cloud, match["registry"])["id"])
        elif match := _GUID.fullmatch(text):
            owner = str(by_guid(cloud, match["guid"])["id"])
        elif match := _ARM.fullmatch(text):
            owner = match["parent"]
        else:
            return None
    except AzureError:
        return None  # whoever resolves it says that it is not there
    if owner.lower() == parent.lower():
        return None
    if "/registries/" in owner.lower():
        return None if registries.is_public({"id": owner}) else (f"{registries.TYPE}/assets/read", owner)
    return f"{PROVIDER}/workspaces/{match['kind'].lower()}/versions/read", f"{owner}/{match['kind']}/{match['name']}"
