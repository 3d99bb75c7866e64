"""A snapshot as one screen of text. Both ``status`` and the live view show it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from orchestrator.cli import render, times
from orchestrator.cli.render import Glyphs

_LABEL_COLUMNS = 11
_STALE_SECONDS = 30.0
#: the snapshot carries no more points
_SPARKLINE_COLUMNS = 64

_PHASES = {
    "idle": "waiting to start",
    "starting": "starting",
    "start": "starting",
    "data": "preparing the data",
    "load": "loading",
    "eval": "evaluating",
    "checkpoint": "saving a checkpoint",
    "paused": "paused",
    "done": "leaving",
}
_EFFECTS = {
    "cap": "slowed down",
    "finish": "stops at the next checkpoint",
    "pause": "paused",
    "release": "stopped, memory given back",
}
_WHO = {
    "user": "you",
    "tariff": "the tariff",
    "quiet_hours": "quiet hours",
    "thermal": "heat",
    "gpu_busy": "another program on the GPU",
    "gpu_lost": "a lost GPU",
    "ups": "the UPS",
    "disk": "the disk",
    "drain": "the shutdown",
    "crash_loop": "repeated crashes",
    "network": "the network",
    "sleep": "the machine's sleep",
}


@dataclass(frozen=True)
class Line:
    """A labelled line. ``whole`` is already as wide as it may be and is not wrapped."""

    label: str
    text: str
    style: str = ""
    whole: bool = False


@dataclass(frozen=True)
class View:
    """How to look at snapshots."""

    now: datetime
    width: int
    glyphs: Glyphs

    @property
    def room(self) -> int:
        """Columns beside the label."""
        return self.width - _LABEL_COLUMNS


def page(snapshot: dict[str, Any], view: View, *, journal: int = 6, hint: str = "") -> list[str]:
    """The lines of the screen, styled by ANSI sequences, none wider than ``view.width``."""
    head = render.wrap(render.clean(snapshot["headline"]), view.width)
    lines = [click.style(line, bold=True) for line in head]
    blocks = (
        [*_stale(snapshot, view), *_run(snapshot, view)],
        [*_holds(snapshot, view), *_next_change(snapshot, view), *_queue(snapshot)],
        _journal(snapshot, view, journal),
        [*_address(snapshot), *([Line("", hint, "dim")] if hint else [])],
    )
    for block in blocks:
        if block:
            lines += ["", *(text for line in block for text in paint(line, view))]
    return lines


def paint(line: Line, view: View) -> list[str]:
    """The labelled line in as many lines as it takes."""
    text = render.clean(line.text)
    parts = [text] if line.whole else render.wrap(text, view.room)
    labels = [line.label, *[""] * (len(parts) - 1)]
    return [
        click.style(f"{label:<{_LABEL_COLUMNS}}", dim=True) + styled(part, line.style)
        for label, part in zip(labels, parts, strict=True)
    ]


def styled(text: str, style: str) -> str:
    """``text`` in one of our few styles: done, held, error, dim, or plain."""
    match style:
        case "done":
            return click.style(text, fg="cyan")
        case "held":
            return click.style(text, fg="yellow")
        case "error":
            return click.style(text, fg="red")
        case "dim":
            return click.style(text, dim=True)
    return text


# --- the run --------------------------------------------------------------------------------


def _stale(snapshot: dict[str, Any], view: View) -> Iterator[Line]:
    taken = times.from_json(snapshot["time"])
    if (view.now - taken).total_seconds() > _STALE_SECONDS:
        text = f"as things were {times.ago(taken, view.now)}; the daemon has not looked since"
        yield Line("old", text, "held")


def _run(snapshot: dict[str, Any], view: View) -> Iterator[Line]:
    run = snapshot["run"]
    if run is None:
        return
    if _goes(snapshot) or run["phase"] not in ("idle", "paused"):
        yield from _phase(run, view)
    if run["steps"]:
        yield _bar("progress", run["progress"], view)
    yield Line("step", _step(run))
    if run["eta"]:
        yield Line("finish", times.until(times.from_json(run["eta"]), view.now))
    yield from _learning(run, view)
    yield from _speed(run)
    yield from _power(run)
    yield from _bill(snapshot)
    yield _saved(run, view)
    if run.get("saves"):
        yield Line("", run["saves"], "dim")
    yield from _mirror(run, view)
    yield from _trouble(run, view)


def _phase(run: dict[str, Any], view: View) -> Iterator[Line]:
    if run["phase"] == "train":
        return
    words = _PHASES.get(run["phase"], run["phase"])
    detail = run["phase_detail"]
    text = f"{words}: {detail}" if detail else words
    fraction = run["phase_fraction"]
    if fraction is not None:
        yield _bar("now", fraction, view)
        yield Line("", text)
    else:
        yield Line("now", text)


def _bar(label: str, fraction: float, view: View) -> Line:
    done = render.percent(fraction)
    columns = max(8, view.room - 10)
    return Line(label, f"{render.bar(fraction, columns, view.glyphs)} {done:>8}", "done", True)


def _step(run: dict[str, Any]) -> str:
    steps = render.count(run["steps"]) if run["steps"] else "?"
    text = f"{render.count(run['step'])} of {steps}"
    if run["micro_batches"] > 1:
        text += f", micro-batch {run['micro']} of {run['micro_batches']}"
    if run["tokens"]:
        text += f", {render.amount(run['tokens'])} tokens"
    if run["epoch"]:
        text += f", epoch {run['epoch']:.2f}"
    return text


def _learning(run: dict[str, Any], view: View) -> Iterator[Line]:
    if run["loss"] is not None:
        columns = min(_SPARKLINE_COLUMNS, view.room - 10)
        curve = render.sparkline(run["loss_history"], columns, view.glyphs)
        yield Line("loss", f"{run['loss']:.3f}  {curve}".rstrip())
    now, before = run["bits_per_byte"], run["bits_per_byte_before"]
    if now is not None:
        text = f"{now:.3f} bits per byte"
        if before is not None and before != now:
            text += f", {before:.3f} before training"
        yield Line("validation", text)


def _speed(run: dict[str, Any]) -> Iterator[Line]:
    if run["tokens_per_second"] is None:
        return
    text = f"{render.count(run['tokens_per_second'])} tokens/s"
    if run["mfu"] is not None:
        text += f", {render.percent(run['mfu'])} MFU"
        if run["peak_source"]:
            text += f" (peak: {run['peak_source']})"
    yield Line("speed", text)


def not_measured(run: dict[str, Any]) -> str:
    """What to call watts that no meter has shown."""
    return "simulated" if run["power"]["source"] == "simulated" else "estimated"


def _power(run: dict[str, Any]) -> Iterator[Line]:
    power, parts = run["power"], []
    if power["watts"] is not None:
        kind = f"measured by {power['source'].upper()}" if power["measured"] else not_measured(run)
        parts.append(f"{power['watts']:.0f} W {kind}")
    if run["energy_joules"]:
        kind = "" if run["energy_measured"] else f" ({not_measured(run)})"
        parts.append(f"{render.energy(run['energy_joules'])} so far{kind}")
    if parts:
        yield Line("power", ", ".join(parts))


def _bill(snapshot: dict[str, Any]) -> Iterator[Line]:
    for bill in snapshot.get("bills", ()):
        if bill["run"] == snapshot["run"]["name"] and bill["cost"] is not None:
            yield Line("cost", f"{bill['cost']:,.2f} {bill['currency']} so far")


def _saved(run: dict[str, Any], view: View) -> Line:
    saved = run["checkpoint"]
    if saved is None:
        return Line("saved", "no checkpoint yet")
    age = times.ago(times.from_json(saved["time"]), view.now)
    size = render.size(saved["size_bytes"])
    return Line("saved", f"step {render.count(saved['step'])}, {age}, {size}")


def _mirror(run: dict[str, Any], view: View) -> Iterator[Line]:
    mirror = run["mirror"]
    if mirror is None:
        return
    text = "nothing copied yet"
    if mirror["step"] is not None:
        age = times.ago(times.from_json(mirror["time"]), view.now)
        text = f"step {render.count(mirror['step'])}, {age}"
    if mirror["failure"]:
        yield Line("mirror", f"{text}; the last copy failed: {mirror['failure']}", "held")
    else:
        yield Line("mirror", text)


def _trouble(run: dict[str, Any], view: View) -> Iterator[Line]:
    parts = []
    if run["restarts"]:
        parts.append(f"{run['restarts']} restart{'s' if run['restarts'] != 1 else ''}")
    if run["lost_steps"]:
        parts.append(f"{run['lost_steps']} steps computed twice")
    if parts:
        yield Line("trouble", ", ".join(parts))
    if run["next_start"]:
        text = (
            f"attempt after a failure, {times.until(times.from_json(run['next_start']), view.now)}"
        )
        yield Line("next", text, "held")


# --- around it ------------------------------------------------------------------------------


def _holds(snapshot: dict[str, Any], view: View) -> Iterator[Line]:
    if not snapshot["holds"]:
        yield Line("held by", "nothing")
    for number, hold in enumerate(snapshot["holds"]):
        yield Line("" if number else "held by", hold_sentence(hold, view.now), "held")


def hold_sentence(hold: dict[str, Any], now: datetime) -> str:
    """``you (gaming): paused since 11:20, until 18:00 CET (in 3 h)``."""
    who = _WHO.get(hold["reason"], hold["reason"])
    if hold["detail"]:
        who += f" ({hold['detail']})"
    effect = _EFFECTS.get(hold["effect"], hold["effect"])
    if hold["cap_watts"] is not None:
        effect += f" to {hold['cap_watts']:.0f} W"
    since = times.moment(times.from_json(hold["since"]), now, named=False)
    text = f"{who}: {effect} since {since}"
    if hold["run"]:
        text += f", only {hold['run']}"
    return f"{text}, {_end_of(hold, now)}"


def _end_of(hold: dict[str, Any], now: datetime) -> str:
    if hold["until"]:
        return f"until {times.until(times.from_json(hold['until']), now)}"
    if hold["reason"] in ("user", "crash_loop"):
        return "until you say homerun resume"
    if hold["reason"] == "drain":
        return "until the daemon is started again"
    return "nobody knows until when"


def _next_change(snapshot: dict[str, Any], view: View) -> Iterator[Line]:
    """The first thing that is known to happen by itself."""
    coming = [
        (times.from_json(hold["until"]), f"{_WHO.get(hold['reason'], hold['reason'])}: over")
        for hold in snapshot["holds"]
        if hold["until"]
    ]
    plan = snapshot.get("plan")
    if plan and plan.get("next_change"):
        coming.append((times.from_json(plan["next_change"]), "the plan changes"))
    coming = [(when, what) for when, what in coming if when > view.now]
    if coming:
        when, what = min(coming)
        yield Line("next", f"{times.until(when, view.now)}, {what}")


def _queue(snapshot: dict[str, Any]) -> Iterator[Line]:
    names = [item["name"] for item in snapshot["queue"]]
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        yield Line("queue", ", ".join(names[:5]) + more)


def _journal(snapshot: dict[str, Any], view: View, newest: int) -> list[Line]:
    entries = snapshot["journal"][-newest:] if newest else []
    return [journal_line(entry, view) for entry in entries]


def journal_line(entry: dict[str, Any], view: View) -> Line:
    """One journal entry, cut to one line."""
    style = {"warning": "held", "error": "error"}.get(entry["severity"], "")
    text = render.fit(render.clean(entry["message"]), view.room, view.glyphs)
    return Line(times.short_stamp(times.from_json(entry["time"]), view.now), text, style, True)


def _address(snapshot: dict[str, Any]) -> Iterator[Line]:
    yield Line("page", snapshot["daemon"]["address"], "", True)


# --- for logs and pipes ---------------------------------------------------------------------


def plain_line(snapshot: dict[str, Any], view: View) -> str:
    """The whole snapshot in one line, for output that is not a terminal."""
    run = snapshot["run"]
    stamp = times.stamp(view.now, view.now)
    if run is None or not _goes(snapshot):
        return f"{stamp} {render.clean(snapshot['headline'])}"
    parts = [stamp, _activity(run)]
    if run["steps"]:
        step = f"step {run['step']}/{run['steps']}"
        parts.append(f"{step} ({render.percent(run['progress'], 0)}), epoch {run['epoch']:.2f}")
    parts += _numbers(run, view)
    return " ".join(parts)


def _goes(snapshot: dict[str, Any]) -> bool:
    return snapshot["setpoint"]["effect"] in ("run", "cap")


def _activity(run: dict[str, Any]) -> str:
    if run["phase"] == "train":
        return f"{run['name']}: training"
    text = f"{run['name']}: {_PHASES.get(run['phase'], run['phase'])}"
    if run["phase_detail"]:
        text += f" ({render.clean(run['phase_detail'])})"
    if run["phase_fraction"] is not None:
        text += f" {render.percent(run['phase_fraction'], 0)}"
    return text


def _numbers(run: dict[str, Any], view: View) -> Iterator[str]:
    if run["loss"] is not None and math.isfinite(run["loss"]):
        yield f"loss {run['loss']:.3f}"
    if run["bits_per_byte"] is not None:
        yield f"{run['bits_per_byte']:.3f} bits/byte"
    if run["tokens_per_second"] is not None:
        yield f"{render.count(run['tokens_per_second'])} tokens/s"
    if run["power"]["watts"] is not None:
        kind = "" if run["power"]["measured"] else f" ({not_measured(run)})"
        yield f"{run['power']['watts']:.0f} W{kind}"
    if run["eta"]:
        yield f"finish {times.moment(times.from_json(run['eta']), view.now)}"
