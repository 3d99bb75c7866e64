"""Tariffs that a person can name instead of writing them down: ``presets.toml`` beside this."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("presets.toml")


@dataclass(frozen=True)
class Preset:
    """A [tariff] table with where its numbers are from."""

    name: str
    title: str
    #: the day from which the numbers hold, as text
    since: str
    source: str
    #: what it leaves out, and what to check
    note: str
    #: the keys of [tariff] that it sets
    table: dict[str, Any]


@cache
def presets() -> dict[str, Preset]:
    """All of them by name. Read on the first call only: most configurations name none."""
    plain = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {
        name: Preset(
            name,
            title=entry["title"],
            since=str(entry["since"]),
            source=entry["source"],
            note=entry["note"],
            table=entry["tariff"],
        )
        for name, entry in plain.items()
    }
