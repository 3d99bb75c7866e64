"""The services that publish prices: what each needs, and when it publishes.

Times and limits are those of ``facts/tariffs-and-planner.md`` 2.2, gathered 2026-11.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time

_CET = "Europe/Berlin"


@dataclass(frozen=True)
class Market:
    """One service, as far as it can be told without asking it."""

    service: str
    title: str
    #: the keys of [tariff] that must be set
    needs: tuple[str, ...]
    #: the currencies that it answers in; empty: any
    currencies: tuple[str, ...] = ()
    #: its prices carry the taxes already
    gross: bool = False
    #: whose clock it publishes by, and whose days it delivers
    zone: str = _CET
    #: when tomorrow is usually there; None: it publishes all the time
    publishes: time | None = time(13, 0)
    #: on the delivery day before this time the new day ends; midnight unless told otherwise
    day_ends: time = time(0, 0)
    #: how often to ask one that publishes all the time
    every_seconds: float = 900.0
    #: how many days one request may cover
    days_per_request: int = 31
    #: how far back it can be asked
    history_days: int = 28


MARKETS = {
    market.service: market
    for market in (
        Market("energy_charts", "Energy-Charts (Fraunhofer ISE)", ("area",), ("EUR",)),
        Market("awattar", "aWATTar", ("area",), ("EUR",), publishes=time(14, 0)),
        Market(
            "nordpool",
            "the Nord Pool data portal",
            ("area",),
            ("EUR", "SEK", "NOK", "DKK", "PLN", "GBP"),
            days_per_request=1,
        ),
        Market(
            "elprisetjustnu",
            "elprisetjustnu.se and hvakosterstrommen.no",
            ("area",),
            ("SEK", "NOK", "EUR"),
            days_per_request=1,
        ),
        Market(
            "octopus",
            "Octopus Energy",
            ("area", "product"),
            ("GBP",),
            gross=True,
            zone="Europe/London",
            publishes=time(16, 0),
            day_ends=time(23, 0),
        ),
        Market(
            "comed",
            "ComEd hourly pricing",
            (),
            ("USD",),
            zone="America/Chicago",
            publishes=None,
            days_per_request=7,
        ),
        Market("energi_data_service", "Energi Data Service", ("area",), ("DKK", "EUR")),
        Market("tibber", "Tibber", ("token_file",), gross=True, history_days=0),
        Market("entsoe", "the ENTSO-E transparency platform", ("area", "token_file"), ("EUR",)),
        Market(
            "generic_json",
            "the JSON source",
            ("url", "paths"),
            publishes=None,
            every_seconds=3600.0,
            history_days=0,
        ),
        Market("csv_file", "the CSV file", ("file",), publishes=None, history_days=0),
        Market(
            "home_assistant",
            "Home Assistant",
            ("url", "token_file", "entity"),
            publishes=None,
            every_seconds=1800.0,
            history_days=0,
        ),
    )
}
