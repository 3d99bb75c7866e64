"""version: of this command, of the daemon, and of what the bytes depend on."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import Any

import click

from orchestrator.cli.session import Session, emit, json_option
from orchestrator.errors import HomerunError
from orchestrator.version import VERSION

_PACKAGES = ("torch", "ray", "numpy", "safetensors", "tiktoken", "rustbpe", "sqlalchemy")


@click.command()
@json_option
@click.pass_obj
def version(session: Session, as_json: bool) -> None:
    """Show the versions of homerun, daemon and libraries."""
    found = versions(session)
    if as_json:
        emit("version", found)
        return
    click.echo(f"homerun {found['homerun']}")
    click.echo(f"  daemon       {found['daemon'] or 'not running'}")
    click.echo(f"  python       {found['python']} on {found['platform']}")
    for name, number in found["packages"].items():
        click.echo(f"  {name:<12} {number or 'missing'}")


def installed(package: str) -> str | None:
    """The installed version of a package, found without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions(session: Session) -> dict[str, Any]:
    """As JSON; what is missing is None."""
    return {
        "homerun": VERSION,
        "daemon": _daemon_version(session),
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "packages": {name: installed(name) for name in _PACKAGES},
    }


def _daemon_version(session: Session) -> str | None:
    # The version is asked for when things are broken, so a missing daemon is no failure.
    try:
        answer = session.client(timeout_seconds=2.0).get("status")
        return str(answer["daemon"]["version"])
    except (HomerunError, KeyError, TypeError):
        return None
