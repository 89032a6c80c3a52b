"""Secret references in environment variables, replaced by the secrets of workspace connections before the container starts.

https://learn.microsoft.com/azure/machine-learning/concept-secret-injection. The endpoint's identity must be allowed to read them;
an endpoint whose property ``enforce_access_to_default_secret_stores`` is ``enabled`` has that right from its creation. There is no
key vault behind ``${{keyvault:...}}`` in the emulator, so such a reference fails as for a secret that does not exist.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from emulator.core import TENANT, Principal
from emulator.online.exceptions import failed

if TYPE_CHECKING:
    from emulator.core import Cloud

Document = dict[str, Any]
_CONNECTION = re.compile(r"\$\{\{azureml://connections/(?P<name>[^/}]+)(?:/(?P<path>[^}]+))?\}\}")
_VAULT = re.compile(r"\$\{\{keyvault:[^}]+\}\}")
READ = "Microsoft.MachineLearningServices/workspaces/connections/listsecrets/action"


def inject(cloud: Cloud, workspace: Document, deployment: Document) -> dict[str, str]:
    """The deployment's environment variables with every reference replaced; raises SecretsInjectionError."""
    variables: dict[str, str] = dict(deployment["properties"]["environmentVariables"])
    for name, value in variables.items():
        if _VAULT.fullmatch(value):
            raise failed(
                "SecretsInjectionError", f"The secret that the environment variable '{name}' refers to does not exist in the key vault."
            )
        if match := _CONNECTION.fullmatch(value):
            _check_right(cloud, workspace, deployment)
            variables[name] = _secret(cloud, workspace, name, match["name"], match["path"])
    return variables


def _secret(cloud: Cloud, workspace: Document, variable: str, connection: str, path: str | None) -> str:
    found = cloud.store.get(f"{workspace['id']}/connections/{connection}")
    value: Any = (found or {}).get("properties")
    for word in (path or "").split("/") if path else []:
        value = next((one for key, one in value.items() if key.lower() == word.lower()), None) if isinstance(value, dict) else None
    if value is None:
        raise failed(
            "SecretsInjectionError",
            f"The environment variable '{variable}' refers to '{connection}{'/' + path if path else ''}', "
            "which does not exist in the workspace's connections.",
        )
    return value if isinstance(value, str) else json.dumps(value)


def _check_right(cloud: Cloud, workspace: Document, deployment: Document) -> None:
    from emulator.arm.roles import allowed

    endpoint = cloud.store.need("/".join(deployment["id"].split("/")[:11]))
    if endpoint["properties"]["properties"].get("enforce_access_to_default_secret_stores", "").lower() == "enabled":
        return
    identity = endpoint["identity"]
    holders = [identity.get("principalId"), *(one["principalId"] for one in (identity.get("userAssignedIdentities") or {}).values())]
    for oid in holders:
        if oid and allowed(cloud, Principal(oid, "", TENANT, "app", ""), READ, workspace["id"]):
            return
    raise failed("SecretsInjectionError", f"The endpoint's identity is not allowed to perform '{READ}' over '{workspace['id']}'.")
