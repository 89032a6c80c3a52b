"""What the command line and tests ask of a running emulator, under a host name of its own. Azure has none of this."""

from __future__ import annotations

import hmac
from dataclasses import asdict
from typing import Any

from emulator.core import Call, Route
from emulator.errors import AzureError
from emulator.faults import OWN_HOST

HOST = OWN_HOST


def let_in(call: Call) -> None:
    secret = (call.cloud.home / "admin_secret").read_text().strip()
    if not hmac.compare_digest(call.request.headers.get("x-emulator-secret", ""), secret):
        raise AzureError(401, "Unauthorized", "The emulator's own routes need its secret; use the command line.")


async def status(call: Call) -> dict[str, Any]:
    let_in(call)
    cloud = call.cloud
    return {
        "documents": cloud.store.counts(),
        "processes": cloud.children.names(),
        "faults": cloud.faults.listing(),
        "settings": asdict(cloud.settings),
    }


async def timeline(call: Call) -> list[dict[str, Any]]:
    """When jobs, environment builds and server starts ran: seconds since the epoch, of this emulator process."""
    let_in(call)
    return [entry for entry in call.cloud.timeline if entry["end"]]


async def add_fault(call: Call) -> dict[str, Any]:
    let_in(call)
    try:
        return asdict(call.cloud.faults.add(**call.body))
    except TypeError as error:
        raise AzureError(400, "BadFault", str(error)) from error


async def clear_faults(call: Call) -> dict[str, Any]:
    let_in(call)
    call.cloud.faults.clear()
    return {}


async def set_knob(call: Call) -> dict[str, Any]:
    let_in(call)
    try:
        call.cloud.settings.set(call.params["name"], str(call.body["value"]))
    except ValueError as error:
        raise AzureError(400, "BadSetting", str(error)) from error
    return asdict(call.cloud.settings)


async def add_identity(call: Call) -> dict[str, Any]:
    """An application with federated credentials and roles: what an Entra administrator does beforehand."""
    let_in(call)
    from emulator.arm import roles
    from emulator.entra import models

    body = call.body
    application = models.create_application(call.cloud, body["name"], client_id=body.get("client_id"), secret=body.get("secret"))
    trusted = [(body["issuer"], subject) for subject in body.get("subjects", [])]
    for issuer, subject in [*trusted, *map(tuple, body.get("federated", []))]:
        models.add_federated_credential(call.cloud, application, issuer, subject)
    if body.get("graph"):
        models.grant_graph(call.cloud, application["appId"], body["graph"])
    for grant in body.get("roles", []):
        roles.assign(call.cloud, application["oid"], grant["role"], grant["scope"])
    return {"client_id": application["appId"], "oid": application["oid"]}


async def azure_devops(call: Call) -> dict[str, Any]:
    """What the service and its agents do by themselves: start a build or a job, write its timeline, ask for an approval."""
    let_in(call)
    from emulator.azure_devops import seeds

    return seeds.plant(call.cloud, call.params["what"], call.body)


ROUTES = [
    Route("GET", HOST, "/status", status, auth="none", doc="What it holds and runs"),
    Route("GET", HOST, "/timeline", timeline, auth="none", doc="When jobs, environment builds and server starts ran"),
    Route("POST", HOST, "/faults", add_fault, auth="none", doc="Ask for a fault"),
    Route("DELETE", HOST, "/faults", clear_faults, auth="none", doc="No more faults"),
    Route("PUT", HOST, "/settings/{name}", set_knob, auth="none", doc="Turn a knob"),
    Route("POST", HOST, "/identities", add_identity, auth="none", doc="Make an application with federated credentials and roles"),
    Route("POST", HOST, "/azure-devops/{what:path}", azure_devops, auth="none", doc="Play Azure DevOps and its agents"),
]
