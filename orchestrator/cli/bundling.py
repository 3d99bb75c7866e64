"""What goes into a bundle for a bug report, as far as it can be had; nothing of it unredacted."""

from __future__ import annotations

import contextlib
import getpass
import gzip
import io
import json
import os
import platform
import socket
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator.cli.redaction import Redactor
from orchestrator.cli.session import Session
from orchestrator.errors import HomerunError

if TYPE_CHECKING:
    from orchestrator.settings.config import Config

_FOLDER = "homerun-bundle"
_LOG_LINES = 2000
#: of a file's end; a line of a log is rarely longer than 500 bytes
_LOG_BYTES = 1_000_000
_ENTRIES = 1000
#: the values of these say how homerun was started; of others not even the names are taken
_VARIABLES = ("HOMERUN_", "CUDA_", "NVIDIA_", "XDG_", "STATE_DIRECTORY", "TZ", "LANG", "WSL_")
_README = """\
What homerun bundle put together for a bug report.

Secrets, addresses of other machines, names of machines and people and home directories were
replaced by signs such as ***, <host>, <user> and ~. Please look through it before you send it:
nobody but you knows everything that is private to you.

"""


@dataclass(frozen=True)
class Item:
    """One file of the bundle."""

    name: str
    text: str


def collect(session: Session, redactor: Redactor, config: Config | None) -> list[Item]:
    """Every part that can be had. What cannot says why, in the README."""
    parts: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("version.json", lambda: _version(session)),
        ("environment.json", lambda: _environment(session)),
        ("doctor.json", lambda: _doctor(session)),
        ("config.json", lambda: _config(session)),
        ("snapshot.json", lambda: session.client().get("status")),
        ("runs.json", lambda: session.client().get("runs")),
        ("journal.json", lambda: session.client().get("journal", limit=_ENTRIES)),
        ("energy.json", lambda: session.client().get("energy", by="run")),
        ("homerun.log", lambda: _log(_state(session, config) / "homerun.log")),
        ("trainer.log", lambda: _trainer_log(session, config)),
    )
    items, missing = [], []
    for name, get in parts:
        try:
            found = get()
        except (HomerunError, OSError) as error:
            missing.append(f"{name} is missing: {redactor.text(_first_line(error))}")
            continue
        items.append(Item(name, _as_text(found, redactor)))
    notes = "\n".join(missing)
    return [Item("README.txt", _README + (notes + "\n" if notes else "")), *items]


def pack(items: list[Item], moment: int) -> bytes:
    """A .tar.gz; the same items give the same bytes.

    Args:
        moment: Unix seconds, the files' time.
    """
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for item in items:
            content = item.text.encode("utf-8", errors="replace")
            info = tarfile.TarInfo(f"{_FOLDER}/{item.name}")
            info.size, info.mode, info.mtime = len(content), 0o600, moment
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=moment)


def redactor_for(session: Session, config: Config | None) -> Redactor:
    """Knows this machine, this person, and the contents of every secret file."""
    names = [session.env.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER")]
    machine = [socket.gethostname(), platform.node()]
    hosts = [*machine, *(name.partition(".")[0] for name in machine)]
    if config is not None:
        hosts += list(_hosts(config))
    secrets = [value for name, value in session.env.items() if _is_secret(name)]
    if config is not None:
        secrets += list(_secrets(config))
    home = session.env.get("HOME") or str(Path.home())
    return Redactor(secrets, hosts, home, [*names, _user()])


def _is_secret(name: str) -> bool:
    words = ("TOKEN", "PASSWORD", "SECRET", "API_KEY", "CREDENTIAL")
    return any(word in name.upper() for word in words) and "PATH" not in name


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _sections(config: Config) -> Iterator[tuple[str, Any]]:
    from orchestrator.settings.config import sections

    for section in sections(config).values():
        for key in type(section).model_fields:
            yield key, getattr(section, key)


def _secrets(config: Config) -> Iterator[str]:
    """The lines of every file that a key of the configuration calls secret, and of inline URLs."""
    for key, value in _sections(config):
        if key in ("url", "mirror") and isinstance(value, str):
            password = urlsplit(value).password if "://" in value else None
            yield from [password] if password else []
        if not key.endswith("_file") or not isinstance(value, str) or not value:
            continue
        if any(word in key for word in ("token", "password", "url", "key", "secret")):
            yield from _lines(Path(value))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _hosts(config: Config) -> Iterator[str]:
    for key, value in _sections(config):
        if key in ("host", "entity") and isinstance(value, str):
            yield value
        elif key == "allowed_hosts":
            yield from value
        elif key in ("url", "address", "mirror") and isinstance(value, str) and value:
            host = urlsplit(value if "://" in value else f"//{value}").hostname
            yield from [host] if host else []


# --- the parts --------------------------------------------------------------------------------


def _version(session: Session) -> Any:
    from orchestrator.cli.groups.version import versions

    return versions(session)


def _environment(session: Session) -> Any:
    import psutil

    memory = psutil.virtual_memory()
    return {
        "python": sys.version,
        "platform": platform.platform(),
        "cpu": {"count": os.cpu_count(), "machine": platform.machine()},
        "memory_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "in_container": Path("/.dockerenv").exists(),
        "wsl": "microsoft" in platform.release().lower(),
        "variables": {
            name: value
            for name, value in sorted(session.env.items())
            if name.startswith(_VARIABLES) and not _is_secret(name)
        },
    }


def _doctor(session: Session) -> Any:
    from orchestrator.cli import checks

    return [asdict(check) for check in checks.run_all(session)]


def _config(session: Session) -> Any:
    """The daemon's own, or without a daemon what it would start with."""
    from orchestrator.settings.config import load_from, view

    with contextlib.suppress(HomerunError):
        return session.client().get("config")
    return view(load_from(session.config, session.env).config)


def _state(session: Session, config: Config | None) -> Path:
    """The daemon's own directory if it is on this machine, else the configured one."""
    with contextlib.suppress(HomerunError, KeyError, TypeError):
        told = Path(session.client().get("status")["daemon"]["state_dir"])
        if told.is_dir():
            return told
    if config is None:
        raise HomerunError("the configuration is wrong, so nobody knows where it lies")
    return config.daemon.state_path


def _trainer_log(session: Session, config: Config | None) -> str:
    """The daemon's answer, or without a daemon the newest log on disk."""
    try:
        return "\n".join(session.client().get("logs", lines=_LOG_LINES)["lines"])
    except HomerunError:
        logs = list(_state(session, config).glob("runs/*/trainer.log"))
        if not logs:
            raise
        return _log(max(logs, key=lambda path: path.stat().st_mtime))


def _log(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-_LOG_LINES:])


def _as_text(found: Any, redactor: Redactor) -> str:
    if isinstance(found, str):
        return redactor.text(found) + "\n"
    return json.dumps(redactor.value(found), indent=1, ensure_ascii=False) + "\n"


def _first_line(error: Exception) -> str:
    text = error.message if isinstance(error, HomerunError) else str(error)
    return (text.splitlines() or [type(error).__name__])[0]
