"""On PYTHONPATH while tests run: no Python process of theirs connects or looks a name up outside of this machine."""

import ipaddress
import os
import socket
import sys
from typing import Any

_OWN = {"", "localhost", socket.gethostname().lower(), "0.0.0.0", "::"}


def _local(host: object) -> bool:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host or "")
    if name.lower() in _OWN:
        return True
    try:
        return ipaddress.ip_address(name.split("%")[0]).is_loopback
    except ValueError:
        return False


def _guard(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = args[1]
        host = address[0] if isinstance(address, tuple) else None  # a path is a Unix socket
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if host is not None and not _local(host):
        if log := os.environ.get("TESTS_GUARD_LOG"):
            with open(log, "a", encoding="utf-8") as file:
                file.write(f"{host}\n")
        raise PermissionError(f"tests stay on this machine, but this process wanted {host!r}")


sys.addaudithook(_guard)
