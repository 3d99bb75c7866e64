"""export: a finished model in the format of another program. Needs no daemon."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from orchestrator.cli.completing import run_argument
from orchestrator.cli.run_dirs import paths_of, run_dir
from orchestrator.cli.session import Session
from orchestrator.errors import HomerunError, Refused


@click.command()
@run_argument()
@click.option("--to", "kind", type=click.Choice(["hf"]), required=True, help="Format to write.")
@click.argument("directory", type=click.Path(path_type=Path))
@click.pass_obj
def export(session: Session, run: str, kind: str, directory: Path) -> None:
    """Write RUN's newest model to DIRECTORY.

    --to hf writes safetensors, configuration and tokenizer as transformers loads them.
    """
    directory_of_run = run_dir(paths_of(session), run)
    out = directory.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused(f"{out} exists and is not empty", "name a new directory")
    click.echo(f"Exporting {run}...", err=True)
    # A process of its own, because it loads torch and this command must not.
    command = [
        sys.executable,
        "-m",
        "trainer.export",
        str(directory_of_run),
        str(out),
        "--to",
        kind,
    ]
    if subprocess.run(command, check=False).returncode != 0:
        raise HomerunError(f"{run} was not exported", "the lines above say why")
    click.echo(str(out))
