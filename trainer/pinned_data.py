"""The dataset of a run: prepared at the first start, the very same one ever after."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from trainer import data, record, supply
from trainer.contract.job import Job
from trainer.data import DataError, Dataset
from trainer.data.corpus import find_corpus
from trainer.outcome import DatasetChangedError
from trainer.record import Record
from trainer.supply import Supply

Progress = Callable[[str, float], None]


def open_pinned(job: Job, pinned: Record, progress: Progress) -> tuple[Dataset, Record]:
    """The run's dataset, and the record that names it.

    ``progress`` is called at least every second while a corpus is prepared; what it raises
    ends the preparation.

    A corpus that is too small for the run is refused before it is pinned, so that the run can be
    started again once there is more of it.

    Raises:
        DataError: the corpus is missing, empty, unreadable or too small.
        DatasetChangedError: the prepared data is gone and the corpus is another one by now.
    """
    dataset = _reopen(job, pinned)
    if dataset is None:
        dataset = data.prepare(
            job.spec.data, job.spec.model.vocab_size, Path(job.data_dir), progress
        )
    if pinned.dataset and dataset.id != pinned.dataset:
        raise DatasetChangedError(_changed(job, pinned.dataset, dataset.id))
    if not pinned.dataset and not job.spec.data.allow_repeats:
        supply.refuse_repeats(_supply(job, dataset))
    named = dataclasses.replace(pinned, dataset=dataset.id, data_dir=str(Path(job.data_dir)))
    if named != pinned:
        record.write(Path(job.run_dir), named)
    return dataset, named


def _reopen(job: Job, pinned: Record) -> Dataset | None:
    if not pinned.dataset:
        return None
    try:
        return data.open_dataset(Path(job.data_dir), pinned.dataset)
    except DataError:
        return None  # gone or damaged: prepared anew, and compared


def _supply(job: Job, dataset: Dataset) -> Supply:
    files = find_corpus(job.spec.data.corpus).training_files
    return supply.supply_of(job.spec, dataset.train.tokens, len(files))


def _changed(job: Job, pinned: str, found: str) -> str:
    return (
        f"run {job.spec.name!r} was started on dataset {pinned}; that is gone from "
        f"{job.data_dir}, and the corpus {job.spec.data.corpus!r} gives {found} now. "
        "Bring the old corpus or the prepared dataset back, or start a new run"
    )
