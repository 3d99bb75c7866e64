"""Orders for a checkpoint, from the moment somebody asks until the trainer has answered."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from orchestrator.domain import Checkpoint
from orchestrator.errors import HomerunError


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
