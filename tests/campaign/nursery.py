"""Trainers by the hundred: each life is a real process, forked from one that has read torch.

Starting Python and torch takes two seconds; a forked child trains after a quarter of one. What is
killed is the whole of ``python -m trainer``: the lease, the sweep, the loading, the loop, the
commits, the retention.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.engine.process import signal_on_parent_death
from tests.story.house import CLOCK, digest, spec_text, write_corpus
from trainer.checkpoint import slots

#: a life that neither ends nor says anything for so long is a defect
PATIENCE_SECONDS = 90.0

#: called with each event and its time; a number: kill the trainer after so many seconds more
Watch = Callable[[dict[str, Any]], float | None]


@dataclass
class Life:
    """What one trainer said, and when, in seconds since it was forked."""

    ready_step: int | None = None
    ready_at: float = 0.0
    #: when each step was done
    steps: dict[int, float] = field(default_factory=dict)
    #: steps of the checkpoints that it acknowledged
    saved: list[int] = field(default_factory=list)
    #: what it told of saves that failed and of damage
    troubles: list[str] = field(default_factory=list)
    ended_at: float = 0.0
    killed: bool = False
    finished: bool = False

    def hear(self, event: dict[str, Any], at: float) -> None:
        """Take one event in."""
        match event["type"]:
            case "Ready":
                self.ready_step, self.ready_at = event["step"], at
            case "Step":
                self.steps[event["step"]] = at
            case "Saved":
                self.saved.append(event["step"])
            case "SaveFailed":
                self.troubles.append(event["kind"])
            case "Notice":
                self.troubles.append(event["kind"])
            case "Finished":
                self.finished = True

    def lost_seconds(self, resumed_step: int) -> float:
        """Computing after ``resumed_step`` that the next life has to do again."""
        if self.ready_step is None:
            return 0.0
        return max(0.0, self.ended_at - self.steps.get(resumed_step, self.ready_at))


@dataclass
class Track:
    """One run in ``root/name``, trained by one trainer after the other."""

    root: Path
    steps: int
    name: str = "run"
    every_seconds: str = "0.05"
    #: further lines of the spec's table [checkpoint]
    checkpoint: str = ""
    lives: list[Life] = field(default_factory=list)

    def __post_init__(self) -> None:
        write_corpus(self.root / "corpus", documents=120)
        text = spec_text(
            self.root / "corpus",
            steps=self.steps,
            every_seconds=self.every_seconds,
            batch_tokens="64",
        )
        self.spec.write_text(text + self.checkpoint, encoding="utf-8")

    @property
    def spec(self) -> Path:
        """Its spec file."""
        return self.root / f"{self.name}.toml"

    @property
    def run_dir(self) -> Path:
        """Where its checkpoints are."""
        return self.root / self.name

    @property
    def command(self) -> list[str]:
        """The trainer's arguments."""
        return [str(self.spec), "--dir", str(self.run_dir), "--json"]

    def undisturbed(self) -> str:
        """Train in one piece; the digest."""
        assert self.live().finished, (self.root / "trainers.log").read_text(encoding="utf-8")
        return self.digest()

    def in_a_fresh_process(self) -> str:
        """The same in a process that nobody forked."""
        line = [sys.executable, "-m", "trainer", *self.command]
        subprocess.run(line, check=True, capture_output=True, timeout=300)
        return self.digest()

    def live(self, *, kill_after: float | None = None, watch: Watch = lambda event: None) -> Life:
        """One life of the trainer; killed after so many seconds, or as ``watch`` says."""
        life = Life()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            _train(self, write)
        os.close(write)
        began = CLOCK.monotonic()
        try:
            _listen(life, read, pid, began, kill_after, watch)
        finally:
            os.close(read)
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        life.killed = os.WIFSIGNALED(status)
        self.lives.append(life)
        return life

    def forget_memory(self) -> None:
        """What a reboot does to the slots in shared memory."""
        slots.discard(self.run_dir)

    def digest(self) -> str:
        """Of the final weights and optimizer."""
        return digest(self.run_dir, self.steps)


def _train(track: Track, out: int) -> NoReturn:
    """In the child: what ``python -m trainer`` does."""
    code = 1
    try:
        signal_on_parent_death(signal.SIGKILL)
        os.dup2(out, 1)
        log = os.open(track.root / "trainers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        from trainer.__main__ import main

        code = main(track.command)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _listen(
    life: Life, read: int, pid: int, began: float, kill_after: float | None, watch: Watch
) -> None:
    """Hear until the trainer is gone; kill it when it is time."""
    deadline = None if kill_after is None else began + kill_after
    rest = b""
    while True:
        now = CLOCK.monotonic()
        if deadline is not None and now >= deadline:
            life.ended_at = now - began
            os.kill(pid, signal.SIGKILL)
            deadline = None
        wait = PATIENCE_SECONDS if deadline is None else deadline - now
        if not select.select([read], [], [], max(0.0, wait))[0]:
            assert deadline is not None, "the trainer is silent"
            continue
        data = os.read(read, 1 << 16)
        at = CLOCK.monotonic() - began
        if not data:
            life.ended_at = life.ended_at or at
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            life.hear(event, at)
            more = watch(event)
            if more is not None and deadline is None and not life.ended_at:
                deadline = began + at + more
