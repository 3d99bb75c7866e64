"""The canvas that becomes a PNG. By Pillow, whose own font draws on a machine without fonts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageColor, ImageDraw, ImageFont

from orchestrator.cli.report.canvas import COLOURS, Anchor, Point

#: pixels a unit in the file: sharp on a phone
_SCALE = 2
#: drawn so much larger and then reduced, because Pillow's lines have hard edges
_FINER = 2
_ANCHORS: dict[Anchor, str] = {"start": "ls", "middle": "ms", "end": "rs"}


class RasterCanvas:
    """White paper of ``width`` by ``height`` units."""

    def __init__(self, width: int, height: int) -> None:
        self._k = _SCALE * _FINER
        self._image = Image.new("RGB", (width * self._k, height * self._k), _rgb("paper", 1.0))
        self._draw = ImageDraw.Draw(self._image)
        self._origin: Point = (0.0, 0.0)

    def at(self, x: float, y: float) -> RasterCanvas:
        """The same paper with its origin elsewhere."""
        moved = RasterCanvas.__new__(RasterCanvas)
        moved._k, moved._image, moved._draw = self._k, self._image, self._draw
        moved._origin = (self._origin[0] + x, self._origin[1] + y)
        return moved

    def line(
        self, points: Sequence[Point], colour: str, width: float = 1.0, opacity: float = 1.0
    ) -> None:
        places = [self._place(point) for point in points]
        pixels = max(1, round(width * self._k))
        self._draw.line(places, fill=_rgb(colour, opacity), width=pixels, joint="curve")

    def area(self, points: Sequence[Point], colour: str, opacity: float = 1.0) -> None:
        if len(points) > 2:
            places = [self._place(point) for point in points]
            self._draw.polygon(places, fill=_rgb(colour, opacity))

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
        left, top = self._place(corner)
        right, bottom = self._place((corner[0] + size[0], corner[1] + size[1]))
        span = (left, top, max(left, right - 1), max(top, bottom - 1))
        self._draw.rounded_rectangle(span, radius * self._k, fill=_rgb(colour, opacity))

    def text(
        self,
        place: Point,
        text: str,
        *,
        size: float = 12.0,
        colour: str = "ink",
        anchor: Anchor = "start",
    ) -> None:
        self._draw.text(
            self._place(place),
            text,
            fill=_rgb(colour, 1.0),
            font=_font(round(size * self._k)),
            anchor=_ANCHORS[anchor],
        )

    def width_of(self, text: str, size: float) -> float:
        """How wide a text would be."""
        return _font(round(size * self._k)).getlength(text) / self._k

    def save(self, path: Path) -> None:
        """Write the PNG. Raises OSError."""
        self._image.reduce(_FINER).save(path, format="PNG", optimize=True)

    def _place(self, point: Point) -> Point:
        return ((self._origin[0] + point[0]) * self._k, (self._origin[1] + point[1]) * self._k)


@lru_cache(maxsize=32)
def _font(pixels: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(pixels)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels come with FreeType"
    return font


def _rgb(colour: str, opacity: float) -> tuple[int, int, int]:
    """Blended with the paper: what lies below is nothing but paper, or meant to be covered."""
    paper = ImageColor.getrgb(COLOURS["paper"][0])
    wanted = ImageColor.getrgb(COLOURS[colour][0])
    red, green, blue = (
        round(w * opacity + p * (1 - opacity)) for w, p in zip(wanted, paper, strict=True)
    )
    return red, green, blue
