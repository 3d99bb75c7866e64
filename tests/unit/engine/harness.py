"""A daemon's place with an engine client in it, and the question whether anything is left."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.engine import process, sweep
from orchestrator.engine.base import EngineLost, EngineReady, Note, TrainerEvent, TrainerExited
from orchestrator.engine.client import EngineClient
from orchestrator.engine.process import Identity
from orchestrator.home.clock import SystemClock
from trainer.contract.job import Job
from trainer.contract.messages import Event, Hello
from trainer.contract.spec import RunSpec

PUPPET = "tests.unit.engine.puppet"
REPOSITORY = Path(__file__).parents[3]
CLOCK = SystemClock()
E = TypeVar("E", bound=Event)


class Rig:
    """An engine client, its directories and the notes that it gave."""

    def __init__(self, kind: str, **options: Any) -> None:
        self.kind = kind
        # short: Unix sockets live below it
        self.runtime_dir = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
        self.state_dir = Path(tempfile.mkdtemp(prefix="hs-", dir="/tmp"))
        self.inbox: queue.SimpleQueue[Note] = queue.SimpleQueue()
        self.notes: list[Note] = []
        self.client = self.new_client(**options)
        self.attempt = 0

    def new_client(self, **options: Any) -> EngineClient:
        return EngineClient(
            self.kind,
            self.state_dir,
            self.runtime_dir,
            self.inbox.put,
            CLOCK,
            **{"worker_module": PUPPET, **options},
        )

    def job(self, script: str = "") -> Job:
        self.attempt += 1
        spec = RunSpec("puppet", sample_prompt=script)
        return Job(spec, self.attempt, str(self.run_dir), str(self.state_dir / "data"))

    @property
    def run_dir(self) -> Path:
        return self.state_dir / "run"

    def until(self, wanted: Callable[[Note], bool], seconds: float = 60.0) -> Note:
        """The next note that is wanted; those before it are kept in ``notes``."""
        deadline = CLOCK.monotonic() + seconds
        while True:
            note = CLOCK.get(self.inbox, deadline - CLOCK.monotonic())
            assert note is not None, f"in vain; notes so far: {self.notes[-5:]}; {self.log()}"
            self.notes.append(note)
            if wanted(note):
                return note

    def has_lost(self) -> bool:
        """Whether an EngineLost has come; takes what is there and does not wait."""
        while (note := CLOCK.get(self.inbox, 0.0)) is not None:
            self.notes.append(note)
        return any(isinstance(note, EngineLost) for note in self.notes)

    def until_ready(self) -> EngineReady:
        note = self.until(lambda note: isinstance(note, EngineReady | EngineLost))
        assert isinstance(note, EngineReady), note
        return note

    def until_event(self, kind: type[E]) -> E:
        note = self.until(
            lambda note: isinstance(note, TrainerEvent) and isinstance(note.event, kind)
        )
        assert isinstance(note, TrainerEvent)
        assert isinstance(note.event, kind)
        return note.event

    def until_exited(self) -> TrainerExited:
        note = self.until(lambda note: isinstance(note, TrainerExited))
        assert isinstance(note, TrainerExited)
        return note

    def until_lost(self, seconds: float = 20.0) -> EngineLost:
        note = self.until(lambda note: isinstance(note, EngineLost), seconds)
        assert isinstance(note, EngineLost)
        return note

    def start(self, script: str = "") -> Hello:
        self.client.start(self.job(script))
        return self.until_event(Hello)

    def facts(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads((self.run_dir / "facts.json").read_text())
        return plain

    def members(self) -> set[Identity]:
        """Living processes of any engine of this state directory."""
        mark = sweep.Mark(process.state_hash(self.state_dir) + "-")
        return {found.identity for found in mark.members().values() if not found.dead}

    def log(self) -> str:
        path = self.state_dir / "engine.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else "no engine.log"

    def close(self) -> None:
        self.client.shutdown()
        left = self.members()
        process.kill_and_wait(left, CLOCK, 5.0)
        shutil.rmtree(self.runtime_dir, ignore_errors=True)
        shutil.rmtree(self.state_dir, ignore_errors=True)


@contextlib.contextmanager
def rig(kind: str, **options: Any) -> Iterator[Rig]:
    made = Rig(kind, **options)
    try:
        yield made
    finally:
        made.close()


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it came true in time."""
    deadline = CLOCK.monotonic() + seconds
    while not condition():
        if CLOCK.monotonic() > deadline:
            return False
        CLOCK.sleep(0.02)
    return True


def gone(identities: set[Identity]) -> Callable[[], bool]:
    return lambda: not any(process.identify(item.pid) == item for item in identities)
