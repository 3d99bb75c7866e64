"""Skips: the global batches that a run leaves out, and which batch each step therefore has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Skips:
    """Spans [first, end) of global batches, numbered from 0; sorted, apart from each other.

    Without any, step k (from 0) has batch k. The whole position in the data is a pure function
    of a step and of these spans.
    """

    spans: tuple[tuple[int, int], ...] = ()

    def batch_of(self, step: int) -> int:
        """The number of the global batch of 0-based ``step``."""
        batch = step
        for first, end in self.spans:
            if batch < first:
                break
            batch += end - first
        return batch

    def leaving_out(self, first_step: int, end_step: int) -> Skips:
        """The same, without the batches that steps ``first_step`` to ``end_step`` - 1 have now."""
        first, end = self.batch_of(first_step), self.batch_of(end_step - 1) + 1
        return Skips(_merged([*self.spans, (first, end)]))

    @property
    def count(self) -> int:
        """Batches that are left out."""
        return sum(end - first for first, end in self.spans)

    def to_plain(self) -> list[list[int]]:
        """As JSON types."""
        return [list(span) for span in self.spans]


def from_plain(plain: Iterable[Sequence[int]]) -> Skips:
    """Read back what ``Skips.to_plain`` wrote."""
    return Skips(_merged([(int(first), int(end)) for first, end in plain]))


def _merged(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for first, end in sorted(spans):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return tuple(merged)
