"""The ledger through the supervisor and the store: nothing twice, nothing silently gone."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.home.clock import FakeClock
from orchestrator.ledger.entry import Entry
from orchestrator.ledger.keeper import LedgerKeeper, NoPrices
from orchestrator.store import Store, StoreFailed
from orchestrator.tariff.http import FakeHttp, Reply
from orchestrator.tariff.keeper import PriceKeeper
from orchestrator.tariff.slots import PriceSeries
from orchestrator.tariff.table import TariffConfig
from tests.unit.supervisor.rig import Rig
from tests.unit.tariff.support import QUARTER, config, series, utc

START = utc("2026-12-01T00:00")


class MeteredRig(Rig):
    """A supervisor whose prices are those of a [tariff] table."""

    table: TariffConfig = TariffConfig()

    def open(self) -> None:
        super().open()
        http = FakeHttp(lambda request: Reply(404))
        self.prices = PriceKeeper(self.table, self.store, http, self.clock, "rig")
        self.prices.open()
        self.supervisor.ledger = LedgerKeeper(self.prices)
        self.supervisor.recover()

    def publish(self, prices: PriceSeries) -> None:
        with self.store.transaction() as tx:
            tx.prices.put(self.prices._source, prices, self.clock.now())
        self.prices.open()

    def run_for(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.supervisor.tick()

    def rows(self) -> list[Entry]:
        with self.store.transaction() as tx:
            return tx.ledger.entries()

    def rate_again(self) -> int:
        return self.supervisor.ledger.rate_again(self.store, self.clock.now())


def rig(folder: Path, table: TariffConfig | None = None) -> MeteredRig:
    made = type("Made", (MeteredRig,), {"table": table or TariffConfig()})(folder)
    assert isinstance(made, MeteredRig)
    return made


FLAT = config(price_per_kwh=0.36)
MARKET = config(service="energy_charts", area="DE-LU")


def joules(rows: list[Entry], run: str | None = "month") -> float:
    return sum(row.microjoules for row in rows if row.run == run) / 1e6


def test_what_a_run_used_stands_in_the_ledger_with_its_price(tmp_path: Path) -> None:
    house = rig(tmp_path, FLAT)
    house.submit()
    house.train(0, 3)
    house.run_for(200)
    house.supervisor.flush()
    rows = [row for row in house.rows() if row.run == "month"]
    assert joules(rows) == pytest.approx(180 * 100.0, abs=200)
    assert sum(row.tokens for row in rows) == 3 * 64
    assert {row.rating.price for row in rows} == {Decimal("0.36")}
    assert all(row.seconds <= 61 for row in rows)
    house.store.close()


def test_a_clean_end_writes_everything_and_agrees_with_the_counter(tmp_path: Path) -> None:
    house = rig(tmp_path)
    house.submit()
    house.train(0, 1)
    house.run_for(95)
    house.supervisor.close()
    counted = house.supervisor.books.total("month", "energy_joules")
    rows = house.rows()
    assert joules(rows) == pytest.approx(counted, abs=1e-3)
    assert {row.cost for row in rows} == {None}
    house.store.close()


def test_a_killed_daemon_loses_the_open_minute_and_counts_nothing_twice(tmp_path: Path) -> None:
    house = rig(tmp_path, FLAT)
    house.submit()
    house.train(0, 1)
    house.run_for(150)
    house.crash()
    rows = house.rows()
    used = joules(rows)
    assert 60 * 100.0 <= used <= 151 * 100.0
    ended = [e for e in house.commands.journal(limit=100) if e.kind == "attempt_ended"][-1]
    last = max(row.end for row in rows if row.run == "month")
    assert ended.data["ledger_until"] == last.isoformat().replace("+00:00", "Z")
    assert "ledger_gap" in house.kinds()
    house.run_for(65)
    house.supervisor.flush()
    assert joules(house.rows()) == used
    starts = [row.start for row in house.rows()]
    assert len(starts) == len(set(starts))
    house.store.close()


def test_a_store_that_fails_gets_the_same_rows_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = rig(tmp_path, FLAT)
    house.submit()
    house.train(0, 1)
    house.run_for(65)
    before = len(house.rows())

    def full(*_: object) -> None:
        raise StoreFailed("the disk is full", "make room")

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.store.heartbeat.Heartbeat.beat", full)
        house.clock.advance(1)
        with pytest.raises(StoreFailed):
            house.supervisor.flush()
    assert len(house.rows()) == before
    house.supervisor.close()
    counted = house.supervisor.books.total("month", "energy_joules")
    assert joules(house.rows()) == pytest.approx(counted, abs=1e-3)
    house.store.close()


def test_rows_are_cut_where_the_price_changes(tmp_path: Path) -> None:
    house = rig(tmp_path, MARKET)
    house.publish(series(START, ["0.10", "0.20", "0.30", "0.40"], QUARTER))
    house.submit()
    house.train(0, 1)
    house.run_for(15 * 60 + 120)
    house.supervisor.close()
    rows = [row for row in house.rows() if row.run == "month"]
    assert {row.rating.price for row in rows} == {Decimal("0.1"), Decimal("0.2")}
    border = START + QUARTER
    assert not any(row.start < border < row.end for row in rows)
    house.store.close()


def test_a_revised_price_adds_a_rating_and_overwrites_none(tmp_path: Path) -> None:
    house = rig(tmp_path, MARKET)
    house.publish(series(START, ["0.10", "0.20"]))
    house.submit()
    house.train(0, 1)
    house.run_for(130)
    house.supervisor.flush()
    assert house.rate_again() == 0
    old = house.rows()
    house.clock.advance(3600)
    house.publish(series(START, ["-0.50", "0.20"]))
    assert house.rate_again() == len(old)
    new = house.rows()
    assert [row.microjoules for row in new] == [row.microjoules for row in old]
    assert {row.rating.price for row in new} == {Decimal("-0.5")}
    assert {row.revision for row in new} == {1}
    with house.store.engine.connect() as connection:
        first = connection.exec_driver_sql("SELECT DISTINCT price FROM ledger").scalars().all()
    assert first == ["0.1"]
    assert house.rate_again() == 0
    assert "ledger_rated_again" in house.kinds()
    house.store.close()


def test_a_price_that_comes_late_is_filled_in_even_after_a_restart(tmp_path: Path) -> None:
    house = rig(tmp_path, MARKET)
    house.submit()
    house.train(0, 1)
    house.run_for(130)
    house.supervisor.flush()
    assert {row.cost for row in house.rows()} == {None}
    assert house.rate_again() == 0
    house.crash()
    house.publish(series(START, ["0.10", "0.20"]))
    house.rate_again()
    assert {row.rating.price for row in house.rows()} == {Decimal("0.1")}
    house.store.close()


def test_what_another_tariff_said_stays_said(tmp_path: Path) -> None:
    house = rig(tmp_path)
    house.submit()
    house.train(0, 1)
    house.run_for(130)
    house.supervisor.close()
    house.store.close()
    again = rig(tmp_path, FLAT)
    assert again.rate_again() == 0
    assert {row.cost for row in again.rows()} == {None}
    again.store.close()


def test_tiers_follow_what_homerun_used_in_the_billing_period(tmp_path: Path) -> None:
    tiers = [{"above_kwh": 0, "price_per_kwh": 0.1}, {"above_kwh": 0.004, "price_per_kwh": 0.9}]
    house = rig(tmp_path, config(tiers=tiers))
    house.submit()
    house.train(0, 1)
    house.run_for(300)
    house.supervisor.close()
    rows = [row for row in house.rows() if row.run == "month"]
    prices = [row.rating.price or Decimal(0) for row in rows]
    assert prices[0] == Decimal("0.1")
    assert prices[-1] == Decimal("0.9")
    assert prices == sorted(prices)
    house.store.close()


def test_without_a_tariff_nothing_is_rated(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'homerun.db'}")
    assert LedgerKeeper(NoPrices()).rate_again(store, FakeClock().now()) == 0
    store.close()
