"""Whose process is it: ours, of this daemon or of its engine, or somebody else's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from orchestrator.engine import process
from orchestrator.engine.process import Identity
from orchestrator.engine.sweep import MARKER

#: answers that are remembered; a desktop has few processes on its card
_MOST_REMEMBERED = 256

IsOurs = Callable[[int], bool]


class Lineage:
    """Asks /proc once a process and remembers; a pid that is used again is asked for again."""

    def __init__(self, state_dir: Path) -> None:
        self._mark = process.state_hash(state_dir)
        self._known: dict[Identity, bool] = {}

    def is_ours(self, pid: int) -> bool:
        """Whether ``pid`` is this process, one below it, or bears our engine's mark.

        So is one that cannot be seen from here: it has just ended, or NVML named it by its pid
        outside of our container, where it may well be our own trainer.
        """
        identity = process.identify(pid)
        if identity is None:
            return True
        if identity not in self._known:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[identity] = self._below_us(pid) or self._marked(pid)
        return self._known[identity]

    def _marked(self, pid: int) -> bool:
        marker = process.environment_value(pid, MARKER)
        return marker is not None and marker.startswith(self._mark)

    def _below_us(self, pid: int) -> bool:
        seen: set[int] = set()
        while pid > 1 and pid not in seen:
            if pid == os.getpid():
                return True
            seen.add(pid)
            found = process.read_stat(pid)
            pid = found.parent if found else 0
        return False
