"""prices: what a kWh costs in the next hours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import price_text
from orchestrator.cli.session import Session, config_option, emit, json_option
from orchestrator.errors import NotFound

if TYPE_CHECKING:
    from orchestrator.tariff.table import TariffConfig

_MOST_HOURS = 24 * 14
#: these need nobody who asks: everything is on this machine
_LOCAL_SERVICES = ("", "csv_file")


@click.command()
@click.option(
    "--hours",
    type=click.IntRange(1, _MOST_HOURS),
    default=48,
    show_default=True,
    help="How far ahead.",
)
@config_option
@json_option
@click.pass_obj
def prices(session: Session, hours: int, config: Path | None, as_json: bool) -> None:
    """Show what a kWh costs in the next hours, as a picture.

    A fixed tariff needs no daemon. Published prices come from the daemon, which fetches them;
    where they end, its forecast goes on, marked as such. A missing price is shown as missing.
    """
    answer = _report(session.with_config(config), hours)
    if not answer["source"]["configured"]:
        raise NotFound(
            "no tariff is configured, so costs are unknown",
            'write [tariff] with currency = "EUR" and price_per_kwh = 0.31, or a preset such as '
            '"taipower-residential"; homerun config init shows every key',
        )
    if as_json:
        emit("prices", answer)
        return
    view = price_text.View(session.now(), session.width, session.glyphs)
    click.echo("\n".join(price_text.picture(answer, view)))


def _report(session: Session, hours: int) -> dict[str, Any]:
    if not (session.url or session.env.get("HOMERUN_URL")):
        from orchestrator.settings.config import load

        tariff = load(session.config, session.env).tariff
        if tariff.service in _LOCAL_SERVICES:
            return local_report(session, tariff, hours)
    return dict(session.client().get("prices", hours=hours))


def local_report(session: Session, tariff: TariffConfig, hours: int) -> dict[str, Any]:
    """What the daemon would say of a tariff that needs no network."""
    from orchestrator.domain import to_json
    from orchestrator.tariff import csv_file
    from orchestrator.tariff.report import report
    from orchestrator.tariff.slots import PriceSeries

    known = PriceSeries(tariff.currency, ())
    if tariff.service == "csv_file":
        known = csv_file.read(Path(tariff.file))
    return dict(to_json(report(tariff, known, None, session.now(), hours)))
