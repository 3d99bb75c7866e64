"""gpu_lost: the card fell off the bus, or its driver is gone. Only a new process finds it again.

Told by its silence, or by an Xid event of its driver, which comes at once.

The trainer is stopped, the daemon leaves with an exit code of its own, and the unit or the
container starts it anew. A mark in the state directory makes that happen once: where the card is
still gone afterwards the daemon stays, holds the run, keeps the alert up, and looks again, instead
of going round in a circle that nobody notices.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.holds.senses import Moment
from orchestrator.home.clock import Clock
from orchestrator.home.gpu import Gpu, GpuLost, GpuProcess, GpuReading, PowerLimits
from orchestrator.home.poller import Poller
from orchestrator.power.xid_watch import XidWatch

log = logging.getLogger(__name__)

#: what the unit or the container sees; no other end of the daemon has it (EX_IOERR)
EXIT_GPU_LOST = 74
#: the card is asked so often
POLL_SECONDS = 5.0


@dataclass(frozen=True)
class LossPolicy:
    """When a card that does not answer counts as lost."""

    #: a driver that is busy with a reset of the card comes back within seconds
    after_seconds: float = 15.0
    #: one question that takes so long: the driver hangs
    hung_seconds: float = 30.0
    #: a restart for the same loss comes so seldom at most
    again_seconds: float = 3600.0


class GpuLoss:
    """A sense with a thread of its own, for a driver that hangs keeps whoever asks it waiting."""

    def __init__(
        self,
        gpu: Gpu,
        mark: Path,
        clock: Clock,
        policy: LossPolicy | None = None,
        xids: XidWatch | None = None,
    ) -> None:
        """``mark``: a file that tells the next daemon that this one left for a lost card."""
        self._gpu = gpu
        self._mark = mark
        self._clock = clock
        self._policy = policy or LossPolicy()
        self._xids = xids or XidWatch((), clock)
        self._lock = threading.Lock()
        #: since when there is no answer, by monotonic seconds; None: it answers
        self._silent_since: float | None = None
        self._asked_at: float | None = None
        self._words = ""
        self._held: Hold | None = None
        self._poller: Poller | None = None
        #: the daemon should end, for a new process to look for the card
        self.leaves = False

    def start(self, every_seconds: float = POLL_SECONDS) -> None:
        """Ask again and again."""
        self._poller = Poller("gpu-loss", self.ask, every_seconds)

    def close(self) -> None:
        """Ask no more. An answer that never comes is not waited for."""
        if self._poller is not None and self._asked_at is None:
            self._poller.close()

    def ask(self) -> None:
        """Ask the card once."""
        with self._lock:
            self._asked_at = self._clock.monotonic()
        try:
            self._gpu.read()
            words = ""
        except GpuLost as error:
            words = str(error) or "no answer"
        with self._lock:
            asked, self._asked_at = self._asked_at, None
            if not words:
                self._silent_since = None
            elif self._silent_since is None:
                self._silent_since = asked
            self._words = words

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        """See ``Sense.look``."""
        xid = self._xids.lost
        silence = self._lost(moment.monotonic_seconds)
        words = f"the driver reports {xid}" if xid else silence
        if not words:
            if self._held is not None:
                log.warning("the card answers again")
            self._held = None
        elif self._held is None:
            self._held = Hold(
                Reason.GPU_LOST,
                Effect.RELEASE,
                "gpu",
                moment.now,
                detail=words,
            )
            self._leave_once()
        elif xid and not self.leaves and self._mark_age() >= self._policy.again_seconds:
            # whatever the card answers now, only a new process may use it again
            self._leave_once()
        return (self._held,) if self._held else ()

    def _lost(self, now: float) -> str:
        with self._lock:
            if self._asked_at is not None and now - self._asked_at >= self._policy.hung_seconds:
                return "the card does not answer: the driver hangs"
            silent = self._silent_since
            if silent is not None and now - silent >= self._policy.after_seconds:
                return f"the card does not answer: {self._words}"
        return ""

    def _leave_once(self) -> None:
        """Leave for a restart, unless one just now did not help."""
        if self._mark_age() < self._policy.again_seconds:
            log.error("the card is lost and a restart did not find it: a reboot may")
            return
        try:
            self._mark.write_text("a restart looks for the card\n", encoding="utf-8")
        except OSError as error:
            # without it the next daemon would leave too, round and round
            log.error("%s cannot be written (%s): no restart for the lost card", self._mark, error)
            return
        self.leaves = True

    def _mark_age(self) -> float:
        """Seconds since a daemon left for a lost card; none, or a clock that was set: long ago."""
        try:
            age = self._clock.now().timestamp() - self._mark.stat().st_mtime
        except OSError:
            return float("inf")
        return age if age >= 0 else float("inf")


class MissingGpu:
    """A card that was there until the last daemon lost it; looked for at each question."""

    source = "nvml"

    def __init__(self, find: Callable[[], Gpu | None]) -> None:
        self._find = find
        self._found: Gpu | None = None

    def limits(self) -> PowerLimits | None:
        return self._card().limits()

    def read(self) -> GpuReading:
        return self._card().read()

    def processes(self) -> tuple[GpuProcess, ...]:
        return self._card().processes()

    def set_limit(self, watts: float) -> None:
        self._card().set_limit(watts)

    def _card(self) -> Gpu:
        self._found = self._found or self._find()
        if self._found is None:
            raise GpuLost(
                "it is not found any more (nvidia-smi tells more, a reboot may help; "
                "remove gpu-lost from the state directory if there is no card any more)"
            )
        return self._found
