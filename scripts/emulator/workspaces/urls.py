"""Routes of workspaces."""

from __future__ import annotations

from emulator.core import ARM, Route
from emulator.workspaces import models
from emulator.workspaces import responses as to

_WS = "Microsoft.MachineLearningServices/workspaces"
_ALL = "/subscriptions/{subscription}/providers/" + _WS
_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + _WS
_ONE = _GROUP + "/{workspace}"

ROUTES = [
    Route("GET", ARM, _ALL, to.list_workspaces, f"{_WS}/read", doc="List the workspaces of a subscription"),
    Route("GET", ARM, _GROUP, to.list_workspaces, f"{_WS}/read", doc="List the workspaces of a resource group"),
    Route("GET", ARM, _ONE, to.get_workspace, f"{_WS}/read", doc="Read a workspace"),
    Route("PUT", ARM, _ONE, to.put_workspace, f"{_WS}/write", doc="Create, replace or recover a workspace"),
    Route("PATCH", ARM, _ONE, to.patch_workspace, f"{_WS}/write", doc="Change a workspace"),
    Route("DELETE", ARM, _ONE, to.delete_workspace, f"{_WS}/delete", doc="Soft-delete a workspace, or purge it"),
    Route("POST", ARM, _ONE + "/listKeys", to.list_keys, f"{_WS}/listKeys/action", doc="Keys of a workspace's resources"),
    Route(
        "POST",
        ARM,
        _ONE + "/listStorageAccountKeys",
        to.list_storage_keys,
        f"{_WS}/listStorageAccountKeys/action",
        doc="Key of its storage account",
    ),
    Route("POST", ARM, _ONE + "/resyncKeys", to.resync_keys, f"{_WS}/resyncKeys/action", doc="Take over changed keys"),
    Route("POST", ARM, _ONE + "/diagnose", to.diagnose, f"{_WS}/diagnose/action", doc="Diagnose a workspace (finds nothing)"),
    Route("GET", ARM, _ONE + "/connections", to.list_connections, f"{_WS}/connections/read", doc="List connections"),
    Route("GET", ARM, _ONE + "/connections/{connection}", to.get_connection, f"{_WS}/connections/read", doc="Read a connection"),
    Route(
        "PUT", ARM, _ONE + "/connections/{connection}", to.put_connection, f"{_WS}/connections/write", doc="Create or replace a connection"
    ),
    Route("DELETE", ARM, _ONE + "/connections/{connection}", to.delete_connection, f"{_WS}/connections/delete", doc="Delete a connection"),
    Route(
        "POST",
        ARM,
        _ONE + "/connections/{connection}/listsecrets",
        to.list_connection_secrets,
        f"{_WS}/connections/listsecrets/action",
        doc="A connection with its secret",
    ),
    Route("GET", ARM, _ONE + "/outboundRules", to.nothing, f"{_WS}/read", doc="Outbound rules of the managed network (none)"),
    Route(
        "GET",
        ARM,
        _ONE + "/privateEndpointConnections",
        to.nothing,
        f"{_WS}/privateEndpointConnections/read",
        doc="Private endpoint connections (none)",
    ),
    Route("GET", ARM, _ONE + "/privateLinkResources", to.nothing, f"{_WS}/read", doc="Private link resources (none)"),
    Route(
        "GET", "{region}.api.azureml.ms", "/discovery", to.discovery, auth="none", api_version=False, doc="Addresses of a region's services"
    ),
    Route(
        "GET",
        "{region}.api.azureml.ms",
        "/discovery/workspaces/{workspace}",
        to.discovery,
        auth="none",
        api_version=False,
        doc="Addresses of a workspace's services",
    ),
]

start = models.resume
