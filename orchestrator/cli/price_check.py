"""What the doctor and ``config check`` say about the tariff."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.cli import times
from orchestrator.cli.price_text import amount, slots_of
from orchestrator.cli.session import Session
from orchestrator.errors import HomerunError, Misconfigured

if TYPE_CHECKING:
    from orchestrator.settings.config import Config
    from orchestrator.tariff.table import TariffConfig

_DAY = timedelta(days=1)
#: a year that sees every weekday in every month, holidays and both changes of the clocks
_YEAR = timedelta(days=366)
_LOOK_HOURS = 24 * 7


def sentences(session: Session, config: Config) -> list[str]:
    """What the tariff costs now and next; nothing when there is no tariff."""
    tariff = config.tariff
    if not tariff.configured:
        return []
    lines = [_origin(tariff)]
    if tariff.service not in ("", "csv_file"):
        return [*lines, "tariff: the daemon fetches the prices; homerun prices shows them"]
    try:
        lines += _now_and_next(session, tariff)
    except Misconfigured as error:
        lines.append(f"tariff: {error.message.splitlines()[0]}; {error.fix}")
    hole = first_hole(session, tariff) if tariff.zones or tariff.tiers else ""
    if hole and not tariff.service:
        lines.append(
            f"tariff: no price at {hole}: no zone or tier holds then; set tariff.price_per_kwh, "
            "or a first zone without conditions"
        )
    return lines


def first_hole(session: Session, tariff: TariffConfig) -> str:
    """The first time of the next year without a price, in the tariff's own zone, or nothing."""
    from orchestrator.tariff.build import tariff_of

    made = tariff_of(tariff)
    assert made is not None, "only asked for one that is configured"
    start = session.now().replace(minute=0, second=0, microsecond=0)
    here, end = start, start + _YEAR
    while here < end:
        reached = here
        for slot in made.slots(here, here + _DAY):
            if slot.start > reached:
                break
            reached = slot.end
        if reached < here + _DAY:
            local = reached.astimezone(made.zone)
            return f"{local:%a} {local.day} {local:%b %H:%M}"
        here += _DAY
    return ""


def facts(session: Session, config: Config) -> dict[str, Any] | None:
    """The same for programs: the slots of the next day; None when there is no tariff."""
    from orchestrator.cli.groups.prices import local_report

    tariff = config.tariff
    if not tariff.configured:
        return None
    if tariff.service not in ("", "csv_file"):
        return {"service": tariff.service, "currency": tariff.currency, "slots": []}
    try:
        slots = local_report(session, tariff, 24)["slots"]
    except HomerunError:
        slots = []
    return {"service": tariff.service, "currency": tariff.currency, "slots": slots}


def _origin(tariff: TariffConfig) -> str:
    from orchestrator.tariff.markets import MARKETS
    from orchestrator.tariff.presets import presets

    parts = []
    if preset := presets().get(tariff.preset):
        parts.append(f"{preset.title}, numbers since {preset.since}")
    if market := MARKETS.get(tariff.service):
        where = f" ({tariff.area})" if tariff.area else ""
        parts.append(f"prices of {market.title}{where}")
    if tariff.adders:
        total = sum(tariff.adders.values(), Decimal(0))
        parts.append(f"{amount(total)} {tariff.currency}/kWh added")
    if tariff.vat:
        parts.append(f"VAT {float(tariff.vat * 100):g} %")
    return "tariff: " + ("; ".join(parts) or f"fixed, in {tariff.currency}")


def _now_and_next(session: Session, tariff: TariffConfig) -> list[str]:
    from orchestrator.cli.groups.prices import local_report

    now = session.now()
    unit = f"{tariff.currency}/kWh"
    slots = slots_of(local_report(session, tariff, _LOOK_HOURS))
    current = next((slot for slot in slots if slot.start <= now < slot.end), None)
    if current is None:
        return ["tariff: no price for now"]
    following = next((s for s in slots if s.start > now and s.price != current.price), None)
    text = f"tariff: {amount(current.price)} {unit} now"
    if following is None:
        return [f"{text}, and for the next week"]
    start = times.moment(following.start, now)
    return [f"{text}, {amount(following.price)} from {start}"]


# --- the doctor -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """What the doctor says. Nothing of it stops a run, so the worst is a warning."""

    ok: bool
    message: str
    fix: str = ""


def finding(session: Session, config: Config, *, up: bool) -> Finding:
    """Whether the prices are known, and why not."""
    tariff = config.tariff
    if not tariff.configured:
        return Finding(True, "no tariff is configured, so costs are unknown")
    if tariff.service in ("", "csv_file"):
        try:
            lines = _now_and_next(session, tariff)
        except Misconfigured as error:
            return Finding(False, error.message.splitlines()[0], error.fix)
        text = lines[0].removeprefix("tariff: ")
        return Finding("no price" not in text, text, "homerun config check says what is missing")
    if not up:
        return Finding(True, f"{tariff.service}, asked by the daemon once it runs")
    try:
        source = session.client(timeout_seconds=5.0).get("prices", hours=1)["source"]
    except HomerunError as error:
        return Finding(False, error.message, error.fix)
    return _of_source(source, session)


def _of_source(source: dict[str, Any], session: Session) -> Finding:
    until = source["known_until"]
    reach = "nothing is known"
    if until:
        reach = f"known until {times.moment(times.from_json(until), session.now())}"
    elif source["last_success"]:
        reach = "a forecast for now"
    if not source["trouble"]:
        return Finding(bool(until), f"{source['title']}: {reach}", "it is asked within a minute")
    text = f"{source['title']}: {reach}; {source['reason']}"
    return Finding(not source["failing"], text, source["fix"] if source["failing"] else "")
