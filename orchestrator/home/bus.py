"""One connection to a D-Bus: calls that end in time, and signals.

jeepney speaks the protocol, without threads and without waiting. Its own connections are not used:
they wait for ever on a bus that takes a connection and then says nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections import deque
from typing import Any

from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, Parser, new_method_call
from jeepney.auth import BEGIN, Authenticator
from jeepney.bus import get_bus
from jeepney.bus_messages import message_bus
from jeepney.fds import FileDescriptor, fds_buf_size
from jeepney.low_level import Message

from orchestrator.home.clock import Clock

#: a bus answers from memory, logind may have to ask polkit first
_ANSWER_SECONDS = 10.0
#: more signals than we have asked for; a bus that floods us does not fill the memory
_MOST_SIGNALS = 100


class BusError(Exception):
    """The bus is not there, is gone, does not answer, or does not speak D-Bus."""


class BusRefused(BusError):
    """Whoever was asked has answered with an error; the connection is as good as before."""


class Bus:
    """For one thread, but for ``cut``. File descriptors in answers belong to the caller."""

    def __init__(self, clock: Clock, address: str = "SYSTEM") -> None:
        """``address``: as in DBUS_SYSTEM_BUS_ADDRESS, which counts for SYSTEM."""
        self._clock = clock
        self._address = address
        self._parser = Parser()
        self._serials = itertools.count(1)
        self._signals: deque[Message] = deque(maxlen=_MOST_SIGNALS)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)

    def open(self) -> None:
        """Connect. Raises BusError: nobody is there, or he does not let us in."""
        try:
            self._enter(get_bus(self._address))
        except OSError as error:
            raise BusError(f"no system bus: {error.strerror or error}") from None
        except (ValueError, KeyError, RuntimeError) as error:
            raise BusError(f"the system bus does not let us in: {error}") from None
        self.call(message_bus, "Hello")

    def _enter(self, place: str) -> None:
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.connect(place)
        self._socket.sendall(b"\0")
        entrance = Authenticator(enable_fds=True, inc_null_byte=False)
        for request in entrance:
            self._socket.sendall(request)
            answer = self._socket.recv(1024)
            if not answer:
                raise BusError("the system bus hung up")
            entrance.feed(answer)
        self._socket.sendall(BEGIN)

    def close(self) -> None:
        """Leave."""
        for item in self._parser.fds:
            item.close()
        self._socket.close()

    def cut(self) -> None:
        """Whoever waits, in another thread, gets a BusError at once."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def call(
        self, address: DBusAddress, member: str, signature: str | None = None, *body: Any
    ) -> tuple[Any, ...]:
        """Call a method, and what it returns. Raises BusRefused, BusError."""
        serial = next(self._serials)
        self._send(new_method_call(address, member, signature, body).serialise(serial=serial))
        until = self._clock.monotonic() + _ANSWER_SECONDS
        while (message := self._receive(until)) is not None:
            if message.header.fields.get(HeaderFields.reply_serial) == serial:
                return _answer(message)
            self._keep(message)
        raise BusError(f"no answer to {member} within {_ANSWER_SECONDS:.0f} s")

    def subscribe(self, rule: MatchRule) -> None:
        """Get the signals that ``rule`` describes. Raises BusError."""
        self.call(message_bus, "AddMatch", "s", rule.serialise())

    def next_signal(self, timeout_seconds: float) -> Message | None:
        """The next signal, or None when none came in time. Raises BusError."""
        until = self._clock.monotonic() + timeout_seconds
        while not self._signals:
            message = self._receive(until)
            if message is None:
                return None
            self._keep(message)
        return self._signals.popleft()

    def _keep(self, message: Message) -> None:
        if message.header.message_type is MessageType.signal:
            self._signals.append(message)
        for item in message.body:
            if isinstance(item, FileDescriptor):
                item.close()  # an answer that came too late

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(_ANSWER_SECONDS)
            self._socket.sendall(data)
        except OSError as error:
            raise BusError(f"the system bus is gone: {error.strerror or error}") from None

    def _receive(self, until: float) -> Message | None:
        """The next message, or None when none is whole by then. Raises BusError."""
        try:
            while (message := self._parser.get_next_message()) is None:
                left = until - self._clock.monotonic()
                if left <= 0:
                    return None
                self._socket.settimeout(left)
                wanted, room = self._parser.bytes_desired(), fds_buf_size()
                data, extra, _, _ = self._socket.recvmsg(wanted, room, socket.MSG_CMSG_CLOEXEC)
                if not data:
                    raise BusError("the system bus hung up")
                self._parser.add_data(data, FileDescriptor.from_ancdata(extra))
        except TimeoutError:
            return None
        except OSError as error:
            raise BusError(f"the system bus is gone: {error.strerror or error}") from None
        except BusError:
            raise
        except Exception as error:  # whatever a parser makes of bytes that are no message
            raise BusError(f"the system bus does not speak D-Bus: {error!r}") from None
        return message


def _answer(message: Message) -> tuple[Any, ...]:
    if message.header.message_type is MessageType.error:
        name = str(message.header.fields.get(HeaderFields.error_name, "an error"))
        words = [item for item in message.body if isinstance(item, str)]
        raise BusRefused(": ".join([name.rpartition(".")[2], *words[:1]]))
    return tuple(message.body)
