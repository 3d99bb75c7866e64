"""What an announced sleep or shutdown asks for: a pure state machine from announcements to a hold.

1. Announced: the trainer saves and ends. It does not wait in memory: a CUDA context may be lost
   after a suspend, and whoever waits in a micro-batch would lose that one anyway.
2. The trainer is gone, or the time that logind gives is nearly over: let go of the delay lock.
3. Over, called off, or long past: go on.

A shutdown is held in the same way, and the daemon itself stays until its SIGTERM comes: one that
left before the shutdown began would be started anew by its unit.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from orchestrator.domain import Reason
from orchestrator.home.logind import Coming, LogindState

#: nothing came of the announcement: a word was lost
_VOID_AFTER_SECONDS = 600.0
#: slept and awake for so long without a word that it is over (systemd#30666). Between a suspend
#: and the hibernation after it a machine is awake for less.
_AWAKE_SECONDS = 10.0
#: of logind's patience
_PATIENCE_RATIO = 0.9
_ASLEEP_SECONDS = 1.0

_DETAILS = {Coming.SLEEP: "the machine goes to sleep", Coming.SHUTDOWN: "the machine shuts down"}
_REASONS = {Coming.SLEEP: Reason.SLEEP, Coming.SHUTDOWN: Reason.DRAIN}
_MEANWHILE = {
    Coming.SLEEP: "the trainer ends after the sleep, and starts anew",
    Coming.SHUTDOWN: "the stop of the service still waits for it",
}
_MAY = {Coming.SLEEP: "sleep", Coming.SHUTDOWN: "shut down"}


@dataclass(frozen=True)
class Watch:
    """The announcement that is being answered; times are seconds that never go back."""

    coming: Coming = Coming.NOTHING
    number: int = 0
    since: float = 0.0
    #: what the machine had slept in all when it was announced
    asleep_before: float = 0.0
    #: since when it is awake again; None: it has not slept yet
    awake_since: float | None = None
    #: whether a trainer ran when it was announced
    had_trainer: bool = False
    let_go: bool = False


@dataclass(frozen=True)
class Entry:
    """For the journal."""

    kind: str
    message: str
    severity: str = "info"


@dataclass(frozen=True)
class Asked:
    """What the watch asks for; ``reason`` None holds nothing."""

    reason: Reason | None = None
    detail: str = ""
    #: number of the announcement that need not wait for us any longer
    let_go: int | None = None
    entry: Entry | None = None


@dataclass(frozen=True)
class Machine:
    """What bears on the answer, besides the announcement."""

    monotonic_seconds: float
    asleep_seconds: float
    trainer_lives: bool


def advance(watch: Watch, known: LogindState, machine: Machine) -> tuple[Watch, Asked]:
    """The next state, and what it asks for."""
    if known.coming is Coming.NOTHING:
        return Watch(), _missed(watch, machine)
    if watch.number != known.number:
        watch = _begin(known, machine)
    elif watch.coming is Coming.NOTHING:
        return watch, Asked()
    watch = _noticed_sleep(watch, machine)
    if _is_void(watch, machine):
        over = Watch(number=known.number)
        return over, dataclasses.replace(_missed(watch, machine), let_go=known.number)
    asked = Asked(_REASONS[watch.coming], _DETAILS[watch.coming])
    if watch.let_go:
        return watch, asked
    entry = _answer(watch, known, machine)
    if entry is None and machine.trainer_lives:
        return watch, asked
    watch = dataclasses.replace(watch, let_go=True)
    return watch, dataclasses.replace(asked, let_go=known.number, entry=entry)


def _begin(known: LogindState, machine: Machine) -> Watch:
    return Watch(
        known.coming,
        known.number,
        machine.monotonic_seconds,
        machine.asleep_seconds,
        had_trainer=machine.trainer_lives,
    )


def _noticed_sleep(watch: Watch, machine: Machine) -> Watch:
    slept = machine.asleep_seconds - watch.asleep_before
    if slept < _ASLEEP_SECONDS:
        return watch
    if watch.awake_since is None:
        return dataclasses.replace(watch, awake_since=machine.monotonic_seconds)
    return watch


def _is_void(watch: Watch, machine: Machine) -> bool:
    now = machine.monotonic_seconds
    if watch.awake_since is not None and now - watch.awake_since >= _AWAKE_SECONDS:
        return True
    return now - watch.since >= _VOID_AFTER_SECONDS


def _answer(watch: Watch, known: LogindState, machine: Machine) -> Entry | None:
    """What to tell when we let go now; None: nothing, or not yet."""
    seconds = machine.monotonic_seconds - watch.since
    if not machine.trainer_lives:
        if not watch.had_trainer:
            return None
        message = f"The trainer has left within {seconds:.1f} s: the machine may"
        return Entry("lock_released", f"{message} {_MAY[watch.coming]}.")
    if not known.waited_for:
        return None
    if known.delay_seconds is None or seconds < known.delay_seconds * _PATIENCE_RATIO:
        return None
    return _too_slow(watch, f"within the {known.delay_seconds:.0f} s that logind waits")


def _missed(watch: Watch, machine: Machine) -> Asked:
    """It is over, and we had never let go: perhaps it did not wait for us."""
    slept = machine.asleep_seconds - watch.asleep_before >= _ASLEEP_SECONDS
    if watch.coming is not Coming.SLEEP or watch.let_go or not slept or not machine.trainer_lives:
        return Asked()
    return Asked(entry=_too_slow(watch, "before the machine slept"))


def _too_slow(watch: Watch, when: str) -> Entry:
    message = (
        f"The checkpoint was not done {when}; {_MEANWHILE[watch.coming]}. "
        "homerun doctor tells how to make it wait longer."
    )
    return Entry("lock_ran_out", message, "warning")
