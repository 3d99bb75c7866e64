"""Health: which steps were bad, and when the run has to go back. Pure; part of the checkpoint.

A step is bad when its loss or gradient is not finite, or far above what is usual. So many in a
row, and training goes back to a checkpoint from before them and leaves their batches out
(Chowdhery et al., "PaLM", 2022, section 5.1, did the same by hand). What is left out is a pure
function of the losses, never of which checkpoints there are: they only decide how much is
computed again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.contract.spec import GuardSpec
from trainer.spikes import SpikeDetector

#: trouble within so many steps after the last one is the same trouble again
SAME_PLACE_STEPS = 100


@dataclass(frozen=True)
class Retreat:
    """Where to go back to, and what to leave out from there on."""

    #: finished steps when it was decided
    from_step: int
    #: the first of the bad steps, counted from 0
    first_bad_step: int
    #: the batches of steps ``first_step`` to ``from_step`` - 1 are left out
    first_step: int
    #: how often the run has gone back at this place, this time included
    times: int
    why: str


class DivergedError(Exception):
    """Going back did not help, or there is nothing to go back to."""


class Health:
    """Judges each finished step."""

    def __init__(self, guard: GuardSpec) -> None:
        self._guard = guard
        self._spikes = SpikeDetector(guard.spike_sigmas, guard.spike_window)
        #: bad steps in a row, up to now, and what was bad about the last one
        self.bad_steps = 0
        self.why = ""
        #: finished steps at the last trouble, and how often the run went back there
        self.trouble_step = 0
        self.times = 0

    def judge(self, loss: float, gradient_norm: float) -> str:
        """Note one more finished step; what was bad about it in words, empty for a good one."""
        if math.isfinite(loss) and math.isfinite(gradient_norm):
            self.why = self._spikes.judge(loss, gradient_norm)
        else:
            self.why = f"loss {loss}, gradient {gradient_norm}"
        if self.why:
            self.bad_steps += 1
        else:
            self.bad_steps = 0
            self._spikes.learn(loss, gradient_norm)
        return self.why

    def retreat(self, step: int) -> Retreat | None:
        """What to do after ``step`` finished steps; None: go on.

        The second time at one place, and each time after that, the road there is left out too:
        the same batches would lead to the same weights again.

        Raises:
            DivergedError: the run went back here as often as it may.
        """
        if self.bad_steps < self._guard.max_bad_steps:
            return None
        first = step - self.bad_steps
        again = self.times > 0 and first <= self.trouble_step + SAME_PLACE_STEPS
        times = self.times + 1 if again else 1
        if times > self._guard.max_rollbacks:
            raise DivergedError(
                f"{self.bad_steps} bad steps in a row up to step {step} ({self.why}), after going "
                f"back {times - 1} times; look at the data there, or start a run with a smaller "
                "train.lr_scale or other limits in its [guard]"
            )
        road = 0 if times == 1 else self._guard.max_bad_steps * 4 ** (times - 1)
        return Retreat(step, first, max(0, first - road), times, self.why)

    def went_back(self, retreat: Retreat) -> None:
        """Note it, after the state of the checkpoint was loaded."""
        self.bad_steps = 0
        self.trouble_step = retreat.from_step
        self.times = retreat.times

    def to_plain(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "bad_steps": self.bad_steps,
            "trouble_step": self.trouble_step,
            "times": self.times,
            "spikes": self._spikes.to_plain(),
        }

    def load(self, plain: Mapping[str, Any]) -> None:
        """Read back what ``to_plain`` wrote."""
        self.bad_steps = int(plain["bad_steps"])
        self.trouble_step = int(plain["trouble_step"])
        self.times = int(plain["times"])
        self._spikes.load(plain["spikes"])
