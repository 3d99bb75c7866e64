"""What pilots of this home are given: prices, quiet hours, tiers, the money spent."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.domain import Effect, Hold, Power, Reason
from orchestrator.holds.quiet_hours import Quiet, QuietTime
from orchestrator.holds.quiet_slots import held_slots, quiet_slots
from orchestrator.home.clock import FakeClock
from orchestrator.home.simulated_gpu import SimulatedGpu
from orchestrator.ledger.keeper import LedgerKeeper
from orchestrator.piloting.bills import Bills
from orchestrator.piloting.charting import TierUse
from orchestrator.piloting.pilot_prices import TariffPrices
from orchestrator.planning.levels import full_power_only
from orchestrator.planning.problem import Slot
from orchestrator.power.gear import gear_of
from orchestrator.settings.config import Config
from orchestrator.settings.power_config import PowerConfig
from orchestrator.store import Store
from orchestrator.tariff.http import FakeHttp, Reply
from orchestrator.tariff.keeper import PriceKeeper
from orchestrator.tariff.report import PricesView
from orchestrator.tariff.tariff import Tariff
from orchestrator.tariff.when import When

START = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = tuple(Slot(START + n * HOUR, START + (n + 1) * HOUR, 0.3) for n in range(12))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'homerun.sqlite'}")
    yield opened
    opened.close()


def prices(store: Store, clock: FakeClock, **tariff: object) -> PriceKeeper:
    config = Config.model_validate({"tariff": {"currency": "EUR", **tariff}})
    return PriceKeeper(config.tariff, store, FakeHttp(lambda _: Reply(404)), clock, "home")


def test_quiet_hours_block_slots_and_caps_count_only_where_they_can_be_obeyed() -> None:
    night = QuietTime(When.parse("", "22:30-6", "", ()))
    soft = QuietTime(When.parse("", "22-23", "", ()), Effect.CAP, 120.0)
    quiet = Quiet((night, soft), UTC)
    found = quiet_slots(quiet, DAY, may_limit=True)
    assert next(slot for slot in found if slot.blocked).start == START + 1.5 * HOUR
    assert sum(slot.hours for slot in found if slot.blocked) == 7.5
    assert [slot.cap_watts for slot in found[:3]] == [None, 120.0, 120.0]
    assert all(a.end == b.start for a, b in itertools.pairwise(found))
    assert quiet_slots(quiet, DAY, may_limit=False)[1].cap_watts is None
    assert quiet_slots(Quiet(()), DAY, may_limit=True) == DAY


def test_a_pause_with_an_end_blocks_until_then_and_one_without_says_nothing() -> None:
    pause = Hold(Reason.USER, Effect.PAUSE, "cli", START, START + 1.25 * HOUR)
    found = held_slots([pause], DAY)
    assert [slot.blocked for slot in found[:3]] == [True, True, False]
    assert found[1].end == START + 1.25 * HOUR
    assert held_slots([replace(pause, until=None)], DAY) == DAY
    assert held_slots([replace(pause, reason=Reason.TARIFF)], DAY) == DAY
    assert held_slots([replace(pause, effect=Effect.CAP)], DAY) == DAY


def test_the_planner_pays_the_tier_in_which_the_period_will_end(store: Store) -> None:
    clock = FakeClock(START)
    tiers = [{"above_kwh": 0, "price_per_kwh": 0.1}, {"above_kwh": 50, "price_per_kwh": 0.5}]
    tiered = prices(store, clock, tiers=tiers, time_zone="UTC", other_kwh_per_month=20)
    use = TierUse(store, tiered, full_power_only(250.0))
    # a week of November at a quarter of a kW is 42 kWh, and the household's 20 are before them
    assert use.until(START, START + timedelta(days=60)) == Decimal("42.75")
    assert use.until(START, START + timedelta(hours=4)) == Decimal("1")
    fixed = prices(store, clock, price_per_kwh=0.3)
    assert TierUse(store, fixed, full_power_only(250.0)).until(START, START + HOUR) == 0


@dataclass
class RealTime:
    """A market that publishes nothing ahead."""

    last_success: datetime | None

    def view(self) -> PricesView:
        nothing = dict.fromkeys(("known_until", "expected_until", "last_try", "next_try"), None)
        return PricesView(
            configured=True, currency="USD", service="comed", title="", failures=0, trouble="",
            reason="", fix="", failing=False, last_success=self.last_success, **nothing,
        )  # fmt: skip

    def tariff(self, until: datetime) -> Tariff | None:
        return None


def test_a_market_without_a_tomorrow_has_news_only_when_prices_came() -> None:
    far = START + timedelta(days=9)
    market = RealTime(None)
    never = TariffPrices(market, far)
    assert never.known_until(START) == never.known_until(START + HOUR) < START
    market.last_success = START + timedelta(minutes=7)
    assert never.known_until(START + 9 * HOUR) == START
    market.last_success = START + timedelta(minutes=16)
    assert never.known_until(START + 9 * HOUR) == START + timedelta(minutes=15)


def test_bills_are_the_ledgers_and_what_was_spent_counts_by_run(store: Store) -> None:
    clock = FakeClock(START)
    fixed = prices(store, clock, price_per_kwh=0.3)
    ledger = LedgerKeeper(fixed)
    bills = Bills(store, UTC, fixed.slots_between)
    assert not bills.ready
    assert bills.spent("month") == 0
    for _ in range(60):
        clock.advance(60.0)
        ledger.add("month", Power(200.0, "nvml", measured=True), clock.now(), 60.0)
    ledger.tokens("month", 1_000_000)
    with store.transaction() as tx:
        ledger.written(ledger.write(tx, clock.now(), everything=True))
    bills.refresh(clock.now())
    (bill,) = bills.known
    assert (bill.run, bill.currency, bill.cost) == ("month", "EUR", Decimal("0.06"))
    assert bills.spent("month") == Decimal("0.06")
    assert bills.spent("other") == 0


def test_levels_come_from_the_card_only_when_its_limit_may_be_set() -> None:
    card = SimulatedGpu(FakeClock(START))
    assert gear_of(card, PowerConfig()).full_watts == 200.0
    assert len(gear_of(card, PowerConfig()).levels) > 2
    for gear in (
        gear_of(card, PowerConfig(limit=False)),
        gear_of(SimulatedGpu(FakeClock(START), permitted=False), PowerConfig()),
        gear_of(SimulatedGpu(FakeClock(START), lost=True), PowerConfig()),
        gear_of(None, PowerConfig()),
    ):
        assert gear.full_watts is None
        assert [level.limit_watts for level in gear.levels] == [None]
