"""``make demo``: the example from a commit to production on this machine, by its own CI and an emulated Azure."""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _act
import _github
from _gate import APPROVER, PEOPLE, Gate
from _provision import provision
from emulator import cli
from emulator.client import Administrator

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "flight-delay"
PLACE = ROOT / ".demo"
HOME = PLACE / "emulator"
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").replace("``", ""))
    parser.add_argument("--on", choices=("github", "azure-devops"), default="github", help="whose workflow or pipeline runs")
    parser.add_argument("--approve", choices=(APPROVER, "ask"), default=APPROVER, help="who decides at production's gate; ask: you")
    parser.add_argument("--keep", action="store_true", help="leave the emulator running")
    parser.add_argument("--retrain", action="store_true", help="train again even if nothing changed")
    args = parser.parse_args(argv)
    ask = args.approve == "ask"
    if ask and not sys.stdin.isatty():
        print("demo: APPROVE=ask asks at the prompt, and there is no terminal; run it in one, or leave APPROVE out", file=sys.stderr)
        return 1
    began = time.monotonic()
    PLACE.mkdir(exist_ok=True)
    try:
        with azure(args.keep):
            with ThreadPoolExecutor() as pool:
                runner = pool.submit(prepare_runner)
                provision(HOME, EXAMPLE)
                runner.result()
            say(f"an emulated Azure with a dev and a prod workspace and a registry is up ({time.monotonic() - began:.1f} s)")
            run = release(args.on, args.retrain, ask)
            seconds = time.monotonic() - began
            if not run.succeeded:
                return failed(run)
            conclude(run, seconds, args.keep)
    except KeyboardInterrupt:
        left = "the emulator runs on" if cli.alive(HOME) else "nothing is left running"
        say(f"interrupted: {left}; 'make demo' again carries on")
        return 130
    except (cli.Problem, _act.CannotRun) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def azure(keep: bool) -> Iterator[None]:
    """The emulator, ended with this process; with ``keep``, or if it ran before, it stays."""
    try:
        cli.request(HOME, "GET", "/status")
    except cli.Problem:
        pass
    else:
        yield
        return
    if keep:
        cli.start(HOME, port=8610)
        yield
        return
    HOME.mkdir(exist_ok=True)
    with open(HOME / "start.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts" / "emulator"), "--home", str(HOME), "serve", "--port", "0", "--with-parent"],
            stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        while not cli.alive(HOME):
            if process.poll() is not None:
                raise cli.Problem((HOME / "start.log").read_text().strip())
            time.sleep(0.02)
        yield
    finally:
        assert process.stdin
        process.stdin.close()
        process.wait()


def prepare_runner() -> None:
    """Install what the verbs need where the workflow's setup step finds it: that step itself sees no network but the emulator."""
    python = getattr(sys, "_base_executable", sys.executable)
    env = {
        **os.environ,
        "RUNNER_TOOL_CACHE": str(PLACE / "tools"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    (PLACE / "tools").mkdir(exist_ok=True)
    done = subprocess.run([python, str(ROOT / "scripts" / "_setup.py")], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise cli.Problem(done.stdout + done.stderr)


def release(on: str, retrain: bool, ask: bool) -> _act.Run:
    """Commit the example and run its release, as GitHub or Azure DevOps would after a merge."""
    project, evidence = PLACE / "project", PLACE / "evidence"
    commit = _act.commit_project(EXAMPLE, project)
    shutil.rmtree(evidence, ignore_errors=True)
    file = ".github/workflows/release.yml" if on == "github" else ".ado/release.yml"
    say(f"commit {commit[:10]} of examples/flight-delay goes through {file}")
    if on == "github":
        _act.prepare_catalog(PLACE / "catalog")
        return _act.run(
            project, "release.yml", PLACE / "catalog", client_env(HOME), PLACE / "tools",
            github=_github.GitHub(HOME, approve=lambda gate: decide(gate, ask)),
            event="workflow_dispatch", inputs={"retrain": str(retrain).lower()}, artifacts=evidence, watch=show,
        )  # fmt: skip
    import _pipelines  # needs what `make install-tests` installs

    _pipelines.prepare_catalog(PLACE / "azure-devops-catalog")
    return _pipelines.run_pipeline(
        project, "release.yml", PLACE / "azure-devops-catalog", client_env(HOME), PLACE / "tools", HOME, PLACE / "agent",
        reason="Manual", parameters={"retrain": retrain}, approve=lambda gate: decide(gate, ask), artifacts=evidence, watch=show,
    )  # fmt: skip


def client_env(home: Path) -> dict[str, str]:
    """What a runner sees of the emulator: its proxy and certificates, and nobody's credentials."""
    values = {name: value for name, value in cli.environment(home).items() if not name.startswith("AZURE_")}
    return {**values, "XDG_CACHE_HOME": str(PLACE / "cache")}


def decide(gate: Gate, ask: bool) -> None:
    """Stop at a gate: say who is asked for what, and decide as the approver, or as whoever sits at the prompt says."""
    pages = sorted(gate.artifacts.glob("**/dossier.html"))
    print()
    say(f"{gate.environment} waits for {' or '.join(gate.asked)}, who did not start the run")
    say(f"{'the dossier' if pages else 'the evidence'} to decide by is in {shown(pages[-1] if pages else gate.artifacts)}")
    if not ask:
        gate.approve(APPROVER, "Approved by the demo, which has read nothing.")
        say(f"approved as {APPROVER}")
        return
    answer = ""
    while answer not in ("y", "n"):
        answer = answered(f"approve as {APPROVER} ({PEOPLE[APPROVER]})? y or n:", gate).lower()[:1]
    comment = answered("comment, or just Enter:", gate)
    if answer == "y":
        gate.approve(APPROVER, comment)
    else:
        gate.reject(APPROVER, comment)
    say(f"{'approved' if answer == 'y' else 'rejected'} as {APPROVER}")


def answered(question: str, gate: Gate) -> str:
    """A line from the terminal. Raises Problem where none comes any more, or the gate needs none."""
    print(f"{style('36', 'demo:')} {question} ", end="", flush=True)
    while not select.select([sys.stdin], [], [], 0.2)[0]:  # input() could not be left when the run is cancelled
        if not gate.open():
            raise cli.Problem("the run waits for nobody any more")
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as terminal:  # a buffer would hide the next line from select()
        line = terminal.readline()
    if not line:
        raise cli.Problem("nobody answered, and the run has been ended")
    return line.decode(errors="replace").strip()


def shown(path: Path) -> str:
    """A path as a person in the project's folder would write it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def show(event: _act.Event) -> None:
    """One line for each job and step as it ends, and what the verbs say in between."""
    if event.kind == "begin" and event.step is None:
        print(f"\n{style('1', event.job.id)}", flush=True)
    elif event.kind == "line":
        print(style("2", f"      {event.text[:200]}"), flush=True)
    elif event.kind == "end" and event.step is not None:
        mark = {"success": style("32", "ok"), "skipped": "--"}.get(event.step.result, style("31", event.step.result.upper()))
        print(f"  {mark} {event.step.name} ({event.step.seconds:.1f} s)", flush=True)


def failed(run: _act.Run) -> int:
    """Say where it stopped."""
    print()
    stopped = [(job, step) for job in run.jobs.values() for step in job.steps if step.result == "failure"]
    for job, step in stopped:
        say(f"stopped at '{step.name}' in '{job.id}'; the last that it said is above, and production is as it was")
    if not stopped:
        say("stopped before production, which is as it was")
    for problem in run.problems:
        print(f"demo: {problem}", file=sys.stderr)
    return 1


def conclude(run: _act.Run, seconds: float, keep: bool) -> None:
    """What is live now, one real answer from it, and where to look further."""
    outputs = run.outputs
    admin = Administrator(HOME)
    endpoint = production(admin)
    traffic = ", ".join(f"{name} {share} %" for name, share in endpoint["properties"]["traffic"].items() if share)
    question = example_request()
    answer = admin.session.post(
        endpoint["properties"]["scoringUri"],
        json=question,
        headers={"Authorization": f"Bearer {admin.token('https://ml.azure.com/.default')}"},
        timeout=60,
    )
    spent = working_seconds(cli.request(HOME, "GET", "/timeline"))
    say("done: in production now")
    rows = {
        "bundle": outputs.get("bundle_id", ""),
        "endpoint": f"{endpoint['name']} at {endpoint['properties']['scoringUri']}",
        "traffic": traffic,
        "a request": json.dumps(question)[:160],
        "its answer": f"HTTP {answer.status_code} {answer.text[:160]} from {answer.headers.get('azureml-model-deployment')}",
        "evidence": str((PLACE / "evidence").relative_to(ROOT)),
        "logs": str((HOME / "logs").relative_to(ROOT)),
        "seconds": f"{seconds:.1f}, of which training, environments and serving start {spent:.1f}, all else {seconds - spent:.1f}",
    }
    for name, value in rows.items():
        print(f"  {name:<11}{value}")
    emulator = f".venv/bin/python scripts/emulator --home {HOME.relative_to(ROOT)}"
    if keep:
        print(f'\n  look further: {emulator} status\n  a shell in it: eval "$({emulator} env)"\n  end it:        {emulator} stop')
    else:
        print(
            "\n  look further: make demo KEEP=1 leaves the emulator running"
            "\n  or change a line in examples/flight-delay/code and run it again"
        )


def production(admin: Administrator) -> dict[str, Any]:
    """The endpoint in production, as ARM gives it."""
    import yaml

    spec = yaml.safe_load((EXAMPLE / ".cloud" / "workspaces" / "prod.yml").read_text(encoding="utf-8"))
    workspace = admin.workspace(spec["workspace_name"], spec["resource_group"])
    found: dict[str, Any] = admin.arm("GET", f"{workspace['id']}/onlineEndpoints/{spec['endpoint_name']}")
    return found


def example_request() -> Any:
    """The first good smoke case of the project."""
    import yaml

    case = yaml.safe_load((EXAMPLE / "tests" / "smoke" / "cases.yml").read_text(encoding="utf-8"))["cases"][0]
    return case["request"] if "request" in case else json.loads((EXAMPLE / case["request_file"]).read_text(encoding="utf-8"))


def working_seconds(timeline: list[dict[str, Any]]) -> float:
    """Seconds in which the emulated Azure trained, built an environment or started a server; what overlaps counts once."""
    total, until = 0.0, 0.0
    for entry in sorted(timeline, key=lambda one: one["start"]):
        total += max(0.0, entry["end"] - max(entry["start"], until))
        until = max(until, entry["end"])
    return total


def say(text: str) -> None:
    print(f"{style('36', 'demo:')} {text}", flush=True)


def style(code: str, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if COLOUR else text


if __name__ == "__main__":
    sys.exit(main())
