"""What the READMEs show is what is run: a YAML block is the essential part of a file of the example, or goes through the tools itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure_pipelines import model
from azure_pipelines.lint import engine
from azure_pipelines.nodes import typed
from azure_pipelines.repositories import Repository
from azure_pipelines.templates import expand

import _docs
from aml import access, dossier

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "flight-delay"
WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
# Per page and block: the file of the example that it shows, and what it leaves out of it.
SHOWN = [
    ("README.md", 0, ".github/workflows/release.yml", ["on/workflow_dispatch", "jobs/release/with"]),
    ("README.md", 1, ".ado/release.yml", ["parameters", "extends/parameters"]),
    (".github/workflows/README.md", 0, ".github/workflows/release.yml", ["on", "name", "permissions", "jobs/release/with"]),
    (".ado/README.md", 0, ".ado/release.yml", ["parameters", "extends/parameters"]),
]


def blocks(page: str) -> list[str]:
    """The YAML that a page shows."""
    return re.findall(r"^```yaml\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def read(text: str) -> dict[str, Any]:
    document: dict[Any, Any] = yaml.safe_load(text)
    if True in document:
        document["on"] = document.pop(True)  # YAML 1.1 reads `on` as true
    return document


@pytest.mark.parametrize(("page", "number", "file", "left_out"), SHOWN, ids=[f"{one[0]} {one[1]}" for one in SHOWN])
def test_a_caller_that_is_shown_is_the_one_of_the_example(page: str, number: int, file: str, left_out: list[str]) -> None:
    whole = read((EXAMPLE / file).read_text(encoding="utf-8"))
    for path in left_out:
        *folders, name = path.split("/")
        place = whole
        for folder in folders:
            place = place[folder]
        del place[name]
    assert read(blocks(page)[number]) == whole


def test_no_block_is_left_unlooked_at() -> None:
    pages = [
        path
        for path in [*ROOT.glob("*.md"), *ROOT.glob(".*/**/*.md"), *EXAMPLE.glob("**/*.md"), ROOT / "tests" / "ado" / "README.md"]
        if path.relative_to(ROOT).parts[0] in (".ado", ".github", "examples", "tests", path.name)  # not what commands left here
    ]
    shown = {(str(page.relative_to(ROOT)), number) for page in pages for number in range(len(blocks(str(page.relative_to(ROOT)))))}
    assert shown == {(page, number) for page, number, _, _ in SHOWN} | {(".ado/README.md", 1), ("tests/ado/README.md", 0)}


def test_a_journey_that_is_included_expands_as_the_page_says() -> None:
    (catalog,) = read(blocks(".ado/README.md")[0])["resources"]["repositories"]
    text = yaml.safe_dump({"resources": {"repositories": [catalog]}}) + blocks(".ado/README.md")[1]
    repositories = {"self": Repository("self", EXAMPLE), "catalog": Repository("catalog", ROOT, catalog["name"], catalog["ref"])}
    pipeline = model.read(expand(repositories, "/azure-pipelines.yml", text=text).document)
    assert [str(stage.name) for stage in pipeline.stages] == ["train", "announce"]
    (announce,) = pipeline.stages[1].jobs
    (read_from,) = [str(one.value) for one in announce.variables]
    assert read_from == _docs.reading(_docs.source("train", "bundle_id"), _docs.stage_jobs("train"))
    assert typed(pipeline.stages[1].node)["dependsOn"] == "train"


def test_the_expressions_of_the_table_are_those_that_the_release_itself_uses() -> None:
    text = (ROOT / ".ado" / "stages" / "release.yml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\[ .+? \]", text))
    assert used == {_docs.reading(_docs.source("train", "bundle_id"), _docs.stage_jobs("release"))}


def test_a_suppression_is_written_as_the_page_says(tmp_path: Path) -> None:
    line = blocks("tests/ado/README.md")[0].strip()
    pipeline = tmp_path / "pipeline.yml"
    head = (
        "trigger: none\nresources:\n  repositories:\n    - repository: templates\n      type: git\n      name: mlops/templates\n      {}\n"
    )
    for written, rules in ((line, set()), (line.partition(" #")[0], {"unpinned-repository"})):
        pipeline.write_text(head.format(written) + "steps:\n  - checkout: none\n", encoding="utf-8")
        found = {one.rule for one in engine.lint(tmp_path, [pipeline], repositories={"templates": tmp_path}).findings}
        assert found & {"unpinned-repository", "unused-suppression", "suppression-without-reason"} == rules


def test_the_tools_are_called_as_the_page_says(tmp_path: Path) -> None:
    """The two commands that docs/azure-devops.md offers to a team, in a project's folder."""
    project = tmp_path / "flight-delay"
    shutil.copytree(EXAMPLE / ".ado", project / ".ado")
    page = (EXAMPLE / "docs" / "azure-devops.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ <catalog>/\.venv/bin/python (<catalog>/tests/ado/.+)$", page, re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["expand", "lint"]
    for command in commands:
        words = [word.replace("<catalog>", str(ROOT)) for word in command.split()]
        done = subprocess.run([sys.executable, *words], cwd=project, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_roles_are_the_same_on_every_page() -> None:
    for role, _, _ in access.held("prod"):
        for page in ("azure-devops.md", "your-own-azure.md"):
            words = (EXAMPLE / "docs" / page).read_text(encoding="utf-8")
            assert role in words or (role == access.QUOTA_READER and "locations/vmsizes/read" in words), (page, role)


def test_what_a_pipeline_must_extend_is_the_same_everywhere() -> None:
    (gate,) = yaml.safe_load((EXAMPLE / ".cloud" / "gates.yml").read_text(encoding="utf-8"))["gates"]
    wanted = gate["required_templates"]["templates"]
    page = (EXAMPLE / "docs" / "azure-devops.md").read_text(encoding="utf-8")
    assert re.findall(r'"templatePath": "(.+?)"', page) == wanted
    (row,) = re.findall(r"required template: (.+?) in `\.ado/stages`", (ROOT / ".ado" / "README.md").read_text(encoding="utf-8"))
    assert [f".ado/stages/{name}" for name in re.findall(r"`(.+?)`", row)] == wanted
    assert all((ROOT / path).is_file() for path in wanted)


def test_what_the_page_says_of_a_release_is_so() -> None:
    page = (EXAMPLE / "docs" / "azure-devops.md").read_text(encoding="utf-8")
    stages = list(_docs.stage_jobs("release"))
    (count, told) = re.findall(r"The run has (\w+) stages\.(.+?)\n\n", page, re.DOTALL)[0]
    assert count == WORDS[len(stages)]
    assert [name.lower() for name in re.findall(r"\*([A-Z]\w+)\*", told)[: len(stages)]] == stages
    defaults = {one["name"]: str(one["default"]) for one in _docs.template("release")["parameters"]}
    assert f"(`{defaults['runner']}`)" in page
    assert f"`evidence-train-{defaults['dev_workspace']}-1-1`" in page
    assert f"`dossier/{dossier.PAGE}` in `evidence-share-{defaults['dev_workspace']}-1-1`" in page
    asked = re.findall(r'"instructions": "(.+?)"', page)
    assert asked
    assert all("dossier of the stage Share" in one for one in asked), "approvers are asked to read what they approve by"
    assert _docs.source("promote", "dossier_id")[0] == "share"


def test_the_options_that_the_linters_page_names_are_its_options() -> None:
    page = (ROOT / "tests" / "ado" / "README.md").read_text(encoding="utf-8")
    tool = [sys.executable, str(ROOT / "tests" / "ado" / "azure_pipelines")]
    told = "".join(subprocess.run([*tool, name, "--help"], capture_output=True, text=True, check=True).stdout for name in ("lint", "run"))
    named = set(re.findall(r"(?<![\w-])--[a-z]+\b", page))
    assert {"--repository", "--task", "--service", "--format"} <= named
    assert named <= set(re.findall(r"(?<![\w-])--[a-z]+\b", told))


def test_the_page_counts_the_pipelines_as_they_are() -> None:
    page = (EXAMPLE / "docs" / "azure-devops.md").read_text(encoding="utf-8")
    (count,), (again,) = re.findall(r"(\w+) pipelines, and the checks", page), re.findall(r"the (\w+) files of `\.ado/`", page)
    assert count == again == WORDS[len(list((EXAMPLE / ".ado").glob("*.yml")))]


def test_our_own_messages_in_the_table_of_troubles_are_ours() -> None:
    page = (EXAMPLE / "docs" / "azure-devops.md").read_text(encoding="utf-8")
    ours = (ROOT / "scripts" / "aml" / "identity.py").read_text(encoding="utf-8")
    begins = ("The job cannot", "The sign-in", "Azure DevOps gave", "Microsoft Entra refused")
    messages = [one for one in re.findall(r"^\| `([^`]+)`", page, re.MULTILINE) if one.startswith(begins)]
    assert len(messages) == 5
    for message in messages:
        for part in re.split(r"\. |application \.\.\.|\.\.\.", message):
            assert part.strip() in ours, part
