"""The edge against systemd's own logind, where root may start one beside no other."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orchestrator.home.clock import SystemClock
from orchestrator.home.login1 import Delay, Login1, probe
from orchestrator.home.logind import Coming
from tests import login1
from tests.login1 import SystemBus, wait_until
from tests.real_logind import RealLogind, why_not


@pytest.fixture
def bus() -> Iterator[SystemBus]:
    if not login1.is_installed() and not os.environ.get("CI"):
        pytest.skip("dbus is not installed")
    missing = why_not()
    if missing:
        pytest.skip(missing)
    made = SystemBus()
    made.start()
    yield made
    made.stop()


def test_a_power_off_waits_for_us_and_one_that_fails_lets_us_hold_again(bus: SystemBus) -> None:
    clock, heard = SystemClock(), []
    real = RealLogind(bus)
    real.start()
    edge = Login1(clock, bus.address, waits_seconds=(0.02, 0.1))
    edge.open(lambda: heard.append(edge.state().coming))
    try:
        wait_until("a lock", lambda: edge.state().waited_for)
        assert edge.state().delay_seconds == 5.0
        assert probe(clock, bus.address) == Delay(5.0, held=True)
        real.power_off()
        wait_until("the announcement", lambda: edge.state().coming is Coming.SHUTDOWN)
        assert "StartUnit" not in real.asked, "it waits for us"
        edge.let_go(edge.state().number)
        wait_until("logind to go on", lambda: "StartUnit" in real.asked)
        # our systemd refuses, so nothing comes of it
        wait_until("a lock again", lambda: edge.state().waited_for)
        assert heard == [Coming.SHUTDOWN, Coming.NOTHING]
    finally:
        edge.close()
        real.stop()
