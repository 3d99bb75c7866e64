"""Draws the README's pictures anew: the real page and the real live view over an invented house.

    python -m deploy.pictures [DIRECTORY]

Needs Chromium; with the font Inter installed (fonts-inter) they look as on most machines.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from datetime import datetime
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.text import Text
from starlette.applications import Starlette

from deploy.scene import MORNING, NIGHT, Scene
from orchestrator.cli.page import View, page
from orchestrator.cli.render import UNICODE
from orchestrator.domain import to_json
from orchestrator.web.app import build_app
from orchestrator.web.server import WebServer
from orchestrator.web.settings import Settings
from orchestrator.web.trail import MOST_POINTS, Trail

ZONE = "Europe/Berlin"
#: name, moment, width and height in CSS pixels, colours, what is on top
PICTURES = (
    ("page.png", MORNING, 1100, 1340, "light", ".bar"),
    ("page-dark.png", NIGHT, 1100, 1130, "dark", "#cost-title"),
    ("page-phone.png", MORNING, 400, 1500, "light", ".bar"),
)
MOST_BYTES = 150_000


def main(arguments: list[str]) -> int:
    """Draw all; returns the number of pictures that are too large."""
    folder = Path(arguments[0]) if arguments else Path(__file__).parent / "screenshots"
    os.environ["TZ"] = ZONE
    time.tzset()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_chromium(), args=["--no-sandbox", "--font-render-hinting=none"]
        )
        large = [_draw(browser, folder, *picture) for picture in PICTURES]
        large.append(_draw_terminal(browser, folder))
        browser.close()
    return sum(large)


def _chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise SystemExit("no Chromium here: apt-get install --no-install-recommends chromium")


def _draw(
    browser: Browser, folder: Path, name: str, now: datetime, width: int, height: int,
    scheme: str, top: str,
) -> bool:  # fmt: skip
    scene = Scene(now)
    with WebServer(host="127.0.0.1", port=0) as server:
        server.serve(_app_after_a_day(scene))
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            timezone_id=ZONE,
            locale="en-GB",
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.clock.set_fixed_time(now)
        page.goto(server.url)
        page.wait_for_selector("#cost-chart .uplot", timeout=60_000)
        page.wait_for_selector("#power-chart .uplot", timeout=60_000)
        page.wait_for_timeout(1_500)
        path = folder / name
        place = page.evaluate(f"document.querySelector('{top}').getBoundingClientRect().top")
        page.evaluate(f"scrollTo(0, {place} - 20)")
        page.wait_for_timeout(300)
        page.screenshot(path=path)
        context.close()
    return _is_too_large(path)


def _draw_terminal(browser: Browser, folder: Path) -> bool:
    """What ``homerun status --watch`` shows, as rich draws a terminal."""
    scene = Scene(NIGHT)
    view = View(NIGHT, 96, UNICODE)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=98, file=nowhere, force_terminal=True)
        for line in page(to_json(scene.snapshot()), view):
            console.print(Text.from_ansi(line, no_wrap=True))
    svg = console.export_svg(title="homerun status --watch")
    drawn = browser.new_page(viewport={"width": 1100, "height": 800})
    drawn.set_content(f'<body style="margin:0">{svg}</body>')
    path = folder / "terminal.png"
    drawn.locator("svg").screenshot(path=path)
    drawn.close()
    return _is_too_large(path)


def _is_too_large(path: Path) -> bool:
    size = path.stat().st_size
    print(f"{path}: {size} bytes")
    if size > MOST_BYTES:
        print(f"{path} is larger than {MOST_BYTES} bytes", file=sys.stderr)
    return size > MOST_BYTES


def _app_after_a_day(scene: Scene) -> Starlette:
    """The app, whose trail has seen the day before."""
    app = build_app(scene, Settings(), clock=scene.clock)
    trail: Trail = app.state.trail
    for _ in range(MOST_POINTS - 1):
        trail.look()
        scene.clock.advance(24 * 3600 / MOST_POINTS)
    return app


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
