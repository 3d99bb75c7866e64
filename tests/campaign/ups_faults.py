"""The mains fail under a real daemon, and a real upsd tells it; driver, server and battery too.

The debounce of the configuration is an hour, so that only the rule under test makes the daemon
save: half of the runtime, a low battery, silence, or a forced shutdown.
"""

from __future__ import annotations

import random
import sys
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from tests import nut
from tests.campaign.estate import Estate
from tests.campaign.row import Row
from tests.campaign.tally import Tally
from tests.nut import NutServer
from tests.story.house import House

_BATTERY = "OB DISCHRG"
#: what the battery carries in the rows that wait for half of it
_RUNTIME_SECONDS = 20.0
_EFFECTS = ("pause", "release")


def run(seed: int, count: int, root: Path) -> list[Row]:
    """``count`` of each, of a single one only that of a low battery; nothing without an upsd."""
    if not nut.is_installed():
        print("nut-server is not installed", file=sys.stderr)
        return []
    server = NutServer()
    server.start()
    house = House(root / "house", tables=_table(server))
    names = list(FAULTS) if count > 1 else list(FAULTS)[:1]
    tallies = {name: Tally(f"{name} (real upsd)") for name in names}
    try:
        estate = Estate(
            house.start(), random.Random(seed), tallies, steps=3000 if count > 1 else 400
        )
        order = names * count
        estate.chance.shuffle(order)
        for name in order:
            tallies[name].injected += 1
            tallies[name].wrong += not FAULTS[name](Outage(estate, server))
            tallies[name].recovered_after(0.0)
        next(iter(tallies.values())).wrong += estate.compare()
    finally:
        house.close()
        server.stop()
    return [tally.row() for tally in tallies.values()]


def _table(server: NutServer) -> str:
    return (
        f'[ups]\nname = "home"\nport = {server.port}\npoll = "200ms"\n'
        'debounce = "1h"\nreserve = "1s"\n'
    )


class Outage:
    """One failure of the mains, from its beginning until training goes on."""

    def __init__(self, estate: Estate, server: NutServer) -> None:
        self.estate = estate
        self.house = estate.house
        self.server = server
        self.newest = 0
        self.attempt = (0, "")

    def begin(self, status: str = _BATTERY, **variables: str) -> None:
        """Computing stops."""
        while True:
            run = self.estate.wait_training()["run"]
            self.newest = self.estate.newest_entry()
            self.server.say(ups__status=status, battery__charge="70", **variables)
            self.house.wait_status("the load to stop", _stopped)
            now = self.house.status()["run"]
            if now is not None and now["name"] == run["name"]:
                self.attempt = (now["attempt"], now["name"])
                return
            # the run was finished before upsd told
            self.mains()
            self.house.wait_status("the end of the hold", lambda status: not held(status))

    def wait_released(self, why: str = "") -> Any:
        """The trainer has gone, with everything that it had computed on the disk."""
        return self.house.wait_status(
            "the trainer to be gone", lambda status: _released(status, why)
        )

    def mains(self, charge: str = "80") -> None:
        """They are back."""
        self.server.say(ups__status="OL CHRG", battery__charge=charge)

    def recharge(self) -> bool:
        """Mains, then charge; whether training waited for it, and lost nothing."""
        self.mains(charge="30")
        self.house.wait_status("mains", lambda status: "mains are back" in str(status["holds"]))
        waited = not self.estate.goes_on(self.newest)
        self.mains()
        return waited and self.lost_nothing()

    def lost_nothing(self) -> bool:
        """Whether training goes on where it stopped."""
        self.estate.wait("training to go on", lambda: self.estate.goes_on(self.newest))
        return all(
            entry["data"]["lost_steps"] == 0 for entry in self.estate.news(self.newest, "resumed")
        )


def _low_battery(outage: Outage) -> bool:
    """Saved at once, though the battery has not said how long it lasts."""
    outage.begin()
    outage.server.say(ups__status=f"{_BATTERY} LB", battery__charge="10")
    gone = outage.wait_released("on battery")
    return _is_saved(gone) and outage.recharge()


def _half_the_runtime(outage: Outage) -> bool:
    """Saved after half of what the battery carries, and so before it is empty."""
    outage.begin(battery__runtime=f"{_RUNTIME_SECONDS:.0f}")
    gone = outage.wait_released("on battery")
    begun = outage.estate.news(outage.newest, "hold_started")[0]
    saved = outage.estate.news(outage.newest, "checkpoint_saved")[-1]
    seconds = _seconds(begun, saved)
    in_time = _RUNTIME_SECONDS / 2 - 1.0 <= seconds <= _RUNTIME_SECONDS
    return in_time and _is_saved(gone) and outage.recharge()


def _dip(outage: Outage) -> bool:
    """Computing stops and goes on in the same process."""
    outage.begin()
    outage.mains()
    status = outage.house.wait_status("the end of the hold", lambda status: not held(status))
    run = status["run"]
    ended = outage.estate.news(outage.newest, "attempt_ended")
    return run is not None and (run["attempt"], run["name"]) == outage.attempt and not ended


def _driver_dies(outage: Outage) -> bool:
    return _goes_silent(outage, "dummy-ups", outage.server.start_driver)


def _server_dies(outage: Outage) -> bool:
    return _goes_silent(outage, "upsd", outage.server.start_server)


def _goes_silent(outage: Outage, program: str, mend: Callable[[], None]) -> bool:
    """The last that was heard is a failure of the mains: the worst is assumed."""
    outage.begin()
    outage.server.kill(program)
    gone = outage.wait_released("went silent while on battery")
    outage.mains(charge="30")
    mend()
    return _is_saved(gone) and outage.recharge()


def _forced_shutdown(outage: Outage) -> bool:
    """Final, whatever the UPS says later, until the daemon is stopped and started anew."""
    house = outage.house
    outage.begin(status=f"FSD {_BATTERY} LB")
    gone = outage.wait_released("shuts everything down")
    outage.mains()
    outage.estate.wait("the daemon to hear of the mains", lambda: not _is_on_battery(house))
    final = _released(house.status(), "shuts everything down")
    stopped = house.terminate() == 0
    house.wait_gone()
    house.start()
    return final and stopped and _is_saved(gone) and outage.lost_nothing()


FAULTS: dict[str, Callable[[Outage], bool]] = {
    "the battery runs low": _low_battery,
    "the mains fail until half of the battery is gone": _half_the_runtime,
    "the mains fail for a moment": _dip,
    "the UPS driver dies in an outage": _driver_dies,
    "the UPS server dies in an outage": _server_dies,
    "a forced shutdown by the UPS": _forced_shutdown,
}


def held(status: Any) -> list[Any]:
    """The holds of the UPS."""
    return [hold for hold in status["holds"] if hold["reason"] == "ups"]


def _stopped(status: Any) -> bool:
    """Nothing computes any more; also where the run has ended meanwhile."""
    run = status["run"]
    holds = held(status)
    if not holds or holds[0]["effect"] not in _EFFECTS:
        return False
    return run is None or run["trainer_pid"] is None or run["phase"] == "paused"


def _released(status: Any, why: str) -> bool:
    holds = held(status)
    return (
        [hold["effect"] for hold in holds] == ["release"]
        and why in holds[0]["detail"]
        and (status["run"] is None or status["run"]["trainer_pid"] is None)
    )


def _is_saved(status: Any) -> bool:
    run = status["run"]
    return run is not None and run["checkpoint"]["step"] == run["step"]


def _is_on_battery(house: House) -> bool:
    with urllib.request.urlopen(f"{house.address()['url']}/metrics", timeout=30) as answer:
        return b"\nhomerun_ups_on_battery 0.0" not in answer.read()


def _seconds(first: Any, second: Any) -> float:
    times = [datetime.fromisoformat(entry["time"]) for entry in (first, second)]
    return (times[1] - times[0]).total_seconds()
