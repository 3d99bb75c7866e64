"""A supervisor with a real store, and fakes for the engine, the clock and the meter."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.commands import Commands
from orchestrator.decide import Policy
from orchestrator.domain import AttemptEnd, DaemonView, Snapshot
from orchestrator.engine.fake import FakeEngine
from orchestrator.holds.senses import Sense
from orchestrator.home.clock import FakeClock
from orchestrator.home.meter import FakeMeter
from orchestrator.home.volumes import FakeVolumes, Volume
from orchestrator.keeper import Keeper
from orchestrator.paths import Paths
from orchestrator.piloting.charting import chart_of
from orchestrator.settings.checkpoint_config import CheckpointConfig
from orchestrator.settings.config import Config
from orchestrator.store import Store
from orchestrator.supervisor import Count, Supervisor, Wake
from orchestrator.surroundings import Lookout
from orchestrator.tariff.http import FakeHttp, Reply
from orchestrator.tariff.keeper import PriceKeeper
from trainer.checkpoint import catalog
from trainer.contract import messages as m

SPEC: dict[str, Any] = {
    "name": "month",
    "model": {"depth": 1, "vocab_size": 512, "sequence_length": 32},
    "train": {"steps": 100, "batch_tokens": 64, "micro_batch": 2, "precision": "fp32"},
}


@dataclass
class Rig:
    """Drives ticks by hand."""

    root: Path
    boot: str = "boot-1"
    clock: FakeClock = field(default_factory=FakeClock)
    meter: FakeMeter = field(default_factory=FakeMeter)
    policy: Policy = field(default_factory=Policy)
    senses: list[Sense] = field(default_factory=list)

    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """As the daemon does at its start; also after ``crash``."""
        self.store = Store.open(f"sqlite:///{self.root / 'homerun.sqlite'}")
        self.supervisor = Supervisor(
            store=self.store,
            engine=self._make_engine,
            clock=self.clock,
            meter=self.meter,
            policy=self.policy,
            paths=Paths(self.root),
            daemon=DaemonView(1, "0", self.clock.now(), str(self.root), "http://x", "fake", "off"),
            boot_id=self.boot,
            senses=self.senses,
        )
        #: without its thread: what it is asked for waits until it is started
        self.keeper = Keeper(
            self.store,
            self.supervisor.paths,
            self.clock,
            self.checkpoint,
            wake=lambda: self.supervisor.inbox.put(Wake()),
            count=lambda run, total: self.supervisor.inbox.put(Count(run, total)),
        )
        self.supervisor.shelf = self.keeper
        config = Config()
        http = FakeHttp(lambda request: Reply(404))
        prices = PriceKeeper(config.tariff, self.store, http, self.clock, "rig")
        chart = chart_of(config, self.store, prices, None, self.clock)
        self.navigator = chart.navigator
        self.lookout = Lookout(self.clock, FakeVolumes(Volume("state", 10**9, 10**10)))
        self.commands = Commands(
            self.store, self.supervisor, config, prices, self.keeper, self.lookout, self.navigator
        )
        self.supervisor.recover()

    def _make_engine(self, notify: Any) -> FakeEngine:
        self.engine = FakeEngine(notify)
        return self.engine

    def crash(self) -> None:
        """The daemon dies without a word, and another one starts."""
        self.store.close()
        self.open()

    def settle(self, ticks: int = 6) -> Snapshot:
        """Take everything in and tick until nothing more happens."""
        for _ in range(ticks):
            while not self.supervisor.inbox.empty():
                self.supervisor.take(self.supervisor.inbox.get())
            self.supervisor.tick()
        return self.supervisor.board.snapshot()

    def pass_time(self, seconds: float) -> Snapshot:
        """Let time pass, and tick."""
        self.clock.advance(seconds)
        return self.settle()

    def submit(self, **changes: Any) -> None:
        """Put a run into the queue."""
        priority = changes.pop("priority", 0)
        self.commands.submit({**SPEC, **changes}, priority, "test")
        self.settle()

    def train(self, first: int = 0, last: int | None = None) -> None:
        """The running trainer says hello and trains from ``first`` to ``last``."""
        attempt = self.engine.running
        assert attempt is not None, "no trainer was started"
        run = self.engine.jobs[-1].spec.name
        self.engine.event(m.Hello(run, attempt, 4711))
        self.engine.event(m.Ready(first, 100, 3_000, 1e6, "", {}, 1e12, "test"))
        for number in range(first + 1, (first if last is None else last) + 1):
            self.step(number)
        self.settle()

    def find_nothing_whole(self) -> int:
        """The running trainer has set all checkpoints aside, says so and leaves; its attempt."""
        attempt = self.engine.running
        assert attempt is not None, "no trainer was started"
        run = self.engine.jobs[-1].spec.name
        for entry in catalog.list_checkpoints(self.supervisor.paths.run(run)):
            catalog.quarantine(entry.path, "as the trainer does")
        self.engine.event(m.Hello(run, attempt, 4711))
        self.engine.event(m.Notice("starts_over", "no whole checkpoint is left", "error"))
        self.settle()
        self.die("killed")
        self.pass_time(400)
        return attempt

    def step(self, number: int) -> None:
        """One step is done."""
        self.engine.event(
            m.Step(number, 100, number * 64, 0.1, 5.0 - number / 100, 1.0, 1.0, 0.1, 640.0, 0.3, {})
        )

    def die(self, cause: str = "killed by SIGKILL") -> None:
        """The trainer dies."""
        self.engine.exit(cause)
        self.settle()

    def ends(self, run: str = "month") -> list[AttemptEnd | None]:
        """How the attempts ended so far."""
        return [attempt.end for attempt in self.commands.attempts(run)]

    def kinds(self) -> list[str]:
        """The journal's kinds, oldest first."""
        return [entry.kind for entry in self.commands.journal(limit=1000)]
