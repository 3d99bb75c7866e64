"""The UPS client against a real upsd, and against one that lies."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from orchestrator.domain import Effect, Reason
from orchestrator.holds.outage_watch import OutagePolicy
from orchestrator.holds.senses import Moment
from orchestrator.holds.ups_sense import UpsSense
from orchestrator.home.clock import FakeClock, SystemClock
from orchestrator.home.nut import NutUps, reading
from orchestrator.home.ups import FakeUps, UpsError, UpsReading
from tests import nut
from tests.nut import NutServer, wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[NutServer]:
    if not nut.is_installed() and not os.environ.get("CI"):
        pytest.skip("nut-server is not installed")
    made = NutServer()
    made.start()
    ups = NutUps("home", port=made.port)
    wait_until("upsd to serve the UPS", lambda: _answers(ups))
    yield made
    made.stop()


def _answers(ups: NutUps) -> bool:
    try:
        ups.read()
    except UpsError:
        return False
    return True


def test_a_real_upsd_tells_mains_charge_runtime_and_load(server: NutServer) -> None:
    server.say()
    ups = NutUps("home", port=server.port)
    wait_until("mains", lambda: not ups.read().on_battery)
    assert ups.read() == UpsReading(
        on_battery=False, charge_ratio=1.0, runtime_seconds=1800.0, load_watts=210.0
    )


def test_a_scripted_outage_of_a_real_upsd_pauses_releases_and_waits_for_charge(
    server: NutServer,
) -> None:
    clock = FakeClock()
    sense = UpsSense(NutUps("home", port=server.port), clock, OutagePolicy())

    def asked() -> Effect | None:
        sense.ask()
        holds = sense.look(Moment(clock.now(), clock.monotonic(), "month"))
        assert all(hold.reason is Reason.UPS for hold in holds)
        return holds[0].effect if holds else None

    server.say()
    wait_until("mains", lambda: asked() is None)
    server.say(ups__status="OB DISCHRG", battery__charge="80")
    wait_until("the load to stop", lambda: asked() is Effect.PAUSE)
    clock.advance(9.0)
    assert asked() is Effect.RELEASE
    server.say(ups__status="OL CHRG", battery__charge="20")
    wait_until("mains", lambda: sense.state().reading is not None and not _on_battery(sense))
    assert asked() is Effect.RELEASE
    server.say(ups__status="OL CHRG", battery__charge="60")
    wait_until("the battery to be charged", lambda: asked() is None)


def _on_battery(sense: UpsSense) -> bool:
    sense.ask()
    reading = sense.state().reading
    return reading is not None and reading.on_battery


def test_a_driver_that_died_is_named_and_the_last_reading_grows_old(server: NutServer) -> None:
    clock = FakeClock()
    sense = UpsSense(NutUps("home", port=server.port), clock, OutagePolicy())
    server.say()
    wait_until("mains", lambda: not _on_battery(sense))
    server.kill("dummy-ups")

    def dead() -> bool:
        sense.ask()
        return "driver" in sense.state().problem

    wait_until("upsd to notice", dead)
    clock.advance(100.0)
    assert sense.state().age_seconds == 100.0
    assert sense.look(Moment(clock.now(), clock.monotonic(), None)) == ()
    server.start_driver()
    wait_until("the driver to be back", lambda: not dead())


def test_an_unknown_ups_and_a_dead_server_are_errors_with_a_reason(server: NutServer) -> None:
    with pytest.raises(UpsError, match="no UPS of this name"):
        NutUps("cellar", port=server.port).read()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(UpsError, match="does not answer"):
            NutUps("home", port=closed.getsockname()[1]).read()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"ERR DATA-STALE\n", "DATA-STALE"),
        (b"ERR SOMETHING-NEW\n", "SOMETHING-NEW"),
        (b'BEGIN LIST VAR home\nVAR home ups.status "OL"\n', "broke off"),
        (b'BEGIN LIST VAR home\nVAR home ups.status "WAIT"\nEND LIST VAR home\n', "WAIT"),
        (b"BEGIN LIST VAR home\nEND LIST VAR home\n", "does not say"),
        (b"\xff\xfe\x00rubbish\n", "broke off"),
        (b"", "broke off"),
    ],
)
def test_a_server_that_talks_rubbish_is_an_error_and_no_reading(
    answer: bytes, problem: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(UpsError, match=problem):
            NutUps("home", port=listening.getsockname()[1]).read()
        thread.join()


def test_a_server_that_says_nothing_is_not_waited_for_long() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        pytest.raises(UpsError, match="does not answer"),
    ):
        NutUps("home", port=listening.getsockname()[1], timeout_seconds=0.05).read()


@pytest.mark.parametrize("charge", ["NaN", "-5", "inf", "full", ""])
def test_a_figure_that_is_none_is_unknown_not_zero(charge: str) -> None:
    assert reading({"ups.status": "OL", "battery.charge": charge}).charge_ratio is None


def test_a_forced_shutdown_needs_no_battery_flag() -> None:
    assert reading({"ups.status": "FSD"}).forced_shutdown


def test_the_thread_asks_by_itself_and_ends_when_told() -> None:
    sense = UpsSense(FakeUps(UpsReading(on_battery=True)), SystemClock(), OutagePolicy())
    sense.start(0.01)
    wait_until("a reading", lambda: sense.state().reading is not None)
    sense.close()
    assert sense.state().problem == ""


def test_the_fake_raises_like_the_real_one() -> None:
    with pytest.raises(UpsError, match="gone"):
        FakeUps("gone").read()
