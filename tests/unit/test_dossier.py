"""What a dossier says, and that nothing that others wrote can break, hide or forge it: in the document, the page and the Markdown."""

from __future__ import annotations

import base64
import copy
import hashlib
import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dossiers
import pytest
from dossiers import ELEMENTS, NEW, NEW_ID, OLD, PIECES, compiled, first, hostile, known, piece
from hypothesis import given, settings
from hypothesis import strategies as st

from aml import changes, commits, digest, dossier, dossier_page, dossier_text, markup, plain, proof, risk, spec
from aml.command import Refusal
from aml.dossier import Champion
from aml.markup import PAIRS, PALETTE

VOID = {"meta", "line", "circle", "rect", "polyline", "br"}
SHORT = st.lists(st.sampled_from(PIECES) | st.characters(), max_size=12).map("".join)
TEXT = SHORT | st.builds(str.__mul__, SHORT, st.integers(20, 60))


class Reader(HTMLParser):
    """A page as it is understood: elements, attributes and words; unclosed or misplaced elements are noted."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[tuple[str, str]] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append((self.open[-1] if self.open else "", data))

    def handle_comment(self, data: str) -> None:
        self.wrong.append(f"comment {data}")


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def lacking(document: dict[str, Any]) -> set[str]:
    return {one["what"] for one in document["missing"]}


def rules(document: dict[str, Any]) -> set[str]:
    return {one["rule"] for one in document["risk"]["reasons"]}


# What it says.


def test_a_release_of_which_everything_is_known() -> None:
    document, dossier_id = compiled()
    assert document["missing"] == []
    assert dossier_id == digest.of_document(document)
    assert document["risk"]["class"] == "medium"
    assert rules(document) == {"new scoring environment", "new dependencies", "new settings", "another model"}
    assert document["people"]["approvers"]["left"] == ["rea-lee", "kim-doe"]
    assert document["where"]["cost"]["month"] == 334.34
    assert {one["state"] for one in document["proof"]} == {"passed"}
    [smoke] = [one for one in document["proof"] if one["verb"] == "smoke_test"]
    assert smoke["expires"] == "2026-11-24T13:05:00Z"


def test_a_first_release_of_which_little_is_known() -> None:
    document, _ = compiled(first())
    assert lacking(document) >= {"who wrote it", "who trained it", "who started this run", "who may approve", "quota after the release"}
    assert {"first release", "proof is missing", "unknown authors", "no gate"} <= rules(document)
    page, markdown = (render(document, "sha256:" + "0" * 64) for render in (dossier_page.page, dossier_text.markdown))
    for one in document["missing"]:
        assert markup.own(one["what"]) in page
        assert dossier_text.safe(one["what"]) in markdown
    assert page.count("not supplied") >= 10


def test_the_id_is_of_the_content_and_the_time_of_the_first_look() -> None:
    document, dossier_id = compiled()
    later, _ = compiled(known(now=dossiers.NOW.replace(minute=31)))
    assert later != document
    assert dossier.settled(later, document) == document
    for name in ("hold", "ticket", "initiator"):
        other, other_id = compiled(known(**{name: "CHG12345"}))
        assert other_id != dossier_id
        assert dossier.settled(other, document) == other
    assert dossier.settled(document, {"form": 1}) == document


@pytest.mark.parametrize(
    ("change", "rule", "level"),
    [
        ({"hold": "Ann held it"}, "held", "high"),
        ({"champion": Champion("unknown", why="the record is gone")}, "unknown production", "high"),
        ({"commits": None}, "unknown authors", "high"),
        ({"commits": commits.Range((), 0, 2)}, "older than production", "high"),
        ({"commits": commits.Range((), 51, 0)}, "many commits", "medium"),
        ({"gate": None}, "no gate", "high"),
        ({"gate": {**dossiers.GATE, "admin_bypass": True}}, "the gate can be passed by", "high"),
        ({"gate": {**dossiers.GATE, "reviewers": {"count": 1, "users": ["mia-park"], "self_review": False}}}, "nobody may approve", "high"),
        ({"now": dossiers.NOW.replace(month=12, day=24)}, "in a freeze", "high"),
        ({"pieces": []}, "proof is missing", "high"),
        ({"now": dossiers.NOW.replace(day=25)}, "proof is missing", "high"),
        ({"pieces": [*dossiers.pieces(), piece("seal_bundle", signature=proof.REFUSED, hour=14)]}, "a signature does not fit", "high"),
        ({"pieces": [*dossiers.pieces(), piece("seal_bundle", signature=proof.UNSIGNED, hour=14)]}, "not signed", "medium"),
        ({"back": [{"what": "model", "state": "missing", "says": "is gone"}]}, "no way back", "high"),
        ({"quota": None}, "unknown quota", "medium"),
        ({"job": {"systemData": {"createdBy": "sp"}, "properties": {}}}, "unknown trainer", "medium"),
        ({"machine": ("Standard_F4s_v2", 2)}, "another machine", "medium"),
        ({"machine": ("Standard_DS3_v2", 1), "machine_before": ("Standard_DS3_v2", 2)}, "fewer instances", "medium"),
    ],
)
def test_a_risk_has_its_rule_and_its_words(change: dict[str, Any], rule: str, level: str) -> None:
    document, _ = compiled(known(**change))
    [found] = [one for one in document["risk"]["reasons"] if one["rule"] == rule]
    assert found["level"] == level
    assert len(found["says"]) > 10
    assert risk.LEVELS.index(document["risk"]["class"]) >= risk.LEVELS.index(level)


def changed(**parts: Any) -> dict[str, Any]:
    new = copy.deepcopy(NEW)
    for name, value in parts.items():
        new[name] = {**new[name], **value} if isinstance(value, dict) else value
    return compiled(known(bundle=new))[0]


def test_a_change_of_what_decides_is_high_and_one_of_what_runs_is_medium() -> None:
    other = digest.of_bytes(b"other")
    for path in (".cloud/gates.yml", ".cloud/release.yml", "tests/smoke/cases.yml"):
        assert "what decides has changed" in rules(changed(files={path: other}))
    for path in (".cloud/workspaces/prod.yml", ".cloud/identity.json"):
        assert "who may act has changed" in rules(changed(files={path: other}))
    assert "what decides has changed" not in rules(changed(files={".cloud/online/endpoint.yml": other}))
    assert "new scoring code" in rules(changed(code={"digest": other}))
    assert "another kind of model" in rules(changed(model={"type": "custom_model"}))
    assert "other data" in rules(changed(data=[{"name": "flights", "version": "2"}]))
    assert "another catalog" in rules(changed(catalog={"version": "0.2.0"}))
    worse = changed(job={"metrics": {"log_loss": 0.6, "roc_auc": 0.7}})
    assert "a figure is worse" in rules(worse)
    assert any("log_loss (0.5121 → 0.6)" in one["says"] for one in worse["risk"]["reasons"])


def test_a_rule_that_nothing_proves_is_never_quiet() -> None:
    """Each rule can apply, and a release that is fine in all is low."""
    names = [name for name, _, _ in risk.RULES]
    assert len(set(names)) == len(names)
    quiet = copy.deepcopy(OLD)
    quiet["model"]["digest"] = digest.of_bytes(b"new")
    document, _ = compiled(known(bundle=quiet, environments=({}, {}), machine_before=("Standard_DS3_v2", 2)))
    assert document["risk"]["class"] == "low"
    assert rules(document) == {"another model"}


def test_who_may_approve_is_nobody_who_took_part() -> None:
    span = known().commits
    assert span
    gate = {
        **dossiers.GATE,
        "reviewers": {"count": 2, "users": ["Mia-Park", "Sam.Roe@contoso.example", "kim-doe", "ci[bot]"], "self_review": False},
    }
    found = compiled(known(gate=gate, initiator="kim-doe"))[0]["people"]["approvers"]
    assert found["left"] == []
    assert {one["name"]: one["why"] for one in found["barred"]} == {
        "kim-doe": "started the run",
        "mia-park": "started the training, wrote a commit",
        "sam-roe": "wrote a commit",
    }
    gate["reviewers"]["self_review"] = True
    assert compiled(known(gate=gate, initiator="kim-doe"))[0]["people"]["approvers"]["left"] == ["kim-doe"]


def test_an_author_whose_account_nobody_can_tell_is_said() -> None:
    document, _ = compiled(known(accounts={}))
    assert [one["what"] for one in document["missing"]] == ["the account of Sam Roe (sam.roe@contoso.example)"]
    assert {one["name"] for one in document["people"]["approvers"]["barred"]} == {"mia-park", "Sam Roe (sam.roe@contoso.example)"}
    document, _ = compiled(known(accounts={}, unknown={"accounts": "403"}))
    assert document["missing"][0]["why"] == "403"


def test_evidence_that_is_failed_old_or_from_tomorrow_does_not_count() -> None:
    cases = {
        "failed": piece("smoke_test", verdict="failed", hour=14),
        "ahead of time": piece("smoke_test", hour=23),
    }
    for state, one in cases.items():
        document, _ = compiled(known(pieces=[*dossiers.pieces(), one]))
        [found] = [item for item in document["proof"] if item["verb"] == "smoke_test"]
        assert found["state"] == state
        assert "proof is missing" in rules(document)


def test_files_and_dependencies_are_compared_only_where_both_are_proven() -> None:
    path = ".cloud/online/deployment.yml"
    for before, why in ((None, "git does not have it"), (b"another", "git has another content")):
        document, _ = compiled(known(files_before={path: before}))
        [row] = [one for one in document["changes"]["files"] if one["path"] == path]
        assert row["diff"] is None
        assert why in row["note"]
        assert f"what changed in {path}" in lacking(document)
    document, _ = compiled(known(environments=({"condaFile": "a: ["}, {})))
    assert document["changes"]["dependencies"] is None
    assert "what changed in dependencies" in lacking(document)


@pytest.mark.parametrize(
    ("before", "now", "diff", "note"),
    [
        (b"a\nb\n", b"a\nc\n", ["@@ -1,2 +1,2 @@", " a", "-b", "+c"], ""),
        (b"a\r\n", b"a\n", [], "only line ends differ"),
        (b"\xff", b"a", None, "it is no text"),
        (b"a\n" * 6000, b"b\n", None, "it has more than 5000 lines"),
    ],
)
def test_a_difference_is_said_or_why_it_is_not(before: bytes, now: bytes, diff: list[str] | None, note: str) -> None:
    assert changes.difference(before, now) == (diff, note)


def test_a_long_difference_is_cut_and_says_so() -> None:
    shown, note = changes.difference(b"", b"x\n" * 200)
    assert shown
    assert len(shown) == changes.LINES
    assert note == "and 141 lines more"


def test_what_evidence_has_of_errors_is_drawn_if_it_is_sound() -> None:
    sound = {"confusion": {"labels": ["late", "on time"], "counts": [[8, 2], [1, 9]]}, "residuals": {"edges": [-2, 0, 2], "counts": [3, 4]}}
    document, dossier_id = compiled(known(pieces=[piece("check_gate", "job", facts=sound)]))
    assert document["plots"]["confusion"] == sound["confusion"]
    page = dossier_page.page(document, dossier_id)
    assert "Confusion" in page
    assert "Residuals" in page
    assert "Confusion" not in dossier_page.page(*compiled())
    for facts in (
        {"confusion": {"labels": ["a"], "counts": [[1]]}, "residuals": {"edges": [0, 0, 0], "counts": [1, 1]}},
        {"confusion": {"labels": ["a", "b"], "counts": [[1, -1], [1, 1]]}, "residuals": {"edges": [0, 1], "counts": [1, 1]}},
        {"confusion": {"labels": ["a", "b"], "counts": [[1, True], [1, 1]]}, "residuals": {"edges": [1, 0, 2], "counts": [1, 1]}},
        {"confusion": "x", "residuals": [1]},
    ):
        found = compiled(known(pieces=[piece("check_gate", "job", facts=facts)]))[0]["plots"]
        assert (found["confusion"], found["residuals"]) == (None, None)


# Files of evidence.


def test_files_that_are_no_evidence_are_named_and_others_are_left(tmp_path: Path) -> None:
    good, subject = piece("smoke_test").statement, NEW_ID.removeprefix("sha256:")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "good.json").write_text(json.dumps(good))
    other = copy.deepcopy(good)
    other["subject"][0]["digest"]["sha256"] = "f" * 64
    (tmp_path / "of-another.json").write_text(json.dumps(other))
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "cut.json").write_text('{"_type": ')
    (tmp_path / "twice.json").write_text(json.dumps(good).replace('"verb"', '"verb": "x", "verb"', 1))
    impossible = copy.deepcopy(good)
    impossible["predicate"]["finished"] = "9999-99-99T99:99:99Z"
    (tmp_path / "impossible.json").write_text(json.dumps(impossible))
    (tmp_path / "deep.json").write_text("[" * 200_000)
    found, wrong = proof.read(tmp_path, tmp_path, {subject})
    assert [one.said["verb"] for one in found] == ["smoke_test"]
    assert found[0].signature == proof.UNSIGNED
    assert [line.partition(" ")[0] for line in wrong] == ["cut.json", "deep.json", "impossible.json", "twice.json"]


# Nothing that others wrote is more than text.


@given(TEXT)
@settings(max_examples=60)
def test_hostile_text_is_only_text(text: str) -> None:
    document = dossier.compile(hostile(text))
    dossier_id = dossier.identify(document)
    assert not spec.invalid(document, "dossier")
    page = dossier_page.page(document, dossier_id)
    assert dossier_id in page
    for said in strings(document):
        assert not [letter for letter in said if plain.unseen(letter) and letter != plain.UNSEEN], repr(said)
        assert len(said) < 1000 or plain.address(said) == said
    page.encode()

    found = read(page)
    assert not found.wrong
    assert not found.open
    assert set(found.elements) <= ELEMENTS
    assert [one for one in found.attributes if one[1].startswith("on") or one[1] in ("style", "src", "srcset", "action", "data")] == []
    for element, name, value in found.attributes:
        if name == "href":
            assert element == "a"
            assert plain.address(value) == value
    assert found.elements.count("style") == 1
    assert found.elements.count("title") == 1
    # The frame is the page's own: the same sections, in the same order, whatever anybody wrote.
    sections = [value for element, name, value in found.attributes if (element, name) == ("section", "aria-labelledby")]
    assert sections == [
        value for element, name, value in read(page_of("x")).attributes if (element, name) == ("section", "aria-labelledby")
    ]


def page_of(text: str) -> str:
    document = dossier.compile(hostile(text))
    return dossier_page.page(document, dossier.identify(document))


@given(TEXT)
@settings(max_examples=60)
def test_hostile_text_is_only_text_in_markdown(text: str) -> None:
    document = dossier.compile(hostile(text))
    dossier_id = dossier.identify(document)
    made, plainly = (dossier_text.markdown(one, dossier_id) for one in (document, dossier.compile(hostile("x"))))
    lines = made.splitlines()
    assert len(lines) == made.count("\n"), "no other kind of line end"
    heads, others = ([re.sub(r"\d", "", line) for line in one if line.startswith("#")] for one in (lines, plainly.splitlines()))
    assert heads[1:] == others[1:]
    for line in lines:
        bare = re.sub(r"&#\d+;", "", line)
        bare = re.sub(r"\]\(https://[^\s()<>\[\]`|!]*\)", "]()", bare)
        bare = re.sub(r"`sha256:[0-9a-f]{64}`|\*\*[^*]*\*\*|^#+ |^\| |\|$| \| |^\| \| |---", " ", bare)
        assert not re.search(r"[`<>!\\]|\]\([^)]", bare), line
    short = dossier_text.short(document, dossier_id)
    assert len(short) <= dossier_text.LIMIT
    assert short.endswith(f"Bundle `{document['bundle']['id']}`\nDossier `{dossier_id}`")
    assert "risk" in short.splitlines()[0]
    assert "<" not in short
    (made + short).encode()
    assert not re.search(r"##(vso)?\[", html.unescape(made).lower())


@given(TEXT)
def test_plain_text_is_one_line_of_seen_letters_and_says_what_is_left_out(text: str) -> None:
    found = plain.text(text, 30)
    assert "\n" not in found
    assert not [letter for letter in found if plain.unseen(letter) and letter != plain.UNSEEN]
    assert len(found) < 80
    assert plain.text(found) == found
    if len(found) > 30:
        assert found.endswith(f"({len(text)} characters)")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("https://ml.azure.com/runs/j?wsid=/subscriptions/s&tid=t", "https://ml.azure.com/runs/j?wsid=/subscriptions/s&tid=t"),
        ("https://dev.azure.com/c/a%20project/_build/results?buildId=7", "https://dev.azure.com/c/a%20project/_build/results?buildId=7"),
        ("https://github.com:8443/o/r", "https://github.com:8443/o/r"),
        ('https://x.example/"><script>', "https://x.example/%22%3E%3Cscript%3E"),
        ("https://x.example/#part", "https://x.example/"),
        *((bad, "") for bad in (
            "http://x.example", "javascript:alert(1)", "data:text/html,x", "https://", "https:///x", "https://a@evil.example",
            "//x.example",
            "https://x.example/\n", "https://x.example /", "https://gith\u202eub.com", "https://\u0261ithub.com", "https://x.example:no/",
            "https://[::1", "https://x.example/" + "y" * 3000, "https://x_y.example",
            "https://" + "x" * 254,
        )),
    ],
)  # fmt: skip
def test_an_address_is_https_and_nothing_else(given: str, found: str) -> None:
    assert plain.address(given) == found


def test_a_link_shows_its_host() -> None:
    words = "".join(data for _, data in read(markup.link("https://evil.example/github.com/run", "run")).words)
    assert words == "run (evil.example)"


def test_a_list_of_thousands_stays_a_page() -> None:
    span = commits.Range(
        tuple(commits.Commit("a" * 40, "2026-11-23T10:00:00Z", "x" * 9000, (commits.Person(f"n{at}", f"{at}@x"),)) for at in range(1500)),
        9000,
        0,
    )
    findings = [{"name": f"case {at}", "passed": False, "seconds": at / 10, "problems": ("y" * 900,)} for at in range(3000)]
    document, dossier_id = compiled(known(commits=span, pieces=[piece("smoke_test", findings=findings, verdict="failed")]))
    assert len(dossier_page.page(document, dossier_id)) < 400_000
    assert len(dossier_text.markdown(document, dossier_id)) < 200_000
    assert len(dossier_text.short(document, dossier_id)) <= dossier_text.LIMIT
    assert "who wrote the oldest commits" in lacking(document)
    assert document["people"]["author_count"] == 1500


# The page by itself.


def test_the_page_allows_its_own_sheet_and_nothing_else() -> None:
    page = dossier_page.page(*compiled())
    found = read(page)
    [policy] = [value for element, name, value in found.attributes if element == "meta" and name == "content" and "default-src" in value]
    [sheet] = [data for element, data in found.words if element == "style"]
    allowed = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert not re.search(r"url\(|@import|expression|javascript:", sheet)
    assert not {"script", "img", "iframe", "link", "object", "embed", "form", "input", "foreignobject", "use", "image"} & set(
        found.elements
    )
    assert ("html", "lang", "en") in found.attributes
    assert [
        name for name, value in ((n, v) for e, n, v in found.attributes if e == "meta") if value == "width=device-width,initial-scale=1"
    ]


def test_every_picture_says_what_it_shows() -> None:
    found = read(dossier_page.page(*compiled()))
    pictures = [value for element, name, value in found.attributes if (element, name) == ("svg", "aria-label")]
    assert len(pictures) == found.elements.count("svg")
    assert pictures[0] == (
        "2: 0.5412, an earlier release; 3: 0.5334, an earlier release; 4: 0.5342, an earlier release; 5: 0.5201, an earlier release; "
        "6: 0.5121, in production; 7: 0.4987, this release"
    )


def test_pictures_stay_in_their_frames() -> None:
    for one in (known(), first(), hostile("x" * 300)):
        document, dossier_id = compiled(one)
        numbers = re.findall(r' (x|y|x1|y1|x2|y2|cx|cy|width|height)="([^"]*)"', dossier_page.page(document, dossier_id))
        assert numbers
        for name, value in numbers:
            assert 0 <= float(value) <= (360 if name[0] in "xcw" else 190), (name, value)


def luminance(colour: str) -> float:
    """Relative luminance (w3.org/TR/WCAG22)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_measure_of_contrast_is_the_standard_one() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("colour", "ground", "least"), PAIRS, ids=str)
def test_what_is_written_can_be_read(scheme: str, colour: str, ground: str, least: float) -> None:
    found = contrast(PALETTE[scheme][colour], PALETTE[scheme][ground])
    assert found >= least, f"{colour} on {ground}: {found:.2f}"


def test_every_colour_comes_from_the_palette_and_is_measured() -> None:
    sheet = markup.SHEET.read_text()
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgb|hsl", sheet), "colours stand in the palette, where they are measured"
    used = set(re.findall(r"var\(--([a-z-]+)\)", sheet))
    assert used == set(PALETTE["light"]) == set(PALETTE["dark"])
    written = set(re.findall(r"(?<![-a-z])(?:color|fill|stroke):var\(--([a-z-]+)\)", sheet))
    grounds = set(re.findall(r"background:var\(--([a-z-]+)\)", sheet))
    # A rail, a rule and a ring's inside carry no meaning of their own.
    assert written - {"rule", "soft", "card"} <= {colour for colour, _, _ in PAIRS}
    assert grounds <= {ground for _, ground, _ in PAIRS}


def test_paper_is_light_and_a_phone_has_no_wide_table() -> None:
    sheet = markup.style()
    assert "@media screen and (prefers-color-scheme:dark)" in sheet
    assert "@media print" in sheet
    assert "@media (max-width:640px)" in sheet
    tables = [value for element, name, value in read(dossier_page.page(*compiled())).attributes if (element, name) == ("table", "class")]
    assert set(tables) == {"rows"}


def test_a_change_of_anything_is_another_dossier() -> None:
    document, dossier_id = compiled()

    def others(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            for key in value:
                for inner in others(value[key]):
                    yield {**value, key: inner}
        elif isinstance(value, list):
            for at, one in enumerate(value):
                for inner in others(one):
                    yield [*value[:at], inner, *value[at + 1 :]]
        elif isinstance(value, str):
            yield value + "x"
        elif isinstance(value, bool):
            yield not value
        elif isinstance(value, (int, float)):
            yield value + 1
        else:
            yield "x"

    ids = {dossier.identify(other) for other in others(document)}
    assert dossier_id not in ids
    assert len(ids) > 300


def test_an_empty_project_without_git_is_told(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="not in this checkout"):
        commits.between(tmp_path, "", "a" * 40)
    with pytest.raises(Refusal, match="not in this checkout"):
        commits.between(tmp_path, "--output=x", "a" * 40)
    with pytest.raises(Refusal, match="no commit is known"):
        commits.between(tmp_path, "", "")
    assert commits.file_at(tmp_path, "HEAD", "x") is None
    assert commits.message_of(tmp_path, "--all") == ""


def test_a_login_is_what_an_address_gives_away() -> None:
    assert commits.Person("n", "12+mia@users.noreply.github.com").login == "mia"
    assert commits.Person("n", "dependabot[bot]@users.noreply.github.com").login == "dependabot[bot]"
    assert commits.Person("n", "mia@USERS.noreply.github.com").login == "mia"
    for address in ("mia@users.noreply.github.contoso.example", "mia@users.noreply.invalid", "mia@users.noreply.github.com.example", "mia"):
        assert commits.Person("n", address).login == "", "only GitHub gives such addresses to accounts"
    assert commits.Person("n", "mia@contoso.example").login == ""
    assert commits.Person("n", "a b@users.noreply.github.com").login == ""


def test_a_price_is_the_projects_or_none() -> None:
    assert compiled(known(prices=None))[0]["where"]["cost"] is None
    document, _ = compiled(known(machine=("Standard_F2s_v2", 1)))
    assert document["where"]["cost"] is None
    assert "cost per month" in lacking(document)
    document, _ = compiled(known(machine_before=("Standard_F2s_v2", 1)))
    assert document["where"]["cost"]["month_before"] is None
    assert "cost per month before" in lacking(document)
    assert replace(known(), prices=None).prices is None
