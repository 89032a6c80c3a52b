"""The directory as Microsoft Graph shows and changes it (https://learn.microsoft.com/graph/api/overview).

Permissions are Graph's application permissions, carried in the token's ``roles``: an application reads with Directory.Read.All and
writes with Application.ReadWrite.All (people: User.ReadWrite.All); a person may read, as members of a tenant can by default.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from emulator.core import Principal
from emulator.entra import models as entra
from emulator.errors import AzureError, bad_request, conflict

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
CONTEXT = "https://graph.microsoft.com/v1.0/$metadata#"
READ = ("Directory.Read.All", "Application.Read.All", "Application.ReadWrite.All")
WRITE_APPLICATIONS = ("Application.ReadWrite.All",)
WRITE_USERS = ("User.ReadWrite.All", "Directory.ReadWrite.All")


def require(principal: Principal, roles: tuple[str, ...]) -> None:
    """Graph's 403 unless the caller's token carries one of the permissions; people may read."""
    held = principal.claims.get("roles") or ()
    if not set(held) & set(roles) and not (principal.kind == "user" and roles is READ):
        raise AzureError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")


def missing(id: str) -> AzureError:
    return AzureError(
        404,
        "Request_ResourceNotFound",
        f"Resource '{id}' does not exist or one of its queried reference-property objects are not present.",
    )


# --- applications ----------------------------------------------------------------------------------------------------------------

_WRITABLE = (
    "displayName", "description", "identifierUris", "signInAudience", "tags", "web", "spa", "publicClient", "api", "appRoles",
    "optionalClaims", "requiredResourceAccess", "isFallbackPublicClient", "serviceManagementReference", "groupMembershipClaims", "notes",
)  # fmt: skip


def application(cloud: Cloud, id: str) -> Document:
    """By object id. Raises Graph's 404."""
    found = next((app for app in cloud.store.list("application") if app["id"].lower() == id.lower()), None)
    if found is None:
        raise missing(id)
    return found


def create_application(cloud: Cloud, body: Document) -> Document:
    if not body.get("displayName"):
        raise bad_request("displayName", "Property displayName is required and cannot be null or empty.", "Request_BadRequest")
    client_id = str(uuid.uuid4())
    app = {
        "id": str(uuid.uuid4()),
        "appId": client_id,
        "createdDateTime": entra.stamp(cloud.now()),
        "publisherDomain": entra.TENANT_DOMAIN,
        "signInAudience": "AzureADMyOrg",
        "identifierUris": [],
        "tags": [],
        "passwordCredentials": [],
        "keyCredentials": [],
        "federatedIdentityCredentials": [],
    }
    _change(app, body)
    entra.save_application(cloud, app)
    return app


def change_application(cloud: Cloud, id: str, body: Document) -> None:
    app = application(cloud, id)
    _change(app, body)
    entra.save_application(cloud, app)
    principal = entra.service_principal(cloud, app["appId"])
    if principal is not None:
        principal |= {"displayName": app["displayName"], "servicePrincipalNames": [app["appId"], *app["identifierUris"]]}
        cloud.store.put(f"entra/service_principals/{principal['id']}", "service_principal", principal)


def _change(app: Document, body: Document) -> None:
    app |= {name: body[name] for name in _WRITABLE if name in body}
    if "keyCredentials" in body:
        app["keyCredentials"] = [_key(app, entry) for entry in body["keyCredentials"]]


def _key(app: Document, entry: Document) -> Document:
    """A certificate as sent: base64 of DER, or of base64 of it; one without its ``key`` is one that is registered already."""
    if not entry.get("key"):
        known = next((each for each in app["keyCredentials"] if each["keyId"] == entry.get("keyId")), None)
        if known is None:
            raise bad_request("keyCredentials", "Key value is required for a new key credential.", "KeyCredentialsInvalidValue")
        return dict(known)
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(entry["key"]))
    except (ValueError, binascii.Error):
        raise bad_request("keyCredentials", "Key credential's 'key' is not a valid certificate.", "KeyCredentialsInvalidValue") from None
    made = entra.key_credential(certificate, entry.get("displayName"))
    made["customKeyIdentifier"] = certificate.fingerprint(hashes.SHA1()).hex().upper()
    return made | {name: entry[name] for name in ("keyId", "usage", "type", "startDateTime", "endDateTime") if entry.get(name)}


def delete_application(cloud: Cloud, id: str) -> None:
    """An application takes its service principal along. Role assignments stay behind, as they do on Azure."""
    app = application(cloud, id)
    principal = entra.service_principal(cloud, app["appId"])
    if principal is not None:
        cloud.store.delete(f"entra/service_principals/{principal['id']}")
    cloud.store.delete(f"entra/applications/{app['appId']}")


def remove_password(cloud: Cloud, app: Document, key_id: str) -> None:
    left = [entry for entry in app["passwordCredentials"] if entry["keyId"] != key_id]
    if len(left) == len(app["passwordCredentials"]):
        raise bad_request("keyId", f"No password credential found with keyId {key_id}.", "Request_BadRequest")
    app["passwordCredentials"] = left
    entra.save_application(cloud, app)


def federated_credential(app: Document, id: str) -> Document:
    """By id or name. Raises Graph's 404."""
    found = next((each for each in app["federatedIdentityCredentials"] if id.lower() in (each["id"].lower(), each["name"].lower())), None)
    if found is None:
        raise missing(id)
    return dict(found)


def create_federated_credential(cloud: Cloud, app: Document, body: Document) -> Document:
    for name in ("name", "issuer", "subject", "audiences"):
        if not body.get(name):
            raise bad_request(name, f"Property {name} is required and cannot be null or empty.", "Request_BadRequest")
    if len(body["audiences"]) != 1:
        raise bad_request("audiences", "A federated identity credential has exactly one audience.", "Request_BadRequest")
    return entra.add_federated_credential(
        cloud, app, body["issuer"], body["subject"], body["audiences"][0], body["name"], body.get("description")
    )


def change_federated_credential(cloud: Cloud, app: Document, id: str, body: Document) -> None:
    found = federated_credential(app, id)
    if body.get("name") not in (None, found["name"]):
        raise bad_request("name", "The name of a federated identity credential cannot be changed.", "Request_BadRequest")
    changed = found | {name: body[name] for name in ("issuer", "subject", "audiences", "description") if name in body}
    app["federatedIdentityCredentials"] = [changed if each["id"] == found["id"] else each for each in app["federatedIdentityCredentials"]]
    entra.save_application(cloud, app)


def delete_federated_credential(cloud: Cloud, app: Document, id: str) -> None:
    found = federated_credential(app, id)
    app["federatedIdentityCredentials"] = [each for each in app["federatedIdentityCredentials"] if each["id"] != found["id"]]
    entra.save_application(cloud, app)


def shown_application(app: Document) -> Document:
    """An application without its federated credentials (a list of their own) and without what proves it."""
    hidden = {key: value for key, value in app.items() if key != "federatedIdentityCredentials"}
    return {
        "appRoles": [],
        "requiredResourceAccess": [],
        "web": {"redirectUris": []},
        **hidden,
        "passwordCredentials": [
            {key: value for key, value in entry.items() if key != "secretHash"} | {"secretText": None}
            for entry in app["passwordCredentials"]
        ],
        "keyCredentials": [{**entry, "key": None} for entry in app["keyCredentials"]],
    }


# --- service principals ----------------------------------------------------------------------------------------------------------


def service_principal(cloud: Cloud, id: str) -> Document:
    """By object id. Raises Graph's 404."""
    found = cloud.store.get(f"entra/service_principals/{id}")
    if found is None:
        raise missing(id)
    return found


def create_service_principal(cloud: Cloud, body: Document) -> Document:
    client_id = str(body.get("appId") or "")
    if entra.application(cloud, client_id) is None:
        raise AzureError(
            400,
            "Request_BadRequest",
            f"The appId '{client_id}' of the service principal does not reference a valid application object.",
        )
    if entra.service_principal(cloud, client_id) is not None:
        raise conflict(
            "The service principal cannot be created, updated, or restored because the service principal name "
            f"{client_id} is already in use.",
            "Request_MultipleObjectsWithSameKeyValue",
        )
    made = entra.create_service_principal(cloud, client_id)
    return change_service_principal(cloud, made["id"], body)


def change_service_principal(cloud: Cloud, id: str, body: Document) -> Document:
    found = service_principal(cloud, id)
    found |= {name: body[name] for name in ("accountEnabled", "tags", "notes", "appRoleAssignmentRequired") if name in body}
    return cloud.store.put(f"entra/service_principals/{id}", "service_principal", found)


def shown_service_principal(cloud: Cloud, principal: Document) -> Document:
    app = entra.application(cloud, principal["appId"])
    return {
        "appRoleAssignmentRequired": False,
        "tags": [],
        "alternativeNames": [],
        **{key: value for key, value in principal.items() if key != "graphRoles"},
        "appDisplayName": app["displayName"] if app else None,
        "passwordCredentials": [],
        "keyCredentials": [],
    }


# --- people ----------------------------------------------------------------------------------------------------------------------


def create_user(cloud: Cloud, body: Document) -> Document:
    for name in ("userPrincipalName", "displayName"):
        if not body.get(name):
            raise bad_request(name, f"A value is required for property '{name}' of resource 'User'.", "Request_BadRequest")
    name = body["userPrincipalName"]
    if not name.lower().endswith("@" + entra.TENANT_DOMAIN):
        raise bad_request(
            "userPrincipalName",
            "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain names in your "
            f"organization: {entra.TENANT_DOMAIN}.",
            "Request_BadRequest",
        )
    password = (body.get("passwordProfile") or {}).get("password")
    if not password:
        raise bad_request("passwordProfile", "A password must be specified to create a new user.", "Request_BadRequest")
    if entra.user(cloud, name) is not None:
        raise bad_request(
            "userPrincipalName", "Another object with the same value for property userPrincipalName already exists.", "Request_BadRequest"
        )
    return entra.create_user(cloud, name, body["displayName"], password)


def user(cloud: Cloud, who: str) -> Document:
    """By object id or user principal name. Raises Graph's 404."""
    found = entra.user(cloud, who)
    if found is None:
        raise missing(who)
    return found


def shown_user(person: Document) -> Document:
    return {key: value for key, value in person.items() if key != "passwordHash"} | {
        "businessPhones": [],
        "givenName": None,
        "surname": None,
    }


def directory_object(cloud: Cloud, id: str) -> Document | None:
    """A service principal, person or application by object id, with its ``@odata.type``."""
    if (found := cloud.store.get(f"entra/service_principals/{id}")) is not None:
        return {"@odata.type": "#microsoft.graph.servicePrincipal", **shown_service_principal(cloud, found)}
    if (found := cloud.store.get(f"entra/users/{id}")) is not None:
        return {"@odata.type": "#microsoft.graph.user", **shown_user(found)}
    found = next((app for app in cloud.store.list("application") if app["id"].lower() == id.lower()), None)
    return {"@odata.type": "#microsoft.graph.application", **shown_application(found)} if found else None
