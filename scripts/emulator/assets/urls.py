"""Routes of datastores and of a workspace's assets."""

from __future__ import annotations

from emulator.assets import mlflow_registry
from emulator.assets import responses as to
from emulator.assets.models import KINDS
from emulator.core import ARM, Route

_WS = "Microsoft.MachineLearningServices/workspaces"
_ONE = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + _WS + "/{workspace}"
_STORES = _ONE + "/datastores"

ROUTES = [
    Route("GET", ARM, _STORES, to.list_datastores, f"{_WS}/datastores/read", doc="List datastores"),
    Route("GET", ARM, _STORES + "/{name}", to.get_datastore, f"{_WS}/datastores/read", doc="Read a datastore"),
    Route("PUT", ARM, _STORES + "/{name}", to.put_datastore, f"{_WS}/datastores/write", doc="Create or replace a datastore"),
    Route("DELETE", ARM, _STORES + "/{name}", to.delete_datastore, f"{_WS}/datastores/delete", doc="Delete a datastore"),
    Route(
        "POST",
        ARM,
        _STORES + "/{name}/listSecrets",
        to.list_datastore_secrets,
        f"{_WS}/datastores/listsecrets/action",
        doc="Key or SAS of a datastore",
    ),
]

# azure-ai-ml asks this host for the schema of MLTable files, and checks nothing when it has none; without an answer it tries for seconds.
_SCHEMAS = "azuremlschemasprod.azureedge.net"
ROUTES.append(Route("GET", _SCHEMAS, "/{schema:path}", to.no_schema, auth="none", doc="Azure ML's JSON schemas (there are none)"))

for _kind in KINDS.values():
    _all, _right = f"{_ONE}/{_kind.plural}", f"{_WS}/{_kind.plural}"
    _container, _versions, _version = f"{_all}/{{name}}", f"{_all}/{{name}}/versions", f"{_all}/{{name}}/versions/{{version}}"
    ROUTES += [
        Route("GET", ARM, _all, to.list_containers, f"{_right}/read", doc=f"List {_kind.name} containers"),
        Route("GET", ARM, _container, to.get_container, f"{_right}/read", doc=f"Read a {_kind.name} container"),
        Route("PUT", ARM, _container, to.put_container, f"{_right}/write", doc=f"Create, change or archive a {_kind.name} container"),
        Route("DELETE", ARM, _container, to.delete_container, f"{_right}/delete", doc=f"Delete a {_kind.name} container"),
        Route("GET", ARM, _versions, to.list_versions, f"{_right}/versions/read", doc=f"List {_kind.name} versions"),
        Route("GET", ARM, _version, to.get_version, f"{_right}/versions/read", doc=f"Read a {_kind.name} version"),
        Route(
            "PUT", ARM, _version, to.put_version, f"{_right}/versions/write", doc=f"Create a {_kind.name} version, or change or archive one"
        ),
        Route("DELETE", ARM, _version, to.delete_version, f"{_right}/versions/delete", doc=f"Delete a {_kind.name} version"),
        Route(
            "POST",
            ARM,
            _version + "/startPendingUpload",
            to.start_upload,
            f"{_right}/versions/write",
            doc=f"Where to upload a {_kind.name} version's files",
        ),
    ]

_API = "{region}.api.azureml.ms"
_MLFLOW = "/mlflow/{version}/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/"
for _operation in mlflow_registry.OPERATIONS:
    for _place in ("workspaces/{workspace}", "registries/{registry}"):
        ROUTES.append(
            Route(
                "GET|POST|PATCH|DELETE",
                _API,
                f"{_MLFLOW}{_place}/api/2.0/mlflow/{_operation}",
                mlflow_registry.handler(_operation),
                mlflow_registry.action(_operation, _place.startswith("registries")),
                scope=mlflow_registry.parent_of,
                doc=f"MLflow's model registry: {_operation} ({_place.split('/')[0]})",
            )
        )
_FILES = "/artifact/v2.0" + _ONE + "/artifacts/" + mlflow_registry.DATASTORE + "/{container}"
_READ = f"{_WS}/models/versions/read"
ROUTES += [
    Route("GET", _API, _FILES, mlflow_registry.list_files, _READ, scope=mlflow_registry.parent_of, doc="Files of a model, for MLflow"),
    Route(
        "GET", _API, _FILES + "/contentinfo", mlflow_registry.file_content, _READ, scope=mlflow_registry.parent_of, doc="Where to read one"
    ),
]
