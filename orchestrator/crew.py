"""The crew: engine and trainer, as the supervisor opens, starts, tells and kills them.

Works on the supervisor's thread only, like the listener.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator import decide as d
from orchestrator.domain import AttemptEnd, Hold, Run
from orchestrator.endings import hopeless, how_it_ended
from orchestrator.engine.base import Engine, EngineLost, TrainerExited
from orchestrator.home.clock import Clock
from orchestrator.orders import SaveOrder, nobody_to_save
from orchestrator.progress import Life
from trainer.checkpoint import catalog
from trainer.contract import messages as m
from trainer.contract import spec as run_spec
from trainer.contract.job import Job

if TYPE_CHECKING:
    from orchestrator.supervisor import Supervisor


#: an Xid so long before the last word of a trainer is told with its end
XID_NEAR_SECONDS = 10.0


class Crew:
    """Carries out actions, writes down how lives end, and waits after failures."""

    def __init__(self, supervisor: Supervisor, engine: Engine, clock: Clock) -> None:
        self._s = supervisor
        self._engine = engine
        self._clock = clock
        self.engine_state = d.EngineState.OFF
        self._engine_failures = 0
        self._not_before = clock.monotonic()

    @property
    def backoff_left_seconds(self) -> float:
        """Until the next start may be tried; 0 or less: it may."""
        return self._not_before - self._clock.monotonic()

    def forgive(self) -> None:
        """End a back-off."""
        self._not_before = self._clock.monotonic()

    def close(self) -> None:
        """Make sure that nothing of ours runs any more, whatever happened before."""
        if self.engine_state is not d.EngineState.OFF:
            self._engine.shutdown()
            self.engine_state = d.EngineState.OFF

    # --- act --------------------------------------------------------------------------------

    def act(self, action: d.Action, run: Run | None) -> None:
        """Carry out what was decided; ``run`` is the active one."""
        match action.act:
            case d.Act.OPEN_ENGINE:
                self.engine_state = d.EngineState.STARTING
                self._engine.open()
            case d.Act.CLOSE_ENGINE:
                self.close()
            case d.Act.START_TRAINER:
                assert run is not None, "only a run is started"
                if self._s.shelf.may_start(run.name):
                    self._start(run)
            case d.Act.KILL:
                self.end_trainer(action.why)
            case d.Act.PAUSE:
                self._tell(m.Pause(), d.Told.PAUSE)
            case d.Act.RESUME:
                self._tell(m.Resume(), d.Told.GO)
            case d.Act.FINISH:
                self._tell(m.Finish(), d.Told.FINISH)
            case d.Act.STOP:
                self._tell(m.Stop(), d.Told.STOP)

    def _start(self, run: Run) -> None:
        now = self._clock.now()
        run_dir = self._s.paths.run(run.name)
        run_dir.mkdir(parents=True, exist_ok=True)
        self._s.registrar.forget()
        # A store that was restored from a backup must not hand out a token that is spent.
        unspent = catalog.next_token(run_dir)
        with self._s.store.transaction() as tx:
            goes_on = any(earlier.last_step for earlier in tx.attempts.of(run.name))
            attempt = tx.attempts.begin(run.name, now, at_least=unspent)
            tx.journal.write(
                "attempt_started",
                f"Attempt {attempt.number} at {run.name} started.",
                now,
                run=run.name,
                data={"attempt": attempt.number},
            )
        # From here on nobody of an older attempt can commit a checkpoint any more.
        catalog.raise_fence(run_dir, attempt.number)
        mono = self._clock.monotonic()
        self._s.life = Life(run.name, attempt.number, mono, now, last_event=mono, told_at=mono)
        self._s.life.memory_looked_at(self._s.oom.kills(), mono)
        self._engine.start(
            Job(
                spec=run_spec.from_dict(run.spec),
                attempt=attempt.number,
                run_dir=str(run_dir),
                data_dir=str(self._s.paths.data),
                mtbf_seconds=self._s.books.mtbf_seconds(run.name),
                month_bytes=self._s.shelf.month_bytes,
                goes_on=goes_on,
            )
        )

    def _tell(self, command: m.Command, told: d.Told) -> None:
        assert self._s.life is not None, "reconcile only speaks to a trainer that lives"
        self._s.life.told, self._s.life.told_at = told, self._clock.monotonic()
        self._engine.command(command)

    def end_trainer(self, why: str) -> None:
        """Kill the trainer that lives; another one is started when it may."""
        assert self._s.life is not None, "reconcile only kills a trainer that lives"
        self._s.life.killed = why
        self._s.life.killed_for_stall = self._s.life.told is not d.Told.STOP and "needed" not in why
        self._engine.kill(why)

    def save(self, order: SaveOrder, holds: Sequence[Hold]) -> None:
        """Pass an order on to the trainer; refused where there is none, naming ``holds``."""
        if self._s.life is None or self._s.life.ready is None:
            order.answer.set_exception(nobody_to_save(holds))
            return
        self._s.orders.add(order)
        self._engine.command(m.Save(order.request))

    # --- ends -------------------------------------------------------------------------------

    def trainer_gone(self, note: TrainerExited) -> None:
        """The trainer of this attempt has exited."""
        life = self._s.life
        if life is None or life.attempt != note.attempt:
            return
        end = how_it_ended(
            life, note.cause, oom_kills=self._s.oom.kills(), xid=self._xid_near(life)
        )
        self._life_ends(life, *end)
        if isinstance(life.farewell, m.Failed) and not life.farewell.retry:
            self._s.registrar.write_hold(hopeless(life.run, life.farewell, self._clock.now()))

    def engine_ready(self) -> None:
        """The engine that was opened can take a trainer."""
        if self.engine_state is d.EngineState.STARTING:
            self.engine_state = d.EngineState.READY
            self._engine_failures = 0

    def engine_gone(self, note: EngineLost) -> None:
        """The engine has ended, and with it the trainer if there was one."""
        if self.engine_state is d.EngineState.OFF:
            return  # the last word of an engine that was shut down
        if self._s.life is not None:
            life = self._s.life
            end = how_it_ended(
                life,
                note.cause,
                engine_lost=True,
                oom_kills=self._s.oom.kills(),
                xid=self._xid_near(life),
            )
            self._life_ends(life, *end)
        else:
            self._s.journal("engine_lost", f"The engine ended: {note.cause}.", severity="warning")
            self._engine_failures += 1
            seconds = d.backoff_seconds(self._engine_failures, self._s.policy)
            self._not_before = self._clock.monotonic() + seconds
        self.engine_state = d.EngineState.OFF

    def _xid_near(self, life: Life) -> str:
        """A trainer that hangs because of one is killed much later: its last word counts."""
        return self._s.xids.near(max(life.began, life.last_event - XID_NEAR_SECONDS))

    def _life_ends(self, life: Life, end: AttemptEnd, cause: str) -> None:
        """Durable first: the life is only forgotten once its end is written down."""
        self._s.listener.finish_attempt(life, end, cause)
        self._wait_after_failure(life.run)
        self._s.life = None

    def _wait_after_failure(self, run: str) -> None:
        seconds = d.backoff_seconds(len(self._s.registrar.fruitless(run)), self._s.policy)
        self._not_before = self._clock.monotonic() + seconds
