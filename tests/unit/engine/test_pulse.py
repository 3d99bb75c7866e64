"""When a part that lives counts as hung, and when not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from orchestrator.engine import process, pulse
from orchestrator.engine.process import Identity
from orchestrator.engine.pulse import Patience, Pulse, Record
from orchestrator.home.clock import FakeClock
from tests.unit.engine.harness import wait_for

PATIENCE = Patience(hung_after_seconds=40.0, start_seconds=90.0)


@dataclass
class Part:
    """Answers as the script says: None is an answer, a number the seconds of silence."""

    clock: FakeClock
    script: list[float | None]
    title: str = "part"
    asked: list[float] = field(default_factory=list)

    def ask(self, seconds: float) -> bool:
        self.asked.append(self.clock.monotonic())
        silence = self.script.pop(0) if self.script else seconds
        if silence is None:
            return True
        self.clock.advance(silence)
        return False


def pulse_of(part: Part, identity: Identity | None = None) -> Pulse:
    return Pulse(identity or process.own_identity(), part, PATIENCE, part.clock)


def seconds_until_hung(*script: float | None) -> float:
    """From the last answer (or the beginning) until it is noticed that nobody answers any more."""
    clock = FakeClock()
    part = Part(clock, list(script))
    pulse_of(part).wait_until_hung()
    answered = [index for index, one in enumerate(script) if one is None]
    last = part.asked[answered[-1]] if answered else part.asked[0]
    return clock.monotonic() - last


def test_a_part_that_falls_silent_is_noticed_within_the_stated_time() -> None:
    assert seconds_until_hung(None, None) <= PATIENCE.hung_after_seconds


def test_a_part_that_comes_up_is_given_longer() -> None:
    assert 80.0 <= seconds_until_hung() <= PATIENCE.start_seconds
    # a port at which nobody listens yet refuses at once; that must not use up the patience
    assert 80.0 <= seconds_until_hung(*[0.0] * 30) <= PATIENCE.start_seconds


def test_a_slow_part_is_not_a_hung_one() -> None:
    silent = [5.0] * 5
    assert seconds_until_hung(None, *silent, None, *silent, None) <= PATIENCE.hung_after_seconds


def test_what_stopped_us_as_well_is_no_silence_of_the_part() -> None:
    # a debugger, the freezer of a control group: each wait is far longer than it was to be
    frozen = [3600.0] * 50
    clock = FakeClock()
    part = Part(clock, [None, *frozen, None])
    pulse_of(part).wait_until_hung()
    assert len(part.asked) > len(frozen)


def test_neither_a_sleeping_machine_nor_a_clock_that_is_set_counts() -> None:
    clock = FakeClock()
    part = Part(clock, [None] * 20)
    nights = iter(range(20))

    def night() -> None:
        if next(nights, None) is not None:
            clock.suspend(8 * 3600)
            clock.jump(-86_400)

    clock.on_sleep = night
    pulse_of(part).wait_until_hung()
    assert len(part.asked) == 26


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (Record(answered_once=True, misses=5), False),
        (Record(answered_once=True, misses=6), True),
        (Record(answered_once=False, misses=17), False),
        (Record(answered_once=False, misses=18), True),
    ],
)
def test_several_misses_in_a_row_are_needed(record: Record, expected: bool) -> None:
    assert record.hangs(PATIENCE) is expected


def test_a_hung_start_is_named_by_the_innermost_limit() -> None:
    limits = (PATIENCE.start_seconds, PATIENCE.up_seconds, PATIENCE.ready_seconds)
    assert list(limits) == sorted(set(limits))


def test_a_hung_part_is_named_when_another_one_ends_of_it() -> None:
    clock = FakeClock()
    hung = pulse_of(Part(clock, [None], title="GCS"))
    well = pulse_of(Part(clock, [None], title="raylet"))
    dead = pulse_of(Part(clock, [None], title="raylet"), Identity(os.getpid(), 1))
    for silent in (hung, dead):
        silent.wait_until_hung()
    cause = pulse.blame("raylet is gone: killed by SIGKILL", [dead, hung, well])
    assert re.fullmatch("the GCS does not answer: it .*; raylet is gone: killed by SIGKILL", cause)
    assert pulse.blame("raylet is gone: ended", [well, dead]) == "raylet is gone: ended"


def test_what_the_kernel_says_of_a_process_is_told_in_words() -> None:
    line = [sys.executable, "-c", "input()"]
    with subprocess.Popen(line, stdin=subprocess.PIPE) as child:

        def says(words: str) -> Callable[[], bool]:
            return lambda: pulse.state_in_words(child.pid) == words

        assert wait_for(says("it sleeps"))
        os.kill(child.pid, signal.SIGSTOP)
        assert wait_for(says("it is stopped by a signal"))
        child.kill()
        assert wait_for(says("it is dead"))
    assert pulse.state_in_words(child.pid) == "it is dead"
