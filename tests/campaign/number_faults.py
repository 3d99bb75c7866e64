"""Numbers that are wrong: a result that hardware got wrong once, and losses that are not finite."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from tests.campaign.nursery import Track
from tests.campaign.row import Row
from tests.campaign.tally import Tally
from trainer.model import NanoChat

_STEPS = 60
_WATCHED = "\n[guard]\nsentinel_ratio = 1.0\n"
_ALONE = "\n[guard]\nsentinel_ratio = 0.0\n"
#: bad steps in a row that send a run back
_BAD_STEPS = 3


def run(seed: int, count: int, root: Path) -> list[Row]:
    """``count`` of each."""
    chance = random.Random(seed)
    truth = Track(root, _STEPS, "undisturbed").undisturbed()
    silent, diverged = Tally("a result computed wrong once (sentinel)"), Tally("losses of NaN")
    for number in range(count):
        _compute_wrong(
            Track(root, _STEPS, f"bit-{number}", checkpoint=_WATCHED), chance, silent, truth
        )
        _diverge(root, number, chance, diverged)
    return [silent.row(), diverged.row()]


def _compute_wrong(track: Track, chance: random.Random, tally: Tally, truth: str) -> None:
    """One of the two computations of a step is a little off; the bytes must be the right ones."""
    # the pair of each step is calls 2n and 2n + 1, up to the first that differs
    at = chance.randrange(2 * _STEPS)
    with _losses(lambda call, loss: loss * (1 + 1e-6) if call == at else loss):
        life = track.live()
    tally.injected += 1
    if life.finished and "sentinel_mismatch" in life.troubles:
        tally.recovered_after(0.0)
    tally.wrong += not life.finished or track.digest() != truth


def _diverge(root: Path, number: int, chance: random.Random, tally: Tally) -> None:
    """So many steps in a row are bad: it goes back and around, and each time to the same bytes."""
    first = chance.randrange(10, _STEPS - 10)
    bad = range(first, first + _BAD_STEPS)
    digests = []
    for name in ("once", "again"):
        track = Track(root, _STEPS, f"nan-{number}-{name}", checkpoint=_ALONE)
        with _losses(lambda call, loss: loss * math.nan if call in bad else loss):
            life = track.live()
        if not life.finished or "loss_not_finite" not in life.troubles:
            break
        digests.append(track.digest())
    tally.injected += 1
    if len(digests) == 2:
        tally.recovered_after(0.0)
    tally.wrong += len(set(digests)) != 1


@contextlib.contextmanager
def _losses(change: Callable[[int, Any], Any]) -> Iterator[None]:
    """Each training loss goes through ``change``, with its number in the life of the trainer."""
    whole = NanoChat.loss
    calls = 0

    def changed(model: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        loss = whole(model, *arguments, **options)
        if not torch.is_grad_enabled():
            return loss
        calls += 1
        return change(calls - 1, loss)

    NanoChat.loss = changed  # type: ignore[method-assign] # only in the children that are forked
    try:
        yield
    finally:
        NanoChat.loss = whole  # type: ignore[method-assign] # as it was
