"""bundle: everything that a bug report needs, without what is private."""

from __future__ import annotations

import os
from pathlib import Path

import click

from orchestrator.cli import bundling, render
from orchestrator.cli.session import Session
from orchestrator.errors import HomerunError, Refused


@click.command()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write it; homerun-bundle-DATE.tar.gz unless given.",
)
@click.pass_obj
def bundle(session: Session, out: Path | None) -> None:
    """Pack what a bug report needs, redacted.

    Versions, doctor, configuration, state, journal and the ends of the logs. Secrets, names of
    machines and people, addresses and home directories are replaced. Works without a daemon too.
    """
    from orchestrator.settings.config import load_from

    now = session.now()
    try:
        config = load_from(session.config, session.env).config
    except HomerunError:
        config = None
    redactor = bundling.redactor_for(session, config)
    items = bundling.collect(session, redactor, config)
    path = out or Path(f"homerun-bundle-{now.astimezone():%Y%m%d-%H%M%S}.tar.gz")
    content = bundling.pack(items, int(now.timestamp()))
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except FileExistsError:
        raise Refused(f"{path} is there already", "name another file by --out") from None
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}", "name another file") from None
    click.echo(f"{path}: {len(items)} files, {render.size(len(content))}. In it:")
    for item in items:
        click.echo(f"  {item.name:<18}{render.size(len(item.text))}")
    click.echo("Please look through it before you send it.")
