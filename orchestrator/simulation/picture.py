"""A simulated month as lines of text: a strip of half-hours for each day, then the sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta, tzinfo
from itertools import groupby

from orchestrator.simulation.answer import Answer
from orchestrator.simulation.month import Stretch

_CELL = timedelta(minutes=30)
_CELLS = 48


def lines(answer: Answer, zone: tzinfo, *, full: str = "█", capped: str = "▒") -> list[str]:
    """The whole picture; ``full`` and ``capped`` are the signs for running."""
    head = (
        f"Simulated: {answer.wish.work_hours:g} h of work at full speed, "
        f"{answer.start.astimezone(zone):%F %H:%M} to {answer.deadline.astimezone(zone):%F %H:%M}, "
        f"seed {answer.wish.seed}"
    )
    legend = f"{full} full  {capped} capped  . waits for a better price  g game  x outage"
    ruler = "           " + "".join(f"{hour:<12}" for hour in (0, 6, 12, 18)) + "     kWh    cost"
    days = list(_days(answer.diary.stretches, zone, full, capped))
    return [head, "", ruler, *days, f"           {legend}", "", *_sums(answer, zone)]


def _days(stretches: Sequence[Stretch], zone: tzinfo, full: str, capped: str) -> Iterator[str]:
    highest = max((s.limit_watts or 0.0 for s in stretches), default=0.0)

    def day_of(stretch: Stretch) -> date:
        return stretch.start.astimezone(zone).date()

    for day, group in groupby(sorted(stretches, key=lambda s: s.start), key=day_of):
        of_day = list(group)
        cells = _strip(of_day, day, zone, (full, capped, highest))
        energy = sum(s.kilowatt_hours for s in of_day)
        cost = sum(s.kilowatt_hours * s.price for s in of_day)
        yield f"{day:%a %d %b} {cells}  {energy:6.2f} {cost:7.2f}".rstrip()


def _strip(
    stretches: Sequence[Stretch], day: date, zone: tzinfo, signs: tuple[str, str, float]
) -> str:
    """What it did longest in each half-hour of the day on the wall."""
    full, capped, highest = signs
    weights: list[dict[str, float]] = [{} for _ in range(_CELLS)]
    for stretch in stretches:
        sign = _sign(stretch, full, capped, highest)
        moment = stretch.start
        while moment < stretch.end:
            local = moment.astimezone(zone)
            cell = local.hour * 2 + local.minute // 30
            passed = timedelta(minutes=local.minute % 30, seconds=local.second)
            until = min(stretch.end, moment + _CELL - passed)
            if local.date() == day:
                seconds = (until - moment).total_seconds()
                weights[cell][sign] = weights[cell].get(sign, 0.0) + seconds
            moment = until
    return "".join(max(cell, key=cell.__getitem__) if cell else " " for cell in weights)


def _sign(stretch: Stretch, full: str, capped: str, highest: float) -> str:
    if stretch.doing == "outage":
        return "x"
    if stretch.doing in ("train", "load"):
        return capped if (stretch.limit_watts or 0.0) < highest - 0.5 else full
    return "g" if "gpu_busy" in stretch.holds else "."


def _sums(answer: Answer, zone: tzinfo) -> Iterator[str]:
    diary, currency = answer.diary, answer.currency
    if diary.finish is None:
        yield f"Not finished: {diary.work_done_hours:.1f} of {answer.wish.work_hours:g} h are done."
    else:
        when = f"{diary.finish.astimezone(zone):%F %H:%M}"
        yield f"Finished {when}, {'in time' if answer.deadline_met else 'too late'}."
    yield f"Energy {diary.kilowatt_hours:.1f} kWh (simulated), cost {diary.cost:.2f} {currency}."
    yield from _compared(answer)
    lost = diary.work_lost_seconds / 60.0
    yield f"{diary.starts} starts, {diary.outages} outages, {lost:.0f} min of work done twice."
    held = [f"{name} {hours:.1f} h" for name, hours in diary.hold_hours.items() if hours]
    if held:
        yield f"Held (capped or stopped): {', '.join(held)}."
    if answer.missing_price_hours:
        yield f"{answer.missing_price_hours:.1f} h have no price; a forecast stands in for them."


def _compared(answer: Answer) -> Iterator[str]:
    for name, plan in (
        ("always on", answer.always_on),
        ("best constant cap", answer.static_cap),
        ("perfect foresight", answer.foresight),
    ):
        if plan is None or plan.finish is None:
            yield f"  {name:<18} not done in time"
        else:
            more = plan.cost - answer.diary.cost
            yield f"  {name:<18} {plan.cost:9.2f}   homerun saves {more:+.2f} {answer.currency}"
    if answer.saved_ratio is not None and answer.saved_ratio < 0.005:
        yield "There is next to nothing to save here: more slack or other prices are needed."
