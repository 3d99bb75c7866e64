"""Which way the state of a run goes to the disk, by the memory that there is for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.checkpoint import ring, slots


@dataclass(frozen=True)
class Way:
    """How scheduled saves go: from a slot, else through a ring, else by the trainer itself."""

    #: copies of the state in memory: two, one or none
    slots: int
    #: 0 where there are slots, and where there is no room for a ring either: training stops then
    ring_bytes: int


def way_of(state_bytes: int, free_bytes: int, available_bytes: int) -> Way:
    """The way of a state of that size.

    Args:
        free_bytes: what slots may take.
        available_bytes: what programs could still get without swapping.
    """
    count = slots.count_for(state_bytes, free_bytes)
    return Way(count, 0 if count else ring.size_for(state_bytes, available_bytes))
