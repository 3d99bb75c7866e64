"""export: a finished model in the format of another program. Needs no daemon."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from orchestrator.cli.discovery import read_settings
from orchestrator.cli.session import Session
from orchestrator.errors import HomerunError, NotFound, Refused
from orchestrator.paths import Paths
from trainer.contract import toml


@click.command()
@click.argument("run")
@click.option("--to", "kind", type=click.Choice(["hf"]), required=True, help="Format to write.")
@click.argument("directory", type=click.Path(path_type=Path))
@click.pass_obj
def export(session: Session, run: str, kind: str, directory: Path) -> None:
    """Write RUN's newest model to DIRECTORY.

    --to hf writes safetensors, configuration and tokenizer as transformers loads them.
    """
    paths = Paths(read_settings(session.config, session.env).state_dir)
    run_dir = _run_dir(paths, run)
    out = directory.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused(f"{out} exists and is not empty", "name a new directory")
    click.echo(f"Exporting {run}...", err=True)
    # A process of its own, because it loads torch and this command must not.
    command = [sys.executable, "-m", "trainer.export", str(run_dir), str(out), "--to", kind]
    if subprocess.run(command, check=False).returncode != 0:
        raise HomerunError(f"{run} was not exported", "the lines above say why")
    click.echo(str(out))


def _run_dir(paths: Paths, run: str) -> Path:
    known = sorted(item.name for item in paths.runs.glob("*") if item.is_dir())
    if run not in known:
        hint = toml.nearest(run, known) or (f"known are {', '.join(known)}" if known else "")
        raise NotFound(f"no run {run!r} in {paths.runs}", hint or "train one first: homerun demo")
    return paths.run(run)
