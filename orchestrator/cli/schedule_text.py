"""The daemon's schedule and its cost-against-finish curve as lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import groupby
from typing import Any

import click

from orchestrator.cli import render, times
from orchestrator.cli.render import Glyphs

#: "Mon 23 Nov 06:00 to 12:00"
_TIME_COLUMNS = 25
_DOING_COLUMNS = 12
_COLOURS = {"run": "green", "off": None, "hold": "yellow"}


@dataclass(frozen=True)
class View:
    """For whom it is drawn."""

    now: datetime
    width: int
    glyphs: Glyphs
    #: None: the machine's own
    zone: tzinfo | None = None


def schedule(report: dict[str, Any], view: View) -> list[str]:
    """The lines of an answer of ``GET /api/v1/schedule``."""
    slots = report["slots"]
    lines = _head(report, view)
    if not slots:
        return [*lines, "No prices are known for these hours."]
    lines += ["", _band(slots, view), _legend(view), ""]
    for _, group in groupby(slots, key=lambda slot: (slot["state"], slot["cap_watts"])):
        lines += _stretch(list(group), report["currency"], view)
    return lines


def curve(report: dict[str, Any], view: View) -> list[str]:
    """The lines of an answer of ``GET /api/v1/schedule/curve``."""
    points = report["points"]
    if not points:
        return [_sentence(report["remark"])]
    costs = [point["cost"] for point in points]
    highest = max(*costs, 1e-9)
    lines = []
    for place, point in enumerate(points):
        if place and point["finish"] == points[place - 1]["finish"]:
            continue  # waiting longer changes nothing any more
        done = times.from_json(point["finish"] or point["by"]).astimezone(view.zone)
        bar = view.glyphs.full * max(0, round(point["cost"] / highest * 40))
        lines.append(f"{done:%a %d %b %H:%M}  {point['cost']:8.2f} {report['currency']}  {bar}")
    return [*lines, "", _sentence(report["remark"])]


# --- the parts ------------------------------------------------------------------------------


def _head(report: dict[str, Any], view: View) -> list[str]:
    if report["run"] is None:
        return ["No run is active."]
    parts = [f"{report['run']}: {_goal(report, view)}"]
    if report["finish"]:
        parts.append(f"done {_moment(report['finish'], view)}")
    if report["cost"] is not None:
        parts.append(f"{report['cost']:.2f} {report['currency']}{_against(report)}")
    if report["gap_ratio"] is not None:
        parts.append(f"at most {report['gap_ratio']:.2%} above the best")
    lines = render.wrap("; ".join(parts), view.width)
    if report["next_change"]:
        lines.append(f"Next change: {_moment(report['next_change'], view)}")
    if report["known_until"]:
        until = _moment(report["known_until"], view)
        lines.append(f"Forecast from {until} on: prices are published until then.")
    if report["remark"]:
        remark = render.clean(_sentence(report["remark"]))
        lines += [click.style(line, dim=True) for line in render.wrap(remark, view.width)]
    return lines


def _goal(report: dict[str, Any], view: View) -> str:
    if report["goal"] in ("deadline", "slack") and report["deadline"]:
        return f"deadline {_moment(report['deadline'], view)}"
    return {
        "off": "no plan, full power",
        "slack": "its deadline follows from its speed",
        "budget": "as early as the budget allows",
        "value": "whenever it is worth its money",
    }.get(report["goal"], str(report["goal"]))


def _against(report: dict[str, Any]) -> str:
    always = report["always_on_cost"]
    if always is None:
        return ""
    saved = always - report["cost"]
    if saved < 0.005:
        return f", nothing less than at full power at once ({always:.2f})"
    return f", {saved:.2f} less than at full power at once"


def _band(slots: Sequence[dict[str, Any]], view: View) -> str:
    """One sign a span of time: dark where it runs, grey where it is capped, empty where not."""
    start, end = times.from_json(slots[0]["start"]), times.from_json(slots[-1]["end"])
    columns = min(view.width, 96)
    step = (end - start) / columns
    signs = []
    place = 0
    for column in range(columns):
        moment = start + step * (column + 0.5)
        while place + 1 < len(slots) and times.from_json(slots[place]["end"]) <= moment:
            place += 1
        signs.append(_sign(slots[place], view))
    return "".join(signs)


def _sign(slot: dict[str, Any], view: View) -> str:
    if slot["state"] == "hold":
        return "x"
    if slot["state"] == "off":
        return "."
    capped = "▒" if view.glyphs.full == "█" else "="
    return capped if slot["cap_watts"] else view.glyphs.full


def _legend(view: View) -> str:
    capped = "▒" if view.glyphs.full == "█" else "="
    text = f"{view.glyphs.full} full power  {capped} under a limit  . waits  x held otherwise"
    return click.style(text, dim=True)


def _stretch(slots: Sequence[dict[str, Any]], currency: str, view: View) -> list[str]:
    first = slots[0]
    start = times.from_json(first["start"]).astimezone(view.zone)
    end = times.from_json(slots[-1]["end"]).astimezone(view.zone)
    until = f"{end:%H:%M}" if end.date() == start.date() else f"{end:%a %H:%M}"
    span = f"{start:%a %d %b %H:%M} to {until}"
    guessed = ", forecast" if any(slot["forecast"] for slot in slots) else ""
    doing = click.style(f"{_doing(first):<{_DOING_COLUMNS}}", fg=_COLOURS[first["state"]])
    head = f"{span:<{_TIME_COLUMNS + 3}}  {doing}  {_prices(slots, currency)}{guessed}"
    return [head, *_indented(first["reason"], view)]


def _doing(slot: dict[str, Any]) -> str:
    if slot["state"] == "run":
        return f"{slot['cap_watts']:.0f} W" if slot["cap_watts"] else "full power"
    return "waits" if slot["state"] == "off" else "held"


def _prices(slots: Sequence[dict[str, Any]], currency: str) -> str:
    known = [slot["price"] for slot in slots if slot["price"] is not None]
    if not known:
        return "price unknown"
    low, high = min(known), max(known)
    text = f"{low:.3f}" if high - low < 0.0005 else f"{low:.3f} to {high:.3f}"
    return f"{text} {currency}/kWh"


def _indented(reason: str, view: View) -> list[str]:
    lines = render.wrap(render.clean(reason), max(20, view.width - 4))
    return [click.style(f"    {line}", dim=True) for line in lines]


def _moment(text: str, view: View) -> str:
    return times.moment(times.from_json(text), view.now, zone=view.zone)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
