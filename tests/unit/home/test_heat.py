"""The heat of the card: a cap first, then a pause, and slowly back."""

from __future__ import annotations

import pytest

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.holds.heat_watch import Heat, HeatPolicy, advance
from orchestrator.holds.pause_depth import break_even_seconds
from orchestrator.holds.senses import Moment
from orchestrator.holds.thermal_sense import ThermalSense
from orchestrator.home.clock import FakeClock
from orchestrator.home.gpu import GpuReading
from orchestrator.home.simulated_gpu import LIMITS, SimulatedGpu
from orchestrator.home.simulated_gpu import Heat as Warmth

POLICY = HeatPolicy()


class Home:
    """A card in a room, and what it makes of the run's holds."""

    def __init__(self, *, room: float = 22.0, limits: bool = True) -> None:
        self.clock = FakeClock()
        self.card = SimulatedGpu(
            self.clock,
            LIMITS if limits else None,
            heat=Warmth(room_celsius=room),
            wanted_watts=lambda: 0.0 if self.paused else 1000.0,
        )
        self.paused = False
        self.saves = 0
        self.sense = ThermalSense(self.card, POLICY, self._save)
        self.holds: list[Hold] = []

    def _save(self) -> None:
        self.saves += 1

    def live(self, seconds: int, *, obey: bool = True) -> None:
        """Look every second and, if told to, do what the hold says."""
        for _ in range(seconds):
            self.clock.advance(1)
            moment = Moment(self.clock.now(), self.clock.monotonic(), "month")
            self.holds = list(self.sense.look(moment))
            hold = self.holds[0] if self.holds else None
            if obey:
                self.card.pass_time()
                self.paused = hold is not None and hold.effect.depth >= Effect.PAUSE.depth
                if hold and hold.cap_watts:
                    self.card.set_limit(hold.cap_watts)
                elif not self.paused:
                    self.card.set_limit(LIMITS.default_watts)


def reading(
    core: float | None = None, memory: float | None = None, margin: float | None = None
) -> GpuReading:
    return GpuReading(200.0, core, 0.0, 200.0, memory, margin)


def test_a_cool_card_holds_nothing() -> None:
    home = Home()
    home.live(900)
    assert home.holds == []
    assert home.saves == 0


def test_a_hot_summer_takes_the_limit_down_until_it_is_bearable_and_never_stops_the_run() -> None:
    home = Home(room=42.0)
    home.live(3600)
    (hold,) = home.holds
    assert (hold.reason, hold.effect) == (Reason.THERMAL, Effect.CAP)
    assert hold.cap_watts is not None
    assert LIMITS.lowest_watts <= hold.cap_watts < LIMITS.default_watts
    celsius = home.card.read().temperature_celsius
    assert celsius is not None
    assert celsius < POLICY.core_cap
    assert home.saves == 0


def test_when_the_lowest_limit_does_not_help_it_pauses_after_a_save() -> None:
    home = Home(room=70.0)
    home.live(600)
    assert [hold.effect for hold in home.holds] == [Effect.PAUSE]
    assert home.saves == 1
    assert "°C" in home.holds[0].detail


def test_a_pause_for_heat_that_lasts_gives_the_memory_back() -> None:
    home = Home(room=95.0)
    home.live(int(break_even_seconds()) + 300)
    assert [hold.effect for hold in home.holds] == [Effect.RELEASE]


def test_the_second_threshold_stops_at_once() -> None:
    state = advance(Heat(), reading(core=POLICY.core_pause), 10.0, POLICY, most_steps=5)
    assert state.paused_since == 10.0


@pytest.mark.parametrize(
    ("look", "word"),
    [
        (reading(core=60.0, memory=101.0), "memory"),
        (reading(core=60.0, margin=4.0), "hottest spot"),
        (reading(core=84.0, memory=60.0), "core"),
    ],
)
def test_whichever_sensor_is_worst_off_counts_and_is_named(look: GpuReading, word: str) -> None:
    state = advance(Heat(), look, 10.0, POLICY, most_steps=5)
    assert state.steps == 1
    assert word in state.detail


def test_steps_come_no_faster_than_the_dwell_and_go_no_faster_than_the_calm() -> None:
    state, hot, cool = Heat(), reading(core=85.0), reading(core=60.0)
    for second in range(61):
        state = advance(state, hot, 100.0 + second, POLICY, most_steps=5)
    assert state.steps == 2
    for second in range(599):
        state = advance(state, cool, 200.0 + second, POLICY, most_steps=5)
    assert state.steps == 2
    for second in range(590):
        state = advance(state, cool, 799.0 + second, POLICY, most_steps=5)
    assert state.steps == 1


def test_between_the_thresholds_nothing_changes() -> None:
    state = advance(Heat(), reading(core=84.0), 0.0, POLICY, most_steps=5)
    for second in range(5000):
        state = advance(state, reading(core=81.0), 1.0 + second, POLICY, most_steps=5)
    assert state.steps == 1


def test_a_silent_or_mad_sensor_changes_nothing_but_is_forgotten_in_the_end() -> None:
    for nothing in (None, reading(), reading(core=255.0), reading(margin=-4000.0)):
        assert advance(Heat(), nothing, 5.0, POLICY, most_steps=5).steps == 0
        held = advance(Heat(), reading(core=91.0), 1000.0, POLICY, most_steps=5)
        assert advance(held, nothing, 1599.0, POLICY, most_steps=5).paused_since == 1000.0
        assert advance(held, nothing, 1600.0, POLICY, most_steps=5).paused_since is None


def test_a_lost_card_keeps_the_hold_for_a_while_and_never_raises() -> None:
    home = Home(room=70.0)
    home.live(600)
    home.card.lost = True
    home.live(30, obey=False)
    assert home.holds
    home.live(700, obey=False)
    assert home.holds == []


def test_a_card_whose_limit_cannot_be_set_names_a_cap_in_watts_all_the_same() -> None:
    home = Home(room=42.0, limits=False)
    home.live(200, obey=False)
    (hold,) = home.holds
    assert hold.effect is Effect.CAP
    assert hold.cap_watts is not None
    assert 100.0 <= hold.cap_watts < 200.0


def test_without_a_run_there_is_nothing_to_hold() -> None:
    home = Home(room=95.0)
    home.live(60)
    assert home.holds
    moment = Moment(home.clock.now(), home.clock.monotonic(), None)
    assert home.sense.look(moment) == ()
