"""systemd-logind, or elogind: delay locks and announcements over the system bus.

org.freedesktop.login1(5): Inhibit gives a file descriptor, and logind waits until it is closed or
InhibitDelayMaxSec is over. A thread of its own listens, and connects again whenever the bus, logind
or polkit has failed; the run never needs any of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import Any

from jeepney import DBusAddress, HeaderFields, MatchRule
from jeepney.bus_messages import message_bus
from jeepney.fds import FileDescriptor
from jeepney.low_level import Message

from orchestrator.home.bus import Bus, BusError, BusRefused
from orchestrator.home.clock import Clock
from orchestrator.home.logind import Coming, LogindState, become

log = logging.getLogger(__name__)

NAME = "org.freedesktop.login1"
_MANAGER = f"{NAME}.Manager"
_PATH = "/org/freedesktop/login1"
_LOGIND = DBusAddress(_PATH, bus_name=NAME, interface=_MANAGER)
_PROPERTIES = _LOGIND.with_interface("org.freedesktop.DBus.Properties")
WHO = "homerun"
_LOCK = ("sleep:shutdown", WHO, "saving the run", "delay")
_SIGNALS = {"PrepareForSleep": Coming.SLEEP, "PrepareForShutdown": Coming.SHUTDOWN}
#: a word may get lost (systemd#30666), and polkit may come later: asked again so often
_ASK_SECONDS = 15.0
_WAITS_SECONDS = (1.0, 60.0)


class Login1:
    """See ``Logind``."""

    def __init__(
        self,
        clock: Clock,
        address: str = "SYSTEM",
        ask_seconds: float = _ASK_SECONDS,
        waits_seconds: tuple[float, float] = _WAITS_SECONDS,
    ) -> None:
        """``waits_seconds``: the first and the longest between two tries to connect."""
        self._clock = clock
        self._address = address
        self._ask_seconds = ask_seconds
        self._waits_seconds = waits_seconds
        self._changed: Callable[[], None] = lambda: None
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._state = LogindState(problem="not asked yet")
        self._held: FileDescriptor | None = None
        self._bus: Bus | None = None
        self._thread: threading.Thread | None = None
        self._told = ""

    def open(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._thread = threading.Thread(target=self._keep_listening, name="logind", daemon=True)
        self._thread.start()

    def state(self) -> LogindState:
        with self._lock:
            return dataclasses.replace(self._state, waited_for=self._held is not None)

    def let_go(self, number: int) -> None:
        with self._lock:
            if number == self._state.number:
                self._drop()

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            if self._bus is not None:
                self._bus.cut()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    # --- the thread -------------------------------------------------------------------------

    def _keep_listening(self) -> None:
        first, longest = self._waits_seconds
        wait = first
        while not self._closed.is_set():
            began = self._clock.monotonic()
            try:
                self._listen()
            except BusError as error:
                self._lost(str(error))
            except Exception:
                log.exception("logind: a mistake while listening; it is tried again")
                self._lost("a mistake of ours, see the log")
            lasted = self._clock.monotonic() - began
            wait = first if lasted > longest else min(longest, wait * 2)
            self._closed.wait(wait)

    def _listen(self) -> None:
        bus = Bus(self._clock, self._address)
        with self._lock:
            self._bus = bus
        try:
            if not self._closed.is_set():
                bus.open()
                self._subscribe(bus)
                self._catch_up(bus)
                owner = bus.call(message_bus, "GetNameOwner", "s", NAME)
            while not self._closed.is_set():
                signal = bus.next_signal(self._ask_seconds)
                if signal is None:
                    self._catch_up(bus)
                else:
                    self._hear(bus, signal, owner)
        finally:
            with self._lock:
                self._bus = None
            bus.close()

    def _subscribe(self, bus: Bus) -> None:
        """First of all: what is said while we ask is then only heard twice."""
        for member in _SIGNALS:
            rule = MatchRule(
                type="signal", sender=NAME, interface=_MANAGER, member=member, path=_PATH
            )
            bus.subscribe(rule)
        owner = MatchRule(type="signal", sender=message_bus.bus_name, member="NameOwnerChanged")
        owner.add_arg_condition(0, NAME)
        bus.subscribe(owner)

    def _hear(self, bus: Bus, signal: Message, owner: tuple[Any, ...]) -> None:
        fields = signal.header.fields
        sender, member = fields.get(HeaderFields.sender), fields.get(HeaderFields.member)
        if sender == message_bus.bus_name:
            if member == "NameOwnerChanged" and tuple(signal.body[2:]) != owner:
                raise BusError("logind was started anew")
        elif (sender,) == owner and member in _SIGNALS:
            if signal.body == (True,):
                self._announced(_SIGNALS[member])
            else:
                self._catch_up(bus)

    def _catch_up(self, bus: Bus) -> None:
        """Ask how things are, and hold a lock unless something is coming."""
        delay = _number(bus, "InhibitDelayMaxUSec") / 1e6
        with self._lock:
            self._state = dataclasses.replace(self._state, delay_seconds=delay)
        if _flag(bus, "PreparingForShutdown"):
            self._announced(Coming.SHUTDOWN)
        elif _flag(bus, "PreparingForSleep"):
            self._announced(Coming.SLEEP)
        else:
            self._announced(Coming.NOTHING)
            self._take(bus)

    def _take(self, bus: Bus) -> None:
        if self.state().waited_for:
            self._tell("")
            return
        try:
            answer = bus.call(_LOGIND, "Inhibit", "ssss", *_LOCK)
        except BusRefused as error:
            self._tell(f"logind grants no delay lock: {error}")
            return
        if len(answer) != 1 or not isinstance(answer[0], FileDescriptor):
            raise BusError("logind answers Inhibit with something that is no lock")
        with self._lock:
            self._held = answer[0]
        self._tell("")

    def _announced(self, coming: Coming) -> None:
        with self._lock:
            before, self._state = self._state, become(self._state, coming)
            changed = before.coming is not coming
        if changed:
            log.info("logind announces: %s", coming)
            self._changed()

    def _lost(self, problem: str) -> None:
        """What was announced stays so: a bus that ends may be a part of it."""
        with self._lock:
            self._drop()
        if not self._closed.is_set():
            self._tell(problem)

    def _tell(self, problem: str) -> None:
        """Once, not at every try."""
        with self._lock:
            self._state = dataclasses.replace(self._state, problem=problem)
        if problem == self._told:
            return
        self._told = problem
        if problem:
            log.warning("sleep and shutdown do not wait for a checkpoint: %s", problem)
        else:
            log.info("sleep and shutdown wait for a checkpoint")


@dataclasses.dataclass(frozen=True)
class Delay:
    """What logind grants, as the doctor sees it."""

    seconds: float
    #: whether somebody called homerun holds a delay lock now
    held: bool


def probe(clock: Clock, address: str = "SYSTEM") -> Delay:
    """Ask once and change nothing. Raises BusError. Waits seconds."""
    with contextlib.closing(Bus(clock, address)) as bus:
        bus.open()
        seconds = _number(bus, "InhibitDelayMaxUSec") / 1e6
        answer = bus.call(_LOGIND, "ListInhibitors")
    locks = answer[0] if answer and isinstance(answer[0], list) else []
    held = any(tuple(lock[1:2]) == (WHO,) for lock in locks if isinstance(lock, tuple))
    return Delay(seconds, held)


def _number(bus: Bus, name: str) -> float:
    value = _property(bus, name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BusError(f"logind says {name} = {value!r}, which is no number")
    return float(value)


def _flag(bus: Bus, name: str) -> bool:
    value = _property(bus, name)
    if not isinstance(value, bool):
        raise BusError(f"logind says {name} = {value!r}, which is neither yes nor no")
    return value


def _property(bus: Bus, name: str) -> Any:
    answer = bus.call(_PROPERTIES, "Get", "ss", _MANAGER, name)
    if len(answer) != 1 or not isinstance(answer[0], tuple) or len(answer[0]) != 2:
        raise BusError(f"logind answers Get {name} with {answer!r}")
    return answer[0][1]
