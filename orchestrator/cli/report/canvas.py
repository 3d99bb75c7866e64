"""Something to draw on: the seam between charts and the forms they come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

#: colours by what they mean: on white paper, and on a dark screen
COLOURS: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#12161c"),
    "card": ("#f5f7f9", "#1a2029"),
    "ink": ("#1b2430", "#e8ebf0"),
    "muted": ("#697586", "#97a3b3"),
    "grid": ("#e3e8ee", "#2a323e"),
    "train": ("#2f6fb5", "#6cabec"),
    "money": ("#c07a12", "#e3aa4e"),
    "good": ("#2d8a5f", "#5cc293"),
    "outage": ("#c0392b", "#f07f72"),
    "user": ("#7a56b3", "#b497e6"),
    "tariff": ("#d19a2a", "#e8bd63"),
    "quiet_hours": ("#4a5aa8", "#8f9ee8"),
    "thermal": ("#d2622a", "#f0935f"),
    "gpu_busy": ("#23888c", "#5fc4c7"),
    "other": ("#8793a3", "#8b98a9"),
}


def colour_of(kind: str) -> str:
    """The colour of a span's kind."""
    if kind == "trainer":
        return "train"
    return kind if kind in COLOURS else "outage" if kind in ("ups", "crash_loop") else "other"


class Canvas(Protocol):
    """Lengths in pixels from the top left. ``colour`` is a key of COLOURS."""

    def line(
        self, points: Sequence[Point], colour: str, width: float = 1.0, opacity: float = 1.0
    ) -> None:
        """A line through the points."""

    def area(self, points: Sequence[Point], colour: str, opacity: float = 1.0) -> None:
        """A filled polygon."""

    def box(
        self,
        corner: Point,
        size: Point,
        colour: str,
        *,
        radius: float = 0.0,
        opacity: float = 1.0,
        tip: str = "",
    ) -> None:
        """A filled rectangle; ``tip`` is told to whoever points at it, where that is possible."""

    def text(
        self,
        place: Point,
        text: str,
        *,
        size: float = 12.0,
        colour: str = "ink",
        anchor: Anchor = "start",
    ) -> None:
        """One line of text on a baseline."""
