"""SpikeDetector: whether the loss or the gradient of a step is out of all proportion.

Robust z-scores: the distance from the median of the recent good steps in units of their median
absolute deviation, which outliers in the window cannot inflate (Iglewicz and Hoaglin, "How to
detect and handle outliers", 1993). Only upwards, and only far away: a spike costs a rollback.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from statistics import median
from typing import Any

#: turns the median absolute deviation of a normal distribution into its standard deviation
_MAD_TO_SIGMA = 1.4826
#: the least standard deviation that is believed: a part of the loss, a part of the gradient's
#: norm. A run whose loss hardly wavers must not call a hundredth more a spike.
_LEAST_OF_LOSS = 0.01
_LEAST_OF_NORM = 0.1
#: the smallest norm told apart from zero
_TINY = 1e-30


class SpikeDetector:
    """Remembers the last good steps; its memory is part of the checkpoint."""

    def __init__(self, sigmas: float, window: int) -> None:
        """``sigmas`` 0 switches it off. It judges once the window is half full."""
        self._sigmas = sigmas
        self._window = window
        self._losses: deque[float] = deque(maxlen=window)
        self._norms: deque[float] = deque(maxlen=window)

    def judge(self, loss: float, gradient_norm: float) -> str:
        """What is strange about a step with these finite figures, in words; empty if nothing."""
        if self._sigmas == 0 or len(self._losses) < self._window // 2:
            return ""
        usual = median(self._losses)
        found = (loss - usual) / _sigma(self._losses, _LEAST_OF_LOSS * abs(usual))
        if found > self._sigmas:
            return f"loss {loss:.4f} where {usual:.4f} is usual, {found:.0f} sigmas above"
        # the norm wavers by factors, so it is its logarithm that is compared
        logarithms = [_log(norm) for norm in self._norms]
        middle = median(logarithms)
        found = (_log(gradient_norm) - middle) / _sigma(logarithms, _LEAST_OF_NORM)
        if found > self._sigmas:
            usual = math.exp(middle)
            return f"gradient {gradient_norm:.3g} where {usual:.3g} is usual, {found:.0f} sigmas"
        return ""

    def learn(self, loss: float, gradient_norm: float) -> None:
        """Take a good step into the memory."""
        self._losses.append(loss)
        self._norms.append(gradient_norm)

    def to_plain(self) -> dict[str, Any]:
        """The memory as JSON types."""
        return {"losses": list(self._losses), "norms": list(self._norms)}

    def load(self, plain: dict[str, Any]) -> None:
        """Read back what ``to_plain`` wrote."""
        self._losses = deque(plain["losses"], self._window)
        self._norms = deque(plain["norms"], self._window)


def _sigma(values: Iterable[float], least: float) -> float:
    values = list(values)
    middle = median(values)
    spread = _MAD_TO_SIGMA * median(abs(value - middle) for value in values)
    return max(spread, least, _TINY)


def _log(norm: float) -> float:
    return math.log(max(norm, _TINY))
