"""Content digests, all of the form `sha256:<hex>`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# What Python, notebooks and git leave behind says nothing about what a folder does.
_LEFTOVERS = {"__pycache__", ".ipynb_checkpoints", ".git"}


def of_bytes(data: bytes) -> str:
    """Digest of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def of_file(path: Path) -> str:
    """Digest of a file's content."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return f"sha256:{found.hexdigest()}"


def of_document(document: Any) -> str:
    """Digest of a JSON document in its canonical form (RFC 8785), so that neither order nor spelling of numbers matters."""
    import rfc8785

    return of_bytes(rfc8785.dumps(document))


def of_files(files: Mapping[str, str]) -> str:
    """Digest of a tree given as {relative posix path: digest of the file}."""
    return of_bytes("".join(f"{files[name]}  {json.dumps(name)}\n" for name in sorted(files)).encode())


def of_tree(path: Path) -> str:
    """Digest of a folder's files (names and contents), or of a single file; ignored files don't count (see `files_of`)."""
    if path.is_file():
        return of_file(path)
    return of_files({name: of_file(path / name) for name in files_of(path)})


def files_of(folder: Path) -> Iterator[str]:
    """The files that Azure ML would upload from a folder, as sorted relative posix paths.

    `.amlignore`, or else `.gitignore`, in the folder itself is honoured, as the SDK does
    (azure/ai/ml/_utils/_asset_utils.py, get_ignore_file). Links are followed, as it does.
    """
    ignored = _ignored(folder)
    found: list[str] = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        above = Path(parent).resolve()
        folders[:] = [name for name in folders if name not in _LEFTOVERS and not above.is_relative_to((above / name).resolve())]
        for name in files:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if not name.endswith(".pyc") and path.is_file() and not ignored(relative):
                found.append(relative)
    yield from sorted(found)


def _ignored(folder: Path) -> Any:
    for name in (".amlignore", ".gitignore"):
        if (folder / name).is_file():
            import pathspec

            return pathspec.PathSpec.from_lines("gitwildmatch", (folder / name).read_text(encoding="utf-8").splitlines()).match_file
    return lambda relative: False
