"""``python -m orchestrator.engine.tether PARENT COMMAND...``: a command that dies with its parent.

A process of its own, because the kernel's parent-death signal must be asked for by the child
itself, between fork and exec, where a threaded parent may not run Python.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from orchestrator.engine import process


def tethered(command: Sequence[str]) -> list[str]:
    """``command``, bound to the life of the thread that starts it (and so of this process)."""
    return [sys.executable, "-m", __name__, str(os.getpid()), *command]


def main(arguments: Sequence[str]) -> None:
    """Become the command, which keeps this pid."""
    parent, *line = arguments
    process.signal_on_parent_death(signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit(f"the parent {parent} is gone already")
    os.execv(line[0], line)  # noqa: S606 - no shell is what we want


if __name__ == "__main__":
    main(sys.argv[1:])
