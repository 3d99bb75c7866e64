"""An engine without processes: its trainer makes progress at the rate of the power limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.engine.base import EngineReady, Notify, TrainerEvent, TrainerExited
from orchestrator.home.clock import Clock
from orchestrator.home.simulated_gpu import SimulatedGpu
from trainer.contract import messages as m
from trainer.contract.job import Job

#: every save counts, but hardly anybody wants to hear of each in a simulated month
_TELL_EVERY_SECONDS = 6 * 3600.0
#: more than any limit: a trainer takes what it gets
_WANTS_WATTS = 1000.0


@dataclass
class Disk:
    """What a power cut leaves: seconds of work at full speed that a checkpoint holds."""

    saved_seconds: float = 0.0
    #: over all lives: work that had to be done again
    lost_seconds: float = 0.0


@dataclass(frozen=True)
class Habits:
    """How the trainer goes about it, in seconds; a step as long as it takes at full speed."""

    work_seconds: float
    step_seconds: float
    save_every_seconds: float
    restart_seconds: float


class SimulatedEngine:
    """See ``Engine``. Time passes only in ``advance``; a fresh run has nothing to load."""

    def __init__(
        self,
        notify: Notify,
        clock: Clock,
        gpu: SimulatedGpu,
        rate: Callable[[], float],
        disk: Disk,
        habits: Habits,
    ) -> None:
        self._notify, self._clock, self._gpu = notify, clock, gpu
        self._rate, self._disk, self._habits = rate, disk, habits
        self._attempt: int | None = None
        self._run = ""
        self._open = False
        self._paused = False
        self._loading = 0.0
        self._ready = False
        self._done = 0.0
        self._told_steps = 0
        self._saved_at = self._told_at = 0.0
        self._seen = clock.monotonic()
        self.starts = 0
        #: grows with every call that changes something
        self.calls = 0
        gpu.wanted_watts = lambda: _WANTS_WATTS if self.computing else 0.0

    @property
    def computing(self) -> bool:
        """Whether the card is busy with us."""
        return self._attempt is not None and not self._paused

    @property
    def done_seconds(self) -> float:
        """Work done at full speed, saved or not."""
        return self._done if self._attempt is not None else self._disk.saved_seconds

    def seconds_to_event(self) -> float | None:
        """Until it is loaded or finished; None when it does not compute."""
        if not self.computing:
            return None
        if self._loading > 0.0:
            return self._loading
        return max(0.0, self._habits.work_seconds - self._done) / self._rate()

    # --- what the supervisor calls ----------------------------------------------------------

    def open(self) -> None:
        """See ``Engine.open``: it is ready at once."""
        self.calls += 1
        self._open = True
        self._notify(EngineReady({}))

    def start(self, job: Job) -> None:
        """See ``Engine.start``."""
        self.calls += 1
        self.starts += 1
        self._gpu.pass_time()
        self._attempt, self._run = job.attempt, job.spec.name
        self._paused = self._ready = False
        self._done = self._disk.saved_seconds
        self._loading = self._habits.restart_seconds if self._done > 0.0 else 0.0
        self._saved_at = self._seen = self._clock.monotonic()
        self._say(m.Hello(self._run, job.attempt, 1))
        if self._loading <= 0.0:
            self._get_ready()
        else:
            self._say(m.Phase("load"))

    def command(self, command: m.Command) -> None:
        """See ``Engine.command``."""
        self.calls += 1
        self._gpu.pass_time()
        match command:
            case m.Pause():
                self._paused = True
                self._say(m.Phase("paused"))
            case m.Resume():
                self._paused = False
                self._say(m.Phase("train"))
            case m.Save():
                self._save("request", command.request)
            case m.Stop() | m.Finish():
                self._save("stop")
                self._say(m.Stopped(self._step(self._disk.saved_seconds), "stop"))
                self._exit("exit code 0")

    def kill(self, why: str) -> None:
        """See ``Engine.kill``."""
        self.calls += 1
        self._exit(why)

    def shutdown(self) -> None:
        """See ``Engine.shutdown``."""
        self.calls += 1
        self.crash()
        self._open = False

    # --- time -------------------------------------------------------------------------------

    def advance(self) -> None:
        """Compute up to now; call it before anything changes, at ``seconds_to_event`` at latest."""
        now = self._clock.monotonic()
        seconds, self._seen = now - self._seen, now
        if self._attempt is None:
            return
        self._say(m.Heartbeat(self._told_steps, 0, 1))
        if self._paused:
            return
        loading = min(self._loading, seconds)
        self._loading -= loading
        if self._loading > 1e-6:
            return
        if not self._ready:
            self._get_ready()
        rate = self._rate()
        self._done = min(self._habits.work_seconds, self._done + (seconds - loading) * rate)
        self._tell_steps(rate)
        self._save_on_schedule(now, rate)
        if self._done >= self._habits.work_seconds - 1e-3:
            self._finish()

    def crash(self) -> None:
        """The power fails, or the process is killed: what no checkpoint holds is lost."""
        self._gpu.pass_time()
        if self._attempt is not None:
            self._disk.lost_seconds += max(0.0, self._done - self._disk.saved_seconds)
        self._attempt = None

    # --- inside -----------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """All steps of the run."""
        return round(self._habits.work_seconds / self._habits.step_seconds)

    def _step(self, seconds: float) -> int:
        return min(self.steps, int(seconds / self._habits.step_seconds + 1e-6))

    def _get_ready(self) -> None:
        self._ready, self._loading = True, 0.0
        self._told_steps = self._step(self._done)
        checkpoint = f"gen-{self._told_steps:08}" if self._told_steps else ""
        self._say(m.Ready(self._told_steps, self.steps, 1, 1.0, checkpoint, {}, 1.0, "simulated"))

    def _tell_steps(self, rate: float) -> None:
        seconds = self._habits.step_seconds / rate
        while self._told_steps < self._step(self._done):
            self._told_steps += 1
            step, tokens = self._told_steps, self._told_steps * 1000
            speed = 1000.0 / seconds
            self._say(m.Step(step, self.steps, tokens, 0.0, 0.0, 0.0, 1.0, seconds, speed, 0.0, {}))

    def _save_on_schedule(self, now: float, rate: float) -> None:
        """The newest of the saves that were due meanwhile; older ones need not be told."""
        behind = now - self._saved_at
        if behind < self._habits.save_every_seconds:
            return
        since = behind % self._habits.save_every_seconds
        self._saved_at = now - since
        self._keep(self._done - since * rate)
        if now - self._told_at >= _TELL_EVERY_SECONDS:
            self._tell_saved("schedule", "")

    def _save(self, reason: str, request: str = "") -> None:
        if not self._ready:
            return
        self._saved_at = self._clock.monotonic()
        self._keep(self._done)
        self._tell_saved(reason, request)

    def _keep(self, done: float) -> None:
        whole = self._step(done) * self._habits.step_seconds
        self._disk.saved_seconds = max(self._disk.saved_seconds, whole)

    def _tell_saved(self, reason: str, request: str) -> None:
        step = self._step(self._disk.saved_seconds)
        self._told_at = self._clock.monotonic()
        self._say(m.Saved(step, f"gen-{step:08}", 1, 0.0, reason, request))

    def _finish(self) -> None:
        self._disk.saved_seconds = self._habits.work_seconds
        self._say(m.Finished(self.steps, 0.0, 0.0, "", f"gen-{self.steps:08}"))
        self._exit("exit code 0")

    def _exit(self, cause: str) -> None:
        attempt = self._attempt
        self.crash()
        if attempt is not None:
            self._notify(TrainerExited(attempt, cause))

    def _say(self, event: m.Event) -> None:
        assert self._attempt is not None, "only a trainer that lives speaks"
        self._notify(TrainerEvent(self._attempt, event))
