"""schedule, deadline, and what plan and config check say of a goal."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import schedule_text
from orchestrator.cli.render import ASCII, UNICODE
from orchestrator.domain import to_json
from orchestrator.home.clock import FakeClock
from orchestrator.web.fake_schedule import FakePlan
from tests.unit.cli.api_double import NOW, Answer, ApiDouble
from tests.unit.cli.conftest import Run

TARIFF = """
[tariff]
currency = "EUR"
time_zone = "UTC"
price_per_kwh = 0.30
[[tariff.zones]]
hours = "22-6"
price_per_kwh = 0.10
"""


class Planned(FakePlan):
    """The fake's plan at the time of the tests."""

    def __init__(self) -> None:
        self._clock = FakeClock(NOW)


@pytest.fixture
def answers(double: ApiDouble) -> dict[str, Any]:
    told: dict[str, Any] = to_json(Planned().schedule(24))
    double.set("GET", "schedule", Answer(told))
    double.set("GET", "schedule/curve", Answer(to_json(Planned().schedule_curve())))
    return told


def test_the_schedule_is_a_picture_and_a_line_for_every_stretch_with_its_reason(
    answers: dict[str, Any], run: Run
) -> None:
    result = run("schedule", "--hours", "24")
    assert result.exit_code == 0
    text = result.stdout
    assert "evening: deadline" in text
    assert "less than at full power at once" in text
    assert "Next change: " in text
    assert "waits" in text
    assert "does most for its money" in text
    states = [(slot["state"], slot["cap_watts"]) for slot in answers["slots"]]
    changes = 1 + sum(a != b for a, b in itertools.pairwise(states))
    assert sum(" EUR/kWh" in line and " to " in line[:30] for line in text.splitlines()) == changes
    assert max(map(len, text.splitlines())) <= 100


def test_the_schedule_and_its_curve_as_json_are_the_daemons_own(
    answers: dict[str, Any], run: Run
) -> None:
    assert json.loads(run("schedule", "--json").stdout)["schedule"] == answers
    curve = json.loads(run("schedule", "--curve", "--json").stdout)["curve"]
    assert curve["points"][0]["cost"] > curve["points"][-1]["cost"]
    assert "later saves" in run("schedule", "--curve").stdout


def test_a_schedule_without_run_prices_or_plan_says_so() -> None:
    nothing = {**to_json(Planned().schedule(2)), "run": None, "slots": []}
    view = schedule_text.View(NOW, 80, ASCII)
    assert schedule_text.schedule(nothing, view) == [
        "No run is active.",
        "No prices are known for these hours.",
    ]
    held = to_json(Planned().schedule(2))
    for slot in held["slots"]:
        slot.update(state="hold", price=None, reason="user: film")
    text = "\n".join(schedule_text.schedule(held, schedule_text.View(NOW, 80, UNICODE)))
    assert "xxxxxxxx" in text
    assert "price unknown" in text
    assert "user: film" in text
    empty = {"points": [], "remark": "its speed is measured first", "currency": "EUR"}
    assert schedule_text.curve(empty, view) == ["Its speed is measured first."]


@pytest.mark.parametrize(
    ("words", "body", "told"),
    [
        (("30d",), {"seconds": 30 * 86_400.0}, "done by"),
        (("--slack", "0.5"), {"slack": 0.5}, "as cheaply as possible in 1.5 times its time"),
        (("--budget", "25.50"), {"budget": "25.50"}, "done as early as 25.5 allow"),
        (("--value", "0.02"), {"value": "0.02"}, "a million tokens cost at most 0.02"),
        (("--off",), {}, "no plan, full power whenever nothing holds it"),
    ],
)
def test_a_goal_of_each_kind_is_sent_and_told(
    double: ApiDouble, run: Run, words: tuple[str, ...], body: dict[str, Any], told: str
) -> None:
    kind = {"30d": "deadline", "--off": "off"}.get(words[0], words[0].strip("-"))
    double.set(
        "POST",
        "runs/evening/goal",
        Answer(
            {
                "run": "evening",
                "kind": kind,
                "deadline": "2026-12-31T10:30:00Z",
                "slack": 0.5,
                "money": float(words[-1]) if kind in ("budget", "value") else None,
            }
        ),
    )
    result = run("deadline", "evening", *words)
    assert result.exit_code == 0, result.stderr
    assert double.asked("runs/evening/goal").body == body
    assert told in result.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "give one of WHEN, --slack"),
        (("30d", "--off"), "give one of WHEN, --slack"),
        (("tomorrow",), "no deadline: 'tomorrow'"),
        (("2020-01-01",), "has passed"),
    ],
)
def test_a_goal_that_is_none_is_told_what_is_wrong(
    run: Run, words: tuple[str, ...], complaint: str
) -> None:
    result = run("deadline", "evening", *words)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_plan_draws_what_each_finish_costs_and_tells_what_waiting_saves(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "homerun.toml"
    file.write_text(TARIFF)
    wanted = ("plan", "--config", str(file), "--model", "d12", "--card", "rtx4070")
    text = run(*wanted, "--deadline", "10d").stdout
    assert "When to be done, and what that costs" in text
    assert "later saves" in text
    curve = json.loads(run(*wanted, "--deadline", "10d", "--json").stdout)["plan"]["curve"]
    costs = [point["cost"] for point in curve["points"]]
    assert costs == sorted(costs, reverse=True)
    late = run(*wanted, "--deadline", "1h").stdout
    assert "does not fit before the deadline" in late


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ('deadline = "2027-01-31"', "plan: done by"),
        ("deadline = 2020-01-31", "plan: plan.deadline has passed"),
        ("slack = 0.5", "plan: as cheaply as possible in 1.5 times"),
        ("budget = 25", "plan: done as early as 25 EUR allow"),
        ("value = 0.02", "a million tokens cost at most 0.02 EUR"),
    ],
)
def test_config_check_tells_what_runs_are_planned_for(
    run: Run, tmp_path: Path, plan: str, told: str
) -> None:
    file = tmp_path / "homerun.toml"
    file.write_text(f"{TARIFF}[plan]\n{plan}\n")
    assert told in run("config", "check", "--config", str(file)).stdout


def test_config_check_names_what_is_wrong_with_a_plan(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "homerun.toml"
    for plan, told in (
        ("slack = 0.5\nbudget = 3", "give slack or budget, not both"),
        ('deadline = "soon"', "no date: 'soon'"),
        ("budget = 0", "must be more than 0"),
        ("slack = -1", "must be at least 0"),
        ("deadlin = 3", "did you mean 'deadline'?"),
    ):
        file.write_text(f"{TARIFF}[plan]\n{plan}\n")
        result = run("config", "check", "--config", str(file))
        assert result.exit_code == 78
        assert told in result.stderr
    file.write_text("[plan]\nslack = 0.5\n")
    assert "no tariff is configured" in run("config", "check", "--config", str(file)).stdout
