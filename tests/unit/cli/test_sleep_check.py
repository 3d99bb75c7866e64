"""doctor on sleep and shutdown: whether they wait for a checkpoint, and how to make them wait."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orchestrator import domain as d
from orchestrator.cli import sleep_check
from orchestrator.cli.check import Check, State
from orchestrator.cli.session import Session
from orchestrator.home.clock import SystemClock
from orchestrator.home.login1 import Delay, Login1
from tests import login1
from tests.login1 import Logind, SystemBus
from tests.unit.cli.api_double import Answer, ApiDouble, snapshot


@pytest.fixture
def logind(monkeypatch: pytest.MonkeyPatch) -> Iterator[Logind]:
    if not login1.is_installed() and not os.environ.get("CI"):
        pytest.skip("dbus is not installed")
    bus = SystemBus()
    bus.start()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    made = Logind(bus.address).start()
    yield made
    made.stop()
    bus.stop()


def look(*, up: bool) -> Check:
    (check,) = sleep_check.checks(Session(), up=up)
    return check


def test_a_real_bus_is_asked_how_long_it_waits(logind: Logind) -> None:
    logind.properties["InhibitDelayMaxUSec"] = ("t", 60_000_000)
    check = look(up=False)
    assert (check.state, check.fix) == (State.OK, "")
    assert "wait up to 60 s for a checkpoint" in check.message


def test_a_daemon_that_nobody_waits_for_is_a_warning(logind: Logind, double: ApiDouble) -> None:
    check = look(up=True)
    assert check.state is State.WARNING
    assert "polkitd" in check.fix


def test_the_last_checkpoint_of_a_daemon_that_is_waited_for_is_the_measure(
    logind: Logind, double: ApiDouble
) -> None:
    document = d.to_json(snapshot())
    document["run"]["checkpoint"]["write_seconds"] = 7.0
    double.set("GET", "status", Answer(document))
    edge = Login1(SystemClock(), logind.address)
    edge.open(lambda: None)
    login1.wait_until("a lock", lambda: edge.state().waited_for and logind.locks)
    check = look(up=True)
    edge.close()
    assert "both wait up to 5 s, and the last checkpoint took 7 s" in check.message
    assert "sudo homerun service install" in check.fix


def test_no_bus_is_fine_in_a_container_and_a_warning_where_systemd_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
    for systemd, state in ((False, State.OK), (True, State.WARNING)):
        monkeypatch.setattr("orchestrator.cli.files.systemd_runs", lambda there=systemd: there)
        check = look(up=False)
        assert check.state is state
        assert "No such file" in check.message


@pytest.mark.parametrize(
    ("delay", "took", "fix"),
    [
        (5.0, None, ""),
        (5.0, 4.4, ""),
        (5.0, 4.6, "sudo homerun service install"),
        (5.0, 45.0, "InhibitDelayMaxSec=120"),
        (60.0, 45.0, ""),
        (60.0, 70.0, "InhibitDelayMaxSec=180"),
    ],
)
def test_a_save_that_takes_longer_than_logind_waits_names_the_drop_in(
    delay: float, took: float | None, fix: str
) -> None:
    check = sleep_check.judge(Delay(delay, held=True), up=True, save_seconds=took)
    assert check.state is (State.WARNING if fix else State.OK)
    assert fix in check.fix
    assert ("logind.conf.d/homerun.conf" in check.fix) is bool(fix)
