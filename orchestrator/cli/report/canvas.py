"""Something to draw on: the seam between charts and the forms they come in."""

from __future__ import annotations

import html
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


class SvgCanvas:
    """SVG for a page that defines ``--NAME`` for each of COLOURS."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._width, self._height, self._title = width, height, title
        self._parts: list[str] = []

    def line(
        self, points: Sequence[Point], colour: str, width: float = 1.0, opacity: float = 1.0
    ) -> None:
        self._parts.append(
            f'<polyline points="{_joined(points)}" fill="none" stroke-width="{width:g}" '
            f'stroke-linejoin="round" stroke-linecap="round" '
            f'style="stroke:var(--{colour})"{_opacity(opacity)}/>'
        )

    def area(self, points: Sequence[Point], colour: str, opacity: float = 1.0) -> None:
        style = f'style="fill:var(--{colour})"{_opacity(opacity)}'
        self._parts.append(f'<polygon points="{_joined(points)}" {style}/>')

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
        rounded = f' rx="{radius:g}"' if radius else ""
        title = f"<title>{html.escape(tip)}</title>" if tip else ""
        self._parts.append(
            f'<rect x="{corner[0]:.1f}" y="{corner[1]:.1f}" width="{size[0]:.1f}" '
            f'height="{size[1]:.1f}"{rounded} style="fill:var(--{colour})"'
            f"{_opacity(opacity)}>{title}</rect>"
        )

    def text(
        self,
        place: Point,
        text: str,
        *,
        size: float = 12.0,
        colour: str = "ink",
        anchor: Anchor = "start",
    ) -> None:
        self._parts.append(
            f'<text x="{place[0]:.1f}" y="{place[1]:.1f}" font-size="{size:g}" '
            f'text-anchor="{anchor}" style="fill:var(--{colour})">{html.escape(text)}</text>'
        )

    def svg(self) -> str:
        """The whole drawing."""
        title = html.escape(self._title)
        return (
            f'<svg viewBox="0 0 {self._width:g} {self._height:g}" role="img" '
            f'aria-label="{title}"><title>{title}</title>' + "".join(self._parts) + "</svg>"
        )


def _joined(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _opacity(opacity: float) -> str:
    return "" if opacity >= 1 else f' opacity="{opacity:g}"'
