"""What the trainer's events add up to: the run's progress and the life of its process."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.decide import Told, Trainer
from orchestrator.domain import CheckpointView, Sample
from trainer.contract import messages as m

#: a kill for want of memory explains an end that comes so soon after it, or twice as late
_OOM_NEAR_SECONDS = 30.0
#: weight of the newest step in the smoothed step time; about the last 30 steps count
_SMOOTHING = 1 / 15


@dataclass
class Progress:
    """One run's learning so far. Lives as long as the run is active, over many attempts."""

    run: str
    step: int = 0
    steps: int | None = None
    parameters: int | None = None
    micro: int = 0
    micro_batches: int = 0
    tokens: int = 0
    epoch: float = 0.0
    loss: float | None = None
    bits_per_byte: float | None = None
    bits_per_byte_before: float | None = None
    tokens_per_second: float | None = None
    mfu: float | None = None
    peak_source: str = ""
    #: smoothed wall seconds a step, evaluations and saves included
    step_seconds: float | None = None
    gradient_norm: float | None = None
    lr_multiplier: float | None = None
    checkpoint: CheckpointView | None = None
    #: what a trainer that has left could only keep in memory; None: no more than is on disk
    memory_step: int | None = None
    #: the run's computing time when all of it was on disk last; None before the first Ready
    saved_at_active_seconds: float | None = None
    #: how far apart saves are, why, and what a cut can cost, in the trainer's words
    saves: str = ""
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=64))

    def remember(self, samples: list[Sample]) -> None:
        """Take up the curve that an earlier daemon wrote down."""
        for sample in samples:
            self.losses.append(sample.loss)
        if samples:
            last = samples[-1]
            self.step, self.loss = last.step, last.loss
            self.tokens_per_second = last.tokens_per_second
        for sample in samples:
            if sample.bits_per_byte is not None:
                self.bits_per_byte = sample.bits_per_byte

    def fold(self, event: m.Event, seconds_since_last_step: float | None) -> None:
        """Take one event in. Unknown ones change nothing."""
        match event:
            case m.Stopped():
                self.memory_step = event.memory_step or self.memory_step
            case m.Saved():
                self.memory_step = None
            case m.Notice(kind="saves"):
                self.saves = event.message
            case m.Ready():
                if event.step < (self.memory_step or 0):
                    self.memory_step = None
                self.step, self.steps = event.step, event.steps
                self.parameters, self.peak_source = event.parameters, event.peak_source
                self.micro = 0
            case m.RolledBack():
                self.step, self.micro, self.memory_step = event.to_step, 0, None
            case m.Heartbeat():
                self.micro, self.micro_batches = event.micro, event.micro_batches
            case m.Step():
                self._step(event, seconds_since_last_step)
            case m.Evaluated():
                self.bits_per_byte = event.bits_per_byte
                if event.step == 0:
                    self.bits_per_byte_before = event.bits_per_byte
            case m.Finished():
                self.bits_per_byte_before = event.bits_per_byte_before
                self.bits_per_byte = event.bits_per_byte

    def _step(self, event: m.Step, seconds_since_last_step: float | None) -> None:
        self.step, self.steps, self.tokens = event.step, event.steps, event.tokens
        self.micro, self.epoch, self.loss = 0, event.epoch, event.loss
        self.gradient_norm, self.lr_multiplier = event.gradient_norm, event.lr_multiplier
        self.losses.append(event.loss)
        seconds = seconds_since_last_step or event.seconds
        if self.step_seconds is None:
            self.step_seconds, self.tokens_per_second = seconds, event.tokens_per_second
            self.mfu = event.mfu
            return
        self.step_seconds += (seconds - self.step_seconds) * _SMOOTHING
        smoothed = self.tokens_per_second or event.tokens_per_second
        self.tokens_per_second = smoothed + (event.tokens_per_second - smoothed) * _SMOOTHING
        mfu = event.mfu if self.mfu is None else self.mfu
        self.mfu = mfu + (event.mfu - mfu) * _SMOOTHING

    @property
    def fraction(self) -> float:
        """Finished steps over all steps, 0..1."""
        return min(1.0, self.step / self.steps) if self.steps else 0.0

    def seconds_left(self) -> float | None:
        """Seconds of running until the horizon, or None while nobody can say."""
        if self.steps is None or self.step_seconds is None:
            return None
        return max(0, self.steps - self.step) * self.step_seconds


@dataclass
class Life:
    """One trainer process, from the order to start it until it is gone. Times are monotonic."""

    run: str
    attempt: int
    began: float
    began_at: datetime
    last_event: float
    told: Told = Told.GO
    told_at: float = 0.0
    pid: int | None = None
    ready: m.Ready | None = None
    phase: m.Phase = field(default_factory=lambda: m.Phase("starting"))
    last_step_at: float | None = None
    reached: int | None = None
    last_phase_seen: str = ""
    #: the event by which the trainer announced its own end
    farewell: m.Finished | m.Stopped | m.Failed | None = None
    #: why we killed it, when we did
    killed: str = ""
    killed_for_stall: bool = False
    #: what the kernel had killed for want of memory a while ago; None: not known
    oom_kills: int | None = None
    #: the same later, and when that was
    _oom_kills_since: int | None = None
    _oom_looked_at: float = float("-inf")

    def memory_looked_at(self, oom_kills: int | None, now: float) -> None:
        """Forget old kills: in a life of weeks the kernel may take somebody else long before.

        ``oom_kills``: so many so far. The first look is that at the beginning of the life.
        """
        if now - self._oom_looked_at < _OOM_NEAR_SECONDS:
            return
        first = self._oom_looked_at == float("-inf")
        self.oom_kills = oom_kills if first else self._oom_kills_since
        self._oom_kills_since, self._oom_looked_at = oom_kills, now

    def fold(self, event: m.Event, now: float) -> None:
        """Take one event in; every event is a sign of life."""
        self.last_event = now
        match event:
            case m.Hello():
                self.pid = event.pid
            case m.Ready():
                self.ready, self.reached = event, event.step
                self.phase = m.Phase("train")
            case m.Phase():
                self.phase = event
            case m.Step():
                self.reached, self.last_step_at = event.step, now
                if self.phase.phase not in ("train", "paused"):
                    self.phase = m.Phase("train")
            case m.RolledBack():
                self.reached = event.to_step
            case m.Finished() | m.Stopped() | m.Failed():
                self.farewell = event
                # It leaves by itself; from now on it has as long as one that was told to.
                self.told, self.told_at = Told.STOP, now

    def observed(self, now: float) -> Trainer:
        """As ``decide.reconcile`` wants it."""
        return Trainer(
            run=self.run,
            greeted=self.pid is not None,
            ready=self.ready is not None,
            told=self.told,
            age_seconds=now - self.began,
            silent_seconds=now - self.last_event,
            told_seconds=now - self.told_at,
        )
