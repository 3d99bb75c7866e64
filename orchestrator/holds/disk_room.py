"""Whether the disk can take the next checkpoint, and what follows when it cannot. Pure.

A disk that is too full stops no training at once: the state is safe in the trainer's memory, and
the old checkpoint stays. Only when a power cut would cost more than the run's spec allows does it
make no sense to go on; and no trainer is started whose work could not be saved.
"""

from __future__ import annotations

from dataclasses import dataclass

#: what the commit protocol demands on top of the data: a tenth, and room for the records
_RESERVE_BYTES = 1 << 20
#: the hold ends only with so much more than is needed, so that it does not come back at once
_AGAIN_RATIO = 1.25


@dataclass(frozen=True)
class Room:
    """One look at the volume of a run's checkpoints."""

    free_bytes: int
    #: of the newest checkpoint; None while there is none: nobody knows what the first one takes
    checkpoint_bytes: int | None
    #: what the old checkpoints that may go would give back
    freeable_bytes: int = 0
    #: why nothing at all can be written there; empty when it can
    problem: str = ""

    @property
    def needed_bytes(self) -> int:
        """What must be free for another checkpoint."""
        size = self.checkpoint_bytes or 0
        return size + size // 10 + _RESERVE_BYTES

    @property
    def is_short(self) -> bool:
        """Whether a save would fail now."""
        return bool(self.problem) or self.free_bytes < self.needed_bytes

    def suffices(self, ratio: float = 1.0) -> bool:
        """Whether a save would succeed once retention has done what it can."""
        spare = self.free_bytes + self.freeable_bytes
        return not self.problem and spare >= ratio * self.needed_bytes


def is_held(
    held: bool, room: Room | None, unsaved_seconds: float | None, most_lost_seconds: float
) -> bool:
    """Whether the disk holds the run now.

    Args:
        held: whether it did before.
        room: None: nobody could look, which changes nothing.
        unsaved_seconds: computing that a power cut would lose; None: no trainer computes.
        most_lost_seconds: what it may lose at most.
    """
    if room is None:
        return held
    if held:
        return not room.suffices(_AGAIN_RATIO)
    if room.suffices():
        return False
    return unsaved_seconds is None or unsaved_seconds >= most_lost_seconds


def in_words(room: Room) -> str:
    """The figures, for a person."""
    if room.problem:
        return f"no checkpoint can be written: {room.problem}"
    figures = f"a checkpoint needs {_size(room.needed_bytes)}, {_size(room.free_bytes)} free"
    if room.freeable_bytes:
        figures += f" and {_size(room.freeable_bytes)} in old checkpoints"
    return figures


def _size(size_bytes: int) -> str:
    if size_bytes >= 10**9:
        return f"{size_bytes / 1e9:.1f} GB"
    return f"{size_bytes / 1e6:.1f} MB"
