"""House rules for the repository as a whole: what is committed, locked, linked and documented."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import _docs

ROOT = Path(__file__).parents[2]
LOCKS = [
    "scripts/requirements.txt",
    "scripts/bootstrap.txt",
    "scripts/emulator/requirements.txt",
    "tests/requirements.txt",
    "tests/azure-cli.txt",
]
# Written in pieces, so that this file does not hold what it looks for.
HOSTS = ["py" + "pi.org", "python" + "hosted.org", "registry.npm" + "js.org", "deb.debi" + "an.org"]
MACHINE = re.compile(r"(?<![A-Za-z0-9_.$}/-])/(?:wo" + r"rk|ro" + r"ot|fa" + r"rm)/")


def tracked() -> list[Path]:
    """The files that are committed or about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def text_of(path: Path) -> str:
    data = path.read_bytes()
    return "" if b"\0" in data[:8000] else data.decode("utf-8", "replace")


def test_no_file_names_a_package_registry_or_a_path_of_a_machine() -> None:
    found = []
    for path in tracked():
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if any(host in line for host in HOSTS) or MACHINE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert found == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_every_requirement_by_hash(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    requirements = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert requirements
    for line in requirements:
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,-]+\])?==\S+ ", line), line[:80]
        assert "--hash=sha256:" in line, line[:80]
        assert "://" not in line, line[:80]


def test_the_verbs_get_the_versions_that_the_tests_run_with() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE))

    tested = pins("tests/requirements.txt")
    for name in ("scripts/requirements.txt", "scripts/emulator/requirements.txt"):
        assert {package: version for package, version in pins(name).items() if tested.get(package) != version} == {}


@pytest.mark.parametrize("folder", ["scripts/emulator/azurite", "tests/browser"])
def test_a_lock_of_npm_pins_every_package_by_hash_and_names_no_address(folder: str) -> None:
    lock = json.loads((ROOT / folder / "package-lock.json").read_text(encoding="utf-8"))
    direct = json.loads((ROOT / folder / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert {name: lock["packages"][f"node_modules/{name}"]["version"] for name in direct} == direct
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert packages
    for name, one in packages.items():
        assert "resolved" not in one, name
        assert one["integrity"].startswith("sha512-"), name


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page in a link: in small letters, without punctuation, with hyphens."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_in_markdown_lead_somewhere() -> None:
    broken = []
    for path in tracked():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text_of(path)):
            file, _, heading = target.partition("#")
            page = path.parent / file if file else path
            if not re.match(r"[a-z]+:", target) and not (page.exists() and (not heading or heading in anchors(page))):
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


def test_the_generated_tables_are_fresh() -> None:
    stale = [str(path.relative_to(ROOT)) for path, text in _docs.generated().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "make docs"


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_a_verb_has_the_form_of_a_verb(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", path.stem)
    assert re.match(r'"""[A-Z]', source), "its first sentence says what it does"
    assert "\ndef parser() -> argparse.ArgumentParser:" in source or "\ndef parser() -> ArgumentParser:" in source
    assert "\ndef main(argv: list[str] | None = None) -> int:" in source
    assert source.endswith('if __name__ == "__main__":\n    command.run(main)\n')


def test_a_parser_does_not_pay_for_the_sdk() -> None:
    """Reading a command line must not cost seconds, and the documentation is made from all of them."""
    code = (
        "import sys; sys.path.insert(0, 'scripts'); import _docs; _docs.verbs();"
        "print([name for name in ('azure.ai.ml', 'azure.identity', 'azure.storage.blob', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_only_one_file_knows_the_ci_systems() -> None:
    allowed = {"ci.py", "_bench.py"}  # the second stands in for a runner
    dialect = re.compile(r"##vso|GITHUB_(OUTPUT|ENV|PATH|STEP_SUMMARY)|::(group|error|warning|notice|add-mask)")
    knowing = {path.name for path in (ROOT / "scripts").glob("**/*.py") if "emulator" not in path.parts and dialect.search(text_of(path))}
    assert knowing == allowed


def test_the_verbs_import_only_what_their_lock_installs() -> None:
    """The tests' environment holds more than a runner's, so a missing requirement would only show there."""
    text = (ROOT / "scripts" / "requirements.in").read_text(encoding="utf-8")

    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    wanted = {normal(re.split(r"[=<>;\s\[]", line)[0]) for line in text.splitlines() if line and not line.startswith("#")}
    home_of = importlib.metadata.packages_distributions()
    local = {path.stem for path in (ROOT / "scripts").glob("*.py")} | {"aml", "emulator", "azure"}  # azure is shared by many distributions
    missing = set()
    for path in [*(ROOT / "scripts").glob("[!_]*.py"), *(ROOT / "scripts" / "aml").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for name in {name.partition(".")[0] for name in names} - local - set(sys.stdlib_module_names):
                if not {normal(one) for one in home_of.get(name, [name])} & wanted:
                    missing.add(f"{path.relative_to(ROOT)}: {name}")
    assert missing == set()
