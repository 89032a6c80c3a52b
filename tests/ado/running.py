"""Helpers for tests that run pipelines. The fixture `start` is in conftest.py."""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

from azure_pipelines.report import Run

WHO = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "Kim"), ("EMAIL", "kim@contoso.com"))}
Start = Callable[..., Run]


def commit(folder: Path, **files: str) -> str:
    """A commit of these files; its id."""
    folder.mkdir(exist_ok=True)
    env = {**os.environ, **WHO, "GIT_CONFIG_GLOBAL": os.devnull}

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, env=env, check=True, capture_output=True, text=True).stdout.strip()

    if not (folder / ".git").exists():
        git("init", "-q", "-b", "main")
    for name, content in files.items():
        (folder / name).write_text(content)
    git("add", "-A")
    git("commit", "-q", "-m", "work")
    return git("rev-parse", "HEAD")


def steps(*written: str) -> str:
    """A pipeline of bash steps without a checkout."""
    return "steps:\n- checkout: none\n" + "".join(f"- bash: |\n{textwrap.indent(textwrap.dedent(one), '    ')}\n" for one in written)


def printed(found: Run, job: str = "Job") -> list[str]:
    """What the scripts printed: the lines after the task's own."""
    lines: list[str] = []
    for step in found.job(job).steps:
        start = max((number for number, line in enumerate(step.lines) if "====" in line), default=-1)
        lines += step.lines[start + 1 :]
    return lines
