"""Evaluation: how well a run's model predicts a text, in bits per byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from trainer import evaluate
from trainer.ask.errors import AskError
from trainer.ask.texts import batches_of, documents_in
from trainer.ask.trained import Trained
from trainer.data import Dataset, open_dataset, validation_batches
from trainer.data.errors import DataError
from trainer.data.tokenizer import Tokenizer
from trainer.evaluate import Evaluation

Progress = Callable[[str, float], None]


def of_texts(
    trained: Trained, tokenizer: Tokenizer, names: Sequence[str], progress: Progress
) -> Evaluation:
    """Bits per byte on files, directories and standard input ("-").

    Raises:
        DataError: something cannot be read.
        AskError: there is no text in it.
    """
    done = [0.0]

    def read(fraction: float) -> None:
        done[0] = fraction

    texts = documents_in(names, read)
    shape = (trained.spec.train.micro_batch, trained.spec.model.sequence_length)
    batches = batches_of(texts, tokenizer, *shape)
    return _judge(trained, tokenizer, batches, lambda _: progress("evaluating", done[0]))


def of_validation(
    trained: Trained, data_dir: Path | None, tokens: int | None, progress: Progress
) -> Evaluation:
    """Bits per byte on the run's own validation split, as its training reports it.

    ``tokens`` are looked at; None for as many as in training, 0 for all of them.

    Raises:
        AskError: the prepared corpus is gone.
    """
    dataset = _dataset(trained, data_dir)
    wanted = trained.spec.train.eval_tokens if tokens is None else tokens
    wanted = wanted or dataset.validation.tokens
    shape = (trained.spec.train.micro_batch, trained.spec.model.sequence_length)
    count = min(wanted, dataset.validation.tokens)
    batches = validation_batches(dataset, *shape, wanted)
    batch_tokens, seen = shape[0] * shape[1], [0]

    def between(_: float) -> None:
        seen[0] += batch_tokens
        progress("evaluating", seen[0] / count)

    return _judge(trained, dataset.tokenizer, batches, between)


def _judge(
    trained: Trained,
    tokenizer: Tokenizer,
    batches: Iterator[tuple[Tensor, Tensor]],
    between: Callable[[float], None],
) -> Evaluation:
    token_bytes = torch.from_numpy(tokenizer.token_bytes())
    try:
        return evaluate.bits_per_byte(
            trained.model, batches, token_bytes, trained.recipe, trained.device, between
        )
    except ValueError:
        raise AskError("there is no text to evaluate", "name a file with some text in it") from None


def _dataset(trained: Trained, data_dir: Path | None) -> Dataset:
    problems = []
    for directory in trained.datasets(data_dir):
        try:
            return open_dataset(directory.parent, trained.record.dataset)
        except DataError as error:
            problems.append(error.message)
    raise AskError(
        f"the run's prepared corpus cannot be used: {problems[-1]}",
        "name files to evaluate, or bring it back: homerun data prepare",
    )
