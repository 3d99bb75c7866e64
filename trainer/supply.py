"""Supply: whether a corpus is large enough for a run, and what is missing if not.

A model that reads its text twice learns less from it the second time, and a run that does so
for weeks without having said it is a month lost (karpathy/nanochat on an RTX 4070 was trained
for 531 hours on ten passes). So repeats must be asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainer import sizing
from trainer.contract.choices import DEFAULT_CORPUS
from trainer.contract.spec import RunSpec
from trainer.data.errors import DataError


class TooLittleDataError(DataError):
    """The corpus would be read more than once, and the spec does not allow it."""


@dataclass(frozen=True)
class Supply:
    """What a run wants to read, and what there is."""

    corpus: str
    #: files of the corpus that its training tokens come from
    files: int
    train_tokens: int
    wanted_tokens: int

    @property
    def epochs(self) -> float:
        """How often the corpus would be read; above 1 it repeats."""
        return self.wanted_tokens / max(1, self.train_tokens)

    @property
    def missing_files(self) -> int:
        """How many more files like those that are there would be enough."""
        return math.ceil(self.files * self.epochs) - self.files


def supply_of(spec: RunSpec, train_tokens: int, files: int) -> Supply:
    """The supply of a run whose corpus has so many tokens for training, in so many files."""
    wanted = sizing.horizon_steps(spec) * spec.train.batch_tokens
    return Supply(spec.data.corpus, files, train_tokens, wanted)


def repeats(supply: Supply) -> str:
    """What is to be said of a corpus that is read more than once; empty when it is not."""
    if supply.epochs <= 1.0:
        return ""
    return (
        f"the corpus {supply.corpus} has {supply.train_tokens:,} tokens for training and the run "
        f"wants {supply.wanted_tokens:,}: it would be read {supply.epochs:.2f} times"
    )


def refuse_repeats(supply: Supply) -> None:
    """Raises TooLittleDataError, with every way out, when the corpus would be read again."""
    said = repeats(supply)
    if not said:
        return
    raise TooLittleDataError(
        said,
        f"{_more(supply)}, or set [train] tokens to {supply.train_tokens} or less in a new run, "
        "or say there that you want it so: [data] allow_repeats = true",
    )


def _more(supply: Supply) -> str:
    if supply.corpus == DEFAULT_CORPUS:
        return "take a larger corpus (homerun data fetch fineweb-edu)"
    missing, files = supply.missing_files, supply.files
    return (
        f"about {missing:,} more files like its {files:,} are missing: add them (for a fetched "
        f"corpus: homerun data fetch ... --shards {files + missing}) and start it again"
    )
