"""What git knows between two releases: the commits, who wrote them, and a file as it was.

Nothing here is proof: whoever commits may write any name. It tells whom to look for; the CI system tells who signed in.
Source: "git log", PRETTY FORMATS and `%(trailers)`; "git rev-parse", `<rev>:./<path>` (git-scm.com/docs).
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from aml.command import Refusal

MOST = 2000  # commits that are read
LARGEST = 1 << 20  # bytes of a file that is read

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_FIELDS = ("%H", "%an", "%ae", "%cn", "%ce", "%aI", "%s", "%(trailers:key=Co-authored-by,valueonly,unfold)")
_TRAILER = re.compile(r"\s*(.*?)\s*<([^<>]*)>\s*")
_CO_AUTHOR = re.compile(r"^co-authored-by[ \t]*:(.*)$", re.IGNORECASE | re.MULTILINE)
# Source: "Setting your commit email address", private addresses (docs.github.com).
_PRIVATE = re.compile(r"(?:\d+\+)?([A-Za-z0-9-]+(?:\[bot\])?)@users\.noreply\.github\.com", re.IGNORECASE)
WEB = "noreply@github.com"  # who commits what people do on GitHub's pages: it names the person as the author


@dataclass(frozen=True)
class Person:
    """Somebody as a commit names them; `login` is what a private address of GitHub's gives away, or ''."""

    name: str
    email: str

    @property
    def login(self) -> str:
        found = _PRIVATE.fullmatch(self.email)
        return found[1] if found else ""


@dataclass(frozen=True)
class Commit:
    """One commit; `people` are its author and, after that, who committed it, if that is somebody else, and its co-authors."""

    id: str
    when: str
    subject: str
    people: tuple[Person, ...]


@dataclass(frozen=True)
class Range:
    """What one commit has over another, newest first. `total` may be more than are listed; `lost` commits are only in the other."""

    commits: tuple[Commit, ...]
    total: int
    lost: int


def between(project: Path, old: str, new: str) -> Range:
    """The commits of `new` that `old` does not have; all of `new` where `old` is ''. Raises Refusal where git can't tell."""
    fix = "check out the whole history (fetch-depth: 0 on GitHub, fetchDepth: 0 on Azure DevOps)"
    for commit in filter(None, (old, new)):
        if not _COMMIT.fullmatch(commit) or _git(project, "cat-file", "-e", f"{commit}^{{commit}}") is None:
            raise Refusal(f"commit {commit} is not in this checkout", "git does not have it", fix)
    if not new:
        raise Refusal("no commit is known", "it was sealed outside of a git repository")
    if (_git(project, "rev-parse", "--is-shallow-repository") or b"").strip() != b"false":
        raise Refusal("this checkout has only a part of the history", "commits of merged branches may be missing", fix)
    span = f"{old}..{new}" if old else new
    form = "%x00".join(_FIELDS)
    found = _git(project, "log", "-z", f"--max-count={MOST}", f"--format=tformat:{form}", span)
    total = _git(project, "rev-list", "--count", span)
    lost = _git(project, "rev-list", "--count", f"{new}..{old}") if old else b"0"
    if found is None or total is None or lost is None:
        raise Refusal(f"git can't list {span}", fix=fix)
    fields = found.decode("utf-8", "replace").split("\0")
    rows = [fields[at : at + len(_FIELDS)] for at in range(0, len(fields) - 1, len(_FIELDS))]
    return Range(tuple(_commit(*row) for row in rows), int(total), int(lost))


def _commit(id: str, name: str, email: str, by: str, by_email: str, when: str, subject: str, trailers: str) -> Commit:
    committer = (Person(by, by_email),) if by_email.casefold() not in (email.casefold(), WEB) else ()
    return Commit(id, when, subject, (Person(name, email), *committer, *_others(trailers)))


def file_at(project: Path, commit: str, path: str) -> bytes | None:
    """A file of the project as it was in a commit; None if git does not have it, or it is very large."""
    if not _COMMIT.fullmatch(commit):
        return None
    name = f"{commit}:./{path}"
    size = _git(project, "cat-file", "-s", name)
    return _git(project, "cat-file", "blob", name) if size and int(size) <= LARGEST else None


def head(project: Path) -> str:
    """The commit that is checked out; '' where there is no git."""
    return (_git(project, "rev-parse", "HEAD") or b"").decode().strip()


def message_of(project: Path, commit: str) -> str:
    """A commit's message; '' if git does not have it."""
    found = _git(project, "log", "-1", "--format=%B", commit) if _COMMIT.fullmatch(commit) else None
    return (found or b"").decode("utf-8", "replace")


def co_authors(message: str) -> list[Person]:
    """Who a whole message says wrote the commit too. Any line counts, where git looks at the last ones only: nobody is to be missed."""
    return _others("\n".join(_CO_AUTHOR.findall(message)))


def _others(trailers: str) -> list[Person]:
    return [Person(match[1], match[2]) for line in trailers.splitlines() if (match := _TRAILER.fullmatch(line))]


def _git(folder: Path, *words: str) -> bytes | None:
    settings = ("-c", "log.showSignature=false", "-c", "i18n.logOutputEncoding=UTF-8", "-c", "core.fsmonitor=false")
    try:
        done = subprocess.run(["git", "-C", str(folder), *settings, *words], capture_output=True, timeout=60, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
