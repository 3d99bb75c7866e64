"""Block by block: a real ext4 over a disk that may lose any write after the last flush."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.home.clock import SystemClock
from tests.powercut import loopdisk
from tests.powercut import store as powercut_store
from tests.powercut.blockdisk import (
    DISK,
    MARKS,
    Entry,
    NoFuseError,
    disks_after_a_cut,
    read_log,
    remembering_disk,
)
from tests.unit.checkpoint.plain import ROOT
from trainer.checkpoint import catalog

pytestmark = pytest.mark.long

_SIZE_BYTES = 16 << 20
_PATIENCE_SECONDS = 60.0

Recorded = tuple[bytes, list[Entry]]
#: what is wrong on a mounted disk, after these marks
Look = Callable[[Path, tuple[str, ...]], str]


def record(directory: Path, command: list[str], enough: Callable[[list[str]], bool]) -> Recorded:
    """Let a writer work on a disk that remembers, until it has done ``enough``; then end it."""
    loopdisk.require("ext4")
    image = directory / "image"
    loopdisk.make(image, "ext4", _SIZE_BYTES)
    begin, log = image.read_bytes(), directory / "log"
    clock = SystemClock()
    try:
        with remembering_disk(image, directory / "fuse", log) as disk:
            with loopdisk.mounted(disk / DISK) as root, (disk / MARKS).open("wb") as marks:
                work = root / "work"
                work.mkdir()
                words = [sys.executable, "-m", command[0], *command[1:]]
                words = [str(work) if word == "WORK" else word for word in words]
                with subprocess.Popen(words, cwd=ROOT, stdout=marks) as writer:
                    deadline = clock.monotonic() + _PATIENCE_SECONDS
                    while not enough(said(read_log(log))):
                        assert writer.poll() is None
                        assert clock.monotonic() < deadline
                        clock.sleep(0.05)
                    writer.kill()
            # unmounting made everything durable: it comes after all cuts
            return begin, until_the_last_mark(read_log(log))
    except NoFuseError as error:
        pytest.skip(f"{error}: NO BLOCK WAS REPLAYED")


def said(log: list[Entry]) -> list[str]:
    return [line for entry in log for line in entry.mark.split("\n") if line]


def until_the_last_mark(log: list[Entry]) -> list[Entry]:
    last = max(at for at, entry in enumerate(log) if entry.mark)
    return log[: last + 1]


def problems(recorded: Recorded, look: Look, scratch: Path, count: int) -> Iterator[str]:
    """Mount so many disks after a cut; what is wrong on each, or an empty string."""
    begin, log = recorded
    image = scratch / "after"
    for marks, content in disks_after_a_cut(begin, log, random.Random(7), count):
        image.write_bytes(content)
        lines = tuple(line for mark in marks for line in mark.split("\n") if line)
        try:
            with loopdisk.mounted(image) as root:
                yield look(root / "work", lines)
        except subprocess.CalledProcessError as error:
            yield f"it cannot be mounted: {error.stderr}"


def look_at_checkpoints(run_dir: Path, marks: tuple[str, ...]) -> str:
    saved = [mark.split()[1] for mark in marks if mark.startswith("saved ")]
    listed = catalog.list_checkpoints(run_dir) if run_dir.exists() else []
    whole = {entry.name for entry in listed if catalog.verify(entry.path).ok}
    if len(whole) < len(listed) or (listed and catalog.damaged(run_dir)):
        return "a damaged checkpoint"
    lost = set(sorted({*saved, *whole})[-2:]) - whole
    return f"lost: {lost}" if lost else ""


def look_at_the_store(state: Path, marks: tuple[str, ...]) -> str:
    numbers = [mark.split()[1:] for mark in marks]
    done = [int(number) for word, number in numbers if word == "done"]
    backups = [int(number) for word, number in numbers if word == "backup"]
    if not state.exists() and not done:
        return ""
    return powercut_store.look(state, max(done, default=0), max(backups, default=0))[1]


@pytest.fixture(scope="module")
def saves(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Eight saves with retention of two, block by block."""

    def enough(lines: list[str]) -> bool:
        return sum(line.startswith("saved ") for line in lines) >= 8

    command = ["tests.unit.checkpoint.plain", "save", "WORK", "2"]
    return record(tmp_path_factory.mktemp("saves"), command, enough)


@pytest.fixture(scope="module")
def transactions(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Transactions and backups of the store, block by block."""
    command = ["tests.powercut.store", "WORK", "1000", "FULL"]
    directory = tmp_path_factory.mktemp("transactions")
    return record(directory, command, lambda lines: "mark done 12" in lines)


def test_two_hundred_lost_blocks_cost_no_checkpoint(saves: Recorded, tmp_path: Path) -> None:
    assert set(problems(saves, look_at_checkpoints, tmp_path, 200)) == {""}


def test_two_hundred_lost_blocks_cost_no_transaction(
    transactions: Recorded, tmp_path: Path
) -> None:
    assert set(problems(transactions, look_at_the_store, tmp_path, 200)) == {""}


def test_a_disk_that_ignores_flushes_is_noticed(saves: Recorded, tmp_path: Path) -> None:
    """No file system can be right on such a disk; the replay sees it."""
    begin, log = saves
    lying = begin, [entry for entry in log if not entry.is_flush]
    assert any(problems(lying, look_at_checkpoints, tmp_path, 20))
