"""Key Vault's refusals, in the words that the service uses.

Sources: https://learn.microsoft.com/azure/key-vault/general/common-error-codes,
https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses, and answers of the service quoted in
sigstore/cosign#3094, Azure/azure-sdk-for-java#11033 and hashicorp/terraform-provider-azurerm#27817.
"""

from __future__ import annotations

from typing import Any

from emulator.core import TENANT, Principal
from emulator.entra.models import ISSUER
from emulator.errors import AzureError

RESOURCE = "https://vault.azure.net"


class VaultError(AzureError):
    """An error of the data plane: ``innererror`` says which kind of 403 it is."""

    def __init__(self, status: int, code: str, message: str, inner: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(status, code, message, headers=headers)
        self.inner = inner

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.inner:
            error["innererror"] = {"code": self.inner}
        return {"error": error}


def challenge(message: str) -> VaultError:
    """401 with the challenge by which clients learn the tenant and the resource to ask a token for."""
    value = f'Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="{RESOURCE}"'
    return VaultError(401, "Unauthorized", message, headers={"WWW-Authenticate": value})


def bad_parameter(message: str) -> VaultError:
    return VaultError(400, "BadParameter", message)


def missing(kind: str, name: str) -> VaultError:
    """404 for a secret or key, or a version of it."""
    code = kind.capitalize()
    return VaultError(
        404,
        f"{code}NotFound",
        f"A {kind} with (name/id) {name} was not found in this key vault. If you recently deleted this {kind} you may be able to recover "
        "it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182",
    )


def _caller(principal: Principal) -> str:
    return f"appid={principal.app_id};oid={principal.oid};iss={ISSUER}"


def forbidden_by_rbac(principal: Principal, action: str, resource: str, vault: dict[str, Any]) -> VaultError:
    return VaultError(
        403,
        "Forbidden",
        "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were "
        f"changed recently, please observe propagation time.\r\nCaller: {_caller(principal)}\r\nAction: '{action}'\r\n"
        f"Resource: '{resource.lower()}'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null \r\n"
        f"Vault: {vault['name']};location={vault['location']}\r\n",
        "ForbiddenByRbac",
    )


def forbidden_by_policy(principal: Principal, kind: str, permission: str, vault: dict[str, Any]) -> VaultError:
    return VaultError(
        403,
        "Forbidden",
        f"The user, group or application '{_caller(principal)}' does not have {kind} {permission} permission on key vault "
        f"'{vault['name']};location={vault['location']}'. For help resolving this issue, please see "
        "https://go.microsoft.com/fwlink/?linkid=2125287",
        "AccessDenied",
    )


def not_allowed(operation: str, state: str, kind: str) -> VaultError:
    """403 for a secret or key that is switched off, not valid yet, or expired."""
    inner = f"{kind.capitalize()}{'NotYetValid' if 'not yet' in state else state.split()[-1].capitalize()}"
    article = "an" if state[0] in "aeiou" else "a"
    return VaultError(403, "Forbidden", f"Operation {operation} is not allowed on {article} {state} {kind}.", inner)


def not_permitted(operation: str) -> VaultError:
    """403 for what is not among a key's operations."""
    return VaultError(403, "Forbidden", f"Operation {operation} is not permitted on this key.", "KeyOperationForbidden")
