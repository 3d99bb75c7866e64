"""homerun simulate, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.root import root
from tests.unit.simulation.conftest import WriteFile


def homerun(*words: str, state: Path) -> Result:
    env = {"HOMERUN_STATE_DIR": str(state), "XDG_CONFIG_HOME": str(state), "HOMERUN_CONFIG": ""}
    return CliRunner().invoke(root, ["simulate", *words], env=env)


def test_a_month_as_json(write_prices: WriteFile, tmp_path: Path) -> None:
    done = homerun(
        "--prices", str(write_prices()), "--work-hours", "24", "--adders", "0.1,21%", "--json",
        "--start", "2026-02-01", state=tmp_path,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["deadline_met"] is True
    assert answer["cost"] < answer["always_on_cost"]
    assert answer["start"] == "2026-01-31T23:00:00Z"


def test_a_month_as_a_picture(write_prices: WriteFile, tmp_path: Path) -> None:
    done = homerun("--prices", str(write_prices()), "--work-hours", "12", state=tmp_path)
    assert done.exit_code == 0, done.output
    assert "perfect foresight" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--prices", "nowhere.csv"), "cannot be read"),
        (("--adders", "0.1"), "--adders come on top of the prices of a file"),
        ((), "no tariff is configured"),
        (("--work-hours", "-3"), "is no work"),
        (("--start", "soon"), "no tariff is configured"),
    ],
)
def test_what_cannot_be_simulated_names_its_fix(
    words: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    done = homerun(*words, state=tmp_path)
    assert done.exit_code != 0
    assert says in done.stderr
    assert "fix:" in done.stderr


def test_a_configured_price_needs_no_file(tmp_path: Path) -> None:
    file = tmp_path / "homerun.toml"
    file.write_text('[tariff]\ncurrency = "EUR"\nprice_per_kwh = 0.31\n', encoding="utf-8")
    done = homerun("--config", str(file), "--work-hours", "10", "--json", state=tmp_path)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["currency"] == "EUR"
