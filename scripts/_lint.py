"""Check style, types and workflows: every check runs, and every one that fails shows why."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CATALOG = "contoso/azureml-catalog/"
AZURE_PIPELINES = ["python", str(ROOT / "tests" / "ado" / "azure_pipelines"), "lint", ".ado", "--repository", f"catalog={ROOT}"]
PROJECTS = sorted(path.parents[1] for path in (ROOT / "examples").glob("*/.github/workflows"))


def main() -> int:
    """Run every check; 1 if any of them failed."""
    zizmor = ["zizmor", "--offline", "--pedantic", "--quiet", "--no-progress", "--config", ".github/zizmor.yml", "."]
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        merged = merge(Path(scratch), PROJECTS)
        for name, command, folder in (
            ("style", ["ruff", "check", "--quiet", "."], ROOT),
            ("format", ["ruff", "format", "--check", "--quiet", "."], ROOT),
            ("types", ["mypy", "--no-error-summary"], ROOT),
            ("yaml", ["yamllint", "--strict", "."], ROOT),
            ("workflows", ["actionlint", "-no-color", "-shellcheck=", "-pyflakes="], merged),
            ("workflow security", [*zizmor, *map(str, PROJECTS)], ROOT),
            ("pipelines", AZURE_PIPELINES, ROOT),
            *((f"pipelines of {path.name}", AZURE_PIPELINES, path) for path in sorted(ROOT.glob("examples/*")) if (path / ".ado").is_dir()),
        ):
            failed += not check(name, command, folder)
    return 1 if failed else 0


def merge(folder: Path, projects: list[Path]) -> Path:
    """A repository of the catalog's workflows beside the projects' callers of them, so that actionlint sees both ends of a call."""
    shutil.copytree(ROOT / ".github", folder / ".github")
    for project in projects:
        for caller in (project / ".github" / "workflows").glob("*.yml"):
            words = caller.read_text(encoding="utf-8").replace(f"uses: {CATALOG}", "uses: $/").split("\n")
            lines = [line.rpartition("@")[0] if "uses: $/" in line else line for line in words]
            (folder / ".github" / "workflows" / f"{project.name}-{caller.name}").write_text("\n".join(lines), encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)  # actionlint takes the repository's root for `$/`
    return folder


def check(name: str, command: list[str], folder: Path) -> bool:
    """Run one check; its output only if it failed."""
    started = time.monotonic()
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [str(program), *command[1:]], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'} ({time.monotonic() - started:.1f} s)", flush=True)
    if done.returncode:
        print(done.stdout, flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
