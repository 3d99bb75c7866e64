"""Orders for a checkpoint, from the moment somebody asks until the trainer has answered."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from orchestrator.domain import Checkpoint, Hold
from orchestrator.errors import Held, HomerunError, Refused


@dataclass
class SaveOrder:
    """Somebody waits for a checkpoint."""

    request: str
    answer: Future[Checkpoint] = field(default_factory=Future)


class Orders:
    """The orders that a trainer has been given and not yet answered."""

    def __init__(self) -> None:
        self._open: dict[str, Future[Checkpoint]] = {}

    def add(self, order: SaveOrder) -> None:
        """Remember who waits."""
        self._open[order.request] = order.answer

    def settle(self, request: str, result: Checkpoint | HomerunError) -> None:
        """Answer whoever waits for ``request``; nobody may."""
        answer = self._open.pop(request, None)
        if answer is None:
            return
        if isinstance(result, HomerunError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    def refuse_all(self, error: HomerunError) -> None:
        """Answer everybody who still waits with ``error``."""
        for request in list(self._open):
            self.settle(request, error)


def nobody_to_save(holds: Sequence[Hold]) -> HomerunError:
    """Why there is no trainer that could save: ``holds`` are what keeps it away."""
    if holds:
        reasons = ", ".join(hold.reason for hold in holds)
        return Held(f"no trainer runs: held by {reasons}", "homerun resume, or wait")
    return Refused("no trainer runs, so there is nothing to save", "homerun status tells why")
