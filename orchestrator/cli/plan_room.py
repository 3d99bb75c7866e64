"""How the saves of a planned run go on this machine, by the memory that it has left now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from orchestrator.planning.estimate import Row
from trainer.checkpoint import host_memory, slots
from trainer.checkpoint.way import Way, way_of

_GIB = 1 << 30
_MIB = 1 << 20


@dataclass(frozen=True)
class Room:
    """Memory of this machine, in bytes."""

    #: for copies of the state, with what the machine keeps for everything else taken off
    free_bytes: int
    #: what programs could still get without swapping
    available_bytes: int


def of_this_machine() -> Room:
    """As it is now."""
    return Room(slots.free_bytes(), host_memory.read().available)


def way(row: Row, room: Room) -> Way:
    """How saves of such a run go once its training has taken its own host memory."""
    taken = row.memory.host
    return way_of(
        row.checkpoint_bytes,
        max(0, room.free_bytes - taken),
        max(0, room.available_bytes - taken),
    )


def words(rows: Sequence[Row], room: Room) -> str:
    """One sentence about all recipes."""
    ways = sorted(
        ((way(row, room), row.storage.name) for row in rows),
        key=lambda each: (-each[0].slots, -each[0].ring_bytes),
    )
    said = [
        f"{_way(found)} ({', '.join(name for _, name in group)})"
        for found, group in groupby(ways, lambda each: each[0])
    ]
    return (
        f"This machine can spare {room.free_bytes / _GIB:.1f} GiB of memory now, for HOST and for "
        f"saves, which then go {', '.join(said)}."
    )


def _way(found: Way) -> str:
    if found.slots:
        return f"from {'two copies' if found.slots > 1 else 'one copy'} in memory"
    if found.ring_bytes:
        return f"through a ring of {found.ring_bytes // _MIB} MiB"
    return "by the trainer, which stops for them"
