"""A workspace with code, a model and a small environment in it, and clients that speak to it in plain HTTPS."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import requests

VERSION = "2024-04-01"
CONDA = "dependencies:\n  - python>=3.10\n  - pip:\n    - azureml-inference-server-http\n"
SCORE = """
import json, os, pathlib, signal, time

from azureml_inference_server_http.api.aml_response import AMLResponse


def init():
    print("init of", os.environ.get("WHO"))


def run(data):
    order = json.loads(data)
    if order.get("gate"):
        pathlib.Path(order["gate"] + ".reached").touch()
        deadline = time.monotonic() + 30
        while not os.path.exists(order["gate"]) and time.monotonic() < deadline:
            time.sleep(0.01)
    if order.get("raise"):
        raise ValueError("asked for")
    if order.get("die"):
        os.killpg(0, signal.SIGKILL)
    if order.get("status"):
        return AMLResponse({"problem": "asked for"}, order["status"], json_str=True)
    model = pathlib.Path(os.environ["AZUREML_MODEL_DIR"], "model", "value.txt").read_text()
    return {"who": os.environ.get("WHO"), "model": model, "echo": order}
"""


@dataclass
class Site:
    """One workspace, seen by somebody who knows Azure's REST and nothing else."""

    emulator: Any
    name: str
    id: str
    account: str
    container: str
    session: requests.Session = field(default_factory=requests.Session)
    SCORE: ClassVar[str] = SCORE
    CONDA: ClassVar[str] = CONDA
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def call(self, method: str, path: str, body: Any = None, token: str | None = None, **query: Any) -> requests.Response:
        """A request to ARM; ``path`` below the workspace, unless it is a whole address."""
        url = path if path.startswith("https:") else f"https://management.azure.com{self.id}/{path}".rstrip("/")
        params = {} if "api-version=" in url else {"api-version": VERSION, **query}
        headers = {"Authorization": f"Bearer {token or self.token()}"}
        return self.session.request(method, url, params=params, json=body, headers=headers, timeout=120)

    def token(self, scope: str = "https://management.azure.com/.default", client: tuple[str, str] | None = None) -> str:
        from emulator.core import ADMIN_CLIENT_ID, TENANT

        client_id, secret = client or (ADMIN_CLIENT_ID, self.emulator.env["AZURE_CLIENT_SECRET"])
        data = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, "scope": scope}
        answer = self.session.post(f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token", data=data, timeout=60)
        return str(answer.json()["access_token"])

    def end(self, answer: requests.Response) -> dict[str, Any]:
        """Follow a long operation; the document of its end."""
        assert answer.status_code in (200, 201, 202), answer.text
        while (state := self.call("GET", answer.headers["Azure-AsyncOperation"]).json())["status"] == "InProgress":
            pass
        return dict(state)

    def put_endpoint(self, name: str, **properties: Any) -> requests.Response:
        body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {"authMode": "Key", **properties}}
        return self.call("PUT", f"onlineEndpoints/{name}", body)

    def endpoint(self, name: str, **properties: Any) -> dict[str, Any]:
        """An endpoint that is there afterwards."""
        assert self.end(self.put_endpoint(name, **properties))["status"] == "Succeeded"
        return dict(self.call("GET", f"onlineEndpoints/{name}").json())

    def asset(self, kind: str, properties: dict[str, Any], files: dict[str, str] | None = None, folder: str = "code") -> str:
        """A registered asset version, its files put into the workspace's blob store first; its id."""
        number = next(self._numbers)
        if files is not None:
            base, container = f"tests/{number}/{folder}", self._container(self.container)
            for name, text in files.items():
                container.upload_blob(f"{base}/{name}", text.encode())
            field_name = {"codes": "codeUri", "models": "modelUri"}[kind]
            properties = {**properties, field_name: f"https://{self.account}.blob.core.windows.net/{self.container}/{base}"}
        answer = self.call("PUT", f"{kind}/asset{number}/versions/1", {"properties": properties})
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["id"])

    def blob(self, container: str, path: str) -> str:
        """The text of a blob in the workspace's storage account."""
        return str(self._container(container).download_blob(path).readall().decode())

    def delete_blobs(self, model: str) -> None:
        """Take a registered model's files away behind the service's back."""
        uri = self.call("GET", model.removeprefix(f"{self.id}/")).json()["properties"]["modelUri"]
        prefix = uri.split(f"/{self.container}/")[-1].split("/paths/")[-1]
        container = self._container(self.container)
        for blob in container.list_blobs(name_starts_with=prefix):
            container.delete_blob(blob.name)

    def _container(self, name: str) -> Any:
        from azure.storage.blob import ContainerClient

        key = self.call("POST", "listStorageAccountKeys").json()["userStorageKey"]
        return ContainerClient(
            f"https://{self.account}.blob.core.windows.net", name, credential=key,
            proxies=self.session.proxies, connection_verify=self.session.verify, use_env_settings=False,
        )  # fmt: skip

    def code(self, score: str) -> str:
        return self.asset("codes", {}, {"score.py": score})

    def environment(self, conda: str = CONDA) -> str:
        return self.asset("environments", {"condaFile": conda, "image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"})

    def model(self, value: str = "42", kind: str = "custom_model") -> str:
        return self.asset("models", {"modelType": kind}, {"value.txt": value}, folder="model")

    def body(self, score: str = SCORE, instances: int = 1, size: str = "Standard_DS2_v2", **properties: Any) -> dict[str, Any]:
        """The body of a deployment with everything that it needs, unless ``properties`` say otherwise."""
        needed: dict[str, Any] = {"endpointComputeType": "Managed", "instanceType": size}
        needed |= (
            {"codeConfiguration": {"codeId": self.code(score), "scoringScript": "score.py"}}
            if "codeConfiguration" not in properties
            else {}
        )
        needed |= {"environmentId": self.environment()} if "environmentId" not in properties else {}
        needed |= {"model": self.model()} if "model" not in properties else {}
        return {"location": "westeurope", "sku": {"name": "Default", "capacity": instances}, "properties": {**needed, **properties}}

    def deploy(self, endpoint: str, name: str, body: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """The end of a deployment's create or update operation, as its status document."""
        return self.end(self.call("PUT", f"onlineEndpoints/{endpoint}/deployments/{name}", body or self.body(**more)))

    def remove(self, endpoint: str) -> None:
        """Delete an endpoint with its deployments."""
        assert self.end(self.call("DELETE", f"onlineEndpoints/{endpoint}"))["status"] == "Succeeded"

    def logs(self, endpoint: str, name: str, container: str = "InferenceServer", tail: int = 500) -> str:
        body = {"containerType": container, "tail": tail}
        return str(self.call("POST", f"onlineEndpoints/{endpoint}/deployments/{name}/getLogs", body).json()["content"])

    def key(self, endpoint: str) -> str:
        return str(self.call("POST", f"onlineEndpoints/{endpoint}/listKeys").json()["primaryKey"])

    def score(
        self, endpoint: str, body: Any, key: str, deployment: str | None = None, path: str = "score", **headers: str
    ) -> requests.Response:
        """One scoring request, by a client of its own connection pool."""
        route = {"azureml-model-deployment": deployment} if deployment else {}
        url = f"https://{endpoint}.westeurope.inference.ml.azure.com/{path}"
        return self.session.request(
            "POST" if path == "score" else "GET",
            url,
            json=body,
            headers={"Authorization": f"Bearer {key}", **route, **headers},
            timeout=120,
        )


def make_site(emulator: Any, name: str, location: str = "westeurope") -> Site:
    """A workspace of this name, and a client for it."""
    workspace = emulator.workspace(name, location)
    account = workspace["properties"]["storageAccount"].rsplit("/", 1)[-1]
    site = Site(emulator, name, workspace["id"], account, f"azureml-blobstore-{workspace['properties']['workspaceId']}")
    site.session.trust_env = False
    site.session.proxies = {"https": emulator.env["HTTPS_PROXY"]}
    site.session.verify = emulator.env["REQUESTS_CA_BUNDLE"]
    return site


@pytest.fixture(scope="module")
def site(emulator: Any, request: pytest.FixtureRequest) -> Site:
    """A workspace of this module's own, in the emulator that all share."""
    return make_site(emulator, "mlw-" + request.module.__name__.rsplit(".", 1)[-1].removeprefix("test_").replace("_", "-"))


@pytest.fixture
def own_site() -> Callable[..., Site]:
    """Makes the site of an emulator that is a test's own."""
    return make_site


@pytest.fixture
def again() -> Iterator[Callable[[Any], Any]]:
    """Starts a stopped emulator once more, with its home."""
    started = []

    def start(stopped: Any) -> Any:
        module = sys.modules[type(stopped).__module__]
        started.append(module.start_emulator(stopped.home))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def another_site(site: Site) -> Callable[..., Site]:
    """Makes further workspaces on the same storage account: name, and a region."""

    def make(name: str, location: str) -> Site:
        group, provider = site.id.split("/providers/")[0], site.id.rsplit("/", 1)[0]
        resources = {
            "storageAccount": f"{group}/providers/Microsoft.Storage/storageAccounts/{site.account}",
            "keyVault": site.emulator.arm("GET", site.id)["properties"]["keyVault"],
        }
        made = site.emulator.arm("PUT", f"{provider}/{name}", {"location": location, "properties": resources})
        return replace(site, name=name, id=made["id"])

    return make
