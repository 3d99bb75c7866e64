"""Where the configuration and the state lie, by the environment. Standard library only.

The command line asks here too, so nothing heavier may be imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SYSTEM_CONFIG = Path("/etc/homerun/homerun.toml")


def config_file(
    explicit: Path | None, env: Mapping[str, str], system: Path = SYSTEM_CONFIG
) -> Path | None:
    """The configuration file that counts, or None when there is none and defaults do.

    A file that was named (--config, $HOMERUN_CONFIG) counts even where it does not exist:
    that is a mistake to report, not a reason to take another.
    """
    if explicit is not None:
        return explicit
    if env.get("HOMERUN_CONFIG"):
        return Path(env["HOMERUN_CONFIG"]).expanduser()
    for path in (system, user_config_file(env)):
        if path.is_file():
            return path
    return None


def user_config_file(env: Mapping[str, str]) -> Path:
    """Where a user's own configuration belongs."""
    return _xdg(env, "XDG_CONFIG_HOME", ".config") / "homerun" / "homerun.toml"


def default_state_dir(env: Mapping[str, str]) -> Path:
    """Where the state lies when the configuration does not say."""
    if env.get("HOMERUN_STATE_DIR"):
        return resolve(env["HOMERUN_STATE_DIR"], Path.cwd())
    if env.get("STATE_DIRECTORY"):
        # systemd separates several directories by colons; ours is the first
        return Path(env["STATE_DIRECTORY"].split(":")[0])
    return _xdg(env, "XDG_STATE_HOME", ".local/state") / "homerun"


def state_dir_origin(env: Mapping[str, str]) -> str:
    """What ``default_state_dir`` went by, in words."""
    for name in ("HOMERUN_STATE_DIR", "STATE_DIRECTORY", "XDG_STATE_HOME"):
        if env.get(name):
            return f"${name}"
    return "default"


def resolve(text: str, base: Path) -> Path:
    """``text`` as an absolute path; a relative one counts from the directory ``base``."""
    return Path((base / Path(text).expanduser()).absolute())


def _xdg(env: Mapping[str, str], variable: str, fallback: str) -> Path:
    # The XDG base directory specification says to ignore relative values.
    if Path(env.get(variable, "")).is_absolute():
        return Path(env[variable])
    return Path(env.get("HOME") or Path.home()) / fallback
