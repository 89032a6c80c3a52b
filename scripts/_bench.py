"""``make bench``: the figures we keep, as ratios to a reference command timed in the same run, for machines differ and are noisy."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import requests

import _demo
from _provision import provision
from emulator import cli
from emulator.client import Administrator
from emulator.core import SUBSCRIPTION
from emulator.github.models import REQUEST_URL

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "flight-delay"
REFERENCE = [sys.executable, "-c", "import azure.ai.ml"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").replace("``", ""))
    parser.add_argument("--no-demo", action="store_true", help="leave the demo out, which takes a minute or two")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        place = Path(scratch)
        reference = best(REFERENCE, {})
        report("reference: python -c 'import azure.ai.ml'", reference, reference)
        specs(place, reference)
        setup(place, reference)
        emulator(place / "home", reference)
    if not args.no_demo:
        demo(reference)
    return 0


def report(name: str, seconds: float, reference: float, note: str = "") -> None:
    print(f"{name:<58}{seconds:8.2f} s {seconds / reference:8.2f} x {note}", flush=True)


def best(command: list[str], env: dict[str, str], times: int = 3) -> float:
    """The shortest of a few runs, seconds: the least disturbed one."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, env={**os.environ, **env}, check=True, capture_output=True)
        found.append(time.perf_counter() - began)
    return min(found)


def verb(name: str) -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / f"{name}.py")]


def specs(place: Path, reference: float) -> None:
    """validate_project on the example, and on a project with a thousand specs."""
    env = {"AML_PROJECT": str(EXAMPLE), "XDG_CACHE_HOME": str(place / "cache")}
    report("validate_project, the SDK's part not yet cached", best(verb("validate_project"), env, times=1), reference)
    report("validate_project", best(verb("validate_project"), env), reference, "(keep under 0.3 s)")
    many = place / "many"
    shutil.copytree(EXAMPLE, many)
    text = (many / ".cloud" / "workspaces" / "dev.yml").read_text(encoding="utf-8")
    for number in range(1000):
        spec = text.replace("flight-delay-dev", f"flight-delay-{number}")
        (many / ".cloud" / "workspaces" / f"dev{number}.yml").write_text(spec, encoding="utf-8")
    env["AML_PROJECT"] = str(many)
    report("validate_project, 1,000 specs", best(verb("validate_project"), env, times=1), reference, "(keep under 10 s)")


def setup(place: Path, reference: float) -> None:
    """The setup step on a runner that keeps its tool cache."""
    names = ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT")
    for name in names:
        (place / name).touch()
    env = {name: str(place / name) for name in names} | {
        "GITHUB_ACTIONS": "true",
        "RUNNER_TOOL_CACHE": str(place / "tools"),
        "RUNNER_TEMP": scratch(place),
    }
    command = [sys.executable, str(ROOT / "scripts" / "_setup.py")]
    report("setup, nothing cached but packages", best(command, env, times=1), reference)
    report("setup, warm", best(command, env), reference, "(keep under 5 s)")


def scratch(place: Path) -> str:
    (place / "runner").mkdir(exist_ok=True)
    return str(place / "runner")


def emulator(home: Path, reference: float) -> None:
    """Ready, reads a second, and one verb that talks to it."""
    began = time.perf_counter()
    cli.start(home, port=0, lifetime=900)
    try:
        report("emulator ready", time.perf_counter() - began, reference, "(keep under 3 s)")
        began = time.perf_counter()
        provision(home, EXAMPLE)
        report("two workspaces, a registry, compute, identities", time.perf_counter() - began, reference)
        reads(home)
        env = _demo.client_env(home) | {
            "AML_PROJECT": str(EXAMPLE),
            "AML_WORKSPACE": "dev",
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": os.devnull,
        }
        env |= {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{REQUEST_URL}?repository=contoso/flight-delay&ref=refs/heads/main&environment=dev",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "bench",
        }
        for name in ("connect_workspace", "check_compute"):
            report(f"{name}", best(verb(name), env), reference, "(keep under 1.2 x)")
    finally:
        cli.stop(home)


def reads(home: Path, seconds: float = 3.0, clients: int = 4) -> None:
    """Control-plane reads a second through the proxy, by a few clients that keep their connections."""
    path = f"https://management.azure.com/subscriptions/{SUBSCRIPTION}/resourceGroups?api-version=2022-09-01"
    done: list[int] = []
    until = time.perf_counter() + seconds

    def client() -> None:
        session: requests.Session = Administrator(home).session
        session.headers["Authorization"] = f"Bearer {token}"
        count = 0
        while time.perf_counter() < until:
            session.get(path, timeout=30).raise_for_status()
            count += 1
        done.append(count)

    token = Administrator(home).token()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{'control-plane reads':<58}{sum(done) / seconds:8.0f} a second (keep above 500; the clients share the cores)", flush=True)


def demo(reference: float) -> None:
    """make demo: as it is found, with training, and again with nothing to do."""
    for title, words in (
        ("demo, first here (environments cached or not, as found)", []),
        ("demo, trained again", ["--retrain"]),
        ("demo, nothing to do", []),
    ):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, str(ROOT / "scripts" / "_demo.py"), *words], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        if done.returncode:
            print(done.stdout[-3000:], done.stderr, file=sys.stderr)
            raise SystemExit(f"bench: the demo failed with {done.returncode}")
        line = next(line for line in done.stdout.splitlines() if line.strip().startswith("seconds"))
        report(title, seconds, reference, "of it " + line.split("of which ")[1])


if __name__ == "__main__":
    sys.exit(main())
