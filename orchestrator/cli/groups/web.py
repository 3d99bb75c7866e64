"""web: the page's address, with a one-time link where a login is needed."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

import click

from orchestrator.cli.session import Session, emit, json_option
from orchestrator.errors import Invalid


@click.command()
@click.option(
    "--host",
    metavar="NAME",
    help="Under which name or address the browser finds this machine, such as pc.lan.",
)
@json_option
@click.pass_obj
def web(session: Session, host: str | None, as_json: bool) -> None:
    """Print the page's address.

    Where the daemon asks for a token it is a link that logs one browser in, once, within five
    minutes.
    """
    client = session.client()
    answer = client.post("login", {})
    url = _at(client.endpoint.url, host) + str(answer["path"])
    if as_json:
        emit("web", {"url": url, "expires": answer["expires"]})
        return
    click.echo(url)
    if answer["expires"]:
        until = datetime.fromisoformat(answer["expires"]).astimezone()
        click.echo(f"It logs one browser in, once, until {until:%H:%M:%S %Z}.", err=True)


def _at(url: str, host: str | None) -> str:
    """The address under another name; the port stays."""
    if host is None:
        return url
    if not host or set(host) & set("/?#@ \\"):
        raise Invalid(f"--host: {host!r} is no name and no address", "such as pc.lan")
    parts = urlsplit(url)
    name = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
    return parts._replace(netloc=f"{name}:{parts.port}" if parts.port else name).geturl()
