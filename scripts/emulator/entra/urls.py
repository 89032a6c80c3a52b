"""Routes of login.microsoftonline.com."""

from __future__ import annotations

from emulator.core import Route
from emulator.entra import responses as r

ROUTES = [
    Route("GET", r.HOST, "/common/discovery/instance", r.instance_discovery, auth="none", doc="Instance discovery"),
    Route(
        "GET", r.HOST, "/{tenant}/v2.0/.well-known/openid-configuration", r.configuration_v2, auth="none", doc="OpenID configuration, v2"
    ),
    Route("GET", r.HOST, "/{tenant}/.well-known/openid-configuration", r.configuration_v1, auth="none", doc="OpenID configuration, v1"),
    Route("GET", r.HOST, "/{tenant}/discovery/v2.0/keys", r.keys, auth="none", doc="Signing keys, v2"),
    Route("GET", r.HOST, "/{tenant}/discovery/keys", r.keys, auth="none", doc="Signing keys, v1"),
    Route("GET", r.HOST, "/common/userrealm/{user}", r.user_realm, auth="none", doc="Whether an account is federated"),
    Route("GET", r.HOST, "/{tenant}/oauth2/v2.0/authorize", r.authorize, auth="none", doc="Sign-in page (says that there is none)"),
    Route("POST", r.HOST, "/{tenant}/oauth2/v2.0/token", r.token_v2, auth="none", doc="Token: client credentials, password, refresh token"),
    Route("POST", r.HOST, "/{tenant}/oauth2/token", r.token_v1, auth="none", doc="Token, v1 form"),
]
