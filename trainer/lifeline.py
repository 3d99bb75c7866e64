"""The trainer's lifeline: when a process that it must not outlive is gone, it is gone at once.

A trainer without its guardians would compute, and save, beside the one that replaces it. The lock
and the fence keep its bytes out; the lifeline gives the GPU back within a moment.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from trainer.contract.job import Guardian

#: only where processes cannot be watched by descriptor
_POLL_SECONDS = 0.5
_GONE_STATES = ("Z", "X", "x")


def start_ticks(pid: int) -> int | None:
    """When the process was started, in clock ticks since boot; None when it is gone.

    A process that has died but was not yet waited for counts as gone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # the command's name, in brackets, may itself hold brackets and blanks
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in _GONE_STATES else int(fields[19])


def is_alive(guardian: Guardian) -> bool:
    """Whether it is there, and still the same process, not a later one with its number."""
    return start_ticks(guardian.pid) == guardian.start_ticks


def kill_self() -> None:
    """SIGKILL: no handler, no flush, no last save can delay it."""
    os.kill(os.getpid(), signal.SIGKILL)


class Lifeline:
    """A thread that watches guardians, and the line to the one that gives the commands."""

    def __init__(self, guardians: Sequence[Guardian], gone: Callable[[], None] = kill_self) -> None:
        self._guardians = tuple(guardians)
        self._gone = gone
        self._wake_reader, self._wake_writer = os.pipe()
        self._socket: int | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._watch, name="lifeline", daemon=True)

    def start(self, socket: int | None = None) -> None:
        """Begin to watch; ``socket`` is a descriptor whose other end must stay open."""
        self._socket = socket
        self._thread.start()

    def let_go_of_socket(self) -> None:
        """From now on the other end may close: everything has been said."""
        self._socket = None
        self._wake()

    def stop(self) -> None:
        """Watch nothing any more; returns when the thread is gone."""
        self._stopped = True
        self._wake()
        self._thread.join()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _wake(self) -> None:
        os.write(self._wake_writer, b"!")

    def _watch(self) -> None:
        handles = [_open(guardian.pid) for guardian in self._guardians]
        try:
            # checked after opening: the descriptor then stands for the very process we mean
            if not all(is_alive(guardian) for guardian in self._guardians):
                self._gone()
                return
            by_descriptor = [handle for handle in handles if handle is not None]
            while not self._stopped:
                if self._someone_left(by_descriptor, len(by_descriptor) < len(handles)):
                    self._gone()
                    return
        finally:
            for handle in handles:
                if handle is not None:
                    os.close(handle)

    def _someone_left(self, handles: Sequence[int], must_look: bool) -> bool:
        poll = select.poll()
        poll.register(self._wake_reader, select.POLLIN)
        for handle in handles:
            poll.register(handle, select.POLLIN)
        socket = self._socket
        if socket is not None:
            poll.register(socket, select.POLLRDHUP)
        ready = [handle for handle, _ in poll.poll(_POLL_SECONDS * 1000 if must_look else None)]
        if self._wake_reader in ready:
            os.read(self._wake_reader, 64)
            return False
        if must_look and not all(is_alive(guardian) for guardian in self._guardians):
            return True
        return bool(ready)


def _open(pid: int) -> int | None:
    """A descriptor that becomes readable when the process dies; None when there is none."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None
