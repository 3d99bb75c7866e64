"""Installs and removes the root helper that sets the card's power limit."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from pathlib import Path

import click

from orchestrator.cli import files, power_units
from orchestrator.cli.power_units import PROGRAM, SERVICE, SOCKET, Helper
from orchestrator.errors import Invalid, Refused

_UNITS = Path("/etc/systemd/system")
#: the units in the order in which they are started; the socket starts the service
_ENABLED = SOCKET


def units(allow: str | None) -> dict[Path, str]:
    """What would be written, by where."""
    helper = Helper(_python(), allow or _user())
    return {
        _UNITS / SOCKET: power_units.socket_unit(helper),
        _UNITS / SERVICE: power_units.service_unit(helper),
    }


def install(root: Path | None, allow: str | None, force: bool) -> None:
    """Write units and program, and let systemd open the socket."""
    texts = units(allow)
    for path, text in texts.items():
        files.refuse_changed(_below(root, path), text, force)
    if root is None:
        _check(allow or _user())
    files.write(_below(root, PROGRAM), power_units.application())
    for path, text in texts.items():
        files.write(_below(root, path), text.encode())
    click.echo(f"wrote {', '.join(str(_below(root, path)) for path in (PROGRAM, *texts))}")
    if root is not None:
        return
    if not files.systemd_runs():
        click.echo("systemd does not run here; where it does, type:")
        click.echo(f"  systemctl daemon-reload && systemctl enable --now {_ENABLED}")
        return
    files.call(["systemctl", "daemon-reload"])
    files.call(["systemctl", "enable", "--now", _ENABLED])
    # one that runs already has the old program
    files.call(["systemctl", "try-restart", SERVICE])
    click.echo(f"{allow or _user()} may set the power limit now; homerun doctor shows it")
    click.echo("restart homerun, so that its plan knows the levels")


def uninstall(root: Path | None) -> None:
    """Remove all of it; the default limit is back when the helper stops."""
    paths = [_below(root, path) for path in (_UNITS / SOCKET, _UNITS / SERVICE, PROGRAM)]
    there = [path for path in paths if path.exists()]
    if not there:
        raise Refused(
            f"there is no {paths[0]}", "sudo homerun service install --power-helper writes it"
        )
    running = root is None and files.systemd_runs()
    if running:
        files.call(["systemctl", "disable", "--now", SOCKET])
        files.call(["systemctl", "stop", SERVICE])
    for path in there:
        path.unlink()
    if running:
        files.call(["systemctl", "daemon-reload"])
    click.echo(f"removed {', '.join(str(path) for path in there)}")


def _below(root: Path | None, path: Path) -> Path:
    return root / path.relative_to("/") if root else path


def _user() -> str:
    """Whom homerun runs as: its own user where there is one, else the person behind sudo."""
    try:
        return pwd.getpwnam("homerun").pw_name
    except KeyError:
        return os.environ.get("SUDO_USER") or "homerun"


def _python() -> Path:
    """The Python below any virtual environment."""
    return Path(sys.executable).resolve()


def _check(user: str) -> None:
    if os.geteuid() != 0:
        raise Refused(
            "only root can install the power helper",
            "sudo homerun service install --power-helper",
        )
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise Invalid(f"there is no user {user!r}", "name the one with --allow USER") from None
    python = _python()
    for path in (python, *python.parents):
        found = path.stat()
        if found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Refused(
                f"{path} can be changed by others than root, and the helper would run it as root",
                "use a Python of the system: /usr/bin/python3 -m venv, then install homerun there",
            )
