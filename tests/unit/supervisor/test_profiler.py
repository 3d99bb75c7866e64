"""homerun profile: every level measured on the run, and the limit as it was, whatever happens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.errors import Held, NotFound, Refused
from orchestrator.holds.senses import FakeSense, Moment
from orchestrator.home.limiter import GpuLimiter
from orchestrator.home.simulated_gpu import LIMITS, SimulatedGpu, SimulatedMeter
from orchestrator.planning.levels import assumed_speed
from orchestrator.power.level_speed import Mark, counts_steps, micro_batches_per_second
from orchestrator.power.profiler import LevelResult, Muted, NoProfiler, Profiler, ProfileState
from orchestrator.power.profiling import watched
from tests.unit.supervisor.rig import Rig
from trainer.contract import messages as m

MICRO_BATCHES = 8


class House:
    """A run on a simulated card whose speed follows its limit, and a profiler of it."""

    def __init__(self, rig: Rig, *, micro_seconds: float = 5.0) -> None:
        self.rig = rig
        self.card = SimulatedGpu(
            rig.clock, wanted_watts=lambda: 220.0 if rig.supervisor.computing else 0.0
        )
        rig.meter = SimulatedMeter(self.card)  # type: ignore[assignment]
        rig.crash()
        self.kept: list[tuple[str, Sequence[LevelResult], str]] = []
        self.told: list[str] = []
        self.profiler = Profiler(
            self.card,
            lambda: watched(rig.supervisor),
            lambda *lesson: self.kept.append(lesson),
            lambda kind, message: self.told.append(f"{kind}: {message}"),
        )
        self.other = FakeSense()
        rig.senses += [self.profiler, self.other]
        self.limiter = GpuLimiter(self.card)
        self.micro_seconds = micro_seconds
        self.done = 0.0
        self.said = 0
        rig.submit()
        rig.train(0, 1)

    def live(self, seconds: int) -> None:
        """Second after second, as the trainer, the tick and the card do."""
        for _ in range(seconds):
            self.rig.clock.advance(1)
            speed = assumed_speed(self.card.limit_watts / LIMITS.default_watts)
            self.done += speed / self.micro_seconds
            if self.rig.supervisor.computing and int(self.done) > self.said:
                before, self.said = self.said // MICRO_BATCHES, int(self.done)
                step, micro = divmod(self.said, MICRO_BATCHES)
                if step > before:
                    self.rig.step(step + 1)
                self.rig.engine.event(m.Heartbeat(step + 1, micro, MICRO_BATCHES))
            snapshot = self.rig.settle(ticks=1)
            self.limiter.apply(snapshot.setpoint.cap_watts)

    def until_the_end(self, most: int = 1500) -> None:
        for _ in range(most):
            if not self.profiler.running():
                return
            self.live(1)
        raise AssertionError(self.profiler.view())


@pytest.fixture
def house(rig: Rig) -> House:
    return House(rig)


# --- measuring ------------------------------------------------------------------------------


def test_every_level_is_measured_and_the_default_is_back(house: House) -> None:
    house.live(30)
    begun = house.profiler.start("month")
    assert (begun.state, begun.card) == (ProfileState.RUNNING, "simulated")
    assert begun.levels == (200.0, 180.0, 160.0, 140.0, 120.0, 100.0)
    house.until_the_end()
    view = house.profiler.view()
    assert (view.state, view.progress) == (ProfileState.DONE, 1.0)
    assert [item.limit_watts for item in view.results] == list(view.levels)
    for item in view.results:
        true = assumed_speed(item.limit_watts / LIMITS.default_watts)
        assert item.relative_speed == pytest.approx(true, abs=0.06)
        assert item.watts == pytest.approx(item.limit_watts, abs=1.0)
    assert house.card.limit_watts == LIMITS.default_watts
    assert house.kept == [("month", view.results, "simulated")]
    assert house.told == ["profile_done: The profile of month was measured."]


def test_short_steps_are_counted_whole(rig: Rig) -> None:
    house = House(rig, micro_seconds=0.5)
    house.live(30)
    house.profiler.start("month")
    house.until_the_end()
    speeds = [item.relative_speed for item in house.profiler.view().results]
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[0] == 1.0


def test_an_evaluation_in_between_is_left_out(house: House) -> None:
    house.live(30)
    house.profiler.start("month")
    house.live(25)
    house.rig.engine.event(m.Phase("eval"))
    before, house.done = house.done, 0.0
    house.said += 10**6
    house.live(40)
    house.done, house.said = before, int(before)
    house.rig.engine.event(m.Phase("train"))
    house.until_the_end()
    first = house.profiler.view().results[0]
    assert first.micro_batches_per_second == pytest.approx(0.2, rel=0.1)


def test_the_optimizer_of_a_long_step_is_no_micro_batch() -> None:
    long = tuple(Mark(10.0 * n, 5, n, 40) for n in range(7))
    after = tuple(Mark(100.0 + 10.0 * n, 6, n, 40) for n in range(4))
    segments = [long + after]
    assert counts_steps(segments) is False
    assert micro_batches_per_second(segments, whole_steps=False) == pytest.approx(0.1)
    assert micro_batches_per_second(segments, whole_steps=True) is None
    assert counts_steps([]) is None
    assert counts_steps([()]) is None


# --- restoring ------------------------------------------------------------------------------


def test_a_person_who_stops_it_gets_the_default_back(house: House) -> None:
    house.live(30)
    house.profiler.start("month")
    for _ in range(200):
        if len(house.profiler.view().results) == 2:
            break
        house.live(1)
    house.live(20)
    assert house.card.limit_watts == 160.0
    house.profiler.stop()
    house.live(1)
    assert house.card.limit_watts == LIMITS.default_watts
    assert house.profiler.view().message == "stopped by a person"
    assert house.kept == []


def test_whatever_disturbs_it_ends_it_and_is_named(house: House) -> None:
    house.live(30)
    house.profiler.start("month")
    house.live(100)
    house.other.holds = (
        Hold(Reason.THERMAL, Effect.CAP, "gpu", house.rig.clock.now(), cap_watts=180.0),
    )
    house.live(3)
    view = house.profiler.view()
    assert (view.state, view.message) == (ProfileState.FAILED, "disturbed by thermal: gpu")
    house.other.holds = ()
    house.live(2)
    assert house.card.limit_watts == LIMITS.default_watts


def test_a_trainer_that_dies_ends_it(house: House) -> None:
    house.live(30)
    house.profiler.start("month")
    house.live(40)
    house.rig.die()
    house.live(2)
    assert house.profiler.view().state is ProfileState.FAILED
    assert "trainer" in house.profiler.view().message or "compute" in house.profiler.view().message


def test_a_card_that_takes_no_limit_or_is_lost_ends_it(house: House) -> None:
    house.live(30)
    house.profiler.start("month")
    house.card.permitted = False
    house.until_the_end()
    assert "did not take a limit of 180 W" in house.profiler.view().message


def test_a_run_that_stands_still_does_not_keep_the_card_limited(house: House) -> None:
    house.live(30)
    house.profiler.start("month")
    house.micro_seconds = 1e9
    house.until_the_end()
    assert "took too long" in house.profiler.view().message


# --- refusing -------------------------------------------------------------------------------


def test_where_no_limit_can_be_set_the_way_to_it_is_named(house: House) -> None:
    house.live(30)
    house.card.permitted = False
    with pytest.raises(Refused, match="no power limit can be set") as caught:
        house.profiler.start("month")
    assert "sudo homerun service install --power-helper" in caught.value.fix
    house.card.lost = True
    with pytest.raises(Refused, match="lost"):
        house.profiler.start("month")
    with pytest.raises(Refused, match="there is no card"):
        NoProfiler().start("month")
    assert NoProfiler().stop().state is ProfileState.IDLE


def test_only_the_run_that_computes_undisturbed_is_profiled_and_only_once(house: House) -> None:
    house.live(30)
    with pytest.raises(NotFound, match="winter does not compute now; month does"):
        house.profiler.start("winter")
    held = Hold(Reason.QUIET_HOURS, Effect.CAP, "q", house.rig.clock.now(), cap_watts=150.0)
    house.other.holds = (held,)
    house.live(1)
    with pytest.raises(Held, match="held by quiet_hours"):
        house.profiler.start("month")
    plan = dataclasses.replace(held, reason=Reason.TARIFF, source="planner")
    house.other.holds = (plan,)
    house.live(1)
    house.profiler.start("month")
    with pytest.raises(Refused, match="is being profiled"):
        house.profiler.start("month")
    assert house.profiler.stop().state is ProfileState.FAILED


def test_the_plan_holds_nothing_while_a_profile_runs(house: House) -> None:
    house.live(30)
    hold = Hold(Reason.TARIFF, Effect.CAP, "planner", house.rig.clock.now(), cap_watts=150.0)
    muted = Muted(FakeSense(hold), house.profiler)
    moment = Moment(house.rig.clock.now(), house.rig.clock.monotonic(), "month")
    assert muted.look(moment) == (hold,)
    house.profiler.start("month")
    assert muted.look(moment) == ()
