"""The page in a real browser: what it shows, its line to the daemon, and who can use it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from prometheus_client import CollectorRegistry

from orchestrator.domain import Effect, Hold, Power, Reason
from orchestrator.home.clock import FakeClock
from orchestrator.settings.config import Config
from orchestrator.web.app import build_app
from orchestrator.web.charts import PARTS
from orchestrator.web.fake import FakeBackend
from orchestrator.web.server import WebServer
from orchestrator.web.settings import Settings

from .conftest import Opened, Serve, Site
from .tab import Tab

# --- what it shows --------------------------------------------------------------------------


def test_page_shows_what_the_backend_says_and_asks_nobody_else(tab: Tab, site: Site) -> None:
    tab.ready(site.server.url)
    tab.says(site.backend.snapshot().headline)
    for words in ("8,192", "tokens/s", "118", "41.3 % MFU", "step 210", "37.4 MB", "61", "UPS on"):
        tab.says(words)
    assert tab.ask("document.title") == "6 % · evening · homerun"
    assert tab.ask("document.querySelector('progress').value") == pytest.approx(0.06, abs=0.01)
    assert tab.complaints == []
    assert tab.requests
    assert all(url.startswith(site.server.url) for url in tab.requests)


def test_power_that_no_meter_measured_is_labelled_so(tab: Tab, serve: Serve) -> None:
    site = serve()
    site.backend.show(power=Power(118.0, "simulated", measured=False))
    tab.ready(site.server.url)
    tab.until("document.querySelector('.tiles .badge')?.textContent === 'simulated'")
    site.backend.show(power=Power(118.0, "nvml", measured=True))
    tab.says("measured by nvml")
    assert tab.ask("document.querySelectorAll('.tiles .badge').length") == 0


def test_page_follows_the_run_without_a_reload(tab: Tab, serve: Serve) -> None:
    site = serve()
    tab.open(site.server.url)
    tab.says("Step 300 of 5,000")
    site.backend.advance(50)
    tab.says("Step 350 of 5,000")
    site.backend.write("checkpoint_failed", "The disk is full.", severity="error")
    tab.says("Error: The disk is full.")
    assert tab.complaints == []


def test_hold_is_shown_with_its_reason_its_detail_and_its_end(
    tab: Tab, serve: Serve, clock: FakeClock
) -> None:
    site = serve()
    until = clock.now() + timedelta(hours=3, minutes=12)
    detail = "0.41 EUR/kWh <b>bold</b>"
    site.backend.hold(Hold(Reason.TARIFF, Effect.PAUSE, "tariff", clock.now(), until, detail))
    tab.open(site.server.url)
    tab.until("!!document.querySelector('#holds li')")
    shown = tab.page.inner_text("#holds")
    for words in ("Tariff", "Paused, until", "for another 3 h 12 min", detail):
        assert words in shown, words
    # Nobody's word holds it, so there is nothing of mine to lift.
    assert tab.ask("document.querySelector('#resume').disabled") is True


def test_unknown_figures_are_dashes_not_zeros(tab: Tab, serve: Serve) -> None:
    site = serve()
    site.backend.show(
        loss=None, bits_per_byte=None, mfu=None, eta=None, checkpoint=None, steps=None,
        tokens_per_second=None, power=Power(None, "none", measured=False),
    )  # fmt: skip
    tab.open(site.server.url)
    tab.until("document.querySelectorAll('.tile').length === 8")
    values = "[...document.querySelectorAll('.tile .value span')].map(e => e.innerText)"
    tab.until(f"({values}).filter(v => v === '\N{EN DASH}').length >= 5")
    tab.says("no meter answers")
    assert tab.complaints == []


def test_empty_queue_is_a_page_without_figures(tab: Tab, serve: Serve) -> None:
    site = serve()
    site.backend.empty()
    tab.open(site.server.url)
    tab.says("Nothing to train: the queue is empty.")
    assert tab.ask("document.querySelector('#figures').hidden") is True
    assert tab.ask("document.querySelector('#finish').disabled") is True
    # What the finished run wrote is still to be read.
    tab.says("Written by first.")
    assert tab.complaints == []


def test_plan_is_drawn_and_told_hour_by_hour(tab: Tab, site: Site) -> None:
    tab.ready(site.server.url)
    tab.until("document.querySelector('#plan-read').textContent.startsWith('Now ')")
    tab.says("By the plan it still costs")
    slots = len(site.backend.schedule(48).slots)
    tab.until(f"document.querySelectorAll('#plan-rows tr').length >= {slots - 1}")
    told = tab.ask("document.querySelector('#plan-chart').getAttribute('aria-label')")
    assert "EUR/kWh" in told
    tab.until("!!document.querySelector('#cost-chart .uplot')")
    tab.click("#plan-hours summary")
    tab.says("trains")
    # The chart answers the pointer in words.
    tab.page.hover("#plan-chart .u-over", position={"x": 300, "y": 60})
    tab.until("/ to \\d\\d:\\d\\d: /.test(document.querySelector('#plan-read').textContent)")
    assert tab.complaints == []


def test_without_a_plan_the_page_says_so_in_a_line(
    tab: Tab, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = serve()
    known = site.backend.schedule(48)
    bare = replace(
        known, goal="off", mode="", remark="No goal is set.", finish=None, cost=None, slots=()
    )
    monkeypatch.setattr(site.backend, "schedule", lambda hours: bare)
    tab.ready(site.server.url)
    # The prices are drawn all the same.
    tab.until("!!document.querySelector('#plan-chart .uplot')")
    assert "No goal is set." in tab.page.inner_text("#plan-read")
    assert tab.page.is_hidden("#plan-legend")
    assert tab.complaints == []


def test_without_its_charts_the_page_says_so_and_does_all_the_rest(
    tab: Tab, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PARTS, "uplot.js", replace(PARTS["uplot.js"], place="youplot/gone.js"))
    site = serve()
    tab.open(site.server.url)
    tab.says("No charts: uPlot is missing")
    tab.says("Step 300 of 5,000")
    tab.until("document.querySelectorAll('#plan-rows tr').length > 40")
    tab.until("!document.querySelector('#finish').disabled")
    # The console tells of that one file and of nothing else.
    assert tab.complaints
    assert all("uplot.js" in what for what in tab.complaints)


# --- the line to the daemon -----------------------------------------------------------------


def test_page_says_when_it_lost_the_daemon_and_finds_it_again(
    tab: Tab, serve: Serve, backend: FakeBackend
) -> None:
    site = serve()
    tab.ready(site.server.url)
    site.server.stop()
    tab.until("!document.querySelector('#lost').hidden")
    tab.says("Lost the daemon at")
    controls = "[...document.querySelectorAll('[data-order], [data-control], [data-act]')]"
    assert tab.ask(f"{controls}.every(control => control.disabled)") is True
    backend.write("note", "Written while nobody was connected.")
    with WebServer(host="127.0.0.1", port=site.server.port) as again:
        again.start(backend, Config())
        tab.until("document.body.dataset.line === 'live'")
        tab.until("document.querySelector('#lost').hidden")
        tab.until("!document.querySelector('#finish').disabled")
        tab.says("Written while nobody was connected.")
        tab.until("[...document.querySelectorAll('[data-act]')].every(c => !c.disabled)")
        tab.open("about:blank")


def test_page_asks_for_the_token_until_it_is_the_right_one(tab: Tab, serve: Serve) -> None:
    site = serve(Settings(token="correct-horse"))
    tab.open(site.server.url)
    assert "correct-horse" not in tab.page.content()
    tab.page.fill("#token", "wrong")
    tab.click("form button")
    tab.says("That is not the token.")
    assert tab.barriers() == []
    tab.page.fill("#token", "correct-horse")
    tab.click("form button")
    tab.says("Step 300 of 5,000")
    assert tab.ask("document.cookie") == ""
    # A reload does not ask again.
    tab.open(site.server.url)
    tab.says("Step 300 of 5,000")


def test_page_whose_cookie_has_ended_goes_to_the_form(tab: Tab, serve: Serve) -> None:
    site = serve(Settings(token="correct-horse"))
    tab.open(site.server.url)
    tab.page.fill("#token", "correct-horse")
    tab.click("form button")
    tab.says("Step 300 of 5,000")
    tab.page.context.clear_cookies()
    # The next thing that it reads by itself is enough.
    tab.until("!!document.querySelector('#token')")


# --- who can use it -------------------------------------------------------------------------


@pytest.mark.parametrize("width", [320, 400, 1100])
def test_nothing_sticks_out_sideways(tab_of: Opened, serve: Serve, width: int) -> None:
    site = serve()
    tab = tab_of(width)
    name = "x" * 63
    site.backend.show(name=name, peak_source="measured " * 12)
    site.backend.write("note", "/a/very/long/path" * 20)
    tab.open(site.server.url)
    tab.says(name)
    tab.says("/a/very/long/path")
    tab.until("!!document.querySelector('#plan-chart .uplot')")
    tab.press("p")
    tab.until("document.querySelector('#pause-menu').open")
    wide = (
        "[...document.body.querySelectorAll('*')]"
        ".filter((e) => !e.closest('.scroll, .uplot'))"
        f".filter((e) => e.getBoundingClientRect().right > {width} + 1)"
        ".map((e) => e.outerHTML.slice(0, 120))"
    )
    assert tab.ask(wide) == []
    assert tab.ask("document.documentElement.scrollWidth") <= width


def test_nothing_jumps_while_the_run_goes_on(tab: Tab, serve: Serve) -> None:
    site = serve()
    tab.ready(site.server.url)
    tab.until("document.querySelector('#plan-read').textContent.startsWith('Now ')")
    tab.says("UPS on mains")
    places = (
        "Object.fromEntries([...document.querySelectorAll('h2')]"
        ".filter((e) => e.offsetParent && e.id !== 'saved-title')"
        ".map((e) => [e.textContent, Math.round(e.getBoundingClientRect().top + scrollY)]))"
    )
    tab.says("Energy and money")
    tab.until("!!document.querySelector('#cost-chart .uplot')")
    before = tab.ask(places)
    site.backend.advance(900)
    tab.says("Step 1,200 of 5,000")
    assert tab.ask(places) == before


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1100, "dark")])
def test_nobody_is_shut_out(
    tab_of: Opened, serve: Serve, clock: FakeClock, scheme: str, width: int
) -> None:
    site = serve()
    until = clock.now() + timedelta(hours=3)
    site.backend.hold(Hold(Reason.TARIFF, Effect.PAUSE, "tariff", clock.now(), until, "0.41"))
    site.backend.write("note", "Something odd.", severity="warning")
    tab = tab_of(width, scheme)
    tab.ready(site.server.url)
    tab.until("!!document.querySelector('#holds li') && !!document.querySelector('#saved button')")
    tab.click("#plan-hours summary")
    tab.press("p")
    tab.until("document.querySelector('#pause-menu').open")
    assert tab.barriers() == []
    tab.press("Escape")
    tab.press("?")
    tab.until("document.querySelector('#keys').open")
    assert tab.barriers() == []
    assert tab.complaints == []


def test_focus_is_seen_on_every_control(tab: Tab, site: Site) -> None:
    tab.ready(site.server.url)
    tab.until("!!document.querySelector('#saved button')")
    seen, outlined = set(), "getComputedStyle(document.activeElement).outlineStyle"
    for _ in range(40):
        tab.press("Tab")
        if tab.ask("document.activeElement === document.body"):
            break
        name = tab.focused()
        assert tab.ask(outlined) == "solid", name
        seen.add(name)
    assert {"Pause", "Finish…", "Hour by hour", "Save now", "winter", "metrics"} <= seen


def test_app_can_be_built_with_a_registry_of_ones_own(backend: FakeBackend) -> None:
    registry = CollectorRegistry()
    app = build_app(backend, Settings(), registry)
    with WebServer(host="127.0.0.1", port=0) as server:
        server.serve(app)
        assert httpx.get(f"{server.url}/metrics", trust_env=False).text == ""
