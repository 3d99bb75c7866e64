"""The cost-against-finish curve and a plan's next hours as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import groupby

from orchestrator.planning.plan import Part, Plan
from orchestrator.planning.schedule import CurvePoint

#: less than this is nothing to wait for
_WORTH_WAITING = 0.01
_DOES_NOT_FIT = "The work does not fit before the deadline, so there is nothing to choose."


def curve_lines(
    points: Sequence[CurvePoint],
    currency: str,
    zone: tzinfo | None,
    *,
    width: int = 40,
    full: str = "█",
) -> list[str]:
    """One bar a finish date, and what waiting saves in money, also when that is nothing.

    Args:
        points: from the earliest finish to the deadline, as ``schedule.curve`` gives them.
        width: columns of the longest bar.
    """
    if not points:
        return [_DOES_NOT_FIT]
    costs = [point.plan.cost for point in points]
    highest = max(*costs, 0.0, 1e-9) if len(costs) > 1 else max(costs[0], 1e-9)
    lines = []
    for point, cost in zip(points, costs, strict=True):
        bar = full * max(0, round(cost / highest * width))
        finish = point.plan.finish or point.by
        lines.append(f"{finish.astimezone(zone):%a %d %b %H:%M}  {cost:8.2f} {currency}  {bar}")
    return [*lines, "", advice(points, currency)]


def advice(points: Sequence[CurvePoint], currency: str) -> str:
    """What waiting saves in money, also when that is next to nothing."""
    if not points:
        return _DOES_NOT_FIT
    first, best = points[0].plan, min((point.plan for point in points), key=lambda p: p.cost)
    saved = first.cost - best.cost
    if saved < _WORTH_WAITING * max(abs(first.cost), 1e-9) or not (first.finish and best.finish):
        return f"Waiting saves next to nothing ({max(0.0, saved):.2f} {currency})."
    days = (best.finish - first.finish) / timedelta(days=1)
    later = f"{days:.1f} days" if days >= 1 else f"{days * 24:.0f} hours"
    return f"Finishing {later} later saves {saved:.2f} {currency}."


def plan_lines(plan: Plan, now: datetime, hours: int, currency: str, zone: tzinfo) -> list[str]:
    """What the plan does in the next ``hours``, one line for every stretch of the same."""
    end = now + timedelta(hours=hours)
    parts = [part for part in plan.parts if part.end > now and part.start < end]
    stretches = groupby(parts, key=lambda part: (part.level, part.pause))
    return [_line(list(stretch), currency, zone) for _, stretch in stretches]


def _line(parts: Sequence[Part], currency: str, zone: tzinfo) -> str:
    start, end = parts[0].start.astimezone(zone), parts[-1].end.astimezone(zone)
    low, high = min(part.price for part in parts), max(part.price for part in parts)
    price = f"{low:.3f}" if high - low < 0.0005 else f"{low:.3f} to {high:.3f}"
    guessed = "" if all(part.known for part in parts) else ", forecast"
    level, pause = parts[0].level, parts[0].pause
    if level is None:
        doing = f"waits ({pause.name})" if pause else "waits"
    elif level.limit_watts is None:
        doing = "full power"
    else:
        doing = f"{level.limit_watts:.0f} W"
    return f"{start:%a %H:%M} to {end:%a %H:%M}  {doing:<18} {price} {currency}/kWh{guessed}"
