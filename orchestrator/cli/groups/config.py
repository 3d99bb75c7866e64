"""config: check, show, init work on the file; reload asks the daemon to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator import places
from orchestrator.cli import plan_check, price_check, quiet_check, render
from orchestrator.cli.session import Session, config_option, emit, json_option
from orchestrator.errors import HomerunError, Refused

if TYPE_CHECKING:
    from orchestrator.settings.config import Loaded


@click.group()
def config() -> None:
    """Check, show or begin the configuration file."""


@config.command()
@config_option
@json_option
@click.pass_obj
def check(session: Session, config: Path | None, as_json: bool) -> None:
    """Say whether the file is right; name every problem with its line.

    Of a tariff it tells what it costs now and next, of quiet hours when they come, of a plan
    what it is for.

    Exit code 78 says that it is not.
    """
    loaded = _load(session, config)
    file = str(loaded.file) if loaded.file else None
    if as_json:
        tariff = price_check.facts(session, loaded.config)
        emit("config", {"ok": True, "file": file, "tariff": tariff})
        return
    click.echo(f"{file or 'No file; the defaults'}: fine")
    sentences = price_check.sentences(session, loaded.config)
    sentences += quiet_check.sentences(session.now(), loaded.config)
    for sentence in (*sentences, *plan_check.sentences(session, loaded.config)):
        click.echo("\n".join(render.wrap(sentence, session.width)))


@config.command()
@config_option
@json_option
@click.pass_obj
def show(session: Session, config: Path | None, as_json: bool) -> None:
    """Print what counts, and where each value comes from. Secrets are masked."""
    from orchestrator.cli import toml_text
    from orchestrator.settings.config import view

    loaded = _load(session, config)
    if as_json:
        emit("config", view(loaded.config))
        return
    click.echo(toml_text.effective(loaded, session.env), nl=False)


@config.command()
@json_option
@click.pass_obj
def reload(session: Session, as_json: bool) -> None:
    """Let the daemon read its file again, and say what that changed.

    What cannot change while it runs is named, and counts from its next start on. When the file is
    wrong nothing changes, and exit code 78 says so.
    """
    done = session.client().post("config/reload", {})
    if as_json:
        emit("reload", done)
        return
    if not done["applied"] and not done["needs_restart"]:
        click.echo("nothing changed")
    if done["applied"]:
        click.echo(f"in use now: {', '.join(done['applied'])}")
    if done["needs_restart"]:
        click.echo(f"from the next start on: {', '.join(done['needs_restart'])}")


@config.command()
@config_option
@click.pass_obj
def init(session: Session, config: Path | None) -> None:
    """Write a file with every key, its default and its meaning, all commented out."""
    from orchestrator.cli import toml_text

    path = _where_to_write(session.with_config(config))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(toml_text.template())
    except FileExistsError:
        raise Refused(f"{path} exists", "edit it, or name another by --config") from None
    except OSError as error:
        raise HomerunError(
            f"{path} cannot be written: {error.strerror}", "name another by --config"
        ) from None
    click.echo(str(path))


def _load(session: Session, config: Path | None) -> Loaded:
    from orchestrator.settings.config import load_from

    given = session.with_config(config)
    return load_from(given.config, given.env)


def _where_to_write(session: Session) -> Path:
    if session.config:
        return session.config
    if session.env.get("HOMERUN_CONFIG"):
        return Path(session.env["HOMERUN_CONFIG"]).expanduser()
    if os.geteuid() == 0:
        return places.SYSTEM_CONFIG
    return places.user_config_file(session.env)
