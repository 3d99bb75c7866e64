"""A state directory whose store is damaged, lost and brought back."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator import salvage
from orchestrator.domain import Effect, Hold, Reason, RunState
from orchestrator.paths import Paths
from orchestrator.roster import RosterKeeper
from orchestrator.store import Store
from tests.unit.store.world import START, later, submit

PAUSE = Hold(Reason.USER, Effect.PAUSE, "cli", START, None, "a film", "new")


class Home:
    """A state directory with a closed store: run ``old`` in the backup, ``new`` only later."""

    def __init__(self, state: Path) -> None:
        self.paths = Paths(state)
        self.told = ""

    def fill(self) -> None:
        self.paths.runs.mkdir(parents=True)
        store, keeper = self.open()
        submit(store, "old")
        with store.transaction() as tx:
            tx.runs.set_state("old", RunState.ACTIVE, START)
        keeper.keep(START)
        salvage.back_up(store, self.paths, keeper)
        submit(store, "new", priority=7)
        with store.transaction() as tx:
            tx.runs.set_state("old", RunState.FINISHED, later(9))
            tx.runs.update("old", bits_per_byte=0.75)
            tx.holds.add(PAUSE)
            for number in range(300):
                tx.journal.write("tick", f"{number} " + "x" * 400, later(10))
        keeper.keep(later(10))
        self.close(store, keeper)

    def open(self) -> tuple[Store, RosterKeeper]:
        opened = salvage.open_store(self.paths, later(100))
        self.told = " ".join(opened.told)
        return opened.store, opened.roster

    def close(self, store: Store, keeper: RosterKeeper) -> None:
        store.close()
        keeper.remember(self.paths.store)

    def aside(self) -> list[str]:
        return sorted(
            f"{path.name}"
            for place in self.paths.state.glob("damaged-*")
            for path in place.iterdir()
        )


def flip(path: Path, at: int, *, quietly: bool = False) -> None:
    """Another bit in the file; ``quietly`` as a rotten disk does it, without a new time."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    if quietly:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def lose(home: Home) -> None:
    home.paths.store.unlink()
