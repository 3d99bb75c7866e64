"""simulate: a month in a minute, by the daemon's own supervisor. Nothing real is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.session import Session, config_option, json_option
from orchestrator.domain import SCHEMA
from orchestrator.errors import Misconfigured

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.simulation.market import FilePrices, FixedPrices
    from orchestrator.tariff.table import TariffConfig

_FORM = "as --prices prices.csv, with the columns utc_start,price,currency,unit"


@click.command()
@click.option("--days", type=float, help="Simulate at most so many.  [35, or what it needs]")
@click.option(
    "--work-hours", type=float, default=480.0, show_default=True, help="Hours at full speed."
)
@click.option(
    "--slack",
    type=float,
    default=0.5,
    show_default=True,
    help="The deadline is start + work x (1 + slack).",
)
@click.option("--start", "start_text", metavar="DATE", help="As 2026-01-15, on the market's clock.")
@click.option(
    "--prices",
    "price_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="CSV of utc_start,price,currency,unit, instead of the configured tariff.",
)
@click.option(
    "--adders",
    metavar="AMOUNTS",
    multiple=True,
    help="On top of the file's prices: fees a kWh and VAT, as 0.10,21%.",
)
@click.option(
    "--outages",
    metavar="N|TIMES",
    default="0",
    help="So many a month, or as 2026-01-20T14:00/2h,2026-01-25T03:10/20m.",
)
@click.option(
    "--games", metavar="N|TIMES", default="0", help="So many evenings a week, or as --outages."
)
@click.option("--no-limit", is_flag=True, help="Without the right to set the card's power limit.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same gives the same.")
@config_option
@json_option
@click.pass_obj
def simulate(session: Session, /, config: Path | None, as_json: bool, **given: Any) -> int:
    """Live through a month of prices, outages and games in seconds, and see what it costs.

    The daemon's own supervisor runs on a simulated clock, house and card. It knows only the
    prices that were published at the time; the rest is its forecast. The card's power curve is
    assumed, not measured: profile yours.
    """
    from orchestrator.simulation import picture
    from orchestrator.simulation.answer import simulate as live_through
    from orchestrator.simulation.wish import Wish, parse_start

    session = session.with_config(config)
    wish = Wish(
        work_hours=given["work_hours"],
        slack=given["slack"],
        days=given["days"],
        seed=given["seed"],
        outages=given["outages"],
        games=given["games"],
        may_limit=not given["no_limit"],
    )
    prices = _prices(session, given["price_file"], given["adders"])
    text = given["start_text"]
    start = parse_start(text, prices.zone) if text else _usual_start(session, prices)
    answer = live_through(wish, prices, start)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, **answer.to_json()}, indent=2))
        return 0
    signs = {"full": session.glyphs.full, "capped": "▒" if session.glyphs.full == "█" else "="}
    click.echo("\n".join(picture.lines(answer, prices.zone, **signs)))
    return 0


def _prices(
    session: Session, file: Path | None, adders: tuple[str, ...]
) -> FilePrices | FixedPrices:
    from orchestrator.simulation.market import FilePrices
    from orchestrator.simulation.wish import parse_adders
    from orchestrator.tariff import csv_file

    if file is not None:
        return FilePrices(csv_file.read(file), parse_adders(adders))
    if adders:
        raise Misconfigured("--adders come on top of the prices of a file", _FORM)
    from orchestrator.settings.config import load

    return _configured(load(session.config, session.env).tariff)


def _configured(config: TariffConfig) -> FilePrices | FixedPrices:
    from datetime import UTC, datetime

    from orchestrator.simulation.market import FixedPrices
    from orchestrator.tariff.build import tariff_of

    tariff = tariff_of(config)
    if tariff is None:
        raise Misconfigured("no tariff is configured, so costs are unknown", _FORM)
    if config.service:
        raise Misconfigured(
            f"the prices of {config.service} are not known for a month: "
            "only what was published can be simulated",
            _FORM,
        )
    for_ever = datetime(9999, 1, 1, tzinfo=UTC)
    return FixedPrices(tariff.currency, tariff.zone, tariff.slots, for_ever)


def _usual_start(session: Session, prices: FilePrices | FixedPrices) -> datetime:
    """A midnight: four weeks into a file, for the forecast learns from them; else tonight's."""
    from datetime import UTC, datetime, timedelta

    from orchestrator.simulation.market import FilePrices

    after = session.now()
    if isinstance(prices, FilePrices):
        long_enough = prices.last - prices.first > timedelta(days=28 + 35)
        after = prices.first + timedelta(days=28 if long_enough else 0)
    local = after.astimezone(prices.zone)
    midnight = datetime.combine(local.date(), datetime.min.time(), prices.zone).astimezone(UTC)
    return midnight if midnight >= after else midnight + timedelta(days=1)
