"""service: homerun under systemd, from the first boot on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from orchestrator.cli import units
from orchestrator.cli.session import Session
from orchestrator.cli.units import NAME, Installation
from orchestrator.errors import HomerunError, Refused

_SYSTEM_DIR = Path("/etc/systemd/system")

user_option = click.option(
    "--user/--system",
    "for_user",
    default=None,
    help="A person's own service, or the machine's. Unless given: the machine's for root.",
)
root_option = click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=None,
    help="Install below this directory and start nothing (for images).",
)


@dataclass(frozen=True)
class Target:
    """Where a unit goes, and who manages it."""

    for_user: bool
    root: Path | None

    @property
    def path(self) -> Path:
        """The unit's file."""
        if self.for_user:
            home = os.environ.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
            place = Path(home) / "systemd/user" / NAME
        else:
            place = _SYSTEM_DIR / NAME
        return self.root / place.relative_to("/") if self.root else place

    @property
    def manager(self) -> list[str]:
        """The command that talks to systemd."""
        return ["systemctl", "--user"] if self.for_user else ["systemctl"]


@click.group()
def service() -> None:
    """Run homerun under systemd: install, print, uninstall."""


@service.command("print")
@user_option
@click.pass_obj
def print_unit(session: Session, for_user: bool | None) -> None:
    """Print the unit that install would write."""
    click.echo(_text(session, _target(for_user, None)), nl=False)


@service.command()
@user_option
@root_option
@click.option("--force", is_flag=True, help="Replace a unit that somebody changed.")
@click.pass_obj
def install(session: Session, for_user: bool | None, root: Path | None, force: bool) -> None:
    """Write the unit, and let systemd start it now and at every boot."""
    target = _target(for_user, root)
    text = _text(session, target)
    _refuse_changed(target.path, text, force)
    _write(target.path, text)
    click.echo(f"wrote {target.path}")
    if root is not None:
        return
    if not target.for_user:
        _make_user("homerun")
    if not _systemd_runs(target):
        click.echo("systemd does not run here; where it does, type:")
        click.echo(f"  {' '.join(target.manager)} daemon-reload")
        click.echo(f"  {' '.join(target.manager)} enable --now {NAME}")
        return
    _call([*target.manager, "daemon-reload"])
    _call([*target.manager, "enable", "--now", NAME])
    click.echo(f"homerun runs; look at it: {' '.join(target.manager)} status {NAME}")
    if target.for_user:
        click.echo("to start it at boot, without a login: loginctl enable-linger")


@service.command()
@user_option
@root_option
def uninstall(for_user: bool | None, root: Path | None) -> None:
    """Stop the service and remove the unit. Runs and checkpoints stay."""
    target = _target(for_user, root)
    if not target.path.exists():
        raise Refused(f"there is no {target.path}", "homerun service install writes one")
    if root is None and _systemd_runs(target):
        _call([*target.manager, "disable", "--now", NAME])
    target.path.unlink()
    if root is None and _systemd_runs(target):
        _call([*target.manager, "daemon-reload"])
    click.echo(f"removed {target.path}; runs and checkpoints stay where they are")


def _target(for_user: bool | None, root: Path | None) -> Target:
    return Target(os.geteuid() != 0 if for_user is None else for_user, root)


def _text(session: Session, target: Target) -> str:
    installation = Installation(_program(), session.config.absolute() if session.config else None)
    build = units.user_unit if target.for_user else units.system_unit
    return build(installation)


def _program() -> Path:
    """The homerun program beside this Python: what a shell finds may be another one."""
    beside = Path(sys.executable).with_name("homerun")
    found = beside if beside.exists() else Path(shutil.which("homerun") or sys.argv[0])
    return found.absolute()


def _refuse_changed(path: Path, text: str, force: bool) -> None:
    if force or not path.exists() or path.read_text(encoding="utf-8") == text:
        return
    raise Refused(
        f"{path} is there and is not what would be written",
        f"compare it with homerun service print; put changes into {path}.d/, or say --force",
    )


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise Refused(
            f"{path} cannot be written: {error.strerror}", "as root: sudo homerun service install"
        ) from None


def _make_user(name: str) -> None:
    import pwd

    try:
        pwd.getpwnam(name)
    except KeyError:
        _call(["useradd", "--system", "--home-dir", "/var/lib/homerun", "--no-create-home", name])
        click.echo(f"made the user {name}")


def _systemd_runs(target: Target) -> bool:
    """Whether a systemd answers: sd_booted(3), and for a person's own its socket."""
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        return False
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return not target.for_user or bool(runtime and Path(runtime, "systemd/private").exists())


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HomerunError(f"{' '.join(command)} failed: {done.stderr.strip()}")
