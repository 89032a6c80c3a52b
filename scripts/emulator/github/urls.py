"""Routes of GitHub's token service."""

from __future__ import annotations

from emulator.core import Route
from emulator.github import responses as r
from emulator.github.models import ISSUER, REQUEST_HOST

_HOST = ISSUER.removeprefix("https://")

ROUTES = [
    Route("GET", _HOST, "/.well-known/openid-configuration", r.configuration, auth="none", doc="OpenID configuration"),
    Route("GET", _HOST, "/.well-known/jwks", r.keys, auth="none", doc="Signing keys"),
    Route("GET|POST", REQUEST_HOST, "/idtoken", r.id_token, auth="none", doc="A workflow job's OIDC token"),
]
