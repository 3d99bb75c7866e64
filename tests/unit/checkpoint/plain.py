"""Committing plain bytes without torch, and the child processes that the tests kill.

Run as ``python -m tests.unit.checkpoint.plain MODE RUN_DIR ...`` from the repository's root.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainer.checkpoint import catalog, retention
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.commit import SaveError, Stream, commit
from trainer.checkpoint.disk import REAL, Disk, ObservedDisk, Operation, RealDisk
from trainer.checkpoint.format import Manifest
from trainer.checkpoint.lease import Lease, next_token

ROOT = Path(__file__).parents[3]
CREATED = datetime(2026, 12, 1, 12, tzinfo=UTC)


class Open:
    """A guard that lets everybody through."""

    def check(self) -> None:
        pass


OPEN = Open()


def manifest(
    step: int,
    attempt: int = 1,
    meta: dict[str, Any] | None = None,
    *,
    run: str = "toy",
    digest: str = "cafe",
) -> Manifest:
    return Manifest(run, step, attempt, CREATED, "schedule", None, digest, meta=meta or {})


def stream(name: str, content: bytes, chunk_bytes: int = 1 << 20) -> Stream:
    pieces = range(0, len(content), chunk_bytes)
    return Stream(name, len(content), [memoryview(content[at : at + chunk_bytes]) for at in pieces])


def content(step: int, size_bytes: int = 3000) -> bytes:
    """Bytes that differ from step to step and from place to place."""
    return b"".join((step * 1_000_003 + at).to_bytes(8, "big") for at in range(size_bytes // 8))


def commit_plain(
    run_dir: Path,
    step: int,
    *,
    attempt: int = 1,
    files: dict[str, bytes] | None = None,
    disk: Disk = REAL,
    guard: Any = OPEN,
    chunk_bytes: int = 1 << 20,
    run: str = "toy",
    digest: str = "cafe",
) -> Entry:
    """Commit ``files``, or two files of ``content``."""
    run_dir.mkdir(exist_ok=True)
    data = files or {"model.bin": content(step), "optimizer.bin": content(step + 1)}
    streams = [stream(name, item, chunk_bytes) for name, item in data.items()]
    about = manifest(step, attempt, run=run, digest=digest)
    return commit(run_dir, streams, about, guard=guard, disk=disk)


def spawn(*words: object) -> subprocess.Popen[str]:
    """Start this module in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.checkpoint.plain", *map(str, words)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> str:
    """SIGKILL, wait until it is gone, and return what it still had said."""
    process.kill()
    assert process.stdout is not None
    # communicate() would pass over what readline() has already buffered
    rest = process.stdout.read()
    process.stdout.close()
    if process.stdin is not None:
        process.stdin.close()
    process.wait()
    return rest


# --- in the child -------------------------------------------------------------------------


class TellingDisk(ObservedDisk):
    """Says each operation aloud before it happens, so that a parent can kill in between."""

    def _perform(self, operation: Operation, action: Callable[[], Any]) -> Any:
        say(operation.kind)
        return action()


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def save_forever(run_dir: Path, keep: int) -> None:
    """Save, say so, thin out, and again, until somebody kills us."""
    lease = Lease.take(run_dir, next_token(run_dir))
    catalog.sweep(run_dir)
    entries = catalog.list_checkpoints(run_dir)
    step = entries[0].step if entries else 0
    disk = TellingDisk(RealDisk())
    while True:
        step += 1
        entry = commit_plain(
            run_dir, step, attempt=lease.token, disk=disk, guard=lease, chunk_bytes=512
        )
        say(f"saved {entry.name}")
        for name in retention.retain(run_dir, retention.Policy(keep, 0, 0), disk=disk):
            say(f"deleted {name}")


def hold_lock(run_dir: Path) -> None:
    """Take the lease, say so, and keep it until stdin closes."""
    with Lease.take(run_dir, next_token(run_dir)):
        say("locked")
        sys.stdin.read()


def hold_lock_with_child(run_dir: Path) -> None:
    """Take the lease, then fork a child that outlives us and says its pid."""
    with Lease.take(run_dir, next_token(run_dir)):
        if os.fork() == 0:
            say(str(os.getpid()))
        sys.stdin.read()


class Blind(RealDisk):
    """A disk that never tells how full it is."""

    def free_bytes(self, path: Path) -> int:
        return 1 << 60


def fill_up(run_dir: Path) -> None:
    """Save bigger and bigger checkpoints until the disk is full; then say what is left."""
    for step in range(1, 100):
        try:
            commit_plain(
                run_dir, step, files={"model.bin": content(step, step << 16)}, disk=Blind()
            )
        except SaveError as error:
            say(f"{error.kind} at {step}")
            break
    whole = [entry.step for entry in catalog.list_checkpoints(run_dir)]
    good = all(catalog.verify(entry.path).ok for entry in catalog.list_checkpoints(run_dir))
    names = [path.name[:3] for path in (run_dir / "checkpoints").iterdir()]
    say(f"whole {whole} good {good} kinds {sorted(set(names))}")


def main(words: Iterable[str]) -> None:
    mode, run_dir, *rest = words
    modes: dict[str, Callable[..., None]] = {
        "save": save_forever,
        "lock": hold_lock,
        "fork": hold_lock_with_child,
        "fill": fill_up,
    }
    modes[mode](Path(run_dir), *map(int, rest))


if __name__ == "__main__":
    main(sys.argv[1:])
