"""The mains fail under a real daemon; a real upsd tells it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests import nut
from tests.nut import NutServer
from tests.story.house import House

LONG = 1_000_000


@pytest.fixture
def server() -> Iterator[NutServer]:
    if not nut.is_installed() and not os.environ.get("CI"):
        pytest.skip("nut-server is not installed")
    made = NutServer()
    made.start()
    yield made
    made.stop()


def held(status: Any) -> list[str]:
    return [hold["effect"] for hold in status["holds"] if hold["reason"] == "ups"]


def test_an_outage_saves_releases_the_machine_and_goes_on_when_the_battery_is_charged(
    house: House, server: NutServer
) -> None:
    with house.config.open("a", encoding="utf-8") as file:
        file.write(f'[ups]\nname = "home"\nport = {server.port}\npoll = "200ms"\ndebounce = "1s"\n')
    house.start()
    house.submit(steps=LONG, every_seconds="3600")
    house.wait_step(6)
    server.say(ups__status="OB DISCHRG", battery__charge="70")
    gone = house.wait_status(
        "the trainer to be gone",
        lambda s: held(s) == ["release"] and s["run"]["trainer_pid"] is None,
    )
    assert "on battery" in gone["holds"][0]["detail"]
    # saved at the last finished step, though no save was due for an hour
    assert gone["run"]["checkpoint"]["step"] == gone["run"]["step"]
    assert "ups" in gone["headline"].lower()
    server.say(ups__status="OL CHRG", battery__charge="30")
    house.wait_status("mains", lambda s: "mains are back" in str(s["holds"]))
    server.say(ups__status="OL", battery__charge="80")
    house.wait_status("training to go on", lambda s: s["run"]["step"] > gone["run"]["step"])
    kinds = {entry["kind"] for entry in house.journal()}
    assert {"hold_started", "hold_ended"} <= kinds
