"""[tariff]: what electricity costs, and every way to write it down wrongly."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.errors import Misconfigured
from orchestrator.settings import config as c
from orchestrator.tariff.presets import presets

TARIFF = '[tariff]\ncurrency = "EUR"\ntime_zone = "Europe/Berlin"\n'
ZONE = TARIFF + "[[tariff.zones]]\nprice_per_kwh = 0.3\n[[tariff.zones]]\nprice_per_kwh = 0.2\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "homerun.toml"


def problems_of(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(Misconfigured) as caught:
        c.load(file, {})
    return caught.value.message.splitlines()


def test_no_tariff_means_unknown_costs_and_not_free_electricity() -> None:
    tariff = c.Config().tariff
    assert not tariff.configured
    assert tariff.price_per_kwh is None


def test_a_flat_price_takes_two_lines_and_stays_exact(file: Path) -> None:
    file.write_text('[tariff]\ncurrency = "eur"\nprice_per_kwh = 0.1\n')
    tariff = c.load(file, {}).tariff
    assert tariff.configured
    assert (tariff.currency, tariff.price_per_kwh) == ("EUR", Decimal("0.1"))


def test_a_free_kilowatt_hour_is_a_tariff_too(file: Path) -> None:
    file.write_text('[tariff]\ncurrency = "EUR"\nprice_per_kwh = 0\n')
    assert c.load(file, {}).tariff.configured


def test_everything_at_once_arrives_with_its_types(file: Path) -> None:
    file.write_text(
        TARIFF + "vat = 0.19\nholidays = [2026-12-25, '12-26']\n"
        'service = "generic_json"\nurl = "http://pi.lan/p"\nother_kwh_per_month = 250\n'
        "[tariff.adders]\ngrid = 0.08\nlevies = '0.0205'\n"
        '[tariff.paths]\nstart = "t[]"\nprice = "p[]"\nunit = "MWh"\n'
        '[[tariff.zones]]\nname = "night"\nprice_per_kwh = -0.02\ndays = "Mo-Fr,PH"\n'
        'hours = "22-6"\nmonths = "Oct-Mar"\ndates = [2026-12-24, "12-24..01-06"]\n'
        "[[tariff.tiers]]\nabove_kwh = 330\nprice_per_kwh = 0.01\n"
    )
    tariff = c.load(file, {}).tariff
    assert tariff.adders == {"grid": Decimal("0.08"), "levies": Decimal("0.0205")}
    assert tariff.holidays == ("2026-12-25", "12-26")
    assert tariff.zones[0].price_per_kwh == Decimal("-0.02")
    assert tariff.zones[0].when.hours == ((1320, 1440), (0, 360))
    assert tariff.tiers[0].above_kwh == 330
    assert tariff.paths is not None
    assert tariff.paths.unit == "MWh"
    shown = json.loads(json.dumps(c.view(c.load(file, {}))))["tariff"]
    assert shown["zones"][0]["price_per_kwh"] == -0.02
    assert shown["adders"] == {"grid": 0.08, "levies": 0.0205}
    assert shown["price_includes_vat"] is None


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[tariff]\nprice_per_kwh = 0.3", 1, 'tariff.currency: must be set, such as "EUR"'),
        (TARIFF + "price_per_kwh = true", 4, "must be a number, such as 0.31 (is True)"),
        (TARIFF + "price_per_kwh = nan", 4, "must be a number, such as 0.31 (is nan)"),
        (TARIFF + 'price_per_kwh = "cheap"', 4, "must be a number"),
        (TARIFF + "price_per_kwh = 1e9", 4, "must be a number"),
        (TARIFF + "vat = 19", 4, "tariff.vat: must be at most 1 (is 19)"),
        (TARIFF + "billing_day = 0", 4, "tariff.billing_day: must be at least 1"),
        (TARIFF + "billing_months = 3", 4, "must be at most 2"),
        (TARIFF + "zones = 3", 4, "tariff.zones: must be a list of tables, not a number"),
        (TARIFF + "adders = 3", 4, "tariff.adders: must be a table, not a number"),
        (TARIFF + "[tariff.adders]\ngrid = true", 5, "tariff.adders.grid: must be a number"),
        (TARIFF + "holidays = ['Xmas']", 4, "no date: 'Xmas'; write it as 2026-12-24"),
        (TARIFF + "holidays = [2026-02-29]", 4, "not TOML"),
        (TARIFF + "holidays = ['2026-02-29']", 4, "no such date: '2026-02-29'"),
        ('[tariff]\ncurrency = "euro"', 2, "no currency: 'euro'"),
        ('[tariff]\ntime_zone = "Berlin"', 2, "no time zone 'Berlin'; write an IANA name"),
        ('[tariff]\ntime_zone = "UTC+99"', 2, "no offset is beyond 14 hours"),
        ('[tariff]\ntime_zone = "../etc"', 2, "no time zone"),
        ('[tariff]\npreset = "taipower"', 2, "no such preset 'taipower'; did you mean"),
        ('[tariff]\npreset = "x"', 2, "known are taipower-residential"),
        (TARIFF + 'service = "nordpol"', 4, "no such choice 'nordpol'; did you mean 'nordpool'?"),
        (TARIFF + 'service = "nordpool"', 1, "tariff.area: must be set for nordpool"),
        (TARIFF + 'service = "tibber"', 1, "tariff.token_file: must be set for tibber"),
        (TARIFF + 'service = "generic_json"\nurl = "x"', 1, "tariff.paths: must be set"),
        (TARIFF + 'service = "comed"', 2, "tariff.currency: ComEd hourly pricing answers in USD"),
        (TARIFF + "price_includes_vat = 1", 4, "must be true or false, not a number"),
        (ZONE + 'hours = "8"', 8, "tariff.zones[1].hours: no hours: '8'"),
        (ZONE + 'hours = "8-8"', 8, "is empty; for the whole day write 0-24"),
        (ZONE + 'hours = "8-25"', 8, "no time of day: '25'"),
        (ZONE + 'hours = "8:60-9"', 8, "no time of day: '8:60'"),
        (ZONE + 'hours = "8:10-9"', 8, "8:10 is not on a quarter of an hour"),
        (ZONE + 'days = "Mo-Fry"', 8, "no such day: 'Fry'; write Mo, Tu"),
        (ZONE + 'months = "Oct-Nil"', 8, "no such month: 'Nil'; write Jan to Dec"),
        (ZONE + 'dates = ["12-24..2026-12-26"]', 8, "no span of dates"),
        (ZONE + 'dates = ["2027-01-06..2026-12-24"]', 8, "no span of dates"),
        (ZONE + 'hour = "8-9"', 8, "zones[1].hour: unknown key; did you mean 'hours'?"),
        (TARIFF + "[[tariff.zones]]\nhours = '1-2'", 4, "zones[0].price_per_kwh: must be set"),
        (
            TARIFF + "tiers = [{above_kwh = 9, price_per_kwh = 1}, "
            "{above_kwh = 0, price_per_kwh = 1}]",
            4,
            "tariff.tiers: must stand in the order of above_kwh",
        ),
        (TARIFF + "[[tariff.tiers]]\nprice_per_kwh = 1", 4, "tiers[0].above_kwh: must be set"),
        (TARIFF + "[[tariff.tiers]]\nprice_per_kwh = 1\nabove_kwh = -1", 6, "must be at least 0"),
        ('[tariff]\ncurrency = "EUR"\n[[tariff.zones]]\nprice_per_kwh = 1', 1, "tariff.time_zone"),
        (
            TARIFF + 'service = "generic_json"\nurl = "x"\n[tariff.paths]\nstart = "a"\n'
            'price = "b"\nunit = "GWh"',
            9,
            "no such unit 'GWh'",
        ),
    ],
)
def test_every_mistake_is_named_with_its_line(
    file: Path, text: str, line: int, message: str
) -> None:
    (problem,) = problems_of(file, text)
    assert problem.startswith(f"{file}:{line}: ")
    assert message in problem


@pytest.mark.parametrize("name", list(presets()))
def test_every_preset_loads_and_says_where_its_numbers_are_from(file: Path, name: str) -> None:
    file.write_text(f'[tariff]\npreset = "{name}"\narea = "A"\n')
    tariff = c.load(file, {}).tariff
    preset = presets()[name]
    assert tariff.configured
    assert tariff.preset == name
    assert preset.title
    assert len(preset.since) == len("2025-10-01")
    assert preset.source
    assert preset.note


def test_a_presets_key_can_be_overruled(file: Path) -> None:
    file.write_text('[tariff]\npreset = "taipower-residential"\nbilling_months = 1\n')
    tariff = c.load(file, {}).tariff
    assert (tariff.currency, tariff.billing_months, len(tariff.tiers)) == ("TWD", 1, 11)


def test_relative_paths_count_from_the_file(file: Path) -> None:
    file.write_text(TARIFF + 'service = "csv_file"\nfile = "prices.csv"\ntoken_file = "t"\n')
    tariff = c.load(file, {}).tariff
    assert tariff.file == str(file.parent / "prices.csv")
    assert tariff.token_file == str(file.parent / "t")
