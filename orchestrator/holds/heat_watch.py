"""What a hot card asks for: a pure state machine from temperatures to a cap, then to a pause.

A card protects itself by slowing down at its own threshold; this is for the years before, for the
noise, and for the summer. Each sensor has two thresholds. At the first the power limit goes down
a step, and another one for as long as it does not help; at the second, or when no step is left,
computing stops. On the way back every step has to stay cool for a while, so that nothing swings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.home.gpu import GpuReading

#: what no sensor of a card that works says
_SANE_CELSIUS = (-20.0, 150.0)


@dataclass(frozen=True)
class HeatPolicy:
    """The numbers of the configuration; temperatures in degrees Celsius."""

    core_cap: float = 83.0
    core_pause: float = 90.0
    memory_cap: float = 100.0
    memory_pause: float = 106.0
    #: so many degrees below the card's own slowdown, at its hottest spot
    margin_cap: float = 5.0
    margin_pause: float = 1.0
    #: cool is so many degrees below the first threshold
    hysteresis: float = 4.0
    #: the shortest time between two steps down, and of a pause
    dwell_seconds: float = 60.0
    #: how long it must be cool before a step is taken back
    calm_seconds: float = 600.0
    #: without any word of a sensor for so long, nothing holds: nobody could say when to end
    forget_seconds: float = 600.0
    #: of the default limit
    step_ratio: float = 0.1


@dataclass(frozen=True)
class Heat:
    """Where the watch stands; times are monotonic seconds."""

    #: steps that the limit is down now
    steps: int = 0
    paused_since: float | None = None
    #: when the last step was taken, or the pause ended
    changed_at: float = 0.0
    #: since when it is cool; None while it is not
    cool_since: float | None = None
    #: when a sensor spoke last
    known_at: float = 0.0
    #: what the sensor that is worst off said when it changed something
    detail: str = ""


@dataclass(frozen=True)
class _Sensor:
    """How far above its thresholds a sensor is; below is negative."""

    above_cap: float
    above_pause: float
    detail: str


@dataclass(frozen=True)
class _Worst:
    """The same over all sensors; the detail is that of the one that is worst off."""

    above_cap: float
    above_pause: float
    detail: str


def advance(
    state: Heat, reading: GpuReading | None, now: float, policy: HeatPolicy, most_steps: int
) -> Heat:
    """The next state.

    Args:
        reading: None when the card does not answer.
        now: monotonic seconds.
        most_steps: so many steps down is the card's lowest limit.
    """
    worst = None if reading is None else _worst(reading, policy)
    if worst is None:
        return Heat() if now - state.known_at >= policy.forget_seconds else state
    state = dataclasses.replace(state, known_at=now, cool_since=_cool(state, worst, now, policy))
    if state.paused_since is not None:
        return _paused(state, now, policy, most_steps)
    if worst.above_pause >= 0.0:
        return _pause(state, worst, now)
    since = now - state.changed_at
    if worst.above_cap >= 0.0 and (state.steps == 0 or since >= policy.dwell_seconds):
        if state.steps >= most_steps:
            return _pause(state, worst, now)
        return dataclasses.replace(
            state, steps=state.steps + 1, changed_at=now, detail=worst.detail
        )
    calm = state.cool_since is not None and now - state.cool_since >= policy.calm_seconds
    if state.steps and calm and since >= policy.calm_seconds:
        return dataclasses.replace(state, steps=state.steps - 1, changed_at=now)
    return state


def _pause(state: Heat, worst: _Worst, now: float) -> Heat:
    return dataclasses.replace(state, paused_since=now, changed_at=now, detail=worst.detail)


def _paused(state: Heat, now: float, policy: HeatPolicy, most_steps: int) -> Heat:
    """It comes back at the lowest limit, and from there in steps."""
    assert state.paused_since is not None, "only asked while paused"
    if state.cool_since is None or now - state.paused_since < policy.dwell_seconds:
        return state
    return dataclasses.replace(state, paused_since=None, changed_at=now, steps=most_steps)


def _cool(state: Heat, worst: _Worst, now: float, policy: HeatPolicy) -> float | None:
    if worst.above_cap > -policy.hysteresis:
        return None
    return now if state.cool_since is None else state.cool_since


def _worst(reading: GpuReading, policy: HeatPolicy) -> _Worst | None:
    sensors = list(_sensors(reading, policy))
    if not sensors:
        return None
    above_pause = max(sensor.above_pause for sensor in sensors)
    worst = max(sensors, key=lambda sensor: (max(0.0, sensor.above_pause), sensor.above_cap))
    return _Worst(max(sensor.above_cap for sensor in sensors), above_pause, worst.detail)


def _sensors(reading: GpuReading, policy: HeatPolicy) -> Iterator[_Sensor]:
    for name, celsius, cap, pause in (
        ("core", reading.temperature_celsius, policy.core_cap, policy.core_pause),
        ("memory", reading.memory_celsius, policy.memory_cap, policy.memory_pause),
    ):
        if celsius is not None and _SANE_CELSIUS[0] <= celsius <= _SANE_CELSIUS[1]:
            yield _Sensor(celsius - cap, celsius - pause, f"the {name} has {celsius:.0f} °C")
    margin = reading.margin_celsius
    if margin is not None and abs(margin) <= _SANE_CELSIUS[1]:
        detail = f"the hottest spot is {margin:.0f} °C from where the card slows down"
        yield _Sensor(policy.margin_cap - margin, policy.margin_pause - margin, detail)
