"""The page in a real browser: each control does what it says."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain import Effect
from orchestrator.errors import Refused
from orchestrator.home.clock import FakeClock

from .conftest import Eventually, Opened, Serve, Site, the_hold
from .tab import Tab


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
