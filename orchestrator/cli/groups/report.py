"""report: a run so far, for the morning and for the shelf."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.completing import run_argument
from orchestrator.cli.session import Session, emit, json_option
from orchestrator.domain import to_json
from orchestrator.errors import Invalid, Refused

if TYPE_CHECKING:
    from orchestrator.cli.report.facts import Report

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@run_argument(required=False)
@click.option("--html", type=_FILE, metavar="FILE", help="Write a page that needs nothing else.")
@click.option("--png", type=_FILE, metavar="FILE", help="Write a picture.")
@json_option
@click.pass_obj
def report(
    session: Session, run: str | None, html: Path | None, png: Path | None, as_json: bool
) -> None:
    """Show how a run went so far: loss, energy, money, holds, outages, checkpoints.

    Without RUN it is about the active run, or the newest one.
    """
    if as_json and (html or png):
        raise Invalid("give --json, or files to write", "homerun report --help")
    from orchestrator.cli.report.facts import gather
    from orchestrator.cli.report.figures import text

    found = gather(session.client(), run)
    if as_json:
        emit("report", _plain(found))
        return
    for path, write in ((html, _write_html), (png, _write_png)):
        if path is not None:
            try:
                write(found, path)
            except OSError as error:
                why = error.strerror or str(error)
                raise Refused(f"{path} cannot be written: {why}", "name another file") from None
            click.echo(f"wrote {path}", err=True)
    if not (html or png):
        click.echo("\n".join(text(found)))
        click.echo(f"\nPictures: homerun report {found.run['name']} --html FILE, --png FILE")


def _write_html(found: Report, path: Path) -> None:
    from orchestrator.cli.report.html_page import page

    path.write_text(page(found), encoding="utf-8")


def _write_png(found: Report, path: Path) -> None:
    from orchestrator.cli.report.sheet import write

    write(found, path)


def _plain(found: Report) -> dict[str, object]:
    fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    return dict(to_json(fields))
