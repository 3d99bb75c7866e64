"""energy: the ledger in the terminal, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any

from orchestrator.domain import to_json
from orchestrator.ledger.entry import Entry
from orchestrator.ledger.summary import By, summarize
from tests.unit.cli.api_double import NOW, Answer, ApiDouble
from tests.unit.cli.conftest import Run
from tests.unit.ledger.test_summary import BERLIN, START, hours, row


def summary(rows: list[Entry], by: By = By.DAY) -> Answer:
    return Answer(to_json(summarize(rows, by, BERLIN, NOW, lambda *_: ())))


def show(double: ApiDouble, run: Run, rows: list[Entry], *arguments: str) -> Any:
    double.set("GET", "energy", summary(rows))
    return run("energy", *arguments)


def test_each_day_has_a_line_and_the_sum_one_more(double: ApiDouble, run: Run) -> None:
    rows = [row(START + n * timedelta(days=1), 1000.0, length=timedelta(hours=1)) for n in (0, 1)]
    result = show(double, run, rows)
    assert result.exit_code == 0, result.stderr
    assert "2026-12-01" in result.stdout
    assert "total" in result.stdout
    assert "0.3000 EUR" in result.stdout
    assert "estimated" not in result.stdout
    assert double.asked("energy").query == {"by": "day"}


def test_an_empty_ledger_says_so(double: ApiDouble, run: Run) -> None:
    result = show(double, run, [])
    assert result.exit_code == 0
    assert "The ledger is empty" in result.stderr
    assert result.stdout == ""


def test_what_is_unknown_is_called_unknown(double: ApiDouble, run: Run) -> None:
    result = show(double, run, [row(START, price=None, measured=False)])
    text = " ".join(result.stdout.split())
    assert "unknown" in text
    assert "have no known price" in text
    assert "100 % of the energy is estimated" in text


def test_what_was_avoided_is_a_sentence(double: ApiDouble, run: Run) -> None:
    result = show(double, run, hours("CddddC"), "--by", "day")
    text = " ".join(result.stdout.split())
    assert "avoided: 0.0800 EUR" in text
    assert "were drawn while no trainer ran" in text


def test_json_is_the_whole_answer(double: ApiDouble, run: Run) -> None:
    answer = json.loads(show(double, run, hours("C"), "--by", "run", "--json").stdout)
    assert answer["schema"] == 1
    assert answer["energy"]["lines"][0]["kwh"] == 0.2
    assert double.asked("energy").query == {"by": "run"}


def test_csv_has_a_column_a_currency_and_empty_cells_for_the_unknown(
    double: ApiDouble, run: Run
) -> None:
    rows = [
        row(START, 1000.0, "0.30", length=timedelta(hours=1)),
        row(START + timedelta(days=1), 1000.0, "2", currency="SEK", tokens=0),
    ]
    result = show(double, run, rows, "--csv")
    first, second = csv.DictReader(io.StringIO(result.stdout))
    assert (first["label"], first["cost_EUR"], first["cost_SEK"]) == ("2026-12-01", "0.3", "")
    assert second["kwh_per_million_tokens"] == ""
    assert run("energy", "--csv", "--json").exit_code != 0
