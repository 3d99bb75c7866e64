"""The tick: sense, decide, act. One thread, one inbox; everybody else leaves notes there."""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from orchestrator import decide as d
from orchestrator import recovery
from orchestrator.board import Board
from orchestrator.books import Books
from orchestrator.crew import Crew
from orchestrator.domain import (
    DaemonView,
    Power,
    Register,
    Run,
    Setpoint,
)
from orchestrator.engine.base import (
    Engine,
    EngineLost,
    EngineReady,
    Note,
    TrainerEvent,
    TrainerExited,
)
from orchestrator.holds.senses import Moment, Sense
from orchestrator.holds.sensing import Sensing
from orchestrator.home.clock import Clock
from orchestrator.home.meter import Meter
from orchestrator.home.oom import KernelOom, OomCounter
from orchestrator.inbox import Count as Count
from orchestrator.inbox import Item as Item
from orchestrator.inbox import Wake as Wake
from orchestrator.ledger.keeper import LedgerKeeper, NoPrices
from orchestrator.listener import Listener
from orchestrator.orders import Orders, SaveOrder, nobody_to_save
from orchestrator.outage import UNWRITTEN_SECONDS, Beat, Outage
from orchestrator.paths import Paths
from orchestrator.power.throttle import NoThrottle, Throttle
from orchestrator.power.xid_watch import XidNews, XidWatch
from orchestrator.progress import Life, Progress
from orchestrator.registrar import Registrar
from orchestrator.shelf import Shelf
from orchestrator.store import Store, StoreFailed
from orchestrator.timekeeping import Timekeeper
from orchestrator.view import Figures, Situation, build, most_lost_seconds, unsaved_seconds
from trainer.contract import messages as m

#: the longest that counters and curve points wait in memory
FLUSH_SECONDS = UNWRITTEN_SECONDS
#: words of the trainer that come all the time and write nothing into the store by themselves
_ROUTINE = (m.Heartbeat, m.Phase, m.Step)


class Supervisor:
    """Owns the run, the trainer's life and the snapshot. Not thread-safe but for ``inbox``."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Callable[[Callable[[Note], None]], Engine],
        clock: Clock,
        meter: Meter,
        policy: d.Policy,
        paths: Paths,
        daemon: DaemonView,
        boot_id: str,
        senses: Sequence[Sense] = (),
        ledger: LedgerKeeper | None = None,
    ) -> None:
        self.inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.store = store
        self.clock = clock
        self.paths = paths
        self.draining = False
        self.hurried = False
        self.policy = policy
        self._meter = meter
        self._sensing = Sensing(senses, self.journal)
        self.registrar = Registrar(store)
        self._daemon = daemon
        self._boot_id = boot_id
        self.crew = Crew(self, engine(self.inbox.put), clock)
        self.ledger = ledger or LedgerKeeper(NoPrices())
        self.timekeeper = Timekeeper(store, clock, lambda *total: self.books.count(*total))
        self.books = self._new_books()
        #: what the last daemon could not see, until training goes on
        self.outage: Outage | None = None
        self.life: Life | None = None
        self.progress: Progress | None = None
        self.listener = Listener(self)
        self._last_tick = clock.monotonic()
        self._last_flush = clock.monotonic()
        self.board = Board()
        self.orders = Orders()
        #: called after every tick, for the watchdog and for an end that is waited for
        self.after_tick: Callable[[], None] = lambda: None
        #: obeys caps where the card's limit cannot be set
        self.throttle: Throttle = NoThrottle()
        #: it pauses for a part of a minute: nothing to write down
        self.cycling = False
        #: what must outlive the store is written beside it: after every command and every flush
        self.keep_roster: Callable[[], None] = lambda: None
        #: the plan and the bills that the snapshot shows
        self.figures: Callable[[], Figures] = lambda: Figures()
        #: tells whether a SIGKILL was the kernel's, for want of memory
        self.oom: OomCounter = KernelOom()
        #: tells what the card's driver reported shortly before an end
        self.xids = XidWatch((), clock)
        #: who looks after the checkpoints
        self.shelf = Shelf()
        self._situation = Situation()

    # --- life of the daemon -----------------------------------------------------------------

    def recover(self) -> None:
        """Take over from the last daemon. Nothing of it may live any more."""
        now = self.clock.now()
        beat = Beat(now, self._boot_id, self._uptime())
        self.outage = recovery.close_open_attempts(self.store, beat)
        with self.store.transaction() as tx:
            runs = tx.runs.all()
        recovery.index_checkpoints(self.store, runs, self.paths.runs, now)
        self.books = self._new_books()
        self.books.flush(now)
        self._look()
        self.keep_roster()
        self._publish()

    def _new_books(self) -> Books:
        return Books(self.store, self._boot_id, self.ledger, self._uptime)

    def _uptime(self) -> float:
        return self.clock.monotonic() + self.clock.asleep()

    def drain(self) -> None:
        """Ask for a checkpoint and an end. Safe in a signal handler."""
        self.draining = True
        self.inbox.put(Wake())

    def hurry(self) -> None:
        """Wait for the checkpoint of a drain no longer. Safe in a signal handler."""
        self.hurried = True
        self.inbox.put(Wake())

    def close(self) -> None:
        """Write everything down; nothing of ours runs any more afterwards, whatever happened."""
        try:
            self.books.flush(self.clock.now(), last=True)
        finally:
            self.crew.close()
        self._publish()

    # --- the tick ---------------------------------------------------------------------------

    def tick(self) -> None:
        """Sense, decide, act, and show.

        Raises:
            StoreFailed: it could not be asked or written; what is known without it is shown.
        """
        try:
            self._work()
        except StoreFailed as error:
            self.cannot_write(error.message)
            # systemd's watchdog is fed by this
            self._show()
            raise
        self._show()

    def cannot_write(self, why: str) -> None:
        """Shown until the next flush that succeeds."""
        self._situation.trouble = why

    def _show(self) -> None:
        self._publish()
        self.after_tick()

    def _work(self) -> None:
        for sentence in self.store.news():
            self.journal("store_rescued", sentence, severity="error")
        if self.timekeeper.look(self._active.name if self._active else None):
            self.registrar.forget()
        self._account()
        run = self._look()
        action = d.reconcile(self._throttled(), self._observed(run), self.policy)
        if self.hurried and self.life is not None and not self.life.killed:
            action = d.Action(d.Act.KILL, "told twice to stop, not needed any more")
        if action is not None:
            self.crew.act(action, run)
        if self.life is None:
            self.orders.refuse_all(nobody_to_save(self._situation.holds))
        if self.clock.monotonic() - self._last_flush >= FLUSH_SECONDS:
            self.flush()

    def _throttled(self) -> Setpoint:
        situation, now = self._situation, self.clock.monotonic()
        throttled = self.throttle.now(
            situation.setpoint, situation.holds, now, computing=self.computing
        )
        self.cycling = throttled.effect is not situation.setpoint.effect
        return throttled

    def _look(self) -> Run | None:
        """Sense and decide; the situation then says how things should be."""
        now = self.clock.now()
        register = self._situation.register = self.registrar.read(
            now, gpu_is_free=self.life is None
        )
        run = register.run
        if run is not None and (self.progress is None or self.progress.run != run.name):
            self.progress = self.listener.recall(run)
        self._sensing.look(self._moment(now, run))
        decision = d.decide(self._facts(register), self.policy)
        for hold in decision.new_holds:
            self.registrar.write_hold(hold)
        self._situation.setpoint = decision.setpoint
        self._situation.holds = decision.holds
        return run

    def _moment(self, now: datetime, run: Run | None) -> Moment:
        if run is None:
            return Moment(now, self.clock.monotonic(), None)
        return Moment(
            now,
            self.clock.monotonic(),
            run.name,
            unsaved_seconds(self.life, self.progress, self.books.totals().get(run.name, {})),
            most_lost_seconds(run),
        )

    def take(self, item: Item) -> None:
        """Take one item out of the inbox in."""
        if not (isinstance(item, TrainerEvent) and isinstance(item.event, _ROUTINE)):
            self.registrar.forget()
        match item:
            case TrainerEvent():
                self.listener.hear(item)
            case TrainerExited():
                self.crew.trainer_gone(item)
            case EngineReady():
                self.crew.engine_ready()
            case EngineLost():
                self.crew.engine_gone(item)
            case SaveOrder():
                self.crew.save(item, self._situation.holds)
            case Wake():
                self._woken(item)
            case Count():
                self.books.count(item.run, item.name)
            case XidNews():
                self._driver_reports(item)

    def _driver_reports(self, news: XidNews) -> None:
        self.journal(
            "gpu_xid",
            news.message,
            severity=news.severity,
            run=self.life.run if self.life else None,
            xid=news.event.number,
        )

    def _woken(self, wake: Wake) -> None:
        if wake.forgive:
            self.crew.forgive()
        if wake.commanded and self._active is not None:
            self.books.count(self._active.name, "commands")

    def flush(self) -> None:
        """Write the books."""
        self.books.flush(self.clock.now())
        self.keep_roster()
        self._last_flush = self.clock.monotonic()
        self._situation.trouble = ""

    @property
    def power(self) -> Power:
        """The last reading of the meter."""
        return self._situation.power

    @property
    def computing(self) -> bool:
        """Whether a trainer has loaded everything and is not paused."""
        life = self.life
        return life is not None and life.ready is not None and life.phase.phase != "paused"

    @property
    def _active(self) -> Run | None:
        return self._situation.register.run

    def journal(
        self,
        kind: str,
        message: str,
        *,
        severity: str = "info",
        run: str | None = None,
        **data: object,
    ) -> None:
        """Write one line into the journal."""
        self.registrar.forget()
        with self.store.transaction() as tx:
            tx.journal.write(
                kind, message, self.clock.now(), severity=severity, run=run, data=dict(data)
            )

    # --- sense ------------------------------------------------------------------------------

    def _account(self) -> None:
        now = self.clock.monotonic()
        seconds, self._last_tick = now - self._last_tick, now
        power = self._situation.power = self._meter.read()
        if self._active is not None:
            self.books.held(self._active.name, self._situation.holds, seconds)
        run = self.life.run if self.life else None
        self.books.energy(run, power, self.clock.now(), seconds)
        if self.life is None:
            return
        self.life.memory_looked_at(self.oom.kills(), now)
        if self.computing:
            self.books.count(self.life.run, "active_seconds", seconds)

    def _facts(self, register: Register) -> d.Facts:
        return d.Facts(
            now=self.clock.now(),
            run=register.run.name if register.run else None,
            holds=(*register.holds, *self._sensing.holds),
            draining=self.draining,
            failures=len(register.failures),
            last_failure=register.failures[-1].cause if register.failures else "",
        )

    def _observed(self, run: Run | None) -> d.Observed:
        now = self.clock.monotonic()
        return d.Observed(
            run=run.name if run else None,
            engine=self.crew.engine_state,
            trainer=self.life.observed(now) if self.life else None,
            backoff_left_seconds=self.crew.backoff_left_seconds,
        )

    # --- show -------------------------------------------------------------------------------

    def _publish(self) -> None:
        situation = self._situation
        situation.now = self.clock.now()
        situation.daemon = dataclasses.replace(
            self._daemon, engine_state=self.crew.engine_state.value
        )
        situation.life, situation.progress = self.life, self.progress
        figures = self.figures()
        situation.plan, situation.bills = figures.plan, figures.bills
        situation.totals = self.books.totals()
        situation.written_totals = self.books.written_totals()
        run = situation.register.run
        situation.mirror = self.shelf.mirror(run.name) if run is not None else None
        wait = self.crew.backoff_left_seconds
        situation.next_start = situation.now + timedelta(seconds=wait) if wait > 0 else None
        self.board.put(build(situation))
