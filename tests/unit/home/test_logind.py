"""Announcements and delay locks: the shipped fake, and the real edge on a real dbus-daemon."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jeepney import HeaderFields

from orchestrator.home import bus as home_bus
from orchestrator.home import login1
from orchestrator.home.bus import Bus, BusError
from orchestrator.home.clock import SystemClock
from orchestrator.home.login1 import Login1
from orchestrator.home.logind import Coming, FakeLogind, Logind, LogindState
from tests import login1 as house
from tests.login1 import SystemBus, wait_until

FAST = (0.02, 0.05)


@contextlib.contextmanager
def started() -> Iterator[SystemBus]:
    if not house.is_installed() and not os.environ.get("CI"):
        pytest.skip("dbus is not installed")
    bus = SystemBus()
    bus.start()
    yield bus
    bus.stop()


@pytest.fixture(scope="module")
def shared() -> Iterator[SystemBus]:
    with started() as bus:
        yield bus


@pytest.fixture
def bus() -> Iterator[SystemBus]:
    with started() as bus:
        yield bus


@contextlib.contextmanager
def serving(bus: SystemBus, **options: Any) -> Iterator[house.Logind]:
    made = house.Logind(bus.address, **options).start()
    try:
        yield made
    finally:
        made.stop()


@contextlib.contextmanager
def listening(address: str, ask_seconds: float = 15.0) -> Iterator[Login1]:
    edge = Login1(SystemClock(), address, ask_seconds, FAST)
    edge.open(lambda: None)
    try:
        yield edge
    finally:
        edge.close()


@dataclass
class Owner:
    """The machine's owner, whichever machine it is."""

    edge: Logind
    announce: Callable[[Coming], None]
    locks: Callable[[], int]
    calls: list[LogindState] = field(default_factory=list)

    def begin(self) -> None:
        self.edge.open(lambda: self.calls.append(self.edge.state()))
        wait_until("a lock", lambda: self.edge.state().waited_for)

    def now(self, coming: Coming) -> LogindState:
        self.announce(coming)
        wait_until(coming, lambda: self.edge.state().coming is coming)
        return self.edge.state()


@pytest.fixture(params=["fake", "dbus"])
def owner(request: pytest.FixtureRequest) -> Iterator[Owner]:
    if request.param == "fake":
        fake = FakeLogind()
        owner = Owner(fake, fake.announce, lambda: int(fake.state().waited_for))
        owner.begin()
        yield owner
        fake.close()
        return
    with serving(request.getfixturevalue("shared")) as logind:
        edge = Login1(SystemClock(), logind.address, waits_seconds=FAST)
        said = {Coming.SLEEP: "PrepareForSleep", Coming.SHUTDOWN: "PrepareForShutdown"}
        last: list[str] = []

        def announce(coming: Coming) -> None:
            if coming is not Coming.NOTHING:
                last[:] = [said[coming]]
            logind.announce(last[0], coming is not Coming.NOTHING)

        owner = Owner(edge, announce, lambda: len(logind.locks))
        owner.begin()
        yield owner
        edge.close()


def test_a_lock_is_held_and_its_patience_known_before_anything_is_announced(owner: Owner) -> None:
    state = owner.edge.state()
    assert (state.coming, state.number, state.problem) == (Coming.NOTHING, 0, "")
    assert state.delay_seconds == 5.0
    assert owner.locks() == 1


@pytest.mark.parametrize("coming", [Coming.SLEEP, Coming.SHUTDOWN])
def test_an_announcement_waits_until_we_let_go_and_the_next_one_waits_again(
    owner: Owner, coming: Coming
) -> None:
    first = owner.now(coming)
    assert (first.number, first.waited_for) == (1, True)
    assert owner.calls[0].coming is coming
    owner.edge.let_go(first.number)
    wait_until("the lock to be gone", lambda: owner.locks() == 0)
    assert not owner.edge.state().waited_for
    owner.now(Coming.NOTHING)
    wait_until("the next lock", lambda: owner.locks() == 1 and owner.edge.state().waited_for)
    assert owner.now(coming).number == 2


def test_an_old_answer_does_not_let_go_of_a_new_announcement(owner: Owner) -> None:
    owner.now(Coming.SLEEP)
    owner.now(Coming.NOTHING)
    owner.now(Coming.SLEEP)
    owner.edge.let_go(1)
    assert owner.edge.state().waited_for
    assert owner.locks() == 1


def test_what_is_said_twice_counts_once(owner: Owner) -> None:
    """elogind 257 says everything twice (elogind#380)."""
    owner.now(Coming.SLEEP)
    owner.edge.let_go(1)
    owner.announce(Coming.SLEEP)
    owner.now(Coming.NOTHING)
    owner.announce(Coming.NOTHING)
    wait_until("one lock", lambda: owner.locks() == 1 and owner.edge.state().waited_for)
    assert owner.edge.state().number == 1


def test_closing_lets_go(owner: Owner) -> None:
    owner.edge.close()
    wait_until("the lock to be gone", lambda: owner.locks() == 0)
    assert not owner.edge.state().waited_for


# --- only the real one can go wrong like this -------------------------------------------------


def test_the_lock_says_who_waits_for_what(shared: SystemBus) -> None:
    with serving(shared) as logind, listening(shared.address) as edge:
        wait_until("a lock", lambda: edge.state().waited_for)
        (what,) = logind.locks.values()
    assert what == ("sleep:shutdown", "homerun", "saving the run", "delay")


def test_without_a_bus_the_log_says_so_once_and_it_is_found_when_it_comes(
    bus: SystemBus, caplog: pytest.LogCaptureFixture
) -> None:
    bus.kill()
    with caplog.at_level(logging.INFO), listening(bus.address) as edge:
        wait_until("a problem", lambda: edge.state().problem.startswith("no system bus"))
        bus.start()
        wait_until("another problem", lambda: "no system bus" not in edge.state().problem)
        with serving(bus):
            wait_until("a lock", lambda: edge.state().waited_for)
            assert edge.state().problem == ""
    missing = [record for record in caplog.records if "no system bus" in record.getMessage()]
    assert len(missing) == 1


def test_a_bus_that_was_killed_is_found_again_and_a_shutdown_that_took_it_stays_announced(
    bus: SystemBus,
) -> None:
    with listening(bus.address) as edge:
        with serving(bus) as logind:
            wait_until("a lock", lambda: edge.state().waited_for)
            logind.announce("PrepareForShutdown", True)
            wait_until("the shutdown", lambda: edge.state().coming is Coming.SHUTDOWN)
            bus.kill()
            wait_until("the loss", lambda: edge.state().problem)
            assert edge.state().coming is Coming.SHUTDOWN
        bus.start()
        with serving(bus):
            wait_until("a lock of the new one", lambda: edge.state().waited_for)
            assert edge.state().coming is Coming.NOTHING


def test_a_logind_that_was_started_anew_gives_a_lock_again(shared: SystemBus) -> None:
    with listening(shared.address) as edge:
        with serving(shared):
            wait_until("a lock", lambda: edge.state().waited_for)
        wait_until("the loss", lambda: not edge.state().waited_for)
        with serving(shared) as second:
            wait_until("a lock of the new one", lambda: len(second.locks) == 1)
            wait_until("it to be ours", lambda: edge.state().waited_for)


def test_a_sleep_that_began_before_we_listened_is_noticed(shared: SystemBus) -> None:
    with serving(shared) as logind:
        logind.announce("PrepareForSleep", True)
        with listening(shared.address) as edge:
            wait_until("the sleep", lambda: edge.state().coming is Coming.SLEEP)
            assert logind.locks == {}


def test_a_word_that_got_lost_is_asked_for(shared: SystemBus) -> None:
    """systemd#30666: none comes after a hibernation."""
    with serving(shared) as logind, listening(shared.address, ask_seconds=0.05) as edge:
        wait_until("a lock", lambda: edge.state().waited_for)
        logind.announce("PrepareForSleep", True)
        wait_until("the sleep", lambda: edge.state().coming is Coming.SLEEP)
        logind.announce("PrepareForSleep", False, signal=False)
        wait_until("it to be over", lambda: edge.state().coming is Coming.NOTHING)


def test_where_polkit_refuses_announcements_are_heard_and_the_lock_is_asked_for_again(
    shared: SystemBus, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = ("org.freedesktop.DBus.Error.AccessDenied", "Permission denied")
    with serving(shared, refuses=refusal) as logind, caplog.at_level(logging.WARNING):
        with listening(shared.address, ask_seconds=0.05) as edge:
            wait_until("a refusal", lambda: "AccessDenied" in edge.state().problem)
            logind.announce("PrepareForSleep", True)
            wait_until("the sleep", lambda: edge.state().coming is Coming.SLEEP)
            assert not edge.state().waited_for
            logind.refuses = None
            logind.announce("PrepareForSleep", False)
            wait_until("a lock", lambda: edge.state().waited_for)
        said = [record for record in caplog.records if "AccessDenied" in record.getMessage()]
    assert len(said) == 1


@pytest.mark.parametrize(
    "rubbish",
    [("s", ("here you are",)), ("u", (7,)), (None, ())],
)
def test_an_answer_that_is_no_lock_is_told_and_no_lock(
    shared: SystemBus, rubbish: tuple[str, tuple[Any, ...]]
) -> None:
    with serving(shared, rubbish=rubbish), listening(shared.address) as edge:
        wait_until("a problem", lambda: "no lock" in edge.state().problem)
        assert not edge.state().waited_for


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("InhibitDelayMaxUSec", ("s", "a while")),
        ("InhibitDelayMaxUSec", ("b", True)),
        ("PreparingForSleep", ("t", 1)),
    ],
)
def test_properties_of_another_kind_are_told(
    shared: SystemBus, name: str, value: tuple[str, Any]
) -> None:
    with serving(shared) as logind:
        logind.properties[name] = value
        with listening(shared.address) as edge:
            wait_until("a problem", lambda: name in edge.state().problem)


def test_signals_that_mean_nothing_or_come_from_somebody_else_announce_nothing(
    shared: SystemBus,
) -> None:
    with serving(shared) as logind, listening(shared.address) as edge:
        wait_until("a lock", lambda: edge.state().waited_for)
        logind.say("PrepareForSleep", "s", ("now",))
        logind.say("PrepareForSleep", "bb", (True, True))
        stranger = house.open_dbus_connection(shared.address)
        with stranger:
            lie = house.new_signal(house._MANAGER, "PrepareForShutdown", "b", (True,))
            stranger.send(lie)
            # a bus hands on what is said to somebody, whatever he has asked for
            lie.header.fields[HeaderFields.destination] = logind.asker
            stranger.send(lie)
            # answered only once the signal is on its way
            stranger.send_and_get_reply(house.new_method_call(house.message_bus, "GetId"))
            logind.announce("PrepareForSleep", True)
            wait_until("the sleep", lambda: edge.state().coming is Coming.SLEEP)
        assert edge.state().number == 1


@pytest.mark.parametrize(
    "words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"OK 1234\r\nAGREE_UNIX_FD\r\n" + b"x" * 64]
)
def test_what_is_no_bus_is_told_and_closed_without_waiting(tmp_path: Path, words: bytes) -> None:
    place = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        server.listen()
        threading.Thread(target=_answer_all, args=(server, words), daemon=True).start()
        with listening(f"unix:path={place}") as edge:
            wait_until("a problem", lambda: "system bus" in edge.state().problem)
        server.shutdown(socket.SHUT_RDWR)


def _answer_all(server: socket.socket, words: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(words)


def test_a_bus_that_takes_us_and_says_nothing_does_not_keep_the_daemon_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_bus, "_ANSWER_SECONDS", 3600.0)
    place, taken = tmp_path / "socket", threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        server.listen()

        def take() -> None:
            connection, _ = server.accept()
            with connection:
                taken.set()
                while connection.recv(1024):
                    pass

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        with listening(f"unix:path={place}"):
            assert taken.wait(30.0)
        thread.join(30.0)
        assert not thread.is_alive()


@pytest.mark.parametrize("address", ["nonsense", "tcp:host=127.0.0.1,port=1", "unix:path"])
def test_an_address_that_is_none_is_a_bus_error(address: str) -> None:
    with contextlib.closing(Bus(SystemClock(), address)) as bus, pytest.raises(BusError):
        bus.open()


def test_the_doctor_sees_the_lock_of_somebody_else(shared: SystemBus) -> None:
    clock = SystemClock()
    with serving(shared) as logind:
        assert login1.probe(clock, shared.address) == login1.Delay(5.0, held=False)
        with listening(shared.address) as edge:
            wait_until("a lock", lambda: edge.state().waited_for and logind.locks)
            assert login1.probe(clock, shared.address) == login1.Delay(5.0, held=True)


def test_without_logind_the_doctor_is_told_why(shared: SystemBus) -> None:
    with pytest.raises(BusError, match="ServiceUnknown"):
        login1.probe(SystemClock(), shared.address)
