"""What nobody can ask of a key vault: a key that is known beforehand, with a version that is. A route of the emulator's own."""

from __future__ import annotations

from typing import Any

from emulator.admin import let_in
from emulator.core import Call
from emulator.errors import AzureError
from emulator.keyvault import models, signing
from emulator.keyvault.errors import VaultError


async def add_key(call: Call) -> Any:
    """A P-256 key of a ``vault`` by ``name``, ``version`` and ``private`` (PEM), so that a spec in a repository can pin it."""
    let_in(call)
    body = call.body if isinstance(call.body, dict) else {}
    try:
        vault, name, version = (str(body[part]) for part in ("vault", "name", "version"))
        with call.cloud.store.transaction():
            found = models.vault(call.cloud, vault)
            known = next((one for one in models.listed(call.cloud, found, "key") if one["name"] == name), {"versions": []})
            if version not in [one["version"] for one in known["versions"]]:
                models.add_version(call.cloud, found, "key", name, {}, {"version": version, **signing.known(str(body["private"]))})
    except VaultError as error:
        raise AzureError(error.status, "BadSeed", error.message) from None
    except (KeyError, TypeError, ValueError) as error:
        raise AzureError(400, "BadSeed", f"{type(error).__name__}: {error}") from None
    return {"kid": models.address(found, "key", name, version)}
