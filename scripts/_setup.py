"""Make a runner ready for the verbs: the locked dependencies in an environment that is kept, and where everything is.

The environment is named by the lock and the Python, so a runner that keeps its tool cache builds it once. What is installed is checked
against the lock's hashes every time it is built. Nothing is restored from a CI cache: jobs of less trust could have written it.

On Azure DevOps it runs inside AzureCLI@2, the one task of a job that names the service connection, and hands on what the verbs sign in
with. Source: microsoft/azure-pipelines-tasks, Tasks/AzureCLIV2/azureclitask.ts.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from aml import ci

SCRIPTS = Path(__file__).resolve().parent
LOCK = SCRIPTS / "requirements.txt"
BOOTSTRAP = SCRIPTS / "bootstrap.txt"
# A pipeline's variables are environment too: none of them may say what is installed, only from where.
NOT_FOR_UV = {"UV_OVERRIDE", "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_EXCLUDE", "UV_NO_VERIFY_HASHES", "UV_CONFIG_FILE"}
PROGRAMS = "Scripts" if os.name == "nt" else "bin"


def main() -> int:
    started = time.monotonic()
    cache = os.environ.get("RUNNER_TOOL_CACHE") or os.environ.get("AGENT_TOOLSDIRECTORY") or Path.home() / ".cache"
    folder, made = environment(Path(cache))
    ci.add_path(folder / PROGRAMS)
    ci.export("SCRIPTS", str(SCRIPTS))
    if temporary := os.environ.get("RUNNER_TEMP") or os.environ.get("AGENT_TEMPDIRECTORY"):
        evidence = Path(temporary) / "evidence"  # emptied for each job, and outside of the project
        evidence.mkdir(parents=True, exist_ok=True)  # a job that stops before its first finding has something to publish, too
        ci.export("AML_EVIDENCE", str(evidence))
        ci.export("AML_STATEMENTS", str(Path(temporary) / "statements"))
    if ci.system() == "azure-devops":
        hand_on_connection()
    seconds = time.monotonic() - started
    ci.say(f"dependencies: {'created' if made else 'unchanged'}, {folder.name} for Python {platform.python_version()}, {seconds:.1f} s")
    return 0


def hand_on_connection() -> None:
    """Export what a service connection signs in with: the id of a federated one, the application and secret of another.

    A federated one has no secret, and the variable is set all the same, empty: the agent leaves `$(AZURE_CLIENT_SECRET)` as it is only if
    there is no such variable (microsoft/azure-pipelines-agent, VarUtil.cs, ExpandValues).
    """
    connection = os.environ.get("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID")
    application = os.environ.get("servicePrincipalId")  # noqa: SIM112 - the task spells it so
    if connection:
        ci.export("AML_SERVICE_CONNECTION_ID", connection)
        ci.export("AZURE_CLIENT_SECRET", "", secret=True)
    elif application:
        secret = os.environ.get("servicePrincipalKey", "")  # noqa: SIM112
        try:
            if secret in ("", "null", "undefined"):  # what Node makes of a key that is not there
                raise ValueError("it signs in with a certificate, which the task keeps to itself")
            ci.export("AZURE_CLIENT_SECRET", secret, secret=True)
        except ValueError as error:
            ci.error(
                f"The service connection can't be used: {error}. Fix: convert it to workload identity federation, or give it a new secret."
            )
            raise SystemExit(1) from None
        ci.export("AZURE_CLIENT_ID", application)


def environment(cache: Path) -> tuple[Path, bool]:
    """The environment of the locked dependencies below `cache`, and whether it had to be made.

    It is made beside its place and moved there whole, so that neither a killed job nor two jobs at once leave half of one.
    """
    python = f"{sys.version} {sysconfig.get_platform()} {sys.base_prefix}"
    key = hashlib.sha256(LOCK.read_bytes() + python.encode()).hexdigest()[:16]
    place = cache.resolve() / "azureml-catalog" / key
    if (place / "pyvenv.cfg").exists():
        return place, False
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=place.parent) as scratch:
        made = Path(scratch) / "made"
        uv = installer(Path(scratch))
        # --no-config and the working folder: nothing in the project that is checked out may say where packages come from.
        run([uv, "venv", "--no-config", "--quiet", "--relocatable", "--python", sys.executable, str(made)], scratch)
        run([uv, "pip", "install", "--no-config", "--quiet", "--require-hashes", "--python", str(made), "-r", str(LOCK)], scratch)
        try:
            made.rename(place)
        except OSError:
            if not (place / "pyvenv.cfg").exists():
                raise
    return place, True


def installer(scratch: Path) -> str:
    """The path of uv: the one beside this Python or on PATH, or the locked one, installed into `scratch` by the Python at hand."""
    if found := shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv"):
        return found
    folder = scratch / "installer"
    pip = [sys.executable, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--require-hashes", "--target", str(folder), "-r", str(BOOTSTRAP)], scratch)
    return str(folder / "bin" / ("uv.exe" if os.name == "nt" else "uv"))


def run(command: list[str], folder: str | Path) -> None:
    """Run a command that prints only what went wrong; its failure ends the setup with its exit code."""
    done = subprocess.run(command, cwd=folder, env={name: os.environ[name] for name in os.environ if name not in NOT_FOR_UV}, check=False)
    if done.returncode:
        ci.error(
            f"The catalog's dependencies could not be installed. {Path(command[0]).name} ended with {done.returncode}; "
            "its message is above. Fix: let the runner reach the package index, or name your mirror in UV_DEFAULT_INDEX; a hash that "
            "differs means that a file is not the one that was locked, so find out why before you trust it."
        )
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())
