"""Look at a dossier's page in a real browser, and take its picture: .github/dossier.png.

Chromium opens the page on a phone, a tablet and a desk, light, dark and on paper. It must load nothing but the page, say nothing on its
console, and need no scrolling sideways. Where there is no Chromium this fails; no test depends on it.
Source: "Chrome DevTools Protocol" (chromedevtools.github.io/devtools-protocol); with --remote-debugging-pipe it is spoken over the file
descriptors 3 and 4, each message ended by a zero byte (chromium, content/browser/devtools/devtools_pipe_handler.cc).
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / ".github" / "dossier.png"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (320, 390, 768, 1280)
MEDIA = (("screen", "light"), ("screen", "dark"), ("print", "light"))
LIFETIME = 120  # seconds that a browser has at most
WIDE = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth) - document.documentElement.clientWidth"
SAID = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


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
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while True:
            found = self._message()
            if found.get("id") == self._last:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                return dict(found["result"])

    def open(self, url: str) -> None:
        """Open an address and wait until it is there."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._message()

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
        return found


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser that ends with the block, and after LIFETIME at the latest. Raises SystemExit where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise SystemExit(f"There is no {', '.join(NAMES)} on PATH. Fix: install Chromium")
    ours_read, theirs_write = os.pipe()
    theirs_read, ours_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="screenshot-", ignore_cleanup_errors=True) as profile:
        flags = [
            "--headless",
            "--remote-debugging-pipe",
            "--hide-scrollbars",
            "--disable-gpu",
            "--no-first-run",
            f"--user-data-dir={profile}",
        ]
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []
        shell = f'exec "$@" 3<&{theirs_read} 4>&{theirs_write}'
        process = subprocess.Popen(
            ["sh", "-c", shell, "sh", program, *flags],
            pass_fds=(theirs_read, theirs_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_read)
        os.close(theirs_write)
        end = threading.Timer(LIFETIME, process.kill)
        end.start()
        try:
            with open(ours_write, "wb") as to, open(ours_read, "rb") as back:
                yield Browser(to, back)
        finally:
            end.cancel()
            process.kill()
            process.wait()


def faults(one: Browser, url: str) -> Iterator[str]:
    """Everything that is wrong with a page, one line each."""
    for media, scheme in MEDIA:
        one.call("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        for width in WIDTHS:
            where = f"{media}, {scheme}, {width} wide"
            one.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
            one.open(url)
            over = one.call("Runtime.evaluate", expression=WIDE, returnByValue=True)["result"]["value"]
            if over > 0:
                yield f"{where}: it is {over} pixels too wide"
            for event in one.events:
                if event["method"] in SAID:
                    yield f"{where}: the console says {json.dumps(event['params'])[:400]}"
                if event["method"] == "Network.requestWillBeSent" and event["params"]["request"]["url"] != url:
                    yield f"{where}: it asks for {event['params']['request']['url'][:200]}"


def picture(one: Browser, url: str, height: int) -> bytes:
    """The top of the page on a desk, in the light."""
    one.call("Emulation.setEmulatedMedia", media="screen", features=[{"name": "prefers-color-scheme", "value": "light"}])
    one.call("Emulation.setDeviceMetricsOverride", width=1060, height=height, deviceScaleFactor=1.5, mobile=False)
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
