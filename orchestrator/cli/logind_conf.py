"""The drop-in that makes logind wait longer than its five seconds (logind.conf(5)).

InhibitDelayMaxSec counts for every program that asks for a delay, and only as long as one of them
has not let go.
"""

from __future__ import annotations

import math
from pathlib import Path

from orchestrator.cli import files
from orchestrator.errors import HomerunError

PATH = Path("/etc/systemd/logind.conf.d/homerun.conf")
SECONDS = 60
TEXT = f"""\
# Written by homerun service install: a suspend or shutdown waits for the last checkpoint.
[Login]
InhibitDelayMaxSec={SECONDS}
"""
_RELOAD = ["systemctl", "kill", "--signal=HUP", "systemd-logind.service"]


def fix(save_seconds: float) -> str:
    """How to make logind wait for a save that takes so long."""
    if save_seconds < SECONDS / 2:
        return f"sudo homerun service install writes {PATH}"
    wanted = math.ceil(save_seconds * 2 / SECONDS) * SECONDS
    return f"InhibitDelayMaxSec={wanted} under [Login] in {PATH}, then {' '.join(_RELOAD)}"


def reload() -> str:
    """Let logind read it; what went wrong, or nothing. It is no reason to install nothing."""
    try:
        files.call(_RELOAD)
    except HomerunError as error:
        return f"{error.message}; logind reads it at the next boot"
    return ""
