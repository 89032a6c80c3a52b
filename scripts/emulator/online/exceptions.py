"""What the inference service answers when it refuses, in its words.

Codes: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#common-deployment-errors.
Texts as users of the service report them (Azure/azureml-examples#1931, Azure/azure-cli#17075, ansible-collections/azure#2231).
"""

from __future__ import annotations

import json

from emulator.errors import AzureError


def invalid(field: str, message: str) -> AzureError:
    """400 of the inference service behind ARM: it wraps its own validation errors, by field, in the detail."""
    inner = {"errors": {field: [message]}, "title": "One or more validation errors occurred."}
    detail = {"code": "InferencingClientCallFailed", "message": json.dumps(inner), "details": []}
    return AzureError(400, "BadRequest", "The request is invalid.", target=field, details=[detail])


def name_taken(name: str) -> AzureError:
    """400: scoring addresses are shared by a whole region."""
    return AzureError(
        400,
        "UserError",
        f"The specified endpoint name '{name}' is not available. Endpoint names must be unique within the region. "
        "Please choose a different name and try again.",
        target="name",
    )


def busy(workspace: str) -> AzureError:
    """409: the entity is being changed by an earlier request."""
    return AzureError(
        409, "Conflict", f"Conflict of operation, another operation on same entity is already running in workspace {workspace}."
    )


def not_emulated(what: str) -> AzureError:
    """501: Azure has it, the emulator has not."""
    return AzureError(501, "NotEmulated", f"The emulator does not cover {what}.")


def failed(code: str, message: str, status: int = 400) -> AzureError:
    """The end of a deployment operation that failed, with the pointer to the guide that the service adds."""
    return AzureError(
        status, code, f"{message} Please see troubleshooting guide, available here: https://aka.ms/oe-tsg#error-{code.lower()}"
    )
