"""A plan through all of homerun: a real daemon that waits by it and goes on, and says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.story.conftest import MakeHouse
from tests.story.house import House, wait_for
from tests.unit.tariff import price_bodies as say
from tests.unit.tariff import price_server as ps

FIXED = """
[tariff]
currency = "EUR"
price_per_kwh = 0.30
[power]
meter = "model"
"""
#: no electricity is so cheap, and none so dear
TOO_LITTLE, PLENTY = "0.000000001", "100000"


def schedule(house: House) -> Any:
    done = house.homerun("schedule", "--hours", "3", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["schedule"]


def waits(house: House) -> Any:
    """The hold of the plan, once it is there."""
    holds = house.status()["holds"]
    return next((hold for hold in holds if hold["source"] == "planner"), None)


def goal(house: House, *words: str) -> None:
    done = house.homerun("deadline", "tiny", *words)
    assert done.returncode == 0, done.stderr


def test_a_run_waits_by_its_plan_also_over_a_restart_and_goes_on_when_it_is_worth_it(
    make_house: MakeHouse,
) -> None:
    house = make_house(tables=FIXED).start()
    house.submit(steps=1_000_000)
    house.wait_step(3)
    assert schedule(house)["slots"][0]["state"] == "run"
    goal(house, "--value", TOO_LITTLE)
    wait_for("the plan to hold it", lambda: waits(house))
    assert "0.300 EUR/kWh now" in waits(house)["detail"]
    house.wait_status("the pause", lambda s: s["run"]["phase"] in ("paused", "idle"))
    told = schedule(house)
    assert {slot["state"] for slot in told["slots"]} == {"off"}
    assert (told["goal"], told["mode"], told["run"]) == ("value", "value", "tiny")
    assert house.status()["plan"]["goal"] == "value"

    assert house.terminate() == 0
    house.start()
    wait_for("the plan to hold it after the restart", lambda: waits(house))
    assert len(house.run_record()["attempts"]) == 1, "nobody starts a trainer only to stop it"
    before = house.status()["run"]["step"]
    goal(house, "--value", PLENTY)
    house.wait_step(before + 3)
    assert {slot["state"] for slot in schedule(house)["slots"]} == {"run"}

    kinds = house.journal_kinds()
    order = [kinds.index(kind) for kind in ("goal_set", "planned", "hold_started")]
    assert order == sorted(order)
    assert kinds.count("goal_set") == 2
    reasons = [entry["message"] for entry in house.journal() if entry["kind"] == "hold_started"]
    assert any("tariff: 0.300 EUR/kWh now" in reason for reason in reasons)
    (line,) = house.get("/api/v1/energy?by=run")["lines"]
    assert line["costs"][0]["amount"] == pytest.approx(0.30 * line["kwh"], rel=1e-6)
    (bill,) = house.status()["bills"]
    assert bill["cost"] == pytest.approx(0.30 * bill["energy_kwh"], rel=1e-6)


@pytest.mark.long  # the first question waits up to 15 s, so that a street does not ask at once
def test_a_dead_price_service_stops_no_run_and_the_plan_then_says_forecast(
    tmp_path: Path,
) -> None:
    with ps.price_server(say.energy_charts) as server:
        tables = (
            '[power]\nmeter = "model"\n[plan]\nslack = 1.0\n[tariff]\n'
            'currency = "EUR"\nservice = "energy_charts"\narea = "DE-LU"\n'
            f'url = "{server.url}"\nadders = {{ grid = 1.0 }}\n'
        )
        server.fault = ps.Fault.FAILED
        house = House(tmp_path / "house", tables=tables)
        try:
            house.start()
            house.submit(steps=1_000_000)
            house.wait_step(3)
            told = wait_for(
                "the plan to say that nothing is known",
                lambda: (house.status()["plan"] or {}).get("remark", "").startswith("No prices"),
            )
            assert told
            step = house.status()["run"]["step"]
            house.wait_step(step + 3)
            assert waits(house) is None
            doctor = house.homerun("doctor")
            assert "502" in doctor.stdout + doctor.stderr
            assert house.terminate() == 0

            server.fault = None
            house.start()
            wait_for("a plan", lambda: schedule(house)["mode"] == "cheapest")
            told = schedule(house)
            assert told["always_on_cost"] >= told["cost"] > 0
            assert house.terminate() == 0

            server.fault = ps.Fault.FAILED
            house.start()
            wait_for("the plan of what is known", lambda: schedule(house)["mode"] == "cheapest")
            far = house.get("/api/v1/schedule?hours=96")
            assert far["slots"][-1]["forecast"] is True
            assert far["known_until"] is not None
        finally:
            house.close()
