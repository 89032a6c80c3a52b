"""HTTP in and out of graph.microsoft.com."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from emulator import odata
from emulator.core import Call, Reply
from emulator.entra import models as entra
from emulator.errors import AzureError
from emulator.graph import models

HOST = "graph.microsoft.com"


def _let(call: Call, roles: tuple[str, ...]) -> None:
    """Let the caller in: a version of Graph's, a JSON object where there is a body, and the permission."""
    if call.params["version"].lower() not in ("v1.0", "beta"):
        raise AzureError(400, "BadRequest", f"Invalid version: {call.params['version']}")
    if call.raw and not isinstance(call.body, dict):
        raise AzureError(400, "BadRequest", "Unable to read JSON request payload: an object is expected.")
    assert call.principal is not None
    models.require(call.principal, roles)


def _list(call: Call, what: str, documents: Iterable[dict[str, Any]]) -> dict[str, Any]:
    found = list(documents)
    if text := call.query.get("$filter"):
        test = odata.parse(text)
        found = [each for each in found if test(each)]
    top = call.query.get("$top", str(len(found)))
    if not top.isdigit():
        raise AzureError(400, "Request_BadRequest", f"Invalid value '{top}' for $top query option found.")
    return {"@odata.context": models.CONTEXT + what, "value": found[: int(top)]}


def _one(what: str, document: dict[str, Any]) -> dict[str, Any]:
    return {"@odata.context": f"{models.CONTEXT}{what}/$entity", **document}


# --- applications ----------------------------------------------------------------------------------------------------------------


async def list_applications(call: Call) -> Any:
    _let(call, models.READ)
    return _list(call, "applications", map(models.shown_application, call.cloud.store.list("application")))


async def create_application(call: Call) -> Reply:
    _let(call, models.WRITE_APPLICATIONS)
    return Reply(201, _one("applications", models.shown_application(models.create_application(call.cloud, call.body or {}))))


async def get_application(call: Call) -> Any:
    _let(call, models.READ)
    return _one("applications", models.shown_application(models.application(call.cloud, call.params["id"])))


async def change_application(call: Call) -> Reply:
    _let(call, models.WRITE_APPLICATIONS)
    models.change_application(call.cloud, call.params["id"], call.body or {})
    return Reply(204)


async def delete_application(call: Call) -> Reply:
    _let(call, models.WRITE_APPLICATIONS)
    models.delete_application(call.cloud, call.params["id"])
    return Reply(204)


async def list_owners(call: Call) -> Any:
    """Nobody owns an application here; Application.ReadWrite.All is what lets one change it."""
    _let(call, models.READ)
    return _list(call, "directoryObjects", [])


async def add_application_password(call: Call) -> Any:
    _let(call, models.WRITE_APPLICATIONS)
    return _add_password(call, models.application(call.cloud, call.params["id"]))


def _add_password(call: Call, app: dict[str, Any]) -> Any:
    wanted = (call.body or {}).get("passwordCredential") or {}
    made = entra.add_secret(
        call.cloud, app["appId"], None, wanted.get("displayName"), wanted.get("startDateTime"), wanted.get("endDateTime")
    )
    return _one("microsoft.graph.passwordCredential", made)


async def remove_application_password(call: Call) -> Reply:
    _let(call, models.WRITE_APPLICATIONS)
    models.remove_password(call.cloud, models.application(call.cloud, call.params["id"]), str((call.body or {}).get("keyId")))
    return Reply(204)


async def list_federated(call: Call) -> Any:
    _let(call, models.READ)
    app = models.application(call.cloud, call.params["id"])
    return _list(call, "applications/federatedIdentityCredentials", app["federatedIdentityCredentials"])


async def create_federated(call: Call) -> Reply:
    _let(call, models.WRITE_APPLICATIONS)
    app = models.application(call.cloud, call.params["id"])
    made = models.create_federated_credential(call.cloud, app, call.body or {})
    return Reply(201, _one("applications/federatedIdentityCredentials", made))


async def get_federated(call: Call) -> Any:
    _let(call, models.READ)
    app = models.application(call.cloud, call.params["id"])
    return _one("applications/federatedIdentityCredentials", models.federated_credential(app, call.params["credential"]))


async def change_federated(call: Call) -> Reply:
    _let(call, models.WRITE_APPLICATIONS)
    app = models.application(call.cloud, call.params["id"])
    models.change_federated_credential(call.cloud, app, call.params["credential"], call.body or {})
    return Reply(204)


async def delete_federated(call: Call) -> Reply:
    _let(call, models.WRITE_APPLICATIONS)
    models.delete_federated_credential(call.cloud, models.application(call.cloud, call.params["id"]), call.params["credential"])
    return Reply(204)


# --- service principals ----------------------------------------------------------------------------------------------------------


async def list_service_principals(call: Call) -> Any:
    _let(call, models.READ)
    found = call.cloud.store.list("service_principal")
    return _list(call, "servicePrincipals", [models.shown_service_principal(call.cloud, each) for each in found])


async def create_service_principal(call: Call) -> Reply:
    _let(call, models.WRITE_APPLICATIONS)
    made = models.create_service_principal(call.cloud, call.body or {})
    return Reply(201, _one("servicePrincipals", models.shown_service_principal(call.cloud, made)))


async def get_service_principal(call: Call) -> Any:
    _let(call, models.READ)
    found = models.service_principal(call.cloud, call.params["id"])
    return _one("servicePrincipals", models.shown_service_principal(call.cloud, found))


async def change_service_principal(call: Call) -> Reply:
    _let(call, models.WRITE_APPLICATIONS)
    models.change_service_principal(call.cloud, call.params["id"], call.body or {})
    return Reply(204)


async def delete_service_principal(call: Call) -> Reply:
    _let(call, models.WRITE_APPLICATIONS)
    found = models.service_principal(call.cloud, call.params["id"])
    call.cloud.store.delete(f"entra/service_principals/{found['id']}")
    return Reply(204)


# --- people and directory objects ------------------------------------------------------------------------------------------------


async def list_users(call: Call) -> Any:
    _let(call, models.READ)
    return _list(call, "users", map(models.shown_user, call.cloud.store.list("user")))


async def create_user(call: Call) -> Reply:
    _let(call, models.WRITE_USERS)
    return Reply(201, _one("users", models.shown_user(models.create_user(call.cloud, call.body or {}))))


async def get_user(call: Call) -> Any:
    _let(call, models.READ)
    return _one("users", models.shown_user(models.user(call.cloud, call.params["id"])))


async def delete_user(call: Call) -> Reply:
    _let(call, models.WRITE_USERS)
    call.cloud.store.delete(f"entra/users/{models.user(call.cloud, call.params['id'])['id']}")
    return Reply(204)


async def get_me(call: Call) -> Any:
    _let(call, models.READ)
    assert call.principal is not None
    if call.principal.kind != "user":
        raise AzureError(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
    return _one("users", models.shown_user(models.user(call.cloud, call.principal.oid)))


async def get_by_ids(call: Call) -> Any:
    """The objects with these ids; an id that is nobody's is left out."""
    _let(call, models.READ)
    wanted = {str(kind).lower() for kind in (call.body or {}).get("types") or ()}
    found = [each for id in (call.body or {}).get("ids") or () if (each := models.directory_object(call.cloud, str(id)))]
    if wanted and "directoryobject" not in wanted:
        found = [each for each in found if each["@odata.type"].rsplit(".", 1)[-1].lower() in wanted]
    return _list(call, "directoryObjects", found)


async def get_directory_object(call: Call) -> Any:
    _let(call, models.READ)
    found = models.directory_object(call.cloud, call.params["id"])
    if found is None:
        raise models.missing(call.params["id"])
    return _one("directoryObjects", found)
