"""A card whose limit is set by ``homerun-power`` where this user may not set it."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from orchestrator import power_wire as wire
from orchestrator.home.clock import Clock
from orchestrator.home.gpu import Gpu, GpuLost, GpuProcess, GpuReading, NoRight, PowerLimits

#: it answers within milliseconds; the tick waits no longer
_TIMEOUT_SECONDS = 1.0
#: after one that did not answer at all, it is left alone for so long
_LEAVE_ALONE_SECONDS = 30.0
#: setting a limit that was refused, by the word of the answer
_REFUSALS = {wire.OUT_OF_RANGE: ValueError, wire.LOST: GpuLost}


class PowerClient:
    """The other end of the helper's socket. The connection stays open: it is the lease."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._connection: socket.socket | None = None
        self._leave_alone_until = clock.monotonic()

    def set_limit(self, watts: float) -> None:
        """See ``Gpu.set_limit``; no helper, or one that refuses us, is NoRight."""
        answer = self._ask({"do": "set", "watts": watts})
        if answer.get("ok") is not True:
            kind = _REFUSALS.get(str(answer.get("error")), NoRight)
            raise kind(str(answer.get("text", "homerun-power refused without a word"))[:200])

    def check(self) -> None:
        """Raises NoRight when the helper is not there, or not for us. Changes nothing."""
        answer = self._ask({"do": "limits"})
        if answer.get("ok") is not True:
            raise NoRight(str(answer.get("text", "homerun-power refused without a word"))[:200])

    def close(self) -> None:
        """Let go; the helper restores the default."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._clock.monotonic() < self._leave_alone_until:
            raise NoRight("homerun-power does not answer")
        # A helper that was started anew knows nothing of the old connection.
        for again in (self._connection is not None, False):
            try:
                return self._exchange(wire.encode(request))
            except TimeoutError:
                self.close()
                self._leave_alone_until = self._clock.monotonic() + _LEAVE_ALONE_SECONDS
                raise NoRight("homerun-power does not answer") from None
            except (OSError, wire.MalformedLine) as error:
                self.close()
                if not again:
                    raise NoRight(f"homerun-power cannot be used: {error}") from None
        raise AssertionError("the second try returns or raises")

    def _exchange(self, line: bytes) -> dict[str, Any]:
        if self._connection is None:
            self._connection = self._connect()
            greeting = _line(self._connection)
            if greeting.get("ok") is not True:
                self.close()
                return greeting
        self._connection.sendall(line)
        return _line(self._connection)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_TIMEOUT_SECONDS)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        return connection


def _line(connection: socket.socket) -> dict[str, Any]:
    received = b""
    while not received.endswith(b"\n"):
        data = connection.recv(wire.LINE_BYTES)
        received += data
        if not data or len(received) > wire.LINE_BYTES:
            raise ConnectionResetError("it hung up")
    return wire.decode(received)


class AssistedGpu:
    """Reads by itself; sets the limit by itself where it may, by the helper where it may not."""

    def __init__(self, gpu: Gpu, client: PowerClient) -> None:
        self._gpu, self._client = gpu, client
        self.source = gpu.source

    def limits(self) -> PowerLimits | None:
        """See ``Gpu.limits``."""
        return self._gpu.limits()

    def read(self) -> GpuReading:
        """See ``Gpu.read``."""
        return self._gpu.read()

    def processes(self) -> tuple[GpuProcess, ...]:
        """See ``Gpu.processes``."""
        return self._gpu.processes()

    def set_limit(self, watts: float) -> None:
        """See ``Gpu.set_limit``."""
        try:
            self._gpu.set_limit(watts)
        except NoRight as own:
            try:
                self._client.set_limit(watts)
            except NoRight as error:
                raise NoRight(f"{own}; {error}") from None

    def close(self) -> None:
        """Let the helper go; whatever limit it set for us goes with it."""
        with contextlib.suppress(OSError):
            self._client.close()
