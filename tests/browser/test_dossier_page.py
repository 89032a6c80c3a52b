"""Dossiers' pages in a real browser, at every width, light, dark and on paper; and that what looks at them sees what is wrong.

A fault is a line of _screenshot.faults: sideways scrolling, a word on the console, a request, a rule of WCAG 2 that is broken.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import _screenshot
from _screenshot import Browser, faults
from aml import commits, dossier_page
from aml.dossier import Known

sys.path.append(str(Path(__file__).parents[1] / "unit"))
import dossiers

ANYTHING = "Wi" * 60 + " ".join(dossiers.PIECES)  # a word that is wider than a phone, and every letter that means something to somebody
HOSTILE = [
    ANYTHING,
    "<script>alert(1)</script><img src=x onerror=alert(1)><svg onload=alert(1)>",
    "</title></style></svg></bdi></td></table><script>alert(1)</script>",
    '"><iframe srcdoc="<script>parent.alert(1)</script>"></iframe><style>@import "https://evil.example/x.css"</style>',
    "'\" autofocus onfocus=alert(1) style=width:9999px x='<math><mtext><script>alert(1)</script>",
    "--><!--><script>alert(1)</script><link rel=stylesheet href=https://evil.example/x.css><base href=https://evil.example/>",
]


def page(found: Known) -> str:
    return dossier_page.page(*dossiers.compiled(found))


def hostile(text: str) -> Known:
    commit = commits.Commit("a" * 40, text, text, (commits.Person(text, text),))
    return dossiers.broken(replace(dossiers.hostile(text), commits=commits.Range((commit,) * 20, 900, 0)), text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with _screenshot.browser() as one:
        yield one


@pytest.fixture
def in_run_42(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dossiers.RUN.items():
        monkeypatch.setenv(name, value)


def written(folder: Path, text: str) -> str:
    """The address of a page."""
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    return path.as_uri()


@pytest.mark.usefixtures("in_run_42")
@pytest.mark.parametrize(
    ("found", "glass"),
    [
        pytest.param(dossiers.known(), 0, id="second release"),
        pytest.param(dossiers.first(), 0, id="first release"),
        pytest.param(dossiers.broken(dossiers.known()), 1, id="broken glass"),
        pytest.param(hostile(ANYTHING), 1, id="hostile text"),
    ],
)
def test_a_page_can_be_read_by_everybody_and_does_nothing_else(found: Known, glass: int, browser: Browser, tmp_path: Path) -> None:
    made = page(found)
    assert made.count('<h2 id="break-glass">') == glass
    assert list(faults(browser, written(tmp_path, made))) == []
    assert "What is approved" in browser.value("document.body.innerText")


@pytest.mark.usefixtures("in_run_42")
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_for_a_browser_even_without_the_policy(text: str, browser: Browser, tmp_path: Path) -> None:
    bare, removed = re.subn(r"<meta http-equiv[^>]*>", "", page(hostile(text)))
    assert removed == 1
    browser.open(written(tmp_path, bare))
    elements = browser.value("[...new Set([...document.querySelectorAll('*')].map(one => one.localName))]")
    assert set(elements) <= dossiers.ELEMENTS
    attributes = browser.value("[...new Set([...document.querySelectorAll('*')].flatMap(one => one.getAttributeNames()))]")
    assert [one for one in attributes if one.startswith("on") or one in ("style", "src", "srcset", "srcdoc", "action", "data")] == []
    assert [one["params"] for one in browser.events if one["method"] in _screenshot.SAID] == []
    assert len([one for one in browser.events if one["method"] == "Network.requestWillBeSent"]) == 1
    assert text[:25] in browser.value("document.body.innerText"), "it is there to read"


# What looks, sees.

GOOD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><style>body{{background:#fff;color:#222}}
@media screen and (prefers-color-scheme:dark){{body{{background:#111;color:#eee}}}}</style></head>
<body><main><h1>A page</h1><p>Words</p>{}</main></body></html>"""
POLICY = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">"""
FIRST = "screen, light"  # what is loaded or said at once
SCREENS = [f"screen, {scheme}, {width} wide" for scheme in ("light", "dark") for width in (320, 1280)]
PAPERS = [f"print, light, {width} wide" for width in _screenshot.WIDTHS]


@pytest.mark.parametrize(
    ("parts", "seen"),
    [
        pytest.param("", {}, id="nothing is wrong"),
        pytest.param(
            """<style>@media screen and (prefers-color-scheme:dark){h1{color:#555}} @media (max-width:640px){p{color:#aaa;background:#fff}}
            </style><svg role="img" aria-label="x"><text y="20" fill="#777">x</text></svg>""",
            {"color-contrast: 1, the first <h1": SCREENS[3:], "color-contrast: 1, the first <p": SCREENS[:1],
             "color-contrast: 2, the first <h1": SCREENS[2:3], "color-contrast as measured: 1": SCREENS},
            id="what is faint in the dark, on a phone, in a picture",
        ),
        pytest.param(
            """<b style="color:#888;background:linear-gradient(#fff,#777)">on what</b>
            <b style="color:#888;background:#fff">\u2192</b><a href="https://x.example/"></a>
            <svg role="img"><circle r="4"/></svg>""",
            {"color-contrast as measured: 2": SCREENS, "link-name: 1": SCREENS, "svg-img-alt: 1": SCREENS},
            id="a ground that nobody knows, an arrow, a link and a picture without words",
        ),
        pytest.param(
            "<style>@media print{p{width:2000px}}</style><table><tr><td style='min-width:700px'>wide</td></tr></table>",
            {"pixels too wide": [*(f"screen, {scheme}, {width} wide" for scheme in ("light", "dark") for width in (320, 390)), *PAPERS]},
            id="too wide",
        ),
        pytest.param(
            """<script>console.debug("a word"); alert("hello"); nothing.there()</script><img alt="" src="https://cdn.example/x.png">
            <style>@media print{p{background:url("beside.png")}}</style>""",
            {"a word": [FIRST], '"message": "hello"': [FIRST], "nothing is not defined": [FIRST], "asks for https://cdn.example/": [FIRST],
             "net::ERR": [FIRST, "print, light"], "beside.png\n": ["print, light"]},
            id="scripts and what they say, things to load",
        ),
        pytest.param(f"{POLICY}<script>1</script>", {"Content Security Policy": [FIRST]}, id="what the policy stops"),
    ],
)  # fmt: skip
def test_what_looks_sees(parts: str, seen: dict[str, list[str]], browser: Browser, tmp_path: Path) -> None:
    found = list(faults(browser, written(tmp_path, GOOD.format(parts))))
    for what, where in seen.items():
        assert [line.partition(": ")[0] for line in found if what in f"{line}\n"] == where, (what, found)
    assert len(found) == sum(map(len, seen.values())), found


def test_the_browser_reaches_nothing_not_even_this_machine(browser: Browser, tmp_path: Path) -> None:
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        hosts = [f"http://{host}:{server.server_port}/x" for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "an.example")]
        tried = f"Promise.all({json.dumps(hosts)}.map(host => fetch(host, {{mode: 'no-cors'}}).then(() => 'came', error => 'failed')))"
        browser.open(written(tmp_path, GOOD.format("")))
        assert browser.value(tried) == ["failed"] * len(hosts)
        server.shutdown()
    assert asked == []
    failed = [one["params"]["errorText"] for one in browser.events if one["method"] == "Network.loadingFailed"]
    assert failed == ["net::ERR_PROXY_CONNECTION_FAILED"] * len(hosts)


def test_a_browser_ends_with_what_it_was_for(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    class Started(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Started)
    with pytest.raises(ZeroDivisionError), _screenshot.browser():
        raise ZeroDivisionError
    [program] = started
    assert program.returncode == -signal.SIGKILL
    of_its_group = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    assert not [line for line in of_its_group.splitlines() if line.split()[0] == str(program.pid) and "Z" not in line]


def test_where_no_browser_runs_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_screenshot, "UNPACKED", _screenshot.ROOT / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"There is no browser: neither none nor chromium, .* Fix: make install-tests on Linux on x86-64"):
        _screenshot.program()
    (tmp_path / "chromium").write_text("#!/bin/sh\necho lib.so: cannot open >&2; exit 127\n")
    (tmp_path / "chromium").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SystemExit, match=r"chromium does not run here: lib.so: cannot open. Fix: "), _screenshot.browser():
        pass
