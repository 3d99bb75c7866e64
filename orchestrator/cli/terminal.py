"""Ctrl-C for us alone, so that ``make run`` ends as we end.

A terminal sends SIGINT to its whole foreground process group. GNU make would get it too, and
then end with 130 although its recipe ended well. A shell gives each job a group of its own for
the same reason; we do it for ourselves when we were started inside somebody else's group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def foreground_of_our_own() -> Iterator[None]:
    """Take the terminal's foreground for a group of our own; give it back at the end.

    Changes nothing without a terminal, in the background, or where we already lead our group.
    """
    terminal = _terminal()
    if terminal is None:
        yield
        return
    before = os.getpgrp()
    # A stopped daemon would neither train nor answer, and make would not notice.
    suspend = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    os.setpgid(0, 0)
    _give(terminal, os.getpgrp())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            _give(terminal, before)
            os.setpgid(0, before)
        signal.signal(signal.SIGTSTP, suspend)


def _terminal() -> int | None:
    try:
        descriptor = sys.stdin.fileno()
        inside = os.getpgrp() != os.getpid() and os.tcgetpgrp(descriptor) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return None
    return descriptor if inside else None


def _give(terminal: int, group: int) -> None:
    """Whoever asks from the background is stopped by SIGTTOU, unless it is ignored."""
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        os.tcsetpgrp(terminal, group)
    finally:
        signal.signal(signal.SIGTTOU, before)
