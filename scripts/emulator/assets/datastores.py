"""Datastores: names for storage, and the secrets that go with them.

Source: https://learn.microsoft.com/rest/api/azureml/datastores. Secrets are kept apart from the document, which is what every read returns.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from emulator.core import Cloud, Principal
from emulator.errors import AzureError, bad_request
from emulator.workspaces.models import TYPE, account_of, system_data

Document = dict[str, Any]

DEFAULT = "workspaceblobstore"
NEEDED = {
    "AzureBlob": ["accountName", "containerName"],
    "AzureFile": ["accountName", "fileShareName"],
    "AzureDataLakeGen2": ["accountName", "filesystem"],
    "AzureDataLakeGen1": ["storeName"],
    "OneLake": ["artifact", "oneLakeWorkspaceName"],
}
SECRETS = {
    "AccountKey": ("AccountKey", "key"),
    "Sas": ("Sas", "sasToken"),
    "ServicePrincipal": ("ServicePrincipal", "clientSecret"),
    "Certificate": ("Certificate", "certificate"),
}


def datastore_id(workspace_id: str, name: str) -> str:
    return f"{workspace_id}/datastores/{name}"


def need(cloud: Cloud, workspace_id: str, name: str) -> Document:
    """The datastore; the service's 404 where there is none."""
    document = cloud.store.get(datastore_id(workspace_id, name))
    if document is None:
        cloud.store.need(workspace_id)
        raise AzureError(404, "UserError", f"Could not find datastore: {name}", target=name)
    return document


def put(cloud: Cloud, workspace_id: str, name: str, body: Any, principal: Principal | None, skip_validation: bool) -> tuple[Document, bool]:
    """Create or replace a datastore from a request body; the document, and whether it is new."""
    cloud.store.need(workspace_id)
    if not re.fullmatch(r"[a-zA-Z0-9_]{1,255}", name):
        raise bad_request("name", f"Datastore name {name} is invalid. It can only contain letters, digits and underscores.")
    properties = body.get("properties") if isinstance(body, dict) else None
    if not isinstance(properties, dict):
        raise bad_request("properties", "The property 'properties' is required.")
    kind = properties.get("datastoreType")
    if kind not in NEEDED:
        raise bad_request("properties.datastoreType", f"'{kind}' is not a datastore type; it is one of {', '.join(NEEDED)}.")
    for needed in NEEDED[kind]:
        if not properties.get(needed):
            raise bad_request(f"properties.{needed}", f"The property '{needed}' is required for a datastore of type {kind}.")
    credentials = properties.get("credentials")
    if not isinstance(credentials, dict) or credentials.get("credentialsType") not in ("None", *SECRETS):
        raise bad_request("properties.credentials", f"The property 'credentials' needs a 'credentialsType': None, {', '.join(SECRETS)}.")
    secret = _secret(credentials)
    account = properties.get("accountName")
    if account and not skip_validation and not cloud.storage.known(account):
        raise bad_request("properties.accountName", f"The storage account '{account}' could not be reached.")
    return _write(cloud, workspace_id, name, {**properties, "credentials": _shown(credentials)}, secret, principal)


def make_default(cloud: Cloud, workspace_id: str, name: str, properties: Document, account: str) -> Document:
    """One of the datastores that every workspace has from the start."""
    workspace = cloud.store.need(workspace_id)
    parts = workspace["properties"]["storageAccount"].split("/")
    keyless = str(workspace["properties"].get("systemDatastoresAuthMode", "")).lower() == "identity"
    full = {
        **properties,
        "accountName": account,
        "subscriptionId": parts[2],
        "resourceGroup": parts[4],
        "credentials": {"credentialsType": "None" if keyless else "AccountKey"},
        "serviceDataAccessAuthIdentity": "WorkspaceSystemAssignedIdentity" if keyless else "None",
    }
    return _write(cloud, workspace_id, name, full, None, None)[0]


def _write(
    cloud: Cloud, workspace_id: str, name: str, properties: Document, secret: str | None, principal: Principal | None
) -> tuple[Document, bool]:
    id = datastore_id(workspace_id, name)
    old = cloud.store.get(id)
    shown = {
        "description": None,
        "tags": {},
        "properties": {},
        "protocol": "https",
        "endpoint": "core.windows.net",
        "serviceDataAccessAuthIdentity": "None",
        **{key: value for key, value in properties.items() if value is not None},
        "isDefault": name == DEFAULT,
    }
    document = {
        "id": id,
        "name": name,
        "type": f"{TYPE}/datastores",
        "properties": shown,
        "systemData": system_data(cloud, principal, (old or {}).get("systemData")),
    }
    with cloud.store.transaction():
        cloud.store.put(id, "datastore", document)
        if secret is not None:
            cloud.store.put(f"secrets{id}", "datastore_secret", {"secret": secret})
    return document, old is None


def delete(cloud: Cloud, workspace_id: str, name: str) -> bool:
    """Remove a datastore; the workspace's own stay."""
    workspace = cloud.store.need(workspace_id)
    document = cloud.store.get(datastore_id(workspace_id, name))
    if document is None:
        return False
    if name.startswith("workspace") and document["properties"].get("accountName") == account_of(workspace["properties"]["storageAccount"]):
        raise bad_request("name", f"The default datastore {name} of the workspace cannot be deleted.")
    cloud.store.delete(f"secrets{document['id']}")
    return cloud.store.delete(document["id"])


def secrets(cloud: Cloud, workspace_id: str, name: str, expirable: bool, hours: int) -> Document:
    """What ``listSecrets`` answers: the key, or for an expirable secret a SAS of so many hours instead of it.

    The SDK asks for expirable secrets (``operations/_datastore_operations.py``, ``_list_secrets``), and reads code from other containers
    with the same SAS (``operations/_code_operations.py``, ``download``), so it is one of the account.
    """
    properties = need(cloud, workspace_id, name)["properties"]
    kind = properties["credentials"]["credentialsType"]
    if kind == "None":
        raise AzureError(400, "UserError", f"Datastore {name} has no credentials; it is accessed with the caller's identity.")
    account, container = properties.get("accountName"), properties.get("containerName") or properties.get("filesystem")
    saved = cloud.store.get(f"secrets{datastore_id(workspace_id, name)}")
    if kind == "AccountKey" and expirable and container and cloud.storage.known(account):
        return {"secretsType": "Sas", "sasToken": _account_sas(cloud, account, hours)}
    secret = saved["secret"] if saved else cloud.storage.key(account)
    type, field = SECRETS[kind]
    return {"secretsType": type, field: secret}


def _account_sas(cloud: Cloud, account: str, hours: int) -> str:
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    now = cloud.now()
    sas: str = generate_account_sas(
        account,
        cloud.storage.key(account),
        ResourceTypes(service=True, container=True, object=True),
        AccountSasPermissions(read=True, write=True, delete=True, list=True, add=True, create=True),
        expiry=now + timedelta(hours=hours),
        start=now - timedelta(minutes=5),
    )
    return sas


def _secret(credentials: Document) -> str | None:
    kind = credentials["credentialsType"]
    if kind == "None":
        return None
    _, field = SECRETS[kind]
    value = (credentials.get("secrets") or {}).get(field)
    if not value:
        raise bad_request(f"properties.credentials.secrets.{field}", f"Credentials of type {kind} need the secret '{field}'.")
    return str(value)


def _shown(credentials: Document) -> Document:
    return {key: value for key, value in credentials.items() if key != "secrets"}
