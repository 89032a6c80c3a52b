"""The Azure ML registry through which a bundle travels from one workspace to the next.

The routes are those of the SDK (azure/ai/ml/_utils/_registry_utils.py): discovery tells where a registry's data plane is, assets are
imported there from a workspace, and a data reference opens the files of one version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aml import blobs
from aml.azure import Client, retrying
from aml.command import Refusal
from aml.workspace import Workspace

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

DISCOVERY = "https://eastus.api.azureml.ms/registrymanagement/v1.0/registries"
API_VERSION = "2021-10-01-dataplanepreview"


@dataclass(frozen=True)
class Registry:
    """A registry and a client whose paths are relative to it: `client.find("models/m/versions/1")`. `id` is its Azure resource id."""

    name: str
    client: Client
    id: str = ""


def connect(workspace: Workspace, credential: TokenCredential) -> Registry:
    """Find the workspace's registry. Raises Refusal when its spec names none, or the one it names can't be found."""
    if not workspace.registry_name:
        raise Refusal(
            f"workspace {workspace.name} has no registry",
            "a bundle reaches production through a registry, never from one workspace to the other",
            f"set registry_name in .cloud/workspaces/{workspace.name}.yml",
        )
    name = workspace.registry_name
    found = Client(DISCOVERY, credential, api_version="").find(f"{name}/discovery")
    if found is None:
        raise Refusal(
            f"there is no registry {name}",
            "the name is wrong, or this principal may not read it",
            f"correct registry_name in .cloud/workspaces/{workspace.name}.yml, or grant AzureML Registry User on the registry",
        )
    host = found["primaryRegionResourceProviderUri"].rstrip("/")
    below = (
        f"/subscriptions/{found['subscriptionId']}/resourceGroups/{found['resourceGroup']}"
        f"/providers/Microsoft.MachineLearningServices/registries/{name}"
    )
    return Registry(name, Client(f"{host}/mferp/managementfrontend{below}", credential, api_version=API_VERSION), below)


def asset_id(registry: str, kind: str, name: str, version: str) -> str:
    """How others name an asset of a registry; `kind` is models, environments or data."""
    return f"azureml://registries/{registry}/{kind}/{name}/versions/{version}"


def version_of(registry: Registry, kind: str, name: str, version: str) -> dict[str, Any] | None:
    """One version of an asset as it is now, or None. `share` waits for its own copy; nobody waits for that of another run."""
    return registry.client.find(f"{kind}/{name}/versions/{version}")


def files(registry: Registry, kind: str, name: str, version: str, uri: str) -> dict[str, str]:
    """{relative path: digest} of an asset's files, read from the registry's own storage."""
    return blobs.files(blobs.signed(_open(registry, kind, name, version, uri)), blobs.path_in(uri))


def read(registry: Registry, kind: str, name: str, version: str, uri: str, *, limit: int = 1 << 20) -> bytes:
    """The bytes of an asset that is one small file, of at most `limit` bytes."""
    return blobs.read(blobs.signed(_open(registry, kind, name, version, uri)), blobs.path_in(uri), limit=limit)


def share(registry: Registry, workspace: dict[str, Any], kind: str, name: str, version: str) -> None:
    """Copy a version of a workspace's asset, under the same name and version, and wait for the end of it.

    `workspace` is the workspace's resource. The registry fetches the files itself; nothing passes through here.
    """
    body = {
        "properties": {
            "referenceType": "Id",
            "destinationName": name,
            "destinationVersion": version,
            "sourceAssetId": (
                f"azureml://locations/{workspace['location']}/workspaces/{workspace['properties']['workspaceId']}"
                f"/{kind}/{name}/versions/{version}"
            ),
        }
    }
    retrying(lambda: registry.client.post("import", body))


def _open(registry: Registry, kind: str, name: str, version: str, uri: str) -> str:
    body = {"assetId": asset_id(registry.name, kind, name, version), "blobUri": uri}
    found = registry.client.post(f"datarefs/{name}/versions/{version}", body)
    return str(found["blobReferenceForConsumption"]["credential"]["sasUri"])


# What production runs is written where both sides may look: a tag on the model's container in the registry. Production's principal writes
# it when its traffic has moved (shift_traffic, roll_back) and dev's reads it (check_gate), so neither needs a right in the other's
# workspace. The tag holds only a bundle id. The figures come out of that bundle, whose digest is its name, so whoever can write a tag can
# point at another release but can't make figures up. Whoever can delete it opens the champion rule, which then compares with nothing, as
# before the first release; check_gate warns of that once the registry holds bundles of the model. The tag sits on the container and not
# on versions because one write must move it: there is never a moment with two champions or none.


def live(registry: Registry, model: str, stage: str) -> str | None:
    """The id of the bundle that takes a stage's traffic, or None before the first release.

    Anything but a bundle id says why there is none, as `mark_live` wrote it.
    """
    found = registry.client.find(f"models/{model}")
    return (found["properties"].get("tags") or {}).get(_live(stage)) or None if found else None


def mark_live(registry: Registry, model: str, stage: str, bundle_id: str) -> bool:
    """Record which bundle takes a stage's traffic; whether that was news. Other tags and the description stay."""
    container = registry.client.get(f"models/{model}")
    tags = container["properties"].get("tags") or {}
    if tags.get(_live(stage)) == bundle_id:
        return False
    _write_tags(registry, model, container, {**tags, _live(stage): bundle_id})
    return True


def check_may_mark(registry: Registry, model: str) -> None:
    """Fail now, by writing the model's container back as it is, if the record could not be written after traffic has moved."""
    container = registry.client.get(f"models/{model}")
    _write_tags(registry, model, container, container["properties"].get("tags") or {})


def _live(stage: str) -> str:
    return f"live_in_{stage}"


def _write_tags(registry: Registry, model: str, container: dict[str, Any], tags: dict[str, str]) -> None:
    kept = {key: container["properties"][key] for key in ("description", "properties", "isArchived") if key in container["properties"]}
    retrying(lambda: registry.client.put(f"models/{model}", {"properties": {**kept, "tags": tags}}))
