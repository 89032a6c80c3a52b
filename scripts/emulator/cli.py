"""The command line: start, stop, status, reset, env, identity, fault, set."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import http.client
import json
import os
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MAIN = Path(__file__).parent


class Problem(Exception):
    """An expected failure: one line, exit 1."""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="emulator", description="A local Azure for Azure Machine Learning's own clients.")
    top.add_argument(
        "--home", type=Path, default=Path(os.environ.get("AML_EMULATOR_HOME", ".emulator")), help="where its state is (default: .emulator)"
    )
    verbs = top.add_subparsers(dest="verb", required=True)
    start = verbs.add_parser("start", help="start it and return when it is ready")
    serve = verbs.add_parser("serve", help="run it in the foreground")
    for one in (start, serve):
        one.add_argument("--port", type=int, default=8610, help="loopback port of the proxy; 0 picks a free one (default: 8610)")
        one.add_argument("--transition", default="immediate", help="how slowly long operations end: immediate, polls:N, seconds:T")
        one.add_argument("--lifetime", type=float, default=0, help="seconds after which it stops by itself (default: never)")
    serve.add_argument("--with-parent", action="store_true", help="stop when standard input ends")
    verbs.add_parser("stop", help="stop it; the state stays")
    verbs.add_parser("status", help="what it holds and runs, as JSON; exit 1 when it is not running")
    verbs.add_parser("reset", help="stop it and empty its state")
    env = verbs.add_parser("env", help="print the environment that makes a shell's Azure clients use it")
    env.add_argument("--format", choices=["shell", "json"], default="shell")
    identity = verbs.add_parser("identity", help="make an application with federated credentials and roles")
    identity.add_argument("name")
    identity.add_argument("--client-id")
    identity.add_argument("--issuer", default="https://token.actions.githubusercontent.com")
    identity.add_argument("--subject", action="append", default=[])
    identity.add_argument("--grant", action="append", default=[], metavar="ROLE=SCOPE", help="for example 'Contributor=/subscriptions/...'")
    fault = verbs.add_parser("fault", help="ask for a fault, list the faults, or clear them")
    fault.add_argument("what", choices=["add", "list", "clear"])
    fault.add_argument(
        "fields",
        nargs="*",
        metavar="NAME=VALUE",
        help="host, path, method, after, times, status, code, retry_after, delay, reset, reset_after_bytes",
    )
    knob = verbs.add_parser("set", help="turn a knob while it runs")
    knob.add_argument("name")
    knob.add_argument("value")
    return top


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        return _run(args)
    except Problem as problem:
        print(f"emulator: {problem}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    home: Path = args.home.absolute()
    if args.verb == "serve":
        return _serve(home, args)
    if args.verb == "start":
        print(f"emulator: ready on port {start(home, args.port, args.transition, args.lifetime)['port']}, home {home}")
    elif args.verb == "stop":
        print("emulator: stopped" if stop(home) else "emulator: was not running")
    elif args.verb == "reset":
        if home.exists() and any(home.iterdir()) and not (home / "state.version").exists():
            raise Problem(f"{home} is no emulator's home, so it is left alone; give the one to empty with --home")
        stop(home)
        shutil.rmtree(home, ignore_errors=True)
        print("emulator: empty")
    elif args.verb == "env":
        values = environment(home)
        print(
            json.dumps(values, indent=2)
            if args.format == "json"
            else "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())
        )
    elif args.verb == "status":
        print(json.dumps({**_running(home), **request(home, "GET", "/status")}, indent=2))
    elif args.verb == "identity":
        grants = [dict(zip(("role", "scope"), grant.split("=", 1), strict=True)) for grant in args.grant]
        body = {"name": args.name, "client_id": args.client_id, "issuer": args.issuer, "subjects": args.subject, "roles": grants}
        print(json.dumps(request(home, "POST", "/identities", body), indent=2))
    elif args.verb == "fault":
        print(json.dumps(_fault(home, args.what, args.fields), indent=2))
    elif args.verb == "set":
        print(json.dumps(request(home, "PUT", f"/settings/{args.name}", {"value": args.value}), indent=2))
    return 0


def _serve(home: Path, args: argparse.Namespace) -> int:
    from emulator.core import Settings
    from emulator.server import CannotStart, serve

    settings = Settings()
    try:
        settings.set("transition", args.transition)
        serve(home, args.port, settings, args.lifetime, args.with_parent)
    except (CannotStart, ValueError) as problem:
        raise Problem(str(problem)) from None
    return 0


def start(home: Path, port: int = 8610, transition: str = "immediate", lifetime: float = 0) -> dict[str, Any]:
    """Start an emulator in the background; its pid and port when it answers. One that already runs with this home is kept."""
    if found := alive(home):
        return found
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "start.log", "wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(MAIN), "--home", str(home), "serve", "--port", str(port), "--transition", transition,
             "--lifetime", str(lifetime)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, close_fds=True,
        )  # fmt: skip
    while not (found := alive(home)):
        if process.poll() is not None:
            raise Problem((home / "start.log").read_text().strip().removeprefix("emulator: ") or f"ended at once with {process.returncode}")
        time.sleep(0.02)
    return found


def stop(home: Path) -> bool:
    """Stop the emulator of this home and wait until it is gone; False if there was none."""
    found = alive(home)
    if not found:
        return False
    os.kill(found["pid"], signal.SIGTERM)
    deadline = time.monotonic() + 20
    while _locked(home):
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found["pid"], signal.SIGKILL)
        time.sleep(0.02)
    (home / "emulator.json").unlink(missing_ok=True)
    return True


def environment(home: Path) -> dict[str, str]:
    """What ``env`` prints: proxy, certificates, and the sign-in of the platform's administrator."""
    from emulator.core import ADMIN_CLIENT_ID, SUBSCRIPTION, TENANT

    proxy, bundle = f"http://127.0.0.1:{_running(home)['port']}", str(home / "tls" / "bundle.pem")
    return {
        "HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost",
        "REQUESTS_CA_BUNDLE": bundle, "SSL_CERT_FILE": bundle, "CURL_CA_BUNDLE": bundle, "NODE_EXTRA_CA_CERTS": bundle,
        "AZURE_TENANT_ID": TENANT, "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION, "AZURE_CLIENT_ID": ADMIN_CLIENT_ID,
        "AZURE_CLIENT_SECRET": (home / "admin_secret").read_text(),
    }  # fmt: skip


def request(home: Path, method: str, path: str, body: Any = None) -> Any:
    """Ask the emulator's own routes."""
    found = _running(home)
    context = ssl.create_default_context(cafile=str(home / "tls" / "ca.pem"))
    connection = http.client.HTTPSConnection("127.0.0.1", found["port"], context=context, timeout=60)
    connection.set_tunnel("emulator.localhost", 443)
    secret = (home / "admin_secret").read_text()
    connection.request(
        method, path, json.dumps(body) if body is not None else None, {"x-emulator-secret": secret, "content-type": "application/json"}
    )
    answer = connection.getresponse()
    content = json.loads(answer.read() or b"null")
    connection.close()
    if answer.status >= 400:
        raise Problem(content["error"]["message"])
    return content


def _fault(home: Path, what: str, fields: list[str]) -> Any:
    if what == "clear":
        return request(home, "DELETE", "/faults")
    if what == "list":
        return request(home, "GET", "/status")["faults"]
    values: dict[str, Any] = {}
    for text in fields:
        name, found, value = text.partition("=")
        if not found:
            raise Problem(f"'{text}' is not NAME=VALUE")
        values[name] = value if name in ("host", "path", "method", "code") else json.loads(value)
    return request(home, "POST", "/faults", values)


def _running(home: Path) -> dict[str, Any]:
    found = alive(home)
    if not found:
        raise Problem(f"not running with the home {home}; start it with 'emulator --home {home} start'")
    return found


def alive(home: Path) -> dict[str, Any] | None:
    """Pid and port of the emulator of this home; None if none runs, whatever an emulator that was killed left behind."""
    try:
        found: dict[str, Any] = json.loads((home / "emulator.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found if _locked(home) else None


def _locked(home: Path) -> bool:
    """Whether an emulator holds the home: unlike a pid, a lock is gone with its holder and never somebody else's."""
    try:
        with open(home / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
