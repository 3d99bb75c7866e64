"""A headless Chromium of the system's, driven by Playwright: one page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import ConsoleMessage, Error, Page, sync_playwright

from orchestrator.home.clock import SystemClock

from .tools import tool_or_skip

_clock = SystemClock()
#: what a slow machine may take; nothing is measured by it
_PATIENCE_SECONDS = 30.0


@contextmanager
def chromium() -> Iterator[Chromium]:
    """The browser of the distribution; none is ever downloaded."""
    path = tool_or_skip("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """One page of a browser that remembers nothing. Collects complaints and requests."""

    def __init__(self, page: Page) -> None:
        self.page = page
        #: errors and warnings on the console, among them what the policy forbade
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location}")

    def open(self, url: str) -> None:
        """Go to a page; its stream goes on after that."""
        self.page.goto(url, wait_until="load")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.page.evaluate(expression)

    def _ask_in_passing(self, expression: str) -> Any:
        try:
            return self.ask(expression)
        except Error:
            # between two pages there is nobody to ask
            return None

    def until(self, expression: str) -> Any:
        """Wait until an expression becomes true; its value."""
        deadline = _clock.monotonic() + _PATIENCE_SECONDS
        # Not wait_for_function: that evaluates inside of the page, where the policy forbids it.
        while not (value := self._ask_in_passing(expression)):
            assert _clock.monotonic() < deadline, (
                f"never true: {expression}; the page says: {self.text()}"
            )
            self.page.wait_for_timeout(20)
        return value

    def text(self) -> str:
        """All that is to be read."""
        return self.page.inner_text("body")

    def says(self, words: str) -> None:
        """Wait until the page shows these words."""
        self.until(f"document.body.innerText.includes({words!r})")

    def ready(self, url: str) -> None:
        """Open the page, and wait until its controls and its charts are there."""
        self.open(url)
        self.until("!document.querySelector('#finish').disabled")
        self.until("document.querySelectorAll('.chart .uplot').length >= 3")

    def click(self, selector: str) -> None:
        """As a person does: it must be visible, enabled, and not covered."""
        self.page.click(selector)

    def press(self, key: str) -> None:
        """A key, wherever the focus is."""
        self.page.keyboard.press(key)

    def focused(self) -> str:
        """What the focus is on, in its own words."""
        told: str = self.ask(
            "document.activeElement.getAttribute('aria-label')"
            " || document.activeElement.textContent.trim()"
        )
        return told

    def barriers(self) -> list[str]:
        """What axe says would shut somebody out."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{item['id']}: {item['help']}: {[node['html'][:120] for node in item['nodes']]}"
            for item in found
        ]
