"""Counters of energy, the meter at the wall, and the model that fills in for it."""

from __future__ import annotations

import contextlib

import pytest

from orchestrator.errors import Misconfigured
from orchestrator.home.clock import FakeClock
from orchestrator.home.energy_counter import advance, advance_coarse
from orchestrator.home.meter import FakeMeter, Meter, NvmlMeter
from orchestrator.home.plug import FakePlug, PlugReading
from orchestrator.home.wall_meter import WallMeter, WallModel, WithModel
from orchestrator.power.metering import meter_of
from orchestrator.settings.config import Config

# --- counters -------------------------------------------------------------------------------


def test_a_counter_tells_the_mean_power_between_two_readings() -> None:
    first = advance(None, 1000.0, 10.0)
    assert first.watts is None
    second = advance(first, 1200.0, 11.0)
    assert second.watts == 200.0
    assert advance(second, 1210.0, 11.1) is second
    assert advance(second, 1600.0, 13.0).watts == 200.0


def test_a_counter_that_starts_anew_is_unknown_and_never_negative() -> None:
    before = advance(advance(None, 5e9, 10.0), 5.0001e9, 11.0)
    anew = advance(before, 40.0, 12.0)
    assert (anew.watts, anew.joules) == (None, 40.0)
    assert advance(anew, 240.0, 13.0).watts == 200.0


def test_a_coarse_counter_is_read_from_change_to_change() -> None:
    state = advance_coarse(None, 36_000.0, 0.0)
    for seconds in range(5, 120, 5):
        state = advance_coarse(state, 36_000.0, float(seconds))
    assert state.watts is None
    state = advance_coarse(state, 72_000.0, 120.0)
    assert state.watts == 300.0
    assert advance_coarse(state, 72_000.0, 200.0).watts == 300.0
    assert advance_coarse(state, 72_000.0, 4000.0).watts is None
    assert advance_coarse(state, 0.0, 130.0).watts is None


# --- NVML -----------------------------------------------------------------------------------


class NvmlError(Exception):
    """As pynvml's."""


class NotSupportedError(NvmlError):
    """As pynvml's."""


class Card:
    """As much of pynvml as the meter uses: a card whose driver can be loaded anew."""

    NVMLError = NvmlError
    NVMLError_NotSupported = NotSupportedError

    def __init__(self, *, counts: bool = True) -> None:
        self.counts = counts
        self.millijoules = 7_000_000
        self.there = True
        self.opened = False

    def _check(self) -> None:
        # a library that was opened before the driver went has to be opened again
        self.opened = self.opened and self.there
        if not self.opened:
            raise NvmlError("Driver Not Loaded")

    def nvmlInit(self) -> None:
        self.opened = True
        self._check()

    def nvmlShutdown(self) -> None:
        self._check()
        self.opened = False

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        self._check()
        return index

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        self._check()
        return 150_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        self._check()
        if not self.counts:
            raise NotSupportedError("Not Supported")
        return self.millijoules


def tick(clock: FakeClock, card: Card, meter: Meter, watts: float) -> float | None:
    clock.advance(1.0)
    card.millijoules += round(watts * 1000)
    return meter.read().watts


def test_the_cards_counter_misses_nothing_between_two_ticks() -> None:
    clock, card = FakeClock(), Card()
    meter = NvmlMeter(clock, card)
    meter.read()
    drawn = [210.0, 35.5, 190.25, 0.0, 200.0]
    assert [tick(clock, card, meter, watts) for watts in drawn] == pytest.approx(drawn)


def test_a_driver_that_is_loaded_anew_leaves_a_gap_and_then_goes_on() -> None:
    clock, card = FakeClock(), Card()
    meter = NvmlMeter(clock, card)
    meter.read()
    tick(clock, card, meter, 200.0)
    card.there = False
    assert tick(clock, card, meter, 0.0) is None
    assert tick(clock, card, meter, 0.0) is None
    card.there, card.millijoules = True, 0
    assert tick(clock, card, meter, 0.0) is None
    assert tick(clock, card, meter, 50.0) == 150.0
    assert tick(clock, card, meter, 180.0) == 180.0


def test_a_card_without_a_counter_tells_its_power_now() -> None:
    meter = NvmlMeter(FakeClock(), Card(counts=False))
    assert meter.read().watts == 150.0
    gone = Card()
    gone.there = False
    with pytest.raises(OSError, match="Driver Not Loaded"):
        NvmlMeter(FakeClock(), gone)


# --- the wall -------------------------------------------------------------------------------


def test_a_plug_that_does_not_answer_is_unknown_after_a_while_and_the_model_fills_in() -> None:
    clock, plug = FakeClock(), FakePlug(PlugReading(320.0))
    wall = WallMeter(plug, clock, "plug", 5.0)
    model = WallModel(FakeMeter(200.0), rest_watts=64.0, efficiency=0.88)
    both = WithModel(wall, model)
    assert both.read().measured is False
    wall.ask()
    assert (both.read().watts, both.read().source, both.read().measured) == (320.0, "plug", True)
    plug.says = "no route to host"
    clock.advance(15.0)
    wall.ask()
    assert wall.read().watts == 320.0
    clock.advance(0.1)
    assert wall.read().watts is None
    power = both.read()
    assert (power.watts, power.source, power.measured) == (300.0, "estimated", False)
    plug.says = PlugReading(0.0)
    wall.ask()
    assert both.read().watts == 0.0


def test_a_plug_that_only_counts_is_read_by_its_counter() -> None:
    clock, plug = FakeClock(), FakePlug(PlugReading(total_joules=1e6))
    wall = WallMeter(plug, clock, "plug", 60.0)
    wall.ask()
    assert wall.read().watts is None
    clock.advance(60)
    plug.says = PlugReading(total_joules=1e6 + 18_000)
    wall.ask()
    assert wall.read().watts == 300.0


def test_a_model_without_its_card_knows_nothing() -> None:
    assert WallModel(FakeMeter(None), 60.0, 0.9).read().watts is None


def test_it_is_asked_in_a_thread_of_its_own_that_ends() -> None:
    wall = WallMeter(FakePlug(), FakeClock(), "plug", 1.0)
    wall.start()
    wall.close()
    assert wall.read().watts == 300.0


def test_a_meter_that_was_named_and_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.model_validate({"power": {"meter": "nvml"}})

    def no_card(clock: FakeClock) -> NvmlMeter:
        raise OSError("no card")

    monkeypatch.setattr("orchestrator.power.metering.NvmlMeter", no_card)
    with contextlib.ExitStack() as stack:
        with pytest.raises(Misconfigured, match="which this machine does not have: no card"):
            meter_of(config.power, config.ups, FakeClock(), stack)
        model = Config.model_validate({"power": {"meter": "model"}})
        assert meter_of(model.power, model.ups, FakeClock(), stack).read().source == "estimated"
