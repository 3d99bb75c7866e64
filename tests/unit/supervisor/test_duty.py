"""A cap on a card whose limit cannot be set: computing for a part of each minute."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import Effect, Hold, Reason, Setpoint
from orchestrator.holds.senses import FakeSense
from orchestrator.home.clock import FakeClock
from orchestrator.home.limiter import GpuLimiter, NoLimiter
from orchestrator.home.simulated_gpu import SimulatedGpu
from orchestrator.power.duty import LEAST_SHARE, PERIOD_SECONDS, Draw, computes, cycled, share
from orchestrator.power.throttle import DutyCycle
from tests.unit.supervisor.rig import Rig
from trainer.contract import messages as m

START = datetime(2026, 12, 1, tzinfo=UTC)
WATTS = st.floats(min_value=1.0, max_value=1000.0)


def cap(watts: float, reason: Reason = Reason.THERMAL) -> Hold:
    return Hold(reason, Effect.CAP, "gpu", START, cap_watts=watts)


@given(cap_watts=WATTS, busy=WATTS, idle=WATTS)
def test_the_mean_power_is_the_cap_wherever_a_share_can_make_it_so(
    cap_watts: float, busy: float, idle: float
) -> None:
    part = share(cap_watts, Draw(busy, idle))
    assert LEAST_SHARE <= part <= 1.0
    if LEAST_SHARE < part < 1.0:
        assert part * busy + (1 - part) * idle == pytest.approx(cap_watts)


@given(cap_watts=WATTS, busy=WATTS)
def test_the_share_is_kept_in_every_period(cap_watts: float, busy: float) -> None:
    draw = Draw(busy, 10.0)
    seconds = [tenth / 10 for tenth in range(int(10 * PERIOD_SECONDS))]
    on = sum(computes(3 * PERIOD_SECONDS + second, cap_watts, draw) for second in seconds)
    assert on / len(seconds) == pytest.approx(share(cap_watts, draw), abs=0.01)


def test_a_card_of_which_nothing_is_known_computes_all_the_time() -> None:
    assert share(50.0, Draw()) == 1.0
    assert Draw().fold(None, computing=True) == Draw()


def test_a_busy_card_is_taken_at_its_highest_and_forgets_it_slowly() -> None:
    draw = Draw().fold(200.0, computing=True).fold(120.0, computing=True)
    assert draw.busy_watts == pytest.approx(199.2)
    assert draw.fold(20.0, computing=False).idle_watts == 20.0
    assert draw.fold(210.0, computing=True).busy_watts == 210.0


@pytest.mark.parametrize("reason", [Reason.TARIFF, Reason.USER])
def test_no_money_is_saved_this_way_so_the_tariff_never_asks_for_it(reason: Reason) -> None:
    setpoint = Setpoint(Effect.CAP, 100.0)
    for second in range(60):
        assert cycled(setpoint, [cap(100.0, reason)], second, Draw(200.0, 20.0)) is setpoint


def test_a_deeper_hold_is_left_alone() -> None:
    setpoint = Setpoint(Effect.RELEASE, 100.0)
    assert cycled(setpoint, [cap(100.0)], 59.0, Draw(200.0, 20.0)) is setpoint


def test_the_run_pauses_for_half_of_each_minute_and_its_setpoint_stays_a_cap(rig: Rig) -> None:
    card = SimulatedGpu(rig.clock, permitted=False)
    card.wanted_watts = lambda: 200.0 if rig.supervisor.computing else 0.0
    rig.supervisor.throttle = DutyCycle(card, lambda: NoLimiter.in_force)
    sense = FakeSense()
    rig.senses.append(sense)
    rig.submit()
    rig.train(0, 2)
    rig.pass_time(5)
    sense.holds = (cap(104.0, Reason.QUIET_HOURS),)
    heard, paused = len(rig.engine.commands), 0
    for _ in range(240):
        snapshot = rig.pass_time(1)
        assert snapshot.setpoint.effect is Effect.CAP
        for command in rig.engine.commands[heard:]:
            rig.engine.event(m.Phase("paused" if command == m.Pause() else "train"))
        heard = len(rig.engine.commands)
        paused += not rig.supervisor.computing
    assert 100 < paused < 140
    assert 4 <= rig.engine.commands.count(m.Pause()) <= 5
    assert "paused" not in rig.kinds()
    assert "unpaused" not in rig.kinds()
    sense.holds = ()
    rig.pass_time(1)
    assert rig.engine.commands[-1] == m.Resume()


def test_a_limit_that_is_in_force_needs_no_pauses(rig: Rig) -> None:
    card = SimulatedGpu(rig.clock, wanted_watts=lambda: 200.0)
    limiter = GpuLimiter(card)
    limiter.apply(104.0)
    cycle = DutyCycle(card, lambda: limiter.in_force)
    setpoint = Setpoint(Effect.CAP, 104.0)
    for second in range(120):
        assert cycle.now(setpoint, [cap(104.0)], second, computing=True) is setpoint
    card.permitted = False
    card.reload_driver()
    limiter.apply(104.0)
    effects = {
        cycle.now(setpoint, [cap(104.0)], second, computing=True).effect for second in range(60)
    }
    assert effects == {Effect.CAP, Effect.PAUSE}


def test_a_lost_card_changes_nothing() -> None:
    setpoint = Setpoint(Effect.CAP, 104.0)
    cycle = DutyCycle(SimulatedGpu(FakeClock(), lost=True), lambda: False)
    assert cycle.now(setpoint, [cap(104.0)], 59.0, computing=True) is setpoint
