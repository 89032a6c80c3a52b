"""Look at a dossier's page in a real browser, and take its picture: .github/dossier.png.

Chromium opens the page on a phone, a tablet and a desk, light, dark and on paper. It must load nothing but the page, say nothing on its
console, need no scrolling sideways, and keep what axe-core can tell of WCAG 2, levels A and AA, contrast included; tests/browser asks the
same. The browser is the one that `make install-tests` unpacks there, else one on PATH, and reaches nothing, this machine included.
Sources: "Chrome DevTools Protocol" (chromedevtools.github.io/devtools-protocol), which with --remote-debugging-pipe is spoken over the file
descriptors 3 and 4, each message ended by a zero byte (chromium, content/browser/devtools/devtools_pipe_handler.cc); "Proxy support in
Chrome", bypass rules (chromium, net/docs/proxy.md); "Axe Javascript Accessibility API" (github.com/dequelabs/axe-core, doc/API.md).
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / ".github" / "dossier.png"
RULES = ROOT / "tests" / "browser" / "rules.js"
UNPACKED, AXE = (RULES.parent / "node_modules" / name for name in (".chromium", "axe-core/axe.min.js"))
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (320, 390, 768, 1280)
MEDIA = (("screen", "light"), ("screen", "dark"), ("print", "light"))
LIFETIME = 120  # seconds that a browser has at most
WIDE = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth) - document.documentElement.clientWidth"
SETTLED = "new Promise(done => requestAnimationFrame(() => setTimeout(done)))"  # it is drawn as it now is
DIALOG = "Page.javascriptDialogOpening"
SAID = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", DIALOG)


class Browser:
    """A browser with one page, over its pipe. What it said on the way is in `events`."""

    def __init__(self, to: BinaryIO, back: BinaryIO) -> None:
        self._to, self._back, self._last, self._rest, self._session = to, back, 0, b"", ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask for something; its result."""
        number = self._send(method, **parameters)
        while True:
            found = self._message()
            if found.get("id") == number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                return dict(found["result"])

    def value(self, expression: str) -> Any:
        """What an expression in the page comes to, of a promise what it brings."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:400])
        return found["result"].get("value")

    def show(self, media: str, scheme: str, width: int, height: int = 900, scale: float = 1) -> None:
        """Show the page on a screen or on paper, in the light or in the dark, so many pixels wide; below 600 on a phone."""
        self.call("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=width < 600)
        self.value(SETTLED)

    def open(self, url: str) -> None:
        """Open an address and wait until it is there."""
        self.events.clear()
        if error := self.call("Page.navigate", url=url).get("errorText"):
            raise RuntimeError(f"{url}: {error}")
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._message()
        self.value(SETTLED)

    def _send(self, method: str, **parameters: Any) -> int:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        return self._last

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = self._back.read1(1 << 16)  # type: ignore[attr-defined]
            if not data:
                raise RuntimeError("the browser ended")
            self._rest += data
        one, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(one)
        if "method" in found:
            self.events.append(found)
            if found["method"] == DIALOG:  # the page stands still until it is answered
                self._send("Page.handleJavaScriptDialog", accept=False)
        return found


def program() -> tuple[str, dict[str, str]]:
    """The browser, and what its environment needs. Raises SystemExit where there is none."""
    if own := shutil.which(UNPACKED / "chromium"):
        return own, {"LD_LIBRARY_PATH": str(UNPACKED / "al2023" / "lib"), "FONTCONFIG_FILE": str(UNPACKED / "fonts.conf")}
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found, {}
    raise SystemExit(
        f"There is no browser: neither {UNPACKED.relative_to(ROOT)} nor {', '.join(NAMES)} on PATH. "
        "Fix: make install-tests on Linux on x86-64; elsewhere, install Chromium"
    )


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser that ends with the block, and after LIFETIME at the latest. Raises SystemExit where none runs."""
    name, needs = program()
    ours_read, theirs_write = os.pipe()
    theirs_read, ours_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="screenshot-", ignore_cleanup_errors=True) as profile:
        flags = [
            "--headless",
            "--remote-debugging-pipe",
            "--hide-scrollbars",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-sandbox",  # it needs rights that a container or a runner may lack; the pages are ours, and reach nothing
            "--proxy-server=http://127.0.0.1:9",
            "--proxy-bypass-list=<-loopback>",
            "--host-resolver-rules=MAP * ~NOTFOUND",  # a name that is looked up ahead of a request asks no proxy
            f"--user-data-dir={profile}",
        ]
        shell = f'exec "$@" 3</dev/fd/{theirs_read} 4>/dev/fd/{theirs_write}'  # a small shell knows descriptors of one digit
        with open(Path(profile, "said"), "w+b") as said:
            process = subprocess.Popen(
                ["sh", "-c", shell, "sh", name, *flags],
                env={**os.environ, "HOME": profile, **needs},
                pass_fds=(theirs_read, theirs_write),
                start_new_session=True,  # a group, so that its pages' processes end with it
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
            os.close(theirs_read)
            os.close(theirs_write)
            kill = partial(os.killpg, process.pid, signal.SIGKILL)
            end = threading.Timer(LIFETIME, kill)
            end.start()
            try:
                with open(ours_write, "wb", buffering=0) as to, open(ours_read, "rb") as back:
                    try:
                        one = Browser(to, back)
                    except (OSError, RuntimeError):
                        said.seek(0)
                        why = said.read().decode("utf-8", "replace").strip()[-400:]
                        raise SystemExit(f"{name} does not run here: {why}. Fix: what it says, or install Chromium") from None
                    yield one
            finally:
                end.cancel()
                kill()
                process.wait()


def faults(one: Browser, url: str) -> Iterator[str]:
    """Everything that is wrong with a page, one line each."""
    axe, rules = (path.read_text(encoding="utf-8") for path in (AXE, RULES))
    one.show(*MEDIA[0], WIDTHS[0])
    one.open(url)
    one.value(f"{axe}; 0")
    for media, scheme in MEDIA:
        for width in WIDTHS:
            where = f"{media}, {scheme}, {width} wide"
            one.show(media, scheme, width)
            if (over := one.value(WIDE)) > 0:
                yield f"{where}: it is {over} pixels too wide"
            if media == "screen" and width in (WIDTHS[0], WIDTHS[-1]):
                yield from (f"{where}: {rule}" for rule in one.value(rules))
        for event in one.events:
            if event["method"] in SAID:
                yield f"{media}, {scheme}: the console says {json.dumps(event['params'])[:800]}"
            if event["method"] == "Network.requestWillBeSent" and event["params"]["request"]["url"] != url:
                yield f"{media}, {scheme}: it asks for {event['params']['request']['url'][:200]}"
        one.events.clear()


def picture(one: Browser, url: str, height: int) -> bytes:
    """The top of the page on a desk, in the light."""
    one.show("screen", "light", 1060, height, 1.5)
    one.open(url)
    return base64.b64decode(one.call("Page.captureScreenshot", format="png")["data"])


def newest() -> Path | None:
    """The page of the last `make demo`."""
    return max((ROOT / ".demo").rglob("dossier.html"), key=lambda path: path.stat().st_mtime, default=None)


def main(argv: list[str] | None = None) -> int:
    """Look at a page; with --out, take its picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("page", nargs="?", type=Path, help="the page; else the one that the last make demo left")
    parser.add_argument("--out", type=Path, help=f"where to put the picture, such as {PICTURE.relative_to(ROOT)}; none is taken without")
    parser.add_argument("--height", type=int, default=1180, help="pixels of the page that the picture shows")
    given = parser.parse_args(argv)
    page = given.page or newest()
    if page is None or not page.is_file():
        raise SystemExit(f"There is no page {page or 'of a dossier in .demo'}. Fix: name one, an output of compile_dossier")
    url = page.resolve().as_uri()
    with browser() as one:
        found = list(faults(one, url))
        for line in found:
            print(line)
        if given.out and not found:
            given.out.write_bytes(picture(one, url, given.height))
            print(f"{given.out}: updated")
    print(f"{page}: {len(found) or 'no'} faults at {len(WIDTHS)} widths, light, dark and on paper")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
