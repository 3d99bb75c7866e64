"""Prices that something else writes into a CSV file on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.errors import Misconfigured
from orchestrator.tariff import csv_file
from orchestrator.tariff.http import Http
from orchestrator.tariff.markets import MARKETS, Market
from orchestrator.tariff.services.base import FetchFailed, Published, Trouble


@dataclass(frozen=True)
class LocalFile:
    """One file; ``start`` and ``end`` do not matter, for reading all of it costs nothing."""

    file: Path
    currency: str
    market: Market = MARKETS["csv_file"]

    def fetch(self, http: Http, start: datetime, end: datetime) -> Published:
        if not self.file.exists():
            raise FetchFailed(Trouble.NOT_YET, f"there is no file {self.file}")
        try:
            series = csv_file.read(self.file)
        except Misconfigured as error:
            raise FetchFailed(Trouble.RUBBISH, error.message.splitlines()[0]) from None
        if series.currency != self.currency:
            what = f"prices in {series.currency} instead of {self.currency}"
            raise FetchFailed(Trouble.RUBBISH, what)
        return Published(series)
