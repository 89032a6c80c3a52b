"""How GitHub writes addresses, times, ids and pages."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from emulator.core import Call, Cloud

HOST = "api.github.com"
API = f"https://{HOST}"
WEB = "https://github.com"


def number(name: str) -> int:
    """A stable number for an account, team or repository, in place of GitHub's; the OIDC claims carry the same."""
    return zlib.crc32(name.lower().encode())


def node_id(kind: str, id: int | str) -> str:
    """The id that GraphQL knows a thing by."""
    return base64.b64encode(f"{len(kind):03}:{kind}{id}".encode()).decode()


def stamp(cloud: Cloud) -> str:
    """The time as GitHub writes it, UTC to the second."""
    return cloud.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def next_number(cloud: Cloud, kind: str, first: int = 1) -> int:
    """A number that no other thing of this kind has had."""
    known = cloud.store.get(f"github/numbers/{kind}")
    value = int(known["last"]) + 1 if known else first
    cloud.store.put(f"github/numbers/{kind}", "github_number", {"last": value})
    return value


def page(call: Call, rows: list[Any]) -> tuple[list[Any], dict[str, str]]:
    """The rows of the page that is asked for, and the ``Link`` header to the others.

    30 to a page, at most 100 (https://docs.github.com/rest/using-the-rest-api/using-pagination-in-the-rest-api).
    """
    size, at = _positive(call.query.get("per_page"), 30, 100), _positive(call.query.get("page"), 1)
    last = max(1, -(-len(rows) // size))
    links: dict[str, int] = {}
    if at > 1:
        links |= {"prev": min(at - 1, last), "first": 1}
    if at < last:
        links |= {"next": at + 1, "last": last}
    headers = {}
    if links:
        base = f"{API}{call.path}?"
        headers["Link"] = ", ".join(
            f'<{base}{urlencode({**call.query, "page": str(links[name])})}>; rel="{name}"'
            for name in ("prev", "next", "last", "first")
            if name in links
        )
    return rows[(at - 1) * size : at * size], headers


def _positive(text: str | None, otherwise: int, most: int = 1 << 31) -> int:
    return min(int(text), most) if text and text.isdigit() and int(text) else otherwise
