"""The power fails: what is asked of the run, second by second."""

from __future__ import annotations

from orchestrator.domain import Effect
from orchestrator.holds.outage_watch import Outage, OutagePolicy, advance
from orchestrator.home.ups import UpsReading

POLICY = OutagePolicy()
MAINS = UpsReading(on_battery=False, charge_ratio=1.0, runtime_seconds=1800.0)
BATTERY = UpsReading(on_battery=True, charge_ratio=0.9, runtime_seconds=1500.0)


class Watch:
    """Feeds readings at given seconds and keeps what was asked."""

    def __init__(self) -> None:
        self.state = Outage()

    def at(self, second: float, reading: UpsReading | None, age: float = 0.0) -> Effect | None:
        self.state, asked = advance(self.state, reading, age, second, POLICY)
        self.detail = asked.detail
        return asked.effect


def test_on_mains_nothing_is_asked() -> None:
    watch = Watch()
    assert [watch.at(second, MAINS) for second in range(100)] == [None] * 100


def test_the_load_stops_at_once_and_the_checkpoint_follows_after_the_debounce() -> None:
    watch = Watch()
    watch.at(0, MAINS)
    assert watch.at(2, BATTERY) is Effect.PAUSE
    assert watch.at(9, BATTERY) is Effect.PAUSE
    assert watch.at(10, BATTERY) is Effect.RELEASE
    assert "on battery for 8 s (charge 90%, 25 min left)" in watch.detail


def test_a_dip_costs_a_pause_and_nothing_more() -> None:
    watch = Watch()
    assert watch.at(0, BATTERY) is Effect.PAUSE
    assert watch.at(3, MAINS) is None
    assert watch.state == Outage()


def test_a_low_battery_is_not_debounced() -> None:
    low = UpsReading(on_battery=True, low_battery=True)
    assert Watch().at(0, low) is Effect.RELEASE


def test_the_checkpoint_comes_within_half_of_a_short_runtime() -> None:
    watch = Watch()
    short = UpsReading(on_battery=True, runtime_seconds=130.0)
    assert watch.at(0, short) is Effect.PAUSE
    shorter = UpsReading(on_battery=True, runtime_seconds=119.0)
    assert watch.at(1, shorter) is Effect.RELEASE


def test_mains_that_come_back_are_not_trusted_before_the_battery_is_charged() -> None:
    watch = Watch()
    watch.at(0, BATTERY)
    watch.at(20, BATTERY)
    empty = UpsReading(on_battery=False, charge_ratio=0.2)
    assert watch.at(30, empty) is Effect.RELEASE
    assert "waiting for 40% of charge" in watch.detail
    assert watch.at(600, UpsReading(on_battery=False, charge_ratio=0.39)) is Effect.RELEASE
    assert watch.at(660, UpsReading(on_battery=False, charge_ratio=0.41)) is None
    assert watch.at(661, MAINS) is None


def test_a_second_failure_while_it_recharges_is_not_debounced() -> None:
    watch = Watch()
    watch.at(0, BATTERY)
    watch.at(20, BATTERY)
    watch.at(30, UpsReading(on_battery=False, charge_ratio=0.1))
    assert watch.at(40, UpsReading(on_battery=True, charge_ratio=0.1)) is Effect.RELEASE


def test_a_ups_that_does_not_tell_its_charge_is_waited_for_half_an_hour() -> None:
    watch = Watch()
    watch.at(0, UpsReading(on_battery=True))
    watch.at(20, UpsReading(on_battery=True))
    back = UpsReading(on_battery=False)
    assert watch.at(30, back) is Effect.RELEASE
    assert watch.at(1829, back) is Effect.RELEASE
    assert watch.at(1830, back) is None


def test_a_forced_shutdown_is_final() -> None:
    watch = Watch()
    forced = UpsReading(on_battery=True, forced_shutdown=True)
    assert watch.at(0, forced) is Effect.RELEASE
    assert watch.at(100_000, MAINS) is Effect.RELEASE


def test_silence_on_mains_asks_for_nothing_and_on_battery_for_the_worst() -> None:
    calm, alarmed = Watch(), Watch()
    calm.at(0, MAINS)
    assert calm.at(100, MAINS, age=100.0) is None
    alarmed.at(0, BATTERY)
    assert alarmed.at(5, BATTERY, age=5.0) is Effect.PAUSE
    assert alarmed.at(40, BATTERY, age=40.0) is Effect.RELEASE
    assert "silent" in alarmed.detail


def test_a_ups_that_never_answered_holds_nothing() -> None:
    assert Watch().at(1000, None, age=1000.0) is None


def test_silence_while_it_recharges_keeps_waiting() -> None:
    watch = Watch()
    watch.at(0, BATTERY)
    watch.at(20, BATTERY)
    empty = UpsReading(on_battery=False, charge_ratio=0.2)
    watch.at(30, empty)
    assert watch.at(90, empty, age=60.0) is Effect.RELEASE
