"""What each finish date would cost: the planner on the plan's own figures, without a daemon."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from orchestrator.cli.session import Session
from orchestrator.errors import HomerunError
from orchestrator.planning import schedule
from orchestrator.planning.estimate import Estimate, Row
from orchestrator.planning.levels import assumed_levels
from orchestrator.planning.picture import advice, curve_lines
from orchestrator.planning.problem import Machine, Pause, Problem, Slot, Standing, coarsened
from orchestrator.planning.schedule import CurvePoint

_POINTS = 10
#: as far as the daemon's published and forecast prices are asked for
_ASKED_HOURS = 24 * 14
_TIMEOUT_SECONDS = 2.0
_RESTART_SECONDS, _LOADED_WATTS = 180.0, 15.0


@dataclass(frozen=True)
class Curve:
    """The points, or why there are none."""

    points: tuple[CurvePoint, ...]
    currency: str
    zone: tzinfo | None
    recipe: str
    remark: str

    def lines(self, full: str) -> list[str]:
        """For people."""
        if not self.points:
            return [self.remark] if self.remark else []
        head = f"When to be done, and what that costs ({self.recipe}, an assumed power curve):"
        drawn = curve_lines(self.points, self.currency, self.zone, full=full)
        return [head, *drawn]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "recipe": self.recipe,
            "currency": self.currency,
            "remark": self.remark,
            "points": [
                {
                    "by": _text(point.by),
                    "finish": _text(point.plan.finish),
                    "cost": round(point.plan.cost, 6),
                    "energy_kwh": round(point.plan.kilowatt_hours, 6),
                }
                for point in self.points
            ],
        }


def curve_of(session: Session, answer: Estimate, deadline_seconds: float) -> Curve:
    """The curve of the fastest recipe that fits, by the configured prices."""
    row = _fastest(answer)
    card, tariff = answer.wish.card, answer.wish.tariff
    if row is None or row.seconds is None or card is None or tariff is None:
        return Curve((), "", None, "", "")
    now = session.now()
    end = now + timedelta(seconds=deadline_seconds)
    slots, zone, remark = _slots(session, answer, now, end)
    name = row.storage.name
    if not slots:
        return Curve((), tariff.currency, zone, name, remark)
    pauses = (Pause("pause", _LOADED_WATTS, 0.0), Pause("release", 0.0, _RESTART_SECONDS))
    machine = Machine(assumed_levels(card.watts / 2.0, card.watts), pauses)
    problem = Problem(coarsened(slots), machine, row.seconds / 3600.0, Standing())
    points = _distinct(schedule.curve(problem, _POINTS))
    return Curve(points, tariff.currency, zone, name, advice(points, tariff.currency))


def _distinct(points: list[CurvePoint]) -> tuple[CurvePoint, ...]:
    """Without those that finish when the one before does: waiting longer changes nothing."""
    found: list[CurvePoint] = []
    for point in points:
        if not found or point.plan.finish != found[-1].plan.finish:
            found.append(point)
    return tuple(found)


def _fastest(answer: Estimate) -> Row | None:
    rows = [row for row in answer.rows if row.fits is not False and row.seconds is not None]
    return min(rows, key=lambda row: row.seconds or 0.0, default=None)


def _slots(
    session: Session, answer: Estimate, now: datetime, end: datetime
) -> tuple[tuple[Slot, ...], tzinfo | None, str]:
    tariff = answer.wish.tariff
    assert tariff is not None, "curve_of has asked"
    if tariff.source == "as given":
        return _flat(now, end, float(tariff.price_per_kwh)), None, ""
    from orchestrator.piloting.pilot_prices import whole
    from orchestrator.settings.config import load
    from orchestrator.tariff.build import tariff_of

    table = load(session.config, session.env).tariff
    if table.service:
        return _published(session, now, end)
    made = tariff_of(table)
    assert made is not None, "the plan has a price of it"
    return whole(made.slots(now, end), now, end), made.zone, ""


def _published(
    session: Session, now: datetime, end: datetime
) -> tuple[tuple[Slot, ...], tzinfo | None, str]:
    """The daemon's prices; beyond them the same two weeks again."""
    from datetime import UTC

    from orchestrator.cli.price_text import slots_of
    from orchestrator.piloting.pilot_prices import whole
    from orchestrator.tariff.forecast import extend
    from orchestrator.tariff.slots import PriceSeries, PriceSlot, Source

    try:
        client = session.client(_TIMEOUT_SECONDS)
        found = slots_of(client.get("prices", hours=_ASKED_HOURS))
    except (HomerunError, KeyError, TypeError, ValueError):
        return (), None, "no curve: the tariff's prices come from the daemon; start it"
    known = tuple(PriceSlot(s.start, s.end, s.price, Source.PUBLISHED) for s in found)
    series = extend(PriceSeries("", known), now, end, UTC)
    return whole(series.between(now, end), now, end), None, ""


def _flat(now: datetime, end: datetime, price: float) -> tuple[Slot, ...]:
    hour, found, here = timedelta(hours=1), [], now
    while here < end:
        found.append(Slot(here, min(end, here + hour), price))
        here += hour
    return tuple(found)


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None
