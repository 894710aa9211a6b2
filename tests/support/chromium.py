"""Chromium without a window, driven through the pipe of its DevTools protocol: no other package, no open port."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support import debian

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check", "--remote-debugging-pipe",
)  # fmt: skip
# Chromium reads commands from descriptor 3 and writes answers to 4
_START = "import os, sys; os.dup2({0}, 3); os.dup2({1}, 4); os.execvp(sys.argv[1], sys.argv[1:])"
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}


def find() -> str | None:
    """The browser's program, if there is one."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def install() -> str:
    """Install Debian's package; returns "" or why that failed, in one line."""
    problem = debian.install(find, "chromium", "fonts-dejavu-core")
    return f"no Chromium here: {problem}" if problem else ""


class Browser:
    """One page. ``opened``: the addresses it was sent to, ``requests``: every address that was asked for (neither with
    what follows ``#``); ``complaints``: errors and warnings of the console."""

    def __init__(self, program: str) -> None:
        self.opened: list[str] = []
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._number, self._rest = 0, b""
        self._profile = tempfile.mkdtemp(prefix="uora-chromium-")
        theirs, self._write = os.pipe()
        self._read, answers = os.pipe()
        # above 4, or the first dup2 would close what the second copies
        high = [os.dup(fd) if fd > 4 else _above(fd) for fd in (theirs, answers)]
        start = [sys.executable, "-c", _START.format(*high), program, *FLAGS, f"--user-data-dir={self._profile}"]
        self._process = subprocess.Popen(
            [*start, "about:blank"], pass_fds=high, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for fd in (theirs, answers, *high):
            os.close(fd)
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session: str | None = None
        self._session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for fd in (self._write, self._read):
            os.close(fd)  # it leaves when nobody holds the pipe
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command; returns its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while True:
            answer = self._next(end, method)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self, end: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"Chromium does not answer: {what}"
            data = os.read(self._read, 1 << 20)
            assert data, f"Chromium has left: {what}"
            self._rest += data
        line, self._rest = self._rest.split(b"\0", 1)
        found: dict[str, Any] = json.loads(line)
        self._note(found.get("method", ""), found.get("params", {}))
        return found

    def _note(self, event: str, given: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"].split("#")[0])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(given["exceptionDetails"])[:500])
        elif event == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            self.complaints.append(given["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(given["args"]))

    def open(self, address: str, width: int = 1280, height: int = 900, script: bool = True) -> None:
        """Load ``address`` anew in a window of that size, and wait until it is there and its ``script`` has run."""
        self.resize(width, height)
        self.send("Page.navigate", url="about:blank")
        self.opened.append(address.split("#")[0])
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        if script:
            self.until("document.documentElement.dataset.ready === 'yes'")

    def resize(self, width: int, height: int = 900) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def dark(self, on: bool = True) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
        self.send("Emulation.setEmulatedMedia", features=features)

    def do(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        done = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, condition: str, seconds: float = 15) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.do(condition):
            assert time.monotonic() < end, f"not within {seconds:g} s: {condition}"
            time.sleep(0.02)

    def point(self, selector: str) -> tuple[float, float]:
        """Scroll the first element of ``selector`` into sight and move the mouse onto it; returns where that is."""
        box = self.do(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', inline: 'center'}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        # the scrolling has to be over: it hides the box beside a number
        self.do("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
        return box[0], box[1]

    def click(self, selector: str) -> None:
        """Click with the mouse on the first element of ``selector``."""
        x, y = self.point(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key of `KEYS` or type a character."""
        code = KEYS.get(key)
        told = {"key": key, "windowsVirtualKeyCode": code} if code else {"text": key}
        if key in ("Enter", " "):
            told["text"] = "\r" if key == "Enter" else " "
        self.send("Input.dispatchKeyEvent", type="keyDown", **told)
        self.send("Input.dispatchKeyEvent", type="keyUp", **({"key": key} if code else {}))

    def picture(self, path: Path) -> None:
        """What is in the window, as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))


def _above(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD, 5)
