"""GitHub's refusals: ``{"message", "documentation_url", "status"}``, with ``errors`` where a field is at fault.

Source: https://docs.github.com/rest/using-the-rest-api/troubleshooting-the-rest-api.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulator.errors import AzureError

DOCS = "https://docs.github.com/rest"


class GitHubError(AzureError):
    """An answer that GitHub gives instead of a result."""

    def __init__(self, status: int, message: str, errors: Sequence[Any] = (), headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, "", message, headers=headers)
        self.errors = list(errors)
        self.documentation = DOCS

    def body(self) -> dict[str, Any]:
        """The JSON body; ``documentation`` is the page of the operation that was asked for."""
        shown: dict[str, Any] = {"message": self.message}
        if self.errors:
            shown["errors"] = self.errors
        return {**shown, "documentation_url": self.documentation, "status": str(self.status)}


def not_found() -> GitHubError:
    """404, also for what the caller may not see."""
    return GitHubError(404, "Not Found")


def forbidden(message: str) -> GitHubError:
    return GitHubError(403, message)


def invalid(field: str, resource: str, code: str = "invalid", message: str = "") -> GitHubError:
    """422 as the older operations give it: which field of which resource is at fault, and how."""
    entry = {"resource": resource, "field": field, "code": code}
    return GitHubError(422, "Validation Failed", [{**entry, **({"message": message} if message else {})}])


def refused(*sentences: str) -> GitHubError:
    """422 as the operations give it that check a request against its schema."""
    return GitHubError(422, "\n\n".join(["Invalid request.", *sentences]))
