"""Fixtures: an emulator of its own for each test process, and nothing else to reach."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
sys.path[:0] = [str(SCRIPTS), str(ROOT / "tests" / "ado")]

from emulator.client import Administrator  # noqa: E402

# A test that forgets the emulator gets a refused connection on loopback, never the internet.
NOWHERE = {
    **dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9"),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
}
for name in [name for name in os.environ if name.startswith(("AML_", "AZURE_", "GITHUB_", "ACTIONS_", "MLFLOW_", "AZUREML_"))]:
    del os.environ[name]
os.environ.update(NOWHERE)
os.environ["AZURE_CORE_COLLECT_TELEMETRY"] = "no"
os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parent / "guard")  # every Python that a test starts stays on this machine

LIFETIME = 1500  # seconds; an emulator ends by then whatever happens to its test


@dataclass
class Emulator:
    """A running emulator: its home, its port, and the environment in which clients take it for Azure."""

    home: Path
    port: int
    process: subprocess.Popen[bytes]
    env: dict[str, str] = field(default_factory=dict)

    def cli(self, *words: str) -> Any:
        """Run its command line; the JSON it prints."""
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / "emulator"), "--home", str(self.home), *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.lstrip().startswith(("{", "[")) else done.stdout

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One of its own routes, such as /status or /faults."""
        from emulator.cli import request

        return request(self.home, method, path, body)

    def fault(self, **fields: Any) -> None:
        """Ask for a fault; see emulator/faults.py for the fields."""
        self.ask("POST", "/faults", fields)

    def set(self, name: str, value: object) -> None:
        """Turn a knob."""
        self.ask("PUT", f"/settings/{name}", {"value": value})

    @cached_property
    def admin(self) -> Administrator:
        """ARM as the administrator."""
        return Administrator(self.home)

    def arm(self, method: str, path: str, body: Any = None, version: str = "") -> Any:
        """A request to ARM as the administrator; see emulator/client.py."""
        return self.admin.arm(method, path, body, version)

    def workspace(self, name: str, location: str = "westeurope") -> dict[str, Any]:
        """A workspace with what belongs to it, made only where missing; as ARM gives it."""
        return self.admin.workspace(name, location=location)

    def stop(self) -> None:
        """End it and wait until it is gone."""
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_emulator(home: Path, *options: str) -> Emulator:
    """Start an emulator that ends with this process, and wait until it answers."""
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(SCRIPTS / "emulator"), "--home", str(home), "serve", "--port", "0", "--with-parent"]
    env = {name: value for name, value in os.environ.items() if name not in NOWHERE}
    with open(home / "start.log", "wb") as log:
        process = subprocess.Popen(
            [*command, "--lifetime", str(LIFETIME), *options], stdin=subprocess.PIPE, stdout=log, stderr=log, env=env
        )
    from emulator.cli import alive, environment

    while not alive(home):
        if process.poll() is not None:
            raise RuntimeError(f"the emulator ended at once: {(home / 'start.log').read_text()}")
        time.sleep(0.02)
    found = json.loads((home / "emulator.json").read_text())
    # What a test starts talks to its emulator alone: reading the public roots, too, would take a fifth of a short program's time.
    trusted = dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), str(home / "tls" / "ca.pem"))
    return Emulator(home, found["port"], process, environment(home) | trusted)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay in one process, for what they share; so do the journeys of each CI system, whatever their file.

    pytest-xdist's own groups need an attribute that pytest 9.2 no longer has.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            system = journeys_on(nodeid)
            return f"journeys on {system}" if system else nodeid.partition("::")[0]

    return Scheduling(config, log)


def journeys_on(nodeid: str) -> str:
    """The CI system whose journeys a test needs, or ''."""
    file, _, test = nodeid.partition("::")
    found = re.search(r"[[-](github|azure_devops)[]-]", test) if file.startswith("tests/journeys/") else None
    return found[1] if found else ""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no process is left alone with it at the end.

    Of the journeys on a system those come first that need what the first release left, and the attacks last.
    """

    def place(item: pytest.Item) -> tuple[bool, int, int]:
        file, _, _ = item.nodeid.partition("::")
        system = ("", "github", "azure_devops").index(journeys_on(item.nodeid))
        when = {"tests/journeys/test_release.py": 0, "tests/journeys/test_attacks.py": 2}.get(file, 1)
        return not file.startswith("tests/journeys/"), system, when

    items.sort(key=place)


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The emulator of this test process. Tests share it: use names of your own, and clear the faults that you ask for."""
    running = start_emulator(tmp_path_factory.mktemp("emulator") / "home")
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def another_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Emulator]]:
    """Starts one more that lasts as long as the tests, for worlds that must not share theirs."""
    running: list[Emulator] = []

    def start() -> Emulator:
        running.append(start_emulator(tmp_path_factory.mktemp("emulator") / "home"))
        return running[-1]

    try:
        yield start
    finally:
        for one in running:
            one.stop()


@pytest.fixture(autouse=True)
def _nothing_of_another_test() -> Iterator[None]:
    """MLflow keeps the experiment that was set last, in the environment and in itself; urllib the proxy that it met first."""
    urllib.request.install_opener(None)  # type: ignore[arg-type]
    yield
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    if fluent := sys.modules.get("mlflow.tracking.fluent"):
        fluent._active_experiment_id = None


@pytest.fixture
def azure(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The emulator, with this process's own environment set so that clients in it take it for Azure; faults are cleared at the end."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    yield emulator
    emulator.ask("DELETE", "/faults")


@pytest.fixture
def own_emulator(tmp_path: Path) -> Iterator[Emulator]:
    """An emulator for one test alone, for knobs and restarts that others must not feel."""
    running = start_emulator(tmp_path / "home")
    try:
        yield running
    finally:
        running.stop()
