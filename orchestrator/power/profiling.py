"""The profiler in its place: what it watches, and where its results go."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.home.gpu import Gpu
from orchestrator.piloting.navigator import Navigator
from orchestrator.power.level_speed import Mark
from orchestrator.power.profiler import LevelResult, Profiler, Watched
from orchestrator.supervisor import Supervisor


def profiler_of(gpu: Gpu, supervisor: Supervisor, navigator: Navigator) -> Profiler:
    """A profiler of the run that ``supervisor`` trains; ``navigator`` plans with what it finds."""

    def keep(run: str, results: Sequence[LevelResult], source: str) -> None:
        # A model of a card would teach the plan what no card does.
        if gpu.source != "simulated":
            navigator.learn(run, results, source)

    def tell(kind: str, message: str) -> None:
        supervisor.journal(kind, message)

    return Profiler(gpu, lambda: watched(supervisor), keep, tell)


def watched(supervisor: Supervisor) -> Watched | None:
    """The run while its trainer computes; None while there is none that does."""
    life, progress = supervisor.life, supervisor.progress
    if not supervisor.computing or life is None or progress is None or progress.run != life.run:
        return None
    return Watched(
        life.run,
        life.attempt,
        life.phase.phase,
        Mark(life.last_event, progress.step, progress.micro, progress.micro_batches),
        supervisor.power,
        supervisor.board.snapshot().holds,
    )
