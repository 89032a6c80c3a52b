"""The environment variables of a run, as they are on Azure's computes.

Source: https://learn.microsoft.com/azure/machine-learning/how-to-use-mlflow-configure-tracking, and what azureml-mlflow reads
(``_internal/service_context_loader.py``, ``_common/_authentication/azureml_token_authentication.py``).
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING

from emulator.core import TENANT
from emulator.entra import models as entra
from emulator.jobs import identity
from emulator.jobs.models import Document, Place

if TYPE_CHECKING:
    from emulator.core import Cloud

TOKEN_DAYS = 21  # as long as a run may live
AUDIENCE = "https://ml.azure.com"


def run_token(cloud: Cloud, document: Document) -> str:
    """A token with which the run speaks to its workspace, in the name of the submitter."""
    who = document["_run"]["who"]
    return entra.issue(cloud, who["app_id"] if who["kind"] == "app" else who["oid"], AUDIENCE, lifetime=TOKEN_DAYS * 86400)


def run_variables(cloud: Cloud, where: Place, document: Document, values: dict[str, str | None], image: dict[str, str]) -> dict[str, str]:
    """Everything but what depends on the run's folders. Of the emulator's own environment only the locale is passed on."""
    run, properties = document["_run"], document["properties"]
    experiment, service = properties["experimentName"], f"https://{where.host}"
    token = run_token(cloud, document)
    inherited = {name: value for name in ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "SYSTEMROOT") if (value := os.environ.get(name))}
    expressions = {}
    for reference, value in values.items():
        side, _, name = reference.partition(".")
        word = {"inputs": "INPUT", "outputs": "OUTPUT", "search_space": "SWEEP"}[side]
        if value is not None:
            expressions[f"AZUREML_SWEEP_{name}" if word == "SWEEP" else f"AZURE_ML_{word}_{re.sub(r'[^A-Za-z0-9_]', '_', name)}"] = value
    return {
        "LANG": "C.UTF-8",
        **inherited,
        **{key: str(value) for key, value in image.items()},
        **cloud.client_env(),
        **expressions,
        "PYTHONUNBUFFERED": "1",
        "AZUREML_RUN_ID": document["name"],
        "AZUREML_ROOT_RUN_ID": run["root"],
        **({"AZUREML_PARENT_RUN_ID": run["parent"]} if run["parent"] else {}),
        "AZUREML_RUN_TOKEN": token,
        "AZUREML_RUN_TOKEN_EXPIRY": str(int((cloud.now() + timedelta(days=TOKEN_DAYS)).timestamp())),
        "AZUREML_ARM_SUBSCRIPTION": where.subscription,
        "AZUREML_ARM_RESOURCEGROUP": where.group,
        "AZUREML_ARM_WORKSPACE_NAME": where.name,
        "AZUREML_ARM_PROJECT_NAME": experiment,
        "AZUREML_EXPERIMENT_NAME": experiment,
        "AZUREML_EXPERIMENT_SCOPE": f"{where.id}/experiments/{experiment}",
        "AZUREML_WORKSPACE_ID": where.guid,
        "AZUREML_WORKSPACE_NAME": where.name,
        "AZUREML_WORKSPACE_SCOPE": where.id,
        "AZUREML_TENANT_ID": TENANT,
        "AZUREML_SERVICE_ENDPOINT": service,
        "AZUREML_RUN_HISTORY_SERVICE_ENDPOINT": service,
        "AZUREML_DISCOVERY_SERVICE_ENDPOINT": f"{service}/discovery",
        "AZUREML_COMPUTE_USE_COMMON_RUNTIME": "true",
        "AZUREML_NODE_COUNT": "1",
        "AZUREML_CR_NODE_COUNT": "1",
        "MLFLOW_TRACKING_URI": where.tracking_uri,
        "MLFLOW_TRACKING_TOKEN": token,
        "MLFLOW_RUN_ID": document["name"],
        "MLFLOW_EXPERIMENT_NAME": experiment,
        **identity.variables(cloud, where, document),
        **_distribution(properties.get("distribution") or {}),
    }


def _distribution(distribution: Document) -> dict[str, str]:
    """One process is all there is: the first of one."""
    if not distribution:
        return {}
    return {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "NODE_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
        "OMPI_COMM_WORLD_RANK": "0",
        "OMPI_COMM_WORLD_SIZE": "1",
        "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    }
