"""A report as one tall picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.cli.report.facts import Report
from orchestrator.cli.report.figures import Figure, figures
from orchestrator.cli.report.panels import WIDE, Panel, panels
from orchestrator.cli.report.raster import RasterCanvas

_MARGIN = 32.0
_GAP = 24.0
_TILE_HEIGHT = 76.0
_TILE_GAP = 12.0
_TITLE_HEIGHT = 40.0
_TITLE, _HEADLINE = 30.0, 15.0


def write(report: Report, path: Path) -> None:
    """Draw it and write the PNG. Raises OSError."""
    tiles = figures(report)
    groups = list(_side_by_side(list(panels(report))))
    tile_rows = -(-len(tiles) // _columns(len(tiles)))
    height = _MARGIN + 84 + tile_rows * (_TILE_HEIGHT + _TILE_GAP)
    height += sum(_TITLE_HEIGHT + group[0].size.height + _GAP for group in groups) + 40
    canvas = RasterCanvas(round(WIDE + 2 * _MARGIN), round(height))
    y = _head(canvas, report)
    y = _tiles(canvas, tiles, y)
    for group in groups:
        for number, panel in enumerate(group):
            _panel(canvas, panel, (_MARGIN + number * (WIDE - panel.size.width), y))
        y += _TITLE_HEIGHT + group[0].size.height + _GAP
    made = f"homerun {report.version}, {report.made.astimezone():%F %H:%M %Z}"
    canvas.text((_MARGIN, y + 8), made, size=11, colour="muted")
    canvas.save(path)


def _side_by_side(found: Sequence[Panel]) -> Iterator[list[Panel]]:
    pair: list[Panel] = []
    for panel in found:
        pair.append(panel)
        if panel.wide or len(pair) == 2:
            yield pair
            pair = []
    if pair:
        yield pair


def _head(canvas: RasterCanvas, report: Report) -> float:
    canvas.text((_MARGIN, _MARGIN + 24), report.run["name"], size=_TITLE)
    y = _MARGIN + 52
    line = _cut(canvas, report.headline, WIDE)
    canvas.text((_MARGIN, y), line, size=_HEADLINE, colour="muted")
    return y + 28


def _cut(canvas: RasterCanvas, text: str, room: float) -> str:
    """What fits; a headline is one line here."""
    if canvas.width_of(text, _HEADLINE) <= room:
        return text
    kept = text
    while kept and canvas.width_of(kept + "...", _HEADLINE) > room:
        kept = kept[:-1]
    return kept.rstrip() + "..."


def _tiles(canvas: RasterCanvas, tiles: Sequence[Figure], top: float) -> float:
    columns = _columns(len(tiles))
    width = (WIDE - _TILE_GAP * (columns - 1)) / columns
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        x = _MARGIN + column * (width + _TILE_GAP)
        y = top + row * (_TILE_HEIGHT + _TILE_GAP)
        canvas.box((x, y), (width, _TILE_HEIGHT), "card", radius=8)
        canvas.text((x + 14, y + 20), tile.name, size=11, colour="muted")
        canvas.text((x + 14, y + 46), tile.value, size=21)
        canvas.text((x + 14, y + 65), tile.remark, size=10.5, colour="muted")
    rows = -(-len(tiles) // columns)
    return top + rows * (_TILE_HEIGHT + _TILE_GAP) + _GAP - _TILE_GAP


def _columns(tiles: int) -> int:
    """Four to six, so that the last row is as full as it can be."""
    return min((4, 5, 6), key=lambda columns: (-tiles % columns, abs(columns - 5)))


def _panel(canvas: RasterCanvas, panel: Panel, corner: tuple[float, float]) -> None:
    x, y = corner
    canvas.text((x, y + 16), panel.title, size=16)
    beside = x + canvas.width_of(panel.title, 16) + 10
    canvas.text((beside, y + 16), panel.remark, size=11, colour="muted")
    panel.draw(canvas.at(x, y + _TITLE_HEIGHT - 12))
