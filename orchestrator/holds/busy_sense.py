"""gpu_busy: somebody else wants the card, so the run makes room until a while after he left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.domain import Hold, Reason
from orchestrator.holds.pause_depth import break_even_seconds, pause_depth
from orchestrator.holds.senses import Moment
from orchestrator.home.gpu import Gpu, GpuLost, GpuProcess


@dataclass(frozen=True)
class BusyPolicy:
    """The numbers of the configuration."""

    #: of the card's memory; a desktop with less is no reason to stop
    least_bytes: int = 500_000_000
    #: programs that count however little they take
    names: frozenset[str] = frozenset()
    #: programs that never count: the desktop, a browser
    ignored: frozenset[str] = frozenset()
    #: a guest who is gone sooner was none
    start_seconds: float = 0.0
    #: how long the hold stays when they are gone, between two levels of a game
    dwell_seconds: float = 120.0
    #: how long guests stay as a rule
    expected_seconds: float = 3600.0
    #: what lasts longer gets the card's memory too
    release_after_seconds: float = break_even_seconds()


class BusySense:
    """Looks at who is on the card. A card that does not answer tells nothing new."""

    def __init__(
        self, gpu: Gpu, is_ours: Callable[[int], bool], policy: BusyPolicy | None = None
    ) -> None:
        """Watch ``gpu``; the processes that are ours do not count."""
        self._gpu, self._is_ours = gpu, is_ours
        self._policy = policy or BusyPolicy()
        self._held: Hold | None = None
        #: monotonic seconds: when he came, when he was there last
        self._came: float | None = None
        self._seen = 0.0

    @property
    def dwell_seconds(self) -> float:
        """How long the hold stays when nobody is there any more."""
        return self._policy.dwell_seconds

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        """See ``Sense.look``."""
        now, policy = moment.monotonic_seconds, self._policy
        guest = self._guest()
        if guest is not None:
            self._came = now if self._came is None else self._came
            self._seen = now
            if self._held is not None or now - self._came >= policy.start_seconds:
                self._held = self._hold(moment, guest)
        elif self._held is None or now - self._seen >= policy.dwell_seconds:
            self._held = self._came = None
        return (self._held,) if self._held else ()

    def _hold(self, moment: Moment, guest: GpuProcess) -> Hold:
        assert self._came is not None, "there is a guest"
        lasted = moment.monotonic_seconds - self._came
        policy = self._policy
        effect = pause_depth(max(policy.expected_seconds, lasted), policy.release_after_seconds)
        if self._held is not None and effect.depth <= self._held.effect.depth:
            return self._held
        name = _short(guest) or f"process {guest.pid}"
        return Hold(Reason.GPU_BUSY, effect, "gpu", moment.now, detail=f"{name} uses the card")

    def _guest(self) -> GpuProcess | None:
        try:
            processes = self._gpu.processes()
        except GpuLost:
            return None
        # The cheap question first: the desktop's own processes are there all the time.
        return next(
            (item for item in processes if self._counts(item) and not self._is_ours(item.pid)), None
        )

    def _counts(self, process: GpuProcess) -> bool:
        name = _short(process)
        if name in self._policy.names:
            return True
        if name in self._policy.ignored or process.memory_bytes is None:
            return False
        return process.memory_bytes >= self._policy.least_bytes


def _short(process: GpuProcess) -> str:
    """The program's own name; NVML may tell its path, and arguments behind it."""
    return process.name.split(" -")[0].rsplit("/", 1)[-1]
