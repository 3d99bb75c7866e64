"""A changed homerun.toml reaches a daemon that runs, by the command and by SIGHUP."""

from __future__ import annotations

import json
import signal
import urllib.request

from tests.story.house import House, wait_for

QUIET = '\n[[quiet_hours]]\ndays = "Mo-Su"\nhours = "0-24"\neffect = "pause"\n'


def metric(house: House, name: str) -> float:
    with urllib.request.urlopen(f"{house.address()['url']}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name} ")]
    return float(line.split()[1])


def reloads(house: House) -> list[str]:
    return [kind for kind in house.journal_kinds() if kind.startswith("config_")]


def test_quiet_hours_begin_and_end_without_a_restart(house: House) -> None:
    house.start()
    pid = house.status()["daemon"]["pid"]
    before = house.config.read_text(encoding="utf-8")
    assert metric(house, "homerun_config_last_reload_successful") == 1

    house.config.write_text(before + QUIET, encoding="utf-8")
    done = house.homerun("config", "reload", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["reload"]
    assert told == {"applied": ["quiet_hours.times"], "needs_restart": []}
    house.wait_status("the quiet hours", lambda status: status["setpoint"]["effect"] == "pause")

    house.config.write_text(before + "\n[quiet_hours]\ntimes = 7\n", encoding="utf-8")
    wrong = house.homerun("config", "reload")
    assert wrong.returncode == 78
    assert f"{house.config}:" in wrong.stderr
    assert metric(house, "homerun_config_last_reload_successful") == 0
    assert house.status()["setpoint"]["effect"] == "pause"

    house.config.write_text(before, encoding="utf-8")
    assert house.process is not None
    house.process.send_signal(signal.SIGHUP)
    house.wait_status("full power again", lambda status: status["setpoint"]["effect"] == "run")
    wanted = ["config_reloaded", "config_reload_failed", "config_reloaded"]
    wait_for("all three in the journal", lambda: reloads(house) == wanted)
    assert metric(house, "homerun_config_last_reload_successful") == 1
    assert house.status()["daemon"]["pid"] == pid
    assert house.homerun("config", "reload").stdout == "nothing changed\n"

    house.process.send_signal(signal.SIGHUP)
    wait_for("the word of the signal", lambda: reloads(house)[3:] == ["config_reloaded"] * 2)
