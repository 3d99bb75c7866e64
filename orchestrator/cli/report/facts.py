"""What a report is about: one reading of the API, put in order. Pure but for ``gather``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.cli.client import Client
from orchestrator.errors import NotFound

#: more points than a picture has columns say nothing more
_POINTS = 1000
_ENTRIES = 10_000
#: more bars are too narrow to see
_MOST_DAYS = 62
_REASON = re.compile(r"^(?:Held by|The hold) '?([a-z_]+)")


@dataclass(frozen=True)
class Point:
    """One point of the learning curve."""

    step: int
    time: datetime
    loss: float | None
    bits_per_byte: float | None


@dataclass(frozen=True)
class Span:
    """Something that lasted. ``kind``: trainer, outage, or the reason of a hold."""

    kind: str
    start: datetime
    end: datetime
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """Energy and money of a day or a week. ``cost`` None: no price is known."""

    label: str
    kwh: float
    measured_kwh: float
    cost: float | None


@dataclass(frozen=True)
class Report:
    """A run so far. None is unknown, never zero."""

    run: dict[str, Any]
    #: the snapshot's view of it; None unless it is the active run
    view: dict[str, Any] | None
    headline: str
    made: datetime
    version: str
    points: tuple[Point, ...]
    spans: tuple[Span, ...]
    bars: tuple[Bar, ...]
    #: day or week
    by: str
    #: whether the bars are of other runs as well
    shared: bool
    kwh: float | None
    measured_kwh: float | None
    cost: float | None
    currency: str
    #: the cost is too low by what these cost
    unpriced_kwh: float
    counters: dict[str, float]
    checkpoints: tuple[dict[str, Any], ...]

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Newest first."""
        return sorted(self.run["attempts"], key=lambda item: -int(item["number"]))

    @property
    def outages(self) -> list[Span]:
        """Oldest first."""
        return [span for span in self.spans if span.kind == "outage"]

    @property
    def step(self) -> int | None:
        """Where it stands."""
        if self.view is not None:
            return int(self.view["step"])
        return self.points[-1].step if self.points else None

    @property
    def loss(self) -> float | None:
        """The newest known one."""
        return next((p.loss for p in reversed(self.points) if p.loss is not None), None)

    @property
    def bits_per_byte(self) -> float | None:
        """The newest known one."""
        known = (p.bits_per_byte for p in reversed(self.points) if p.bits_per_byte is not None)
        return next(known, self.run["bits_per_byte"])

    @property
    def held_seconds(self) -> dict[str, float]:
        """By reason, longest first; reasons overlap."""
        prefix = "held_seconds_"
        found = {
            name.removeprefix(prefix): seconds
            for name, seconds in self.counters.items()
            if name.startswith(prefix) and seconds >= 1
        }
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def gather(client: Client, name: str | None) -> Report:
    """Ask the daemon for everything. Raises NotFound when there is no such run, or none at all."""
    snapshot = client.get("status")
    name = name or _current(client, snapshot)
    run = client.get(f"runs/{name}")
    samples = client.get(f"runs/{name}/samples", limit=_POINTS)
    journal = client.get("journal", limit=_ENTRIES)
    by, days = "day", client.get("energy", by="day")
    if len(days["lines"]) > _MOST_DAYS:
        by, days = "week", client.get("energy", by="week")
    totals = client.get("energy", by="run")["lines"]
    mine = next((line for line in totals if line["label"] == name), None)
    currency = _currency([*totals, *days["lines"]])
    view = snapshot["run"] if snapshot["run"] and snapshot["run"]["name"] == name else None
    made = _time(snapshot["time"])
    return Report(
        run=run,
        view=view,
        headline=snapshot["headline"] if view else _state_sentence(run),
        made=made,
        version=snapshot["daemon"]["version"],
        points=tuple(_points(samples)),
        spans=tuple(spans(run, journal, made)),
        bars=tuple(_bars(days["lines"], currency)),
        by=by,
        shared=len(totals) > 1,
        kwh=mine["kwh"] if mine else None,
        measured_kwh=mine["measured_kwh"] if mine else None,
        cost=_cost(mine, currency) if mine else None,
        currency=currency,
        unpriced_kwh=mine["unpriced_kwh"] if mine else 0.0,
        counters=snapshot["counters"].get(name, {}),
        checkpoints=tuple(client.get(f"runs/{name}/checkpoints")),
    )


def _current(client: Client, snapshot: dict[str, Any]) -> str:
    if snapshot["run"]:
        return str(snapshot["run"]["name"])
    runs = client.get("runs")
    if not runs:
        raise NotFound("there is no run yet, so there is nothing to report", "homerun submit")
    return str(max(runs, key=lambda run: run["created"])["name"])


def _state_sentence(run: dict[str, Any]) -> str:
    words = {"queued": "waits in the queue", "finished": "is finished", "cancelled": "is cancelled"}
    return f"{run['name']} {words.get(run['state'], 'is ' + str(run['state']))}."


def _points(samples: Iterable[dict[str, Any]]) -> Iterator[Point]:
    for sample in samples:
        yield Point(sample["step"], _time(sample["time"]), sample["loss"], sample["bits_per_byte"])


def spans(run: dict[str, Any], journal: Iterable[dict[str, Any]], now: datetime) -> Iterator[Span]:
    """Lives of the trainer, holds and outages, from the attempts and the journal.

    A hold whose beginning the journal does not tell any more is left out; one that has not
    ended lasts until now.
    """
    began = _time(run["created"])
    for attempt in run["attempts"]:
        end = _time(attempt["ended"]) if attempt["ended"] else now
        yield Span("trainer", _time(attempt["started"]), end, attempt["cause"] or "")
    open_holds: dict[str, datetime] = {}
    for entry in journal:
        if entry["run"] not in (None, run["name"]):
            continue
        time = _time(entry["time"])
        found = _REASON.match(entry["message"])
        if entry["kind"] == "hold_started" and found:
            open_holds.setdefault(found[1], time)
        elif entry["kind"] == "hold_ended" and found and found[1] in open_holds:
            start = max(began, open_holds.pop(found[1]))
            if time > start:
                yield Span(found[1], start, time)
        elif entry["kind"] == "outage" and "since" in entry["data"]:
            yield Span("outage", _time(entry["data"]["since"]), time)
    end = _time(run["finished"]) if run["finished"] else now
    for reason, time in open_holds.items():
        if end > max(began, time):
            yield Span(reason, max(began, time), end)


def _bars(lines: Iterable[dict[str, Any]], currency: str) -> Iterator[Bar]:
    for line in lines:
        cost = _cost(line, currency)
        yield Bar(str(line["label"]), line["kwh"], line["measured_kwh"], cost)


def _cost(line: dict[str, Any], currency: str) -> float | None:
    amounts = [cost["amount"] for cost in line["costs"] if cost["currency"] == currency]
    return float(sum(amounts)) if amounts else None


def _currency(lines: Iterable[dict[str, Any]]) -> str:
    """The one that most is paid in; a ledger with two has seen the configuration change."""
    found = [cost["currency"] for line in lines for cost in line["costs"]]
    return max(found, key=found.count) if found else ""


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def first_and_last(report: Report) -> tuple[datetime, datetime]:
    """What the time axis spans; never empty."""
    starts = [span.start for span in report.spans] + [point.time for point in report.points[:1]]
    ends = [span.end for span in report.spans] + [point.time for point in report.points[-1:]]
    first = min(starts, default=report.made - timedelta(hours=1))
    last = max(ends, default=report.made)
    return first, max(last, first + timedelta(minutes=1))
