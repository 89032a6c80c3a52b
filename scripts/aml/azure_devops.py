"""Azure DevOps' REST API, as a job's access token or a person's is allowed to use it.

Sources: learn.microsoft.com/rest/api/azure/devops; "Use personal access tokens" and "Predefined variables", System.AccessToken
(learn.microsoft.com/azure/devops). Without the header X-TFS-FedAuthRedirect a refused sign-in is a redirect to a page for people.
"""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import quote, unquote

from azure.core.rest import HttpResponse

from aml import ci, rest
from aml.command import Refusal

VERSION = "7.1-preview.1"
_COLLECTION = re.compile(r"https://(?:dev\.azure\.com/([A-Za-z0-9-]+)|([A-Za-z0-9-]+)\.visualstudio\.com)/?")


class Client:
    """The API as one token sees it, with paths below the project's `_apis`. Errors are Refusals that name what is missing.

    `token` is a job's, or with `personal` a personal access token; `collection_uri` is https://dev.azure.com/<organization>/.
    """

    def __init__(self, token: str, collection_uri: str, project: str, *, personal: bool = False) -> None:
        found = _COLLECTION.fullmatch(collection_uri)
        if not found or not project:
            why = "an address is https://dev.azure.com/<organization>/<project>"
            raise Refusal(
                f"'{collection_uri}{project}' is no project on Azure DevOps", why, "name it with --azure-devops (AML_AZURE_DEVOPS)"
            )
        if not token:
            raise Refusal(
                "There is no token for Azure DevOps",
                f"neither of {' and '.join(ci.AZURE_DEVOPS_TOKENS)} is set",
                "give the step env SYSTEM_ACCESSTOKEN: $(System.AccessToken), or export AZURE_DEVOPS_EXT_PAT on a person's machine",
            )
        self.organization, self.project = found[1] or found[2], project
        self._root = collection_uri.rstrip("/")
        said = f"Basic {base64.b64encode(f':{token}'.encode()).decode()}" if personal else f"Bearer {token}"
        self._session = rest.Session({"Authorization": said, "Accept": "application/json", "X-TFS-FedAuthRedirect": "Suppress"})

    def get(self, path: str, *, version: str = VERSION, **query: str) -> Any:
        """Read; None for what is not there, or not for this token to see."""
        return self._json(self._send("GET", path, {**query, "api-version": version}))

    def post(self, path: str, body: Any, *, version: str = VERSION, content_type: str = "application/json", **query: str) -> Any:
        """Add."""
        response = self._send("POST", path, {**query, "api-version": version}, body, content_type)
        return self._json(response, missing=False)

    def patch(self, path: str, body: Any) -> Any:
        """Change."""
        return self._json(self._send("PATCH", path, body=body), missing=False)

    def put(self, path: str, body: Any) -> Any:
        """Create or replace."""
        return self._json(self._send("PUT", path, body=body), missing=False)

    def delete(self, path: str) -> None:
        """Delete; what is not there is fine."""
        self._json(self._send("DELETE", path))

    def identities(self, name: str) -> list[dict[str, Any]]:
        """People and groups by a whole name: a group's is `[project]\\name`, a person's the one that they sign in with."""
        url = f"https://vssps.dev.azure.com/{self.organization}/_apis/identities"
        query = {"searchFilter": "General", "filterValue": name, "queryMembership": "None", "api-version": VERSION}
        found: list[dict[str, Any]] = (self._json(self._session.send("GET", url, query)) or {}).get("value", [])
        return [one for one in found if one.get("isActive", True)]

    def _send(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None, content_type: str = "application/json"
    ) -> HttpResponse:
        """`path` is below the project; one that begins with / below the organization."""
        below = f"{self._root}/_apis{path}" if path.startswith("/") else f"{self._root}/{quote(self.project, safe='')}/_apis/{path}"
        return self._session.send(method, below, {"api-version": VERSION, **(query or {})}, body, content_type)

    def _json(self, response: HttpResponse, *, missing: bool = True) -> Any:
        status = response.status_code
        if status == 404 and missing:
            return None
        if status < 300 and status != 203:  # 203 is the page where a person would sign in
            return response.json() if response.content else None
        fix = {
            203: "give it a token that has not expired",
            302: "give it a token that has not expired",
            401: "give it a token that has not expired",
            403: "have what it names granted; a job acts as the project's build service",
            429: "wait some minutes and run it again",
        }.get(status, "correct what Azure DevOps names" if status < 500 else "run it again; if it stays, look at Azure DevOps' status page")
        raise rest.refusal("Azure DevOps", response, fix)


def connect(place: str = "") -> Client:
    """The API with the token and the project that the environment names.

    `place`, https://dev.azure.com/<organization>/<project>, goes before; a personal access token is taken where there is no job's.
    """
    collection, project, token, personal = ci.azure_devops()
    if place:
        collection, _, project = place.rstrip("/").rpartition("/")
    return Client(token, collection, unquote(project), personal=personal)
