"""What CI systems read from the log and from their files: nothing that others wrote may become a command."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml import ci

# Letters from which commands are made, among others.
PIECES = [*"ab :#[]=;,%\t\r\n\x1b\x85\u2028\u202e", "::", "##[", "##vso[", "::error::", "##VSO["]
TEXT = st.lists(st.sampled_from(PIECES) | st.characters(exclude_categories=["Cs"]), max_size=30).map("".join)


def obeyed(line: str) -> bool:
    """Whether a runner takes a line for a command.

    Sources: actions/runner, ActionCommand.cs (:: at the start, ##[ anywhere); azure-pipelines-agent, Command.cs (##vso[ anywhere).
    """
    return line.lstrip().startswith("::") or "##[" in line or "##vso[" in line.lower()


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


@pytest.fixture
def azure_devops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("TF_BUILD", "True")
    monkeypatch.setenv("AGENT_TEMPDIRECTORY", str(tmp_path))
    return tmp_path


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("TF_BUILD", raising=False)


@given(TEXT)
def test_text_of_others_is_never_a_command(text: str) -> None:
    for line in re.split(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", ci.plain(text)):
        assert not obeyed(line)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", ci.plain(text))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("::set-output name=x::y", ": :set-output name=x::y"),
        ("  ::error::x", "  : :error::x"),
        ("a ##vso[task.complete result=Succeeded]", "a # #vso[task.complete result=Succeeded]"),
        ("##[group]x", "# #[group]x"),
        ("::::", ": :::"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07", "red ]0;title"),
        ("a\rb\r\nc", "a\nb\nc"),
        ("ünïcode 日本 🏃 'quotes' \"$(x)\" `y`", "ünïcode 日本 🏃 'quotes' \"$(x)\" `y`"),
    ],
)
def test_text_of_others_stays_readable(text: str, plain: str) -> None:
    assert ci.plain(text) == plain


@given(name=st.sampled_from(["job_name", "model"]), value=TEXT)
def test_outputs_reach_github_whole(name: str, value: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("github")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITHUB_ACTIONS", "true")
        patch.setenv("GITHUB_OUTPUT", str(folder / "out"))
        ci.output(name, value)
        ci.output("after", "as it was")
    with open(folder / "out", encoding="utf-8", newline="") as file:
        found = re.fullmatch(r"(\w+)<<(end-[0-9a-f]{32})\n(.*)\n\2\nafter<<(end-[0-9a-f]{32})\nas it was\n\4\n", file.read(), re.DOTALL)
    assert found
    assert (found[1], found[3]) == (name, value)
    assert found[2] != found[4]


@given(TEXT)
def test_annotations_are_one_command_in_one_line(text: str) -> None:
    for system, start in (("GITHUB_ACTIONS", "::error file=a%3Ab%2Cc,line=3,col=4::"), ("TF_BUILD", "##vso[task.logissue type=error;")):
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("GITHUB_ACTIONS", raising=False)
            patch.delenv("TF_BUILD", raising=False)
            patch.setenv(system, "true")
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                ci.error(text, "a:b,c", 3, 4)
        printed = said.getvalue()
        assert printed.startswith(start)
        assert printed.index("\n") == len(printed) - 1
        assert not obeyed(printed[len(start) :])


def test_annotations_name_their_place(github: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ci.error("100% wrong\nsecond line", "a.yml", 3, 4)
    ci.warning("careful")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["::error file=a.yml,line=3,col=4::a.yml:3:4: 100%25 wrong second line", "::warning::careful"]


def test_annotations_on_azure_devops(azure_devops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ci.error("a; b] %", "x;y.yml", 3, 4)
    out, err = capsys.readouterr()
    assert out == "##vso[task.logissue type=error;sourcepath=x%3By.yml;linenumber=3;columnnumber=4]x;y.yml:3:4: a; b] %AZP25\n"
    assert err == ""


def test_a_person_sees_errors_on_standard_error(person: None, capsys: pytest.CaptureFixture[str]) -> None:
    ci.error("wrong", Path("a.yml"), 3, 4)
    assert capsys.readouterr() == ("", "error: a.yml:3:4: wrong\n")


def test_groups(github: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(ValueError), ci.group("a\n::error::b"):
        ci.say("::x::")
        raise ValueError("a failure inside")
    assert capsys.readouterr().out == "::group::a : :error::b\n: :x::\n::endgroup::\n"


def test_masks_hide_every_line_of_a_value(github: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ci.mask("one%\n\ntwo")
    assert capsys.readouterr().out == "::add-mask::one%25\n::add-mask::two\n"


def test_outputs_on_azure_devops(azure_devops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ci.output("job_name", "a;b]\n%")
    out = capsys.readouterr().out
    assert "##vso[task.setvariable variable=job_name;isOutput=true]a;b]%0A%AZP25\n" in out


def test_the_path_on_github(github: Path) -> None:
    ci.add_path(Path("/x/bin"))
    assert (github / "GITHUB_PATH").read_text() == "/x/bin\n"


def test_the_branch_of_the_run(github: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_REF_NAME", "feature/a")
    assert ci.branch() == "feature/a"
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert ci.branch() == ""
