"""Lease: never two trainers on one run, and no commit by a writer whose time is over.

Two guards, because either alone has a hole. ``RUN_DIR/lock`` is held by flock while the trainer
lives; the kernel frees it at any death, but a supervisor that believes a trainer dead cannot
take it back. ``RUN_DIR/fence`` holds the highest attempt that may write; raising it stops every
older writer at its next commit.

The writer process of an attempt may outlive its trainer. It holds ``RUN_DIR/writer`` by flock, and
no next attempt takes the lease before that lock is free: for a while it lets the writer finish,
then it fences it off, which ends it within moments.

A fence file that is missing, empty or damaged is read as the highest attempt number found among
the names in ``RUN_DIR/checkpoints``: no attempt that ever wrote is let past it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from trainer.checkpoint.disk import REAL, Disk, read_whole
from trainer.checkpoint.format import parse_name
from trainer.clock import Clock, SystemClock

_CLOCK = SystemClock()
_POLL_SECONDS = 0.02
_GUARD_SECONDS = 5.0
_MAGIC = "homerun-fence 1"
#: the writer process's own lock
_WRITER = "writer"


class LeaseError(Exception):
    """This process may not write to the run."""


class Locked(LeaseError):
    """Another process lives on the run; ``pid`` is 0 when it did not say who it is."""

    def __init__(self, message: str, pid: int = 0) -> None:
        self.pid = pid
        super().__init__(message)


class Fenced(LeaseError):
    """A newer attempt owns the run."""

    #: as in SaveError
    kind = "fenced"


class Removed(Fenced):
    """The run's directory was deleted under us; nobody else has taken its place yet.

    Whoever hears it leaves, as one that is fenced off does: only a next attempt may make the
    directory anew, and takes lock and fence there.
    """

    kind = "removed"


class Lease:
    """The right to write to a run, held until ``release`` or the death of the process."""

    def __init__(self, run_dir: Path, token: int, lock: int, disk: Disk) -> None:
        self.run_dir = run_dir
        #: the attempt's number
        self.token = token
        self._lock = lock
        self._disk = disk
        _LEASES.add(self)

    @classmethod
    def take(
        cls,
        run_dir: Path,
        attempt: int,
        *,
        wait_seconds: float = 2.0,
        clock: Clock = _CLOCK,
        disk: Disk = REAL,
    ) -> Lease:
        """Lock the run and raise its fence to ``attempt``.

        A writer process of an older attempt may finish what it is at for ``wait_seconds``; when
        this returns there is none.

        Raises:
            Locked: somebody else still holds the lock after ``wait_seconds``, or a writer does
                that long after it was fenced off.
            Fenced: the fence is already higher than ``attempt``.
            OSError: the directory cannot be written.
        """
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = _take_lock(run_dir / "lock", wait_seconds, clock)
        try:
            await_writer(run_dir, wait_seconds, clock)
            raise_fence(run_dir, attempt, clock=clock, disk=disk)
            if not await_writer(run_dir, wait_seconds, clock):
                pid = writer_pid(run_dir)
                raise Locked(f"process {pid} still writes a checkpoint to {run_dir}", pid)
            lease = cls(run_dir, attempt, lock, disk)
            lease.check()
        except BaseException:
            os.close(lock)
            raise
        return lease

    def check(self) -> None:
        """Raises Fenced when a newer attempt owns the run, or when the lock is no longer ours.

        Of these, Removed when it was deleted.
        """
        if self._lock < 0:
            raise Fenced(f"the lease of attempt {self.token} was given back")
        _demand_in_place(self._lock, self.run_dir / "lock")
        fence = read_fence(self.run_dir, disk=self._disk)
        if fence > self.token:
            raise Fenced(f"attempt {fence} owns {self.run_dir} now, this is attempt {self.token}")

    def release(self) -> None:
        """Give the lock back; more than once does no harm."""
        if self._lock >= 0:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            self._forget()

    def _forget(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class WriterLock:
    """What the writer process of an attempt holds while it lives."""

    def __init__(self, run_dir: Path, token: int, *, disk: Disk = REAL) -> None:
        """Raises Locked when another writer lives on the run, Fenced when its time is over."""
        self.run_dir = run_dir
        self.token = token
        self._disk = disk
        self._lock = _take_lock(run_dir / _WRITER, _GUARD_SECONDS, _CLOCK)
        try:
            self.check()
        except BaseException:
            os.close(self._lock)
            raise

    def check(self) -> None:
        """Raises Fenced when a newer attempt owns the run; Removed as Lease does."""
        _demand_in_place(self._lock, self.run_dir / _WRITER)
        fence = read_fence(self.run_dir, disk=self._disk)
        if fence > self.token:
            raise Fenced(f"attempt {fence} owns {self.run_dir} now, this is attempt {self.token}")

    def release(self) -> None:
        """Let others write."""
        os.close(self._lock)


def is_writing(run_dir: Path) -> bool:
    """Whether the writer process of an attempt lives."""
    return _is_locked(run_dir / _WRITER)


def writer_pid(run_dir: Path) -> int:
    """The writer process of an attempt; 0 when there is none."""
    if not is_writing(run_dir):
        return 0
    with contextlib.suppress(OSError, ValueError):
        return int((run_dir / _WRITER).read_text(encoding="ascii"))
    return 0


def await_writer(run_dir: Path, wait_seconds: float, clock: Clock = _CLOCK) -> bool:
    """Wait until no writer process lives on the run any more; False when one still does."""
    deadline = clock.monotonic() + wait_seconds
    while is_writing(run_dir):
        if clock.monotonic() >= deadline:
            return False
        clock.sleep(_POLL_SECONDS)
    return True


def read_fence(run_dir: Path, *, disk: Disk = REAL) -> int:
    """The highest attempt that may write; 0 for a run that nobody ever wrote to."""
    fence = _written_fence(run_dir, disk)
    return highest_attempt(run_dir, disk=disk) if fence is None else fence


def raise_fence(run_dir: Path, token: int, *, clock: Clock = _CLOCK, disk: Disk = REAL) -> None:
    """Stop every writer older than ``token``, durably. A fence that is higher already stays.

    Raises:
        Locked: somebody has been raising it for seconds.
        OSError: the fence cannot be written.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with _guarding(run_dir, clock):
        written = _written_fence(run_dir, disk)
        if written is None:
            token = max(token, highest_attempt(run_dir, disk=disk))
        if written is None or written < token:
            _write_fence(run_dir, token, disk)


def next_token(run_dir: Path, *, disk: Disk = REAL) -> int:
    """A number for the next attempt: higher than every one that ever wrote."""
    return max(read_fence(run_dir, disk=disk), highest_attempt(run_dir, disk=disk)) + 1


def highest_attempt(run_dir: Path, *, disk: Disk = REAL) -> int:
    """The highest attempt named in ``checkpoints/``, whatever became of it; 0 without any."""
    try:
        names = disk.names(run_dir / "checkpoints")
    except FileNotFoundError:
        return 0
    return max((name.attempt for name in map(parse_name, names) if name), default=0)


def is_held(run_dir: Path) -> bool:
    """Whether a trainer lives on the run. Holds its lock for an instant, which delays nobody."""
    return _is_locked(run_dir / "lock")


def _is_locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(handle)


def _fence_text(token: int) -> str:
    return f"{_MAGIC} {token} {zlib.crc32(str(token).encode()):08x}\n"


def _written_fence(run_dir: Path, disk: Disk) -> int | None:
    try:
        text = read_whole(disk, run_dir / "fence", 256).decode("ascii", "replace")
    except OSError:
        return None
    words = text.split()
    if len(words) == 4 and words[2].isdecimal() and text == _fence_text(int(words[2])):
        return int(words[2])
    return None


def _write_fence(run_dir: Path, token: int, disk: Disk) -> None:
    new = run_dir / "fence.new"
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(new)
    handle = disk.create(new)
    try:
        disk.write(handle, memoryview(_fence_text(token).encode()))
        disk.fsync(handle)
    finally:
        disk.close(handle)
    disk.rename(new, run_dir / "fence")
    disk.fsync_dir(run_dir)


@contextlib.contextmanager
def _guarding(run_dir: Path, clock: Clock) -> Iterator[None]:
    # Two that raise the fence at once could lower it between reading and writing.
    handle = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not _flock(handle, _GUARD_SECONDS, clock):
            raise Locked(f"the fence of {run_dir} is being raised by a process that hangs")
        yield
    finally:
        os.close(handle)


def _take_lock(path: Path, wait_seconds: float, clock: Clock) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _flock(handle, wait_seconds, clock):
                raise _locked(path, handle)
            if _is_at(handle, path):
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
                return handle
        except BaseException:
            os.close(handle)
            raise
        # Somebody removed the file while we waited for it: what we hold guards nothing.
        os.close(handle)


def _flock(handle: int, wait_seconds: float, clock: Clock) -> bool:
    deadline = clock.monotonic() + wait_seconds
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if clock.monotonic() >= deadline:
            return False
        clock.sleep(_POLL_SECONDS)


def _locked(path: Path, handle: int) -> Locked:
    text = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
    pid = int(text) if text.isdecimal() else 0
    who = f"process {pid}" if pid else "another process"
    return Locked(f"{path.parent} is in use by {who}; two trainers on one run never", pid)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _demand_in_place(handle: int, path: Path) -> None:
    if _is_at(handle, path):
        return
    if path.exists():
        raise Fenced(
            f"{path} was replaced: another trainer or a copy is in {path.parent} now; end the "
            "other one, or bring the directory back, then homerun resume"
        )
    if _is_deleted(handle, path):
        raise Removed(f"{path} was removed: somebody deleted it, or all of {path.parent}")
    raise Fenced(
        f"{path} is gone: its directory was moved away, or its disk is no longer mounted; bring "
        "it back, then homerun resume"
    )


def _is_deleted(handle: int, path: Path) -> bool:
    """Whether it is, and what is made at ``path`` now would lie on the disk that it lay on."""
    status = os.fstat(handle)
    place = next(place for place in path.parents if place.exists())
    return status.st_nlink == 0 and place.stat().st_dev == status.st_dev


_LEASES: weakref.WeakSet[Lease] = weakref.WeakSet()


def _forget_in_child() -> None:
    # A forked child shares the lock and would keep it after the trainer's death. Closing its
    # copy leaves the parent's lock as it is; unlocking would not.
    for lease in list(_LEASES):
        lease._forget()


os.register_at_fork(after_in_child=_forget_in_child)
