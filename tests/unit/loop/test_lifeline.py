"""The trainer does not outlive those it works for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer import lifeline
from trainer.contract.job import Guardian
from trainer.lifeline import Lifeline

SLEEPER = [sys.executable, "-c", "input()"]
WARD = """
import sys
from trainer.contract.job import Guardian
from trainer.lifeline import Lifeline
Lifeline([Guardian(int(sys.argv[1]), int(sys.argv[2]))]).start()
print("tied", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def guardian_process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPER, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def guardian_of(process: subprocess.Popen[bytes]) -> Guardian:
    ticks = lifeline.start_ticks(process.pid)
    assert ticks is not None
    return Guardian(process.pid, ticks)


def ended(process: subprocess.Popen[bytes]) -> None:
    """Kill and leave it unwaited-for: a zombie is as dead as can be."""
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_a_real_process_is_killed_when_its_guardian_dies(
    guardian_process: subprocess.Popen[bytes],
) -> None:
    guardian = guardian_of(guardian_process)
    command = [sys.executable, "-c", WARD, str(guardian.pid), str(guardian.start_ticks)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    ) as ward:
        assert ward.stdout is not None
        assert ward.stdout.readline() == b"tied\n"
        assert ward.poll() is None
        ended(guardian_process)
        assert ward.wait(10) == -signal.SIGKILL


def test_a_guardian_that_is_gone_already_is_noticed_at_once(
    guardian_process: subprocess.Popen[bytes],
) -> None:
    guardian = guardian_of(guardian_process)
    ended(guardian_process)
    assert tells_gone([guardian])


def test_another_process_with_the_guardians_number_does_not_count() -> None:
    ticks = lifeline.start_ticks(os.getpid())
    assert ticks is not None
    assert tells_gone([Guardian(os.getpid(), ticks - 1)])


def test_the_line_closed_by_the_other_end_ends_the_trainer() -> None:
    ours, theirs = socket.socketpair()
    gone = threading.Event()
    watch = Lifeline([], gone=gone.set)
    watch.start(ours.fileno())
    assert not gone.is_set()
    theirs.close()
    assert gone.wait(10)
    watch.stop()
    ours.close()


def test_unread_commands_do_not_hide_that_the_line_was_closed() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"commands nobody has read")
    theirs.close()
    assert tells_gone([], ours.fileno())
    ours.close()


def test_the_line_closed_in_one_direction_is_closed() -> None:
    ours, theirs = socket.socketpair()
    theirs.shutdown(socket.SHUT_WR)
    assert tells_gone([], ours.fileno())
    theirs.close()
    ours.close()


def test_after_letting_go_the_line_may_close() -> None:
    ours, theirs = socket.socketpair()
    gone = threading.Event()
    watch = Lifeline([], gone=gone.set)
    watch.start(ours.fileno())
    watch.let_go_of_socket()
    theirs.close()
    watch.stop()
    assert not gone.is_set()
    ours.close()


def test_guardians_still_count_after_letting_go_of_the_line(
    guardian_process: subprocess.Popen[bytes],
) -> None:
    gone = threading.Event()
    watch = Lifeline([guardian_of(guardian_process)], gone=gone.set)
    ours, theirs = socket.socketpair()
    watch.start(ours.fileno())
    watch.let_go_of_socket()
    theirs.close()
    ended(guardian_process)
    assert gone.wait(10)
    watch.stop()
    ours.close()


def test_without_process_descriptors_the_guardians_are_looked_at(
    guardian_process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.setattr(lifeline, "_POLL_SECONDS", 0.02)
    gone = threading.Event()
    watch = Lifeline([guardian_of(guardian_process)], gone=gone.set)
    watch.start()
    assert not gone.wait(0.1)
    ended(guardian_process)
    assert gone.wait(10)
    watch.stop()


def test_a_zombie_counts_as_gone(guardian_process: subprocess.Popen[bytes]) -> None:
    assert lifeline.start_ticks(guardian_process.pid) is not None
    ended(guardian_process)
    assert lifeline.start_ticks(guardian_process.pid) is None


def tells_gone(guardians: list[Guardian], line: int | None = None) -> bool:
    gone = threading.Event()
    watch = Lifeline(guardians, gone=gone.set)
    watch.start(line)
    told = gone.wait(10)
    watch.stop()
    return told
