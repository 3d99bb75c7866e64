"""What the same work would have cost at full power, from the beginning and without a break.

The definition, all of it from the ledger's own figures:

- the work is the tokens that the run trained, what was computed twice included;
- full power and full speed are the means over the steps whose mean power was within a tenth of
  the highest (the 95th percentile by time): what the machine did when nothing slowed it down;
- it begins where the run's first row begins and lasts tokens / speed;
- every moment costs what the ledger's rows of that moment cost, whosever they are, and what the
  tariff said where the ledger has none.

Nothing is claimed where a part is unknown. A run that was never let go at full power is compared
with the highest power that it had, which makes the difference smaller, not larger.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.ledger.entry import Entry, Stretch
from orchestrator.ledger.split import split
from orchestrator.tariff.slots import PriceSeries, PriceSlot, Source

#: the tariff's prices of a span; empty where nobody knows them
Fill = Callable[[datetime, datetime], Sequence[PriceSlot]]

_NEAR, _QUANTILE = 0.9, 0.95


@dataclass(frozen=True)
class AlwaysOn:
    """The counterfactual of one run."""

    watts: float
    tokens_per_second: float
    start: datetime
    end: datetime
    microjoules: int
    #: None: some of its hours have no known price
    cost: Decimal | None
    currency: str


@dataclass(frozen=True)
class _Step:
    """The rows up to the one in which a step was done."""

    tokens: int
    seconds: float
    microjoules: int

    @property
    def watts(self) -> float:
        return self.microjoules / 1e6 / self.seconds


def always_on(run: Sequence[Entry], everything: Iterable[Entry], fill: Fill) -> AlwaysOn | None:
    """The counterfactual of a run; None when it trained nothing, or in several currencies.

    Args:
        run: its rows, in the order of time.
        everything: the rows of all, for their prices.
    """
    steps = list(_steps(run))
    currencies = {entry.rating.currency for entry in run if entry.rating.currency}
    if not steps or len(currencies) > 1:
        return None
    full = _full(steps)
    seconds = sum(step.seconds for step in full)
    watts = sum(step.microjoules for step in full) / 1e6 / seconds
    speed = sum(step.tokens for step in full) / seconds
    lasts = sum(entry.tokens for entry in run) / speed
    start = run[0].start
    end = start + timedelta(seconds=lasts)
    currency = next(iter(currencies), "")
    energy = round(watts * lasts * 1e6)
    known = _prices(everything, currency, start, end, fill)
    parts = split(Stretch(None, start, end, energy, "", measured=False), known, currency, "all")
    costs = [part.cost for part in parts if part.cost is not None]
    cost = sum(costs, Decimal(0)) if len(costs) == len(parts) else None
    return AlwaysOn(watts, speed, start, end, energy, cost, currency)


def _steps(run: Iterable[Entry]) -> Iterator[_Step]:
    """What was done between one row with tokens and the next: steps may take many minutes."""
    seconds, microjoules = 0.0, 0
    for entry in run:
        seconds += entry.seconds
        microjoules += entry.microjoules
        if entry.tokens and microjoules:
            yield _Step(entry.tokens, seconds, microjoules)
            seconds, microjoules = 0.0, 0


def _full(steps: Sequence[_Step]) -> list[_Step]:
    by_power = sorted(steps, key=lambda step: step.watts)
    passed = list(itertools.accumulate(step.seconds for step in by_power))
    wanted = _QUANTILE * passed[-1]
    highest = next(s.watts for s, until in zip(by_power, passed, strict=True) if until >= wanted)
    return [step for step in steps if step.watts >= _NEAR * highest]


def _prices(
    entries: Iterable[Entry], currency: str, start: datetime, end: datetime, fill: Fill
) -> tuple[PriceSlot, ...]:
    """The ledger's own prices, and the tariff's where no row is."""
    found: list[PriceSlot] = []
    for entry in entries:
        price = entry.rating.price
        if price is None or entry.rating.currency != currency:
            continue
        last = found[-1] if found else None
        if last is not None and entry.start < last.end:
            continue  # two runs at one time, or a clock that was set back
        if last is not None and (last.end, last.price) == (entry.start, price):
            found[-1] = PriceSlot(last.start, entry.end, price, Source.FIXED)
        else:
            found.append(PriceSlot(entry.start, entry.end, price, Source.FIXED))
    own = PriceSeries(currency, tuple(found))
    gaps = list(own.gaps(start, end))
    if not gaps:
        return own.between(start, end)
    tariff = PriceSeries(currency, tuple(fill(start, end)))
    more = [
        PriceSlot(max(slot.start, left), min(slot.end, right), slot.price, slot.source)
        for left, right in gaps
        for slot in tariff.between(left, right)
    ]
    return own.joined(more).between(start, end)
