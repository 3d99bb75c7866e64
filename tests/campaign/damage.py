"""Files of the newest checkpoint cut, flipped, lost and swapped between two lives of a trainer."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.campaign.nursery import Track, Watch
from tests.campaign.row import Row
from tests.campaign.tally import Tally
from trainer.checkpoint import catalog

_STEPS = 120
_A_RUN = 4


def _flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _cut(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data))])


def _lose(path: Path, chance: random.Random) -> None:
    path.unlink()


def _swap(path: Path, chance: random.Random) -> None:
    other = chance.choice([one for one in path.parent.iterdir() if one != path])
    here, there = path.read_bytes(), other.read_bytes()
    path.write_bytes(there)
    other.write_bytes(here)


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "a flipped bit in a checkpoint": _flip,
    "a truncated file in a checkpoint": _cut,
    "a missing file in a checkpoint": _lose,
    "two swapped files in a checkpoint": _swap,
}


def run(seed: int, count: int, root: Path) -> list[Row]:
    """At least ``count`` damaged checkpoints."""
    chance = random.Random(seed)
    truth = Track(root, _STEPS, "undisturbed").undisturbed()
    tallies = {name: Tally(name) for name in DAMAGES}
    number = 0
    while sum(tally.injected for tally in tallies.values()) < count:
        number += 1
        _damage_one_run(Track(root, _STEPS, f"run-{number}"), chance, tallies, truth)
    return [tally.row() for tally in tallies.values()]


def _at(kind: str, count: int) -> Watch:
    """Kills at the ``count``-th event of that kind."""
    left = count

    def watch(event: dict[str, Any]) -> float | None:
        nonlocal left
        left -= event["type"] == kind
        return 0.0 if left <= 0 else None

    return watch


def _damage_one_run(
    track: Track, chance: random.Random, tallies: dict[str, Tally], truth: str
) -> None:
    tally = next(iter(tallies.values()))
    for _ in range(_A_RUN):
        before = track.live(watch=_at("Saved", chance.randrange(3, 6)))
        entries = catalog.list_checkpoints(track.run_dir)
        if before.finished or len(entries) < 2:
            continue
        name = min(tallies, key=lambda one: tallies[one].injected)
        tally = tallies[name]
        files = [one for one in entries[0].path.iterdir() if one.stat().st_size]
        DAMAGES[name](chance.choice(sorted(files)), chance)
        tally.injected += 1
        # as after a reboot: else what is in memory would be newer, and the damage never met
        track.forget_memory()
        after = track.live(watch=_at("Step", chance.randrange(1, 9)))
        if after.ready_step is None:
            continue
        # the older one, and said so
        if after.ready_step != entries[1].step or "checkpoint_damaged" not in after.troubles:
            tally.wrong += 1
        tally.recovered_after(before.lost_seconds(after.ready_step))
    track.forget_memory()
    life = track.live()
    track.forget_memory()
    if not life.finished or track.digest() != truth:
        tally.wrong += 1
