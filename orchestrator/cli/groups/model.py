"""sample, chat, eval: use a run's model. Need no daemon, and read only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator.cli import child
from orchestrator.cli.completing import run_argument
from orchestrator.cli.run_dirs import paths_of, run_dir
from orchestrator.cli.session import Session, json_option

_PROGRAM = "trainer.ask"
_NATURAL = click.IntRange(0)
F = TypeVar("F", bound=Callable[..., Any])


def _model_options(command: F) -> F:
    """Which model, and where it computes."""
    for option in (
        click.option("--threads", type=_NATURAL, metavar="N", help="CPU threads to compute with."),
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            help="auto: the GPU, unless a trainer has it.",
        ),
        click.option(
            "--checkpoint",
            metavar="NAME|STEP",
            help="Instead of the newest whole one.",
        ),
    ):
        command = option(command)
    return command


def _choice_options(command: F) -> F:
    """How the next token is chosen."""
    for option in (
        click.option("--seed", type=_NATURAL, metavar="N", help="Another seed than the run's own."),
        click.option(
            "--top-k",
            type=_NATURAL,
            metavar="N",
            default=50,
            show_default=True,
            help="Draw among so many likeliest tokens; 0: all.",
        ),
        click.option(
            "--temperature",
            type=click.FloatRange(0.0),
            metavar="T",
            default=0.8,
            show_default=True,
            help="0 always takes the likeliest token.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@run_argument()
@click.option("--prompt", help="What to continue, instead of the run's own sample_prompt.")
@click.option(
    "--tokens", type=_NATURAL, metavar="N", default=256, show_default=True, help="At most so many."
)
@_choice_options
@_model_options
@json_option
@click.pass_obj
def sample(session: Session, /, run: str, as_json: bool, **given: Any) -> None:
    """Let RUN's model continue a text.

    The same command writes the same text; --seed N writes another. Reads the newest whole
    checkpoint, also while the run is training.
    """
    arguments = _arguments("sample", session, run, given)
    if as_json:
        child.relay("sample", _PROGRAM, [*arguments, "--json"])
    else:
        child.run(_PROGRAM, arguments)


@click.command()
@run_argument()
@click.option(
    "--tokens", type=_NATURAL, metavar="N", default=128, show_default=True, help="At most a turn."
)
@_choice_options
@_model_options
@click.pass_obj
def chat(session: Session, /, run: str, **given: Any) -> None:
    """Write a text in turns with RUN's model.

    A pretrained base model does not answer: it continues what you write. Ctrl-C stops it
    writing, Ctrl-D ends.
    """
    child.run(_PROGRAM, _arguments("chat", session, run, given))


@click.command("eval")
@run_argument()
@click.argument("texts", nargs=-1, metavar="[FILE|DIR|-]...")
@click.option(
    "--tokens",
    type=_NATURAL,
    metavar="N",
    help="Of the validation split; 0: all of it. Default: as many as in training.",
)
@_model_options
@json_option
@click.pass_obj
def evaluate(
    session: Session, /, run: str, texts: tuple[str, ...], as_json: bool, **given: Any
) -> None:
    """Tell how well RUN's model predicts a text, in bits per byte.

    FILE is any text, .jsonl and .parquet document by document; DIR all its .txt, .jsonl and
    .parquet; - standard input. Without any, the run's own validation split.
    """
    if texts and given["tokens"] is not None:
        raise click.UsageError("--tokens is for the validation split; texts are read whole")
    arguments = _arguments("eval", session, run, given)
    arguments += [f"--text={text}" for text in texts]
    if as_json:
        child.relay("evaluation", _PROGRAM, [*arguments, "--json"])
    else:
        child.run(_PROGRAM, arguments)


def _arguments(what: str, session: Session, /, run: str, given: dict[str, Any]) -> list[str]:
    """The trainer's command line; options that were not given keep its defaults."""
    paths = paths_of(session)
    directory: Path = run_dir(paths, run)
    arguments = [what, str(directory), f"--data-dir={paths.data}"]
    for name, value in given.items():
        if value is not None:
            arguments.append(f"--{name.replace('_', '-')}={value}")
    return arguments
