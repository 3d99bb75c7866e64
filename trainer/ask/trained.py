"""Trained: a run's model as one of its checkpoints holds it, opened for reading only.

Nothing in the run's directory is changed, so this works while the trainer lives on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer import record
from trainer.ask.errors import AskError
from trainer.checkpoint import catalog, reader
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.reader import DamagedError
from trainer.contract import spec as run_spec
from trainer.contract.spec import RunSpec
from trainer.contract.toml import InvalidFileError
from trainer.data.errors import DataError
from trainer.data.tokenizer import Tokenizer
from trainer.model import NanoChat
from trainer.precision.base import Recipe
from trainer.record import Record
from trainer.state import StateError, model_of

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A model ready to be asked."""

    spec: RunSpec
    record: Record
    #: the checkpoint that the weights come from
    entry: Entry
    model: NanoChat
    recipe: Recipe
    device: torch.device

    def datasets(self, data_dir: Path | None = None) -> list[Path]:
        """Where the run's prepared corpus may lie: where it was, and below ``data_dir``."""
        places = [Path(self.record.data_dir), *([data_dir] if data_dir else [])]
        return [place / self.record.dataset for place in places]


def open_trained(
    run_dir: Path, device: torch.device, tell: Tell, checkpoint: str | None = None
) -> Trained:
    """The model of the newest whole checkpoint, or of the one named.

    Args:
        tell: is told in words of each damaged checkpoint that is passed over.
        checkpoint: a name as ``homerun checkpoints list`` prints it, or a step.

    Raises:
        AskError: no such run, no checkpoint yet, none that is whole, or the one named is not.
        OSError: the disk cannot be read.
    """
    pinned, spec = read_run(run_dir)
    entry, weights = _load(run_dir, tell, checkpoint)
    try:
        model, recipe = model_of(spec, device, weights)
    except StateError as error:
        raise AskError(f"{entry.name} does not fit its run: {error}") from None
    return Trained(spec, pinned, entry, model, recipe, device)


def tokenizer_of(trained: Trained, data_dir: Path | None = None) -> Tokenizer:
    """The run's tokenizer, which lies with its prepared corpus.

    Raises:
        AskError: it is gone, or is another model's.
    """
    problem = "the run's corpus was never prepared"
    for directory in trained.datasets(data_dir) if trained.record.dataset else ():
        try:
            tokenizer = Tokenizer.load(directory)
        except DataError as error:
            problem = error.message
            continue
        if tokenizer.vocab_size <= trained.spec.model.vocab_size:
            return tokenizer
        problem = f"{directory}: its tokenizer has more tokens than the model"
    raise AskError(
        f"no tokenizer: {problem}", "bring the prepared corpus back: homerun data prepare"
    )


def read_run(run_dir: Path) -> tuple[Record, RunSpec]:
    """What is pinned of a run. Raises AskError when it was never started, or not by us."""
    try:
        pinned = record.read(run_dir)
    except record.RecordError as error:
        raise AskError(str(error)) from error
    if pinned is None:
        raise AskError(
            f"{run_dir} is no run that was ever started: it has no {record.FILE}",
            "wait until its training has begun",
        )
    try:
        spec = run_spec.from_dict(pinned.spec, file=record.FILE)
    except InvalidFileError as error:
        raise AskError(f"{run_dir / record.FILE} cannot be used: {error}") from error
    return pinned, pinned.settled(spec)


def _load(run_dir: Path, tell: Tell, checkpoint: str | None) -> tuple[Entry, dict[str, Tensor]]:
    """A checkpoint and its weights, every byte of them checked."""
    names = _wanted(run_dir, checkpoint)
    for name in names:
        path = catalog.checkpoints_dir(run_dir) / name
        try:
            entry = catalog.examine(path)
            return entry, reader.load(entry, only=("model",)).files.get("model", {})
        except (DamagedError, FileNotFoundError) as error:
            if not path.exists():
                continue  # the trainer keeps its newest ones only, and has just deleted it
            problems = "; ".join(getattr(error, "problems", (str(error),)))
            if checkpoint:
                raise AskError(
                    f"{name} is damaged: {problems}", "choose another, or none for the newest whole"
                ) from None
            tell(f"{name} is damaged ({problems}); an older one is taken")
    if any(name not in names for name in _wanted(run_dir, checkpoint)):
        return _load(
            run_dir, tell, checkpoint
        )  # all were deleted meanwhile, but there are new ones
    raise AskError(
        f"no checkpoint of {run_dir.name} is whole", "the run's next save makes a good one"
    )


def _wanted(run_dir: Path, checkpoint: str | None) -> list[str]:
    """Names of the checkpoints to try, the best first."""
    generations = catalog.generations(run_dir)
    if not generations:
        raise AskError(
            f"{run_dir.name} has no checkpoint yet",
            "wait for its first save, or ask for one: homerun checkpoints save",
        )
    if checkpoint is None:
        return [str(name) for name in generations]
    step = int(checkpoint) if checkpoint.isdecimal() else None
    found = [str(name) for name in generations if str(name) == checkpoint or name.step == step]
    if not found:
        steps = ", ".join(str(name.step) for name in generations[:8])
        raise AskError(
            f"{run_dir.name} has no checkpoint {checkpoint!r}", f"there are those of steps {steps}"
        )
    return found[:1]
