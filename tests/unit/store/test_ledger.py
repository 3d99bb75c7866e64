"""Stories of the ledger's rows: appended, rated again, never changed."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy.exc import IntegrityError

from orchestrator.ledger.entry import UNRATED, Entry, Rating, cost_of
from orchestrator.store import Store
from tests.unit.store.world import START, later

NET = Rating(Decimal("0.3000000000001"), "EUR", "published", "t1")


def entry(minute: int, run: str | None = "a", rating: Rating = NET) -> Entry:
    energy = 12_345_678_901
    start = START + timedelta(minutes=minute)
    return Entry(
        run,
        start,
        start + timedelta(minutes=1),
        energy,
        "nvml",
        True,
        64,
        rating,
        cost_of(energy, rating.price),
    )


def test_rows_come_back_exactly_in_the_order_of_time(store: Store) -> None:
    with store.transaction() as tx:
        tx.ledger.add([entry(5), entry(1, None, UNRATED)])
        first, second = tx.ledger.entries()
    assert (first.run, first.cost, first.rating) == (None, None, UNRATED)
    assert second.cost == cost_of(12_345_678_901, Decimal("0.3000000000001"))
    assert second.rating == NET
    assert second.start.utcoffset() == timedelta(0)


def test_a_span_and_a_run_can_be_asked_for(store: Store) -> None:
    with store.transaction() as tx:
        tx.ledger.add([entry(minute, "a" if minute % 2 else "b") for minute in range(10)])
        some = tx.ledger.entries(later(120), later(300))
        assert len(some) == 3
        assert len(tx.ledger.entries(run="b")) == 5
        assert tx.ledger.reached("a") == later(600)
        assert tx.ledger.reached("c") is None
        assert tx.ledger.used_microjoules(later(0), later(120)) == 2 * 12_345_678_901


def test_the_newest_rating_counts_and_the_old_ones_stay(store: Store) -> None:
    forecast = Rating(Decimal("0.1"), "EUR", "forecast", "t1")
    with store.transaction() as tx:
        tx.ledger.add([entry(0, rating=forecast), entry(1)])
        (open_entry,) = tx.ledger.unsettled("t1", START)
        tx.ledger.rate([(open_entry, NET)], later(60))
        once = tx.ledger.entries()[0]
        assert (once.rating, once.revision) == (NET, 1)
        assert tx.ledger.unsettled("t1", START) == []
        tx.ledger.rate([(once, Rating(None, "EUR", "", "t1"))], later(120))
        twice = tx.ledger.entries()[0]
        assert (twice.cost, twice.revision) == (None, 2)
        assert tx.ledger.unsettled("t1", START) == [twice]
        assert tx.ledger.unsettled("t2", START) == []
    with store.engine.connect() as connection:
        prices = connection.exec_driver_sql("SELECT price FROM ledger ORDER BY id").scalars()
        assert list(prices) == ["0.1", "0.3000000000001"]


def test_pages_fit_together_and_carry_the_newest_rating(store: Store) -> None:
    with store.transaction() as tx:
        tx.ledger.add([entry(minute, rating=UNRATED) for minute in (4, 3, 2, 1, 0)])
        tx.ledger.rate([(tx.ledger.entries()[0], NET)], later(60))
        first = tx.ledger.page(0, 3)
        rest = tx.ledger.page(first[-1].id, 3)
        assert tx.ledger.page(rest[-1].id, 3) == []
        assert [len(first), len(rest)] == [3, 2]
        assert [*first, *rest][::-1] == tx.ledger.entries()
        assert rest[-1].rating == NET


def test_two_ratings_of_the_same_revision_cannot_be_written(store: Store) -> None:
    with store.transaction() as tx:
        tx.ledger.add([entry(0)])
        stale = tx.ledger.entries()[0]
        tx.ledger.rate([(stale, UNRATED)], later(60))
    with pytest.raises(IntegrityError), store.transaction() as tx:
        tx.ledger.rate([(stale, NET)], later(61))
