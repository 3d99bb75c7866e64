"""The machine says that it goes to sleep or down: saved first, and on again afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from orchestrator.domain import AttemptEnd, Effect, Reason
from orchestrator.holds.sleep_sense import SleepSense
from orchestrator.home.logind import Coming, FakeLogind
from orchestrator.supervisor import Wake
from tests.unit.checkpoint.plain import commit_plain
from tests.unit.supervisor.rig import Rig
from trainer.contract import messages as m

HOUR = 3600.0


@dataclass
class House:
    """A rig whose machine can announce things."""

    rig: Rig
    logind: FakeLogind = field(default_factory=FakeLogind)

    def __post_init__(self) -> None:
        supervisor = self.rig.supervisor
        sense = SleepSense(
            self.logind,
            self.rig.clock,
            trainer_lives=lambda: supervisor.life is not None,
            journal=supervisor.journal,
        )
        self.rig.senses.append(sense)
        self.logind.open(lambda: supervisor.inbox.put(Wake()))

    @property
    def waits(self) -> bool:
        return self.logind.state().waited_for

    def save_and_leave(self, step: int) -> None:
        """The trainer does what a Stop asks for."""
        run_dir = self.rig.supervisor.paths.run("month")
        saved = commit_plain(run_dir, step)
        self.rig.engine.event(m.Saved(step, saved.name, 1000, 0.8, "stop"))
        self.rig.settle()
        assert self.waits, "a checkpoint is no end: the process still holds the card"
        self.rig.engine.event(m.Stopped(step, "stop"))
        self.rig.engine.exit("exit code 0")
        self.rig.settle()

    def told(self, kind: str) -> list[str]:
        found = self.rig.commands.journal(limit=1000)
        return [entry.message for entry in found if entry.kind == kind]


@pytest.fixture
def house(rig: Rig) -> Iterator[House]:
    built = House(rig)
    rig.submit()
    rig.train(0, 7)
    return built


def test_the_machine_sleeps_only_after_the_checkpoint_and_training_goes_on_when_it_wakes(
    house: House,
) -> None:
    rig = house.rig
    house.logind.announce(Coming.SLEEP)
    held = rig.settle()
    assert held.setpoint.reasons == (Reason.SLEEP,)
    assert held.setpoint.effect is Effect.RELEASE
    assert "the machine goes to sleep" in held.headline
    assert rig.engine.commands[-1] == m.Stop()
    assert house.waits
    rig.clock.advance(1.2)
    house.save_and_leave(7)
    assert not house.waits
    (words,) = house.told("lock_released")
    assert words == "The trainer has left within 1.2 s: the machine may sleep."
    rig.clock.suspend(8 * HOUR)
    house.logind.announce(Coming.NOTHING)
    rig.settle()
    assert house.waits, "the next sleep waits too"
    rig.train(7, 9)
    assert rig.supervisor.board.snapshot().setpoint.effect is Effect.RUN
    assert rig.ends()[0] is AttemptEnd.STOPPED
    assert rig.supervisor.books.total("month", "lost_steps") == 0
    kinds = rig.kinds()
    story = ["hold_started", "checkpoint_saved", "attempt_ended", "lock_released"]
    places = [kinds.index(kind) for kind in story]
    assert places == sorted(places)
    assert {"suspended", "hold_ended", "attempt_started"} <= set(kinds[places[-1] :])


def test_a_shutdown_is_saved_for_and_the_daemon_stays_until_its_signal(house: House) -> None:
    house.logind.announce(Coming.SHUTDOWN)
    held = house.rig.settle()
    assert held.setpoint.reasons == (Reason.DRAIN,)
    assert "the machine shuts down" in held.headline
    house.save_and_leave(7)
    assert not house.waits
    assert not house.rig.supervisor.draining
    assert house.rig.engine.running is None


def test_a_shutdown_that_was_called_off_lets_training_go_on(house: House) -> None:
    house.logind.announce(Coming.SHUTDOWN)
    house.rig.settle()
    house.save_and_leave(7)
    house.logind.announce(Coming.NOTHING)
    house.rig.settle()
    assert house.rig.engine.running is not None


def test_where_nothing_runs_the_machine_does_not_wait_at_all(rig: Rig) -> None:
    house = House(rig)
    house.logind.announce(Coming.SLEEP)
    rig.settle(ticks=1)
    assert not house.waits
    assert house.told("lock_released") == []


def test_a_trainer_that_still_loads_is_ended_at_once(rig: Rig) -> None:
    house = House(rig)
    rig.submit()
    assert rig.engine.running is not None
    house.logind.announce(Coming.SLEEP)
    rig.settle()
    assert rig.engine.kills == ["not needed any more"]
    assert not house.waits


def test_a_paused_run_is_saved_too_and_stays_paused_afterwards(house: House) -> None:
    rig = house.rig
    rig.commands.pause(run=None, until=None, release=False, detail="gaming", source="test")
    rig.settle()
    house.logind.announce(Coming.SLEEP)
    rig.settle()
    assert rig.engine.commands[-1] == m.Stop()
    house.save_and_leave(7)
    rig.clock.suspend(HOUR)
    house.logind.announce(Coming.NOTHING)
    held = rig.settle()
    assert held.setpoint.reasons == (Reason.USER,)
    assert rig.engine.running is None


def test_a_save_that_takes_longer_than_logind_waits_is_told(house: House) -> None:
    house.logind.announce(Coming.SLEEP)
    house.rig.settle()
    house.rig.pass_time(4.4)
    assert house.waits
    house.rig.pass_time(0.2)
    assert not house.waits
    (words,) = house.told("lock_ran_out")
    assert "5 s that logind waits" in words
    house.rig.clock.suspend(HOUR)
    house.logind.announce(Coming.NOTHING)
    house.rig.settle()
    assert len(house.told("lock_ran_out")) == 1


def test_a_machine_that_did_not_wait_is_told_when_it_wakes(rig: Rig) -> None:
    house = House(rig)
    house.logind.refuses = "polkit says no"
    house.logind.announce(Coming.NOTHING)
    rig.submit()
    rig.train(0, 7)
    house.logind.announce(Coming.SLEEP)
    rig.settle()
    rig.clock.suspend(HOUR)
    house.logind.announce(Coming.NOTHING)
    rig.settle()
    assert "before the machine slept" in house.told("lock_ran_out")[0]


def test_a_sleep_whose_end_nobody_tells_is_over_ten_seconds_after_it(house: House) -> None:
    """systemd#30666: no word after a hibernation."""
    rig = house.rig
    house.logind.announce(Coming.SLEEP)
    rig.settle()
    house.save_and_leave(7)
    rig.clock.suspend(8 * HOUR)
    rig.settle()
    rig.pass_time(9.0)
    assert rig.engine.running is None, "it may only be on the way from suspend to hibernation"
    rig.pass_time(1.0)
    assert rig.engine.running is not None
    rig.train(7, 8)
    house.logind.announce(Coming.NOTHING)
    house.logind.announce(Coming.SLEEP)
    assert rig.settle().setpoint.reasons == (Reason.SLEEP,), "the next one counts again"


def test_an_announcement_that_nothing_follows_holds_nobody_for_ever(house: House) -> None:
    rig = house.rig
    house.logind.announce(Coming.SHUTDOWN)
    rig.settle()
    house.save_and_leave(7)
    rig.pass_time(599.0)
    assert rig.engine.running is None
    rig.pass_time(1.0)
    assert rig.engine.running is not None


def test_a_shutdown_announced_during_a_sleep_takes_its_place(house: House) -> None:
    rig = house.rig
    house.logind.announce(Coming.SLEEP)
    rig.settle()
    house.logind.announce(Coming.SHUTDOWN)
    assert rig.settle().setpoint.reasons == (Reason.DRAIN,)
    house.save_and_leave(7)
    assert not house.waits


def test_two_sleeps_between_two_looks_are_the_second_one(house: House) -> None:
    for _ in range(2):
        house.logind.announce(Coming.SLEEP)
        house.logind.announce(Coming.NOTHING)
    house.logind.announce(Coming.SLEEP)
    house.rig.settle()
    house.save_and_leave(7)
    assert not house.waits
