"""The page: its files, and what a real browser makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from orchestrator.config import Config
from orchestrator.domain import Effect, Hold, Power, Reason
from orchestrator.errors import Refused
from orchestrator.home.clock import FakeClock
from orchestrator.web.app import STATIC, build_app
from orchestrator.web.fake import FakeBackend
from orchestrator.web.server import WebServer
from orchestrator.web.settings import Settings

from .browser import Browser
from .conftest import Eventually, Serve, Site

TEXT = "document.body.innerText"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Browser]:
    """One browser for all tests, forgetful between them."""
    browser.requests.clear()
    browser.complaints.clear()
    yield browser
    browser.open("about:blank")


# --- files ----------------------------------------------------------------------------------


def test_all_files_together_stay_small() -> None:
    sizes = {path.name: path.stat().st_size for path in STATIC.iterdir()}
    assert set(sizes) == {"index.html", "homerun.css", "homerun.js", "favicon.svg", "login.css"}
    assert sum(sizes.values()) < 200_000


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: str(path.name))
def test_no_file_names_another_server(path: Path) -> None:
    addresses = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+[^\s\"')]*", path.read_text()))
    # The name of the SVG language, which nobody fetches.
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_page_uses_nothing_inline_that_the_policy_forbids() -> None:
    html = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", html)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("homerun.js", "text/javascript"),
        ("homerun.css", "text/css"),
        ("favicon.svg", "image/svg+xml"),
    ],
)
def test_files_come_with_their_kind_and_are_asked_for_again(
    site: Site, name: str, kind: str
) -> None:
    first = site.client.get(f"/static/{name}")
    assert first.headers["content-type"].startswith(kind)
    assert first.headers["cache-control"] == "no-cache"
    headers = {"if-none-match": first.headers["etag"]}
    assert site.client.get(f"/static/{name}", headers=headers).status_code == 304


# --- in a browser ---------------------------------------------------------------------------


def test_page_shows_what_the_backend_says_and_asks_nobody_else(page: Browser, site: Site) -> None:
    page.open(site.server.url)
    page.until("document.body.dataset.line === 'live'")
    headline = site.backend.snapshot().headline
    page.until(f"document.querySelector('h1').textContent === {headline!r}")
    page.until("!!document.querySelector('#curve polyline')")
    shown = page.ask(TEXT)
    for words in ("8,192", "tokens/s", "118", "estimated", "41.3 %", "step 210", "37.4 MB"):
        assert words in shown, words
    assert page.ask("document.title") == "6 % · evening · homerun"
    assert page.ask("document.querySelector('progress').value") == pytest.approx(0.06, abs=0.01)
    assert page.complaints == []
    assert page.requests
    assert all(url.startswith(site.server.url) for url in page.requests)


def test_page_follows_the_run_without_a_reload(page: Browser, serve: Serve) -> None:
    site = serve()
    page.open(site.server.url)
    page.until(f"{TEXT}.includes('Step 300 of 5,000')")
    site.backend.advance(50)
    page.until(f"{TEXT}.includes('Step 350 of 5,000')")
    site.backend.write("checkpoint_failed", "The disk is full.", severity="error")
    page.until(f"{TEXT}.includes('Error: The disk is full.')")
    assert page.complaints == []


def test_run_is_paused_and_resumed_by_keyboard_alone(
    page: Browser, serve: Serve, eventually: Eventually
) -> None:
    site = serve()
    page.open(site.server.url)
    page.until("!document.querySelector('#finish').disabled")
    page.press("Tab", 9)
    assert page.ask("document.activeElement.textContent") == "Pause"
    page.press("Enter", 13, "\r")
    page.until("document.querySelector('#pause-menu').open")
    page.press("Tab", 9)
    page.press("Enter", 13, "\r")
    eventually(lambda: site.backend.snapshot().holds)
    (hold,) = site.backend.snapshot().holds
    assert (hold.effect, hold.source) == (Effect.PAUSE, "page")
    assert hold.until == hold.since + timedelta(hours=1)
    page.until("document.body.hasAttribute('data-held')")
    page.until("document.querySelector('#said').textContent.startsWith('Paused until')")
    page.ask("document.querySelector('#resume').focus()")
    page.press("Enter", 13, "\r")
    eventually(lambda: not site.backend.snapshot().holds)
    page.until("document.querySelector('#said').textContent === 'It goes on.'")
    assert page.complaints == []


def test_release_and_finish_do_what_they_say(
    page: Browser, serve: Serve, eventually: Eventually
) -> None:
    site = serve()
    page.open(site.server.url)
    page.until("!document.querySelector('#finish').disabled")
    page.ask("document.querySelector('[data-release]').click()")
    eventually(lambda: [hold.effect for hold in site.backend.snapshot().holds] == ["release"])
    page.ask("document.querySelector('#finish').click()")
    eventually(lambda: [hold.effect for hold in site.backend.snapshot().holds] == ["finish"])
    page.until("document.querySelector('#finish').disabled")
    assert [hold.effect for hold in site.backend.snapshot().holds] == ["finish"]


def test_hold_is_shown_with_its_reason_its_detail_and_its_end(
    page: Browser, serve: Serve, clock: FakeClock
) -> None:
    site = serve()
    until = clock.now() + timedelta(hours=3, minutes=12)
    detail = "0.41 EUR/kWh <b>bold</b>"
    site.backend.hold(Hold(Reason.TARIFF, Effect.PAUSE, "tariff", clock.now(), until, detail))
    page.open(site.server.url)
    page.until("!!document.querySelector('#holds li')")
    shown = page.ask("document.querySelector('#holds').innerText")
    for words in ("Tariff", "paused, until", "for another 3 h 12 min", detail):
        assert words in shown, words
    # Nobody's word holds it, so there is nothing of mine to lift.
    assert page.ask("document.querySelector('#resume').disabled") is True


def test_unknown_figures_are_dashes_not_zeros(page: Browser, serve: Serve) -> None:
    site = serve()
    site.backend.show(
        loss=None, bits_per_byte=None, mfu=None, eta=None, checkpoint=None, steps=None,
        tokens_per_second=None, power=Power(None, "none", measured=False),
    )  # fmt: skip
    page.open(site.server.url)
    page.until("document.querySelectorAll('.tile').length === 9")
    values = page.ask("[...document.querySelectorAll('.tile .value span')].map(e => e.innerText)")
    assert values.count("\N{EN DASH}") == 7
    assert "no meter answers" in page.ask(TEXT)
    assert page.complaints == []


def test_empty_queue_is_a_page_without_figures(page: Browser, serve: Serve) -> None:
    site = serve()
    site.backend.empty()
    page.open(site.server.url)
    page.until(f"{TEXT}.includes('Nothing to train: the queue is empty.')")
    assert page.ask("document.querySelector('#figures').hidden") is True
    assert page.ask("document.querySelector('#finish').disabled") is True
    # What the finished run wrote is still to be read.
    page.until(f"{TEXT}.includes('Written by first.')")
    assert page.complaints == []


def test_page_says_when_it_lost_the_daemon_and_finds_it_again(
    page: Browser, serve: Serve, backend: FakeBackend
) -> None:
    site = serve()
    page.open(site.server.url)
    page.until("document.body.dataset.line === 'live'")
    page.until("!document.querySelector('#finish').disabled")
    site.server.stop()
    page.until("!document.querySelector('#lost').hidden")
    assert "Lost the daemon at" in page.ask(TEXT)
    assert page.ask("document.querySelector('#finish').disabled") is True
    backend.write("note", "Written while nobody was connected.")
    with WebServer(host="127.0.0.1", port=site.server.port) as again:
        again.start(backend, Config())
        page.until("document.body.dataset.line === 'live'")
        page.until("document.querySelector('#lost').hidden")
        page.until("!document.querySelector('#finish').disabled")
        page.until(f"{TEXT}.includes('Written while nobody was connected.')")
        page.open("about:blank")


def test_page_asks_for_the_token_until_it_is_the_right_one(page: Browser, serve: Serve) -> None:
    site = serve(Settings(token="correct-horse"))
    give = (
        "document.querySelector('#token').value = {!r};"
        "document.querySelector('form button').click()"
    )
    page.open(site.server.url)
    page.until("document.querySelector('form') !== null")
    assert "correct-horse" not in page.ask("document.documentElement.outerHTML")
    page.ask(give.format("wrong"))
    page.until("document.querySelector('[role=alert]')?.textContent.includes('not the token')")
    page.ask(give.format("correct-horse"))
    page.until(f"{TEXT}.includes('Step 300 of 5,000')")
    assert page.ask("document.cookie") == ""
    # A reload does not ask again.
    page.open(site.server.url)
    page.until(f"{TEXT}.includes('Step 300 of 5,000')")


def test_refused_order_is_told_beside_the_buttons(
    page: Browser, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = serve()
    page.open(site.server.url)
    page.until("!document.querySelector('#finish').disabled")

    def refuse(**_: object) -> None:
        raise Refused("there is nothing to finish", "homerun runs")

    monkeypatch.setattr(site.backend, "finish", refuse)
    page.ask("document.querySelector('#finish').click()")
    said = "Not done: there is nothing to finish (homerun runs)"
    page.until(f"document.querySelector('#said').textContent === {said!r}")
    assert site.backend.snapshot().holds == ()


@pytest.mark.parametrize("width", [320, 400, 1100])
def test_nothing_sticks_out_sideways(page: Browser, serve: Serve, width: int) -> None:
    site = serve()
    name = "x" * 63
    site.backend.show(name=name, peak_source="measured " * 12)
    site.backend.write("note", "/a/very/long/path" * 20)
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    page.call("Emulation.setDeviceMetricsOverride", **metrics)
    page.open(site.server.url)
    page.until(f"{TEXT}.includes({name!r})")
    page.until(f"{TEXT}.includes('/a/very/long/path')")
    wide = (
        "[...document.body.querySelectorAll('*')]"
        f".filter((e) => e.getBoundingClientRect().right > {width} + 1)"
        ".map((e) => e.outerHTML.slice(0, 120))"
    )
    assert page.ask(wide) == []
    assert page.ask("document.documentElement.scrollWidth") <= width
    page.call("Emulation.clearDeviceMetricsOverride")


def test_every_control_has_a_name_and_every_figure_a_label(page: Browser, site: Site) -> None:
    page.open(site.server.url)
    page.until("!!document.querySelector('#curve polyline')")
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    page.call("Accessibility.disable")
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", "").strip())
        for node in nodes
        if not node["ignored"]
    }
    roles = {"button", "progressbar", "link", "heading", "image", "DisclosureTriangle"}
    assert not [role for role, name in named if role in roles and not name]
    assert any(role == "progressbar" and "Step 300" in name for role, name in named)
    assert any(role == "image" and "The loss went from" in name for role, name in named)


def test_app_can_be_built_with_a_registry_of_ones_own(backend: FakeBackend) -> None:
    registry = CollectorRegistry()
    app = build_app(backend, Settings(), registry)
    with WebServer(host="127.0.0.1", port=0) as server:
        server.serve(app)
        assert httpx.get(f"{server.url}/metrics", trust_env=False).text == ""
