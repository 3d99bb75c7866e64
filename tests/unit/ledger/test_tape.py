"""What the meter says, minute by minute, until it is written down."""

from __future__ import annotations

import itertools
from datetime import timedelta

from orchestrator.domain import Power
from orchestrator.ledger.tape import Tape
from tests.unit.tariff.support import utc

START = utc("2026-12-01T10:00")
CARD = Power(200.0, "nvml", measured=True)
MODEL = Power(90.0, "estimated", measured=False)
UNKNOWN = Power(None, "nvml", measured=True)


def tick(tape: Tape, second: float, power: Power = CARD, run: str | None = "month") -> None:
    tape.add(run, power, START + timedelta(seconds=second), 1.0)


def test_ticks_become_one_stretch_a_minute() -> None:
    tape = Tape()
    for second in range(1, 181):
        tick(tape, second)
    found = tape.complete(START + timedelta(seconds=180), everything=True)
    assert sum(item.microjoules for item in found) == 180 * 200_000_000
    assert len(found) == 3
    assert found[0].start == START
    assert all(a.end == b.start for a, b in itertools.pairwise(found))


def test_only_minutes_that_are_over_are_complete() -> None:
    tape = Tape()
    for second in range(1, 100):
        tick(tape, second)
    now = START + timedelta(seconds=99)
    assert len(tape.complete(now)) == 1
    tape.drop(1)
    assert tape.complete(now) == []
    assert len(tape.complete(now + timedelta(minutes=1))) == 1
    assert len(tape.complete(now, everything=True)) == 1


def test_an_unknown_power_leaves_a_gap_and_not_a_zero() -> None:
    tape = Tape()
    tick(tape, 1)
    for second in range(2, 30):
        tick(tape, second, UNKNOWN)
    tick(tape, 30)
    found = tape.complete(START, everything=True)
    assert [(item.end - item.start).total_seconds() for item in found] == [1.0, 1.0]
    assert found[1].start == START + timedelta(seconds=29)


def test_another_source_or_run_begins_another_stretch() -> None:
    tape = Tape()
    tick(tape, 1)
    tick(tape, 2, MODEL)
    tick(tape, 3, MODEL, run=None)
    found = tape.complete(START, everything=True)
    assert [(item.run, item.source, item.measured) for item in found] == [
        ("month", "nvml", True),
        ("month", "estimated", False),
        (None, "estimated", False),
    ]


def test_a_clock_that_is_set_back_counts_no_energy_twice() -> None:
    tape = Tape()
    for second in (1, 2, 3):
        tick(tape, second)
    for second in (-3598, -3597):
        tick(tape, second)
    found = tape.complete(START, everything=True)
    assert sum(item.microjoules for item in found) == 5 * 200_000_000
    assert all(item.start < item.end for item in found)


def test_fractions_of_a_microjoule_add_up() -> None:
    tape = Tape()
    odd = Power(1e-7, "nvml", measured=True)
    for second in range(1, 1001):
        tick(tape, second, odd)
    found = tape.complete(START, everything=True)
    assert sum(item.microjoules for item in found) == 100


def test_tokens_count_where_their_step_ended_and_none_is_lost() -> None:
    tape = Tape()
    tape.tokens("month", 64)
    tick(tape, 1)
    tape.tokens("month", 100)
    tape.drop(1)
    tape.tokens("month", 7)
    tick(tape, 2, run=None)
    found = tape.complete(START, everything=True)
    assert sum(item.tokens for item in found if item.run == "month") == 7
    assert sum(item.microjoules for item in found if item.run == "month") == 0


def test_tokens_stand_in_the_stretch_of_their_run() -> None:
    tape = Tape()
    tick(tape, 1)
    tape.tokens("month", 64)
    tick(tape, 2)
    tape.tokens("month", 64)
    assert [item.tokens for item in tape.complete(START, everything=True)] == [128]
