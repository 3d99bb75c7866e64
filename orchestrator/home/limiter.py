"""The limiter: the power limit that the holds add up to, on the card; the default at the end."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Protocol

from orchestrator.home.gpu import Gpu, GpuLost, NoRight, PowerLimits


class Limiter(Protocol):
    """Called at every tick; it never raises."""

    #: whether the cap that was wanted last is the card's limit, as far as the card allows
    in_force: bool

    def apply(self, cap_watts: float | None) -> str:
        """Make ``cap_watts`` the limit, None the default. News in words, mostly none: ""."""

    def release(self) -> None:
        """Back to the default, because nobody will watch any more."""


class NoLimiter:
    """No card, or no right to limit it: running is running at full power."""

    in_force = False

    def apply(self, cap_watts: float | None) -> str:
        return ""

    def release(self) -> None:
        return


class GpuLimiter:
    """Sets the card's own limit, within the card's own range, and only when it has to change."""

    def __init__(self, gpu: Gpu, mark: Path | None = None) -> None:
        """Limit ``gpu``.

        Args:
            mark: a file that is there while a limit of ours is: who dies with one leaves it to
                his successor, who then restores the default.
        """
        self._gpu, self._mark = gpu, mark
        self._refused = ""
        self.in_force = True
        self._set: float | None = None
        self._ours = mark is not None and mark.exists()

    def apply(self, cap_watts: float | None) -> str:
        if cap_watts is None and not self._ours:
            return ""  # a limit that the owner set by hand stays his
        try:
            limits = self._gpu.limits()
            if limits is None:
                self.in_force = False
                return ""
            wanted = _within(limits, cap_watts)
            if not self._in_force(wanted):
                self._claim(ours=True)
                self._gpu.set_limit(wanted)
                self._set = wanted
        except (NoRight, GpuLost, ValueError) as error:
            self.in_force = False
            return self._tell(f"The power limit stays as it is: {error}")
        self._refused, self.in_force = "", True
        self._claim(ours=cap_watts is not None)
        return ""

    def release(self) -> None:
        if self._ours:
            with contextlib.suppress(NoRight, GpuLost, ValueError):
                limits = self._gpu.limits()
                if limits is not None:
                    self._gpu.set_limit(limits.default_watts)
                self._claim(ours=False)
            self._set = None

    def _claim(self, *, ours: bool) -> None:
        if ours == self._ours:
            return
        self._ours = ours
        if self._mark is not None:
            with contextlib.suppress(OSError):
                self._mark.touch() if ours else self._mark.unlink(missing_ok=True)

    def _in_force(self, wanted: float) -> bool:
        # Somebody else's tool may have changed it, so the card is asked and not our memory.
        limit = self._gpu.read().limit_watts
        known = self._set if limit is None else limit
        return known is not None and abs(known - wanted) < 0.5

    def _tell(self, news: str) -> str:
        if news == self._refused:
            return ""
        self._refused = news
        return news


def _within(limits: PowerLimits, cap_watts: float | None) -> float:
    if cap_watts is None:
        return limits.default_watts
    return min(max(cap_watts, limits.lowest_watts), limits.default_watts)


def may_set_limit(gpu: Gpu) -> bool:
    """Whether the limit can be set: tried by setting the one that is in force."""
    try:
        limits, limit = gpu.limits(), gpu.read().limit_watts
        if limits is None:
            return False
        gpu.set_limit(limit if limit is not None else limits.default_watts)
    except (NoRight, GpuLost, ValueError):
        return False
    return True
