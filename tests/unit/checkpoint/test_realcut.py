"""Real power cuts: a real ext4 and xfs, a real kernel, our writers in the middle of their work."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.powercut import loopdisk
from tests.powercut import store as powercut_store
from tests.powercut.loopdisk import FILE_SYSTEMS, LoopDisk, loop_disk
from tests.unit.checkpoint.plain import ROOT
from trainer.checkpoint import catalog


def read_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(count)]


def cut(disk: LoopDisk, command: list[str], lines: int) -> list[str]:
    """Run a writer until it has said so many lines, cut; all that it had said by then."""
    with subprocess.Popen(
        [sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        said = read_lines(process, lines)
        disk.cut_under(process.pid)
        # an ended child was waited for already; Popen need not do it again
        process.returncode = -9
        assert process.stdout is not None
        said += process.stdout.readlines()
    return [line.strip() for line in said if line.endswith("\n")]


def cut_under_saves(kind: str, seed: int, cuts: int) -> int:
    """Checkpoints, retention, cut, recovery, and on with the same directory; how many saves."""
    rng = random.Random(seed)
    saves = 0
    with loop_disk(kind) as disk:
        run_dir = disk.root / "run"
        run_dir.mkdir()
        disk.sync()
        kept: set[str] = set()
        for _ in range(cuts):
            command = ["tests.unit.checkpoint.plain", "save", str(run_dir), "3"]
            said = cut(disk, command, rng.randint(1, 300))
            kept |= {line.split()[1] for line in said if line.startswith("saved ")}
            saves += sum(line.startswith("saved ") for line in said)
            kept -= {line.split()[1] for line in said if line.startswith("deleted ")}
            whole = {
                entry.name
                for entry in catalog.list_checkpoints(run_dir)
                if catalog.verify(entry.path).ok
            }
            assert catalog.damaged(run_dir) == []
            # a deletion may have happened and not have been said any more: never of the newest
            assert set(sorted(kept | whole)[-3:]) <= whole, (kept, whole)
            kept = whole
    return saves


def cut_under_transactions(kind: str, seed: int, cuts: int) -> int:
    """How many transactions had been acknowledged before the cuts; each of them is there."""
    rng = random.Random(seed)
    transactions = 0
    for number in range(cuts):
        with loop_disk(kind) as disk:
            state = disk.root / f"state-{number}"
            state.mkdir()
            disk.sync()
            lines = rng.randint(1, 60)
            said = cut(disk, ["tests.powercut.store", str(state), "1000", "FULL"], lines)
            assert powercut_store.look(state, *acknowledged(said))[1] == ""
            transactions += acknowledged(said)[0]
    return transactions


def acknowledged(said: list[str]) -> tuple[int, int]:
    numbers = [line.split()[1:] for line in said]
    return (
        max((int(number) for word, number in numbers if word == "done"), default=0),
        max((int(number) for word, number in numbers if word == "backup"), default=0),
    )


@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_a_real_power_cut_leaves_every_acknowledged_checkpoint(kind: str) -> None:
    loopdisk.require(kind)
    assert cut_under_saves(kind, seed=1, cuts=3) > 0


@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_a_real_power_cut_leaves_every_acknowledged_transaction(kind: str) -> None:
    loopdisk.require(kind)
    assert cut_under_transactions(kind, seed=1, cuts=1) > 0


@pytest.mark.long
@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_forty_real_power_cuts_leave_every_acknowledged_checkpoint(kind: str) -> None:
    loopdisk.require(kind)
    assert cut_under_saves(kind, seed=2, cuts=40) > 40


@pytest.mark.long
@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_twenty_real_power_cuts_leave_every_acknowledged_transaction(kind: str) -> None:
    loopdisk.require(kind)
    assert cut_under_transactions(kind, seed=2, cuts=20) > 20


@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_a_real_power_cut_takes_what_nobody_synced(kind: str) -> None:
    """Otherwise these cuts would prove nothing."""
    loopdisk.require(kind)
    with loop_disk(kind) as disk:
        (disk.root / "synced").write_bytes(b"old")
        disk.sync()
        (disk.root / "new").write_bytes(b"new" * 1000)
        disk.cut_power()
        disk.unmount()
        disk.mount()
        assert (disk.root / "synced").read_bytes() == b"old"
        new: Path = disk.root / "new"
        assert not new.exists() or new.read_bytes() != b"new" * 1000
