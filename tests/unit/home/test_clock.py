"""The fake clock keeps the promises of the real one."""

from __future__ import annotations

import queue

import pytest

from orchestrator.home.clock import Clock, FakeClock, SystemClock

CLOCKS = [SystemClock(), FakeClock()]


@pytest.mark.parametrize("clock", CLOCKS, ids=["system", "fake"])
def test_time_is_aware_and_waiting_moves_both_clocks(clock: Clock) -> None:
    wall, steady = clock.now(), clock.monotonic()
    clock.sleep(0.01)
    assert clock.now() > wall
    assert clock.monotonic() >= steady + 0.009
    assert clock.now().utcoffset() is not None


@pytest.mark.parametrize("clock", CLOCKS, ids=["system", "fake"])
def test_an_inbox_gives_what_it_has_and_none_when_time_is_up(clock: Clock) -> None:
    inbox: queue.SimpleQueue[str] = queue.SimpleQueue()
    inbox.put("note")
    assert clock.get(inbox, 5.0) == "note"
    before = clock.monotonic()
    assert clock.get(inbox, 0.01) is None
    assert clock.monotonic() >= before + 0.009


def test_a_jump_moves_the_wall_and_not_the_intervals() -> None:
    clock = FakeClock()
    wall, steady = clock.now(), clock.monotonic()
    clock.jump(-3600)
    assert (clock.now() - wall).total_seconds() == -3600
    assert clock.monotonic() == steady
