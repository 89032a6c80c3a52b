"""Secrets and keys, their versions, and what happens to them when they are deleted.

Sources: https://learn.microsoft.com/rest/api/keyvault/ and
https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates. They are kept below the vault in the state, and
go with it.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
from typing import TYPE_CHECKING, Any

from emulator.keyvault.errors import VaultError, bad_parameter, missing, not_allowed

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
LONGEST = 25_600
"""Characters of a secret."""


def vault(cloud: Cloud, name: str) -> Document:
    """The resource of a vault; of equal names the one that was made last."""
    found = [
        each
        for each in cloud.store.list("resource")
        if each["type"] == "Microsoft.KeyVault/vaults" and each["name"].lower() == name.lower()
    ]
    if not found:
        raise VaultError(404, "VaultNotFound", f"The emulator holds no key vault '{name}'; on Azure its address would not resolve.")
    return found[-1]


def check_name(kind: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise bad_parameter(f"The request URI contains an invalid name: {name}. A {kind}'s name has 1 to 127 letters, digits and dashes.")


def _id(vault: Document, kind: str, name: str) -> str:
    return f"{vault['id']}/data/{kind}s/{name}"


def entry(cloud: Cloud, vault: Document, kind: str, name: str, deleted: bool = False) -> Document:
    """A secret or key with all its versions. Raises Key Vault's 404."""
    check_name(kind, name)
    found = cloud.store.get(_id(vault, kind, name))
    if found is None or (found["deleted"] is not None) != deleted:
        raise missing(kind, name)
    return found


def version(cloud: Cloud, vault: Document, kind: str, name: str, id: str = "") -> tuple[Document, Document]:
    """A secret or key and one version of it, without an id the newest. Raises Key Vault's 404."""
    found = entry(cloud, vault, kind, name)
    wanted = next((each for each in found["versions"] if each["version"] == id.lower()), None) if id else found["versions"][-1]
    if wanted is None:
        raise missing(kind, f"{name}/{id}")
    return found, wanted


def add_version(cloud: Cloud, vault: Document, kind: str, name: str, body: Document, more: Document) -> Document:
    """A new version, of a secret or key that may be new itself. Raises 409 for a name that is deleted but not gone."""
    check_name(kind, name)
    known = cloud.store.get(_id(vault, kind, name))
    if known and known["deleted"]:
        label = kind.capitalize()
        raise VaultError(
            409,
            "Conflict",
            f"{label} {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the {kind} "
            "can only be recovered or purged.",
            "ObjectIsDeletedButRecoverable",
        )
    now = int(cloud.now().timestamp())
    made = {
        "version": secrets.token_hex(16),
        "attributes": {"enabled": True, **_attributes(body), "created": now, "updated": now},
        "tags": body.get("tags") or {},
        **more,
    }
    document = known or {"name": name, "versions": [], "deleted": None}
    document["versions"].append(made)
    save(cloud, vault, kind, document)
    return made


def _attributes(body: Document) -> Document:
    given = body.get("attributes") or {}
    found = {name: given[name] for name in ("enabled", "nbf", "exp", "exportable") if given.get(name) is not None}
    for name in ("nbf", "exp"):
        if name in found and not isinstance(found[name], int):
            raise bad_parameter(f"Property {name} of attributes has an invalid value: seconds since 1970 are expected.")
    return found


def change_version(cloud: Cloud, vault: Document, kind: str, document: Document, found: Document, body: Document) -> None:
    """What may change of a version: attributes, tags, a secret's content type, a key's operations."""
    found["attributes"] |= {**_attributes(body), "updated": int(cloud.now().timestamp())}
    found |= {name: body[name] for name in ("tags", "contentType", "key_ops") if name in body}
    save(
        cloud,
        vault,
        kind,
        {**document, "versions": [found if each["version"] == found["version"] else each for each in document["versions"]]},
    )


def save(cloud: Cloud, vault: Document, kind: str, document: Document) -> None:
    cloud.store.put(_id(vault, kind, document["name"]), f"keyvault_{kind}", document)


def listed(cloud: Cloud, vault: Document, kind: str, deleted: bool = False) -> list[Document]:
    found = cloud.store.list(f"keyvault_{kind}", under=f"{vault['id']}/data")
    return sorted((each for each in found if (each["deleted"] is not None) == deleted), key=lambda each: str(each["name"]))


def remove(cloud: Cloud, vault: Document, kind: str, name: str) -> Document:
    """Delete; the name can be recovered or purged for as long as the vault says, 90 days by default."""
    found = entry(cloud, vault, kind, name)
    now = cloud.now()
    days = int(vault["properties"].get("softDeleteRetentionInDays") or 90)
    found["deleted"] = {"at": int(now.timestamp()), "until": int((now + dt.timedelta(days=days)).timestamp())}
    save(cloud, vault, kind, found)
    return found


def recover(cloud: Cloud, vault: Document, kind: str, name: str) -> Document:
    found = entry(cloud, vault, kind, name, deleted=True)
    found["deleted"] = None
    save(cloud, vault, kind, found)
    return found


def purge(cloud: Cloud, vault: Document, kind: str, name: str) -> None:
    """Let go of for good, unless the vault forbids it."""
    found = entry(cloud, vault, kind, name, deleted=True)
    if vault["properties"].get("enablePurgeProtection"):
        raise VaultError(403, "Forbidden", 'Operation "purge" is not allowed because purge protection is enabled for this vault.')
    cloud.store.delete(_id(vault, kind, found["name"]))


def usable(cloud: Cloud, found: Document, operation: str, kind: str) -> None:
    """Raises 403 for a version that is switched off; a key has to be in its time as well."""
    attributes, now = found["attributes"], cloud.now().timestamp()
    if not attributes["enabled"]:
        raise not_allowed(operation, "disabled", kind)
    if kind == "key":
        if attributes.get("nbf", 0) > now:
            raise not_allowed(operation, "not yet valid", kind)
        if attributes.get("exp", now + 1) <= now:
            raise not_allowed(operation, "expired", kind)


# --- as Key Vault shows them -----------------------------------------------------------------------------------------------------


def address(vault: Document, kind: str, name: str, version: str = "", deleted: bool = False) -> str:
    base = vault["properties"]["vaultUri"].rstrip("/")
    return f"{base}/{'deleted' if deleted else ''}{kind}s/{name}" + (f"/{version}" if version else "")


def attributes(vault: Document, found: Document) -> Document:
    level = "Recoverable" if vault["properties"].get("enablePurgeProtection") else "Recoverable+Purgeable"
    days = int(vault["properties"].get("softDeleteRetentionInDays") or 90)
    return {**found["attributes"], "recoveryLevel": level, "recoverableDays": days}


def shown_deletion(vault: Document, kind: str, document: Document) -> Document:
    deleted = document["deleted"]
    return {
        "recoveryId": address(vault, kind, document["name"], deleted=True),
        "deletedDate": deleted["at"],
        "scheduledPurgeDate": deleted["until"],
    }
