"""What ARM says about the cloud itself: ``/metadata/endpoints``, which azureml-mlflow asks before it logs (``_common/_cloud/cloud.py``)."""

from __future__ import annotations

from typing import Any

from emulator.core import Call

AZURE_CLOUD: dict[str, Any] = {
    "name": "AzureCloud",
    "portal": "https://portal.azure.com",
    "authentication": {
        "loginEndpoint": "https://login.microsoftonline.com/",
        "audiences": ["https://management.core.windows.net/", "https://management.azure.com/"],
        "tenant": "common",
        "identityProvider": "AAD",
    },
    "resourceManager": "https://management.azure.com/",
    "sqlManagement": "https://management.core.windows.net:8443/",
    "batch": "https://batch.core.windows.net/",
    "gallery": "https://gallery.azure.com/",
    "graph": "https://graph.windows.net/",
    "graphAudience": "https://graph.windows.net/",
    "media": "https://rest.media.azure.net",
    "activeDirectoryDataLake": "https://datalake.azure.net/",
    "suffixes": {
        "storage": "core.windows.net",
        "keyVaultDns": "vault.azure.net",
        "sqlServerHostname": "database.windows.net",
        "azureDataLakeStoreFileSystem": "azuredatalakestore.net",
        "azureDataLakeAnalyticsCatalogAndJob": "azuredatalakeanalytics.net",
        "acrLoginServer": "azurecr.io",
    },
}


async def get_endpoints(call: Call) -> Any:
    """The clouds there are, of which the emulator is one; no sign-in is needed."""
    return [AZURE_CLOUD]
