"""Prices through all of homerun: a server on a port, a real daemon, the real command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.story.house import HOMERUN, House, wait_for
from tests.unit.tariff import price_bodies as say
from tests.unit.tariff import price_server as ps


def homerun(house: House, *arguments: str) -> Any:
    done = subprocess.run(
        [*HOMERUN, *arguments], capture_output=True, text=True, env=house.environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def api_slots(house: House) -> list[Any]:
    return list(house.get("/api/v1/prices?hours=3")["slots"])


@pytest.mark.long  # the first question waits up to 15 s, so that a street does not ask at once
def test_a_daemon_fetches_prices_shows_them_and_knows_them_after_a_restart(tmp_path: Path) -> None:
    with ps.price_server(say.energy_charts) as server:
        house = House(tmp_path / "house")
        with house.config.open("a") as file:
            file.write(
                '[tariff]\ncurrency = "EUR"\nservice = "energy_charts"\narea = "DE-LU"\n'
                f'url = "{server.url}"\nvat = 0.19\n'
            )
        try:
            house.start()
            wait_for("the first prices", lambda: api_slots(house), every_seconds=0.2)
            prices = homerun(house, "prices", "--hours", "3", "--json")["prices"]
            assert prices["source"]["title"] == "Energy-Charts (Fraunhofer ISE)"
            assert {slot["source"] for slot in prices["slots"]} <= {"published", "forecast"}
            assert 1 <= len(prices["slots"]) <= 12
            assert house.terminate() == 0
            server.fault = ps.Fault.FAILED
            house.start()
            known = {slot["start"]: slot["price"] for slot in prices["slots"]}
            told = {slot["start"]: slot["price"] for slot in api_slots(house)}
            both = known.keys() & told.keys()
            assert both
            assert all(known[start] == told[start] for start in both)
        finally:
            house.close()
