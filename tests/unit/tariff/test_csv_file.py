"""Prices from a CSV file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.errors import Misconfigured
from orchestrator.tariff import csv_file
from orchestrator.tariff.slots import Source

HEAD = "utc_start,price,currency,unit\n"
QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)
MIDNIGHT = datetime(2026, 10, 1, tzinfo=UTC)


def rows(*minutes: int, price: str = "1", unit: str = "kWh") -> str:
    times = [MIDNIGHT + timedelta(minutes=minute) for minute in minutes]
    return "".join(f"{time:%Y-%m-%dT%H:%M:%SZ},{price},EUR,{unit}\n" for time in times)


def spans(text: str) -> list[int]:
    slots = csv_file.parse(HEAD + text, "p.csv").slots
    return [round(slot.seconds / 60) for slot in slots]


@pytest.mark.parametrize(
    ("unit", "price", "per_kwh"),
    [
        ("kWh", "0.08202", "0.08202"),
        ("MWh", "97.21", "0.09721"),
        ("MWh", "-500", "-0.500"),
        ("0.01/kWh", "12.61", "0.1261"),
        ("0.01/kWh (pence incl. VAT)", "-3.5", "-0.035"),
    ],
)
def test_every_unit_becomes_money_per_kwh_exactly(unit: str, price: str, per_kwh: str) -> None:
    series = csv_file.parse(HEAD + rows(0, price=price, unit=unit), "p.csv")
    assert series.currency == "EUR"
    assert series.slots[0].price == Decimal(per_kwh)
    assert series.slots[0].source is Source.PUBLISHED
    assert series.slots[0].start == MIDNIGHT


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ([0, 60, 120], [60, 60, 60]),
        ([0, 15, 30, 45], [15, 15, 15, 15]),
        # hours, then quarter-hours from 02:00 on, and back
        ([0, 60, 120, 135, 150, 165, 180], [60, 60, 15, 15, 15, 15, 15]),
        ([0, 15, 30, 45, 60, 120, 180], [15, 15, 15, 15, 60, 60, 60]),
        # a hole of an hour in quarter-hours does not stretch the slot before it
        ([0, 15, 30, 90, 105, 120], [15, 15, 15, 15, 15, 15]),
        ([0, 60, 120, 600, 660], [60, 60, 60, 60, 60]),
        ([0, 15, 30, 3000], [15, 15, 15, 15]),
        ([0], [60]),
    ],
)
def test_a_slot_ends_where_the_next_begins_but_never_reaches_over_a_gap(
    minutes: list[int], expected: list[int]
) -> None:
    assert spans(rows(*minutes)) == expected


def test_a_row_without_a_price_is_a_gap_and_not_zero() -> None:
    text = HEAD + rows(0, 15) + rows(30, price="") + rows(45, 60)
    series = csv_file.parse(text, "p.csv")
    gaps = list(series.gaps(MIDNIGHT, MIDNIGHT + timedelta(minutes=75)))
    assert gaps == [(MIDNIGHT + 2 * QUARTER, MIDNIGHT + 3 * QUARTER)]
    assert series.at(MIDNIGHT + 2 * QUARTER) is None


def test_order_repetition_offsets_and_blank_lines_do_no_harm() -> None:
    text = HEAD + rows(60, 0, 0) + "\n2026-10-01T04:00:00+02:00,1,eur,kWh\n"
    starts = [slot.start for slot in csv_file.parse(text, "p.csv").slots]
    assert starts == [MIDNIGHT, MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p.csv:1: no column utc_start, price, currency, unit"),
        ("a,b\n", "no column utc_start"),
        (HEAD, "p.csv: no prices in it"),
        (HEAD + "soon,1,EUR,kWh\n", "p.csv:2: Invalid isoformat string: 'soon'"),
        (HEAD + "2026-10-01T00:00:00,1,EUR,kWh\n", "p.csv:2: '2026-10-01T00:00:00' has no offset"),
        (HEAD + "2026-10-01T00:00:07Z,1,EUR,kWh\n", "not on a full minute"),
        (HEAD + rows(0) + rows(15, price="nan"), "p.csv:3: no price: nan"),
        (HEAD + rows(0, price="inf"), "no price: inf"),
        (HEAD + rows(0, price="1,5"), "no such unit 'EUR'"),
        (HEAD + rows(0, price="cheap"), "p.csv:2: no number: 'cheap'"),
        (HEAD + rows(0, unit="GWh"), "no such unit 'GWh'; known are kWh, MWh, 0.01/kWh"),
        (HEAD + rows(0, unit=""), "no such unit ''"),
        (HEAD + "2026-10-01T00:00:00Z,1,EURO,kWh\n", "no currency: 'EURO'"),
        (HEAD + "2026-10-01T00:00:00Z,1\n", "p.csv:2: 2 columns where 4 are needed"),
        (HEAD + rows(0) + rows(0, price="2"), "2026-10-01T00:00Z stands twice"),
        (HEAD + rows(0) + "2026-10-01T01:00:00Z,1,SEK,kWh\n", "several currencies: EUR, SEK"),
    ],
)
def test_every_mistake_names_its_line(text: str, message: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        csv_file.parse(text, "p.csv")
    assert message in caught.value.message
    assert "utc_start,price,currency,unit" in caught.value.fix


def test_a_file_of_rubbish_does_not_fill_the_screen() -> None:
    with pytest.raises(Misconfigured) as caught:
        csv_file.parse(HEAD + rows(*range(0, 3000, 15), price="x"), "p.csv")
    assert len(caught.value.message.splitlines()) == 5


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"nothing\.csv: cannot be read: No such file"):
        csv_file.read(tmp_path / "nothing.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Misconfigured, match="cannot be read"):
        csv_file.read(binary)


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text(HEAD + rows(0), encoding="utf-8-sig")
    assert len(csv_file.read(file).slots) == 1
