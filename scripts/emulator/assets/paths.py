"""From the ways in which Azure ML writes a place to the blobs that are there, and the bytes up and down.

Ways: https://learn.microsoft.com/azure/machine-learning/how-to-read-write-data-v2 and ``azure/ai/ml/constants/_common.py`` of azure-ai-ml.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from emulator.core import Cloud
from emulator.errors import AzureError
from emulator.workspaces.models import workspace_id as workspace_id_of

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

PARALLEL = 4

_LONG = re.compile(
    r"azureml://subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)/(?:providers/Microsoft\.MachineLearningServices/)?"
    r"workspaces/(?P<workspace>[^/]+)/datastores/(?P<datastore>[^/]+)(?:/paths(?:/(?P<path>.*))?)?",
    re.IGNORECASE,
)
_SHORT = re.compile(r"azureml://datastores/(?P<datastore>[^/]+)(?:/paths(?:/(?P<path>.*))?|/(?P<run>ExperimentRun/.*))?", re.IGNORECASE)
_JOB = re.compile(r"azureml://jobs/(?P<job>[^/]+)/outputs/(?P<output>[^/]+)(?:/paths(?:/(?P<path>.*))?)?/?", re.IGNORECASE)
_RUN = re.compile(r"runs:/+(?P<job>[^/]+)(?:/(?P<path>.*))?")
_ARTIFACT = re.compile(r"(?:azureml://artifacts?/|azureml://artifactId/)?(?P<path>ExperimentRun/dcid\..+)")
_BLOB = re.compile(r"(?P<account>[a-z0-9]{3,24})\.(?:blob|dfs)\.core\.windows\.net")


@dataclass(frozen=True)
class Located:
    """A blob, or all blobs below a prefix. ``prefix`` has no leading slash; a trailing one says that it is a folder."""

    account: str
    container: str
    prefix: str

    @property
    def url(self) -> str:
        """The address at Azure's host name."""
        return f"https://{self.account}.blob.core.windows.net/{self.container}/{quote(self.prefix)}"

    def below(self, path: str) -> Located:
        """A place further down."""
        return replace(self, prefix=f"{self.prefix.rstrip('/')}/{path}".lstrip("/")) if path else self


def locate(cloud: Cloud, workspace_id: str, uri: str, kind: str | None = None) -> Located:
    """Where a URI of any of Azure ML's forms points to, as seen from a workspace (or registry).

    Datastore paths in short and long form, job outputs, ``runs:/``, blob and wasbs addresses, and every way to name a registered asset;
    ``kind`` ("data", "models", ...) is needed for ``azureml:name:version`` alone. Raises Azure's 404 for what is not there, and 400 for an
    address that is none or that is outside the emulated cloud.
    """
    uri = str(uri).strip()
    if match := _LONG.fullmatch(uri):
        workspace = workspace_id_of(match["subscription"], match["group"], match["workspace"])
        return in_datastore(cloud, workspace, match["datastore"], match["path"] or "")
    if match := _SHORT.fullmatch(uri):
        return in_datastore(cloud, workspace_id, match["datastore"], match["path"] or match["run"] or "")
    if (match := _JOB.fullmatch(uri)) or (match := _RUN.fullmatch(uri)):
        return locate(cloud, workspace_id, job_uri(cloud, workspace_id, **match.groupdict(default="")))
    if match := _ARTIFACT.fullmatch(uri):
        return in_datastore(cloud, workspace_id, "workspaceartifactstore", match["path"])
    if uri.lower().startswith(("https://", "http://", "wasbs://", "wasb://", "abfss://", "abfs://")):
        return _at_address(uri)
    from emulator.assets import models

    found, asset = models.resolve(cloud, workspace_id, uri, kind)
    if found.uri is None:
        raise AzureError(400, "UserError", f"The asset '{uri}' is a {found.name}; it has no files.")
    return locate(cloud, asset["id"].split(f"/{found.plural}/")[0], asset["properties"][found.uri])


def in_datastore(cloud: Cloud, workspace_id: str, name: str, path: str) -> Located:
    """A path in a blob datastore of a workspace."""
    datastore = cloud.store.get(f"{workspace_id}/datastores/{name}")
    if datastore is None:
        cloud.store.need(workspace_id)
        raise AzureError(404, "UserError", f"Could not find datastore: {name}", target=f"{workspace_id}/datastores/{name}")
    properties = datastore["properties"]
    container = properties.get("containerName") or properties.get("filesystem")
    if not container:
        raise AzureError(
            400,
            "UserError",
            f"Datastore '{name}' is of type {properties['datastoreType']}; the emulator serves blobs only (AzureBlob, AzureDataLakeGen2).",
        )
    return Located(properties["accountName"], container, path.lstrip("/"))


def job_uri(cloud: Cloud, workspace_id: str, job: str, path: str = "", output: str = "artifacts") -> str:
    """The datastore URI behind a job's output; ``artifacts`` is what the run logged."""
    path = path or ""
    if output == "artifacts":
        return f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{job}/{path}"
    document = cloud.store.get(f"{workspace_id}/jobs/{job}")
    if document is None:
        raise AzureError(404, "UserError", f"Job {job} was not found.", target=f"{workspace_id}/jobs/{job}")
    declared = (document["properties"].get("outputs") or {}).get(output) or {}
    base = declared.get("uri") or declared.get("path") or f"azureml://datastores/workspaceblobstore/paths/azureml/{job}/{output}/"
    base = base.replace("${{name}}", job).replace("${{output_name}}", output)
    return f"{base.rstrip('/')}/{path}" if path else base


def long_uri(workspace_id: str, uri: str) -> str:
    """A datastore path as the service writes it back: with subscription, group and workspace. Other URIs stay as they are."""
    if match := _SHORT.fullmatch(uri):
        parts = workspace_id.split("/")
        path = match["path"] or match["run"] or ""
        return f"azureml://subscriptions/{parts[2]}/resourcegroups/{parts[4]}/workspaces/{parts[8]}/datastores/{match['datastore']}/paths/{path}"
    return uri


def job_of(uri: str) -> dict[str, str] | None:
    """The job, output and path that a job-output URI names; None for other URIs."""
    match = _JOB.fullmatch(uri) or _RUN.fullmatch(uri)
    return match.groupdict(default="") if match else None


def _at_address(uri: str) -> Located:
    address = urlsplit(uri)
    host = (address.hostname or "").lower()
    match = _BLOB.fullmatch(host)
    if not match:
        raise AzureError(400, "UserError", f"'{uri}' is outside the emulated cloud; the emulator reaches storage accounts of its own only.")
    path = unquote(address.path).lstrip("/")
    if address.scheme.lower().startswith("http"):
        container, _, path = path.partition("/")
    else:
        container = unquote(address.username or "")
    return Located(match["account"], container, path)


async def files(cloud: Cloud, located: Located) -> dict[str, int]:
    """Name (relative to the prefix, "" for the prefix itself being a blob) and size in bytes of every blob there, in order of name."""
    container = await _container(cloud, located)
    return await asyncio.to_thread(_files, container, located.prefix)


async def read(cloud: Cloud, located: Located, name: str = "") -> bytes | None:
    """The bytes of one blob; None where there is none."""
    container = await _container(cloud, located)

    def get() -> bytes | None:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            return bytes(container.download_blob(located.below(name).prefix).readall())
        except ResourceNotFoundError:
            return None

    return await asyncio.to_thread(get)


async def download(cloud: Cloud, located: Located, folder: Path) -> Path:
    """Bring the bytes to ``folder``: a single blob as ``folder/<its name>`` (that path is returned), a prefix as the tree below ``folder``.

    Raises 404 when there is nothing at the place.
    """
    container = await _container(cloud, located)

    def get() -> Path:
        names = _files(container, located.prefix)
        if not names:
            raise AzureError(
                404, "UserError", f"No blobs found in storage at path: {located.container}/{located.prefix}", target=located.url
            )
        single = list(names) == [""]

        def one(pair: tuple[str, Path]) -> Path:
            name, target = pair
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "wb") as file:
                container.download_blob(located.below(name).prefix).readinto(file)
            return target

        folder.mkdir(parents=True, exist_ok=True)
        pairs = [(name, target_of(folder, located.prefix.rsplit("/", 1)[-1] if single else name)) for name in names]
        targets = _side_by_side(one, pairs)
        return targets[0] if single else folder

    return await asyncio.to_thread(get)


def target_of(folder: Path, name: str) -> Path:
    """The file below ``folder`` for a blob of this name; 400 for a name that leads out of it."""
    target = folder / name.lstrip("/")
    root = folder.resolve()
    if root not in target.resolve().parents:
        raise AzureError(400, "UserError", f"The blob name '{name}' leads out of the folder that it is downloaded to.")
    return target


async def upload(cloud: Cloud, source: Path, located: Located) -> int:
    """Put a file (at the prefix, or in it when that ends with a slash) or a folder's tree (below it); the number of blobs written."""
    container = await _container(cloud, located)

    def put() -> int:
        if source.is_file():
            pairs = [(source, f"{located.prefix}{source.name}" if located.prefix.endswith("/") or not located.prefix else located.prefix)]
        else:
            pairs = [
                (file, located.below(file.relative_to(source).as_posix()).prefix) for file in sorted(source.rglob("*")) if file.is_file()
            ]

        def one(pair: tuple[Path, str]) -> None:
            with open(pair[0], "rb") as file:
                container.upload_blob(pair[1], file, overwrite=True)

        _side_by_side(one, pairs)
        return len(pairs)

    return await asyncio.to_thread(put)


async def copy(cloud: Cloud, source: Located, target: Located) -> int:
    """Copy all blobs of one place to another, between accounts too; the number copied. The emulator does it, no client sees the bytes."""
    origin, destination = await _container(cloud, source), await _container(cloud, target)

    def go() -> int:
        names = _files(origin, source.prefix)

        def one(name: str) -> None:
            reader = origin.download_blob(source.below(name).prefix)
            destination.upload_blob(target.below(name).prefix, reader.chunks(), length=reader.size, overwrite=True)

        _side_by_side(one, list(names))
        return len(names)

    return await asyncio.to_thread(go)


async def _container(cloud: Cloud, located: Located) -> ContainerClient:
    if not cloud.storage.known(located.account):
        raise AzureError(404, "UserError", f"The storage account '{located.account}' does not exist in the emulated cloud.")
    return (await cloud.storage.client(located.account)).get_container_client(located.container)


def _files(container: ContainerClient, prefix: str) -> dict[str, int]:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        if prefix and not prefix.endswith("/"):
            exact = container.get_blob_client(prefix)
            try:
                properties = exact.get_blob_properties()
                if not _is_folder_mark(properties):
                    return {"": properties.size}
            except ResourceNotFoundError:
                pass
        below = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        return dict(sorted(_below(container, below)))
    except ResourceNotFoundError:  # no such container
        return {}


def _below(container: ContainerClient, prefix: str) -> Iterator[tuple[str, int]]:
    for blob in container.list_blobs(name_starts_with=prefix, include=["metadata"]):
        if not _is_folder_mark(blob) and blob.name != prefix:
            yield blob.name[len(prefix) :], blob.size


def _is_folder_mark(blob: Any) -> bool:
    """Data Lake tools mark folders by empty blobs with this metadata."""
    return bool(blob.metadata and blob.metadata.get("hdi_isfolder"))


def _side_by_side(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(work, items))
