"""Slots: the newest states of a run in shared memory, where a kill of any process leaves them.

A slot is a directory laid out like a checkpoint (``format``): data files, and a MANIFEST with the
checksum of every byte, which is taken away before the first byte changes and put back after the
last. Memory outlives processes and no power cut, so nothing here is synced. There are two slots
where the machine has room for two, so that one is whole while the other is being filled.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from pathlib import Path

from trainer.checkpoint import host_memory
from trainer.checkpoint.catalog import Entry, Verdict, examine
from trainer.checkpoint.disk import REAL, remove_tree
from trainer.checkpoint.format import MANIFEST, DamagedError

#: Linux's file system in memory; what is in it belongs to no process
SHM = Path("/dev/shm")  # noqa: S108 - not for temporary files, and guarded by ``make_home``
NAMES = ("a", "b")
#: what the machine keeps for everything else: at least so much, or an eighth of its memory
_LEAST_RESERVE_BYTES = 1 << 30
_RESERVE_SHARE = 8


def home(run_dir: Path) -> Path:
    """Where the slots of the run in ``run_dir`` lie, whether they are there or not."""
    digest = hashlib.sha256(os.fsencode(run_dir.resolve())).hexdigest()[:16]
    return SHM / f"homerun-{os.getuid()}-{digest}"


def are_any() -> bool:
    """Whether any run of ours has slots."""
    return any(SHM.glob(f"homerun-{os.getuid()}-*"))


def make_home(run_dir: Path) -> Path:
    """Make sure that it is there and nobody else's.

    Raises:
        OSError: it cannot be made, or somebody else made it.
    """
    path = home(run_dir)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    _demand_ours(path)
    return path


def _demand_ours(path: Path) -> None:
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "not a private directory of ours", str(path))


def whole(run_dir: Path) -> list[Entry]:
    """The slots with a sound MANIFEST and files of the right sizes, newest first.

    Their bytes are not read: whoever loads one does.
    """
    found = []
    for path in _filled(run_dir):
        with contextlib.suppress(DamagedError, OSError):
            found.append(examine(path))
    return sorted(found, key=lambda entry: (entry.step, entry.attempt), reverse=True)


def torn(run_dir: Path) -> list[Verdict]:
    """The slots whose filling was cut short, or whose MANIFEST or sizes are wrong."""
    verdicts = []
    for path in _filled(run_dir):
        try:
            examine(path)
        except DamagedError as error:
            verdicts.append(Verdict(path.name, -1, False, error.problems))
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
            verdicts.append(Verdict(path.name, -1, False, (problem,)))
    return verdicts


def _filled(run_dir: Path) -> list[Path]:
    """The slots that hold anything; none in a directory that somebody else could write to."""
    place = home(run_dir)
    try:
        _demand_ours(place)
        names = REAL.names(place)
    except OSError:
        return []
    return [place / name for name in NAMES if name in names and _holds_files(place / name)]


def _holds_files(path: Path) -> bool:
    try:
        return bool(REAL.names(path))
    except OSError:
        return True


def invalidate(slot: Path) -> None:
    """From now on the slot is not whole. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        REAL.unlink(slot / MANIFEST)


def discard(run_dir: Path) -> bool:
    """Give the memory of all slots back; whether there were any."""
    place = home(run_dir)
    try:
        _demand_ours(place)
        remove_tree(REAL, place)
    except OSError:
        return False
    return True


def count_for(state_bytes: int, free_bytes: int) -> int:
    """How many slots of that size there is room for: two, one or none."""
    return max(0, min(len(NAMES), free_bytes // max(1, state_bytes)))


def free_bytes(run_dir: Path | None = None) -> int:
    """What slots may take now, those that this run has included."""
    try:
        space = os.statvfs(SHM)
    except OSError:
        return 0
    in_shm = space.f_bavail * space.f_frsize
    memory = host_memory.read()
    reserve = max(_LEAST_RESERVE_BYTES, memory.total // _RESERVE_SHARE)
    own = sum(_taken_bytes(path) for path in _filled(run_dir)) if run_dir else 0
    return own + max(0, min(in_shm, memory.available - reserve))


def _taken_bytes(slot: Path) -> int:
    taken = 0
    with contextlib.suppress(OSError):
        for name in REAL.names(slot):
            taken += (slot / name).lstat().st_blocks * 512
    return taken
