"""Retention: which checkpoints stay and which may go: ``choose``, a pure function, decides."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.checkpoint import catalog
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.disk import REAL, Disk

#: never fewer whole checkpoints than this
LEAST_KEPT = 2


@dataclass(frozen=True)
class Candidate:
    """A whole checkpoint, as far as it matters here."""

    name: str
    step: int
    size_bytes: int
    pinned: bool = False
    #: not taken in the middle of trouble (trainer.health)
    good: bool = True
    #: validation of its very step in bits per byte, where it is known
    bits_per_byte: float | None = None


@dataclass(frozen=True)
class Policy:
    """How much is kept. What a person pinned and the last good one are kept on top of it."""

    #: newest ones, never fewer than two
    newest: int = 3
    #: older ones, spaced by powers of two of their age in steps
    history: int = 6
    #: best ones by validation
    best: int = 1
    #: bytes of all that is kept; 0 means no limit
    budget_bytes: int = 0

    def under_pressure(self) -> Policy:
        """While a full disk keeps new checkpoints away, old ones are worth less than room."""
        return dataclasses.replace(self, history=0, best=0)


@dataclass(frozen=True)
class Choice:
    """What becomes of one checkpoint, and why."""

    name: str
    step: int
    size_bytes: int
    keep: bool
    why: str
    #: whether a person pinned it, whatever else keeps it
    pinned: bool = False


def choose(candidates: Sequence[Candidate], policy: Policy) -> list[Choice]:
    """Decide on ``candidates``, newest first. What stays for several reasons names the first.

    A budget never costs a pinned one, the last good one or the two newest; of the rest the
    oldest of the history goes first, then the best, then the newest ones beyond two.
    """
    must: dict[str, str] = {}
    may: list[tuple[str, str]] = []
    for at, one in enumerate(candidates[: max(policy.newest, LEAST_KEPT)]):
        why = f"one of the {max(policy.newest, LEAST_KEPT)} newest"
        if at < LEAST_KEPT:
            must[one.name] = why
        else:
            may.append((one.name, why))
    for good in (one for one in candidates if one.good):
        must.setdefault(good.name, "the last good one")
        break
    must |= {one.name: "pinned" for one in candidates if one.pinned and one.name not in must}
    may += [(one.name, "best by validation") for one in _best(candidates, policy.best)]
    may += [
        (one.name, f"history, {candidates[0].step - one.step} steps back")
        for one in _spaced(candidates, policy.history)
    ]
    kept = _within_budget(candidates, must, may, policy.budget_bytes)
    whys = dict.fromkeys(dict(may), "over the budget") | kept
    return [
        Choice(
            name=one.name,
            step=one.step,
            size_bytes=one.size_bytes,
            keep=one.name in kept,
            why=whys.get(one.name, "no reason to keep it"),
            pinned=one.pinned,
        )
        for one in candidates
    ]


def _best(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    judged = [one for one in candidates if one.bits_per_byte is not None]
    return sorted(judged, key=lambda one: (one.bits_per_byte, -one.step))[:count]


def _spaced(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """The oldest of each span of ages [2^k, 2^(k+1)) steps, for the ``count`` youngest spans.

    Keeping the oldest makes repeated thinning stable: what is kept today moves from span to span
    as the run goes on, and each span is refilled from below.
    """
    oldest: dict[int, Candidate] = {}
    for one in candidates:
        age = candidates[0].step - one.step
        if age > 0:
            oldest[age.bit_length()] = one
    return [oldest[span] for span in sorted(oldest)[:count]]


def _within_budget(
    candidates: Iterable[Candidate],
    must: dict[str, str],
    may: list[tuple[str, str]],
    budget_bytes: int,
) -> dict[str, str]:
    sizes = {one.name: one.size_bytes for one in candidates}
    kept = dict(must)
    total = sum(sizes[name] for name in must)
    for name, why in may:
        if name in kept:
            continue
        if budget_bytes and total + sizes[name] > budget_bytes:
            # what follows is worth less, and must not take the room of what did not fit
            break
        kept[name] = why
        total += sizes[name]
    return kept


# --- on the disk ----------------------------------------------------------------------------


def pin(path: Path, *, disk: Disk = REAL) -> None:
    """Keep this checkpoint, durably, until ``unpin``. Raises OSError."""
    _mark(path, catalog.PINNED, disk)
    disk.fsync_dir(path)


def unpin(path: Path, *, disk: Disk = REAL) -> None:
    """Let retention decide again. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(path / catalog.PINNED)
        disk.fsync_dir(path)


def is_pinned(path: Path, *, disk: Disk = REAL) -> bool:
    """Whether a person wants it kept."""
    return _is_marked(path, catalog.PINNED, disk)


def read_at(path: Path) -> float:
    """When all bytes of a checkpoint were last read and found good, in seconds since 1970.

    0 when they never were. By the machine's clock at that time, which may have been wrong.
    """
    try:
        return (path / catalog.VERIFIED).stat().st_mtime
    except OSError:
        return 0.0


def mark_read(path: Path, when: float) -> None:
    """Note that all its bytes were read and found good, ``when`` in seconds since 1970."""
    with contextlib.suppress(OSError):
        _mark(path, catalog.VERIFIED, REAL)
        os.utime(path / catalog.VERIFIED, (when, when))


def read_back(entry: Entry, *, disk: Disk = REAL) -> bool:
    """Whether all its bytes are there, read once in its life; ``verify`` reads them again."""
    if _is_marked(entry.path, catalog.VERIFIED, disk):
        return True
    if not catalog.verify(entry.path, disk=disk).ok:
        return False
    # a hint that saves time, of no use after a crash: not synced
    with contextlib.suppress(OSError):
        _mark(entry.path, catalog.VERIFIED, disk)
    return True


def plan_retention(
    run_dir: Path,
    policy: Policy,
    scores: Mapping[int, float] | None = None,
    *,
    thorough: bool = False,
    disk: Disk = REAL,
) -> list[Choice]:
    """What ``retain`` would keep and delete, and why; newest first.

    Args:
        scores: validation in bits per byte by step, on top of what the checkpoints tell.
        thorough: the newest count only once all their bytes were read back.
    """
    entries = catalog.list_checkpoints(run_dir, disk=disk)
    if thorough:
        entries = _read_back(entries, max(policy.newest, LEAST_KEPT), disk)
    known = {**_scores(entries), **(scores or {})}
    return choose([_candidate(entry, known.get(entry.step), disk) for entry in entries], policy)


def retain(
    run_dir: Path,
    policy: Policy,
    scores: Mapping[int, float] | None = None,
    *,
    thorough: bool = False,
    disk: Disk = REAL,
) -> list[str]:
    """Delete the checkpoints that ``policy`` has no reason to keep.

    Damaged ones do not count and are not touched. Arguments as for ``plan_retention``.

    Returns:
        The names that are gone, newest first.

    Raises:
        OSError: a deletion failed; what was renamed to trash is left to ``sweep``.
    """
    catalog.finish_rollback(run_dir, disk=disk)
    choices = plan_retention(run_dir, policy, scores, thorough=thorough, disk=disk)
    gone = [choice.name for choice in choices if not choice.keep]
    for name in gone:
        catalog.discard(catalog.checkpoints_dir(run_dir) / name, disk=disk)
    # what rollbacks set aside goes once the run has got further than that by another way
    for aside in catalog.undone(run_dir, disk=disk):
        if choices and aside.step < choices[0].step:
            catalog.discard(catalog.checkpoints_dir(run_dir) / str(aside), disk=disk)
    return gone


def _read_back(entries: list[Entry], needed: int, disk: Disk) -> list[Entry]:
    """All but those among the newest that prove damaged, until ``needed`` are whole."""
    whole = 0
    kept = []
    for entry in entries:
        if whole < needed:
            if not read_back(entry, disk=disk):
                continue
            whole += 1
        kept.append(entry)
    return kept


def _candidate(entry: Entry, score: float | None, disk: Disk) -> Candidate:
    health = entry.manifest.meta.get("health")
    return Candidate(
        name=entry.name,
        step=entry.step,
        size_bytes=entry.size_bytes,
        pinned=is_pinned(entry.path, disk=disk),
        good=not (isinstance(health, dict) and health.get("bad_steps")),
        bits_per_byte=score,
    )


def _scores(entries: list[Entry]) -> dict[int, float]:
    """A checkpoint is taken before the validation of its step; the next one tells the result."""
    found = {}
    for entry in entries:
        meta = entry.manifest.meta
        step, score = meta.get("evaluated_step"), meta.get("bits_per_byte")
        if isinstance(step, int) and isinstance(score, float):
            found[step] = score
    return found


def _mark(path: Path, marker: str, disk: Disk) -> None:
    with contextlib.suppress(FileExistsError):
        disk.close(disk.create(path / marker))


def _is_marked(path: Path, marker: str, disk: Disk) -> bool:
    try:
        disk.size_bytes(path / marker)
    except OSError:
        return False
    return True
