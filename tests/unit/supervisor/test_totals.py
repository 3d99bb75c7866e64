"""Totals that a person quotes: counted while it happens, there again after a crash."""

from __future__ import annotations

import pytest

from orchestrator.domain import Effect
from orchestrator.holds.outage_watch import OutagePolicy
from orchestrator.holds.ups_sense import UpsSense
from orchestrator.home.clock import FakeClock
from orchestrator.home.simulated_gpu import SimulatedGpu, SimulatedMeter
from orchestrator.home.ups import FakeUps, UpsReading
from orchestrator.home.volumes import FakeVolumes, MountedVolumes
from orchestrator.ledger.keeper import everything
from orchestrator.paths import Paths
from orchestrator.step_times import histogram, totals_of
from orchestrator.store import OWNER
from orchestrator.surroundings import GpuView, Lookout
from trainer.contract import messages as m

from .rig import Rig


def test_seconds_of_a_pause_are_counted_and_survive_a_crash(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.commands.pause(run=None, until=None, release=False, detail="", source="test")
    assert rig.settle().setpoint.effect is Effect.PAUSE
    rig.pass_time(3600)
    rig.pass_time(10)
    counted = rig.pass_time(0).counters["month"]["held_seconds_user"]
    assert counted == pytest.approx(3610)
    rig.crash()
    assert rig.settle().counters["month"]["held_seconds_user"] == counted
    rig.commands.resume(run=None, source="test")
    rig.settle()
    rig.pass_time(60)
    assert rig.pass_time(60).counters["month"]["held_seconds_user"] == counted


def test_a_hold_of_another_run_does_not_count(rig: Rig) -> None:
    rig.submit()
    rig.submit(name="later")
    rig.commands.pause(run="later", until=None, release=False, detail="", source="test")
    rig.settle()
    assert "held_seconds_user" not in rig.pass_time(60).counters.get("month", {})


def test_steps_evaluations_and_saves_are_counted_by_phase(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 3)
    rig.engine.event(m.Evaluated(3, 1.5, 3.1, 7.0))
    rig.settle()
    totals = rig.pass_time(10).counters["month"]
    buckets, _ = histogram(totals)
    assert buckets[-1] == ("+Inf", totals["steps"]) == ("+Inf", 3)
    assert totals["phase_seconds_eval"] == 7


def test_bad_steps_are_counted(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 1)
    rig.engine.event(m.Notice("loss_not_finite", "step 1 was left out", "error"))
    rig.engine.event(m.Notice("loss_spike", "step 2 is out of proportion", "warning"))
    rig.engine.event(m.Notice("loss_spike", "step 3 is out of proportion", "warning"))
    rig.engine.event(m.Notice("sentinel_mismatch", "step 3 gave different bits", "error"))
    rig.settle()
    totals = rig.pass_time(10).counters["month"]
    assert (totals["nonfinite_steps"], totals["loss_spikes"]) == (1, 2)
    assert totals["sentinel_mismatches"] == 1


def test_totals_of_the_daemon_itself_are_no_run(rig: Rig) -> None:
    with rig.store.transaction() as tx:
        tx.counters.add(OWNER, {"notified_entries": 5.0})
    rig.crash()
    assert OWNER not in rig.settle().counters


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, "0.1"), (0.1, "0.1"), (0.11, "0.3"), (600.0, "600.0")]
)
def test_a_step_falls_into_the_bucket_that_holds_it(seconds: float, bucket: str) -> None:
    buckets, total = histogram(totals_of(seconds))
    assert next(end for end, count in buckets if count == 1) == bucket
    assert total == seconds


def test_a_step_of_an_hour_is_beyond_all_ends() -> None:
    buckets, _ = histogram(totals_of(3600.0))
    assert [count for _, count in buckets] == [0] * (len(buckets) - 1) + [1]
    assert buckets[-1][0] == "+Inf"


# --- surroundings ---------------------------------------------------------------------------


def test_an_old_or_failed_answer_of_the_ups_is_not_told_as_fresh() -> None:
    clock = FakeClock()
    ups = FakeUps(UpsReading(on_battery=False, charge_ratio=0.9))
    sense = UpsSense(ups, clock, OutagePolicy())
    lookout = Lookout(clock, FakeVolumes(), sense)
    never = lookout.look().ups
    assert never is not None
    assert (never.reading, never.read_at) == (None, None)
    sense.ask()
    first = lookout.look().ups
    assert first is not None
    assert first.reading == ups.says
    assert first.read_at == clock.now()
    ups.says = "data is stale"
    sense.ask()
    failed = lookout.look().ups
    assert failed is not None
    assert failed.reading is None
    assert failed.read_at == first.read_at
    ups.says = UpsReading(on_battery=False)
    sense.ask()
    clock.advance(60)
    old = lookout.look().ups
    assert old is not None
    assert old.reading is None


def test_a_card_that_falls_off_the_bus_is_told_and_comes_back() -> None:
    clock = FakeClock()
    card = SimulatedGpu(clock)
    lookout = Lookout(clock, FakeVolumes(), gpu=card)
    there = lookout.look().gpu
    assert there is not None
    assert there.reading is not None
    assert there.processes == 0
    card.lost = True
    assert lookout.look().gpu == GpuView(None, None, "simulated")
    card.lost = False
    assert lookout.look().gpu == there


def test_each_file_system_is_told_once_and_a_missing_directory_is_left_out(rig: Rig) -> None:
    paths = Paths(rig.root)
    paths.runs.mkdir(exist_ok=True)
    found = MountedVolumes(
        {"state": paths.state, "runs": paths.runs, "gone": rig.root / "nowhere"}
    ).read()
    assert [volume.name for volume in found] == ["state"]
    assert 0 < found[0].free_bytes <= found[0].size_bytes


def test_unsaved_time_grows_while_computing_and_is_zero_after_a_save(rig: Rig) -> None:
    rig.submit(checkpoint={"every_seconds": 1800.0})
    assert unsaved(rig) is None
    rig.train(0, 3)
    rig.pass_time(300)
    assert unsaved(rig) == pytest.approx(300, abs=5)
    rig.commands.pause(run=None, until=None, release=False, detail="", source="test")
    rig.settle()
    rig.engine.event(m.Phase("paused"))
    rig.settle()
    before = unsaved(rig)
    rig.pass_time(60)
    assert unsaved(rig) == before
    rig.engine.event(m.Saved(3, "gen-00000003-000001-aaaa", 10, 0.5, "request", ""))
    rig.settle()
    assert unsaved(rig) == 0
    run = rig.settle().run
    assert run is not None
    assert run.checkpoint_every_seconds == 1800


def unsaved(rig: Rig) -> float | None:
    run = rig.settle().run
    assert run is not None
    return run.unsaved_seconds


def test_simulated_watts_are_estimated_in_the_ledger(rig: Rig) -> None:
    card = SimulatedGpu(rig.clock, wanted_watts=lambda: 150.0)
    rig.meter = SimulatedMeter(card)  # type: ignore[assignment]
    rig.crash()
    rig.submit()
    rig.train(0, 2)
    for _ in range(5):
        rig.pass_time(60)
    rig.supervisor.flush()
    rows = everything(rig.store)
    assert rows
    assert {(row.source, row.measured) for row in rows} == {("simulated", False)}
    view = rig.supervisor.board.snapshot().run
    assert view is not None
    assert not view.energy_measured
