"""What the doctor looks at. Nothing heavy is imported; nothing is changed."""

from __future__ import annotations

import contextlib
import ctypes
import getpass
import platform
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import power_checks, price_check, quiet_check, render, sleep_check
from orchestrator.cli.check import Check as Check
from orchestrator.cli.check import State as State
from orchestrator.cli.groups.version import installed
from orchestrator.cli.session import Session
from orchestrator.errors import HomerunError, Misconfigured
from orchestrator.paths import Paths

if TYPE_CHECKING:
    from orchestrator.settings.config import Config, Loaded

_LOWEST_PYTHON = (3, 11)
#: below Ray 2.54 a web page could run code through its dashboard (CVE-2026-27482)
_PACKAGES = {
    "torch": "2.11",
    "ray": "2.54",
    "numpy": "2",
    "pyarrow": "20",
    "safetensors": "0.5",
    "tiktoken": "0.9",
    "rustbpe": "0.1",
    "sqlalchemy": "2.0.40",
    "alembic": "1.16",
    "apscheduler": "3.11.1",
    "starlette": "0.47",
    "uvicorn": "0.34",
    "pydantic": "2.10",
    "xxhash": "3.5",
}
#: SQLite's write-ahead log needs shared memory, which these do not give
_NETWORK_FILE_SYSTEMS = (
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "drvfs", "afs", "ceph", "glusterfs", "lustre",
    "fuse.sshfs", "fuse.rclone", "fuse.glusterfs",
)  # fmt: skip
_VOLATILE_FILE_SYSTEMS = ("tmpfs", "ramfs")
_FAIL_BELOW_BYTES = 1_000_000_000
_WARN_BELOW_BYTES = 10_000_000_000
#: adjtimex(2) answers so when the kernel's clock is not synchronised
_TIME_ERROR = 5


def run_all(session: Session) -> Iterator[Check]:
    """Every check, as soon as it is done."""
    yield python_version(sys.version_info[:2])
    yield packages(installed)
    loaded, check = configuration(session)
    yield check
    up, check = daemon(session)
    yield check
    if loaded is not None:
        yield from state(loaded.config, up=up)
        yield from secrets(loaded.config)
        yield prices(session, loaded.config, up=up)
        yield from quiet_hours(session, loaded.config)
        yield ups(loaded.config)
        yield from meter(session, loaded.config)
        yield from power_checks.run_all(loaded.config.power, session.clock)
    yield from sleep_check.checks(session, up=up)
    yield gpu()
    yield clock_synchronised()
    yield from lingering(session)


# --- installation ---------------------------------------------------------------------------


def python_version(version: tuple[int, ...]) -> Check:
    """The interpreter is new enough."""
    text = f"{platform.python_version()} at {sys.executable}"
    if version < _LOWEST_PYTHON:
        return Check("python", State.FAILED, f"{text} is too old", "install Python 3.11 or newer")
    return Check("python", State.OK, text)


def packages(version_of: Any) -> Check:
    """All libraries are installed, new enough."""
    wrong = []
    for name, lowest in _PACKAGES.items():
        found = version_of(name)
        if found is None:
            wrong.append(f"{name} is missing")
        elif _numbers(found) < _numbers(lowest):
            wrong.append(f"{name} {found} is older than {lowest}")
    if wrong:
        fix = "install again: make setup, or pip install -c constraints.txt homerun"
        return Check("packages", State.FAILED, "; ".join(wrong), fix)
    main = ", ".join(f"{name} {version_of(name)}" for name in ("torch", "ray"))
    return Check("packages", State.OK, f"{len(_PACKAGES)} found, {main}")


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def configuration(session: Session) -> tuple[Loaded | None, Check]:
    """The file is right."""
    from orchestrator.settings.config import load_from

    try:
        loaded = load_from(session.config, session.env)
    except Misconfigured as error:
        return None, Check("config", State.FAILED, error.message, error.fix)
    where = str(loaded.file) if loaded.file else "no file; every default works"
    return loaded, Check("config", State.OK, where)


# --- daemon and state -----------------------------------------------------------------------


def daemon(session: Session) -> tuple[bool, Check]:
    """It answers. A daemon that is not running is a warning: perhaps nobody started it yet."""
    from orchestrator.cli.client import Unreachable

    try:
        snapshot = session.client(timeout_seconds=5.0).get("status")
    except Unreachable as error:
        return False, Check("daemon", State.WARNING, error.message, error.fix)
    except HomerunError as error:
        return True, Check("daemon", State.FAILED, error.message, error.fix)
    about = snapshot["daemon"]
    text = f"{about['version']} at {about['address']}, engine {about['engine']}"
    return True, Check("daemon", State.OK, text)


def ups(config: Config) -> Check:
    """The UPS answers, if there is one."""
    from orchestrator.home.nut import NutUps
    from orchestrator.home.ups import UpsError

    if not config.ups.name:
        return Check("ups", State.OK, "none configured; a power cut costs up to one save interval")
    try:
        found = NutUps(config.ups.name, config.ups.host, config.ups.port).read()
    except UpsError as error:
        fix = f"upsc {config.ups.name}@{config.ups.host}:{config.ups.port} must answer; see [ups]"
        return Check("ups", State.FAILED, str(error), fix)
    charge = "" if found.charge_ratio is None else f", charge {found.charge_ratio:.0%}"
    return Check("ups", State.OK, f"on {'battery' if found.on_battery else 'mains'}{charge}")


_PART = (
    "the card's or the processor's own; what the rest of the machine draws is in no bill of "
    'homerun: a plug at the wall, or power.meter = "model", counts it'
)


def meter(session: Session, config: Config) -> Iterator[Check]:
    """The power meter answers, if one was named. A run does not need it; the ledger does."""
    from orchestrator.home.plug import PlugError
    from orchestrator.power.metering import lan, plug_of

    power = config.power
    if power.meter == "model":
        return
    if power.meter in ("auto", "nvml", "rapl"):
        yield Check("meter", State.OK, _PART)
        return
    try:
        found = plug_of(power, config.ups, lan(session.clock)).read()
    except HomerunError as error:
        yield Check("meter", State.FAILED, error.message, error.fix)
    except PlugError as error:
        fix = "see [power]; until it answers, energy is estimated and marked so"
        yield Check("meter", State.WARNING, f"{power.meter}: {error}", fix)
    else:
        says = "a counter of energy" if found.watts is None else f"{found.watts:.0f} W"
        yield Check("meter", State.OK, f"{power.meter} says {says}")


def state(config: Config, *, up: bool) -> Iterator[Check]:
    """The state directory can carry a run of weeks."""
    directory = config.daemon.state_path
    yield writable(directory)
    existing = _nearest_existing(directory)
    yield free_space(directory, shutil.disk_usage(existing).free)
    kind = file_system_of(existing, Path("/proc/self/mountinfo"))
    if kind:
        yield file_system(directory, kind)
    store = Paths(directory).store
    if not up and store.exists() and not config.store.url and not config.store.url_file:
        yield store_integrity(store)


def writable(directory: Path) -> Check:
    """We may create files in it, or create it."""
    existing = _nearest_existing(directory)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        message = f"{directory} cannot be written: {error.strerror}"
        return Check("state", State.FAILED, message, "chown it, or set daemon.state_dir")
    made = "" if existing == directory else ", made at the first start"
    return Check("state", State.OK, f"{directory}{made}")


def free_space(directory: Path, free_bytes: int) -> Check:
    """Checkpoints fit."""
    text = f"{render.size(free_bytes)} free at {directory}"
    fix = "make room, or set daemon.state_dir to a larger disk"
    if free_bytes < _FAIL_BELOW_BYTES:
        return Check("disk", State.FAILED, text, fix)
    if free_bytes < _WARN_BELOW_BYTES:
        return Check("disk", State.WARNING, text, fix)
    return Check("disk", State.OK, text)


def file_system(directory: Path, kind: str) -> Check:
    """It keeps what it acknowledged, and locks work on it."""
    if kind in _NETWORK_FILE_SYSTEMS:
        message = f"{directory} lies on {kind}, where the database's locks are not safe"
        return Check("file system", State.FAILED, message, "set daemon.state_dir to a local disk")
    if kind in _VOLATILE_FILE_SYSTEMS:
        message = f"{directory} lies on {kind}, which a reboot empties"
        return Check("file system", State.WARNING, message, "set daemon.state_dir to a local disk")
    return Check("file system", State.OK, kind)


def file_system_of(path: Path, mountinfo: Path) -> str:
    """The type of the file system that holds ``path`` (proc_pid_mountinfo(5)), or nothing."""
    best, kind = -1, ""
    with contextlib.suppress(OSError):
        for line in mountinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            before, _, after = line.partition(" - ")
            point = Path(before.split()[4].replace("\\040", " "))
            if path.resolve().is_relative_to(point) and len(point.parts) >= best:
                best, kind = len(point.parts), after.split()[0]
    return kind


def store_integrity(store: Path) -> Check:
    """SQLite finds its own file whole. Only asked while no daemon has it open."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            answers = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.Error as error:
        answers = [str(error)]
    if answers == ["ok"]:
        return Check("store", State.OK, str(store))
    backup = Paths(store.parent).backup
    fix = f"with the daemon stopped, copy yesterday's {backup} over it"
    return Check("store", State.FAILED, f"{store}: {'; '.join(answers)}", fix)


def secrets(config: Config) -> Iterator[Check]:
    """Only we can read what must stay secret."""
    from orchestrator.cli import mqtt_check, web_check

    yield from web_check.checks(config.web)
    if config.tariff.token_file and config.tariff.service:
        yield secret("price token", Path(config.tariff.token_file), "write the token into it")
    if config.power.token_file:
        yield secret("meter token", Path(config.power.token_file), "write the secret into it")
    if config.notify.urls_file:
        yield secret("messages", Path(config.notify.urls_file), "write one apprise URL a line")
    yield from mqtt_check.checks(config.mqtt)


def quiet_hours(session: Session, config: Config) -> Iterator[Check]:
    """Quiet hours come now and then: not never, and not always."""
    found = list(quiet_check.findings(session.now(), config))
    for finding in found:
        if finding.fix:
            yield Check("quiet hours", State.WARNING, finding.message, finding.fix)
    if found and not any(finding.fix for finding in found):
        yield Check("quiet hours", State.OK, "; ".join(item.message for item in found))


def prices(session: Session, config: Config, *, up: bool) -> Check:
    """The prices are known. A run does not need them; a plan does."""
    found = price_check.finding(session, config, up=up)
    if found.ok:
        return Check("prices", State.OK, found.message)
    return Check("prices", State.WARNING, found.message, found.fix)


def secret(name: str, file: Path, fix: str) -> Check:
    """Only its owner can read a file."""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as error:
        return Check(name, State.FAILED, f"{file} cannot be read: {error.strerror}", fix)
    if mode & 0o077:
        message = f"{file} can be read by others (mode {mode:o})"
        return Check(name, State.WARNING, message, f"chmod 600 {file}")
    return Check(name, State.OK, str(file))


def _nearest_existing(directory: Path) -> Path:
    return next(path for path in (directory, *directory.parents) if path.exists())


# --- machine --------------------------------------------------------------------------------


def gpu() -> Check:
    """NVML answers. Without it homerun trains on the processor."""
    fix = "for an NVIDIA card: install its driver; nvidia-smi must work"
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        return Check("gpu", State.WARNING, "nvidia-ml-py is missing", "pip install nvidia-ml-py")
    except pynvml.NVMLError as error:
        return Check("gpu", State.WARNING, f"none, so the processor trains ({error})", fix)
    try:
        return _card(pynvml)
    except pynvml.NVMLError as error:
        return Check("gpu", State.WARNING, f"NVML answers, but its card does not: {error}", fix)
    finally:
        pynvml.nvmlShutdown()


def _card(nvml: Any) -> Check:
    if nvml.nvmlDeviceGetCount() == 0:
        return Check("gpu", State.WARNING, "none, so the processor trains")
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    memory = render.size(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    name, driver = nvml.nvmlDeviceGetName(handle), nvml.nvmlSystemGetDriverVersion()
    return Check("gpu", State.OK, f"{name}, {memory}, driver {driver}")


def clock_synchronised() -> Check:
    """The kernel says whether something keeps its clock right (adjtimex(2)).

    Pauses with an end, and later tariffs, need the right time.
    """
    try:
        # struct timex is at most 208 bytes; all zeroes ask without changing anything
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return Check("clock", State.WARNING, "cannot be asked here")
    if answer == _TIME_ERROR:
        return Check(
            "clock",
            State.WARNING,
            "not synchronised",
            "timedatectl set-ntp true, or install chrony",
        )
    if answer < 0:
        return Check("clock", State.WARNING, "does not say whether it is synchronised")
    return Check("clock", State.OK, "synchronised")


def lingering(session: Session, root: Path = Path("/")) -> Iterator[Check]:
    """A user's own service only survives logging out with lingering switched on."""
    home = Path(session.env.get("HOME") or Path.home())
    unit = home / ".config/systemd/user/homerun.service"
    if not (root / "run/systemd/system").is_dir() or not unit.exists():
        return
    user = session.env.get("USER") or getpass.getuser()
    if (root / "var/lib/systemd/linger" / user).exists():
        yield Check("systemd", State.OK, f"{unit}, lingering")
        return
    message = f"{unit} ends when {user} logs out"
    yield Check("systemd", State.WARNING, message, f"loginctl enable-linger {user}")
