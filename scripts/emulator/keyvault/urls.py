"""Routes of vault.azure.net."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emulator import admin
from emulator.core import Route
from emulator.keyvault import responses as r
from emulator.keyvault import seeds

HOST = "{vault}.vault.azure.net"


def _route(method: str, path: str, kind: str, action: str, work: Callable[..., Any], doc: str) -> Route:
    return Route(method, HOST, path, r.let_in(kind, action, work), auth="none", api_version=False, doc=doc)


def _both(kind: str, listing: str) -> list[Route]:
    """What secrets and keys have in common; ``listing`` is the action that reads no value."""
    one, deleted = f"/{kind}s/{{name}}", f"/deleted{kind}s/{{name}}"
    return [
        _route("GET", f"/{kind}s", kind, listing, r.lister(kind), f"List {kind}s"),
        _route("GET", f"{one}/versions", kind, listing, r.version_lister(kind), f"List the versions of a {kind}"),
        _route("DELETE", one, kind, "delete", r.remover(kind), f"Delete a {kind}"),
        _route("GET", deleted, kind, listing, r.deleted_getter(kind), f"Read a deleted {kind}"),
        _route("POST", f"{deleted}/recover", kind, "recover/action", r.recoverer(kind), f"Recover a {kind}"),
        _route("DELETE", deleted, kind, "purge/action", r.purger(kind), f"Let go of a {kind} for good"),
    ]


ROUTES = [
    _route("PUT", "/secrets/{name}", "secret", "setSecret/action", r.set_secret, "Set a secret"),
    _route("GET", "/secrets/{name}", "secret", "getSecret/action", r.get_secret, "Read a secret's newest version"),
    _route("GET", "/secrets/{name}/{version}", "secret", "getSecret/action", r.get_secret, "Read a version of a secret"),
    _route("PATCH", "/secrets/{name}/{version}", "secret", "update/action", r.change_secret, "Change a version of a secret"),
    *_both("secret", "readMetadata/action"),
    _route("POST", "/keys/{name}/create", "key", "create/action", r.create_key, "Create a key, or a version of it"),
    _route("GET", "/keys/{name}", "key", "read", r.get_key, "Read a key's newest version"),
    _route("GET", "/keys/{name}/{version}", "key", "read", r.get_key, "Read a version of a key"),
    _route("PATCH", "/keys/{name}/{version}", "key", "update/action", r.change_key, "Change a version of a key"),
    _route("POST", "/keys/{name}/{version}/sign", "key", "sign/action", r.sign, "Sign a digest"),
    _route("POST", "/keys/{name}/{version}/verify", "key", "verify/action", r.verify, "Verify a signature"),
    *_both("key", "read"),
    Route("POST", admin.HOST, "/keyvault/keys", seeds.add_key, auth="none", doc="A key that is known beforehand"),
]
