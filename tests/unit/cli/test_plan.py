"""plan: sizes as people write them, tables that fit, JSON with units, measured speeds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import domain as d
from orchestrator.cli import plan_measured, plan_room
from tests.unit.cli import api_double as api
from tests.unit.cli.api_double import Answer, ApiDouble
from tests.unit.cli.conftest import Run
from trainer.contract.spec import ModelSpec, RunSpec, TrainSpec

THE_RUN = ("plan", "--model", "d32", "--tokens", "38B", "--card", "rtx4070")
RECIPES = ["fp32", "bf16", "bf16-8bit", "int8", "nf4", "qlora-4bit", "w3", "w2.6"]


@pytest.fixture(autouse=True)
def _no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_measured, "local_card_name", lambda: "")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The user's configuration file, to be written."""
    file = tmp_path / ".config" / "homerun" / "homerun.toml"
    file.parent.mkdir(parents=True)
    return file


def planned(run: Run, *arguments: str) -> Any:
    result = run("plan", "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["schema"] == d.SCHEMA
    return answer["plan"]


def row_of(plan: Any, recipe: str) -> Any:
    return next(row for row in plan["recipes"] if row["recipe"] == recipe)


def test_it_works_without_a_daemon_and_says_the_truth(no_daemon: str, run: Run) -> None:
    result = run(*THE_RUN)
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    for recipe in RECIPES:
        assert result.stdout.count(f"\n{recipe} ") >= 2
    assert "1,879,048,192 parameters" in text
    assert "152 days at 60%" in text
    assert "takes about 148 days in bf16 and 88 days with int8 matmuls" in text
    assert "In 30 days it would take 177 TFLOPS" in text
    assert "no tariff configured" in text
    assert "fp32 by " in text


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_the_tables_fit_the_terminal(
    no_daemon: str, run: Run, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run(*THE_RUN, "--price-per-kwh", "0.32").stdout.splitlines()
    assert max(map(len, lines)) <= min(columns, 100)
    assert not any("…" in line for line in lines)


def test_json_has_every_figure_with_its_unit(no_daemon: str, run: Run) -> None:
    plan = planned(run, *THE_RUN[1:], "--price-per-kwh", "0.32")
    assert (plan["parameters"], plan["tokens"], plan["depth"]) == (1_879_048_192, 38 * 10**9, 32)
    assert plan["flops"] == pytest.approx(38e9 * 1.20796e10, rel=1e-5)
    row = row_of(plan, "bf16-8bit")
    assert row["days"] == pytest.approx(150, rel=0.05)
    assert row["money"] == f"{row['wall_kwh'] * 0.32:.2f}"
    assert row["fits"] is True
    assert row["peak_bytes"] < plan["usable_bytes"]
    missed = row_of(plan, "fp32")
    assert missed["misses_bytes"] == missed["peak_bytes"] - plan["usable_bytes"] > 0
    assert plan["instead"][0]["days_with_pauses"] <= 30
    assert plan["card"]["name"] == "RTX 4070"


def test_one_recipe_may_be_asked_for(no_daemon: str, run: Run) -> None:
    assert [row["recipe"] for row in planned(run, "--recipe", "int8")["recipes"]] == ["int8"]
    nf4 = planned(run, "--recipe", "nf4")["recipes"]
    assert [row["recipe"] for row in nf4] == ["nf4", "nf4 adamw8"]


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("d28", 1_313_865_728),
        ("D28", 1_313_865_728),
        ("nanochat-d32", 1_879_048_192),
        ("1.3B", 1_313_865_728),
        ("about 1.3B", 1_313_865_728),
        ("1.9e9", 1_879_048_192),
        ("560M", 560_988_160),
    ],
)
def test_models_are_depths_or_sizes(no_daemon: str, run: Run, text: str, parameters: int) -> None:
    assert planned(run, "--model", text)["parameters"] == parameters


def test_a_size_is_answered_with_the_model_that_was_taken(no_daemon: str, run: Run) -> None:
    assert (
        "the nearest real model to 1.3B is d28, 1,313,865,728"
        in run("plan", "--model", "about 1.3B", "--card", "rtx4070").stderr
    )


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("38B", 38 * 10**9), ("38e9", 38 * 10**9), ("1.5b", 15 * 10**8), ("524_288", 524_288)],
)
def test_tokens_are_written_in_many_ways(no_daemon: str, run: Run, text: str, tokens: int) -> None:
    assert planned(run, "--tokens", text)["tokens"] == tokens


def test_without_tokens_it_is_twenty_for_each_parameter(no_daemon: str, run: Run) -> None:
    assert planned(run, "--model", "d20")["tokens"] == 20 * 560_988_160


@pytest.mark.parametrize(("text", "days"), [("30d", 30), ("6w", 42), ("2027-01-31", 61.52)])
def test_deadlines_are_spans_or_days(no_daemon: str, run: Run, text: str, days: float) -> None:
    plan = planned(run, "--deadline", text)
    assert plan["deadline_seconds"] / 86_400 == pytest.approx(days, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "d21"), "d21 does not exist"),
        (("--model", "d0"), "no model"),
        (("--model", "big"), "no model"),
        (("--model", "5"), "no nanochat"),
        (("--tokens", "lots"), "no token count"),
        (("--tokens", "0"), "out of range"),
        (("--tokens", "1e30"), "out of range"),
        (("--tokens", "-5B"), "no token count"),
        (("--card", "rtx4071"), "did you mean"),
        (("--card", "abacus"), "no such card"),
        (("--recipe", "int9"), "did you mean 'int8'?"),
        (("--deadline", "soon"), "no deadline"),
        (("--deadline", "2027-02-31"), "no deadline"),
        (("--deadline", "2026-11-30"), "has passed"),
        (("--deadline", "0d"), "has passed"),
        (("--price-per-kwh", "cheap"), "no price"),
        (("--price-per-kwh", "nan"), "no price"),
        (("--shards", "0"), "0"),
    ],
)
def test_what_cannot_be_read_is_2_with_a_fix(
    no_daemon: str, run: Run, arguments: tuple[str, ...], words: str
) -> None:
    result = run("plan", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "  fix: " in result.stderr
    assert result.stdout == ""


def test_the_configured_tariff_is_the_price(no_daemon: str, run: Run, config: Path) -> None:
    config.write_text('[tariff]\ncurrency = "EUR"\nprice_per_kwh = 0.31\n')
    plan = planned(run)
    assert (plan["currency"], plan["price_per_kwh"]) == ("EUR", "0.31")
    assert row_of(plan, "int8")["money"] == f"{row_of(plan, 'int8')['wall_kwh'] * 0.31:.2f}"
    assert "0.3100 EUR/kWh, fixed" in " ".join(run("plan").stdout.split())


def test_zones_of_a_tariff_are_averaged_over_a_year(no_daemon: str, run: Run, config: Path) -> None:
    config.write_text(
        '[tariff]\ncurrency = "EUR"\nprice_per_kwh = 0.40\ntime_zone = "Europe/Berlin"\n'
        '[[tariff.zones]]\nhours = "0-12"\nprice_per_kwh = 0.20\n'
    )
    plan = planned(run)
    assert float(plan["price_per_kwh"]) == pytest.approx(0.30, abs=0.001)
    assert plan["price_source"] == "the mean of a year"


DYNAMIC = '[tariff]\nservice = "energy_charts"\narea = "DE-LU"\ncurrency = "EUR"\n'


def test_published_prices_are_asked_of_the_daemon(
    double: ApiDouble, run: Run, config: Path
) -> None:
    config.write_text(DYNAMIC)
    slots = [
        {
            "start": f"2026-12-01T{hour:02}:00:00Z",
            "end": f"2026-12-01T{hour + 1:02}:00:00Z",
            "price": price,
            "source": "published",
        }
        for hour, price in ((11, 0.2), (12, -0.1), (13, 0.5))
    ]
    double.set("GET", "prices", Answer({"slots": slots}))
    plan = planned(run)
    assert float(plan["price_per_kwh"]) == pytest.approx(0.2)
    assert plan["price_source"] == "the mean of the next 0.1 days"
    double.set("GET", "prices", Answer({"slots": []}))
    plan = planned(run)
    assert plan["price_per_kwh"] is None
    assert any("no price is published yet" in said for said in plan["remarks"])


def test_published_prices_without_a_daemon_are_missing_and_the_plan_says_so(
    no_daemon: str, run: Run, config: Path
) -> None:
    config.write_text(DYNAMIC)
    plan = planned(run)
    assert row_of(plan, "int8")["money"] is None
    assert any("come from the daemon" in said for said in plan["remarks"])


def test_a_wrong_configuration_is_78(no_daemon: str, run: Run, config: Path) -> None:
    config.write_text("[tariff]\nprice_per_kwh = 'cheap'\n")
    result = run("plan")
    assert result.exit_code == 78
    assert "price_per_kwh" in result.stderr


def test_repeated_data_is_warned_of_loudly(no_daemon: str, run: Run) -> None:
    result = run(*THE_RUN, "--shards", "240")
    text = " ".join(result.stdout.split())
    assert "WARNING: the corpus would be read 3.04 times" in text
    assert "490 are missing" in text
    assert planned(run, *THE_RUN[1:], "--shards", "240")["shards_missing"] == 490


def test_an_8_gb_laptop_and_a_headless_machine(no_daemon: str, run: Run) -> None:
    laptop = planned(run, "--card", "rtx4070laptop")
    assert row_of(laptop, "nf4")["fits"] is True
    assert row_of(laptop, "fp32")["fits"] is False
    headless = planned(run, "--card", "rtx4070", "--headless")
    assert headless["usable_bytes"] > planned(run, "--card", "rtx4070")["usable_bytes"]


def test_the_card_in_the_machine_is_taken(
    no_daemon: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_measured, "local_card_name", lambda: "NVIDIA GeForce RTX 3090")
    assert planned(run)["card"]["name"] == "RTX 3090"
    monkeypatch.setattr(plan_measured, "local_card_name", lambda: "Quadro 9000")
    plan = planned(run)
    assert plan["card"]["name"] == "RTX 4070"
    assert plan["remarks"] == ["planned for an RTX 4070; name another with --card"]


# --- measured -------------------------------------------------------------------------------

MINE = RunSpec(
    name="first-run",
    model=ModelSpec(depth=32),
    train=TrainSpec(precision="bf16", micro_batch=2, tokens=10**10),
)


@pytest.fixture
def training(double: ApiDouble) -> ApiDouble:
    """A daemon whose active run is MINE."""
    run = d.to_json(dataclasses.replace(api.RUNS[0], spec=MINE.to_dict()))
    double.set("GET", "runs/first-run", Answer({**run, "attempts": []}))
    double.set("GET", "runs/first-run/samples", Answer([]))
    return double


def peak_source(double: ApiDouble, source: str) -> None:
    view = api.run_view(peak_source=source)
    double.set("GET", "status", Answer(d.to_json(api.snapshot(run=view))))


def test_the_active_run_of_the_same_model_and_card_replaces_the_assumption(
    training: ApiDouble, run: Run
) -> None:
    plan = planned(run, *THE_RUN[1:])
    row = row_of(plan, "bf16")
    assert (row["speed_source"], row["tokens_per_second"]) == ("measured", 4812.3)
    assert row["card_kwh"] == pytest.approx(182.4 * 38e9 / 4812.3 / 3.6e6)
    assert row_of(plan, "int8")["speed_source"] == "scaled"
    assert "measured: run first-run" in " ".join(plan["assumptions"])


@pytest.mark.parametrize("source", ["RTX 4090, dense bf16, reference clock", "measured: x", ""])
def test_another_card_says_nothing_of_this_one(training: ApiDouble, run: Run, source: str) -> None:
    peak_source(training, source)
    assert row_of(planned(run, *THE_RUN[1:]), "bf16")["speed_source"] == "assumed"


def test_another_model_says_nothing_of_this_one(training: ApiDouble, run: Run) -> None:
    plan = planned(run, "--model", "d20", "--card", "rtx4070")
    assert row_of(plan, "bf16")["speed_source"] == "assumed"


def test_a_run_is_planned_by_its_own_spec(training: ApiDouble, run: Run) -> None:
    plan = planned(run, "--run", "first-run")
    assert (plan["depth"], plan["card"]["name"]) == (32, "RTX 4070")
    assert plan["tokens"] == 10**10 // 524_288 * 524_288
    (row,) = plan["recipes"]
    assert (row["recipe"], row["micro_batch"]) == ("bf16", 2)
    assert row["speed_source"] == "measured"


def test_a_run_on_a_processor_has_a_speed_but_no_card(training: ApiDouble, run: Run) -> None:
    peak_source(training, "measured: float32 matrix product on 2 CPU threads")
    (row,) = planned(run, "--run", "first-run")["recipes"]
    assert (row["fits"], row["speed_source"]) == (None, "measured")
    text = run("plan", "--run", "first-run").stdout
    assert "this machine" in text
    assert "?" in text


def test_a_run_that_is_over_is_known_by_its_curve(training: ApiDouble, run: Run) -> None:
    training.set("GET", "status", Answer(d.to_json(api.snapshot(run=None))))
    points = [
        d.to_json(d.Sample(step, api.NOW, 3.0, speed))
        for step, speed in enumerate([100.0, 900.0, 1000.0, 1100.0, float("nan")])
    ]
    training.set("GET", "runs/first-run/samples", Answer(points))
    (row,) = planned(run, "--run", "first-run")["recipes"]
    assert (row["tokens_per_second"], row["speed_source"]) == (950.0, "measured")


def test_a_run_that_nobody_knows_is_1_and_no_daemon_is_69(
    double: ApiDouble, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("plan", "--run", "nobody").exit_code == 1
    monkeypatch.setenv("HOMERUN_URL", "http://127.0.0.1:9")
    assert run("plan", "--run", "nobody").exit_code == 69


def test_a_daemon_that_talks_nonsense_does_not_stop_a_plan(double: ApiDouble, run: Run) -> None:
    double.set("GET", "status", Answer("<html>", content_type="text/html"))
    assert row_of(planned(run, *THE_RUN[1:]), "bf16")["speed_source"] == "assumed"
    double.set("GET", "status", Answer({"run": {"name": "x"}}))
    assert row_of(planned(run, *THE_RUN[1:]), "bf16")["speed_source"] == "assumed"


@pytest.mark.parametrize(
    ("copies", "available", "slots", "ring", "words"),
    [
        (2.5, 64 << 30, 2, 0, "go from two copies in memory (int8)."),
        (1.5, 64 << 30, 1, 0, "go from one copy in memory (int8)."),
        (0.5, 8 << 30, 0, 256 << 20, "go through a ring of 256 MiB (int8)."),
        (0.0, 2 << 30, 0, 128 << 20, "go through a ring of 128 MiB (int8)."),
        (0.0, 0, 0, 0, "go by the trainer, which stops for them (int8)."),
    ],
)
def test_it_says_how_saves_go_on_this_machine(
    no_daemon: str,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    copies: float,
    available: int,
    slots: int,
    ring: int,
    words: str,
) -> None:
    before = row_of(planned(run, *THE_RUN[1:], "--recipe", "int8"), "int8")
    # beside what the training itself takes of the host
    host, size = before["host_bytes"], before["checkpoint_bytes"]
    room = plan_room.Room(host + int(copies * size), host + available)
    monkeypatch.setattr(plan_room, "of_this_machine", lambda: room)
    assert words in " ".join(run(*THE_RUN, "--recipe", "int8").stdout.split())
    row = row_of(planned(run, *THE_RUN[1:], "--recipe", "int8"), "int8")
    assert (row["memory_slots_here"], row["memory_ring_bytes_here"]) == (slots, ring)
