"""Energy and money by day, week and run: nothing unknown becomes zero."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from orchestrator.ledger.entry import Entry, Rating, cost_of
from orchestrator.ledger.summary import By, EnergySummary, Money, summarize
from orchestrator.tariff.slots import PriceSlot
from tests.unit.tariff.support import HOUR, series, utc

BERLIN = ZoneInfo("Europe/Berlin")
START = utc("2026-12-01T00:00")
MINUTE = timedelta(minutes=1)


def row(
    start: datetime,
    watts: float = 200.0,
    price: str | None = "0.30",
    run: str | None = "month",
    tokens: int = 1000,
    currency: str = "EUR",
    length: timedelta = MINUTE,
    measured: bool = True,
) -> Entry:
    energy = round(watts * length.total_seconds() * 1e6)
    rate = None if price is None else Decimal(price)
    rating = Rating(rate, currency, "" if rate is None else "published", "t")
    source = "nvml" if measured else "estimated"
    end = start + length
    return Entry(run, start, end, energy, source, measured, tokens, rating, cost_of(energy, rate))


def summed(rows: Sequence[Entry], by: By = By.DAY, fill: Sequence[PriceSlot] = ()) -> EnergySummary:
    return summarize(rows, by, BERLIN, START, lambda start, end: fill)


def test_an_empty_ledger_has_no_lines_and_no_zeros() -> None:
    empty = summed([])
    assert (empty.lines, empty.total, empty.without_run, empty.avoided) == ((), None, None, ())


def test_a_day_of_25_hours_is_one_day_on_the_wall() -> None:
    first = utc("2026-10-24T22:00")
    rows = [row(first + n * HOUR, 100.0, length=HOUR) for n in range(26)]
    days = {line.label: line.kwh for line in summed(rows).lines}
    assert days == {"2026-10-25": Decimal("2.5"), "2026-10-26": Decimal("0.1")}
    weeks = [line.label for line in summed(rows, By.WEEK).lines]
    assert weeks == ["2026-W43", "2026-W44"]


def test_lines_add_up_to_the_total() -> None:
    rows = [row(START + n * HOUR, 77.7 + n, f"0.{n + 1}") for n in range(9)]
    found = summed(rows)
    assert found.total is not None
    assert sum(line.kwh for line in found.lines) == found.total.kwh
    assert found.total.costs[0].amount == sum(r.cost or Decimal(0) for r in rows)


def test_a_negative_price_earns() -> None:
    line = summed([row(START, 1000.0, "-0.50", length=HOUR)]).lines[0]
    assert line.costs == (Money("EUR", Decimal("-0.50")),)
    assert line.costs_per_million_tokens == (Money("EUR", Decimal("-500")),)


def test_a_missing_price_makes_the_cost_unknown_and_not_smaller() -> None:
    rows = [row(START, 1000.0, None, length=HOUR), row(START + HOUR, 1000.0, length=HOUR)]
    found = summed(rows)
    total = found.total
    assert total is not None
    assert (total.kwh, total.unpriced_kwh) == (Decimal(2), Decimal(1))
    assert total.costs == (Money("EUR", Decimal("0.3")),)
    assert total.costs_per_million_tokens == ()
    assert found.avoided[0].cost is None
    assert found.avoided[0].avoided_cost is None


def test_two_currencies_are_never_added_up() -> None:
    rows = [
        row(START, 1000.0, "0.30", length=HOUR),
        row(START + HOUR, 1000.0, "2.00", currency="SEK", length=HOUR),
    ]
    found = summed(rows, By.RUN)
    expected = (Money("EUR", Decimal("0.3")), Money("SEK", Decimal("2")))
    assert found.lines[0].costs == expected
    assert found.avoided == ()


def test_measured_and_estimated_energy_are_told_apart() -> None:
    rows = [row(START, length=HOUR), row(START + HOUR, measured=False, length=3 * HOUR)]
    line = summed(rows).lines[0]
    assert (line.measured_kwh, line.estimated_kwh) == (Decimal("0.2"), Decimal("0.6"))


def test_what_no_run_used_is_in_no_other_figure() -> None:
    found = summed([row(START), row(START + MINUTE, run=None, tokens=0)])
    assert found.total is not None
    assert found.without_run is not None
    assert found.total.kwh == found.without_run.kwh
    assert [line.label for line in summed([row(START)], By.RUN).lines] == ["month"]


def hours(plan: str, dear: str = "0.50", cheap: str = "0.10") -> list[Entry]:
    """An hour a sign: D and d are dear, C and c cheap; capitals train, the others idle."""
    rows = []
    for number, sign in enumerate(plan):
        price = dear if sign in "Dd" else cheap
        trains = sign.isupper()
        for minute in range(60):
            start = START + number * HOUR + minute * MINUTE
            run = "month" if trains else None
            watts, tokens = (200.0, 1000) if trains else (20.0, 0)
            rows.append(row(start, watts, price, run, tokens))
    return rows


def test_training_when_it_is_cheap_avoids_the_difference() -> None:
    found = summed(hours("CddddC"), By.RUN).avoided[0]
    assert found.cost == pytest.approx(Decimal("0.04"))
    assert found.always_on_kwh == pytest.approx(Decimal("0.4"))
    assert found.always_on_cost == pytest.approx(Decimal("0.02") + Decimal("0.10"))
    assert found.avoided_cost == pytest.approx(Decimal("0.08"))
    assert found.always_on_end == START + 2 * HOUR


def test_an_always_on_run_avoids_nothing() -> None:
    found = summed(hours("CDDC"), By.RUN).avoided[0]
    assert found.avoided_cost == pytest.approx(Decimal(0), abs=Decimal("1e-9"))


def test_steps_of_many_minutes_give_the_same_speed() -> None:
    rows = hours("CCddC")
    rows = [
        row(r.start, 200.0, str(r.rating.price), r.run, 20_000 if n % 20 == 19 else 0)
        if r.run
        else r
        for n, r in enumerate(rows)
    ]
    found = summed(rows, By.RUN).avoided[0]
    assert found.always_on_end == START + 3 * HOUR


def test_a_run_under_a_cap_is_compared_with_its_own_full_power() -> None:
    full = [row(START + n * MINUTE, 200.0, "0.30", tokens=1000) for n in range(60)]
    capped = [row(START + HOUR + n * MINUTE, 100.0, "0.30", tokens=800) for n in range(60)]
    found = summed(full + capped, By.RUN).avoided[0]
    assert found.always_on_watts == pytest.approx(200)
    assert found.avoided_kwh > 0
    assert found.avoided_cost == pytest.approx(Decimal("0.3") * found.avoided_kwh)


def test_hours_in_which_the_daemon_was_away_cost_what_the_tariff_said() -> None:
    rows = [*hours("C"), *(row(START + 3 * HOUR + n * MINUTE, 200.0, "0.10") for n in range(60))]
    assert summed(rows, By.RUN).avoided[0].avoided_cost is None
    known = series(START, ["0.10", "0.40", "0.40", "0.10"]).slots
    found = summed(rows, By.RUN, known).avoided[0]
    assert found.avoided_cost == pytest.approx(Decimal("0.06"))


def test_a_clock_that_was_set_back_breaks_nothing() -> None:
    rows = sorted([*hours("CC"), *hours("C")], key=lambda entry: entry.start)
    known = series(START, ["0.10"] * 4).slots
    assert summed(rows, By.RUN, known).avoided[0].avoided_cost is not None
    assert summarize(rows, By.DAY, UTC, START, lambda *_: ()).lines[0].label == "2026-12-01"
