"""The keeper with a real store, a real HTTP server and a clock that is moved by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain import JournalEntry
from orchestrator.home.clock import FakeClock, SystemClock
from orchestrator.store import Store
from orchestrator.tariff.http import FakeHttp, RealHttp, Reply
from orchestrator.tariff.keeper import KEEP, PriceKeeper
from orchestrator.tariff.slots import Source
from orchestrator.tariff.table import TariffConfig
from tests.unit.tariff import price_bodies as say
from tests.unit.tariff import price_server as ps
from tests.unit.tariff.price_bodies import Asked, price
from tests.unit.tariff.price_server import Fault, PriceServer
from tests.unit.tariff.support import DAY, HOUR, QUARTER, utc

#: 12:00 in Berlin
NOON = utc("2026-11-24T11:00")
TODAY, TOMORROW = utc("2026-11-23T23:00"), utc("2026-11-24T23:00")
TICK_SECONDS = 60.0


@dataclass
class House:
    """A keeper that asks ``server``, and time that passes in minutes."""

    server: PriceServer
    path: Path
    keys: dict[str, Any] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOON))

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """As the daemon does at its start."""
        self.store = Store.open(f"sqlite:///{self.path / 'homerun.sqlite'}")
        table = {
            "currency": "EUR",
            "time_zone": "Europe/Berlin",
            "service": "energy_charts",
            "area": "DE-LU",
            "url": self.server.url,
            "adders": {"grid": 0.1},
            **self.keys,
        }
        config = TariffConfig.model_validate(table)
        http = RealHttp(SystemClock(), 2.0, proxies={})
        self.keeper = PriceKeeper(config, self.store, http, self.clock, "home")
        self.keeper.open()

    def restart(self) -> None:
        self.store.close()
        self.open()

    def pass_time(self, until: timedelta) -> int:
        """Let time pass; returns how often the service was asked."""
        before, end = len(self.server.asked), self.clock.now() + until
        while self.clock.now() < end:
            self.clock.advance(TICK_SECONDS)
            self.keeper.refresh()
        return len(self.server.asked) - before

    def until(self, true: Callable[[], bool], within: timedelta = DAY) -> None:
        end = self.clock.now() + within
        while not true():
            assert self.clock.now() < end, "it did not come true"
            self.clock.advance(TICK_SECONDS)
            self.keeper.refresh()

    def journal(self) -> list[JournalEntry]:
        with self.store.transaction() as tx:
            return [item for item in tx.journal.newest(100) if item.kind.startswith("prices")]

    def published(self, asked: Asked) -> tuple[int, bytes]:
        """Energy-Charts with only those days that are published at the clock's time."""
        local = self.clock.now().astimezone(say.BERLIN)
        last = local.date() + (DAY if local.hour >= 13 else timedelta())
        asked.query["end"] = min(asked.query["end"], f"{last:%F}")
        return say.energy_charts(asked)


@pytest.fixture
def server() -> Iterator[PriceServer]:
    with ps.price_server(say.energy_charts) as running:
        yield running


@pytest.fixture
def house(server: PriceServer, tmp_path: Path) -> Iterator[House]:
    made = House(server, tmp_path)
    server.speak = made.published
    yield made
    made.store.close()


def test_before_the_first_answer_prices_are_unknown_and_not_zero(house: House) -> None:
    assert house.keeper.report(24).slots == ()
    view = house.keeper.view()
    assert (view.configured, view.known_until, view.last_success) == (True, None, None)
    assert view.title == "Energy-Charts (Fraunhofer ISE)"


def test_the_first_minutes_bring_today_and_four_weeks_for_the_forecast(house: House) -> None:
    asked = house.pass_time(timedelta(minutes=5))
    assert asked == 2
    report = house.keeper.report(48)
    assert [slot.start for slot in report.slots] == say.grid(NOON, NOON + 2 * DAY, QUARTER)
    published = [slot for slot in report.slots if slot.source is Source.PUBLISHED]
    assert published[-1].end == TOMORROW
    assert published[0].price == price(NOON) / 1000 + Decimal("0.1")
    assert {slot.source for slot in report.slots[len(published) :]} == {Source.FORECAST}
    assert report.unit == "EUR/kWh"
    assert report.source.known_until == TOMORROW
    assert not report.source.failing


def test_tomorrow_comes_after_the_publication_and_then_nothing_is_asked(house: House) -> None:
    house.pass_time(timedelta(minutes=5))
    assert house.pass_time(timedelta(minutes=50)) == 0
    house.until(lambda: house.keeper.view().known_until == TOMORROW + DAY, HOUR / 2)
    assert 120 <= (house.clock.now() - utc("2026-11-24T12:00")).total_seconds() <= 930
    assert house.pass_time(timedelta(hours=20)) == 0
    assert house.journal() == []


def test_a_restart_asks_for_nothing_that_it_knows(house: House) -> None:
    house.pass_time(timedelta(hours=2))
    house.restart()
    assert house.keeper.report(24).slots
    assert house.keeper.view().last_success is not None
    assert house.pass_time(timedelta(hours=3)) == 0


def test_a_dead_service_is_told_once_and_the_run_goes_on_with_a_forecast(
    house: House, server: PriceServer
) -> None:
    house.pass_time(timedelta(hours=2))
    server.fault = Fault.FAILED
    asked = house.pass_time(timedelta(days=3))
    assert asked <= 80
    (entry,) = house.journal()
    assert (entry.kind, entry.severity) == ("prices_failing", "warning")
    assert entry.message == (
        "No new prices from Energy-Charts (Fraunhofer ISE): it failed (HTTP status 502). "
        "They are known until 2026-11-25 23:00 UTC; then a forecast takes over."
    )
    view = house.keeper.view()
    assert (view.trouble, view.failing, view.known_until) == ("broken", True, None)
    assert view.fix.startswith("see whether this machine reaches the internet")
    slots = house.keeper.report(24).slots
    assert len(slots) == 96
    assert {slot.source for slot in slots} == {Source.FORECAST}
    server.fault = None
    house.until(lambda: not house.keeper.view().failing, 2 * HOUR)
    assert [item.kind for item in house.journal()] == ["prices_failing", "prices_back"]
    assert house.keeper.view().known_until is not None


def test_a_publication_that_does_not_come_is_told_after_hours_and_not_at_once(
    house: House, server: PriceServer
) -> None:
    house.pass_time(timedelta(minutes=30))
    server.speak = lambda asked: say.energy_charts(
        Asked(asked.path, {**asked.query, "end": "2026-11-24"}, {}, b"")
    )
    house.pass_time(timedelta(hours=2))
    assert house.keeper.view().trouble == "not_yet"
    assert not house.keeper.view().failing
    assert house.journal() == []
    house.until(lambda: house.keeper.view().failing, timedelta(hours=6))
    assert "the next day is not published yet" in house.journal()[0].message


@pytest.mark.parametrize(
    ("fault", "trouble"),
    [(Fault.WEB_PAGE, "rubbish"), (Fault.FORBIDDEN, "denied"), (Fault.OTHER_JSON, "rubbish")],
)
def test_what_only_a_person_can_mend_is_told_at_once_and_the_old_prices_stay(
    house: House, server: PriceServer, fault: Fault, trouble: str
) -> None:
    house.pass_time(timedelta(minutes=5))
    before = house.keeper.report(12).slots
    server.fault = fault
    house.until(lambda: house.keeper.view().failing, timedelta(hours=2))
    assert house.keeper.view().trouble == trouble
    assert [entry.kind for entry in house.journal()] == ["prices_failing"]
    still_ahead = {slot for slot in before if slot.start >= house.clock.now()}
    assert still_ahead
    assert still_ahead <= set(house.keeper.report(12).slots)


def test_prices_in_another_unit_are_rejected_and_the_old_ones_stay(
    house: House, server: PriceServer
) -> None:
    house.pass_time(timedelta(minutes=5))

    def per_kwh(asked: Asked) -> tuple[int, bytes]:
        body = json.loads(house.published(asked)[1])
        return say.as_json({**body, "price": [value * 1000 for value in body["price"]]})

    server.speak = per_kwh
    house.until(lambda: house.keeper.view().failing, timedelta(hours=2))
    assert "206.3750 EUR per kWh at 2026-11-25T18:45Z" in house.journal()[0].message
    assert house.keeper.view().known_until == TOMORROW


def test_a_revised_price_is_kept_beside_the_old_one_and_told(
    house: House, server: PriceServer
) -> None:
    house.pass_time(timedelta(minutes=5))
    first = f"{price(TODAY):f}".rstrip("0").encode()

    def revised(asked: Asked) -> tuple[int, bytes]:
        status, body = house.published(asked)
        return status, body.replace(b'"price": [' + first, b'"price": [77.5')

    server.speak = revised
    house.until(lambda: house.keeper.view().known_until == TOMORROW + DAY, timedelta(hours=2))
    assert house.journal()[0].message == "Energy-Charts (Fraunhofer ISE) revised 1 price."
    with house.store.transaction() as tx:
        (revision,) = tx.prices.revised_since(house.keeper._source, NOON)
    assert (revision.before, revision.after) == (price(TODAY) / 1000, Decimal("0.0775"))


def test_a_token_file_that_is_missing_ends_nothing_and_heals_by_itself(
    server: PriceServer, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    keys = {"service": "entsoe", "token_file": str(token), "adders": {}}
    house = House(server, tmp_path, keys)
    server.speak = say.entsoe
    house.pass_time(timedelta(minutes=2))
    assert house.keeper.view().trouble == "denied"
    assert str(token) in house.keeper.view().reason
    assert server.asked == []
    token.write_text("s3cret")
    house.until(lambda: house.keeper.view().known_until is not None, timedelta(hours=2))
    assert "s3cret" not in "".join(entry.message for entry in house.journal())
    house.store.close()


def test_a_full_disk_is_no_reason_to_ask_every_half_minute(
    house: House, server: PriceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.store import StoreFailed

    def full() -> None:
        raise StoreFailed("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "transaction", full)
        assert house.pass_time(timedelta(hours=1)) <= 7
        assert house.keeper.view().reason == "they came, but the disk is full"
    house.until(lambda: house.keeper.view().known_until is not None, timedelta(hours=2))


def test_an_answer_that_nobody_foresaw_is_rubbish_and_no_crash(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("orchestrator.tariff.keeper.service_of", bug)
    house.pass_time(timedelta(minutes=2))
    assert house.keeper.view().reason == "unforeseen: ZeroDivisionError"


def test_a_fixed_tariff_asks_nobody(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'homerun.sqlite'}")
    http = FakeHttp(lambda request: Reply(200, b"[]"))
    config = TariffConfig(currency="EUR", price_per_kwh=Decimal("0.3"))
    keeper = PriceKeeper(config, store, http, FakeClock(NOON), "home")
    keeper.open()
    keeper.refresh()
    assert http.requests == []
    assert {slot.price for slot in keeper.report(3).slots} == {Decimal("0.3")}
    assert keeper.view().service == ""
    tariff = keeper.tariff(NOON + 100 * DAY)
    assert tariff is not None
    assert tariff.currency == "EUR"
    nothing = PriceKeeper(TariffConfig(), store, http, FakeClock(NOON), "home")
    nothing.open()
    nothing.refresh()
    assert nothing.tariff(NOON + DAY) is None
    assert not nothing.view().configured
    store.close()


def test_a_plan_of_months_has_prices_to_the_end(house: House) -> None:
    house.pass_time(timedelta(minutes=5))
    until = NOON + 90 * DAY
    tariff = house.keeper.tariff(until)
    assert tariff is not None
    slots = tariff.slots(NOON, until)
    assert (slots[0].start, slots[-1].end, len(slots)) == (NOON, until, 90 * 96)


def test_nord_pool_day_by_day_backfills_politely_newest_first(
    server: PriceServer, tmp_path: Path
) -> None:
    house = House(server, tmp_path, {"service": "nordpool", "area": "SE3"})
    server.speak = say.nordpool
    house.pass_time(timedelta(minutes=16))
    dates = [asked.query["date"] for asked in server.asked]
    assert dates[:3] == ["2026-11-24", "2026-11-23", "2026-11-22"]
    assert dates == sorted(set(dates), reverse=True)
    assert 6 <= len(dates) <= 16
    house.store.close()


def test_old_prices_are_forgotten(house: House) -> None:
    house.pass_time(timedelta(minutes=5))
    house.clock.jump((KEEP + 2 * DAY).total_seconds())
    house.keeper.forget_old()
    with house.store.transaction() as tx:
        assert tx.prices.of(house.keeper._source, NOON - 60 * DAY, TOMORROW).slots == ()
