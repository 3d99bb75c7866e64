"""Energy through all of homerun: a plug on a port, a real daemon, the real command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.story.house import HOMERUN, House, wait_for
from tests.unit.home.test_plugs import BODIES, speaking
from tests.unit.tariff.price_server import price_server

TABLES = """
[tariff]
currency = "EUR"
price_per_kwh = 0.30
time_zone = "Europe/Berlin"
[power]
meter = "shelly"
address = "{url}"
poll = "1s"
"""


def energy(house: House) -> Any:
    done = subprocess.run(
        [*HOMERUN, "energy", "--by", "run", "--json"],
        capture_output=True,
        text=True,
        env=house.environment,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)["energy"]


@pytest.mark.long  # a daemon that starts three times
def test_what_the_plug_said_is_in_the_ledger_after_a_restart_and_after_a_kill(
    tmp_path: Path,
) -> None:
    with price_server(speaking(BODIES["gen2"])) as plug:
        house = House(tmp_path / "house", tables=TABLES.format(url=plug.url))
        try:
            house.start()
            assert energy(house)["total"] is None
            house.submit(steps=1_000_000)
            wait_for("some steps", lambda: (house.status()["run"] or {}).get("step", 0) >= 5)
            assert house.terminate() == 0
            house.start()
            first = energy(house)
            (line,) = first["lines"]
            assert line["label"] == "tiny"
            assert line["measured_kwh"] > 0
            assert line["tokens"] >= 5 * 256
            assert line["unpriced_kwh"] == 0
            assert line["costs"][0]["amount"] == pytest.approx(0.30 * line["kwh"], rel=1e-6)
            assert first["avoided"][0]["always_on_watts"] > 100
            house.kill()
            house.start()
            again = energy(house)["lines"][0]
            assert again["kwh"] >= line["kwh"]
            assert again["tokens"] >= line["tokens"]
        finally:
            house.close()
