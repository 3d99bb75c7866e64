"""FakeEngine: an engine for tests and simulations, without any process."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.engine.base import (
    EngineLost,
    EngineReady,
    Note,
    Notify,
    TrainerEvent,
    TrainerExited,
)
from trainer.contract.job import Job
from trainer.contract.messages import Command, Event


@dataclass
class FakeEngine:
    """Records what it is told; the test says what happens then.

    ``kill`` answers at once as the real one does: the trainer is gone when it returns.
    """

    notify: Notify
    #: whether ``open`` answers with EngineReady by itself
    ready_at_once: bool = True
    #: every call in order, by its name: "open", "start", "command", "kill", "shutdown"
    calls: list[str] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    kills: list[str] = field(default_factory=list)
    is_open: bool = False
    #: the attempt whose trainer runs
    running: int | None = None

    # --- what the supervisor calls ----------------------------------------------------------

    def open(self) -> None:
        """See ``Engine.open``."""
        self.calls.append("open")
        self.is_open = True
        if self.ready_at_once:
            self.ready()

    def start(self, job: Job) -> None:
        """See ``Engine.start``; a second trainer beside a living one is refused."""
        self.calls.append("start")
        self.jobs.append(job)
        if not self.is_open:
            self.notify(TrainerExited(job.attempt, "there is no engine to start it"))
        elif self.running is not None:
            cause = f"refused: the trainer of attempt {self.running} still runs"
            self.notify(TrainerExited(job.attempt, cause))
        else:
            self.running = job.attempt

    def command(self, command: Command) -> None:
        """See ``Engine.command``."""
        self.calls.append("command")
        self.commands.append(command)

    def kill(self, why: str) -> None:
        """See ``Engine.kill``."""
        self.calls.append("kill")
        self.kills.append(why)
        self.exit(why)

    def shutdown(self) -> None:
        """See ``Engine.shutdown``."""
        self.calls.append("shutdown")
        self.running = None
        self.is_open = False

    # --- what the test lets happen ----------------------------------------------------------

    def emit(self, note: Note) -> None:
        """Deliver any note."""
        self.notify(note)

    def ready(self) -> None:
        """The engine process is up."""
        self.notify(EngineReady({"host": 4711}))

    def event(self, event: Event) -> None:
        """The running trainer says something."""
        assert self.running is not None, "no trainer runs"
        self.notify(TrainerEvent(self.running, event))

    def exit(self, cause: str = "exit code 0") -> None:
        """The running trainer's process ends; nothing happens when there is none."""
        attempt, self.running = self.running, None
        if attempt is not None:
            self.notify(TrainerExited(attempt, cause))

    def lose(self, cause: str = "gcs_server is gone: killed by SIGKILL") -> None:
        """The engine is gone with everything below it."""
        self.running = None
        self.is_open = False
        self.notify(EngineLost(cause))
