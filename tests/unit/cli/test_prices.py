"""prices, and what config check and the doctor say of a tariff."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from orchestrator.cli import price_text, render
from orchestrator.domain import to_json
from orchestrator.tariff.fetching import Standing
from orchestrator.tariff.report import report
from orchestrator.tariff.services.base import Trouble
from orchestrator.tariff.slots import PriceSeries
from orchestrator.tariff.table import TariffConfig
from tests.unit.cli.api_double import NOW, Answer, ApiDouble
from tests.unit.cli.conftest import Run
from tests.unit.tariff.support import series

HEAD = '[tariff]\ncurrency = "EUR"\ntime_zone = "Europe/Berlin"\n'
ZONES = (
    HEAD + "price_per_kwh = 0.30\n[[tariff.zones]]\nprice_per_kwh = 0.20\nhours = '22-6'\n"
    "[[tariff.zones]]\nprice_per_kwh = -0.05\nhours = '13-14'\n"
)
#: NOW is 11:30 in Berlin on 1 December
HOUR = timedelta(hours=1)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "homerun.toml"
    monkeypatch.setenv("HOMERUN_CONFIG", str(path))
    return path


def market(known: PriceSeries, standing: Standing | None = None, hours: int = 6) -> dict[str, Any]:
    """What the daemon answers for a tariff with a market price."""
    config = TariffConfig.model_validate(
        {"currency": "EUR", "service": "energy_charts", "area": "DE-LU"}
    )
    return dict(to_json(report(config, known, standing, NOW, hours)))


def bars(text: str) -> dict[str, str]:
    """Time of day to what stands behind it."""
    found = re.findall(r"^[> ] (\d\d:\d\d)  (.*)$", text, re.MULTILINE)
    return dict(found)


def test_a_daemon_that_was_named_is_asked_whatever_stands_in_our_own_file(
    no_daemon: str, run: Run, file: Path
) -> None:
    file.write_text(HEAD + "price_per_kwh = 0.31\n")
    assert run("prices").exit_code == 69


def test_zones_are_drawn_with_their_zero_where_it_is(run: Run, file: Path) -> None:
    file.write_text(ZONES)
    result = run("prices", "--hours", "24")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "EUR/kWh, a fixed tariff"
    assert lines[1].startswith("now 0.3000 until 12:00; cheapest -0.0500 at 13:00")
    drawn = bars(result.stdout)
    assert len(drawn) == 24
    negative, cheap, dear = drawn["13:00"], drawn["23:00"], drawn["12:00"]
    assert negative.startswith("  -0.0500  ")
    ends = [line.rindex("█") for line in (negative, cheap, dear)]
    begins = [line.index("█") for line in (negative, cheap, dear)]
    assert begins[0] < ends[0] < begins[1] == begins[2] < ends[1] < ends[2]
    assert drawn["11:00"].endswith("now")
    assert max(render.cells(line) for line in lines) <= 80


def test_without_a_terminal_there_is_no_colour_and_with_one_there_is(run: Run, file: Path) -> None:
    file.write_text(ZONES)
    assert "\x1b" not in run("prices").stdout
    assert "\x1b[32m" in run("prices", color=True).stdout


def test_json_has_every_slot_and_no_colour(run: Run, file: Path) -> None:
    file.write_text(ZONES)
    answer = json.loads(run("prices", "--hours", "5", "--json", color=True).stdout)
    assert answer["schema"] == 1
    prices = answer["prices"]
    assert prices["unit"] == "EUR/kWh"
    assert prices["slots"][0] == {
        "start": "2026-12-01T10:00:00Z",
        "end": "2026-12-01T11:00:00Z",
        "price": 0.3,
        "source": "fixed",
    }
    assert [slot["price"] for slot in prices["slots"]] == [0.3, 0.3, -0.05, 0.3, 0.3]


def test_no_tariff_is_no_free_electricity(run: Run, file: Path) -> None:
    file.write_text("")
    result = run("prices")
    assert result.exit_code == 1
    assert "no tariff is configured, so costs are unknown" in result.stderr
    assert "price_per_kwh = 0.31" in result.stderr


def test_a_file_of_prices_is_drawn_with_its_gaps(run: Run, file: Path) -> None:
    csv = file.parent / "p.csv"
    csv.write_text(
        "utc_start,price,currency,unit\n2026-12-01T10:00Z,100,EUR,MWh\n"
        "2026-12-01T11:00Z,-50,EUR,MWh\n2026-12-01T12:00Z,,EUR,MWh\n"
    )
    file.write_text(HEAD + 'service = "csv_file"\nfile = "p.csv"\n')
    result = run("prices", "--hours", "4")
    assert result.exit_code == 0, result.stderr
    drawn = bars(result.stdout)
    assert drawn["11:00"].startswith("   0.1000")
    assert drawn["12:00"].startswith("  -0.0500")
    # there is a forecast for what is not in the file
    assert "forecast" in drawn["13:00"]
    csv.write_text("nonsense")
    broken = run("prices")
    assert broken.exit_code == 78
    assert "no column utc_start" in broken.stderr


def test_published_prices_come_from_the_daemon_and_forecasts_are_marked(
    double: ApiDouble, run: Run
) -> None:
    start = NOW.replace(minute=0)
    known = series(start - 24 * HOUR, [0.1] * 24 + [0.2, 0.3])
    double.set("GET", "prices", Answer(market(known)))
    result = run("prices", "--hours", "6")
    assert double.asked("prices").query == {"hours": "6"}
    head = " ".join(result.stdout.splitlines()[:2])
    assert "EUR/kWh, Energy-Charts (Fraunhofer ISE), published until 13:00 CET" in head
    drawn = bars(result.stdout)
    assert drawn["11:00"].endswith("now")
    assert "█" in drawn["12:00"]
    assert drawn["13:00"].endswith("forecast")
    assert "░" in drawn["13:00"]


def test_a_daemon_without_prices_says_why(double: ApiDouble, run: Run) -> None:
    standing = Standing(
        next_try=NOW, failures=5, trouble=Trouble.DENIED, reason="it refuses the \x1b token"
    )
    double.set("GET", "prices", Answer(market(PriceSeries("EUR", ()), standing)))
    result = run("prices")
    assert result.exit_code == 0
    assert "it refuses the   token; check area, product, url and token_file" in result.stdout
    assert "No prices are known for these hours." in result.stdout


def test_a_daemon_that_is_not_running_is_named(run: Run, file: Path) -> None:
    file.write_text(HEAD + 'service = "energy_charts"\narea = "AT"\n[web]\nport = 9\n')
    result = run("prices")
    assert result.exit_code == 69
    assert "the daemon is not running" in result.stderr


@pytest.mark.parametrize("hours", ["0", "337", "many"])
def test_hours_that_make_no_picture_are_refused(run: Run, hours: str) -> None:
    assert run("prices", "--hours", hours).exit_code == 2


def test_the_repeated_hour_is_drawn_twice_and_the_skipped_one_not(run: Run, file: Path) -> None:
    config = TariffConfig.model_validate({"currency": "EUR", "price_per_kwh": 0.3})
    for day, count in (("2026-10-24T22:00:00+00:00", 2), ("2026-03-28T23:00:00+00:00", 0)):
        now = NOW.fromisoformat(day)
        answer = to_json(report(config, PriceSeries("EUR", ()), None, now, 24))
        view = price_text.View(now, 80, render.UNICODE)
        lines = [click.unstyle(line) for line in price_text.picture(answer, view)]
        assert sum("02:00" in line for line in lines[2:]) == count


def test_all_prices_equal_or_zero_or_negative_are_drawn_too() -> None:
    for prices in ([0.3, 0.3], [0.0, 0.0], [-0.2, -0.1], [25.5, 1200.0]):
        answer = market(series(NOW.replace(minute=0), prices), hours=2)
        view = price_text.View(NOW, 40, render.ASCII)
        lines = [click.unstyle(line) for line in price_text.picture(answer, view)]
        assert len(bars("\n".join(lines))) == 2
        assert max(map(len, lines)) <= 42


# --- config check ---------------------------------------------------------------------------


def test_config_check_tells_what_it_costs_now_and_next(run: Run, file: Path) -> None:
    file.write_text(ZONES)
    lines = run("config", "check").stdout.splitlines()
    assert lines == [
        f"{file}: fine",
        "tariff: fixed, in EUR",
        "tariff: 0.3000 EUR/kWh now, -0.0500 from 13:00 CET",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + "price_per_kwh = 0.3", "tariff: 0.3000 EUR/kWh now, and for the next week"),
        (
            HEAD + 'service = "energy_charts"\narea = "AT"\nvat = 0.2\n[tariff.adders]\na = 0.1',
            "tariff: prices of Energy-Charts (Fraunhofer ISE) (AT); 0.1000 EUR/kWh added; VAT 20 %",
        ),
        (
            '[tariff]\npreset = "taipower-residential"',
            "numbers since 2025-10-01",
        ),
        (HEAD + 'service = "csv_file"\nfile = "no.csv"', "cannot be read: No such file"),
        (
            HEAD + "[[tariff.zones]]\nprice_per_kwh = 1\nhours = '0-23'",
            "tariff: no price at Tue 1 Dec 23:00: no zone or tier holds then",
        ),
    ],
)
def test_config_check_says_what_the_tariff_is_made_of_and_what_it_lacks(
    run: Run, file: Path, text: str, expected: str
) -> None:
    file.write_text(text)
    result = run("config", "check")
    assert result.exit_code == 0
    assert expected in " ".join(result.stdout.split())


def test_config_check_in_json_has_the_next_day(run: Run, file: Path) -> None:
    file.write_text(ZONES)
    answer = json.loads(run("config", "check", "--json").stdout)["config"]
    assert len(answer["tariff"]["slots"]) == 24
    file.write_text("")
    assert json.loads(run("config", "check", "--json").stdout)["config"]["tariff"] is None


# --- doctor ---------------------------------------------------------------------------------


def prices_check(run: Run) -> dict[str, str]:
    checks = json.loads(run("doctor", "--json").stdout)["checks"]
    return next(check for check in checks if check["name"] == "prices")


def test_the_doctor_is_content_with_a_fixed_tariff_and_without_any(
    double: ApiDouble, run: Run, file: Path
) -> None:
    file.write_text(ZONES)
    assert prices_check(run)["message"] == "0.3000 EUR/kWh now, -0.0500 from 13:00 CET"
    file.write_text("")
    check = prices_check(run)
    assert check["state"] == "ok"
    assert check["message"] == "no tariff is configured, so costs are unknown"


def test_the_doctor_says_why_there_are_no_prices_and_what_to_do(
    double: ApiDouble, run: Run, file: Path
) -> None:
    file.write_text(HEAD + 'service = "energy_charts"\narea = "DE-LU"\n')
    known = series(NOW.replace(minute=0), [0.1] * 5)
    double.set("GET", "prices", Answer(market(known, Standing(next_try=NOW))))
    assert prices_check(run)["state"] == "ok"
    assert "known until 16:00 CET" in prices_check(run)["message"]
    failing = Standing(next_try=NOW, failures=4, trouble=Trouble.BROKEN, reason="it failed")
    double.set("GET", "prices", Answer(market(PriceSeries("EUR", ()), failing)))
    check = prices_check(run)
    assert check["state"] == "warning"
    assert check["message"].endswith("nothing is known; it failed")
    assert check["fix"].startswith("see whether this machine reaches the internet")


def test_the_doctor_looks_at_the_price_token(double: ApiDouble, run: Run, file: Path) -> None:
    file.write_text(HEAD + 'service = "tibber"\ntoken_file = "token"\n')
    token = file.parent / "token"

    def state() -> str:
        checks = json.loads(run("doctor", "--json").stdout)["checks"]
        return next(str(c["state"]) for c in checks if c["name"] == "price token")

    assert state() == "failed"
    token.write_text("x")
    token.chmod(0o644)
    assert state() == "warning"
    token.chmod(0o600)
    assert state() == "ok"
