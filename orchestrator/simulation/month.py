"""The loop: from event to event, with the daemon's own supervisor ticking at each."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from orchestrator.decide import Policy
from orchestrator.domain import DaemonView, Effect, Hold, RunState, Snapshot
from orchestrator.engine.base import Notify
from orchestrator.holds.busy_sense import BusySense
from orchestrator.home.clock import FakeClock
from orchestrator.home.gpu import GpuProcess
from orchestrator.home.limiter import GpuLimiter, may_set_limit
from orchestrator.home.meter import FakeMeter
from orchestrator.home.simulated_gpu import SimulatedGpu
from orchestrator.paths import Paths
from orchestrator.piloting.pilot import Pilot, Prices, Running
from orchestrator.piloting.steering import follow, outage_hours
from orchestrator.planning.levels import assumed_speed
from orchestrator.planning.measured import Reading
from orchestrator.planning.online import Goal
from orchestrator.planning.problem import Slot
from orchestrator.simulation.events import Span
from orchestrator.simulation.market import Truth
from orchestrator.simulation.trainer import Disk, Habits, SimulatedEngine
from orchestrator.simulation.wish import Wish
from orchestrator.store import Store
from orchestrator.supervisor import Supervisor, Wake
from trainer.contract import spec as run_spec

RUN = "month"
#: the supervisor has settled long before
_MOST_TICKS = 12
#: it looks at the run at least so often
_LONGEST = timedelta(hours=1)
_GAME = GpuProcess(4711, "game", 6_000_000_000)


class MarketPrices(Prices, Protocol):
    """Prices, and when there is news of them."""

    currency: str

    def next_news(self, now: datetime) -> datetime | None:
        """When something is published next."""


@dataclass(frozen=True)
class Stretch:
    """Time in which nothing changed."""

    start: datetime
    end: datetime
    #: train, load, paused, off, outage
    doing: str
    limit_watts: float | None
    holds: tuple[str, ...]
    wall_watts: float
    price: float

    @property
    def hours(self) -> float:
        """How long."""
        return (self.end - self.start) / timedelta(hours=1)

    @property
    def kilowatt_hours(self) -> float:
        """Energy at the wall."""
        return self.wall_watts / 1000.0 * self.hours


@dataclass
class Diary:
    """All that happened."""

    stretches: list[Stretch] = field(default_factory=list)
    hold_hours: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    finish: datetime | None = None
    starts: int = 0
    outages: int = 0
    plans: int = 0
    worst_gap: float = 0.0
    work_lost_seconds: float = 0.0
    work_done_hours: float = 0.0

    @property
    def cost(self) -> float:
        """Money, at the prices that were paid."""
        return sum(item.kilowatt_hours * item.price for item in self.stretches)

    @property
    def kilowatt_hours(self) -> float:
        """Energy at the wall."""
        return sum(item.kilowatt_hours for item in self.stretches)


class Month:
    """Simulates one wish."""

    def __init__(
        self,
        wish: Wish,
        start: datetime,
        prices: MarketPrices,
        truth: Sequence[Slot],
        outages: Sequence[Span],
        games: Sequence[Span],
    ) -> None:
        self._wish, self._prices, self._truth = wish, prices, Truth(truth)
        self._start, self._end = start, wish.end(start)
        self._outages, self._games = list(outages), list(games)
        self._goal = Goal(wish.work_hours, start, wish.deadline(start))
        self._clock = FakeClock(start)
        self._gpu = SimulatedGpu(self._clock, wish.limits, permitted=wish.may_limit)
        self._disk = Disk()
        self._boots = 0
        self._level_since = start
        self.diary = Diary()

    def run(
        self, folder: Path | None = None, look: Callable[[datetime], None] = lambda now: None
    ) -> Diary:
        """Until the run is finished or the time is over.

        Args:
            folder: where the store lies; None is a directory in memory that is gone afterwards.
            look: called whenever something has happened.
        """
        self._look = look
        with _scratch() if folder is None else nullcontext(folder) as root:
            self._root = root
            self._store = Store.open(f"sqlite:///{root / 'homerun.sqlite'}")
            try:
                self._boot()
                with self._store.transaction() as tx:
                    tx.runs.add(run_spec.from_dict(_spec(self._wish)), 0, self._start)
                self._supervisor.inbox.put(Wake())
                self._until_the_end()
            finally:
                self._store.close()
        diary = self.diary
        diary.work_lost_seconds = self._disk.lost_seconds
        diary.work_done_hours = self._engine.done_seconds / 3600.0
        return diary

    def _until_the_end(self) -> None:
        while self._clock.now() < self._end:
            self._guests()
            self._settle()
            self._look(self._clock.now())
            if self._finished():
                self.diary.finish = self._clock.now()
                break
            self._pass_until(self._next_event())
            outage = next((o for o in self._outages if o.start <= self._clock.now() < o.end), None)
            if outage is not None:
                self._outage(outage)
        self.diary.starts += self._engine.starts

    # --- the house --------------------------------------------------------------------------

    def _boot(self) -> None:
        """The machine starts, and the daemon with it: nothing is known but what is stored."""
        self._boots += 1
        wish, limits = self._wish, self._wish.limits
        self._gpu.reload_driver()
        self._limiter = GpuLimiter(self._gpu)
        self._pilot = Pilot(
            self._goal,
            wish.machine,
            self._prices,
            currency=self._prices.currency,
            default_watts=limits.default_watts if may_set_limit(self._gpu) else None,
            rules=wish.rules,
            lost_hours=outage_hours(self._store, RUN),
        )
        self._busy = BusySense(self._gpu, lambda pid: False)
        self._supervisor = Supervisor(
            store=self._store,
            engine=self._make_engine,
            clock=self._clock,
            meter=FakeMeter(0.0, measured=False),
            policy=Policy(),
            paths=Paths(self._root),
            daemon=DaemonView(1, "simulated", self._clock.now(), "", "", "simulated", "off"),
            boot_id=f"boot-{self._boots}",
            senses=(self._pilot, self._busy),
        )
        self._supervisor.recover()

    def _make_engine(self, notify: Notify) -> SimulatedEngine:
        wish = self._wish
        habits = Habits(
            wish.work_hours * 3600.0,
            min(wish.step_seconds, wish.work_hours * 36.0),
            wish.save_every_seconds,
            wish.restart_seconds,
        )
        self._engine = SimulatedEngine(
            notify, self._clock, self._gpu, self._rate, self._disk, habits
        )
        return self._engine

    def _rate(self) -> float:
        return assumed_speed(self._gpu.limit_watts / self._wish.limits.default_watts)

    def _guests(self) -> None:
        now = self._clock.now()
        playing = any(game.start <= now < game.end for game in self._games)
        self._gpu.others[:] = [_GAME] if playing else []

    def _outage(self, outage: Span) -> None:
        """The daemon dies without a word, and comes back when the mains do."""
        self._engine.crash()
        self.diary.starts += self._engine.starts
        self.diary.outages += 1
        self._write(min(outage.end, self._end), "outage", ("outage",), 0.0)
        self._clock.advance((outage.end - self._clock.now()).total_seconds())
        self._boot()

    # --- time -------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Ticks until nothing more comes of them, as the daemon's main loop does."""
        supervisor = self._supervisor
        for _ in range(_MOST_TICKS):
            before = self._engine.calls
            self._hear()
            self._consider()
            supervisor.tick()
            self._engine.advance()
            news = follow(self._limiter, supervisor.board.snapshot())
            assert not news or not self._wish.may_limit, news
            self._hear()
            if self._engine.calls == before and supervisor.inbox.empty():
                return

    def _hear(self) -> None:
        inbox = self._supervisor.inbox
        while not inbox.empty():
            self._supervisor.take(inbox.get())

    def _consider(self) -> None:
        progress, life = self._supervisor.progress, self._supervisor.life
        if progress is None or self._disk.saved_seconds >= self._wish.work_hours * 3600.0:
            return
        step_hours = self._wish.work_hours / max(1, self._engine.steps)
        left = max(0.0, self._wish.work_hours - progress.step * step_hours)
        loaded = life is not None and life.ready is not None
        on = life is not None and life.phase.phase != "paused"
        news = self._pilot.consider(self._clock.now(), Running(left, on, loaded))
        if news:
            self._supervisor.journal("planned", news, run=RUN)
            self.diary.plans += 1
            incumbent = self._pilot.incumbent
            if incumbent is not None and incumbent.plan.gap is not None:
                self.diary.worst_gap = max(self.diary.worst_gap, incumbent.plan.gap)

    def _next_event(self) -> datetime:
        now = self._clock.now()
        dwell = timedelta(seconds=self._busy.dwell_seconds)
        moments = [now + _LONGEST, self._end, self._prices.next_news(now)]
        moments += [self._pilot.next_change(now)]
        # The last look at a guest is just before he leaves, as when one looks every second.
        moments += [game.end - timedelta(seconds=1) for game in self._games]
        moments += [
            edge for game in self._games for edge in (game.start, game.end, game.end + dwell)
        ]
        moments += [outage.start for outage in self._outages]
        left = self._engine.seconds_to_event()
        if left is not None:
            # A little later, so that it is really over then.
            moments.append(now + timedelta(seconds=left + 0.001))
        return min(moment for moment in moments if moment is not None and moment > now)

    def _pass_until(self, moment: datetime) -> None:
        snapshot = self._supervisor.board.snapshot()
        seconds = (moment - self._clock.now()).total_seconds()
        doing = self._doing(snapshot)
        reasons = tuple(hold.reason.value for hold in snapshot.holds if _holds(hold))
        watts = self._wall_watts(doing)
        self._write(moment, doing, reasons, watts)
        self._gpu.pass_time()
        self._clock.advance(seconds)
        self._gpu.pass_time()
        self._engine.advance()
        if doing == "train":
            self._observe(seconds, watts)

    def _write(self, until: datetime, doing: str, reasons: tuple[str, ...], watts: float) -> None:
        now = self._clock.now()
        limit = self._gpu.limit_watts if doing in ("train", "load") else None
        for begin, end, price in self._truth.between(now, until):
            self.diary.stretches.append(Stretch(begin, end, doing, limit, reasons, watts, price))
        for reason in dict.fromkeys(reasons):
            self.diary.hold_hours[reason] += (until - now) / timedelta(hours=1)

    def _doing(self, snapshot: Snapshot) -> str:
        if self._engine.computing:
            life = self._supervisor.life
            return "train" if life is not None and life.ready is not None else "load"
        return "paused" if self._supervisor.life is not None else "off"

    def _wall_watts(self, doing: str) -> float:
        machine = self._wish.machine
        if doing in ("train", "load"):
            limit = self._gpu.limit_watts if self._wish.may_limit else None
            for level in machine.levels:
                if limit is None or level.limit_watts is None or abs(level.limit_watts - limit) < 1:
                    return level.wall_watts
        return machine.pauses[0 if doing == "paused" else -1].idle_watts

    def _observe(self, seconds: float, watts: float) -> None:
        limit = self._gpu.limit_watts if self._wish.may_limit else None
        self._pilot.observe(Reading(limit, 1000.0 * self._rate(), watts, seconds))

    def _finished(self) -> bool:
        if self._disk.saved_seconds < self._wish.work_hours * 3600.0 or self._supervisor.life:
            return False
        with self._store.transaction() as tx:
            run = tx.runs.get(RUN)
        return run is not None and run.state is RunState.FINISHED


def _holds(hold: Hold) -> bool:
    return hold.effect is not Effect.RUN


def _spec(wish: Wish) -> dict[str, object]:
    step_seconds = min(wish.step_seconds, wish.work_hours * 36.0)
    return {
        "name": RUN,
        "model": {"depth": 1, "vocab_size": 512, "sequence_length": 32},
        "train": {
            "steps": round(wish.work_hours * 3600.0 / step_seconds),
            "batch_tokens": 64,
            "micro_batch": 2,
            "precision": "fp32",
        },
    }


@contextmanager
def _scratch() -> Iterator[Path]:
    """A directory in memory where there is one: the store syncs every transaction."""
    shared = Path("/dev/shm")  # noqa: S108 - only as the parent of a private directory
    parent = str(shared) if os.access(shared, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="homerun-", dir=parent) as folder:
        yield Path(folder)
