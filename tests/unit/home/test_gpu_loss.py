"""A card that falls off the bus: noticed, one restart, and then no circle that hides it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.domain import Effect, Reason
from orchestrator.holds.senses import Moment
from orchestrator.home.clock import FakeClock
from orchestrator.home.gpu import GpuLost
from orchestrator.home.simulated_gpu import SimulatedGpu
from orchestrator.power.gpu_loss import GpuLoss, LossPolicy, MissingGpu

POLICY = LossPolicy()


class Bench:
    """A simulated card that is watched, asked every five seconds."""

    def __init__(self, mark: Path) -> None:
        self.clock = FakeClock(datetime.now(UTC))  # noqa: TID251 - the mark's file has a real time
        self.gpu = SimulatedGpu(self.clock)
        self.loss = GpuLoss(self.gpu, mark, self.clock)

    def after(self, seconds: float) -> list[Reason]:
        """What is asked for after so long."""
        for _ in range(round(seconds / 5)):
            self.clock.advance(5)
            self.loss.ask()
        return [hold.reason for hold in self.look()]

    def look(self) -> tuple[object, ...]:
        return self.loss.look(Moment(self.clock.now(), self.clock.monotonic(), "month"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "gpu-lost")


def test_a_lost_card_stops_the_run_and_the_daemon_leaves_for_a_restart(bench: Bench) -> None:
    assert bench.after(60) == []
    bench.gpu.lost = True
    assert bench.after(10) == [], "a driver that resets its card is back within seconds"
    assert not bench.loss.leaves
    assert bench.after(20) == [Reason.GPU_LOST]
    (hold,) = bench.look()
    assert hold.effect is Effect.RELEASE
    assert hold.detail == "the card does not answer: GPU is lost"
    assert bench.loss.leaves


def test_a_card_that_answers_again_in_time_is_no_loss(bench: Bench) -> None:
    for _ in range(5):
        bench.gpu.lost = True
        assert bench.after(10) == []
        bench.gpu.lost = False
        assert bench.after(5) == []
    assert not bench.loss.leaves


def test_a_driver_that_hangs_counts_as_lost_without_an_answer(bench: Bench) -> None:
    bench.loss._asked_at = bench.clock.monotonic()
    bench.clock.advance(POLICY.hung_seconds + 1)
    (hold,) = bench.look()
    assert "the driver hangs" in hold.detail


def test_a_restart_that_did_not_help_is_not_tried_again_and_the_hold_stays(
    bench: Bench, tmp_path: Path
) -> None:
    bench.gpu.lost = True
    bench.after(30)
    assert bench.loss.leaves
    again = Bench(tmp_path / "gpu-lost")
    again.gpu.lost = True
    assert again.after(600) == [Reason.GPU_LOST]
    assert not again.loss.leaves
    again.gpu.lost = False
    assert again.after(5) == []


def test_a_loss_hours_later_is_worth_another_restart(bench: Bench) -> None:
    bench.gpu.lost = True
    bench.after(30)
    bench.loss.leaves = False
    bench.gpu.lost = False
    assert bench.after(2 * POLICY.again_seconds) == []
    bench.gpu.lost = True
    assert bench.after(30) == [Reason.GPU_LOST]
    assert bench.loss.leaves


def test_without_a_place_for_the_mark_nobody_leaves(bench: Bench, tmp_path: Path) -> None:
    bench.loss._mark = tmp_path / "missing" / "gpu-lost"
    bench.gpu.lost = True
    assert bench.after(30) == [Reason.GPU_LOST]
    assert not bench.loss.leaves


def test_a_card_that_the_last_daemon_lost_is_missing_and_not_absent(tmp_path: Path) -> None:
    clock = FakeClock()
    found: list[SimulatedGpu] = []
    gpu = MissingGpu(lambda: found[0] if found else None)
    with pytest.raises(GpuLost, match="not found any more"):
        gpu.read()
    found.append(SimulatedGpu(clock))
    assert gpu.limits() == found[0].limits()
    gpu.set_limit(150.0)
    assert gpu.read().limit_watts == 150.0
    assert gpu.processes() == ()
