"""Prices of six weeks, written as a person would have them: a CSV file."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def price(hour: int) -> float:
    """A day's wave, a week's wave and a little noise, in EUR per MWh."""
    wave = 60 * math.sin((hour % 24 - 13) / 12 * math.pi)
    return 90 + wave + 20 * math.sin(hour / 168 * 2 * math.pi) + (hour * 37 % 11) - 5


WriteFile = Callable[..., Path]


@pytest.fixture(scope="session")
def write_prices(tmp_path_factory: pytest.TempPathFactory) -> WriteFile:
    """Writes a file; ``change`` maps an hour and its price to another, None leaves it out."""

    def write(
        change: Callable[[int, float], float | None] = lambda hour, value: value,
        name: str = "prices.csv",
        days: int = 45,
    ) -> Path:
        lines = ["utc_start,price,currency,unit"]
        for hour in range(24 * days):
            value = change(hour, price(hour))
            if value is not None:
                moment = FIRST + timedelta(hours=hour)
                lines.append(f"{moment:%Y-%m-%dT%H:%M:%SZ},{value:.2f},EUR,MWh")
        file = tmp_path_factory.mktemp("prices") / name
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file

    return write
