"""SIGKILL of trainers, at any moment and in the states where it hurts most."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaign.nursery import Life, Track, Watch
from tests.campaign.row import Row
from tests.campaign.tally import Tally

#: the run that is killed again and again; about a second of training
STEPS = 120
#: after so many deaths a run may come to its end
DEATHS_A_RUN = 24

#: so many are worth a reference from a process that nobody forked
_MANY = 100

ANYWHERE = "SIGKILL of the trainer at any moment"
START = "SIGKILL of the trainer while it starts and restores"
COMMIT = "SIGKILL of the trainer in a checkpoint commit"
RETENTION = "SIGKILL of the trainer in a retention sweep"
STATES = (ANYWHERE, START, COMMIT, RETENTION)


def run(seed: int, kills: int, root: Path) -> list[Row]:
    """At least ``kills`` deaths over all states; one row a state."""
    chance = random.Random(seed)
    reference = Track(root, STEPS, "undisturbed")
    truth = reference.in_a_fresh_process() if kills >= _MANY else reference.undisturbed()
    tallies = {state: Tally(state) for state in STATES}
    number = 0
    while sum(tally.injected for tally in tallies.values()) < kills:
        number += 1
        track = Track(root, STEPS, f"run-{number}")
        _torment(track, chance, tallies, truth, min(kills, DEATHS_A_RUN))
    return [tally.row() for tally in tallies.values()]


@dataclass
class _Open:
    """Deaths of which it is not yet known what they cost."""

    deaths: list[tuple[Tally, Life]] = field(default_factory=list)
    #: the newest step that was acknowledged as saved
    promised: int = 0

    def settle(self, resumed_step: int) -> None:
        """The next life goes on from there."""
        for tally, life in self.deaths:
            tally.recovered_after(life.lost_seconds(resumed_step))
        if resumed_step < self.promised:
            self.deaths[-1][0].wrong += 1
        self.deaths.clear()


def _torment(
    track: Track, chance: random.Random, tallies: dict[str, Tally], truth: str, deaths: int
) -> None:
    """Kill one run until it has died often enough, then let it finish."""
    open_deaths = _Open()
    last = tallies[ANYWHERE]
    for death in range(deaths + 1):
        # each state in turn, so that even a few deaths meet all of them
        tally = tallies[STATES[death % len(STATES)]]
        life = _life(track, chance, tally.fault) if death < deaths else track.live()
        if life.ready_step is not None and open_deaths.deaths:
            open_deaths.settle(life.ready_step)
        open_deaths.promised = max([open_deaths.promised, *life.saved])
        if life.killed and not life.finished:
            tally.injected += 1
            open_deaths.deaths.append((tally, life))
            last = tally
        elif life.finished:
            break
    track.forget_memory()
    if not track.lives[-1].finished or track.digest() != truth:
        last.wrong += 1


def _life(track: Track, chance: random.Random, state: str) -> Life:
    if state == ANYWHERE:
        return track.live(kill_after=chance.uniform(0.0, 0.8))
    return track.live(watch=_when(state, chance))


def _when(state: str, chance: random.Random) -> Watch:
    """Kills at the n-th entry into the state, a random moment later."""
    left = chance.randrange(1, 5) if state in (COMMIT, RETENTION) else 1
    kind, phase, longest = {
        START: ("Phase", "", 0.3),
        COMMIT: ("Phase", "checkpoint", 0.01),
        RETENTION: ("Saved", "", 0.005),
    }[state]

    def watch(event: dict[str, Any]) -> float | None:
        nonlocal left
        if event["type"] != kind or (phase and event["phase"] != phase):
            return None
        left -= 1
        return chance.uniform(0.0, longest) if left <= 0 else None

    return watch
