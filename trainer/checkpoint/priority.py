"""The priority of a thread that must never be in anybody's way."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import threading

#: ioprio_set(2), which has no wrapper in the C library
_SYSCALL = {"x86_64": 251, "aarch64": 30}
_WHO_PROCESS = 1
_CLASS_IDLE = 3 << 13
#: best effort, in the middle: what everybody begins with
_USUAL = 2 << 13 | 4
_NICE = 15


def become_idle() -> None:
    """Give the calling thread the lowest claim on disk and processor, where Linux lets us."""
    with contextlib.suppress(OSError, AttributeError):
        _set_io(0, _CLASS_IDLE)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def hurry(pid: int) -> None:
    """Somebody waits for the thread ``pid`` now: give it the usual claim on the disk."""
    with contextlib.suppress(OSError, AttributeError):
        _set_io(pid, _USUAL)


def _set_io(who: int, priority: int) -> None:
    number = _SYSCALL.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None, use_errno=True).syscall(number, _WHO_PROCESS, who, priority)
