"""What a stop and a start of the emulator leave of deployments."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any


def test_deployments_come_back_and_what_was_interrupted_ends(own_emulator: Any, own_site: Any, again: Any) -> None:
    site = own_site(own_emulator, "mlw-restart")
    site.endpoint("restart")
    assert site.deploy("restart", "blue", environmentVariables={"WHO": "blue"})["status"] == "Succeeded"
    site.endpoint("restart", traffic={"blue": 100})
    key = site.key("restart")
    stuck = site.body(score="import time\ntime.sleep(600)\n")
    site.call("PUT", "onlineEndpoints/restart/deployments/green", stuck)
    while "UserContainerStart: InProgress" not in site.logs("restart", "green"):
        pass
    servers = children(own_emulator.process.pid)
    own_emulator.stop()
    assert servers
    deadline = time.monotonic() + 60
    while left := [pid for pid in servers if lives(pid)]:  # whoever adopted them may take a moment to reap them
        assert time.monotonic() < deadline, left

    second = again(own_emulator)
    site = own_site(second, "mlw-restart")
    answer = site.score("restart", {"a": 1}, key)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"who": "blue", "model": "42", "echo": {"a": 1}}
    assert site.call("GET", "onlineEndpoints/restart/deployments/green").json()["properties"]["provisioningState"] == "Failed"
    assert site.end(site.call("DELETE", "onlineEndpoints/restart/deployments/green"))["status"] == "Succeeded"
    site.endpoint("restart")
    site.remove("restart")
    assert site.call("GET", "onlineEndpoints/restart").status_code == 404
    assert not list((second.home / "online").rglob("record.json"))


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def children(pid: int) -> list[int]:
    """All processes below one."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.split()
    parents = dict(zip(map(int, listed[::2]), map(int, listed[1::2]), strict=True))
    found = [child for child, parent in parents.items() if parent == pid]
    return found + [below for child in found for below in children(child)]
