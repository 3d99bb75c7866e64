"""A disk that is full, read-only or broken under a trainer: training goes on, and saves later."""

from __future__ import annotations

import contextlib
import errno
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.campaign.nursery import Track
from tests.campaign.row import Row
from tests.campaign.tally import Tally
from trainer import saver
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.disk import REAL, FaultyDisk, Operation

_STEPS = 120
#: steps between the beginning of a fault and its end
_LASTS_STEPS = 60
_BEGINS_STEP = 40
FULL, READ_ONLY, BROKEN = "disk full (tmpfs)", "disk read-only (tmpfs)", "I/O errors in saves"


def run(seed: int, count: int, root: Path) -> list[Row]:
    """``count`` faults of each kind; the mounts only where this user may mount."""
    chance = random.Random(seed)
    truth = Track(root, _STEPS, "undisturbed").undisturbed()
    tallies = [Tally(BROKEN)]
    for number in range(count):
        _broken(Track(root, _STEPS, f"broken-{number}"), chance, tallies[0], truth)
    if _may_mount(root):
        tallies += [Tally(FULL), Tally(READ_ONLY)]
        for number in range(count):
            _mounted(Track(root, _STEPS, f"full-{number}"), _Ballast(), tallies[1], truth)
            _mounted(Track(root, _STEPS, f"ro-{number}"), _Remount(), tallies[2], truth)
    return [tally.row() for tally in tallies]


# --- injected errors ------------------------------------------------------------------------


def _broken(track: Track, chance: random.Random, tally: Tally, truth: str) -> None:
    """An operation fails with EIO or ENOSPC; the trainer is told by its own saver.

    One a life: a trainer waits a minute after a save that failed, longer than it lives here.
    """
    faults = random.Random(chance.random())
    left = faults.randrange(40)

    def fault(operation: Operation) -> int:
        nonlocal left
        if operation.kind not in ("write", "fsync", "fsync_dir", "rename", "create", "mkdir"):
            return 0
        left -= 1
        return 0 if left != -1 else faults.choice((errno.EIO, errno.ENOSPC))

    whole, broken = saver.writer.save, FaultyDisk(fault)

    def save(*arguments: Any, **named: Any) -> Entry:
        # a final save that fails is tried again a minute later, which tells nothing new
        disk = REAL if named["reason"] == "final" else broken
        return whole(*arguments, **named, disk=disk)

    saver.writer.save = save
    try:
        life = track.live()
    finally:
        saver.writer.save = whole
    failed = sum(kind in ("io", "disk_full") for kind in life.troubles)
    tally.injected += failed
    tally.wrong += not life.finished or track.digest() != truth
    tally.recovered += failed * life.finished
    tally.lost_seconds += [0.0] * failed


# --- small mounts ---------------------------------------------------------------------------


class _Ballast:
    """Fills the disk up, and takes it away again."""

    def begin(self, place: Path) -> None:
        # piece by piece: the trainer writes and deletes beside us, and a full disk is what we want
        with (place / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(1 << 16))

    def end(self, place: Path) -> None:
        (place / "ballast").unlink()


class _Remount:
    """A file system that turns read-only after an error, as ext4 does."""

    def begin(self, place: Path) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=False)

    def end(self, place: Path) -> None:
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)


def _mounted(track: Track, fault: _Ballast | _Remount, tally: Tally, truth: str) -> None:
    with _small_disk(track.run_dir / "checkpoints", "8m") as place:
        steps_in_fault = 0

        def watch(event: dict[str, Any]) -> None:
            nonlocal steps_in_fault
            if event["type"] != "Step":
                return
            if event["step"] == _BEGINS_STEP:
                fault.begin(place)
            elif event["step"] == _BEGINS_STEP + _LASTS_STEPS:
                fault.end(place)
            steps_in_fault += _BEGINS_STEP < event["step"] <= _BEGINS_STEP + _LASTS_STEPS

        life = track.live(watch=watch)
        tally.injected += 1
        went_on = steps_in_fault == _LASTS_STEPS and any(
            kind in ("io", "disk_full") for kind in life.troubles
        )
        if life.finished and went_on:
            tally.recovered_after(0.0)
        tally.wrong += not life.finished or track.digest() != truth


@contextlib.contextmanager
def _small_disk(place: Path, size: str) -> Iterator[Path]:
    place.mkdir(parents=True)
    line = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    subprocess.run(line, check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _may_mount(root: Path) -> bool:
    place = root / "mount-test"
    try:
        with _small_disk(place, "1m"):
            return True
    except (subprocess.CalledProcessError, OSError):
        return False
