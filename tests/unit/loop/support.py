"""A corpus, a spec and a person at the other end of the line, all tiny."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from trainer.checkpoint import catalog
from trainer.checkpoint.lease import next_token
from trainer.clock import SystemClock
from trainer.contract.job import Job
from trainer.contract.messages import Command, Event, Notice, Stop
from trainer.contract.spec import CheckpointSpec, DataSpec, ModelSpec, RunSpec, TrainSpec
from trainer.link import ScriptedLink

STEPS = 4
MICRO_BATCHES = 3
NEVER_SECONDS = 1e9

_SYLLABLES = "ba ce di fo gu ha ke li mo nu pa re si to vu wa xe yi zo the ing ion".split()


def write_corpus(directory: Path, documents: int = 300, seed: int = 7) -> Path:
    """A few hundred short texts as one .jsonl file; returns the directory."""
    dice = random.Random(seed)
    directory.mkdir(parents=True, exist_ok=True)
    words = ["".join(dice.choices(_SYLLABLES, k=dice.randint(1, 4))) for _ in range(400)]
    lines = [
        json.dumps({"text": " ".join(dice.choices(words, k=dice.randint(20, 60)))})
        for _ in range(documents)
    ]
    (directory / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory


def tiny_spec(corpus: Path, **changes: Any) -> RunSpec:
    """Depth 1, 512 tokens, 3 micro-batches a step; saved only when something else demands it.

    ``changes`` go to the part that has a field of that name.
    """
    spec = RunSpec(
        name="tiny",
        seed=11,
        sample_prompt="the run",
        model=ModelSpec(depth=1, vocab_size=512, sequence_length=32),
        data=DataSpec(
            corpus=str(corpus),
            validation_permille=100,
            tokenizer_characters=1_000_000,
            allow_repeats=True,
        ),
        train=TrainSpec(
            steps=STEPS,
            batch_tokens=2 * 32 * MICRO_BATCHES,
            micro_batch=2,
            precision="fp32",
            eval_every_steps=2,
            eval_tokens=128,
            device="cpu",
            threads=1,
        ),
        checkpoint=CheckpointSpec(every_seconds=NEVER_SECONDS),
    )
    for part in ("model", "data", "train", "memory", "checkpoint"):
        old = getattr(spec, part)
        own = {item.name for item in dataclasses.fields(old)} & changes.keys()
        new = dataclasses.replace(old, **{name: changes.pop(name) for name in own})
        spec = dataclasses.replace(spec, **{part: new})
    return dataclasses.replace(spec, **changes)


def job_for(spec: RunSpec, run_dir: Path, data_dir: Path) -> Job:
    """The next attempt at a run."""
    return Job(spec, next_token(run_dir), str(run_dir), str(data_dir))


class Puppeteer(ScriptedLink):
    """Answers events with commands, and counts how often the trainer asked."""

    def __init__(
        self,
        reply: Callable[[Event], list[Command]] = lambda event: [],
        *,
        stop_at_poll: int = -1,
    ) -> None:
        super().__init__()
        self._reply = reply
        self._stop_at_poll = stop_at_poll
        self.polls = 0

    def send(self, event: Event) -> None:
        super().send(event)
        self.commands.extend(self._reply(event))

    def poll(self) -> Command | None:
        self.polls += 1
        if self.polls == self._stop_at_poll:
            return Stop()
        return super().poll()

    def wait(self, timeout_seconds: float) -> Command | None:
        return self.commands.popleft() if self.commands else None

    def of(self, kind: type) -> list[Any]:
        """The events of one kind, in order; without what is said after each first save."""
        usual = (Notice, "saves")
        return [
            event
            for event in self.events
            if isinstance(event, kind) and (type(event), getattr(event, "kind", "")) != usual
        ]

    def one(self, kind: type) -> Any:
        """The only event of its kind."""
        (event,) = self.of(kind)
        return event

    @property
    def last(self) -> Any:
        """The event that the attempt ended with."""
        return self.events[-1]


def train(job: Job, link: ScriptedLink | None = None) -> int:
    """One attempt with the machine's clock, and no patience for locks."""
    from trainer import loop

    return loop.train(job, link or Puppeteer(), SystemClock(), lock_wait_seconds=0.05)


def fingerprint(run_dir: Path) -> dict[str, str]:
    """SHA-256 of every data file of the newest checkpoint, and its step."""
    newest = catalog.list_checkpoints(run_dir)[0]
    prints = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(newest.path.glob("*.safetensors"))
    }
    assert {"model.safetensors", "optimizer.safetensors"} <= prints.keys()
    return {**prints, "step": str(newest.step)}


class HandClock:
    """Time passes only while somebody sleeps, or when it is told to."""

    def __init__(self) -> None:
        self._seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 12, 1, tzinfo=UTC) + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._seconds

    def sleep(self, seconds: float) -> None:
        self._seconds += seconds


def order(job: Job, seconds: float) -> str:
    """A line for the nursery: one life, killed after so many seconds."""
    return json.dumps({"job": job.to_dict(), "seconds": seconds}) + "\n"


def as_toml(spec: RunSpec) -> str:
    """The spec as a file that a person could have written."""
    lines, tables = [], []
    for name, value in spec.to_dict().items():
        if isinstance(value, dict):
            tables.append(f"\n[{name}]")
            tables.extend(f"{key} = {json.dumps(item)}" for key, item in value.items())
        else:
            lines.append(f"{name} = {json.dumps(value)}")
    return "\n".join([*lines, *tables]) + "\n"
