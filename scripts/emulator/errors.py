"""Azure's error body, and the errors that every service shares.

The shape is ARM's: ``{"error": {"code", "message", "target", "details"}}``
(https://learn.microsoft.com/azure/azure-resource-manager/management/common-deployment-errors).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class AzureError(Exception):
    """An answer that Azure gives instead of a result: HTTP status, error code, message, and where it applies."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        target: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.details = list(details)
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON body, in ARM's shape."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.target:
            error["target"] = self.target
        if self.details:
            error["details"] = self.details
        return {"error": error}


def not_found(resource_id: str) -> AzureError:
    """404 in ARM's words; an ARM id is split into its type, name and group as the service does."""
    parts = resource_id.strip("/").split("/")
    lowered = [part.lower() for part in parts]
    if "resourcegroups" in lowered and "providers" in lowered:
        at = lowered.index("providers")
        kind = "/".join([parts[at + 1], *parts[at + 2 :]])
        group = parts[lowered.index("resourcegroups") + 1]
        return AzureError(404, "ResourceNotFound", f"The Resource '{kind}' under resource group '{group}' was not found.")
    if len(parts) == 4 and lowered[2] == "resourcegroups":
        return AzureError(404, "ResourceGroupNotFound", f"Resource group '{parts[3]}' could not be found.")
    return AzureError(404, "NotFound", f"The resource '{resource_id}' was not found.")


def bad_request(target: str, message: str, code: str = "UserError") -> AzureError:
    """400 that names the property at fault."""
    return AzureError(400, code, message, target=target)


def conflict(message: str, code: str = "Conflict") -> AzureError:
    """409: the entity is as it is, or somebody is changing it."""
    return AzureError(409, code, message)


def forbidden(who: str, oid: str, action: str, scope: str) -> AzureError:
    """403 with the sentence that ARM uses, so that clients that read it work."""
    return AzureError(
        403,
        "AuthorizationFailed",
        f"The client '{who}' with object id '{oid}' does not have authorization to perform action '{action}' over scope '{scope}' "
        "or the scope is invalid. If access was recently granted, please refresh your credentials.",
    )
