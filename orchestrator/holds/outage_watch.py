"""What a power failure asks for: a pure state machine from readings of the UPS to one hold.

1. On battery: computing stops at once, which multiplies what is left in a small battery.
2. After ``debounce_seconds`` (self-tests and dips of a second are usual), at the latest when half
   of the runtime is gone, or with low battery: checkpoint, and give everything back.
3. Mains again: wait until the battery can carry another failure, then go on.
4. A forced shutdown is final until the daemon is started anew.
5. A UPS that falls silent is only trouble if it was on battery: then the worst is assumed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from orchestrator.domain import Effect
from orchestrator.home.ups import UpsReading


@dataclass(frozen=True)
class OutagePolicy:
    """The numbers of the configuration."""

    debounce_seconds: float = 8.0
    #: go on when the battery holds so much again
    recharge_ratio: float = 0.4
    #: the same for a UPS that does not tell its charge, and the longest wait for one that does
    recharge_seconds: float = 1800.0
    #: the checkpoint is taken before the battery lasts only so long
    reserve_seconds: float = 120.0
    #: news that are older count as none
    stale_seconds: float = 30.0


@dataclass(frozen=True)
class Outage:
    """Where the watch stands; times are monotonic seconds."""

    #: since when it is on battery; None on mains
    battery_since: float | None = None
    #: what the battery could carry when the failure began
    runtime_seconds: float | None = None
    #: since when mains are back while the battery is still low; None when that is over
    mains_since: float | None = None
    #: the checkpoint has been asked for in this failure
    released: bool = False
    forced: bool = False


@dataclass(frozen=True)
class Asked:
    """What the watch asks for; ``effect`` None means nothing."""

    effect: Effect | None = None
    detail: str = ""


def advance(
    state: Outage, reading: UpsReading | None, age_seconds: float, now: float, policy: OutagePolicy
) -> tuple[Outage, Asked]:
    """The next state, and what it asks for.

    Args:
        reading: the newest answer of the UPS, or None when there never was one.
        age_seconds: how old it is.
        now: monotonic seconds.
    """
    if state.forced:
        return state, Asked(Effect.RELEASE, "the UPS shuts everything down")
    if reading is None:
        return state, Asked()
    if age_seconds > policy.stale_seconds:
        return _silent(state, now)
    if reading.forced_shutdown:
        return dataclasses.replace(state, forced=True), Asked(
            Effect.RELEASE, "the UPS shuts everything down"
        )
    if reading.on_battery:
        return _on_battery(state, reading, now, policy)
    return _on_mains(state, reading, now, policy)


def _silent(state: Outage, now: float) -> tuple[Outage, Asked]:
    if state.battery_since is None:
        # on mains when last heard of: the doctor says that nobody watches
        return state, _waiting(state)
    state = dataclasses.replace(state, released=True)
    return state, Asked(Effect.RELEASE, "the UPS went silent while on battery")


def _waiting(state: Outage) -> Asked:
    if state.mains_since is None:
        return Asked()
    return Asked(Effect.RELEASE, "mains are back, the battery's charge is not known")


def _on_battery(
    state: Outage, reading: UpsReading, now: float, policy: OutagePolicy
) -> tuple[Outage, Asked]:
    if state.battery_since is None:
        # a failure while the battery still recharges is not waited out
        state = Outage(now, reading.runtime_seconds, released=state.mains_since is not None)
    assert state.battery_since is not None
    seconds = now - state.battery_since
    released = (
        state.released
        or reading.low_battery
        or seconds >= policy.debounce_seconds
        or _runs_out(state, reading, seconds, policy)
    )
    state = dataclasses.replace(state, released=released)
    detail = f"on battery for {seconds:.0f} s{_left(reading)}"
    return state, Asked(Effect.RELEASE if released else Effect.PAUSE, detail)


def _runs_out(state: Outage, reading: UpsReading, seconds: float, policy: OutagePolicy) -> bool:
    left = reading.runtime_seconds
    if left is not None and left <= policy.reserve_seconds:
        return True
    return state.runtime_seconds is not None and seconds >= state.runtime_seconds / 2


def _on_mains(
    state: Outage, reading: UpsReading, now: float, policy: OutagePolicy
) -> tuple[Outage, Asked]:
    if state.battery_since is not None:
        if not state.released:
            return Outage(), Asked()  # a dip
        state = Outage(mains_since=now)
    if state.mains_since is None:
        return state, Asked()
    charged = reading.charge_ratio is not None and reading.charge_ratio >= policy.recharge_ratio
    if charged or now - state.mains_since >= policy.recharge_seconds:
        return Outage(), Asked()
    wanted = f"waiting for {policy.recharge_ratio:.0%} of charge"
    return state, Asked(Effect.RELEASE, f"mains are back, {wanted}{_left(reading)}")


def _left(reading: UpsReading) -> str:
    parts = []
    if reading.charge_ratio is not None:
        parts.append(f"charge {reading.charge_ratio:.0%}")
    if reading.runtime_seconds is not None:
        parts.append(f"{reading.runtime_seconds / 60:.0f} min left")
    return f" ({', '.join(parts)})" if parts else ""
