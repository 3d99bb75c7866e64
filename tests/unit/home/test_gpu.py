"""The card: one set of tests for the simulated one and, where there is one, for a real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.domain import Effect, Reason
from orchestrator.holds.busy_sense import BusyPolicy, BusySense
from orchestrator.holds.senses import Moment
from orchestrator.home.clock import FakeClock
from orchestrator.home.gpu import Gpu, GpuLost, GpuProcess, NoRight, NvmlGpu
from orchestrator.home.limiter import GpuLimiter, NoLimiter, may_set_limit
from orchestrator.home.simulated_gpu import LIMITS, SimulatedGpu


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def card(clock: FakeClock) -> SimulatedGpu:
    return SimulatedGpu(clock)


def simulated() -> Gpu:
    return SimulatedGpu(FakeClock())


MAKERS = [
    pytest.param(simulated, id="simulated"),
    pytest.param(NvmlGpu, id="nvml", marks=pytest.mark.gpu),
]


# --- what holds for every card --------------------------------------------------------------


@pytest.mark.parametrize("make", MAKERS)
def test_a_card_says_where_its_figures_are_from(make: Callable[[], Gpu]) -> None:
    assert make().source in ("nvml", "simulated")


@pytest.mark.parametrize("make", MAKERS)
def test_the_default_lies_within_the_range(make: Callable[[], Gpu]) -> None:
    limits = make().limits()
    if limits is not None:
        assert 0 < limits.lowest_watts <= limits.default_watts <= limits.highest_watts


@pytest.mark.parametrize("make", MAKERS)
def test_a_reading_is_sane_and_energy_never_falls(make: Callable[[], Gpu]) -> None:
    gpu = make()
    first, second = gpu.read(), gpu.read()
    for value in (first.power_watts, first.temperature_celsius, first.energy_joules):
        assert value is None or value >= 0
    if first.energy_joules is not None:
        assert second.energy_joules is not None
        assert second.energy_joules >= first.energy_joules


@pytest.mark.parametrize("make", MAKERS)
def test_the_limit_is_set_or_refused_but_never_silently_wrong(make: Callable[[], Gpu]) -> None:
    gpu = make()
    limits, before = gpu.limits(), gpu.read().limit_watts
    if limits is None or before is None:
        return
    with pytest.raises((ValueError, NoRight)):
        gpu.set_limit(limits.highest_watts + 1000.0)
    try:
        gpu.set_limit(limits.lowest_watts)
    except NoRight:
        assert gpu.read().limit_watts == pytest.approx(before)
        return
    try:
        assert gpu.read().limit_watts == pytest.approx(limits.lowest_watts, abs=1.0)
    finally:
        gpu.set_limit(before)


@pytest.mark.parametrize("make", MAKERS)
def test_everybody_on_the_card_has_a_pid(make: Callable[[], Gpu]) -> None:
    assert all(process.pid > 0 for process in make().processes())


# --- the model ------------------------------------------------------------------------------


def test_a_busy_card_draws_its_limit_and_an_idle_one_little(
    card: SimulatedGpu, clock: FakeClock
) -> None:
    assert card.read().power_watts == card.idle_watts
    card.wanted_watts = lambda: 1000.0
    card.set_limit(120.0)
    before = card.read().energy_joules
    clock.advance(10)
    reading = card.read()
    assert reading.power_watts == 120.0
    assert before is not None
    assert reading.energy_joules == pytest.approx(before + 1200.0)


def test_it_heats_up_towards_its_end_and_cools_down_again(
    card: SimulatedGpu, clock: FakeClock
) -> None:
    card.wanted_watts = lambda: 1000.0
    clock.advance(60)
    warm = card.read().temperature_celsius
    clock.advance(3600)
    hot = card.read().temperature_celsius
    assert warm is not None
    assert hot is not None
    assert 30 < warm < hot < 75
    card.pass_time()
    card.wanted_watts = lambda: 0.0
    clock.advance(3600)
    cool = card.read().temperature_celsius
    assert cool is not None
    assert cool < 26


def test_a_reloaded_driver_counts_anew_and_has_the_default_limit(
    card: SimulatedGpu, clock: FakeClock
) -> None:
    card.set_limit(120.0)
    clock.advance(100)
    card.reload_driver()
    assert card.read().energy_joules == 0.0
    assert card.read().limit_watts == LIMITS.default_watts


def test_a_lost_card_says_so_whatever_is_asked(card: SimulatedGpu) -> None:
    card.lost = True
    for ask in (card.read, card.limits, card.processes, lambda: card.set_limit(150.0)):
        with pytest.raises(GpuLost):
            ask()


# --- the limiter ----------------------------------------------------------------------------


def test_the_limiter_sets_what_the_holds_ask_for_and_goes_back_at_the_end(
    card: SimulatedGpu,
) -> None:
    limiter = GpuLimiter(card)
    assert limiter.apply(140.0) == ""
    assert card.limit_watts == 140.0
    limiter.apply(20.0)
    assert card.limit_watts == LIMITS.lowest_watts
    limiter.apply(None)
    assert card.limit_watts == LIMITS.default_watts
    limiter.apply(120.0)
    limiter.release()
    assert card.limit_watts == LIMITS.default_watts


def test_a_limit_that_somebody_else_changed_is_set_again(card: SimulatedGpu) -> None:
    limiter = GpuLimiter(card)
    limiter.apply(140.0)
    card.set_limit(200.0)
    limiter.apply(140.0)
    assert card.limit_watts == 140.0


def test_a_limit_that_the_owner_set_by_hand_stays_his_until_a_cap_is_wanted(
    card: SimulatedGpu,
) -> None:
    card.set_limit(170.0)
    limiter = GpuLimiter(card)
    limiter.apply(None)
    limiter.release()
    assert card.limit_watts == 170.0


def test_who_dies_with_a_limit_leaves_it_to_his_successor(
    card: SimulatedGpu, tmp_path: Path
) -> None:
    mark = tmp_path / "power-limit"
    GpuLimiter(card, mark).apply(120.0)
    assert mark.exists()
    successor = GpuLimiter(card, mark)
    successor.apply(None)
    assert card.limit_watts == LIMITS.default_watts
    assert not mark.exists()


def test_without_the_right_it_says_so_once_and_changes_nothing(card: SimulatedGpu) -> None:
    card.permitted = False
    limiter = GpuLimiter(card)
    assert "Insufficient Permissions" in limiter.apply(140.0)
    assert limiter.apply(140.0) == ""
    assert card.limit_watts == LIMITS.default_watts
    limiter.release()
    assert not may_set_limit(card)


def test_a_card_without_a_limit_or_that_is_lost_stops_nothing(clock: FakeClock) -> None:
    fixed = SimulatedGpu(clock, range_watts=None)
    assert GpuLimiter(fixed).apply(140.0) == ""
    assert not may_set_limit(fixed)
    gone = SimulatedGpu(clock, lost=True)
    assert "lost" in GpuLimiter(gone).apply(140.0)
    assert not may_set_limit(gone)
    assert NoLimiter().apply(140.0) == ""
    NoLimiter().release()


def test_the_right_is_found_out_without_changing_anything(card: SimulatedGpu) -> None:
    card.set_limit(150.0)
    assert may_set_limit(card)
    assert card.limit_watts == 150.0


# --- others on the card ---------------------------------------------------------------------

GAME = GpuProcess(100, "/usr/games/doom", 4_000_000_000)


def our_seven(pid: int) -> bool:
    return pid == 7


def moment(clock: FakeClock) -> Moment:
    return Moment(clock.now(), clock.monotonic(), "month")


def test_a_game_holds_the_run_until_a_while_after_it_ends(
    card: SimulatedGpu, clock: FakeClock
) -> None:
    sense = BusySense(card, our_seven)
    assert sense.look(moment(clock)) == ()
    card.others.append(GAME)
    (hold,) = sense.look(moment(clock))
    assert (hold.reason, hold.effect) == (Reason.GPU_BUSY, Effect.RELEASE)
    assert hold.detail == "doom uses the card"
    card.others.clear()
    clock.advance(119)
    assert sense.look(moment(clock)) == (hold,)
    clock.advance(1)
    assert sense.look(moment(clock)) == ()


def test_our_own_process_and_a_small_desktop_are_no_reason_but_a_named_program_is(
    card: SimulatedGpu, clock: FakeClock
) -> None:
    card.others += [GpuProcess(7, "python", 9_000_000_000), GpuProcess(8, "Xorg", 90_000_000)]
    assert BusySense(card, our_seven).look(moment(clock)) == ()
    named = BusyPolicy(names=frozenset({"Xorg"}))
    assert BusySense(card, our_seven, named).look(moment(clock)) != ()


def test_a_lost_card_is_no_reason_to_hold(card: SimulatedGpu, clock: FakeClock) -> None:
    card.lost = True
    assert BusySense(card, lambda pid: False).look(moment(clock)) == ()
