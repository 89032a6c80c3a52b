"""HTTP in and out of login.microsoftonline.com."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import jwt
from starlette.responses import HTMLResponse

from emulator.azure_devops.models import APPLICATION
from emulator.core import ARM, TENANT, Call, Reply
from emulator.entra import exceptions, models, proof
from emulator.entra.signing import base64url

HOST = "login.microsoftonline.com"
ANY_TENANT = ("common", "organizations", "consumers")
_OIDC = {"openid", "profile", "offline_access", "email"}
_NO_STORE = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}

_HOSTS = {
    ARM,
    "management.core.windows.net",
    "graph.microsoft.com",
    "ml.azure.com",
    "storage.azure.com",
    "vault.azure.net",
    "database.windows.net",
    "api.loganalytics.io",
    "containerregistry.azure.net",
    "cognitiveservices.azure.com",
    "app.vssps.visualstudio.com",
}
_SUFFIXES = (".blob.core.windows.net", ".dfs.core.windows.net", ".file.core.windows.net", ".vault.azure.net", ".api.azureml.ms")
_IDS = {"00000003-0000-0000-c000-000000000000", "18a66f5f-dbdf-4c17-9dd7-1634712a9cbe", "797f4846-ba00-4fd7-ba43-dac1f8f63013", APPLICATION}


def _tenant(call: Call, error: str = "invalid_request") -> str:
    """The tenant that the path names: its id, also for its domain; ``common`` and its like as they are."""
    named = call.params["tenant"]
    if named.lower() in ANY_TENANT:
        return named.lower()
    if named.lower() in (TENANT, models.TENANT_DOMAIN):
        return TENANT
    raise exceptions.unknown_tenant(named, error)


async def instance_discovery(call: Call) -> Any:
    aliases = ["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"]
    return {
        "tenant_discovery_endpoint": f"https://{HOST}/{TENANT}/v2.0/.well-known/openid-configuration",
        "api-version": call.query.get("api-version", "1.1"),
        "metadata": [{"preferred_network": HOST, "preferred_cache": "login.windows.net", "aliases": aliases}],
    }


async def configuration_v2(call: Call) -> Any:
    tenant = _tenant(call, "invalid_tenant")
    base = f"https://{HOST}/{tenant}"
    shown = tenant if tenant == TENANT else "{tenantid}"
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "issuer": f"https://{HOST}/{shown}/v2.0",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
        "userinfo_endpoint": "https://graph.microsoft.com/oidc/userinfo",
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        **_SUPPORTED,
    }


async def configuration_v1(call: Call) -> Any:
    tenant = _tenant(call, "invalid_tenant")
    base = f"https://{HOST}/{tenant}"
    return {
        "token_endpoint": f"{base}/oauth2/token",
        "jwks_uri": f"{base}/discovery/keys",
        "issuer": models.ISSUER if tenant == TENANT else "https://sts.windows.net/{tenantid}/",
        "authorization_endpoint": f"{base}/oauth2/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/devicecode",
        "end_session_endpoint": f"{base}/oauth2/logout",
        "userinfo_endpoint": f"{base}/openid/userinfo",
        "scopes_supported": ["openid"],
        **_SUPPORTED,
    }


_SUPPORTED: dict[str, Any] = {
    "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
    "response_modes_supported": ["query", "fragment", "form_post"],
    "subject_types_supported": ["pairwise"],
    "id_token_signing_alg_values_supported": ["RS256"],
    "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
    "claims_supported": ["sub", "iss", "aud", "exp", "iat", "tid", "ver", "oid", "preferred_username", "name"],
    "request_uri_parameter_supported": False,
    "http_logout_supported": True,
    "tenant_region_scope": "EU",
    "cloud_instance_name": "microsoftonline.com",
    "cloud_graph_host_name": "graph.windows.net",
    "msgraph_host": "graph.microsoft.com",
}


async def keys(call: Call) -> Any:
    _tenant(call)
    return {"keys": [{**models.entra_key(call.cloud).jwk(), "issuer": models.ISSUER_V2}]}


async def user_realm(call: Call) -> Any:
    """Every person's account is a managed one: no federation (read by msal before it sends a password)."""
    name = call.params["user"]
    return {
        "ver": "1.0",
        "account_type": "Managed" if name.lower().endswith("@" + models.TENANT_DOMAIN) else "Unknown",
        "domain_name": name.rsplit("@", 1)[-1],
        "cloud_instance_name": "microsoftonline.com",
        "cloud_audience_urn": "urn:federation:MicrosoftOnline",
    }


async def authorize(call: Call) -> HTMLResponse:
    return HTMLResponse(
        "<p>The emulator has no sign-in page. Sign in as a service principal, or as a person with "
        "<code>az login --username ... --password ...</code>.</p>",
        501,
    )


async def token_v2(call: Call) -> Reply:
    return _token(call, version=2)


async def token_v1(call: Call) -> Reply:
    return _token(call, version=1)


def _token(call: Call, version: int) -> Reply:
    tenant = _tenant(call)
    form = dict(parse_qsl(call.raw.decode(errors="replace"), keep_blank_values=True))
    basic_id, basic_secret = _basic(call)
    client_id, grant = form.get("client_id") or basic_id, form.get("grant_type")
    if not client_id:
        raise exceptions.missing_parameter("client_id")
    if not grant:
        raise exceptions.missing_parameter("grant_type")
    if grant == "client_credentials":
        if tenant != TENANT:
            raise exceptions.tenantless()
        proven = proof.authenticate(call.cloud, client_id, form, basic_secret)
        return _answer(call, version, _audience(call, form, version, app_only=True), client_id, proven)
    if grant in ("password", "refresh_token"):
        person = _by_password(call, form) if grant == "password" else _by_refresh_token(call, form)
        audience = _audience(call, form, version, app_only=False)
        reply = _answer(call, version, audience, person["id"], "0")
        reply.body |= {"scope": f"{audience.rstrip('/')}/user_impersonation"} | _session(call, person, client_id)
        return reply
    raise exceptions.unsupported_grant(grant)


def _basic(call: Call) -> tuple[str | None, str | None]:
    scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None, None
    try:
        name, _, secret = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None, None
    return unquote_plus(name), unquote_plus(secret)


def _audience(call: Call, form: dict[str, str], version: int, app_only: bool) -> str:
    """The resource that the token is for: the ``resource`` of v1, the ``scope`` of v2 without its last segment."""
    if version == 1:
        resource = form.get("resource")
        if not resource:
            raise exceptions.missing_parameter("resource")
    else:
        if not form.get("scope"):
            raise exceptions.missing_parameter("scope")
        scopes = [scope for scope in form["scope"].split() if scope not in _OIDC]
        if app_only and (len(scopes) != 1 or not scopes[0].endswith("/.default")):
            raise exceptions.bad_scope(form["scope"])
        resource = scopes[0].rpartition("/")[0] if scopes else "https://graph.microsoft.com"
    if not _known_resource(call, resource):
        raise exceptions.unknown_resource(resource, models.TENANT_NAME)
    return resource


def _known_resource(call: Call, resource: str) -> bool:
    host = resource.removeprefix("https://").rstrip("/")
    if host in _HOSTS or host.endswith(_SUFFIXES) or resource in _IDS or resource.startswith(models.EXCHANGE_AUDIENCE):
        return True
    return any(resource == app["appId"] or resource in app["identifierUris"] for app in call.cloud.store.list("application"))


def _answer(call: Call, version: int, audience: str, who: str, proven: str) -> Reply:
    lifetime = int(call.cloud.settings.token_lifetime)
    token = models.issue(call.cloud, who, audience, lifetime, proven)
    if version == 2:
        body: dict[str, Any] = {"token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token}
    else:
        now = int(call.cloud.now().timestamp())
        body = {
            "token_type": "Bearer",
            "expires_in": str(lifetime),
            "ext_expires_in": str(lifetime),
            "expires_on": str(now + lifetime),
            "not_before": str(now - 300),
            "resource": audience,
            "access_token": token,
        }
    return Reply(200, body, dict(_NO_STORE))


def _by_password(call: Call, form: dict[str, str]) -> models.Document:
    person = models.user(call.cloud, form.get("username", ""))
    if person is None:
        raise exceptions.unknown_user(form.get("username", ""), TENANT)
    if not models.has_password(person, form.get("password", "")):
        raise exceptions.bad_password()
    return person


def _by_refresh_token(call: Call, form: dict[str, str]) -> models.Document:
    key = models.entra_key(call.cloud)
    try:
        claims = jwt.decode(
            form.get("refresh_token", ""),
            key.private.public_key(),
            algorithms=["RS256"],
            audience="refresh_token",
            options={"require": ["oid"]},
        )
    except jwt.InvalidTokenError:
        raise exceptions.bad_refresh_token() from None
    person = models.user(call.cloud, claims["oid"])
    if person is None:
        raise exceptions.bad_refresh_token()
    return person


def _session(call: Call, person: models.Document, client_id: str) -> dict[str, Any]:
    """What a person's client keeps: who signed in, and how to get the next token."""
    key, now = models.entra_key(call.cloud), int(call.cloud.now().timestamp())
    return {
        "id_token": key.sign(
            {
                "aud": client_id,
                "iss": models.ISSUER_V2,
                "iat": now,
                "nbf": now,
                "exp": now + 3600,
                "name": person["displayName"],
                "oid": person["id"],
                "preferred_username": person["userPrincipalName"],
                "sub": person["id"],
                "tid": TENANT,
                "uti": secrets.token_urlsafe(16),
                "ver": "2.0",
            }
        ),
        "refresh_token": key.sign({"aud": "refresh_token", "oid": person["id"], "client": client_id, "iat": now}),
        "client_info": base64url(json.dumps({"uid": person["id"], "utid": TENANT}).encode()),
    }
