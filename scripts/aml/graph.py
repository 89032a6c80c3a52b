"""The directory, by Microsoft Graph: applications with their credentials and owners, service principals, groups.

Source: learn.microsoft.com/graph/api, resources application, servicePrincipal, federatedIdentityCredential and group. Federated
credentials are read and written in `beta`, the only version that knows flexible ones; everything else in `v1.0`.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from aml import azure, federation
from aml.command import Refusal
from aml.federation import Credential

T = TypeVar("T")
Document = dict[str, Any]

HOST = "https://graph.microsoft.com"
SCOPE = f"{HOST}/.default"
_READ = "Application.Read.All, or the directory role Directory Readers"
_WRITE = "the directory role Application Administrator or Cloud Application Administrator, or Application.ReadWrite.All"


class NotAllowed(Refusal):
    """Graph does not let the sign-in see or do it. A caller that can do without says *not supplied*."""


class Client:
    """The directory as one credential sees it. Errors: NotAllowed; else azure-core's, which `command.run` explains."""

    def __init__(self, credential: TokenCredential) -> None:
        self._stable = azure.Client(f"{HOST}/v1.0", credential, api_version="", scope=SCOPE)
        self._beta = azure.Client(f"{HOST}/beta", credential, api_version="", scope=SCOPE)

    def application(self, client_id: str) -> Document | None:
        """An application by its client id, secrets' and certificates' ids and ends among it; None if the tenant has none."""
        found = self._list("applications", {"$filter": f"appId eq '{_quoted(client_id)}'"})
        return found[0] if found else None

    def applications_named(self, name: str) -> list[Document]:
        """All applications with a display name; names are not unique."""
        return self._list("applications", {"$filter": f"displayName eq '{_quoted(name)}'"})

    def service_principal(self, client_id: str) -> Document | None:
        """The service principal of an application in this tenant; None if there is none."""
        found = self._list("servicePrincipals", {"$filter": f"appId eq '{_quoted(client_id)}'"})
        return found[0] if found else None

    def federated(self, application: Document) -> list[Credential]:
        """The federated credentials of an application, classic and flexible."""
        return [federation.of_graph(one) for one in self._list(_credentials(application), {}, self._beta)]

    def owners(self, of: Document, kind: str = "applications") -> list[Document]:
        """Who owns an application (or of `servicePrincipals` one), and could so add a credential to it."""
        return self._list(f"{kind}/{of['id']}/owners", {})

    def members(self, group_id: str) -> list[Document]:
        """Everybody in a group, groups in groups opened."""
        return self._list(f"groups/{group_id}/transitiveMembers", {})

    def directory_objects(self, ids: list[str]) -> dict[str, Document]:
        """People, groups and service principals by their object ids, in lower case; who is gone is left out."""
        found: dict[str, Document] = {}
        for start in range(0, len(ids), 1000):  # Graph's limit for one call
            ask = functools.partial(self._stable.post, "directoryObjects/getByIds", {"ids": ids[start : start + 1000]})
            found |= {str(one["id"]).lower(): one for one in _told(ask, _READ)["value"]}
        return found

    def create_application(self, name: str) -> Document:
        """An application of this tenant alone."""
        return _told(lambda: self._stable.post("applications", {"displayName": name, "signInAudience": "AzureADMyOrg"}), _WRITE)

    def change_application(self, application: Document, **fields: Any) -> None:
        """Change some of an application's properties."""
        _told(lambda: self._stable.patch(f"applications/{application['id']}", fields), _WRITE)

    def create_service_principal(self, client_id: str) -> Document:
        """The service principal of an application, tried again while the application is too new to be seen everywhere."""
        return _told(lambda: _soon(lambda: self._stable.post("servicePrincipals", {"appId": client_id})), _WRITE)

    def add_federated(self, application: Document, credential: Credential) -> None:
        """Trust what a credential accepts."""
        _told(lambda: _soon(lambda: self._beta.post(_credentials(application), credential.body())), _WRITE)

    def change_federated(self, application: Document, id: str, credential: Credential) -> None:
        """Make a credential that is there accept this instead. Its name stays: Graph lets nobody change it."""
        body = {"claimsMatchingExpression": None, **credential.body()}
        body.pop("name")
        _told(lambda: self._beta.patch(f"{_credentials(application)}/{id}", body), _WRITE)

    def remove_federated(self, application: Document, id: str) -> None:
        """Trust it no more."""
        _told(lambda: self._beta.delete(f"{_credentials(application)}/{id}"), _WRITE)

    def remove_secret(self, application: Document, key_id: str) -> None:
        """Take a client secret away."""
        _told(lambda: self._stable.post(f"applications/{application['id']}/removePassword", {"keyId": key_id}), _WRITE)

    def _list(self, path: str, query: dict[str, str], client: azure.Client | None = None) -> list[Document]:
        return _told(lambda: list((client or self._stable).pages(path, "@odata.nextLink", **query)), _READ)


def _credentials(application: Document) -> str:
    return f"applications/{application['id']}/federatedIdentityCredentials"


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _told(action: Callable[[], T], needs: str) -> T:
    try:
        return action()
    except HttpResponseError as error:
        if error.status_code != 403:
            raise
        raise NotAllowed("Microsoft Graph does not allow it to the sign-in", azure.said(error), f"have it granted: {needs}") from error


_NEW = re.compile(r"does not reference a valid application|does not exist or one of its queried reference-property", re.IGNORECASE)


def _soon(action: Callable[[], T], seconds: float = 60) -> T:
    """Call again while Graph does not see yet what it made a moment ago."""
    ends, pause = time.monotonic() + seconds, 1.0
    while True:
        try:
            return action()
        except (ResourceNotFoundError, HttpResponseError) as error:
            if error.status_code not in (400, 404) or not _NEW.search(azure.said(error)) or time.monotonic() + pause > ends:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 10)
