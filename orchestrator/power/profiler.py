"""The profiler: what each level of power gives, measured on the run that computes now.

It is a sense. While it measures, it holds the run at one level after another; the limiter makes
that the card's limit. When it ends, for whatever reason, its hold is gone and with it the limit:
who only asked and follows, may go away at any time.
"""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from orchestrator.domain import Effect, Hold, Power, Reason
from orchestrator.errors import Held, NotFound, Refused
from orchestrator.holds.senses import Moment, Sense
from orchestrator.home.gpu import Gpu, GpuLost, PowerLimits
from orchestrator.home.limiter import may_set_limit
from orchestrator.planning.levels import assumed_levels
from orchestrator.power.level_speed import (
    LEAST_SECONDS,
    Mark,
    Segment,
    counts_steps,
    micro_batches_per_second,
)

SOURCE = "profile"
#: clocks and voltages need a moment after each change
SETTLE_SECONDS = 15.0
#: a level that cannot be measured within it ends the profile
MOST_SECONDS = 300.0
#: the card may round a limit
_SAME_WATTS = 2.0
_GRANT = "sudo homerun service install --power-helper; homerun doctor tells more"


class ProfileState(enum.StrEnum):
    """Where the profile stands."""

    IDLE = "idle"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class LevelResult:
    """One level, measured. ``relative_speed`` is that of full power's 1.0."""

    limit_watts: float
    relative_speed: float
    micro_batches_per_second: float
    #: what the meter said meanwhile; None when it said nothing
    watts: float | None
    seconds: float


@dataclass(frozen=True)
class ProfileView:
    """What people see of it."""

    state: ProfileState = ProfileState.IDLE
    run: str | None = None
    #: where the card and the watts are from; "simulated" is no measurement
    card: str = ""
    power_source: str = ""
    levels: tuple[float, ...] = ()
    results: tuple[LevelResult, ...] = ()
    #: 0..1
    progress: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class Watched:
    """What the profiler has to know of the run that owns the card."""

    run: str
    attempt: int
    #: what the trainer does: train, eval, checkpoint, paused...
    phase: str
    mark: Mark
    power: Power
    holds: tuple[Hold, ...]


class Profiling(Protocol):
    """What the web side asks for. Thread-safe."""

    def start(self, run: str) -> ProfileView:
        """Begin. Raises NotFound, Held, Refused."""

    def stop(self) -> ProfileView:
        """End it; the limit is what it was."""

    def view(self) -> ProfileView:
        """How it stands."""


class NoProfiler:
    """A daemon without a card."""

    def start(self, run: str) -> ProfileView:
        raise Refused("there is no card here, so there are no levels to measure", _GRANT)

    def stop(self) -> ProfileView:
        return self.view()

    def view(self) -> ProfileView:
        return ProfileView()


class Profiler:
    """One profile at a time. ``look`` is called by the tick, the rest from any thread."""

    def __init__(
        self,
        gpu: Gpu,
        watch: Callable[[], Watched | None],
        keep: Callable[[str, Sequence[LevelResult], str], None],
        tell: Callable[[str, str], None],
    ) -> None:
        """A profiler of ``gpu``.

        Args:
            watch: the run that owns the card, while a trainer computes on it.
            keep: takes run, results, and where the watts are from.
            tell: writes a kind and a message into the journal.
        """
        self._gpu, self._watch, self._keep, self._tell = gpu, watch, keep, tell
        self._lock = threading.Lock()
        self._view = ProfileView()
        self._level: _Level | None = None
        self._attempt = 0
        self._whole_steps: bool | None = None

    def running(self) -> bool:
        """Whether it measures now."""
        return self._view.state is ProfileState.RUNNING

    # --- what people ask for ----------------------------------------------------------------

    def start(self, run: str) -> ProfileView:
        """See ``Profiling.start``."""
        watched = self._watch()
        if watched is None or watched.run != run:
            other = f"; {watched.run} does" if watched else ""
            raise NotFound(f"{run} does not compute now{other}", "homerun status tells why")
        if holds := _foreign(watched.holds):
            reasons = ", ".join(dict.fromkeys(hold.reason for hold in holds))
            raise Held(f"a profile needs the whole card, held by {reasons}", "try again later")
        limits = self._limits()
        levels = assumed_levels(limits.lowest_watts, limits.default_watts)
        watts = [level.limit_watts for level in levels if level.limit_watts is not None]
        with self._lock:
            if self.running():
                raise Refused(f"{self._view.run} is being profiled", "wait, or press Ctrl-C there")
            self._attempt, self._whole_steps, self._level = watched.attempt, None, None
            self._view = ProfileView(
                ProfileState.RUNNING,
                run,
                self._gpu.source,
                watched.power.source,
                tuple(sorted(watts, reverse=True)),
                message="begins",
            )
            return self._view

    def stop(self) -> ProfileView:
        """See ``Profiling.stop``."""
        with self._lock:
            if self.running():
                self._end(ProfileState.FAILED, "stopped by a person")
            return self._view

    def view(self) -> ProfileView:
        """See ``Profiling.view``."""
        return self._view

    def _limits(self) -> PowerLimits:
        try:
            limits = self._gpu.limits()
        except GpuLost as error:
            raise Refused(f"the card is lost: {error}", "homerun doctor") from None
        if limits is None or not may_set_limit(self._gpu):
            raise Refused("no power limit can be set, so there are no levels to measure", _GRANT)
        return limits

    # --- the sense --------------------------------------------------------------------------

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        """See ``Sense.look``: the level that is measured now, as a cap."""
        if not self.running():
            return ()
        news = None
        with self._lock:
            if self.running():
                self._advance(moment.monotonic_seconds)
            if not self.running():
                news = self._view
        if news is not None:
            self._finish(news)
            return ()
        limit = self._view.levels[len(self._view.results)]
        detail = f"level {len(self._view.results) + 1} of {len(self._view.levels)}, {limit:.0f} W"
        return (
            Hold(
                Reason.USER,
                Effect.CAP,
                SOURCE,
                moment.now,
                moment.now.replace(second=0, microsecond=0) + self._time_left(),
                f"measures what {detail} gives",
                cap_watts=limit,
            ),
        )

    def _advance(self, now: float) -> None:
        watched = self._watch()
        why = self._disturbed(watched)
        if why or watched is None:
            self._end(ProfileState.FAILED, why)
            return
        limit = self._view.levels[len(self._view.results)]
        if self._level is None:
            self._level = _Level(limit, now)
        level = self._level
        if now - level.begun < SETTLE_SECONDS:
            self._show(level, now)
            return
        if now - level.begun > MOST_SECONDS:
            self._end(ProfileState.FAILED, f"{limit:.0f} W took too long to measure")
            return
        if not level.settled:
            level.settled = True
            if not self._in_force(limit):
                self._end(ProfileState.FAILED, f"the card did not take a limit of {limit:.0f} W")
                return
        level.fold(watched)
        if self._whole_steps is None:
            self._whole_steps = counts_steps(level.all_segments())
        if self._whole_steps is not None:
            speed = micro_batches_per_second(level.all_segments(), whole_steps=self._whole_steps)
            if speed is not None:
                self._done(level, speed, now)
                return
        self._show(level, now)

    def _time_left(self) -> timedelta:
        """About, and never nothing: whole minutes."""
        levels = len(self._view.levels) - len(self._view.results)
        seconds = levels * (SETTLE_SECONDS + LEAST_SECONDS)
        return timedelta(minutes=1 + math.ceil(seconds / 60.0))

    def _disturbed(self, watched: Watched | None) -> str:
        if watched is None or watched.run != self._view.run:
            return "the run does not compute any more"
        if watched.attempt != self._attempt:
            return "the trainer was started anew"
        if others := _foreign(watched.holds):
            return f"disturbed by {others[0].reason}: {others[0].detail or others[0].source}"
        return ""

    def _in_force(self, limit: float) -> bool:
        try:
            in_force = self._gpu.read().limit_watts
        except GpuLost:
            return False
        return in_force is None or abs(in_force - limit) <= _SAME_WATTS

    def _done(self, level: _Level, speed: float, now: float) -> None:
        results = self._view.results
        full = results[0].micro_batches_per_second if results else speed
        seconds = now - level.begun - SETTLE_SECONDS
        result = LevelResult(level.limit_watts, speed / full, speed, level.mean_watts(), seconds)
        self._level = None
        self._view = replace(self._view, results=(*results, result))
        if len(self._view.results) == len(self._view.levels):
            self._end(ProfileState.DONE, "measured")
        else:
            self._view = replace(self._view, progress=self._fraction(0.0))

    def _show(self, level: _Level, now: float) -> None:
        # Two thirds of the way after the usual time, and never quite there before it is.
        waited = now - level.begun
        part = waited / (waited + 0.5 * (SETTLE_SECONDS + LEAST_SECONDS))
        message = f"{level.limit_watts:.0f} W"
        self._view = replace(self._view, progress=self._fraction(part), message=message)

    def _fraction(self, part: float) -> float:
        return (len(self._view.results) + part) / len(self._view.levels)

    def _end(self, state: ProfileState, message: str) -> None:
        progress = 1.0 if state is ProfileState.DONE else self._view.progress
        self._level = None
        self._view = replace(self._view, state=state, message=message, progress=progress)

    def _finish(self, view: ProfileView) -> None:
        """With the lock released: the journal and the store may take their time."""
        assert view.run is not None, "it was started for a run"
        if view.state is ProfileState.DONE:
            self._keep(view.run, view.results, view.power_source)
        words = "was measured" if view.state is ProfileState.DONE else f"ended: {view.message}"
        self._tell(f"profile_{view.state}", f"The profile of {view.run} {words}.")


class _Level:
    """One level while it is measured."""

    def __init__(self, limit_watts: float, begun: float) -> None:
        self.limit_watts, self.begun = limit_watts, begun
        self.settled = False
        self._segments: list[Segment] = []
        self._marks: list[Mark] = []
        self._watts: list[float] = []

    def fold(self, watched: Watched) -> None:
        """Take a look at the run in. Whatever is not training is left out."""
        if watched.phase != "train":
            self._cut()
            return
        if watched.power.watts is not None:
            self._watts.append(watched.power.watts)
        last, mark = self._marks[-1] if self._marks else None, watched.mark
        if last and (mark.micro_batches != last.micro_batches or mark.done < last.done):
            self._cut()  # only now it says how many there are, or it went back
            last = None
        if last is None or mark.done > last.done:
            self._marks.append(mark)

    def all_segments(self) -> list[Segment]:
        """Those that are whole, and the one under way."""
        return [*self._segments, tuple(self._marks)]

    def mean_watts(self) -> float | None:
        """None when no meter answered."""
        return sum(self._watts) / len(self._watts) if self._watts else None

    def _cut(self) -> None:
        self._segments.append(tuple(self._marks))
        self._marks = []


def _foreign(holds: Sequence[Hold]) -> list[Hold]:
    """All but our own, and the plan's caps, which are muted meanwhile."""
    return [
        hold
        for hold in holds
        if hold.source != SOURCE
        and not (hold.reason is Reason.TARIFF and hold.effect is Effect.CAP)
    ]


class Muted:
    """A sense that holds nothing while a profile runs: minutes without a plan cost next to none."""

    def __init__(self, sense: Sense, profiler: Profiler) -> None:
        self._sense, self._profiler = sense, profiler

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        """See ``Sense.look``."""
        held = self._sense.look(moment)
        return () if self._profiler.running() else held
