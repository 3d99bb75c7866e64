"""gpu_busy: somebody else wants the card, so the run makes room until a while after he left."""

from __future__ import annotations

from collections.abc import Callable, Collection

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.home.gpu import Gpu, GpuLost, GpuProcess
from orchestrator.senses import Moment


class BusySense:
    """Looks at who is on the card. A card that does not answer tells nothing: no hold."""

    def __init__(
        self,
        gpu: Gpu,
        ours: Callable[[], Collection[int]],
        *,
        least_bytes: int = 500_000_000,
        names: Collection[str] = (),
        dwell_seconds: float = 120.0,
    ) -> None:
        """Watch ``gpu``.

        Args:
            ours: the process ids that do not count.
            least_bytes: of the card's memory; a desktop with less is no reason to stop.
            names: programs that count however little they take.
            dwell_seconds: how long the hold stays when they are gone, between two levels of a game.
        """
        self._gpu, self._ours = gpu, ours
        self._least_bytes, self._names = least_bytes, frozenset(names)
        self._dwell_seconds = dwell_seconds
        self._held: Hold | None = None
        self._seen = 0.0

    @property
    def dwell_seconds(self) -> float:
        """How long the hold stays when nobody is there any more."""
        return self._dwell_seconds

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        """See ``Sense.look``."""
        guest = self._guest()
        if guest is not None:
            self._seen = moment.monotonic_seconds
            if self._held is None:
                name = guest.name.rsplit("/", 1)[-1] or f"process {guest.pid}"
                self._held = Hold(
                    Reason.GPU_BUSY,
                    Effect.RELEASE,
                    "gpu",
                    moment.now,
                    detail=f"{name} uses the card",
                )
        elif moment.monotonic_seconds - self._seen >= self._dwell_seconds:
            self._held = None
        return (self._held,) if self._held else ()

    def _guest(self) -> GpuProcess | None:
        try:
            processes = self._gpu.processes()
        except GpuLost:
            return None
        ours = self._ours()
        return next(
            (item for item in processes if item.pid not in ours and self._counts(item)), None
        )

    def _counts(self, process: GpuProcess) -> bool:
        if process.name.rsplit("/", 1)[-1] in self._names:
            return True
        return process.memory_bytes is not None and process.memory_bytes >= self._least_bytes
