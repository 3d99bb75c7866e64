"""SIGKILL of a copy to the mirror, and of a restore from it onto an empty machine."""

from __future__ import annotations

import random
from pathlib import Path

from tests.campaign.children import kill_at
from tests.campaign.nursery import Track
from tests.campaign.row import Row
from tests.campaign.tally import Tally
from trainer.checkpoint import mirror
from trainer.checkpoint.mirror import LocalPlace

_STEPS = 60
#: a copy of the small checkpoint takes about so long
_COPY_SECONDS = 0.03


def run(seed: int, kills: int, root: Path) -> list[Row]:
    """Half of the kills on the way to the mirror, half on the way back."""
    chance = random.Random(seed)
    track = Track(root, _STEPS, "here")
    truth = Track(root, _STEPS, "undisturbed").undisturbed()
    track.live(watch=lambda event: 0.0 if event.get("step") == 2 * _STEPS // 3 else None)
    tallies = (
        Tally("SIGKILL of a copy to the mirror"),
        Tally("SIGKILL of a restore from the mirror"),
    )
    nas = root / "nas"
    for number in range(kills // 2):
        _copy(track.run_dir, nas / f"copy-{number}", chance, tallies[0])
    for number in range(kills // 2):
        there = nas / f"copy-{number % max(1, kills // 2)}"
        _copy(there, root / f"back-{number}", chance, tallies[1])
    last = Track(root, _STEPS, f"back-{kills // 2 - 1}")
    if not last.live().finished or last.digest() != truth:
        tallies[1].wrong += 1
    return [tally.row() for tally in tallies]


def _copy(source: Path, target: Path, chance: random.Random, tally: Tally) -> None:
    """Kill one copy; then nothing that is there may be half, and the next copy is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    death = kill_at(lambda say: _bring(source, target), chance.uniform(0.0, _COPY_SECONDS))
    tally.injected += death.killed
    place = LocalPlace(target)
    for name in mirror.candidates(place):
        tally.wrong += not mirror.verify(place, name).ok
    brought = _bring(source, target)
    names = mirror.candidates(LocalPlace(target))
    tally.wrong += brought is None or not names
    tally.wrong += any(not mirror.verify(LocalPlace(target), name).ok for name in names)
    if death.killed:
        tally.recovered_after(0.0)


def _bring(source: Path, target: Path) -> object:
    return mirror.bring(LocalPlace(source), LocalPlace(target), lambda verdict: None)
