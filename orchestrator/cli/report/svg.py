"""The canvas that becomes SVG, for a page that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Sequence

from orchestrator.cli.report.canvas import Anchor, Point


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
