"""The tick with a real store and a fake engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.decide import Policy
from orchestrator.domain import AttemptEnd, Checkpoint, Effect, Reason, RunState
from orchestrator.engine.base import TrainerEvent, TrainerExited
from orchestrator.errors import NotFound
from orchestrator.mainloop import MainLoop, is_decisive
from tests.unit.checkpoint.plain import commit_plain
from tests.unit.supervisor.rig import Rig
from trainer.contract import messages as m


def test_a_submitted_run_starts_and_the_snapshot_follows_it(rig: Rig) -> None:
    rig.submit()
    assert rig.engine.calls == ["open", "start"]
    rig.train(0, 3)
    rig.supervisor.flush()
    snapshot = rig.settle()
    assert snapshot.run is not None
    assert (snapshot.run.name, snapshot.run.step, snapshot.run.steps) == ("month", 3, 100)
    assert snapshot.run.trainer_pid == 4711
    assert snapshot.counters["month"]["steps"] == 3
    assert snapshot.counters["month"]["tokens"] == 192


def test_the_job_carries_the_attempt_as_its_fencing_token(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 1)
    rig.die()
    assert [job.attempt for job in rig.engine.jobs] == [1, 2]
    assert (rig.root / "runs" / "month" / "fence").exists()


def test_a_killed_trainer_that_made_progress_is_started_again_at_once(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 5)
    rig.die()
    assert rig.ends() == [AttemptEnd.CRASHED, None]
    assert rig.commands.attempts("month")[0].cause == "killed by SIGKILL"
    assert rig.engine.calls.count("start") == 2


def test_steps_that_are_computed_twice_are_counted_as_lost(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 7)
    rig.die()
    rig.train(4, 4)
    snapshot = rig.settle()
    assert snapshot.run is not None
    assert snapshot.run.lost_steps == 3


def test_fruitless_crashes_wait_longer_and_longer_and_end_in_a_hold(rig: Rig) -> None:
    rig.submit()
    waits = []
    for _ in range(4):
        rig.die("exit code 1")
        snapshot = rig.settle()
        assert snapshot.run is not None
        assert snapshot.run.next_start is not None
        waits.append((snapshot.run.next_start - snapshot.time).total_seconds())
        rig.pass_time(waits[-1])
    assert waits == pytest.approx([2, 4, 8, 16])
    rig.die("exit code 1")
    snapshot = rig.settle()
    assert [hold.reason for hold in snapshot.holds] == [Reason.CRASH_LOOP]
    assert "5 attempts in a row" in snapshot.holds[0].detail
    assert snapshot.headline.startswith("Stopped by repeated crashes")
    rig.pass_time(10_000)
    assert rig.engine.calls.count("start") == 5


def test_a_failure_that_trying_again_cannot_cure_holds_at_once(rig: Rig) -> None:
    rig.submit()
    rig.engine.event(m.Failed("data", "no such corpus", retry=False))
    rig.die("exit code 1")
    snapshot = rig.settle()
    assert snapshot.holds[0].detail == "data: no such corpus"
    assert rig.engine.calls.count("start") == 1
    rig.commands.resume(run=None, source="cli")
    rig.settle()
    assert rig.engine.calls.count("start") == 2


def test_a_resume_lifts_the_crash_loop_and_counts_anew_even_after_a_restart(rig: Rig) -> None:
    rig.supervisor.policy = replace(Policy(), crash_loop_after=1)
    rig.policy = replace(Policy(), crash_loop_after=1)
    rig.submit()
    rig.die("exit code 1")
    assert rig.settle().setpoint.effect is Effect.RELEASE
    rig.clock.advance(1)
    assert rig.commands.resume(run=None, source="test") == []
    rig.settle()
    assert rig.engine.running == 2
    rig.crash()
    rig.settle()
    assert rig.engine.running == 3


def test_a_silent_trainer_is_killed_and_started_again(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.pass_time(Policy().stall_after_seconds + 1)
    assert len(rig.engine.kills) == 1
    assert rig.ends()[0] is AttemptEnd.STALLED
    assert rig.engine.running == 2


def test_a_lost_engine_is_opened_again_and_the_run_goes_on(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.engine.lose("raylet is gone")
    rig.settle()
    assert rig.ends() == [AttemptEnd.ENGINE_LOST, None]
    assert rig.engine.calls == ["open", "start", "open", "start"]


def test_an_engine_that_cannot_start_is_tried_with_a_back_off(rig: Rig) -> None:
    rig.engine.ready_at_once = False
    rig.submit()
    rig.engine.lose("no ray here")
    rig.settle()
    assert rig.engine.calls == ["open"]
    rig.pass_time(Policy().backoff_first_seconds)
    assert rig.engine.calls == ["open", "open"]
    assert "engine_lost" in rig.kinds()


def test_a_dead_daemon_leaves_attempts_that_the_next_one_closes(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.supervisor.flush()
    rig.clock.advance(3600)
    rig.crash()
    assert rig.ends() == [AttemptEnd.DAEMON_LOST]
    assert rig.settle().counters["month"]["outage_seconds"] == pytest.approx(3600)
    assert "outage" in rig.kinds()


def test_another_boot_is_told_as_a_reboot(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.supervisor.flush()
    rig.boot = "boot-2"
    rig.crash()
    assert rig.ends() == [AttemptEnd.REBOOT]


def test_totals_never_fall_over_restarts(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 5)
    rig.pass_time(10)
    before = rig.supervisor.board.snapshot().counters["month"]
    assert before["energy_joules"] == pytest.approx(1000)
    assert before["active_seconds"] == pytest.approx(10)
    rig.crash()
    after = rig.settle().counters["month"]
    assert all(after[name] >= value for name, value in before.items())


def test_counters_only_show_what_a_killed_daemon_would_not_take_back(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 5)
    shown = rig.settle().counters.get("month", {})
    rig.crash()
    after = rig.settle().counters.get("month", {})
    assert all(after.get(name, 0.0) >= value for name, value in shown.items())


def test_the_first_snapshot_already_knows_run_and_holds(rig: Rig) -> None:
    rig.submit()
    rig.commands.pause(run=None, until=None, release=True, detail="holiday", source="cli")
    rig.store.close()
    rig.open()
    snapshot = rig.supervisor.board.snapshot()
    assert snapshot.headline.startswith("Stopped by you (holiday): month")


def test_an_estimate_is_marked_and_a_silent_meter_adds_nothing(rig: Rig) -> None:
    rig.meter.measured = False
    rig.submit()
    rig.train(0, 1)
    rig.pass_time(10)
    rig.meter.watts = None
    snapshot = rig.pass_time(10)
    assert snapshot.run is not None
    assert snapshot.run.power.watts is None
    assert snapshot.run.energy_joules == pytest.approx(1000)
    assert not snapshot.run.energy_measured


def test_a_drain_stops_the_trainer_closes_the_engine_and_returns(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.supervisor.drain()
    rig.settle()
    assert rig.engine.commands == [m.Stop()]
    rig.engine.event(m.Stopped(2, "stop"))
    rig.engine.exit("exit code 0")
    MainLoop(rig.supervisor, 1.0).run_until_drained()
    assert rig.engine.calls[-1] == "shutdown"
    assert rig.ends() == [AttemptEnd.STOPPED]


def test_a_trainer_that_does_not_leave_is_killed_at_the_end_of_the_drain(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.supervisor.drain()
    MainLoop(rig.supervisor, 1.0).run_until_drained()
    assert len(rig.engine.kills) == 1
    assert "did not leave within 120 s" in rig.engine.kills[0]


def test_a_quick_run_does_not_tick_at_every_step(rig: Rig) -> None:
    step = m.Step(1, 2, 3, 0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1, {})
    assert not is_decisive(TrainerEvent(1, step))
    assert is_decisive(TrainerEvent(1, m.Stopped(1, "stop")))
    assert is_decisive(TrainerExited(1, "gone"))


def test_events_of_an_earlier_attempt_are_ignored(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.engine.emit(TrainerEvent(0, m.Finished(100, 8.0, 2.0, "", "gen")))
    rig.engine.emit(TrainerExited(0, "late"))
    rig.settle()
    assert rig.commands.run("month").state is RunState.ACTIVE
    assert rig.engine.running == 1


def test_without_any_run_the_daemon_waits_without_an_engine(rig: Rig) -> None:
    snapshot = rig.settle()
    assert snapshot.run is None
    assert rig.engine.calls == []
    with pytest.raises(NotFound, match="no run yet"):
        rig.commands.checkpoints(None)


def test_a_run_that_went_back_is_told_counted_and_goes_on_from_there(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 8)
    with rig.store.transaction() as tx:
        for step in (4, 6):
            name = f"gen-0000000{step}"
            tx.checkpoints.add(Checkpoint("month", name, step, rig.clock.now(), 1, 1, "schedule"))
    undone = ["gen-00000006", "gen-00000004"]
    rig.engine.event(m.RolledBack(8, 4, "gen-00000004-new", [[5, 8]], undone, 1, "loss nan"))
    rig.step(5)
    snapshot = rig.settle()
    assert snapshot.run is not None
    assert snapshot.run.step == 5
    assert snapshot.run.lost_steps == 4
    assert rig.commands.checkpoints("month") == []
    told = [item for item in rig.commands.journal(limit=99) if item.kind == "rolled_back"]
    assert "from step 8 to step 4" in told[0].message
    assert told[0].data["skipped_batches"] == [[5, 8]]
    rig.die()
    assert rig.commands.attempts("month")[0].last_step == 5


def test_a_stop_on_a_full_disk_tells_what_is_only_in_memory_until_it_is_saved(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 5)
    commit_plain(rig.supervisor.paths.run("month"), 2)
    rig.engine.event(m.Saved(2, "gen-2", 10, 0.1, "schedule"))
    rig.commands.pause(run=None, until=None, detail="", release=True, source="cli")
    rig.settle()
    rig.engine.event(m.SaveFailed(5, "stop", "no space left", kind="disk_full"))
    rig.engine.event(m.Stopped(2, "stop", memory_step=4))
    rig.engine.exit("exit code 0")
    snapshot = rig.settle()
    assert rig.ends() == [AttemptEnd.STOPPED]
    told = next(entry.message for entry in rig.commands.journal() if entry.kind == "attempt_ended")
    assert told == (
        "Attempt 1 at month ended: stopped as told at step 5, but its last save failed: step 2 is "
        "on the disk, step 4 only in memory; a reboot would lose 2 steps, and 1 step is lost."
    )
    assert snapshot.run is not None
    assert snapshot.run.memory_step == 4
    assert "Step 2 is on the disk, the 2 steps after it are only in memory" in snapshot.headline

    rig.commands.resume(run=None, source="cli")
    rig.settle()
    rig.train(4, 5)
    rig.engine.event(m.Saved(5, "gen-5", 10, 0.1, "schedule"))
    rig.die()
    run = rig.settle().run
    assert run is not None
    assert run.memory_step is None


def test_a_trainer_is_told_whether_what_is_in_memory_can_be_its_runs(rig: Rig) -> None:
    rig.submit()
    rig.train()
    rig.die()
    rig.pass_time(400)
    rig.train(0, 2)
    rig.die()
    rig.pass_time(400)
    assert [job.goes_on for job in rig.engine.jobs] == [False, False, True]


def test_how_far_apart_saves_are_and_why_is_shown_and_written_down(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    sentence = "Saves come every 691 s (the SSD); a power cut costs at most 700 s of computing."
    rig.engine.event(m.Notice("saves", sentence, "info"))
    snapshot = rig.settle()
    assert snapshot.run is not None
    assert snapshot.run.saves == sentence
    assert sentence in [item.message for item in rig.commands.journal(limit=99)]
