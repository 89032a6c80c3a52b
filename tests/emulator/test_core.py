"""The emulator's own life: start, stop, state, faults, knobs, and that it ends with whoever started it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import certifi
import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import EnvironmentCredential
from azure.storage.blob import BlobServiceClient, LinearRetry

from emulator.app import resource_scope
from emulator.core import SUBSCRIPTION, Cloud, Route, Router, Settings
from emulator.errors import AzureError, not_found
from emulator.store import Store

ROOT = Path(__file__).resolve().parents[2]
MAIN = [sys.executable, str(ROOT / "scripts" / "emulator")]
GROUPS = f"/subscriptions/{SUBSCRIPTION}/resourceGroups"


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MAIN, "--home", str(home), *words], capture_output=True, text=True, timeout=120, check=False)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pids: list[int]) -> bool:
    for _ in range(1000):
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.01)
    return False


def children(pid: int) -> list[int]:
    """Every process below this one."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.split()
    parents = {int(child): int(parent) for child, parent in zip(listing[::2], listing[1::2], strict=True)}
    found = [child for child, parent in parents.items() if parent == pid]
    return found + [below for child in found for below in children(child)]


def token() -> str:
    return EnvironmentCredential().get_token("https://management.azure.com/.default").token


class TestLife:
    def test_state_survives_a_restart_and_reset_empties_it(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        try:
            assert run(home, "start", "--port", "0", "--lifetime", "300").returncode == 0
            environment = json.loads(run(home, "env", "--format", "json").stdout)
            first = json.loads(run(home, "status").stdout)
            made = run(home, "identity", "somebody", "--grant", f"Reader=/subscriptions/{SUBSCRIPTION}")
            assert made.returncode == 0, made.stderr
            assert run(home, "stop").stdout == "emulator: stopped\n"
            assert gone([first["pid"]])
            assert run(home, "start", "--port", str(first["port"]), "--lifetime", "300").returncode == 0
            again = json.loads(run(home, "status").stdout)
            assert again["documents"]["application"] == first["documents"]["application"] + 1
            assert json.loads(run(home, "env", "--format", "json").stdout) == environment, "a shell's environment stays valid"
            assert run(home, "reset").returncode == 0
            assert not home.exists()
        finally:
            run(home, "stop")

    def test_starting_twice_is_starting_once(self, tmp_path: Path) -> None:
        try:
            run(tmp_path, "start", "--port", "0", "--lifetime", "300")
            first = json.loads(run(tmp_path, "status").stdout)
            assert run(tmp_path, "start", "--port", "0").returncode == 0
            assert json.loads(run(tmp_path, "status").stdout)["pid"] == first["pid"]
        finally:
            run(tmp_path, "stop")

    def test_a_taken_port_is_one_clear_line(self, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            done = run(tmp_path, "start", "--port", str(port))
        assert done.returncode == 1
        assert done.stderr == f"emulator: port {port} of 127.0.0.1 is taken; free it, or give another --port (0 picks a free one)\n"

    def test_not_running_is_one_clear_line(self, tmp_path: Path) -> None:
        done = run(tmp_path, "status")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "start it with" in done.stderr

    def test_it_ends_by_itself(self, tmp_path: Path) -> None:
        started = run(tmp_path, "start", "--port", "0", "--lifetime", "4")
        assert started.returncode == 0
        assert gone(
            [int(pid) for pid in subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False).stdout.split()]
        )

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_nothing_it_started_outlives_it(self, own_emulator, number: int) -> None:  # type: ignore[no-untyped-def]
        own_emulator.workspace("mlw-life")  # starts an Azurite
        pid = own_emulator.process.pid
        below = children(pid)
        assert below
        os.kill(pid, number)
        own_emulator.process.wait(30)
        assert gone([pid, *below])

    def test_two_do_not_disturb_each_other(self, own_emulator, emulator) -> None:  # type: ignore[no-untyped-def]
        own_emulator.arm("PUT", f"{GROUPS}/rg-only-here", {"location": "westeurope"}, "2022-09-01")
        names = [group["name"] for group in emulator.arm("GET", GROUPS, version="2022-09-01")["value"]]
        assert "rg-only-here" not in names


class TestRefusals:
    def test_an_unknown_host_is_named(self, azure) -> None:  # type: ignore[no-untyped-def]
        with pytest.raises(requests.exceptions.ProxyError, match=r"501 Not Emulated: host example\.com"):
            requests.get("https://example.com/", timeout=30)

    def test_an_unknown_route_is_named(self, azure) -> None:  # type: ignore[no-untyped-def]
        answer = requests.patch("https://management.azure.com/nothing/here", timeout=30)
        assert answer.status_code == 501
        assert answer.json()["error"]["message"] == "The emulator does not cover PATCH https://management.azure.com/nothing/here"

    def test_plain_http_is_refused(self, emulator) -> None:  # type: ignore[no-untyped-def]
        answer = requests.get("http://example.com/", proxies={"http": f"http://127.0.0.1:{emulator.port}"}, timeout=30)
        assert answer.status_code == 501

    def test_the_api_version_is_required(self, azure) -> None:  # type: ignore[no-untyped-def]
        answer = requests.get("https://management.azure.com/subscriptions", headers={"Authorization": f"Bearer {token()}"}, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "MissingApiVersionParameter")

    def test_a_body_that_is_not_json(self, azure) -> None:  # type: ignore[no-untyped-def]
        url = f"https://management.azure.com{GROUPS}/rg-x?api-version=2022-09-01"
        answer = requests.put(
            url, data="{not json", headers={"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}, timeout=30
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidRequestContent")


class TestFaults:
    def test_status_after_n_calls(self, azure) -> None:  # type: ignore[no-untyped-def]
        azure.fault(host="login.microsoftonline.com", path="*openid-configuration", after=1, times=2, status=429, retry_after=7)
        url = "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration"
        answers = [requests.get(url, timeout=30) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 429, 429, 200]
        assert answers[1].headers["Retry-After"] == "7"

    def test_reset(self, azure) -> None:  # type: ignore[no-untyped-def]
        azure.fault(path="*openid-configuration", reset=True)
        url = "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration"
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(url, timeout=30)
        assert requests.get(url, timeout=30).status_code == 200

    def test_reset_in_the_middle_of_an_upload(self, azure) -> None:  # type: ignore[no-untyped-def]
        azure.workspace("mlw-reset")
        keys = azure.arm(
            "POST", f"{GROUPS}/rg-mlw-reset/providers/Microsoft.Storage/storageAccounts/stmlwreset/listKeys", version="2023-01-01"
        )
        azure.fault(host="stmlwreset.blob.core.windows.net", reset_after_bytes=300_000)
        client = BlobServiceClient(
            "https://stmlwreset.blob.core.windows.net", credential=keys["keys"][0]["value"], retry_policy=LinearRetry(backoff=1)
        )
        data = os.urandom(1_000_000)
        blob = client.get_blob_client("azureml", "big")
        blob.upload_blob(data)  # the client tries again, as it does on Azure
        assert blob.download_blob().readall() == data
        assert azure.ask("GET", "/status")["faults"][0]["hit"] == 1

    def test_the_command_line_asks_for_faults(self, emulator) -> None:  # type: ignore[no-untyped-def]
        made = emulator.cli("fault", "add", "host=nowhere.invalid", "status=503", "times=3")
        assert (made["host"], made["status"], made["times"]) == ("nowhere.invalid", 503, 3)
        assert [rule["id"] for rule in emulator.cli("fault", "list")] == [made["id"]]
        assert emulator.cli("fault", "clear") == {}

    def test_an_unknown_field_is_refused(self, emulator) -> None:  # type: ignore[no-untyped-def]
        done = run(emulator.home, "fault", "add", "colour=1")
        assert (done.returncode, "colour" in done.stderr) == (1, True)


class TestOperations:
    @pytest.mark.parametrize("knob", ["polls:3", "seconds:0.3"])
    def test_the_transition_knob_holds_back(self, own_emulator, knob: str) -> None:  # type: ignore[no-untyped-def]
        own_emulator.workspace("mlw-slow")
        own_emulator.set("transition", knob)
        compute = f"{GROUPS}/rg-mlw-slow/providers/Microsoft.MachineLearningServices/workspaces/mlw-slow/computes/cpu"
        body = {
            "location": "westeurope",
            "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "STANDARD_DS3_V2", "scaleSettings": {"maxNodeCount": 1}}},
        }
        made = own_emulator.arm("PUT", compute, body)  # follows the operation to its end
        assert made["properties"]["provisioningState"] == "Succeeded"

    def test_a_bad_knob_is_refused(self, emulator) -> None:  # type: ignore[no-untyped-def]
        done = run(emulator.home, "set", "transition", "eventually")
        assert (done.returncode, "'immediate', 'polls:N' or 'seconds:T'" in done.stderr) == (1, True)


class TestStore:
    def test_ids_compare_without_case_and_order_is_of_creation(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "s")
        store.put("/a/B", "thing", {"n": 1})
        store.put("/a/A", "thing", {"n": 2})
        store.put("/A/b", "thing", {"n": 3})
        store.put("/ab/x", "thing", {"n": 4})
        assert [one["n"] for one in store.list("thing", "/a")] == [3, 2]
        assert store.get("/a/b") == {"n": 3}
        assert store.delete_under("/a") == 2
        assert [one["n"] for one in store.list("thing")] == [4]

    def test_a_transaction_is_all_or_nothing(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "s")

        def half() -> None:
            with store.transaction():
                store.put("/one", "thing", {})
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            half()
        assert not store.exists("/one")


def test_literal_segments_win_whatever_the_order() -> None:
    async def handler(call: object) -> None: ...

    routes = [
        Route("GET", "{x}.example", "/a/{b:path}", handler),
        Route("GET", "h.example", "/a/{b}", handler),
        Route("GET", "h.example", "/a/list", handler),
    ]
    router = Router(routes)
    assert router.find("GET", "H.example", "/A/List") == (routes[2], {})
    assert router.find("GET", "h.example", "/a/it%20is") == (routes[1], {"b": "it is"})
    assert router.find("GET", "other.example", "/a/b/c") == (routes[0], {"x": "other", "b": "b/c"})
    assert router.find("POST", "h.example", "/a/b") is None


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/subscriptions/s", "/subscriptions/s"),
        ("/subscriptions/s/resourceGroups", "/subscriptions/s"),
        ("/subscriptions/s/resourceGroups/g/providers/N.S/ws/w", "/subscriptions/s/resourceGroups/g/providers/N.S/ws/w"),
        ("/subscriptions/s/resourceGroups/g/providers/N.S/ws", "/subscriptions/s/resourceGroups/g"),
        (
            "/subscriptions/s/resourceGroups/g/providers/N.S/ws/w/jobs/j/cancel",
            "/subscriptions/s/resourceGroups/g/providers/N.S/ws/w/jobs/j",
        ),
    ],
)
def test_the_scope_of_a_path(path: str, scope: str) -> None:
    assert resource_scope(path) == scope


def test_errors_speak_as_arm_does() -> None:
    assert (
        not_found("/subscriptions/s/resourceGroups/g/providers/N.S/ws/w").message
        == "The Resource 'N.S/ws/w' under resource group 'g' was not found."
    )
    assert AzureError(400, "C", "m", target="t", details=[{"code": "d"}]).body() == {
        "error": {"code": "C", "message": "m", "target": "t", "details": [{"code": "d"}]}
    }


def test_an_emulator_keeps_its_files_to_itself(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "home", 1, Settings())
    assert (cloud.home.stat().st_mode & 0o077, (cloud.home / "tls" / "ca.key").stat().st_mode & 0o077) == (0, 0)
    cloud.store.close()


def test_an_encoded_slash_does_not_reach_what_is_below() -> None:
    async def handler(call: object) -> None: ...

    router = Router([Route("GET", "h.example", "/things/{thing}", handler), Route("GET", "h.example", "/files/{path:path}", handler)])
    assert router.find("GET", "h.example", "/things/a%2Fkeys") is None
    assert router.find("GET", "h.example", "/files/a%2Fb")[1] == {"path": "a/b"}  # type: ignore[index]


def test_a_fault_for_every_host_can_be_taken_back(emulator) -> None:  # type: ignore[no-untyped-def]
    emulator.fault(status=503, times=0)
    assert emulator.cli("fault", "clear") == {}


def test_commands_take_signals_as_if_nobody_supervised_them(tmp_path: Path) -> None:
    code = "import signal; print(*[signal.getsignal(n) is signal.SIG_IGN for n in (signal.SIGTERM, signal.SIGHUP)])"
    supervisor = ROOT / "scripts" / "emulator" / "child.py"
    command = [sys.executable, "-I", "-S", str(supervisor), sys.executable, "-c", code]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.read() == "False False\n"
    process.communicate()


def test_reset_leaves_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    done = run(tmp_path, "reset")
    assert (done.returncode, "left alone" in done.stderr, (tmp_path / "precious").exists()) == (1, True, True)


def test_a_killed_one_is_not_taken_for_one_that_runs(own_emulator) -> None:  # type: ignore[no-untyped-def]
    own_emulator.process.kill()
    own_emulator.process.wait()
    assert (own_emulator.home / "emulator.json").exists(), "it had no time to clean up"
    done = run(own_emulator.home, "status")
    assert (done.returncode, "not running" in done.stderr) == (1, True)


def test_storage_that_died_comes_back(own_emulator) -> None:  # type: ignore[no-untyped-def]
    own_emulator.workspace("mlw-azurite")
    own_emulator.arm("GET", GROUPS)
    azurites = [pid for pid in children(own_emulator.process.pid) if b"azurite" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert azurites
    for pid in azurites:
        os.kill(pid, signal.SIGTERM)
    assert gone(azurites)
    keys = own_emulator.arm("POST", f"{GROUPS}/rg-mlw-azurite/providers/Microsoft.Storage/storageAccounts/stmlwazurite/listKeys")
    client = BlobServiceClient(
        "https://stmlwazurite.blob.core.windows.net", credential=keys["keys"][0]["value"],
        proxies={"https": own_emulator.env["HTTPS_PROXY"]}, connection_verify=own_emulator.env["REQUESTS_CA_BUNDLE"],
        retry_policy=LinearRetry(backoff=1),
    )  # fmt: skip
    assert [container["name"] for container in client.list_containers()]


def test_accounts_share_a_process_and_nothing_else(own_emulator) -> None:  # type: ignore[no-untyped-def]
    for name in ("mlw-one", "mlw-two"):
        own_emulator.workspace(name)
    below = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] for pid in children(own_emulator.process.pid)]
    assert sum(program.endswith(b"/node") for program in below) == 1
    accounts = f"{GROUPS}/rg-mlw-one/providers/Microsoft.Storage/storageAccounts/stmlwone"
    key = own_emulator.arm("POST", f"{accounts}/listKeys")["keys"][0]["value"]

    def containers(account: str) -> list[str]:
        host = f"https://{account}.blob.core.windows.net"
        given = {"account_name": "stmlwone", "account_key": key}
        client = BlobServiceClient(
            host, credential=given, proxies={"https": own_emulator.env["HTTPS_PROXY"]},
            connection_verify=own_emulator.env["REQUESTS_CA_BUNDLE"], retry_policy=LinearRetry(retry_total=0),
        )  # fmt: skip
        return [container["name"] for container in client.list_containers()]

    assert containers("stmlwone")
    with pytest.raises(ClientAuthenticationError):
        containers("stmlwtwo")


def test_a_shells_programs_trust_the_emulator_and_the_public_roots(own_emulator) -> None:  # type: ignore[no-untyped-def]
    environment = json.loads(run(own_emulator.home, "env", "--format", "json").stdout)
    [bundle] = {environment[name] for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")}
    trusted = Path(bundle).read_text(encoding="utf-8")
    assert (own_emulator.home / "tls" / "ca.pem").read_text(encoding="utf-8") in trusted
    assert Path(certifi.where()).read_text(encoding="utf-8") in trusted
    clouds, proxies = "https://management.azure.com/metadata/endpoints?api-version=2022-09-01", {"https": environment["HTTPS_PROXY"]}
    assert requests.get(clouds, proxies=proxies, verify=bundle, timeout=30).status_code == 200
