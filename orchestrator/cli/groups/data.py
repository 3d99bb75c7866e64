"""data: fetch, prepare, list, verify. Needs no daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from orchestrator.cli import child
from orchestrator.cli.run_dirs import paths_of
from orchestrator.cli.session import Session, json_option

_PROGRAM = "trainer.corpora"
_POSITIVE = click.IntRange(1)


@click.group()
def data() -> None:
    """Fetch a corpus, prepare it, look after both."""


@data.command()
@click.argument("corpus")
@click.option("--shards", type=_POSITIVE, metavar="N", required=True, help="For training.")
@click.option(
    "--to",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Instead of the state directory's corpora/CORPUS.",
)
@json_option
@click.pass_obj
def fetch(
    session: Session, corpus: str, shards: int, directory: Path | None, as_json: bool
) -> None:
    """Fetch CORPUS (fineweb-edu) from the Hugging Face Hub.

    A shard of fineweb-edu is about 100 MB and 52 million tokens; its last one comes along for
    validation. Every file is checked; a call that was cut short goes on where it stopped.
    """
    target = directory.expanduser().absolute() if directory else paths_of(session).corpora / corpus
    _do("fetch", as_json, "fetched", [f"--shards={shards}", f"--to={target}", "--", corpus])


@data.command()
@click.argument("directory", required=False, metavar="DIR")
@click.option(
    "--spec",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take corpus and settings from the file of a run.",
)
@click.option("--vocab-size", type=_POSITIVE, metavar="V", help="Tokens. [default: 65536]")
@click.option(
    "--validation-permille",
    type=click.IntRange(1, 500),
    metavar="P",
    help="Documents of a thousand, where the corpus does not say itself. [default: 20]",
)
@click.option(
    "--tokenizer-characters",
    type=click.IntRange(10_000),
    metavar="C",
    help="To train the tokenizer on. [default: 2000000000]",
)
@click.option("--jobs", type=click.IntRange(0), metavar="N", help="At a time. [default: all cores]")
@json_option
@click.pass_obj
def prepare(
    session: Session, /, directory: str | None, spec: Path | None, as_json: bool, **given: Any
) -> None:
    """Train a tokenizer on the corpus in DIR and tokenize it, as a run would when it starts.

    A run with the same corpus and settings then starts at once.
    """
    if (directory is None) == (spec is None):
        raise click.UsageError("name a directory, or a run's file with --spec")
    own = [name for name, value in given.items() if value is not None and name != "jobs"]
    if spec is not None and own:
        raise click.UsageError(f"the file of --spec says {', '.join(own)} already")
    arguments = [f"--data-dir={paths_of(session).data}"]
    arguments.append(f"--spec={spec}" if spec else f"--corpus={directory}")
    arguments += [
        f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None
    ]
    _do("prepare", as_json, "prepared", arguments)


@data.command("list")
@json_option
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """List the fetched corpora and the prepared datasets."""
    _do("list", as_json, "data", _places(session))


@data.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="DIR")
@json_option
@click.pass_obj
def verify(session: Session, directory: Path | None, as_json: bool) -> None:
    """Read every byte of DIR, or of all there is, and compare the checksums.

    Exit code 1 says that something is damaged or missing. Needs no network.
    """
    arguments = _places(session)
    if directory is not None:
        arguments.append(f"--directory={directory.expanduser().absolute()}")
    _do("verify", as_json, "verification", arguments)


def _places(session: Session) -> list[str]:
    paths = paths_of(session)
    return [f"--data-dir={paths.data}", f"--corpora-dir={paths.corpora}"]


def _do(what: str, as_json: bool, noun: str, arguments: list[str]) -> None:
    if as_json:
        child.relay(noun, _PROGRAM, [what, "--json", *arguments])
    else:
        child.run(_PROGRAM, [what, *arguments])
