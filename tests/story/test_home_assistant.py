"""A switch in Home Assistant, a real broker, a real daemon that is killed, and the switch again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator.home.broker import Message
from tests import mosquitto
from tests.mosquitto import Everybody, Mosquitto
from tests.story.house import House, wait_for


def test_a_pause_from_the_switch_outlives_a_kill_and_the_kill_is_seen(tmp_path: Path) -> None:
    if not mosquitto.is_installed() and not os.environ.get("CI"):
        pytest.skip("mosquitto is not installed")
    server = Mosquitto()
    server.start()
    table = (
        f'[mqtt]\nhost = "127.0.0.1"\nport = {server.port}\nusername = "{mosquitto.USER}"\n'
        f'password_file = "{server.password_file}"\n'
    )
    house = House(tmp_path / "house", tables=table)
    others = Everybody(server.port)
    try:
        house.start()
        wait_for("online", lambda: _last(others, "homerun/availability") == "online")
        others.say(Message("homerun/run/set", "OFF"))
        wait_for("the pause", lambda: house.status()["holds"])
        house.kill()
        wait_for("the will", lambda: _last(others, "homerun/availability") == "offline")
        house.start()
        (hold,) = house.status()["holds"]
        assert (hold["reason"], hold["effect"], hold["source"]) == ("user", "pause", "mqtt")
        wait_for("the switch", lambda: _last(others, "homerun/availability") == "online")
        wait_for(
            "its state", lambda: json.loads(_last(others, "homerun/state"))["allowed"] == "OFF"
        )
        server.kill()
        assert house.terminate() == 0, "a dead broker does not keep the daemon from ending"
    finally:
        house.close()
        others.leave()
        server.stop()


def _last(others: Everybody, topic: str) -> str:
    return next((m.payload for m in reversed(others.heard) if m.topic == topic), "")
