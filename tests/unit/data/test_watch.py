"""The watch: progress keeps coming, and an abort goes through at once."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from datetime import UTC, datetime

import pytest

from trainer.clock import SystemClock
from trainer.data.watch import EVERY_SECONDS, Watch


class SteppingClock:
    """Time passes only when somebody sleeps or the test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class AbortError(Exception):
    """What a progress callback raises to stop the work."""


def told_by(clock: SteppingClock) -> tuple[Watch, list[tuple[str, float]]]:
    told: list[tuple[str, float]] = []
    return Watch(lambda detail, fraction: told.append((detail, fraction)), clock), told


def test_progress_is_told_at_most_so_often() -> None:
    clock = SteppingClock()
    watch, told = told_by(clock)
    for number in range(1000):
        watch.say("working", number / 1000)
        clock.seconds += EVERY_SECONDS / 100
    assert 9 <= len(told) <= 11


def test_beginning_of_a_part_is_told_at_once() -> None:
    watch, told = told_by(SteppingClock())
    watch.begin("first", 0.0)
    watch.begin("second", 0.5)
    assert told == [("first", 0.0), ("second", 0.5)]


def test_fraction_never_falls() -> None:
    watch, told = told_by(SteppingClock())
    watch.begin("first", 0.5)
    watch.begin("second", 0.3)
    assert told[-1] == ("second", 0.5)


def test_pause_waits_until_the_next_report() -> None:
    clock = SteppingClock()
    watch, told = told_by(clock)
    watch.begin("waiting", -1.0)
    watch.pause()
    watch.pause()
    assert len(told) == 3
    assert clock.seconds == pytest.approx(100.0 + 2 * EVERY_SECONDS)


def test_reports_keep_coming_while_a_result_is_awaited() -> None:
    future: Future[int] = Future()
    told: list[str] = []

    def progress(detail: str, fraction: float) -> None:
        told.append(detail)
        if len(told) == 3:
            future.set_result(7)

    watch = Watch(progress, SystemClock())
    watch.begin("encoding", 0.1)
    assert watch.wait(future) == 7
    assert told == ["encoding"] * 3


def test_abort_leaves_long_work_at_once() -> None:
    release = threading.Event()

    def progress(detail: str, fraction: float) -> None:
        raise AbortError

    try:
        with pytest.raises(AbortError):
            Watch(progress, SystemClock()).run(lambda: release.wait(60), lambda: None)
    finally:
        release.set()


def test_result_and_error_of_the_work_come_through() -> None:
    watch, _ = told_by(SteppingClock())
    assert watch.run(lambda: 5, lambda: None) == 5
    with pytest.raises(ZeroDivisionError):
        watch.run(lambda: 1 // 0, lambda: None)
