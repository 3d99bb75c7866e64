"""The live view, driven by a source of snapshots and a clock that moves when it is waited on."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from orchestrator import domain as d
from orchestrator.cli import live, render
from orchestrator.errors import HomerunError
from orchestrator.home.clock import FakeClock
from tests.unit.cli import api_double as api


class Terminal(io.StringIO):
    """Says that it is one."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Pipe(Terminal):
    """Says that it is no terminal."""

    def isatty(self) -> bool:
        return False


def feed(snapshots: Iterator[Any]) -> tuple[Callable[[], dict[str, Any]], Callable[[], bool]]:
    """A source that plays these, and a ``stopping`` that is true when none is left."""
    left = list(snapshots)

    def source() -> dict[str, Any]:
        snapshot = left.pop(0) if len(left) > 1 else left[0]
        if len(left) == 1:
            done.append(True)
        if isinstance(snapshot, Exception):
            raise snapshot
        return dict(d.to_json(snapshot))

    done: list[bool] = []
    return source, lambda: bool(done)


def watched(out: io.StringIO, *snapshots: Any) -> str:
    source, stopping = feed(iter(snapshots))
    live.watch(source, stopping, out=out, clock=FakeClock(api.NOW))
    return out.getvalue()


def at_step(step: int, **changes: Any) -> d.Snapshot:
    view = api.run_view(step=step, steps=100, progress=step / 100, **changes)
    return api.snapshot(run=view, journal=())


def test_a_terminal_is_redrawn_in_place_with_everything_on_it() -> None:
    text = watched(Terminal(), at_step(1), at_step(2), at_step(99), at_step(100))
    assert "100 of 100" in text
    assert "\x1b[1A" in text, "the cursor goes up over the last frame"
    assert "Ctrl-C: checkpoint and stop" in text
    assert text.endswith("\x1b[?25h"), "the cursor is shown again at the end"


def test_nothing_is_redrawn_while_nothing_changes() -> None:
    still = at_step(1, eta=None, checkpoint=None)
    once = watched(Terminal(), *[still] * 2)
    often = watched(Terminal(), *[still] * 40)
    assert len(often) == len(once)


def test_the_frame_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = watched(Terminal(), at_step(1), at_step(1))
    lines = text.replace("\x1b[?25l", "").splitlines()
    assert max(render.cells(_without_ansi(line)) for line in lines) <= 60


def _without_ansi(text: str) -> str:
    import click

    return click.unstyle(text)


def test_a_pipe_gets_a_plain_line_every_ten_seconds() -> None:
    text = watched(Pipe(), *[at_step(step) for step in range(1, 62)])
    lines = text.splitlines()
    assert "\x1b" not in text
    assert len(lines) in (3, 4), "30 s at two looks a second"
    assert lines[0] == (
        "11:30:00 first-run: training step 1/100 (1 %), epoch 0.42 loss 3.412 2.213 bits/byte "
        "4,812 tokens/s 182 W finish 19:34 CET"
    )


def test_a_pipe_hears_of_every_new_phase_at_once_but_not_of_each_evaluation() -> None:
    data = at_step(0, phase="data", phase_detail="tokenizing", phase_fraction=0.25)
    held = api.snapshot(
        run=api.run_view(),
        headline="Paused by you.",
        setpoint=d.Setpoint(d.Effect.PAUSE),
        journal=(),
    )
    text = watched(Pipe(), data, data, at_step(1), at_step(2, phase="eval"), at_step(3), held, held)
    lines = text.splitlines()
    assert len(lines) == 3
    assert "preparing the data (tokenizing) 25 %" in lines[0]
    assert "training step 1/100" in lines[1]
    assert lines[2].endswith("Paused by you.")


def test_a_pipe_hears_each_warning_once() -> None:
    text = watched(Pipe(), api.snapshot(), api.snapshot(), api.snapshot())
    assert text.count("warning: Attempt 1 at first-run ended: killed by SIGKILL.") == 1
    assert "Saved step" not in text


@pytest.mark.parametrize("out", [Terminal(), Pipe()])
def test_a_daemon_that_goes_away_is_told_and_waited_for(out: io.StringIO) -> None:
    gone = HomerunError("the daemon is not running", "start it with homerun serve")
    text = watched(out, at_step(1), gone, gone, at_step(2), at_step(2))
    assert "the daemon is not running" in text
    if isinstance(out, Pipe):
        assert text.count("the daemon is not running") == 1
        assert "step 2/100" in text


def test_json_lines_are_new_snapshots_only_and_errors_once() -> None:
    out = Pipe()
    gone = HomerunError("the daemon is not running", "start it with homerun serve")
    moments = [at_step(1), at_step(1), gone, gone, at_step(2)]
    later = dataclasses.replace(at_step(3), time=api.NOW + timedelta(seconds=1))
    source, stopping = feed(iter([*moments, later, later]))
    live.watch_json(source, stopping, out=out, clock=FakeClock(api.NOW))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["run"]["step"] if "run" in line else line["error"] for line in lines] == [
        1,
        {"message": "the daemon is not running", "fix": "start it with homerun serve"},
        2,
        3,
    ]
    assert {line["schema"] for line in lines} == {d.SCHEMA}


def finished(**changes: Any) -> dict[str, Any]:
    plain = d.to_json(
        d.Run(
            name="first-run",
            state=d.RunState.FINISHED,
            priority=0,
            created=api.NOW - timedelta(minutes=6),
            spec={},
            spec_digest="",
            steps=183,
            parameters=2_900_000,
            bits_per_byte_before=8.914,
            bits_per_byte=2.213,
            sample="def main(self):\n\treturn \x1b[31m" + "x" * 100,
            model_path="/state/runs/first-run/checkpoints/gen-00000183-000001-0a1b2c3d",
        )
    )
    return {**plain, **changes}


def test_the_summary_tells_the_result_and_what_to_type_next() -> None:
    text = live.summary(finished())
    assert "first-run is finished: 183 steps, 2.9 M parameters." in text
    assert "8.914 bits per byte before training, 2.213 after" in text
    assert "/state/runs/first-run/checkpoints/gen-00000183-000001-0a1b2c3d" in text
    assert "  | def main(self):\n  |     return" in text
    for command in ("homerun export first-run --to hf DIR", "homerun submit", "homerun serve"):
        assert command in text
    assert "\x1b" not in text
    assert max(render.cells(line) for line in text.splitlines()) <= 80


def test_a_summary_leaves_out_what_nobody_knows() -> None:
    unknown = dict.fromkeys(("bits_per_byte", "sample", "model_path", "parameters", "steps"))
    text = live.summary(finished(**unknown))
    assert "bits per byte" not in text
    assert "It writes" not in text
    assert "None" not in text
