"""The log file: its tail, and following it through all that happens to log files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.web.logs import MAX_LINE_BYTES, Follower, tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "trainer.log"


@pytest.fixture
def follower(log: Path) -> Iterator[Follower]:
    follower = Follower(lambda: log)
    yield follower
    follower.close()


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [
        (b"", 5, []),
        (b"\n", 5, [""]),
        (b"one\ntwo\nthree\n", 2, ["two", "three"]),
        (b"one\ntwo\nunfinished", 2, ["two", "unfinished"]),
        (b"one\r\ntwo\r\n", 5, ["one", "two"]),
        (b"10%\r20%\rdone\n", 2, ["20%", "done"]),
        (b"bad \xff byte\n", 1, ["bad � byte"]),
    ],
)
def test_tail_is_the_last_lines(log: Path, content: bytes, lines: int, expected: list[str]) -> None:
    log.write_bytes(content)
    assert tail(log, lines) == expected


def test_tail_of_a_large_file_reads_only_its_end(log: Path) -> None:
    log.write_text("".join(f"line {number}\n" for number in range(200_000)))
    assert tail(log, 3) == ["line 199997", "line 199998", "line 199999"]
    assert len(tail(log, 10_000)) == 10_000


def test_tail_of_a_missing_file_is_empty(log: Path) -> None:
    assert tail(log, 3) == []


def test_line_without_end_comes_in_pieces(log: Path) -> None:
    log.write_bytes(b"x" * (3 * MAX_LINE_BYTES))
    assert [len(line) for line in tail(log, 10)] == [MAX_LINE_BYTES] * 3


def test_unfinished_line_waits_for_its_end(log: Path, follower: Follower) -> None:
    log.write_text("old\nhalf")
    assert follower.start(5) == ["old"]
    append(log, " a line")
    assert follower.read() == []
    append(log, ", whole\nnext\n")
    assert follower.read() == ["half a line, whole", "next"]
    assert follower.read() == []


def test_no_lines_asked_for_means_only_new_ones(log: Path, follower: Follower) -> None:
    log.write_text("old\n")
    assert follower.start(0) == []
    append(log, "new\n")
    assert follower.read() == ["new"]


def test_rotation_loses_no_line(log: Path, follower: Follower) -> None:
    log.write_text("one\n")
    follower.start(5)
    append(log, "last of the old\nunfinished")
    log.rename(log.with_suffix(".1"))
    log.write_text("first of the new\n")
    assert follower.read() == ["last of the old"]
    assert follower.read() == ["unfinished", "first of the new"]
    append(log, "more\n")
    assert follower.read() == ["more"]


def test_gap_in_a_rotation_is_waited_out(log: Path, follower: Follower) -> None:
    log.write_text("one\n")
    follower.start(5)
    log.unlink()
    assert follower.read() == []
    log.write_text("two\n")
    assert follower.read() == ["two"]


def test_truncated_file_is_read_from_its_start(log: Path, follower: Follower) -> None:
    log.write_text("a long line that was there before\n")
    follower.start(5)
    log.write_text("new\n")
    assert follower.read() == ["new"]


def test_another_run_means_another_file(tmp_path: Path) -> None:
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    first.write_text("one\n")
    where = [first]
    follower = Follower(lambda: where[0])
    assert follower.start(5) == ["one"]
    append(first, "two\n")
    where[0] = second
    second.write_text("three\n")
    assert follower.read() == ["two", "three"]
    follower.close()


def test_endless_line_is_not_kept_for_ever(log: Path, follower: Follower) -> None:
    log.write_bytes(b"")
    follower.start(5)
    append(log, "x" * (MAX_LINE_BYTES + 1))
    assert [len(line) for line in follower.read()] == [MAX_LINE_BYTES, 1]


def test_directory_in_place_of_a_log_is_an_error_not_silence(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        tail(tmp_path, 5)
