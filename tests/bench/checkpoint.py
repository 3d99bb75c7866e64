"""make bench-checkpoint: what a save costs the training, the disk and the next start.

Ours and torch.distributed.checkpoint's on the same state, on the same disk, in turns; and a plain
sequential write and a plain read of the same bytes as what the disk can do. "Training" is a loop
of matrix products on one thread; a save in flight has the other core.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor

from tests.bench.machine import header, spread
from trainer.announce import Announcer
from trainer.checkpoint import catalog, reader, slots
from trainer.checkpoint.format import Manifest
from trainer.checkpoint.lease import Lease
from trainer.clock import SystemClock
from trainer.contract.job import Job
from trainer.contract.spec import RunSpec
from trainer.flight import Flight, Landed
from trainer.handover import Handover
from trainer.inflow import Inflow
from trainer.link import ScriptedLink
from trainer.snapshots import Snapshots

CLOCK = SystemClock()
_CHUNK_BYTES = 16 << 20
_LOOK_SECONDS = 0.05
Files = dict[str, dict[str, Tensor]]


def state_of(megabytes: int) -> Files:
    """Random weights in bf16 and 8-bit optimizer state, about as a d32 has them: half and half."""
    count = max(1, megabytes // 32)
    generator = torch.Generator().manual_seed(1)
    return {
        "model": {
            f"h.{i}": torch.randn(2048, 4096, generator=generator).to(torch.bfloat16)
            for i in range(count)
        },
        "optimizer": {
            f"m.{i}": torch.randint(0, 255, (4096, 4096), dtype=torch.uint8, generator=generator)
            for i in range(count)
        },
    }


class Work:
    """What computes meanwhile: matrix products of some ten milliseconds each."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._left = torch.randn(384, 384)

    def for_seconds(self, seconds: float, busy: Callable[[], bool] = lambda: True) -> float:
        """Products a second, until the time is over or nothing is ``busy`` any more."""
        begin, count = CLOCK.monotonic(), 0
        while CLOCK.monotonic() - begin < seconds and busy():
            for _ in range(8):
                self._left @ self._left
            count += 8
        return count / max(CLOCK.monotonic() - begin, 1e-9)


class Ours:
    """The two tiers, as a trainer drives them."""

    def __init__(self, root: Path, files: Files) -> None:
        self.run_dir = root / "run"
        self.run_dir.mkdir()
        self.files = files
        self._step = 0
        self._lease = Lease.take(self.run_dir, 1)
        link = Announcer(ScriptedLink(), CLOCK)
        self.snapshots = Snapshots(self.run_dir, torch.device("cpu"), link, CLOCK, on=True)
        job = Job(RunSpec("bench"), 1, str(self.run_dir), str(root))
        inflow = Inflow(torch.device("cpu"), link, CLOCK)
        self._flight = Flight(self.run_dir, self.snapshots, inflow, Handover(job, CLOCK), CLOCK)

    def begin(self) -> float:
        """A step is done and a save is due; the seconds that the call took."""
        self._step += 1
        begin = CLOCK.monotonic()
        manifest = Manifest("bench", self._step, 1, CLOCK.now(), "memory", None, "bench")
        self.snapshots.take(self.files, manifest, must=True)
        assert self.snapshots.has(self._step), "not enough shared memory: give fewer --megabytes"
        self._flight.begin(self._step, "schedule")
        return CLOCK.monotonic() - begin

    def stream(self) -> float:
        """The same on a machine where no slot fits; the seconds that the call took."""
        self._step += 1
        begin = CLOCK.monotonic()
        manifest = Manifest("bench", self._step, 1, CLOCK.now(), "schedule", None, "bench")
        assert self._flight.stream(self.files, manifest), "not enough memory for a ring"
        return CLOCK.monotonic() - begin

    def copied(self) -> bool:
        return not self.snapshots.is_copying and not self._flight.takes

    def join(self) -> float:
        """Before the update: the seconds that it waits."""
        begin = CLOCK.monotonic()
        self.snapshots.join()
        return CLOCK.monotonic() - begin

    def look(self, *, wait: bool = False) -> Landed | None:
        return self._flight.look("", wait=wait)

    def landed(self) -> Landed:
        """Wait for the commit."""
        while (found := self.look(wait=True)) is None:
            pass
        assert found.entry is not None, found.message
        return found

    def thin_out(self) -> None:
        for entry in catalog.list_checkpoints(self.run_dir)[1:]:
            shutil.rmtree(entry.path)

    def close(self) -> None:
        self._flight.close()
        self.snapshots.give_back()
        self._lease.release()


def settled() -> None:
    """Nothing of one measurement is left for the next one to write."""
    os.sync()


def plain_write(path: Path, files: Files) -> float:
    """Seconds of a sequential write of the same bytes, with one fsync."""
    pieces = [
        tensor.reshape(-1).view(torch.uint8).numpy().data
        for tensors in files.values()
        for tensor in tensors.values()
    ]
    begin = CLOCK.monotonic()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for piece in pieces:
        for at in range(0, len(piece), _CHUNK_BYTES):
            rest = piece[at : at + _CHUNK_BYTES]
            while rest:
                rest = rest[os.write(handle, rest) :]
    os.fsync(handle)
    os.close(handle)
    return CLOCK.monotonic() - begin


def plain_read(folder: Path) -> float:
    """Seconds of reading all files there, from the disk."""
    buffer = bytearray(_CHUNK_BYTES)
    forget(folder)
    begin = CLOCK.monotonic()
    for path in sorted(folder.iterdir()):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return CLOCK.monotonic() - begin


def forget(folder: Path) -> None:
    """Let the next reading come from the disk."""
    for path in folder.iterdir():
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def one_round(root: Path, ours: Ours, work: Work, seconds: float) -> dict[str, float]:
    """Everything once; the figures by name."""
    found: dict[str, float] = {}
    files = ours.files
    settled()
    found["plain write"] = plain_write(root / "plain", files)
    settled()

    # a save that nothing else disturbs
    ours.begin()
    ours.join()
    found["our write"] = ours.landed().seconds
    settled()

    # a step longer than the copy, with a save in flight, and the same without
    found["rate alone"] = work.for_seconds(seconds)
    begun = CLOCK.monotonic()
    stall = ours.begin()
    rates = []
    while not ours.copied():
        rates.append(work.for_seconds(_LOOK_SECONDS))
    found["our copy"] = CLOCK.monotonic() - begun
    found["our stall"] = stall + ours.join()
    while (landed := ours.look()) is None:
        rates.append(work.for_seconds(_LOOK_SECONDS))
    assert landed.entry is not None, landed.message
    found["our rate"] = statistics.mean(rates)
    settled()

    # the same through a ring, where a step that is shorter than "ring taken" waits for the rest
    begun = CLOCK.monotonic()
    found["ring stall"] = ours.stream()
    rates = []
    while not ours.copied():
        rates.append(work.for_seconds(_LOOK_SECONDS))
    found["ring taken"] = CLOCK.monotonic() - begun
    while (landed := ours.look()) is None:
        rates.append(work.for_seconds(_LOOK_SECONDS))
    assert landed.entry is not None, landed.message
    found["ring rate"] = statistics.mean(rates)
    settled()

    state = {"model": files["model"], "optimizer": files["optimizer"]}
    begin = CLOCK.monotonic()
    dcp.save(state, checkpoint_id=root / "dcp")
    found["dcp save"] = CLOCK.monotonic() - begin
    shutil.rmtree(root / "dcp")
    settled()
    found["rate alone again"] = work.for_seconds(seconds)
    begin = CLOCK.monotonic()
    future = dcp.async_save(state, checkpoint_id=root / "dcp")
    found["dcp stall"] = CLOCK.monotonic() - begin
    rates = []
    while not future.done():
        rates.append(work.for_seconds(_LOOK_SECONDS))
    future.result()
    # the training stands still during the call
    spent = len(rates) * _LOOK_SECONDS
    moving = statistics.mean(rates) if rates else 0.0
    found["dcp rate"] = moving * spent / (spent + found["dcp stall"])
    settled()

    newest = catalog.list_checkpoints(ours.run_dir)[0]
    found["plain read"] = plain_read(newest.path)
    forget(newest.path)
    begin = CLOCK.monotonic()
    loaded = reader.load(newest)
    found["our load"] = CLOCK.monotonic() - begin
    del loaded
    begin = CLOCK.monotonic()
    loaded = reader.load(slots.whole(ours.run_dir)[0])
    found["our load from memory"] = CLOCK.monotonic() - begin
    del loaded
    forget(root / "dcp")
    empty = {name: {key: torch.empty_like(t) for key, t in f.items()} for name, f in state.items()}
    begin = CLOCK.monotonic()
    dcp.load(empty, checkpoint_id=root / "dcp")
    found["dcp load"] = CLOCK.monotonic() - begin
    shutil.rmtree(root / "dcp")
    ours.thin_out()
    return found


def report(rounds: list[dict[str, float]], megabytes: float, head: str) -> str:
    """The table, as Markdown."""

    def all_of(name: str) -> list[float]:
        return [found[name] for found in rounds]

    def ratio(left: str, right: str) -> str:
        return spread([found[left] / found[right] for found in rounds])

    rows = [
        ("stall of a save, s", spread(all_of("our stall")), spread(all_of("dcp stall")), ""),
        ("  over async_save's (target <= 0.33)", ratio("our stall", "dcp stall"), "1", ""),
        (
            "write to the commit, s",
            spread(all_of("our write")),
            spread(all_of("dcp save")),
            spread(all_of("plain write")),
        ),
        (
            "  throughput over the plain write's (target >= 0.9)",
            ratio("plain write", "our write"),
            ratio("plain write", "dcp save"),
            "1",
        ),
        (
            "training with a save in flight, over without (target >= 0.95)",
            ratio("our rate", "rate alone"),
            ratio("dcp rate", "rate alone again"),
            "",
        ),
        ("copy to memory beside it (a shorter step waits), s", spread(all_of("our copy")), "", ""),
        (
            "through a ring, where no copy fits: stall of a save, s",
            spread(all_of("ring stall")),
            "",
            "",
        ),
        ("  until it has all (a shorter step waits), s", spread(all_of("ring taken")), "", ""),
        ("  training with it in flight, over without", ratio("ring rate", "rate alone"), "", ""),
        (
            "load from the disk, s",
            spread(all_of("our load")),
            spread(all_of("dcp load")),
            spread(all_of("plain read")),
        ),
        ("  over the plain read", ratio("our load", "plain read"), "", "1"),
        ("load from memory, s", spread(all_of("our load from memory")), "", ""),
    ]
    lines = [
        "# Checkpoints, measured",
        "",
        "```",
        head,
        "```",
        "",
        f"{megabytes:.0f} MB of state, {len(rounds)} rounds in turns on one disk; medians, and in "
        "brackets the range. DCP is torch.distributed.checkpoint "
        f"{torch.__version__}: `save` for the write, `async_save` for stall and throughput. Plain: "
        "the same bytes written in sequence with one fsync, and read. Writes by ours are hashed, "
        "and durable with all their names; loads by ours check every byte.",
        "",
        "| | ours | DCP | plain |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure, print the table and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of training without a save")
    parser.add_argument("--dir", type=Path, default=Path(), help="on the disk to be measured")
    parser.add_argument("--out", type=Path, help="a directory for checkpoint.md")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    head = header("make bench-checkpoint")
    with tempfile.TemporaryDirectory(prefix="bench-checkpoint-", dir=options.dir) as folder:
        root = Path(folder)
        store = dist.FileStore(str(root / "store"), 1)
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
        files = state_of(options.megabytes)
        size = sum(t.numel() * t.itemsize for f in files.values() for t in f.values()) / 1e6
        ours = Ours(root, files)
        work = Work()
        try:
            one_round(root, ours, work, options.seconds)  # processes and pages are there now
            rounds = [one_round(root, ours, work, options.seconds) for _ in range(options.rounds)]
        finally:
            ours.close()
            dist.destroy_process_group()
    text = report(rounds, size, head)
    print(text)
    if options.out:
        (options.out / "checkpoint.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
