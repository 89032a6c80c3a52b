"""ARM as the platform's administrator asks it: what sets an emulated Azure up for the demo and for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests

from emulator import cli
from emulator.core import ADMIN_CLIENT_ID, SUBSCRIPTION, TENANT

ML = "providers/Microsoft.MachineLearningServices"
VERSIONS = {
    "Microsoft.Storage": "2023-01-01", "Microsoft.KeyVault": "2023-07-01", "Microsoft.Insights": "2020-02-02",
    "Microsoft.MachineLearningServices": "2024-04-01", "Microsoft.Authorization": "2022-04-01",
}  # fmt: skip


class Administrator:
    """A session of the application that owns the emulated subscription."""

    def __init__(self, home: Path) -> None:
        env = cli.environment(home)
        self.home = home
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.proxies = {"https": env["HTTPS_PROXY"]}
        self.session.verify = str(home / "tls" / "ca.pem")
        self._secret = env["AZURE_CLIENT_SECRET"]

    def token(self, scope: str = "https://management.azure.com/.default") -> str:
        """An access token for a scope such as ``https://ml.azure.com/.default``."""
        form = {"grant_type": "client_credentials", "client_id": ADMIN_CLIENT_ID, "client_secret": self._secret, "scope": scope}
        answer = self.session.post(f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token", data=form, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def arm(self, method: str, path: str, body: Any = None, version: str = "") -> Any:
        """The JSON of ARM's answer; a long operation is followed to its end. Raises RuntimeError with ARM's words."""
        url = path if path.startswith("https:") else f"https://management.azure.com{path}"
        if "api-version=" not in url:
            provider = next((part for part in path.split("/") if part.startswith("Microsoft.")), "")
            url += f"?api-version={version or VERSIONS.get(provider, '2022-09-01')}"
        if "Authorization" not in self.session.headers:
            self.session.headers["Authorization"] = f"Bearer {self.token()}"
        answer = self.session.request(method, url, json=body, timeout=60)
        if answer.status_code == 401:
            del self.session.headers["Authorization"]
            return self.arm(method, path, body, version)
        if answer.status_code >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        if follow := answer.headers.get("Azure-AsyncOperation"):
            while (state := self.session.get(follow, timeout=60).json())["status"] == "InProgress":
                pass  # the emulator answers when it is done
            if state["status"] != "Succeeded":
                raise RuntimeError(f"{method} {path}: {state}")
            if method == "PUT":
                return self.arm("GET", url)
        return answer.json() if answer.content else None

    def workspace(self, name: str, group: str = "", location: str = "westeurope") -> dict[str, Any]:
        """A resource group with storage, key vault, Application Insights and a workspace, made only where missing; as ARM gives it."""
        base = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group or 'rg-' + name}"
        short = "".join(letter for letter in name.lower() if letter.isalnum())
        parts = {
            "storageAccount": f"{base}/providers/Microsoft.Storage/storageAccounts/st{short[-22:]}",
            "keyVault": f"{base}/providers/Microsoft.KeyVault/vaults/kv{short[-22:]}",
            "applicationInsights": f"{base}/providers/Microsoft.Insights/components/appi-{name}",
        }
        resource = f"{base}/{ML}/workspaces/{name}"
        if found := self.find(resource):
            return found
        self.arm("PUT", base, {"location": location})
        self.arm(
            "PUT", parts["storageAccount"], {"location": location, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {}}
        )
        vault = {"tenantId": TENANT, "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True}
        self.arm("PUT", parts["keyVault"], {"location": location, "properties": vault})
        self.arm("PUT", parts["applicationInsights"], {"location": location, "kind": "web", "properties": {"Application_Type": "web"}})
        body = {"location": location, "identity": {"type": "SystemAssigned"}, "properties": {"friendlyName": name, **parts}}
        made: dict[str, Any] = self.arm("PUT", resource, body)
        return made

    def registry(self, name: str, group: str, location: str = "westeurope") -> str:
        """A registry, made only where missing; its ARM id."""
        base = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"
        resource = f"{base}/{ML}/registries/{name}"
        if not self.find(resource):
            self.arm("PUT", base, {"location": location})
            region = {
                "location": location,
                "storageAccountDetails": [{"systemCreatedStorageAccount": {"storageAccountType": "Standard_LRS"}}],
            }
            properties = {"regionDetails": [region]}
            self.arm(
                "PUT", resource, {"location": location, "identity": {"type": "SystemAssigned"}, "properties": properties}, "2023-10-01"
            )
        return resource

    def compute(self, workspace_id: str, name: str, size: str, maximum: int, minimum: int = 0, location: str = "westeurope") -> None:
        """A compute cluster, made only where missing."""
        resource = f"{workspace_id}/computes/{name}"
        if not self.find(resource):
            scale = {"minNodeCount": minimum, "maxNodeCount": maximum, "nodeIdleTimeBeforeScaleDown": "PT2M"}
            cluster = {"computeType": "AmlCompute", "properties": {"vmSize": size, "vmPriority": "Dedicated", "scaleSettings": scale}}
            self.arm("PUT", resource, {"location": location, "properties": cluster})

    def azure_devops(self, what: str, **body: Any) -> Any:
        """Play Azure DevOps or one of its agents: see emulator/azure_devops/seeds.py for what there is to do."""
        return cli.request(self.home, "POST", f"/azure-devops/{what}", body)

    def find(self, resource: str) -> dict[str, Any] | None:
        """A resource, or None."""
        try:
            found: dict[str, Any] = self.arm("GET", resource)
        except RuntimeError as error:
            if ": 404 " in str(error):
                return None
            raise
        return found
