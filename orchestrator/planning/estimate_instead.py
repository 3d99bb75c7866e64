"""What can be finished by the deadline instead of what was wished for. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.planning.estimate import UPTIME, Estimate, Row, Wish, estimate, row
from orchestrator.planning.estimate_data import tokens_in
from orchestrator.planning.estimate_quality import expected_loss
from trainer.sizing import scaling_parameters

#: shallower ones say nothing worth a month
_SHALLOWEST = 12
_MOST = 8


@dataclass(frozen=True)
class Instead:
    """One run that fits the card and the deadline."""

    #: its only row is the recipe taken
    estimate: Estimate
    #: nats a token by ``estimate_quality``, for ordering only
    expected_loss: float

    @property
    def row(self) -> Row:
        """What it takes."""
        return self.estimate.rows[0]

    @property
    def tokens_per_parameter(self) -> float:
        """Training tokens for each scaling parameter."""
        wish = self.estimate.wish
        return wish.tokens / scaling_parameters(wish.model)


def instead(wish: Wish, deadline_seconds: float) -> list[Instead]:
    """The best run of each depth that ends in time, best first.

    Each trains on all tokens that it can in the time and that the corpus has; never on more than
    the corpus, so that none of it is read twice.
    """
    found = []
    for depth in _depths(wish):
        model = dataclasses.replace(wish.model, depth=depth)
        options = list(_options(dataclasses.replace(wish, model=model), deadline_seconds))
        if options:
            loss, best = min(options, key=lambda option: option[0])
            found.append(Instead(estimate(best), loss))
    return sorted(found, key=lambda option: option.expected_loss)[:_MOST]


def _depths(wish: Wish) -> Iterator[int]:
    """Even ones, whose heads have 128 channels; and the one that was wished for."""
    deepest = max(wish.model.depth, 20)
    return (
        depth
        for depth in range(_SHALLOWEST, deepest + 1)
        if depth % 2 == 0 or depth == wish.model.depth
    )


def _options(wish: Wish, deadline_seconds: float) -> Iterator[tuple[float, Wish]]:
    """Expected loss, and the wish that it is expected of."""
    for storage in wish.recipes:
        if storage.experimental:
            continue
        answer = row(wish, storage)
        if not answer.fits or not answer.tokens_per_second:
            continue
        possible = min(answer.tokens_per_second * deadline_seconds * UPTIME, tokens_in(wish.shards))
        tokens = int(possible) // wish.batch_tokens * wish.batch_tokens
        if tokens:
            shorter = dataclasses.replace(wish, tokens=tokens, recipes=(storage,))
            yield expected_loss(wish.model, storage, tokens), shorter
