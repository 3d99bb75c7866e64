"""profile: what each level of power gives, measured on the run that computes now."""

from __future__ import annotations

import sys
from typing import Any

import click

from orchestrator.cli import render
from orchestrator.cli.session import Session, emit, json_option
from orchestrator.errors import HomerunError, NotFound

_EVERY_SECONDS = 1.0
_BAR_COLUMNS = 24


@click.command()
@click.argument("run", required=False)
@json_option
@click.pass_obj
def profile(session: Session, run: str | None, as_json: bool) -> None:
    """Measure speed and power at each level on the running job, in a few minutes.

    The daemon measures, and restores the limit whatever happens; Ctrl-C ends it. The plan uses
    what was found, and every hour of running refines it.
    """
    client = session.client()
    name = run or _current(client.get("status"))
    view = client.post("profile", {"run": name})
    live = not as_json and sys.stdout.isatty()
    try:
        while view["state"] == "running":
            if live:
                click.echo(f"\r{_line(view, session)}\x1b[K", nl=False)
            session.clock.sleep(_EVERY_SECONDS)
            view = client.get("profile")
    except KeyboardInterrupt:
        client.post("profile/stop", {})
        raise click.Abort from None
    finally:
        if live:
            click.echo("\r\x1b[K", nl=False)
    if as_json:
        emit("profile", view)
    elif view["state"] == "done":
        click.echo("\n".join(_table(view)))
    if view["state"] != "done":
        raise HomerunError(f"not measured: {view['message']}", "the limit is what it was")


def _current(snapshot: dict[str, Any]) -> str:
    if snapshot["run"] is None:
        raise NotFound("no run is active", "homerun status tells why")
    return str(snapshot["run"]["name"])


def _line(view: dict[str, Any], session: Session) -> str:
    bar = render.bar(view["progress"], _BAR_COLUMNS, session.glyphs)
    return f"{bar} {render.percent(view['progress'], 0)} {view['message']}"


def _table(view: dict[str, Any]) -> list[str]:
    """One line a level, and what no reader must miss."""
    lines = ["   limit    speed    power   speed per watt"]
    full = view["results"][0]
    for item in view["results"]:
        watts, better = item["watts"], ""
        power = "unknown" if watts is None else f"{watts:.0f} W"
        if watts and full["watts"]:
            gain = item["relative_speed"] * full["watts"] / watts - 1.0
            better = f"{gain:+.0%}"
        speed = render.percent(item["relative_speed"])
        lines.append(f"{item['limit_watts']:>6.0f} W {speed:>8} {power:>8}   {better:>14}".rstrip())
    if view["card"] == "simulated":
        lines.append("This card is simulated: nothing here was measured, and nothing is kept.")
    elif view["power_source"] == "estimated":
        lines.append("The power is estimated: no meter answers. The speeds are kept for the plan.")
    else:
        lines.append("The plan uses these levels from now on.")
    return lines
