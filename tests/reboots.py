"""Reboots of a machine that stays up: a daemon in a mount namespace that hides the boot's id."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_SCRIPT = f'mount --bind "$0" {_BOOT_ID} && exec "$@"'


class Boots:
    """The boot that whoever is started behind ``wrapper`` believes to live in."""

    def __init__(self, place: Path) -> None:
        """``place``: a file of its own."""
        self._place = place
        self.next()

    def next(self) -> str:
        """Another boot begins, for those that are started from now on; its id."""
        boot = str(uuid.uuid4())
        self._place.write_text(f"{boot}\n", encoding="ascii")
        return boot

    @property
    def wrapper(self) -> tuple[str, ...]:
        """Words before a command; its process keeps its pid."""
        return ("unshare", "--mount", "sh", "-c", _SCRIPT, str(self._place))


def problem(place: Path) -> str:
    """Why nothing can be rebooted here; empty where it can. ``place``: an empty directory."""
    boots = Boots(place / "probe")
    try:
        done = subprocess.run(
            [*boots.wrapper, "cat", _BOOT_ID, str(place / "probe")],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no mount namespace ({getattr(error, 'stderr', '') or error})".strip()
    told = done.stdout.split()
    return "" if len(set(told)) == 1 else "a file cannot be mounted over the boot's id"


def require(place: Path) -> None:
    """Skip where it is impossible, but never in CI."""
    if (why := problem(place)) and not os.environ.get("CI"):
        pytest.skip(f"{why}: NO REBOOT OF A REAL DAEMON WAS PLAYED")
