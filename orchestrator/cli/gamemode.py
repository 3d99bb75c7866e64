"""The lines by which Feral GameMode tells homerun of a game (gamemoded(8), custom scripts)."""

from __future__ import annotations

import os
import shlex
from pathlib import Path


def file() -> Path:
    """A person's own file of GameMode."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
    return Path(home) / "gamemode.ini"


def text(program: Path) -> str:
    """What has to stand in it."""
    command = shlex.quote(str(program))
    return f"[custom]\nstart={command} hold gamemode\nend={command} unhold gamemode\n"
