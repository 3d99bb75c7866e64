"""doctor: everything that must be right, one line each, with its fix."""

from __future__ import annotations

import dataclasses
import json

import click

from orchestrator.cli import checks, render
from orchestrator.cli.checks import Check, State
from orchestrator.cli.session import Session, json_option
from orchestrator.domain import SCHEMA
from orchestrator.errors import HomerunError

_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red"}
_NAME_COLUMNS = 12


@click.command()
@json_option
@click.pass_obj
def doctor(session: Session, as_json: bool) -> None:
    """Check machine, installation and daemon; name each fix.

    Exit code 1 says that something must be fixed; warnings do not count.
    """
    found = []
    for check in checks.run_all(session):
        found.append(check)
        if not as_json:
            click.echo("\n".join(_lines(check, session)))
    failed = [check for check in found if check.state is State.FAILED]
    if as_json:
        plain = [dataclasses.asdict(check) for check in found]
        click.echo(json.dumps({"schema": SCHEMA, "ok": not failed, "checks": plain}, indent=2))
    if failed:
        names = ", ".join(check.name for check in failed)
        raise HomerunError(f"to be fixed: {names}", "the lines above say how")


def _lines(check: Check, session: Session) -> list[str]:
    glyphs = session.glyphs
    sign = {State.OK: glyphs.good, State.WARNING: glyphs.warning, State.FAILED: glyphs.bad}
    head = click.style(f"{sign[check.state]:<2}", fg=_COLOURS[check.state])
    margin = " " * (3 + _NAME_COLUMNS)
    room = session.width - len(margin)
    texts = [part for line in check.message.splitlines() for part in render.wrap(line, room)]
    lines = [f"{head} {check.name:<{_NAME_COLUMNS}}{texts[0]}"]
    lines += [margin + text for text in texts[1:]]
    if check.fix:
        fix = render.wrap(f"fix: {check.fix}", room)
        lines += [margin + click.style(text, dim=True) for text in fix]
    return lines
