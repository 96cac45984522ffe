"""A real browser for tests: Chromium without a window, spoken to through two pipes."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
from collections import deque
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync")
_QUIET = ("--disable-background-networking", "--disable-component-update", "--hide-scrollbars")
_PATIENCE = 30  # seconds


class Browser:
    """One page of Chromium, and all that it has said and asked for.

    Attributes:
        errors: messages of the console that are no plain logs, exceptions, and refusals.
        asked: every URL that was fetched.
    """

    def __init__(self, profile: Path):
        reading, their_writing = os.pipe()
        their_reading, writing = os.pipe()

        def place():  # the ends of the pipes are 3 and 4 in the browser; neither may be shut first
            ends = [os.dup(their_reading), os.dup(their_writing)]
            for end, number in zip(ends, (3, 4), strict=True):
                os.dup2(end, number)

        command = [CHROMIUM, *_FLAGS, *_QUIET, "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=place,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_reading)
        os.close(their_writing)
        self._in, self._out = os.fdopen(writing, "wb"), os.fdopen(reading, "rb")
        self._numbers, self._events, self._left = itertools.count(1), deque(), b""
        self._session = None
        self.errors, self.asked = [], []
        target = self._tell("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._tell("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self._tell(f"{domain}.enable")

    def close(self):
        self._tell("Browser.close")
        self._process.wait(timeout=20)
        self._in.close()
        self._out.close()

    def open(self, url: str, width: int = 1200, height: int = 800, dark: bool = False):
        self.resize(width, height)
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._tell("Emulation.setEmulatedMedia", features=theme)
        self._events.clear()
        self._tell("Page.navigate", url=url)
        self.wait_for_event("Page.loadEventFired")

    def resize(self, width: int, height: int):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._tell("Emulation.setDeviceMetricsOverride", **size)

    def run(self, expression: str):
        """Return the value of a JavaScript expression; a promise is waited for."""
        told = self._tell(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait_until(self, expression: str):
        """Wait until an expression holds, at most five seconds."""
        wait = f"""new Promise((done) => {{
            const end = Date.now() + 5000;
            const look = () => ({expression}) ? done(true)
                : Date.now() > end ? done(false) : setTimeout(look, 20);
            look();
        }})"""
        assert self.run(wait), expression

    def type(self, text: str):
        self._tell("Input.insertText", text=text)

    def press(self, key: str, code: int = 0):
        letter = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code, **letter}
        self._tell("Input.dispatchKeyEvent", type="keyDown", **named)
        self._tell("Input.dispatchKeyEvent", type="keyUp", **{**named, "text": ""})

    def tree(self) -> list[dict]:
        """Return what a screen reader is told, in its order."""
        return self._tell("Accessibility.getFullAXTree")["nodes"]

    def screenshot(self, file: Path, *, whole: bool = False):
        data = self._tell("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        file.write_bytes(base64.b64decode(data["data"]))

    def print(self, file: Path):
        data = self._tell("Page.printToPDF", printBackground=True)["data"]
        file.write_bytes(base64.b64decode(data))

    def wait_for_event(self, method: str):
        """Wait for an event that has not come since the page was opened or this was asked."""
        while method not in {event["method"] for event in self._events}:
            self._hear()
        self._events.clear()

    def _tell(self, method: str, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._in.write(json.dumps(message).encode() + b"\0")
        self._in.flush()
        while (answer := self._hear()).get("id") != number:
            pass
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _hear(self) -> dict:
        while b"\0" not in self._left:
            assert select.select([self._out], [], [], _PATIENCE)[0], "the browser says nothing"
            part = os.read(self._out.fileno(), 1 << 16)
            assert part, "the browser has gone"
            self._left += part
        line, _, self._left = self._left.partition(b"\0")
        message = json.loads(line)
        method, told = message.get("method"), message.get("params", {})
        if method:
            self._events.append(message)
        if method == "Runtime.exceptionThrown":
            self.errors.append(told["exceptionDetails"]["text"])
        if method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(str(told["args"]))
        if method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(told["entry"]["text"])
        if method == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        return message
