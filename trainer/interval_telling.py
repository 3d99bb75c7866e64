"""What a person is told of the time between two saves: how long, why, and what a cut can cost."""

from __future__ import annotations

import math

from trainer import interval
from trainer.announce import Announcer
from trainer.contract.spec import CheckpointSpec
from trainer.interval import Choice

#: an interval that changes by less is no news
_NEWS_RATIO = 1.5


class IntervalTelling:
    """Says it after the first save, and again when it has changed much.

    A spec's own ``every_seconds`` is news only where a cut can cost more than is usual.
    """

    def __init__(self, spec: CheckpointSpec, announcer: Announcer) -> None:
        self._spec = spec
        self._announcer = announcer
        self._told: tuple[float, bool] | None = None

    def tell(self, choice: Choice, step_seconds: float, save_seconds: float) -> None:
        """After a save; ``choice`` is what would be best, ``step_seconds`` of the last step."""
        if step_seconds <= 0.0:
            # saved before the first step: nobody knows yet
            return
        most = self._spec.most_lost_seconds
        wish = self._spec.every_seconds
        found = (
            Choice(max(wish, step_seconds), "checkpoint.every_seconds")
            if wish
            else interval.bounded(choice, step_seconds, save_seconds, most)
        )
        bound = math.inf if wish else most
        worst = interval.worst_seconds(found.seconds, step_seconds, save_seconds, bound)
        if wish and worst <= most:
            # as somebody asked for, and no worse than without that
            return
        broken = step_seconds + save_seconds > most
        if not self._is_news(found.seconds, broken):
            return
        self._told = (found.seconds, broken)
        if broken:
            self._announcer.notice(
                "saves",
                f"A power cut can cost {worst:.0f} s, more than the {most:.0f} s of "
                f"checkpoint.most_lost_seconds: a step takes {step_seconds:.0f} s and a save "
                f"{save_seconds:.1f} s, and nothing is saved within a step. Each step is saved; "
                "a smaller train.batch_tokens makes steps shorter.",
            )
            return
        self._announcer.notice(
            "saves",
            f"Saves come every {found.seconds:.0f} s ({found.why}); a power cut costs at most "
            f"{worst:.0f} s of computing.",
            "info",
        )

    def _is_news(self, seconds: float, broken: bool) -> bool:
        if self._told is None or broken != self._told[1]:
            return True
        before = self._told[0]
        return not broken and not before / _NEWS_RATIO < seconds < before * _NEWS_RATIO
