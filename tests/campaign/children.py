"""Short-lived processes that do one thing and are killed at a random moment of it."""

from __future__ import annotations

import os
import select
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.engine.process import signal_on_parent_death
from tests.story.house import CLOCK

#: what is done in the child; it may say what is durable
Work = Callable[[Callable[[str], None]], None]


@dataclass(frozen=True)
class Death:
    """How a child ended, and what it had acknowledged by then."""

    killed: bool
    failed: bool
    said: tuple[str, ...]


def kill_at(work: Work, after_seconds: float) -> Death:
    """Do ``work`` in a forked child and SIGKILL it after so long, unless it is done before."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _do(work, write)
    os.close(write)
    deadline = CLOCK.monotonic() + after_seconds
    heard = b""
    while (left := deadline - CLOCK.monotonic()) > 0:
        if not select.select([read], [], [], left)[0]:
            break
        data = os.read(read, 1 << 16)
        if not data:
            break
        heard += data
    os.kill(pid, signal.SIGKILL)
    while data := os.read(read, 1 << 16):
        heard += data
    os.close(read)
    _, status = os.waitpid(pid, 0)
    said = tuple(heard.decode().split("\n")[:-1])
    return Death(os.WIFSIGNALED(status), os.WIFEXITED(status) and status != 0, said)


def _do(work: Work, out: int) -> None:
    code = 1
    try:
        signal_on_parent_death(signal.SIGKILL)
        work(lambda text: _say(out, text))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _say(out: int, text: str) -> None:
    os.write(out, f"{text}\n".encode())
