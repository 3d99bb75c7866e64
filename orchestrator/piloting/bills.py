"""What the runs cost so far, read from the ledger now and then: it is too long for every tick."""

from __future__ import annotations

from datetime import datetime, tzinfo
from decimal import Decimal

from orchestrator.domain import Bill
from orchestrator.ledger.always_on import Fill
from orchestrator.ledger.keeper import everything
from orchestrator.ledger.summary import Avoided, By, Line, summarize
from orchestrator.store import Store


class Bills:
    """A chore calls ``refresh``; readers of any thread take what it found last."""

    def __init__(self, store: Store, zone: tzinfo | None, fill: Fill) -> None:
        self._store, self._zone, self._fill = store, zone, fill
        self.known: tuple[Bill, ...] = ()
        #: whether the ledger was ever read: until then nobody knows what was spent
        self.ready = False

    def refresh(self, now: datetime) -> None:
        """Add the whole ledger up. Raises StoreFailed; what was known stays then."""
        summary = summarize(everything(self._store), By.RUN, self._zone, now, self._fill)
        avoided = {item.run: item for item in summary.avoided}
        self.known = tuple(_bill(line, avoided.get(line.label)) for line in summary.lines)
        self.ready = True

    def spent(self, run: str) -> Decimal:
        """What a run cost, as far as it is priced."""
        mine = [bill.cost for bill in self.known if bill.run == run and bill.cost is not None]
        return sum(mine, Decimal(0))


def _bill(line: Line, avoided: Avoided | None) -> Bill:
    """Of several currencies, which nobody can add up, none is told."""
    one = line.costs[0] if len(line.costs) == 1 else None
    each = line.costs_per_million_tokens
    return Bill(
        run=line.label,
        currency=one.currency if one else "",
        cost=one.amount if one else None,
        energy_kwh=line.kwh,
        avoided_cost=avoided.avoided_cost if avoided else None,
        cost_per_million_tokens=each[0].amount if len(each) == 1 else None,
    )
