"""Xid events: what the driver reports of a card that is in trouble, by number."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

#: "NVRM: Xid (PCI:0000:01:00): 31, pid=7, name=python, ..."; drivers before 2014 leave "PCI:" out
_LINE = re.compile(
    r"NVRM: Xid \((?:PCI:)?([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})(?:\.[0-7])?\): "
    r"(\d{1,4})\b(.*)",
    re.IGNORECASE,
)
#: the kernel refuses to split a record: more than its longest one
_RECORD_BYTES = 8192
#: the driver's words are shown to people
_TEXT_CHARACTERS = 200


@dataclass(frozen=True)
class Address:
    """Where a card sits on the PCI bus. One card is one device: the function says nothing."""

    domain: int
    bus: int
    device: int


@dataclass(frozen=True)
class XidEvent:
    """One event of our card. ``text``: the driver's own words; empty where the source has none."""

    number: int
    text: str = ""


class XidSource(Protocol):
    """The events of one card. Those of other cards are left out."""

    #: for the log: "nvml", "kernel log" or "simulated"
    name: str

    def read(self, wait_seconds: float) -> tuple[XidEvent, ...]:
        """What came since the last time; waits at most so long for the first.

        Raises:
            OSError: the source tells nothing now. Asking again later may help.
        """

    def close(self) -> None:
        """Ask no more."""


class NvmlXids:
    """The events by NVML, also in a container. They say a number and no words.

    Raises:
        OSError: at construction, where there is no NVML or no card, or one without such events
            (WSL has none).
    """

    name = "nvml"

    def __init__(self, index: int = 0) -> None:
        import pynvml

        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            handle: Any = pynvml.nvmlDeviceGetHandleByIndex(index)
            self._events: Any = pynvml.nvmlEventSetCreate()
            pynvml.nvmlDeviceRegisterEvents(
                handle, pynvml.nvmlEventTypeXidCriticalError, self._events
            )
            pci = pynvml.nvmlDeviceGetPciInfo(handle)
        except pynvml.NVMLError as error:
            raise OSError(f"no Xid events by NVML: {error}") from None
        self.address = Address(int(pci.domain), int(pci.bus), int(pci.device))

    def read(self, wait_seconds: float) -> tuple[XidEvent, ...]:
        """See ``XidSource.read``; one event at a time is all that NVML hands out."""
        nvml = self._nvml
        try:
            data = nvml.nvmlEventSetWait_v2(self._events, round(wait_seconds * 1000))
        except nvml.NVMLError_Timeout:
            return ()
        except nvml.NVMLError as error:
            raise OSError(f"NVML tells no events: {error}") from None
        if not data.eventType & nvml.nvmlEventTypeXidCriticalError:
            return ()
        return (XidEvent(int(data.eventData)),)

    def close(self) -> None:
        """See ``XidSource.close``."""
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlEventSetFree(self._events)


class KernelLogXids:
    """The events in the kernel's log, which says more than NVML: process, engine, address.

    Where the kernel keeps its log to itself (kernel.dmesg_restrict) only root or CAP_SYSLOG may.

    Raises:
        OSError: at construction, where the log may not be read, or is not there.
    """

    name = "kernel log"

    def __init__(self, card: Address, path: Path = Path("/dev/kmsg")) -> None:
        """What the log holds already is not read: it is of another life."""
        self._card = card
        self._log = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # a pipe has no end to go to
        with contextlib.suppress(OSError):
            os.lseek(self._log, 0, os.SEEK_END)

    def read(self, wait_seconds: float) -> tuple[XidEvent, ...]:
        """See ``XidSource.read``."""
        select.select([self._log], [], [], wait_seconds)
        found: list[XidEvent] = []
        while record := self._record():
            found += xids_in(record.decode("utf-8", errors="replace"), self._card)
        return tuple(found)

    def close(self) -> None:
        """See ``XidSource.close``."""
        os.close(self._log)

    def _record(self) -> bytes:
        """The next record; empty when there is none yet."""
        while True:
            try:
                return os.read(self._log, _RECORD_BYTES)
            except BlockingIOError:
                return b""
            except OSError as error:
                # the ring went round before we came: the next read takes the oldest that is left
                if error.errno != errno.EPIPE:
                    raise


def xids_in(text: str, card: Address) -> list[XidEvent]:
    """The Xids of ``card`` in lines of the kernel's log; whatever else stands there is nothing."""
    found = []
    for line in text.splitlines():
        match = _LINE.search(line)
        if match is None:
            continue
        address = Address(*(int(match[group], 16) for group in (1, 2, 3)))
        if address == card:
            words = "".join(c for c in match[5].lstrip(", ") if c.isprintable())
            found.append(XidEvent(int(match[4]), words[:_TEXT_CHARACTERS].rstrip()))
    return found


class FakeXids:
    """A driver that reports what it is told to."""

    name = "simulated"

    def __init__(self, card: Address = Address(0, 1, 0)) -> None:
        self._card = card
        self._news = threading.Condition()
        self._events: deque[XidEvent] = deque()
        self._closed = False
        #: it tells nothing now
        self.broken = False

    def throw(self, number: int, text: str = "", card: Address | None = None) -> None:
        """The driver reports; ``card`` None: of ours."""
        if card is not None and card != self._card:
            return
        with self._news:
            self._events.append(XidEvent(number, text))
            self._news.notify_all()

    def read(self, wait_seconds: float) -> tuple[XidEvent, ...]:
        """See ``XidSource.read``."""
        with self._news:
            self._news.wait_for(lambda: self._events or self._closed, wait_seconds)
            if self.broken:
                raise OSError("GPU is lost")
            found = tuple(self._events)
            self._events.clear()
        return found

    def close(self) -> None:
        """See ``XidSource.close``."""
        with self._news:
            self._closed = True
            self._news.notify_all()


def installed_xids() -> tuple[XidSource, ...]:
    """All that tells of the first card here; nothing where there is no card, or no such events."""
    try:
        by_nvml = NvmlXids()
    except OSError:
        return ()
    try:
        return by_nvml, KernelLogXids(by_nvml.address)
    except OSError:
        return (by_nvml,)
