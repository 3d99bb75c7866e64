"""The learning curves."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence

from sqlalchemy import Select, delete, false, func, insert, or_, select
from sqlalchemy.orm import Session

from orchestrator.domain import Sample
from orchestrator.store.runs import Runs
from orchestrator.store.tables import SampleRow

#: rows in one statement: well below every database's limit on parameters
_BATCH = 500


class Samples:
    """All samples within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, run: str, samples: Sequence[Sample]) -> None:
        """Append points; of two for one step the later wins. Raises NotFound."""
        Runs(self._session).require(run)
        by_step = {sample.step: sample for sample in samples}
        for batch in _batches(by_step.values()):
            steps = [sample.step for sample in batch]
            mine = (SampleRow.run == run) & SampleRow.step.in_(steps)
            self._session.execute(delete(SampleRow).where(mine))
            rows = [{"run": run, **dataclasses.asdict(sample)} for sample in batch]
            self._session.execute(insert(SampleRow), rows)

    def of(self, run: str, limit: int) -> list[Sample]:
        """The curve, oldest first: all points, or ``limit`` of them at even distances.

        The first and the last point are among them (only the last when ``limit`` is 1).
        """
        mine = select(SampleRow).where(SampleRow.run == run).order_by(SampleRow.step)
        count = self._count(run)
        if count > limit:
            mine = mine.where(SampleRow.step.in_(_evenly(run, count, limit)))
        return [_value(row) for row in self._session.scalars(mine)]

    def scores(self, run: str) -> dict[int, float]:
        """Validation in bits per byte by step."""
        mine = (SampleRow.run == run) & SampleRow.bits_per_byte.is_not(None)
        rows = self._session.execute(select(SampleRow.step, SampleRow.bits_per_byte).where(mine))
        return {step: score for step, score in rows if score is not None}

    def thin(self, run: str, keep: int) -> None:
        """Delete all points but ``keep`` at even distances, the first and the last among them."""
        count = self._count(run)
        if count <= keep:
            return
        kept = SampleRow.step.in_(_evenly(run, count, keep))
        surplus = delete(SampleRow).where(SampleRow.run == run, ~kept)
        self._session.execute(surplus, execution_options={"synchronize_session": False})

    def _count(self, run: str) -> int:
        mine = select(func.count()).select_from(SampleRow).where(SampleRow.run == run)
        return self._session.scalar(mine) or 0


def _evenly(run: str, count: int, limit: int) -> Select[int]:
    """The steps of ``limit`` of the run's ``count`` points, at even distances.

    Ranks 0..count-1 run from the newest; rank r is taken when floor(r*(limit-1)/(count-1))
    has just grown. That happens at exactly limit-1 ranks, the last among them, and rank 0 is
    taken anyway.
    """
    rank = func.row_number().over(order_by=SampleRow.step.desc()) - 1
    ranked = select(SampleRow.step, rank.label("rank")).where(SampleRow.run == run).subquery()
    if limit <= 0:
        return select(ranked.c.step).where(false())
    spans = max(count - 1, 1)
    here = ranked.c.rank * (limit - 1) // spans
    before = (ranked.c.rank - 1) * (limit - 1) // spans
    return select(ranked.c.step).where(or_(ranked.c.rank == 0, here > before))


def _value(row: SampleRow) -> Sample:
    return Sample(
        step=row.step,
        time=row.time,
        loss=math.nan if row.loss is None else row.loss,
        tokens_per_second=math.nan if row.tokens_per_second is None else row.tokens_per_second,
        bits_per_byte=row.bits_per_byte,
        watts=row.watts,
    )


def _batches(samples: Iterable[Sample]) -> Iterable[list[Sample]]:
    rest = iter(samples)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch
