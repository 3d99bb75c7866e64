"""Durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.durations import LONGEST_SECONDS, format_seconds, parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1d", 86_400),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        (" 2H ", 7200),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("1w", 604_800),
        ("0s", 0),
    ],
)
def test_what_people_write(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "2", "h", "-2h", "2x", "2h3", "1h1h", "1e3s", "2 hours", "99999w", "∞s", "1:30"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|longer"):
        parse_seconds(text)


@given(st.integers(0, int(LONGEST_SECONDS * 1000)))
def test_what_is_written_is_read_back(milliseconds: int) -> None:
    text = format_seconds(milliseconds / 1000)
    assert round(parse_seconds(text) * 1000) == milliseconds


def test_the_shortest_text_is_written() -> None:
    assert [format_seconds(s) for s in (0, 0.5, 90, 600, 5400, 86_400)] == [
        "0s",
        "500ms",
        "1m30s",
        "10m",
        "1h30m",
        "1d",
    ]
