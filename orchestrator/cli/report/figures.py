"""The figures at the head of a report, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.cli import render, times
from orchestrator.cli.report.charts import WORDS
from orchestrator.cli.report.facts import Report


@dataclass(frozen=True)
class Figure:
    """One tile: a name, a value, and what else there is to say about it."""

    name: str
    value: str
    remark: str = ""


def figures(report: Report) -> list[Figure]:
    """Only those that are known."""
    parts = (_progress, _finish, _learning, _house, _trouble)
    return [figure for part in parts for figure in part(report)]


def _progress(report: Report) -> Iterator[Figure]:
    steps = report.run["steps"]
    if report.step is not None:
        of = f"of {render.count(steps)} steps" if steps else "steps"
        if steps:
            yield Figure("progress", render.percent(report.step / steps), f"{report.step:,} {of}")
        else:
            yield Figure("step", render.count(report.step))
    tokens = report.counters.get("tokens")
    if tokens:
        yield Figure("tokens", render.amount(tokens), "repeated ones included")
    active = report.counters.get("active_seconds")
    if active:
        yield Figure("computing", times.span(active), "without holds and outages")


def _finish(report: Report) -> Iterator[Figure]:
    eta = report.view["eta"] if report.view is not None else report.run["finished"]
    if eta:
        when = times.from_json(eta)
        local = when.astimezone()
        left = (when - report.made).total_seconds()
        remark = f"{local:%H:%M}, in {times.span(left)}" if left > 0 else f"{local:%H:%M}"
        yield Figure("finish" if left > 0 else "finished", f"{local.day} {local:%b %Y}", remark)


def _learning(report: Report) -> Iterator[Figure]:
    if report.loss is not None:
        yield Figure("loss", f"{report.loss:.3f}", "nats a token")
    if report.bits_per_byte is not None:
        before = report.run["bits_per_byte_before"]
        remark = "of held-out text"
        if before is not None:
            same = before == report.bits_per_byte
            remark = "before training" if same else f"{before:.3f} before training"
        yield Figure("bits per byte", f"{report.bits_per_byte:.3f}", remark)


def _house(report: Report) -> Iterator[Figure]:
    if report.kwh is not None:
        share = (report.measured_kwh or 0.0) / report.kwh if report.kwh else 0.0
        remark = f"{render.percent(share, 0)} of it measured"
        if share in (0.0, 1.0):
            remark = "measured" if share else "estimated: no meter answered"
        yield Figure("energy", render.energy(report.kwh * 3.6e6), remark)
    if report.cost is not None:
        remark = f"without {report.unpriced_kwh:.2f} kWh of no price" if report.unpriced_kwh else ""
        yield Figure("cost", f"{report.cost:,.2f} {report.currency}", remark or "at known prices")


def _trouble(report: Report) -> Iterator[Figure]:
    held = report.held_seconds
    if held:
        reason, seconds = next(iter(held.items()))
        yield Figure("held longest", times.span(seconds), f"by {WORDS.get(reason, reason)}")
    outages = int(report.counters.get("outages", 0))
    lost = report.counters.get("outage_seconds", 0.0)
    yield Figure("outages", str(outages), f"{times.span(lost)} in all" if outages else "none")
    restarts = int(report.counters.get("restarts", 0))
    again = int(report.counters.get("lost_steps", 0))
    remark = f"{again} steps computed twice" if again else "nothing computed twice"
    yield Figure("restarts", str(restarts), remark)


def text(report: Report) -> list[str]:
    """The report for a terminal."""
    lines = [render.clean(report.headline), ""]
    for item in figures(report):
        remark = f"  ({item.remark})" if item.remark else ""
        lines.append(f"  {item.name:<14}{item.value}{remark}")
    held = report.held_seconds
    if len(held) > 1:
        lines += ["", "Held by, overlaps counted for each:", ""]
        lines += [f"  {WORDS.get(k, k):<14}{times.span(s)}" for k, s in held.items()]
    return lines
