"""service: homerun under systemd, from the first boot on."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from orchestrator.cli import files, gamemode, helper_install, logind_conf, units
from orchestrator.cli.session import Session
from orchestrator.cli.units import NAME, Installation
from orchestrator.errors import Refused

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
helper_option = click.option(
    "--power-helper",
    "helper",
    is_flag=True,
    help="The root helper that sets the card's power limit, instead of the daemon.",
)
allow_option = click.option(
    "--allow",
    metavar="USER",
    help="With --power-helper: who may ask it. Unless given: whom homerun runs as.",
)
gamemode_option = click.option(
    "--gamemode", "game", is_flag=True, help="The hooks of Feral GameMode, instead of the daemon."
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
        return _below(self.root, place)

    @property
    def manager(self) -> list[str]:
        """The command that talks to systemd."""
        return ["systemctl", "--user"] if self.for_user else ["systemctl"]


@click.group()
def service() -> None:
    """Run homerun under systemd: install, print, uninstall."""


@service.command("print")
@user_option
@helper_option
@allow_option
@gamemode_option
@click.pass_obj
def print_unit(
    session: Session, for_user: bool | None, helper: bool, allow: str | None, game: bool
) -> None:
    """Print what install would write."""
    if game:
        click.echo(gamemode.text(_program()), nl=False)
    elif helper:
        for path, text in helper_install.units(allow).items():
            click.echo(f"# {path}\n{text}")
    else:
        click.echo(_text(session, _target(for_user, None)), nl=False)


@service.command()
@user_option
@root_option
@helper_option
@allow_option
@gamemode_option
@click.option("--force", is_flag=True, help="Replace a unit that somebody changed.")
@click.pass_obj
def install(
    session: Session,
    for_user: bool | None,
    root: Path | None,
    helper: bool,
    allow: str | None,
    game: bool,
    force: bool,
) -> None:
    """Write the unit, and let systemd start it now and at every boot."""
    if game:
        _install_gamemode()
        return
    if helper:
        helper_install.install(root, allow, force)
        return
    target = _target(for_user, root)
    text = _text(session, target)
    files.refuse_changed(target.path, text, force)
    files.write(target.path, text.encode())
    click.echo(f"wrote {target.path}")
    if not target.for_user:
        _write_patience(root)
    if root is not None:
        return
    if not target.for_user:
        _make_user("homerun")
    if not _systemd_runs(target):
        click.echo("systemd does not run here; where it does, type:")
        click.echo(f"  {' '.join(target.manager)} daemon-reload")
        click.echo(f"  {' '.join(target.manager)} enable --now {NAME}")
        return
    files.call([*target.manager, "daemon-reload"])
    files.call([*target.manager, "enable", "--now", NAME])
    click.echo(f"homerun runs; look at it: {' '.join(target.manager)} status {NAME}")
    if target.for_user:
        click.echo("to start it at boot, without a login: loginctl enable-linger")


@service.command()
@user_option
@root_option
@helper_option
def uninstall(for_user: bool | None, root: Path | None, helper: bool) -> None:
    """Stop the service and remove the unit. Runs and checkpoints stay."""
    if helper:
        helper_install.uninstall(root)
        return
    target = _target(for_user, root)
    if not target.path.exists():
        raise Refused(f"there is no {target.path}", "homerun service install writes one")
    if root is None and _systemd_runs(target):
        files.call([*target.manager, "disable", "--now", NAME])
    target.path.unlink()
    patience = _below(root, logind_conf.PATH)
    if not target.for_user and _is_ours(patience):
        patience.unlink()
    if root is None and _systemd_runs(target):
        files.call([*target.manager, "daemon-reload"])
    click.echo(f"removed {target.path}; runs and checkpoints stay where they are")


def _install_gamemode() -> None:
    path, text = gamemode.file(), gamemode.text(_program())
    if path.exists():
        raise Refused(
            f"{path} is there, and homerun changes no file of yours",
            f"add these lines to it:\n{text.rstrip()}",
        )
    files.write(path, text.encode())
    click.echo(f"wrote {path}; games started by gamemoderun get the card from now on")


def _write_patience(root: Path | None) -> None:
    """Let suspend and shutdown wait longer. A person's own word on it stays."""
    path = _below(root, logind_conf.PATH)
    if path.exists():
        return
    files.write(path, logind_conf.TEXT.encode())
    click.echo(f"wrote {path}: suspend and shutdown wait up to {logind_conf.SECONDS} s")
    if root is None and files.systemd_runs() and (problem := logind_conf.reload()):
        click.echo(problem)


def _is_ours(path: Path) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == logind_conf.TEXT


def _below(root: Path | None, path: Path) -> Path:
    return root / path.relative_to("/") if root else path


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


def _make_user(name: str) -> None:
    import pwd

    try:
        pwd.getpwnam(name)
    except KeyError:
        files.call(
            ["useradd", "--system", "--home-dir", "/var/lib/homerun", "--no-create-home", name]
        )
        click.echo(f"made the user {name}")


def _systemd_runs(target: Target) -> bool:
    """Whether a systemd answers, and for a person's own its socket."""
    if not files.systemd_runs():
        return False
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return not target.for_user or bool(runtime and Path(runtime, "systemd/private").exists())
