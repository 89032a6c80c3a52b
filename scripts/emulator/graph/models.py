"""The directory as Microsoft Graph shows and changes it (https://learn.microsoft.com/graph/api/overview).

Permissions are Graph's application permissions, carried in the token's ``roles``
(https://learn.microsoft.com/graph/permissions-reference). A person may read, as members of a tenant can by default, and change the
applications that they own; an application with Application.ReadWrite.OwnedBy changes those that it owns.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from emulator.core import Principal
from emulator.entra import flexible, groups
from emulator.entra import models as entra
from emulator.errors import AzureError, bad_request, conflict

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
CONTEXT = "https://graph.microsoft.com/v1.0/$metadata#"
_ALL = ("Directory.Read.All", "Directory.ReadWrite.All")
READ_APPLICATIONS = ("Application.Read.All", "Application.ReadWrite.All", *_ALL)
READ_USERS = ("User.ReadBasic.All", "User.Read.All", "User.ReadWrite.All", *_ALL)
READ_GROUPS = ("GroupMember.Read.All", "Group.Read.All", "GroupMember.ReadWrite.All", "Group.ReadWrite.All", *_ALL)
READ_OBJECTS = (*_ALL, "Application.Read.All", "Application.ReadWrite.All")
READS = (READ_APPLICATIONS, READ_USERS, READ_GROUPS, READ_OBJECTS)
WRITE_APPLICATIONS = ("Application.ReadWrite.All",)
WRITE_USERS = ("User.ReadWrite.All", "Directory.ReadWrite.All")
WRITE_GROUPS = ("Group.ReadWrite.All", "Directory.ReadWrite.All")
WRITE_MEMBERS = ("GroupMember.ReadWrite.All", *WRITE_GROUPS)
OWNED = "Application.ReadWrite.OwnedBy"


def require(principal: Principal, roles: tuple[str, ...], owners: Iterable[str] = ()) -> None:
    """Graph's 403 unless the caller's token carries one of the permissions, or the caller owns what is asked for; people may read."""
    held = set(principal.claims.get("roles") or ())
    owns = principal.oid in owners and (principal.kind == "user" or OWNED in held)
    if not held & set(roles) and not owns and not (principal.kind == "user" and roles in READS):
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
    """By object id, or by ``appId='...'``. Raises Graph's 404."""
    field, id = ("appId", named[1]) if (named := re.fullmatch(r"appId='([^']+)'", id)) else ("id", id)
    found = next((app for app in cloud.store.list("application") if app[field].lower() == id.lower()), None)
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
        delete_service_principal(cloud, principal["id"])
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


_LENGTHS = {"name": 120, "issuer": 600, "subject": 600, "description": 600}


def create_federated_credential(cloud: Cloud, app: Document, body: Document, beta: bool) -> Document:
    """A credential with a subject, or in ``beta`` one with an expression. Raises Graph's 400 and 409.

    https://learn.microsoft.com/graph/api/resources/federatedidentitycredential.
    """
    _check_federated(body, beta, ("name", "issuer", "audiences"))
    if any(each["name"].lower() == body["name"].lower() for each in app["federatedIdentityCredentials"]):
        raise conflict(f"FederatedIdentityCredential with name {body['name']} already exists.", "Request_MultipleObjectsWithSameKeyValue")
    if body.get("claimsMatchingExpression") is None:
        if not body.get("subject"):
            raise bad_request("subject", "Property subject is required and cannot be null or empty.", "Request_BadRequest")
        return entra.add_federated_credential(
            cloud, app, body["issuer"], body["subject"], body["audiences"][0], body["name"], body.get("description")
        )
    _parsed(body)
    # The rules of names and numbers are those of the others: a subject that nobody has stands in until they have been checked.
    stand_in = f"flexible {uuid.uuid4()}"
    made = entra.add_federated_credential(cloud, app, body["issuer"], stand_in, body["audiences"][0], body["name"], body.get("description"))
    return _replace(cloud, app, made | {"subject": None, "claimsMatchingExpression": body["claimsMatchingExpression"]})


def _check_federated(body: Document, beta: bool, required: Iterable[str]) -> None:
    for name in required:
        if not body.get(name):
            raise bad_request(name, f"Property {name} is required and cannot be null or empty.", "Request_BadRequest")
    for name, most in _LENGTHS.items():
        if len(str(body.get(name) or "")) > most:
            raise bad_request(name, f"Property {name} has more than {most} characters.", "Request_BadRequest")
    if body.get("name") and not re.fullmatch(r"[A-Za-z0-9_.~-]+", body["name"]):
        raise bad_request("name", "The name of a federated identity credential must be URL friendly.", "Request_BadRequest")
    if "audiences" in body and (not isinstance(body["audiences"], list) or len(body["audiences"]) != 1):
        raise bad_request("audiences", "A federated identity credential has exactly one audience.", "Request_BadRequest")
    if "claimsMatchingExpression" in body and not beta:
        raise AzureError(400, "BadRequest", "Invalid property 'claimsMatchingExpression'.")
    expression = body.get("claimsMatchingExpression")
    if expression is None:
        return
    if body.get("subject"):
        raise _bad_expression("subject and claimsMatchingExpression cannot both be set")
    if not isinstance(expression, dict) or expression.get("languageVersion") != 1 or not isinstance(expression.get("value"), str):
        raise _bad_expression("claimsMatchingExpression has a value and the languageVersion 1")


def _bad_expression(why: str) -> AzureError:
    return AzureError(400, "InvalidFederatedIdentityCredentialValue", f"Invalid claimsMatchingExpression: {why}.")


def _parsed(credential: Document) -> Document:
    """The credential, if its expression can be. Raises Graph's 400."""
    if credential.get("claimsMatchingExpression"):
        try:
            flexible.parse(credential["claimsMatchingExpression"]["value"], credential["issuer"])
        except flexible.BadExpression as error:
            raise _bad_expression(str(error)) from None
    return credential


def change_federated_credential(cloud: Cloud, app: Document, id: str, body: Document, beta: bool) -> None:
    """What is sent, all but the name; a subject takes the place of an expression only where the expression is set to null."""
    found = federated_credential(app, id)
    if body.get("name") not in (None, found["name"]):
        raise bad_request("name", "The name of a federated identity credential cannot be changed.", "Request_BadRequest")
    _check_federated(body, beta, ())
    fields = ("issuer", "subject", "audiences", "description", "claimsMatchingExpression")
    changed = found | {name: body[name] for name in fields if name in body}
    if bool(changed["subject"]) == bool(changed.get("claimsMatchingExpression")):
        raise _bad_expression("either subject or claimsMatchingExpression is set, and the other is null")
    for other in app["federatedIdentityCredentials"]:
        same = changed["subject"] and (other["issuer"], other["subject"]) == (changed["issuer"], changed["subject"])
        if same and other["id"] != found["id"]:
            raise entra.duplicate_subject(changed["issuer"], changed["subject"])
    _replace(cloud, app, _parsed(changed))


def _replace(cloud: Cloud, app: Document, credential: Document) -> Document:
    app = entra.need_application(cloud, app["appId"])
    app["federatedIdentityCredentials"] = [
        credential if each["id"] == credential["id"] else each for each in app["federatedIdentityCredentials"]
    ]
    entra.save_application(cloud, app)
    return credential


def shown_federated(credential: Document, beta: bool) -> Document:
    """As a version of Graph shows it; that v1.0 cannot show one without a subject is for who writes the answer."""
    return {**credential, "claimsMatchingExpression": credential.get("claimsMatchingExpression")} if beta else credential


def delete_federated_credential(cloud: Cloud, app: Document, id: str) -> None:
    found = federated_credential(app, id)
    app["federatedIdentityCredentials"] = [each for each in app["federatedIdentityCredentials"] if each["id"] != found["id"]]
    entra.save_application(cloud, app)


def shown_application(app: Document) -> Document:
    """An application without its federated credentials (a list of their own) and without what proves it."""
    hidden = {key: value for key, value in app.items() if key not in ("federatedIdentityCredentials", "owners")}
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
    """By object id, or by ``appId='...'``. Raises Graph's 404."""
    named = re.fullmatch(r"appId='([^']+)'", id)
    found = entra.service_principal(cloud, named[1]) if named else cloud.store.get(f"entra/service_principals/{id}")
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
    return cloud.store.put(f"entra/service_principals/{found['id']}", "service_principal", found)


def delete_service_principal(cloud: Cloud, id: str) -> None:
    found = service_principal(cloud, id)
    groups.forget(cloud, found["id"])
    cloud.store.delete(f"entra/service_principals/{found['id']}")


def shown_service_principal(cloud: Cloud, principal: Document) -> Document:
    app = entra.application(cloud, principal["appId"])
    return {
        "appRoleAssignmentRequired": False,
        "tags": [],
        "alternativeNames": [],
        **{key: value for key, value in principal.items() if key not in ("graphRoles", "owners")},
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


def delete_user(cloud: Cloud, who: str) -> None:
    found = user(cloud, who)
    groups.forget(cloud, found["id"])
    cloud.store.delete(f"entra/users/{found['id']}")


def shown_user(person: Document) -> Document:
    return {key: value for key, value in person.items() if key != "passwordHash"} | {
        "businessPhones": [],
        "givenName": None,
        "surname": None,
    }


# --- owners ----------------------------------------------------------------------------------------------------------------------


def owners(cloud: Cloud, of: Document) -> list[Document]:
    """Who owns an application, service principal or group: people and service principals."""
    return [found for id in of.get("owners") or () if (found := directory_object(cloud, id))]


def owner_ids(cloud: Cloud, of: Document) -> set[str]:
    """The object ids of those who may change it: its owners, and a service principal's application's owners too."""
    app = entra.application(cloud, of["appId"]) if "appId" in of else None
    return {*(of.get("owners") or ()), *((app or {}).get("owners") or ())}


def reference(cloud: Cloud, body: Document) -> str:
    """The object id that a body refers to by ``@odata.id``. Raises Graph's 400 and 404."""
    match = re.fullmatch(
        r"https://graph\.microsoft\.com/(?:v1\.0|beta)/(?:directoryObjects|users|servicePrincipals|groups)/([^/]+)",
        str(body.get("@odata.id")),
    )
    if match is None:
        raise bad_request("@odata.id", "A reference is written as @odata.id, with the address of a directory object.", "Request_BadRequest")
    found = directory_object(cloud, match[1])
    if found is None:
        raise missing(match[1])
    return str(found["id"])


def add_to(cloud: Cloud, of: Document, part: str, id: str) -> Document:
    """Add an owner or member. Raises Graph's 400 for one that is there."""
    if id in (of.get(part) or ()):
        raise AzureError(
            400, "Request_BadRequest", f"One or more added object references already exist for the following modified properties: '{part}'."
        )
    kind = (directory_object(cloud, id) or {}).get("@odata.type", "")
    if part == "owners" and kind.rsplit(".", 1)[-1] not in ("user", "servicePrincipal"):
        raise bad_request("@odata.id", "An owner is a user or a service principal.", "Request_BadRequest")
    if part == "members" and (id == of["id"] or kind.endswith("application")):
        raise bad_request("@odata.id", "A member is a user, a service principal or another group.", "Request_BadRequest")
    return {**of, part: [*(of.get(part) or ()), id]}


def take_from(of: Document, part: str, id: str) -> Document:
    """Remove an owner or member. Raises Graph's 404 for one that is not there."""
    if id not in (of.get(part) or ()):
        raise missing(id)
    return {**of, part: [each for each in of[part] if each != id]}


# --- groups ----------------------------------------------------------------------------------------------------------------------


def group(cloud: Cloud, id: str) -> Document:
    """By object id. Raises Graph's 404."""
    found = groups.get(cloud, id)
    if found is None:
        raise missing(id)
    return found


def create_group(cloud: Cloud, body: Document) -> Document:
    """A security group; ``members@odata.bind`` and ``owners@odata.bind`` name who is in it from the start."""
    for name in ("displayName", "mailNickname", "mailEnabled", "securityEnabled"):
        if body.get(name) in (None, ""):
            raise bad_request(name, f"A value is required for property '{name}' of resource 'Group'.", "Request_BadRequest")
    if body["mailEnabled"] or not body["securityEnabled"]:
        raise bad_request("mailEnabled", "The emulator has security groups only.", "Request_BadRequest")
    bound = {part: [reference(cloud, {"@odata.id": one}) for one in body.get(f"{part}@odata.bind") or ()] for part in ("members", "owners")}
    made = groups.create(cloud, body["displayName"], body["mailNickname"], body.get("description"))
    made["isAssignableToRole"] = body.get("isAssignableToRole")
    for part, ids in bound.items():
        for id in ids:
            made = add_to(cloud, made, part, id)
    return groups.save(cloud, made)


def change_group(cloud: Cloud, id: str, body: Document) -> None:
    found = group(cloud, id)
    groups.save(cloud, found | {name: body[name] for name in ("displayName", "description", "mailNickname") if name in body})


def shown_group(found: Document) -> Document:
    return {key: value for key, value in found.items() if key not in ("members", "owners")}


def objects(cloud: Cloud, ids: Iterable[str]) -> list[Document]:
    """Directory objects by id; those that are gone are left out."""
    return [found for id in ids if (found := directory_object(cloud, id))]


def directory_object(cloud: Cloud, id: str) -> Document | None:
    """A service principal, person, group or application by object id, with its ``@odata.type``."""
    if (found := cloud.store.get(f"entra/service_principals/{id}")) is not None:
        return {"@odata.type": "#microsoft.graph.servicePrincipal", **shown_service_principal(cloud, found)}
    if (found := cloud.store.get(f"entra/users/{id}")) is not None:
        return {"@odata.type": "#microsoft.graph.user", **shown_user(found)}
    if (found := groups.get(cloud, id)) is not None:
        return {"@odata.type": "#microsoft.graph.group", **shown_group(found)}
    found = next((app for app in cloud.store.list("application") if app["id"].lower() == id.lower()), None)
    return {"@odata.type": "#microsoft.graph.application", **shown_application(found)} if found else None
