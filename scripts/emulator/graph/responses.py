"""HTTP in and out of graph.microsoft.com."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from emulator import odata
from emulator.core import Call, Handler, Reply
from emulator.entra import groups
from emulator.entra import models as entra
from emulator.errors import AzureError
from emulator.graph import models

HOST = "graph.microsoft.com"


def _let(call: Call, roles: tuple[str, ...], owners: Iterable[str] = ()) -> None:
    """Let the caller in: a version of Graph's, a JSON object where there is a body, and the permission, or the ownership."""
    if call.params["version"].lower() not in ("v1.0", "beta"):
        raise AzureError(400, "BadRequest", f"Invalid version: {call.params['version']}")
    if call.raw and not isinstance(call.body, dict):
        raise AzureError(400, "BadRequest", "Unable to read JSON request payload: an object is expected.")
    assert call.principal is not None
    models.require(call.principal, roles, owners)


def _beta(call: Call) -> bool:
    return call.params["version"].lower() == "beta"


def _id(call: Call) -> str:
    """What an address says of the object that it is about: its id, or the key of ``applications(appId='...')``."""
    return call.params.get("id") or call.params["key"]


PAGE = 100
"""Objects on a page, unless ``$top`` says otherwise (at most 999)."""


def _list(call: Call, what: str, documents: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A page of what ``$filter`` lets through, with the fields of ``$select``, and the address of the next one."""
    for name in call.query:
        if name.startswith("$") and name not in ("$filter", "$top", "$select", "$count", "$skiptoken"):
            raise AzureError(501, "NotEmulated", f"The emulator does not cover the query option {name}")
    found = list(documents)
    if text := call.query.get("$filter"):
        test = odata.parse(text)
        found = [each for each in found if test(each)]
    top, skip = call.query.get("$top", str(PAGE)), call.query.get("$skiptoken", "0")
    if not top.isdigit() or not 1 <= int(top) <= 999:
        raise AzureError(400, "Request_BadRequest", f"Invalid value '{top}' for $top query option found.")
    if not skip.isdigit():
        raise AzureError(400, "Request_BadRequest", "Invalid $skiptoken.")
    start, end = int(skip), int(skip) + int(top)
    answer: dict[str, Any] = {"@odata.context": models.CONTEXT + what}
    if call.query.get("$count", "").lower() == "true":
        answer["@odata.count"] = len(found)
    if end < len(found):
        query = urlencode({**call.query, "$skiptoken": str(end)}, safe="$'(),")
        answer["@odata.nextLink"] = f"https://{HOST}{call.path}?{query}"
    return {**answer, "value": [_selected(call, each) for each in found[start:end]]}


def _selected(call: Call, document: dict[str, Any]) -> dict[str, Any]:
    """The fields that ``$select`` names, and what kind of object it is; all without it."""
    names = [name.strip() for name in call.query.get("$select", "").split(",") if name.strip()]
    if not names or "*" in names:
        return document
    return {name: value for name, value in document.items() if name in names or name == "@odata.type"}


def _one(what: str, document: dict[str, Any], call: Call | None = None) -> dict[str, Any]:
    return {"@odata.context": f"{models.CONTEXT}{what}/$entity", **(_selected(call, document) if call else document)}


# --- applications ----------------------------------------------------------------------------------------------------------------


async def list_applications(call: Call) -> Any:
    _let(call, models.READ_APPLICATIONS)
    return _list(call, "applications", map(models.shown_application, call.cloud.store.list("application")))


async def create_application(call: Call) -> Reply:
    """Create an application. One that Application.ReadWrite.OwnedBy lets create it owns it."""
    _let(call, (*models.WRITE_APPLICATIONS, models.OWNED))
    made = models.create_application(call.cloud, call.body or {})
    assert call.principal is not None
    if call.principal.kind == "app" and models.OWNED in call.principal.claims.get("roles", ()):
        entra.save_application(call.cloud, made | {"owners": [call.principal.oid]})
    return Reply(201, _one("applications", models.shown_application(made)))


def _app(call: Call, write: bool = False) -> dict[str, Any]:
    """The application that the address names, for a caller who may read it, or change it."""
    if not write:
        _let(call, models.READ_APPLICATIONS)
        return models.application(call.cloud, _id(call))
    known = next((each for each in call.cloud.store.list("application") if _id(call) in (each["id"], f"appId='{each['appId']}'")), {})
    _let(call, models.WRITE_APPLICATIONS, known.get("owners") or ())
    return models.application(call.cloud, _id(call))


async def get_application(call: Call) -> Any:
    return _one("applications", models.shown_application(_app(call)), call)


async def change_application(call: Call) -> Reply:
    models.change_application(call.cloud, _app(call, write=True)["id"], call.body or {})
    return Reply(204)


async def delete_application(call: Call) -> Reply:
    models.delete_application(call.cloud, _app(call, write=True)["id"])
    return Reply(204)


async def list_application_owners(call: Call) -> Any:
    return _list(call, "directoryObjects", models.owners(call.cloud, _app(call)))


async def add_application_owner(call: Call) -> Reply:
    app = _app(call, write=True)
    owner = models.reference(call.cloud, call.body or {})
    entra.save_application(call.cloud, models.add_to(call.cloud, app, "owners", owner))
    return Reply(204)


async def remove_application_owner(call: Call) -> Reply:
    entra.save_application(call.cloud, models.take_from(_app(call, write=True), "owners", call.params["owner"]))
    return Reply(204)


async def add_application_password(call: Call) -> Any:
    return _add_password(call, _app(call, write=True))


def _add_password(call: Call, app: dict[str, Any]) -> Any:
    wanted = (call.body or {}).get("passwordCredential") or {}
    made = entra.add_secret(
        call.cloud, app["appId"], None, wanted.get("displayName"), wanted.get("startDateTime"), wanted.get("endDateTime")
    )
    return _one("microsoft.graph.passwordCredential", made)


async def remove_application_password(call: Call) -> Reply:
    models.remove_password(call.cloud, _app(call, write=True), str((call.body or {}).get("keyId")))
    return Reply(204)


async def list_federated(call: Call) -> Any:
    """The credentials. v1.0 breaks its answer off at the first flexible one, as Graph does (msgraph-sdk-python#1359)."""
    found, what = _app(call)["federatedIdentityCredentials"], "applications/federatedIdentityCredentials"
    if not _beta(call) and any(each["subject"] is None for each in found):
        return _broken(_list(call, what, found))
    return _list(call, what, [models.shown_federated(each, _beta(call)) for each in found])


def _broken(answer: dict[str, Any]) -> Response:
    """What v1.0 sends: JSON up to the subject that is null, and an error in the middle of it."""
    at = next(place for place, each in enumerate(answer["value"]) if each["subject"] is None)
    begun = {name: answer["value"][at][name] for name in ("id", "name", "issuer")}
    whole = json.dumps({**answer, "value": [*answer["value"][:at], begun]})
    message = "The property 'subject[Nullable=False]' of type 'Edm.String' has a null value, which is not allowed."
    return Response(whole[: -len("}]}")] + json.dumps({"error": {"code": "InternalServerError", "message": message}}), 200)


async def create_federated(call: Call) -> Reply:
    made = models.create_federated_credential(call.cloud, _app(call, write=True), call.body or {}, _beta(call))
    return Reply(201, _one("applications/federatedIdentityCredentials", models.shown_federated(made, _beta(call))))


async def get_federated(call: Call) -> Any:
    found = models.federated_credential(_app(call), call.params["credential"])
    if not _beta(call) and found["subject"] is None:
        return _broken({"@odata.context": models.CONTEXT, "value": [found]})
    return _one("applications/federatedIdentityCredentials", models.shown_federated(found, _beta(call)))


async def change_federated(call: Call) -> Reply:
    app = _app(call, write=True)
    models.change_federated_credential(call.cloud, app, call.params["credential"], call.body or {}, _beta(call))
    return Reply(204)


async def delete_federated(call: Call) -> Reply:
    models.delete_federated_credential(call.cloud, _app(call, write=True), call.params["credential"])
    return Reply(204)


# --- service principals ----------------------------------------------------------------------------------------------------------


async def list_service_principals(call: Call) -> Any:
    _let(call, models.READ_APPLICATIONS)
    found = call.cloud.store.list("service_principal")
    return _list(call, "servicePrincipals", [models.shown_service_principal(call.cloud, each) for each in found])


async def create_service_principal(call: Call) -> Reply:
    app = entra.application(call.cloud, str((call.body or {}).get("appId") or "")) or {}
    _let(call, models.WRITE_APPLICATIONS, app.get("owners") or ())
    made = models.create_service_principal(call.cloud, call.body or {})
    return Reply(201, _one("servicePrincipals", models.shown_service_principal(call.cloud, made)))


def _principal(call: Call, write: bool = False) -> dict[str, Any]:
    """The service principal that the address names, for a caller who may read it, or change it."""
    if not write:
        _let(call, models.READ_APPLICATIONS)
        return models.service_principal(call.cloud, _id(call))
    known = call.cloud.store.get(f"entra/service_principals/{_id(call)}")
    _let(call, models.WRITE_APPLICATIONS, models.owner_ids(call.cloud, known) if known else ())
    return models.service_principal(call.cloud, _id(call))


async def get_service_principal(call: Call) -> Any:
    return _one("servicePrincipals", models.shown_service_principal(call.cloud, _principal(call)), call)


async def change_service_principal(call: Call) -> Reply:
    models.change_service_principal(call.cloud, _principal(call, write=True)["id"], call.body or {})
    return Reply(204)


async def delete_service_principal(call: Call) -> Reply:
    models.delete_service_principal(call.cloud, _principal(call, write=True)["id"])
    return Reply(204)


async def list_principal_owners(call: Call) -> Any:
    return _list(call, "directoryObjects", models.owners(call.cloud, _principal(call)))


async def add_principal_owner(call: Call) -> Reply:
    found = _principal(call, write=True)
    changed = models.add_to(call.cloud, found, "owners", models.reference(call.cloud, call.body or {}))
    call.cloud.store.put(f"entra/service_principals/{found['id']}", "service_principal", changed)
    return Reply(204)


async def remove_principal_owner(call: Call) -> Reply:
    found = _principal(call, write=True)
    changed = models.take_from(found, "owners", call.params["owner"])
    call.cloud.store.put(f"entra/service_principals/{found['id']}", "service_principal", changed)
    return Reply(204)


# --- groups ----------------------------------------------------------------------------------------------------------------------


async def list_groups(call: Call) -> Any:
    _let(call, models.READ_GROUPS)
    return _list(call, "groups", map(models.shown_group, call.cloud.store.list("group")))


async def create_group(call: Call) -> Reply:
    _let(call, models.WRITE_GROUPS)
    return Reply(201, _one("groups", models.shown_group(models.create_group(call.cloud, call.body or {}))))


async def get_group(call: Call) -> Any:
    _let(call, models.READ_GROUPS)
    return _one("groups", models.shown_group(models.group(call.cloud, _id(call))), call)


async def change_group(call: Call) -> Reply:
    _let(call, models.WRITE_GROUPS)
    models.change_group(call.cloud, _id(call), call.body or {})
    return Reply(204)


async def delete_group(call: Call) -> Reply:
    _let(call, models.WRITE_GROUPS)
    found = models.group(call.cloud, _id(call))
    groups.forget(call.cloud, found["id"])
    call.cloud.store.delete(f"entra/groups/{found['id']}")
    return Reply(204)


async def list_members(call: Call) -> Any:
    """Who is in a group by itself."""
    return _members(call, nested=False)


async def list_transitive_members(call: Call) -> Any:
    """Who is in a group, groups in it opened; the groups themselves are in the list too."""
    return _members(call, nested=True)


def _members(call: Call, nested: bool) -> Any:
    """Members; a cast such as ``microsoft.graph.user`` at the end of the address leaves the others out."""
    _let(call, models.READ_GROUPS)
    found = models.objects(call.cloud, groups.members(call.cloud, models.group(call.cloud, _id(call)), nested))
    if cast := call.params.get("cast"):
        found = [each for each in found if each["@odata.type"].lower() == f"#{cast.lower()}"]
    return _list(call, "directoryObjects", found)


async def list_group_owners(call: Call) -> Any:
    _let(call, models.READ_GROUPS)
    return _list(call, "directoryObjects", models.owners(call.cloud, models.group(call.cloud, _id(call))))


def _changer(part: str) -> Handler:
    async def handler(call: Call) -> Reply:
        """Add an owner or member. An owner of the group may."""
        found = models.group(call.cloud, _id(call))
        _let(call, models.WRITE_MEMBERS if part == "members" else models.WRITE_GROUPS, found["owners"])
        groups.save(call.cloud, models.add_to(call.cloud, found, part, models.reference(call.cloud, call.body or {})))
        return Reply(204)

    return handler


def _taker(part: str) -> Handler:
    async def handler(call: Call) -> Reply:
        """Remove an owner or member. An owner of the group may."""
        found = models.group(call.cloud, _id(call))
        _let(call, models.WRITE_MEMBERS if part == "members" else models.WRITE_GROUPS, found["owners"])
        groups.save(call.cloud, models.take_from(found, part, call.params["member"]))
        return Reply(204)

    return handler


add_member, add_group_owner = _changer("members"), _changer("owners")
remove_member, remove_group_owner = _taker("members"), _taker("owners")


def _memberships(what: str, nested: bool) -> Handler:
    async def handler(call: Call) -> Any:
        """The groups of a person or service principal."""
        _let(call, (*models.READ_GROUPS, *(models.READ_USERS if what == "user" else models.READ_APPLICATIONS)))
        of = models.user(call.cloud, _id(call)) if what == "user" else models.service_principal(call.cloud, _id(call))
        return _list(call, "directoryObjects", models.objects(call.cloud, groups.groups_of(call.cloud, of["id"], nested)))

    return handler


user_groups, user_all_groups = _memberships("user", False), _memberships("user", True)
principal_groups, principal_all_groups = _memberships("principal", False), _memberships("principal", True)


# --- people and directory objects ------------------------------------------------------------------------------------------------


async def list_users(call: Call) -> Any:
    _let(call, models.READ_USERS)
    return _list(call, "users", map(models.shown_user, call.cloud.store.list("user")))


async def create_user(call: Call) -> Reply:
    _let(call, models.WRITE_USERS)
    return Reply(201, _one("users", models.shown_user(models.create_user(call.cloud, call.body or {}))))


async def get_user(call: Call) -> Any:
    _let(call, models.READ_USERS)
    return _one("users", models.shown_user(models.user(call.cloud, call.params["id"])), call)


async def delete_user(call: Call) -> Reply:
    _let(call, models.WRITE_USERS)
    models.delete_user(call.cloud, call.params["id"])
    return Reply(204)


async def get_me(call: Call) -> Any:
    _let(call, models.READ_OBJECTS)
    assert call.principal is not None
    if call.principal.kind != "user":
        raise AzureError(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
    return _one("users", models.shown_user(models.user(call.cloud, call.principal.oid)))


async def get_by_ids(call: Call) -> Any:
    """The objects with these ids; an id that is nobody's is left out."""
    _let(call, models.READ_OBJECTS)
    wanted = {str(kind).lower() for kind in (call.body or {}).get("types") or ()}
    found = [each for id in (call.body or {}).get("ids") or () if (each := models.directory_object(call.cloud, str(id)))]
    if wanted and "directoryobject" not in wanted:
        found = [each for each in found if each["@odata.type"].rsplit(".", 1)[-1].lower() in wanted]
    return _list(call, "directoryObjects", found)


async def get_directory_object(call: Call) -> Any:
    _let(call, models.READ_OBJECTS)
    found = models.directory_object(call.cloud, call.params["id"])
    if found is None:
        raise models.missing(call.params["id"])
    return _one("directoryObjects", found)
