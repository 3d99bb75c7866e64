"""Values as text: never wider than promised, never more than is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli import render
from orchestrator.cli.render import ASCII, UNICODE, Column


@given(st.text(), st.integers(3, 90))
def test_fit_and_wrap_and_pieces_keep_their_width(text: str, width: int) -> None:
    text = render.clean(text)
    assert render.cells(render.fit(text, width)) <= width
    assert all(render.cells(line) <= width for line in render.wrap(text, width))
    pieces = render.pieces(text, width)
    assert all(render.cells(piece) <= width for piece in pieces)
    assert "".join(pieces) == text


@given(st.text())
def test_clean_text_is_one_line_that_steers_nothing(text: str) -> None:
    clean = render.clean(text)
    assert len(clean.splitlines()) <= 1
    assert not any(ord(sign) < 32 or 0x7F <= ord(sign) < 0xA0 for sign in clean)


def test_a_bar_is_full_only_when_all_is_done() -> None:
    assert render.bar(0.999, 10, UNICODE) == "█" * 9 + "░"
    assert render.bar(1.0, 10, UNICODE) == "█" * 10
    assert render.bar(-1.0, 4, ASCII) == "...."
    assert render.percent(0.9999) == "99.9 %"
    assert render.percent(1.0) == "100.0 %"


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_a_sparkline_spans_from_lowest_to_highest(glyphs: render.Glyphs) -> None:
    line = render.sparkline([3.0, 2.0, 1.0], 10, glyphs)
    assert (line[0], line[-1]) == (glyphs.levels[-1], glyphs.levels[0])


def test_a_sparkline_shows_the_newest_and_survives_what_is_unknown() -> None:
    assert render.sparkline([], 10, UNICODE) == ""
    assert render.sparkline([None, float("nan"), float("inf")], 10, UNICODE) == ""
    assert render.sparkline([2.0, 2.0], 10, UNICODE) == "▁▁"
    assert render.sparkline([9.0, None, 1.0, 2.0], 2, UNICODE) == "▁█"


def test_numbers_read_as_people_say_them() -> None:
    assert render.amount(2_912_345) == "2.91 M"
    assert render.size(999) == "999 B"
    assert render.size(38_400_000) == "38.4 MB"
    assert render.energy(1800) == "0.50 Wh"
    assert render.energy(51_120_000) == "14.20 kWh"


def test_a_table_aligns_and_cuts_its_last_column() -> None:
    columns = (Column("A"), Column("N", right=True), Column("WHY"))
    lines = render.table(columns, [["x", "1", "w" * 50], ["yy", "10", "z"]], 20)
    assert lines[1:] == ["x    1  wwwwwwwwwww…", "yy  10  z"]
