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
    assert out == "##vso[task.logissue type=error;sourcepath=x%3By.yml;linenumber=3;columnnumber=4]a; b] %AZP25\n"
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


@pytest.mark.parametrize(
    ("variables", "branch"),
    [
        ({"GITHUB_REF_NAME": "feature/a"}, "feature/a"),
        ({"GITHUB_REF_NAME": "feature/a", "GITHUB_HEAD_REF": "of/somebody"}, "feature/a"),
        ({"GITHUB_REF_NAME": "7/merge", "GITHUB_HEAD_REF": "users/x/main"}, "users/x/main"),
        ({"GITHUB_REF_NAME": "7/merge", "GITHUB_HEAD_REF": ""}, "7/merge"),
        ({}, ""),
    ],
)
def test_the_branch_of_the_run(variables: dict[str, str], branch: str, github: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ci.branch() == branch
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert ci.branch() == ""


@pytest.mark.parametrize(
    ("variables", "branch"),
    [
        ({"BUILD_SOURCEBRANCH": "refs/heads/main", "BUILD_SOURCEBRANCHNAME": "main"}, "main"),
        ({"BUILD_SOURCEBRANCH": "refs/heads/users/x/main", "BUILD_SOURCEBRANCHNAME": "main"}, "users/x/main"),
        ({"BUILD_SOURCEBRANCH": "refs/tags/v1/rc"}, "v1/rc"),
        ({"BUILD_SOURCEBRANCH": "refs/heads/refs/heads/main"}, "refs/heads/main"),
        ({"BUILD_SOURCEBRANCH": "refs/pull/7/merge", "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/users/x/main"}, "users/x/main"),
        ({"BUILD_SOURCEBRANCH": "refs/pull/7/merge", "SYSTEM_PULLREQUEST_SOURCEBRANCH": "patch-1"}, "patch-1"),
        ({"BUILD_SOURCEBRANCH": "refs/pull/7/merge"}, "refs/pull/7/merge"),
        ({"BUILD_SOURCEBRANCH": "refs/heads/main", "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/other"}, "main"),
        ({"BUILD_SOURCEBRANCHNAME": "main"}, ""),
    ],
)
def test_the_branch_on_azure_devops_is_never_its_last_part(
    variables: dict[str, str], branch: str, azure_devops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ci.branch() == branch


@pytest.mark.parametrize("collection", ["https://dev.azure.com/contoso/", "https://contoso.visualstudio.com"])
def test_the_page_of_a_run_on_azure_devops(collection: str, azure_devops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM_COLLECTIONURI", collection)
    monkeypatch.setenv("SYSTEM_TEAMPROJECT", "Flight Delay/Zürich?")
    monkeypatch.setenv("BUILD_BUILDID", "12")
    page = "Flight%20Delay%2FZ%C3%BCrich%3F/_build/results?buildId=12"
    assert ci.run_url() == f"{collection.rstrip('/')}/{page}"


def test_a_summary_on_github_is_appended(github: Path) -> None:
    ci.summary("### One", "one")
    ci.summary("### Two\n\n", "two")
    assert (github / "GITHUB_STEP_SUMMARY").read_text() == "### One\n\n### Two\n\n"


def test_each_summary_on_azure_devops_is_a_file_of_its_own_that_stays(azure_devops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder := azure_devops / "100% ours; really").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENT_TEMPDIRECTORY", str(folder))
        ci.summary("### One", "check_gate-dev")
        ci.summary("### Two", "check_gate-dev")
    lines = capsys.readouterr().out.splitlines()
    paths = [Path(unescaped(line.removeprefix("##vso[task.uploadsummary]"))) for line in lines]
    assert [path.read_text() for path in paths] == ["### One\n", "### Two\n"]
    assert {path.name for path in paths} == {"check_gate-dev.md"}
    assert all(path.is_relative_to(folder) for path in paths)


def test_a_person_gets_no_summary(person: None, capsys: pytest.CaptureFixture[str]) -> None:
    ci.summary("### One", "one")
    assert capsys.readouterr() == ("", "")


def test_a_secret_is_masked_and_never_said(github: Path, azure_devops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ci.export("AZURE_CLIENT_SECRET", "a;b]%3B", secret=True)
    assert capsys.readouterr().out == "##vso[task.setvariable variable=AZURE_CLIENT_SECRET;issecret=true]a;b]%AZP253B\n"
    ci.export("AZURE_CLIENT_SECRET", "", secret=True)
    assert capsys.readouterr().out == "##vso[task.setvariable variable=AZURE_CLIENT_SECRET;issecret=true]\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITHUB_ACTIONS", "true")
        ci.export("AZURE_CLIENT_SECRET", "hidden", secret=True)
    assert capsys.readouterr().out == "::add-mask::hidden\n"
    assert "hidden" in (github / "GITHUB_ENV").read_text()


@pytest.mark.parametrize("value", ["one\ntwo", "one\r", "\none"])
def test_a_secret_of_several_lines_is_refused_unseen(value: str, azure_devops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="the secret X has several lines"):
        ci.export("X", value, secret=True)
    assert capsys.readouterr().out == ""


@given(value=TEXT | st.lists(st.sampled_from(["%", "%3B", "%0A", "%AZP25", "AZP25", "25", "%5D", "a"]), max_size=12).map("".join))
def test_outputs_reach_azure_devops_whole(value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GITHUB_ACTIONS", raising=False)
        patch.setenv("TF_BUILD", "True")
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            ci.output("x", value)
    line, _, rest = said.getvalue().partition("\n")
    head, _, data = line.partition("]")
    assert head == "##vso[task.setvariable variable=x;isOutput=true"
    assert unescaped(data) == value
    assert not any(obeyed(line) for line in rest.split("\n"))


def unescaped(text: str) -> str:
    """What the agent makes of a command's message. Source: microsoft/azure-pipelines-agent, CommandStringConvertor.cs."""
    for escape, plain in (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%AZP25", "%")):
        text = text.replace(escape, plain)
    return text


def test_a_macro_that_names_no_variable_counts_as_not_set(azure_devops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, setting, name in (
        ("$(train.seal_bundle.bundle_id)", "", "train.seal_bundle.bundle_id"),
        (" $(My Variable) ", "", "My Variable"),
        ("a$(x)", "a$(x)", ""),
        ("$(x)$(y)", "$(x)$(y)", ""),
        ("$()", "$()", ""),
        ("", "", ""),
    ):
        monkeypatch.setenv("AML_BUNDLE_ID", value)
        assert (ci.setting("AML_BUNDLE_ID"), ci.unresolved("AML_BUNDLE_ID")) == (setting, name)
    monkeypatch.delenv("AML_BUNDLE_ID")
    assert ci.setting("AML_BUNDLE_ID") == ""


def test_elsewhere_a_macro_is_only_text(github: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AML_BUNDLE_ID", "$(x)")
    assert (ci.setting("AML_BUNDLE_ID"), ci.unresolved("AML_BUNDLE_ID")) == ("$(x)", "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"GITHUB_ACTIONS": "true", "GITHUB_SHA": "a" * 40, "GITHUB_REF": "refs/heads/main"}, ("a" * 40, "refs/heads/main")),
        ({"TF_BUILD": "True", "BUILD_SOURCEVERSION": "b" * 40, "BUILD_SOURCEBRANCH": "refs/heads/x"}, ("b" * 40, "refs/heads/x")),
        ({"GITHUB_SHA": "a" * 40, "BUILD_SOURCEVERSION": "b" * 40}, ("", "")),
    ],
)
def test_the_commit_and_ref_of_a_run(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: tuple[str, str]) -> None:
    for name in ("GITHUB_ACTIONS", "TF_BUILD", "GITHUB_SHA", "GITHUB_REF", "BUILD_SOURCEVERSION", "BUILD_SOURCEBRANCH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert ci.revision() == expected


def test_a_run_and_its_apis_by_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another system's variables say counts for nothing; a job's token goes before a person's."""
    given = {
        "GITHUB_RUN_ID": "7", "GITHUB_API_URL": "https://ghe.example/api/v3/", "GITHUB_REPOSITORY": "o/r", "GITHUB_TOKEN": "last",
        "BUILD_BUILDID": "8", "SYSTEM_STAGENAME": "share", "SYSTEM_COLLECTIONURI": "https://dev.azure.com/o/", "SYSTEM_TEAMPROJECT": "p",
        "AZURE_DEVOPS_EXT_PAT": "person",
    }  # fmt: skip
    for name in (*ci.GITHUB_TOKENS, *ci.AZURE_DEVOPS_TOKENS, "GITHUB_ACTIONS", "TF_BUILD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert (ci.run_id(), ci.stage()) == ("", "")
    assert ci.github() == ("https://ghe.example/api/v3", "o/r", "last")
    assert ci.azure_devops() == ("https://dev.azure.com/o/", "p", "person", True)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("AML_GITHUB_TOKEN", "job")
    assert (ci.run_id(), ci.stage(), ci.github()[2]) == ("7", "", "job")
    monkeypatch.delenv("GITHUB_ACTIONS")
    monkeypatch.setenv("TF_BUILD", "True")
    monkeypatch.setenv("SYSTEM_ACCESSTOKEN", "$(System.AccessToken)")
    assert ci.azure_devops()[2:] == ("person", True), "a macro that was not resolved is no token"
    monkeypatch.setenv("SYSTEM_ACCESSTOKEN", "job")
    assert (ci.run_id(), ci.stage(), *ci.azure_devops()[2:]) == ("8", "share", "job", False)


def test_no_other_file_reads_what_a_system_says_of_its_run() -> None:
    """identity.py reads what a sign-in needs; nothing else tells the systems apart."""
    asks = re.compile(r"(?:environ(?:\.get\(|\[)|setting\()\"(?:GITHUB|SYSTEM|BUILD|AGENT|RUNNER|GH)_")
    folder = Path(ci.__file__).parent
    found = {path.name for path in (*folder.glob("*.py"), *folder.parent.glob("[!_]*.py")) if asks.search(path.read_text(encoding="utf-8"))}
    assert found == {"ci.py", "identity.py"}
