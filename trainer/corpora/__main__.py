"""``python -m trainer.corpora fetch|prepare|list|verify``: corpora and prepared datasets.

Needs neither a daemon nor PyTorch. Exit code 0, or 1 with what is wrong on standard error, or
130 after Ctrl-C; whatever was fetched until then stays.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from trainer.bar import Bar
from trainer.clock import SystemClock
from trainer.contract import spec as run_spec
from trainer.contract.choices import DEFAULT_CORPUS
from trainer.contract.spec import DataSpec
from trainer.contract.toml import InvalidFileError
from trainer.corpora import inventory
from trainer.corpora.fetch import fetch
from trainer.corpora.hub import HuggingFaceHub
from trainer.corpora.sources import SOURCES, source_named
from trainer.data import prepare
from trainer.data.errors import DataError
from trainer.program import EXIT_FAILED, end_with, in_words, natural

_CLOCK = SystemClock()


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit code."""
    given = _parser().parse_args(arguments)
    end_with(given.parent)
    return in_words(lambda: given.run(given))


def _fetch(given: argparse.Namespace) -> int:
    source = source_named(given.corpus)
    if given.shards < 1:
        raise DataError("no shards are nothing to fetch", "say how many: --shards 8")
    hub = HuggingFaceHub(_version())
    bar = Bar(sys.stderr, _CLOCK)

    def say(text: str) -> None:
        bar.clear()
        _say(text)

    try:
        done = fetch(source, given.shards, given.to, hub, _CLOCK, bar.show, say)
    except KeyboardInterrupt:
        say(f"\nstopped; what has come stays in {given.to}, the same command goes on from there")
        raise
    finally:
        bar.clear()
    if given.json:
        _print(
            corpus=source.name,
            directory=str(done.directory),
            shards=done.shards,
            bytes=done.size_bytes,
            new_files=done.new_files,
        )
        return 0
    sys.stdout.write(
        f"{done.directory}: {done.shards} shards for training and one for validation, "
        f"{done.size_bytes / 1e9:.2f} GB, all checked; {done.new_files} files are new\n"
    )
    _say(
        f'next: homerun data prepare {done.directory}; in a run: [data] corpus = "{done.directory}"'
    )
    return 0


def _prepare(given: argparse.Namespace) -> int:
    data, vocab_size = _settings(given)
    bar = Bar(sys.stderr, _CLOCK)
    try:
        made = prepare(data, vocab_size, given.data_dir, bar.show, threads=given.jobs)
    finally:
        bar.clear()
    figures = {
        "id": made.id,
        "directory": str(made.dir),
        "corpus": data.corpus,
        "vocab_size": vocab_size,
        "train_documents": len(made.train),
        "train_tokens": made.train.tokens,
        "validation_documents": len(made.validation),
        "validation_tokens": made.validation.tokens,
    }
    if given.json:
        _print(**figures)
    else:
        sys.stdout.write(
            f"{data.corpus} is prepared: {made.train.tokens:,} tokens of {len(made.train):,} "
            f"documents for training, {made.validation.tokens:,} of {len(made.validation):,} for "
            f"validation, in {made.dir}\n"
        )
    return 0


def _settings(given: argparse.Namespace) -> tuple[DataSpec, int]:
    """Corpus and settings of a run's file, or of the command line."""
    if given.spec is None:
        corpus = given.corpus
        if corpus != DEFAULT_CORPUS:
            corpus = str(Path(corpus).expanduser().resolve())
        data = DataSpec(corpus, given.validation_permille, given.tokenizer_characters)
        return data, given.vocab_size
    try:
        spec = run_spec.load(given.spec)
    except InvalidFileError as error:
        raise DataError(str(error), "correct the file") from None
    return spec.data, spec.model.vocab_size


def _list(given: argparse.Namespace) -> int:
    corpora = inventory.corpora_in(given.corpora_dir)
    datasets = inventory.datasets_in(given.data_dir)
    if given.json:
        _print(
            corpora=[corpus.to_plain() for corpus in corpora],
            datasets=[dataset.to_plain() for dataset in datasets],
        )
        return 0
    for line in [*(each.line() for each in corpora), *(each.line() for each in datasets)]:
        sys.stdout.write(f"{line}\n")
    if not corpora and not datasets:
        _say(f"nothing yet; fetch some: homerun data fetch {next(iter(SOURCES))} --shards 8")
    return 0


def _verify(given: argparse.Namespace) -> int:
    bar = Bar(sys.stderr, _CLOCK)
    try:
        if given.directory:
            found = inventory.verify([given.directory], [], bar.show)
        else:
            corpora = [corpus.directory for corpus in inventory.corpora_in(given.corpora_dir)]
            found = inventory.verify(corpora, inventory.dataset_dirs(given.data_dir), bar.show)
    finally:
        bar.clear()
    if given.json:
        _print(verdicts=[verdict.to_plain() for verdict in found])
    else:
        for verdict in found:
            sys.stdout.write(f"{verdict.line()}\n")
            for problem in verdict.problems:
                sys.stdout.write(f"    {problem}\n")
    if all(verdict.ok for verdict in found):
        return 0
    _say("  fix: fetch or prepare again what is damaged; good files are kept")
    return EXIT_FAILED


def _version() -> str:
    try:
        return metadata.version("homerun")
    except metadata.PackageNotFoundError:  # run from a copy of the sources
        return "0"


def _print(**figures: Any) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.corpora", description=__doc__)
    parser.add_argument("--parent", type=int, default=0, help="end when this process does")
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Any) -> argparse.ArgumentParser:
        made = commands.add_parser(name)
        made.set_defaults(run=run)
        made.add_argument("--json", action="store_true")
        return made

    fetching = command("fetch", _fetch)
    fetching.add_argument("corpus", help=", ".join(SOURCES))
    fetching.add_argument("--shards", type=natural, required=True)
    fetching.add_argument("--to", type=Path, required=True)
    preparing = command("prepare", _prepare)
    preparing.add_argument("--corpus", default=DEFAULT_CORPUS)
    preparing.add_argument("--spec", type=Path, help="take corpus and settings from a run's file")
    preparing.add_argument("--vocab-size", type=natural, default=65_536)
    preparing.add_argument(
        "--validation-permille", type=natural, default=DataSpec.validation_permille
    )
    preparing.add_argument(
        "--tokenizer-characters", type=natural, default=DataSpec.tokenizer_characters
    )
    preparing.add_argument("--jobs", type=natural, default=0, help="0: all cores")
    preparing.add_argument("--data-dir", type=Path, required=True)
    for name, run in (("list", _list), ("verify", _verify)):
        looking = command(name, run)
        looking.add_argument("--data-dir", type=Path, required=True)
        looking.add_argument("--corpora-dir", type=Path, required=True)
        if name == "verify":
            looking.add_argument("--directory", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
