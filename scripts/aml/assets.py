"""Register what the project describes, a data asset or an environment, under a version that never changes.

A version's digest is kept as its property `digest`, so that the next run sees with one read whether anything is to be done.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError

from aml import ci
from aml.azure import Client, management, ml_client
from aml.command import Refusal
from aml.loading import sdk, uploading
from aml.project import Asset
from aml.workspace import Workspace

_COLLECTIONS = {"data": "data", "environment": "environments"}
_LOADERS = {"data": "load_data", "environment": "load_environment"}


def register(at: Workspace, credential: TokenCredential, assets: Iterable[Asset]) -> list[str]:
    """Register assets side by side and say of each whether it was created or is unchanged; their `name:version`, in order.

    Raises Refusal if a version is there with other content.
    """
    wanted = list(assets)
    client = management(at, credential)
    with ThreadPoolExecutor(8) as pool:
        there = list(pool.map(lambda asset: _unchanged(client, asset), wanted))
        missing = [asset for asset, found in zip(wanted, there, strict=True) if not found]
        if missing:
            sdk()  # once, and not in the threads: importing it takes seconds
            with uploading():
                list(pool.map(lambda asset: _create(at, credential, client, asset), missing))
    for asset in wanted:
        ci.say(f"{'created' if asset in missing else 'unchanged'}  {asset.kind} {asset.reference} ({asset.digest})")
    return [asset.reference for asset in wanted]


def _unchanged(client: Client, asset: Asset) -> bool:
    found = client.find(f"{_COLLECTIONS[asset.kind]}/{asset.name}/versions/{asset.version}")
    if found is None:
        return False
    known = (found["properties"].get("properties") or {}).get("digest")
    if known != asset.digest:
        has = "no digest: it was not registered from here" if known is None else f"{known}, not {asset.digest}"
        raise Refusal(
            f"{asset.kind.capitalize()} {asset.reference} is there with other content",
            f"It has {has}. A version is never changed",
            f"raise version in {asset.file}, or leave it out to get one by content",
        )
    return True


def _create(at: Workspace, credential: TokenCredential, client: Client, asset: Asset) -> None:
    entity: Any = getattr(sdk(), _LOADERS[asset.kind])(str(asset.file))
    entity.version = asset.version
    entity.properties = {**(entity.properties or {}), "digest": asset.digest}
    azureml = ml_client(at, credential)
    operations = azureml.data if asset.kind == "data" else azureml.environments
    try:
        operations.create_or_update(entity)
    except HttpResponseError as error:
        # somebody else may have made the same version at the same moment
        if error.status_code not in (400, 409) or not _unchanged(client, asset):
            raise
