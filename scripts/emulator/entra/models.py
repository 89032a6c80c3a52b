"""The directory (applications, service principals, people) and the access tokens issued from it.

Tokens are v1 tokens as ARM gets them: issuer ``https://sts.windows.net/<tenant>/``, ``appid``, ``oid``, ``idtyp``
(https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference). Azurite's ``--oauth`` takes them as they are.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import secrets
import uuid
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from emulator.core import ARM, TENANT, Principal
from emulator.entra.signing import SigningKey, signing_key
from emulator.errors import AzureError, bad_request, conflict

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]

TENANT_NAME = "Contoso"
TENANT_DOMAIN = "contoso.onmicrosoft.com"
ISSUER = f"https://sts.windows.net/{TENANT}/"
ISSUER_V2 = f"https://login.microsoftonline.com/{TENANT}/v2.0"
AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
"""The client id of the Azure CLI, which people's tokens carry as ``appid``."""
EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"
EXCHANGE_APPLICATION = "fb60f99c-7a34-4190-8149-302f77469936"
"""The application of that name, which Entra's own tokens for it carry as ``aud``."""

_ARM = frozenset(
    {
        "https://management.core.windows.net/",
        "https://management.core.windows.net",
        "https://management.azure.com/",
        "https://management.azure.com",
    }
)
_GRAPH = frozenset({"https://graph.microsoft.com", "https://graph.microsoft.com/", "00000003-0000-0000-c000-000000000000"})
_ML = frozenset({"https://ml.azure.com", "https://ml.azure.com/", "18a66f5f-dbdf-4c17-9dd7-1634712a9cbe"}) | _ARM
"""Azure ML's own hosts take a token for themselves or for ARM (azure.ai.ml._azure_environments, AzureMLOnBehalfOf)."""


# --- the directory ---------------------------------------------------------------------------------------------------------------


def create_application(cloud: Cloud, name: str, client_id: str | None = None, secret: str | None = None) -> Document:
    """An application with its service principal; an existing ``client_id`` is left as it is, but for a secret it does not have.

    Returns the application (Graph's shape: ``appId``, ``id``, ``displayName``) with the object id of its service principal, ``oid``.
    """
    client_id = client_id or str(uuid.uuid4())
    app = application(cloud, client_id)
    if app is None:
        app = {
            "id": str(uuid.uuid4()),
            "appId": client_id,
            "displayName": name,
            "createdDateTime": stamp(cloud.now()),
            "publisherDomain": TENANT_DOMAIN,
            "signInAudience": "AzureADMyOrg",
            "identifierUris": [],
            "tags": [],
            "passwordCredentials": [],
            "keyCredentials": [],
            "federatedIdentityCredentials": [],
        }
        save_application(cloud, app)
    principal = service_principal(cloud, client_id) or create_service_principal(cloud, client_id)
    if secret is not None and not any(_same_secret(entry, secret) for entry in app["passwordCredentials"]):
        add_secret(cloud, client_id, secret)
    return {**need_application(cloud, client_id), "oid": principal["id"]}


def application(cloud: Cloud, client_id: str) -> Document | None:
    return cloud.store.get(f"entra/applications/{client_id}")


def need_application(cloud: Cloud, client_id: str) -> Document:
    found = application(cloud, client_id)
    if found is None:
        raise LookupError(f"no application has the client id {client_id}")
    return found


def save_application(cloud: Cloud, app: Document) -> None:
    cloud.store.put(f"entra/applications/{app['appId']}", "application", app)


def create_service_principal(cloud: Cloud, client_id: str) -> Document:
    """The service principal of an application in this tenant."""
    app = need_application(cloud, client_id)
    return _save_service_principal(
        cloud,
        {
            "id": str(uuid.uuid4()),
            "appId": client_id,
            "displayName": app["displayName"],
            "servicePrincipalType": "Application",
            "servicePrincipalNames": [client_id, *app["identifierUris"]],
            "accountEnabled": True,
            "appOwnerOrganizationId": TENANT,
            "createdDateTime": stamp(cloud.now()),
        },
    )


def create_managed_identity(cloud: Cloud, name: str, resource_id: str) -> Document:
    """The identity of an Azure resource, as ``{"principalId", "clientId", "tenantId"}``; the same resource keeps the one it has."""
    for known in cloud.store.list("service_principal"):
        if resource_id.lower() in [other.lower() for other in known.get("alternativeNames", [])]:
            return {"principalId": known["id"], "clientId": known["appId"], "tenantId": TENANT}
    client_id = str(uuid.uuid4())
    made = _save_service_principal(
        cloud,
        {
            "id": str(uuid.uuid4()),
            "appId": client_id,
            "displayName": name,
            "servicePrincipalType": "ManagedIdentity",
            "servicePrincipalNames": [client_id],
            "alternativeNames": ["isExplicit=False", resource_id],
            "accountEnabled": True,
            "appOwnerOrganizationId": TENANT,
            "createdDateTime": stamp(cloud.now()),
        },
    )
    return {"principalId": made["id"], "clientId": client_id, "tenantId": TENANT}


def _save_service_principal(cloud: Cloud, document: Document) -> Document:
    return cloud.store.put(f"entra/service_principals/{document['id']}", "service_principal", document)


def service_principal(cloud: Cloud, who: str) -> Document | None:
    """By object id, client id or another of its names."""
    found = cloud.store.get(f"entra/service_principals/{who}")
    if found is not None:
        return found
    low = who.lower()
    for document in cloud.store.list("service_principal"):
        if low in (name.lower() for name in document["servicePrincipalNames"]):
            return document
    return None


def grant_graph(cloud: Cloud, client_id: str, roles: list[str]) -> None:
    """Give an application permissions on Microsoft Graph, such as ``Directory.Read.All``, with an administrator's consent."""
    found = service_principal(cloud, client_id) or create_service_principal(cloud, client_id)
    found["graphRoles"] = sorted({*found.get("graphRoles", ()), *roles})
    _save_service_principal(cloud, found)


def create_user(cloud: Cloud, name: str, display_name: str | None = None, password: str | None = None, oid: str | None = None) -> Document:
    """A person, by user principal name (``dana@contoso.onmicrosoft.com``); an existing one is returned as it is."""
    found = user(cloud, name)
    if found is not None:
        return found
    oid = oid or str(uuid.uuid4())
    return cloud.store.put(
        f"entra/users/{oid}",
        "user",
        {
            "id": oid,
            "userPrincipalName": name,
            "displayName": display_name or name.split("@")[0],
            "mail": name,
            "accountEnabled": True,
            "createdDateTime": stamp(cloud.now()),
            "passwordHash": _hash(password) if password else None,
        },
    )


def user(cloud: Cloud, who: str) -> Document | None:
    """By object id or user principal name."""
    found = cloud.store.get(f"entra/users/{who}")
    if found is not None:
        return found
    low = who.lower()
    return next((each for each in cloud.store.list("user") if each["userPrincipalName"].lower() == low), None)


def has_password(person: Document, password: str) -> bool:
    return bool(person["passwordHash"]) and secrets.compare_digest(person["passwordHash"], _hash(password))


def object_id(cloud: Cloud, who: str) -> str:
    """The object id that role assignments name, for an object id, client id or user principal name.

    Raises LookupError where the directory has no such principal.
    """
    found = service_principal(cloud, who) or user(cloud, who)
    if found is None:
        raise LookupError(f"the directory has neither a service principal nor a user '{who}'")
    return str(found["id"])


# --- what an application proves itself with --------------------------------------------------------------------------------------


def add_secret(
    cloud: Cloud, client_id: str, secret: str | None = None, name: str | None = None, start: str | None = None, end: str | None = None
) -> Document:
    """A client secret, valid for two years unless ``end`` says otherwise. The answer alone shows it, in ``secretText``."""
    app = need_application(cloud, client_id)
    # A leading letter keeps the value from being taken for an option on a command line.
    secret = secret or "s" + secrets.token_urlsafe(32)
    entry = {
        "keyId": str(uuid.uuid4()),
        "displayName": name,
        "hint": secret[:3],
        "startDateTime": start or stamp(cloud.now()),
        "endDateTime": end or stamp(cloud.now() + dt.timedelta(days=730)),
        "customKeyIdentifier": None,
        "secretHash": _hash(secret),
    }
    app["passwordCredentials"].append(entry)
    save_application(cloud, app)
    return {**{key: value for key, value in entry.items() if key != "secretHash"}, "secretText": secret}


def _same_secret(entry: Document, secret: str) -> bool:
    return secrets.compare_digest(str(entry["secretHash"]), _hash(secret))


def matching_secret(app: Document, secret: str) -> Document | None:
    """The entry of ``passwordCredentials`` that the secret belongs to."""
    return next((entry for entry in app["passwordCredentials"] if _same_secret(entry, secret)), None)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def key_credential(certificate: x509.Certificate, name: str | None = None) -> Document:
    """A certificate as an entry of ``keyCredentials`` (https://learn.microsoft.com/graph/api/resources/keycredential)."""
    return {
        "keyId": str(uuid.uuid4()),
        "displayName": name or certificate.subject.rfc4514_string(),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
        "customKeyIdentifier": certificate.fingerprint(hashes.SHA1()).hex().upper(),
        "startDateTime": stamp(certificate.not_valid_before_utc),
        "endDateTime": stamp(certificate.not_valid_after_utc),
        "key": base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode(),
    }


def add_certificate(cloud: Cloud, client_id: str, pem: bytes | str) -> Document:
    """Register a certificate (PEM; a private key in the same text is ignored) that may sign this application's assertions."""
    app = need_application(cloud, client_id)
    entry = key_credential(x509.load_pem_x509_certificate(pem.encode() if isinstance(pem, str) else pem))
    app["keyCredentials"].append(entry)
    save_application(cloud, app)
    return entry


def add_federated_credential(
    cloud: Cloud,
    app: Document | str,
    issuer: str,
    subject: str,
    audience: str = EXCHANGE_AUDIENCE,
    name: str | None = None,
    description: str | None = None,
) -> Document:
    """Trust assertions of ``issuer`` for ``subject``; ``app`` is the application or its client id.

    An equal credential is returned as it is. Raises 409 for a taken name, 400 for a taken subject and past 20 credentials
    (https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations).
    """
    app = need_application(cloud, app if isinstance(app, str) else str(app["appId"]))
    known: list[Document] = app["federatedIdentityCredentials"]
    for entry in known:
        if (entry["issuer"], entry["subject"]) == (issuer, subject):
            if entry["audiences"] == [audience] and name in (None, entry["name"]):
                return entry
            raise duplicate_subject(issuer, subject)
        if name is not None and entry["name"].lower() == name.lower():
            raise conflict(f"FederatedIdentityCredential with name {name} already exists.", "Request_MultipleObjectsWithSameKeyValue")
    if len(known) >= 20:
        raise bad_request(
            "federatedIdentityCredentials", "An application can have at most 20 federated identity credentials.", "Request_BadRequest"
        )
    made = {
        "id": str(uuid.uuid4()),
        "name": name or f"credential-{len(known) + 1}",
        "issuer": issuer,
        "subject": subject,
        "audiences": [audience],
        "description": description,
    }
    known.append(made)
    save_application(cloud, app)
    return made


def duplicate_subject(issuer: str, subject: str) -> AzureError:
    """400 in the words of Azure/azure-workload-identity#434."""
    return AzureError(
        400,
        "InvalidFederatedIdentityCredentialValue",
        f"The combination of issuer and subject must be unique for the application. Issuer {issuer} and Subject: {subject} already exist. "
        f"paramName: FederatedIdentityCredential.Subject, paramValue: {subject}, objectType: "
        "Microsoft.Online.DirectoryServices.Application",
    )


# --- access tokens ---------------------------------------------------------------------------------------------------------------


def issue(cloud: Cloud, who: str, audience: str, lifetime: float | None = None, proof: str = "1") -> str:
    """An access token for an application (client id) or a person (object id or user principal name).

    ``lifetime`` is in seconds; without it the settings' ``token_lifetime`` holds. ``proof`` is the ``appidacr`` claim: "1" for a
    secret, "2" for a certificate or assertion. Raises LookupError for an unknown principal.
    """
    now = cloud.now().timestamp()
    claims: Document = {
        "aud": audience,
        "iss": ISSUER,
        "iat": int(now),
        "nbf": int(now) - 300,
        "exp": now + (cloud.settings.token_lifetime if lifetime is None else lifetime),
        "tid": TENANT,
        "uti": secrets.token_urlsafe(16),
        "ver": "1.0",
    }
    principal = service_principal(cloud, who)
    if principal is not None:
        claims |= {
            "app_displayname": principal["displayName"],
            "appid": principal["appId"],
            "appidacr": proof,
            "idp": ISSUER,
            "idtyp": "app",
            "oid": principal["id"],
            "sub": principal["id"],
        }
        if audience in _GRAPH and principal.get("graphRoles"):
            claims["roles"] = principal["graphRoles"]
        if principal["servicePrincipalType"] == "ManagedIdentity":
            claims["xms_mirid"] = principal["alternativeNames"][-1]
    else:
        person = user(cloud, who)
        if person is None:
            raise LookupError(f"the directory has neither a service principal nor a user '{who}'")
        claims |= {
            "acr": "1",
            "amr": ["pwd"],
            "appid": AZURE_CLI,
            "appidacr": "0",
            "idtyp": "user",
            "name": person["displayName"],
            "oid": person["id"],
            "scp": "user_impersonation",
            "sub": person["id"],
            "unique_name": person["userPrincipalName"],
            "upn": person["userPrincipalName"],
        }
    return entra_key(cloud).sign(claims)


def entra_key(cloud: Cloud) -> SigningKey:
    return signing_key(cloud, "entra")


def bearer(cloud: Cloud, header: str | None, host: str) -> Principal:
    """The caller of a request, from its ``Authorization`` header. Raises Azure's 401."""
    scheme, _, token = (header or "").partition(" ")
    if not header:
        raise unauthorized("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
    if scheme.lower() != "bearer" or not token:
        raise unauthorized("AuthenticationFailed", "Authentication failed. The 'Authorization' header is provided in an invalid format.")
    return validate(cloud, token.strip(), host)


def validate(cloud: Cloud, token: str, host: str | None = None) -> Principal:
    """Who the token speaks for. Raises Azure's 401 for a token that is malformed, forged, expired, or meant for another host.

    Without ``host`` every audience is taken.
    """
    try:
        claims = _verified(token, entra_key(cloud))
    except jwt.InvalidTokenError:
        raise unauthorized("InvalidAuthenticationToken", "The access token is invalid.") from None
    now, expiry = cloud.now(), dt.datetime.fromtimestamp(claims["exp"], dt.timezone.utc)
    if expiry <= now:
        raise unauthorized(
            "ExpiredAuthenticationToken",
            f"The access token expiry UTC time '{_us(expiry)}' is earlier than current UTC time '{_us(now)}'.",
        )
    if host is not None and claims["aud"] not in (allowed := audiences(host)):
        listed = ",".join(f"'{each}'" for each in sorted(allowed, reverse=True))
        raise unauthorized(
            "InvalidAuthenticationTokenAudience",
            f"The access token has been obtained for wrong audience or resource '{claims['aud']}'. "
            f"It should exactly match with one of the allowed audiences {listed}.",
        )
    return Principal(
        oid=claims["oid"],
        app_id=claims["appid"],
        tenant=claims["tid"],
        kind="app" if claims["idtyp"] == "app" else "user",
        audience=claims["aud"],
        claims=claims,
    )


def audiences(host: str) -> frozenset[str]:
    """The audiences that a host takes."""
    if host == ARM:
        return _ARM
    if host == "graph.microsoft.com":
        return _GRAPH
    return _ML


def unauthorized(code: str, message: str) -> AzureError:
    """401 with the challenge that ARM sends along (read by azure.mgmt.core's ARMChallengeAuthenticationPolicy)."""
    challenge = f'Bearer authorization_uri="https://login.windows.net/{TENANT}", error="invalid_token", error_description="{message}"'
    return AzureError(401, code, message, headers={"WWW-Authenticate": challenge})


@lru_cache(maxsize=4096)
def _verified(token: str, key: SigningKey) -> Document:
    """The claims of a token signed by us. The clock is not read here, so that the answer can be kept."""
    claims: Document = jwt.decode(
        token,
        key.private.public_key(),
        algorithms=["RS256"],
        issuer=ISSUER,
        options={"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "oid", "appid"]},
    )
    return claims


def stamp(moment: dt.datetime) -> str:
    """A time as Graph writes it."""
    return moment.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _us(moment: dt.datetime) -> str:
    return f"{moment.month}/{moment.day}/{moment.year} {moment.strftime('%I').lstrip('0')}:{moment.strftime('%M:%S %p')}"
