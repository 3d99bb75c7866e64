"""A headless Chromium on a leash: the DevTools protocol over a pipe, one page."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orchestrator.home.clock import SystemClock

from .tools import tool_or_skip

_clock = SystemClock()


class Browser:
    """One page. Collects what it complains about and what it asks for."""

    def __init__(
        self, profile: Path, width: int = 1100, height: int = 900, options: str = ""
    ) -> None:
        to_child, self._out = _high_pipe()
        self._in, from_child = _high_pipe(reverse=True)
        command = (
            'exec "$0" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage'
            " --no-first-run --disable-background-networking --disable-component-update"
            " --disable-sync"
            f' --remote-debugging-pipe --user-data-dir="$1" --window-size={width},{height}'
            f" {options} about:blank 3<&{to_child} 4>&{from_child}"
        )
        self._process = subprocess.Popen(
            ["bash", "-c", command, tool_or_skip("chromium", "chromium"), str(profile)],
            pass_fds=(to_child, from_child),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_child)
        os.close(from_child)
        self._number = 0
        self._rest = b""
        self._session = ""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._attach()

    def _attach(self) -> None:
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(30.0)
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self, timeout_seconds: float) -> dict[str, Any]:
        deadline = _clock.monotonic() + timeout_seconds
        while b"\0" not in self._rest:
            left = deadline - _clock.monotonic()
            assert select.select([self._in], [], [], max(0.0, left))[0], "chromium is silent"
            part = os.read(self._in, 1 << 16)
            assert part, "chromium is gone"
            self._rest += part
        raw, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(str(params["entry"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str(params["args"]))

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded; its stream goes on after that."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def _ask_in_passing(self, expression: str) -> Any:
        try:
            return self.ask(expression)
        except AssertionError:
            return None

    def until(self, expression: str, timeout_seconds: float = 20.0) -> Any:
        """Wait until an expression becomes true; its value."""
        deadline = _clock.monotonic() + timeout_seconds
        # between two pages there is no body, and for a moment nobody to ask
        while not (value := self._ask_in_passing(expression)):
            assert _clock.monotonic() < deadline, (
                f"never true: {expression}; the page says: {self.ask('document.body.innerText')}"
            )
            select.select([self._in], [], [], 0.05)
        return value

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key as a person does."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path: Path, *, width: int, scheme: str = "light") -> None:
        """The whole page as PNG, ``width`` CSS pixels wide, in a light or dark ``scheme``."""
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.ask("new Promise((done) => setTimeout(done, 600))")
        height = self.ask("document.documentElement.scrollHeight")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=int(height),
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.ask("new Promise((done) => setTimeout(done, 300))")
        shot = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser and all that it started."""
        os.close(self._out)
        os.close(self._in)
        # It is the leader of a session of its own: nobody else's processes are in that group.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _high_pipe(*, reverse: bool = False) -> tuple[int, int]:
    """Both ends of a pipe, the first one above 9, where no redirection of 3 and 4 can hit it.

    The child's end is the reading one, or with ``reverse`` the writing one, given second.
    """
    read, write = os.pipe()
    child = write if reverse else read
    high = fcntl.fcntl(child, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(child)
    return (read, high) if reverse else (high, write)
