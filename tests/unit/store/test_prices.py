"""Stories of the published prices."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from orchestrator.store import Store
from orchestrator.store.prices import PriceSource, Revision, Written
from orchestrator.tariff.slots import PriceSeries, PriceSlot, Source
from tests.unit.store.world import later

HOUR, QUARTER = timedelta(hours=1), timedelta(minutes=15)
DAY = datetime.fromisoformat("2026-11-23T23:00:00+00:00")
SE3 = PriceSource("nordpool", "SE3", "EUR")


def prices(*values: str, start: datetime = DAY, step: timedelta = HOUR) -> PriceSeries:
    slots = [
        PriceSlot(start + index * step, start + (index + 1) * step, Decimal(value))
        for index, value in enumerate(values)
    ]
    return PriceSeries("EUR", tuple(slots))


def stored(store: Store, source: PriceSource = SE3, as_of: datetime | None = None) -> list[str]:
    with store.transaction() as tx:
        series = tx.prices.of(source, DAY - 48 * HOUR, DAY + 48 * HOUR, as_of=as_of)
    assert series.currency == source.currency
    return [f"{slot.price}" for slot in series.slots]


def put(
    store: Store, series: PriceSeries, seconds: float = 0, source: PriceSource = SE3
) -> Written:
    with store.transaction() as tx:
        return tx.prices.put(source, series, later(seconds))


def test_prices_come_back_exactly_with_their_times(store: Store) -> None:
    series = prices("0.054310000000001", "-0.5", "0", "0.1")
    assert put(store, series) == Written(4, 0)
    with store.transaction() as tx:
        assert tx.prices.of(SE3, DAY, DAY + 4 * HOUR) == series
        touching = tx.prices.of(SE3, DAY + QUARTER, DAY + HOUR + QUARTER)
    assert touching.slots == series.slots[:2]
    assert touching.slots[0].source is Source.PUBLISHED
    assert touching.slots[0].start.utcoffset() == timedelta(0)


def test_the_same_prices_again_change_nothing(store: Store) -> None:
    put(store, prices("0.1", "0.2"))
    assert put(store, prices("0.10", "0.2"), 60) == Written(0, 0)
    assert put(store, PriceSeries("EUR", ()), 60) == Written(0, 0)
    with store.transaction() as tx:
        assert tx.prices.newest_fetch(SE3) == later(0)


def test_a_revised_price_counts_and_the_old_one_is_still_known(store: Store) -> None:
    put(store, prices("0.1", "0.2", "0.3"))
    assert put(store, prices("0.1", "0.25", "0.3", "0.4"), 60) == Written(1, 1)
    assert put(store, prices("0.1", "0.27"), 120) == Written(0, 1)
    assert stored(store) == ["0.1", "0.27", "0.3", "0.4"]
    assert stored(store, as_of=later(60)) == ["0.1", "0.25", "0.3", "0.4"]
    assert stored(store, as_of=later(0)) == ["0.1", "0.2", "0.3"]
    assert stored(store, as_of=later(-1)) == []


def test_a_ledger_learns_what_to_rate_again(store: Store) -> None:
    put(store, prices("0.1", "0.2"))
    put(store, prices("0.1", "0.25"), 60)
    put(store, prices("0.15", "0.25"), 120)
    with store.transaction() as tx:
        assert tx.prices.revised_since(SE3, later(0)) == [
            Revision(DAY, DAY + HOUR, Decimal("0.1"), Decimal("0.15"), later(120)),
            Revision(DAY + HOUR, DAY + 2 * HOUR, Decimal("0.2"), Decimal("0.25"), later(60)),
        ]
        assert len(tx.prices.revised_since(SE3, later(60))) == 1
        assert tx.prices.revised_since(SE3, later(120)) == []


def test_quarter_hours_replace_the_hour_that_they_cover(store: Store) -> None:
    put(store, prices("1", "2", "3"))
    put(store, prices("1.1", "1.2", "1.3", "1.4", step=QUARTER), 60)
    assert stored(store) == ["1.1", "1.2", "1.3", "1.4", "2", "3"]


def test_an_hour_replaces_the_quarter_hours_that_it_covers(store: Store) -> None:
    put(store, prices("1.1", "1.2", "1.3", "1.4", "1.5", step=QUARTER))
    assert put(store, prices("1"), 60) == Written(0, 4)
    assert stored(store) == ["1", "1.5"]
    with store.transaction() as tx:
        withdrawn = [item.after for item in tx.prices.revised_since(SE3, later(0))]
    assert withdrawn == [Decimal(1), None, None, None]
    # and back again: what was withdrawn comes back as a further revision
    put(store, prices("1.1", "1.2", "1.3", "1.4", step=QUARTER), 120)
    assert stored(store) == ["1.1", "1.2", "1.3", "1.4", "1.5"]


def test_sources_do_not_mix(store: Store) -> None:
    kronor = PriceSource("nordpool", "SE3", "SEK")
    other = PriceSource("nordpool", "SE4", "EUR")
    put(store, prices("1"))
    put(store, prices("2"), source=other)
    with store.transaction() as tx:
        tx.prices.put(kronor, PriceSeries("SEK", prices("3").slots), later(0))
    assert (stored(store), stored(store, other), stored(store, kronor)) == (["1"], ["2"], ["3"])


def test_old_prices_are_forgotten_and_a_running_slot_is_not_old(store: Store) -> None:
    put(store, prices("1", "2", "3"))
    with store.transaction() as tx:
        tx.prices.forget(DAY + HOUR + QUARTER)
    assert stored(store) == ["2", "3"]


def test_a_year_of_quarter_hours_fits(store: Store) -> None:
    month = prices(*["0.1"] * 2688, step=QUARTER)
    assert put(store, month) == Written(2688, 0)
    assert put(store, month, 60) == Written(0, 0)


@pytest.mark.parametrize("price", ["NaN", "Infinity"])
def test_what_is_no_number_is_not_stored(store: Store, price: str) -> None:
    with pytest.raises(Exception, match="no number"):
        put(store, prices(price))
    assert stored(store) == []
