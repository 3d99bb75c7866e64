"""Processes by identity: a pid together with its start time, killed by pidfd and awaited."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import select
import signal
import stat
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Misconfigured
from orchestrator.home.clock import Clock

#: sun_path of AF_UNIX holds 108 bytes, the last of them a zero
SOCKET_PATH_BYTES = 107
#: what Ray appends to the runtime directory for its longest socket:
#: /ray/session_<date>_<time>_<microseconds>_<pid>/sockets/plasma_store
RAY_SOCKET_BYTES = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# linux/pidfd.h, since Linux 6.15: struct pidfd_info of 64 bytes, exit_code at offset 60
_PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11
_PIDFD_INFO_EXIT = 1 << 3


@dataclass(frozen=True)
class Identity:
    """One process for ever: a reused pid has other start ticks (field 22 of /proc/PID/stat)."""

    pid: int
    start_ticks: int


@dataclass(frozen=True)
class Stat:
    """The fields of /proc/PID/stat that tell whose a process is."""

    pid: int
    state: str
    parent: int
    session: int
    start_ticks: int

    @property
    def identity(self) -> Identity:
        return Identity(self.pid, self.start_ticks)

    @property
    def dead(self) -> bool:
        """Exited, but not yet reaped by its parent."""
        return self.state in ("Z", "X")


def read_stat(pid: int) -> Stat | None:
    """What the kernel says about ``pid`` now, or None when there is no such process."""
    fields = _stat_fields(pid)
    if fields is None:
        return None
    return Stat(pid, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def _stat_fields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # the name stands in parentheses and may contain any byte, these included
    return text[text.rindex(")") + 2 :].split()


def identify(pid: int) -> Identity | None:
    """The identity of a living process."""
    found = read_stat(pid)
    return found.identity if found and not found.dead else None


def own_identity() -> Identity:
    """The identity of this process."""
    found = identify(os.getpid())
    assert found is not None
    return found


def all_processes() -> dict[int, Stat]:
    """Every process that can be seen, by pid."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {found.pid: found for pid in pids if (found := read_stat(pid))}


def descendants(roots: Collection[int], table: Mapping[int, Stat]) -> set[int]:
    """The pids below ``roots``, without the roots themselves."""
    children: dict[int, list[int]] = {}
    for found in table.values():
        children.setdefault(found.parent, []).append(found.pid)
    below: set[int] = set()
    todo = list(roots)
    while todo:
        for child in children.get(todo.pop(), []):
            if child not in below:
                below.add(child)
                todo.append(child)
    return below - set(roots)


def command_line(pid: int) -> str:
    """The arguments of a process joined by spaces; empty when it is gone."""
    return _read_zero_separated(pid, "cmdline").replace("\0", " ").strip()


def environment_value(pid: int, name: str) -> str | None:
    """A variable from the environment that a process was started with."""
    for item in _read_zero_separated(pid, "environ").split("\0"):
        key, found, value = item.partition("=")
        if found and key == name:
            return value
    return None


def _read_zero_separated(pid: int, what: str) -> str:
    try:
        return Path(f"/proc/{pid}/{what}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# --- pidfd ----------------------------------------------------------------------------------


def open_pidfd(identity: Identity) -> int | None:
    """A pidfd of exactly this process, or None when it is gone. The caller closes it."""
    try:
        pidfd = os.pidfd_open(identity.pid)
    except (ProcessLookupError, OSError):
        return None
    # read after opening: from now on the pidfd names what the pid named at this moment
    now = read_stat(identity.pid)
    if now is None or now.identity != identity:
        os.close(pidfd)
        return None
    return pidfd


def wait_pidfd(pidfd: int, timeout_seconds: float | None) -> bool:
    """Whether the process behind ``pidfd`` has exited, waited for at most so long."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(None if timeout_seconds is None else timeout_seconds * 1000))


def exit_status(identity: Identity, pidfd: int) -> int | None:
    """The wait status of an exited process that need not be our child; None when unknown.

    Before its parent has reaped it, it stands in /proc; afterwards the pidfd knows it, if it
    was opened while the process lived and Linux is 6.15 or newer.
    """
    found = _zombie_status(identity)
    if found is not None:
        return found
    buffer = bytearray(struct.pack("=Q56x", _PIDFD_INFO_EXIT))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer)
    except OSError:
        return None
    (mask,) = struct.unpack_from("=Q", buffer, 0)
    (status,) = struct.unpack_from("=i", buffer, 60)
    return int(status) if mask & _PIDFD_INFO_EXIT else None


def _zombie_status(identity: Identity) -> int | None:
    fields = _stat_fields(identity.pid)
    if fields is None or fields[0] != "Z" or int(fields[19]) != identity.start_ticks:
        return None
    return int(fields[49])


def in_words(wait_status: int | None) -> str:
    """How a process ended: "exit code 1", "killed by SIGKILL", or "ended" when unknown."""
    if wait_status is None:
        return "ended"
    if os.WIFSIGNALED(wait_status):
        return f"killed by {signal_name(os.WTERMSIG(wait_status))}"
    return f"exit code {os.waitstatus_to_exitcode(wait_status)}"


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; real-time signals have no name and keep their number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def send_signal(identity: Identity, number: int) -> bool:
    """Signal exactly this process; False when it is gone or not ours to signal."""
    pidfd = open_pidfd(identity)
    if pidfd is None:
        return False
    try:
        signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(pidfd)
    return True


def kill_and_wait(
    victims: Iterable[Identity], clock: Clock, timeout_seconds: float
) -> set[Identity]:
    """SIGKILL all of them, wait until they have exited, reap those that are our children.

    Returns:
        Those that still live when the time is up (uninterruptible, or of another user).
    """
    open_fds = {victim: fd for victim in victims if (fd := open_pidfd(victim)) is not None}
    deadline = clock.monotonic() + timeout_seconds
    alive: set[Identity] = set()
    try:
        for fd in open_fds.values():
            _kill(fd)
        for victim, fd in open_fds.items():
            if not wait_pidfd(fd, max(0.0, deadline - clock.monotonic())):
                alive.add(victim)
    finally:
        for fd in open_fds.values():
            os.close(fd)
    for victim in set(open_fds) - alive:
        reap(victim.pid)
    return alive


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def reap(pid: int) -> None:
    """Take the exit status of a dead child, if it is one: an adopted orphan has no other parent."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except (ChildProcessError, ProcessLookupError):
        return


# --- fate -----------------------------------------------------------------------------------


def become_subreaper() -> None:
    """Orphans below this process become its children, so that they can be found and reaped."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def signal_on_parent_death(number: int) -> None:
    """The kernel sends ``number`` to the calling thread's process when its parent thread ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


# --- places ---------------------------------------------------------------------------------


def state_hash(state_dir: Path) -> str:
    """Eight hex digits that name a state directory."""
    return hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:8]


def runtime_dir(state_dir: Path, env: Mapping[str, str] | None = None) -> Path:
    """The directory for sockets and Ray's session: short, private (0700), ours.

    The first of $RUNTIME_DIRECTORY (systemd), $XDG_RUNTIME_DIR/homerun-<hash of the state
    directory>, /tmp/homerun-<uid>-<hash> that is set and short enough. It is created.

    Raises:
        Misconfigured: it is too long for Ray's sockets, or belongs to somebody else.
    """
    env = os.environ if env is None else env
    name = state_hash(state_dir)
    given = env.get("RUNTIME_DIRECTORY", "").split(":")[0]
    session = env.get("XDG_RUNTIME_DIR", "")
    if given:
        path = Path(given)
    elif session and Path(session).is_dir() and _fits(Path(session) / f"homerun-{name}"):
        path = Path(session) / f"homerun-{name}"
    else:
        path = Path("/tmp") / f"homerun-{os.getuid()}-{name}"  # noqa: S108 - checked below
    check_length(path)
    _make_private(path)
    return path


def check_length(path: Path) -> None:
    """Raises Misconfigured when Ray's sockets would not fit below ``path``."""
    if not _fits(path):
        raise Misconfigured(
            f"the runtime directory {path} is too long: Unix sockets allow "
            f"{SOCKET_PATH_BYTES - RAY_SOCKET_BYTES} bytes here, it has {len(os.fsencode(path))}",
            "set RUNTIME_DIRECTORY to a short path, for instance /run/homerun",
        )


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) + RAY_SOCKET_BYTES <= SOCKET_PATH_BYTES


def _make_private(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise Misconfigured(
            f"the runtime directory {path} cannot be made: {error.strerror or error}",
            "set RUNTIME_DIRECTORY to a directory that you own",
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Misconfigured(
            f"the runtime directory {path} is not a directory that belongs to you",
            "remove it, or set RUNTIME_DIRECTORY to a directory that you own",
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
