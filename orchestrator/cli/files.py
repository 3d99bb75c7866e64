"""Files that an installation writes, whole or not at all, and the systemd that reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from orchestrator.errors import HomerunError, Refused


def refuse_changed(path: Path, text: str, force: bool) -> None:
    """Raises Refused when ``path`` is there and is not ``text``."""
    if force or not path.exists() or path.read_text(encoding="utf-8") == text:
        return
    raise Refused(
        f"{path} is there and is not what would be written",
        f"compare it with homerun service print; put changes into {path}.d/, or say --force",
    )


def write(path: Path, content: bytes) -> None:
    """Replace ``path``, directories included. Raises Refused."""
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        raise Refused(
            f"{path} cannot be written: {error.strerror}", "as root: sudo homerun service install"
        ) from None


def systemd_runs() -> bool:
    """Whether the machine's systemd answers: sd_booted(3)."""
    return Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def call(command: list[str]) -> None:
    """Run a command. Raises HomerunError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HomerunError(f"{' '.join(command)} failed: {done.stderr.strip()}")
