"""The trainer's log lies on the disk of the checkpoints, and that disk may be full."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trainer import log
from trainer.clock import SystemClock

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, which every write finds full")
def test_a_full_disk_costs_lines_of_the_log_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / log.FILE).symlink_to(FULL)
    with log.redirected(tmp_path, SystemClock()) as lines:
        lines.line("the disk is full")
        print("so is standard output", "x" * 100_000)
        print("and standard error", file=sys.stderr)
        sys.stdout.flush()
    print("and goes on")
    assert capfd.readouterr() == ("and goes on\n", "")


def test_what_there_is_room_for_is_written_whole_and_in_order(tmp_path: Path) -> None:
    text = "ä" * 100_000
    with log.redirected(tmp_path, SystemClock()) as lines:
        lines.line("first")
        print(text)
        print("last", file=sys.stderr)
    first, second, third = (tmp_path / log.FILE).read_text(encoding="utf-8").splitlines()
    assert first.endswith("Z first")
    assert (second, third) == (text, "last")


def test_a_log_that_cannot_be_moved_goes_on_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    with log.redirected(tmp_path, SystemClock()) as lines:
        lines.line("x" * 100)
        log.Log(lines.path, SystemClock(), limit_bytes=10).rotate()
        lines.line("goes on")
    assert (tmp_path / log.FILE).read_text(encoding="utf-8").endswith("goes on\n")
