"""Power cuts on paper: every disk that a cut may leave, of checkpoints and of the store."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.campaign.row import Row
from tests.powercut import tracing
from tests.powercut.store import findings, record_store
from tests.unit.checkpoint.plain import commit_plain
from tests.unit.checkpoint.powercut import cut_everywhere
from tests.unit.checkpoint.test_powercut_house import copies_after_cuts, record_copies
from trainer.checkpoint.disk import Operation, RecordingDisk
from trainer.checkpoint.lease import Lease
from trainer.checkpoint.retention import Policy, retain

#: of all states, those of the store: each is laid out on a real disk and opened by a real store
_STORE_SHARE = 0.25
_MIRROR_SHARE = 0.25


def run(seed: int, minimum_states: int, _: Path) -> list[Row]:
    """Recover from at least ``minimum_states`` crash states of real operations.

    A few hundred take seconds, five thousand a minute. What is lost is counted against what was
    acknowledged: a state in which anything acknowledged is missing, or anything wrong is trusted,
    is wrong. Where nobody can trace a process, the states of the store are left out and those of
    checkpoints take their place.
    """
    rng = random.Random(seed)
    rows = []
    wanted = 0
    if not tracing.unusable():
        wanted = int(minimum_states * _STORE_SHARE)
        rows.append(_row("power cut in a store transaction or backup", _store(rng, wanted)))
    copies = int(minimum_states * _MIRROR_SHARE)
    rows.append(_row("power cut in a copy to the mirror", _copies(rng, copies)))
    rest = minimum_states - wanted - copies
    rows.append(_row("power cut in a save or a retention sweep", _checkpoints(rng, rest)))
    return rows


def _row(fault: str, outcomes: Iterator[bool]) -> Row:
    good = list(outcomes)
    return Row(fault, len(good), 0.0, 0.0, sum(good), len(good) - sum(good))


def _store(rng: random.Random, minimum: int) -> Iterator[bool]:
    """Whether each state of the store kept all that was acknowledged."""
    count = 0
    while count < minimum:
        with tempfile.TemporaryDirectory(dir=_memory()) as directory:
            root = Path(directory)
            calls = record_store(root / "state", rng.randint(4, 12))
            seed, share = rng.getrandbits(32), min(1.0, minimum / 1000)
            for one in findings(calls, root / "state", root, seed=seed, drawn=2, share=share):
                count += 1
                yield not one.problem


def _checkpoints(rng: random.Random, minimum: int) -> Iterator[bool]:
    """Whether each state of a run's directory kept every acknowledged checkpoint."""
    count = 0
    while count < minimum:
        with tempfile.TemporaryDirectory(dir=_memory()) as directory:
            root = Path(directory)
            cuts = cut_everywhere(_saves(root / "run", rng), root, root / "run")
            for _, broken in itertools.islice(cuts, minimum - count):
                count += 1
                yield not broken


def _copies(rng: random.Random, minimum: int) -> Iterator[bool]:
    """Whether each state of a mirror kept the newest copy and trusts none that is damaged."""
    count = 0
    while count < minimum:
        with tempfile.TemporaryDirectory(dir=_memory()) as directory:
            root = Path(directory)
            (root / "run").mkdir()
            log = record_copies(root, root / "run", rng.randint(4, 7), keep=rng.randint(2, 3))
            for broken in itertools.islice(copies_after_cuts(log, root), minimum - count):
                count += 1
                yield not broken


def _saves(run_dir: Path, rng: random.Random) -> list[Operation]:
    """Saves of random bytes with retention after each, all recorded."""
    disk = RecordingDisk()
    run_dir.mkdir()
    with Lease.take(run_dir, 1, disk=disk) as lease:
        disk.mark("fence 1")
        for step in range(1, rng.randint(4, 9)):
            files = {name: rng.randbytes(rng.randint(1, 80)) for name in ("model", "optimizer")}
            entry = commit_plain(
                run_dir, step, files=files, guard=lease, disk=disk, chunk_bytes=rng.randint(8, 40)
            )
            disk.mark(f"saved {entry.name}")
            retain(run_dir, Policy(rng.randint(2, 3), 0, 0), disk=disk)
    return disk.log


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
