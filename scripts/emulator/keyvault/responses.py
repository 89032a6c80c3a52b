"""HTTP in and out of vault.azure.net: who calls, what they may, and the form of the answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from emulator.arm import roles
from emulator.core import Call, Handler, Principal, Reply
from emulator.entra import groups
from emulator.entra import models as entra
from emulator.errors import AzureError
from emulator.keyvault import models, signing
from emulator.keyvault.errors import RESOURCE, bad_parameter, challenge, forbidden_by_policy, forbidden_by_rbac, not_permitted

Document = dict[str, Any]
AUDIENCES = (RESOURCE, RESOURCE + "/", "cfa8b339-82a2-471a-a3c9-0fc0be7a4093")
VERSIONS = re.compile(r"2016-10-01|7\.[0-6](-preview\.\d)?|202[56]-\d\d-\d\d(-preview)?")
PAGE = 25
"""Entries of a list, at most."""
_POLICY = {
    "getSecret/action": "get", "readMetadata/action": "list", "setSecret/action": "set", "update/action": "update", "delete": "delete",
    "recover/action": "recover", "purge/action": "purge", "create/action": "create", "sign/action": "sign", "verify/action": "verify",
}  # fmt: skip
"""What an access policy calls an action of a role."""
_ML = "Microsoft.KeyVault/vaults"


def let_in(kind: str, action: str, work: Callable[[Call, Document], Any]) -> Handler:
    """The handler of an operation on secrets or keys that needs a data action, such as ``sign/action``."""

    async def handler(call: Call) -> Any:
        principal = _principal(call)
        _check_version(call)
        vault = models.vault(call.cloud, call.params["vault"])
        name = call.params.get("name")
        scope = f"{vault['id']}/{kind}s/{name}" if name else vault["id"]
        _authorize(call, principal, vault, kind, action, scope)
        return work(call, vault)

    return handler


def _principal(call: Call) -> Principal:
    """Who calls. Raises Key Vault's 401, with the challenge that clients begin with."""
    header = call.request.headers.get("authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise challenge("AKV10000: Request is missing a Bearer or PoP token.")
    try:
        principal = entra.validate(call.cloud, token.strip())
    except AzureError as error:
        raise challenge(f"AKV10046: {error.message}") from None
    if principal.audience not in AUDIENCES:
        raise challenge(f"AKV10022: Invalid audience. Expected {RESOURCE}, found: {principal.audience}.")
    return principal


def _check_version(call: Call) -> None:
    version = call.query.get("api-version")
    if not version:
        raise bad_parameter("api-version must be specified")
    if not VERSIONS.fullmatch(version):
        raise bad_parameter(
            f"The specified version ({version}) is not recognized. Consider using the latest supported version (2025-07-01)."
        )


def _authorize(call: Call, principal: Principal, vault: Document, kind: str, action: str, scope: str) -> None:
    """By role assignments where the vault says so, else by its access policies."""
    if vault["properties"].get("enableRbacAuthorization"):
        wanted = f"{_ML}/{kind}s/{action}"
        if not roles.allowed(call.cloud, principal, wanted, scope, data=True):
            raise forbidden_by_rbac(principal, wanted, scope, vault)
        return
    permission = ("list" if "name" not in call.params else "get") if action == "read" else _POLICY[action]
    holders = {principal.oid.lower(), *groups.groups_of(call.cloud, principal.oid)}
    for policy in vault["properties"].get("accessPolicies") or ():
        held = {str(each).lower() for each in (policy.get("permissions") or {}).get(f"{kind}s") or ()}
        if str(policy.get("objectId")).lower() in holders and held & {permission, "all"}:
            return
    raise forbidden_by_policy(principal, f"{kind}s", permission, vault)


def _body(call: Call) -> Document:
    if not call.raw:
        return {}
    try:
        body = call.body
    except AzureError:
        raise bad_parameter("The request body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise bad_parameter("The request body must be an object.")
    return body


def _page(call: Call, rows: list[Document]) -> Document:
    """A page of a list: ``maxresults``, and the address of the next one."""
    size, skip = call.query.get("maxresults", str(PAGE)), call.query.get("$skiptoken", "0")
    if not size.isdigit() or not 1 <= int(size) <= PAGE:
        raise bad_parameter(f"maxresults must be between 1 and {PAGE}.")
    start, count = int(skip) if skip.isdigit() else 0, int(size)
    more = start + count < len(rows)
    version = call.query["api-version"]
    link = f"https://{call.host}{call.path}?api-version={version}&$skiptoken={start + count}&maxresults={count}" if more else None
    return {"value": rows[start : start + count], "nextLink": link}


# --- secrets ---------------------------------------------------------------------------------------------------------------------


def set_secret(call: Call, vault: Document) -> Document:
    body, name = _body(call), call.params["name"]
    if not isinstance(body.get("value"), str):
        raise bad_parameter("Required parameter 'value' is missing or is not a string.")
    if len(body["value"]) > models.LONGEST:
        raise bad_parameter(f"Property value is too long: a secret has at most {models.LONGEST} characters.")
    more = {"value": body["value"], "contentType": body.get("contentType")}
    made = models.add_version(call.cloud, vault, "secret", name, body, more)
    return _shown_secret(vault, name, made, value=True)


def get_secret(call: Call, vault: Document) -> Document:
    found, wanted = models.version(call.cloud, vault, "secret", call.params["name"], call.params.get("version", ""))
    models.usable(call.cloud, wanted, "get", "secret")
    return _shown_secret(vault, found["name"], wanted, value=True)


def change_secret(call: Call, vault: Document) -> Document:
    found, wanted = models.version(call.cloud, vault, "secret", call.params["name"], call.params["version"])
    models.change_version(call.cloud, vault, "secret", found, wanted, _body(call))
    return _shown_secret(vault, found["name"], wanted)


def _shown_secret(vault: Document, name: str, found: Document, value: bool = False, short: bool = False) -> Document:
    shown: Document = {"value": found["value"]} if value else {}
    if found.get("contentType"):
        shown["contentType"] = found["contentType"]
    id = models.address(vault, "secret", name, "" if short else found["version"])
    return {**shown, "id": id, "attributes": models.attributes(vault, found), "tags": found["tags"]}


# --- keys ------------------------------------------------------------------------------------------------------------------------


def create_key(call: Call, vault: Document) -> Document:
    body, name = _body(call), call.params["name"]
    models.check_name("key", name)
    made = models.add_version(call.cloud, vault, "key", name, body, signing.create(body))
    return _shown_key(vault, name, made)


def get_key(call: Call, vault: Document) -> Document:
    """The public part; also of a key that is switched off."""
    found, wanted = models.version(call.cloud, vault, "key", call.params["name"], call.params.get("version", ""))
    return _shown_key(vault, found["name"], wanted)


def change_key(call: Call, vault: Document) -> Document:
    found, wanted = models.version(call.cloud, vault, "key", call.params["name"], call.params["version"])
    models.change_version(call.cloud, vault, "key", found, wanted, _body(call))
    return _shown_key(vault, found["name"], wanted)


def sign(call: Call, vault: Document) -> Document:
    body, wanted, kid = _signer(call, vault, "sign")
    return {"kid": kid, "value": signing.sign(wanted, kid, str(body.get("alg") or ""), body.get("value"))}


def verify(call: Call, vault: Document) -> Document:
    body, wanted, kid = _signer(call, vault, "verify")
    return {"value": signing.verify(wanted, kid, str(body.get("alg") or ""), body.get("digest"), body.get("value"))}


def _signer(call: Call, vault: Document, operation: str) -> tuple[Document, Document, str]:
    found, wanted = models.version(call.cloud, vault, "key", call.params["name"], call.params.get("version", ""))
    models.usable(call.cloud, wanted, operation, "key")
    if operation not in wanted["key_ops"]:
        raise not_permitted(operation)
    return _body(call), wanted, models.address(vault, "key", found["name"], wanted["version"])


def _shown_key(vault: Document, name: str, found: Document) -> Document:
    kid = models.address(vault, "key", name, found["version"])
    key = {"kid": kid, "kty": found["kty"], "key_ops": found["key_ops"], **signing.public(found)}
    return {"key": key, "attributes": models.attributes(vault, found), "tags": found["tags"]}


def _short_key(vault: Document, name: str, found: Document, short: bool) -> Document:
    kid = models.address(vault, "key", name, "" if short else found["version"])
    return {"kid": kid, "attributes": models.attributes(vault, found), "tags": found["tags"]}


# --- both ------------------------------------------------------------------------------------------------------------------------


def _row(vault: Document, kind: str, name: str, found: Document, short: bool = True) -> Document:
    """An entry of a list: no value, no key."""
    return _short_key(vault, name, found, short) if kind == "key" else _shown_secret(vault, name, found, short=short)


def _whole(vault: Document, kind: str, document: Document) -> Document:
    """A deleted secret (without its value) or key, with when it will be gone."""
    newest = document["versions"][-1]
    shown = _shown_key(vault, document["name"], newest) if kind == "key" else _shown_secret(vault, document["name"], newest)
    return {**shown, **(models.shown_deletion(vault, kind, document) if document["deleted"] else {})}


def lister(kind: str) -> Callable[[Call, Document], Any]:
    def work(call: Call, vault: Document) -> Document:
        rows = [_row(vault, kind, each["name"], each["versions"][-1]) for each in models.listed(call.cloud, vault, kind)]
        return _page(call, rows)

    return work


def version_lister(kind: str) -> Callable[[Call, Document], Any]:
    def work(call: Call, vault: Document) -> Document:
        """The versions of a secret or key; none of one that is not there."""
        found = [each for each in models.listed(call.cloud, vault, kind) if each["name"].lower() == call.params["name"].lower()]
        return _page(call, [_row(vault, kind, each["name"], one, short=False) for each in found for one in each["versions"]])

    return work


def remover(kind: str) -> Callable[[Call, Document], Any]:
    def work(call: Call, vault: Document) -> Document:
        return _whole(vault, kind, models.remove(call.cloud, vault, kind, call.params["name"]))

    return work


def deleted_getter(kind: str) -> Callable[[Call, Document], Any]:
    def work(call: Call, vault: Document) -> Document:
        return _whole(vault, kind, models.entry(call.cloud, vault, kind, call.params["name"], deleted=True))

    return work


def recoverer(kind: str) -> Callable[[Call, Document], Any]:
    def work(call: Call, vault: Document) -> Document:
        return _whole(vault, kind, models.recover(call.cloud, vault, kind, call.params["name"]))

    return work


def purger(kind: str) -> Callable[[Call, Document], Any]:
    def work(call: Call, vault: Document) -> Reply:
        models.purge(call.cloud, vault, kind, call.params["name"])
        return Reply(204)

    return work
