"""How fast the run is at one level of power, within a minute or two. Pure.

A step of a large model takes minutes on a home card, too long to wait for at each level: then
micro-batches are counted, and what lies between two steps (the optimizer) is left out. Where
steps are short, whole ones are counted. All levels of a profile are counted in the same way,
because only their relation to full power is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: one stretch of measuring is at least so long
LEAST_SECONDS = 30.0
#: and holds so many steps, or so many micro-batches
LEAST_STEPS = 3
LEAST_MICRO_BATCHES = 6


@dataclass(frozen=True)
class Mark:
    """Where the run was, at a moment at which it had just done something."""

    seconds: float
    step: int
    micro: int
    micro_batches: int

    @property
    def done(self) -> float:
        """In micro-batches since the run began."""
        return float(self.step * max(1, self.micro_batches) + self.micro)


#: marks without anything but computing between them
Segment = tuple[Mark, ...]


def counts_steps(segments: Sequence[Segment]) -> bool | None:
    """Whether steps are short enough to count whole ones; None while neither can be said."""
    if _steps(segments) >= LEAST_STEPS and _span(segments) >= LEAST_SECONDS:
        return True
    pieces = list(_within_steps(segments))
    if _done(pieces) >= LEAST_MICRO_BATCHES and _span(pieces) >= LEAST_SECONDS:
        return False
    return None


def micro_batches_per_second(segments: Sequence[Segment], *, whole_steps: bool) -> float | None:
    """The speed; None until the stretch is long enough."""
    pieces = list(segments) if whole_steps else list(_within_steps(segments))
    seconds = _span(pieces)
    enough = _steps(pieces) >= LEAST_STEPS if whole_steps else _done(pieces) >= LEAST_MICRO_BATCHES
    return _done(pieces) / seconds if enough and seconds >= LEAST_SECONDS else None


def _within_steps(segments: Sequence[Segment]) -> Iterator[Segment]:
    """Cut where a step ends, so that no piece holds an optimizer's work."""
    for segment in segments:
        piece: list[Mark] = []
        for mark in segment:
            if piece and mark.step != piece[-1].step:
                yield tuple(piece)
                piece = []
            piece.append(mark)
        yield tuple(piece)


def _span(segments: Sequence[Segment]) -> float:
    return sum(part[-1].seconds - part[0].seconds for part in segments if part)


def _done(segments: Sequence[Segment]) -> float:
    return sum(part[-1].done - part[0].done for part in segments if part)


def _steps(segments: Sequence[Segment]) -> int:
    return sum(part[-1].step - part[0].step for part in segments if part)
