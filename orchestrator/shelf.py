"""Shelf: what the supervisor asks of whoever looks after the checkpoints on disk."""

from __future__ import annotations

from orchestrator.domain import MirrorView


class Shelf:
    """One that nobody looks after. Every method answers at once; work is done elsewhere."""

    #: bytes that a run's checkpoints may write in 30 days; 0: no limit
    month_bytes: float = 0.0

    def tend(self, run: str, reason: str = "") -> None:
        """A checkpoint was saved for that ``reason``, or some time has passed."""

    def relieve(self, run: str) -> None:
        """The disk was too full for a checkpoint."""

    def freeable_bytes(self, run: str) -> int:
        """What ``relieve`` would give back; reads the disk, so never ask in a tick."""
        return 0

    def mirror(self, run: str) -> MirrorView | None:
        """How the run's copies in the mirror are; None when there is no mirror."""
        return None

    def may_start(self, run: str) -> bool:
        """Whether a trainer would find the run's checkpoints; asked at each tick until it would."""
        return True

    def all_damaged(self, run: str) -> bool:
        """A trainer found none whole; True: end it, and ask ``may_start`` before the next."""
        return False
