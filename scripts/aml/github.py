"""GitHub's REST API, as a job's token or a person's is allowed to use it.

Sources: docs.github.com/rest, "Permissions required for GitHub Apps" (which are those of a job's GITHUB_TOKEN), "Troubleshooting the
REST API" (404 for what a token may not see) and "Using pagination in the REST API".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from azure.core.rest import HttpResponse

from aml import ci, rest
from aml.command import Refusal

VERSION = "2022-11-28"
_REPOSITORY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}")


class Client:
    """The API as one token sees it, with paths below the repository; one that begins with / is below the API's address.

    Errors are Refusals that name the permission which is missing.
    """

    def __init__(self, token: str, repository: str) -> None:
        if not _REPOSITORY.fullmatch(repository):
            why = "a repository is named OWNER/NAME" if repository else "it is not known which repository is meant"
            raise Refusal(f"'{repository}' is no repository on GitHub", why, "name it with --repository (AML_REPOSITORY)")
        if not token:
            raise Refusal(
                "There is no token for GitHub",
                f"none of {', '.join(ci.GITHUB_TOKENS)} is set",
                "give the step env AML_GITHUB_TOKEN: ${{ github.token }}, or export GH_TOKEN on a person's machine",
            )
        self.repository, self.owner = repository, repository.partition("/")[0]
        self._root = ci.github()[0]
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json", "X-GitHub-Api-Version": VERSION}
        self._session = rest.Session(headers)

    def get(self, path: str = "", **query: str) -> Any:
        """Read; None for what is not there, or not for this token to see."""
        return self._json(self._send("GET", path, query))

    def pages(self, path: str, within: str = "", **query: str) -> Iterator[Any]:
        """All entries of a list, page by page; `within` is the key that holds it, where the answer is an object. None at all for 404.

        Raises Refusal for what is no list, and for a page that can't be followed: half a list must not be taken for all of it.
        """
        response = self._send("GET", path, {"per_page": "100", **query})
        if response.status_code == 404:
            return
        while True:
            found = self._json(response, missing=False)
            entries = found.get(within) if within and isinstance(found, dict) else found
            links = re.search(r'<([^>]+)>;[^,]*\brel="?next\b', response.headers.get("link", ""))
            following = links[1] if links else ""
            if not isinstance(entries, list) or not f"{following or self._root}/".startswith(f"{self._root}/"):
                why = f"its next page is at {following}" if isinstance(entries, list) else "what it answered is no list"
                raise Refusal(f"GitHub's list {path} can't be read to its end", why, "check GITHUB_API_URL, then run it again")
            yield from entries
            if not following:
                return
            response = self._session.send("GET", following)

    def put(self, path: str, body: Any) -> Any:
        """Create or replace."""
        return self._json(self._send("PUT", path, body=body), missing=False)

    def post(self, path: str, body: Any) -> Any:
        """Add."""
        return self._json(self._send("POST", path, body=body), missing=False)

    def delete(self, path: str) -> None:
        """Delete; what is not there is fine."""
        self._json(self._send("DELETE", path))

    def _send(self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None) -> HttpResponse:
        below = path if path.startswith("/") else f"/repos/{self.repository}/{path}".rstrip("/")
        return self._session.send(method, self._root + below, query, body)

    def _json(self, response: HttpResponse, *, missing: bool = True) -> Any:
        status = response.status_code
        if status == 404 and missing:
            return None
        if status < 300:
            return response.json() if response.content else None
        raise rest.refusal("GitHub", response, _fix(response, missing))


def part(name: str) -> str:
    """A name as part of a path."""
    return quote(name, safe="")


def connect(repository: str = "") -> Client:
    """The API with the token and the repository that the environment names; `repository` goes before."""
    _, known, token = ci.github()
    return Client(token, repository or known)


def _fix(response: HttpResponse, reads: bool) -> str:
    status = response.status_code
    if response.headers.get("x-ratelimit-remaining") == "0" or status == 429:
        return "wait until the limit of calls is over (an hour at most), then run it again"
    needed = response.headers.get("x-accepted-github-permissions", "")
    if status == 401:
        return "give it a token that has not expired"
    if status in (403, 404):
        grant = needed.replace("=", ": ").replace("_", "-") or ("actions: read" if reads else "administration: write")
        if reads or "administration" not in grant:  # which no job can have
            return f"grant the job `permissions: {grant}`"
        return f"use the token of somebody who administers the repository ({grant})"
    return "correct what GitHub names" if status < 500 else "run it again; if it stays, look at GitHub's status page"
