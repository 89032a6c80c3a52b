"""Routes of registries: ARM's, and those of the data plane that azure-ai-ml uses."""

from __future__ import annotations

from emulator.assets.models import KINDS
from emulator.core import ARM, Route
from emulator.registries import models
from emulator.registries import responses as to

_TYPE = models.TYPE
_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + _TYPE
_ONE = _GROUP + "/{registry}"
_DATA = "cert-{region}.experiments.azureml.net"
_FRONT = "/mferp/managementfrontend"

ROUTES = [
    Route(
        "GET",
        ARM,
        "/subscriptions/{subscription}/providers/" + _TYPE,
        to.list_registries,
        f"{_TYPE}/read",
        doc="List the registries of a subscription",
    ),
    Route("GET", ARM, _GROUP, to.list_registries, f"{_TYPE}/read", doc="List the registries of a resource group"),
    Route("GET", ARM, _ONE, to.get_registry, f"{_TYPE}/read", doc="Read a registry"),
    Route("PUT", ARM, _ONE, to.put_registry, f"{_TYPE}/write", doc="Create or change a registry"),
    Route("PATCH", ARM, _ONE, to.patch_registry, f"{_TYPE}/write", doc="Change a registry's tags or identity"),
    Route("DELETE", ARM, _ONE, to.delete_registry, f"{_TYPE}/delete", doc="Delete a registry and all that is in it"),
    Route(
        "GET",
        "{region}.api.azureml.ms",
        "/registrymanagement/v1.0/registries/{registry}/discovery",
        to.discover,
        doc="Where a registry's data plane is",
    ),
    Route(
        "PUT",
        _DATA,
        _FRONT + _ONE + "/tempdatarefs/{name}/versions/{version}",
        to.write_reference,
        doc="Where to put the files of a registry asset to come",
    ),
    Route(
        "POST",
        _DATA,
        _FRONT + _ONE + "/datarefs/{name}/versions/{version}",
        to.read_reference,
        doc="Access to the files of a registry asset",
    ),
    Route(
        "POST", ARM, _ONE + "/datareferences/{name}/versions/{version}", to.read_reference, doc="Access to the files of a registry asset"
    ),
    Route("POST", _DATA, _FRONT + _ONE + "/import", to.import_asset, doc="Bring an asset of a workspace into a registry"),
]  # who may do what with assets is checked by the handlers: Microsoft's registry is readable for everybody

for _host, _front in ((ARM, ""), (_DATA, _FRONT)):
    for _kind in KINDS.values():
        _all = f"{_front}{_ONE}/{_kind.plural}"
        _container, _versions, _version = f"{_all}/{{name}}", f"{_all}/{{name}}/versions", f"{_all}/{{name}}/versions/{{version}}"
        ROUTES += [
            Route("GET", _host, _all, to.list_containers, doc=f"List {_kind.name} containers of a registry"),
            Route("GET", _host, _container, to.get_container, doc=f"Read a {_kind.name} container of a registry"),
            Route("PUT", _host, _container, to.put_container, doc=f"Create, change or archive a {_kind.name} container of a registry"),
            Route("DELETE", _host, _container, to.delete_container, doc=f"Delete a {_kind.name} container of a registry"),
            Route("GET", _host, _versions, to.list_versions, doc=f"List {_kind.name} versions of a registry"),
            Route("GET", _host, _version, to.get_version, doc=f"Read a {_kind.name} version of a registry"),
            Route("PUT", _host, _version, to.put_version, doc=f"Create, change or archive a {_kind.name} version of a registry"),
            Route("DELETE", _host, _version, to.delete_version, doc=f"Delete a {_kind.name} version of a registry"),
            Route(
                "POST",
                _host,
                _version + "/startPendingUpload",
                to.start_upload,
                doc=f"Where to upload a registry {_kind.name} version's files",
            ),
        ]

start = models.resume
