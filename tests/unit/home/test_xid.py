"""Xid events: the same for NVML with canned answers, a kernel's log, the real one, and the fake."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from orchestrator.home.xid import (
    Address,
    FakeXids,
    KernelLogXids,
    NvmlXids,
    XidEvent,
    XidSource,
    installed_xids,
    xids_in,
)

OURS, OTHER = Address(0, 1, 0), Address(0, 2, 0)
#: no machine has a card there: what a test writes into a real log is about nobody
NOBODY = Address(0xFFFE, 0xFE, 0x1E)

#: (number, which card)
Throw = Callable[[int, Address], None]


class Nvml:
    """NVML's events as its library hands them out: one at a time, of registered cards only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pending: deque[tuple[Address, int]] = deque()
        self.registered: list[Address] = []
        self._patch = monkeypatch
        self.say(
            nvmlInit=lambda: None,
            nvmlDeviceGetHandleByIndex=lambda index: (OURS, OTHER)[index],
            nvmlEventSetCreate=lambda: "set",
            nvmlEventSetFree=lambda events: None,
            nvmlDeviceRegisterEvents=lambda card, kinds, events: self.registered.append(card),
            nvmlDeviceGetPciInfo=lambda card: SimpleNamespace(
                domain=card.domain, bus=card.bus, device=card.device
            ),
            nvmlEventSetWait_v2=self._wait,
        )

    def say(self, **functions: Any) -> None:
        for name, function in functions.items():
            self._patch.setattr(pynvml, name, function)

    def refuse(self, name: str, error: str) -> None:
        """Let a function raise one of NVML's own errors."""

        def function(*arguments: Any) -> Any:
            raise pynvml.NVMLError(getattr(pynvml, f"NVML_ERROR_{error}"))

        self.say(**{name: function})

    def _wait(self, events: str, milliseconds: int) -> Any:
        while self.pending:
            card, number = self.pending.popleft()
            if card in self.registered:
                kind = pynvml.nvmlEventTypeXidCriticalError
                return SimpleNamespace(device=card, eventType=kind, eventData=number)
        raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)


def line(number: int, card: Address, text: str = "pid=7, name=python, it broke") -> bytes:
    """As the driver writes it, behind the kernel's own prefix."""
    where = f"{card.domain:04x}:{card.bus:02x}:{card.device:02x}"
    return f"4,1042,98765,-;NVRM: Xid (PCI:{where}): {number}, {text}\n".encode()


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    return Nvml(monkeypatch)


@pytest.fixture(params=["nvml", "kernel log", "real kernel log", "fake"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[XidSource, Throw]]:
    """A source of our card's events, and what makes a driver report."""
    source: XidSource
    if request.param == "nvml":
        nvml = request.getfixturevalue("nvml")
        source = NvmlXids()
        yield source, lambda number, card: nvml.pending.append((card, number))
    elif request.param == "kernel log":
        os.mkfifo(tmp_path / "kmsg")
        writer = os.open(tmp_path / "kmsg", os.O_RDWR)
        source = KernelLogXids(OURS, tmp_path / "kmsg")
        yield source, lambda number, card: _write(writer, line(number, card))
        os.close(writer)
    elif request.param == "real kernel log":
        source, writer = _real_log()
        where = {OURS: "fffe:fe:1e", OTHER: "fffe:fe:1d"}
        yield (
            source,
            lambda number, card: _write(
                writer, f"NVRM: Xid (PCI:{where[card]}): {number}, a test of homerun\n".encode()
            ),
        )
        os.close(writer)
    else:
        source = fake = FakeXids(OURS)
        yield source, lambda number, card: fake.throw(number, card=card)
    source.close()


def _write(descriptor: int, data: bytes) -> None:
    os.write(descriptor, data)


def _real_log() -> tuple[XidSource, int]:
    try:
        source = KernelLogXids(NOBODY)
    except OSError as error:
        pytest.skip(f"/dev/kmsg may not be read: {error}")
    try:
        return source, os.open("/dev/kmsg", os.O_WRONLY)
    except OSError as error:
        source.close()
        pytest.skip(f"/dev/kmsg may not be written: {error}")


# --- what holds for every source --------------------------------------------------------------


def numbers(source: XidSource, count: int) -> list[int]:
    """Read until so many came; a source may hand them out one by one."""
    found: list[int] = []
    for _ in range(count + 1):
        found += [event.number for event in source.read(0.0)]
    return found


def test_each_event_is_told_once_and_in_order(bench: tuple[XidSource, Throw]) -> None:
    source, throw = bench
    assert source.read(0.0) == ()
    throw(31, OURS)
    throw(43, OURS)
    assert numbers(source, 2) == [31, 43]
    assert source.read(0.0) == ()


def test_an_event_of_another_card_is_none_of_ours(bench: tuple[XidSource, Throw]) -> None:
    source, throw = bench
    throw(79, OTHER)
    assert source.read(0.0) == ()
    throw(13, OURS)
    assert numbers(source, 1) == [13]


# --- the kernel's log -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number", "words"),
    [
        (
            "3,1,2,-;NVRM: Xid (PCI:0000:01:00): 79, pid=1234, GPU has fallen off the bus.",
            79,
            "pid=1234, GPU has fallen off the bus.",
        ),
        ("NVRM: Xid (0000:01:00): 13, 0001 00000000", 13, "0001 00000000"),
        ("NVRM: Xid (PCI:00000000:01:00.0): 31, Ch 003b", 31, "Ch 003b"),
        ("[ 8.1] NVRM: Xid (PCI:0000:01:00): 45", 45, ""),
        ("nvrm: xid (pci:0000:01:00): 62, \x1b[31m0007\x00", 62, "[31m0007"),
    ],
)
def test_every_form_of_the_line_is_understood(text: str, number: int, words: str) -> None:
    assert xids_in(text, OURS) == [XidEvent(number, words)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NVRM: GPU at PCI:0000:01:00: GPU-0b11d014-1685-04bd-26ed-5fc0bc1c44ae",
        "NVRM: Xid (PCI:0000:01:00): , nothing",
        "NVRM: Xid (PCI:0000:01:00): 99999, no such number",
        "NVRM: Xid (PCI:zzzz:01:00): 79, GPU has fallen off the bus.",
        "NVRM: Xid (PCI:0000:01",
        "\ufffd\x00" * 500,
    ],
)
def test_what_is_no_xid_line_is_nothing(text: str) -> None:
    assert xids_in(text, OURS) == []


def test_the_drivers_words_are_kept_short() -> None:
    (event,) = xids_in(line(31, OURS, "x" * 5000).decode(), OURS)
    assert len(event.text) == 200


def test_what_the_log_held_before_is_of_another_life(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_bytes(line(79, OURS))
    source = KernelLogXids(OURS, log)
    with log.open("ab") as writer:
        writer.write(b"\xff\xfe not text \n" + line(31, OURS, "later"))
    assert source.read(0.0) == (XidEvent(31, "later"),)
    source.close()


def test_a_ring_that_went_round_is_read_on_from_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "kmsg"
    log.write_bytes(b"")
    source = KernelLogXids(OURS, log)
    answers: list[bytes | OSError] = [BrokenPipeError(32, "overrun"), line(62, OURS), b""]

    def read(descriptor: int, size: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read)
        assert [event.number for event in source.read(0.0)] == [62]
        answers.append(OSError(5, "Input/output error"))
        with pytest.raises(OSError, match="Input/output"):
            source.read(0.0)
    source.close()


def test_a_log_that_is_not_there_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        KernelLogXids(OURS, tmp_path / "kmsg")


# --- NVML -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nvmlInit", "LIBRARY_NOT_FOUND"),
        ("nvmlDeviceGetHandleByIndex", "NOT_FOUND"),
        ("nvmlDeviceRegisterEvents", "NOT_SUPPORTED"),
        ("nvmlEventSetCreate", "FUNCTION_NOT_FOUND"),
    ],
)
def test_nvml_without_a_card_or_without_events_is_no_source(
    nvml: Nvml, name: str, error: str
) -> None:
    nvml.refuse(name, error)
    with pytest.raises(OSError, match="no Xid events by NVML"):
        NvmlXids()
    assert installed_xids() == ()


def test_nvml_that_lost_the_card_says_so_and_is_let_go_quietly(nvml: Nvml) -> None:
    source = NvmlXids()
    nvml.refuse("nvmlEventSetWait_v2", "GPU_IS_LOST")
    nvml.refuse("nvmlEventSetFree", "UNINITIALIZED")
    with pytest.raises(OSError, match="NVML tells no events"):
        source.read(0.0)
    source.close()


def test_an_event_of_another_kind_is_no_xid(nvml: Nvml) -> None:
    source = NvmlXids()
    clock_changed = SimpleNamespace(eventType=pynvml.nvmlEventTypeClock, eventData=31)
    nvml.say(nvmlEventSetWait_v2=lambda events, milliseconds: clock_changed)
    assert source.read(0.0) == ()


def test_the_kernels_log_is_a_second_source_only_where_it_may_be_read(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(card: Address) -> XidSource:
        assert card == OURS
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("orchestrator.home.xid.KernelLogXids", refused)
    assert [source.name for source in installed_xids()] == ["nvml"]
    monkeypatch.setattr("orchestrator.home.xid.KernelLogXids", FakeXids)
    assert [source.name for source in installed_xids()] == ["nvml", "simulated"]


# --- the fake ---------------------------------------------------------------------------------


def test_a_fake_that_is_broken_tells_nothing_and_one_that_is_closed_waits_for_nothing() -> None:
    source = FakeXids()
    source.broken = True
    with pytest.raises(OSError, match="GPU is lost"):
        source.read(0.0)
    source.broken = False
    source.close()
    assert source.read(3600.0) == ()
