"""Files in blob storage: what a tree holds, by digest, without keeping it; and one small document up or down."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from aml.azure import Client, Counted
from aml.command import Refusal

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import ContainerClient

READERS = 8  # blobs read at a time
# The library begins at 15 seconds.
RETRIES: dict[str, Any] = {"retry_total": 6, "initial_backoff": 1, "increment_base": 2, "raw_request_hook": Counted.one_more}

_DATASTORE = re.compile(r"^azureml://(?:.*?/)??datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)$", re.IGNORECASE)


def place(uri: str) -> tuple[str, str]:
    """(datastore, path) of an `azureml://.../datastores/<name>/paths/<path>` address, short or long form."""
    found = _DATASTORE.match(uri)
    if not found:
        raise Refusal(
            f"the address {uri!r} is not in a datastore of the workspace",
            "only azureml://datastores/<name>/paths/<path> can be read",
            "write the output or the asset to a datastore",
        )
    return found["datastore"], found["path"]


def datastore(workspace: Client, name: str, credential: TokenCredential) -> ContainerClient:
    """The container behind a blob datastore, opened with the datastore's own secret, or as the caller where it keeps none.

    Source: azure/ai/ml/operations/_model_operations.py (download), which opens it the same way.
    """
    from azure.storage.blob import ContainerClient

    properties: dict[str, Any] = workspace.get(f"datastores/{name}")["properties"]
    kind = properties.get("datastoreType", "")
    if kind not in ("AzureBlob", "AzureDataLakeGen2"):
        raise Refusal(
            f"datastore {name} is of type {kind}, which can't be read here",
            "only blob storage holds models and bundles",
            "write to a datastore of type azure_blob, such as workspaceblobstore",
        )
    secret: Any = credential
    if properties.get("credentials", {}).get("credentialsType") in ("AccountKey", "Sas"):
        secrets = workspace.post(f"datastores/{name}/listSecrets", {})
        secret = secrets.get("key") or secrets.get("sasToken")
    account = f"https://{properties['accountName']}.blob.{properties.get('endpoint') or 'core.windows.net'}"
    return ContainerClient(account, properties.get("containerName") or properties["filesystem"], credential=secret, **RETRIES)


def signed(address: str) -> ContainerClient:
    """A container whose address carries its own permission (a SAS)."""
    from azure.storage.blob import ContainerClient

    return ContainerClient.from_container_url(address, **RETRIES)


def path_in(address: str) -> str:
    """The path of a blob inside its container, from an https address."""
    return unquote(urlsplit(address).path).lstrip("/").partition("/")[2]


def files(container: ContainerClient, path: str) -> dict[str, str]:
    """{relative posix path: digest} of everything below a path, read through without being kept.

    A single blob at exactly that path is one file by its own name. Raises Refusal when nothing is there.
    """
    prefix = path.strip("/")
    names = [
        blob.name
        for blob in container.list_blobs(name_starts_with=prefix, include=["metadata"])
        # Storage with folders (ADLS Gen2) lists them as empty blobs with this mark.
        if (blob.name == prefix or blob.name.startswith(f"{prefix}/") or not prefix) and (blob.metadata or {}).get("hdi_isfolder") != "true"
    ]
    if not names:
        raise Refusal(
            f"nothing is stored at {path!r} in container {container.container_name}",
            "the files were deleted, or were never written",
            "run the job that writes them again",
        )
    with ThreadPoolExecutor(READERS) as readers:
        digests = list(readers.map(lambda name: _digest(container, name), names))
    relative = (name.removeprefix(prefix).lstrip("/") or name.rpartition("/")[2] for name in names)
    return dict(zip(relative, digests, strict=True))


def read(container: ContainerClient, path: str, *, limit: int = 1 << 20) -> bytes:
    """A small blob's bytes. Raises Refusal when it is larger than `limit` bytes: what is read here fits on a page."""
    stream = container.download_blob(path)
    if stream.size > limit:
        raise Refusal(f"{path} has {stream.size} bytes, more than {limit}", "it is not what was written there", "restore it, or seal anew")
    data: bytes = stream.readall()
    return data


def write(container: ContainerClient, path: str, data: bytes) -> None:
    """Write a small blob, replacing what is there."""
    container.upload_blob(path, data, overwrite=True)


def write_tree(container: ContainerClient, path: str, folder: Path, names: Iterable[str]) -> None:
    """Write files of a folder below a path, replacing what is there."""

    def one(name: str) -> None:
        with open(folder / name, "rb") as data:
            container.upload_blob(f"{path}/{name}", data, overwrite=True)

    with ThreadPoolExecutor(READERS) as writers:
        list(writers.map(one, names))


def _digest(container: ContainerClient, name: str) -> str:
    found = hashlib.sha256()
    for chunk in container.download_blob(name).chunks():
        found.update(chunk)
    return f"sha256:{found.hexdigest()}"
