"""The live view: a snapshot redrawn in place, or now and then a line where there is no terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any, TextIO

from orchestrator.cli import render
from orchestrator.cli.page import View, page, plain_line
from orchestrator.cli.render import ASCII, UNICODE, Glyphs
from orchestrator.domain import SCHEMA
from orchestrator.errors import HomerunError
from orchestrator.home.clock import Clock, SystemClock

#: fast enough for the eye, slow enough to cost the training nothing
REDRAW_SECONDS = 0.5
PLAIN_SECONDS = 10.0
#: how long a request to stop may go unnoticed
_PATIENCE_SECONDS = 0.1
_WIDEST = 100

STOP_HINT = "Ctrl-C: checkpoint and stop; the same command goes on from there."
LEAVE_HINT = "Ctrl-C: leave this view; the run goes on."

SnapshotSource = Callable[[], dict[str, Any]]


def watch(
    snapshot_json: SnapshotSource,
    stopping: Callable[[], bool],
    *,
    hint: str = STOP_HINT,
    out: TextIO | None = None,
    clock: Clock | None = None,
) -> None:
    """Show the snapshots until ``stopping()`` says so.

    A source that raises HomerunError is shown as such and asked again.

    Args:
        out: a terminal is redrawn in place; anything else gets a plain line every 10 s and
            whenever the phase changes. None is the standard output of the moment.
    """
    stream = out or sys.stdout
    clock = clock or SystemClock()
    if stream.isatty() and os.environ.get("TERM", "") != "dumb":
        _watch_terminal(snapshot_json, stopping, hint, stream, clock)
    else:
        _watch_plain(snapshot_json, stopping, stream, clock)


def _watch_terminal(
    snapshot_json: SnapshotSource,
    stopping: Callable[[], bool],
    hint: str,
    stream: TextIO,
    clock: Clock,
) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=stream, highlight=False, soft_wrap=False)

    def frame() -> str:
        columns = shutil.get_terminal_size((80, 24)).columns - 1
        view = View(clock.now(), max(40, min(_WIDEST, columns)), _glyphs(stream))
        return "\n".join(_screen(snapshot_json, view, hint))

    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        shown, stop = "", False
        while True:
            text = frame()
            if text != shown:
                shown = text
                live.update(Text.from_ansi(text, no_wrap=True), refresh=True)
            if stop:
                return
            stop = _wait(REDRAW_SECONDS, stopping, clock)


def _screen(snapshot_json: SnapshotSource, view: View, hint: str) -> list[str]:
    try:
        return page(snapshot_json(), view, journal=4, hint=hint)
    except HomerunError as error:
        lines = [f"homerun: {error.message}", f"fix: {error.fix}", "", "Trying again. " + hint]
        return [part for line in lines for part in render.wrap(line, view.width)]


def _watch_plain(
    snapshot_json: SnapshotSource, stopping: Callable[[], bool], stream: TextIO, clock: Clock
) -> None:
    shown, shown_at, entry = "", float("-inf"), 0
    while True:
        view = View(clock.now(), 1000, _glyphs(stream))
        try:
            snapshot = snapshot_json()
        except HomerunError as error:
            phase, line = error.message, f"homerun: {error.message}; trying again"
        else:
            phase, line = _phase_of(snapshot), plain_line(snapshot, view)
            entry = _tell_news(snapshot, entry, stream)
        if phase != shown or clock.monotonic() - shown_at >= PLAIN_SECONDS:
            shown, shown_at = phase, clock.monotonic()
            stream.write(line + "\n")
            stream.flush()
        if _wait(REDRAW_SECONDS, stopping, clock):
            return


def watch_json(
    snapshot_json: SnapshotSource,
    stopping: Callable[[], bool],
    *,
    out: TextIO | None = None,
    clock: Clock | None = None,
) -> None:
    """One line of JSON for each new snapshot until ``stopping()`` says so.

    A source that raises HomerunError gives ``{"schema": 1, "error": {"message", "fix"}}``, once.
    """
    stream, clock = out or sys.stdout, clock or SystemClock()
    shown: Any = None
    while True:
        try:
            snapshot = snapshot_json()
            key = snapshot["time"]
        except HomerunError as error:
            snapshot = {"schema": SCHEMA, "error": {"message": error.message, "fix": error.fix}}
            key = error.message
        if key != shown:
            shown = key
            stream.write(json.dumps(snapshot, separators=(",", ":")) + "\n")
            stream.flush()
        if _wait(REDRAW_SECONDS, stopping, clock):
            return


def _phase_of(snapshot: dict[str, Any]) -> str:
    run = snapshot["run"]
    effect = snapshot["setpoint"]["effect"]
    if run is None:
        return "nothing"
    # Evaluations and saves come and go within training; a line for each would be noise.
    passing = run["phase"] in ("eval", "checkpoint") and run["step"] > 0
    return f"{run['name']} {effect} {'train' if passing else run['phase']}"


def _tell_news(snapshot: dict[str, Any], last: int, stream: TextIO) -> int:
    for entry in snapshot["journal"]:
        if entry["id"] > last and entry["severity"] != "info":
            stream.write(f"{entry['severity']}: {render.clean(entry['message'])}\n")
        last = max(last, entry["id"])
    return last


def _wait(seconds: float, stopping: Callable[[], bool], clock: Clock) -> bool:
    end = clock.monotonic() + seconds
    while not stopping():
        if clock.monotonic() >= end:
            return False
        clock.sleep(_PATIENCE_SECONDS)
    return True


def _glyphs(stream: TextIO) -> Glyphs:
    return UNICODE if "utf" in (stream.encoding or "").lower() else ASCII


def summary(run: dict[str, Any], width: int = 80, command: str = "homerun") -> str:
    """What a finished run came to, and what to type next.

    Args:
        run: ``domain.Run`` as JSON.
        command: how this shell finds homerun.
    """
    lines = [_result(run), ""]
    if run["model_path"]:
        lines += [f"  model       {render.clean(run['model_path'])}", ""]
    if run["sample"]:
        lines += ["  It writes:", "", *_quoted(run["sample"], width), ""]
    lines += ["What to type next:", ""]
    name = run["name"]
    steps = (
        (f"{command} export {name} --to hf DIR", "a copy that transformers loads"),
        (f"{command} submit my-run.toml", "queue a run of your own"),
        (f"{command} serve", "keep the daemon running for it"),
    )
    columns = max(len(step) for step, _ in steps)
    lines += [f"  {step:<{columns}}  # {meaning}" for step, meaning in steps]
    return "\n".join(lines)


def _result(run: dict[str, Any]) -> str:
    size = f", {render.amount(run['parameters'])} parameters" if run["parameters"] else ""
    text = f"{run['name']} is finished: {render.count(run['steps'] or 0)} steps{size}."
    before, after = run["bits_per_byte_before"], run["bits_per_byte"]
    if before is None or after is None:
        return text
    return f"{text}\n\n  validation  {before:.3f} bits per byte before training, {after:.3f} after"


def _quoted(sample: str, width: int) -> list[str]:
    lines: list[str] = []
    for line in render.clean_block(sample).strip("\n").split("\n"):
        lines += [f"  | {piece}".rstrip() for piece in render.pieces(line, width - 4)]
    return lines
