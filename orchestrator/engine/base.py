"""What the supervisor knows of an engine: four verbs down, four notes up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from trainer.contract.job import Job
from trainer.contract.messages import Command, Event


@dataclass(frozen=True)
class EngineReady:
    """The engine can start trainers; ``pids`` are its own processes, by what they are."""

    pids: dict[str, int]


@dataclass(frozen=True)
class TrainerEvent:
    """A message of the trainer of attempt ``attempt``."""

    attempt: int
    event: Event


@dataclass(frozen=True)
class TrainerExited:
    """The trainer process is gone for good: waited for, not merely signalled."""

    attempt: int
    #: in words: "exit code 1", "killed by SIGKILL", "ended"
    cause: str


@dataclass(frozen=True)
class EngineLost:
    """The engine, or a part of Ray, is gone, and so is everything that it had started."""

    cause: str


Note = EngineReady | TrainerEvent | TrainerExited | EngineLost


class Engine(Protocol):
    """Runs at most one trainer at a time.

    Notes are delivered to the callback given at construction, from any thread, in order.
    No method waits for Ray; ``kill`` and ``shutdown`` return when the processes are gone.
    """

    def open(self) -> None:
        """Begin to start the engine process; EngineReady or EngineLost follows."""

    def start(self, job: Job) -> None:
        """Begin an attempt; TrainerEvent(Hello) or TrainerExited follows."""

    def command(self, command: Command) -> None:
        """Pass a command to the trainer; lost silently when there is none."""

    def kill(self, why: str) -> None:
        """Kill the trainer and wait until it is gone; TrainerExited follows with ``why``."""

    def shutdown(self) -> None:
        """End the trainer, Ray and the engine process, and wait until all are gone."""


Notify = Callable[[Note], None]
