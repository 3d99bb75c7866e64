"""disk: training goes on while it makes sense, then is held, and goes on by itself."""

from __future__ import annotations

import errno
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.domain import Effect, Reason
from orchestrator.holds.disk_room import Room, in_words, is_held
from orchestrator.holds.disk_sense import DiskSense
from orchestrator.holds.senses import Moment
from orchestrator.home.run_disk import FakeDisk, MountedDisk
from orchestrator.shelf import Shelf
from tests.unit.checkpoint.plain import commit_plain
from tests.unit.supervisor.rig import Rig
from trainer.contract import messages as m

NOW = datetime(2026, 12, 1, tzinfo=UTC)
#: the two files of a plain checkpoint with its manifest, roughly; what is needed is above 1 MiB
PLENTY, TIGHT = 10 << 20, 1 << 20


class Hoard(Shelf):
    """Old checkpoints that may go."""

    def __init__(self, size_bytes: int = 0) -> None:
        self.size_bytes = size_bytes
        self.relieved: list[str] = []

    def freeable_bytes(self, run: str) -> int:
        return self.size_bytes

    def relieve(self, run: str) -> None:
        self.relieved.append(run)


def disk_below(rig: Rig, shelf: Shelf) -> tuple[DiskSense, FakeDisk]:
    """A sense of the rig's run, on a disk that is told how full it is."""
    disk = FakeDisk(PLENTY)
    sense = DiskSense(rig.supervisor.paths, disk, lambda: shelf)
    rig.senses.append(sense)
    return sense, disk


def test_training_goes_on_until_a_power_cut_would_cost_too_much_then_it_is_held(rig: Rig) -> None:
    sense, disk = disk_below(rig, Hoard())
    rig.submit()
    rig.train(0, 3)
    commit_plain(rig.root / "runs" / "month", 3)
    rig.engine.event(m.Saved(3, "gen-3", 10, 0.1, "schedule"))
    disk.free = TIGHT
    sense.ask()
    assert rig.pass_time(600).setpoint.effect is Effect.RUN
    held = rig.pass_time(301)
    assert held.setpoint.effect is Effect.PAUSE
    assert held.setpoint.reasons == (Reason.DISK,)
    assert held.holds[0].detail == "a checkpoint needs 1.1 MB, 1.0 MB free"
    assert rig.engine.commands[-1] == m.Pause()

    disk.free = round(1.1 * Room(0, 6_000).needed_bytes)
    sense.ask()
    assert rig.settle().setpoint.effect is Effect.PAUSE, "only just enough would soon be too little"
    disk.free = PLENTY
    sense.ask()
    assert rig.settle().setpoint.effect is Effect.RUN
    assert rig.engine.commands[-1] == m.Resume()
    assert [kind for kind in rig.kinds() if kind.startswith("hold_")] == [
        "hold_started",
        "hold_ended",
    ]


def test_no_trainer_is_started_whose_work_could_not_be_saved(rig: Rig) -> None:
    sense, disk = disk_below(rig, Hoard())
    rig.submit()
    rig.train(0, 3)
    disk.free = 5000
    sense.ask()
    assert rig.settle().setpoint.effect is Effect.RUN
    rig.die()
    assert rig.settle().setpoint.reasons == (Reason.DISK,)
    assert rig.engine.calls.count("start") == 1
    disk.free = PLENTY
    sense.ask()
    rig.settle()
    assert rig.engine.calls.count("start") == 2


def test_what_retention_can_free_counts_and_is_freed_before_a_save_fails(rig: Rig) -> None:
    hoard = Hoard(50 << 20)
    sense, disk = disk_below(rig, hoard)
    rig.submit()
    rig.train(0, 3)
    disk.free = 0
    sense.ask()
    assert rig.pass_time(5000).setpoint.effect is Effect.RUN
    assert hoard.relieved == ["month"]


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.EROFS, "the file system is read-only"), (errno.EIO, "Input/output error")],
)
def test_a_disk_that_takes_nothing_holds_and_is_tried_until_it_does(
    rig: Rig, code: int, words: str
) -> None:
    sense, disk = disk_below(rig, Hoard())
    rig.submit()
    rig.train(0, 3)
    disk.error = OSError(code, "no")
    sense.ask()
    assert rig.settle().setpoint.effect is Effect.RUN
    held = rig.pass_time(1000)
    assert held.holds[0].detail == f"no checkpoint can be written: {words}"
    sense.ask()
    assert rig.settle().setpoint.reasons == (Reason.DISK,)
    disk.error = None
    sense.ask()
    assert rig.settle().setpoint.effect is Effect.RUN


def test_a_look_that_fails_changes_nothing_and_another_run_is_looked_at_anew(rig: Rig) -> None:
    sense, disk = disk_below(rig, Hoard())
    disk.free = 0
    sense.ask()
    moment = Moment(NOW, 0.0, "month")
    assert sense.look(moment) == ()
    sense.ask()
    assert [hold.reason for hold in sense.look(moment)] == [Reason.DISK]
    sense._shelf = lambda: 1 / 0  # type: ignore[assignment, return-value] # a store that fails
    disk.free = 1
    sense.ask()
    assert sense.look(moment) != ()
    assert sense.look(Moment(NOW, 0.0, "other")) == ()


def test_the_figures_are_those_of_the_commit_protocol() -> None:
    room = Room(1_100_000_000, 2_900_000_000, 200_000_000)
    assert (
        in_words(room) == "a checkpoint needs 3.2 GB, 1.1 GB free and 200.0 MB in old checkpoints"
    )
    assert not is_held(False, None, None, 900)
    assert is_held(True, None, 0.0, 900)
    assert not is_held(False, Room(PLENTY, None), None, 900)


def test_a_real_small_disk_is_measured_written_to_and_found_read_only(tmp_path: Path) -> None:
    disk = MountedDisk()
    disk.try_to_write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    line = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(line, capture_output=True, check=False).returncode != 0:
        assert os.environ.get("CI") != "true", "CI must be able to mount"
        pytest.skip("cannot mount a small disk here")
    try:
        assert disk.free_bytes(tmp_path) <= 1 << 20
        (tmp_path / "ballast").write_bytes(bytes(disk.free_bytes(tmp_path)))
        disk.try_to_write(tmp_path)
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        with pytest.raises(OSError, match=r"[Rr]ead-only"):
            disk.free_bytes(tmp_path)
        with pytest.raises(OSError, match=r"[Rr]ead-only"):
            disk.try_to_write(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
