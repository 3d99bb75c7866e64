"""The page in a real browser: what it shows, what its controls do, and who can use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from playwright.sync_api import Browser as Chromium
from prometheus_client import CollectorRegistry

from orchestrator.domain import Effect, Hold, Power, Reason
from orchestrator.errors import Refused
from orchestrator.home.clock import FakeClock
from orchestrator.settings.config import Config
from orchestrator.web.app import build_app
from orchestrator.web.charts import PARTS
from orchestrator.web.fake import FakeBackend
from orchestrator.web.server import WebServer
from orchestrator.web.settings import Settings

from .conftest import Eventually, Serve, Site
from .tab import Tab, chromium

Opened = Callable[..., Tab]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def tab_of(browser: Chromium) -> Iterator[Opened]:
    """A function that opens a forgetful tab: its width, and the system's colours."""
    contexts = []

    def opened(width: int = 1100, scheme: str = "light") -> Tab:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        return Tab(context.new_page())

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def tab(tab_of: Opened) -> Tab:
    return tab_of()


def the_hold(site: Site, eventually: Eventually) -> Hold:
    eventually(lambda: site.backend.snapshot().holds)
    (hold,) = site.backend.snapshot().holds
    return hold


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


# --- controls -------------------------------------------------------------------------------


def test_run_is_paused_and_resumed_by_keyboard_alone(
    tab: Tab, serve: Serve, eventually: Eventually
) -> None:
    site = serve()
    tab.ready(site.server.url)
    walked = []
    while not walked or walked[-1] != "Pause":
        tab.press("Tab")
        walked.append(tab.focused())
        assert len(walked) < 10, walked
    assert walked[:3] == ["To the run", "Colours: as the system", "Keyboard shortcuts"]
    tab.press("Enter")
    tab.until("document.querySelector('#pause-menu').open")
    tab.press("Tab")
    tab.press("Enter")
    hold = the_hold(site, eventually)
    assert (hold.effect, hold.source) == (Effect.PAUSE, "page")
    assert hold.until == hold.since + timedelta(hours=1)
    tab.until("document.body.hasAttribute('data-held')")
    tab.says("Paused until")
    tab.until("!document.querySelector('#resume').disabled")
    tab.press("r")
    eventually(lambda: not site.backend.snapshot().holds)
    tab.says("It goes on.")
    assert tab.complaints == []


@pytest.mark.parametrize(
    ("choice", "effect", "lasts"),
    [
        ("For 3 hours", Effect.PAUSE, timedelta(hours=3)),
        ("Until I resume", Effect.PAUSE, None),
        ("Until I resume, and free the memory", Effect.RELEASE, None),
    ],
)
def test_each_pause_lasts_as_it_says(
    tab: Tab, serve: Serve, eventually: Eventually, choice: str, effect: Effect,
    lasts: timedelta | None,
) -> None:  # fmt: skip
    site = serve()
    tab.ready(site.server.url)
    tab.press("p")
    tab.page.get_by_role("button", name=choice, exact=True).click()
    hold = the_hold(site, eventually)
    assert (hold.effect, hold.until) == (effect, lasts and hold.since + lasts)
    assert tab.page.get_attribute("#pause-menu", "open") is None


@pytest.mark.parametrize("way", ["button", "time"])
def test_pause_until_an_hour_ends_when_the_clock_next_shows_it(
    tab: Tab, serve: Serve, clock: FakeClock, eventually: Eventually, way: str
) -> None:
    site = serve()
    # The browser lives at the time of the daemon, late in the evening of its own zone.
    tab.page.clock.set_fixed_time(clock.now())
    tab.ready(site.server.url)
    tab.press("p")
    if way == "button":
        tab.click("[data-clock='07:00']")
        wanted = "07:00"
    else:
        tab.page.fill("#until", "12:34")
        tab.click("#until-form button")
        wanted = "12:34"
    until = the_hold(site, eventually).until
    assert until is not None
    assert timedelta(0) < until - clock.now() <= timedelta(days=1)
    shown = tab.ask(f"new Date({int(until.timestamp() * 1000)}).toTimeString().slice(0, 5)")
    assert shown == wanted


def test_finish_asks_first_and_then_does_it(tab: Tab, serve: Serve, eventually: Eventually) -> None:
    site = serve()
    tab.ready(site.server.url)
    tab.click("#finish")
    tab.click("#finish-ask [data-close]")
    assert site.backend.snapshot().holds == ()
    tab.press("f")
    tab.click("#finish-yes")
    assert the_hold(site, eventually).effect is Effect.FINISH
    tab.says("It stops at the next checkpoint.")
    tab.until("!document.querySelector('#finish-ask').open")
    tab.until("document.querySelector('#resume').disabled === false")


def test_checkpoint_is_saved_pinned_and_let_go(
    tab: Tab, serve: Serve, eventually: Eventually
) -> None:
    site = serve()
    tab.ready(site.server.url)
    tab.until("document.querySelectorAll('#saved li').length === 1")
    tab.press("s")
    tab.says("Saved at step 300.")
    tab.until("document.querySelectorAll('#saved li').length === 2")
    newest = site.backend.checkpoints("evening")[0]
    pin = "#saved li:first-child [data-act=pin]"
    tab.click(pin)
    eventually(lambda: site.backend.pinned == {newest.name})
    tab.until(f"document.querySelector('{pin}').getAttribute('aria-pressed') === 'true'")
    # The row was drawn anew, but the focus has stayed.
    assert "keep it" in tab.focused()
    tab.press("Enter")
    eventually(lambda: site.backend.pinned == set())
    tab.until(f"document.querySelector('{pin}').textContent === 'Pin'")
    assert tab.complaints == []


def test_waiting_run_moves_in_the_queue(tab: Tab, serve: Serve, eventually: Eventually) -> None:
    site = serve()
    tab.ready(site.server.url)
    tab.page.get_by_label("Raise the priority of winter").click()
    eventually(lambda: site.backend.run("winter").priority == 1)
    tab.says("waits, priority 1")
    tab.page.get_by_label("Lower the priority of winter").click()
    eventually(lambda: site.backend.run("winter").priority == 0)
    tab.says("waits, priority 0")


def test_another_run_can_be_looked_at_and_back(tab: Tab, serve: Serve) -> None:
    site = serve()
    tab.ready(site.server.url)
    tab.until("document.querySelectorAll('#saved li').length === 1")
    tab.page.get_by_role("button", name="winter", exact=True).click()
    tab.says("Of winter. None yet.")
    # The sentence on top stays that of the run that has the card.
    assert "evening" in tab.page.inner_text("h1")
    tab.page.get_by_role("button", name="evening", exact=True).click()
    tab.until("document.querySelectorAll('#saved li').length === 1")
    tab.until("!document.querySelector('#loss-section').hidden")
    assert tab.complaints == []


def test_journal_shows_more_when_asked(tab: Tab, serve: Serve) -> None:
    site = serve()
    for number in range(20):
        site.backend.write("note", f"Line {number}.")
    tab.open(site.server.url)
    tab.until("document.querySelectorAll('#journal li').length === 12")
    tab.click("#journal-more")
    tab.until("document.querySelectorAll('#journal li').length === 22")
    assert tab.page.is_hidden("#journal-more")


def test_colours_go_through_all_three_and_are_remembered(tab_of: Opened, site: Site) -> None:
    tab = tab_of(scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    tab.open(site.server.url)
    dark = tab.ask(ground)
    tab.click("#theme")
    light = tab.ask(ground)
    assert light != dark
    tab.press("t")
    assert tab.ask(ground) == dark
    tab.press("t")
    tab.press("t")
    tab.open(site.server.url)
    assert tab.ask(ground) == light
    assert tab.ask("document.documentElement.dataset.theme") == "light"
    assert tab.complaints == []


def test_single_keys_are_told_and_can_be_switched_off(tab: Tab, serve: Serve) -> None:
    site = serve()
    tab.ready(site.server.url)
    tab.press("?")
    tab.until("document.querySelector('#keys').open")
    for key in ("p", "r", "f", "s", "t", "?"):
        assert tab.page.get_by_text(key, exact=True).count() >= 1
    tab.click("#keys-on")
    tab.press("Escape")
    tab.until("!document.querySelector('#keys').open")
    tab.press("p")
    assert tab.page.get_attribute("#pause-menu", "open") is None
    tab.open(site.server.url)
    assert tab.page.is_checked("#keys-on") is False


def test_refused_order_is_told_and_nothing_has_changed(
    tab: Tab, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = serve()
    tab.ready(site.server.url)

    def refuse(**_: object) -> None:
        raise Refused("there is nothing to finish", "homerun runs")

    monkeypatch.setattr(site.backend, "finish", refuse)
    tab.click("#finish")
    tab.click("#finish-yes")
    tab.says("Not done: there is nothing to finish (homerun runs)")
    assert site.backend.snapshot().holds == ()


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
