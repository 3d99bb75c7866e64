"""The line between the daemon's client and the engine process: one JSON object a line.

Orders go down (start, command, kill, shutdown), reports come up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from orchestrator.engine.base import EngineReady, TrainerEvent, TrainerExited
from orchestrator.engine.process import Identity
from trainer.contract import job as jobs
from trainer.contract import messages
from trainer.contract.job import Job
from trainer.contract.messages import Command, ProtocolError
from trainer.contract.toml import InvalidFileError

#: a line longer than this is no message of ours
LINE_BYTES = 16 << 20


@dataclass(frozen=True)
class StartOrder:
    """Begin an attempt."""

    job: Job


@dataclass(frozen=True)
class CommandOrder:
    """Pass a command to the trainer."""

    command: Command


@dataclass(frozen=True)
class KillOrder:
    """Kill the trainer; answered when it is gone."""

    request: int
    why: str


@dataclass(frozen=True)
class ShutdownOrder:
    """End everything."""


@dataclass(frozen=True)
class Spawned:
    """The trainer's process is known; Hello may be minutes away."""

    attempt: int
    identity: Identity


@dataclass(frozen=True)
class Answer:
    """A kill order is carried out."""

    request: int


@dataclass(frozen=True)
class Losing:
    """The engine gives up; it kills all that is below it and ends."""

    cause: str


@dataclass(frozen=True)
class Alive:
    """The engine process runs; said again and again once it is ready."""


Order = StartOrder | CommandOrder | KillOrder | ShutdownOrder
Report = EngineReady | TrainerEvent | TrainerExited | Spawned | Answer | Losing | Alive


def encode_order(order: Order) -> bytes:
    """One line, newline included."""
    match order:
        case StartOrder(job):
            return _line({"do": "start", "job": job.to_dict()})
        case CommandOrder(command):
            return _line({"do": "command", "command": messages.to_dict(command)})
        case KillOrder(request, why):
            return _line({"do": "kill", "request": request, "why": why})
        case ShutdownOrder():
            return _line({"do": "shutdown"})


def decode_order(line: bytes) -> Order:
    """Raises ProtocolError on anything that is no order."""
    plain = _parse(line)
    try:
        match plain.get("do"):
            case "start":
                return StartOrder(jobs.from_dict(plain["job"]))
            case "command":
                return CommandOrder(messages.from_dict(plain["command"]))
            case "kill":
                return KillOrder(int(plain["request"]), str(plain["why"]))
            case "shutdown":
                return ShutdownOrder()
            case other:
                raise ProtocolError(f"unknown order {other!r}")
    except (KeyError, TypeError, ValueError, InvalidFileError) as error:
        raise ProtocolError(f"bad order: {error}") from None


def encode_report(report: Report) -> bytes:
    """One line, newline included."""
    match report:
        case EngineReady(pids):
            return _line({"say": "ready", "pids": pids})
        case TrainerEvent(attempt, event):
            return _line({"say": "event", "attempt": attempt, "event": messages.to_dict(event)})
        case TrainerExited(attempt, cause):
            return _line({"say": "exited", "attempt": attempt, "cause": cause})
        case Spawned(attempt, identity):
            known = [identity.pid, identity.start_ticks]
            return _line({"say": "spawned", "attempt": attempt, "identity": known})
        case Answer(request):
            return _line({"say": "answer", "request": request})
        case Losing(cause):
            return _line({"say": "losing", "cause": cause})
        case Alive():
            return _line({"say": "alive"})


def decode_report(line: bytes) -> Report:
    """Raises ProtocolError on anything that is no report."""
    plain = _parse(line)
    try:
        match plain.get("say"):
            case "ready":
                return EngineReady({str(name): int(pid) for name, pid in plain["pids"].items()})
            case "event":
                event = messages.from_dict(plain["event"])
                return TrainerEvent(int(plain["attempt"]), event)
            case "exited":
                return TrainerExited(int(plain["attempt"]), str(plain["cause"]))
            case "spawned":
                pid, start_ticks = plain["identity"]
                return Spawned(int(plain["attempt"]), Identity(int(pid), int(start_ticks)))
            case "answer":
                return Answer(int(plain["request"]))
            case "losing":
                return Losing(str(plain["cause"]))
            case "alive":
                return Alive()
            case other:
                raise ProtocolError(f"unknown report {other!r}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"bad report: {error}") from None


class Lines:
    """Cuts a stream of bytes into lines; what comes after the last newline waits."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes; raises ProtocolError when one has no end."""
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        if len(rest) > LINE_BYTES:
            raise ProtocolError(f"a line of more than {LINE_BYTES} bytes")
        self._rest = bytearray(rest)
        return [bytes(line) for line in lines if line]


def _line(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, separators=(",", ":")).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any]:
    try:
        plain = json.loads(line)
    except ValueError as error:
        raise ProtocolError(f"not JSON: {error}") from None
    if not isinstance(plain, dict):
        raise ProtocolError("not a JSON object")
    return plain
