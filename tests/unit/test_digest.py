"""Digests: the same for the same content, another for any other."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml import digest

NAMES = st.text(alphabet=st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: (
        name not in (".", "..", "__pycache__", ".git", ".ipynb_checkpoints", ".gitignore", ".amlignore")
        and not name.endswith(".pyc")
        and len(name.encode()) < 60
    )
)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_of_bytes_files_and_documents(tmp_path: Path) -> None:
    expected = "sha256:" + hashlib.sha256(b"abc").hexdigest()
    assert digest.of_bytes(b"abc") == expected
    assert digest.of_file(write(tmp_path, {"a": b"abc"}) / "a") == expected
    assert digest.of_document({"b": 1.0, "a": "é"}) == digest.of_document({"a": "é", "b": 1})
    assert digest.of_document({"a": "1"}) != digest.of_document({"a": 1})


def test_a_single_file_is_its_content(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": b"abc"})
    assert digest.of_tree(tmp_path / "a.py") == digest.of_bytes(b"abc")


@given(st.dictionaries(NAMES, st.binary(max_size=20), min_size=1, max_size=4))
def test_a_tree_is_its_names_and_contents(files: dict[str, bytes]) -> None:
    listed = {name: digest.of_bytes(content) for name, content in files.items()}
    found = digest.of_files(listed)
    name = next(iter(files))
    assert digest.of_files(dict(reversed(listed.items()))) == found
    assert digest.of_files({**listed, name: digest.of_bytes(files[name] + b"x")}) != found
    assert digest.of_files({**listed, f"{name}\n": listed[name]}) != found
    rest = {key: value for key, value in listed.items() if key != name}
    assert digest.of_files(rest) != found
    assert digest.of_files({**rest, f"{name}x": listed[name]}) != found


def test_leftovers_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": b"1", "sub/b.py": b"2"})
    before = digest.of_tree(tmp_path)
    write(tmp_path, {"__pycache__/a.cpython-311.pyc": b"x", "sub/.ipynb_checkpoints/c": b"x", ".git/HEAD": b"x", "old.pyc": b"x"})
    assert digest.of_tree(tmp_path) == before
    assert list(digest.files_of(tmp_path)) == ["a.py", "sub/b.py"]


@pytest.mark.parametrize(
    ("files", "kept"),
    [
        ({".gitignore": b"*.log\n/data\n", "a.log": b"", "data/x": b"", "sub/data/x": b"", "sub/b.log": b""}, [".gitignore", "sub/data/x"]),
        ({".gitignore": b"*", ".amlignore": b"# nothing but\nb\n", "a": b"", "b": b""}, [".amlignore", ".gitignore", "a"]),
        ({".amlignore": b"*.txt\n!keep.txt\n", "a.txt": b"", "keep.txt": b""}, [".amlignore", "keep.txt"]),
        ({"sub/.amlignore": b"*", "a": b""}, ["a", "sub/.amlignore"]),
    ],
)
def test_ignore_files_of_the_folder_are_honoured(files: dict[str, bytes], kept: list[str], tmp_path: Path) -> None:
    assert list(digest.files_of(write(tmp_path, files))) == kept


def test_links_are_followed_and_do_not_lead_round_in_circles(tmp_path: Path) -> None:
    write(tmp_path, {"other/a": b"1", "code/b": b"2"})
    (tmp_path / "code" / "linked").symlink_to(tmp_path / "other")
    (tmp_path / "code" / "file").symlink_to(tmp_path / "other" / "a")
    (tmp_path / "code" / "up").symlink_to(tmp_path / "code")
    (tmp_path / "code" / "broken").symlink_to(tmp_path / "nothing")
    assert list(digest.files_of(tmp_path / "code")) == ["b", "file", "linked/a"]


def test_order_of_creation_does_not_matter(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"a": b"1", "b": b"2"})
    two = write(tmp_path / "two", {"b": b"2", "a": b"1"})
    os.utime(two / "a", (0, 0))
    assert digest.of_tree(one) == digest.of_tree(two)
