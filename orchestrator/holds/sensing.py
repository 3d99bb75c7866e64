"""All the senses at once, and what of their holds is news."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.domain import Hold
from orchestrator.holds.senses import Moment, Sense, news


class Journal(Protocol):
    """Writes one line into the journal."""

    def __call__(self, kind: str, message: str, *, run: str | None = None) -> None: ...


class Sensing:
    """Looks with every sense; tells the journal of holds that began or ended."""

    def __init__(self, senses: Sequence[Sense], journal: Journal) -> None:
        """``senses`` is read at each look: whoever builds the daemon may still add to it."""
        self._senses = senses
        self._journal = journal
        #: what the house asks for now
        self.holds: tuple[Hold, ...] = ()

    def look(self, moment: Moment) -> None:
        """Look anew."""
        sensed = tuple(hold for sense in self._senses for hold in sense.look(moment))
        changed, self.holds = news(self.holds, sensed), sensed
        for hold in changed.begun:
            self._journal("hold_started", f"Held by {hold.reason}: {hold.detail}.", run=hold.run)
        for hold in changed.ended:
            self._journal("hold_ended", f"The hold '{hold.reason}' ended.", run=hold.run)
